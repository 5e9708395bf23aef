import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.curves.curves import shared_rows
from scalebayes.errors import QueryError


def log(run="a", rows=20, first=0, every=100, rate=1e-3):
    steps = first + every * np.arange(1, rows + 1)
    return pd.DataFrame(
        {"run": run, "step": steps, "lr": rate, "loss": 3 + (steps / 100.0) ** -0.5}
    )


def test_a_folder_has_a_file_for_each_run(tmp_path):
    for name in ("cosine", "wsd"):
        log().drop(columns="run").to_csv(tmp_path / f"{name}.csv", index=False)
    curves = sb.read_curves(tmp_path)
    assert list(curves.runs) == ["cosine", "wsd"]
    assert len(curves) == 40
    assert "20 checkpoints" not in repr(curves)
    assert "40 checkpoints of 2 runs" in repr(curves)


def test_a_history_logs_the_loss_now_and_then_and_the_rate_always():
    steps = np.arange(0, 2001, 10)
    rates = np.minimum(steps / 200, 1.0) * 1e-3
    history = pd.DataFrame({"_step": steps, "train/lr": rates, "val/loss": np.nan})
    history.loc[history["_step"] % 100 == 0, "val/loss"] = 4.0 - steps[::10] / 1000
    curves = sb.read_curves(history, lr="train/lr")
    curve = curves["run"]
    assert curve.schedule.warmup == 200
    assert curve.warmup_area == pytest.approx(0.1)
    assert curve.areas[-1] == pytest.approx(0.1 + 1.8)
    np.testing.assert_array_equal(curve.steps, np.arange(200, 2001, 100))
    assert "2 rows of the warm-up of run were kept apart" in curves.notes


def test_a_table_that_begins_after_the_warmup_is_completed_and_says_so():
    curves = sb.read_curves(log(first=900))
    assert curves["a"].warmup_area == pytest.approx(0.5)
    assert "risen linearly until the first row" in curves.notes[0]
    told = sb.read_curves(log(first=900), warmup=200)
    assert told["a"].warmup_area == pytest.approx(0.1)
    assert told["a"].areas[0] == pytest.approx(0.1 + 0.8)
    assert told.notes == ()


def test_an_isolated_change_is_a_jump_and_others_are_slopes():
    table = log(rows=20)
    table.loc[10:, "lr"] = 3e-4
    jump = sb.read_curves(table, warmup=0)["a"].schedule
    assert jump.rate(np.array([1099.0, 1100.0])).tolist() == [1e-3, 3e-4]
    table["lr"] = np.linspace(1e-3, 1e-4, 20)
    slope = sb.read_curves(table, warmup=0)["a"].schedule
    assert slope.rate(np.array([1050.0]))[0] == pytest.approx(
        np.interp(1050, table["step"], table["lr"])
    )


def test_runs_that_share_their_first_checkpoints_are_branches():
    trunk, branch = log("trunk"), log("branch")
    branch.loc[12:, "loss"] -= 0.1
    curves = sb.read_curves(pd.concat([trunk, branch]), warmup=0)
    assert shared_rows(curves["trunk"], curves["branch"]) == 12


def test_groups_are_found_by_usual_names_or_named():
    two = pd.concat([log("a").assign(size="25M"), log("b").assign(size="100M")])
    assert sb.read_curves(two, warmup=0).groups == ("25M", "100M")
    two = two.rename(columns={"size": "width"})
    assert sb.read_curves(two, warmup=0).groups == ("",)
    assert sb.read_curves(two, warmup=0, group="width").groups == ("25M", "100M")


def test_a_chart_without_rates_takes_schedules():
    chart = pd.DataFrame({"Step": np.arange(100, 2001, 100)})
    chart["fast - val/loss"] = 3 + (chart["Step"] / 100) ** -0.5
    with pytest.raises(sb.RunsError, match="learning rate"):
        sb.read_curves(chart)
    curves = sb.read_curves(chart, schedules={"fast": np.full(2001, 1e-3)})
    assert curves["fast"].areas[-1] == pytest.approx(2.0)
    with pytest.raises(sb.RunsError, match="no schedule of run 'fast'"):
        sb.read_curves(chart, schedules={"slow": np.full(2001, 1e-3)})


def faulty(change):
    table = log().astype({"loss": object})
    return change(table)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (log().drop(columns="lr"), "a column of the lr"),
        (log().drop(columns="loss"), "one column of the loss"),
        (log().assign(eval_loss=1.0, train_loss=2.0).drop(columns="loss"), "several: "),
        (faulty(lambda t: t.assign(loss=["oops", *t["loss"][1:]])), "got oops"),
        (faulty(lambda t: t.assign(loss=[-1.0, *t["loss"][1:]])), "a positive number"),
        (log().assign(lr=-1.0), "a number, zero or more"),
        (log(rows=5), "no run has 8 checkpoints"),
        (log().assign(loss=np.nan), "no row has a loss"),
    ],
)
def test_what_is_no_table_of_curves_is_refused_in_words(table, says):
    with pytest.raises(sb.RunsError) as error:
        sb.read_curves(table)
    assert says in str(error.value)


def test_short_runs_are_skipped_with_a_note():
    curves = sb.read_curves(pd.concat([log("a"), log("b", rows=3)]), warmup=0)
    assert list(curves.runs) == ["a"]
    assert "b was skipped" in "".join(curves.notes)


def test_an_unknown_run_is_told_with_the_nearest():
    curves = sb.read_curves(log("cosine"), warmup=0)
    with pytest.raises(sb.QueryError, match="did you mean 'cosine'"):
        curves["cosin"]


def test_the_steps_after_a_restart_count_once_and_a_note_says_so():
    again = log(rows=3, first=1700).assign(loss=3.5)
    curves = sb.read_curves(pd.concat([log(), again]), warmup=0)
    assert len(curves["a"].steps) == 20
    assert curves["a"].losses[-1] == 3.5
    assert any("3 checkpoints of a were left out" in note for note in curves.notes)


def test_several_runs_under_one_name_are_refused():
    both = pd.concat([log(), log().assign(loss=9.0)])
    with pytest.raises(sb.RunsError, match="20 steps of a have several losses"):
        sb.read_curves(both)


def test_labels_without_a_column_of_the_run_are_refused():
    table = pd.concat([log(), log(first=2000)]).drop(columns="run")
    labelled = table.assign(schedule=np.repeat(["cosine", "wsd"], 20))
    with pytest.raises(sb.RunsError, match="no column names the run, but schedule"):
        sb.read_curves(labelled)
    assert list(sb.read_curves(labelled, run="schedule", warmup=0).runs) == ["cosine", "wsd"]
    assert list(sb.read_curves(table.assign(code="v1"), warmup=0).runs) == ["run"]


def test_a_negative_warmup_is_refused():
    with pytest.raises(QueryError, match="warmup=-5; a warm-up has zero or more steps"):
        sb.read_curves(log(), warmup=-5)
