"""Frontiers by the three point methods of Hoffmann et al. (2022), beside posteriors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scalebayes.baselines import envelope, huber, isoflop
from scalebayes.baselines.from_optima import budgets
from scalebayes.display import html
from scalebayes.errors import RunsError
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit, law_parameters
from scalebayes.queries.frontier import frontier
from scalebayes.summaries.intervals import CI_PROB, intervals
from scalebayes.summaries.table import Table
from scalebayes.summaries.text import LABELS, align, beyond, cell
from scalebayes.units import format_quantity
from scalebayes.utils.progress import shows_progress

if TYPE_CHECKING:
    import xarray as xr

    from scalebayes.data.runs import Runs

METHODS: dict[str, Callable[..., xr.Dataset]] = {
    "log-huber (approach 3)": huber.frontier,
    "envelope (approach 1)": envelope.frontier,
    "isoflop (approach 2)": isoflop.frontier,
}
"""Name -> frontier(runs, C=, draws=, seed=)."""
COLUMNS = ("a", "N", "D", "tokens_per_param", "loss")
"""Quantities of `point_fits_table`, one column each."""


@dataclass(frozen=True, eq=False, repr=False)
class PointFits:
    """Frontiers by the three point methods, each with its bootstrap.

    Attributes
    ----------
    answers
        By method: ``N``, ``D``, ``loss``, ``tokens_per_param`` (chain, draw, budget) and ``a``
        (chain, draw), in the shape of `scalebayes.frontier`; functions that accept its answers
        accept these.
    estimates
        The same from all runs, without a bootstrap: one draw.
    refusals
        By method: why it cannot be applied to these runs.
    """

    answers: Mapping[str, xr.Dataset]
    estimates: Mapping[str, xr.Dataset]
    refusals: Mapping[str, str]

    def __repr__(self) -> str:
        return "\n".join([repr(self.table()), *self._refused()])

    def _repr_html_(self) -> str:
        table = html.Html(self.table()._repr_html_())
        return html.panel("Point estimates of the field", table, html.entries(self._refused()))

    def _refused(self) -> list[str]:
        return [f"{name}: {why}" for name, why in self.refusals.items()]

    def notes(self) -> list[str]:
        """Return the notes on each method, and the reasons why methods cannot be applied."""
        notes = []
        for name, answer in self.answers.items():
            if answer.attrs.get("notes"):
                notes.append(f"{name}: {answer.attrs['notes']}")
            lost = int(answer.attrs.get("lost", 0))
            if lost:
                notes.append(
                    f"{name}: {lost} resamples with fewer than three budgets were excluded"
                )
        for name, reason in self.refusals.items():
            notes.append(f"no {name}: {reason}")
        return notes

    def table(self, ci_prob: float = CI_PROB) -> Table:
        """Return all methods in one table.

        Returns
        -------
        pandas.DataFrame
            Indexed by C, method and quantity: the ``estimate`` from all runs (NaN for a posterior),
            then the median and equal-tailed interval of the resamples as `scalebayes.intervals`
            gives them, and ``decades_beyond``.
        """
        import pandas as pd

        parts = []
        for name, found in self.answers.items():
            part = intervals(found, ci_prob).reset_index()
            estimate: Any = float("nan")
            if name in self.estimates:
                estimate = intervals(self.estimates[name]).reset_index()["median"]
            part.insert(0, "estimate", estimate)
            parts.append(part.assign(method=name))
        keys = ["C", "method", "quantity"]
        together = pd.DataFrame(columns=keys)
        if parts:
            together = pd.concat(parts, ignore_index=True)
        out = Table(together.sort_values("C", kind="stable").set_index(keys))
        out.attrs = {"ci_prob": ci_prob, "ci_kind": "eti"}
        return out


@shows_progress("point estimates")
def point_fits(
    runs: Runs,
    *,
    C: Any,
    fits: Mapping[str, Fit | Average] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> PointFits:
    """Return the compute-optimal N, D and loss by the three methods of Hoffmann et al. (2022).

    Their intervals come from resampled rows. They contain the variation of the runs, but neither
    the bias of a parabola (`scalebayes.baselines.isoflop`) nor the error of a wrong law.

    Parameters
    ----------
    runs
        A table with N, D, C and the loss.
    C
        Budgets in FLOP: a number, text such as "1e24", or a sequence.
    fits
        Posteriors to list beside them, by label.
    draws, seed
        Resamples of each method's bootstrap, and its seed.

    Raises
    ------
    QueryError
        When a budget is not a positive, finite number.

    References
    ----------
    Hoffmann et al. (2022), Training compute-optimal large language models, arXiv:2203.15556.
    Besiroglu et al. (2024), Chinchilla scaling: a replication attempt, arXiv:2404.10102.

    Examples
    --------
    >>> runs = sb.load_runs("hoffmann2022")
    >>> table = sb.point_fits(runs, C="5.76e23", draws=100).table()
    >>> table.xs("N", level="quantity")[["median", "eti90_lb", "eti90_ub"]]
    90% equal-tailed intervals
          C                 method median eti90_lb eti90_ub
    5.76e23 log-huber (approach 3) 76.48B   55.46B   104.9B
    5.76e23  envelope (approach 1) 68.08B   30.78B   106.6B
    5.76e23   isoflop (approach 2) 69.25B   59.75B   88.87B
    """
    C = budgets(C)
    answers = {}
    estimates = {}
    refusals = {}
    for name, method in METHODS.items():
        try:
            estimates[name] = method(runs, C=C, draws=0)
            answers[name] = method(runs, C=C, draws=draws, seed=seed)
        except RunsError as error:
            refusals[name] = str(error)
    for label, fit in (fits or {}).items():
        answers[label] = _posterior(fit, C)
    return PointFits(answers, estimates, refusals)


def _posterior(fit: Fit | Average, C: Any) -> xr.Dataset:
    """Return the frontier of a fit, with the exponent a of a single fit whose law has one."""
    found = frontier(fit, C=C)[["N", "D", "loss", "tokens_per_param"]]
    if not isinstance(fit, Fit):
        return found
    derived = fit.spec.law_object.derive(law_parameters(fit))
    if "a_opt" not in derived:
        return found
    return found.assign(a=(("chain", "draw"), derived["a_opt"]))


def point_fits_table(found: PointFits, ci_prob: float = CI_PROB) -> str:
    """Return point fits as text: one line for each budget and method."""
    rows = []
    table = found.table(ci_prob).reset_index()
    for (budget, method), part in table.groupby(["C", "method"], sort=False):
        row = {
            "C": format_quantity(float(str(budget))),
            "method": str(method),
            "compute beyond the largest run": beyond(float(part["decades_beyond"].iloc[0])),
        }
        quantities = part.set_index("quantity")
        for name in COLUMNS:
            text = "-"
            if name in quantities.index:
                text = cell(quantities.loc[name], ci_prob, scale=name in ("N", "D"))
            row[LABELS.get(name, name)] = text
        rows.append(row)
    return align(rows, keys=2)
