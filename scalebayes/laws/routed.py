"""Laws of routed models, L(N, E): N parameters that a token meets, E experts to choose from."""

from __future__ import annotations

import numpy as np

from scalebayes.laws import coordinates
from scalebayes.laws.law import Numeric, Parameter, law
from scalebayes.laws.parameters import ALPHA_N

N_REFERENCE = 1e9
"""Parameters at which the loss and the worth of experts are stated."""
LN_10 = float(np.log(10.0))


def log_saturated(E: Numeric, E_start: Numeric, E_max: Numeric) -> Numeric:
    """Log of Eh, 1/Eh = 1/(E - 1 + 1/(1/E_start - 1/E_max)) + 1/E_max: E_start at one expert, E_max at very many."""
    room = E_max - E_start
    return -np.log(room / ((E - 1) * room + E_start * E_max) + 1 / E_max)


def from_clark(
    *, a: float, b: float, c: float, d: float, E_start: float, E_max: float
) -> dict[str, float]:
    """Our parameters from those of log10 L = a log10 N + b log10 Eh + c log10 N log10 Eh + d."""
    decades = float(np.log10(N_REFERENCE))
    routed_terms = {"alpha_N": -a, "alpha_E": -(b + c * decades), "gamma": c / LN_10}
    return {"L_0": 10 ** (d + a * decades), **routed_terms, "E_start": E_start, "E_max": E_max}


def clark_constants(
    *, L_0: Numeric, alpha_N: Numeric, alpha_E: Numeric, gamma: Numeric
) -> dict[str, Numeric]:
    """Clark's b, c and d, and the N beyond which experts no longer help, 10^(-b/c)."""
    log_cutoff = np.log(N_REFERENCE) + alpha_E / gamma
    b, c = -(alpha_E + gamma * np.log(N_REFERENCE)), gamma * LN_10
    d = (np.log(L_0) + alpha_N * np.log(N_REFERENCE)) / LN_10
    return {"b": b, "c": c, "d": d, "N_cutoff": np.exp(np.minimum(log_cutoff, 690.0))}


@law(
    title="Powers of size and experts that wear each other out (Clark et al. 2022)",
    parameters=(
        Parameter(
            "L_0", "L_0", "loss of 1B parameters without routing, were Eh = 1, nats per token"
        ),
        ALPHA_N,
        Parameter("alpha_E", r"\alpha_E", "exponent of the experts at 1B parameters"),
        Parameter(
            "gamma", r"\gamma", "what either exponent loses with an e-fold of the other input"
        ),
        Parameter("E_start", r"E_{start}", "what a single expert counts for"),
        Parameter("E_max", r"E_{max}", "what no number of experts counts for more than"),
    ),
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
    """L = L_0 exp(-alpha_N n - alpha_E e + gamma n e), n = log(N/1e9), e = log Eh, which saturates in E.

    The paper's bilinear law, log10 L = a log10 N + b log10 Eh + c log10 N log10 Eh + d, centred at 1B parameters: its b
    alone is the worth of experts at one parameter. N counts what one token meets; D is the same in all runs. Experts
    help as long as gamma n < alpha_E: beyond that N more of them harm, and the law should not be asked.
    """
    n, e = np.log(N) - np.log(N_REFERENCE), log_saturated(E, E_start, E_max)
    return np.exp(np.log(L_0) - alpha_N * n - alpha_E * e + gamma * n * e)
