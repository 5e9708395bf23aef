"""Simulation-based calibration of every spec: averaged posteriors must equal the prior.

Parameters are drawn from the prior, a table is simulated from them on one fixed design, and the
spec is fitted to it. Over many replicates the rank of the truth among 99 thinned posterior draws
must be uniform, for every parameter, the loss at a far target (with its discrepancy, simulated
jointly with the table), N* and the log likelihood of the table (Talts et al. 2018; Modrak et al.
2023). Uniformity is judged by the simultaneous bands of the ranks' ECDF (Saeilynoja et al. 2022),
whose probabilities are computed exactly, not simulated.

No table is refused for its numbers: tables are passed to ``fit`` without the unit checks of
``read_runs``, which would truncate the prior. A replicate is dropped only if a loss is not finite
or the sampler cannot start, and the share is reported. Replicates that fail the convergence checks
stay in the ranks.

    python benchmarks/sbc.py --models coupled,kaplan --replicates 1000    # continues the last run
    python benchmarks/sbc.py --docs                          # only writes the table of docs/sbc.md

Results are appended to benchmarks/results/sbc/<spec>.csv, one line a replicate.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

import scalebayes as sb
from scalebayes.errors import FitError, GateWarning, QueryError
from scalebayes.laws import Law
from scalebayes.laws.tuned import step_law
from scalebayes.posterior.fit import SAMPLED, draws
from scalebayes.queries.curves import Curve, curve_of
from scalebayes.queries.optima.expected_optimum import expected_optimum
from scalebayes.queries.optima.optimum import optimal_sizes
from scalebayes.specs.discrepancy import Conditional, correlation
from scalebayes.specs.drift import Drift, Paths
from scalebayes.specs.drifting_law import GROUP, DriftingLaw
from scalebayes.specs.spec import Spec, prior_draws
from scalebayes.specs.sweeps import SHIFTS, Sweeps
from scalebayes.specs.table_units import KEPT, Normalised, normalise

HERE = Path(__file__).parent
RESULTS, DOCS = HERE / "results" / "sbc", HERE.parent / "docs" / "sbc.md"
MARKERS = ("<!-- table: begin -->", "<!-- table: end -->")
NOT_MEASURED = "Not run with their present priors:"
"""Beginning of the sentence below the table that names such specs."""
THINNED = 99
"""Draws kept of each posterior: 100 possible ranks."""
TARGET = {
    "N": 70e9,
    "D": 1.4e12,
    "C": 6 * 70e9 * 1.4e12,
    "S": 1e6,
    "U": 2e11,
    "E": 128.0,
    "P": np.exp(1.9),
    "learning_rate": 3e-4,
    "batch": 4e6,
}
BUDGET = 5.76e23
TRIED = 5
"""Pairs of a learning rate and a batch at each N and D of the sweeps."""
TYPICAL = 2.5
"""Typical loss of the simulated tables, to which priors are relative."""
SETTINGS: dict[str, Any] = {"chains": 2, "draws": 1000, "cores": 1}
"""Half the chains of the default; tuning, step size and repeats of failed fits are the defaults."""
NOTES = ("replicate", "spec", "gate", "attempts", "seconds")

UNPOOLED = [name for name in sb.list_models().index if sb.read_model(name).pool is None]
"""Specs of one group; benchmarks/pooling.py does the same for the others."""


@cache
def design() -> pd.DataFrame:
    """The fixed table of inputs: eight sizes by six token counts, with jitter of the grid."""
    rng = np.random.default_rng(20)
    grid = np.meshgrid(np.geomspace(3e7, 1e10, 8), np.geomspace(1e9, 3e11, 6))
    N, D = (g.ravel() * np.exp(0.1 * rng.standard_normal(g.size)) for g in grid)
    index = pd.Index([f"run {i}" for i in range(len(N))], name="run")
    others = {
        "S": D / 5e5,
        "U": D / rng.choice([1, 2, 4, 10, 40], len(D)),
        "E": rng.choice([1.0, 8, 64, 512], len(D)),
    }
    losses = 1.7 + 400 / N**0.34 + 410 / D**0.28  # of the stage from loss to accuracy
    return pd.DataFrame(
        {"N": N, "D": D, "C": 6 * N * D, **others, "loss": losses, "P": np.exp(losses)}, index=index
    )


@cache
def sweeps() -> pd.DataFrame:
    """A quarter of the design, each run at several learning rates and batches around a rule."""
    rng = np.random.default_rng(21)
    cells = design().sample(len(design()) // 4, random_state=21)
    table = cells.loc[cells.index.repeat(TRIED)]
    best = step_law(table["N"], table["D"])
    for x, values in best.items():
        table[x] = values * np.exp(rng.uniform(-1.5, 1.5, len(table)))
    table.index = pd.Index([f"run {i}" for i in range(len(table))], name="run")
    return table


def design_of(law: Law) -> pd.DataFrame:
    """The fixed table of inputs of a law."""
    return sweeps() if "learning_rate" in law.inputs else design()


def far_accuracy(spec: Spec, values: dict[str, np.ndarray]) -> np.ndarray:
    """Accuracy of a law at the far target, (S,); an exponential law can exceed 1 out there."""
    law = spec.law_object
    inputs = [TARGET[x] for x in law.inputs]
    odds = law(*inputs, **{name: values[name] for name in law.parameter_names})
    return odds / (1 + odds)


def points(spec: Spec, inputs: pd.DataFrame) -> np.ndarray:
    """Inputs of the law in lengths of the discrepancy, (rows, inputs)."""
    assert spec.discrepancy is not None
    return np.log10(inputs[list(spec.law_object.inputs)].to_numpy()) / spec.discrepancy.length


def simulate(spec: Spec, seed: np.random.SeedSequence) -> tuple[dict[str, np.ndarray], sb.Runs]:
    """Truth, parameters and quantities of shape (1,), and a table simulated from it."""
    law, noise = spec.law_object, spec.observation.noise
    table = design_of(law)
    prior_seed, noise_seed = seed.generate_state(2)
    fixed = normalise(sb.Runs(table.assign(loss=TYPICAL, accuracy=0.5), "typical"), spec)
    truth = prior_draws(fixed.spec, 1, int(prior_seed))
    truth |= law.rescale(truth, fixed.units)
    rng = np.random.default_rng(noise_seed)
    # The target is the last row, so that its delta is drawn jointly with those of the table.
    inputs = pd.concat([table, pd.DataFrame([TARGET])])
    log_law = np.log(law.evaluate({x: inputs[x].to_numpy() for x in law.inputs}, truth))
    delta = draw_discrepancy(spec, truth, inputs, rng)
    drift = draw_drift(spec, truth, rng)
    if drift is not None:
        own = {name: truth[name] for name in law.parameter_names}
        bent = drift.log_loss(own, [inputs[x].to_numpy() for x in law.inputs])
        delta = bent[0] - log_law
    errors = draw_errors(spec, truth, rng)
    if errors is not None:
        delta[:-1] = spec.observation.delta_at_runs(errors, sb.Runs(table, "design"))
    log_loss = log_law + delta
    around_law = {name: truth[name] for name in noise.priors}
    scatter = noise.draw(rng, (len(table),), **noise.at(around_law, _log_scale(spec, table)))
    response = np.exp(log_loss[:-1] + scatter)
    table = table.drop(columns="P")
    if law.response == "odds":
        table["accuracy"] = response / (1 + response)
        truth["loss_far"] = far_accuracy(spec, truth)
    else:
        table["loss"] = response
        truth["loss_far"] = np.exp(log_loss[-1:])
    runs = sb.Runs(table, name=f"simulated from {spec.name}")
    fix_units(runs, spec, fixed)
    if law.optimal_N is not None:
        truth["N_opt"] = optimum(spec, runs, truth, delta[:-1], drift)
    # A discrepancy that is not sampled is integrated out of the likelihood.
    is_sampled = spec.observation.traits.samples_discrepancy or errors is not None
    given = delta[:-1] if is_sampled else 0.0
    truth["log_likelihood"] = log_likelihood(spec, runs, truth, given)
    return truth, runs


def draw_discrepancy(
    spec: Spec, truth: dict[str, np.ndarray], inputs: pd.DataFrame, rng: np.random.Generator
) -> np.ndarray:
    """The discrepancy at inputs from its prior, (rows,): nothing without one."""
    if spec.discrepancy is None:
        return np.zeros(len(inputs))
    at = points(spec, inputs)
    spread, axes = np.linalg.eigh(correlation(spec.discrepancy.kernel, at, at))
    return truth["eta"] * (axes @ (np.sqrt(spread.clip(0)) * rng.standard_normal(len(at))))


def draw_drift(spec: Spec, truth: dict[str, np.ndarray], rng: np.random.Generator) -> Drift | None:
    """Paths from their prior, for the design and beyond, under the true sizes of the drift."""
    observation = spec.observation
    if not isinstance(observation, DriftingLaw):
        return None
    runs = sb.Runs(design(), "design")
    paths = {}
    for name, knots in observation.knots(runs).items():
        tau = truth["tau_loss" if name == "loss" else "tau"]
        steps = rng.standard_normal((1, len(knots) - 1))
        g = tau[:, None] * (steps @ knots.brownian().T)
        known = Paths(knots, g)
        paths[name] = known if name == "loss" else known.continued(tau, rng)
    return Drift(spec.law_object, observation.centre(runs), paths)


def draw_errors(
    spec: Spec, truth: dict[str, np.ndarray], rng: np.random.Generator
) -> xr.DataTree | None:
    """The true parameters and the errors of the sweeps from their prior; None without sweeps."""
    if not isinstance(spec.observation, Sweeps):
        return None
    variables = {name: (("chain", "draw"), value[None]) for name, value in truth.items()}
    posterior = xr.Dataset(variables, {"chain": [0], "draw": [0]})
    errors = spec.observation.draw_prior(posterior, sb.Runs(sweeps(), "design"), rng)
    return xr.DataTree.from_dict({"posterior": posterior, **errors})


def fix_units(runs: sb.Runs, spec: Spec, fixed: Normalised) -> None:
    """Let a simulated table be normalised by constants that were known before its losses.

    A prior that is relative to the typical loss depends on the losses otherwise, and ranks are
    uniform only under a prior that does not. Fits in other processes do not know of the constants.
    """
    columns = {}
    for x, log_unit in fixed.units.log_inputs.items():
        if x != "P":  # a table holds its log, the loss
            columns[x] = getattr(runs, x) / np.exp(log_unit)
    if spec.law_object.response == "loss":
        columns["loss"] = runs.loss / np.exp(fixed.units.log_response)
    else:
        if "P" in fixed.units.log_inputs:
            columns["loss"] = runs.loss - fixed.units.log_inputs["P"]
        columns["accuracy"] = runs.table["accuracy"].to_numpy()
    own = sb.Runs(pd.DataFrame(columns, index=runs.table.index), runs.name)
    KEPT.setdefault(runs, {})[spec.hash] = Normalised(own, fixed.spec, fixed.units)


def optimum(
    spec: Spec,
    runs: sb.Runs,
    truth: dict[str, np.ndarray],
    delta: np.ndarray,
    drift: Drift | None,
) -> np.ndarray:
    """N* at the budget under the truth, (1,), of the law, or bent by drift or a discrepancy.

    With a discrepancy it is of the expected latent function given the discrepancy at the runs.
    """
    law = spec.law_object
    parameters = {name: truth[name] for name in law.parameter_names}
    start = law.optimise(BUDGET / 6, parameters)
    if drift is not None:
        return drifting_optimum(Curve(law, parameters, drift=drift))
    if spec.discrepancy is None:
        return start
    basis = spec.observation.basis(runs)
    along = delta @ basis.vectors
    known = Conditional(basis, truth["eta"], truth["sigma"], along[None])
    curve = Curve(law, parameters, known, pull=(along / basis.values)[None])
    return expected_optimum(curve, start, BUDGET, sb.SIX_ND)


def drifting_optimum(curve: Curve) -> np.ndarray:
    """N* of each draw at the budget, (S,): 0 or infinite beyond the sizes that are searched."""
    budgets = np.array([BUDGET])
    try:
        return optimal_sizes(curve, budgets, sb.SIX_ND)[:, 0]
    except QueryError:
        if curve.draws > 1:
            middle = curve.draws // 2
            halves = (slice(0, middle), slice(middle, curve.draws))
            return np.concatenate([drifting_optimum(part_of(curve, half)) for half in halves])
    # Below or above all sizes that were searched, whichever has the lower loss.
    start = curve.law.optimise(BUDGET / 6, curve.parameters)
    at = np.concatenate([1e-6 * start, 1e6 * start])
    losses = curve.log_loss_shared(at, sb.SIX_ND.affordable_tokens(at, BUDGET))[0]
    return np.array([0.0 if losses[0] < losses[1] else np.inf])


def part_of(curve: Curve, part: slice) -> Curve:
    """The curves of some draws of a law that drifts."""
    paths = {name: Paths(path.knots, path.g[part]) for name, path in curve.drift.paths.items()}
    parameters = {name: values[part] for name, values in curve.parameters.items()}
    return Curve(curve.law, parameters, drift=replace(curve.drift, paths=paths))


def _log_scale(spec: Spec, table: pd.DataFrame) -> Any:
    """Return what the noise's parameters depend on at the runs of a table, (runs,)."""
    runs = sb.Runs(table, "design")
    return spec.observation.noise.log_scale(runs, runs)


