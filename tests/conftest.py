import os
import signal
import tempfile
import warnings
from pathlib import Path

import pandas as pd
import pytest

import scalebayes as sb

if worker := os.environ.get(
    "PYTEST_XDIST_WORKER"
):  # two processes must not compile into one folder
    flags = os.environ.get("PYTENSOR_FLAGS", "")
    folder = Path(tempfile.gettempdir()) / f"scalebayes-tests-{os.getuid()}" / worker
    os.environ["PYTENSOR_FLAGS"] = f"{flags},base_compiledir={folder}".lstrip(",")

os.environ.setdefault(
    "SCALEBAYES_CACHE_DIR", f"{tempfile.gettempdir()}/scalebayes-tests-{os.getuid()}/cache"
)

signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a job in the background starts deaf to interrupts

SHARED = Path(
    os.environ.get("SCALEBAYES_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
)


def shared_table(name):
    """A table of the public points that the package does not embed, or a skip that says so."""
    path = SHARED / f"{name}.csv"
    if not path.is_file():
        pytest.skip(f"no {path}: these points are not committed, fetch them from upstream")
    return pd.read_csv(path)


def public_runs(name):
    if name in ("hoffmann2022", "pile2023"):
        return sb.load_runs(name)
    table = shared_table(name)
    if name == "muennighoff2023":
        table = table[table["epochs"] <= 1].drop(
            columns="unique_tokens"
        )  # these laws know nothing of repeated data
    if name == "misfitting2025":
        table = table.loc[
            table.groupby(["params", "tokens"])["loss"].idxmin()
        ]  # the best learning rate of each
    return sb.read_runs(table, name=name)


@pytest.fixture(scope="session")
def load_public():
    return public_runs


@pytest.fixture(scope="session")
def load_shared():
    return shared_table


@pytest.fixture(scope="session")
def fitted():
    """Fits of published points by (table, model), each sampled once a session."""
    kept = {}

    def get(table, model, seed=0):
        key = (table, model, seed)
        if key not in kept:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                kept[key] = sb.fit(public_runs(table), model, seed=seed)
        return kept[key]

    return get
