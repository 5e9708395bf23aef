import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.text import Text

from scalebayes import plots
from scalebayes.data.subsets import isoflop_sets
from scalebayes.datasets import load_runs
from scalebayes.errors import QueryError
from scalebayes.plots.labels import mark_models
from scalebayes.plots.style import log_log_axes
from scalebayes.specs.spec import read_model
from tests.fixtures import BESIROGLU, around, bare_fit

PAPERS = {
    "chinchilla": BESIROGLU,
    "kaplan": {"N_c": 6.4e13, "alpha_N": 0.076, "D_c": 1.8e13, "alpha_D": 0.103},
    "kaplan-compute": {"C_c": 2.68e27, "alpha_C": 0.05},
}
MODELS = ["Chinchilla", "GPT-3", "Gopher", "Llama 2 70B"]


def synthetic(model="chinchilla", runs="hoffmann2022"):
    """A fit with draws scattered around published values: nothing is sampled."""
    spec, table, rng = read_model(model), load_runs(runs), np.random.default_rng(1)
    values = spec.law_object.from_notation(PAPERS[model]) | {"sigma": 0.01, "nu": 5.0}
    return bare_fit(spec, table, around(values, (2, 100), rng, width=0.02))


@pytest.fixture(scope="module")
def fit():
    return synthetic()


@pytest.fixture(scope="module")
def both(fit):
    return {"Chinchilla's law": fit, "Kaplan's law": synthetic("kaplan")}


def texts(figure):
    (axes,) = figure.axes
    return [text.get_text() for text in axes.texts]


def bands(figure):
    return [
        artist
        for artist in figure.axes[0].collections
        if isinstance(artist, FillBetweenPolyCollection)
    ]


def ticks(axis):
    """Labels of the ticks that are in view."""
    low, high = axis.get_view_interval()
    return [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]


def tick_labels(axis):
    return [label.get_text() for label in ticks(axis)]


@pytest.fixture(scope="module")
def figures(fit, both):
    """Every kind of figure, drawn once, and whether that changed Matplotlib's settings."""
    before, pile = dict(matplotlib.rcParams), synthetic(runs="pile2023")
    out = {"isoflop": plots.isoflop(fit), "isoflop of a table without sets": plots.isoflop(pile)}
    for draw in (plots.extrapolation, plots.frontier):
        out |= {
            f"{draw.__name__} of one": draw(fit),
            f"{draw.__name__} of two": draw(both),
            f"{draw.__name__} of two tables": draw({"Chinchilla": fit, "Pile": pile}),
            f"{draw.__name__} of five": draw({f"fit {i}": fit for i in range(5)}),
            f"{draw.__name__} of a short range": draw(both, C=["1e21", "2e21", "4e21"]),
            f"{draw.__name__} far out": draw(both, C=[1e24, 1e27]),
        }
    for figure in out.values():
        figure.draw_without_rendering()
    assert dict(matplotlib.rcParams) == before
    return out


def test_no_figure_has_labels_that_collide_or_leave_the_page(figures):
    for name, figure in figures.items():
        (axes,) = figure.axes
        labels = [*axes.texts, *figure.texts, *ticks(axes.xaxis), *ticks(axes.yaxis)]
        # An annotation's own extent includes its leader, which may well pass between other labels
        boxes = {
            text.get_text(): Text.get_window_extent(text)
            for text in labels
            if isinstance(text, Text)
        }
        page = figure.bbox.padded(1.0)
        assert [
            label
            for label, box in boxes.items()
            if page.intersection(page, box).bounds != box.bounds
        ] == [], name
        assert [
            pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])
        ] == [], name


def test_every_figure_says_what_its_intervals_are_and_where_the_runs_come_from(figures, fit):
    for name, figure in figures.items():
        table = "Hoffmann et al. 2022 (240 runs)"
        if "without sets" in name:
            table = "Dey et al. 2023 and Biderman et al. 2023 (15 runs)"
        caption = " ".join(figure.get_supxlabel().split())
        assert "Intervals: 90% equal-tailed. Data: " + table in caption
    assert "50% equal-tailed" in plots.frontier(fit, ci_prob=0.5).get_supxlabel()


