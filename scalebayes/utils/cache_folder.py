"""The user's cache folder, for files that save time and can be made again."""

from __future__ import annotations

import os
from pathlib import Path

from scalebayes.errors import ScaleBayesError

FOLDER = "SCALEBAYES_CACHE_DIR"
"""Environment variable with the cache folder; by default ``scalebayes`` in the user's cache."""

ROOT = 0
"""User number of the administrator."""

WRITABLE_BY_OTHERS = 0o022
"""Permission bits for writing by the group and by everyone."""


class CacheError(ScaleBayesError):
    """A cache folder, or a file in it, that cannot be used; the message names it and the reason."""


def cache_folder(kind: str) -> Path:
    """Return the folder of one kind of cached files, created if needed.

    Only the user may be able to write to it, because code loaded from it is run.

    Raises
    ------
    CacheError
        When it cannot be created or written, or others can write to it.
    """
    given = os.environ.get(FOLDER)
    if given:
        top = Path(given).expanduser()
    else:
        import platformdirs

        top = Path(platformdirs.user_cache_dir("scalebayes"))
    folder = top / kind
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise CacheError(f"the cache folder {folder} cannot be created ({reason})") from None
    if not hasattr(os, "getuid"):  # Windows has neither owners nor permission bits
        return folder
    if folder.stat().st_uid != os.getuid():
        raise CacheError(f"the cache folder {folder} belongs to another user")
    if folder.stat().st_mode & WRITABLE_BY_OTHERS:
        raise CacheError(
            f"other users can write to the cache folder {folder} (chmod go-w {folder} ends that)"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CacheError(f"the cache folder {folder} cannot be written")
    return folder


def check_file(path: Path) -> None:
    """Check that a file of the cache folder was written by the user, and by nobody else.

    Files of root are accepted: a command run with sudo leaves such files, and root could replace
    any other file too.

    Raises
    ------
    CacheError
        When another user owns the file or can write to it.
    OSError
        When there is no such file.
    """
    status = path.stat()
    if not hasattr(os, "getuid"):
        return
    if status.st_uid not in (os.getuid(), ROOT):
        raise CacheError(f"{path} belongs to another user")
    if status.st_mode & WRITABLE_BY_OTHERS:
        raise CacheError(f"other users can write to {path}")


def check_libraries_load(folder: Path) -> None:
    """Check that the file system of a folder lets libraries be loaded from it (Linux only).

    Raises
    ------
    CacheError
        When the file system is mounted with the option noexec.
    """
    no_execution = getattr(os, "ST_NOEXEC", 0)
    if no_execution and os.statvfs(folder).f_flag & no_execution:
        raise CacheError(f"the file system of {folder} is mounted noexec")
