"""Fits of planted curves: recovery, forecasts, files and messages."""

import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.curves.guess import guess_schedule
from scalebayes.curves.laws import multi_power
from tests.curves.planted import LENGTH, PEAK, TRUTH, planted_curves, planted_schedule

pytestmark = pytest.mark.standard


@pytest.fixture(scope="module")
def fit():
    return sb.fit(planted_curves(), "multi-power", draws=300, tune=200, progress=False)


@pytest.fixture(scope="module")
def saved(fit, tmp_path_factory):
    return sb.save(fit, tmp_path_factory.mktemp("fits") / "curves.nc")


def interval(answer, quantity="loss"):
    low, high = answer[quantity].quantile([0.01, 0.99], ("chain", "draw")).values
    return low, high


def test_parameters_of_the_truth_are_recovered(fit):
    assert fit.gate_failures == ()
    posterior = fit.stored["posterior"]
    for name in ("L_0", "A", "alpha", "B"):
        low, high = posterior[name].quantile([0.005, 0.995])
        assert low < TRUTH[name] < high
    assert float(posterior["sigma"].median()) == pytest.approx(3e-4, rel=0.2)
    assert fit.metadata["interpolation_error"] < 1e-3


def test_another_schedule_is_predicted(fit):
    answer = sb.predict(fit, schedule="wsd", steps=LENGTH, decay=4000, at=[10_000, LENGTH])
    truth = multi_power(planted_schedule("wsd"), np.array([10_000.0, LENGTH]), **TRUTH)
    low, high = interval(answer)
    assert ((low < truth) & (truth < high)).all()
    assert (high - low < 0.02 * truth).all()
    noise = np.log(answer["new_run"] / answer["loss"])
    assert float(noise.std()) == pytest.approx(3e-4, rel=0.2)
    array = planted_schedule("wsd").rate(np.arange(LENGTH + 1.0))
    same = sb.predict(fit, schedule=array, at=[10_000, LENGTH])
    assert float(abs(same["law"] / answer["law"] - 1).max()) < 2e-4


def test_a_run_under_way_is_forecast_from_its_own_checkpoints(fit):
    new = planted_curves(names=("wsd",), seed=5)
    half = new.before(LENGTH / 2)
    end = new["wsd"].losses[-1]
    answer = sb.forecast(fit, run=half, step=LENGTH)
    tenth = round(half["wsd"].steps[-1] / 10)
    assert answer["plan"].values.tolist() == ["its schedule", f"decay over the next {tenth}"]
    low, high = interval(answer, "new_run")
    assert low[0] < end < high[0]
    unknown = sb.predict(fit, schedule=new["wsd"].schedule, at=LENGTH)
    near = sb.forecast(fit, run=half, step=half["wsd"].steps[-1] + 1, plans=False)
    assert float(near["loss"].std()) < float(unknown["loss"].std())


def test_what_if_plans_and_later_steps(fit):
    answer = sb.forecast(fit, run="constant", step=[30_000], anneal=[1000, "4K"], to=0.1)
    loss = answer["loss"].median(("chain", "draw")).values
    now = fit.curves["constant"].losses[-1]
    assert loss[2] < loss[1] < now
    assert answer["lr"].values.tolist() == pytest.approx([PEAK, PEAK / 10, PEAK / 10])
    assert [message.code for message in sb.caveats(answer)] == ["SCHEDULE_HELD"]
    cosine = planted_curves(names=("cosine",)).before(LENGTH / 2)["cosine"]
    cut = sb.Curves({"cosine": cosine}, "cut")
    name, guessed = guess_schedule(_with_schedule_until_now(cosine), LENGTH)
    assert name == "cosine to 0.1 of its peak"
    assert guessed.end == LENGTH
    assert sb.forecast(fit, run=cut, step=LENGTH, plans=False)["lr"].values == pytest.approx(3e-5)


def test_a_schedule_that_the_run_has_not_followed_is_said_to_jump(fit):
    at_half = LENGTH / 2
    run = _with_schedule_until_now(planted_curves(names=("constant",)).before(at_half)["constant"])
    cut = sb.Curves({"constant": run}, "cut")
    asked = {"run": cut, "step": LENGTH, "plans": False}
    (said,) = sb.caveats(sb.forecast(fit, schedule="cosine", **asked))
    assert said.code == "SCHEDULE_JUMPS"
    assert "constant has a learning rate of 0.0003" in said.text
    # WSD is constant for its first nine tenths.
    assert not sb.caveats(sb.forecast(fit, schedule="wsd", **asked))


def _with_schedule_until_now(curve):
    schedule = curve.schedule.until(curve.steps[-1])
    return type(curve)(curve.run, curve.steps, curve.losses, schedule)


def test_a_file_gives_the_same_answers(fit, saved):
    again = sb.load(saved)
    assert again.curves.hash == fit.curves.hash
    assert again.model == fit.model
    ours, theirs = (sb.forecast(each, run="steps", step=25_000) for each in (fit, again))
    np.testing.assert_array_equal(ours["loss"], theirs["loss"])
    assert repr(again) == repr(fit)


def test_a_changed_file_is_refused(saved, tmp_path):
    import xarray as xr

    with xr.open_datatree(saved, engine="netcdf4") as stored:
        tree = stored.load()
    tree["checkpoints"]["loss"][3] += 0.1
    tree.to_netcdf(tmp_path / "changed.nc", engine="netcdf4")
    with pytest.raises(sb.FitError, match="damaged, or was changed"):
        sb.load(tmp_path / "changed.nc")


