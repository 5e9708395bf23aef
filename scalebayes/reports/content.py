"""From a fit, an average or a comparison to what a report says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scalebayes.comparison.compare import Comparison
from scalebayes.datasets import allocations, known_models
from scalebayes.posterior.average import Average
from scalebayes.posterior.diagnostics import diagnose
from scalebayes.posterior.fit import Fit
from scalebayes.queries.inputs import quantities
from scalebayes.reports.answers import answers, ask, cautions, default_budgets
from scalebayes.reports.contract import SECTIONS, Report, Section, Verdict
from scalebayes.reports.live.page import live_part
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
"""Keys of what sections speak of, beside the sources of laws and published values."""


def content_of(
    subject: Fit | Average | Comparison,
    *,
    N: Any = None,
    D: Any = None,
    C: Any = None,
    ci_prob: float = CI_PROB,
    sensitivity: Sensitivity | None = None,
) -> Report:
    """Gather what a report says.

    Parameters
    ----------
    subject
        A fit; an average of several, or a comparison, whose answers are those of its equal average.
    N, D, C
        Questions. N and D: the loss there. C: the optimum at these budgets. N or D with C: the loss there. By default
        the optimum at the compute of the largest run, ten times and a hundred times that.
    ci_prob
        Probability of the equal-tailed intervals.
    sensitivity
        Of the fit, from `scalebayes.sensitivity`, which refits and is not called here.

    Raises
    ------
    QueryError
        As `predict` and `frontier`.
    """
    fits, whole, main = _parts(subject)
    asked = {name: value for name, value in {"N": N, "D": D, "C": C}.items() if value is not None}
    found = ask(whole, **asked)
    comparison = subject if isinstance(subject, Comparison) else None
    budgets = quantities(C, "C") if C is not None else default_budgets(fits[main])
    made = _sections(fits, whole, main, budgets, ci_prob)
    made |= {"comparison": comparison_section(fits, comparison, budgets, ci_prob)}
    made |= {"sensitivity": sensitivity_section(sensitivity) if sensitivity is not None else None}
    made |= {"making": making_section(fits, asked, ci_prob)}
    sections = tuple(section for key in SECTIONS if (section := made.get(key)) is not None)
    runs = whole.runs
    models = ", ".join(fits)
    pooled = (
        f"Several models as one forecast ({models})" if len(fits) > 1 else fits[main].spec.title
    )
    live, why_not = live_part(whole, fits, ci_prob)
    return Report(
        title=f"Scaling laws of {runs.name}",
        about=f"{pooled}, fitted to {len(runs)} runs of {runs.name}",
        intervals=kind_of_interval(ci_prob),
        answers=tuple(answer for dataset in found for answer in answers(dataset, ci_prob)),
        verdicts=tuple(_verdicts(fits)),
        caveats=cautions(found),
        sections=sections,
        left_out=tuple(_left_out(made, live is None, why_not)),
        references=cite(_keys(fits, sections)),
        live=live,
    )


def _parts(subject: Fit | Average | Comparison) -> tuple[dict[str, Fit], Fit | Average, str]:
    """Fits by label, what answers, and the label of the fit that is shown in detail."""
    if isinstance(subject, Fit):
        return {subject.spec.name: subject}, subject, subject.spec.name
    if isinstance(subject, Comparison):
        return dict(subject.fits), subject.average(), str(subject.table.index[0])
    return (
        dict(subject.fits),
        subject,
        max(subject.weights, key=lambda label: subject.weights[label]),
    )


def _sections(
    fits: Mapping[str, Fit], whole: Fit | Average, main: str, budgets: np.ndarray, ci_prob: float
) -> dict[str, Section | None]:
    return {
        "data": data_section(whole.runs, fits),
        "posterior": posterior_section(fits, main, ci_prob),
        "fit": fit_section(main, fits[main], ci_prob),
        "frontier": frontier_section(fits, budgets, ci_prob),
        "extrapolation": extrapolation_section(fits, whole, ci_prob),
    }


def _verdicts(fits: Mapping[str, Fit]) -> Iterator[Verdict]:
    for label, fit in fits.items():
        found = diagnose(fit)
        failed = "; ".join(message.text for message in found.messages if message.level == "failed")
        verdict = str(found).splitlines()[0]
        yield Verdict(label, found.ok, f"{verdict} {failed}".strip())


def _left_out(made: Mapping[str, Section | None], no_live: bool, why_not: str) -> Iterator[str]:
    if made["sensitivity"] is None:
        yield (
            "Whether the decision holds under other assumptions was not asked, since it takes refits: "
            "scalebayes report --sensitivity asks it, as does report(..., sensitivity=sensitivity(fit)) in Python."
        )
    if made["frontier"] is None:
        yield "This law has no compute-optimal N and D, so there is no frontier."
    if no_live:
        yield f"The page cannot be asked further: {why_not}."


def _keys(fits: Mapping[str, Fit], sections: tuple[Section, ...]) -> Iterator[str]:
    for fit in fits.values():
        yield from fit.spec.law_object.references
        yield from (entry.source for entry in fit.spec.published)
        if fit.spec.discrepancy is not None:
            yield "kennedy2001"
    yield from ("vehtari2021", "betancourt2016")
    for section in sections:
        yield from METHODS.get(section.key, ())
        if section.key == "frontier":
            yield from allocations()["source"]
            yield from known_models()["source"]