def test_axes_are_logarithmic_with_ticks_that_people_read(figures):
    names = ("isoflop", "extrapolation of one", "frontier of one")
    isoflop, extrapolation, frontier = (figures[name].axes[0] for name in names)
    for axes in (isoflop, extrapolation, frontier):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert tick_labels(isoflop.xaxis) == ["100M", "300M", "1B", "3B", "10B", "30B"]
    assert isoflop.get_xlabel() == "Model size N (parameters)"
    assert {"2.1", "2.5", "3.0"} <= set(tick_labels(isoflop.yaxis))
    assert isoflop.get_ylabel() == extrapolation.get_ylabel() == "Loss (nats per token)"
    assert tick_labels(extrapolation.xaxis)[:2] == ["$10^{19}$", "$10^{20}$"]
    assert extrapolation.get_xlabel() == frontier.get_xlabel() == "Training compute C (FLOP)"
    assert {"100M", "10B", "1T", "10T"} <= set(tick_labels(frontier.yaxis))


def test_isoflop_groups_the_runs_by_budget(fit):
    axes = plots.isoflop(fit).axes[0]
    sets = isoflop_sets(fit.runs.C, fit.runs.N)
    nominal = [6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21]  # Hoffmann et al., figure 3
    assert [np.median(fit.runs.C[s]) for s in sets] == pytest.approx(nominal, rel=0.12)
    assert all(len(s) >= 4 and np.ptp(np.log(fit.runs.C[s])) <= np.log(1.15) for s in sets)
    assert len(np.unique(np.concatenate(sets))) == sum(map(len, sets))
    assert texts(axes.figure) == [
        "5.4e18",
        "9.3e18",
        "2.8e19",
        "5.6e19",
        "9.6e19",
        "2.9e20",
        "5.8e20",
        "9.8e20",
        "3e21",
    ]
    # An optimum with its bar, and a band, for each.
    assert len(axes.containers) == len(bands(axes.figure)) == len(sets)


def test_isoflop_without_sets_takes_round_budgets():
    figure = plots.isoflop(synthetic(runs="pile2023"))
    assert texts(figure) == ["1e19", "1e20", "1e21", "1e22"]
    assert "several runs share" not in figure.get_supxlabel()


def test_optima_lie_on_their_curves(fit):
    axes = plots.isoflop(fit).axes[0]
    for band, container in zip(bands(axes.figure), axes.containers, strict=True):
        (N,), (loss,) = container.lines[0].get_data()
        vertices = band.get_paths()[0].vertices
        near = vertices[np.abs(np.log(vertices[:, 0] / N)) < 0.1]
        assert near[:, 1].min() <= loss * 1.001
        assert near[:, 1].max() >= loss * 0.999


def test_a_new_run_is_less_certain_than_the_curve(fit):
    figure = plots.extrapolation(fit)
    new_run, curve = (band.get_paths()[0].vertices for band in bands(figure))
    for C in np.unique(curve[:, 0]):
        inner, outer = curve[curve[:, 0] == C, 1], new_run[new_run[:, 0] == C, 1]
        assert outer.min() < inner.min() < inner.max() < outer.max()
    dark, light = bands(figure)[1].get_alpha(), bands(figure)[0].get_alpha()
    assert dark > 2 * light


def test_extrapolation_marks_where_the_runs_end_and_known_budgets(fit, both):
    figure = plots.extrapolation(both)
    assert "beyond the largest run,\n$1.3\\times10^{22}$ FLOP" in texts(figure)
    assert set(MODELS) | set(both) <= set(texts(figure))
    assert len(bands(figure)) == 4
    assert figure.axes[0].get_xlim() == pytest.approx((fit.runs.C.min(), 1e26))
    inside = plots.extrapolation(fit, C=[1e19, 1e21])
    assert texts(inside) == ["Chinchilla's law"]


def test_extrapolation_shows_every_run_between_the_budgets(fit):
    table = fit.runs.table.copy()
    smallest = table["C"].idxmin()
    table.loc[smallest, "loss"] = 6.0
    high = replace(fit, runs=replace(fit.runs, table=table))
    low, top = plots.extrapolation(high).axes[0].get_ylim()
    assert top > 6.0
    assert low < table["loss"].min()


def test_extrapolation_takes_a_law_of_compute():
    figure = plots.extrapolation(synthetic("kaplan-compute"))
    assert len(bands(figure)) == 2


