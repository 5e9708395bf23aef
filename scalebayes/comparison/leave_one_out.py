"""Exact leave-one-out by refits without one run, for `arviz_stats.reloo`.

Imported only when a refit is needed.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats import SamplingWrapper

from scalebayes.errors import GateWarning
from scalebayes.fitting.fit import fit, log_likelihood
from scalebayes.posterior.fit import Fit

SETTINGS = ("draws", "tune", "chains", "target_accept")
"""Sampler settings that a refit takes from the fit."""


class LeaveOneOut(SamplingWrapper):  # type: ignore[misc]
    """A fit that ArviZ can refit without one of its runs.

    ``failed`` names the left-out runs whose refits failed their convergence checks.
    """

    def __init__(self, whole: Fit) -> None:
        super().__init__(model=whole.spec, idata_orig=whole.tree)
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
        return fitted_model.tree

    def log_likelihood__i(self, excluded_obs: int, idata__i: xr.DataTree) -> Any:
        """Log density of the run left out, given the draws of its refit.

        With a sampled discrepancy, its value at that run is drawn given the losses of the others.
        """
        spec, runs = self.whole.spec, self.whole.runs
        posterior = idata__i["posterior"].to_dataset()
        delta: np.ndarray | float = 0.0
        if spec.observation.samples_discrepancy:
            kept = replace(runs, table=runs.table.drop(runs.table.index[excluded_obs]))
            known = Fit(spec, kept, idata__i).discrepancy
            assert known is not None
            points = known.basis.scale(getattr(runs, x) for x in spec.law_object.inputs)
            drawn = known.draw(points, np.random.default_rng(excluded_obs))
            delta = drawn.reshape(*posterior["eta"].shape, -1)
        density = log_likelihood(posterior, spec, runs, delta)
        return density["log_loss"].isel(run=excluded_obs)
