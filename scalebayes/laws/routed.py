"""Laws of routed models: N parameters active for each token, D tokens, and E experts.

E is the number of experts over the number that one token passes through; 1 is a dense model.
"""

from __future__ import annotations

import numpy as np

from scalebayes.laws import coordinates
from scalebayes.laws.law import Numeric, Parameter, law
from scalebayes.laws.parameters import ALPHA_D, ALPHA_N, D_C, L_INF, N_C
from scalebayes.laws.rescaling import Units, rescale_by_declaration
from scalebayes.laws.terms import log_power

N_REFERENCE = 1e9
"""Parameters at which the loss and the exponent of the experts are stated."""
D_REFERENCE = 2e10
"""Tokens at which `mixture_of_experts` states the exponent of the experts in the data term."""
LN_10 = float(np.log(10.0))
MAX_LOG_CUTOFF = 690.0
"""Largest log of the cutoff N that is returned: exp(690) is about 1e300 and does not overflow."""

L_0 = Parameter(
    "L_0",
    "L_0",
    "loss of 1B parameters without routing at Eh = 1",
    unit="loss",
    at_reference=True,
)
ALPHA_E = Parameter(
    "alpha_E", r"\alpha_E", "exponent of the experts at 1B parameters", at_reference=True
)
GAMMA = Parameter(
    "gamma", r"\gamma", "decrease of either exponent for each e-fold of the other input"
)
E_START = Parameter("E_start", r"E_{start}", "effective number of experts of a single expert")
E_MAX = Parameter("E_max", r"E_{max}", "upper limit of the effective number of experts")


def log_saturated(E: Numeric, E_start: Numeric, E_max: Numeric) -> Numeric:
    """Return the log of Eh, the effective number of experts.

    1/Eh = 1/(E - 1 + 1/(1/E_start - 1/E_max)) + 1/E_max, which gives E_start at one expert and
    approaches E_max as E grows.
    """
    room = E_max - E_start
    return -np.log(room / ((E - 1) * room + E_start * E_max) + 1 / E_max)


def from_clark(
    *, a: float, b: float, c: float, d: float, E_start: float, E_max: float
) -> dict[str, float]:
    """Return this law's parameters from Clark's.

    Clark's law is log10 L = a log10 N + b log10 Eh + c log10 N log10 Eh + d.
    """
    decades = float(np.log10(N_REFERENCE))
    return {
        "L_0": 10 ** (d + a * decades),
        "alpha_N": -a,
        "alpha_E": -(b + c * decades),
        "gamma": c / LN_10,
        "E_start": E_start,
        "E_max": E_max,
    }


def clark_constants(
    *, L_0: Numeric, alpha_N: Numeric, alpha_E: Numeric, gamma: Numeric
) -> dict[str, Numeric]:
    """Return Clark's b, c and d, and N_cutoff = 10^(-b/c), beyond which experts do not help."""
    log_reference = np.log(N_REFERENCE)
    log_cutoff = log_reference + alpha_E / gamma
    return {
        "b": -(alpha_E + gamma * log_reference),
        "c": gamma * LN_10,
        "d": (np.log(L_0) + alpha_N * log_reference) / LN_10,
        "N_cutoff": np.exp(np.minimum(log_cutoff, MAX_LOG_CUTOFF)),
    }


def _rescale_routed(
    units: Units,
    *,
    L_0: Numeric,
    alpha_N: Numeric,
    alpha_E: Numeric,
    gamma: Numeric,
    E_start: Numeric,
    E_max: Numeric,
) -> dict[str, Numeric]:
    """Return the parameters of `routed` in other units: the reference N is a constant.

    With N = c N', log(N/1e9) = log(N'/1e9) + log c, which adds to the coefficients of the constant
    and of e. So alpha_E at 1B parameters may be negative although it is positive among the runs.
    """
    log_c = units.log_inputs["N"]
    return {
        "L_0": np.exp(np.log(L_0) + units.log_response + alpha_N * log_c),
        "alpha_N": alpha_N,
        "alpha_E": alpha_E + gamma * log_c,
        "gamma": gamma,
        "E_start": E_start,
        "E_max": E_max,
    }


