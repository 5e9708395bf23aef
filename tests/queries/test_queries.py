"""Queries of small fits made by hand: predict, frontier, tables, save and load, diagnose, trim."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import scalebayes as sb
from scalebayes.fitting.fit import _tree
from scalebayes.fitting.samplers import named, trim
from scalebayes.posterior.fit import METADATA, law_parameters
from scalebayes.posterior.provenance import provenance
from scalebayes.summaries.intervals import interval_columns
from tests.fixtures import BESIROGLU, draws_around, grid_runs

CHAINS, DRAWS = 4, 500
RUNS = grid_runs()
LARGEST = 6e21


def sampled(chains=CHAINS, draws=DRAWS, seed=0):
    """Sampler statistics of a calm run, under nutpie's names."""
    rng = np.random.default_rng(seed)
    shape = (chains, draws)
    values = {
        "diverging": np.zeros(shape, bool),
        "maxdepth_reached": np.zeros(shape, bool),
        "depth": np.full(shape, 3),
        "n_steps": np.full(shape, 7),
        "step_size": np.full(shape, 0.5),
        "mean_tree_accept": rng.uniform(0.8, 1, shape),
        "energy": rng.standard_normal(shape),
        "logp": rng.standard_normal(shape),
    }
    return dataset(values)


def dataset(values):
    chains, draws = next(iter(values.values())).shape
    coords = {"chain": np.arange(chains), "draw": np.arange(draws)}
    return xr.Dataset({name: (("chain", "draw"), value) for name, value in values.items()}, coords)


def make_fit(
    model="chinchilla", runs=RUNS, width=0.02, partial=False, posterior=(), statistics=(), **update
):
    """A fit whose draws lie independently around `VALUES`; some parameters can be given."""
    spec = sb.read_model(model)
    spec = type(spec).model_validate(spec.model_dump() | update)
    values = draws_around(spec, (CHAINS, DRAWS), width=width)
    raw = xr.DataTree.from_dict(
        {
            "posterior": dataset(values | dict(posterior)),
            "sample_stats": sampled().assign(dataset_of(statistics)),
        }
    )
    tree = _tree(named(raw, spec, runs), spec, runs, seed=0)
    metadata = {
        "seed": 0,
        "sampler": {},
        "attempts": 1,
        "partial": partial,
        "gate_failures": [],
        "versions": {},
    }
    metadata["hashes"] = {"spec": spec.hash, "runs": runs.hash}
    tree.attrs[METADATA] = json.dumps(metadata)
    return sb.Fit(spec, runs, tree)


def dataset_of(values):
    return dataset(dict(values)) if values else {}


@pytest.fixture(scope="module")
def fit():
    return make_fit()


def of_draw(fit, chain, draw):
    return {name: value[chain, draw] for name, value in law_parameters(fit).items()}


# predict


def test_prediction_is_the_law_at_every_draw(fit):
    out = sb.predict(fit, N=["70B", 1e9], D=["1.4T", 2e10])
    assert dict(out.sizes) == {"chain": CHAINS, "draw": DRAWS, "target": 2}
    assert list(out) == ["loss", "new_run"]
    assert set(out.coords) == {"chain", "draw", "N", "D", "C", "decades_beyond"}
    assert out["N"].values.tolist() == [70e9, 1e9]
    assert out["C"].values.tolist() == [6 * 70e9 * 1.4e12, 6 * 1e9 * 2e10]
    np.testing.assert_allclose(
        out["decades_beyond"], [np.log10(5.88e23 / LARGEST), 0.0], rtol=1e-12
    )
    for chain, draw in ((0, 0), (3, 499)):
        expected = fit.spec.law_object(
            np.array([70e9, 1e9]), np.array([1.4e12, 2e10]), **of_draw(fit, chain, draw)
        )
        np.testing.assert_allclose(out["loss"].sel(chain=chain, draw=draw), expected, rtol=1e-12)
    assert out["loss"].attrs["units"] == "nats per token"


@pytest.mark.parametrize(
    "given", [{"N": "1B", "D": 2e10}, {"N": 1e9, "C": "1.2e20"}, {"D": "20B", "C": 1.2e20}]
)
def test_any_two_of_n_d_and_c_will_do(fit, given):
    whole = sb.predict(fit, N=1e9, D=2e10, C=1.2e20)
    np.testing.assert_allclose(sb.predict(fit, **given)["loss"], whole["loss"], rtol=1e-12)


def test_one_value_goes_with_many(fit):
    out = sb.predict(fit, N=7e10, D=[1e11, 1e12, np.inf])
    assert out["N"].values.tolist() == [7e10] * 3
    assert (out["loss"].diff("target") < 0).all()
    assert sb.predict(fit, N=pd.Series([1e9, 1e10]), D=np.array([1e10, 1e11])).sizes["target"] == 2


