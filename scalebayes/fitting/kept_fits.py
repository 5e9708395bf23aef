"""Fits kept in the user's cache folder, under keys that hold all that their draws depend on."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from scalebayes.data.runs import Runs
from scalebayes.errors import FitError, warn_of_fallback
from scalebayes.fitting.kernel.kernel import GRAPH_FOLDERS, is_ours, source_digest
from scalebayes.posterior.fit import METADATA, Fit
from scalebayes.posterior.store import read_fit, save
from scalebayes.specs.spec import Spec
from scalebayes.utils.cache_folder import CacheError, cache_folder

DRAWS_FOLDERS = (*GRAPH_FOLDERS, "data", "data/tables", "data/findings", "posterior")
"""Folders whose source determines the draws of a fit and what is kept of them."""


def place(
    spec: Spec, runs: Runs, settings: dict[str, Any], seed: int, versions: dict[str, str]
) -> Path | None:
    """Return the file for the fit of a spec to runs with these settings, seed and versions.

    The file need not exist. None where nothing can be kept: the cache folder is unusable, or the
    source of the law or the noise is not this package's.

    Warns
    -----
    FallbackWarning
        When nothing can be kept.
    """
    if not is_ours(spec):
        warn_of_fallback(
            f"'{spec.name}' has a law or noise from outside scalebayes, whose changes could not be "
            "noticed, so its fit is neither read from the cache folder nor kept there: it is "
            "sampled every time"
        )
        return None
    try:
        folder = cache_folder("fits")
    except CacheError as error:
        warn_of_fallback(
            f"{error}, so fits are neither read from it nor kept there: every call samples again"
        )
        return None
    parts = [spec.hash, runs.hash, settings, int(seed), versions, source_digest(DRAWS_FOLDERS)]
    text = json.dumps(parts, sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()[:32]
    return folder / f"{key}.nc"


def recall(path: Path, spec: Spec, runs: Runs) -> Fit | None:
    """Return the fit in a file, with the spec and runs that were asked for, or None.

    Its metadata have ``cached``, the file. A file that is not whole, or of another spec or table,
    counts as none.
    """
    try:
        found = read_fit(path)
    except FitError:
        return None
    if found.metadata["hashes"] != {"spec": spec.hash, "runs": runs.hash}:
        return None
    metadata = found.metadata | {"cached": str(path)}
    found.stored.attrs[METADATA] = json.dumps(metadata, sort_keys=True)
    return replace(found, spec=spec, runs=runs)  # title, reasons and notes as they are now


def keep(fit: Fit, path: Path) -> None:
    """Write a whole fit to a file; where that fails (a full disk), the fit is not kept."""
    if fit.partial:
        return
    try:
        save(fit, path)
        os.chmod(path, 0o600)
    except (FitError, OSError):
        path.unlink(missing_ok=True)
