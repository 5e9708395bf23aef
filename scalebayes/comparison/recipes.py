r"""Is one recipe better than another at a target scale: separate fits, side by side.

Each arm is a fit of its own table, so the posteriors of two arms are independent, and draws of one are paired with
draws of the other at random. Nothing is shared between arms: not a floor or an exponent, as a hierarchical model
would have it, not the luck of runs that both recipes made at the same N and D, and not a discrepancy of the law that
both might have. All of these would narrow the difference; none is modelled here. Groups of one pooled fit
(`scalebayes.group`) do share a population, and their draws are taken together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from scalebayes.data.subsets import rows_of
from scalebayes.errors import QueryError, RunsError
from scalebayes.fitting.fit import fit
from scalebayes.fitting.many.fit_many import fit_all
from scalebayes.posterior.average import Average, over_average
from scalebayes.posterior.fit import Fit
from scalebayes.posterior.provenance import combine, with_provenance
from scalebayes.queries.answers import to_dataset
from scalebayes.queries.frontier import frontier, loss_at_budget
from scalebayes.queries.inputs import quantities
from scalebayes.queries.predict import predict
from scalebayes.specs.spec import read_model

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs
    from scalebayes.fitting.many.workers import Workers
    from scalebayes.specs.spec import Spec

type Arm = Fit | Average

BELOW, ABOVE = 1e4, 1e6
"""How far below and above the budgets the baseline's frontier is searched for an equal loss."""
STEPS = 16
"""Points a decade of that search; between them log loss is taken as linear in log compute, good to 0.1% of C."""
MOST = 240
"""Points at most, so that a discrepancy is drawn jointly over all of them."""
ANCHORS = 25
"""Budgets at which the median N* of a fit with a discrepancy is found; between them its log is taken as linear."""


def fit_groups(
    runs: Runs,
    model: str | Path | Spec = "coupled-discrepancy",
    *,
    workers: Workers = 1,
    **options: Any,
) -> dict[str, Fit]:
    """Fit each group of a table on its own, by the column ``group``.

    Groups share no parameter: what one says of the floor or the exponents helps no other, as it would in a
    hierarchical model. With few runs a group the intervals are wide for that reason.

    Parameters
    ----------
    runs
        A table with a column ``group``.
    model, **options
        Passed on to `scalebayes.fit`.
    workers
        As for `scalebayes.fit_many`: how many groups are fitted side by side, and where.

    Returns
    -------
    dict
        Fits by group, in order of first appearance.

    Raises
    ------
    RunsError
        When there is no such column, or groups have too few runs for the law, naming them all.
    FitError
        With several workers: when a fit fails, naming its group.
    """
    if "group" not in runs.table:
        raise RunsError(
            f"{runs.name} has no group: its columns are {', '.join(runs.table.columns)}"
        )
    spec = read_model(model)
    parts = {
        str(name): rows_of(runs, rows, f"{runs.name}, {name}")
        for name, rows in _groups(runs).items()
    }
    needed = len(spec.law_object.parameters) + 1
    if few := [f"{name}: {len(part)}" for name, part in parts.items() if len(part) < needed]:
        raise RunsError(
            f"'{spec.name}' needs at least {needed} runs a group; {runs.name} has {', '.join(few)}"
        )
    if workers == 1:
        return {name: fit(part, spec, **options) for name, part in parts.items()}
    return fit_all({name: (part, spec) for name, part in parts.items()}, workers=workers, **options)


def _groups(runs: Runs) -> dict[str, np.ndarray]:
    groups = runs.table["group"]
    return {name: (groups == name).to_numpy() for name in groups.unique()}


