"""Columns of a table of runs: their usual names, their units and ranges, and mistakes of unit."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scalebayes.data.metrics import NATS_PER_TOKEN
from scalebayes.data.tables.raw_tables import FILE
from scalebayes.units import format_quantity


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
# learning_rate  1e-7 is below every peak in use, and no optimiser converges above 100.
# batch 1e3 tokens are less than one sequence, which excludes batches counted in sequences.
# loss  the loss of an untrained model is the log of its vocabulary, 10 to 13 nats.
QUANTITIES = {
    "N": Quantity(
        unit="parameters",
        low=1e4,
        high=1e15,
        hint="in millions or billions? write 70M or 7B, or see scale (--scale)",
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
        hint="in millions or billions? write 300B or 1.4T, or see scale (--scale)",
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
        hint="in peta, or in PF-days? see scale (--scale COLUMN=1e15, or 8.64e19)",
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
    "learning_rate": Quantity(
        unit="peak learning rate",
        low=1e-7,
        high=1e2,
        hint="the peak of the schedule, such as 3e-4",
        names="learning rate, lr, peak learning rate, peak lr, max learning rate, max lr",
    ),
    "batch": Quantity(
        unit="tokens in a batch",
        low=1e3,
        high=1e9,
        hint="in sequences? --scale batch=2048 multiplies by their length",
        names=(
            "batch, batch tokens, tokens per batch, batch size tokens, batch size in tokens, "
            "tokens per step, global batch tokens, global batch size tokens"
        ),
    ),
    "loss": Quantity(
        unit=NATS_PER_TOKEN,
        low=0.0,
        high=20.0,
        hint=(
            "a perplexity or percentage? loss_unit='perplexity' or 'percent' (--loss-unit); in "
            "thousandths? --scale loss=1e-3"
        ),
        names=(
            "loss, val loss, valid loss, validation loss, eval loss, evaluation loss, test loss, "
            "heldout loss, train loss, training loss, final loss, final val loss, "
            "final train loss, lm loss, ce loss, cross entropy, cross entropy loss, nll"
        ),
    ),
}
BASIC = ("N", "D", "C")
"""Inputs of which two determine the third."""
OTHER = ("S", "U", "E", "learning_rate", "batch")
"""Inputs of some laws only: unless one was asked for, a table is never refused because of it."""
LABELS = {
    "group": "group, family",
    "training": "training, training id, training run, trajectory",
    "run": f"run, run id, run name, id, name, model, model name, {FILE}",
}
"""Roles of columns of names, with their usual names."""
STEPS = (
    *("step", "global step", "_step", "train step", "training step", "steps"),
    *("iteration", "iter", "trainer/global step"),
)
"""Usual names of the step in a table with a row for each step."""
NAMES_LISTED = 12
"""Columns that an error lists by name; it counts the others."""


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
    try:
        text = " ".join(str(cell).split())
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "an integer of thousands of digits"
    return "" if text in {"nan", "NaN", "None", "<NA>", "NaT"} else text


def listed(names: Sequence[str]) -> str:
    """Return names of columns as text, the first ones of many."""
    text = ", ".join(names[:NAMES_LISTED])
    if len(names) > NAMES_LISTED:
        text += f" and {len(names) - NAMES_LISTED} more"
    return text


def known(values: Iterable[float]) -> list[float]:
    """Return the values that are not NaN."""
    return [value for value in values if not math.isnan(value)]


def span(values: Iterable[float]) -> str:
    """Return the range of some quantities, as ``70M to 16.2B``."""
    numbers = known(values)
    low = format_quantity(min(numbers))
    high = format_quantity(max(numbers))
    return low if low == high else f"{low} to {high}"
