"""Tables of runs and fits that tests share. The fits are draws made by hand: nothing is sampled."""

import json

import numpy as np
import pandas as pd
import xarray as xr

import scalebayes as sb
from scalebayes.fitting.fit import _tree
from scalebayes.fitting.graph import sampler_data
from scalebayes.fitting.samplers import STATS, named
from scalebayes.posterior.fit import METADATA
from scalebayes.specs.spec import prior_draws
from scalebayes.specs.table_units import normalise
from scalebayes.validation.sensitivity import variants

BESIROGLU = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
"""Constants of Besiroglu et al. 2024 (arXiv:2404.10102), in the paper's notation."""

BESIROGLU_PARAMETERS = sb.LAWS["additive"].from_notation(BESIROGLU)
"""The same constants as parameters of the additive law: L_inf, N_c, alpha_N, D_c, alpha_D."""

BESIROGLU_SIZES = {
    "L_inf": BESIROGLU["E"],
    "alpha_N": BESIROGLU["alpha"],
    "alpha_D": BESIROGLU["beta"],
    "N_c": BESIROGLU["A"] / 1e9 ** BESIROGLU["alpha"],
    "D_c": BESIROGLU["B"] / 2e10 ** BESIROGLU["beta"],
}
"""The same constants for `scattered`: N_c and D_c are the nats of their terms at 1e9 and 2e10."""

CHINCHILLA = {
    "L_inf": 1.8,
    "N_c": 5e7,
    "alpha_N": 0.35,
    "D_c": 1.2e9,
    "alpha_D": 0.37,
    "sigma": 0.01,
    "nu": 5.0,
}
"""Round values of every parameter of the chinchilla model."""

VALUES = {
    "L_inf": 1.8,
    "L_0": 2.6,
    "alpha_N": 0.35,
    "alpha_D": 0.37,
    "alpha_C": 0.06,
    "kappa": 0.8,
    "sigma": 0.02,
    "nu": 6.0,
    "eta": 0.02,
    "tau": 0.01,
    "tau_loss": 0.01,
}
"""Round values of parameters, about those of published fits. `scattered` draws around them."""

REFERENCE = {"N": 1e9, "D": 2e10, "U": 2e10, "C": 1e21, "S": 1e4, "P": 15.0}
"""Inputs at which sizes of terms are given."""

INTEGRATED = variants(sb.read_model("coupled-discrepancy"))["Normal noise"]
"""The default model with Normal noise, which lets the discrepancy be integrated out."""

HOSTILE = (
    "<img src=x onerror=\"window.hacked='img'\"> $\\frac{a}$ | `x` "
    "</script><script>window.hacked='script'</script>"
)
"""A name that would run or break whatever does not escape it."""


def besiroglu_loss(N, D):
    """Return the loss of Besiroglu's law at N and D."""
    E, A, B, alpha, beta = BESIROGLU.values()
    return E + A / N**alpha + B / D**beta


def cross(N, D):
    """Return every N with every D as two flat arrays; N varies fastest."""
    N, D = np.meshgrid(N, D)
    return N.ravel(), D.ravel()


def grid_of_sizes(sizes=6, amounts=4):
    """Return the N and D of a grid from 1e8 to 1e10 parameters and 1e9 to 1e11 tokens."""
    return cross(np.geomspace(1e8, 1e10, sizes), np.geomspace(1e9, 1e11, amounts))


def grid_runs(N=None, D=None, noise=0.01, name="grid", **columns):
    """Return runs at every N with every D: Besiroglu's law with Normal noise of seed 0."""
    N, D = grid_of_sizes() if N is None else cross(N, D)
    rng = np.random.default_rng(0)
    loss = besiroglu_loss(N, D) * np.exp(noise * rng.standard_normal(len(N)))
    table = pd.DataFrame({"N": N, "D": D, "loss": loss, **columns})
    return sb.read_runs(table, name=name, strict=False)


def noiseless_runs(name="grid", shift=0.0, **columns):
    """Return runs at five sizes with four amounts of data: losses of a round law, without noise."""
    N, D = grid_of_sizes(5, 4)
    loss = 1.8 + 400 / N**0.35 + 2000 / D**0.37 + shift
    return sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss, **columns}), name=name)


