"""Fits kept in the user's cache folder, each found again by all that its draws depend on."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from scalebayes.data.runs import Runs
from scalebayes.errors import FitError
from scalebayes.fitting.kernel.kernel import GRAPH_FOLDERS, is_ours, source_digest
from scalebayes.posterior.fit import METADATA, Fit
from scalebayes.posterior.store import load, save
from scalebayes.specs.spec import Spec
from scalebayes.utils.cache_folder import cache_folder

DRAWS_FOLDERS = (*GRAPH_FOLDERS, "data", "posterior")
"""Folders whose source decides what is drawn and kept."""


def place(
    spec: Spec, runs: Runs, settings: dict[str, Any], seed: int, versions: dict[str, str]
) -> Path | None:
    """File of the fit of a spec to runs with these settings, seed and versions, whether it is there or not.

    None where nothing can be kept: no cache folder, or a law whose source is not this package's.
    """
    folder = cache_folder("fits") if is_ours(spec) else None
    if folder is None:
        return None
    parts = [spec.hash, runs.hash, settings, int(seed), versions, source_digest(DRAWS_FOLDERS)]
    return (
        folder
        / f"{hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]}.nc"
    )


def recall(path: Path, spec: Spec, runs: Runs) -> Fit | None:
    """Read the fit at a path, for the spec and runs that were asked for; None where there is none, or none whole.

    Its metadata says ``cached``, the file that it is from.
    """
    try:
        found = load(path)
    except FitError:
        return None
    if found.metadata["hashes"] != {"spec": spec.hash, "runs": runs.hash}:
        return None
    found.tree.attrs[METADATA] = json.dumps(found.metadata | {"cached": str(path)}, sort_keys=True)
    return replace(found, spec=spec, runs=runs)  # title, reasons and notes as they are now


def keep(fit: Fit, path: Path) -> None:
    """Write a whole fit to its place; where that fails, a full disk say, it is only not kept."""
    if fit.partial:
        return
    try:
        save(fit, path)
        os.chmod(path, 0o600)
    except (FitError, OSError):
        path.unlink(missing_ok=True)
