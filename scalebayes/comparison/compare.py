"""Comparison of fits of the same runs: their predictions of runs left out, and their decisions."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.comparison.average import Weights, average
from scalebayes.datasets.names import runs_in_words
from scalebayes.display import html
from scalebayes.display.numbers import percent
from scalebayes.display.terminal import align
from scalebayes.errors import QueryError, RunsError
from scalebayes.posterior.average import Average, by_weight, named_fits
from scalebayes.posterior.derived.pointwise import RESPONSE, loo_tree
from scalebayes.posterior.fit import Fit
from scalebayes.posterior.provenance import combine, with_provenance
from scalebayes.queries.frontier import at_budget
from scalebayes.queries.inputs import is_budget
from scalebayes.queries.predict import predict
from scalebayes.summaries.intervals import CI_PROB, interval_columns, intervals
from scalebayes.summaries.table import Table
from scalebayes.summaries.text import cell
from scalebayes.units import format_quantity
from scalebayes.utils.progress import shows_progress

"""Name of the response of every spec, the log of the loss."""
MOST_REFITS = 10
"""Runs of one fit with a high Pareto k up to which refits are made by default."""
SMALL_DIFFERENCE = 4.0
"""Difference of elpd below which models are not told apart (Sivula et al. 2020)."""


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """The answer of `compare`.

    For an answer that combines the fits, ask their average:
    ``predict(comparison.average(), N="70B", D="15T")``.

    Attributes
    ----------
    fits
        By label.
    table : pandas.DataFrame
        One row for each model, best first: ``elpd``, the sum over the runs of the log predictive
        density of each given the others (leave-one-out), with its standard error ``se``;
        ``elpd_diff`` to the best, with its standard error ``dse``, ``p_worse``, the probability of
        being worse than the best (Normal approximation; NaN for the best), and ``diag_diff``,
        ArviZ's diagnostic of both; ``p``, effective number of parameters; ``stacking`` and
        ``equal`` weights; ``high_k``, the number of runs whose Pareto k is too high for importance
        sampling, and ``high_k_left``, the number after refits.
    loo
        ArviZ's pointwise results by label, refits included, as its plots take them.
    notes
        Remarks to read before relying on the table.
    """

    fits: Mapping[str, Fit]
    table: Table
    loo: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def average(self, weights: Weights = "equal") -> Average:
        """Average of the fits, with equal weights by default (`scalebayes.average` says why).

        Stacking weights are those of the table, with its refits.
        """
        if weights == "stacking":
            stacking = self.table["stacking"].items()
            return average(self.fits, {str(label): float(weight) for label, weight in stacking})
        return average(self.fits, weights)

    def answers(
        self, *, N: Any = None, D: Any = None, C: Any = None, seed: int = 0
    ) -> dict[str, xr.Dataset]:
        """Answers of each model at targets, or at budgets where C is given alone, by label.

        Parameters
        ----------
        N, D, C
            Targets, from any two, as for `scalebayes.predict`; or budgets C alone, as for
            `scalebayes.frontier`: a law of C alone then gives its loss there, and has no N*.
        seed
            Seed of the draws of discrepancies beyond the table.

        Raises
        ------
        QueryError
            As `predict` and `frontier` do.
        """
        if is_budget(N=N, D=D, C=C):
            return {label: at_budget(fit, C=C, seed=seed) for label, fit in self.fits.items()}
        return {label: predict(fit, N=N, D=D, C=C, seed=seed) for label, fit in self.fits.items()}

    def difference(
        self, *, N: Any = None, D: Any = None, C: Any = None, seed: int = 0
    ) -> xr.Dataset:
        """Posterior of the difference between the answers of each pair of models.

        The posteriors of two models are independent, so their draws are paired at random.

        Parameters
        ----------
        N, D, C
            As for `Comparison.answers`.
        seed
            Seed of the pairing and of the draws of discrepancies beyond the table.

        Returns
        -------
        xarray.Dataset
            Dims (chain, draw, target or budget, pair); along pair, ``model`` and ``against``, in
            the order of ``fits``. ``loss_difference``, of model minus against, in the metric of the
            runs: of the curve at the target, with its discrepancy where a spec has one, or of the
            curve at each model's own optimum. For budgets also ``N_ratio``, N* of the model over N*
            of the other. It is NaN where a law of C alone has no N* (``attrs["notes"]`` names the
            law), and left out where no pair has one. `scalebayes.intervals` adds ``p_below``, the
            probability that the difference is below 0, or the ratio below 1.

        Raises
        ------
        QueryError
            As `predict` and `frontier` do.
        """
        answers = self.answers(N=N, D=D, C=C, seed=seed)
        return _differences(answers, _paired_at_random(answers, seed))

    def sentence(self) -> str:
        """Scores of the models on runs left out, in a few sentences, with their limits."""
        (best, _), *others = self.table.iterrows()
        runs = next(iter(self.fits.values())).runs
        behind = [_distance_from_best(str(label), row) for label, row in others]
        weights = [f"{label} {weight:.2f}" for label, weight in self.table["stacking"].items()]
        return (
            f"Leaving out one of the {runs_in_words(runs)} at a time, {best} predicts it "
            f"best; {'; '.join(behind)}. Stacking weights: {', '.join(weights)}. "
            "This scores predictions of runs like those made, not of runs beyond them."
        )

    def __repr__(self) -> str:
        return "\n".join([f"{self.table!r}", *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        shown = html.table(self.table.rename_axis("model").reset_index(), index=False)
        return html.panel(
            "Models on the same runs, best first", shown, self.sentence(), html.entries(self.notes)
        )


@shows_progress("scores on runs left out one at a time")
def compare(fits: Mapping[str, Fit] | Sequence[Fit], *, reloo: bool | None = None) -> Comparison:
    r"""Comparison by leave-one-out, elpd = :math:`\sum_i \log p(\log L_i \mid \log L_{-i})`.

    It is computed by Pareto-smoothed importance sampling (`arviz_stats.loo`), and by fitting again
    without a run where Pareto k is too high. With a discrepancy the pointwise density is that of a
    run given all others (where it is sampled, given its draw, from which the run's own part is then
    weighted out), so that models with and without one can be compared. Leave-one-out scores
    predictions between the runs; for predictions beyond them, see `scalebayes.backtest`.

    Every spec here states the density of the log of the loss. A likelihood stated on the loss
    itself is on another scale, p(log L) = p(L) L. To compare with it, add log L to its pointwise
    log likelihood, or bring ours to its scale, `arviz_stats.loo(fit.tree, log_jacobian=-log L)`.
    Trees of another response than ``log_loss`` are refused.

    Parameters
    ----------
    fits
        Two fits or more, by label, or a sequence of fits of models with different names.
    reloo
        Whether to refit where Pareto k is too high. By default up to ten runs of a fit are; with
        more, ``notes`` say how many.

    Raises
    ------
    QueryError
        When there is only one fit, runs differ, or pointwise log likelihoods are missing or of
        another response.

    References
    ----------
    Vehtari, Gelman and Gabry (2017), Practical Bayesian model evaluation using leave-one-out
    cross-validation and WAIC, doi:10.1007/s11222-016-9696-4. Yao et al. (2018),
    doi:10.1214/17-BA1091. Buerkner et al. (2021), doi:10.1007/s00180-020-01045-4.

    Examples
    --------
    >>> fits = {name: sb.load(f"{name}.nc") for name in ("chinchilla", "coupled")}
    >>> comparison = sb.compare(fits)
    >>> list(comparison.table.index)
    ['coupled', 'chinchilla']
    """
    named = named_fits(fits)
    if len(named) == 1:
        raise QueryError(f"a comparison needs two fits or more; got one, '{next(iter(named))}'")
    for label, fit in named.items():
        _check_log_likelihood(label, fit)
    loo = {}
    high = {}
    notes = []
    for label, fit in named.items():
        if fit.gate_failures:
            notes.append(f"{label} failed its convergence checks: {', '.join(fit.gate_failures)}")
    for label, fit in named.items():
        loo[label] = _leave_one_out(fit)
        high[label] = high_k(loo[label])
        if high[label]:
            loo[label], remarks = _refit_where_high(label, fit, loo[label], reloo)
            notes += remarks
    return Comparison(named, _table(loo, high), loo, tuple(notes))


def _check_log_likelihood(label: str, fit: Fit) -> None:
    """Refuse a fit without a pointwise log likelihood."""
    if fit.log_likelihood is None:
        raise QueryError(
            f"the table of '{label}' is too long for a pointwise log likelihood, or it is a view "
            "without runs: nothing to compare"
        )


def _leave_one_out(fit: Fit) -> Any:
    """Return ArviZ's pointwise result by importance sampling."""
    from scalebayes.utils.arviz import azs

    with warnings.catch_warnings():
        # About high Pareto k, which the table and the notes report.
        warnings.simplefilter("ignore", UserWarning)
        return azs.loo(loo_tree(fit), pointwise=True, var_name=RESPONSE)


