"""Laws of one input: L(N), L(D) and L(C), a power with or without an irreducible loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scalebayes.laws import coordinates
from scalebayes.laws.law import Numeric, law
from scalebayes.laws.parameters import ALPHA_C, ALPHA_D, ALPHA_N, C_C, D_C, L_INF, N_C
from scalebayes.laws.terms import power

PF_DAY = 8.64e19
"""FLOP in one petaFLOP/s-day."""


def _inverse(x: str) -> dict[str, Callable[..., Numeric]]:
    """Return the inverse of a power of ``x``: the function that gives x from the loss L.

    x = x_c (L - L_inf)^(-1/alpha), and infinite where L <= L_inf.
    """

    def solve(L: Numeric, *, L_inf: Numeric = 0.0, **parameters: Numeric) -> Numeric:
        log_x_c = np.log(parameters[f"{x}_c"])
        alpha = parameters[f"alpha_{x}"]
        # A loss below L_inf gives the log of a negative number, hence NaN.
        with np.errstate(all="ignore"):
            value = np.exp(log_x_c - np.log(L - L_inf) / alpha)
        return np.where(np.isnan(value), np.inf, value)

    return {x: solve}


def from_pf_days(*, C_c_PF_days: float, alpha_C: float) -> dict[str, float]:
    """Return the parameters in FLOP from Kaplan's compute scale in PF-days."""
    return {"C_c": C_c_PF_days * PF_DAY, "alpha_C": alpha_C}


def from_cerebras(*, C_scale: float, exponent: float, offset: float) -> dict[str, float]:
    """Return this law's parameters from L = (C/C_scale)^exponent + offset, exponent < 0."""
    return {"C_c": C_scale, "alpha_C": -exponent, "L_inf": offset}


@law(
    title="Power of model size",
    parameters=(N_C, ALPHA_N),
    latex=r"(N_c/N)^{\alpha_N}",
    references=("kaplan2020",),
    coordinates=coordinates.one_term("N", floor=False),
    inverses=_inverse("N"),
)
def size(N: Numeric, *, N_c: Numeric, alpha_N: Numeric) -> Numeric:
    """L = (N_c/N)^alpha_N, for models trained on ample data."""
    return power(N, N_c, alpha_N)


@law(
    title="Power of model size over an irreducible loss",
    parameters=(L_INF, N_C, ALPHA_N),
    latex=r"L_\infty + (N_c/N)^{\alpha_N}",
    references=("henighan2020",),
    coordinates=coordinates.one_term("N", floor=True),
    inverses=_inverse("N"),
)
def size_floor(N: Numeric, *, L_inf: Numeric, N_c: Numeric, alpha_N: Numeric) -> Numeric:
    """L = L_inf + (N_c/N)^alpha_N."""
    return L_inf + power(N, N_c, alpha_N)


@law(
    title="Power of dataset size",
    parameters=(D_C, ALPHA_D),
    latex=r"(D_c/D)^{\alpha_D}",
    references=("kaplan2020",),
    coordinates=coordinates.one_term("D", floor=False),
    inverses=_inverse("D"),
)
def data(D: Numeric, *, D_c: Numeric, alpha_D: Numeric) -> Numeric:
    """L = (D_c/D)^alpha_D, for models with ample parameters."""
    return power(D, D_c, alpha_D)


@law(
    title="Power of dataset size over an irreducible loss",
    parameters=(L_INF, D_C, ALPHA_D),
    latex=r"L_\infty + (D_c/D)^{\alpha_D}",
    references=("henighan2020",),
    coordinates=coordinates.one_term("D", floor=True),
    inverses=_inverse("D"),
)
def data_floor(D: Numeric, *, L_inf: Numeric, D_c: Numeric, alpha_D: Numeric) -> Numeric:
    """L = L_inf + (D_c/D)^alpha_D."""
    return L_inf + power(D, D_c, alpha_D)


@law(
    title="Power of compute",
    parameters=(C_C, ALPHA_C),
    latex=r"(C_c/C)^{\alpha_C}",
    references=("kaplan2020",),
    coordinates=coordinates.one_term("C", floor=False),
    inverses=_inverse("C"),
    notations=(from_pf_days,),
)
def compute(C: Numeric, *, C_c: Numeric, alpha_C: Numeric) -> Numeric:
    """L = (C_c/C)^alpha_C, along whatever allocation the runs follow."""
    return power(C, C_c, alpha_C)


@law(
    title="Power of compute over an irreducible loss",
    parameters=(L_INF, C_C, ALPHA_C),
    latex=r"L_\infty + (C_c/C)^{\alpha_C}",
    references=("henighan2020", "dey2023"),
    coordinates=coordinates.one_term("C", floor=True),
    inverses=_inverse("C"),
    notations=(from_cerebras,),
)
def compute_floor(C: Numeric, *, L_inf: Numeric, C_c: Numeric, alpha_C: Numeric) -> Numeric:
    """L = L_inf + (C_c/C)^alpha_C, along whatever allocation the runs follow."""
    return L_inf + power(C, C_c, alpha_C)
