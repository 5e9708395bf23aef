"""Tasks on workers of Dask: local processes, some of which are killed during their task."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, OrderedDict
from contextlib import ExitStack, closing
from itertools import pairwise

import cloudpickle
import pytest

from scalebayes.errors import FallbackWarning, FitError, warn_of_fallback
from scalebayes.fitting.many import workers
from scalebayes.fitting.many.workers import DIED, Task, connected, each

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client():
    with connected(2) as client:
        yield client


def run(tasks, client):
    with closing(each(tasks, client)) as ended:
        return {one.name: one for one in ended}


def test_every_task_is_run_once(client):
    ended = run([Task(f"power {i}", pow, (i, 2)) for i in range(20)], client)
    assert {name: one.value for name, one in ended.items()} == {
        f"power {i}": i**2 for i in range(20)
    }
    assert not any(one.error for one in ended.values())


def test_an_exception_is_told_in_words_and_costs_no_other_task(client):
    ended = run([Task("bad", int, ("x",)), Task("good", int, ("3",))], client)
    assert ended["good"].value == 3
    assert ended["bad"].error == "ValueError: invalid literal for int() with base 10: 'x'"


def test_a_killed_worker_loses_its_running_task_alone(client):
    before = set(client.nthreads())
    tasks = [Task(f"sleep {i}", time.sleep, (0.3,)) for i in range(6)]
    tasks[2] = Task("killer", signal.raise_signal, (signal.SIGKILL,))
    ended = run(tasks, client)
    assert ended.pop("killer").error == DIED
    assert len(ended) == 5
    assert not any(one.error for one in ended.values())
    deadline = time.monotonic() + 60
    while len(client.nthreads()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(client.nthreads()) == 2  # the nanny has started another
    assert set(client.nthreads()) != before


def test_tasks_that_all_kill_their_workers_are_all_told(client):
    ended = run(
        [Task(f"killer {i}", signal.raise_signal, (signal.SIGKILL,)) for i in range(3)], client
    )
    assert {one.error for one in ended.values()} == {DIED}
    assert len(ended) == 3


def test_a_kind_stays_with_the_workers_that_know_it(client):
    """Two kinds, two workers: each worker runs one kind, until only the other is left."""
    tasks = [Task(f"{kind}{i}", time.sleep, (0.05,), kind) for i in range(8) for kind in "ab"]
    given = []

    def note(client, task, address, held, submit=workers._submit):
        given.append((address, task.kind))
        return submit(client, task, address, held)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_submit", note)
        run(tasks, client)
    switches = 0
    for address in {address for address, _ in given}:
        kinds = [kind for one, kind in given if one == address]
        switches += sum(a != b for a, b in pairwise(kinds))
    assert len(given) == 16
    assert switches <= 1


class Counted:
    """A value that counts how often it was pickled, in the process that sends it."""

    def __init__(self, label):
        self.label = label
        self.pickled = 0

    def __getstate__(self):
        self.pickled += 1
        return {"label": self.label, "pickled": 0}


def name_and_label(number, value):
    return number, value.label


@pytest.fixture
def by_value():
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_a_shared_value_is_sent_to_each_worker_once(client, by_value, monkeypatch):
    sent = []

    def note(client, function, *arguments, submit=client.submit, **options):
        sent.append((options["workers"], list(arguments[-1])))
        return submit(function, *arguments, **options)

    monkeypatch.setattr(client, "submit", lambda *args, **options: note(client, *args, **options))
    tables = {key: Counted(key) for key in ("table a", "table b")}
    tasks = [
        Task(f"{key} {i}", name_and_label, (), late=lambda i=i: (i,), shared=((key, table),))
        for i in range(10)
        for key, table in tables.items()
    ]
    ended = run(tasks, client)
    assert {name: one.value for name, one in ended.items()} == {
        f"{key} {i}": (i, key) for i in range(10) for key in tables
    }
    sendings = Counter((at, key) for (at,), keys in sent for key in keys)
    assert len(sent) == 20
    assert set(sendings.values()) == {1}
    assert {key for _, key in sendings} == set(tables)


def test_a_value_that_a_worker_has_lost_is_sent_again(client, by_value):
    """As when another client's tasks used the worker in between."""

    def forget(value):
        workers.HELD.clear()
        return value.label

    table = Counted("table")
    tasks = [Task(str(i), forget, (), shared=(("lost", table),)) for i in range(6)]
    ended = run(tasks, client)
    assert [one.value for one in ended.values()] == ["table"] * 6
    assert set(ended) == {str(i) for i in range(6)}


