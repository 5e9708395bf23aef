"""Units that the names of columns state, and the factors that --scale takes."""

import pandas as pd
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.data.tables.unit_names import hint_of_name, not_nats, unit_in_name
from scalebayes.errors import RunsError

SIZES = {"N": [70e6, 160e6, 1e9], "loss": [3.4, 3.0, 2.6]}
TOKENS = {**SIZES, "D": [3e9, 2e10, 2e10]}


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("FLOPs (P)", 1e15),
        ("PFLOPs", 1e15),
        ("train_gflops", 1e9),
        ("EFLOP", 1e18),
        ("petaflops", 1e15),
        ("gmacs", 2e9),
        ("MACs", 2.0),
        ("PF-days", 8.64e19),
        ("petaflop/s-days", 8.64e19),
        ("pf_days", 8.64e19),
        ("flops_1e18", 1e18),
        ("params_m", 1e6),
        ("params (B)", 1e9),
        ("tokens in billions", 1e9),
        ("n_params (millions)", 1e6),
    ],
)
def test_a_factor_in_a_name_is_known(name, factor):
    assert unit_in_name(name).factor == factor
    assert f"(--scale '{name}=" in hint_of_name(name)


@pytest.mark.parametrize(
    "name", ["flops", "num_params", "Step", "model", "tokens seen", "train/loss", "data", "lr"]
)
def test_other_names_state_no_unit(name):
    assert unit_in_name(name) is None
    assert hint_of_name(name) == ""


def test_gpu_hours_need_a_speed():
    assert unit_in_name("H100_hours").factor is None
    hint = hint_of_name("gpu_hours")
    assert "GPU-hours are 3600 times the FLOP/s that one GPU sustains" in hint
    assert "(--scale 'gpu_hours=1.44e18')" in hint


@pytest.mark.parametrize("name", ["apple loss", "supply", "val_loss", "bitter_loss", "accuracy_of"])
def test_names_of_losses_in_nats(name):
    assert bool(not_nats(name)) == (name == "accuracy_of")


@pytest.mark.parametrize(
    ("column", "values", "hint"),
    [
        ("FLOPs (P)", [1.5, 30.0, 99.0], "in peta: scale={'FLOPs (P)': 1e15}"),
        ("gmacs", [1e3, 1e4, 1e5], "in giga-MAC: scale={'gmacs': 2e9}"),
        ("gpu_hours", [10.0, 200.0, 900.0], "GPU-hours are 3600 times"),
    ],
)
def test_a_column_of_compute_gets_the_hint_of_its_name(column, values, hint):
    table = pd.DataFrame({"loss": SIZES["loss"], column: values})
    with pytest.raises(RunsError) as caught:
        sb.read_runs(table)
    (fault,) = caught.value.faults
    assert fault.column == column
    assert hint in fault.hint


@pytest.mark.parametrize(
    ("unit", "factor", "text"), [("peta", 1e15, "1e15"), ("PF-days", 8.64e19, "8.64e19")]
)
def test_a_compute_far_from_6nd_is_recognised_by_its_factor(unit, factor, text):
    N, D = [7e7, 7e8, 7e9], [3e9, 2e10, 2e11]
    compute = [6 * n * d / factor for n, d in zip(N, D, strict=True)]
    table = pd.DataFrame({"N": N, "D": D, "C": compute, "loss": SIZES["loss"]})
    with pytest.raises(RunsError) as caught:
        sb.read_runs(table)
    (fault,) = caught.value.faults
    assert f"in {unit}? scale={{'C': {text}}} (--scale 'C={text}')" in fault.hint


def test_scale_multiplies_a_column_and_says_so():
    table = pd.DataFrame(TOKENS).assign(params_m=[70, 160, 1000]).drop(columns="N")
    runs = sb.read_runs(table, scale={"params_m": 1e6})
    assert runs.N.tolist() == [70e6, 160e6, 1e9]
    assert "N is params_m times 1e+06" in runs.notes
    by_role = sb.read_runs(
        pd.DataFrame(TOKENS).assign(loss=[0.0034, 0.003, 0.0026]), scale={"loss": "1K"}
    )
    assert by_role.loss.tolist() == pytest.approx(SIZES["loss"])


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({"nope": 2}, "got 'nope', no column that is read  allowed: one of N, D, loss"),
        ({"N": "x"}, "got a scale of x  allowed: a positive number"),
        ({"N": -1}, "got a scale of -1  allowed: a positive number"),
    ],
)
def test_a_scale_that_cannot_be_used_is_refused(scale, message):
    with pytest.raises(RunsError, match="a scale cannot be used") as caught:
        sb.read_runs(pd.DataFrame(TOKENS), scale=scale)
    assert " ".join(message.split()) in " ".join(str(caught.value).split())


@pytest.mark.parametrize("name", ["hours", "n_images", "examples_seen", "policies", "n_train"])
def test_data_may_be_counted_in_other_things_than_tokens(name):
    table = pd.DataFrame({name: [34, 68, 136], "loss": [0.9, 0.7, 0.6]})
    runs = sb.read_runs(table)
    assert runs.D.tolist() == [34, 68, 136]
    assert f"D is {name}" in runs.notes


def test_tokens_win_over_other_counts_and_a_known_third_is_not_sought():
    table = pd.DataFrame(TOKENS).assign(samples=[3, 4, 5])
    assert sb.read_runs(table).D.tolist() == TOKENS["D"]
    compute = pd.DataFrame({**SIZES, "C": [1e18, 1e19, 1e20], "samples": [3, 4, 5]})
    assert sb.read_runs(compute).D[0] == 1e18 / (6 * 70e6)


