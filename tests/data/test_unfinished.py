"""What people have below, beside and instead of runs: found by trying some two hundred tables."""

import json

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.errors import RunsError
from scalebayes.units import parse_quantity

SOUND = {"N": [7e7, 1.6e8, 4.1e8], "D": [1.4e9, 3.2e9, 8.2e9], "loss": [3.31, 2.98, 2.71]}


def table(**columns):
    """A sound table with columns changed or added; None takes one away."""
    frame = pd.DataFrame(SOUND).assign(**columns)
    return frame.drop(columns=[name for name, cells in columns.items() if cells is None])


def refusal(source, **arguments):
    with pytest.raises(RunsError) as caught:
        sb.read_runs(source, **arguments)
    return " ".join(str(caught.value).split())


@pytest.mark.parametrize("name", ["State", "status", "run_state"])
def test_runs_that_did_not_finish_are_named(name):
    source = table(**{name: ["finished", "crashed", "FAILED"]})
    text = refusal(source)
    assert f"row 2 {name} got crashed allowed: a finished run" in text
    assert f"row 3 {name} got FAILED" in text
    assert "scalebayes convert --format wandb" in text
    assert len(sb.read_runs(source, strict=False)) == 3
    kept = sb.read_wandb(source)
    assert len(kept) == 1
    assert kept.notes[0] == "1 finished of 3 runs kept; skipped: 1 crashed, 1 failed"
    assert len(sb.read_wandb(source, state="crashed")) == 1


def test_runs_that_are_marked_as_diverged_are_named():
    source = table(diverged=[False, True, False])
    assert "row 2 diverged got True allowed: a finished run" in refusal(source)
    assert len(sb.read_runs(source, strict=False)) == 3


def test_names_that_contain_sizes_are_pointed_out():
    source = table(N=None, model=["Qwen3-0.6B", "Qwen3-1.7B", "Qwen3-8x7B"])
    assert (
        "names in model contain sizes: --name-pattern, such as '{N}-*', reads them"
        in sb.read_runs(source).notes
    )
    assert sb.read_runs(source[:2], name_pattern="*-{N}").N.tolist() == [0.6e9, 1.7e9]


def test_a_summary_of_the_runs_is_no_run():
    source = table(name=["a", "b", "Average"])
    assert "row 3 (Average) name got Average allowed: a run" in refusal(source)


@pytest.mark.parametrize(
    ("columns", "first"),
    [
        ({"loss": None, "train_loss": [3, 2, 1], "c4_val_loss": [3, 2, 1]}, "c4_val_loss"),
        ({"loss": None, "train_loss": [3, 2, 1], "c4_loss": [3, 2, 1]}, "c4_loss"),
        ({"c4_val_loss": [3, 2, 1]}, "c4_val_loss"),
        ({"loss": None, "train/loss": [3, 2, 1], "eval/c4/loss": [3, 2, 1]}, "eval/c4/loss"),
    ],
)
def test_a_training_loss_is_not_taken_where_another_loss_is_there(columns, first):
    assert f"choose loss={first}" in refusal(table(**columns))
    assert len(sb.read_runs(table(**columns), loss=first)) == 3


@pytest.mark.parametrize(
    "others",
    [{"loss_diff_to_baseline": [3, 2, 1]}, {"pred_loss": [3, 2, 1]}, {"train_loss": [3, 2, 1]}],
)
def test_a_loss_of_an_evaluation_is_taken_beside_these(others):
    source = table(**others).rename(columns={"loss": "val_loss"})
    expected = refusal(source) if "train_loss" in others else sb.read_runs(source).loss.tolist()
    assert expected == SOUND["loss"] or "choose loss=val_loss" in expected


@pytest.mark.parametrize("name", ["eval_tokens", "val_tokens", "warmup_tokens", "inference_tokens"])
def test_tokens_of_other_things_are_not_those_of_the_training(name):
    runs = sb.read_runs(table(**{"D": None, name: [1e9, 2e9, 3e9]}))
    assert "D" not in runs.table
    assert f"no column has D and C; not read: {name}. --map names a column" in runs.notes


