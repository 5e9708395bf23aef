"""Text files as spreadsheets and loggers of many countries write them."""

import gzip

import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.data.tables import sources, text_files
from scalebayes.errors import RunsError

GERMAN = "params;tokens;val_loss\n70000000;1,4e9;3,412\n160000000;3,2e9;2,98\n1,3e9;2e10;2,5\n"


def write(path, text, encoding="utf-8"):
    path.write_text(text, encoding=encoding)
    return path


def test_semicolons_and_decimal_commas_are_detected_and_said(tmp_path):
    runs = sb.read_runs(write(tmp_path / "sweep.csv", GERMAN))
    assert runs.loss.tolist() == [3.412, 2.98, 2.5]
    assert runs.D.tolist() == [1.4e9, 3.2e9, 2e10]
    assert runs.N[2] == 1.3e9
    assert runs.notes[:2] == ("cells are separated by semicolons", "decimals follow a comma")


def test_both_may_be_given(tmp_path):
    path = write(tmp_path / "sweep.csv", GERMAN)
    runs = sb.read_runs(path, sep=";", decimal=",")
    assert runs.loss.tolist() == [3.412, 2.98, 2.5]
    assert not any("cells are separated" in note for note in runs.notes)
    with pytest.raises(RunsError, match=r"sep is one character, such as ';'; got ';;'"):
        sb.read_runs(path, sep=";;")
    with pytest.raises(RunsError, match=r"decimal is '.' or ','; got 'x'"):
        sb.read_runs(path, decimal="x")


@pytest.mark.parametrize(("sep", "name"), [("\t", "tabs"), ("|", "vertical bars")])
def test_other_separators_are_detected(tmp_path, sep, name):
    text = sep.join(["N", "D", "loss"]) + "\n" + sep.join(["70M", "1.4B", "3.4"]) + "\n"
    runs = sb.read_runs(write(tmp_path / "sweep.csv", text))
    assert runs.table.loc["1", ["N", "D", "loss"]].tolist() == [70e6, 1.4e9, 3.4]
    assert f"cells are separated by {name}" in runs.notes


def test_a_blank_first_line_is_skipped(tmp_path):
    path = write(tmp_path / "sweep.csv", " \nN;D;loss\n1e9;2e10;2.5\n1e10;2e11;2.1\n")
    assert sb.read_runs(path).loss.tolist() == [2.5, 2.1]


def test_a_comma_in_a_semicolon_file_that_may_mean_either_is_asked_about(tmp_path):
    path = write(tmp_path / "sweep.csv", "N;loss\n70M;3,412\n160M;2,980\n")
    with pytest.raises(RunsError, match=r"the comma in 3,412 may mark decimals or thousands"):
        sb.read_runs(path)
    assert sb.read_runs(path, decimal=",").loss.tolist() == [3.412, 2.98]


@pytest.mark.parametrize(
    "cells",
    [
        ["1,315,723,264", "2,71"],  # several commas separate thousands
        ["1,315,723.5", "2,71"],
        ["70M", "2.71"],
    ],
)
def test_commas_are_no_decimal_marks_where_a_number_shows_the_contrary(cells):
    columns = {"N": [cells[0], "1,234"], "loss": [cells[1], "2,5"]}
    assert not text_files._has_decimal_commas(columns, ";")


def test_points_of_thousands_go_with_decimal_commas(tmp_path):
    path = write(tmp_path / "sweep.csv", "N;D;loss\n70.000.000;1.400.000.000;3,41\n1e9;2e10;2,5\n")
    runs = sb.read_runs(path)
    assert (runs.N[0], runs.D[0], runs.loss[0]) == (70e6, 1.4e9, 3.41)


def test_commas_in_a_header_of_semicolons(tmp_path):
    text = "params (total, all);tokens;loss\n70M;1,5e9;3,41\n160M;3,5e9;3,1\n"
    assert sb.read_runs(write(tmp_path / "sweep.csv", text), N="params (total, all)").N[0] == 70e6


def test_the_unicode_text_of_a_spreadsheet_is_read(tmp_path):
    path = write(tmp_path / "sweep.tsv", "N\tD\tloss\n70M\t1.4B\t3.4\n", encoding="utf-16")
    assert sb.read_runs(path).N.tolist() == [70e6]


def test_too_much_text_is_refused_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "MOST_CHARACTERS", 1_000_000)
    bomb = tmp_path / "bomb.csv.gz"
    with gzip.open(bomb, "wb") as file:
        file.write(b"N,loss\n" + b"0" * 2**22)
    with pytest.raises(RunsError, match="it has more than 1 million characters"):
        sb.read_runs(bomb)
    monkeypatch.setattr(text_files, "MOST_CELLS", 100)
    many = write(tmp_path / "many.csv", "a,b,c\n" + "1,2,3\n" * 50)
    with pytest.raises(RunsError, match=r"it has more than 0 million cells"):
        sb.read_runs(many)


def test_a_hundred_thousand_columns_take_seconds(tmp_path):
    width = 100_000
    names = [f"c{i}" for i in range(width)]
    rows = [["70M", "1.4B", "3.4"], ["160M", "3B", "3.0"]]
    lines = [",".join([*names, "N", "D", "loss"])]
    lines += [",".join(["0"] * width + row) for row in rows]
    runs = sb.read_runs(write(tmp_path / "wide.csv", "\n".join(lines)))
    assert runs.N.tolist() == [70e6, 160e6]
    assert list(runs.table) == ["N", "D", "C", "loss"]


def test_parquet_and_folders_are_read_in_bounded_memory(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    table = pd.DataFrame({"N": [7e7, 1e8], "loss": [3.4, 3.2], "note": ["x" * 10**6] * 2})
    path = tmp_path / "bomb.parquet"
    table.to_parquet(path)
    assert path.stat().st_size < 200_000  # the repeated text takes hardly any space
    monkeypatch.setattr(sources, "MOST_CHARACTERS", 10**6)
    with pytest.raises(RunsError, match="it unpacks to more than 1 MB"):
        sb.read_runs(path)
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("a", "b", "c"):
        table[["N", "loss"]].to_csv(folder / f"{name}.csv", index=False)
    monkeypatch.setattr(sources, "MOST_CELLS", 15)
    with pytest.raises(RunsError, match="many: it has more than 0 million cells"):
        sb.read_runs(folder)


def test_a_bare_name_that_is_no_file_is_told_of_published_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sb.RunsError, match=r"no such file: hoffmann2022; sb\.load_runs reads"):
        sb.read_runs("hoffmann2022")
    with pytest.raises(sb.RunsError, match=r"no such file: runs\.csv$"):
        sb.read_runs("runs.csv")
