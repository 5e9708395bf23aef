"""The content of a report against the queries' own answers, the same in three formats."""

import base64
import html
import importlib
import json
import re
import shlex
import sys
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes import reports
from scalebayes.cli import app
from scalebayes.cli.reports import _load_subject
from scalebayes.comparison import compare
from scalebayes.fitting.samplers import own_settings
from scalebayes.messages import Message
from scalebayes.posterior.fit import METADATA, law_parameters
from scalebayes.reports import contract
from scalebayes.reports.answers import answers, ask, spoken
from scalebayes.reports.commands import Question
from scalebayes.reports.content import content_of
from scalebayes.reports.figures import drawing, drawn_frontier
from scalebayes.reports.live import page
from scalebayes.reports.live.page import live_part
from scalebayes.reports.live.surfaces import AMONG, Grid
from scalebayes.reports.references import _authors, cite
from scalebayes.reports.rendering import policy_hash, to_html, to_json, to_markdown
from scalebayes.reports.sections.making import making_section
from scalebayes.specs.spec import models_folder
from scalebayes.validation.sensitivity import AS_FITTED, Sensitivity, table_of_moves
from tests.fixtures import HOSTILE, hostile_fit, report_fit, report_runs


@pytest.fixture(scope="module")
def fit():
    return report_fit()


@pytest.fixture(scope="module")
def told(fit):
    return content_of(fit, N="70B", D="1.4T", C=["1e22", "1e23"])


@pytest.fixture(scope="module")
def hurt():
    return content_of(hostile_fit())


