"""Change of units: the parameters of a law when inputs and loss are multiplied by constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scalebayes.laws.law import Parameter

type Numeric = Any

LOSS = "loss"
"""`Parameter.unit` of a parameter that is a loss."""
SAME_UNIT = {"U": "D"}
"""Inputs that are measured in the unit of another: unique tokens are tokens."""
COUNTS = ("E",)
"""Inputs that have no unit: the number of experts begins at one."""


@dataclass(frozen=True)
class Units:
    """Units of inputs and response: constants that normalised values are multiplied by.

    Attributes
    ----------
    log_inputs
        Natural log of the constant of each input of a law.
    log_response
        Natural log of the constant of the loss (or of the odds of an accuracy, where it is 0).
    """

    log_inputs: Mapping[str, float]
    log_response: float = 0.0

    def inverse(self) -> Units:
        """Return the units of the change back."""
        logs = {x: -value for x, value in self.log_inputs.items()}
        return Units(logs, -self.log_response)


def rescale_by_declaration(
    parameters: tuple[Parameter, ...], values: Mapping[str, Numeric], units: Units
) -> dict[str, Numeric]:
    """Return the parameters in other units, as their declarations say.

    With x = c x' and L = T L', the term (x_c/x)^alpha = T (x'_c/x')^alpha requires

        log x_c = log x'_c + log c + (log T)/alpha.

    A parameter in units of the loss is multiplied by T, one in units of an input by c, and all
    others stay.
    """
    rescaled = {}
    for parameter in parameters:
        value = values[parameter.name]
        if parameter.scale_of and parameter.exponent:
            shift = units.log_response / values[parameter.exponent]
            shift = shift + units.log_inputs[parameter.scale_of]
        elif parameter.unit == LOSS:
            shift = units.log_response
        elif parameter.unit is not None:
            shift = units.log_inputs[parameter.unit]
        else:
            rescaled[parameter.name] = value
            continue
        rescaled[parameter.name] = np.exp(np.log(value) + shift)
    return rescaled
