"""The metric of the losses: its rule, and where it goes with a table."""

import json

import netCDF4
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.data.metrics import LOSS, NATS_PER_TOKEN, guess_metric
from scalebayes.data.subsets import rows_of
from scalebayes.errors import QueryError, RunsError
from scalebayes.posterior.store import DIGEST_KEY, FORMAT_KEY, RUNS_KEY, WITHOUT_DIGEST
from scalebayes.specs.table_units import normalise
from tests.fixtures import report_fit

WER = "word error rate"
SPEECH = pd.DataFrame(
    {
        "params": [2e7, 6e7, 2e8, 6e8],
        "tokens": [1e8, 3e8, 1e9, 3e9],
        "wer": [0.21, 0.151, 0.118, 0.094],
    }
)


@pytest.mark.parametrize(
    ("columns", "name", "metric"),
    [
        ({"loss": [2.0, 3.4], "N": [1e8, 1e9], "D": [1e9, 1e10]}, "val_loss", NATS_PER_TOKEN),
        ({"loss": [0.7, 1.2], "D": [1e9, 1e10]}, None, NATS_PER_TOKEN),  # source code
        ({"loss": [2.0, 3.4], "N": [1e8, 1e9], "D": [1e9, 1e10]}, "val_ppl", LOSS),
        ({"loss": [2.0, 3.4], "N": [1e8, 1e9], "D": [1e9, 1e10]}, "Top-1 error (%)", LOSS),
        ({"loss": [0.31, 0.64], "N": [1e8, 1e9], "D": [1e9, 1e10]}, None, LOSS),  # error rates
        ({"loss": [3.0, 14.0], "C": [1e18, 1e20]}, None, LOSS),  # 14 is worse than no training
        ({"loss": [2.0, 3.4], "N": [0.1, 1.3], "D": [1e9, 1e10]}, None, LOSS),  # N in billions
        ({"loss": [2.0, 3.4], "D": [1e3, 1e4]}, None, LOSS),  # images or sentences
        ({"accuracy": [0.2, 0.3]}, None, LOSS),
    ],
)
def test_losses_are_nats_per_token_only_if_they_look_like_it(columns, name, metric):
    assert guess_metric(columns, name) == metric


def test_published_tables_are_in_nats_per_token():
    for name in ("hoffmann2022", "pile2023"):
        runs = sb.load_runs(name)
        assert runs.metric == NATS_PER_TOKEN
        assert guess_metric({x: runs.table[x].tolist() for x in ("N", "D", "loss")}) == runs.metric


def test_a_table_of_error_rates_is_read_with_its_metric_and_without_checks_of_nats():
    runs = sb.read_runs(SPEECH, loss="wer", metric=f" {WER} ")
    assert runs.metric == WER
    assert "loss (word error rate) 0.094 to 0.21" in repr(runs)
    percent = SPEECH.assign(wer_pct=100 * SPEECH["wer"]).drop(columns="wer")
    assert (sb.read_runs(percent, loss="wer_pct", metric="WER, %").loss > 9).all()
    with pytest.raises(RunsError, match="loss_unit='percent'"):
        sb.read_runs(percent, loss="wer_pct")
    with pytest.raises(RunsError, match="a positive number of word error rate"):
        sb.read_runs(SPEECH.assign(wer=[0.2, 0.1, 0.3, 0]), loss="wer", metric=WER)
    assert sb.read_runs(SPEECH, loss="wer").metric == LOSS
    with pytest.raises(RunsError, match="metric is empty"):
        sb.read_runs(SPEECH, loss="wer", metric=" ")


def test_a_converted_loss_is_in_nats_per_token():
    table = SPEECH.rename(columns={"wer": "loss"})
    assert sb.read_runs(table, loss_unit="bits").metric == NATS_PER_TOKEN
    with pytest.raises(RunsError, match="converts the losses to nats per token, but metric"):
        sb.read_runs(table, loss_unit="bits", metric=WER)


def test_parts_views_and_files_keep_the_metric_and_the_hash_ignores_it(tmp_path):
    runs = sb.read_runs(SPEECH, loss="wer", metric=WER)
    assert runs.hash == sb.read_runs(SPEECH, loss="wer").hash
    assert rows_of(runs, np.array([True, True, False, True])).metric == WER
    assert normalise(runs, sb.read_model("chinchilla")).runs.metric == WER
    fit = report_fit(runs=runs, chains=1, draws=4)
    assert sb.load(sb.save(fit, tmp_path / "wer.nc")).runs.metric == WER


def test_a_saved_fit_of_an_earlier_version_has_the_metric_that_its_losses_look_like(
    tmp_path,
):
    fit = report_fit(chains=1, draws=4)
    path = sb.save(fit, tmp_path / "old.nc")
    with netCDF4.Dataset(path, "a") as stored:
        about = json.loads(stored.getncattr(RUNS_KEY))
        assert about.pop("metric") == NATS_PER_TOKEN
        stored.setncattr(RUNS_KEY, json.dumps(about))
        stored.setncattr(FORMAT_KEY, WITHOUT_DIGEST)
        stored.delncattr(DIGEST_KEY)
    with pytest.warns(sb.GateWarning):  # one chain of four draws
        assert sb.load(path).runs.metric == NATS_PER_TOKEN


def test_the_command_line_reads_the_metric(tmp_path):
    path = tmp_path / "speech.csv"
    SPEECH.assign(wer=100 * SPEECH["wer"]).to_csv(path)
    arguments = ["fit", str(path), "-m", "nosuch", "--map", "loss=wer"]
    refused = CliRunner().invoke(app, arguments)
    assert "a perplexity or percentage?" in " ".join(refused.output.split())
    read = CliRunner().invoke(app, [*arguments, "--metric", "WER in percent"])
    assert "nosuch" in read.output
    published = CliRunner().invoke(app, ["fit", "pile2023", "--metric", "nats"])
    assert published.exit_code == 2


def test_fits_of_different_metrics_are_neither_averaged_nor_contrasted():
    table = report_fit().runs.table
    runs = sb.Runs(table, "speech", metric=WER)
    speech, text = report_fit(runs=runs, chains=1), report_fit(chains=1)
    with pytest.raises(QueryError, match="'a' predicts word error rate and 'b' predicts loss in"):
        sb.average({"a": speech, "b": text})
    other = sb.Runs(table[1:], "other", metric=WER)
    arms = {"a": report_fit(runs=other, chains=1), "b": text}
    with pytest.raises(QueryError, match="in one metric only"):
        sb.contrast(arms, N=1e9, D=2e10)
    with pytest.raises(QueryError, match="in one metric only"):
        sb.multiplier(arms, C=1e20)
