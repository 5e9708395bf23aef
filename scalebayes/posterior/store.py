"""Save and load a fit: one netCDF file, metadata as JSON. Loading needs neither PyMC nor nutpie."""

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
"""Raised when older versions could not read a file."""


def save(fit: Fit, path: str | Path) -> Path:
    """Write a fit to one netCDF file, whole or not at all; an existing file is replaced.

    Uncompressed: draws are noise to a compressor, which saves a sixth of the file and takes five times as long.

    Raises
    ------
    FitError
        When the folder does not exist or cannot be written, or the fit is a view of a pooled one.
    """
    if fit.view is not None:
        raise FitError(
            "a view of a pooled fit is not saved by itself: save the pooled fit, and make the view again"
        )
    path = Path(path)
    tree = fit.tree.copy()
    tree.attrs |= {
        "scalebayes_format": FORMAT,
        "scalebayes_spec": fit.spec.model_dump_json(),
        "scalebayes_runs": json.dumps(
            {"name": fit.runs.name, "source": fit.runs.source, "notes": fit.runs.notes}
        ),
    }
    try:
        write_whole(path, lambda temporary: tree.to_netcdf(temporary, engine="netcdf4"))
    except (
        OSError,
        RuntimeError,
    ) as error:  # netCDF's own errors, a full disk say, are RuntimeErrors
        raise FitError(
            f"cannot write {path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    return path


def load(path: str | Path) -> Fit:
    """Read a fit that `save` wrote, eagerly: the file is closed when this returns.

    Raises
    ------
    FitError
        When there is no such file, or it is not one of ours, or newer than this version.
    """
    path = Path(path)
    if not path.is_file():
        raise FitError(not_there(path, "no fit at"))
    try:
        with xr.open_datatree(path, engine="netcdf4") as stored:
            tree = stored.load()
    except (OSError, ValueError, RuntimeError) as error:  # netCDF's own errors are RuntimeErrors
        raise FitError(f"{path} is not a netCDF file, or is damaged: {error}") from None
    if (
        not {METADATA, "scalebayes_format", "scalebayes_spec", "scalebayes_runs"}
        <= tree.attrs.keys()
    ):
        raise FitError(f"{path} is a netCDF file, but not a fit that scalebayes saved")
    if str(found := tree.attrs["scalebayes_format"]) != str(FORMAT):
        raise FitError(
            f"{path} was saved in format {found}, this scalebayes reads {FORMAT}: a newer one may read it"
        )
    try:
        fit = _assemble(tree)
        hashes = fit.metadata["hashes"]
    except ValidationError as error:  # a law that this version does not have, say
        raise FitError(
            f"{path} holds a spec that this scalebayes cannot read: {error.errors()[0]['msg']}"
        ) from None
    except (KeyError, TypeError, ValueError, RunsError) as error:
        raise FitError(f"{path} is damaged or was changed by hand: {error}") from None
    if hashes != {"spec": fit.spec.hash, "runs": fit.runs.hash}:
        raise FitError(
            f"{path} is not what was saved: its spec or runs are not those that were fitted. It was changed by hand, "
            "or saved by a scalebayes whose specs said less: then fit again"
        )
    return fit


def _assemble(tree: xr.DataTree) -> Fit:
    spec = Spec.model_validate_json(tree.attrs.pop("scalebayes_spec"))
    about = json.loads(tree.attrs.pop("scalebayes_runs"))
    del tree.attrs["scalebayes_format"]
    missing = {*variable_names(spec)} - set(tree["posterior"].data_vars)
    if missing:
        raise KeyError(f"no draws of {', '.join(sorted(missing))}")
    table = tree["constant_data"].to_dataset().to_dataframe()
    return Fit(spec, Runs(table, about["name"], about["source"], tuple(about["notes"])), tree)
