"""Tables of training runs, read and checked before a model is fitted to them."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scalebayes.data.metrics import LOSS, NATS_PER_TOKEN, guess_metric, read_metric
from scalebayes.data.reading import Reading, recorded
from scalebayes.data.tables.checks import Conventions, check_table, count, counted
from scalebayes.data.tables.columns import QUANTITIES, span
from scalebayes.data.tables.logs import refuse_logs
from scalebayes.data.tables.sources import FileFormat, Source, read_source, short_name
from scalebayes.display import html
from scalebayes.errors import Fault as Fault
from scalebayes.errors import RunsError
from scalebayes.utils.files import printable


@dataclass(frozen=True, eq=False, repr=False)
class Runs:
    """A checked table of training runs, as `read_runs` makes it.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each run, indexed by its id ("run"). Columns of positive, finite floats: N
        (parameters), D (tokens), C (FLOP), S (steps), U (unique tokens), E (experts),
        learning_rate (the peak) and batch (tokens) as far as the table has them, then loss (see
        metric); accuracy, a share, in a table of
        `scalebayes.read_scores`; then the names in group, if runs belong to families, and in
        training, if rows are checkpoints of the same trainings.
    name : str
        Short name for titles and reports.
    source : str, optional
        Origin of the table: a path or a citation.
    notes : tuple of str
        Assumptions made while the table was read.
    metric : str
        Unit of the losses, which answers, figures and reports then carry: "nats per token", "word
        error rate" ... If it is not given, "nats per token" if the values look like it, else "loss"
        (`scalebayes.data.metrics.guess_metric`).
    reading : scalebayes.data.reading.Reading, optional
        The call that read the table; None for a table of other origin or of an earlier version.

    Examples
    --------
    >>> runs = sb.load_runs("pile2023")
    >>> len(runs), runs.metric
    (15, 'nats per token')
    >>> list(runs.table.columns)
    ['N', 'D', 'C', 'loss', 'group']
    """

    table: pd.DataFrame
    name: str
    source: str | None = None
    notes: tuple[str, ...] = ()
    metric: str = ""
    reading: Reading | None = None

    def __post_init__(self) -> None:
        """Name the index, make ids and names text, refuse equal ids, and guess the metric."""
        table = self.table.rename_axis(index="run")
        table.index = table.index.astype(str)
        if not table.index.is_unique:
            twice = table.index[table.index.duplicated()][0]
            raise RunsError(f"{self.name} has two runs called {twice!r}: ids must differ")
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "name", printable(str(self.name)))
        if self.source is not None:
            object.__setattr__(self, "source", printable(str(self.source)))
        if not self.metric:
            object.__setattr__(self, "metric", guess_metric(_columns(table)))

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
    def learning_rate(self) -> NDArray[np.float64]:
        """Peak learning rate, shape (runs,)."""
        return self._column("learning_rate")

    @property
    def batch(self) -> NDArray[np.float64]:
        """Tokens in a batch, shape (runs,)."""
        return self._column("batch")

    @property
    def loss(self) -> NDArray[np.float64]:
        """Loss in the unit `metric`, shape (runs,)."""
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
        """Return the natural logs of columns, by name."""
        return {column: np.log(getattr(self, column)) for column in columns}

    @property
    def max_compute(self) -> float:
        """Largest compute of a run in FLOP, NaN for a table without compute."""
        if "C" not in self.table:
            return float("nan")
        return float(self.C.max())

    @property
    def hash(self) -> str:
        """SHA-256 of the table's contents in hexadecimal.

        It does not depend on file, name, notes and metric.
        """
        names = [role for role in (*QUANTITIES, "accuracy") if role in self.table]
        numbers = self.table[names]
        groups = list(self.table["group"]) if "group" in self.table else None
        labels: list[object] = [names, list(self.table.index), groups]
        if "training" in self.table:
            labels.append(list(self.table["training"]))
        texts = json.dumps(labels)
        digest = hashlib.sha256(texts.encode())
        digest.update(numbers.to_numpy("<f8").tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        names = [role for role in (*QUANTITIES, "accuracy") if role in self.table]
        parts = [count(self, "run")]
        for role in names:
            label = role
            if role == "loss" and self.metric not in (NATS_PER_TOKEN, LOSS):
                label = f"loss ({self.metric})"
            parts.append(f"{label} {span(self.table[role])}")
        if "group" in self.table:
            parts.append(counted(self.table["group"].nunique(), "group"))
        if "training" in self.table:
            parts.append(counted(self.table["training"].nunique(), "training"))
        return f"Runs {self.name!r}: {', '.join(parts)}"

    def _repr_html_(self) -> str:
        parts = html.table(self.table, most=8), self.source, html.entries(self.notes)
        return html.panel(repr(self), *parts)

    def _column(self, role: str) -> NDArray[np.float64]:
        if role not in self.table:
            raise RunsError(
                f"{self.name} has no {role}: its columns are {', '.join(self.table.columns)}"
            )
        return self.table[role].to_numpy(dtype=np.float64, copy=True)


def _columns(table: pd.DataFrame) -> dict[str, list[float]]:
    """Return the numbers of a table by role."""
    columns = {}
    for role in QUANTITIES:
        if role in table:
            columns[role] = table[role].astype(float).tolist()
    return columns


@recorded
def read_runs(
    source: Source,
    *,
    N: str | None = None,
    D: str | None = None,
    C: str | None = None,
    loss: str | None = None,
    group: str | None = None,
    training: str | None = None,
    run: str | None = None,
    name: str | None = None,
    strict: bool = True,
    own_units: bool = False,
    skip_incomplete: bool = False,
    loss_unit: str = "nats",
    tokens_per_byte: float | None = None,
    scale: Mapping[str, float | str] | None = None,
    metric: str | None = None,
    sep: str | None = None,
    decimal: str | None = None,
    name_pattern: str | None = None,
    **others: str,
) -> Runs:
    r"""Return a checked table of runs; if one of N, D and C is missing, :math:`C = 6 N D` gives it.

    Columns are recognised by their usual names, compared without case and separators: ``params``,
    ``Training tokens``, ``train_flops``, ``val_loss`` and others (`scalebayes.data.tables.columns`
    lists them); where there is none, by the end of a name behind a dot or a slash (``eval/loss``),
    and then by words in it, with a note. If several columns match one role, choose one; only a
    column called exactly N, D or C is preferred to the others. D may be counted in other things
    than tokens, such as ``hours`` or ``images``.

    Parameters
    ----------
    source : path, sequence of path, or pandas.DataFrame
        A .csv (or .csv.gz), .tsv, .parquet, .jsonl or .json file; a folder of such files, a pattern
        of paths such as ``"sweep/*.csv"`` or a list of files, whose rows are joined; or a table.
    N, D, C, loss : str, optional
        Columns of parameters, tokens, FLOP and loss (see `loss_unit`). Values may be text such as
        ``70B``. ``"none"`` leaves a role without a column: ``C="none"`` where C is of something
        else.
    group : str, optional
        Column of the family of each run; by default ``group`` or ``family``, if there is one.
    training : str, optional
        Column that names the training of each run, where several runs are checkpoints of one
        training: `fit` then gives each training an error of its own. By default ``training``,
        ``training_id``, ``training_run`` or ``trajectory``, unless it only marks rows by 0 and 1.
    run : str, optional
        Column of ids; by default one such as ``run``, ``id`` or ``model`` with unique values, else
        1, 2, 3 ...
    name : str, optional
        Name of the table; by default that of the file.
    strict : bool
        Whether suspicious rows (a value out of range, a repeated run) are errors. Otherwise they
        are kept, with a note.
    own_units : bool
        Whether the table is of no language model, so N, D and loss are in units of its own, which
        are not checked.
    skip_incomplete : bool
        Whether rows without a value in a column that is read, or with an infinite one, are skipped,
        with a note. Otherwise they are errors.
    loss_unit, tokens_per_byte
        Unit of the losses, and tokens per byte of their text, as `scalebayes.to_nats` takes them;
        ``"percent"`` makes percentages shares.
    scale : dict, optional
        Factor by which the values of a column are multiplied: ``{"FLOPs (P)": 1e15}``.
    metric : str, optional
        Name of the unit of the losses, such as ``"word error rate"``, which answers, figures and
        reports then carry. Losses of another metric than nats per token are not checked for
        mistakes of unit. By default "nats per token" if `loss_unit` converts to it or the losses
        look like it, else "loss" (`scalebayes.data.metrics.guess_metric` states the rule).
    sep, decimal : str, optional
        Separator of the cells of a text file and the mark before decimals; by default detected,
        with a note if they are not those of the ending.
    name_pattern : str, optional
        Pattern of names that contain values: ``"{N}-{x}xC"`` finds N in ``190M-0.5xC``. It is
        matched with the names of the files, or, if there is one file with a column of names, with
        those of the runs. ``*`` stands for any text.
    **others
        Columns of inputs that only some laws take: S, steps; U, unique tokens; E, experts;
        learning_rate, the peak; batch, tokens in a batch. By default the column with a usual name,
        if every value in it is usable.

    Returns
    -------
    Runs
        The table, with the assumptions made in its notes.

    Raises
    ------
    RunsError
        With all faults of the table at once, each with its row and column.

    Examples
    --------
    >>> sizes = {"params": ["70M", "1B"], "tokens": ["3B", "20B"]}
    >>> sb.read_runs(pd.DataFrame(sizes | {"val_loss": [3.4, 2.6]}), name="two")
    Runs 'two': 2 runs, N 70M to 1B, D 3B to 20B, C 1.26e18 to 1.2e20, loss 2.6 to 3.4
    """
    raw = read_source(source, FileFormat(sep, decimal, name_pattern))
    refuse_logs(raw, name_pattern)
    name = name or (short_name(raw.origin) if raw.origin else "runs")
    _check_arguments(scale, metric)
    labels = {"group": group, "training": training, "run": run}
    chosen = {"N": N, "D": D, "C": C, "loss": loss, **labels, **others}
    # Columns of a DataFrame may be numbers, which then are names as text.
    asked = {role: None if column is None else str(column) for role, column in chosen.items()}
    conventions = Conventions(
        strict, own_units, skip_incomplete, loss_unit, tokens_per_byte, metric, scale or {}
    )
    values, notes = check_table(raw.columns, name, asked, conventions)
    metric = read_metric(metric, loss_unit)
    if metric is None:
        metric = LOSS if own_units else guess_metric(values, asked["loss"])
    table = pd.DataFrame(values).set_index("run")
    return Runs(table, name, raw.origin, (*raw.notes, *notes), metric)


def _check_arguments(scale: object, metric: object) -> None:
    """Refuse arguments of the wrong type."""
    if scale is not None and not isinstance(scale, Mapping):
        raise RunsError(f"scale is a dictionary of factors by column; got {scale!r}")
    if metric is not None and not isinstance(metric, str):
        raise RunsError(f"metric is the name of a unit; got {metric!r}")
