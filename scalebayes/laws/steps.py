r"""Laws of model size and training steps, L(N, S), and what the critical batch size makes of them.

Kaplan et al. (2020) state their law in S_min, the steps that a batch far above the critical size would take:

    L(N, S_min) = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S,   B_crit(L) = B_star / L^(1/alpha_B)
    S_min = S / (1 + B_crit/B),   C_min = C / (1 + B/B_crit)

so a table's steps go through `minimal_steps` before they are fitted. At the compute C_min the loss is least where
alpha_N n = alpha_S s, alpha_N/alpha_S above the converged loss.
"""

from __future__ import annotations

import numpy as np

from scalebayes.laws import coordinates
from scalebayes.laws.law import Numeric, Parameter, law
from scalebayes.laws.parameters import ALPHA_N, N_C
from scalebayes.laws.single import PF_DAY

S_C = Parameter("S_c", "S_c", "scale of the term of steps", scale_of="S", exponent="alpha_S")
ALPHA_S = Parameter("alpha_S", r"\alpha_S", "exponent of the term of steps")

B_STAR, ALPHA_B = 2.1e8, 0.21
"""Tokens, and the exponent, of the critical batch size: Kaplan et al. (2020), eq. 1.4."""
TREND = {"N": (1.3e9, 0.73), "B": (2.0e6, 0.24), "S": (5.4e3, 0.03), "D": (2e10, 0.27)}
"""Optimal parameters, batch (tokens), steps and tokens at one PF-day of C_min, and their exponents: Table 6."""


def critical_batch(L: Numeric, *, B_star: Numeric = B_STAR, alpha_B: Numeric = ALPHA_B) -> Numeric:
    """B_crit = B_star / L^(1/alpha_B) in tokens; such a batch takes twice the least steps and the least compute."""
    return B_star / L ** (1 / alpha_B)


def minimal_steps(
    S: Numeric, B: Numeric, L: Numeric, *, B_star: Numeric = B_STAR, alpha_B: Numeric = ALPHA_B
) -> Numeric:
    """S_min = S / (1 + B_crit(L)/B): the steps to loss L with batches far above the critical size (eq. 5.4)."""
    return S / (1 + critical_batch(L, B_star=B_star, alpha_B=alpha_B) / B)


def minimal_compute(
    C: Numeric, B: Numeric, L: Numeric, *, B_star: Numeric = B_STAR, alpha_B: Numeric = ALPHA_B
) -> Numeric:
    """C_min = C / (1 + B/B_crit(L)): the compute to loss L with batches far below the critical size (eq. 5.5)."""
    return C / (1 + B / critical_batch(L, B_star=B_star, alpha_B=alpha_B))


def compute_exponents(
    *, alpha_N: Numeric, alpha_S: Numeric, alpha_B: Numeric = ALPHA_B
) -> dict[str, Numeric]:
    """Exponents in C_min of the loss (eq. 6.4) and of the optimal N, B, S and D = B S.

    alpha_C_min = 1/(1/alpha_S + 1/alpha_B + 1/alpha_N), N ~ C^(alpha_C_min/alpha_N) and so for B and S. These are what
    the law implies; `TREND` is what the paper measured.
    """
    alpha = 1 / (1 / alpha_S + 1 / alpha_B + 1 / alpha_N)
    N, B, S = alpha / alpha_N, alpha / alpha_B, alpha / alpha_S
    return {"alpha_C_min": alpha, "N": N, "B": B, "S": S, "D": B + S}


def measured_allocation(C_min: Numeric) -> dict[str, Numeric]:
    """Optimal N, B (tokens), S and D at a compute in FLOP by the trends of Table 6: 1.3e9 C^.73 and so on, PF-days."""
    days = C_min / PF_DAY
    return {x: at_one * days**exponent for x, (at_one, exponent) in TREND.items()}


def at_the_frontier(*, alpha_N: Numeric, alpha_S: Numeric) -> dict[str, Numeric]:
    """How far above its converged loss a compute-optimal run stops (section 6), and the law's exponent of C_min."""
    exponents = compute_exponents(alpha_N=alpha_N, alpha_S=alpha_S)
    return {
        "above_converged": alpha_N / alpha_S,
        "alpha_C_min": exponents["alpha_C_min"],
        "a_opt": exponents["N"],
    }


@law(
    title="Additive terms of model size and steps (Kaplan et al. 2020, eq. 1.6)",
    parameters=(N_C, ALPHA_N, S_C, ALPHA_S),
    latex=r"(N_c/N)^{\alpha_N} + (S_c/S)^{\alpha_S}",
    references=("kaplan2020",),
    coordinates=coordinates.kappa_family(floor=False, kappa="one", inputs=("N", "S")),
    derived=(at_the_frontier,),
)
def steps(
    N: Numeric, S: Numeric, *, N_c: Numeric, alpha_N: Numeric, S_c: Numeric, alpha_S: Numeric
) -> Numeric:
    """L = (N_c/N)^alpha_N + (S_c/S)^alpha_S, with data to spare; S is S_min (`minimal_steps`)."""
    log_n, log_s = alpha_N * (np.log(N_c) - np.log(N)), alpha_S * (np.log(S_c) - np.log(S))
    return np.exp(log_n) + np.exp(log_s)