def log_likelihood(
    spec: Spec, runs: sb.Runs, values: dict[str, np.ndarray], delta: np.ndarray | float = 0.0
) -> np.ndarray:
    """Joint log density of the table under parameters of shape (S,): shape (S,).

    The discrepancy is integrated out under Normal noise; under other noise it is given at the runs.
    """
    law, noise = spec.law_object, spec.observation.noise
    column = {name: value[:, None] for name, value in values.items()}
    residual = law.log_residual(runs, column) - delta
    if spec.observation.traits.runs_are_independent:
        around_law = {name: column[name] for name in noise.priors}
        at_runs = noise.at(around_law, _log_scale(spec, runs.table))
        return noise.logpdf(residual, **at_runs).sum(axis=-1)
    at = points(spec, runs.table)
    spread, axes = np.linalg.eigh(correlation(spec.discrepancy.kernel, at, at))
    scale = np.sqrt(column["sigma"] ** 2 + column["eta"] ** 2 * spread.clip(0))
    return stats.norm.logpdf(residual @ axes, scale=scale).sum(axis=-1)


def thin(fit: sb.Fit) -> sb.Fit:
    """Keep `THINNED` draws, evenly spaced over the chains."""
    posterior = fit.stored["posterior"].to_dataset()
    every = np.linspace(0, posterior["sigma"].size, THINNED, endpoint=False).astype(int)
    kept = {
        n: (("chain", "draw"), v.transpose("chain", "draw").values.reshape(1, -1)[:, every])
        for n, v in posterior.items()
    }
    labels = {"chain": [0], "draw": np.arange(THINNED)}
    groups = {"posterior": xr.Dataset(kept, labels)}
    if GROUP in fit.stored.children:
        groups[GROUP] = thinned_group(fit, GROUP, every, labels)
    elif SHIFTS in fit.stored.children:
        groups[SHIFTS] = thinned_group(fit, SHIFTS, every, labels)
    elif fit.spec.observation.traits.samples_discrepancy:
        delta = draws(fit, SAMPLED)["delta"].values.reshape(1, -1, len(fit.runs))[:, every]
        groups[SAMPLED] = xr.Dataset({"delta": (("chain", "draw", "run"), delta)}, labels)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = fit.stored.attrs
    return sb.Fit(fit.spec, fit.runs, tree)


