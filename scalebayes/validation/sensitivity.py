"""Sensitivity of a decision to the assumptions: noise, drift or discrepancy, widths of priors."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.comparison.average import average
from scalebayes.display import html
from scalebayes.display.terminal import align, wrap
from scalebayes.errors import GateWarning, QueryError
from scalebayes.fitting.fit import fit as sample
from scalebayes.fitting.many.fit_many import fit_all
from scalebayes.messages import Message
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit, refuse_view
from scalebayes.queries.ahead import answer_at, inputs_ahead
from scalebayes.specs.discrepancy import KERNELS
from scalebayes.specs.noise import NOISES
from scalebayes.specs.parts import Discrepancy, Prior
from scalebayes.specs.spec import Spec, read_model
from scalebayes.summaries.intervals import CI_PROB, interval_columns, intervals
from scalebayes.summaries.table import Table
from scalebayes.summaries.text import LABELS, cell
from scalebayes.units import format_quantity
from scalebayes.utils.progress import Progress

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from scalebayes.data.runs import Runs
    from scalebayes.fitting.many.workers import Workers


AS_FITTED = "as fitted"
DEFAULT_DISCREPANCY = "coupled-discrepancy"
DEFAULT_DRIFT = "coupled-drift"
"""Model whose discrepancy is added to a law that has none."""
NOISES_OF_LAW_ALONE = ("normal", "student_t")
"""Noises under which the runs are fitted again by the law without discrepancy."""
LOG_QUANTITIES = ("N", "D")
"""Quantities whose shifts are measured on the log scale, because they range over decades."""
NAMES = {"N": "N*", "loss": "the loss"}
"""Names of quantities in messages."""


@dataclass(frozen=True, repr=False)
class Sensitivity:
    """A decision under the assumptions as fitted and under others.

    Attributes
    ----------
    fits
        Fits by assumption, ``"as fitted"`` first.
    table
        One row for each target, quantity and assumption: median, interval, and ``moved``, the
        distance of the median from that as fitted, in half widths of the interval as fitted (on the
        log scale for N and D).
    messages
        DECISION_MOVES for each assumption whose median lies outside the interval as fitted,
        GATE_FAILED for each refit that failed its convergence checks, and NO_ANSWER for each that
        has no answer, such as a law without an optimum.
    """

    fits: dict[str, Fit]
    table: Table
    messages: tuple[Message, ...]

    def __repr__(self) -> str:
        return "\n".join([f"{self.table!r}", *map(wrap, self.messages)])

    def _repr_html_(self) -> str:
        return html.panel(
            "Under other assumptions; moved is in half widths of the interval as fitted",
            html.Html(self.table._repr_html_()),
            html.entries(self.messages),
        )

    def average(self) -> Average:
        """Average of all fits with equal weights, which does not rely on one set of assumptions."""
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
    """Shifts of a decision when the noise, the drift, the discrepancy or the priors are changed.

    The runs are fitted again under other noise, by the law alone, and with every prior twice as
    wide (`scalebayes.specs.priors`). Where exponents drift, they drift half and twice as far, and a
    smooth discrepancy takes the place of the drift. A discrepancy has half and twice its length,
    and the other kernel. A law alone gets drift.

    Parameters
    ----------
    fit
        A fit.
    N, D, C
        The decision. C alone: compute-optimal N* and its loss at these budgets. Any two: the loss
        there, as in `predict`. By default N* and the loss at ten times the largest run's compute
        (for a law of one input, the loss at ten times the largest).
    ci_prob
        Probability of the equal-tailed intervals.
    workers
        Number of refits made side by side, or where, as for `scalebayes.fit_many`.
    progress
        As in `scalebayes.fit`.
    **sampler
        Passed on to `scalebayes.fit`; the default seed is that of the fit.

    Raises
    ------
    QueryError
        As `predict` and `frontier`.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> moved = sb.sensitivity(fit, C="1e24")
    >>> moved.table.xs("loss", level="quantity")["median"].round(2)
    C             assumed
    1.000000e+24  as fitted                  1.95
                  law alone, Normal noise    1.98
                  with drift                 1.88
                  priors twice as wide       1.95
    Name: median, dtype: float64
    """
    refuse_view(
        fit, "sensitivity is not supported: refit with another pooled model and compare the fits"
    )
    given = {"N": N, "D": D, "C": C}
    asked = {name: value for name, value in given.items() if value is not None}
    if not asked:
        asked = inputs_ahead(fit)
    # Asked before the refits, which take minutes, so that an invalid question is refused at once.
    tables = {AS_FITTED: intervals(_decision(fit, asked), ci_prob)}

    specs = variants(fit.spec)
    options = {"seed": fit.metadata["seed"]} | sampler
    refits = _refit(fit.runs, specs, workers, progress, options)
    messages = []
    for label, refit in refits.items():
        try:
            tables[label] = intervals(_decision(refit, asked), ci_prob)
        except QueryError as error:  # the refit may have no optimum, which is a finding too
            messages.append(Message("NO_ANSWER", "warning", f"under '{label}': {error}"))
    table = table_of_moves(tables, ci_prob)
    messages = [*_moved_messages(table, ci_prob), *_gate_messages(refits), *messages]
    return Sensitivity({AS_FITTED: fit} | refits, table, tuple(messages))


def _refit(
    runs: Runs,
    specs: Mapping[str, Spec],
    workers: Workers,
    progress: bool | None,
    options: dict[str, Any],
) -> dict[str, Fit]:
    """Return fits of the same runs by each spec, by label."""
    if workers != 1:
        jobs = {label: (runs, spec) for label, spec in specs.items()}
        return fit_all(jobs, workers=workers, progress=progress, **options)
    fits = {}
    with warnings.catch_warnings(), Progress(progress) as bar:
        warnings.simplefilter("ignore", GateWarning)  # reported in the messages
        for label in bar.steps("refit", specs, str):
            fits[label] = sample(runs, specs[label], progress=False, **options)
    return fits


def variants(spec: Spec) -> dict[str, Spec]:
    """Specs of the same law under other assumptions, by a description of what is changed."""
    if spec.drift is not None:
        specs = _with_other_noise(spec) | _other_drifts(spec)
        specs |= _with_discrepancy(spec) | _law_alone(spec, [spec.noise])
    elif spec.discrepancy is not None:
        specs = _with_other_noise(spec) | _other_discrepancies(spec, spec.discrepancy)
        specs |= _law_alone(spec, NOISES_OF_LAW_ALONE)
    else:
        others = [noise for noise in NOISES_OF_LAW_ALONE if noise != spec.noise]
        specs = _law_alone(spec, others)
        law = spec.law_object
        # Only losses drift, and sweeps have errors of their own in place of it.
        if law.response == "loss" and not law.hyperparameters:
            specs |= _with_drift(spec)
    wide = {name: _widened(prior) for name, prior in spec.priors.items()}
    specs["priors twice as wide"] = _changed(spec, "wide", priors=wide)
    return specs


def _with_other_noise(spec: Spec) -> dict[str, Spec]:
    """Return a spec with a discrepancy or drift under the alternative noise."""
    noise = spec.noise_object.alternative
    further = set(spec.scatter_names) - set(spec.noise_object.priors)
    priors = _priors_kept(spec, (*NOISES[noise].priors, *further))
    return {f"{NOISES[noise].label} noise": _changed(spec, noise, noise=noise, priors=priors)}


def _other_drifts(spec: Spec) -> dict[str, Spec]:
    """Return a spec whose local exponents drift half and twice as far a priori."""
    specs = {}
    for words, factor in {"half": 0.5, "twice": 2.0}.items():
        priors = dict(spec.priors)
        for name in set(spec.scatter_names) - set(spec.noise_object.priors):
            prior = spec.priors[name]
            median = {"median": factor * prior.arguments["median"]}
            reason = {"reason": f"{words} as far: {prior.reason}"}
            priors[name] = Prior.model_validate(prior.model_dump() | median | reason)
        label = f"exponents drift {words} as far"
        specs[label] = _changed(spec, f"drift-{words}", priors=priors)
    return specs


def _other_discrepancies(spec: Spec, discrepancy: Discrepancy) -> dict[str, Spec]:
    """Return a spec whose discrepancy has half or twice the length, or the other kernel."""
    specs = {}
    for words, factor in {"half": 0.5, "twice": 2.0}.items():
        changed = discrepancy.model_copy(update={"length": factor * discrepancy.length})
        label = f"{words} the length of the discrepancy"
        specs[label] = _changed(spec, f"length-{words}", discrepancy=changed)
    for kernel in KERNELS:
        if kernel != discrepancy.kernel:
            changed = discrepancy.model_copy(update={"kernel": kernel})
            label = f"kernel {kernel.replace('_', ' ')}"
            specs[label] = _changed(spec, kernel, discrepancy=changed)
    return specs


def _law_alone(spec: Spec, noises: Iterable[str]) -> dict[str, Spec]:
    """Return the law without a discrepancy or drift under each noise."""
    specs = {}
    for noise in noises:
        specs[f"law alone, {NOISES[noise].label} noise"] = _changed(
            spec,
            f"{noise}-alone",
            noise=noise,
            discrepancy=None,
            drift=None,
            priors=_priors_kept(spec, NOISES[noise].priors),
        )
    return specs


def _with_discrepancy(spec: Spec) -> dict[str, Spec]:
    """Return a spec with the smooth discrepancy of a model in place of any drift."""
    added = read_model(DEFAULT_DISCREPANCY).discrepancy
    priors = _priors_kept(spec, spec.noise_object.priors)
    changed = _changed(spec, "discrepancy", discrepancy=added, drift=None, priors=priors)
    return {"a smooth discrepancy in place of drift": changed}


def _with_drift(spec: Spec) -> dict[str, Spec]:
    """Return a spec of the law alone with the default drift added."""
    added = read_model(DEFAULT_DRIFT).drift
    return {"with drift": _changed(spec, "drift", drift=added)}


def _priors_kept(spec: Spec, others: Iterable[str]) -> dict[str, Prior]:
    """Return the priors of the law's parameters, and of these others where the spec has them."""
    names = [*spec.law_object.parameter_names, *others]
    return {name: spec.priors[name] for name in names if name in spec.priors}


