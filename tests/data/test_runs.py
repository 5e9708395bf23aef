import gzip
import hashlib
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalebayes.data.metrics import LOSS
from scalebayes.data.runs import Fault, Runs, read_runs
from scalebayes.data.tables.columns import LABELS, QUANTITIES
from scalebayes.data.tables.loss_units import to_nats
from scalebayes.data.tables.sources import open_table
from scalebayes.errors import RunsError, ScaleBayesError
from tests.conftest import SHARED


def table(**columns):
    """Three sound runs, with columns replaced, added, or (None) taken away."""
    sound = {"N": [70e6, 160e6, 1e9], "D": [3e9, 20e9, 20e9], "loss": [3.4, 3.0, 2.6]}
    return pd.DataFrame(
        {name: cells for name, cells in {**sound, **columns}.items() if cells is not None}
    )


def refuse(source, **arguments):
    """Read a table that must not be readable, and return the error."""
    with pytest.raises(RunsError) as caught:
        read_runs(source, **arguments)
    return caught.value


def only_fault(source, **arguments):
    (fault,) = refuse(source, **arguments).faults
    return fault


def test_a_long_cell_is_read_and_a_damaged_archive_refused(tmp_path):
    long, damaged = tmp_path / "long.csv", tmp_path / "damaged.csv.gz"
    long.write_text(f"N,D,loss,config\n1e8,1e9,3.2,{'x' * 200_000}\n1e9,1e10,2.9,#N/A N/A\n")
    assert len(read_runs(long)) == 2
    content = bytearray(gzip.compress(long.read_bytes()))
    content[20:40] = bytes(20)
    damaged.write_bytes(content)
    assert "cannot read runs from" in str(refuse(damaged))


def test_a_table_becomes_checked_runs():
    runs = read_runs(table(family=["a", "a", "b"], run=["x", "y", "z"]), name="three")
    assert list(runs.table) == ["N", "D", "C", "loss", "group"]
    assert runs.table.index.name == "run"
    assert list(runs.table.index) == ["x", "y", "z"]
    assert set(runs.table.dtypes[:4]) == {np.dtype(float)}
    assert (len(runs), runs.source, runs.max_compute) == (3, None, 1.2e20)
    assert repr(runs) == (
        "Runs 'three': 3 runs, N 70M to 1B, D 3B to 20B, C 1.26e18 to 1.2e20, "
        "loss 2.6 to 3.4, 2 groups"
    )


def test_columns_are_copies():
    runs = read_runs(table())
    runs.loss[:] = 0
    assert runs.loss.tolist() == [3.4, 3.0, 2.6]


def test_the_source_is_left_alone():
    source = table().rename(columns={"N": " N "}).rename_axis("run")
    before = source.copy()
    read_runs(source)
    pd.testing.assert_frame_equal(source, before)


@pytest.mark.parametrize(("given", "derived"), [("ND", "C"), ("NC", "D"), ("DC", "N")])
def test_the_third_of_n_d_and_c_follows_and_is_said(given, derived):
    full = table(C=[6 * n * d for n, d in zip(table()["N"], table()["D"], strict=True)])
    runs = read_runs(full[[*given, "loss"]])
    np.testing.assert_allclose(runs.table[derived], full[derived], rtol=1e-14)
    assert runs.notes == (
        {
            "C": "C was computed as 6 N D",
            "D": "D = C/6N, from N and C",
            "N": "N = C/6D, from D and C",
        }[derived],
    )


def test_compute_given_beside_n_and_d_is_kept_and_a_departure_said():
    compute = 6 * table()["N"] * table()["D"]
    assert read_runs(table(C=compute * 1.05)).notes == ()
    runs = read_runs(table(C=compute * [1.0, 1.2, 1.5]))
    assert runs.notes == ("C is kept as given: 1 to 1.5 times 6ND",)
    np.testing.assert_array_equal(runs.C, compute * [1.0, 1.2, 1.5])


@pytest.mark.parametrize("role", ["N", "D", "C"])
def test_one_input_is_enough_and_the_others_are_refused_by_name(role):
    runs = read_runs(pd.DataFrame({role: [1e18, 2e18], "loss": [3.0, 2.9]}), own_units=True)
    assert list(runs.table) == [role, "loss"]
    missing = "D" if role != "D" else "N"
    with pytest.raises(RunsError, match=f"runs has no {missing}: its columns are {role}, loss"):
        getattr(runs, missing)
    assert np.isnan(runs.max_compute) == (role != "C")