@pytest.mark.parametrize("infinite", [np.inf, "inf", float("inf"), "Inf"])
def test_infinity_is_the_limit(fit, infinite):
    out = sb.predict(fit, N=[infinite, 1e9], D=infinite)
    parameters = law_parameters(fit)
    np.testing.assert_allclose(out["loss"].isel(target=0), parameters["L_inf"], rtol=1e-9)
    term = (parameters["N_c"] / 1e9) ** parameters["alpha_N"]
    np.testing.assert_allclose(out["loss"].isel(target=1), parameters["L_inf"] + term, rtol=1e-9)
    assert np.isinf(out["decades_beyond"]).all()


@pytest.mark.parametrize("noise", ["student_t", "normal"])
def test_a_new_run_scatters_as_the_noise_says(noise):
    priors = sb.read_model("chinchilla").model_dump()["priors"]
    laws_own = {name: prior for name, prior in priors.items() if name not in ("sigma", "nu")}
    # Each draw has a scatter of its own, and it is that which its new runs must have.
    sigma = np.geomspace(0.001, 0.3, CHAINS * DRAWS).reshape(CHAINS, DRAWS)
    fit = make_fit(noise=noise, priors=laws_own, posterior={"sigma": sigma})
    out = sb.predict(fit, N=[1e9, 7e10, 1e12], D=1e12)
    posterior = fit.stored["posterior"]
    z = np.log(out["new_run"] / out["loss"]) / posterior["sigma"]
    nu = posterior["nu"].values[..., None] if noise == "student_t" else np.inf
    levels = stats.t.cdf(z.values, nu)
    assert stats.kstest(levels.ravel(), "uniform").pvalue > 1e-3
    assert float(np.median(z)) == pytest.approx(0.0, abs=0.05)
    assert (
        abs(np.corrcoef(z.isel(target=0).values.ravel(), z.isel(target=1).values.ravel())[0, 1])
        < 0.1
    )


def test_new_runs_repeat_by_seed(fit):
    first, again, other = (sb.predict(fit, N=1e9, D=2e10, seed=s)["new_run"] for s in (0, 0, 1))
    xr.testing.assert_identical(first, again)
    assert (first != other).all()


def test_a_law_of_one_input_predicts_from_it():
    size, compute = make_fit("size-floor"), make_fit("compute-floor")
    alone = sb.predict(size, N=1e11)
    assert set(alone.coords) == {"chain", "draw", "N", "decades_beyond"}
    # Only of parameters: the compute is not known.
    assert float(alone["decades_beyond"][0]) == pytest.approx(1.0)
    assert float(sb.predict(size, N=1e11, D=1e12)["decades_beyond"][0]) == pytest.approx(
        np.log10(6e23 / LARGEST)
    )
    np.testing.assert_allclose(
        sb.predict(compute, N=1e9, D=2e10)["loss"], sb.predict(compute, C=1.2e20)["loss"]
    )


@pytest.mark.parametrize(
    ("model", "given", "told"),
    [
        ("chinchilla", {}, "'chinchilla' predicts from any two of N, D and C; got nothing"),
        ("chinchilla", {"N": 1e9}, "'chinchilla' predicts from any two of N, D and C; got N"),
        (
            "kaplan-size",
            {"D": 1e9},
            "'kaplan-size' predicts from N, or from two of N, D and C; got D",
        ),
        ("chinchilla", {"N": -1, "D": 1e9}, "N must be positive; got -1"),
        ("chinchilla", {"N": [1e9, 0], "D": 1e9}, "N must be positive; got 1000000000.0, 0"),
        (
            "chinchilla",
            {"N": [1e9, 2e9], "D": [1, 2, 3]},
            "N, D and C must have one length; got N: 2, D: 3",
        ),
        (
            "chinchilla",
            {"N": 1e9, "D": 1e9, "C": 1e9},
            "N, D and C disagree: C must be 6 N D; give two of the three",
        ),
        (
            "chinchilla",
            {"N": "70 billion", "D": 1e9},
            "N: '70 billion' is not a quantity: write a finite number as 7e10, "
            "or with K, M, B or T as 70B or 1.4T",
        ),
        (
            "chinchilla",
            {"N": np.inf, "C": 1e20},
            "infinite N, D or C leave the third unknown; for a limit give N and D",
        ),
    ],
)
def test_questions_without_an_answer_are_told_why(model, given, told):
    with pytest.raises(sb.QueryError) as caught:
        sb.predict(make_fit(model), **given)
    assert str(caught.value) == told


# frontier


