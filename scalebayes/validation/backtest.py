"""Backtest: fit the runs of least compute, predict the others, and score the predictions.

Runs of one split share a fit, splits of one table share runs, and rows of one table may share a
training. So forecasts are not independent trials: distinct runs and trainings are counted beside
them. Averages give every cluster the same weight. A cluster is a table, or a split where there is
one table only. Standard errors and intervals are those between tables
(`scalebayes.datasets.clusters`). The splits of one table overlap, so for one table there are none.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.baselines import huber
from scalebayes.data.metrics import LOSS, short_amount
from scalebayes.data.subsets import MIN_TRAINING_RUNS, SHARES, Split, make_splits
from scalebayes.datasets.clusters import share_interval
from scalebayes.display import html
from scalebayes.display.terminal import wrap
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
"""A model, a forecast function, or names of methods whose draws are pooled in equal numbers."""

LOG_HUBER = "log-huber"
"""Name of the usual point fit with its bootstrap (`scalebayes.baselines.huber.forecast`)."""
METHODS = ("coupled-drift", "chinchilla", LOG_HUBER)
EDGES = (0.25, 0.5, 1.0, 2.0)
"""Bounds, in decades beyond the training runs, between bins of distance."""
BINS = ("0-0.25", "0.25-0.5", "0.5-1", "1-2", "over 2")
"""Names of the bins."""
ROLLING_Z = 4.0
"""Mean squared z above which a warning is given: errors twice as large as the forecast states."""
ONE_SIDED_Z = 1.96
"""Mean z of distinct runs beyond which forecasts miss to one side: probability 5% at most."""
LEAST_COVERAGE = 0.75
"""Coverage of 90% intervals below which `Backtest.recommendation` advises against a method."""
CLOSE = 1.05
"""Ratio of CRPS to the best up to which the first method is recommended: splits overlap, so smaller
differences on one table mean little."""
SAMPLER = {"draws": 1000, "chains": 2}
"""Default options of fits: enough draws for quantiles of a forecast. `scalebayes.fit` repeats fits
that fail its convergence checks."""
SCORES = ("crps", "interval_score", "bias")
"""Scores that `Backtest.table` averages besides coverage."""
LEAST_SPAN = 1e-9
"""Decades that training runs of equal compute are taken to span, to avoid a division by zero."""


@dataclass(frozen=True)
class Drawn:
    """Forecast of the held-out runs of one split.

    Attributes
    ----------
    losses
        Draws of the losses, (draws, targets).
    gate_failed
        Whether a fit behind them failed its convergence checks.
    scatter
        Posterior median of the noise scale sigma, NaN without a fit.
    """

    losses: np.ndarray
    gate_failed: bool = False
    scatter: float = np.nan


@dataclass(frozen=True, eq=False, repr=False)
class Backtest:
    """Scores of forecasts of runs that were held out from the fits.

    Attributes
    ----------
    scores : pandas.DataFrame
        One row for each method, split and held-out run: ``table``, ``split``, ``train_runs``,
        ``method``, ``run``, ``training`` (that of the run, where the table has a column of that
        name, else the run itself), the inputs, ``loss``, the forecast's ``median``, ``inside50``,
        ``inside80`` and ``inside90``, ``crps``, ``interval_score`` (of 90%), ``bias`` (median minus
        loss) and ``abs_error`` in the metric of the runs, ``z`` (loss minus the forecast's mean, in
        standard deviations of the forecast), ``scatter`` (posterior median of sigma; NaN without a
        fit), ``decades_beyond`` the largest compute of the training runs, ``distance_ratio``, which
        is that over the decades that the training runs span, and ``gate_failed``, whether the fit
        failed its convergence checks (always false for forecast functions).
    notes : tuple of str
        Splits that were not made, and splits to read with care.
    metric : str
        Unit of the losses; "loss" where tables differ in it.
    """

    scores: pd.DataFrame
    notes: tuple[str, ...] = ()
    metric: str = LOSS

    def table(self, by: Iterable[str] = (), baseline: str | None = None) -> pd.DataFrame:
        """Summary by method, and by ``"decades"`` beyond the training runs or ``"table"``.

        Parameters
        ----------
        by
            Further columns by which to group, besides the method.
        baseline
            A method. Adds the ratio of the CRPS to that of this method (geometric mean over the
            clusters) and the largest ratio.

        Returns
        -------
        pandas.DataFrame
            The numbers of ``forecasts``, of distinct ``runs`` and of distinct ``trainings``; means
            over clusters (tables; splits where there is one table); where clusters are tables,
            standard errors (``_se``) between them and 90% intervals of the coverages (``_low``,
            ``_high``); ``cover90_worst``, the least coverage of a cluster; and ``gate_failed``, the
            share of fits that failed their convergence checks.

        Raises
        ------
        QueryError
            When a column to group by, or the baseline, does not exist.
        """
        keys = ["method", *by]
        unknown = set(keys) - {"method", "decades", "table"}
        if unknown:
            raise QueryError(f"by takes 'decades' and 'table'; got {', '.join(sorted(unknown))}")
        scores = self.with_decades()
        coverages = {f"inside{level}": f"cover{level}" for level in LEVELS}
        columns = [*coverages.values(), *SCORES]
        cluster = "split"
        if "table" not in keys and scores["table"].nunique() > 1:
            cluster = "table"

        # Mean over the runs of a cluster first, so that every cluster has the same weight.
        by_cluster = scores.rename(columns=coverages).groupby([*keys, cluster], observed=True)
        means = by_cluster[columns].mean()
        means_by_key = means.groupby(keys, observed=True)
        by_key = scores.groupby(keys, observed=True)
        table = by_key.size().rename("forecasts").to_frame()
        table["runs"] = _distinct(scores, "run", keys)
        table["trainings"] = _distinct(scores, "training", keys)
        table["clusters"] = means_by_key.size()
        for name in columns:
            table[name] = means_by_key[name].mean()
            table[f"{name}_se"] = means_by_key[name].sem() if cluster == "table" else np.nan
        if cluster == "table":
            for name in coverages.values():
                table[f"{name}_low"], table[f"{name}_high"] = _intervals(
                    means_by_key[name], table["trainings"]
                )
        table["cover90_worst"] = means_by_key["cover90"].min()
        table["median_abs_error"] = by_key["abs_error"].median()
        if baseline is not None:
            table = table.join(_crps_ratios(means, baseline, keys))
            if cluster == "split":
                table["crps_ratio_se"] = np.nan
        fits = scores.drop_duplicates([*keys, "table", "split"])
        table["gate_failed"] = fits.groupby(keys, observed=True)["gate_failed"].mean()
        return table

    def sentence(self, method: str | None = None, baseline: str | None = None) -> str:
        """One sentence about a method (default the first) and a baseline (default the last)."""
        methods = list(self.scores["method"].unique())
        method = method or methods[0]
        baseline = baseline or methods[-1]
        row = self.table(baseline=baseline).loc[method]
        own = self.scores[self.scores["method"] == method]
        crps = short_amount(f"{row['crps']:.3g}", self.metric)
        text = (
            f"{self._coverage_in_words(method, row)}, up to {own['decades_beyond'].max():.1f} "
            f"decades beyond the training runs; CRPS {crps}"
        )
        if method != baseline:
            text += f", {row['crps_ratio']:.2f} of {baseline}'s"
        return text

    def _coverage_in_words(self, method: str, row: Any) -> str:
        """Return the coverage of a method's 90% intervals in words. row: that of `table`."""
        own = self.scores[self.scores["method"] == method]
        tables = list(own["table"].unique())
        splits = len(own.drop_duplicates(["table", "split"]))
        held_out = f"{row['runs']:.0f} distinct held-out runs"
        if row["trainings"] < row["runs"]:
            held_out += f" of {row['trainings']:.0f} trainings"
        covered = f"90% intervals covered {row['cover90']:.0%}"
        if len(tables) > 1:
            return (
                f"{method} on {len(tables)} tables: {covered} as a mean over tables (worst table "
                f"{row['cover90_worst']:.0%}; 90% interval of the mean {row['cover90_low']:.0%} to "
                f"{row['cover90_high']:.0%}), in {splits} splits by compute with {held_out}"
            )
        if splits == 1:
            return f"{method} on {tables[0]}: {covered} of {held_out} in 1 split by compute"
        return (
            f"{method} on {tables[0]}: {covered} as a mean over {splits} overlapping splits by "
            f"compute (worst split {row['cover90_worst']:.0%}) with {held_out}"
        )

    def recommendation(self) -> str:
        """One sentence: which method to use on these runs, and why.

        Methods whose 90% intervals covered less than 75% are out. Of the others, the method with
        the least CRPS (geometric mean over the clusters of `table`) is recommended, or the first
        method, if its CRPS is at most 5% larger.
        """
        first = str(self.scores["method"].iloc[0])
        table = self.table(baseline=first)
        coverage = {str(method): float(share) for method, share in table["cover90"].items()}
        crps = {str(method): float(ratio) for method, ratio in table["crps_ratio"].items()}
        where = "these tables" if self.scores["table"].nunique() > 1 else "this table"
        usable = [method for method, share in coverage.items() if share >= LEAST_COVERAGE]
        if not usable:
            widest = max(coverage, key=lambda method: coverage[method])
            return (
                f"Trust no method's intervals on {where}: the 90% intervals of {widest} covered "
                f"most, and those only {coverage[widest]:.0%}"
            )
        best = min(usable, key=lambda method: crps[method])
        chosen, why = best, f"its CRPS is the least of {len(usable)} methods"
        if first in usable and first != best and crps[first] <= CLOSE * crps[best]:
            chosen, why = first, f"its CRPS is within {CLOSE - 1:.0%} of the least ({best}'s)"
        reasons = [f"its 90% intervals covered {coverage[chosen]:.0%}"]
        if len(usable) > 1:
            reasons.insert(0, why)
        text = f"Use {chosen} on {where}: {', and '.join(reasons)}"
        if len(coverage) == 1:
            text += "; no other method was scored"
        refused = [method for method in coverage if method not in usable]
        if refused:
            text += f"; those of {', '.join(refused)} covered less than {LEAST_COVERAGE:.0%}"
        return text

    def __repr__(self) -> str:
        table = readable(self.table()).to_string()
        found = map(wrap, self.messages)
        return "\n".join([f"{self.sentence()}.", table, *found, f"{self.recommendation()}."])

    def _repr_html_(self) -> str:
        found = html.entries([*self.messages, *self.notes, f"{self.recommendation()}."])
        return html.panel(f"{self.sentence()}.", html.table(readable(self.table())), found)

    @property
    def messages(self) -> tuple[Message, ...]:
        """Warnings of methods whose intervals are too narrow, or whose forecasts miss to one side.

        ROLLING_Z: the mean squared z over splits is above 4. ONE_SIDED: the mean z of the distinct
        runs of a table is further from zero than 1.96.
        """
        squares = self.scores.assign(z=self.scores["z"] ** 2)
        by_split = squares.groupby(["method", "table", "split"], sort=False)["z"].mean()
        by_method = by_split.groupby("method", sort=False).mean()
        messages = []
        for method, z in by_method.items():
            if z > ROLLING_Z:
                text = (
                    f"the mean squared z of {method} is {z:.0f}, where 1 is expected: on these "
                    "runs its errors were far larger than its intervals state, and may be again"
                )
                messages.append(Message("ROLLING_Z", "warning", text))
        return (*messages, *self._one_sided())

    def _one_sided(self) -> Iterator[Message]:
        """Yield ONE_SIDED for each method and table whose mean z is far from zero.

        Forecasts of one split share a fit, so their z depend on each other. However they do, the
        standard deviation of their mean is at most 1.
        """
        by_run = self.scores.groupby(["method", "table", "run"], sort=False)["z"].mean()
        means = by_run.groupby(["method", "table"], sort=False).agg(["mean", "size"])
        for method, name, z, runs in means.reset_index().itertuples(index=False, name=None):
            if abs(z) <= ONE_SIDED_Z:
                continue
            forecast = "low" if z > 0 else "high"
            text = (
                f"forecasts of {method} on {name} were too {forecast}: the mean z of {runs} "
                f"distinct runs is {z:+.1f}, where 0 is expected, with a standard deviation of at "
                "most 1. Forecasts beyond all runs may miss to the same side"
            )
            yield Message("ONE_SIDED", "warning", text)

    def with_decades(self) -> pd.DataFrame:
        """Scores with methods in their order, and ``decades``, the distance as one of `BINS`."""
        import pandas as pd

        edges = [-np.inf, *EDGES, np.inf]
        method = self.scores["method"]
        return self.scores.assign(
            method=pd.Categorical(method, method.unique(), ordered=True),
            decades=pd.cut(self.scores["decades_beyond"], edges, labels=BINS),
        )


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
    """Scores of forecasts of the runs of most compute, by fits of the runs of least compute.

    Parameters
    ----------
    runs
        A table with N, D and C.
    methods
        Names of models (and ``"log-huber"``, the usual point fit), or methods by label: a model, a
        function from (training runs, N, D, seed) to draws (draws, targets), or a tuple of labels
        whose forecasts are pooled.
    shares
        Splits that train on these shares of the rows, those of least compute; runs of equal compute
        stay together.
    decades
        Splits that hold out all runs within so many decades of the largest compute.
    seed
        Seed of every fit and forecast.
    workers, folder
        As for `scalebayes.fit_many`: the number of fits made side by side, or where; and a folder
        that keeps them, with which an interrupted backtest can be continued.
    progress
        As in `scalebayes.fit`.
    **sampler
        Passed on to `scalebayes.fit`; by default 2 chains of 1000 draws.

    Returns
    -------
    Backtest
        Scores of all fits. Those that fail their convergence checks are included and counted.

    Raises
    ------
    RunsError
        When no split leaves enough runs to train on and any to predict, with the reason for each.
    QueryError
        When a share or a distance is out of range, or a forecast is not finite or does not have the
        shape (draws, targets).

    Examples
    --------
    >>> runs = sb.load_runs("hoffmann2022")
    >>> scores = sb.backtest(runs, ["log-huber"], shares=(0.8,))
    >>> scores.table()[["forecasts", "cover90"]]
               forecasts  cover90
    method
    log-huber         48      0.5
    """
    chosen = _methods(methods)
    fewest = MIN_TRAINING_RUNS
    for method in chosen.values():
        if isinstance(method, Spec):
            fewest = max(fewest, len(method.law_object.parameters) + 1)
    splits, notes = make_splits(runs, shares, decades, fewest=fewest)
    scored = score_splits(
        splits, chosen, seed=seed, workers=workers, folder=folder, progress=progress, **sampler
    )
    return Backtest(scored.scores, tuple(notes), runs.metric)


