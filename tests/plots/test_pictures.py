"""Figures as pictures, compared with reviewed pictures in tests/references/figures.

Text is rendered differently by versions of Matplotlib. So pictures are drawn without text and with
fixed axes, and labels are compared by text, position, size, colour and halo. Pictures are blurred.
The error of a pixel is the distance of its colour from the range of colours around that pixel in
the other picture. A picture fails where the mean error over a square is large: a line moved, a band
missing.

After a change that is meant, look at the figures and make the references anew:
SCALEBAYES_REMAKE_FIGURES=1 .venv/bin/pytest tests/plots/test_pictures.py
"""

import json
import os
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.colors import to_hex
from matplotlib.image import imread, imsave
from matplotlib.legend import Legend
from matplotlib.text import Text
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter, uniform_filter

import scalebayes as sb
from tests.fixtures import BESIROGLU_PARAMETERS, BESIROGLU_SIZES, around, fit_of, scattered

FOLDER = Path(__file__).parents[1] / "references" / "figures"
DPI = 72
BLUR = 1.0
"""Standard deviation in pixels."""
WINDOW = 5
"""Side of the squares, in pixels, over which errors are averaged."""
ALLOWED = 0.05
"""Of the range from black to white: mean error over a square that is no difference."""
MOVED = 0.02
"""Of the figure: how far a label may lie from its place."""
VALUES = BESIROGLU_SIZES | {"kappa": 0.9, "sigma": 0.01, "nu": 5.0}
VALUES |= {"N_c": 0.3565, "D_c": 0.3524}  # as the reference pictures were drawn
DRAWN = {
    "isoflop": lambda fits: sb.plots.isoflop(fits["chinchilla"]),
    "frontier": sb.plots.frontier,
    "extrapolation": sb.plots.extrapolation,
    "kappa": lambda fits: sb.plots.kappa(fits["coupled"]),
    "parameters": lambda fits: sb.plots.parameters(fits["coupled"]),
    "exponents": sb.plots.frontier_exponents,
    "residuals": lambda fits: sb.plots.residuals(fits["chinchilla"]),
    "regret": lambda fits: sb.plots.regret(fits["chinchilla"], ["1e22", "1e24"]),
    "next-runs": lambda fits: next_runs_of(fits["chinchilla"]),
    "calibration": lambda fits: calibration_of(fits["chinchilla"].runs),
    "score": lambda _fits: sb.plots.score(made_score()),
    "overfitting": lambda _fits: sb.plots.overfitting(made_limited(), "50B", ["50B", "5B", "500M"]),
    "experts": lambda _fits: sb.plots.experts(made_experts(), "1e21", "10B"),
}
SPOILED = ("isoflop", "frontier", "extrapolation", "kappa")
"""Figures of which spoiled versions are drawn."""


def next_runs_of(fit):
    chosen = sb.next_runs(fit, budget="1e21", target={"N": "70B", "D": "1.4T"}, batch=6)
    return sb.plots.next_runs(fit, chosen)


def calibration_of(runs):
    """The coverage of two forecasts of known quality."""

    def forecast(scale):
        def draws(train, N, D, seed):
            rng = np.random.default_rng(seed)
            loss = sb.LAWS["additive"](N, D, **BESIROGLU_PARAMETERS)
            return loss * np.exp(scale * rng.standard_normal((400, len(N))))

        return draws

    forecasts = {"as wide as the noise": forecast(0.01), "too narrow": forecast(0.003)}
    return sb.plots.calibration(sb.backtest(runs, forecasts, shares=[0.5, 0.8]))


def made(model):
    draws = scattered(model, VALUES, (2, 250), np.random.default_rng(1), width=0.05)
    return fit_of(model, sb.load_runs("hoffmann2022"), **draws)


