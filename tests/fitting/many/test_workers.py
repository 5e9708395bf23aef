"""Tasks on workers of Dask: local processes, some of which are killed during their task."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, closing
from itertools import pairwise

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

    def note(client, task, address, submit=workers._submit):
        given.append((address, task.kind))
        return submit(client, task, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_submit", note)
        run(tasks, client)
    switches = 0
    for address in {address for address, _ in given}:
        kinds = [kind for one, kind in given if one == address]
        switches += sum(a != b for a, b in pairwise(kinds))
    assert len(given) == 16
    assert switches <= 1


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
