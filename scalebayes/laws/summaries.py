"""What papers and summaries derive from Kaplan's law of N and D: formulas to compare with, not laws that one fits."""

from __future__ import annotations

from scalebayes.laws.joint import kaplan
from scalebayes.laws.law import Numeric
from scalebayes.laws.single import size

OVERFITTING_EXPONENT = 0.38
"""Of the secondary form below."""


def overfitting(
    N: Numeric, D: Numeric, *, N_c: Numeric, alpha_N: Numeric, D_c: Numeric, alpha_D: Numeric
) -> Numeric:
    """delta_L = L(N, D)/L(N, inf) - 1 = (1 + (N/N_c)^(alpha_N/alpha_D) D_c/D)^alpha_D - 1.

    A quantity derived from Kaplan's coupled law (Kaplan et al. 2020, arXiv:2001.08361, section 4): the share that
    limited data add to the loss.
    """
    values = {"N_c": N_c, "alpha_N": alpha_N}
    return (
        kaplan.function(N, D, **values, D_c=D_c, alpha_D=alpha_D) / size.function(N, **values) - 1.0
    )


def secondary_form(N: Numeric, D: Numeric, *, N_c: Numeric, alpha_N: Numeric) -> Numeric:
    """L = L(N, inf) + (N/D)^0.38 with L(N, inf) = (N_c/N)^alpha_N: a form of summaries, printed in no paper.

    It says that what limited data cost depends on N/D alone. In Kaplan's law that holds of N^0.74/D, so the two part as
    N grows.
    """
    return size.function(N, N_c=N_c, alpha_N=alpha_N) + (N / D) ** OVERFITTING_EXPONENT
