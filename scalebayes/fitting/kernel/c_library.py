"""Print the graph of a spec as the C source of a library.

``log_density`` computes the log density and its gradient, ``expand`` the variables that a fit
keeps of a draw, and ``initial`` the initial value of each free variable. ``mapped_log_density``
and ``mapped_expand`` do the same in other coordinates (`scalebayes.fitting.kernel.c_map`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scalebayes.fitting.graph import Symbols
from scalebayes.fitting.kernel.c_map import MAPPED
from scalebayes.fitting.kernel.c_operations import PRELUDE, UnsupportedError
from scalebayes.fitting.kernel.c_source import FIRST_STAGE, GIVEN, Function, Source, write_body

type Shapes = dict[str, list[int]]
"""Shapes of variables by name: empty for a scalar, one length for a vector."""

WORDS_PER_ARRAY = 3
"""How many integers describe a data array to the library: its address and up to two lengths."""

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
"""PyTensor's rewrites that simplify a graph or make it more accurate.

The first four exclusions serve only PyTensor's own back ends. The last two would compute new
exponentials in every row, for log(exp a + exp b) and for exp a exp b."""


@dataclass(frozen=True)
class Layout:
    """The interface of a library.

    Attributes
    ----------
    free, kept
        Shapes of the free variables, and of the variables that a fit keeps of a draw.
    data
        Name and number of dimensions of each data array.
    lengths
        Groups of (data, dimension) that must have equal length, and that length if it is fixed.
    """

    free: dict[str, list[int]]
    kept: dict[str, list[int]]
    data: list[tuple[str, int]]
    lengths: list[tuple[int | None, list[tuple[str, int]]]]

    @property
    def entries(self) -> list[str]:
        """Name of each entry of the vector that is sampled."""
        entries = []
        for name, shape in self.free.items():
            if shape:
                entries += [f"{name}[{i}]" for i in range(math.prod(shape))]
            else:
                entries.append(name)
        return entries

    @property
    def size(self) -> int:
        """How many numbers are kept of a draw."""
        return sum(math.prod(shape) for shape in self.kept.values())


def print_source(graph: Symbols) -> tuple[str, Layout]:
    """Return the C source of a library that computes a graph, and its layout.

    Raises
    ------
    UnsupportedError
        When the graph holds something that cannot be printed as C.
    """
    outputs = _simplify(graph)
    size = len(graph.free)
    density_outputs = outputs[: 1 + size]
    kept_outputs = outputs[1 + size : -size]
    initial_outputs = outputs[-size:]

    free = _shapes(graph.free)
    kept = _shapes(graph.kept)
    inputs = _free_sources(graph, free) | _data_sources(graph)
    density_places = ["*value", *_places("gradient", free)]
    kept_places = _places("out", kept)
    initial_places = _places("out", free)

    support: dict[str, None] = {}
    density, function = write_body(_pair(density_places, density_outputs), inputs, support)
    expand, _ = write_body(_pair(kept_places, kept_outputs), inputs, support)
    initial, _ = write_body(_pair(initial_places, initial_outputs), inputs, support)

    data = [(name, variable.type.ndim) for name, variable in graph.data.items()]
    layout = Layout(free, kept, data, _common_lengths(data, function))
    source = TEMPLATE.format(
        prelude=PRELUDE,
        support="\n".join(support),
        start="\n".join(["int sound = 1;", *_declare_data(data)]),
        density=density,
        expand=expand,
        initial=initial,
        mapped=MAPPED,
        n=len(layout.entries),
        kept=layout.size,
    )
    return source, layout


def _simplify(graph: Symbols) -> list[Any]:
    """Return density, gradient, kept variables and initial values after PyTensor's rewrites."""
    from pytensor.graph.replace import clone_replace
    from pytensor.graph.rewriting.utils import rewrite_graph

    outputs = [graph.log_density, *graph.gradient, *graph.kept.values(), *graph.initial]
    copies = clone_replace(outputs, {})  # the rewrites change their graph in place
    chosen = REWRITES | {"exclude": (*REWRITES["exclude"], *graph.skipped_rewrites)}
    simplified: Any = rewrite_graph(copies, clone=False, **chosen)
    return list(simplified)


