"""Approaches 1 and 2 against numpy.polyfit, direct searches and closed forms; the bias."""

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

import scalebayes as sb
from scalebayes.baselines import envelope, from_optima, huber, isoflop
from scalebayes.data.subsets import isoflop_sets

HOFFMANN = {
    "E": 1.69337368,
    "A": 406.401018,
    "B": 410.722827,
    "alpha": 0.33917084,
    "beta": 0.2849083,
}
SKEWED = {"E": 1.7, "A": 500.0, "B": 150.0, "alpha": 0.36, "beta": 0.22}
BUDGETS = np.geomspace(1e18, 1e21, 7)


def additive(N, D, E, A, B, alpha, beta):
    return E + A / N**alpha + B / D**beta


def true_optimum(C, E, A, B, alpha, beta):
    return (alpha * A / (beta * B) * (C / 6) ** beta) ** (1 / (alpha + beta))


def sweep(law, spread, off=1.0, drift=0.0, noise=0.0, sizes=9, budgets=BUDGETS, seed=0):
    """Runs at each budget, sizes spread evenly in log N over a factor `spread` each way.

    Their centre is `off` times the optimum at the first budget; `off` grows with C^drift.
    """
    rows = []
    for C in budgets:
        N = (
            true_optimum(C, **law)
            * off
            * (C / budgets[0]) ** drift
            * np.geomspace(1 / spread, spread, sizes)
        )
        rows.append(pd.DataFrame({"N": N, "D": C / (6 * N)}))
    table = pd.concat(rows, ignore_index=True)
    scatter = np.exp(noise * np.random.default_rng(seed).standard_normal(len(table)))
    return sb.read_runs(
        table.assign(loss=additive(table["N"], table["D"], **law) * scatter), name="sweep"
    )


def by_polyfit(runs, budgets=BUDGETS):
    """Exponent and intercept of approach 2 by numpy.polyfit alone."""
    log_N = []
    for C in budgets:
        at = np.isclose(runs.C, C, rtol=1e-6)
        curvature, slope, _ = np.polyfit(np.log(runs.N[at]), runs.loss[at], 2)
        log_N.append(-slope / (2 * curvature))
    return np.polyfit(np.log(budgets), log_N, 1)


def alone(method, runs, C=1e21):
    found = method(runs, C=C, draws=0)
    assert dict(found.sizes) == {"chain": 1, "draw": 1, "budget": np.size(C)}
    return found.isel(chain=0, draw=0)


# sets of equal compute


def by_windows(C, N):
    """The sets by trying every window: quadratic, and plain."""
    free, sets = np.ones(len(C), bool), []
    while len(sets) < 9:
        windows = [np.flatnonzero(free & (low <= C) & (1.15 * low >= C)) for low in C[free]]
        windows = [w for w in windows if len(w) >= 4 and N[w].max() >= 3 * N[w].min()]
        if not windows:
            break
        sets.append(max(windows, key=len))
        free &= np.abs(np.log(C / np.median(C[sets[-1]]))) > math.log(1.5)
    return sorted(sets, key=lambda s: float(np.median(C[s])))


@pytest.mark.parametrize("seed", range(20))
def test_sets_are_those_of_every_window(seed):
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(1, 120))
    C = rng.choice(np.geomspace(1e18, 1e21, 12), rows) * np.exp(
        rng.normal(0, rng.choice([0, 0.02, 0.2]), rows)
    )
    N = 10 ** rng.uniform(7, rng.choice([7.4, 9]), rows)
    ours, theirs = isoflop_sets(C, N), by_windows(C, N)
    assert [s.tolist() for s in ours] == [s.tolist() for s in theirs]


def test_sets_of_the_chinchilla_points():
    runs = sb.load_runs("hoffmann2022")
    ours, theirs = isoflop_sets(runs.C, runs.N), by_windows(runs.C, runs.N)
    assert [s.tolist() for s in ours] == [s.tolist() for s in theirs]
    assert len(ours) == 9


# approach 2


@pytest.mark.parametrize("law", [HOFFMANN, SKEWED], ids=["hoffmann", "skewed"])
@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_approach_2_is_polyfit(law, noise):
    runs = sweep(law, spread=4.0, noise=noise)
    a, intercept = by_polyfit(runs)
    ours = alone(isoflop.frontier, runs, C=[1e20, 1e24])
    assert float(ours["a"]) == pytest.approx(a, rel=1e-8)
    np.testing.assert_allclose(ours["N"], np.exp(intercept + a * np.log([1e20, 1e24])), rtol=1e-7)
    np.testing.assert_allclose(6 * ours["N"] * ours["D"], ours["C"], rtol=1e-12)
    np.testing.assert_allclose(ours["tokens_per_param"], ours["D"] / ours["N"])
    assert ours["decades_beyond"].values == pytest.approx([0.0, 3.0])


