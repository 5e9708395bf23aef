"""Reports: the answers, the evidence and the methods of fits in one file.

`scalebayes.reports.content.content_of` collects the content and `scalebayes.reports.rendering`
renders it.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, Literal

from scalebayes.comparison.compare import Comparison
from scalebayes.costs.cost import Price
from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.reports.content import content_of
from scalebayes.reports.rendering import FORMATS
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.utils.files import write_whole
from scalebayes.utils.progress import Progress
from scalebayes.validation.sensitivity import Sensitivity


def report(
    subject: Fit | Average | Comparison,
    path: str | os.PathLike[str],
    *,
    N: Any = None,
    D: Any = None,
    C: Any = None,
    ci_prob: float = CI_PROB,
    price: Price | None = None,
    sensitivity: Sensitivity | None = None,
    format: Literal["html", "md", "json"] | None = None,
) -> Path:
    """Write a report as one HTML page that needs no network, or as Markdown or JSON.

    It opens with a recommendation: what to train, what that is expected to reach and costs, how
    sure it is and what would change it. At most three caveats follow, the answers, and the result
    of the convergence checks. Then come the data, the posterior with prior and published values,
    the fit, the frontier, the measured coverage of extrapolation, the comparison of models, the
    sensitivity to assumptions, and how to reproduce the report. In a browser, the HTML page answers
    further questions from the posterior draws that it contains. The same subject gives the same
    bytes.

    Parameters
    ----------
    subject
        A fit, an average of fits, or a comparison. A comparison answers with its equal average.
    path
        File to write. Its suffix selects the format: .html, .md or .json. An existing file is
        replaced.
    N, D, C
        Questions. N and D ask for the loss of a run, as do N or D with C. C alone asks for the
        optimum at these budgets, in FLOP. The default is the optimum at the compute of the largest
        run, at ten times and at a hundred times that compute.
    ci_prob
        Probability of the equal-tailed intervals.
    price
        Price of compute, by which the recommendation costs money.
    sensitivity
        Result of `scalebayes.sensitivity` for this fit. It needs refits, so it is not computed
        here.
    format
        "html", "md" or "json", for a path whose suffix names no format.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    QueryError
        If the path names no format, or under the same conditions as `predict` and `frontier`.

    Examples
    --------
    >>> path = sb.report(sb.load("chinchilla.nc"), "report.md", C="5.76e23")
    >>> print(path.read_text("utf-8").splitlines()[0])
    # Scaling laws fitted to Hoffmann et al. 2022
    """
    path = Path(path)
    chosen = format or path.suffix.lower().lstrip(".")
    if chosen not in FORMATS:
        raise QueryError(
            f"reports are written as {', '.join(FORMATS)}; got '{chosen or path.name}'"
        )
    from scalebayes.utils.placeholders import placeholders_hidden

    with Progress() as bar, placeholders_hidden():
        collect = partial(
            content_of,
            subject,
            N=N,
            D=D,
            C=C,
            ci_prob=ci_prob,
            price=price,
            sensitivity=sensitivity,
        )
        content = bar.during("collecting the answers of the report", collect)
        text = bar.during("writing the report", FORMATS[chosen], content)
    write_whole(path, lambda temporary: temporary.write_text(text, "utf-8", newline="\n"))
    return path
