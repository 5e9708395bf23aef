"""Print a PyTensor graph as the body of one C function with few loops over the rows.

The graph may hold scalars, vectors, and products of a data matrix with a vector. Vectors of equal
length share loops. The function is divided into stages. A sum or a matrix product is only known
when its loop has ended, so operations on its result belong to a later stage. Without a
discrepancy, value and gradient take one pass over the rows and no vector is stored. With one, the
vectors that later stages read are stored in buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
"""The length of each dimension in C, a name or a number; None for a dimension of length one."""

FIRST_STAGE = 0
"""The stage of operations that need nothing but data and free variables."""
GIVEN = -1
"""The stage of vectors that exist before the function begins: data and free variables."""


@dataclass(frozen=True)
class Source:
    """A value in C.

    Attributes
    ----------
    text
        Its C expression.
    stage
        The stage that computes it.
    axes
        Its dimensions, in the order of memory.
    kind
        Its C type.
    anywhere
        Whether a loop of any stage can read it, which is true of data and of buffers.
    """

    text: str
    stage: int
    axes: Axes = ()
    kind: str = "double"
    anywhere: bool = False

    @property
    def axis(self) -> str | None:
        """The length of a vector, or None for a scalar."""
        return _first_axis(self.axes)


@dataclass(frozen=True)
class Term:
    """A variable of the graph: a source with its dimensions reordered, or with unit dimensions."""

    source: Source
    axes: Axes


@dataclass(frozen=True)
class Statement:
    """A statement outside of loops."""

    stage: int
    text: str


@dataclass(frozen=True)
class LoopStatement:
    """A statement in a loop over ``axis``, which computes one element of the vector ``name``."""

    stage: int
    axis: str
    name: str
    text: str


@dataclass(frozen=True)
class Operator:
    """An associative operator in C, the type of its result, and its neutral element."""

    symbol: str
    kind: str
    neutral: str


ADD = Operator("+", "double", "0.0")
AND = Operator("&", "int", "1")


@dataclass(frozen=True)
class Reduction:
    """A reduction of the expression ``text`` over ``axis`` to the scalar ``name``."""

    stage: int
    axis: str
    name: str
    operator: Operator
    text: str


@dataclass
class Function:
    """A C function under construction.

    Attributes
    ----------
    terms
        The variables that are known so far.
    support
        C code that must stand before the function; an ordered set.
    scalars, products, vectors, reductions
        The statements, in the order of the graph.
    buffers
        Length of each buffer, by name.
    equal_lengths
        Another name, or the number, of the same length.
    """

    terms: dict[Any, Term]
    support: dict[str, None]
    scalars: list[Statement] = field(default_factory=list)
    products: list[Statement] = field(default_factory=list)
    vectors: list[LoopStatement] = field(default_factory=list)
    reductions: list[Reduction] = field(default_factory=list)
    buffers: dict[str, str] = field(default_factory=dict)
    equal_lengths: dict[str, str] = field(default_factory=dict)

    def representative(self, axis: str) -> str:
        """Return the one name, or the number, that stands for all axes of this length."""
        while axis in self.equal_lengths:
            axis = self.equal_lengths[axis]
        return axis

    def unite(self, axes: Iterable[str | None]) -> str | None:
        """Declare axes to have equal length, and return their representative."""
        distinct = {self.representative(axis) for axis in axes if axis is not None}
        if not distinct:
            return None
        # Digits sort before letters, so a length that is a number becomes the representative.
        lengths = sorted(distinct)
        first, *others = lengths
        if any(other.isdigit() for other in others):
            raise UnsupportedError(f"lengths that must be equal differ: {', '.join(lengths)}")
        for other in others:
            self.equal_lengths[other] = first
        return first

    def term(self, variable: Any) -> Term:
        """Return what is known of a variable; constants become known here.

        Raises
        ------
        UnsupportedError
            When the variable is a constant array of different values.
        """
        if variable not in self.terms:
            self.terms[variable] = _constant(variable)
        return self.terms[variable]

    def read(self, source: Source, stage: int) -> str:
        """Return the expression that reads a source in a loop of this stage."""
        if source.axis is None or source.anywhere or source.stage == stage:
            return source.text
        return f"{self.store(source)}[i]"

    def store(self, source: Source) -> str:
        """Return the name of the array that holds a vector for later stages."""
        if source.anywhere:
            return source.text.removesuffix("[i]")
        if source.axis is None or source.kind != "double":
            raise UnsupportedError(f"values of type {source.kind} cannot be stored")
        name = _buffer_name(source.text)
        self.buffers[name] = source.axis
        return name

    def new_name(self) -> str:
        """Return a name that is not in use yet."""
        return f"t{len(self.terms)}"


def _first_axis(axes: Axes) -> str | None:
    """Return the first length other than one, if there is one."""
    for axis in axes:
        if axis is not None:
            return axis
    return None


def _buffer_name(name: str) -> str:
    return f"b_{name}"


def _constant(variable: Any) -> Term:
    """Return a constant scalar, or a constant array whose elements are all equal."""
    value = np.asarray(getattr(variable, "data", None))
    if value.dtype == object or np.unique(value).size != 1:
        raise UnsupportedError(f"constant arrays of different values: {variable}")
    source = Source(literal(value.flat[0]), FIRST_STAGE, kind=c_type(variable))
    axes = tuple(None if size == 1 else str(size) for size in value.shape)
    return Term(source, axes)


def _write_elementwise(node: Any, function: Function) -> None:
    """Apply a scalar operation to each element, in the first stage that knows all inputs."""
    out = node.outputs[0]
    terms = [function.term(x) for x in node.inputs]
    axes = _broadcast(terms, out.type.ndim, function)
    if sum(axis is not None for axis in axes) > 1:
        raise UnsupportedError(f"computed matrices: {node.op}")

    stage = max([FIRST_STAGE, *(term.source.stage for term in terms)])
    source = Source(function.new_name(), stage, axes, c_type(out))
    function.terms[out] = Term(source, axes)

    inputs = [function.read(term.source, stage) for term in terms]
    dtypes = [str(x.type.dtype) for x in node.inputs]
    assignment = assign(node.op.scalar_op, source.text, inputs, dtypes, function.support)
    text = f"{source.kind} {source.text}; {assignment}"
    if source.axis is None:
        function.scalars.append(Statement(stage, text))
    else:
        function.vectors.append(LoopStatement(stage, source.axis, source.text, text))


def _broadcast(terms: Sequence[Term], dimensions: int, function: Function) -> Axes:
    """Return the axes of the result of an elementwise operation, and record equal lengths."""
    axes = []
    for dimension in range(dimensions):
        along = [term.axes[dimension] for term in terms]
        axes.append(function.unite(along))
    return tuple(axes)


def _write_sum(node: Any, function: Function) -> None:
    _reduce(node, function, ADD)


def _write_all(node: Any, function: Function) -> None:
    """Ask whether all elements of a vector are true, or all of several scalar conditions."""
    stacked = node.inputs[0].owner
    if stacked is None or type(stacked.op).__name__ != "MakeVector":
        _reduce(node, function, AND)
        return
    conditions = [function.term(x).source for x in stacked.inputs]
    text = " & ".join(condition.text for condition in conditions)
    stage = max(condition.stage for condition in conditions)
    function.terms[node.outputs[0]] = Term(Source(f"({text})", stage, kind="int"), ())


def _reduce(node: Any, function: Function, operator: Operator) -> None:
    """Reduce a vector to a scalar."""
    out = node.outputs[0]
    term = function.term(node.inputs[0])
    source = term.source
    reduced = node.op.axis
    if reduced is None:
        reduced = range(len(term.axes))
    remaining = tuple(axis for d, axis in enumerate(term.axes) if d not in reduced)
    if any(remaining) or source.axis is None:
        # Only dimensions of length one are reduced, so no value changes.
        function.terms[out] = Term(source, remaining)
        return

    stage = max(FIRST_STAGE, source.stage)
    name = function.new_name()
    element = function.read(source, stage)
    function.reductions.append(Reduction(stage, source.axis, name, operator, element))
    # The result is known when the loop has ended.
    function.terms[out] = Term(Source(name, stage + 1, kind=operator.kind), remaining)


def _write_dimensions(node: Any, function: Function) -> None:
    """Reorder dimensions, remove dimensions of length one, or insert new dimensions."""
    term = function.term(node.inputs[0])
    axes: list[str | None] = []
    for dimension in node.op.new_order:
        is_new = dimension == "x"
        axes.append(None if is_new else term.axes[dimension])
    function.terms[node.outputs[0]] = Term(term.source, tuple(axes))


def _write_same_value(node: Any, function: Function) -> None:
    function.terms[node.outputs[0]] = function.term(node.inputs[0])


def _write_known_shape(node: Any, function: Function) -> None:
    """Record the dimensions whose length the graph declares to be a number."""
    term = function.term(node.inputs[0])
    for axis, length in zip(term.axes, node.outputs[0].type.shape, strict=True):
        if axis is not None and length is not None:
            function.unite([axis, str(length)])
    function.terms[node.outputs[0]] = term


def _write_check(node: Any, function: Function) -> None:
    """Clear the flag ``sound`` where a condition fails, and return the first input unchanged."""
    for variable in node.inputs[1:]:
        condition = function.term(variable).source
        stage = max(FIRST_STAGE, condition.stage)
        function.scalars.append(Statement(stage, f"sound &= {condition.text};"))
    _write_same_value(node, function)


def _write_length(node: Any, function: Function) -> None:
    """Give the length of a vector, or of one dimension (``Shape_i``)."""
    term = function.term(node.inputs[0])
    if hasattr(node.op, "i"):
        dimension = node.op.i
    elif len(term.axes) == 1:
        dimension = 0
    else:
        raise UnsupportedError("the shape of a matrix")
    length = term.axes[dimension] or "1"
    out = node.outputs[0]
    axes = (None,) * out.type.ndim
    function.terms[out] = Term(Source(length, FIRST_STAGE, kind="int64_t"), axes)


def _write_product(node: Any, function: Function) -> None:
    """Multiply a data matrix, or its transpose, by a vector; a buffer holds the result."""
    matrix, vector = (function.term(x) for x in node.inputs)
    axis = vector.source.axis
    is_data = len(matrix.source.axes) == 2 and matrix.source.anywhere and None not in matrix.axes
    if not is_data or axis is None:
        raise UnsupportedError(f"products other than of a data matrix and a vector: {node.op}")
    length, inner = matrix.axes
    assert length is not None
    function.unite([inner, axis])

    # The vector is complete when the loop of its stage has ended.
    stage = vector.source.stage + 1
    name = _buffer_name(function.new_name())
    function.buffers[name] = length
    function.support.setdefault(PRODUCTS)
    is_transposed = matrix.axes != matrix.source.axes
    routine = "product_of_transposed" if is_transposed else "product"
    sizes = ", ".join(str(size) for size in matrix.source.axes)
    operand = function.store(vector.source)
    call = f"{routine}({sizes}, {matrix.source.text}, {operand}, {name});"
    function.products.append(Statement(stage, call))

    out = node.outputs[0]
    axes = (length,) + (None,) * (out.type.ndim - 1)
    function.terms[out] = Term(Source(f"{name}[i]", stage, axes, anywhere=True), axes)


def _write_nothing(node: Any, function: Function) -> None:
    """Skip ``MakeVector``, because `_write_all` reads its inputs."""


WRITERS: Mapping[str, Callable[[Any, Function], None]] = {
    "Elemwise": _write_elementwise,
    "Sum": _write_sum,
    "All": _write_all,
    "DimShuffle": _write_dimensions,
    "Assert": _write_same_value,
    "SpecifyShape": _write_known_shape,
    "ScalarFromTensor": _write_same_value,
    "TensorFromScalar": _write_same_value,
    "CheckParameterValue": _write_check,
    "MakeVector": _write_nothing,
    "Shape": _write_length,
    "Shape_i": _write_length,
    "Dot": _write_product,
}
"""The function that writes each PyTensor operation, by the name of its class."""


def write_body(
    outputs: Mapping[str, Any], inputs: Mapping[Any, Source], support: dict[str, None]
) -> tuple[str, Function]:
    """Return C statements that compute the outputs, and the function with its known lengths.

    Parameters
    ----------
    outputs
        The variables to compute: scalars by a C expression to assign to, vectors by a pointer.
    inputs
        Given variables, and where C finds them.
    support
        Receives C code that must stand before the function.

    Raises
    ------
    UnsupportedError
        When an operation of the graph is not in `WRITERS` or has no C code.
    """
    from pytensor.graph.traversal import toposort

    terms = {variable: Term(source, source.axes) for variable, source in inputs.items()}
    function = Function(terms, support)
    for node in toposort(list(outputs.values()), blockers=list(inputs)):
        kind = type(node.op).__name__
        if kind not in WRITERS:
            raise UnsupportedError(f"operation {node.op}")
        WRITERS[kind](node, function)

    # Outputs may need buffers, so they are written before the allocation.
    assignments = [_assign_output(place, x, function) for place, x in outputs.items()]
    lines = [*_allocate_buffers(function), *_write_stages(function), *assignments]
    lines.append("free(scratch);" if function.buffers else "")
    return "\n".join(lines), function


def _assign_output(place: str, variable: Any, function: Function) -> str:
    """Return the statement that copies an output to its place."""
    term = function.term(variable)
    source = term.source
    length = _first_axis(term.axes)
    if length is not None:
        # A constant or broadcast scalar fills a vector.
        element = source.text if source.axis is None else f"{function.store(source)}[i]"
        return f"for (int64_t i = 0; i < {length}; i++) ({place})[i] = {element};"
    if source.axis is not None:
        raise UnsupportedError(f"a vector as an output that must be a scalar: {variable}")
    return f"{place} = {source.text};"


def _allocate_buffers(function: Function) -> list[str]:
    """Return statements that divide one allocation among all buffers."""
    if not function.buffers:
        return []
    total = " + ".join(function.buffers.values())
    lines = [
        f"double *const scratch = malloc(sizeof(double) * ({total}));",
        "if (!scratch) return -3;",
    ]
    start = "scratch"
    for name, length in function.buffers.items():
        lines.append(f"double *const restrict {name} = {start};")
        start = f"{name} + {length}"
    return lines


def _write_stages(function: Function) -> list[str]:
    """Return the statements of all stages: products, then scalars, then one loop per length."""
    looped: list[LoopStatement | Reduction] = [*function.vectors, *function.reductions]
    unlooped = [*function.products, *function.scalars]
    stages = [step.stage for step in looped] + [step.stage for step in unlooped]
    last = max(stages, default=FIRST_STAGE)
    lines: list[str] = []
    for stage in range(FIRST_STAGE, last + 1):
        lines += [product.text for product in function.products if product.stage == stage]
        lines += [scalar.text for scalar in function.scalars if scalar.stage == stage]
        axes = [function.representative(step.axis) for step in looped if step.stage == stage]
        for axis in dict.fromkeys(axes):
            lines += _write_loop(stage, axis, function)
    return lines


def _write_loop(stage: int, axis: str, function: Function) -> list[str]:
    """Return one loop with all vectors and reductions of a stage along an axis."""

    def belongs(step: LoopStatement | Reduction) -> bool:
        return step.stage == stage and function.representative(step.axis) == axis

    vectors = [vector for vector in function.vectors if belongs(vector)]
    reductions = [reduction for reduction in function.reductions if belongs(reduction)]
    lines = []
    clauses = ""
    for reduction in reductions:
        operator = reduction.operator
        lines.append(f"{operator.kind} {reduction.name} = {operator.neutral};")
        clauses += f" reduction({operator.symbol}:{reduction.name})"
    lines.append(f"#pragma omp simd{clauses}")
    lines.append(f"for (int64_t i = 0; i < {axis}; i++) {{")
    for vector in vectors:
        lines.append(vector.text)
        buffer = _buffer_name(vector.name)
        if buffer in function.buffers:
            lines.append(f"{buffer}[i] = {vector.name};")
    lines += [f"{step.name} {step.operator.symbol}= {step.text};" for step in reductions]
    lines.append("}")
    return lines
