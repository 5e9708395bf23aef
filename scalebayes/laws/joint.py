r"""Laws of parameters and data, L(N, D).

One family holds the field's argument. With n = (N_c/N)^alpha_N and d = (D_c/D)^alpha_D,

    L = L_inf + (n^(1/kappa) + d^(1/kappa))^kappa

is Hoffmann's additive law at kappa = 1, Kaplan's coupled law at kappa = alpha_D and L_inf = 0, the
bottleneck max(n, d) as kappa goes to 0, and Videau's law with kappa free. The members differ only
in the parameters that they fix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from scalebayes.laws import coordinates
from scalebayes.laws.law import Numeric, Parameter, law
from scalebayes.laws.parameters import ALPHA_D, ALPHA_N, ALPHA_ND, D_C, KAPPA, L_INF, N_C
from scalebayes.laws.rescaling import Units
from scalebayes.laws.terms import log_power, power

N_REFERENCE = 1e9
"""Parameters at which `product` states its amplitude."""
D_REFERENCE = 2e10
"""Tokens at which `product` states its amplitude: 20 for each of `N_REFERENCE` parameters."""


def optimal_N(
    ND: Numeric, *, N_c: Numeric, alpha_N: Numeric, D_c: Numeric, alpha_D: Numeric, kappa: Numeric
) -> Numeric:
    """Return the N that minimises the loss at a given product N D.

    N* = [(alpha_N/alpha_D)^kappa N_c^alpha_N D_c^-alpha_D (N D)^alpha_D]^(1/(alpha_N + alpha_D)).
    There alpha_N n^(1/kappa) = alpha_D d^(1/kappa).
    """
    log_ratio = kappa * (np.log(alpha_N) - np.log(alpha_D))
    size_part = alpha_N * np.log(N_c)
    data_part = alpha_D * (np.log(ND) - np.log(D_c))
    log_N = (log_ratio + size_part + data_part) / (alpha_N + alpha_D)
    return np.exp(log_N)


def kaplan_optimal_N(
    ND: Numeric, *, N_c: Numeric, alpha_N: Numeric, D_c: Numeric, alpha_D: Numeric
) -> Numeric:
    """Return `optimal_N` of the laws with kappa = alpha_D."""
    return optimal_N(ND, N_c=N_c, alpha_N=alpha_N, D_c=D_c, alpha_D=alpha_D, kappa=alpha_D)


def _one_exponent_optimum(ND: Numeric, *, N_c: Numeric, D_c: Numeric, alpha_ND: Numeric) -> Numeric:
    """Return `optimal_N` of the additive law with one exponent: N* = (N D N_c/D_c)^(1/2)."""
    return optimal_N(ND, N_c=N_c, alpha_N=alpha_ND, D_c=D_c, alpha_D=alpha_ND, kappa=1.0)


def tokens_to_reach(
    L: Numeric,
    N: Numeric,
    *,
    N_c: Numeric,
    alpha_N: Numeric,
    D_c: Numeric,
    alpha_D: Numeric,
    kappa: Numeric,
    L_inf: Numeric = 0.0,
) -> Numeric:
    """Return the tokens D with which N parameters reach the loss L.

    D = D_c d^(-1/alpha_D) with d = (r^(1/kappa) - n^(1/kappa))^kappa and r = L - L_inf, and
    infinite where r <= n.
    """
    # A loss that N parameters never reach is the log of a negative number, hence NaN.
    with np.errstate(all="ignore"):
        log_r = np.log(L - L_inf)
        log_n = log_power(N, N_c, alpha_N)
        log_d = log_r + kappa * np.log1p(-np.exp((log_n - log_r) / kappa))
        D = np.exp(np.log(D_c) - log_d / alpha_D)
    return np.where(np.isnan(D), np.inf, D)


def size_to_reach(
    L: Numeric,
    D: Numeric,
    *,
    N_c: Numeric,
    alpha_N: Numeric,
    D_c: Numeric,
    alpha_D: Numeric,
    kappa: Numeric,
    L_inf: Numeric = 0.0,
) -> Numeric:
    """Return the parameters N with which D tokens reach the loss L.

    This is `tokens_to_reach` with the two terms exchanged.
    """
    return tokens_to_reach(
        L, D, N_c=D_c, alpha_N=alpha_D, D_c=N_c, alpha_D=alpha_N, kappa=kappa, L_inf=L_inf
    )


def _at_kaplans_kappa(solve: Callable[..., Numeric]) -> Callable[..., Numeric]:
    """Return the inverse ``solve`` at kappa = alpha_D, as in Kaplan's law."""

    def solve_kaplan(L: Numeric, other: Numeric, **parameters: Numeric) -> Numeric:
        return solve(L, other, kappa=parameters["alpha_D"], **parameters)

    return solve_kaplan


