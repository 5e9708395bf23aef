"""Figures of kappa, regret and next runs show the queries' answers, some in Plotly too."""

import sys
from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text

import scalebayes as sb
from scalebayes.comparison.coupling import NEIGHBOURHOODS
from scalebayes.costs.cost import SIX_ND
from scalebayes.decisions.regret import excess_loss
from scalebayes.display.numbers import percent
from scalebayes.plots.decisions import _number_ranges
from scalebayes.summaries.summary import exponents
from tests.fixtures import report_fit


@pytest.fixture(scope="module")
def fit():
    return report_fit("coupled-discrepancy", draws=100)


@pytest.fixture(scope="module")
def law():
    return report_fit("chinchilla", draws=100)


@pytest.fixture(scope="module")
def figures(fit, law):
    chosen = sb.next_runs(law, budget="1e21", target={"N": "70B", "D": "1.4T"}, batch=6)
    return {
        "kappa": sb.plots.kappa(fit),
        "kappa of the law alone": sb.plots.kappa(sb.coupling(report_fit("coupled", draws=100))),
        "regret": sb.plots.regret(fit, ["1e22", "1e24"]),
        "regret at one budget": sb.plots.regret(law, "1e24"),
        "regret of an average": sb.plots.regret(
            sb.average({"a": law, "b": report_fit("coupled", draws=100)}), "1e24"
        ),
        "next runs": sb.plots.next_runs(law, chosen),
        "next runs for a size": sb.plots.next_runs(
            law, sb.next_runs(law, budget="1e21", target={"C": "1e24"})
        ),
    }


