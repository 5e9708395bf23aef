"""Commands that put models beside each other: compare, coupling, study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalebayes.cli.app import command
from scalebayes.cli.inputs import load, read
from scalebayes.cli.options import (
    BestOption,
    FitArgument,
    ForceOption,
    GroupOption,
    JsonOption,
    LenientOption,
    MapOption,
    NewGroupOption,
    OutliersOption,
    ProbOption,
    SkipOption,
)
from scalebayes.cli.printing import about, end, exit_unless_sound, print_json, records

if TYPE_CHECKING:
    import xarray as xr

    from scalebayes.comparison.compare import Comparison
    from scalebayes.comparison.coupling import Coupling
    from scalebayes.data.runs import Runs
    from scalebayes.posterior.fit import Fit

SeedOption = Annotated[int, typer.Option(min=0, help="Same seed, same draws.")]


@command("compare", "Compare")
def compare_command(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUNS | FIT FIT ...",
            help="Runs to fit the models to, or two saved fits (.nc) or more.",
        ),
    ],
    models: Annotated[
        str, typer.Option("--models", metavar="A,B,C", help="Models to fit to the runs.")
    ] = "kaplan,chinchilla,coupled",
    N: Annotated[
        list[str] | None, typer.Option("--N", help="Compare the loss here; may be repeated.")
    ] = None,
    D: Annotated[list[str] | None, typer.Option("--D", help="And here; may be repeated.")] = None,
    C: Annotated[
        list[str] | None,
        typer.Option(
            "--C", help="With --N or --D a target; alone, a budget whose optimum to compare."
        ),
    ] = None,
    reloo: Annotated[
        bool | None,
        typer.Option(
            help="Fit again without each run of high Pareto k; by default where ten at most are."
        ),
    ] = None,
    columns: MapOption = None,
    lenient: LenientOption = False,
    keep_outliers: OutliersOption = False,
    skip_incomplete: SkipOption = False,
    best: BestOption = False,
    seed: SeedOption = 0,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Compare models on the same runs: leave-one-out scores, weights, and whether the decision changes."""
    from scalebayes.comparison.compare import compare

    if _saved(sources):
        fits = _load_all(sources)
    else:
        table = read(sources[0], columns, lenient, keep_outliers, skip_incomplete, best)
        fits = _fit_all(table, models.split(","), seed)
    comparison = compare(fits, reloo=reloo)
    for note in comparison.notes:
        typer.echo(f"note: {note}", err=True)
    asked = {"N": N or None, "D": D or None, "C": C or None}
    _print_comparison(comparison, {k: v for k, v in asked.items() if v}, ci_prob, as_json)
    for fit in fits.values():
        exit_unless_sound(fit)


def _saved(sources: list[str]) -> bool:
    """Whether fits are meant, not runs."""
    fits = [source.endswith(".nc") for source in sources]
    if len(sources) > 1 and not all(fits):
        raise typer.BadParameter(
            "give one table of runs, or saved fits (.nc) only", param_hint="RUNS | FIT FIT ..."
        )
    return all(fits)


def _load_all(sources: list[str]) -> dict[str, Fit]:
    labels = [Path(source).stem for source in sources]
    if len(set(labels)) < len(labels):
        labels = sources
    return {label: load(Path(source)) for label, source in zip(labels, sources, strict=True)}


def _fit_all(runs: Runs, models: list[str], seed: int) -> dict[str, Fit]:
    """Fit every model; their names are checked before the first is sampled."""
    from scalebayes.fitting.fit import fit
    from scalebayes.specs.spec import read_model

    specs = {spec.name: spec for spec in map(read_model, models)}
    fits = {}
    for name, spec in specs.items():
        fits[name] = fit(runs, spec, seed=seed)
        if fits[name].partial:
            raise KeyboardInterrupt  # a comparison of half a fit with whole ones says nothing
    return fits


