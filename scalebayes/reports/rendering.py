"""Rendering of a report as HTML, Markdown and JSON."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import fields, is_dataclass
from importlib.resources import files
from typing import Any

from scalebayes.reports.contract import Report

MARKDOWN_MARKS = re.compile(r"([\\`*_\[\]|~#$])")
"""Characters that are markup in Markdown wherever they stand."""
MOST_COLUMNS_OF_A_PHONE = 4
"""Columns of the widest tables that fit on the screen of a phone."""
SHORTEST_FENCE = 3
"""Backticks that begin a block of code in Markdown."""


class Verbatim(str):
    """Text that a Markdown template has escaped already."""


def to_html(report: Report) -> str:
    """Return the report as one HTML page that loads nothing from elsewhere.

    Style and script are part of the page. Its content security policy names their hashes, so the
    browser runs no other script.
    """
    style = _asset("page.css")
    script = _asset("live/live.js")
    allowed_script = "'none'"
    if report.live is not None:
        allowed_script = f"'{policy_hash(script)}'"
    policy = [
        "default-src 'none'",
        f"style-src '{policy_hash(style)}'",
        f"script-src {allowed_script}",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    template = _template("page.html.j2", autoescape=True)
    return template.render(
        report=report,
        most_columns_of_a_phone=MOST_COLUMNS_OF_A_PHONE,
        style=style,
        script=script,
        policy="; ".join(policy),
        data=_live_data(report),
    )


def policy_hash(text: str) -> str:
    """Return the hash by which a content security policy identifies a script or a style."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def to_markdown(report: Report) -> str:
    """Return the report as Markdown, with descriptions of the figures and no what-if panel."""
    template = _template("page.md.j2", finalize=_escaped)
    text = template.render(report=report, fenced=_fenced)
    text = re.sub(r"\n{3,}", "\n\n", text)
    return f"{text.strip()}\n"


def to_json(report: Report) -> str:
    """Return the report as JSON with the names of `scalebayes.reports.contract`.

    Figures are described, not drawn.
    """
    text = json.dumps(_to_plain(report), indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n"


FORMATS = {"html": to_html, "md": to_markdown, "json": to_json}
"""Renderers by format, which is also the suffix of the file."""


def _to_plain(value: Any) -> Any:
    """Return dataclasses as dictionaries and tuples as lists, without the drawn fields."""
    if is_dataclass(value):
        plain = {}
        for field in fields(value):
            if not field.metadata.get("drawn"):
                plain[field.name] = _to_plain(getattr(value, field.name))
        return plain
    if isinstance(value, dict):
        return {str(name): _to_plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_to_plain(one) for one in value]
    return value


def _live_data(report: Report) -> str:
    """Return the data of the what-if panel as JSON that is safe inside a script element."""
    if report.live is None:
        return ""
    data = report.live.settings | {"arrays": report.live.arrays}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    # "</script>" in a name would end the element; JSON reads the escape as the same character.
    return text.replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text("utf-8")


def _template(name: str, **options: Any) -> Any:
    from jinja2 import DictLoader, Environment, StrictUndefined

    environment = Environment(
        loader=DictLoader({name: _asset(name)}),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    environment.filters["verbatim"] = Verbatim
    environment.filters["code"] = _with_code
    environment.filters["capitalised"] = _capitalised
    return environment.get_template(name)


def _capitalised(text: str) -> str:
    """Return a sentence with a capital, unless it begins with a label, such as "nu: ..."."""
    if text.partition(" ")[0].endswith(":"):
        return text
    return text[:1].upper() + text[1:]


def _with_code(text: str) -> Any:
    """Return text as HTML, with names in backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _escaped(value: Any) -> str:
    """Return text on one line, with the markup of Markdown and HTML escaped."""
    if isinstance(value, Verbatim):
        return value
    one_line = " ".join(str(value).split())
    return html.escape(MARKDOWN_MARKS.sub(r"\\\1", one_line), quote=False)


def _fenced(text: str) -> Verbatim:
    """Return text unchanged as a block of code, with a fence longer than any in the text."""
    length = SHORTEST_FENCE
    for run in re.findall(r"`+", text):
        length = max(length, len(run) + 1)
    fence = "`" * length
    return Verbatim(f"{fence}\n{text}\n{fence}")