def _at_one_exponent(solve: Callable[..., Numeric]) -> Callable[..., Numeric]:
    """Return the inverse ``solve`` at kappa = 1 and alpha_N = alpha_D = alpha_ND."""

    def solve_one_exponent(
        L: Numeric, other: Numeric, *, L_inf: Numeric, N_c: Numeric, D_c: Numeric, alpha_ND: Numeric
    ) -> Numeric:
        return solve(
            L,
            other,
            L_inf=L_inf,
            N_c=N_c,
            alpha_N=alpha_ND,
            D_c=D_c,
            alpha_D=alpha_ND,
            kappa=1.0,
        )

    return solve_one_exponent


INVERSES = {"N": size_to_reach, "D": tokens_to_reach}
"""Inverses of `coupled`, by the input that they return."""

ADDITIVE_INVERSES = {x: partial(solve, kappa=1.0) for x, solve in INVERSES.items()}
BOTTLENECK_INVERSES = {x: partial(solve, kappa=0.0) for x, solve in INVERSES.items()}
KAPLAN_INVERSES = {x: _at_kaplans_kappa(solve) for x, solve in INVERSES.items()}
ONE_EXPONENT_INVERSES = {x: _at_one_exponent(solve) for x, solve in INVERSES.items()}


def allocation_exponents(*, alpha_N: Numeric, alpha_D: Numeric) -> dict[str, Numeric]:
    """Return the exponents of N* ~ C^a_opt and D* ~ C^b_opt at C = 6 N D, for any kappa."""
    total = alpha_N + alpha_D
    return {"a_opt": alpha_D / total, "b_opt": alpha_N / total}


def hoffmann_amplitudes(
    *, N_c: Numeric, alpha_N: Numeric, D_c: Numeric, alpha_D: Numeric
) -> dict[str, Numeric]:
    """Return A and B of L = E + A/N^alpha + B/D^beta."""
    return {"A": np.exp(alpha_N * np.log(N_c)), "B": np.exp(alpha_D * np.log(D_c))}


def from_hoffmann(*, E: float, A: float, B: float, alpha: float, beta: float) -> dict[str, float]:
    """Return this law's parameters from the constants of L = E + A/N^alpha + B/D^beta."""
    return {
        "L_inf": E,
        "N_c": A ** (1 / alpha),
        "alpha_N": alpha,
        "D_c": B ** (1 / beta),
        "alpha_D": beta,
    }


@law(
    title="Coupled terms with a free kappa",
    parameters=(L_INF, N_C, ALPHA_N, D_C, ALPHA_D, KAPPA),
    latex=r"L_\infty + \left[(N_c/N)^{\alpha_N/\kappa} + (D_c/D)^{\alpha_D/\kappa}\right]^\kappa",
    references=("videau2026",),
    coordinates=coordinates.kappa_family(floor=True, kappa="free"),
    optimal_N=optimal_N,
    inverses=INVERSES,
    derived=(allocation_exponents,),
)
def coupled(
    N: Numeric,
    D: Numeric,
    *,
    L_inf: Numeric,
    N_c: Numeric,
    alpha_N: Numeric,
    D_c: Numeric,
    alpha_D: Numeric,
    kappa: Numeric,
) -> Numeric:
    """L = L_inf + (n^(1/kappa) + d^(1/kappa))^kappa.

    n = (N_c/N)^alpha_N and d = (D_c/D)^alpha_D.
    """
    log_n = log_power(N, N_c, alpha_N)
    log_d = log_power(D, D_c, alpha_D)
    return L_inf + np.exp(kappa * coordinates.log_add(log_n / kappa, log_d / kappa))


