"""Conflicts: the table against the law, the posterior against the prior, later runs against it.

NOT_MONOTONE is of the table alone (`scalebayes.data.findings.monotone`). PRIOR_CONFLICT compares
the posterior with the prior and with least squares. ONE_SIDED makes forecasts: the law is fitted by
least squares to the first runs along compute, or along an input, and predicts the others, whose
mean error has a known variance if the law is right (see `scalebayes.laws.least_squares`).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scalebayes.data.findings.monotone import monotone_messages
from scalebayes.data.findings.trainings import has_shared_trainings
from scalebayes.laws.least_squares import LeastSquares, least_squares
from scalebayes.messages import Message
from scalebayes.posterior.fit import Fit, noise_parameters
from scalebayes.posterior.stated import log_stated, normalised_draws, stated_spec
from scalebayes.specs.sweeps import best_of_sweeps
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs
    from scalebayes.laws import Law

PRIOR_TAILS = (0.01, 0.99)
"""Quantiles of the prior beyond which the median of the posterior is in conflict with it."""
MANY_TIMES = 1000
"""Ratio of noise scales from which on its size tells nothing: losses without noise."""
LARGE_SIGMA = 3.0
"""Ratio of the posterior's noise scale to that of least squares above which they conflict."""
LEAST_QUANTILE = 0.05
"""Quantile of the posterior of the noise scale that must exceed that of least squares too."""
FITTED_SHARE = 0.75
"""Share of the runs, the first along a quantity, from which the law predicts the others."""
LEVEL = 0.01
"""Probability of a miss to one side, along one quantity, that is reported of a right law."""
ROWS_FOR_EACH = 2
"""Fewest runs for each parameter from which forecasts are made."""
FEWEST_FORECASTS = 3
"""Fewest distinct runs that are predicted."""
SIMULATIONS = 30
"""Tables simulated for the error of a mean forecast: its own error is then 13%."""
MOST_RUNS = 2000
"""Runs of a table that are fitted and predicted, at most: more would only take time."""
EQUAL_VALUES = 0.01
"""Relative difference within which runs have equal compute, or an equal input."""


def find_conflicts(fit: Fit) -> tuple[Message, ...]:
    """Return the warnings NOT_MONOTONE, PRIOR_CONFLICT and ONE_SIDED of a fit.

    A pooled fit has none, because each of its groups has a law of its own.
    """
    is_new_group = fit.view is not None and fit.view.is_new
    if fit.groups or is_new_group:
        return ()
    law, of_prior = fit.spec.law_object, tuple(_prior_conflicts(fit))
    if law.response != "loss":
        return of_prior
    return (
        *monotone_messages(fit.runs, law.may_rise),
        *of_prior,
        *_noise_conflict(fit),
        *one_sided(fit.runs, law),
    )


def _prior_conflicts(fit: Fit) -> Iterator[Message]:
    """Yield warnings of parameters whose posterior median lies in a tail of the prior.

    There are none where the tree has no draws of the prior.
    """
    if "prior" not in fit.stored.children:
        return
    posterior, prior = normalised_draws(fit), normalised_draws(fit, "prior")
    spec = stated_spec(fit)
    for name in spec.priors:
        stated = log_stated(prior, name, spec)
        middle = float(log_stated(posterior, name, spec).median())
        low, high = stated.quantile(PRIOR_TAILS).values
        if low <= middle <= high:
            continue
        share = float((stated < middle).mean())
        if middle > high:
            share = 1 - share
        side, tail = ("above", "upper") if middle > high else ("below", "lower")
        text = (
            f"{name}: the posterior median lies {side} the central 98% of its prior "
            f"(prior probability beyond it {share:.1%}). The prior and the runs disagree, and the "
            "answers are a compromise: check the columns of the table, outliers, and the reason "
            "for the prior"
        )
        brief = f"the posterior of {name} lies in the {tail} tail of its prior"
        yield Message("PRIOR_CONFLICT", "warning", text, brief)


def _noise_conflict(fit: Fit) -> Iterator[Message]:
    """Yield a warning of a noise scale far above that of the least-squares fit of the law."""
    law, noise = fit.spec.law_object, fit.spec.noise_object
    point = least_squares(law, fit.runs.log_inputs(law.inputs), law.log_response(fit.runs))
    sigma = noise.middle(**noise_parameters(fit))
    ratio = float(np.median(sigma)) / point.noise_scale
    if ratio < LARGE_SIGMA or np.quantile(sigma, LEAST_QUANTILE) < point.noise_scale:
        return
    times = f"{ratio:.1f}" if ratio < MANY_TIMES else f"more than {MANY_TIMES}"
    text = (
        f"sigma: the noise scale of the posterior, {np.median(sigma):.2%}, is {times} times "
        f"that of the same law fitted by least squares, {point.noise_scale:.2%}. The priors keep "
        "the law away from the runs: check the columns of the table and the priors"
    )
    yield Message("PRIOR_CONFLICT", "warning", text)


