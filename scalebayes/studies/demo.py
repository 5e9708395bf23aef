"""The main job on published points: two laws, 240 runs, and the decisions that follow from them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scalebayes.datasets import load_runs
from scalebayes.errors import ScaleBayesError
from scalebayes.fitting.fit import fit
from scalebayes.posterior.diagnostics import diagnose
from scalebayes.posterior.store import save
from scalebayes.queries.frontier import frontier
from scalebayes.queries.predict import predict
from scalebayes.summaries.intervals import CI_PROB, intervals
from scalebayes.summaries.text import (
    beyond,
    cell,
    draws_table,
    exponents_table,
    kind_of_interval,
    summary_table,
)

if TYPE_CHECKING:
    from scalebayes.posterior.fit import Fit

MODELS = ("chinchilla", "kaplan")
SIZE, TOKENS = "70B", ["1.4T", "15T"]
BUDGETS = ["1e21", "5.76e23", "1e25"]
OPTIMUM_AT = "1e24"
FIGURES = ("isoflop.png", "extrapolation.png", "frontier.png")


def demo(folder: Path, *, force: bool = False) -> dict[str, Fit]:
    """Fit both laws to the Chinchilla points, print what they say, and write fits and figures to a folder.

    Returns the fits by name; when one was interrupted, those until then, and nothing is written.

    Raises
    ------
    ScaleBayesError
        When the folder already holds what this would write, unless ``force``.
    """
    names = [*(f"{model}.nc" for model in MODELS), *FIGURES]
    there = [name for name in names if (folder / name).exists()]
    if there and not force:
        raise ScaleBayesError(f"{folder} already holds {', '.join(there)}; --force replaces them")
    folder.mkdir(parents=True, exist_ok=True)
    runs = load_runs("hoffmann2022")
    print(f"{runs}\n  {runs.source}\n" + "\n".join(f"  note: {note}" for note in runs.notes))
    kind = kind_of_interval(CI_PROB)
    print(
        f"\nAll intervals are {kind}, given the law: they do not know how far the law itself is off."
    )
    fits = {}
    for model in MODELS:
        fits[model] = fit(runs, model)
        if fits[model].partial:
            return fits
    for result in fits.values():
        _print_fit(result)
    print(f"\nExponent a of N* ~ C^a\n{exponents_table(fits)}")
    _write(fits, folder)
    return fits


def _print_fit(result: Fit) -> None:
    title = f"{result.spec.name}: {result.spec.title}"
    print(f"\n{title}\n{'=' * len(title)}")
    print(f"\nPosterior beside the published values\n{summary_table(result)}\n\n{diagnose(result)}")
    print(
        f"\nLoss of runs not yet made, nats per token\n{draws_table(predict(result, N=SIZE, D=TOKENS))}"
    )
    best = frontier(result, C=OPTIMUM_AT)
    row = intervals(best).xs("loss", level="quantity").iloc[0]
    distance = beyond(row["decades_beyond"])
    print(
        f"\nLoss at the optimum of {OPTIMUM_AT} FLOP ({distance} beyond the largest run): {cell(row, CI_PROB)}"
    )
    print(f"\nCompute-optimal allocation at C = 6 N D\n{draws_table(frontier(result, C=BUDGETS))}")


def _write(fits: dict[str, Fit], folder: Path) -> None:
    from scalebayes import plots

    for name, result in fits.items():
        save(result, folder / f"{name}.nc")
    isoflop, extrapolation, optimal = FIGURES
    plots.save(plots.isoflop(fits["chinchilla"]), folder / isoflop)
    plots.save(plots.extrapolation(fits), folder / extrapolation)
    plots.save(plots.frontier(fits), folder / optimal)
    print(
        f"\nWrote {', '.join(str(folder / f'{m}.nc') for m in fits)}, {', '.join(str(folder / f) for f in FIGURES)}"
    )
    print("Next: scalebayes predict", folder / "chinchilla.nc", "--N 70B --D 15T", file=sys.stdout)
