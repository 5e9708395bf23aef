"""Bayesian inference of neural scaling laws: from a table of training runs to decisions with credible intervals.

The public names are listed in ``__init__.pyi``; each is imported on first use, so that ``import scalebayes`` is quick
and predictions from a saved fit never load PyMC.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("scalebayes")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