def test_minima_are_those_of_the_parabolas():
    runs = sweep(HOFFMANN, spread=4.0, noise=0.002)
    table = isoflop.minima(runs)
    assert table["bracketed"].all()
    np.testing.assert_allclose(table["C"], BUDGETS, rtol=1e-9)
    for _, row in table.iterrows():
        at = np.isclose(runs.C, row["C"], rtol=1e-6)
        c = np.polyfit(np.log(runs.N[at]), runs.loss[at], 2)
        assert row["loss"] == pytest.approx(np.polyval(c, -c[1] / (2 * c[0])), rel=1e-9)
        assert row["N"] == pytest.approx(np.exp(-c[1] / (2 * c[0])), rel=1e-7)
        assert (row["smallest"], row["largest"]) == (runs.N[at].min(), runs.N[at].max())


@pytest.mark.parametrize("law", [HOFFMANN, SKEWED], ids=["hoffmann", "skewed"])
def test_a_narrow_sweep_without_noise_finds_the_truth(law):
    ours = alone(isoflop.frontier, sweep(law, spread=1.8))
    assert float(ours["a"]) == pytest.approx(law["beta"] / (law["alpha"] + law["beta"]), abs=2e-4)
    assert float(ours["N"][0]) == pytest.approx(true_optimum(1e21, **law), rel=0.01)


def shift_of_the_parabola(law, spread, off=1.0, sizes=9):
    """Log of the ratio of the parabola's N* to the true N*, from the shape of an isoFLOP curve."""
    w = np.log(off) + np.linspace(-np.log(spread), np.log(spread), sizes)
    shape = law["beta"] * np.exp(-law["alpha"] * w) + law["alpha"] * np.exp(law["beta"] * w)
    design = np.column_stack([np.ones(sizes), w, w**2])
    c = np.linalg.solve(design.T @ design, design.T @ shape)
    return -c[1] / (2 * c[2])


@pytest.mark.parametrize(
    ("spread", "off"), [(3.0, 1.0), (10.0, 1.0), (30.0, 1.0), (10.0, 2.0), (10.0, 0.5)]
)
def test_a_spread_that_is_alike_at_every_budget_shifts_n_and_leaves_the_exponent(spread, off):
    ours = alone(isoflop.frontier, sweep(SKEWED, spread, off), C=[1e20, 1e24])
    assert float(ours["a"]) == pytest.approx(
        SKEWED["beta"] / (SKEWED["alpha"] + SKEWED["beta"]), abs=1e-9
    )
    factor = ours["N"].values / true_optimum(np.array([1e20, 1e24]), **SKEWED)
    np.testing.assert_allclose(
        np.log(factor), shift_of_the_parabola(SKEWED, spread, off), rtol=1e-7
    )


def one_list_of_sizes(law):
    """Every budget tries the same twelve sizes, as many sweeps do."""
    N, C = (x.ravel() for x in np.meshgrid(np.geomspace(5e7, 1e10, 12), BUDGETS))
    table = pd.DataFrame({"N": N, "D": C / (6 * N), "loss": additive(N, C / (6 * N), **law)})
    return sb.read_runs(table, name="one list")


def test_the_bias_has_the_figures_of_the_documentation():
    """Numbers of docs/point-methods.md, from `shift_of_the_parabola` and numpy.polyfit alone."""
    for law, figures in ((HOFFMANN, (0.8, 3.6, 8.0)), (SKEWED, (2.1, 9.5, 21.8))):
        shifts = [
            100 * math.expm1(shift_of_the_parabola(law, spread)) for spread in (3.0, 10.0, 30.0)
        ]
        assert shifts == pytest.approx(figures, abs=0.06)
    for law, truth, exponent, factor in (
        (HOFFMANN, 0.4565, 0.4429, 0.908),
        (SKEWED, 0.3793, 0.3950, 1.247),
    ):
        runs = one_list_of_sizes(law)
        a, intercept = by_polyfit(runs)
        assert law["beta"] / (law["alpha"] + law["beta"]) == pytest.approx(truth, abs=1e-4)
        assert a == pytest.approx(exponent, abs=1e-4)
        assert np.exp(intercept + a * np.log(1e24)) / true_optimum(1e24, **law) == pytest.approx(
            factor, abs=1e-3
        )
        ours = alone(isoflop.frontier, runs, C=1e24)
        assert float(ours["a"]) == pytest.approx(a, rel=1e-6)
        assert float(ours["N"][0]) == pytest.approx(np.exp(intercept + a * np.log(1e24)), rel=1e-6)


