"""A report's content as HTML, Markdown and JSON."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import fields, is_dataclass
from importlib.resources import files
from typing import Any

from scalebayes.reports.contract import Report

MARKDOWN = re.compile(r"([\\`*_\[\]|~#$])")
"""What Markdown reads as a mark wherever it stands."""


class Verbatim(str):
    """Text that a Markdown template has made safe already."""


def to_html(report: Report) -> str:
    """One page that needs nothing else: its style and script stand in it, and its policy lets no other run."""
    style, script = _asset("page.css"), _asset("live/live.js")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src '{policy_hash(style)}'",
            f"script-src '{policy_hash(script)}'" if report.live else "script-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return _template("page.html.j2", autoescape=True).render(
        report=report, style=style, script=script, policy=policy, data=_travelling(report)
    )


def policy_hash(text: str) -> str:
    """The hash by which a content security policy knows a script or a style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def to_markdown(report: Report) -> str:
    """The same content in Markdown; figures by what they show, and without what takes a script."""
    text = _template("page.md.j2", finalize=_escaped).render(report=report, fenced=_fenced)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def to_json(report: Report) -> str:
    """The same content as JSON, by the names of `scalebayes.reports.contract`; figures by what they show."""
    return json.dumps(_plain(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS = {"html": to_html, "md": to_markdown, "json": to_json}
"""By name, which is also how files of that kind end."""


def _plain(value: Any) -> Any:
    """Dataclasses as dictionaries, without what is drawn."""
    if is_dataclass(value):
        shown = (field for field in fields(value) if not field.metadata.get("drawn"))
        return {field.name: _plain(getattr(value, field.name)) for field in shown}
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _travelling(report: Report) -> str:
    """Numbers for the script, so written that nothing in them ends the element they stand in."""
    if report.live is None:
        return ""
    text = json.dumps(
        report.live.settings | {"arrays": report.live.arrays},
        separators=(",", ":"),
        allow_nan=False,
    )
    return text.replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text("utf-8")


def _template(name: str, **options: Any) -> Any:
    from jinja2 import DictLoader, Environment, StrictUndefined

    loader = DictLoader({name: _asset(name)})
    environment = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, **options
    )
    environment.filters["verbatim"] = Verbatim
    return environment.get_template(name)


def _escaped(value: Any) -> str:
    """Text in one line in which Markdown sees no marks of its own, and HTML no elements."""
    if isinstance(value, Verbatim):
        return value
    text = " ".join(str(value).split())
    return (
        MARKDOWN.sub(r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )


def _fenced(text: str) -> Verbatim:
    """Text as it is, in a fence longer than any within."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Verbatim(f"{fence}\n{text}\n{fence}")
