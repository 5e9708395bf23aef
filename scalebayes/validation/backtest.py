"""Backtest: refit on the runs of least compute, predict the others, and count how often the intervals were right.

Runs of one split share a fit, and splits of one table share runs, so no run counts as an independent trial. Averages
here give every cluster the same weight, a cluster being a table, or a split where there is one table only, and their
standard errors are those between clusters. The splits of one table overlap, so with one table these are too small.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.baselines import huber
from scalebayes.data.subsets import FEWEST, SHARES, Split, make_splits
from scalebayes.display import html
from scalebayes.errors import GateWarning, QueryError
from scalebayes.fitting.fit import fit
from scalebayes.fitting.many.fit_many import fit_all
from scalebayes.messages import Message
from scalebayes.posterior.average import by_weight
from scalebayes.posterior.fit import Fit
from scalebayes.queries.predict import predict
from scalebayes.specs.spec import Spec, read_model
from scalebayes.utils.progress import Progress
from scalebayes.validation.scoring_rules import LEVELS, score

if TYPE_CHECKING:
    import pandas as pd

    from scalebayes.data.runs import Runs
    from scalebayes.fitting.many.workers import Workers

type Forecast = Callable[[Runs, np.ndarray, np.ndarray, int], np.ndarray]
"""From (training runs, N, D, seed) to draws of the loss of new runs, (draws, targets)."""
type Method = str | Spec | Forecast | tuple[str, ...]
"""A model to fit, a forecast of one's own, or names of other methods whose draws are pooled in equal numbers."""

LOG_HUBER = "log-huber"
"""Name of the field's own point fit with its bootstrap (`scalebayes.baselines.huber.forecast`)."""
METHODS = ("coupled-discrepancy", "chinchilla", LOG_HUBER)
EDGES = (0.25, 0.5, 1.0, 2.0)
"""Decades beyond the training runs at which distances are told apart."""
ROLLING_Z = 4.0
"""Mean squared z above which a method is warned of: errors twice as large as their forecast says."""
SAMPLER = {"draws": 1000, "chains": 2}
"""Enough for the quantiles of a forecast; `scalebayes.fit` goes on by itself where its gate fails."""


@dataclass(frozen=True)
class Drawn:
    """Draws of the held-out losses, (draws, targets), whether a fit behind them failed its gate, and its scatter."""

    losses: np.ndarray
    gate_failed: bool = False
    scatter: float = np.nan


