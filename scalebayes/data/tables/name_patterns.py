"""Patterns of names: sizes and other fields that are part of the name of a file or a run."""

from __future__ import annotations

import re
from collections.abc import Iterable

from scalebayes.errors import Fault, RunsError

_FIELD = re.compile(r"\{(\w*)\}|\*")
_VALUE = r"[^\s/_-]+"
"""A field: it ends where names usually have a separator."""


def fields_of_names(pattern: str, names: Iterable[str]) -> dict[str, list[str]]:
    """Return the fields that a pattern finds in names, a list for each field.

    In a pattern, ``{N}`` stands for a field without blank, slash, hyphen and underscore, ``{}`` and
    ``*`` for any text, and everything else for itself: ``{N}-{x}xC`` finds N = 190M and x = 0.5 in
    ``190M-0.5xC``.

    Raises
    ------
    RunsError
        If the pattern has no field, the same field twice, or does not match a name.

    Examples
    --------
    >>> fields_of_names("{N}-{x}xC*", ["190M-0.5xC", "1B-10xC-rerun"])
    {'N': ['190M', '1B'], 'x': ['0.5', '10']}
    """
    expression = _compile(pattern)
    found: dict[str, list[str]] = {field: [] for field in expression.groupindex}
    for name in names:
        match = expression.fullmatch(name)
        if match is None:
            fault = Fault(None, "name", repr(name), f"a name such as {pattern}")
            raise RunsError("a name does not match the pattern (name_pattern)", [fault])
        for field, value in match.groupdict().items():
            found[field].append(value)
    return found


def _compile(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern."""
    parts = []
    fields: set[str] = set()
    end = 0
    for match in _FIELD.finditer(pattern):
        parts.append(re.escape(pattern[end : match.start()]))
        end = match.end()
        field = match[1]
        if not field:
            parts.append(".*?")
            continue
        if field in fields or not field.isidentifier():
            raise RunsError(f"name_pattern {pattern!r}: write each field once, as {{N}}")
        fields.add(field)
        parts.append(f"(?P<{field}>{_VALUE})")
    parts.append(re.escape(pattern[end:]))
    if not fields:
        raise RunsError(f"name_pattern {pattern!r} has no field: write {{N}} where N stands")
    return re.compile("".join(parts), re.DOTALL)
