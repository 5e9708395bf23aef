"""Columns of a table of runs: their usual names, their units and ranges, and mistakes of unit."""

import difflib
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from scalebayes.data.metrics import NATS_PER_TOKEN
from scalebayes.data.sources import Table
from scalebayes.errors import Fault
from scalebayes.units import format_quantity, parse_quantity


class Quantity(NamedTuple):
    """Unit of a numeric column, the range outside which the unit is suspect, and usual names."""

    unit: str
    low: float
    high: float
    hint: str
    names: str


# Each range contains every language model scaled so far and excludes the usual mistakes of unit:
# N     sweeps start near 1e5; a count in millions stays under 1e4 for models of up to 10B;
# D     1e6 tokens are a batch or two, above any count in billions, or in millions up to 1T;
# C     1e10 is below and 1e34 above 6ND at the ends of both ranges; counts in PF-days (GPT-3: 3640)
#       stay far below 1e10;
# S     fewer than ten steps are no training, and more than 1e9 were never made;
# U     as D, but a corpus may be small;
# E     a dense model has one expert.
# loss  the loss of an untrained model is the log of its vocabulary, 10 to 13 nats.
QUANTITIES = {
    "N": Quantity(
        unit="parameters",
        low=1e4,
        high=1e15,
        hint="in millions or billions? write 70M or 7B",
        names=(
            "N, params, n params, num params, param count, model params, total params, parameters, "
            "n parameters, num parameters, number of parameters, parameter count, "
            "total parameters, model size"
        ),
    ),
    "D": Quantity(
        unit="tokens",
        low=1e6,
        high=1e18,
        hint="in millions or billions? write 300B or 1.4T",
        names=(
            "D, tokens, n tokens, num tokens, number of tokens, token count, total tokens, "
            "train tokens, n train tokens, training tokens, tokens seen, tokens trained, "
            "dataset tokens, dataset size, data size"
        ),
    ),
    "C": Quantity(
        unit="FLOP",
        low=1e10,
        high=1e34,
        hint="in PF-days? multiply by 8.64e19",
        names=(
            "C, flop, flops, n flops, num flops, total flops, model flops, train flop, "
            "train flops, training flop, training flops, compute, train compute, "
            "training compute, training compute flop, total compute"
        ),
    ),
    "S": Quantity(
        unit="steps",
        low=10,
        high=1e9,
        hint="in thousands? write 250K",
        names=(
            "S, steps, n steps, num steps, train steps, training steps, optimizer steps, "
            "updates, iterations"
        ),
    ),
    "U": Quantity(
        unit="unique tokens",
        low=1e5,
        high=1e18,
        hint="in millions or billions? write 300B or 1.4T",
        names=(
            "U, unique tokens, n unique tokens, num unique tokens, unique training tokens, "
            "corpus tokens"
        ),
    ),
    "E": Quantity(
        unit="experts",
        low=1,
        high=1e6,
        hint="a dense model has 1",
        names="E, experts, n experts, num experts, number of experts, expert count",
    ),
    "loss": Quantity(
        unit=NATS_PER_TOKEN,
        low=0.0,
        high=20.0,
        hint=("a perplexity? see loss_unit (take its logarithm). A percentage is not a loss"),
        names=(
            "loss, val loss, valid loss, validation loss, eval loss, evaluation loss, test loss, "
            "heldout loss, train loss, training loss, final loss, final val loss, "
            "final train loss, lm loss, ce loss, cross entropy, cross entropy loss, nll"
        ),
    ),
}
BASIC = ("N", "D", "C")
"""Inputs of which two determine the third."""
OTHER = ("S", "U", "E")
"""Inputs of some laws only: unless one was asked for, a table is never refused because of it."""
LABELS = {
    "group": "group, family",
    "training": "training, training id, training run, trajectory",
    "run": "run, run id, run name, id, name, model, model name",
}
"""Roles of columns of names, with their usual names."""
FLAGS = {"0", "1", "0.0", "1.0", "true", "false", "yes", "no", "y", "n"}
"""Cells of a column that marks rows: "training" then says which rows to fit, and names nothing."""

DERIVED = {"N": "N = C/6D", "D": "D = C/6N", "C": "C = 6ND"}
"""How each of the basic inputs follows from the two others."""
UNTRAINED = 8.0
"""Loss in nats (perplexity 3000): if no run is below it, they are probably perplexities."""
COMPUTE_FACTOR = 100.0
"""Factor between the median C and 6ND beyond which the unit of C is suspect."""
NAMES_LISTED = 12
"""Columns that an error lists by name; it counts the others."""
CHOOSE_LOSS = "name yours: loss=COLUMN (--map on the command line)"
CHOOSE_SIZE = "name yours: N=COLUMN (--map on the command line)"

