"""What a run costs: compute as a function of N and D, the tokens a budget leaves for a size, and compute in money."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalebayes.errors import QueryError
from scalebayes.units import format_quantity, parse_quantity

type Numeric = Any


@dataclass(frozen=True)
class Cost:
    """A cost C = flop(N, D), rising in both.

    Attributes
    ----------
    name
        As printed beside results.
    flop
        FLOP of N parameters on D tokens.
    tokens
        The inverse, D = tokens(N, C); solved numerically where none is given. NaN or negative: N alone exceeds C.
    """

    name: str
    flop: Callable[[Numeric, Numeric], Numeric]
    tokens: Callable[[Numeric, Numeric], Numeric] | None = None

    def __repr__(self) -> str:
        return f"<Cost C = {self.name}>"

    def affordable_tokens(self, N: np.ndarray, C: float | np.ndarray) -> np.ndarray:
        """Tokens that N parameters can see within C FLOP, one budget or one each; NaN where there is none."""
        if self.tokens is not None:
            D = np.asarray(self.tokens(N, C), float)
            return np.where(D > 0, D, np.nan)
        return _invert(self.flop, N, C)


def _invert(
    flop: Callable[[Numeric, Numeric], Numeric], N: np.ndarray, C: float | np.ndarray
) -> np.ndarray:
    from scipy.optimize import elementwise

    def excess(log_D: np.ndarray, N: np.ndarray, log_C: np.ndarray) -> np.ndarray:
        return np.log(flop(N, np.exp(log_D))) - log_C

    N, log_C = np.broadcast_arrays(np.asarray(N, float), np.log(C))
    root = elementwise.find_root(excess, (np.zeros_like(log_C), log_C), args=(N, log_C))
    return np.where(root.success, np.exp(root.x), np.nan)


SIX_ND = Cost("6 N D", lambda N, D: 6.0 * N * D, lambda N, C: C / (6.0 * N))
"""Training compute C = 6 N D (Kaplan et al. 2020, section 2.1): forward 2 N D, backward twice that."""


def as_cost(cost: Cost | Callable[[Numeric, Numeric], Numeric]) -> Cost:
    """A plain function of (N, D) as a cost, named after itself; it is asked of arrays, and from several threads."""
    return cost if isinstance(cost, Cost) else Cost(getattr(cost, "__name__", "cost"), cost)


def with_inference(tokens: float | str, training: Cost = SIX_ND) -> Cost:
    """Training and serving, C = 6 N D + 2 N T: a token served costs a forward pass, 2 N, a third of one trained on.

    With T tokens to serve over a model's life, the cheapest model of a given loss is smaller and sees more data than
    the compute-optimal one: ``reach(fit, loss=2.0, cost=with_inference("2T"))``.

    Parameters
    ----------
    tokens
        T, a number or text such as "2T".
    training
        How training is counted, in proportion to D; serving is counted alike: flop(N, D + T/3).

    Raises
    ------
    QueryError
        When T is not a positive number.

    References
    ----------
    Sardana, Portes, Doubov and Frankle (2023), Beyond Chinchilla-optimal: accounting for inference in language model
    scaling laws, arXiv:2401.00448.
    """
    T = positive("tokens", tokens)
    name = "6 N D + 2 N T" if training is SIX_ND else f"{training.name} + serving"
    return Cost(
        f"{name}, T = {format_quantity(T)}",
        lambda N, D: training.flop(N, D + T / 3.0),
        lambda N, C: training.affordable_tokens(N, C) - T / 3.0,
    )


@dataclass(frozen=True)
class Price:
    """Compute in money: an accelerator's price an hour, and the FLOP/s that training gets out of it.

    Attributes
    ----------
    per_hour
        Money an hour of one accelerator.
    flop_per_second
        Of one accelerator, of the kind that the cost counts: sustained, or its peak with a utilisation.
    currency
        As printed.
    utilisation
        Share of those FLOP/s that training gets out of it; 1 where they are sustained ones.
    """

    per_hour: float
    flop_per_second: float
    currency: str = "$"
    utilisation: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is not a price.

        Raises
        ------
        QueryError
            When a number is not positive, or the utilisation is above 1.
        """
        for name in ("per_hour", "flop_per_second", "utilisation"):
            object.__setattr__(self, name, positive(name, getattr(self, name)))
        if self.utilisation > 1:
            raise QueryError(
                f"utilisation is a share of the FLOP/s, up to 1; got {self.utilisation:g}"
            )

    def hours(self, flop: Numeric) -> Numeric:
        """Hours of one accelerator for so many FLOP."""
        return flop / (3600.0 * self.flop_per_second * self.utilisation)

    def of(self, flop: Numeric) -> Numeric:
        """Money for so many FLOP."""
        return self.hours(flop) * self.per_hour


def positive(name: str, value: object) -> float:
    """A positive number from text or a number, named in what is wrong with it."""
    try:
        number = parse_quantity(value)
    except ValueError as error:
        raise QueryError(f"{name}: {error}") from None
    if number <= 0:
        raise QueryError(f"{name} must be positive; got {value}")
    return number


def size_for(cost: Cost, tokens_per_param: float, C: float) -> float:
    """N with cost(N, tokens_per_param N) = C."""
    from scipy.optimize import brentq

    def excess(log_N: float) -> float:
        return float(np.log(cost.flop(np.exp(log_N), tokens_per_param * np.exp(log_N))) - np.log(C))

    return float(np.exp(brentq(excess, -20.0, 80.0, xtol=1e-12)))
