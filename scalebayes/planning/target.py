"""A target, the candidate runs that could narrow its interval, and their joint covariance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Cost, sizes_for
from scalebayes.data.metrics import short_amount
from scalebayes.display.numbers import known
from scalebayes.errors import QueryError
from scalebayes.planning.conditioning import ROUNDING, Belief, believe, floor
from scalebayes.posterior.average import Average, of_tuned
from scalebayes.posterior.fit import Fit, noise_parameters
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import is_budget, quantities
from scalebayes.queries.predict import predict
from scalebayes.specs.discrepancy import TOGETHER
from scalebayes.units import format_quantity
from scalebayes.utils.shares import tail_probability

WIDTH_ERROR = 0.03
"""Relative Monte Carlo error of the width of a 90% interval of a Normal, with 1000 effective draws.

It is that of the logarithm of a ratio.
"""
HALVINGS = 10
"""The default candidates cost the budget divided by 1, 2, 4 ... up to 2 to this power."""
MOST_EQUAL_RUNS = 7
"""The default candidates also cost the budget divided by each number of runs up to this."""
SHAPES = 11
"""Number of values of tokens per parameter among the default candidates, over the runs' range."""

LEAST_SHAPES = 16.0
"""Least range of tokens per parameter among the default candidates, as a ratio.

Runs that all have nearly one D/N cannot tell the effects of N and D apart, and more of them cannot
either (`scalebayes.data.findings.design`). There a factor of 4 to 6 at each compute was enough for
tables of 5 to 10 runs; the candidates reach beyond it on both sides.
"""


@dataclass(frozen=True)
class Question:
    """A target and the candidates that could narrow it, as draws and as covariances.

    Attributes
    ----------
    belief
        Joint covariance of the log of the target and of the curve at the candidates.
    target
        Draws of the log of the target, shape (S,).
    table
        ``N``, ``D``, ``tokens_per_param``, ``cost`` and ``decades_beyond`` of the candidates.
    words
        Name of the target.
    at
        N and D of a loss, or C of N*.
    of_size
        Whether the target is N* at a budget; otherwise it is the loss of a run.
    metric
        Unit of the losses.
    discrepancy
        Like `belief`, for the part of the target that is the discrepancy; None without one.
    """

    belief: Belief
    target: np.ndarray
    table: pd.DataFrame
    words: str
    at: dict[str, float]
    of_size: bool
    metric: str
    discrepancy: Belief | None

    def share_of_discrepancy(self) -> float:
        """Return the discrepancy's share of the variance that any number of runs would leave."""
        if self.discrepancy is None:
            return 0.0
        tiny = 1e-300  # nothing remains: the ratio is then 0 or large, never 0 / 0
        return floor(self.discrepancy) / max(floor(self.belief), tiny)

    def width(self, variance: float, ci_prob: float) -> float:
        """Return the width of the target's interval with this variance left.

        The difference of its bounds for a loss; the ratio of the upper to the lower bound for N*.
        The interval of the log of the draws is assumed to shrink in proportion to the standard
        deviation.
        """
        tail = tail_probability(ci_prob)
        low, high = np.quantile(self.target, [tail, 1 - tail])
        shrink = float(np.sqrt(max(variance, 0.0) / self.belief.variance))
        if self.of_size:
            return float(np.exp((high - low) * shrink))
        return float((np.exp(high) - np.exp(low)) * shrink)

    def say(self, width: float) -> str:
        """Return a width in words, to the digits that the draws determine."""
        relative = WIDTH_ERROR * np.log(width) if self.of_size else WIDTH_ERROR
        text = f"{known(width, relative * width):.3g}"
        if self.of_size:
            return f"a factor {text} wide"
        return f"{short_amount(text, self.metric)} wide"

    def say_missed(self, width: float, wanted: float) -> str:
        """Return a width in words that is above the one wanted, also where both round alike."""
        if self.say(width) == self.say(wanted):
            return f"slightly more than {self.say(wanted)}"
        return self.say(width)


def ask(
    fit: Fit | Average,
    target: Mapping[str, Any],
    candidates: Any,
    budget: float,
    cost: Cost,
    seed: int,
) -> Question:
    """Return the target and the candidates, drawn jointly, with their covariances.

    Raises
    ------
    QueryError
        As `next_runs`.
    """
    if not isinstance(target, Mapping) or not target or set(target) - {"N", "D", "C"}:
        raise QueryError(f"a target is {{'N': ..., 'D': ...}} or {{'C': ...}}; got {target!r}")
    fit = of_tuned(fit)
    table = _affordable_candidates(fit, candidates, budget, cost)
    if is_budget(**target):
        return _ask_size(fit, target["C"], table, seed)
    return _ask_loss(fit, target, table, seed)


def _affordable_candidates(
    fit: Fit | Average, candidates: Any, budget: float, cost: Cost
) -> pd.DataFrame:
    if candidates is None:
        table = candidate_grid(fit, budget, cost)
    else:
        table = _read_candidates(candidates, cost)
    table = table[table["cost"] <= budget * ROUNDING].reset_index(drop=True)
    if table.empty:
        raise QueryError(f"no candidate costs {format_quantity(budget)} FLOP or less")
    if len(table) >= TOGETHER:
        raise QueryError(
            f"{len(table)} candidates: at most {TOGETHER - 1} can be drawn jointly with the target"
        )
    return table


