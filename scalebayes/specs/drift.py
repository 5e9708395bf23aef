r"""Drift of a law's local exponents: how far the law may be off, however far from the runs.

A law says that the log of its reducible loss R falls in a straight line along the log of an input.
Here the lines may bend, slowly and without limit:

    log L(x) = log( L_inf + R_c exp H(r) ) + noise,    r = log R(h(x)) - log R_c,
    log h(x_i) = c_i + integral of exp(g_i) from c_i to log x_i        for each input i,
    H(r) = integral of exp(g_L) from 0 to r,

with c the table's centre (the means of the logs of the inputs) and R_c the law's reducible loss
there. Each g is a Brownian motion that starts from 0 at the centre, on either side: of standard
deviation tau after a decade of an input, and tau_loss after a decade of the reducible loss. So
exp(g_i) is how many times the local exponent of an input is that at the centre, and the law's
parameters are those at the centre.

Every path rises, so the loss falls in every input under every draw, as that of the law does. The
floor is the law's. Uncertainty grows with the distance from the runs for good. The drift along the
loss bends all runs of equal R alike, which leaves the optimum of each budget where it is; the
drifts along the inputs move it.

Paths are followed at knots a quarter of a decade apart, between which exp(g) is linear. So each
integral is linear in exp(g) at the knots, with weights that depend on the table alone (`Knots`).

References
----------
Ramsay (1988), Monotone regression splines in action, doi:10.1214/ss/1177012761.
Kennedy and O'Hagan (2001), Bayesian calibration of computer models, doi:10.1111/1467-9868.00294.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scalebayes.laws import Law

LN_10 = float(np.log(10.0))
STEP = 0.25
"""Decades between knots: bends within a factor of two are noise, not drift."""
STEP_LOG = STEP * LN_10
"""The same in natural logs."""
KNOT_COUNTS = (17, 33, 65, 129)
"""Numbers of knots that a sampler is compiled for; a table takes the least that spans it."""
LOSS_KNOTS = range(-8, 5)
"""Knots along the reducible loss, in steps from the centre: from a hundredth to ten times R_c.
Beyond, the path goes straight on."""
FAR = 40
"""Steps that paths along inputs are continued on either side of a table: ten decades. Beyond, they
go straight on."""


AXES = {"N": "N", "D": "D", "U": "D", "S": "S", "C": "C"}
"""Input -> the quantity along which its path runs: repeated tokens are tokens. Experts have none:
their number starts at one and has no scale."""
CONTINUATION = 13
"""Separates the random numbers of paths beyond the runs from all others of a seed."""
FARTHEST = 1e300
"""Stands for an infinite input, and bounds a reducible loss, so that logs are finite."""
NEAREST = 1e-100
"""Bounds a bent input from below: its terms must be finite."""
TINY = 1e-300
"""Stands for a reducible loss of zero, so that its log is finite."""


@dataclass(frozen=True)
class Knots:
    """Evenly spaced knots along the log of a quantity; number 0 is at the table's centre.

    Attributes
    ----------
    first, last
        Numbers of the outermost knots.
    """

    first: int
    last: int

    @classmethod
    def around(cls, distances: np.ndarray) -> Knots:
        """Return knots that span distances from the centre, in natural logs, and 0.

        Their number is the least of `KNOT_COUNTS` that does; spare knots are shared between the two
        sides.

        Raises
        ------
        ValueError
            When the distances span more than the largest number of knots.
        """
        first = min(int(np.floor(distances.min() / STEP_LOG)), -1)
        last = max(int(np.ceil(distances.max() / STEP_LOG)), 1)
        needed = last - first + 1
        for count in KNOT_COUNTS:
            if count >= needed:
                spare = count - needed
                return cls(first - spare // 2, last + spare - spare // 2)
        most = (KNOT_COUNTS[-1] - 1) * STEP
        raise ValueError(f"an input spans {(needed - 1) * STEP:g} decades; at most {most:g}")

    @property
    def numbers(self) -> np.ndarray:
        """Return the numbers of the knots, (knots,)."""
        return np.arange(self.first, self.last + 1)

    def __len__(self) -> int:
        return self.last - self.first + 1

    def extended(self, steps: int) -> Knots:
        """Return these and ``steps`` further knots on either side."""
        return Knots(self.first - steps, self.last + steps)

    def weights(self, distances: np.ndarray) -> np.ndarray:
        """Return W such that W exp(g) are the integrals of exp(g) from 0 to distances.

        exp(g) is linear between knots and constant beyond the outermost.

        Parameters
        ----------
        distances
            From the centre, in natural logs, (n,).

        Returns
        -------
        numpy.ndarray
            Shape (n, knots).
        """
        steps = distances[:, None] / STEP_LOG - self.numbers
        of_centre = -self.numbers.astype(float)
        return STEP_LOG * (self._areas(steps) - self._areas(of_centre[None, :]))

    def _areas(self, steps: np.ndarray) -> np.ndarray:
        """Return the area below each knot's piece of exp(g), up to steps from that knot.

        The piece of an inner knot is a triangle, that of an outermost one goes on for ever on its
        outer side. Areas are up to a constant of each knot. steps: (n, knots).
        """
        within = steps.clip(-1.0, 1.0)
        areas = within - within * np.abs(within) / 2
        areas[:, 0] += np.minimum(steps[:, 0], 0.0) - np.minimum(areas[:, 0], 0.0)
        areas[:, -1] += np.maximum(steps[:, -1], 0.0) - np.maximum(areas[:, -1], 0.0)
        return areas

    def brownian(self) -> np.ndarray:
        """Return B such that B z is a Brownian motion at the knots for standard Normal z.

        It is 0 at the centre, with variance 1 after a decade on either side.

        Returns
        -------
        numpy.ndarray
            Shape (knots, knots - 1): a column for each step away from the centre.
        """
        numbers = self.numbers
        steps_up = numbers[numbers > 0]
        steps_down = numbers[numbers < 0][::-1]
        above = numbers[:, None] >= steps_up
        below = numbers[:, None] <= steps_down
        return np.sqrt(STEP) * np.hstack([above, below]).astype(float)


@dataclass(frozen=True)
class Paths:
    """Rising paths h of S draws along one quantity, as the distance from the centre.

    Attributes
    ----------
    knots
        Where g is known.
    g
        The Brownian motions, (S, knots).
    """

    knots: Knots
    g: np.ndarray

    def continued(self, tau: np.ndarray, rng: np.random.Generator) -> Paths:
        """Return the paths with g continued `FAR` steps on either side. tau: (S,)."""
        scale = tau[:, None] * np.sqrt(STEP)
        shape = (len(self.g), FAR)
        up = self.g[:, -1:] + scale * rng.standard_normal(shape).cumsum(axis=1)
        down = self.g[:, :1] + scale * rng.standard_normal(shape).cumsum(axis=1)
        return Paths(self.knots.extended(FAR), np.hstack([down[:, ::-1], self.g, up]))

    def at(self, distances: np.ndarray, part: slice = slice(None)) -> np.ndarray:
        """Return h at distances (n,) that all draws of a part share, (S, n)."""
        cell, t = self._cells(distances)
        start, slope, half_bend = (values[part][:, cell] for values in self._curves)
        return start + t * (slope + t * half_bend)

    def of_each(self, rows: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Return h of the draws numbered ``rows`` (n,), each at a distance of its own, (n,)."""
        cell, t = self._cells(distances)
        # Flat indices are much faster than pairs of a draw and a cell.
        place = rows * (len(self.knots) + 1) + cell
        start, slope, half_bend = (values.take(place) for values in self._curves)
        return start + t * (slope + t * half_bend)

    def _cells(self, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the cell that each distance is in, and how far in it, in steps between knots.

        Cells are counted from that before the first knot to that after the last. Steps are those
        from the knot where the cell begins; in the first cell they are from the first knot, so
        negative.
        """
        steps = distances / STEP_LOG - self.knots.first
        cell = (steps + 1.0).clip(0, len(self.knots)).astype(int)
        return cell, steps - np.maximum(cell - 1, 0)

    @cached_property
    def _curves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Height of h where each cell begins, its slope there, and half its bend, (S, cells) each.

        The slope is per step, the bend the change of slope from one step to the next. exp(g)
        is linear between knots, so h is quadratic; beyond them it is straight.
        """
        slopes = STEP_LOG * np.exp(self.g)
        pieces = (slopes[:, 1:] + slopes[:, :-1]) / 2
        heights = np.hstack([np.zeros((len(slopes), 1)), pieces.cumsum(axis=1)])
        heights -= heights[:, [-self.knots.first]]
        starts = np.hstack([heights[:, :1], heights])
        slopes_at_start = np.hstack([slopes[:, :1], slopes])
        half_bends = np.diff(slopes_at_start, axis=1, append=slopes[:, -1:]) / 2
        return starts, slopes_at_start, half_bends


@dataclass(frozen=True)
class Drift:
    """The bent law under each of S draws: everything between and beyond the runs is fixed.

    Attributes
    ----------
    law
        The law.
    centre
        Log of each input at the table's centre.
    paths
        By quantity, and "loss" where there is one.
    """

    law: Law
    centre: Mapping[str, float]
    paths: Mapping[str, Paths]

    @cached_property
    def of_inputs(self) -> Drift:
        """The drift without that of the loss, under which the same sizes are compute-optimal.

        The reducible loss bends along a rising path, so it is least at the same inputs.
        """
        of_inputs = {name: path for name, path in self.paths.items() if name != "loss"}
        return Drift(self.law, self.centre, of_inputs)

    def log_loss(
        self,
        parameters: Mapping[str, np.ndarray],
        inputs: list[np.ndarray],
        part: slice = slice(None),
    ) -> np.ndarray:
        """Return the log loss of a part of the draws at inputs (K,) that they share, (S, K)."""

        def bend(name: str, distances: np.ndarray) -> np.ndarray:
            return self.paths[name].at(distances, part)

        def bend_loss(distances: np.ndarray) -> np.ndarray:
            rows = np.arange(len(distances))[:, None] + (part.start or 0)
            rows = np.broadcast_to(rows, distances.shape)
            bent = self.paths["loss"].of_each(rows.ravel(), distances.ravel())
            return bent.reshape(distances.shape)

        columns = {name: parameters[name][part, None] for name in self.law.parameter_names}
        return self._log_loss(columns, inputs, bend, bend_loss)

    def log_loss_of(
        self, parameters: Mapping[str, np.ndarray], rows: np.ndarray, inputs: list[np.ndarray]
    ) -> np.ndarray:
        """Return the log loss of the draws numbered ``rows`` (n,), each at its own inputs, (n,)."""

        def bend(name: str, distances: np.ndarray) -> np.ndarray:
            return self.paths[name].of_each(rows, distances)

        own = {name: parameters[name].take(rows) for name in self.law.parameter_names}
        return self._log_loss(own, inputs, bend, lambda r: bend("loss", r))

    def _log_loss(
        self,
        parameters: Mapping[str, np.ndarray],
        inputs: list[np.ndarray],
        bend: Callable[[str, np.ndarray], np.ndarray],
        bend_loss: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        law = self.law
        bent = {}
        for x, values in zip(law.inputs, inputs, strict=True):
            if x not in AXES:
                bent[x] = values
                continue
            log_x = np.log(np.minimum(values, FARTHEST))
            middle = self.centre[x]
            log_bent = middle + bend(AXES[x], log_x - middle)
            bent[x] = np.exp(np.clip(log_bent, np.log(NEAREST), np.log(FARTHEST)))
        reducible = law.reducible(bent, parameters)
        if "loss" in self.paths:
            centre = {x: np.exp(value) for x, value in self.centre.items()}
            at_centre = law.reducible(centre, parameters)
            # Unlimited inputs leave nothing to reduce; its log must be finite.
            distance = np.log(np.maximum(reducible / at_centre, TINY))
            log_ratio = np.minimum(bend_loss(distance), np.log(FARTHEST))
            reducible = at_centre * np.exp(log_ratio)
        if law.floor is None:
            return np.log(reducible)
        return np.log(parameters[law.floor] + reducible)
