"""Checks of units: values so far out of their range that the unit must be another one."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from scalebayes.data.metrics import NATS_PER_TOKEN
from scalebayes.data.tables.columns import BASIC, QUANTITIES, known, span
from scalebayes.data.tables.names import has_own_unit
from scalebayes.data.tables.unit_names import compute_hint, hint_of_name
from scalebayes.errors import Fault
from scalebayes.units import format_quantity

DERIVED = {"N": "N = C/6D", "D": "D = C/6N", "C": "C = 6ND"}
"""How each of the basic inputs follows from the two others."""
UNTRAINED = 8.0
"""Loss in nats (perplexity 3000): if no run is below it, they are probably perplexities."""
COMPUTE_FACTOR = 100.0
"""Factor between the median C and 6ND beyond which the unit of C is suspect."""


def check_units(
    values: Mapping[str, Sequence[float]],
    columns: Mapping[str, str],
    rows: Sequence[int],
    metric: str = NATS_PER_TOKEN,
) -> list[Fault]:
    """Return faults of values whose unit is suspect.

    A derived input (C = 6ND, say) is checked only if no given column is suspect. Losses in another
    metric than nats per token are not checked.
    """
    own_unit = "D" in columns and has_own_unit(columns["D"])
    faults: list[Fault] = []
    for role in QUANTITIES:
        is_other_metric = role == "loss" and metric != NATS_PER_TOKEN
        is_other_data = role == "D" and own_unit
        if role in columns and not is_other_metric and not is_other_data:
            hint = _unit_hint(role, columns, values)
            faults += _suspects(values[role], role, columns[role], rows, hint)
    if faults or own_unit:
        return faults
    derived = [role for role in BASIC if role in values and role not in columns]
    for role in derived:
        hint = QUANTITIES[role].hint
        faults += _suspects(values[role], role, DERIVED[role], rows, hint)
    if not derived and set(BASIC) <= columns.keys():
        faults += _check_compute(values, columns["C"])
    return faults


def _unit_hint(role: str, columns: Mapping[str, str], values: Mapping[str, Sequence[float]]) -> str:
    """Return what the unit of a column may be, by its name, or for C beside N and D by 6ND."""
    column = columns[role]
    named = hint_of_name(column)
    if not named and role == "C" and set(BASIC) <= columns.keys():
        ratios = compute_ratios(values)
        if ratios:
            return compute_hint(column, statistics.median(ratios))
    return named or QUANTITIES[role].hint


def compute_ratios(values: Mapping[str, Sequence[float]]) -> list[float]:
    """Return C over 6ND in the rows that have all three."""
    N, D, C = (values[role] for role in BASIC)
    return known(c / (6 * n * d) for n, d, c in zip(N, D, C, strict=True))


def _check_compute(values: Mapping[str, Sequence[float]], column: str) -> Iterator[Fault]:
    """Yield a fault if C, given beside N and D, is far from 6ND in most rows."""
    ratios = compute_ratios(values)
    if not ratios:
        return
    ratio = statistics.median(ratios)
    if not 1 / COMPUTE_FACTOR <= ratio <= COMPUTE_FACTOR:
        allowed = f"FLOP within a factor {COMPUTE_FACTOR:g} of 6ND"
        got = f"{ratio:.2g} times 6ND"
        yield Fault(None, column, got, allowed, compute_hint(column, ratio))


def _suspects(
    values: Sequence[float], role: str, column: str, rows: Sequence[int], hint: str
) -> Iterator[Fault]:
    """Yield one fault for a column that is suspect in every row, else one for each suspect row."""
    quantity = QUANTITIES[role]
    allowed = f"{format_quantity(quantity.low)} to {format_quantity(quantity.high)} {quantity.unit}"
    if role == "loss" and min(known(values), default=0.0) > UNTRAINED:
        below = f"a run below {UNTRAINED:g} {quantity.unit}"
        yield Fault(None, column, span(values), below, hint)
        return
    outside = []
    for row, value in zip(rows, values, strict=True):
        if value < quantity.low or value > quantity.high:
            outside.append((row, value))
    if len(outside) == len(values):
        yield Fault(None, column, span(values), allowed, hint)
        return
    for row, value in outside:
        yield Fault(row, column, format_quantity(value), allowed, hint)
