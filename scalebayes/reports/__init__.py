"""Reports: what fits say in one file, for who has to decide and for who has to be convinced.

`scalebayes.reports.content.content_of` gathers the content, `scalebayes.reports.rendering` writes it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from scalebayes.comparison.compare import Comparison
from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.reports.content import content_of
from scalebayes.reports.rendering import FORMATS
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.utils.files import write_whole
from scalebayes.validation.sensitivity import Sensitivity


def report(
    subject: Fit | Average | Comparison,
    path: str | os.PathLike[str],
    *,
    N: Any = None,
    D: Any = None,
    C: Any = None,
    ci_prob: float = CI_PROB,
    sensitivity: Sensitivity | None = None,
    format: Literal["html", "md", "json"] | None = None,
) -> Path:
    """Write a report: one HTML page that needs no network, or the same content as Markdown or JSON.

    The answers come first, with the gate's verdict and what to keep in mind; then the data, the posterior beside prior
    and published values, the fit, the frontier, what was measured of extrapolation, the models side by side, other
    assumptions, and how it was made. In a browser the page answers further questions from the draws it carries. The
    same subject gives the same bytes.

    Parameters
    ----------
    subject
        A fit; or several, as an average or a comparison: their answers are then those of the (equal) average.
    path
        Where to write; its ending says the format: .html, .md or .json. A file that is there is replaced.
    N, D, C
        Questions. N and D: the loss there. C: the optimum at these budgets, in FLOP. N or D with C: the loss there. By
        default the optimum at the compute of the largest run, ten times and a hundred times that.
    ci_prob
        Probability of the equal-tailed intervals.
    sensitivity
        Of this fit, as `scalebayes.sensitivity` found it: it refits, so it is not asked for here.
    format
        "html", "md" or "json", where the path does not say it.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    QueryError
        When the path says no format, or as `predict` and `frontier`.
    """
    path = Path(path)
    chosen = format or path.suffix.lower().lstrip(".")
    if chosen not in FORMATS:
        raise QueryError(
            f"reports are written as {', '.join(FORMATS)}; got '{chosen or path.name}'"
        )
    text = FORMATS[chosen](
        content_of(subject, N=N, D=D, C=C, ci_prob=ci_prob, sensitivity=sensitivity)
    )
    write_whole(path, lambda temporary: temporary.write_text(text, "utf-8", newline="\n"))
    return path
