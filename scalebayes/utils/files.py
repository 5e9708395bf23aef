"""Files that are written completely or not at all."""

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
    """Delay Ctrl-C until the block is done, because interrupted libraries may leave locks behind.

    Without effect outside the main thread, which alone receives signals.

    Raises
    ------
    KeyboardInterrupt
        At the end of the block, when Ctrl-C was pressed in it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def remember(number: int, _frame: object) -> None:
        received.append(number)

    previous = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if received:
        raise KeyboardInterrupt


def not_there(path: Path, what: str = "no such file:") -> str:
    """Return the message that a file does not exist, with a file of a similar name if there is one.

    what: the beginning of the message.
    """
    import difflib

    message = f"{what} {path}"
    others = [other.name for other in path.parent.glob("*") if other.name != path.name]
    close = difflib.get_close_matches(path.name, others, n=1)
    if close:
        message += f"; did you mean {close[0]}?"
    return message


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary file beside ``path``, then rename it to ``path``.

    Raises
    ------
    OSError
        When the folder does not exist or cannot be written; the temporary file is removed.
    """
    if not path.parent.is_dir():  # netCDF would report a lack of permission instead
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    with uninterrupted():
        _write_and_replace(path, write)


def _write_and_replace(path: Path, write: Callable[[Path], object]) -> None:
    # Process and thread make the name unique among writers of the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
