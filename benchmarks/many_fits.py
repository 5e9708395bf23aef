"""Overhead of `scalebayes.fit_many` a fit, two workers against one process, and what Dask carries.

The fits are those of a backtest: `chinchilla`, two chains of 500 draws, on the 60 to 240 cheapest
runs of `hoffmann2022`. Three parts:

1. Overhead: wall seconds of a batch a fit and worker, less those of ``sb.fit`` with the same tables
   and settings in one process. Batches and bare fits take turns. Processor seconds are printed too,
   because machines are shared.
2. A batch of ``--fits`` by two workers against one process.
3. Network and scheduler, with a scheduler in a process of its own: bytes that each side sends for a
   fit, memory of the scheduler, and the pace at which one client can feed 100 workers, which sleep
   in place of fits.

Run with ``python benchmarks/many_fits.py``; nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

import scalebayes as sb
from scalebayes.fitting.many import dispatch
from scalebayes.fitting.many.workers import Task, connected, each

SETTINGS = {"chains": 2, "draws": 500}
SIZES = range(60, 241)
"""Numbers of runs of the tables."""
CROWD = 100
"""Workers that one client feeds in the last part."""
BLOCKS = 5
"""Parts of the large batch, in which one process and two workers take turns."""
COUNT = "bytes that this process has sent"
"""Name under which a process counts them."""


def backtest_jobs(count: int, first: int = 0, model: str = "chinchilla") -> list[sb.Job]:
    """Jobs on the cheapest runs of `hoffmann2022`."""
    runs = sb.load_runs("hoffmann2022")
    table = runs.table.sort_values("C")
    tables = [sb.Runs(table.iloc[:size], f"cheapest {size}") for size in SIZES]
    jobs = []
    for seed in range(first, first + count):
        runs = tables[seed % len(tables)]
        jobs.append(sb.Job(f"fit {seed}", runs, model, seed=seed, settings=SETTINGS))
    return jobs


def on_one_core(jobs: list[sb.Job]) -> list[sb.Job]:
    return [replace(job, settings=SETTINGS | {"cores": 1}) for job in jobs]


def batch(jobs: list[sb.Job], workers: Any) -> tuple[float, dict[str, int]]:
    """Wall seconds of a batch, and how many of its fits had which convergence failures."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        made = sb.fit_many(jobs, folder, workers=workers, progress=False)
        wall = time.perf_counter() - started
        if made.failures:
            raise SystemExit(str(made.failures))
        return wall, dict(Counter(made.table["gate"]))


def bare(jobs: list[sb.Job]) -> float:
    """Wall seconds of the same fits by `sb.fit`, on one core, as a worker makes them."""
    started = time.perf_counter()
    for job in on_one_core(jobs):
        sb.fit(job.runs, job.spec, seed=job.seed, progress=False, **job.settings)
    return time.perf_counter() - started


def bare_on_workers(jobs: list[sb.Job], client: Any) -> None:
    """Make the same fits by `sb.fit` on the workers of a client, half of them on each of two."""
    halves = [jobs[::2], jobs[1::2]]
    addresses = list(client.nthreads())
    futures = []
    for half, address in zip(halves, addresses, strict=True):
        futures.append(client.submit(bare, half, workers=[address], pure=False))
    client.gather(futures)


def processor_seconds(client: Any = None) -> float:
    """Processor seconds so far of this process, or of all workers of a client."""
    if client is None:
        return time.process_time()
    return sum(client.run(time.process_time).values())


def overhead(fits: int, turns: int) -> None:
    """Print what a fit of a batch takes more than a bare fit.

    Two busy cores of one processor, or a machine with other work, are slower than one, whoever
    keeps them busy. So two workers are also compared with bare fits on both of them at once.
    """
    jobs = backtest_jobs(fits)
    wall: dict[str, list[float]] = {}
    processor: dict[str, list[float]] = {}

    def note(name: str, workers: int, action: Callable[[], Any], client: Any = None) -> None:
        used = processor_seconds(client)
        started = time.perf_counter()
        action()
        wall.setdefault(name, []).append(workers * (time.perf_counter() - started) / fits)
        processor.setdefault(name, []).append((processor_seconds(client) - used) / fits)

    bare(jobs[:2])
    with connected(1) as one, connected(2) as two:
        batch(backtest_jobs(2, 1000), one)
        batch(backtest_jobs(4, 1000), two)
        for _ in range(turns):
            note("bare", 1, lambda: bare(jobs))
            note("this process", 1, lambda: batch(on_one_core(jobs), 1))
            note("one worker", 1, lambda: batch(jobs, one), one)
            note("bare, two at once", 2, lambda: bare_on_workers(jobs, two), two)
            note("two workers", 2, lambda: batch(jobs, two), two)
    for name in wall:
        base = "bare, two at once" if name == "two workers" else "bare"
        more = [a - b for a, b in zip(wall[name], wall[base], strict=True)]
        more_used = [a - b for a, b in zip(processor[name], processor[base], strict=True)]
        print(
            f"{name}: {min(wall[name]):.3f} s a fit and worker, over {base}: {min(more):.3f} to "
            f"{max(more):.3f} s wall, {statistics.median(more_used):.3f} s processor",
            flush=True,
        )


