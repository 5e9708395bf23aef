"""What samples a spec on a table: nutpie on a compiled model, or NumPyro through JAX; each as one function.

Compiled models are kept for the life of the process, by the structure of their specs; one serves every table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr

from scalebayes.data.runs import Runs
from scalebayes.errors import FitError
from scalebayes.fitting import numpyro
from scalebayes.fitting.graph import pymc_model, sampler_data, structure
from scalebayes.fitting.kernel.c_operations import UnsupportedError
from scalebayes.fitting.kernel.kernel import kernel
from scalebayes.fitting.nutpie import KernelSampler, compile_model, read_trace, sample
from scalebayes.posterior.fit import SAMPLED
from scalebayes.specs.pooling import read_grouping, variable_names
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
"""ArviZ's names for sampler statistics and nutpie's."""


@dataclass(frozen=True)
class Sampler:
    """A spec on a table, ready to be sampled.

    Attributes
    ----------
    sample
        From settings, a seed and a callback for progress to what was sampled, under ArviZ's names, and whether in part.
    about, versions
        What `Fit.metadata` says of it.
    """

    sample: Callable[[dict[str, Any], int, Callable[..., None]], tuple[xr.DataTree, bool]]
    about: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)


def own_settings(backend: Backend, spec: Spec) -> dict[str, Any]:
    """How a spec is sampled unless asked otherwise.

    A law alone has few parameters, some of them correlated; a pooled one has as many for each group. The posterior of
    an amplitude whose process is integrated out bends more and takes smaller steps. Where the process is sampled there
    are some hundred coordinates, all nearly standard Normal, and their correlations would cost more to estimate than
    they save.

    Raises
    ------
    FitError
        When there is no such backend, or it is not installed.
    """
    if backend not in ("nutpie", "jax"):
        raise FitError(f"backend takes 'nutpie' and 'jax'; got {backend!r}")
    if spec.pool is not None:
        tune, accept, adaptation = 2000, 0.98, "low_rank"
    else:
        kind = spec.observation
        tune, accept, adaptation = kind.tune, kind.target_accept, kind.adaptation
    if backend == "jax":
        numpyro.check()
    return {"tune": tune, "target_accept": accept} | (
        {"adaptation": adaptation} if backend == "nutpie" else {}
    )


def prepare(backend: Backend, spec: Spec, runs: Runs, bar: Progress) -> Sampler:
    """Compile what samples a spec, or take this process's, and give it the table."""
    if backend == "jax":
        run = bar.during(f"building {spec.name}", numpyro.prepare, spec, runs)
        about = numpyro.about()
        return Sampler(
            lambda settings, seed, _: (
                named(run(settings, seed), spec, runs, numpyro.STATS),
                False,
            ),
            {"backend": backend, "device": about["device"]},
            about["versions"],
        )
    compiled = bar.during(f"preparing {spec.name} (once per process)", compile_with, spec, runs)
    found = engine(spec, runs)
    if found.reason:
        bar.say(
            f"without a kernel nutpie compiled the model itself, which takes longer: {found.reason}"
        )

    def by_nutpie(
        settings: dict[str, Any], seed: int, callback: Callable[..., None]
    ) -> tuple[xr.DataTree, bool]:
        raw, partial = run_nutpie(compiled, settings, seed, callback)
        return named(raw, spec, runs), partial

    return Sampler(by_nutpie, {"backend": backend, "engine": found.about})


@dataclass(frozen=True)
class Engine:
    """A compiled model that takes a table by ``with_data``, and how it came about.

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


COMPILED: dict[tuple[object, ...], Engine] = {}
"""Compiled models of this process by the structure of their specs."""


def compile_with(spec: Spec, runs: Runs) -> Any:
    """Compile the model of a spec, or take this process's, and give it the table."""
    return engine(spec, runs).sampler.with_data(**sampler_data(runs, spec))


def engine(spec: Spec, runs: Runs) -> Engine:
    """The compiled model of a spec, this process's where there is one."""
    if (key := structure(spec, runs)) not in COMPILED:
        keep = [*variable_names(spec), *spec.observation.kept]
        try:
            ours = KernelSampler(kernel(spec, runs, keep, key))
            ours.with_data(**sampler_data(runs, spec))  # whether this nutpie takes it
            COMPILED[key] = Engine(ours, "kernel")
        except UnsupportedError as error:
            COMPILED[key] = Engine(_numba(spec, runs, keep), "numba", str(error))
    return COMPILED[key]


def _numba(spec: Spec, runs: Runs, keep: Sequence[str]) -> Any:
    """Let nutpie compile the model."""
    try:
        return compile_model(pymc_model(runs, spec), keep)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "compiledir" not in str(error):
            raise
        text = f"PyTensor cannot write its compile directory: {error} Or set PYTENSOR_FLAGS=base_compiledir=FOLDER"
        raise FitError(text) from error


def run_nutpie(
    compiled: Any, settings: dict[str, Any], seed: int, callback: Callable[..., None]
) -> tuple[xr.DataTree, bool]:
    """Run nutpie; an interrupted run comes back trimmed to whole chains and flagged."""
    options = {"progress_callback": callback, "progress_rate": 200}
    try:
        with (
            one_thread()
        ):  # threads of the linear algebra would get in the way of the chains, and change sums
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
    sigma = posterior["sigma"]
    lengths = (
        sigma.notnull()
        .all([d for d in sigma.dims if d not in ("chain", "draw")])
        .sum("draw")
        .values
    )
    if posterior.sizes["draw"] == draws and (lengths == draws).all():
        return raw, False
    order = np.argsort(-lengths, kind="stable")
    kept = [(i + 1) * lengths[chain] for i, chain in enumerate(order)]
    chains = np.sort(order[: int(np.argmax(kept)) + 1])
    length = int(lengths[chains].min()) if len(chains) else 0
    if length == 0:
        raise KeyboardInterrupt
    return raw.isel(chain=chains, draw=slice(0, length)), True


def named(
    raw: xr.DataTree, spec: Spec, runs: Runs, names: Mapping[str, str] = STATS
) -> xr.DataTree:
    """Keep the parameters of the spec, a sampled discrepancy and the sampler's statistics, under ArviZ's names."""
    posterior = raw["posterior"].to_dataset()
    stats = raw["sample_stats"].to_dataset()
    kept = posterior[[*variable_names(spec)]]
    if spec.pool is not None:
        kept = kept.map(
            lambda v: v.rename({d: "group" for d in v.dims if d not in ("chain", "draw")})
        )
        kept = kept.drop_vars("group", errors="ignore").assign_coords(
            group=list(read_grouping(runs, spec).names)
        )
    groups = {
        "posterior": kept,
        "sample_stats": xr.Dataset({name: stats[theirs] for name, theirs in names.items()}),
    }
    delta = spec.observation.delta_from_trace(posterior, runs)
    if delta is not None:
        coords = {
            "chain": posterior["chain"],
            "draw": posterior["draw"],
            "run": runs.table.index.to_numpy(),
        }
        groups[SAMPLED] = xr.Dataset({"delta": (("chain", "draw", "run"), delta)}, coords)
    return xr.DataTree.from_dict(groups)
