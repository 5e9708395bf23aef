r"""Power-scaling: sensitivity of the posterior to the prior and to the data.

The prior or the likelihood is raised to a power a near 1,

    p_a(theta) proportional to prior(theta)^a likelihood(theta)   (power-scaled prior),
    p_a(theta) proportional to prior(theta) likelihood(theta)^a   (power-scaled likelihood),

by importance weights on the draws. The sensitivity is the rate at which a marginal distribution
moves away from the posterior, a cumulative Jensen-Shannon distance per doubling of a (Kallioinen
et al. 2024). A sensitivity below 0.05 counts as none.

The prior is the density of the *logarithm* of the quantity on which the spec states it
(`scalebayes.posterior.derived.log_prior` says why, and how the drift is raised to a power).

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
from scalebayes.posterior.derived.log_prior import log_prior, stated_logs
from scalebayes.posterior.derived.pointwise import RESPONSE
from scalebayes.posterior.fit import Fit
from scalebayes.posterior.likelihood import make_likelihood
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import Budgets, read_question
from scalebayes.queries.predict import predict
from scalebayes.summaries.caveats import failure_messages
from scalebayes.summaries.table import Table
from scalebayes.units import format_quantity
from scalebayes.utils.progress import shows_progress

THRESHOLD = 0.05
"""Sensitivity below which a distribution counts as unmoved (Kallioinen et al. 2024)."""
WORDS = {
    (True, True): "both: prior and data may conflict",
    (True, False): "prior: weak data",
    (False, True): "data",
    (False, False): "neither",
}
"""Meaning by (whether the prior moves the quantity, whether the data do)."""


@shows_progress("sensitivity to prior and data")
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
        `arviz_stats.psense`, for the logs of the quantities on which the priors are stated; for a
        scale such as N_c that is its term at the reference input. Sizes are compared by their logs,
        too.

    Raises
    ------
    QueryError
        For an average, whose fits have different priors, for a group of a pooled fit, and as
        `scalebayes.predict` and `scalebayes.frontier`. A pooled fit itself can be asked without a
        decision: for its population, its spreads and its shared parameters.

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
    if fit.view is not None:
        raise QueryError(
            "power-scaling of one group is not supported: its prior depends on the other groups. "
            "Ask the pooled fit, whose population, spreads and shared parameters have priors"
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
    """Return posterior, log_prior and log_likelihood, (chain, draw) each, for `arviz_stats.psense`.

    The posterior holds the logs of the quantities on which the priors are stated, and the
    decisions.
    """
    dims = ("chain", "draw")
    posterior = xr.Dataset(stated_logs(fit))
    posterior = posterior.assign({name: (dims, values) for name, values in decisions.items()})
    labels = {dim: posterior[dim] for dim in dims}
    shape = (posterior.sizes["chain"], posterior.sizes["draw"])
    log_loss = (dims, _log_likelihood(fit).reshape(shape))
    groups = {
        "posterior": posterior,
        "log_prior": log_prior(fit),
        "log_likelihood": xr.Dataset({"log_loss": log_loss}, labels),
    }
    return xr.DataTree.from_dict(groups)


def _log_likelihood(fit: Fit) -> np.ndarray:
    """Return the log density of all runs together, (draws,), chains one after the other."""
    if not fit.groups:
        return make_likelihood(fit).joint()
    if fit.log_likelihood is None:
        raise QueryError(
            f"{fit.runs.name} is too long a table for the pointwise log likelihood of a pooled "
            "fit, and power-scaling needs it"
        )
    # Runs of a pooled fit are independent given a draw.
    return fit.log_likelihood[RESPONSE].sum("run").values.ravel()


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
