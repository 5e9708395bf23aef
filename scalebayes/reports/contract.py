"""What a report says, as data: the one content that HTML, Markdown and JSON show.

A part that nothing is known of is not there: an empty tuple or None, never a placeholder. Texts are plain; whoever
renders them escapes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scalebayes.messages import Message

SECTIONS = (
    "data",
    "posterior",
    "fit",
    "frontier",
    "extrapolation",
    "comparison",
    "sensitivity",
    "making",
)
"""Keys of the sections in their order."""


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table: its text, and where it is a number that number with its interval."""

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Table:
    """A table under a caption; the first column names its rows.

    Attributes
    ----------
    caption
        What it shows, with probability and kind of its intervals.
    headings
        One a column.
    rows
        Each with one cell a column.
    notes
        What to know with it.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """A figure: its title, the finding in words for who cannot see it, what is drawn, and the drawing itself.

    Attributes
    ----------
    name
        Of letters and hyphens, once a report.
    title, alt, caption
        The title; what the figure shows; how it is to be read.
    svg
        Inside of an SVG element, without identifiers that another figure has; ``box`` is its view box.
    """

    name: str
    title: str
    alt: str
    caption: str
    svg: str = field(repr=False, metadata={"drawn": True})
    box: str = field(repr=False, metadata={"drawn": True})


@dataclass(frozen=True)
class Listing:
    """Text to be kept as it is: commands, a spec."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """One part of a report; ``key`` is of `SECTIONS`."""

    key: str
    title: str
    sentences: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    messages: tuple[Message, ...] = ()
    listings: tuple[Listing, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One answer: what was asked, the sentence that answers it, and its numbers by quantity, with intervals.

    Attributes
    ----------
    asked
        Inputs by name.
    question, text
        In words, without the interval's probability and kind, which `Report.intervals` says for all.
    numbers
        Cells by quantity: loss, new_run, law, N, D, tokens_per_param.
    decades_beyond
        Orders of magnitude beyond the largest run.
    """

    asked: dict[str, float]
    question: str
    text: str
    numbers: dict[str, Cell]
    decades_beyond: float


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one fit."""

    label: str
    ok: bool
    text: str


@dataclass(frozen=True)
class Reference:
    """A source: its key in models/references.bib, the citation, and its address where it has one."""

    key: str
    text: str
    url: str = ""


@dataclass(frozen=True)
class Live:
    """What the page needs to answer further questions where it is read: numbers alone, no formula of any law.

    Attributes
    ----------
    sentence
        How many draws travel, and how closely its answers agree with those of Python.
    settings
        Numbers for the script: where sliders begin and end, probabilities, shapes of the arrays.
    arrays
        Packed numbers by name, as base64.
    drawing
        The frontier, on which the script moves its marks; ``settings`` say where its axes lie.
    """

    sentence: str
    settings: dict[str, Any]
    arrays: dict[str, str] = field(repr=False, metadata={"drawn": True})
    drawing: Drawing


@dataclass(frozen=True)
class Report:
    """All that a report says.

    Attributes
    ----------
    title, about
        What was fitted to what.
    intervals
        Probability and kind of every interval, such as "90% equal-tailed".
    answers
        What was asked, first.
    verdicts
        The gate's, one a fit.
    caveats
        What to keep in mind with the answers, warnings first.
    sections
        In the order of `SECTIONS`; those of which nothing is known are missing.
    left_out
        What is not in the report and how to get it.
    references
        What the sections rest on.
    live
        For the page in a browser; None where a law of other inputs, or one too edged for a grid, does not allow it.
    """

    title: str
    about: str
    intervals: str
    answers: tuple[Answer, ...]
    verdicts: tuple[Verdict, ...]
    caveats: tuple[Message, ...]
    sections: tuple[Section, ...]
    left_out: tuple[str, ...]
    references: tuple[Reference, ...]
    live: Live | None = None
