r"""Choosing runs by linear-Gaussian conditioning: covariances in, variances out.

With t the target, f_j the log of the curve at candidate j, and y_j = f_j + noise the log loss of a
run there,

    Var(t | y_j) = Var(t) - Cov(t, f_j)^2 / (Var(f_j) + noise),

and likewise for every other covariance, so that runs are added one after another. No loss enters:
the variances do not depend on what a run will show, only on where it is made (Lindley 1956).
Batches are grown greedily, as is customary where every further run adds less (Nemhauser et al.
1978), and then improved by exchanging one run at a time (Cook and Nachtsheim 1980).

References
----------
Lindley (1956), On a measure of the information provided by an experiment,
doi:10.1214/aoms/1177728069.
Nemhauser, Wolsey and Fisher (1978), An analysis of approximations for maximizing submodular set
functions, doi:10.1007/BF01588971.
Cook and Nachtsheim (1980), A comparison of algorithms for constructing exact D-optimal designs,
doi:10.1080/00401706.1980.10486162.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

EXCHANGED_BATCHES = 12
"""Number of grown batches, the best ones, that are improved by exchanges."""
MAX_PASSES = 20
"""Most rounds of exchanges for one batch; two or three are usually enough."""
MIN_IMPROVEMENT = 1e-9
"""Share of the target's variance that an exchange must remove; less is rounding error."""
MANY_RUNS = 1e6
"""Number of runs of each kind that stands for arbitrarily many."""
ROUNDING = 1 + 1e-9
"""Factor by which a cost may exceed a budget or fall below a least cost: sums are rounded."""


@dataclass(frozen=True)
class Belief:
    """Joint covariance of a target and the log of the curve at m candidates.

    Attributes
    ----------
    variance
        Variance of the target.
    shared
        Covariance of the target with each candidate, shape (m,).
    covariance
        Covariance of the candidates, shape (m, m), without noise.
    noise
        Variance of one run around the curve at each candidate, shape (m,).
    """

    variance: float
    shared: np.ndarray
    covariance: np.ndarray
    noise: np.ndarray

    @property
    def gains(self) -> np.ndarray:
        """Reduction of the target's variance by one run at each candidate, shape (m,)."""
        return self.shared**2 / (np.diag(self.covariance) + self.noise)


def believe(target: np.ndarray, candidates: np.ndarray, noise: float | np.ndarray) -> Belief:
    """Return the covariances over S draws of the target, (S,), and of the candidates, (S, m).

    noise: the variance of a run around the curve, one for all candidates or of shape (m,).
    """
    joint = np.cov(np.column_stack([target, candidates]), rowvar=False)
    of_each = np.broadcast_to(np.asarray(noise, float), (candidates.shape[1],))
    return Belief(float(joint[0, 0]), joint[0, 1:], joint[1:, 1:], of_each)


def after(belief: Belief, candidate: int) -> Belief:
    """Return the belief after one run at a candidate.

    The candidate stays available, because another run there has independent noise.
    """
    column = belief.covariance[:, candidate]
    # The Kalman gain: by how much a run's deviation moves the curve at each candidate.
    kalman_gain = column / (column[candidate] + belief.noise[candidate])
    return replace(
        belief,
        variance=max(belief.variance - float(belief.gains[candidate]), 0.0),
        shared=belief.shared - belief.shared[candidate] * kalman_gain,
        covariance=belief.covariance - np.outer(column, kalman_gain),
    )


def after_all(belief: Belief, chosen: Iterable[int]) -> Belief:
    """Return the belief after one run at each chosen candidate; candidates may repeat."""
    for candidate in chosen:
        belief = after(belief, candidate)
    return belief


def floor(belief: Belief) -> float:
    """Return the variance of the target that arbitrarily many runs at every candidate leave."""
    noise = np.diag(belief.noise) / MANY_RUNS
    removed = belief.shared @ np.linalg.solve(belief.covariance + noise, belief.shared)
    return max(belief.variance - float(removed), 0.0)


