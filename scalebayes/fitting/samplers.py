"""Samplers of a spec on a table: nutpie on a compiled model, or NumPyro through JAX.

Compiled models are kept for the life of the process, by the structure of their specs. One serves
every table.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr

from scalebayes.data.runs import Runs
from scalebayes.errors import FitError, warn_of_fallback
from scalebayes.fitting import numpyro
from scalebayes.fitting.graph import build_model, sampler_data, structure
from scalebayes.fitting.kernel.c_operations import UnsupportedError
from scalebayes.fitting.kernel.kernel import NO_START, Bound, Kernel, evaluate, is_ours, kernel
from scalebayes.fitting.long_tables import (
    LONG,
    MOST_K,
    Condensed,
    Curves,
    Likelihood,
    condense,
    finer,
    mode_of,
    resampled,
    typical_runs,
    weigh,
)
from scalebayes.fitting.maps import learned, normal_at_mode
from scalebayes.fitting.nutpie import (
    KernelSampler,
    compile_model,
    nutpie_model,
    read_positions,
    read_trace,
    sample,
)
from scalebayes.fitting.starts import require_start
from scalebayes.specs.pooling import pooling_of, variable_names
from scalebayes.specs.spec import Spec
from scalebayes.utils.parallel import one_thread
from scalebayes.utils.progress import Progress

type Backend = Literal["nutpie", "jax"]

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
"""Sampler statistics: ArviZ's name -> nutpie's."""


TREE_DEPTH = 12
"""Largest depth of nutpie's trees: runs with little noise need more than the usual 10."""
COST_OF_NUMBA = (
    "which is slower: a fit of 'chinchilla' to 240 runs takes half a minute instead of 3 seconds, "
    "and a fit of the default model minutes instead of 10 seconds"
)
"""Measured in new processes on two cores (docs/performance.md)."""
SHORT_RUNS = 2
"""Short runs from which a map is learnt."""
TUNE_OF_SHORT_RUN = 0.3
"""Share of the tuning that each of them takes, for its tuning and its draws."""
TUNE_OF_MAPPED = 0.4
"""Share that is left for the run in the coordinates of the map."""
FEWEST_SHORT_CHAINS = 4
"""Chains of a short run, at least. From two chains a map of 240 runs gave half as many effective
draws as from four."""
FEWEST_DRAWS_OF_SHORT_RUN = 200
"""Draws of a short run, at least, of all chains: some five for each predictor of a map."""
TARGET_OF_SHORT_RUN = 0.9
"""Acceptance rate of a short run, which need not reach all corners of the posterior."""
DEPTH_OF_SHORT_RUN = 7
"""Largest depth of its trees."""
MISSED_ON_LONG = 1 / 9
"""Share of the missed acceptance, 1 - target_accept, that is allowed on long tables.

With a third, two of seven first attempts at one table of 20,000 runs diverged, and repetitions with
more draws diverged again; with a ninth none of six did, each of which takes a quarter longer.
"""
STEPS_OF_MAPPED, STEPS = 32, 12
"""Typical gradients for a draw, in learnt coordinates and in the sampler's own."""
WORTH_SAYING = 10.0
"""Seconds of sampling from which on a line says how long it will take."""
TIMED_GRADIENTS, TIMED_SECONDS = 50, 0.1
"""Bounds on the gradients that are timed for it."""
PROGRESS_RATE = 200
"""Milliseconds between nutpie's reports of progress."""


@dataclass(frozen=True)
class Sampler:
    """A spec on a table, ready to be sampled.

    Attributes
    ----------
    sample
        Function of settings, a seed and a callback for progress. It returns the draws and the
        statistics under ArviZ's names, and whether sampling was interrupted.
    about, versions
        Entries of `Fit.metadata`.
    """

    sample: Callable[[dict[str, Any], int, Callable[..., None]], tuple[xr.DataTree, bool]]
    about: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)


