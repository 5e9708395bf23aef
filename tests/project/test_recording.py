"""Every command answers what it answered before the package was restructured, to 1e-9."""

import json
import platform
import sys
from pathlib import Path

import pytest

from tests.recording import compare, record

RECORDED = Path(__file__).parents[1] / "references" / "recorded"


@pytest.mark.slow
def test_every_command_answers_as_recorded(tmp_path):
    machine = json.loads((RECORDED / "machine.txt").read_text("utf-8"))
    if processor() != machine:
        pytest.skip(f"draws are the same to the digit on one processor only; recorded on {machine}")
    record(tmp_path, [sys.executable, "-m", "scalebayes"])
    assert compare(RECORDED, tmp_path) == []


def processor():
    """Return what a draw's last digits depend on: processor name and C library version."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text("utf-8").splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return [*names[:1], *platform.libc_ver()]
