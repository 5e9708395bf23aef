"""Results as text for a terminal: aligned tables in human units, each interval with its probability and kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from scalebayes.display.numbers import number, percent
from scalebayes.display.terminal import WIDTH as WIDTH
from scalebayes.display.terminal import align as align
from scalebayes.display.terminal import wrap as wrap
from scalebayes.posterior.fit import Fit
from scalebayes.summaries.caveats import caveats
from scalebayes.summaries.intervals import CI_PROB, interval_columns, intervals
from scalebayes.summaries.summary import exponents, summary

if TYPE_CHECKING:
    import pandas as pd

    from scalebayes.specs.parts import Published

LABELS = {
    "law": "loss (law alone)",
    "N": "N*",
    "D": "D*",
    "tokens_per_param": "tokens/parameter",
    "loss": "loss (curve)",
    "new_run": "new run",
    "difference": "difference (curve)",
    "law_difference": "difference (law alone)",
    "p_best": "P(best)",
    "multiplier": "compute multiplier",
    "p_saves": "P(saves)",
    "p_never": "P(never reached)",
    "U=": "unique tokens",
}
SHARES = {"reachable", "chance", "a_better", "a_better_new_run", "expected_waste"}
"""What stands along a target and is a share."""


def kind_of_interval(ci_prob: float) -> str:
    """Say an interval's probability and kind, as in "90% equal-tailed"."""
    return f"{100 * ci_prob:g}% equal-tailed"


def cell(row: Any, ci_prob: float, scale: bool = False) -> str:
    """One quantity as ``median [lower, upper]``; all three with the decimals that the interval's width warrants."""
    low, high = (row[name] for name in interval_columns(ci_prob))
    if np.isnan(low):  # no draws behind it: a probability
        return f"{row['median']:.2f}"
    if low == high:  # the baseline's difference from itself
        return number(row["median"], scale)
    scale = scale or abs(row["median"]) >= 1e5
    if not np.isfinite(high):
        return f"{number(row['median'], scale)} [{number(low, scale)}, {number(high)}]"
    if scale:
        return f"{number(row['median'], True)} [{number(low, True)}, {number(high, True)}]"
    if 0 < 5 * low < high and high >= 0.1:  # no number of decimals suits both ends
        return f"{row['median']:.3g} [{low:.3g}, {high:.3g}]"
    width = high - low
    decimals = int(np.clip(1 - np.floor(np.log10(width)), 0, 4)) if width > 0 else 3
    return f"{row['median']:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def beyond(decades: float, limit: bool = False) -> str:
    """How far beyond the largest run a target lies, in words; without end at a limit, or where half do not reach it."""
    if not np.isfinite(decades):
        return "a limit" if limit else "never there"
    return "none" if decades < 0.005 else f"{decades:.2f} decades"


def draws_table(
    dataset: xr.Dataset, ci_prob: float = CI_PROB, labels: Mapping[str, str] = LABELS
) -> str:
    """Lay out an answer in draws: one line a target, first what stands along it, then one column a quantity.

    `labels` are the headings of quantities and of what stands along the targets, where the bare names will not do.
    """
    table = intervals(dataset, ci_prob)
    names = [str(x) for x in table.index.names if x != "quantity"]
    table = table.reset_index()
    words = [x for x in names if isinstance(table[x].iloc[0], str)]
    asked = [x for x in ("N", "D", "C", *words) if x in names]
    inputs = [*asked, *(x for x in names if x not in asked)]
    distance = {"C": "compute"}.get(
        dataset["decades_beyond"].attrs["of"], dataset["decades_beyond"].attrs["of"]
    )
    rows = []
    for key, target in table.groupby(inputs, sort=False, dropna=False):
        row = {
            labels.get(f"{x}=", x): along(x, value) for x, value in zip(inputs, key, strict=True)
        }
        row[f"{distance} beyond the largest run"] = beyond(
            target["decades_beyond"].iloc[0], _infinite(key)
        )
        for _, quantity in target.iterrows():
            name = quantity["quantity"]
            row[labels.get(name, name)] = cell(quantity, ci_prob, scale=name[0] in "NDC")
        rows.append(row)
    found = caveats(dataset)
    return "\n".join([align(rows, max(1, len(asked))), *([""] if found else []), *map(wrap, found)])