def _changed(spec: Spec, suffix: str, **changes: Any) -> Spec:
    """Return a spec with changed fields, validated again; new parameters get default priors."""
    fields = ("title", "law", "noise", "about", "discrepancy", "drift", "priors")
    kept = {name: getattr(spec, name) for name in fields}
    return Spec(name=f"{spec.name}-{suffix}", **kept | changes)


def _widened(prior: Prior) -> Prior:
    """Return a prior of twice the width, validated again."""
    arguments = asdict(prior.distribution.widened())
    reason = {"reason": f"twice as wide: {prior.reason}"}
    return Prior.model_validate(prior.model_dump() | arguments | reason)


def _decision(fit: Fit, asked: dict[str, Any]) -> xr.Dataset:
    """Return N* and the loss at budgets, or the loss at targets."""
    answer = answer_at(fit, asked)
    return answer[[name for name in ("N", "loss") if name in answer.data_vars]]


def table_of_moves(tables: Mapping[str, Table], ci_prob: float) -> Table:
    """Table with a row for each target, quantity and assumption, as `Sensitivity.table`.

    tables : of `intervals` by assumption, with the same rows; that as fitted among them.
    """
    import pandas as pd

    lower, upper = interval_columns(ci_prob)
    columns = ["median", lower, upper]
    fitted = _on_scale(tables[AS_FITTED][columns])
    half_width = (fitted[upper] - fitted[lower]) / 2
    parts = {}
    for label, table in tables.items():
        part = table[columns].copy()
        shift = _on_scale(part)["median"] - fitted["median"]
        part["moved"] = shift / half_width
        parts[label] = part
    stacked = pd.concat(parts, names=["assumed"])
    keys = [str(name) for name in tables[AS_FITTED].index.names]
    # Bring the assumptions of one target and quantity together, in their order.
    rows = np.arange(len(stacked)).reshape(len(tables), -1).T.ravel()
    out = Table(stacked.reorder_levels([*keys, "assumed"]).iloc[rows])
    out.attrs = {"ci_prob": ci_prob, "ci_kind": "eti"}
    return out


