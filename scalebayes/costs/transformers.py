"""Transformers by shape: their parameters, FLOP per token, and the costs of families of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalebayes.costs.cost import SIX_ND, Cost, positive, positive_numbers
from scalebayes.costs.counting import depressed_cubic_root
from scalebayes.errors import QueryError
from scalebayes.utils.shares import check_share

type Numeric = Any

ASPECT = 39.2
"""Width over layers of Chinchilla's models.

With a vocabulary of 32000 it gives the relation of Pearce and Song, embeddings = 47491 N^(1/3).
"""

VOCABULARY = 32_000
"""Entries of Chinchilla's tokenizer."""

CONTEXT = 2048
"""Tokens in a training sequence of Chinchilla."""

HEAD_SIZE = 128
"""Size of the attention heads of Chinchilla's models from 400M parameters on."""


@dataclass(frozen=True)
class Shape:
    """The shape of a decoder; its attributes are numbers, or arrays of one shape for a family.

    Attributes
    ----------
    layers, width
        Number of blocks, and size of the residual stream.
    vocabulary, context
        Entries of the tokenizer, and tokens in a training sequence.
    feedforward
        Width of the feed-forward layer; if None, four times the width.
    head_size
        Size of an attention head; together the heads are as wide as the model.
    tied
        Whether the embedding and the last layer share one matrix.
    """

    layers: Numeric
    width: Numeric
    vocabulary: Numeric = VOCABULARY
    context: Numeric = CONTEXT
    feedforward: Numeric | None = None
    head_size: Numeric = HEAD_SIZE
    tied: bool = True

    def __repr__(self) -> str:
        """Return the sizes, numbers with four digits."""
        sizes = []
        for name in ("layers", "width", "vocabulary", "context"):
            value = getattr(self, name)
            text = f"{value:.4g}" if np.ndim(value) == 0 else str(value)
            sizes.append(f"{name} {text}")
        return f"<Shape: {', '.join(sizes)}>"

    @property
    def non_embedding(self) -> Numeric:
        """Non-embedding parameters, layers (4 width^2 + 2 width feedforward).

        With the usual feed-forward layer this is 12 layers width^2 (Kaplan et al. 2020, eq. 2.1).
        """
        feedforward = self.feedforward
        if feedforward is None:
            feedforward = 4.0 * self.width
        return self.layers * self.width * (4.0 * self.width + 2.0 * feedforward)

    @property
    def embedding(self) -> Numeric:
        """Embedding parameters: vocabulary times width, and twice that unless tied."""
        one_matrix = self.vocabulary * self.width
        if self.tied:
            return one_matrix
        return 2.0 * one_matrix

    @property
    def total(self) -> Numeric:
        """Total parameters, without biases, norms and positions, which are under 1%."""
        return self.non_embedding + self.embedding


# The rules of `forward_flop`: each returns the FLOP of a forward pass per token.


def _total(shape: Shape) -> Numeric:
    return 2.0 * shape.total


def _kaplan(shape: Shape) -> Numeric:
    return 2.0 * shape.non_embedding


def _kaplan_context(shape: Shape) -> Numeric:
    return _kaplan(shape) + _attention_product(shape)


def _head(shape: Shape) -> Numeric:
    return _kaplan(shape) + _vocabulary_product(shape)


def _palm(shape: Shape) -> Numeric:
    return _head(shape) + 2.0 * _attention_product(shape)


def _hoffmann(shape: Shape) -> Numeric:
    matrices = _kaplan(shape) + 2.0 * _vocabulary_product(shape) + 2.0 * _attention_product(shape)
    softmax = 3.0 * shape.layers * (shape.width / shape.head_size) * shape.context
    return matrices + softmax


def _attention_product(shape: Shape) -> Numeric:
    """Return the FLOP per token of one product of a token with the whole context, in all layers.

    Attention has two: of queries with keys, and of weights with values.
    """
    return 2.0 * shape.layers * shape.context * shape.width


def _vocabulary_product(shape: Shape) -> Numeric:
    """Return the FLOP per token of one product with the matrix of the embedding or last layer."""
    return 2.0 * shape.vocabulary * shape.width


RULES: dict[str, Callable[[Shape], Numeric]] = {
    "total": _total,
    "kaplan": _kaplan,
    "kaplan-context": _kaplan_context,
    "head": _head,
    "palm": _palm,
    "hoffmann": _hoffmann,
}
"""Rules that count the FLOP of a forward pass per token; `forward_flop` describes them."""


