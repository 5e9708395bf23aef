"""Laws of one input that bend: a power shifted or bounded at small scale, or with breaks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scalebayes.laws import coordinates
from scalebayes.laws.law import Numeric, Parameter, law
from scalebayes.laws.parameters import ALPHA_C, ALPHA_D, C_C, D_C, L_DROP, L_INF
from scalebayes.laws.terms import log_power

NEWTON_STEPS = 8
"""Newton steps of `bounded`: for gamma from 0.1 to 10 the error is below 1e-12 after six."""

C_0 = Parameter("C_0", "C_0", "compute below which the loss is nearly flat", unit="C")
GAMMA = Parameter(
    "gamma",
    r"\gamma",
    "shape of the bend into the bound: near 0 late and sharp, 1 as a logistic",
)
C_1 = Parameter("C_1", "C_1", "compute at the first break", unit="C")
ALPHA_1 = Parameter("alpha_1", r"\alpha_1", "exponent after the first break")
ALPHA_2 = Parameter("alpha_2", r"\alpha_2", "exponent after the second break")
F = Parameter("f", "f", "width of a break, in e-folds of compute")
GAP = Parameter("gap", "g", "decades from the first break to the second")
FIRST = replace(ALPHA_C, meaning="exponent before the first break")


@law(
    title="Shifted power of compute over an irreducible loss (Zhai et al. 2022)",
    parameters=(L_INF, C_C, ALPHA_C, C_0),
    latex=r"L_\infty + (C_c/(C + C_0))^{\alpha_C}",
    references=("zhai2022",),
    coordinates=coordinates.shifted_term("C"),
)
def shifted(C: Numeric, *, L_inf: Numeric, C_c: Numeric, alpha_C: Numeric, C_0: Numeric) -> Numeric:
    """L = L_inf + (C_c/(C + C_0))^alpha_C: below C_0 the loss is nearly flat."""
    log_shifted = coordinates.log_add(np.log(C), np.log(C_0))
    return L_inf + np.exp(alpha_C * (np.log(C_c) - log_shifted))


def untrained(*, L_inf: Numeric, L_drop: Numeric) -> dict[str, Numeric]:
    """Return the loss of an untrained model, the paper's e_0."""
    return {"L_0": L_inf + L_drop}


@law(
    title="Power of dataset size between a floor and the loss of an untrained model"
    " (Alabdulmohsin et al. 2022, M4)",
    parameters=(L_INF, L_DROP, D_C, ALPHA_D, GAMMA),
    latex=r"L_\infty + u,\; u/(1 - u/\Delta L)^\gamma = (D_c/D)^{\alpha_D}",
    references=("alabdulmohsin2022",),
    coordinates=coordinates.bounded_term("D"),
    derived=(untrained,),
)
def bounded(
    D: Numeric, *, L_inf: Numeric, L_drop: Numeric, D_c: Numeric, alpha_D: Numeric, gamma: Numeric
) -> Numeric:
    """L = L_inf + u with u/(1 - u/L_drop)^gamma = (D_c/D)^alpha_D, solved for u.

    The paper writes (L - e_inf)/(e_0 - L)^gamma = beta D^-c, with e_inf = L_inf,
    e_0 = L_inf + L_drop, c = alpha_D and beta = D_c^alpha_D / L_drop^gamma.
    """
    # With v = logit(u/L_drop) the equation is v - (1 - gamma) log(1 + e^v) = y. Its left side
    # increases and is convex or concave, so Newton's method converges from the asymptotes:
    # v = y for negative y, and v = y/gamma for positive y.
    y = log_power(D, D_c, alpha_D) - np.log(L_drop)
    bent = 1.0 - gamma
    positive_part = (y + abs(y)) / 2
    v = y - positive_part + positive_part / gamma
    for _ in range(NEWTON_STEPS):
        softplus = coordinates.log_add(v, 0.0)
        error = v - bent * softplus - y
        slope = 1.0 - bent * np.exp(v - softplus)
        v = v - error / slope
    return L_inf + L_drop * np.exp(v - coordinates.log_add(v, 0.0))


