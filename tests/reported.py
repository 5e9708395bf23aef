"""Fits made by hand for the tests of reports: one of a law alone, one with a discrepancy, one with hostile names."""

import json

import numpy as np
import pandas as pd
import xarray as xr

import scalebayes as sb
from scalebayes.inference import _tree
from scalebayes.posterior import METADATA
from scalebayes.samplers import STATS, named

HOSTILE = (
    "<img src=x onerror=\"window.hacked='img'\"> $\\frac{a}$ | `x` </script><script>window.hacked='script'</script>"
)


def table(name="grid", ids=None, **about):
    """Runs at six sizes with four amounts of data, losses those of Besiroglu's law with a scatter of half a percent."""
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e8, 1e10, 6), np.geomspace(1e9, 1e11, 4)))
    scatter = np.exp(0.005 * np.random.default_rng(0).standard_normal(len(N)))
    loss = (1.8172 + 482.01 / N**0.3478 + 2085.43 / D**0.3658) * scatter
    runs = sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), name=name, strict=False)
    frame = runs.table if ids is None else runs.table.set_axis(ids)
    return sb.Runs(frame, name, about.get("source"), tuple(about.get("notes", ())))


def made(model="chinchilla", runs=None, chains=4, draws=250, gate_failures=()):
    """A fit whose draws lie independently around Besiroglu's values: nothing is sampled."""
    runs = table() if runs is None else runs
    spec, rng, shape = sb.read_model(model), np.random.default_rng(1), (chains, draws)
    sizes = {"N_c": 482.01 / 1e9**0.3478, "D_c": 2085.43 / 2e10**0.3658}
    values = {
        "L_inf": 1.8172,
        "alpha_N": 0.3478,
        "alpha_D": 0.3658,
        "kappa": 0.95,
        "sigma": 0.005,
        "nu": 8,
        "eta": 0.02,
    }
    values |= {"alpha_C": 0.06}
    drawn = {name: values.get(name, 0.4) * np.exp(0.03 * rng.standard_normal(shape)) for name in spec.priors}
    for name in ("N_c", "D_c"):
        if name in drawn:
            size = sizes[name] * np.exp(0.03 * rng.standard_normal(shape))
            drawn[name] = spec.priors[name].at * size ** (1 / drawn[f"alpha_{name[0]}"])
    coords = {"chain": np.arange(chains), "draw": np.arange(draws)}
    posterior = xr.Dataset({name: (("chain", "draw"), value) for name, value in drawn.items()}, coords)
    calm = xr.Dataset(
        {theirs: (("chain", "draw"), rng.standard_normal(shape) * 0) for theirs in STATS.values()}, coords
    )
    raw = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": calm})
    tree = _tree(named(raw, spec, runs), spec, runs, seed=0)
    about = {"seed": 0, "sampler": {"chains": chains, "draws": draws}, "attempts": 1, "partial": False}
    about |= {"gate_failures": [*gate_failures], "versions": {"numpy": "2.1"}}
    tree.attrs[METADATA] = json.dumps(about | {"hashes": {"spec": spec.hash, "runs": runs.hash}})
    return sb.Fit(spec, runs, tree)


def hostile(**about):
    """A fit of runs whose name, ids, source and notes would run or break whatever does not escape them."""
    ids = [f"{i} {HOSTILE}" for i in range(24)]
    return made(runs=table(HOSTILE, ids, source=HOSTILE, notes=(HOSTILE,)), **about)