def contrast(
    fits: Mapping[str, Arm],
    *,
    baseline: str | None = None,
    N: Any = None,
    D: Any = None,
    C: Any = None,
    seed: int = 0,
) -> xr.Dataset:
    r"""Posterior of each recipe's loss at a scale, its difference from a baseline, and the probability of being best.

    difference = L_arm - L_baseline, with the draws of the arms paired at random: separate fits are independent.

    Parameters
    ----------
    fits
        Fits (or averages) of different tables by label, of the same or of different models.
    baseline
        A label; by default the first.
    N, D, C
        As for `predict`: any two are a run of that size. C alone compares the arms each at its own compute-optimal
        N and D (`frontier`).
    seed
        Of the pairing, and of discrepancies beyond the tables.

    Returns
    -------
    xarray.Dataset
        ``loss``, of the curve (the law with its discrepancy, without a run's noise), and ``difference``, with dims
        (chain, draw, target, arm); where an arm has a discrepancy also ``law`` and ``law_difference``, of the law
        alone. ``p_best``, with dims (target, arm), is the share of draws in which the arm's curve is the lowest.
        ``decades_beyond`` counts from each arm's own largest run. The pairing leaves one chain.

    Raises
    ------
    QueryError
        When there are fewer than two arms, two of them were fitted to the same runs, the baseline is none of them,
        or `predict` or `frontier` refuses.
    """
    base = _baseline(fits, baseline)
    answers = {name: _losses(arm, seed, N=N, D=D, C=C) for name, arm in fits.items()}
    out = _paired(answers, seed, _origins(fits))
    for name, difference in {"loss": "difference", "law": "law_difference"}.items():
        if name in out:
            out[difference] = out[name] - out[name].sel(arm=base, drop=True)
    first = out["loss"].argmin("arm")
    out["p_best"] = (first == xr.DataArray(np.arange(len(fits)), dims="arm")).mean(
        ("chain", "draw")
    )
    return _about(out, fits, base).transpose("chain", "draw", "target", "arm")


def multiplier(
    fits: Mapping[str, Arm], *, baseline: str | None = None, C: Any, seed: int = 0
) -> xr.Dataset:
    r"""Posterior of the compute multiplier, m(C) = C' / C with L_baseline*(C') = L_arm*(C).

    L* is the loss along an arm's own compute-optimal frontier at 6 N D, so m is the compute that the baseline needs
    for the loss that the arm reaches at C, in units of C: above 1 the arm saves compute. Draws of the arms are paired
    at random. Where the spec has a discrepancy it is the curve's loss at the posterior median of N*, the discrepancy
    drawn jointly along it; where it makes the loss rise and fall, C' is the least compute that reaches the loss.

    Parameters
    ----------
    fits, baseline, seed
        As for `contrast`.
    C
        Budgets in FLOP.

    Returns
    -------
    xarray.Dataset
        ``multiplier`` with dims (chain, draw, budget, arm), the arms without the baseline; infinite where the baseline
        does not reach the loss with a million times the largest C, 0 where it has passed it at a ten-thousandth of the
        least. ``p_saves`` and ``p_never`` (budget, arm) are the shares of draws above 1 and infinite.
        ``decades_beyond`` is the larger of the arm's distance at C from its own largest run, and of the baseline's at
        the median C' from its.

    Raises
    ------
    QueryError
        As `contrast`; and where a law has no optimum.
    """
    base = _baseline(fits, baseline)
    budgets = quantities(C, "C")
    if np.isinf(budgets).any():
        raise QueryError("C must be finite: the multiplier at a limit is none")
    path = _search_path(budgets)
    answers = {name: _along(arm, path, seed) for name, arm in fits.items()}
    losses = _paired(answers, seed, _origins(fits))["loss"]
    curves = {name: np.log(losses.sel(arm=name).values.reshape(-1, len(path))) for name in fits}
    places = np.searchsorted(path, budgets * (1 - 1e-12))
    arms = [name for name in fits if name != base]
    values, beyond = [], []
    for name in arms:
        m = _compute_to_reach(curves[base], curves[name][:, places], np.log(path)) / budgets
        values.append(m)
        median = np.quantile(m, 0.5, axis=0, method="lower") * budgets
        far = np.maximum(0.0, np.log10(np.maximum(median, 1.0) / _largest(fits[base])))
        beyond.append(np.maximum(answers[name]["decades_beyond"].values[places], far))
    m = np.stack(values, axis=2)[None]  # one chain, (chain, draw, budget, arm)
    out = xr.Dataset(
        {
            "multiplier": (
                ("chain", "draw", "budget", "arm"),
                m,
                {"long_name": "compute the baseline needs, over C"},
            ),
            "p_saves": (("budget", "arm"), (m > 1).mean((0, 1))),
            "p_never": (("budget", "arm"), np.isinf(m).mean((0, 1))),
        },
        {"chain": [0], "draw": np.arange(m.shape[1]), "arm": arms, "C": ("budget", budgets)},
    )
    decades = (("budget", "arm"), np.stack(beyond, axis=1), {"of": "C"})
    out = with_provenance(out.assign_coords(decades_beyond=decades), combine(answers))
    return _about(out, fits, base)


