"""One compiled log density for every spec of a structure, table and process: made once, checked, kept on disk.

The graph is PyMC's own; here it is only printed as C (`engine.loops`), compiled, and compared with what PyTensor
says of it before it is used. A kernel that is found on disk needs neither PyMC nor PyTensor.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from scalebayes.data.runs import Runs
from scalebayes.errors import FitError
from scalebayes.fitting.graph import Symbols, sampler_data, symbols
from scalebayes.fitting.kernel.c_operations import PRELUDE, UnsupportedError
from scalebayes.fitting.kernel.c_source import Source, body
from scalebayes.fitting.kernel.compiler import ATTEMPTS, build, machine
from scalebayes.specs.spec import Spec
from scalebayes.utils.cache_folder import cache_folder
from scalebayes.utils.files import write_whole

TOLERANCE = 1e-9
"""How far value and gradient may be from PyTensor's, in units of 1 + their size."""
CHECKED_POINTS = 3
PACKAGE = Path(__file__).parents[2]
GRAPH_FOLDERS = ("laws", "specs", "fitting", "fitting/kernel")
"""Folders whose source decides what a kernel computes; an edit elsewhere keeps compiled kernels."""
REWRITES: dict[str, Any] = {
    "include": ("merge", "canonicalize", "stabilize", "specialize"),
    "exclude": (
        "fusion",
        "inplace",
        "scalarize",
        "cxx_only",
        "local_log_add_exp",
        "local_mul_exp_to_exp_add",
    ),
}
"""PyTensor's rewrites that make a graph simpler or more exact. Left out is what serves its own back ends, and two that
put new exponentials of every row in place of those that are there: for log(exp a + exp b), and for exp a exp b."""


@dataclass(frozen=True)
class Layout:
    """What a library takes and gives: free variables and what is kept of a draw, with their shapes, and data.

    ``lengths`` says which (data, dimension) must be of one length, and of which, where that is a number.
    """

    free: dict[str, list[int]]
    kept: dict[str, list[int]]
    data: list[tuple[str, int]]
    lengths: list[tuple[int | None, list[tuple[str, int]]]]

    @property
    def entries(self) -> list[str]:
        """Name of each entry of the vector that is sampled."""
        named = self.free.items()
        return [
            f"{name}[{i}]" if shape else name
            for name, shape in named
            for i in range(math.prod(shape))
        ]

    @property
    def size(self) -> int:
        """How many numbers are kept of a draw."""
        return sum(map(math.prod, self.kept.values()))


@dataclass(frozen=True)
class Bound:
    """A kernel with a table: addresses of its functions in C, and of the data they read."""

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
        """Give the kernel a table.

        Raises
        ------
        FitError
            When arrays that belong together are not of one length.
        """
        arrays = {
            name: np.array(data[name], dtype=np.float64, order="C") for name, _ in self.layout.data
        }
        for name, dimensions in self.layout.data:
            if arrays[name].ndim != dimensions:
                raise FitError(
                    f"the sampler takes {name} with {dimensions} dimensions; got {arrays[name].ndim}"
                )
        for length, group in self.layout.lengths:
            if (
                len({arrays[name].shape[d] for name, d in group} | ({length} if length else set()))
                > 1
            ):
                also = f" (or not {length})" if length else ""
                raise FitError(
                    f"not of one length{also}: {', '.join(sorted({name for name, _ in group}))}"
                )
        rows = [[a.ctypes.data, *a.shape, *(0,) * (2 - a.ndim)] for a in arrays.values()]
        pointers = np.array(rows, dtype=np.int64).reshape(-1, 3)
        initial = np.empty(len(self.layout.entries))
        self.library.initial.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self.library.initial(initial.ctypes.data, pointers.ctypes.data)
        log_density, expand = (
            _address(getattr(self.library, name)) for name in ("log_density", "expand")
        )
        return Bound(self.layout, log_density, expand, initial, pointers, arrays)


def kernel(spec: Spec, runs: Runs, keep: Sequence[str], structure: tuple[object, ...]) -> Kernel:
    """Load the kernel of a spec, or make and check it first.

    Parameters
    ----------
    keep
        What is kept of a draw: names of random variables and deterministics of the `pm.Model`.
    structure
        What the graph depends on beside the package's source (`scalebayes.fitting.graph.structure`).

    Raises
    ------
    UnsupportedError
        When it cannot be made here, and nutpie should compile the model itself.
    """
    folder = cache_folder("kernels") if is_ours(spec) else None
    if folder is None:  # nowhere to keep it, or a law whose source may change unseen
        with tempfile.TemporaryDirectory(prefix="scalebayes-") as temporary:
            return _make(spec, runs, keep, Path(temporary), "kernel")
    key = kernel_key(keep, structure)
    return _found(folder, key) or _make(spec, runs, keep, folder, key)