def _pair(places: list[str], variables: list[Any]) -> dict[str, Any]:
    return dict(zip(places, variables, strict=True))


def _shapes(variables: Mapping[str, Any]) -> Shapes:
    """Return the shapes of variables that are sampled or kept; the graph fixes their lengths."""
    shapes = {}
    for name, variable in variables.items():
        shape = variable.type.shape
        if len(shape) > 1 or None in shape:
            raise UnsupportedError(f"matrices, and vectors of unknown length: {variable}")
        shapes[name] = list(shape)
    return shapes


def _places(array: str, shapes: Shapes) -> list[str]:
    """Return where variables stand in a C array: scalars as an element, vectors as a pointer."""
    places = []
    start = 0
    for shape in shapes.values():
        places.append(f"{array} + {start}" if shape else f"{array}[{start}]")
        start += math.prod(shape)
    return places


def _free_sources(graph: Symbols, shapes: Shapes) -> dict[Any, Source]:
    """Return where C finds the free variables: in the array x."""
    sources = {}
    for (name, shape), place in zip(shapes.items(), _places("x", shapes), strict=True):
        if shape:
            axes = tuple(str(length) for length in shape)
            source = Source(f"({place})[i]", GIVEN, axes, anywhere=True)
        else:
            source = Source(place, FIRST_STAGE)
        sources[graph.free[name]] = source
    return sources


def _data_sources(graph: Symbols) -> dict[Any, Source]:
    """Return where C finds the data: in arrays d0, d1 and so on."""
    sources = {}
    for k, variable in enumerate(graph.data.values()):
        axes = _data_axes(k, variable.type.ndim)
        if len(axes) == 0:
            source = Source(f"d{k}[0]", FIRST_STAGE, axes, anywhere=True)
        elif len(axes) == 1:
            source = Source(f"d{k}[i]", GIVEN, axes, anywhere=True)
        else:
            source = Source(f"d{k}", GIVEN, axes, anywhere=True)
        sources[variable] = source
    return sources


def _data_axes(k: int, dimensions: int) -> tuple[str, ...]:
    """Return the names in C of the lengths of data array k."""
    return tuple(f"n{k}_{d}" for d in range(dimensions))


def _declare_data(data: list[tuple[str, int]]) -> list[str]:
    """Return declarations of all data arrays and their lengths, read from the array u."""
    lines = []
    for k, (_, dimensions) in enumerate(data):
        first = WORDS_PER_ARRAY * k
        lines.append(f"const double *const restrict d{k} = (const double *)u[{first}];")
        for d, axis in enumerate(_data_axes(k, dimensions)):
            lines.append(f"const int64_t {axis} = u[{first + d + 1}];")
    return lines


def _common_lengths(
    data: list[tuple[str, int]], function: Function
) -> list[tuple[int | None, list[tuple[str, int]]]]:
    """Return the groups of dimensions that must have equal length (`Layout.lengths`)."""
    groups: dict[str, list[tuple[str, int]]] = {}
    for k, (name, dimensions) in enumerate(data):
        for d, axis in enumerate(_data_axes(k, dimensions)):
            groups.setdefault(function.representative(axis), []).append((name, d))
    lengths = []
    for axis, group in groups.items():
        fixed = int(axis) if axis.isdigit() else None
        lengths.append((fixed, group))
    return lengths


# `log_density` returns 0, or a positive code where there is no density at this point (nutpie
# continues), or a negative code when the call itself is wrong. A backslash continues a line of C.
TEMPLATE = """{prelude}
{support}
int64_t log_density(uint64_t n, const double *x, double *restrict gradient, \
double *restrict value, const int64_t *u) {{
if (n != {n}) return -1;
{start}
{density}
if (!sound || !isfinite(*value)) return 4;
for (int i = 0; i < {n}; i++) if (!isfinite(gradient[i])) return 3;
return 0;
}}
int64_t expand(uint64_t n, uint64_t kept, const double *x, double *restrict out, \
const int64_t *u) {{
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
{mapped}"""
"""A library around the bodies of its first three functions."""
