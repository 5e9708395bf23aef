"""Files that are written completely or not at all, and checks of where they can be written."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SURROGATES = re.compile("[\ud800-\udfff]")
"""Characters that no encoding has: Python's stand-ins for bytes that it could not decode."""
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""First bytes of an HDF5 file, and so of a netCDF-4 file."""
SPECIAL_FILES = {
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}
"""Kinds of files that are never replaced, by their bits in the mode."""
TEMPORARY_NAME_START = 40
"""Characters of a file's name that its temporary name begins with. Names may have 255 bytes."""


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


def begins_with(path: Path, signature: bytes) -> bool:
    """Return whether the first bytes of a file are these.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    with path.open("rb") as file:
        return file.read(len(signature)) == signature


def printable(text: str) -> str:
    """Return text that can be encoded in UTF-8.

    Python reads a file name that is not valid UTF-8 with surrogates in place of the bytes that it
    cannot decode. Each of them becomes the replacement character.
    """
    return SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def check_target(path: Path) -> None:
    """Check that a file can be written at a path, where it may replace a file.

    Raises
    ------
    OSError
        When the folder does not exist or cannot be written, or when there is something at the path
        that cannot be replaced: a folder, a device, a pipe, a socket, a read-only file, or a link
        to a file that does not exist. ``strerror`` is the reason.
    """
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            status = os.stat(path)
    except FileNotFoundError:
        if path.is_symlink():
            message = "it is a link to a file that does not exist"
            raise FileNotFoundError(errno.ENOENT, message, str(path)) from None
    else:
        _check_replaceable(path, status.st_mode)
    folder = path.resolve().parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(folder))
    _check_writable(folder)


def _check_replaceable(path: Path, mode: int) -> None:
    """Check that what is at a path is a regular file that may be written."""
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if kind != stat.S_IFREG:
        name = SPECIAL_FILES.get(kind, "not a regular file")
        raise OSError(errno.EINVAL, f"it is {name}", str(path))
    # The superuser may write to any file. One without a writer is left alone all the same.
    has_writer = mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if not has_writer or not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is read-only", str(path))


def check_folder(folder: Path) -> None:
    """Check that files can be written in a folder, which need not exist yet.

    Raises
    ------
    OSError
        When the nearest path above that exists is no folder or cannot be written. ``strerror`` is
        the reason.
    """
    nearest = folder.absolute()
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is not a folder", str(folder))
    _check_writable(nearest)


def _check_writable(folder: Path) -> None:
    """Check that a file can be made in a folder, by making one.

    The permissions of a folder do not suffice: it may be on a file system that is read-only or
    full, or on one that takes no files, such as /proc.
    """
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = f"no file can be made in {folder}: {error.strerror}"
        raise OSError(error.errno, reason, str(folder)) from None


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary file, then rename it to ``path``.

    A link is followed: the file that it points to is replaced, and the link stays. A file that is
    replaced keeps its permissions.

    Raises
    ------
    OSError
        When the file cannot be written (`check_target`); the temporary file is removed.
    """
    check_target(path)
    target = path.resolve() if path.is_symlink() else path
    with uninterrupted():
        _write_and_replace(target, write)


def _write_and_replace(path: Path, write: Callable[[Path], object]) -> None:
    # Process and thread make the name unique among writers of the same file. The name is cut, so
    # that the temporary one is not longer than file systems allow.
    start = path.name[:TEMPORARY_NAME_START]
    temporary = path.with_name(f".{start}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        write(temporary)
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
