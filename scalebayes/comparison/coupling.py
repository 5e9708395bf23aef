"""Kappa, the coupling between the N and D terms of a law, and the named laws it is close to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.display import html
from scalebayes.display.numbers import percent
from scalebayes.errors import QueryError
from scalebayes.laws import LAWS
from scalebayes.posterior.fit import Fit, draws
from scalebayes.posterior.provenance import Provenance, with_provenance
from scalebayes.summaries.caveats import failure_messages
from scalebayes.summaries.intervals import CI_PROB, interval_columns, intervals
from scalebayes.summaries.table import Table
from scalebayes.summaries.text import cell, kind_of_interval
from scalebayes.utils.progress import shows_progress

NEAR = 0.1
"""Kappa is near a value within this relative distance: |log ratio| at most log(1 + NEAR)."""
BOTTLENECK = 0.1
"""Kappa below which the sum of the terms is nearly the larger of the two."""
NO_FLOOR = 0.1
"""Share of the lowest observed loss below which a floor counts as none."""


def _is_near(ratio: xr.DataArray) -> xr.DataArray:
    """Return whether a ratio is near one."""
    return np.abs(np.log(ratio)) <= np.log1p(NEAR)


def _is_additive(draws: xr.Dataset) -> xr.DataArray:
    return _is_near(draws["kappa"])


def _has_kaplan_coupling(draws: xr.Dataset) -> xr.DataArray:
    return _is_near(draws["kappa_over_alpha_D"])


def _is_kaplan(draws: xr.Dataset) -> xr.DataArray:
    return _has_kaplan_coupling(draws) & (draws["floor_share"] < NO_FLOOR)


def _is_bottleneck(draws: xr.Dataset) -> xr.DataArray:
    return draws["kappa"] < BOTTLENECK


def _is_between(draws: xr.Dataset) -> xr.DataArray:
    above_kaplan = draws["kappa_over_alpha_D"] > 1 + NEAR
    below_chinchilla = draws["kappa"] < 1 / (1 + NEAR)
    return above_kaplan & below_chinchilla


NEIGHBOURHOODS: dict[str, tuple[str, Callable[[xr.Dataset], xr.DataArray]]] = {
    "additive": ("kappa within 10% of 1, Chinchilla's sum", _is_additive),
    "kaplan": (
        "kappa within 10% of alpha_D and a floor under 10% of the lowest loss, Kaplan's law",
        _is_kaplan,
    ),
    "kaplan-coupling": (
        "kappa within 10% of alpha_D, Kaplan's coupling over any floor",
        _has_kaplan_coupling,
    ),
    "bottleneck": ("kappa below 0.1, nearly the larger of the two terms", _is_bottleneck),
    "between": (
        "kappa above Kaplan's alpha_D and below Chinchilla's 1, close to neither",
        _is_between,
    ),
}
"""Meaning and test of each neighbourhood, by name.

