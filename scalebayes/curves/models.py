"""Models of curves: a law with priors and noise, read from ``models/curves/``."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from scalebayes.curves.laws import CurveLaw, curve_law
from scalebayes.errors import SpecError
from scalebayes.specs.faults import nearest
from scalebayes.specs.parts import FROZEN, Positive, Prior, Published
from scalebayes.specs.spec import models_folder

NOISE = ("sigma", "s", "tau", "kappa")
"""Parameters of the noise, in their order.

sigma is the noise of one checkpoint, s the size of the correlated deviation along a run, tau the
offset of a run, and kappa the relative error of what annealing saves in a run.
"""
DEFAULT = "multi-power"


class Spread(BaseModel):
    """How far the log of a parameter differs between groups, and why."""

    model_config = FROZEN
    sigma: Positive
    reason: str = Field(min_length=1)


class CurveModel(BaseModel):
    """A law of curves with its priors, in a TOML file of ``models/curves/``.

    All priors are log-Normal. Those of L_0, A and B are relative to the lowest loss of the group.

    Attributes
    ----------
    title, about
        What the model is.
    law
        Name of the law.
    priors
        Priors of the sampled parameters of the law, with reasons.
    spread
        Standard deviation of the log of each parameter between groups.
    noise
        Priors of `NOISE`, all on the scale of log loss.
    published
        Values of papers.
    """

    model_config = FROZEN
    title: str
    law: str
    about: str = ""
    priors: dict[str, Prior]
    spread: dict[str, Spread]
    noise: dict[str, Prior]
    published: tuple[Published, ...] = ()

    @field_validator("law")
    @classmethod
    def _known(cls, law: str) -> str:
        return curve_law(law).name

    @model_validator(mode="after")
    def _has_all_priors(self) -> CurveModel:
        expected = {"priors": self.law_object.sampled, "spread": self.law_object.sampled}
        expected["noise"] = NOISE
        for part, names in expected.items():
            given = getattr(self, part)
            if set(given) != set(names):
                raise ValueError(f"{part} has {', '.join(given)}; it needs {', '.join(names)}")
        for name, prior in (self.priors | self.noise).items():
            if prior.dist != "LogNormal":
                raise ValueError(f"priors of curves are LogNormal; that of {name} is {prior.dist}")
        return self

    @property
    def name(self) -> str:
        """Name of the model: that of its law."""
        return self.law

    @property
    def law_object(self) -> CurveLaw:
        """The law."""
        return curve_law(self.law)

    @property
    def hash(self) -> str:
        """SHA-256 of the model."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def normal(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Return means and standard deviations of the logs of a part, "priors" or "noise"."""
        names = self.law_object.sampled if part == "priors" else NOISE
        given = getattr(self, part)
        arguments = [given[name].arguments for name in names]
        means = np.log([each["median"] for each in arguments])
        return means, np.array([each["sigma"] for each in arguments])

    def spreads(self) -> np.ndarray:
        """Return the spreads of the sampled parameters between groups, (parameters,)."""
        return np.array([self.spread[name].sigma for name in self.law_object.sampled])


def read_curve_model(model: str | Path | CurveModel) -> CurveModel:
    """Return a model of curves by its name or the path of a TOML file; a model passes through.

    Raises
    ------
    SpecError
        When there is no such model, or its file has a fault.
    """
    if isinstance(model, CurveModel):
        return model
    files = {file.stem: file for file in sorted((models_folder() / "curves").glob("*.toml"))}
    path = files.get(str(model), Path(model))
    if not path.is_file():
        raise SpecError(
            f"no model of curves '{model}'{nearest(str(model), files)}; known: {', '.join(files)}; "
            "or give the path of a TOML file"
        )
    try:
        return CurveModel.model_validate(tomllib.loads(path.read_text("utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path} is no TOML: {error}") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SpecError(f"{path}: {faults}") from None
