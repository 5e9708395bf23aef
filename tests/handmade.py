"""Fits made of draws by hand, for tests that need a posterior and no sampler."""

import json

import numpy as np
import xarray as xr

import scalebayes as sb
from scalebayes.fitting.fit import _tree
from scalebayes.fitting.samplers import STATS, named
from scalebayes.posterior.fit import METADATA
from scalebayes.validation.sensitivity import variants

INTEGRATED = variants(sb.read_model("coupled-discrepancy"))["Normal noise"]
"""The default under the noise that lets its discrepancy be integrated out, with each run's density given all others."""


def scattered(model, values, shape, rng, width=0.02):
    """Draws of every parameter of a spec around values, 0.4 where none is given; a scale by the size of its term."""
    spec = sb.read_model(model)
    drawn = {
        name: values.get(name, 0.4) * np.exp(width * rng.standard_normal(shape))
        for name in spec.priors
    }
    for parameter in spec.law_object.parameters:
        if parameter.scale_of:
            at = spec.priors[parameter.name].at
            drawn[parameter.name] = at * drawn[parameter.name] ** (1 / drawn[parameter.exponent])
    return drawn


def pooled_spec(model):
    """A spec pooled by family, its groups about a tenth apart in everything; one that is pooled as it stands."""
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


def fit_of(model, runs, gate_failures=(), **draws):
    """A fit of draws of its parameters, (chain, draw); a sampled discrepancy follows the runs or is given: weights."""
    spec = sb.read_model(model)
    if spec.observation.samples_discrepancy and "weights" not in draws:
        draws["weights"] = likely_weights(spec, runs, draws)
    shape = next(iter(draws.values())).shape
    coords = {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}
    dims = ("chain", "draw", "vector")  # the last of the weights
    posterior = xr.Dataset(
        {name: (dims[: value.ndim], value) for name, value in draws.items()}, coords
    )
    calm = {theirs: np.zeros(shape) for theirs in STATS.values()}
    calm["energy"] = np.random.default_rng(0).standard_normal(shape)
    statistics = xr.Dataset({name: (dims[:2], value) for name, value in calm.items()}, coords)
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


def likely_weights(spec, runs, draws):
    """Weights of the discrepancy given the runs, were the noise Normal and as informative as it is."""
    law, noise, basis = spec.law_object, spec.noise_object, spec.observation.basis(runs)
    values = {name: draws[name][..., None] for name in spec.priors}
    curve = law.function(
        *(getattr(runs, x) for x in law.inputs), **{x: values[x] for x in law.parameter_names}
    )
    variance = noise.equivalent(**{x: values[x] for x in noise.priors})
    size = values["eta"] * np.sqrt(basis.values)
    rotated = (law.log_response(runs) - np.log(curve)) @ basis.vectors
    total = variance + size**2
    chance = np.random.default_rng(0).standard_normal(rotated.shape)
    return size * rotated / total + np.sqrt(variance / total) * chance
