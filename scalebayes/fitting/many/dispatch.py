"""Fit jobs in this process or on workers; save each fit at once, and report each error by job."""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
import uuid
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalebayes.data.runs import Runs
from scalebayes.errors import FitError, GateWarning, ScaleBayesError
from scalebayes.fitting.fit import fit
from scalebayes.fitting.graph import structure
from scalebayes.fitting.many.jobs import Job
from scalebayes.fitting.many.workers import Task, Workers, connected, each, threads
from scalebayes.posterior.fit import METADATA, Fit
from scalebayes.posterior.store import save
from scalebayes.specs.spec import Spec
from scalebayes.utils.files import write_whole


def file_of(folder: Path, name: str) -> Path:
    """Return the path of the fit with this name, whether it exists or not."""
    return folder / f"{name}.nc"


@dataclass(frozen=True)
class Result:
    """The result of a job: the metadata of its saved fit, or an error and no metadata."""

    name: str
    metadata: Mapping[str, Any]
    error: str = ""


@dataclass(frozen=True)
class Report:
    """What a worker returns for a job: no draws when it has saved the fit itself.

    Attributes
    ----------
    metadata : dict
        The fit's metadata; empty after a failure.
    content : bytes
        The fit's file, when the worker could not write it into the folder of the batch.
    error : str
        Why there is no fit; empty after a success.
    """

    metadata: Mapping[str, Any]
    content: bytes = b""
    error: str = ""


def fit_here(jobs: Iterable[Job], folder: Path) -> Generator[Result]:
    """Fit in this process, and yield the result of each job as soon as its fit is saved.

    Jobs that share a compiled sampler are fitted one after another.
    """
    by_structure: dict[Any, list[Job]] = {}
    for job in jobs:
        by_structure.setdefault(structure(job.spec, job.runs), []).append(job)
    for job in itertools.chain.from_iterable(by_structure.values()):
        try:
            made = make_fit(job, job.record)
        except Exception as error:  # a failed fit must not stop the others
            yield Result(job.name, {}, error_message(error))
            continue
        if made.partial:
            raise KeyboardInterrupt  # an interrupted fit is not saved
        save(made, file_of(folder, job.name))
        yield Result(job.name, made.metadata)


def fit_on_workers(jobs: Iterable[Job], folder: Path, workers: Workers) -> Generator[Result]:
    """Fit on workers, and yield as `fit_here` does.

    A worker that sees the folder writes the file there. Another sends it back, and it is written
    here.
    """
    jobs = list(jobs)
    if not jobs:
        return
    if isinstance(workers, int):
        workers = min(workers, len(jobs))  # further workers would have no task
    with connected(workers) as client, _marked(folder) as marker:
        tasks = [_task(job, marker) for job in jobs]
        with closing(each(tasks, client)) as ended:
            for task in ended:
                if task.error is not None:
                    yield Result(task.name, {}, task.error)
                    continue
                report: Report = task.value
                if report.content:
                    _write(file_of(folder, task.name), report.content)
                yield Result(task.name, report.metadata, report.error)


@contextmanager
def _marked(folder: Path) -> Iterator[Path]:
    """Make an empty file with a unique name in a folder, for the time of a batch, and return it.

    A process that sees this file sees the same folder, and the batch goes on.
    """
    marker = folder.absolute() / f".scalebayes-{uuid.uuid4().hex}"
    _write(marker, b"")
    try:
        yield marker
    finally:
        marker.unlink(missing_ok=True)


def _task(job: Job, marker: Path) -> Task:
    """Return the task of a job. Jobs share tables and specs, so they are sent to a worker once."""
    batch = marker.name
    spec = job.spec  # read anew for each job, so equal ones are known by their contents
    digest = hashlib.sha256(spec.model_dump_json().encode()).hexdigest()
    shared = (
        (f"{batch} runs {id(job.runs)}", job.runs),
        (f"{batch} spec {digest}", spec),
    )
    return Task(
        job.name,
        _fit_on_worker,
        (job.name, job.seed, job.settings, str(marker)),
        kind=structure(spec, job.runs),
        late=lambda: (job.record,),
        shared=shared,
    )


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, lambda temporary: temporary.write_bytes(content))
    except OSError as error:
        raise FitError(f"cannot write {path}: {error.strerror or error}") from error


def _fit_on_worker(
    name: str,
    seed: int,
    settings: Mapping[str, Any],
    marker: str,
    record: dict[str, Any],
    runs: Runs,
    spec: Spec,
) -> Report:
    """Fit a job on a worker, and save the fit in the folder of the batch or return its file.

    Parameters
    ----------
    name, seed, settings, runs, spec
        The attributes of the job.
    marker
        Path of a file in the folder of the batch, as the process that sent the job sees it.
    record
        The job's record in that process, which differs from the record here when the worker has
        another version of scalebayes.
    """
    try:
        job = Job(name, runs, spec, seed=seed, settings=settings)
        own_record = job.record
        changed = [part for part, value in own_record.items() if record[part] != value]
        if changed:
            parts = ", ".join(changed)
            return Report({}, error=f"the worker has another scalebayes ({parts} differ)")
        made = make_fit(_with_threads_of_worker(job), own_record)
        # HDF5 writes in many small steps. A folder that machines share gets the file in one.
        with tempfile.TemporaryDirectory(prefix="scalebayes-") as folder:
            content = save(made, Path(folder) / "fit.nc").read_bytes()
        mark = Path(marker)
        if _is_written(content, file_of(mark.parent, name), mark):
            content = b""
        return Report(made.metadata, content)
    except Exception as error:  # some exceptions cannot be pickled
        return Report({}, error=error_message(error))


def _is_written(content: bytes, path: Path, marker: Path) -> bool:
    """Write a file if this process sees the folder of a batch that goes on; return whether it did.

    The marker is looked for last of all: a batch that was interrupted may have been followed by
    another one, whose files must not be replaced.
    """
    if not marker.exists():
        return False
    try:
        _write(path, content)
    except FitError:  # for example, the worker runs as another user
        return False
    return True


def _with_threads_of_worker(job: Job) -> Job:
    """Return the job with as many cores as the worker has threads, unless it sets cores itself."""
    if job.settings.get("backend", "nutpie") != "nutpie" or "cores" in job.settings:
        return job
    return replace(job, settings={"cores": threads(), **job.settings})


def error_message(error: Exception) -> str:
    """Return the message of an exception, with its type unless it is one of scalebayes."""
    if isinstance(error, ScaleBayesError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def make_fit(job: Job, record: Mapping[str, Any]) -> Fit:
    """Return the fit of one job, with the job's record (`Job.record`) in its metadata."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GateWarning)  # kept in the metadata; `fit_many` warns once
        made = fit(job.runs, job.spec, seed=job.seed, progress=False, **job.settings)
    metadata = made.metadata | {"job": record}
    made.stored.attrs[METADATA] = json.dumps(metadata, sort_keys=True, default=str)
    return made
