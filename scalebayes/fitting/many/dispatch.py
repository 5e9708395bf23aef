"""Fit jobs in this process or on workers; save each fit at once, and report each error by job."""

from __future__ import annotations

import itertools
import json
import tempfile
import warnings
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from scalebayes.errors import FitError, GateWarning, ScaleBayesError
from scalebayes.fitting.fit import fit
from scalebayes.fitting.graph import structure
from scalebayes.fitting.many.jobs import Job
from scalebayes.fitting.many.workers import Task, Workers, connected, each, threads
from scalebayes.posterior.fit import METADATA, Fit
from scalebayes.posterior.store import save
from scalebayes.utils.files import write_whole


def file_of(folder: Path, name: str) -> Path:
    """Return the path of the fit with this name, whether it exists or not."""
    return folder / f"{name}.nc"


def fit_here(jobs: Iterable[Job], folder: Path) -> Generator[tuple[str, str]]:
    """Fit in this process, and yield each job's name with its error, empty after a success.

    Jobs that share a compiled sampler are fitted one after another.
    """
    by_structure: dict[Any, list[Job]] = {}
    for job in jobs:
        by_structure.setdefault(structure(job.spec, job.runs), []).append(job)
    for job in itertools.chain.from_iterable(by_structure.values()):
        try:
            made = make_fit(job)
        except Exception as error:  # a failed fit must not stop the others
            yield job.name, error_message(error)
            continue
        if made.partial:
            raise KeyboardInterrupt  # an interrupted fit is not saved
        save(made, file_of(folder, job.name))
        yield job.name, ""


def fit_on_workers(
    jobs: Iterable[Job], folder: Path, workers: Workers
) -> Generator[tuple[str, str]]:
    """Fit on workers, save the files that they send back, and yield as `fit_here` does."""
    tasks = []
    for job in jobs:
        kind = structure(job.spec, job.runs)
        tasks.append(Task(job.name, _fit_to_bytes, (job, job.record), kind))
    if not tasks:
        return
    if isinstance(workers, int):
        workers = min(workers, len(tasks))  # further workers would have no task
    with connected(workers) as client, closing(each(tasks, client)) as ended:
        for task in ended:
            if task.error is not None:
                yield task.name, task.error
                continue
            content, error = task.value
            if content:
                _write(file_of(folder, task.name), content)
            yield task.name, error


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, lambda temporary: temporary.write_bytes(content))
    except OSError as error:
        raise FitError(f"cannot write {path}: {error.strerror or error}") from error


def _fit_to_bytes(job: Job, record: dict[str, Any]) -> tuple[bytes, str]:
    """Return the content of the fit's file and an empty message, or no content and an error.

    This runs on a worker. ``record`` is the job's record in the process that sent it, which
    differs from the record here when the worker has another version of scalebayes.
    """
    changed = [part for part, value in job.record.items() if record[part] != value]
    if changed:
        return b"", f"the worker has another scalebayes ({', '.join(changed)} differ)"
    try:
        made = make_fit(_with_threads_of_worker(job))
        with tempfile.TemporaryDirectory(prefix="scalebayes-") as folder:
            path = save(made, Path(folder) / "fit.nc")
            return path.read_bytes(), ""
    except Exception as error:  # some exceptions cannot be pickled
        return b"", error_message(error)


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


def make_fit(job: Job) -> Fit:
    """Return the fit of one job, with the job's record in its metadata."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GateWarning)  # kept in the metadata; `fit_many` warns once
        made = fit(job.runs, job.spec, seed=job.seed, progress=False, **job.settings)
    metadata = made.metadata | {"job": job.record}
    made.stored.attrs[METADATA] = json.dumps(metadata, sort_keys=True, default=str)
    return made
