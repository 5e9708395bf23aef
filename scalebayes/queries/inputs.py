"""Questions to a fit, read once: targets with known N and D, or budgets whose split is sought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalebayes.costs.cost import SIX_ND
from scalebayes.errors import QueryError
from scalebayes.laws import INPUTS
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.units import parse_quantity

BASIC = ("N", "D", "C")
"""Inputs of which any two determine the third; the others of `INPUTS` go by name."""
AGREEMENT = 0.01
"""Largest relative difference of C from 6 N D: figures in papers are rounded."""


@dataclass(frozen=True)
class Targets:
    """Inputs at which the loss is asked: two of N, D and C, or whatever the law is a function of.

    Attributes
    ----------
    given
        Inputs as the user gave them, by name, those that are None left out.
    """

    given: dict[str, Any]


@dataclass(frozen=True)
class Budgets:
    """Budgets alone, for a law of N and D: each draw splits a budget in its own optimal way.

    Attributes
    ----------
    C
        Budgets as the user gave them.
    """

    C: Any


type Question = Targets | Budgets


def read_question(
    fit: Fit | Average, *, N: Any = None, D: Any = None, C: Any = None, **others: Any
) -> Question:
    """Return the question that these inputs ask of a fit: `Budgets` for C alone, else `Targets`.

    A law of C has nothing to split, so C alone is a target of it. The values are checked by the
    query that answers.
    """
    refuse_scores(fit)
    inputs = {"N": N, "D": D, "C": C, **others}
    if is_budget(**inputs) and has_frontier(fit):
        return Budgets(C)
    return Targets(_given(inputs))


def is_budget(**inputs: Any) -> bool:
    """Return whether C is the only input that is given: a budget, of which any law can be asked."""
    return list(_given(inputs)) == ["C"]


def _given(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that are not None."""
    return {name: value for name, value in inputs.items() if value is not None}


def refuse_scores(fit: Fit | Average) -> None:
    """Refuse a fit of accuracies where a loss is asked.

    Raises
    ------
    QueryError
        When the fit, or one of an average, is of a law of accuracies.
    """
    fits = [fit] if isinstance(fit, Fit) else list(fit.fits.values())
    for one in fits:
        if one.spec.law_object.response != "loss":
            raise QueryError(
                f"'{one.spec.name}' is a law of accuracies, not of losses: no loss can be asked"
            )


def has_frontier(fit: Fit | Average) -> bool:
    """Return whether the law, or every law of an average, is a function of N and D only.

    A law with hyperparameters is, at their best values.
    """
    fits = [fit] if isinstance(fit, Fit) else list(fit.fits.values())
    return all(one.spec.law_object.at_best.inputs == ("N", "D") for one in fits)


def quantities(value: Any, name: str) -> np.ndarray:
    """Return positive numbers, perhaps infinite, shape (values,).

    Parameters
    ----------
    value
        A number, text such as "70B" or "inf", or a sequence of them.
    name
        Name of the argument, for errors.

    Raises
    ------
    QueryError
        When a value cannot be read or is not positive.
    """
    values = [value] if np.ndim(value) == 0 else list(value)
    try:
        numbers = np.array([_number(one) for one in values], float)
    except ValueError as error:
        raise QueryError(f"{name}: {error}") from None
    if not (numbers > 0).all():
        raise QueryError(f"{name} must be positive; got {', '.join(map(str, values))}")
    return numbers


def _number(value: Any) -> float:
    if str(value).strip().lower() == "inf":
        return np.inf
    return parse_quantity(value)


def read_inputs(given: dict[str, Any], needed: tuple[str, ...], name: str) -> dict[str, np.ndarray]:
    """Return the inputs that a law needs, and compute where it follows, each of shape (targets,).

    Parameters
    ----------
    given
        Values by input, None where none is given.
    needed
        Inputs of the law.
    name
        Name of the spec, for errors.

    Raises
    ------
    QueryError
        When an input is missing, not of this law, not positive, or of another length than the
        others.
    """
    values = {x: quantities(value, x) for x, value in given.items() if value is not None}
    for x in values:
        _check_name(x, needed, name)
    values = _of_one_length(values)
    values |= _third({x: values[x] for x in BASIC if x in values})
    if any(x not in values for x in needed):
        got = ", ".join(x for x in given if given[x] is not None)
        raise QueryError(f"'{name}' predicts from {_allowed(needed)}; got {got or 'nothing'}")
    return {x: values[x] for x in INPUTS if x in values}


def _check_name(x: str, needed: tuple[str, ...], name: str) -> None:
    if x not in INPUTS:
        raise QueryError(f"no input is called {x}: allowed are {', '.join(INPUTS)}")
    if x not in BASIC and x not in needed:
        inputs = ", ".join(needed)
        raise QueryError(f"'{name}' has no input {x} ({INPUTS[x]}); its inputs are {inputs}")


def _of_one_length(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the values broadcast to one length; one value stands for all."""
    if not values:
        return {}
    lengths = {len(value) for value in values.values()} - {1}
    if len(lengths) > 1:
        which = "N, D and C"
        if any(x not in BASIC for x in values):
            which += " and others"
        got = ", ".join(f"{x}: {len(value)}" for x, value in values.items())
        raise QueryError(f"{which} must have one length; got {got}")
    return dict(zip(values, np.broadcast_arrays(*values.values()), strict=True))


def _allowed(needed: tuple[str, ...]) -> str:
    """Return the inputs from which a law can be asked, in words."""
    basic = [x for x in needed if x in BASIC]
    parts = []
    if len(basic) == 1:
        parts.append(f"{basic[0]}, or from two of N, D and C")
    elif basic:
        parts.append("any two of N, D and C")
    parts.extend(f"{x} ({INPUTS[x]})" for x in needed if x not in BASIC)
    return ", with ".join(parts)


def without_hyperparameters(fit: Fit, given: Mapping[str, Any]) -> bool:
    """Return whether no hyperparameter of the law is given, so that tuned runs are asked.

    Raises
    ------
    QueryError
        When some are given and others are not.
    """
    names = fit.spec.law_object.hyperparameters
    present = [x for x in names if given.get(x) is not None]
    if present and len(present) < len(names):
        missing = " and ".join(x for x in names if x not in present)
        raise QueryError(
            f"got {' and '.join(present)} without {missing}: give both, or neither for tuned runs"
        )
    return not present


def _third(known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the one of N, D and C that the other two determine; nothing where they do not."""
    if len(known) == 3:
        flop = SIX_ND.flop(known["N"], known["D"])
        if not np.allclose(known["C"], flop, rtol=AGREEMENT):
            raise QueryError("N, D and C disagree: C must be 6 N D; give two of the three")
    if len(known) != 2:
        return {}
    if "C" not in known:
        return {"C": SIX_ND.flop(known["N"], known["D"])}
    if any(np.isinf(value).any() for value in known.values()):
        raise QueryError("infinite N, D or C leave the third unknown; for a limit give N and D")
    if "N" in known:
        return {"D": known["C"] / (6.0 * known["N"])}
    return {"N": known["C"] / (6.0 * known["D"])}