def test_the_loss_of_the_evaluation_is_advised():
    source = table(val_loss=[3, 2, 1])
    assert "choose loss=val_loss" in refusal(source)


def test_numbers_that_were_not_read_are_noted_where_an_input_is_missing():
    runs = sb.read_runs(table(D=None, bytes=[1, 2, 3], corpus=["x", "y", "z"], fixed=[1, 1, 1]))
    assert "no column has D and C; not read: bytes. --map names a column" in runs.notes
    assert not any("not read" in note for note in sb.read_runs(table(lr=[1, 2, 3])).notes)


def test_sizes_in_names_are_not_left_out_in_silence():
    source = table(N=None, model=["7B", "13B", "70B"])
    text = refusal(source)
    assert "N got no column, but model holds sizes" in text
    assert sb.read_runs(source, N="model").N.tolist() == [7e9, 13e9, 70e9]
    assert "N" not in sb.read_runs(source, N="none").table


def test_a_role_may_have_no_column():
    source = table(C=[0, 1, 2])
    assert "C" in refusal(source)
    runs = sb.read_runs(source, C="none")
    assert runs.C[0] == 6 * 7e7 * 1.4e9


@pytest.mark.parametrize("cell", ["0,125B", "0,350", "00,125"])
def test_a_comma_after_zero_separates_no_thousands(cell):
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(cell)