def two_against_one(fits: int) -> None:
    """Print how long a batch takes by two workers, and in this process on both cores.

    Both make it in `BLOCKS` parts and take turns, so that other work on the machine slows both.
    """
    jobs = backtest_jobs(fits, 2000)
    bare(jobs[:1])
    wall = {1: 0.0, 2: 0.0}
    used = {1: 0.0, 2: 0.0}
    gates: dict[int, Counter[str]] = {1: Counter(), 2: Counter()}
    started = time.perf_counter()
    with connected(2) as client:
        batch(backtest_jobs(4, 1000), client)
        start = time.perf_counter() - started
        for first in range(BLOCKS):
            block = jobs[first::BLOCKS]
            for workers, where, counted in ((1, 1, None), (2, client, client)):
                before = processor_seconds(counted)
                seconds, found = batch(block, where)
                wall[workers] += seconds
                used[workers] += processor_seconds(counted) - before
                gates[workers].update(found)
    print(
        f"{fits} fits: one process {wall[1]:.0f} s, {used[1]:.0f} s processor; two workers "
        f"{wall[2]:.0f} s, {used[2]:.0f} s processor, after {start:.0f} s to start and make their "
        f"first fits; {wall[1] / wall[2]:.2f} times as fast; checks {dict(gates[1])}, "
        f"{dict(gates[2])}"
    )


# What moves, and what the scheduler holds


def count_bytes() -> None:
    """Count, from now on, what this process sends to others by Dask."""
    from distributed.comm.tcp import TCP

    write = TCP.write

    async def counted(comm: Any, *args: Any, **options: Any) -> int:
        size = await write(comm, *args, **options)
        counts = global_state()
        counts[COUNT] = counts.get(COUNT, 0) + size
        return int(size)

    TCP.write = counted


def global_state() -> dict[str, Any]:
    """A place that is the same for every function that Dask sends to a process."""
    import distributed

    return vars(distributed)


def sent() -> int:
    """Bytes that this process has sent since `count_bytes`."""
    return int(global_state().get(COUNT, 0))


def scheduler_state(dask_scheduler: Any) -> tuple[float, int, int]:
    """Memory of the scheduler in MB, its tasks, and the beginnings of keys that it knows."""
    import gc

    gc.collect()
    memory = psutil.Process().memory_info().rss / 1e6
    return memory, len(dask_scheduler.tasks), len(dask_scheduler.task_prefixes)


async def host_workers(address: str, count: int) -> None:
    """Be a number of workers in this process, for tasks that take no time of the processor."""
    from distributed import Worker

    async with asyncio.TaskGroup() as group:
        workers = [Worker(address, nthreads=1, memory_limit=0) for _ in range(count)]
        for worker in workers:
            group.create_task(worker.start())
    await asyncio.gather(*(worker.finished() for worker in workers))