def test_the_frontier_is_the_closed_form(fit):
    out = sb.frontier(fit, C=["1e21", 5.76e23])
    assert dict(out.sizes) == {"chain": CHAINS, "draw": DRAWS, "budget": 2}
    assert list(out) == ["N", "D", "loss", "tokens_per_param"]
    assert set(out.coords) == {"chain", "draw", "C", "decades_beyond"}
    assert out.attrs.items() >= {"cost": "6 N D", "optimised": "law"}.items()
    assert provenance(out).failures == ()
    np.testing.assert_allclose(
        6 * out["N"] * out["D"], out["C"].broadcast_like(out["N"]), rtol=1e-12
    )
    np.testing.assert_allclose(out["tokens_per_param"], out["D"] / out["N"])
    np.testing.assert_allclose(
        out["decades_beyond"], [0.0, np.log10(5.76e23 / LARGEST)], atol=1e-12
    )
    at = sb.predict(fit, N=float(out["N"][0, 0, 1]), D=float(out["D"][0, 0, 1]))
    assert float(out["loss"][0, 0, 1]) == pytest.approx(float(at["loss"][0, 0, 0]), rel=1e-12)
    slope = np.log(out["N"].isel(budget=1) / out["N"].isel(budget=0)) / np.log(576)
    parameters = fit.stored["posterior"]
    np.testing.assert_allclose(
        slope, parameters["alpha_D"] / (parameters["alpha_N"] + parameters["alpha_D"])
    )


def plain(N, D):
    return 6 * N * D


@pytest.mark.parametrize("model", ["chinchilla", "coupled", "kaplan", "kaplan-floor", "bottleneck"])
def test_the_numeric_frontier_is_the_closed_one(model):
    fit = make_fit(model)
    closed = sb.frontier(fit, C=[1e20, 1e24])
    for cost in (sb.Cost("with tokens", plain, lambda N, C: C / (6 * N)), plain):
        numeric = sb.frontier(fit, C=[1e20, 1e24], cost=cost)
        np.testing.assert_allclose(numeric["N"], closed["N"], rtol=1e-6)
        np.testing.assert_allclose(numeric["D"], closed["D"], rtol=1e-6)
        # A smooth minimum is flat, a kink is not.
        np.testing.assert_allclose(
            numeric["loss"], closed["loss"], rtol=1e-6 if model == "bottleneck" else 1e-12
        )
    assert numeric.attrs.items() >= {"cost": "plain", "optimised": "law"}.items()


def test_a_cost_with_inference_buys_smaller_models_for_longer(fit):
    served = 2e12
    cost = sb.Cost("training and 2T tokens served", lambda N, D: 6 * N * D + 2 * N * served)
    known = replace(cost, tokens=lambda N, C: (C - 2 * N * served) / (6 * N))
    budget = 1e24
    out, exact = sb.frontier(fit, C=budget, cost=cost), sb.frontier(fit, C=budget, cost=known)
    xr.testing.assert_allclose(out, exact, rtol=1e-5)
    assert out.attrs["cost"] == "training and 2T tokens served"
    np.testing.assert_allclose(cost.flop(out["N"], out["D"]), budget, rtol=1e-9)
    assert (out["tokens_per_param"] > sb.frontier(fit, C=budget)["tokens_per_param"]).all()
    for factor in (0.98, 1.02):  # within the same budget no other size does better
        N = out["N"].values * factor
        D = known.tokens(N, budget)
        parameters = {k: v[..., None] for k, v in law_parameters(fit).items()}
        assert (fit.spec.law_object(N, D, **parameters) > out["loss"].values).all()
    training = float(np.median(6 * out["N"] * out["D"]))
    assert float(out["decades_beyond"][0]) == pytest.approx(np.log10(training / LARGEST))


@pytest.mark.parametrize(
    ("model", "given", "told"),
    [
        (
            "product",
            {"C": 1e21},
            "law 'product' has no compute-optimal point at C = 1e21 in 100% of the draws: "
            "its loss falls all the way to one end of what the budget pays for",
        ),
        (
            "kaplan-size",
            {"C": 1e21},
            "'kaplan-size' is a law of N alone: it has no optimal N and D",
        ),
        (
            "chinchilla",
            {"C": "much"},
            "C: 'much' is not a quantity: write a finite number as 7e10, "
            "or with K, M, B or T as 70B or 1.4T",
        ),
        ("chinchilla", {"C": -1e21}, "C must be positive; got -1e+21"),
        ("chinchilla", {"C": np.inf}, "C must be finite: without a budget nothing is optimal"),
    ],
)
def test_frontiers_that_are_none_are_told_why(model, given, told):
    with pytest.raises(sb.QueryError) as caught:
        sb.frontier(make_fit(model), **given)
    assert str(caught.value) == told


# tables


