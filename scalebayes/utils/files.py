"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done: libraries that are cut short in the middle may leave locks behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def not_there(path: Path, what: str = "no such file:") -> str:
    """Say that there is no such file, and which one may have been meant."""
    import difflib

    others = [p.name for p in path.parent.glob("*") if p.name != path.name]
    close = difflib.get_close_matches(path.name, others, n=1)
    return f"{what} {path}" + (f"; did you mean {close[0]}?" if close else "")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in its place in one step.

    Raises
    ------
    OSError
        When the folder is not there or cannot be written; the temporary file is gone then.
    """
    if not path.parent.is_dir():  # netCDF would speak of permissions
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    with uninterrupted():
        _write_and_replace(path, write)


def _write_and_replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
