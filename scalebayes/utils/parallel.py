"""Work on very many values a part at a time, on all cores: NumPy lets go of the interpreter where the time goes."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

AT_ONCE = 25_000
"""Values of one part: more, with what is computed from them on the way, would not fit into a processor's cache."""
WORTH_THREADS = 8
"""Parts below which threads cost more than they save."""


_LIMITED = threading.Lock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra on one thread; of several threads of Python that are inside, the first one sees to it.

    Their number is the whole process's. If each set it, and set back what it had found, one thread could remain.
    """
    if not _LIMITED.acquire(blocking=False):
        yield
        return
    try:
        with threadpool_limits(1):
            yield
    finally:
        _LIMITED.release()


def parts_of(rows: int, each: int) -> list[slice]:
    """Rows in parts of some `AT_ONCE` values, with so many `each`."""
    return split(rows, min(rows, 1 + rows * each // AT_ONCE))


def split(rows: int, parts: int) -> list[slice]:
    """Rows in so many parts of one length, or nearly."""
    return [
        slice(*ends) for ends in itertools.pairwise(np.linspace(0, rows, parts + 1).astype(int))
    ]


def side_by_side(
    work: Callable[..., Any], parts: Sequence[Any] | np.ndarray, *others: Iterable[Any]
) -> list[Any]:
    """What `work` makes of every part, and of what belongs to it, in their order; of many parts on all cores."""
    if len(parts) < WORTH_THREADS:
        return [work(*one) for one in zip(parts, *others, strict=True)]
    contexts = [copy_context() for _ in parts]  # NumPy's error state among others
    with one_thread(), ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(
            threads.map(lambda context, *one: context.run(work, *one), contexts, parts, *others)
        )
