"""One name of a question for several kinds of data.

Tables of runs, and the fits of them, are the usual kind. Another kind, such as curves along a run,
lives in a folder of its own above the usual functions. Its class lists the functions that answer
for it, and a public function decorated with `by_kind` passes a call on to them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any


def by_kind[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Return the function, which passes calls on where the first argument is of another kind.

    The class of another kind has the attribute ``OWN_FUNCTIONS``: names of public functions, and
    for each the place of the kind's own, as "module:function".
    """

    @functools.wraps(function)
    def ask(*args: P.args, **kwargs: P.kwargs) -> R:
        first: Any = args[0] if args else None
        own = getattr(type(first), "OWN_FUNCTIONS", {}).get(function.__name__)
        if own is None:
            return function(*args, **kwargs)
        return own_function(own)(*args, **kwargs)

    return ask


def own_function(place: str) -> Callable[..., Any]:
    """Return the function at a place, "module:function"."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
