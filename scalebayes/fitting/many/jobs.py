"""A fit to be made: the runs, the model and how to sample, under a name; and grids of them."""

from __future__ import annotations

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
from scalebayes.specs.spec import Spec, read_model

NAME = re.compile(r"\w[\w .,+=%@()-]*")
OURS = ("seed", "progress", "runs", "model")
"""What `scalebayes.fit` takes and a job says elsewhere."""
SAME_DRAWS = ("cores", "cache")
"""Settings that change how fast a fit is made and not what comes out."""


@dataclass(frozen=True, eq=False)
class Job:
    """A fit to be made.

    Attributes
    ----------
    name : str
        What the fit is called, and its file: letters, digits, spaces and ``_.,+-=%@()``.
    runs : Runs
        The table.
    model : str, Path or Spec
        As for `scalebayes.fit`.
    seed : int
        Of the sampler.
    settings : mapping
        Further arguments of `scalebayes.fit`: ``draws``, ``tune``, ``chains``, ``target_accept`` ...

    Raises
    ------
    FitError, RunsError, SpecError
        When the name is no file name, a setting belongs elsewhere, the runs are no `Runs`, or the model is unknown.
    """

    name: str
    runs: Runs
    model: str | Path | Spec = "coupled-discrepancy"
    _: KW_ONLY
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the model, and refuse what could not be fitted or saved."""
        if not NAME.fullmatch(self.name):
            raise FitError(
                f"a job's name is its file's: letters, digits, spaces and _.,+-=%@(); got {self.name!r}"
            )
        if not isinstance(self.runs, Runs):
            raise RunsError(
                f"job {self.name!r} takes Runs, got {type(self.runs).__name__}: sb.read_runs(...) makes them"
            )
        if misplaced := [name for name in OURS if name in self.settings]:
            raise FitError(
                f"job {self.name!r}: {', '.join(misplaced)} cannot stand among the settings"
            )
        object.__setattr__(self, "model", read_model(self.model))

    @property
    def spec(self) -> Spec:
        """The model, read."""
        return read_model(self.model)

    @property
    def record(self) -> dict[str, Any]:
        """Everything that determines the draws, defaults filled in, as JSON takes it; equal records, equal fits."""
        own = {
            p.name: p.default
            for p in inspect.signature(fit).parameters.values()
            if p.kind is p.KEYWORD_ONLY
        }
        settings = {
            name: v
            for name, v in (own | dict(self.settings)).items()
            if name not in (*OURS, *SAME_DRAWS)
        }
        return {
            "spec": self.spec.hash,
            "runs": self.runs.hash,
            "seed": int(self.seed),
            "settings": {
                name: v if isinstance(v, int | float | str | None) else str(v)
                for name, v in settings.items()
            },
            "scalebayes": version("scalebayes"),
        }


def grid(
    tables: Runs | Iterable[Runs] | Mapping[str, Runs],
    models: str | Path | Spec | Sequence[str | Path | Spec] = "coupled-discrepancy",
    *,
    seed: int = 0,
    **settings: Any,
) -> list[Job]:
    """Make a job of every table with every model, called ``TABLE-MODEL``.

    Parameters
    ----------
    tables
        Tables, under names of their own or under yours.
    models
        One model or several.
    seed, **settings
        As for `Job`.

    Examples
    --------
    >>> import scalebayes as sb
    >>> [job.name for job in sb.grid(sb.load_runs("pile2023"), ["kaplan", "chinchilla"])]
    ['pile2023-kaplan', 'pile2023-chinchilla']
    """
    if isinstance(tables, Runs):
        tables = [tables]
    named = (
        [*tables.items()] if isinstance(tables, Mapping) else [(runs.name, runs) for runs in tables]
    )
    specs = [read_model(m) for m in ([models] if isinstance(models, str | Path | Spec) else models)]
    return [
        Job(file_name(f"{name}-{spec.name}"), runs, spec, seed=seed, settings=settings)
        for name, runs in named
        for spec in specs
    ]


def file_name(text: str) -> str:
    """Make a job's name of any text: what a name may not hold becomes a dash."""
    return re.sub(r"[^\w .,+=%@()-]+", "-", text).lstrip(" .,+=%@()-") or "fit"
