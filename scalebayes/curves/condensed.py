r"""The checkpoints of some runs condensed to nodes, with the covariance of their noise.

The log losses of a run deviate from the law by its offset, by a correlated deviation u, by the
error of what annealing saves, and by independent noise:

.. math::
    \log L_i = \log f(s_i) + \tau o_r + \kappa\, b_r(d_i) + s\, u_r(x_i) + \sigma \epsilon_i,
    \qquad x = \log S_1

u is an Ornstein-Uhlenbeck process in x of length `CORRELATION_LENGTH`. d is the share of
the loss that annealing has saved, and b a Brownian motion in d squared: kappa is the relative error
of what annealing saves, and what it will save is less certain than what it has saved. b is the sum
of its first modes. Runs that share their first checkpoints are branches of one training: these rows
count once, the branches have one offset, and u continues in each from where they part.

A run may have thousands of checkpoints. The distance of its log curve from that at reference
parameters is smooth, and is interpolated between at most `MOST_NODES` nodes. Then the rows act
through least-squares estimates at the nodes alone, with a known covariance. In a basis of its
eigenvectors a density costs as much for a million checkpoints as for a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from scalebayes.curves.curves import Curve, Curves, shared_rows
from scalebayes.curves.laws import CurveLaw, Points, Scale, evaluate, join, points_of

CORRELATION_LENGTH = 2.0
"""Length of the correlation of u, in e-folds of the area.

A run that goes on to twice its area keeps most of its deviation. With shorter lengths, intervals
for the second half of public runs were too narrow (docs/schedules.md).
"""
SETTLED = 1.3
"""Area over that of the warm-up from which on checkpoints are fitted.

