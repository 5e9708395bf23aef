r"""Laws of accuracy: downstream accuracy a as a function of perplexity P = e^L, L being the loss.

A power of perplexity, (P_c/P)^alpha, is an exponential of the loss, k exp(-gamma L) with
gamma = alpha and k = P_c^alpha. The two laws differ in how this term adds to a_inf, the accuracy of
a guess:

    exponential   a = a_inf + (P_c/P)^alpha, error = (1 - a_inf) - k exp(-gamma L)
    logistic      a = a_inf + (1 - a_inf)/(1 + (P/P_c)^alpha), half way from a_inf to 1 at P = P_c

Both laws return the *odds* o = a/(1 - a), whose log is the logit. The noise is therefore on the
logit scale, where an accuracy stays between 0 and 1 and accuracy and error are treated alike. The
exponential is published; below some loss its accuracy exceeds 1, its odds are negative, and it does
not apply. The logistic has no such limit.

`bounded_score` is a law of compute: a pass rate that rises from R_0 to an asymptote A.
"""

from __future__ import annotations

import numpy as np

from scalebayes.laws.coordinates import Coordinates, Extra, Recovered, Values, log_add
from scalebayes.laws.law import Numeric, Parameter, law
from scalebayes.laws.terms import power

A_INF = Parameter("a_inf", r"a_\infty", "accuracy of a guess")
P_C = Parameter("P_c", "P_c", "scale of perplexity", scale_of="P", exponent="alpha_P")
ALPHA_P = Parameter("alpha_P", r"\alpha_P", "exponent of perplexity, gamma in the loss")
NAMES = ("log_T", "log_G_P", "logit_phi")
"""Coordinates: logs of the odds T and of their slope at the centre, and the share of a_inf."""


def _log_shares(logit: Numeric) -> tuple[Numeric, Numeric]:
    """Return the logs of the share of a_inf and of the rest, given the logit of the share."""
    return -log_add(-logit, 0.0), -log_add(logit, 0.0)


def _recover_exponential(z: Values, centre: Values) -> Recovered:
    """Return the logs of the parameters and of the determinant, for the exponential law.

    At the centre a = T/(1 + T), a_inf = a phi, u = a (1 - phi) and alpha = G/((1 + T)^2 u). The
    determinant is 1/(1 + T).
    """
    log_phi, log_rest = _log_shares(z["logit_phi"])
    log_error = -log_add(z["log_T"], 0.0)
    log_u = z["log_T"] + log_error + log_rest
    log_alpha = z["log_G_P"] + 2 * log_error - log_u
    parameters = {
        "a_inf": z["log_T"] + log_error + log_phi,
        "P_c": centre["P"] + log_u * np.exp(-log_alpha),
        "alpha_P": log_alpha,
    }
    return parameters, log_error


def _recover_logistic(z: Values, centre: Values) -> Recovered:
    """Return the logs of the parameters and of the determinant, for the logistic law.

    The odds are o + (1 + o) u with o = T phi the odds of a_inf, so that a_inf = o/(1 + o) and
    alpha = G/(T - o). The determinant is 1/(1 + o).
    """
    log_phi, log_rest = _log_shares(z["logit_phi"])
    log_o = z["log_T"] + log_phi
    log_error = -log_add(log_o, 0.0)
    log_alpha = z["log_G_P"] - z["log_T"] - log_rest
    log_u = z["log_T"] + log_rest + log_error
    parameters = {
        "a_inf": log_o + log_error,
        "P_c": centre["P"] + log_u * np.exp(-log_alpha),
        "alpha_P": log_alpha,
    }
    return parameters, log_error


def gadre_error(*, a_inf: Numeric, P_c: Numeric, alpha_P: Numeric) -> dict[str, Numeric]:
    """Return the constants of error = epsilon - k exp(-gamma L), and the loss of zero error.

    Below that loss, L_perfect, the law gives a negative error.
    """
    log_k = alpha_P * np.log(P_c)
    epsilon = 1.0 - a_inf
    return {
        "epsilon": epsilon,
        "k": np.exp(log_k),
        "L_perfect": (log_k - np.log(epsilon)) / alpha_P,
    }


def from_gadre_error(*, epsilon: float, k: float, gamma: float) -> dict[str, float]:
    """Return this law's parameters from the constants of error = epsilon - k exp(-gamma L)."""
    return {"a_inf": 1.0 - epsilon, "P_c": k ** (1 / gamma), "alpha_P": gamma}


def halfway(*, P_c: Numeric) -> dict[str, Numeric]:
    """Return the loss at which the accuracy is half way from a_inf to 1."""
    return {"L_half": np.log(P_c)}


