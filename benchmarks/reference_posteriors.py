"""Posteriors by an independent sampler: Stan, with a program in the original parameters.

Three specs on three tables. Nothing of the package's inference is used: the program states law,
priors and noise again. It samples exponents, floor and the term sizes at the reference scales, not
the natural coordinates, and leaves constraints and Jacobians to Stan. A discrepancy is sampled as
weights of all eigenvectors of its kernel, those of large eigenvalues times eta: no eigenvector is
dropped, and no weight is centred at its value given the runs.

That takes hours on 240 runs, so this one pair is sampled by PyMC's own NUTS (10 chains of 10,000
draws, its starts and adaptation) on the package's `pm.Model`. tests/fitting/test_graph.py compares
the density of that model with one written by hand. There the sampler is independent, but not the
coordinates.

Tests compare fits with the stored means, standard deviations, quantiles and Monte Carlo errors of
the logs of all parameters, of the loss at 70B on 1.4T, and of N* at 5.76e23 FLOP. Needs R with
rstan (Debian: ``apt-get install r-cran-rstan``) and the public tables of the tests:

    python benchmarks/reference_posteriors.py --make   # samples with Stan, writes the JSON files
    python benchmarks/reference_posteriors.py          # compares fits of the package with them

The first takes most of an hour.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

import scalebayes as sb

HERE = Path(__file__).parent
STORED = HERE.parent / "tests" / "references"
SHARED = Path(os.environ.get("SCALEBAYES_SHARED_DATA", HERE.parents[1] / "shared" / "data"))
SPECS = ("chinchilla", "coupled", "coupled-discrepancy")
TABLES = ("hoffmann2022", "pile2023", "muennighoff2023")
BY_PYMC = ("coupled-discrepancy", "hoffmann2022")
"""A spec and a table that Stan did not finish in an hour."""
PYMC = {"chains": 10, "draws": 10_000, "tune": 2000, "target_accept": 0.95}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
FAR, BUDGET = {"N": 70e9, "D": 1.4e12}, 5.76e23
CHAINS, WARMUP = 4, 1500


PRIORS: dict[str, dict[str, Any]] = {
    "L_inf": {"dist": "Gamma", "alpha": 2.0, "beta": 1.2},
    "N_c": {"at": 1e9, "dist": "LogNormal", "median": 0.4, "sigma": 1.0},
    "alpha_N": {"dist": "LogNormal", "median": 0.3, "sigma": 0.6},
    "D_c": {"at": 2e10, "dist": "LogNormal", "median": 0.4, "sigma": 1.0},
    "alpha_D": {"dist": "LogNormal", "median": 0.3, "sigma": 0.6},
    "sigma": {"dist": "HalfNormal", "sigma": 0.1},
}
"""Priors of the Stan program, in nats: models/ states them relative to the table."""


def in_nats(model: str) -> sb.Spec:
    """Return a model with the priors of the Stan program."""
    stated = sb.read_model(model).model_dump()
    for name, prior in PRIORS.items():
        stated["priors"][name] = prior | {"reason": "as in the Stan program"}
    return sb.Spec.model_validate(stated)


class Sampling(NamedTuple):
    """Settings of Stan's sampler: draws a chain, target acceptance, and cores."""

    draws: int = 5000
    adapt_delta: float = 0.99
    cores: int = 2


