"""Tables of the posterior of a fit, with published values beside it."""

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
from scalebayes.summaries.caveats import failure_messages
from scalebayes.summaries.intervals import (
    CI_PROB,
    error_column,
    errors_of_quantiles,
    interval_columns,
    quantiles_of_draws,
)
from scalebayes.summaries.table import Table
from scalebayes.utils.kinds import by_kind
from scalebayes.utils.progress import shows_progress
from scalebayes.utils.shares import tail_probability


@shows_progress("summary of the posterior")
@by_kind
def summary(fit: Fit, ci_prob: float = CI_PROB) -> Table:
    """Return the posterior of the parameters and derived quantities, with published values.

    Returns
    -------
    pandas.DataFrame
        Rows: parameters of the law, derived quantities (A, B, a_opt ...), parameters of the noise;
        of a pooled fit those of each group, such as L_inf[pythia], then population medians and
        spreads. Columns: the median; those of `arviz_stats.summary` (mean, sd, eti90_lb, eti90_ub,
        ess_bulk, ess_tail, r_hat, mcse_mean, mcse_sd); the Monte Carlo errors of the median and
        the ends as in `intervals`; then one a published source, in our notation. ``attrs`` hold
        ``ci_prob``, ``ci_kind`` and failed convergence checks as ``caveats``.

    Examples
    --------
    >>> table = sb.summary(sb.load("chinchilla.nc"))
    >>> table.loc[["alpha_N", "alpha_D"], ["median", "eti90_lb", "eti90_ub"]].round(2)
    90% equal-tailed intervals
    parameter median eti90_lb eti90_ub
      alpha_N   0.35     0.33     0.36
      alpha_D   0.36     0.34     0.38
    """
    table = table_of_draws(with_derived(fit), ci_prob)
    for label, values in published_values(fit).items():
        table[label] = [values.get(name, np.nan) for name in table.index]
    if fit.gate_failures:
        table.attrs["caveats"] = failure_messages(fit.spec.name, fit.gate_failures)
    return table


def table_of_draws(dataset: xr.Dataset, ci_prob: float) -> Table:
    """Return a table with a row for each variable of some draws, (chain, draw).

    Columns as in `summary`, without published values.
    """
    from scalebayes.utils.arviz import azs

    ends = interval_columns(ci_prob)
    with np.errstate(invalid="ignore"):
        # A derived quantity may have the same value in every draw; its R-hat is NaN.
        table = azs.summary(dataset, ci_prob=ci_prob, ci_kind="eti", round_to="none")
    table = _with_interval_names(table, ci_prob)
    tail = tail_probability(ci_prob)
    quantiles = quantiles_of_draws(dataset, [0.5, tail, 1 - tail])
    errors = errors_of_quantiles(dataset, quantiles)
    table.insert(0, "median", [float(quantiles[name][0]) for name in table.index])
    for i, column in enumerate(["median", *ends]):
        table[error_column(column)] = [float(errors[name][i]) for name in table.index]
    table = Table(table.rename_axis("parameter"))
    table.attrs = {"ci_prob": ci_prob, "ci_kind": "eti"}
    return table


def _with_interval_names(table: pd.DataFrame, ci_prob: float) -> pd.DataFrame:
    """Return the table with the names of `interval_columns`.

    ArviZ truncates the percentage in these names to an integer, and rounding errors can lower it
    by one (0.57 gives 56).
    """
    lower, upper = interval_columns(ci_prob)
    names = {}
    for column in table.columns:
        if column.endswith("_lb"):
            names[column] = lower
        elif column.endswith("_ub"):
            names[column] = upper
    return table.rename(columns=names)


def exponents(fits: Mapping[str, Fit], ci_prob: float = CI_PROB) -> Table:
    """Return the exponent a of N* ~ C^a of each fit, and published exponents.

    Returns
    -------
    pandas.DataFrame
        By source: ``a``; ``low`` and ``high``, the ends of its interval (NaN where none is
        printed); ``interval``, its kind in words; ``counts``, whether N and C are total or
        non-embedding (empty for fits, which count as their runs do); and the Monte Carlo errors of
        the three numbers of fits, ``mcse_a``, ``mcse_low`` and ``mcse_high``.
    """
    tail = tail_probability(ci_prob)
    numbers = ["a", "low", "high"]
    errors = [error_column(name) for name in numbers]
    rows: dict[str, dict[str, object]] = {}
    for label, fit in fits.items():
        draws_of_a = with_derived(fit)[["a_opt"]]
        quantiles = quantiles_of_draws(draws_of_a, [0.5, tail, 1 - tail])
        of_quantiles = errors_of_quantiles(draws_of_a, quantiles)
        rows[f"{label}, these runs"] = {
            **dict(zip(numbers, quantiles["a_opt"].values, strict=True)),
            "interval": f"{100 * ci_prob:g}% equal-tailed",
            "counts": "",
            **dict(zip(errors, of_quantiles["a_opt"].values, strict=True)),
        }
    published = allocations().rename(columns={"exponent": "a"})
    for source, row in published.iterrows():
        rows[str(source)] = dict(row[[*numbers, "interval", "counts"]])
    rows["Besiroglu, the Chinchilla runs"] = {
        "a": _exponent_of_besiroglu(),
        "interval": "",
        "counts": "total",
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    columns = [*numbers, "interval", "counts", *errors]
    table = table.reindex(columns=columns).astype(dict.fromkeys([*numbers, *errors], float))
    return Table(table.rename_axis("source"))


def _exponent_of_besiroglu() -> float:
    """Return a = alpha_D / (alpha_N + alpha_D) at the estimates of Besiroglu et al. (2024)."""
    spec = read_model("chinchilla")
    law = spec.law_object
    (values,) = (entry.values for entry in spec.published if entry.source == "besiroglu2024")
    return float(law.derive(law.from_notation(values))["a_opt"])


def with_derived(fit: Fit) -> xr.Dataset:
    """Return draws of the law's parameters, its derived quantities, and the noise's parameters.

    Of a pooled fit, each group's quantities have names such as L_inf[pythia]; what the groups share
    and the population follow.
    """
    if fit.groups:
        return _with_derived_by_group(fit)
    posterior = draws(fit)
    law = fit.spec.law_object
    derived = law.derive(law_parameters(fit))
    variables = {name: (("chain", "draw"), value) for name, value in derived.items()}
    names = [*law.parameter_names, *derived, *fit.spec.scatter_names]
    return posterior.assign(variables)[names]


def _with_derived_by_group(fit: Fit) -> xr.Dataset:
    """Return `with_derived` of a pooled fit."""
    posterior = fit.stored["posterior"].to_dataset()
    law = fit.spec.law_object
    derived = law.derive({name: posterior[name] for name in law.parameter_names})
    # The variables of a pooled fit begin with the law's parameters.
    after_the_law = variable_names(fit.spec)[len(law.parameters) :]
    names = [*law.parameter_names, *derived, *after_the_law]
    return by_scalar(posterior.assign(derived)[names])


def published_values(fit: Fit) -> dict[str, dict[str, float]]:
    """Return published values of the law by label, in our notation, with derived quantities."""
    law = fit.spec.law_object
    published = {}
    for entry in fit.spec.published:
        values = law.from_notation(entry.values)
        published[entry.label] = values | law.derive(values)
    return published
