"""The quantities that priors are stated on, from values of the parameters."""

from __future__ import annotations

import numpy as np
import xarray as xr

from scalebayes.specs.spec import Spec


def log_stated(values: xr.Dataset, name: str, spec: Spec) -> xr.DataArray:
    """Return the log of the quantity that a prior is stated on, NaN where it is not finite.

    The quantity is the parameter above the shift of its prior. For a scale x_c, whose prior is
    stated at a reference x0, it is the size (x_c / x0)^alpha of its term there.

    Parameters
    ----------
    values
        Draws or values of the parameters.
    name
        A parameter of the law, the noise or the discrepancy.
    spec
        The spec with its prior.
    """
    prior = spec.priors[name]
    exponents = {p.name: p.exponent for p in spec.law_object.parameters}
    if prior.at is None:
        log = xr.ufuncs.log(values[name] - prior.shift)
    else:
        log = xr.ufuncs.log(values[name]) - float(np.log(prior.at))
        exponent = exponents[name]
        if exponent:
            log = values[exponent] * log
    return log.where(np.isfinite(log))
