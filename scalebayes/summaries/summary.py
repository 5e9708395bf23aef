"""The posterior of a fit as a table, with published values beside it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.datasets import allocations
from scalebayes.posterior.diagnostics import by_scalar
from scalebayes.posterior.fit import Fit, draws, law_parameters
from scalebayes.specs.pooling import variable_names
from scalebayes.specs.spec import read_model
from scalebayes.summaries.intervals import CI_PROB, interval_columns
from scalebayes.summaries.table import Table


def summary(fit: Fit, ci_prob: float = CI_PROB) -> Table:
    """Posterior of parameters and of the quantities papers print, with the published values beside them.

    Returns
    -------
    pandas.DataFrame
        Rows: parameters of the law, derived quantities (A, B, a_opt ...), parameters of the noise; of a pooled fit
        those of each group, as L_inf[pythia], then population medians and spreads. Columns: those of
        `arviz_stats.summary` (mean, sd, eti90_lb, eti90_ub, ess_bulk, ess_tail, r_hat, mcse_mean, mcse_sd) after the
        median, then one a published source, in our notation. ``attrs`` hold ``ci_prob`` and ``ci_kind``.
    """
    import arviz_stats as azs

    lower, upper = interval_columns(ci_prob)
    dataset = with_derived(fit)
    with np.errstate(
        invalid="ignore"
    ):  # a derived quantity may be the same in every draw: its R-hat is no number
        table = azs.summary(dataset, ci_prob=ci_prob, ci_kind="eti", round_to="none")
    # ArviZ cuts the percentage to whole ones: at 0.975, and by rounding at 0.57, its names are not ours
    table = table.rename(
        columns=lambda c: lower if c.endswith("_lb") else upper if c.endswith("_ub") else c
    )
    table.insert(0, "median", [float(dataset[name].median()) for name in table.index])
    for label, values in published_values(fit).items():
        table[label] = [values.get(name, np.nan) for name in table.index]
    table = Table(table.rename_axis("parameter"))
    table.attrs = {"ci_prob": ci_prob, "ci_kind": "eti"}
    return table


def exponents(fits: Mapping[str, Fit], ci_prob: float = CI_PROB) -> Table:
    """Compare the exponent a of N* ~ C^a: that of each fit, and those the literature prints.

    Returns
    -------
    pandas.DataFrame
        By source: ``a``, ``low`` and ``high``, the ends of its interval (NaN where none is printed), ``interval``, its
        kind in words, and ``counts``, whether N and C are total or non-embedding ("" for fits: as in their runs).
    """
    tail, kind = (1 - ci_prob) / 2, f"{100 * ci_prob:g}% equal-tailed"
    rows = []
    for label, fit in fits.items():
        a = with_derived(fit)["a_opt"].quantile([0.5, tail, 1 - tail]).values
        rows.append((f"{label}, these runs", *a, kind, ""))
    for source, row in allocations().iterrows():
        rows.append((str(source), *row[["exponent", "low", "high", "interval", "counts"]]))
    besiroglu = next(
        entry for entry in read_model("chinchilla").published if entry.source == "besiroglu2024"
    )
    law = read_model("chinchilla").law_object
    a_opt = law.derive(law.from_notation(besiroglu.values))["a_opt"]
    rows.append(("Besiroglu, the Chinchilla runs", a_opt, np.nan, np.nan, "", "total"))
    return Table(
        pd.DataFrame(rows, columns=["source", "a", "low", "high", "interval", "counts"]).set_index(
            "source"
        )
    )


def with_derived(fit: Fit) -> xr.Dataset:
    """Draws of the law's parameters, its derived quantities, and the noise's parameters, in that order."""
    if fit.groups:
        return _with_derived_by_group(fit)
    posterior = draws(fit)
    derived = fit.spec.law_object.derive(law_parameters(fit))
    added = posterior.assign({name: (("chain", "draw"), value) for name, value in derived.items()})
    return added[[*fit.spec.law_object.parameter_names, *derived, *fit.spec.scatter_names]]


def _with_derived_by_group(fit: Fit) -> xr.Dataset:
    """The same of a pooled fit, each group's under its name, as L_inf[pythia]; then what groups share."""
    posterior = fit.tree["posterior"].to_dataset()
    law = fit.spec.law_object
    derived = law.derive({name: posterior[name] for name in law.parameter_names})
    names = variable_names(fit.spec)
    return by_scalar(
        posterior.assign(derived)[[*law.parameter_names, *derived, *names[len(law.parameters) :]]]
    )


def published_values(fit: Fit) -> dict[str, dict[str, float]]:
    """Published values of the law by label, in our notation and with the derived quantities."""
    law = fit.spec.law_object
    out = {}
    for entry in fit.spec.published:
        values = law.from_notation(entry.values)
        out[entry.label] = values | law.derive(values)
    return out