def made_experts():
    """Draws around published constants of a law of experts, on runs that follow them."""
    spec = sb.read_model("mixture-of-experts")
    values = spec.law_object.from_notation(spec.published[0].values)
    N, D, E = (x.ravel() for x in np.meshgrid([1e8, 1e9], [1e10, 1e11], [1.0, 8, 64]))
    columns = {"N": N, "D": D, "E": E, "loss": spec.law_object(N, D, E, **values)}
    runs = sb.read_runs(pd.DataFrame(columns), name="experts")
    values = values | {"sigma": 0.01, "nu": 5.0}
    draws = around(values, (2, 250), np.random.default_rng(1), width=0.05)
    return fit_of("mixture-of-experts", runs, **draws)


def made_score():
    """Draws around round constants of a pass rate, on points that follow them."""
    law = sb.LAWS["bounded-score"]
    values = law.from_notation({"R_0": 0.25, "A": 0.645, "C_mid": 3000.0, "B": 1.7})
    C = np.geomspace(1500, 25_000, 12)
    odds = law(C, **values)
    table = pd.DataFrame({"hours": C, "accuracy": odds / (1 + odds)})
    runs = sb.read_scores(table, C="hours", name="run")
    draws = around(values | {"sigma": 0.01, "nu": 5.0}, (2, 250), np.random.default_rng(1))
    return fit_of("bounded-score", runs, **draws)


def made_limited():
    """Draws around round constants of a law of overfitting, on runs that follow them."""
    law = sb.LAWS["data-limited"]
    constants = {"E": 1.9, "L_0": 10.8, "a": 60.0, "alpha": 0.35, "b": 200.0, "beta": 0.4}
    values = law.from_notation(constants | {"c": 0.02, "gamma": 0.4, "delta": 0.5})
    N, D, epochs = (x.ravel() for x in np.meshgrid([1e8, 1e9, 8e9], [1e10, 5e10], [1, 10]))
    columns = {"N": N, "D": D, "U": D / epochs, "loss": law(N, D, D / epochs, **values)}
    runs = sb.read_runs(pd.DataFrame(columns), name="limited", strict=False)
    draws = around(values | {"sigma": 0.01, "nu": 5.0}, (2, 250), np.random.default_rng(1))
    return fit_of("data-limited", runs, **draws)


@pytest.fixture(scope="module")
def fits():
    return {model: made(model) for model in ("chinchilla", "coupled")}


@pytest.fixture
def draw(fits):
    """Draw a figure by name, apply a change to it; picture and labels, in Matplotlib's style."""

    def drawn(name, change=lambda figure: None, **settings):
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(settings)
            figure = DRAWN[name](fits)
            figure.set_layout_engine(None)
            figure.subplots_adjust(left=0.12, right=0.72, bottom=0.2, top=0.9, hspace=0.1)
            figure.set_dpi(DPI)
            change(figure)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            found = labels(figure)
            for text in figure.findobj(Text):
                text.set(color="none", path_effects=[])
            for legend in figure.findobj(Legend):  # its marks lie where its text ends
                legend.set_visible(False)
            canvas.draw()
            return np.asarray(canvas.buffer_rgba())[..., :3] / 255.0, found

    return drawn


def labels(figure):
    """What letters a reader sees, each with its place as shares of the figure, and its look."""
    ticks = [
        (axis, tick)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
    ]
    unseen = {tick.label1 for axis, tick in ticks if not in_view(axis, tick.get_loc())}
    found = []
    for text in set(figure.findobj(Text)) - unseen:
        if (
            text.get_visible()
            and text.get_text().strip()
            and figure.bbox.overlaps(text.get_window_extent())
        ):
            place = text.get_transform().transform(text.get_unitless_position()) / figure.bbox.size
            look = [text.get_size(), to_hex(text.get_color()), bool(text.get_path_effects())]
            found.append([text.get_text(), *(round(float(share), 3) for share in place), *look])
    return sorted(found)


def in_view(axis, value):
    low, high = axis.get_view_interval()
    return low <= value <= high


def difference(ours, theirs):
    """Largest mean error of a picture over any square, each seen by the other."""
    assert ours.shape == theirs.shape
    ours, theirs = (gaussian_filter(picture, (BLUR, BLUR, 0)) for picture in (ours, theirs))
    return max(_beyond(ours, theirs).max(), _beyond(theirs, ours).max())