def _refit_where_high(label: str, fit: Fit, loo: Any, reloo: bool | None) -> tuple[Any, list[str]]:
    """Return ArviZ's result after refits without each run of high Pareto k, and remarks on it.

    Without refits it is the result by importance sampling.
    """
    count = high_k(loo)
    found = f"{label}: Pareto k is above {loo.good_k:.2f} for {count} of {len(fit.runs)} runs"
    if reloo is None:
        reloo = count <= MOST_REFITS
    if not reloo:
        remark = (
            f"{found}, and its elpd is not to be relied on; "
            "compare(..., reloo=True) fits again without each"
        )
        return loo, [remark]

    from scalebayes.comparison.leave_one_out import LeaveOneOut
    from scalebayes.utils.arviz import azs

    refits = LeaveOneOut(fit)
    remarks = []
    try:
        loo = azs.reloo(
            refits, loo_orig=loo, var_name=RESPONSE, k_threshold=loo.good_k, pointwise=True
        )
        remarks.append(f"{found}: fitted again without each")
    except RunsError as error:
        remarks.append(f"{found}, and its elpd is not to be relied on: without one of them {error}")
    if refits.failed:
        failed = ", ".join(refits.failed)
        remarks.append(f"{label}: refits without {failed} failed the convergence checks")
    return loo, remarks


