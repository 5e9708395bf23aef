"""Runs: a table of training runs, read and checked before anything is fitted to it."""

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scalebayes import notebook
from scalebayes.columns import OTHER, QUANTITIES, check_units, match_columns, span
from scalebayes.errors import Fault as Fault
from scalebayes.errors import RunsError
from scalebayes.lossunits import UNITS, to_nats
from scalebayes.sources import open_table, short_name
from scalebayes.units import parse_quantity


@dataclass(frozen=True, eq=False, repr=False)
class Runs:
    """A checked table of training runs, as `read_runs` makes it.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a run, indexed by its id ("run"): float columns among N (parameters), D (tokens), C (FLOP), S (steps),
        U (unique tokens) and E (experts), then loss (nats per token), all positive and finite; accuracy, a share,
        where there are scores (`scalebayes.read_scores`); then group, where the runs belong to families.
    name : str
        A short name for titles and reports.
    source : str, optional
        Where the table comes from: a path or a citation.
    notes : tuple of str
        What was assumed while reading it.
    """

    table: pd.DataFrame
    name: str
    source: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Name the index and make its ids text, each once."""
        table = self.table.rename_axis(index="run")
        table.index = table.index.astype(str)
        if not table.index.is_unique:
            twice = table.index[table.index.duplicated()][0]
            raise RunsError(f"{self.name} has two runs called {twice!r}: ids must differ")
        object.__setattr__(self, "table", table)

    @property
    def N(self) -> NDArray[np.float64]:
        """Parameters, shape (runs,)."""
        return self._column("N")

    @property
    def D(self) -> NDArray[np.float64]:
        """Training tokens, shape (runs,)."""
        return self._column("D")

    @property
    def C(self) -> NDArray[np.float64]:
        """Training compute in FLOP, shape (runs,)."""
        return self._column("C")

    @property
    def S(self) -> NDArray[np.float64]:
        """Steps of the optimiser, shape (runs,)."""
        return self._column("S")

    @property
    def U(self) -> NDArray[np.float64]:
        """Unique training tokens, shape (runs,)."""
        return self._column("U")

    @property
    def E(self) -> NDArray[np.float64]:
        """Experts, shape (runs,)."""
        return self._column("E")

    @property
    def loss(self) -> NDArray[np.float64]:
        """Loss in nats per token, shape (runs,)."""
        return self._column("loss")

    @property
    def P(self) -> NDArray[np.float64]:
        """Perplexity of a token, e to the loss, shape (runs,)."""
        return np.exp(self.loss)

    @property
    def odds(self) -> NDArray[np.float64]:
        """Odds of the accuracy, a/(1 - a), shape (runs,)."""
        accuracy = self._column("accuracy")
        return accuracy / (1.0 - accuracy)

    def log_inputs(self, columns: Iterable[str]) -> dict[str, NDArray[np.float64]]:
        """Natural logs of columns by name."""
        return {column: np.log(getattr(self, column)) for column in columns}

    @property
    def max_compute(self) -> float:
        """The largest compute of a run in FLOP, NaN where compute is not known."""
        return float(self.C.max()) if "C" in self.table else float("nan")

    @property
    def hash(self) -> str:
        """SHA-256 of the table's contents, in hexadecimal: the same whatever file they came from."""
        numbers = self.table[[role for role in (*QUANTITIES, "accuracy") if role in self.table]]
        groups = list(self.table["group"]) if "group" in self.table else None
        digest = hashlib.sha256(json.dumps([list(numbers), list(self.table.index), groups]).encode())
        digest.update(numbers.to_numpy("<f8").tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        ranges = [f"{role} {span(self.table[role])}" for role in QUANTITIES if role in self.table]
        ranges += [f"accuracy {span(self.table['accuracy'])}"] if "accuracy" in self.table else []
        groups = [f"{self.table['group'].nunique()} groups"] if "group" in self.table else []
        return f"Runs {self.name!r}: {_count(self, 'run')}, {', '.join(ranges + groups)}"

    def _repr_html_(self) -> str:
        parts = notebook.table(self.table, most=8), self.source, notebook.entries(self.notes)
        return notebook.panel(repr(self), *parts)

    def _column(self, role: str) -> NDArray[np.float64]:
        if role not in self.table:
            raise RunsError(f"{self.name} has no {role}: its columns are {', '.join(self.table.columns)}")
        return self.table[role].to_numpy(dtype=np.float64, copy=True)


def read_runs(
    source: str | os.PathLike[str] | pd.DataFrame,
    *,
    N: str | None = None,
    D: str | None = None,
    C: str | None = None,
    loss: str | None = None,
    group: str | None = None,
    run: str | None = None,
    name: str | None = None,
    strict: bool = True,
    skip_incomplete: bool = False,
    loss_unit: str = "nats",
    tokens_per_byte: float | None = None,
    **others: str,
) -> Runs:
    r"""Read and check a table of runs; of N, D and C the missing one follows from :math:`C = 6 N D`.

    Columns are recognised by their usual names, whatever the case and the separators: ``params``, ``Training tokens``,
    ``train_flops``, ``val_loss`` and their like (`scalebayes.columns` has the list). Where two could play one part,
    say which; only a column called exactly N, D or C beats the others.

    Parameters
    ----------
    source : path or pandas.DataFrame
        A .csv (or .csv.gz), .tsv, .parquet or .jsonl file, or a table.
    N, D, C, loss : str, optional
        Columns of parameters, tokens, FLOP and loss (see `loss_unit`). Values may be text such as ``70B``.
    group : str, optional
        Column of the family each run belongs to; by default ``group`` or ``family``, where there is one.
    run : str, optional
        Column of ids; by default one such as ``run``, ``id`` or ``model`` with unique values, else 1, 2, 3 ...
    name : str, optional
        What to call the table; by default the file's name.
    strict : bool
        Whether suspicious values (units, repeated runs) are errors. Otherwise they are kept, with a note.
    skip_incomplete : bool
        Whether rows without a value in a column that is read are left out, with a note, instead of being errors.
    loss_unit, tokens_per_byte
        What the losses are in, and the tokens of their text over its bytes, as `scalebayes.to_nats` takes them.
    **others
        Columns of inputs that only some laws take: S, steps; U, unique tokens; E, experts. By default the one with a
        usual name, if all of it can serve.

    Returns
    -------
    Runs
        The table, with what was assumed in its notes.

    Raises
    ------
    RunsError
        With all faults of the table at once, each with its row and column.

    Examples
    --------
    >>> table = pd.DataFrame({"params": ["70M", "1B"], "tokens": ["3B", "20B"], "val_loss": [3.4, 2.6]})
    >>> read_runs(table, name="two")
    Runs 'two': 2 runs, N 70M to 1B, D 3B to 20B, C 1.26e18 to 1.2e20, loss 2.6 to 3.4
    """
    frame, origin = open_table(source)
    name = name or (short_name(origin) if origin else "runs")
    if unknown := set(others) - set(OTHER):
        raise RunsError(f"no column is called for by {', '.join(sorted(unknown))}: allowed are {', '.join(QUANTITIES)}")
    asked = {"N": N, "D": D, "C": C, **{x: others.get(x) for x in OTHER}, "loss": loss, "group": group, "run": run}
    columns, faults = match_columns(frame, asked)
    frame, skipped = _complete(frame, columns, name) if skip_incomplete else (frame, [])
    cells, units = _in_nats(_read_cells(frame, columns), columns, loss_unit, tokens_per_byte)
    given = cells.drop(columns="run", errors="ignore")
    table, notes = _with_third(given)
    suspicions = []
    if not faults:  # of the columns: where one is wrong or missing the checks below would cry wolf
        suspicions = [*check_units(table, columns, loss_unit == "nats"), *_check_repeats(given, columns)]
    faults += _check_cells(frame, cells, columns)
    if faults or (strict and suspicions):
        raise _refusal(name, cells, faults, suspicions if strict else [])
    ids = cells["run"] if "run" in cells else [str(row) for row in cells.index]
    return Runs(
        table.set_index(pd.Index(ids, name="run")), name, origin, (*skipped, *units, *notes, *_as_notes(suspicions))
    )


def _complete(frame: pd.DataFrame, columns: dict[str, str], name: str) -> tuple[pd.DataFrame, list[str]]:
    """Leave out rows without a value in a column that plays a part; the others keep their numbers."""
    missing = pd.DataFrame({c: [not _label(cell) for cell in frame[c]] for c in columns.values()}, index=frame.index)
    skipped = frame.index[missing.any(axis=1)]
    if len(skipped) == len(frame):
        raise RunsError(f"{name}: all {_count(frame, 'row')} miss a value in {', '.join(columns.values())}")
    rows = ", ".join(map(str, skipped[:8])) + (f" and {len(skipped) - 8} more" if len(skipped) > 8 else "")
    words = f"{len(skipped)} of {_count(frame, 'row')} left out for missing values: {_plural(skipped, 'row')} {rows}"
    return frame.drop(index=skipped), [words] if len(skipped) else []


def _in_nats(
    cells: pd.DataFrame, columns: dict[str, str], unit: str, tokens_per_byte: float | None
) -> tuple[pd.DataFrame, list[str]]:
    """Losses in nats per token, NaN where that is not positive, and how they became so."""
    loss = to_nats(cells.get("loss", pd.Series(dtype=float)), unit, tokens_per_byte=tokens_per_byte)
    if unit == "nats" or "loss" not in cells:
        return cells, []
    rate = f" ({tokens_per_byte:g})" if tokens_per_byte is not None else ""
    note = f"loss in nats per token from {columns['loss']}: {UNITS[unit].formula}{rate}"
    return cells.assign(loss=loss.where(loss > 0)), [note]


def _read_cells(frame: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Read the columns that play a part: numbers, NaN where a cell is none, and labels, empty where there is none."""
    roles = [role for role in (*QUANTITIES, "group", "run") if role in columns]
    read: dict[str, Callable[[object], float | str]] = {"group": _label, "run": _label}
    cells = {role: [read.get(role, _number)(cell) for cell in frame[columns[role]]] for role in roles}
    return pd.DataFrame(cells, index=frame.index)


def _number(cell: object) -> float:
    try:
        number = parse_quantity(cell)
    except ValueError:
        return float("nan")
    return number if 1e-100 < number < 1e100 else float("nan")  # so that products of three stay finite


def _label(cell: object) -> str:
    text = " ".join(str(cell).split())
    return "" if text in {"nan", "NaN", "None", "<NA>", "NaT"} else text


def _with_third(given: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Add whichever of N, D and C the other two determine, and say so."""
    table, notes = given.copy(), []
    match [role for role in ("N", "D", "C") if role in given]:
        case ["N", "D"]:
            table["C"], notes = 6 * given["N"] * given["D"], ["C = 6ND, from N and D"]
        case ["N", "C"]:
            table["D"], notes = given["C"] / (6 * given["N"]), ["D = C/6N, from N and C"]
        case ["D", "C"]:
            table["N"], notes = given["C"] / (6 * given["D"]), ["N = C/6D, from D and C"]
        case ["N", "D", "C"]:
            ratio = given["C"] / (6 * given["N"] * given["D"])
            if (abs(ratio - 1) > 0.1).any():
                notes = [f"C is kept as given: {ratio.min():.3g} to {ratio.max():.3g} times 6ND"]
    return table[[role for role in (*QUANTITIES, "group") if role in table]], notes


def _check_cells(frame: pd.DataFrame, cells: pd.DataFrame, columns: dict[str, str]) -> Iterator[Fault]:
    """Find what cannot be used at all: cells missing, no numbers, not positive; an id given twice; a constant loss."""
    for role, column in columns.items():
        bad = cells[role].isna() | (cells[role] == "")
        allowed = f"a positive number of {QUANTITIES[role].unit}" if role in QUANTITIES else "a name"
        for row, cell in zip(frame.index[bad], frame.loc[bad, column], strict=True):
            got = _label(cell)[:30] or "nothing"
            percent = "a percent is no loss" if role == "loss" and "%" in got else ""
            yield Fault(row, column, got, allowed, percent)
    if "run" in cells:
        for row, earlier in _repeats(cells["run"][cells["run"] != ""].items()):
            yield Fault(row, columns["run"], f"the id of row {earlier}", "an id of its own")
    if "loss" in cells and len(cells) > 1 and list(cells["loss"].unique()) == [cells["loss"].iloc[0]]:
        yield Fault(None, columns["loss"], f"{cells['loss'].iloc[0]:g} in every row", "a loss that varies")


def _check_repeats(given: pd.DataFrame, columns: dict[str, str]) -> Iterator[Fault]:
    """Find runs with the very numbers of an earlier one: a copied row more often than a coincidence."""
    names = ", ".join(columns[role] for role in QUANTITIES if role in given)
    for row, earlier in _repeats((row, tuple(key)) for row, *key in given.dropna().itertuples(name=None)):
        yield Fault(row, names, f"the values of row {earlier}", "each run once")


def _repeats(rows: Iterable[tuple[Any, Hashable]]) -> Iterator[tuple[int, int]]:
    """Yield the rows whose key was met before, each with the first row that had it."""
    first: dict[Hashable, int] = {}
    for row, key in rows:
        if (earlier := first.setdefault(key, row)) != row:
            yield row, earlier


def _refusal(name: str, cells: pd.DataFrame, faults: Sequence[Fault], suspicions: Sequence[Fault]) -> RunsError:
    """Gather what is wrong in the order of the rows, each with its run's id."""
    found = sorted([*faults, *suspicions], key=lambda fault: fault.row or 0)
    if "run" in cells:
        found = [replace(fault, run=cells["run"][fault.row]) if fault.row else fault for fault in found]
    way_out = "" if faults else "; strict=False (--lenient) keeps what is only suspicious"
    if faults and all(fault.got == "nothing" for fault in found):
        way_out = "; skip_incomplete=True (--skip-incomplete) leaves such rows out"
    return RunsError(f"{name}: {_count(found, 'fault')} in {_count(cells, 'run')}{way_out}", found)


def _count(things: Sized, noun: str) -> str:
    return f"{len(things)} {_plural(things, noun)}"


def _plural(things: Sized, noun: str) -> str:
    return noun + "s" * (len(things) != 1)


def _as_notes(suspicions: Iterable[Fault]) -> Iterator[str]:
    """One note for all the rows that a check suspects."""
    for (column, allowed), faults in itertools.groupby(suspicions, key=lambda fault: (fault.column, fault.allowed)):
        first, *more = faults
        row = f" in row {first.row}" + (f" and {len(more)} more" if more else "") if first.row else ""
        yield f"kept although suspicious: {column}, {first.got}{row} (expected {allowed})"
