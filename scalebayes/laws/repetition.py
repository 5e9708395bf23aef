r"""Laws of data seen more than once, L(N, D, U): U unique tokens among D.

A token seen again is worth less than a new one. With R = D/U - 1 repetitions the data are worth as much as

    D' = U + U R_D (1 - exp(-R/R_D))

unique tokens: the first repetitions count almost in full, R_D of them to a factor 1 - 1/e, and no number of them counts
for more than U R_D tokens. Parameters beyond those that U tokens can fill lose their worth in the same way.
"""

from __future__ import annotations

import numpy as np

from scalebayes.laws import coordinates
from scalebayes.laws.law import Numeric, Parameter, law
from scalebayes.laws.parameters import ALPHA_D, ALPHA_N, D_C, L_INF, N_C

R_D = Parameter(
    "R_D", "R_D", "repetitions of the data after which a further one is worth 1/e of a first"
)
R_N = Parameter("R_N", "R_N", "the same of parameters beyond those that the unique tokens fill")


def log_worth(log_x: Numeric, log_unique: Numeric, R_star: Numeric) -> Numeric:
    """Log of u + u R* (1 - exp(-R/R*)), R = x/u - 1, where u is the lesser of x and what is unique."""
    log_u = (
        log_x + log_unique - abs(log_x - log_unique)
    ) / 2  # on the log scale, where nothing cancels
    repeats = np.exp(log_x - log_u) - 1.0
    return log_u + np.log(
        1.0 + R_star * -np.expm1(-repeats / R_star)
    )  # beside log u a log1p would save nothing


def log_filled(
    log_U: Numeric, *, N_c: Numeric, alpha_N: Numeric, D_c: Numeric, alpha_D: Numeric
) -> Numeric:
    """Log of the N that is compute-optimal for U unique tokens: alpha_N n = alpha_D d there, as in Hoffmann's law."""
    balance = np.log(alpha_N) - np.log(alpha_D) - alpha_D * (np.log(D_c) - log_U)
    return np.log(N_c) + balance / alpha_N


def from_muennighoff(
    *, E: float, A: float, B: float, alpha: float, R_N_star: float, R_D_star: float
) -> dict[str, float]:
    """Our parameters from the paper's, which has one exponent for both terms."""
    scales = {"N_c": A ** (1 / alpha), "D_c": B ** (1 / alpha)}
    return {
        "L_inf": E,
        **scales,
        "alpha_N": alpha,
        "alpha_D": alpha,
        "R_N": R_N_star,
        "R_D": R_D_star,
    }


def parameters_filled(
    *, N_c: Numeric, alpha_N: Numeric, D_c: Numeric, alpha_D: Numeric
) -> dict[str, Numeric]:
    """Parameters that 1e10 unique tokens fill, per token: U_N / U."""
    log_U = np.log(1e10)
    filled = log_filled(log_U, N_c=N_c, alpha_N=alpha_N, D_c=D_c, alpha_D=alpha_D)
    return {"N_per_U": np.exp(filled - log_U)}


@law(
    title="Additive terms with repeated data (Muennighoff et al. 2023)",
    parameters=(L_INF, N_C, ALPHA_N, D_C, ALPHA_D, R_N, R_D),
    latex=r"L_\infty + (N_c/N')^{\alpha_N} + (D_c/D')^{\alpha_D},\; D' = U + U R_D (1 - e^{-(D/U - 1)/R_D}),\;"
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
    """L = L_inf + (N_c/N')^alpha_N + (D_c/D')^alpha_D, N' and D' what N and D are worth with U unique tokens.

    U_N is the N that is compute-optimal for U tokens. With U >= D nothing is repeated, and D' = D; with U = inf also
    N' = N, and the law is Hoffmann's. The paper ties alpha_N to alpha_D.
    """
    log_N, log_D, log_U = np.log(N), np.log(D), np.log(U)
    filled = log_filled(log_U, N_c=N_c, alpha_N=alpha_N, D_c=D_c, alpha_D=alpha_D)
    size = np.exp(alpha_N * (np.log(N_c) - log_worth(log_N, filled, R_N)))
    return L_inf + size + np.exp(alpha_D * (np.log(D_c) - log_worth(log_D, log_U, R_D)))
