"""One group of a pooled fit, or a group not seen yet, as a fit that every query takes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.posterior.fit import METADATA, Fit, View
from scalebayes.specs.pooling import around_population, pooled_names, shared_names


def group(fit: Fit, name: str) -> Fit:
    """One group of a pooled fit: its parameters, its runs, so that distances are from those.

    The draws are those of the pooled fit: views of two groups belong together draw by draw, and `contrast` and
    `multiplier` take them so.

    Parameters
    ----------
    fit
        A fit of a spec with ``pool``.
    name
        A group's name, as `Fit.groups` has it.

    Raises
    ------
    QueryError
        When the fit is not pooled, or has no such group.
    """
    _check_pooled(fit)
    if name not in fit.groups:
        raise QueryError(
            f"no {fit.spec.pool} is called {name!r} in {fit.runs.name}; there are {', '.join(fit.groups)}"
        )
    rows = np.flatnonzero(fit.runs.table["group"].astype(str) == name)
    runs = replace(fit.runs, table=fit.runs.table.iloc[rows], name=f"{fit.runs.name}, {name}")
    names = [*pooled_names(fit.spec), *shared_names(fit.spec)]
    parts = {
        k: fit.tree[k].to_dataset()[names].sel(group=name, drop=True)
        for k in ("posterior", "prior")
    }
    of_runs = ("observed_data", "constant_data", "log_likelihood")
    parts |= {k: fit.tree[k].to_dataset().isel(run=rows) for k in of_runs if k in fit.tree.children}
    return _view(replace(fit, runs=runs), parts, View(name))


def new_group(fit: Fit, *, seed: int = 0) -> Fit:
    """A group not seen yet, drawn from the population of a pooled fit: exp(mu + tau z) for each draw of mu and tau.

    It keeps all runs, so that distances are from the largest of any group. With few groups the spreads tau, and so how
    far a new group may lie, rest on their priors (`diagnose` says where).

    Parameters
    ----------
    fit
        A fit of a spec with ``pool``.
    seed
        Of z.

    Raises
    ------
    QueryError
        When the fit is not pooled.
    """
    _check_pooled(fit)
    rng, parts = np.random.default_rng([seed, 4]), {}
    for k in ("posterior", "prior"):
        given = fit.tree[k].to_dataset()
        drawn = around_population({str(n): v.values for n, v in given.items()}, fit.spec, rng)
        labels = {dim: given[dim] for dim in ("chain", "draw")}
        values = xr.Dataset({n: (("chain", "draw"), v) for n, v in drawn.items()}, labels)
        parts[k] = values.assign({n: given[n] for n in shared_names(fit.spec)})
    parts |= {k: fit.tree[k].to_dataset() for k in ("observed_data", "constant_data")}
    return _view(fit, parts, View(None))


def _check_pooled(fit: Fit) -> None:
    if not isinstance(fit, Fit):
        raise QueryError("groups are those of one fit: ask each fit of the average by itself")
    if not fit.groups:
        what = f"a view of {fit.view} already" if fit.view is not None else "not of a pooled model"
        raise QueryError(
            f"{fit!r} is {what}: groups are of a fit of a model with pool, such as chinchilla-pooled"
        )


def _view(fit: Fit, parts: dict[str, xr.Dataset], view: View) -> Fit:
    """Put the parts together, marked as a view of its fit."""
    tree = xr.DataTree.from_dict({**parts, "sample_stats": fit.tree["sample_stats"].to_dataset()})
    origin = hashlib.sha256(
        fit.tree["posterior"].to_dataset()["sigma_population"].values.tobytes()
    ).hexdigest()
    tree.attrs = {
        METADATA: json.dumps(fit.metadata | {"view": asdict(view)}, sort_keys=True),
        "pooled": origin,
    }
    return replace(fit, tree=tree)
