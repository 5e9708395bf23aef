"""Numbers and words of each section of a report against the functions that they come from."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes import plots
from scalebayes.comparison.compare import Comparison
from scalebayes.datasets.measured import coverage
from scalebayes.posterior.provenance import HASH_DIGITS, keys_of_table
from scalebayes.reports.answers import as_cell, cautions, default_budgets, distance
from scalebayes.reports.commands import Question
from scalebayes.reports.content import _models_in_words, _parts, content_of
from scalebayes.reports.figures import drawn_frontier
from scalebayes.reports.sections.evidence import data_section, fit_section, posterior_section
from scalebayes.reports.sections.making import making_section
from scalebayes.reports.sections.outlook import extrapolation_section, frontier_section
from tests.fixtures import fit_of, report_fit, report_runs

DRAWS = 60
CI_PROB = 0.8


def small_fit(model="chinchilla", runs=None, **options):
    return report_fit(model, runs, draws=DRAWS, **options)


@pytest.fixture(scope="module")
def fit():
    return small_fit()


@pytest.fixture(scope="module")
def curved():
    """A fit of a law with a discrepancy to the same runs."""
    return small_fit("chinchilla-discrepancy")


@pytest.fixture(scope="module")
def of_size():
    """A fit of a law of N alone, which has no optimum and so no figures of one."""
    return small_fit("kaplan-size")


@pytest.fixture(scope="module")
def parameters(fit, of_size):
    """The section on the parameters of two fits."""
    return posterior_section({"sum": fit, "size": of_size}, "sum", CI_PROB)


def bounds(values, ci_prob=CI_PROB):
    """Median and ends of an interval of draws."""
    tail = (1 - ci_prob) / 2
    return tuple(np.quantile(values, [0.5, tail, 1 - tail]))


def of_cell(cell):
    return (cell.value, cell.low, cell.high)


# the data


def test_the_data_section_states_ranges_of_every_quantity(fit):
    runs = fit.runs
    section = data_section(runs, [sb.diagnose(fit)])
    (table,) = section.tables
    rows = {row[0].text: [cell.value for cell in row[1:]] for row in table.rows}
    assert list(rows) == ["N, parameters", "D, tokens", "C, training FLOP", "loss, nats per token"]
    for name, values in zip(rows, (runs.N, runs.D, runs.C, runs.loss), strict=True):
        assert rows[name] == [values.min(), np.median(values), values.max()]
    texts = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert texts["N, parameters"][0] == "100M"
    assert texts["N, parameters"][2] == "10B"
    assert all(len(text) < 6 for text in texts["loss, nats per token"])
    assert section.sentences == ("24 runs of the table grid.",)


def test_the_data_section_names_groups_source_and_notes(fit):
    table = fit.runs.table.assign(group=np.resize(["a", "b", "c"], 24))
    runs = sb.Runs(table, "grid", "a paper", ("one note", "another"))
    assert data_section(runs, []).sentences == (
        "24 runs of the table grid in 3 groups.",
        "Source: a paper.",
        "Notes from reading the table: one note; another.",
    )


def test_remarks_are_the_warnings_of_all_fits_each_once():
    few = report_runs()
    few = sb.Runs(few.table.iloc[:12], "few")
    fits = {"a": small_fit(runs=few), "b": small_fit(runs=few), "c": small_fit("product", few)}
    section = data_section(few, map(sb.diagnose, fits.values()))
    remarks = {(m.code, m.text) for m in section.messages}
    assert len(remarks) == len(section.messages)
    every = {(m.code, m.text) for one in fits.values() for m in sb.diagnose(one).messages}
    levels = [m.level for one in fits.values() for m in sb.diagnose(one).messages]
    assert "failed" in levels  # of 240 draws an ESS is below 400: a verdict, not a remark
    assert not [m for m in section.messages if m.level == "failed"]
    assert remarks == {
        (m.code, m.text)
        for one in fits.values()
        for m in sb.diagnose(one).messages
        if m.level != "failed"
    }
    assert remarks < every
    texts = [m.text for m in section.messages if m.code == "FEW_RUNS"]
    assert [text[-12:] for text in texts] == ["5 parameters", "3 parameters"]


# the parameters


def test_the_table_of_parameters_is_the_summary_with_priors_and_published_values(fit, parameters):
    table, _ = parameters.tables
    summary = sb.summary(fit, CI_PROB)
    assert [row[0].text for row in table.rows] == list(summary.index)
    labels = [entry.label for entry in fit.spec.published]
    assert list(table.headings) == [
        "parameter",
        "prior",
        "posterior",
        *labels,
        "R-hat",
        "ESS",
    ]
    prior = fit.stored["prior"].to_dataset()
    posterior = fit.stored["posterior"].to_dataset()
    for row in table.rows:
        name = row[0].text
        own = summary.loc[name]
        cells = dict(zip(table.headings, row, strict=True))
        assert cells["R-hat"].value == own["r_hat"]
        assert cells["ESS"].value == min(own["ess_bulk"], own["ess_tail"])
        assert cells["ESS"].text == f"{cells['ESS'].value:.0f}"
        for label in labels:
            if np.isfinite(own[label]):
                assert cells[label].value == own[label]
            else:
                assert cells[label].value is None
        if name in posterior:
            assert of_cell(cells["posterior"]) == pytest.approx(bounds(posterior[name]))
            assert of_cell(cells["prior"]) == pytest.approx(bounds(prior[name]), rel=0.03)
    cells = {row[0].text: row for row in table.rows}
    share = prior["alpha_D"] / (prior["alpha_N"] + prior["alpha_D"])
    assert of_cell(cells["a_opt"][1]) == pytest.approx(bounds(share), rel=0.03)
    assert "alpha_N: exponent" in table.notes[0]
    assert "L_inf: irreducible loss, nats per token" in table.notes[0]
    assert "sigma: noise scale of the log loss of a run" in table.notes[0]
    formula = fit.spec.law_object.formula
    assert parameters.sentences == (
        f"The law of sum (called chinchilla in commands) is L = {formula}.",
    )


def test_tables_of_several_fits_are_named(parameters):
    assert [table.caption.rpartition(", ")[2] for table in parameters.tables] == ["sum", "size"]


def test_the_figure_of_parameters_states_widths_over_those_of_the_priors(fit, parameters):
    prior, posterior = (fit.stored[name].to_dataset() for name in ("prior", "posterior"))
    stated = parameters.drawings[0].alt.partition("prior interval: ")[2].rstrip(".").split(", ")
    shares = dict(words.split(" ", 1) for words in stated)
    assert list(shares) == list(fit.spec.law_object.parameter_names)
    for name in ("L_inf", "alpha_N", "alpha_D"):
        _, *ends = bounds(posterior[name])
        _, *prior_ends = bounds(prior[name])
        share = (ends[1] - ends[0]) / (prior_ends[1] - prior_ends[0])
        assert float(shares[name].rstrip("%")) == pytest.approx(100 * share, abs=1)
    # Scales are drawn on a logarithmic axis.
    for name in ("N_c", "D_c"):
        _, *ends = np.log(bounds(posterior[name]))
        _, *prior_ends = np.log(bounds(prior[name]))
        share = (ends[1] - ends[0]) / (prior_ends[1] - prior_ends[0])
        assert float(shares[name].rstrip("%")) == pytest.approx(100 * share, abs=1)


def test_exponents_are_stated_for_laws_that_have_one(fit, parameters):
    assert [drawing.name for drawing in parameters.drawings] == ["parameters", "exponents"]
    posterior = fit.stored["posterior"].to_dataset()
    share = posterior["alpha_D"] / (posterior["alpha_N"] + posterior["alpha_D"])
    stated = re.search(
        r"frontier: sum (\S+) \((\S+) to (\S+)\)\. Published values", parameters.drawings[1].alt
    )
    assert [float(number) for number in stated.groups()] == pytest.approx(bounds(share), abs=0.0051)


# the fit


def test_the_fit_section_counts_runs_in_their_intervals_and_names_the_largest_residuals(fit):
    table = fit.runs.table.copy()
    for place, factor in ((3, 1.2), (8, 0.9), (15, 1.05)):
        table.iloc[place, table.columns.get_loc("loss")] *= factor
    changed = fit_of(
        fit.spec,
        sb.Runs(table, "grid"),
        **{name: fit.stored["posterior"][name].values for name in fit.spec.priors},
    )
    section = fit_section("law", changed, CI_PROB)
    answer = sb.predict(changed, N=changed.runs.N, D=changed.runs.D)
    low, high = answer["new_run"].quantile([0.1, 0.9], ("chain", "draw")).values
    covered = int(((low <= changed.runs.loss) & (changed.runs.loss <= high)).sum())
    assert section.sentences[0].startswith(
        f"{covered} of 24 runs ({covered / 24:.0%}) lie inside the 80% equal-tailed interval"
    )
    assert "A share near 80% is expected" in section.sentences[0]
    residuals = changed.runs.loss / answer["loss"].median(("chain", "draw")).values - 1
    typical = np.median(np.abs(residuals))
    named = ", ".join(f"run {place + 1} ({residuals[place]:+.1%})" for place in (3, 8, 15))
    assert section.sentences[1] == (
        f"Half of the runs lie within {typical:.2%} of the curve of law. Largest residuals: "
        f"{named}."
    )
    isoflop, drawn = section.drawings
    assert f"largest residual is {residuals[3]:+.1%}. {covered / 24:.0%} of the runs" in drawn.alt
    assert isoflop.alt.startswith("Loss against parameters at budgets in the range of the runs")
    least, most = (f"{C:.2g}".replace("+", "") for C in (fit.runs.C.min(), fit.runs.C.max()))
    assert f"{least} to {most} FLOP" in isoflop.alt


def test_budgets_that_several_runs_share_are_counted():
    N = np.tile(np.geomspace(1e8, 1e10, 6), 3)
    C = np.repeat([1e19, 1e20, 1e21], 6)
    loss = 1.8 + 400 / N**0.35 + 2000 / (C / 6 / N) ** 0.37
    runs = sb.read_runs(pd.DataFrame({"N": N, "C": C, "loss": loss}), name="iso", strict=False)
    section = fit_section("law", small_fit(runs=runs), CI_PROB)
    assert section.drawings[0].alt.startswith(
        "Loss against parameters at 3 budgets shared by several runs, 1e19 to 1e21 FLOP."
    )


def test_a_law_of_size_alone_has_no_figure_at_equal_compute(of_size):
    section = fit_section("law", of_size, CI_PROB)
    assert [drawing.name for drawing in section.drawings] == ["residuals"]


# the outlook


def test_the_frontier_section_holds_the_optima_of_every_fit_and_the_published_lines(
    fit, curved, of_size
):
    budgets = np.array([1e21, 1e22, 1e24])
    fits = {"sum": fit, "curved": curved}
    section = frontier_section(fits, budgets, CI_PROB, drawn_frontier(fits, CI_PROB))
    (table,) = section.tables
    published = plots.published_frontiers(budgets)
    assert table.headings == ("FLOP", "sum", "curved", *published)
    assert [row[0].value for row in table.rows] == budgets.tolist()
    for place, one in enumerate(fits.values(), start=1):
        sizes = sb.frontier(one, C=budgets)["N"].values.reshape(-1, 3)
        for i, row in enumerate(table.rows):
            assert of_cell(row[place]) == pytest.approx(bounds(sizes[:, i]))
    for place, N in enumerate(published.values(), start=3):
        assert [row[place].value for row in table.rows] == N.tolist()
    (drawing,) = section.drawings
    last = table.rows[-1]
    assert f"At 1e24 FLOP: sum {last[1].text}; curved {last[2].text}. Published: " in drawing.alt
    assert f"{table.headings[3]} {last[3].text}" in drawing.alt
    assert drawn_frontier({"size": of_size}, CI_PROB) is None
    assert frontier_section({"size": of_size}, budgets, CI_PROB, None) is None


def test_the_coverage_of_a_model_that_was_measured_is_shown():
    default = small_fit(sb.read_model("coupled-drift"))
    section = extrapolation_section({"drift": default}, default, CI_PROB)
    measured = coverage(keys_of_table(default))
    own = measured[measured["spec"] == default.spec.hash[:HASH_DIGITS]]
    assert len(own) > 0
    assert section.sentences[0].startswith("The table shows the share of the losses of held-out")
    assert "intervals of this model covered" in section.sentences[0]
    check_coverage(section.tables[0], own.assign(method="drift"))
    (drawing,) = section.drawings
    assert "which span 4.0 decades of compute, to 1e26 FLOP" in drawing.alt


def test_the_coverage_of_two_laws_stands_in_for_a_model_that_was_not_measured(fit, of_size):
    stated = fit.spec.model_dump()
    stated["priors"]["L_inf"]["alpha"] = 2.5
    spec = sb.Spec.model_validate(stated | {"name": "mine"})
    draws = {name: fit.stored["posterior"][name].values for name in fit.spec.priors}
    own = fit_of(spec, sb.load_runs("hoffmann2022"), **draws)
    # Only the fits beside it are drawn, and a law of size alone is not.
    section = extrapolation_section({"size": of_size}, own, CI_PROB)
    assert section.drawings == ()
    assert "of this model beyond the runs was not measured" in section.sentences[0]
    (table,) = section.tables
    measured = coverage(keys_of_table(own))
    assert len(measured) > 0
    shown = measured[measured["method"].isin(["chinchilla", "coupled"])]
    names = {"chinchilla": "Chinchilla's law", "coupled": "coupled law"}
    check_coverage(table, shown.assign(method=shown["method"].map(names)))
    assert "your own table, Hoffmann et al. 2022, is not among them." in table.notes[0]


def check_coverage(table, measured):
    assert len(table.rows) == len(measured)
    for row, (_, expected) in zip(table.rows, measured.iterrows(), strict=True):
        method, distance, inside90, worst, inside50, runs, tables = row
        assert method.text == expected["method"]
        low, high = expected["low"], expected["high"]
        assert distance.text == (
            f"{low:g} to {high:g}" if np.isfinite(high) else f"more than {low:g}"
        )
        for cell, name in ((inside90, "cover90"), (inside50, "cover50")):
            share, lower, upper = (expected[f"{name}{end}"] for end in ("", "_low", "_high"))
            assert cell.value == share
            if np.isfinite(lower):
                assert cell.text == f"{share:.0%} ({lower:.0%} to {upper:.0%})"
            else:
                assert cell.text == f"{share:.0%}"
        assert worst.value == expected["cover90_worst"]
        assert runs.value == expected["runs"]
        assert runs.text == f"{expected['runs']} ({expected['trainings']})"
        assert tables.value == expected["tables"]


def test_the_coverage_of_an_average_is_that_of_its_models_together(fit, curved, of_size):
    mixed = sb.average({"a": fit, "b": curved})
    section = extrapolation_section({"size": of_size}, mixed, CI_PROB)
    assert "of this average" in section.sentences[0]
    key = "+".join(sorted(one.spec.hash[:HASH_DIGITS] for one in (fit, curved)))
    measured = coverage(keys_of_table(fit))
    is_measured = (measured["spec"] == key).any()
    assert ("was not measured" in section.sentences[0]) != is_measured


# how it was made


def test_facts_of_several_fits_stand_side_by_side(fit, curved):
    curved = replace(curved)
    fits = {"a": fit, "b": curved}
    compared = Comparison(fits, pd.DataFrame({"high_k": [0, 0], "high_k_left": [0, 0]}), {})
    section = making_section(compared, fits, ["a", "b"], Question({"C": 1e22}, 0.5))
    (table,) = section.tables
    assert table.headings == ("fact", "a", "b")
    facts = {row[0].text: (row[1].text, row[2].text) for row in table.rows}
    assert facts["model, SHA-256"] == (fit.spec.hash, curved.spec.hash)
    assert facts["runs, SHA-256"] == (fit.runs.hash, fit.runs.hash)
    assert facts["draws"] == (f"4 chains of {DRAWS}, seed 0, attempt 1",) * 2
    assert facts["sampler"] == (f"chains 4, draws {DRAWS}, tune 1000",) * 2
    assert facts["versions"] == ("numpy 2.1", "numpy 2.1")
    commands, *specs = section.listings
    assert commands.text.splitlines() == [
        f"scalebayes fit grid.csv -m chinchilla --seed 0 --chains 4 --draws {DRAWS} --tune 1000 "
        "--quick -o a.nc",
        f"scalebayes fit grid.csv -m chinchilla-discrepancy --seed 0 --chains 4 --draws {DRAWS} "
        "--tune 1000 --quick -o b.nc",
        "scalebayes report a.nc b.nc --C 1e+22 --ci-prob 0.5 -o report.html",
    ]
    assert [spec.text for spec in specs] == [fit.spec.describe(), curved.spec.describe()]


def test_the_command_names_a_metric_a_published_table_and_a_source(fit):
    def command(**changes):
        other = replace(fit, runs=replace(fit.runs, **changes))
        listing, _ = making_section(other, {"a": other}, ["a"], Question()).listings
        return listing.text.splitlines()

    assert command(metric="word error rate")[0].startswith(
        "scalebayes fit grid.csv --metric 'word error rate' -m chinchilla --seed 0"
    )
    assert "--metric" not in command(metric="loss")[0]
    assert command(name="pile2023", source="a paper")[0].startswith("scalebayes fit pile2023 -m")
    assert command(source="my runs.csv")[0].startswith("scalebayes fit 'my runs.csv' -m")
    assert command()[1] == "scalebayes report a.nc -o report.html"


# answers


@pytest.mark.parametrize(
    ("decades", "in_compute", "words"),
    [
        (np.inf, True, "a limit, beyond all runs"),
        (0.004, True, "no more compute than the largest run"),
        (0.0, False, "within the range of the runs"),
        (0.006, True, "0.01 orders of magnitude of compute beyond the largest run"),
        (2.0, False, "2.00 orders of magnitude in its largest input beyond the largest run"),
    ],
)
def test_distances_in_words(decades, in_compute, words):
    assert distance(decades, in_compute) == words


def test_cells_of_infinite_numbers_have_none(fit):
    cell = as_cell({"median": np.inf, "eti90_lb": 3.0, "eti90_ub": np.inf}, 0.9)
    assert of_cell(cell) == (None, 3.0, None)


def test_default_budgets_are_those_of_the_largest_run_in_two_digits(fit):
    largest = float(f"{fit.runs.max_compute:.1e}")
    assert default_budgets(fit).tolist() == pytest.approx([largest, 10 * largest, 100 * largest])


def test_cautions_of_several_answers_come_once_and_by_level(fit):
    far = [sb.predict(fit, N=1e12, D=1e13), sb.predict(fit, N=[2e12, 1e9], D=1e13)]
    found = cautions(far)
    assert len(set(found)) == len(found)
    order = [("failed", "warning", "note").index(message.level) for message in found]
    assert order == sorted(order)
    every = [message for answer in far for message in sb.caveats(answer)]
    assert len(found) < len(every)
    assert set(found) == set(every)


def test_the_fit_shown_in_detail_is_that_of_largest_weight(fit, curved):
    fits = {"a": fit, "b": curved}
    mixed = sb.average(fits, {"a": 1.0, "b": 3.0})
    assert _parts(mixed) == (fits, mixed, "b")
    assert _parts(fit) == ({"chinchilla": fit}, fit, "chinchilla")
    assert _models_in_words(fits) == "Average forecast of 2 models (a, b)"
    assert _models_in_words({"a": fit}) == fit.spec.title


def test_what_is_missing_is_said_with_the_reason(of_size):
    content = content_of(of_size)
    assert [text.split(" because")[0].split(",")[0] for text in content.left_out] == [
        "How much the answers depend on the assumptions (noise",
        "This law has no compute-optimal N and D",
        "The what-if panel was omitted",
    ]
    assert content.left_out[2].endswith("because it supports only laws of N and D.")
    assert content.live is None
    # The default question of a law without an optimum is the loss ahead.
    assert set(content.answers[0].numbers) >= {"loss", "new_run"}
    assert content.about == f"{of_size.spec.title}, fitted to 24 runs of the table grid"
    (table,) = next(one for one in content.sections if one.key == "posterior").tables
    assert table.caption.endswith("intervals")
