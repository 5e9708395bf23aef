"""What a report cites: entries of models/references.bib in words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from scalebayes.reports.contract import Reference
from scalebayes.specs.spec import models_folder

ENTRY = re.compile(r"^@\w+\{(\w+),\n(.*?)^\}", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^\s*(\w+)\s*=\s*\{(.*)\},?\s*$", re.MULTILINE)
ACCENT = re.compile(r"\\([\"'`^~])\{?(\w)\}?")
MARKS = {'"': "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303"}
"""TeX's accents, as characters that go with the letter before them."""
NAMED = 3
"""Authors that are named before the rest is left to "et al."."""


def cite(keys: Iterable[str]) -> tuple[Reference, ...]:
    """References of these keys, each once, in the order of their citations; keys without an entry are passed over."""
    found = [_entries()[key] for key in dict.fromkeys(keys) if key in _entries()]
    return tuple(sorted(found, key=lambda reference: reference.text))


@cache
def _entries() -> dict[str, Reference]:
    text = (models_folder() / "references.bib").read_text("utf-8")
    return {key: _reference(key, dict(FIELD.findall(body))) for key, body in ENTRY.findall(text)}


def _reference(key: str, fields: dict[str, str]) -> Reference:
    people = [name.partition(",")[0] for name in _plain(fields.get("author", "")).split(" and ")]
    short = len(people) > NAMED or people[-1] == "others"
    authors = (
        f"{people[0]} et al."
        if short
        else " and ".join(filter(None, [", ".join(people[:-1]), people[-1]]))
    )
    eprint, doi = fields.get("eprint"), fields.get("doi")
    where = f"arXiv:{eprint}" if eprint else f"doi:{doi}" if doi else ""
    url = (
        f"https://arxiv.org/abs/{eprint}"
        if eprint
        else f"https://doi.org/{doi}"
        if doi
        else fields.get("url", "")
    )
    parts = [f"{authors} ({fields.get('year', 'undated')})", _plain(fields.get("title", "")), where]
    return Reference(key, ". ".join(filter(None, parts)), url)


def _plain(text: str) -> str:
    """Text without the braces that keep capitals, and without what else is TeX's."""
    text = text.replace(r"{$\widehat{R}$}", "R-hat").replace(r"\&", "&").replace("--", "-")
    text = ACCENT.sub(lambda match: unicodedata.normalize("NFC", match[2] + MARKS[match[1]]), text)
    return re.sub(r"[{}]", "", text)
