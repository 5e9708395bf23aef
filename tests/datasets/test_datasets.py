from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scalebayes.datasets import (
    TABLES,
    allocations,
    coverage,
    known_models,
    list_runs,
    load_runs,
)
from scalebayes.datasets.measured import coverage_at
from scalebayes.errors import RunsError
from tests.fixtures import besiroglu_loss


@pytest.mark.parametrize("name", [name for name, about in TABLES.items() if about.upstream is None])
def test_every_table_loads_with_its_origin(name):
    runs = load_runs(name)
    assert runs.name == name
    assert "arXiv:" in runs.source
    assert runs.source.endswith(TABLES[name].place)
    assert set(TABLES[name].notes) <= set(runs.notes)
    assert list_runs().loc[name].to_dict() == {
        "rows": len(runs),
        "available": "embedded",
        "title": TABLES[name].title,
        "source": TABLES[name].source,
    }


def test_hoffmann_leaves_out_the_five_highest_losses_and_says_so():
    runs, every = load_runs("hoffmann2022"), load_runs("hoffmann2022", keep_outliers=True)
    assert (len(runs), len(every)) == (240, 245)
    assert runs.table.equals(every.table.loc[runs.table.index])
    assert runs.loss.max() < every.table["loss"].drop(runs.table.index).min()
    assert any("5 highest losses are left out" in note for note in runs.notes)
    assert not any("left out" in note for note in every.notes)
    assert len(np.unique(every.loss)) == 99


def test_hoffmann_takes_tokens_from_compute_and_says_so():
    runs = load_runs("hoffmann2022")
    assert runs.notes[0] == "D = C/6N, from N and C"
    np.testing.assert_allclose(6 * runs.N * runs.D, runs.C, rtol=1e-14)
    first = load_runs("hoffmann2022", keep_outliers=True).table.loc["1"]
    assert (first["N"], first["C"], first["loss"]) == (73824700, 1.39724e18, 3.40593)


def test_pile_keeps_families_and_total_parameters():
    runs = load_runs("pile2023")
    assert runs.table["group"].value_counts().to_dict() == {"cerebras-gpt": 7, "pythia": 8}
    assert runs.table.loc["6.9B", ["N", "D", "loss"]].tolist() == [6857302016, 2.9989e11, 1.626]
    assert any(note.startswith("N counts all parameters") for note in runs.notes)
    assert load_runs("pile2023", keep_outliers=True).hash == runs.hash


def test_an_unknown_name_gets_the_nearest_and_the_list():
    with pytest.raises(
        RunsError,
        match=r"'hofmann22' \(did you mean 'hoffmann2022'\?\); allowed: hoffmann2022, pile2023",
    ):
        load_runs("hofmann22")
    with pytest.raises(RunsError, match="no published runs called 'x'; allowed"):
        load_runs("x")


def test_the_additive_law_at_its_published_values_fits_hoffmann_to_a_percent():
    runs = load_runs("hoffmann2022")
    law = besiroglu_loss(runs.N, runs.D)
    assert np.median(np.abs(np.log(runs.loss / law))) < 0.005
    assert np.abs(np.log(runs.loss / law)).max() < 0.1


def test_known_models():
    models = known_models()
    assert models.loc["Chinchilla", ["N", "D"]].tolist() == [70e9, 1.4e12]
    assert models.loc["GPT-3", ["N", "D"]].tolist() == [175e9, 300e9]
    assert models["source"].notna().all()


def test_allocations_are_as_printed():
    table = allocations()
    assert table["exponent"].tolist() == [0.73, 0.50, 0.49, 0.46]
    assert table.loc["Kaplan", ["counts", "interval", "N_ref", "C_ref"]].tolist() == [
        "non-embedding",
        "",
        1.3e9,
        8.64e19,  # one PF-day
    ]
    assert table.loc["Hoffmann, approach 1", ["low", "high", "N_ref", "C_ref"]].tolist() == [
        0.488,
        0.502,
        67e9,
        5.76e23,
    ]
    assert table.loc["Hoffmann, approach 3", ["N_ref", "C_ref"]].isna().all()


def test_every_source_is_in_the_references():
    references = (Path(__file__).parents[2] / "models" / "references.bib").read_text("utf-8")
    for source in {*known_models()["source"], *allocations()["source"]}:
        assert f"{{{source}," in references, source


def test_the_coverage_at_a_distance_has_the_rows_of_that_distance():
    table = coverage()
    for distance in (0.3, 1.0, 1.7, 40.0):
        expected = table[(table["low"] < distance) & (distance <= table["high"])]
        found = coverage_at(distance)
        pd.testing.assert_frame_equal(found, expected.reset_index(drop=True))
