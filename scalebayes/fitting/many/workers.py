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
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from scalebayes.errors import FallbackWarning, FitError, warn_of_fallback

if TYPE_CHECKING:
    from distributed import Client, Future

type Workers = int | str | Client
"""How many local processes to start, the address of a scheduler, or a client of one."""

POLL = 0.5
"""Seconds between two counts of the workers while no task ends."""
PATIENCE = 90.0
"""Seconds to wait for a first worker to start, or for a new one after the last has died."""

RESTART = 15.0
"""Seconds in which a worker that died should have been replaced; longer waits are reported."""
ANSWERING = "10s"
"""How long to wait for a scheduler to answer, first and after a connection was lost."""

HERE = "127.0.0.1"
"""Address at which local workers listen: local, as they run any code they get."""
DIED = "its worker died while it ran: killed, out of memory, or lost"

HELD_VALUES = 16
"""Shared values that a worker keeps, the latest used. A table of a million rows has some 40 MB."""
HELD: OrderedDict[str, Any] = OrderedDict()
"""Shared values in the process of a worker, by key; the latest used are at the end."""
KEY_PREFIX = "scalebayes_task"
"""Beginning of every key. The scheduler keeps statistics of each beginning as long as it lives."""

PARENTS: WeakKeyDictionary[Client, subprocess.Popen[bytes]] = WeakKeyDictionary()
"""The process that started the local workers of a client, and starts others for those that die."""


@dataclass(frozen=True)
class Task:
    """A function call for some worker: ``function(*arguments, *late(), *shared values)``.

    Attributes
    ----------
    kind : Hashable
        Tasks of one kind share a compiled sampler.
    late : callable
        Returns further arguments. It is called when the task is sent, so that the first tasks do
        not wait for the preparation of all others.
    shared : tuple of (str, Any)
        Keys and values that other tasks use too, such as a table. A worker receives the value of a
        key once, and keeps the latest `HELD_VALUES`.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    kind: Hashable = None
    late: Callable[[], tuple[Any, ...]] = tuple
    shared: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Ended:
    """A finished task: its value, or a message that says why there is none."""

    name: str
    value: Any = None
    error: str | None = None


@dataclass(frozen=True)
class Lacking:
    """The value of a call on a worker that no longer has the shared values of its task."""


@dataclass
class Known:
    """What the client knows of a worker.

    Attributes
    ----------
    kinds
        Kinds of the tasks that it has run, and so has compiled for.
    shared
        Keys of the shared values that it has, the latest used at the end.
    """

    kinds: set[Hashable] = field(default_factory=set)
    shared: OrderedDict[str, None] = field(default_factory=OrderedDict)


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
        with _silent_log(), _client(workers) as client:
            yield client
    elif isinstance(workers, int) and workers > 0:
        with _silent_log(), _local(workers) as client:
            yield client
    else:
        raise FitError(
            "workers takes a number from 1, the address of a scheduler, or a distributed.Client; "
            f"got {workers!r}"
        )


@contextmanager
def _silent_log() -> Iterator[None]:
    """Silence the log that distributed writes on stderr of this process.

    It prints tracebacks when a scheduler or a worker ends or the user presses Ctrl-C. Errors here
    and `Ended.error` say the same in a sentence.
    """
    levels: dict[logging.Handler, int] = {}
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            for handler in logging.getLogger(name).handlers:
                levels.setdefault(handler, handler.level)
    for handler in levels:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in levels.items():
            handler.setLevel(level)


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
        return Client(address, timeout=ANSWERING, set_as_default=False)
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
        silence_logs=False,  # `_silent_log` does it
    )
    with (
        cluster,
        tempfile.TemporaryDirectory(
            prefix="scalebayes-workers-", ignore_cleanup_errors=True
        ) as folder,
        Client(cluster, set_as_default=False) as client,
        _started(cluster.scheduler_address, workers, Path(folder)) as process,
    ):
        PARENTS[client] = process
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
        When there is no worker for `PATIENCE` seconds, the process that starts local workers has
        ended, or the scheduler is gone.
    """
    waiting: dict[Hashable, list[Task]] = defaultdict(list)
    for task in tasks:
        waiting[task.kind].append(task)
    running: dict[str, tuple[Task, Future]] = {}
    known: dict[str, Known] = defaultdict(Known)
    absence = _Absence(client)
    try:
        while waiting or running:
            alive = _alive(client)
            for address, (task, future) in list(running.items()):
                is_lost = address not in alive
                if future.done() or is_lost:
                    del running[address]
                    ended = _end(client, task, future, address)
                    if isinstance(ended.value, Lacking):
                        # Another client's tasks took the place of its values: send them again.
                        known[address].shared.clear()
                        waiting[task.kind].insert(0, task)
                    else:
                        yield ended
            _start_tasks(client, alive, waiting, running, known)
            absence.check(alive, is_needed=bool(waiting))
            if running:
                _wait_for_one(client, [future for _, future in running.values()])
            elif waiting:
                time.sleep(POLL)  # until a worker connects
    finally:
        if running:
            with contextlib.suppress(*_connection_errors()):
                client.cancel([future for _, future in running.values()])