def own_settings(backend: Backend, spec: Spec) -> dict[str, Any]:
    """Return the settings with which a spec is sampled by default.

    Raises
    ------
    FitError
        When there is no such backend, or it is not installed.
    """
    if backend not in ("nutpie", "jax"):
        raise FitError(f"backend takes 'nutpie' and 'jax'; got {backend!r}")
    settings = pooling_of(spec).sampler_settings()
    if backend == "jax":
        numpyro.check()
        del settings["adaptation"]  # an argument of nutpie's alone
    else:
        settings["maxdepth"] = TREE_DEPTH
    return settings


def prepare(backend: Backend, spec: Spec, runs: Runs, bar: Progress) -> Sampler:
    """Return the sampler of a spec on a table, compiled or taken from this process.

    Both are in one unit, and no prior is relative to the table.
    """
    if backend == "jax":
        return _prepare_numpyro(spec, runs, bar)
    if len(runs) > LONG and spec.observation.traits.condenses and not spec.is_pooled:
        condensed = _prepare_condensed(spec, runs, bar)
        if condensed is not None:
            return condensed
    found = bar.during(f"preparing {spec.name} (once per process)", engine, spec, runs)
    data = sampler_data(runs, spec)

    def sample_by_nutpie(
        settings: dict[str, Any], seed: int, callback: Callable[..., None]
    ) -> tuple[xr.DataTree, bool]:
        if found.route == "kernel":
            bound = found.sampler.kernel.bind(data)
            raw, partial = _sample_kernel(bound, spec, settings, seed, callback, bar)
        else:
            raw, partial = run_nutpie(found.sampler.with_data(**data), settings, seed, callback)
        return named(raw, spec, runs), partial

    return Sampler(sample_by_nutpie, {"backend": "nutpie", "engine": found.about})


def _sample_kernel(
    bound: Bound,
    spec: Spec,
    settings: dict[str, Any],
    seed: int,
    callback: Callable[..., None],
    bar: Progress,
) -> tuple[xr.DataTree, bool]:
    """Return the draws of a kernel with a table, in learnt coordinates where that helps."""
    require_start(bound, seed)
    curved = spec.observation.traits.curved
    learns_map = bool(curved) and not spec.is_pooled
    steps = STEPS_OF_MAPPED if learns_map else STEPS
    seconds = _estimate(bound, settings, steps)
    if seconds > WORTH_SAYING:
        bar.say(f"{spec.name}: sampling will take about {_duration(seconds)}")
    model = None
    if learns_map:
        model = mapped_model(bound, curved, settings, seed)
    if model is None:
        return run_nutpie(nutpie_model(bound), settings, seed, callback)
    rest = settings | {"tune": _share(settings["tune"], TUNE_OF_MAPPED)}
    return run_nutpie(model, rest, seed, callback)


def _duration(seconds: float) -> str:
    """Return a duration in words, to one digit: it is a rough estimate."""
    if seconds < 60.0:
        return f"{float(f'{seconds:.1g}'):.0f} seconds"
    minutes = max(1, round(seconds / 60.0))
    return "a minute" if minutes == 1 else f"{minutes} minutes"


def _estimate(bound: Bound, settings: dict[str, Any], steps: int) -> float:
    """Return roughly how many seconds sampling takes, from the time of some gradients."""
    started = time.perf_counter()
    count = 0
    while count < TIMED_GRADIENTS and time.perf_counter() - started < TIMED_SECONDS:
        evaluate(bound, bound.initial)
        count += 1
    each = (time.perf_counter() - started) / count
    chains = settings["chains"]
    at_once = min(chains, os.cpu_count() or 1)
    return each * steps * (settings["tune"] + settings["draws"]) * chains / at_once