def test_integers_do_not_overflow():
    integers = table().astype({"N": "int64", "D": "int64"}).assign(N=[10**12] * 3, D=[10**13] * 3)
    assert read_runs(integers).C.tolist() == [6e25] * 3


@pytest.mark.parametrize("role", QUANTITIES)
def test_usual_names_are_recognised_whatever_their_case_and_separators(role):
    for alias in QUANTITIES[role].names.split(", "):
        for spelling in (
            alias,
            alias.upper(),
            alias.title().replace(" ", ""),
            alias.replace(" ", "_"),
            f" {alias} ",
        ):
            renamed = table(C=[1.26e18, 1.92e19, 1.2e20]).rename(columns={role: spelling})
            assert list(read_runs(renamed).table) == ["N", "D", "C", "loss"], spelling


@pytest.mark.parametrize("role", LABELS)
def test_label_columns_are_recognised(role):
    for alias in LABELS[role].split(", "):
        runs = read_runs(table(**{alias: ["a", "b", "c"]}))
        assert list(runs.table.index if role == "run" else runs.table[role]) == ["a", "b", "c"]


def test_labels_nobody_asked_for_serve_only_where_they_can():
    runs = read_runs(table(run=["a", None, "b"], model=["m", "m", "m"], family=["f", None, "f"]))
    assert list(runs.table.index) == ["1", "2", "3"]
    assert "group" not in runs.table


def test_columns_can_be_named():
    odd = table(seeds=["a", "b", "c"], kind=[1, 1, 2]).rename(
        columns={"N": "Params (all)", "D": "seen", "loss": "y"}
    )
    runs = read_runs(odd, N="Params (all)", D="seen", loss="y", run="seeds", group="kind")
    assert runs.N.tolist() == table()["N"].tolist()
    assert list(runs.table["group"]) == ["1", "1", "2"]
    assert list(runs.table.index) == ["a", "b", "c"]


def test_a_symbol_beats_the_other_names_but_two_losses_must_be_told_apart():
    assert read_runs(table(params=[1e9, 2e9, 3e9])).N.tolist() == table()["N"].tolist()
    both = table(val_loss=[3.5, 3.1, 2.7])
    assert only_fault(both) == Fault(
        None,
        "loss",
        "val_loss and loss",
        "one column",
        "choose loss=val_loss (--map on the command line)",
    )
    assert read_runs(both, loss="val_loss").loss.tolist() == [3.5, 3.1, 2.7]


def test_a_name_that_is_no_column_gets_the_nearest():
    fault = only_fault(table(num_params=[1e9, 2e9, 3e9]), N="nun_params")
    assert (fault.column, fault.hint) == ("N", "did you mean 'num_params'?")
    assert fault.allowed == "one of N, D, loss, num_params"


def test_missing_columns_are_named_with_those_there_are():
    faults = refuse(pd.DataFrame({"a": [1], "b": [2]})).faults
    assert [fault.column for fault in faults] == ["loss", "N, D, C"]
    assert {fault.got for fault in faults} == {"only a, b"}
    wide = pd.DataFrame({f"c{i}": [1] for i in range(40)})
    assert refuse(wide).faults[0].got.endswith("c11 and 28 more")


@pytest.mark.parametrize(
    "cell",
    [None, np.nan, pd.NA, "", "abc", "45%", 0, -1, "-70M", np.inf, "inf", "1e400", True, 1e200],
)
@pytest.mark.parametrize("column", ["N", "D", "loss"])
def test_a_cell_that_is_no_positive_number_is_named(cell, column):
    sound = table().astype(object)
    sound.loc[1, column] = cell
    for strict in (True, False):
        fault = only_fault(sound, strict=strict)
        assert (fault.row, fault.column) == (2, column)
        assert fault.allowed == f"a positive number of {QUANTITIES[column].unit}"


