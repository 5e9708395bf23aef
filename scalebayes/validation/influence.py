r"""Influence of runs on a decision: the decision again without a run, or without all of a size.

Draws of the parameters given all runs become draws given all runs but the rows G by importance
weights

    w_s proportional to 1 / p(y_G | y_-G, theta_s),

whose tail is smoothed by a Pareto distribution. Its shape k says whether the weights can be trusted
(Vehtari et al. 2024); where they cannot, the other runs are fitted again. Without a discrepancy
p(y_G | y_-G, theta) is a product over the runs. With one it is a joint conditional density
(`scalebayes.posterior.likelihood`), and the discrepancy is conditioned on the other runs too.

References
----------
Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling,
arXiv:1507.02646.
Buerkner, Gabry and Vehtari (2021), Efficient leave-one-out cross-validation for non-factorized
models, doi:10.1007/s00180-020-01045-4.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, override

import numpy as np
import xarray as xr

from scalebayes.data.subsets import size_labels
from scalebayes.errors import GateWarning, QueryError
from scalebayes.fitting.fit import fit as sample
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit, draws, law_parameters
from scalebayes.posterior.likelihood import Likelihood, make_likelihood
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import Budgets, read_question
from scalebayes.queries.predict import predict
from scalebayes.summaries.caveats import failure_messages
from scalebayes.units import format_quantity
from scalebayes.utils.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

TRUSTED_K = 0.7
"""Pareto k up to which weights are trusted when there are many draws (Vehtari et al. 2024)."""


class Decision(ABC):
    """One number that depends on a fit: a loss or the log of a size."""

    @property
    @abstractmethod
    def words(self) -> str:
        """Name of the decision, such as "loss at N = 70B, D = 1.4T"."""

    @abstractmethod
    def draws(self, fit: Fit) -> np.ndarray:
        """Posterior draws of the decision, shape (draws,)."""

    @abstractmethod
    def expected(self, fit: Fit, likelihood: Likelihood) -> np.ndarray:
        """Expectation of the decision under each draw, given all runs of the fit, (draws,)."""

    @abstractmethod
    def expected_without(self, fit: Fit, likelihood: Likelihood, rows: np.ndarray) -> np.ndarray:
        """Expectation under each draw, given all runs of the fit but these rows, (draws,)."""


@dataclass(frozen=True)
class LogSize(Decision):
    """The log of the compute-optimal N at a budget in FLOP."""

    budget: float

    @property
    @override
    def words(self) -> str:
        return f"log N* at {format_quantity(self.budget)} FLOP"

    @override
    def draws(self, fit: Fit) -> np.ndarray:
        return np.log(frontier(fit, C=self.budget)["N"].values).ravel()

    @override
    def expected(self, fit: Fit, likelihood: Likelihood) -> np.ndarray:
        return self.draws(fit)

    @override
    def expected_without(self, fit: Fit, likelihood: Likelihood, rows: np.ndarray) -> np.ndarray:
        # Given the parameters, the optimum depends on the runs only through an integrated
        # discrepancy, which a query conditions on the table of the fit.
        if fit.spec.observation.traits.samples_discrepancy:
            return self.draws(fit)
        return self.draws(without_rows(fit, rows))


@dataclass(frozen=True)
class Loss(Decision):
    """Loss of the latent function at one target, given by its inputs, each of shape (1,)."""

    target: dict[str, Any]

    @property
    @override
    def words(self) -> str:
        inputs = [
            f"{name} = {format_quantity(float(value[0]))}" for name, value in self.target.items()
        ]
        return f"loss at {', '.join(inputs)}"

    @override
    def draws(self, fit: Fit) -> np.ndarray:
        return predict(fit, **self.target)["loss"].values.ravel()

    @override
    def expected(self, fit: Fit, likelihood: Likelihood) -> np.ndarray:
        if fit.drift is not None:
            return self.draws(fit)
        mean, variance = likelihood.off(self._scaled(fit, likelihood))
        return self._with_discrepancy(fit, mean, variance)

    @override
    def expected_without(self, fit: Fit, likelihood: Likelihood, rows: np.ndarray) -> np.ndarray:
        # The paths are part of each draw, so that draws need only be weighed anew.
        if fit.drift is not None:
            return self.draws(fit)
        _, mean, variance = likelihood.left_out(rows, self._scaled(fit, likelihood))
        return self._with_discrepancy(fit, mean, variance)

    def _inputs(self, fit: Fit) -> list[np.ndarray]:
        return [self.target[name] for name in fit.spec.law_object.inputs]

    def _scaled(self, fit: Fit, likelihood: Likelihood) -> np.ndarray:
        """Return the target in the coordinates of the discrepancy, if there is one."""
        return likelihood.points(self._inputs(fit))

    def _with_discrepancy(self, fit: Fit, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Return law exp(m + v/2), the mean over a discrepancy Normal(m, v) of log loss."""
        parameters = {name: values.reshape(-1, 1) for name, values in law_parameters(fit).items()}
        law = fit.spec.law_object(*self._inputs(fit), **parameters)[:, 0]
        return law * np.exp(mean + variance / 2)[:, 0]


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
    """Shift of a decision when each run, or all runs of each size, are left out.

    The shift is E[decision | other runs] - E[decision | all runs], in the metric of the runs or in
    log N.

    Parameters
    ----------
    fit
        A fit, sampled or loaded.
    N, D, C
        The decision. C alone: the compute-optimal size, log N* at that budget. A target that
        `scalebayes.predict` takes: the loss of the curve there (with its discrepancy, where the
        spec has one).
    by
        ``"run"``, or ``"size"``: runs whose N agree within 1% of the next are one size.
    refit
        Whether the other runs are fitted again where the weights cannot be trusted; without it the
        estimate by weights is returned, and ``pareto_k`` shows that it is unreliable.
    seed, progress, **sampler
        Options of these fits, as for `scalebayes.fit`.

    Returns
    -------
    pandas.DataFrame
        One row for each run (its inputs and loss) or size (the number of its runs), largest shift
        first.

        - ``shift``: the shift of the posterior mean.
        - ``shift_sd``: the shift in posterior standard deviations of the decision.
        - ``pareto_k``: shape of the tail of the weights.
        - ``refitted``: whether the other runs were fitted again.
        - ``gate_failed``: whether that fit failed its convergence checks.

        ``attrs`` hold the name of the decision (``decision``), its posterior ``mean`` and
        ``sd``, the ``metric`` of the runs, and failed convergence checks as ``caveats``.

    Notes
    -----
    Shifts of refits, and of log N* where the spec has a discrepancy, have sampling noise of about
    0.03 standard deviations at 4000 draws. Shifts of a standard deviation by weights alone may be a
    tenth too small.

    Raises
    ------
    QueryError
        If there is not exactly one target or budget, if `by` is neither "run" nor "size", or for an
        average.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling,
    arXiv:1507.02646.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> table = sb.influence(fit, N="70B", D="1.4T", refit=False)
    >>> table[["N", "D", "shift_sd"]].head(2)
                    N             D  shift_sd
    run
    245  6.795610e+09  3.177542e+11  0.328554
    48   1.429230e+09  1.133519e+09 -0.289518
    """
    if isinstance(fit, Average):
        raise QueryError(
            "influence takes one fit, got an average: ask each fit of the average by itself"
        )
    if by not in ("run", "size"):
        raise QueryError(f"by is 'run' or 'size'; got {by!r}")
    asked = decision(fit, N=N, D=D, C=C)
    likelihood = make_likelihood(fit)
    if by == "size":
        groups = _rows_by_size(fit)
    else:
        groups = [np.array([row]) for row in range(len(fit.runs))]
    mean = asked.expected(fit, likelihood).mean()
    sd = asked.draws(fit).std()
    options = {"seed": seed} | sampler
    found = []
    with Progress(progress) as bar:
        steps = bar.steps(f"leaving out {by}", groups, lambda rows: fit.runs.table.index[rows[0]])
        for rows in steps:
            without = _leave_out(fit, likelihood, asked, rows, refit, options)
            shift = without.mean - mean
            found.append(
                {
                    "shift": shift,
                    "shift_sd": shift / sd,
                    "pareto_k": without.pareto_k,
                    "refitted": without.refitted,
                    "gate_failed": without.gate_failed,
                }
            )
    table = _table_by_size(fit, groups, found) if by == "size" else _table_by_run(fit, found)
    table = table.sort_values("shift", key=abs, ascending=False, kind="stable")
    table.attrs.update({"decision": asked.words, "mean": float(mean), "sd": float(sd)})
    table.attrs["metric"] = fit.runs.metric
    table.attrs["caveats"] = failure_messages(fit.spec.name, fit.gate_failures)
    return table