def high_k(loo: Any) -> int:
    """Runs whose Pareto k is too high for importance sampling."""
    return int((loo.pareto_k > loo.good_k).sum())


def _table(loo: Mapping[str, Any], high: Mapping[str, int]) -> Table:
    """Return the table of `Comparison`, from pointwise results and numbers of high Pareto k."""
    from scalebayes.utils.arviz import azs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about high Pareto k: see the notes
        compared = azs.compare(dict(loo), method="stacking", round_to="none")
    columns = ["elpd", "se", "elpd_diff", "dse", "p_worse", "diag_diff", "p"]
    table = compared[columns].astype({"diag_diff": object}).rename_axis("model")
    # The optimiser ends within rounding error of its bounds.
    table["stacking"] = compared["weight"].clip(0.0, 1.0)
    table["equal"] = 1 / len(loo)
    table["high_k"] = [high[label] for label in table.index]
    table["high_k_left"] = [high_k(loo[label]) for label in table.index]
    return Table(table)


def _distance_from_best(label: str, row: Any) -> str:
    """Return in words how far a model is behind the best, and whether the difference is clear."""
    behind = -row["elpd_diff"]
    text = f"{label} is {behind:.1f} (s.e. {row['dse']:.1f}) behind in log score"
    if behind > max(SMALL_DIFFERENCE, 2 * row["dse"]):
        return text
    return f"{text}, no clear difference"


