"""Time of a backtest of one table by the default and two laws, over that of its fits alone.

The fits are those that the backtest makes: the same splits, settings and seed, in this process and
in turns with it. The least of some rounds counts, in wall and processor seconds. One further round
by the usual point fit, which fits nothing, shows what forecasts by it take.

    .venv/bin/python benchmarks/backtests.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import scalebayes as sb
from scalebayes.data.subsets import make_splits
from scalebayes.validation.backtest import LOG_HUBER, SAMPLER

MODELS = ("coupled-drift", "chinchilla", "coupled")
PARTS = (0.5, 0.8)
"""Shares of the runs that splits train on: two splits, so that a round takes less than a minute."""
ROUNDS = 2
TARGET = 1.5


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall and processor seconds of some work."""
    start, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - used


def main() -> None:
    """Print the table."""
    runs = sb.load_runs("hoffmann2022")
    splits, _ = make_splits(runs, PARTS, ())

    def fits() -> None:
        for split in splits:
            for model in MODELS:
                sb.fit(split.train, model, seed=0, progress=False, **SAMPLER)

    def backtest() -> None:
        sb.backtest(runs, MODELS, shares=PARTS, progress=False)

    fits()  # compiles kernels that are not cached
    alone, whole = [], []
    for _ in range(ROUNDS):
        alone.append(seconds(fits))
        whole.append(seconds(backtest))
    point = seconds(lambda: sb.backtest(runs, LOG_HUBER, shares=PARTS, progress=False))
    print(f"| {len(splits)} splits, {len(MODELS)} models | wall, s | processor, s |\n|---|---|---|")
    of_fits = [min(each) for each in zip(*alone, strict=True)]
    of_whole = [min(each) for each in zip(*whole, strict=True)]
    print(f"| their {len(splits) * len(MODELS)} fits | {of_fits[0]:.1f} | {of_fits[1]:.1f} |")
    print(f"| the backtest | {of_whole[0]:.1f} | {of_whole[1]:.1f} |")
    ratios = [one / other for one, other in zip(of_whole, of_fits, strict=True)]
    print(f"| ratio (wanted {TARGET}) | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    print(f"| a backtest of `{LOG_HUBER}` | {point[0]:.1f} | {point[1]:.1f} |")


if __name__ == "__main__":
    main()
