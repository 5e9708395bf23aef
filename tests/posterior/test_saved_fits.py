"""Fits that earlier versions saved are loaded and answer as they did.

`saved-by-53161b7.nc.gz` was saved by the version at that commit, before priors were relative to the
table and before fits kept the metric of their losses: coupled-discrepancy on every twelfth run of
hoffmann2022, cut to 2 chains of 20 draws. The expected medians are that version's answers.
"""

import gzip
from pathlib import Path

import pytest

import scalebayes as sb

SAVED = Path(__file__).parents[1] / "references" / "saved-by-53161b7.nc.gz"
TOLERANCE = 1e-8
"""Logs of distances are now rounded to nine decimals, which moves answers by some 1e-11."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "fit.nc"
    path.write_bytes(gzip.decompress(SAVED.read_bytes()))
    with pytest.warns(sb.GateWarning, match=r"fit\.nc, failed the convergence checks \(R_HAT, ESS"):
        return sb.load(path)


def medians(answer):
    return answer.median(("chain", "draw"))


def test_an_old_fit_has_the_priors_that_were_fitted(loaded):
    today = sb.read_model("coupled-discrepancy")
    assert loaded.spec.name == today.name
    assert loaded.spec.priors["D_c"].at == 2e10
    assert today.priors["D_c"].at == "centre"
    assert loaded.runs.metric == "nats per token"  # guessed from the values: the file has none


def test_an_old_fit_predicts_as_it_did(loaded):
    found = medians(sb.predict(loaded, N=70e9, D=1.4e12))
    assert found["law"].item() == pytest.approx(1.9166360314424669, rel=TOLERANCE)
    assert found["loss"].item() == pytest.approx(1.914491837404761, rel=TOLERANCE)
    assert found["new_run"].item() == pytest.approx(1.9197082273547803, rel=TOLERANCE)


def test_an_old_fit_allocates_as_it_did(loaded):
    found = medians(sb.frontier(loaded, C=[1e21, 1e24]))
    expected = {
        "N": [2534999528.0929937, 78056799940.23091],
        "D": [65747860814.37668, 2135726324028.3438],
        "loss": [2.2954421166504395, 1.888520675444016],
    }
    for name, values in expected.items():
        assert found[name].values == pytest.approx(values, rel=TOLERANCE)


def test_an_old_fit_is_summarised_and_saved_again(loaded, tmp_path):
    assert "kappa" in sb.summary(loaded).index
    with pytest.warns(sb.GateWarning):
        again = sb.load(sb.save(loaded, tmp_path / "again.nc"))
    assert again.spec == loaded.spec
    assert again.runs.metric == loaded.runs.metric
