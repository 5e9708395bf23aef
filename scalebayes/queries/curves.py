"""Curves of the posterior's draws, asked at inputs that differ from draw to draw, and where they cross a value."""

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
from scalebayes.utils.parallel import parts_of, side_by_side

type Which = Literal["law", "expected", "curve"]
type Excess = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From the numbers of draws (n,) and a coordinate of each (n,) to a number of each (n,)."""

FINE = 0.05 * np.log(10)
"""Steps of log N in which a discrepancy is looked at; its length is a decade or so."""


class Shared(Protocol):
    """Whatever knows the log loss of its draws at inputs that all of them share."""

    def log_loss_shared(self, *inputs: np.ndarray) -> np.ndarray:
        """Log loss of every draw at the same inputs (K,): (S, K)."""
        ...


@dataclass(frozen=True)
class Curve:
    """The curve of each of S draws: L = law * exp(delta), with one of three readings of the discrepancy delta.

    ``law`` leaves it out. ``expected`` takes what each draw expects of it given a draw of it at the runs: among the
    runs it follows them, as far as their scatter lets it be known, and far from them it is gone. ``curve`` holds each
    draw at one level z of its own: mean + z sd. At any one place that is an ordinary draw of the curve; between places
    it is as smooth as mean and sd are, so that it can be inverted: a path drawn at random would be crossed first at its
    dips, though no run has shown a dip there.

    Attributes
    ----------
    law, parameters
        The law, and the draws of its parameters, (S,).
    known
        What the draws know of the discrepancy, if there is one.
    pull
        What each draw expects of it, as coefficients of the vectors of the basis, (S, rank).
    level
        z of each draw, (S,), for ``curve``.
    """

    law: Law
    parameters: Mapping[str, np.ndarray]
    known: Conditional | None = None
    pull: np.ndarray = field(default_factory=lambda: np.empty(0))
    level: np.ndarray | None = None

    @property
    def draws(self) -> int:
        """How many draws there are, S."""
        return len(next(iter(self.parameters.values())))

    def log_loss(self, rows: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
        """Log loss of the draws numbered `rows` (n,), each at inputs of its own (n,), which may be infinite."""
        log_law = self.log_law(rows, *inputs)
        if self.known is None:
            return log_law
        known, eta = self.known, self.known.eta[rows]
        delta = np.empty(len(rows))
        for i in np.array_split(
            np.arange(len(rows)), 1 + len(rows) * len(known.basis.points) // BLOCK
        ):
            k = known.basis.near(known.basis.scale(x[i] for x in inputs))
            delta[i] = np.einsum("ij,ij->i", k, self._pull_of_runs[rows[i]])
            if self.level is not None:
                c = k @ known.basis.vectors
                variance = (1.0 - np.einsum("ij,ij,ij->i", c, c, self._weights[rows[i]])).clip(0.0)
                delta[i] += self.level[rows[i]] * eta[i] * np.sqrt(variance)
        return log_law + delta

    def log_law(self, rows: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
        """Log loss of the law alone, of the draws numbered `rows` (n,), each at inputs of its own (n,)."""
        return np.log(
            self.law(*inputs, **{name: values[rows] for name, values in self.parameters.items()})
        )

    def law_each(self, *inputs: np.ndarray) -> np.ndarray:
        """Loss of the law alone of every draw, at inputs of its own (S, K) or of all draws (K,): (S, K)."""

        def of(part: slice) -> np.ndarray:
            own = {name: values[part, None] for name, values in self.parameters.items()}
            return self.law(*(x[part] if x.ndim > 1 else x for x in inputs), **own)

        return np.concatenate(side_by_side(of, parts_of(self.draws, inputs[0].shape[-1])))

    def log_loss_at(self, log_N: np.ndarray, budget: float, cost: Cost) -> np.ndarray:
        """Log loss of every draw at a size of its own, log_N (S,), and what a budget that all share leaves for data.

        All places lie on one line, so a discrepancy is found at some of them and interpolated: a tenth of the work of
        `log_loss`, and the same to 1e-5 or so. Where data run out along the line, too fast to
        interpolate, nothing is saved.
        """
        rows, N = np.arange(self.draws), np.exp(log_N)
        D = cost.affordable_tokens(N, budget)
        if self.known is None or (nodes := nodes_between(log_N, budget, cost)) is None:
            return self.log_loss(rows, N, D)
        sizes = np.exp(nodes)
        delta = self.delta_shared(sizes, cost.affordable_tokens(sizes, budget))
        return self.log_law(rows, N, D) + interpolate(log_N, nodes, delta)

    def drawn_at(
        self, log_N: np.ndarray, budget: float, cost: Cost, rng: np.random.Generator, *others: float
    ) -> np.ndarray:
        """One draw of the discrepancy for each draw at a size of its own, (S,), around what `expected` curves expect.

        Interpolated like `log_loss_at`, its spread to a hundredth; `Conditional.draw_each` is the same without.
        """
        known = cast("Conditional", self.known)
        if others or (nodes := nodes_between(log_N, budget, cost)) is None:
            held = (np.full_like(log_N, x) for x in others)
            inputs = np.exp(log_N), cost.affordable_tokens(np.exp(log_N), budget), *held
            return known.draw_each(known.basis.scale(inputs), self.pull, rng)
        c = known.basis.project(
            known.basis.scale((np.exp(nodes), cost.affordable_tokens(np.exp(nodes), budget)))
        )
        unseen = (1.0 - (c**2 / known.basis.values).sum(axis=1)).clip(0.0)
        mean, spread = (
            interpolate(log_N, nodes, self.pull @ c.T),
            np.sqrt(np.interp(log_N, nodes, unseen)),
        )
        return mean + known.eta * spread * rng.standard_normal(len(log_N))

    def log_loss_each(self, *inputs: np.ndarray) -> np.ndarray:
        """Log loss of every draw at inputs of its own, (S, K)."""
        rows = np.repeat(np.arange(self.draws), inputs[0].shape[1])
        return self.log_loss(rows, *(x.ravel() for x in inputs)).reshape(inputs[0].shape)

    def log_loss_shared(self, *inputs: np.ndarray) -> np.ndarray:
        """Log loss of every draw at the same inputs (K,), in a fraction of the time: (S, K)."""
        values = np.empty((self.draws, len(inputs[0])))
        for part in parts_of(*values.shape):
            np.log(
                self.law(*inputs, **{n: v[part, None] for n, v in self.parameters.items()}),
                out=values[part],
            )
        return (
            values if self.known is None else np.add(values, self.delta_shared(*inputs), out=values)
        )

    def delta_shared(self, *inputs: np.ndarray) -> np.ndarray:
        """The discrepancy of every draw at the same inputs (K,), where there is one: (S, K)."""
        known = cast("Conditional", self.known)
        c = known.basis.project(known.basis.scale(inputs))
        delta = self.pull @ c.T
        if self.level is not None:
            delta += (self.level * known.eta)[:, None] * np.sqrt(
                (1.0 - self._weights @ (c**2).T).clip(0.0)
            )
        return delta

    @cached_property
    def _weights(self) -> np.ndarray:
        return self.known.weights if self.known is not None else np.empty(0)

    @cached_property
    def _pull_of_runs(self) -> np.ndarray:
        """The pull as coefficients of the runs themselves, (S, runs)."""
        return self.pull @ self.known.basis.vectors.T if self.known is not None else np.empty(0)


def curve_of(fit: Fit, which: Which, seed: int = 0) -> Curve:
    """Curves of a fit's draws; without a discrepancy all three readings are the law."""
    law, parameters = (
        fit.spec.law_object,
        {name: values.ravel() for name, values in law_parameters(fit).items()},
    )
    known = None if which == "law" else fit.discrepancy
    if known is None:
        return Curve(law, parameters)
    rng = np.random.default_rng(seed)
    if which == "expected":
        return Curve(law, parameters, known, known.at_runs(rng))
    return Curve(
        law, parameters, known, known.weights * known.rotated, rng.standard_normal(len(known.eta))
    )