def _about(answer: xr.Dataset, fits: Mapping[str, Arm], baseline: str) -> xr.Dataset:
    """The answer with its baseline, notes on shared runs, and whether the arms share draws."""
    notes = "; ".join(_shared_rows(fits))
    return answer.assign_attrs(baseline=baseline, notes=notes, joint=_joint(fits))


def _baseline(fits: Mapping[str, Arm], baseline: str | None) -> str:
    """Check the arms, and name the baseline."""
    if not isinstance(fits, Mapping) or len(fits) < 2:
        raise QueryError("a contrast needs two fits or more by label, {'A': fit, 'B': fit}")
    seen: dict[str, str] = {}
    for name, arm in fits.items():
        if (other := seen.setdefault(arm.runs.hash, name)) != name:
            raise QueryError(
                f"'{other}' and '{name}' were fitted to the same runs: two models of one recipe are no two recipes, "
                "and their posteriors are not independent"
            )
    if baseline is not None and baseline not in fits:
        raise QueryError(f"no fit is called '{baseline}'; there are {', '.join(fits)}")
    return next(iter(fits)) if baseline is None else baseline


def _shared_rows(fits: Mapping[str, Arm]) -> list[str]:
    """Say which arms share runs, whose posteriors are then not independent."""
    rows = {
        name: {*arm.runs.table[_columns(arm)].itertuples(index=False, name=None)}
        for name, arm in fits.items()
    }
    names = list(rows)
    pairs = [(a, b, len(rows[a] & rows[b])) for i, a in enumerate(names) for b in names[i + 1 :]]
    return [
        f"{a} and {b} have {n} runs in common, but are taken as independent"
        for a, b, n in pairs
        if n
    ]


def _columns(arm: Arm) -> list[str]:
    return [x for x in ("N", "D", "C", "loss") if x in arm.runs.table]


def _largest(arm: Arm) -> float:
    """The largest compute of an arm's runs, NaN where it is not known."""
    return arm.runs.max_compute


def _losses(arm: Arm, seed: int, **given: Any) -> xr.Dataset:
    """Loss of an arm at the targets: at its own optimum where C alone is given."""
    if given["C"] is not None and given["N"] is None and given["D"] is None:
        return loss_at_budget(arm, C=given["C"], seed=seed).rename(budget="target")
    answer = predict(arm, **given, new_run=False, seed=seed)
    return answer[[name for name in ("loss", "law") if name in answer]]


def _origins(fits: Mapping[str, Arm]) -> dict[str, str]:
    """Where each arm's draws come from: groups of one pooled fit come from that fit, any other arm from itself."""
    return {
        name: f"pooled {arm.tree.attrs['pooled']}"
        if isinstance(arm, Fit) and arm.view is not None
        else f"arm {name}"
        for name, arm in fits.items()
    }


def _joint(fits: Mapping[str, Arm]) -> int:
    """Whether all arms are groups of one pooled fit, as a number that a file can hold."""
    return int(len(set(_origins(fits).values())) == 1)


