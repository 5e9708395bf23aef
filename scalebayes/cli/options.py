"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunsArgument = Annotated[
    str, typer.Argument(metavar="RUNS", help="A file (CSV, Parquet ...) or a published name.")
]


FitArgument = Annotated[
    Path, typer.Argument(metavar="FIT", help="A file that `scalebayes fit -o` wrote.")
]


FitsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="FIT...", help="Files that `scalebayes fit -o` wrote; several are one forecast."
    ),
]


WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="A=2,B=1",
        help="Of several fits: equal (the default), stacking, or numbers.",
    ),
]


NOption = Annotated[
    list[str] | None,
    typer.Option("--N", metavar="NUMBER", help="Parameters, as 70B; may be repeated."),
]


DOption = Annotated[
    list[str] | None,
    typer.Option("--D", metavar="NUMBER", help="Tokens, as 1.4T; may be repeated."),
]


COption = Annotated[
    list[str] | None, typer.Option("--C", metavar="NUMBER", help="FLOP, as 1e24; may be repeated.")
]


COrOptimumOption = Annotated[
    list[str] | None,
    typer.Option(
        "--C", metavar="NUMBER", help="FLOP, as 1e24; alone: at the optimum. May be repeated."
    ),
]


InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input", metavar="NAME=VALUE", help="Another input of the law, as U=4B; may be repeated."
    ),
]


BudgetsOption = Annotated[
    list[str],
    typer.Option("--C", metavar="NUMBER", help="Budget in FLOP, as 1e24; may be repeated."),
]


MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map", metavar="ROLE=COLUMN", help="Column for N, D, C, loss, group, run, S, U or E."
    ),
]


LenientOption = Annotated[
    bool, typer.Option("--lenient", help="Suspicious units and repeats become notes.")
]


OutliersOption = Annotated[
    bool, typer.Option("--keep-outliers", help="Keep rows a published table leaves out.")
]


SkipOption = Annotated[
    bool, typer.Option("--skip-incomplete", help="Leave out rows without a value, and say so.")
]


BestOption = Annotated[
    bool,
    typer.Option(
        "--best", help="Of a published sweep of learning rates, the best run at each N and D."
    ),
]


GroupOption = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="NAME",
        help="Of a pooled fit: ask this group.",
        rich_help_panel="Pooled fits",
    ),
]


NewGroupOption = Annotated[
    bool,
    typer.Option(
        "--new-group",
        help="Of a pooled fit: ask a group not seen yet.",
        rich_help_panel="Pooled fits",
    ),
]


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


ProbOption = Annotated[
    float, typer.Option("--ci-prob", min=0.01, max=0.999, help="Probability of the intervals.")
]


ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
