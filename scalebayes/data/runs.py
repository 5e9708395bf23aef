"""Runs: a table of training runs, read and checked before anything is fitted to it."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scalebayes.data.checks import check_table, count
from scalebayes.data.columns import QUANTITIES, span
from scalebayes.data.sources import read_source, short_name
from scalebayes.display import html
from scalebayes.errors import Fault as Fault
from scalebayes.errors import RunsError


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
        digest = hashlib.sha256(
            json.dumps([list(numbers), list(self.table.index), groups]).encode()
        )
        digest.update(numbers.to_numpy("<f8").tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        ranges = [f"{role} {span(self.table[role])}" for role in QUANTITIES if role in self.table]
        ranges += [f"accuracy {span(self.table['accuracy'])}"] if "accuracy" in self.table else []
        groups = [f"{self.table['group'].nunique()} groups"] if "group" in self.table else []
        return f"Runs {self.name!r}: {count(self, 'run')}, {', '.join(ranges + groups)}"

    def _repr_html_(self) -> str:
        parts = html.table(self.table, most=8), self.source, html.entries(self.notes)
        return html.panel(repr(self), *parts)

    def _column(self, role: str) -> NDArray[np.float64]:
        if role not in self.table:
            raise RunsError(
                f"{self.name} has no {role}: its columns are {', '.join(self.table.columns)}"
            )
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
    ``train_flops``, ``val_loss`` and their like (`scalebayes.data.columns` has the list). Where two could play one part,
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
    given, origin = read_source(source)
    name = name or (short_name(origin) if origin else "runs")
    asked = {"N": N, "D": D, "C": C, "loss": loss, "group": group, "run": run, **others}
    values, notes = check_table(
        given, name, asked, strict, skip_incomplete, loss_unit, tokens_per_byte
    )
    return Runs(pd.DataFrame(values).set_index("run"), name, origin, notes)
