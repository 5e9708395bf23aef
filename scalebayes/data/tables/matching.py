"""Matching of columns with roles: N, D, C, the loss, and names of groups, trainings and runs."""

import difflib
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from scalebayes.data.tables.columns import (
    BASIC,
    LABELS,
    OTHER,
    QUANTITIES,
    label,
    listed,
    usual_columns,
)
from scalebayes.data.tables.names import (
    EVALUATION,
    ends_in_usual_name,
    has_words,
    names_unit,
    other_losses,
)
from scalebayes.data.tables.raw_tables import Table
from scalebayes.data.tables.unit_names import not_nats, words_of
from scalebayes.errors import Fault
from scalebayes.units import number_or_nan

_SIZE = re.compile(r"(?<![\w.])(?:\d+x)?\d+(?:\.\d+)?[MB](?![a-z])", re.IGNORECASE)
"""A size within a name: 190M in 190M-0.5xC, 8x7B."""
NO_COLUMN = "none"
"""What is chosen for a role that no column shall have."""
FLAGS = {"0", "1", "0.0", "1.0", "true", "false", "yes", "no", "y", "n"}
"""Cells of a column that marks rows: "training" then says which rows to fit, and names nothing."""
CHOOSE_LOSS = "name yours: loss=COLUMN (--map loss=COLUMN)"
CHOOSE_SIZE = "name yours: N=COLUMN (--map N=COLUMN)"


