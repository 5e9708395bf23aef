"""IsoFLOP sweeps laid out before any run exists, and refused where they would tell little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scalebayes.costs.cost import SIX_ND, Cost, sizes_for
from scalebayes.data.findings.design import (
    ENOUGH,
    FURTHER,
    NOISE_SCALE,
    design_precision,
    needed_spread,
    on_one_ray,
)
from scalebayes.display import html
from scalebayes.display.terminal import paragraph
from scalebayes.errors import QueryError
from scalebayes.planning.conditioning import ROUNDING
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import quantities
from scalebayes.queries.optima.one_budget import numeric_optimum
from scalebayes.specs.spec import Spec, prior_draws, read_model
from scalebayes.summaries.table import Table
from scalebayes.summaries.text import align
from scalebayes.units import format_quantity
from scalebayes.utils.progress import shows_progress

MIN_SIZES = 5
"""Fewest sizes at a budget: a parabola has three coefficients, and two further runs give its
minimum an error that can be estimated."""
MIN_DECADES = 1.0
"""Least range of compute, in decades, over which the exponent of N* ~ C^a can be estimated."""
MIN_BRACKETED = 0.8
"""Least probability that a minimum lies inside its sweep; less is refused."""
MAX_LOG_RATIO = 50.0
"""Largest |log(N / N*)| that a span is advised for; e^50 is beyond any model."""
GUESS_FACTOR = 3.0
"""A guess in tokens per parameter contains N* within this factor with probability 90%.

