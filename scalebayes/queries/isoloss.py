"""Lines of equal loss: how much data a size needs for it, and how much less a larger model does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND
from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average, over_average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.answers import UNITS, to_dataset
from scalebayes.queries.curves import curve_of
from scalebayes.queries.inputs import quantities, read_inputs
from scalebayes.queries.reach import along_input


def isoloss(
    fit: Fit | Average,
    *,
    N: Any,
    loss: Any = None,
    like: Mapping[str, Any] | None = None,
    of: Literal["curve", "law"] = "curve",
    seed: int = 0,
) -> xr.Dataset:
    """Posterior of the tokens with which each size is at a loss: the contour L(N, D) = L, or that through a run.

    Larger models need fewer tokens for a loss (Kaplan et al. 2020, section 4 and figure 2), down to a limit that no
    size goes below, and sizes below a limit never reach it. Along the contour through a run, each draw keeps its own
    loss of that run, so that what the draws know of the loss's level cancels. As in `reach`, with a discrepancy each
    draw keeps one level of it all along.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average of several.
    N
        Sizes: numbers, text such as "70B", or a sequence.
    loss
        Nats per token: one, or one for each size.
    like
        Instead of a loss, a run: any two of N, D and C, as ``{"N": "70B", "D": "1.4T"}``.
    of
        ``"curve"``, or ``"law"``, which leaves a discrepancy out.
    seed
        Of the levels of the discrepancy.

    Returns
    -------
    xarray.Dataset
        With dims (chain, draw, target): ``D``, ``inf`` where the size never reaches the loss (or takes more than 1e40
        tokens), and C = 6 N D; with `like` also ``data_ratio`` and ``compute_ratio``, over those of that run. Along
        target: N, ``loss`` or the run's ``N_like`` and ``D_like``, ``reachable``, the share of draws that reach it,
        and ``decades_beyond``, of the median compute of those (0 where none do).

    Raises
    ------
    QueryError
        When neither or both of loss and run are given, or inputs do not fit.

    References
    ----------
    Kaplan et al. (2020), Scaling laws for neural language models, arXiv:2001.08361.
    """
    if (loss is None) == (like is None):
        raise QueryError("give either a loss or a run to be like, {'N': '70B', 'D': '1.4T'}")
    if of not in ("curve", "law"):
        raise QueryError(f"of is 'curve' or 'law'; got {of!r}")
    found = _contour(fit, N=N, loss=loss, like=like, of=of, seed=seed)
    tokens, compute = found["D"].values, found["C"].values
    reached = np.isfinite(compute)
    middle = [
        np.median(c[ok]) if ok.any() else 0.0
        for c, ok in zip(_by_target(compute), _by_target(reached), strict=True)
    ]
    decades = np.log10(np.maximum(middle, fit.runs.max_compute) / fit.runs.max_compute)
    shares = {"reachable": ("target", np.isfinite(tokens).mean(axis=(0, 1)))}
    return found.assign_coords(
        shares | {"decades_beyond": found["decades_beyond"].copy(data=decades)}
    )


def _by_target(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, values.shape[-1]).T


@over_average
def _contour(
    fit: Fit,
    *,
    N: Any,
    loss: Any,
    like: Mapping[str, Any] | None,
    of: Literal["curve", "law"],
    seed: int,
) -> xr.Dataset:
    if fit.spec.law_object.inputs != ("N", "D"):
        raise QueryError(
            f"'{fit.spec.name}' is not a law of N and D: no contour of it has an N and a D"
        )
    curve = curve_of(fit, of, seed)
    sizes = quantities(N, "N")
    if not np.isfinite(sizes).all():
        raise QueryError("N must be finite")
    if like is None:
        asked = quantities(loss, "loss")
        if len(asked) not in (1, len(sizes)) or not np.isfinite(asked).all():
            raise QueryError(f"one loss, or one for each size; got {len(asked)} for {len(sizes)}")
        losses: np.ndarray = np.broadcast_to(asked, len(sizes))
        run, along = None, {"loss": losses}
    else:
        run = _run(like, fit.spec.name)
        losses = np.exp(curve.log_loss_shared(run["N"], run["D"]))
        along = {f"{x}_like": np.broadcast_to(run[x], len(sizes)) for x in ("N", "D")}
    D = along_input(curve, losses, "D", {"N": sizes})
    values = {"D": D, "C": SIX_ND.flop(sizes, D)}
    if run is not None:
        values |= {
            "data_ratio": D / run["D"],
            "compute_ratio": values["C"] / SIX_ND.flop(run["N"], run["D"]),
        }
    about = {name: {"units": UNITS[name]} for name in ("D", "C")}
    # The distance is that of the draws that reach the loss: `isoloss` puts it in.
    reached = {"N": sizes, "C": np.full(len(sizes), fit.runs.max_compute)}
    return to_dataset(fit, values, "target", {"N": sizes} | along, reached, about)


def _run(like: Mapping[str, Any], name: str) -> dict[str, np.ndarray]:
    if unknown := sorted(set(like) - {"N", "D", "C"}):
        raise QueryError(f"a run is given by any two of N, D and C; got {', '.join(unknown)}")
    run = read_inputs({x: like.get(x) for x in ("N", "D", "C")}, ("N", "D"), name)
    if len(run["N"]) != 1 or not np.isfinite([run["N"], run["D"]]).all():
        raise QueryError("one run of finite N and D to be like")
    return run
