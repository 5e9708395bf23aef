"""Workers of `dask.distributed`, started here or by others: one task at a time each, so that none dies of another.

The only file that imports distributed, and only inside functions: it comes with the extra ``distributed``.
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
"""Seconds after which the workers are counted again while none has finished."""
PATIENCE = 90.0
"""Seconds to wait for a worker where there is none: to start, or after the last one died."""

HERE = "127.0.0.1"
"""Where local workers listen: who reaches one may run anything on it."""
DIED = "its worker died while it ran: killed, out of memory, or lost"


@dataclass(frozen=True)
class Task:
    """A call to make on some worker; those of one kind are best made on the same, which has compiled for them."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    kind: Hashable = None


@dataclass(frozen=True)
class Ended:
    """A task that is over: its value, or in words why it has none."""

    name: str
    value: Any = None
    error: str | None = None


@contextmanager
def connected(workers: Workers) -> Iterator[Client]:
    """Give a client: of new local workers, so many, of the scheduler at an address, or the one given.

    Local workers are processes of one thread each; they end with the block.

    Raises
    ------
    FitError
        When the extra is not installed, nothing answers, or no worker starts.
    """
    try:
        import distributed
    except ImportError as error:
        text = (
            "fits on several workers need dask.distributed: pip install 'scalebayes[distributed]'"
        )
        raise FitError(f"{text} ({error}); without it, workers=1 fits one after another") from None
    if isinstance(workers, distributed.Client):
        yield workers
    elif isinstance(workers, str):
        with _client(workers) as own:
            yield own
    elif isinstance(workers, int) and workers > 0:
        with _local(workers) as own:
            yield own
    else:
        text = "workers takes a number from 1, the address of a scheduler, or a distributed.Client"
        raise FitError(f"{text}; got {workers!r}")


def _client(address: str) -> Client:
    from distributed import Client

    try:
        return Client(address, timeout="10s", set_as_default=False)
    except (
        OSError,
        ValueError,
        TypeError,
    ) as error:  # TypeError: no such protocol as what stands before ://
        raise FitError(
            f"no scheduler answers at {address!r}, which should be like tcp://host:8786: {error}"
        ) from None


@contextmanager
def _local(workers: int) -> Iterator[Client]:
    """A scheduler in this process, and workers in processes of their own.

    The workers are started as a command, not by multiprocessing: that would run a user's script again in each of them.
    They are a session of their own, so that Ctrl-C reaches this process alone.
    """
    from distributed import Client, LocalCluster

    with (
        tempfile.TemporaryDirectory(
            prefix="scalebayes-workers-", ignore_cleanup_errors=True
        ) as folder,
        LocalCluster(
            n_workers=0,
            processes=True,
            dashboard_address=f"{HERE}:0",
            host=HERE,
            silence_logs=logging.ERROR,
        ) as cluster,  # it would warn of each worker that dies, which we tell ourselves
        Client(cluster, set_as_default=False) as client,
        _started(cluster.scheduler_address, workers, Path(folder)) as process,
    ):
        _await_workers(client, workers, process, Path(folder))
        yield client


