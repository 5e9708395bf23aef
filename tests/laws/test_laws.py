"""Laws without sampling: backends, limits, monotonicity, nested laws, optima."""

import re
from dataclasses import replace

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pytensor.compile.mode import Mode

from scalebayes.laws import INPUTS, LAWS, Parameter, coordinates, law, steps
from scalebayes.laws.rescaling import COUNTS, SAME_UNIT, Units
from scalebayes.queries.optima.one_budget import numeric_optimum
from tests.fixtures import BESIROGLU

few = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])

OF_LOSS = [law for law in LAWS.values() if law.response == "loss"]
"""Laws of accuracy have tests of their own (test_downstream.py)."""
EVERY = pytest.mark.parametrize("law", OF_LOSS, ids=lambda law: law.name)
FAMILY = {"coupled", "additive", "kaplan", "kaplan-floor", "bottleneck"}
OPTIMAL = [law for law in LAWS.values() if law.optimal_N is not None]
FLOORLESS = {"kaplan", "product", "size", "data", "compute", "steps", "routed"}
FALLING = pytest.mark.parametrize(
    "law", [x for x in OF_LOSS if not (x.may_rise or x.tuned)], ids=lambda law: law.name
)
"""Laws whose loss falls with every input; a valley has a bottom (test_tuned.py)."""
RISING = pytest.mark.parametrize(
    "law", [x for x in OF_LOSS if x.may_rise], ids=lambda law: law.name
)

# Ranges of runs and laws in the field, with room. Scales are set by the size in nats of their
# terms, as in priors.
INPUT_RANGES = {
    "N": (1e5, 1e13),
    "D": (1e7, 1e15),
    "C": (1e15, 1e28),
    "S": (1e2, 1e8),
    "U": (1e7, 1e15),
    "E": (1, 1e4),
    "learning_rate": (1e-5, 1e-1),
    "batch": (1e4, 1e8),
}
REFERENCES = {"N": 1e9, "D": 2e10, "C": 1e21, "S": 1e4, "U": 2e10, "E": 64.0}
REFERENCES |= {"learning_rate": 1e-3, "batch": 5e5}


def log_uniform(low, high):
    return st.floats(np.log(low), np.log(high)).map(lambda x: float(np.exp(x)))


def parameters_of(law):
    """Strategy of parameters of a law: exponents .03 to 1, terms .03 to 10 nats, kappa .1 to 3."""
    plain = {
        "L_inf": log_uniform(0.05, 5),
        "L_0": log_uniform(0.5, 8),
        "kappa": log_uniform(0.1, 3),
    }
    plain |= {
        "R_N": log_uniform(0.5, 50),
        "R_D": log_uniform(0.5, 50),
        "C_0": log_uniform(1e13, 1e19),
    }
    plain |= {
        "L_drop": log_uniform(3, 12),
        "gamma": log_uniform(0.5, 3),
        "C_1": log_uniform(1e17, 1e24),
    }
    plain |= {"f": log_uniform(0.1, 3), "gap": log_uniform(0.3, 4)}
    if law.name == "routed":
        plain["gamma"] = log_uniform(1e-4, 4e-3)
    # Small enough that the loss of a mixture of experts falls with N and D.
    plain |= {"gamma_N": log_uniform(1e-4, 3e-3), "gamma_D": log_uniform(1e-4, 3e-3)}
    plain |= {"E_start": log_uniform(0.5, 4), "E_max": log_uniform(20, 2000)}
    sizes = {
        p.name: plain.get(p.name, log_uniform(0.03, 10 if p.scale_of else 1))
        for p in law.parameters
    }

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
    """Each law as a compiled PyTensor function of vectors of inputs and scalars of parameters."""
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
    x = {}
    for name in law.inputs:
        x[name] = np.array([data.draw(inputs_of(law))[name] for _ in range(3)])
    arrays = law.function(*x.values(), **values)
    runs = zip(*x.values(), strict=True)
    floats = [law.function(*map(float, run), **values) for run in runs]
    labelled = law.function(*(xr.DataArray(v, dims="run") for v in x.values()), **values)
    symbolic = compiled[law.name](*x.values(), *(values[name] for name in law.parameter_names))
    assert isinstance(labelled, xr.DataArray)
    assert np.ndim(floats[0]) == 0
    np.testing.assert_allclose(floats, arrays, rtol=1e-12)
    np.testing.assert_allclose(labelled.values, arrays, rtol=1e-12)
    np.testing.assert_allclose(symbolic, arrays, rtol=1e-12)
    np.testing.assert_allclose(law(*x.values(), **values), arrays, rtol=0)
    by_name = law.evaluate(x | {"other": 1.0}, values | {"other": 1.0})
    np.testing.assert_allclose(by_name, arrays, rtol=0)


