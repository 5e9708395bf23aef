r"""What runs would tell of a target, by linear-Gaussian updating: covariances in, variances out.

With t the target, f_j the log of the curve at candidate j, and y_j = f_j + noise the log loss of a run there,

    Var(t | y_j) = Var(t) - Cov(t, f_j)^2 / (Var(f_j) + noise),

and every other covariance likewise, so runs are added one after another. No loss enters: what a run will say is not
known, only how much it can say (Lindley 1956). Batches are grown greedily, as is customary where each further piece
tells less (Nemhauser et al. 1978), and then bettered by exchanging one run at a time (Cook and Nachtsheim 1980).

References
----------
Lindley (1956), On a measure of the information provided by an experiment, doi:10.1214/aoms/1177728069.
Nemhauser, Wolsey and Fisher (1978), An analysis of approximations for maximizing submodular set functions,
doi:10.1007/BF01588971.
Cook and Nachtsheim (1980), A comparison of algorithms for constructing exact D-optimal designs,
doi:10.1080/00401706.1980.10486162.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

STARTS = 12
"""Batches, the best of those grown greedily, that exchanges are tried on."""
PASSES = 20
"""Rounds of exchanges before a batch is taken as it is; two or three mostly end them."""
BETTER = 1e-9
"""Share of the target's variance by which an exchange must lower it."""
ENDLESS = 1e6
"""Runs of each kind that stand for any number of them."""


@dataclass(frozen=True)
class Belief:
    """Joint covariance of a target and the curve's log at m candidates.

    Attributes
    ----------
    variance
        Of the target.
    shared
        Covariance of the target with each candidate, (m,).
    covariance
        Of the candidates, (m, m), without noise.
    noise
        Variance of one run around the curve.
    """

    variance: float
    shared: np.ndarray
    covariance: np.ndarray
    noise: float

    @property
    def gains(self) -> np.ndarray:
        """By how much one run at each candidate lowers the target's variance, (m,)."""
        return self.shared**2 / (np.diag(self.covariance) + self.noise)


def believe(target: np.ndarray, candidates: np.ndarray, noise: float) -> Belief:
    """Covariances over draws of the target, (S,), and of the candidates, (S, m)."""
    joint = np.cov(np.column_stack([target, candidates]), rowvar=False)
    return Belief(float(joint[0, 0]), joint[0, 1:], joint[1:, 1:], noise)


def after(belief: Belief, candidate: int) -> Belief:
    """Condition on one run at a candidate, which stays: a repeat of it has noise of its own."""
    column = belief.covariance[:, candidate]
    pull = column / (column[candidate] + belief.noise)
    return replace(
        belief,
        variance=max(belief.variance - float(belief.gains[candidate]), 0.0),
        shared=belief.shared - belief.shared[candidate] * pull,
        covariance=belief.covariance - np.outer(column, pull),
    )


def after_all(belief: Belief, chosen: Sequence[int]) -> Belief:
    """Condition on a run at each of some candidates, which may repeat."""
    return functools.reduce(after, chosen, belief)


def floor(belief: Belief) -> float:
    """Variance of the target once the curve is as good as known at every candidate."""
    known = belief.covariance + np.eye(len(belief.shared)) * belief.noise / ENDLESS
    return max(belief.variance - float(belief.shared @ np.linalg.solve(known, belief.shared)), 0.0)


def best_batch(belief: Belief, costs: np.ndarray, budget: float, most: int) -> list[int]:
    """At most `most` runs within a budget that lower the target's variance most, those worth most per cost first.

    Batches are grown greedily, by gain per cost or by gain with no run above an equal share of the budget, from nothing
    and from each candidate; the best few are bettered by exchanges, and the best is taken. No exchange of one run
    betters it; that no other batch does is not promised.
    """

    def left(batch: list[int]) -> float:
        return after_all(belief, batch).variance

    affordable = np.flatnonzero(costs <= budget * (1 + 1e-9))
    seeds = [[], *([int(candidate)] for candidate in affordable)]
    shares = {1, 2, 3, most // 2, most} - {0}
    limited = [np.where(costs <= budget / k * (1 + 1e-9), costs, np.inf) for k in shares]
    grown = [_greedy(belief, limit, budget, most) for limit in limited]
    grown += [
        _greedy(belief, costs, budget, most, seed, power) for seed in seeds for power in (0.0, 1.0)
    ]
    batches = [
        _exchange(belief, costs, budget, most, batch) for batch in sorted(grown, key=left)[:STARTS]
    ]
    return _in_order(belief, costs, min(batches, key=left))


def _greedy(
    belief: Belief,
    costs: np.ndarray,
    budget: float,
    most: int,
    chosen: Sequence[int] = (),
    power: float = 0.0,
) -> list[int]:
    """Add the run of most gain / cost^power that can be paid, as long as one can."""
    batch = list(chosen)
    belief = after_all(belief, batch)
    while len(batch) < most:
        payable = costs <= (budget - costs[batch].sum()) * (1 + 1e-9)
        if not payable.any():
            break
        batch.append(int(np.where(payable, belief.gains / costs**power, -1.0).argmax()))
        belief = after(belief, batch[-1])
    return batch


def _exchange(
    belief: Belief, costs: np.ndarray, budget: float, most: int, batch: list[int]
) -> list[int]:
    """Exchange one run at a time for a better one, and add what can still be paid, until nothing helps."""
    for _ in range(PASSES):
        before = after_all(belief, batch).variance
        for place in range(len(batch)):
            others = batch[:place] + batch[place + 1 :]
            left = after_all(belief, others)
            payable = costs <= (budget - costs[others].sum()) * (1 + 1e-9)
            best = int(np.where(payable, left.gains, -1.0).argmax())
            if left.gains[best] > left.gains[batch[place]] + BETTER * belief.variance:
                batch = [*batch[:place], best, *batch[place + 1 :]]
        batch = _greedy(belief, costs, budget, most, batch)
        if after_all(belief, batch).variance >= before - BETTER * belief.variance:
            break
    return batch


def _in_order(belief: Belief, costs: np.ndarray, batch: list[int]) -> list[int]:
    left, ordered = list(batch), []
    while left:
        worth = belief.gains[left] / costs[left]
        ordered.append(left.pop(int(worth.argmax())))
        belief = after(belief, ordered[-1])
    return ordered
