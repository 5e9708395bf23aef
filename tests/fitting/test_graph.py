"""Graphs: the compiled density is prior times Jacobian times likelihood.

Everything that depends on the table is data.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytensor.gradient
import pytensor.tensor as pt
import pytest
import xarray as xr
from pytensor.compile.mode import Mode
from scipy import stats

from scalebayes.data.runs import Runs
from scalebayes.fitting.graph import pymc_model
from scalebayes.specs.noise import NOISES
from scalebayes.specs.spec import read_model
from scalebayes.specs.sweeps import FAR_OFF
from tests.fixtures import INTEGRATED, data_of, normalised, runs_of_every_input, sweep_runs

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "models").glob("*.toml"))
SPECS = {name: read_model(name) for name in NAMES} | {INTEGRATED.name: INTEGRATED}
# tests/specs/test_pooling.py and tests/specs/test_drift.py have the others.
SPECS = {name: spec for name, spec in SPECS.items() if spec.pool is None and spec.drift is None}
EVERY = pytest.mark.parametrize("name", [*SPECS])
# Plain Python without optimisation: a graph compiles in a tenth of the time.
FAST = {"mode": Mode("py", None)}

SCIPY = {
    "LogNormal": lambda median, sigma: stats.lognorm(sigma, scale=median),
    "HalfNormal": lambda sigma: stats.halfnorm(scale=sigma),
    "Exponential": lambda mean: stats.expon(scale=mean),
    "Gamma": lambda alpha, beta: stats.gamma(alpha, scale=1 / beta),
    "Beta": lambda alpha, beta: stats.beta(alpha, beta),
}


A, B = runs_of_every_input(9, seed=0), runs_of_every_input(14, seed=1)
RANK = 16
"""Weights of a discrepancy that is sampled on so few rows, those that only fill up included."""


@pytest.fixture(scope="module")
def graphs():
    """One graph a spec, on table A, with its log density and gradient as one cached function."""
    made = {}

    def graph(name):
        if name not in made:
            model = pymc_model(A, SPECS[name])  # in normalised units
            # The plain gradient: PyMC's dlogp first merges a prior of eight into one sum, which
            # takes too long in plain Python.
            parts = pytensor.gradient.grad(model.logp(), model.value_vars)
            gradient = pt.concatenate([part.ravel() for part in parts])
            made[name] = (
                model,
                model.compile_fn([model.logp(), gradient], inputs=model.value_vars, **FAST),
            )
        return made[name]

    return graph


def random_point(model, seed):
    rng = np.random.default_rng(seed)
    return {
        name: value + 0.3 * rng.standard_normal(value.shape)
        for name, value in model.initial_point().items()
    }


@EVERY
def test_density_and_gradient_are_finite_at_the_start(name, graphs):
    model, density = graphs(name)
    point = model.initial_point()
    spec = SPECS[name]
    assert all(point[coordinate] == 0.0 for coordinate in spec.law_object.coordinates.names)
    logp, gradient = density(point)
    assert np.isfinite(logp)
    assert np.isfinite(gradient).all()
    vectors = 3 if spec.law_object.hyperparameters else spec.observation.traits.samples_discrepancy
    assert len(gradient) == len(spec.priors) + RANK * vectors


@EVERY
def test_parameters_are_deterministics_and_rows_are_only_data(name, graphs):
    """A deterministic with one entry a row would forbid another table in a compiled sampler."""
    model, _ = graphs(name)
    spec = SPECS[name]
    sizes = {v.name: v.type.shape for v in [*model.deterministics, *model.free_RVs]}
    assert set(spec.priors) <= sizes.keys()
    vectors = {}
    if spec.observation.traits.samples_discrepancy:
        vectors = {"v": (RANK,), "weights": (RANK,)}
    if spec.law_object.hyperparameters:
        names = [f"{free}{name}" for name in spec.observation.traits.kept for free in ("", "free_")]
        vectors = dict.fromkeys(names, (RANK,))
    assert {name: shape for name, shape in sizes.items() if shape} == vectors
    assert {v.name for v in model.data_vars} == set(data_of(A, spec))


def log_prior(spec, parameters):
    """Log density of the parameters themselves, each in its own unit, by SciPy."""
    total = 0.0
    sizes = {}
    for parameter in spec.law_object.parameters:
        prior, value = spec.priors[parameter.name], parameters[parameter.name]
        distribution = SCIPY[prior.dist](**prior.arguments)
        if parameter.scale_of:
            exponent = parameters[parameter.exponent]
            size = sizes[parameter.name] = (value / prior.at) ** exponent
            other = sizes[prior.over] if prior.over else 1.0
            total += distribution.logpdf(size / other) - np.log(other)
            total += np.log(exponent * size / value)
        elif prior.over:
            other = parameters[prior.over]
            total += distribution.logpdf(value / other) - np.log(other)
        else:
            total += distribution.logpdf(value)
    return total


def map_of(spec, runs):
    """Parameters of the law from natural coordinates; the log determinant by differentiation."""
    law = spec.law_object
    vector = pt.dvector("z")
    z = {name: vector[i] for i, name in enumerate(law.coordinates.names)}
    logs, _ = law.coordinates.recover(z, {x: np.log(getattr(runs, x)).mean() for x in law.inputs})
    parameters = pt.stack([pt.exp(logs[name]) for name in law.parameter_names])
    jacobian = pytensor.gradient.jacobian(pt.log(parameters), vector)
    return pytensor.function([vector], [parameters, jacobian], **FAST)


def log_prior_of_sigma(point):
    sigma = np.exp(point["sigma_log__"])
    return stats.lognorm(1.0, scale=0.01).logpdf(sigma) + point["sigma_log__"]


def student_t_density(point, residual, prior_of_sigma=None):
    """Prior of sigma and nu and likelihood of independent Student-t noise.

    prior_of_sigma: one that a file states; by default that of the package.
    """
    sigma, nu = np.exp(point["sigma_log__"]), 2 + np.exp(point["nu_above_2_log__"])
    if prior_of_sigma is None:
        log_prior = log_prior_of_sigma(point)
    else:
        distribution = SCIPY[prior_of_sigma.dist](**prior_of_sigma.arguments)
        log_prior = distribution.logpdf(sigma) + point["sigma_log__"]
    log_prior += stats.gamma(2.0, scale=10.0).logpdf(nu - 2) + point["nu_above_2_log__"]
    return log_prior + stats.t(nu, scale=sigma).logpdf(residual).sum()


def kernel_matrix(runs):
    """Matern's kernel of smoothness 5/2 and length one decade."""
    x = np.column_stack([np.log10(runs.N), np.log10(runs.D)])
    r = np.sqrt(5 * ((x[:, None] - x[None]) ** 2).sum(axis=-1))
    return (1 + r + r**2 / 3) * np.exp(-r)


