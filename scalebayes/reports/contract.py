"""Content of a report as data, which HTML, Markdown and JSON show alike.

Parts without content are left out: they are an empty tuple or None, never a placeholder. Texts are
plain; each renderer escapes them for its format.
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
MOST_CAVEATS = 3
"""Most caveats at the head of a report."""


@dataclass(frozen=True)
class Cell:
    """Entry of a table: its text and, if it is a number, the number and the ends of its interval.

    Numbers are not rounded.
    """

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Table:
    """Table with a caption; the first column names the rows.

    Attributes
    ----------
    caption
        What the table shows, with the probability and kind of its intervals.
    headings
        One for each column.
    rows
        One cell for each column.
    notes
        Remarks below the table.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """Figure with its title, a description, a caption and the drawing itself.

    Attributes
    ----------
    name
        Letters and hyphens, unique in a report.
    title
        Title of the figure.
    alt
        What the figure shows, for readers who cannot see it.
    caption
        How to read the figure.
    svg
        Content of an SVG element, whose identifiers are unique in the report.
    box
        View box of the SVG element.
    """

    name: str
    title: str
    alt: str
    caption: str
    svg: str = field(repr=False, metadata={"drawn": True})
    box: str = field(repr=False, metadata={"drawn": True})


@dataclass(frozen=True)
class Listing:
    """Text that keeps its line breaks, such as commands or a spec."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """Part of a report; ``key`` is one of `SECTIONS`."""

    key: str
    title: str
    sentences: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    messages: tuple[Message, ...] = ()
    listings: tuple[Listing, ...] = ()


@dataclass(frozen=True)
class Answer:
    """Answer to a question, in words and in numbers.

    Attributes
    ----------
    asked
        Inputs by name.
    question
        The question in words.
    text
        The answer in words. `Report.intervals` names the probability and kind of the intervals.
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
class Recommendation:
    """What to train for a budget: sentences without a full stop, except ``would_change``.

    Attributes
    ----------
    budget
        Training compute in FLOP.
    train
        N and D to train.
    reaches
        Loss that they are expected to reach, and the distance beyond the runs.
    costs
        Compute, and money if there is a price.
    how_sure
        Sizes that do as well, and the expected waste.
    would_change
        Assumptions and runs that would change the choice; may be empty.
    """

    budget: float
    train: str
    reaches: str
    costs: str
    how_sure: str
    would_change: str


@dataclass(frozen=True)
class Verdict:
    """Result of the convergence checks of one fit."""

    label: str
    ok: bool
    text: str


@dataclass(frozen=True)
class Reference:
    """Source: its key in models/references.bib, the citation, and its address or an empty text."""

    key: str
    text: str
    url: str = ""


@dataclass(frozen=True)
class Live:
    """Data of the what-if panel, from which the page answers further questions in the browser.

    The data are numbers only; the page holds no formula of a law.

    Attributes
    ----------
    sentence
        Number of draws in the page, and how closely its answers agree with those of the package.
    settings
        Numbers for the script: ranges of the sliders, probabilities, shapes of the arrays, and the
        position of the axes of ``drawing``.
    arrays
        Packed numbers by name, as base64.
    drawing
        The frontier on which the script moves its marks.
    """

    sentence: str
    settings: dict[str, Any]
    arrays: dict[str, str] = field(repr=False, metadata={"drawn": True})
    drawing: Drawing


@dataclass(frozen=True)
class Report:
    """Content of a report.

    Attributes
    ----------
    title, about
        The runs and the models.
    intervals
        Probability and kind of every interval, such as "90% equal-tailed".
    recommendation
        What to train; None for a law without a compute-optimal point.
    answers
        Answers to the questions asked, or to the default questions.
    verdicts
        Result of the convergence checks of each fit.
    caveats
        The caveats that matter most, at most `MOST_CAVEATS`.
    further_caveats
        The others.
    sections
        Sections with content, in the order of `SECTIONS`.
    left_out
        A sentence for each missing part, with the reason or the way to include it.
    references
        Sources of the sections.
    live
        Data of the what-if panel; None where it is not available.
    """

    title: str
    about: str
    intervals: str
    recommendation: Recommendation | None
    answers: tuple[Answer, ...]
    verdicts: tuple[Verdict, ...]
    caveats: tuple[Message, ...]
    further_caveats: tuple[Message, ...]
    sections: tuple[Section, ...]
    left_out: tuple[str, ...]
    references: tuple[Reference, ...]
    live: Live | None = None