def thinned_group(fit: sb.Fit, group: str, every: np.ndarray, labels: dict[str, Any]) -> xr.Dataset:
    """A group of vectors for the draws that are kept, (chain, draw, ...)."""
    drawn = fit.stored[group].to_dataset()
    variables = {}
    for name, values in drawn.items():
        dim = values.dims[-1]
        kept = values.values.reshape(1, -1, drawn.sizes[dim])[:, every]
        variables[str(name)] = (("chain", "draw", dim), kept)
    others = {dim: index for dim, index in drawn.coords.items() if dim not in labels}
    return xr.Dataset(variables, labels | others)


def posterior_values(fit: sb.Fit, seed: int) -> dict[str, np.ndarray]:
    """The quantities of `simulate` from a fit by the package's queries, each of shape (draws,)."""
    spec = fit.spec
    posterior = fit.stored["posterior"].to_dataset()
    values = {str(name): variable.values.ravel() for name, variable in posterior.items()}
    delta = spec.observation.delta_at_runs(fit.stored, fit.runs)
    if np.ndim(delta):
        delta = delta[0]  # the only chain
    values["log_likelihood"] = log_likelihood(spec, fit.runs, values, delta)
    law = spec.law_object
    if law.response == "odds":
        values["loss_far"] = far_accuracy(spec, values)
    else:
        asked = {x: TARGET[x] for x in dict.fromkeys(("N", "D", *law.inputs)) if x != "C"}
        values["loss_far"] = sb.predict(fit, **asked, seed=seed)["loss"].values.ravel()
    if spec.law_object.optimal_N is not None:
        try:
            values["N_opt"] = sb.frontier(fit, C=BUDGET)["N"].values.ravel()
        except QueryError:  # in too many draws the optimum lies beyond the sizes that are searched
            values["N_opt"] = drifting_optimum(curve_of(fit, "expected"))
    return values


