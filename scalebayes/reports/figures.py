"""Figures inside a page: SVG without styles, names or comments of its own, so that page and policy rule it."""

from __future__ import annotations

import io
import re

import matplotlib
from matplotlib.figure import Figure

from scalebayes.reports.contract import Drawing

PLACES = re.compile(r'(?<=\s)(d|x|y)="([^"]*)"')
ROUNDED = re.compile(r"-?\d+\.\d{3,}")


def drawing(name: str, figure: Figure, alt: str) -> Drawing:
    """Turn a Matplotlib figure into a drawing: its title and caption become text of the page.

    Parameters
    ----------
    name
        Of letters and hyphens, once a report.
    figure
        As the functions of `scalebayes.plots` return it.
    alt
        The finding, in words.
    """
    axes = figure.axes
    title, caption = figure.get_suptitle(), figure.get_supxlabel()
    if not title:
        title = axes[0].get_title(loc="left")
        axes[0].set_title("", loc="left")
    figure.suptitle("")
    figure.supxlabel("")
    svg, box = inline(figure, name)
    words = " ".join(caption.split()).replace(r"\$", "$")
    return Drawing(name, title.replace(r"\$", "$"), alt, words, svg, box)


def inline(figure: Figure, name: str) -> tuple[str, str]:
    """Inside and view box of a figure as SVG, the same for the same figure.

    Style attributes become presentation attributes, which a content security policy lets pass; identifiers begin with
    the figure's name, so that those of several figures differ; coordinates keep two decimals.
    """
    buffer = io.StringIO()
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": "scalebayes", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    box = re.search(r'viewBox="([\d. ]+)"', text)
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(
        r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL
    )
    body = re.sub(r'style="([^"]*)"', lambda match: _attributes(match[1]), body)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = body.replace("xlink:href", "href")
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = PLACES.sub(lambda match: f'{match[1]}="{ROUNDED.sub(_shorter, match[2])}"', body)
    return re.sub(r"\s*\n\s*", "\n", body).strip(), box[1] if box else "0 0 1 1"


def _shorter(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _attributes(style: str) -> str:
    pairs = (part.split(":", 1) for part in style.split(";") if ":" in part)
    return " ".join(f'{name.strip()}="{value.strip()}"' for name, value in pairs)
