"""Answers, texts, figures and reports carry the metric of the runs: an error rate, or nats."""

import re

import matplotlib.pyplot as plt
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes import plots
from scalebayes.cli import app
from scalebayes.data.metrics import NATS_PER_TOKEN
from scalebayes.reports import content
from scalebayes.reports.answers import answers
from scalebayes.reports.rendering import to_html
from scalebayes.validation.text import shifts_table
from tests.fixtures import INTEGRATED, report_fit, report_runs

WER = "word error rate"


def neutral(model):
    """Return a model whose reasons do not mention a unit."""
    stated = sb.read_model(model).model_dump(exclude={"published"})
    for prior in stated["priors"].values():
        prior["reason"] = "for this test"
    return sb.Spec.model_validate(stated)


@pytest.fixture(scope="module")
def text():
    return report_fit(neutral("chinchilla"))


@pytest.fixture(scope="module")
def speech():
    runs = sb.Runs(report_runs().table, "speech", metric=WER)
    return report_fit(neutral("chinchilla"), runs)


@pytest.fixture(params=["speech", "text"])
def one(request, speech, text):
    """Return a fit, and the metric of its runs."""
    return (speech, WER) if request.param == "speech" else (text, NATS_PER_TOKEN)


def test_losses_of_answers_are_in_the_metric(one):
    fit, metric = one
    predicted = sb.predict(fit, N=1e9, D=2e10)
    recipes = {"a": fit, "b": report_fit(runs=sb.Runs(fit.runs.table[1:], "b", metric=metric))}
    quantities = {
        "loss": [predicted, sb.frontier(fit, C=1e21), sb.contrast(recipes, N=1e9, D=2e10)],
        "new_run": [predicted],
        "difference": [sb.contrast(recipes, N=1e9, D=2e10)],
        "gain_N": [sb.returns(fit, N=1e9, D=2e10)],
        "excess_loss": [sb.regret(fit, N=1e9, D=2e10)],
        "loss_above_converged": [sb.above_converged(fit, C=1e21)],
        "margin": [sb.probability(fit, loss=2.5, N=1e9, D=2e10)],
        "gain": [sb.prefer(fit, a={"N": 1e9, "D": 2e10}, b={"N": 2e9, "D": 1e10})],
    }
    for name, found in quantities.items():
        for answer in found:
            assert answer[name].attrs["units"] == metric, name
    average = sb.average({"a": fit, "b": report_fit(runs=fit.runs)})
    assert sb.predict(average, N=1e9, D=2e10)["loss"].attrs["units"] == metric


@pytest.mark.parametrize(
    "model", ["chinchilla-discrepancy", "coupled-discrepancy", INTEGRATED, "coupled-drift"]
)
def test_losses_beside_a_discrepancy_are_in_the_metric_too(model):
    runs = sb.Runs(report_runs().table, "speech", metric=WER)
    fit = report_fit(neutral(model), runs, draws=20)
    predicted, best = sb.predict(fit, N=1e9, D=2e10), sb.frontier(fit, C=1e21)
    for answer, names in ((predicted, ["law", "loss", "new_run"]), (best, ["law", "loss"])):
        for name in names:
            assert answer[name].attrs["units"] == WER, name
            assert "long_name" in answer[name].attrs
    for name in ("N", "D", "tokens_per_param"):
        assert best[name].attrs.get("units") != WER
    other = report_fit(neutral(model), sb.Runs(runs.table[1:], "b", metric=WER), draws=20)
    contrasted = sb.contrast({"a": fit, "b": other}, N=1e9, D=2e10)
    for name in ("law", "loss", "difference", "law_difference"):
        assert contrasted[name].attrs["units"] == WER, name
    mixed = sb.average({"a": fit, "b": report_fit(neutral("chinchilla"), runs, draws=20)})
    assert sb.predict(mixed, N=1e9, D=2e10)["loss"].attrs["units"] == WER
    assert sb.frontier(mixed, C=1e21)["loss"].attrs["units"] == WER


def test_sentences_name_the_metric_and_no_other(one):
    fit, metric = one
    is_text = metric == NATS_PER_TOKEN
    (said,) = answers(sb.predict(fit, N=1e9, D=2e10), 0.9)
    pattern = r"2\.\d+ nats per token \(90%" if is_text else r"word error rate 2\.\d+ \(90%"
    assert re.match(pattern, said.text)
    note = sb.reach(fit, loss=1.5).attrs["note"]
    assert note.startswith("a loss of 1.5 nats is" if is_text else "a loss of 1.5 is")
    near = sb.near_optimum(fit, C=1e21, nats=0.01)
    assert near.attrs["within"] == ("0.01 nats" if is_text else "0.01 in word error rate")
    chosen = sb.next_runs(fit, budget=1e20, target={"N": 1e9, "D": 2e10})
    assert ("nats wide" in chosen.title) == is_text
    shifts = sb.influence(fit, N=1e9, D=2e10, refit=False)
    assert ("in nats" if is_text else f"in {WER}") in shifts_table(shifts)


def test_axes_of_losses_carry_the_metric(one):
    fit, metric = one
    is_text = metric == NATS_PER_TOKEN
    label = "Loss (nats per token)" if is_text else "Word error rate"
    figure = plots.isoflop(fit)
    assert figure.axes[0].get_ylabel() == label
    assert plots.extrapolation(fit).axes[0].get_ylabel() == label
    lost = plots.regret(fit, C=1e21).axes[0].get_ylabel()
    assert lost == ("Nats per token" if is_text else label)
    plt.close("all")


def test_a_report_of_error_rates_does_not_mention_nats(speech, monkeypatch):
    # The what-if panel, which takes longest, has no text about the unit of the loss.
    monkeypatch.setattr(content, "live_part", lambda *_: (None, "it was left out of this test"))
    page = to_html(content.content_of(speech, N=1e9, D=2e10, C=1e21))
    words = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert f"irreducible loss, {WER}" in words
    assert "--metric" in words
    assert not re.search(r"\bnats\b", words)
    assert "nats" not in repr(sb.summary(speech))


def test_commands_title_their_tables_by_the_metric(one, tmp_path):
    fit, metric = one
    path = str(sb.save(fit, tmp_path / "fit.nc"))
    point = ["--N", "1e9", "--D", "2e10"]
    shown = CliRunner().invoke(app, ["predict", path, *point]).output
    start = "Loss in nats per token:" if metric == NATS_PER_TOKEN else "Word error rate:"
    assert f"{start} the law's curve" in " ".join(shown.split())
    shown = CliRunner().invoke(app, ["returns", path, *point]).output
    loss = "loss of the curve in nats per token"
    if metric != NATS_PER_TOKEN:
        loss = "word error rate of the curve"
        assert "nats" not in shown
    assert f"Reduction in the {loss}" in " ".join(shown.split())