@law(
    title="Powers of size and experts that interact (Clark et al. 2022)",
    parameters=(L_0, ALPHA_N, ALPHA_E, GAMMA, E_START, E_MAX),
    latex=r"L_0\,(10^9/N)^{\alpha_N} \hat{E}^{-\alpha_E + \gamma \log(N/10^9)},\;"
    r" 1/\hat{E} = 1/(E - 1 + (1/E_{start} - 1/E_{max})^{-1}) + 1/E_{max}",
    references=("clark2022",),
    coordinates=coordinates.interaction(
        "E",
        "L_0",
        log_saturated,
        N_REFERENCE,
        {"E_start": coordinates.Extra(1.8, 0.4), "E_max": coordinates.Extra(300.0, 0.6)},
    ),
    derived=(clark_constants,),
    notations=(from_clark,),
    reference={"N": N_REFERENCE},
    own_rescale=_rescale_routed,
    may_rise=("E",),
)
def routed(
    N: Numeric,
    E: Numeric,
    *,
    L_0: Numeric,
    alpha_N: Numeric,
    alpha_E: Numeric,
    gamma: Numeric,
    E_start: Numeric,
    E_max: Numeric,
) -> Numeric:
    """L = L_0 exp(-alpha_N n - alpha_E e + gamma n e), n = log(N/1e9), e = log Eh.

    Eh, the effective number of experts, saturates in E. This is the paper's bilinear law
    log10 L = a log10 N + b log10 Eh + c log10 N log10 Eh + d, centred at 1B parameters because its
    b is the exponent of the experts at N = 1. N counts the parameters active for one token; D is
    the same in all runs. Experts help while gamma n < alpha_E; at larger N the law says that they
    harm, and should not be used.
    """
    n = np.log(N) - np.log(N_REFERENCE)
    e = log_saturated(E, E_start, E_max)
    return np.exp(np.log(L_0) - alpha_N * n - alpha_E * e + gamma * n * e)


ALPHA_EN = Parameter(
    "alpha_EN",
    r"\alpha_{EN}",
    "exponent of the experts in the parameter term, at 1B parameters",
    at_reference=True,
)
GAMMA_N = Parameter("gamma_N", r"\gamma_N", "decrease of alpha_EN for each e-fold of parameters")
ALPHA_ED = Parameter(
    "alpha_ED",
    r"\alpha_{ED}",
    "exponent of the experts in the data term, at 20B tokens",
    at_reference=True,
)
GAMMA_D = Parameter("gamma_D", r"\gamma_D", "increase of alpha_ED for each e-fold of tokens")
EXPERT_TERMS = {
    "N": coordinates.ExpertTerm("alpha_EN", "gamma_N", 1, N_REFERENCE),
    "D": coordinates.ExpertTerm("alpha_ED", "gamma_D", -1, D_REFERENCE),
}


def from_ludziejewski(
    *,
    a: float,
    alpha: float,
    delta: float,
    gamma: float,
    b: float,
    beta: float,
    omega: float,
    zeta: float,
    c: float,
    E_start: float,
    E_max: float,
) -> dict[str, float]:
    """Return this law's parameters from the paper's.

    The paper's law is L = a Eh^delta N^(alpha + gamma ln Eh) + b Eh^omega D^(beta + zeta ln Eh) + c
    with negative alpha and beta.
    """
    return {
        "L_inf": c,
        "N_c": a ** (-1 / alpha),
        "alpha_N": -alpha,
        "alpha_EN": -(delta + gamma * float(np.log(N_REFERENCE))),
        "gamma_N": gamma,
        "D_c": b ** (-1 / beta),
        "alpha_D": -beta,
        "alpha_ED": -(omega + zeta * float(np.log(D_REFERENCE))),
        "gamma_D": -zeta,
        "E_start": E_start,
        "E_max": E_max,
    }


def ludziejewski_exponents(
    *, alpha_EN: Numeric, gamma_N: Numeric, alpha_ED: Numeric, gamma_D: Numeric
) -> dict[str, Numeric]:
    """Return the paper's delta and omega, and where experts stop and begin to help.

    In the parameter term experts help below N_cutoff active parameters, and in the data term above
    D_onset tokens.
    """
    log_N = np.log(N_REFERENCE)
    log_D = np.log(D_REFERENCE)
    log_cutoff = log_N + alpha_EN / gamma_N
    log_onset = log_D - alpha_ED / gamma_D
    return {
        "delta": -alpha_EN - gamma_N * log_N,
        "omega": -alpha_ED + gamma_D * log_D,
        "N_cutoff": np.exp(np.minimum(log_cutoff, MAX_LOG_CUTOFF)),
        "D_onset": np.exp(log_onset),
    }


