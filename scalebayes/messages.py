"""Messages: a stable code, a level and a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Message:
    """One finding. ``code`` is stable; level "failed" closes the gate, "warning" and "note" do not."""

    code: str
    level: Literal["failed", "warning", "note"]
    text: str

    def __str__(self) -> str:
        return f"{self.level} [{self.code}] {self.text}"