def test_the_same_seed_gives_the_same_draws():
    curves = planted_curves(rows=40)
    made = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.GateWarning)
        for _ in range(2):
            fit = sb.fit(curves, "annealing", draws=20, tune=20, chains=1, progress=False)
            made.append(fit.positions())
    np.testing.assert_array_equal(*made)


def test_the_summary_has_published_values_beside_the_draws(fit):
    table = sb.summary(fit)
    assert [*table.index[:7]] == ["L_0", "A", "alpha", "B", "C", "beta", "gamma"]
    assert table.loc["alpha", "Luo et al. 2025, 25M"] == pytest.approx(0.508, abs=1e-3)
    assert sb.diagnose(fit).ok


def test_messages_say_what_the_runs_do_not():
    flat = planted_curves(rows=40, names=("constant",))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.GateWarning)
        fit = sb.fit(flat, draws=20, tune=20, chains=1, model="multi-power", progress=False)
    codes = [message.code for message in sb.diagnose(fit).messages]
    assert "NO_ANNEALING" in codes
    answer = sb.predict(fit, schedule="constant", steps=100_000, peak=6e-4)
    said = {message.code for message in sb.caveats(answer)}
    assert {"NOT_CONVERGED", "OTHER_PEAK", "AREA_BEYOND", "NO_ANNEALING"} <= said


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda fit: sb.frontier(fit, C="1e20"), "a fit of curves along runs"),
        (lambda fit: sb.decide(fit, C="1e20"), "a fit of curves along runs"),
        (lambda fit: sb.report(fit, "report.html"), "a fit of curves along runs"),
        (lambda fit: sb.predict(fit), "give schedule="),
        (lambda fit: sb.predict(fit, schedule="wsd"), "steps=24000"),
        (lambda fit: sb.predict(fit, schedule="cosine", steps=1000, at=1001), "steps up to 1000"),
        (lambda fit: sb.predict(fit, schedule="cosine", steps=900, group="x"), "give one"),
        (lambda fit: sb.forecast(fit, run="cosin"), "did you mean 'cosine'"),
        (lambda fit: sb.forecast(fit), "give a run"),
        (lambda fit: sb.forecast(fit, step=50), "no run ends before step 50"),
        (lambda fit: sb.forecast(fit, run="cosine", step=50), "ask for later steps"),
        (lambda fit: sb.forecast(fit, run="cosine", to=2.0), "from 0 to below 1"),
    ],
)
def test_questions_without_an_answer_are_refused_in_words(fit, ask, says):
    with pytest.raises(sb.QueryError) as error:
        ask(fit)
    assert says in str(error.value)


def test_a_fit_of_a_table_of_runs_is_told_what_to_ask():
    with pytest.raises(sb.QueryError, match="read_curves"):
        sb.forecast("chinchilla.nc", run="a")


def test_unknown_models_are_refused():
    with pytest.raises(sb.SpecError, match="did you mean 'multi-power'"):
        sb.fit(planted_curves(rows=40), "multipower")


def test_the_figure_shows_runs_and_schedules(fit):
    figure = sb.plots.curves(fit, to=30_000)
    above, below = figure.axes
    assert [text.get_text() for text in above.get_legend().get_texts()] == list(fit.curves.runs)
    assert len(below.lines) == 3
    assert above.lines[0].get_xdata()[-1] == 30_000
    with pytest.raises(sb.QueryError, match="a share from 0 to 1"):
        sb.plots.curves(fit, known=2)


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def test_the_command_prints_the_python_answer(fit, saved, tmp_path):
    said = run(
        *("forecast", saved, "--to", "25K", "--run", "constant", "--anneal", 2000),
        *("--figure", tmp_path / "curves.png"),
    ).output
    assert "decay over the next 2000" in said
    assert "SCHEDULE_HELD" in said
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    rows = run("forecast", saved, "--to", "25K", "--run", "constant", "--json").output
    median = sb.forecast(fit, run="constant", step=25_000)["law"].median(("chain", "draw"))
    assert f"{float(median[0]):.8f}"[:8] in rows


def test_the_command_of_summaries_takes_fits_of_curves(saved):
    said = run("summary", saved).output
    assert "fitted to 360 checkpoints of 3 runs in planted" in " ".join(said.split())
    assert "Convergence checks passed" in said
    assert '"gate_ok": true' in run("summary", saved, "--json").output


def test_the_command_refuses_columns_that_it_does_not_know(tmp_path):
    said = run("forecast", tmp_path / "log.csv", "--to", 9, "--map", "x=y", code=2).output
    assert "ROLE one of run, step, lr, loss, group" in " ".join(said.split())


def test_the_command_refuses_before_it_fits(tmp_path, saved):
    path = tmp_path / "log.csv"
    for option in ("--to", "--anneal"):
        said = run("forecast", path, "--to", 9, option, "soon", code=2).output
        assert "'soon' is not a quantity" in " ".join(said.split())
    said = run("forecast", path, "--to", 9, "--schedule", "steps", code=2).output
    assert "no schedule 'steps'; allowed: constant, cosine, linear, wsd." in " ".join(said.split())
    for option, value in (("--warmup", 5), ("--model", "annealing")):
        said = run("forecast", saved, "--to", 9000, option, value, code=2).output
        assert "is a saved fit" in " ".join(said.split())
        assert option in said