def forward_flop(shape: Shape, rule: str = "palm") -> Numeric:
    """Return the FLOP of a forward pass per token, by one of the rules in use.

    Training costs three times that per token, since the backward pass costs two forward passes.

    ====================  ========================================================================
    ``"total"``           2 N, N with embeddings: the usual 6 N D (Hoffmann et al. 2022, eq. 1 and
                          section 3)
    ``"kaplan"``          2 N, N without embeddings (Kaplan et al. 2020, section 2.1)
    ``"kaplan-context"``  "kaplan" + 2 layers context width, one of the two products of attention
                          (Kaplan et al. 2020, table 1)
    ``"head"``            2 (N + vocabulary width), N without embeddings: the last layer is a matrix
                          product, the embedding a look-up (Porian et al. 2024, who attribute a
                          third of the difference between Kaplan and Hoffmann to it)
    ``"palm"``            "head" + 4 layers context width (Chowdhery et al. 2022, appendix B)
    ``"hoffmann"``        "palm" + the embedding as a matrix product, and the softmax
                          (Hoffmann et al. 2022, appendix F)
    ====================  ========================================================================

    Attention is counted over the whole context; kernels that skip the masked half need half of it.

    Raises
    ------
    QueryError
        When there is no such rule.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361. Hoffmann et al. (2022), arXiv:2203.15556.
    Chowdhery et al. (2022), PaLM, arXiv:2204.02311. Porian et al. (2024), arXiv:2406.19146.

    Examples
    --------
    >>> chinchilla = sb.Shape(layers=80, width=8192)
    >>> f"{3 * sb.forward_flop(chinchilla):.3g} FLOP for a token of training"
    '4.04e+11 FLOP for a token of training'
    """
    if rule not in RULES:
        raise QueryError(
            f"the rule that counts FLOP must be one of {', '.join(RULES)}; got {rule!r}"
        )
    return RULES[rule](shape)


def shape_of(
    N: Numeric | str | Sequence[float | str],
    *,
    non_embedding: bool = False,
    vocabulary: float | str = VOCABULARY,
    context: float | str = CONTEXT,
    aspect: float = ASPECT,
    tied: bool = True,
) -> Shape:
    """Return the shape of a model with N parameters in a family with width = aspect * layers.

    The width solves 12 width^3 / aspect + vocabulary width = N, with twice the second term if the
    matrices are not tied, and without it if N excludes embeddings.

    Parameters
    ----------
    N
        Parameters: a number, text such as "70B", a list or an array.
    non_embedding
        Whether N excludes embeddings.
    vocabulary, context, aspect, tied
        The properties shared by the family.

    Raises
    ------
    QueryError
        When the vocabulary, context or aspect is not positive.

    Examples
    --------
    >>> shape = sb.shape_of("70B")
    >>> f"{float(shape.layers):.0f} layers of width {float(shape.width):.0f}"
    '156 layers of width 6109'
    """
    V = positive("vocabulary", vocabulary)
    tokens = positive("context", context)
    ratio = positive("aspect", aspect)
    cube = np.asarray(positive_numbers("N", N), float) * ratio / 12.0
    if non_embedding:
        width = np.cbrt(cube)
    else:
        matrices = 1.0 if tied else 2.0
        width = depressed_cubic_root(matrices * V * ratio / 12.0, cube)
    return Shape(width / ratio, width, V, tokens, tied=tied)


def transformer_cost(rule: str = "palm", **family: Any) -> Cost:
    """Return the training cost C = 3 forward_flop(N) D of a family of transformers.

    Every query with an argument `cost` takes it.

    Parameters
    ----------
    rule
        As in `forward_flop`.
    family
        Arguments of `shape_of`: vocabulary, context, aspect, tied, and non_embedding=True if the
        N of the runs excludes embeddings.

    Raises
    ------
    QueryError
        As `forward_flop` and `shape_of`.

    Examples
    --------
    >>> cost = sb.transformer_cost("palm", context=4096)
    >>> f"{cost.flop(7e9, 140e9):.2e}", f"{sb.SIX_ND.flop(7e9, 140e9):.2e}"
    ('7.28e+21', '5.88e+21')
    """
    # Any size will do: this checks the arguments and reads the vocabulary and context.
    shape = shape_of(1e9, **family)
    forward_flop(shape, rule)
    name = f"vocabulary {shape.vocabulary:.0f}, context {shape.context:.0f}"
    if family.get("non_embedding"):
        name = f"N without embeddings, {name}"

    def per_token(N: Numeric) -> Numeric:
        return 3.0 * forward_flop(shape_of(N, **family), rule)

    def flop(N: Numeric, D: Numeric) -> Numeric:
        return per_token(N) * D

    def tokens(N: Numeric, C: Numeric) -> Numeric:
        return C / per_token(N)

    return Cost(f"transformer FLOP ({rule}; {name})", flop, tokens)


def sparse_cost(active: float | str, training: Cost = SIX_ND) -> Cost:
    """Return the training cost C = 6 (active N) D of mixtures of experts, N of all experts.

    Each token uses only a share of the parameters. If the N of the runs counts active parameters,
    use 6 N D instead; the law describes the effect of the number of experts on the loss.

    Parameters
    ----------
    active
        Active parameters over all parameters, above 0 and at most 1.
    training
        The cost of a dense model with as many parameters as are active.

    Raises
    ------
    QueryError
        When `active` is not such a share.

    References
    ----------
    Clark et al. (2022), Unified scaling laws for routed language models, arXiv:2202.01169.

    Examples
    --------
    >>> cost = sb.sparse_cost(active=0.25)
    >>> f"{cost.flop(280e9, 1e12):.2e}", f"{sb.SIX_ND.flop(280e9, 1e12):.2e}"
    ('4.20e+23', '1.68e+24')
    """
    share = positive("active", active)
    check_share("active", share, "the share of the parameters that a token uses")

    def flop(N: Numeric, D: Numeric) -> Numeric:
        return training.flop(share * N, D)

    def tokens(N: Numeric, C: Numeric) -> Numeric:
        return training.affordable_tokens(share * N, C)

    return Cost(f"{training.name}, {share:.3g} of N active", flop, tokens)