@dataclass(frozen=True, eq=False, repr=False)
class Backtest:
    """Scores of forecasts of runs that the fits had not seen.

    Attributes
    ----------
    scores : pandas.DataFrame
        One row a method, split and held-out run: ``table``, ``split``, ``train_runs``, ``method``, ``run``, the inputs,
        ``loss``, the forecast's ``median``, ``inside50``, ``inside80`` and ``inside90``, ``crps``, ``interval_score``
        (of 90%), ``bias`` (median less loss) and ``abs_error`` in nats, ``z`` (loss less the forecast's mean, in its
        standard deviations), ``scatter`` (posterior median of sigma; NaN without a fit), ``decades_beyond`` the
        training runs' largest compute, ``distance_ratio``, which is that over the decades they span, and
        ``gate_failed``, whether the fit behind the forecast failed its gate (never, for a function of one's own).
    notes : tuple of str
        Splits that were not made, and those to read with care.
    """

    scores: pd.DataFrame
    notes: tuple[str, ...] = ()

    def table(self, by: Iterable[str] = (), baseline: str | None = None) -> pd.DataFrame:
        """Summarise by method, and by ``"decades"`` beyond the training runs or ``"table"``.

        Parameters
        ----------
        by
            What to tell apart besides methods.
        baseline
            A method; adds the ratio of CRPS to its own, geometric mean over the clusters, and the worst ratio.

        Returns
        -------
        pandas.DataFrame
            Means over clusters (tables; splits where there is one table), standard errors (``_se``) between them,
            ``cover90_worst``, the coverage of the worst of them, and ``gate_failed``, the share of failed fits.
        """
        keys = ["method", *by]
        if unknown := set(keys) - {"method", "decades", "table"}:
            raise QueryError(f"by takes 'decades' and 'table'; got {', '.join(sorted(unknown))}")
        scores = self._labelled()
        cluster = "table" if "table" not in by and scores["table"].nunique() > 1 else "split"
        groups = scores.groupby(keys, observed=True)
        columns = {f"cover{level}": f"inside{level}" for level in LEVELS}
        columns |= {name: name for name in ("crps", "interval_score", "bias")}
        means = scores.groupby([*keys, cluster], observed=True)[[*columns.values()]].mean()
        means = means.set_axis([*columns], axis=1)
        by_key = means.groupby(keys, observed=True)
        out = groups.size().rename("runs").to_frame().assign(clusters=by_key.size())
        for name in columns:
            out[name] = by_key[name].mean()
            out[f"{name}_se"] = by_key[name].sem()
        out["cover90_worst"] = by_key["cover90"].min()
        out["median_abs_error"] = groups["abs_error"].median()
        if baseline is not None:
            out = out.join(_ratios(means, baseline, keys))
        fits = scores.drop_duplicates([*keys, "table", "split"])
        out["gate_failed"] = fits.groupby(keys, observed=True)["gate_failed"].mean()
        return out

    def sentence(self, method: str | None = None, baseline: str | None = None) -> str:
        """Say in one line to quote how a method did, by default the first, beside a baseline, by default the last."""
        scores = self.scores
        names = list(scores["method"].unique())
        method, baseline = method or names[0], baseline or names[-1]
        row = self.table(baseline=baseline).loc[method]
        own = scores[scores["method"] == method]
        tables = list(own["table"].unique())
        splits = len(own.drop_duplicates(["table", "split"]))
        where = tables[0] if len(tables) == 1 else f"{len(tables)} tables"
        error = "" if np.isnan(row["cover90_se"]) else f" (s.e. {row['cover90_se']:.0%})"
        text = (
            f"{method} on {where}: over {splits} split{'s' * (splits > 1)} by compute its 90% intervals held "
            f"{row['cover90']:.0%}{error} of the losses of {own['run'].nunique() if len(tables) == 1 else len(own)} "
            f"held-out runs, up to {own['decades_beyond'].max():.1f} decades beyond the training runs; "
            f"CRPS {row['crps']:.3g} nats"
        )
        return text + (f", {row['crps_ratio']:.2f} of {baseline}'s" if method != baseline else "")

    def __repr__(self) -> str:
        return "\n".join(
            [f"{self.sentence()}.", readable(self.table()).to_string(), *map(str, self.messages)]
        )

    def _repr_html_(self) -> str:
        found = html.entries([*self.messages, *self.notes])
        return html.panel(f"{self.sentence()}.", html.table(readable(self.table())), found)

    @property
    def messages(self) -> tuple[Message, ...]:
        """ROLLING_Z for each method whose mean squared z is above 4: its intervals are far too narrow here."""
        squares = (
            self.scores.assign(z=self.scores["z"] ** 2)
            .groupby(["method", "table", "split"], sort=False)["z"]
            .mean()
        )
        means = squares.groupby("method", sort=False).mean()
        text = (
            "the mean squared z of {} is {:.0f}, where 1 is right: on these runs its forecasts missed by far more than "
            "their intervals say, and so they may again"
        )
        return tuple(
            Message("ROLLING_Z", "warning", text.format(name, z))
            for name, z in means.items()
            if z > ROLLING_Z
        )

    def _labelled(self) -> pd.DataFrame:
        """Scores with methods in their order and distances in bins."""
        import pandas as pd

        edges = [-np.inf, *EDGES, np.inf]
        labels = [f"{low:g}-{high:g}" for low, high in zip((0.0, *EDGES), EDGES, strict=False)]
        labels.append(f"over {EDGES[-1]:g}")
        methods = pd.Categorical(
            self.scores["method"], self.scores["method"].unique(), ordered=True
        )
        decades = pd.cut(self.scores["decades_beyond"], edges, labels=labels)
        return self.scores.assign(method=methods, decades=decades)


