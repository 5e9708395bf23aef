r"""The likelihood of a long table, condensed to the nodes of a grid of inputs.

A curve differs from a reference curve by a smooth function of the log inputs, and so does the log
likelihood that the curve gives a loss, as a function of where the run lies. So each run counts for
the nodes around it, with the weights w of an interpolation between them, and the log likelihood
that a node has for its share of the runs,

    l(e, sigma, nu) = sum_i w_i log p(r_i - e; sigma, nu),

is a smooth function of a few numbers: e, the difference at the node, and the parameters of the
noise. r_i are the residuals from the reference curve. Each is replaced by polynomials, fitted by
least squares to the exact sums: one in the parameters of the noise for all runs at e = 0, and for
each node one in e whose coefficients are polynomials in the parameters of the noise. A gradient
then costs as much as one of as many runs as there are nodes.

The polynomials hold in a box around the reference. Outside, the parameters count as the nearest in
the box, and a quadratic penalty pulls back. What the polynomials and the nodes neglect is made up
for by importance weights of the draws (`scalebayes.fitting.long_tables`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from scalebayes.data.cells import Cells
from scalebayes.specs.noise import Noise

type Symbol = Any
"""A PyTensor variable."""

MARK = "cell_counts"
"""The array whose presence among the data of a graph says that its likelihood is condensed."""
TOTAL_DEGREE = 6
"""Degree in the parameters of the noise of the polynomial for all runs."""
CELL_DEGREE = 2
"""The same of the coefficients of a cell's polynomial."""
DEVIATION_DEGREE = 4
"""Degree of a cell's polynomial in the deviation from the reference curve."""
TOTAL_NODES = 11
"""Values of each parameter of the noise at which the sum over all runs is computed."""
CELL_NODES = 5
"""The same for the sums over cells."""
DEVIATION_NODES = 9
"""Values of the deviation at which the sums over cells are computed."""
REACH = 1.5
"""Largest deviation at which a cell is evaluated, over the largest at which it is fitted."""
TYPICAL = 0.35
"""Standard deviation of draws in half a side of the box, roughly, which weighs the fits."""
PULL = 8.0
"""Widths of the penalty outside the box of the noise in half a side of the box."""


@dataclass(frozen=True)
class Box:
    """Where the polynomials hold.

    Attributes
    ----------
    centre, half
        Middle and half width of each transformed parameter of the noise, by name.
    deviation
        Largest deviation from the reference curve at which each cell is fitted, (cells,).
    """

    centre: Mapping[str, float]
    half: Mapping[str, float]
    deviation: np.ndarray


def transformed(name: str, value: Any, log: Any = np.log) -> Any:
    """Return the quantity in which the log likelihood is nearly quadratic.

    That is the log of a scale, and the reciprocal of degrees of freedom.
    """
    return log(value) if name == "sigma" else 1.0 / value


def parameter(name: str, value: Any) -> Any:
    """Return the parameter of the noise from what `transformed` gives."""
    return np.exp(value) if name == "sigma" else 1.0 / value


def condensed_data(
    noise: Noise, residual: np.ndarray, cells: Cells, box: Box
) -> dict[str, np.ndarray]:
    """Return the polynomials of a condensed likelihood, as arrays by name.

    Parameters
    ----------
    residual
        Log losses minus the reference curve, (runs,).
    """
    names = tuple(noise.priors)
    data: dict[str, np.ndarray] = {MARK: cells.counts.astype(float)}
    data["cell_sizes"] = cells.sizes
    data["deviation_scale"] = box.deviation
    for name in names:
        data[f"box_centre_{name}"] = np.asarray(box.centre[name])
        data[f"box_half_{name}"] = np.asarray(box.half[name])

    def parameters_at(point: np.ndarray) -> dict[str, float]:
        found = {}
        for name, place in zip(names, point, strict=True):
            found[name] = float(parameter(name, box.centre[name] + box.half[name] * place))
        return found

    points = _grid(len(names), TOTAL_NODES)
    sums = [noise.logpdf(residual, **parameters_at(point)).sum() for point in points]
    powers = _powers(len(names), TOTAL_DEGREE)
    coefficients = _fit(points, powers, np.array(sums))
    for power, coefficient in zip(powers, coefficients, strict=True):
        data[_name("total", power)] = np.asarray(coefficient)

    deviations = _chebyshev(DEVIATION_NODES)
    points = _grid(len(names), CELL_NODES)
    rows = [[deviation, *point] for point in points for deviation in deviations]
    parameters = [parameters_at(point) for point in points]
    rises = _rises(noise, residual, cells, np.outer(deviations, box.deviation), parameters)
    values = rises.reshape(len(rows), -1)  # as the rows: deviations within points
    powers = []
    for degree in range(1, DEVIATION_DEGREE + 1):
        powers += [(degree, *power) for power in _powers(len(names), CELL_DEGREE)]
    coefficients = _fit(np.array(rows), powers, values)
    for power, coefficient in zip(powers, coefficients, strict=True):
        data[_name("cell", power)] = coefficient
    return data


