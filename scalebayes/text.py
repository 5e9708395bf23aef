"""Results as text for a terminal: aligned tables in human units, each interval with its probability and kind."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from scalebayes.caution import caveats
from scalebayes.layout import WIDTH as WIDTH
from scalebayes.layout import align as align
from scalebayes.layout import wrap as wrap
from scalebayes.posterior import Fit
from scalebayes.tables import CI_PROB, exponents, interval_columns, intervals, summary
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    import pandas as pd

    from scalebayes.comparison import Comparison
    from scalebayes.robustness import Sensitivity
    from scalebayes.spec_parts import Published

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


def number(value: float, scale: bool = False) -> str:
    """Write a number for people: scales and large numbers as 70B, the rest to four significant digits."""
    if not np.isfinite(value):
        return "-" if np.isnan(value) else str(value)
    return format_quantity(value) if scale or abs(value) >= 1e5 else f"{value:.4g}"


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


def draws_table(dataset: xr.Dataset, ci_prob: float = CI_PROB, labels: Mapping[str, str] = LABELS) -> str:
    """Lay out an answer in draws: one line a target, first what stands along it, then one column a quantity.

    `labels` are the headings of quantities and of what stands along the targets, where the bare names will not do.
    """
    table = intervals(dataset, ci_prob)
    names = [str(x) for x in table.index.names if x != "quantity"]
    table = table.reset_index()
    words = [x for x in names if isinstance(table[x].iloc[0], str)]
    asked = [x for x in ("N", "D", "C", *words) if x in names]
    inputs = [*asked, *(x for x in names if x not in asked)]
    distance = {"C": "compute"}.get(dataset["decades_beyond"].attrs["of"], dataset["decades_beyond"].attrs["of"])
    rows = []
    for key, target in table.groupby(inputs, sort=False, dropna=False):
        row = {labels.get(f"{x}=", x): along(x, value) for x, value in zip(inputs, key, strict=True)}
        row[f"{distance} beyond the largest run"] = beyond(target["decades_beyond"].iloc[0], _infinite(key))
        for _, quantity in target.iterrows():
            name = quantity["quantity"]
            row[labels.get(name, name)] = cell(quantity, ci_prob, scale=name[0] in "NDC")
        rows.append(row)
    found = caveats(dataset)
    return "\n".join([align(rows, max(1, len(asked))), *([""] if found else []), *map(wrap, found)])


def _infinite(key: Sequence[Any]) -> bool:
    """Whether a target was asked for at infinity."""
    return any(isinstance(value, float) and np.isinf(value) for value in key)


def sensitivity_table(moved: Sensitivity) -> str:
    """Lay out the answer of `sensitivity`: one line an assumption, one column a quantity, with how far it moved."""
    from scalebayes.robustness import AS_FITTED  # here: it brings all that makes fits

    ci_prob = moved.table.attrs["ci_prob"]
    keys = [str(name) for name in moved.table.index.names if name not in ("quantity", "assumed")]
    answered = dict.fromkeys(moved.table.index.get_level_values("assumed"))
    lines: dict[str, dict[str, str]] = {label: {"assumed": label} for label in answered}
    for row in moved.table.reset_index().to_dict("records"):
        scale = row["quantity"] == "N"
        where = ", ".join(f"{x} = {format_quantity(float(row[x]))}" for x in keys)
        shift = "" if row["assumed"] == AS_FITTED else f"  ({row['moved']:+.1f})"
        lines[row["assumed"]][f"{LABELS[row['quantity']]} at {where}"] = f"{cell(row, ci_prob, scale)}{shift}"
    return "\n".join([align([*lines.values()]), *map(wrap, moved.messages)])


def paragraph(text: str) -> str:
    """Sentences in lines no longer than `WIDTH`."""
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def along(name: str, value: Any) -> str:
    """What stands along a target: N, D and C as 70B, shares as percents, words as they are."""
    if isinstance(value, str):
        return value
    if name in SHARES:
        return percent(float(value))
    return number(float(value), scale=name[0] in "NDC")


def percent(share: float) -> str:
    """A share of the draws, which a finite number of them never knows to be 0 or 1."""
    if np.isnan(share) or 0.001 <= share <= 0.999:
        return "-" if np.isnan(share) else f"{100 * share:.1f}%"
    return "under 0.1%" if share < 0.5 else "over 99.9%"


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
        | {_heading(entry): number(row[entry.label], name in scales) for entry in fit.spec.published}
        for name, row in table.iterrows()
    ]
    notes = [f"  * {entry.label}: {entry.counting}" for entry in fit.spec.published if _heading(entry)[-1] == "*"]
    return "\n".join([align(rows), *notes])


def _by_group(fit: Fit, table: pd.DataFrame, ci_prob: float) -> str:
    """Lay out a pooled fit: one line a parameter, the groups, the population's median and the spread in columns."""
    scales = {p.name for p in fit.spec.law_object.parameters if p.scale_of}
    names = list(dict.fromkeys(str(name).split("[")[0] for name in table.index))
    rows = []
    for name in names:
        if name.endswith(("_population", "_spread")):
            continue
        keys = {group: f"{name}[{group}]" for group in fit.groups} if f"{name}[{fit.groups[0]}]" in table.index else {}
        keys |= (
            {"population": f"{name}_population", "spread of logs": f"{name}_spread"} if keys else {"population": name}
        )
        given = {heading: key for heading, key in keys.items() if key in table.index}
        cells = {h: cell(table.loc[k], ci_prob, name in scales and h != "spread of logs") for h, k in given.items()}
        of = table.loc[list(given.values())]
        worst = {"R-hat": f"{of['r_hat'].max():.3f}", "ESS": f"{of[['ess_bulk', 'ess_tail']].to_numpy().min():.0f}"}
        headings = dict.fromkeys([*fit.groups, "population", "spread of logs"], "")
        rows.append({"parameter": name} | headings | cells | worst)
    return align(rows)


