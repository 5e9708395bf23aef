"""Parts of a model file: priors with reasons, a discrepancy, published values with checks."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from scalebayes.specs.discrepancy import KERNELS
from scalebayes.specs.faults import one_of
from scalebayes.specs.priors import DISTRIBUTIONS, Distribution
from scalebayes.units import format_quantity

type Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

FROZEN = ConfigDict(frozen=True, extra="forbid")


class Prior(BaseModel):
    """Prior of one parameter, with its reason.

    The arguments of the distribution are further fields:
    ``Prior(dist="LogNormal", median=0.3, sigma=0.6, reason="...")``. With ``at``, the prior is on
    the size in nats of the parameter's term at that input: for N_c, on (N_c/at)^alpha_N. ``shift``
    moves the support: parameter = shift + draw.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Positive]

    dist: str
    reason: str = Field(min_length=1)
    at: Positive | None = None
    shift: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @field_validator("dist")
    @classmethod
    def _known(cls, dist: str) -> str:
        return one_of(dist, DISTRIBUTIONS, "distribution")

    @model_validator(mode="after")
    def _arguments_fit(self) -> Prior:
        allowed = DISTRIBUTIONS[self.dist].argument_names()
        if set(self.arguments) != set(allowed):
            given = ", ".join(self.arguments) or "none"
            raise ValueError(f"{self.dist} takes {', '.join(allowed)}; got {given}")
        return self

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
        if self.at is not None:
            text += f", for the size of its term at {format_quantity(self.at)}"
        return text

    def draw(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Return draws of the parameter, or with ``at`` of its term's size, shape (draws,)."""
        return self.shift + self.distribution.draw(rng, draws)

    def logpdf(self, value: np.ndarray) -> np.ndarray:
        """Return the log density of the parameter, or with ``at`` of its term's size."""
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


class Published(BaseModel):
    """Values of a paper for this law, in the paper's own notation, and their place in the paper.

    Where the paper prints no further number that the values imply, ``unchecked`` says so instead of
    ``checks``.
    """

    model_config = FROZEN
    source: str
    label: str
    where: str
    values: dict[str, float]
    standard_error: dict[str, Positive] = {}
    counting: str = ""
    checks: tuple[Check, ...] = ()
    unchecked: str = ""

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
