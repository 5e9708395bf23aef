"""How a run's loss scatters around the law: noise on the log of the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SIGMA: dict[str, float | str] = {
    "dist": "HalfNormal",
    "sigma": 0.1,
    "reason": "scatter of log loss between runs of one recipe; 10% is already a noisy sweep, 30% is not one recipe",
}
NU: dict[str, float | str] = {
    "dist": "Gamma",
    "alpha": 2.0,
    "beta": 0.1,
    "shift": 2.0,
    "reason": "from heavy tails to near Normal (Juarez and Steel 2010); above 2 so that the variance exists",
}


@dataclass(frozen=True)
class Noise:
    """A noise model: its parameters with default priors, PyMC's name for it, and its NumPy side.

    ``draw(rng, shape, **parameters)`` gives standard deviates times sigma; ``logpdf(residual, **parameters)`` their
    log density, residual = log loss - log law; ``tail(residual, **parameters)`` the probability of one as large or
    larger, of either sign; ``middle(**parameters)`` the standard deviation of the Normal with the same quartiles;
    ``equivalent(**parameters)`` the variance of the Normal noise that would leave as much to learn from a run, the
    inverse of the Fisher information of the curve's log.
    """

    priors: dict[str, dict[str, float | str]]
    pymc: str
    draw: Callable[..., np.ndarray]
    logpdf: Callable[..., np.ndarray]
    tail: Callable[..., np.ndarray]
    middle: Callable[..., np.ndarray]
    equivalent: Callable[..., np.ndarray]


def _normal_logpdf(residual: np.ndarray, *, sigma: np.ndarray) -> np.ndarray:
    from scipy import stats

    return stats.norm.logpdf(residual, scale=sigma)


def _student_t_logpdf(residual: np.ndarray, *, sigma: np.ndarray, nu: np.ndarray) -> np.ndarray:
    from scipy import stats

    return stats.t.logpdf(residual, df=nu, scale=sigma)


def _normal_tail(residual: np.ndarray, *, sigma: np.ndarray) -> np.ndarray:
    from scipy import stats

    return 2 * stats.norm.sf(np.abs(residual), scale=sigma)


def _student_t_tail(residual: np.ndarray, *, sigma: np.ndarray, nu: np.ndarray) -> np.ndarray:
    from scipy import stats

    return 2 * stats.t.sf(np.abs(residual), df=nu, scale=sigma)


def _student_t_middle(*, sigma: np.ndarray, nu: np.ndarray) -> np.ndarray:
    from scipy import stats

    return sigma * stats.t.ppf(0.75, df=nu) / stats.norm.ppf(0.75)


NOISES = {
    "normal": Noise(
        {"sigma": SIGMA},
        "Normal",
        lambda rng, shape, *, sigma: sigma * rng.standard_normal(shape),
        _normal_logpdf,
        _normal_tail,
        lambda *, sigma: sigma,
        lambda *, sigma: sigma**2,
    ),
    "student_t": Noise(
        {"sigma": SIGMA, "nu": NU},
        "StudentT",
        lambda rng, shape, *, sigma, nu: sigma * rng.standard_t(np.broadcast_to(nu, shape)),
        _student_t_logpdf,
        _student_t_tail,
        _student_t_middle,
        lambda *, sigma, nu: sigma**2 * (nu + 3) / (nu + 1),
    ),
}
"""Name in a spec -> noise."""
