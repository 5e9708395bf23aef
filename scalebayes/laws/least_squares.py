"""Least squares of the log of the loss: the point fit of any law, and its forecasts.

    minimise  sum_i (log L_i - log law(x_i))^2

The search moves in the sampler's coordinates (`scalebayes.laws.coordinates`) and begins at the
sampler's start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scalebayes.laws.law import Law

FAR = 1e3
"""Stands for a log loss that overflows or does not exist."""
SIDE_STEP = 1e-5
"""Step of the numerical derivative, in units of the sampler's coordinates."""
MOST_STEPS = 100
"""Most evaluations of the search, those for its derivatives not counted."""
RIDGE = 1e-10
"""Added to the information on each coordinate, so that directions without any have a variance."""


@dataclass(frozen=True)
class LeastSquares:
    """The least-squares fit of a law to a table.

    Attributes
    ----------
    law
        The law.
    log_inputs
        Logs of its inputs by name, (rows,) each.
    start, centre
        Origin of the coordinates, and the mean of the log of each input.
    unit
        The coordinates of the minimum, in steps of the law's coordinates.
    residual
        Log loss minus log law at the minimum, (rows,).
    jacobian
        Derivative of the log law by the coordinates at the rows, (rows, coordinates).
    """

    law: Law
    log_inputs: Mapping[str, np.ndarray]
    start: Mapping[str, float]
    centre: Mapping[str, float]
    unit: np.ndarray
    residual: np.ndarray
    jacobian: np.ndarray

    @property
    def noise_scale(self) -> float:
        """Root of the sum of squares of the residuals over rows minus coordinates.

        Infinite where there are no more rows than coordinates.
        """
        free = len(self.residual) - len(self.unit)
        if free <= 0:
            return np.inf
        return float(np.sqrt(self.residual @ self.residual / free))

    def log_law(self, log_inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the log of the law at inputs, (rows,)."""
        return _log_law(self.law, self.start, self.centre, self.unit, log_inputs)

    def slopes(self, log_inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the derivative of the log law by the coordinates, (rows, coordinates)."""
        columns = []
        for k in range(len(self.unit)):
            side = np.zeros_like(self.unit)
            side[k] = SIDE_STEP
            above = _log_law(self.law, self.start, self.centre, self.unit + side, log_inputs)
            below = _log_law(self.law, self.start, self.centre, self.unit - side, log_inputs)
            columns.append((above - below) / (2 * SIDE_STEP))
        return np.column_stack(columns)

    def weights_of_mean(self, log_inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return how much the error of each fitted row moves the mean forecast, (rows,).

        To first order: J (J'J)^-1 g, with g the mean of the slopes at the predicted rows.
        """
        mean_slope = self.slopes(log_inputs).mean(axis=0)
        information = self.jacobian.T @ self.jacobian + RIDGE * np.eye(len(self.unit))
        return self.jacobian @ np.linalg.solve(information, mean_slope)


def least_squares(
    law: Law, log_inputs: Mapping[str, np.ndarray], log_loss: np.ndarray, tolerance: float = 1e-9
) -> LeastSquares:
    """Return the least-squares fit of a law.

    Parameters
    ----------
    law
        The law.
    log_inputs, log_loss
        Logs of its inputs by name and of its response, (rows,) each.
    tolerance
        Relative change at which the search ends.
    """
    from scipy import optimize

    centre = {x: float(values.mean()) for x, values in log_inputs.items()}
    start = law.coordinates.start(log_inputs, log_loss)

    def residuals(unit: np.ndarray) -> np.ndarray:
        return _log_law(law, start, centre, unit, log_inputs) - log_loss

    with np.errstate(all="ignore"):
        found = optimize.least_squares(
            residuals,
            np.zeros(len(law.coordinates.steps())),
            max_nfev=MOST_STEPS,
            ftol=tolerance,
            xtol=tolerance,
            gtol=tolerance,
        )
    return LeastSquares(law, log_inputs, start, centre, found.x, -found.fun, found.jac)


def _log_law(
    law: Law,
    start: Mapping[str, float],
    centre: Mapping[str, float],
    unit: np.ndarray,
    log_inputs: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Return the log of the law, (rows,), finite wherever the search wanders."""
    steps = law.coordinates.steps()
    z = {name: start[name] + steps[name] * u for name, u in zip(steps, unit, strict=True)}
    inputs = {x: np.exp(values) for x, values in log_inputs.items()}
    with np.errstate(all="ignore"):
        logs, _ = law.coordinates.recover(z, centre)
        parameters = {name: np.exp(logs[name]) for name in law.parameter_names}
        log_law = np.log(law.evaluate(inputs, parameters))
    return np.nan_to_num(log_law, nan=FAR).clip(-FAR, FAR)
