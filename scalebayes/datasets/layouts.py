"""Published files in their authors' layouts, to runs."""

from pathlib import Path

from scalebayes.data.exports import read_checkpoints
from scalebayes.data.runs import Runs, read_runs
from scalebayes.data.sources import open_table

CLARK_TOKENS = 256 * 2048
"""Tokens a step of Clark et al. (2022): 256 sequences of 2048; 249,000 steps are the 130B tokens of the paper."""


def gemstones(path: Path, name: str) -> Runs:
    """Read the cooled-down checkpoints of Gemstones, one group a width and depth."""
    table, _ = open_table(path)
    shape = table["width"].astype(str) + "x" + table["depth"].astype(str)
    label = (
        shape + "@" + (table["tokens"].astype(float) / 1e9).round().astype(int).astype(str) + "B"
    )
    table = table.assign(shape=shape, label=label)
    return read_runs(
        table, N="params_active_precise", loss="final_loss", group="shape", run="label", name=name
    )


def misfitting(path: Path, name: str) -> Runs:
    """Read every run of the sweep over learning rates; 21 of them are in the file twice."""
    table, _ = open_table(path)
    return read_runs(table[["N", "D", "loss"]], name=name, strict=False)


def best_of_each(runs: Runs) -> Runs:
    """Keep the run of least loss at each N and D."""
    table = runs.table
    best = table.loc[table.groupby(["N", "D"], sort=False)["loss"].idxmin()].sort_index(
        key=lambda i: i.astype(int)
    )
    word = f"of {len(table)} runs the {len(best)} of least loss at each N and D are kept: the best learning rate tried"
    return Runs(
        best, runs.name, runs.source, (*(n for n in runs.notes if "suspicious" not in n), word)
    )


def clark(path: Path, name: str) -> Runs:
    """Read the last checkpoint of each routed or dense model, one group a way of routing and number of experts."""
    table, _ = open_table(path)
    dense = table["num_experts"] == "1"
    group = table["router_type"] + (" E=" + table["num_experts"]).where(~dense, "")
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