def score_splits(
    splits: Sequence[Split],
    methods: Sequence[str | Spec] | Mapping[str, Method] = METHODS,
    *,
    seed: int = 0,
    workers: Workers = 1,
    folder: str | Path | None = None,
    progress: bool | None = None,
    **sampler: Any,
) -> Backtest:
    """Scores of forecasts of given splits, whose labels differ; `backtest` makes splits by compute.

    Parameters and errors are those of `backtest`.
    """
    import pandas as pd

    chosen = _methods(methods)
    specs = {name: method for name, method in chosen.items() if isinstance(method, Spec)}
    options = SAMPLER | sampler | {"seed": seed}

    # Fits by (split, method): made beforehand by workers, or one by one as they are needed.
    kept: Mapping[tuple[str, str], Fit] = {}
    if workers != 1 or folder is not None:
        jobs = {}
        for split in splits:
            for name, spec in specs.items():
                jobs[split.label, name] = (split.train, spec)
        kept = fit_all(jobs, workers=workers, folder=folder, progress=progress, **options)

    def fit_of(split: Split, name: str) -> Fit:
        if kept:
            return kept[split.label, name]
        return fit(split.train, specs[name], progress=False, **options)

    drawn: dict[tuple[str, str], Drawn] = {}  # by (split, method)
    scores = []
    with Progress(progress) as bar:
        pairs = list(itertools.product(splits, chosen))
        for split, name in bar.steps("forecast", pairs, lambda pair: f"{pair[1]}, {pair[0].label}"):
            method = chosen[name]
            if isinstance(method, tuple):
                forecast = _pooled([drawn[split.label, part] for part in method])
            elif isinstance(method, Spec):
                forecast = _predicted(fit_of, split, name, seed)
            else:
                forecast = _called(method, split, name, seed)
            drawn[split.label, name] = forecast
            scores.append(score_split(split, name, forecast))
    return Backtest(pd.concat(scores, ignore_index=True), metric=splits[0].train.metric)