def _paired(answers: Mapping[str, xr.Dataset], seed: int, origins: Mapping[str, str]) -> xr.Dataset:
    """Put the arms side by side, draws of one origin together, others paired at random.

    An arm without a discrepancy has its law for a curve.
    """
    rng = np.random.default_rng([seed, 3])
    apart = any("law" in answer for answer in answers.values())
    size = min(answer.sizes["chain"] * answer.sizes["draw"] for answer in answers.values())
    parts = []
    orders: dict[str, np.ndarray] = {}
    for name, answer in answers.items():
        whole = answer.assign(law=answer.get("law", answer["loss"])) if apart else answer
        if origins[name] not in orders:
            orders[origins[name]] = rng.permutation(answer.sizes["chain"] * answer.sizes["draw"])
        rows = orders[origins[name]][:size]
        flat = whole.stack(sample=("chain", "draw"), create_index=False).isel(sample=rows)
        kept = {"chain", "draw", "model", "decades_beyond"} & {*flat.coords}
        parts.append(flat.drop_vars(kept).rename(sample="draw"))
    arms = xr.DataArray(list(answers), dims="arm", name="arm")
    out = xr.concat(
        parts,
        arms,
        coords="minimal",
        compat="override",
        combine_attrs="drop_conflicts",
        join="exact",
    )
    beyond = np.stack([answer["decades_beyond"].values for answer in answers.values()])
    of = next(iter(answers.values()))["decades_beyond"].attrs["of"]
    out = out.assign_coords(
        draw=np.arange(size), decades_beyond=(("arm", "target"), beyond, {"of": of})
    )
    out = with_provenance(out, combine(answers))
    return out.expand_dims(chain=[0]).transpose("chain", "draw", "arm", "target")


@over_average
def _along(fit: Fit, path: np.ndarray, seed: int) -> xr.Dataset:
    """Loss of the curve along a fit's own frontier, (chain, draw, target), a discrepancy drawn jointly over it."""
    law = fit.spec.law_object
    if law.inputs == ("C",):
        return predict(fit, C=path, new_run=False, seed=seed)[["loss"]]
    if law.inputs != ("N", "D"):
        raise QueryError(
            f"'{fit.spec.name}' is a law of {' and '.join(law.inputs)} alone: it has no frontier"
        )
    if fit.spec.discrepancy is None:
        best = frontier(fit, C=path)
        values = {"loss": best["loss"].values}
        N = best["N"].median(("chain", "draw")).values
    else:
        anchors = np.geomspace(path[0], path[-1], ANCHORS)
        medians = frontier(fit, C=anchors)["N"].median(("chain", "draw")).values
        N = np.exp(np.interp(np.log(path), np.log(anchors), np.log(medians)))
        answer = predict(fit, N=N, C=path, new_run=False, seed=seed)
        values = {name: answer[name].values for name in ("loss", "law")}
    return to_dataset(fit, values, "target", {"C": path}, {"N": N, "C": path})


def _search_path(budgets: np.ndarray) -> np.ndarray:
    """Budgets, and points between and around them, in rising order."""
    low, high = np.log10(budgets.min() / BELOW), np.log10(budgets.max() * ABOVE)
    points = min(round((high - low) * STEPS), MOST - len(budgets))
    return np.unique([*np.logspace(low, high, points), *budgets])


def _compute_to_reach(log_loss: np.ndarray, wanted: np.ndarray, log_C: np.ndarray) -> np.ndarray:
    """Least compute at which curves (S, points) have come down to losses (S, targets), in logs -> C (S, targets)."""
    below = log_loss[:, :, None] <= wanted[:, None, :]
    first = below.argmax(axis=1)
    after = np.maximum(first, 1)
    high, low = (np.take_along_axis(log_loss, place, axis=1) for place in (after - 1, after))
    share = np.divide(high - wanted, high - low, out=np.ones_like(high), where=high > low)
    found = np.exp(log_C[after - 1] + share.clip(0.0, 1.0) * (log_C[after] - log_C[after - 1]))
    return np.where(below.any(axis=1), np.where(first == 0, 0.0, found), np.inf)
