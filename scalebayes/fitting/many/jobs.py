"""Jobs of `fit_many`: a table, a model and settings under a name; and grids of jobs."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scalebayes.data.runs import Runs
from scalebayes.errors import FitError, RunsError
from scalebayes.fitting.fit import fit
from scalebayes.specs.defaults import DEFAULT, choose_model
from scalebayes.specs.spec import Spec, read_model, with_trainings

PUNCTUATION = ".,+=%@()"
"""What a job's name may hold besides letters, digits, spaces, underscores and dashes."""
NAME = re.compile(rf"\w[\w {PUNCTUATION}-]*")
FORBIDDEN = re.compile(rf"[^\w {PUNCTUATION}-]+")

FIELDS_OF_JOBS = ("seed", "progress", "runs", "model")
"""Arguments of `scalebayes.fit` that `Job` or `fit_many` sets, so ``settings`` must not."""
SPEED_SETTINGS = ("cores", "cache")
"""Settings that change how long a fit takes, and no draw."""


@dataclass(frozen=True, eq=False)
class Job:
    """One fit for `fit_many` to make.

    Attributes
    ----------
    name : str
        Name of the fit and of its file: letters, digits, spaces and ``_.,+-=%@()``.
    runs : Runs
        The table.
    model : str, Path or Spec
        As for `scalebayes.fit`.
    seed : int
        Seed of the sampler.
    settings : mapping
        Further arguments of `scalebayes.fit`, such as ``draws``, ``tune``, ``chains`` and
        ``target_accept``.

    Raises
    ------
    FitError
        When the name cannot be a file name, or a setting is an attribute of the job itself.
    RunsError
        When ``runs`` is not a `Runs`.
    SpecError
        When the model is unknown.
    """

    name: str
    runs: Runs
    model: str | Path | Spec = DEFAULT
    _: KW_ONLY
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the model, and reject what cannot be fitted or saved."""
        if not NAME.fullmatch(self.name):
            raise FitError(
                "a job's name is also a file name, made of letters, digits, spaces and "
                f"_.,+-=%@(), and begins with a letter, digit or _; got {self.name!r}"
            )
        if not isinstance(self.runs, Runs):
            raise RunsError(
                f"job {self.name!r} takes Runs, got {type(self.runs).__name__}: "
                "sb.read_runs(...) reads them"
            )
        misplaced = [name for name in FIELDS_OF_JOBS if name in self.settings]
        if misplaced:
            raise FitError(
                f"job {self.name!r}: {', '.join(misplaced)} cannot stand among the settings"
            )
        spec = with_trainings(choose_model(self.runs, self.model), self.runs)
        object.__setattr__(self, "model", spec)

    @property
    def spec(self) -> Spec:
        """The model as a `Spec`."""
        return read_model(self.model)

    @property
    def record(self) -> dict[str, Any]:
        """Everything that determines the draws, as JSON; equal records mean equal fits."""
        settings = _default_settings() | dict(self.settings)
        recorded = {}
        for name, value in settings.items():
            if name in FIELDS_OF_JOBS or name in SPEED_SETTINGS:
                continue
            is_json = isinstance(value, int | float | str | None)
            recorded[name] = value if is_json else str(value)
        return {
            "spec": self.spec.hash,
            "runs": self.runs.hash,
            "seed": int(self.seed),
            "settings": recorded,
            "scalebayes": _own_version(),
        }


@functools.cache
def _own_version() -> str:
    """Return the version of scalebayes, which takes most of a millisecond to look up."""
    return version("scalebayes")


def _default_settings() -> dict[str, Any]:
    """Return the keyword arguments of `scalebayes.fit` with their defaults."""
    defaults = {}
    for parameter in inspect.signature(fit).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            defaults[parameter.name] = parameter.default
    return defaults


def grid(
    tables: Runs | Iterable[Runs] | Mapping[str, Runs],
    models: str | Path | Spec | Sequence[str | Path | Spec] = DEFAULT,
    *,
    seed: int = 0,
    **settings: Any,
) -> list[Job]:
    """Return a job for every table with every model, named ``TABLE-MODEL``.

    Parameters
    ----------
    tables
        One table, several, or several by the names to use.
    models
        One model or several.
    seed, **settings
        As for `Job`.

    Examples
    --------
    >>> [job.name for job in sb.grid(sb.load_runs("pile2023"), ["kaplan", "chinchilla"])]
    ['pile2023-kaplan', 'pile2023-chinchilla']
    """
    if isinstance(models, str | Path | Spec):
        models = [models]
    jobs = []
    for table_name, runs in _named(tables):
        for model in models:
            spec = choose_model(runs, model)
            name = file_name(f"{table_name}-{spec.name}")
            jobs.append(Job(name, runs, spec, seed=seed, settings=settings))
    return jobs


def _named(tables: Runs | Iterable[Runs] | Mapping[str, Runs]) -> list[tuple[str, Runs]]:
    if isinstance(tables, Mapping):
        return list(tables.items())
    if isinstance(tables, Runs):
        tables = [tables]
    return [(runs.name, runs) for runs in tables]


def file_name(text: str) -> str:
    """Return a valid job name for any text, with a dash in place of forbidden characters."""
    name = FORBIDDEN.sub("-", text)
    # A name begins with a letter, a digit or an underscore.
    name = name.lstrip(f" {PUNCTUATION}-")
    return name or "fit"
