"""Spec and runs to posterior: nutpie samples the graph, and the gate decides whether to go on.

One compiled sampler serves every table of a spec.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.diagnostics import Diagnosis, convergence
from scalebayes.discrepancy import loo_logpdf
from scalebayes.engine.kernel import kernel
from scalebayes.engine.nuts import KernelSampler, compile_model, read_trace, sample
from scalebayes.engine.operations import UnsupportedError
from scalebayes.errors import FitError, GateWarning
from scalebayes.graph import pymc_model, sampler_data, structure
from scalebayes.kept_fits import keep, place, recall
from scalebayes.posterior import METADATA, Fit
from scalebayes.preflight import check_settings, check_table
from scalebayes.progress import Progress
from scalebayes.runs import Runs
from scalebayes.spec import Spec, prior_draws, read_model

ATTEMPTS = 3
"""How often a fit is tried, each time more carefully, before a failed gate is reported."""
PRIOR_DRAWS = 2000
LOG_LIKELIHOOD_VALUES = 20_000_000
"""Above this many values (160 MB) the pointwise log likelihood is not kept in the tree."""


def fit(
    runs: Runs,
    model: str | Path | Spec = "coupled-discrepancy",
    *,
    seed: int = 0,
    draws: int = 1000,
    tune: int | None = None,
    chains: int = 4,
    progress: bool | None = None,
    cache: bool = False,
    **sampler: Any,
) -> Fit:
    """Sample the posterior of a spec given runs.

    The gate of `scalebayes.diagnose` is run on every fit. Where it fails, sampling is repeated with twice the tuning,
    twice the draws and smaller steps, twice at most; `Fit.metadata` counts the attempts, and the last one is returned
    either way.

    Parameters
    ----------
    runs
        The table (`scalebayes.read_runs`, `scalebayes.load_runs`).
    model
        A name in ``models/``, a path to a TOML file, or a `Spec`. The default lets the data choose between the laws
        and knows that the law may be wrong; predictions from it give the law alone beside the curve.
    seed
        Same seed, same runs, same versions: same draws, on any number of cores.
    draws, tune, chains
        Kept and tuning draws a chain, and the number of chains. By default a law alone tunes for 600 draws, a law
        with a discrepancy, whose posterior bends more, for 2000 and with smaller steps.
    progress
        Whether to show progress on stderr; by default when it is a terminal or a notebook.
    cache
        Whether to return the same fit (spec, runs, settings, seed and versions) from the user's cache folder where it
        is there, and to keep it there where it is not. Its metadata then has ``cached``, the file. A fit takes a few
        megabytes; SCALEBAYES_CACHE_DIR moves the folder, and what is in it may be deleted at any time.
    **sampler
        Passed on to `nutpie.sample` (``target_accept``, ``cores``, ``maxdepth`` ...).

    Returns
    -------
    Fit
        With ``partial`` set when sampling was interrupted (Ctrl-C) after some draws.

    Raises
    ------
    SpecError, RunsError
        Before anything compiles: an unknown model, a column the law needs, too few rows for its parameters.
    FitError
        When no draw could be made.
    """
    spec = read_model(model)
    check_table(runs, spec)
    default_tune, accept = (600, 0.95) if spec.discrepancy is None else (2000, 0.97)
    settings = {"adaptation": "low_rank", "target_accept": accept, "draws": draws, "chains": chains, **sampler}
    settings["tune"] = default_tune if tune is None else tune
    check_settings(settings, seed)
    path = place(spec, runs, settings, seed, _versions()) if cache else None
    with Progress(progress) as bar:
        if path is not None and (found := bar.during("looking for the same fit", recall, path, spec, runs)):
            bar.say(f"{spec.name}: the same fit was made before, and is read from {path}")
            if found.gate_failures:
                _warn(found, convergence(found.tree))
            return found
        made, gate = _fit(spec, runs, settings, seed, bar)
        if path is not None:
            bar.during("keeping the fit", keep, made, path)
    if not gate.ok:
        _warn(made, gate)
    return made


def _fit(spec: Spec, runs: Runs, settings: dict[str, Any], seed: int, bar: Progress) -> tuple[Fit, Diagnosis]:
    """Compile, sample, and put together what was sampled with what a fit says of itself."""
    started = time.perf_counter()
    compiled = bar.during(f"preparing {spec.name} (once per process)", _compile, spec, runs)
    engine = _engine(spec, runs)
    if engine.reason:
        bar.say(f"without a kernel nutpie compiled the model itself, which takes longer: {engine.reason}")
    kept = _sample_until_the_gate_passes(compiled, settings, seed, spec, bar)
    tree = _tree(kept.sampled, spec, runs, seed)
    metadata = {
        "seed": int(seed),
        "sampler": kept.settings,
        "attempts": kept.attempt,
        "engine": engine.about,
        "partial": kept.partial,
        "gate_failures": [message.code for message in kept.gate.messages],
        "hashes": {"spec": spec.hash, "runs": runs.hash},
        "versions": _versions(),
        "seconds": round(time.perf_counter() - started, 2),
    }
    tree.attrs[METADATA] = json.dumps(metadata, sort_keys=True, default=str)  # arguments of the sampler may be anything
    return Fit(spec, runs, tree), kept.gate


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("scalebayes", "pymc", "nutpie", "pytensor", "numpy")}


def _warn(fit: Fit, gate: Diagnosis) -> None:
    warnings.warn(f"{fit.spec.name} on {fit.runs.name}: {gate}", GateWarning, stacklevel=3)


@dataclass(frozen=True)
class Attempt:
    """One run of the sampler: posterior and statistics under ArviZ's names, and what the gate says of them."""

    sampled: xr.DataTree
    partial: bool
    gate: Diagnosis
    attempt: int
    settings: dict[str, Any]


