"""How far above its converged loss a compute-optimal run stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Cost
from scalebayes.posterior.average import over_average
from scalebayes.posterior.fit import Fit, law_parameters
from scalebayes.queries.frontier import frontier
from scalebayes.utils.progress import shows_progress


@shows_progress("loss above the converged one")
@over_average
def above_converged(
    fit: Fit, *, C: Any, cost: Cost | Callable[[Any, Any], Any] = SIX_ND, seed: int = 0
) -> xr.Dataset:
    r"""Return the posterior of L(N*, D*) / L(N*, inf) - 1: "stop about 10% above convergence".

    In the kappa family the optimum at C = 6 N D has alpha_N n^(1/kappa) = alpha_D d^(1/kappa), so

        (L(N*, D*) - L_inf) / (L(N*, inf) - L_inf) = (1 + alpha_N / alpha_D)^kappa

    at every budget. Without a floor that is the ratio of the losses themselves:
    (1 + alpha_N / alpha_D)^alpha_D - 1 = 5.9% with Kaplan's L(N, D), and 1 + alpha_N / alpha_S - 1
    = 10% with his L(N, S), an additive law of N and steps, from which the rule comes. With a floor
    it falls to zero as C grows, so no constant rule holds.

    Both losses are of the law alone: N* is that of `frontier`, which a discrepancy may move, but a
    discrepancy is not defined at infinite data.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average of several.
    C, cost, seed
        As in `frontier`.

    Returns
    -------
    xarray.Dataset
        With dims (chain, draw, budget): ``above_converged``, a share; ``loss_above_converged``, the
        same difference in the metric of the runs; ``N``, ``D``.

    Raises
    ------
    QueryError
        As `frontier`.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361, section 6.1 and appendix B.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> answer = sb.above_converged(fit, C=["1e20", "1e24"])
    >>> [f"{share:.0%}" for share in answer["above_converged"].median(["chain", "draw"])]
    ['17%', '4%']
    """
    law = fit.spec.law_object
    best = frontier(fit, C=C, cost=cost, seed=seed)
    N, D = best["N"].values, best["D"].values
    parameters = {name: values[..., None] for name, values in law_parameters(fit).items()}
    stopped = law(N, D, **parameters)
    converged = law(N, np.inf, **parameters)
    dims = ("chain", "draw", "budget")
    return best[["N", "D"]].assign(
        above_converged=(dims, stopped / converged - 1),
        loss_above_converged=(dims, stopped - converged, {"units": fit.runs.metric}),
    )
