"""The exponent that a study of small models finds when it counts parameters without embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scalebayes.costs.counting import NON_EMBEDDING, non_embedding_parameters, total_parameters
from scalebayes.laws import Law
from scalebayes.queries.optimum import numeric_optimum

SIZES = np.logspace(2.9, 9.2, 20)
"""Kaplan's range of sizes, non-embedding parameters."""


BUDGETS = {"total": np.logspace(14, 20.7, 100), "non_embedding": np.logspace(12.95, 20.7, 100)}
"""Budgets in FLOP that those sizes serve, by what N counts in C = 6 N D."""


TOKENS = np.logspace(6, 25, 1000)
"""Lengths of the simulated runs."""


def simulated_exponents(law: Law, parameters: Mapping[str, Any]) -> dict[str, Any]:
    r"""Exponents that a study of small models would find if a law of total parameters were exactly true.

    Runs without noise of models of all `SIZES` on all of `TOKENS`; for each of 100 budgets C = 6 N D the run of each
    model nearest in compute, and of those the best; then least squares of log N* on log C. N counts all parameters or
    those outside the embeddings, in C too; the losses are the same.

    Parameters
    ----------
    law
        A law of total N and D.
    parameters
        Its parameters: numbers, or arrays of draws of one shape.

    Returns
    -------
    dict
        ``total`` and ``non_embedding``, exponents of N* ~ C^a, and ``loss_total`` and ``loss_non_embedding``, those of
        L ~ C^b, floor included; each of the parameters' shape.

    References
    ----------
    Pearce and Song (2024), arXiv:2406.12907, section 3.1 and figure 3: .78 with the coefficients of Besiroglu et al.
    (2024), .74 with those of Hoffmann et al. (2022).
    """
    N_total = total_parameters(SIZES)
    last = {name: np.asarray(value, float)[..., None, None] for name, value in parameters.items()}
    out = {}
    for counted, size in {"total": N_total, "non_embedding": SIZES}.items():
        C = BUDGETS[counted]
        nearest = np.abs(6 * size[:, None] * TOKENS - C[:, None, None]).argmin(axis=-1)
        loss = law(N_total, TOKENS[nearest], **last)
        best = loss.argmin(axis=-1)
        out[counted] = _slope(np.log(C), np.log(size[best]))
        out[f"loss_{counted}"] = _slope(np.log(C), np.log(loss.min(axis=-1)))
    return out


def local_exponent(law: Law, parameters: Mapping[str, Any], C: float) -> np.ndarray:
    """Exponent a of N* ~ C^a around a budget, N and C without embeddings, if a law of total parameters is true.

    At small C, where embeddings are most of a model, it is above the law's own exponent, and nears it as C grows.

    Parameters
    ----------
    law, parameters
        A law of total N and D, and arrays of draws.
    C
        Non-embedding FLOP.
    """
    values = {name: np.asarray(value, float) for name, value in parameters.items()}
    low, high = (
        np.log(non_embedding_parameters(numeric_optimum(law, values, C * step, NON_EMBEDDING)))
        for step in (0.5, 2.0)
    )
    return (high - low) / np.log(4.0)


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares slope along the last axis."""
    centred = x - x.mean()
    return (y @ centred) / (centred @ centred)
