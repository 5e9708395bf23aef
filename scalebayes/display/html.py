"""Objects as a notebook shows them: plain HTML that takes its colours from the notebook, light or dark.

Whatever text comes from outside, a name of a table say, is escaped here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from scalebayes.units import format_quantity

if TYPE_CHECKING:
    import pandas as pd

MOST = 12
"""Rows of a table that are shown; the middle of a longer one is left out."""


class Html(str):
    """Text that is HTML already."""


def panel(title: str, *parts: Html | str | None) -> str:
    """One object: a title, and below it parts, each a paragraph unless it is HTML already."""
    body = [part if isinstance(part, Html) else paragraph(part) for part in parts if part]
    return f'<div class="scalebayes">{paragraph(title, bold=True)}{"".join(body)}</div>'


def paragraph(text: str, bold: bool = False) -> Html:
    """Text whose lines stay lines."""
    weight = "font-weight:600;" if bold else ""
    lines = escape(str(text)).replace("\n", "<br>")
    return Html(f'<p style="margin:0.25em 0;max-width:60em;{weight}">{lines}</p>')


def entries(texts: Iterable[object]) -> Html:
    """Findings or notes, one a line; nothing where there is none."""
    items = "".join(f"<li>{escape(str(text))}</li>" for text in texts)
    return Html(f'<ul style="margin:0.25em 0;max-width:60em">{items}</ul>' if items else "")


def facts(pairs: Mapping[str, object]) -> Html:
    """What is known by name, in two columns."""
    import pandas as pd

    return table(pd.DataFrame({"": list(pairs.values())}, index=list(pairs)), header=False)


def table(
    frame: pd.DataFrame, *, index: bool = True, header: bool = True, most: int = MOST
) -> Html:
    """A table by pandas, as wide as it needs to be and scrolling by itself."""
    import pandas as pd

    plain = pd.DataFrame(frame).map(written)
    with pd.option_context("display.max_colwidth", None):
        text = plain.to_html(index=index, header=header, max_rows=most, border=0, justify="left")
    return Html(f'<div style="overflow-x:auto">{text}</div>')


def fold(label: str, html: str) -> Html:
    """HTML that opens on a click."""
    return Html(f"<details><summary>{escape(label)}</summary>{html}</details>")


def written(value: Any) -> str:
    """One cell: numbers to four significant digits, large ones as 70B, what is missing as a dash."""
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "-"
    return format_quantity(value, 4) if 1e5 <= abs(value) < math.inf else f"{value:.4g}"
