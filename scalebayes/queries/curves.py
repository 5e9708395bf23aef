"""Curves of the posterior's draws: their loss at any inputs, and where it crosses a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol, cast

import numpy as np

from scalebayes.costs.cost import Cost
from scalebayes.laws import Law
from scalebayes.posterior.fit import Fit, law_parameters
from scalebayes.specs.discrepancy import BLOCK, Conditional
from scalebayes.specs.drift import Drift
from scalebayes.utils.parallel import parts_of, side_by_side

type Which = Literal["law", "expected", "curve"]
type Excess = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From the numbers of draws (n,) and a coordinate of each (n,) to a value of each (n,)."""

NODE_STEP = 0.05 * np.log(10)
"""Step in log N between nodes of an interpolated discrepancy, whose length is about a decade."""
DRIFT_BLOCK = 16_384
"""Losses of laws that drift that are computed at once: they fit into a processor's cache.

Threads would not help: the arrays are so small that threads wait for the interpreter.
"""
ROOT_TOLERANCE = 1e-9
"""Absolute tolerance of a crossing, in log N or log C."""


class SharedCurve(Protocol):
    """An object that returns the log loss of its draws at inputs that all of them share."""

    def log_loss_shared(self, *inputs: np.ndarray) -> np.ndarray:
        """Return the log loss of every draw at the same inputs (K,): (S, K)."""
        ...


