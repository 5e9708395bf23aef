"""Published tables of runs and published allocations.

Small tables of figures are embedded, so that they are there without a network; larger ones stay with their authors and
are fetched when they are asked for (`scalebayes.datasets.downloads`). The figures are the papers'; the embedded files and their
layout are ours. A new table is an entry in `TABLES`, with a CSV that `read_runs` reads unaided, or with its file
upstream and a function that reads it.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd

from scalebayes.data.runs import Runs, read_runs
from scalebayes.datasets.downloads import Upstream, at_hand, fetch
from scalebayes.datasets.layouts import best_of_each, clark, gemstones, misfitting
from scalebayes.errors import RunsError


@dataclass(frozen=True)
class Table:
    """Where a published table comes from, and what to know before fitting it.

    Attributes
    ----------
    title, source, place : str
        What it is, whose (with an arXiv id), and where in that work it stands.
    rows : int
        How many runs it has, outliers left out.
    notes : tuple of str
        What the figures count, and how they were obtained.
    outliers : int
        How many of its highest losses are left out unless asked for.
    upstream : Upstream, optional
        The file it is fetched from; None where it is embedded.
    parse : callable, optional
        From the path of that file and the table's name to its runs.
    sweeps : bool
        Whether it holds several runs at each N and D, of which `load_runs` can keep the best.
    """

    title: str
    source: str
    place: str
    rows: int
    notes: tuple[str, ...] = ()
    outliers: int = 0
    upstream: Upstream | None = None
    parse: Callable[[Path, str], Runs] | None = None
    sweeps: bool = False


TABLES = {
    "hoffmann2022": Table(
        title="Chinchilla: models of 57M to 16B trained on MassiveText",
        source="Hoffmann et al. 2022 (arXiv:2203.15556), digitised by Besiroglu et al. 2024 (arXiv:2404.10102)",
        place="Figure 4",
        rows=240,
        notes=(
            "N and C count embeddings",
            "losses are read off a colour scale: 99 distinct values",
        ),
        outliers=5,
    ),
    "pile2023": Table(
        title="Cerebras-GPT and Pythia: test loss on the Pile",
        source="Dey et al. 2023 (arXiv:2304.03208) and Biderman et al. 2023 (arXiv:2304.01373)",
        place="tables of sizes and of Pile test losses",
        rows=15,
        notes=(
            "N counts all parameters; the file gives those outside the embeddings too, as N_non_embedding",
        ),
    ),
    "gemstones2025": Table(
        title="Gemstones: widths and depths varied, 50M to 2B",
        source="McLeish et al. 2025 (arXiv:2502.06857)",
        place="cooled-down checkpoints, wandb_df_for_fitting_cool_end.jsonl",
        rows=199,
        notes=(
            "each run is a cooled-down checkpoint; groups are width x depth, and several checkpoints share a training",
        ),
        upstream=Upstream(
            "mcleish7/gemstone-scaling-laws",
            "5f420478f6057b0cbb4d13405fb10ca64675bccb",
            "wandb_dfs/wandb_df_for_fitting_cool_end.jsonl",
            "bdf01b6b21bafc414218124a6f9e195cee07f3d69ceacbfae2fcf069d34f4e61",
            "MIT",
        ),
        parse=gemstones,
    ),
    "misfitting2025": Table(
        title="(Mis)Fitting: dense models at several learning rates, C4 loss",
        source="Li et al. 2025 (arXiv:2502.18969)",
        place="scaling_results_last_ckpt_only.csv",
        rows=261,
        notes=("N counts embeddings",),
        upstream=Upstream(
            "hadasah/scaling_laws",
            "1f3708c0a12df0effb0ee906b1da5f9f0ff4f4f1",
            "data/scaling_results_last_ckpt_only.csv",
            "cd96b9eb8e5b2adc80e6739a642dd8554590edc96234d36859ab6ed0f5c30562",
            "none stated",
        ),
        parse=misfitting,
        sweeps=True,
    ),
    "clark2022": Table(
        title="Routed language models: 2 to 512 experts, and dense ones, 15M to 1.3B",
        source="Clark et al. 2022 (arXiv:2202.01169)",
        place="curves.csv.gz",
        rows=223,
        notes=(
            "N counts the dense parameters that a token passes, without embeddings; loss is the validation set's",
            "all models saw the same 130B tokens: these runs say nothing of D",
        ),
        upstream=Upstream(
            "google-deepmind/scaling_laws_for_routing",
            "42da0c392b127df2c01fa7b705f72396050d05e5",
            "data/curves.csv.gz",
            "c03e7531add85e594f368d33bac4a0220280be858a7ed12d147cf73af6a3819f",
            "CC-BY 4.0",
        ),
        parse=clark,
    ),
}


def load_runs(name: str, *, keep_outliers: bool = False, best: bool = False) -> Runs:
    """Load a published table of runs; those that are not embedded are fetched the first time and kept.

    A file is fetched from its authors' repository on GitHub, at a fixed commit, and used only if its SHA-256 is that of
    the published file. ``SCALEBAYES_DATA_DIR`` names the folder where files are looked for and kept (by default the
    user's cache folder), ``SCALEBAYES_DATA_MIRROR`` the base of a URL to fetch them from instead.

    Parameters
    ----------
    name : str
        A name in `list_runs`.
    keep_outliers : bool
        Whether to keep rows that the field leaves out: the five highest losses of hoffmann2022, which Besiroglu et al.
        (2024) drop before fitting the other 240.
    best : bool
        Of a table that tries several learning rates at each N and D (misfitting2025), keep the run of least loss at
        each: closer to what a law is about, and biased down by the luck of the best where many were tried.

    Returns
    -------
    Runs
        Its ``source`` is the citation, its ``notes`` say what was derived and left out.

    Raises
    ------
    RunsError
        When there is no such table, when its file cannot be fetched or is not the published one (the message says what
        to bring where), or when `best` is asked of a table without a sweep.

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
    if best and not about.sweeps:
        allowed = ", ".join(name for name, table in TABLES.items() if table.sweeps)
        raise RunsError(
            f"{name} has no sweep of learning rates to take the best of; allowed with best: {allowed}"
        )
    runs = best_of_each(_read_whole(name, about)) if best else _read_whole(name, about)
    notes = (*runs.notes, *about.notes)
    if about.sweeps and not best:
        notes += (
            "every learning rate tried is in it: best=True (--best) keeps the best run at each N and D",
        )
    table = runs.table
    if about.outliers and not keep_outliers:
        table = table.drop(index=table["loss"].nlargest(about.outliers).index)
        left_out = f"the {about.outliers} highest losses are left out as outliers"
        notes += (f"{left_out} (keep_outliers=True, or --keep-outliers, keeps them)",)
    return replace(runs, table=table, source=f"{about.source}, {about.place}", notes=notes)


def _read_whole(name: str, about: Table) -> Runs:
    if about.upstream is not None and about.parse is not None:
        return about.parse(fetch(about.upstream, name), name)
    with as_file(files(__name__) / f"{name}.csv") as path:
        return read_runs(path, name=name)


def list_runs() -> pd.DataFrame:
    """List the published tables of runs; asks no network.

    Returns
    -------
    pandas.DataFrame
        One row a table, indexed by name: rows (outliers left out), at_hand ("embedded", "yes", or "no": `load_runs`
        fetches it), title, source.
    """
    rows = [
        (name, about.rows, _where(about), about.title, about.source)
        for name, about in TABLES.items()
    ]
    return pd.DataFrame(rows, columns=["name", "rows", "at_hand", "title", "source"]).set_index(
        "name"
    )


def _where(about: Table) -> str:
    if about.upstream is None:
        return "embedded"
    return "yes" if at_hand(about.upstream) else "no"


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
    return _read("allocations", ["exponent", "low", "high", "N_ref", "C_ref"]).fillna(
        {"interval": ""}
    )


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
