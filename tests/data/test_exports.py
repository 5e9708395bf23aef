"""Exports and tables of checkpoints, in the formats of trackers and training code, read as runs."""

import io

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app

# An export of a project's table of runs, with config and summary values behind their prefixes.
WANDB = """\
"Name","State","Notes","User","Tags","Created","Runtime","Sweep","ID","model.n_params","optimizer.lr",\
"data.train_tokens","_step","eval/loss","train/grad_norm"
"d12-lr3e-4","finished","-","ann","base","2025-03-01T10:00:00.000Z","3600","","a1","124439808","0.0003",\
"2500000000","4768","3.2871","0.21"
"d12-lr6e-4","crashed","-","ann","","2025-03-01T10:00:00.000Z","1200","","a2","124439808","0.0006","2500000000","1500",\
"3.91","0.4"
"d24","finished","-","ann","base","2025-03-02T10:00:00.000Z","9000","","a3","353772544","0.0003","7000000000","13351",\
"2.9312","0.18"
"d24-long","running","-","ann","","2025-03-03T10:00:00.000Z","300","","a4","353772544","0.0003","14000000000","90","",""
"""


@pytest.fixture
def export(tmp_path):
    path = tmp_path / "wandb_export_2025-03-04T09_00_00.000+00_00.csv"
    path.write_text(WANDB)
    return path


def test_an_export_keeps_finished_runs_and_says_what_it_skipped(export):
    runs = sb.read_wandb(export)
    assert list(runs.table.index) == ["d12-lr3e-4", "d24"]
    assert runs.N.tolist() == [124439808, 353772544]
    assert runs.D.tolist() == [2.5e9, 7e9]
    assert runs.loss.tolist() == [3.2871, 2.9312]
    assert runs.notes == (
        "2 finished of 4 runs kept; skipped: 1 crashed, 1 running",
        "C was computed as 6 N D",
    )
    assert (runs.name, runs.source) == ("wandb_export_2025-03-04T09_00_00.000+00_00", str(export))


def test_names_of_the_api_are_recognised_and_two_losses_must_be_told_apart(export):
    frame = pd.read_csv(export).rename(
        columns={"eval/loss": "summary.eval/loss", "model.n_params": "config.model.n_params"}
    )
    assert sb.read_wandb(frame).hash == sb.read_wandb(export).hash
    frame["summary.train/loss"] = [3.2, 3.8, 2.8, None]
    with pytest.raises(
        sb.RunsError, match=r"eval/loss and summary.train/loss .*choose loss=summary.eval/loss"
    ):
        sb.read_wandb(frame)
    assert sb.read_wandb(frame, loss="summary.train/loss").loss.tolist() == [3.2, 2.8]


def test_other_states_and_tables_without_any(export):
    frame = pd.read_csv(export)
    assert list(sb.read_wandb(frame, state="crashed").table.index) == ["d12-lr6e-4"]
    with pytest.raises(
        sb.RunsError, match="no run is 'failed': there are 2 finished, 1 crashed, 1 running"
    ):
        sb.read_wandb(frame, state="failed")
    stateless = sb.read_wandb(frame.drop(columns="State"), skip_incomplete=True)
    assert len(stateless) == 3
    assert "no State column: every row is taken for a finished run" in stateless.notes


def cooled():
    """Two trainings: one decays to its end; one at a constant rate branches to two cooldowns."""
    steps = np.arange(0, 11) * 100
    one = pd.DataFrame({"run": "cosine", "step": steps, "lr": 1e-3 * (1 - 0.99 * steps / 1000)})
    rate = np.array([1, 1, 1, 0.5, 0.01, 1, 1, 1, 0.5, 0.01, 1]) * 2e-3
    two = pd.DataFrame({"run": "constant", "step": steps, "lr": rate})
    table = pd.concat([one, two], ignore_index=True)
    table["params"] = np.where(table["run"] == "cosine", 1e8, 3e8)
    table["val_loss"] = 4 - table["step"] / 1000 + (table["run"] == "cosine") * 0.1
    return table.sample(frac=1, random_state=0)  # logs need not be in order


def test_the_last_step_of_each_run_is_kept():
    runs = sb.read_checkpoints(cooled(), tokens_per_step="2M")
    assert runs.table.loc["cosine", ["N", "D", "loss"]].tolist() == pytest.approx([1e8, 2e9, 3.1])
    assert sorted(runs.table.index) == ["constant", "cosine"]
    assert runs.notes[:2] == (
        "2 of 22 checkpoints of 2 runs kept: the last step of each run",
        "D = 2e+06 tokens times step",
    )


