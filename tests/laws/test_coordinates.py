"""Natural coordinates: the inverse is exact, Jacobians equal derivatives, starts are finite."""

import numpy as np
import pytensor
import pytensor.gradient
import pytensor.tensor as pt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytensor.compile.mode import Mode

from scalebayes.laws import LAWS
from scalebayes.laws.coordinates import local_fit, log_add

few = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
EVERY = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
CENTRE = {
    "N": np.log(3e8),
    "D": np.log(1e10),
    "C": np.log(1e20),
    "S": np.log(2e4),
    "U": np.log(3e9),
    "E": np.log(20.0),
}
CENTRE |= {"P": np.log(15.0), "learning_rate": np.log(2e-3), "batch": np.log(5e5)}

# A loss of 1 to 7 nats; floor shares, ratios of exponents and kappa with room. Slopes are .05 to
# .8 nats per e-fold: at much less an exponent is so small that the scale itself, not its log, is
# past the largest float.
RANGES = {
    "log_T": (0, 1.9),
    "logit_phi": (-3, 3),
    "delta": (-1.5, 1.5),
    "log_kappa": (-2, 1),
    "balance": (-0.5, 0.5),
}
RANGES |= {
    "log_R_N": (0, 3),
    "log_R_D": (0, 3.5),
    "shift": (-8, 2),
    "break": (-4, 4),
    "log_f": (-2, 1),
}
RANGES |= {
    "turn_1": (-1.5, 1.5),
    "turn_2": (-1.5, 1.5),
    "log_gap": (-1, 1.2),
    "room": (-2, 4),
    "log_gamma": (-1.5, 1.5),
}
RANGES |= {
    "log_alpha_EN": (-5, -2),
    "log_gamma_N": (-7, -4),
    "log_alpha_ED": (-5, -2),
    "log_gamma_D": (-7, -3),
    "log_E_start": (-0.5, 1),
    "log_E_max": (4, 7),
}
RANGES |= {"over": (-4, 2), "log_alpha_U": (-2, 0.5), "top": (-3, 2)}
RANGES |= {
    "log_rate_N": (-3, 1),
    "log_rate_D": (-1, 1),
    "log_batch_N": (-1, 1),
    "log_batch_D": (-0.5, 2),
    "log_rho": (-2, 0),
    "log_c_rate": (-7, -3),
    "log_c_batch": (-7, -3),
    "log_skew": (-2, 1),
    "log_best_rate": (-8, -4),
    "log_best_batch": (11, 15),
}
OF_ROUTED = {
    "log_gamma": (-8, -5),
    "log_alpha_E": (-5, -2),
}


def coordinates_of(law):
    slope = (np.log(0.05), np.log(0.8))
    known = RANGES | (OF_ROUTED if law.name == "routed" else {})
    ranges = {name: known.get(name, slope) for name in law.coordinates.names}
    return st.fixed_dictionaries({name: st.floats(*bounds) for name, bounds in ranges.items()})


def recover(law, z):
    logs, log_jacobian = law.coordinates.recover(z, CENTRE)
    return {name: np.exp(value) for name, value in logs.items()}, log_jacobian


def terms_at_the_centre(law, logs):
    """Log of every parameter, of its term's size at the centre where it is a scale."""
    return [
        np.exp(logs[p.exponent]) * (logs[p.name] - CENTRE[p.scale_of])
        if p.scale_of
        else logs[p.name]
        for p in law.parameters
    ]


@EVERY
def test_coordinates_are_as_many_as_parameters(law):
    logs, _ = law.coordinates.recover(
        {name: 0.1 * i for i, name in enumerate(law.coordinates.names)}, CENTRE
    )
    assert set(logs) == set(law.parameter_names)
    assert len(law.coordinates.names) == len(law.parameters)
    assert set(law.coordinates.steps()) == set(law.coordinates.names)


APART = {
    "bottleneck",
    "data-constrained",
    "mixture-of-experts",
    "data-limited",
    "bounded-score",
    "tuned",
}
"""Laws whose coordinates mean something else; each has a test of its own."""