@dataclass(frozen=True)
class Curve:
    """The curves of S draws: a law, alone or bent by drift or a discrepancy.

    A law that drifts is fixed by a draw at every input, so there is one reading of it beside the
    law alone. With a discrepancy, L = law * exp(delta), there are three.

    ``law`` omits the discrepancy delta. ``expected`` is the expectation of delta given a draw of it
    at the runs: among the runs it follows them, as closely as the noise allows, and far from them
    it vanishes. ``curve`` keeps each draw at one level z: delta = mean + z sd. At any one place
    that is an ordinary draw of the curve. Between places it is as smooth as mean and sd are, so
    that the curve can be inverted. A path drawn at random would first cross a value at a dip that
    no run has shown.

    Attributes
    ----------
    law, parameters
        The law, and the draws of its parameters, (S,).
    known
        What the draws know of the discrepancy; None without one.
    pull
        Expectation of each draw, as coefficients of the vectors of the basis, (S, rank).
    level
        z of each draw, (S,), for ``curve``.
    drift
        The bent law of each draw; None where it does not drift.
    """

    law: Law
    parameters: Mapping[str, np.ndarray]
    known: Conditional | None = None
    pull: np.ndarray = field(default_factory=lambda: np.empty(0))
    level: np.ndarray | None = None
    drift: Drift | None = None

    @property
    def is_law(self) -> bool:
        """Return whether the curves are those of the law, so that its closed forms hold."""
        return self.known is None and self.drift is None

    @property
    def draws(self) -> int:
        """Return the number of draws, S."""
        return len(next(iter(self.parameters.values())))

    def log_law(self, rows: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
        """Return the log loss of the law alone, (n,), for `rows` and inputs as in `log_loss`."""
        own = {name: values[rows] for name, values in self.parameters.items()}
        return np.log(self.law(*inputs, **own))

    def loss_each(self, *inputs: np.ndarray) -> np.ndarray:
        """Return the loss, (S, K), at inputs (S, K), or (K,) of all draws; law alone if it is."""
        if self.is_law:
            return self.law_each(*inputs)
        shape = (self.draws, inputs[0].shape[-1])
        return np.exp(self.log_loss_each(*[np.broadcast_to(x, shape) for x in inputs]))

    def law_each(self, *inputs: np.ndarray) -> np.ndarray:
        """Return the loss of the law alone, (S, K), at inputs (S, K), or (K,) of all draws."""

        def loss_of(part: slice) -> np.ndarray:
            own = {name: values[part, None] for name, values in self.parameters.items()}
            inputs_of_part = [x[part] if x.ndim > 1 else x for x in inputs]
            return self.law(*inputs_of_part, **own)

        parts = parts_of(self.draws, inputs[0].shape[-1])
        return np.concatenate(side_by_side(loss_of, parts))

    def log_loss(self, rows: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
        """Return the log loss, (n,), of the draws numbered `rows` (n,), each at inputs of its own.

        Inputs, (n,) each, may be infinite.
        """
        if self.drift is not None:
            return self._log_loss_by_drift(self.drift, rows, inputs)
        log_law = self.log_law(rows, *inputs)
        if self.known is None:
            return log_law
        delta = np.empty(len(rows))
        # In blocks, so that the correlations with the runs, (block, runs), do not fill the memory.
        blocks = 1 + len(rows) * len(self.known.basis.points) // BLOCK
        for block in np.array_split(np.arange(len(rows)), blocks):
            delta[block] = self._delta(self.known, rows[block], [x[block] for x in inputs])
        return log_law + delta

    def _log_loss_by_drift(
        self, drift: Drift, rows: np.ndarray, inputs: tuple[np.ndarray, ...]
    ) -> np.ndarray:
        """Return the log loss, (n,), of laws that drift, in blocks."""
        losses = np.empty(len(rows))
        for begin in range(0, len(rows), DRIFT_BLOCK):
            block = slice(begin, begin + DRIFT_BLOCK)
            some = [values[block] for values in inputs]
            losses[block] = drift.log_loss_of(self.parameters, rows[block], some)
        return losses

    def _delta(self, known: Conditional, rows: np.ndarray, inputs: list[np.ndarray]) -> np.ndarray:
        """Return the discrepancy, (n,), of the draws `rows`, each at inputs of its own."""
        near = known.basis.near(known.basis.scale(inputs))
        delta = np.einsum("ij,ij->i", near, self._pull_of_runs[rows])
        if self.level is None:
            return delta
        c = near @ known.basis.vectors
        explained = np.einsum("ij,ij,ij->i", c, c, self._weights[rows])
        unseen = (1.0 - explained).clip(0.0)
        return delta + self.level[rows] * known.eta[rows] * np.sqrt(unseen)

    def log_loss_each(self, *inputs: np.ndarray) -> np.ndarray:
        """Return the log loss, (S, K), of every draw at inputs of its own, (S, K)."""
        rows = np.repeat(np.arange(self.draws), inputs[0].shape[1])
        flat = [x.ravel() for x in inputs]
        return self.log_loss(rows, *flat).reshape(inputs[0].shape)

    def log_loss_shared(self, *inputs: np.ndarray) -> np.ndarray:
        """Return the log loss, (S, K), at inputs (K,) of all draws: much faster than one by one."""
        values = np.empty((self.draws, len(inputs[0])))
        if self.drift is not None:
            self._fill_by_drift(values, self.drift, list(inputs))
            return values
        for part in parts_of(*values.shape):
            own = {name: each[part, None] for name, each in self.parameters.items()}
            np.log(self.law(*inputs, **own), out=values[part])
        if self.known is not None:
            values += self.delta_shared(*inputs)
        return values

    def _fill_by_drift(self, out: np.ndarray, drift: Drift, inputs: list[np.ndarray]) -> None:
        """Write the log loss at shared inputs to ``out``, (S, K)."""

        def fill(part: slice) -> None:
            out[part] = drift.log_loss(self.parameters, inputs, part)

        side_by_side(fill, parts_of(*out.shape))

    def delta_shared(self, *inputs: np.ndarray) -> np.ndarray:
        """Return the discrepancy, (S, K), at inputs (K,) of all draws. There must be one."""
        known = cast("Conditional", self.known)
        c = known.basis.project(known.basis.scale(inputs))
        delta = self.pull @ c.T
        if self.level is not None:
            unseen = (1.0 - self._weights @ (c**2).T).clip(0.0)
            delta += (self.level * known.eta)[:, None] * np.sqrt(unseen)
        return delta

    def log_loss_at(self, log_N: np.ndarray, budget: float, cost: Cost) -> np.ndarray:
        """Return the log loss, (S,), of every draw at a size of its own and one shared budget.

        All places lie on one line, so the discrepancy is computed at nodes and interpolated. That
        takes a tenth of the time of `log_loss` and agrees with it to about 1e-5. Where data run out
        along the line, too fast to interpolate, it is computed at every place.
        """
        rows = np.arange(self.draws)
        N = np.exp(log_N)
        D = cost.affordable_tokens(N, budget)
        if self.known is None:
            return self.log_loss(rows, N, D)
        nodes = nodes_between(log_N, budget, cost)
        if nodes is None:
            return self.log_loss(rows, N, D)
        sizes = np.exp(nodes)
        delta = self.delta_shared(sizes, cost.affordable_tokens(sizes, budget))
        return self.log_law(rows, N, D) + interpolate(log_N, nodes, delta)

    def drawn_at(
        self, log_N: np.ndarray, budget: float, cost: Cost, rng: np.random.Generator, *others: float
    ) -> np.ndarray:
        """Return a drawn discrepancy, (S,), of every draw at a size of its own and one budget.

        It is drawn around the expectation of ``expected`` curves, and interpolated as in
        `log_loss_at`, with an error of the standard deviation of a hundredth. Where it cannot be
        interpolated, `Conditional.draw_each` draws it.
        """
        known = cast("Conditional", self.known)
        # Nodes differ in N and D alone, so a law of further inputs is not interpolated.
        nodes = None if others else nodes_between(log_N, budget, cost)
        if nodes is None:
            N = np.exp(log_N)
            further = [np.full_like(log_N, value) for value in others]
            inputs = [N, cost.affordable_tokens(N, budget), *further]
            return known.draw_each(known.basis.scale(inputs), self.pull, rng)
        sizes = np.exp(nodes)
        places = known.basis.scale((sizes, cost.affordable_tokens(sizes, budget)))
        c = known.basis.project(places)
        unseen = (1.0 - (c**2 / known.basis.values).sum(axis=1)).clip(0.0)
        mean = interpolate(log_N, nodes, self.pull @ c.T)
        spread = np.sqrt(np.interp(log_N, nodes, unseen))
        return mean + known.eta * spread * rng.standard_normal(len(log_N))

    @cached_property
    def _weights(self) -> np.ndarray:
        if self.known is None:
            return np.empty(0)
        return self.known.weights

    @cached_property
    def _pull_of_runs(self) -> np.ndarray:
        """The pull as coefficients of the runs themselves, (S, runs)."""
        if self.known is None:
            return np.empty(0)
        return self.pull @ self.known.basis.vectors.T


def curve_of(fit: Fit, which: Which, seed: int = 0) -> Curve:
    """Return the curves of a fit's draws.

    Without a discrepancy the three readings are equal; with drift those beside the law are. Of a
    law with hyperparameters they are the curves of tuned runs.
    """
    fit = fit.tuned_runs
    law = fit.spec.law_object
    parameters = {name: values.ravel() for name, values in law_parameters(fit).items()}
    if which == "law" or not fit.spec.has_discrepancy:
        return Curve(law, parameters)
    if fit.drift is not None:
        return Curve(law, parameters, drift=fit.drift)
    known = fit.discrepancy
    assert known is not None  # a spec has one or the other
    rng = np.random.default_rng(seed)
    if which == "expected":
        return Curve(law, parameters, known, known.at_runs(rng))
    mean = known.weights * known.rotated
    level = rng.standard_normal(len(known.eta))
    return Curve(law, parameters, known, mean, level)


def nodes_between(log_N: np.ndarray, budget: float, cost: Cost) -> np.ndarray | None:
    """Return rising log sizes around those given (S,), between which a discrepancy is interpolated.

    None where that is not worth it: too few draws, or D along the budget changes too fast.
    """
    low, high = log_N.min() - 2 * NODE_STEP, log_N.max() + 2 * NODE_STEP
    nodes = np.linspace(low, high, int((high - low) / NODE_STEP) + 2)
    if len(nodes) >= len(log_N) / 4:
        return None
    log_D = np.log(cost.affordable_tokens(np.exp(nodes), budget))
    if not np.isfinite(log_D).all() or np.abs(np.diff(log_D)).max() >= 2 * NODE_STEP:
        return None
    return nodes


def interpolate(at: np.ndarray, nodes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return each draw's function at a place of its own, `at` (S,), by cubic interpolation.

    nodes : shared and evenly spaced, (K,). values : the functions at the nodes, (S, K).
    """
    step = nodes[1] - nodes[0]
    first = np.clip(np.searchsorted(nodes, at) - 2, 0, len(nodes) - 4)
    # In units of the step from the first of the four nodes, these lie at 0, 1, 2 and 3.
    t = (at - nodes[first]) / step
    around = first[:, None] + np.arange(4)
    y0, y1, y2, y3 = np.take_along_axis(values, around, axis=1).T
    # Lagrange's form.
    term0 = -(t - 1) * (t - 2) * (t - 3) / 6 * y0
    term1 = t * (t - 2) * (t - 3) / 2 * y1
    term2 = t * (t - 1) * (t - 3) / 2 * y2
    term3 = t * (t - 1) * (t - 2) / 6 * y3
    return term0 + term1 - term2 + term3


def crossing(excess: Excess, rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return where each draw's excess is zero, (n,), between places at which its signs differ."""
    from scipy.optimize import elementwise

    if not len(rows):
        return low

    def excess_at(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return excess(rows.astype(int), x)

    tolerances = {"xatol": ROOT_TOLERANCE}
    found = elementwise.find_root(excess_at, (low, high), args=(rows,), tolerances=tolerances)
    return np.where(found.success, found.x, high)


def first_place(
    excess: Excess, nodes: np.ndarray, at_nodes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least x, from the first node on, at which each draw's excess is not positive.

    Parameters
    ----------
    excess
        As a function of x.
    nodes
        Rising values of x, close enough that the excess changes its sign at most once between two.
    at_nodes
        The excess of every draw there, (S, nodes); NaN counts as positive.

    Returns
    -------
    tuple of numpy.ndarray
        x of each draw, ``inf`` where the excess stays positive; and whether it is not positive at
        the first node.
    """
    is_below = at_nodes <= 0
    ever_below = is_below.any(axis=1)
    first = is_below.argmax(axis=1)
    x = np.where(ever_below, nodes[first], np.inf)
    rows = np.flatnonzero(ever_below & (first > 0))
    x[rows] = crossing(excess, rows, nodes[first[rows] - 1], nodes[first[rows]])
    return x, is_below[:, 0]
