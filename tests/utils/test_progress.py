"""Progress: on a terminal with an estimate, elsewhere nothing."""

import os
import re
import subprocess
import sys

import pytest

import scalebayes as sb
from scalebayes.utils.progress import Progress

WORK = """
import time
from scalebayes.utils.progress import Progress
with Progress() as bar:
    for step in bar.steps("step", ["one", "two", "three"], str):
        time.sleep(0.4)
    tell = bar.count("fits", 3, done=1)
    time.sleep(0.4)
    tell("1 failed")
    time.sleep(0.4)
    tell()
    assert bar.during("work", str, 7) == "7"
    bar.bar("chains")([])
    bar.say("a word")
print("done")
"""


def test_steps_give_every_item_in_order_and_no_output_off_a_terminal(capfd):
    with Progress() as bar:
        assert list(bar.steps("step", ["a", "b"], str.upper)) == ["a", "b"]
        assert list(bar.steps("step", [], str)) == []
    assert capfd.readouterr() == ("", "")


CALLS = """
import time
from scalebayes.utils import progress
progress.PATIENCE = 0.4

@progress.shows_progress("inner work")
def inner(seconds):
    time.sleep(seconds)
    return seconds

@progress.shows_progress("outer work")
def outer(seconds):
    return inner(seconds)

@progress.shows_progress("counted work")
def counted():
    with progress.Progress() as bar:
        for step in bar.steps("step", ["one", "two"], str):
            inner(0.5)

@progress.shows_progress("optional work")
def optional(progress=None):
    inner(0.8)

def hidden():
    with progress.Progress(show=False):
        inner(0.8)

@progress.shows_progress("failing work")
def failing():
    raise ValueError("of its own")

assert inner(0.0) == 0.0
print("quick")
WORK
print("done")
"""


def seen_on_a_terminal(program):
    """Return what a program writes to stderr on a terminal, and to stdout."""
    if not hasattr(os, "openpty"):
        pytest.skip("no pseudo-terminals here")
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as work:
        os.close(theirs)
        seen = b""
        while chunk := _read(ours):
            seen += chunk
        printed = work.stdout.read().decode()
    os.close(ours)
    without_colours_and_moves = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    return without_colours_and_moves, printed


def test_a_terminal_sees_where_the_work_is_and_what_is_left():
    text, printed = seen_on_a_terminal(WORK)
    assert printed == "done\n"
    assert "step 1 of 3: one" in text
    assert "step 3 of 3: three" in text
    assert re.search(r"about 0:00:0\d left", text)
    assert "fits: 2 of 3 (1 failed)" in text
    assert "fits: 3 of 3" in text
    assert "a word" in text


def test_a_call_that_takes_long_shows_its_label_and_a_quick_one_nothing():
    text, printed = seen_on_a_terminal(CALLS.replace("WORK", ""))
    assert (text, printed) == ("", "quick\ndone\n")
    text, _ = seen_on_a_terminal(CALLS.replace("WORK", "outer(1.0)"))
    assert "outer work" in text
    assert "inner work" not in text


def test_counted_steps_take_the_place_of_the_bar_of_the_call_around_them():
    text, _ = seen_on_a_terminal(CALLS.replace("WORK", "counted()"))
    assert "step 2 of 2: two" in text
    assert "counted work" not in text
    assert "inner work" not in text


@pytest.mark.parametrize("work", ["hidden()", "optional(progress=False)"])
def test_hidden_progress_hides_that_of_the_calls_within(work):
    text, printed = seen_on_a_terminal(CALLS.replace("WORK", work))
    assert (text, printed) == ("", "quick\ndone\n")
    text, _ = seen_on_a_terminal(CALLS.replace("WORK", f"{work}\nouter(0.8)"))
    assert "outer work" in text
    assert "inner work" not in text


def test_after_an_error_calls_show_their_progress_as_before():
    work = "try: failing()\nexcept ValueError: pass\nouter(0.8)"
    text, printed = seen_on_a_terminal(CALLS.replace("WORK", work))
    assert "outer work" in text
    assert printed == "quick\ndone\n"


def test_every_question_that_may_take_long_shows_its_progress():
    """A decorated function keeps its name, its signature and its docstring."""
    names = """
        decide near_optimum regret overtrain prefer probability frontier predict reach returns
        isoloss above_converged downstream next_runs runs_needed plan compare contrast multiplier
        coupling power_scaling find_outliers point_fits average summary diagnose check_runs
    """
    for name in names.split():
        function = getattr(sb, name)
        assert function.__code__.co_qualname.startswith("shows_progress."), name
        assert function.__name__ == name
        assert function.__doc__


def _read(terminal):
    """What comes next; nothing once the other side is closed, which Linux tells by an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
