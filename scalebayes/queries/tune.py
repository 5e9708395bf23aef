"""Posterior of the best learning rate and batch, and the excess loss of any other choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.laws.tuned import step_law
from scalebayes.posterior.average import over_average_as_fitted
from scalebayes.posterior.fit import Fit, law_parameters
from scalebayes.queries.answers import to_dataset
from scalebayes.queries.inputs import read_inputs
from scalebayes.utils.progress import shows_progress

SWEEP_STREAM = 6
"""Second word of the seed of a new sweep, so that its numbers differ from others of one seed."""
HYPERPARAMETERS = ("learning_rate", "batch")
WITHIN = 0.005
"""Excess loss, in the metric of the runs, up to which a rate or a batch counts as good enough."""


@shows_progress("best learning rate and batch")
@over_average_as_fitted
def tune(
    fit: Fit,
    *,
    N: Any = None,
    D: Any = None,
    C: Any = None,
    learning_rate: Any = None,
    batch: Any = None,
    within: float = WITHIN,
    seed: int = 0,
) -> xr.Dataset:
    r"""Return the posterior of the best learning rate and batch, and what another choice loses.

    Over log rate and log batch the loss of the law ``tuned`` is a valley. Its bottom lies at powers
    of N and D, off which each sweep has an error of its own, Normal(0, tau). The answer is of a new
    sweep, so its draws have such an error, and its intervals are where the best of a sweep at this
    N and D is expected. With x = log rate and z = log batch, both from the bottom, and
    u = x - rho z,

    .. math:: L = L_{best} \exp(c_{rate} V(u) + c_{batch} z^2).

    Parameters
    ----------
    fit
        A fit of the law ``tuned``, or an average of several.
    N, D, C
        Any two of them, as in `predict`.
    learning_rate, batch
        A choice to compare with the best, the batch in tokens: both or neither. As many as N and D,
        or one N and D with many choices.
    within
        Excess loss, in the metric of the runs, that the ranges allow.
    seed
        Seed of the errors of a new sweep.

    Returns
    -------
    xarray.Dataset
        With dims (chain, draw, target): ``best_learning_rate`` and ``best_batch``; ``loss`` there,
        of the curve; ``rate_from`` and ``rate_to``, the rates that lose at most ``within`` at the
        best batch; ``batch_from`` and ``batch_to``, the batches that lose at most that, each with
        its own best rate; and for a choice ``excess_loss``. Coordinates along target: the inputs,
        the choice, and ``step_law_rate`` and ``step_law_batch``, the best values by Step Law.

    Raises
    ------
    QueryError
        When the law has no learning rate and batch, only one of them is given, ``within`` is not
        positive, or as `predict`.

    References
    ----------
    Li et al. (2025), Predictable scale, part I: Step Law, arXiv:2503.04715.

    Examples
    --------
    >>> fit = sb.load("tuned.nc")
    >>> best = sb.tune(fit, N="1B", D="100B", learning_rate=2e-3, batch="1M")
    >>> f"rate {best['best_learning_rate'].median():.1g}, batch {best['best_batch'].median():.1g}"
    'rate 0.001, batch 1e+06'
    >>> f"{best['excess_loss'].median():.2f} nats lost"
    '0.01 nats lost'
    """
    law = fit.spec.law_object
    if law.best is None or law.hyperparameters != HYPERPARAMETERS:
        raise QueryError(
            f"'{fit.spec.name}' has no learning rate and batch to tune: fit the model 'tuned' to a "
            "table with the columns learning_rate and batch"
        )
    if not within > 0:
        raise QueryError(f"within is an excess loss above 0; got {within:g}")
    choice = {"learning_rate": learning_rate, "batch": batch}
    given = {x: value for x, value in choice.items() if value is not None}
    if len(given) == 1:
        raise QueryError(f"got {next(iter(given))} alone: give learning_rate and batch, or neither")
    needed = law.inputs if given else law.at_best.inputs
    inputs = read_inputs({"N": N, "D": D, "C": C, **given}, needed, fit.spec.name)
    if np.isinf([inputs["N"], inputs["D"]]).any():
        raise QueryError("N and D must be finite: an infinite run has no best learning rate")

    draws = {name: values.reshape(-1, 1) for name, values in law_parameters(fit).items()}
    best = _best_of_new_sweep(fit, inputs, draws, seed)
    bottom = law.at_best.evaluate(inputs, draws)
    values = {
        "best_learning_rate": best["learning_rate"],
        "best_batch": best["batch"],
        "loss": bottom,
        **_ranges(best, bottom, draws, within),
    }
    along = dict(inputs)
    of_step_law = step_law(inputs["N"], inputs["D"])
    along["step_law_rate"] = of_step_law["learning_rate"]
    along["step_law_batch"] = of_step_law["batch"]
    if given:
        values["excess_loss"] = _excess(fit, inputs, best, draws, bottom)
    metric = fit.runs.metric
    about = {
        "loss": {"long_name": "loss of the best run (curve)", "units": metric},
        "best_batch": {"units": "tokens"},
        "excess_loss": {"units": metric},
    }
    reached = {x: inputs[x] for x in ("N", "D", "C")}
    answer = to_dataset(fit, values, "target", along, reached, about)
    return answer.assign_attrs(within=within)


def _best_of_new_sweep(
    fit: Fit, inputs: dict[str, np.ndarray], draws: dict[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """Return the best rate and batch of a sweep of its own at each target, (S, targets)."""
    law = fit.spec.law_object
    assert law.best is not None  # the caller has checked it
    names = ("rate_0", "rate_N", "rate_D", "batch_0", "batch_N", "batch_D")
    best = law.best(inputs["N"], inputs["D"], **{name: draws[name] for name in names})
    # Targets of equal N and D are choices in one sweep.
    sizes = np.column_stack([inputs["N"], inputs["D"]])
    distinct, sweep = np.unique(sizes, axis=0, return_inverse=True)
    posterior = fit.stored["posterior"].to_dataset()
    rng = np.random.default_rng([seed, SWEEP_STREAM])
    moved = {}
    for x, scale in (("learning_rate", "tau_rate"), ("batch", "tau_batch")):
        tau = posterior[scale].values.reshape(-1, 1)
        error = tau * rng.standard_normal((len(tau), len(distinct)))
        moved[x] = best[x] * np.exp(error[:, sweep.ravel()])
    return moved


def _excess(
    fit: Fit,
    inputs: dict[str, np.ndarray],
    best: dict[str, np.ndarray],
    draws: dict[str, np.ndarray],
    bottom: np.ndarray,
) -> np.ndarray:
    """Return the loss of the choice minus that of the best, (S, targets)."""
    law = fit.spec.law_object
    assert law.best is not None  # the caller has checked it
    # A choice in a valley that is moved is one as much the other way in the valley of the law.
    names = ("rate_0", "rate_N", "rate_D", "batch_0", "batch_N", "batch_D")
    by_law = law.best(inputs["N"], inputs["D"], **{name: draws[name] for name in names})
    moved = dict(inputs)
    for x in HYPERPARAMETERS:
        moved[x] = inputs[x] * by_law[x] / best[x]
    return law.evaluate(moved, draws) - bottom


def _ranges(
    best: dict[str, np.ndarray],
    bottom: np.ndarray,
    draws: dict[str, np.ndarray],
    within: float,
) -> dict[str, np.ndarray]:
    """Return the rates, and the batches, that lose at most an excess, (S, targets).

    The rate at the best batch, and the batch with its own best rate: c V(u) = log(1 + within/L).
    """
    room = np.log1p(within / bottom)
    lowest, highest = _roots_of_skewed_square(room / draws["c_rate"], draws["skew"])
    half_width = np.sqrt(room / draws["c_batch"])
    return {
        "rate_from": best["learning_rate"] * np.exp(lowest),
        "rate_to": best["learning_rate"] * np.exp(highest),
        "batch_from": best["batch"] * np.exp(-half_width),
        "batch_to": best["batch"] * np.exp(half_width),
    }


def _roots_of_skewed_square(value: np.ndarray, skew: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the two u at which 2 (e^(s u) - 1 - s u)/s^2 has a positive value, in closed form.

    With y = s u and k = 1 + value s^2/2, e^y - y = k has the roots y = -k - W(-e^-k), with W either
    real branch of Lambert's function.
    """
    from scipy.special import lambertw

    k = 1.0 + value * skew**2 / 2
    at = -np.exp(-k)
    lower = -k - lambertw(at, 0).real
    upper = -k - lambertw(at, -1).real
    return lower / skew, upper / skew