@dataclass(frozen=True)
class Miss:
    """Mean error of forecasts of the last runs along one quantity.

    Attributes
    ----------
    along
        The quantity by which runs are ordered: "C", or an input of the law.
    largest
        Its largest value among the fitted runs.
    fitted, predicted
        Numbers of runs.
    mean
        Mean of log loss minus log forecast.
    noise
        Noise scale of the fitted runs, offsets of trainings included.
    share
        Share of the predicted runs on the side of the mean.
    p_value
        Probability of a mean as far from zero if the law is right.
    """

    along: str
    largest: float
    fitted: int
    predicted: int
    mean: float
    noise: float
    share: float
    p_value: float


_KEPT: weakref.WeakKeyDictionary[Runs, dict[str, tuple[Message, ...]]]
_KEPT = weakref.WeakKeyDictionary()


def one_sided(runs: Runs, law: Law) -> tuple[Message, ...]:
    """Return a ONE_SIDED warning if forecasts of the last runs miss to one side.

    Runs are ordered by compute and by each input of the law. The warning is of the order whose
    mean error is the least probable, where it exceeds the noise scale. The result is kept for as
    long as the table is alive.
    """
    by_law = _KEPT.setdefault(runs, {})
    if law.name not in by_law:
        by_law[law.name] = _one_sided(runs, law)
    return by_law[law.name]


def _one_sided(runs: Runs, law: Law) -> tuple[Message, ...]:
    """Return what `one_sided` keeps."""
    if law.hyperparameters:
        # Runs off the best rate and batch tell of those, and some have diverged.
        runs, law = best_of_sweeps(runs), law.at_best
    orders = [x for x in ("C", *law.inputs) if x in runs.table]
    chosen = _some(runs)
    misses = []
    for along in dict.fromkeys(orders):
        miss = _miss(chosen, law, along)
        if miss is not None and abs(miss.mean) > miss.noise and miss.p_value < LEVEL:
            misses.append(miss)
    if not misses:
        return ()
    worst = min(misses, key=lambda miss: miss.p_value)
    text = _say_one_sided(worst, len(chosen) < len(runs))
    return (Message("ONE_SIDED", "warning", text, _say_one_sided_in_brief(worst)),)


def _some(runs: Runs) -> Runs:
    """Return all runs of a table, or so many of a long one, drawn at random."""
    if len(runs) <= MOST_RUNS:
        return runs
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(runs), MOST_RUNS, replace=False))
    return replace(runs, table=runs.table.iloc[chosen])


def _say_one_sided(miss: Miss, are_some: bool) -> str:
    """Return the text of a ONE_SIDED warning. are_some: whether these are not all of the runs."""
    forecast, loss = ("low", "above") if miss.mean > 0 else ("high", "below")
    fitted, predicted = f"the {miss.fitted} runs", f"the {miss.predicted} runs"
    if are_some:
        fitted, predicted = f"{miss.fitted} of the runs", f"{miss.predicted} of the runs"
    what_was_tried = (
        f"the law, fitted by least squares to {fitted} up to {miss.along} = "
        f"{format_quantity(miss.largest)}, predicts {predicted} beyond too {forecast}"
    )
    what_was_seen = (
        f"{miss.share:.0%} of the losses lie {loss} the forecast, by {abs(miss.mean):.1%} on "
        f"average, where the noise scale is {miss.noise:.1%}"
    )
    what_follows = (
        f"Beyond all runs the loss may lie {loss} the forecast too: compare models with `backtest`"
    )
    return f"{what_was_tried}: {what_was_seen}. {what_follows}"


def _say_one_sided_in_brief(miss: Miss) -> str:
    """Return the text of a ONE_SIDED warning in one line."""
    forecast, loss = ("low", "higher") if miss.mean > 0 else ("high", "lower")
    return (
        f"forecasts of the runs with the largest {miss.along} from the others were "
        f"{abs(miss.mean):.1%} too {forecast}: this loss may be {loss} too"
    )


