"""Save fits of curves, and read them again, as netCDF files like other fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydantic import ValidationError

from scalebayes.curves.curve_fit import CurveFit
from scalebayes.curves.curves import Curve, Curves
from scalebayes.curves.models import CurveModel
from scalebayes.curves.schedules import Schedule
from scalebayes.errors import FitError
from scalebayes.posterior.fit import METADATA
from scalebayes.posterior.fit_files import check_netcdf_path
from scalebayes.posterior.integrity import digest_of
from scalebayes.posterior.store import (
    DIGEST_KEY,
    FORMAT,
    FORMAT_KEY,
    KIND_KEY,
    RUNS_KEY,
    SPEC_KEY,
    damaged,
    write_tree,
)

COVERED = (METADATA, FORMAT_KEY, KIND_KEY, SPEC_KEY, RUNS_KEY)
"""Root attributes that the digest covers."""
CHECKPOINTS, SCHEDULES = "checkpoints", "schedules"
"""Groups of the tree with the losses, and with the points of the schedules, of all runs."""


def save_curve_fit(fit: CurveFit, path: str | Path) -> Path:
    """Return the path of the netCDF file that a fit of curves was written to.

    Raises
    ------
    FitError
        When the folder does not exist or cannot be written.
    """
    path = Path(path)
    check_netcdf_path(path)
    curves = list(fit.curves.runs.values())
    tree = fit.stored.copy()
    tree[CHECKPOINTS] = xr.DataTree(
        _stacked("row", {"step": [c.steps for c in curves], "loss": [c.losses for c in curves]})
    )
    points = {
        "at": [c.schedule.steps for c in curves],
        "rate": [c.schedule.rates for c in curves],
    }
    tree[SCHEDULES] = xr.DataTree(_stacked("point", points))
    about: dict[str, Any] = {
        "name": fit.curves.name,
        "source": fit.curves.source,
        "notes": fit.curves.notes,
        "runs": [c.run for c in curves],
        "groups": [c.group for c in curves],
        "warmups": [c.schedule.warmup for c in curves],
    }
    tree.attrs |= {
        FORMAT_KEY: FORMAT,
        KIND_KEY: "curves",
        SPEC_KEY: fit.model.model_dump_json(),
        RUNS_KEY: json.dumps(about),
    }
    tree.attrs[DIGEST_KEY] = digest_of(tree, COVERED)
    return write_tree(tree, path)


def _stacked(dim: str, columns: dict[str, list[np.ndarray]]) -> xr.Dataset:
    """Return columns of several runs, one after the other, with the place of the run of each."""
    lengths = [len(values) for values in next(iter(columns.values()))]
    variables = {name: (dim, np.concatenate(each)) for name, each in columns.items()}
    variables["run_place"] = (dim, np.repeat(np.arange(len(lengths)), lengths))
    return xr.Dataset(variables)


def curve_fit_of(path: Path, tree: xr.DataTree) -> CurveFit:
    """Return the fit of a tree that `save_curve_fit` wrote.

    Raises
    ------
    FitError
        When the file is damaged or was changed, or a newer version saved it.
    """
    found = str(tree.attrs.get(FORMAT_KEY))
    if found != str(FORMAT):
        raise FitError(
            f"{path} was saved in format {found}, but this version of scalebayes reads format "
            f"{FORMAT}: a newer version may read it"
        )
    recorded = tree.attrs.pop(DIGEST_KEY, None)
    if not set(COVERED) <= tree.attrs.keys() or recorded != digest_of(tree, COVERED):
        reason = "its content differs from the digest that was saved with it"
        raise FitError(damaged(path, reason))
    try:
        model = CurveModel.model_validate_json(tree.attrs[SPEC_KEY])
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise FitError(
            f"{path} holds a model that this version of scalebayes cannot read: {reason}"
        ) from None
    curves = _curves(tree)
    kept = tree.drop_nodes([CHECKPOINTS, SCHEDULES])
    kept.attrs = {METADATA: tree.attrs[METADATA]}
    return CurveFit(model, curves, kept)


def _curves(tree: xr.DataTree) -> Curves:
    """Return the curves that a tree holds."""
    about = json.loads(tree.attrs[RUNS_KEY])
    rows, points = tree[CHECKPOINTS].to_dataset(), tree[SCHEDULES].to_dataset()
    curves = {}
    named = zip(about["runs"], about["groups"], about["warmups"], strict=True)
    for place, (run, group, warmup) in enumerate(named):
        own = rows["run_place"].values == place
        at = points["run_place"].values == place
        schedule = Schedule(points["at"].values[at], points["rate"].values[at], warmup)
        curves[run] = Curve(
            run, rows["step"].values[own], rows["loss"].values[own], schedule, group
        )
    return Curves(curves, about["name"], about["source"], tuple(about["notes"]))
