"""Print PyTensor's scalar operations as C.

Each operation prints itself (``c_code``), except for a few whose C code would not vectorise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from scalebayes.errors import ScaleBayesError


class UnsupportedError(ScaleBayesError):
    """A graph that cannot be printed as C, or a library that cannot be built.

    nutpie compiles the model itself in that case.
    """


VECTORISED: dict[str, Callable[..., str]] = {
    "Softplus": lambda x: f"({x} > 0.0 ? {x} : 0.0) + log1p(exp(-fabs({x})))",
    "Sigmoid": lambda x: f"({x} < 0.0 ? exp(-fabs({x})) : 1.0) / (1.0 + exp(-fabs({x})))",
    "IsInf": lambda x: f"__builtin_isinf({x}) != 0",
    "GammaLn": lambda x: f"log_gamma({x})",
    "Erfcx": lambda x: f"scaled_erfc({x})",
}
"""C expressions that give the same values and vectorise.

PyTensor's own call functions inside branches, which compilers do not vectorise. Softplus and
sigmoid share exp(-|x|), so the compiler computes it once. PyTensor's erfcx is C++; ours,
exp(x^2) erfc(x), is its asymptotic series from 25 on, where four terms leave an error below 1e-11.
"""

TYPES = {
    "float64": "double",
    "float32": "double",
    "int64": "int64_t",
    "int32": "int64_t",
    "int16": "int64_t",
    "int8": "int64_t",
    "uint8": "int64_t",
    "bool": "int",
}
"""C type of each PyTensor type; only constants have the narrow types, so widening is exact."""

PRELUDE = """#include <math.h>
#include <stdint.h>
#include <stdlib.h>
typedef double npy_float64; typedef float npy_float32; \
typedef int64_t npy_int64; typedef int32_t npy_int32;
typedef int16_t npy_int16; typedef int8_t npy_int8; typedef uint8_t npy_uint8; \
typedef uint8_t npy_bool;
#define DEVICE
#define NPY_NAN NAN
#define NPY_INFINITY INFINITY
#ifdef VECTOR_MATHS
#pragma GCC diagnostic ignored "-Wattributes"
__attribute__((simd("notinbranch"))) double exp(double);
__attribute__((simd("notinbranch"))) double log(double);
__attribute__((simd("notinbranch"))) double log1p(double);
__attribute__((simd("notinbranch"))) double expm1(double);
__attribute__((simd("notinbranch"))) double pow(double, double);
#endif
static inline double log_gamma(double x) { int sign; return lgamma_r(x, &sign); }
static inline double scaled_erfc(double x) {
if (x < 25.0) return exp(x * x) * erfc(x);
double w = 0.5 / (x * x);
return 0.5641895835477563 / x * (1.0 - w * (1.0 - 3.0 * w * (1.0 - 5.0 * w * (1.0 - 7.0 * w))));
}
"""
"""The beginning of every library; a backslash continues a line of C.

glibc declares its vector maths (libmvec) only under -ffast-math, so it is declared here.
"""

PRODUCTS = """
static void product(int64_t rows, int64_t columns, const double *restrict m, \
const double *restrict v,
                    double *restrict out) {
int64_t r = 0;
for (; r + 4 <= rows; r += 4, m += 4 * columns) {
double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
#pragma omp simd reduction(+:s0, s1, s2, s3)
for (int64_t c = 0; c < columns; c++) {
s0 += m[c] * v[c]; s1 += m[columns + c] * v[c]; \
s2 += m[2 * columns + c] * v[c]; s3 += m[3 * columns + c] * v[c];
}
out[r] = s0; out[r + 1] = s1; out[r + 2] = s2; out[r + 3] = s3;
}
for (; r < rows; r++, m += columns) {
double s = 0.0;
for (int64_t c = 0; c < columns; c++) s += m[c] * v[c];
out[r] = s;
}
}
static void product_of_transposed(int64_t rows, int64_t columns, const double *restrict m, \
const double *restrict v,
                                  double *restrict out) {
int64_t r = 0;
for (int64_t c = 0; c < columns; c++) out[c] = 0.0;
for (; r + 4 <= rows; r += 4, m += 4 * columns)
for (int64_t c = 0; c < columns; c++)
out[c] += m[c] * v[r] + m[columns + c] * v[r + 1] + \
m[2 * columns + c] * v[r + 2] + m[3 * columns + c] * v[r + 3];
for (; r < rows; r++, m += columns)
for (int64_t c = 0; c < columns; c++) out[c] += m[c] * v[r];
}
"""
"""Products of a matrix in row-major order, and of its transpose, with a vector.

Both take four rows at a time: four independent sums keep the processor busy.
"""


def c_type(variable: Any) -> str:
    """Return the C type of a variable's values."""
    dtype = str(variable.type.dtype)
    if dtype not in TYPES:
        raise UnsupportedError(f"values of type {dtype}")
    return TYPES[dtype]


def literal(value: Any) -> str:
    """Return a number as C text that reads back to the same bits."""
    number = value.item()
    if isinstance(number, bool | int):
        return str(int(number))
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "(-INFINITY)"
    return f"({number!r})"  # repr is the shortest text that reads back to the same number


def assign(
    operation: Any,
    target: str,
    inputs: Sequence[str],
    dtypes: Sequence[str],
    support: dict[str, None],
) -> str:
    """Return the C statement that assigns a scalar operation of the inputs to ``target``.

    ``support`` receives C code that must stand before the function.

    Raises
    ------
    UnsupportedError
        When the operation has no C code.
    """
    from pytensor.scalar.basic import Composite, get_scalar_type

    kind = type(operation).__name__
    if kind in VECTORISED:
        expression = VECTORISED[kind](*inputs)
        return f"{target} = {expression};"
    if isinstance(operation, Composite):
        return _assign_composite(operation, target, inputs, support)
    node = operation.make_node(*(get_scalar_type(dtype)() for dtype in dtypes))
    try:
        support.setdefault(operation.c_support_code())
        return operation.c_code(node, "kernel", list(inputs), [target], {"fail": "return -1;"})
    except (NotImplementedError, AttributeError) as error:
        raise UnsupportedError(f"no C code for {operation}") from error


def _assign_composite(
    composite: Any, target: str, inputs: Sequence[str], support: dict[str, None]
) -> str:
    """Return a block of C that computes a composite operation step by step."""
    from pytensor.graph.basic import Constant

    inner = composite.fgraph
    names = dict(zip(inner.inputs, inputs, strict=True))

    def read(variable: Any) -> str:
        if isinstance(variable, Constant):
            return literal(variable.data)
        return names[variable]

    steps: list[str] = []
    for node in inner.toposort():
        out = node.outputs[0]
        local = f"{target}_{len(steps)}"
        names[out] = local
        operands = [read(x) for x in node.inputs]
        dtypes = [str(x.type.dtype) for x in node.inputs]
        statement = assign(node.op, local, operands, dtypes, support)
        steps.append(f"{c_type(out)} {local}; {statement}")
    result = read(inner.outputs[0])
    return f"{{ {' '.join(steps)} {target} = {result}; }}"