@law(
    title="Additive terms (Hoffmann et al. 2022)",
    parameters=(L_INF, N_C, ALPHA_N, D_C, ALPHA_D),
    latex=r"L_\infty + (N_c/N)^{\alpha_N} + (D_c/D)^{\alpha_D}",
    references=("hoffmann2022",),
    coordinates=coordinates.kappa_family(floor=True, kappa="one"),
    optimal_N=partial(optimal_N, kappa=1.0),
    inverses=ADDITIVE_INVERSES,
    derived=(hoffmann_amplitudes, allocation_exponents),
    notations=(from_hoffmann,),
)
def additive(
    N: Numeric,
    D: Numeric,
    *,
    L_inf: Numeric,
    N_c: Numeric,
    alpha_N: Numeric,
    D_c: Numeric,
    alpha_D: Numeric,
) -> Numeric:
    """L = L_inf + n + d: neither input can make up for too little of the other."""
    return L_inf + power(N, N_c, alpha_N) + power(D, D_c, alpha_D)


@law(
    title="Kaplan's coupled terms (Kaplan et al. 2020, eq. 1.5)",
    parameters=(N_C, ALPHA_N, D_C, ALPHA_D),
    latex=r"\left[(N_c/N)^{\alpha_N/\alpha_D} + D_c/D\right]^{\alpha_D}",
    references=("kaplan2020",),
    coordinates=coordinates.kappa_family(floor=False, kappa="alpha_D"),
    optimal_N=kaplan_optimal_N,
    inverses=KAPLAN_INVERSES,
    derived=(allocation_exponents,),
)
def kaplan(
    N: Numeric, D: Numeric, *, N_c: Numeric, alpha_N: Numeric, D_c: Numeric, alpha_D: Numeric
) -> Numeric:
    """L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D: kappa = alpha_D, and no floor."""
    return coupled.function(
        N, D, L_inf=0.0, N_c=N_c, alpha_N=alpha_N, D_c=D_c, alpha_D=alpha_D, kappa=alpha_D
    )


@law(
    title="Kaplan's coupled terms over an irreducible loss",
    parameters=(L_INF, N_C, ALPHA_N, D_C, ALPHA_D),
    latex=r"L_\infty + \left[(N_c/N)^{\alpha_N/\alpha_D} + D_c/D\right]^{\alpha_D}",
    references=("kaplan2020",),
    coordinates=coordinates.kappa_family(floor=True, kappa="alpha_D"),
    optimal_N=kaplan_optimal_N,
    inverses=KAPLAN_INVERSES,
    derived=(allocation_exponents,),
)
def kaplan_floor(
    N: Numeric,
    D: Numeric,
    *,
    L_inf: Numeric,
    N_c: Numeric,
    alpha_N: Numeric,
    D_c: Numeric,
    alpha_D: Numeric,
) -> Numeric:
    """L = L_inf + [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D."""
    return coupled.function(
        N, D, L_inf=L_inf, N_c=N_c, alpha_N=alpha_N, D_c=D_c, alpha_D=alpha_D, kappa=alpha_D
    )


@law(
    title="The larger of two limits",
    parameters=(L_INF, N_C, ALPHA_N, D_C, ALPHA_D),
    latex=r"L_\infty + \max\left((N_c/N)^{\alpha_N}, (D_c/D)^{\alpha_D}\right)",
    references=("kaplan2020",),
    coordinates=coordinates.two_limits(),
    optimal_N=partial(optimal_N, kappa=0.0),
    inverses=BOTTLENECK_INVERSES,
    derived=(allocation_exponents,),
)
def bottleneck(
    N: Numeric,
    D: Numeric,
    *,
    L_inf: Numeric,
    N_c: Numeric,
    alpha_N: Numeric,
    D_c: Numeric,
    alpha_D: Numeric,
) -> Numeric:
    """L = L_inf + max(n, d), the limit kappa -> 0.

    This form is found in popular summaries, not in a paper.
    """
    log_n = log_power(N, N_c, alpha_N)
    log_d = log_power(D, D_c, alpha_D)
    log_larger = (log_n + log_d + abs(log_n - log_d)) / 2
    return L_inf + np.exp(log_larger)


def gadre_constants(*, N_c: Numeric, D_c: Numeric, alpha_ND: Numeric) -> dict[str, Numeric]:
    """Return the constants of Gadre's law and of its optimum.

    a, b and eta_C = alpha/2 are Gadre's constants (see `overtraining`), M_opt = D_c/N_c is the best
    number of tokens per parameter, and a_opt and b_opt are the exponents of N* and D*.
    """
    half_log_6 = 0.5 * np.log(6.0)
    half = 0.5 * np.ones_like(alpha_ND)
    return {
        "a": np.exp(alpha_ND * (np.log(N_c) + half_log_6)),
        "b": np.exp(alpha_ND * (np.log(D_c) + half_log_6)),
        "eta_C": alpha_ND / 2,
        "M_opt": D_c / N_c,
        "a_opt": half,
        "b_opt": half,
    }


