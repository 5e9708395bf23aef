r"""Recipes side by side, and whether one is better than another at a target scale.

Each arm is a fit of its own table. The posteriors of two arms are therefore independent, and draws
of one are paired with draws of the other at random. The arms share nothing: neither a floor or an
exponent, as in a hierarchical model, nor the luck of runs that both recipes made at the same N and
D, nor a common discrepancy of the law. Each of these would narrow the difference; none is modelled
here. Groups of one pooled fit (`scalebayes.group`) do share a population, and their draws are
paired draw by draw.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from scalebayes.data.metrics import one_metric
from scalebayes.data.subsets import rows_of
from scalebayes.errors import QueryError, RunsError
from scalebayes.fitting.fit import fit
from scalebayes.fitting.many.fit_many import fit_all
from scalebayes.posterior.average import Average, over_average
from scalebayes.posterior.fit import Fit
from scalebayes.posterior.provenance import combine, with_provenance
from scalebayes.queries.answers import LONG_NAMES
from scalebayes.queries.frontier import frontier, loss_at_budget
from scalebayes.queries.inputs import has_frontier, is_budget, quantities
from scalebayes.queries.predict import predict
from scalebayes.specs.defaults import DEFAULT, choose_model
from scalebayes.summaries.monte_carlo import share_error
from scalebayes.utils.progress import shows_progress

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs
    from scalebayes.fitting.many.workers import Workers
    from scalebayes.specs.spec import Spec

type Arm = Fit | Average

BELOW = 1e4
"""How far below the least budget the baseline's frontier is searched for an equal loss."""
ABOVE = 1e6
"""How far above the largest budget it is searched."""
STEPS = 16
"""Points a decade of that search: log loss is linear in log compute between them, to 0.1% of C."""
MOST = 240
"""Most points of that search, because a discrepancy is drawn jointly over all of them."""
ANCHORS = 25
"""Budgets at which the median N* of a fit with a discrepancy is found; log N* is linear between."""


def fit_groups(
    runs: Runs,
    model: str | Path | Spec = DEFAULT,
    *,
    workers: Workers = 1,
    **options: Any,
) -> dict[str, Fit]:
    """Separate fits of the groups of a table, by its column ``group``.

    The groups share no parameters, so one group's runs say nothing about another's floor or
    exponents. With few runs in a group the intervals are wide for that reason; a pooled model
    shares them.

    Parameters
    ----------
    runs
        A table with a column ``group``.
    model, **options
        Passed on to `scalebayes.fit`.
    workers
        As for `scalebayes.fit_many`: how many groups are fitted at a time, and where.

    Returns
    -------
    dict
        Fits by group, in order of first appearance.

    Raises
    ------
    RunsError
        When the table has no such column, or groups have too few runs for the law; all are named.
    FitError
        With several workers: when a fit fails, naming its group.

    Examples
    --------
    >>> fits = sb.fit_groups(sb.load_runs("pile2023"), "chinchilla", seed=0)
    >>> {name: len(fit.runs) for name, fit in fits.items()}
    {'cerebras-gpt': 7, 'pythia': 8}
    """
    if "group" not in runs.table:
        raise RunsError(
            f"{runs.name} has no group: its columns are {', '.join(runs.table.columns)}"
        )
    spec = choose_model(runs, model)
    parts = {}
    for name in runs.table["group"].unique():
        rows = (runs.table["group"] == name).to_numpy()
        parts[str(name)] = rows_of(runs, rows, f"{runs.name}, {name}")

    needed = len(spec.law_object.parameters) + 1
    few = [f"{name}: {len(part)}" for name, part in parts.items() if len(part) < needed]
    if few:
        raise RunsError(
            f"'{spec.name}' needs at least {needed} runs a group; {runs.name} has {', '.join(few)}"
        )
    if workers == 1:
        return {name: fit(part, spec, **options) for name, part in parts.items()}
    return fit_all({name: (part, spec) for name, part in parts.items()}, workers=workers, **options)


