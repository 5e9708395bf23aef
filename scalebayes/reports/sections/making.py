"""The section on how a report was made: specs, versions, seeds, hashes, commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from scalebayes.costs.cost import Price
from scalebayes.data.metrics import LOSS, NATS_PER_TOKEN
from scalebayes.datasets import TABLES
from scalebayes.posterior.fit import Fit
from scalebayes.reports.contract import Cell, Listing, Section, Table
from scalebayes.specs.spec import list_models, read_model
from scalebayes.summaries.intervals import CI_PROB

OPTIONS = ("chains", "draws", "tune")
"""Settings of the sampler that `scalebayes fit` has options for."""


def making_section(
    fits: Mapping[str, Fit],
    asked: Mapping[str, Any],
    ci_prob: float,
    price: Price | None = None,
    *,
    with_refits: bool = False,
) -> Section:
    """Return the section on how each fit was made, its full spec, and the commands to repeat it.

    with_refits: whether the report has a sensitivity analysis.
    """
    lines = [_fit_command(label, fit) for label, fit in fits.items()]
    words = [*_report_words([*fits], asked, ci_prob), *_price_words(price)]
    if with_refits:
        words.append("--sensitivity")
    lines.append(shlex.join([*words, "-o", "report.html"]))
    listings = [Listing("Commands to reproduce this report", "\n".join(lines))]
    for label, fit in fits.items():
        listings.append(Listing(f"Full specification of model {label}", _in_full(fit)))
    sentence = (
        "The hashes identify the content of the table and the law, noise and priors of the spec. "
        "A file saved by scalebayes fit holds runs, spec and draws; loading it checks that they "
        "belong together."
    )
    return Section(
        "making",
        "Reproducibility",
        (sentence,),
        tables=(_facts_table(fits),),
        listings=tuple(listings),
    )


def _facts_table(fits: Mapping[str, Fit]) -> Table:
    """Return the facts of all fits, one fit a column."""
    facts = [_facts(fit) for fit in fits.values()]
    names: dict[str, None] = {}
    for known in facts:
        names |= dict.fromkeys(known)
    rows = []
    for name in names:
        values = (Cell(known.get(name, "-")) for known in facts)
        rows.append((Cell(name), *values))
    return Table("Fits", ("fact", *fits), tuple(rows))


def _facts(fit: Fit) -> dict[str, str]:
    """Return hashes, settings and versions of a fit as text by name."""
    about = fit.metadata
    sizes = fit.stored["posterior"].sizes
    known = {
        "spec": fit.spec.name,
        "spec, SHA-256": fit.spec.hash,
        "runs, SHA-256": fit.runs.hash,
        "draws": f"{sizes['chain']} chains of {sizes['draw']}",
    }
    if "seed" in about:
        known["seed"] = str(about["seed"])
    sampler = about.get("sampler")
    if sampler:
        known["sampler"] = ", ".join(f"{name} {value}" for name, value in sampler.items())
    for name in ("attempts", "seconds"):
        if name in about:
            known[name] = str(about[name])
    versions = about.get("versions")
    if versions:
        known["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    return known


def _in_full(fit: Fit) -> str:
    """Return the spec in words, and in JSON too when it is not one of the package's models."""
    name = fit.spec.name
    if name in list_models().index and read_model(name).hash == fit.spec.hash:
        return fit.spec.describe()
    return f"{fit.spec.describe()}\n\n{fit.spec.model_dump_json(indent=1)}"


def _fit_command(label: str, fit: Fit) -> str:
    """Return the command that makes a fit again and saves it under its label."""
    words = ["scalebayes", "fit", _table(fit), "-m", fit.spec.name]
    metric = fit.runs.metric
    if metric not in (NATS_PER_TOKEN, LOSS):
        words += ["--metric", metric]
    for name, value in _settings(fit).items():
        words += [f"--{name}", str(value)]
    words += ["--quick", "-o", f"{label}.nc"]
    return shlex.join(words)


def _report_words(labels: Sequence[str], asked: Mapping[str, Any], ci_prob: float) -> list[str]:
    """Return the command that asks the saved fits, without the options of the answer."""
    words = ["scalebayes", "report"]
    words += [f"{label}.nc" for label in labels]
    for name, values in asked.items():
        for value in _as_list(values):
            text = f"{value:g}" if isinstance(value, float) else str(value)
            words += [f"--{name}", text]
    if ci_prob != CI_PROB:
        words += ["--ci-prob", f"{ci_prob:g}"]
    return words


def _price_words(price: Price | None) -> list[str]:
    """Return the options that state a price."""
    if price is None:
        return []
    words = ["--price", f"{price.per_hour:g}", "--flop-per-second", f"{price.flop_per_second:g}"]
    if price.utilisation != 1:
        words += ["--utilisation", f"{price.utilisation:g}"]
    return words


def _settings(fit: Fit) -> dict[str, int]:
    """Return the sampler's settings for the command, by the name of the option.

    A retry after failed convergence checks changes the sampler's settings, so the settings that
    were asked for are preferred. Files of earlier versions hold only the settings of the last
    attempt; the command then repeats that attempt.
    """
    about = fit.metadata
    settings = {}
    if "seed" in about:
        settings["seed"] = int(about["seed"])
    known = about.get("asked") or about.get("sampler") or {}
    for name in OPTIONS:
        if name in known:
            settings[name] = int(known[name])
    return settings


def _as_list(value: Any) -> list[Any]:
    """Return the values of one question as a list."""
    if isinstance(value, str | int | float):
        return [value]
    return list(value)


def _table(fit: Fit) -> str:
    """Return the name of the published table, or the file, that the runs came from."""
    if fit.runs.name in TABLES:
        return fit.runs.name
    return fit.runs.source or f"{fit.runs.name}.csv"
