"""The inputs of a question: targets in N, D and C, checked and completed."""

from __future__ import annotations

from typing import Any

import numpy as np

from scalebayes.costs.cost import SIX_ND
from scalebayes.errors import QueryError
from scalebayes.laws import INPUTS
from scalebayes.units import parse_quantity

BASIC = ("N", "D", "C")
"""Inputs of which any two determine the third; the others of `INPUTS` are given by name."""


def quantities(value: Any, name: str) -> np.ndarray:
    """Positive numbers, perhaps infinite, from a number, text such as "70B" or "inf", or a sequence of them.

    Raises
    ------
    QueryError
        Naming the argument, what was got and what is allowed.
    """
    values = [value] if np.ndim(value) == 0 else list(value)
    try:
        numbers = np.array(
            [np.inf if str(v).strip().lower() == "inf" else parse_quantity(v) for v in values],
            float,
        )
    except ValueError as error:
        raise QueryError(f"{name}: {error}") from None
    if not (numbers > 0).all():
        raise QueryError(f"{name} must be positive; got {', '.join(map(str, values))}")
    return numbers


def read_inputs(given: dict[str, Any], needed: tuple[str, ...], name: str) -> dict[str, np.ndarray]:
    """The inputs a law needs, and compute where it follows, broadcast to one length."""
    have = {x: quantities(v, x) for x, v in given.items() if v is not None}
    for x in have:
        if x not in INPUTS:
            raise QueryError(f"no input is called {x}: allowed are {', '.join(INPUTS)}")
        if x not in (*BASIC, *needed):
            raise QueryError(
                f"'{name}' has no input {x} ({INPUTS[x]}): it is a law of {', '.join(needed)}"
            )
    lengths = {len(v) for v in have.values()} - {1}
    if len(lengths) > 1:
        what = ", ".join(f"{x}: {len(v)}" for x, v in have.items())
        raise QueryError(
            f"N, D and C{' and others' * any(x not in BASIC for x in have)} must have one length; got {what}"
        )
    have = dict(zip(have, np.broadcast_arrays(*have.values()), strict=True)) if have else {}
    have |= _third({x: have[x] for x in BASIC if x in have})
    if any(x not in have for x in needed):
        got = ", ".join(x for x in given if given[x] is not None) or "nothing"
        raise QueryError(f"'{name}' predicts from {_allowed(needed)}; got {got}")
    return {x: have[x] for x in INPUTS if x in have}


def _allowed(needed: tuple[str, ...]) -> str:
    """What a law may be asked from, in words."""
    basic, others = (
        [x for x in needed if x in BASIC],
        [f"{x} ({INPUTS[x]})" for x in needed if x not in BASIC],
    )
    two = "two of N, D and C"
    first = {0: [], 1: [f"{basic[0]}, or from {two}" if basic else ""]}.get(
        len(basic), [f"any {two}"]
    )
    return ", with ".join([*first, *others])


def _third(have: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of N, D and C the one that the other two determine, after a check where all three are given."""
    if len(have) == 3 and not np.allclose(have["C"], SIX_ND.flop(have["N"], have["D"]), rtol=0.01):
        raise QueryError("N, D and C disagree: C must be 6 N D; give two of the three")
    if len(have) != 2:
        return {}
    if "C" not in have:
        return {"C": SIX_ND.flop(have["N"], have["D"])}
    if np.isinf(list(have.values())).any():
        raise QueryError("infinite N, D or C leave the third unknown; for a limit give N and D")
    (known,) = set(have) - {"C"}
    return {"D" if known == "N" else "N": have["C"] / (6.0 * have[known])}
