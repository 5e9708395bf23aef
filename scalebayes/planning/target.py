"""A target and the runs that could narrow it: draws of both, and their covariances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Cost, size_for
from scalebayes.errors import QueryError
from scalebayes.planning.conditioning import Belief, believe
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit, noise_parameters
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import quantities
from scalebayes.queries.predict import predict
from scalebayes.specs.discrepancy import TOGETHER
from scalebayes.units import format_quantity

HALVINGS = 10
"""The default candidates cost the budget, half of it, a quarter ..., down to this power of 1/2."""
MOST_EQUAL_RUNS = 7
"""The default candidates also cost equal shares of the budget, for up to this many runs."""
SHAPES = 11
"""Number of values of tokens per parameter among the default candidates, over the runs' range."""
ROUNDING = 1 + 1e-9
"""Factor by which a cost may exceed a budget, or fall below the least: costs are rounded."""


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
        N and D of the target, or its C.
    of_size
        Whether the target is N* at a budget, not the loss of a run.
    discrepancy
        Like `belief`, for the part of the target that is the discrepancy; None without one.
    """

    belief: Belief
    target: np.ndarray
    table: pd.DataFrame
    words: str
    at: dict[str, float]
    of_size: bool
    discrepancy: Belief | None

    def width(self, variance: float, ci_prob: float) -> float:
        """Return the width of the target's interval with this variance left.

        In nats for a loss; the ratio of the upper to the lower bound for N*. The interval of the
        draws shrinks in proportion to the standard deviation.
        """
        tail = (1 - ci_prob) / 2
        low, high = np.quantile(self.target, [tail, 1 - tail])
        shrink = float(np.sqrt(max(variance, 0.0) / self.belief.variance))
        if self.of_size:
            return float(np.exp((high - low) * shrink))
        return float((np.exp(high) - np.exp(low)) * shrink)

    def say(self, width: float) -> str:
        """Return a width in words."""
        if self.of_size:
            return f"a factor {width:.3g} wide"
        return f"{width:.3g} nats wide"


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
    table = _affordable_candidates(fit, candidates, budget, cost)
    if set(target) == {"C"}:
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
    """Return the question of N* at a budget."""
    answer = predict(fit, N=table["N"].to_numpy(), D=table["D"].to_numpy(), seed=seed)
    best = frontier(fit, C=C)
    if best.sizes["budget"] != 1:
        raise QueryError(f"one target at a time; got {best.sizes['budget']}")
    budget = float(best["C"][0])
    # The draws are in the same order as those of the curve at the candidates.
    sizes = np.log(best["N"].values.ravel())
    return Question(
        belief=believe(sizes, _log_draws(answer["loss"]), noise_variance(fit)),
        target=sizes,
        table=table.assign(decades_beyond=answer["decades_beyond"].values),
        words=f"N* at {format_quantity(budget)} FLOP",
        at={"C": budget},
        of_size=True,
        discrepancy=None,
    )


def _ask_loss(
    fit: Fit | Average, target: Mapping[str, Any], table: pd.DataFrame, seed: int
) -> Question:
    """Return the question of the loss of a run."""
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
        discrepancy=discrepancy,
    )


def candidate_grid(fit: Fit | Average, budget: float, cost: Cost = SIX_ND) -> pd.DataFrame:
    """Return N, D and cost of runs that a budget could pay for, as `next_runs` describes them.

    Raises
    ------
    QueryError
        When the budget does not pay for the smallest of the runs already made.
    """
    runs = fit.runs
    halved = 2.0 ** np.arange(HALVINGS + 1)
    equal = np.arange(1.0, MOST_EQUAL_RUNS + 1)
    costs = budget / np.union1d(halved, equal)
    smallest = float(cost.flop(runs.N, runs.D).min())
    costs = costs[costs * ROUNDING >= smallest]
    if not len(costs):
        raise QueryError(
            f"{format_quantity(budget)} FLOP pay for no run as large as the smallest of the table: "
            f"{format_quantity(smallest)}"
        )
    ratio = runs.D / runs.N
    shapes = np.unique(np.geomspace(ratio.min(), ratio.max(), SHAPES).round(9))
    rows = [(size_for(cost, shape, c), shape, c) for c in costs for shape in shapes]
    table = pd.DataFrame(rows, columns=["N", "tokens_per_param", "cost"])
    return table.assign(D=table["N"] * table["tokens_per_param"])


def noise_variance(fit: Fit | Average) -> float:
    """Return the variance of Normal noise of the log loss equivalent to the fitted noise.

    A run with that noise is as informative as one with the fitted noise; the mean over the draws.
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
        raise QueryError(f"one target at a time; got {coords['N'].size}")
    return float(coords["N"][0]), float(coords["D"][0])


def _read_candidates(candidates: Any, cost: Cost) -> pd.DataFrame:
    if not {"N", "D"} <= {*candidates}:
        raise QueryError(f"candidates have N and D; got {', '.join(map(str, candidates))}")
    N = quantities(candidates["N"], "N")
    D = quantities(candidates["D"], "D")
    if len(N) != len(D) or not np.isfinite([N, D]).all():
        raise QueryError(
            f"candidates need finite N and D in equal numbers; got {len(N)} and {len(D)}"
        )
    return pd.DataFrame({"N": N, "D": D, "tokens_per_param": D / N, "cost": cost.flop(N, D)})