@EVERY
def test_draws_and_targets_broadcast(law):
    values = {
        p.name: np.full((2, 3, 1), 0.5) * (REFERENCES[p.scale_of] if p.scale_of else 1)
        for p in law.parameters
    }
    values |= {"E_max": np.full((2, 3, 1), 300.0)} if "E_max" in values else {}
    loss = law(*(np.full(4, REFERENCES[x]) for x in law.inputs), **values)
    assert loss.shape == (2, 3, 4)


@FALLING
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


@RISING
@few
@given(data=st.data())
def test_laws_that_may_rise_are_above_the_floor_and_fall_in_all_other_inputs(law, data):
    values, x = data.draw(parameters_of(law)), data.draw(inputs_of(law))
    loss = law.evaluate(x, values)
    assert np.isfinite(loss)
    assert loss >= values.get("L_inf", 0.0)
    for name in set(law.inputs) - set(law.may_rise):
        more = {**x, name: x[name] * data.draw(st.floats(1.001, 1e3))}
        assert law.evaluate(more, values) <= loss * (1 + 1e-14)


@FALLING
@few
@given(data=st.data())
def test_twice_every_input_lowers_a_reducible_loss(law, data):
    values, x = data.draw(parameters_of(law)), data.draw(inputs_of(law))
    loss = law(*x.values(), **values)
    if loss - values.get("L_inf", 0.0) > 1e-6 * loss:
        assert law(*(2 * v for v in x.values()), **values) < loss


@FALLING
@few
@given(data=st.data())
def test_infinite_inputs_leave_the_floor(law, data):
    values = data.draw(parameters_of(law))
    limit = law(*(np.inf for _ in law.inputs), **values)
    floor = values.get("L_inf", 0.0)
    # Exponents are .03 or more: from 1e20 to 1e300, the finite stand-in for infinity, a term falls
    # to 4e-9 of its size.
    above = law(*(1e20 for _ in law.inputs), **values) - floor
    assert limit == pytest.approx(floor, abs=max(1e-6, 1e-8 * above), rel=1e-12)


def test_the_leftover_of_two_breaks_is_of_the_size_of_its_term():
    """A case found by Hypothesis: hundreds of nats at 1e20, exponent .03, over 1e-6 at infinity."""
    law = LAWS["broken-twice"]
    values = {"L_inf": 1.0, "C_c": 1e105, "C_1": np.exp(40.0), "gap": 1.0, "f": 0.5}
    values |= dict.fromkeys(("alpha_C", "alpha_1", "alpha_2"), 0.03)
    above, left = (float(law(C, **values)) - 1.0 for C in (1e20, np.inf))
    assert above > 300
    assert 1e-6 < left < 1e-8 * above


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
    assert LAWS["kaplan"](x["N"], np.inf, **take(values, *SIZE, *DATA)) == pytest.approx(
        floorless, rel=1e-6, abs=1e-6
    )


@few
@given(parameters_of(LAWS["additive"]), inputs_of(LAWS["additive"]))
def test_with_parameters_to_spare_the_family_is_the_law_of_data(values, x):
    alone = LAWS["data-floor"](x["D"], **take(values, "L_inf", *DATA))
    for name in ("additive", "kaplan-floor", "bottleneck"):
        assert LAWS[name](np.inf, x["D"], **values) == pytest.approx(alone, rel=1e-6)
    floorless = LAWS["data"](x["D"], **take(values, *DATA))
    assert LAWS["kaplan"](np.inf, x["D"], **take(values, *SIZE, *DATA)) == pytest.approx(
        floorless, rel=1e-6, abs=1e-6
    )