def _prepare_condensed(spec: Spec, runs: Runs, bar: Progress) -> Sampler | None:
    """Return the sampler of the condensed likelihood of a long table, or None without kernels."""
    table = condense(spec, runs)
    typical = typical_runs(table)
    found = bar.during(f"preparing {spec.name} (once per process)", engine, spec, typical)
    if found.route != "kernel" or not is_ours(spec):
        return None
    what = f"condensing {len(runs):,} runs to {len(table.cells)} cells"
    kernel_of_typical = found.sampler.kernel
    try:
        bound, likelihood, fine = bar.during(
            what, _condense_around_mode, table, typical, kernel_of_typical
        )
    except UnsupportedError as error:
        warn_of_fallback(f"all {len(runs):,} runs are sampled, which takes long: {error}")
        return None
    weights: dict[str, float | bool | None] = {}

    def sample_condensed(
        settings: dict[str, Any], seed: int, callback: Callable[..., None]
    ) -> tuple[xr.DataTree, bool]:
        # Narrow posteriors have corners that larger steps miss. Steps of a retry are smaller again.
        missed = MISSED_ON_LONG * (1 - settings["target_accept"])
        about["target_accept"] = round(1 - missed, 6)
        careful = settings | {"target_accept": 1 - missed}
        raw, partial = _sample_kernel(bound, spec, careful, seed, callback, bar)
        posterior = raw["posterior"].to_dataset()
        found = bar.during("weighing the draws", weigh, likelihood, fine, posterior, seed)
        weights["log_weight_sd"] = round(found.spread, 4)
        weights["pareto_k"] = None if found.k is None else round(found.k, 3)
        weights["used"] = found.is_reliable
        if not found.is_reliable:
            warn_of_fallback(
                f"{spec.name} on {runs.name}: the condensed likelihood is not near enough to the "
                f"exact one (Pareto k-hat {found.k:.2f}; at most {MOST_K} is allowed), so the "
                "exact one is sampled, which takes long"
            )
            data = sampler_data(runs, spec)
            exact = engine(spec, runs).sampler.kernel.bind(data)
            raw, partial = _sample_kernel(exact, spec, settings, seed, callback, bar)
            return named(raw, spec, runs), partial
        return named(resampled(raw, found.places), spec, runs), partial

    # The weights are known once draws have been made, and before anybody reads these facts.
    about: dict[str, Any] = {"cells": len(table.cells), "weights": weights}
    facts = {"backend": "nutpie", "engine": found.about, "condensed": about}
    return Sampler(sample_condensed, facts)


def _condense_around_mode(
    table: Condensed, typical: Runs, exact: Kernel
) -> tuple[Bound, Likelihood, Likelihood | None]:
    """Return the condensed kernel, the likelihood that it samples, and a finer one to weigh draws.

    Parameters
    ----------
    typical
        One run of each cell, whose mode is the first reference.
    exact
        The kernel of these runs.
    """
    spec, runs = table.spec, table.runs
    with one_thread():
        mode = mode_of(exact.bind(sampler_data(typical, spec)))
        arrays = table.around(Curves.of(spec, typical, mode))
        key = (*structure(spec, runs), "condensed")
        if key not in COMPILED:
            made = kernel(spec, runs, _kept(spec), key, arrays)
            COMPILED[key] = Engine(KernelSampler(made), "kernel")
        condensed = COMPILED[key].sampler.kernel
        # Once more, around the mode given all runs.
        mode = mode_of(condensed.bind(arrays))
        reference = Curves.of(spec, runs, mode)
        arrays = table.around(reference)
        fine = finer(table, reference)
    return condensed.bind(arrays), Likelihood(table, arrays), fine


def _kept(spec: Spec) -> list[str]:
    """Return the variables that a fit keeps of a draw."""
    return [*variable_names(spec), *spec.observation.traits.kept]


def _prepare_numpyro(spec: Spec, runs: Runs, bar: Progress) -> Sampler:
    run = bar.during(f"building {spec.name}", numpyro.prepare, spec, runs)
    about = numpyro.about()

    def sample_by_numpyro(
        settings: dict[str, Any], seed: int, _callback: Callable[..., None]
    ) -> tuple[xr.DataTree, bool]:
        raw = run(settings, seed)
        return named(raw, spec, runs, numpyro.STATS), False

    facts = {"backend": "jax", "device": about["device"]}
    return Sampler(sample_by_numpyro, facts, about["versions"])