@shows_progress("comparing recipes")
def contrast(
    fits: Mapping[str, Arm],
    *,
    baseline: str | None = None,
    N: Any = None,
    D: Any = None,
    C: Any = None,
    seed: int = 0,
) -> xr.Dataset:
    r"""Posterior of each recipe's loss at a scale, and of its difference from a baseline.

    difference = L_arm - L_baseline, with the draws of the arms paired at random, because separate
    fits are independent.

    Parameters
    ----------
    fits
        Fits (or averages) of different tables by label, of the same or of different models.
    baseline
        A label; by default the first.
    N, D, C
        As for `predict`: any two of them are a run of that size. C alone compares the arms, each at
        its own compute-optimal N and D (`frontier`).
    seed
        Of the pairing, and of discrepancies beyond the tables.

    Returns
    -------
    xarray.Dataset
        ``loss``, of the curve (the law with its discrepancy, without a run's noise), and
        ``difference``, in the metric of the runs, with dims (chain, draw, target, arm). Where an
        arm has a discrepancy also ``law`` and ``law_difference``, of the law alone. ``p_best``,
        with dims (target, arm), is the share of draws in which the arm's curve is the lowest.
        ``decades_beyond`` counts from each arm's own largest run. The pairing leaves one chain.

    Raises
    ------
    QueryError
        When there are fewer than two arms, two of them were fitted to the same runs, the metrics of
        the runs differ, the baseline is not among them, or `predict` or `frontier` raise it.

    Examples
    --------
    >>> pooled = sb.load("pooled.nc")
    >>> recipes = {name: sb.group(pooled, name) for name in ("cerebras-gpt", "pythia")}
    >>> answer = sb.contrast(recipes, N="7B", D="300B")
    >>> answer["p_best"].sel(arm="pythia").values.round(2)
    array([0.49])
    """
    base = _baseline(fits, baseline)
    answers = {name: _losses(arm, seed, N=N, D=D, C=C) for name, arm in fits.items()}
    out = _paired(answers, seed, _origins(fits))
    for name, difference in {"loss": "difference", "law": "law_difference"}.items():
        if name in out:
            out[difference] = out[name] - out[name].sel(arm=base, drop=True)
            words = out[name].attrs["long_name"]
            out[difference].attrs = {
                "long_name": f"{words}, minus that of {base}",
                "units": fits[base].runs.metric,
            }
    best = out["loss"].argmin("arm")
    is_best = best == xr.DataArray(np.arange(len(fits)), dims="arm")
    out["p_best"] = _share(is_best, "probability of the least loss")
    return _about(out, fits, base).transpose("chain", "draw", "target", "arm")


@shows_progress("compute multiplier")
def multiplier(
    fits: Mapping[str, Arm], *, baseline: str | None = None, C: Any, seed: int = 0
) -> xr.Dataset:
    r"""Posterior of the compute multiplier, m(C) = C' / C with L_baseline*(C') = L_arm*(C).

    L* is the loss along an arm's own compute-optimal frontier at 6 N D. The multiplier is the
    compute that the baseline needs for the loss that the arm reaches at C, in units of C: above 1
    the arm saves compute. Draws of the arms are paired at random. With a discrepancy, L* is the
    curve's loss at the posterior median of N*, the discrepancy drawn jointly along the frontier;
    where it makes the loss rise and fall, C' is the least compute that reaches the loss.

    Parameters
    ----------
    fits, baseline, seed
        As for `contrast`.
    C
        Budgets in FLOP.

    Returns
    -------
    xarray.Dataset
        ``multiplier`` with dims (chain, draw, budget, arm), for the arms other than the baseline;
        infinite where the baseline does not reach the loss with a million times the largest C, 0
        where it has passed it at a ten-thousandth of the least. ``p_saves`` and ``p_never``
        (budget, arm) are the shares of draws above 1 and infinite. ``decades_beyond`` is the larger
        of two distances: of C from the arm's largest run, and of the median C' from the baseline's.

    Raises
    ------
    QueryError
        As `contrast`; also when a law has no optimum, or C is infinite.

    Examples
    --------
    >>> pooled = sb.load("pooled.nc")
    >>> recipes = {name: sb.group(pooled, name) for name in ("cerebras-gpt", "pythia")}
    >>> answer = sb.multiplier(recipes, C="1e22")
    >>> answer["p_saves"].values.round(2)
    array([[0.4]])
    """
    base = _baseline(fits, baseline)
    budgets = quantities(C, "C")
    if np.isinf(budgets).any():
        raise QueryError("C must be finite: the multiplier at a limit is none")
    path = _search_path(budgets)
    # The budgets are points of the path; rounding must not move one to its neighbour.
    places = np.searchsorted(path, budgets * (1 - 1e-12))
    answers = {name: _along(arm, path, seed) for name, arm in fits.items()}
    losses = _paired(answers, seed, _origins(fits))["loss"]
    log_losses = {}
    for name in fits:
        log_losses[name] = np.log(losses.sel(arm=name).values.reshape(-1, len(path)))

    arms = [name for name in fits if name != base]
    ratios = []
    distances = []
    for name in arms:
        wanted = log_losses[name][:, places]
        ratio = _compute_to_reach(log_losses[base], wanted, np.log(path)) / budgets
        of_arm = answers[name]["decades_beyond"].values[places]
        of_baseline = _decades_of_baseline(ratio, budgets, fits[base])
        ratios.append(ratio)
        distances.append(np.maximum(of_arm, of_baseline))
    m = np.stack(ratios, axis=2)[None]  # one chain: (chain, draw, budget, arm)

    by_arm = ("budget", "arm")
    words = "compute the baseline needs, over C"
    of_draws = xr.DataArray(m, dims=("chain", "draw", *by_arm), attrs={"long_name": words})
    never = "probability that the baseline never reaches the loss"
    variables = {
        "multiplier": of_draws,
        "p_saves": _share(of_draws > 1, "probability that the arm saves compute"),
        "p_never": _share(of_draws == np.inf, never),
    }
    coords: dict[str, Any] = {"chain": [0], "draw": np.arange(m.shape[1]), "arm": arms}
    coords["C"] = ("budget", budgets)
    coords["decades_beyond"] = (by_arm, np.stack(distances, axis=1), {"of": "C"})
    out = with_provenance(xr.Dataset(variables, coords), combine(answers))
    return _about(out, fits, base)