def log_prior_of_eta(point):
    return stats.lognorm(1.0, scale=0.01).logpdf(np.exp(point["eta_log__"])) + point["eta_log__"]


def gp_density(point, residual, runs):
    """Prior of sigma and eta and the dense multivariate Normal."""
    sigma, eta = np.exp(point["sigma_log__"]), np.exp(point["eta_log__"])
    log_prior = log_prior_of_sigma(point) + log_prior_of_eta(point)
    covariance = eta**2 * kernel_matrix(runs) + sigma**2 * np.eye(len(runs))
    return log_prior + stats.multivariate_normal(np.zeros(len(runs)), covariance).logpdf(residual)


def sampled_density(point, residual, runs):
    """Density with a discrepancy: Normal weights, Student-t noise around law plus discrepancy.

    The Jacobian of the map from v to weights is included.
    """
    sigma, nu, eta = (
        np.exp(point["sigma_log__"]),
        2 + np.exp(point["nu_above_2_log__"]),
        np.exp(point["eta_log__"]),
    )
    basis = read_model("coupled-discrepancy").observation.basis(runs)
    rank = len(basis.values)
    assert rank < RANK == len(point["v"])
    spread, axes = (x[..., ::-1][..., :rank] for x in np.linalg.eigh(kernel_matrix(runs)))
    np.testing.assert_allclose(basis.values, spread, rtol=1e-8)
    axes = axes * np.sign((axes * basis.vectors).sum(axis=0))

    def weights(v):
        """The mean under Normal noise of equal information, plus v of its sd."""
        s2 = sigma**2 * (nu + 3) / (nu + 1)
        precision = eta**2 * spread / s2 + 1
        return eta * np.sqrt(spread) * (axes.T @ residual) / s2 / precision + v / np.sqrt(precision)

    w = weights(point["v"][:rank])
    density = student_t_density(
        point, residual - axes @ (eta * np.sqrt(spread) * w)
    ) + log_prior_of_eta(point)
    density += np.log(weights(np.ones(rank)) - weights(np.zeros(rank))).sum()
    return density - 0.5 * (w**2).sum() - 0.5 * (point["v"][rank:] ** 2).sum()  # with what fills up


