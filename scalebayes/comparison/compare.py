"""Several fits of the same runs side by side: how well each predicts runs left out, and whether decisions change."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from scalebayes.display import html
from scalebayes.display.terminal import align as align
from scalebayes.errors import QueryError, RunsError
from scalebayes.posterior.average import Average, average, by_weight, named_fits
from scalebayes.posterior.fit import Fit
from scalebayes.queries.answers import of_several
from scalebayes.queries.frontier import at_budget
from scalebayes.queries.predict import predict
from scalebayes.summaries.intervals import CI_PROB, interval_columns, intervals
from scalebayes.summaries.table import Table
from scalebayes.summaries.text import cell
from scalebayes.units import format_quantity

RESPONSE = "log_loss"
"""What every spec scores: the density of the log of the loss."""
MOST_REFITS = 10
"""Runs of one fit that are refitted without being asked for."""


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """What `compare` found.

    To ask the fits together, ask their average: ``predict(comparison.average(), N="70B", D="15T")``.

    Attributes
    ----------
    fits
        By label.
    table : pandas.DataFrame
        One row a model, best first: ``elpd``, the sum over the runs of the log predictive density of each given the
        others (leave one out), with its standard error ``se``; ``elpd_diff`` to the best, with ``dse``, its standard
        error, ``p_worse``, the probability of being worse than the best (Normal approximation; NaN for the best), and
        ``diag_diff``, ArviZ's word on how far to trust both; ``p``, effective parameters; ``stacking`` and ``equal``
        weights; ``high_k``, runs whose Pareto k is too high for importance sampling, and ``high_k_left``, those that
        still are after refits.
    loo
        ArviZ's pointwise results by label, refits included: what its plots take.
    notes
        What to know before relying on the table.
    """

    fits: Mapping[str, Fit]
    table: Table
    loo: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def average(
        self, weights: Literal["equal", "stacking"] | Mapping[str, float] = "equal"
    ) -> Average:
        """Pool the fits, equally unless asked (`scalebayes.average` says why); stacking knows of the refits here."""
        refitted = {str(label): float(weight) for label, weight in self.table["stacking"].items()}
        return average(self.fits, refitted if weights == "stacking" else weights)

    def answers(
        self, *, N: Any = None, D: Any = None, C: Any = None, seed: int = 0
    ) -> dict[str, xr.Dataset]:
        """What each model says of targets, or of budgets where C stands alone, by label.

        Parameters
        ----------
        N, D, C
            Targets, from any two, as for `scalebayes.predict`; or C alone, budgets, as for `scalebayes.frontier`: a
            law of C alone then says its loss there, and has no N*.
        seed
            Of the discrepancies beyond the table.

        Raises
        ------
        QueryError
            As `predict` and `frontier` do.
        """
        if C is not None and N is None and D is None:
            return {label: at_budget(fit, C=C, seed=seed) for label, fit in self.fits.items()}
        return {label: predict(fit, N=N, D=D, C=C, seed=seed) for label, fit in self.fits.items()}

    def difference(
        self, *, N: Any = None, D: Any = None, C: Any = None, seed: int = 0
    ) -> xr.Dataset:
        """Posterior of the difference between the answers of each pair of models.

        Posteriors of two models know nothing of each other, so their draws are paired at random.

        Parameters
        ----------
        N, D, C
            As for `Comparison.answers`.
        seed
            Of the pairing, and of the discrepancies beyond the table.

        Returns
        -------
        xarray.Dataset
            With dims (chain, draw, target or budget, pair); along pair, ``model`` and ``against``, in the order of
            ``fits``. ``loss_difference``, model less against, in nats per token: of the curve at the target, with its
            discrepancy where a spec has one, or of the curve at each model's own optimum; and for budgets
            ``N_ratio``, N* of the model over N* of the other, NaN where a law of C alone has none (``attrs["notes"]``
            says which, and N_ratio is left out where no pair has one). `scalebayes.intervals` adds ``p_below``, the
            probability that the difference is below 0, or the ratio below 1.

        Raises
        ------
        QueryError
            As `predict` and `frontier` do.
        """
        answers = self.answers(N=N, D=D, C=C, seed=seed)
        first = next(iter(answers.values()))
        flat = _paired_at_random(answers, seed)
        pairs = list(itertools.combinations(answers, 2))
        (along,) = first["loss"].dims[2:]
        dims = ("chain", "draw", along, "pair")
        loss = np.stack([flat[a]["loss"] - flat[b]["loss"] for a, b in pairs], axis=-1)
        out = {"loss_difference": (dims, loss[None], {"reference": 0.0, "units": "nats per token"})}
        without = [label for label in flat if along == "budget" and "N" not in flat[label]]
        if along == "budget" and len(flat) - len(without) > 1:
            none = np.full_like(loss[..., 0], np.nan)
            ratio = np.stack(
                [flat[a].get("N", none) / flat[b].get("N", none) for a, b in pairs], axis=-1
            )
            out["N_ratio"] = (dims, ratio[None], {"reference": 1.0})
        coords = {k: v for k, v in first.coords.items() if v.dims == (along,)}
        furthest = np.max([answer["decades_beyond"].values for answer in answers.values()], axis=0)
        coords["decades_beyond"] = coords["decades_beyond"].copy(data=furthest)
        coords |= {
            name: ("pair", [pair[i] for pair in pairs])
            for i, name in enumerate(("model", "against"))
        }
        coords |= {"chain": [0], "draw": np.arange(len(loss))}
        notes = [
            f"{label} is a law of C alone: it says a loss, and has no N* to compare"
            for label in without
        ]
        failures = dict.fromkeys(code for fit in self.fits.values() for code in fit.gate_failures)
        said = {"gate_failures": ", ".join(failures), "notes": "; ".join(notes)}
        return xr.Dataset(out, coords, of_several(answers) | said)

    def sentence(self) -> str:
        """Say in a few lines to quote how the models did on runs left out, and what that does not tell."""
        (best, _), *others = self.table.iterrows()
        runs = next(iter(self.fits.values())).runs
        behind = [_behind(str(label), row) for label, row in others]
        weights = ", ".join(
            f"{label} {weight:.2f}" for label, weight in self.table["stacking"].items()
        )
        return (
            f"Leaving out one of the {len(runs)} runs of {runs.name} at a time, {best} predicts it best; "
            f"{'; '.join(behind)}. Stacking weights: {weights}. This scores runs like those made, not runs beyond them."
        )

    def __repr__(self) -> str:
        return "\n".join([f"{self.table!r}", *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        shown = html.table(self.table.rename_axis("model").reset_index(), index=False)
        return html.panel(
            "Models on the same runs, best first", shown, self.sentence(), html.entries(self.notes)
        )


def compare(fits: Mapping[str, Fit] | Sequence[Fit], *, reloo: bool | None = None) -> Comparison:
    r"""Compare fits of the same runs by leave-one-out, elpd = :math:`\sum_i \log p(\log L_i \mid \log L_{-i})`.

    By Pareto-smoothed importance sampling (`arviz_stats.loo`); where Pareto k is too high for that, by fitting again
    without that run. With a discrepancy the pointwise density is that of a run given all others (where it is sampled,
    given its draw, from which the run's own part is then weighted out), so that models with and without one compare
    fairly. Leave-one-out scores what lies between the runs; for what lies beyond them, see
    `scalebayes.backtest`.

    Every spec here states the density of the log of the loss. A likelihood stated on the loss itself is on another
    scale, p(log L) = p(L) L, and would have to be brought to ours first: add log L to its pointwise log likelihood, or
    equivalently ours to its, `arviz_stats.loo(fit.tree, log_jacobian=-log L)`. Trees that hold another response than
    ``log_loss`` are refused.

    Parameters
    ----------
    fits
        Two fits or more, by label, or a sequence of fits of models with different names.
    reloo
        Whether to refit where Pareto k is too high: by default where at most ten runs of a fit are, else ``notes``
        say how many.

    Raises
    ------
    QueryError
        When there is one fit only, runs differ, or pointwise log likelihoods are missing or of another response.

    References
    ----------
    Vehtari, Gelman and Gabry (2017), Practical Bayesian model evaluation using leave-one-out cross-validation and
    WAIC, doi:10.1007/s11222-016-9696-4. Yao et al. (2018), doi:10.1214/17-BA1091. Buerkner et al. (2021),
    doi:10.1007/s00180-020-01045-4.
    """
    named = named_fits(fits)
    if len(named) == 1:
        raise QueryError(
            f"'{next(iter(named))}' alone compares with nothing: give two fits or more"
        )
    for label, fit in named.items():
        _check_response(label, fit)
    notes = [
        f"{label} failed its gate: {', '.join(fit.gate_failures)}"
        for label, fit in named.items()
        if fit.gate_failures
    ]
    loo, high = {}, {}
    for label, fit in named.items():
        loo[label], high[label] = _leave_one_out(label, fit, reloo, notes)
    return Comparison(named, _table(loo, high), loo, tuple(notes))


def _check_response(label: str, fit: Fit) -> None:
    """Refuse log likelihoods that cannot stand beside others: missing, of another response, or of other rows."""
    tree, rows = fit.tree, list(fit.runs.table.index)
    if "log_likelihood" not in tree.children:
        raise QueryError(
            f"no pointwise log likelihood was kept of '{label}' (very long tables): nothing to compare"
        )
    if RESPONSE not in tree["log_likelihood"]:
        got = ", ".join(map(str, tree["log_likelihood"].data_vars)) or "nothing"
        raise QueryError(
            f"'{label}' scores {got}, not {RESPONSE}: densities of different responses do not compare; "
            "one on the loss itself needs log(loss) added to each run's"
        )
    density = tree["log_likelihood"][RESPONSE]
    if density.dims != ("chain", "draw", "run") or list(density["run"].values) != rows:
        raise QueryError(
            f"the pointwise log likelihood of '{label}' is not one value for each of its {len(rows)} runs"
        )


def _leave_one_out(label: str, fit: Fit, reloo: bool | None, notes: list[str]) -> tuple[Any, int]:
    """ArviZ's pointwise result and the number of runs with a high Pareto k before any refit."""
    import arviz_stats as azs

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # of high Pareto k: told in the table and the notes
        loo = azs.loo(fit.tree, pointwise=True, var_name=RESPONSE)
    high = high_k(loo)
    told = f"{label}: Pareto k is above {loo.good_k:.2f} for {high} of {len(fit.runs)} runs"
    if not high:
        return loo, high
    if reloo is False or (reloo is None and high > MOST_REFITS):
        notes.append(
            f"{told}, and its elpd is not to be relied on; compare(..., reloo=True) fits again without each"
        )
        return loo, high
    from scalebayes.comparison.leave_one_out import LeaveOneOut

    without = LeaveOneOut(fit)
    try:
        loo = azs.reloo(
            without, loo_orig=loo, var_name=RESPONSE, k_threshold=loo.good_k, pointwise=True
        )
        notes.append(f"{told}: fitted again without each")
    except RunsError as error:
        notes.append(f"{told}, and its elpd is not to be relied on: without one of them {error}")
    if without.failed:
        notes.append(f"{label}: refits without {', '.join(without.failed)} failed the gate")
    return loo, high


def high_k(loo: Any) -> int:
    """Runs whose Pareto k is too high for importance sampling."""
    return int((loo.pareto_k > loo.good_k).sum())


def _table(loo: Mapping[str, Any], high: Mapping[str, int]) -> Table:
    import arviz_stats as azs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        given = azs.compare(dict(loo), method="stacking", round_to="none")
    columns = ["elpd", "se", "elpd_diff", "dse", "p_worse", "diag_diff", "p"]
    table = given[columns].astype({"diag_diff": object}).rename_axis("model")
    table["stacking"] = given["weight"].clip(
        0.0, 1.0
    )  # the optimiser ends within rounding of its bounds
    table["equal"] = 1 / len(loo)
    table["high_k"] = [high[label] for label in table.index]
    table["high_k_left"] = [high_k(loo[label]) for label in table.index]
    return Table(table)


def _behind(label: str, row: Any) -> str:
    """How far behind the best a model is; clear where the gap is twice its error and ArviZ sees no small difference."""
    clear = -row["elpd_diff"] > max(4.0, 2 * row["dse"])
    text = f"{label} is {-row['elpd_diff']:.1f} (s.e. {row['dse']:.1f}) behind in log score"
    return text if clear else f"{text}, no clear difference"


def _paired_at_random(
    answers: Mapping[str, xr.Dataset], seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Draws of each answer in an order of its own, as many as the shortest has, (draws, targets)."""
    rng = np.random.default_rng(seed)
    sizes = [answer.sizes["chain"] * answer.sizes["draw"] for answer in answers.values()]
    chosen = by_weight(sizes, [1 / len(sizes)] * len(sizes))
    out = {}
    for (label, answer), rows in zip(answers.items(), chosen, strict=True):
        order = rng.permutation(rows)
        out[label] = {
            str(name): values.values.reshape(-1, values.shape[-1])[order]
            for name, values in answer.data_vars.items()
        }
    return out


def comparison_table(comparison: Comparison) -> str:
    """Lay out the table of `compare`: one line a model, best first."""
    rows = [
        {
            "model": str(label),
            "elpd (s.e.)": f"{row['elpd']:.1f} ({row['se']:.1f})",
            "behind the best (s.e.)": "-"
            if row["elpd_diff"] == 0
            else f"{-row['elpd_diff']:.1f} ({row['dse']:.1f})",
            "P(worse)": "-" if np.isnan(row["p_worse"]) else f"{row['p_worse']:.3f}",
            "stacking": f"{row['stacking']:.2f}",
            "equal": f"{row['equal']:.2f}",
            "high Pareto k": f"{row['high_k']}"
            + f", {row['high_k_left']} left" * bool(row["high_k"]),
            "caution": row["diag_diff"] or "",
        }
        for label, row in comparison.table.iterrows()
    ]
    return align(rows)


def _signed(row: Any, ci_prob: float) -> str:
    """One quantity of a difference; those around 0 with their sign, to a thousandth of a nat."""
    if row["quantity"] != "loss_difference":
        return cell(row, ci_prob)
    low, high = (row[name] for name in interval_columns(ci_prob))
    return f"{row['median']:+.3f} [{low:+.3f}, {high:+.3f}]"


def difference_table(dataset: xr.Dataset, ci_prob: float = CI_PROB) -> str:
    """Lay out the answer of `Comparison.difference`: one line a pair of models and target."""
    rows = []
    for _, row in intervals(dataset, ci_prob).dropna(subset="median").reset_index().iterrows():
        what, zero = {"N_ratio": ("N* over N*", "1"), "loss_difference": ("loss less loss", "0")}[
            row["quantity"]
        ]
        rows.append(
            {name: format_quantity(row[name]) for name in ("N", "D", "C") if name in row}
            | {"models": f"{row['model']} against {row['against']}", "what": what}
            | {
                f"median [{100 * ci_prob:g}%]": _signed(row, ci_prob),
                "P(below)": f"{row['p_below']:.3f} (below {zero})",
            }
        )
    return align(rows)
