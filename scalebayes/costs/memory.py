"""Limits on memory: the parameters of a mixture of experts in all, not per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scalebayes.costs.cost import positive
from scalebayes.errors import QueryError
from scalebayes.utils.shares import check_share

type Numeric = Any

EXPERT_SHARE = 2 / 3
"""Share of the parameters of a dense transformer that are in its feed-forward layers.

Attention has 4 d^2 parameters a layer and a feed-forward layer of the usual width 8 d^2.
"""
EXPERTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Numbers of experts that `Memory` compares unless others are given."""


@dataclass(frozen=True)
class Memory:
    """A limit on the parameters that a mixture of experts has in all.

    A model of N active parameters and E experts has N (1 - share + share E) parameters, because the
    layers with experts are there E times.

    Attributes
    ----------
    parameters
        Most parameters in all, a number or text such as "30B". Bytes over the bytes of a parameter
        give it: 80 GB hold 40B parameters of two bytes.
    expert_share
        Share of the active parameters that are in the layers with experts, 2/3 in a transformer of
        usual shape without embeddings.
    experts
        Numbers of experts that are compared where none is given, 1 for a dense model. A number is
        the experts over those that one token passes through.

    Raises
    ------
    QueryError
        When a number is not positive, the share is above 1, or there is less than one expert.

    Examples
    --------
    >>> memory = sb.Memory("30B")
    >>> f"{memory.total(5e9, E=8):.3g}, {memory.largest_active(E=8):.3g}"
    '2.83e+10, 5.29e+09'
    """

    parameters: float | str
    expert_share: float = EXPERT_SHARE
    experts: tuple[float, ...] = EXPERTS

    def __post_init__(self) -> None:
        """Convert the limit, which may be text, and check the numbers."""
        object.__setattr__(self, "parameters", positive("memory", self.parameters))
        share = positive("expert_share", self.expert_share)
        check_share("expert_share", share, "a share of the active parameters")
        are_numbers = all(isinstance(count, int | float) for count in self.experts)
        if not self.experts or not are_numbers or min(self.experts) < 1:
            raise QueryError(f"experts are numbers of at least 1; got {self.experts}")

    def total(self, N: Numeric, E: Numeric) -> Numeric:
        """Return the parameters in all of N active ones with E experts."""
        return N * (1 - self.expert_share + self.expert_share * E)

    def largest_active(self, E: Numeric) -> Numeric:
        """Return the most active parameters that fit with E experts."""
        return np.divide(self.parameters, self.total(1.0, E))


def as_memory(memory: Memory | float | str) -> Memory:
    """Return a limit as it is, or a number of parameters as a limit for usual transformers."""
    return memory if isinstance(memory, Memory) else Memory(memory)
