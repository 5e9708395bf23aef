"""Save and load fits as netCDF files with JSON metadata; needs neither PyMC nor nutpie."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import xarray as xr
from pydantic import ValidationError

from scalebayes.data.reading import Reading
from scalebayes.data.runs import Runs
from scalebayes.errors import FitError, GateWarning
from scalebayes.posterior.diagnostics import convergence
from scalebayes.posterior.fit import METADATA, Fit
from scalebayes.posterior.fit_files import FIT_AGAIN, check_fit_file, check_netcdf_path
from scalebayes.posterior.integrity import check_tree, digest_of
from scalebayes.posterior.kept_conflicts import from_text, to_text
from scalebayes.posterior.seal import is_broken, seal
from scalebayes.posterior.stated import normalised_tree
from scalebayes.specs.spec import Spec
from scalebayes.utils.files import write_whole
from scalebayes.utils.kinds import by_kind, own_function

FORMAT = 2
"""Version of the file format. Files of format 2 have a digest."""
WITHOUT_DIGEST = 1
"""The earlier format, which can still be read."""
FORMAT_KEY = "scalebayes_format"
SPEC_KEY = "scalebayes_spec"
RUNS_KEY = "scalebayes_runs"
DIGEST_KEY = "scalebayes_digest"
"""Root attributes that `save` adds and `load` takes out: format, spec, names and reading of the
runs, digest of everything that answers rest on."""
KIND_KEY = "scalebayes_kind"
"""Root attribute of fits of another kind of data than tables of runs."""
OTHER_KINDS = {"curves": "scalebayes.curves.store:curve_fit_of"}
"""Functions that read the tree of a fit of another kind (`scalebayes.utils.kinds`)."""
CONFLICTS_KEY = "scalebayes_conflicts"
"""Root attribute with the conflicts of the fit (`posterior.kept_conflicts`), not in the digest."""
COVERED = (METADATA, FORMAT_KEY, SPEC_KEY, RUNS_KEY)
"""Root attributes that a fit needs, and that the digest covers."""
MOST_RUNS = 10_000
"""Runs up to which `save` looks for conflicts, in less than a second."""
CHECKED_VALUES = 1_000_000
"""Values of a posterior up to which the convergence checks are repeated, in about .3 seconds."""


@by_kind
def save(fit: Fit, path: str | Path) -> Path:
    """Return the path of the netCDF file that the fit was written to, whole or not at all.

    An existing file is replaced. Files are not compressed: draws are close to noise, so compression
    would save a sixth of the file and take five times as long.

    Raises
    ------
    FitError
        When the folder does not exist or cannot be written, or the fit is a view of a pooled one.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> sb.save(fit, "copy.nc").name
    'copy.nc'
    """
    if fit.view is not None:
        raise FitError(
            "a view of a pooled fit is not saved by itself: save the pooled fit, and make the view "
            "again after loading it"
        )
    path = Path(path)
    check_netcdf_path(path)
    runs: dict[str, Any] = {
        "name": fit.runs.name,
        "source": fit.runs.source,
        "notes": fit.runs.notes,
        "metric": fit.runs.metric,
    }
    if fit.runs.reading is not None:
        runs["reading"] = fit.runs.reading.to_plain()
    tree = fit.stored.copy()
    tree.attrs |= {
        FORMAT_KEY: FORMAT,
        SPEC_KEY: fit.spec.model_dump_json(),
        RUNS_KEY: json.dumps(runs),
    }
    digest = digest_of(tree, COVERED)
    tree.attrs[DIGEST_KEY] = digest
    if len(fit.runs) <= MOST_RUNS:
        tree.attrs[CONFLICTS_KEY] = to_text(fit, digest)
    return write_tree(tree, path)


def write_tree(tree: xr.DataTree, path: Path) -> Path:
    """Return the path of the sealed netCDF file that a tree was written to, whole or not at all.

    Raises
    ------
    FitError
        When the folder does not exist or cannot be written.
    """

    def write(temporary: Path) -> None:
        tree.to_netcdf(temporary, engine="netcdf4")
        seal(temporary)

    try:
        write_whole(path, write)
    except (OSError, RuntimeError) as error:
        # netCDF's own errors, such as a full disk, are RuntimeErrors, which have no strerror.
        reason = getattr(error, "strerror", None) or error
        raise FitError(f"cannot write {path}: {reason}") from error
    return path


def load(path: str | Path) -> Fit:
    """Return the fit that `save` wrote to a file; all of it is read and the file is closed.

    A digest in the file is compared with its content: draws, statistics, runs, spec and metadata,
    which record the failed convergence checks. Files of earlier versions have no digest. Their form
    and their hashes of spec and runs are checked, and the convergence checks are repeated, unless
    the posterior is very large.

    Raises
    ------
    FitError
        When there is no such file, or `save` did not write it, or a newer version did, or it is
        damaged or was changed.

    Warns
    -----
    GateWarning
        When the fit failed its convergence checks.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> fit.spec.name, len(fit.runs)
    ('chinchilla', 240)
    """
    fit = read_fit(path)
    if fit.gate_failures:
        what = f"{fit.spec.name} on {fit.runs.name}" if isinstance(fit, Fit) else repr(fit)
        warnings.warn(
            f"{what}, loaded from {path}, failed the convergence "
            f"checks ({', '.join(fit.gate_failures)}); do not rely on its draws",
            GateWarning,
            stacklevel=2,
        )
    return fit


def read_fit(path: str | Path) -> Fit:
    """Return the fit that `save` wrote to a file, as `load` does, without a warning.

    Raises
    ------
    FitError
        As `load` does.
    """
    path = Path(path)
    tree = _read_tree(path)
    kind = tree.attrs.get(KIND_KEY)
    if kind in OTHER_KINDS:
        return own_function(OTHER_KINDS[kind])(path, tree)
    has_digest = _check_format(path, tree)
    recorded = tree.attrs.pop(DIGEST_KEY, None)
    conflicts = tree.attrs.pop(CONFLICTS_KEY, "")
    digest = digest_of(tree, COVERED)
    fit = _assemble(path, tree, has_digest)
    if not has_digest:
        fit.stored.attrs[METADATA] = _metadata_with_all_failures(fit)
    elif recorded != digest:
        raise FitError(damaged(path, "its content differs from the digest that was saved with it"))
    kept = from_text(conflicts, digest)
    if kept is not None:
        # As if the property `conflicts` had been computed; `Fit` is frozen, its dictionary is not.
        fit.__dict__["conflicts"] = kept
    return fit


def _check_format(path: Path, tree: xr.DataTree) -> bool:
    """Check that a tree is that of a saved fit, and return whether it must have a digest."""
    if not set(COVERED) <= tree.attrs.keys():
        raise FitError(f"{path} is a netCDF file, but not a fit that scalebayes saved")
    found = str(tree.attrs[FORMAT_KEY])
    if found == str(FORMAT):
        return True
    if found != str(WITHOUT_DIGEST):
        raise FitError(
            f"{path} was saved in format {found}, but this version of scalebayes reads format "
            f"{FORMAT} and earlier ones: a newer version may read it"
        )
    return DIGEST_KEY in tree.attrs


def damaged(path: Path, found: str) -> str:
    """Return the message that a file is damaged. found: what is wrong with it."""
    return f"{path} is damaged, or was changed after it was saved: {found}. {FIT_AGAIN}"


def _read_tree(path: Path) -> xr.DataTree:
    """Return the whole tree of a netCDF file."""
    check_fit_file(path)
    if is_broken(path):
        raise FitError(damaged(path, "its bytes differ from those that were saved"))
    try:
        with xr.open_datatree(path, engine="netcdf4") as stored:
            return stored.load()
    except Exception as error:  # netCDF and xarray raise many kinds of errors for damaged files
        raise FitError(damaged(path, "netCDF cannot read it")) from error


def _assemble(path: Path, tree: xr.DataTree, has_digest: bool) -> Fit:
    """Return the fit of a stored tree, whose attributes then are those that it had before."""
    try:
        fit = _fit_of(tree, has_digest)
        hashes = fit.metadata["hashes"]
    except ValidationError as error:  # for example a law that this version does not have
        reason = error.errors()[0]["msg"]
        raise FitError(
            f"{path} holds a spec that this version of scalebayes cannot read: {reason}"
        ) from None
    except Exception as error:  # a damaged file may hold anything
        raise FitError(damaged(path, str(error))) from error
    if hashes != {"spec": fit.spec.hash, "runs": fit.runs.hash}:
        raise FitError(
            f"{path} does not hold the spec and runs that were fitted: their hashes differ from "
            "those recorded. The file was changed by hand, or an older version of scalebayes with "
            "fewer settings in its specs saved it: fit again"
        )
    return fit


def _fit_of(tree: xr.DataTree, has_digest: bool) -> Fit:
    """Return the fit of a stored tree, after a check of its form."""
    spec = Spec.model_validate_json(tree.attrs.pop(SPEC_KEY))
    # Earlier versions stored it; it follows from the draws.
    tree = tree.drop_nodes("log_likelihood", errors="ignore")
    about = json.loads(tree.attrs.pop(RUNS_KEY))
    del tree.attrs[FORMAT_KEY]
    table = tree["constant_data"].to_dataset().to_dataframe()
    # Files of earlier versions have no metric: `Runs` then guesses it.
    metric = about.get("metric", "")
    reading = None
    if "reading" in about:
        reading = Reading.from_plain(about["reading"])
    runs = Runs(table, about["name"], about["source"], tuple(about["notes"]), metric, reading)
    fit = Fit(spec, runs, tree)
    if not isinstance(fit.metadata["partial"], bool):
        raise TypeError("its metadata do not say whether sampling was interrupted")
    # Draws that are not finite are allowed in a fit that is known to have failed for them.
    # A digest tells whether a group is missing that was there when the file was saved.
    finite = "NAN" not in fit.gate_failures
    check_tree(tree, spec, finite=finite, whole=not has_digest)
    return fit


def _metadata_with_all_failures(fit: Fit) -> str:
    """Return the metadata of a fit as JSON, with convergence failures that were not recorded."""
    posterior = fit.stored["posterior"].to_dataset()
    if sum(values.size for values in posterior.values()) > CHECKED_VALUES:
        return fit.stored.attrs[METADATA]
    gate = convergence(normalised_tree(fit), partial=fit.partial)
    unrecorded = [each.code for each in gate.messages if each.code not in fit.gate_failures]
    if not unrecorded:
        return fit.stored.attrs[METADATA]
    metadata = fit.metadata | {"gate_failures": [*fit.gate_failures, *unrecorded]}
    return json.dumps(metadata, sort_keys=True)