def test_intervals_of_a_prediction(fit):
    out = sb.predict(fit, N=[1e9, 7e10], D=1.4e12)
    table = sb.intervals(out)
    ends = ["eti90_lb", "eti90_ub"]
    errors = ["mcse_median", "mcse_eti90_lb", "mcse_eti90_ub"]
    assert list(table) == ["median", *ends, "decades_beyond", *errors]
    assert table.index.names == ["N", "D", "C", "quantity"]
    assert [key[-1] for key in table.index] == ["loss", "new_run"] * 2
    assert [key[0] for key in table.index] == [1e9, 1e9, 7e10, 7e10]
    assert table.attrs == {"ci_prob": 0.9, "ci_kind": "eti", "caveats": sb.caveats(out)}
    row = table.xs((7e10, "new_run"), level=("N", "quantity")).iloc[0]
    expected = np.quantile(out["new_run"].isel(target=1), [0.5, 0.05, 0.95])
    np.testing.assert_allclose(row[["median", "eti90_lb", "eti90_ub"]].astype(float), expected)
    assert row["decades_beyond"] == pytest.approx(float(out["decades_beyond"][1]))


def test_intervals_of_a_frontier_and_of_plain_draws(fit):
    table = sb.intervals(sb.frontier(fit, C=[1e21, 1e24]), ci_prob=0.5)
    assert table.index.names == ["C", "quantity"]
    ends = ["eti50_lb", "eti50_ub"]
    errors = ["mcse_median", "mcse_eti50_lb", "mcse_eti50_ub"]
    assert list(table) == ["median", *ends, "decades_beyond", *errors]
    assert (table["eti50_lb"] < table["median"]).all()
    assert (table["median"] < table["eti50_ub"]).all()
    draws = sb.intervals(fit.stored["posterior"].to_dataset())
    assert draws.index.names == ["quantity"]
    assert list(draws.index) == list(fit.stored["posterior"].data_vars)
    assert list(draws)[:3] == ["median", "eti90_lb", "eti90_ub"]


@pytest.mark.parametrize(
    ("ci_prob", "name"), [(0.9, "eti90_lb"), (0.57, "eti57_lb"), (0.975, "eti97.5_lb")]
)
def test_intervals_are_named_by_their_probability(fit, ci_prob, name):
    assert interval_columns(ci_prob)[0] == name
    assert name in sb.intervals(sb.predict(fit, N=1e9, D=1e10), ci_prob)
    assert name in sb.summary(fit, ci_prob)


@pytest.mark.parametrize("ci_prob", [0, 1, 90, -0.5, np.nan])
def test_probabilities_are_probabilities(fit, ci_prob):
    told = f"ci_prob must lie between 0 and 1; got {ci_prob}"
    with pytest.raises(sb.QueryError, match=told):
        sb.intervals(sb.predict(fit, N=1e9, D=1e10), ci_prob)
    with pytest.raises(sb.QueryError, match=told):
        sb.summary(fit, ci_prob)


def test_the_summary_puts_published_values_beside_ours(fit):
    table = sb.summary(fit)
    own = ["L_inf", "N_c", "alpha_N", "D_c", "alpha_D"]
    assert list(table.index) == [*own, "A", "B", "a_opt", "b_opt", "sigma", "nu"]
    arviz = [
        "mean",
        "sd",
        "eti90_lb",
        "eti90_ub",
        "ess_bulk",
        "ess_tail",
        "r_hat",
        "mcse_mean",
        "mcse_sd",
    ]
    labels = [entry.label for entry in fit.spec.published]
    errors = ["mcse_median", "mcse_eti90_lb", "mcse_eti90_ub"]
    assert list(table) == ["median", *arviz, *errors, *labels]
    assert table.attrs == {"ci_prob": 0.9, "ci_kind": "eti"}
    theirs = table["Besiroglu et al. 2024"]
    assert theirs["L_inf"] == BESIROGLU["E"]
    assert theirs["A"] == pytest.approx(BESIROGLU["A"])
    assert theirs["a_opt"] == pytest.approx(0.3658 / (0.3478 + 0.3658))
    assert theirs[["sigma", "nu"]].isna().all()
    alpha = fit.stored["posterior"]["alpha_N"].values
    assert table.loc["alpha_N", "median"] == pytest.approx(np.median(alpha))
    assert table.loc["alpha_N", "mean"] == pytest.approx(alpha.mean())
    np.testing.assert_allclose(
        table.loc["alpha_N", ["eti90_lb", "eti90_ub"]].astype(float),
        np.quantile(alpha, [0.05, 0.95]),
        rtol=1e-4,
    )


def test_the_summary_of_a_law_nobody_published():
    table = sb.summary(make_fit("product"))
    assert list(table.index) == ["L_0", "alpha_N", "alpha_D", "sigma", "nu"]
    assert list(table)[-1] == "mcse_eti90_ub"


# the tree