def _share(is_in: xr.DataArray, words: str) -> xr.DataArray:
    """Return the share of draws with its description, and its largest Monte Carlo error."""
    share = is_in.mean(("chain", "draw"))
    error = share_error(is_in.transpose("chain", "draw", ...).values)
    share.attrs = {"long_name": words, "units": "share", "mcse": float(error.max())}
    return share


def _decades_of_baseline(ratio: np.ndarray, budgets: np.ndarray, baseline: Arm) -> np.ndarray:
    """Distance of the median C' beyond the baseline's largest run, (budgets,), in decades.

    It is NaN where the compute of the baseline's runs is not known. ratio: C'/C, (S, budgets).
    """
    # An order statistic, because draws may be infinite.
    median = np.quantile(ratio, 0.5, axis=0, method="lower") * budgets
    # The compute may be zero, whose log is infinite.
    return np.maximum(0.0, np.log10(np.maximum(median, 1.0) / baseline.runs.max_compute))


def _about(answer: xr.Dataset, fits: Mapping[str, Arm], baseline: str) -> xr.Dataset:
    """The answer with its baseline, notes on shared runs, and whether the arms share draws."""
    notes = "; ".join(_shared_rows(fits))
    return answer.assign_attrs(baseline=baseline, notes=notes, joint=_joint(fits))


def _baseline(fits: Mapping[str, Arm], baseline: str | None) -> str:
    """The label of the baseline, after checks of the arms."""
    if not isinstance(fits, Mapping) or len(fits) < 2:
        raise QueryError("a contrast needs two fits or more by label, {'A': fit, 'B': fit}")
    label_by_runs: dict[str, str] = {}
    for name, arm in fits.items():
        other = label_by_runs.setdefault(arm.runs.hash, name)
        if other != name:
            raise QueryError(
                f"'{other}' and '{name}' were fitted to the same runs: two models of one recipe "
                "are not two recipes, and their posteriors are not independent"
            )
    one_metric({name: arm.runs.metric for name, arm in fits.items()})
    if baseline is None:
        return next(iter(fits))
    if baseline not in fits:
        raise QueryError(f"no fit is called '{baseline}'; there are {', '.join(fits)}")
    return baseline


def _shared_rows(fits: Mapping[str, Arm]) -> list[str]:
    """Notes on arms that share runs: their posteriors are not independent."""
    rows = {}
    for name, arm in fits.items():
        columns = [x for x in ("N", "D", "C", "loss") if x in arm.runs.table]
        rows[name] = set(arm.runs.table[columns].itertuples(index=False, name=None))
    notes = []
    for a, b in itertools.combinations(rows, 2):
        shared = len(rows[a] & rows[b])
        if shared:
            notes.append(f"{a} and {b} have {shared} runs in common, but are taken as independent")
    return notes


def _losses(arm: Arm, seed: int, **given: Any) -> xr.Dataset:
    """Loss of an arm at the targets: at its own optimum where C alone is given."""
    if is_budget(**given):
        return loss_at_budget(arm, C=given["C"], seed=seed).rename(budget="target")
    answer = predict(arm, **given, new_run=False, seed=seed)
    return answer[[name for name in ("loss", "law") if name in answer]]


def _origins(fits: Mapping[str, Arm]) -> dict[str, str]:
    """The origin of each arm's draws: the pooled fit of a group, or any other arm itself."""
    origins = {}
    for name, arm in fits.items():
        if isinstance(arm, Fit) and arm.view is not None:
            origins[name] = f"pooled {arm.stored.attrs['pooled']}"
        else:
            origins[name] = f"arm {name}"
    return origins


def _joint(fits: Mapping[str, Arm]) -> int:
    """Whether all arms are groups of one pooled fit, as a number that a netCDF file can hold."""
    return int(len(set(_origins(fits).values())) == 1)