def decision(fit: Fit, *, N: Any = None, D: Any = None, C: Any = None) -> Decision:
    """Return the decision: log N* at a budget if only C is given, else the loss at a target.

    Raises
    ------
    QueryError
        As `scalebayes.frontier` and `scalebayes.predict`, and for more than one budget or target.
    """
    question = read_question(fit, N=N, D=D, C=C)
    if isinstance(question, Budgets):
        answer = frontier(fit, C=question.C)
        _require_one(answer, "budget")
        return LogSize(float(answer["C"].item()))
    answer = predict(fit, N=N, D=D, C=C)
    _require_one(answer, "target")
    given = [name for name in ("N", "D", "C") if name in answer.coords]
    return Loss({name: answer[name].values for name in given})


def _require_one(answer: xr.Dataset, dim: str) -> None:
    if answer.sizes[dim] != 1:
        raise QueryError(f"influence takes one {dim}; got {answer.sizes[dim]}")


def without_rows(fit: Fit, rows: np.ndarray) -> Fit:
    """Return a fit with the same draws on a table without these rows.

    A query of it conditions an integrated discrepancy on the other rows only.
    """
    kept = np.delete(np.arange(len(fit.runs)), rows)
    return replace(fit, runs=replace(fit.runs, table=fit.runs.table.iloc[kept]))


