"""Views of a pooled fit: one group, or a group without runs, as a fit that every query accepts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.posterior.fit import METADATA, Fit, View
from scalebayes.posterior.stated import fitted_units, normalised_draws, stated_spec
from scalebayes.specs.population import around_population, pooled_names, shared_names
from scalebayes.specs.table_units import to_table

NEW_GROUP_STREAM = 4
"""Second word of the seed of a new group, so that its numbers differ from others of one seed."""


def group(fit: Fit, name: str) -> Fit:
    """Return the view of one group of a pooled fit: its parameters and its runs.

    Distances beyond the runs are those beyond the group's own runs. Views of two groups keep the
    draws of the pooled fit in order, so `contrast` and `multiplier` compare them draw by draw.

    Parameters
    ----------
    fit
        A fit of a spec with ``pool``.
    name
        A group's name, one of `Fit.groups`.

    Raises
    ------
    QueryError
        When the fit is not pooled, or has no such group.

    Examples
    --------
    >>> pooled = sb.load("pooled.nc")
    >>> pythia = sb.group(pooled, "pythia")
    >>> len(pooled.runs), len(pythia.runs)
    (15, 8)
    >>> f"{sb.predict(pythia, N='12B', D='300B')['loss'].median():.2f}"
    '1.58'
    """
    _check_pooled(fit)
    if name not in fit.groups:
        raise QueryError(
            f"no {fit.spec.pool} is called {name!r} in {fit.runs.name}; "
            f"there are {', '.join(fit.groups)}"
        )
    rows = np.flatnonzero(fit.runs.table["group"].astype(str) == name)
    runs = replace(fit.runs, table=fit.runs.table.iloc[rows], name=f"{fit.runs.name}, {name}")
    parameters = [*pooled_names(fit.spec), *shared_names(fit.spec)]
    parts = {}
    for part in ("posterior", "prior"):
        values = fit.stored[part].to_dataset()[parameters]
        parts[part] = values.sel(group=name, drop=True)
    for part in ("observed_data", "constant_data"):
        if part in fit.stored.children:
            parts[part] = fit.stored[part].to_dataset().isel(run=rows)
    return _view(replace(fit, runs=runs), parts, View(name))


def new_group(fit: Fit, *, seed: int = 0) -> Fit:
    """Return the view of a group without runs, drawn from the population of a pooled fit.

    Each draw of the population's mu and tau gives the new group's parameter exp(mu + tau z), with z
    standard Normal. The view keeps all runs, so distances are those beyond the largest run of any
    group. With few groups the spreads tau, and so the width of a new group's posterior, depend on
    their priors (`diagnose` warns of that with SPREAD_FROM_PRIOR).

    Parameters
    ----------
    fit
        A fit of a spec with ``pool``.
    seed
        Seed of z.

    Raises
    ------
    QueryError
        When the fit is not pooled.

    Examples
    --------
    >>> pooled = sb.load("pooled.nc")
    >>> loss = sb.predict(sb.new_group(pooled), N="12B", D="300B")["loss"]
    >>> f"{loss.median():.1f}"
    '1.6'
    """
    _check_pooled(fit)
    rng = np.random.default_rng([seed, NEW_GROUP_STREAM])
    spec = stated_spec(fit)
    parts = {}
    for part in ("posterior", "prior"):
        dataset = normalised_draws(fit, part)
        population = {str(name): values.values for name, values in dataset.items()}
        drawn = around_population(population, spec, rng)
        variables = {name: (("chain", "draw"), values) for name, values in drawn.items()}
        shared = {name: dataset[name] for name in shared_names(spec)}
        labels = {dim: dataset[dim] for dim in ("chain", "draw")}
        of_group = xr.Dataset(variables, labels).assign(shared)
        parts[part] = to_table(of_group, spec, fitted_units(fit))
    for part in ("observed_data", "constant_data"):
        parts[part] = fit.stored[part].to_dataset()
    return _view(fit, parts, View(None, int(seed)))


def _check_pooled(fit: Fit) -> None:
    if not isinstance(fit, Fit):
        raise QueryError("an average has no groups of its own: ask each fit of the average")
    if fit.groups:
        return
    if fit.view is not None:
        reason = f"a view of {fit.view} already"
    else:
        reason = "not a fit of a pooled model"
    raise QueryError(
        f"{fit!r} is {reason}: only a fit of a model with pool, such as chinchilla-pooled, "
        "has groups"
    )


def _view(fit: Fit, parts: dict[str, xr.Dataset], view: View) -> Fit:
    """Return a fit of these parts, with the view and a hash of the pooled draws in its tree."""
    tree = xr.DataTree.from_dict({**parts, "sample_stats": fit.stored["sample_stats"].to_dataset()})
    # Views of one pooled fit share this hash, by which queries know that their draws are paired.
    population = fit.stored["posterior"].to_dataset()["sigma_population"]
    tree.attrs = {
        METADATA: json.dumps(fit.metadata | {"view": asdict(view)}, sort_keys=True),
        "pooled": hashlib.sha256(population.values.tobytes()).hexdigest(),
    }
    return replace(fit, stored=tree)
