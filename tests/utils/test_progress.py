"""Progress: on a terminal with an estimate, elsewhere nothing."""

import os
import re
import subprocess
import sys

import pytest

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


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
def test_a_terminal_sees_where_the_work_is_and_what_is_left():
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-c", WORK], stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as work:
        os.close(theirs)
        seen = b""
        while chunk := _read(ours):
            seen += chunk
        assert work.stdout.read() == b"done\n"
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())  # without colours and moves
    assert "step 1 of 3: one" in text
    assert "step 3 of 3: three" in text
    assert re.search(r"about 0:00:0\d left", text)
    assert "fits: 2 of 3 (1 failed)" in text
    assert "fits: 3 of 3" in text
    assert "a word" in text


def _read(terminal):
    """What comes next; nothing once the other side is closed, which Linux tells by an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