@dataclass(frozen=True)
class Engine:
    """A compiled model that takes a table by ``with_data``, and how it was compiled.

    Attributes
    ----------
    sampler
        The compiled model.
    route
        "kernel", our own library of PyMC's graph, or "numba", nutpie's compilation of it.
    reason
        Why the route is not "kernel".
    """

    sampler: Any
    route: str
    reason: str = ""

    @property
    def about(self) -> dict[str, str]:
        """Entry of `Fit.metadata`."""
        if self.reason:
            return {"route": self.route, "reason": self.reason}
        return {"route": self.route}


COMPILED: dict[tuple[object, ...], Engine] = {}
"""Compiled models of this process by the structure of their specs."""


def compile_with(spec: Spec, runs: Runs) -> Any:
    """Return the compiled model of a spec with a table, compiled or taken from this process."""
    return engine(spec, runs).sampler.with_data(**sampler_data(runs, spec))


def engine(spec: Spec, runs: Runs) -> Engine:
    """Return the compiled model of a spec, compiled or taken from this process.

    Warns
    -----
    FallbackWarning
        Before nutpie compiles the model, because there can be no kernel.
    """
    key = structure(spec, runs)
    if key not in COMPILED:
        keep = _kept(spec)
        try:
            ours = KernelSampler(kernel(spec, runs, keep, key))
            ours.with_data(**sampler_data(runs, spec))  # whether this nutpie takes it
            COMPILED[key] = Engine(ours, "kernel")
        except UnsupportedError as error:
            warn_of_numba(error)
            COMPILED[key] = Engine(_numba(spec, runs, keep), "numba", str(error))
    return COMPILED[key]


def warn_of_numba(error: UnsupportedError) -> None:
    """Issue the warning that nutpie compiles models itself, with the reason."""
    warn_of_fallback(f"nutpie compiles the model through numba, {COST_OF_NUMBA}: {error}")


def _numba(spec: Spec, runs: Runs, keep: Sequence[str]) -> Any:
    """Let nutpie compile the model."""
    try:
        return compile_model(build_model(runs, spec), keep)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "compiledir" not in str(error):
            raise
        raise FitError(
            f"PyTensor cannot write its compile directory: {error} Or set "
            "PYTENSOR_FLAGS=base_compiledir=FOLDER"
        ) from error


def run_nutpie(
    compiled: Any, settings: dict[str, Any], seed: int, callback: Callable[..., None]
) -> tuple[xr.DataTree, bool]:
    """Return nutpie's draws, and whether the run was interrupted: then cut to whole chains."""
    try:
        # Threads of the linear algebra would slow the chains, and change the order of sums.
        with one_thread():
            trace = sample(
                compiled,
                seed=seed,
                progress_callback=callback,
                progress_rate=PROGRESS_RATE,
                **settings,
            )
    except (AttributeError, TypeError, ValueError) as error:
        raise FitError(f"nutpie does not take these arguments of the sampler: {error}") from error
    except RuntimeError as error:
        raise FitError(_why_nutpie_stopped(error)) from error
    except BaseException as error:
        # A panic of nutpie's Rust side is no subclass of Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise FitError(f"the sampler failed inside nutpie: {error}") from None
    return trim(read_trace(trace, [*STATS.values()]), settings["draws"])


