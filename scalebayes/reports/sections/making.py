"""The section that says how a report was made: specs in full, versions, seeds, hashes, and commands that repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from scalebayes.datasets import TABLES
from scalebayes.posterior.fit import Fit
from scalebayes.reports.contract import Cell, Listing, Section, Table
from scalebayes.specs.spec import list_models, read_model


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
        "Hashes are of what was fitted: the table's contents and the spec's law, noise and priors. A fit saved by "
        "scalebayes fit holds runs, spec and draws, and refuses to load when they do not belong together."
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
    """The spec in words; one that is not among the models in JSON too, from which it can be made again."""
    known = fit.spec.name in list_models().index and read_model(fit.spec.name).hash == fit.spec.hash
    return (
        fit.spec.describe()
        if known
        else f"{fit.spec.describe()}\n\n{fit.spec.model_dump_json(indent=1)}"
    )


def _commands(fits: Mapping[str, Fit], asked: Mapping[str, Any], ci_prob: float) -> str:
    lines, files = [], []
    for label, fit in fits.items():
        about = fit.metadata
        files.append(f"{label}.nc")
        words = ["scalebayes", "fit", _table(fit), "-m", fit.spec.name]
        words += ["--seed", str(about["seed"])] if "seed" in about else []
        sampler = about.get("sampler") or {}
        doubled = 2 ** (
            int(about.get("attempts", 1)) - 1
        )  # each repeat after a failed gate took twice as many
        for name, times in (("chains", 1), ("draws", doubled), ("tune", doubled)):
            words += [f"--{name}", str(sampler[name] // times)] if name in sampler else []
        lines.append(shlex.join([*words, "--quick", "-o", files[-1]]))
    words = ["scalebayes", "report", *files]
    for name, value in asked.items():
        for one in [value] if isinstance(value, str | int | float) else list(value or ()):
            words += [f"--{name}", f"{one:g}" if isinstance(one, float) else str(one)]
    words += [] if ci_prob == 0.9 else ["--ci-prob", f"{ci_prob:g}"]
    lines.append(shlex.join([*words, "-o", "report.html"]))
    return "\n".join(lines)


def _table(fit: Fit) -> str:
    """The published table, or the file, that the runs came from."""
    if fit.runs.name in TABLES:
        return fit.runs.name
    return fit.runs.source or f"{fit.runs.name}.csv"