def test_all_faults_come_at_once_in_the_order_of_the_rows():
    error = refuse(
        table(N=["70M", "-1", "1B"], D=["3B", "x", None], loss=[30, 3.0, 2.6], id=["a", "b", "c"])
    )
    assert [(fault.row, fault.run, fault.column) for fault in error.faults] == [
        (1, "a", "loss"),
        (2, "b", "N"),
        (2, "b", "D"),
        (3, "c", "D"),
    ]
    heading, *lines = str(error).splitlines()
    assert heading == "runs: 4 faults in 3 runs"
    assert len(lines) == 4
    assert (
        len({line.index("got ") for line in lines})
        == len({line.index("allowed: ") for line in lines})
        == 1
    )
    assert lines[1] == "  row 2 (b)  N     got -1       allowed: a positive number of parameters"


def test_a_long_list_of_faults_is_cut_in_the_message_only():
    error = refuse(pd.DataFrame({"N": ["?"] * 50, "loss": range(1, 51)}), strict=False)
    assert len(error.faults) == 50
    heading, allowed, *rows, last = str(error).splitlines()
    assert heading.startswith("runs: 50 faults in 50 runs")
    assert allowed == "  N  allowed: a positive number of parameters"
    assert [row.split() for row in rows] == [["row", str(i), "N", "got", "?"] for i in range(1, 13)]
    assert last == "  ... and 38 more"


