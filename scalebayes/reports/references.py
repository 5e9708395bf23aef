"""References of a report: entries of models/references.bib as citations.

The file is part of the package and regular, so a full BibTeX parser is not needed: every field is
on one line, in braces, and an entry ends with a brace at the start of a line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache

from scalebayes.reports.contract import Reference
from scalebayes.specs.spec import models_folder

ENTRY = re.compile(r"^@\w+\{(\w+),\n(.*?)^\}", re.MULTILINE | re.DOTALL)
"""An entry: its key and its fields."""
FIELD = re.compile(r"^\s*(\w+)\s*=\s*\{(.*)\},?\s*$", re.MULTILINE)
"""A field: its name and its value."""
ACCENT = re.compile(r"\\([\"'`^~])\{?(\w)\}?")
"""An accent of TeX and its letter."""
ACCENTS = {'"': "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303"}
"""Accents of TeX as combining characters, which follow their letter."""
MAX_NAMED_AUTHORS = 3
"""Number of authors above which only the first is named."""


def cite(keys: Iterable[str]) -> tuple[Reference, ...]:
    """Return the references of these keys, each once, in alphabetical order of their citations.

    Keys without an entry are ignored.
    """
    entries = _entries()
    found = [entries[key] for key in set(keys) if key in entries]
    return tuple(sorted(found, key=lambda reference: (reference.text, reference.key)))


@cache
def _entries() -> dict[str, Reference]:
    """Return all entries of the bibliography by key."""
    text = (models_folder() / "references.bib").read_text("utf-8")
    entries = {}
    for key, body in ENTRY.findall(text):
        fields = dict(FIELD.findall(body))
        entries[key] = _reference(key, fields)
    return entries


def _reference(key: str, fields: Mapping[str, str]) -> Reference:
    """Return an entry as authors, year, title and identifier, with its address."""
    authors = _authors(_without_tex(fields.get("author", "")))
    identifier = ""
    url = fields.get("url", "")
    if "eprint" in fields:
        identifier = f"arXiv:{fields['eprint']}"
        url = f"https://arxiv.org/abs/{fields['eprint']}"
    elif "doi" in fields:
        identifier = f"doi:{fields['doi']}"
        url = f"https://doi.org/{fields['doi']}"
    title = _without_tex(fields.get("title", ""))
    parts = [f"{authors} ({fields.get('year', 'undated')})", title, identifier]
    return Reference(key, ". ".join(part for part in parts if part), url)


def _authors(names: str) -> str:
    """Return the surnames of authors who are listed as in BibTeX, shortened to "et al." if many."""
    surnames = [name.partition(",")[0] for name in names.split(" and ")]
    if len(surnames) > MAX_NAMED_AUTHORS or surnames[-1] == "others":
        return f"{surnames[0]} et al."
    if len(surnames) == 1:
        return surnames[0]
    return f"{', '.join(surnames[:-1])} and {surnames[-1]}"


def _without_tex(text: str) -> str:
    """Return text with the accents and symbols of TeX as characters, without its braces."""
    text = text.replace(r"{$\widehat{R}$}", "R-hat")
    text = text.replace(r"\&", "&")
    text = text.replace("--", "-")
    text = ACCENT.sub(_accented, text)
    return re.sub(r"[{}]", "", text)


def _accented(match: re.Match[str]) -> str:
    """Return a letter with its accent as one character."""
    accent, letter = match.groups()
    return unicodedata.normalize("NFC", letter + ACCENTS[accent])