def _beyond(one, other):
    around = {"size": (3, 3, 1), "mode": "nearest"}
    low, high = minimum_filter(other, **around), maximum_filter(other, **around)
    wrong = np.maximum(low - one, one - high).clip(0.0).max(axis=-1)
    return uniform_filter(wrong, WINDOW, mode="constant")


def misplaced(ours, theirs):
    """Labels that only one of the figures has, or has elsewhere or of another look."""

    def is_among(label, others):
        text, x, y, *look = label
        alike = [other for other in others if other[0] == text and other[3:] == look]
        distances = [np.hypot(x - other[1], y - other[2]) for other in alike]
        return min(distances, default=np.inf) < MOVED

    def missing(some, others):
        return [label for label in some if not is_among(label, others)]

    return missing(ours, theirs) + missing(theirs, ours)


def reference(name):
    return imread(FOLDER / f"{name}.png")[..., :3], json.loads(
        (FOLDER / f"{name}.json").read_text()
    )


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_looks_as_it_did(name, draw):
    picture, found = draw(name)
    if os.environ.get("SCALEBAYES_REMAKE_FIGURES") == "1":
        FOLDER.mkdir(exist_ok=True)
        imsave(FOLDER / f"{name}.png", picture)
        (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        pytest.skip(f"made {name} anew: look at it")
    before, told = reference(name)
    assert misplaced(found, told) == []
    assert difference(picture, before) <= ALLOWED


def without_a_band(figure):
    bands = [
        a
        for axes in figure.axes
        for a in axes.collections
        if isinstance(a, FillBetweenPolyCollection)
    ]
    bands[-1].set_visible(False)


def without_runs_or_draws(figure):
    axes = figure.axes[-1]
    [*axes.collections, *axes.lines][
        0 if axes.collections and len(figure.axes) == 1 else -1
    ].set_visible(False)


def with_a_curve_elsewhere(figure):
    """The boldest curve of the upper axes moved up by 3% of their height."""
    axes = figure.axes[0]
    curves = (line for line in axes.lines if len(line.get_xdata()) > 10)
    line = max(curves, key=lambda line: line.get_linewidth())
    places = axes.transData.transform(np.transpose(line.get_data())) + np.array(
        [0, 0.03 * axes.bbox.height]
    )
    line.set_data(*axes.transData.inverted().transform(places).T)


@pytest.mark.parametrize("change", [without_a_band, without_runs_or_draws, with_a_curve_elsewhere])
@pytest.mark.parametrize("name", SPOILED)
def test_a_line_elsewhere_or_a_band_missing_is_found(name, change, draw):
    found = difference(draw(name, change)[0], reference(name)[0])
    print(f"{name} {change.__name__}: {found:.3f}")
    assert found > ALLOWED


def without_a_label(figure):
    figure.axes[-1].texts[0].set_visible(False)


def with_two_labels_exchanged(figure):
    one, *_, other = figure.axes[-1].texts
    texts = one.get_text(), other.get_text()
    one.set_text(texts[1])
    other.set_text(texts[0])


def without_the_caption(figure):
    figure.supxlabel("")


def with_ticks_that_nobody_reads(figure):
    figure.axes[-1].xaxis.set_major_formatter(lambda value, _: f"{value:.3e}")


@pytest.mark.parametrize(
    "change",
    [without_a_label, with_two_labels_exchanged, without_the_caption, with_ticks_that_nobody_reads],
)
@pytest.mark.parametrize("name", SPOILED)
def test_a_label_missing_or_elsewhere_is_found(name, change, draw):
    assert misplaced(draw(name, change)[1], reference(name)[1]) != []


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize(
    "settings", [{"text.hinting": "none"}, {"text.hinting": "force_autohint"}], ids=str
)
def test_letters_set_otherwise_are_no_change(name, settings, draw):
    picture, found = draw(name, **settings)
    before, told = reference(name)
    print(f"{name}: {difference(picture, before):.3f}")
    assert misplaced(found, told) == []
    assert difference(picture, before) <= ALLOWED