def runs_of_every_input(rows, seed, **columns):
    """Return runs of Hoffmann's law with 2% of noise and a column for every input of a law.

    Further columns are callables of the number of rows.
    """
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(7.5, 9.5, rows), 10 ** rng.uniform(9, 11, rows)
    loss = (1.7 + 400 / N**0.34 + 410 / D**0.28) * np.exp(0.02 * rng.standard_normal(rows))
    others = {
        "S": D / 5e5,
        "U": D / rng.choice([1, 3, 10], rows),
        "E": rng.choice([1, 16, 256], rows),
        "learning_rate": 1e-3 * np.resize([0.5, 1.0, 2.0, 4.0], rows),
        "batch": 5e5 * np.resize([0.5, 1.0, 2.0], rows),
    }
    table = pd.DataFrame({"N": N, "D": D, **columns, **others, "loss": loss})
    runs = sb.read_runs(table, name=f"synthetic {seed}")
    accuracy = 0.2 + 2.0 * np.exp(-0.7 * runs.loss)  # for the laws of accuracy
    return sb.Runs(runs.table.assign(accuracy=accuracy), runs.name)


def around(values, shape, rng, width=0.01):
    """Return draws of each value: lognormal around it, with this standard deviation of the log."""
    return {
        name: value * np.exp(width * rng.standard_normal(shape)) for name, value in values.items()
    }


def priors_without_noise(spec):
    """Return the stated priors of a spec except those of its noise."""
    priors = spec.model_dump()["priors"]
    return {name: prior for name, prior in priors.items() if name not in ("sigma", "nu")}


def scattered(model, values, shape, rng, width=0.02):
    """Return draws of every parameter of a spec around values, and around 0.4 where none is given.

    The value of a scale such as N_c is the size of its term in nats at `REFERENCE`.
    """
    spec = sb.read_model(model)
    drawn = {
        name: values.get(name, 0.4) * np.exp(width * rng.standard_normal(shape))
        for name in spec.priors
    }
    for parameter in spec.law_object.parameters:
        if parameter.scale_of:
            at = REFERENCE[parameter.scale_of]
            drawn[parameter.name] = at * drawn[parameter.name] ** (1 / drawn[parameter.exponent])
    return drawn


def pooled_spec(model):
    """Return the spec pooled by family, with groups about a tenth apart in every parameter.

    A spec that is already pooled is returned as it is.
    """
    spec = sb.read_model(model)
    if spec.pool:
        return spec
    tenth = {
        "dist": "LogNormal",
        "median": 0.12,
        "sigma": 0.5,
        "reason": "groups differ by about a tenth",
    }
    spread = dict.fromkeys((*spec.law_object.parameter_names, "sigma"), tenth)
    stated = spec.model_dump() | {
        "name": f"{spec.name}-by-family",
        "pool": "family",
        "spread": spread,
    }
    return sb.Spec.model_validate(stated)


NATS = {
    "L_inf": {"dist": "Gamma", "alpha": 2.0, "beta": 1.2},
    "N_c": {"at": 1e9, "dist": "LogNormal", "median": 0.4, "sigma": 1.0},
    "alpha_N": {"dist": "LogNormal", "median": 0.3, "sigma": 0.6},
    "D_c": {"at": 2e10, "dist": "LogNormal", "median": 0.4, "sigma": 1.0},
    "alpha_D": {"dist": "LogNormal", "median": 0.3, "sigma": 0.6},
    "sigma": {"dist": "HalfNormal", "sigma": 0.1},
}
"""Priors in nats, parameters and tokens, for specs that are relative to no table."""


def in_nats(model):
    """Return the spec of a law with these parameters, with priors in nats."""
    stated = sb.read_model(model).model_dump()
    for name, prior in NATS.items():
        stated["priors"][name] = prior | {"reason": "in nats"}
    return sb.Spec.model_validate(stated | {"name": f"{stated['name']}-in-nats"})


def normalised(runs, model):
    """Return a table and a spec in the units in which the law is sampled."""
    both = normalise(runs, sb.read_model(model))
    return both.runs, both.spec


def data_of(runs, model):
    """Return the data of a compiled sampler of a spec on a table."""
    return sampler_data(*normalised(runs, model))


def prior_of(runs, model, draws, seed=0):
    """Return draws from the prior of a spec in the units of a table, (draws,) by name."""
    spec = sb.read_model(model)
    both = normalise(runs, spec)
    drawn = prior_draws(both.spec, draws, seed)
    return drawn | spec.law_object.rescale(drawn, both.units)


def draws_around(model, shape, seed=1, width=0.02, **changed):
    """Return draws of every parameter of a spec around `VALUES`, some of them changed."""
    return scattered(model, VALUES | changed, shape, np.random.default_rng(seed), width)


