"""Columns of a table of runs: their usual names, their units and ranges, and mistakes of unit."""

import difflib
import itertools
import math
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from scalebayes.data.metrics import NATS_PER_TOKEN
from scalebayes.data.tables.raw_tables import FILE, Table
from scalebayes.data.tables.unit_names import compute_hint, hint_of_name, not_nats, unit_in_name
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
    "loss": Quantity(
        unit=NATS_PER_TOKEN,
        low=0.0,
        high=20.0,
        hint="a perplexity or percentage? loss_unit='perplexity' or 'percent' (--loss-unit)",
        names=(
            "loss, val loss, valid loss, validation loss, eval loss, evaluation loss, test loss, "
            "heldout loss, train loss, training loss, final loss, final val loss, "
            "final train loss, lm loss, ce loss, cross entropy, cross entropy loss, nll"
        ),
    ),
}
ROLE_WORDS = {
    "N": {"params", "parameters"},
    "D": {"tokens"},
    "C": {"flop", "flops", "compute"},
    "loss": {
        "loss",
        "nll",
        "ce",
        "xent",
        "crossentropy",
        "deviance",
        *("ppl", "perplexity", "bpb"),
    },
}
"""Words in the name of a column that say its role, where no column has a usual name for it."""
OTHER_WORDS = {
    *("per", "batch", "step", "vocab", "vocabulary", "context", "seq", "sequence", "length"),
    *("unique", "ratio", "std", "stderr", "se", "var", "min", "max", "log", "weight", "scale"),
    *("aux", "balance", "regularization", "time", "hours", "optimal", "embedding", "embeddings"),
}
"""Words in the name of a column that say that it is another quantity."""
DATA_NOUNS = {
    *("hours", "images", "examples", "samples", "policies", "points", "rows", "sequences"),
    *("sentences", "pairs", "documents", "frames", "episodes", "trajectories", "demonstrations"),
}
"""What data are counted in where not in tokens. The range of such a column is not checked."""
_DATA_NAME = re.compile(
    rf"((n|num|number of|total|train|training|n train|n training|audio|data) )?"
    rf"({'|'.join(sorted(DATA_NOUNS))})( (seen|trained|of audio))?"
    r"|(n|num) train(ing)?|train(ing)? (set )?size"
)
"""Usual names of columns of data that are not counted in tokens, as words in lower case."""
BASIC = ("N", "D", "C")
"""Inputs of which two determine the third."""
OTHER = ("S", "U", "E")
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


def match_columns(
    table: Table, chosen: Mapping[str, str | None], notes: list[str]
) -> tuple[dict[str, str], list[Fault]]:
    """Return the column of each role that has one, and faults of columns missing or ambiguous.

    The column of a role is the one `chosen`, else the only one with a usual name, else the only one
    whose name ends in a usual name behind a dot or a slash (``eval/loss``). If fewer than two of N,
    D and C, or no loss, are found so, the words in a name count (``actual_train_tokens``), and
    names with another unit: ``hours``, ``params (M)``. This adds to `notes`.
    """
    names = [str(name) for name in table]
    present = set(names)
    taken = {asked for asked in chosen.values() if asked is not None}
    free = [name for name in names if name not in taken]
    columns: dict[str, str] = {}
    faults = _chosen_twice(chosen)
    for role, asked in chosen.items():
        if asked is None:
            candidates = _candidates(table, free, role)
            _assign(role, candidates, columns, faults)
        elif asked in present:
            columns[role] = asked
        else:
            faults.append(_no_such_column(role, asked, names))
    if not faults:
        notes += _assign_by_words(table, free, chosen, columns)
    sought = {*columns, *(fault.column for fault in faults)}
    got = f"only {listed(names)}"
    if "loss" not in sought:
        hint = _advice_on_loss(names) or CHOOSE_LOSS
        faults.append(Fault(None, "loss", got, "a column such as loss or val_loss", hint))
    if sought.isdisjoint(BASIC):
        allowed = "at least one, such as params, tokens or flops"
        hint = _advice_on_sizes(table) or CHOOSE_SIZE
        faults.append(Fault(None, "N, D, C", got, allowed, hint))
    return columns, faults


def _chosen_twice(chosen: Mapping[str, str | None]) -> list[Fault]:
    """Return the faults of columns that were chosen for two quantities."""
    faults = []
    role_of: dict[str, str] = {}
    for role, column in chosen.items():
        if column is None or role not in QUANTITIES:
            continue
        if column in role_of:
            roles = f"{role_of[column]} and {role}"
            faults.append(Fault(None, column, f"chosen for {roles}", "one column for each"))
        role_of[column] = role
    return faults


def _assign(
    role: str, candidates: Sequence[str], columns: dict[str, str], faults: list[Fault]
) -> None:
    """Give a role its only candidate; add a fault if there are several."""
    if len(candidates) == 1:
        columns[role] = candidates[0]
    elif candidates:
        faults.append(ambiguous(role, candidates))