_NOT_NATS = {
    "take its natural logarithm: loss_unit='perplexity'": {"ppl", "perplexity"},
    "per byte is not per token, and bits are not nats: see loss_unit and tokens_per_byte": {
        "bits",
        "bpb",
        "bpc",
    },
    "an accuracy or percentage is not a loss": {"accuracy", "percent", "pct", "%"},
}
"""Advice about a column, by words in its name that show that it holds no nats per token."""


def match_columns(
    table: Table, chosen: Mapping[str, str | None]
) -> tuple[dict[str, str], list[Fault]]:
    """Return the column of each role that has one, and faults of columns missing or ambiguous.

    The column of a role is the one `chosen`, else the only one with a usual name.
    """
    names = [str(name) for name in table]
    free = [name for name in names if name not in chosen.values()]
    columns: dict[str, str] = {}
    faults: list[Fault] = []
    for role, asked in chosen.items():
        if asked is not None:
            if asked in names:
                columns[role] = asked
            else:
                faults.append(_no_such_column(role, asked, names))
            continue
        candidates = _candidates(table, free, role)
        if len(candidates) == 1:
            columns[role] = candidates[0]
        elif candidates:
            faults.append(ambiguous(role, candidates))
    sought = {*columns, *(fault.column for fault in faults)}
    got = f"only {_listed(names)}"
    if "loss" not in sought:
        hint = _advice_on_loss(names) or CHOOSE_LOSS
        faults.append(Fault(None, "loss", got, "a column such as loss or val_loss", hint))
    if sought.isdisjoint(BASIC):
        allowed = "at least one, such as params, tokens or flops"
        faults.append(Fault(None, "N, D, C", got, allowed, CHOOSE_SIZE))
    return columns, faults


def _candidates(table: Table, names: list[str], role: str) -> list[str]:
    """Return the columns with a usual name of a role that no column was chosen for.

    Labels and the inputs in `OTHER` are optional: of labels only the first usable column counts, of
    other inputs a column only if it is the only one and every cell of it is usable.
    """
    found = usual_columns(names, role)
    if role in LABELS:
        usable = (name for name in found if _are_labels_of(role, table[name]))
        return list(itertools.islice(usable, 1))
    if role in OTHER:
        is_usable = len(found) == 1 and _are_quantities(table[found[0]], role)
        return found if is_usable else []
    return found