@dataclass(frozen=True)
class Errors:
    """Errors of log losses around a law: of each row, and of each training.

    Attributes
    ----------
    sigma, omega
        Their standard deviations; omega is 0 where rows share no training.
    freedom
        Degrees of freedom of the estimate.
    training
        Training of each row of the table, (rows,); each row has its own where none is known.
    """

    sigma: float
    omega: float
    freedom: int
    training: np.ndarray

    def variance(self, weights: np.ndarray) -> float:
        """Return the variance of a weighted sum of the errors of all rows."""
        by_training = np.bincount(self.training, weights)
        return float(self.sigma**2 * weights @ weights + self.omega**2 * by_training @ by_training)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return random errors of all rows."""
        offsets = self.omega * rng.standard_normal(self.training.max() + 1)
        return offsets[self.training] + self.sigma * rng.standard_normal(len(self.training))


def _errors(runs: Runs, point: LeastSquares, is_fitted: np.ndarray) -> Errors:
    """Return the errors of a table by the residuals of its fitted rows."""
    parameters = len(point.unit)
    if not has_shared_trainings(runs):
        freedom = int(is_fitted.sum()) - parameters
        return Errors(point.noise_scale, 0.0, freedom, np.arange(len(runs)))
    _, training = np.unique(runs.table["training"].to_numpy(str), return_inverse=True)
    of_fitted = training[is_fitted]
    counts = np.bincount(of_fitted, minlength=training.max() + 1)
    sums = np.bincount(of_fitted, point.residual, minlength=len(counts))
    seen = counts > 0
    means = sums / np.maximum(counts, 1)
    within = point.residual - means[of_fitted]
    sigma_squared = within @ within / max(len(within) - seen.sum(), 1)
    # The law has taken up some of the means, so their squares are divided by what is left of them.
    freedom = int(seen.sum()) - parameters
    between = means[seen] @ means[seen] / max(freedom, 1)
    omega_squared = between - sigma_squared * np.mean(1 / counts[seen])
    return Errors(np.sqrt(sigma_squared), np.sqrt(max(omega_squared, 0.0)), freedom, training)


def _miss(runs: Runs, law: Law, along: str) -> Miss | None:
    """Return the mean error of forecasts of the last runs, or None if there are too few runs."""
    values = getattr(runs, along)
    last = np.sort(values)[max(round(FITTED_SHARE * len(runs)), 1) - 1]
    is_fitted = values <= last * (1 + EQUAL_VALUES)
    log_inputs, log_loss = runs.log_inputs(law.inputs), law.log_response(runs)
    distinct = np.unique(np.column_stack([*log_inputs.values()])[~is_fitted], axis=0)
    least_rows = ROWS_FOR_EACH * len(law.parameters)
    if is_fitted.sum() < least_rows or len(distinct) < FEWEST_FORECASTS:
        return None
    known = {x: logs[is_fitted] for x, logs in log_inputs.items()}
    later = {x: logs[~is_fitted] for x, logs in log_inputs.items()}
    point = least_squares(law, known, log_loss[is_fitted])
    errors = _errors(runs, point, is_fitted)
    if errors.freedom < 1:
        return None
    missed = log_loss[~is_fitted] - point.log_law(later)
    mean = float(missed.mean())
    is_to_that_side = np.sign(missed) == np.sign(mean)
    noise = np.hypot(errors.sigma, errors.omega)
    return Miss(
        along=along,
        largest=float(values[is_fitted].max()),
        fitted=int(is_fitted.sum()),
        predicted=len(missed),
        mean=mean,
        noise=float(noise),
        share=float(is_to_that_side.mean()),
        p_value=_p_value(runs, point, is_fitted, errors, mean),
    )


def _p_value(
    runs: Runs, point: LeastSquares, is_fitted: np.ndarray, errors: Errors, mean: float
) -> float:
    """Return the two-sided probability of a mean error as large, by Student's t."""
    from scipy import stats

    def probability(error: float) -> float:
        return float(2 * stats.t.sf(abs(mean) / error, errors.freedom))

    # To first order the mean is a weighted sum of the errors of the rows.
    log_inputs = runs.log_inputs(point.law.inputs)
    later = {x: logs[~is_fitted] for x, logs in log_inputs.items()}
    weights = np.full(len(runs), 1 / np.sum(~is_fitted))
    weights[is_fitted] = -point.weights_of_mean(later)
    error = np.sqrt(errors.variance(weights))
    if probability(error) > LEVEL:
        return probability(error)
    # That error may be too small, because forecasts are not linear in the exponents. Simulated
    # tables cost more time, so they are made only where it matters.
    return probability(max(error, _simulated_error(runs, point.law, is_fitted, errors)))


def _simulated_error(runs: Runs, law: Law, is_fitted: np.ndarray, errors: Errors) -> float:
    """Return the root mean square of the mean forecast error over simulated tables.

    Their law is that of the least-squares fit of all runs.
    """
    rng = np.random.default_rng(0)
    log_inputs = runs.log_inputs(law.inputs)
    truth = least_squares(law, log_inputs, law.log_response(runs)).log_law(log_inputs)
    known = {x: logs[is_fitted] for x, logs in log_inputs.items()}
    later = {x: logs[~is_fitted] for x, logs in log_inputs.items()}
    means = []
    for _ in range(SIMULATIONS):
        log_loss = truth + errors.draw(rng)
        again = least_squares(law, known, log_loss[is_fitted])
        means.append(np.mean(log_loss[~is_fitted] - again.log_law(later)))
    return float(np.sqrt(np.mean(np.square(means))))
