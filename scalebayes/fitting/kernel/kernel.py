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
from scalebayes.errors import FitError, warn_of_fallback
from scalebayes.fitting.graph import Symbols, sampler_data, symbols
from scalebayes.fitting.kernel.c_library import REWRITES, WORDS_PER_ARRAY, Layout, print_source
from scalebayes.fitting.kernel.c_operations import UnsupportedError
from scalebayes.fitting.kernel.compiler import ATTEMPTS, build, check_compiler, machine
from scalebayes.specs.spec import Spec
from scalebayes.utils.cache_folder import (
    CacheError,
    cache_folder,
    check_file,
    check_libraries_load,
)
from scalebayes.utils.files import write_whole

TOLERANCE = 1e-9
"""Largest accepted difference from PyTensor's evaluation, in units of 1 + its magnitude.

The magnitude of a gradient is that of its largest entry: the small ones are differences of large
sums, whose order differs.
"""
COMPILING_EACH_TIME = "every process takes 3 seconds longer for each model that it fits"
"""Cost of compiling kernels in every process, as measured on two cores (docs/performance.md)."""
PRIVATE = 0o700
"""Permissions of a kernel's files: the user's alone."""
CHECKED_POINTS = 3
"""How many random points a new kernel is checked at; an error in the C code shows at the first."""
TRIED_POINTS = 100
"""Points that are tried for these: at some the posterior may have no density."""
NO_START = (
    "the sampler found no place to start: the posterior density is zero at every point that it "
    "tried. Priors that exclude the losses of the table do that"
)

PACKAGE = Path(__file__).parents[2]
GRAPH_FOLDERS = ("laws", "specs", "fitting", "fitting/kernel")
"""Folders whose source decides what a kernel computes; edits elsewhere keep compiled kernels."""
KEY_LENGTH = 32
"""Hexadecimal digits of a key: 128 bits, so different kernels never share one."""
FUNCTIONS = ("log_density", "expand", "initial", "mapped_log_density", "mapped_expand")
"""Functions of a library."""
DIGEST_LENGTH = 12
"""Hexadecimal digits in a library's file name, enough to tell builds with one key apart."""


@dataclass(frozen=True)
class Bound:
    """A kernel with a table.

    Attributes
    ----------
    library
        The loaded library.
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
    library: ctypes.CDLL
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
        log_density = address(self.library.log_density)
        expand = address(self.library.expand)
        return Bound(self.layout, self.library, log_density, expand, initial, pointers, arrays)

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


def kernel(
    spec: Spec,
    runs: Runs,
    keep: Sequence[str],
    structure: tuple[object, ...],
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Kernel:
    """Return the kernel of a spec: from disk, or newly made and checked.

    Parameters
    ----------
    keep
        Random variables and deterministics of the `pm.Model` to keep of each draw.
    structure
        What the graph depends on besides the source of the package
        (`scalebayes.fitting.graph.structure`).
    arrays
        The data of the graph, by default those of `sampler_data`.

    Raises
    ------
    UnsupportedError
        When it cannot be made here, so that nutpie should compile the model itself.

    Warns
    -----
    FallbackWarning
        When the cache folder is unusable, before the kernel is compiled for this process alone.
    """
    # The key does not cover the source of a user's own law, so such a kernel is not kept.
    if arrays is None:
        arrays = sampler_data(runs, spec)
    if not is_ours(spec):
        return _make_for_this_process(spec, runs, keep, arrays)
    key = kernel_key(keep, structure)
    try:
        folder = kernel_folder()
        return _load(folder, key) or _make(spec, runs, keep, arrays, folder, key)
    except CacheError as error:
        check_compiler()  # without one the cache folder does not matter
        warn_of_unusable_cache(error)
        return _make_for_this_process(spec, runs, keep, arrays)


def kernel_folder() -> Path:
    """Return the cache folder of kernels.

    Raises
    ------
    CacheError
        When it cannot be used, or libraries cannot be loaded from it.
    """
    folder = cache_folder("kernels")
    check_libraries_load(folder)
    return folder


def warn_of_unusable_cache(error: CacheError) -> None:
    """Issue the warning that kernels are compiled in every process.

    Raises
    ------
    UnsupportedError
        When they cannot be compiled in the folder for temporary files either.
    """
    try:
        check_libraries_load(Path(tempfile.gettempdir()))
    except CacheError as also:
        raise UnsupportedError(
            f"{error}, and {also} (SCALEBAYES_CACHE_DIR names another cache folder)"
        ) from None
    warn_of_fallback(
        f"{error}, so compiled models are not kept: {COMPILING_EACH_TIME} "
        "(SCALEBAYES_CACHE_DIR names another cache folder)"
    )


def _make_for_this_process(
    spec: Spec, runs: Runs, keep: Sequence[str], arrays: Mapping[str, np.ndarray]
) -> Kernel:
    """Return a new kernel that is not kept on disk."""
    with tempfile.TemporaryDirectory(prefix="scalebayes-") as temporary:
        try:
            return _make(spec, runs, keep, arrays, Path(temporary), "kernel")
        except CacheError as error:
            raise UnsupportedError(str(error)) from error


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
    """Return the kernel of a key, or None when it has to be made.

    It has to be made where it is missing, incomplete or damaged, or where another user could have
    written it. Loading a damaged library can end the process, so its digest is compared first.
    """
    description = folder / f"{key}.json"
    try:
        check_file(description)
        about = json.loads(description.read_text("utf-8"))
        library = folder / Path(about["library"]).name
        check_file(library)
        layout = about["layout"]
        if digest(library.read_bytes(), layout) != about["sha256"]:
            return None
        return Kernel(Layout(**layout), load_library(library))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CacheError):
        return None


def digest(library: bytes, layout: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a library and its layout, as hexadecimal text."""
    text = json.dumps(layout, sort_keys=True)
    return hashlib.sha256(library + text.encode()).hexdigest()


