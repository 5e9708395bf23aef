"""Messages: findings with a stable code, a level and a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Message:
    """One finding about a fit or an answer.

    Attributes
    ----------
    code
        Name of the kind of finding, such as ``R_HAT``; it stays the same between versions.
    level
        ``"failed"`` for a failed convergence check; ``"warning"`` and ``"note"`` for what else a
        reader should know.
    text
        The finding in words.
    brief
        The same in one line, for below an answer; empty where the text is one line already.
    """

    code: str
    level: Literal["failed", "warning", "note"]
    text: str
    brief: str = ""

    def in_brief(self) -> str:
        """Return level, code and the finding in one line, where it has one."""
        return f"{self.level} [{self.code}] {self.brief or self.text}"

    def __str__(self) -> str:
        return f"{self.level} [{self.code}] {self.text}"