def test_words_in_a_name_say_its_role_and_this_is_noted():
    table = pd.DataFrame(TOKENS).rename(columns={"D": "actual_train_tokens", "loss": "c4_en_ce"})
    runs = sb.read_runs(table.assign(tokens_per_batch=[1e6] * 3))
    assert runs.D.tolist() == TOKENS["D"]
    assert {"D is actual_train_tokens", "loss is c4_en_ce"} <= set(runs.notes)
    images = table.rename(columns={"actual_train_tokens": "Visual Tokens"})
    assert "D" not in sb.read_runs(images.assign(**{"Visual Tokens": [1, 4, 16]})).table
    either = table.assign(second_count_of_tokens=[1e9, 2e9, 3e9])
    with pytest.raises(RunsError, match="choose D=actual_train_tokens"):
        sb.read_runs(either)
    assert "D" not in sb.read_runs(either, D="none").table


@pytest.mark.parametrize(
    ("name", "is_size"),
    [("params_non_embedding", True), ("embedding_params", False), ("unembedding", False)],
)
def test_parameters_without_embeddings_are_a_size(name, is_size):
    table = pd.DataFrame(TOKENS).rename(columns={"N": name})
    runs = sb.read_runs(table)
    assert ("N" in runs.table) == is_size
    assert (f"N is {name}" in runs.notes) == is_size


def test_sizes_in_a_column_of_names_are_pointed_out():
    table = pd.DataFrame({"model": ["0.6B", "1.7B", "4B"], "val_loss": SIZES["loss"]})
    with pytest.raises(RunsError) as caught:
        sb.read_runs(table)
    (fault,) = caught.value.faults
    assert fault.hint == "model holds sizes: N=model (--map N=model)"


@pytest.mark.parametrize("command", ["runs", "fit", "backtest", "convert"])
def test_every_command_that_reads_a_table_takes_its_units(command, tmp_path):
    path = tmp_path / "ppl.csv"
    path.write_text("params_m,tokens_b,perplexity\n70,3,30\n160,20,20\n1000,20,16\n")
    asked = [command, str(path)]
    if command == "convert":
        asked += ["-o", str(tmp_path / "runs.csv")]
    refused = CliRunner().invoke(app, asked)
    assert refused.exit_code == 1
    assert "--loss-unit perplexity" in refused.output
    options = ["--loss-unit", "perplexity", "--scale", "params_m=1e6", "--scale", "tokens_b=1e9"]
    if command == "fit":
        options += ["-m", "nosuch"]
    if command == "backtest":
        options += ["--models", "nosuch"]
    lenient = CliRunner().invoke(app, [*asked, "--lenient", *options[2:]])
    assert "--loss-unit perplexity" in lenient.output
    answer = CliRunner().invoke(app, [*asked, *options])
    expected = "nosuch" if command in ("fit", "backtest") else "N 70M to 1B"
    assert expected in answer.output


def test_a_percent_sign_makes_a_share():
    table = pd.DataFrame({"D": [3e9, 2e10], "wer": ["40.7%", "30 %"]})
    runs = sb.read_runs(table, loss="wer")
    assert runs.loss.tolist() == pytest.approx([0.407, 0.3])
    assert "wer has % signs: 40.7% was read as 0.407" in runs.notes
    plain = pd.DataFrame({"D": [3e9, 2e10], "wer": [40.7, 30]})
    asked = sb.read_runs(plain, loss="wer", loss_unit="percent", metric="word error rate")
    assert asked.loss.tolist() == pytest.approx([0.407, 0.3])
    assert asked.metric == "word error rate"
    signs = sb.read_runs(table, loss="wer", loss_unit="percent")
    assert signs.loss.tolist() == runs.loss.tolist()
    with pytest.raises(RunsError, match="either all losses have a % sign or none"):
        sb.read_runs(table.assign(wer=["40.7%", "0.3"]), loss="wer")
    with pytest.raises(RunsError, match="does not become nats per token"):
        sb.to_nats(3.0, "percent")


def test_a_percent_sign_in_scores_is_read_with_and_without_percent():
    table = pd.DataFrame({"loss": [2.7, 2.4, 2.2], "acc": ["40.7%", "54.8%", "80.4%"]})
    for percent in (False, True):
        scores = sb.read_scores(table, percent=percent)
        assert scores.table["accuracy"].tolist() == pytest.approx([0.407, 0.548, 0.804])
    bits = table.assign(loss=table["loss"] / 0.6931471805599453)
    asked = sb.read_scores(bits, loss_unit="bits")
    assert asked.loss.tolist() == pytest.approx([2.7, 2.4, 2.2])
    thousandths = table.assign(loss=table["loss"] / 1000)
    assert sb.read_scores(thousandths, scale={"loss": 1000}).loss[0] == pytest.approx(2.7)


def test_losses_below_zero_are_refused_with_a_way_out():
    table = pd.DataFrame(TOKENS).assign(loss=[0.5, -0.1, -0.3])
    with pytest.raises(RunsError) as caught:
        sb.read_runs(table)
    assert [fault.row for fault in caught.value.faults] == [2, 3]
    text = str(caught.value)
    assert "the models describe the logarithm of the loss" in text
    assert "score the data as discrete values" in text
    assert "add a constant to all losses if it has a meaning" in text
