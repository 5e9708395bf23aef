r"""Power-scaling: sensitivity of the posterior to the prior and to the data.

The prior or the likelihood is raised to a power a near 1,

    p_a(theta) proportional to prior(theta)^a likelihood(theta)   (power-scaled prior),
    p_a(theta) proportional to prior(theta) likelihood(theta)^a   (power-scaled likelihood),

by importance weights on the draws. The sensitivity is the rate at which a marginal distribution
moves away from the posterior, a cumulative Jensen-Shannon distance per doubling of a (Kallioinen
et al. 2024). A sensitivity below 0.05 counts as none.

The result of raising a density to a power depends on the parametrisation, because the Jacobian is
raised too. Here the prior is the density of the *logarithm* of the quantity on which the spec
states it: of L_inf, of the exponents, of the size of a term at its reference input (not of N_c), of
sigma, of nu - 2; all in the units of the normalised table (`scalebayes.specs.table_units`). All of
these are positive scales, which are judged by factors. A LogNormal of median m and log width s then
becomes one of median m and width s/sqrt(a), and a Gamma
keeps its mean: the prior becomes more or less sure of the same value. In the density of the value
itself, the median of a LogNormal would move too, by a factor exp(s^2 (1 - a)/a).

The drift, the discrepancy and the offsets of trainings are Normal given the parameter of their size
s (tau, eta, omega). Their density to a power a, normalised, is that of a size s / sqrt(a). So the
power moves the prior p of log s by half its log, which to first order in log a weighs a draw by

    exp(log a / 2 * d log p(log s) / d log s).

This is the effect on everything that follows from the draw, also beyond the runs, and has none of
the noise of the density itself, a sum over some hundred steps.

With a discrepancy, the likelihood is that of all runs together, with the discrepancy integrated
out. The pointwise values of `Fit.tree`, each given all other runs, do not add up to it. Where the
discrepancy is sampled, runs are independent given its draw at them, and the values add up.

References
----------
Kallioinen, Paananen, Buerkner and Vehtari (2024), Detecting and diagnosing prior and likelihood
sensitivity with power-scaling, doi:10.1007/s11222-023-10366-5, arXiv:2107.14054.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit, draw_labels, refuse_view
from scalebayes.posterior.likelihood import make_likelihood
from scalebayes.posterior.stated import log_stated, normalised_draws, stated_spec
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import Budgets, read_question
from scalebayes.queries.predict import predict
from scalebayes.summaries.caveats import failure_messages
from scalebayes.summaries.table import Table
from scalebayes.units import format_quantity

THRESHOLD = 0.05
"""Sensitivity below which a distribution counts as unmoved (Kallioinen et al. 2024)."""
STEP = 1e-4
"""Step in the log of a size, of a central difference."""
WORDS = {
    (True, True): "both: prior and data may conflict",
    (True, False): "prior: the data say little",
    (False, True): "data",
    (False, False): "neither moves it",
}
"""Meaning by (whether the prior moves the quantity, whether the data do)."""


def power_scaling(
    fit: Fit, *, N: Any = None, D: Any = None, C: Any = None, threshold: float = THRESHOLD
) -> Table:
    """Sensitivity of each parameter, and of a decision, to the prior and to the likelihood.

    Parameters
    ----------
    fit
        A fit, sampled or loaded.
    N, D, C
        The decision. Budgets C alone: the compute-optimal size and the loss there. Targets as
        `scalebayes.predict` takes them: the loss of the curve. Without any: parameters alone.
    threshold
        Sensitivity from which a quantity counts as moved.

    Returns
    -------
    pandas.DataFrame
        Indexed by quantity: ``prior`` and ``likelihood``, the sensitivity to each; ``strongest``,
        the parameter whose prior alone moves the quantity most, and ``strongest_prior``, the
        sensitivity to it; ``decides``, the conclusion in words. The sensitivities are those of
        `arviz_stats.psense`. Sizes are compared by their logs, scales such as N_c by the log size
        of their term at the reference input.

    Raises
    ------
    QueryError
        For an average, whose fits have different priors, for a group of a pooled fit, and as
        `scalebayes.predict` and `scalebayes.frontier`.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> sb.power_scaling(fit, C="5.76e23")["decides"]
    quantity
    L_inf                                           data
    N_c                                             data
    alpha_N                                         data
    D_c                                             data
    alpha_D                                         data
    sigma              both: prior and data may conflict
    nu                 both: prior and data may conflict
    N* at 5.76e23                                   data
    loss at 5.76e23                                 data
    Name: decides, dtype: str
    """
    from scalebayes.utils.arviz import azs

    if isinstance(fit, Average):
        raise QueryError(
            "power-scaling is of one prior and one likelihood: "
            "ask each fit of the average by itself"
        )
    refuse_view(
        fit, "power-scaling is not supported: the prior of a group depends on the other groups"
    )
    tree = scaling_tree(fit, _decisions(fit, N, D, C))
    names = [str(name) for name in tree["posterior"].data_vars]
    table = Table(index=names)
    for group in ("prior", "likelihood"):
        sensitivity = azs.psense(tree, group=group)
        table[group] = [float(sensitivity[name]) for name in names]
    by_prior = Table(index=names)
    for parameter in tree["log_prior"].data_vars:
        sensitivity = azs.psense(tree, group="prior", group_var_names=[parameter])
        by_prior[parameter] = [float(sensitivity[name]) for name in names]
    table["strongest"] = by_prior.idxmax(axis=1)
    table["strongest_prior"] = by_prior.max(axis=1)
    prior_moves = table["prior"] >= threshold
    data_move = table["likelihood"] >= threshold
    table["decides"] = [
        WORDS[bool(prior), bool(data)] for prior, data in zip(prior_moves, data_move, strict=True)
    ]
    table = Table(table.rename_axis("quantity"))
    table.attrs["caveats"] = failure_messages(fit.spec.name, fit.gate_failures)
    return table


def scaling_tree(fit: Fit, decisions: dict[str, np.ndarray]) -> xr.DataTree:
    """Posterior, log_prior and log_likelihood, (chain, draw) each, for `arviz_stats.psense`.

    The posterior holds the logs of the quantities on which the priors are stated, and the
    decisions.
    """
    stated = stated_logs(fit)
    shape = next(iter(stated.values())).shape
    log_prior = {name: log_density(fit, name, value) for name, value in stated.items()}
    for name in fit.spec.observation.traits.amplitudes:
        # A column for what the parameter is the size of.
        log_prior[f"given {name}"] = power_of_size(fit, name, stated[name])
    groups = {
        "posterior": stated | decisions,
        "log_prior": log_prior,
        "log_likelihood": {"log_loss": make_likelihood(fit).joint().reshape(shape)},
    }
    datasets = {}
    for group, values in groups.items():
        variables = {name: (("chain", "draw"), value) for name, value in values.items()}
        datasets[group] = xr.Dataset(variables, draw_labels(fit))
    return xr.DataTree.from_dict(datasets)


def stated_logs(fit: Fit) -> dict[str, np.ndarray]:
    """Log of the quantity on which each prior is stated, above its shift, (chain, draw)."""
    posterior = normalised_draws(fit)
    spec = stated_spec(fit)
    return {name: log_stated(posterior, name, spec).values for name in spec.priors}


def log_density(fit: Fit, name: str, log_value: np.ndarray) -> np.ndarray:
    """Log prior density of the log of the quantity on which a prior is stated."""
    prior = stated_spec(fit).priors[name]
    log_jacobian = log_value
    return prior.logpdf(prior.shift + np.exp(log_value)) + log_jacobian


def power_of_size(fit: Fit, name: str, log_size: np.ndarray) -> np.ndarray:
    """Return what stands for the log density of Normal variables of a size, given their size.

    Its powers have the effect of theirs (see the top of this module). log_size : (chain, draw).
    """
    above = log_density(fit, name, log_size + STEP)
    below = log_density(fit, name, log_size - STEP)
    return (above - below) / (4 * STEP)


def _decisions(fit: Fit, N: Any, D: Any, C: Any) -> dict[str, np.ndarray]:
    """Return draws of the decision by its description, (chain, draw)."""
    if N is None and D is None and C is None:
        return {}
    question = read_question(fit, N=N, D=D, C=C)
    if isinstance(question, Budgets):
        return _decisions_at_budgets(fit, question.C)
    answer = predict(fit, N=N, D=D, C=C)
    inputs = [name for name in ("N", "D") if name in answer.coords] or ["C"]
    decisions = {}
    for i in range(answer.sizes["target"]):
        words = [f"{name} {format_quantity(float(answer[name][i]))}" for name in inputs]
        decisions[f"loss at {', '.join(words)}"] = answer["loss"].values[..., i]
    return decisions


def _decisions_at_budgets(fit: Fit, C: Any) -> dict[str, np.ndarray]:
    """Return draws of log N* at each budget, then of the loss there."""
    best = frontier(fit, C=C)
    sizes = {}
    losses = {}
    for i, budget in enumerate(best["C"]):
        at = format_quantity(float(budget))
        sizes[f"N* at {at}"] = np.log(best["N"].values[..., i])
        losses[f"loss at {at}"] = best["loss"].values[..., i]
    return sizes | losses
