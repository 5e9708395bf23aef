"""Laws of routed models, L(N, E): N parameters active for each token, and E experts."""

from __future__ import annotations

import numpy as np

from scalebayes.laws import coordinates
from scalebayes.laws.law import Numeric, Parameter, law
from scalebayes.laws.parameters import ALPHA_N
from scalebayes.laws.rescaling import Units

N_REFERENCE = 1e9
"""Parameters at which the loss and the exponent of the experts are stated."""
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