def test_frontier_shows_published_lines_and_known_models(both):
    figure = plots.frontier(both)
    published = [
        "Kaplan (non-embedding)",
        "Hoffmann, approach 1",
        "Hoffmann, approach 3",
        "Besiroglu et al.",
    ]
    assert set(texts(figure)) >= {*published, *MODELS, *both}
    assert len(bands(figure)) == 2
    assert list(plots.published_frontiers(np.array([1e24]))) == published


@pytest.mark.parametrize("span", [(1e18, 1e26), (2e23, 1e24), (1e23, 1e28)], ids=str)
@pytest.mark.parametrize("factor", [0.03, 0.3, 0.9, 1.1, 3, 30])
def test_labels_of_known_models_are_clear_of_each_other_wherever_the_curve_lies(factor, span):
    C = np.geomspace(*span, 5)
    axes = log_log_axes("", "C", "N")
    axes.set(xlim=span, ylim=(1e8, 1e14))
    mark_models(axes, C, factor * np.sqrt(C / 120))
    axes.figure.draw_without_rendering()
    boxes = {text.get_text(): Text.get_window_extent(text) for text in axes.texts}
    assert set(boxes) == set(MODELS)
    assert [
        pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])
    ] == []
    dots = axes.transData.transform(np.transpose(axes.lines[0].get_data()))
    assert [
        name for name, box in boxes.items() for dot in dots if box.padded(2).contains(*dot)
    ] == []


def test_published_frontiers_are_the_papers():
    lines = plots.published_frontiers(np.array([8.64e19, 5.76e23]))
    assert lines["Kaplan (non-embedding)"][0] == pytest.approx(1.3e9)
    assert lines["Hoffmann, approach 1"][1] == pytest.approx(67e9)
    slope = np.log(np.divide(*lines["Hoffmann, approach 3"][::-1])) / np.log(5.76e23 / 8.64e19)
    assert slope == pytest.approx(0.4565, abs=5e-4)
    tokens_per_param = 5.76e23 / (6 * lines["Besiroglu et al."][1] ** 2)
    assert tokens_per_param == pytest.approx(17.9, abs=0.6)


def test_fits_differ_in_grey_too(both):
    axes = plots.frontier(both).axes[0]
    assert (
        len(
            {
                (line.get_linestyle(), line.get_color(), str(line._dash_pattern))
                for line in axes.lines[:2]
            }
        )
        == 2
    )
    assert len({str(line._dash_pattern) for line in axes.lines[:6]}) == 6


def test_bad_questions_are_answered_in_words(fit):
    with pytest.raises(QueryError, match="no fit to draw"):
        plots.frontier({})
    with pytest.raises(QueryError, match="two budgets or more; got C = 1e24"):
        plots.extrapolation(fit, C="1e24")
    with pytest.raises(QueryError, match="no optimal N and D"):
        plots.frontier(synthetic("kaplan-compute"))
    with pytest.raises(QueryError, match="ci_prob"):
        plots.isoflop(fit, ci_prob=90)


def test_runs_of_one_budget_are_one_curve(fit):
    one = fit.runs.table[fit.runs.C.round(-20) == 1e21]
    figure = plots.isoflop(replace(fit, runs=replace(fit.runs, table=one.assign(C=1e21))))
    assert texts(figure) == ["1e21"]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_save_writes_whole_files(fit, tmp_path, suffix):
    path = plots.save(plots.frontier(fit), tmp_path / f"figure{suffix}")
    assert [file.name for file in tmp_path.iterdir()] == [f"figure{suffix}"]
    assert path.read_bytes().startswith((b"\x89PNG", b"<?xml", b"%PDF"))
    if suffix == ".svg":
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_save_is_reproducible_and_refuses_other_formats(fit, tmp_path):
    first, second = (
        plots.save(plots.frontier(fit), tmp_path / f"{i}.svg").read_bytes() for i in range(2)
    )
    assert first == second
    with pytest.raises(QueryError, match=r"\.png, \.svg, \.pdf; got 'figure\.xlsx'"):
        plots.save(plots.frontier(fit), tmp_path / "figure.xlsx")
    with pytest.raises(FileNotFoundError):
        plots.save(plots.frontier(fit), tmp_path / "nowhere" / "figure.png")


def test_neither_pyplot_nor_pymc_is_imported():
    code = (
        "import scalebayes.plots, sys; "
        "print(*{'matplotlib.pyplot', 'pymc', 'nutpie'} & set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.strip()
        == ""
    )