@dataclass(frozen=True)
class _Without:
    """Posterior mean of a decision without some rows, and how it was found."""

    mean: float
    pareto_k: float
    refitted: bool = False
    gate_failed: bool = False


def _leave_out(
    fit: Fit,
    likelihood: Likelihood,
    asked: Decision,
    rows: np.ndarray,
    refit: bool,
    sampler: dict[str, Any],
) -> _Without:
    """Return the decision without some rows, by weights or, where they fail, by another fit."""
    log_density, *_ = likelihood.left_out(rows)
    weights, k = smoothed_weights(fit, log_density)
    if not refit or k <= trusted_k(len(log_density)):
        expected = asked.expected_without(fit, likelihood, rows)
        return _Without(float(weights @ expected), k)
    others = without_rows(fit, rows).runs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GateWarning)  # the column gate_failed reports it
        again = sample(others, fit.spec, progress=False, **sampler)
    mean = float(asked.expected(again, make_likelihood(again)).mean())
    return _Without(mean, k, refitted=True, gate_failed=bool(again.gate_failures))


def smoothed_weights(fit: Fit, log_density: np.ndarray) -> tuple[np.ndarray, float]:
    """Return Pareto-smoothed weights proportional to 1 / density, and the shape k of their tail.

    log_density: shape (draws,). The weights have the same shape and sum to one.
    """
    from scalebayes.utils.arviz import azs

    posterior = draws(fit)
    shape = (posterior.sizes["chain"], posterior.sizes["draw"])
    # Draws of a Markov chain are worth fewer independent ones. The relative efficiency sets the
    # number of draws that count as the tail.
    efficiency = azs.ess(posterior, method="mean").to_dataarray().mean() / log_density.size
    array = xr.DataArray(log_density.reshape(shape), dims=("chain", "draw"))
    log_weights, k = array.azstats.psislw(dim=["chain", "draw"], r_eff=float(efficiency))
    # Subtracting the largest log weight prevents overflow; the sum divides it out again.
    weights = np.exp(log_weights.values.ravel() - log_weights.values.max())
    return weights / weights.sum(), float(k)


def trusted_k(size: int) -> float:
    """Return the largest Pareto k at which the importance weights of ``size`` draws are reliable.

    It is min(0.7, 1 - 1 / log10(size)) (Vehtari et al. 2024).
    """
    return min(TRUSTED_K, 1 - 1 / float(np.log10(size)))


def _rows_by_size(fit: Fit) -> list[np.ndarray]:
    """Return the row numbers of each model size."""
    labels = size_labels(fit.runs.N)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _table_by_run(fit: Fit, found: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the shifts beside the inputs and the loss of each run."""
    import pandas as pd

    runs = fit.runs.table
    columns = [name for name in ("N", "D", "loss") if name in runs]
    return runs[columns].join(pd.DataFrame(found, index=runs.index))


def _table_by_size(fit: Fit, groups: list[np.ndarray], found: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the shifts by the median N of each size, beside the number of its runs."""
    import pandas as pd

    sizes = [float(np.median(fit.runs.N[rows])) for rows in groups]
    table = pd.DataFrame(found, index=pd.Index(sizes, name="N"))
    table.insert(0, "runs", [len(rows) for rows in groups])
    return table