Around 20 that is 2 to 180 tokens per parameter. Published optima run from 14 (Kaplan et al. 2020,
at 1e20 FLOP) to 73 (Hoffmann et al. 2022, approach 3, at 5.76e23)."""
NORMAL_95 = 1.6448536269514722
"""The 95% quantile of the standard Normal: an interval of 90% ends there."""
SCALES = {"N", "D", "C", "cost", "total_cost", "tokens_per_param"}
"""Columns of a table of runs that are written as 70B."""


@dataclass(frozen=True)
class Plan:
    """Runs to make, as `next_runs` and `plan` return them.

    Attributes
    ----------
    table
        One row for each run, in order.
    title, notes
        Their purpose in a sentence, and the assumptions and caveats.
    """

    table: Table
    title: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [paragraph(self.title), ""]
        if len(self.table):
            lines += [rows_as_text(self.table), ""]
        lines += [paragraph(f"note: {note}") for note in self.notes]
        return "\n".join(lines).rstrip()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html.panel(self.title, html.Html(self.table._repr_html_()), html.entries(self.notes))


def rows_as_text(table: Table) -> str:
    """Return a table of runs for a terminal: quantities as 70B, probabilities and widths short."""
    rows = []
    for record in table.to_dict("records"):
        row = {}
        for name, value in record.items():
            heading = str(name).replace("_", " ")
            row[heading] = format_quantity(value) if name in SCALES else f"{value:.2g}"
        rows.append(row)
    return align(rows)


@shows_progress("designing sweeps")
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
    r"""Return isoFLOP sweeps: at each budget C, `sizes` values of N around a guess of N*.

    D follows from cost(N, D) = C. A sweep brackets its minimum if its best run is neither the
    smallest nor the largest. Near the optimum the loss is nearly a parabola in log N, so the
    minimum is bracketed if N* lies between the geometric means of the two smallest and of the two
    largest sizes. The probability of that is taken under the guess of N*, before noise.

    Parameters
    ----------
    C
        Budgets in FLOP of one run each; or, with `levels`, the least and the largest of that many
        budgets, evenly spaced in log C.
    sizes, span
        Number of sizes at a budget, and the ratio of the largest to the smallest.
    around
        The guess of N*: tokens per parameter, which contain N* within a factor 3 with probability
        90% (log-normal); a model, by name or `Spec`, for its prior, unless that is relative to a
        table; ``"model: label"`` for values published for a model, within the same factor 3; or a
        fit or an average, for its posterior.
    budget
        FLOP that all runs together may cost.
    cost
        What a run costs.
    strict
        Whether sweeps that would tell little are refused; otherwise the reasons become notes.
    draws, seed
        Number of draws of a prior, and their seed.

    Returns
    -------
    Plan
        One row for each run: ``C``, ``N``, ``D``, ``tokens_per_param``, ``cost``, ``total_cost`` so
        far, and ``p_bracketed``, the probability that the minimum of its budget is bracketed.
        ``table.attrs["total_cost"]`` is the total. The last note says how well the spread of D/N
        will determine the compute-optimal N, the exponents and a larger run, from the information
        matrix of the additive law, and how much less runs of one D/N would.

    Raises
    ------
    QueryError
        With every reason: fewer than five sizes, less than a decade of compute, a minimum that is
        bracketed with a probability under 0.8, a budget exceeded; or a guess that cannot be read.

    Examples
    --------
    >>> plan = sb.plan(["1e18", "1e20"], levels=3, sizes=5)
    >>> plan.table[["C", "N", "D"]].head(3)
    run    C      N      D
      1 1e18 22.82M 7.303B
      2 1e18 45.64M 3.651B
      3 1e18 91.29M 1.826B
    """
    budgets = _read_budgets(C, levels)
    if sizes < 2 or not span > 1:
        raise QueryError(
            f"a sweep needs 2 sizes or more, over a span above 1; got {sizes} over {span:g}"
        )
    allowed = None if budget is None else float(quantities(budget, "budget")[0])

    optimum = guess_optimum(around, budgets, cost, draws, seed)
    centre = np.nanmedian(optimum, axis=0)
    factors = np.geomspace(span**-0.5, span**0.5, sizes)
    N = centre[:, None] * factors
    D = np.stack([cost.affordable_tokens(n, c) for n, c in zip(N, budgets, strict=True)])
    if np.isnan(D).any():
        raise QueryError(
            f"at {cost.name} some budgets pay for no tokens at the sizes around the guess: "
            "lower the span"
        )
    # The best run is an inner one if N* lies between the midpoints, in log N, at either end.
    lowest = np.sqrt(factors[0] * factors[1])
    highest = np.sqrt(factors[-2] * factors[-1])
    ratio = optimum / centre
    bracketed = ((ratio > lowest) & (ratio < highest)).mean(axis=0)

    faults = [
        *_design_faults(budgets, sizes, allowed),
        *_bracket_faults(budgets, bracketed, ratio, sizes, span),
    ]
    if faults and strict:
        raise QueryError("these sweeps would tell little: " + "; ".join(faults))
    table = _runs_table(budgets, N, D, bracketed)
    title = (
        f"{len(budgets)} isoFLOP sweeps of {sizes} sizes, {len(table)} runs, "
        f"{format_quantity(budgets.sum() * sizes)} FLOP in all; "
        f"N* guessed from {_describe_guess(around)}"
    )
    return Plan(table, title, (*faults, _what_runs_tell(budgets, N, D)))


def _what_runs_tell(budgets: np.ndarray, N: np.ndarray, D: np.ndarray) -> str:
    """Return what a plan's runs determine, and what runs of one D/N at the same cost would.

    N, D: shape (budgets, sizes).
    """
    ratio = D / N
    varies = float((ratio.max(axis=1) / ratio.min(axis=1)).min())
    log_N, log_D = np.log(N.ravel()), np.log(D.ravel())
    planned = design_precision(log_N, log_D, NOISE_SCALE)
    ray = on_one_ray(log_N, log_D)
    on_ray = design_precision(*ray, NOISE_SCALE)
    note = (
        f"D/N varies by a factor of {varies:.3g} at each compute. Whatever the losses, if the law "
        f"is like Chinchilla's and the noise {NOISE_SCALE:.1%}, these runs determine the "
        f"compute-optimal N at {format_quantity(budgets.max())} FLOP within a factor of "
        f"{planned.factor_in_words} (90%), alpha_N/alpha_D with a standard error of "
        f"{planned.ratio_error:.2g}, and the loss at {FURTHER:g} times the compute and D/N within "
        f"{planned.loss_error:.1%} (90%). If all had the same D/N, at the same cost: a factor of "
        f"{on_ray.factor_in_words}, {on_ray.ratio_error:.2g} and {on_ray.loss_error:.1%}"
    )
    needed = needed_spread(*ray, NOISE_SCALE)
    if planned.factor > ENOUGH and needed is not None:
        note += (
            f". D/N that varies by a factor of {10**needed:.2g} (a span of "
            f"{10 ** (needed / 2):.2g}) would determine the compute-optimal N within a factor of "
            f"{ENOUGH:g}"
        )
    return note


def _read_budgets(C: Any, levels: int | None) -> np.ndarray:
    budgets = np.unique(quantities(C, "C"))
    if np.isinf(budgets).any():
        raise QueryError("C must be finite: budgets of one run each")
    if levels is None:
        return budgets
    if len(budgets) != 2 or levels < 2:
        raise QueryError(
            "levels needs the least and the largest C and 2 levels or more; "
            f"got {len(budgets)}, {levels}"
        )
    return np.geomspace(float(budgets[0]), float(budgets[1]), levels)


def guess_optimum(
    around: Any, budgets: np.ndarray, cost: Cost, draws: int, seed: int
) -> np.ndarray:
    """Return draws of N* at each budget under a guess, shape (draws, budgets).

    A draw without an optimum is NaN.

    Raises
    ------
    QueryError
        When the guess cannot be read, or its law has no optimum.
    """
    if isinstance(around, Fit | Average):
        return frontier(around, C=budgets, cost=cost)["N"].values.reshape(-1, len(budgets))
    if isinstance(around, Spec):
        return _law_optimum(around, _prior_of(around, draws, seed), budgets, cost)
    if isinstance(around, str):
        name, _, label = around.partition(":")
        spec = read_model(name.strip())
        if not label:
            return _law_optimum(spec, _prior_of(spec, draws, seed), budgets, cost)
        published = _published_values(spec, label.strip())
        values = {parameter: np.array([value]) for parameter, value in published.items()}
        return _spread(_law_optimum(spec, values, budgets, cost)[0], draws)
    if isinstance(around, int | float) and around > 0 and np.isfinite(around):
        centre = sizes_for(cost, np.full(len(budgets), float(around)), np.asarray(budgets))
        return _spread(centre, draws)
    raise QueryError(f"around is tokens per parameter, a model or a fit; got {around!r}")


def _prior_of(spec: Spec, draws: int, seed: int) -> dict[str, np.ndarray]:
    """Return draws of the parameters from the prior of a spec, (draws,) each.

    Raises
    ------
    QueryError
        When the prior is relative to a table, because there is none, or the law has no optimum.
    """
    _check_has_optimum(spec)
    if spec.is_relative:
        raise QueryError(
            f"the priors of '{spec.name}' are relative to a table of runs, so without one they say "
            "nothing of N*: give tokens per parameter (20, say), the values published for a model "
            "('chinchilla: LABEL'), a fit, or a model whose priors are in units"
        )
    return prior_draws(spec, draws, seed)


def _spread(centre: np.ndarray, draws: int) -> np.ndarray:
    """Return log-normal draws around sizes, (budgets,), within `GUESS_FACTOR` with 90%.

    They are evenly spaced quantiles, not random numbers: without noise, and always the same.
    """
    from scipy import stats

    levels = (np.arange(draws) + 0.5) / draws
    sd = np.log(GUESS_FACTOR) / NORMAL_95
    return centre * np.exp(sd * stats.norm.ppf(levels))[:, None]


def _published_values(spec: Spec, label: str) -> dict[str, float]:
    """Return the parameters published for a model under a label."""
    for entry in spec.published:
        if entry.label == label:
            return spec.law_object.from_notation(entry.values)
    known = ", ".join(f"'{spec.name}: {entry.label}'" for entry in spec.published) or "none"
    raise QueryError(
        f"no values called '{label}' are published for '{spec.name}'; there are {known}"
    )


def _check_has_optimum(spec: Spec) -> None:
    """Raise a QueryError for a law whose tuned runs have other inputs than N and D."""
    inputs = spec.law_object.at_best.inputs
    if not {"N", "D"} <= set(inputs):
        raise QueryError(
            f"'{spec.name}' is a law of {' and '.join(inputs)} alone: it has no optimal N"
        )
    others = [x for x in inputs if x not in ("N", "D")]
    if others:
        raise QueryError(
            f"N* of '{spec.name}' also depends on {' and '.join(others)}, for which plan has no "
            "value: give tokens per parameter (20, say), or a model of N and D alone"
        )


def _law_optimum(
    spec: Spec, values: dict[str, np.ndarray], budgets: np.ndarray, cost: Cost
) -> np.ndarray:
    """Return N* of a law at the budgets for parameters of shape (S,), shape (S, budgets)."""
    _check_has_optimum(spec)
    law = spec.law_object.at_best
    parameters = {name: values[name] for name in law.parameter_names}
    if cost is SIX_ND and law.optimal_N is not None:
        columns = {name: value[:, None] for name, value in parameters.items()}
        # Draws of a prior with an exponent near zero have an optimum beyond any number.
        with np.errstate(all="ignore"):
            return law.optimise(budgets / 6.0, columns)
    return np.stack([numeric_optimum(law, parameters, c, cost) for c in budgets], axis=-1)


def _runs_table(budgets: np.ndarray, N: np.ndarray, D: np.ndarray, bracketed: np.ndarray) -> Table:
    """Return one row for each run; N and D have shape (budgets, sizes)."""
    sizes = N.shape[1]
    cost = np.repeat(budgets, sizes)
    columns = {
        "C": cost,
        "N": N.ravel(),
        "D": D.ravel(),
        "tokens_per_param": (D / N).ravel(),
        "cost": cost,
        "total_cost": np.cumsum(cost),
        "p_bracketed": np.repeat(bracketed, sizes),
    }
    table = Table(columns, index=pd.RangeIndex(1, len(cost) + 1, name="run"))
    table.attrs = {"total_cost": float(cost.sum())}
    return table


def _design_faults(budgets: np.ndarray, sizes: int, allowed: float | None) -> list[str]:
    """Return what is wrong with the sweeps whatever N* is."""
    faults = []
    if sizes < MIN_SIZES:
        faults.append(
            f"{sizes} sizes a budget: a parabola needs at least {MIN_SIZES} "
            "for a minimum with an error"
        )
    decades = np.log10(budgets.max() / budgets.min())
    if decades < MIN_DECADES:
        faults.append(
            f"budgets over {decades:.2f} decades of compute: "
            f"an exponent needs at least {MIN_DECADES:g}"
        )
    total = budgets.sum() * sizes
    if allowed is not None and total > allowed * ROUNDING:
        largest = format_quantity(budgets.max() * allowed / total)
        faults.append(
            f"{format_quantity(total)} FLOP in all, but the budget is {format_quantity(allowed)}: "
            f"the same sweeps fit it up to C = {largest}"
        )
    return faults


def _bracket_faults(
    budgets: np.ndarray, bracketed: np.ndarray, ratio: np.ndarray, sizes: int, span: float
) -> list[str]:
    """Return which minima are likely missed, and the span that would bracket them.

    ratio: draws of N* over their median, shape (draws, budgets).
    """
    poor = bracketed < MIN_BRACKETED
    if not poor.any():
        return []
    probabilities = []
    for budget, probability in zip(budgets[poor], bracketed[poor], strict=True):
        probabilities.append(f"{probability:.0%} at C = {format_quantity(budget)}")

    # The bracket must reach the quantile of |log(N* / centre)| on both sides of the centre.
    distance = np.nan_to_num(np.abs(np.log(ratio)), nan=np.inf)
    reach = float(np.quantile(distance, MIN_BRACKETED, axis=0, method="higher").max())
    advice = "no span would do"
    if reach <= MAX_LOG_RATIO:
        # The bracket is narrower than the span by half a step at either end.
        steps = (sizes - 1) / max(sizes - 2, 1e-9)
        advice = f"a span of {format_quantity(np.exp(2 * reach * steps))}"
    return [
        f"the minimum is bracketed with a probability of {', '.join(probabilities)} only, "
        f"for a span of {span:g}: {advice} would make it {MIN_BRACKETED:.0%}, "
        "or a better guess of N*"
    ]


def _describe_guess(around: Any) -> str:
    if isinstance(around, Fit | Average):
        name, _, _ = repr(around).strip("<>").removeprefix("Fit of ").partition(":")
        return f"the posterior of {name}"
    if isinstance(around, Spec):
        return f"the prior of {around.name}"
    if isinstance(around, str):
        return f"the values of {around}" if ":" in around else f"the prior of {around}"
    return (
        f"{around:g} tokens per parameter, within a factor {GUESS_FACTOR:g} of N "
        "with probability 90%"
    )
