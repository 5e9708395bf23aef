"""Exact leave-one-out by refits without one run, for `arviz_stats.reloo`.

Imported only when a refit is needed.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from arviz_stats import SamplingWrapper

from scalebayes.errors import GateWarning
from scalebayes.fitting.fit import fit
from scalebayes.posterior.derived.pointwise import loo_tree, pointwise
from scalebayes.posterior.fit import Fit
from scalebayes.queries.curves import curve_of

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs

SETTINGS = ("draws", "tune", "chains", "target_accept")
"""Sampler settings that a refit takes from the fit."""


class LeaveOneOut(SamplingWrapper):  # type: ignore[misc]
    """A fit that ArviZ can refit without one of its runs.

    ``failed`` names the left-out runs whose refits failed their convergence checks.
    """

    def __init__(self, whole: Fit) -> None:
        super().__init__(model=whole.spec, idata_orig=loo_tree(whole))
        self.whole = whole
        self.failed: list[str] = []

    def sel_observations(self, idx: int) -> tuple[np.ndarray, int]:
        """Rows to keep, and the one to leave out."""
        return np.delete(np.arange(len(self.whole.runs)), idx), idx

    def sample(self, modified_observed_data: np.ndarray) -> Fit:
        """Refit on the rows kept, as the whole table was fitted."""
        whole = self.whole
        kept = whole.runs.table.iloc[modified_observed_data]
        sampler = whole.metadata["sampler"]
        settings = {key: value for key, value in sampler.items() if key in SETTINGS}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GateWarning)  # told by name instead
            refit = fit(
                replace(whole.runs, table=kept), whole.spec, seed=whole.metadata["seed"], **settings
            )
        if refit.gate_failures:
            self.failed += whole.runs.table.index.difference(kept.index).tolist()
        return refit

    def get_inference_data(self, fitted_model: Fit) -> xr.DataTree:
        """The tree of a refit."""
        return fitted_model.stored

    def log_likelihood__i(self, excluded_obs: int, idata__i: xr.DataTree) -> Any:
        """Log density of the run left out, given the draws of its refit.

        With a sampled discrepancy, its value at that run is drawn given the losses of the others.
        Drift is continued to that run.
        """
        spec, runs = self.whole.spec, self.whole.runs
        posterior = idata__i["posterior"].to_dataset()
        delta: np.ndarray | float = 0.0
        if spec.observation.traits.samples_discrepancy:
            kept = replace(runs, table=runs.table.drop(runs.table.index[excluded_obs]))
            refit = Fit(spec, kept, idata__i)
            shape = (*posterior["sigma"].shape, len(runs))
            delta = _drawn_at(refit, runs, excluded_obs).reshape(shape)
        density = pointwise(posterior, spec, runs, delta)
        return density["log_loss"].isel(run=excluded_obs)


def _drawn_at(fit: Fit, runs: Runs, seed: int) -> np.ndarray:
    """Return draws of the log of the curve over the law at any runs, (S, runs)."""
    inputs = [getattr(runs, x) for x in fit.spec.law_object.inputs]
    if fit.drift is not None:
        bent, straight = curve_of(fit, "curve"), curve_of(fit, "law")
        return bent.log_loss_shared(*inputs) - straight.log_loss_shared(*inputs)
    known = fit.discrepancy
    assert known is not None  # the draws hold one or the other
    return known.draw(known.basis.scale(inputs), np.random.default_rng(seed))
