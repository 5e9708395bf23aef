"""The quantities that priors are stated on, in the units in which they are stated.

Those are the units of the normalised table (`scalebayes.specs.table_units`).
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from scalebayes.laws.rescaling import Units
from scalebayes.posterior.fit import Fit
from scalebayes.specs.spec import Spec
from scalebayes.specs.table_units import normalised_spec, table_units, to_normalised


def fitted_units(fit: Fit) -> Units:
    """Return the units of the table that a fit was made from.

    A view of a group has fewer runs than that table, so fits keep its units in their metadata.
    Fits that were saved before they did have priors that are relative to no table, for which any
    units do.
    """
    kept = fit.metadata.get("units")
    if kept is None:
        return table_units(fit.runs, fit.spec)
    return Units(**kept)


def normalised_draws(fit: Fit, group: str = "posterior") -> xr.Dataset:
    """Return the draws of a part of a fit's tree, in normalised units."""
    return to_normalised(fit.stored[group].to_dataset(), fit.spec, fitted_units(fit))


def stated_spec(fit: Fit) -> Spec:
    """Return the spec of a fit with every prior a number, in normalised units."""
    return normalised_spec(fit.spec, fitted_units(fit))


def normalised_tree(fit: Fit) -> xr.DataTree:
    """Return the tree of a fit with its posterior in normalised units."""
    tree = fit.stored.copy()
    tree["posterior"] = xr.DataTree(normalised_draws(fit))
    return tree


def log_stated(values: xr.Dataset, name: str, spec: Spec) -> xr.DataArray:
    """Return the log of the quantity that a prior is stated on, NaN where it is not finite.

    The quantity is the parameter above the shift of its prior. For a scale x_c, whose prior is
    stated at a reference x0, it is the size (x_c / x0)^alpha of its term there. Where the prior is
    over another parameter, it is the ratio to the quantity of that one.

    Parameters
    ----------
    values
        Draws or values of the parameters, in the units in which the spec is stated.
    name
        A parameter of the law, the noise or the discrepancy.
    spec
        The spec with its prior, none of which is relative to a table (`stated_spec`).
    """
    log = _log_quantity(values, name, spec)
    over = spec.priors[name].over
    if over is not None:
        log = log - _log_quantity(values, over, spec)
    return log.where(np.isfinite(log))


def _log_quantity(values: xr.Dataset, name: str, spec: Spec) -> xr.DataArray:
    """Return the log of a parameter above the shift of its prior, or of the size of its term."""
    prior = spec.priors[name]
    exponents = {p.name: p.exponent for p in spec.law_object.parameters}
    # A value at a law's reference may be negative where that is far from the runs.
    with np.errstate(invalid="ignore", divide="ignore"):
        log = xr.ufuncs.log(values[name] - prior.shift)
    if prior.log_at is not None:
        log = log - prior.log_at
        exponent = exponents[name]
        if exponent:
            log = values[exponent] * log
    return log