def _infinite(key: Sequence[Any]) -> bool:
    """Whether a target was asked for at infinity."""
    return any(isinstance(value, float) and np.isinf(value) for value in key)


def along(name: str, value: Any) -> str:
    """What stands along a target: N, D and C as 70B, shares as percents, words as they are."""
    if isinstance(value, str):
        return value
    if name in SHARES:
        return percent(float(value))
    return number(float(value), scale=name[0] in "NDC")


def summary_table(fit: Fit, ci_prob: float = CI_PROB) -> str:
    """Lay out the answer of `summary`: one line a parameter, the published values on the right.

    A star marks published values that count something else than total parameters, and a line below says what.
    """
    table = summary(fit, ci_prob)
    if fit.groups:
        return _by_group(fit, table, ci_prob)
    scales = {p.name for p in fit.spec.law_object.parameters if p.scale_of}
    rows = [
        {
            "parameter": str(name),
            f"median [{100 * ci_prob:g}%]": cell(row, ci_prob, scale=name in scales),
            "R-hat": f"{row['r_hat']:.3f}",
            "ESS": f"{min(row['ess_bulk'], row['ess_tail']):.0f}",
        }
        | {
            _heading(entry): number(row[entry.label], name in scales)
            for entry in fit.spec.published
        }
        for name, row in table.iterrows()
    ]
    notes = [
        f"  * {entry.label}: {entry.counting}"
        for entry in fit.spec.published
        if _heading(entry)[-1] == "*"
    ]
    return "\n".join([align(rows), *notes])


def _by_group(fit: Fit, table: pd.DataFrame, ci_prob: float) -> str:
    """Lay out a pooled fit: one line a parameter, the groups, the population's median and the spread in columns."""
    scales = {p.name for p in fit.spec.law_object.parameters if p.scale_of}
    names = list(dict.fromkeys(str(name).split("[")[0] for name in table.index))
    rows = []
    for name in names:
        if name.endswith(("_population", "_spread")):
            continue
        keys = (
            {group: f"{name}[{group}]" for group in fit.groups}
            if f"{name}[{fit.groups[0]}]" in table.index
            else {}
        )
        keys |= (
            {"population": f"{name}_population", "spread of logs": f"{name}_spread"}
            if keys
            else {"population": name}
        )
        given = {heading: key for heading, key in keys.items() if key in table.index}
        cells = {
            h: cell(table.loc[k], ci_prob, name in scales and h != "spread of logs")
            for h, k in given.items()
        }
        of = table.loc[list(given.values())]
        worst = {
            "R-hat": f"{of['r_hat'].max():.3f}",
            "ESS": f"{of[['ess_bulk', 'ess_tail']].to_numpy().min():.0f}",
        }
        headings = dict.fromkeys([*fit.groups, "population", "spread of logs"], "")
        rows.append({"parameter": name} | headings | cells | worst)
    return align(rows)


def _heading(entry: Published) -> str:
    return entry.label if entry.counting in ("", "total parameters") else f"{entry.label}*"


def exponents_table(fits: Mapping[str, Fit], ci_prob: float = CI_PROB) -> str:
    """Lay out the answer of `exponents`: one line a source, its interval and the kind of it."""
    rows = []
    for source, row in exponents(fits, ci_prob).iterrows():
        digits = 3 if row["a"] != round(row["a"], 2) else 2
        ends = f" [{row['low']:.3f}, {row['high']:.3f}]" if row["interval"] else ""
        counted = f" ({row['counts']} N and C)" if row["counts"] == "non-embedding" else ""
        rows.append(
            {
                "source": f"{source}{counted}",
                "a": f"{row['a']:.{digits}f}{ends}",
                "interval": row["interval"],
            }
        )
    return align(rows)
