"""Throughput of `scalebayes.fit_many` with one and with two workers, and the overhead of a fit.

A cluster of one worker and one of two take turns within each round, because machines are shared and
only ratios compare across machines. Starting and compiling are timed separately: a worker does them
once, whatever the number of fits. Overhead is the wall time of a worker less the seconds that its
fits report: sending the job, its log likelihood, writing and sending back its file, and writing it
again. Run with ``python benchmarks/many_fits.py``; nothing is asserted.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack, closing
from typing import Any

import scalebayes as sb
from scalebayes.fitting.many.workers import Task, Workers, connected, each


def measure(workers: Workers, jobs: list[sb.Job]) -> tuple[float, float]:
    """Wall seconds of a batch, and the sum of the seconds of its fits."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        made = sb.fit_many(jobs, folder, workers=workers)
        wall = time.perf_counter() - started
        if made.failures:
            raise SystemExit(str(made.failures))
        return wall, float(made.table["seconds"].sum())


def seconds_an_empty_task(client: Any, tasks: int = 200) -> float:
    """Wall seconds a task of distribution alone, with all workers of a client."""
    started = time.perf_counter()
    with closing(each([Task(str(i), abs, (i,)) for i in range(tasks)], client)) as ended:
        assert len([*ended]) == tasks
    return (time.perf_counter() - started) / tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="chinchilla")
    parser.add_argument("--table", default="hoffmann2022")
    parser.add_argument("--fits", type=int, default=12, help="fits of a turn")
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    runs, model = sb.load_runs(arguments.table), arguments.model

    def jobs(count: int, first: int = 0) -> list[sb.Job]:
        return [
            sb.Job(f"fit {seed}", runs, model, seed=seed) for seed in range(first, first + count)
        ]

    walls: dict[int, list[float]] = {1: [], 2: []}
    overheads: dict[int, list[float]] = {1: [], 2: []}
    with ExitStack() as stack:
        clients = {}
        for n in walls:
            started = time.perf_counter()
            clients[n] = stack.enter_context(connected(n))
            ready = time.perf_counter() - started
            wall, _ = measure(clients[n], jobs(n))
            print(
                f"{n} workers: started in {ready:.1f} s, "
                f"first fit of each (imports, compiling) in {wall:.1f} s"
            )
        for turn in range(arguments.turns):
            for n, client in clients.items():
                wall, inside = measure(client, jobs(arguments.fits, 1000 * turn))
                walls[n].append(wall)
                overheads[n].append((n * wall - inside) / arguments.fits)
                print(
                    f"  turn {turn + 1}, {n} workers: {arguments.fits} fits in {wall:.1f} s",
                    flush=True,
                )
        for n, client in clients.items():
            fits = arguments.fits * 60 / statistics.median(walls[n])
            over = statistics.median(overheads[n])
            distribution = n * seconds_an_empty_task(client)
            print(
                f"{n} workers: {fits:.1f} fits a minute; overhead {over:.2f} s a fit, "
                f"of which the distribution {distribution:.3f} s"
            )
    ratios = [one / two for one, two in zip(walls[1], walls[2], strict=True)]
    turns = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"two workers over one: {statistics.median(ratios):.2f} (turns: {turns})")


if __name__ == "__main__":
    main()