def test_many_faults_of_many_kinds_fit_on_one_screen():
    rows = range(40)
    long = {
        "N": ["x"] * 40,
        "D": ["-3B"] * 40,
        "loss": [45 + i for i in rows],
        "run": [f"a-name-of-a-run-{i}" for i in rows],
    }
    lines = str(refuse(pd.DataFrame(long))).splitlines()
    assert sum(-(-len(line) // 80) for line in lines) <= 24
    assert "... and" in lines[-1]


def test_errors_survive_a_process_boundary():
    error = refuse(table(N=[1e9, -1, 1]))
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ScaleBayesError)
    assert (str(again), again.faults) == (str(error), error.faults)


@pytest.mark.parametrize(
    ("columns", "where", "hint"),
    [
        ({"N": [70, 160, 1000]}, "N", "in millions or billions"),
        ({"D": [3, 20, 20]}, "D", "in millions or billions"),
        ({"D": [3000, 20_000, 20_000]}, "D", "in millions or billions"),
        ({"D": None, "C": [0.0015, 0.2, 1.4]}, "C", "in PF-days"),
        ({"D": None, "C": [1.26e12, 1.92e13, 1.2e14]}, "D = C/6N", "in millions or billions"),
        ({"C": [1.26e12, 1.92e13, 1.2e14]}, "C", "6ND is 1M times as much: another unit?"),
        ({"loss": [60, 30, 16]}, "loss", "a perplexity"),
        ({"loss": [12.1, 10.5, 8.5]}, "loss", "a perplexity"),
        ({"loss": [45.5, 40.1, 30.2]}, "loss", "or percentage? loss_unit="),
    ],
)
def test_a_column_in_other_units_is_a_fault_unless_the_units_are_its_own(columns, where, hint):
    source = table(**columns)
    error = refuse(source)
    (fault,) = error.faults
    assert (fault.row, fault.column) == (None, where)
    assert hint in fault.hint
    assert "own_units=True (--own-units)" in str(error)
    assert refuse(source, strict=False).faults == error.faults
    runs = read_runs(source, own_units=True)
    assert runs.metric == LOSS
    assert not any(note.startswith("kept although") for note in runs.notes)


@pytest.mark.parametrize(
    ("name", "losses", "hint"),
    [
        ("val_loss_%", [4.5, 4.1, 3.2], "loss_unit='percent' (--loss-unit percent)"),
        ("valid perplexity", [7.5, 6.1, 5.2], "loss_unit='perplexity' (--loss-unit perplexity)"),
        ("val_ppl", [7.5, 6.1, 5.2], "loss_unit='perplexity'"),
        ("PPL", [30.5, 20.1, 15.2], "loss_unit='perplexity'"),
        ("bits_per_byte", [1.5, 1.1, 1.0], "loss_unit='bits_per_byte'"),
        ("eval/valBpb", [1.5, 1.1, 1.0], "loss_unit='bits_per_byte'"),
        ("loss_bits", [4.5, 4.1, 3.0], "loss_unit='bits'"),
    ],
)
def test_a_loss_whose_name_says_another_unit_is_never_taken_for_nats(name, losses, hint):
    source = table(loss=None, **{name: losses})
    for strict in (True, False):
        (fault,) = refuse(source, loss=name, strict=strict).faults
        assert (fault.row, fault.column, fault.allowed) == (None, name, "nats per token")
        assert hint in fault.hint
    assert read_runs(source, loss=name, metric="its own").metric == "its own"


def test_a_single_value_in_other_units_is_its_rows_fault():
    assert (
        only_fault(table(N=[70e6, 160, 1e9])).row,
        only_fault(table(loss=[3.4, 30, 2.6])).row,
    ) == (2, 2)
    # The start of a training: high, but valid.
    assert read_runs(table(loss=[11.0, 3.0, 2.6])).loss[0] == 11.0


def test_a_table_with_a_perplexity_and_no_loss_is_told_the_way():
    fault = only_fault(table(loss=None, val_ppl=[30, 20, 16]))
    assert fault.hint == "take its logarithm: loss_unit='perplexity' (--loss-unit perplexity)"
    runs = read_runs(table(loss=None, val_ppl=[30, 20, 16]), loss_unit="perplexity")
    assert runs.loss.tolist() == np.log([30, 20, 16]).tolist()
    assert runs.metric == "nats per token"


def test_repeated_runs_are_faults_or_one_note():
    repeated = pd.concat([table(), table()], ignore_index=True)
    assert [(f.row, f.got) for f in refuse(repeated).faults] == [
        (i + 3, f"the values of row {i}") for i in (1, 2, 3)
    ]
    runs = read_runs(repeated, strict=False)
    assert len(runs) == 6
    assert runs.notes[-1] == (
        "kept although suspicious: N, D, loss, the values of row 1 in row 4 and 2 more "
        "(expected each run once)"
    )


def test_the_same_n_and_d_with_another_loss_or_group_is_no_repeat():
    again = table(loss=[3.41, 3.01, 2.61])
    assert len(read_runs(pd.concat([table(), again]))) == 6
    assert len(read_runs(pd.concat([table(family=["a"] * 3), table(family=["b"] * 3)]))) == 6


def test_ids_given_by_name_must_be_there_and_differ():
    assert only_fault(table(run=["a", "b", "a"]), run="run").got == "the id of row 1"
    missing = only_fault(table(run=["a", None, "b"]), run="run")
    assert (missing.row, missing.got, missing.allowed) == (2, "nothing", "a name")
    assert only_fault(table(kind=["a", "b", ""]), group="kind").row == 3


def test_a_table_made_by_hand_with_an_id_twice_is_refused():
    columns = {"N": [1e8, 1e9, 1e10], "D": [1e9, 1e10, 1e11], "loss": [3.5, 3.0, 2.5]}
    twice = pd.DataFrame(columns, index=["a", "b", "b"])
    with pytest.raises(RunsError, match="made has two runs called 'b': ids must differ"):
        Runs(twice, "made")
    # Ids are text, so 1 and "1" are the same.
    with pytest.raises(RunsError, match="two runs called '1'"):
        Runs(pd.DataFrame(columns, index=["a", 1, "1"]), "made")
    assert list(Runs(pd.DataFrame(columns), "made").table.index) == ["0", "1", "2"]


def test_a_loss_that_never_varies_is_refused():
    assert only_fault(table(loss=[3.0, 3.0, 3.0])).got == "3 in every row"
    assert len(read_runs(table()[:1])) == 1


def test_no_rows_and_twin_columns_are_refused():
    assert "the table has no runs" in str(refuse(table()[:0]))
    twins = pd.concat([table(), table()], axis=1)
    assert str(refuse(twins)) == "the table has two columns called D, N, loss: rename one"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".CSV"])
def test_every_format_gives_the_same_runs(tmp_path, suffix):
    source = table(loss=[3.4000000000000004, 0.1 + 0.2, 2.6], model=["007", "1e3", "x"])
    path = tmp_path / f"sweep{suffix}"
    match suffix:
        case ".jsonl":
            source.to_json(path, orient="records", lines=True, double_precision=15)
        case ".parquet":
            pytest.importorskip("pyarrow")
            source.to_parquet(path)
        case _:
            source.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    runs = read_runs(str(path))
    assert (runs.name, runs.source) == ("sweep", str(path))
    assert list(runs.table.index) == ["007", "1e3", "x"]
    np.testing.assert_allclose(
        runs.table["loss"], source["loss"], rtol=0 if suffix != ".jsonl" else 1e-14
    )


