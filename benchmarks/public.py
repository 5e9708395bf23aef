"""Score the package on public benchmarks of scaling laws, in the layouts of their authors.

Run with ``python benchmarks/public.py FOLDER``; ``--model NAME``, which may be repeated, names the
models (by default the package's default for the inputs of each table), and ``--kind`` restricts the
run to one kind. The files of FOLDER and of the folders in it are recognised by their content:

curves
    Learning curves of one input with a given split: a column ``training`` of 1 (to be fitted) and 0
    (to be predicted), a column ``loss``, and one column of the input, such as ``examples`` or
    ``Seen Examples``. The columns curve, domain, task and model name a curve; without them the file
    is one curve. This is the layout of Alabdulmohsin et al. (2022).
grid
    A file to fit and a file to predict, of N, D and loss: two files of one folder whose names
    differ by the words "train" and "test" alone.
ladder
    Runs of N, D and loss with larger targets: a column ``larger`` of 0 (to be fitted) and 1 (to be
    predicted), apart for each text in the other columns; or a column ``run`` of names, where the
    largest size is predicted from the others. A file NAME.targets.csv adds targets to NAME.csv.

The scores of the authors stand beside ours, and published figures beside both. The result is three
tables in Markdown, for docs/public-benchmarks.md.

References
----------
Alabdulmohsin, Neyshabur and Zhai (2022), Revisiting neural scaling laws in language and vision,
arXiv:2209.06640.
Caballero, Gupta, Rish and Krueger (2023), Broken neural scaling laws, arXiv:2210.14891.
Lee et al. (2025), Bayesian neural scaling law extrapolation with prior-data fitted networks
(NSL-PFN), arXiv:2505.23032.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import scalebayes as sb
from scalebayes.data.tables.columns import plain_name, usual_columns
from scalebayes.datasets.clusters import share_interval
from scalebayes.queries.predictive_density import log_predictive_density
from scalebayes.specs.defaults import default_model
from scalebayes.validation.scoring_rules import score

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".parquet", ".jsonl")
KINDS = ("curves", "grid", "ladder")
TARGETS_SUFFIX = ".targets.csv"
CURVE_NAMES = ("curve", "domain", "task", "model")
"""Columns, by their plain names, that name a learning curve."""
INPUTS_OF_CURVES = ("N", "C", "D")
"""Inputs that the column of a curve may be called; any other name is read as D, a number of
examples."""
SAMPLER = {"draws": 1000, "chains": 2, "progress": False}

PUBLISHED = pd.DataFrame(
    [
        ("curves", "72 image curves", "NSL-PFN", "RMSLE .0280, log density 3.330"),
        ("curves", "72 image curves", "BNSL", "RMSLE .0406"),
        ("curves", "72 image curves", "M4", "RMSLE .0415"),
        ("curves", "72 image curves", "MCMC on M4", "RMSLE .0422, log density 3.024"),
        ("curves", "72 image curves", "LC-PFN", "RMSLE .0428, log density 2.429"),
        ("grid", "Farseer's grid", "all data", "R2 .91"),
        ("grid", "Farseer's grid", "best at a tenth of the cost", "R2 .93"),
    ],
    columns=["kind", "benchmark", "model", "published"],
)


@dataclass(frozen=True)
class Task:
    """Runs to fit and runs to predict.

    Attributes
    ----------
    kind
        One of `KINDS`.
    benchmark
        Name of the group of tasks over which scores are averaged.
    name
        Name of the task within it.
    training
        What was trained once: curves of one training, such as three evaluations of one model, have
        the same.
    train, held_out
        The runs.
    """

    kind: str
    benchmark: str
    name: str
    training: str
    train: sb.Runs
    held_out: sb.Runs


def find_tasks(folder: Path) -> tuple[list[Task], list[str]]:
    """Return the tasks in a folder and the folders in it, and why other files are no benchmark."""
    tables = {}
    for path in _files(folder):
        tables[path] = read_table(path)
    tasks: list[Task] = []
    skipped = []
    for path, table in tables.items():
        if path.name.endswith(TARGETS_SUFFIX) or _is_test_file(path, tables):
            continue  # read with the file that it belongs to
        try:
            found = list(_tasks_of_file(path, table, tables))
        except sb.RunsError as error:
            skipped.append(f"{path.name}: {error}")
            continue
        if not found:
            skipped.append(f"{path.name}: no split was recognised")
        tasks += found
    return tasks, skipped


def _files(folder: Path) -> Iterator[Path]:
    """Yield the tables of a folder and of the folders in it, in order of their names."""
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        if path.is_file() and path.name.endswith(SUFFIXES):
            yield path


def read_table(path: Path) -> pd.DataFrame:
    """Read a file of any of the `SUFFIXES`."""
    if path.name.endswith(".parquet"):
        return pd.read_parquet(path)
    if path.name.endswith(".jsonl"):
        return pd.read_json(path, lines=True)
    separator = "\t" if path.name.endswith(".tsv") else ","
    return pd.read_csv(path, sep=separator)


def _tasks_of_file(
    path: Path, table: pd.DataFrame, tables: dict[Path, pd.DataFrame]
) -> Iterator[Task]:
    """Yield the tasks of one file; none where no split is recognised."""
    stem = path.name.split(".")[0]
    if _is_training_file(path, tables) and _has_N_and_D(table):
        test_path = path.with_name(path.name.replace("train", "test"))
        train, held_out = _runs(table, stem), _runs(tables[test_path], stem)
        name = f"{path.parent.name}/{path.name}"
        yield Task("grid", name, name, name, train, held_out)
    elif _marker(table, "training") is not None and not _has_N_and_D(table):
        yield from _curves(table, stem)
    elif _marker(table, "larger") is not None and _has_N_and_D(table):
        yield from _marked_ladders(table, stem)
    elif usual_columns(table.columns, "run")[:1] == ["run"] and _has_N_and_D(table):
        targets = tables.get(path.with_name(f"{stem}{TARGETS_SUFFIX}"))
        yield _ladder_of_sizes(table, targets, stem)


def _is_training_file(path: Path, tables: Iterable[Path]) -> bool:
    """Return whether a file of runs to predict belongs to this file of runs to fit."""
    return "train" in path.name and path.with_name(path.name.replace("train", "test")) in tables


def _is_test_file(path: Path, tables: Iterable[Path]) -> bool:
    """Return whether a file of runs to fit belongs to this file of runs to predict."""
    return "test" in path.name and path.with_name(path.name.replace("test", "train")) in tables


def _has_N_and_D(table: pd.DataFrame) -> bool:
    return bool(usual_columns(table.columns, "N") and usual_columns(table.columns, "D"))


def _marker(table: pd.DataFrame, name: str) -> str | None:
    """Return the column of a name, case and separators aside, if it has both 0 and 1 alone."""
    for column in table.columns:
        if plain_name(column) == name and set(table[column].unique()) == {0, 1}:
            return str(column)
    return None


def _runs(table: pd.DataFrame, name: str) -> sb.Runs:
    """Read N, D, C and loss of a table. The first of several columns with a usual name is taken."""
    columns = {}
    for role in ("N", "D", "C", "loss"):
        found = usual_columns(table.columns, role)
        if found:
            columns[role] = table[found[0]]
    return sb.read_runs(pd.DataFrame(columns), name=name, strict=False, own_units=True)


def _curves(table: pd.DataFrame, stem: str) -> Iterator[Task]:
    """Yield one task for each learning curve of a table."""
    plain = table.rename(columns={column: plain_name(column) for column in table.columns})
    names = [name for name in CURVE_NAMES if name in plain]
    others = [column for column in plain if column not in (*names, "training", "loss")]
    if len(others) != 1 or "loss" not in plain:
        raise sb.RunsError(
            "a table of curves has the columns loss and training, names, and one input; "
            f"got {', '.join(map(str, table.columns))}"
        )
    column = others[0]
    role = next((x for x in INPUTS_OF_CURVES if usual_columns([column], x)), "D")
    for key, rows in plain.groupby(names or (lambda _: stem), sort=False):
        labels = dict(zip(names, key, strict=True)) if names else {}
        curve = str(labels.get("curve", "/".join(map(str, labels.values())) or stem))
        points = pd.DataFrame({role: rows[column], "loss": rows["loss"]})
        is_training = rows["training"] == 1
        yield Task(
            kind="curves",
            benchmark=str(labels.get("domain", "curves")),
            name=curve,
            training=str(labels.get("model", curve)),
            train=sb.read_runs(points[is_training], name=curve, strict=False, own_units=True),
            held_out=sb.read_runs(points[~is_training], name=curve, strict=False, own_units=True),
        )


def _marked_ladders(table: pd.DataFrame, stem: str) -> Iterator[Task]:
    """Yield one task for each text in the other columns of a table with a column ``larger``."""
    marker = _marker(table, "larger")
    texts = [column for column in table if not pd.api.types.is_numeric_dtype(table[column])]
    for key, rows in table.groupby(texts or (lambda _: stem), sort=False):
        label = "/".join(key) if texts else stem
        is_target = rows[marker] == 1
        if not is_target.any():
            continue
        train, held_out = _runs(rows[~is_target], label), _runs(rows[is_target], label)
        yield Task("ladder", stem, label, label, train, held_out)


def _ladder_of_sizes(table: pd.DataFrame, targets: pd.DataFrame | None, stem: str) -> Task:
    """Return the task of a ladder: predict its largest size, and targets, from the other sizes."""
    runs = _runs(table, stem)
    is_largest = np.isclose(runs.N, runs.N.max())
    columns = runs.table[["N", "D", "loss"]]
    larger = [columns[is_largest]]
    if targets is not None:
        larger.append(_runs(targets, stem).table[["N", "D", "loss"]])
    train, held_out = _runs(columns[~is_largest], stem), _runs(pd.concat(larger), stem)
    return Task("ladder", stem, stem, stem, train, held_out)


def forecast(task: Task, model: str | None, seed: int = 0) -> pd.DataFrame:
    """Fit a task's runs and return the scores of its held-out runs, one row each.

    Columns of `scalebayes.validation.scoring_rules.score`, and observed, log_density and
    checks_failed.
    """
    name = model or default_model(task.train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.GateWarning)  # counted in the scores instead
        fit = sb.fit(task.train, name, seed=seed, **SAMPLER)
    held_out = task.held_out
    inputs = {x: getattr(held_out, x) for x in fit.spec.law_object.inputs}
    losses = sb.predict(fit, **inputs, seed=seed)["new_run"].values.reshape(-1, len(held_out))
    return pd.DataFrame(score(losses, held_out.loss)).assign(
        kind=task.kind,
        benchmark=task.benchmark,
        task=task.name,
        training=task.training,
        model=fit.spec.name,
        observed=held_out.loss,
        log_density=log_predictive_density(fit, held_out, seed=seed),
        checks_failed=bool(fit.gate_failures),
    )


def rmsle(median: np.ndarray, observed: np.ndarray) -> float:
    """Return the root mean squared log error of a curve's held-out points.

    sqrt(mean((log median - log observed)^2)), the metric of Alabdulmohsin et al. (2022) and
    Caballero et al. (2023), with the median of the predictive distribution as the forecast. Those
    papers give it for each curve; tables of several curves average it over curves.
    """
    return float(np.sqrt(np.mean((np.log(median) - np.log(observed)) ** 2)))


def r_squared(median: np.ndarray, observed: np.ndarray) -> float:
    """Return 1 - sum((observed - median)^2) / sum((observed - mean observed)^2), of held-out runs.

    It is negative where the mean of the held-out losses would have been the better forecast.
    """
    errors = np.sum((observed - median) ** 2)
    spread = np.sum((observed - observed.mean()) ** 2)
    return float(1 - errors / spread)


def relative_error(median: np.ndarray, observed: np.ndarray) -> float:
    """Return the mean of abs(median - observed) / observed: the MAPE, as a share."""
    return float(np.mean(np.abs(median - observed) / observed))


def score_tasks(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the metrics of each task and model from the scores of its held-out runs.

    ``log_density`` is the mean over held-out runs of the log density of the loss (see
    `log_predictive_density`). It depends on the unit of the loss: dividing losses by c adds log c.
    """
    rows = []
    keys = ["kind", "benchmark", "training", "task", "model"]
    for key, own in scores.groupby(keys, sort=False):
        median, observed = own["median"].to_numpy(), own["observed"].to_numpy()
        row = dict(zip(keys, key, strict=True))
        row["points"] = len(own)
        row["rmsle"] = rmsle(median, observed)
        row["r_squared"] = r_squared(median, observed) if len(own) > 1 else np.nan
        row["relative_error"] = relative_error(median, observed)
        row["log_density"] = own["log_density"].mean()
        row["cover50"] = own["inside50"].mean()
        row["cover90"] = own["inside90"].mean()
        row["crps"] = own["crps"].mean()
        row["checks_failed"] = own["checks_failed"].iloc[0]
        rows.append(row)
    return pd.DataFrame(rows)