They can overlap and do not cover all values, so their probabilities need not add up to 1.
"""


@dataclass(frozen=True, eq=False, repr=False)
class Coupling:
    """How the terms of a law combine, the answer of `coupling`.

    Attributes
    ----------
    draws : xarray.Dataset
        ``kappa``; ``kappa_over_alpha_D``, 1 in Kaplan's law; ``floor_share``, L_inf over the lowest
        observed loss; dims (chain, draw), for `scalebayes.intervals`, whose ``p_below`` is the
        probability of being below 1.
    probabilities : pandas.DataFrame
        By neighbourhood (`NEIGHBOURHOODS`): ``posterior`` and ``prior`` probability, and
        ``meaning``. A narrow neighbourhood has a small probability under both; their ratio shows
        what the runs say.
    prior : xarray.Dataset
        The same quantities as ``draws`` under the prior.
    model, runs : str
        Names of the spec and the table.
    discrepancy : bool
        Whether the spec has one. It can explain part of what the coupling would explain, which
        makes kappa less certain.
    drift : bool
        Whether local exponents drift: kappa is then that of the law at the centre of the runs.
    """

    draws: xr.Dataset
    probabilities: Table
    prior: xr.Dataset
    model: str
    runs: str
    discrepancy: bool
    drift: bool = False

    def sentence(self, ci_prob: float = CI_PROB) -> str:
        """Kappa, its interval and their meaning, in a sentence."""
        table = intervals(self.draws, ci_prob)
        bounds = ["median", *interval_columns(ci_prob)]
        alpha_D = float((self.draws["kappa"] / self.draws["kappa_over_alpha_D"]).median())
        comparison = _compare_with_laws(
            {
                "Chinchilla's sum (1)": table.loc["kappa", bounds].to_numpy(float),
                f"Kaplan's law (alpha_D = {alpha_D:.2f})": table.loc[
                    "kappa_over_alpha_D", bounds
                ].to_numpy(float),
            }
        )
        probabilities = [
            f"{name} {percent(row['posterior'])} (prior {percent(row['prior'])})"
            for name, row in self.probabilities.iterrows()
        ]
        subject = f"kappa of {self.model} on {self.runs}"
        if self.discrepancy:
            subject += " (beside a discrepancy)"
        if self.drift:
            subject += " (at the centre of the runs)"
        interval = f"{cell(table.loc['kappa'], ci_prob)} ({kind_of_interval(ci_prob)})"
        return (
            f"{subject} is {interval}: {comparison}. "
            f"Posterior probability of being close to a named law: {', '.join(probabilities)}."
        )

    def __repr__(self) -> str:
        return f"{self.sentence()}\n{self.probabilities!r}"

    def _repr_html_(self) -> str:
        return html.panel(self.sentence(), html.Html(self.probabilities._repr_html_()))


@shows_progress("coupling of the terms")
def coupling(fit: Fit) -> Coupling:
    """Summary of kappa, the coupling between the N and D terms.

    kappa = 1 adds the terms, kappa = alpha_D is Kaplan's coupling, and towards 0 the larger term
    alone counts. It is the kappa of the law; a discrepancy is added to the law.

    Parameters
    ----------
    fit
        A fit of a law with a free ``kappa``.

    Raises
    ------
    QueryError
        When the law has no free kappa, or several fits are given at once.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361, eq. 1.5. Hoffmann et al. (2022), arXiv:2203.15556, eq.
    2. Videau et al. (2026), arXiv:2608.07222.

    Examples
    --------
    >>> kappa = sb.coupling(sb.load("coupled.nc")).draws["kappa"]
    >>> f"{kappa.median():.2f}"
    '0.81'
    """
    if not isinstance(fit, Fit):
        raise QueryError(f"kappa is read from one fit at a time; got {type(fit).__name__}")
    needed = {"kappa", "alpha_D"}
    if not needed <= {*fit.spec.law_object.parameter_names}:
        allowed = [name for name, law in LAWS.items() if needed <= {*law.parameter_names}]
        raise QueryError(
            f"'{fit.spec.name}' has no free kappa; fit a model of the law {' or '.join(allowed)}"
        )
    lowest = float(fit.runs.loss.min())
    posterior = _read(draws(fit), lowest)
    prior = _read(draws(fit, "prior"), lowest)
    rows = {}
    for name, (meaning, is_inside) in NEIGHBOURHOODS.items():
        rows[name] = {
            "posterior": float(is_inside(posterior).mean()),
            "prior": float(is_inside(prior).mean()),
            "meaning": meaning,
        }
    probabilities = Table(pd.DataFrame.from_dict(rows, orient="index").rename_axis("neighbourhood"))
    probabilities.attrs["caveats"] = failure_messages(fit.spec.name, fit.gate_failures)
    record = Provenance(models=(fit.spec.name,), failures=fit.gate_failures)
    return Coupling(
        draws=with_provenance(posterior, record),
        probabilities=probabilities,
        prior=prior,
        model=fit.spec.name,
        runs=fit.runs.name,
        discrepancy=fit.spec.discrepancy is not None,
        drift=fit.spec.drift is not None,
    )


def _read(parameters: xr.Dataset, lowest: float) -> xr.Dataset:
    """Return kappa, its ratio to alpha_D and the floor's share of the lowest loss."""
    kappa = parameters["kappa"]
    floor = parameters.get("L_inf", 0.0 * kappa)
    quantities = {
        "kappa": kappa,
        "kappa_over_alpha_D": kappa / parameters["alpha_D"],
        "floor_share": floor / lowest,
    }
    # `intervals` gives the probability of being below the reference.
    return xr.Dataset(
        {name: values.assign_attrs(reference=1.0) for name, values in quantities.items()}
    )


def _compare_with_laws(ratios: Mapping[str, np.ndarray]) -> str:
    """Return how kappa compares with its values in named laws.

    ratios : median, lower and upper bound of kappa over each law's kappa. A larger kappa means a
    weaker coupling.
    """
    clear = []
    unclear = []
    for law, (median, lower, upper) in ratios.items():
        if lower <= 1 <= upper:
            unclear.append(law)
            continue
        amount = "less" if lower > 1 else "more"
        if not 0.5 < median < 2:
            amount = f"far {amount}"
        clear.append(f"{amount} than in {law}")
    parts = []
    if clear:
        parts.append(f"the terms couple {' and '.join(clear)}")
    if unclear:
        parts.append(f"the interval does not distinguish it from {' nor from '.join(unclear)}")
    return "; ".join(parts)
