import contextlib
import os
import signal
import time
import warnings
from pathlib import Path

import pandas as pd
import platformdirs
import pytest

import scalebayes as sb

CACHE = Path(platformdirs.user_cache_dir("scalebayes-tests"))
"""Compiled kernels and saved fits of earlier test runs; keys hash the source they depend on."""

# The processes of pytest-xdist must not compile into one PyTensor folder at the same time.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    flags = os.environ.get("PYTENSOR_FLAGS", "")
    folder = CACHE / "pytensor" / worker
    os.environ["PYTENSOR_FLAGS"] = f"{flags},base_compiledir={folder}".lstrip(",")

os.environ.setdefault("SCALEBAYES_CACHE_DIR", str(CACHE))

# Tables fill the terminal; pytest-xdist would make it 80 columns wide for its workers alone.
os.environ["COLUMNS"] = "120"

# A job that a shell runs in the background ignores interrupts; tests of interrupts need them.
signal.signal(signal.SIGINT, signal.default_int_handler)

MONTH = 30 * 24 * 3600


def pytest_sessionstart():
    """Delete cached kernels and fits older than a month: changes of the source add new ones."""
    folders = [Path(os.environ["SCALEBAYES_CACHE_DIR"]) / kind for kind in ("kernels", "fits")]
    for folder in folders:
        for path in folder.glob("*"):
            with contextlib.suppress(OSError):  # another process may have deleted it
                if path.is_file() and time.time() - path.stat().st_mtime > MONTH:
                    path.unlink()


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
        once = table["epochs"] <= 1  # these laws do not describe repeated data
        table = table[once].drop(columns="unique_tokens")
    if name == "misfitting2025":
        best = table.groupby(["params", "tokens"])["loss"].idxmin()  # of all learning rates
        table = table.loc[best]
    return sb.read_runs(table, name=name)


@pytest.fixture(scope="session")
def load_public():
    return public_runs


@pytest.fixture(scope="session")
def load_shared():
    return shared_table


@pytest.fixture(scope="session")
def fitted():
    """Fits of published points by (table, model).

    Each is sampled once for all processes of a test run: ``cache=True`` keeps it in a file whose
    key hashes the source that its draws depend on, so a change there samples it again.
    """
    kept = {}

    def get(table, model, seed=0):
        key = (table, model, seed)
        if key not in kept:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                kept[key] = sb.fit(public_runs(table), model, seed=seed, cache=True)
        return kept[key]

    return get
