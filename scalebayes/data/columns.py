"""The columns of a table of runs: what they are called, what they hold, and the units they are mistaken for."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from scalebayes.data.sources import Table
from scalebayes.errors import Fault
from scalebayes.units import format_quantity, parse_quantity


class Quantity(NamedTuple):
    """What a numeric column holds, the range outside which its unit is suspect, and its usual names."""

    unit: str
    low: float
    high: float
    hint: str
    names: str


# The ranges hold every language model scaled so far, and leave out the usual slips of unit:
# N     sweeps start near 1e5, while a count in millions stays under 1e4 up to a model of 10B;
# D     1e6 tokens are a batch or two, more than any count in billions, or in millions up to 1T;
# C     1e10 is below 6ND at both floors, 1e34 above it at both ceilings; PF-days (3640 for GPT-3) stay far under 1e10;
# S     a few steps are no training, and more than 1e9 were never made;
# U     as D, but a corpus may be small;
# E     a single expert is a dense model.
# loss  a model that learned nothing is at the logarithm of its vocabulary, 10 to 13 nats.
QUANTITIES = {
    "N": Quantity(
        *("parameters", 1e4, 1e15, "in millions or billions? write 70M or 7B"),
        "N, params, n params, num params, param count, model params, total params, parameters, n parameters, "
        "num parameters, number of parameters, parameter count, total parameters, model size",
    ),
    "D": Quantity(
        *("tokens", 1e6, 1e18, "in millions or billions? write 300B or 1.4T"),
        "D, tokens, n tokens, num tokens, number of tokens, token count, total tokens, train tokens, n train tokens, "
        "training tokens, tokens seen, tokens trained, dataset tokens, dataset size, data size",
    ),
    "C": Quantity(
        *("FLOP", 1e10, 1e34, "in PF-days? multiply by 8.64e19"),
        "C, flop, flops, n flops, num flops, total flops, model flops, train flop, train flops, training flop, "
        "training flops, compute, train compute, training compute, training compute flop, total compute",
    ),
    "S": Quantity(
        *("steps", 10, 1e9, "in thousands? write 250K"),
        "S, steps, n steps, num steps, train steps, training steps, optimizer steps, updates, iterations",
    ),
    "U": Quantity(
        *("unique tokens", 1e5, 1e18, "in millions or billions? write 300B or 1.4T"),
        "U, unique tokens, n unique tokens, num unique tokens, unique training tokens, corpus tokens",
    ),
    "E": Quantity(
        *("experts", 1, 1e6, "a dense model has 1"),
        "E, experts, n experts, num experts, number of experts, expert count",
    ),
    "loss": Quantity(
        *(
            "nats per token",
            0.0,
            20.0,
            "a perplexity? see loss_unit (take its logarithm). a percent is no loss",
        ),
        "loss, val loss, valid loss, validation loss, eval loss, evaluation loss, test loss, heldout loss, train loss, "
        "training loss, final loss, final val loss, final train loss, lm loss, ce loss, cross entropy, "
        "cross entropy loss, nll",
    ),
}
BASIC, OTHER = ("N", "D", "C"), ("S", "U", "E")
"""Inputs that determine each other, and those that only some laws take: a table is never refused for one of these
unless it was asked for."""
LABELS = {"group": "group, family", "run": "run, run id, run name, id, name, model, model name"}

_UNTRAINED = 8.0  # nats, a perplexity of 3000: a table where no run does better holds perplexities, not losses
_NOT_NATS = {
    "take its natural logarithm: loss_unit='perplexity'": {"ppl", "perplexity"},
    "per byte is not per token, bits are not nats: see loss_unit and tokens_per_byte": {
        "bits",
        "bpb",
        "bpc",
    },
    "a share is no loss": {"accuracy", "percent", "pct", "%"},
}


def match_columns(
    table: Table, chosen: Mapping[str, str | None]
) -> tuple[dict[str, str], list[Fault]]:
    """Find the column that plays each part: the one `chosen`, else the only one with a usual name.

    Nobody need know of `OTHER` inputs: such a column is taken unasked only if it is the only one and all of it can
    serve.
    """
    names = [str(name) for name in table]
    free = [name for name in names if name not in chosen.values()]
    columns, faults = {}, []
    for role, asked in chosen.items():
        found = [asked] if asked is not None else usual_columns(free, role)
        if (
            asked is None and role in LABELS
        ):  # nobody asked for these: take the first that can serve, if any
            found = [c for c in found if _labels(table[c], unique=role == "run")][:1]
        if (
            asked is None
            and role in OTHER
            and not (len(found) == 1 and _serves(table[found[0]], role))
        ):
            found = []
        if asked is not None and asked not in names:
            close = difflib.get_close_matches(asked, names, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else ""
            faults.append(
                Fault(None, role, f"{asked!r}, no such column", f"one of {_listed(names)}", hint)
            )
        elif len(found) > 1:
            faults.append(
                Fault(
                    None,
                    role,
                    " and ".join(found),
                    "one column",
                    f"choose {role}={found[0]} (--map on the command line)",
                )
            )
        elif found:
            columns[role] = found[0]
    sought = {*columns, *(fault.column for fault in faults)}
    got = f"only {_listed(names)}"
    if "loss" not in sought:
        unfit = next((f"{name}: {why}" for name in names if (why := _not_nats(name))), "")
        allowed = "a column such as loss or val_loss"
        faults.append(
            Fault(
                None,
                "loss",
                got,
                allowed,
                unfit or "name yours: loss=COLUMN (--map on the command line)",
            )
        )
    if sought.isdisjoint({"N", "D", "C"}):
        allowed = "at least one, as params, tokens or flops"
        faults.append(
            Fault(None, "N, D, C", got, allowed, "name yours: N=COLUMN (--map on the command line)")
        )
    return columns, faults


def usual_columns(names: list[str], role: str) -> list[str]:
    """Find the columns with a usual name for a role, most usual first; a bare N, D or C leaves no doubt."""
    usual = (QUANTITIES[role].names if role in QUANTITIES else LABELS[role]).split(", ")
    places = {_plain(name): place for place, name in enumerate(usual)}
    found = sorted(
        (name for name in names if _plain(name) in places), key=lambda name: places[_plain(name)]
    )
    return [role] if role in found and role in (*BASIC, *OTHER) else found


def label(cell: object) -> str:
    """Read a cell as a name, empty where there is none."""
    text = " ".join(str(cell).split())
    return "" if text in {"nan", "NaN", "None", "<NA>", "NaT"} else text


def _labels(column: Iterable[object], unique: bool) -> bool:
    """Whether every cell is a name, where `unique` one of its own."""
    names = [label(cell) for cell in column]
    return all(names) and not (unique and len({*names}) < len(names))


def _serves(column: Iterable[object], role: str) -> bool:
    """Whether every cell is a quantity within the range of a role."""
    try:
        values = [parse_quantity(cell) for cell in column]
    except ValueError:
        return False
    return all(QUANTITIES[role].low <= value <= QUANTITIES[role].high for value in values)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _not_nats(column: str) -> str:
    """Say why a column of this name is no loss in nats per token, or nothing."""
    words = set(re.findall(r"[a-z]+|%", column.lower()))
    return next((why for why, units in _NOT_NATS.items() if words & units), "")


def check_units(
    values: Mapping[str, Sequence[float]],
    columns: Mapping[str, str],
    rows: Sequence[int],
    in_nats: bool = True,
) -> list[Fault]:
    """Find values whose unit is suspect; those worked out from others only where the others pass.

    Of a loss that was not given in nats (`in_nats`) the column's name says nothing any more.
    """
    names = dict(columns) if in_nats else {**columns, "loss": "loss"}
    given = [
        f
        for role in QUANTITIES
        if role in columns
        for f in _suspects(values[role], role, names[role], rows)
    ]
    derived = [role for role in BASIC if role in values and role not in columns]
    if not given and derived:
        (role,) = derived
        given = [
            *_suspects(
                values[role], role, {"N": "N = C/6D", "D": "D = C/6N", "C": "C = 6ND"}[role], rows
            )
        ]
    if not given and {"N", "D", "C"} <= columns.keys():
        from statistics import median

        ratios = [
            C / (6 * N * D) for N, D, C in zip(*(values[role] for role in BASIC), strict=True)
        ]
        ratio = median(known(ratios) or [1.0])
        if ratio < 0.01 or ratio > 100:
            wrong = "FLOP within a factor 100 of 6ND"
            given = [
                Fault(
                    None, columns["C"], f"{ratio:.2g} times 6ND", wrong, "another unit of compute?"
                )
            ]
    return given


def _suspects(
    values: Sequence[float], role: str, column: str, rows: Sequence[int]
) -> Iterator[Fault]:
    """Yield one fault for a column that is suspect throughout, else one a suspect row."""
    quantity = QUANTITIES[role]
    allowed = f"{format_quantity(quantity.low)} to {format_quantity(quantity.high)} {quantity.unit}"
    outside = [
        (row, x)
        for row, x in zip(rows, values, strict=True)
        if x < quantity.low or x > quantity.high
    ]
    if role == "loss" and (why := _not_nats(column)):
        yield Fault(None, column, "a loss of this name", "nats per token", why)
    elif role == "loss" and min(known(values), default=0.0) > _UNTRAINED:
        yield Fault(
            None, column, span(values), f"a run below {_UNTRAINED:g} {quantity.unit}", quantity.hint
        )
    elif len(outside) == len(values):
        yield Fault(None, column, span(values), allowed, quantity.hint)
    else:
        for row, value in outside:
            yield Fault(row, column, format_quantity(value), allowed, quantity.hint)


def known(values: Iterable[float]) -> list[float]:
    """Leave NaN out."""
    return [x for x in values if x == x]


def span(values: Iterable[float]) -> str:
    """Write the range of some quantities, as ``70M to 16.2B``."""
    numbers = known(values)
    low, high = format_quantity(min(numbers)), format_quantity(max(numbers))
    return low if low == high else f"{low} to {high}"
