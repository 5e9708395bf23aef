"""Specs: a law with priors, a noise model and the published values to compare with, read from TOML."""

from __future__ import annotations

import hashlib
import json
import textwrap
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from scalebayes.display import html
from scalebayes.errors import SpecError
from scalebayes.laws import LAWS, Law
from scalebayes.specs.faults import (
    describe,
    nearest,
    one_of,
    prior_faults,
    read_all,
    spread_faults,
    value_faults,
)
from scalebayes.specs.noise import NOISES, Noise
from scalebayes.specs.observation import (
    IntegratedDiscrepancy,
    NoiseOnly,
    Observation,
    SampledDiscrepancy,
)
from scalebayes.specs.parts import FROZEN, Discrepancy, Prior, Published

if TYPE_CHECKING:
    import pandas as pd


class Spec(BaseModel):
    """A law with priors and noise: everything that determines a posterior, except the runs.

    Write one as TOML in ``models/`` (see ``models/README.md``) or in Python, where priors may be computed.

    Raises
    ------
    pydantic.ValidationError
        In Python, listing every fault with its path; `read_model` turns it into a `SpecError`.
    """

    model_config = FROZEN
    name: str = Field(pattern=r"^\w[\w.-]*$")
    title: str
    law: str
    noise: str = "student_t"
    about: str = ""
    discrepancy: Discrepancy | None = None
    priors: Annotated[dict[str, Prior], Field(validate_default=True)] = {}
    pool: str | None = Field(default=None, min_length=1)
    spread: Annotated[dict[str, Prior], Field(validate_default=True)] = {}
    published: tuple[Published, ...] = ()

    @field_validator("law")
    @classmethod
    def _known_law(cls, law: str) -> str:
        return one_of(law, LAWS, "law")

    @field_validator("noise")
    @classmethod
    def _known_noise(cls, noise: str) -> str:
        return one_of(noise, NOISES, "noise")

    @field_validator("priors", mode="wrap")
    @classmethod
    def _priors_fit(
        cls, given: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> dict[str, Prior]:
        """Add the noise model's own priors where the spec states none, and check names, `at` and `shift`."""
        if not {"law", "noise"} <= info.data.keys() or not isinstance(given, dict):
            return read(given)
        law = LAWS[info.data["law"]]
        noise = NOISES[info.data["noise"]]
        scatter = _observation(law, noise, info.data.get("discrepancy")).priors
        given = {**scatter, **given}
        priors = read_all(read, given, prior_faults(law, tuple(scatter), given))
        return {name: priors[name] for name in (*law.parameter_names, *scatter)}

    @field_validator("pool")
    @classmethod
    def _can_be_pooled(cls, pool: str | None, info: ValidationInfo) -> str | None:
        if pool is not None and info.data.get("discrepancy") is not None:
            raise ValueError(
                "a spec with a discrepancy cannot be pooled yet: leave out pool, or the discrepancy"
            )
        law = LAWS.get(info.data.get("law", ""))
        if pool is not None and law is not None and law.response != "loss":
            raise ValueError(
                f"'{law.name}' is of accuracy, and tables of scores have no groups: leave out pool"
            )
        return pool

    @field_validator("spread", mode="wrap")
    @classmethod
    def _spreads_fit(
        cls, given: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> dict[str, Prior]:
        law = LAWS.get(info.data.get("law", ""))
        if law is None or "pool" not in info.data or not isinstance(given, dict):
            return read(given)
        return read_all(read, given, spread_faults(law, info.data["pool"], given))

    @field_validator("published", mode="wrap")
    @classmethod
    def _values_fit(
        cls, given: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> tuple[Published, ...]:
        law = LAWS.get(info.data.get("law", ""))
        return read_all(read, given, value_faults(law, given) if law else ())

    @property
    def law_object(self) -> Law:
        """The law this spec names."""
        return LAWS[self.law]

    @property
    def noise_object(self) -> Noise:
        """The noise model this spec names."""
        return NOISES[self.noise]

    @property
    def scatter_names(self) -> tuple[str, ...]:
        """Parameters of what lies between the law and a run's loss: those of the noise, and the discrepancy's eta."""
        return tuple(self.observation.priors)

    @property
    def observation(self) -> Observation:
        """Distribution of the log losses around the law: its noise, and the discrepancy if there is one."""
        return _observation(self.law_object, self.noise_object, self.discrepancy)

    @property
    def hash(self) -> str:
        """SHA-256 of what determines the posterior: law, noise, discrepancy, priors; not titles, reasons or values."""
        priors = {
            k: p.model_dump(exclude={"reason"}, exclude_defaults=True)
            for k, p in self.priors.items()
        }
        core: dict[str, Any] = {"law": self.law, "noise": self.noise, "priors": priors}
        if self.discrepancy is not None:
            core["discrepancy"] = self.discrepancy.model_dump(exclude={"reason"})
        if self.pool is not None:
            core["spread"] = {k: p.model_dump(exclude={"reason"}) for k, p in self.spread.items()}
        return hashlib.sha256(json.dumps(core, sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.name}: {self.title}"

    def __repr__(self) -> str:
        off = ", with a discrepancy" if self.discrepancy else ""
        return f"<Spec {self.name}: {self.law}, {self.noise} noise, {len(self.priors)} priors{off}>"

    def _repr_html_(self) -> str:
        formula = f"L = {self.law_object.formula}"
        scatter = f"noise: {self.noise}" + "; a discrepancy says how far the law may be off" * bool(
            self.discrepancy
        )
        priors = {name: f"{prior}: {prior.reason}" for name, prior in self.priors.items()}
        return html.panel(str(self), self.about, formula, scatter, html.facts(priors))

    def describe(self) -> str:
        """Say in full what is fitted: the law, the noise, every prior with its reason, and what is published."""
        lines = [
            f"{self}",
            *textwrap.wrap(self.about, 110),
            "",
            f"L = {self.law_object.formula}",
            f"noise: {self.noise}",
            *self._describe_discrepancy(),
            "",
            "Priors",
        ]
        lines += [
            f"  {name:8} {prior}\n           {prior.reason}" for name, prior in self.priors.items()
        ]
        if self.pool:
            lines += [
                "",
                f"Pooled by {self.pool}: priors above are of the population; spreads of logs around it",
            ]
        lines += [
            f"  {name:8} {prior}\n           {prior.reason}" for name, prior in self.spread.items()
        ]
        if self.published:
            lines += ["", "Published"]
        for entry in self.published:
            values = ", ".join(f"{name} {value:g}" for name, value in entry.values.items())
            lines.append(
                f"  {entry.label} ({'; '.join(filter(None, (entry.where, entry.counting)))}): {values}"
            )
        return "\n".join(lines)

    def _describe_discrepancy(self) -> list[str]:
        if self.discrepancy is None:
            return []
        kind = self.discrepancy.kernel.replace("_", " ")
        size = f"a Gaussian process over the logs of the inputs ({kind}, length {self.discrepancy.length:g} decades)"
        return [f"discrepancy: {size}", f"           {self.discrepancy.reason}"]


def _observation(law: Law, noise: Noise, discrepancy: Discrepancy | None) -> Observation:
    if discrepancy is None:
        return NoiseOnly(noise)
    kind = IntegratedDiscrepancy if noise.integrates_discrepancy else SampledDiscrepancy
    return kind(noise, discrepancy.kernel, discrepancy.length, law.inputs)


def prior_draws(spec: Spec, draws: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws of every parameter from the prior.

    Returns
    -------
    dict
        Parameter name -> array of shape (draws,).
    """
    rng = np.random.default_rng(seed)
    out = {name: prior.draw(rng, draws) for name, prior in spec.priors.items()}
    with np.errstate(
        over="ignore"
    ):  # a scale whose exponent is almost zero is infinite for every purpose
        for parameter in spec.law_object.parameters:
            at = spec.priors[parameter.name].at
            if at is not None and parameter.exponent:
                out[parameter.name] = at * out[parameter.name] ** (1 / out[parameter.exponent])
    return out


def read_model(model: str | Path | Spec) -> Spec:
    """Read a spec: a name in ``models/``, a path to a TOML file, or a `Spec`, which passes through.

    Raises
    ------
    SpecError
        Naming the file and every fault in it with its path, or the nearest known name.
    """
    if isinstance(model, Spec):
        return model
    if str(model).endswith(".toml"):
        path = Path(model)
        if not path.is_file():
            raise SpecError(f"no model file at {path}")
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"cannot read {path}: {error}") from None
        return _parse(path.stem, text, str(path))
    files = _model_files()
    if model not in files:
        near = nearest(str(model), files)
        raise SpecError(
            f"no model '{model}'{near}; known models: {', '.join(files)}; or give a path ending in .toml"
        )
    return _parse(str(model), files[str(model)].read_text("utf-8"), f"models/{model}.toml")


def list_models() -> pd.DataFrame:
    """Table of the specs in ``models/``: title, law, inputs and noise by name."""
    import pandas as pd

    specs = [read_model(name) for name in _model_files()]
    rows = [(s.title, s.law, ", ".join(s.law_object.inputs), s.noise) for s in specs]
    return pd.DataFrame(
        rows,
        columns=["title", "law", "inputs", "noise"],
        index=pd.Index([s.name for s in specs], name="model"),
    )


def models_folder() -> Path:
    """Where specs and their references are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    folder = package / "_models"
    return folder if folder.is_dir() else package.parent / "models"


def _model_files() -> dict[str, Path]:
    """Spec files by name."""
    return {file.stem: file for file in sorted(models_folder().glob("*.toml"))}


def _parse(name: str, text: str, where: str) -> Spec:
    try:
        return Spec.model_validate({"name": name, **tomllib.loads(text)})
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where} is not valid TOML: {error}") from None
    except ValidationError as error:
        raise SpecError(f"{where}: {describe(error)}") from None
