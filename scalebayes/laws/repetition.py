r"""Laws of training on repeated data, L(N, D, U): D tokens are drawn from U unique ones.

A repeated token is worth less than a new one. With R = D/U - 1 repetitions, D tokens are worth

    D' = U + U R_D (1 - exp(-R/R_D))

unique tokens. The first repetitions count almost in full, R_D repetitions count as (1 - 1/e) R_D,
and all repetitions together never count for more than U R_D tokens. Parameters in excess of the
compute-optimal number for U tokens are discounted in the same way.

The second law, `data_limited`, has a term of overfitting instead. That term falls with the unique
tokens, rises with N, and does not depend on the number of epochs.
"""

from __future__ import annotations

import numpy as np

from scalebayes.laws import coordinates
from scalebayes.laws.law import Numeric, Parameter, law
from scalebayes.laws.parameters import ALPHA_D, ALPHA_N, D_C, L_DROP, L_INF, N_C
from scalebayes.laws.rescaling import Units, rescale_by_declaration
from scalebayes.laws.terms import log_power

R_D = Parameter(
    "R_D", "R_D", "repetitions of the data after which one more is worth 1/e of the first"
)
R_N = Parameter(
    "R_N", "R_N", "decay constant of parameters in excess of the optimum for the unique tokens"
)

UNIQUE_REFERENCE = 1e10
"""Unique tokens at which `parameters_filled` states the optimal parameters per token."""
N_REFERENCE = 1e9
"""Parameters at which `data_limited` states the scale of overfitting."""
MAX_LOG_SIZE = 690.0
"""Largest log of a size that is returned: exp(690) is about 1e300 and does not overflow."""


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


U_C = Parameter(
    "U_c",
    "U_c",
    "scale of the overfitting term, at 1B parameters",
    scale_of="U",
    exponent="alpha_U",
    at_reference=True,
)
ALPHA_U = Parameter("alpha_U", r"\alpha_U", "exponent of the unique tokens in the overfitting term")
GAMMA = Parameter("gamma", r"\gamma", "exponent with which overfitting grows with parameters")


def from_bryant(
    *,
    E: float,
    L_0: float,
    a: float,
    alpha: float,
    b: float,
    beta: float,
    c: float,
    gamma: float,
    delta: float,
) -> dict[str, float]:
    """Return this law's parameters from the paper's.

    The paper's law is L = E + (L_0 - E) h/(1 + h), h = a/N^alpha + b/T^beta + c N^gamma/D^delta,
    where T counts tokens seen and D unique tokens.
    """
    drop = L_0 - E
    return {
        "L_inf": E,
        "L_drop": drop,
        "N_c": (a * drop) ** (1 / alpha),
        "alpha_N": alpha,
        "D_c": (b * drop) ** (1 / beta),
        "alpha_D": beta,
        "U_c": (c * drop * N_REFERENCE**gamma) ** (1 / delta),
        "alpha_U": delta,
        "gamma": gamma,
    }


def where_it_rises(
    *, N_c: Numeric, alpha_N: Numeric, U_c: Numeric, alpha_U: Numeric, gamma: Numeric
) -> dict[str, Numeric]:
    """Return N_rise, the parameters beyond which the loss rises with N at 10B unique tokens.

    There gamma o = alpha_N n, so N^(alpha_N + gamma) is proportional to U^alpha_U.
    """
    log_ratio = np.log(alpha_N) - np.log(gamma)
    log_n_at_one = alpha_N * np.log(N_c)
    log_o_at_one = log_power(UNIQUE_REFERENCE, U_c, alpha_U) - gamma * np.log(N_REFERENCE)
    log_rise = (log_ratio + log_n_at_one - log_o_at_one) / (alpha_N + gamma)
    return {"N_rise": np.exp(np.minimum(log_rise, MAX_LOG_SIZE))}


def untrained_loss(*, L_inf: Numeric, L_drop: Numeric) -> dict[str, Numeric]:
    """Return L_0, the loss of an untrained model."""
    return {"L_0": L_inf + L_drop}


def _rescale_limited(units: Units, **parameters: Numeric) -> dict[str, Numeric]:
    """Return the parameters of `data_limited` in other units: the reference N is a constant.

    With N = c N' the factor (N/1e9)^gamma becomes c^gamma (N'/1e9)^gamma, which U_c absorbs.
    """
    rescaled = rescale_by_declaration(data_limited.parameters, parameters, units)
    shift = parameters["gamma"] * units.log_inputs["N"] / parameters["alpha_U"]
    rescaled["U_c"] = np.exp(np.log(rescaled["U_c"]) - shift)
    return rescaled


@law(
    title="Bounded loss with overfitting on limited data (Bryant and Liu 2026)",
    parameters=(L_INF, L_DROP, N_C, ALPHA_N, D_C, ALPHA_D, U_C, ALPHA_U, GAMMA),
    latex=r"L_\infty + u/(1 + u/\Delta L),\;"
    r" u = (N_c/N)^{\alpha_N} + (D_c/D)^{\alpha_D} + (U_c/\min(U, D))^{\alpha_U} (N/10^9)^{\gamma}",
    references=("bryant2026",),
    coordinates=coordinates.overfitting(N_REFERENCE),
    derived=(untrained_loss, where_it_rises),
    notations=(from_bryant,),
    reference={"N": N_REFERENCE},
    own_rescale=_rescale_limited,
    may_rise=("N",),
)
def data_limited(
    N: Numeric,
    D: Numeric,
    U: Numeric,
    *,
    L_inf: Numeric,
    L_drop: Numeric,
    N_c: Numeric,
    alpha_N: Numeric,
    D_c: Numeric,
    alpha_D: Numeric,
    U_c: Numeric,
    alpha_U: Numeric,
    gamma: Numeric,
) -> Numeric:
    """L = L_inf + u/(1 + u/L_drop), u = n + d + (U_c/U')^alpha_U (N/1e9)^gamma.

    n = (N_c/N)^alpha_N and d = (D_c/D)^alpha_D. D counts all tokens that are seen, and
    U' = min(U, D) the unique ones among them: tokens that are not read do not matter. The paper's h
    is u/L_drop; with terms in units of the loss, n and d are those of the additive law, which is
    the limit of unlimited tokens and L_drop.

    The loss falls with D and with U. It rises with N where gamma times the overfitting term exceeds
    alpha_N n: in models beyond N_rise, which grows with U. At fixed D more epochs are fewer unique
    tokens, so the loss rises with them; at fixed U they are more tokens, so it falls.
    """
    log_N, log_D, log_all_U = np.log(N), np.log(D), np.log(U)
    log_U = (log_all_U + log_D - abs(log_all_U - log_D)) / 2  # of min(U, D)
    log_n = alpha_N * (np.log(N_c) - log_N)
    log_d = alpha_D * (np.log(D_c) - log_D)
    log_over = alpha_U * (np.log(U_c) - log_U) + gamma * (log_N - np.log(N_REFERENCE))
    u = np.exp(log_n) + np.exp(log_d) + np.exp(log_over)
    return L_inf + u / (1.0 + u / L_drop)