def nodes_between(log_N: np.ndarray, budget: float, cost: Cost) -> np.ndarray | None:
    """Rising log sizes around those given, close enough in N and D to interpolate; None where they would not be."""
    ends = log_N.min() - 2 * FINE, log_N.max() + 2 * FINE
    nodes = np.linspace(*ends, int((ends[1] - ends[0]) / FINE) + 2)
    log_D = np.log(cost.affordable_tokens(np.exp(nodes), budget))
    close = np.isfinite(log_D).all() and np.abs(np.diff(log_D)).max() < 2 * FINE
    return nodes if close and len(nodes) < len(log_N) / 4 else None


def interpolate(at: np.ndarray, nodes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Functions known at shared even nodes (K,), values (S, K), each at a place of its own (S,), by cubics."""
    step = nodes[1] - nodes[0]
    first = np.clip(np.searchsorted(nodes, at) - 2, 0, len(nodes) - 4)
    t = (at - nodes[first]) / step  # the four nodes lie at 0, 1, 2 and 3
    a, b, c, d = (np.take_along_axis(values, (first + i)[:, None], axis=1)[:, 0] for i in range(4))
    left = -(t - 1) * (t - 2) * (t - 3) / 6 * a + t * (t - 2) * (t - 3) / 2 * b
    return left - t * (t - 1) * (t - 3) / 2 * c + t * (t - 1) * (t - 2) / 6 * d


def crossing(excess: Excess, rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where each draw's excess changes sign between two places that have different signs, to 1e-9."""
    from scipy.optimize import elementwise

    if not len(rows):
        return low
    found = elementwise.find_root(
        lambda x, rows: excess(rows.astype(int), x),
        (low, high),
        args=(rows,),
        tolerances={"xatol": 1e-9},
    )
    return np.where(found.success, found.x, high)


def first_place(
    excess: Excess, nodes: np.ndarray, at_nodes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Least x from the first node on at which each draw's excess is no longer positive.

    Parameters
    ----------
    excess
        As a function of x.
    nodes
        Rising values of x, so close that the excess changes its sign once at most between two.
    at_nodes
        The excess of every draw there, (S, nodes); NaN counts as positive.

    Returns
    -------
    tuple of numpy.ndarray
        x of each draw, ``inf`` where the excess stays positive; and whether it was not positive at the first node.
    """
    below = at_nodes <= 0
    first = below.argmax(axis=1)
    x = np.where(below.any(axis=1), nodes[first], np.inf)
    inside = np.flatnonzero(below.any(axis=1) & (first > 0))
    x[inside] = crossing(excess, inside, nodes[first[inside] - 1], nodes[first[inside]])
    return x, below[:, 0]
