r"""A rough fit of all groups and their population, which centres and scales a pooled graph.

The sampler moves in x,

    zeta = zeta* + H^(-1/2) x,

with zeta the natural coordinates of every group and of the population, turned along the runs of
each (`scalebayes.specs.population.turn`), zeta* their values at a penalised least-squares fit, and
H the Gauss-Newton information there, of runs, population and priors together, at typical spreads.
Where a group's runs decide, x is the group's own; where the population decides, x is the group's
distance from it; elsewhere it lies between, direction by direction. So H makes the choice between
centred and non-centred coordinates (Papaspiliopoulos et al. 2007). The map is linear and its
determinant a constant, so a poor pilot costs speed and never changes the posterior.

One map suits every likely spread because spreads are known to within a factor of a few: their
priors stay away from zero, where groups would be alike, which no published families are, and where
a narrow neck would begin.

References
----------
Papaspiliopoulos, Roberts and Skoeld (2007), A general framework for the parametrization of
hierarchical models, doi:10.1214/088342307000000014.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalebayes.data.runs import Runs
from scalebayes.specs.pooling import Grouping
from scalebayes.specs.population import (
    log_shares_of,
    references,
    to_sizes,
    turn,
    turn_back,
)
from scalebayes.specs.spec import Spec, stated_draws

SIGMA_GUESS = 0.01
"""The pilot's first guess of sigma."""
SIGMA_GUESS_RUNS = 2.0
"""Number of residuals that the first guess counts for."""
SIGMA_SHARE = 0.6
"""Information on log sigma of a residual over that of a Normal one, at five degrees of freedom."""
RIDGE = 1e-6
"""Added to the information, in units of rough posterior widths, so that it always has a factor."""
ROUNDS = 3
"""Alternations between fitting the coordinates and estimating sigma."""
MOST_EVALUATIONS = 50
"""Of least squares in each round: a pilot need not converge."""
PRIOR_DRAWS = 2000
"""Draws from which medians and standard deviations of priors are taken."""
FAR = 1e3
"""Bound on a residual of log loss, where the law overflows or does not exist."""
FAR_STANDARDISED = 1e6
"""The same for standardised residuals."""


@dataclass(frozen=True)
class Pilot:
    """Location and shape of a pooled posterior: G groups, P parameters, K = (G + 1) P entries of x.

    Attributes
    ----------
    centres, maps
        Turned coordinates of the groups at the pilot, (P, G), and their derivative by x, (P, G, K).
    mu_centres, mu_maps
        The same of the population, (P,) and (P, K).
    log_sigma, sigma_steps
        Log noise scale of each group and its rough standard deviation, (G,).
    """

    centres: np.ndarray
    maps: np.ndarray
    mu_centres: np.ndarray
    mu_maps: np.ndarray
    log_sigma: np.ndarray
    sigma_steps: np.ndarray


class _Problem:
    """The least-squares problem of each group, and last of the population, with all runs."""

    def __init__(self, runs: Runs, spec: Spec, grouping: Grouping) -> None:
        self.law = spec.law_object
        self.log_at = references(spec)
        self.coordinates = self.law.coordinates
        self.names = self.coordinates.names
        self.parameters = self.law.parameter_names

        log_inputs = runs.log_inputs(self.law.inputs)
        log_loss = self.law.log_response(runs)
        self.rows = [grouping.rows(g) for g in range(len(grouping.names))]
        self.inputs = []
        self.loss = []
        for rows in self.rows:
            self.inputs.append({x: values[rows] for x, values in log_inputs.items()})
            self.loss.append(log_loss[rows])
        self.inputs.append(log_inputs)
        self.loss.append(log_loss)
        self.centres = []
        for inputs in self.inputs:
            self.centres.append({x: float(values.mean()) for x, values in inputs.items()})
        self.log_shares = [log_shares_of(inputs) for inputs in self.inputs]

        # Typical spreads, and the prior of each parameter as a Normal distribution of its log.
        rng = np.random.default_rng(0)
        spreads = [spec.spread[p].draw(rng, PRIOR_DRAWS) for p in self.parameters]
        self.spreads = np.array([np.median(drawn) for drawn in spreads])
        medians = stated_draws(spec, rng, PRIOR_DRAWS)
        logs = [np.log(medians[p]) for p in self.parameters]
        self.prior_mean = np.array([np.median(drawn) for drawn in logs])
        self.prior_sd = np.array([drawn.std() for drawn in logs])

    def logs(self, group: int, zeta: np.ndarray) -> dict[str, float]:
        """Return the logs of the parameters."""
        z, _ = turn_back(dict(zip(self.names, zeta, strict=True)), self.log_shares[group])
        return self.coordinates.recover(z, self.centres[group])[0]

    def sizes(self, group: int, zeta: np.ndarray) -> np.ndarray:
        """Return the logs of what priors are stated on, (P,)."""
        sizes = to_sizes(self.logs(group, zeta), self.law, self.log_at)
        return np.array([sizes[name] for name in self.parameters])

    def start(self, group: int) -> np.ndarray:
        """Return turned coordinates from least squares on a group's own runs, (P,)."""
        z = self.coordinates.start(self.inputs[group], self.loss[group])
        turned = turn(z, self.log_shares[group])
        return np.array([turned[name] for name in self.names])

    def residual(self, group: int, zeta: np.ndarray) -> np.ndarray:
        """Return log loss minus log law of a group's runs."""
        logs = self.logs(group, zeta)
        parameters = {name: np.exp(logs[name]) for name in self.parameters}
        inputs = {x: np.exp(values) for x, values in self.inputs[group].items()}
        residual = self.loss[group] - np.log(self.law.evaluate(inputs, parameters))
        return np.nan_to_num(residual, nan=FAR).clip(-FAR, FAR)


