"""A fit: the spec, the runs, and the draws as a plain ArviZ tree; and several fits as one, by weight.

Nothing here samples or imports PyMC.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr

from scalebayes.display import html
from scalebayes.errors import QueryError
from scalebayes.specs.discrepancy import Conditional
from scalebayes.specs.observation import SAMPLED as SAMPLED

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs
    from scalebayes.specs.spec import Spec

METADATA = "scalebayes"
"""Root attribute of the tree: how the fit was made, as canonical JSON."""


@dataclass(frozen=True)
class View:
    """One group of a pooled fit.

    Attributes
    ----------
    group
        The group's name; None for a new group, which has no runs.
    """

    group: str | None

    @property
    def is_new(self) -> bool:
        """Whether this is a group without runs, drawn from the population."""
        return self.group is None

    def __str__(self) -> str:
        return "a new group" if self.group is None else self.group


@dataclass(frozen=True, repr=False)
class Fit:
    """Posterior of a spec given runs.

    Attributes
    ----------
    spec, runs
        What was fitted to what.
    tree
        ArviZ DataTree, for summary, loo, compare and its plots: posterior and sample_stats (chain, draw), prior,
        log_likelihood of log loss (chain, draw, run) unless the table is very long, observed_data, constant_data; and
        where the discrepancy was sampled a group of its draws at the runs.
    """

    spec: Spec
    runs: Runs
    tree: xr.DataTree

    @property
    def metadata(self) -> dict[str, Any]:
        """How the fit was made: seed, settings, attempts, gate failures, hashes, versions, seconds, partial or not.

        ``asked`` are the settings that were asked for, defaults included (draws, tune, chains ...); ``sampler`` those
        of the last attempt, which differ after a failed gate. Files of earlier versions have no ``asked``.
        """
        return json.loads(self.tree.attrs[METADATA])

    @property
    def partial(self) -> bool:
        """Whether sampling was interrupted before all draws were there."""
        return bool(self.metadata["partial"])

    @property
    def gate_failures(self) -> tuple[str, ...]:
        """Codes of the convergence checks that failed when this was sampled; empty when the gate passed."""
        return tuple(self.metadata["gate_failures"])

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of a pooled fit, each with parameters of its own; of any other fit, and of a view of one, none."""
        posterior = self.tree["posterior"]
        return (
            tuple(map(str, posterior.to_dataset()["group"].values))
            if "group" in posterior.dims
            else ()
        )

    @property
    def view(self) -> View | None:
        """The group of a pooled fit that this fit is a view of; None where it is no view."""
        if "view" not in self.metadata:
            return None
        return View(self.metadata["view"]["group"])

    @functools.cached_property
    def discrepancy(self) -> Conditional | None:
        """What the draws know of the discrepancy, draws along one axis; None where the spec carries none."""
        return self.spec.observation.conditional(self.tree, self.runs, lambda: residuals(self))

    def __repr__(self) -> str:
        sizes = self.tree["posterior"].sizes
        partial = ", partial: interrupted" if self.partial else ""
        groups = f"{len(self.groups)} groups, " if self.groups else ""
        failed = f", gate FAILED: {', '.join(self.gate_failures)}" if self.gate_failures else ""
        return (
            f"<Fit of {self.spec.name} to {self.runs.name}: {len(self.runs)} runs, "
            f"{groups}{sizes['chain']} x {sizes['draw']} draws{partial}{failed}>"
        )

    def _repr_html_(self) -> str:
        sizes, made = self.tree["posterior"].sizes, self.metadata
        failed = f"FAILED: {', '.join(self.gate_failures)}" if self.gate_failures else "passed"
        about = {
            "model": self.spec.title,
            "law": f"L = {self.spec.law_object.formula}",
            "runs": repr(self.runs),
            "draws": f"{sizes['chain']} chains of {sizes['draw']}"
            + ", partial: interrupted" * self.partial,
            "gate": failed,
            "seed": made.get("seed", "unknown"),
        }
        draws = html.fold("tree: the draws, for ArviZ", cast("Any", self.tree)._repr_html_())
        return html.panel(f"Fit of {self.spec.name} to {self.runs.name}", html.facts(about), draws)


def draws(fit: Fit, group: str = "posterior") -> xr.Dataset:
    """Draws of the parameters, (chain, draw), as a dataset for arithmetic.

    Raises
    ------
    QueryError
        Of a pooled fit, whose groups each have parameters of their own: a view of one answers.
    """
    if fit.groups:
        raise QueryError(
            f"'{fit.spec.name}' has parameters by {fit.spec.pool}: ask one of {', '.join(fit.groups)} with "
            f"sb.group(fit, {fit.groups[0]!r}) (--group), or one not seen yet with sb.new_group(fit) (--new-group)"
        )
    return fit.tree[group].to_dataset()


def refuse_view(fit: Fit, what: str, *, of_a_group: bool = True) -> None:
    """Refuse a question that a pooled fit or a view of it has no answer to.

    Parameters
    ----------
    fit
        Any fit.
    what
        What cannot be done, and why, after "of a pooled fit".
    of_a_group
        Whether the view of a group is refused too, and not only that of a new group.

    Raises
    ------
    QueryError
        With those words.
    """
    is_new_group = fit.view is not None and fit.view.is_new
    if fit.spec.pool is not None and (of_a_group or is_new_group):
        raise QueryError(f"of a pooled fit, {what}")


def law_parameters(fit: Fit) -> dict[str, np.ndarray]:
    """Draws of the law's parameters as arrays of shape (chain, draw)."""
    dataset = draws(fit)
    return {name: dataset[name].values for name in fit.spec.law_object.parameter_names}


def noise_parameters(fit: Fit) -> dict[str, np.ndarray]:
    """Draws of the noise's parameters as arrays of shape (chain, draw)."""
    dataset = draws(fit)
    return {name: dataset[name].values for name in fit.spec.noise_object.priors}


def residuals(fit: Fit) -> np.ndarray:
    """Log loss minus log law of every draw and run, (draws, runs), chains one after the other."""
    parameters = {name: values.reshape(-1, 1) for name, values in law_parameters(fit).items()}
    return fit.spec.law_object.log_residual(fit.runs, parameters)


def draw_labels(fit: Fit) -> dict[str, np.ndarray]:
    """Labels of chains and draws, which every query keeps."""
    posterior = draws(fit)
    return {dim: posterior[dim].values for dim in ("chain", "draw")}
