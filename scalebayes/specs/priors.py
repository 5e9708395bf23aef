"""The prior distributions a spec may name, as a plain table.

All live on the positive reals, as all parameters of our laws do, and are stated in terms a person can check: a
median, not the mean of a logarithm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Distribution:
    """Arguments a spec gives, how PyMC calls the distribution, how NumPy draws from it, and one twice as wide.

    Twice as wide is twice the standard deviation: of the log about the same median for a LogNormal, about the same mean
    for a Gamma; a distribution with a scale alone has it doubled.
    """

    arguments: tuple[str, ...]
    pymc: str
    pymc_arguments: Callable[..., dict[str, float]]
    logpdf: Callable[..., np.ndarray]
    draw: Callable[..., np.ndarray]
    widened: Callable[..., dict[str, float]]


def _scipy(name: str, arguments: Callable[..., dict[str, float]]) -> Callable[..., np.ndarray]:
    """Log density of a distribution of SciPy's, which is imported when it is asked."""

    def logpdf(value: np.ndarray, **ours: float) -> np.ndarray:
        from scipy import stats

        return getattr(stats, name).logpdf(value, **arguments(**ours))

    return logpdf


DISTRIBUTIONS = {
    "LogNormal": Distribution(
        ("median", "sigma"),
        "LogNormal",
        lambda median, sigma: {"mu": float(np.log(median)), "sigma": sigma},
        _scipy("lognorm", lambda median, sigma: {"s": sigma, "scale": median}),
        lambda rng, n, median, sigma: rng.lognormal(np.log(median), sigma, n),
        lambda median, sigma: {"median": median, "sigma": 2 * sigma},
    ),
    "HalfNormal": Distribution(
        ("sigma",),
        "HalfNormal",
        lambda sigma: {"sigma": sigma},
        _scipy("halfnorm", lambda sigma: {"scale": sigma}),
        lambda rng, n, sigma: np.abs(rng.normal(0.0, sigma, n)),
        lambda sigma: {"sigma": 2 * sigma},
    ),
    "Exponential": Distribution(
        ("mean",),
        "Exponential",
        lambda mean: {"scale": mean},
        _scipy("expon", lambda mean: {"scale": mean}),
        lambda rng, n, mean: rng.exponential(mean, n),
        lambda mean: {"mean": 2 * mean},
    ),
    "Gamma": Distribution(
        ("alpha", "beta"),
        "Gamma",
        lambda alpha, beta: {"alpha": alpha, "beta": beta},
        _scipy("gamma", lambda alpha, beta: {"a": alpha, "scale": 1.0 / beta}),
        lambda rng, n, alpha, beta: rng.gamma(alpha, 1.0 / beta, n),
        lambda alpha, beta: {"alpha": alpha / 4, "beta": beta / 4},
    ),
}
"""Name in a spec -> distribution. Every argument is a positive number; log densities are SciPy's."""
