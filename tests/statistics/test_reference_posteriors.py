"""Posteriors agree with those of an independent sampler: Stan on its own program, once PyMC's NUTS.

Nine posteriors, 90 quantities, by benchmarks/reference_posteriors.py. Each mean must agree within
four Monte Carlo errors of both sides, and each standard deviation within 5%. Where long tails
make a standard deviation less certain than that (the log of a floor near zero), the ratio must
agree within four of its Monte Carlo errors. Half of the ratios must be within 2%. The quantities
of one posterior are correlated, and so are their Monte Carlo errors: the size of all z together is
judged against z simulated with the correlations of the posteriors.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import scalebayes as sb

HERE = Path(__file__).parents[1]
FILES = sorted((HERE / "references").glob("*.json"))
DRAWS = 4000
"""Four times the default: at some thousands of effective draws an sd is known to about 1%."""


@pytest.fixture(scope="module")
def references():
    spec = importlib.util.spec_from_file_location(
        "references", HERE.parent / "benchmarks" / "reference_posteriors.py"
    )
    module = sys.modules["references"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["references"]


@pytest.fixture(scope="module")
def compared(references, load_public):
    """Comparison and posterior correlation by file, each fitted when first asked for."""
    made = {}

    def get(file):
        if file not in made:
            entry = json.loads(file.read_text())
            runs = load_public(entry["table"])
            assert runs.hash == entry["runs"], "the reference was made on another table"
            fit = sb.fit(runs, references.in_nats(entry["model"]), seed=1, draws=DRAWS)
            logs = references.from_fit(fit)[sorted(entry["logs"])].to_dataarray("quantity")
            correlation = np.corrcoef(logs.stack(sample=("chain", "draw")).values)
            made[file] = references.compare(entry, fit), correlation
        return made[file]

    return get


def test_references_converged():
    assert len(FILES) == 9
    for file in FILES:
        entry = json.loads(file.read_text())
        assert {"stan", "pymc"} & set(entry["sampler"])
        for name, quantity in entry["logs"].items():
            assert quantity["r_hat"] < 1.01, (file.stem, name)
            assert quantity["ess_bulk"] > 1000, (file.stem, name)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_means_and_sds_agree_with_the_reference(file, compared):
    found, _ = compared(file)
    assert {name: q["z"] for name, q in found.items() if abs(q["z"]) >= 4} == {}
    sd = {
        name: q
        for name, q in found.items()
        if abs(q["sd_ratio"] - 1) >= max(0.05, 4 * q["sd_error"])
    }
    assert sd == {}


@pytest.mark.slow
def test_most_sds_agree_closely(compared):
    ratios = []
    for file in FILES:
        quantities, _ = compared(file)
        ratios += [one["sd_ratio"] for one in quantities.values()]
    ratios = np.array(ratios)
    print(
        f"{np.mean(np.abs(ratios - 1) < 0.05):.1%} of {len(ratios)} within 5%, "
        f"median {np.median(ratios):.3f}"
    )
    assert np.median(np.abs(ratios - 1)) < 0.02


@pytest.mark.slow
def test_the_differences_from_the_references_are_as_large_as_monte_carlo_errors(compared):
    found = [compared(file) for file in FILES]
    z = []
    for quantities, _ in found:
        z += [one["z"] for one in quantities.values()]
    z = np.array(z)
    rng = np.random.default_rng(0)
    simulated = np.concatenate(
        [rng.multivariate_normal(np.zeros(len(c)), c, size=4000, method="eigh") for _, c in found],
        axis=1,
    )
    spread = np.sqrt((simulated**2).mean(axis=1))
    low, high = np.quantile(spread, [0.005, 0.995])
    print(
        f"root mean square z {np.sqrt((z**2).mean()):.3f} of {len(z)}, "
        f"99% of simulated in {low:.3f} to {high:.3f}"
    )
    print(f"sd of z {z.std():.3f}, largest |z| {np.abs(z).max():.2f}")
    assert low < np.sqrt((z**2).mean()) < high