def seeds(spec: Spec, index: int) -> tuple[np.random.SeedSequence, list[int]]:
    """Seeds of one replicate: of its simulation, and of its fit, its queries and its ties."""
    seed = np.random.SeedSequence([int(spec.hash[:8], 16), index])
    return seed, [int(s) for s in seed.generate_state(5)[2:]]


def replicate(spec: Spec, index: int, **settings: Any) -> dict[str, Any]:
    """One replicate: ranks of all quantities, failed convergence checks, and seconds.

    There are no ranks if the fit fails.
    """
    started = time.perf_counter()
    seed, (fit_seed, query_seed, tie_seed) = seeds(spec, index)
    row: dict[str, Any] = {"replicate": index, "spec": spec.hash[:8], "gate": "", "attempts": 0}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", GateWarning)
        truth, runs = simulate(spec, seed)
        try:
            if not np.isfinite(spec.law_object.log_response(runs)).all():
                raise FitError("a simulated loss is not finite")
            fitted = sb.fit(runs, spec, seed=fit_seed, progress=False, **SETTINGS | settings)
        except FitError as error:
            return row | {"gate": f"NO FIT: {error}", "seconds": time.perf_counter() - started}
        values = posterior_values(thin(fitted), query_seed)
    rng = np.random.default_rng(tie_seed)
    ranks = {name: rank(float(truth[name][0]), values[name], rng) for name in sorted(truth)}
    row |= {"gate": " ".join(fitted.gate_failures), "attempts": fitted.metadata["attempts"]}
    return row | {"seconds": round(time.perf_counter() - started, 3)} | ranks


