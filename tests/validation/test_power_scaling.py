"""Power-scaling: densities against PyMC's graph; sensitivities against closed forms and ArviZ."""

import json
from dataclasses import replace

import arviz_stats as azs
import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from scipy import integrate, stats
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.posterior.derived.log_prior import log_density, stated_logs
from scalebayes.posterior.fit import METADATA
from scalebayes.posterior.stated import stated_spec
from scalebayes.specs.parts import Prior
from scalebayes.specs.priors import DISTRIBUTIONS
from scalebayes.validation.power_scaling import scaling_tree
from tests.fixtures import BESIROGLU_PARAMETERS, INTEGRATED, around, bare_fit, in_nats, prior_of

SHAPE = (4, 1000)
MODELS = ["chinchilla", "kaplan", "coupled-discrepancy", "product", "compute-floor"]


def from_prior(model):
    """A fit whose draws are the prior's."""
    runs = sb.load_runs("pile2023")
    drawn = prior_of(runs, model, SHAPE[0] * SHAPE[1], seed=3)
    return bare_fit(model, runs, {name: value.reshape(SHAPE) for name, value in drawn.items()})


def stated_on(fit, name, values):
    """What the relative prior of a parameter is on, by formulas of the test's own."""
    prior = fit.spec.priors[name]
    centre = {x: np.exp(np.log(getattr(fit.runs, x)).mean()) for x in fit.spec.law_object.inputs}
    typical = np.exp(np.log(fit.runs.loss).mean())
    value = values[name].values
    if name.endswith("_c"):
        x = name.removesuffix("_c")
        return (value / centre[x]) ** values[f"alpha_{x}"].values / typical
    if name == "L_0":
        in_N = (1e9 / centre["N"]) ** values["alpha_N"].values
        return value * in_N * (2e10 / centre["D"]) ** values["alpha_D"].values / typical
    if name == "L_inf":
        return value / typical
    return value / values[prior.over].values if prior.over else value


PRIORS = [
    {"dist": "LogNormal", "median": 0.3, "sigma": 0.6},
    {"dist": "HalfNormal", "sigma": 0.1},
    {"dist": "Exponential", "mean": 0.5},
    {"dist": "Gamma", "alpha": 2.0, "beta": 0.1},
    {"dist": "Gamma", "alpha": 0.7, "beta": 4.0, "shift": 2.0},
    {"dist": "Beta", "alpha": 2.0, "beta": 4.0},
]


def pymc_logpdf(prior, value):
    """Log density by PyMC, above the shift."""
    entry = prior.distribution
    arguments = {name: np.float64(x) for name, x in entry.pymc_arguments().items()}
    return pm.logp(getattr(pm, entry.pymc).dist(**arguments), value - prior.shift).eval(
        mode="FAST_COMPILE"
    )


@pytest.mark.parametrize("case", PRIORS, ids=lambda c: "-".join(map(str, c.values())))
def test_log_density_of_a_prior_is_pymcs(case):
    prior = Prior(**case, reason="test")
    value = prior.shift + np.geomspace(1e-3, 20, 41)
    np.testing.assert_allclose(
        prior.logpdf(value), pymc_logpdf(prior, value), rtol=1e-10, atol=1e-10
    )


def test_every_distribution_is_tried():
    assert {case["dist"] for case in PRIORS} == set(DISTRIBUTIONS)


@pytest.mark.parametrize("model", MODELS)
def test_log_prior_is_the_density_of_the_log_of_what_is_stated(model):
    fit = from_prior(model)
    spec, posterior = fit.spec, fit.stored["posterior"].isel(chain=0, draw=slice(0, 5)).to_dataset()
    stated = stated_logs(fit)
    assert list(stated) == list(spec.priors)
    for parameter in spec.law_object.parameters:
        size = stated_on(fit, parameter.name, posterior)
        expected = pymc_logpdf(spec.priors[parameter.name], size) + np.log(size)
        prior = stated_spec(fit).priors[parameter.name]
        ours = log_density(prior, stated[parameter.name].values)[0, :5]
        np.testing.assert_allclose(ours, expected, rtol=1e-8)
    for name in spec.scatter_names:
        above = posterior[name].values - spec.priors[name].shift
        expected = pymc_logpdf(spec.priors[name], posterior[name].values) + np.log(above)
        ours = log_density(stated_spec(fit).priors[name], stated[name].values)[0, :5]
        np.testing.assert_allclose(ours, expected, rtol=1e-8)


