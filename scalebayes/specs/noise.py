"""Noise models: the distribution of a run's log loss around the curve.

A noise is one class with everything that the package asks of a noise: default priors of its
parameters, its distribution in PyMC, and its density, draws and quantiles in NumPy.
`docs/add-a-model.md` has a skeleton to copy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

type DefaultPrior = Mapping[str, float | str]
"""Fields of a `scalebayes.Prior`."""

SIGMA: DefaultPrior = {
    "dist": "LogNormal",
    "median": 0.01,
    "sigma": 1.0,
    "reason": (
        "noise scale of log loss between runs of one recipe: seeds differ by a few tenths of a "
        "percent, runs that were tuned unequally by several percent; 90% in 0.002 to 0.052"
    ),
}
NU: DefaultPrior = {
    "dist": "Gamma",
    "alpha": 2.0,
    "beta": 0.1,
    "shift": 2.0,
    "reason": (
        "from heavy tails to near Normal (Juarez and Steel 2010); "
        "above 2 so that the variance exists"
    ),
}

UPPER_QUARTILE = 0.75


class Noise(ABC):
    """Distribution of the residual, log loss minus log curve, given the noise's parameters.

    Parameters are passed by name, as arrays that broadcast against the residual. The first is
    always ``sigma``.

    Attributes
    ----------
    pymc
        Name of the distribution in PyMC, which takes ``mu`` and `pymc_arguments`.
    integrates_discrepancy
        Whether a Gaussian process on the log loss integrates out of the likelihood in closed form.
    """

    pymc: ClassVar[str]
    integrates_discrepancy: ClassVar[bool] = False

    # A subclass states these as attributes of the class, or computes them.

    @property
    @abstractmethod
    def label(self) -> str:
        """What a person calls this noise, as in "Student-t noise"."""

    @property
    @abstractmethod
    def priors(self) -> Mapping[str, DefaultPrior]:
        """Default prior of each parameter, by name."""

    @property
    def alternative(self) -> str:
        """Name of the noise that a sensitivity check sets beside this one."""
        return "normal"

    def pymc_arguments(self, *args: Any, **parameters: Any) -> dict[str, Any]:
        """Return the arguments of PyMC's distribution other than ``mu``."""
        return parameters

    # Subclasses name their parameters, which a type checker accepts for "*args, **parameters".

    @abstractmethod
    def draw(
        self, rng: np.random.Generator, shape: tuple[int, ...], *args: Any, **parameters: Any
    ) -> np.ndarray:
        """Return random residuals of a shape."""

    @abstractmethod
    def logpdf(self, residual: np.ndarray, *args: Any, **parameters: Any) -> np.ndarray:
        """Return the log density of residuals."""

    @abstractmethod
    def tail(self, residual: np.ndarray, *args: Any, **parameters: Any) -> np.ndarray:
        """Return the probability of a residual at least as large in absolute value."""

    @abstractmethod
    def middle(self, *args: Any, **parameters: Any) -> np.ndarray:
        """Return the standard deviation of the Normal distribution with the same quartiles."""

    @abstractmethod
    def equivalent(self, *args: Any, **parameters: Any) -> Any:
        """Return the variance of Normal noise of equal information on the log curve.

        It is the inverse of the Fisher information of the log curve. Parameters may be PyTensor
        variables.
        """


NOISES: dict[str, Noise] = {}
"""Every noise by its name in a spec; filled by `register`."""


def register[T: type[Noise]](name: str, noise: T) -> T:
    """Make a noise known under a name that specs may give.

    Raises
    ------
    TypeError
        When another noise has this name already, or the first parameter is not ``sigma``.
    """
    if name in NOISES:
        raise TypeError(f"a noise is called '{name}' already: {type(NOISES[name]).__name__}")
    made = noise()
    parameters = [*made.priors]
    if parameters[:1] != ["sigma"]:
        raise TypeError(f"the first parameter of a noise is sigma; '{name}' has {parameters}")
    NOISES[name] = made
    return noise


