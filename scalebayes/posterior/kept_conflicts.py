"""Conflicts of a fit as text, kept in its file so that answers need not compute them again.

They follow from the draws and the runs, but take longer than most answers. The text is used only
for the content that it was made from, and only by the code that made it; otherwise `Fit.conflicts`
computes them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from scalebayes.messages import Message
from scalebayes.posterior.fit import Fit

SOURCES = (
    "data/findings/monotone.py",
    "data/findings/trainings.py",
    "laws/coordinates.py",
    "laws/least_squares.py",
    "posterior/conflicts.py",
    "posterior/stated.py",
    "specs/noise.py",
)
"""Files of the package that decide which conflicts are found."""


def to_text(fit: Fit, digest: str) -> str:
    """Return the conflicts of a fit as JSON. digest: that of the content of its file."""
    messages = [asdict(message) for message in fit.conflicts]
    kept = {"content": digest, "code": _code(), "messages": messages}
    return json.dumps(kept)


def from_text(text: str, digest: str) -> tuple[Message, ...] | None:
    """Return kept conflicts, or None if they belong to other content or other code."""
    try:
        kept = json.loads(text)
        if kept["content"] != digest or kept["code"] != _code():
            return None
        return tuple(Message(**each) for each in kept["messages"])
    except (ValueError, TypeError, KeyError):  # written by another version
        return None


def _code() -> str:
    """Return a hash of the code that finds conflicts."""
    package = Path(__file__).parent.parent
    total = hashlib.sha256()
    for name in SOURCES:
        total.update((package / name).read_bytes())
    return total.hexdigest()
