"""Lines about long waits, where stderr is no terminal; intervals are a fraction of a second."""

import itertools
import re
import time
from types import SimpleNamespace

import pytest

import scalebayes as sb
from scalebayes.cli.app import reported
from scalebayes.utils import waiting
from scalebayes.utils.progress import Progress
from scalebayes.utils.waiting import Step, duration, line, reported_waits, step
from tests.fixtures import report_fit


@pytest.fixture
def short(monkeypatch):
    """Lines every few hundredths of a second."""
    monkeypatch.setattr(waiting, "INTERVAL", 0.02)


def wait_for_line(capfd, pattern):
    """Whatever was written until a line matches, or for 10 seconds."""
    deadline = time.monotonic() + 10
    seen = ""
    while not re.search(pattern, seen) and time.monotonic() < deadline:
        time.sleep(0.01)
        seen += capfd.readouterr().err
    assert re.search(pattern, seen), seen
    return seen


def test_durations_are_in_words():
    values = {
        0: "0 s",
        90: "90 s",
        91: "2 min",
        3540: "59 min",
        3600: "1 h 0 min",
        7500: "2 h 5 min",
    }
    assert {seconds: duration(seconds) for seconds in values} == values


def test_a_line_says_how_long_what_how_far_and_how_long_still(monkeypatch):
    steps = [
        Step("backtest 3 of 10: chinchilla", total=10, done=2, started=0.0),
        Step("sampling", total=8000, done=3000, of="of the draws", started=60.0),
    ]
    monkeypatch.setattr(waiting, "STEPS", steps)
    # 3000 draws took a minute, so 5000 take 100 seconds.
    assert line(120.0, 120.0) == "2 min so far: sampling, 38% of the draws, about 2 min left"
    steps[1].done = 8000
    # Two steps took two minutes, so eight take eight minutes.
    assert line(120.0, 120.0) == (
        "2 min so far: backtest 3 of 10: chinchilla, 20% done, about 8 min left"
    )
    steps[:] = [Step("fits: 5 of 6", total=6, done=5, done_at_start=5, started=0.0)]
    assert line(60.0, 60.0) == "60 s so far: fits: 5 of 6, 83% done"  # found, not made
    steps[:] = [Step("preparing")]
    assert line(60.0, 60.0) == "60 s so far: preparing; the time left is unknown"
    steps.clear()
    assert line(60.0, 60.0) == ""


def test_the_clock_and_the_interval_can_be_given(capfd):
    minutes = itertools.count(step=60.0)
    with reported_waits(0.01, lambda: next(minutes)), step("work"):
        wait_for_line(capfd, "3 min so far: work; the time left is unknown\n")
    assert waiting.STEPS == []


def test_each_kind_of_progress_has_lines(short, capfd):
    with Progress() as bar:
        bar.during("compiling", wait_for_line, capfd, "compiling; the time left is unknown")
        update = bar.bar("sampling kaplan")
        wait_for_line(capfd, "sampling kaplan; the time left")
        update([SimpleNamespace(finished_draws=30, total_draws=60, divergences=2)] * 2)
        wait_for_line(
            capfd, r"sampling kaplan \(4 divergences\), 50% of the draws, about \d s left"
        )
        update([SimpleNamespace(finished_draws=60, total_draws=60, divergences=2)])
        for item in bar.steps("refit", ["a", "b"], str):
            share = {"a": "0%", "b": "50%"}[item]
            wait_for_line(capfd, rf"refit \d of 2: {item}, {share} done")
        count = bar.count("fits", 4, 1)
        count("1 failed")
        wait_for_line(capfd, r"fits: 2 of 4 \(1 failed\), 50% done, about \d s left")
    assert waiting.STEPS == []
    capfd.readouterr()
    time.sleep(0.1)
    assert capfd.readouterr().err == ""


def test_without_progress_there_are_no_lines_and_inside_another_no_second(short, capfd):
    with Progress(False) as bar:
        bar.during("silent", time.sleep, 0.1)
    assert capfd.readouterr().err == ""
    with reported_waits(0.02), step("outer"), Progress() as bar:
        seen = bar.during("inner", wait_for_line, capfd, "inner; the time left")
    moments = re.findall("so far: inner", seen)
    assert "outer" not in seen
    assert len(moments) == 1


def test_every_command_and_the_report_have_lines(short, capfd, tmp_path):
    with reported("point-fits"):
        wait_for_line(capfd, "so far: scalebayes point-fits; the time left is unknown")
    sb.report(report_fit(chains=2, draws=25), tmp_path / "report.json")
    assert "so far: collecting the answers of the report" in capfd.readouterr().err


def test_an_error_ends_the_lines(short, capfd):
    with pytest.raises(ZeroDivisionError), Progress() as bar:
        bar.during("failing", lambda: 1 / 0)
    assert waiting.STEPS == []
    capfd.readouterr()
    time.sleep(0.1)
    assert capfd.readouterr().err == ""
