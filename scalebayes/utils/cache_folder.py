"""The user's cache folder, for files that save time and can be made again."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = "SCALEBAYES_CACHE_DIR"
"""Environment variable with the cache folder; by default ``scalebayes`` in the user's cache."""

WRITABLE_BY_OTHERS = 0o022
"""Permission bits for writing by the group and by everyone."""


def cache_folder(kind: str) -> Path | None:
    """Return the folder of one kind of cached files, created if needed, or None if unusable.

    Only the user may be able to write to it, because code loaded from it is run.
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
    except OSError:
        return None
    if not _is_private(folder):
        return None
    if not os.access(folder, os.W_OK | os.X_OK):
        return None
    return folder


def _is_private(folder: Path) -> bool:
    """Return whether the folder is the user's own and nobody else may write to it.

    True on systems without owners of files (Windows).
    """
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    is_own = status.st_uid == os.getuid()
    return is_own and not status.st_mode & WRITABLE_BY_OTHERS