@few
@given(parameters_of(LAWS["additive"]), inputs_of(LAWS["additive"]))
def test_members_of_the_family_are_special_cases(values, x):
    N, D = x["N"], x["D"]
    coupled, alpha_D = LAWS["coupled"], values["alpha_D"]
    assert LAWS["additive"](N, D, **values) == pytest.approx(
        coupled(N, D, **values, kappa=1.0), rel=1e-12
    )
    tied = coupled(N, D, **values, kappa=alpha_D)
    assert LAWS["kaplan-floor"](N, D, **values) == pytest.approx(tied, rel=1e-12)
    without_floor = coupled(N, D, **{**values, "L_inf": 0.0}, kappa=alpha_D)
    assert LAWS["kaplan"](N, D, **take(values, *SIZE, *DATA)) == pytest.approx(
        without_floor, rel=1e-12
    )


@few
@given(parameters_of(LAWS["bottleneck"]), inputs_of(LAWS["bottleneck"]))
def test_the_bottleneck_is_the_limit_of_small_kappa(values, x):
    bottleneck = LAWS["bottleneck"](x["N"], x["D"], **values)
    reducible = bottleneck - values["L_inf"]
    for kappa in (1e-2, 1e-3, 1e-6):
        near = LAWS["coupled"](x["N"], x["D"], **values, kappa=kappa)
        # (n^(1/k) + d^(1/k))^k lies between max(n, d) and 2^k max(n, d)
        assert (
            bottleneck * (1 - 1e-9)
            <= near
            <= bottleneck + reducible * (2**kappa - 1) + 1e-9 * bottleneck
        )


@few
@given(parameters_of(LAWS["coupled"]), inputs_of(LAWS["coupled"]))
def test_the_family_is_ordered_by_kappa(values, x):
    losses = [
        LAWS["coupled"](x["N"], x["D"], **{**values, "kappa": k}) for k in (0.1, 0.3, 1.0, 3.0)
    ]
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


@few
@given(
    st.fixed_dictionaries({"E": log_uniform(0.5, 3), "eta": log_uniform(0.05, 0.4)}),
    inputs_of(LAWS["additive"]),
)
def test_overtraining_is_gadres_form_of_compute_and_ratio(values, x):
    """L = E + (a M^eta + b M^-eta) C^-eta, M = D/N, C = 6 N D (Gadre et al. 2024)."""
    a, b, E, eta = 141.0, 190.0, values["E"], values["eta"]
    ours = LAWS["overtraining"].from_notation({"E": E, "eta": eta, "a": a, "b": b})
    M, C = x["D"] / x["N"], 6 * x["N"] * x["D"]
    printed = E + (a * M**eta + b * M**-eta) * C**-eta
    assert LAWS["overtraining"](x["N"], x["D"], **ours) == pytest.approx(printed, rel=1e-11)
    derived = LAWS["overtraining"].derive(ours)
    assert take(derived, "a", "b", "eta_C") == pytest.approx(
        {"a": a, "b": b, "eta_C": eta}, rel=1e-9
    )
    best = LAWS["overtraining"].optimise(C / 6, ours)
    ratio = C / 6 / best**2
    assert ratio == pytest.approx((b / a) ** (1 / (2 * eta)), rel=1e-9)
    assert derived["M_opt"] == pytest.approx((b / a) ** (1 / (2 * eta)), rel=1e-9)


MUENNIGHOFF = {
    "E": 1.869,
    "A": 521.0,
    "B": 1488.0,
    "alpha": 0.3526596,
    "R_N_star": 5.309743,
    "R_D_star": 15.387756,
}


@few
@given(inputs_of(LAWS["data-constrained"]))
def test_data_constrained_is_the_papers_formula(x):
    """X' = U + U R* (1 - exp(-R/R*)) with U_N = min(N, N*(U)).

    N* follows from alpha A/N^alpha = beta B/U^beta.
    """
    p = MUENNIGHOFF
    ours = LAWS["data-constrained"].from_notation(p)
    N, D, U = x["N"], x["D"], min(x["U"], x["D"])
    U_N = min(N, (p["A"] / p["B"]) ** (1 / p["alpha"]) * x["U"])
    worth = {}
    for name, value, unique, star in (("N", N, U_N, p["R_N_star"]), ("D", D, U, p["R_D_star"])):
        worth[name] = unique + unique * star * (1 - np.exp(-(value / unique - 1) / star))
    printed = p["E"] + p["A"] / worth["N"] ** p["alpha"] + p["B"] / worth["D"] ** p["alpha"]
    assert LAWS["data-constrained"](x["N"], x["D"], x["U"], **ours) == pytest.approx(
        printed, rel=1e-9
    )


