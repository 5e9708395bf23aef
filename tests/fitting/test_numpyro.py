"""The same model through JAX, on the CPU: one real posterior, and refusals before compiling."""

import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.fitting import samplers

RUNS = sb.load_runs("pile2023")


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpyro", None)
    with pytest.raises(sb.FitError, match=r"pip install 'scalebayes\[gpu\]'"):
        sb.fit(RUNS, "kaplan-size", backend="jax")


def test_backends_that_are_none_are_refused(monkeypatch):
    monkeypatch.setattr(samplers, "compile_with", None)
    with pytest.raises(sb.FitError, match="backend takes 'nutpie' and 'jax'; got 'cuda'"):
        sb.fit(RUNS, "kaplan-size", backend="cuda")
    result = CliRunner().invoke(app, ["fit", "pile2023", "-m", "kaplan-size", "--backend", "cuda"])
    assert result.exit_code == 2  # a choice that the command does not offer
    assert "'cuda' is not one of" in result.stderr
    assert "'nutpie', 'jax'" in result.stderr


@pytest.fixture(scope="module")
def by_jax():
    pytest.importorskip("numpyro")
    return sb.fit(RUNS, "kaplan-size", backend="jax", seed=0, progress=False)


@pytest.mark.slow
def test_the_posterior_is_nutpies_within_monte_carlo_error(by_jax, fitted):
    import arviz_stats as azs

    ours, theirs = (
        fit.stored["posterior"].to_dataset() for fit in (by_jax, fitted("pile2023", "kaplan-size"))
    )
    assert list(ours) == list(theirs)
    for name in ours:
        logs = [np.log(x[name]) for x in (ours, theirs)]
        for method in ("mean", "sd", "median"):
            reduce = {"mean": np.mean, "sd": np.std, "median": np.median}[method]
            error = np.hypot(*(float(azs.mcse(x, method=method)) for x in logs))
            assert float(reduce(logs[0].values)) == pytest.approx(
                float(reduce(logs[1].values)), abs=4 * error
            ), name


@pytest.mark.slow
def test_the_result_is_a_fit_like_any_other(by_jax, fitted, tmp_path):
    other = fitted("pile2023", "kaplan-size")
    assert set(by_jax.stored.children) == set(other.stored.children)
    assert set(by_jax.stored["sample_stats"].data_vars) == set(
        other.stored["sample_stats"].data_vars
    )
    assert by_jax.metadata["backend"] == "jax"
    assert by_jax.metadata["device"] == "cpu"
    assert {"jax", "numpyro"} <= by_jax.metadata["versions"].keys()
    assert other.metadata["backend"] == "nutpie"
    assert by_jax.stored["posterior"]["alpha_N"].dtype == np.float64
    assert sb.diagnose(by_jax).ok
    loaded = sb.load(sb.save(by_jax, tmp_path / "jax.nc"))
    asked = {"N": "1e10"}
    assert sb.predict(loaded, **asked).equals(sb.predict(by_jax, **asked))


@pytest.mark.slow
def test_lp_is_the_log_density_of_the_graph_up_to_a_constant(by_jax, fitted):
    """As with nutpie, larger at high density: the energy check and ArviZ's plots need that."""
    both = []
    for fit in (by_jax, fitted("pile2023", "kaplan-size")):
        density = fit.log_likelihood["log_loss"].sum("run").values.ravel()
        both.append(np.corrcoef(density, fit.stored["sample_stats"]["lp"].values.ravel())[0, 1])
    assert both[0] == pytest.approx(both[1], abs=0.1)
    assert both[0] > 0.3


@pytest.mark.slow
def test_arguments_that_numpyro_does_not_know_are_told(monkeypatch):
    with pytest.raises(
        sb.FitError, match=r"NumPyro's NUTS does not take these arguments: .*'adaptation'"
    ):
        sb.fit(RUNS, "kaplan-size", backend="jax", adaptation="low_rank", progress=False)
