"""Experts: the frontier at a number of them, and N, D and E together under a memory limit."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.laws import LAWS
from scalebayes.posterior.fit import law_parameters
from scalebayes.queries.curves import Curve
from scalebayes.queries.optima import memory_limit
from tests.fixtures import around, cross, fit_of

LAW = LAWS["mixture-of-experts"]
VALUES = LAW.from_notation(sb.read_model("mixture-of-experts").published[0].values)
CHAINS, DRAWS = 2, 60
BUDGET = 1e21


@pytest.fixture(scope="module")
def fit():
    """Draws around the paper's constants, on runs that follow them."""
    rng = np.random.default_rng(0)
    N, D = cross(np.geomspace(1e8, 2e9, 5), np.geomspace(2e9, 1e11, 5))
    E = np.tile([1.0, 2, 8, 32, 64], 5)
    loss = LAW(N, D, E, **VALUES) * np.exp(0.005 * rng.standard_normal(len(N)))
    table = pd.DataFrame({"N": N, "D": D, "E": E, "loss": loss})
    runs = sb.read_runs(table, name="experts")
    draws = around(VALUES, (CHAINS, DRAWS), rng, 0.02)
    noise = {"sigma": np.full((CHAINS, DRAWS), 0.01), "nu": np.full((CHAINS, DRAWS), 6.0)}
    return fit_of("mixture-of-experts", runs, **draws, **noise)


def by_grid(parameters, E, largest=np.inf):
    """The least loss on a fine grid of sizes, and the size."""
    N = np.geomspace(1e5, min(largest, 1e13), 200_001)
    loss = LAW(N, BUDGET / 6 / N, E, **parameters)
    return N[loss.argmin()], loss.min()


def some_draws(fit):
    """Parameters of three draws, with the indices of each."""
    parameters = law_parameters(fit)
    for chain, draw in ((0, 0), (1, 17), (1, 59)):
        yield {k: v[chain, draw] for k, v in parameters.items()}, {"chain": chain, "draw": draw}


def test_the_optimum_at_a_number_of_experts_is_that_of_a_grid(fit):
    best = sb.frontier(fit, C=BUDGET, E=[1, 16])
    assert best["E"].values.tolist() == [1, 16]
    assert "N_total" not in best
    for own, where in some_draws(fit):
        for i, E in enumerate((1, 16)):
            N, loss = by_grid(own, E)
            found = best.isel(budget=i, **where)
            assert float(found["N"]) == pytest.approx(N, rel=1e-3)
            assert float(found["loss"]) == pytest.approx(loss, rel=1e-9)


def test_mixtures_have_fewer_active_parameters_and_more_tokens(fit):
    """As the paper finds of its own fit."""
    best = sb.frontier(fit, C=BUDGET, E=[1, 8, 64]).median(("chain", "draw"))
    assert (best["N"].diff("budget") < 0).all()
    assert (best["D"].diff("budget") > 0).all()
    assert (best["loss"].diff("budget") < 0).all()


@pytest.mark.parametrize("limit", [5e8, 5e9, 1e12])
def test_under_a_memory_limit_each_draw_has_its_best_experts(fit, limit):
    memory = sb.Memory(limit, expert_share=0.5, experts=(1, 4, 16, 64))
    best = sb.frontier(fit, C=BUDGET, memory=memory)
    assert float(best["N_total"].max()) <= limit * (1 + 1e-9)
    np.testing.assert_allclose(best["N_total"], best["N"] * (0.5 + 0.5 * best["E"]))
    np.testing.assert_allclose(6 * best["N"] * best["D"], BUDGET)
    for own, where in some_draws(fit):
        choices = []
        for E in memory.experts:
            N, loss = by_grid(own, E, memory.largest_active(E))
            choices.append((loss, E, N))
        loss, E, N = min(choices)
        found = best.isel(budget=0, **where)
        assert float(found["E"]) == E
        assert float(found["N"]) == pytest.approx(N, rel=2e-3)
        assert float(found["loss"]) == pytest.approx(loss, rel=1e-6)


