r"""Laws of accuracy, the stage from loss to what is measured downstream: accuracy a of perplexity P = e^L.

A power of perplexity, (P_c/P)^alpha, is an exponential of the loss, k exp(-gamma L) with gamma = alpha and
k = P_c^alpha. Both laws say how much of it is added to the accuracy of a model that knows nothing, a_inf:

    exponential   a = a_inf + (P_c/P)^alpha                             error = (1 - a_inf) - k exp(-gamma L)
    logistic      a = a_inf + (1 - a_inf) / (1 + (P/P_c)^alpha)         half way from a_inf to 1 at P = P_c

A law gives the *odds* o = a/(1 - a), whose log is the logit: so runs scatter on the logit scale, where an accuracy
stays between 0 and 1 and what is said of it holds of the error too. The exponential is published; below some loss it
passes an accuracy of 1, where its odds are negative and it says nothing. The logistic has no such place.
"""

from __future__ import annotations

import numpy as np

from scalebayes.laws.coordinates import Coordinates, Recovered, Values, log_add
from scalebayes.laws.law import Numeric, Parameter, law

A_INF = Parameter("a_inf", r"a_\infty", "accuracy of a model that knows nothing")
P_C = Parameter("P_c", "P_c", "scale of perplexity", scale_of="P", exponent="alpha_P")
ALPHA_P = Parameter("alpha_P", r"\alpha_P", "exponent of perplexity, gamma in the loss")
NAMES = ("log_T", "log_G_P", "logit_phi")


def _shares(logit: Numeric) -> tuple[Numeric, Numeric]:
    """Log of the floor's share and of the rest."""
    return -log_add(-logit, 0.0), -log_add(logit, 0.0)


def _recover_exponential(z: Values, centre: Values) -> Recovered:
    """A = T/(1 + T) at the centre, a_inf = a phi, u = a (1 - phi), alpha = G/((1 + T)^2 u); determinant 1/(1 + T)."""
    log_phi, log_rest = _shares(z["logit_phi"])
    log_wrong = -log_add(z["log_T"], 0.0)
    log_u = z["log_T"] + log_wrong + log_rest
    log_alpha = z["log_G_P"] + 2 * log_wrong - log_u
    scale = centre["P"] + log_u * np.exp(-log_alpha)
    return {
        "a_inf": z["log_T"] + log_wrong + log_phi,
        "P_c": scale,
        "alpha_P": log_alpha,
    }, log_wrong


def _recover_logistic(z: Values, centre: Values) -> Recovered:
    """The odds are o + (1 + o) u: o = T phi, a_inf = o/(1 + o), alpha = G/(T - o); determinant 1/(1 + o)."""
    log_phi, log_rest = _shares(z["logit_phi"])
    log_o = z["log_T"] + log_phi
    log_wrong = -log_add(log_o, 0.0)
    log_alpha = z["log_G_P"] - z["log_T"] - log_rest
    scale = centre["P"] + (z["log_T"] + log_rest + log_wrong) * np.exp(-log_alpha)
    return {"a_inf": log_o + log_wrong, "P_c": scale, "alpha_P": log_alpha}, log_wrong


def gadre_error(*, a_inf: Numeric, P_c: Numeric, alpha_P: Numeric) -> dict[str, Numeric]:
    """Gadre's constants of error = epsilon - k exp(-gamma L), and the loss below which that error is negative."""
    log_k = alpha_P * np.log(P_c)
    return {
        "epsilon": 1.0 - a_inf,
        "k": np.exp(log_k),
        "L_perfect": (log_k - np.log(1.0 - a_inf)) / alpha_P,
    }


def from_gadre_error(*, epsilon: float, k: float, gamma: float) -> dict[str, float]:
    """Our parameters from those of error = epsilon - k exp(-gamma L)."""
    return {"a_inf": 1.0 - epsilon, "P_c": k ** (1 / gamma), "alpha_P": gamma}


def halfway(*, P_c: Numeric) -> dict[str, Numeric]:
    """Loss at which the accuracy is half way from that of a model that knows nothing to 1."""
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
    """Odds a/(1 - a) of a = a_inf + (P_c/P)^alpha_P; negative where a passes 1."""
    a = a_inf + np.exp(alpha_P * (np.log(P_c) - np.log(P)))
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
    """Odds a/(1 - a) = (a_inf + (P_c/P)^alpha_P)/(1 - a_inf): a logistic of the loss from a_inf up to 1."""
    return (a_inf + np.exp(alpha_P * (np.log(P_c) - np.log(P)))) / (1.0 - a_inf)
