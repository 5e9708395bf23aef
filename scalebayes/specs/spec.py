"""Specs: a law with priors, noise, perhaps a discrepancy, and published values, read from TOML."""

from __future__ import annotations

import hashlib
import json
import textwrap
import tomllib
from collections.abc import Mapping
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

from scalebayes.data.findings.trainings import has_shared_trainings
from scalebayes.display import html
from scalebayes.errors import SpecError
from scalebayes.laws import LAWS, Law
from scalebayes.specs.drifting_law import DriftingLaw
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
from scalebayes.specs.parts import FROZEN, Discrepancy, Drift, Prior, Published
from scalebayes.specs.sweeps import Sweeps
from scalebayes.specs.trainings import NewTraining, SharedTrainings

if TYPE_CHECKING:
    import pandas as pd

    from scalebayes.data.runs import Runs

MOST_BYTES = 2**20
"""Size of a model file, at most; those of the package have a few kilobytes."""
WIDTH = 110
"""Columns of a paragraph in `Spec.describe`."""


class Spec(BaseModel):
    """A law with priors and noise: everything that determines a posterior, except the runs.

    Write one as TOML in ``models/`` (see ``models/README.md``) or in Python, where priors may be
    computed.

    Raises
    ------
    pydantic.ValidationError
        In Python, listing every fault with its path; `read_model` turns it into a `SpecError`.

    Examples
    --------
    >>> spec = sb.read_model("chinchilla")
    >>> spec.law, spec.noise
    ('additive', 'student_t')
    """

    model_config = FROZEN
    name: str = Field(pattern=r"^\w[\w.-]*$")
    title: str
    law: str
    noise: str = "student_t"
    about: str = ""
    discrepancy: Discrepancy | None = None
    drift: Drift | None = None
    trainings: bool = False
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

    @field_validator("discrepancy")
    @classmethod
    def _can_be_off(cls, given: Discrepancy | None, info: ValidationInfo) -> Discrepancy | None:
        law = LAWS.get(info.data.get("law", ""))
        if given is not None and law is not None and law.hyperparameters:
            raise ValueError(
                f"'{law.name}' has errors of its sweeps in place of a discrepancy: leave it out"
            )
        return given

    @field_validator("drift")
    @classmethod
    def _can_drift(cls, drift: Drift | None, info: ValidationInfo) -> Drift | None:
        law = LAWS.get(info.data.get("law", ""))
        if drift is None or law is None:
            return drift
        if law.hyperparameters:
            raise ValueError(
                f"'{law.name}' has errors of its sweeps in place of drift: leave it out"
            )
        if info.data.get("discrepancy") is not None:
            raise ValueError("a spec has a discrepancy or a drift, not both: leave one out")
        if law.response != "loss":
            raise ValueError(f"'{law.name}' is a law of accuracy, and only losses drift")
        return drift

    @field_validator("priors", mode="wrap")
    @classmethod
    def _priors_fit(
        cls, given: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> dict[str, Prior]:
        """Add default priors of noise and discrepancy, and check names, `at` and `shift`."""
        if not {"law", "noise"} <= info.data.keys() or not isinstance(given, dict):
            return read(given)
        law = LAWS[info.data["law"]]
        noise = NOISES[info.data["noise"]]
        parts = info.data.get("discrepancy"), info.data.get("drift")
        defaults = _observation(law, noise, *parts, info.data.get("trainings", False)).priors
        given = {**defaults, **given}
        priors = read_all(read, given, prior_faults(law, tuple(defaults), given))
        return {name: priors[name] for name in (*law.parameter_names, *defaults)}

    @field_validator("pool")
    @classmethod
    def _can_be_pooled(cls, pool: str | None, info: ValidationInfo) -> str | None:
        if pool is None:
            return None
        if info.data.get("discrepancy") is not None or info.data.get("drift") is not None:
            raise ValueError(
                "a spec with a discrepancy cannot be pooled yet: leave out pool, or the discrepancy"
            )
        law = LAWS.get(info.data.get("law", ""))
        if law is not None and law.hyperparameters:
            raise ValueError(f"'{law.name}' has errors of its sweeps and cannot be pooled")
        if not NOISES[info.data.get("noise", "normal")].pymc:
            raise ValueError("only Normal and Student-t noise can be pooled")
        if info.data.get("trainings"):
            raise ValueError("a pooled spec has no offsets of trainings: leave out trainings")
        if law is not None and law.response != "loss":
            raise ValueError(
                f"'{law.name}' is a law of accuracy, and tables of scores have no groups: "
                "leave out pool"
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
        faults = value_faults(law, given) if law else ()
        return read_all(read, given, faults)

    @property
    def law_object(self) -> Law:
        """The law that this spec names."""
        return LAWS[self.law]

    @property
    def noise_object(self) -> Noise:
        """The error of a new run: the noise that this spec names, with an offset of its training.

        The offset is there where runs share trainings, or sweeps of a law with hyperparameters.
        """
        noise = NOISES[self.noise].for_law(self.law_object.inputs)
        has_offset = self.trainings or bool(self.law_object.hyperparameters)
        return NewTraining(noise) if has_offset else noise

    @property
    def observation(self) -> Observation:
        """Distribution of the log losses around the law: noise, and the discrepancy if any."""
        noise = NOISES[self.noise]
        return _observation(self.law_object, noise, self.discrepancy, self.drift, self.trainings)

    @property
    def has_discrepancy(self) -> bool:
        """Whether the spec says how far its law may be off: by a discrepancy, or by drift."""
        return self.discrepancy is not None or self.drift is not None

    @property
    def is_pooled(self) -> bool:
        """Whether each group of runs has parameters of its own."""
        return self.pool is not None

    @property
    def is_relative(self) -> bool:
        """Whether any prior is stated relative to the table (`Prior.at` is "centre")."""
        return any(prior.is_relative for prior in self.priors.values())

    @property
    def scatter_names(self) -> tuple[str, ...]:
        """Names of the parameters of the noise and of the discrepancy."""
        return tuple(self.observation.priors)

    @property
    def hash(self) -> str:
        """SHA-256 of what determines the posterior: law, noise, discrepancy, priors and spreads.

        Titles, reasons and published values play no part.
        """
        core: dict[str, Any] = {"law": self.law, "noise": self.noise}
        core["priors"] = {
            name: prior.model_dump(exclude={"reason"}, exclude_defaults=True)
            for name, prior in self.priors.items()
        }
        if self.discrepancy is not None:
            core["discrepancy"] = self.discrepancy.model_dump(exclude={"reason"})
        if self.trainings:
            core["trainings"] = True
        if self.drift is not None:
            core["drift"] = True
        if self.is_pooled:
            core["spread"] = {
                name: prior.model_dump(exclude={"reason", "over"})
                for name, prior in self.spread.items()
            }
        return hashlib.sha256(json.dumps(core, sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.name}: {self.title}"

    def __repr__(self) -> str:
        parts = [self.law, f"{self.noise} noise", f"{len(self.priors)} priors"]
        if self.has_discrepancy:
            parts.append("with a discrepancy")
        return f"<Spec {self.name}: {', '.join(parts)}>"

    def _repr_html_(self) -> str:
        formula = f"L = {self.law_object.formula}"
        noise = f"noise: {self.noise}"
        if self.has_discrepancy:
            noise += "; a discrepancy says how far the law may be off"
        priors = {name: f"{prior}: {prior.reason}" for name, prior in self.priors.items()}
        return html.panel(str(self), self.about, formula, noise, html.facts(priors))

    def describe(self) -> str:
        """Return the spec in words: law, noise, every prior with its reason, published values."""
        lines = [str(self), *textwrap.wrap(self.about, WIDTH), ""]
        lines += [f"L = {self.law_object.formula}", f"noise: {self.noise}"]
        if self.discrepancy is not None:
            lines += self.discrepancy.describe()
        if self.drift is not None:
            lines += self.drift.describe()
        if self.trainings:
            lines += ["trainings: each training has an offset from the curve, Normal(0, omega)"]
        lines += ["", "Priors", *_describe_priors(self.priors)]
        if self.is_pooled:
            heading = (
                f"Pooled by {self.pool}: priors above are of the population; "
                "spreads of logs around it"
            )
            lines += ["", heading, *_describe_priors(self.spread)]
        if self.published:
            lines += ["", "Published", *[f"  {entry}" for entry in self.published]]
        return "\n".join(lines)


def _describe_priors(priors: Mapping[str, Prior]) -> list[str]:
    lines = []
    for name, prior in priors.items():
        lines += [f"  {name:8} {prior}", f"           {prior.reason}"]
    return lines


def with_trainings(spec: Spec, runs: Runs) -> Spec:
    """Return the spec with an offset of each training where runs of a table share trainings.

    Pooled specs and laws of accuracy have none.
    """
    law = spec.law_object
    can_have = not spec.is_pooled and law.response == "loss" and not law.hyperparameters
    is_shared = can_have and has_shared_trainings(runs)
    if is_shared == spec.trainings:
        return spec
    stated = spec.model_dump() | {"trainings": is_shared}
    if not is_shared:
        del stated["priors"]["omega"]
    return Spec.model_validate(stated)


def _observation(
    law: Law, noise: Noise, discrepancy: Discrepancy | None, drift: Drift | None, trainings: bool
) -> Observation:
    """Return the distribution of the log losses: here alone its kind is chosen."""
    noise = noise.for_law(law.inputs)
    if law.hyperparameters:
        return Sweeps(noise, law.name)
    if trainings:
        given_offsets = _observation(law, noise, discrepancy, drift, trainings=False)
        return SharedTrainings(noise, given_offsets)
    if drift is not None:
        return DriftingLaw(noise, law.name)
    if discrepancy is None:
        return NoiseOnly(noise)
    kind = IntegratedDiscrepancy if noise.integrates_discrepancy else SampledDiscrepancy
    return kind(noise, discrepancy.kernel, discrepancy.length, law.inputs)


def prior_draws(spec: Spec, draws: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return draws of every parameter from the prior of a spec that is not relative to a table.

    `scalebayes.specs.table_units` has the draws of any spec in the units of a table.

    Returns
    -------
    dict
        Parameter name -> array of shape (draws,).

    Raises
    ------
    TypeError
        When a prior is relative to a table.
    """
    out = stated_draws(spec, np.random.default_rng(seed), draws)
    # A scale whose exponent is almost zero overflows, and infinite serves every purpose.
    with np.errstate(over="ignore"):
        for parameter in spec.law_object.parameters:
            log_at = spec.priors[parameter.name].log_at
            if log_at is not None and parameter.exponent:
                size, exponent = out[parameter.name], out[parameter.exponent]
                out[parameter.name] = np.exp(log_at + np.log(size) / exponent)
    return out


def stated_draws(spec: Spec, rng: np.random.Generator, draws: int) -> dict[str, np.ndarray]:
    """Return prior draws of the quantity that each prior is stated on, (draws,) by parameter.

    For a scale such as N_c that is the size of its term at the reference input.
    """
    drawn: dict[str, np.ndarray] = {}
    for name, prior in spec.priors.items():
        drawn[name] = prior.draw(rng, draws)
        if prior.over is not None:
            drawn[name] = drawn[name] * drawn[prior.over]
    return drawn


def read_model(model: str | Path | Spec) -> Spec:
    """Return a spec by its name in ``models/`` or a path to a TOML file; a `Spec` passes through.

    Raises
    ------
    SpecError
        Naming the file and every fault in it with its path, or the nearest known name.

    Examples
    --------
    >>> spec = sb.read_model("chinchilla")
    >>> spec.title
    'Additive law of Hoffmann et al. (2022)'
    >>> list(spec.priors)
    ['L_inf', 'N_c', 'alpha_N', 'D_c', 'alpha_D', 'sigma', 'nu']
    """
    if isinstance(model, Spec):
        return model
    if str(model).endswith(".toml"):
        return _read_file(Path(model))
    files = _model_files()
    if model not in files:
        raise SpecError(
            f"no model '{model}'{nearest(str(model), files)}; known models: {', '.join(files)}; "
            "or give a path ending in .toml"
        )
    return _parse(str(model), files[str(model)].read_text("utf-8"), f"models/{model}.toml")


def _read_file(path: Path) -> Spec:
    if not path.is_file():
        raise SpecError(f"no model file at {path}")
    if path.stat().st_size > MOST_BYTES:
        raise SpecError(f"{path} is no model file: it has more than {MOST_BYTES // 1024} KiB")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read {path}: {error}") from None
    return _parse(path.stem, text, str(path))


def list_models() -> pd.DataFrame:
    """Return a table of the specs in ``models/``: title, law, inputs and noise by name.

    Examples
    --------
    >>> sb.list_models().loc[["chinchilla", "kaplan"], ["law", "noise"]]
                     law      noise
    model
    chinchilla  additive  student_t
    kaplan        kaplan  student_t
    """
    import pandas as pd

    rows = {}
    for name in _model_files():
        spec = read_model(name)
        inputs = ", ".join(spec.law_object.inputs)
        rows[name] = (spec.title, spec.law, inputs, spec.noise)
    columns = ["title", "law", "inputs", "noise"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.rename_axis(index="model")


def models_folder() -> Path:
    """Return the folder of specs and their references: in the installed package, or beside it."""
    package = Path(__file__).parents[1]
    installed = package / "_models"
    if installed.is_dir():
        return installed
    return package.parent / "models"  # a checkout


def _model_files() -> dict[str, Path]:
    """Return spec files by name."""
    return {file.stem: file for file in sorted(models_folder().glob("*.toml"))}


def _parse(name: str, text: str, where: str) -> Spec:
    try:
        content = tomllib.loads(text)
    except ValueError as error:  # TOML errors are ValueErrors, as that of an integer too long
        raise SpecError(f"{where} is not valid TOML: {error}") from None
    except RecursionError:
        raise SpecError(f"{where} is not valid TOML: its values are nested too deeply") from None
    try:
        return Spec.model_validate({"name": name, **content})
    except RecursionError:
        raise SpecError(f"{where}: its values are nested too deeply") from None
    except ValidationError as error:
        raise SpecError(f"{where}: {describe(error)}") from None
