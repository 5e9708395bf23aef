"""Published tables of runs and published allocations, embedded so that they are there without a network.

The figures are the papers'; the files and their layout are ours. A new table is a CSV that `read_runs` reads unaided,
and an entry in `TABLES`.
"""

import difflib
from dataclasses import dataclass, replace
from importlib.resources import as_file, files

import pandas as pd

from scalebayes.errors import RunsError
from scalebayes.runs import Runs, read_runs


@dataclass(frozen=True)
class Table:
    """Where a published table comes from, and what to know before fitting it.

    Attributes
    ----------
    title, source, place : str
        What it is, whose (with an arXiv id), and where in that work it stands.
    notes : tuple of str
        What the figures count, and how they were obtained.
    outliers : int
        How many of its highest losses are left out unless asked for.
    """

    title: str
    source: str
    place: str
    notes: tuple[str, ...] = ()
    outliers: int = 0


TABLES = {
    "hoffmann2022": Table(
        title="Chinchilla: models of 57M to 16B trained on MassiveText",
        source="Hoffmann et al. 2022 (arXiv:2203.15556), digitised by Besiroglu et al. 2024 (arXiv:2404.10102)",
        place="Figure 4",
        notes=("N and C count embeddings", "losses are read off a colour scale: 99 distinct values"),
        outliers=5,
    ),
    "pile2023": Table(
        title="Cerebras-GPT and Pythia: test loss on the Pile",
        source="Dey et al. 2023 (arXiv:2304.03208) and Biderman et al. 2023 (arXiv:2304.01373)",
        place="tables of sizes and of Pile test losses",
        notes=("N counts all parameters; the file gives those outside the embeddings too, as N_non_embedding",),
    ),
}


def load_runs(name: str, *, keep_outliers: bool = False) -> Runs:
    """Load a published table of runs.

    Parameters
    ----------
    name : str
        A name in `list_runs`.
    keep_outliers : bool
        Whether to keep rows that the field leaves out: the five highest losses of hoffmann2022, which Besiroglu et al.
        (2024) drop before fitting the other 240.

    Returns
    -------
    Runs
        Its ``source`` is the citation, its ``notes`` say what was derived and left out.

    Raises
    ------
    RunsError
        When there is no such table.

    References
    ----------
    .. [1] Hoffmann et al. (2022), Training compute-optimal large language models, arXiv:2203.15556.
    .. [2] Besiroglu et al. (2024), Chinchilla scaling: a replication attempt, arXiv:2404.10102.

    Examples
    --------
    >>> len(load_runs("hoffmann2022")), len(load_runs("hoffmann2022", keep_outliers=True))
    (240, 245)
    """
    if name not in TABLES:
        close = difflib.get_close_matches(name, TABLES, n=1, cutoff=0.4)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise RunsError(f"no published runs called {name!r}{hint}; allowed: {', '.join(TABLES)}.")
    about = TABLES[name]
    with as_file(files(__name__) / f"{name}.csv") as path:
        runs = read_runs(path, name=name)
    notes = (*runs.notes, *about.notes)
    table = runs.table
    if about.outliers and not keep_outliers:
        table = table.drop(index=table["loss"].nlargest(about.outliers).index)
        left_out = f"the {about.outliers} highest losses are left out as outliers"
        notes += (f"{left_out} (keep_outliers=True, or --keep-outliers, keeps them)",)
    return replace(runs, table=table, source=f"{about.source}, {about.place}", notes=notes)


def list_runs() -> pd.DataFrame:
    """List the published tables of runs.

    Returns
    -------
    pandas.DataFrame
        One row a table, indexed by name: rows (outliers left out), title, source.
    """
    rows = [(name, len(load_runs(name)), about.title, about.source) for name, about in TABLES.items()]
    return pd.DataFrame(rows, columns=["name", "rows", "title", "source"]).set_index("name")


def known_models() -> pd.DataFrame:
    """List well-known trained models, to give tables and figures a scale.

    Returns
    -------
    pandas.DataFrame
        One row a model, indexed by label: N (parameters), D (tokens), source (a key of models/references.bib).
    """
    return _read("known_models", ["N", "D"])


def allocations() -> pd.DataFrame:
    r"""List published compute-optimal allocations, :math:`N^* = N_{ref} (C / C_{ref})^a`.

    Returns
    -------
    pandas.DataFrame
        One row an allocation, indexed by label: source (a key of models/references.bib) and place; counts, which N and
        C are meant (total or non-embedding); exponent a, with low and high, the ends of its interval, and interval, its
        kind in words (NaN and "" where there is none); N_ref in parameters at C_ref in FLOP (NaN where the exponent
        comes alone). Figures are as printed: approach 3's rounded exponent lies outside its own interval.

    Notes
    -----
    Kaplan's line is :math:`1.3 \cdot 10^9` parameters at one PF-day, :math:`8.64 \cdot 10^{19}` FLOP.

    References
    ----------
    .. [1] Kaplan et al. (2020), Scaling laws for neural language models, arXiv:2001.08361.
    .. [2] Hoffmann et al. (2022), Training compute-optimal large language models, arXiv:2203.15556.
    """
    return _read("allocations", ["exponent", "low", "high", "N_ref", "C_ref"]).fillna({"interval": ""})


def coverage() -> pd.DataFrame:
    """List what intervals were measured to hold on held-out runs of public tables, by decades beyond the runs.

    Returns
    -------
    pandas.DataFrame
        One row a method and distance: method, spec (hash of the spec, or of all those of an equal pool), low and high
        (decades of compute beyond the training runs), forecasts, tables, and the share of losses inside 50% and 90%
        intervals with standard errors between tables. Written by ``benchmarks/calibration.py``.
    """
    with as_file(files(__name__) / "coverage.csv") as path:
        return pd.read_csv(path)


def _read(name: str, numbers: list[str]) -> pd.DataFrame:
    with as_file(files(__name__) / f"{name}.csv") as path:
        # By way of text, since pandas' own parser may miss the nearest float: 1.4e12 here is 1.4e12 everywhere.
        return pd.read_csv(path, index_col="label", dtype=str).astype(dict.fromkeys(numbers, float))