def from_gadre(*, E: float, eta: float, a: float, b: float) -> dict[str, float]:
    """Return this law's parameters from the constants of L = E + (a M^eta + b M^-eta) C^-eta."""
    return {
        "L_inf": E,
        "N_c": a ** (1 / (2 * eta)) / 6.0**0.5,
        "D_c": b ** (1 / (2 * eta)) / 6.0**0.5,
        "alpha_ND": 2 * eta,
    }


def from_tied(*, E: float, A: float, B: float, alpha: float) -> dict[str, float]:
    """Return this law's parameters from the constants of L = E + A/N^alpha + B/D^alpha."""
    return {
        "L_inf": E,
        "N_c": A ** (1 / alpha),
        "D_c": B ** (1 / alpha),
        "alpha_ND": alpha,
    }


N_C_SHARED = replace(N_C, exponent="alpha_ND")
D_C_SHARED = replace(D_C, exponent="alpha_ND")


@law(
    title="Additive terms with one exponent (Gadre et al. 2024)",
    parameters=(L_INF, N_C_SHARED, D_C_SHARED, ALPHA_ND),
    latex=r"L_\infty + (N_c/N)^{\alpha} + (D_c/D)^{\alpha}",
    references=("gadre2024",),
    coordinates=coordinates.shared_exponent("alpha_ND"),
    optimal_N=_one_exponent_optimum,
    inverses=ONE_EXPONENT_INVERSES,
    derived=(gadre_constants,),
    notations=(from_gadre, from_tied),
)
def overtraining(
    N: Numeric, D: Numeric, *, L_inf: Numeric, N_c: Numeric, D_c: Numeric, alpha_ND: Numeric
) -> Numeric:
    """L = L_inf + (N_c/N)^alpha + (D_c/D)^alpha, Hoffmann's law with equal exponents.

    Gadre writes it as E + (a M^eta + b M^-eta) C^-eta with M = D/N and C = 6 N D. Then
    alpha = 2 eta, a = (6^(1/2) N_c)^alpha and b = (6^(1/2) D_c)^alpha. The reducible loss falls as
    C^-eta at every ratio M of tokens to parameters, and is least at M = D_c/N_c.
    """
    return additive.function(
        N, D, L_inf=L_inf, N_c=N_c, alpha_N=alpha_ND, D_c=D_c, alpha_D=alpha_ND
    )


def _rescale_product(
    units: Units, *, L_0: Numeric, alpha_N: Numeric, alpha_D: Numeric
) -> dict[str, Numeric]:
    """Return the parameters of `product` in other units: the reference is a constant."""
    log_L_0 = np.log(L_0) + units.log_response
    log_L_0 = log_L_0 + alpha_N * units.log_inputs["N"] + alpha_D * units.log_inputs["D"]
    return {"L_0": np.exp(log_L_0), "alpha_N": alpha_N, "alpha_D": alpha_D}


PRODUCT_L_0 = Parameter(
    "L_0",
    "L_0",
    "loss at 1B parameters and 20B tokens",
    unit="loss",
    at_reference=True,
)


@law(
    title="A product of powers",
    parameters=(
        PRODUCT_L_0,
        ALPHA_N,
        ALPHA_D,
    ),
    latex=r"L_0\,(10^9/N)^{\alpha_N}\,(2\cdot 10^{10}/D)^{\alpha_D}",
    references=("kaplan2020",),
    coordinates=coordinates.log_linear("L_0", {"N": N_REFERENCE, "D": D_REFERENCE}),
    reference={"N": N_REFERENCE, "D": D_REFERENCE},
    own_rescale=_rescale_product,
)
def product(N: Numeric, D: Numeric, *, L_0: Numeric, alpha_N: Numeric, alpha_D: Numeric) -> Numeric:
    """L = L_0 (1e9/N)^alpha_N (2e10/D)^alpha_D.

    Popular summaries print L ~ N^-alpha_N D^-alpha_D C^-alpha_C, which is in no paper. With
    C = 6 N D the third power is not identified: it adds alpha_C to both other exponents, so the
    exponents of this law are those sums.
    """
    log_n = log_power(N, N_REFERENCE, alpha_N)
    log_d = log_power(D, D_REFERENCE, alpha_D)
    return L_0 * np.exp(log_n + log_d)