def combine(backtests: Iterable[Backtest], notes: Sequence[str] = ()) -> Backtest:
    """Return one backtest with the scores and notes of several, such as one for each table."""
    import pandas as pd

    backtests = list(backtests)
    scores = pd.concat([one.scores for one in backtests], ignore_index=True)
    all_notes = [*notes]
    for one in backtests:
        all_notes.extend(one.notes)
    metrics = {one.metric for one in backtests}
    metric = metrics.pop() if len(metrics) == 1 else LOSS
    return Backtest(scores, tuple(all_notes), metric)


def _methods(methods: Sequence[str | Spec] | Mapping[str, Method]) -> dict[str, Method]:
    """Return methods by label, with models and the point fit in place of their names."""
    if isinstance(methods, str):
        methods = [methods]
    named: dict[str, Method] = {}
    if isinstance(methods, Mapping):
        named.update(methods)
    else:
        for one in methods:
            named[one if isinstance(one, str) else one.name] = one
    if not named:
        raise QueryError("name at least one method to backtest")
    read: dict[str, Method] = {}
    for name, method in named.items():
        if isinstance(method, tuple) and not set(method) <= set(read):
            raise QueryError(
                f"'{name}' pools {', '.join(method)}; "
                f"allowed are methods before it: {', '.join(read)}"
            )
        if method == LOG_HUBER:
            read[name] = huber.forecast
        elif isinstance(method, str):
            read[name] = read_model(method)
        else:
            read[name] = method
    return read