@few
@given(parameters_of(LAWS["data-constrained"]), inputs_of(LAWS["data-constrained"]))
def test_data_without_end_leave_hoffmanns_law(values, x):
    additive = take(values, "L_inf", *SIZE, *DATA)
    assert LAWS["data-constrained"](x["N"], x["D"], np.inf, **values) == pytest.approx(
        LAWS["additive"](x["N"], x["D"], **additive), rel=1e-9
    )
    floor = LAWS["additive"](np.inf, x["U"] * (1 + values["R_D"]), **additive)
    assert LAWS["data-constrained"](x["N"], np.inf, x["U"], **values) >= floor * (1 - 1e-12)


def test_repeated_data_are_worth_what_the_paper_says():
    """Four epochs are almost as good as new data; beyond forty the gain is small.

    Muennighoff et al. (2023).
    """
    law = LAWS["data-constrained"]
    ours = law.from_notation(MUENNIGHOFF)
    N, U = 2e8, 1e10
    seen = {epochs: law(N, epochs * U, U, **ours) for epochs in (1, 4, 40, 4000)}
    assert law(N, U, np.inf, **ours) == pytest.approx(seen[1], rel=1e-12)
    assert 0 < seen[4] - law(N, 4 * U, np.inf, **ours) < 0.01
    assert seen[40] - seen[4000] < 0.05 * (seen[1] - seen[40])


@few
@given(parameters_of(LAWS["bounded"]), inputs_of(LAWS["bounded"]))
def test_bounded_solves_its_equation(values, x):
    """(L - e_inf)/(e_0 - L)^gamma = beta D^-c with beta = D_c^c / drop^gamma.

    Alabdulmohsin et al. (2022), M4.
    """
    u = LAWS["bounded"](x["D"], **{**values, "L_inf": 0.0})
    S, c = values["L_drop"], values["alpha_D"]
    assert 0 < u <= S
    log_right = c * (np.log(values["D_c"]) - np.log(x["D"])) - values["gamma"] * np.log(S)
    if u < S * (1 - 1e-6):  # nearer to the bound the difference is rounding
        assert np.log(u) - values["gamma"] * np.log(S - u) == pytest.approx(log_right, abs=1e-7)
    untrained = LAWS["bounded"].derive(values)["L_0"]
    assert LAWS["bounded"](x["D"], **values) <= untrained * (1 + 1e-12)


@few
@given(parameters_of(LAWS["shifted"]), inputs_of(LAWS["shifted"]))
def test_shifted_is_the_power_of_a_shifted_input(values, x):
    alone = LAWS["compute-floor"](x["C"] + values["C_0"], **take(values, "L_inf", "C_c", "alpha_C"))
    assert LAWS["shifted"](x["C"], **values) == pytest.approx(alone, rel=1e-10)


@few
@given(parameters_of(LAWS["broken-twice"]), inputs_of(LAWS["broken-twice"]))
def test_broken_laws_are_the_papers_formula(values, x):
    """Y = a + b x^-c0 prod_i (1 + (x/d_i)^(1/f_i))^(-c_i f_i) (Caballero et al. 2022)."""
    v, C = values, x["C"]
    power = v["C_c"] ** v["alpha_C"] * C ** -v["alpha_C"]
    first = -(v["alpha_1"] - v["alpha_C"]) * v["f"] * np.logaddexp(0, np.log(C / v["C_1"]) / v["f"])
    d_2 = v["C_1"] * 10 ** v["gap"]
    second = -(v["alpha_2"] - v["alpha_1"]) * v["f"] * np.logaddexp(0, np.log(C / d_2) / v["f"])
    once = {k: v[k] for k in LAWS["broken"].parameter_names}
    assert LAWS["broken"](C, **once) == pytest.approx(v["L_inf"] + power * np.exp(first), rel=1e-9)
    assert LAWS["broken-twice"](C, **v) == pytest.approx(
        v["L_inf"] + power * np.exp(first + second), rel=1e-9
    )
    straight = {**once, "alpha_1": v["alpha_C"]}
    alone = LAWS["compute-floor"](C, **take(v, "L_inf", "C_c", "alpha_C"))
    assert LAWS["broken"](C, **straight) == pytest.approx(alone, rel=1e-9)


def test_caballeros_notation():
    given = {"a": 1.5, "b": 30.0, "c_0": 0.1, "c_1": 0.05, "d_1": 1e20, "f_1": 0.4}
    ours, C = LAWS["broken"].from_notation(given), 3e21
    printed = 1.5 + 30.0 * C**-0.1 * (1 + (C / 1e20) ** (1 / 0.4)) ** (-0.05 * 0.4)
    assert LAWS["broken"](C, **ours) == pytest.approx(printed)