def _sample_until_the_gate_passes(
    compiled: Any, settings: dict[str, Any], seed: int, spec: Spec, bar: Progress
) -> Attempt:
    """Sample, more carefully again while the gate fails; an interrupted retry leaves the whole attempt before it."""
    kept: Attempt | None = None
    for attempt in range(1, ATTEMPTS + 1):
        label = f"sampling {spec.name}" + f", attempt {attempt}: the gate failed" * (attempt > 1)
        try:
            raw, partial = _sample(compiled, settings, _nutpie_seed(seed, attempt), bar.bar(label))
        except KeyboardInterrupt:
            if kept is None:
                raise
            partial = True
        if partial and kept is not None:
            return replace(kept, partial=True, gate=convergence(kept.sampled, partial=True))
        sampled = _arviz_names(raw, spec)
        kept = Attempt(sampled, partial, convergence(sampled, partial=partial), attempt, settings)
        if partial or kept.gate.ok or settings["chains"] == 1:  # one chain cannot pass, however long
            break
        settings = _more_careful(settings)
    assert kept is not None  # the first attempt either raised or was kept
    return kept


def _more_careful(settings: dict[str, Any]) -> dict[str, Any]:
    """Twice the draws and tuning, and a step size that misses a third as much: what a failed gate asks for."""
    accept = 1 - (1 - settings["target_accept"]) / 3
    return settings | {"draws": 2 * settings["draws"], "tune": 2 * settings["tune"], "target_accept": accept}


_COMPILED: dict[tuple[object, ...], Engine] = {}
"""Compiled samplers of this process by the structure of their specs."""


@dataclass(frozen=True)
class Engine:
    """A compiled sampler that takes a table by ``with_data``, and how it came about.

    ``route`` is "kernel", our own library of PyMC's graph, or "numba", nutpie's compilation of it; ``reason`` says why
    not the first.
    """

    sampler: Any
    route: str
    reason: str = ""

    @property
    def about(self) -> dict[str, str]:
        """What `Fit.metadata` says of it."""
        return {"route": self.route} | ({"reason": self.reason} if self.reason else {})


def _compile(spec: Spec, runs: Runs) -> Any:
    """Compile the sampler of a spec, or take this process's, and give it the table."""
    return _engine(spec, runs).sampler.with_data(**sampler_data(runs, spec))


def _engine(spec: Spec, runs: Runs) -> Engine:
    """The sampler of a spec, this process's where there is one."""
    if (key := structure(spec)) not in _COMPILED:
        keep = [*spec.law_object.parameter_names, *spec.scatter_names]
        try:
            sampler = KernelSampler(kernel(spec, runs, keep, key))
            sampler.with_data(**sampler_data(runs, spec))  # whether this nutpie takes it
            _COMPILED[key] = Engine(sampler, "kernel")
        except UnsupportedError as error:
            _COMPILED[key] = Engine(_numba(spec, runs, keep), "numba", str(error))
    return _COMPILED[key]


def _numba(spec: Spec, runs: Runs, keep: Sequence[str]) -> Any:
    """Let nutpie compile the model."""
    try:
        return compile_model(pymc_model(runs, spec), keep)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "compiledir" not in str(error):
            raise
        text = f"PyTensor cannot write its compile directory: {error} Or set PYTENSOR_FLAGS=base_compiledir=FOLDER"
        raise FitError(text) from error


def _nutpie_seed(seed: int, attempt: int) -> int:
    return int(np.random.SeedSequence([seed, attempt]).generate_state(1)[0])


