"""Best learning rate and batch, and other questions to a law with hyperparameters."""

import numpy as np
import pytest

import scalebayes as sb
from scalebayes.laws.tuned import step_law
from scalebayes.specs.sweeps import SHIFTS, read_sweeps
from tests.fixtures import TUNED, grid_runs, in_nats, prior_of, sweep_runs, tuned_fit

LAW = sb.LAWS["tuned"]
AT = {"N": 1e9, "D": 1e11}


@pytest.fixture(scope="module")
def fit():
    return tuned_fit()


def true_best():
    places = {name: value for name, value in TUNED.items() if name.startswith(("rate", "batch"))}
    return LAW.best(1e9, 1e11, **places)


def test_the_columns_of_a_sweep_are_found():
    runs = sweep_runs()
    assert {"learning_rate", "batch"} <= set(runs.table)
    renamed = runs.table.rename(columns={"learning_rate": "Peak LR", "batch": "batch_tokens"})
    again = sb.read_runs(renamed.reset_index(drop=True), name="sweeps")
    np.testing.assert_array_equal(again.batch, runs.batch)
    np.testing.assert_array_equal(again.learning_rate, runs.learning_rate)


def test_a_rate_that_cannot_be_is_told_and_not_dropped_in_silence():
    table = sweep_runs().table.reset_index()
    table.loc[3, "learning_rate"] = -0.001
    runs = sb.read_runs(table)
    assert "learning_rate" not in runs.table
    assert any(note.startswith("learning_rate was not read: row 3 has") for note in runs.notes)


def test_a_batch_in_sequences_is_not_taken_for_tokens():
    table = sweep_runs().table.assign(batch=256.0).reset_index(drop=True)
    assert "batch" not in sb.read_runs(table, name="sequences", strict=False).table


def test_the_best_of_a_new_sweep_lies_around_the_power_law(fit):
    answer = sb.tune(fit, **AT)
    best = true_best()
    assert float(answer["best_learning_rate"].median()) == pytest.approx(
        best["learning_rate"], rel=0.05
    )
    assert float(answer["best_batch"].median()) == pytest.approx(best["batch"], rel=0.05)
    # The sweep's own error of 5% is wider than that of the power at the draws' width of 2%.
    spread = np.log(answer["best_learning_rate"]).std()
    assert 0.04 < float(spread) < 0.12
    theirs = step_law(1e9, 1e11)
    assert float(answer["step_law_rate"].item()) == pytest.approx(theirs["learning_rate"])


def test_the_excess_is_that_of_the_law(fit):
    best = true_best()
    rates = best["learning_rate"] * np.array([0.25, 1.0, 4.0])
    answer = sb.tune(fit, **AT, learning_rate=rates, batch=best["batch"])
    excess = answer["excess_loss"].median(("chain", "draw")).values
    bottom = LAW(1e9, 1e11, best["learning_rate"], best["batch"], **TUNED)
    expected = LAW(1e9, 1e11, rates, best["batch"], **TUNED) - bottom
    assert (answer["excess_loss"].values >= 0).all()
    np.testing.assert_allclose(excess[[0, 2]], expected[[0, 2]], rtol=0.1)
    assert excess[1] < 0.001


def test_at_the_ends_of_the_ranges_the_excess_is_what_was_asked(fit):
    within = 0.01
    answer = sb.tune(fit, **AT, within=within)
    one = answer.isel(chain=0, draw=0, target=0)
    drawn = fit.stored["posterior"].to_dataset().isel(chain=0, draw=0)
    parameters = {name: float(drawn[name]) for name in LAW.parameter_names}
    best = LAW.best(1e9, 1e11, **{n: parameters[n] for n in TUNED if n[:4] in ("rate", "batc")})
    bottom = float(LAW.at_best.evaluate(AT, parameters))
    for end in ("rate_from", "rate_to"):
        off = float(one[end] / one["best_learning_rate"])
        loss = LAW(1e9, 1e11, off * best["learning_rate"], best["batch"], **parameters)
        assert loss - bottom == pytest.approx(within, rel=1e-6)
    for end in ("batch_from", "batch_to"):
        off = float(one[end] / one["best_batch"])
        rate = best["learning_rate"] * off ** parameters["rho"]
        loss = LAW(1e9, 1e11, rate, off * best["batch"], **parameters)
        assert loss - bottom == pytest.approx(within, rel=1e-6)


def test_choices_outside_the_grids_have_a_caveat(fit):
    known = sb.tune(fit, N=1e9, D=1e11, learning_rate=1e-3, batch=5e5)
    assert not any(message.code.startswith("OUTSIDE") for message in sb.caveats(known))
    absurd = sb.tune(fit, N=1e9, D=1e11, learning_rate=8.0, batch=1.0)
    codes = [message.code for message in sb.caveats(absurd)]
    assert {"OUTSIDE_LEARNING_RATE", "OUTSIDE_BATCH"} <= set(codes)


