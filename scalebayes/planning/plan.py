"""IsoFLOP sweeps laid out before any run exists, and refused in words where they would say little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scalebayes.costs.cost import SIX_ND, Cost, size_for
from scalebayes.display import html
from scalebayes.display.terminal import paragraph
from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import quantities
from scalebayes.queries.optimum import numeric_optimum
from scalebayes.specs.spec import Spec, prior_draws, read_model
from scalebayes.summaries.table import Table
from scalebayes.summaries.text import align
from scalebayes.units import format_quantity

FEWEST_SIZES = 5
"""A parabola has three coefficients; with fewer than two runs to spare its minimum has no error to speak of."""
SHORTEST = 1.0
"""Decades of compute below which an exponent of N* ~ C^a is hardly seen."""
BRACKETED = 0.8
"""Probability that a minimum lies inside its sweep below which the sweep is refused."""
WITHIN = 3.0
"""The guess in tokens per parameter holds N* to this factor with 90%, around 20 from 2 to 180 tokens per parameter.
Published optima run from 14 (Kaplan et al. 2020, at 1e20 FLOP) to 73 (Hoffmann et al. 2022, approach 3, at 5.76e23)."""
NORMAL_95 = 1.6448536269514722


@dataclass(frozen=True)
class Plan:
    """Runs to make.

    Attributes
    ----------
    table
        One row a run, in order.
    title, notes
        What they are for, and what to know before making them, in words.
    """

    table: Table
    title: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        notes = [paragraph(f"note: {note}") for note in self.notes]
        return "\n".join(
            [
                paragraph(self.title),
                "",
                *([rows_as_text(self.table), ""] if len(self.table) else []),
                *notes,
            ]
        ).rstrip()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html.panel(self.title, html.Html(self.table._repr_html_()), html.entries(self.notes))


def rows_as_text(table: Table) -> str:
    """Lay out a table of runs for a terminal: quantities as 70B, probabilities and widths short."""
    scales = {"N", "D", "C", "cost", "total_cost", "tokens_per_param"}
    rows = [
        {
            str(name).replace("_", " "): format_quantity(float(value))
            if name in scales
            else f"{value:.3g}"
            for name, value in row.items()
        }
        for row in table.to_dict("records")
    ]
    return align(rows)


def plan(
    C: Any,
    *,
    levels: int | None = None,
    sizes: int = 7,
    span: float = 16.0,
    around: float | str | Spec | Fit | Average = 20.0,
    budget: Any = None,
    cost: Cost = SIX_ND,
    strict: bool = True,
    draws: int = 4000,
    seed: int = 0,
) -> Plan:
    r"""Lay out isoFLOP sweeps: at each budget C, `sizes` values of N around a guess of N*, with cost(N, D) = C.

    Each sweep brackets its minimum if its best run is neither the smallest nor the largest. Near the optimum the loss
    is all but a parabola in log N, so that is the case if N* lies between the geometric means of the two smallest and
    of the two largest sizes; its probability is that of N* under the guess, before noise.

    Parameters
    ----------
    C
        Budgets in FLOP of one run each, or with `levels` the least and the largest of that many, evenly spaced in log.
    sizes, span
        How many sizes a budget, and the largest over the smallest.
    around
        The guess of N*: tokens per parameter, which hold N* within a factor 3 with 90% (log-normal); a model, by name
        or `Spec`, for its prior; ``"model: label"`` for values published for a model, within the same factor 3; or a
        fit or an average, for its posterior.
    budget
        FLOP that all runs together may cost.
    cost
        What a run costs.
    strict
        Whether a sweep that would say little is refused; else the reasons become notes.
    draws, seed
        Of the prior.

    Returns
    -------
    Plan
        One row a run: ``C``, ``N``, ``D``, ``tokens_per_param``, ``cost``, ``total_cost`` so far, and ``p_bracketed``,
        the probability that the minimum of its budget is bracketed. ``table.attrs["total_cost"]`` is the total.

    Raises
    ------
    QueryError
        With every reason: fewer than five sizes, less than a decade of compute, a minimum that is bracketed with a
        probability under 0.8, a budget exceeded; or a guess that cannot be read.
    """
    budgets = _budgets(C, levels)
    if not (sizes >= 2 and span > 1):
        raise QueryError(
            f"a sweep needs 2 sizes or more, over a span above 1; got {sizes} over {span:g}"
        )
    optimum = guess_optimum(around, budgets, cost, draws, seed)  # (draws, budgets)
    factors = np.geomspace(span**-0.5, span**0.5, sizes)
    N = np.nanmedian(optimum, axis=0)[:, None] * factors
    D = np.stack([cost.affordable_tokens(n, c) for n, c in zip(N, budgets, strict=True)])
    inner = np.sqrt(factors[:-1] * factors[1:])[[0, -1]]
    ratio = optimum / np.nanmedian(optimum, axis=0)
    bracketed = ((ratio > inner[0]) & (ratio < inner[1])).mean(axis=0)
    table = _rows(budgets, N, D, bracketed, sizes)
    allowed = None if budget is None else float(quantities(budget, "budget")[0])
    faults = [
        *_faults(budgets, sizes, allowed),
        *_unbracketed(budgets, bracketed, ratio, sizes, span),
    ]
    if np.isnan(D).any():
        raise QueryError(
            f"at {cost.name} some budgets pay for no tokens at the sizes around the guess: lower the span"
        )
    if faults and strict:
        raise QueryError("this sweep would say little: " + "; ".join(faults))
    title = (
        f"{len(budgets)} isoFLOP sweeps of {sizes} sizes, {len(table)} runs, {format_quantity(budgets.sum() * sizes)} "
        f"FLOP in all; N* guessed from {_described(around)}"
    )
    return Plan(table, title, tuple(faults))


def _budgets(C: Any, levels: int | None) -> np.ndarray:
    budgets = np.unique(quantities(C, "C"))
    if np.isinf(budgets).any():
        raise QueryError("C must be finite: budgets of one run each")
    if levels is None:
        return budgets
    if len(budgets) != 2 or levels < 2:
        raise QueryError(
            f"levels needs the least and the largest C and 2 levels or more; got {len(budgets)}, {levels}"
        )
    return np.geomspace(float(budgets[0]), float(budgets[1]), levels)


def guess_optimum(
    around: Any, budgets: np.ndarray, cost: Cost, draws: int, seed: int
) -> np.ndarray:
    """Draws of N* at each budget under a guess, (draws, budgets); NaN where a draw has none.

    Raises
    ------
    QueryError
        When the guess cannot be read, or its law has no optimum.
    """
    if isinstance(around, Fit | Average):
        return frontier(around, C=budgets, cost=cost)["N"].values.reshape(-1, len(budgets))
    if isinstance(around, Spec | str):
        name, _, label = around.partition(":") if isinstance(around, str) else (around, "", "")
        spec = read_model(name.strip() if isinstance(name, str) else name)
        if not label:
            return _law_optimum(spec, prior_draws(spec, draws, seed), budgets, cost)
        values = {k: np.array([v]) for k, v in _published(spec, label.strip()).items()}
        centre = _law_optimum(spec, values, budgets, cost)[0]
    elif isinstance(around, int | float) and around > 0 and np.isfinite(around):
        centre = np.array([size_for(cost, float(around), c) for c in budgets])
    else:
        raise QueryError(f"around is tokens per parameter, a model or a fit; got {around!r}")
    spread = np.log(WITHIN) / NORMAL_95
    levels = (
        np.arange(draws) + 0.5
    ) / draws  # quantiles in place of draws: the same every time, without noise
    return centre * np.exp(spread * _normal_quantiles(levels))[:, None]


def _normal_quantiles(levels: np.ndarray) -> np.ndarray:
    from scipy import stats

    return stats.norm.ppf(levels)


def _published(spec: Spec, label: str) -> dict[str, float]:
    for entry in spec.published:
        if entry.label == label:
            return spec.law_object.from_notation(entry.values)
    known = ", ".join(f"'{spec.name}: {entry.label}'" for entry in spec.published) or "none"
    raise QueryError(
        f"no values called '{label}' are published for '{spec.name}'; there are {known}"
    )


def _law_optimum(
    spec: Spec, values: dict[str, np.ndarray], budgets: np.ndarray, cost: Cost
) -> np.ndarray:
    """N* of a law at the budgets for parameters (S,), shape (S, budgets)."""
    law = spec.law_object
    if law.inputs != ("N", "D"):
        raise QueryError(
            f"'{spec.name}' is a law of {' and '.join(law.inputs)} alone: it has no optimal N"
        )
    parameters = {name: values[name] for name in law.parameter_names}
    if cost is SIX_ND and law.optimal_N is not None:
        with np.errstate(
            all="ignore"
        ):  # prior draws of almost no exponent have no optimum that is a number
            return law.optimise(budgets / 6.0, {k: v[:, None] for k, v in parameters.items()})
    return np.stack([numeric_optimum(law, parameters, c, cost) for c in budgets], axis=-1)


def _rows(
    budgets: np.ndarray, N: np.ndarray, D: np.ndarray, bracketed: np.ndarray, sizes: int
) -> Table:
    cost = np.repeat(budgets, sizes)
    columns = {
        "C": cost,
        "N": N.ravel(),
        "D": D.ravel(),
        "tokens_per_param": (D / N).ravel(),
        "cost": cost,
    }
    columns |= {"total_cost": np.cumsum(cost), "p_bracketed": np.repeat(bracketed, sizes)}
    table = Table(columns, index=pd.RangeIndex(1, len(cost) + 1, name="run"))
    table.attrs = {"total_cost": float(cost.sum())}
    return table


def _faults(budgets: np.ndarray, sizes: int, allowed: float | None) -> list[str]:
    faults = []
    if sizes < FEWEST_SIZES:
        faults.append(
            f"{sizes} sizes a budget: a parabola needs at least {FEWEST_SIZES} for a minimum with an error"
        )
    if (decades := np.log10(budgets.max() / budgets.min())) < SHORTEST:
        faults.append(
            f"budgets over {decades:.2f} decades of compute: an exponent needs at least {SHORTEST:g}"
        )
    total = budgets.sum() * sizes
    if allowed is not None and total > allowed * (1 + 1e-9):
        scale = format_quantity(budgets.max() * allowed / total)
        faults.append(
            f"{format_quantity(total)} FLOP in all, but the budget is {format_quantity(allowed)}: "
            f"the same sweeps fit it up to C = {scale}"
        )
    return faults


def _unbracketed(
    budgets: np.ndarray, bracketed: np.ndarray, ratio: np.ndarray, sizes: int, span: float
) -> list[str]:
    """Say where a minimum is likely missed, and the span that would hold it."""
    poor = bracketed < BRACKETED
    if not poor.any():
        return []
    where = ", ".join(
        f"{p:.0%} at C = {format_quantity(c)}"
        for c, p in zip(budgets[poor], bracketed[poor], strict=True)
    )
    distance = np.nan_to_num(np.abs(np.log(ratio)), nan=np.inf)
    reach = float(
        np.quantile(distance, BRACKETED, axis=0, method="higher").max()
    )  # half of log(inner span)
    steps = (sizes - 1) / max(sizes - 2, 1e-9)
    needed = (
        "no span would do"
        if not np.isfinite(reach) or reach > 50
        else f"a span of {format_quantity(np.exp(2 * reach * steps))}"
    )
    return [
        f"the minimum is bracketed with a probability of {where} only, for a span of {span:g}: "
        f"{needed} would make it {BRACKETED:.0%}, or a better guess of N*"
    ]


def _described(around: Any) -> str:
    if isinstance(around, Fit | Average):
        return (
            "the posterior of " + repr(around).strip("<>").removeprefix("Fit of ").partition(":")[0]
        )
    if isinstance(around, Spec):
        return f"the prior of {around.name}"
    if isinstance(around, str):
        return f"the values of {around}" if ":" in around else f"the prior of {around}"
    return f"{around:g} tokens per parameter, within a factor {WITHIN:g} of N with 90%"
