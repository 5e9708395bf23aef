r"""Which runs move a decision: the decision again without a run, or without all runs of a size.

Draws of the parameters given all runs become draws given all but the runs G by importance weights

    w_s proportional to 1 / p(y_G | y_-G, theta_s),

smoothed by a Pareto tail whose shape k says whether they can be trusted (Vehtari et al. 2024); where they cannot, the
other runs are fitted again. Without a discrepancy p(y_G | y_-G, theta) is a product over the runs; with one it is a
joint conditional density (`scalebayes.posterior.likelihood`), and the discrepancy too is conditioned on the other runs alone.

References
----------
Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling, arXiv:1507.02646.
Buerkner, Gabry and Vehtari (2021), Efficient leave-one-out cross-validation for non-factorized models,
doi:10.1007/s00180-020-01045-4.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from scalebayes.data.subsets import size_labels
from scalebayes.errors import GateWarning, QueryError
from scalebayes.fitting.fit import fit as sample
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit, draws, law_parameters
from scalebayes.posterior.likelihood import Likelihood, make_likelihood
from scalebayes.queries.frontier import frontier
from scalebayes.queries.predict import predict
from scalebayes.units import format_quantity
from scalebayes.utils.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

TRUSTED = 0.7
"""Pareto k up to which weights are trusted; with few draws, up to 1 - 1/log10(draws) (Vehtari et al. 2024)."""


@dataclass(frozen=True)
class Decision:
    """One number that a fit is asked for.

    Attributes
    ----------
    words
        What it is, as "loss of 70B parameters on 1.4T tokens, nats".
    draws
        Its posterior draws, chains one after the other.
    expected
        From a fit and its likelihood to the decision expected under each draw, given the runs of that fit.
    without
        The same with some rows left out: from a fit, its likelihood and the rows.
    """

    words: str
    draws: Callable[[Fit], np.ndarray]
    expected: Callable[[Fit, Likelihood], np.ndarray]
    without: Callable[[Fit, Likelihood, np.ndarray], np.ndarray]


def influence(
    fit: Fit,
    *,
    N: Any = None,
    D: Any = None,
    C: Any = None,
    by: Literal["run", "size"] = "run",
    refit: bool = True,
    seed: int = 0,
    progress: bool | None = None,
    **sampler: Any,
) -> pd.DataFrame:
    """Leave out each run, or all runs of each size, and say how far a decision moves.

    Parameters
    ----------
    fit
        A fit, sampled or loaded.
    N, D, C
        The decision. With C alone the compute-optimal size: log N* at that budget. With a target that
        `scalebayes.predict` takes, the loss of the curve there (with its discrepancy, where the spec carries one).
    by
        ``"run"``, or ``"size"``: runs whose N agree within 1% of the next are one size.
    refit
        Whether runs whose weights cannot be trusted are left out by fitting the others again; else the weights'
        answer stands, and ``pareto_k`` warns of it.
    seed, progress, **sampler
        Of those fits, as `scalebayes.fit` takes them.

    Returns
    -------
    pandas.DataFrame
        One row a run (its inputs and loss) or a size (the number of its runs), largest shift first. ``shift``:
        posterior mean without less with, in nats or in log N; ``shift_sd``, the same in posterior standard deviations
        of the decision; ``pareto_k``; ``refitted``; and ``gate_failed`` of that fit. Shifts of refits, and of log N*
        where the spec carries a discrepancy, have sampling noise of about 0.03 standard deviations at 4000 draws;
        shifts of a standard deviation by weights alone may be a tenth too small.
        ``attrs`` hold the decision in words (``decision``), its posterior ``mean`` and ``sd``.

    Raises
    ------
    QueryError
        When the question has not one target or budget, or is asked of an average.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling, arXiv:1507.02646.
    """
    if isinstance(fit, Average):
        raise QueryError(
            "influence is that of runs on one fit: ask each fit of the average by itself"
        )
    if by not in ("run", "size"):
        raise QueryError(f"by is 'run' or 'size'; got {by!r}")
    asked, table = decision(fit, N=N, D=D, C=C), make_likelihood(fit)
    groups = [np.array([i]) for i in range(len(fit.runs))] if by == "run" else _sizes(fit)
    values = asked.draws(fit)
    mean, sd = asked.expected(fit, table).mean(), values.std()
    rows = []
    with Progress(progress) as bar:
        for rows_out in bar.steps(
            f"leaving out {by}", groups, lambda left: fit.runs.table.index[left[0]]
        ):
            row = _leave_out(fit, table, asked, rows_out, refit, {"seed": seed} | sampler)
            rows.append(row | {"shift": row["shift"] - mean})
    return _lay_out(
        fit, groups, rows, by, {"decision": asked.words, "mean": float(mean), "sd": float(sd)}
    )


def decision(fit: Fit, *, N: Any = None, D: Any = None, C: Any = None) -> Decision:
    """Read the decision asked for: log N* where C comes alone, else the loss of the curve at one target.

    Raises
    ------
    QueryError
        As `scalebayes.frontier` and `scalebayes.predict`, and for more than one budget or target.
    """
    if N is None and D is None and C is not None and fit.spec.law_object.inputs == ("N", "D"):
        found = frontier(fit, C=C)
        _one(found, "budget")
        at = float(found["C"].item())

        def log_size(one: Fit) -> np.ndarray:
            return np.log(frontier(one, C=at)["N"].values).ravel()

        return Decision(
            f"log N* at {format_quantity(at)} FLOP",
            log_size,
            lambda one, _: log_size(one),
            lambda one, _, rows: log_size(
                one if one.spec.observation.samples_discrepancy else keep(one, rows)
            ),
        )
    found = predict(fit, N=N, D=D, C=C)
    _one(found, "target")
    given = {x: found[x].values for x in ("N", "D", "C") if x in found.coords}
    words = ", ".join(f"{x} = {format_quantity(float(value[0]))}" for x, value in given.items())
    return Decision(f"loss at {words}", lambda one: _loss(one, given), *_expected_loss(given))


def _one(found: xr.Dataset, dim: str) -> None:
    if found.sizes[dim] != 1:
        raise QueryError(f"influence is that on one {dim}; got {found.sizes[dim]}")


def _loss(fit: Fit, given: dict[str, np.ndarray]) -> np.ndarray:
    return predict(fit, N=given.get("N"), D=given.get("D"), C=given.get("C"))["loss"].values.ravel()


def _expected_loss(
    given: dict[str, np.ndarray],
) -> tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]:
    """Loss of the curve under each draw, its discrepancy averaged over: law exp(m + v/2)."""

    def law(fit: Fit) -> np.ndarray:
        parameters = {name: values.reshape(-1, 1) for name, values in law_parameters(fit).items()}
        return fit.spec.law_object(*(given[x] for x in fit.spec.law_object.inputs), **parameters)[
            :, 0
        ]

    def at(fit: Fit, table: Likelihood) -> np.ndarray:
        return table.points(given[x] for x in fit.spec.law_object.inputs)

    def expected(fit: Fit, table: Likelihood) -> np.ndarray:
        mean, variance = table.off(at(fit, table))
        return law(fit) * np.exp(mean + variance / 2)[:, 0]

    def without(fit: Fit, table: Likelihood, rows: np.ndarray) -> np.ndarray:
        _, mean, variance = table.left_out(rows, at(fit, table))
        return law(fit) * np.exp(mean + variance / 2)[:, 0]

    return expected, without


def keep(fit: Fit, out: np.ndarray) -> Fit:
    """The same draws on a table without some rows, so that a query conditions its discrepancy on the others alone."""
    kept = np.delete(np.arange(len(fit.runs)), out)
    return replace(fit, runs=replace(fit.runs, table=fit.runs.table.iloc[kept]))


def _leave_out(
    fit: Fit,
    table: Likelihood,
    asked: Decision,
    rows: np.ndarray,
    refit: bool,
    sampler: dict[str, Any],
) -> dict[str, Any]:
    """Mean of the decision without some rows, and how it was found."""
    log_density, *_ = table.left_out(rows)
    weights, k = smoothed_weights(fit, log_density)
    found = {"pareto_k": k, "refitted": False, "gate_failed": False}
    if not refit or k <= trusted(len(log_density)):
        return found | {"shift": float(weights @ asked.without(fit, table, rows))}
    others = keep(fit, rows).runs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GateWarning)  # the row says it
        again = sample(others, fit.spec, progress=False, **sampler)
    mean = float(asked.expected(again, make_likelihood(again)).mean())
    return found | {"shift": mean, "refitted": True, "gate_failed": bool(again.gate_failures)}


def smoothed_weights(fit: Fit, log_density: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights 1 / density, Pareto smoothed, one in sum, and the k of their tail."""
    import arviz_stats as azs

    sizes = draws(fit).sizes
    efficiency = azs.ess(draws(fit), method="mean").to_dataarray().mean() / log_density.size
    array = xr.DataArray(log_density.reshape(sizes["chain"], sizes["draw"]), dims=("chain", "draw"))
    log_weights, k = array.azstats.psislw(dim=["chain", "draw"], r_eff=float(efficiency))
    weights = np.exp(log_weights.values.ravel() - log_weights.values.max())
    return weights / weights.sum(), float(k)


def trusted(size: int) -> float:
    """The largest k at which so many draws give weights to be trusted."""
    return min(TRUSTED, 1 - 1 / float(np.log10(size)))


def _sizes(fit: Fit) -> list[np.ndarray]:
    labels = size_labels(fit.runs.N)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _lay_out(
    fit: Fit, groups: list[np.ndarray], rows: list[dict[str, Any]], by: str, about: dict[str, Any]
) -> pd.DataFrame:
    import pandas as pd

    runs = fit.runs.table
    found = pd.DataFrame(rows)
    found.insert(1, "shift_sd", found["shift"] / about["sd"])
    if by == "run":
        inputs = runs[[*(x for x in ("N", "D") if x in runs), "loss"]]
        table = inputs.join(
            found[["shift", "shift_sd", "pareto_k", "refitted", "gate_failed"]].set_index(
                runs.index
            )
        )
    else:
        index = pd.Index([float(np.median(fit.runs.N[g])) for g in groups], name="N")
        table = found[["shift", "shift_sd", "pareto_k", "refitted", "gate_failed"]].set_index(index)
        table.insert(0, "runs", [len(g) for g in groups])
    table = table.sort_values("shift", key=abs, ascending=False, kind="stable")
    table.attrs.update(about)
    return table
