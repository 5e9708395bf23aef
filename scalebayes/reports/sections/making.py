"""The section on how a report was made: specs, versions, seeds, hashes, commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from scalebayes.comparison.compare import Comparison
from scalebayes.plots.names import in_sentence
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.reports.commands import Question, remaking
from scalebayes.reports.contract import Cell, Listing, Section, Table


def making_section(
    subject: Fit | Average | Comparison,
    fits: Mapping[str, Fit],
    names: Sequence[str],
    question: Question,
) -> Section:
    """Return the section on how each fit was made, its full spec, and how to repeat it.

    Parameters
    ----------
    subject
        What was reported.
    fits
        Its fits by label, or a single fit by the name of its file.
    names
        Names of the models for people, one for each fit.
    question
        What the report was asked.
    """
    again = remaking(subject, fits, question)
    title = "To make this report again"
    if again.language == "Python":
        title += ", in Python"
    listings = [Listing(title, again.text)]
    for name, fit in zip(names, fits.values(), strict=True):
        listing = Listing(f"Specification of {in_sentence(name)}", fit.spec.describe())
        listings.append(listing)
    for name, text in again.models.items():
        listings.append(Listing(name, text))
    sentence = (
        "The hashes identify the content of the table, and the law, noise and priors of the model. "
        "A file saved by scalebayes fit holds runs, model and draws; loading it checks that they "
        "belong together."
    )
    return Section(
        "making",
        "To make it again",
        (sentence, *again.remarks),
        tables=(_facts_table(fits.values(), names),),
        listings=tuple(listings),
    )


def _facts_table(fits: Iterable[Fit], names: Sequence[str]) -> Table:
    """Return the facts of all fits, one fit a column."""
    facts = [_facts(fit) for fit in fits]
    all_known: dict[str, None] = {}
    for known in facts:
        all_known |= dict.fromkeys(known)
    rows = []
    for fact in all_known:
        values = (Cell(known.get(fact, "-")) for known in facts)
        rows.append((Cell(fact), *values))
    return Table("How it was fitted", ("fact", *names), tuple(rows))


def _facts(fit: Fit) -> dict[str, str]:
    """Return hashes, settings and versions of a fit as text by name.

    The time that a fit took is not among them: it would differ when the report is made again.
    """
    about = fit.metadata
    sizes = fit.stored["posterior"].sizes
    known = {
        "model, SHA-256": fit.spec.hash,
        "runs, SHA-256": fit.runs.hash,
        "draws": f"{sizes['chain']} chains of {sizes['draw']}",
    }
    if "seed" in about:
        known["draws"] += f", seed {about['seed']}"
    if "attempts" in about:
        known["draws"] += f", attempt {about['attempts']}"
    sampler = about.get("sampler")
    if sampler:
        known["sampler"] = ", ".join(f"{name} {value}" for name, value in sampler.items())
    versions = about.get("versions")
    if versions:
        known["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    return known
