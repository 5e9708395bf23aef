"""What counts as a parameter: totals from non-embedding parameters and back, and what the choice does to exponents."""

from __future__ import annotations

from typing import Any

import numpy as np

from scalebayes.costs.cost import Cost

EMBEDDING = 47491.0
"""Embedding parameters per cube root of the non-embedding ones, fitted to Chinchilla's models (vocabulary of 32000)."""


def total_parameters(N: Any, embedding: float = EMBEDDING) -> Any:
    """N_total = N + w N^(1/3), N without embeddings: width goes with the cube root of size at a fixed aspect ratio.

    Parameters
    ----------
    N
        Non-embedding parameters, a number or an array.
    embedding
        The constant w; 47491 for Chinchilla's models.

    References
    ----------
    Pearce and Song (2024), Reconciling Kaplan and Chinchilla scaling laws, arXiv:2406.12907, section 3.
    """
    return N + embedding * np.cbrt(N)


def non_embedding_parameters(N_total: Any, embedding: float = EMBEDDING) -> Any:
    """Invert `total_parameters`: N = x^3 at the real root of x^3 + w x = N_total, by the hyperbolic closed form.

    Parameters
    ----------
    N_total
        Parameters with embeddings, a number or an array.
    embedding
        The constant w.
    """
    root = np.sqrt(embedding / 3)
    return (2 * root * np.sinh(np.arcsinh(N_total / (2 * root**3)) / 3)) ** 3


NON_EMBEDDING = Cost(
    "6 N D, N without embeddings",
    lambda N, D: 6.0 * non_embedding_parameters(N) * D,
    lambda N, C: C / (6.0 * non_embedding_parameters(N)),
)
"""Compute as Kaplan et al. (2020) count it, of N total parameters: for `scalebayes.frontier(..., cost=)`."""