def _sample(
    compiled: Any, settings: dict[str, Any], seed: int, callback: Callable[..., None]
) -> tuple[xr.DataTree, bool]:
    """Run nutpie; an interrupted run comes back trimmed to whole chains and flagged."""
    options = {"progress_callback": callback, "progress_rate": 200}
    try:
        trace = sample(compiled, seed=seed, **options, **settings)
    except (AttributeError, TypeError, ValueError) as error:
        raise FitError(f"nutpie does not take these arguments of the sampler: {error}") from error
    except RuntimeError as error:
        raise FitError(f"nutpie stopped: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # nutpie's Rust side, no subclass of Exception
            raise
        raise FitError(f"the sampler failed inside nutpie: {error}") from None
    return trim(read_trace(trace, [*STATS.values()]), settings["draws"])


def trim(raw: xr.DataTree, draws: int) -> tuple[xr.DataTree, bool]:
    """Cut an interrupted trace, which nutpie pads with NaN and zeros, to the chains and draws that are whole.

    Keeps the longest chains such that most draws survive, all of one length.

    Raises
    ------
    KeyboardInterrupt
        When no draw after tuning was made.
    """
    posterior = raw["posterior"].to_dataset()
    lengths = posterior["sigma"].notnull().sum("draw").values
    if posterior.sizes["draw"] == draws and (lengths == draws).all():
        return raw, False
    order = np.argsort(-lengths, kind="stable")
    kept = [(i + 1) * lengths[chain] for i, chain in enumerate(order)]
    chains = np.sort(order[: int(np.argmax(kept)) + 1])
    length = int(lengths[chains].min()) if len(chains) else 0
    if length == 0:
        raise KeyboardInterrupt
    return raw.isel(chain=chains, draw=slice(0, length)), True


STATS = {
    "diverging": "diverging",
    "reached_max_treedepth": "maxdepth_reached",
    "tree_depth": "depth",
    "n_steps": "n_steps",
    "step_size": "step_size",
    "acceptance_rate": "mean_tree_accept",
    "energy": "energy",
    "lp": "logp",
}
"""ArviZ's names for sampler statistics and nutpie's."""


def _arviz_names(raw: xr.DataTree, spec: Spec) -> xr.DataTree:
    """Keep the parameters of the spec and the sampler's statistics, under ArviZ's names."""
    posterior = raw["posterior"].to_dataset()[[*spec.law_object.parameter_names, *spec.scatter_names]]
    stats = raw["sample_stats"].to_dataset()
    renamed = xr.Dataset({name: stats[theirs] for name, theirs in STATS.items()})
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": renamed})


def _tree(sampled: xr.DataTree, spec: Spec, runs: Runs, seed: int) -> xr.DataTree:
    """Add to what was sampled the prior, the data and, for tables that are not very long, the log likelihood."""
    posterior = sampled["posterior"].to_dataset()
    table = xr.Dataset.from_dataframe(runs.table)
    prior = {k: (("chain", "draw"), v[None]) for k, v in prior_draws(spec, PRIOR_DRAWS, seed).items()}
    groups = {
        "posterior": posterior,
        "sample_stats": sampled["sample_stats"].to_dataset(),
        "prior": xr.Dataset(prior, coords={"chain": [0], "draw": np.arange(PRIOR_DRAWS)}),
        "observed_data": xr.Dataset({"log_loss": np.log(table["loss"])}),
        "constant_data": table,
    }
    if len(runs) * posterior["sigma"].size <= LOG_LIKELIHOOD_VALUES:
        groups["log_likelihood"] = log_likelihood(posterior, spec, runs)
    return xr.DataTree.from_dict(groups)


def log_likelihood(posterior: xr.Dataset, spec: Spec, runs: Runs) -> xr.Dataset:
    """Log density of each run's log loss under each draw, (chain, draw, run); given the others with a discrepancy."""
    law, noise = spec.law_object, spec.noise_object
    values = {name: posterior[name].values[..., None] for name in posterior}
    curve = law.function(*(getattr(runs, x) for x in law.inputs), **{p: values[p] for p in law.parameter_names})
    residual = np.log(runs.loss) - np.log(curve)
    if spec.discrepancy is None:
        density = noise.logpdf(residual, **{p: values[p] for p in noise.priors})
    else:
        basis = spec.discrepancy.basis(runs.log_inputs(law.inputs))
        flat = {name: values[name].ravel() for name in spec.scatter_names}
        density = loo_logpdf(basis, residual.reshape(-1, len(runs)), **flat).reshape(residual.shape)
    coords = {"chain": posterior["chain"], "draw": posterior["draw"], "run": runs.table.index.to_numpy()}
    return xr.Dataset({"log_loss": (("chain", "draw", "run"), density)}, coords=coords)