def test_text_in_a_file_is_read_as_people_write_it(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(
        'Model Size,Training tokens,Val. loss\n70M,3B,3.4\n"1,315,723,264",2.63e10,2.6\n',
        encoding="utf-8-sig",
    )
    assert read_runs(path).N.tolist() == [70e6, 1315723264]


def test_text_is_read_as_spreadsheets_leave_it(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_bytes(
        b'\r\n,N,D,loss,note,\r\n0,70M,3B,3.4,"a, ""b""\r\nc",\r\n'
        b"   \r\n1,1B,20B,2.6\r\n2,NA,20B,n/a,x,\r\n"
    )
    frame, _ = open_table(path)
    assert list(frame) == ["Unnamed: 0", "N", "D", "loss", "note", "Unnamed: 5"]
    assert frame["note"][1] == 'a, "b"\r\nc'
    assert frame.isna().sum().to_list() == [0, 1, 0, 1, 1, 3]
    assert read_runs(path, skip_incomplete=True).loss.tolist() == [3.4, 2.6]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "runs.xlsx",
            b"",
            "cannot read runs from .*runs.xlsx: "
            "allowed are .csv, .tsv, .jsonl, .ndjson, .json, .parquet, .csv.gz, .txt files",
        ),
        ("runs.csv", b"", "cannot read runs from .*: No columns to parse from file"),
        ("runs.csv", b"N,loss\n", "has no runs"),
        (
            "runs.csv",
            b"N,loss\n1e9,3,4\n1e9,3,4\n",
            "its rows have more cells than its header has names",
        ),
        ("runs.csv", b"N,loss\n1e9,3\n1e9,3,4\n", "Expected 2 fields in line 3, saw 3"),
        ("runs.csv", b"N,loss\n\xff\xfe,3\n", "codec can't decode"),
        ("runs.csv", b'N,loss\n1e9,"3\n1e9,4\n', "is a quotation mark not closed"),
        ("runs.jsonl", b"N,loss", "cannot read runs from"),
        ("runs.parquet", b"N,loss", "cannot read runs from"),
        ("runs.csv", b"N;loss\n1e9;3,412\n", r"3,412 may mark decimals or thousands: .*--decimal"),
        ("runs.csv", b"N,loss, loss\n1e9,3,4\n", "has two columns called loss: rename one"),
        ("runs.csv.gz", b"N,loss\n", "cannot read runs from"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, file, content, message):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(RunsError, match=message):
        read_runs(tmp_path / file)


def test_a_file_that_is_not_there_gets_the_nearest(tmp_path):
    (tmp_path / "sweep.csv").touch()
    assert str(refuse(tmp_path / "swep.csv")).endswith("swep.csv; did you mean sweep.csv?")
    assert str(refuse(tmp_path / "no" / "x.csv")).endswith("x.csv")
    assert "not from a list" in str(refuse([1, 2]))


def test_the_hash_is_of_the_contents():
    runs = read_runs(table())
    numbers = runs.table.to_numpy("<f8").tobytes()
    header = json.dumps([["N", "D", "C", "loss"], ["1", "2", "3"], None]).encode()
    assert runs.hash == hashlib.sha256(header + numbers).hexdigest()
    assert runs.hash == read_runs(table(), name="other").hash == read_runs(runs.table).hash
    assert runs.hash != Runs(runs.table[::-1], "reversed").hash
    assert runs.hash != read_runs(table(loss=[3.4, 3.0, np.nextafter(2.6, 3)])).hash
    assert runs.hash != read_runs(table(family=["a", "a", "b"])).hash


@given(
    st.lists(
        st.tuples(
            st.floats(1e4, 1e15), st.floats(1e6, 1e18), st.floats(0.01, 7.9)
        ),
        min_size=2, max_size=8, unique_by=lambda cells: cells[2],
    )
)  # fmt: skip
def test_any_sound_table_is_read_as_it_is(rows):
    runs = read_runs(pd.DataFrame(rows, columns=["n_params", "n_tokens", "val_loss"]))
    np.testing.assert_array_equal(runs.table[["N", "D", "loss"]], np.array(rows))
    np.testing.assert_allclose(runs.C, 6 * runs.N * runs.D, rtol=1e-15)


CELLS = st.one_of(
    st.none(),
    st.floats(),
    st.integers(),
    st.text(max_size=5),
    st.sampled_from(["70B", "1e9", "3.1", 2.5, 7e9]),
)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5), st.booleans())
def test_any_table_is_sound_runs_or_a_runs_error(rows, strict):
    source = pd.DataFrame(rows, columns=["N", "D", "loss"], dtype=object)
    try:
        runs = read_runs(source, strict=strict)
    except RunsError as error:
        assert all(fault.got and fault.allowed for fault in error.faults)  # noqa: PT017 - either outcome is right
    else:
        assert np.isfinite(runs.table).all(axis=None)
        assert (runs.table > 0).all(axis=None)


