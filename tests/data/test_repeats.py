"""Replicates, copies of rows, rows without values and other rows that people bring."""

import math

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.errors import RunsError
from tests.conftest import SHARED


def seeds(**columns):
    """Two inputs with three seeds each; two seeds agree to four digits."""
    table = {
        "N": [70e6] * 3 + [1e9] * 3,
        "D": [3e9] * 3 + [2e10] * 3,
        "loss": [3.41, 3.41, 3.42, 2.61, 2.6, 2.59],
    }
    return pd.DataFrame({**table, **columns})


@pytest.mark.parametrize(
    "columns",
    [
        {},  # rounded, and other seeds differ
        {"seed": [0, 1, 2] * 2},
        {"job": list("abcdef")},
        {"seed": [0, 1, 2] * 2, "loss": [3.4123456, 3.4123456, 3.42, 2.61, 2.6, 2.59]},
    ],
)
def test_equal_losses_of_replicates_are_no_fault(columns):
    runs = sb.read_runs(seeds(**columns))
    assert len(runs) == 6
    assert not any("equal" in note for note in runs.notes)


def test_equal_losses_of_many_digits_without_a_seed_are_a_run_given_twice():
    table = seeds(loss=[3.4123456, 3.4123456, 3.42, 2.61, 2.6, 2.59])
    with pytest.raises(RunsError) as caught:
        sb.read_runs(table)
    (fault,) = caught.value.faults
    assert (fault.row, fault.got) == (2, "the values of row 1")
    assert fault.hint == "a seed or an id in another column tells replicates apart"


def test_a_copied_row_is_named_where_a_column_tells_rows_apart():
    table = seeds(seed=[0, 1, 2] * 2)
    copied = pd.concat([table, table.iloc[[0, 4]]], ignore_index=True)
    runs = sb.read_runs(copied)
    assert len(runs) == 8
    assert (
        "rows 7, 8 equal an earlier row in every column: kept, as runs of their own" in runs.notes
    )


@pytest.mark.parametrize(
    ("first", "second", "is_copy"),
    [
        ("late", "late", True),
        (np.nan, np.nan, True),
        ("late", np.nan, False),
        (np.nan, "late", False),
    ],
)
def test_a_copy_has_equal_cells_or_none_in_both(first, second, is_copy):
    table = seeds(seed=[0, 1, 2] * 2, comment=[first] + [np.nan] * 5)
    copy = table.iloc[[0]].assign(comment=second)
    runs = sb.read_runs(pd.concat([table, copy], ignore_index=True))
    note = "row 7 equals an earlier row in every column: kept, as runs of their own"
    assert (note in runs.notes) == is_copy


def test_a_constant_column_tells_nothing_apart():
    table = seeds(loss=[3.4, 3.4, 3.4, 2.6, 2.6, 2.6], corpus=["c4"] * 6)
    with pytest.raises(RunsError, match="the values of row 1"):
        sb.read_runs(table)


def test_rows_are_told_apart_by_their_own_cells_after_rows_were_skipped():
    table = seeds(seed=[0, 1, 2] * 2)
    table.loc[0, "loss"] = np.nan
    copied = pd.concat([table, table.iloc[[4]]], ignore_index=True)
    notes = sb.read_runs(copied, skip_incomplete=True).notes
    assert "row 7 equals an earlier row in every column: kept, as runs of their own" in notes


@pytest.mark.skipif(not SHARED.is_dir(), reason="the cases are not beside the checkout")
def test_the_seeds_among_the_cases_are_replicates():
    runs = sb.read_runs(SHARED / "cases" / "01-tiny-transformer-seeds.csv")
    assert len(runs) == 54
    assert runs.D.tolist()[0] == 15704064


def test_skipped_rows_are_counted_by_what_they_lack():
    table = pd.DataFrame(
        {
            "N": ["70M", "160M", "", "1B", "2B", "3B"],
            "D": ["3B"] * 6,
            "loss": ["3.4", "", "3.0", "inf", None, "2.5"],
        }
    )
    runs = sb.read_runs(table, skip_incomplete=True)
    assert runs.N.tolist() == [70e6, 3e9]
    assert runs.notes[0] == (
        "2 rows without a loss and 1 row without N and 1 row with an infinite loss were skipped "
        "(rows 2, 3, 4, 5)"
    )
    one = sb.read_runs(table.iloc[[0, 1, 5]], skip_incomplete=True)
    assert one.notes[0] == "1 row without a loss was skipped (row 2)"


@pytest.mark.parametrize("infinite", [math.inf, "inf", "-Infinity", "+inf"])
def test_infinite_losses_are_refused_or_skipped(infinite):
    table = pd.DataFrame({"N": [70e6, 1e8, 1e9], "loss": [3.4, infinite, 2.6]}, dtype=object)
    with pytest.raises(RunsError, match="row 2"):
        sb.read_runs(table)
    assert sb.read_runs(table, skip_incomplete=True).loss.tolist() == [3.4, 2.6]


HUGE = {"1e400": 10**400, "1e5000": 10**5000, "text": "1" + "0" * 5000, "negative": -(10**400)}


@pytest.mark.parametrize("huge", HUGE.values(), ids=HUGE)
def test_numbers_too_large_for_a_float_are_named(huge):
    table = pd.DataFrame({"N": [70e6, huge], "loss": [3.4, 2.6]}, dtype=object)
    with pytest.raises(RunsError) as caught:
        sb.read_runs(table)
    (fault,) = caught.value.faults
    assert (fault.row, fault.column) == (2, "N")
    assert len(fault.got) <= 40


def test_a_column_mapped_twice_is_refused():
    table = pd.DataFrame({"x": [70e6, 1e9], "loss": [3.4, 2.6]})
    with pytest.raises(RunsError, match=r"got chosen for N and D  allowed: one column for each"):
        sb.read_runs(table, N="x", D="x")


@pytest.mark.parametrize(
    ("factor", "text"),
    [
        (1 / 3, "0.333 times 6ND in every row, which is 2ND: does it count the forward pass only?"),
        (0.5, "0.5 times 6ND in every row: does it count multiply-accumulates (2 FLOP each)?"),
        (1.3, "1.3 times 6ND in every row: does N leave out embeddings, or C include attention?"),
        (5.0, "5 times 6ND in every row: are N, D or C in another unit"),
    ],
)
def test_a_compute_off_6nd_by_a_constant_factor_is_explained(factor, text):
    N, D = np.array([70e6, 160e6, 1e9]), np.array([3e9, 2e10, 2e10])
    table = pd.DataFrame({"N": N, "D": D, "C": factor * 6 * N * D, "loss": [3.4, 3.0, 2.6]})
    (note,) = [note for note in sb.read_runs(table).notes if note.startswith("C is kept")]
    assert note.startswith(f"C is kept as given: {text}")
    table.loc[0, "C"] *= 2
    (note,) = [note for note in sb.read_runs(table).notes if note.startswith("C is kept")]
    assert "in every row" not in note
    assert "times 6ND" in note