def match_columns(
    table: Table, chosen: Mapping[str, str | None], notes: list[str]
) -> tuple[dict[str, str], list[Fault]]:
    """Return the column of each role that has one, and faults of columns missing or ambiguous.

    The column of a role is the one `chosen`, else the only one with a usual name, else the only one
    whose name ends in a usual name behind a dot or a slash (``eval/loss``). If fewer than two of N,
    D and C, or no loss, are found so, the words in a name count (``actual_train_tokens``), and
    names with another unit: ``hours``, ``params (M)``. This adds to `notes`. A role for which
    ``none`` is chosen has no column.
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
        elif asked != NO_COLUMN:
            faults.append(_no_such_column(role, asked, names))
    if not faults:
        _assign_by_words(table, free, chosen, columns, faults, notes)
    faults += _missing(table, columns, faults)
    if not faults:
        faults += _sizes_in_names(table, chosen, columns)
        notes += _unread(table, columns)
        notes += _unusable(table, columns)
    return columns, faults


def _missing(table: Table, columns: Mapping[str, str], faults: Sequence[Fault]) -> list[Fault]:
    """Return faults where no column has a loss, or none has N, D or C."""
    names = [str(name) for name in table]
    sought = {*columns, *(fault.column for fault in faults)}
    got = f"only {listed(names)}"
    missing = []
    if "loss" not in sought:
        missing.append(Fault(None, "loss", got, "a column such as loss or val_loss", CHOOSE_LOSS))
    if sought.isdisjoint(BASIC):
        allowed = "at least one, such as params, tokens or flops"
        hint = _column_of_sizes(table)
        hint = f"{hint} holds sizes: N={hint} (--map N={hint})" if hint else CHOOSE_SIZE
        missing.append(Fault(None, "N, D, C", got, allowed, hint))
    return missing


def _sizes_in_names(
    table: Table, chosen: Mapping[str, str | None], columns: Mapping[str, str]
) -> list[Fault]:
    """Return a fault of a table with D or C whose sizes are in a column that has no role of N."""
    known_sizes = [size for size in BASIC if size in columns]
    if len(known_sizes) >= 2 or "N" in columns or chosen.get("N") is not None:
        return []
    column = _column_of_sizes(table)
    if not column:
        return []
    hint = f"N={column} (--map N={column}), or N=none to leave them out"
    return [Fault(None, "N", f"no column, but {column} holds sizes", "a column of sizes", hint)]


def _unread(table: Table, columns: Mapping[str, str]) -> list[str]:
    """Return a note of the columns of numbers without a role, where fewer than two sizes are known.

    One of them may be the input that is missing.
    """
    missing = [size for size in BASIC if size not in columns]
    if len(missing) < 2:
        return []
    pattern = "" if "N" in columns else _names_with_sizes(table)
    if pattern:
        return [f"names in {pattern} contain sizes: --name-pattern, such as '{{N}}-*', reads them"]
    used = set(columns.values())
    others = [name for name in table if str(name) not in used]
    unread = [str(name) for name in others if _vary(table[name])]
    if not unread:
        return []
    roles = " and ".join(missing)
    return [f"no column has {roles}; not read: {listed(unread)}. --map names a column"]


def _unusable(table: Table, columns: Mapping[str, str]) -> list[str]:
    """Return notes of columns with the usual name of an optional input that have unusable cells."""
    notes = []
    names = [str(name) for name in table]
    for role in OTHER:
        found = usual_columns(names, role)
        if role in columns or len(found) != 1:
            continue
        quantity = QUANTITIES[role]
        for number, cell in enumerate(table[found[0]]):
            if not quantity.low <= number_or_nan(cell) <= quantity.high:
                named = "" if found[0] == role else f" as {role}"
                notes.append(
                    f"{found[0]} was not read{named}: row {number} has {str(cell)!r}, and "
                    f"{quantity.low:g} to {quantity.high:g} is allowed"
                )
                break
    return notes


def _vary(cells: Iterable[object]) -> bool:
    """Whether cells are numbers, and not all the same."""
    values = [number_or_nan(cell) for cell in cells]
    return not any(map(math.isnan, values)) and len(set(values)) > 1


def _chosen_twice(chosen: Mapping[str, str | None]) -> list[Fault]:
    """Return the faults of columns that were chosen for two quantities."""
    faults = []
    role_of: dict[str, str] = {}
    for role, column in chosen.items():
        if column in (None, NO_COLUMN) or role not in QUANTITIES:
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
        faults.append(_ambiguous(role, candidates))


def _assign_by_words(
    table: Table,
    names: Sequence[str],
    chosen: Mapping[str, str | None],
    columns: dict[str, str],
    faults: list[Fault],
    notes: list[str],
) -> None:
    """Give N, D, C and the loss columns by the words in their names, with a note.

    Of N, D and C no third one is sought.
    """
    for role in (*BASIC, "loss"):
        known_sizes = [size for size in BASIC if size in columns]
        if role in columns or chosen.get(role) is not None:
            continue
        if role in BASIC and len(known_sizes) >= 2:
            continue
        free = [name for name in names if name not in columns.values()]
        found = [name for name in free if _says(table, name, role)]
        if role == "loss" and not found:
            # A loss in another unit; whether the unit was given is checked later.
            found = [name for name in free if _is_other_loss(name)]
        _assign(role, found, columns, faults)
        if role in columns:
            notes.append(f"{role} is {columns[role]}")


def _says(table: Table, name: str, role: str) -> bool:
    """Whether the words in a name say a role.

    Words suffice for N, D and C only if all cells are in the range of the role: "visual tokens" may
    be those of an image.
    """
    if names_unit(name, role):
        return True
    if not has_words(name, role):
        return False
    return role == "loss" or _are_quantities(table[name], role)


def _is_other_loss(name: str) -> bool:
    """Whether a name says that a column holds losses that are not in nats per token."""
    advice = not_nats(name)
    return bool(advice) and "accuracy" not in advice


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
        found = [name for name in names if ends_in_usual_name(name, role)]
    if role == "loss" and len(found) == 1:
        found = [*other_losses(found[0], names), *found]
    if role == "loss":
        found.sort(key=lambda name: EVALUATION.isdisjoint(words_of(name)))  # the first is advised
    if role in OTHER:
        is_usable = len(found) == 1 and _are_quantities(table[found[0]], role)
        return found if is_usable else []
    return found


def _no_such_column(role: str, asked: str, names: list[str]) -> Fault:
    close = difflib.get_close_matches(asked, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else ""
    return Fault(None, role, f"{asked!r}, no such column", f"one of {listed(names)}", hint)


def _ambiguous(role: str, columns: Sequence[str]) -> Fault:
    """Return the fault of a role for which several columns have a usual name."""
    hint = f"choose {role}={columns[0]} (--map on the command line)"
    return Fault(None, role, " and ".join(columns), "one column", hint)


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
    # NaN, of a cell that is no quantity, lies in no range.
    return all(quantity.low <= number_or_nan(cell) <= quantity.high for cell in column)


def _names_with_sizes(table: Table) -> str:
    """Return the first column of names whose cells all contain a size; else nothing."""
    for name in usual_columns([str(each) for each in table], "run"):
        found = [_SIZE.findall(label(cell)) for cell in table[name]]
        if all(found) and len({sizes[0] for sizes in found}) > 1:
            return name
    return ""


def _column_of_sizes(table: Table) -> str:
    """Return the first column whose cells are sizes such as 70M, not all the same; else nothing."""
    for name in table:
        texts = [label(cell) for cell in table[name]]
        have_suffixes = all(text[-1:].upper() in ("M", "B") for text in texts)
        if have_suffixes and len(set(texts)) > 1 and _are_quantities(texts, "N"):
            return str(name)
    return ""