def test_rows_without_a_value_are_left_out_on_request_and_keep_their_numbers():
    gaps = table(N=[70e6, None, 1e9], other=[1, 2, None])
    assert "skip_incomplete=True (--skip-incomplete) skips such rows" in str(refuse(gaps))
    runs = read_runs(gaps, skip_incomplete=True)
    assert list(runs.table.index) == ["1", "3"]
    assert "1 row without N was skipped (row 2)" in runs.notes
    assert read_runs(table(), skip_incomplete=True).hash == read_runs(table()).hash
    assert not any("left out" in note for note in read_runs(table(), skip_incomplete=True).notes)


def test_what_is_wrong_is_not_missing():
    assert only_fault(table(N=[70e6, "x", 1e9]), skip_incomplete=True).row == 2
    assert "skip_incomplete" not in str(refuse(table(N=[70e6, None, -1])))
    assert "none of the 3 rows has a value in every one of N, D, loss" in str(
        refuse(table(loss=[None] * 3), skip_incomplete=True)
    )


def test_losses_in_other_units_become_nats():
    nats = table()["loss"]
    for unit, cells, rate in [
        ("bits", nats / np.log(2), None),
        ("perplexity", np.exp(nats), None),
        ("bits_per_byte", nats * 0.25 / np.log(2), 0.25),
        ("nats_per_byte", nats * 0.25, 0.25),
        ("perplexity_per_byte", np.exp(nats * 0.25), 0.25),
    ]:
        runs = read_runs(
            table(loss=None, bpb=cells), loss="bpb", loss_unit=unit, tokens_per_byte=rate
        )
        np.testing.assert_allclose(runs.loss, nats, rtol=1e-14)
        assert runs.notes[0].startswith("loss in nats per token from bpb: ")


def test_a_loss_in_other_units_must_be_positive_in_nats():
    fault = only_fault(table(loss=[30.0, 0.5, 20.0]), loss_unit="perplexity", strict=False)
    assert (fault.row, fault.got, fault.allowed) == (
        2,
        "0.5",
        "a positive number of nats per token",
    )


@pytest.mark.parametrize(
    ("unit", "rate", "message"),
    [
        ("bpb", None, "one of nats, bits, perplexity, .*; got 'bpb'"),
        ("bits_per_byte", None, "bits_per_byte need tokens_per_byte, the number of tokens"),
        ("bits_per_byte", 4.2, "between 0 and 1 .*; got 4.2: bytes per token"),
        ("bits_per_byte", 0.0, "between 0 and 1"),
        (
            "perplexity",
            0.25,
            "tokens_per_byte applies to losses per byte; perplexity are not per byte",
        ),
    ],
)
def test_units_that_cannot_be_converted_are_refused_in_words(unit, rate, message):
    with pytest.raises(RunsError, match=message):
        to_nats(3.0, unit, tokens_per_byte=rate)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public tables are not beside the checkout")
@pytest.mark.parametrize(
    ("name", "rows", "arguments"),
    [
        ("hoffmann2022", 245, {}),
        ("pile2023", 15, {}),
        ("gemstones2025", 199, {}),
        ("muennighoff2023", 296, {}),
        ("misfitting2025", 261, {"strict": False}),  # 21 rows repeat another's N, D and loss
    ],
)
def test_public_tables_are_read(name, rows, arguments):
    assert len(read_runs(SHARED / f"{name}.csv", **arguments)) == rows
