"""The demonstration: two laws fitted to 240 published runs, with answers and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scalebayes.datasets import load_runs
from scalebayes.fitting.fit import fit
from scalebayes.posterior.diagnostics import diagnose
from scalebayes.posterior.store import save
from scalebayes.queries.frontier import frontier
from scalebayes.queries.predict import predict
from scalebayes.studies.folders import check_output_folder
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
SIZE = "70B"
TOKENS = ["1.4T", "15T"]
BUDGETS = ["1e21", "5.76e23", "1e25"]
OPTIMUM_AT = "1e24"
FIGURES = ("isoflop.png", "extrapolation.png", "frontier.png")


def demo(folder: Path, *, force: bool = False) -> dict[str, Fit]:
    """Return fits of both laws to the Chinchilla runs; print answers and write fits and figures.

    If sampling is interrupted, the fits up to then are returned and nothing is written.

    Raises
    ------
    ScaleBayesError
        When the folder cannot be written, or already has a file that this would write, unless
        ``force``.
    """
    fits_and_figures = [*(f"{model}.nc" for model in MODELS), *FIGURES]
    check_output_folder(folder, fits_and_figures, force=force)
    folder.mkdir(parents=True, exist_ok=True)
    runs = load_runs("hoffmann2022")
    print(f"{runs}\n  {runs.source}")
    for note in runs.notes:
        print(f"  note: {note}")
    print(
        f"\nAll intervals are {kind_of_interval(CI_PROB)}, given the law: "
        "they do not include the misfit of the law itself."
    )
    fits = {}
    for model in MODELS:
        fits[model] = fit(runs, model)
        if fits[model].partial:
            return fits
    for result in fits.values():
        _print_fit(result)
    _print_section("Exponent a of N* ~ C^a", exponents_table(fits))
    _write(fits, folder)
    return fits


def _print_fit(result: Fit) -> None:
    title = f"{result.spec.name}: {result.spec.title}"
    _print_section(title, "=" * len(title))
    _print_section("Posterior and published values", summary_table(result))
    print(f"\n{diagnose(result)}")
    losses = predict(result, N=SIZE, D=TOKENS)
    _print_section("Predicted loss of new runs, nats per token", draws_table(losses))
    best = frontier(result, C=OPTIMUM_AT)
    row = intervals(best).xs("loss", level="quantity").iloc[0]
    distance = beyond(row["decades_beyond"])
    print(
        f"\nLoss at the optimum of {OPTIMUM_AT} FLOP ({distance} beyond the largest run): "
        f"{cell(row, CI_PROB)}"
    )
    optima = frontier(result, C=BUDGETS)
    _print_section("Compute-optimal allocation at C = 6 N D", draws_table(optima))


def _print_section(heading: str, body: str) -> None:
    print(f"\n{heading}\n{body}")


def _write(fits: dict[str, Fit], folder: Path) -> None:
    from scalebayes import plots

    written = []
    for name, result in fits.items():
        save(result, folder / f"{name}.nc")
        written.append(folder / f"{name}.nc")
    figures = (
        plots.isoflop(fits["chinchilla"]),
        plots.extrapolation(fits),
        plots.frontier(fits),
    )
    for name, figure in zip(FIGURES, figures, strict=True):
        plots.save(figure, folder / name)
        written.append(folder / name)
    print(f"\nWrote {', '.join(map(str, written))}")
    print(f"Next: scalebayes predict {folder / 'chinchilla.nc'} --N 70B --D 15T")
