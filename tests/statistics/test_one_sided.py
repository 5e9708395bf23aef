"""One-sided noise on planted tables: it finds the frontier of well-tuned runs."""

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb

PARAMETERS = {"L_inf": 1.8, "N_c": 5e7, "alpha_N": 0.35, "D_c": 1e9, "alpha_D": 0.37}
LAW = sb.LAWS["additive"]


def planted(seed, gap=0.03, decay=0.15, rows=80):
    """Return runs of the law with noise of 0.4% and a gap that falls with compute."""
    rng = np.random.default_rng(seed)
    N = 10 ** rng.uniform(7, 9.5, rows)
    D = N * 10 ** rng.uniform(0.5, 2, rows)
    log_scale = np.log(N * D) - np.log(N * D).mean()
    error = 0.004 * rng.standard_normal(rows)
    error += gap * np.exp(-decay * log_scale) * rng.standard_exponential(rows)
    loss = LAW(N, D, **PARAMETERS) * np.exp(error)
    return sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), name="planted", strict=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_frontier_is_that_of_well_tuned_runs(seed):
    runs = planted(seed)
    fits = {}
    for model in ("chinchilla-one-sided", "chinchilla"):
        fits[model] = sb.fit(runs, model, seed=0, chains=2)
    one_sided = fits["chinchilla-one-sided"]
    assert one_sided.gate_failures == ()
    assert one_sided.metadata["engine"]["route"] == "kernel"
    N = LAW.optimise(1e21 / 6, PARAMETERS)
    loss = LAW(N, 1e21 / 6 / N, **PARAMETERS)
    best = sb.frontier(one_sided, C=1e21)
    for name, value in (("N", N), ("loss", loss)):
        low, high = np.quantile(best[name].values, [0.01, 0.99])
        assert low < value < high, name
    # Among the runs, symmetric noise takes their middle for the curve, which is a gap above it.
    above = {}
    for model, fit in fits.items():
        curve = sb.predict(fit, N=1e8, D=2e9)["loss"]
        above[model] = float(curve.median()) / LAW(1e8, 2e9, **PARAMETERS) - 1
    assert abs(above["chinchilla-one-sided"]) < 0.005
    assert above["chinchilla"] > 0.015
    assert float(best["loss"].std()) < float(sb.frontier(fits["chinchilla"], C=1e21)["loss"].std())
    # A run of the size of the table is expected above the curve, by the mean gap.
    new = sb.predict(one_sided, N=1e8, D=2e9)
    gap = float((new["new_run"] / new["loss"]).mean()) - 1
    assert 0.02 < gap < 0.06