def rank(truth: float, draws: np.ndarray, rng: np.random.Generator) -> int:
    """Number of draws below the truth; ties, at infinity for example, are broken at random."""
    return int((draws < truth).sum() + rng.integers(0, (draws == truth).sum() + 1))


def quantities(table: pd.DataFrame) -> list[str]:
    """Columns of ranks."""
    return [name for name in table if name not in NOTES]


EDGES = np.arange(1, THINNED + 1) / (THINNED + 1)
"""Points at which the ECDF of the ranks is evaluated: between any two ranks."""


def counts(ranks: np.ndarray) -> np.ndarray:
    """Number of ranks below each edge."""
    return np.bincount(ranks, minlength=THINNED + 1).cumsum()[:-1]


def tails(count: np.ndarray, replicates: int) -> np.ndarray:
    """Two-sided pointwise probability of a count as extreme at each edge, if ranks are uniform."""
    binomial = stats.binom(replicates, EDGES)
    return 2 * np.minimum(binomial.cdf(count), binomial.sf(count - 1))


def band(tail: float, replicates: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest count at each edge whose `tails` are above a level."""
    every = np.arange(replicates + 1)[:, None]
    within = tails(every, replicates) > tail
    return within.argmax(axis=0), replicates - within[::-1].argmax(axis=0)


def staying_inside(lower: np.ndarray, upper: np.ndarray, replicates: int) -> float:
    """Exact probability that the counts of uniform ranks stay within bounds at all edges.

    Given the count at one edge, the count at the next is that plus a binomial number of the
    remaining replicates (Saeilynoja et al. 2022).
    """
    reached, probability, left = np.array([0]), np.array([1.0]), 1.0
    for edge, low, high in zip(EDGES, lower, upper, strict=True):
        if low > high:
            return 0.0
        step = 1 - (1 - edge) / left
        to = np.arange(low, high + 1)
        added, remaining = to - reached[:, None], replicates - reached[:, None]
        probability = probability @ stats.binom.pmf(added, remaining, step)
        reached, left = to, 1 - edge
    return float(probability.sum())


def p_value(ranks: np.ndarray) -> float:
    """Probability that the ECDF of uniform ranks leaves the band that these ranks just touch."""
    worst = float(tails(counts(ranks), len(ranks)).min())
    return 1.0 - staying_inside(*band(worst, len(ranks)), len(ranks))


@cache
def simultaneous_band(replicates: int, prob: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of counts within which uniform ranks stay at all edges with probability ``prob``.

    The probability is at least ``prob``; the bounds are found by bisection.
    """
    low, high = -14.0, 0.0  # log of the pointwise tail: the widest band is always wide enough
    for _ in range(16):
        middle = (low + high) / 2
        if staying_inside(*band(np.exp(middle), replicates), replicates) >= prob:
            low = middle
        else:
            high = middle
    return band(np.exp(low), replicates)


def outside(table: pd.DataFrame, prob: float = 0.99) -> dict[str, float]:
    """P-values of the quantities whose ECDF leaves its simultaneous band, by Bonferroni."""
    names = quantities(table)
    found = {name: p_value(table[name].to_numpy(int)) for name in names}
    return {name: p for name, p in found.items() if p < (1 - prob) / len(names)}


def holding(table: pd.DataFrame) -> dict[str, float]:
    """Share of the replicates whose central 90% interval contains the truth, by quantity."""
    edge = (THINNED + 1) // 20
    return {
        name: float(table[name].astype(int).between(edge, THINNED - edge).mean())
        for name in quantities(table)
    }


def to_tree(table: pd.DataFrame) -> xr.DataTree:
    """PIT values in group ``prior_sbc``, for `arviz_plots.plot_ecdf_pit`.

    Each rank becomes a uniform number in its cell of width 1/100.
    """
    rng = np.random.default_rng(0)
    values = {}
    for name in quantities(table):
        pit = (table[name].to_numpy() + rng.random(len(table))) / (THINNED + 1)
        values[name] = (("chain", "draw"), pit[None])
    labels = {"chain": [0], "draw": table["replicate"].to_numpy()}
    return xr.DataTree.from_dict({"prior_sbc": xr.Dataset(values, labels)})


def read_results(spec: Spec) -> pd.DataFrame:
    """All replicates made so far with the current priors of a spec."""
    file = RESULTS / f"{spec.name}.csv"
    if not file.is_file():
        return pd.DataFrame(columns=NOTES, dtype=str)
    table = pd.read_csv(file, keep_default_na=False, dtype={"spec": str})
    return (
        table[table["spec"] == spec.hash[:8]].drop_duplicates("replicate").sort_values("replicate")
    )


def run_missing(
    spec: Spec, wanted: Iterable[int], workers: int, **settings: Any
) -> Iterator[dict[str, Any]]:
    """Replicates that are not in the results yet, each as it is done.

    A table is simulated in the process that fits it, which thus knows its units.
    """
    have = set(read_results(spec)["replicate"].astype(int))
    missing = [i for i in wanted if i not in have]
    context = multiprocessing.get_context("spawn")  # forked processes would share threads
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for done in as_completed(
                [pool.submit(replicate, spec, i, **settings) for i in missing]
            ):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)  # the rest, after an error or Ctrl-C