def test_annealed_checkpoints_are_the_ends_of_cooldowns():
    runs = sb.read_checkpoints(cooled(), keep="annealed", tokens_per_step=2e6)
    assert sorted(runs.table.index) == ["constant@400", "constant@900", "cosine@1000"]
    assert runs.table.loc["constant@400", "D"] == 8e8
    assert "every stretch with lr at 0.1 of the run's peak or less" in runs.notes[0]


def test_every_row_is_a_run_on_request():
    table = cooled().assign(tokens=lambda t: (t["step"] + 100) * 2e6)
    runs = sb.read_checkpoints(table, keep="all")
    assert len(runs) == 22
    assert runs.table.loc["cosine@300", "D"] == 8e8


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"keep": "best"}, "keep is 'final', 'annealed' or 'all'; got 'best'"),
        ({"step": None}, {}, "needs a column of the step"),
        ({"run": None}, {}, "needs a column of the run"),
        ({"lr": None}, {"keep": "annealed"}, "needs a column of the learning rate"),
        (
            {"lr": 1e-3},
            {"keep": "annealed"},
            "no checkpoint is annealed: lr never falls to 0.1 of its peak",
        ),
        ({"step": "x"}, {}, "22 of 22 checkpoints have no usable step"),
        ({}, {"step": "steps"}, "'steps', no such column"),
        ({}, {"N": "n"}, "'n', no such column"),
    ],
)
def test_checkpoints_that_cannot_be_read_are_refused_in_words(change, arguments, message):
    table = cooled().assign(**{k: v for k, v in change.items() if v is not None})
    table = table.drop(columns=[k for k, v in change.items() if v is None])
    with pytest.raises(sb.RunsError, match=message):
        sb.read_checkpoints(table, **{"tokens_per_step": 2e6} | arguments)


def convert(*arguments, code=0):
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_convert_writes_a_table_that_reads_back(export, tmp_path):
    result = convert(export, "--format", "wandb", "-o", tmp_path / "runs.csv")
    assert result.stdout == ""
    assert "note: 2 finished of 4 runs kept" in result.stderr
    assert sb.read_runs(tmp_path / "runs.csv").hash == sb.read_wandb(export).hash
    assert (
        "exists; --force replaces it" in convert(export, "-o", tmp_path / "runs.csv", code=1).stderr
    )
    checkpoints = tmp_path / "log.csv"
    cooled().to_csv(checkpoints, index=False)
    convert(
        checkpoints,
        "--format",
        "checkpoints",
        "--tokens-per-step",
        "2M",
        "--force",
        "-o",
        tmp_path / "runs.csv",
    )
    assert len(sb.read_runs(tmp_path / "runs.csv")) == 2


def test_convert_turns_bits_per_byte_into_nats(tmp_path):
    (tmp_path / "bpb.csv").write_text("params,tokens,bpb\n70M,3B,1.1\n160M,5B,1.0\n1B,20B,\n")
    asked = [
        tmp_path / "bpb.csv",
        "--map",
        "loss=bpb",
        "--loss-unit",
        "bits_per_byte",
        "-o",
        tmp_path / "runs.csv",
    ]
    assert "tokens_per_byte" in convert(*asked, code=1).stderr
    assert "row 3" in convert(*asked, "--tokens-per-byte", "0.25", code=1).stderr
    result = convert(*asked, "--tokens-per-byte", "0.25", "--skip-incomplete")
    assert "1 row without a loss was skipped (row 3)" in result.stderr
    loss = pd.read_csv(io.StringIO((tmp_path / "runs.csv").read_text()))["loss"]
    np.testing.assert_allclose(loss, np.array([1.1, 1.0]) * np.log(2) / 0.25, rtol=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--format", "mlflow"],
        ["--keep", "annealed"],
        ["--format", "wandb", "--tokens-per-step", "1"],
    ],
)
def test_convert_refuses_wrong_usage(export, tmp_path, arguments):
    convert(export, "-o", tmp_path / "runs.csv", *arguments, code=2)


def test_names_that_a_spreadsheet_would_run_are_quoted_and_read_back(tmp_path):
    names = ["=cmd|' /C calc'!A0", "+a", "-b", "@c", "plain"]
    table = pd.DataFrame(
        {
            "run": names,
            "group": ["=g", "g", "g", "g", "g"],
            "N": [7e7, 1e8, 2e8, 4e8, 1e9],
            "loss": [3.4, 3.2, 3.0, 2.9, 2.6],
        }
    )
    path = tmp_path / "names.jsonl"
    table.to_json(path, orient="records", lines=True)
    convert(path, "-o", tmp_path / "runs.csv")
    written = pd.read_csv(tmp_path / "runs.csv")
    for cell in [*written["run"], *written["group"]]:
        assert not cell.startswith(("=", "+", "-", "@"))
    back = sb.read_runs(tmp_path / "runs.csv")
    assert list(back.table.index) == names
    assert back.hash == sb.read_runs(table).hash
