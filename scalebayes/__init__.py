"""Bayesian inference of neural scaling laws: from a table of training runs to decisions with credible intervals.

The public names are listed in ``__init__.pyi``; each is imported on first use, so that ``import scalebayes`` is quick
and predictions from a saved fit never load PyMC.
"""

import lazy_loader

_imported, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

OLD_NAMES = {"chance": "probability"}
"""Earlier public names and their present ones; they work until version 1.0."""


def __getattr__(name: str) -> object:
    if name == "__version__":  # importlib.metadata takes longer to import than all the rest
        from importlib.metadata import version

        return version("scalebayes")
    return _imported(OLD_NAMES.get(name, name))
