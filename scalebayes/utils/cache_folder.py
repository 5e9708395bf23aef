"""The user's cache folder: what can be made again, kept to save time."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = "SCALEBAYES_CACHE_DIR"
"""Setting: the folder of the caches, by default ``scalebayes`` in the user's cache folder."""


def cache_folder(kind: str) -> Path | None:
    """Folder of one kind of cached files, made if need be; None where there can be none.

    Only the user may read or write it: what is loaded from it is run.
    """
    if given := os.environ.get(FOLDER):
        top = Path(given).expanduser()
    else:
        import platformdirs

        top = Path(platformdirs.user_cache_dir("scalebayes"))
    folder = top / kind
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if _private(folder) and os.access(folder, os.W_OK | os.X_OK) else None


def _private(folder: Path) -> bool:
    """Whether a folder is the user's own and nobody else may write to it; where a system has no owners, yes."""
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022
