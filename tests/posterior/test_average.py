"""Averages of fits: weights, how draws are mixed, and what is refused."""

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.posterior.average import by_weight
from scalebayes.posterior.derived.pointwise import loo_tree
from scalebayes.posterior.provenance import provenance
from tests.fixtures import fit_of

TABLE = pd.DataFrame(
    {"N": np.geomspace(1e8, 1e10, 12), "D": np.geomspace(2e9, 2e11, 12)[::-1].copy()}
)
RUNS = sb.read_runs(TABLE.assign(loss=np.linspace(3.2, 2.4, 12)), name="twelve")
VALUES = {
    "N_c": 5e7,
    "alpha_N": 0.35,
    "D_c": 1.2e9,
    "alpha_D": 0.37,
    "nu": 5.0,
    "kappa": 0.8,
    "eta": 0.02,
}


@pytest.fixture
def constant():
    """A fit whose draws are all alike, but for the index of the draw in sigma."""

    def make(model="chinchilla", L_inf=1.8, draws=100, runs=RUNS, **options):
        names = sb.read_model(model).priors
        values = {name: np.full((2, draws), VALUES.get(name, L_inf)) for name in names}
        values["sigma"] = 0.01 + np.arange(2 * draws).reshape(2, draws) * 1e-9
        return fit_of(model, runs, **values, **options)

    return make


def test_equal_weights_use_every_draw_once(constant):
    both = sb.average({"a": constant(L_inf=1.0), "b": constant(L_inf=2.0)})
    out = sb.predict(both, N=1e9, D=2e10)
    assert dict(out.sizes) == {"chain": 1, "draw": 400, "target": 1}
    assert out["model"].values.tolist() == ["a"] * 200 + ["b"] * 200
    alone = [sb.predict(fit, N=1e9, D=2e10)["loss"].values.ravel() for fit in both.fits.values()]
    np.testing.assert_array_equal(out["loss"].values.ravel(), np.concatenate(alone))
    assert float(out["decades_beyond"][0]) == float(
        sb.predict(both.fits["a"], N=1e9, D=2e10)["decades_beyond"][0]
    )


@pytest.mark.parametrize(
    ("weights", "share"), [({"a": 3, "b": 1}, 0.75), ({"a": 1}, 1.0), ({"a": 1, "b": 1e-9}, 1.0)]
)
def test_weights_are_shares_of_the_draws(constant, weights, share):
    both = sb.average({"a": constant(L_inf=1.0), "b": constant(L_inf=2.0)}, weights)
    assert sum(both.weights.values()) == pytest.approx(1.0)
    model = sb.frontier(both, C=1e21)["model"].values
    assert np.mean(model == "a") == pytest.approx(share, abs=2e-3)  # whole draws


def test_draws_are_as_many_as_the_weights_allow():
    rows = by_weight([100, 1000], [0.5, 0.5])
    assert [len(r) for r in rows] == [100, 100]
    assert rows[1][[0, -1]].tolist() == [0, 999]
    assert [len(r) for r in by_weight([100, 1000], [0.1, 0.9])] == [100, 900]
    assert [len(r) for r in by_weight([100, 50], [1.0, 0.0])] == [100, 0]


def test_the_law_of_a_fit_without_discrepancy_is_its_curve(constant):
    both = sb.average([constant("chinchilla"), constant("chinchilla-discrepancy")])
    out = sb.predict(both, N="70B", D="1.4T")
    alone = out.isel(draw=out["model"].values == "chinchilla")
    np.testing.assert_array_equal(alone["law"], alone["loss"])
    other = out.isel(draw=out["model"].values == "chinchilla-discrepancy")
    assert (other["law"] != other["loss"]).all()
    only_laws = sb.average({"a": constant(), "b": constant(L_inf=1.9)})
    assert "law" not in sb.predict(only_laws, N=1e9, D=2e10)


def test_an_average_tells_what_its_fits_failed(constant):
    both = sb.average({"a": constant(), "b": constant(gate_failures=["R_HAT"])})
    assert both.gate_failures == ("R_HAT",)
    assert provenance(sb.predict(both, N=1e9, D=2e10)).failures == ("R_HAT",)
    assert repr(both) == "<Average of 2 fits to twelve: a 0.50, b 0.50>"


def test_stacking_weights_are_arviz(constant):
    import arviz_stats as azs

    rng = np.random.default_rng(0)
    good, bad = constant(L_inf=1.80), constant(L_inf=1.95)
    for fit in (good, bad):  # draws that are not all alike, as LOO wants them
        density = fit.log_likelihood["log_loss"]
        density += 0.05 * rng.standard_normal(density.shape)
    weights = sb.average({"good": good, "bad": bad}, "stacking").weights
    theirs = azs.compare(
        {"good": loo_tree(good), "bad": loo_tree(bad)}, method="stacking", round_to="none"
    )["weight"]
    assert weights == pytest.approx(theirs.to_dict(), abs=1e-6)


def test_bad_averages_are_refused_in_words(constant):
    one = constant()
    other = constant(runs=sb.Runs(RUNS.table.iloc[:11], "eleven"))
    with pytest.raises(
        sb.QueryError, match=r"'b' and 'a' were fitted to different runs.*11 runs.*12 runs"
    ):
        sb.average({"a": one, "b": other})
    with pytest.raises(sb.QueryError, match="two fits are called chinchilla: give them labels"):
        sb.average([one, constant(L_inf=2.0)])
    with pytest.raises(sb.QueryError, match="there is no fit"):
        sb.average([])
    with pytest.raises(sb.QueryError, match="weights for c, but the fits are a"):
        sb.average({"a": one}, {"c": 1.0})
    with pytest.raises(sb.QueryError, match="must not be negative, nor all zero; got -1"):
        sb.average({"a": one}, {"a": -1.0})
    with pytest.raises(sb.QueryError, match="'stacking', 'forward' or numbers by label; got 'best"):
        sb.average({"a": one}, "best")


def test_answers_in_different_quantities_do_not_mix(constant):
    values = {"C_c": 1e27, "alpha_C": 0.06, "sigma": 0.01, "nu": 5.0}
    line = fit_of(
        "kaplan-compute", RUNS, **{name: np.full((2, 100), value) for name, value in values.items()}
    )
    both = sb.average({"plane": constant(), "line": line})
    assert sb.predict(both, N=1e9, D=2e10).sizes["draw"] == 400
    with pytest.raises(sb.QueryError, match="answer in different quantities, which do not mix"):
        sb.reach(both, loss=2.5)
