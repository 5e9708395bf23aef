"""Save and load fits as netCDF files with JSON metadata; needs neither PyMC nor nutpie."""

from __future__ import annotations

import json
from pathlib import Path

import xarray as xr
from pydantic import ValidationError

from scalebayes.data.runs import Runs
from scalebayes.errors import FitError, RunsError
from scalebayes.posterior.fit import METADATA, Fit
from scalebayes.specs.pooling import variable_names
from scalebayes.specs.spec import Spec
from scalebayes.utils.files import not_there, write_whole

FORMAT = 1
"""Version of the file format, raised when older versions of the package could not read a file."""
FORMAT_KEY = "scalebayes_format"
SPEC_KEY = "scalebayes_spec"
RUNS_KEY = "scalebayes_runs"
"""Root attributes that `save` adds and `load` takes out: format, spec and names of the runs."""


def save(fit: Fit, path: str | Path) -> Path:
    """Return the path of the netCDF file that the fit was written to, whole or not at all.

    An existing file is replaced. Files are not compressed: draws are close to noise, so compression
    would save a sixth of the file and take five times as long.

    Raises
    ------
    FitError
        When the folder does not exist or cannot be written, or the fit is a view of a pooled one.
    """
    if fit.view is not None:
        raise FitError(
            "a view of a pooled fit is not saved by itself: save the pooled fit, and make the view "
            "again after loading it"
        )
    path = Path(path)
    runs = {
        "name": fit.runs.name,
        "source": fit.runs.source,
        "notes": fit.runs.notes,
        "metric": fit.runs.metric,
    }
    tree = fit.tree.copy()
    tree.attrs |= {
        FORMAT_KEY: FORMAT,
        SPEC_KEY: fit.spec.model_dump_json(),
        RUNS_KEY: json.dumps(runs),
    }
    try:
        write_whole(path, lambda temporary: tree.to_netcdf(temporary, engine="netcdf4"))
    except (OSError, RuntimeError) as error:
        # netCDF's own errors, such as a full disk, are RuntimeErrors, which have no strerror.
        reason = getattr(error, "strerror", None) or error
        raise FitError(f"cannot write {path}: {reason}") from error
    return path


def load(path: str | Path) -> Fit:
    """Return the fit that `save` wrote to a file; all of it is read and the file is closed.

    Raises
    ------
    FitError
        When there is no such file, or `save` did not write it, or a newer version did, or its spec
        or runs have changed.
    """
    path = Path(path)
    tree = _read_tree(path)
    if not {METADATA, FORMAT_KEY, SPEC_KEY, RUNS_KEY} <= tree.attrs.keys():
        raise FitError(f"{path} is a netCDF file, but not a fit that scalebayes saved")
    found = str(tree.attrs[FORMAT_KEY])
    if found != str(FORMAT):
        raise FitError(
            f"{path} was saved in format {found}, but this version of scalebayes reads format "
            f"{FORMAT}: a newer version may read it"
        )
    try:
        fit = _assemble(tree)
        hashes = fit.metadata["hashes"]
    except ValidationError as error:  # for example a law that this version does not have
        reason = error.errors()[0]["msg"]
        raise FitError(
            f"{path} holds a spec that this version of scalebayes cannot read: {reason}"
        ) from None
    except (KeyError, TypeError, ValueError, RunsError) as error:
        raise FitError(f"{path} is damaged or was changed by hand: {error}") from None
    if hashes != {"spec": fit.spec.hash, "runs": fit.runs.hash}:
        raise FitError(
            f"{path} does not hold the spec and runs that were fitted: their hashes differ from "
            "those recorded. The file was changed by hand, or an older version of scalebayes with "
            "fewer settings in its specs saved it: fit again"
        )
    return fit


def _read_tree(path: Path) -> xr.DataTree:
    """Return the whole tree of a netCDF file."""
    if not path.is_file():
        raise FitError(not_there(path, "no saved fit at"))
    try:
        with xr.open_datatree(path, engine="netcdf4") as stored:
            return stored.load()
    except (OSError, ValueError, RuntimeError) as error:  # netCDF's own errors are RuntimeErrors
        raise FitError(f"{path} is not a netCDF file, or is damaged: {error}") from None


def _assemble(tree: xr.DataTree) -> Fit:
    """Return the fit of a stored tree, whose attributes then are those that it had before."""
    spec = Spec.model_validate_json(tree.attrs.pop(SPEC_KEY))
    about = json.loads(tree.attrs.pop(RUNS_KEY))
    del tree.attrs[FORMAT_KEY]
    missing = {*variable_names(spec)} - set(tree["posterior"].data_vars)
    if missing:
        raise KeyError(f"no draws of {', '.join(sorted(missing))}")
    table = tree["constant_data"].to_dataset().to_dataframe()
    # Files of earlier versions have no metric: `Runs` then guesses it.
    metric = about.get("metric", "")
    runs = Runs(table, about["name"], about["source"], tuple(about["notes"]), metric)
    return Fit(spec, runs, tree)