STAN = """
data {
  int<lower=1> n;
  vector[n] log_N;
  vector[n] log_D;
  vector[n] log_loss;
  int<lower=0, upper=1> free_kappa;
  int<lower=0, upper=1> gp;
  real kappa_median;
  real kappa_sigma;
}
transformed data {
  matrix[n, n] root = rep_matrix(0, n, n);
  vector[n] scaled = rep_vector(0, n);
  if (gp) {
    matrix[n, n] K;
    vector[n] lambda;
    for (i in 1:n) for (j in 1:n) {
      real r = sqrt(5 * (square(log_N[i] - log_N[j]) + square(log_D[i] - log_D[j]))) / log(10);
      K[i, j] = (1 + r + square(r) / 3) * exp(-r);
    }
    root = eigenvectors_sym(K);
    lambda = eigenvalues_sym(K);
    for (i in 1:n) {
      root[, i] *= sqrt(fmax(lambda[i], 0));
      scaled[i] = lambda[i] > 0.1;
    }
  }
}
parameters {
  real<lower=0> L_inf;
  real<lower=0> size_N;
  real<lower=0> alpha_N;
  real<lower=0> size_D;
  real<lower=0> alpha_D;
  real<lower=0> free[free_kappa];
  real<lower=0> sigma;
  real<lower=0> nu_above_2;
  real<lower=0> eta_free[gp];
  vector[gp * n] weights;  // times eta / 0.01 where scaled
}
transformed parameters {
  real kappa = free_kappa ? free[1] : 1;
  vector[n] mu;
  for (i in 1:n)
    mu[i] = log(L_inf + exp(kappa * log_sum_exp(
      (log(size_N) - alpha_N * (log_N[i] - log(1e9))) / kappa,
      (log(size_D) - alpha_D * (log_D[i] - log(2e10))) / kappa)));
  if (gp)
    mu += root * (weights .* (0.01 * scaled + eta_free[1] * (1 - scaled)));
}
model {
  L_inf ~ gamma(2, 1.2);
  size_N ~ lognormal(log(0.4), 1);
  size_D ~ lognormal(log(0.4), 1);
  alpha_N ~ lognormal(log(0.3), 0.6);
  alpha_D ~ lognormal(log(0.3), 0.6);
  free ~ lognormal(log(kappa_median), kappa_sigma);
  sigma ~ normal(0, 0.1);
  nu_above_2 ~ gamma(2, 0.1);
  eta_free ~ lognormal(log(0.01), 1);
  if (gp)
    weights ~ normal(0, eta_free[1] / 0.01 * scaled + 1 - scaled);
  log_loss ~ student_t(2 + nu_above_2, mu, sigma);
}
"""

R = """
library(rstan)
arguments <- commandArgs(trailingOnly = TRUE)
boost <- rstan_options("boost_lib")
if (!nzchar(boost)) boost <- "/usr/include"  # Debian's BH package has no headers of its own
compiled <- arguments[1]
if (!file.exists(compiled)) saveRDS(stan_model(arguments[2], boost_lib = boost), compiled)
set <- readRDS(compiled)
if (length(arguments) > 2) {
  fit <- sampling(set, data = read_rdump(arguments[3]), chains = %d, warmup = %d, iter = %d,
                  cores = %d, seed = 1, refresh = 0, pars = c("mu", "weights"),
                  include = FALSE, init_r = 1,
                  control = list(adapt_delta = %s, metric = "dense_e", max_treedepth = 12))
  kept <- as.array(fit)
  columns <- matrix(kept, ncol = dim(kept)[3], dimnames = list(NULL, dimnames(kept)[[3]]))
  rows <- data.frame(chain = rep(seq_len(dim(kept)[2]), each = dim(kept)[1]), columns,
                     check.names = FALSE)
  write.csv(rows, arguments[4], row.names = FALSE)
  cat("divergences", get_num_divergent(fit), "\\n")
  cat("version", as.character(packageVersion("rstan")), stan_version(), "\\n")
}
"""


def public_runs(name: str) -> sb.Runs:
    """A table of the comparison: without repeated data, and with the best run of each sweep."""
    if name in sb.list_runs().query("available == 'embedded'").index:
        return sb.load_runs(name)
    import pandas as pd

    table = pd.read_csv(SHARED / f"{name}.csv")
    if name == "muennighoff2023":
        once = table["epochs"] <= 1  # these laws do not describe repeated data
        table = table[once].drop(columns="unique_tokens")
    if name == "misfitting2025":
        table = table.loc[table.groupby(["params", "tokens"])["loss"].idxmin()]
    return sb.read_runs(table, name=name)


def stan_data(runs: sb.Runs, model: str) -> dict[str, Any]:
    """Data of the Stan program, with the kappa prior of the spec; it states the other priors."""
    gp = model.endswith("discrepancy")
    kappa = {"kappa_median": 1.0 if gp else 0.7, "kappa_sigma": 0.4 if gp else 0.6}
    flags = {"free_kappa": int(model.startswith("coupled")), "gp": int(gp)}
    logs = {"log_N": np.log(runs.N), "log_D": np.log(runs.D), "log_loss": np.log(runs.loss)}
    return {"n": len(runs), **flags, **kappa, **logs}


def dump(data: dict[str, Any]) -> str:
    """Text that R's ``read_rdump`` reads."""
    lines = []
    for name, value in data.items():
        if np.ndim(value):
            numbers = ", ".join(f"{number:.17g}" for number in value)
            lines.append(f"{name} <- c({numbers})\n")
        else:
            lines.append(f"{name} <- {value!r}\n")
    return "".join(lines)


