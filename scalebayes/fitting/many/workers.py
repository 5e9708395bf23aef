"""Run tasks on workers of `dask.distributed`, started here or by a given scheduler.

Each worker runs one task at a time, so a crash loses only that task. No other file imports
distributed, and only functions do so here: it is installed with the extra ``distributed``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalebayes.errors import FitError

if TYPE_CHECKING:
    from distributed import Client, Future

type Workers = int | str | Client
"""How many local processes to start, the address of a scheduler, or a client of one."""

POLL = 0.5
"""Seconds between two counts of the workers while no task ends."""
PATIENCE = 90.0
"""Seconds to wait for a first worker to start, or for a new one after the last has died."""

HERE = "127.0.0.1"
"""Address at which local workers listen: local, as they run any code they get."""
DIED = "its worker died while it ran: killed, out of memory, or lost"


@dataclass(frozen=True)
class Task:
    """A function call for some worker; tasks of one kind share a compiled sampler."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    kind: Hashable = None


@dataclass(frozen=True)
class Ended:
    """A finished task: its value, or a message that says why there is none."""

    name: str
    value: Any = None
    error: str | None = None


@contextmanager
def connected(workers: Workers) -> Iterator[Client]:
    """Return a client of new local workers, of the scheduler at an address, or the given client.

    Local workers are processes of one thread each; they stop when the block ends.

    Raises
    ------
    FitError
        When the extra is not installed, nothing answers, or no worker starts.
    """
    client_class = _client_class()
    if isinstance(workers, client_class):
        yield workers
    elif isinstance(workers, str):
        with _client(workers) as client:
            yield client
    elif isinstance(workers, int) and workers > 0:
        with _local(workers) as client:
            yield client
    else:
        raise FitError(
            "workers takes a number from 1, the address of a scheduler, or a distributed.Client; "
            f"got {workers!r}"
        )


def _client_class() -> type[Client]:
    """Return the class of clients, or raise when distributed is not installed."""
    try:
        from distributed import Client
    except ImportError as error:
        raise FitError(
            "fits on several workers need dask.distributed: pip install 'scalebayes[distributed]' "
            f"({error}); without it, workers=1 fits one after another"
        ) from None
    return Client


def _client(address: str) -> Client:
    from distributed import Client

    try:
        return Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        # distributed raises TypeError when the protocol before :// is unknown.
        raise FitError(
            f"no scheduler answers at {address!r}, which should be like tcp://host:8786: {error}"
        ) from None


@contextmanager
def _local(workers: int) -> Iterator[Client]:
    """Return a client of a scheduler in this process, with each worker in a separate process.

    A command starts the workers, because multiprocessing would run the user's script again in each.
    They form a separate session, so Ctrl-C reaches this process only.
    """
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=0,
        processes=True,
        dashboard_address=f"{HERE}:0",
        host=HERE,
        silence_logs=logging.ERROR,  # because `Ended.error` reports each worker that dies
    )
    with (
        cluster,
        tempfile.TemporaryDirectory(
            prefix="scalebayes-workers-", ignore_cleanup_errors=True
        ) as folder,
        Client(cluster, set_as_default=False) as client,
        _started(cluster.scheduler_address, workers, Path(folder)) as process,
    ):
        _await_workers(client, workers, process, Path(folder))
        yield client


