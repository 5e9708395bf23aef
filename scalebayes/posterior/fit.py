"""A fit: a spec, runs, and posterior draws as an ArviZ tree.

Nothing here samples or imports PyMC.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr

from scalebayes.datasets.names import runs_in_words
from scalebayes.display import html
from scalebayes.errors import QueryError
from scalebayes.messages import Message
from scalebayes.specs.discrepancy import Conditional
from scalebayes.specs.drift import Drift
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
    seed
        Seed of a new group.
    """

    group: str | None
    seed: int = 0

    @property
    def is_new(self) -> bool:
        """Whether this is a group without runs, drawn from the population."""
        return self.group is None

    def __str__(self) -> str:
        return "a new group" if self.group is None else self.group


class Sampled:
    """What the metadata in a file tell of any fit, of runs or of curves."""

    stored: xr.DataTree

    @property
    def metadata(self) -> dict[str, Any]:
        """How the fit was made: seed, settings, attempts, failed checks, hashes, versions, seconds.

        ``asked`` holds the settings that were asked for, defaults included (draws, tune, chains
        ...); ``sampler`` those of the last attempt, which differ after failed convergence checks.
        Files of earlier versions have no ``asked``.
        """
        return json.loads(self.stored.attrs[METADATA])

    @property
    def partial(self) -> bool:
        """Whether sampling was interrupted before all draws were made."""
        return bool(self.metadata["partial"])

    @property
    def gate_failures(self) -> tuple[str, ...]:
        """Codes of the convergence checks that failed after sampling; empty when all passed."""
        return tuple(self.metadata["gate_failures"])


