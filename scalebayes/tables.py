"""Draws to tables a person reads: medians, intervals, and the published values beside them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes import notebook
from scalebayes.caution import caveats
from scalebayes.datasets import allocations
from scalebayes.diagnostics import by_scalar
from scalebayes.errors import QueryError
from scalebayes.laws import INPUTS
from scalebayes.layout import WIDTH, align, wrap
from scalebayes.pooling import variable_names
from scalebayes.posterior import Fit, draws, law_parameters
from scalebayes.spec import read_model

CI_PROB = 0.9
"""Our default: 90% equal-tailed."""


class Table(pd.DataFrame):
    """A DataFrame that prints whole, under the probability and kind of its intervals."""

    @property
    def _constructor(self) -> type[Table]:
        return Table

    def __repr__(self) -> str:
        """Print every column, to four significant digits, large numbers as 70B."""
        kind, texts, notes = self._shown()
        return "\n".join([*filter(None, [kind]), self._laid_out(texts), *map(wrap, notes)])

    def _repr_html_(self) -> str:
        kind, texts, notes = self._shown()
        return notebook.panel(kind, notebook.table(texts, index=False, most=60), notebook.entries(notes))

    def _shown(self) -> tuple[str, pd.DataFrame, Sequence[object]]:
        """The kind of the intervals, every cell as text, and the caveats."""
        kind = f"{100 * self.attrs['ci_prob']:g}% equal-tailed intervals" if "ci_prob" in self.attrs else ""
        keys = self.index.to_frame(index=False)
        texts = pd.concat([keys, self.reset_index(drop=True)], axis=1).map(notebook.written)
        return kind, texts, self.attrs.get("caveats", ())

    def _laid_out(self, texts: pd.DataFrame) -> str:
        """Columns in lines no longer than `WIDTH`: what is too wide goes on below, behind what says which row it is."""
        table = texts.to_string(index=False)
        if not len(texts) or table.index("\n") <= WIDTH:
            return table
        keys = self.index.to_frame(index=False)
        front = [x for x in keys if x in INPUTS or not pd.api.types.is_numeric_dtype(keys[x])]
        order = [*front, *self.columns, *keys.columns.drop(front)]
        rows = [dict(zip(map(str, order), row, strict=True)) for row in texts[order].itertuples(index=False)]
        return align(rows, len(front))


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
    keys = [str(c) for c, v in dataset.coords.items() if along and not {"chain", "draw"} & {*v.dims}] + ["quantity"]
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
        warnings.filterwarnings("ignore", "All-NaN slice")  # what does not exist, as N* of a law of C: NaN it is
        between = draws.quantile(levels, dim=dims)
        below, above = (draws.quantile(levels, dim=dims, method=method) for method in ("lower", "higher"))
    return between.where(np.isfinite(above) & (below != above), above).where(np.isfinite(below), below)


def _share_below(values: xr.DataArray) -> xr.DataArray:
    """Share of draws below the quantity's reference, NaN where it has none."""
    share = (values < values.attrs.get("reference", np.nan)).where(values.notnull()).mean(("chain", "draw"))
    return share if "reference" in values.attrs else share * np.nan


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
    with np.errstate(invalid="ignore"):  # a derived quantity may be the same in every draw: its R-hat is no number
        table = azs.summary(dataset, ci_prob=ci_prob, ci_kind="eti", round_to="none")
    # ArviZ cuts the percentage to whole ones: at 0.975, and by rounding at 0.57, its names are not ours
    table = table.rename(columns=lambda c: lower if c.endswith("_lb") else upper if c.endswith("_ub") else c)
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
    besiroglu = next(entry for entry in read_model("chinchilla").published if entry.source == "besiroglu2024")
    law = read_model("chinchilla").law_object
    a_opt = law.derive(law.from_notation(besiroglu.values))["a_opt"]
    rows.append(("Besiroglu, the Chinchilla runs", a_opt, np.nan, np.nan, "", "total"))
    return Table(pd.DataFrame(rows, columns=["source", "a", "low", "high", "interval", "counts"]).set_index("source"))


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
    return by_scalar(posterior.assign(derived)[[*law.parameter_names, *derived, *names[len(law.parameters) :]]])


def published_values(fit: Fit) -> dict[str, dict[str, float]]:
    """Published values of the law by label, in our notation and with the derived quantities."""
    law = fit.spec.law_object
    out = {}
    for entry in fit.spec.published:
        values = law.from_notation(entry.values)
        out[entry.label] = values | law.derive(values)
    return out
