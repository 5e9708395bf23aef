"""The field's own three methods beside each other on one table, and beside posteriors of ours."""

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

if TYPE_CHECKING:
    import xarray as xr

    from scalebayes.data.runs import Runs

METHODS: dict[str, Callable[..., xr.Dataset]] = {
    "log-huber (approach 3)": huber.frontier,
    "envelope (approach 1)": envelope.frontier,
    "isoflop (approach 2)": isoflop.frontier,
}
"""Name -> frontier(runs, C=, draws=, seed=)."""


@dataclass(frozen=True, eq=False, repr=False)
class PointFits:
    """Frontiers by the field's methods, each with its bootstrap.

    Attributes
    ----------
    answers
        Method -> ``N``, ``D``, ``loss``, ``tokens_per_param`` (chain, draw, budget) and ``a`` (chain, draw), in the
        shape of `scalebayes.frontier`; every function that takes its answers takes these.
    estimates
        The same from all runs, without a bootstrap: one draw.
    refusals
        Method -> why these runs do not allow it.
    """

    answers: Mapping[str, xr.Dataset]
    estimates: Mapping[str, xr.Dataset]
    refusals: Mapping[str, str]

    def __repr__(self) -> str:
        return "\n".join(
            [f"{self.table()!r}", *(f"{name}: {why}" for name, why in self.refusals.items())]
        )

    def _repr_html_(self) -> str:
        refused = html.entries(f"{name}: {why}" for name, why in self.refusals.items())
        return html.panel("The field's own methods", html.Html(self.table()._repr_html_()), refused)

    def table(self, ci_prob: float = CI_PROB) -> Table:
        """Lay them side by side.

        Returns
        -------
        pandas.DataFrame
            Indexed by C, method and quantity: the ``estimate`` from all runs (NaN for a posterior), then the median and
            equal-tailed interval of the resamples as `scalebayes.intervals` gives them, and ``decades_beyond``.
        """
        import pandas as pd

        parts = []
        for name, found in self.answers.items():
            part = intervals(found, ci_prob).reset_index()
            alone = (
                intervals(self.estimates[name]).reset_index() if name in self.estimates else None
            )
            part.insert(0, "estimate", float("nan") if alone is None else alone["median"])
            parts.append(part.assign(method=name))
        keys = ["C", "method", "quantity"]
        order = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=keys)
        out = Table(order.sort_values("C", kind="stable").set_index(keys))
        out.attrs = {"ci_prob": ci_prob, "ci_kind": "eti"}
        return out


def point_fits(
    runs: Runs,
    *,
    C: Any,
    fits: Mapping[str, Fit | Average] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> PointFits:
    """Find the compute-optimal N, D and loss by each of the field's three methods.

    Their intervals come from resampled rows: they know how much the answer moves with the runs, and neither that a
    parabola is no isoFLOP curve (`scalebayes.baselines.isoflop`) nor that a law may be wrong.

    Parameters
    ----------
    runs
        A table with N, D, C and the loss.
    C
        Budgets in FLOP: a number, text such as "1e24", or a sequence.
    fits
        Posteriors to put beside them, by label.
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
    """
    C = budgets(C)
    answers, estimates, refusals = {}, {}, {}
    for name, method in METHODS.items():
        try:
            estimates[name] = method(runs, C=C, draws=0)
            answers[name] = method(runs, C=C, draws=draws, seed=seed)
        except RunsError as error:
            refusals[name] = str(error)
    answers |= {label: _posterior(fit, C) for label, fit in (fits or {}).items()}
    return PointFits(answers, estimates, refusals)


def _posterior(fit: Fit | Average, C: Any) -> xr.Dataset:
    """Frontier of a fit, with the exponent a where its law has one and it is one fit."""
    found = frontier(fit, C=C)[["N", "D", "loss", "tokens_per_param"]]
    derived = fit.spec.law_object.derive(law_parameters(fit)) if isinstance(fit, Fit) else {}
    return found.assign(a=(("chain", "draw"), derived["a_opt"])) if "a_opt" in derived else found
