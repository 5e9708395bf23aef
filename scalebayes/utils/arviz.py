"""ArviZ's statistics, made to work where Python strips docstrings (``-OO``, PYTHONOPTIMIZE=2).

arviz-stats extends the docstrings of its functions when they are called, and raises a `TypeError`
where there are none. Import it from here and only in functions: its own import takes a while.
"""

from __future__ import annotations

import sys

import arviz_stats as azs
from arviz_stats.base import stats_utils

from scalebayes.utils.placeholders import hide_placeholders

STRIPS_DOCSTRINGS = 2
"""Level of optimisation from which Python strips docstrings."""

__all__ = ["azs"]


def _leave_docstring(ufunc: object, func: object, n_output: int = 1) -> None:
    """Do nothing, in place of `arviz_stats.base.stats_utils.update_docstring`."""


if sys.flags.optimize >= STRIPS_DOCSTRINGS:
    stats_utils.update_docstring = _leave_docstring

hide_placeholders()