@dataclass(frozen=True, repr=False)
class Fit(Sampled):
    """Posterior of a spec given runs.

    Attributes
    ----------
    spec
        The model.
    runs
        The runs that it was fitted to.
    stored
        DataTree of what files keep: posterior and sample_stats (chain, draw), prior, observed_data,
        constant_data; and, where drift, discrepancy or offsets of trainings were sampled, a group
        of their draws.
    """

    spec: Spec
    runs: Runs
    stored: xr.DataTree

    @functools.cached_property
    def tree(self) -> xr.DataTree:
        """DataTree for ArviZ: the stored groups, and those that follow from them.

        log_likelihood has the log density of each run's log loss, (chain, draw, run), and
        posterior_predictive and prior_predictive have replicated log losses; very long tables have
        none of these three. log_prior has the log prior density by parameter, (chain, draw), of
        the log of the quantity on which the prior is stated. Groups have the attributes that ArviZ
        gives: created_at, inference_library and its version, sampling_time (seconds of the whole
        fit, with compilation and checks), and the model.

        Where a discrepancy is integrated out, the values of log_likelihood and posterior_predictive
        are each given all other runs, as leave-one-out needs them. The former then do not add up to
        the log likelihood of the table: power-scaling of the likelihood is in
        `scalebayes.power_scaling`.

        ArviZ's summaries have 89% intervals by default, those of scalebayes 90%: pass
        ``ci_prob=0.9`` to compare them.
        """
        from scalebayes.posterior.derived.tree import arviz_tree  # which imports this module

        return arviz_tree(self)

    @functools.cached_property
    def log_likelihood(self) -> xr.Dataset | None:
        """Pointwise log likelihood, (chain, draw, run), or None (`posterior.derived.pointwise`)."""
        from scalebayes.posterior.derived.pointwise import log_likelihood

        return log_likelihood(self)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups of a pooled fit; empty for other fits and for views of a group."""
        posterior = self.stored["posterior"]
        if "group" not in posterior.dims:
            return ()
        return tuple(str(name) for name in posterior.to_dataset()["group"].values)

    @property
    def view(self) -> View | None:
        """The group of a pooled fit that this fit is a view of; None where it is no view."""
        if "view" not in self.metadata:
            return None
        return View(**self.metadata["view"])

    @functools.cached_property
    def discrepancy(self) -> Conditional | None:
        """The discrepancy given the runs, draws along one axis; None where the spec has none."""
        return self.spec.observation.conditional(self.stored, self.runs, lambda: residuals(self))

    @functools.cached_property
    def conflicts(self) -> tuple[Message, ...]:
        """Warnings that table, prior and law contradict each other (`posterior.conflicts`)."""
        from scalebayes.posterior.conflicts import find_conflicts  # which imports this module

        return find_conflicts(self)

    @functools.cached_property
    def tuned_runs(self) -> Fit:
        """The fit at the best hyperparameters; itself where the law has none."""
        from scalebayes.posterior.tuned_runs import tuned_runs  # which imports this module

        return tuned_runs(self)

    @functools.cached_property
    def drift(self) -> Drift | None:
        """The bent law under each draw, chains one after the other; None where it is straight."""
        return self.spec.observation.drift(self.stored, self.runs, self.metadata.get("seed", 0))

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickles and copies hold: not what was computed from the draws since."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __repr__(self) -> str:
        sizes = self.stored["posterior"].sizes
        size = f"{sizes['chain']} x {sizes['draw']} draws"
        if self.groups:
            size = f"{len(self.groups)} groups, {size}"
        if self.partial:
            size += ", partial: interrupted"
        if self.gate_failures:
            size += f", convergence checks FAILED: {', '.join(self.gate_failures)}"
        return f"<Fit of {self.spec.name} to {self.runs.name}: {len(self.runs)} runs, {size}>"

    def _repr_html_(self) -> str:
        sizes = self.stored["posterior"].sizes
        count = f"{sizes['chain']} chains of {sizes['draw']}"
        if self.partial:
            count += ", partial: interrupted"
        checks = "passed"
        if self.gate_failures:
            checks = f"FAILED: {', '.join(self.gate_failures)}"
        about = {
            "model": self.spec.title,
            "law": f"L = {self.spec.law_object.formula}",
            "runs": repr(self.runs),
            "draws": count,
            "convergence checks": checks,
            "seed": self.metadata.get("seed", "unknown"),
            "questions": self._questions(),
        }
        title = f"Fit of {self.spec.name} to {runs_in_words(self.runs)}"
        draws = html.fold("tree: the draws, for ArviZ", cast("Any", self.stored)._repr_html_())
        return html.panel(title, html.facts(about), draws)

    def _questions(self) -> str:
        """Return the functions that a newcomer asks first, with what they take."""
        if self.groups:
            return (
                f"of one group: sb.group(fit, {self.groups[0]!r}); of a new one: sb.new_group(fit)"
            )
        inputs = self.spec.law_object.inputs
        given = ", ".join(f"{x}=..." for x in inputs)
        questions = ["sb.summary(fit)", "sb.diagnose(fit)", f"sb.predict(fit, {given})"]
        if {"N", "D"} <= set(inputs):
            questions += ["sb.frontier(fit, C=...)", "sb.decide(fit, C=...)"]
        questions.append('sb.report(fit, "report.html")')
        return ", ".join(questions)


def draws(fit: Fit, group: str = "posterior") -> xr.Dataset:
    """Return the draws of the parameters, (chain, draw), as a dataset for arithmetic.

    Parameters
    ----------
    fit
        A fit that is not pooled, or the view of a group.
    group
        Part of the tree, ``"posterior"`` or ``"prior"``.

    Raises
    ------
    QueryError
        For a pooled fit, whose groups each have parameters of their own.
    """
    if fit.groups:
        raise QueryError(
            f"'{fit.spec.name}' has parameters by {fit.spec.pool}: ask one of "
            f"{', '.join(fit.groups)} with sb.group(fit, {fit.groups[0]!r}) (--group), or a group "
            "without runs with sb.new_group(fit) (--new-group)"
        )
    return fit.stored[group].to_dataset()


def refuse_view(fit: Fit, what: str, *, of_a_group: bool = True) -> None:
    """Raise for a question that a pooled fit or a view of it cannot answer; else return.

    Parameters
    ----------
    fit
        Any fit.
    what
        What cannot be done, and why: the sentence that follows "of a pooled fit".
    of_a_group
        Whether pooled fits and views of a group are refused too, not only views of a new group.

    Raises
    ------
    QueryError
        When the fit is refused.
    """
    is_new_group = fit.view is not None and fit.view.is_new
    if fit.spec.is_pooled and (of_a_group or is_new_group):
        raise QueryError(f"of a pooled fit, {what}")


def law_parameters(fit: Fit) -> dict[str, np.ndarray]:
    """Return draws of the law's parameters as arrays of shape (chain, draw)."""
    dataset = draws(fit)
    return {name: dataset[name].values for name in fit.spec.law_object.parameter_names}


def noise_parameters(fit: Fit) -> dict[str, np.ndarray]:
    """Return draws of the noise's parameters at the centre of the runs, (chain, draw) each.

    They are what the methods of `Fit.spec.noise_object` take.
    """
    return fit.spec.noise_object.at(_drawn_noise(fit), 0.0)


def noise_parameters_at(fit: Fit, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return draws of the noise's parameters at inputs (targets,): (S, targets) or (S, 1) each."""
    noise = fit.spec.noise_object
    columns = {name: values.reshape(-1, 1) for name, values in _drawn_noise(fit).items()}
    return noise.at(columns, noise.log_scale(inputs, fit.runs))


def _drawn_noise(fit: Fit) -> dict[str, np.ndarray]:
    """Return draws of the noise's parameters, (chain, draw) each."""
    dataset = draws(fit)
    return {name: dataset[name].values for name in fit.spec.noise_object.priors}


def residuals(fit: Fit) -> np.ndarray:
    """Return log loss minus log law, shape (draws, runs), chains one after the other."""
    parameters = {name: values.reshape(-1, 1) for name, values in law_parameters(fit).items()}
    return fit.spec.law_object.log_residual(fit.runs, parameters)


def draw_labels(fit: Fit) -> dict[str, np.ndarray]:
    """Return the labels of chains and draws, which every query keeps."""
    posterior = draws(fit)
    return {dim: posterior[dim].values for dim in ("chain", "draw")}