def test_less_memory_takes_fewer_experts_and_costs_loss(fit):
    medians = []
    for limit in ("1B", "10B", "1T"):
        best = sb.frontier(fit, C=BUDGET, memory=limit)
        medians.append((float(best["E"].median()), float(best["loss"].median())))
    experts, losses = zip(*medians, strict=True)
    assert experts[0] < experts[-1]
    assert losses[0] > losses[1] >= losses[2]


def test_a_given_number_of_experts_under_a_limit(fit):
    """Without a binding limit it is the frontier; where it binds, the model fills the memory."""
    free = sb.frontier(fit, C=BUDGET, E=8)
    roomy = sb.frontier(fit, C=BUDGET, E=8, memory="1T")
    np.testing.assert_allclose(roomy["N"], free["N"], rtol=1e-3)
    np.testing.assert_allclose(roomy["loss"], free["loss"], rtol=1e-6)
    tight = sb.frontier(fit, C=BUDGET, E=8, memory="1B")
    np.testing.assert_allclose(tight["N_total"], 1e9)
    assert (tight["loss"] > free["loss"]).all()
    assert tight.attrs["memory"] == 1e9


def test_other_costs_take_a_limit_too(fit):
    serving = sb.frontier(fit, C=BUDGET, memory="5B", cost=sb.with_inference("1T"))
    training = sb.frontier(fit, C=BUDGET, memory="5B")
    assert float(serving["N"].median()) < float(training["N"].median())


def test_too_many_experts_in_a_draw_are_left_out(fit):
    """Where gamma_N log Eh exceeds alpha_N the loss rises with N: such a number is no choice."""
    parameters = {k: v.copy() for k, v in fit.stored["posterior"].items()}
    draws = {k: v.values for k, v in parameters.items()}
    draws["gamma_N"] = draws["gamma_N"].copy()
    draws["gamma_N"][0, 0] = 0.06
    odd = fit_of("mixture-of-experts", fit.runs, **draws)
    best = sb.frontier(odd, C=BUDGET, memory="1T")
    assert float(best["E"][0, 0, 0]) < 64
    with pytest.raises(sb.QueryError, match="the loss rises with N"):
        sb.frontier(odd, C=BUDGET, memory="1T", E=256)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "'mixture-of-experts' is a law of experts: give their number, E="),
        ({"E": 0.5}, "E is a number of experts, at least 1; got 0.5"),
        ({"E": "inf"}, "E is a number of experts, at least 1; got inf"),
        ({"E": [1, 2], "C": [1e20, 1e21, 1e22]}, "C and E must have one length"),
        ({"U": 1e9, "E": 1}, "'mixture-of-experts' has no input U, the number of unique tokens"),
        ({"memory": "none"}, "memory: "),
        ({"memory": -1}, "memory must be positive; got -1"),
        ({"memory": 1}, "holds no model of 10K active parameters and 1 experts"),
    ],
)
def test_what_cannot_be_asked_is_refused(fit, given, told):
    with pytest.raises(sb.QueryError, match=told):
        sb.frontier(fit, **({"C": BUDGET} | given))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"expert_share": 1.5}, "expert_share"),
        ({"experts": (0.5, 2)}, "experts are numbers of at least 1"),
        ({"experts": ()}, "experts are numbers of at least 1"),
    ],
)
def test_a_memory_that_cannot_be_is_refused(given, told):
    with pytest.raises(sb.QueryError, match=told):
        sb.Memory("1B", **given)


def test_reach_says_which_inputs_are_missing(fit):
    with pytest.raises(sb.QueryError, match="reach finds one input, and N, D, E are not given"):
        sb.reach(fit, loss=2.5)


