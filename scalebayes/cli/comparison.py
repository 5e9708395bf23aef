"""Commands that compare models, recipes and point estimates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import scalebayes as sb
from scalebayes.cli.app import GATE_FAILED, MOST_USED, command
from scalebayes.cli.inputs import load_labelled, say_notes
from scalebayes.cli.options import (
    BUDGETS,
    FORCE,
    RUNS,
    SEED,
    Output,
    PointsOrBudgets,
    SavedFit,
    Values,
    argument,
    option,
)
from scalebayes.cli.printing import (
    describe_answers,
    end,
    exit_unless_sound,
    interval_line,
    print_json,
    records,
    warn_of_gate,
)
from scalebayes.cli.tables import Reading
from scalebayes.data.metrics import capitalised, loss_in_words

if TYPE_CHECKING:
    import xarray as xr

COMPARISON = "Comparison"
SOURCES = "RUNS | FIT"


@command(MOST_USED)
def compare(
    *,
    sources: list[str] = argument(
        SOURCES, "A table of runs to fit the models to, or two or more saved fits (.nc)."
    ),
    models: str = option(
        "--models A,B,C", "Models to fit to a table of runs.", "kaplan,chinchilla,coupled"
    ),
    points: PointsOrBudgets,
    reloo: bool | None = option(
        "--reloo/--no-reloo",
        "Refit for each run whose leave-one-out estimate is unreliable (high Pareto k; "
        "default: where at most ten are).",
    ),
    reading: Reading,
    seed: int = SEED,
    output: Output,
) -> None:
    """Compare models on the same runs: leave-one-out scores, weights, and differences in answers.

    With --N, --D or --C, the losses or the compute-optimal sizes that the models predict are
    compared too.
    """
    if _are_fits(sources):
        fits = _load_all(sources)
    else:
        fits = _fit_all(reading.read(sources[0]), models.split(","), seed)
    comparison = sb.compare(fits, reloo=reloo)
    say_notes(comparison.notes)
    if output.as_json:
        _print_comparison_json(comparison, points, output.ci_prob)
    else:
        _print_comparison(comparison, points, output.ci_prob)
    exit_unless_sound(*fits.values())


def _are_fits(sources: list[str]) -> bool:
    """Return whether the sources are saved fits rather than one table of runs."""
    are_fits = [source.endswith(".nc") for source in sources]
    if len(sources) > 1 and not all(are_fits):
        raise typer.BadParameter(
            "give one table of runs, or saved fits (.nc) only", param_hint=SOURCES
        )
    return all(are_fits)


def _load_all(sources: list[str]) -> dict[str, sb.Fit]:
    """Return fits by the names of their files, or by their paths where names repeat."""
    labels = [Path(source).stem for source in sources]
    if len(set(labels)) < len(labels):
        labels = sources
    return {label: sb.load(Path(source)) for label, source in zip(labels, sources, strict=True)}


def _fit_all(runs: sb.Runs, models: list[str], seed: int) -> dict[str, sb.Fit]:
    """Return a fit of every model; all names are checked before the first is sampled."""
    specs = [sb.read_model(model) for model in models]
    fits: dict[str, sb.Fit] = {}
    for spec in specs:
        if spec.name in fits:
            continue
        fits[spec.name] = sb.fit(runs, spec, seed=seed)
        if fits[spec.name].partial:
            # A partial fit cannot be compared with complete ones.
            raise KeyboardInterrupt
    return fits


def _print_comparison_json(
    comparison: sb.Comparison, points: PointsOrBudgets, ci_prob: float
) -> None:
    failures = []
    for label, fit in comparison.fits.items():
        failures += [f"{label}: {code}" for code in fit.gate_failures]
    said: dict[str, Any] = {"sentence": comparison.sentence(), "notes": comparison.notes}
    if points.given():
        difference = comparison.difference(**points.given())
        said |= describe_answers(failures, difference)
        said["differences"] = records(sb.intervals(difference, ci_prob))
        said["differences_note"] = difference.attrs["notes"]
    else:
        said |= describe_answers(failures)
    print_json(said, comparison.table, ci_prob=ci_prob)


def _print_comparison(comparison: sb.Comparison, points: PointsOrBudgets, ci_prob: float) -> None:
    from scalebayes.comparison.compare import comparison_table, difference_table
    from scalebayes.display.terminal import paragraph
    from scalebayes.summaries.text import draws_table

    typer.echo(f"{comparison_table(comparison)}\n\n{paragraph(comparison.sentence())}")
    if not points.given():
        return
    difference = comparison.difference(**points.given())
    answers = dict(comparison.answers(**points.given()))
    answers["equal pool"] = _pooled_answer(comparison, points)
    typer.echo(f"\n{interval_line(ci_prob)}")
    said: set[sb.Message] = set()
    for label, answer in answers.items():
        typer.echo(f"\n{label}\n{draws_table(answer, ci_prob, said=said)}")
    typer.echo(f"\nDifferences of the curves\n{difference_table(difference, ci_prob)}")
    if difference.attrs["notes"]:
        typer.echo(paragraph(f"note: {difference.attrs['notes']}"))


def _pooled_answer(comparison: sb.Comparison, points: PointsOrBudgets) -> xr.Dataset:
    """Return the answer of the equally weighted average of the fits.

    For budgets it is the optimum, or only the loss where a law of C alone is among the models.
    """
    from scalebayes.queries.frontier import loss_at_budget

    average = comparison.average()
    if not points.is_budget:
        return sb.predict(average, **points.given())
    if all(fit.spec.law_object.inputs == ("N", "D") for fit in comparison.fits.values()):
        return sb.frontier(average, C=points.C)
    return loss_at_budget(average, C=points.C)


@command(COMPARISON)
def coupling(*, saved: SavedFit, output: Output) -> None:
    """Summarise kappa, the coupling between the N and D terms.

    At kappa = 1 the terms add, as in Chinchilla's law; at kappa = alpha_D they couple as in
    Kaplan's.
    """
    from scalebayes.display.terminal import paragraph

    fit = saved.load()
    kappa = sb.coupling(fit)
    sentence = kappa.sentence(output.ci_prob)
    if output.as_json:
        said = {"sentence": sentence, "probabilities": records(kappa.probabilities)}
        said |= describe_answers(fit.gate_failures)
        table = sb.intervals(kappa.draws, output.ci_prob)
        print_json(said, table, ci_prob=output.ci_prob)
    else:
        typer.echo(f"{paragraph(sentence)}\n\n{_named_laws(kappa)}")
    end(fit)


def _named_laws(kappa: sb.Coupling) -> str:
    """Lay out the probabilities of the named laws, one line each."""
    from scalebayes.display.numbers import percent
    from scalebayes.summaries.text import align

    rows = []
    for name, law in kappa.probabilities.iterrows():
        rows.append(
            {
                "kappa is close to": str(name),
                "posterior": percent(law["posterior"]),
                "prior": percent(law["prior"]),
                "meaning": str(law["meaning"]),
            }
        )
    return align(rows)


@command(COMPARISON)
def kaplan_or_chinchilla(
    *,
    out: Path | None = option("--out FOLDER", "Folder for the fits and a figure."),
    force: bool = FORCE,
    seed: int = SEED,
    output: Output,
) -> None:
    """Fit Kaplan's and Chinchilla's laws to the same runs, and compare with the literature."""
    from scalebayes.studies.kaplan_or_chinchilla import (
        MODELS,
        check_output_folder,
        describe,
        study,
        write,
    )

    if out is not None:
        check_output_folder(out, MODELS, force=force)
    runs = sb.load_runs("hoffmann2022")
    say_notes(runs.notes)
    fits = _fit_all(runs, list(MODELS), seed)
    result = study(fits, output.ci_prob)
    if output.as_json:
        couplings = {}
        for label, kappa in result.couplings.items():
            couplings[label] = kappa.sentence(output.ci_prob)
        said = {
            "exponents": records(result.exponents),
            "comparison": records(result.comparison.table),
            "notes": result.comparison.notes,
            "couplings": couplings,
            "counting": records(result.counting),
        }
        print_json(said, result.owners, ci_prob=output.ci_prob)
    else:
        typer.echo(describe(result))
    if out is not None:
        write(result, out, lambda text: typer.echo(text, err=True))
    exit_unless_sound(*fits.values())


@command(COMPARISON)
def contrast(
    *,
    fits: list[str] = argument(
        "[LABEL=]FIT",
        "Saved fits, one for each recipe, labelled by file name unless given a label.",
    ),
    points: PointsOrBudgets,
    groups: Values = option("--group NAME", "Group of one pooled fit to compare; may be repeated."),
    baseline: str | None = option(
        "--baseline LABEL", "Recipe to compare with (default: the first)."
    ),
    output: Output,
) -> None:
    """Compare training recipes: loss at a scale, probability of being best, and compute saved."""
    recipes = _load_groups(fits, groups) if groups else _load_labelled(fits)
    answers: dict[str, xr.Dataset] = {}
    metric = next(iter(recipes.values())).runs.metric
    title = f"{capitalised(loss_in_words(metric, 'of the curve'))}, and its difference from"
    answers[title] = sb.contrast(recipes, baseline=baseline, **points.given())
    if points.is_budget:
        title = "Compute for the same loss along the optimal frontier, in units of C, needed by"
        answers[title] = sb.multiplier(recipes, baseline=baseline, C=points.C)
    _print_answers(answers, output)


def _load_labelled(fits: list[str]) -> dict[str, sb.Fit]:
    """Return fits by label: the name of the file unless written as LABEL=FIT."""
    paths: dict[str, Path] = {}
    for entry in fits:
        label, _, path = entry.rpartition("=")
        if not label:
            label = Path(path).stem
        if label in paths:
            raise typer.BadParameter(
                f"two fits are called {label!r}; write LABEL=FIT", param_hint="FIT"
            )
        paths[label] = Path(path)
    return {label: sb.load(path) for label, path in paths.items()}


def _load_groups(fits: list[str], groups: list[str]) -> dict[str, sb.Fit]:
    """Return groups of one pooled fit by name."""
    if len(fits) != 1:
        raise typer.BadParameter(
            f"--group needs exactly one pooled fit; got {len(fits)}", param_hint="--group"
        )
    pooled = sb.load(Path(fits[0]))
    return {name: sb.group(pooled, name) for name in groups}


def _print_answers(answers: dict[str, xr.Dataset], output: Output) -> None:
    """Print the answers and notes on them, and exit with their code."""
    from scalebayes.posterior.provenance import provenance
    from scalebayes.summaries.text import draws_table

    # All answers are about the same fits, so the first has the attributes of all.
    first = next(iter(answers.values()))
    about = first.attrs
    failures = provenance(first).failures
    if output.as_json:
        said: dict[str, Any] = {"baseline": about["baseline"], "notes": about["notes"]}
        said |= describe_answers(failures, *answers.values())
        tables = [sb.intervals(answer, output.ci_prob) for answer in answers.values()]
        print_json(said, *tables, ci_prob=output.ci_prob)
    else:
        caveats_said: set[sb.Message] = set()
        for title, answer in answers.items():
            typer.echo(f"{title} {about['baseline']}\n{interval_line(output.ci_prob)}\n")
            typer.echo(f"{draws_table(answer, output.ci_prob, said=caveats_said)}\n")
    if about.get("joint"):
        say_notes(["the groups of one pooled fit are compared draw by draw"])
    else:
        say_notes(["separate fits are treated as independent; recipes share no parameters"])
    if about["notes"]:
        say_notes([about["notes"]])
    warn_of_gate(failures, "a fit")
    if failures:
        raise typer.Exit(GATE_FAILED)


@command(COMPARISON)
def point_fits(
    *,
    runs: str = RUNS,
    C: list[str] = BUDGETS,
    fits: list[Path] | None = option("--fit FIT", "A saved fit to compare with; may be repeated."),
    reading: Reading,
    draws: int = option("--draws COUNT", "Bootstrap resamples for each method.", 1000, min=2),
    seed: int = SEED,
    output: Output,
) -> None:
    """Compute-optimal N and D by log-Huber fit, lower envelope and isoFLOP parabolas."""
    from scalebayes.baselines.point_fits import METHODS, point_fits_table
    from scalebayes.datasets.names import runs_in_words
    from scalebayes.summaries.text import kind_of_interval

    table = reading.read(runs)
    saved = load_labelled(fits or [])
    for label, fit in saved.items():
        if fit.runs.hash != table.hash:
            say_notes([f"{label} was fitted to other runs: {fit.runs!r}"])
        warn_of_gate(fit.gate_failures, label)
    found = sb.point_fits(table, C=C, fits=saved, draws=draws, seed=seed)
    say_notes(found.notes())
    if len(found.refusals) == len(METHODS):
        raise sb.ScaleBayesError(f"none of the point estimates can be computed for {table.name}")
    if output.as_json:
        said = {"runs": table.name, "draws": draws, "refusals": dict(found.refusals)}
        print_json(said, found.table(output.ci_prob), ci_prob=output.ci_prob)
        return
    typer.echo(
        f"Compute-optimal allocation at C = 6 N D, {runs_in_words(table)}\n"
        f"Median of {draws} resamples (of a fit: of its posterior) "
        f"with {kind_of_interval(output.ci_prob)} interval\n"
    )
    typer.echo(point_fits_table(found, output.ci_prob))
