"""Weights of an average of fits by their forecasts of larger runs: stacking by forward chaining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scalebayes.data.runs import Runs
from scalebayes.data.subsets import MIN_TRAINING_RUNS, Split, make_splits, rows_of
from scalebayes.errors import QueryError
from scalebayes.fitting.fit import fit as fit_runs
from scalebayes.posterior.fit import Fit, refuse_view
from scalebayes.queries.predictive_density import log_predictive_density
from scalebayes.utils.progress import Progress

SAMPLER = {"draws": 1000, "chains": 2}
"""Options of the refits: enough draws for the density of a forecast."""


def forward_weights(
    fits: Mapping[str, Fit], *, seed: int = 0, progress: bool | None = None
) -> dict[str, float]:
    r"""Return the weights by label that would have forecast the larger runs best.

    The runs are ordered by compute. Each model is fitted to the 40%, 50% ... 80% of the runs of
    least compute, and each fit scores the runs up to the next share (the last scores all that are
    left), so that every run above the first 40% is scored once. With :math:`p_{kr}` the predictive
    density of the loss of run r under the fit of model k to runs of less compute, the weights are

    .. math:: \arg\max_w \frac{1}{R} \sum_{r=1}^{R} \log \sum_k w_k p_{kr},
              \qquad w_k \geq 0, \quad \sum_k w_k = 1.

    The objective is concave. In contrast to leave-one-out stacking, it scores forecasts beyond the
    runs of a fit, at the short distances to the next share.

    Raises
    ------
    QueryError
        When a fit is a group of a pooled one, or the optimiser fails.
    RunsError
        When the runs have no compute, or are too few to be split.

    References
    ----------
    Geisser (1975), The predictive sample reuse method with applications,
    doi:10.1080/01621459.1975.10479865.
    Yao, Vehtari, Simpson and Gelman (2018), Using stacking to average Bayesian predictive
    distributions, doi:10.1214/17-BA1091.
    """
    for one in fits.values():
        refuse_view(one, "forward weights are not supported: give weights by label")
    if len(fits) == 1:
        return dict.fromkeys(fits, 1.0)
    runs = next(iter(fits.values())).runs
    blocks = next_blocks(runs, _fewest_runs(fits))
    with Progress(progress) as bar:
        steps = bar.steps("forward chaining", blocks, lambda block: block.label)
        densities = [_log_densities(fits, block, seed) for block in steps]
    weights = best_weights(np.concatenate(densities))
    return dict(zip(fits, weights.tolist(), strict=True))


def next_blocks(runs: Runs, fewest: int = MIN_TRAINING_RUNS) -> list[Split]:
    """Return splits by compute whose held-out runs reach up to the next split's training runs.

    Runs of equal compute stay together. fewest: the least number of training runs.
    """
    splits, _ = make_splits(runs, fewest=fewest)
    ends = [float(split.train.C.max()) for split in splits[1:]] + [np.inf]
    blocks = []
    for split, end in zip(splits, ends, strict=True):
        held_out = rows_of(split.held_out, end >= split.held_out.C)
        blocks.append(Split(split.label, split.train, held_out))
    return blocks


def _fewest_runs(fits: Mapping[str, Fit]) -> int:
    """Return the least number of runs that every model can be fitted to."""
    parameters = [len(one.spec.law_object.parameters) for one in fits.values()]
    return max(MIN_TRAINING_RUNS, max(parameters) + 1)


def _log_densities(fits: Mapping[str, Fit], block: Split, seed: int) -> np.ndarray:
    """Return the log density of a block's held-out runs under each model, (runs, models)."""
    options: dict[str, Any] = SAMPLER | {"seed": seed, "progress": False}
    columns = []
    for one in fits.values():
        refit = fit_runs(block.train, one.spec, **options)
        columns.append(log_predictive_density(refit, block.held_out, seed=seed))
    return np.column_stack(columns)


def best_weights(log_densities: np.ndarray) -> np.ndarray:
    """Return the weights on the simplex of the largest mean log density of the mixture, (models,).

    log_densities : shape (runs, models).

    Raises
    ------
    QueryError
        When the optimiser fails.
    """
    from scipy.optimize import LinearConstraint, minimize

    runs, models = log_densities.shape
    # Dividing the densities of a run by its largest adds a constant to the objective.
    densities = np.exp(log_densities - log_densities.max(axis=1, keepdims=True))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Return minus the mean log density of the mixture, and its gradient."""
        mixture = densities @ weights
        gradient = -(densities / mixture[:, None]).mean(axis=0)
        return -float(np.log(mixture).mean()), gradient

    found = minimize(
        loss,
        np.full(models, 1 / models),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * models,
        constraints=LinearConstraint(np.ones(models), 1.0, 1.0),
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    if not found.success:
        raise QueryError(f"no forward weights were found for {runs} runs: {found.message}")
    weights = found.x.clip(0.0)
    return weights / weights.sum()
