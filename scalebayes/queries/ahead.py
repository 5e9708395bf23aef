"""The standard forecast: a run of ten times the largest compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import Budgets, has_frontier, read_question
from scalebayes.queries.predict import predict

if TYPE_CHECKING:
    import xarray as xr


AHEAD = 10.0
"""Compute of the standard forecast, as a multiple of the largest run's."""


def ahead(fit: Fit | Average) -> xr.Dataset:
    """Return the answer of a fit at ten times the largest run's compute: N*, D* and the loss.

    Without an optimum it is the loss alone, at the inputs of the largest run with N and D (or S)
    grown by the root of ten; for a law of one input, at ten times its largest value.
    """
    return answer_at(fit, inputs_ahead(fit))


def answer_at(fit: Fit | Average, inputs: dict[str, Any]) -> xr.Dataset:
    """Return the answer of `frontier` to a budget alone, of `predict` to other inputs."""
    question = read_question(fit, **inputs)
    if isinstance(question, Budgets):
        return frontier(fit, C=question.C)
    return predict(fit, **question.given)


def inputs_ahead(fit: Fit | Average) -> dict[str, Any]:
    """Return the inputs of the standard forecast: a budget alone where it has an optimum."""
    one = fit if isinstance(fit, Fit) else next(iter(fit.fits.values()))
    runs, names = fit.runs, one.spec.law_object.at_best.inputs
    if len(names) == 1:
        return {names[0]: AHEAD * getattr(runs, names[0]).max()}
    if has_frontier(fit):
        budget = AHEAD * runs.C.max()
        if _has_optimum(fit, budget):
            return {"C": budget}
    size = runs.C if "C" in runs.table else runs.N
    largest = int(np.argmax(size))
    inputs = {}
    for name in names:
        inputs[name] = getattr(runs, name)[largest]
        if name in ("N", "D", "S"):
            inputs[name] = AHEAD**0.5 * inputs[name]
    return inputs


def _has_optimum(fit: Fit | Average, budget: float) -> bool:
    try:
        frontier(fit, C=budget)
    except QueryError:
        return False
    return True
