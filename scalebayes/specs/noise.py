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
    """-(residual/sigma)^2/2 - log sigma - log(2 pi)/2; of every run and draw, so without SciPy's checks."""
    return -0.5 * (residual / sigma) ** 2 - (np.log(sigma) + 0.5 * np.log(2 * np.pi))


def _student_t_logpdf(residual: np.ndarray, *, sigma: np.ndarray, nu: np.ndarray) -> np.ndarray:
    """Log Gamma((nu+1)/2)/Gamma(nu/2) - log(pi nu)/2 - log sigma - (nu+1)/2 log(1 + (residual/sigma)^2/nu)."""
    from scipy.special import gammaln

    constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(np.pi * nu) - np.log(sigma)
    return constant - (nu + 1) / 2 * np.log1p((residual / sigma) ** 2 / nu)


def _student_t_draw(
    rng: np.random.Generator, shape: tuple[int, ...], *, sigma: np.ndarray, nu: np.ndarray
) -> np.ndarray:
    """Student's t by the polar method, sigma sqrt(nu (U^(-2/nu) - 1)) cos(2 pi V) (Bailey 1994, doi:10.2307/2153537).

    A third of the time of NumPy's, which draws a Gamma variate for each. V needs no more than single precision.
    """
    drawn, angle = rng.random(shape), rng.random(shape, dtype=np.float32)
    np.log1p(np.negative(drawn, out=drawn), out=drawn)  # U = 1 - drawn is never zero
    drawn *= -2 / nu
    np.sqrt(np.multiply(np.expm1(drawn, out=drawn), nu, out=drawn), out=drawn)
    angle *= np.float32(2 * np.pi)
    drawn *= np.cos(angle, out=angle)
    drawn *= sigma
    return drawn


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
        _student_t_draw,
        _student_t_logpdf,
        _student_t_tail,
        _student_t_middle,
        lambda *, sigma, nu: sigma**2 * (nu + 3) / (nu + 1),
    ),
}
"""Name in a spec -> noise."""
