"""Bayesian inference of neural scaling laws.

From a table of training runs to decisions with credible intervals. The public names are listed in
``__init__.pyi``. Each is imported on first use, so ``import scalebayes`` is quick and predictions
from a saved fit do not load PyMC.
"""

import lazy_loader

_imported, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

OLD_NAMES = {"chance": "probability"}
"""Earlier public names and their present ones; they work until version 1.0."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        # Importing importlib.metadata takes longer than importing everything else here.
        from importlib.metadata import version

        return version("scalebayes")
    return _imported(OLD_NAMES.get(name, name))
