"""Output folders of studies."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from scalebayes.errors import ScaleBayesError


def refuse_to_replace(folder: Path, names: Iterable[str]) -> None:
    """Check that none of the files is in the folder yet.

    Raises
    ------
    ScaleBayesError
        With the names of the files that are.
    """
    existing = [name for name in names if (folder / name).exists()]
    if existing:
        raise ScaleBayesError(
            f"{folder} already holds {', '.join(existing)}; --force replaces them"
        )