def test_choices_at_one_size_are_of_one_sweep(fit):
    answer = sb.tune(fit, **AT, learning_rate=[1e-4, 1e-3], batch=5e5)
    np.testing.assert_array_equal(
        answer["best_batch"].isel(target=0), answer["best_batch"].isel(target=1)
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({**AT, "learning_rate": 1e-3}, "got learning_rate alone: give learning_rate and batch"),
        ({**AT, "within": 0.0}, "within is an excess loss above 0; got 0"),
        ({"N": 1e9}, "predicts from any two of N, D and C; got N"),
        ({"N": np.inf, "D": 1e11}, "N and D must be finite"),
        ({**AT, "learning_rate": -1, "batch": 1e6}, "learning_rate must be positive"),
    ],
)
def test_wrong_questions(fit, asked, message):
    with pytest.raises(sb.QueryError, match=message):
        sb.tune(fit, **asked)


def test_other_laws_have_nothing_to_tune(fitted):
    with pytest.raises(sb.QueryError, match="fit the model 'tuned' to a table with the columns"):
        sb.tune(fitted("hoffmann2022", "chinchilla"), **AT)


def test_predictions_are_of_tuned_runs_unless_rates_are_given(fit):
    tuned = sb.predict(fit, **AT)
    best = true_best()
    at_best = sb.predict(fit, **AT, learning_rate=best["learning_rate"], batch=best["batch"])
    off = sb.predict(fit, **AT, learning_rate=8 * best["learning_rate"], batch=best["batch"])
    assert float(tuned["loss"].median()) == pytest.approx(
        float(LAW.at_best.evaluate(AT, TUNED)), rel=0.01
    )
    assert float(at_best["loss"].median()) == pytest.approx(float(tuned["loss"].median()), rel=1e-3)
    assert float(off["loss"].median()) > float(tuned["loss"].median()) + 0.05
    # A tuned run does not diverge; one at a given rate may have, as a share of the runs did.
    assert float((tuned["new_run"] > 1.5 * tuned["loss"]).mean()) == 0
    assert float((at_best["new_run"] > 1.5 * at_best["loss"]).mean()) == pytest.approx(
        0.05, abs=0.04
    )
    with pytest.raises(sb.QueryError, match="got batch without learning_rate: give both"):
        sb.predict(fit, **AT, batch=1e6)


def test_the_frontier_and_decisions_are_of_tuned_runs(fit):
    best = sb.frontier(fit, C=1e21)
    law = sb.LAWS["additive"]
    additive = {name: TUNED[name] for name in law.parameter_names}
    assert float(best["N"].median()) == pytest.approx(law.optimise(1e21 / 6, additive), rel=0.1)
    assert float(sb.regret(fit, N=1e9, C=1e21)["excess_loss"].median()) >= 0
    assert sb.decide(fit, C=1e21)["N"].size > 0
    plan = sb.next_runs(fit, budget=1e21, target={"C": 1e22}, batch=2)
    assert len(plan.table) > 0
    assert fit.tuned_runs is fit.tuned_runs
    assert fit.tuned_runs.spec.law == "additive"


def test_the_errors_of_sweeps_are_saved_and_part_of_the_residuals(fit, tmp_path):
    sb.save(fit, tmp_path / "tuned.nc")
    again = sb.load(tmp_path / "tuned.nc")
    assert again.stored[SHIFTS]["rate_error"].shape == (2, 200, 6)
    delta = fit.spec.observation.delta_at_runs(fit.stored, fit.runs)
    assert delta.shape == (2, 200, len(fit.runs))
    np.testing.assert_allclose(
        delta, again.spec.observation.delta_at_runs(again.stored, again.runs), rtol=1e-6, atol=1e-12
    )
    assert np.isfinite(fit.log_likelihood["log_loss"].values).all()


def test_sweeps_are_the_sizes_that_several_runs_share():
    runs = sweep_runs()
    sweeps = read_sweeps(runs)
    assert len(sweeps.names) == 6
    np.testing.assert_array_equal(sweeps.member.sum(axis=0), 30)
    assert read_sweeps(grid_runs(learning_rate=1e-3, batch=1e6)).names == ()


def test_the_prior_is_drawn_in_the_units_of_the_table():
    drawn = prior_of(sweep_runs(), "tuned", 200)
    assert 1e-5 < np.median(drawn["rate_0"]) < 1e-1
    assert 1e4 < np.median(drawn["batch_0"]) < 1e8


def test_a_spec_of_sweeps_has_no_discrepancy_and_is_not_pooled():
    stated = sb.read_model("tuned").model_dump()
    for more, message in (
        ({"discrepancy": {"length": 1.0, "reason": "x"}}, "in place of a discrepancy"),
        ({"drift": {"reason": "x"}}, "in place of drift"),
        ({"pool": "family", "spread": {}}, "cannot be pooled"),
    ):
        with pytest.raises(ValueError, match=message):
            sb.Spec.model_validate(stated | more)
    assert in_nats("chinchilla").law_object.hyperparameters == ()


@pytest.mark.slow
def test_the_fit_of_a_planted_sweep_finds_its_best():
    fit = sb.fit(sweep_runs(), "tuned", seed=0, chains=2)
    assert fit.gate_failures == ()
    assert fit.metadata["engine"]["route"] == "kernel"
    answer = sb.tune(fit, **AT)
    best = true_best()
    for x in ("learning_rate", "batch"):
        low, high = np.quantile(answer[f"best_{x}"].values, [0.01, 0.99])
        assert low < best[x] < high
    bottom = float(LAW.at_best.evaluate(AT, TUNED))
    low, high = np.quantile(answer["loss"].values, [0.01, 0.99])
    assert low < bottom < high