def backtest(
    runs: Runs,
    methods: Sequence[str | Spec] | Mapping[str, Method] = METHODS,
    *,
    shares: Sequence[float] = SHARES,
    decades: Sequence[float] = (),
    seed: int = 0,
    workers: Workers = 1,
    folder: str | Path | None = None,
    progress: bool | None = None,
    **sampler: Any,
) -> Backtest:
    """Fit the runs of least compute, predict the others, and score the predictions.

    Parameters
    ----------
    runs
        A table with N, D and C.
    methods
        Models by name (and ``"log-huber"``, the field's point fit), or methods under names of one's own: a model, a
        function from (training runs, N, D, seed) to draws (draws, targets), or a tuple of names to pool.
    shares
        Splits that train on these shares of the rows, those of least compute; runs of equal compute stay together.
    decades
        Splits that leave out all runs within so many decades of the largest compute.
    seed
        Of every fit and forecast.
    workers, folder
        As for `scalebayes.fit_many`: how many fits are made side by side, and where; and a folder that keeps them, from
        which an interrupted backtest goes on.
    progress
        Whether to show progress on stderr; by default when it is a terminal.
    **sampler
        Passed on to `scalebayes.fit`; by default 2 chains of 1000 draws.

    Returns
    -------
    Backtest
        Fits that fail their gate are scored like the others, and counted.

    Raises
    ------
    RunsError
        When no split leaves enough runs to train on and any to predict, saying why for each.
    QueryError
        When a share or a distance is out of range, or a forecast has not the shape (draws, targets) or is not finite.
    """
    chosen = _methods(methods)
    sizes = [
        len(method.law_object.parameters) + 1
        for method in chosen.values()
        if isinstance(method, Spec)
    ]
    cuts, notes = make_splits(runs, shares, decades, fewest=max([FEWEST, *sizes]))
    pairs = {
        (s.label, name): (s.train, m)
        for s in cuts
        for name, m in chosen.items()
        if isinstance(m, Spec)
    }
    options = SAMPLER | sampler | {"seed": seed}
    beforehand = workers != 1 or folder is not None
    fits = (
        fit_all(pairs, workers=workers, folder=folder, progress=progress, **options)
        if beforehand
        else {}
    )

    def make(split: Split, name: str) -> Fit:
        return (
            fits[split.label, name]
            if fits
            else fit(*pairs[split.label, name], progress=False, **options)
        )

    scored = []
    with Progress(progress) as bar:
        drawn: dict[str, dict[str, Drawn]] = {split.label: {} for split in cuts}
        forecasts = [(split, name) for split in cuts for name in chosen]
        for split, name in bar.steps(
            "forecast", forecasts, lambda pair: f"{pair[1]}, {pair[0].label}"
        ):
            before = drawn[split.label]
            before[name] = _draw(name, chosen[name], split, seed, before, make)
            scored.append(_score_split(split, name, before[name]))
    return combine([Backtest(scores) for scores in scored], notes)


def combine(backtests: Iterable[Backtest], notes: Sequence[str] = ()) -> Backtest:
    """Put several backtests into one, as of the same methods on several tables."""
    import pandas as pd

    backtests = list(backtests)
    scores = pd.concat([one.scores for one in backtests], ignore_index=True)
    return Backtest(scores, (*notes, *(note for one in backtests for note in one.notes)))


def _methods(methods: Sequence[str | Spec] | Mapping[str, Method]) -> dict[str, Method]:
    """Methods by name, models read."""
    if isinstance(methods, str):
        methods = [methods]
    named = (
        methods
        if isinstance(methods, Mapping)
        else {m if isinstance(m, str) else m.name: m for m in methods}
    )
    if not named:
        raise QueryError("name at least one method to backtest")
    read: dict[str, Method] = {}
    for name, method in named.items():
        if isinstance(method, tuple) and not set(method) <= set(read):
            raise QueryError(
                f"'{name}' pools {', '.join(method)}; allowed are methods before it: {', '.join(read)}"
            )
        known = huber.forecast if method == LOG_HUBER else method
        read[name] = read_model(known) if isinstance(known, str) else known
    return read


