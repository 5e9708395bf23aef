"""HTML for notebooks: plain, and without colours, so that it suits light and dark themes.

Text from outside, such as the name of a table, is escaped here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from scalebayes.display.numbers import LARGE
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    import pandas as pd

    from scalebayes.messages import Message

MOST_ROWS = 12
"""Rows of a table that are shown; the middle of a longer one is left out."""


class Html(str):
    """Text that is HTML already."""


def panel(title: str, *parts: Html | str | None) -> str:
    """Return one object as HTML: a title, then its parts; plain text becomes a paragraph."""
    body = [paragraph(title, bold=True)]
    for part in parts:
        if isinstance(part, Html):
            body.append(part)
        elif part:
            body.append(paragraph(part))
    return f'<div class="scalebayes">{"".join(body)}</div>'


def paragraph(text: str, bold: bool = False) -> Html:
    """Return text as a paragraph that keeps its line breaks."""
    weight = "font-weight:600;" if bold else ""
    lines = escape(str(text)).replace("\n", "<br>")
    return Html(f'<p style="margin:0.25em 0;max-width:60em;{weight}">{lines}</p>')


def entries(texts: Iterable[object]) -> Html:
    """Return findings or notes as an HTML list, or empty text if there are no entries."""
    return _bullets([escape(str(text)) for text in texts])


def messages(found: Iterable[Message]) -> Html:
    """Return messages as an HTML list: each in brief, and in full once it is opened."""
    items = []
    for message in found:
        brief = escape(message.in_brief())
        if message.brief:
            brief = f"<details><summary>{brief}</summary>{escape(message.text)}</details>"
        items.append(brief)
    return _bullets(items)


def _bullets(items: list[str]) -> Html:
    """Return pieces of HTML as a list, or empty text if there are none."""
    if not items:
        return Html("")
    entries = "".join(f"<li>{item}</li>" for item in items)
    return Html(f'<ul style="margin:0.25em 0;max-width:60em">{entries}</ul>')


def facts(pairs: Mapping[str, object]) -> Html:
    """Return facts by name, in two columns."""
    import pandas as pd

    return table(pd.DataFrame({"": list(pairs.values())}, index=list(pairs)), header=False)


def table(
    frame: pd.DataFrame,
    *,
    index: bool = True,
    header: bool = True,
    most: int = MOST_ROWS,
    breaks: bool = True,
) -> Html:
    """Return a table that scrolls by itself where it is wider than the page.

    breaks: whether cells may be broken into lines.
    """
    import pandas as pd

    plain = pd.DataFrame(frame).map(written)
    with pd.option_context("display.max_colwidth", None):
        text = plain.to_html(index=index, header=header, max_rows=most, border=0, justify="left")
    whole_lines = "" if breaks else ";white-space:nowrap"
    return Html(f'<div style="overflow-x:auto{whole_lines}">{text}</div>')


def fold(label: str, html: str) -> Html:
    """Return HTML that a click on its label opens."""
    return Html(f"<details><summary>{escape(label)}</summary>{html}</details>")


def written(value: Any) -> str:
    """Return the text of a cell: numbers to four digits, large ones as 70B, NaN as a dash."""
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "-"
    if LARGE <= abs(value) < math.inf:
        return format_quantity(value, 4)
    return f"{value:.4g}"