def _rescale_experts(units: Units, **parameters: Numeric) -> dict[str, Numeric]:
    """Return the parameters of `mixture_of_experts` in other units: the references are constants.

    With N = c N', log(N/1e9) = log(N'/1e9) + log c, which adds gamma_N log c to alpha_EN; the same
    for D, with the other sign.
    """
    rescaled = rescale_by_declaration(mixture_of_experts.parameters, parameters, units)
    shift_N = parameters["gamma_N"] * units.log_inputs["N"]
    shift_D = parameters["gamma_D"] * units.log_inputs["D"]
    rescaled["alpha_EN"] = parameters["alpha_EN"] + shift_N
    rescaled["alpha_ED"] = parameters["alpha_ED"] - shift_D
    return rescaled


@law(
    title="Additive terms that experts change (Ludziejewski et al. 2025)",
    parameters=(
        L_INF,
        N_C,
        ALPHA_N,
        ALPHA_EN,
        GAMMA_N,
        D_C,
        ALPHA_D,
        ALPHA_ED,
        GAMMA_D,
        E_START,
        E_MAX,
    ),
    latex=r"L_\infty + (N_c/N)^{\alpha_N} \hat{E}^{-\alpha_{EN} + \gamma_N \log(N/10^9)}"
    r" + (D_c/D)^{\alpha_D} \hat{E}^{-\alpha_{ED} - \gamma_D \log(D/(2\cdot 10^{10}))},\;"
    r" 1/\hat{E} = 1/(E - 1 + (1/E_{start} - 1/E_{max})^{-1}) + 1/E_{max}",
    references=("ludziejewski2025", "clark2022"),
    coordinates=coordinates.with_experts(
        EXPERT_TERMS,
        {
            "alpha_EN": coordinates.Extra(0.04, 0.5),
            "gamma_N": coordinates.Extra(0.01, 0.5),
            "alpha_ED": coordinates.Extra(0.05, 0.5),
            "gamma_D": coordinates.Extra(0.02, 0.5),
            "E_start": coordinates.Extra(2.0, 0.3),
            "E_max": coordinates.Extra(300.0, 0.6),
        },
        log_saturated,
        ("E_start", "E_max"),
    ),
    derived=(ludziejewski_exponents,),
    notations=(from_ludziejewski,),
    reference={"N": N_REFERENCE, "D": D_REFERENCE},
    own_rescale=_rescale_experts,
    may_rise=("E",),
)
def mixture_of_experts(
    N: Numeric,
    D: Numeric,
    E: Numeric,
    *,
    L_inf: Numeric,
    N_c: Numeric,
    alpha_N: Numeric,
    alpha_EN: Numeric,
    gamma_N: Numeric,
    D_c: Numeric,
    alpha_D: Numeric,
    alpha_ED: Numeric,
    gamma_D: Numeric,
    E_start: Numeric,
    E_max: Numeric,
) -> Numeric:
    """L = L_inf + n Eh^(-alpha_EN + gamma_N log(N/1e9)) + d Eh^(-alpha_ED - gamma_D log(D/2e10)).

    n = (N_c/N)^alpha_N, d = (D_c/D)^alpha_D and e = log Eh, the log of the effective number of
    experts, which saturates in E as in `routed`. N counts the parameters active for one token, so
    that training costs 6 N D FLOP. This is the paper's law, with the exponents of the experts
    stated at 1B parameters and 20B tokens in place of one of each.

    All parameters are positive: experts help less in larger models (gamma_N) and more with more
    data (gamma_D), as the paper finds. The loss falls with N while gamma_N e < alpha_N. It may rise
    with E in models beyond N_cutoff or trained on less than D_onset.
    """
    e = log_saturated(E, E_start, E_max)
    log_n = log_power(N, N_c, alpha_N)
    log_d = log_power(D, D_c, alpha_D)
    gain_N = (alpha_EN - gamma_N * (np.log(N) - np.log(N_REFERENCE))) * e
    gain_D = (alpha_ED + gamma_D * (np.log(D) - np.log(D_REFERENCE))) * e
    return L_inf + np.exp(log_n - gain_N) + np.exp(log_d - gain_D)
