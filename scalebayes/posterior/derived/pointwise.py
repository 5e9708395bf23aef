"""Pointwise log likelihood of a fit, computed from its draws when it is first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from scalebayes.specs.pooling import RunDraws, pooling_of
from scalebayes.utils.parallel import parts_of, side_by_side

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs
    from scalebayes.posterior.fit import Fit
    from scalebayes.specs.spec import Spec

RESPONSE = "log_loss"
"""Name of the log loss in the groups of a tree."""
MOST_VALUES = 20_000_000
"""Most values of a group with one for each run and draw (160 MB); longer tables have none."""


def log_likelihood(fit: Fit) -> xr.Dataset | None:
    """Return the log density of each run's log loss under each draw, (chain, draw, run).

    With a discrepancy that is integrated out it is that given the other runs; with one that is
    sampled, that given its draws. There is none of a very long table, nor of a view of a new group,
    which has no runs.
    """
    posterior = fit.stored["posterior"].to_dataset()
    is_new_group = fit.view is not None and fit.view.is_new
    if is_new_group or is_too_long(posterior, fit.runs):
        return None
    delta = fit.spec.observation.delta_at_runs(fit.stored, fit.runs)
    return pointwise(posterior, fit.spec, fit.runs, delta, one_group=fit.view is not None)


def is_too_long(parameters: xr.Dataset, runs: Runs) -> bool:
    """Return whether one value for each run and draw would take more than `MOST_VALUES`."""
    draws = parameters.sizes["chain"] * parameters.sizes["draw"]
    return draws * len(runs) > MOST_VALUES


def pointwise(
    posterior: xr.Dataset,
    spec: Spec,
    runs: Runs,
    delta: np.ndarray | float = 0.0,
    *,
    one_group: bool = False,
) -> xr.Dataset:
    """Return the log density of each run's log loss under draws of the parameters.

    Parameters
    ----------
    delta
        Draws of a sampled discrepancy at the runs, (chain, draw, run).
    one_group
        Whether the runs and the draws are those of one group of a pooled model.
    """
    law, observation = spec.law_object, spec.observation
    shape = (posterior.sizes["chain"], posterior.sizes["draw"], len(runs))
    parameters = parameters_of_runs(posterior, spec, runs, one_group=one_group)
    off = np.broadcast_to(delta, shape).reshape(-1, len(runs))
    density = np.empty(off.shape)

    def fill(part: slice) -> None:
        values = parameters.of(part)
        residual = law.log_residual(runs, values) - off[part]
        density[part] = observation.pointwise(residual, values, runs)

    side_by_side(fill, parts_of(*density.shape))
    return by_run(density.reshape(shape), posterior, runs)


def parameters_of_runs(
    parameters: xr.Dataset, spec: Spec, runs: Runs, *, one_group: bool
) -> RunDraws:
    """Return the parameters of each run, chains one after the other."""
    flat: dict[str, np.ndarray] = {}
    size = parameters.sizes["chain"] * parameters.sizes["draw"]
    for name, values in parameters.items():
        flat[str(name)] = values.values.reshape(size, -1)
    if one_group:
        return RunDraws(flat, np.zeros(len(runs), int))
    return pooling_of(spec).for_runs(flat, runs)


def by_run(values: np.ndarray, parameters: xr.Dataset, runs: Runs) -> xr.Dataset:
    """Return values of shape (chain, draw, run) as the log losses of a group of the tree."""
    coords: Mapping[str, object] = {
        "chain": parameters["chain"],
        "draw": parameters["draw"],
        "run": runs.table.index.to_numpy(),
    }
    return xr.Dataset({RESPONSE: (("chain", "draw", "run"), values)}, coords)


def loo_tree(fit: Fit) -> xr.DataTree:
    """Return the groups that leave-one-out scores need: posterior and log_likelihood.

    Raises
    ------
    KeyError
        When there is no log likelihood.
    """
    if fit.log_likelihood is None:
        raise KeyError(f"{fit!r} has no pointwise log likelihood")
    posterior = fit.stored["posterior"].to_dataset()
    return xr.DataTree.from_dict({"posterior": posterior, "log_likelihood": fit.log_likelihood})