def drawn(axes, marker):
    """Places of markers, (markers, 2)."""
    return np.concatenate(
        [np.transpose(line.get_data()) for line in axes.lines if line.get_marker() == marker]
    )


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_no_labels_collide_or_leave_the_page(figures):
    for name, figure in figures.items():
        figure.draw_without_rendering()
        labels = [*(text for axes in figure.axes for text in axes.texts), *figure.texts]
        labels += [t.label1 for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)
                   for t in axis.get_major_ticks()
                   if axis.get_view_interval()[0] <= t.get_loc() <= axis.get_view_interval()[1]
                   and t.label1.get_visible()]  # fmt: skip
        boxes = [(text.get_text(), Text.get_window_extent(text)) for text in labels]
        page = figure.bbox.padded(1.0)
        assert [
            label for label, box in boxes if page.intersection(page, box).bounds != box.bounds
        ] == [], name
        assert [
            (a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.overlaps(other)
        ] == [], name


def test_captions_say_what_the_intervals_are(figures):
    for name, figure in figures.items():
        assert "90% equal-tailed" in figure.get_supxlabel(), name
        assert "grid" in figure.get_supxlabel(), name


def test_kappa_tells_every_neighbourhood_its_probability(fit, figures):
    read, (above, below) = sb.coupling(fit), figures["kappa"].axes
    told = texts(figures["kappa"])
    shown = [text for text in told if text.endswith("%")]
    assert len(shown) == 2 * len(NEIGHBOURHOODS)
    assert len(set(shown)) > 2
    row = told.index("Chinchilla's sum")
    probabilities = read.probabilities.loc["additive"]
    for place, of in ((1, "posterior"), (2, "prior")):
        expected = percent(probabilities[of]).replace("under", "<").replace("over", ">")
        assert told[row + place] == expected
    (bar,) = (line for line in above.lines if len(line.get_xdata()) == 2)
    np.testing.assert_allclose(bar.get_xdata(), np.quantile(read.draws["kappa"], [0.05, 0.95]))
    posterior = below.lines[1].get_data()
    assert np.isin(np.round(posterior[0], 9), np.round(read.draws["kappa"].values, 9)).all()
    assert (below.get_xscale(), below.get_yscale()) == ("log", "log")


def test_kappa_needs_a_law_that_has_one(law):
    with pytest.raises(sb.QueryError, match="no free kappa"):
        sb.plots.kappa(law)


def test_regret_shows_the_query_and_the_decision(law):
    figure = sb.plots.regret(law, "1e24", within=0.2, prob=0.8)
    above, below = figure.axes
    curve = next(line for line in above.lines if len(line.get_xdata()) > 10)
    N = np.array(curve.get_xdata())[[0, 20, 40]]
    expected = sb.intervals(sb.regret(law, N=N, D=1e24 / 6 / N)[["excess_loss"]])["median"]
    np.testing.assert_allclose(np.array(curve.get_ydata())[[0, 20, 40]], expected, rtol=1e-9)
    best = sb.decide(law, C="1e24")
    (diamond,), (circle,) = drawn(above, "D"), drawn(above, "o")
    np.testing.assert_allclose(diamond, [best["N"][0], best["expected_excess_loss"][0]])
    assert circle[0] == float(
        best["N"].values[[str(c).startswith("plug-in") for c in best["choice"].values]][0]
    )
    near = sb.near_optimum(law, C="1e24", within=0.2, prob=0.8)
    thick = max(below.lines, key=lambda line: line.get_linewidth())
    np.testing.assert_allclose(thick.get_xdata(), [near["N_from"][0], near["N_to"][0]])
    assert drawn(below, "D")[0][1] >= 0.8
    assert "within 20% of compute with probability 80%" in figure.get_supxlabel()


def test_the_lost_nats_alone_are_those_of_regret(fit):
    N = np.array([1e9, 1e10])
    D = SIX_ND.affordable_tokens(N, 1e22)
    alone, whole = excess_loss(fit, N=N, D=D, cost=SIX_ND), sb.regret(fit, N=N, D=D)
    np.testing.assert_array_equal(alone["excess_loss"], whole["excess_loss"])


def test_regret_says_how_far_its_budgets_lie_beyond_the_runs(figures):
    decades = np.log10(1e24 / 6e21)
    caption = " ".join(figures["regret"].get_supxlabel().split())
    assert f"1e24 by {decades:.1f} decades beyond the largest run" in caption


def test_regret_tells_few_budgets_apart(law):
    with pytest.raises(sb.QueryError, match=r"C can hold up to 4 budgets, .*; got 5"):
        sb.plots.regret(law, np.geomspace(1e21, 1e25, 5))


def test_next_runs_shows_the_plan(law):
    chosen = sb.next_runs(law, budget="1e21", target={"N": "70B", "D": "1.4T"}, batch=6)
    where, width = sb.plots.next_runs(law, chosen).axes
    table = chosen.table
    places = {(float(N), float(D)) for N, D in table[["N", "D"]].to_numpy()}
    assert {tuple(map(float, place)) for place in drawn(where, "o")} == places
    np.testing.assert_allclose(drawn(where, "*"), [[7e10, 1.4e12]])
    assert len(where.collections[0].get_offsets()) == len(law.runs)
    spent, widths = width.lines[0].get_data()
    np.testing.assert_allclose(spent, [0, *table["total_cost"]])
    np.testing.assert_allclose(widths, [table.attrs["width_now"], *table["width"]])
    floor = next(line for line in width.lines if set(line.get_xdata()) == {0, 1})
    assert floor.get_ydata()[0] == table.attrs["width_left"] < table["width"].min()
    assert (where.get_xscale(), where.get_yscale()) == ("log", "log")


def test_next_runs_for_a_size_shows_where_it_lies(law, figures):
    where, width = figures["next runs for a size"].axes
    assert width.get_ylabel() == "Upper over lower bound of N* (ratio)"
    assert width.get_ylim()[0] >= 1
    of_loss = figures["next runs"].axes[1]
    assert of_loss.get_ylabel() == "Width (nats per token)"
    N, D = drawn(where, "*")[0]
    assert pytest.approx(1e24) == 6 * N * D
    assert pytest.approx(float(np.median(sb.frontier(law, C="1e24")["N"]))) == N


def test_runs_of_one_place_are_numbered_together():
    assert _number_ranges([1]) == "1"
    assert _number_ranges([1, 2, 3, 5, 7, 8]) == "1-3, 5, 7, 8"


def test_next_runs_takes_no_other_plan(law):
    sweep = sb.plan(["1e19", "3e20"])
    with pytest.raises(sb.QueryError, match="for no target"):
        sb.plots.next_runs(law, sweep)


def test_plots_has_every_figure():
    assert dir(sb.plots) == sorted(sb.plots.__all__)
    for name in sb.plots.__all__:
        assert callable(getattr(sb.plots, name))


def test_a_backend_that_is_not_there_is_said_in_words(law, monkeypatch):
    with pytest.raises(sb.QueryError, match="'matplotlib' or 'plotly'; got 'bokeh'"):
        sb.plots.parameters(law, backend="bokeh")
    monkeypatch.setitem(sys.modules, "plotly", None)
    for draw, what in ((sb.plots.parameters, law), (sb.plots.frontier_exponents, {"a": law})):
        with pytest.raises(sb.QueryError, match=r"pip install 'scalebayes\[plotly\]'"):
            draw(what, backend="plotly")


def test_parameters_by_plotly_hold_the_draws_and_the_published_values(law):
    pytest.importorskip("plotly", reason="the extra 'plotly'")
    figure = sb.plots.parameters(law, backend="plotly")
    names = [*law.spec.law_object.parameter_names, *law.spec.scatter_names]
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert [name for name in names if name not in titles] == []
    # Prior and posterior of each, and two entries of the legend.
    assert len(figure.data) == 2 * len(names) + 2
    peaks = {
        trace.x[np.argmax(trace.y)]
        for trace in figure.data
        if trace.x is not None and len(trace.x) > 10
    }
    assert min(abs(np.array([*peaks]) - float(law.stored["posterior"]["alpha_N"].median()))) < 0.02
    lines = [shape.x0 for shape in figure.layout.shapes]
    assert any(abs(x - 0.3478) < 1e-3 for x in lines)
    assert all(
        "e" not in str(text) for axis in figure.select_xaxes() for text in axis.ticktext or ()
    )


def test_exponents_by_plotly_are_those_of_the_table(law):
    pytest.importorskip("plotly", reason="the extra 'plotly'")
    table = exponents({"ours": law})
    figure = sb.plots.frontier_exponents({"ours": law}, backend="plotly")
    points = {
        float(trace.x[0]) for trace in figure.data if trace.x is not None and len(trace.x) == 1
    }
    assert set(np.round(table["a"], 9)) <= set(np.round([*points], 9))
    ends = {
        round(float(x), 9)
        for trace in figure.data
        if trace.x is not None and len(trace.x) == 2
        for x in trace.x
    }
    assert set(np.round(table.loc["ours, these runs", ["low", "high"]].astype(float), 9)) <= ends
    assert "90% equal-tailed" in figure.layout.title.text
    names, values = figure.layout.xaxis, figure.layout.xaxis2
    assert (names.showticklabels, values.showticklabels) == (False, None)
