"""Results as text for a terminal: aligned tables in readable units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from scalebayes.display.numbers import decimals_known, known, number, percent
from scalebayes.display.terminal import WIDTH as WIDTH
from scalebayes.display.terminal import align as align
from scalebayes.display.terminal import wrap as wrap
from scalebayes.laws.tuned import STEP_LAW
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.summaries.caveats import caveats
from scalebayes.summaries.headings import LABELS as LABELS
from scalebayes.summaries.intervals import CI_PROB, error_column, interval_columns, intervals
from scalebayes.summaries.summary import exponents, summary

if TYPE_CHECKING:
    import pandas as pd

    from scalebayes.messages import Message
    from scalebayes.specs.parts import Published

SHARES = {"reachable", "probability", "a_better", "a_better_new_run", "expected_waste"}
SHARES |= {"p_best", "p_saves", "p_never"}
"""Coordinates and quantities that are shares, written as percentages."""
LARGE = 1e5
"""Absolute median at and above which a quantity is written like 70B."""
WIDE_RATIO = 5
"""Ratio of the ends of an interval above which no number of decimals suits both ends."""
MOST_DECIMALS = 4
"""Most decimals of a number."""
SMALL_END = 0.1
"""Upper end below which an interval is written with decimals, however large its ratio."""


def kind_of_interval(ci_prob: float) -> str:
    """Return the probability and kind of an interval, such as "90% equal-tailed"."""
    return f"{100 * ci_prob:g}% equal-tailed"


def cell(row: Any, ci_prob: float, scale: bool = False) -> str:
    """Return ``median [lower, upper]``, with the digits that the draws and the interval warrant.

    No digit is below the Monte Carlo error of its number, where the row has one.

    Parameters
    ----------
    row
        Median and ends of the interval, under the names of `interval_columns`, and their Monte
        Carlo errors under those of `error_column`.
    ci_prob
        Probability of the interval.
    scale
        Whether the quantity is a scale such as N, D or C, written like 70B.
    """
    names = ["median", *interval_columns(ci_prob)]
    values = [float(row[name]) for name in names]
    errors = [float(row.get(error_column(name), np.nan)) for name in names]
    median, low, high = values
    if np.isnan(low):  # without draws
        return number(known(median, errors[0]), scale)
    if low == high:  # for example the difference of a baseline from itself
        return number(median, scale)

    scale = scale or abs(median) >= LARGE
    errors[0] = _error_within(median, errors[0], low, high)
    rounded = [known(*each) for each in zip(values, errors, strict=True)]
    if scale or not np.isfinite(high):
        return _bracket(*(number(value, scale and np.isfinite(value)) for value in rounded))
    if 0 < WIDE_RATIO * low < high and high >= SMALL_END:
        return _bracket(*map(_short, rounded))
    # Two significant digits of the width, as far as they are known.
    of_width = np.clip(1 - np.floor(np.log10(high - low)), 0, MOST_DECIMALS)
    of_ends = min(of_width, *map(decimals_known, errors[1:]))
    of_median = min(of_width, decimals_known(errors[0]))
    decimals = [int(max(each, 0)) for each in (of_median, of_ends, of_ends)]
    return _bracket(*(f"{x:z.{count}f}" for x, count in zip(rounded, decimals, strict=True)))


def _error_within(median: float, error: float, low: float, high: float) -> float:
    """Return the error by which a median is rounded so that it stays within its interval.

    A median between two modes may be known less well than the ends of its interval.
    """
    while low < median < high and not low <= known(median, error) <= high:
        error /= 10
    return error


def _short(value: float) -> str:
    """Return a number to three digits, without an exponent below 1e5."""
    return f"{value:.3g}" if abs(value) < 999.5 else number(value)


def _bracket(median: str, low: str, high: str) -> str:
    return f"{median} [{low}, {high}]"


def beyond(decades: float, limit: bool = False) -> str:
    """Return the distance of a target beyond the largest run in words.

    Parameters
    ----------
    decades
        The distance; infinite at an infinite input, or for a target that half of the draws never
        reach.
    limit
        Whether the target has an infinite input.
    """
    if not np.isfinite(decades):
        return "a limit" if limit else "never reached"
    if decades < 0.005:
        return "none"
    return f"{decades:.2f} decades"


def draws_table(
    dataset: xr.Dataset,
    ci_prob: float = CI_PROB,
    labels: Mapping[str, str] = LABELS,
    *,
    in_full: bool = False,
    said: set[Message] | None = None,
) -> str:
    """Return an answer as text: one line a target, coordinates first, then a column a quantity.

    Parameters
    ----------
    dataset
        An answer in draws, with ``decades_beyond``.
    ci_prob
        Probability of the intervals.
    labels
        Headings as in `LABELS`; other headings are the names.
    in_full, said
        Whether the caveats below are in full, and which were printed above (`caveat_lines`).
    """
    parts = [align(*draws_rows(dataset, ci_prob, labels))]
    lines = caveat_lines(caveats(dataset), in_full=in_full, said=said)
    if lines:
        parts += ["", *lines]
    return "\n".join(parts)


def draws_rows(
    dataset: xr.Dataset, ci_prob: float = CI_PROB, labels: Mapping[str, str] = LABELS
) -> tuple[list[dict[str, str]], int]:
    """Return an answer as rows of text by heading, one a target, and how many columns name it."""
    table = intervals(dataset, ci_prob)
    names = [str(x) for x in table.index.names if x != "quantity"]
    table = table.reset_index()
    words = [x for x in names if isinstance(table[x].iloc[0], str)]
    keys = [x for x in ("N", "D", "C", *words) if x in names]
    coordinates = [*keys, *(x for x in names if x not in keys)]

    furthest = dataset["decades_beyond"].attrs["of"]
    measure = "compute" if furthest == "C" else furthest
    rows = []
    # The quantities of a target follow each other. Targets may have the same coordinates.
    for start in range(0, len(table), len(dataset.data_vars)):
        target = table.iloc[start : start + len(dataset.data_vars)]
        values = [target[x].iloc[0] for x in coordinates]
        row = {}
        for x, value in zip(coordinates, values, strict=True):
            error = dataset[x].attrs.get("mcse", np.nan)
            row[labels.get(f"{x}=", x)] = along(x, value, error)
        decades = target["decades_beyond"].iloc[0]
        row[f"{measure} beyond the largest run"] = beyond(decades, _any_infinite(values))
        for _, quantity in target.iterrows():
            name = quantity["quantity"]
            row[labels.get(name, name)] = _of_quantity(name, quantity, ci_prob)
        rows.append(row)

    return rows, max(1, len(keys))


def caveat_lines(
    found: Iterable[Message], *, in_full: bool = False, said: set[Message] | None = None
) -> list[str]:
    """Return caveats as lines of text, each in brief unless asked for in full.

    Parameters
    ----------
    found
        The caveats of an answer.
    in_full
        Whether to give the full text of each.
    said
        Caveats that were printed above, to which these are added. Of those only the codes are
        printed again.
    """
    before = set() if said is None else said
    lines = []
    repeated = []
    for message in found:
        if message in before:
            repeated.append(message.code)
            continue
        lines.append(wrap(message if in_full else message.in_brief()))
    if repeated:
        lines.append(wrap(f"as above: {', '.join(repeated)}"))
    before.update(found)
    return lines


def _of_quantity(name: str, row: Any, ci_prob: float) -> str:
    """Return a quantity of a target as text: a share as a percentage, else with its interval."""
    if name in SHARES:
        return percent(row["median"])
    return cell(row, ci_prob, scale=name[0] in "NDC" or "batch" in name)


def _any_infinite(values: Sequence[Any]) -> bool:
    """Return whether any coordinate of a target is infinite."""
    return any(isinstance(value, float) and np.isinf(value) for value in values)


def along(name: str, value: Any, error: float = np.nan) -> str:
    """Return a coordinate of a target as text: N, D and C like 70B, shares as percentages.

    error: its Monte Carlo error, where it is computed from draws.
    """
    if not isinstance(value, Real):  # a word or a date
        return str(value)
    if name in SHARES:
        return percent(float(value))
    if name == "step":
        return f"{value:.0f}"
    return number(known(float(value), error), scale=name[0] in "NDC")


def exponents_line(fit: Fit | Average, ci_prob: float = CI_PROB) -> str:
    """Return the exponents of the best rate and batch with intervals, and those of Step Law.

    Empty for an average, each of whose fits has its own.
    """
    if isinstance(fit, Average):
        return ""
    table = summary(fit, ci_prob)
    lines = ["Exponents of N and D, and Step Law's (Li et al. 2025)"]
    for name, of_step_law in STEP_LAW.items():
        lines.append(f"  {name:16}  {cell(table.loc[name], ci_prob):24}  {of_step_law:6.3f}")
    return "\n".join(lines)


def summary_table(fit: Fit, ci_prob: float = CI_PROB) -> str:
    """Return the answer of `summary` as text: one line a parameter, published values on the right.

    A star marks published values that count parameters otherwise than in total; a line below the
    table says how.
    """
    table = summary(fit, ci_prob)
    if fit.groups:
        return _group_columns(fit, table, ci_prob)
    scales = _scale_names(fit)
    rows = []
    for name, values in table.iterrows():
        is_scale = name in scales
        row = {
            "parameter": str(name),
            f"median [{100 * ci_prob:g}%]": cell(values, ci_prob, is_scale),
            **_worst_convergence(table.loc[[name]]),
        }
        for entry in fit.spec.published:
            row[_heading(entry)] = number(values[entry.label], is_scale)
        rows.append(row)
    notes = [
        f"  * {entry.label}: {entry.counting}"
        for entry in fit.spec.published
        if not _counts_total_parameters(entry)
    ]
    return "\n".join([align(rows), *notes])


def _scale_names(fit: Fit) -> set[str]:
    """Return the parameters that are scales, such as N_c, which are written like 70B."""
    return {parameter.name for parameter in fit.spec.law_object.parameters if parameter.scale_of}


def _worst_convergence(rows: pd.DataFrame) -> dict[str, str]:
    """Return the largest R-hat and the smallest effective sample size of some rows of `summary`."""
    return {
        "R-hat": f"{rows['r_hat'].max():.3f}",
        "ESS": f"{rows[['ess_bulk', 'ess_tail']].to_numpy().min():.0f}",
    }


def _group_columns(fit: Fit, table: pd.DataFrame, ci_prob: float) -> str:
    """Return the summary of a pooled fit as text: one line a parameter, one column a group.

    The population's median and the spread of logs between groups follow. Parameters that the groups
    share stand in the column of the population.
    """
    scales = _scale_names(fit)
    headings = [*fit.groups, "population", "spread of logs"]
    names = dict.fromkeys(str(name).split("[")[0] for name in table.index)
    rows = []
    for name in names:
        if name.endswith(("_population", "_spread")):
            continue
        keys = {group: f"{name}[{group}]" for group in fit.groups}
        if keys[fit.groups[0]] in table.index:
            keys |= {"population": f"{name}_population", "spread of logs": f"{name}_spread"}
        else:
            keys = {"population": name}
        # Derived quantities of the groups have neither population nor spread.
        keys = {heading: key for heading, key in keys.items() if key in table.index}
        row = {"parameter": name, **dict.fromkeys(headings, "")}
        for heading, key in keys.items():
            is_scale = name in scales and heading != "spread of logs"
            row[heading] = cell(table.loc[key], ci_prob, is_scale)
        rows.append(row | _worst_convergence(table.loc[list(keys.values())]))
    return align(rows)


def _counts_total_parameters(entry: Published) -> bool:
    return entry.counting in ("", "total parameters")


def _heading(entry: Published) -> str:
    """Return the heading of published values, with a star where they count otherwise."""
    return entry.label if _counts_total_parameters(entry) else f"{entry.label}*"


def _exponent(row: Any, ci_prob: float) -> str:
    """Return an exponent of `exponents` with its interval, if it has one."""
    if np.isfinite(row["mcse_a"]):  # of a fit
        lower, upper = interval_columns(ci_prob)
        names = {"a": "median", "low": lower, "high": upper}
        names |= {error_column(name): error_column(column) for name, column in names.items()}
        return cell(row.rename(names), ci_prob)
    # As printed: with two decimals, unless there are more.
    decimals = 2 if row["a"] == round(row["a"], 2) else 3
    a = f"{row['a']:.{decimals}f}"
    if not row["interval"]:
        return a
    return f"{a} [{row['low']:.3f}, {row['high']:.3f}]"


def exponents_table(fits: Mapping[str, Fit], ci_prob: float = CI_PROB) -> str:
    """Return the answer of `exponents` as text: one line a source, with its interval and kind."""
    rows = []
    for source, row in exponents(fits, ci_prob).iterrows():
        a = _exponent(row, ci_prob)
        name = str(source)
        if row["counts"] == "non-embedding":
            name += " (non-embedding N and C)"
        rows.append({"source": name, "a": a, "interval": row["interval"]})
    return align(rows)