def make_pilot(runs: Runs, spec: Spec, grouping: Grouping) -> Pilot:
    """Return the penalised least-squares fit of all groups and the population, with its scales."""
    problem = _Problem(runs, spec, grouping)
    with np.errstate(all="ignore"):
        zeta, root, sigma = _fit(problem)
    groups, parameters = len(sigma), len(problem.parameters)
    maps = root.reshape(groups + 1, parameters, -1).swapaxes(0, 1)  # (P, G + 1, K)

    # Information on log sigma: of the population, and of the residuals that the law leaves free.
    free = np.array([max(len(rows) - parameters, 0) for rows in problem.rows])
    drawn = spec.spread["sigma"].draw(np.random.default_rng(0), PRIOR_DRAWS)
    spread = float(np.median(drawn))
    information = spread**-2 + 2 * SIGMA_SHARE * free
    return Pilot(
        centres=zeta[:-1].T,
        maps=maps[:, :-1],
        mu_centres=zeta[-1],
        mu_maps=maps[:, -1],
        log_sigma=np.log(sigma),
        sigma_steps=information**-0.5,
    )


def _fit(problem: _Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the coordinates, H^(-1/2) and the noise scales.

    Coordinates are turned, (G + 1, P) with the population's last; H^(-1/2) is (K, K), the noise
    scales are (G,).
    """
    from scipy.optimize import least_squares

    groups, parameters = len(problem.rows), len(problem.parameters)
    start = np.concatenate([problem.start(g) for g in range(groups + 1)])
    widths = problem.coordinates.steps()
    steps = np.tile([widths[name] for name in problem.names], groups + 1)

    def coordinates(unit: np.ndarray) -> np.ndarray:
        return (start + steps * unit).reshape(groups + 1, parameters)

    def residuals(unit: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        zeta = coordinates(unit)
        mu = problem.sizes(groups, zeta[-1])
        parts = [(mu - problem.prior_mean) / problem.prior_sd]
        for g in range(groups):
            parts.append(problem.residual(g, zeta[g]) / sigma[g])
            parts.append((problem.sizes(g, zeta[g]) - mu) / problem.spreads)
        standardised = np.concatenate(parts)
        bound = FAR_STANDARDISED
        return np.nan_to_num(standardised, nan=bound).clip(-bound, bound)

    unit = np.zeros(len(start))
    sigma = np.full(groups, SIGMA_GUESS)
    for _ in range(ROUNDS):
        found = least_squares(residuals, unit, args=(sigma,), max_nfev=MOST_EVALUATIONS)
        unit = found.x
        zeta = coordinates(unit)
        sigma = np.array([_noise_scale(problem.residual(g, zeta[g])) for g in range(groups)])
    information = found.jac.T @ found.jac + RIDGE * np.eye(len(unit))
    factor = np.linalg.cholesky(information)
    inverse_root = np.linalg.inv(factor).T
    return zeta, steps[:, None] * inverse_root, sigma


def _noise_scale(residual: np.ndarray) -> float:
    """Return the noise scale of a group's residuals, shrunk towards the first guess."""
    total = (residual**2).sum() + SIGMA_GUESS_RUNS * SIGMA_GUESS**2
    return float(np.sqrt(total / (len(residual) + SIGMA_GUESS_RUNS)))
