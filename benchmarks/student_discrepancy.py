"""Is Student-t noise under a discrepancy worth its latent variables? Two tables say.

With Normal noise a discrepancy integrates out; with Student-t noise it must be sampled. Here it is, by hand:
delta = U (eta sqrt(lambda) w), w independent standard Normal along the leading eigenvectors of the kernel on the table.
Its gate and its scores on held-out runs stand beside those of ``coupled-discrepancy`` on the same splits. Run with
``python benchmarks/student_discrepancy.py``; it is why a spec with a discrepancy takes Normal noise only.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import arviz_stats as azs
import numpy as np
from calibration import load

import scalebayes as sb
from scalebayes import backtesting as bt
from scalebayes.discrepancy import Basis
from scalebayes.graph import _log_prior, sampler_data

SPEC = sb.read_model("coupled-discrepancy")
LAW = SPEC.law_object
RANK = 70
"""Leading eigenvectors kept: what is left out has eigenvalues below 1e-3 on these tables."""
COMPILED: dict[str, Any] = {}


def leading(runs: sb.Runs) -> Basis:
    """Leading eigenvectors of the kernel on a table, always as many."""
    basis = SPEC.discrepancy.basis(runs.log_inputs(LAW.inputs))
    keep = np.argsort(-basis.values)[:RANK]
    return replace(basis, vectors=basis.vectors[:, keep], values=basis.values[keep])


def data(runs: sb.Runs) -> dict[str, np.ndarray]:
    """Everything the graph takes from a table, as float arrays of fixed rank."""
    basis = leading(runs)
    missing = RANK - len(basis.values)
    vectors = np.pad(basis.vectors, ((0, 0), (0, missing)))
    known = {k: v for k, v in sampler_data(runs, SPEC).items() if not k.startswith(("prior_sigma", "prior_eta"))}
    return known | {"eigenvectors": vectors, "eigenvalues": np.pad(basis.values, (0, missing))}


def graph(runs: sb.Runs) -> Any:
    """Write the spec's graph with Student-t noise and the discrepancy as latent weights."""
    import pymc as pm
    import pytensor.tensor as pt

    with pm.Model() as model:
        known = {name: pm.Data(name, value) for name, value in data(runs).items()}
        steps = LAW.coordinates.steps().items()
        z = {name: known[f"start_{name}"] + step * pm.Flat(name, initval=0.0) for name, step in steps}
        logs, log_jacobian = LAW.coordinates.recover(z, {x: known[f"centre_{x}"] for x in LAW.inputs})
        parameters = {name: pm.Deterministic(name, pt.exp(logs[name])) for name in LAW.parameter_names}
        pm.Potential("prior", _log_prior(SPEC, logs, known) + log_jacobian)
        sigma, eta = pm.HalfNormal("sigma", 0.1), pm.LogNormal("eta", np.log(0.01), 1.0)
        nu = pm.Deterministic("nu", 2.0 + pm.Gamma("nu_above_2", alpha=2.0, beta=0.1))
        weights = pm.Normal("weights", 0.0, 1.0, shape=RANK)
        delta = known["eigenvectors"] @ (eta * pt.sqrt(known["eigenvalues"]) * weights)
        loss = LAW.function(*(pt.exp(known[f"log_{x}"]) for x in LAW.inputs), **parameters)
        pm.StudentT("log_loss", nu=nu, mu=pt.log(loss) + delta, sigma=sigma, observed=known["observed"])
    return model


def student(train: sb.Runs, N: np.ndarray, D: np.ndarray, seed: int) -> np.ndarray:
    """Draws of new runs, (draws, targets); how the sampler fared goes to stdout."""
    import nutpie

    started = time.perf_counter()
    if "graph" not in COMPILED:
        COMPILED["graph"] = nutpie.compile_pymc_model(graph(train))
    sampler = COMPILED["graph"].with_data(**data(train))
    settings = {"draws": 1000, "tune": 2000, "chains": 2, "target_accept": 0.97, "adaptation": "low_rank"}
    tree = nutpie.sample(sampler, seed=seed, progress_bar=False, save_warmup=False, **settings)
    names = [*LAW.parameter_names, "sigma", "eta", "nu"]
    posterior = tree["posterior"].to_dataset()
    worst = float(azs.rhat(posterior[names]).to_array().max()), float(azs.ess(posterior[names]).to_array().min())
    diverged = int(tree["sample_stats"]["diverging"].sum())
    seconds = time.perf_counter() - started
    gate = f"R-hat {worst[0]:.3f}, ESS {worst[1]:.0f}, {diverged} diverged"
    print(f"{train.name}, {len(train)} runs: {gate}, {seconds:.0f} s", flush=True)
    draw = {name: posterior[name].values.ravel()[:, None] for name in names}
    basis, rng = leading(train), np.random.default_rng(seed)
    reach = basis.project(basis.scale((N, D))) / np.sqrt(basis.values)
    w = posterior["weights"].values.reshape(-1, RANK)[:, : len(basis.values)]
    unseen = np.sqrt((1.0 - (reach**2).sum(axis=1)).clip(0.0))
    delta = draw["eta"] * (w @ reach.T + unseen * rng.standard_normal((len(w), len(N))))
    noise = draw["sigma"] * rng.standard_t(draw["nu"], delta.shape)
    return LAW.function(N, D, **{name: draw[name] for name in LAW.parameter_names}) * np.exp(delta + noise)


def main() -> None:
    methods = {"student-t, latent": student, "normal, integrated out": SPEC}
    for name in ("hoffmann2022", "gemstones2025"):
        runs = load(name)
        if runs is not None:
            result = bt.backtest(runs, methods, shares=[0.5, 0.7])
            print(bt.readable(result.table(baseline="normal, integrated out")).T.to_string(), flush=True)


if __name__ == "__main__":
    main()
