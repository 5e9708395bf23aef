"""The seal of a saved fit: a SHA-256 of all its bytes, behind the end of the HDF5 file.

netCDF and HDF5 trust what they read: in a damaged file they may find a structure that refers to
itself, and read on for ever. So the bytes are compared with the seal before either library opens
the file. Both ignore what lies behind the end that the file states. A program that changes the file
drops the seal; then the digest of the content decides (`scalebayes.posterior.integrity`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

MARK = b"\nscalebayes sha256 "
SIZE = len(MARK) + 64
"""Bytes of a seal: the mark, and a SHA-256 in hexadecimal."""


def seal(path: Path) -> None:
    """Append the seal to a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with path.open("ab") as file:
        file.write(MARK + digest.encode())


def is_broken(path: Path) -> bool:
    """Whether a file has a seal that its bytes differ from; a file without a seal is not broken."""
    content = path.read_bytes()
    end = content[-SIZE:]
    if not end.startswith(MARK):
        return False
    digest = hashlib.sha256(memoryview(content)[:-SIZE]).hexdigest()
    return end[len(MARK) :] != digest.encode()
