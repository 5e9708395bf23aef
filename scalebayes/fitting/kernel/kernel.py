"""One compiled log density for every table and process, for all specs of equal structure.

The graph is PyMC's own. It is printed as C (`c_library`), compiled (`compiler`), compared with
PyTensor's evaluation and kept on disk. A kernel that is found on disk needs neither PyMC nor
PyTensor.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from scalebayes.data.runs import Runs
from scalebayes.errors import FitError
from scalebayes.fitting.graph import Symbols, sampler_data, symbols
from scalebayes.fitting.kernel.c_library import REWRITES, WORDS_PER_ARRAY, Layout, print_source
from scalebayes.fitting.kernel.c_operations import UnsupportedError
from scalebayes.fitting.kernel.compiler import ATTEMPTS, build, machine
from scalebayes.specs.spec import Spec
from scalebayes.utils.cache_folder import cache_folder
from scalebayes.utils.files import write_whole

TOLERANCE = 1e-9
"""Largest accepted difference from PyTensor's evaluation, in units of 1 + its magnitude."""
CHECKED_POINTS = 3
"""How many random points a new kernel is checked at; an error in the C code shows at the first."""

PACKAGE = Path(__file__).parents[2]
GRAPH_FOLDERS = ("laws", "specs", "fitting", "fitting/kernel")
"""Folders whose source decides what a kernel computes; edits elsewhere keep compiled kernels."""
KEY_LENGTH = 32
"""Hexadecimal digits of a key: 128 bits, so different kernels never share one."""
DIGEST_LENGTH = 12
"""Hexadecimal digits in a library's file name, enough to tell builds with one key apart."""


