"""Priors taken from a saved fit: what they say, and that few runs then say more."""

import numpy as np
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.specs.spec import prior_draws
from tests.fixtures import CHINCHILLA, around, fit_of


@pytest.fixture
def planted():
    drawn = around(CHINCHILLA, (4, 500), np.random.default_rng(0), width=0.05)
    return fit_of("chinchilla", sb.load_runs("pile2023"), **drawn)


@pytest.mark.parametrize("inflate", [1.0, 3.0])
def test_priors_are_the_posterior_and_as_much_wider_as_asked(planted, inflate):
    spec = sb.prior_from(planted, inflate)
    assert spec.name == "chinchilla-from-pile2023"
    made = prior_draws(spec, 20_000)
    posterior = planted.stored["posterior"].to_dataset()
    for name in ("L_inf", "alpha_N", "alpha_D", "sigma"):
        logs, ours = np.log(posterior[name].values), np.log(made[name])
        assert np.median(ours) == pytest.approx(np.median(logs), abs=0.02 * inflate)
        assert ours.std() == pytest.approx(inflate * logs.std(), rel=0.05)
    # Priors of scales are stated for the size of their term.
    at = spec.priors["N_c"].at
    assert at == pytest.approx(np.exp(np.log(planted.runs.N).mean()), rel=0.005)
    size = posterior["alpha_N"] * np.log(posterior["N_c"] / at)
    ours = made["alpha_N"] * np.log(made["N_c"] / at)
    assert ours.std() == pytest.approx(inflate * float(size.std()), rel=0.05)
    assert spec.priors["nu"] == planted.spec.priors["nu"]
    assert (
        spec.priors["L_inf"].reason
        == f"posterior of chinchilla on 15 runs of pile2023, {inflate:g} times as wide"
    )
    assert "posterior of chinchilla on 15 runs" in spec.describe()


def test_a_prior_surer_than_its_posterior_is_refused(planted):
    with pytest.raises(sb.QueryError, match=r"inflate must be 1 or more; got 0.5"):
        sb.prior_from(planted, 0.5)


def test_the_command_line_says_how_wide(planted, tmp_path):
    saved = sb.save(planted, tmp_path / "fit.nc")
    arguments = ["fit", "pile2023", "--prior-from", str(saved), "--inflate", "0.5"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "inflate must be 1 or more; got 0.5" in result.stderr


@pytest.mark.standard
def test_six_runs_say_more_with_a_prior_from_runs_of_their_kind(fitted):
    """The six are among the 240 runs, which can hardly mislead about them."""
    few = sb.Runs(sb.load_runs("hoffmann2022").table.iloc[20::40], "six")
    assert len(few) == 6
    alone = sb.fit(few, "chinchilla", progress=False)
    spec = sb.prior_from(fitted("hoffmann2022", "chinchilla"), inflate=5)
    borrowed = sb.fit(few, spec, progress=False)
    assert not borrowed.gate_failures
    widths = {}
    for label, one in (("alone", alone), ("borrowed", borrowed)):
        found = sb.intervals(sb.predict(one, N="70B", D="1.4T")).xs("loss", level="quantity")
        row = found.iloc[0]
        widths[label] = row["eti90_ub"] - row["eti90_lb"]
    assert widths["borrowed"] < 0.5 * widths["alone"], widths