def _draw(
    name: str,
    method: Method,
    split: Split,
    seed: int,
    drawn: Mapping[str, Drawn],
    make: Callable[[Split, str], Fit],
) -> Drawn:
    N, D = split.held_out.N, split.held_out.D
    if isinstance(method, tuple):
        parts = [drawn[part] for part in method]
        return Drawn(pool([part.losses for part in parts]), any(part.gate_failed for part in parts))
    if isinstance(method, Spec):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GateWarning)  # counted instead
            fitted = make(split, name)
        losses = predict(fitted, N=N, D=D, seed=seed)["new_run"].values
        scatter = float(fitted.tree["posterior"]["sigma"].median())
        return Drawn(losses.reshape(-1, len(N)), bool(fitted.gate_failures), scatter)
    losses = np.asarray(method(split.train, N, D, seed), float)  # type: ignore[operator]
    if (
        losses.ndim != 2
        or losses.shape[1] != len(N)
        or len(losses) < 2
        or not np.isfinite(losses).all()
    ):
        wanted = f"finite draws of shape (draws, {len(N)})"
        raise QueryError(
            f"forecast '{name}' must return {wanted}; got {losses.shape}, {np.isnan(losses).sum()} NaN"
        )
    return Drawn(losses)


def pool(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Mix forecasts (draws, targets) with equal weights: the same number of draws of each, evenly thinned."""
    chosen = by_weight([len(part) for part in parts], [1 / len(parts)] * len(parts))
    return np.concatenate([part[rows] for part, rows in zip(parts, chosen, strict=True)])


def _score_split(split: Split, name: str, drawn: Drawn) -> pd.DataFrame:
    held_out, decades = split.held_out, np.log10(split.held_out.C / split.train.C.max())
    table = held_out.table[["N", "D", "C", "loss"]].rename_axis("run").reset_index()
    about: dict[str, Any] = {
        "table": held_out.name,
        "split": split.label,
        "train_runs": len(split.train),
    }
    distance = {"decades_beyond": decades, "distance_ratio": decades / max(split.span, 1e-9)}
    fitted = {"scatter": drawn.scatter, "gate_failed": drawn.gate_failed}
    return table.assign(
        **about, method=name, **score(drawn.losses, held_out.loss), **distance, **fitted
    )


def _ratios(means: pd.DataFrame, baseline: str, keys: list[str]) -> pd.DataFrame:
    """Ratio of CRPS to a baseline's, cluster by cluster: geometric mean, standard error, worst."""
    index: Any = means.index
    methods = list(index.unique("method"))
    if baseline not in methods:
        raise QueryError(f"no method '{baseline}'; there are {', '.join(methods)}")
    own, theirs = means["crps"], means["crps"].xs(baseline, level="method")
    same = theirs.reindex(index.droplevel("method"))  # the baseline's, cluster by cluster
    logs = means.assign(log=np.log(own.to_numpy() / same.to_numpy())).groupby(keys, observed=True)[
        "log"
    ]
    out = logs.mean().to_frame("crps_ratio").apply(np.exp)
    return out.assign(
        crps_ratio_se=out["crps_ratio"] * logs.sem(), crps_ratio_worst=logs.max().map(np.exp)
    )


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Write the answer of `Backtest.table` for people: estimates with their standard errors, as texts."""
    import pandas as pd

    text = {"runs": table["runs"].map("{:d}".format)}
    pairs = {f"in {level}%": (f"cover{level}", ".2f") for level in LEVELS} | {
        "CRPS": ("crps", ".4f")
    }
    if "crps_ratio" in table:
        pairs["CRPS ratio"] = ("crps_ratio", ".2f")
    for heading, (name, digits) in pairs.items():
        both = zip(table[name], table[f"{name}_se"], strict=True)
        text[heading] = pd.Series(
            [with_error(value, error, digits) for value, error in both], table.index
        )
    plain = {
        "worst 90%": "cover90_worst",
        "interval score": "interval_score",
        "median error": "median_abs_error",
    }
    text |= {heading: table[name].map("{:.3g}".format) for heading, name in plain.items()}
    text["bias"] = table["bias"].map("{:+.4f}".format)
    text["gate failed"] = table["gate_failed"].map("{:.0%}".format)
    return pd.DataFrame(text)


def with_error(value: float, error: float, digits: str = ".2f") -> str:
    """Write an estimate with its standard error where there is one: 0.93 ± 0.02."""
    return f"{value:{digits}}" + ("" if np.isnan(error) else f" ± {error:{digits}}")
