"""Prior distributions that a spec may name.

All have the positive real numbers as support, as all parameters of our laws do. Arguments are
stated in terms that a person can check: a median, not the mean of a logarithm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np


@dataclass(frozen=True)
class Distribution(ABC):
    """A prior distribution: the fields of a subclass are its arguments in a spec, all positive.

    Attributes
    ----------
    pymc
        Name of the distribution in PyMC, which takes `pymc_arguments`.
    """

    pymc: ClassVar[str]

    @classmethod
    def argument_names(cls) -> tuple[str, ...]:
        """Return the names of the arguments that a spec gives."""
        return tuple(field.name for field in fields(cls))

    @abstractmethod
    def pymc_arguments(self) -> dict[str, float]:
        """Return the arguments of PyMC's distribution."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Return independent draws, shape (draws,)."""

    @abstractmethod
    def logpdf(self, value: np.ndarray) -> np.ndarray:
        """Return the log density."""

    @abstractmethod
    def widened(self) -> Self:
        """Return a distribution twice as wide.

        The standard deviation doubles: of the log about the same median for a LogNormal, about the
        same mean for a Gamma. A distribution with a scale alone has it doubled.
        """


@dataclass(frozen=True)
class LogNormal(Distribution):
    """Log-Normal distribution by its median and the standard deviation of its log."""

    median: float
    sigma: float
    pymc = "LogNormal"

    def pymc_arguments(self) -> dict[str, float]:
        """Return the arguments of PyMC's distribution."""
        return {"mu": float(np.log(self.median)), "sigma": self.sigma}

    def draw(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Return independent draws, shape (draws,)."""
        return rng.lognormal(np.log(self.median), self.sigma, draws)

    def logpdf(self, value: np.ndarray) -> np.ndarray:
        """Return the log density."""
        from scipy import stats

        return stats.lognorm.logpdf(value, s=self.sigma, scale=self.median)

    def widened(self) -> LogNormal:
        """Return the distribution of the same median with sigma doubled."""
        return LogNormal(self.median, 2 * self.sigma)


@dataclass(frozen=True)
class HalfNormal(Distribution):
    """Absolute value of a Normal variable of mean zero and standard deviation sigma."""

    sigma: float
    pymc = "HalfNormal"

    def pymc_arguments(self) -> dict[str, float]:
        """Return the arguments of PyMC's distribution."""
        return {"sigma": self.sigma}

    def draw(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Return independent draws, shape (draws,)."""
        return np.abs(rng.normal(0.0, self.sigma, draws))

    def logpdf(self, value: np.ndarray) -> np.ndarray:
        """Return the log density."""
        from scipy import stats

        return stats.halfnorm.logpdf(value, scale=self.sigma)

    def widened(self) -> HalfNormal:
        """Return the distribution with sigma doubled."""
        return HalfNormal(2 * self.sigma)


@dataclass(frozen=True)
class Exponential(Distribution):
    """Exponential distribution by its mean."""

    mean: float
    pymc = "Exponential"

    def pymc_arguments(self) -> dict[str, float]:
        """Return the arguments of PyMC's distribution."""
        return {"scale": self.mean}

    def draw(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Return independent draws, shape (draws,)."""
        return rng.exponential(self.mean, draws)

    def logpdf(self, value: np.ndarray) -> np.ndarray:
        """Return the log density."""
        from scipy import stats

        return stats.expon.logpdf(value, scale=self.mean)

    def widened(self) -> Exponential:
        """Return the distribution with the mean doubled."""
        return Exponential(2 * self.mean)


@dataclass(frozen=True)
class Gamma(Distribution):
    """Gamma distribution of shape alpha and rate beta, mean alpha / beta."""

    alpha: float
    beta: float
    pymc = "Gamma"

    def pymc_arguments(self) -> dict[str, float]:
        """Return the arguments of PyMC's distribution."""
        return {"alpha": self.alpha, "beta": self.beta}

    def draw(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Return independent draws, shape (draws,)."""
        return rng.gamma(self.alpha, 1.0 / self.beta, draws)

    def logpdf(self, value: np.ndarray) -> np.ndarray:
        """Return the log density."""
        from scipy import stats

        return stats.gamma.logpdf(value, a=self.alpha, scale=1.0 / self.beta)

    def widened(self) -> Gamma:
        """Return the distribution of the same mean with the standard deviation doubled."""
        return Gamma(self.alpha / 4, self.beta / 4)


DISTRIBUTIONS: dict[str, type[Distribution]] = {
    kind.__name__: kind for kind in (LogNormal, HalfNormal, Exponential, Gamma)
}
"""Distributions by their name in a spec."""
