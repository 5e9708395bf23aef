"""Curves of the posterior's draws, asked at inputs that differ from draw to draw, and where they cross a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from scalebayes.discrepancy import Conditional
from scalebayes.laws import Law
from scalebayes.posterior import Fit, discrepancy, law_parameters

type Which = Literal["law", "expected", "curve"]
type Excess = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From the numbers of draws (n,) and a coordinate of each (n,) to a number of each (n,)."""

BLOCK = 4_000_000
"""Entries of the kernel held at once, places times runs: bounds the memory that a long table takes."""


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
        parameters = {name: values[rows] for name, values in self.parameters.items()}
        log_law = np.log(self.law(*inputs, **parameters))
        if self.known is None:
            return log_law
        known, eta = self.known, self.known.eta[rows]
        delta = np.empty(len(rows))
        for i in np.array_split(np.arange(len(rows)), 1 + len(rows) * len(known.basis.points) // BLOCK):
            c = known.basis.project(known.basis.scale(x[i] for x in inputs))
            delta[i] = (c * self.pull[rows[i]]).sum(axis=1)
            if self.level is not None:
                variance = (1.0 - (c**2 * self._weights[rows[i]]).sum(axis=1)).clip(0.0)
                delta[i] += self.level[rows[i]] * eta[i] * np.sqrt(variance)
        return log_law + delta

    def log_loss_each(self, *inputs: np.ndarray) -> np.ndarray:
        """Log loss of every draw at inputs of its own, (S, K)."""
        rows = np.repeat(np.arange(self.draws), inputs[0].shape[1])
        return self.log_loss(rows, *(x.ravel() for x in inputs)).reshape(inputs[0].shape)

    def log_loss_shared(self, *inputs: np.ndarray) -> np.ndarray:
        """Log loss of every draw at the same inputs (K,), in a fraction of the time: (S, K)."""
        log_law = np.log(self.law(*inputs, **{name: values[:, None] for name, values in self.parameters.items()}))
        if self.known is None:
            return log_law
        known = self.known
        c = known.basis.project(known.basis.scale(inputs))
        delta = self.pull @ c.T
        if self.level is not None:
            delta += (self.level * known.eta)[:, None] * np.sqrt((1.0 - self._weights @ (c**2).T).clip(0.0))
        return log_law + delta

    @cached_property
    def _weights(self) -> np.ndarray:
        return self.known.weights if self.known is not None else np.empty(0)


def curve_of(fit: Fit, which: Which, seed: int = 0) -> Curve:
    """Curves of a fit's draws; without a discrepancy all three readings are the law."""
    law, parameters = fit.spec.law_object, {name: values.ravel() for name, values in law_parameters(fit).items()}
    known = None if which == "law" else discrepancy(fit)
    if known is None:
        return Curve(law, parameters)
    rng = np.random.default_rng(seed)
    if which == "expected":
        return Curve(law, parameters, known, known.at_runs(rng))
    return Curve(law, parameters, known, known.weights * known.rotated, rng.standard_normal(len(known.eta)))


def crossing(excess: Excess, rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where each draw's excess changes sign between two places that have different signs, to 1e-9."""
    from scipy.optimize import elementwise

    if not len(rows):
        return low
    found = elementwise.find_root(
        lambda x, rows: excess(rows.astype(int), x), (low, high), args=(rows,), tolerances={"xatol": 1e-9}
    )
    return np.where(found.success, found.x, high)


def first_place(excess: Excess, nodes: np.ndarray, at_nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