def _pooled(parts: Sequence[Drawn]) -> Drawn:
    """Return the forecast that pools others."""
    losses = pool([part.losses for part in parts])
    return Drawn(losses, any(part.gate_failed for part in parts))


def _predicted(fit_of: Callable[[Split, str], Fit], split: Split, name: str, seed: int) -> Drawn:
    """Return the posterior predictive forecast of a model."""
    held_out = split.held_out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GateWarning)  # counted in the scores instead
        fitted = fit_of(split, name)
    losses = predict(fitted, N=held_out.N, D=held_out.D, seed=seed)["new_run"].values
    scatter = float(fitted.stored["posterior"]["sigma"].median())
    return Drawn(losses.reshape(-1, len(held_out)), bool(fitted.gate_failures), scatter)


def _called(method: Any, split: Split, name: str, seed: int) -> Drawn:
    """Return the forecast of a function, checked."""
    held_out = split.held_out
    losses = np.asarray(method(split.train, held_out.N, held_out.D, seed), float)
    targets = len(held_out)
    are_draws = losses.ndim == 2 and losses.shape[1] == targets and len(losses) >= 2
    if not are_draws or not np.isfinite(losses).all():
        raise QueryError(
            f"forecast '{name}' must return finite draws of shape (draws, {targets}), two or more; "
            f"got {losses.shape}, {np.isnan(losses).sum()} NaN"
        )
    return Drawn(losses)


