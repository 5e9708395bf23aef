r"""A rough fit of all groups and their population at once: the centre and shape of the coordinates of a pooled graph.

The sampler moves in x,

    zeta = zeta* + H^(-1/2) x,

with zeta the natural coordinates of every group and of the population, turned along the runs of each
(`scalebayes.specs.pooling.turn`), zeta* their values at a penalised least-squares fit, and H the Gauss-Newton information
there, of runs, population and priors together, at typical spreads. So where a group's runs decide, x is the group's
own, where the population does, x is how far the group departs from it, and between it is between, direction by
direction: the choice between centred and non-centred coordinates (Papaspiliopoulos et al. 2007) is made by H. The map
is linear and its determinant a constant, so a poor pilot costs speed, never truth.

It suits every spread that is likely because spreads are known to within a factor of a few: their priors stay away from
zero, where groups would be alike, which no published families are, and where a narrow neck would begin.

References
----------
Papaspiliopoulos, Roberts and Skoeld (2007), A general framework for the parametrization of hierarchical models,
doi:10.1214/088342307000000014.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalebayes.data.runs import Runs
from scalebayes.specs.pooling import Grouping, log_shares_of, references, to_sizes, turn, turn_back
from scalebayes.specs.spec import Spec

SCATTER, SCATTER_RUNS = 0.01, 2.0
"""The pilot's first guess of sigma, and how many residuals it counts for."""
SIGMA_SHARE = 0.6
"""Information on log sigma of a residual over that of a Normal one: Student-t with five degrees of freedom."""
EASED = 1e-6
"""Added to the information in units of rough posterior widths, so that it has a factor whatever the runs."""


@dataclass(frozen=True)
class Pilot:
    """Where a pooled posterior lies; G groups, P parameters, K = (G + 1) P entries of x.

    Attributes
    ----------
    centres, maps
        Turned coordinates of the groups at the pilot, (P, G), and how x moves them, (P, G, K).
    mu_centres, mu_maps
        The same of the population, (P,) and (P, K).
    log_sigma, sigma_steps
        Log scatter of each group, and how well its residuals and the population tell it, (G,).
    """

    centres: np.ndarray
    maps: np.ndarray
    mu_centres: np.ndarray
    mu_maps: np.ndarray
    log_sigma: np.ndarray
    sigma_steps: np.ndarray


class _Problem:
    """Log loss of every group under coordinates of its own, and what it is compared with; the population comes last."""

    def __init__(self, runs: Runs, spec: Spec, grouping: Grouping) -> None:
        self.law, self.log_at = spec.law_object, references(spec)
        self.coordinates = self.law.coordinates
        log_inputs, log_loss = runs.log_inputs(self.law.inputs), self.law.log_response(runs)
        self.rows = [grouping.rows(g) for g in range(len(grouping.names))]
        self.inputs = [
            *({x: v[rows] for x, v in log_inputs.items()} for rows in self.rows),
            log_inputs,
        ]
        self.loss = [*(log_loss[rows] for rows in self.rows), log_loss]
        self.centres = [{x: float(v.mean()) for x, v in inputs.items()} for inputs in self.inputs]
        self.log_shares = [log_shares_of(inputs) for inputs in self.inputs]
        self.names, self.parameters = self.coordinates.names, self.law.parameter_names
        rng = np.random.default_rng(0)
        self.spreads = np.array(
            [np.median(spec.spread[p].draw(rng, 2000)) for p in self.parameters]
        )
        drawn = [np.log(spec.priors[p].draw(rng, 2000)) for p in self.parameters]
        self.prior = np.array([[np.median(d), d.std()] for d in drawn])

    def logs(self, g: int, zeta: np.ndarray) -> dict[str, float]:
        """Logs of the parameters."""
        z, _ = turn_back(dict(zip(self.names, zeta, strict=True)), self.log_shares[g])
        return self.coordinates.recover(z, self.centres[g])[0]

    def sizes(self, g: int, zeta: np.ndarray) -> np.ndarray:
        """Logs of what priors are stated on."""
        sizes = to_sizes(self.logs(g, zeta), self.law, self.log_at)
        return np.array([sizes[p] for p in self.parameters])

    def start(self, g: int) -> np.ndarray:
        """Turned coordinates from least squares on a group's own runs, on all runs for the population."""
        z = turn(self.coordinates.start(self.inputs[g], self.loss[g]), self.log_shares[g])
        return np.array([z[name] for name in self.names])

    def residual(self, g: int, zeta: np.ndarray) -> np.ndarray:
        """Log loss less log law of a group's runs."""
        logs = self.logs(g, zeta)
        parameters = {p: np.exp(logs[p]) for p in self.parameters}
        curve = self.law.function(*(np.exp(v) for v in self.inputs[g].values()), **parameters)
        return np.nan_to_num(self.loss[g] - np.log(curve), nan=1e3).clip(-1e3, 1e3)


def make_pilot(runs: Runs, spec: Spec, grouping: Grouping) -> Pilot:
    """Fit all groups and the population by penalised least squares, and scale by what that fit tells of each."""
    problem = _Problem(runs, spec, grouping)
    with np.errstate(all="ignore"):
        zeta, root, sigma = _fit(problem)
    G, P = len(sigma), len(problem.parameters)
    maps = root.reshape(G + 1, P, -1).swapaxes(0, 1)  # (P, G + 1, K)
    left = np.array([max(len(rows) - P, 0) for rows in problem.rows])
    spread = float(np.median(spec.spread["sigma"].draw(np.random.default_rng(0), 2000)))
    return Pilot(
        centres=zeta[:-1].T,
        maps=maps[:, :-1],
        mu_centres=zeta[-1],
        mu_maps=maps[:, -1],
        log_sigma=np.log(sigma),
        sigma_steps=(spread**-2 + 2 * SIGMA_SHARE * left) ** -0.5,
    )


def _fit(problem: _Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turned coordinates by group, the population's last, (G + 1, P); H^(-1/2), (K, K); scatters, (G,)."""
    from scipy.optimize import least_squares

    G, P = len(problem.rows), len(problem.parameters)
    start = np.concatenate([problem.start(g) for g in range(G + 1)])
    steps = np.tile([problem.coordinates.steps()[name] for name in problem.names], G + 1)
    sigma = np.full(G, SCATTER)

    def residuals(unit: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        zeta = (start + steps * unit).reshape(G + 1, P)
        mu = problem.sizes(G, zeta[-1])
        parts = [(mu - problem.prior[:, 0]) / problem.prior[:, 1]]
        for g in range(G):
            parts += [problem.residual(g, zeta[g]) / sigma[g]]
            parts += [(problem.sizes(g, zeta[g]) - mu) / problem.spreads]
        return np.nan_to_num(np.concatenate(parts), nan=1e6).clip(-1e6, 1e6)

    unit = np.zeros(len(start))
    for _ in range(3):
        found = least_squares(residuals, unit, args=(sigma,), max_nfev=50)
        unit, zeta = found.x, (start + steps * found.x).reshape(G + 1, P)
        sigma = np.array([_scatter(problem.residual(g, zeta[g])) for g in range(G)])
    information = found.jac.T @ found.jac + EASED * np.eye(len(unit))
    return zeta, steps[:, None] * np.linalg.inv(np.linalg.cholesky(information)).T, sigma


def _scatter(residual: np.ndarray) -> float:
    """Scatter of a group's residuals, few of them helped by a first guess."""
    total = (residual**2).sum() + SCATTER_RUNS * SCATTER**2
    return float(np.sqrt(total / (len(residual) + SCATTER_RUNS)))