@contextmanager
def _started(address: str, workers: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    options = {
        "host": HERE,
        "dashboard-address": f"{HERE}:0",
        "nworkers": workers,
        "nthreads": 1,
        "memory-limit": 0,
        "death-timeout": 60,
        "local-directory": folder,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        address,
        "--no-dashboard",
        *words,
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()  # which ends the workers in order
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_workers(
    client: Client, workers: int, process: subprocess.Popen[bytes], folder: Path
) -> None:
    started = time.monotonic()
    while len(client.nthreads()) < workers:
        if process.poll() is not None or time.monotonic() > started + PATIENCE:
            log = (folder / "log").read_text(errors="replace").strip().splitlines()
            raise FitError(f"the workers did not start: {log[-1] if log else 'they said nothing'}")
        time.sleep(0.1)


def each(tasks: Iterable[Task], client: Client) -> Generator[Ended]:
    """Run every task once and yield them as they end; a worker that dies takes its running task with it, no other.

    A worker is given its next task when it has ended one, of a kind that it has run before as long as there are such.
    Dask by itself would queue tasks on the workers ahead of time and try those of a dead worker again elsewhere: one
    task that kills its worker would then kill several.

    Raises
    ------
    FitError
        When there are no workers for a minute and a half, or the scheduler is gone.
    """
    waiting: dict[Hashable, list[Task]] = defaultdict(list)
    for task in tasks:
        waiting[task.kind].append(task)
    running: dict[str, tuple[Task, Future]] = {}
    known: dict[str, set[Hashable]] = defaultdict(set)
    seen = time.monotonic()
    try:
        while waiting or running:
            alive = _alive(client)
            for address in [
                one for one, (_, future) in running.items() if future.done() or one not in alive
            ]:
                yield _end(*running.pop(address))
            for address in [address for address in alive if address not in running][
                : _count(waiting)
            ]:
                task = _take(
                    waiting, known[address], Counter(kind for one in alive for kind in known[one])
                )
                known[address].add(task.kind)
                running[address] = task, _submit(client, task, address)
            seen = time.monotonic() if alive else seen
            if time.monotonic() > seen + PATIENCE:
                raise FitError(f"there has been no worker for {PATIENCE:.0f} seconds")
            if running:
                _wait_for_one(client, [future for _, future in running.values()])
            elif waiting:
                time.sleep(POLL)  # for a worker
    finally:
        if running:
            client.cancel([future for _, future in running.values()])


def _count(waiting: Mapping[Hashable, list[Task]]) -> int:
    return sum(map(len, waiting.values()))


def _alive(client: Client) -> Mapping[str, int]:
    """Addresses of the workers there are, in order."""
    try:
        return dict(sorted(client.nthreads().items()))
    except (
        OSError,
        TimeoutError,
        RuntimeError,
    ) as error:  # distributed's CommClosedError is an OSError
        raise FitError(f"the scheduler is gone: {error or type(error).__name__}") from error


def _take(
    waiting: dict[Hashable, list[Task]], known: set[Hashable], holders: Counter[Hashable]
) -> Task:
    """Take the next task for a worker: of a kind it knows, else of that with most tasks a worker that knows it."""
    kind = max(waiting, key=lambda kind: (kind in known, len(waiting[kind]) / (1 + holders[kind])))
    task = waiting[kind].pop(0)
    if not waiting[kind]:
        del waiting[kind]
    return task


def _submit(client: Client, task: Task, address: str) -> Future:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Sending large graph", UserWarning
        )  # a long table goes to one worker, once
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
    """Make a call on a worker, whose processes each compile into a folder of their own: two in one get in the way."""
    from distributed import get_worker

    if "pytensor" not in sys.modules:
        flags = os.environ.get("PYTENSOR_FLAGS", "")
        folder = Path(get_worker().local_directory) / "pytensor"
        os.environ["PYTENSOR_FLAGS"] = f"{flags},base_compiledir={folder}".lstrip(",")
    return function(*arguments)


def threads() -> int:
    """Threads of the worker that this runs on."""
    from distributed import get_worker

    return int(get_worker().state.nthreads)


def _end(task: Task, future: Future) -> Ended:
    """How a task ended. Its worker may have died with the value, or before there was one."""
    from distributed import KilledWorker

    try:
        if future.status == "finished":
            return Ended(task.name, future.result(timeout=PATIENCE))
        if future.status == "error" and not isinstance(
            error := future.exception(timeout=POLL), KilledWorker
        ):
            return Ended(task.name, error=f"{type(error).__name__}: {error}")
    except (TimeoutError, OSError):
        pass
    finally:
        future.release()  # else the worker keeps the value
    return Ended(task.name, error=DIED)


def _wait_for_one(client: Client, running: list[Future]) -> None:
    """Wait until a task ends, for half a second at most."""
    from distributed import wait

    with contextlib.suppress(TimeoutError), client.as_current():
        wait(running, timeout=POLL, return_when="FIRST_COMPLETED")
