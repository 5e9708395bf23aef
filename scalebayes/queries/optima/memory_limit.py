"""Active parameters and experts of least loss under a budget and a limit on parameters in all."""

from __future__ import annotations

import numpy as np

from scalebayes.costs.cost import Cost
from scalebayes.costs.memory import Memory
from scalebayes.errors import QueryError
from scalebayes.queries.curves import Curve
from scalebayes.queries.optima.expected_optimum import vertex_shift
from scalebayes.queries.optima.grids import affordable_sizes
from scalebayes.units import format_quantity, share_in_words
from scalebayes.utils.parallel import side_by_side

SMALLEST_SIZE = 1e4
"""Active parameters at which the search begins: no language model is smaller."""
STEPS = 200
"""Steps of the grid in log N: over eight decades the parabola between them errs by 1e-4 of N."""


def best_experts(
    curve: Curve, budgets: np.ndarray, cost: Cost, memory: Memory
) -> tuple[np.ndarray, np.ndarray]:
    """Return active parameters and experts of least loss that fit the memory, (S, budgets) each.

    Each draw compares all numbers of experts in ``memory.experts``.

    Parameters
    ----------
    curve
        The curves of S draws of a law of N, D and E.
    budgets, cost
        Budgets, (budgets,), in units of the cost.
    memory
        The limit.

    Raises
    ------
    QueryError
        When some draws have no optimum at a budget with any number of experts.
    """
    _check_room(memory, np.array(memory.experts))
    N, loss = compare_experts(curve, budgets, cost, memory)
    best = loss.argmin(axis=-1)[..., None]
    _refuse_missing(curve, budgets, np.take_along_axis(loss, best, axis=-1)[..., 0])
    best_E = np.asarray(memory.experts, float)[best[..., 0]]
    return np.take_along_axis(N, best, axis=-1)[..., 0], best_E


def compare_experts(
    curve: Curve, budgets: np.ndarray, cost: Cost, memory: Memory
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best active parameters and their loss, (S, budgets, numbers of experts) each.

    The loss is infinite where a draw has no optimum with that number of experts. Arguments are
    those of `best_experts`.
    """
    sizes = []
    losses = []
    for number in memory.experts:
        E = np.full(len(budgets), float(number))
        N, loss = _sizes_and_losses(curve, budgets, cost, memory, E)
        sizes.append(N)
        losses.append(loss)
    return np.stack(sizes, axis=-1), np.stack(losses, axis=-1)


def sizes_within(
    curve: Curve, budgets: np.ndarray, cost: Cost, memory: Memory, E: np.ndarray
) -> np.ndarray:
    """Return the active parameters of least loss that fit the memory, (S, budgets).

    Parameters
    ----------
    curve, budgets, cost, memory
        As `best_experts` takes them.
    E
        Experts at each budget, (budgets,).

    Raises
    ------
    QueryError
        When some draws have no optimum at a budget.
    """
    _check_room(memory, E)
    N, loss = _sizes_and_losses(curve, budgets, cost, memory, E)
    _refuse_missing(curve, budgets, loss, E)
    return N


def _sizes_and_losses(
    curve: Curve, budgets: np.ndarray, cost: Cost, memory: Memory, E: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best active parameters and their loss, (S, budgets) each; infinite without one."""

    def at_budget(budget: float, experts: float) -> tuple[np.ndarray, np.ndarray]:
        return _best_size(curve, budget, cost, memory, experts)

    found = side_by_side(at_budget, budgets, E)
    N = np.stack([sizes for sizes, _ in found], axis=-1)
    loss = np.stack([losses for _, losses in found], axis=-1)
    return N, loss


def _best_size(
    curve: Curve, budget: float, cost: Cost, memory: Memory, E: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best active parameters at one budget and their loss, (S,) each.

    The least of a grid that ends at the largest size that fits is refined by a parabola. A draw
    whose loss is least at the smallest size has no optimum, and its loss is infinite: its loss
    rises with N, because there are more experts than the law is good for.
    """
    largest = np.log(memory.largest_active(E))
    grid = np.linspace(np.log(SMALLEST_SIZE), largest, STEPS + 1)
    log_N = affordable_sizes(cost, budget, grid)
    if len(log_N) < 3:
        nothing = np.full(curve.draws, np.inf)
        return nothing, nothing
    sizes = np.exp(log_N)
    log_loss = curve.log_loss_shared(sizes, cost.affordable_tokens(sizes, budget), _all(sizes, E))
    least = log_loss.argmin(axis=1)

    middle = least.clip(1, len(log_N) - 2)
    neighbours = np.stack([middle - 1, middle, middle + 1])
    beside = np.take_along_axis(log_loss, neighbours.T, axis=1).T
    refined = log_N[middle] + vertex_shift(log_N[neighbours], beside)
    is_inside = (least > 0) & (least < len(log_N) - 1)
    N = np.exp(np.where(is_inside, refined, log_N[least]))

    D = cost.affordable_tokens(N, budget)
    loss = curve.loss_each(N[:, None], D[:, None], _all(N[:, None], E))[:, 0]
    return N, np.where(least == 0, np.inf, loss)


def _all(like: np.ndarray, E: float) -> np.ndarray:
    """Return the number of experts in the shape of an array."""
    return np.full(like.shape, E)


def _check_room(memory: Memory, E: np.ndarray) -> None:
    """Refuse a limit in which the smallest model does not fit."""
    experts = float(np.min(E))
    if memory.largest_active(experts) > SMALLEST_SIZE:
        return
    raise QueryError(
        f"a memory of {format_quantity(float(memory.parameters))} parameters holds no model of "
        f"{format_quantity(SMALLEST_SIZE)} active parameters and {experts:g} experts: is a suffix "
        "missing, such as B?"
    )


def _refuse_missing(
    curve: Curve, budgets: np.ndarray, loss: np.ndarray, E: np.ndarray | None = None
) -> None:
    """Refuse budgets at which some draws have no optimum: their loss is infinite.

    E: experts at each budget, where they are given.
    """
    missing = np.isinf(loss).mean(axis=0)
    if not missing.any():
        return
    worst = int(missing.argmax())
    experts = "" if E is None else f" and E = {E[worst]:g}"
    raise QueryError(
        f"law '{curve.law.name}' has no compute-optimal point at "
        f"C = {format_quantity(float(budgets[worst]))}{experts} within the memory in "
        f"{share_in_words(missing[worst])} of the draws: the loss rises with N"
    )
