"""Units decide nothing: a column times a constant leaves the draws, and answers follow it."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scalebayes as sb
from scalebayes.errors import SpecError
from scalebayes.fitting.graph import sampler_data, structure
from scalebayes.specs.pooling import pooling_of
from scalebayes.specs.table_units import normalise, to_normalised, to_table
from tests.fixtures import runs_of_every_input

RUNS = runs_of_every_input(12, seed=4, group=np.tile(["a", "b"], 6))
FACTOR = st.floats(-6.0, 6.0).map(lambda decades: 10.0**decades)
RELATIVE = {
    "L_inf": {"at": "centre", "dist": "Beta", "alpha": 2.0, "beta": 4.0, "reason": "a share"},
    "N_c": {"at": "centre", "dist": "LogNormal", "median": 0.25, "sigma": 1.0, "reason": "term"},
    "alpha_N": {"dist": "LogNormal", "median": 0.3, "sigma": 0.5, "reason": "an exponent"},
    "D_c": {"at": "centre", "dist": "LogNormal", "median": 0.25, "sigma": 1.0, "reason": "term"},
    "alpha_D": {
        "over": "alpha_N",
        "dist": "LogNormal",
        "median": 1.0,
        "sigma": 0.35,
        "reason": "alike",
    },
}
ADDITIVE = sb.Spec(name="relative", title="Relative priors", law="additive", priors=RELATIVE)


def multiplied(runs, **factors):
    """Return the table with columns times constants; unique tokens are tokens."""
    if "D" in factors:
        factors = factors | {"U": factors["D"]}
    columns = {x: runs.table[x] * factor for x, factor in factors.items()}
    return sb.Runs(runs.table.assign(**columns), runs.name)


def data_of(runs, spec):
    normalised = normalise(runs, spec)
    return sampler_data(normalised.runs, normalised.spec)


@pytest.mark.parametrize("name", sb.list_models().index)
@settings(max_examples=5, deadline=None)
@given(N=FACTOR, D=FACTOR, C=FACTOR, S=FACTOR, loss=FACTOR)
def test_the_sampler_sees_the_same_numbers_to_the_last_bit(name, N, D, C, S, loss):
    """Laws of accuracy are functions of e to the loss: a constant is added to theirs."""
    spec = sb.read_model(name)
    for parameter in spec.law_object.parameters:
        assert spec.priors[parameter.name].is_relative == parameter.can_be_relative
    changed = multiplied(RUNS, N=N, D=D, C=C, S=S)
    losses = changed.table["loss"]
    losses = losses * loss if spec.law_object.response == "loss" else losses + np.log(loss)
    changed = sb.Runs(changed.table.assign(loss=losses), "changed")
    expected, found = data_of(RUNS, spec), data_of(changed, spec)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_the_centre_of_a_normalised_table_is_one():
    runs = normalise(RUNS, ADDITIVE).runs
    for x in ("N", "D", "loss"):
        assert np.log(getattr(runs, x)).mean() == pytest.approx(0.0, abs=1e-9)
        ratio = getattr(runs, x) / getattr(RUNS, x)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-8)


def test_draws_come_back_to_the_units_of_the_table():
    normalised = normalise(RUNS, ADDITIVE)
    prior = pooling_of(normalised.spec).prior(RUNS, 500, seed=0)
    drawn = to_table(prior, ADDITIVE, normalised.units)
    law = ADDITIVE.law_object
    parameters = {name: drawn[name].values.reshape(-1, 1) for name in law.parameter_names}
    own = {name: prior[name].values.reshape(-1, 1) for name in law.parameter_names}
    typical = np.exp(np.log(RUNS.loss).mean())
    np.testing.assert_allclose(
        law.evaluate(RUNS, parameters), typical * law.evaluate(normalised.runs, own), rtol=1e-6
    )
    back = to_normalised(drawn, ADDITIVE, normalised.units)
    np.testing.assert_allclose(back["N_c"], prior["N_c"], rtol=1e-9)
    # What the priors are stated on, by formulas of the test's own.
    N, D = (np.exp(np.log(getattr(RUNS, x)).mean()) for x in "ND")
    share = drawn["L_inf"] / typical
    assert np.quantile(share, 0.5) == pytest.approx(0.314, abs=0.03)  # of Beta(2, 4)
    for x, centre in (("N", N), ("D", D)):
        term = (drawn[f"{x}_c"] / centre) ** drawn[f"alpha_{x}"] / typical
        assert np.log(term).std() == pytest.approx(1.0, rel=0.1)
        assert np.median(term) == pytest.approx(0.25, rel=0.15)
    ratio = np.log(drawn["alpha_D"] / drawn["alpha_N"])
    assert ratio.std() == pytest.approx(0.35, rel=0.1)


def test_absolute_priors_keep_their_meaning():
    spec = sb.Spec(
        name="absolute",
        title="Priors in nats",
        law="additive",
        priors=RELATIVE
        | {
            "L_inf": {"dist": "Gamma", "alpha": 2.0, "beta": 1.2, "reason": "nats"},
            "N_c": RELATIVE["N_c"] | {"at": 1e9},
            "D_c": RELATIVE["D_c"] | {"at": 2e10},
        },
    )
    normalised = normalise(RUNS, spec)
    prior = pooling_of(normalised.spec).prior(RUNS, 2000, seed=0)
    drawn = to_table(prior, spec, normalised.units)
    assert drawn["L_inf"].mean() == pytest.approx(2.0 / 1.2, rel=0.05)
    term = (drawn["N_c"] / 1e9) ** drawn["alpha_N"]
    assert np.median(term) == pytest.approx(0.25, rel=0.1)


def test_a_sampler_serves_relative_and_absolute_priors_of_one_kind():
    absolute = ADDITIVE.model_dump()["priors"]
    for name, at in (("N_c", 1e9), ("D_c", 2e10)):
        absolute[name] = absolute[name] | {"at": at}
    spec = sb.Spec(name="absolute", title="t", law="additive", priors=absolute)
    one, other = normalise(RUNS, ADDITIVE), normalise(RUNS, spec)
    assert structure(one.spec, one.runs) == structure(other.spec, other.runs)


@pytest.mark.standard
@pytest.mark.parametrize("model", ["chinchilla", "coupled-discrepancy"])
def test_draws_and_answers_follow_a_change_of_units(model):
    factors = {"N": 1e-6, "D": 3600.0, "loss": 0.31}
    tables = (RUNS, multiplied(RUNS, **factors))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.GateWarning)
        fits = [sb.fit(runs, model, draws=200, tune=300, chains=2) for runs in tables]
    one, other = (fit.stored["posterior"].to_dataset() for fit in fits)
    for name in ("alpha_N", "alpha_D", "sigma"):
        np.testing.assert_array_equal(one[name], other[name])
    np.testing.assert_allclose(other["L_inf"], one["L_inf"] * 0.31, rtol=1e-7)
    here = sb.predict(fits[0], N=7e10, D=1.4e12)["loss"]
    there = sb.predict(fits[1], N=7e10 * 1e-6, D=1.4e12 * 3600)["loss"]
    np.testing.assert_allclose(there, here * 0.31, rtol=1e-7)
    here = sb.frontier(fits[0], C=6e21)["N"]
    there = sb.frontier(fits[1], C=6e21 * 1e-6 * 3600)["N"]
    np.testing.assert_allclose(there, here * 1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"alpha_N": {"at": "centre"}}, "alpha_N has no unit, so its prior cannot be relative"),
        ({"L_inf": {"at": None}}, "a Beta prior is of a share between 0 and 1"),
        ({"N_c": RELATIVE["L_inf"]}, "a Beta prior is of a share between 0 and 1"),
        ({"alpha_N": {"over": "alpha_D"}}, "come before alpha_N in the law: none"),
        ({"alpha_D": {"over": "alphaN"}}, r"got 'alphaN' \(did you mean 'alpha_N'\?\)"),
        ({"D_c": {"over": "alpha_N"}}, "got 'alpha_N'; allowed: parameters of its kind that come"),
        ({"L_inf": {"over": "N_c"}}, "L_inf has a unit, and ratios are of parameters without"),
        ({"N_c": {"at": -1}}, "at is a positive number or 'centre'; got -1"),
        ({"N_c": {"at": "center"}}, "at is a positive number or 'centre'; got 'center'"),
    ],
)
def test_priors_that_cannot_be_relative_are_told(tmp_path, changed, told):
    priors = {}
    for name, prior in RELATIVE.items():
        merged = prior | changed.get(name, {})
        priors[name] = {key: value for key, value in merged.items() if value is not None}
    lines = ['title = "t"', 'law = "additive"']
    for name, prior in priors.items():
        lines.append(f"[priors.{name}]")
        for key, value in prior.items():
            lines.append(f"{key} = {value!r}")
    path = tmp_path / "draft.toml"
    path.write_text("\n".join(lines))
    with pytest.raises(SpecError, match=told):
        sb.read_model(path)


def test_values_at_one_reference_are_all_relative_or_none():
    given_priors = {
        "L_0": {"dist": "LogNormal", "median": 2.3, "sigma": 0.4, "reason": "r"},
        "alpha_E": {"dist": "LogNormal", "median": 0.03, "sigma": 0.7, "reason": "r"},
    }
    others = ("alpha_N", "gamma", "E_start", "E_max")
    spec = sb.read_model("routed")
    kept = {name: spec.priors[name] for name in others}
    relative = {name: prior | {"at": "centre"} for name, prior in given_priors.items()}
    both = sb.Spec(name="both", title="t", law="routed", priors=kept | relative)
    assert normalise(RUNS, both).units.log_inputs["N"] != 0.0
    none = sb.Spec(name="none", title="t", law="routed", priors=kept | given_priors)
    assert normalise(RUNS, none).units.log_inputs["N"] == 0.0
    mixed = kept | given_priors | {"L_0": relative["L_0"]}
    with pytest.raises(ValueError, match='missing: at = "centre", as L_0 has it'):
        sb.Spec(name="mixed", title="t", law="routed", priors=mixed)
