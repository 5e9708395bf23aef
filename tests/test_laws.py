"""Laws: backends agree, limits, monotonicity, nested laws, closed optimum against numeric optimum. No sampling."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytensor.compile.mode import Mode

from scalebayes import geometry
from scalebayes.allocation import numeric_optimum
from scalebayes.laws import INPUTS, LAWS, Parameter, law

few = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])

EVERY = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
FAMILY = {"coupled", "additive", "kaplan", "kaplan-floor", "bottleneck"}
OPTIMAL = [law for law in LAWS.values() if law.optimal_N is not None]
FLOORLESS = {"kaplan", "product", "size", "data", "compute"}

# What runs and laws in the field look like, with room; scales come from the size in nats of their term, as in priors.
INPUT_RANGES = {"N": (1e5, 1e13), "D": (1e7, 1e15), "C": (1e15, 1e28)}
REFERENCES = {"N": 1e9, "D": 2e10, "C": 1e21}


def log_uniform(low, high):
    return st.floats(np.log(low), np.log(high)).map(lambda x: float(np.exp(x)))


def parameters_of(law):
    """Strategy of parameters of a law: exponents .03 to 1, terms of .03 to 10 nats, kappa .1 to 3."""
    plain = {"L_inf": log_uniform(0.05, 5), "L_0": log_uniform(0.5, 8), "kappa": log_uniform(0.1, 3)}
    sizes = {p.name: plain.get(p.name, log_uniform(0.03, 10 if p.scale_of else 1)) for p in law.parameters}

    def with_scales(values):
        for p in law.parameters:
            if p.scale_of:
                values[p.name] = REFERENCES[p.scale_of] * values[p.name] ** (1 / values[p.exponent])
        return values

    return st.fixed_dictionaries(sizes).map(with_scales)


def inputs_of(law):
    return st.fixed_dictionaries({x: log_uniform(*INPUT_RANGES[x]) for x in law.inputs})


@pytest.fixture(scope="module")
def compiled():
    """Each law as a compiled PyTensor function of vectors of its inputs and scalars of its parameters."""
    out = {}
    for name, each in LAWS.items():
        inputs = [pt.dvector(x) for x in each.inputs]
        parameters = {p: pt.dscalar(p) for p in each.parameter_names}
        graph = each.function(*inputs, **parameters)
        out[name] = pytensor.function([*inputs, *parameters.values()], graph, mode=Mode("py", None))
    return out


@EVERY
def test_the_declaration_is_whole(law):
    assert LAWS[law.name] is law
    assert set(law.inputs) <= set(INPUTS)
    assert law.references
    assert law.__doc__.startswith("L = ")
    for p in law.parameters:
        assert p.meaning
        assert p.latex in law.latex or p.name == "L_0"
        if p.scale_of or p.exponent:
            assert p.scale_of in law.inputs
            assert p.exponent in law.parameter_names


@EVERY
@few
@given(data=st.data())
def test_backends_agree(law, compiled, data):
    values = data.draw(parameters_of(law))
    x = {name: np.array([data.draw(inputs_of(law))[name] for _ in range(3)]) for name in law.inputs}
    arrays = law.function(*x.values(), **values)
    floats = [law.function(*(float(v[i]) for v in x.values()), **values) for i in range(3)]
    labelled = law.function(*(xr.DataArray(v, dims="run") for v in x.values()), **values)
    symbolic = compiled[law.name](*x.values(), *(values[name] for name in law.parameter_names))
    assert isinstance(labelled, xr.DataArray)
    assert np.ndim(floats[0]) == 0
    np.testing.assert_allclose(floats, arrays, rtol=1e-12)
    np.testing.assert_allclose(labelled.values, arrays, rtol=1e-12)
    np.testing.assert_allclose(symbolic, arrays, rtol=1e-12)
    np.testing.assert_allclose(law(*x.values(), **values), arrays, rtol=0)


@EVERY
def test_draws_and_targets_broadcast(law):
    values = {p.name: np.full((2, 3, 1), 0.5) * (REFERENCES[p.scale_of] if p.scale_of else 1) for p in law.parameters}
    loss = law(*(np.full(4, REFERENCES[x]) for x in law.inputs), **values)
    assert loss.shape == (2, 3, 4)


@EVERY
@few
@given(data=st.data())
def test_loss_is_above_the_floor_and_falls_in_each_input(law, data):
    values, x = data.draw(parameters_of(law)), data.draw(inputs_of(law))
    loss = law(*x.values(), **values)
    assert np.isfinite(loss)
    assert loss >= values.get("L_inf", 0.0)
    for name in law.inputs:
        more = {**x, name: x[name] * data.draw(st.floats(1.001, 1e3))}
        assert law(*more.values(), **values) <= loss * (1 + 1e-14)


@EVERY
@few
@given(data=st.data())
def test_twice_every_input_lowers_a_reducible_loss(law, data):
    values, x = data.draw(parameters_of(law)), data.draw(inputs_of(law))
    loss = law(*x.values(), **values)
    if loss - values.get("L_inf", 0.0) > 1e-6 * loss:
        assert law(*(2 * v for v in x.values()), **values) < loss


@EVERY
@few
@given(data=st.data())
def test_infinite_inputs_leave_the_floor(law, data):
    values = data.draw(parameters_of(law))
    limit = law(*(np.inf for _ in law.inputs), **values)
    # Where an exponent is .03 the term at the finite stand-in for infinity is still about 1e-9 of its size.
    assert limit == pytest.approx(values.get("L_inf", 0.0), abs=1e-6, rel=1e-12)


def take(values, *names):
    return {name: values[name] for name in names}


SIZE, DATA = ("N_c", "alpha_N"), ("D_c", "alpha_D")


@few
@given(parameters_of(LAWS["additive"]), inputs_of(LAWS["additive"]))
def test_with_data_to_spare_the_family_is_the_law_of_size(values, x):
    alone = LAWS["size-floor"](x["N"], **take(values, "L_inf", *SIZE))
    for name in ("additive", "kaplan-floor", "bottleneck"):
        assert LAWS[name](x["N"], np.inf, **values) == pytest.approx(alone, rel=1e-6)
    assert LAWS["coupled"](x["N"], np.inf, **values, kappa=0.5) == pytest.approx(alone, rel=1e-6)
    floorless = LAWS["size"](x["N"], **take(values, *SIZE))
    assert LAWS["kaplan"](x["N"], np.inf, **take(values, *SIZE, *DATA)) == pytest.approx(floorless, rel=1e-6, abs=1e-6)


@few
@given(parameters_of(LAWS["additive"]), inputs_of(LAWS["additive"]))
def test_with_parameters_to_spare_the_family_is_the_law_of_data(values, x):
    alone = LAWS["data-floor"](x["D"], **take(values, "L_inf", *DATA))
    for name in ("additive", "kaplan-floor", "bottleneck"):
        assert LAWS[name](np.inf, x["D"], **values) == pytest.approx(alone, rel=1e-6)
    floorless = LAWS["data"](x["D"], **take(values, *DATA))
    assert LAWS["kaplan"](np.inf, x["D"], **take(values, *SIZE, *DATA)) == pytest.approx(floorless, rel=1e-6, abs=1e-6)


@few
@given(parameters_of(LAWS["additive"]), inputs_of(LAWS["additive"]))
def test_members_of_the_family_are_special_cases(values, x):
    N, D = x["N"], x["D"]
    coupled, alpha_D = LAWS["coupled"], values["alpha_D"]
    assert LAWS["additive"](N, D, **values) == pytest.approx(coupled(N, D, **values, kappa=1.0), rel=1e-12)
    tied = coupled(N, D, **values, kappa=alpha_D)
    assert LAWS["kaplan-floor"](N, D, **values) == pytest.approx(tied, rel=1e-12)
    without_floor = coupled(N, D, **{**values, "L_inf": 0.0}, kappa=alpha_D)
    assert LAWS["kaplan"](N, D, **take(values, *SIZE, *DATA)) == pytest.approx(without_floor, rel=1e-12)


@few
@given(parameters_of(LAWS["bottleneck"]), inputs_of(LAWS["bottleneck"]))
def test_the_bottleneck_is_the_limit_of_small_kappa(values, x):
    bottleneck = LAWS["bottleneck"](x["N"], x["D"], **values)
    reducible = bottleneck - values["L_inf"]
    for kappa in (1e-2, 1e-3, 1e-6):
        near = LAWS["coupled"](x["N"], x["D"], **values, kappa=kappa)
        # (n^(1/k) + d^(1/k))^k lies between max(n, d) and 2^k max(n, d)
        assert bottleneck * (1 - 1e-9) <= near <= bottleneck + reducible * (2**kappa - 1) + 1e-9 * bottleneck


@few
@given(parameters_of(LAWS["coupled"]), inputs_of(LAWS["coupled"]))
def test_the_family_is_ordered_by_kappa(values, x):
    losses = [LAWS["coupled"](x["N"], x["D"], **{**values, "kappa": k}) for k in (0.1, 0.3, 1.0, 3.0)]
    assert (np.diff(losses) >= -1e-12 * losses[0]).all()


@few
@given(parameters_of(LAWS["kaplan"]), inputs_of(LAWS["kaplan"]))
def test_kaplan_is_equation_1_5(values, x):
    N, D, N_c, alpha_N, D_c, alpha_D = (*x.values(), *(values[name] for name in (*SIZE, *DATA)))
    printed = ((N_c / N) ** (alpha_N / alpha_D) + D_c / D) ** alpha_D
    assert LAWS["kaplan"](N, D, **values) == pytest.approx(printed, rel=1e-11)


@few
@given(parameters_of(LAWS["additive"]), inputs_of(LAWS["additive"]))
def test_additive_is_equation_10(values, x):
    alpha, beta = values["alpha_N"], values["alpha_D"]
    derived = LAWS["additive"].derive(values)
    printed = values["L_inf"] + derived["A"] / x["N"] ** alpha + derived["B"] / x["D"] ** beta
    assert LAWS["additive"](x["N"], x["D"], **values) == pytest.approx(printed, rel=1e-11)


def test_product_is_a_plane_in_logs():
    loss = LAWS["product"](2e9, 2e10, L_0=3.0, alpha_N=0.5, alpha_D=0.1)
    assert loss == pytest.approx(3.0 / np.sqrt(2))
    assert LAWS["product"](1e9, 2e9, L_0=3.0, alpha_N=0.5, alpha_D=1.0) == pytest.approx(30.0)


@pytest.mark.parametrize("law", OPTIMAL, ids=lambda law: law.name)
@few
@given(data=st.data())
def test_the_closed_optimum_is_the_numeric_optimum(law, data):
    values = data.draw(parameters_of(law))
    budgets = 6.0 * 10.0 ** np.array([18.0, 24.0])
    exact = law.optimise(budgets / 6.0, values)
    inside = (exact > 10) & (budgets / 6.0 / exact > 10)  # else no grid of sizes holds it
    for N, budget in zip(exact[inside], budgets[inside], strict=True):
        loss = law(N, budget / 6.0 / N, **values)
        reducible = loss - values.get("L_inf", 0.0)
        for other in (0.5, 0.99, 1.01, 2.0):
            assert law(N * other, budget / 6.0 / N / other, **values) >= loss * (1 - 1e-14)
        if reducible > 1e-3 * loss:  # below, rounding of the floor hides the minimum from any search
            found = numeric_optimum(law, {k: np.array([v]) for k, v in values.items()}, budget)
            # A minimum is found to the root of the rounding error of what is minimised, over its curvature.
            assert np.log(found[0] / N) == pytest.approx(0.0, abs=_searchable(law, values, N, budget))


def _searchable(law, values, N, budget):
    """How near a search by loss alone can come to the minimum: where the loss differs from it by some roundings."""
    if law.name == "bottleneck":
        return 1e-6
    step = 1e-3
    losses = [law(N * np.exp(s), budget / 6.0 / N / np.exp(s), **values) for s in (-step, 0.0, step)]
    curvature = max((losses[0] - 2 * losses[1] + losses[2]) / step**2, 1e-12)
    return max(1e-6, 2 * np.sqrt(8 * 2.3e-16 * losses[1] / curvature))


@pytest.mark.parametrize("law", OPTIMAL, ids=lambda law: law.name)
@few
@given(data=st.data())
def test_a_opt_is_the_slope_of_the_optimum(law, data):
    values = data.draw(parameters_of(law))
    derived = law.derive(values)
    log_N = np.log(law.optimise(np.array([1e18, 1e24]), values))
    assert np.diff(log_N)[0] / np.log(1e6) == pytest.approx(derived["a_opt"], rel=1e-9)
    assert derived["a_opt"] + derived["b_opt"] == pytest.approx(1.0)


def test_the_frontier_of_hoffmann_in_the_papers_own_terms():
    """N* = G (C/6)^a with G = (alpha A/(beta B))^(1/(alpha + beta)), Hoffmann et al. (2022), eq. 4."""
    E, A, B, alpha, beta = 1.69337368, 406.401018, 410.722827, 0.33917084, 0.2849083
    values = LAWS["additive"].from_notation({"E": E, "A": A, "B": B, "alpha": alpha, "beta": beta})
    G, a = (alpha * A / (beta * B)) ** (1 / (alpha + beta)), beta / (alpha + beta)
    assert LAWS["additive"].optimise(5.76e23 / 6, values) == pytest.approx(G * (5.76e23 / 6) ** a, rel=1e-10)


def test_the_optimum_of_draws_is_an_array_of_their_shape():
    law = LAWS["additive"]
    values = law.from_notation({"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658})
    draws = {k: np.full((2, 5), v) for k, v in values.items()}
    assert numeric_optimum(law, draws, 1e21).shape == (2, 5)
    assert law.optimise(1e21 / 6, draws).shape == (2, 5)


def test_only_some_laws_have_a_closed_optimum():
    assert {law.name for law in OPTIMAL} == FAMILY
    with pytest.raises(TypeError, match="'product' declares no closed-form optimum"):
        LAWS["product"].optimise(1e20, {})


@pytest.mark.parametrize("name", sorted(FLOORLESS))
def test_laws_without_a_floor_have_none(name):
    assert "L_inf" not in LAWS[name].parameter_names


@EVERY
@few
@given(data=st.data())
def test_own_names_are_a_notation(law, data):
    values = data.draw(parameters_of(law))
    assert law.from_notation(dict(reversed(values.items()))) == values


@few
@given(parameters_of(LAWS["additive"]))
def test_hoffmanns_notation_round_trips(values):
    derived = LAWS["additive"].derive(values)
    papers = {"E": values["L_inf"], "alpha": values["alpha_N"], "beta": values["alpha_D"]} | take(derived, "A", "B")
    ours = LAWS["additive"].from_notation(papers)
    assert ours == pytest.approx(values, rel=1e-9)


def test_other_notations():
    assert LAWS["compute"].from_notation({"C_c_PF_days": 1.0, "alpha_C": 0.05}) == {"C_c": 8.64e19, "alpha_C": 0.05}
    cerebras = LAWS["compute-floor"].from_notation({"C_scale": 5.984e22, "exponent": -0.0737, "offset": 0.5066})
    assert LAWS["compute-floor"](1e22, **cerebras) == pytest.approx((1e22 / 5.984e22) ** -0.0737 + 0.5066)


def test_values_in_no_notation_are_refused_with_those_that_are():
    with pytest.raises(ValueError, match="E, A, B, alpha") as caught:
        LAWS["additive"].from_notation({"E": 1.7, "A": 406})
    assert str(caught.value) == (
        "got values for {E, A}; law 'additive' reads {L_inf, N_c, alpha_N, D_c, alpha_D} or {E, A, B, alpha, beta}"
    )


def declare(function, *names):
    return law(
        title="",
        parameters=tuple(Parameter(name, name, name) for name in names),
        latex="",
        references=(),
        coordinates=geometry.one_term("N", floor=False),
    )(function)


def test_a_declaration_that_differs_from_the_signature_is_refused():
    def power_of_size(N, *, scale, slope): ...

    before = dict(LAWS)
    with pytest.raises(TypeError, match=r"power_of_size: the signature has .*slope.*, the declaration \('scale',\)"):
        declare(power_of_size, "scale")
    with pytest.raises(TypeError, match="the signature has"):
        declare(power_of_size, "slope", "scale")
    assert before == LAWS


def test_inputs_that_no_table_has_are_refused():
    def of_steps(S, *, scale): ...

    def of_nothing(*, scale): ...

    for function in (of_steps, of_nothing):
        with pytest.raises(TypeError, match=r"inputs are .*, allowed are \('N', 'D', 'C'\)"):
            declare(function, "scale")
