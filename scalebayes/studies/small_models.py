"""The exponent that a study of small models finds when it counts parameters without embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scalebayes.costs.counting import NON_EMBEDDING, non_embedding_parameters, total_parameters
from scalebayes.laws import Law
from scalebayes.queries.optima.one_budget import numeric_optimum

SIZES = np.logspace(2.9, 9.2, 20)
"""Kaplan's range of sizes, in non-embedding parameters: 800 to 1.6B."""

BUDGETS = {"total": np.logspace(14, 20.7, 100), "non_embedding": np.logspace(12.95, 20.7, 100)}
"""Budgets in FLOP whose optima are among those sizes, by the parameters that C = 6 N D counts."""

TOKENS = np.logspace(6, 25, 1000)
"""Tokens of the simulated runs, so many and so far apart that every budget has a run nearby."""


def simulated_exponents(law: Law, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the exponents that a study of small models finds if a law of total parameters holds.

    The study has a run without noise for every size in `SIZES` and every number of tokens in
    `TOKENS`. For each of 100 budgets C = 6 N D it takes the run of each size nearest in compute,
    and of those the one with the least loss, and regresses its log N on log C. N counts either
    all parameters or non-embedding parameters, in C too; the losses are the same.

    Parameters
    ----------
    law
        A law of total N and D.
    parameters
        Its parameters: numbers, or arrays of draws of one shape.

    Returns
    -------
    dict
        ``total`` and ``non_embedding``, the exponents a of N* ~ C^a, and ``loss_total`` and
        ``loss_non_embedding``, the exponents b of L ~ C^b, with the floor included in L. Each has
        the shape of the parameters.

    References
    ----------
    Pearce and Song (2024), arXiv:2406.12907, section 3.1 and figure 3: a = 0.78 with the
    coefficients of Besiroglu et al. (2024), 0.74 with those of Hoffmann et al. (2022).
    """
    N_total = total_parameters(SIZES)
    # Two trailing axes, to broadcast over budgets and sizes.
    draws = {name: np.asarray(value, float)[..., None, None] for name, value in parameters.items()}
    sizes = {"total": N_total, "non_embedding": SIZES}
    out = {}
    for counted, size in sizes.items():
        C = BUDGETS[counted]
        compute = 6 * size[:, None] * TOKENS
        nearest = np.abs(compute - C[:, None, None]).argmin(axis=-1)  # (budgets, sizes)
        loss = law(N_total, TOKENS[nearest], **draws)
        best = loss.argmin(axis=-1)
        out[counted] = _slope(np.log(C), np.log(size[best]))
        out[f"loss_{counted}"] = _slope(np.log(C), np.log(loss.min(axis=-1)))
    return out


def local_exponent(law: Law, parameters: Mapping[str, Any], C: float) -> np.ndarray:
    """Return the exponent a of N* ~ C^a near a budget, N and C without embeddings.

    The law of total parameters is taken as true. At small C, where embeddings are most of a model,
    a is larger than the law's own exponent; it approaches that exponent as C grows.

    Parameters
    ----------
    law, parameters
        A law of total N and D, and arrays of draws.
    C
        Non-embedding FLOP. The slope is taken between C / 2 and 2 C.
    """
    values = {name: np.asarray(value, float) for name, value in parameters.items()}

    def log_optimum(budget: float) -> np.ndarray:
        N_total = numeric_optimum(law, values, budget, NON_EMBEDDING)
        return np.asarray(np.log(non_embedding_parameters(N_total)))

    rise = log_optimum(2.0 * C) - log_optimum(0.5 * C)
    return np.asarray(rise / np.log(4.0))


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the least-squares slope along the last axis."""
    centred = x - x.mean()
    return (y @ centred) / (centred @ centred)