@contextmanager
def cluster(workers: list[str]) -> Iterator[tuple[Any, psutil.Process]]:
    """A scheduler and workers as processes of their own: the client, and the scheduler's process.

    workers: the command that starts the workers, to which the scheduler's address is added.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        about = folder / "scheduler.json"

        def start(command: list[str]) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, *command], stderr=subprocess.DEVNULL, cwd=Path(__file__).parent
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        options = ["--scheduler-file", str(about), "--no-dashboard", "--host", "127.0.0.1"]
        scheduler = start(["-m", "distributed.cli.dask_scheduler", *options, "--port", "0"])
        while not about.exists() or not about.read_text().endswith("}"):
            time.sleep(0.05)
        address = json.loads(about.read_text())["address"]
        start([*workers, address])
        client = stack.enter_context(connected(address))
        yield client, psutil.Process(scheduler.pid)


def network(fits: int) -> None:
    """Print the bytes that client, scheduler and workers send for a fit."""
    command = ["-m", "distributed.cli.dask_worker", "--nworkers", "2", "--nthreads", "1"]
    with cluster([*command, "--memory-limit", "0", "--no-dashboard"]) as (client, _):
        client.wait_for_workers(2)
        count_bytes()
        client.run(count_bytes)
        client.run_on_scheduler(count_bytes)
        cases = {"60 to 240 runs": backtest_jobs(fits)}
        (job,) = backtest_jobs(1)
        cases["one table"] = [replace(job, name=f"fit {seed}", seed=seed) for seed in range(fits)]
        for label, jobs in cases.items():
            for shares_folder in (True, False):
                with _folder_seen(shares_folder):
                    before = _sent_by_all(client)
                    batch(jobs, client)
                    after = _sent_by_all(client)
                each_kb = [(b - a) / fits / 1e3 for a, b in zip(before, after, strict=True)]
                where = "seen by workers" if shares_folder else "not seen"
                print(
                    f"{label}, folder {where}: kB sent for a fit by the client {each_kb[0]:.1f}, "
                    f"scheduler {each_kb[1]:.1f}, workers {each_kb[2]:.1f}",
                    flush=True,
                )


def _sent_by_all(client: Any) -> tuple[int, int, int]:
    return sent(), client.run_on_scheduler(sent), sum(client.run(sent).values())


@contextmanager
def _folder_seen(is_seen: bool) -> Iterator[None]:
    """Let workers see the folder of a batch, or not."""
    marked = dispatch._marked

    @contextmanager
    def hidden(folder: Path) -> Iterator[Path]:
        yield folder / ".not-there"

    if not is_seen:
        dispatch._marked = hidden
    try:
        yield
    finally:
        dispatch._marked = marked


def like_a_fit(seconds: float, record: Any, *_: Any) -> Any:
    """Stand for a fit: take its arguments and return a report of its size."""
    time.sleep(seconds)
    return dispatch.Report({"job": record, "more": "x" * 2000})


def crowd(tasks: int, turns: int, seconds: float) -> None:
    """Print the pace of one client with 100 workers, and what scheduler and client use a task."""
    with cluster([__file__, "--host-workers", str(CROWD)]) as (client, scheduler):
        client.wait_for_workers(CROWD)
        job = backtest_jobs(1)[0]
        shared = (("runs", job.runs), ("spec", job.spec))

        def task(number: int) -> Task:
            return Task(
                f"fit {number}",
                like_a_fit,
                (seconds,),
                late=lambda: (job.record,),
                shared=shared,
            )

        held = [client.run_on_scheduler(scheduler_state)]
        most = 0
        for _ in range(turns):
            used, used_by_scheduler = time.process_time(), sum(scheduler.cpu_times()[:2])
            started = time.perf_counter()
            with closing(each([task(number) for number in range(tasks)], client)) as ended:
                for number, one in enumerate(ended):
                    assert one.error is None, one.error
                    if number % 500 == 499:
                        most = max(most, client.run_on_scheduler(scheduler_state)[1])
            wall = time.perf_counter() - started
            used = time.process_time() - used
            used_by_scheduler = sum(scheduler.cpu_times()[:2]) - used_by_scheduler
            held.append(client.run_on_scheduler(scheduler_state))
            print(
                f"{CROWD} workers, tasks of {seconds} s: {tasks / wall:.0f} tasks a second; "
                f"processor a task: client {1e3 * used / tasks:.1f} ms, scheduler "
                f"{1e3 * used_by_scheduler / tasks:.1f} ms; scheduler {held[-1][0]:.0f} MB",
                flush=True,
            )
        memory, left, beginnings = held[-1]
        print(
            f"scheduler: {held[0][0]:.0f} MB before, {memory:.0f} MB after; {most} tasks at most, "
            f"{left} left, {beginnings} beginnings of keys"
        )
        # What tasks would take that are all submitted at once.
        address = next(iter(client.nthreads()))
        plain = [
            client.submit(
                like_a_fit, 1000, (job.record, number), *job_parts(job), workers=[address]
            )
            for number in range(tasks)
        ]
        time.sleep(2)
        memory, count, _ = client.run_on_scheduler(scheduler_state)
        print(f"with {count} tasks submitted at once: {memory:.0f} MB")
        client.cancel(plain)


def job_parts(job: sb.Job) -> tuple[sb.Runs, sb.Spec]:
    return job.runs, job.spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fits", type=int, default=1000, help="fits of the large batch")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", choices=["overhead", "batch", "network", "crowd"])
    parser.add_argument("--host-workers", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.host_workers:
        count, address = arguments.host_workers
        asyncio.run(host_workers(address, int(count)))
        return
    warnings.simplefilter("ignore", sb.GateWarning)
    parts = {
        "overhead": lambda: overhead(30, arguments.turns),
        "batch": lambda: two_against_one(arguments.fits),
        "network": lambda: network(40),
        "crowd": lambda: crowd(2000, 5, 0.2),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            part()


if __name__ == "__main__":
    main()
