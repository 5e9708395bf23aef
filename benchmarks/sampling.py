"""Time and effective draws of `scalebayes.fit` against PyMC's own default on the same graph and points.

Every route samples 4 x 1000 draws of the `chinchilla` spec on the 240 Chinchilla points in a process of its own, all in
one run, because machines differ and only ratios travel. `by hand` is the law as a script would write it: the same
priors and noise, plain random variables, amplitudes and exponents as parameters. Run with
``python benchmarks/sampling.py``; nothing is asserted here.
"""

import json
import subprocess
import sys
import time

ROUTES = ("scalebayes.fit", "refit in the same process", "pm.sample, same graph", "pm.sample, by hand")


def measure(route: str) -> dict[str, float]:
    """Run one route and say how it went: seconds of the whole call, and the worst parameter's diagnostics."""
    import scalebayes as sb

    runs = sb.load_runs("hoffmann2022")
    if route.startswith("pm.sample"):
        import pymc as pm

        from scalebayes.graph import pymc_model

        graph = pymc_model(runs, "chinchilla") if route.endswith("same graph") else by_hand(runs)
        started = time.perf_counter()
        with graph:
            tree = pm.sample(chains=4, draws=1000, random_seed=0, progressbar=False)
    else:
        if route.startswith("refit"):
            sb.fit(sb.load_runs("pile2023"), "chinchilla")
        started = time.perf_counter()
        tree = sb.fit(runs, "chinchilla").tree
    seconds = time.perf_counter() - started
    return {"seconds": seconds, **quality(tree)}


def by_hand(runs: object) -> object:
    """Write the additive law as the usual script does, with the spec's priors on amplitudes and exponents."""
    import numpy as np
    import pymc as pm

    with pm.Model() as model:
        L_inf = pm.Gamma("L_inf", alpha=2.0, beta=1.2)
        alpha_N = pm.LogNormal("alpha_N", np.log(0.3), 0.6)
        alpha_D = pm.LogNormal("alpha_D", np.log(0.3), 0.6)
        size_N = pm.LogNormal("size_N", np.log(0.4), 1.0)
        size_D = pm.LogNormal("size_D", np.log(0.4), 1.0)
        sigma = pm.HalfNormal("sigma", 0.1)
        nu = 2.0 + pm.Gamma("nu_above_2", 2.0, 0.1)
        A, B = size_N * 1e9**alpha_N, size_D * 2e10**alpha_D
        loss = L_inf + A / runs.N**alpha_N + B / runs.D**alpha_D
        pm.StudentT("log_loss", nu=nu, mu=pm.math.log(loss), sigma=sigma, observed=np.log(runs.loss))
    return model


def quality(tree: object) -> dict[str, float]:
    """Worst R-hat and effective draws over everything a route keeps, and divergences."""
    import arviz_stats as azs

    kept = tree["posterior"].to_dataset()
    return {
        "r_hat": float(azs.rhat(kept).to_array().max()),
        "ess_bulk": float(azs.ess(kept, method="bulk").to_array().min()),
        "ess_tail": float(azs.ess(kept, method="tail").to_array().min()),
        "divergences": int(tree["sample_stats"]["diverging"].sum()),
    }


def main() -> None:
    """Measure every route in its own process and print one line each, with the ratio to the first."""
    headings = ("seconds", "R-hat", "ESS bulk", "ESS tail", "diverged", "ESS/s", "ratio")
    print(f"{'route':28}" + "".join(f"{heading:>10}" for heading in headings))
    first = None
    for route in ROUTES:
        done = subprocess.run([sys.executable, __file__, route], capture_output=True, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        rate = row["ess_bulk"] / row["seconds"]
        first = first or rate
        print(
            f"{route:28}{row['seconds']:10.1f}{row['r_hat']:10.3f}{row['ess_bulk']:10.0f}{row['ess_tail']:10.0f}"
            f"{row['divergences']:10d}{rate:10.1f}{rate / first:10.2f}",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