def sample_stan(
    runs: sb.Runs, model: str, folder: Path, how: Sampling
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Draws of the Stan program, (chain, draw), and the settings and results of the sampler."""
    (folder / "law.stan").write_text(STAN)
    (folder / "sample.R").write_text(
        R % (CHAINS, WARMUP, WARMUP + how.draws, how.cores, how.adapt_delta)
    )
    data = stan_data(runs, model)
    (folder / "data.R").write_text(dump(data))
    files = [folder / name for name in ("compiled.rds", "law.stan", "data.R", "draws.csv")]
    done = subprocess.run(
        ["Rscript", folder / "sample.R", *files], capture_output=True, text=True, check=True
    )
    printed = {}
    for line in done.stdout.splitlines():
        if line.startswith(("div", "version")):
            word, rest = line.split(maxsplit=1)
            printed[word] = rest
    with files[-1].open() as file:
        names, *rows = csv.reader(file)
    values = np.array(rows, float).reshape(CHAINS, how.draws, -1)
    columns = {name: (("chain", "draw"), values[..., i]) for i, name in enumerate(names)}
    draws = xr.Dataset(columns).drop_vars("chain")
    rstan, stan = printed["version"].split()
    return draws, {"rstan": rstan, "stan": stan, "divergences": int(printed["divergences"])}


def sample_pymc(runs: sb.Runs, model: str, cores: int) -> tuple[xr.Dataset, dict[str, Any]]:
    """Logs of the parameters by PyMC's own NUTS, and its settings and divergences."""
    import pymc as pm

    from scalebayes.fitting.graph import pymc_model
    from scalebayes.specs.table_units import table_units, to_table

    spec = in_nats(model)
    with pymc_model(runs, spec):
        kept = pm.sample(**PYMC, cores=cores, random_seed=1, nuts_sampler="pymc", progressbar=False)
    names = list(spec.priors)
    sampled = to_table(kept["posterior"].to_dataset()[names], spec, table_units(runs, spec))
    said = {
        "pymc": pm.__version__,
        "divergences": int(kept["sample_stats"]["diverging"].sum()),
        **PYMC,
    }
    return with_decisions(np.log(sampled)), said


def from_stan(draws: xr.Dataset, model: str) -> xr.Dataset:
    """Logs of the parameters under the package's names, from Stan's draws."""
    logs = np.log(draws)
    kept = logs[["L_inf", "alpha_N", "alpha_D", "sigma"]]
    kept["N_c"] = np.log(1e9) + logs["size_N"] / draws["alpha_N"]
    kept["D_c"] = np.log(2e10) + logs["size_D"] / draws["alpha_D"]
    if model.startswith("coupled"):
        kept["kappa"] = logs["kappa"]
    kept["nu"] = np.log(2 + draws["nu_above_2"])
    if model.endswith("discrepancy"):
        kept["eta"] = logs["eta_free[1]"]
    return with_decisions(kept)


def from_fit(fit: sb.Fit) -> xr.Dataset:
    """Logs of the parameters of a fit by the package."""
    return with_decisions(np.log(fit.stored["posterior"].to_dataset()))


def with_decisions(logs: xr.Dataset) -> xr.Dataset:
    """Add the logs of the law's loss at the far target and of N* at the budget.

    The same formulas serve the reference and the fits of the package.
    """
    kappa = np.exp(logs["kappa"]) if "kappa" in logs else 1.0
    a_N, a_D = np.exp(logs["alpha_N"]), np.exp(logs["alpha_D"])
    log_n = a_N * (logs["N_c"] - np.log(FAR["N"]))
    log_d = a_D * (logs["D_c"] - np.log(FAR["D"]))
    reducible = np.exp(kappa * np.logaddexp(log_n / kappa, log_d / kappa))
    # At the optimum alpha_N n^(1/kappa) = alpha_D d^(1/kappa) along N D = budget / 6.
    N_terms = np.log(a_N) + a_N / kappa * logs["N_c"]
    D_terms = np.log(a_D) + a_D / kappa * (logs["D_c"] - np.log(BUDGET / 6))
    log_N = (N_terms - D_terms) * kappa / (a_N + a_D)
    return logs.assign(far_law=np.log(np.exp(logs["L_inf"]) + reducible), N_opt=log_N)


def summarise(logs: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Mean, sd, Monte Carlo errors, effective draws, R-hat and quantiles of every quantity."""
    import arviz_stats as azs

    columns = {
        "mean": logs.mean(),
        "sd": logs.std(),
        "mcse_mean": azs.mcse(logs, method="mean"),
        "mcse_sd": azs.mcse(logs, method="sd"),
        "ess_bulk": azs.ess(logs, method="bulk"),
        "r_hat": azs.rhat(logs),
    }
    quantiles = logs.quantile(QUANTILES)
    digits = {"ess_bulk": 4, "r_hat": 5}
    summary: dict[str, dict[str, Any]] = {}
    for name in sorted(logs):
        row: dict[str, Any] = {}
        for key, values in columns.items():
            row[key] = rounded(values[name], digits.get(key, 7))
        row["quantiles"] = [rounded(value, 7) for value in quantiles[name]]
        summary[str(name)] = row
    return summary


def rounded(value: xr.DataArray, digits: int) -> float:
    """A number to significant digits."""
    return float(f"{float(value):.{digits}g}")


def make(models: tuple[str, ...], tables: tuple[str, ...], how: Sampling, folder: Path) -> None:
    """Sample every spec on every table and store the summaries, one file a pair."""
    STORED.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True, parents=True)
    for table in tables:
        runs = public_runs(table)
        for model in models:
            if (model, table) == BY_PYMC:
                logs, sampler = sample_pymc(runs, model, how.cores)
            else:
                draws, sampler = sample_stan(runs, model, folder, how)
                logs = from_stan(draws, model)
                sampler |= {"chains": CHAINS, "warmup": WARMUP, "draws": how.draws}
                sampler |= {"adapt_delta": how.adapt_delta, "metric": "dense_e"}
            summary = summarise(logs)
            entry = {"model": model, "table": table, "runs": runs.hash, "sampler": sampler}
            entry |= {"quantile_levels": list(QUANTILES), "logs": summary}
            (STORED / f"{model}--{table}.json").write_text(json.dumps(entry, indent=1) + "\n")
            worst = max(row["r_hat"] for row in summary.values())
            least = min(row["ess_bulk"] for row in summary.values())
            print(
                f"{model} on {table}: R-hat at most {worst:.4f}, ESS at least {least:.0f}, "
                f"{sampler['divergences']} divergences",
                flush=True,
            )


def compare(entry: dict[str, Any], fit: sb.Fit) -> dict[str, dict[str, float]]:
    """Differences between a fit and the reference, for each quantity.

    ``z`` is the difference of means over the Monte Carlo error of both sides; ``sd_ratio`` has the
    relative Monte Carlo error ``sd_error`` of both sides; ``width_ratio`` is of the 90% intervals,
    which are less sensitive to long tails.
    """
    ours = summarise(from_fit(fit))
    return {name: _differences(ours[name], theirs) for name, theirs in entry["logs"].items()}


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    mean_error = float(np.hypot(ours["mcse_mean"], theirs["mcse_mean"]))
    sd_error = np.hypot(ours["mcse_sd"] / ours["sd"], theirs["mcse_sd"] / theirs["sd"])
    our_width = ours["quantiles"][-1] - ours["quantiles"][0]
    their_width = theirs["quantiles"][-1] - theirs["quantiles"][0]
    return {
        "z": (ours["mean"] - theirs["mean"]) / mean_error,
        "sd_ratio": ours["sd"] / theirs["sd"],
        "sd_error": float(sd_error),
        "width_ratio": our_width / their_width,
    }


def describe(differences: dict[str, dict[str, float]]) -> str:
    """The largest |z| and the ranges of the ratios, as text."""
    worst = max(differences, key=lambda name: abs(differences[name]["z"]))
    parts = [f"largest |z| {abs(differences[worst]['z']):.2f} ({worst})"]
    for key in ("sd_ratio", "width_ratio"):
        ratios = [one[key] for one in differences.values()]
        parts.append(f"{key} {min(ratios):.3f} to {max(ratios):.3f}")
    return "; ".join(parts)


def main() -> None:
    """Make the stored summaries, or compare new fits with them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--make", action="store_true", help="sample with Stan and store")
    parser.add_argument("--models", default=",".join(SPECS))
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--cores", type=int, default=Sampling().cores)
    parser.add_argument(
        "--draws", type=int, default=Sampling().draws, help="a chain, after warm-up"
    )
    parser.add_argument("--adapt-delta", type=float, default=Sampling().adapt_delta)
    parser.add_argument(
        "--folder", type=Path, help="keeps Stan's compiled program and draws for reuse"
    )
    arguments = parser.parse_args()
    models, tables = tuple(arguments.models.split(",")), tuple(arguments.tables.split(","))
    if arguments.make:
        with tempfile.TemporaryDirectory() as temporary:
            how = Sampling(arguments.draws, arguments.adapt_delta, arguments.cores)
            make(models, tables, how, arguments.folder or Path(temporary))
        return
    for file in sorted(STORED.glob("*.json")):
        entry = json.loads(file.read_text())
        if entry["model"] in models and entry["table"] in tables:
            runs = public_runs(entry["table"])
            fit = sb.fit(runs, in_nats(entry["model"]), draws=4000, seed=1)
            print(f"{file.stem}: {describe(compare(entry, fit))}", flush=True)


if __name__ == "__main__":
    main()