class Normal(Noise):
    """Normal noise of standard deviation sigma."""

    label = "Normal"
    priors: ClassVar[Mapping[str, DefaultPrior]] = {"sigma": SIGMA}
    pymc = "Normal"
    integrates_discrepancy = True
    alternative = "student_t"

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], *, sigma: Any) -> np.ndarray:
        """Return random residuals of a shape."""
        return sigma * rng.standard_normal(shape)

    def logpdf(self, residual: np.ndarray, *, sigma: Any) -> np.ndarray:
        """Return -(residual/sigma)^2/2 - log sigma - log(2 pi)/2.

        A third of the time of SciPy's, which checks its arguments; this is asked for every run and
        draw.
        """
        return -0.5 * (residual / sigma) ** 2 - (np.log(sigma) + 0.5 * np.log(2 * np.pi))

    def tail(self, residual: np.ndarray, *, sigma: Any) -> np.ndarray:
        """Return the probability of a residual at least as large in absolute value."""
        from scipy import stats

        return 2 * stats.norm.sf(np.abs(residual), scale=sigma)

    def middle(self, *, sigma: Any) -> np.ndarray:
        """Return sigma."""
        return sigma

    def equivalent(self, *, sigma: Any) -> Any:
        """Return sigma^2."""
        return sigma**2


class StudentT(Noise):
    """Student-t noise of scale sigma and nu degrees of freedom."""

    label = "Student-t"
    priors: ClassVar[Mapping[str, DefaultPrior]] = {"sigma": SIGMA, "nu": NU}
    pymc = "StudentT"
    alternative = "normal"

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, ...], *, sigma: Any, nu: Any
    ) -> np.ndarray:
        """Return random residuals of a shape, by the polar method of Bailey (1994).

        doi:10.2307/2153537: sigma sqrt(nu (U^(-2/nu) - 1)) cos(2 pi V), with U and V uniform. A
        third of the time of NumPy's, which draws a Gamma variate for each. Works in place, because
        the array may take a gigabyte.
        """
        radius = rng.random(shape)
        # V needs no more than single precision, which halves the time of the cosine.
        angle = rng.random(shape, dtype=np.float32)

        # U is 1 - radius, which is never zero; expm1 keeps the digits where U is near 1.
        np.negative(radius, out=radius)
        np.log1p(radius, out=radius)
        radius *= -2 / nu
        np.expm1(radius, out=radius)
        radius *= nu
        np.sqrt(radius, out=radius)

        angle *= np.float32(2 * np.pi)
        np.cos(angle, out=angle)
        radius *= angle
        radius *= sigma
        return radius

    def logpdf(self, residual: np.ndarray, *, sigma: Any, nu: Any) -> np.ndarray:
        """Return the log density of residuals.

        log(Gamma((nu+1)/2) / Gamma(nu/2)) - log(pi nu)/2 - log sigma
        - (nu+1)/2 log(1 + (residual/sigma)^2/nu).

        A seventh of the time of SciPy's, which checks its arguments; this is asked for every run
        and draw.
        """
        from scipy.special import gammaln

        log_gammas = gammaln((nu + 1) / 2) - gammaln(nu / 2)
        constant = log_gammas - 0.5 * np.log(np.pi * nu) - np.log(sigma)
        return constant - (nu + 1) / 2 * np.log1p((residual / sigma) ** 2 / nu)

    def tail(self, residual: np.ndarray, *, sigma: Any, nu: Any) -> np.ndarray:
        """Return the probability of a residual at least as large in absolute value."""
        from scipy import stats

        return 2 * stats.t.sf(np.abs(residual), df=nu, scale=sigma)

    def middle(self, *, sigma: Any, nu: Any) -> np.ndarray:
        """Return sigma times the upper quartile of Student's t over that of a Normal variable."""
        from scipy import stats

        quartile = stats.t.ppf(UPPER_QUARTILE, df=nu)
        return sigma * quartile / stats.norm.ppf(UPPER_QUARTILE)

    def equivalent(self, *, sigma: Any, nu: Any) -> Any:
        """Return sigma^2 (nu + 3) / (nu + 1)."""
        return sigma**2 * (nu + 3) / (nu + 1)


register("normal", Normal)
register("student_t", StudentT)
