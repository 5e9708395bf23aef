"""What an answer rests on travels with it: one attribute, written and read by one function."""

import dataclasses

import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.posterior.provenance import ATTRIBUTE, Provenance, combine, provenance
from tests.fixtures import report_fit as made
from tests.fixtures import report_runs as table


def test_an_answer_names_its_model_runs_and_failures():
    fit = made(gate_failures=["R_HAT"])
    record = provenance(sb.predict(fit, N=1e9, D=2e10))
    assert record.models == ("chinchilla",)
    assert record.spec_hashes == (fit.spec.hash[:12],)
    assert record.failures == ("R_HAT",)
    assert record.ranges["N"] == (fit.runs.N.min(), fit.runs.N.max())


def test_provenance_is_one_attribute_that_survives_a_file(tmp_path):
    answer = sb.frontier(made(gate_failures=["ESS_BULK"]), C=1e24)
    answer.to_netcdf(tmp_path / "answer.nc")
    with xr.open_dataset(tmp_path / "answer.nc") as read:
        assert provenance(read) == provenance(answer)
        assert sb.caveats(read.load()) == sb.caveats(answer)
    assert {"model", "spec", "span", "gate_failures"}.isdisjoint(answer.attrs)


def test_a_dataset_of_other_origin_has_an_empty_provenance():
    assert provenance(xr.Dataset()) == Provenance()
    assert Provenance().name == ""
    assert Provenance().calibration_key is None


def test_answers_side_by_side_are_as_sound_as_the_worst_of_them():
    good = sb.predict(made(), N=1e9, D=2e10)
    bad = sb.predict(made(gate_failures=["R_HAT", "ESS_BULK"]), N=1e9, D=2e10)
    narrow = dataclasses.replace(
        provenance(bad), span=1.0, noise_scale=0.001, ranges={"N": (1e9, 2e9), "D": (1e7, 1e8)}
    )
    bad.attrs[ATTRIBUTE] = narrow.to_json()
    record = combine({"good": good, "bad": bad})
    assert record.failures == ("bad: R_HAT", "bad: ESS_BULK")
    assert record.name == "chinchilla"
    assert record.calibration_key == provenance(good).calibration_key
    assert (record.span, record.noise_scale) == (1.0, 0.001)
    assert record.ranges == {"N": (1e9, 2e9)}  # the runs have no D in common


def test_only_an_average_of_equal_weights_has_measured_coverage():
    answers = {
        "a": sb.predict(made(), N=1e9, D=2e10),
        "b": sb.predict(made("coupled"), N=1e9, D=2e10),
    }
    equal = combine(answers, weights=[0.5, 0.5])
    assert equal.name == "the average of a, b"
    hashes = sorted(provenance(answer).spec_hashes[0] for answer in answers.values())
    assert equal.calibration_key == "+".join(hashes)
    assert combine(answers, weights=[0.7, 0.3]).calibration_key is None


def test_a_subset_of_an_answer_keeps_its_provenance():
    answer = sb.predict(made(), N=[1e9, 1e10], D=2e10)
    assert provenance(answer[["loss"]].isel(target=[1])) == provenance(answer)
    assert table().N.min() == provenance(answer).ranges["N"][0]


RUN = {"N": 1e9, "D": 2e10}
QUESTIONS = {
    "predict": lambda fit: sb.predict(fit, **RUN),
    "frontier": lambda fit: sb.frontier(fit, C=1e22),
    "reach": lambda fit: sb.reach(fit, loss=2.3),
    "isoloss": lambda fit: sb.isoloss(fit, N=2e9, like=RUN),
    "returns": lambda fit: sb.returns(fit, **RUN),
    "above_converged": lambda fit: sb.above_converged(fit, C=1e21),
    "decide": lambda fit: sb.decide(fit, C=1e22),
    "near_optimum": lambda fit: sb.near_optimum(fit, C=1e22),
    "probability": lambda fit: sb.probability(fit, loss=2.5, **RUN),
    "probability of a budget": lambda fit: sb.probability(fit, loss=2.5, C=1e22),
    "prefer": lambda fit: sb.prefer(fit, a=RUN, b={"N": 2e9, "D": 1e10}),
    "regret": lambda fit: sb.regret(fit, **RUN),
    "overtrain": lambda fit: sb.overtrain(fit, **RUN),
}


@pytest.fixture(scope="module")
def failed():
    return made(gate_failures=["R_HAT"], draws=50)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_answer_carries_the_whole_provenance_of_its_fit(failed, question):
    answer = QUESTIONS[question](failed)
    expected = provenance(sb.predict(failed, **RUN))
    assert expected.failures == ("R_HAT",)
    assert provenance(answer) == expected
    assert "decades_beyond" in answer.coords
    assert answer["decades_beyond"].attrs["of"] == "C"
