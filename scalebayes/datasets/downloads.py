"""Files that stay with their authors: fetched from upstream or a mirror, checked by SHA-256, and kept."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from scalebayes.errors import RunsError

FOLDER, MIRROR = "SCALEBAYES_DATA_DIR", "SCALEBAYES_DATA_MIRROR"
"""Settings: the folder where files are looked for and kept, and a base URL to fetch them from instead of GitHub."""
TIMEOUT = 30
"""Seconds without a byte after which a server counts as gone."""


@dataclass(frozen=True)
class Upstream:
    """A file at one commit of a public repository on GitHub.

    Attributes
    ----------
    repository, commit, path
        As in github.com/REPOSITORY/blob/COMMIT/PATH.
    sha256
        Of its bytes, in hexadecimal.
    licence
        Under which its authors publish it.
    """

    repository: str
    commit: str
    path: str
    sha256: str
    licence: str

    @property
    def file(self) -> str:
        """The file's own name, under which it is kept, and found at a mirror."""
        return self.path.rpartition("/")[2]

    @property
    def url(self) -> str:
        """Where it is fetched from."""
        if mirror := os.environ.get(MIRROR):
            return f"{mirror.rstrip('/')}/{self.file}"
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"


def folder() -> Path:
    """Where files are looked for and kept: SCALEBAYES_DATA_DIR, by default the user's cache folder."""
    if given := os.environ.get(FOLDER):
        return Path(given).expanduser()
    import pooch

    return Path(pooch.os_cache("scalebayes"))


def at_hand(upstream: Upstream) -> bool:
    """Whether the file is in the folder, whole and unchanged; asks no network."""
    path = folder() / upstream.file
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == upstream.sha256


def fetch(upstream: Upstream, name: str) -> Path:
    """Return the path of a file, downloaded unless it is at hand.

    Raises
    ------
    RunsError
        When it cannot be fetched, or is not the file that was published; naming what to bring, and where to put it.
    """
    path = folder() / upstream.file
    if at_hand(upstream):
        return path
    if path.exists():
        raise RunsError(_bring(upstream, name, f"{path} is not the published file: move it away"))
    if not upstream.url.startswith(("https://", "http://")):
        raise RunsError(
            f"{MIRROR} is the base of a URL, as https://mirror.example/tables; got {os.environ[MIRROR]!r}"
        )
    import pooch

    try:
        pooch.retrieve(
            upstream.url, f"sha256:{upstream.sha256}", upstream.file, folder(), downloader=_download
        )
    except OSError as error:  # of the network, all of requests' among them, or of the folder
        raise RunsError(_bring(upstream, name, _reason(error, upstream.url))) from error
    except ValueError as error:  # pooch's word for another checksum
        why = f"{upstream.url} sends something else than the published file: cut short, damaged or replaced"
        raise RunsError(_bring(upstream, name, why)) from error
    return path


def _download(url: str, file: str, _: object) -> None:
    """Write what a server sends to a file; pooch's own downloader leaves the connection open where it fails."""
    import requests

    with requests.get(url, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        with Path(file).open("wb") as out:
            out.writelines(response.iter_content(2**16))


def _reason(error: OSError, url: str) -> str:
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    answer = (
        f"the server answers {status}"
        if status
        else f"no connection, or one that broke ({type(error).__name__})"
    )
    return f"{url} cannot be read: {answer}"


def _bring(upstream: Upstream, name: str, why: str) -> str:
    return (
        f"{name} is not at hand: {why}\n"
        f"  bring   {upstream.file}\n"
        f"  of      github.com/{upstream.repository}, commit {upstream.commit}, {upstream.path}\n"
        f"  SHA-256 {upstream.sha256}\n"
        f"  to      {folder()}\n"
        f"or set {FOLDER} to the folder that holds it, or {MIRROR} to the base of a URL that serves it"
    )
