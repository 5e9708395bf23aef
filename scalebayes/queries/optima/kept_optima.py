"""Optimal sizes of a fit's draws, searched once and shared by all queries that need them.

A search is kept with its fit and forgotten with it. It is taken again only for the same draws, law,
discrepancy, cost and budgets; the draws are compared by their content, so a fit whose posterior was
changed in place is searched anew.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from scalebayes.costs.cost import Cost
from scalebayes.posterior.fit import Fit
from scalebayes.queries.curves import Curve
from scalebayes.queries.optima.optimum import optimal_sizes

MOST_BYTES = 64 * 2**20
"""Memory that the searches of one fit may take: some 30 of 4000 draws at 61 budgets."""

type Key = tuple[object, ...]


@dataclass
class _Kept:
    """The searches of one fit, the oldest first.

    Attributes
    ----------
    fit
        A weak reference: these searches do not keep the fit alive.
    sizes
        Optimal N, (S, budgets), by what was searched.
    owners
        Law, discrepancy, drift and cost of each search. A key holds their identities, which stay
        theirs while they live.
    """

    fit: weakref.ref[Fit]
    sizes: OrderedDict[Key, np.ndarray] = field(default_factory=OrderedDict)
    owners: dict[Key, tuple[object, ...]] = field(default_factory=dict)


_KEPT: dict[int, _Kept] = {}
_LOCK = threading.Lock()


def kept_optimal_sizes(
    fit: Fit, curve: Curve, budgets: np.ndarray, cost: Cost, *others: np.ndarray
) -> np.ndarray:
    """Return N that minimises each draw's curve at each budget, (S, budgets), searched once.

    Parameters
    ----------
    fit
        The fit, with which the result is kept.
    curve
        Its curves, with the expected discrepancy.
    budgets, cost, others
        As `optimal_sizes` takes them.

    Raises
    ------
    QueryError
        When there is no interior optimum at a budget.
    """
    owners = (curve.law, curve.known, curve.drift, cost)
    key = (*map(id, owners), _content(curve, budgets, *others))
    with _LOCK:
        sizes = _of_fit(fit).sizes.get(key)
    if sizes is None:
        sizes = optimal_sizes(curve, budgets, cost, *others)
        with _LOCK:
            _keep(_of_fit(fit), key, sizes, owners)
    return sizes.copy()  # answers may be changed by whoever asked


def _content(curve: Curve, budgets: np.ndarray, *others: np.ndarray) -> str:
    """Return a hash of the numbers that a search depends on; the pull stands for the seed."""
    digest = hashlib.blake2b(digest_size=16)
    for values in (*curve.parameters.values(), curve.pull, budgets, *others):
        digest.update(str(values.shape).encode())
        digest.update(np.ascontiguousarray(values))
    return digest.hexdigest()


def _of_fit(fit: Fit) -> _Kept:
    """Return what is kept of a fit. Fits cannot be hashed, so they are told apart by identity."""
    number = id(fit)
    kept = _KEPT.get(number)
    if kept is None or kept.fit() is not fit:
        kept = _KEPT[number] = _Kept(weakref.ref(fit))
        weakref.finalize(fit, _forget, number, kept)
    return kept


def _forget(number: int, kept: _Kept) -> None:
    if _KEPT.get(number) is kept:
        del _KEPT[number]


def _keep(kept: _Kept, key: Key, sizes: np.ndarray, owners: tuple[object, ...]) -> None:
    kept.sizes[key] = sizes
    kept.owners[key] = owners
    taken = sum(one.nbytes for one in kept.sizes.values())
    while taken > MOST_BYTES:
        oldest, dropped = kept.sizes.popitem(last=False)
        del kept.owners[oldest]
        taken -= dropped.nbytes