def test_budgets_without_an_optimum_are_refused_with_their_experts():
    curve = Curve(LAW, {name: np.full(2, value) for name, value in VALUES.items()})
    loss = np.array([[2.0, 2.0], [2.0, np.inf]])
    with pytest.raises(sb.QueryError, match="C = 1e21 and E = 64 within the memory in 50%"):
        memory_limit._refuse_missing(curve, np.array([1e20, 1e21]), loss, np.array([8.0, 64.0]))


def test_the_command_takes_experts_and_memory(fit, tmp_path):
    path = str(sb.save(fit, tmp_path / "fit.nc"))
    run = CliRunner().invoke(app, ["frontier", path, "--C", "1e21", "--memory", "5B", "--json"])
    assert run.exit_code == 0, run.output
    assert '"E"' in json.dumps(json.loads(run.stdout))
    run = CliRunner().invoke(app, ["frontier", path, "--C", "1e21", "--E", "8", "--E", "16"])
    assert run.exit_code == 0, run.output
    assert "experts" in run.output
    run = CliRunner().invoke(app, ["frontier", path, "--C", "1e21", "--expert-share", "0.5"])
    assert run.exit_code == 2
    assert "--expert-share needs --memory" in run.output


def test_the_figure_compares_the_numbers_of_experts(fit):
    figure = sb.plots.experts(fit, BUDGET, sb.Memory("5B", experts=(1, 4, 16)))
    above, below = figure.axes
    shares = [bar.get_height() for bar in below.patches]
    assert sum(shares) == pytest.approx(1.0)
    best = sb.frontier(fit, C=BUDGET, memory=sb.Memory("5B", experts=(1, 4, 16)))
    expected = [float((best["E"] == E).mean()) for E in (1, 4, 16)]
    assert shares == pytest.approx(expected)
    assert above.get_ylabel() == "Excess loss (nats per token)"
    with pytest.raises(sb.QueryError, match="one budget"):
        sb.plots.experts(fit, [1e20, 1e21], "5B")


@pytest.fixture(scope="module")
def step_law():
    """Step Law's mixtures of experts: of each configuration the run of least loss on its grid."""
    shared = Path(
        os.environ.get("SCALEBAYES_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")
    )
    path = shared / "steplaw_moe2025.csv"
    if not path.is_file():
        pytest.skip(f"no {path}: these points are not committed, fetch them from upstream")
    grid = pd.read_csv(path)
    best = grid.loc[grid.groupby(["Na", "nume", "topk", "D"])["loss"].idxmin()]
    table = pd.DataFrame({"N": best["Na"], "D": best["D"], "loss": best["loss"]})
    return sb.read_runs(table.assign(E=best["nume"] / best["topk"]), name="Step Law's mixtures")


@pytest.mark.slow
def test_what_docs_say_of_step_laws_mixtures(step_law):
    """docs/experts.md: priors decide, active parameters alone do better, E* is hardly known."""
    assert len(step_law) == 16
    fit = sb.fit(step_law, "mixture-of-experts", seed=0, progress=False)
    assert sb.diagnose(fit).ok
    told = [m.text for m in sb.diagnose(fit).messages if m.code == "PRIOR_DECIDES"]
    assert len(told) == 7
    posterior = fit.stored["posterior"]
    for name in ("L_inf", "alpha_N", "alpha_D", "alpha_EN", "alpha_ED"):
        low, high = np.quantile(posterior[name], [0.05, 0.95])
        assert low < VALUES[name] < high, name
    best = sb.frontier(fit, C=1e20, memory="2.15B")
    low, middle, high = np.quantile(best["E"], [0.05, 0.5, 0.95])
    assert low <= 2
    assert middle == 8
    assert high >= 128
    assert 0.01 < float((best["E"] == 1).mean()) < 0.06
    alone = sb.fit(step_law, "chinchilla", seed=0, progress=False)
    assert sb.compare({"experts": fit, "alone": alone}).table.index[0] == "alone"