def test_steps_is_kaplans_equation_1_6_and_its_frontier():
    values = {"N_c": 6.5e13, "alpha_N": 0.077, "S_c": 2.1e3, "alpha_S": 0.76}
    assert LAWS["steps"](1e9, 2e4, **values) == pytest.approx(
        (6.5e13 / 1e9) ** 0.077 + (2.1e3 / 2e4) ** 0.76
    )
    # At the least loss for a compute N B_crit(L) S, the term of steps is alpha_N/alpha_S of the
    # term of N.
    alpha = LAWS["steps"].derive(values)["alpha_C_min"]
    log_C, optima = np.log([1e20, 1e22]), []
    for C in np.exp(log_C):
        N = np.geomspace(1e5, 1e15, 400_001)
        L = np.full_like(N, 4.0)
        for _ in range(60):  # the loss decides the batch, the batch the steps, the steps the loss
            S = C / (6 * N * steps.critical_batch(L))
            L = np.minimum(0.5 * (L + LAWS["steps"](N, S, **values)), 50.0)
        best = int(L.argmin())
        optima.append((L[best], N[best]))
        converged = LAWS["steps"](N[best], np.inf, **values)
        assert L[best] / converged - 1 == pytest.approx(0.101, abs=0.03)
    losses, sizes = np.log(optima).T
    assert -np.diff(losses)[0] / np.diff(log_C)[0] == pytest.approx(alpha, rel=0.02)
    assert np.diff(sizes)[0] / np.diff(log_C)[0] == pytest.approx(alpha / 0.077, rel=0.02)


def test_the_critical_batch_and_what_follows():
    """Kaplan et al. (2020), eq. 1.4, 5.4 and 5.5, and Table 6."""
    L = 3.0
    critical = steps.critical_batch(L)
    assert critical == pytest.approx(2.1e8 / 3.0 ** (1 / 0.21))
    assert steps.minimal_steps(1e5, critical, L) == pytest.approx(5e4)
    assert steps.minimal_compute(1e21, critical, L) == pytest.approx(5e20)
    assert steps.minimal_steps(1e5, 1e30, L) == pytest.approx(1e5)
    # S_min and C_min of a run are linked: C / C_min = 1 + B/B_crit, S / S_min = 1 + B_crit/B
    assert (1e21 / steps.minimal_compute(1e21, 3 * critical, L) - 1) == pytest.approx(3.0)
    assert (1e5 / steps.minimal_steps(1e5, 3 * critical, L) - 1) == pytest.approx(1 / 3)
    measured = steps.measured_allocation(8.64e19 * np.array([1.0, 1e3]))
    assert measured["N"][0] == pytest.approx(1.3e9)
    assert np.log10(measured["N"][1] / measured["N"][0]) / 3 == pytest.approx(0.73)
    implied = steps.compute_exponents(alpha_N=0.077, alpha_S=0.76)
    assert implied["N"] + implied["D"] == pytest.approx(1.0)
    for x, (_, exponent) in steps.TREND.items():  # the law implies roughly what the paper measured
        assert implied[x] == pytest.approx(exponent, abs=0.06)


S_BASE = {"a": -0.082, "b": -0.108, "c": 0.009, "d": 1.104, "E_start": 1.847, "E_max": 314.478}


@few
@given(inputs_of(LAWS["routed"]))
def test_routed_is_clarks_bilinear_law(x):
    ours, p = LAWS["routed"].from_notation(S_BASE), S_BASE
    Eh = 1 / (1 / (x["E"] - 1 + 1 / (1 / p["E_start"] - 1 / p["E_max"])) + 1 / p["E_max"])
    log_N, log_E = np.log10(x["N"]), np.log10(Eh)
    printed = 10 ** (p["a"] * log_N + p["b"] * log_E + p["c"] * log_N * log_E + p["d"])
    assert LAWS["routed"](x["N"], x["E"], **ours) == pytest.approx(printed, rel=1e-10)
    derived = LAWS["routed"].derive(ours)
    assert take(derived, "b", "c", "d") == pytest.approx(take(p, "b", "c", "d"), rel=1e-9)


