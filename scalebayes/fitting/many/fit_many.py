"""Many fits, in this process or on workers of `dask.distributed`; each is saved at once."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scalebayes.errors import FitError, GateWarning
from scalebayes.fitting.many.dispatch import Result, file_of, fit_here, fit_on_workers
from scalebayes.fitting.many.jobs import Job, file_name
from scalebayes.posterior.fit import METADATA, Fit
from scalebayes.posterior.fit_files import check_netcdf_path
from scalebayes.posterior.seal import is_broken
from scalebayes.posterior.store import read_fit
from scalebayes.utils.files import check_folder, check_target
from scalebayes.utils.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

    from scalebayes.data.runs import Runs
    from scalebayes.fitting.many.workers import Workers
    from scalebayes.specs.spec import Spec

type State = Literal["fitted", "found", "failed"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one job: fitted now, found in the folder, or failed with an error.

    Attributes
    ----------
    metadata : dict
        The fit's metadata (`Fit.metadata`); empty after a failure.
    """

    job: Job
    state: State
    metadata: Mapping[str, Any]
    error: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Batch(Mapping[str, Fit]):
    """The fits of a batch by name, as a mapping that reads a fit's file when asked for it.

    `compare`, `average` and other functions that take fits by name take a batch.

    Attributes
    ----------
    folder : Path
        Folder with one file ``NAME.nc`` for each fit.
    outcomes : tuple of Outcome
        The outcome of every job, in the order given.
    """

    folder: Path
    outcomes: tuple[Outcome, ...]

    def __getitem__(self, name: str) -> Fit:
        """Read a fit."""
        outcome = self._by_name[name]
        if outcome.state == "failed":
            raise FitError(f"{name} failed: {outcome.error}")
        return read_fit(file_of(self.folder, name))  # `fit_many` has warned of failed checks

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the fits."""
        return (outcome.job.name for outcome in self.outcomes if outcome.state != "failed")

    def __len__(self) -> int:
        """Return the number of fits."""
        return sum(outcome.state != "failed" for outcome in self.outcomes)

    def __contains__(self, name: object) -> bool:
        """Return whether there is a fit of this name, without reading it."""
        outcome = self._by_name.get(name)
        return outcome is not None and outcome.state != "failed"

    @cached_property
    def _by_name(self) -> dict[object, Outcome]:
        """The outcomes by name of their jobs."""
        return {outcome.job.name: outcome for outcome in self.outcomes}

    @property
    def failures(self) -> dict[str, str]:
        """Error of each failed job, by name."""
        failed = [outcome for outcome in self.outcomes if outcome.state == "failed"]
        return {outcome.job.name: outcome.error for outcome in failed}

    @property
    def gate_failures(self) -> dict[str, tuple[str, ...]]:
        """Codes of the convergence checks that a fit failed, for the fits that failed any."""
        failed = {}
        for outcome in self.outcomes:
            codes = tuple(outcome.metadata.get("gate_failures", ()))
            if codes:
                failed[outcome.job.name] = codes
        return failed

    @property
    def table(self) -> pd.DataFrame:
        """One row for each job.

        The columns are ``runs``, ``model``, ``state``, ``gate`` (failed convergence checks),
        ``attempts``, ``seconds`` and ``error``.
        """
        import pandas as pd

        columns = ["job", "runs", "model", "state", "gate", "attempts", "seconds", "error"]
        rows = [_row(outcome) for outcome in self.outcomes]
        return pd.DataFrame(rows, columns=columns).set_index("job")

    def sentence(self) -> str:
        """Return a sentence with the number of fits, failed jobs and failed convergence checks."""
        text = f"{len(self)} of {len(self.outcomes)} fits in {self.folder}"
        found = sum(outcome.state == "found" for outcome in self.outcomes)
        if found:
            text += f", {found} of them made earlier"
        if self.failures:
            text += f"; failed: {', '.join(self.failures)}"
        if self.gate_failures:
            fits = [f"{name} ({', '.join(codes)})" for name, codes in self.gate_failures.items()]
            text += f"; failed convergence checks: {', '.join(fits)}"
        return text

    def __repr__(self) -> str:
        return f"<Batch: {self.sentence()}>"


def _row(outcome: Outcome) -> dict[str, Any]:
    """Return the row of `Batch.table` for one job."""
    metadata = outcome.metadata
    gate = ""
    if outcome.state != "failed":
        gate = " ".join(metadata["gate_failures"]) or "passed"
    return {
        "job": outcome.job.name,
        "runs": outcome.job.runs.name,
        "model": outcome.job.spec.name,
        "state": outcome.state,
        "gate": gate,
        "attempts": metadata.get("attempts", 0),
        "seconds": metadata.get("seconds", float("nan")),
        "error": outcome.error,
    }


def fit_many(
    jobs: Iterable[Job],
    folder: str | Path,
    *,
    workers: Workers = 1,
    replace: bool = False,
    progress: bool | None = None,
) -> Batch:
    """Return many fits, each saved as soon as it is made; fits already in the folder are kept.

    With one worker, this process makes the fits one after another. With more, workers of
    `dask.distributed` (extra ``distributed``) make them. Each worker makes one fit at a time,
    preferably of a model that it has compiled already. A fit that fails, or whose worker dies,
    is recorded with its error, affects no other fit, and is not repeated in this batch. A second
    call with the same jobs and folder continues from the fits there, and repeats failed ones.

    Parameters
    ----------
    jobs
        The fits to make (`Job`, `grid`), each under a different name.
    folder
        Folder for the files ``NAME.nc``; created if missing.
    workers
        How many processes to start on this machine, each with one core. Or the address of a
        scheduler (``"tcp://host:8786"``) or a `distributed.Client`. Its workers need the same
        version of scalebayes. Workers that see the folder under the same path write their fits
        there; others send them back through the scheduler, and they are written here. Each worker
        samples on as many cores as it has threads.
    replace
        Whether to fit again where the folder holds a different fit under a job's name.
    progress
        As in `scalebayes.fit`.

    Returns
    -------
    Batch
        The fits by name. Failures do not raise: see ``failures`` and ``table``, or ``print`` it.

    Raises
    ------
    FitError
        Before any fit: jobs of equal names, a folder that cannot be created or written, a
        different fit or an unreadable file under a job's name, a missing extra ``distributed``,
        or no scheduler at the address.
        Later: a full disk, no worker left, or a scheduler that is gone. The message says how many
        fits the folder holds.
    KeyboardInterrupt
        On Ctrl-C; the fits made so far are in the folder.

    Warns
    -----
    GateWarning
        Once, naming the fits that failed convergence checks.

    Examples
    --------
    >>> jobs = sb.grid(sb.load_runs("pile2023"), ["chinchilla"])
    >>> batch = sb.fit_many(jobs, "fits")
    >>> list(batch)
    ['pile2023-chinchilla']
    """
    jobs = list(jobs)
    folder = Path(folder)
    found = _prepare(jobs, folder, replace)
    try:
        batch = _fit_missing(jobs, found, folder, workers, progress)
    except FitError as error:
        kept = [job for job in jobs if file_of(folder, job.name).exists()]
        if not kept:
            raise
        raise FitError(
            f"{error}. {len(kept)} of {len(jobs)} fits are finished and kept in {folder}: the same "
            "command or call makes the others"
        ) from error
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
    """Return the fits of pairs of runs and spec, by the labels of the caller.

    Parameters
    ----------
    pairs
        What to fit; files are named after the labels.
    workers, folder, progress
        As for `fit_many`; without a folder the files are temporary.
    seed, **settings
        As for `scalebayes.fit`.

    Raises
    ------
    FitError
        As `fit_many`, and when any fit failed, naming each. Failed convergence checks do not
        raise; they are in the fits.
    """
    names = {}
    jobs = []
    for label, (runs, spec) in pairs.items():
        text = label if isinstance(label, str) else " ".join(label)
        name = file_name(text)
        names[label] = name
        jobs.append(Job(name, runs, spec, seed=seed, settings=settings))
    with tempfile.TemporaryDirectory(prefix="scalebayes-") as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", GateWarning)
        if folder is None:
            found = _prepare(jobs, Path(temporary))
            batch = _fit_missing(jobs, found, Path(temporary), workers, progress)
        else:
            batch = fit_many(jobs, folder, workers=workers, progress=progress)
        if batch.failures:
            failed = [f"{name} failed: {error}" for name, error in batch.failures.items()]
            raise FitError("; ".join(failed))
        return {label: batch[name] for label, name in names.items()}


def _prepare(jobs: Sequence[Job], folder: Path, replace: bool = False) -> set[str]:
    """Create and check the folder, and return the names of the jobs whose fit is in it."""
    _check_names(jobs)
    found = _found(jobs, folder, replace)
    missing = [job for job in jobs if job.name not in found]
    if missing:
        _make_folder(folder)
        _check_targets(missing, folder)
    return found


def _fit_missing(
    jobs: Sequence[Job],
    found: set[str],
    folder: Path,
    workers: Workers,
    progress: bool | None,
) -> Batch:
    """Make and save the fits that are not found, and return all of them."""
    missing = [job for job in jobs if job.name not in found]
    results: dict[str, Result] = {}
    failures = 0
    with Progress(progress) as bar, closing(_fit(missing, folder, workers)) as ended:
        count = bar.count(f"fits in {folder}", len(jobs), len(found))
        for result in ended:
            results[result.name] = result
            if result.error:
                failures += 1
            count(f"{failures} failed" if failures else "")
    outcomes = [_outcome(job, folder, results.get(job.name)) for job in jobs]
    return Batch(folder, tuple(outcomes))


def _fit(jobs: Iterable[Job], folder: Path, workers: Workers) -> Generator[Result]:
    """Fit and save jobs, and yield the result of each as soon as its fit is saved."""
    if workers == 1:
        return fit_here(jobs, folder)
    return fit_on_workers(jobs, folder, workers)


def _check_names(jobs: Iterable[Job]) -> None:
    """Raise when two jobs would write one file."""
    # Some file systems do not distinguish upper and lower case.
    counts = Counter(job.name.casefold() for job in jobs)
    repeated = [job.name for job in jobs if counts[job.name.casefold()] > 1]
    if repeated:
        names = ", ".join(dict.fromkeys(repeated))
        raise FitError(f"job names must differ in more than upper and lower case; got {names}")


def _make_folder(folder: Path) -> None:
    """Make the folder, or raise where no fit can be saved in it."""
    check_netcdf_path(folder)
    try:
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FitError(f"cannot write to the folder {folder}: {error.strerror}") from None


def _check_targets(jobs: Iterable[Job], folder: Path) -> None:
    """Raise where the file of a job cannot be written, before anything is fitted."""
    for job in jobs:
        path = file_of(folder, job.name)
        try:
            check_target(path)
        except OSError as error:
            raise FitError(f"cannot write {path}: {error.strerror}") from None


def _found(jobs: Iterable[Job], folder: Path, replace: bool) -> set[str]:
    """Return the names of the jobs whose fit is in the folder.

    Raises
    ------
    FitError
        When ``replace`` is false and the folder holds other or damaged files under the names of
        jobs.
    """
    found = set()
    unreadable = []
    different = []
    for job in jobs:
        path = file_of(folder, job.name)
        if not path.exists():
            continue
        metadata = read_metadata(path)
        if metadata is None:
            unreadable.append(job.name)
            continue
        saved = metadata.get("job", {})
        if saved == job.record and _is_whole(path):
            found.add(job.name)
        elif saved == job.record:
            unreadable.append(job.name)
        elif not saved:
            different.append(f"{job.name} (not of a batch)")
        else:
            changed = [part for part, value in job.record.items() if saved.get(part) != value]
            different.append(f"{job.name} ({', '.join(changed)})")
    if replace or not (unreadable or different):
        return found
    faults = []
    if unreadable:
        faults.append(
            "files under the names of jobs that cannot be read, because they are damaged or no "
            f"netCDF files: {', '.join(unreadable)}"
        )
    if different:
        faults.append(f"fits that differ from the jobs of their names: {', '.join(different)}")
    raise FitError(
        f"{folder} holds {'; and '.join(faults)}; replace=True (--force) fits them again"
    )


def _is_whole(path: Path) -> bool:
    """Return whether a saved fit can be read and has the content that was saved."""
    try:
        read_fit(path)
    except FitError:
        return False
    return True


def read_metadata(path: Path) -> dict[str, Any] | None:
    """Return the metadata of a saved fit without reading its draws.

    None where the file cannot be read; empty for a netCDF file that is not a saved fit.
    """
    import netCDF4

    if not path.is_file() or is_broken(path):
        return None
    try:
        with netCDF4.Dataset(path) as file:
            if METADATA not in file.ncattrs():
                return {}
            metadata = json.loads(file.getncattr(METADATA))
    except (OSError, RuntimeError, TypeError, ValueError):  # netCDF's own errors are RuntimeErrors
        return None
    return metadata if isinstance(metadata, dict) else None


def _outcome(job: Job, folder: Path, result: Result | None) -> Outcome:
    """Return the outcome of a job. result: that of a fit made now; None where it was found."""
    if result is None:
        metadata = read_metadata(file_of(folder, job.name)) or {}
        return Outcome(job, "found", metadata)
    if result.error:
        return Outcome(job, "failed", {}, result.error)
    return Outcome(job, "fitted", result.metadata)