def _no_such_column(role: str, asked: str, names: list[str]) -> Fault:
    close = difflib.get_close_matches(asked, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else ""
    return Fault(None, role, f"{asked!r}, no such column", f"one of {_listed(names)}", hint)


def ambiguous(role: str, columns: Sequence[str]) -> Fault:
    """Return the fault of a role for which several columns have a usual name."""
    hint = f"choose {role}={columns[0]} (--map on the command line)"
    return Fault(None, role, " and ".join(columns), "one column", hint)


def usual_columns(names: Iterable[str], role: str) -> list[str]:
    """Return the columns with a usual name of a role, most usual first.

    A column that is called exactly N, D, C, S, U or E is the only one returned for its role.
    """
    usual = QUANTITIES[role].names if role in QUANTITIES else LABELS[role]
    found = with_usual_name(names, usual.split(", "))
    if role in found and role in (*BASIC, *OTHER):
        return [role]
    return found


def with_usual_name(names: Iterable[str], usual: Sequence[str]) -> list[str]:
    """Return the names that equal a usual one, case and separators aside, in its order."""
    rank = {plain_name(name): place for place, name in enumerate(usual)}
    found = [name for name in names if plain_name(name) in rank]
    return sorted(found, key=lambda name: rank[plain_name(name)])


def plain_name(name: str) -> str:
    """Return the letters and digits of a name in lower case, for comparison with usual names."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def label(cell: object) -> str:
    """Return a cell as a name, empty where there is none."""
    text = " ".join(str(cell).split())
    return "" if text in {"nan", "NaN", "None", "<NA>", "NaT"} else text


def _are_labels_of(role: str, column: Iterable[object]) -> bool:
    """Whether every cell is a name: of a run no two are equal, of a training not all are flags."""
    names = [label(cell) for cell in column]
    if role == "run" and len(set(names)) < len(names):
        return False
    if role == "training" and {name.lower() for name in names} <= FLAGS:
        return False
    return all(names)


def _are_quantities(column: Iterable[object], role: str) -> bool:
    """Whether every cell is a quantity within the range of a role."""
    quantity = QUANTITIES[role]
    try:
        values = [parse_quantity(cell) for cell in column]
    except ValueError:
        return False
    return all(quantity.low <= value <= quantity.high for value in values)


def _listed(names: list[str]) -> str:
    text = ", ".join(names[:NAMES_LISTED])
    if len(names) > NAMES_LISTED:
        text += f" and {len(names) - NAMES_LISTED} more"
    return text


def _advice_on_loss(names: list[str]) -> str:
    """Return advice about the first column whose name is that of a loss in another unit, if any."""
    for name in names:
        why = _not_nats(name)
        if why:
            return f"{name}: {why}"
    return ""


def _not_nats(column: str) -> str:
    """Return advice if the name of a column shows that it holds no nats per token, else nothing."""
    words = set(re.findall(r"[a-z]+|%", column.lower()))
    for advice, units in _NOT_NATS.items():
        if words & units:
            return advice
    return ""


def check_units(
    values: Mapping[str, Sequence[float]],
    columns: Mapping[str, str],
    rows: Sequence[int],
    in_nats: bool = True,
    metric: str = NATS_PER_TOKEN,
) -> list[Fault]:
    """Return faults of values whose unit is suspect.

    A derived input (C = 6ND, say) is checked only if no given column is suspect. `in_nats` says
    whether losses were given in nats; if not, the name of their column is not checked. Losses in
    another metric than nats per token are not checked.
    """
    called = dict(columns)
    if not in_nats:
        called["loss"] = "loss"
    faults: list[Fault] = []
    for role in QUANTITIES:
        has_known_unit = role != "loss" or metric == NATS_PER_TOKEN
        if role in columns and has_known_unit:
            faults += _suspects(values[role], role, called[role], rows)
    if faults:
        return faults
    derived = [role for role in BASIC if role in values and role not in columns]
    for role in derived:
        faults += _suspects(values[role], role, DERIVED[role], rows)
    if not derived and set(BASIC) <= columns.keys():
        faults += _check_compute(values, columns["C"])
    return faults


def _check_compute(values: Mapping[str, Sequence[float]], column: str) -> Iterator[Fault]:
    """Yield a fault if C, given beside N and D, is far from 6ND in most rows."""
    from statistics import median

    N, D, C = (values[role] for role in BASIC)
    ratios = known(c / (6 * n * d) for n, d, c in zip(N, D, C, strict=True))
    if not ratios:
        return
    ratio = median(ratios)
    if not 1 / COMPUTE_FACTOR <= ratio <= COMPUTE_FACTOR:
        allowed = f"FLOP within a factor {COMPUTE_FACTOR:g} of 6ND"
        got = f"{ratio:.2g} times 6ND"
        yield Fault(None, column, got, allowed, "another unit of compute?")


def _suspects(
    values: Sequence[float], role: str, column: str, rows: Sequence[int]
) -> Iterator[Fault]:
    """Yield one fault for a column that is suspect in every row, else one for each suspect row."""
    quantity = QUANTITIES[role]
    allowed = f"{format_quantity(quantity.low)} to {format_quantity(quantity.high)} {quantity.unit}"
    if role == "loss":
        why = _not_nats(column)
        if why:
            yield Fault(None, column, "a loss of this name", NATS_PER_TOKEN, why)
            return
        if min(known(values), default=0.0) > UNTRAINED:
            below = f"a run below {UNTRAINED:g} {quantity.unit}"
            yield Fault(None, column, span(values), below, quantity.hint)
            return
    outside = []
    for row, value in zip(rows, values, strict=True):
        if value < quantity.low or value > quantity.high:
            outside.append((row, value))
    if len(outside) == len(values):
        yield Fault(None, column, span(values), allowed, quantity.hint)
        return
    for row, value in outside:
        yield Fault(row, column, format_quantity(value), allowed, quantity.hint)


def known(values: Iterable[float]) -> list[float]:
    """Return the values that are not NaN."""
    return [value for value in values if not math.isnan(value)]


def span(values: Iterable[float]) -> str:
    """Return the range of some quantities, as ``70M to 16.2B``."""
    numbers = known(values)
    low = format_quantity(min(numbers))
    high = format_quantity(max(numbers))
    return low if low == high else f"{low} to {high}"