@pytest.mark.parametrize(
    "law", [law for law in LAWS.values() if law.name not in APART], ids=lambda law: law.name
)
@few
@given(data=st.data())
def test_coordinates_are_the_loss_and_slopes_at_the_centre(law, data):
    z = data.draw(coordinates_of(law))
    parameters, _ = recover(law, z)
    at = {x: CENTRE[x] for x in law.inputs}

    def loss(**moved):
        return law.function(*np.exp(list({**at, **moved}.values())), **parameters)

    assert loss() == pytest.approx(np.exp(z["log_T"]), rel=1e-10)
    fastest = max(
        v for name, v in parameters.items() if name.startswith("alpha_")
    ) / parameters.get("kappa", 1.0)
    fastest = max(fastest / min(1.0, parameters.get("gamma", 1.0)), 1 / parameters.get("f", 1.0))
    for x in (x for x in law.inputs if f"log_G_{x}" in z):
        # A step well within the fastest change of slope, which goes as alpha/kappa.
        step = 1e-4 / max(1.0, min(fastest, 1e3))
        up, down = loss(**{x: at[x] + step}), loss(**{x: at[x] - step})
        assert (down - up) / (2 * step) == pytest.approx(
            np.exp(z[f"log_G_{x}"]), rel=1e-5, abs=1e-9 / step
        )
    if "L_inf" in parameters:
        assert parameters["L_inf"] / loss() == pytest.approx(1 / (1 + np.exp(-z["logit_phi"])))
    if "delta" in z:
        one, other = (parameters[f"alpha_{x}"] for x in law.inputs)
        assert np.log(one / other) == pytest.approx(z["delta"], abs=1e-9)
    if "log_kappa" in z:
        assert parameters["kappa"] == pytest.approx(np.exp(z["log_kappa"]))


@few
@given(coordinates_of(LAWS["data-constrained"]))
def test_coordinates_of_repeated_data_are_those_of_data_without_end(z):
    parameters, _ = recover(LAWS["data-constrained"], z)
    centre = {"N": CENTRE["N"], "D": (CENTRE["D"] + CENTRE["U"]) / 2}
    N, D = np.exp(centre["N"]), np.exp(centre["D"])
    assert LAWS["data-constrained"](N, D, np.inf, **parameters) == pytest.approx(np.exp(z["log_T"]))
    additive = LAWS["additive"].coordinates.recover(
        {k: z[k] for k in LAWS["additive"].coordinates.names}, centre
    )[0]
    assert {k: np.log(parameters[k]) for k in additive} == pytest.approx(additive)
    assert parameters["R_D"] == pytest.approx(np.exp(z["log_R_D"]))
    assert parameters["R_N"] == pytest.approx(np.exp(z["log_R_N"]))


@few
@given(coordinates_of(LAWS["bottleneck"]))
def test_coordinates_of_the_bottleneck(z):
    """T is the floor plus the geometric mean of the limits; G is each limit's slope.

    The balance is half the log ratio of the limits.
    """
    parameters, _ = recover(LAWS["bottleneck"], z)
    n, d = np.exp(
        terms_at_the_centre(LAWS["bottleneck"], {k: np.log(v) for k, v in parameters.items()})[
            1:4:2
        ]
    )
    assert parameters["L_inf"] + np.sqrt(n * d) == pytest.approx(np.exp(z["log_T"]))
    assert parameters["alpha_N"] * n == pytest.approx(np.exp(z["log_G_N"]))
    assert parameters["alpha_D"] * d == pytest.approx(np.exp(z["log_G_D"]))
    assert np.log(n / d) / 2 == pytest.approx(z["balance"], abs=1e-9)
    at_the_centre = LAWS["bottleneck"](np.exp(CENTRE["N"]), np.exp(CENTRE["D"]), **parameters)
    assert at_the_centre == pytest.approx(parameters["L_inf"] + max(n, d))