def test_the_tree_has_what_arviz_needs(fit):
    assert set(fit.stored.children) == {
        "posterior",
        "sample_stats",
        "prior",
        "observed_data",
        "constant_data",
    }
    density = fit.log_likelihood["log_loss"]
    assert density.dims == ("chain", "draw", "run")
    posterior = fit.stored["posterior"].sel(chain=1, draw=7)
    curve = fit.spec.law_object(RUNS.N[3], RUNS.D[3], **of_draw(fit, 1, 7))
    expected = stats.t(float(posterior["nu"]), scale=float(posterior["sigma"])).logpdf(
        np.log(RUNS.loss[3] / curve)
    )
    assert float(density[1, 7, 3]) == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(fit.stored["observed_data"]["log_loss"], np.log(RUNS.loss))
    assert {"diverging", "energy", "reached_max_treedepth"} <= set(
        fit.stored["sample_stats"].data_vars
    )


def test_a_fit_says_what_it_is(fit):
    assert repr(fit) == "<Fit of chinchilla to grid: 24 runs, 4 x 500 draws>"
    assert repr(make_fit(partial=True)).endswith("draws, partial: interrupted>")


# save and load


@pytest.fixture(scope="module")
def stored(tmp_path_factory, fit):
    return sb.save(fit, tmp_path_factory.mktemp("fits") / "fit.nc")


def test_a_stored_fit_is_the_same(fit, stored):
    loaded = sb.load(str(stored))
    xr.testing.assert_identical(loaded.stored, fit.stored)
    assert loaded.stored.attrs == fit.stored.attrs
    assert loaded.spec == fit.spec
    assert loaded.spec.hash == fit.spec.hash
    assert loaded.runs.hash == fit.runs.hash
    assert (loaded.runs.name, loaded.runs.source, loaded.runs.notes) == (
        RUNS.name,
        RUNS.source,
        RUNS.notes,
    )
    pd.testing.assert_frame_equal(loaded.runs.table, fit.runs.table)
    assert loaded.metadata == fit.metadata
    xr.testing.assert_identical(sb.predict(loaded, N=1e9, D=1e10), sb.predict(fit, N=1e9, D=1e10))
    assert [path.name for path in stored.parent.iterdir()] == ["fit.nc"]


def test_ids_and_groups_are_stored(tmp_path):
    names = [f"run {i}" for i in range(12)]
    runs = grid_runs(np.geomspace(1e8, 1e10, 4), [1e9, 1e10, 1e11], group=["a", "é"] * 6, run=names)
    fit = make_fit("coupled", runs)
    loaded = sb.load(sb.save(fit, tmp_path / "fit.nc"))
    assert loaded.runs.hash == runs.hash
    assert list(loaded.runs.table["group"]) == ["a", "é"] * 6
    assert list(loaded.runs.table.index) == names
    assert loaded.log_likelihood["run"].values.tolist() == names


def test_a_loaded_fit_can_be_stored_again(fit, stored, tmp_path):
    again = sb.load(sb.save(sb.load(stored), tmp_path / "again.nc"))
    xr.testing.assert_identical(again.stored, fit.stored)


def test_saving_replaces_a_file_and_leaves_the_fit_alone(fit, tmp_path):
    path = tmp_path / "fit.nc"
    path.write_text("old")
    before = dict(fit.stored.attrs)
    assert sb.save(fit, path) == path
    assert sb.load(path).spec == fit.spec
    assert fit.stored.attrs == before


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("NetCDF: HDF error")]
)
def test_a_failed_write_leaves_nothing(fit, tmp_path, monkeypatch, error):
    path = tmp_path / "fit.nc"
    path.write_text("old")

    def fail(self, where, **options):
        with open(where, "w") as file:
            file.write("half")
        raise error

    monkeypatch.setattr(xr.DataTree, "to_netcdf", fail)
    with pytest.raises(
        sb.FitError, match=r"cannot write .*fit\.nc: (No space left|NetCDF: HDF error)"
    ):
        sb.save(fit, path)
    assert [file.name for file in tmp_path.iterdir()] == ["fit.nc"]
    assert path.read_text() == "old"


def test_a_folder_that_is_not_there_is_told(fit, tmp_path):
    with pytest.raises(sb.FitError, match=r"cannot write .*nowhere/fit\.nc: no such folder"):
        sb.save(fit, tmp_path / "nowhere" / "fit.nc")


def test_files_that_are_no_fits_are_told(fit, stored, tmp_path):
    with pytest.raises(sb.FitError, match=r"no saved fit at .*missing\.nc"):
        sb.load(tmp_path / "missing.nc")
    (tmp_path / "text.nc").write_text("not netCDF")
    with pytest.raises(sb.FitError, match=r"text\.nc is not a netCDF file"):
        sb.load(tmp_path / "text.nc")
    fit.stored["posterior"].to_dataset().to_netcdf(tmp_path / "other.nc")
    fit.stored.to_netcdf(tmp_path / "bare.nc")  # our tree, but not our file: the spec is not in it
    for name in ("other", "bare"):
        with pytest.raises(
            sb.FitError, match=rf"{name}\.nc is a netCDF file, but not a fit that scalebayes saved"
        ):
            sb.load(tmp_path / f"{name}.nc")