def _ask_size(fit: Fit | Average, C: Any, table: pd.DataFrame, seed: int) -> Question:
    """Return the question whose target is N* at a budget."""
    answer = predict(fit, N=table["N"].to_numpy(), D=table["D"].to_numpy(), seed=seed)
    best = frontier(fit, C=C, seed=seed)
    if best.sizes["budget"] != 1:
        raise QueryError(f"a plan takes one target; got {best.sizes['budget']}")
    budget = float(best["C"][0])
    # The draws are in the same order as those of the curve at the candidates, and with the same
    # seed they have the same discrepancy at the runs.
    sizes = np.log(best["N"].values.ravel())
    return Question(
        belief=believe(sizes, _log_draws(answer["loss"]), noise_variance(fit)),
        target=sizes,
        table=table.assign(decades_beyond=answer["decades_beyond"].values),
        words=f"N* at {format_quantity(budget)} FLOP",
        at={"C": budget},
        of_size=True,
        metric=fit.runs.metric,
        discrepancy=None,
    )


def _ask_loss(
    fit: Fit | Average,
    target: Mapping[str, Any],
    table: pd.DataFrame,
    seed: int,
) -> Question:
    """Return the question whose target is the loss of a run."""
    N, D = _read_point(fit, target)
    # The target is the last of the points, so that its discrepancy is drawn jointly with theirs.
    answer = predict(fit, N=np.append(table["N"], N), D=np.append(table["D"], D), seed=seed)
    curves = _log_draws(answer["loss"])
    candidates, loss = curves[:, :-1], curves[:, -1]
    noise = noise_variance(fit)
    discrepancy = None
    if "law" in answer:
        law = _log_draws(answer["law"])[:, -1]
        discrepancy = believe(loss - law, candidates, noise)
    return Question(
        belief=believe(loss, candidates, noise),
        target=loss,
        table=table.assign(decades_beyond=answer["decades_beyond"].values[:-1]),
        words=f"the loss of {format_quantity(N)} parameters on {format_quantity(D)} tokens",
        at={"N": N, "D": D},
        of_size=False,
        metric=fit.runs.metric,
        discrepancy=discrepancy,
    )


def candidate_grid(fit: Fit | Average, budget: float, cost: Cost = SIX_ND) -> pd.DataFrame:
    """Return N, D, tokens per parameter and cost of the default candidates (see `next_runs`).

    Raises
    ------
    QueryError
        If the budget is less than the cost of the cheapest run already made.
    """
    runs = fit.runs
    powers_of_two = 2.0 ** np.arange(HALVINGS + 1)
    numbers_of_runs = np.arange(1.0, MOST_EQUAL_RUNS + 1)
    costs = budget / np.union1d(powers_of_two, numbers_of_runs)
    cheapest = float(cost.flop(runs.N, runs.D).min())
    costs = costs[costs * ROUNDING >= cheapest]
    if not len(costs):
        raise QueryError(
            f"{format_quantity(budget)} FLOP are less than the cheapest run of the table costs: "
            f"{format_quantity(cheapest)}"
        )
    shapes = np.unique(np.geomspace(*shape_range(fit), SHAPES).round(9))
    flop, tokens_per_param = np.repeat(costs, len(shapes)), np.tile(shapes, len(costs))
    N = sizes_for(cost, tokens_per_param, flop)
    table = pd.DataFrame({"N": N, "tokens_per_param": tokens_per_param, "cost": flop})
    return table.assign(D=table["N"] * table["tokens_per_param"])


def shape_range(fit: Fit | Average) -> tuple[float, float]:
    """Return the least and the largest tokens per parameter of the default candidates."""
    ratio = fit.runs.D / fit.runs.N
    least, most = float(ratio.min()), float(ratio.max())
    if most >= LEAST_SHAPES * least:
        return least, most
    centre = np.sqrt(least * most)
    return float(centre / np.sqrt(LEAST_SHAPES)), float(centre * np.sqrt(LEAST_SHAPES))


def noise_variance(fit: Fit | Average) -> float:
    """Return the variance of the Normal noise of log loss that is equivalent to the fitted noise.

    A run with this Normal noise is as informative as a run with the fitted noise. The variance is a
    mean over the draws, and for an average the weighted mean over its fits.
    """
    if isinstance(fit, Average):
        total = 0.0
        for label, one in fit.fits.items():
            total += fit.weights[label] * noise_variance(one)
        return total
    return float(np.mean(fit.spec.noise_object.equivalent(**noise_parameters(fit))))


def _log_draws(draws: xr.DataArray) -> np.ndarray:
    """Return the logs of draws (chain, draw, target) in shape (S, targets)."""
    return np.log(draws.values.reshape(-1, draws.sizes["target"]))


def _read_point(fit: Fit | Average, target: Mapping[str, Any]) -> tuple[float, float]:
    """Return N and D of the run whose loss is the target."""
    coords = predict(fit, **target).coords
    if "N" not in coords or "D" not in coords:
        raise QueryError(
            f"a target of the loss needs N and D, as every run has both; got {', '.join(target)}"
        )
    if coords["N"].size != 1:
        raise QueryError(f"a plan takes one target; got {coords['N'].size}")
    return float(coords["N"][0]), float(coords["D"][0])


def _read_candidates(candidates: Any, cost: Cost) -> pd.DataFrame:
    if not {"N", "D"} <= set(candidates):
        raise QueryError(f"candidates need columns N and D; got {', '.join(map(str, candidates))}")
    N = quantities(candidates["N"], "N")
    D = quantities(candidates["D"], "D")
    if len(N) != len(D) or not np.isfinite([N, D]).all():
        raise QueryError(
            f"candidates need finite N and D in equal numbers; got {len(N)} and {len(D)}"
        )
    return pd.DataFrame({"N": N, "D": D, "tokens_per_param": D / N, "cost": cost.flop(N, D)})