def test_the_example_of_the_documentation_runs_and_prints_what_it_says(capsys):
    text = (Path(__file__).parents[2] / "docs" / "point-methods.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(code, {})
    printed = [float(word) for word in capsys.readouterr().out.split()]
    said = [
        float(word)
        for comment in re.findall(r"\)  # ([\d. ]+)$", code, flags=re.MULTILINE)
        for word in comment.split()
    ]
    assert printed == pytest.approx(said, abs=6e-4)
    assert len(said) == 3


@pytest.mark.parametrize("law", [HOFFMANN, SKEWED], ids=["hoffmann", "skewed"])
def test_the_parametric_fit_is_not_biased_on_the_same_runs(law):
    ours = alone(huber.frontier, one_list_of_sizes(law), C=1e24)
    assert float(ours["a"]) == pytest.approx(law["beta"] / (law["alpha"] + law["beta"]), abs=2e-4)
    assert float(ours["N"][0]) == pytest.approx(true_optimum(1e24, **law), rel=2e-3)
    expected = additive(float(ours["N"][0]), float(ours["D"][0]), **law)
    assert float(ours["loss"][0]) == pytest.approx(expected, rel=1e-3)


def test_the_bootstrap_of_approach_2_spreads_as_the_noise_does():
    """Against fits of tables with fresh noise."""
    repeats = [
        float(alone(isoflop.frontier, sweep(HOFFMANN, 6.0, noise=0.003, seed=s))["a"])
        for s in range(200)
    ]
    found = isoflop.frontier(sweep(HOFFMANN, 6.0, noise=0.003, seed=1), C=1e21, draws=400)
    assert float(found["a"].std()) == pytest.approx(np.std(repeats), rel=0.35)
    again = isoflop.frontier(sweep(HOFFMANN, 6.0, noise=0.003, seed=1), C=1e21, draws=400)
    assert found.identical(again)


def test_budgets_that_do_not_bracket_their_minimum_are_left_out_and_named():
    runs = sweep(HOFFMANN, 10.0)
    # Only sizes above the optimum are left.
    at = (runs.C < 5e18) & (1.5 * true_optimum(runs.C, **HOFFMANN) > runs.N)
    cut = sb.Runs(runs.table[~at], "cut")
    assert isoflop.minima(cut)["bracketed"].tolist() == [False, False, True, True, True, True, True]
    found = isoflop.frontier(cut, C=1e21, draws=0)
    assert (
        found.attrs["notes"] == "left out, the runs do not bracket the minimum: 1e18, 3.16e18 FLOP"
    )
    assert found.attrs["budgets"] == "5"


def test_too_few_bracketed_budgets_are_refused_by_name():
    runs = sweep(HOFFMANN, 10.0, budgets=np.array([1e19, 1e20, 1e21]))
    above = 1.5 * true_optimum(runs.C, **HOFFMANN) < runs.N
    one_sided = sb.Runs(runs.table[above | (runs.C > 5e20)], "one-sided")
    with pytest.raises(sb.RunsError) as caught:
        isoflop.frontier(one_sided, C=1e21)
    assert str(caught.value) == (
        "one-sided: the runs bracket the minimum of the loss at 1 of 3 budgets; Approach 2 needs "
        "3. There is no minimum between the sizes tried at 1e19, 1e20 FLOP"
    )


@pytest.mark.parametrize("method", [isoflop.frontier, envelope.frontier, huber.frontier])
def test_budgets_that_are_none_are_told(method):
    runs = sweep(HOFFMANN, 4.0)
    with pytest.raises(sb.QueryError, match="C: 'lots' is not a quantity"):
        method(runs, C="lots")
    with pytest.raises(sb.QueryError, match="C must be finite"):
        method(runs, C="inf")


def test_a_table_without_shared_budgets_is_refused():
    with pytest.raises(sb.RunsError) as caught:
        isoflop.frontier(sb.load_runs("pile2023"), C=1e21)
    assert (
        "pile2023 has 0 budgets that 4 runs or more share (C within 15%, N over a factor of 3)"
        in str(caught.value)
    )


# approach 1


def test_the_envelope_takes_the_best_bracketed_run_of_each_bin():
    N = np.array([1e8, 2e8, 4e8, 8e8])
    C = np.array([2e18, 2e19, 2e20, 2e21])
    best = [1, 1, 2, 3]  # in the last bin the largest size is the best: not bracketed
    rows = [
        {"N": n, "C": c, "loss": 3.5 - 0.3 * i + 0.05 * abs(j - best[i])}
        for i, c in enumerate(C)
        for j, n in enumerate(N)
    ]
    runs = sb.read_runs(pd.DataFrame(rows), name="grid")
    found = alone(envelope.frontier, runs, C=1e20)
    slope, intercept = np.polyfit(np.log(C[:3]), np.log(N[[1, 1, 2]]), 1)
    assert float(found["a"]) == pytest.approx(slope)
    assert float(found["N"][0]) == pytest.approx(np.exp(intercept + slope * np.log(1e20)))
    assert found.attrs["budgets"] == "3"
    assert (
        found.attrs["notes"]
        == "left out, too few sizes or the best is the smallest or largest: about 2e21 FLOP"
    )


def test_a_run_above_a_cheaper_one_is_not_on_the_envelope():
    runs = sweep(HOFFMANN, 4.0, budgets=np.geomspace(1e18, 1e21, 5))
    worse = runs.table.copy()
    at = np.isclose(worse["C"], np.geomspace(1e18, 1e21, 5)[2], rtol=1e-6)
    worse.loc[at, "loss"] += 1.0  # a bad batch at one budget: its best run lost to a cheaper one
    found = envelope.frontier(sb.Runs(worse, "bad batch"), C=1e21, draws=0)
    assert found.attrs["budgets"] == "4"


def test_too_few_sizes_are_refused():
    runs = sb.load_runs("pile2023")
    with pytest.raises(
        sb.RunsError,
        match="the runs bracket the least loss in 0 bins of compute; Approach 1 needs 3",
    ):
        envelope.frontier(runs, C=1e21)


def test_sizes_within_a_percent_are_one_size():
    assert envelope.size_labels(np.array([2.0e9, 1e9, 1.005e9, 2.2e9])).tolist() == [1, 0, 0, 2]


# what both share


def test_loss_along_the_frontier_is_a_power_over_a_floor():
    log_C = np.log(np.geomspace(1e18, 1e22, 9))[None]
    floor, k, g = 1.8, 40.0, float(from_optima.FALLS[40])
    loss = floor + k * np.exp(-g * log_C)
    found = from_optima.floor_law(log_C, loss, np.ones_like(loss))
    np.testing.assert_allclose([v[0] for v in found], [floor, np.log(k), g], rtol=1e-6)
    rng = np.random.default_rng(0)
    noisy = loss + 0.02 * rng.standard_normal(loss.shape)
    E, log_k, fall = (float(v[0]) for v in from_optima.floor_law(log_C, noisy, np.ones_like(loss)))

    def squares(x):
        return ((noisy - x[0] - np.exp(x[1] - x[2] * (log_C - log_C.mean()))) ** 2).sum()

    start = [E, log_k - fall * log_C.mean(), fall]
    best = optimize.minimize(
        squares, start, method="Nelder-Mead", options={"maxiter": 4000, "fatol": 1e-14}
    )
    assert squares(start) <= 1.01 * best.fun


def test_a_floor_is_never_negative_and_a_rising_loss_has_no_power_term():
    log_C = np.log(np.geomspace(1e18, 1e22, 5))[None]
    steep = np.exp(-0.8 * (log_C - log_C.mean())) - 0.2
    assert from_optima.floor_law(log_C, steep, np.ones_like(steep))[0][0] >= 0
    floor, log_k, _ = from_optima.floor_law(log_C, 2 + 0.01 * log_C, np.ones_like(log_C))
    assert floor[0] == pytest.approx((2 + 0.01 * log_C).mean())
    assert log_k[0] == -np.inf


def test_points_that_do_not_count_change_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 3, 8))
    use = np.ones((3, 8), bool)
    use[:, 5:] = False
    intercept, slope = from_optima.power_law(x, y, use)
    for i in range(3):
        assert [slope[i], intercept[i]] == pytest.approx(np.polyfit(x[i, :5], y[i, :5], 1))


def test_each_draw_is_fitted_by_itself():
    rng = np.random.default_rng(0)
    log_C = np.linspace(40, 50, 9) + rng.uniform(-0.2, 0.2, (3, 9))
    loss = 2 + np.exp(10 - np.array([[0.2], [0.3], [0.25]]) * log_C) + 0.01 * rng.random((3, 9))
    use = np.ones_like(loss)
    together = from_optima.floor_law(log_C, loss, use), from_optima.power_law(log_C, loss, use)
    for row in range(3):
        one = slice(row, row + 1)
        alone = (
            from_optima.floor_law(log_C[one], loss[one], use[one]),
            from_optima.power_law(log_C[one], loss[one], use[one]),
        )
        for found, expected in zip(together, alone, strict=True):
            for values, value in zip(found, expected, strict=True):
                assert values[row] == pytest.approx(value[0], rel=1e-9)