@few
@given(parameters_of(LAWS["routed"]), inputs_of(LAWS["routed"]))
def test_experts_help_up_to_the_cutoff(values, x):
    law, cutoff = LAWS["routed"], LAWS["routed"].derive(values)["N_cutoff"]
    for N, sign in ((cutoff * 0.5, -1), (cutoff * 2, 1)):
        if 1 < N < 1e200:
            assert sign * (law(N, 2 * x["E"] + 1, **values) - law(N, x["E"], **values)) >= 0
    assert law(2 * x["N"], x["E"], **values) < law(x["N"], x["E"], **values)
    few_experts = law(x["N"], 1.0, **values)
    log_start = np.log(values["E_start"]) * (
        values["gamma"] * np.log(x["N"] / 1e9) - values["alpha_E"]
    )
    alone = values["L_0"] * (x["N"] / 1e9) ** -values["alpha_N"] * np.exp(log_start)
    assert few_experts == pytest.approx(alone, rel=1e-9)


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
        # Below that share, rounding of the floor hides the minimum from any search.
        if reducible > 1e-3 * loss:
            found = numeric_optimum(law, {k: np.array([v]) for k, v in values.items()}, budget)
            # A minimum is located to the square root of the rounding error of the objective over
            # its curvature.
            assert np.log(found[0] / N) == pytest.approx(
                0.0, abs=_searchable(law, values, N, budget)
            )


def _searchable(law, values, N, budget):
    """Resolution of a search by loss: the distance at which the loss changes by a few roundings."""
    if law.name == "bottleneck":
        return 1e-6
    step = 1e-3
    losses = [
        law(N * np.exp(s), budget / 6.0 / N / np.exp(s), **values) for s in (-step, 0.0, step)
    ]
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
    """N* = G (C/6)^a, G = (alpha A/(beta B))^(1/(alpha + beta)): Hoffmann et al. (2022), eq. 4."""
    E, A, B, alpha, beta = 1.69337368, 406.401018, 410.722827, 0.33917084, 0.2849083
    values = LAWS["additive"].from_notation({"E": E, "A": A, "B": B, "alpha": alpha, "beta": beta})
    G, a = (alpha * A / (beta * B)) ** (1 / (alpha + beta)), beta / (alpha + beta)
    assert LAWS["additive"].optimise(5.76e23 / 6, values) == pytest.approx(
        G * (5.76e23 / 6) ** a, rel=1e-10
    )


def test_the_optimum_of_draws_is_an_array_of_their_shape():
    law = LAWS["additive"]
    values = law.from_notation(BESIROGLU)
    draws = {k: np.full((2, 5), v) for k, v in values.items()}
    assert numeric_optimum(law, draws, 1e21).shape == (2, 5)
    assert law.optimise(1e21 / 6, draws).shape == (2, 5)


def test_only_some_laws_have_a_closed_optimum():
    assert {law.name for law in OPTIMAL} == FAMILY | {"overtraining"}
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
    papers = {"E": values["L_inf"], "alpha": values["alpha_N"], "beta": values["alpha_D"]} | take(
        derived, "A", "B"
    )
    ours = LAWS["additive"].from_notation(papers)
    assert ours == pytest.approx(values, rel=1e-9)


def test_other_notations():
    assert LAWS["compute"].from_notation({"C_c_PF_days": 1.0, "alpha_C": 0.05}) == {
        "C_c": 8.64e19,
        "alpha_C": 0.05,
    }
    cerebras = LAWS["compute-floor"].from_notation(
        {"C_scale": 5.984e22, "exponent": -0.0737, "offset": 0.5066}
    )
    assert LAWS["compute-floor"](1e22, **cerebras) == pytest.approx(
        (1e22 / 5.984e22) ** -0.0737 + 0.5066
    )


def test_values_in_no_notation_are_refused_with_those_that_are():
    with pytest.raises(ValueError, match="E, A, B, alpha") as caught:
        LAWS["additive"].from_notation({"E": 1.7, "A": 406})
    assert str(caught.value) == (
        "got values for {E, A}; law 'additive' reads "
        "{L_inf, N_c, alpha_N, D_c, alpha_D} or {E, A, B, alpha, beta}"
    )


def declare(function, *names):
    return law(
        title="",
        parameters=tuple(Parameter(name, name, name) for name in names),
        latex="",
        references=(),
        coordinates=coordinates.one_term("N", floor=False),
    )(function)


