"""Charts, folders of files and names that contain values."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.data.tables.logs import chart_to_rows, is_chart
from scalebayes.data.tables.name_patterns import fields_of_names
from scalebayes.errors import RunsError
from tests.conftest import SHARED


def chart():
    """A chart of three runs, as Weights & Biases exports it: ranges and steps of each run too."""
    steps = [1000, 2000, 3000]
    columns = {"Step": steps}
    for place, name in enumerate(["70M-a", "160M-a", "1B - b"]):
        losses = [4.0 - place, 3.5 - place, None if name == "70M-a" else 3.2 - place]
        columns[f"{name} - eval/loss"] = losses
        columns[f"{name} - _step"] = steps
        columns[f"{name} - eval/loss__MIN"] = losses
        columns[f"{name} - eval/loss__MAX"] = losses
    return pd.DataFrame(columns)


def test_a_chart_is_recognised_and_explained(tmp_path):
    path = tmp_path / "chart.csv"
    chart().to_csv(path, index=False)
    for answer in (sb.read_runs, sb.read_wandb):
        with pytest.raises(RunsError) as caught:
            answer(path)
        text = str(caught.value)
        assert "chart exported from Weights & Biases: a row for each step of 3 runs" in text
        assert "scalebayes convert FILE --format checkpoints --name-pattern" in text
    for command in ("runs", "fit"):
        result = CliRunner().invoke(app, [command, str(path)])
        assert result.exit_code == 1
        assert "a chart exported from Weights & Biases" in result.output


def test_other_tables_are_no_charts():
    assert not is_chart(["Step", "loss"])
    assert not is_chart(["N", "a - loss", "b - loss"])
    assert not is_chart(["Step", "a - loss", "b - accuracy"])
    assert not is_chart(["Step", "a - loss", "D"])
    assert is_chart(["Step", "a - loss", "b - loss"])


def test_a_chart_whose_names_give_the_sizes_is_read():
    rows = chart_to_rows(chart())
    assert len(rows) == 8  # one value is missing
    runs = sb.read_checkpoints(chart(), name_pattern="{N}*", tokens_per_step="0.5M")
    assert runs.N.tolist() == [70e6, 160e6, 1e9]
    assert runs.D.tolist() == [1e9, 1.5e9, 1.5e9]  # the last step that has a loss
    assert runs.loss.tolist() == pytest.approx([3.5, 2.2, 1.2])
    assert "a chart of 3 runs" in runs.notes


@pytest.mark.skipif(not SHARED.is_dir(), reason="the cases are not beside the checkout")
def test_the_chart_among_the_cases_is_explained():
    path = SHARED / "cases" / "07-toy-laws-wandb-wide.csv"
    with pytest.raises(RunsError, match="a chart exported from Weights & Biases"):
        sb.read_runs(path)


def ladder(folder):
    """Write a file of steps for each run, with N and the multiple of Chinchilla in its name."""
    folder.mkdir()
    for name, N in (("190M-0.5xC", 190e6), ("190M-1xC", 190e6), ("1B-1xC-rerun", 1e9)):
        steps = np.arange(1, 5) * 100
        multiple = float(name.split("-")[1].removesuffix("xC"))
        tokens = steps / 400 * 20 * N * multiple
        losses = 2 + 1e3 / N**0.34 + 400 / tokens**0.28
        losses[1] = np.nan  # evaluated less often than logged
        pd.DataFrame({"step": steps, "tokens": tokens, "c4_en_ce": losses}).to_csv(
            folder / f"{name}.csv", index=False
        )


def test_a_folder_of_logs_is_read_with_sizes_from_the_names(tmp_path):
    folder = tmp_path / "ladder"
    ladder(folder)
    pattern = "{N}-{x}xC*"
    runs = sb.read_checkpoints(folder, name_pattern=pattern)
    assert list(runs.table.index) == ["190M-0.5xC", "190M-1xC", "1B-1xC-rerun"]
    assert runs.N.tolist() == [190e6, 190e6, 1e9]
    assert runs.D.tolist() == [1.9e9, 3.8e9, 2e10]
    assert "12 rows of 3 files in " + str(folder) in runs.notes
    assert "3 rows without a loss were skipped" in runs.notes
    files = sorted(folder.iterdir())
    assert sb.read_checkpoints(files, name_pattern=pattern).hash == runs.hash
    assert sb.read_checkpoints(f"{folder}/*.csv", name_pattern=pattern).hash == runs.hash
    target = tmp_path / "runs.csv"
    asked = ["convert", str(folder), "--format", "checkpoints", "--name-pattern", pattern]
    result = CliRunner().invoke(app, [*asked, "-o", str(target)])
    assert result.exit_code == 0, result.output
    assert sb.read_runs(target).hash == runs.hash


def test_a_folder_of_logs_is_no_table_of_runs(tmp_path):
    ladder(tmp_path / "ladder")
    with pytest.raises(RunsError, match=r"each file has a row for each step .* convert"):
        sb.read_runs(tmp_path / "ladder", name_pattern="{N}-{x}xC*")


def test_files_with_a_row_for_each_run_are_joined(tmp_path):
    for name, N in (("a", 70e6), ("b", 1e9)):
        columns = {"params": [N] * 2, "tokens": [3e9, 2e10], "loss": [3.4 - N / 1e9, 3.1 - N / 1e9]}
        pd.DataFrame(columns).to_csv(tmp_path / f"{name}.csv", index=False)
    runs = sb.read_runs(tmp_path)
    assert len(runs) == 4
    assert runs.name == tmp_path.name
    result = CliRunner().invoke(app, ["runs", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "4 rows of 2 files" in result.output
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(RunsError, match="has no file of runs"):
        sb.read_runs(empty)
    with pytest.raises(RunsError, match="no file matches"):
        sb.read_runs(str(tmp_path / "*.tsv"))


def test_names_of_runs_in_one_file_may_contain_sizes():
    table = pd.DataFrame(
        {"run": ["190M-0.5xC", "190M-1xC"], "tokens": [1.9e9, 3.8e9], "loss": [3.7, 3.6]}
    )
    runs = sb.read_runs(table, name_pattern="{N}-{}")
    assert runs.N.tolist() == [190e6, 190e6]
    with pytest.raises(RunsError, match=r"got '190M-0.5xC'  allowed: a name such as \{N\}B-\*"):
        sb.read_runs(table, name_pattern="{N}B-*")
    with pytest.raises(RunsError, match="has a column called tokens already"):
        sb.read_runs(table, name_pattern="{tokens}-*")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("*-x", "has no field"), ("{N}-{N}", "write each field once"), ("{1}", "write each field")],
)
def test_a_pattern_that_says_nothing_is_refused(pattern, message):
    with pytest.raises(RunsError, match=message):
        fields_of_names(pattern, ["a"])


def test_a_pattern_takes_other_characters_as_they_are():
    assert fields_of_names("({N})+{x}.", ["(7B)+3."]) == {"N": ["7B"], "x": ["3"]}


def test_json_lists_and_nested_objects_are_read(tmp_path):
    records = [
        {"config": {"n_params": 70e6}, "summary": {"tokens": 3e9, "eval/loss": 3.4}, "name": "a"},
        {"config": {"n_params": 1e9}, "summary": {"tokens": 2e10, "eval/loss": 2.6}, "name": "b"},
    ]
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(records))
    runs = sb.read_runs(path)
    assert (runs.N.tolist(), runs.loss.tolist()) == ([70e6, 1e9], [3.4, 2.6])
    assert list(runs.table.index) == ["a", "b"]
    columns = {"N": [70e6, 1e9], "D": [3e9, 2e10], "loss": [3.4, 2.6]}
    path.write_text(json.dumps(columns))
    assert sb.read_runs(path).hash == sb.read_runs(pd.DataFrame(columns)).hash


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("runs.json", "[1, 2]", "no list of objects"),
        ("runs.json", '{"a": 1}', "no list of objects"),
        ("runs.json", "[" * 100_000, "nested too deeply"),
        ("runs.jsonl", '{"a":' * 100_000, "nested too deeply"),
        ("runs.json", "[]", "has no runs"),
        ("runs.json", '[{"N": 1' + "0" * 5000 + ', "loss": 3}]', "cannot read runs from"),
    ],
)
def test_json_that_is_no_table_is_one_message(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(RunsError, match=message):
        sb.read_runs(path)


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["model/n_params", "train/tokens_seen", "eval/loss"], ["N", "D", "loss"]),
        (["config.params", "config.train_flops", "summary.val_loss"], ["N", "C", "loss"]),
    ],
)
def test_names_behind_a_dot_or_slash_are_known_to_every_reader(names, roles):
    values = {"N": [70e6, 1e9], "D": [3e9, 2e10], "C": [1.3e18, 1.2e20], "loss": [3.4, 2.6]}
    table = pd.DataFrame({name: values[role] for name, role in zip(names, roles, strict=True)})
    runs = sb.read_runs(table)
    for role in roles:
        assert runs.table[role].tolist() == values[role]


def test_two_names_behind_slashes_must_be_told_apart():
    table = pd.DataFrame({"N": [70e6, 1e9], "eval/loss": [3.4, 2.6], "train/loss": [3.3, 2.5]})
    with pytest.raises(RunsError, match="choose loss=eval/loss"):
        sb.read_runs(table)


def test_exports_skip_rows_without_a_loss():
    table = pd.DataFrame(
        {
            "params": [70e6, 1e8, 1e9],
            "tokens": [3e9] * 3,
            "loss": [3.4, None, 2.6],
            "State": "finished",
        }
    )
    runs = sb.read_wandb(table)
    assert len(runs) == 2
    assert "1 row without a loss was skipped" in runs.notes


def test_columns_with_levels_keep_all_of_them(tmp_path):
    pytest.importorskip("pyarrow")
    levels = pd.MultiIndex.from_tuples([("model", "params"), ("data", "tokens"), ("loss", "")])
    table = pd.DataFrame([[70e6, 3e9, 3.4], [1e9, 2e10, 2.6]], columns=levels)
    runs = sb.read_runs(table)
    assert (runs.N.tolist(), runs.loss.tolist()) == ([70e6, 1e9], [3.4, 2.6])
    path = tmp_path / "levels.parquet"
    table.to_parquet(path)
    assert sb.read_runs(path).hash == runs.hash
