"""Tables of medians and intervals of posterior draws."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.summaries.caveats import caveats
from scalebayes.summaries.monte_carlo import quantile_errors
from scalebayes.summaries.table import ERRORS, Table
from scalebayes.utils.shares import check_probability, tail_probability

CI_PROB = 0.9
"""Probability of an interval where none is given; intervals are equal-tailed."""


def interval_columns(ci_prob: float) -> tuple[str, str]:
    """Return ArviZ's names of the ends of an equal-tailed interval, such as eti90_lb, eti90_ub."""
    check_probability("ci_prob", ci_prob)
    return f"eti{100 * ci_prob:g}_lb", f"eti{100 * ci_prob:g}_ub"


def error_column(name: str) -> str:
    """Return the name of the column with the Monte Carlo standard errors of another column."""
    return f"{ERRORS}{name}"


def intervals(dataset: xr.Dataset, ci_prob: float = CI_PROB) -> Table:
    """Return medians and equal-tailed intervals of draws, such as those of `predict`.

    A quantity without draws, such as a probability, is its own median, without an interval. Draws
    may be infinite (for example the compute for a loss that is never reached); then a quantile
    among them is infinite.

    Returns
    -------
    pandas.DataFrame
        One row a quantity and target (or budget), indexed by the inputs and the quantity; columns
        median, the ends of the interval under ArviZ's names (``eti90_lb``, ``eti90_ub``) and, where
        the dataset has it, ``decades_beyond``; where a quantity's attributes have a ``reference``,
        ``p_below`` is the share of its draws below that; and the Monte Carlo standard errors of the
        median and the ends (``mcse_median``, ``mcse_eti90_lb``, ``mcse_eti90_ub``), by which
        printed numbers are rounded. ``attrs`` hold ``ci_prob``, ``ci_kind`` and the `caveats`,
        which are printed below the table.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> table = sb.intervals(sb.predict(fit, N="7B", D="140B"))
    >>> row = table.xs("loss", level="quantity").iloc[0]
    >>> f"{row['median']:.2f} [{row['eti90_lb']:.2f}, {row['eti90_ub']:.2f}]"
    '2.17 [2.17, 2.18]'
    """
    columns = ["median", *interval_columns(ci_prob)]
    tail = tail_probability(ci_prob)
    levels = [0.5, tail, 1 - tail]
    by_quantity = quantiles_of_draws(dataset, levels)
    quantiles = by_quantity.to_dataarray("quantity")
    along = [dim for dim in quantiles.dims if dim not in ("quantile", "quantity")]

    # Every table column below is laid out alike: the targets, and within them the quantities.
    layout = (*along, "quantity", "quantile")
    cells = quantiles.transpose(*layout)
    table = pd.DataFrame(cells.values.reshape(-1, 3), columns=columns)
    cell = cells.isel(quantile=0)
    keys = [*_target_coordinates(dataset, along), "quantity"]
    for key in keys:
        labels = cell["quantity"] if key == "quantity" else dataset[key]
        table[key] = labels.broadcast_like(cell).transpose(*cell.dims).values.ravel()
    if any("reference" in values.attrs for values in dataset.data_vars.values()):
        below = dataset.map(_share_below).to_dataarray("quantity")
        table["p_below"] = below.transpose(*along, "quantity").values.ravel()
    errors = errors_of_quantiles(dataset, by_quantity).to_dataarray("quantity")
    error_columns = errors.transpose(*layout).values.reshape(-1, 3).T
    for name, values in zip(columns, error_columns, strict=True):
        table[error_column(name)] = values

    table = Table(table.set_index([key for key in keys if key != "decades_beyond"]))
    table.attrs = {"ci_prob": ci_prob, "ci_kind": "eti", "caveats": caveats(dataset)}
    return table


def _target_coordinates(dataset: xr.Dataset, along: Sequence[object]) -> list[str]:
    """Return the names of the coordinates of targets; none for an answer without targets.

    The tuples of a stacked index are no coordinate: its levels are.
    """
    if not along:
        return []
    names = []
    for name, values in dataset.coords.items():
        is_stacked = isinstance(dataset.indexes.get(name), pd.MultiIndex) and name in dataset.dims
        if "chain" not in values.dims and "draw" not in values.dims and not is_stacked:
            names.append(str(name))
    return names


def quantiles_of_draws(dataset: xr.Dataset, levels: list[float]) -> xr.Dataset:
    """Return quantiles over chains and draws, which may be infinite.

    Between a finite draw and an infinite one the quantile is infinite. (The usual interpolation
    gives NaN between two infinite draws, and at a finite draw next to an infinite one.) A quantity
    without draws is its own first quantile, which should be the median; the others are NaN.
    """
    return dataset.map(_quantiles, levels=levels)


def _quantiles(draws: xr.DataArray, levels: list[float]) -> xr.DataArray:
    dims = ("chain", "draw")
    if "draw" not in draws.dims:
        is_first = xr.DataArray(np.arange(len(levels)) == 0, dims="quantile")
        return draws.astype(float).expand_dims(quantile=levels).where(is_first)
    if np.isfinite(draws.values).all():
        return draws.quantile(levels, dim=dims)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        # A quantity that does not exist, such as N* of a law of C, is NaN in all draws.
        warnings.filterwarnings("ignore", "All-NaN slice")
        between = draws.quantile(levels, dim=dims)
        below = draws.quantile(levels, dim=dims, method="lower")
        above = draws.quantile(levels, dim=dims, method="higher")
    can_interpolate = np.isfinite(above) & (below != above)
    return between.where(can_interpolate, above).where(np.isfinite(below), below)


def errors_of_quantiles(dataset: xr.Dataset, quantiles: xr.Dataset) -> xr.Dataset:
    """Return the Monte Carlo standard errors of quantiles of draws.

    Without draws it is the attribute ``mcse``, NaN if there is none.
    """
    return quantiles.map(lambda values: _errors(dataset[values.name], values))


def _errors(draws: xr.DataArray, quantiles: xr.DataArray) -> xr.DataArray:
    if "draw" not in draws.dims:
        error = draws.attrs.get("mcse", np.nan)
        return xr.full_like(quantiles, error).where(quantiles.notnull())
    draws = draws.transpose("chain", "draw", ...)
    quantiles = quantiles.transpose("quantile", *draws.dims[2:])
    levels = quantiles["quantile"].values.tolist()
    return quantiles.copy(data=quantile_errors(draws.values, quantiles.values, levels))


def _share_below(values: xr.DataArray) -> xr.DataArray:
    """Return the share of draws below the quantity's reference, NaN where it has none."""
    reference = values.attrs.get("reference", np.nan)
    is_below = (values < reference).where(values.notnull())
    share = is_below.mean(("chain", "draw"))
    if "reference" not in values.attrs:
        return share * np.nan
    return share
