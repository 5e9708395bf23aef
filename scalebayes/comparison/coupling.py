"""Kappa read out: how a law's two terms combine, and which named law that is close to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.display import html
from scalebayes.errors import QueryError
from scalebayes.laws import LAWS
from scalebayes.posterior.fit import Fit, draws
from scalebayes.summaries.intervals import CI_PROB, interval_columns, intervals
from scalebayes.summaries.table import Table
from scalebayes.summaries.text import cell, kind_of_interval

NEAR = 0.1
"""Close: within this factor, |log ratio| at most log(1 + NEAR)."""
BOTTLENECK = 0.1
"""Below this, kappa is nearly that of the larger of the two terms."""
NO_FLOOR = 0.1
"""A floor under this share of the lowest observed loss counts as none."""


def _near(ratio: xr.DataArray) -> xr.DataArray:
    return np.abs(np.log(ratio)) <= np.log1p(NEAR)


NEIGHBOURHOODS: dict[str, tuple[str, Callable[[xr.Dataset], xr.DataArray]]] = {
    "additive": ("kappa within 10% of 1, Chinchilla's sum", lambda d: _near(d["kappa"])),
    "kaplan": (
        "kappa within 10% of alpha_D and a floor under 10% of the lowest loss, Kaplan's law",
        lambda d: _near(d["kappa_over_alpha_D"]) & (d["floor_share"] < NO_FLOOR),
    ),
    "kaplan-coupling": (
        "kappa within 10% of alpha_D, Kaplan's coupling over any floor",
        lambda d: _near(d["kappa_over_alpha_D"]),
    ),
    "bottleneck": (
        "kappa below 0.1, nearly the larger of the two terms",
        lambda d: d["kappa"] < BOTTLENECK,
    ),
    "between": (
        "kappa above Kaplan's alpha_D and below Chinchilla's 1, close to neither",
        lambda d: (d["kappa_over_alpha_D"] > 1 + NEAR) & (d["kappa"] < 1 / (1 + NEAR)),
    ),
}
"""What is close to what, by name. They may overlap, and leave a rest: the probabilities need not add up to 1."""


@dataclass(frozen=True, eq=False, repr=False)
class Coupling:
    """How the terms of a law combine, as `coupling` reads it.

    Attributes
    ----------
    draws : xarray.Dataset
        ``kappa``; ``kappa_over_alpha_D``, 1 in Kaplan's law; ``floor_share``, L_inf over the lowest observed loss;
        dims (chain, draw), for `scalebayes.intervals`, whose ``p_below`` is the probability of being below 1.
    chances : pandas.DataFrame
        By neighbourhood (`NEIGHBOURHOODS`): ``posterior`` and ``prior`` probability, and ``meaning``. A narrow
        neighbourhood has little of either: it is their ratio that the runs have moved.
    prior : xarray.Dataset
        The same under the prior.
    model, runs : str
        Names of the spec and the table.
    discrepancy : bool
        Whether the spec carries one. It can take up part of what the coupling would, so kappa is known less well.
    """

    draws: xr.Dataset
    chances: Table
    prior: xr.Dataset
    model: str
    runs: str
    discrepancy: bool

    def sentence(self, ci_prob: float = CI_PROB) -> str:
        """Say kappa, its interval, and what it means, in a sentence to quote."""
        table = intervals(self.draws, ci_prob)
        bounds = ["median", *interval_columns(ci_prob)]
        kappa, ratio = (
            table.loc[name, bounds].to_numpy(float) for name in ("kappa", "kappa_over_alpha_D")
        )
        alpha_D = float((self.draws["kappa"] / self.draws["kappa_over_alpha_D"]).median())
        words = _beside(
            {"Chinchilla's sum (1)": kappa, f"Kaplan's law (alpha_D = {alpha_D:.2f})": ratio}
        )
        chances = ", ".join(
            f"{name} {row['posterior']:.3f} (prior {row['prior']:.3f})"
            for name, row in self.chances.iterrows()
        )
        interval = f"{cell(table.loc['kappa'], ci_prob)} ({kind_of_interval(ci_prob)})"
        beside = " (beside a discrepancy)" * self.discrepancy
        return (
            f"kappa of {self.model} on {self.runs}{beside} is {interval}: {words}. "
            f"Posterior probability of being close to a named law: {chances}."
        )

    def __repr__(self) -> str:
        return f"{self.sentence()}\n{self.chances!r}"

    def _repr_html_(self) -> str:
        return html.panel(self.sentence(), html.Html(self.chances._repr_html_()))


def coupling(fit: Fit) -> Coupling:
    """Read how the terms combine: kappa = 1 adds them, kappa = alpha_D is Kaplan's way, towards 0 the larger rules.

    It is the law's kappa, in a spec with a discrepancy too; the discrepancy lies on top of the law.

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
    Kaplan et al. (2020), arXiv:2001.08361, eq. 1.5. Hoffmann et al. (2022), arXiv:2203.15556, eq. 2. Videau et al.
    (2026), arXiv:2608.07222.
    """
    if not isinstance(fit, Fit):
        raise QueryError(f"kappa is read from one fit at a time; got {type(fit).__name__}")
    if not {"kappa", "alpha_D"} <= {*fit.spec.law_object.parameter_names}:
        free = [
            name for name, law in LAWS.items() if {"kappa", "alpha_D"} <= {*law.parameter_names}
        ]
        raise QueryError(
            f"'{fit.spec.name}' has no free kappa; fit a model of the law {' or '.join(free)}"
        )
    lowest = float(fit.runs.loss.min())
    posterior, prior = (_read(draws(fit, group), lowest) for group in ("posterior", "prior"))
    rows = {
        name: (float(inside(posterior).mean()), float(inside(prior).mean()), meaning)
        for name, (meaning, inside) in NEIGHBOURHOODS.items()
    }
    chances = pd.DataFrame.from_dict(
        rows, orient="index", columns=["posterior", "prior", "meaning"]
    )
    return Coupling(
        posterior,
        Table(chances.rename_axis("neighbourhood")),
        prior,
        fit.spec.name,
        fit.runs.name,
        fit.spec.discrepancy is not None,
    )


def _read(parameters: xr.Dataset, lowest: float) -> xr.Dataset:
    kappa = parameters["kappa"]
    floor = parameters.get("L_inf", 0.0 * kappa)
    out = {
        "kappa": kappa,
        "kappa_over_alpha_D": kappa / parameters["alpha_D"],
        "floor_share": floor / lowest,
    }
    return xr.Dataset({name: values.assign_attrs(reference=1.0) for name, values in out.items()})


def _beside(intervals: Mapping[str, np.ndarray]) -> str:
    """Compare kappa with named laws, from median, low and high of its ratio to theirs: a larger one couples less."""
    clear, unclear = [], []
    for named, (middle, low, high) in intervals.items():
        if low <= 1 <= high:
            unclear.append(named)
            continue
        far = "far " if not 0.5 < middle < 2 else ""
        clear.append(f"{far}{'less' if low > 1 else 'more'} than in {named}")
    told = [f"the terms couple {' and '.join(clear)}"] * bool(clear)
    told += [f"the interval does not tell it from {' nor from '.join(unclear)}"] * bool(unclear)
    return "; ".join(told)
