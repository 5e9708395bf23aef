"""Prior distributions that a spec may name.

All have the positive real numbers as support, as all parameters of our laws do, or the numbers
between 0 and 1, as shares do. Arguments are stated in terms that a person can check: a median, not
the mean of a logarithm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, Self

import numpy as np

CENTRE: Literal["centre"] = "centre"
"""``at`` of a prior that is stated relative to the table (`scalebayes.specs.parts.Prior`)."""


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
        same mean for a Gamma. A distribution with a scale alone has it doubled. A share is widened
        as far as it can be (`Beta.widened`).
        """

    @abstractmethod
    def scaled(self, factor: float) -> Self:
        """Return the distribution of the variable times a positive factor."""


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

    def scaled(self, factor: float) -> LogNormal:
        """Return the distribution of the variable times a positive factor."""
        return LogNormal(factor * self.median, self.sigma)


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

    def scaled(self, factor: float) -> HalfNormal:
        """Return the distribution of the variable times a positive factor."""
        return HalfNormal(factor * self.sigma)


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

    def scaled(self, factor: float) -> Exponential:
        """Return the distribution of the variable times a positive factor."""
        return Exponential(factor * self.mean)


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

    def scaled(self, factor: float) -> Gamma:
        """Return the distribution of the variable times a positive factor."""
        return Gamma(self.alpha, self.beta / factor)


@dataclass(frozen=True)
class Beta(Distribution):
    """Beta distribution of a share between 0 and 1, mean alpha / (alpha + beta)."""

    alpha: float
    beta: float
    pymc = "Beta"

    def pymc_arguments(self) -> dict[str, float]:
        """Return the arguments of PyMC's distribution."""
        return {"alpha": self.alpha, "beta": self.beta}

    def draw(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Return independent draws, shape (draws,)."""
        return rng.beta(self.alpha, self.beta, draws)

    def logpdf(self, value: np.ndarray) -> np.ndarray:
        """Return the log density."""
        from scipy import stats

        return stats.beta.logpdf(value, self.alpha, self.beta)

    def widened(self) -> Beta:
        """Return the distribution of the same mean with up to twice the standard deviation.

        alpha and beta do not fall below 1, where the density would pile up at 0 or at 1. The
        variance is m (1 - m) / (alpha + beta + 1) with m the mean.
        """
        total = self.alpha + self.beta
        of_doubled = (total + 1) / 4 - 1
        of_bounded = total / min(self.alpha, self.beta)
        new_total = min(max(of_doubled, of_bounded), total)
        return Beta(new_total * self.alpha / total, new_total * self.beta / total)

    def scaled(self, factor: float) -> Beta:
        """Raise, because a multiple of a share is no share.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError("a Beta prior is of a share, which has no unit")


DISTRIBUTIONS: dict[str, type[Distribution]] = {
    kind.__name__: kind for kind in (LogNormal, HalfNormal, Exponential, Gamma, Beta)
}
"""Distributions by their name in a spec."""