def one_sided_density(point, residual, runs):
    """Prior of sigma, gap and decay, and the likelihood, by SciPy's exponnorm."""
    sigma, gap, decay = (np.exp(point[f"{name}_log__"]) for name in ("sigma", "gap", "decay"))
    log_prior = log_prior_of_sigma(point)
    log_prior += stats.lognorm(1.0, scale=0.01).logpdf(gap) + point["gap_log__"]
    log_prior += stats.lognorm(0.7, scale=0.15).logpdf(decay) + point["decay_log__"]
    log_compute = np.log(runs.N * runs.D)
    mean = gap * np.exp(-decay * (log_compute - log_compute.mean()))
    return log_prior + stats.exponnorm(mean / sigma, scale=sigma).logpdf(residual).sum()


def diverging_density(point, residual):
    """Prior of what is around the law of tuned runs, and the likelihood, without sweeps."""
    names = ("sigma", "excess", "tau_rate", "tau_batch", "omega")
    sigma, excess, *_ = values = [np.exp(point[f"{name}_log__"]) for name in names]
    nu = 2 + np.exp(point["nu_above_2_log__"])
    share = 1 / (1 + np.exp(-point["share_logodds__"]))
    shapes = ((1.0, 0.01), (1.0, 0.3), (0.8, 0.1), (0.8, 0.1), (1.0, 0.005))
    log_prior = stats.expon(scale=1 / 0.3).logpdf(nu - 2) + point["nu_above_2_log__"]
    log_prior += stats.beta(1.0, 9.0).logpdf(share) + np.log(share * (1 - share))
    for value, (width, median) in zip(values, shapes, strict=True):
        log_prior += stats.lognorm(width, scale=median).logpdf(value) + np.log(value)
    for name in ("rate", "batch", "offset"):
        log_prior += -0.5 * (point[f"free_{name}_weights"] ** 2).sum()
    converged = (1 - share) * stats.t(nu, scale=sigma).pdf(residual)
    diverged = share * stats.exponnorm(excess / sigma, scale=sigma).pdf(residual)
    return log_prior + np.log(converged + diverged).sum()


