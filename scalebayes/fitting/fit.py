"""The function `fit`: from a spec and runs to a posterior.

The sampler is run, the convergence checks ("the gate") are made, and where they fail sampling is
repeated more carefully. One compiled sampler serves every table of a spec.
"""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
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
from scalebayes.posterior.stated import normalised_tree
from scalebayes.specs.defaults import DEFAULT, choose_model, reason_for_default
from scalebayes.specs.pooling import pooling_of
from scalebayes.specs.spec import Spec, with_trainings
from scalebayes.specs.table_units import normalise, to_table
from scalebayes.utils.kinds import by_kind
from scalebayes.utils.progress import Progress

ATTEMPTS = 3
"""How often a fit is tried, each time more carefully, before a failed gate is reported."""
PRIOR_DRAWS = 2000


@by_kind
def fit(
    runs: Runs,
    model: str | Path | Spec = DEFAULT,
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
    """Return the posterior of a spec given runs, sampled.

    The convergence checks of `scalebayes.diagnose` are made for every fit. Where they fail,
    sampling is repeated, twice at most: with twice the tuning, with twice the draws where it
    diverged and three times the draws where not, and with smaller steps where it diverged or is
    repeated once more. `Fit.metadata` counts the attempts, and the last one is returned either way.

    Parameters
    ----------
    runs
        The table (`scalebayes.read_runs`, `scalebayes.load_runs`), or curves along runs
        (`scalebayes.read_curves`), which have models of their own (`scalebayes.curves`).
    model
        A name in ``models/``, a path to a TOML file, or a `Spec`. ``"default"`` is that of the
        table's inputs (`scalebayes.specs.defaults`): a law whose local exponents drift, so that
        intervals know that the law may be wrong. Predictions give the law alone beside the curve.
    seed
        Same seed, same runs, same versions: same draws, on any number of cores.
    draws, tune, chains
        Kept and tuning draws of a chain, and the number of chains. By default a law alone tunes for
        600 draws, and one that drifts for 1500, of which short runs take a part to learn the
        sampler's coordinates (`scalebayes.fitting.maps`). A law with a discrepancy tunes for 1000,
        or for 2000 where Normal noise lets it be integrated out (`scalebayes.specs.observation`).
    backend
        The sampler: ``"nutpie"`` on the CPU, or ``"jax"``, which is NumPyro with all chains at
        once, on a GPU where JAX has one (extra ``gpu``). The second is for tables of very many
        runs: it compiles for each table anew.
    progress
        Whether to show progress on stderr; by default when it is a terminal or a notebook, and
        elsewhere one line a minute. False shows nothing.
    cache
        Whether to return the same fit (spec, runs, settings, seed and versions) from the user's
        cache folder if it is there, and to keep it there if it is not. Its metadata then has
        ``cached``, the file. A fit takes a few megabytes; SCALEBAYES_CACHE_DIR moves the folder,
        and its content may be deleted at any time.
    **sampler
        Passed on to `nutpie.sample` (``target_accept``, ``cores``, ``maxdepth`` ...), or with
        ``backend="jax"`` to `numpyro.infer.NUTS` (``dense_mass``, ``max_tree_depth`` ...). Long
        tables whose likelihood is condensed are sampled with a greater ``target_accept``, which is
        in ``Fit.metadata["condensed"]``.

    Returns
    -------
    Fit
        With ``partial`` set when sampling was interrupted (Ctrl-C) after some draws.

    Raises
    ------
    SpecError, RunsError
        Before anything compiles: an unknown model, a column that the law needs, too few rows for
        its parameters.
    FitError
        When no draw could be made.

    Examples
    --------
    >>> runs = sb.load_runs("pile2023")
    >>> fit = sb.fit(runs, "chinchilla", seed=0)  # without a name, the default model
    >>> f"{fit.tree['posterior']['L_inf'].median():.2f}"
    '0.89'
    """
    spec = with_trainings(choose_model(runs, model), runs)
    check_table(runs, spec)
    settings = own_settings(backend, spec) | {"draws": draws, "chains": chains, **sampler}
    if tune is not None:
        settings["tune"] = tune
    check_settings(settings, seed)
    path = None
    if cache:
        path = place(spec, runs, settings | {"backend": backend}, seed, versions())

    with Progress(progress) as bar:
        if model == DEFAULT:
            bar.say(f"model: {reason_for_default(runs)}")
        if path is not None:
            found = bar.during("looking for the same fit", recall, path, spec, runs)
            if found is not None:
                bar.say(f"{spec.name}: the same fit was made before, and is read from {path}")
                if found.gate_failures:
                    _warn(found, convergence(normalised_tree(found)))
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
    """Return a new fit with its metadata, and the outcome of the convergence checks.

    Sampling and its checks see the normalised table, so that the units of the table decide nothing.
    """
    started = time.perf_counter()
    normalised = normalise(runs, spec)
    sampler = prepare(backend, normalised.spec, normalised.runs, bar)
    kept = sample_until_the_gate_passes(sampler, settings, seed, spec.name, bar)
    sampled = kept.sampled
    posterior = to_table(sampled["posterior"].to_dataset(), spec, normalised.units)
    sampled["posterior"] = xr.DataTree(posterior)
    tree = _tree(sampled, spec, runs, seed)
    what_was_fitted = {
        "hashes": {"spec": spec.hash, "runs": runs.hash},
        "units": asdict(normalised.units),
    }
    how_it_was_sampled = {
        "seed": int(seed),
        "asked": settings,
        "sampler": kept.settings,  # of the last attempt: a retry changes what was asked
        "versions": versions() | sampler.versions,
        **sampler.about,
    }
    failed_checks = [message.code for message in kept.gate.messages]
    how_it_went = {
        "attempts": kept.attempt,
        "partial": kept.partial,
        "gate_failures": failed_checks,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - started, 2),
    }
    metadata = what_was_fitted | how_it_was_sampled | how_it_went
    # Arguments of the sampler may be of any type: what JSON does not know becomes text.
    tree.attrs[METADATA] = json.dumps(metadata, sort_keys=True, default=str)
    return Fit(spec, runs, tree), kept.gate


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide the draws."""
    return {name: version(name) for name in ("scalebayes", "pymc", "nutpie", "pytensor", "numpy")}


def _warn(fit: Fit, gate: Diagnosis) -> None:
    warnings.warn(f"{fit.spec.name} on {fit.runs.name}: {gate}", GateWarning, stacklevel=3)


@dataclass(frozen=True)
class Attempt:
    """One run of the sampler.

    Attributes
    ----------
    sampled
        Posterior and statistics under ArviZ's names.
    partial
        Whether it was interrupted.
    gate
        Outcome of the convergence checks.
    attempt, settings
        Number of the attempt, from 1, and its settings.
    """

    sampled: xr.DataTree
    partial: bool
    gate: Diagnosis
    attempt: int
    settings: dict[str, Any]


def sample_until_the_gate_passes(
    sampler: Sampler, settings: dict[str, Any], seed: int, name: str, bar: Progress
) -> Attempt:
    """Return the last attempt; an interrupted retry leaves the whole attempt before it."""
    kept: Attempt | None = None
    for attempt in range(1, ATTEMPTS + 1):
        label = f"sampling {name}"
        if attempt > 1:
            label += f", attempt {attempt}: the convergence checks failed"
        try:
            sampled, partial = sampler.sample(settings, _seed_of(seed, attempt), bar.bar(label))
        except KeyboardInterrupt:
            if kept is None:
                raise
            partial = True
        if partial and kept is not None:
            return replace(kept, partial=True, gate=convergence(kept.sampled, partial=True))
        kept = Attempt(sampled, partial, convergence(sampled, partial=partial), attempt, settings)
        one_chain = settings["chains"] == 1  # which cannot pass, however long
        if partial or kept.gate.ok or one_chain:
            break
        settings = _more_careful(settings, kept.gate, attempt)
    assert kept is not None  # the first attempt either raised or was kept
    return kept


def _more_careful(settings: dict[str, Any], gate: Diagnosis, attempt: int) -> dict[str, Any]:
    """Return settings for a retry: twice the tuning, and more draws, smaller steps or both.

    Steps that were small enough are left alone: smaller ones take longer, and give no more
    effective draws. They were not where the sampler diverged, and perhaps not where more draws did
    not help: chains can stick without diverging.
    """
    diverged = any(message.code == "DIVERGENCES" for message in gate.messages)
    careful = settings | {"tune": 2 * settings["tune"]}
    careful["draws"] = (2 if diverged else 3) * settings["draws"]
    if diverged or attempt > 1:
        missed = 1 - settings["target_accept"]
        careful["target_accept"] = 1 - missed / 3
    return careful


def _seed_of(seed: int, attempt: int) -> int:
    return int(np.random.SeedSequence([seed, attempt]).generate_state(1)[0])


def _tree(sampled: xr.DataTree, spec: Spec, runs: Runs, seed: int) -> xr.DataTree:
    """Return the draws with the prior and the data."""
    table = xr.Dataset.from_dataframe(runs.table)
    any_column = next(iter(table.data_vars.values()))  # a table of scores may have no loss
    log_loss = any_column.copy(data=spec.law_object.log_response(runs))

    groups = {name: group.to_dataset() for name, group in sampled.children.items()}
    normalised = normalise(runs, spec)
    prior = pooling_of(normalised.spec).prior(runs, PRIOR_DRAWS, seed)
    groups["prior"] = to_table(prior, spec, normalised.units)
    groups["observed_data"] = xr.Dataset({"log_loss": log_loss})
    groups["constant_data"] = table
    return xr.DataTree.from_dict(groups)
