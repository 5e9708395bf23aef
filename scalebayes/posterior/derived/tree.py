"""The tree of a fit as ArviZ expects it: stored draws, and the groups that follow from them.

Files keep what was sampled. The log likelihood, the replicated losses and the log prior density of
each draw follow from that and from the seed of the fit, and take more room than all the rest: they
are computed when `Fit.tree` is first asked for.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from scalebayes.posterior.derived.log_prior import log_prior
from scalebayes.posterior.derived.pointwise import by_run, is_too_long, parameters_of_runs

if TYPE_CHECKING:
    from collections.abc import Hashable

    from scalebayes.posterior.fit import Fit

REPLICATES = 23
"""Separates the random numbers of replicated losses from all others of a seed."""


def arviz_tree(fit: Fit) -> xr.DataTree:
    """Return the stored tree with the groups that follow from it, and with attributes.

    A view of a group of a pooled fit has no log_prior, because the prior of a group depends on the
    other groups; a view of a new group has no runs, so nothing is predicted.
    """
    groups = {str(name): node.to_dataset() for name, node in fit.stored.children.items()}
    if fit.log_likelihood is not None:
        groups["log_likelihood"] = fit.log_likelihood
        groups["posterior_predictive"] = _posterior_predictive(fit)
        if "prior" in groups and not is_too_long(groups["prior"], fit.runs):
            groups["prior_predictive"] = _prior_predictive(fit)
    if fit.view is None:
        groups["log_prior"] = log_prior(fit)
    about = _about(fit)
    described = {name: group.assign_attrs(about) for name, group in groups.items()}
    tree = xr.DataTree.from_dict(described)
    tree.attrs = dict(fit.stored.attrs)
    return tree


def _about(fit: Fit) -> dict[Hashable, Any]:
    """Return the attributes of every group, by the names that ArviZ gives them."""
    metadata = fit.metadata
    library = "numpyro" if metadata.get("backend") == "jax" else "nutpie"
    about: dict[Hashable, Any] = {
        "inference_library": library,
        "creation_library": "scalebayes",
        "creation_library_version": version("scalebayes"),
        "model": fit.spec.name,
    }
    library_version = metadata.get("versions", {}).get(library)
    if library_version is not None:
        about["inference_library_version"] = library_version
    if "seconds" in metadata:
        about["sampling_time"] = metadata["seconds"]
    # Fits of earlier versions do not know when they were made.
    if "created_at" in metadata:
        about["created_at"] = metadata["created_at"]
    return about


def _posterior_predictive(fit: Fit) -> xr.Dataset:
    """Return a new log loss of each run under each draw, (chain, draw, run).

    Its distribution is that of the pointwise log likelihood: given the draw; and where the
    discrepancy is integrated out, also given all other runs.
    """
    posterior = fit.stored["posterior"].to_dataset()
    rng = np.random.default_rng([REPLICATES, fit.metadata.get("seed", 0)])
    return _replicated(fit, posterior, fit.stored, rng)


def _prior_predictive(fit: Fit) -> xr.Dataset:
    """Return log losses of the runs under each draw from the prior, (chain, draw, run)."""
    prior = fit.stored["prior"].to_dataset()
    rng = np.random.default_rng([REPLICATES, fit.metadata.get("seed", 0), 1])
    of_processes = fit.spec.observation.draw_prior(prior, fit.runs, rng)
    tree = xr.DataTree.from_dict({"posterior": prior, **of_processes})
    return _replicated(fit, prior, tree, rng, is_prior=True)


def _replicated(
    fit: Fit,
    parameters: xr.Dataset,
    tree: xr.DataTree,
    rng: np.random.Generator,
    *,
    is_prior: bool = False,
) -> xr.Dataset:
    """Return replicated log losses under draws of the parameters.

    Parameters
    ----------
    tree
        The parameters as its posterior, and what bends the law.
    is_prior
        Whether nothing is known of the runs, so that residuals are those of the noise alone.
    """
    law, observation, runs = fit.spec.law_object, fit.spec.observation, fit.runs
    shape = (parameters.sizes["chain"], parameters.sizes["draw"], len(runs))
    one_group = fit.view is not None
    of_runs = parameters_of_runs(parameters, fit.spec, runs, one_group=one_group).of(slice(None))
    delta = np.broadcast_to(observation.delta_at_runs(tree, runs), shape)
    # Draws from a wide prior may overflow; the log loss is then infinite.
    with np.errstate(over="ignore", invalid="ignore"):
        residual = law.log_residual(runs, of_runs) - delta.reshape(-1, len(runs))
    if is_prior:
        noise = observation.noise_at(of_runs, runs)
        drawn = observation.noise.draw(rng, residual.shape, **noise)
    else:
        drawn = observation.replicate(rng, residual, of_runs, runs)
    log_loss = law.log_response(runs) - residual + drawn
    return by_run(log_loss.reshape(shape), parameters, runs)
