"""How often a fit is sampled: until its convergence checks pass, with a sampler by script."""

from types import SimpleNamespace

import pandas as pd
import pytest

from scalebayes.fitting import fit as fitting
from scalebayes.fitting.samplers import Sampler
from scalebayes.messages import Message
from scalebayes.posterior.diagnostics import Diagnosis

SETTINGS = {"chains": 4, "draws": 1000, "tune": 600, "target_accept": 0.9}
SPEC = SimpleNamespace(name="law")


@pytest.fixture
def attempt(monkeypatch):
    """Sample with outcomes by script; what is kept, the settings, and the lines of progress."""

    def run(outcomes, **settings):
        script, asked, lines = iter(outcomes), [], []

        def sample(used, seed, bar):
            asked.append((used, seed))
            outcome = next(script)
            if outcome is KeyboardInterrupt:
                raise KeyboardInterrupt
            return outcome, outcome == "partial"

        def checks(outcome, partial):
            codes = ["R_HAT"] if outcome == "failed" else []
            messages = tuple(Message(code, "failed", "") for code in codes)
            return Diagnosis(messages, pd.DataFrame({"partial": [partial]}))

        monkeypatch.setattr(fitting, "convergence", checks)
        bar = SimpleNamespace(bar=lines.append)
        sampler = Sampler(sample, {})
        kept = fitting.sample_until_the_gate_passes(sampler, SETTINGS | settings, 5, SPEC.name, bar)
        return kept, asked, lines

    return run


def test_one_attempt_that_passes_is_enough(attempt):
    kept, asked, lines = attempt(["good"])
    assert (kept.sampled, kept.partial, kept.attempt, kept.gate.ok) == ("good", False, 1, True)
    assert asked[0][0] == SETTINGS
    assert lines == ["sampling law"]


def test_a_failed_attempt_is_followed_by_a_more_careful_one_of_another_seed(attempt):
    kept, asked, lines = attempt(["failed", "good"])
    assert (kept.sampled, kept.attempt, kept.gate.ok) == ("good", 2, True)
    assert kept.settings == asked[1][0] == SETTINGS | {"tune": 1200, "draws": 3000}
    assert asked[0][1] != asked[1][1]
    assert lines[1] == "sampling law, attempt 2: the convergence checks failed"


def test_the_last_attempt_is_kept_although_it_failed(attempt):
    kept, asked, _ = attempt(["failed"] * 3)
    assert (kept.attempt, kept.gate.ok) == (3, False)
    assert len(asked) == 3


def test_one_chain_is_sampled_once(attempt):
    kept, _, _ = attempt(["failed"], chains=1)
    assert (kept.attempt, kept.gate.ok) == (1, False)


def test_a_partial_attempt_is_the_last(attempt):
    kept, _, _ = attempt(["partial"])
    assert (kept.sampled, kept.partial) == ("partial", True)


@pytest.mark.parametrize("retry", ["partial", KeyboardInterrupt])
def test_an_interrupted_retry_leaves_the_whole_attempt_before_it(attempt, retry):
    kept, _, _ = attempt(["failed", retry])
    assert (kept.sampled, kept.partial, kept.attempt) == ("failed", True, 1)
    assert kept.gate.table["partial"].all()


def test_an_interruption_before_any_draw_is_passed_on(attempt):
    with pytest.raises(KeyboardInterrupt):
        attempt([KeyboardInterrupt])