def condensed_log_loss(
    pm: Any, data: Mapping[str, Symbol], log_curve: Symbol, noise: Mapping[str, Symbol]
) -> Symbol:
    """Return the log density of the log losses of a long table in a graph.

    Parameters
    ----------
    pm, data
        The module pymc, and the data of the graph.
    log_curve
        Log of the curve at the cells, with everything that a run has beside noise, (cells,).
    noise
        Parameters of the noise, by name.
    """
    scaled, penalty = [], 0.0
    for name, value in noise.items():
        distance = transformed(name, value, pm.math.log) - data[f"box_centre_{name}"]
        place = distance / data[f"box_half_{name}"]
        inside = pm.math.clip(place, -1.0, 1.0)
        scaled.append(inside)
        penalty = penalty - 0.5 * (PULL * (place - inside)) ** 2

    total = 0.0
    for power in _powers(len(scaled), TOTAL_DEGREE):
        total = total + data[_name("total", power)] * _monomial(scaled, power)

    deviation = (log_curve - data["reference"]) / data["deviation_scale"]
    inside = pm.math.clip(deviation, -REACH, REACH)
    by_cell = 0.0
    # Horner's rule, from the highest power of the deviation down.
    for degree in range(DEVIATION_DEGREE, 0, -1):
        coefficient = 0.0
        for power in _powers(len(scaled), CELL_DEGREE):
            array = data[_name("cell", (degree, *power))]
            coefficient = coefficient + array * _monomial(scaled, power)
        by_cell = (by_cell + coefficient) * inside
    beyond = (deviation - inside) * data["deviation_scale"] / noise["sigma"]
    pull_back = -0.5 * data["cell_sizes"] * beyond**2
    return total + (by_cell + pull_back).sum() + penalty


def _rises(
    noise: Noise,
    residual: np.ndarray,
    cells: Cells,
    deviations: np.ndarray,
    parameters_at_points: list[dict[str, float]],
) -> np.ndarray:
    """Return how much the log likelihood of each cell rises with deviations from the reference.

    Parameters
    ----------
    deviations
        Of the curve at the nodes, (deviations, cells).
    parameters_at_points
        Parameters of the noise at which to compute it.

    Returns
    -------
    numpy.ndarray
        Shape (points, deviations, cells).
    """
    rises = np.zeros((len(parameters_at_points), *deviations.shape))
    for part in cells.parts:
        own, nodes, shares = residual[part, None], cells.nodes(part), cells.shares(part)
        moved = [own - deviation[nodes] for deviation in deviations]
        for k, parameters in enumerate(parameters_at_points):
            at_reference = noise.logpdf(own, **parameters)
            for i, residual_there in enumerate(moved):
                rise = noise.logpdf(residual_there, **parameters) - at_reference
                rises[k, i] += cells.gather(nodes, shares * rise)
    return rises


def _name(kind: str, power: tuple[int, ...]) -> str:
    """Return the name of the coefficients of a monomial in the data."""
    return f"{kind}_{'_'.join(str(exponent) for exponent in power)}"


def _powers(variables: int, degree: int) -> list[tuple[int, ...]]:
    """Return the exponents of all monomials up to a total degree."""
    exponents = product(range(degree + 1), repeat=variables)
    return [power for power in exponents if sum(power) <= degree]


def _monomial(variables: list[Any], power: tuple[int, ...]) -> Any:
    """Return a monomial at variables, of NumPy or of PyTensor."""
    value = 1.0
    for variable, exponent in zip(variables, power, strict=True):
        for _ in range(exponent):
            value = value * variable
    return value


def _chebyshev(count: int) -> np.ndarray:
    """Return Chebyshev's points from -1 to 1, (count,)."""
    return np.cos(np.pi * np.arange(count) / (count - 1))


def _grid(variables: int, count: int) -> np.ndarray:
    """Return all combinations of Chebyshev's points, (count ** variables, variables)."""
    return np.array(list(product(_chebyshev(count), repeat=variables)))


def _fit(points: np.ndarray, powers: list[tuple[int, ...]], values: np.ndarray) -> np.ndarray:
    """Return the coefficients of monomials that fit values at points by weighted least squares.

    Points count as a Normal distribution about the centre of the box does: there are most draws.
    points: (points, variables). values: (points,) or (points, cells).
    """
    columns = [_monomial(list(points.T), power) * np.ones(len(points)) for power in powers]
    weights = np.exp(-0.25 * ((points / TYPICAL) ** 2).sum(axis=1))[:, None]
    weighted = weights * values.reshape(len(points), -1)
    coefficients, *_ = np.linalg.lstsq(weights * np.stack(columns, axis=1), weighted)
    return coefficients.reshape(len(powers), *values.shape[1:])
