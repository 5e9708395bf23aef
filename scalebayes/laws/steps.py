r"""Laws of model size and training steps, L(N, S), and corrections for the critical batch size.

Kaplan et al. (2020) state their law in S_min, the number of steps that training takes with batches
far above the critical size:

    L(N, S_min) = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S,   B_crit(L) = B_star / L^(1/alpha_B)
    S_min = S / (1 + B_crit/B),   C_min = C / (1 + B/B_crit)

so the steps of a table are converted by `minimal_steps` before a fit. At a given C_min the loss is
least where alpha_N n = alpha_S s, with n and s the two terms of the law. There the loss exceeds the
converged loss n by the fraction alpha_N/alpha_S.
"""

from __future__ import annotations

from scalebayes.laws import coordinates
from scalebayes.laws.law import Numeric, Parameter, law
from scalebayes.laws.parameters import ALPHA_N, N_C
from scalebayes.laws.single import PF_DAY
from scalebayes.laws.terms import power

S_C = Parameter("S_c", "S_c", "scale of the term of steps", scale_of="S", exponent="alpha_S")
ALPHA_S = Parameter("alpha_S", r"\alpha_S", "exponent of the term of steps")

B_STAR = 2.1e8
"""Scale of the critical batch size in tokens: Kaplan et al. (2020), eq. 1.4."""
ALPHA_B = 0.21
"""Exponent of the critical batch size, from the same equation."""
TREND = {"N": (1.3e9, 0.73), "B": (2.0e6, 0.24), "S": (5.4e3, 0.03), "D": (2e10, 0.27)}
"""Optimal N, B (tokens), S and D at one PF-day of C_min, each with its exponent: Table 6."""


def critical_batch(L: Numeric, *, B_star: Numeric = B_STAR, alpha_B: Numeric = ALPHA_B) -> Numeric:
    """Return B_crit = B_star / L^(1/alpha_B) in tokens.

    Training with this batch size takes twice the minimal steps and twice the minimal compute.
    """
    return B_star / L ** (1 / alpha_B)


def minimal_steps(
    S: Numeric, B: Numeric, L: Numeric, *, B_star: Numeric = B_STAR, alpha_B: Numeric = ALPHA_B
) -> Numeric:
    """Return S_min = S / (1 + B_crit(L)/B), the minimal steps to loss L (eq. 5.4).

    Batches far above the critical size need this number of steps.
    """
    return S / (1 + critical_batch(L, B_star=B_star, alpha_B=alpha_B) / B)


def minimal_compute(
    C: Numeric, B: Numeric, L: Numeric, *, B_star: Numeric = B_STAR, alpha_B: Numeric = ALPHA_B
) -> Numeric:
    """Return C_min = C / (1 + B/B_crit(L)), the minimal compute to loss L (eq. 5.5).

    Batches far below the critical size need this compute.
    """
    return C / (1 + B / critical_batch(L, B_star=B_star, alpha_B=alpha_B))


def compute_exponents(
    *, alpha_N: Numeric, alpha_S: Numeric, alpha_B: Numeric = ALPHA_B
) -> dict[str, Numeric]:
    """Return the exponents in C_min of the loss (eq. 6.4) and of the optimal N, B, S and D = B S.

    alpha_C_min = 1/(1/alpha_S + 1/alpha_B + 1/alpha_N), and x ~ C_min^(alpha_C_min/alpha_x) for
    each x of N, B and S. The law implies these exponents; `TREND` has those that were measured.
    """
    alpha = 1 / (1 / alpha_S + 1 / alpha_B + 1 / alpha_N)
    N = alpha / alpha_N
    B = alpha / alpha_B
    S = alpha / alpha_S
    return {"alpha_C_min": alpha, "N": N, "B": B, "S": S, "D": B + S}


def measured_allocation(C_min: Numeric) -> dict[str, Numeric]:
    """Return the optimal N, B (tokens), S and D at a minimal compute in FLOP, by `TREND`."""
    days = C_min / PF_DAY
    return {x: at_one * days**exponent for x, (at_one, exponent) in TREND.items()}


def at_the_frontier(*, alpha_N: Numeric, alpha_S: Numeric) -> dict[str, Numeric]:
    """Return properties of compute-optimal runs (section 6).

    above_converged is the fraction by which the loss of such a run exceeds its converged loss;
    alpha_C_min and a_opt are the exponents in C_min of the loss and of N.
    """
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
    """L = (N_c/N)^alpha_N + (S_c/S)^alpha_S, for ample data; S is S_min (`minimal_steps`)."""
    return power(N, N_c, alpha_N) + power(S, S_c, alpha_S)