def append(spec: Spec, row: dict[str, Any]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / ".gitignore").write_text("*\n")
    file, names = RESULTS / f"{spec.name}.csv", sorted((*spec.priors, "loss_far", "log_likelihood"))
    if spec.law_object.optimal_N is not None:
        names = sorted((*names, "N_opt"))
    new = not file.is_file()
    with file.open("a", newline="") as out:
        writer = csv.DictWriter(out, [*NOTES, *names])
        if new:
            writer.writeheader()
        writer.writerow(row)


def summarise(spec: Spec) -> dict[str, Any]:
    """A row of the table of docs/sbc.md; empty if no replicate has a fit."""
    everything = read_results(spec)
    table = everything[~everything["gate"].str.startswith("NO FIT")]
    if table.empty:
        return {}
    about = {"spec": f"`{spec.name}`", "hash": spec.hash[:8], "replicates": len(table)}
    seconds = table["seconds"].astype(float).median()
    costs = {"no fit": len(everything) - len(table), "seconds each": f"{seconds:.2f}"}
    return about | _ranks(table) | _intervals(table) | _gates(table) | costs


def _ranks(table: pd.DataFrame) -> dict[str, str]:
    """How far ranks are from uniform. Each quantity has its share of one percent (Bonferroni)."""
    names, n = quantities(table), len(table)
    p_values, deviations = {}, {}
    for name in names:
        ranks = table[name].to_numpy(int)
        p_values[name] = p_value(ranks)
        deviations[name] = np.abs(counts(ranks) / n - EDGES).max()
    furthest = max(deviations, key=lambda name: deviations[name])
    level = 0.01 / len(names)
    lower, upper = simultaneous_band(n, 1 - level)
    half_width = (upper - lower).max() / 2 / n
    worst = min(p_values, key=lambda name: p_values[name])
    smallest_p = min(1.0, len(names) * p_values[worst])
    outside = [name for name, p in p_values.items() if p < level]
    return {
        "largest deviation": f"{deviations[furthest]:.3f} ({furthest})",
        "band, half width": f"{half_width:.3f}",
        "smallest p (Bonferroni)": f"{smallest_p:.2g} ({worst})",
        "outside": ", ".join(outside) or "none",
    }


