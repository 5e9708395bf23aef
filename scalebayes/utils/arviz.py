"""ArviZ's statistics, made to work where Python strips docstrings (``-OO``, PYTHONOPTIMIZE=2).

arviz-stats extends the docstrings of its functions when they are called, and raises a `TypeError`
where there are none. Import it from here and only in functions: its own import takes a while.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import arviz_stats as azs
from arviz_stats.base import stats_utils

STRIPS_DOCSTRINGS = 2
"""Level of optimisation from which Python strips docstrings."""

PLACEHOLDERS = ("jax", "numpyro")
"""Modules that arviz-base puts into ``sys.modules`` and imports on first use."""

__all__ = ["azs", "placeholders_hidden"]


def _leave_docstring(ufunc: object, func: object, n_output: int = 1) -> None:
    """Do nothing, in place of `arviz_stats.base.stats_utils.update_docstring`."""


@contextmanager
def placeholders_hidden() -> Iterator[None]:
    """Hide modules that arviz-base has not yet imported.

    Matplotlib asks a module called jax in ``sys.modules`` for a class when it draws. That imports
    JAX where it is installed, which takes a second and 120 MB.
    """
    hidden = {}
    for name in PLACEHOLDERS:
        module = sys.modules.get(name)
        if type(module).__name__ == "_LazyModule":
            hidden[name] = sys.modules.pop(name)
    try:
        yield
    finally:
        for name, module in hidden.items():
            sys.modules.setdefault(name, module)


if sys.flags.optimize >= STRIPS_DOCSTRINGS:
    stats_utils.update_docstring = _leave_docstring
