"""Commands on runs to make: next-runs, runs-needed, plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import scalebayes as sb
from scalebayes.cli.app import MOST_USED, command
from scalebayes.cli.options import JSON, REQUIRED, Output, SavedFit, Target, option
from scalebayes.cli.printing import end, print_json
from scalebayes.data.tables.sources import is_table, refuse_fit

if TYPE_CHECKING:
    import pandas as pd

PLANNING = "Planning"

CANDIDATES: Any = option("--candidates CSV", "Runs to choose from: columns N and D.")


@command(MOST_USED)
def next_runs(
    *,
    budget: str = option("--budget FLOP", "Compute for all new runs together.", REQUIRED),
    target: Target,
    batch: int = option("--batch COUNT", "Largest number of runs.", 5, min=1),
    candidates: Path | None = CANDIDATES,
    distinct: bool = option("--distinct", "Choose each candidate at most once.", False),
    saved: SavedFit,
    output: Output,
) -> None:
    """Choose the new runs within a compute budget that narrow a forecast most.

    The forecast is the loss at two of N, D and C, or the compute-optimal size N* at C.
    """
    fit = saved.load()
    chosen = sb.next_runs(
        fit,
        budget=budget,
        target=_required(target),
        candidates=_read_candidates(candidates),
        batch=batch,
        distinct=distinct,
        ci_prob=output.ci_prob,
    )
    if output.as_json:
        said = {
            "target": chosen.table.attrs["target"],
            "width_now": chosen.table.attrs["width_now"],
            "title": chosen.title,
            "notes": chosen.notes,
        }
        runs = chosen.table.reset_index(drop=True)
        print_json(said, runs, ci_prob=output.ci_prob)
    else:
        typer.echo(chosen)
    end(fit)


@command(PLANNING)
def runs_needed(
    *,
    width: float = option(
        "--width WIDTH",
        "Target width: upper minus lower bound of a loss, or upper over lower of N*.",
        REQUIRED,
    ),
    run_budget: str = option("--run-budget FLOP", "Largest compute of one run.", REQUIRED),
    target: Target,
    candidates: Path | None = CANDIDATES,
    saved: SavedFit,
    output: Output,
) -> None:
    """Number of further runs until the interval of a forecast is as narrow as required.

    The forecast is the loss at two of N, D and C, or the compute-optimal size N* at C.
    """
    fit = saved.load()
    need = sb.runs_needed(
        fit,
        target=_required(target),
        width=width,
        run_budget=run_budget,
        candidates=_read_candidates(candidates),
        ci_prob=output.ci_prob,
    )
    if output.as_json:
        said = {"runs": need.runs, "message": need.message, "notes": need.notes}
        print_json(said, need.table, ci_prob=output.ci_prob)
    else:
        typer.echo(need)
    end(fit)


@command(PLANNING)
def plan(
    *,
    C: list[str] = option(
        "--C FLOP", "Compute of one run, such as 1e20; may be repeated.", REQUIRED
    ),
    levels: int | None = option(
        "--levels COUNT", "Number of budgets, evenly spaced in log C between the two given.", min=2
    ),
    sizes: int = option("--sizes COUNT", "Model sizes at each budget.", 7, min=2),
    span: float = option("--span RATIO", "Ratio of the largest to the smallest size.", 16.0),
    around: str = option(
        "--around CENTRE",
        "Centre of the sizes: tokens per parameter, MODEL, 'MODEL: LABEL' or a saved fit (.nc).",
        "20",
    ),
    budget: str | None = option("--budget FLOP", "Largest compute of all runs together."),
    lenient: bool = option(
        "--lenient", "Print a plan that fails its checks, with the failures as notes.", False
    ),
    as_json: bool = JSON,
) -> None:
    """Design isoFLOP sweeps before any run exists, and check that they bracket their minima."""
    sweeps = sb.plan(
        C,
        levels=levels,
        sizes=sizes,
        span=span,
        around=_read_guess(around),
        budget=budget,
        strict=not lenient,
    )
    if as_json:
        said = {
            "title": sweeps.title,
            "notes": sweeps.notes,
            "total_cost": sweeps.table.attrs["total_cost"],
        }
        print_json(said, sweeps.table.reset_index(drop=True))
    else:
        typer.echo(sweeps)


def _required(target: Target) -> dict[str, str]:
    """Return the target, which must not be empty."""
    given = target.given()
    if not given:
        raise typer.BadParameter(
            "give --N and --D for the loss of a run, or --C for N*", param_hint="--N, --D, --C"
        )
    return given


def _read_candidates(path: Path | None) -> pd.DataFrame | None:
    if path is None:
        return None
    import pandas as pd

    refuse_fit(path)
    try:
        return pd.read_csv(path, dtype=str)
    except ValueError as error:  # pandas' own errors are ValueErrors
        raise sb.QueryError(f"cannot read candidates from {path}: {error}") from None


def _read_guess(around: str) -> Any:
    """Return a number of tokens per parameter, a saved fit, or the name of a model."""
    try:
        return float(around)
    except ValueError:
        pass
    if around.endswith(".nc") or is_table(Path(around)):  # loading a table says that it is one
        return sb.load(Path(around))
    return around
