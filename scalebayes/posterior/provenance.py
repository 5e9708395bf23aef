"""What an answer rests on: the models, their convergence checks, and the reach of their runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from scalebayes.messages import Message
from scalebayes.posterior.answer import Answer
from scalebayes.posterior.fit import Fit, noise_parameters

if TYPE_CHECKING:
    from typing import Self

ATTRIBUTE = "provenance"
"""The one attribute of an answer that holds its provenance, as JSON."""
HASH_DIGITS = 12
"""Digits of a spec's hash that identify it in the table of measured coverage."""


@dataclass(frozen=True)
class Provenance:
    """What an answer rests on; `scalebayes.caveats` and the printed warnings read nothing else.

    Attributes
    ----------
    models
        Names of the models, or labels of the fits of an average.
    spec_hashes
        First digits of the hashes of their specs; empty where weights of an average differ.
    failures
        Codes of failed convergence checks, each after the label of its fit when fits are compared.
    span
        Decades between the smallest and the largest run, in compute or the law's furthest input.
    noise_scale
        Median of sigma, the noise scale of log loss.
    ranges
        Least and largest value among the runs of each input of the law.
    tables
        Names of the tables of runs, and the first digits of their hashes.
    conflicts
        Warnings that table, prior and law contradict each other (`Fit.conflicts`).
    is_average
        Whether the draws of the models are mixed into one answer.
    """

    models: tuple[str, ...] = ()
    spec_hashes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    span: float = math.inf
    noise_scale: float = math.inf
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tables: tuple[str, ...] = ()
    conflicts: tuple[Message, ...] = ()
    is_average: bool = False

    @property
    def name(self) -> str:
        """The models in words; empty where they are not known."""
        if self.is_average:
            return f"the average of {', '.join(self.models)}"
        return " and ".join(self.models)

    @property
    def calibration_key(self) -> str | None:
        """The key of this model or average in the table of measured coverage, or None."""
        if not self.spec_hashes:
            return None
        if self.is_average:
            return "+".join(sorted(self.spec_hashes))
        if len(self.models) == 1 and len(self.spec_hashes) == 1:
            return self.spec_hashes[0]
        return None

    def to_json(self) -> str:
        """Text for the attribute of a dataset."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        stored = json.loads(text)
        for name in ("models", "spec_hashes", "failures"):
            stored[name] = tuple(stored[name])
        # Answers of earlier versions have no tables and no conflicts.
        stored["tables"] = tuple(stored.get("tables", []))
        found = [Message(**message) for message in stored.get("conflicts", [])]
        stored["conflicts"] = tuple(found)
        stored["ranges"] = {x: tuple(limits) for x, limits in stored["ranges"].items()}
        return cls(**stored)


def provenance(answer: xr.Dataset) -> Provenance:
    """Provenance of an answer; an empty one for a dataset of other origin."""
    if ATTRIBUTE not in answer.attrs:
        return Provenance()
    return Provenance.from_json(answer.attrs[ATTRIBUTE])


def with_provenance(answer: xr.Dataset, record: Provenance) -> Answer:
    """The answer with its provenance replaced."""
    attrs = answer.attrs | {ATTRIBUTE: record.to_json()}
    return Answer(answer.data_vars, answer.coords, attrs)


def provenance_of_fit(fit: Fit, span: float) -> Provenance:
    """Return the provenance of an answer of one fit. span: decades of compute of its runs."""
    ranges = {}
    for x in fit.spec.law_object.inputs:
        values = getattr(fit.runs, x)
        ranges[x] = (float(values.min()), float(values.max()))
    spec_hash = fit.spec.hash[:HASH_DIGITS]
    noise_scale = np.median(noise_parameters(fit)["sigma"])
    return Provenance(
        models=(fit.spec.name,),
        spec_hashes=(spec_hash,),
        failures=fit.gate_failures,
        span=span,
        noise_scale=float(noise_scale),
        ranges=ranges,
        tables=keys_of_table(fit),
        conflicts=fit.conflicts,
    )


def keys_of_table(fit: Fit) -> tuple[str, str]:
    """Return the name and the first digits of the hash of a fit's runs, which identify them.

    The runs of a group go by the name of the whole table.
    """
    name = fit.runs.name
    if fit.view is not None:
        name = name.removesuffix(f", {fit.view.group}")
    return name, fit.runs.hash[:HASH_DIGITS]


def combine(
    answers: Mapping[str, xr.Dataset], weights: Sequence[float] | None = None
) -> Provenance:
    """Return the provenance of an answer that combines several fits: the worst of each entry.

    The fewest decades that runs span, the inputs that the runs of all fits cover, the smallest
    noise scale, and all failed convergence checks.

    Parameters
    ----------
    answers
        Answers by label.
    weights
        The weight of each in an average; None where the answers stand side by side.
    """
    by_label = {label: provenance(answer) for label, answer in answers.items()}
    records = list(by_label.values())
    failures: list[str] = []
    for label, record in by_label.items():
        prefix = f"{label}: " if weights is None else ""
        failures += [f"{prefix}{code}" for code in record.failures]

    tables: list[str] = []
    for record in records:
        tables += record.tables

    keys = [record.calibration_key for record in records]
    hashes = tuple(key for key in keys if key is not None)
    if weights is None:
        models = [record.name for record in records]
        hashes = _distinct(hashes)
    else:
        models = list(by_label)
        # Coverage was measured for equal weights, of averages whose every model is known.
        if len(set(weights)) > 1 or None in keys:
            hashes = ()
    shortest_span = min(record.span for record in records)
    least_noise = min(record.noise_scale for record in records)
    return Provenance(
        models=_distinct(models),
        spec_hashes=hashes,
        failures=_distinct(failures),
        span=shortest_span,
        noise_scale=least_noise,
        ranges=_common_ranges(records),
        tables=_distinct(tables),
        conflicts=_all_conflicts(by_label),
        is_average=weights is not None,
    )


def _distinct[T](entries: Iterable[T]) -> tuple[T, ...]:
    """Return the distinct entries in the order of their first appearance."""
    return tuple(dict.fromkeys(entries))


def _all_conflicts(records: Mapping[str, Provenance]) -> tuple[Message, ...]:
    """Return the conflicts of all fits; one that not all share begins with its fit's label."""
    found = []
    for label, record in records.items():
        for message in record.conflicts:
            if all(message in other.conflicts for other in records.values()):
                found.append(message)
            else:
                found.append(replace(message, text=f"{label}: {message.text}"))
    return _distinct(found)


def _common_ranges(records: Sequence[Provenance]) -> dict[str, tuple[float, float]]:
    """Ranges of inputs that all runs cover; an input without a common range is left out."""
    common = {}
    for x in records[0].ranges:
        if not all(x in record.ranges for record in records):
            continue
        low = max(record.ranges[x][0] for record in records)
        high = min(record.ranges[x][1] for record in records)
        if low <= high:
            common[x] = (low, high)
    return common
