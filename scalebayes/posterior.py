"""A fit: the spec, the runs, and the draws as a plain ArviZ tree. Nothing here samples or imports PyMC."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from scalebayes.discrepancy import Conditional, make_basis

if TYPE_CHECKING:
    from scalebayes.runs import Runs
    from scalebayes.spec import Spec

METADATA = "scalebayes"
"""Root attribute of the tree: how the fit was made, as canonical JSON."""


@dataclass(frozen=True, repr=False)
class Fit:
    """Posterior of a spec given runs.

    Attributes
    ----------
    spec, runs
        What was fitted to what.
    tree
        ArviZ DataTree, for summary, loo, compare and its plots: posterior and sample_stats (chain, draw), prior,
        log_likelihood of log loss (chain, draw, run) unless the table is very long, observed_data, constant_data.
    """

    spec: Spec
    runs: Runs
    tree: xr.DataTree

    @property
    def metadata(self) -> dict[str, Any]:
        """How the fit was made: seed, sampler settings, attempts, gate, hashes, versions, seconds, partial or not."""
        return json.loads(self.tree.attrs[METADATA])

    @property
    def partial(self) -> bool:
        """Whether sampling was interrupted before all draws were there."""
        return bool(self.metadata["partial"])

    @property
    def gate_failures(self) -> tuple[str, ...]:
        """Codes of the convergence checks that failed when this was sampled; empty when the gate passed."""
        return tuple(self.metadata["gate_failures"])

    def __repr__(self) -> str:
        sizes = self.tree["posterior"].sizes
        partial = ", partial: interrupted" if self.partial else ""
        failed = f", gate FAILED: {', '.join(self.gate_failures)}" if self.gate_failures else ""
        return (
            f"<Fit of {self.spec.name} to {self.runs.name}: {len(self.runs)} runs, "
            f"{sizes['chain']} x {sizes['draw']} draws{partial}{failed}>"
        )


def draws(fit: Fit, group: str = "posterior") -> xr.Dataset:
    """Draws of the parameters, (chain, draw), as a dataset for arithmetic."""
    return fit.tree[group].to_dataset()


def law_parameters(fit: Fit) -> dict[str, np.ndarray]:
    """Draws of the law's parameters as arrays of shape (chain, draw)."""
    dataset = draws(fit)
    return {name: dataset[name].values for name in fit.spec.law_object.parameter_names}


def noise_parameters(fit: Fit) -> dict[str, np.ndarray]:
    """Draws of the noise's parameters as arrays of shape (chain, draw)."""
    dataset = draws(fit)
    return {name: dataset[name].values for name in fit.spec.noise_object.priors}


def discrepancy(fit: Fit) -> Conditional | None:
    """What the draws know of the discrepancy, draws along one axis; None where the spec carries none."""
    spec, runs = fit.spec, fit.runs
    if spec.discrepancy is None:
        return None
    law, posterior = spec.law_object, draws(fit)
    parameters = {name: values.reshape(-1, 1) for name, values in law_parameters(fit).items()}
    residual = np.log(runs.loss) - np.log(law.function(*(getattr(runs, x) for x in law.inputs), **parameters))
    basis = make_basis(runs.log_inputs(law.inputs), spec.discrepancy.length)
    eta, sigma = (posterior[name].values.ravel() for name in ("eta", "sigma"))
    return Conditional(basis, eta, sigma, residual @ basis.vectors)


def draw_labels(fit: Fit) -> dict[str, np.ndarray]:
    """Labels of chains and draws, which every query keeps."""
    posterior = draws(fit)
    return {dim: posterior[dim].values for dim in ("chain", "draw")}
