"""Spec and runs to posterior: nutpie samples the graph, and the gate decides whether to go on.

One compiled sampler serves every table of a spec.
"""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.data.runs import Runs
from scalebayes.errors import GateWarning
from scalebayes.fitting.kept_fits import keep, place, recall
from scalebayes.fitting.preflight import check_settings, check_table
from scalebayes.fitting.samplers import Backend, Sampler, own_settings, prepare
from scalebayes.posterior.diagnostics import Diagnosis, convergence
from scalebayes.posterior.fit import METADATA, Fit
from scalebayes.specs.pooling import pooled_prior_draws, read_grouping
from scalebayes.specs.spec import Spec, prior_draws, read_model
from scalebayes.utils.parallel import parts_of, side_by_side
from scalebayes.utils.progress import Progress

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
    backend: Backend = "nutpie",
    progress: bool | None = None,
    cache: bool = False,
    **sampler: Any,
) -> Fit:
    """Sample the posterior of a spec given runs.

    The gate of `scalebayes.diagnose` is run on every fit. Where it fails, sampling is repeated with twice the tuning,
    and with smaller steps and twice the draws where it diverged or three times the draws where not, twice at most;
    `Fit.metadata` counts the attempts, and the last one is returned either way.

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
        Kept and tuning draws a chain, and the number of chains. By default a law alone tunes for 600 draws, with a
        discrepancy for 1000, or for 2000 where Normal noise lets it be integrated out (`scalebayes.fitting.samplers`).
    backend
        What samples: ``"nutpie"`` on the CPU, or ``"jax"``, which is NumPyro with all chains at once, on a GPU where
        JAX has one (extra ``gpu``). The second is for tables of very many runs: it compiles for each table anew.
    progress
        Whether to show progress on stderr; by default when it is a terminal or a notebook.
    cache
        Whether to return the same fit (spec, runs, settings, seed and versions) from the user's cache folder where it
        is there, and to keep it there where it is not. Its metadata then has ``cached``, the file. A fit takes a few
        megabytes; SCALEBAYES_CACHE_DIR moves the folder, and what is in it may be deleted at any time.
    **sampler
        Passed on to `nutpie.sample` (``target_accept``, ``cores``, ``maxdepth`` ...), or with ``backend="jax"`` to
        `numpyro.infer.NUTS` (``dense_mass``, ``max_tree_depth`` ...).

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
    settings = own_settings(backend, spec) | {"draws": draws, "chains": chains, **sampler}
    settings |= {} if tune is None else {"tune": tune}
    check_settings(settings, seed)
    path = place(spec, runs, settings | {"backend": backend}, seed, _versions()) if cache else None
    with Progress(progress) as bar:
        if path is not None and (
            found := bar.during("looking for the same fit", recall, path, spec, runs)
        ):
            bar.say(f"{spec.name}: the same fit was made before, and is read from {path}")
            if found.gate_failures:
                _warn(found, convergence(found.tree))
            return found
        made, gate = _fit(spec, runs, backend, settings, seed, bar)
        if path is not None:
            bar.during("keeping the fit", keep, made, path)
    if not gate.ok:
        _warn(made, gate)
    return made


def _fit(
    spec: Spec, runs: Runs, backend: Backend, settings: dict[str, Any], seed: int, bar: Progress
) -> tuple[Fit, Diagnosis]:
    """Compile, sample, and put together what was sampled with what a fit says of itself."""
    started = time.perf_counter()
    sampler = prepare(backend, spec, runs, bar)
    kept = _sample_until_the_gate_passes(sampler, settings, seed, spec, bar)
    tree = _tree(kept.sampled, spec, runs, seed)
    metadata = {
        "seed": int(seed),
        "sampler": kept.settings,  # of the last attempt; a retry changes what was asked
        "asked": settings,
        "attempts": kept.attempt,
        "partial": kept.partial,
        "gate_failures": [message.code for message in kept.gate.messages],
        "hashes": {"spec": spec.hash, "runs": runs.hash},
        "versions": _versions() | sampler.versions,
        "seconds": round(time.perf_counter() - started, 2),
        **sampler.about,
    }
    tree.attrs[METADATA] = json.dumps(
        metadata, sort_keys=True, default=str
    )  # arguments of the sampler may be anything
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
    sampler: Sampler, settings: dict[str, Any], seed: int, spec: Spec, bar: Progress
) -> Attempt:
    """Sample, more carefully again while the gate fails; an interrupted retry leaves the whole attempt before it."""
    kept: Attempt | None = None
    for attempt in range(1, ATTEMPTS + 1):
        label = f"sampling {spec.name}" + f", attempt {attempt}: the gate failed" * (attempt > 1)
        try:
            sampled, partial = sampler.sample(settings, _seed_of(seed, attempt), bar.bar(label))
        except KeyboardInterrupt:
            if kept is None:
                raise
            partial = True
        if partial and kept is not None:
            return replace(kept, partial=True, gate=convergence(kept.sampled, partial=True))
        kept = Attempt(sampled, partial, convergence(sampled, partial=partial), attempt, settings)
        if (
            partial or kept.gate.ok or settings["chains"] == 1
        ):  # one chain cannot pass, however long
            break
        settings = _more_careful(settings, kept.gate)
    assert kept is not None  # the first attempt either raised or was kept
    return kept


def _more_careful(settings: dict[str, Any], gate: Diagnosis) -> dict[str, Any]:
    """What a failed gate asks for, with twice the tuning: smaller steps where it diverged, else more draws of the like.

    Steps that were small enough are left alone: smaller ones take longer, and give no more effective draws.
    """
    more = {"tune": 2 * settings["tune"], "draws": 3 * settings["draws"]}
    if any(message.code == "DIVERGENCES" for message in gate.messages):
        accept = 1 - (1 - settings["target_accept"]) / 3  # misses a third as much
        more |= {"draws": 2 * settings["draws"], "target_accept": accept}
    return settings | more


def _seed_of(seed: int, attempt: int) -> int:
    return int(np.random.SeedSequence([seed, attempt]).generate_state(1)[0])


def _tree(sampled: xr.DataTree, spec: Spec, runs: Runs, seed: int) -> xr.DataTree:
    """Add to what was sampled the prior, the data and, for tables that are not very long, the log likelihood."""
    posterior = sampled["posterior"].to_dataset()
    table = xr.Dataset.from_dataframe(runs.table)
    count = posterior.sizes.get("group", 0)
    made = (
        pooled_prior_draws(spec, count, PRIOR_DRAWS, seed)
        if count
        else prior_draws(spec, PRIOR_DRAWS, seed)
    )
    prior = {k: (("chain", "draw", "group")[: v.ndim + 1], v[None]) for k, v in made.items()}
    along = {"group": posterior["group"].values} if count else {}
    groups = {name: group.to_dataset() for name, group in sampled.children.items()} | {
        "prior": xr.Dataset(prior, coords={"chain": [0], "draw": np.arange(PRIOR_DRAWS), **along}),
        "observed_data": xr.Dataset(
            {"log_loss": table["loss"].copy(data=spec.law_object.log_response(runs))}
        ),
        "constant_data": table,
    }
    if len(runs) * posterior.sizes["chain"] * posterior.sizes["draw"] <= LOG_LIKELIHOOD_VALUES:
        groups["log_likelihood"] = log_likelihood(
            posterior, spec, runs, spec.observation.delta_at_runs(sampled)
        )
    return xr.DataTree.from_dict(groups)


def log_likelihood(
    posterior: xr.Dataset, spec: Spec, runs: Runs, delta: np.ndarray | float = 0.0
) -> xr.Dataset:
    """Log density of each run's log loss under each draw, (chain, draw, run).

    With a discrepancy it is that given the other runs; where the discrepancy is sampled, that given its draw ``delta``
    at the runs, (chain, draw, run).
    """
    law, observation = spec.law_object, spec.observation
    shape = (posterior.sizes["chain"], posterior.sizes["draw"], len(runs))
    density = np.empty((shape[0] * shape[1], len(runs)))
    draws = {
        str(name): values.values.reshape(len(density), -1) for name, values in posterior.items()
    }  # (S, groups)
    place = (
        read_grouping(runs, spec).of_run if "group" in posterior.dims else np.zeros(len(runs), int)
    )
    off = np.broadcast_to(
        np.reshape(delta, density.shape) if np.ndim(delta) else delta, density.shape
    )

    def fill(part: slice) -> None:
        values = {n: v[part][:, place] if v.shape[1] > 1 else v[part] for n, v in draws.items()}
        residual = law.log_residual(runs, values) - off[part]
        density[part] = observation.pointwise(residual, values, runs)

    side_by_side(fill, parts_of(*density.shape))
    coords = {
        "chain": posterior["chain"],
        "draw": posterior["draw"],
        "run": runs.table.index.to_numpy(),
    }
    return xr.Dataset(
        {"log_loss": (("chain", "draw", "run"), density.reshape(shape))}, coords=coords
    )
