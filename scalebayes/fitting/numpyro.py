"""The same `pm.Model` through JAX: NumPyro samples it, all chains at once, on a GPU where JAX has one.

JAX, NumPyro and PyMC's bridge to them come with the extra ``gpu`` and are imported inside functions.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.errors import FitError
from scalebayes.fitting.graph import pymc_model

if TYPE_CHECKING:
    import xarray as xr

    from scalebayes.data.runs import Runs
    from scalebayes.specs.spec import Spec

STATS = {
    "diverging": "diverging",
    "reached_max_treedepth": "reached_max_treedepth",
    "tree_depth": "tree_depth",
    "n_steps": "n_steps",
    "step_size": "step_size",
    "acceptance_rate": "acceptance_rate",
    "energy": "energy",
    "lp": "lp",
}
"""ArviZ's names for sampler statistics and those of `sample`."""
TREE_DEPTH = 10
"""NumPyro's largest tree depth, where the caller gives none."""
PASSED = ("target_accept", "draws", "tune", "chains")
"""Settings that PyMC's bridge takes; the others are arguments of NumPyro's NUTS."""


def check() -> None:
    """Refuse where the extra is not installed, before anything else is done.

    Raises
    ------
    FitError
        Saying what to install.
    """
    try:
        import numpyro
    except ImportError as error:
        text = "backend='jax' needs NumPyro and JAX: pip install 'scalebayes[gpu]'"
        raise FitError(
            f"{text} ({error}); for a GPU also JAX's own package for it, see docs/many-fits.md"
        ) from None
    numpyro.enable_x64()  # single precision is off by more than the posterior is wide


def prepare(spec: Spec, runs: Runs) -> Callable[[dict[str, Any], int], xr.DataTree]:
    """Build the graph and give the function that samples it, from settings and a seed.

    The table becomes constants of the compiled function, so that every table compiles again: this is for large ones.
    """
    graph = pymc_model(runs, spec)
    return lambda settings, seed: sample(graph, settings, seed)


def sample(graph: Any, settings: dict[str, Any], seed: int) -> xr.DataTree:
    """Sample a `pm.Model` with NumPyro's NUTS, its chains vectorised and its mass matrix dense.

    Returns
    -------
    xarray.DataTree
        ``posterior`` and ``sample_stats``, the latter under the names of `STATS`.

    Raises
    ------
    FitError
        When an argument is unknown to NumPyro, or it stops.
    """
    from pymc.sampling.jax import sample_numpyro_nuts

    passed = {name: settings[name] for name in PASSED}
    further = {"dense_mass": True, "max_tree_depth": TREE_DEPTH}
    further |= {name: value for name, value in settings.items() if name not in PASSED}
    quiet = {"progressbar": False, "quiet": True, "compute_convergence_checks": False}
    try:
        tree = sample_numpyro_nuts(
            model=graph,
            random_seed=seed,
            chain_method="vectorized",
            nuts_kwargs=further,
            **passed,
            **quiet,
        )
    except TypeError as error:
        raise FitError(f"NumPyro's NUTS does not take these arguments: {error}") from error
    except (RuntimeError, ValueError) as error:  # of JAX, out of memory say, and of PyMC
        raise FitError(f"NumPyro stopped: {error}") from error
    stats = tree["sample_stats"].to_dataset()
    whole_tree = 2 ** further["max_tree_depth"] - 1
    stats["reached_max_treedepth"] = stats["n_steps"] >= whole_tree
    stats["lp"] = -stats["lp"]  # the bridge gives the potential energy
    if tree["posterior"]["sigma"].dtype != np.float64:
        raise FitError(
            "JAX computed in single precision, which is not enough here: leave jax_enable_x64 on"
        )
    tree["sample_stats"].dataset = stats
    return tree


def about() -> dict[str, Any]:
    """What a fit's metadata say of this backend."""
    import jax

    return {
        "device": jax.default_backend(),
        "versions": {name: version(name) for name in ("jax", "numpyro")},
    }