@few
@given(coordinates_of(LAWS["mixture-of-experts"]))
def test_coordinates_of_experts_are_those_of_the_terms_at_the_centre(z):
    """T is the loss at the centre, and G each exponent without experts times its term there."""
    law = LAWS["mixture-of-experts"]
    parameters, _ = recover(law, z)
    at = [np.exp(CENTRE[x]) for x in law.inputs]
    assert law(*at, **parameters) == pytest.approx(np.exp(z["log_T"]), rel=1e-9)
    # Without floor or term of D, which an exponent near 0 would leave at any D.
    without = {"L_inf": 0.0, "alpha_D": 1.0, "gamma_D": 1e-9}
    no_data = law(at[0], np.inf, at[2], **{**parameters, **without})
    assert parameters["alpha_N"] * no_data == pytest.approx(np.exp(z["log_G_N"]), rel=1e-6)
    ratio = parameters["alpha_N"] / parameters["alpha_D"]
    assert np.log(ratio) == pytest.approx(z["delta"], abs=1e-9)


@few
@given(coordinates_of(LAWS["data-limited"]))
def test_coordinates_of_overfitting_are_those_without_it(z):
    """T is the loss at the centre, G the slopes of n and d there, ``over`` the share of o in u."""
    law = LAWS["data-limited"]
    parameters, _ = recover(law, z)
    N, D, U = (np.exp(CENTRE[x]) for x in law.inputs)
    loss = law(N, D, U, **parameters)
    assert loss == pytest.approx(np.exp(z["log_T"]), rel=1e-9)
    unbounded = {**parameters, "L_inf": 0.0, "L_drop": 1e12}
    u = law(N, D, U, **unbounded)
    n = law(N, np.inf, np.inf, **unbounded)
    n_and_over = law(N, np.inf, U, **unbounded)
    d = u - n_and_over
    over = n_and_over - n
    assert over / u == pytest.approx(1 / (1 + np.exp(-z["over"])), rel=1e-5)
    q = 1 / (1 + u / parameters["L_drop"])
    assert q**2 * parameters["alpha_N"] * n == pytest.approx(np.exp(z["log_G_N"]), rel=1e-5)
    assert q**2 * parameters["alpha_D"] * d == pytest.approx(np.exp(z["log_G_D"]), rel=1e-5)


@few
@given(coordinates_of(LAWS["bounded-score"]))
def test_coordinates_of_a_score_are_its_odds_and_its_slope_at_the_centre(z):
    law = LAWS["bounded-score"]
    parameters, _ = recover(law, z)
    centre = CENTRE["C"]
    odds = law(np.exp(centre), **parameters)
    assert odds == pytest.approx(np.exp(z["log_T"]), rel=1e-9)
    step = 1e-4 / max(1.0, parameters["B"])
    up, down = (law(np.exp(centre + sign * step), **parameters) for sign in (1, -1))
    assert (up - down) / (2 * step) == pytest.approx(np.exp(z["log_G_C"]), rel=1e-4)
    rate = odds / (1 + odds)
    asymptote = law.derive(parameters)["A"]
    assert parameters["R_0"] / rate == pytest.approx(1 / (1 + np.exp(-z["logit_phi"])))
    assert parameters["R_0"] < rate < asymptote < 1
    assert 0 < parameters["gain"] < 1


@pytest.fixture(scope="module")
def determinants():
    """The log determinant of each law's map, ours and by automatic differentiation, compiled."""
    out = {}
    for law in LAWS.values():
        vector = pt.dvector("z")
        z = {name: vector[i] for i, name in enumerate(law.coordinates.names)}
        logs, log_jacobian = law.coordinates.recover(z, CENTRE)
        terms = pt.stack(terms_at_the_centre(law, logs))
        matrix = pytensor.gradient.jacobian(terms, vector)
        out[law.name] = pytensor.function(
            [vector], [matrix, pt.as_tensor(log_jacobian)], mode=Mode("py", None)
        )
    return out


@EVERY
@few
@given(data=st.data())
def test_the_jacobian_is_that_of_automatic_differentiation(law, determinants, data):
    z = data.draw(coordinates_of(law))
    matrix, ours = determinants[law.name](np.array([z[name] for name in law.coordinates.names]))
    assert float(ours) == pytest.approx(np.linalg.slogdet(matrix).logabsdet, abs=1e-8)


