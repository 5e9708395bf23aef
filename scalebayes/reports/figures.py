"""Figures as SVG inside a page, without styles or comments, under names that are unique in it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from scalebayes import plots
from scalebayes.errors import QueryError
from scalebayes.posterior.fit import Fit
from scalebayes.reports.contract import Drawing

COORDINATES = re.compile(r'(?<=\s)(d|x|y)="([^"]*)"')
"""Attributes of SVG that hold coordinates."""
AROUND_COMMAND = re.compile(r"\s*([A-Za-z])\s*")
"""A command of a path, with white space that means nothing."""
LONG_DECIMAL = re.compile(r"-?\d+\.\d{2,}")
"""A number of two decimals or more."""
SHAPE = 20.0
"""Points up to which a coordinate may belong to the shape of a marker, and keeps two decimals."""
NOT_DRAWN = re.compile(
    r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>",
    re.DOTALL,
)
"""Comments, metadata and style sheets."""
WITHOUT_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
"""Metadata that Matplotlib omits, among them the date, so that equal figures give equal text."""
FRONTIER_ID = "frontier-drawn"
"""Identifier of the content of the frontier's drawing."""
NO_VIEW_BOX = "0 0 1 1"


def drawing(name: str, figure: Figure, alt: str) -> Drawing:
    """Return a Matplotlib figure as a drawing whose title and caption are text of the page.

    The title and the caption are removed from the figure.

    Parameters
    ----------
    name
        Letters and hyphens, unique in a report.
    figure
        A figure of `scalebayes.plots`.
    alt
        What the figure shows, in words.
    """
    title = figure.get_suptitle()
    caption = figure.get_supxlabel()
    if not title:
        axes = figure.axes[0]
        title = axes.get_title(loc="left")
        axes.set_title("", loc="left")
    figure.suptitle("")
    figure.supxlabel("")
    svg, box = inline_svg(figure, name)
    one_line = " ".join(caption.split())
    return Drawing(name, _without_escapes(title), alt, _without_escapes(one_line), svg, box)


@dataclass(frozen=True)
class DrawnFrontier:
    """The figure of the frontier, which a section and the what-if panel show.

    Attributes
    ----------
    drawing
        The drawing, called "frontier", without a description.
    axes
        Corners of the axes in the drawing ("box"), and log10 of their limits ("x", "y").
    """

    drawing: Drawing
    axes: dict[str, list[float]]


def drawn_frontier(fits: Mapping[str, Fit], ci_prob: float) -> DrawnFrontier | None:
    """Return the figure of the frontier of some fits; None for a law without an optimum."""
    try:
        figure = plots.frontier(fits, ci_prob=ci_prob)
    except QueryError:
        return None
    drawn = drawing("frontier", figure, "")
    group = f'<g id="{FRONTIER_ID}">\n{drawn.svg}\n</g>'
    return DrawnFrontier(replace(drawn, svg=group), _axes(figure, drawn))


def _axes(figure: Figure, drawn: Drawing) -> dict[str, list[float]]:
    """Return the corners of the axes in the drawing, and log10 of their limits."""
    (axes,) = figure.axes
    place = axes.get_position()
    width, height = (float(text) for text in drawn.box.split()[2:])
    # A drawing counts downwards from its upper edge, Matplotlib upwards from the lower one.
    left, right = place.x0 * width, place.x1 * width
    bottom, top = (1 - place.y0) * height, (1 - place.y1) * height
    return {
        "x": np.log10(axes.get_xlim()).tolist(),
        "y": np.log10(axes.get_ylim()).tolist(),
        "box": [float(left), float(bottom), float(right), float(top)],
    }


def repeated(drawn: Drawing, name: str, alt: str) -> Drawing:
    """Return a drawing that shows again, under another name, what `drawn_frontier` drew."""
    return replace(drawn, name=name, alt=alt, svg=f'<use href="#{FRONTIER_ID}"/>')


def _without_escapes(text: str) -> str:
    """Return text of Matplotlib, where a dollar sign is escaped, as plain text."""
    return text.replace(r"\$", "$")


def inline_svg(figure: Figure, name: str) -> tuple[str, str]:
    """Return the content and the view box of a figure as SVG, the same for equal figures.

    Style attributes become presentation attributes, which a content security policy allows.
    Identifiers begin with the name, so those of several figures differ. Coordinates keep one
    decimal, or two near the origin, where the shapes of markers are.
    """
    text = _to_svg(figure)
    view_box = re.search(r'viewBox="([\d. ]+)"', text)
    box = view_box[1] if view_box else NO_VIEW_BOX
    start = text.index(">", text.index("<svg")) + 1
    body = text[start : text.rindex("</svg>")]

    body = NOT_DRAWN.sub("", body)
    body = re.sub(r'style="([^"]*)"', _presentation_attributes, body)
    # The definition of an identifier, and the two ways to refer to it.
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    # The prefix xlink is declared on the svg element, which is not part of the content.
    body = body.replace("xlink:href", "href")
    body = COORDINATES.sub(_round_coordinates, body)
    return re.sub(r"\s*\n\s*", "\n", body).strip(), box


def _to_svg(figure: Figure) -> str:
    """Return a figure with a transparent background as an SVG document."""
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    buffer = io.StringIO()
    # A fixed salt makes the identifiers repeatable; paths need no font in the browser.
    figure.draw_without_rendering()  # the layout settles in the second of two passes
    with matplotlib.rc_context({"svg.hashsalt": "scalebayes", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata=WITHOUT_METADATA)
    return buffer.getvalue()


def _presentation_attributes(style: re.Match[str]) -> str:
    """Return a style attribute as one attribute for each of its properties."""
    attributes = []
    for declaration in style[1].split(";"):
        name, colon, value = declaration.partition(":")
        if colon:
            attributes.append(f'{name.strip()}="{value.strip()}"')
    return " ".join(attributes)


def _round_coordinates(attribute: re.Match[str]) -> str:
    name, value = attribute.groups()
    shorter = LONG_DECIMAL.sub(_round_number, value)
    if name == "d":
        shorter = AROUND_COMMAND.sub(r"\1", shorter)
    return f'{name}="{shorter}"'


def _round_number(number: re.Match[str]) -> str:
    value = float(number[0])
    decimals = 2 if abs(value) < SHAPE else 1
    return f"{value:.{decimals}f}".rstrip("0").rstrip(".")