@contextmanager
def _started(address: str, workers: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start workers as a subprocess, and stop them when the block ends."""
    options = {
        "host": HERE,
        "dashboard-address": f"{HERE}:0",
        "nworkers": workers,
        "nthreads": 1,
        "memory-limit": 0,
        "death-timeout": 60,
        "local-directory": folder,
    }
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard"]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()  # lets the workers stop in order
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_workers(
    client: Client, workers: int, process: subprocess.Popen[bytes], folder: Path
) -> None:
    """Wait until all workers are connected, or raise with the last line of their log."""
    started = time.monotonic()
    while len(client.nthreads()) < workers:
        has_stopped = process.poll() is not None
        is_late = time.monotonic() > started + PATIENCE
        if has_stopped or is_late:
            log = (folder / "log").read_text(errors="replace").strip().splitlines()
            reason = log[-1] if log else "they wrote no error message"
            raise FitError(f"the workers did not start: {reason}")
        time.sleep(0.1)


def each(tasks: Iterable[Task], client: Client) -> Generator[Ended]:
    """Run every task once, and yield each as it ends; a dead worker loses only its running task.

    A worker receives its next task when it has finished one, preferably of a kind that it has run
    before. Dask alone would queue tasks on workers in advance and retry those of a dead worker
    elsewhere, so a task that kills its worker would kill several.

    Raises
    ------
    FitError
        When there is no worker for `PATIENCE` seconds, or the scheduler is gone.
    """
    waiting: dict[Hashable, list[Task]] = defaultdict(list)
    for task in tasks:
        waiting[task.kind].append(task)
    running: dict[str, tuple[Task, Future]] = {}
    # The kinds that each worker has run, and so has compiled for.
    known: dict[str, set[Hashable]] = defaultdict(set)
    last_alive = time.monotonic()
    try:
        while waiting or running:
            alive = _alive(client)
            for address, (task, future) in list(running.items()):
                is_lost = address not in alive
                if future.done() or is_lost:
                    del running[address]
                    yield _end(task, future)
            _start_tasks(client, alive, waiting, running, known)
            if alive:
                last_alive = time.monotonic()
            if time.monotonic() > last_alive + PATIENCE:
                raise FitError(f"there has been no worker for {PATIENCE:.0f} seconds")
            if running:
                _wait_for_one(client, [future for _, future in running.values()])
            elif waiting:
                time.sleep(POLL)  # until a worker connects
    finally:
        if running:
            client.cancel([future for _, future in running.values()])


def _start_tasks(
    client: Client,
    alive: Iterable[str],
    waiting: dict[Hashable, list[Task]],
    running: dict[str, tuple[Task, Future]],
    known: dict[str, set[Hashable]],
) -> None:
    """Give each idle worker its next task, as long as tasks are waiting."""
    for address in alive:
        if address in running or not waiting:
            continue
        holders: Counter[Hashable] = Counter()
        for worker in alive:
            holders.update(known[worker])
        task = _take(waiting, known[address], holders)
        known[address].add(task.kind)
        running[address] = task, _submit(client, task, address)


def _alive(client: Client) -> Mapping[str, int]:
    """Return the connected workers, by address in sorted order."""
    try:
        return dict(sorted(client.nthreads().items()))
    except (OSError, TimeoutError, RuntimeError) as error:
        # CommClosedError of distributed is an OSError.
        raise FitError(f"the scheduler is gone: {error or type(error).__name__}") from error


def _take(
    waiting: dict[Hashable, list[Task]], known: set[Hashable], holders: Counter[Hashable]
) -> Task:
    """Remove and return the next task for a worker.

    A kind that the worker knows comes first, then the kind with most tasks per worker that knows
    it.
    """

    def preference(kind: Hashable) -> tuple[bool, float]:
        return kind in known, len(waiting[kind]) / (1 + holders[kind])

    kind = max(waiting, key=preference)
    task = waiting[kind].pop(0)
    if not waiting[kind]:
        del waiting[kind]
    return task


def _submit(client: Client, task: Task, address: str) -> Future:
    with warnings.catch_warnings():
        # The warning suggests scattering data, but a table goes to one worker, once.
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        return client.submit(
            _call,
            task.function,
            task.arguments,
            key=f"{task.name}-{uuid.uuid4().hex}",
            workers=[address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Call a function on a worker.

    Each worker process compiles into a separate folder: two processes would wait for one lock.
    """
    from distributed import get_worker

    if "pytensor" not in sys.modules:
        flags = os.environ.get("PYTENSOR_FLAGS", "")
        folder = Path(get_worker().local_directory) / "pytensor"
        os.environ["PYTENSOR_FLAGS"] = f"{flags},base_compiledir={folder}".lstrip(",")
    return function(*arguments)


def threads() -> int:
    """Return the number of threads of the worker that runs this."""
    from distributed import get_worker

    return int(get_worker().state.nthreads)


def _end(task: Task, future: Future) -> Ended:
    """Return the outcome of a task, whose worker may have died before or after it had the value."""
    from distributed import KilledWorker

    try:
        if future.status == "finished":
            return Ended(task.name, future.result(timeout=PATIENCE))
        if future.status == "error":
            error = future.exception(timeout=POLL)
            if not isinstance(error, KilledWorker):
                return Ended(task.name, error=f"{type(error).__name__}: {error}")
    except (TimeoutError, OSError):
        pass
    finally:
        future.release()  # otherwise the worker keeps the value in memory
    return Ended(task.name, error=DIED)


def _wait_for_one(client: Client, running: list[Future]) -> None:
    """Wait until a task ends, for `POLL` seconds at most."""
    from distributed import wait

    with contextlib.suppress(TimeoutError), client.as_current():
        wait(running, timeout=POLL, return_when="FIRST_COMPLETED")