def kernel_key(keep: Sequence[str], structure: tuple[object, ...]) -> str:
    """Name of a kernel on disk: it holds all that decides what is in it and whether it runs here."""
    versions = {name: version(name) for name in ("scalebayes", "pymc", "pytensor", "numpy")}
    parts = [
        repr(structure),
        [*keep],
        source_digest(),
        versions,
        machine(),
        ATTEMPTS,
        sorted(map(str, REWRITES.values())),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@cache
def source_digest(folders: tuple[str, ...] = GRAPH_FOLDERS, package: Path = PACKAGE) -> str:
    """SHA-256 of the source files in some folders of the package, as hexadecimal text."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted((package / folder).glob("*.py")):
            digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()


def is_ours(spec: Spec) -> bool:
    """Whether law and noise are the package's own; the source of others is not in the key."""
    law = spec.law_object
    parts = (law.function, law.coordinates.recover, type(spec.noise_object))
    return all(part.__module__.startswith("scalebayes.") for part in parts)


def _found(folder: Path, key: str) -> Kernel | None:
    """Load the kernel of a key, if it is there, whole and unchanged."""
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
    """Make a kernel; whatever stands in the way is a reason to let nutpie compile the model."""
    try:
        return _printed(symbols(runs, spec, keep), sampler_data(runs, spec), folder, key)
    except UnsupportedError:
        raise
    except Exception as error:  # printing, compiling and loading rest on much that is not ours
        raise UnsupportedError(f"{type(error).__name__}: {error}") from error


def _printed(graph: Symbols, data: Mapping[str, np.ndarray], folder: Path, key: str) -> Kernel:
    """Print, compile and check a kernel, then put it in its place: first the library, then what points to it."""
    source, layout = print_source(graph)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as temporary:
        new = Path(temporary) / "kernel.so"
        build(source, new)
        digest = hashlib.sha256(new.read_bytes()).hexdigest()
        made = Kernel(layout, ctypes.CDLL(str(new)))
        check(made, graph, data)
        library = folder / f"{key}-{digest[:12]}.so"
        new.replace(library)
    about = {"library": library.name, "sha256": digest, "layout": asdict(layout)}
    write_whole(folder / f"{key}.json", lambda path: path.write_text(json.dumps(about), "utf-8"))
    return made


def print_source(graph: Symbols) -> tuple[str, Layout]:
    """C source of a graph's log density with gradient, of what is kept of a draw, and of where sampling starts."""
    from pytensor.graph.replace import clone_replace
    from pytensor.graph.rewriting.utils import rewrite_graph

    outputs = [graph.log_density, *graph.gradient, *graph.kept.values(), *graph.initial]
    simple: Any = rewrite_graph(
        clone_replace(outputs, {}), clone=False, **REWRITES
    )  # the graph itself stays as it is
    n, inputs = len(graph.free), dict[Any, Source]()
    free, kept = (
        {name: _shape(v) for name, v in group.items()} for group in (graph.free, graph.kept)
    )
    for name, place in zip(free, _places("x", free), strict=True):
        vector = Source(f"({place})[i]", -1, tuple(map(str, free[name])), anywhere=True)
        inputs[graph.free[name]] = vector if free[name] else Source(place, 0)
    lengths = []
    for k, variable in enumerate(graph.data.values()):
        axes = tuple(f"n{k}_{d}" for d in range(variable.type.ndim))
        text = f"d{k}" + ("[0]", "[i]", "")[len(axes)]
        inputs[variable] = Source(text, -1 if axes else 0, axes, anywhere=True)
        lengths += [f"const double *const restrict d{k} = (const double *)u[{3 * k}];"]
        lengths += [f"const int64_t {axis} = u[{3 * k + d + 1}];" for d, axis in enumerate(axes)]
    support: dict[str, None] = {}
    slopes, out, start_at = _places("gradient", free), _places("out", kept), _places("out", free)
    density, writer = body(
        dict(zip(["*value", *slopes], simple[: 1 + n], strict=True)), inputs, support
    )
    expand, _ = body(dict(zip(out, simple[1 + n : -n], strict=True)), inputs, support)
    initial, _ = body(dict(zip(start_at, simple[-n:], strict=True)), inputs, support)
    start = "\n".join(["int sound = 1;", *lengths])
    parts = {"density": density, "expand": expand, "initial": initial, "start": start}
    data = [(name, variable.type.ndim) for name, variable in graph.data.items()]
    together: dict[str, list[tuple[str, int]]] = {}
    for k, (name, dimensions) in enumerate(data):
        for d in range(dimensions):
            together.setdefault(writer.root(f"n{k}_{d}"), []).append((name, d))
    lengths_of = [
        (int(axis) if axis.isdigit() else None, group) for axis, group in together.items()
    ]
    layout = Layout(free, kept, data, lengths_of)
    sizes = {"n": len(layout.entries), "kept": layout.size}
    return TEMPLATE.format(prelude=PRELUDE, support="\n".join(support), **sizes, **parts), layout


def _shape(variable: Any) -> list[int]:
    """Lengths of a variable that is sampled or kept, part of the graph."""
    shape = variable.type.shape
    if len(shape) > 1 or None in shape:
        raise UnsupportedError(f"a matrix, or a vector of any length: {variable}")
    return [*shape]


def _places(array: str, shapes: Mapping[str, list[int]]) -> list[str]:
    """In C, where each variable stands in an array: a number as such, a vector as a pointer to its first."""
    starts = accumulate(map(math.prod, shapes.values()), initial=0)  # and the end of the last
    pairs = zip(shapes.values(), starts, strict=False)
    return [f"{array} + {at}" if shape else f"{array}[{at}]" for shape, at in pairs]


TEMPLATE = """{prelude}
{support}
int64_t log_density(uint64_t n, const double *x, double *restrict gradient, double *restrict value, const int64_t *u) {{
if (n != {n}) return -1;
{start}
{density}
if (!sound || !isfinite(*value)) return 4;
for (int i = 0; i < {n}; i++) if (!isfinite(gradient[i])) return 3;
return 0;
}}
int64_t expand(uint64_t n, uint64_t kept, const double *x, double *restrict out, const int64_t *u) {{
if (n != {n} || kept != {kept}) return -1;
{start}
{expand}
return 0;
}}
int64_t initial(double *restrict out, const int64_t *u) {{
const double *const x = 0;
{start}
{initial}
return 0;
}}
"""


def check(made: Kernel, graph: Symbols, data: Mapping[str, np.ndarray]) -> None:
    """Compare a kernel with what PyTensor says of the same graph, unchanged and evaluated step by step.

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
        theirs, ours = reference(point), np.concatenate([*evaluate(bound, point), bound.initial])
        off = np.abs(ours - theirs) / (1 + np.abs(theirs))
        if not (off <= TOLERANCE).all():
            raise UnsupportedError(
                f"the kernel is not PyTensor's function: they differ by {np.nanmax(off):.1e}"
            )


def reference_function(graph: Symbols) -> Any:
    """PyTensor's own evaluation: log density, gradient, what is kept and the start, as one vector of a point."""
    from pytensor.compile.maker import function
    from pytensor.compile.mode import Mode

    free = [*graph.free.values()]
    ends = np.cumsum([math.prod(v.type.shape) for v in free])[:-1]
    outputs = [graph.log_density, *graph.gradient, *graph.kept.values(), *graph.initial]
    plain: Any = Mode("py", None)  # type: ignore[arg-type]  # nothing rewritten
    compiled: Any = function(free, outputs, mode=plain, on_unused_input="ignore")

    def evaluated(point: np.ndarray) -> np.ndarray:
        parts = [
            part.reshape(v.type.shape) for part, v in zip(np.split(point, ends), free, strict=True)
        ]
        return np.concatenate([np.ravel(x) for x in compiled(*parts)])

    return evaluated


def evaluate(bound: Bound, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log density with gradient, and what is kept of a draw, at a point; NaN where the kernel finds no density."""
    n, kept = len(bound.layout.entries), bound.layout.size
    x, both, out = np.array(point, dtype=np.float64), np.empty(n + 1), np.empty(kept)
    address, integer = ctypes.c_void_p, ctypes.c_uint64
    density = ctypes.CFUNCTYPE(ctypes.c_int64, integer, *(address,) * 4)(bound.log_density)
    expand = ctypes.CFUNCTYPE(ctypes.c_int64, integer, integer, *(address,) * 3)(bound.expand)
    user, at = bound.pointers.ctypes.data, x.ctypes.data
    if density(n, at, both[1:].ctypes.data, both.ctypes.data, user) != 0:
        both[:] = np.nan
    expand(n, kept, at, out.ctypes.data, user)
    return both, out
