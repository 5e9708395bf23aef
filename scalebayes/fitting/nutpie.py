"""NUTS by nutpie, on a kernel or on a model that nutpie compiles itself.

This is the only module that imports nutpie.
"""

from __future__ import annotations

import importlib.util
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.fitting.kernel.c_operations import UnsupportedError
from scalebayes.fitting.kernel.kernel import Bound, Kernel
from scalebayes.fitting.starts import starts


def import_nutpie() -> Any:
    """Return the module nutpie, imported without arviz.

    nutpie needs nothing of arviz here, and importing arviz takes longer than a fit.
    """
    if "nutpie" not in sys.modules and "arviz" not in sys.modules:
        _import_when_used("arviz")
    import nutpie

    return nutpie


def _import_when_used(name: str) -> None:
    """Put a placeholder among the modules that is imported when an attribute is first asked for."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    run = spec.loader.exec_module

    def load(attribute: str) -> Any:
        del module.__dict__["__getattr__"]
        run(module)
        return getattr(module, attribute)

    module.__dict__["__getattr__"] = load
    sys.modules[name] = module


@dataclass(frozen=True)
class NumbaSampler:
    """A model that nutpie compiled itself, through numba."""

    compiled: Any

    def with_data(self, **data: np.ndarray) -> Any:
        """Return the model with the arrays of a table, without those that its graph does not use.

        nutpie refuses arrays that it does not know, and a graph may need fewer than all: that of
        the default model has no sizes and tokens, only matrices made of them.
        """
        names = {variable.name for variable in self.compiled.shared_var_keys}
        used = {name: values for name, values in data.items() if name in names}
        return self.compiled.with_data(**used)


def compile_model(model: Any, keep: Sequence[str]) -> NumbaSampler:
    """Return a `pm.Model` compiled by nutpie, through numba."""
    with warnings.catch_warnings():
        # PyTensor's remark about a large graph, which is compiled in parts then.
        warnings.filterwarnings("ignore", "Loop fusion failed", UserWarning)
        compiled = import_nutpie().compile_pymc_model(model, var_names=[*keep])
    return NumbaSampler(compiled)


@dataclass(frozen=True)
class KernelSampler:
    """A kernel as a sampler, with the interface of nutpie's own compiled models."""

    kernel: Kernel

    def with_data(self, **data: np.ndarray) -> Any:
        """Return a model for nutpie with the kernel's functions: it samples without Python."""
        return nutpie_model(self.kernel.bind(data))


@dataclass(frozen=True)
class _Function:
    """A compiled function, as nutpie takes one."""

    address: int