def fit_of(model, runs, gate_failures=(), **draws):
    """Return a fit of given draws of its parameters, each of shape (chain, draw).

    The weights of a sampled discrepancy, (chain, draw, vector), follow the runs unless given, and
    paths of a law that drifts are drawn from their prior.
    """
    spec = sb.read_model(model)
    if spec.drift is not None:
        draws |= paths_from_prior(spec, runs, next(iter(draws.values())).shape)
    elif spec.observation.traits.samples_discrepancy and "weights" not in draws:
        draws["weights"] = likely_weights(spec, runs, draws)
    shape = next(iter(draws.values())).shape
    coords = {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}
    variables = {}
    for name, value in draws.items():
        dims = ("chain", "draw", f"entry_{name}")  # the last of weights and paths
        variables[name] = (dims[: value.ndim], value)
    posterior = xr.Dataset(variables, coords)
    calm = {theirs: np.zeros(shape) for theirs in STATS.values()}
    calm["energy"] = np.random.default_rng(0).standard_normal(shape)
    of_draws = ("chain", "draw")
    statistics = xr.Dataset({name: (of_draws, value) for name, value in calm.items()}, coords)
    raw = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": statistics})
    tree = _tree(named(raw, spec, runs), spec, runs, seed=0)
    metadata = {
        "seed": 0,
        "sampler": {"chains": shape[0], "draws": shape[1], "tune": 1000},
        "attempts": 1,
    }
    metadata |= {"partial": False, "gate_failures": [*gate_failures], "versions": {"numpy": "2.1"}}
    metadata["hashes"] = {"spec": spec.hash, "runs": runs.hash}
    tree.attrs[METADATA] = json.dumps(metadata)
    return sb.Fit(spec, runs, tree)


def paths_from_prior(spec, runs, shape):
    """Return standard Normal steps of the paths of a law that drifts, as the sampler keeps them."""
    rng = np.random.default_rng(0)
    steps = {}
    for name, knots in spec.observation.knots(runs).items():
        steps[f"path_{name}"] = rng.standard_normal((*shape, len(knots) - 1))
    return steps


def likely_weights(spec, runs, draws):
    """Return weights of the discrepancy given the runs, under Normal noise of equal information."""
    law, noise, basis = spec.law_object, spec.noise_object, spec.observation.basis(runs)
    values = {name: draws[name][..., None] for name in spec.priors}
    variance = noise.equivalent(**{x: values[x] for x in noise.priors})
    size = values["eta"] * np.sqrt(basis.values)
    rotated = law.log_residual(runs, values) @ basis.vectors
    total = variance + size**2
    chance = np.random.default_rng(0).standard_normal(rotated.shape)
    return size * rotated / total + np.sqrt(variance / total) * chance


def pooled_fit(runs, seed, share_of_prior=()):
    """Return a fit of chinchilla-pooled of draws around Chinchilla's values.

    share_of_prior: width of the draws of a spread over its prior's, by name.
    """
    rng, spec, shape = np.random.default_rng(seed), sb.read_model("chinchilla-pooled"), (4, 300)
    names = list(dict.fromkeys(runs.table["group"]))
    values = {
        "L_inf": 1.6,
        "N_c": 5e7,
        "alpha_N": 0.35,
        "D_c": 1.2e9,
        "alpha_D": 0.37,
        "sigma": 0.01,
    }
    made = {"nu": 5 + rng.random(shape)}
    for name, value in values.items():
        tau = 0.05 * np.exp(0.3 * rng.standard_normal(shape))
        if name in share_of_prior:
            prior = spec.spread[name]
            drawn = prior.median * np.exp(prior.sigma * rng.standard_normal(shape))
            tau = drawn.mean() + share_of_prior[name] * (drawn - drawn.mean())
        mu = np.log(value) + 0.02 * rng.standard_normal(shape)
        made[f"{name}_spread"], made[f"{name}_population"] = tau, np.exp(mu)
        made[name] = np.exp(
            mu[..., None] + tau[..., None] * rng.standard_normal((*shape, len(names)))
        )
    dims = ("chain", "draw", "some_dim")
    coords = {"chain": np.arange(4), "draw": np.arange(300)}
    posterior = xr.Dataset({n: (dims[: v.ndim], v) for n, v in made.items()}, coords)
    calm = xr.Dataset({theirs: (dims[:2], np.zeros(shape)) for theirs in STATS.values()}, coords)
    calm["energy"] = (dims[:2], rng.standard_normal(shape))
    raw = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": calm})
    tree = _tree(named(raw, spec, runs), spec, runs, seed=0)
    hashes = {"spec": spec.hash, "runs": runs.hash}
    tree.attrs[METADATA] = json.dumps(
        {"partial": False, "gate_failures": [], "hashes": hashes, "seed": 0}
    )
    return sb.Fit(spec, runs, tree)