def test_a_declaration_that_differs_from_the_signature_is_refused():
    def power_of_size(N, *, scale, slope): ...

    before = dict(LAWS)
    with pytest.raises(
        TypeError, match=r"power_of_size: the signature has .*slope.*, the declaration \('scale',\)"
    ):
        declare(power_of_size, "scale")
    with pytest.raises(TypeError, match="the signature has"):
        declare(power_of_size, "slope", "scale")
    assert before == LAWS


def test_inputs_that_no_table_has_are_refused():
    def of_time(t, *, scale): ...

    def of_nothing(*, scale): ...

    for function in (of_time, of_nothing):
        with pytest.raises(TypeError, match=r"inputs are .*, allowed are \('N', .*'P'\)"):
            declare(function, "scale")


def units_of(law, factors):
    """Return units with a factor of each input, the last one that of the loss."""
    log_inputs = {}
    for x, factor in zip(law.inputs, factors, strict=False):
        log_inputs[x] = 0.0 if x in COUNTS else float(np.log(factor))
    for x, other in SAME_UNIT.items():
        if x in log_inputs:
            log_inputs[x] = log_inputs[other]
    log_response = float(np.log(factors[-1])) if law.response == "loss" else 0.0
    return Units(log_inputs, log_response)


@pytest.mark.parametrize("law", OF_LOSS, ids=lambda law: law.name)
@few
@given(data=st.data())
def test_parameters_follow_a_change_of_units(law, data):
    assert law.has_free_units
    parameters, inputs = data.draw(parameters_of(law)), data.draw(inputs_of(law))
    factors = data.draw(st.lists(log_uniform(1e-6, 1e6), min_size=4, max_size=4))
    units = units_of(law, factors)
    rescaled = law.rescale(parameters, units)
    # A scale with an exponent near 0 may be too small or too large for a double.
    in_range = np.finfo(float)
    assume(all(in_range.tiny < value < in_range.max for value in rescaled.values()))
    multiplied = {x: value * np.exp(units.log_inputs[x]) for x, value in inputs.items()}
    expected = np.exp(units.log_response) * law.evaluate(inputs, parameters)
    np.testing.assert_allclose(law.evaluate(multiplied, rescaled), expected, rtol=1e-7)
    back = law.rescale(rescaled, units.inverse())
    assert back == pytest.approx(parameters, rel=1e-7, abs=1e-12)


INVERTIBLE = [(law, x) for law in LAWS.values() for x in law.inverses]


@pytest.mark.parametrize(("law", "x"), INVERTIBLE, ids=lambda one: getattr(one, "name", one))
@few
@given(data=st.data())
def test_an_inverse_finds_the_input_that_has_the_loss(law, x, data):
    parameters, inputs = data.draw(parameters_of(law)), data.draw(inputs_of(law))
    loss = law.evaluate(inputs, parameters)
    others = [value for name, value in inputs.items() if name != x]
    found = law.inverses[x](loss, *others, **parameters)
    assume(np.isfinite(found))  # the term of x may be lost in the rounding of the loss
    assert law.evaluate(inputs | {x: found}, parameters) == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize("law", LAWS.values(), ids=lambda law: law.name)
def test_every_law_of_the_package_has_free_units(law):
    assert law.has_free_units


def test_a_law_with_an_undeclared_unit_has_no_free_units():
    additive = LAWS["additive"]
    undeclared = (Parameter("L_inf", "L", "floor"), *additive.parameters[1:])
    assert not replace(additive, parameters=undeclared).has_free_units


def test_formulas_for_a_terminal_keep_the_grouping_of_exponents():
    values = {"N": 1e9, "D": 2e10, "N_c": 1e8, "D_c": 1e9, "L_inf": 1.7}
    values |= {"alpha_N": 0.3, "alpha_D": 0.4, "kappa": 0.7}
    for name in ("coupled", "kaplan", "kaplan-floor", "additive"):
        law = LAWS[name]
        as_python = law.formula.replace("^", "**").replace("[", "(").replace("]", ")")
        found = eval(as_python, {}, dict(values))
        assert found == pytest.approx(law.evaluate(values, values), rel=1e-12)


@pytest.mark.parametrize("law", LAWS.values(), ids=lambda law: law.name)
def test_formulas_for_a_terminal_have_nothing_left_of_latex(law):
    assert not re.search(r"[\\\\{};]|hat[A-Z]|  ", law.formula)
    assert law.formula.count("(") == law.formula.count(")")
