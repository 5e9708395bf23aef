"""Laws of one input that bend: a power shifted or bounded at small scale, and powers broken once or twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scalebayes.laws import coordinates
from scalebayes.laws.law import Numeric, Parameter, law
from scalebayes.laws.parameters import ALPHA_C, ALPHA_D, C_C, D_C, L_INF

NEWTON_STEPS = 8
"""Of `bounded`: the error is below 1e-12 after six at any gamma of 0.1 to 10."""

C_0 = Parameter("C_0", "C_0", "compute below which more of it hardly helps")
GAMMA = Parameter(
    "gamma",
    r"\gamma",
    "how the power bends into its bound: near 0 late and sharply, 1 as a logistic",
)
L_DROP = Parameter(
    "L_drop",
    r"\Delta L",
    "the most that training can gain: loss of an untrained model less the floor",
)
C_1 = Parameter("C_1", "C_1", "compute at the first break")
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
    """L = L_inf + (C_c/(C + C_0))^alpha_C: below C_0 the loss flattens, as it must before anything is learned."""
    log_shifted = coordinates.log_add(np.log(C), np.log(C_0))
    return L_inf + np.exp(alpha_C * (np.log(C_c) - log_shifted))


def untrained(*, L_inf: Numeric, L_drop: Numeric) -> dict[str, Numeric]:
    """Loss of an untrained model, the paper's e_0."""
    return {"L_0": L_inf + L_drop}


@law(
    title="Power of dataset size between a floor and the loss of an untrained model (Alabdulmohsin et al. 2022, M4)",
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

    The paper writes (L - e_inf)/(e_0 - L)^gamma = beta D^-c: e_inf = L_inf, e_0 = L_inf + L_drop, c = alpha_D and
    beta = D_c^alpha_D / L_drop^gamma. In v = logit(u/L_drop) it is v - (1 - gamma) log(1 + e^v) = y, whose left side
    rises and bends one way only: Newton's steps from its asymptotes always arrive.
    """
    y = alpha_D * (np.log(D_c) - np.log(D)) - np.log(L_drop)
    bent = 1.0 - gamma
    above = (y + abs(y)) / 2
    v = y - above + above / gamma
    for _ in range(NEWTON_STEPS):
        softplus = coordinates.log_add(v, 0.0)
        v = v - (v - bent * softplus - y) / (1.0 - bent * np.exp(v - softplus))
    return L_inf + L_drop * np.exp(v - coordinates.log_add(v, 0.0))


def _turn(C: Numeric, log_break: Numeric, f: Numeric, change: Numeric) -> Numeric:
    """Log of (1 + (C/d)^(1/f))^(-change f), a break after which the exponent is larger by ``change``."""
    return -change * f * coordinates.log_add((np.log(C) - log_break) / f, 0.0)


def from_caballero(
    *, a: float, b: float, c_0: float, c_1: float, d_1: float, f_1: float
) -> dict[str, float]:
    """Our parameters from those of y = a + b x^-c_0 (1 + (x/d_1)^(1/f_1))^(-c_1 f_1)."""
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

    Of compute, because that is the axis along which breaks are reported and forecasts made. The paper's c_1 is
    alpha_1 - alpha_C; both exponents are positive here, so the loss always falls: a rise in between is left out.
    """
    log_power = alpha_C * (np.log(C_c) - np.log(C))
    return L_inf + np.exp(log_power + _turn(C, np.log(C_1), f, alpha_1 - alpha_C))


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

    The second break lies above the first by construction, or the two could change places. The paper gives each break a
    width of its own; here they share f, which keeps the loss falling everywhere.
    """
    log_power = alpha_C * (np.log(C_c) - np.log(C)) + _turn(C, np.log(C_1), f, alpha_1 - alpha_C)
    log_second = np.log(C_1) + gap * float(np.log(10.0))
    return L_inf + np.exp(log_power + _turn(C, log_second, f, alpha_2 - alpha_1))
