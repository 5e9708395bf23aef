"""Draws to tables a person reads: medians, intervals, and the published values beside them."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.summaries.caveats import caveats
from scalebayes.summaries.table import Table

CI_PROB = 0.9
"""Our default: 90% equal-tailed."""


def interval_columns(ci_prob: float) -> tuple[str, str]:
    """ArviZ's names of the bounds of an equal-tailed interval: eti90_lb, eti90_ub."""
    if not 0 < ci_prob < 1:
        raise QueryError(f"ci_prob must lie between 0 and 1; got {ci_prob}")
    return f"eti{100 * ci_prob:g}_lb", f"eti{100 * ci_prob:g}_ub"


def intervals(dataset: xr.Dataset, ci_prob: float = CI_PROB) -> Table:
    """Medians and equal-tailed intervals of any dataset of draws, such as those of `predict` and `frontier`.

    A quantity without draws, a probability say, stands as the median without bounds. Draws may be infinite (a loss
    never reached, say): a quantile that falls among them is.

    Returns
    -------
    pandas.DataFrame
        One row a quantity and target (or budget), indexed by the inputs and the quantity; columns median, the bounds
        under ArviZ's names (``eti90_lb``, ``eti90_ub``) and, where the dataset says it, ``decades_beyond``; where a
        quantity's attributes hold a ``reference``, ``p_below`` is the share of its draws below that.
        ``attrs`` hold ``ci_prob``, ``ci_kind`` and the `caveats`, which print below the table.
    """
    tail = (1 - ci_prob) / 2
    names = ["median", *interval_columns(ci_prob)]
    quantiles = quantiles_of_draws(dataset, [0.5, tail, 1 - tail]).to_dataarray("quantity")
    along = [d for d in quantiles.dims if d not in ("quantile", "quantity")]
    cells = quantiles.transpose(*along, "quantity", "quantile")
    table = pd.DataFrame(cells.values.reshape(-1, 3), columns=names)
    cell = cells.isel(quantile=0)
    keys = [
        str(c) for c, v in dataset.coords.items() if along and not {"chain", "draw"} & {*v.dims}
    ] + ["quantity"]
    for key in keys:
        table[key] = cell[key].broadcast_like(cell).transpose(*cell.dims).values.ravel()
    if any("reference" in values.attrs for values in dataset.data_vars.values()):
        below = dataset.map(_share_below).to_dataarray("quantity")
        table["p_below"] = below.transpose(*along, "quantity").values.ravel()
    table = Table(table.set_index([key for key in keys if key != "decades_beyond"]))
    table.attrs = {"ci_prob": ci_prob, "ci_kind": "eti", "caveats": caveats(dataset)}
    return table


def quantiles_of_draws(dataset: xr.Dataset, levels: list[float]) -> xr.Dataset:
    """Quantiles over chains and draws, which may be infinite: between a finite draw and an infinite one lies infinity.

    The usual interpolation makes NaN of two infinite neighbours, or of a finite one and no step towards infinity. What
    has no draws, a share of them say, is its own median, without bounds.
    """
    return dataset.map(_quantiles, levels=levels)


def _quantiles(draws: xr.DataArray, levels: list[float]) -> xr.DataArray:
    dims = ("chain", "draw")
    if "draw" not in draws.dims:
        middle = xr.DataArray([True] + [False] * (len(levels) - 1), dims="quantile")
        return draws.astype(float).expand_dims(quantile=levels).where(middle)
    if np.isfinite(draws.values).all():
        return draws.quantile(levels, dim=dims)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "All-NaN slice"
        )  # what does not exist, as N* of a law of C: NaN it is
        between = draws.quantile(levels, dim=dims)
        below, above = (
            draws.quantile(levels, dim=dims, method=method) for method in ("lower", "higher")
        )
    return between.where(np.isfinite(above) & (below != above), above).where(
        np.isfinite(below), below
    )


def _share_below(values: xr.DataArray) -> xr.DataArray:
    """Share of draws below the quantity's reference, NaN where it has none."""
    share = (
        (values < values.attrs.get("reference", np.nan))
        .where(values.notnull())
        .mean(("chain", "draw"))
    )
    return share if "reference" in values.attrs else share * np.nan
