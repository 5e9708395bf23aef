"""Transformers by shape: what their parameters are, what a token costs them, and costs of every size in a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalebayes.costs.cost import SIX_ND, Cost, positive
from scalebayes.errors import QueryError

type Numeric = Any

ASPECT = 39.2
"""Width over layers of Chinchilla's models as a family: with 32000 words it is Pearce and Song's 47491 N^(1/3)."""
VOCABULARY, CONTEXT, HEAD_SIZE = 32_000, 2048, 128
"""Chinchilla's vocabulary and context, and its heads' size from 400M parameters on."""


@dataclass(frozen=True)
class Shape:
    """A decoder: numbers, or arrays of one shape for a whole family.

    Attributes
    ----------
    layers, width
        Blocks, and the size of the residual stream.
    vocabulary, context
        Entries of the tokenizer, and tokens of a training sequence.
    feedforward
        Width of the feed-forward layer; four times the width where not given.
    head_size
        Size of an attention head; the heads together are as wide as the model.
    tied
        Whether one matrix serves as embedding and as the last layer.
    """

    layers: Numeric
    width: Numeric
    vocabulary: Numeric = VOCABULARY
    context: Numeric = CONTEXT
    feedforward: Numeric | None = None
    head_size: Numeric = HEAD_SIZE
    tied: bool = True

    def __repr__(self) -> str:
        """Say the sizes, to four digits where they are numbers."""
        sizes = {name: getattr(self, name) for name in ("layers", "width", "vocabulary", "context")}
        words = [
            f"{name} {value:.4g}" if np.ndim(value) == 0 else f"{name} {value}"
            for name, value in sizes.items()
        ]
        return f"<Shape: {', '.join(words)}>"

    @property
    def non_embedding(self) -> Numeric:
        """N = layers (4 width^2 + 2 width feedforward), 12 layers width^2 as usual (Kaplan et al. 2020, eq. 2.1)."""
        hidden = 4.0 * self.width if self.feedforward is None else self.feedforward
        return self.layers * self.width * (4.0 * self.width + 2.0 * hidden)

    @property
    def embedding(self) -> Numeric:
        """Vocabulary * width, twice that where the last layer has a matrix of its own."""
        return self.vocabulary * self.width * (1.0 if self.tied else 2.0)

    @property
    def total(self) -> Numeric:
        """Parameters with embeddings, without biases, norms and positions, which are under 1%."""
        return self.non_embedding + self.embedding


def _attention(shape: Shape) -> Numeric:
    """One product of every token with the whole context in every layer, 2 layers context width FLOP a token."""
    return 2.0 * shape.layers * shape.context * shape.width


def _head(shape: Shape) -> Numeric:
    return 2.0 * shape.vocabulary * shape.width


def _softmax(shape: Shape) -> Numeric:
    return 3.0 * shape.layers * (shape.width / shape.head_size) * shape.context


RULES: dict[str, tuple[str, Callable[[Shape], Numeric]]] = {
    "total": ("2 N, embeddings counted", lambda s: 2.0 * s.total),
    "kaplan": ("2 N without embeddings", lambda s: 2.0 * s.non_embedding),
    "kaplan-context": (
        "2 N without embeddings + 2 layers context width",
        lambda s: 2.0 * s.non_embedding + _attention(s),
    ),
    "head": ("2 N without embeddings + the last layer", lambda s: 2.0 * s.non_embedding + _head(s)),
    "palm": (
        "2 N without embeddings + the last layer + 4 layers context width",
        lambda s: 2.0 * s.non_embedding + _head(s) + 2.0 * _attention(s),
    ),
    "hoffmann": (
        "2 N without embeddings + embedding and last layer + attention and softmax",
        lambda s: 2.0 * s.non_embedding + 2.0 * _head(s) + 2.0 * _attention(s) + _softmax(s),
    ),
}
"""Ways to count the forward pass of one token; a training step is three times that."""


def forward_flop(shape: Shape, rule: str = "palm") -> Numeric:
    """FLOP of a forward pass, a token; training costs three times that (the backward pass twice the forward one).

    ====================  ==========================================================================================
    ``"total"``           2 N, N with embeddings: the usual 6 N D (Hoffmann et al. 2022, eq. 1 and section 3)
    ``"kaplan"``          2 N, N without embeddings (Kaplan et al. 2020, section 2.1)
    ``"kaplan-context"``  the same + 2 layers context width (their table 1: one of attention's two products)
    ``"head"``            2 (N + vocabulary width): the last layer is a matrix product like others, the embedding a
                          look-up (Porian et al. 2024: that is a third of Kaplan's departure)
    ``"palm"``            the same + 4 layers context width (Chowdhery et al. 2022, appendix B)
    ``"hoffmann"``        the same + the embedding as a product, and the softmax (Hoffmann et al. 2022, appendix F)
    ====================  ==========================================================================================

    Attention is counted over the whole context; kernels that skip what the causal mask hides do half of it.

    Raises
    ------
    QueryError
        When there is no such rule.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361. Hoffmann et al. (2022), arXiv:2203.15556. Chowdhery et al. (2022), PaLM,
    arXiv:2204.02311. Porian et al. (2024), arXiv:2406.19146.

    Examples
    --------
    >>> f"{3 * forward_flop(Shape(layers=80, width=8192)):.3g}"  # Chinchilla, a token of training
    '4.04e+11'
    """
    if rule not in RULES:
        raise QueryError(f"FLOP are counted by one of {', '.join(RULES)}; got {rule!r}")
    return RULES[rule][1](shape)


def shape_of(
    N: Numeric,
    *,
    non_embedding: bool = False,
    vocabulary: float | str = VOCABULARY,
    context: float | str = CONTEXT,
    aspect: float = ASPECT,
    tied: bool = True,
) -> Shape:
    """Shape of N parameters in the family of width = aspect * layers: 12 width^3 / aspect + vocabulary width = N.

    Parameters
    ----------
    N
        Parameters, a number or an array.
    non_embedding
        Whether N leaves embeddings out.
    vocabulary, context, aspect, tied
        What the family shares.

    Raises
    ------
    QueryError
        When one of them is not positive.
    """
    V, s, r = (
        positive(n, x)
        for n, x in (("vocabulary", vocabulary), ("context", context), ("aspect", aspect))
    )
    p = 0.0 if non_embedding else V * (1.0 if tied else 2.0) * r / 12.0
    q = np.asarray(N, float) * r / 12.0
    if p == 0.0:
        width = np.cbrt(q)
    else:  # w^3 + p w = q has one real root, by the hyperbolic closed form
        width = 2.0 * np.sqrt(p / 3.0) * np.sinh(np.arcsinh(1.5 * q / p * np.sqrt(3.0 / p)) / 3.0)
    return Shape(width / r, width, V, s, tied=tied)


def transformer_cost(rule: str = "palm", **family: Any) -> Cost:
    """Training compute of every size in a family of transformers, C = 3 forward(N) D, for any query that takes a cost.

    Parameters
    ----------
    rule
        As in `forward_flop`.
    family
        Arguments of `shape_of`: vocabulary, context, aspect, tied, and non_embedding where the runs' N is so counted.

    Raises
    ------
    QueryError
        As `forward_flop` and `shape_of`.
    """
    shape = shape_of(1e9, **family)
    forward_flop(shape, rule)
    of = "N without embeddings, " if family.get("non_embedding") else ""
    about = f"vocabulary {shape.vocabulary:.0f}, context {shape.context:.0f}"

    def per_token(N: Numeric) -> Numeric:
        return 3.0 * forward_flop(shape_of(N, **family), rule)

    return Cost(
        f"transformer FLOP ({rule}; {of}{about})",
        lambda N, D: per_token(N) * D,
        lambda N, C: C / per_token(N),
    )


def sparse_cost(active: float | str, training: Cost = SIX_ND) -> Cost:
    """Training compute of a mixture of experts, C = 6 (active N) D, where N counts all experts.

    A token passes a share of the parameters. Where the runs' N is of active parameters already, 6 N D is right as it
    is, and what experts do for the loss is in the law.

    Parameters
    ----------
    active
        Active parameters over all parameters, above 0 and up to 1.
    training
        What a dense model of as many parameters costs.

    Raises
    ------
    QueryError
        When `active` is not such a share.

    References
    ----------
    Clark et al. (2022), Unified scaling laws for routed language models, arXiv:2202.01169.
    """
    share, dense = positive("active", active), training
    if share > 1:
        raise QueryError(
            f"active is the share of parameters that a token passes, up to 1; got {active}"
        )
    return Cost(
        f"{dense.name}, {share:.3g} of N active",
        lambda N, D: dense.flop(share * N, D),
        lambda N, C: dense.affordable_tokens(share * N, C),
    )