def _print_comparison(
    comparison: Comparison, asked: dict[str, Any], ci_prob: float, as_json: bool
) -> None:
    from scalebayes.comparison.compare import comparison_table, difference_table
    from scalebayes.display.terminal import paragraph
    from scalebayes.summaries.intervals import intervals
    from scalebayes.summaries.text import draws_table, kind_of_interval

    difference = comparison.difference(**asked) if asked else None
    if as_json:
        failures = [
            f"{label}: {code}"
            for label, fit in comparison.fits.items()
            for code in fit.gate_failures
        ]
        said: dict[str, Any] = {"sentence": comparison.sentence(), "notes": comparison.notes}
        said |= about(failures, *([] if difference is None else [difference]))
        if difference is not None:
            said["differences"] = records(intervals(difference, ci_prob).reset_index())
            said["differences_note"] = difference.attrs["notes"]
        print_json(said, records(comparison.table.reset_index()), ci_prob)
        return
    typer.echo(f"{comparison_table(comparison)}\n\n{paragraph(comparison.sentence())}")
    if difference is None:
        return
    typer.echo(f"\nPosterior median with {kind_of_interval(ci_prob)} interval")
    for label, answer in {
        **comparison.answers(**asked),
        "equal pool": _pooled(comparison, asked),
    }.items():
        typer.echo(f"\n{label}\n{draws_table(answer, ci_prob)}")
    typer.echo(f"\nDifferences of the curves\n{difference_table(difference, ci_prob)}")
    if difference.attrs["notes"]:
        typer.echo(paragraph(f"note: {difference.attrs['notes']}"))


def _pooled(comparison: Comparison, asked: dict[str, Any]) -> xr.Dataset:
    """What the fits say as one; of budgets only the loss where a law of C alone is among them."""
    from scalebayes.queries.frontier import frontier, loss_at_budget
    from scalebayes.queries.predict import predict

    both = {fit.spec.law_object.inputs for fit in comparison.fits.values()}
    alone = set(asked) == {"C"}
    answer = predict if not alone else frontier if both == {("N", "D")} else loss_at_budget
    return answer(comparison.average(), **asked)


@command("coupling", "Compare")
def coupling_command(
    fit: FitArgument,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Read kappa out of a fit: whether the terms add, as in Chinchilla's law, or couple, as in Kaplan's."""
    from scalebayes.comparison.coupling import coupling
    from scalebayes.display.terminal import paragraph
    from scalebayes.summaries.intervals import intervals

    result = load(fit, group, new_group)
    found = coupling(result)
    if as_json:
        said: dict[str, Any] = {
            "sentence": found.sentence(ci_prob),
            "chances": records(found.chances.reset_index()),
        }
        said |= about(result.gate_failures)
        print_json(said, records(intervals(found.draws, ci_prob).reset_index()), ci_prob)
    else:
        typer.echo(f"{paragraph(found.sentence(ci_prob))}\n\n{_chances(found)}")
    end(result)


def _chances(found: Coupling) -> str:
    """One line a named law; what its name means stands last."""
    from scalebayes.summaries.text import align

    return align(
        [
            {"kappa is close to": str(name)}
            | {group: f"{row[group]:.3f}" for group in ("posterior", "prior")}
            | {"meaning": str(row["meaning"])}
            for name, row in found.chances.iterrows()
        ]
    )


@command("study", "Compare")
def study_command(
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the fits and a figure.")
    ] = None,
    force: ForceOption = False,
    seed: SeedOption = 0,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Kaplan or Chinchilla: fit both laws to the same published points and put the answers beside the literature."""
    from scalebayes.studies.kaplan_or_chinchilla import (
        MODELS,
        describe,
        refuse_to_replace,
        study,
        write,
    )

    if out is not None and not force:
        refuse_to_replace(out, MODELS)
    fits = _fit_all(read("hoffmann2022", None, False, False), list(MODELS), seed)
    result = study(fits, ci_prob)
    if as_json:
        said = {
            "exponents": records(result.exponents.reset_index()),
            "comparison": records(result.comparison.table.reset_index()),
            "notes": result.comparison.notes,
            "couplings": {label: one.sentence(ci_prob) for label, one in result.couplings.items()},
            "counting": records(result.counting.reset_index()),
        }
        print_json(said, records(result.owners.reset_index()), ci_prob)
    else:
        typer.echo(describe(result))
    if out is not None:
        write(result, out, lambda text: typer.echo(text, err=True))
    for fit in fits.values():
        exit_unless_sound(fit)