def _intervals(table: pd.DataFrame) -> dict[str, str]:
    """The quantities that 90% intervals hold least and most often."""
    covered = holding(table)
    least = min(covered, key=lambda name: covered[name])
    most = max(covered, key=lambda name: covered[name])
    span = f"{covered[least]:.1%} ({least}) to {covered[most]:.1%} ({most})"
    return {"90% intervals hold": span}


def _gates(table: pd.DataFrame) -> dict[str, str]:
    """Shares of fits that failed their convergence checks and that were repeated."""
    failures = table["gate"].str.split().explode().value_counts()
    codes = [f"{code} {count}" for code, count in failures.items() if code]
    share_failed = (table["gate"] != "").mean()
    share_repeated = (table["attempts"] > 1).mean()
    return {
        "gate failed": f"{share_failed:.1%}",
        "codes": ", ".join(codes) or "-",
        "repeated": f"{share_repeated:.1%}",
    }


def read_docs() -> dict[str, dict[str, str]]:
    """The rows of the table of docs/sbc.md by spec."""
    table = DOCS.read_text().split(MARKERS[0])[1].split(MARKERS[1])[0]
    lines = [line for line in table.strip().splitlines() if line.startswith("|")]
    head, _, *rows = (cells(line) for line in lines)
    return {row[0].strip("`"): dict(zip(head, row, strict=True)) for row in rows}


def cells(line: str) -> list[str]:
    """Cells of a row of a table in Markdown."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def write_docs() -> None:
    """Write the results between the markers of docs/sbc.md.

    A row of the page stays if its spec has not changed and fewer replicates are at hand. Specs that
    were not run with their present priors are named below the table.
    """
    written, rows, not_measured = read_docs(), [], []
    for model in UNPOOLED:
        spec = sb.read_model(str(model))
        new, old = summarise(spec), written.get(spec.name, {})
        is_current = old.get("hash") == spec.hash[:8]
        if is_current and int(old["replicates"]) > new.get("replicates", 0):
            rows.append(old)
        elif new:
            rows.append(new)
        else:
            not_measured.append(f"`{spec.name}`")
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [" | ".join(map(str, row.values())) for row in rows]
    start, rest = DOCS.read_text().split(MARKERS[0])
    end = rest.split(MARKERS[1])[1]
    body = "\n".join(f"| {line} |" for line in lines)
    if not_measured:
        body += f"\n\n{NOT_MEASURED} {', '.join(not_measured)}."
    DOCS.write_text(f"{start}{MARKERS[0]}\n{body}\n{MARKERS[1]}{end}")


def main() -> None:
    """Run the missing replicates of each spec and print the results, or write docs/sbc.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", default=",".join(UNPOOLED), help="by default all of models/ that do not pool"
    )
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--docs",
        action="store_true",
        help="write docs/sbc.md from the results at hand, run nothing",
    )
    arguments = parser.parse_args()
    if arguments.docs:
        write_docs()
        return
    for spec in [sb.read_model(model) for model in arguments.models.split(",")]:
        for row in run_missing(spec, range(arguments.replicates), arguments.workers):
            append(spec, row)
        for key, value in summarise(spec).items():
            print(f"{value}" if key == "spec" else f"  {key}: {value}", flush=True)


if __name__ == "__main__":
    main()