@law(
    title="Accuracy as an exponential of the loss (Gadre et al. 2024)",
    parameters=(A_INF, P_C, ALPHA_P),
    latex=r"a/(1 - a),\; a = a_\infty + (P_c/P)^{\alpha_P},\; P = e^{loss}",
    references=("gadre2024",),
    coordinates=Coordinates(NAMES, _recover_exponential),
    derived=(gadre_error,),
    notations=(from_gadre_error,),
    response="odds",
)
def accuracy_exponential(P: Numeric, *, a_inf: Numeric, P_c: Numeric, alpha_P: Numeric) -> Numeric:
    """Odds a/(1 - a) of a = a_inf + (P_c/P)^alpha_P; negative where a exceeds 1."""
    a = a_inf + power(P, P_c, alpha_P)
    return a / (1.0 - a)


@law(
    title="Accuracy as a logistic of the loss",
    parameters=(A_INF, P_C, ALPHA_P),
    latex=r"a/(1 - a),\; a = a_\infty + (1 - a_\infty)/(1 + (P/P_c)^{\alpha_P}),\; P = e^{loss}",
    references=("gadre2024", "dubey2024"),
    coordinates=Coordinates(NAMES, _recover_logistic),
    derived=(halfway,),
    response="odds",
)
def accuracy_logistic(P: Numeric, *, a_inf: Numeric, P_c: Numeric, alpha_P: Numeric) -> Numeric:
    """Odds a/(1 - a) = (a_inf + (P_c/P)^alpha_P)/(1 - a_inf), a logistic of the loss."""
    return (a_inf + power(P, P_c, alpha_P)) / (1.0 - a_inf)


R_0 = Parameter("R_0", "R_0", "pass rate before training")
GAIN = Parameter("gain", "g", "share of the failures that training removes in the end")
C_MID = Parameter("C_mid", "C_{mid}", "compute of half the gain", scale_of="C", exponent="B")
B = Parameter("B", "B", "exponent of compute: how steeply the pass rate rises")


def _recover_score(z: Values, centre: Values) -> Recovered:
    """Return the logs of the parameters and of the determinant, for `bounded_score`.

    At the centre the odds are T and the pass rate is a = T/(1 + T). R_0 = a phi, and the share of
    the failures that training has removed by then is w = (a - R_0)/(1 - R_0). Training removes
    gain = w + (1 - w) tau in the end, where ``top`` is the logit of tau. Then s = w/gain, and
    B = (da/dlog C)/((1 - R_0) w (1 - s)), where da/dlog C = G/(1 + T)^2. The determinant is
    (1 - a) (1 - tau).
    """
    log_a, log_failures = _log_shares(z["log_T"])
    log_phi, log_rest = _log_shares(z["logit_phi"])
    log_tau, log_not_tau = _log_shares(z["top"])
    log_first_failures = log_add(log_failures, log_a + log_rest)  # 1 - R_0 = 1 - a + a (1 - phi)
    log_w = log_a + log_rest - log_first_failures
    log_left = log_failures - log_first_failures + log_tau  # (1 - w) tau
    log_gain = log_add(log_w, log_left)
    log_slope = z["log_G_C"] + 2 * log_failures
    # 1 - s = (1 - w) tau / gain
    log_B = log_slope - log_first_failures - log_w - (log_left - log_gain)
    log_odds_of_s = log_left - log_w  # (C_mid/C)^B at the centre
    parameters = {
        "R_0": log_a + log_phi,
        "gain": log_gain,
        "C_mid": centre["C"] + log_odds_of_s * np.exp(-log_B),
        "B": log_B,
    }
    return parameters, log_failures + log_not_tau


def from_khatri(*, R_0: float, A: float, C_mid: float, B: float) -> dict[str, float]:
    """Return this law's parameters from the paper's: A is the asymptotic pass rate."""
    return {"R_0": R_0, "gain": (A - R_0) / (1.0 - R_0), "C_mid": C_mid, "B": B}


def asymptote(*, R_0: Numeric, gain: Numeric) -> dict[str, Numeric]:
    """Return A, the pass rate that no compute exceeds."""
    return {"A": R_0 + (1.0 - R_0) * gain}


@law(
    title="Pass rate as a sigmoid of compute (Khatri et al. 2025)",
    parameters=(R_0, GAIN, C_MID, B),
    latex=r"R/(1 - R),\; R = R_0 + (A - R_0)/(1 + (C_{mid}/C)^{B}),\; A = R_0 + (1 - R_0) g",
    references=("khatri2025",),
    coordinates=Coordinates(
        ("log_T", "log_G_C", "logit_phi", "top"),
        _recover_score,
        {"top": Extra(-1.0, 0.7)},
        rises=True,
    ),
    derived=(asymptote,),
    notations=(from_khatri,),
    response="odds",
)
def bounded_score(
    C: Numeric, *, R_0: Numeric, gain: Numeric, C_mid: Numeric, B: Numeric
) -> Numeric:
    """Odds R/(1 - R) of R = R_0 + (A - R_0)/(1 + (C_mid/C)^B), A = R_0 + (1 - R_0) gain."""
    share = 1.0 / (1.0 + power(C, C_mid, B))
    failures = (1.0 - R_0) * (1.0 - gain * share)
    return (1.0 - failures) / failures
