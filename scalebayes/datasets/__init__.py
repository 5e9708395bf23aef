"""Published tables of runs and published allocations.

Small tables are part of the package, so they need no network. Larger ones are downloaded from
their authors' repositories on first use (`scalebayes.datasets.downloads`). The numbers are the
papers'; the embedded files and their layout are ours. To add a table, add an entry to `TABLES`:
either with a CSV file in this folder that `read_runs` reads without further arguments, or with
an `Upstream` and a function that reads its file.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd

from scalebayes.data.metrics import NATS_PER_TOKEN
from scalebayes.data.reading import recorded
from scalebayes.data.runs import Runs, read_runs
from scalebayes.datasets.downloads import Upstream, fetch, is_downloaded
from scalebayes.datasets.layouts import best_of_each, clark, gemstones, misfitting
from scalebayes.datasets.measured import coverage as coverage
from scalebayes.errors import RunsError

LEAST_SIMILARITY = 0.4
"""Similarity of names (difflib's ratio, 0 to 1) from which an error suggests another table."""


@dataclass(frozen=True)
class Table:
    """The origin of a published table, and what to know before fitting it.

    Attributes
    ----------
    title
        Models and range of sizes.
    source
        Authors, year and arXiv id.
    place
        Figure, table or file of that work.
    rows
        Number of runs, without outliers.
    notes
        What N and C count, and how the numbers were obtained.
    outliers
        Number of runs with the highest losses that are dropped by default.
    upstream
        The file to download; None if the table is embedded.
    parse
        A function of the path of that file and the table's name that returns the runs.
    sweeps
        Whether the table has several runs at each N and D, of which `load_runs` can keep the best.
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
        source="Hoffmann et al. 2022 (arXiv:2203.15556), "
        "digitised by Besiroglu et al. 2024 (arXiv:2404.10102)",
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
            "N counts all parameters; column N_non_embedding of the file counts "
            "those outside the embeddings",
        ),
    ),
    "gemstones2025": Table(
        title="Gemstones: widths and depths varied, 50M to 2B",
        source="McLeish et al. 2025 (arXiv:2502.06857)",
        place="cooled-down checkpoints, wandb_df_for_fitting_cool_end.jsonl",
        rows=199,
        notes=(
            "each run is a cooled-down checkpoint; several checkpoints belong to one training run",
            "groups are width x depth",
        ),
        upstream=Upstream(
            "mcleish7/gemstone-scaling-laws",
            "5f420478f6057b0cbb4d13405fb10ca64675bccb",
            "wandb_dfs/wandb_df_for_fitting_cool_end.jsonl",
            "bdf01b6b21bafc414218124a6f9e195cee07f3d69ceacbfae2fcf069d34f4e61",
            "MIT",
            40_376,
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
            58_697,
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
            "N counts the dense parameters used by a token, without embeddings",
            "the loss is that on the validation set",
            "all models saw the same 130B tokens, so these runs contain no information on D",
        ),
        upstream=Upstream(
            "google-deepmind/scaling_laws_for_routing",
            "42da0c392b127df2c01fa7b705f72396050d05e5",
            "data/curves.csv.gz",
            "c03e7531add85e594f368d33bac4a0220280be858a7ed12d147cf73af6a3819f",
            "CC-BY 4.0",
            336_608,
        ),
        parse=clark,
    ),
}


@recorded
def load_runs(name: str, *, keep_outliers: bool = False, best: bool = False) -> Runs:
    """Return a published table of runs.

    Tables that are not embedded are downloaded once and kept: from their authors' repository on
    GitHub, at a fixed commit, and only if the SHA-256 is that of the published file.
    ``SCALEBAYES_DATA_DIR`` sets the folder of downloaded files (by default the user's cache
    folder), ``SCALEBAYES_DATA_MIRROR`` a base URL to download from instead of GitHub.

    Parameters
    ----------
    name : str
        A name in `list_runs`.
    keep_outliers : bool
        Whether to keep outliers: the five highest losses of hoffmann2022, which Besiroglu et al.
        (2024) drop before they fit the other 240.
    best : bool
        Whether to keep only the run with the least loss at each N and D, in a table that has
        several learning rates there (misfitting2025). Such runs are closer to what a law
        describes, but the least of many noisy losses is biased downwards.

    Returns
    -------
    Runs
        Its ``source`` is the citation; its ``notes`` say what was derived and dropped.

    Raises
    ------
    RunsError
        When there is no such table; when its file cannot be downloaded or is not the published one
        (the message says which file to put where); when `best` is set for a table without a sweep.

    References
    ----------
    .. [1] Hoffmann et al. (2022), Training compute-optimal large language models, arXiv:2203.15556.
    .. [2] Besiroglu et al. (2024), Chinchilla scaling: a replication attempt, arXiv:2404.10102.

    Examples
    --------
    >>> runs = sb.load_runs("hoffmann2022")
    >>> len(runs), len(sb.load_runs("hoffmann2022", keep_outliers=True))
    (240, 245)
    """
    about = _find(name)
    if best and not about.sweeps:
        sweeps = [name for name, table in TABLES.items() if table.sweeps]
        raise RunsError(
            f"{name} has no sweep of learning rates to take the best of; "
            f"tables with a sweep: {', '.join(sweeps)}"
        )
    runs = _read_runs(name, about)
    if best:
        runs = best_of_each(runs)
    notes = [*runs.notes, *about.notes]
    if about.sweeps and not best:
        notes.append(
            "the runs of all learning rates are included; "
            "best=True (--best) keeps the best run at each N and D"
        )
    table = runs.table
    if about.outliers > 0 and not keep_outliers:
        highest = table["loss"].nlargest(about.outliers)
        table = table.drop(index=highest.index)
        notes.append(
            f"the {about.outliers} highest losses are left out as outliers "
            "(keep_outliers=True, or --keep-outliers, keeps them)"
        )
    source = f"{about.source}, {about.place}"
    return replace(runs, table=table, source=source, notes=tuple(notes), metric=NATS_PER_TOKEN)


def _find(name: str) -> Table:
    if name in TABLES:
        return TABLES[name]
    hint = ""
    close = difflib.get_close_matches(name, TABLES, n=1, cutoff=LEAST_SIMILARITY)
    if close:
        hint = f" (did you mean {close[0]!r}?)"
    raise RunsError(f"no published runs called {name!r}{hint}; allowed: {', '.join(TABLES)}.")


def _read_runs(name: str, about: Table) -> Runs:
    """Return all runs of a table, as its file has them."""
    if about.upstream is not None and about.parse is not None:
        return about.parse(fetch(about.upstream, name), name)
    with as_file(files(__name__) / f"{name}.csv") as path:
        return read_runs(path, name=name)


def list_runs() -> pd.DataFrame:
    """Return the list of published tables of runs; needs no network.

    Returns
    -------
    pandas.DataFrame
        One row for each table, indexed by name: rows (without outliers), available ("embedded";
        "yes" if the file was downloaded; "no" if `load_runs` will download it), title, source.

    Examples
    --------
    >>> sb.list_runs()["rows"].loc[["hoffmann2022", "pile2023"]].to_dict()
    {'hoffmann2022': 240, 'pile2023': 15}
    """
    rows = []
    for name, about in TABLES.items():
        rows.append(
            {
                "name": name,
                "rows": about.rows,
                "available": _availability(about),
                "title": about.title,
                "source": about.source,
            }
        )
    return pd.DataFrame(rows).set_index("name")


def _availability(about: Table) -> str:
    if about.upstream is None:
        return "embedded"
    if is_downloaded(about.upstream):
        return "yes"
    return "no"


def known_models() -> pd.DataFrame:
    """Return well-known trained models, to compare tables and figures with.

    Returns
    -------
    pandas.DataFrame
        One row for each model, indexed by label: N (parameters), D (tokens), source (a key of
        models/references.bib).
    """
    return _read("known_models", ["N", "D"])


def allocations() -> pd.DataFrame:
    r"""Return published compute-optimal allocations, :math:`N^* = N_{ref} (C / C_{ref})^a`.

    Returns
    -------
    pandas.DataFrame
        One row for each allocation, indexed by label:

        - source (a key of models/references.bib) and place;
        - counts: what N and C count, "total" or "non-embedding" parameters;
        - exponent a; low and high, the ends of its interval (NaN without one); interval, the kind
          of interval in words ("" without one);
        - N_ref in parameters at C_ref in FLOP (NaN if only the exponent was published).

        Numbers are as printed: the rounded exponent of approach 3 lies outside its own interval.

    Notes
    -----
    Kaplan's line is :math:`1.3 \cdot 10^9` parameters at one PF-day, which is
    :math:`8.64 \cdot 10^{19}` FLOP.

    References
    ----------
    .. [1] Kaplan et al. (2020), Scaling laws for neural language models, arXiv:2001.08361.
    .. [2] Hoffmann et al. (2022), Training compute-optimal large language models, arXiv:2203.15556.
    """
    table = _read("allocations", ["exponent", "low", "high", "N_ref", "C_ref"])
    return table.fillna({"interval": ""})


def _read(name: str, numbers: list[str]) -> pd.DataFrame:
    with as_file(files(__name__) / f"{name}.csv") as path:
        # Read text first: pandas' own parser does not always return the nearest float of 1.4e12.
        table = pd.read_csv(path, index_col="label", dtype=str)
    return table.astype(dict.fromkeys(numbers, float))
