"""Work on large arrays in parts, on all cores.

Threads are enough, because NumPy releases the interpreter lock while it computes.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

VALUES_PER_PART = 25_000
"""Values in one part: with their intermediate results they still fit into a processor's cache."""

LEAST_PARTS_FOR_THREADS = 8
"""Parts from which threads are used: with fewer, starting them costs more time than they save."""

_LIMITING = threading.Lock()
"""Held by the one thread that currently limits linear algebra to one thread."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit linear algebra to one thread; if several Python threads ask for it, the first sets it.

    The limit belongs to the whole process. If each thread set it and later restored what it had
    found, the limit of one thread could remain after all of them.
    """
    is_first = _LIMITING.acquire(blocking=False)
    if not is_first:
        yield
        return
    try:
        with threadpool_limits(1):
            yield
    finally:
        _LIMITING.release()


def parts_of(rows: int, each: int) -> list[slice]:
    """Return rows of `each` values split into parts of about `VALUES_PER_PART` values."""
    parts = 1 + rows * each // VALUES_PER_PART
    return split(rows, min(rows, parts))


def split(rows: int, parts: int) -> list[slice]:
    """Return rows split into a number of parts of nearly equal length."""
    edges = np.linspace(0, rows, parts + 1).astype(int)
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def side_by_side(
    work: Callable[..., Any], parts: Sequence[Any] | np.ndarray, *others: Iterable[Any]
) -> list[Any]:
    """Return the results of `work` for every part, in order, computed on all cores if worthwhile.

    Parameters
    ----------
    work
        A function of a part and one value from each of `others`.
    parts
        The parts.
    others
        Further arguments, one value for each part.
    """
    if len(parts) < LEAST_PARTS_FOR_THREADS:
        return [work(*arguments) for arguments in zip(parts, *others, strict=True)]

    def run(context: Context, *arguments: Any) -> Any:
        return context.run(work, *arguments)

    # A context carries NumPy's error state, among others, and only one thread may run in it.
    contexts = [copy_context() for _ in parts]
    with one_thread(), ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(run, contexts, parts, *others))
