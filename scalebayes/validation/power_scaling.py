r"""Whether the prior or the data decides: how the posterior moves when either is raised to a power.

    p_a(theta) proportional to prior(theta)^a likelihood(theta)      and      prior(theta) likelihood(theta)^a

for a near 1, by importance weights on the draws; the sensitivity is the rate at which a marginal distribution moves
away from the posterior (Kallioinen et al. 2024: a cumulative Jensen-Shannon distance, per doubling of a). Below 0.05 it
is called none.

Raising a density to a power is not the same in every parametrisation: the Jacobian is raised too, or not. Here the
prior is the density of the *logarithm* of what the spec states it on: of L_inf, of the exponents, of the size in nats
of a term at its reference input (not of N_c), of sigma, of nu - 2. All of these are positive scales, on which a person
judges factors. So a LogNormal of median m and log width s becomes one of median m and width s/sqrt(a), and a Gamma
keeps its mean: the prior is more or less sure of the same value. In the density of the value itself, a LogNormal's
median would move too, by a factor exp(s^2 (1 - a)/a).

The likelihood of a spec with a discrepancy is that of all runs together, the discrepancy integrated out; the pointwise
values of `Fit.tree`, each given all other runs, do not add up to it. Where the discrepancy is sampled, runs are
independent given its draw at them, and the values add up.

References
----------
Kallioinen, Paananen, Buerkner and Vehtari (2024), Detecting and diagnosing prior and likelihood sensitivity with
power-scaling, doi:10.1007/s11222-023-10366-5, arXiv:2107.14054.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit, draw_labels, draws, refuse_view
from scalebayes.posterior.likelihood import make_likelihood
from scalebayes.queries.frontier import frontier
from scalebayes.queries.predict import predict
from scalebayes.summaries.table import Table
from scalebayes.units import format_quantity

THRESHOLD = 0.05
"""Sensitivity below which a distribution is said not to move (Kallioinen et al. 2024)."""
WORDS = {
    (True, True): "both: prior and data may conflict",
    (True, False): "prior: the data say little",
    (False, True): "data",
    (False, False): "neither moves it",
}
"""Whether the prior and whether the data move a quantity -> what that means."""


def power_scaling(
    fit: Fit, *, N: Any = None, D: Any = None, C: Any = None, threshold: float = THRESHOLD
) -> Table:
    """Say of each parameter, and of a decision, whether the prior or the data decides it.

    Parameters
    ----------
    fit
        A fit, sampled or loaded.
    N, D, C
        The decision: budgets C alone, for the compute-optimal size and the loss there; or targets as
        `scalebayes.predict` takes them, for the loss of the curve. Without any, parameters alone.
    threshold
        Sensitivity from which a quantity is said to move.

    Returns
    -------
    pandas.DataFrame
        Indexed by quantity: ``prior`` and ``likelihood``, the sensitivity to each; ``strongest``, the parameter whose
        prior alone moves the quantity most, and ``strongest_prior``, by how much; ``decides``, in words. The
        sensitivities are those of `arviz_stats.psense`. Sizes are compared as logs, scales such as N_c by the log size
        of their term at the reference.

    Raises
    ------
    QueryError
        For an average, which has no one prior, and as `scalebayes.predict` and `scalebayes.frontier`.
    """
    import arviz_stats as azs

    if isinstance(fit, Average):
        raise QueryError(
            "power-scaling is that of one prior and one likelihood: ask each fit of the average by itself"
        )
    refuse_view(
        fit, "the prior of a group is the other groups: power-scaling of it is not there yet"
    )
    tree = scaling_tree(fit, _decisions(fit, N, D, C))
    names = [str(name) for name in tree["posterior"].data_vars]
    alone = {
        name: azs.psense(tree, group="prior", group_var_names=[name])
        for name in tree["log_prior"].data_vars
    }
    sensitivity = {group: azs.psense(tree, group=group) for group in ("prior", "likelihood")}
    table = Table(
        {group: [float(values[n]) for n in names] for group, values in sensitivity.items()},
        index=names,
    )
    by_prior = Table(
        {name: [float(values[n]) for n in names] for name, values in alone.items()}, index=names
    )
    table["strongest"] = by_prior.idxmax(axis=1)
    table["strongest_prior"] = by_prior.max(axis=1)
    moved = zip(table["prior"] >= threshold, table["likelihood"] >= threshold, strict=True)
    table["decides"] = [WORDS[bool(prior), bool(data)] for prior, data in moved]
    return Table(table.rename_axis("quantity"))


def scaling_tree(fit: Fit, decisions: dict[str, np.ndarray]) -> xr.DataTree:
    """Posterior, log_prior and log_likelihood, (chain, draw) each, as `arviz_stats.psense` takes them.

    The posterior holds the logs of what the priors are stated on, and the decisions.
    """
    stated = stated_logs(fit)
    joint = make_likelihood(fit).joint().reshape(next(iter(stated.values())).shape)
    groups = {
        "posterior": stated | decisions,
        "log_prior": {name: log_density(fit, name, value) for name, value in stated.items()},
        "log_likelihood": {"log_loss": joint},
    }
    labels = draw_labels(fit)
    made = {
        k: xr.Dataset({n: (("chain", "draw"), x) for n, x in v.items()}, labels)
        for k, v in groups.items()
    }
    return xr.DataTree.from_dict(made)


def stated_logs(fit: Fit) -> dict[str, np.ndarray]:
    """Log of what each prior is stated on, above its shift, (chain, draw)."""
    posterior, spec = draws(fit), fit.spec
    out = {}
    for parameter in spec.law_object.parameters:
        log, at = np.log(posterior[parameter.name].values), spec.priors[parameter.name].at
        exponent = (
            posterior[parameter.exponent].values if parameter.exponent and at is not None else 1.0
        )
        out[parameter.name] = log if at is None else exponent * (log - np.log(at))
    return out | {
        name: np.log(posterior[name].values - spec.priors[name].shift)
        for name in spec.scatter_names
    }


def log_density(fit: Fit, name: str, log_value: np.ndarray) -> np.ndarray:
    """Log prior density of the log of what a prior is stated on."""
    prior = fit.spec.priors[name]
    return prior.logpdf(prior.shift + np.exp(log_value)) + log_value


def _decisions(fit: Fit, N: Any, D: Any, C: Any) -> dict[str, np.ndarray]:
    """Draws of the decision by its words, (chain, draw)."""
    if N is None and D is None and C is None:
        return {}
    if N is None and D is None and fit.spec.law_object.inputs == ("N", "D"):
        best = frontier(fit, C=C)
        at = [format_quantity(float(c)) for c in best["C"]]
        sizes = {f"N* at {c}": np.log(best["N"].values[..., i]) for i, c in enumerate(at)}
        return sizes | {f"loss at {c}": best["loss"].values[..., i] for i, c in enumerate(at)}
    loss = predict(fit, N=N, D=D, C=C)
    inputs = [x for x in ("N", "D") if x in loss.coords] or ["C"]
    out = {}
    for i in range(loss.sizes["target"]):
        words = ", ".join(f"{x} {format_quantity(float(loss[x][i]))}" for x in inputs)
        out[f"loss at {words}"] = loss["loss"].values[..., i]
    return out