def _differences(
    answers: Mapping[str, xr.Dataset], paired: Mapping[str, Mapping[str, np.ndarray]]
) -> xr.Dataset:
    """Return `Comparison.difference` of answers, from their paired draws."""
    pairs = list(itertools.combinations(answers, 2))
    first = next(iter(answers.values()))
    (along,) = first["loss"].dims[2:]
    dims = ("chain", "draw", along, "pair")

    losses = {label: draws["loss"] for label, draws in paired.items()}
    loss_difference = np.stack([losses[a] - losses[b] for a, b in pairs], axis=-1)
    about = {"reference": 0.0, "units": first["loss"].attrs["units"]}
    quantities = {"loss_difference": (dims, loss_difference[None], about)}
    sizes = {label: draws["N"] for label, draws in paired.items() if "N" in draws}
    if len(sizes) > 1:
        unknown = np.full_like(loss_difference[..., 0], np.nan)
        ratios = [sizes.get(a, unknown) / sizes.get(b, unknown) for a, b in pairs]
        quantities["N_ratio"] = (dims, np.stack(ratios, axis=-1)[None], {"reference": 1.0})
    notes = []
    if along == "budget":
        notes = [
            f"{label} is a law of C alone: it gives a loss, and has no N* to compare"
            for label in answers
            if label not in sizes
        ]

    coords: dict[str, Any] = {
        str(name): values for name, values in first.coords.items() if values.dims == (along,)
    }
    furthest = np.max([answer["decades_beyond"].values for answer in answers.values()], axis=0)
    coords["decades_beyond"] = coords["decades_beyond"].copy(data=furthest)
    coords["model"] = ("pair", [model for model, _ in pairs])
    coords["against"] = ("pair", [against for _, against in pairs])
    coords["chain"] = [0]
    coords["draw"] = np.arange(len(loss_difference))
    difference = xr.Dataset(quantities, coords, {"notes": "; ".join(notes)})
    return with_provenance(difference, combine(answers))


def _paired_at_random(
    answers: Mapping[str, xr.Dataset], seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Return the draws of each answer in a random order of its own, (draws, targets).

    All have as many draws as the shortest.
    """
    rng = np.random.default_rng(seed)
    sizes = [answer.sizes["chain"] * answer.sizes["draw"] for answer in answers.values()]
    chosen = by_weight(sizes, [1 / len(sizes)] * len(sizes))
    paired: dict[str, dict[str, np.ndarray]] = {}
    for (label, answer), rows in zip(answers.items(), chosen, strict=True):
        order = rng.permutation(rows)
        paired[label] = {}
        for name, values in answer.data_vars.items():
            flat = values.values.reshape(-1, values.shape[-1])
            paired[label][str(name)] = flat[order]
    return paired


def comparison_table(comparison: Comparison) -> str:
    """Text table of a comparison: a line for each model, best first."""
    rows = []
    for label, row in comparison.table.iterrows():
        behind = "-"
        if row["elpd_diff"] != 0:
            behind = f"{-row['elpd_diff']:.1f} ({row['dse']:.1f})"
        high = f"{row['high_k']}"
        if row["high_k"]:
            high += f", {row['high_k_left'] or 'none'} left"
        rows.append(
            {
                "model": str(label),
                "elpd (s.e.)": f"{row['elpd']:.1f} ({row['se']:.1f})",
                "behind the best (s.e.)": behind,
                "P(worse)": percent(row["p_worse"]),
                "stacking": f"{row['stacking']:.2f}",
                "equal": f"{row['equal']:.2f}",
                "high Pareto k": high,
                "caution": row["diag_diff"] or "",
            }
        )
    return align(rows)


DIFFERENCES = {"N_ratio": ("N* over N*", "1"), "loss_difference": ("loss minus loss", "0")}
"""Heading of each quantity of a difference, and the value that means no difference."""


def difference_table(dataset: xr.Dataset, ci_prob: float = CI_PROB) -> str:
    """Text table of a difference: a line for each pair of models, target and quantity."""
    table = intervals(dataset, ci_prob).dropna(subset="median").reset_index()
    rows = []
    for _, row in table.iterrows():
        heading, none = DIFFERENCES[row["quantity"]]
        inputs = {name: format_quantity(row[name]) for name in ("N", "D", "C") if name in row}
        about = {
            "models": f"{row['model']} against {row['against']}",
            "what": heading,
            f"median [{100 * ci_prob:g}%]": _difference_cell(row, ci_prob),
            "P(below)": f"{percent(row['p_below'])} (below {none})",
        }
        rows.append(inputs | about)
    return align(rows)


def _difference_cell(row: Any, ci_prob: float) -> str:
    """Return a median with its interval; differences of losses have a sign and three decimals."""
    if row["quantity"] != "loss_difference":
        return cell(row, ci_prob)
    lower, upper = interval_columns(ci_prob)
    return f"{row['median']:+.3f} [{row[lower]:+.3f}, {row[upper]:+.3f}]"
