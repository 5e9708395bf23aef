"""The rules of benchmarks/design.py: pilots within the budget, from the pool, without losses."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.fixtures import besiroglu_loss

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(FOLDER))  # it imports its neighbour dev_tables
    try:
        module = importlib.util.spec_from_file_location("design_benchmark", FOLDER / "design.py")
        made = importlib.util.module_from_spec(module)
        sys.modules["design_benchmark"] = made  # dataclasses look their module up
        module.loader.exec_module(made)
        yield made
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("design_benchmark", None)


@pytest.fixture(scope="module")
def grid():
    """Nine isoFLOP curves of eight sizes on Besiroglu's law with noise of half a percent."""
    C, factor = np.meshgrid(np.geomspace(1e18, 1e22, 9), np.geomspace(0.2, 5, 8), indexing="ij")
    N = (np.sqrt(C / 120) * factor).ravel()
    D = C.ravel() / (6 * N)
    noise = np.exp(0.005 * np.random.default_rng(0).standard_normal(len(N)))
    table = pd.DataFrame({"N": N, "D": D, "C": C.ravel(), "loss": besiroglu_loss(N, D) * noise})
    table.index = [f"run{place}" for place in range(len(N))]
    return table


def test_pilots_are_cheaper_than_targets(benchmark, grid):
    pilots, targets = benchmark.split(grid)
    assert len(targets) == 7
    assert pilots["C"].max() <= 0.5 * targets["C"].min()
    assert targets["C"].min() >= grid.drop(index=targets.index)["C"].max() * (1 - 1e-9)


@pytest.mark.parametrize("share", [0.01, 0.1])
@pytest.mark.parametrize("rule", ["random", "space-filling", "isoFLOP", "plan", "one ray"])
def test_rules_keep_to_the_budget_and_do_not_look_at_losses(benchmark, grid, rule, share):
    replay = benchmark.make_replay(grid, share, "chinchilla", seed=0)
    chosen = benchmark.RULES[rule](replay)
    assert len(set(chosen)) == len(chosen) >= 7
    assert len(chosen) <= benchmark.MOST_RUNS
    assert set(chosen) <= set(replay.pool.index)
    assert replay.pool["C"][chosen].sum() <= replay.budget * (1 + 1e-9)
    blind = benchmark.make_replay(grid.assign(loss=np.nan), share, "chinchilla", seed=0)
    assert benchmark.RULES[rule](blind) == chosen


def test_one_ray_is_narrow_and_sweeps_are_not(benchmark, grid):
    replay = benchmark.make_replay(grid, 0.1, "chinchilla", seed=0)

    def spread(rule):
        chosen = replay.pool.loc[benchmark.RULES[rule](replay)]
        return float(np.ptp(np.log10(chosen["D"] / chosen["N"])))

    assert spread("one ray") < spread("plan")
    assert spread("space-filling") > 2


@pytest.mark.standard
def test_next_adds_runs_and_its_forecast_is_scored(benchmark, grid):
    replay = benchmark.make_replay(grid, 0.05, "chinchilla", seed=0)
    chosen = benchmark.RULES["next"](replay)
    assert chosen[:8] == benchmark.choose_space_filling(replay, 8, 0.2)
    assert 8 < len(set(chosen)) == len(chosen) <= benchmark.MOST_RUNS
    assert replay.pool["C"][chosen].sum() <= replay.budget * (1 + 1e-9)
    scores = benchmark.scores_of(replay, chosen, benchmark.split(grid)[1])
    # Targets have a noise of half a percent of a loss of 2.1, whatever the pilots are.
    assert 0.003 < scores["crps"] < 0.03
    assert scores["used"] <= 1 + 1e-9


def test_ratios_are_paired_and_their_errors_are_over_grids(benchmark):
    rows = []
    for grid, factor in (("a", 2.0), ("b", 8.0)):
        for seed, base in enumerate((0.01, 0.1)):
            rows.append({"grid": grid, "seed": seed, "rule": "random", "crps": base})
            rows.append({"grid": grid, "seed": seed, "rule": "next", "crps": base * factor})
    ratios = benchmark.over_grids(benchmark.log_ratios(pd.DataFrame(rows).assign(share=0.01)))
    assert ratios.loc[(0.01, "next"), "ratio"] == pytest.approx(4.0)
    assert ratios.loc[(0.01, "next"), "error"] == pytest.approx(np.log(4) / 2)
    assert ratios.loc[(0.01, "random"), "ratio"] == 1.0
