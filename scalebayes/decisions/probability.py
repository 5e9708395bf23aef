"""Probability of a loss, at inputs or within a budget, and of one allocation beating another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.posterior.answer import Answer
from scalebayes.posterior.average import Average, over_average
from scalebayes.posterior.fit import Fit, noise_parameters_at
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import (
    BASIC,
    Budgets,
    quantities,
    read_inputs,
    read_question,
    refuse_scores,
)
from scalebayes.queries.predict import predict
from scalebayes.utils.progress import shows_progress

KINDS = {"new_run": "new_run", "curve": "loss", "law": "law"}
"""Readings of the loss -> variables in an answer of `predict`."""
GAINS = {"law": "gain_law", "loss": "gain", "new_run": "gain_new_run"}
"""Variables in an answer of `predict` -> the gains of `prefer`."""


@shows_progress("probability of a loss")
def probability(
    fit: Fit | Average,
    *,
    loss: Any,
    N: Any = None,
    D: Any = None,
    C: Any = None,
    of: Literal["new_run", "curve", "law"] = "new_run",
    seed: int = 0,
) -> xr.Dataset:
    """Return P(L <= loss | N, D), the probability of a loss, or that at the optimum of a budget C.

    With C alone, N and D are each draw's own optimum: then ``of="curve"`` is the probability of
    reaching the loss within the budget by the best split of it, the share of draws that `reach`
    finds at or below C. For the split that one would choose without knowing which draw is true,
    give the N and D of `decide`.

    Parameters
    ----------
    fit
        A fit, or an average of several.
    loss
        In the metric of the runs: as many as inputs, or one for all, or many for one.
    N, D, C
        As in `predict`, any two of them; or C alone.
    of
        ``"new_run"``, one further run with its noise; ``"curve"``, the law with its discrepancy
        where the spec carries one, without noise; ``"law"``, the law alone.
    seed
        Of the discrepancy and of new runs.

    Returns
    -------
    xarray.Dataset
        ``margin``, loss asked for minus the loss that comes about, with dims (chain, draw, target);
        along target the inputs, ``loss``, ``probability``, the share of draws with a margin of zero
        or more, and ``decades_beyond``.

    Raises
    ------
    QueryError
        As `predict` and `frontier`, or when losses and inputs differ in number.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> answer = sb.probability(fit, loss=1.96, C="1e24", of="curve")
    >>> f"{(answer['margin'] > 0).mean():.1f}"
    '0.8'
    """
    if of not in KINDS:
        raise QueryError(f"of is one of {', '.join(KINDS)}; got {of!r}")
    losses = quantities(loss, "loss")
    question = read_question(fit, N=N, D=D, C=C)
    if isinstance(question, Budgets):
        answer = _at_optimum(fit, C=question.C, seed=seed)
    else:
        answer = predict(fit, **question.given, seed=seed)
    targets = answer.sizes["target"]
    if targets == 1 < len(losses):
        answer = answer.isel(target=np.zeros(len(losses), int))
    elif len(losses) not in (1, targets):
        raise QueryError(
            f"one loss for all inputs or one for each; got {len(losses)} for {targets}"
        )
    values = answer.get(KINDS[of], answer["loss"])
    asked = xr.DataArray(np.broadcast_to(losses, values.sizes["target"]), dims="target")
    margin = (asked - values).transpose("chain", "draw", "target")
    margin.attrs = {"long_name": "loss asked for minus loss", "units": fit.runs.metric}
    share = (margin.values >= 0).mean(axis=(0, 1))
    return Answer({"margin": margin}, attrs=answer.attrs | {"of": of}).assign_coords(
        loss=asked, probability=("target", share)
    )


@over_average
def _at_optimum(fit: Fit, *, C: Any, seed: int) -> xr.Dataset:
    """Loss at each draw's optimum as `predict` has it: law, curve, new run."""
    best = frontier(fit, C=C, seed=seed).rename(budget="target")
    # Noise may depend on the size of a run, which is the optimum of its draw.
    sizes = {x: best[x].values.reshape(-1, best.sizes["target"]) for x in ("N", "D")}
    scatter = noise_parameters_at(fit, sizes)
    # The discrepancy beyond the runs uses the stream [seed, 1] (`frontier`).
    rng = np.random.default_rng([seed, 2])
    noise = fit.spec.noise_object.draw(rng, sizes["N"].shape, **scatter)
    noise = noise.reshape(best["loss"].shape)
    kept = [name for name in ("law", "loss") if name in best]
    return best[kept].assign(new_run=best["loss"] * np.exp(noise))