def test_determinants_are_the_printed_ones():
    """1 where not listed: kappa for coupled, alpha_D for Kaplan's laws, 2 for bottleneck.

    Bounded: q + gamma (1 - q); routed: G_N/(T alpha_N);
    accuracies: 1/(1 + T), 1/(1 + o) with o = T phi.
    """
    phi = 1 / (1 + np.exp(-0.2))
    for law in LAWS.values():
        z = dict.fromkeys(law.coordinates.names, 0.2) | (
            {"log_E_max": 5.0} if "log_E_max" in law.coordinates.names else {}
        )
        parameters, log_jacobian = recover(law, z)
        expected = {
            "coupled": parameters.get("kappa"),
            "kaplan": parameters.get("alpha_D"),
            "kaplan-floor": parameters.get("alpha_D"),
            "bottleneck": 2.0,
            "bounded": (lambda q: q + (1 - q) * np.exp(0.2))(1 / (1 + np.exp(-0.2))),
            "routed": 1 / parameters.get("alpha_N", 1.0),
            "bounded-score": 1 / (1 + np.exp(0.2)) ** 2,  # (1 - a) (1 - tau)
            "accuracy-exponential": 1 / (1 + np.exp(0.2)),
            "accuracy-logistic": 1 / (1 + np.exp(0.2) * phi),
        }.get(law.name, 1.0)
        assert np.exp(log_jacobian) == pytest.approx(expected)


RNG = np.random.default_rng(1)
SIZES = np.geomspace(1e7, 1e10, 12)
TABLES = {
    "ordinary": (np.tile(SIZES, 4), np.repeat(np.geomspace(1e9, 1e11, 4), 12)),
    "one N": (np.full(6, 1e9), np.geomspace(1e9, 1e11, 6)),
    "one D": (np.geomspace(1e9, 1e11, 6), np.full(6, 1e9)),
    "D follows N": (SIZES, 20 * SIZES),
    "one budget": (SIZES, 1e20 / SIZES),
    "three rows": (SIZES[:3], SIZES[[3, 1, 2]]),
    "one run again and again": (np.full(4, 1e9), np.full(4, 1e9)),
}


@EVERY
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("trend", [-0.1, 0.0, 0.1], ids=["falling", "flat", "rising"])
def test_starts_are_finite_on_degenerate_tables(law, table, trend):
    N, D = TABLES[table]
    columns = {
        "N": N,
        "D": D,
        "C": 6 * N * D,
        "S": D / 5e5,
        "U": np.minimum(D, 5e9),
        "E": np.full(len(N), 16.0),
        "learning_rate": 1e-3 * (N / 1e9) ** -0.5,
        "batch": 5e5 * (D / 1e10) ** 0.5,
    }
    columns["P"] = 15 * (N * D / 1e19) ** -0.05
    log_inputs = {x: np.log(columns[x]) for x in law.inputs}
    log_loss = 1.0 + trend * (np.log(N * D) - 43) + 0.01 * RNG.standard_normal(len(N))
    start = law.coordinates.start(log_inputs, log_loss)
    assert set(start) == set(law.coordinates.names)
    assert np.isfinite(list(start.values())).all()
    logs, log_jacobian = law.coordinates.recover(
        start, {x: v.mean() for x, v in log_inputs.items()}
    )
    curve = law.function(
        *(columns[x] for x in law.inputs), **{k: np.exp(v) for k, v in logs.items()}
    )
    assert np.isfinite([*logs.values(), log_jacobian]).all()
    assert np.isfinite(np.log(curve)).all()


def test_the_start_is_the_tables_loss_and_slopes():
    N, D = TABLES["ordinary"]
    x, y = np.log(N) - np.log(N).mean(), np.log(D) - np.log(D).mean()
    local = local_fit({"N": np.log(N), "D": np.log(D)}, 1.1 - 0.08 * x - 0.05 * y + 0.01 * x * y)
    assert local["log_T"] == pytest.approx(1.1)
    assert np.exp(local["log_G_N"] - local["log_T"]) == pytest.approx(0.08)
    assert np.exp(local["log_G_D"] - local["log_T"]) == pytest.approx(0.05)


@few
@given(st.floats(-700, 700), st.floats(-700, 700))
def test_log_add_is_numpys(a, b):
    assert log_add(a, b) == pytest.approx(np.logaddexp(a, b), rel=1e-14, abs=1e-12)
