r"""Laws of training on repeated data, L(N, D, U): D tokens are drawn from U unique ones.

A repeated token is worth less than a new one. With R = D/U - 1 repetitions, D tokens are worth

    D' = U + U R_D (1 - exp(-R/R_D))

unique tokens. The first repetitions count almost in full, R_D repetitions count as (1 - 1/e) R_D,
and all repetitions together never count for more than U R_D tokens. Parameters in excess of the
compute-optimal number for U tokens are discounted in the same way.
"""

from __future__ import annotations

import numpy as np

from scalebayes.laws import coordinates
from scalebayes.laws.law import Numeric, Parameter, law
from scalebayes.laws.parameters import ALPHA_D, ALPHA_N, D_C, L_INF, N_C

R_D = Parameter(
    "R_D", "R_D", "repetitions of the data after which one more is worth 1/e of the first"
)
R_N = Parameter(
    "R_N", "R_N", "decay constant of parameters in excess of the optimum for the unique tokens"
)

UNIQUE_REFERENCE = 1e10
"""Unique tokens at which `parameters_filled` states the optimal parameters per token."""


def log_worth(log_x: Numeric, log_unique: Numeric, R_star: Numeric) -> Numeric:
    """Return the log of u + u R* (1 - exp(-R/R*)) with u = min(x, unique) and R = x/u - 1."""
    # The minimum is taken on the log scale, where nothing cancels.
    log_u = (log_x + log_unique - abs(log_x - log_unique)) / 2
    repeats = np.exp(log_x - log_u) - 1.0
    # log1p would not help: the sum with log u rounds off the digits that it saves.
    return log_u + np.log(1.0 + R_star * -np.expm1(-repeats / R_star))


def log_filled(
    log_U: Numeric, *, N_c: Numeric, alpha_N: Numeric, D_c: Numeric, alpha_D: Numeric
) -> Numeric:
    """Return the log of the compute-optimal N for U unique tokens.

    There alpha_N n = alpha_D d, as in Hoffmann's law.
    """
    log_ratio = np.log(alpha_N) - np.log(alpha_D)
    balance = log_ratio - alpha_D * (np.log(D_c) - log_U)
    return np.log(N_c) + balance / alpha_N


def from_muennighoff(
    *, E: float, A: float, B: float, alpha: float, R_N_star: float, R_D_star: float
) -> dict[str, float]:
    """Return this law's parameters from the paper's, which has one exponent for both terms."""
    return {
        "L_inf": E,
        "N_c": A ** (1 / alpha),
        "D_c": B ** (1 / alpha),
        "alpha_N": alpha,
        "alpha_D": alpha,
        "R_N": R_N_star,
        "R_D": R_D_star,
    }


def parameters_filled(
    *, N_c: Numeric, alpha_N: Numeric, D_c: Numeric, alpha_D: Numeric
) -> dict[str, Numeric]:
    """Return U_N/U, the optimal parameters per unique token, at `UNIQUE_REFERENCE` tokens."""
    log_U = np.log(UNIQUE_REFERENCE)
    filled = log_filled(log_U, N_c=N_c, alpha_N=alpha_N, D_c=D_c, alpha_D=alpha_D)
    return {"N_per_U": np.exp(filled - log_U)}


@law(
    title="Additive terms with repeated data (Muennighoff et al. 2023)",
    parameters=(L_INF, N_C, ALPHA_N, D_C, ALPHA_D, R_N, R_D),
    latex=r"L_\infty + (N_c/N')^{\alpha_N} + (D_c/D')^{\alpha_D},\;"
    r" D' = U + U R_D (1 - e^{-(D/U - 1)/R_D}),\;"
    r" N' = U_N + U_N R_N (1 - e^{-(N/U_N - 1)/R_N})",
    references=("muennighoff2023",),
    coordinates=coordinates.repeated_data(
        {"R_N": coordinates.Extra(5.0, 0.5), "R_D": coordinates.Extra(15.0, 0.5)}
    ),
    derived=(parameters_filled,),
    notations=(from_muennighoff,),
)
def data_constrained(
    N: Numeric,
    D: Numeric,
    U: Numeric,
    *,
    L_inf: Numeric,
    N_c: Numeric,
    alpha_N: Numeric,
    D_c: Numeric,
    alpha_D: Numeric,
    R_N: Numeric,
    R_D: Numeric,
) -> Numeric:
    """L = L_inf + (N_c/N')^alpha_N + (D_c/D')^alpha_D, with N and D discounted to N' and D'.

    The discount depends on U and on U_N, the compute-optimal N for U tokens. With U >= D nothing is
    repeated, and D' = D; with U = inf also N' = N, and the law is Hoffmann's. The paper ties
    alpha_N to alpha_D.
    """
    log_N = np.log(N)
    log_D = np.log(D)
    log_U = np.log(U)
    log_U_N = log_filled(log_U, N_c=N_c, alpha_N=alpha_N, D_c=D_c, alpha_D=alpha_D)
    log_n = alpha_N * (np.log(N_c) - log_worth(log_N, log_U_N, R_N))
    log_d = alpha_D * (np.log(D_c) - log_worth(log_D, log_U, R_D))
    return L_inf + np.exp(log_n) + np.exp(log_d)
