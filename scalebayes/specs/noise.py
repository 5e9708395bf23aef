"""Noise models: the distribution of a run's log loss around the curve.

A noise is one class with everything that the package asks of a noise: default priors of its
parameters, its distribution in PyMC, and its density, draws and quantiles in NumPy.
`docs/add-a-model.md` has a skeleton to copy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
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

SHARE: DefaultPrior = {
    "dist": "Beta",
    "alpha": 1.0,
    "beta": 9.0,
    "reason": (
        "share of the runs that diverged: few in most sweeps, a tenth on average on grids that "
        "reach beyond the stable learning rates; 90% in 0.006 to 0.28"
    ),
}
EXCESS: DefaultPrior = {
    "dist": "LogNormal",
    "median": 0.3,
    "sigma": 1.0,
    "reason": (
        "mean excess of log loss of a diverged run: from runs that recover late to runs that "
        "stay at the loss of an untrained model, 1.1 above; 90% in 0.058 to 1.6"
    ),
}
GAP: DefaultPrior = {
    "dist": "LogNormal",
    "median": 0.01,
    "sigma": 1.0,
    "reason": (
        "mean gap of log loss between a run and the best-tuned run of its size, at the centre of "
        "the runs: half a percent to several percent; 90% in 0.002 to 0.052"
    ),
}
DECAY: DefaultPrior = {
    "dist": "LogNormal",
    "median": 0.15,
    "sigma": 0.7,
    "reason": (
        "exponent of compute by which the gap falls: small runs are tuned with less care, and ten "
        "times the compute leaves between half and nine tenths of the gap; 90% in 0.047 to 0.47"
    ),
}

UPPER_QUARTILE = 0.75
SCALE_INPUTS = ("N", "D", "C", "S")
"""Inputs whose product stands for the compute of a run in `Noise.log_scale`."""


class Noise(ABC):
    """Distribution of the residual, log loss minus log curve, given the noise's parameters.

    Parameters are passed by name, as arrays that broadcast against the residual. The first is
    always ``sigma``.

    Attributes
    ----------
    pymc
        Name of the distribution in PyMC, which takes ``mu`` and `pymc_arguments`; empty where the
        class has a `log_density` of its own.
    integrates_discrepancy
        Whether a Gaussian process on the log loss integrates out of the likelihood in closed form.
    of_converged, of_diverged
        Name of the noise of runs that converge, and the parameters that it does not have; empty
        where all runs are alike.
    """

    pymc: ClassVar[str] = ""
    integrates_discrepancy: ClassVar[bool] = False
    of_converged: ClassVar[str] = ""
    of_diverged: ClassVar[tuple[str, ...]] = ()

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

    def log_density(self, pm: Any, residual: Any, *args: Any, **parameters: Any) -> Any:
        """Return the log density of residuals as PyTensor variables. pm: the module pymc."""
        distribution = getattr(pm, self.pymc)
        centred = distribution.dist(mu=0.0, **self.pymc_arguments(**parameters))
        return pm.logp(centred, residual)

    # A noise may depend on the scale of a run. These do not.

    def for_law(self, inputs: tuple[str, ...]) -> Noise:
        """Return the noise around a law of these inputs."""
        return self

    def log_scale(self, at: Mapping[str, Any] | Any, runs: Any) -> Any:
        """Return the log of the compute of runs over that of the centre of a table, or 0.

        Parameters
        ----------
        at
            `Runs`, or values by input.
        runs
            The table of the fit.
        """
        return 0.0

    def at(self, parameters: Mapping[str, Any], log_scale: Any) -> dict[str, Any]:
        """Return the parameters at runs of a log scale, for the other methods of this class."""
        return dict(parameters)

    def data(self, runs: Any) -> dict[str, np.ndarray]:
        """Return what the graph needs of the runs: ``log_scale`` where the noise depends on it."""
        return {}

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


class Diverging(Noise):
    """Student-t noise of the runs that converge; a share of the runs has diverged, by any amount.

    The residual is Student-t with probability 1 - share. Otherwise it is a Normal variable of the
    same sigma plus an exponential one of mean ``excess``, so that a run that ends at the loss of an
    untrained model hardly moves the curve.
    """

    label = "diverging"
    priors: ClassVar[Mapping[str, DefaultPrior]] = {
        "sigma": SIGMA,
        "nu": NU,
        "share": SHARE,
        "excess": EXCESS,
    }
    alternative = "student_t"
    of_converged = "student_t"
    of_diverged = ("share", "excess")

    def log_density(
        self, pm: Any, residual: Any, *, sigma: Any, nu: Any, share: Any, excess: Any
    ) -> Any:
        """Return the log density of residuals as PyTensor variables."""
        of_core = pm.logp(pm.StudentT.dist(nu=nu, mu=0.0, sigma=sigma), residual)
        of_rest = _symbolic_exponnorm(residual, sigma, excess)
        return _log_add(pm.math.log1p(-share) + of_core, pm.math.log(share) + of_rest)

    def draw(
        self,
        rng: np.random.Generator,
        shape: tuple[int, ...],
        *,
        sigma: Any,
        nu: Any,
        share: Any,
        excess: Any,
    ) -> np.ndarray:
        """Return random residuals of a shape."""
        error = StudentT().draw(rng, shape, sigma=sigma, nu=nu)
        diverged = sigma * rng.standard_normal(shape) + excess * rng.standard_exponential(shape)
        return np.where(rng.random(shape) < share, diverged, error)

    def logpdf(
        self, residual: np.ndarray, *, sigma: Any, nu: Any, share: Any, excess: Any
    ) -> np.ndarray:
        """Return the log density of residuals."""
        of_core = StudentT().logpdf(residual, sigma=sigma, nu=nu)
        of_rest = _exponnorm(residual, sigma, excess)
        return np.logaddexp(np.log1p(-share) + of_core, np.log(share) + of_rest)

    def tail(
        self, residual: np.ndarray, *, sigma: Any, nu: Any, share: Any, excess: Any
    ) -> np.ndarray:
        """Return the probability of a residual at least as large in absolute value."""
        of_core = StudentT().tail(residual, sigma=sigma, nu=nu)
        return (1 - share) * of_core + share * _exponnorm_tail(residual, sigma, excess)

    def middle(self, *, sigma: Any, nu: Any, share: Any, excess: Any) -> np.ndarray:
        """Return that of the runs that converge."""
        return StudentT().middle(sigma=sigma, nu=nu)

    def equivalent(self, *, sigma: Any, nu: Any, share: Any, excess: Any) -> Any:
        """Return that of the runs that converge, which alone tell of the curve."""
        return StudentT().equivalent(sigma=sigma, nu=nu) / (1 - share)


@dataclass(frozen=True)
class OneSided(Noise):
    r"""Normal noise plus a gap that is never negative: how far a run is from a well-tuned one.

    The gap is exponential, and its mean falls with the compute C of the run as

    .. math:: gap \, (C / C_0)^{-decay},

    with C_0 the compute at the centre of the runs. The curve is that of well-tuned runs, below most
    of the runs.

    Attributes
    ----------
    inputs
        Those of the law. The compute of a run is the product of N and D, or C, N, D alone ...
    """

    inputs: tuple[str, ...] = ()

    label = "one-sided"
    priors: ClassVar[Mapping[str, DefaultPrior]] = {"sigma": SIGMA, "gap": GAP, "decay": DECAY}
    alternative = "student_t"

    def for_law(self, inputs: tuple[str, ...]) -> OneSided:
        """Return the noise around a law of these inputs."""
        return OneSided(inputs)

    def log_scale(self, at: Mapping[str, Any] | Any, runs: Any) -> Any:
        """Return the log of the compute of runs over that of the centre of a table."""
        total: Any = 0.0
        for x in self.inputs:
            if x in SCALE_INPUTS:
                values = at[x] if isinstance(at, Mapping) else getattr(at, x)
                total = total + (np.log(values) - np.mean(np.log(getattr(runs, x))))
        return total

    def at(self, parameters: Mapping[str, Any], log_scale: Any) -> dict[str, Any]:
        """Return sigma and the mean gap at runs of a log scale."""
        gap = parameters["gap"] * np.exp(-parameters["decay"] * log_scale)
        return {"sigma": parameters["sigma"], "gap": gap}

    def data(self, runs: Any) -> dict[str, np.ndarray]:
        """Return the log of the compute of each run over that of their centre, (runs,)."""
        return {"log_scale": np.broadcast_to(self.log_scale(runs, runs), len(runs)).copy()}

    def log_density(self, pm: Any, residual: Any, *, sigma: Any, gap: Any) -> Any:
        """Return the log density of residuals as PyTensor variables."""
        return _symbolic_exponnorm(residual, sigma, gap)

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, ...], *, sigma: Any, gap: Any
    ) -> np.ndarray:
        """Return random residuals of a shape."""
        return sigma * rng.standard_normal(shape) + gap * rng.standard_exponential(shape)

    def logpdf(self, residual: np.ndarray, *, sigma: Any, gap: Any) -> np.ndarray:
        """Return the log density of residuals."""
        return _exponnorm(residual, sigma, gap)

    def tail(self, residual: np.ndarray, *, sigma: Any, gap: Any) -> np.ndarray:
        """Return the probability of a residual at least as large in absolute value."""
        return _exponnorm_tail(residual, sigma, gap)

    def middle(self, *, sigma: Any, gap: Any) -> np.ndarray:
        """Return the root of the sum of squares of sigma and that of the gap alone.

        The distance of the quartiles of an exponential variable is log 3 times its mean. Those of
        the sum have no closed form.
        """
        return np.hypot(sigma, gap * GAP_QUARTILES)

    def equivalent(self, *, sigma: Any, gap: Any) -> Any:
        """Return sigma^2 + sigma gap, within a quarter of the inverse of the Fisher information."""
        return sigma**2 + sigma * gap


GAP_QUARTILES = float(np.log(3.0) / (2 * 0.6744897501960817))
"""Distance of the quartiles of an exponential variable over that of a Normal variable, in units of
the mean and of the standard deviation."""


def _exponnorm(residual: np.ndarray, sigma: Any, mean: Any) -> np.ndarray:
    """Return the log density of a Normal variable plus an exponential one of a mean.

    -log m + (s/m)^2/2 - r/m + log Phi(r/s - s/m).
    """
    from scipy.special import log_ndtr

    ratio = sigma / mean
    return 0.5 * ratio**2 - residual / mean - np.log(mean) + log_ndtr(residual / sigma - ratio)


def _exponnorm_tail(residual: np.ndarray, sigma: Any, mean: Any) -> np.ndarray:
    """Return the probability of a value at least as large in absolute value as a residual.

    The distribution function is Phi(r/s) - m p(r), with p the density.
    """
    from scipy.special import ndtr

    size = np.abs(residual)
    above = ndtr(-size / sigma) + mean * np.exp(_exponnorm(size, sigma, mean))
    below = ndtr(-size / sigma) - mean * np.exp(_exponnorm(-size, sigma, mean))
    return np.clip(above + below, 0.0, 1.0)


def _symbolic_exponnorm(residual: Any, sigma: Any, mean: Any) -> Any:
    """Return `_exponnorm` of PyTensor variables.

    log Phi(x) is taken from erfcx(|x|/sqrt 2), which neither overflows nor underflows, on either
    side of 0; so both branches have finite gradients everywhere.
    """
    import pytensor.tensor as pt

    ratio = sigma / mean
    x = residual / sigma - ratio
    y = abs(x) * float(np.sqrt(0.5))
    scaled = pt.erfcx(y)
    below = pt.log(0.5 * scaled) - y**2
    above = pt.log1p(-0.5 * scaled * pt.exp(-(y**2)))
    log_ndtr = pt.switch(x < 0, below, above)
    return 0.5 * ratio**2 - residual / mean - pt.log(mean) + log_ndtr


def _log_add(a: Any, b: Any) -> Any:
    """Return log(exp(a) + exp(b)) of PyTensor variables."""
    difference = abs(a - b)
    return (a + b + difference) / 2 + np.log1p(np.exp(-difference))


register("normal", Normal)
register("student_t", StudentT)
register("diverging", Diverging)
register("one_sided", OneSided)