@EVERY
def test_density_is_prior_times_jacobian_times_likelihood(name, graphs):
    """Up to a constant, the standard Normal density of the weights of a sampled discrepancy."""
    model, density = graphs(name)
    runs, spec = normalised(A, SPECS[name])
    law, coordinates = spec.law_object, spec.law_object.coordinates
    start = coordinates.start(runs.log_inputs(law.inputs), law.log_response(runs))
    through = map_of(spec, runs)
    for seed in (1, 2):
        point = random_point(model, seed)
        z = np.array([start[c] + step * point[c] for c, step in coordinates.steps().items()])
        values, jacobian = through(z)
        parameters = dict(zip(law.parameter_names, values, strict=True))
        log_determinant = np.linalg.slogdet(jacobian).logabsdet + np.log(values).sum()
        residual = law.log_residual(runs, parameters)

        expected = log_prior(spec, parameters) + log_determinant
        if spec.noise == "one_sided":
            expected += one_sided_density(point, residual, runs)
        elif spec.noise == "diverging":
            expected += diverging_density(point, residual)
        elif spec.discrepancy is None:
            # Files of accuracies state a prior of sigma, the others have the default.
            stated = spec.priors["sigma"] if law.response == "odds" else None
            expected += student_t_density(point, residual, stated)
        elif not spec.observation.traits.runs_are_independent:
            expected += gp_density(point, residual, runs)
        else:
            expected += sampled_density(point, residual, runs)
        assert float(density(point)[0]) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_density_moves_the_valley_of_each_sweep():
    """The errors of a sweep in the graph are those that a fit adds to the law at its runs."""
    table = sweep_runs(rates=3, batches=3)
    runs, spec = normalised(table, SPECS["tuned"])
    model = pymc_model(table, SPECS["tuned"])
    law, coordinates = spec.law_object, spec.law_object.coordinates
    start = coordinates.start(runs.log_inputs(law.inputs), law.log_response(runs))
    point = random_point(model, seed=1)
    z = np.array([start[c] + step * point[c] for c, step in coordinates.steps().items()])
    values, jacobian = map_of(spec, runs)(z)
    parameters = dict(zip(law.parameter_names, values, strict=True))
    names = ("tau_rate", "tau_batch", "omega")
    scales = {name: np.exp(point[f"{name}_log__"]) for name in names}

    one_draw = {}
    for name, value in (parameters | scales).items():
        one_draw[name] = (("chain", "draw"), [[value]])
    for name in spec.observation.traits.kept:
        one_draw[name] = (("chain", "draw", "entry"), point[f"free_{name}"][None, None])
    # The error of the best loss is sampled around a guess from the runs of the sweep.
    data = spec.observation.data(runs)
    counts = data["sweep_counts"]
    assert (counts > 0).sum() == 6
    moved = {x: getattr(runs, x) for x in law.inputs}
    for x, name in (("learning_rate", "tau_rate"), ("batch", "tau_batch")):
        error = scales[name] * point[f"free_{name.removeprefix('tau_')}_weights"]
        moved[x] = moved[x] * np.exp(-(data["sweep"] @ error))
    beside = law.log_response(runs) - np.log(law.evaluate(moved, parameters))
    nu = 2 + np.exp(point["nu_above_2_log__"])
    noise = {"sigma": np.exp(point["sigma_log__"]), "nu": nu, "excess": None}
    noise["share"] = 1 / (1 + np.exp(-point["share_logodds__"]))
    variance = spec.observation.noise.equivalent(**noise)
    omega = scales["omega"]
    told = beside / (1 + beside**2 / (FAR_OFF**2 * (variance + omega**2)))
    total = variance + counts * omega**2
    guess = omega * (data["sweep"].T @ told) / total
    offset = guess + np.sqrt(variance / total) * point["free_offset_weights"]
    one_draw["offset_weights"] = (("chain", "draw", "entry"), offset[None, None])
    posterior = xr.Dataset(one_draw, {"chain": [0], "draw": [0]})
    groups = spec.observation.groups_from_trace(posterior, runs)
    tree = xr.DataTree.from_dict({"posterior": posterior, **groups})
    delta = spec.observation.delta_at_runs(tree, runs)[0, 0]
    assert np.abs(delta).max() > 1e-3

    expected = log_prior(spec, parameters) + np.linalg.slogdet(jacobian).logabsdet
    expected += np.log(values).sum()
    at = {**point, "free_offset_weights": offset}
    expected += diverging_density(at, law.log_residual(runs, parameters) - delta)
    expected += 0.5 * np.log(variance / total).sum()
    assert float(model.compile_logp(**FAST)(point)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("noise", NOISES)
def test_every_noise_goes_with_sweeps(noise):
    stated = SPECS["tuned"].model_dump(exclude={"name"}) | {"name": "other", "noise": noise}
    own = SPECS["tuned"].noise_object.priors
    kept = {x: prior for x, prior in stated["priors"].items() if x not in own or x == "omega"}
    spec = type(SPECS["tuned"]).model_validate(stated | {"priors": kept})
    model = pymc_model(sweep_runs(rates=3, batches=3), spec)
    assert np.isfinite(model.compile_logp(**FAST)(model.initial_point()))


@EVERY
def test_another_tables_data_make_another_tables_graph(name, graphs):
    model, density = graphs(name)
    expected = pymc_model(B, SPECS[name]).compile_logp(**FAST)
    point, spec = random_point(model, seed=3), SPECS[name]
    on_a = density(point)
    with model:
        try:
            pm.set_data(data_of(B, spec))
            swapped = density(point)
        finally:
            pm.set_data(data_of(A, spec))
    assert float(swapped[0]) == pytest.approx(float(expected(point)), rel=1e-12)
    assert float(on_a[0]) != pytest.approx(float(swapped[0]), rel=1e-3)
    np.testing.assert_array_equal(density(point)[0], on_a[0])


def test_normal_noise_has_no_nu():
    spec = read_model("kaplan-size").model_dump() | {"noise": "normal"}
    del spec["priors"]["nu"]
    spec = type(read_model("kaplan-size")).model_validate(spec)
    model = pymc_model(A, spec)
    assert {v.name for v in model.free_RVs} == {"log_T", "log_G_N", "sigma"}
    point = random_point(model, seed=1)
    log_T, log_G, log_sigma = (point[k] for k in ("log_T", "log_G_N", "sigma_log__"))
    log_N, log_loss = (np.log(x) - np.log(x).mean() for x in (A.N, A.loss))
    start = spec.law_object.coordinates.start({"N": log_N}, log_loss)
    T, G = np.exp(start["log_T"] + 0.1 * log_T), np.exp(start["log_G_N"] + 0.3 * log_G)
    alpha = G / T
    curve = np.log(T) - alpha * log_N
    sigma = np.exp(log_sigma)
    expected = stats.lognorm(0.3, scale=1.0).logpdf(T) + np.log(T)  # the term at the centre
    expected += stats.lognorm(1.0, scale=0.15).logpdf(alpha) + np.log(alpha)
    expected += stats.lognorm(1.0, scale=0.01).logpdf(sigma) + log_sigma
    expected += stats.norm(scale=sigma).logpdf(log_loss - curve).sum()
    assert float(model.compile_logp(**FAST)(point)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", ["coupled", "chinchilla", "kaplan", "product", "size-floor"])
@pytest.mark.parametrize("shape", ["one N", "D follows N", "three rows", "equal rows"])
def test_density_is_finite_on_degenerate_tables(name, shape, graphs):
    N, D = {
        "one N": (np.full(6, 1e9), np.geomspace(1e9, 1e11, 6)),
        "D follows N": (np.geomspace(1e7, 1e10, 8), np.geomspace(2e8, 2e11, 8)),
        "three rows": (np.array([1e8, 1e9, 3e8]), np.array([1e10, 3e9, 9e9])),
        "equal rows": (np.full(4, 1e9), np.full(4, 1e10)),
    }[shape]
    loss = 3.0 - 0.05 * np.arange(len(N))
    runs = Runs(pd.DataFrame({"N": N, "D": D, "C": 6 * N * D, "loss": loss}), name=shape)
    model, density = graphs(name)
    spec = read_model(name)
    with model:
        try:
            pm.set_data(data_of(runs, spec))
            logp, gradient = density(model.initial_point())
        finally:
            pm.set_data(data_of(A, spec))
    assert np.isfinite(logp)
    assert np.isfinite(gradient).all()