class Page(HTMLParser):
    """Elements of a page with their attributes, and its text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.inside = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data):
        if not self.inside:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())


def sentences(content):
    """Every text that a report shows, from its content alone."""
    if isinstance(content, Message):
        return [content.text[1:], content.code]  # a page begins it with a capital
    if isinstance(content, contract.Cell):
        return [content.text]
    if isinstance(content, contract.Live):
        return []
    if isinstance(content, contract.Answer):
        return [content.question, content.text[1:]]  # a page begins it with a capital
    if isinstance(content, contract.Reference):
        return [content.text]
    if is_dataclass(content):
        shown = (f for f in fields(content) if f.name not in ("svg", "box", "key", "name", "ok"))
        return [text for f in shown for text in sentences(getattr(content, f.name))]
    if isinstance(content, tuple):
        return [text for one in content for text in sentences(one)]
    return [content] if isinstance(content, str) else []


# content


def test_answers_are_those_of_the_queries(fit, told):
    at, best = (
        sb.intervals(sb.predict(fit, N="70B", D="1.4T")),
        sb.intervals(sb.frontier(fit, C=["1e22", "1e23"])),
    )
    assert [answer.asked for answer in told.answers] == [
        {"N": 7e10, "D": 1.4e12, "C": 5.88e23},
        {"C": 1e22},
        {"C": 1e23},
    ]
    for quantity in ("loss", "new_run"):
        row, cell = at.xs(quantity, level="quantity").iloc[0], told.answers[0].numbers[quantity]
        assert (cell.value, cell.low, cell.high) == (
            row["median"],
            row["eti90_lb"],
            row["eti90_ub"],
        )
    for answer, C in zip(told.answers[1:], (1e22, 1e23), strict=True):
        for quantity in ("N", "D", "loss", "tokens_per_param"):
            row, cell = best.loc[(C, quantity)], answer.numbers[quantity]
            assert (cell.value, cell.low, cell.high) == (
                row["median"],
                row["eti90_lb"],
                row["eti90_ub"],
            )


def test_an_answer_is_a_sentence_with_its_interval_and_distance(told):
    first, second = told.answers[0], told.answers[1]
    assert first.question == "70B parameters on 1.4T tokens"
    loss = first.numbers["loss"]
    low, high = loss.text.partition(" [")[2].strip("]").split(", ")
    assert first.text.startswith(
        f"{loss.text.split()[0]} nats per token (90% interval {low} to {high})"
    )
    assert first.text.endswith("1.99 orders of magnitude of compute beyond the largest run")
    assert re.match(
        r"best spent on \S+ parameters \(90% interval \S+ to \S+\) on \S+ tokens \(", second.text
    )
    assert told.intervals == "90% equal-tailed"


def test_by_default_the_budgets_are_those_of_the_largest_run_and_beyond(fit):
    (dataset,) = ask(fit)
    assert dataset["C"].values.tolist() == [6e21, 6e22, 6e23]


def test_one_of_n_and_d_goes_with_compute(fit):
    (dataset,) = ask(fit, N="1B", C="6e20")
    assert dataset["D"].values.tolist() == [1e11]
    assert [a.question for a in answers(dataset, 0.8)] == ["1B parameters on 100B tokens"]


def test_the_caveats_are_those_of_the_answers(fit, told):
    expected = {
        *sb.caveats(sb.predict(fit, N="70B", D="1.4T")),
        *sb.caveats(sb.frontier(fit, C=["1e22", "1e23"])),
    }
    named = {replace(m, text=m.text.replace("chinchilla", "Chinchilla's law")) for m in expected}
    assert {*told.caveats} == named
    assert [m.level for m in told.caveats] == sorted(
        (m.level for m in told.caveats), key=["warning", "note"].index
    )


def test_sections_come_in_their_order_and_only_with_content(told):
    keys = [section.key for section in told.sections]
    assert keys == [key for key in contract.SECTIONS if key in keys]
    assert {"data", "posterior", "fit", "frontier", "extrapolation", "making"} <= {*keys}
    assert "sensitivity" not in keys
    assert any("--sensitivity" in sentence for sentence in told.left_out)


def test_the_posterior_table_is_the_summary(fit, told):
    (table,) = next(s for s in told.sections if s.key == "posterior").tables
    summary = sb.summary(fit)
    assert [row[0].text for row in table.rows] == list(summary.index)
    after = table.headings.index("posterior")
    np.testing.assert_array_equal([row[after].value for row in table.rows], summary["median"])
    besiroglu = table.headings.index("Besiroglu et al. 2024")
    assert table.rows[0][besiroglu].value == 1.8172


def test_the_prior_column_holds_the_prior(fit, told):
    (table,) = next(s for s in told.sections if s.key == "posterior").tables
    row = next(row for row in table.rows if row[0].text == "alpha_N")
    prior = fit.stored["prior"]["alpha_N"].values
    assert row[1].value == pytest.approx(float(np.median(prior)), rel=0.01)
    assert (row[1].low, row[1].high) == pytest.approx(
        tuple(np.quantile(prior, [0.05, 0.95])), rel=0.05
    )


def test_the_residuals_count_runs_inside_their_intervals(fit, told):
    answer = sb.predict(fit, N=fit.runs.N, D=fit.runs.D)
    low, high = answer["new_run"].quantile([0.05, 0.95], ("chain", "draw")).values
    inside = int(((low <= fit.runs.loss) & (fit.runs.loss <= high)).sum())
    section = next(s for s in told.sections if s.key == "fit")
    assert section.sentences[0].startswith(f"{inside} of 24 runs")
    assert [d.name for d in section.drawings] == ["isoflop", "residuals"]


def test_how_it_was_made_says_hashes_seed_and_commands(fit, told):
    section = told.sections[-1]
    facts = {row[0].text: row[1].text for row in section.tables[0].rows}
    assert facts["model, SHA-256"] == fit.spec.hash
    assert facts["runs, SHA-256"] == fit.runs.hash
    assert facts["draws"] == "4 chains of 250, seed 0, attempt 1"
    commands, spec = section.listings
    assert commands.text.splitlines() == [
        "scalebayes fit grid.csv -m chinchilla --seed 0 --chains 4 --draws 250 --tune 1000 --quick "
        "-o chinchilla.nc",
        "scalebayes report chinchilla.nc --N 70B --D 1.4T --C 1e22 --C 1e23 -o report.html",
    ]
    assert spec.text == fit.spec.describe()


def command_of(fit, about):
    """The command that makes a fit again, where its metadata says so."""
    tree = fit.stored.copy()
    tree.attrs = tree.attrs | {METADATA: json.dumps(fit.metadata | about)}
    made = replace(fit, stored=tree)
    section = making_section(made, {fit.spec.name: made}, ["a model"], Question())
    return section.listings[0].text.splitlines()[0]


def test_the_command_asks_for_what_was_asked_where_a_retry_tripled_the_draws(fit):
    asked = own_settings("nutpie", fit.spec) | {"chains": 4, "draws": 250, "tune": 600}
    used = {"chains": 4, "draws": 750, "tune": 1200}
    command = command_of(fit, {"attempts": 2, "asked": asked, "sampler": used})
    assert "--seed 0 --chains 4 --draws 250 --tune 600 --quick" in command


def test_the_command_of_an_old_file_repeats_the_settings_that_were_used(fit):
    used = {"chains": 4, "draws": 1000, "tune": 2400}
    command = command_of(fit, {"attempts": 3, "sampler": used})
    assert "--seed 0 --chains 4 --draws 1000 --tune 2400 --quick" in command


def count_calls(monkeypatch, module, name):
    """Count the calls of a function from anywhere in the package."""
    calls = []
    function = getattr(module, name)

    def counted(*args, **kwargs):
        calls.append(name)
        return function(*args, **kwargs)

    for one in list(sys.modules.values()):
        if getattr(one, "__name__", "").startswith("scalebayes"):
            for attribute, value in list(vars(one).items()):
                if value is function:
                    monkeypatch.setattr(one, attribute, counted)
    return calls


def test_sections_share_predictions_searches_and_summaries(monkeypatch):
    modules = {
        "_draw": "scalebayes.queries.predict",
        "summary": "scalebayes.summaries.summary",
        "optimal_sizes": "scalebayes.queries.optima.optimum",
    }
    calls = {}
    for name, module in modules.items():
        calls[name] = count_calls(monkeypatch, importlib.import_module(module), name)
    content_of(report_fit())
    assert 1 <= len(calls["_draw"]) <= 12
    assert len(calls["summary"]) == 1
    # The recommendation adds its budget, a tenth more than that, and the runs to make next.
    assert 1 <= len(calls["optimal_sizes"]) <= 8


def test_a_model_of_ones_own_travels_whole(fit):
    spec = fit.spec.model_copy(update={"name": "mine"})
    made = replace(fit, spec=spec)
    section = making_section(made, {"mine": made}, ["mine"], Question())
    assert [listing.title for listing in section.listings] == [
        "To make this report again, in Python",
        "Specification of mine",
        "mine.json",
    ]
    assert sb.Spec.model_validate_json(section.listings[-1].text) == spec
    assert "Save the JSON below as mine.json first." in section.sentences


def test_a_law_of_one_input_has_a_report_without_a_frontier():
    content = content_of(report_fit("compute-floor"))
    keys = [section.key for section in content.sections]
    assert "frontier" not in keys
    assert content.live is None
    assert [d.name for s in content.sections if s.key == "fit" for d in s.drawings] == ["residuals"]
    assert "This law has no compute-optimal N and D, so there is no frontier." in content.left_out
    assert "it supports only laws of N and D" in content.left_out[-1]
    assert content.answers[0].question == "6e22 FLOP"
    assert "live" not in to_html(content).partition("</style>")[2].partition("<main>")[0]


def test_a_failed_gate_is_the_verdict():
    failed = content_of(report_fit(gate_failures=("R_HAT",), draws=20))
    (verdict,) = failed.verdicts
    assert not verdict.ok
    assert "Sampling did not converge: do not rely on these numbers" in Page(to_html(failed)).text


def moved(fit):
    """A result of `sensitivity` whose refit is the fit shifted, so that the decision moves."""
    tables = {AS_FITTED: sb.intervals(sb.frontier(fit, C="1e23")[["N", "loss"]])}
    tables["priors twice as wide"] = tables[AS_FITTED] * 1.5
    message = Message(
        "DECISION_MOVES", "warning", "N* leaves its interval under 'priors twice as wide'"
    )
    return Sensitivity(
        {AS_FITTED: fit, "priors twice as wide": fit}, table_of_moves(tables, 0.9), (message,)
    )


def test_a_sensitivity_that_is_given_is_told(fit):
    result = moved(fit)
    content = content_of(fit, C="1e23", sensitivity=result)
    section = next(s for s in content.sections if s.key == "sensitivity")
    assert section.sentences == (
        "The decision depends on the assumptions: under at least one of them, a median lies "
        "outside its interval as fitted.",
    )
    assert section.messages == result.messages
    rows = result.table.reset_index()
    assert [row[1].text for row in section.tables[0].rows] == rows["assumed"].tolist()
    np.testing.assert_array_equal([row[3].value for row in section.tables[0].rows], rows["moved"])
    assert not any("--sensitivity" in sentence for sentence in content.left_out)


@pytest.mark.filterwarnings("ignore:.*Pareto k")
def test_a_comparison_answers_as_the_average_and_shows_both():
    fits = {"sum": report_fit(), "kappa": report_fit("coupled")}
    for one in fits.values():  # of made-up draws: what matters here is that it is told
        loglik = np.random.default_rng(2).normal(3.0, 0.1, (4, 250, 24))
        one.log_likelihood["log_loss"].values[:] = loglik
    comparison = sb.compare(fits, reloo=False)
    content = content_of(comparison, C="1e23")
    best = sb.intervals(sb.frontier(sb.average(fits), C="1e23"))
    assert content.answers[0].numbers["N"].value == best.loc[(1e23, "N"), "median"]
    section = next(s for s in content.sections if s.key == "comparison")
    assert section.sentences[0] == comparison.sentence()
    assert any(sentence.startswith("kappa of kappa on grid") for sentence in section.sentences)
    scores, differences, *_ = section.tables
    assert [row[0].text for row in scores.rows] == list(comparison.table.index)
    assert differences.rows[0][-1].value == float(
        sb.intervals(comparison.difference(C="1e23"))["median"].iloc[0]
    )
    assert content.live.sentence.startswith("This page contains all 2000 posterior draws")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("Rae, Jack", "Rae"),
        ("Rae, Jack and Borgeaud, Sebastian", "Rae and Borgeaud"),
        ("Rae, J and Borgeaud, S and Cai, T", "Rae, Borgeaud and Cai"),
        ("Rae, J and Borgeaud, S and Cai, T and Millican, K", "Rae et al."),
        ("Rae, Jack and others", "Rae et al."),
    ],
)
def test_authors_are_shortened_beyond_three_or_where_the_entry_does(names, text):
    assert _authors(names) == text


def test_references_are_entries_of_the_bibliography():
    kaplan, vehtari = cite(["vehtari2021", "kaplan2020", "kaplan2020", "no such key"])
    assert (
        kaplan.text
        == "Kaplan et al. (2020). Scaling Laws for Neural Language Models. arXiv:2001.08361"
    )
    assert cite(["buerkner2021"])[0].text.startswith("Bürkner, Gabry and Vehtari (2021). ")
    assert kaplan.url == "https://arxiv.org/abs/2001.08361"
    assert "An Improved R-hat for Assessing" in vehtari.text
    assert vehtari.url == "https://doi.org/10.1214/20-BA1221"
    everything = cite(
        re.findall(r"^@\w+\{(\w+),", (models_folder() / "references.bib").read_text(), re.MULTILINE)
    )
    assert len(everything) > 30
    assert not [r.text for r in everything if re.search(r"[{}\\$]", r.text)]


def test_intervals_are_spoken():
    assert (
        spoken(contract.Cell("1.94 [1.80, 2.08]"), " nats", "90% interval")
        == "1.94 nats (90% interval 1.80 to 2.08)"
    )
    assert spoken(contract.Cell("66B [40B, inf]")) == "66B (40B to inf)"
    assert spoken(contract.Cell("0.43"), " of them") == "0.43 of them"


# formats


def test_html_shows_all_that_the_content_says(told):
    shown = Page(to_html(told)).text
    assert len(sentences(told)) > 200
    assert not [text for text in sentences(told) if " ".join(text.split()) not in shown]


def test_markdown_and_json_hold_the_same_content(told):
    markdown = html.unescape(re.sub(r"\\([\\`*_\[\]|~#$])", r"\1", to_markdown(told)))
    flat = " ".join(markdown.split())
    assert not [text for text in sentences(told) if " ".join(text.split()) not in flat]
    read = json.loads(to_json(told))
    assert [a["numbers"]["loss"]["value"] for a in read["answers"]] == [
        a.numbers["loss"].value for a in told.answers
    ]
    whole = json.dumps(read, ensure_ascii=False)
    assert not [
        text for text in sentences(told) if json.dumps(text, ensure_ascii=False)[1:-1] not in whole
    ]
    assert [s["key"] for s in read["sections"]] == [s.key for s in told.sections]
    assert "svg" not in read["sections"][1]["drawings"][0]
    assert "arrays" not in read["live"]


def test_the_page_asks_nothing_of_a_network(told):
    page = Page(to_html(told))
    assert {tag for tag, _ in page.elements}.isdisjoint(
        {"link", "img", "iframe", "object", "embed", "base", "form"}
    )
    loads = [
        value
        for _, attrs in page.elements
        for name, value in attrs.items()
        if name in ("src", "srcset", "data")
    ]
    assert not loads
    targets = [
        (tag, value)
        for tag, attrs in page.elements
        for name, value in attrs.items()
        if name in ("href", "xlink:href")
    ]
    assert all(
        value.startswith("#") or (tag == "a" and value.startswith("https://"))
        for tag, value in targets
    )
    style = re.search("<style>(.*?)</style>", to_html(told), re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_names_the_style_and_the_script_that_stand_in_the_page(told):
    text = to_html(told)
    policy = html.unescape(
        re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1]
    )
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)[1]
    (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["style-src"] == f"'{policy_hash(style)}'"
    assert rules["script-src"] == f"'{policy_hash(script)}'"
    assert policy_hash("") == "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_no_element_has_a_style_or_a_handler_of_its_own_and_names_are_used_once(told):
    page = Page(to_html(told))
    for _, attrs in page.elements:
        assert "style" not in attrs
        assert not [name for name in attrs if name.startswith("on")]
    names = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(names) == len(set(names))
    used = {
        v.removeprefix("#")
        for tag, a in page.elements
        for n, v in a.items()
        if n in ("href",) and v.startswith("#")
    }
    assert used <= set(names)


def test_figures_have_words_and_tables_have_headers(told):
    page = Page(to_html(told))
    figures = [attrs for tag, attrs in page.elements if tag == "svg"]
    assert len(figures) == 7
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 40 for attrs in figures)
    assert sum(tag == "table" for tag, _ in page.elements) == sum(
        tag == "caption" for tag, _ in page.elements
    )
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.elements if tag == "th")


def test_the_same_fit_gives_the_same_bytes(fit, told):
    again = content_of(fit, N="70B", D="1.4T", C=["1e22", "1e23"])
    for render in (to_html, to_markdown, to_json):
        assert render(again) == render(told)


def test_hostile_strings_stay_text(hurt):
    page = Page(to_html(hurt))
    assert [tag for tag, _ in page.elements if tag in ("img", "script")] == ["script", "script"]
    assert " ".join(HOSTILE.split()) in page.text
    markdown = to_markdown(hurt)
    outside = re.sub(r"^(`{3,}).*?^\1$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    assert "<img" not in outside
    assert "<script" not in outside
    assert not [line for line in outside.splitlines() if re.search(r"(?<!\\)`x", line)]
    assert json.loads(to_json(hurt))["title"] == f"Scaling laws fitted to {HOSTILE}"


def test_hostile_strings_are_quoted_in_commands(hurt):
    commands = hurt.sections[-1].listings[0].text.splitlines()
    assert shlex.split(commands[0])[2] == HOSTILE


def test_what_travels_cannot_end_its_element(told):
    bad = replace(
        told,
        live=replace(told.live, settings=told.live.settings | {"x": "</script><script>alert(1)"}),
    )
    assert to_html(bad).count("</script>") == to_html(told).count("</script>")


# what travels


def unpacked(part, draws):
    """Log loss of every draw at nodes of the grid, computed from the data of the page alone."""
    s, raw = part.settings, {name: base64.b64decode(text) for name, text in part.arrays.items()}
    rank, nodes = s["wide"] + s["narrow"], s["sizes"][0] * s["sizes"][1]
    surfaces = (
        np.frombuffer(raw["components"], "<i2").reshape(rank, nodes)
        * np.array(s["scales"])[:, None]
    )
    weights = np.concatenate(
        [
            np.frombuffer(raw["wideDraws"], "<i2").reshape(s["wide"], draws),
            np.frombuffer(raw["narrowDraws"], "i1").reshape(s["narrow"], draws),
        ]
    )
    splines = np.frombuffer(raw["mean"], "<f4") + weights.T @ surfaces
    at = splines.reshape(draws, *s["sizes"])
    for axis in (1, 2):  # a cubic B-spline at its nodes
        left, right = (np.roll(at, shift, axis) for shift in (1, -1))
        at = (left + 4 * at + right) / 6
    return at


def test_what_travels_is_the_curve_of_every_draw(fit, told):
    at = unpacked(told.live, 1000)
    s = told.live.settings
    grid = Grid(s["among"], s["first"], s["sizes"], density=s["nodes"][0] / AMONG)
    inner = slice(4, -4)
    N, D = (10 ** log.reshape(grid.sizes)[inner, inner] for log in grid.nodes)
    parameters = {name: v.reshape(-1, 1, 1) for name, v in law_parameters(fit).items()}
    np.testing.assert_allclose(
        at[:, inner, inner], np.log(fit.spec.law_object(N, D, **parameters)), atol=5e-4
    )


@pytest.mark.slow
def test_a_page_of_a_default_fit_is_small_and_agrees_with_the_frontier(fitted):
    content = content_of(fitted("hoffmann2022", "coupled-discrepancy"))
    assert len(to_html(content).encode()) < 2_000_000
    assert content.live.settings["draws"] == 4000
    told = float(
        re.search(r"agree with those of the package to (\S+)% or better", content.live.sentence)[1]
    )
    assert told <= 1.0


def test_a_law_with_an_edge_is_put_on_a_denser_grid_and_its_error_stated():
    bottleneck = report_fit("bottleneck")
    fits = {"bottleneck": bottleneck}
    part, why = live_part(bottleneck, fits, 0.9, drawn_frontier(fits, 0.9))
    assert why == ""
    assert part.settings["nodes"][0] > 10.0
    stated = float(re.search(r"agree with those of the package to (\S+)%", part.sentence)[1])
    assert 0.5 < stated < 3.0


def test_a_panel_that_would_be_far_off_is_left_out_with_the_reason(monkeypatch, fit):
    monkeypatch.setattr(page, "TOLERANCE", 1e-6)
    fits = {"chinchilla": fit}
    part, why = live_part(fit, fits, 0.9, drawn_frontier(fits, 0.9))
    assert part is None
    assert re.fullmatch(r"its grid changes N\* by \S+%, more than the allowed 0.0%", why)


def test_a_grid_is_close_among_the_runs_and_reaches_over_all_that_may_be_asked():
    low, high = np.array([8.0, 9.0]), np.array([13.0, 14.0])
    grid = Grid.over(low, high, np.array([[9.0, 10.0], [10.0, 11.0]]))
    log_N, log_D = (log.reshape(grid.sizes) for log in grid.nodes)
    places = grid.places(log_N.ravel(), log_D.ravel()).reshape(2, *grid.sizes)
    np.testing.assert_allclose(places[0], np.arange(grid.sizes[0])[:, None] + 0 * log_D, atol=1e-6)
    np.testing.assert_allclose(places[1], np.arange(grid.sizes[1])[None, :] + 0 * log_D, atol=1e-6)
    steps = np.diff(log_N[:, 0])
    assert steps[np.abs(log_N[:-1, 0] - 9.5).argmin()] == pytest.approx(0.1, rel=0.1)
    assert steps[np.abs(log_N[:-1, 0] - 12.0).argmin()] == pytest.approx(0.25, rel=0.01)
    assert log_N[4, 0] == pytest.approx(8.0)
    assert log_N[-5, 0] >= 13.0
    asked = np.array([[8.0, 13.0, 7.9, 13.5], [9.0, 14.0, 10.0, 10.0]])
    assert grid.inside(*asked).tolist() == [True, True, False, False]


def test_names_of_functions_in_messages_are_code_and_other_text_is_escaped():
    message = Message("A", "note", "compare `backtest` and <b>`x<y`</b> ` alone")
    page = to_html(replace(content_of(report_fit()), caveats=(message,)))
    assert (
        "Compare <code>backtest</code> and &lt;b&gt;<code>x&lt;y</code>&lt;/b&gt; ` alone." in page
    )


def test_names_in_json_are_not_escaped():
    text = to_json(content_of(report_fit(runs=report_runs("Größe"))))
    assert "Größe" in text


def test_a_page_words_titles_and_captions_of_figures_itself(fit):
    figure = sb.plots.frontier(fit)
    (axes,) = figure.axes
    title, caption = axes.get_title(loc="left"), figure.get_supxlabel()
    drawn = drawing("frontier", figure, "a curve")
    assert (drawn.name, drawn.title, drawn.alt) == ("frontier", title, "a curve")
    assert drawn.caption.split() == caption.split()
    assert axes.get_title(loc="left") == figure.get_supxlabel() == figure.get_suptitle() == ""


# files and commands


@pytest.mark.parametrize(
    ("ending", "start"),
    [("html", "<!doctype html>"), ("md", "# Scaling laws fitted to"), ("json", "{")],
)
def test_the_ending_says_the_format(fit, told, tmp_path, monkeypatch, ending, start):
    # The content takes seconds to collect and is the same for all formats.
    monkeypatch.setattr(reports, "content_of", lambda *_, **__: told)
    path = sb.report(fit, tmp_path / f"a report.{ending}", C="1e22")
    assert path.read_text("utf-8").startswith(start)


def test_a_report_of_no_known_format_is_refused_before_anything_is_asked(fit, tmp_path):
    with pytest.raises(sb.QueryError, match="reports are written as html, md, json; got 'docx'"):
        sb.report(fit, tmp_path / "report.docx")
    with pytest.raises(sb.QueryError, match="C: 'much' is not a quantity"):
        sb.report(fit, tmp_path / "report.html", C="much")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def saved(tmp_path, monkeypatch, fit):
    monkeypatch.chdir(tmp_path)
    sb.save(fit, "fit.nc")
    return tmp_path


def run(*words):
    return CliRunner().invoke(app, ["report", *words])


def test_the_command_writes_a_report_and_does_not_overwrite(saved):
    done = run("fit.nc", "-o", "report.md", "--N", "70B", "--D", "1.4T", "--C", "1e22")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    text = (saved / "report.md").read_text()
    assert "**70B parameters on 1.4T tokens**" in text
    assert "**1e22 FLOP**" in text
    again = run("fit.nc", "-o", "report.md")
    assert again.exit_code == 1
    assert "report.md exists; --force replaces it" in again.stderr
    assert run("fit.nc", "-o", "report.md", "--force", "--ci-prob", "0.5").exit_code == 0
    assert "All intervals are 50% equal-tailed" in (saved / "report.md").read_text()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["fit.nc", "-o", "report.pdf"], 2, "got 'pdf'; allowed: html, md, json"),
        (
            ["fit.nc", "-o", "report.txt", "--format", "docx"],
            2,
            "'docx' is not one of 'html', 'md', 'json'",
        ),
        (["fit.nc", "-o", "nowhere/report.html"], 1, "no such folder"),
        (["none.nc", "-o", "report.html"], 1, "no saved fit at none.nc"),
        (["fit.nc", "fit.nc", "-o", "report.html"], 1, "two files are called fit"),
        (
            ["fit.nc", "-o", "report.html", "--N", "70B"],
            1,
            "predicts from any two of N, D and C; got N",
        ),
    ],
)
def test_the_command_says_what_is_wrong(saved, words, code, told):
    result = run(*words)
    assert result.exit_code == code
    assert told in result.stderr
    assert not list(saved.glob("report.*"))


def test_the_command_compares_without_fitting_again(saved, fit, monkeypatch):
    monkeypatch.setattr(compare, "MOST_REFITS", len(fit.runs))
    table = fit.runs.table.copy()
    table.iloc[0, table.columns.get_loc("loss")] *= 1.6
    far = replace(fit.runs, table=table)
    for model in ("chinchilla", "kaplan"):
        sb.save(report_fit(model, far), f"{model}-far.nc")
    subject = _load_subject([Path("chinchilla-far.nc"), Path("kaplan-far.nc")])
    assert "compare(..., reloo=True) fits again without each" in subject.notes[0]


def test_the_command_ends_with_the_code_of_a_failed_gate(saved):
    sb.save(report_fit(gate_failures=("R_HAT",)), "failed.nc")
    result = run("failed.nc", "-o", "report.json")
    assert result.exit_code == 3
    assert (saved / "report.json").exists()


@pytest.mark.standard
def test_a_fit_with_draws_that_are_not_finite_has_a_report(tmp_path):
    fit = report_fit(draws=60, gate_failures=("NAN",))
    posterior = fit.stored["posterior"].to_dataset()
    stored = fit.stored.copy()
    stored["posterior"] = posterior.assign(L_inf=posterior["L_inf"].where(posterior["draw"] != 3))
    written = sb.report(replace(fit, stored=stored), tmp_path / "page.html").read_text("utf-8")
    assert "some draws are not finite" in written
    assert "convergence checks failed" in written