def bare_fit(spec, runs, values):
    """Return a fit of draws, each of shape (chain, draw), whose tree has the posterior alone."""
    chains, draws = next(iter(values.values())).shape
    coords = {"chain": np.arange(chains), "draw": np.arange(draws)}
    variables = {name: (("chain", "draw"), value) for name, value in values.items()}
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset(variables, coords)})
    tree.attrs[METADATA] = json.dumps({"partial": False, "gate_failures": []})
    return sb.Fit(sb.read_model(spec), runs, tree)


def report_runs(name="grid", ids=None, source=None, notes=()):
    """Return the grid of runs with half a percent of noise, for reports."""
    runs = grid_runs(noise=0.005, name=name)
    table = runs.table if ids is None else runs.table.set_axis(ids)
    return sb.Runs(table, name, source, tuple(notes))


def report_fit(model="chinchilla", runs=None, chains=4, draws=250, gate_failures=()):
    """Return a fit whose draws lie independently around Besiroglu's values."""
    runs = report_runs() if runs is None else runs
    values = BESIROGLU_SIZES | {
        "alpha_C": 0.06,
        "kappa": 0.95,
        "sigma": 0.005,
        "nu": 8,
        "eta": 0.02,
    }
    drawn = scattered(model, values, (chains, draws), np.random.default_rng(1), width=0.03)
    return fit_of(model, runs, gate_failures, **drawn)


def hostile_fit(**options):
    """Return a fit of runs with a hostile name, ids, source and notes."""
    ids = [f"{i} {HOSTILE}" for i in range(24)]
    runs = report_runs(HOSTILE, ids, source=HOSTILE, notes=(HOSTILE,))
    return report_fit(runs=runs, **options)


TUNED = {
    "L_inf": 1.8,
    "N_c": 5e7,
    "alpha_N": 0.35,
    "D_c": 1.2e9,
    "alpha_D": 0.37,
    "rate_0": 8e-4,
    "rate_N": 0.2,
    "rate_D": 2.0,
    "batch_0": 4e5,
    "batch_N": 0.9,
    "batch_D": 4.0,
    "rho": 0.35,
    "c_rate": 0.008,
    "c_batch": 0.006,
    "skew": 0.6,
}
"""Round values of every parameter of the law of tuned runs."""
NOISE_OF_SWEEPS = {"sigma": 0.003, "nu": 4.0, "share": 0.1, "excess": 0.7}
ERRORS_OF_SWEEPS = {"tau_rate": 0.05, "tau_batch": 0.05, "omega": 0.002}


def sweep_runs(seed=0, rates=6, batches=5, diverged=0.1):
    """Return grids of learning rate and batch at six (N, D), some of whose runs diverged."""
    rng = np.random.default_rng(seed)
    law = sb.LAWS["tuned"]
    places = {name: value for name, value in TUNED.items() if name.startswith(("rate", "batch"))}
    rows = []
    for N, D in [(1e8, 2e9), (1e8, 1e10), (3e8, 6e9), (3e8, 3e10), (1e9, 2e10), (1e9, 8e10)]:
        best = law.best(N, D, **places)
        moved = rng.normal(0, 0.05, 2)
        offset = rng.normal(0, 0.002)
        for rate in np.geomspace(0.2, 4, rates):
            for batch in np.geomspace(0.2, 4, batches):
                inputs = (N, D, rate * best["learning_rate"], batch * best["batch"])
                shift = np.exp(moved)
                curve = law(N, D, inputs[2] / shift[0], inputs[3] / shift[1], **TUNED)
                excess = 0.8 if rng.random() < diverged else 0.0
                noise = offset + rng.normal(0, 0.003) + excess
                rows.append((*inputs, float(curve) * np.exp(noise)))
    table = pd.DataFrame(rows, columns=["N", "D", "learning_rate", "batch", "loss"])
    return sb.read_runs(table, name="sweeps")


def tuned_fit(runs=None, shape=(2, 200)):
    """Return a fit of the law of tuned runs of draws around `TUNED`: nothing is sampled."""
    rng = np.random.default_rng(0)
    drawn = around({**TUNED, **NOISE_OF_SWEEPS, **ERRORS_OF_SWEEPS}, shape, rng, width=0.02)
    for name in ("rate_weights", "batch_weights", "offset_weights"):
        drawn[name] = 0.1 * rng.standard_normal((*shape, 8))
    return fit_of("tuned", runs or sweep_runs(), **drawn)