def altered(stored, path, **attributes):
    path.write_bytes(stored.read_bytes())
    with netCDF4.Dataset(path, "a") as file:
        file.setncatts(attributes)
    return path


def test_files_of_a_newer_version_are_told(stored, tmp_path):
    newer = altered(stored, tmp_path / "newer.nc", scalebayes_format=3)
    with pytest.raises(
        sb.FitError,
        match=(
            r"newer\.nc was saved in format 3, "
            r"but this version of scalebayes reads format 2 and earlier ones: a newer"
        ),
    ):
        sb.load(newer)
    spec = sb.read_model("chinchilla").model_dump_json().replace('"additive"', '"of-tomorrow"')
    unknown = altered(stored, tmp_path / "unknown.nc", scalebayes_spec=spec)
    with pytest.raises(
        sb.FitError,
        match=r"holds a spec that this version of scalebayes cannot read: .*no law 'of-tomorrow'",
    ):
        sb.load(unknown)


def test_a_prediction_from_a_file_is_light(stored):
    code = f"""
import sys
import scalebayes as sb
fit = sb.load({str(stored)!r})
sb.intervals(sb.predict(fit, N="70B", D="1.4T"))
sb.intervals(sb.frontier(fit, C="1e24"))
names = {{"pymc", "pytensor", "nutpie", "numba", "matplotlib", "arviz_plots", "arviz"}}
heavy = names & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# diagnose


def codes(fit):
    return [message.code for message in sb.diagnose(fit).messages]


def draws_of(fit, name):
    return fit.stored["posterior"][name].values.copy()


def test_a_calm_fit_passes(fit):
    diagnosis = sb.diagnose(fit)
    assert diagnosis.ok
    assert diagnosis.messages == ()
    assert list(diagnosis.table) == ["r_hat", "ess_bulk", "ess_tail"]
    assert list(diagnosis.table.index) == list(fit.spec.priors)
    assert str(diagnosis).startswith("Convergence checks passed: R-hat at most 1.0")


def test_two_modes_fail(fit):
    values = draws_of(fit, "alpha_N")
    values[2:] *= 1.5
    diagnosis = sb.diagnose(make_fit(posterior={"alpha_N": values}))
    assert not diagnosis.ok
    assert {"R_HAT", "ESS_BULK"} <= {m.code for m in diagnosis.messages}
    text = str(diagnosis)
    assert text.startswith("Convergence checks FAILED: R-hat at most 1.7")
    assert "failed [R_HAT] chains disagree: R-hat is 1.7" in text
    assert "in alpha_N; at most 1.01 passes" in text
    # In normalised units the scale has two modes with its exponent.
    assert re.search(r"failed \[ESS_BULK\] (alpha_N|N_c) has ", text)
    assert "effective draws in the bulk; at least 400 pass" in text


def test_a_stuck_chain_fails(fit):
    values = draws_of(fit, "L_inf")
    values[1] = 0.1  # whose mean over 500 draws is not exactly 0.1
    assert {"STUCK", "R_HAT"} <= set(codes(make_fit(posterior={"L_inf": values})))
    everything = np.full((CHAINS, DRAWS), 0.05)
    found = sb.diagnose(make_fit(posterior={"L_inf": everything}))
    # A floor of 0.05 nats in all draws contradicts its prior too.
    assert {"STUCK", "UNKNOWN", "PRIOR_CONFLICT"} == {m.code for m in found.messages}
    assert "a chain never moves in L_inf" in str(found)


def test_draws_that_are_no_numbers_fail(fit):
    values = draws_of(fit, "D_c")
    values[3, 40] = np.nan
    found = sb.diagnose(make_fit(posterior={"D_c": values}))
    assert not found.ok
    assert {"NAN", "UNKNOWN"} == {m.code for m in found.messages}
    assert "failed [NAN] draws of D_c are not finite" in str(found)
    assert "R-hat or ESS of D_c cannot be computed" in str(found)
    values[3, 40] = np.inf
    assert "NAN" in codes(make_fit(posterior={"D_c": values}))


@pytest.mark.parametrize(
    ("statistic", "code", "text"),
    [
        (
            "diverging",
            "DIVERGENCES",
            "3 divergent transitions: the sampler may have missed part of the posterior",
        ),
        (
            "maxdepth_reached",
            "TREE_DEPTH",
            "3 trajectories (0.1%) were cut short at the largest tree depth",
        ),
    ],
)
def test_flags_of_the_sampler_fail(statistic, code, text):
    flags = np.zeros((CHAINS, DRAWS), bool)
    flags[0, [3, 5, 8]] = True
    (message,) = sb.diagnose(make_fit(statistics={statistic: flags})).messages
    assert (message.code, message.level, message.text) == (code, "failed", text)


def test_one_divergence_is_one():
    flags = np.zeros((CHAINS, DRAWS), bool)
    flags[2, 100] = True
    (message,) = sb.diagnose(make_fit(statistics={"diverging": flags})).messages
    assert message.text.startswith("1 divergent transition: ")


def test_an_energy_that_creeps_fails():
    energy = sampled()["energy"].values
    energy[2] = np.cumsum(energy[2])
    (message,) = sb.diagnose(make_fit(statistics={"energy": energy})).messages
    assert message.code == "E_BFMI"
    assert message.text.startswith("the energy is explored too slowly: E-BFMI is 0.0")


def test_a_partial_fit_fails():
    assert codes(make_fit(partial=True)) == ["PARTIAL"]


def test_one_chain_cannot_pass(fit):
    one = replace(fit, stored=fit.stored.isel(chain=[0]))
    found = sb.diagnose(one)
    assert not found.ok
    told = " ".join(message.text for message in found.messages)
    assert "that takes two chains of four finite draws" in told


def test_failures_come_before_warnings():
    runs = grid_runs([1e9], np.geomspace(1e9, 1e12, 16))
    levels = [m.level for m in sb.diagnose(make_fit(runs=runs, partial=True)).messages]
    assert levels == ["failed", "warning"]


SIZES = np.geomspace(1e8, 1e10, 16)


@pytest.mark.parametrize(
    ("model", "runs", "expected"),
    [
        ("chinchilla", RUNS, []),
        ("chinchilla", grid_runs([1e9], np.geomspace(1e9, 1e12, 16)), ["ONE_N"]),
        ("chinchilla", grid_runs(SIZES, [2e10]), ["ONE_D"]),
        ("kaplan-size", grid_runs(SIZES, [2e10]), []),
        ("kaplan-size", grid_runs([1e9], np.geomspace(1e9, 1e12, 16)), ["ONE_N"]),
        ("chinchilla", grid_runs(SIZES[:8], np.geomspace(1e10, 3e10, 3)), []),
        (
            "chinchilla",
            grid_runs(np.geomspace(1e9, 2e9, 4), np.geomspace(1e10, 2e10, 4)),
            ["NARROW_COMPUTE"],
        ),
        ("chinchilla", grid_runs(SIZES[:7], np.geomspace(1e10, 3e11, 2)), ["FEW_RUNS"]),
    ],
)
def test_designs_are_judged(model, runs, expected):
    found = sb.diagnose(make_fit(model, runs))
    # The draws are made by hand, so they may contradict the prior or the runs.
    judged = [m.code for m in found.messages if m.code != "PRIOR_CONFLICT"]
    assert judged == expected
    assert found.ok
    assert all(m.level == "warning" for m in found.messages)


def along(N, D):
    loss = 4.5 - 0.1 * np.arange(len(N))
    return sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), name="line")


def test_data_in_proportion_to_parameters_are_told():
    (message,) = sb.diagnose(make_fit(runs=along(SIZES, 20 * SIZES))).messages
    assert str(message) == (
        "warning [D_FOLLOWS_N] D follows N (correlation of their logs above 0.99): "
        "the two terms cannot be told apart"
    )


def test_one_budget_is_narrow_but_does_not_follow():
    assert codes(make_fit(runs=along(SIZES, 1e20 / SIZES))) == ["NARROW_COMPUTE"]


def test_the_words_of_a_narrow_design():
    texts = [
        m.text
        for m in sb.diagnose(make_fit(runs=grid_runs([1e9], np.geomspace(1e10, 4e10, 16)))).messages
    ]
    assert texts == [
        "all runs have N = 1B: the exponent alpha_N comes from the prior alone",
        "the runs span 0.6 orders of magnitude of compute, less than one",
    ]


def test_a_posterior_as_wide_as_the_prior_is_told(fit):
    spec = fit.spec
    ratio = spec.priors["alpha_D"].draw(np.random.default_rng(5), CHAINS * DRAWS)
    wide = draws_of(fit, "alpha_N") * ratio.reshape(CHAINS, DRAWS)
    centre = np.exp(np.log(fit.runs.D).mean())
    scale = centre * 0.4 ** (1 / wide)  # the term at the centre stays known, whatever its exponent
    found = sb.diagnose(make_fit(posterior={"alpha_D": wide, "D_c": scale}))
    (message,) = found.messages
    assert message.code == "PRIOR_DECIDES"
    assert message.text.startswith("alpha_D is ")
    assert message.text.endswith("as wide as its prior (log scale): the runs say little about it")
    assert found.ok


def test_a_scale_is_judged_by_its_term(fit):
    size = (
        fit.spec.priors["N_c"].draw(np.random.default_rng(6), CHAINS * DRAWS).reshape(CHAINS, DRAWS)
    )
    centre, typical = (np.exp(np.log(x).mean()) for x in (fit.runs.N, fit.runs.loss))
    scale = centre * (size * typical) ** (1 / draws_of(fit, "alpha_N"))
    (message,) = sb.diagnose(make_fit(posterior={"N_c": scale})).messages
    assert message.text.startswith("N_c is ")


# an interrupted trace


def trace(lengths, draws=10, start=0):
    """A trace as nutpie leaves it: NaN and zeros after the draws each chain has made."""
    shape = (len(lengths), draws)
    made = np.arange(draws)[None] < np.array(lengths)[:, None]
    sigma = np.where(made, np.arange(draws)[None] + 1.0, np.nan)
    values = {"sigma": sigma, "L_inf": 2 * sigma}
    flags = {"diverging": np.zeros(shape, bool), "depth": np.where(made, 3, 0)}
    return xr.DataTree.from_dict({"posterior": dataset(values), "sample_stats": dataset(flags)})


def test_a_whole_trace_is_left_alone():
    raw = trace([10, 10, 10])
    kept, partial = trim(raw, 10)
    assert kept is raw
    assert not partial


@pytest.mark.parametrize(
    ("lengths", "chains", "length"),
    [
        ([10, 10, 10, 7], [0, 1, 2], 10),  # 30 draws of three chains, 28 of four
        ([10, 10, 10, 8], [0, 1, 2, 3], 8),
        ([6, 5, 6, 6], [0, 1, 2, 3], 5),
        ([0, 9, 0, 8], [1, 3], 8),
        ([0, 0, 3, 0], [2], 3),
        ([1, 1, 1, 1], [0, 1, 2, 3], 1),
    ],
)
def test_an_interrupted_trace_is_cut_to_what_is_whole(lengths, chains, length):
    kept, partial = trim(trace(lengths), 10)
    assert partial
    assert kept["posterior"]["chain"].values.tolist() == chains
    assert kept["posterior"].sizes["draw"] == kept["sample_stats"].sizes["draw"] == length
    assert kept["posterior"]["sigma"].notnull().all()
    assert (kept["sample_stats"]["depth"] == 3).all()


def test_a_trace_shorter_than_asked_is_partial():
    kept, partial = trim(trace([4, 4, 4], draws=4), 10)
    assert partial
    assert kept["posterior"].sizes["draw"] == 4


def test_nothing_at_all_is_an_interruption():
    with pytest.raises(KeyboardInterrupt):
        trim(trace([0, 0]), 10)


# damaged files, and Ctrl-C while one is written


@pytest.mark.parametrize("start", [0, 600, 5000, 20_000, -4000])
def test_damaged_files_are_told(stored, tmp_path, start):
    damaged = tmp_path / "damaged.nc"
    content = bytearray(Path(stored).read_bytes())
    content[start : start + 64 if start >= 0 else None] = b"\xff" * 64
    damaged.write_bytes(content)
    try:
        sb.load(damaged)  # netCDF does not look at every byte
    except sb.FitError as error:
        assert "damaged.nc" in str(error)  # noqa: PT017


def test_a_changed_table_is_told(stored, tmp_path):
    with xr.open_datatree(stored) as opened:
        tree = opened.load()
    tree["constant_data"] = (
        tree["constant_data"].to_dataset().assign(loss=tree["constant_data"]["loss"] * 1.01)
    )
    tree.to_netcdf(tmp_path / "changed.nc")
    with pytest.raises(sb.FitError, match="does not hold the spec and runs that were fitted"):
        sb.load(tmp_path / "changed.nc")


def test_an_interrupt_waits_until_the_file_is_whole(tmp_path):
    import signal

    from scalebayes.utils.files import write_whole

    def write(path):
        signal.raise_signal(signal.SIGINT)
        path.write_text("whole")

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", write)
    assert (tmp_path / "file").read_text() == "whole"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_tables_print_whole_with_their_kind(fit):
    text = str(sb.intervals(sb.predict(fit, N="70B", D=["1.4T", "15T"])))
    assert text.splitlines()[0] == "90% equal-tailed intervals"
    assert "..." not in text
    assert "eti90_lb" in text
    assert "..." not in str(sb.summary(fit))


def test_an_input_far_outside_the_runs_may_lack_a_suffix():
    fit = make_fit()
    (text,) = [m.text for m in sb.caveats(sb.predict(fit, N="1B", D=15)) if "IMPLAUSIBLE" in m.code]
    assert text.startswith("D = 15 lies ")
    assert text.endswith("is a suffix missing, such as M, B or T?")
    codes_of = {m.code for m in sb.caveats(sb.predict(fit, N="1B", D=15))}
    assert "OUTSIDE_D" not in codes_of
    near = {m.code for m in sb.caveats(sb.predict(fit, N="1B", D="20B"))}
    assert not any(code.startswith("IMPLAUSIBLE") for code in near)
    far = {m.code: m.text for m in sb.caveats(sb.frontier(fit, C=1e33))}
    assert far["IMPLAUSIBLE_N"].startswith("the compute-optimal N = ")
