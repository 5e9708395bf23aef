"""The tuned runs of a fit whose law has hyperparameters, as a fit that every query accepts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import xarray as xr

from scalebayes.specs.spec import Spec

if TYPE_CHECKING:
    from scalebayes.posterior.fit import Fit


def tuned_runs(fit: Fit) -> Fit:
    """Return the fit of the law at the best hyperparameters; the fit itself where it has none.

    The view has the same draws and runs. A new run of it has the best learning rate and batch, so
    it converges: its noise is that of runs that converge, and the error of its sweep.
    """
    spec = fit.spec
    law = spec.law_object
    if not law.hyperparameters:
        return fit
    noise = spec.observation.noise
    stated = spec.model_dump(exclude={"published", "spread", "priors"})
    stated |= {"law": law.at_best.name, "noise": noise.of_converged or spec.noise}
    stated["trainings"] = True  # the error of a sweep is that of a training with many runs
    kept = (*law.at_best.parameter_names, *spec.noise_object.priors)
    priors = {name: spec.priors[name] for name in kept if name not in noise.of_diverged}
    view = Spec.model_validate(stated | {"priors": priors})
    made = replace(fit, spec=view, stored=xr.DataTree.from_dict(fit.stored.to_dict()))
    made.stored.attrs = fit.stored.attrs
    # Whether runs, priors and law agree is a question to the whole fit.
    made.__dict__["conflicts"] = fit.conflicts
    return made
