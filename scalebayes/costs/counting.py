"""Total and non-embedding parameters, converted into each other by the relation of one family."""

from __future__ import annotations

from typing import Any

import numpy as np

from scalebayes.costs.cost import Cost, positive_numbers

EMBEDDING = 47491.0
"""Embedding parameters per cube root of the non-embedding parameters.

Fitted to Chinchilla's models, whose vocabulary has 32000 entries (Pearce and Song 2024).
"""


def total_parameters(N: Any, embedding: float = EMBEDDING) -> Any:
    """Return the total parameters, N_total = N + w N^(1/3), of N non-embedding parameters.

    Embeddings are proportional to the width, which at a fixed aspect ratio is proportional to the
    cube root of N.

    Parameters
    ----------
    N
        Non-embedding parameters: a number, text such as "52.9M", a list or an array.
    embedding
        The constant w; 47491 for Chinchilla's models.

    References
    ----------
    Pearce and Song (2024), Reconciling Kaplan and Chinchilla scaling laws, arXiv:2406.12907,
    section 3.

    Examples
    --------
    >>> f"{sb.total_parameters('52.9M'):.3g}"
    '7.07e+07'
    """
    N = positive_numbers("N", N)
    return N + embedding * np.cbrt(N)


def non_embedding_parameters(N_total: Any, embedding: float = EMBEDDING) -> Any:
    """Return the non-embedding parameters, the inverse of `total_parameters`.

    N = x^3, where x is the real root of x^3 + w x = N_total.

    Parameters
    ----------
    N_total
        Total parameters: a number, text such as "70M", a list or an array.
    embedding
        The constant w.

    Examples
    --------
    >>> f"{sb.non_embedding_parameters(70e6):.3g}"
    '5.22e+07'
    """
    return depressed_cubic_root(embedding, positive_numbers("N_total", N_total)) ** 3


def depressed_cubic_root(p: Any, q: Any) -> Any:
    """Return the real root of x^3 + p x = q for p > 0, by the hyperbolic form of Cardano's formula.

    p, q: numbers or arrays that broadcast.
    """
    scale = np.sqrt(p / 3)
    return 2 * scale * np.sinh(np.arcsinh(q / (2 * scale**3)) / 3)


def _flop(N: Any, D: Any) -> Any:
    return 6.0 * non_embedding_parameters(N) * D


def _tokens(N: Any, C: Any) -> Any:
    return C / (6.0 * non_embedding_parameters(N))


NON_EMBEDDING = Cost("6 N D, N without embeddings", _flop, _tokens)
"""Training compute of N total parameters as Kaplan et al. (2020) count it, without embeddings.

For queries with a cost, such as ``scalebayes.frontier(fit, C=1e22, cost=NON_EMBEDDING)``.
"""