def _on_scale(table: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of a table, as logs for sizes and tokens."""
    is_log = table.index.get_level_values("quantity").isin(LOG_QUANTITIES)
    numbers = table.copy()
    numbers.loc[is_log] = np.log(numbers.loc[is_log])
    return numbers


def _moved_messages(table: Table, ci_prob: float) -> Iterator[Message]:
    """Yield a message for each median outside the interval as fitted."""
    lower, upper = interval_columns(ci_prob)
    keys = [str(name) for name in table.index.names if name not in ("assumed", "quantity")]
    fitted: dict[Any, Any] = {}
    for row in table.reset_index().to_dict("records"):
        if row["assumed"] == AS_FITTED:
            fitted = row  # first of the rows of its target and quantity
        if not fitted[lower] <= row["median"] <= fitted[upper]:
            text = (
                f"{NAMES[str(row['quantity'])]} at {_inputs(row, keys)} leaves its interval under "
                f"'{row['assumed']}': the decision depends on this assumption"
            )
            yield Message("DECISION_MOVES", "warning", text)


def _gate_messages(refits: Mapping[str, Fit]) -> Iterator[Message]:
    """Yield a message for each refit that failed its convergence checks."""
    for label, fit in refits.items():
        if fit.gate_failures:
            failures = ", ".join(fit.gate_failures)
            text = f"the refit '{label}' failed its convergence checks ({failures})"
            yield Message("GATE_FAILED", "warning", text)


def _inputs(row: Mapping[Any, Any], keys: list[str]) -> str:
    """Return the inputs of a row as text, such as "N = 70B, D = 1.4T"."""
    return ", ".join(f"{name} = {format_quantity(float(row[name]))}" for name in keys)


def sensitivity_table(moved: Sensitivity) -> str:
    """Text table of a sensitivity: a line for each assumption, a column for each quantity.

    Each cell holds the median, its interval and, in parentheses, how far the median moved.
    """
    table = moved.table
    ci_prob = table.attrs["ci_prob"]
    keys = [str(name) for name in table.index.names if name not in ("quantity", "assumed")]
    lines: dict[str, dict[str, str]] = {}
    for row in table.reset_index().to_dict("records"):
        label = row["assumed"]
        text = cell(row, ci_prob, scale=row["quantity"] == "N")
        if label != AS_FITTED:
            text += f"  ({row['moved']:+z.1f})"
        line = lines.setdefault(label, {"assumed": label})
        line[f"{LABELS[row['quantity']]} at {_inputs(row, keys)}"] = text
    return "\n".join([align([*lines.values()]), *map(wrap, moved.messages)])
