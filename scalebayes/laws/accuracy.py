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
"""

from __future__ import annotations

import numpy as np

from scalebayes.laws.coordinates import Coordinates, Recovered, Values, log_add
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