def _assign_by_words(
    table: Table,
    names: Sequence[str],
    chosen: Mapping[str, str | None],
    columns: dict[str, str],
) -> list[str]:
    """Give N, D, C and the loss columns by the words in their names; return notes of it.

    Of N, D and C no third one is sought. A role for which several columns qualify gets none. Words
    suffice for N, D and C only if all cells are in the range of the role: "visual tokens" may be
    those of an image.
    """
    notes = []
    for role in (*BASIC, "loss"):
        known_sizes = [size for size in BASIC if size in columns]
        if role in columns or chosen.get(role) is not None:
            continue
        if role in BASIC and len(known_sizes) >= 2:
            continue
        free = [name for name in names if name not in columns.values()]
        found = []
        for name in free:
            is_worded = _has_words(name, role)
            if is_worded and role != "loss":
                is_worded = _are_quantities(table[name], role)
            if is_worded or _names_unit(name, role):
                found.append(name)
        if len(found) == 1:
            columns[role] = found[0]
            notes.append(f"{role} is {found[0]}")
        elif found:
            notes.append(f"not read, for {role} may be any of them: {', '.join(found)}")
    return notes


def _names_unit(name: str, role: str) -> bool:
    """Whether a name is a usual one of a role with another unit: ``params (M)`` or ``hours``."""
    if role == "D" and _DATA_NAME.fullmatch(_words(name)):
        return True
    unit = unit_in_name(name)
    return unit is not None and bool(usual_columns([unit.base], role))


def _has_words(name: str, role: str) -> bool:
    """Whether a name has a word that says a role, and none that says another quantity."""
    words = set(_words(name).split())
    if not words.isdisjoint({"non", "no", "without"}):
        words -= {"embedding", "embeddings"}  # parameters without embeddings are a size, too
    return bool(words & ROLE_WORDS[role]) and words.isdisjoint(OTHER_WORDS)


def _words(name: str) -> str:
    """Return the words of a name in lower case, with blanks between them."""
    return " ".join(re.findall(r"[a-z]+", name.lower()))


def has_own_unit(column: str) -> bool:
    """Whether the name of a column of data says that it is not counted in tokens."""
    words = _words(column)
    return not DATA_NOUNS.isdisjoint(words.split()) or _DATA_NAME.fullmatch(words) is not None


def _candidates(table: Table, names: list[str], role: str) -> list[str]:
    """Return the columns with a usual name of a role that no column was chosen for.

    Labels and the inputs in `OTHER` are optional: of labels only the first usable column counts, of
    other inputs a column only if it is the only one and every cell of it is usable.
    """
    found = usual_columns(names, role)
    if role in LABELS:
        usable = (name for name in found if _are_labels_of(role, table[name]))
        return list(itertools.islice(usable, 1))
    if not found:
        found = [name for name in names if _ends_in_usual_name(name, role)]
    if role in OTHER:
        is_usable = len(found) == 1 and _are_quantities(table[found[0]], role)
        return found if is_usable else []
    return found


def likely_columns(names: Sequence[str], role: str) -> list[str]:
    """Return the columns that may have a role by their names, as `match_columns` chooses them."""
    found = usual_columns(names, role)
    found = found or [name for name in names if _ends_in_usual_name(name, role)]
    return found or [name for name in names if _has_words(name, role)]


def _ends_in_usual_name(column: str, role: str) -> bool:
    """Whether what follows a dot or slash is a usual name; single letters are too ambiguous."""
    ends = [column[match.end() :] for match in re.finditer(r"[./]", column)]
    return any(usual_columns([end], role) for end in ends if len(end) > 1)


def _no_such_column(role: str, asked: str, names: list[str]) -> Fault:
    close = difflib.get_close_matches(asked, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else ""
    return Fault(None, role, f"{asked!r}, no such column", f"one of {listed(names)}", hint)


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
    try:
        text = " ".join(str(cell).split())
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "an integer of thousands of digits"
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


def listed(names: Sequence[str]) -> str:
    """Return names of columns as text, the first ones of many."""
    text = ", ".join(names[:NAMES_LISTED])
    if len(names) > NAMES_LISTED:
        text += f" and {len(names) - NAMES_LISTED} more"
    return text


def _advice_on_loss(names: list[str]) -> str:
    """Return advice about the first column whose name is that of a loss in another unit, if any."""
    for name in names:
        why = not_nats(name)
        if why:
            return f"{name}: {why}"
    return ""


def _advice_on_sizes(table: Table) -> str:
    """Return advice about the first column whose cells are all sizes such as 70M, if any."""
    for name in table:
        texts = [label(cell) for cell in table[name]]
        have_suffixes = all(text[-1:].upper() in ("M", "B") for text in texts)
        if have_suffixes and _are_quantities(texts, "N"):
            return f"{name} holds sizes: N={name} (--map N={name})"
    return ""


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
        has_known_unit = (role != "loss" or metric == NATS_PER_TOKEN) and not (
            role == "D" and own_unit
        )
        if role in columns and has_known_unit:
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


def known(values: Iterable[float]) -> list[float]:
    """Return the values that are not NaN."""
    return [value for value in values if not math.isnan(value)]


def span(values: Iterable[float]) -> str:
    """Return the range of some quantities, as ``70M to 16.2B``."""
    numbers = known(values)
    low = format_quantity(min(numbers))
    high = format_quantity(max(numbers))
    return low if low == high else f"{low} to {high}"
