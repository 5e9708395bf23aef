"""Files of published tables: downloaded from GitHub or a mirror, checked by SHA-256, and kept."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scalebayes.errors import RunsError

FOLDER = "SCALEBAYES_DATA_DIR"
"""Environment variable with the folder in which files are looked for and kept."""

MIRROR = "SCALEBAYES_DATA_MIRROR"
"""Environment variable with a base URL from which files are downloaded instead of GitHub."""

TIMEOUT = 30
"""Seconds without a byte from the server after which a download fails."""

MOST_BYTES = 2**28
"""Bytes that are downloaded of a file whose size is not known."""

CHUNK = 2**16
"""Bytes written at once, so that a large file is never held in memory as a whole."""


@dataclass(frozen=True)
class Upstream:
    """A file at one commit of a public repository on GitHub.

    Attributes
    ----------
    repository, commit, path
        As in github.com/REPOSITORY/blob/COMMIT/PATH.
    sha256
        SHA-256 of the file, in hexadecimal.
    licence
        The licence under which its authors publish it.
    size
        Its size in bytes, at which a download ends; where it is not known, the largest allowed.
    """

    repository: str
    commit: str
    path: str
    sha256: str
    licence: str
    size: int = MOST_BYTES

    @property
    def file(self) -> str:
        """The name of the file without folders, used in the local folder and on a mirror."""
        return self.path.rpartition("/")[2]

    @property
    def url(self) -> str:
        """The URL of the file, on the mirror if one is set."""
        mirror = os.environ.get(MIRROR)
        if mirror:
            return f"{mirror.rstrip('/')}/{self.file}"
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"


def folder() -> Path:
    """Return the folder of downloaded files: SCALEBAYES_DATA_DIR, or else the user's cache."""
    given = os.environ.get(FOLDER)
    if given:
        return Path(given).expanduser()
    import pooch

    return Path(pooch.os_cache("scalebayes"))


def is_downloaded(upstream: Upstream) -> bool:
    """Return whether the folder has the published file, by its SHA-256; needs no network."""
    path = folder() / upstream.file
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == upstream.sha256


def fetch(upstream: Upstream, name: str) -> Path:
    """Return the path of a file, which is downloaded unless the folder has it.

    Parameters
    ----------
    upstream
        The file.
    name
        The name of its table, for errors.

    Raises
    ------
    RunsError
        When the file cannot be downloaded, or differs from the published one. The message says
        which file to download by hand and where to put it.
    """
    path = folder() / upstream.file
    if is_downloaded(upstream):
        return path
    if path.exists():
        reason = f"{path} is not the published file (its SHA-256 differs); move it elsewhere"
        raise RunsError(_unavailable(upstream, name, reason))
    url = upstream.url
    if not url.startswith(("https://", "http://")):
        raise RunsError(
            f"{MIRROR} must be a base URL such as https://mirror.example/tables; "
            f"got {os.environ[MIRROR]!r}"
        )
    import pooch

    try:
        pooch.retrieve(
            url,
            f"sha256:{upstream.sha256}",
            upstream.file,
            folder(),
            downloader=partial(_download, most=upstream.size),
        )
    except OSError as error:  # network errors (those of requests included) and folder errors
        raise RunsError(_unavailable(upstream, name, _reason(error, url))) from error
    except ValueError as error:  # too long, or pooch found that the SHA-256 differs
        reason = f"the file at {url} is not the published one: truncated, damaged or replaced"
        raise RunsError(_unavailable(upstream, name, reason)) from error
    return path


def _download(url: str, file: str, _: object, most: int) -> None:
    """Download a URL to a file of at most `most` bytes.

    pooch's own downloader has no limit, and leaves the connection open when it fails.

    Raises
    ------
    ValueError
        When the server sends more.
    """
    import requests

    with requests.get(url, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        received = 0
        with Path(file).open("wb") as out:
            for chunk in response.iter_content(CHUNK):
                received += len(chunk)
                if received > most:
                    raise ValueError(f"more than {most} bytes")
                out.write(chunk)


def _reason(error: OSError, url: str) -> str:
    """Return why a download failed."""
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    response = getattr(error, "response", None)
    if response is not None:
        return f"{url} cannot be read: the server answered with status {response.status_code}"
    return f"{url} cannot be read: no connection, or it was interrupted ({type(error).__name__})"


def _unavailable(upstream: Upstream, name: str, reason: str) -> str:
    return (
        f"the file of {name} is not available: {reason}\n"
        f"To use {name}, put the file into the folder by hand:\n"
        f"  file     {upstream.file}\n"
        f"  source   github.com/{upstream.repository}, commit {upstream.commit}, {upstream.path}\n"
        f"  SHA-256  {upstream.sha256}\n"
        f"  folder   {folder()}\n"
        f"Or set {FOLDER} to a folder that contains the file, "
        f"or {MIRROR} to the base URL of a server that has it."
    )