def nutpie_model(bound: Bound, start: Callable[[int], np.ndarray] | None = None) -> Any:
    """Return a model of nutpie's from a kernel with a table.

    Parameters
    ----------
    bound
        The kernel.
    start
        Function from a chain's seed to its initial point, `starts` by default.
    """
    import_nutpie()
    from nutpie.compile_pymc import CompiledPyMCModel

    # Place of each kept variable in the flat vector of a draw.
    shapes = {name: tuple(shape) for name, shape in bound.layout.kept.items()}
    places = []
    begin = 0
    for shape in shapes.values():
        end = begin + math.prod(shape)
        places.append(slice(begin, end))
        begin = end

    entries = bound.layout.entries
    try:
        return CompiledPyMCModel(
            dims={},
            reparameterized_names=[],
            compiled_logp_func=_Function(bound.log_density),
            compiled_expand_func=_Function(bound.expand),
            initial_point_func=start or starts(bound),
            shared_data=dict(bound.arrays),  # kept alive as long as the model
            shared_var_keys={},
            user_data=bound.pointers,
            n_expanded=bound.layout.size,
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
    """Return nutpie's raw trace (`read_trace`), whole or up to where the run was interrupted."""
    return import_nutpie().sample(
        model, return_raw_trace=True, save_warmup=False, progress_bar=False, **options
    )


def read_trace(trace: Any, statistics: Sequence[str]) -> xr.DataTree:
    """Return the draws after tuning, with the named statistics of the sampler.

    Groups posterior and sample_stats, (chain, draw). Draws that are missing because a run was
    interrupted are NaN or zero.
    """
    draws, stats = trace.get_arrow_trace()
    tuning = [int(_values(chain, "tuning").sum()) for chain in stats]
    groups = {
        "posterior": _dataset(draws, tuning, draws[0].schema.names),
        "sample_stats": _dataset(stats, tuning, statistics),
    }
    return xr.DataTree.from_dict(groups)


def read_positions(trace: Any) -> np.ndarray:
    """Return the sampled vectors after tuning of a trace that stores them, (chain, draw, entry).

    Raises
    ------
    KeyboardInterrupt
        When the run was interrupted.
    """
    _, stats = trace.get_arrow_trace()
    chains = []
    for chain in stats:
        tuning = int(_values(chain, "tuning").sum())
        chains.append(_values(chain, "unconstrained_draw")[tuning:])
    lengths = {len(chain) for chain in chains}
    positions = np.array(chains) if len(lengths) == 1 else np.array([])
    if positions.size == 0 or np.isnan(positions).any():
        raise KeyboardInterrupt
    return positions


def _dataset(batches: Sequence[Any], tuning: Sequence[int], names: Sequence[str]) -> xr.Dataset:
    """Return the named columns of all chains, without the draws of tuning."""
    data = xr.Dataset({name: _stacked(batches, tuning, name) for name in names})
    labels = {dim: np.arange(data.sizes[dim]) for dim in ("chain", "draw")}
    return data.assign_coords(labels)


def _stacked(batches: Sequence[Any], tuning: Sequence[int], name: str) -> xr.Variable:
    """Return one variable of all chains, shorter chains filled up with NaN or zeros."""
    chains = []
    for batch, skipped in zip(batches, tuning, strict=True):
        chains.append(_values(batch, name)[skipped:])
    shape, dtype = chains[0].shape[1:], chains[0].dtype
    longest = max(len(chain) for chain in chains)
    filler = np.nan if dtype.kind == "f" else 0
    out = np.full((len(chains), longest, *shape), filler, dtype)
    for row, values in zip(out, chains, strict=True):
        row[: len(values)] = values
    dims = [f"{name}_dim_{d}" for d in range(len(shape))]
    return xr.Variable(("chain", "draw", *dims), out)


def _values(batch: Any, name: str) -> np.ndarray:
    """Return a column of one chain, (draws, ...).

    A variable with dimensions is a list in each row, and its shape is in the column's metadata.
    """
    import pyarrow

    column = batch.column(name)
    metadata: Mapping[bytes, bytes] = column.field.metadata or {}
    shape = [int(size) for size in metadata.get(b"shape", b"").decode().split(",") if size]
    values = pyarrow.array(column)
    flat = values.flatten() if shape else values
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(values), *shape)


def python_model(
    density: Callable[[np.ndarray], tuple[float, np.ndarray]],
    expand: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    shapes: Mapping[str, tuple[int, ...]],
    start: Callable[[int], np.ndarray],
    size: int,
) -> Any:
    """Return a model of nutpie's whose density is a Python function, without compilation.

    Parameters
    ----------
    density
        Function from a position to the log density and its gradient.
    expand
        Function from a position to the variables that are kept of a draw.
    shapes
        Shape of each kept variable.
    start
        Function from a chain's seed to its initial point.
    size
        Number of entries of a position.
    """
    import_nutpie()
    from nutpie.compiled_pyfunc import from_pyfunc

    def make_expand(_seed: int, _chain_seed: int, _chain: int) -> Callable[..., Any]:
        return lambda position: dict(expand(position))

    return from_pyfunc(
        size,
        lambda: density,
        make_expand,
        [np.dtype(np.float64)] * len(shapes),
        [*shapes.values()],
        [*shapes],
        make_initial_point_fn=start,
    )
