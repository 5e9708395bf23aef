"""Many fits: one after another here, or on the workers of `dask.distributed`; each is on disk as soon as it is made."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scalebayes.errors import FitError, GateWarning
from scalebayes.fitting.many.dispatch import file_of, here, there
from scalebayes.fitting.many.jobs import Job, file_name
from scalebayes.posterior.fit import METADATA, Fit
from scalebayes.posterior.store import load
from scalebayes.utils.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

    from scalebayes.data.runs import Runs
    from scalebayes.fitting.many.workers import Workers
    from scalebayes.specs.spec import Spec

type State = Literal["fitted", "found", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of a job: fitted now, found in the folder, or failed, and why.

    Attributes
    ----------
    metadata : dict
        Of the fit (`Fit.metadata`); empty where there is none.
    """

    job: Job
    state: State
    metadata: Mapping[str, Any]
    error: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Batch(Mapping[str, Fit]):
    """The fits of a batch by name, read from their files when asked for; `compare`, `average` and others take it.

    Attributes
    ----------
    folder : Path
        Where they are, one ``NAME.nc`` each.
    outcomes : tuple of Outcome
        Of every job, in the order given.
    """

    folder: Path
    outcomes: tuple[Outcome, ...]

    def __getitem__(self, name: str) -> Fit:
        """Read a fit."""
        if name in self.failures:
            raise FitError(f"{name} failed: {self.failures[name]}")
        if name not in self:
            raise KeyError(name)
        return load(file_of(self.folder, name))

    def __iter__(self) -> Iterator[str]:
        """Names of the fits there are."""
        return (one.job.name for one in self.outcomes if one.state != "failed")

    def __len__(self) -> int:
        """How many fits there are."""
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a fit."""
        return any(name == one for one in self)

    @property
    def failures(self) -> dict[str, str]:
        """Why there is no fit, by the names of the jobs that failed."""
        return {one.job.name: one.error for one in self.outcomes if one.state == "failed"}

    @property
    def gate_failures(self) -> dict[str, tuple[str, ...]]:
        """Codes of the checks that fits failed, by the names of the fits that did not pass their gate."""
        failed = {
            one.job.name: tuple(one.metadata.get("gate_failures", ())) for one in self.outcomes
        }
        return {name: codes for name, codes in failed.items() if codes}

    @property
    def table(self) -> pd.DataFrame:
        """One row a job: ``runs``, ``model``, ``state``, ``gate``, ``attempts``, ``seconds`` and ``error``."""
        import pandas as pd

        rows = [
            {
                "job": one.job.name,
                "runs": one.job.runs.name,
                "model": one.job.spec.name,
                "state": one.state,
                "gate": ""
                if one.state == "failed"
                else " ".join(one.metadata["gate_failures"]) or "passed",
                "attempts": one.metadata.get("attempts", 0),
                "seconds": one.metadata.get("seconds", float("nan")),
                "error": one.error,
            }
            for one in self.outcomes
        ]
        columns = ["job", "runs", "model", "state", "gate", "attempts", "seconds", "error"]
        return pd.DataFrame(rows, columns=columns).set_index("job")

    def sentence(self) -> str:
        """Say how many there are, how many were made now, and which failed."""
        states = Counter(one.state for one in self.outcomes)
        text = f"{len(self)} of {len(self.outcomes)} fits in {self.folder}"
        text += f", {states['found']} of them from before" if states["found"] else ""
        text += f"; failed: {', '.join(self.failures)}" if self.failures else ""
        gate = [f"{name} ({', '.join(codes)})" for name, codes in self.gate_failures.items()]
        return text + (f"; did not pass the gate: {', '.join(gate)}" if gate else "")

    def __repr__(self) -> str:
        return f"<Batch: {self.sentence()}>"


def fit_many(
    jobs: Iterable[Job],
    folder: str | Path,
    *,
    workers: Workers = 1,
    replace: bool = False,
    progress: bool | None = None,
) -> Batch:
    """Make many fits, each of them saved as soon as it is there; what a folder holds already is not made again.

    With one worker the fits are made in this process, one after another. With more they are made by `dask.distributed`
    (extra ``distributed``), one at a time a worker, jobs whose models compile alike on the same worker. A fit that
    fails, or whose worker dies, is told by name; it takes no other with it and is not tried again in this batch.
    Calling again with the same jobs and folder goes on from what is there, and tries what failed.

    Parameters
    ----------
    jobs
        What to fit (`Job`, `grid`); no two of one name.
    folder
        Where fits go, ``NAME.nc`` each; made when it is not there.
    workers
        How many processes to start on this machine, each sampling on one core. Or the address of a scheduler
        (``"tcp://host:8786"``) or a `distributed.Client`, whose workers have this version of scalebayes too. They need
        not see the folder, since fits are sent back and written here; each samples on as many cores as it has threads.
    replace
        Whether to fit again, and replace, what is in the folder under a job's name and was fitted otherwise.
    progress
        Whether to show progress on stderr; by default when it is a terminal or a notebook.

    Returns
    -------
    Batch
        Failures are in it, not raised: look at ``failures``, ``table`` or ``print`` it.

    Raises
    ------
    FitError
        Before anything is fitted: two jobs of one name, a folder that cannot be, another fit under a job's name, the
        extra ``distributed`` missing, or no scheduler at the address. Later: a full disk, or no worker left.
    KeyboardInterrupt
        On Ctrl-C; fits that were made by then are in the folder.

    Warns
    -----
    GateWarning
        Once, naming the fits that did not pass their gate.
    """
    jobs, folder = [*jobs], Path(folder)
    found = _found(jobs, _make(folder), replace)
    missing = [job for job in jobs if job.name not in found]
    errors: dict[str, str] = {}
    with Progress(progress) as bar:
        tell = bar.count(f"fits in {folder}", len(jobs), len(found))
        ended = here(missing, folder) if workers == 1 else there(missing, folder, workers)
        with closing(ended):
            for name, error in ended:
                errors |= {name: error} if error else {}
                tell(f"{len(errors)} failed" if errors else "")
    batch = Batch(folder, tuple(_outcome(job, folder, job.name in found, errors) for job in jobs))
    if batch.gate_failures:
        warnings.warn(batch.sentence(), GateWarning, stacklevel=2)
    return batch


def fit_all[Label: (str, tuple[str, str])](
    pairs: Mapping[Label, tuple[Runs, Spec]],
    *,
    workers: Workers = 1,
    folder: str | Path | None = None,
    seed: int = 0,
    progress: bool | None = None,
    **settings: Any,
) -> dict[Label, Fit]:
    """Make the fits that one answer needs, of pairs of runs and spec by labels of the caller's own, and give them all.

    Parameters
    ----------
    pairs
        What to fit; the labels name the files.
    workers, folder, progress
        As for `fit_many`; by default the folder is gone afterwards.
    seed, **settings
        As for `scalebayes.fit`.

    Raises
    ------
    FitError
        As `fit_many`, and when any fit failed, naming each. Failures of the gate are in the fits.
    """
    names = {
        label: file_name(label if isinstance(label, str) else " ".join(label)) for label in pairs
    }
    jobs = {
        key: Job(names[key], *pair, seed=seed, settings=settings) for key, pair in pairs.items()
    }
    with tempfile.TemporaryDirectory(prefix="scalebayes-") as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", GateWarning)
        batch = fit_many(jobs.values(), folder or temporary, workers=workers, progress=progress)
        if batch.failures:
            raise FitError(
                "; ".join(f"{name} failed: {error}" for name, error in batch.failures.items())
            )
        return {label: batch[name] for label, name in names.items()}


def _make(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FitError(f"cannot make the folder {folder}: {error.strerror}") from None
    return folder


def _found(jobs: Iterable[Job], folder: Path, replace: bool) -> set[str]:
    """Names of the jobs whose very fit is in the folder; refuse twins, and other fits under their names."""
    names = Counter(job.name.casefold() for job in jobs)  # some file systems do not tell a from A
    if twice := [job.name for job in jobs if names[job.name.casefold()] > 1]:
        raise FitError(
            f"jobs need names of their own; several are called {', '.join(dict.fromkeys(twice))}"
        )
    found, others = set(), []
    for job in jobs:
        if not file_of(folder, job.name).exists():
            continue
        before = read_metadata(file_of(folder, job.name)).get("job", {})
        if before == job.record:
            found.add(job.name)
        else:
            changed = [part for part, value in job.record.items() if before.get(part) != value]
            others.append(f"{job.name} ({', '.join(changed) if before else 'not of a batch'})")
    if others and not replace:
        text = f"{folder} holds fits that differ from the jobs of their names: {', '.join(others)}"
        raise FitError(f"{text}; replace=True (--force) fits them again")
    return found


def read_metadata(path: Path) -> dict[str, Any]:
    """How a saved fit was made, without reading its draws; empty where the file is not one of ours."""
    import netCDF4

    try:
        with netCDF4.Dataset(path) as file:
            return json.loads(file.getncattr(METADATA))
    except (OSError, AttributeError, ValueError):
        return {}


def _outcome(job: Job, folder: Path, before: bool, errors: Mapping[str, str]) -> Outcome:
    if job.name in errors:
        return Outcome(job, "failed", {}, errors[job.name])
    return Outcome(job, "found" if before else "fitted", read_metadata(file_of(folder, job.name)))
