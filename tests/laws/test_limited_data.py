"""The law of overfitting on limited data: the paper's formula, its limits, and where it rises."""

import numpy as np
import pytest
from hypothesis import given

import scalebayes as sb
from scalebayes.laws import LAWS
from tests.laws.test_laws import few, inputs_of, log_uniform, parameters_of

LAW = LAWS["data-limited"]
PAPERS = {"E": 1.9, "L_0": 10.8, "a": 60.0, "alpha": 0.35, "b": 200.0, "beta": 0.4}
PAPERS |= {"c": 0.02, "gamma": 0.4, "delta": 0.5}
"""Round values in the paper's notation; its own constants were not at hand."""
VALUES = LAW.from_notation(PAPERS)


@few
@given(inputs_of(LAW))
def test_it_is_the_papers_formula(x):
    """L = E + (L_0 - E) h/(1 + h), h = a/N^alpha + b/T^beta + c N^gamma/D^delta."""
    p = PAPERS
    h = p["a"] / x["N"] ** p["alpha"] + p["b"] / x["D"] ** p["beta"]
    h += p["c"] * x["N"] ** p["gamma"] / min(x["U"], x["D"]) ** p["delta"]
    printed = p["E"] + (p["L_0"] - p["E"]) * h / (1 + h)
    assert LAW.evaluate(x, VALUES) == pytest.approx(printed, rel=1e-10)
    assert LAW.derive(VALUES)["L_0"] == pytest.approx(p["L_0"])


@few
@given(parameters_of(LAW), inputs_of(LAW))
def test_the_loss_is_below_that_of_an_untrained_model(values, x):
    assert LAW.evaluate(x, values) <= LAW.derive(values)["L_0"] * (1 + 1e-12)


@few
@given(parameters_of(LAW), inputs_of(LAW))
def test_without_bound_and_with_data_without_end_it_is_hoffmanns_law(values, x):
    additive = {name: values[name] for name in LAWS["additive"].parameter_names}
    expected = LAWS["additive"](x["N"], np.inf, **additive)
    if expected < 1e6:
        unbounded = {**values, "L_drop": 1e18, "gamma": 0.1, "alpha_U": 1.0}
        assert LAW(x["N"], np.inf, np.inf, **unbounded) == pytest.approx(expected, rel=1e-9)


def test_tokens_that_are_not_read_do_not_matter():
    once = LAW(1e9, 2e10, 2e10, **VALUES)
    assert LAW(1e9, 2e10, np.inf, **VALUES) == pytest.approx(once, rel=1e-12)


@few
@given(log_uniform(1e8, 1e11))
def test_the_loss_rises_with_n_beyond_n_rise(unique):
    """N_rise is stated at 10B unique tokens; it grows as U^(delta/(alpha + gamma))."""
    exponent = PAPERS["delta"] / (PAPERS["alpha"] + PAPERS["gamma"])
    turn = LAW.derive(VALUES)["N_rise"] * (unique / 1e10) ** exponent
    at = [LAW(turn * factor, 1e11, unique, **VALUES) for factor in (0.25, 0.5, 1, 2, 4)]
    assert (np.diff(at) < 0).tolist() == [True, True, False, False]


def test_epochs_raise_the_loss_at_equal_tokens_and_lower_it_at_equal_data():
    N, D, U = 1e9, 2e10, 2e10
    more_epochs_of_less = LAW(N, D, U / 4, **VALUES)
    more_epochs_of_the_same = LAW(N, 4 * D, U, **VALUES)
    once = LAW(N, D, U, **VALUES)
    assert more_epochs_of_less > once > more_epochs_of_the_same


@few
@given(log_uniform(1e7, 1e11), log_uniform(1e9, 1e13))
def test_one_exponent_in_chinchillas_notation(N, D):
    law = LAWS["overtraining"]
    constants = {"E": 1.869, "A": 521.0, "B": 1488.0, "alpha": 0.3526596}
    ours = law.from_notation(constants)
    alpha = constants["alpha"]
    printed = constants["E"] + constants["A"] / N**alpha + constants["B"] / D**alpha
    assert law(N, D, **ours) == pytest.approx(printed, rel=1e-10)
    assert sb.read_model("chinchilla-tied").law_object is law
