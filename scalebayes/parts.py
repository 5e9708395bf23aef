"""Work on very many values a part at a time, on all cores: NumPy lets go of the interpreter where the time goes."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

AT_ONCE = 25_000
"""Values of one part: more, with what is computed from them on the way, would not fit into a processor's cache."""
WORTH_THREADS = 8
"""Parts below which threads cost more than they save."""


class _OneThread:
    """Linear algebra on one thread as long as anyone is inside.

    Its number of threads is the whole process's, so whoever comes first sets it and whoever leaves last sets it back.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._limits = threadpool_limits(1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limits.restore_original_limits()


ONE_THREAD = _OneThread()


def parts_of(rows: int, each: int) -> list[slice]:
    """Rows in parts of some `AT_ONCE` values, with so many `each`."""
    ends = np.linspace(0, rows, min(rows, 1 + rows * each // AT_ONCE) + 1).astype(int)
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def side_by_side(work: Callable[..., Any], parts: Sequence[Any] | np.ndarray, *others: Iterable[Any]) -> list[Any]:
    """What `work` makes of every part, and of what belongs to it, in their order; of many parts on all cores."""
    if len(parts) < WORTH_THREADS:
        return [work(*one) for one in zip(parts, *others, strict=True)]
    contexts = [copy_context() for _ in parts]  # NumPy's error state among others
    with ONE_THREAD, ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(lambda context, *one: context.run(work, *one), contexts, parts, *others))