def mapped_model(
    bound: Bound, curved: Sequence[str], settings: dict[str, Any], seed: int
) -> Any | None:
    """Return a model in coordinates that short runs have learnt (`scalebayes.fitting.maps`).

    Each short run takes a share of the tuning, half of it to tune itself. There is no such model,
    but None, where the runs are too short, or where the density has no curvature at the mode: then
    the sampler's own coordinates serve.

    Parameters
    ----------
    bound
        The kernel with a table.
    curved
        Names of the curved coordinates; a law without a floor lacks some.
    settings, seed
        Those of the fit.
    """
    entries = bound.layout.entries
    places = [entries.index(name) for name in curved if name in entries]
    count = _share(settings["tune"], TUNE_OF_SHORT_RUN / 2)
    short = settings | {
        "tune": count,
        "draws": count,
        "chains": max(settings["chains"], FEWEST_SHORT_CHAINS),
        "target_accept": TARGET_OF_SHORT_RUN,
        "maxdepth": DEPTH_OF_SHORT_RUN,
    }
    if count * short["chains"] < FEWEST_DRAWS_OF_SHORT_RUN:
        return None
    try:
        with one_thread():
            rough = normal_at_mode(bound, places)
            found = rough
            for number in range(SHORT_RUNS):
                model = nutpie_model(found.of(bound), _around_zero(len(entries)))
                trace = sample(model, seed=seed + 1 + number, store_unconstrained=True, **short)
                positions = read_positions(trace).reshape(-1, len(entries))
                found = learned(found(positions), places, rough)
    except np.linalg.LinAlgError:
        return None
    return nutpie_model(found.of(bound), _around_zero(len(entries)))


def _share(tune: int, share: float) -> int:
    """Return a share of the draws of tuning, at least one."""
    return max(1, round(share * tune))


def _around_zero(size: int) -> Callable[[int], np.ndarray]:
    """Return the function from a chain's seed to its initial point, within a unit of zero."""
    return lambda seed: np.random.default_rng(seed).uniform(-1.0, 1.0, size)


def _why_nutpie_stopped(error: RuntimeError) -> str:
    """Return the reason in words, without the backtrace of nutpie's Rust side."""
    reason = str(error).partition("Stack backtrace")[0]
    if "initialization points failed" in reason:
        return NO_START
    return f"nutpie stopped: {' '.join(reason.split())}"


def trim(raw: xr.DataTree, draws: int) -> tuple[xr.DataTree, bool]:
    """Return a trace cut to chains and draws that are whole, and whether anything was cut.

    nutpie fills an interrupted trace with NaN and zeros. The longest chains are kept such that most
    draws survive, all of one length.

    Raises
    ------
    KeyboardInterrupt
        When no draw after tuning was made.
    """
    posterior = raw["posterior"].to_dataset()
    sigma = posterior["sigma"]
    others = [dim for dim in sigma.dims if dim not in ("chain", "draw")]
    lengths = sigma.notnull().all(others).sum("draw").values
    if posterior.sizes["draw"] == draws and (lengths == draws).all():
        return raw, False

    # With the n longest chains, n times the length of the shortest of them is kept.
    longest_first = np.argsort(-lengths, kind="stable")
    counts = np.arange(1, len(lengths) + 1)
    most = int(np.argmax(counts * lengths[longest_first]))
    chains = np.sort(longest_first[: most + 1])
    length = int(lengths[chains].min())
    if length == 0:
        raise KeyboardInterrupt
    return raw.isel(chain=chains, draw=slice(0, length)), True


def named(
    raw: xr.DataTree, spec: Spec, runs: Runs, names: Mapping[str, str] = STATS
) -> xr.DataTree:
    """Return what a fit keeps of a trace, under ArviZ's names.

    It keeps the parameters of the spec, a sampled discrepancy and the sampler's statistics.

    Parameters
    ----------
    names
        Sampler statistics: ArviZ's name -> the sampler's.
    """
    posterior = raw["posterior"].to_dataset()
    statistics = raw["sample_stats"].to_dataset()
    kept = posterior[[*variable_names(spec)]]
    groups = {
        "posterior": pooling_of(spec).label(kept, runs),
        "sample_stats": xr.Dataset({name: statistics[theirs] for name, theirs in names.items()}),
    }
    groups |= spec.observation.groups_from_trace(posterior, runs)
    return xr.DataTree.from_dict(groups)
