"""Readers of published files in the layouts of their authors."""

from dataclasses import replace
from pathlib import Path

from scalebayes.data.exports import read_checkpoints
from scalebayes.data.runs import Runs, read_runs
from scalebayes.data.tables.sources import open_table

CLARK_TOKENS = 256 * 2048
"""Tokens per step of Clark et al. (2022): 256 sequences of 2048; 249,000 steps are 130B tokens."""


def gemstones(path: Path, name: str) -> Runs:
    """Return the cooled-down checkpoints of Gemstones: each width and depth is one training."""
    table, _ = open_table(path)
    shape = table["width"].astype(str) + "x" + table["depth"].astype(str)
    billions = (table["tokens"].astype(float) / 1e9).round().astype(int)
    label = shape + "@" + billions.astype(str) + "B"
    return read_runs(
        table.assign(shape=shape, label=label),
        N="params_active_precise",
        loss="final_loss",
        group="shape",
        training="shape",
        run="label",
        name=name,
    )


def misfitting(path: Path, name: str) -> Runs:
    """Return every run of the sweep over learning rates; the file has 21 runs twice."""
    table, _ = open_table(path)
    return read_runs(table[["N", "D", "loss"]], name=name, strict=False)


def best_of_each(runs: Runs) -> Runs:
    """Return the run with the least loss at each N and D, in the order of the table."""
    table = runs.table
    ids = table.groupby(["N", "D"], sort=False)["loss"].idxmin()
    best = table.loc[ids].sort_index(key=lambda index: index.astype(int))
    # Notes on suspicious rows are about duplicates, which are no longer in the table.
    notes = [note for note in runs.notes if "suspicious" not in note]
    notes.append(
        f"{len(best)} of {len(table)} runs were kept: "
        "at each N and D the run with the least loss, that is the best learning rate tried"
    )
    return replace(runs, table=best, notes=tuple(notes))


def clark(path: Path, name: str) -> Runs:
    """Return the last checkpoint of each model.

    There is one group for the dense models and one for each way of routing and number of experts,
    such as "S-Base E=64". The settings k and R are in its name where they are not the usual ones.
    """
    table, _ = open_table(path)
    is_dense = table["num_experts"] == "1"
    group = table["router_type"] + (" E=" + table["num_experts"]).where(~is_dense, "")
    for column, usual, letter in [("k", "1", "k"), ("routing_frequency", "0.5", "R")]:
        number = table[column].astype(float).map("{:.3g}".format)
        group += (f" {letter}=" + number).where(table[column] != usual, "")
    return read_checkpoints(
        table.assign(group=group),
        run="hyper_id",
        tokens_per_step=CLARK_TOKENS,
        N="dense_parameter_count",
        loss="loss_validation",
        name=name,
    )