def tables(tasks: pd.DataFrame) -> Iterator[str]:
    """Yield a table in Markdown for each kind of benchmark, with published figures below ours."""
    for kind in KINDS:
        own = tasks[tasks["kind"] == kind]
        if own.empty:
            continue
        rows = []
        for (benchmark, model), group in own.groupby(["benchmark", "model"], sort=False):
            rows.append({"benchmark": benchmark, "model": model, **_metrics_in_words(kind, group)})
        yield f"### {kind.capitalize()}\n\n{_markdown(pd.DataFrame(rows))}"
        published = PUBLISHED[PUBLISHED["kind"] == kind].drop(columns="kind")
        if len(published):
            yield f"Published:\n\n{_markdown(published)}"


def _metrics_in_words(kind: str, tasks: pd.DataFrame) -> dict[str, str]:
    """Return the cells of one row: the authors' metrics first, then ours. Means are over tasks."""
    mean = tasks.mean(numeric_only=True)
    cells = {
        "fits": str(len(tasks)),
        "trainings": str(tasks["training"].nunique()),
        "held-out points": str(tasks["points"].sum()),
    }
    if kind == "curves":
        cells["RMSLE"] = f"{mean['rmsle']:.4f}"
        cells["log density"] = f"{mean['log_density']:.3f}"
    elif kind == "grid":
        cells["R2"] = f"{mean['r_squared']:.3f}"
        cells["MAPE"] = f"{mean['relative_error']:.2%}"
    else:
        cells["relative error"] = f"{mean['relative_error']:.2%}"
    cells["in 50%"] = f"{mean['cover50']:.2f}"
    cells["in 90%"] = _coverage_in_words(tasks)
    cells["worst 90%"] = f"{tasks['cover90'].min():.2f}"
    cells["CRPS"] = f"{mean['crps']:.4f}"
    cells["checks failed"] = str(int(tasks["checks_failed"].sum()))
    return cells


