"""The content of a report, gathered from a fit, an average or a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from scalebayes.comparison.compare import Comparison
from scalebayes.costs.cost import Price
from scalebayes.datasets import allocations, known_models
from scalebayes.messages import Message
from scalebayes.plots.names import (
    DEFAULT_MODEL,
    for_people,
    model_name,
    named_fits,
    runs_in_words,
    table_name,
)
from scalebayes.posterior.average import Average
from scalebayes.posterior.diagnostics import Diagnosis, diagnose
from scalebayes.posterior.fit import Fit
from scalebayes.queries.inputs import quantities, refuse_scores
from scalebayes.reports.answers import answers, ask, cautions, default_budgets
from scalebayes.reports.commands import Question
from scalebayes.reports.contract import (
    MOST_CAVEATS,
    SECTIONS,
    Answer,
    Report,
    Section,
    Verdict,
)
from scalebayes.reports.figures import DrawnFrontier, drawn_frontier
from scalebayes.reports.live.page import live_part
from scalebayes.reports.recommendation import recommendation, recommended_budget
from scalebayes.reports.references import cite
from scalebayes.reports.sections.assumptions import comparison_section, sensitivity_section
from scalebayes.reports.sections.evidence import data_section, fit_section, posterior_section
from scalebayes.reports.sections.making import making_section
from scalebayes.reports.sections.outlook import extrapolation_section, frontier_section
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.summaries.text import kind_of_interval
from scalebayes.validation.sensitivity import Sensitivity

METHODS = {
    "posterior": ("besiroglu2024",),
    "frontier": ("kaplan2020", "hoffmann2022", "besiroglu2024"),
    "comparison": ("kaplan2020", "hoffmann2022", "videau2026"),
}
"""References of the methods in each section, beside the sources of laws and published values."""


def content_of(
    subject: Fit | Average | Comparison,
    *,
    N: Any = None,
    D: Any = None,
    C: Any = None,
    ci_prob: float = CI_PROB,
    price: Price | None = None,
    sensitivity: Sensitivity | None = None,
) -> Report:
    """Return the content of a report.

    Parameters
    ----------
    subject
        A fit, an average of fits, or a comparison. A comparison answers with its equal average.
    N, D, C
        Questions. N and D ask for the loss of a run, as do N or D with C. C alone asks for the
        optimum at these budgets. The default is the optimum at the compute of the largest run,
        at ten times and at a hundred times that compute.
    ci_prob
        Probability of the equal-tailed intervals.
    price
        Price of compute, by which the recommendation costs money.
    sensitivity
        Result of `scalebayes.sensitivity` for this fit. It needs refits, so it is not computed
        here.

    Raises
    ------
    QueryError
        Under the same conditions as `predict` and `frontier`.
    """
    fits, whole, main = _parts(subject)
    refuse_scores(whole)
    given = {"N": N, "D": D, "C": C}
    asked = {name: value for name, value in given.items() if value is not None}
    found = ask(whole, **asked)
    budgets = default_budgets(fits[main]) if C is None else quantities(C, "C")
    comparison = subject if isinstance(subject, Comparison) else None

    named = named_fits(fits)
    name_of = dict(zip(fits, named, strict=True))
    drawn = drawn_frontier(named, ci_prob)
    diagnoses = {name: diagnose(fit) for name, fit in named.items()}
    made = _sections(named, whole, name_of[main], budgets, ci_prob, drawn)
    data = data_section(whole.runs, diagnoses.values())
    made["data"] = replace(data, messages=_for_people(data.messages, fits))
    made["comparison"] = comparison_section(fits, name_of, comparison, budgets, ci_prob)
    if sensitivity is not None:
        made["sensitivity"] = sensitivity_section(sensitivity)
    question = Question(asked, ci_prob, price, sensitivity)
    made["making"] = making_section(subject, _by_file_name(subject, fits), list(named), question)

    found_caveats = _for_people(cautions(found), fits)
    sections = _without(found_caveats, _in_order(made))

    all_answers: list[Answer] = []
    for dataset in found:
        all_answers.extend(answers(dataset, ci_prob))
    if made["frontier"] is None:
        drawn = None  # the panel repeats the figure of that section
    live, why_not = live_part(whole, named, ci_prob, drawn)
    advised = None
    budget = recommended_budget(whole, asked, budgets)
    if budget is not None:
        advised = recommendation(whole, budget, ci_prob, price, sensitivity)
    runs = whole.runs
    return Report(
        title=f"Scaling laws fitted to {table_name(runs)}",
        about=f"{_models_in_words(named)}, fitted to {runs_in_words(runs)}",
        intervals=kind_of_interval(ci_prob),
        recommendation=advised,
        answers=tuple(all_answers),
        verdicts=_verdicts(diagnoses),
        caveats=found_caveats[:MOST_CAVEATS],
        further_caveats=found_caveats[MOST_CAVEATS:],
        sections=sections,
        left_out=_left_out(made, live is None, why_not),
        references=cite(_keys(fits, sections)),
        live=live,
    )


def _parts(subject: Fit | Average | Comparison) -> tuple[dict[str, Fit], Fit | Average, str]:
    """Return the fits by label, the subject of queries, and the label of the fit shown in detail.

    The fit shown in detail is the best of a comparison, or the one of largest weight in an average.
    """
    if isinstance(subject, Fit):
        return {subject.spec.name: subject}, subject, subject.spec.name
    if isinstance(subject, Comparison):
        return dict(subject.fits), subject.average(), str(subject.table.index[0])
    heaviest = max(subject.weights, key=lambda label: subject.weights[label])
    return dict(subject.fits), subject, heaviest


def _by_file_name(
    subject: Fit | Average | Comparison, fits: Mapping[str, Fit]
) -> Mapping[str, Fit]:
    """Return fits by the names of the files that commands save them in."""
    if not isinstance(subject, Fit):
        return fits
    if model_name(subject) == DEFAULT_MODEL:
        return {"default": subject}
    return {subject.spec.name: subject}


def _sections(
    fits: Mapping[str, Fit],
    whole: Fit | Average,
    main: str,
    budgets: np.ndarray,
    ci_prob: float,
    drawn: DrawnFrontier | None,
) -> dict[str, Section | None]:
    """Return the sections that every report tries to show, by key; None for one without content."""
    return {
        "posterior": posterior_section(fits, main, ci_prob),
        "fit": fit_section(main, fits[main], ci_prob),
        "frontier": frontier_section(fits, budgets, ci_prob, drawn),
        "extrapolation": extrapolation_section(fits, whole, ci_prob),
    }


def _for_people(messages: Sequence[Message], fits: Mapping[str, Fit]) -> tuple[Message, ...]:
    """Return messages in which models and tables have names for people."""
    return tuple(
        replace(message, text=for_people(message.text, fits.values())) for message in messages
    )


def _in_order(made: Mapping[str, Section | None]) -> tuple[Section, ...]:
    """Return the sections that exist, in the order of `SECTIONS`."""
    sections = []
    for key in SECTIONS:
        section = made.get(key)
        if section is not None:
            sections.append(section)
    return tuple(sections)


def _without(told: Sequence[Message], sections: Sequence[Section]) -> tuple[Section, ...]:
    """Return the sections without messages that are told elsewhere, so that each stands once."""
    kept = []
    for section in sections:
        messages = tuple(message for message in section.messages if message not in told)
        kept.append(replace(section, messages=messages))
    return tuple(kept)


def _models_in_words(fits: Mapping[str, Fit]) -> str:
    """Return the only model with its title, or the names of all models that are averaged."""
    if len(fits) > 1:
        return f"Average forecast of {len(fits)} models ({', '.join(fits)})"
    ((name, fit),) = fits.items()
    if name == DEFAULT_MODEL:
        return f"The default model ({fit.spec.title})"
    return fit.spec.title


def _verdicts(diagnoses: Mapping[str, Diagnosis]) -> tuple[Verdict, ...]:
    """Return the result of the convergence checks of each fit, with the checks that failed."""
    verdicts = []
    for label, found in diagnoses.items():
        failed = "; ".join(message.text for message in found.messages if message.level == "failed")
        summary_line = str(found).splitlines()[0]
        verdicts.append(Verdict(label, found.ok, f"{summary_line} {failed}".strip()))
    return tuple(verdicts)


def _left_out(made: Mapping[str, Section | None], no_live: bool, why_not: str) -> tuple[str, ...]:
    """Return a sentence for each part that is missing, with the reason."""
    sentences = []
    if made.get("sensitivity") is None:
        sentences.append(
            "How much the answers depend on the assumptions (noise, drift, priors) is not shown, "
            "because that needs further fits, which take about half a minute. To include it, add "
            "--sensitivity to the command, or sensitivity=sb.sensitivity(fit) in Python."
        )
    if made["frontier"] is None:
        sentences.append("This law has no compute-optimal N and D, so there is no frontier.")
    if no_live:
        sentences.append(f"The what-if panel was omitted because {why_not}.")
    return tuple(sentences)


def _keys(fits: Mapping[str, Fit], sections: tuple[Section, ...]) -> list[str]:
    """Return the keys of all references that the report rests on; some may occur twice."""
    keys: list[str] = []
    for fit in fits.values():
        keys.extend(fit.spec.law_object.references)
        keys.extend(entry.source for entry in fit.spec.published)
        keys.extend(fit.spec.observation.traits.references)
    # R-hat with effective sample sizes, and the divergences of Hamiltonian Monte Carlo.
    keys += ["vehtari2021", "betancourt2016"]
    for section in sections:
        keys.extend(METHODS.get(section.key, ()))
        if section.key == "frontier":
            keys.extend(allocations()["source"])
            keys.extend(known_models()["source"])
    return keys
