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
from scalebayes.fitting.many import workers as crew
from scalebayes.fitting.many.jobs import Job
from scalebayes.posterior.fit import METADATA, Fit
from scalebayes.posterior.store import save
from scalebayes.utils.files import write_whole


def file_of(folder: Path, name: str) -> Path:
    """Return the path of the fit with this name, whether it exists or not."""
    return folder / f"{name}.nc"


def here(jobs: Iterable[Job], folder: Path) -> Generator[tuple[str, str]]:
    """Fit in this process, and yield each job's name with its error, empty after a success.

    Jobs that share a compiled sampler are fitted one after another.
    """
    alike: dict[Any, list[Job]] = {}
    for job in jobs:
        alike.setdefault(structure(job.spec, job.runs), []).append(job)
    for job in itertools.chain.from_iterable(alike.values()):
        try:
            made = make_fit(job)
        except Exception as error:  # a failed fit must not stop the others
            yield job.name, in_words(error)
            continue
        if made.partial:
            raise KeyboardInterrupt  # an interrupted fit is not saved
        save(made, file_of(folder, job.name))
        yield job.name, ""


def there(jobs: Iterable[Job], folder: Path, workers: crew.Workers) -> Generator[tuple[str, str]]:
    """Fit on workers, save the files that they send back, and yield as `here` does."""
    tasks = [
        crew.Task(job.name, _fit_to_bytes, (job, job.record), structure(job.spec, job.runs))
        for job in jobs
    ]
    if not tasks:
        return
    started = min(workers, len(tasks)) if isinstance(workers, int) else workers
    with crew.connected(started) as connected, closing(crew.each(tasks, connected)) as ended:
        for one in ended:
            content, error = one.value or (b"", one.error)
            if content:
                _write(file_of(folder, one.name), content)
            yield one.name, error or ""


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, lambda temporary: temporary.write_bytes(content))
    except OSError as error:
        raise FitError(f"cannot write {path}: {error.strerror or error}") from error


def _fit_to_bytes(job: Job, record: dict[str, Any]) -> tuple[bytes, str]:
    """Return the content of the fit's file, or an error message; runs on a worker."""
    if (ours := job.record) != record:
        changed = [part for part, value in ours.items() if record[part] != value]
        return b"", f"the worker has another scalebayes ({', '.join(changed)} differ)"
    try:
        own = {"cores": crew.threads()} if job.settings.get("backend", "nutpie") == "nutpie" else {}
        made = make_fit(replace(job, settings=own | dict(job.settings)))
        with tempfile.TemporaryDirectory(prefix="scalebayes-") as folder:
            return save(made, Path(folder) / "fit.nc").read_bytes(), ""
    except Exception as error:  # some exceptions cannot be pickled
        return b"", in_words(error)


def in_words(error: Exception) -> str:
    """Return the message of an exception, with its type unless it is one of scalebayes."""
    return str(error) if isinstance(error, ScaleBayesError) else f"{type(error).__name__}: {error}"


def make_fit(job: Job) -> Fit:
    """Return the fit of one job, with the job's record in its metadata."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GateWarning)  # kept in the metadata; `fit_many` warns once
        made = fit(job.runs, job.spec, seed=job.seed, progress=False, **job.settings)
    made.tree.attrs[METADATA] = json.dumps(
        made.metadata | {"job": job.record}, sort_keys=True, default=str
    )
    return made