@shows_progress("comparing two runs")
def prefer(
    fit: Fit | Average, *, a: Mapping[str, Any], b: Mapping[str, Any], seed: int = 0
) -> xr.Dataset:
    """Probability that allocation a is better than b, and by how much: loss at b minus loss at a.

    Both are asked in one call, so that each draw takes the same parameters for both, and the
    discrepancy jointly: near each other a and b share most of the law's error, and it cancels.

    Parameters
    ----------
    fit
        A fit, or an average of several.
    a, b
        Inputs as `predict` takes them, ``{"N": "70B", "D": "1.4T"}``: any two of N, D and C;
        sequences of one length make several comparisons.
    seed
        Of the discrepancy and of new runs.

    Returns
    -------
    xarray.Dataset
        With dims (chain, draw, target), in the metric of the runs and positive where a is better:
        ``gain`` of the curve, ``gain_law`` of the law alone where the spec carries a discrepancy,
        and ``gain_new_run``, one run against another. Along target the inputs ``N_a``, ``D_a``,
        ``N_b``, ``D_b``, ``a_better`` and ``a_better_new_run``, the shares of draws with a gain,
        and ``decades_beyond`` of the further one.

    Raises
    ------
    QueryError
        As `predict`, or when a and b ask for different numbers of runs.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> a, b = {"N": "70B", "D": "1.4T"}, {"N": "280B", "D": "300B"}
    >>> sb.prefer(fit, a=a, b=b)["a_better"].values
    array([1.])
    """
    refuse_scores(fit)
    sides = {"a": _read_side(fit, a), "b": _read_side(fit, b)}
    n, other = (len(next(iter(side.values()))) for side in sides.values())
    if n != other:
        raise QueryError(f"a and b must have equally many runs; got {n} and {other}")
    inputs = [x for x in sides["a"] if x in sides["b"]]
    joined: dict[str, Any] = {}
    for x in inputs:
        joined[x] = np.concatenate([sides["a"][x], sides["b"][x]])
    both = predict(fit, **joined, seed=seed)
    of_a, of_b = both.isel(target=slice(None, n)), both.isel(target=slice(n, None))
    out = Answer(coords={name: both[name] for name in ("chain", "draw")}, attrs=both.attrs)
    for name, gain in GAINS.items():
        if name in both:
            difference = of_b[name].values - of_a[name].values
            out[gain] = (both[name].dims, difference, {"units": fit.runs.metric})
    coords: dict[str, Any] = {}
    for name, side in sides.items():
        for x in inputs:
            coords[f"{x}_{name}"] = ("target", side[x])
    coords["a_better"] = ("target", _share_positive(out["gain"]))
    coords["a_better_new_run"] = ("target", _share_positive(out["gain_new_run"]))
    decades = both["decades_beyond"]
    further = np.maximum(of_a["decades_beyond"].values, of_b["decades_beyond"].values)
    coords["decades_beyond"] = ("target", further, decades.attrs)
    return out.assign_coords(coords)


def _read_side(fit: Fit | Average, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the inputs of one allocation, (targets,) each."""
    unknown = sorted(set(given) - set(BASIC))
    if unknown:
        raise QueryError(f"a and b are given by any two of N, D and C; got {', '.join(unknown)}")
    one = fit if isinstance(fit, Fit) else next(iter(fit.fits.values()))
    inputs = {x: given.get(x) for x in BASIC}
    return read_inputs(inputs, one.spec.law_object.at_best.inputs, one.spec.name)


def _share_positive(gain: xr.DataArray) -> np.ndarray:
    """Return the share of draws with a gain, (targets,)."""
    return (gain.values > 0).mean(axis=(0, 1))
