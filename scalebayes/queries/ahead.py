"""The standard forecast: a run of ten times the largest compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.frontier import frontier
from scalebayes.queries.predict import predict

if TYPE_CHECKING:
    import xarray as xr


AHEAD = 10.0
"""Where the decision is asked for by default: at so many times the largest run's compute."""


def ahead(fit: Fit | Average) -> xr.Dataset:
    """What a fit says at ten times the largest run's compute: N*, D* and the loss; the loss alone without an optimum.

    Without an optimum it is the loss at the inputs of the largest run, N and D (or S) grown by the root of ten; for a
    law of one input, at ten times the largest.
    """
    return _answer(fit, _ahead(fit))


def _ahead(fit: Fit | Average) -> dict[str, Any]:
    runs, inputs = fit.runs, _inputs(fit)
    if len(inputs) == 1:
        return {x: AHEAD * getattr(runs, x).max() for x in inputs}
    if inputs == ("N", "D"):
        budget = AHEAD * runs.C.max()
        try:
            frontier(fit, C=budget)
        except QueryError:
            pass
        else:
            return {"C": budget}
    largest = int(np.argmax(runs.C if "C" in runs.table else runs.N))
    grown = {"N": AHEAD**0.5, "D": AHEAD**0.5, "S": AHEAD**0.5}
    return {x: grown.get(x, 1.0) * getattr(runs, x)[largest] for x in inputs}


def _inputs(fit: Fit | Average) -> tuple[str, ...]:
    one = fit if isinstance(fit, Fit) else next(iter(fit.fits.values()))
    return one.spec.law_object.inputs


def _answer(fit: Fit | Average, asked: dict[str, Any]) -> xr.Dataset:
    alone = list(asked) == ["C"] and _inputs(fit) == ("N", "D")
    return frontier(fit, **asked) if alone else predict(fit, **asked)