def test_a_decimal_comma_before_a_suffix_is_read_or_refused(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("params;loss\n0,125B;3,59\n1,300B;2,91\n")
    assert sb.read_runs(path).N.tolist() == [0.125e9, 1.3e9]
    path.write_text("params;loss\n0,125B;3.59\n1,300B;2.91\n")
    assert "row 1 params got 0,125B" in refusal(path)


@pytest.mark.parametrize(
    ("name", "unit", "rate"),
    [
        ("english_wer_percent", "percent", None),
        ("WER (%)", "percent", None),
        ("bits/byte", "bits_per_byte", 0.25),
        ("byte_perplexity", "perplexity_per_byte", 0.25),
        ("PPL", "perplexity", None),
    ],
)
def test_the_advice_on_a_loss_in_another_unit_works_as_it_is_given(name, unit, rate):
    source = table(loss=None, **{name: [3.1, 2.9, 2.8]})
    text = refusal(source)
    assert f"table {name} got a loss of this name" in text
    assert "--loss-unit" in text
    runs = sb.read_runs(source, loss_unit=unit, tokens_per_byte=rate)
    assert f"loss is {name}" in runs.notes


def test_a_name_per_byte_beside_another_unit_is_noted():
    runs = sb.read_runs(table(loss=None, val_bpb=[1.1, 1.0, 0.9]), loss_unit="bits")
    assert "the name val_bpb says per byte, but bits were given as its unit" in runs.notes


def test_log_likelihoods_change_their_sign():
    source = table(loss=[-3.3, -2.9, -2.7])
    assert "scale={'loss': -1} (--scale loss=-1) changes the sign" in refusal(source)
    assert sb.read_runs(source, scale={"loss": -1}).loss.tolist() == [3.3, 2.9, 2.7]
    with pytest.raises(RunsError, match="a positive number"):
        sb.read_runs(table(), scale={"N": -1})


def test_a_scale_is_not_applied_beside_suffixes():
    source = table(N=["70M", "160M", "410M"])
    with pytest.raises(RunsError, match="cells such as 70M"):
        sb.read_runs(source, scale={"N": 1e6})


@pytest.mark.parametrize("cell", ["-", "—", "TBD", "#DIV/0!"])
def test_other_ways_to_write_nothing(tmp_path, cell):
    path = tmp_path / "runs.csv"
    path.write_text(f"N,loss\n7e7,3.3\n1e8,{cell}\n4e8,2.9\n", encoding="utf-8")
    assert "--skip-incomplete" in refusal(path)
    assert sb.read_runs(path, skip_incomplete=True).loss.tolist() == [3.3, 2.9]


def test_infinite_losses_name_the_option_that_skips_them():
    assert "--skip-incomplete" in refusal(table(loss=[3.3, np.inf, 2.7]))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "7e7,1.4e9,3.3\n1e8,2e9,3.1\n", "numbers, not names: add a header"),
        ("a.csv", "# my runs\nN,loss\n7e7,3.3\n", "a title or a comment above the header?"),
        ("a.csv", "N,loss,\xe9\n7e7,3.3,\xe9\n".encode("latin-1"), "save it as UTF-8"),
        ("a.xlsx", "x", "save the sheet as CSV"),
        ("a.csv", "", "it is empty"),
    ],
)
def test_files_that_are_almost_tables_get_a_way_out(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert words in refusal(path)


def test_more_kinds_of_files_are_read(tmp_path):
    stated = tmp_path / "stated.csv"
    stated.write_text("sep=;\nN;loss\n7e7;3.3\n1e8;3.1\n")
    assert sb.read_runs(stated).N.tolist() == [7e7, 1e8]
    text = tmp_path / "runs.txt"
    text.write_text("N\tloss\n7e7\t3.3\n1e8\t3.1\n")
    assert sb.read_runs(text).N.tolist() == [7e7, 1e8]
    records = [{"N": 7e7, "loss": 3.3}, {"N": 1e8, "loss": 3.1}]
    lines = tmp_path / "runs.ndjson"
    lines.write_text("\n".join(map(json.dumps, records)))
    assert sb.read_runs(lines).N.tolist() == [7e7, 1e8]
    wrapped = tmp_path / "runs.json"
    wrapped.write_text(json.dumps({"runs": records, "project": "x"}))
    assert sb.read_runs(wrapped).N.tolist() == [7e7, 1e8]


def test_columns_that_are_numbers_are_named_by_them():
    source = pd.DataFrame([[1e8, 1e9, 3.0], [2e8, 1e9, 2.9]])
    assert sb.read_runs(source, N=0, D=1, loss=2).N.tolist() == [1e8, 2e8]


@pytest.mark.parametrize(
    "arguments", [{"scale": "N=1e6"}, {"metric": 3}, {"name_pattern": 3}, {"sep": 1}]
)
def test_arguments_of_the_wrong_type_are_refused(arguments):
    assert str(next(iter(arguments.values()))) in refusal(table(), **arguments)


def test_a_chart_along_time_is_not_read_as_one_along_steps():
    chart = pd.DataFrame(
        {"Relative Time (Process)": [1.0, 2.0], "70M - loss": [3, 2], "1B - loss": [3, 2]}
    )
    with pytest.raises(RunsError, match="not along steps: export it with Step"):
        sb.read_checkpoints(chart, name_pattern="{N}", tokens_per_step=1e6)


def test_a_pattern_does_not_replace_a_column():
    source = table(run=["190M-a", "1B-b", "2B-c"])
    with pytest.raises(RunsError, match="finds N, but the table has a column called N already"):
        sb.read_runs(source, name_pattern="{N}-*")
    usual = source.rename(columns={"N": "n_params"})
    with pytest.raises(RunsError, match="but the table has a column called n_params already"):
        sb.read_runs(usual, name_pattern="{N}-*")


def test_shares_among_percentages_are_refused():
    source = pd.DataFrame({"loss": [3, 2.5, 2], "acc": [31.3, 0.351, 41.0]})
    with pytest.raises(RunsError, match="a share among percentages"):
        sb.read_scores(source, percent=True)


def test_equal_runs_that_differ_much_are_a_warning():
    N = np.repeat([1e8, 1e9], 4)
    far = sb.read_runs(pd.DataFrame({"N": N, "loss": np.resize([3.0, 3.6], 8), "s": range(8)}))
    (message,) = [m for m in sb.check_runs(far) if m.code == "REPLICATES"]
    assert message.level == "warning"
    assert "Do they differ in another input" in message.text
