"""benchmarks/default_model.py: the development splits, and the criteria for the default model."""

import importlib
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from tests.conftest import shared_table
from tests.fixtures import CHINCHILLA, besiroglu_loss, fit_of, grid_of_sizes

FOLDER = Path(__file__).parents[2] / "benchmarks"
N, D = grid_of_sizes()
RUNS = sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": besiroglu_loss(N, D)}), name="grid")


@pytest.fixture(scope="module")
def benchmark():
    names = ("default_model", "dev_tables")
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("default_model")
    sys.path.remove(str(FOLDER))
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def scores(benchmark):
    """Chinchilla's law on the two splits of the smallest table, under three names.

    The CRPS of the law itself is doubled.
    """
    own = benchmark.score_table("chinchilla", "pile2023")
    doubled = own.assign(crps=2 * own["crps"])
    copies = [own.assign(method=name) for name in ("mine", "coupled-discrepancy")]
    return pd.concat([*copies, doubled], ignore_index=True)


def draws(chains=2, size=200, **values):
    return {name: np.full((chains, size), value) for name, value in (CHINCHILLA | values).items()}


def test_splits_of_the_development_tables_leak_nothing(benchmark):
    for name in ("gemstones2025", "muennighoff2023", "misfitting2025", "corpora2025"):
        shared_table(name)  # skip where a table is missing
    shared_table("olmo_ladder2024")
    import dev_tables

    counts = {}
    for name, split in dev_tables.each_split():
        counts[name] = counts.get(name, 0) + 1
        assert not set(split.train.table.index) & set(split.held_out.table.index)
        assert split.held_out.C.max() > split.train.C.max()
    assert counts == {
        "hoffmann2022": 5,
        "pile2023": 2,
        "gemstones2025": 5,
        "muennighoff2023": 5,
        "misfitting2025": 5,
        "corpora2025": 10,
        "olmo_ladder2024": 6,
    }
    assert dev_tables.trainings("gemstones2025").nunique() == 20


def test_every_criterion_is_scored_and_checked(benchmark, scores):
    criteria = tomllib.loads(benchmark.CRITERIA.read_text("utf-8"))["criterion"]
    values = benchmark.values_of(scores, "mine", moves=0.4)
    assert {criterion["column"] for criterion in criteria} == set(values)
    assert values["crps_over_old_default"] == pytest.approx(1.0)
    assert values["crps_over_chinchilla"] == pytest.approx(0.5)
    assert values["more_hurts"] == 0.0
    assert values["cover90"] == scores.query("method == 'mine'")["inside90"].mean()
    table = benchmark.check(values, criteria).set_index("criterion")
    assert len(table) == len(criteria) + 2  # two criteria have two distances each
    assert table.filter(like="N*", axis=0)["met"].tolist() == ["yes"]


@pytest.mark.parametrize(
    ("value", "met"), [(0.8694, "NO"), (0.8695, "yes"), (0.95, "yes"), (np.nan, "NO")]
)
def test_a_bound_holds_for_the_value_as_printed(benchmark, value, met):
    criterion = {"name": "covers", "column": "cover90", "low": 0.87, "high": 0.95}
    table = benchmark.check({"cover90": value}, [criterion])
    assert table["met"].tolist() == [met]


def test_distinct_runs_are_counted_and_not_forecasts(benchmark, scores):
    table = benchmark.by_table(scores, "mine").loc["pile2023"]
    assert (table["splits"], table["forecasts"]) == (2, 8)
    assert table["runs"] == table["trainings"] == 5
    assert "8 forecasts of 5 distinct held-out runs of 5 trainings" in benchmark.sentence(
        scores, "mine"
    )


def test_more_never_hurts_under_a_law_and_can_under_a_discrepancy(benchmark):
    law = fit_of("chinchilla", RUNS, **draws())
    assert benchmark.more_hurts(law) == 0.0
    off = fit_of("coupled-discrepancy", RUNS, **draws(kappa=1.0, eta=0.2))
    assert benchmark.more_hurts(off) > 0.2


def test_the_width_of_a_floor_alone_does_not_grow(benchmark):
    floors = np.linspace(1.7, 1.9, 400).reshape(2, 200)
    fit = fit_of("chinchilla", RUNS, **draws() | {"L_inf": floors})
    assert benchmark.width_ratio(fit) == pytest.approx(1.0)


def test_settings_are_lengths_of_a_fixed_discrepancy_and_else_wider_priors(benchmark):
    lengths = benchmark.own_settings(sb.read_model("coupled-discrepancy"))
    assert [spec.discrepancy.length for spec in lengths] == [0.5, 1.0, 2.0]
    (wide,) = benchmark.own_settings(sb.read_model("chinchilla"))
    assert wide.priors != sb.read_model("chinchilla").priors