def _coverage_in_words(tasks: pd.DataFrame) -> str:
    """Return the mean coverage over tasks with its 90% interval between trainings."""
    by_training = tasks.groupby("training")["cover90"].mean()
    text = f"{tasks['cover90'].mean():.2f}"
    if len(by_training) < 2:
        return text
    low, high = share_interval(by_training.to_numpy(), int(tasks["points"].sum()))
    return f"{text} [{low:.2f}, {high:.2f}]"


def _markdown(table: pd.DataFrame) -> str:
    """Return a table of texts in Markdown."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def run(tasks: Sequence[Task], models: Sequence[str | None]) -> pd.DataFrame:
    """Fit every task with every model, and return the metrics of each."""
    scores = []
    for task in tasks:
        for model in models:
            try:
                scores.append(forecast(task, model))
            except (sb.FitError, sb.RunsError, sb.QueryError) as error:
                print(f"not scored: {task.name}, {model or 'default'}: {error}", flush=True)
    return score_tasks(pd.concat(scores, ignore_index=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder with the files of the benchmarks")
    parser.add_argument(
        "--model", action="append", help="a model; may be repeated (default: the package's default)"
    )
    parser.add_argument("--kind", choices=KINDS, help="score benchmarks of this kind only")
    parser.add_argument("--out", type=Path, help="CSV file for the metrics of each task")
    arguments = parser.parse_args()
    tasks, skipped = find_tasks(arguments.folder)
    tasks = [task for task in tasks if arguments.kind in (None, task.kind)]
    for reason in skipped:
        print(f"skipped {reason}")
    if not tasks:
        raise SystemExit(f"{arguments.folder}: no benchmark was found")
    print(f"{len(tasks)} tasks", flush=True)
    metrics = run(tasks, arguments.model or [None])
    if arguments.out:
        metrics.to_csv(arguments.out, index=False)
    print("\n\n".join(tables(metrics)))


if __name__ == "__main__":
    main()