def pool(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Mixture of forecasts (draws, targets) with equal weights.

    The same number of draws is taken from each, evenly thinned.
    """
    weights = [1 / len(parts)] * len(parts)
    chosen = by_weight([len(part) for part in parts], weights)
    return np.concatenate([part[rows] for part, rows in zip(parts, chosen, strict=True)])


def score_split(split: Split, name: str, drawn: Drawn) -> pd.DataFrame:
    """Return the rows of `Backtest.scores` of one split and method."""
    held_out = split.held_out
    decades = np.log10(held_out.C / split.train.C.max())
    table = held_out.table[["N", "D", "C", "loss"]].reset_index()
    source = "training" if "training" in held_out.table else "run"
    table["training"] = held_out.table.reset_index()[source]
    table["table"] = held_out.name
    table["split"] = split.label
    table["train_runs"] = len(split.train)
    table["method"] = name
    for measure, values in score(drawn.losses, held_out.loss).items():
        table[measure] = values
    table["decades_beyond"] = decades
    table["distance_ratio"] = decades / max(split.span, LEAST_SPAN)
    table["scatter"] = drawn.scatter
    table["gate_failed"] = drawn.gate_failed
    return table


def _distinct(scores: pd.DataFrame, column: str, keys: list[str]) -> pd.Series[int]:
    """Return the number of distinct runs or trainings in each group.

    column: their ids, which are unique within a table.
    """
    distinct = scores.drop_duplicates([*keys, "table", column])
    return distinct.groupby(keys, observed=True).size()


def _intervals(shares: Any, trainings: Iterable[int]) -> tuple[list[float], list[float]]:
    """Return the ends of the intervals of mean shares, one for each group in order.

    shares: of the clusters, grouped. trainings: distinct trainings of each group.
    """
    lows, highs = [], []
    for (_, own), number in zip(shares, trainings, strict=True):
        low, high = share_interval(own.to_numpy(), number)
        lows.append(low)
        highs.append(high)
    return lows, highs


def _crps_ratios(means: pd.DataFrame, baseline: str, keys: list[str]) -> pd.DataFrame:
    """Return the ratio of CRPS to the baseline's: geometric mean, standard error, worst.

    means : of the clusters; ratios are taken within clusters.
    """
    index: Any = means.index
    methods = list(index.unique("method"))
    if baseline not in methods:
        raise QueryError(f"no method '{baseline}'; there are {', '.join(methods)}")
    crps = means["crps"].to_numpy()
    of_baseline = means["crps"].xs(baseline, level="method")
    baseline_crps = of_baseline.reindex(index.droplevel("method")).to_numpy()
    log_ratios = means.assign(log_ratio=np.log(crps / baseline_crps))
    by_key = log_ratios.groupby(keys, observed=True)["log_ratio"]
    table = by_key.mean().to_frame("crps_ratio").apply(np.exp)
    # By the delta method, the standard error of exp(x) is exp(x) times that of x.
    table["crps_ratio_se"] = table["crps_ratio"] * by_key.sem()
    table["crps_ratio_worst"] = by_key.max().map(np.exp)
    return table


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Table of `Backtest.table` as text, with the interval or the standard error of each mean."""
    import pandas as pd

    text = {}
    for name in ("forecasts", "runs", "trainings"):
        text[name] = table[name].map("{:d}".format)
    for level in LEVELS:
        text[f"in {level}%"] = _with_intervals(table, f"cover{level}")
    text["CRPS"] = _with_errors(table, "crps", ".4f")
    if "crps_ratio" in table:
        text["CRPS ratio"] = _with_errors(table, "crps_ratio", ".2f")
    text["worst 90%"] = table["cover90_worst"].map("{:.3g}".format)
    text["interval score"] = table["interval_score"].map("{:.3g}".format)
    text["median error"] = table["median_abs_error"].map("{:.3g}".format)
    text["bias"] = table["bias"].map("{:+.4f}".format)
    text["checks failed"] = table["gate_failed"].map("{:.0%}".format)
    return pd.DataFrame(text)


def _with_intervals(table: pd.DataFrame, name: str) -> pd.Series[str]:
    """Return a column of shares as text with their intervals, where the table has them."""
    import pandas as pd

    if f"{name}_low" not in table:
        return table[name].map("{:.2f}".format)
    ends = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
    return pd.Series([with_interval(*one) for one in ends], table.index)


def with_interval(value: float, low: float, high: float) -> str:
    """Text of a share with its interval, where there is one: 0.93 [0.87, 0.99]."""
    if np.isnan(low):
        return f"{value:.2f}"
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _with_errors(table: pd.DataFrame, name: str, digits: str) -> pd.Series[str]:
    """Return a column as text with its standard errors."""
    import pandas as pd

    pairs = zip(table[name], table[f"{name}_se"], strict=True)
    return pd.Series([with_error(value, error, digits) for value, error in pairs], table.index)


def with_error(value: float, error: float, digits: str = ".2f") -> str:
    """Text of an estimate with its standard error, where there is one: 0.93 ± 0.02."""
    if np.isnan(error):
        return f"{value:{digits}}"
    return f"{value:{digits}} ± {error:{digits}}"