def test_a_prior_raised_to_a_power_stays_around_the_same_value():
    fit = from_prior("chinchilla")
    stated = stated_logs(fit)
    a = 1.2
    for name, prior in stated_spec(fit).priors.items():
        log = stated[name].values.ravel()
        weights = np.exp((a - 1) * log_density(prior, stated[name].values).ravel())
        if prior.dist == "LogNormal":
            assert np.average(log, weights=weights) == pytest.approx(
                np.log(prior.arguments["median"]), abs=0.04
            )
            spread = np.average((log - np.average(log, weights=weights)) ** 2, weights=weights)
            assert spread == pytest.approx(prior.arguments["sigma"] ** 2 / a, rel=0.07)
        if prior.dist == "Gamma":
            mean = prior.arguments["alpha"] / prior.arguments["beta"]
            assert np.average(np.exp(log), weights=weights) == pytest.approx(mean, rel=0.04)


L_0 = {"dist": "LogNormal", "median": 2.6, "sigma": 0.4, "reason": "in nats, at the reference"}
PRECISION = 1 / 0.4**2  # of log L_0
NOISE = 0.5


def plane(rows, shift):
    """Only L_0 is unknown; log L_0 has a Normal posterior. Runs are `shift` off the prior."""
    rng = np.random.default_rng(0)
    N, D = 10 ** rng.uniform(8, 10, rows), 10 ** rng.uniform(9, 11, rows)
    alpha = {"alpha_N": 0.05, "alpha_D": 0.05}
    trend = sb.LAWS["product"](N, D, L_0=1.0, **alpha)
    residual = np.log(2.6) + shift + NOISE * stats.norm.ppf((np.arange(rows) + 0.5) / rows)
    runs = sb.read_runs(
        pd.DataFrame({"N": N, "D": D, "loss": trend * np.exp(residual)}), name="plane", strict=False
    )
    precision = PRECISION + rows / NOISE**2
    mean = (PRECISION * np.log(2.6) + rows / NOISE**2 * residual.mean()) / precision
    level = (np.arange(SHAPE[0] * SHAPE[1]) + 0.5) / (SHAPE[0] * SHAPE[1])
    log_L_0 = rng.permutation(stats.norm.ppf(level, mean, precision**-0.5)).reshape(SHAPE)
    still = {
        k: v * np.exp(1e-6 * rng.standard_normal(SHAPE))
        for k, v in (alpha | {"sigma": NOISE}).items()
    }
    spec = sb.read_model("product").model_dump()
    priors = {k: v for k, v in spec["priors"].items() if k not in ("sigma", "nu")} | {"L_0": L_0}
    normal = sb.Spec.model_validate(spec | {"noise": "normal", "priors": priors})
    fit = bare_fit("product", runs, {"L_0": np.exp(log_L_0)} | still)
    return replace(fit, spec=normal), residual.mean()


def posterior(rows, centre, prior_power=1.0, data_power=1.0):
    prior, data = prior_power * PRECISION, data_power * rows / NOISE**2
    return stats.norm(
        (prior * np.log(2.6) + data * centre) / (prior + data), (prior + data) ** -0.5
    )


def distance(p, q):
    """Cumulative Jensen-Shannon distance of two distributions by quadrature.

    Kallioinen et al. (2024), eq. 11.
    """
    low, high = p.ppf(1 / 4001), p.ppf(1 - 1 / 4001)
    x = np.linspace(low, high, 20001)

    def of(F, G):
        mixed = (F + G) / 2
        part = integrate.trapezoid(F * np.log2(F / mixed), x) + integrate.trapezoid(G - F, x) / (
            2 * np.log(2)
        )
        return max(part, 0.0)

    def both(F, G):
        return np.sqrt((of(F, G) + of(G, F)) / integrate.trapezoid(F + G, x))

    return max(both(p.cdf(x), q.cdf(x)), both(p.sf(x), q.sf(x)))


@pytest.mark.parametrize(("rows", "shift"), [(4, 0.0), (4, 1.0), (40, 0.6), (1, 0.3)])
def test_sensitivities_are_those_of_a_normal_posterior_in_closed_form(rows, shift):
    fit, centre = plane(rows, shift)
    row = sb.power_scaling(fit).loc["L_0"]
    whole = posterior(rows, centre)
    for column, powers in (("prior", "prior_power"), ("likelihood", "data_power")):
        low, high = (distance(whole, posterior(rows, centre, **{powers: a})) for a in (0.99, 1.01))
        expected = (low / -np.log2(0.99) + high / np.log2(1.01)) / 2
        assert row[column] == pytest.approx(expected, rel=0.1, abs=0.005), column
    assert row["strongest"] == "L_0"
    assert row["strongest_prior"] == pytest.approx(row["prior"], rel=0.05)


