"""The parameters that several laws share, declared once."""

from scalebayes.laws.law import Parameter

L_INF = Parameter("L_inf", r"L_\infty", "irreducible loss", unit="loss")
N_C = Parameter("N_c", "N_c", "scale of the parameter term", scale_of="N", exponent="alpha_N")
ALPHA_N = Parameter("alpha_N", r"\alpha_N", "exponent of the parameter term")
D_C = Parameter("D_c", "D_c", "scale of the data term", scale_of="D", exponent="alpha_D")
ALPHA_D = Parameter("alpha_D", r"\alpha_D", "exponent of the data term")
C_C = Parameter("C_c", "C_c", "scale of the compute term", scale_of="C", exponent="alpha_C")
ALPHA_C = Parameter("alpha_C", r"\alpha_C", "exponent of the compute term")
KAPPA = Parameter(
    "kappa", r"\kappa", "coupling of the terms: 1 adds them, towards 0 the larger one dominates"
)
ALPHA_ND = Parameter("alpha_ND", r"\alpha", "exponent of both terms")
L_DROP = Parameter(
    "L_drop",
    r"\Delta L",
    "loss of an untrained model minus the irreducible loss",
    unit="loss",
)
