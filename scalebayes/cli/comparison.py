"""Commands that compare models: compare, coupling, kaplan-or-chinchilla."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from scalebayes.cli.app import command
from scalebayes.cli.inputs import load_fit, read_table, say_notes
from scalebayes.cli.options import (
    FORCE,
    SEED,
    Output,
    PointsOrBudgets,
    Reading,
    SavedFit,
    argument,
    option,
)
from scalebayes.cli.printing import (
    describe_answers,
    end,
    exit_unless_sound,
    interval_line,
    interval_records,
    print_json,
    records,
)

if TYPE_CHECKING:
    import xarray as xr

    from scalebayes.comparison.compare import Comparison
    from scalebayes.comparison.coupling import Coupling
    from scalebayes.data.runs import Runs
    from scalebayes.posterior.fit import Fit

COMPARISON = "Comparison"
SOURCES = "RUNS | FIT"


@command("compare", COMPARISON)
def compare_command(
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
    from scalebayes.comparison.compare import compare

    if _are_fits(sources):
        fits = _load_all(sources)
    else:
        fits = _fit_all(reading.read(sources[0]), models.split(","), seed)
    comparison = compare(fits, reloo=reloo)
    say_notes(comparison.notes)
    if output.as_json:
        _print_comparison_json(comparison, points, output.ci_prob)
    else:
        _print_comparison(comparison, points, output.ci_prob)
    for fit in fits.values():
        exit_unless_sound(fit)


def _are_fits(sources: list[str]) -> bool:
    """Return whether the sources are saved fits rather than one table of runs."""
    are_fits = [source.endswith(".nc") for source in sources]
    if len(sources) > 1 and not all(are_fits):
        raise typer.BadParameter(
            "give one table of runs, or saved fits (.nc) only", param_hint=SOURCES
        )
    return all(are_fits)


def _load_all(sources: list[str]) -> dict[str, Fit]:
    """Return fits by the names of their files, or by their paths where names repeat."""
    labels = [Path(source).stem for source in sources]
    if len(set(labels)) < len(labels):
        labels = sources
    return {label: load_fit(Path(source)) for label, source in zip(labels, sources, strict=True)}


def _fit_all(runs: Runs, models: list[str], seed: int) -> dict[str, Fit]:
    """Return a fit of every model; all names are checked before the first is sampled."""
    from scalebayes.fitting.fit import fit
    from scalebayes.specs.spec import read_model

    specs = [read_model(model) for model in models]
    fits: dict[str, Fit] = {}
    for spec in specs:
        if spec.name in fits:
            continue
        fits[spec.name] = fit(runs, spec, seed=seed)
        if fits[spec.name].partial:
            # A partial fit cannot be compared with complete ones.
            raise KeyboardInterrupt
    return fits


def _print_comparison_json(comparison: Comparison, points: PointsOrBudgets, ci_prob: float) -> None:
    failures = []
    for label, fit in comparison.fits.items():
        failures += [f"{label}: {code}" for code in fit.gate_failures]
    said: dict[str, Any] = {"sentence": comparison.sentence(), "notes": comparison.notes}
    if points.given():
        difference = comparison.difference(**points.given())
        said |= describe_answers(failures, difference)
        said["differences"] = interval_records(difference, ci_prob)
        said["differences_note"] = difference.attrs["notes"]
    else:
        said |= describe_answers(failures)
    print_json(said, records(comparison.table.reset_index()), ci_prob)


def _print_comparison(comparison: Comparison, points: PointsOrBudgets, ci_prob: float) -> None:
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
    for label, answer in answers.items():
        typer.echo(f"\n{label}\n{draws_table(answer, ci_prob)}")
    typer.echo(f"\nDifferences of the curves\n{difference_table(difference, ci_prob)}")
    if difference.attrs["notes"]:
        typer.echo(paragraph(f"note: {difference.attrs['notes']}"))


def _pooled_answer(comparison: Comparison, points: PointsOrBudgets) -> xr.Dataset:
    """Return the answer of the equally weighted average of the fits.

    For budgets it is the optimum, or only the loss where a law of C alone is among the models.
    """
    from scalebayes.queries.frontier import frontier, loss_at_budget
    from scalebayes.queries.predict import predict

    average = comparison.average()
    if not points.is_budget:
        return predict(average, **points.given())
    if all(fit.spec.law_object.inputs == ("N", "D") for fit in comparison.fits.values()):
        return frontier(average, C=points.C)
    return loss_at_budget(average, C=points.C)


@command("coupling", COMPARISON)
def coupling_command(*, saved: SavedFit, output: Output) -> None:
    """Summarise kappa, the coupling between the N and D terms.

    At kappa = 1 the terms add, as in Chinchilla's law; at kappa = alpha_D they couple as in
    Kaplan's.
    """
    from scalebayes.comparison.coupling import coupling
    from scalebayes.display.terminal import paragraph

    fit = saved.load()
    kappa = coupling(fit)
    sentence = kappa.sentence(output.ci_prob)
    if output.as_json:
        said = {"sentence": sentence, "chances": records(kappa.chances.reset_index())}
        said |= describe_answers(fit.gate_failures)
        print_json(said, interval_records(kappa.draws, output.ci_prob), output.ci_prob)
    else:
        typer.echo(f"{paragraph(sentence)}\n\n{_named_laws(kappa)}")
    end(fit)


def _named_laws(kappa: Coupling) -> str:
    """Lay out the probabilities of the named laws, one line each."""
    from scalebayes.summaries.text import align

    rows = []
    for name, law in kappa.chances.iterrows():
        rows.append(
            {
                "kappa is close to": str(name),
                "posterior": f"{law['posterior']:.3f}",
                "prior": f"{law['prior']:.3f}",
                "meaning": str(law["meaning"]),
            }
        )
    return align(rows)


@command("kaplan-or-chinchilla", COMPARISON)
def kaplan_or_chinchilla_command(
    *,
    out: Path | None = option("--out FOLDER", "Folder for the fits and a figure."),
    force: bool = FORCE,
    seed: int = SEED,
    output: Output,
) -> None:
    """Fit Kaplan's and Chinchilla's laws to the same runs, and compare with the literature."""
    from scalebayes.studies.kaplan_or_chinchilla import (
        MODELS,
        describe,
        refuse_to_replace,
        study,
        write,
    )

    if out is not None and not force:
        refuse_to_replace(out, MODELS)
    fits = _fit_all(read_table("hoffmann2022"), list(MODELS), seed)
    result = study(fits, output.ci_prob)
    if output.as_json:
        couplings = {}
        for label, kappa in result.couplings.items():
            couplings[label] = kappa.sentence(output.ci_prob)
        said = {
            "exponents": records(result.exponents.reset_index()),
            "comparison": records(result.comparison.table.reset_index()),
            "notes": result.comparison.notes,
            "couplings": couplings,
            "counting": records(result.counting.reset_index()),
        }
        print_json(said, records(result.owners.reset_index()), output.ci_prob)
    else:
        typer.echo(describe(result))
    if out is not None:
        write(result, out, lambda text: typer.echo(text, err=True))
    for fit in fits.values():
        exit_unless_sound(fit)
