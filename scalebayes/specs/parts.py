"""Parts of a model file: priors with reasons, a discrepancy, published values with checks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from scalebayes.specs.discrepancy import KERNELS
from scalebayes.specs.faults import one_of
from scalebayes.specs.priors import CENTRE, DISTRIBUTIONS, Distribution
from scalebayes.units import format_quantity

type Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
type Finite = Annotated[float, Field(allow_inf_nan=False)]

FROZEN = ConfigDict(frozen=True, extra="forbid")


class Prior(BaseModel):
    """Prior of one parameter, with its reason.

    The arguments of the distribution are further fields:
    ``Prior(dist="LogNormal", median=0.3, sigma=0.6, reason="...")``.

    Attributes
    ----------
    at
        For a scale such as N_c, the input at which the prior is stated: a number, and then the
        prior is on the size (N_c/at)^alpha_N of its term there, in the unit of the loss. Or
        ``"centre"``, and then the prior is relative to the table, and has no unit: of a scale, on
        the size of its term at the table's centre (the geometric mean of the input) over the
        typical loss (the geometric mean of the losses); of a parameter in units of the loss, on it
        over the typical loss; of one in units of an input, on it over the centre of that input.
    over
        Another parameter of the law: the prior is on the ratio of this parameter to that one, of
        scales on the ratio of the sizes of their terms at the centre.
    shift
        Moves the support: parameter = shift + draw.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Positive]

    dist: str
    reason: str = Field(min_length=1)
    at: float | Literal["centre"] | None = None
    over: str | None = None
    shift: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @field_validator("dist")
    @classmethod
    def _known(cls, dist: str) -> str:
        return one_of(dist, DISTRIBUTIONS, "distribution")

    @field_validator("at", mode="plain")
    @classmethod
    def _reads_at(cls, at: Any) -> float | Literal["centre"] | None:
        if at is None:
            return None
        if at == CENTRE:
            return CENTRE
        is_number = isinstance(at, int | float) and not isinstance(at, bool)
        if is_number and 0 < at < np.inf:
            return float(at)
        raise ValueError(f"at is a positive number or '{CENTRE}'; got {at!r}")

    @model_validator(mode="after")
    def _arguments_fit(self) -> Prior:
        allowed = DISTRIBUTIONS[self.dist].argument_names()
        if set(self.arguments) != set(allowed):
            given = ", ".join(self.arguments) or "none"
            raise ValueError(f"{self.dist} takes {', '.join(allowed)}; got {given}")
        return self

    @property
    def is_relative(self) -> bool:
        """Whether the prior is stated relative to the table."""
        return self.at == CENTRE

    @property
    def log_at(self) -> float | None:
        """Log of the input at which the prior is stated, or None where it is stated at none.

        Raises
        ------
        TypeError
            For a prior that is relative to a table: `scalebayes.specs.table_units` states it as a
            number.
        """
        if isinstance(self.at, str):
            raise TypeError("a prior relative to a table has no reference before it is normalised")
        if self.at is None:
            return None
        return float(np.log(self.at))

    @property
    def arguments(self) -> dict[str, float]:
        """Arguments of the distribution."""
        return dict(self.__pydantic_extra__)

    @property
    def distribution(self) -> Distribution:
        """The distribution with its arguments, before it is shifted."""
        return DISTRIBUTIONS[self.dist](**self.arguments)

    def __str__(self) -> str:
        arguments = ", ".join(f"{name} {value:g}" for name, value in self.arguments.items())
        text = f"{self.dist}({arguments})"
        if self.shift:
            text = f"{self.shift:g} + {text}"
        if self.over is not None:
            text += f", for its ratio to {self.over}"
        if self.is_relative:
            text += ", relative to the table at its centre"
        elif isinstance(self.at, float):
            text += f", for the size of its term at {format_quantity(self.at)}"
        return text

    def draw(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Return draws of the quantity that the prior is stated on, shape (draws,)."""
        return self.shift + self.distribution.draw(rng, draws)

    def logpdf(self, value: np.ndarray) -> np.ndarray:
        """Return the log density of the quantity that the prior is stated on."""
        return self.distribution.logpdf(value - self.shift)


class Check(BaseModel):
    """A number that the paper prints, and that its values must reproduce through our law.

    ``what`` is a parameter, a derived quantity, ``loss`` (at ``at``) or ``loss_ratio`` (loss at
    ``at`` over loss at ``over``). ``printed`` keeps the paper's digits: agreement is to the last of
    them, or to ``within``.
    """

    model_config = FROZEN
    what: str
    printed: str
    where: str
    at: dict[str, Positive] = {}
    over: dict[str, Positive] = {}
    within: Positive | None = None

    @field_validator("printed")
    @classmethod
    def _is_number(cls, printed: str) -> str:
        """Check that `printed` is a finite number."""
        try:
            is_finite = bool(np.isfinite(float(printed)))
        except ValueError:
            is_finite = False
        if not is_finite:
            raise ValueError(f"printed takes the digits of a finite number; got {printed!r}")
        return printed


class Published(BaseModel):
    """Values of a paper for this law, in the paper's own notation, and their place in the paper.

    Where the paper prints no further number that the values imply, ``unchecked`` says so instead of
    ``checks``.
    """

    model_config = FROZEN
    source: str
    label: str
    where: str
    values: dict[str, Finite]
    standard_error: dict[str, Positive] = {}
    counting: str = ""
    checks: tuple[Check, ...] = ()
    unchecked: str = ""

    @field_validator("standard_error")
    @classmethod
    def _errors_of_values(cls, errors: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        """Check that each standard error belongs to a value."""
        values = info.data.get("values", errors)
        for name in errors:
            if name not in values:
                allowed = ", ".join(values)
                raise ValueError(f"there is no value of {name}; there are values of {allowed}")
        return errors

    def __str__(self) -> str:
        place = self.where
        if self.counting:
            place = f"{place}; {self.counting}" if place else self.counting
        values = ", ".join(f"{name} {value:g}" for name, value in self.values.items())
        return f"{self.label} ({place}): {values}"


class Discrepancy(BaseModel):
    """The size of the law's own errors (`scalebayes.specs.discrepancy`).

    The length is in decades of each input.
    """

    model_config = FROZEN
    kernel: str = "matern52"
    length: Positive
    reason: str = Field(min_length=1)

    @field_validator("kernel")
    @classmethod
    def _known_kernel(cls, kernel: str) -> str:
        return one_of(kernel, KERNELS, "kernel")

    def describe(self) -> list[str]:
        """Return two lines: the Gaussian process, and the reason for its length."""
        kernel = self.kernel.replace("_", " ")
        size = f"{kernel}, length {self.length:g} decades"
        process = f"a Gaussian process over the logs of the inputs ({size})"
        return [f"discrepancy: {process}", f"           {self.reason}"]


class Drift(BaseModel):
    """How far the law's local exponents drift (`scalebayes.specs.drift`), and why they may."""

    model_config = FROZEN
    reason: str = Field(min_length=1)

    def describe(self) -> list[str]:
        """Return two lines: the paths, and the reason for them."""
        paths = "Brownian motions of the logs of the local exponents, along inputs and loss"
        return [f"drift: {paths}", f"           {self.reason}"]
