"""Checks that a saved fit is whole: a digest of what answers rest on, and the form of its tree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np
import xarray as xr

from scalebayes.posterior.fit import SAMPLED
from scalebayes.specs.drifting_law import GROUP as DRIFT
from scalebayes.specs.pooling import variable_names
from scalebayes.specs.spec import Spec
from scalebayes.specs.sweeps import SHIFTS
from scalebayes.specs.trainings import OFFSETS

GROUPS = ("posterior", "sample_stats", "prior", "constant_data")
"""Groups that the tree of every fit has."""
STATISTICS = ("diverging", "reached_max_treedepth", "energy")
"""Sampler statistics that the convergence checks read."""
SAMPLE = ("chain", "draw")
"""Dimensions of draws."""


def digest_of(tree: xr.DataTree, attributes: Iterable[str]) -> str:
    """Return the SHA-256 of a tree in hexadecimal: of all its groups, and of some root attributes.

    It does not depend on the order of groups and variables, nor on how a file stores the numbers.

    Parameters
    ----------
    tree
        Draws, statistics and data, as they are in memory.
    attributes
        Names of the root attributes that count.
    """
    total = hashlib.sha256()
    kept = {name: str(tree.attrs[name]) for name in attributes}
    total.update(json.dumps(kept, sort_keys=True).encode())
    for group in sorted(tree.children):
        variables = tree[group].to_dataset().variables
        for name in sorted(map(str, variables)):
            variable = variables[name]
            about = [group, name, list(variable.dims), list(variable.shape)]
            total.update(json.dumps(about).encode())
            total.update(_bytes_of(variable.values))
    return total.hexdigest()


def _bytes_of(values: np.ndarray) -> bytes | memoryview:
    """Return the bytes of an array, the same for every type that holds the same values."""
    if values.dtype.kind == "f":
        return np.ascontiguousarray(values, "<f8").data.cast("B")
    if values.dtype.kind in "iub":
        return np.ascontiguousarray(values, "<i8").data.cast("B")
    texts = [str(value) for value in values.ravel()]
    return json.dumps(texts).encode()


def check_tree(tree: xr.DataTree, spec: Spec, *, finite: bool, whole: bool) -> None:
    """Check that a tree has draws of every parameter, and the groups that its spec calls for.

    Parameters
    ----------
    tree
        The tree of a fit.
    spec
        Its spec.
    finite
        Whether the posterior draws have to be finite.
    whole
        Whether the tree has to have every group that `scalebayes.fit` makes. A fit that was put
        together by hand may have the posterior alone.

    Raises
    ------
    ValueError
        With the first fault that is found.
    """
    needed = _groups_of(spec) if whole else ["posterior"]
    missing = [name for name in needed if name not in tree.children]
    if missing:
        raise ValueError(f"it has no group {', '.join(missing)}")
    for part in ("posterior", "prior"):
        if part in tree.children:
            _check_parameters(tree[part].to_dataset(), part, spec)
    if "sample_stats" in tree.children:
        _check_statistics(tree)
    if finite:
        _check_finite(tree["posterior"].to_dataset(), spec)


def _groups_of(spec: Spec) -> list[str]:
    """Return the names of the groups that the tree of a fit of this spec has at least."""
    groups = [*GROUPS]
    if spec.drift is not None:
        groups.append(DRIFT)
    if spec.discrepancy is not None and spec.observation.traits.samples_discrepancy:
        groups.append(SAMPLED)
    if spec.trainings:
        groups.append(OFFSETS)
    if spec.law_object.hyperparameters:
        groups.append(SHIFTS)
    return groups


def _check_parameters(dataset: xr.Dataset, part: str, spec: Spec) -> None:
    """Check that a group of the tree has draws of every parameter."""
    names = variable_names(spec)
    absent = [name for name in names if name not in dataset.data_vars]
    if absent:
        raise ValueError(f"it has no {part} draws of {', '.join(absent)}")
    for name in names:
        _check_draws(dataset[name], part, by_group=spec.is_pooled)


def _check_statistics(tree: xr.DataTree) -> None:
    """Check that a tree has the statistics that convergence checks read, one for each draw."""
    posterior, statistics = tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()
    for name in STATISTICS:
        if name not in statistics:
            raise ValueError(f"it has no statistic {name} of the sampler")
        _check_draws(statistics[name], "sample_stats", by_group=False)
    for dim in SAMPLE:
        if statistics.sizes[dim] != posterior.sizes[dim]:
            raise ValueError("it has not as many statistics of the sampler as draws")


def _check_finite(posterior: xr.Dataset, spec: Spec) -> None:
    """Check that the posterior draws of every parameter are finite."""
    for name in variable_names(spec):
        if not np.isfinite(posterior[name].values).all():
            raise ValueError(f"posterior draws of {name} are not finite")


def _check_draws(values: xr.DataArray, part: str, *, by_group: bool) -> None:
    """Check that draws are numbers, along chains and draws and perhaps groups, and not empty."""
    further = set(values.dims) - set(SAMPLE)
    allowed = {"group"} if by_group else set()
    has_sample = set(SAMPLE) <= set(values.dims)
    if not has_sample or not further <= allowed:
        dims = ", ".join(map(str, values.dims))
        raise ValueError(f"{values.name} in {part} has the dimensions ({dims})")
    if values.dtype.kind not in "fiub" or not values.size:
        raise ValueError(f"{values.name} in {part} has no numbers")
