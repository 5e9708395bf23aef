"""Tables and sentences for a terminal: nothing wider than it, and nothing lost by that."""

import numpy as np
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.display.terminal import paragraph
from scalebayes.posterior.provenance import Provenance, with_provenance
from scalebayes.summaries.text import WIDTH, align, beyond, cell, draws_table, summary_table
from tests.fixtures import report_fit


def test_a_table_that_fits_keeps_its_headings_on_one_line():
    assert align(
        [{"N": "70B", "what it is": "x"}, {"N": "8B", "what it is": "longer than that"}]
    ) == ("  N    what it is\n  70B  x\n  8B   longer than that")


def test_long_headings_are_broken_before_anything_else_is():
    row = {"N": "1B"} | {
        f"a heading of many words, number {i}": "0.12 [0.1, 0.2]" for i in range(6)
    }
    lines = align([row]).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) == 4
    assert lines[-1].split() == " ".join(row.values()).split()
    assert lines[-2].split() == ["N", *(part for i in range(6) for part in ("number", str(i)))]


def test_a_wide_table_goes_on_below_behind_its_keys_and_loses_nothing():
    rows = []
    for i in (1, 2):
        row = {"N": f"{i}B", "D": "1T"}
        row |= {f"quantity {j}": f"{i}.{j} [0.00001, 1000000]" for j in range(9)}
        rows.append(row)
    text = align(rows, keys=2)
    blocks = text.split("\n\n")
    assert max(map(len, text.splitlines())) <= WIDTH
    assert len(blocks) > 1
    for block in blocks:
        assert [line.split()[:2] for line in block.splitlines()[-2:]] == [
            ["1B", "1T"],
            ["2B", "1T"],
        ]
    for value in (value for row in rows for value in row.values()):
        assert value in text


def test_one_cell_wider_than_the_screen_is_printed_whole():
    assert "x" * 200 in align([{"a": "1", "b": "x" * 200, "c": "3"}])


@pytest.mark.parametrize(("model", "starred"), [("kaplan", True), ("chinchilla", False)])
def test_a_star_marks_published_values_that_do_not_count_total_parameters(model, starred):
    text = summary_table(report_fit(model))
    note = "  * Kaplan et al. 2020: non-embedding parameters"
    assert (note in text.splitlines()) == starred
    assert ("*" in text) == starred


def test_sentences_are_folded_at_words():
    text = paragraph("non-embedding parameters " * 20)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.split() == ["non-embedding", "parameters"] * 20


def test_small_losses_are_written_with_the_decimals_that_matter():
    bounds = {"eti90_lb": 4.3e-7, "eti90_ub": 0.0094}
    assert cell(bounds | {"median": 0.00096}, 0.9) == "0.0010 [0.0000, 0.0094]"
    assert (
        cell({"median": 809e3, "eti90_lb": 88550.0, "eti90_ub": np.inf}, 0.9) == "809K [88.6K, inf]"
    )
    assert cell({"median": 8.4, "eti90_lb": 0.663, "eti90_ub": 50.4}, 0.9) == "8.4 [0.663, 50.4]"


def answer_at(decades):
    draws = xr.DataArray(np.full((1, 4, len(decades)), np.inf), dims=("chain", "draw", "target"))
    coords = {"loss": ("target", np.arange(2.0, 2.0 + len(decades)))}
    coords |= {"decades_beyond": ("target", np.array(decades), {"of": "C"})}
    record = Provenance(models=("coupled",), span=4.0)
    return with_provenance(xr.Dataset({"C": draws}, coords), record)


def test_what_half_of_the_draws_never_reach_is_at_no_distance():
    assert beyond(np.inf) == "never reached"
    never, both = (sb.caveats(answer_at(decades)) for decades in ([np.inf], [1.5, np.inf]))
    assert [message.code for message in never] == ["NOT_VALIDATED"]
    assert "a loss that half of the draws never reach" in never[0].text
    assert [message.code for message in both] == ["NOT_VALIDATED", "CALIBRATION"]
    assert not any("inf" in message.text for message in (*never, *both))
    assert "never reached" in draws_table(answer_at([1.5, np.inf]))