def _paired(answers: Mapping[str, xr.Dataset], seed: int, origins: Mapping[str, str]) -> xr.Dataset:
    """The answers of the arms along a dimension ``arm``, their draws paired.

    Draws of one origin stay together; others are paired at random. In an arm without a discrepancy
    the curve is the law.
    """
    rows = _paired_rows(answers, seed, origins)
    some_have_discrepancy = any("law" in answer for answer in answers.values())
    parts = []
    for name, answer in answers.items():
        part = answer
        if some_have_discrepancy and "law" not in answer:
            part = answer.assign(law=_as_law(answer["loss"]))
        part = part.stack(sample=("chain", "draw"), create_index=False).isel(sample=rows[name])
        of_one_arm = {"chain", "draw", "model", "decades_beyond"} & {*part.coords}
        parts.append(part.drop_vars(of_one_arm).rename(sample="draw"))

    out = xr.concat(
        parts,
        xr.DataArray(list(answers), dims="arm", name="arm"),
        coords="minimal",
        compat="override",
        combine_attrs="drop_conflicts",
        join="exact",
    )
    beyond = np.stack([answer["decades_beyond"].values for answer in answers.values()])
    of = next(iter(answers.values()))["decades_beyond"].attrs["of"]
    out = out.assign_coords(
        draw=np.arange(out.sizes["draw"]), decades_beyond=(("arm", "target"), beyond, {"of": of})
    )
    out = with_provenance(out, combine(answers))
    return out.expand_dims(chain=[0]).transpose("chain", "draw", "arm", "target")


def _as_law(loss: xr.DataArray) -> xr.DataArray:
    """The loss of an arm without a discrepancy as that of its law, described as such."""
    words = loss.attrs.get("long_name", "")
    return loss.assign_attrs(long_name=words.replace(LONG_NAMES["loss"], LONG_NAMES["law"]))


def _paired_rows(
    answers: Mapping[str, xr.Dataset], seed: int, origins: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Indices of each arm's draws in the order of pairing, as many as the arm with fewest has.

    Arms of one origin have the same order.
    """
    rng = np.random.default_rng([seed, 3])
    counts = {
        name: answer.sizes["chain"] * answer.sizes["draw"] for name, answer in answers.items()
    }
    fewest = min(counts.values())
    orders: dict[str, np.ndarray] = {}
    for name, count in counts.items():
        if origins[name] not in orders:
            orders[origins[name]] = rng.permutation(count)
    return {name: orders[origins[name]][:fewest] for name in answers}


@over_average
def _along(fit: Fit, path: np.ndarray, seed: int) -> xr.Dataset:
    """Loss of the curve along a fit's own frontier, (chain, draw, target).

    A discrepancy is drawn jointly over all budgets.
    """
    if has_frontier(fit) and fit.spec.has_discrepancy:
        # `frontier` draws the discrepancy of each budget apart. A joint draw needs one size at each
        # budget for all draws.
        N = _median_sizes(fit, path)
        return _losses(fit, seed, N=N, C=path).drop_vars(["N", "D"])
    return _losses(fit, seed, C=path)


def _median_sizes(fit: Fit, path: np.ndarray) -> np.ndarray:
    """Median N* at each budget of a path, log-linear between those that are computed."""
    anchors = np.geomspace(path[0], path[-1], ANCHORS)
    medians = frontier(fit, C=anchors)["N"].median(("chain", "draw")).values
    return np.exp(np.interp(np.log(path), np.log(anchors), np.log(medians)))


def _search_path(budgets: np.ndarray) -> np.ndarray:
    """Budgets, and points between and around them, in rising order."""
    low, high = np.log10(budgets.min() / BELOW), np.log10(budgets.max() * ABOVE)
    points = min(round((high - low) * STEPS), MOST - len(budgets))
    return np.unique([*np.logspace(low, high, points), *budgets])


def _compute_to_reach(log_loss: np.ndarray, wanted: np.ndarray, log_C: np.ndarray) -> np.ndarray:
    """Least compute at which each draw's curve is down to a loss, shape (S, targets).

    Parameters
    ----------
    log_loss
        Log loss along the path, (S, points).
    wanted
        Log losses to reach, (S, targets).
    log_C
        Log compute of the points, (points,).
    """
    is_reached = log_loss[:, :, None] <= wanted[:, None, :]
    first = is_reached.argmax(axis=1)
    # Log loss is linear in log compute between the last point above and the first at or below.
    after = np.maximum(first, 1)
    high = np.take_along_axis(log_loss, after - 1, axis=1)
    low = np.take_along_axis(log_loss, after, axis=1)
    share = np.divide(high - wanted, high - low, out=np.ones_like(high), where=high > low)
    step = log_C[after] - log_C[after - 1]
    found = np.exp(log_C[after - 1] + share.clip(0.0, 1.0) * step)
    found = np.where(first == 0, 0.0, found)
    return np.where(is_reached.any(axis=1), found, np.inf)