def _log_break(C: Numeric, log_d: Numeric, f: Numeric, change: Numeric) -> Numeric:
    """Return the log of (1 + (C/d)^(1/f))^(-change f), a break at d of width f.

    Beyond the break the exponent is larger by ``change``.
    """
    return -change * f * coordinates.log_add((np.log(C) - log_d) / f, 0.0)


def from_caballero(
    *, a: float, b: float, c_0: float, c_1: float, d_1: float, f_1: float
) -> dict[str, float]:
    """Return this law's parameters from y = a + b x^-c_0 (1 + (x/d_1)^(1/f_1))^(-c_1 f_1)."""
    return {
        "L_inf": a,
        "C_c": b ** (1 / c_0),
        "alpha_C": c_0,
        "C_1": d_1,
        "alpha_1": c_0 + c_1,
        "f": f_1,
    }


@law(
    title="Power of compute with a break (Caballero et al. 2022)",
    parameters=(L_INF, C_C, FIRST, C_1, ALPHA_1, F),
    latex=r"L_\infty + (C_c/C)^{\alpha_C} (1 + (C/C_1)^{1/f})^{-(\alpha_1 - \alpha_C) f}",
    references=("caballero2022",),
    coordinates=coordinates.broken_term("C", breaks=1),
    notations=(from_caballero,),
)
def broken(
    C: Numeric,
    *,
    L_inf: Numeric,
    C_c: Numeric,
    alpha_C: Numeric,
    C_1: Numeric,
    alpha_1: Numeric,
    f: Numeric,
) -> Numeric:
    """L = L_inf + (C_c/C)^alpha_C (1 + (C/C_1)^(1/f))^(-(alpha_1 - alpha_C) f).

    The input is compute because breaks are reported, and forecasts made, along compute. The paper's
    c_1 is alpha_1 - alpha_C. Both exponents are positive here, so the loss always falls; the paper
    also allows a rise.
    """
    log_unbroken = log_power(C, C_c, alpha_C)
    log_break = _log_break(C, np.log(C_1), f, alpha_1 - alpha_C)
    return L_inf + np.exp(log_unbroken + log_break)


@law(
    title="Power of compute with two breaks (Caballero et al. 2022)",
    parameters=(L_INF, C_C, FIRST, C_1, ALPHA_1, GAP, ALPHA_2, F),
    latex=r"L_\infty + (C_c/C)^{\alpha_C} (1 + (C/C_1)^{1/f})^{-(\alpha_1 - \alpha_C) f}"
    r" (1 + (C/(10^g C_1))^{1/f})^{-(\alpha_2 - \alpha_1) f}",
    references=("caballero2022",),
    coordinates=coordinates.broken_term("C", breaks=2),
)
def broken_twice(
    C: Numeric,
    *,
    L_inf: Numeric,
    C_c: Numeric,
    alpha_C: Numeric,
    C_1: Numeric,
    alpha_1: Numeric,
    gap: Numeric,
    alpha_2: Numeric,
    f: Numeric,
) -> Numeric:
    """L = `broken` times a second break at 10^gap C_1, after which the exponent is alpha_2.

    A positive gap keeps the second break above the first, so the two cannot be exchanged. The paper
    gives each break its own width; here both have width f, so that the loss falls everywhere.
    """
    log_unbroken = log_power(C, C_c, alpha_C)
    log_first_break = _log_break(C, np.log(C_1), f, alpha_1 - alpha_C)
    log_C_2 = np.log(C_1) + gap * float(np.log(10.0))
    log_second_break = _log_break(C, log_C_2, f, alpha_2 - alpha_1)
    return L_inf + np.exp(log_unbroken + log_first_break + log_second_break)