def test_held_values_are_the_latest_used_and_few(monkeypatch):
    monkeypatch.setattr(workers, "HELD_VALUES", 2)
    held = OrderedDict()
    workers._hold(held, {"a": 1})
    workers._hold(held, {"b": 2})
    workers._hold(held, {"a": 1})
    workers._hold(held, {"c": 3})
    assert dict(held) == {"a": 1, "c": 3}
    workers._hold(held, {"d": 4, "e": 5, "f": 6})  # a task needs all of its own
    assert dict(held) == {"d": 4, "e": 5, "f": 6}


def test_a_client_and_its_worker_hold_the_same_keys(client, by_value):
    """More values than a worker holds: no task comes back for want of a value."""
    count = 3 * workers.HELD_VALUES
    values = [Counted(str(i)) for i in range(count)]

    def labels(first, own):
        return first.label, own.label

    tasks = []
    for turn in range(2):
        for i, value in enumerate(values):
            shared = (("all", values[0]), (f"one {i}", value))
            tasks.append(Task(f"{turn} {i}", labels, (), shared=shared))
    lacking = []

    def note(client, task, future, address, end=workers._end):
        ended = end(client, task, future, address)
        lacking.append(isinstance(ended.value, workers.Lacking))
        return ended

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_end", note)
        ended = run(tasks, client)
    assert ended["1 7"].value == ("0", "7")
    assert len(lacking) == 2 * count
    assert not any(lacking)