def test_words_follow_the_threshold():
    conflict, _ = plane(4, 1.0)
    assert sb.power_scaling(conflict).loc["L_0", "decides"] == "both: prior and data may conflict"
    assert sb.power_scaling(conflict, threshold=9.0).loc["L_0", "decides"] == "neither"
    informed, _ = plane(400, 0.0)
    assert sb.power_scaling(informed).loc["L_0", "decides"] == "data"


@pytest.fixture(scope="module")
def chinchilla():
    rng = np.random.default_rng(1)
    values = BESIROGLU_PARAMETERS | {"sigma": 0.004, "nu": 4.0}
    draws = around(values, SHAPE, rng, width=0.002)
    return bare_fit(in_nats("chinchilla"), sb.load_runs("pile2023"), draws)


def test_the_table_is_arviz_psense_on_a_tree_by_hand(chinchilla):
    best = sb.frontier(chinchilla, C=1e23)
    p = chinchilla.stored["posterior"].to_dataset()
    size = lambda scale, exponent, at: p[exponent] * np.log(p[scale] / at)  # noqa: E731
    posterior = xr.Dataset(
        {
            "L_inf": np.log(p["L_inf"]),
            "N_c": size("N_c", "alpha_N", 1e9),
            "alpha_D": np.log(p["alpha_D"]),
            "nu": np.log(p["nu"] - 2),
            "N* at 1e23": np.log(best["N"].isel(budget=0, drop=True)),
        }
    )
    normal = stats.norm.logpdf
    log_prior = normal(size("N_c", "alpha_N", 1e9), np.log(0.4), 1.0) + normal(
        size("D_c", "alpha_D", 2e10), np.log(0.4)
    )
    log_prior += normal(np.log(p["alpha_N"]), np.log(0.3), 0.6) + normal(
        np.log(p["alpha_D"]), np.log(0.3), 0.6
    )
    log_prior += stats.gamma.logpdf(p["L_inf"], 2.0, scale=1 / 1.2) + np.log(p["L_inf"].values)
    log_prior += stats.halfnorm.logpdf(p["sigma"], scale=0.1) + np.log(p["sigma"].values)
    log_prior += stats.gamma.logpdf(p["nu"] - 2, 2.0, scale=10.0) + np.log(p["nu"].values - 2)
    runs = chinchilla.runs
    curve = chinchilla.spec.law_object(
        runs.N,
        runs.D,
        **{k: p[k].values[..., None] for k in ("L_inf", "N_c", "alpha_N", "D_c", "alpha_D")},
    )
    scatter = {"df": p["nu"].values[..., None], "scale": p["sigma"].values[..., None]}
    log_likelihood = stats.t.logpdf(np.log(runs.loss / curve), **scatter)
    tree = xr.DataTree.from_dict(
        {
            "posterior": posterior,
            "log_prior": xr.Dataset({"all": (("chain", "draw"), log_prior)}, p.coords),
            "log_likelihood": xr.Dataset(
                {"y": (("chain", "draw", "run"), log_likelihood)}, p.coords
            ),
        }
    )
    ours = sb.power_scaling(chinchilla, C=1e23)
    for group in ("prior", "likelihood"):
        theirs = azs.psense(tree, group=group)
        for name in posterior:
            assert ours.loc[name, group] == pytest.approx(float(theirs[name]), rel=1e-6), name


def test_decisions_come_after_the_parameters(chinchilla):
    assert list(sb.power_scaling(chinchilla).index) == list(chinchilla.spec.priors)
    both = sb.power_scaling(chinchilla, C=["1e22", "1e23"])
    assert list(both.index)[-4:] == ["N* at 1e22", "N* at 1e23", "loss at 1e22", "loss at 1e23"]
    loss = sb.power_scaling(chinchilla, N=["70B"], D=["1.4T"])
    assert loss.index[-1] == "loss at N 70B, D 1.4T"
    with pytest.raises(sb.QueryError, match="any two of N, D and C; got N"):
        sb.power_scaling(chinchilla, N="70B")
    with pytest.raises(sb.QueryError, match="ask each fit of the average by itself"):
        sb.power_scaling(sb.average({"a": chinchilla, "b": chinchilla}))


