"""How far a decision moves when what was assumed is changed: the noise, the discrepancy, the width of the priors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.display import html
from scalebayes.display.terminal import align as align
from scalebayes.display.terminal import wrap as wrap
from scalebayes.errors import GateWarning, QueryError
from scalebayes.fitting.fit import fit as sample
from scalebayes.fitting.many.fit_many import fit_all
from scalebayes.messages import Message
from scalebayes.posterior.average import Average, average
from scalebayes.posterior.fit import Fit, refuse_view
from scalebayes.queries.ahead import _ahead, _answer
from scalebayes.specs.noise import NOISES
from scalebayes.specs.parts import Discrepancy, Prior
from scalebayes.specs.spec import Spec, read_model
from scalebayes.summaries.intervals import CI_PROB, interval_columns, intervals
from scalebayes.summaries.table import Table
from scalebayes.summaries.text import LABELS, cell
from scalebayes.units import format_quantity
from scalebayes.utils.progress import Progress

if TYPE_CHECKING:
    import xarray as xr

    from scalebayes.data.runs import Runs
    from scalebayes.fitting.many.workers import Workers


AS_FITTED = "as fitted"
DEFAULT_DISCREPANCY = "coupled-discrepancy"
"""The model whose discrepancy is added to a law that has none."""


@dataclass(frozen=True, repr=False)
class Sensitivity:
    """A decision under the assumptions as fitted and under others.

    Attributes
    ----------
    fits
        By what was assumed, ``"as fitted"`` first.
    table
        One row an assumption, quantity and target: median, interval, and ``moved``, the median's distance from that as
        fitted in half widths of the interval as fitted (of logs, for N and D).
    messages
        DECISION_MOVES for each assumption that takes a median out of the interval as fitted, GATE_FAILED for each
        refit that failed its gate, and NO_ANSWER for each that has none, a law without an optimum say.
    """

    fits: dict[str, Fit]
    table: Table
    messages: tuple[Message, ...]

    def __repr__(self) -> str:
        return "\n".join([f"{self.table!r}", *map(str, self.messages)])

    def _repr_html_(self) -> str:
        return html.panel(
            "Under other assumptions; moved is in half widths of the interval as fitted",
            html.Html(self.table._repr_html_()),
            html.entries(self.messages),
        )

    def average(self) -> Average:
        """Equal pool of all fits: a forecast that does not bet on one set of assumptions."""
        return average(self.fits)


def sensitivity(
    fit: Fit,
    *,
    N: Any = None,
    D: Any = None,
    C: Any = None,
    ci_prob: float = CI_PROB,
    workers: Workers = 1,
    progress: bool | None = None,
    **sampler: Any,
) -> Sensitivity:
    """Refit with the noise, the discrepancy and the priors changed, and see how far the decision moves.

    Refits are of the law alone with Normal and with Student-t noise, of the law with a discrepancy, and of the model as
    it is with every prior twice as wide (`scalebayes.specs.priors`), except what is the model itself.

    Parameters
    ----------
    fit
        A fit.
    N, D, C
        The decision. C alone: compute-optimal N* and its loss at these budgets; any two: the loss there, as in
        `predict`. By default N* and the loss at ten times the largest run's compute (the loss at ten times the largest
        input, for a law of one).
    ci_prob
        Probability of the equal-tailed intervals.
    workers
        As for `scalebayes.fit_many`: how many refits are made side by side, and where.
    progress
        As in `scalebayes.fit`.
    **sampler
        Passed on to `scalebayes.fit`; by default the seed of the fit.

    Raises
    ------
    QueryError
        As `predict` and `frontier`.
    """
    refuse_view(fit, "assumptions are not varied yet: refit with another pooled model and compare")
    asked = {
        name: value for name, value in {"N": N, "D": D, "C": C}.items() if value is not None
    } or _ahead(fit)
    fits = {AS_FITTED: fit}
    first = intervals(
        _decision(fit, asked), ci_prob
    )  # a wrong question is refused before minutes go into refits
    sampler = {"seed": fit.metadata["seed"]} | sampler
    others = {label: (fit.runs, spec) for label, spec in variants(fit.spec).items()}
    fits |= _refits(others, workers, progress, sampler)
    tables, unanswered = {AS_FITTED: first}, []
    for label, one in list(fits.items())[1:]:
        try:
            tables[label] = intervals(_decision(one, asked), ci_prob)
        except QueryError as error:  # a refit without an optimum is an answer too
            unanswered.append(Message("NO_ANSWER", "warning", f"under '{label}': {error}"))
    table = _moves(tables, ci_prob)
    return Sensitivity(fits, table, (*_messages(table, fits, ci_prob), *unanswered))


def _refits(
    pairs: Mapping[str, tuple[Runs, Spec]],
    workers: Workers,
    progress: bool | None,
    sampler: dict[str, Any],
) -> dict[str, Fit]:
    if workers != 1:
        return fit_all(pairs, workers=workers, progress=progress, **sampler)
    with warnings.catch_warnings(), Progress(progress) as bar:
        warnings.simplefilter("ignore", GateWarning)  # said in the messages
        return {
            label: sample(*pairs[label], progress=False, **sampler)
            for label in bar.steps("refit", pairs, str)
        }


def variants(spec: Spec) -> dict[str, Spec]:
    """Other assumptions about the same law, by what they assume."""
    law_priors = {name: spec.priors[name] for name in spec.law_object.parameter_names}
    out = {}
    if spec.discrepancy is not None:
        other = spec.noise_object.alternative
        words = f"{NOISES[other].label} noise"
        kept = {
            name: spec.priors[name]
            for name in (*NOISES[other].priors, "eta")
            if name in spec.priors
        }
        out[words] = _changed(spec, other, noise=other, priors=law_priors | kept)
    for noise in ("normal", "student_t"):
        words = f"law alone, {NOISES[noise].label} noise"
        if spec.discrepancy is not None or spec.noise != noise:
            kept = {name: spec.priors[name] for name in NOISES[noise].priors if name in spec.priors}
            out[words] = _changed(
                spec, f"{noise}-alone", noise=noise, discrepancy=None, priors=law_priors | kept
            )
    if spec.discrepancy is None:
        added: Discrepancy | None = read_model(DEFAULT_DISCREPANCY).discrepancy
        out["with a discrepancy"] = _changed(spec, "discrepancy", discrepancy=added)
    wide = {name: _widened(prior) for name, prior in spec.priors.items()}
    out["priors twice as wide"] = _changed(spec, "wide", priors=wide)
    return out


def _changed(spec: Spec, suffix: str, **changes: Any) -> Spec:
    """A spec with something changed, validated again; default priors come in for new parameters."""
    kept = {
        name: getattr(spec, name)
        for name in ("title", "law", "noise", "about", "discrepancy", "priors")
    }
    return Spec(name=f"{spec.name}-{suffix}", **kept | changes)


def _widened(prior: Prior) -> Prior:
    arguments = asdict(prior.distribution.widened())
    return Prior.model_validate(
        prior.model_dump() | arguments | {"reason": f"twice as wide: {prior.reason}"}
    )


def _decision(fit: Fit, asked: dict[str, Any]) -> xr.Dataset:
    """N* and the loss at budgets, or the loss at targets."""
    answer = _answer(fit, asked)
    return answer[[name for name in ("N", "loss") if name in answer.data_vars]]


def _moves(tables: dict[str, Table], ci_prob: float) -> Table:
    """One row a target, quantity and assumption, and how far each median moved in half widths of the first interval."""
    import pandas as pd

    columns = ["median", *interval_columns(ci_prob)]
    cells = np.stack(
        [table[columns].to_numpy() for table in tables.values()], axis=1
    )  # (rows, assumptions, 3)
    keys = tables[AS_FITTED].index.to_frame(index=False)
    scale = keys["quantity"].isin(["N", "D"]).to_numpy()[:, None, None]
    logs = np.where(scale, np.log(cells), cells)
    half = (logs[:, :1, 2] - logs[:, :1, 1]) / 2
    table = pd.DataFrame(cells.reshape(-1, 3), columns=columns)
    table["moved"] = ((logs[..., 0] - logs[:, :1, 0]) / half).ravel()
    again = keys.loc[keys.index.repeat(len(tables))].reset_index(drop=True)
    again["assumed"] = [*tables] * len(keys)
    out = Table(table.set_index(pd.MultiIndex.from_frame(again)))
    out.attrs = {"ci_prob": ci_prob, "ci_kind": "eti"}
    return out


def _messages(table: Table, fits: dict[str, Fit], ci_prob: float) -> Iterator[Message]:
    lower, upper = interval_columns(ci_prob)
    keys = [str(name) for name in table.index.names if name != "assumed"]
    base: dict[Any, Any] = {}
    for row in table.reset_index().to_dict("records"):
        base = row if row["assumed"] == AS_FITTED else base
        if not base[lower] <= row["median"] <= base[upper]:
            where = ", ".join(
                f"{x} = {format_quantity(float(row[x]))}" for x in keys if x != "quantity"
            )
            what = {"N": "N*", "loss": "the loss"}[str(row["quantity"])]
            text = f"{what} at {where} leaves its interval under '{row['assumed']}': it rests on what was assumed"
            yield Message("DECISION_MOVES", "warning", text)
    for label, fit in fits.items():
        if label != AS_FITTED and fit.gate_failures:
            text = f"the refit '{label}' failed its gate ({', '.join(fit.gate_failures)})"
            yield Message("GATE_FAILED", "warning", text)


def sensitivity_table(moved: Sensitivity) -> str:
    """Lay out the answer of `sensitivity`: one line an assumption, one column a quantity, with how far it moved."""
    from scalebayes.validation.sensitivity import AS_FITTED

    ci_prob = moved.table.attrs["ci_prob"]
    keys = [str(name) for name in moved.table.index.names if name not in ("quantity", "assumed")]
    answered = dict.fromkeys(moved.table.index.get_level_values("assumed"))
    lines: dict[str, dict[str, str]] = {label: {"assumed": label} for label in answered}
    for row in moved.table.reset_index().to_dict("records"):
        scale = row["quantity"] == "N"
        where = ", ".join(f"{x} = {format_quantity(float(row[x]))}" for x in keys)
        shift = "" if row["assumed"] == AS_FITTED else f"  ({row['moved']:+.1f})"
        lines[row["assumed"]][f"{LABELS[row['quantity']]} at {where}"] = (
            f"{cell(row, ci_prob, scale)}{shift}"
        )
    return "\n".join([align([*lines.values()]), *map(wrap, moved.messages)])
