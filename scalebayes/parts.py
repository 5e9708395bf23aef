"""Work on very many values a part at a time, on all cores: NumPy lets go of the interpreter where the time goes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

AT_ONCE = 25_000
"""Values of one part: more, with what is computed from them on the way, would not fit into a processor's cache."""


def parts_of(rows: int, each: int) -> list[slice]:
    """Rows in parts of some `AT_ONCE` values, with so many `each`."""
    ends = np.linspace(0, rows, min(rows, 1 + rows * each // AT_ONCE) + 1).astype(int)
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def side_by_side(work: Callable[..., Any], parts: Sequence[Any] | np.ndarray, *others: Iterable[Any]) -> list[Any]:
    """What `work` makes of every part, and of what belongs to it, in their order; cores do not change what that is."""
    if len(parts) == 1:
        return [work(*one) for one in zip(parts, *others, strict=True)]
    contexts = [copy_context() for _ in parts]  # NumPy's error state among others
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(lambda context, *one: context.run(work, *one), contexts, parts, *others))