@dataclass
class _Absence:
    """The time without any worker.

    Attributes
    ----------
    last_alive
        When there was a worker, or this object was made, as a value of ``time.monotonic()``.
    is_told
        Whether a warning about the absence was issued.
    """

    client: Client
    last_alive: float = field(default_factory=time.monotonic)
    is_told: bool = False

    def check(self, alive: Collection[str], is_needed: bool) -> None:
        """Raise when there is no worker, and none will come or has come for `PATIENCE` seconds."""
        now = time.monotonic()
        if alive:
            self.last_alive = now
        if alive or not is_needed:
            return
        parent = PARENTS.get(self.client)
        if parent is not None and parent.poll() is not None:
            raise FitError(
                "the process that starts the local workers has ended, and its workers with it "
                f"(exit code {parent.returncode})"
            )
        if now > self.last_alive + PATIENCE:
            raise FitError(f"there has been no worker for {PATIENCE:.0f} seconds")
        if not self.is_told and now > self.last_alive + RESTART:
            self.is_told = True
            warn_of_fallback(
                f"there has been no worker for {RESTART:.0f} seconds; the batch ends after "
                f"{PATIENCE:.0f} seconds without one"
            )


def _connection_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that calls of a client raise once its scheduler is gone."""
    from distributed.client import FuturesCancelledError

    # CommClosedError of distributed is an OSError.
    return (OSError, TimeoutError, RuntimeError, FuturesCancelledError)


def _start_tasks(
    client: Client,
    alive: Iterable[str],
    waiting: dict[Hashable, list[Task]],
    running: dict[str, tuple[Task, Future]],
    known: dict[str, Known],
) -> None:
    """Give each idle worker its next task, as long as tasks are waiting."""
    idle = [address for address in alive if address not in running]
    holders: Counter[Hashable] = Counter()
    if idle and waiting:
        for address in alive:
            holders.update(known[address].kinds)
    for address in idle:
        if not waiting:
            return
        about = known[address]
        task = _take(waiting, about.kinds, holders)
        if task.kind not in about.kinds:
            about.kinds.add(task.kind)
            holders[task.kind] += 1
        running[address] = task, _submit(client, task, address, about.shared)


def _alive(client: Client) -> Mapping[str, int]:
    """Return the connected workers, by address in sorted order."""
    try:
        return dict(sorted(client.nthreads().items()))
    except _connection_errors() as error:
        raise FitError("the Dask scheduler is gone: killed, or the connection was lost") from error


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


def _submit(
    client: Client, task: Task, address: str, held: OrderedDict[str, None] | None = None
) -> Future:
    """Send a task to a worker, and the shared values of the task that the worker lacks.

    held: keys that the worker has, which are brought up to date. A worker drops keys by the same
    rule (`_hold`), so it seldom lacks a value that is not sent.
    """
    if held is None:
        held = OrderedDict()
    keys = [key for key, _ in task.shared]
    sent = {key: value for key, value in task.shared if key not in held}
    _hold(held, dict.fromkeys(keys))
    with warnings.catch_warnings():
        # The warning suggests scattering data, but a table goes to one worker, once.
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        return client.submit(
            _call,
            task.function,
            (*task.arguments, *task.late()),
            keys,
            sent,
            key=f"{KEY_PREFIX}-{uuid.uuid4().hex}",
            workers=[address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )


def _hold[Value](held: OrderedDict[str, Value], values: Mapping[str, Value]) -> None:
    """Put values at the end, as the latest used, and drop the first ones beyond `HELD_VALUES`."""
    for key, value in values.items():
        held[key] = value
        held.move_to_end(key)
    # A task may have more values than the limit.
    while len(held) > max(HELD_VALUES, len(values)):
        held.popitem(last=False)


def _call(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    keys: Iterable[str] = (),
    sent: Mapping[str, Any] | None = None,
) -> Any:
    """Call a function on a worker, or return `Lacking` when a shared value is not here.

    Each worker process compiles into a separate folder: two processes would wait for one lock.

    Parameters
    ----------
    function, arguments
        The function and its first arguments.
    keys
        Keys of the shared values, which are its further arguments.
    sent
        The shared values that came with the task, by key.
    """
    import dask
    from distributed import get_worker

    shared: dict[str, Any] = {}
    for key in keys:
        if sent is not None and key in sent:
            shared[key] = sent[key]
        elif key in HELD:
            shared[key] = HELD[key]
        else:
            return Lacking()
    _hold(HELD, shared)

    if "pytensor" not in sys.modules:
        flags = os.environ.get("PYTENSOR_FLAGS", "")
        folder = Path(get_worker().local_directory) / "pytensor"
        os.environ["PYTENSOR_FLAGS"] = f"{flags},base_compiledir={folder}".lstrip(",")
    # In a task xarray would lock every access to a file through the scheduler, some 180 times for a
    # fit. Nothing shares the files of a task with other processes.
    with dask.config.set(scheduler="threads"), _forwarded_warnings():
        return function(*arguments, *shared.values())


@contextmanager
def _forwarded_warnings() -> Iterator[None]:
    """Issue each `FallbackWarning` of a worker in the process of its client, too."""
    from distributed import warn

    with warnings.catch_warnings():
        warnings.simplefilter("always", FallbackWarning)
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, FallbackWarning):
                others(message, category, *place, **more)
                return
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # here; the client does not ignore it
                warn(str(message), category)

        warnings.showwarning = show
        yield


def threads() -> int:
    """Return the number of threads of the worker that runs this."""
    from distributed import get_worker

    return int(get_worker().state.nthreads)


def _end(client: Client, task: Task, future: Future, address: str) -> Ended:
    """Return the outcome of a task, whose worker may have died before or after it had the value."""
    from distributed import KilledWorker

    try:
        if future.status == "finished":
            return Ended(task.name, _value(client, future, address))
        if future.status == "error":
            error = future.exception(timeout=POLL)
            if not isinstance(error, KilledWorker):
                return Ended(task.name, error=f"{type(error).__name__}: {error}")
    except _connection_errors():
        pass
    finally:
        future.release()  # otherwise the worker keeps the value in memory
    return Ended(task.name, error=DIED)


def _value(client: Client, future: Future, address: str) -> Any:
    """Return the value of a finished task, as long as the worker that has it lives.

    Raises
    ------
    TimeoutError
        When the worker has died, or does not send the value for `PATIENCE` seconds.
    """
    started = time.monotonic()
    while True:
        try:
            return future.result(timeout=POLL)
        except TimeoutError:
            is_late = time.monotonic() > started + PATIENCE
            if is_late or address not in _alive(client):
                raise


def _wait_for_one(client: Client, running: list[Future]) -> None:
    """Wait until a task ends, for `POLL` seconds at most, or the scheduler is gone."""
    from distributed import wait

    with contextlib.suppress(*_connection_errors()), client.as_current():
        wait(running, timeout=POLL, return_when="FIRST_COMPLETED")