def best_batch(
    belief: Belief, costs: np.ndarray, budget: float, most: int, distinct: bool = False
) -> list[int]:
    """Return at most `most` runs within a budget that leave the target the least variance.

    With `distinct` each candidate is chosen at most once.

    Many batches are grown greedily, the best of them are improved by exchanges, and the best result
    is returned. No exchange of one run improves it further; another batch may still be better. The
    runs are in the order of gain per cost.
    """

    def variance_left(batch: list[int]) -> float:
        return after_all(belief, batch).variance

    grown = _grow_batches(belief, costs, budget, most, distinct)
    best = sorted(grown, key=variance_left)[:EXCHANGED_BATCHES]
    improved = [_exchange(belief, costs, budget, most, batch, distinct) for batch in best]
    return _order_by_worth(belief, costs, min(improved, key=variance_left))


def _grow_batches(
    belief: Belief, costs: np.ndarray, budget: float, most: int, distinct: bool
) -> list[list[int]]:
    """Return batches grown greedily in many ways, since the best way depends on the costs."""
    batches = []
    # By gain, with no run above an equal share of the budget: a few large or many small runs.
    for share in {1, 2, 3, most // 2, most} - {0}:
        is_small = costs <= budget / share * ROUNDING
        limited = np.where(is_small, costs, np.inf)
        batches.append(_grow(belief, limited, budget, most, distinct=distinct))
    # By gain and by gain per cost, from nothing and from each affordable candidate.
    affordable = np.flatnonzero(costs <= budget * ROUNDING).tolist()
    starts: list[list[int]] = [[]]
    starts += [[candidate] for candidate in affordable]
    for start in starts:
        batches.append(_grow(belief, costs, budget, most, start, 0.0, distinct))
        batches.append(_grow(belief, costs, budget, most, start, 1.0, distinct))
    return batches


def _grow(
    belief: Belief,
    costs: np.ndarray,
    budget: float,
    most: int,
    start: Sequence[int] = (),
    cost_power: float = 0.0,
    distinct: bool = False,
) -> list[int]:
    """Add the affordable run of largest gain / cost^cost_power, until no other can be added."""
    batch = list(start)
    belief = after_all(belief, batch)
    while len(batch) < most:
        payable = _payable(costs, budget, batch, distinct)
        if not payable.any():
            break
        worth = np.where(payable, belief.gains / costs**cost_power, -1.0)
        batch.append(int(worth.argmax()))
        belief = after(belief, batch[-1])
    return batch


def _payable(costs: np.ndarray, budget: float, batch: Sequence[int], distinct: bool) -> np.ndarray:
    """Return which candidates may be added to a batch, bool of shape (m,)."""
    payable = costs <= (budget - costs[list(batch)].sum()) * ROUNDING
    if distinct:
        payable[list(batch)] = False
    return payable


def _exchange(
    belief: Belief,
    costs: np.ndarray,
    budget: float,
    most: int,
    batch: list[int],
    distinct: bool,
) -> list[int]:
    """Exchange one run at a time for a better one, and add what is affordable, until nothing helps.

    This is Fedorov's exchange in the form of Cook and Nachtsheim (1980): each run in turn is taken
    out, and the best affordable candidate, perhaps the same, is put in its place.
    """
    least = MIN_IMPROVEMENT * belief.variance
    for _ in range(MAX_PASSES):
        before = after_all(belief, batch).variance
        for place in range(len(batch)):
            others = batch[:place] + batch[place + 1 :]
            without = after_all(belief, others)
            payable = _payable(costs, budget, others, distinct)
            best = int(np.where(payable, without.gains, -1.0).argmax())
            if without.gains[best] > without.gains[batch[place]] + least:
                batch = [*batch[:place], best, *batch[place + 1 :]]
        batch = _grow(belief, costs, budget, most, batch, distinct=distinct)
        if after_all(belief, batch).variance >= before - least:
            break
    return batch


def _order_by_worth(belief: Belief, costs: np.ndarray, batch: list[int]) -> list[int]:
    """Return the runs of a batch in the order of gain per cost, given the runs before."""
    remaining = list(batch)
    ordered: list[int] = []
    while remaining:
        worth = belief.gains[remaining] / costs[remaining]
        ordered.append(remaining.pop(int(worth.argmax())))
        belief = after(belief, ordered[-1])
    return ordered
