"""NumPyro samples the same `pm.Model` through JAX, all chains at once, on a GPU if there is one.

JAX, NumPyro and PyMC's bridge to them come with the extra ``gpu``. They are imported inside
functions.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.errors import FitError
from scalebayes.fitting.graph import build_model

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
"""Sampler statistics: ArviZ's name -> that of `sample`."""
TREE_DEPTH = 10
"""Largest depth of NumPyro's trees by default."""
PASSED = ("target_accept", "draws", "tune", "chains")
"""Settings that PyMC's bridge takes; others are arguments of NumPyro's NUTS."""


def check() -> None:
    """Check that NumPyro and JAX are installed, and set JAX to double precision.

    Raises
    ------
    FitError
        Saying what to install.
    """
    try:
        import numpyro
    except ImportError as error:
        raise FitError(
            "backend='jax' needs NumPyro and JAX: pip install 'scalebayes[gpu]' "
            f"({error}); for a GPU also JAX's own package for it, see docs/many-fits.md"
        ) from None
    numpyro.enable_x64()  # single precision is off by more than the posterior is wide


def prepare(spec: Spec, runs: Runs) -> Callable[[dict[str, Any], int], xr.DataTree]:
    """Return the function that samples the graph of a spec on a table, from settings and a seed.

    The table becomes constants of the compiled function, so that every table compiles anew: this
    backend is for large ones.
    """
    graph = build_model(runs, spec)

    def sample_graph(settings: dict[str, Any], seed: int) -> xr.DataTree:
        return sample(graph, settings, seed)

    return sample_graph


def sample(graph: Any, settings: dict[str, Any], seed: int) -> xr.DataTree:
    """Return draws of a `pm.Model` by NumPyro's NUTS, chains vectorised and mass matrix dense.

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
    except (RuntimeError, ValueError) as error:  # JAX out of memory, or an error of PyMC
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
    """Return entries of a fit's metadata: JAX's device, and versions."""
    import jax

    return {
        "device": jax.default_backend(),
        "versions": {name: version(name) for name in ("jax", "numpyro")},
    }
