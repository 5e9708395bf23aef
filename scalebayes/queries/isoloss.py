"""Contours of equal loss: the data that each size needs for a loss."""

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
from scalebayes.queries.inputs import BASIC, has_frontier, quantities, read_inputs
from scalebayes.queries.reach import along_input
from scalebayes.utils.progress import shows_progress


@shows_progress("tokens for equal loss")
def isoloss(
    fit: Fit | Average,
    *,
    N: Any,
    loss: Any = None,
    like: Mapping[str, Any] | None = None,
    of: Literal["curve", "law"] = "curve",
    seed: int = 0,
) -> xr.Dataset:
    """Return the posterior of the tokens D with which each size N has a loss, L(N, D) = L.

    Larger models need fewer tokens for a loss (Kaplan et al. 2020, section 4 and figure 2), down to
    a limit that no size goes below. Sizes below another limit never reach the loss. With `like` the
    contour passes through a run: each draw keeps its own loss of that run, so the uncertainty of
    the loss's level cancels. As in `reach`, with a discrepancy each draw keeps one level of it.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average of several.
    N
        Sizes: numbers, text such as "70B", or a sequence.
    loss
        In the metric of the runs: one, or one for each size.
    like
        Instead of a loss, a run: any two of N, D and C, as ``{"N": "70B", "D": "1.4T"}``.
    of
        ``"curve"``, or ``"law"``, which omits a discrepancy.
    seed
        Seed of the levels of the discrepancy.

    Returns
    -------
    xarray.Dataset
        With dims (chain, draw, target): ``D``, ``inf`` where the size never reaches the loss (or
        takes more than 1e40 tokens), and C = 6 N D; with `like` also ``data_ratio`` and
        ``compute_ratio``, D and C over those of that run. Coordinates along target: N; ``loss`` or
        the run's ``N_like`` and ``D_like``; ``reachable``, the share of draws that reach the loss;
        and ``decades_beyond``, of the median compute of those draws (0 where there are none).

    Raises
    ------
    QueryError
        When neither or both of loss and run are given, or inputs do not fit.

    References
    ----------
    Kaplan et al. (2020), Scaling laws for neural language models, arXiv:2001.08361.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> answer = sb.isoloss(fit, N=["40B", "140B"], like={"N": "70B", "D": "1.4T"})
    >>> answer["data_ratio"].median(["chain", "draw"]).values.round(2)
    array([2.04, 0.57])
    """
    if (loss is None) == (like is None):
        raise QueryError(
            "give either a loss or a run of equal loss, such as {'N': '70B', 'D': '1.4T'}"
        )
    if of not in ("curve", "law"):
        raise QueryError(f"of is 'curve' or 'law'; got {of!r}")
    out = _contour(fit, N=N, loss=loss, like=like, of=of, seed=seed)
    medians = np.zeros(out.sizes["target"])
    for i, compute in enumerate(out["C"].values.reshape(-1, len(medians)).T):
        reached = compute[np.isfinite(compute)]
        if len(reached):
            medians[i] = np.median(reached)
    largest = fit.runs.max_compute
    decades = np.log10(np.maximum(medians, largest) / largest)
    return out.assign_coords(
        reachable=("target", np.isfinite(out["D"].values).mean(axis=(0, 1))),
        decades_beyond=out["decades_beyond"].copy(data=decades),
    )


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
    if not has_frontier(fit):
        raise QueryError(
            f"'{fit.spec.name}' is not a law of N and D: it has no contour of equal loss"
        )
    curve = curve_of(fit, of, seed)
    sizes = quantities(N, "N")
    if not np.isfinite(sizes).all():
        raise QueryError("N must be finite")
    if like is None:
        losses = _read_losses(loss, len(sizes))
        D = along_input(curve, losses, "D", {"N": sizes})
        values = {"D": D, "C": SIX_ND.flop(sizes, D)}
        along = {"N": sizes, "loss": losses}
    else:
        run = _read_run(like, fit.spec.name)
        losses = np.exp(curve.log_loss_shared(run["N"], run["D"]))
        D = along_input(curve, losses, "D", {"N": sizes})
        C = SIX_ND.flop(sizes, D)
        compute_ratio = C / SIX_ND.flop(run["N"], run["D"])
        values = {"D": D, "C": C, "data_ratio": D / run["D"], "compute_ratio": compute_ratio}
        along = {"N": sizes}
        for x in ("N", "D"):
            along[f"{x}_like"] = np.broadcast_to(run[x], len(sizes))
    about = {name: {"units": UNITS[name]} for name in ("D", "C")}
    # A distance of zero: `isoloss` replaces it by that of the draws that reach the loss.
    reached = {"N": sizes, "C": np.full(len(sizes), fit.runs.max_compute)}
    return to_dataset(fit, values, "target", along, reached, about)


def _read_losses(loss: Any, sizes: int) -> np.ndarray:
    """Return one loss for each size, (sizes,)."""
    losses = quantities(loss, "loss")
    if len(losses) not in (1, sizes):
        raise QueryError(f"one loss, or one for each size; got {len(losses)} for {sizes}")
    if not np.isfinite(losses).all():
        raise QueryError("loss must be finite")
    return np.broadcast_to(losses, sizes)


def _read_run(like: Mapping[str, Any], name: str) -> dict[str, np.ndarray]:
    """Return the inputs of the run that the contour passes through, (1,) each."""
    unknown = sorted(set(like) - set(BASIC))
    if unknown:
        raise QueryError(f"a run is given by any two of N, D and C; got {', '.join(unknown)}")
    run = read_inputs({x: like.get(x) for x in BASIC}, ("N", "D"), name)
    if len(run["N"]) != 1 or not np.isfinite([run["N"], run["D"]]).all():
        raise QueryError("like takes one run of finite N and D")
    return run
