"""NUTS by nutpie, on a kernel or on a model that nutpie compiles itself. The only module that imports nutpie."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.fitting.kernel.c_operations import UnsupportedError
from scalebayes.fitting.kernel.kernel import Bound, Kernel
from scalebayes.fitting.starts import starts


def import_nutpie() -> Any:
    """Import nutpie without arviz, of which it needs nothing here, and which takes longer to import than a fit."""
    if "nutpie" not in sys.modules and "arviz" not in sys.modules:
        _import_when_used("arviz")
    import nutpie

    return nutpie


def _import_when_used(name: str) -> None:
    """Put a module in its place that runs when the first of its attributes is asked for."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    module, run = importlib.util.module_from_spec(spec), spec.loader.exec_module

    def load(attribute: str) -> Any:
        del module.__dict__["__getattr__"]
        run(module)
        return getattr(module, attribute)

    module.__dict__["__getattr__"] = load
    sys.modules[name] = module


def compile_model(model: Any, keep: Sequence[str]) -> Any:
    """Let nutpie compile a `pm.Model`, by way of numba."""
    return import_nutpie().compile_pymc_model(model, var_names=[*keep])


@dataclass(frozen=True)
class KernelSampler:
    """A kernel as a sampler: ``with_data`` gives it a table, as nutpie's own compiled models take one."""

    kernel: Kernel

    def with_data(self, **data: np.ndarray) -> Any:
        """A model of nutpie's whose functions are the kernel's; no Python runs while it samples."""
        return _nutpie_model(self.kernel.bind(data))


@dataclass(frozen=True)
class _Function:
    """What nutpie asks of a compiled function."""

    address: int


def _nutpie_model(bound: Bound) -> Any:
    import_nutpie()
    from nutpie.compile_pymc import CompiledPyMCModel

    entries, size = bound.layout.entries, bound.layout.size
    shapes = {name: tuple(shape) for name, shape in bound.layout.kept.items()}
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    places = [
        slice(int(end) - math.prod(shape), int(end))
        for shape, end in zip(shapes.values(), ends, strict=True)
    ]
    try:
        return CompiledPyMCModel(
            dims={},
            reparameterized_names=[],
            compiled_logp_func=_Function(bound.log_density),
            compiled_expand_func=_Function(bound.expand),
            initial_point_func=starts(bound),
            shared_data=dict(bound.arrays),  # kept alive as long as the model
            shared_var_keys={},
            user_data=bound.pointers,
            n_expanded=size,
            shape_info=([*shapes], places, [*shapes.values()]),
            logp_func=None,
            expand_func=None,
            _n_dim=len(entries),
            _shapes=shapes,
            _coords={"unconstrained_parameter": entries},
        )
    except TypeError as error:
        raise UnsupportedError(f"this nutpie takes no kernel: {error}") from error


def sample(model: Any, **options: Any) -> Any:
    """Run nutpie; returns its raw trace, which `read_trace` reads, whole or as far as an interrupted run came."""
    return import_nutpie().sample(
        model, return_raw_trace=True, save_warmup=False, progress_bar=False, **options
    )


def read_trace(trace: Any, statistics: Sequence[str]) -> xr.DataTree:
    """The draws after tuning, with some of the sampler's statistics: groups posterior and sample_stats, (chain, draw).

    Where draws are missing, because a run was interrupted, stand NaN or zeros.
    """
    draws, stats = trace.get_arrow_trace()
    tuning = [int(_values(chain, "tuning").sum()) for chain in stats]
    groups = {"posterior": (draws, draws[0].schema.names), "sample_stats": (stats, statistics)}
    made = {}
    for group, (batches, names) in groups.items():
        data = xr.Dataset({name: _stacked(batches, tuning, name) for name in names})
        made[group] = data.assign_coords(
            {dim: np.arange(data.sizes[dim]) for dim in ("chain", "draw")}
        )
    return xr.DataTree.from_dict(made)


def _stacked(batches: Sequence[Any], tuning: Sequence[int], name: str) -> xr.Variable:
    """One variable of all chains, the shorter ones filled up."""
    chains = [
        _values(batch, name)[skipped:] for batch, skipped in zip(batches, tuning, strict=True)
    ]
    shape, dtype = chains[0].shape[1:], chains[0].dtype
    out = np.full(
        (len(chains), max(map(len, chains)), *shape), np.nan if dtype.kind == "f" else 0, dtype
    )
    for row, values in zip(out, chains, strict=True):
        row[: len(values)] = values
    return xr.Variable(("chain", "draw", *(f"{name}_dim_{d}" for d in range(len(shape)))), out)


def _values(batch: Any, name: str) -> np.ndarray:
    """A column of one chain as an array; a variable with dimensions is a list in each row, its shape beside it."""
    import pyarrow

    column = batch.column(name)
    said: Mapping[bytes, bytes] = column.field.metadata or {}
    shape = [int(size) for size in said.get(b"shape", b"").decode().split(",") if size]
    values = pyarrow.array(column)
    flat = values.flatten() if shape else values
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(values), *shape)