def test_the_scheduler_never_has_more_tasks_than_workers_and_forgets_them(client):
    """Nor does it keep a name of each task as long as it lives."""

    def scheduler_state(dask_scheduler):
        return len(dask_scheduler.tasks), len(dask_scheduler.task_prefixes)

    held = []

    def note(client, running, wait=workers._wait_for_one):
        wait(client, running)
        held.append(client.run_on_scheduler(scheduler_state))

    run([Task("first", abs, (1,))], client)
    _, names_before = client.run_on_scheduler(scheduler_state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_wait_for_one", note)
        ended = run([Task(f"power {i} of", pow, (i, 2)) for i in range(100)], client)
    assert len(ended) == 100
    assert 0 < max(tasks for tasks, _ in held) <= 4  # two run, and two are being forgotten
    deadline = time.monotonic() + 10
    while client.run_on_scheduler(scheduler_state)[0] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.run_on_scheduler(scheduler_state) == (0, names_before)


def test_files_are_not_locked_through_the_scheduler(client):
    """Otherwise xarray asks the scheduler for a lock at every access: 180 times for a fit."""

    def module_of_lock():
        from xarray.backends.locks import get_write_lock

        return type(get_write_lock("some file")).__module__

    assert run([Task("lock", module_of_lock, ())], client)["lock"].value == "_thread"
    # A task that is not ours shows that the test can fail.
    assert client.submit(module_of_lock, pure=False).result() == "distributed.lock"


def test_each_worker_compiles_into_a_folder_of_its_own(client):
    tasks = [
        Task(str(i), lambda: (os.environ["PYTENSOR_FLAGS"], time.sleep(0.3))[0], ())
        for i in range(2)
    ]
    flags = {one.value for one in run(tasks, client).values()}
    assert len(flags) == 2
    assert all(flag.split(",")[-1].startswith("base_compiledir=") for flag in flags)


def test_workers_use_one_thread_for_matrices(client):
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    ended = run([Task("env", lambda: Counter(os.environ.get(name) for name in names), ())], client)
    assert ended["env"].value == {"1": 3}


def test_leaving_early_cancels_what_runs(client):
    tasks = [
        Task("quick", time.sleep, (0,)),
        *(Task(f"slow {i}", time.sleep, (0.5,)) for i in range(10)),
    ]
    started = time.monotonic()
    with closing(each(tasks, client)) as ended:
        assert next(ended).name == "quick"
    assert time.monotonic() < started + 3
    assert run([Task("after", abs, (-1,))], client)["after"].value == 1


def test_no_worker_left_ends_in_words(client, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    monkeypatch.setattr(workers, "_alive", lambda client: {})
    monkeypatch.setattr(workers, "RESTART", 0.0)
    with (
        pytest.warns(FallbackWarning, match="there has been no worker for 0 seconds"),
        pytest.raises(FitError, match="there has been no worker for"),
    ):
        run([Task("waits", abs, (1,))], client)


def test_a_dead_parent_of_local_workers_ends_the_wait_for_them():
    tasks = [Task(f"sleep {i}", time.sleep, (0.3,)) for i in range(6)]
    with connected(1) as client, closing(each(tasks, client)) as ended:
        assert next(ended).error is None
        workers.PARENTS[client].kill()
        started = time.monotonic()
        with pytest.raises(FitError, match=r"starts the local workers has ended.*exit code -9"):
            list(ended)
    assert time.monotonic() < started + 10


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler with one worker, as processes of a cluster, and its address."""
    about = tmp_path / "scheduler.json"
    module = [sys.executable, "-m"]
    options = ["--scheduler-file", str(about), "--no-dashboard"]
    local = ["--host", "127.0.0.1"]
    commands = [
        [*module, "distributed.cli.dask_scheduler", *options, *local, "--port", "0"],
        [*module, "distributed.cli.dask_worker", *options, *local, "--death-timeout", "20"],
    ]
    with ExitStack() as stack:
        processes = []
        for command in commands:
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        while not about.exists() or not about.read_text().endswith("}"):
            assert processes[0].poll() is None
            time.sleep(0.05)
        yield processes[0], json.loads(about.read_text())["address"]


@pytest.mark.standard
def test_a_dead_scheduler_is_one_message_and_no_log(scheduler, monkeypatch, capfd):
    process, address = scheduler
    monkeypatch.setattr(workers, "ANSWERING", "1s")
    tasks = [Task(f"sleep {i}", time.sleep, (0.2,)) for i in range(50)]
    with connected(address) as client, closing(each(tasks, client)) as ended:
        assert next(ended).error is None
        process.kill()
        with pytest.raises(FitError, match="the Dask scheduler is gone"):
            list(ended)
    assert capfd.readouterr().err == ""


def test_a_fallback_on_a_worker_is_a_warning_here_too(client):
    def fall_back():
        warn_of_fallback("slower, because planted")
        time.sleep(0.5)  # while the message travels

    with pytest.warns(FallbackWarning, match="slower, because planted"):
        ended = run([Task("slow", fall_back, ())], client)
    assert ended["slow"].error is None


def test_an_address_is_a_client_too(client):
    with connected(client.scheduler.address) as other:
        assert run([Task("there", abs, (-2,))], other)["there"].value == 2
    assert run([Task("still", abs, (-3,))], client)["still"].value == 3


def test_clients_that_are_none_are_refused(monkeypatch):
    with (
        pytest.raises(
            FitError, match="takes a number from 1, the address of a scheduler, or a distributed"
        ),
        connected(0),
    ):
        pass
    with (
        pytest.raises(FitError, match="no scheduler answers at 'nowhere://x'"),
        connected("nowhere://x"),
    ):
        pass


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(FitError, match=r"pip install 'scalebayes\[distributed\]'"), connected(2):
        pass