@dataclass(frozen=True)
class Bound:
    """A kernel with a table.

    Attributes
    ----------
    log_density, expand
        Addresses of the C functions.
    initial
        Initial value of each entry of the vector that is sampled.
    pointers
        Address and lengths of each data array, shape (arrays, 3).
    arrays
        The data themselves, which must live as long as their addresses are in use.
    """

    layout: Layout
    log_density: int
    expand: int
    initial: np.ndarray
    pointers: np.ndarray
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Kernel:
    """A loaded library and its layout."""

    layout: Layout
    library: ctypes.CDLL

    def bind(self, data: Mapping[str, np.ndarray]) -> Bound:
        """Return the kernel with the arrays of a table.

        Raises
        ------
        FitError
            When an array has other dimensions than the kernel takes, or another length.
        """
        arrays = {}
        for name, dimensions in self.layout.data:
            array = np.array(data[name], dtype=np.float64, order="C")
            if array.ndim != dimensions:
                raise FitError(
                    f"the sampler takes {name} with {dimensions} dimensions; got {array.ndim}"
                )
            arrays[name] = array
        self._check_lengths(arrays)

        pointers = np.zeros((len(arrays), WORDS_PER_ARRAY), dtype=np.int64)
        for row, array in zip(pointers, arrays.values(), strict=True):
            row[0] = array.ctypes.data
            row[1 : 1 + array.ndim] = array.shape

        initial = np.empty(len(self.layout.entries))
        self.library.initial.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self.library.initial(initial.ctypes.data, pointers.ctypes.data)
        log_density = _address(self.library.log_density)
        expand = _address(self.library.expand)
        return Bound(self.layout, log_density, expand, initial, pointers, arrays)

    def _check_lengths(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Raise unless arrays that share a dimension have equal lengths."""
        for fixed, group in self.layout.lengths:
            lengths = {arrays[name].shape[dimension] for name, dimension in group}
            if fixed is None:
                wanted = "equal length"
                is_right = len(lengths) == 1
            else:
                wanted = f"length {fixed}"
                is_right = lengths == {fixed}
            if is_right:
                continue
            names = ", ".join(sorted({name for name, _ in group}))
            got = ", ".join(str(length) for length in sorted(lengths))
            raise FitError(f"the sampler takes {names} of {wanted}; got {got}")


def kernel(spec: Spec, runs: Runs, keep: Sequence[str], structure: tuple[object, ...]) -> Kernel:
    """Return the kernel of a spec: from disk, or newly made and checked.

    Parameters
    ----------
    keep
        Random variables and deterministics of the `pm.Model` to keep of each draw.
    structure
        What the graph depends on besides the source of the package
        (`scalebayes.fitting.graph.structure`).

    Raises
    ------
    UnsupportedError
        When it cannot be made here, so that nutpie should compile the model itself.
    """
    # The key does not cover the source of a user's own law, so such a kernel is not kept.
    folder = cache_folder("kernels") if is_ours(spec) else None
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="scalebayes-") as temporary:
            return _make(spec, runs, keep, Path(temporary), "kernel")
    key = kernel_key(keep, structure)
    return _load(folder, key) or _make(spec, runs, keep, folder, key)


def kernel_key(keep: Sequence[str], structure: tuple[object, ...]) -> str:
    """Return the name of a kernel on disk, a hash of what decides its content and where it runs."""
    versions = {name: version(name) for name in ("scalebayes", "pymc", "pytensor", "numpy")}
    parts = [
        repr(structure),
        list(keep),
        source_digest(),
        versions,
        machine(),
        ATTEMPTS,
        REWRITES,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:KEY_LENGTH]


@cache
def source_digest(folders: tuple[str, ...] = GRAPH_FOLDERS, package: Path = PACKAGE) -> str:
    """Return the SHA-256 of the source files in folders of the package, as hexadecimal text."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted((package / folder).glob("*.py")):
            digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()


def is_ours(spec: Spec) -> bool:
    """Return whether law and noise are the package's own, so that the key covers their source."""
    law = spec.law_object
    parts = (law.function, law.coordinates.recover, type(spec.observation.noise))
    return all(part.__module__.startswith("scalebayes.") for part in parts)


def _load(folder: Path, key: str) -> Kernel | None:
    """Return the kernel of a key, or None when it is missing, incomplete or damaged."""
    try:
        about = json.loads((folder / f"{key}.json").read_text("utf-8"))
        library = folder / str(about["library"])
        if hashlib.sha256(library.read_bytes()).hexdigest() != about["sha256"]:
            return None
        return Kernel(Layout(**about["layout"]), ctypes.CDLL(str(library)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _address(function: Any) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


def _make(spec: Spec, runs: Runs, keep: Sequence[str], folder: Path, key: str) -> Kernel:
    """Return a new kernel of a spec; any error becomes an `UnsupportedError`."""
    try:
        return _print_and_build(symbols(runs, spec, keep), sampler_data(runs, spec), folder, key)
    except UnsupportedError:
        raise
    except Exception as error:
        # Printing, compiling and loading rest on internals of PyTensor and on the system, so the
        # errors cannot be listed. nutpie compiles the model itself after any of them.
        raise UnsupportedError(f"{type(error).__name__}: {error}") from error


def _print_and_build(
    graph: Symbols, data: Mapping[str, np.ndarray], folder: Path, key: str
) -> Kernel:
    """Return the kernel of a graph, printed, compiled, checked and moved to its place."""
    source, layout = print_source(graph)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as temporary:
        new = Path(temporary) / "kernel.so"
        build(source, new)
        digest = hashlib.sha256(new.read_bytes()).hexdigest()
        made = Kernel(layout, ctypes.CDLL(str(new)))
        check(made, graph, data)
        library = folder / f"{key}-{digest[:DIGEST_LENGTH]}.so"
        new.replace(library)
    # The JSON file names the library, so it comes last: a kernel is complete once it is there.
    about = {"library": library.name, "sha256": digest, "layout": asdict(layout)}
    write_whole(folder / f"{key}.json", lambda path: path.write_text(json.dumps(about), "utf-8"))
    return made


def check(made: Kernel, graph: Symbols, data: Mapping[str, np.ndarray]) -> None:
    """Compare a kernel with PyTensor's evaluation of the graph without rewrites.

    Raises
    ------
    UnsupportedError
        When they differ by more than `TOLERANCE` at any of a few points around the start.
    """
    bound = made.bind(data)
    reference = reference_function(graph)
    rng = np.random.default_rng(0)
    for _ in range(CHECKED_POINTS):
        point = bound.initial + rng.uniform(-1, 1, len(bound.initial))
        expected = reference(point)
        computed = np.concatenate([*evaluate(bound, point), bound.initial])
        difference = np.abs(computed - expected) / (1 + np.abs(expected))
        if not (difference <= TOLERANCE).all():  # true for NaN as well
            raise UnsupportedError(
                f"the kernel and PyTensor's evaluation differ by {np.nanmax(difference):.1e}; "
                f"at most {TOLERANCE:g} is allowed"
            )


def reference_function(graph: Symbols) -> Callable[[np.ndarray], np.ndarray]:
    """Return PyTensor's own evaluation of a graph at a point.

    It gives log density, gradient, kept variables and initial values as one vector.
    """
    from pytensor.compile.maker import function
    from pytensor.compile.mode import Mode

    free = list(graph.free.values())
    shapes = [variable.type.shape for variable in free]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    outputs = [graph.log_density, *graph.gradient, *graph.kept.values(), *graph.initial]
    plain: Any = Mode("py", None)  # type: ignore[arg-type]  # no rewrites
    compiled: Any = function(free, outputs, mode=plain, on_unused_input="ignore")

    def reference(point: np.ndarray) -> np.ndarray:
        parts = np.split(point, ends[:-1])
        values = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return np.concatenate([np.ravel(x) for x in compiled(*values)])

    return reference


def evaluate(bound: Bound, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log density and gradient as one vector, and the kept variables, at a point.

    Log density and gradient are NaN where the kernel finds no density.
    """
    size = len(bound.layout.entries)
    kept_size = bound.layout.size
    x = np.array(point, dtype=np.float64)
    density = np.empty(1 + size)
    kept = np.empty(kept_size)

    address, integer = ctypes.c_void_p, ctypes.c_uint64
    density_type = ctypes.CFUNCTYPE(ctypes.c_int64, integer, *[address] * 4)
    expand_type = ctypes.CFUNCTYPE(ctypes.c_int64, integer, integer, *[address] * 3)
    log_density = density_type(bound.log_density)
    expand = expand_type(bound.expand)

    gradient = density[1:]
    data = bound.pointers.ctypes.data
    code = log_density(size, x.ctypes.data, gradient.ctypes.data, density.ctypes.data, data)
    if code != 0:
        density[:] = np.nan
    expand(size, kept_size, x.ctypes.data, kept.ctypes.data, data)
    return density, kept
