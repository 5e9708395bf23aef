"""Displays of objects: a line or a small table in a terminal, escaped HTML in a notebook."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.display import html as display_html
from tests.fixtures import CHINCHILLA, around, fit_of, grid_of_sizes

HOSTILE = "<script>alert(1)</script>&\"'"
EMPTY = {"br", "hr", "img", "input", "link", "meta", "path", "use"}


class Balance(HTMLParser):
    """Follows the tags of a text, which must close in their order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in EMPTY:
            assert self.open.pop() == tag


def tags(html):
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    return parser.seen


@pytest.fixture
def runs():
    N, D = grid_of_sizes(5, 5)
    rng = np.random.default_rng(0)
    loss = (1.8 + 480 / N**0.35 + 2080 / D**0.37) * np.exp(0.01 * rng.standard_normal(len(N)))
    return sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), name=HOSTILE, strict=False)


@pytest.fixture
def fit(runs):
    rng = np.random.default_rng(1)
    draws = around(CHINCHILLA | {"nu": 6.0}, (4, 200), rng, width=0.02)
    return fit_of("chinchilla", runs, **draws)


@pytest.fixture
def shown(runs, fit):
    """Every kind of object that a notebook displays, by name."""
    both = {"a": fit, HOSTILE: fit}
    answer = sb.predict(fit, N="70B", D="15T")

    def level(train, N, D, seed):
        return np.linspace(1.8, 2.8, 50)[:, None] * np.ones(len(N))

    return {
        "runs": runs,
        "fit": fit,
        "average": sb.average(both),
        "diagnosis": sb.diagnose(fit),
        "comparison": sb.compare(both, reloo=False),
        "intervals": sb.intervals(answer),
        "summary": sb.summary(fit),
        "point fits": sb.point_fits(runs, C="1e20", draws=5),
        "backtest": sb.backtest(runs, {HOSTILE: level}, shares=(0.5,)),
        "plan": sb.plan(["1e18", "1e20"], sizes=5),
        "need": sb.runs_needed(fit, target={"N": "70B", "D": "1.4T"}, width=1.0, run_budget="1e20"),
        "spec": fit.spec,
        "law": fit.spec.law_object,
    }


def test_every_object_has_html_whose_tags_close_and_whose_texts_are_escaped(shown):
    for name, thing in shown.items():
        html = thing._repr_html_()
        assert html.startswith('<div class="scalebayes">'), name
        assert "<script" not in html, name
        found = tags(html)
        assert not any(attribute.startswith("on") for _, given in found for attribute in given), (
            name
        )
    for name in ("runs", "fit", "average", "comparison", "backtest"):
        assert "&lt;script&gt;" in shown[name]._repr_html_(), name


def test_html_takes_the_colours_of_the_notebook(shown):
    ours = [
        re.sub(r"<details>.*</details>", "", thing._repr_html_(), flags=re.DOTALL)
        for thing in shown.values()
    ]
    for html in ours:
        for tag, given in tags(html):
            assert not re.search(r"color|background", given.get("style", "") or ""), (tag, given)
            assert "bgcolor" not in given


def test_a_repr_is_a_line_or_a_small_table_and_shows_no_address(shown):
    for name, thing in shown.items():
        text = repr(thing)
        tables = 1 + text.count("\n\n")  # what is wider than a terminal goes on below
        assert len(text.splitlines()) <= 24 * tables, name
        if name in ("intervals", "summary"):
            assert all(len(line) <= 120 for line in text.splitlines()), name
        assert " object at 0x" not in text, name
        assert "array(" not in text, name
    for name in ("runs", "fit", "average", "spec", "law"):
        assert "\n" not in repr(shown[name]), name
    assert (
        repr(shown["law"]) == "<Law additive: L(N, D) = L_inf + (N_c/N)^alpha_N + (D_c/D)^alpha_D>"
    )
    assert repr(shown["spec"]) == "<Spec chinchilla: additive, student_t noise, 7 priors>"
    assert repr(sb.SIX_ND) == "<Cost C = 6 N D>"
    assert repr(sb.shape_of(7e10)).startswith("<Shape: layers 155.9, width 6109")


def test_a_table_of_answers_says_its_kind_its_caveats_and_writes_quantities_as_people_do(shown):
    table = shown["intervals"]
    heading, names, first, *rest = repr(table).splitlines()
    assert heading == "90% equal-tailed intervals"
    assert names.split()[:5] == ["N", "D", "C", "quantity", "median"]
    assert first.split()[:4] == ["70B", "15T", "6.3e24", "loss"]
    assert max(map(len, rest)) <= 110
    html = table._repr_html_()
    assert "90% equal-tailed intervals" in html
    assert "NOT_VALIDATED" in html
    assert "<td>70B</td>" in html
    lines = repr(shown["summary"]).splitlines()
    assert not any("mcse" in line for line in lines)
    by_name = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert by_name["N_c"][0].endswith("M")


def test_missing_and_infinite_values_are_words():
    from scalebayes.summaries.table import Table

    text = repr(
        Table(
            pd.DataFrame(
                {"median": [np.nan, np.inf, 2.5e9, 0.25]}, index=pd.Index(list("abcd"), name="x")
            )
        )
    )
    assert [line.split()[1] for line in text.splitlines()[1:]] == ["-", "inf", "2.5B", "0.25"]


def test_a_long_table_is_cut_in_the_middle_and_says_so(runs):
    html = display_html.table(pd.DataFrame({"a": range(100)}), most=8)
    assert html.count("<tr>") <= 11
    assert "..." in html
    assert "100" not in re.sub(r"<style.*?</style>", "", html)


def test_lines_of_a_paragraph_stay_lines_and_nothing_makes_nothing():
    assert "a &lt; b<br>c" in display_html.paragraph("a < b\nc")
    assert display_html.entries([]) == ""
    assert tags(display_html.panel("t", "", None, display_html.entries([]))) == [
        ("div", {"class": "scalebayes"}),
        ("p", {"style": "margin:0.25em 0;max-width:60em;font-weight:600;"}),
    ]