def load_library(library: Path) -> ctypes.CDLL:
    """Return a library that has all `FUNCTIONS`.

    Raises
    ------
    OSError
        When the system does not load it.
    AttributeError
        When a function is missing.
    """
    loaded = ctypes.CDLL(str(library))
    for name in FUNCTIONS:
        getattr(loaded, name)
    return loaded


def address(function: Any) -> int:
    """Return the address of a function of a library."""
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


def _make(
    spec: Spec,
    runs: Runs,
    keep: Sequence[str],
    arrays: Mapping[str, np.ndarray],
    folder: Path,
    key: str,
) -> Kernel:
    """Return a new kernel of a spec, built in a folder and kept there.

    Raises
    ------
    CacheError
        When the folder cannot hold files, or libraries cannot be loaded from it.
    UnsupportedError
        For any other error.
    """
    try:
        return _print_and_build(symbols(runs, spec, keep, arrays), arrays, folder, key)
    except (FitError, UnsupportedError, CacheError):
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
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as temporary:
            new = Path(temporary) / "kernel.so"
            build(source, new)
            made = Kernel(layout, load_library(new))
            check(made, graph, data)
            _keep(new, layout, folder, key)
    except OSError as error:
        reason = error.strerror or error
        raise CacheError(f"a compiled model cannot be kept in {folder} ({reason})") from error
    return made


def _keep(new: Path, layout: Layout, folder: Path, key: str) -> None:
    """Move a new library to its place, and write its layout and digest beside it."""
    about: dict[str, Any] = {"layout": asdict(layout)}
    about["sha256"] = digest(new.read_bytes(), about["layout"])
    library = folder / f"{key}-{about['sha256'][:DIGEST_LENGTH]}.so"
    about["library"] = library.name
    # The user's umask may let a group write, and such a file would not be loaded.
    new.chmod(PRIVATE)
    new.replace(library)

    def write(path: Path) -> None:
        path.write_text(json.dumps(about), "utf-8")
        path.chmod(PRIVATE)

    # The JSON file names the library, so it comes last: a kernel is complete once it is there.
    # A description whose permissions are not the user's own is replaced by one that has them.
    write_whole(folder / f"{key}.json", write, keeps_permissions=False)


def check(made: Kernel, graph: Symbols, data: Mapping[str, np.ndarray]) -> None:
    """Compare a kernel with PyTensor's evaluation of the graph without rewrites.

    Raises
    ------
    UnsupportedError
        When they differ by more than `TOLERANCE` at any of a few points around the start.
    FitError
        When the posterior has no density at any of many such points.
    """
    bound = made.bind(data)
    reference = reference_function(graph)
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(TRIED_POINTS):
        point = bound.initial + rng.uniform(-1, 1, len(bound.initial))
        expected = reference(point)
        computed = np.concatenate([*evaluate(bound, point), bound.initial])
        if np.isneginf(expected[0]) and np.isnan(computed[0]):
            continue  # neither finds a density, so there is nothing to compare
        magnitude = np.abs(expected)
        gradient = slice(1, 1 + len(point))
        magnitude[gradient] = magnitude[gradient].max()
        difference = np.abs(computed - expected) / (1 + magnitude)
        if not (difference <= TOLERANCE).all():  # true for NaN as well
            raise UnsupportedError(
                f"the kernel and PyTensor's evaluation differ by {difference.max():.1e}; "
                f"at most {TOLERANCE:g} is allowed"
            )
        compared += 1
        if compared == CHECKED_POINTS:
            return
    if compared == 0:
        raise FitError(NO_START)


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