def _heading(entry: Published) -> str:
    return entry.label if entry.counting in ("", "total parameters") else f"{entry.label}*"


def frame(table: pd.DataFrame) -> str:
    """Lay out a table of texts by name, such as those of `list_models` and `list_runs`."""
    return align([{str(c): str(v) for c, v in row.items()} for row in table.reset_index().to_dict("records")])


def exponents_table(fits: Mapping[str, Fit], ci_prob: float = CI_PROB) -> str:
    """Lay out the answer of `exponents`: one line a source, its interval and the kind of it."""
    rows = []
    for source, row in exponents(fits, ci_prob).iterrows():
        digits = 3 if row["a"] != round(row["a"], 2) else 2
        ends = f" [{row['low']:.3f}, {row['high']:.3f}]" if row["interval"] else ""
        counted = f" ({row['counts']} N and C)" if row["counts"] == "non-embedding" else ""
        rows.append({"source": f"{source}{counted}", "a": f"{row['a']:.{digits}f}{ends}", "interval": row["interval"]})
    return align(rows)


def comparison_table(comparison: Comparison) -> str:
    """Lay out the table of `compare`: one line a model, best first."""
    rows = [
        {
            "model": str(label),
            "elpd (s.e.)": f"{row['elpd']:.1f} ({row['se']:.1f})",
            "behind the best (s.e.)": "-" if row["elpd_diff"] == 0 else f"{-row['elpd_diff']:.1f} ({row['dse']:.1f})",
            "P(worse)": "-" if np.isnan(row["p_worse"]) else f"{row['p_worse']:.3f}",
            "stacking": f"{row['stacking']:.2f}",
            "equal": f"{row['equal']:.2f}",
            "high Pareto k": f"{row['high_k']}" + f", {row['high_k_left']} left" * bool(row["high_k"]),
            "caution": row["diag_diff"] or "",
        }
        for label, row in comparison.table.iterrows()
    ]
    return align(rows)


def _signed(row: Any, ci_prob: float) -> str:
    """One quantity of a difference; those around 0 with their sign, to a thousandth of a nat."""
    if row["quantity"] != "loss_difference":
        return cell(row, ci_prob)
    low, high = (row[name] for name in interval_columns(ci_prob))
    return f"{row['median']:+.3f} [{low:+.3f}, {high:+.3f}]"


def difference_table(dataset: xr.Dataset, ci_prob: float = CI_PROB) -> str:
    """Lay out the answer of `Comparison.difference`: one line a pair of models and target."""
    rows = []
    for _, row in intervals(dataset, ci_prob).dropna(subset="median").reset_index().iterrows():
        what, zero = {"N_ratio": ("N* over N*", "1"), "loss_difference": ("loss less loss", "0")}[row["quantity"]]
        rows.append(
            {name: format_quantity(row[name]) for name in ("N", "D", "C") if name in row}
            | {"models": f"{row['model']} against {row['against']}", "what": what}
            | {
                f"median [{100 * ci_prob:g}%]": _signed(row, ci_prob),
                "P(below)": f"{row['p_below']:.3f} (below {zero})",
            }
        )
    return align(rows)
