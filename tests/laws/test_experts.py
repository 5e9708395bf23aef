"""The law of mixtures of experts: the paper's formula, its rule of thumb, and nested laws."""

import numpy as np
import pytest
from hypothesis import given

import scalebayes as sb
from scalebayes.laws import LAWS
from tests.laws.test_laws import few, inputs_of, parameters_of

LAW = LAWS["mixture-of-experts"]
PAPER = sb.read_model("mixture-of-experts").published[0].values
VALUES = LAW.from_notation(PAPER)


@few
@given(inputs_of(LAW))
def test_it_is_the_papers_formula(x):
    """L = a Eh^delta N^(alpha + gamma ln Eh) + b Eh^omega D^(beta + zeta ln Eh) + c."""
    p = PAPER
    inverse = 1 / (x["E"] - 1 + 1 / (1 / p["E_start"] - 1 / p["E_max"])) + 1 / p["E_max"]
    Eh = 1 / inverse
    e = np.log(Eh)
    size = p["a"] * Eh ** p["delta"] * x["N"] ** (p["alpha"] + p["gamma"] * e)
    data = p["b"] * Eh ** p["omega"] * x["D"] ** (p["beta"] + p["zeta"] * e)
    assert LAW(x["N"], x["D"], x["E"], **VALUES) == pytest.approx(size + data + p["c"], rel=1e-10)
    derived = LAW.derive(VALUES)
    assert derived["delta"] == pytest.approx(p["delta"])
    assert derived["omega"] == pytest.approx(p["omega"])


@pytest.mark.parametrize("E", [2, 4, 8])
@pytest.mark.parametrize("N", [2e8, 1e9, 1e10])
def test_the_papers_rule_of_thumb(N, E):
    """With as many parameters in all and E times the tokens, up to eight experts beat one.

    Two thirds of the parameters of a dense model are taken to be in the layers with experts.
    """

    def of_equal_total(E):
        active = N / (1 / 3 + 2 / 3 * E)
        return LAW(active, 20 * N * E, E, **VALUES)

    dense = LAW(N, 20 * N, 1, **VALUES)
    assert of_equal_total(E) < dense


@few
@given(parameters_of(LAW), inputs_of(LAW))
def test_experts_without_effect_leave_chinchillas_law(values, x):
    none = dict.fromkeys(("alpha_EN", "gamma_N", "alpha_ED", "gamma_D"), 0.0)
    additive = {name: values[name] for name in LAWS["additive"].parameter_names}
    assert LAW.evaluate(x, {**values, **none}) == pytest.approx(
        LAWS["additive"](x["N"], x["D"], **additive), rel=1e-10
    )


def test_experts_help_below_the_cutoff_and_above_the_onset():
    derived = LAW.derive(VALUES)
    cutoff, onset = derived["N_cutoff"], derived["D_onset"]
    assert cutoff == pytest.approx(1.3e10, rel=0.05)
    assert onset == pytest.approx(1.9e9, rel=0.05)
    few_experts, many_experts = 2.0, 64.0
    helped = (cutoff / 10, onset * 10)
    harmed = (cutoff * 10, onset / 10)
    assert LAW(*helped, many_experts, **VALUES) < LAW(*helped, few_experts, **VALUES)
    assert LAW(*harmed, many_experts, **VALUES) > LAW(*harmed, few_experts, **VALUES)
