"""A target, and the runs that could narrow it: draws of both, and their covariances."""

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
"""The default candidates cost the budget, half of it, a quarter and so on ..."""
EQUAL = 7
"""... and up to this one's share of it."""
SHAPES = 11
"""Tokens per parameter among the default candidates, over the range that the runs have."""


@dataclass(frozen=True)
class Question:
    """A target and the candidates that could narrow it, as draws and as covariances.

    ``target`` are draws of its log, (S,), ``words`` names it, and ``at`` holds its N and D, or its C; ``table`` has
    N, D, cost and decades_beyond of the candidates. ``off`` are draws of the discrepancy's part of the target, None
    where there is none.
    """

    belief: Belief
    target: np.ndarray
    table: pd.DataFrame
    words: str
    at: dict[str, float]
    of_size: bool
    off: Belief | None

    def width(self, variance: float, ci_prob: float) -> float:
        """Width of the target's interval with this variance left: nats of a loss, upper over lower bound of N*."""
        tail = (1 - ci_prob) / 2
        low, high = np.quantile(self.target, [tail, 1 - tail])
        shrink = float(np.sqrt(max(variance, 0.0) / self.belief.variance))
        if self.of_size:
            return float(np.exp((high - low) * shrink))
        return float((np.exp(high) - np.exp(low)) * shrink)

    def say(self, width: float) -> str:
        """Write a width for people."""
        return f"a factor {width:.3g} from end to end" if self.of_size else f"{width:.3g} nats wide"


def ask(
    fit: Fit | Average,
    target: Mapping[str, Any],
    candidates: Any,
    budget: float,
    cost: Cost,
    seed: int,
) -> Question:
    """Draw the target and the curve at all candidates in one go, and take their covariances.

    Raises
    ------
    QueryError
        As `next_runs`.
    """
    if not isinstance(target, Mapping) or not target or set(target) - {"N", "D", "C"}:
        raise QueryError(f"a target is {{'N': ..., 'D': ...}} or {{'C': ...}}; got {target!r}")
    table = candidate_grid(fit, budget, cost) if candidates is None else _given(candidates, cost)
    table = table[table["cost"] <= budget * (1 + 1e-9)].reset_index(drop=True)
    if table.empty:
        raise QueryError(f"no candidate costs {format_quantity(budget)} FLOP or less")
    if len(table) >= TOGETHER:
        raise QueryError(
            f"{len(table)} candidates: at most {TOGETHER - 1} can be drawn jointly with the target"
        )
    of_size = set(target) == {"C"}
    at = [] if of_size else [_point(fit, target)]
    N, D = np.transpose([*table[["N", "D"]].to_numpy(), *at])
    answer = predict(fit, N=N, D=D, seed=seed)
    table["decades_beyond"] = answer["decades_beyond"].values[: len(table)]
    curves, noise = _log_draws(answer["loss"]), noise_variance(fit)
    if of_size:
        values, words, budget = _size_draws(fit, target["C"])
        return Question(
            believe(values, curves, noise), values, table, words, {"C": budget}, of_size, None
        )
    curves, values = curves[:, :-1], curves[:, -1]
    off = (
        believe(values - _log_draws(answer["law"])[:, -1], curves, noise)
        if "law" in answer
        else None
    )
    words = f"the loss of {format_quantity(N[-1])} parameters on {format_quantity(D[-1])} tokens"
    place = {"N": float(N[-1]), "D": float(D[-1])}
    return Question(believe(values, curves, noise), values, table, words, place, of_size, off)


def candidate_grid(fit: Fit | Average, budget: float, cost: Cost = SIX_ND) -> pd.DataFrame:
    """N, D and cost of runs that a budget could pay for, as `next_runs` describes them.

    Raises
    ------
    QueryError
        When the budget does not pay for the smallest of the runs already made.
    """
    runs = fit.runs
    shape, smallest = runs.D / runs.N, float(cost.flop(runs.N, runs.D).min())
    costs = budget / np.union1d(2.0 ** np.arange(HALVINGS + 1), np.arange(1.0, EQUAL + 1))
    costs = costs[costs >= smallest * (1 - 1e-9)]
    if not len(costs):
        least = format_quantity(smallest)
        raise QueryError(
            f"{format_quantity(budget)} FLOP pay for no run as large as the smallest of the table: {least}"
        )
    shapes = np.unique(np.geomspace(shape.min(), shape.max(), SHAPES).round(9))
    rows = [(size_for(cost, s, c), s, c) for c in costs for s in shapes]
    table = pd.DataFrame(rows, columns=["N", "tokens_per_param", "cost"])
    return table.assign(D=table["N"] * table["tokens_per_param"])


def noise_variance(fit: Fit | Average) -> float:
    """Variance of the Normal noise of log loss that leaves as much to learn from a run, mean over the draws."""
    if isinstance(fit, Average):
        return sum(fit.weights[label] * noise_variance(one) for label, one in fit.fits.items())
    return float(np.mean(fit.spec.noise_object.equivalent(**noise_parameters(fit))))


def _log_draws(draws: xr.DataArray) -> np.ndarray:
    """Logs of draws (chain, draw, target) as (S, targets)."""
    return np.log(draws.values.reshape(-1, draws.sizes["target"]))


def _point(fit: Fit | Average, target: Mapping[str, Any]) -> tuple[float, float]:
    """N and D of a target of the loss."""
    coords = predict(fit, **target).coords
    if not {"N", "D"} <= {*coords}:
        raise QueryError(
            f"a target of the loss needs N and D, as every run has both; got {', '.join(target)}"
        )
    if coords["N"].size != 1:
        raise QueryError(f"one target at a time; got {coords['N'].size}")
    return float(coords["N"][0]), float(coords["D"][0])


def _size_draws(fit: Fit | Average, C: Any) -> tuple[np.ndarray, str, float]:
    """Draws of log N* at a budget, in the order of those of `predict`, its name, and the budget."""
    best = frontier(fit, C=C)
    if best.sizes["budget"] != 1:
        raise QueryError(f"one target at a time; got {best.sizes['budget']}")
    budget = float(best["C"][0])
    return np.log(best["N"].values.ravel()), f"N* at {format_quantity(budget)} FLOP", budget


def _given(candidates: Any, cost: Cost) -> pd.DataFrame:
    if not {"N", "D"} <= {*candidates}:
        raise QueryError(f"candidates have N and D; got {', '.join(map(str, candidates))}")
    N, D = (quantities(candidates[x], x) for x in ("N", "D"))
    if len(N) != len(D) or not np.isfinite([N, D]).all():
        raise QueryError(
            f"candidates need finite N and D in equal numbers; got {len(N)} and {len(D)}"
        )
    return pd.DataFrame({"N": N, "D": D, "tokens_per_param": D / N, "cost": cost.flop(N, D)})
