"""The section on how a report was made: specs, versions, seeds, hashes, commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from scalebayes.datasets import TABLES
from scalebayes.posterior.fit import Fit
from scalebayes.reports.contract import Cell, Listing, Section, Table
from scalebayes.specs.spec import list_models, read_model
from scalebayes.summaries.intervals import CI_PROB

OPTIONS = ("chains", "draws", "tune")
"""Settings of the sampler that `scalebayes fit` has options for."""


def making_section(fits: Mapping[str, Fit], asked: Mapping[str, Any], ci_prob: float) -> Section:
    """How each fit was made, its spec in full, and the commands."""
    headings = ("fact", *fits)
    facts = {label: _facts(fit) for label, fit in fits.items()}
    names = dict.fromkeys(name for known in facts.values() for name in known)
    rows = tuple(
        (Cell(name), *(Cell(known.get(name, "-")) for known in facts.values())) for name in names
    )
    listings = [Listing("To make it again", _commands(fits, asked, ci_prob))]
    listings += [Listing(f"Model {label}, in full", _in_full(fit)) for label, fit in fits.items()]
    sentence = (
        "The hashes identify the content of the table and the law, noise and priors of the spec. "
        "A file saved by scalebayes fit holds runs, spec and draws; loading it checks that they "
        "belong together."
    )
    return Section(
        "making",
        "How it was made",
        (sentence,),
        tables=(Table("Fits", headings, rows),),
        listings=tuple(listings),
    )


def _facts(fit: Fit) -> dict[str, str]:
    """What is known of how a fit was made, as text by name."""
    about, sizes = fit.metadata, fit.tree["posterior"].sizes
    known = {
        "spec": fit.spec.name,
        "spec, SHA-256": fit.spec.hash,
        "runs, SHA-256": fit.runs.hash,
        "draws": f"{sizes['chain']} chains of {sizes['draw']}",
    }
    if "seed" in about:
        known["seed"] = str(about["seed"])
    sampler = about.get("sampler") or {}
    if sampler:
        known["sampler"] = ", ".join(f"{name} {value}" for name, value in sampler.items())
    known |= {name: str(about[name]) for name in ("attempts", "seconds") if name in about}
    versions = about.get("versions") or {}
    return known | (
        {"versions": ", ".join(f"{name} {at}" for name, at in versions.items())} if versions else {}
    )


def _in_full(fit: Fit) -> str:
    """Return the spec in words, and in JSON too when it is not one of the package's models."""
    known = fit.spec.name in list_models().index and read_model(fit.spec.name).hash == fit.spec.hash
    return (
        fit.spec.describe()
        if known
        else f"{fit.spec.describe()}\n\n{fit.spec.model_dump_json(indent=1)}"
    )


def _commands(fits: Mapping[str, Fit], asked: Mapping[str, Any], ci_prob: float) -> str:
    """Return the commands that make the fits and the report again, one a line."""
    lines = []
    for label, fit in fits.items():
        words = ["scalebayes", "fit", _table(fit), "-m", fit.spec.name]
        for name, value in _settings(fit).items():
            words += [f"--{name}", str(value)]
        words += ["--quick", "-o", f"{label}.nc"]
        lines.append(shlex.join(words))
    words = ["scalebayes", "report", *(f"{label}.nc" for label in fits)]
    for name, value in asked.items():
        for one in _values(value):
            words += [f"--{name}", f"{one:g}" if isinstance(one, float) else str(one)]
    if ci_prob != CI_PROB:
        words += ["--ci-prob", f"{ci_prob:g}"]
    words += ["-o", "report.html"]
    lines.append(shlex.join(words))
    return "\n".join(lines)


def _settings(fit: Fit) -> dict[str, int]:
    """Return the settings that were asked for, by the name of the option.

    A retry after failed convergence checks changes the sampler's settings, and the command shall
    not ask for those. Files of earlier versions hold only the settings of the last attempt, which
    doubled tuning and draws each time.
    """
    about = fit.metadata
    settings = {}
    if "seed" in about:
        settings["seed"] = int(about["seed"])
    if "asked" in about:
        for name in OPTIONS:
            if name in about["asked"]:
                settings[name] = int(about["asked"][name])
        return settings
    doubled = 2 ** (int(about.get("attempts", 1)) - 1)
    used = about.get("sampler") or {}
    for name in OPTIONS:
        if name in used:
            settings[name] = int(used[name])
            if name != "chains":
                settings[name] //= doubled
    return settings


def _values(value: Any) -> list[Any]:
    """Return the values of one question as a list."""
    if isinstance(value, str | int | float):
        return [value]
    return list(value)


def _table(fit: Fit) -> str:
    """The published table, or the file, that the runs came from."""
    if fit.runs.name in TABLES:
        return fit.runs.name
    return fit.runs.source or f"{fit.runs.name}.csv"