def test_with_a_discrepancy_the_likelihood_is_that_of_all_runs_together():
    """Not the sum of the pointwise densities, each given all other runs."""
    fit = from_prior(INTEGRATED)
    one = replace(fit, stored=fit.stored.isel(chain=slice(0, 1), draw=slice(0, 4)))
    tree = scaling_tree(one, {})
    from scalebayes.posterior.likelihood import make_likelihood

    table = make_likelihood(one)
    dense = table.known.basis.project(table.known.basis.points) @ table.known.basis.vectors.T
    for s in range(4):
        covariance = table.known.sigma[s] ** 2 * np.eye(15) + table.known.eta[s] ** 2 * dense
        expected = stats.multivariate_normal(np.zeros(15), covariance).logpdf(table.residual[s])
        assert float(tree["log_likelihood"]["log_loss"][0, s]) == pytest.approx(expected, rel=1e-6)


# the commands


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def stored(chinchilla, tmp_path_factory):
    return store(chinchilla, tmp_path_factory.mktemp("fits") / "fit.nc")


def store(chinchilla, path, failures=()):
    """Save a fit with the rest of the tree that `save` and `load` want."""
    tree = chinchilla.stored.copy()
    tree["constant_data"] = xr.DataTree(xr.Dataset.from_dataframe(chinchilla.runs.table))
    metadata = {"partial": False, "gate_failures": list(failures)}
    metadata["hashes"] = {"spec": chinchilla.spec.hash, "runs": chinchilla.runs.hash}
    tree.attrs[METADATA] = json.dumps(metadata)
    return sb.save(replace(chinchilla, stored=tree), path)


@pytest.mark.parametrize("command", ["influence", "power-scaling"])
def test_a_fit_that_failed_the_gate_is_answered_with_a_warning_and_exit_code_3(
    chinchilla, tmp_path, command
):
    path = store(chinchilla, tmp_path / "failed.nc", failures=["R_HAT"])
    result = run(
        command, path, "--C", "1e23", *(["--no-refit"] if command == "influence" else []), code=3
    )
    assert "N* at 1e23" in result.stdout
    assert (
        "warning: this fit failed the convergence checks (R_HAT); do not rely on it"
        in result.stderr
    )


def test_prior_or_data_prints_the_python_answer(stored, chinchilla):
    text = run("power-scaling", stored, "--C", "1e23").stdout
    assert (
        "chinchilla-in-nats on pile2023: sensitivity to power-scaling of the prior and of the "
        "likelihood" in text
    )
    assert "N* at 1e23" in text
    rows = json.loads(run("power-scaling", stored, "--C", "1e23", "--json").stdout)["rows"]
    ours = sb.power_scaling(chinchilla, C="1e23")
    assert [row["quantity"] for row in rows] == list(ours.index)
    assert rows[-1]["prior"] == pytest.approx(ours["prior"].iloc[-1], rel=1e-9)
    assert "is not a quantity" in run("power-scaling", stored, "--C", "lots", code=1).stderr


def test_influence_prints_the_python_answer(stored, chinchilla):
    text = run("influence", stored, "--C", "1e23", "--top", "3", "--no-refit").stdout
    assert text.startswith("log N* at 1e23 FLOP: posterior mean")
    assert "(15 runs of pile2023; the 3 largest)" in text
    answer = json.loads(
        run("influence", stored, "--N", "70B", "--D", "1.4T", "--no-refit", "--json").stdout
    )
    ours = sb.influence(chinchilla, N="70B", D="1.4T", refit=False, progress=False)
    assert [row["run"] for row in answer["rows"]] == list(ours.index)
    assert answer["rows"][0]["shift"] == pytest.approx(ours["shift"].iloc[0], rel=1e-9)
    assert answer["decision"].startswith("loss at N = 70B, D = 1.4T")
    outliers = sb.find_outliers(chinchilla)
    assert [row["run"] for row in answer["outliers"]] == list(
        outliers.index[outliers["verdict"] != ""]
    )
    by_size = run("influence", stored, "--C", "1e23", "--by", "size", "--no-refit").stdout
    assert "sizes of pile2023" in by_size
    assert (
        "predicts from any two of N, D and C; got nothing"
        in run("influence", stored, code=1).stderr
    )
    assert "--by" in run("influence", stored, "--C", "1e23", "--by", "row", code=2).stderr