Just after the warm-up the loss still falls from a transient that neither law describes.
"""
MOST_NODES = 40
"""Nodes of a run."""
FEWEST_SHARED = 2
"""First checkpoints that two runs share at least if they are branches of one training."""
LARGEST_DROP = 0.1
"""Share of the loss that annealing saves, up to which its error grows."""
MODES = 6
"""Modes of the error: above 3% of the loss they hold nine tenths of its variance."""


def drop_modes(drop: np.ndarray) -> np.ndarray:
    r"""Return the modes of the error of what annealing saves, over kappa, (..., MODES).

    The Karhunen-Loeve expansion of a Brownian motion on [0, T], in t = d^2:
    :math:`\sqrt{2 T} \sin(w_j t / T) / w_j`, with :math:`w_j = (j - 1/2) \pi`.
    """
    frequency = (np.arange(MODES) + 0.5) * np.pi
    share = np.clip(drop / LARGEST_DROP, 0.0, 1.0)[..., None] ** 2
    return np.sqrt(2) * LARGEST_DROP * np.sin(frequency * share) / frequency


@dataclass(frozen=True)
class Branch:
    """The rows of one run that no run before it has.

    Attributes
    ----------
    curve
        The whole curve.
    rows
        Places of the rows, those between the transient and the end, shape (rows,).
    log_area
        Log of their area over the typical one.
    log_loss
        Logs of their losses.
    """

    curve: Curve
    rows: np.ndarray
    log_area: np.ndarray
    log_loss: np.ndarray


@dataclass(frozen=True)
class Family:
    """Runs that branch from one training.

    Attributes
    ----------
    branches
        The runs, each with its own rows.
    parting
        Log of the area at which two runs part, minus infinity where they share nothing, (B, B).
    """

    branches: tuple[Branch, ...]
    parting: np.ndarray

    @property
    def group(self) -> str:
        """Group of the runs."""
        return self.branches[0].curve.group


def families(curves: Curves, scale: Scale, after: float = SETTLED) -> list[Family]:
    """Return the runs as families of branches, each checkpoint once.

    after: area over that of the warm-up from which on checkpoints count.
    """
    runs = list(curves.runs.values())
    shared = np.zeros((len(runs), len(runs)), dtype=int)
    for i, one in enumerate(runs):
        for j in range(i):
            found = shared_rows(one, runs[j])
            shared[i, j] = shared[j, i] = found if found >= FEWEST_SHARED else 0
    remaining = list(range(len(runs)))
    found_families = []
    while remaining:
        members = _connected(remaining[0], shared)
        remaining = [run for run in remaining if run not in members]
        found_families.append(_family([runs[i] for i in members], shared, members, scale, after))
    return [family for family in found_families if family.branches]


def _connected(first: int, shared: np.ndarray) -> list[int]:
    """Return the runs that are connected to one by shared checkpoints, in their order."""
    found = {first}
    waiting = [first]
    while waiting:
        for other in np.flatnonzero(shared[waiting.pop()]):
            if int(other) not in found:
                found.add(int(other))
                waiting.append(int(other))
    return sorted(found)


def _family(
    runs: Sequence[Curve],
    shared: np.ndarray,
    members: Sequence[int],
    scale: Scale,
    after: float,
) -> Family:
    """Return some runs as a family."""
    branches = []
    places = []
    for place, curve in enumerate(runs):
        first = max([0, *(shared[members[place], other] for other in members[:place])])
        is_settled = curve.areas >= after * curve.warmup_area
        rows = np.flatnonzero(is_settled & (np.arange(len(curve.steps)) >= first))
        if not len(rows):
            continue
        log_area = np.log(curve.areas[rows] / scale.area)
        branches.append(Branch(curve, rows, log_area, np.log(curve.losses[rows])))
        places.append(place)
    parting = np.full((len(branches), len(branches)), -np.inf)
    for i, one in enumerate(places):
        for j, other in enumerate(places):
            count = shared[members[one], members[other]]
            if one == other:
                parting[i, j] = np.inf
            elif count:
                parting[i, j] = np.log(runs[one].areas[count - 1] / scale.area)
    return Family(tuple(branches), parting)


def correlation(
    log_area: np.ndarray,
    branch: np.ndarray,
    others: np.ndarray,
    of: np.ndarray,
    parting: np.ndarray,
) -> np.ndarray:
    """Return the covariance of u, over s squared, between rows of a family, (rows, others).

    Parameters
    ----------
    log_area, branch
        Log area of rows and the place of their branch.
    others, of
        The same of other rows.
    parting
        Log area at which branches part, (B, B).
    """
    meet = parting[np.ix_(branch, of)]
    x, y = log_area[:, None], others[None, :]
    # Before the branches part there is one path; after it, the way leads back to that point.
    lowest = np.minimum(x, y)
    distance = np.where(
        lowest <= meet, np.abs(x - y), x + y - 2 * np.where(np.isfinite(meet), meet, 0)
    )
    apart = np.isneginf(meet)
    covariance = np.exp(-np.where(apart, 0.0, distance) / CORRELATION_LENGTH)
    return np.where(apart, 0.0, covariance)


@dataclass(frozen=True)
class Condensed:
    """All checkpoints as independent numbers z ~ N(0, s^2 `variance` + sigma^2), and more terms.

    Families are padded to one number of nodes N; K is the number of columns of `loads`.

    Attributes
    ----------
    points
        Nodes by group, as the law sees them.
    places
        Flat places, among (families, N), of the nodes of each group.
    estimate
        Least-squares estimates of log loss minus reference at the nodes, (families, N).
    reference
        Log of the reference curve at the nodes, by group.
    basis
        Matrix from distances at the nodes to z, (families, N, N).
    variance
        Variance of z by u, over s squared, (families, N).
    loads
        z of an offset of one, and of the modes of each run's drop, (families, N, K).
    is_node
        Whether an entry is a node, and no padding, (families, N).
    rest, free
        Sum of squares of the rows about the interpolation, and its degrees of freedom.
    """

    points: dict[str, Points]
    places: dict[str, np.ndarray]
    estimate: np.ndarray
    reference: dict[str, np.ndarray]
    basis: np.ndarray
    variance: np.ndarray
    loads: np.ndarray
    is_node: np.ndarray
    rest: float
    free: int


@dataclass(frozen=True)
class _Block:
    """One family, condensed."""

    steps: list[np.ndarray]
    estimate: np.ndarray
    basis: np.ndarray
    variance: np.ndarray
    loads: np.ndarray
    rest: float
    free: int


def condense(
    found: Sequence[Family],
    law: CurveLaw,
    parameters: dict[str, np.ndarray],
    scale: Scale,
) -> Condensed:
    """Return families condensed around reference parameters, by group."""
    blocks = [_condense_family(family, law, parameters[family.group], scale) for family in found]
    nodes = max(len(block.variance) for block in blocks)
    columns = max(block.loads.shape[1] for block in blocks)
    count = len(blocks)
    estimate, variance = np.zeros((count, nodes)), np.zeros((count, nodes))
    basis, loads = np.zeros((count, nodes, nodes)), np.zeros((count, nodes, columns))
    is_node = np.zeros((count, nodes), dtype=bool)
    points: dict[str, list[Points]] = {}
    places: dict[str, list[np.ndarray]] = {}
    for i, (family, block) in enumerate(zip(found, blocks, strict=True)):
        size, width = block.loads.shape
        estimate[i, :size], variance[i, :size] = block.estimate, block.variance
        basis[i, :size, :size], loads[i, :size, :width] = block.basis, block.loads
        is_node[i, :size] = True
        begin = i * nodes
        for branch, steps in zip(family.branches, block.steps, strict=True):
            points.setdefault(family.group, []).append(
                points_of(branch.curve.schedule, steps, scale)
            )
            places.setdefault(family.group, []).append(np.arange(begin, begin + len(steps)))
            begin += len(steps)
    joined = {group: join(parts) for group, parts in points.items()}
    reference = {}
    for group, each in joined.items():
        reference[group] = np.log(evaluate(law, parameters[group], each)[0])
    return Condensed(
        points=joined,
        places={group: np.concatenate(parts) for group, parts in places.items()},
        estimate=estimate,
        reference=reference,
        basis=basis,
        variance=variance,
        loads=loads,
        is_node=is_node,
        rest=sum(block.rest for block in blocks),
        free=sum(block.free for block in blocks),
    )


def _condense_family(family: Family, law: CurveLaw, parameters: np.ndarray, scale: Scale) -> _Block:
    """Return one family condensed around reference parameters."""
    steps, log_areas, weights, residuals, drops = [], [], [], [], []
    for branch in family.branches:
        at = branch.curve.steps[branch.rows]
        points = points_of(branch.curve.schedule, at, scale)
        loss, _, saved = evaluate(law, parameters, points)
        chosen = _choose_nodes(branch.log_area, np.log(loss))
        steps.append(at[chosen])
        log_areas.append(branch.log_area[chosen])
        weights.append(_interpolation(branch.log_area, branch.log_area[chosen]))
        residuals.append(branch.log_loss - np.log(loss))
        drops.append((saved / loss)[chosen])
    branch_of = np.repeat(np.arange(len(steps)), [len(each) for each in steps])
    log_area = np.concatenate(log_areas)
    weight = linalg.block_diag(*weights)
    residual = np.concatenate(residuals)

    # Least squares at the nodes: rows = weight nodes + noise, and weight^T weight = R^T R.
    root = linalg.cholesky(weight.T @ weight)
    estimate = linalg.cho_solve((root, False), weight.T @ residual)
    left = residual - weight @ estimate

    covariance = correlation(log_area, branch_of, log_area, branch_of, family.parting)
    variance, vectors = linalg.eigh(root @ covariance @ root.T)
    basis = vectors.T @ root
    columns = [np.ones(len(log_area))]
    for place, drop in enumerate(drops):
        if drop.max() <= 0:
            continue
        modes = np.zeros((len(log_area), MODES))
        modes[branch_of == place] = drop_modes(drop)
        columns.extend(modes.T)
    loads = basis @ np.column_stack(columns)
    free = len(residual) - len(log_area)
    return _Block(
        steps, estimate, basis, np.maximum(variance, 0.0), loads, float(left @ left), free
    )


def _choose_nodes(log_area: np.ndarray, log_loss: np.ndarray) -> np.ndarray:
    """Return places of rows that are nodes: dense where area or loss change much."""
    if len(log_area) <= MOST_NODES:
        return np.arange(len(log_area))
    progress = np.zeros(len(log_area))
    for values in (log_area, log_loss):
        way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(values)))])
        progress += way / way[-1]
    marks = np.linspace(0.0, progress[-1], MOST_NODES)
    chosen = np.searchsorted(progress, marks).clip(0, len(log_area) - 1)
    # Where much happens between two rows, as after a jump of the rate, both are nodes.
    leaps = np.flatnonzero(np.diff(progress) > marks[1])
    return np.unique(np.concatenate([chosen, leaps, leaps + 1]))


def _interpolation(x: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Return the matrix of linear interpolation from nodes to x, (rows, nodes)."""
    if len(nodes) == 1:
        return np.ones((len(x), 1))
    piece = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, len(nodes) - 2)
    share = (x - nodes[piece]) / (nodes[piece + 1] - nodes[piece])
    matrix = np.zeros((len(x), len(nodes)))
    rows = np.arange(len(x))
    matrix[rows, piece] = 1 - share
    matrix[rows, piece + 1] += share
    return matrix
