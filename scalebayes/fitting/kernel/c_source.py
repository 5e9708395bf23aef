"""A PyTensor graph of scalars, of vectors along the rows and of products with a matrix as one C function of few loops.

Vectors along the same axis share loops. A sum, or a product with the matrix, ends a loop: what needs its result comes
in a later stage. So without a discrepancy value and gradient take one pass over the rows, and no vector is stored; with
one, the few vectors that a later stage needs are kept in buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scalebayes.fitting.kernel.c_operations import (
    PRODUCTS,
    UnsupportedError,
    assign,
    c_type,
    literal,
)

type Axes = tuple[str | None, ...]
"""For each dimension its length in C, a name or a number, or None where that is one."""


@dataclass
class Source:
    """Something that holds values: its C expression, the stage that makes it, and its axes as it lies in memory.

    ``anywhere`` says that a vector can be read in every loop: data, and what is in a buffer.
    """

    text: str
    stage: int
    axes: Axes = ()
    kind: str = "double"
    anywhere: bool = False

    @property
    def axis(self) -> str | None:
        """The axis of a vector; None of a scalar."""
        return next((axis for axis in self.axes if axis is not None), None)


@dataclass(frozen=True)
class Term:
    """A variable of the graph: a source, its dimensions in another order or with further ones of length one."""

    source: Source
    axes: Axes


@dataclass
class Function:
    """A C function while it is written."""

    terms: dict[Any, Term]
    support: dict[str, None]
    scalars: list[tuple[int, str]] = field(default_factory=list)
    vectors: list[tuple[Source, str]] = field(default_factory=list)
    sums: list[tuple[int, str, str, str, str]] = field(default_factory=list)
    products: list[tuple[int, str]] = field(default_factory=list)
    buffers: dict[str, str] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)

    def root(self, axis: str) -> str:
        """The axis that stands for all that are as long."""
        while axis in self.same:
            axis = self.same[axis]
        return axis

    def unite(self, axes: Sequence[str | None]) -> str | None:
        """Declare axes to be as long as each other; returns the one that stands for them."""
        roots = sorted(
            {self.root(axis) for axis in axes if axis is not None}
        )  # a number, if there is one, comes first
        if sum(root.isdigit() for root in roots) > 1:
            raise UnsupportedError(f"lengths that differ: {', '.join(roots)}")
        if roots:
            self.same |= dict.fromkeys(roots[1:], roots[0])
        return roots[0] if roots else None

    def term(self, variable: Any) -> Term:
        """What is known of a variable; a constant must be one number, however often."""
        if variable not in self.terms:
            value = np.asarray(getattr(variable, "data", None))
            if value.dtype == object or np.unique(value).size != 1:
                raise UnsupportedError(f"a constant that is no number: {variable}")
            source = Source(literal(value.flat[0]), 0, kind=c_type(variable))
            self.terms[variable] = Term(
                source, tuple(None if size == 1 else str(size) for size in value.shape)
            )
        return self.terms[variable]

    def read(self, source: Source, stage: int) -> str:
        """Expression of a source inside a loop of that stage."""
        if source.axis is None or source.anywhere or source.stage == stage:
            return source.text
        return f"{self.store(source)}[i]"

    def store(self, source: Source) -> str:
        """Name of the array that holds a vector for later stages."""
        if source.anywhere:
            return source.text.removesuffix("[i]")
        if source.axis is None or source.kind != "double":
            raise UnsupportedError(f"a stored value of type {source.kind}")
        self.buffers[f"b_{source.text}"] = source.axis
        return f"b_{source.text}"

    def name(self) -> str:
        """A name not used yet."""
        return f"t{len(self.terms)}"


def _elementwise(node: Any, into: Function) -> None:
    out, terms = node.outputs[0], [into.term(x) for x in node.inputs]
    axes = tuple(into.unite([term.axes[d] for term in terms]) for d in range(out.type.ndim))
    if sum(axis is not None for axis in axes) > 1:
        raise UnsupportedError(f"a matrix of computed values: {node.op}")
    stage = max([0, *(term.source.stage for term in terms)])
    source = Source(into.name(), stage, axes, c_type(out))
    into.terms[out] = Term(source, axes)
    inputs, dtypes = (
        [into.read(term.source, stage) for term in terms],
        [str(x.type.dtype) for x in node.inputs],
    )
    line = f"{source.kind} {source.text}; {assign(node.op.scalar_op, source.text, inputs, dtypes, into.support)}"
    if source.axis is None:
        into.scalars.append((stage, line))
    else:
        into.vectors.append((source, line))


def _reduce(node: Any, into: Function) -> None:
    """Sum a vector, or ask whether all of it holds; of conditions put side by side, all must hold."""
    made, out = node.inputs[0].owner, node.outputs[0]
    every = type(node.op).__name__ == "All"
    if every and made is not None and type(made.op).__name__ == "MakeVector":
        sources = [into.term(x).source for x in made.inputs]
        text = f"({' & '.join(source.text for source in sources)})"
        into.terms[out] = Term(
            Source(text, max(source.stage for source in sources), kind="int"), ()
        )
        return
    term = into.term(node.inputs[0])
    over = range(len(term.axes)) if node.op.axis is None else node.op.axis
    axes = tuple(axis for d, axis in enumerate(term.axes) if d not in over)
    if any(axes) or term.source.axis is None:  # only dimensions of length one are summed
        into.terms[out] = Term(term.source, axes)
        return
    stage, name = max(0, term.source.stage), into.name()
    into.sums.append(
        (stage, term.source.axis, name, "&" if every else "+", into.read(term.source, stage))
    )
    into.terms[out] = Term(Source(name, stage + 1, kind="int" if every else "double"), axes)


def _dimensions(node: Any, into: Function) -> None:
    term = into.term(node.inputs[0])
    into.terms[node.outputs[0]] = Term(
        term.source, tuple(None if d == "x" else term.axes[d] for d in node.op.new_order)
    )


def _same_value(node: Any, into: Function) -> None:
    into.terms[node.outputs[0]] = into.term(node.inputs[0])


def _known_shape(node: Any, into: Function) -> None:
    """A variable some of whose lengths are said to be numbers."""
    term, lengths = into.term(node.inputs[0]), node.outputs[0].type.shape
    for axis, length in zip(term.axes, lengths, strict=True):
        if axis is not None and length is not None:
            into.unite([axis, str(length)])
    into.terms[node.outputs[0]] = term


def _check(node: Any, into: Function) -> None:
    for condition in (into.term(x).source for x in node.inputs[1:]):
        into.scalars.append((max(0, condition.stage), f"sound &= {condition.text};"))
    _same_value(node, into)


def _length(node: Any, into: Function) -> None:
    term = into.term(node.inputs[0])
    if len(term.axes) != 1 and not hasattr(node.op, "i"):
        raise UnsupportedError("the shape of a matrix")
    axis = term.axes[getattr(node.op, "i", 0)]
    out = node.outputs[0]
    into.terms[out] = Term(
        Source("1" if axis is None else axis, 0, kind="int64_t"), (None,) * out.type.ndim
    )


def _product(node: Any, into: Function) -> None:
    """A matrix of the data, or its transpose, by a vector."""
    matrix, vector = map(into.term, node.inputs)
    axis = vector.source.axis
    if (
        len(matrix.source.axes) != 2
        or not matrix.source.anywhere
        or None in matrix.axes
        or axis is None
    ):
        raise UnsupportedError(
            f"a product other than of a matrix of the data by a vector: {node.op}"
        )
    into.unite([matrix.axes[1], axis])
    stage, name, out = vector.source.stage + 1, f"b_{into.name()}", matrix.axes[0]
    assert out is not None
    into.buffers[name] = out
    into.support.setdefault(PRODUCTS)
    function = "product" if matrix.axes == matrix.source.axes else "product_of_transposed"
    sizes, held = ", ".join(map(str, matrix.source.axes)), into.store(vector.source)
    into.products.append((stage, f"{function}({sizes}, {matrix.source.text}, {held}, {name});"))
    axes = (out,) + (None,) * (node.outputs[0].type.ndim - 1)
    into.terms[node.outputs[0]] = Term(Source(f"{name}[i]", stage, axes, anywhere=True), axes)


WRITERS: Mapping[str, Callable[[Any, Function], None]] = {
    "Elemwise": _elementwise,
    "Sum": _reduce,
    "All": _reduce,
    "DimShuffle": _dimensions,
    "Assert": _same_value,
    "SpecifyShape": _known_shape,
    "ScalarFromTensor": _same_value,
    "TensorFromScalar": _same_value,
    "CheckParameterValue": _check,
    "MakeVector": lambda node, into: None,  # read by All, through its inputs
    "Shape": _length,
    "Shape_i": _length,
    "Dot": _product,
}
"""Operations of a graph -> how they are written."""


def body(
    outputs: Mapping[str, Any], inputs: Mapping[Any, Source], support: dict[str, None]
) -> tuple[str, Function]:
    """Statements that set each named place to its variable, and the function with what it learned of lengths.

    Parameters
    ----------
    outputs
        C expressions that can be assigned to -> scalar variables; pointers -> vectors.
    inputs
        Variables that are given -> where they are.
    support
        Collects C code that must stand before the function.

    Raises
    ------
    UnsupportedError
        When the graph has an operation that is not in `WRITERS`, or has no C code.
    """
    from pytensor.graph.traversal import toposort

    into = Function(
        {variable: Term(source, source.axes) for variable, source in inputs.items()}, support
    )
    for node in toposort(list(outputs.values()), blockers=list(inputs)):
        kind = type(node.op).__name__
        if kind not in WRITERS:
            raise UnsupportedError(f"operation {node.op}")
        WRITERS[kind](node, into)
    ends = []
    for place, variable in outputs.items():
        term = into.term(variable)
        if any(term.axes):
            held = term.source.text if term.source.axis is None else f"{into.store(term.source)}[i]"
            length = next(axis for axis in term.axes if axis is not None)
            ends.append(f"for (int64_t i = 0; i < {length}; i++) ({place})[i] = {held};")
        elif term.source.axis is None:
            ends.append(f"{place} = {term.source.text};")
        else:
            raise UnsupportedError(f"a vector where a number is wanted: {variable}")
    return "\n".join(
        [*_scratch(into), *_stages(into), *ends, "free(scratch);" if into.buffers else ""]
    ), into


def _scratch(into: Function) -> list[str]:
    """One allocation for all buffers."""
    if not into.buffers:
        return []
    total = " + ".join(into.buffers.values())
    lines = [
        f"double *const scratch = malloc(sizeof(double) * ({total}));",
        "if (!scratch) return -3;",
    ]
    at = "scratch"
    for name, axis in into.buffers.items():
        lines.append(f"double *const restrict {name} = {at};")
        at = f"{name} + {axis}"
    return lines


def _stages(into: Function) -> list[str]:
    stages = (
        [s for s, _ in into.scalars]
        + [v.stage for v, _ in into.vectors]
        + [s for s, *_ in into.sums]
    )
    lines = []
    for stage in range(1 + max([0, *stages])):
        lines += [line for s, line in into.products if s == stage]
        lines += [line for s, line in into.scalars if s == stage]
        axes = [v.axis for v, _ in into.vectors if v.stage == stage] + [
            a for s, a, *_ in into.sums if s == stage
        ]
        for axis in dict.fromkeys(into.root(axis) for axis in axes if axis is not None):
            lines += _loop(stage, axis, into)
    return lines


def _loop(stage: int, axis: str, into: Function) -> list[str]:
    lines = []
    for source, line in into.vectors:
        if source.stage == stage and source.axis is not None and into.root(source.axis) == axis:
            lines.append(line)
            if (buffer := f"b_{source.text}") in into.buffers:
                lines.append(f"{buffer}[i] = {source.text};")
    sums = [
        (name, operator, text)
        for s, a, name, operator, text in into.sums
        if s == stage and into.root(a) == axis
    ]
    start = [
        f"{'double' if op == '+' else 'int'} {name} = {'0.0' if op == '+' else '1'};"
        for name, op, _ in sums
    ]
    clauses = "".join(f" reduction({operator}:{name})" for name, operator, _ in sums)
    lines += [f"{name} {operator}= {text};" for name, operator, text in sums]
    return [
        *start,
        f"#pragma omp simd{clauses}",
        f"for (int64_t i = 0; i < {axis}; i++) {{",
        *lines,
        "}",
    ]
