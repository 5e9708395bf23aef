"""Faults of a spec, all found at once, each with its place in the file."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
from pydantic import ValidationError, ValidatorFunctionWrapHandler
from pydantic_core import PydanticCustomError

from scalebayes.laws import Law, Parameter
from scalebayes.laws.rescaling import LOSS
from scalebayes.specs.priors import CENTRE, Beta

type Place = tuple[int | str, ...]
"""Keys and positions that lead to a value in the file."""

REASONS = {
    "missing": "missing",
    "extra_forbidden": "no such key",
    "model_type": "must be a table such as { dist = ..., reason = ... }",
    "string_pattern_mismatch": "must be letters, digits, - and _",
}
"""Plainer words for some of pydantic's types of fault."""


def read_all(
    read: ValidatorFunctionWrapHandler, given: Any, faults: Iterable[tuple[Place, str]]
) -> Any:
    """Return a value as pydantic reads it.

    Raises
    ------
    pydantic.ValidationError
        With the value's own faults and the further ones together.
    """
    further: list[Any] = []
    for place, text in faults:
        kind = PydanticCustomError("fit", "{text}", {"text": text})
        further.append({"type": kind, "loc": place, "input": None})
    own: list[Any] = []
    try:
        value = read(given)
    except ValidationError as error:
        own = [*error.errors(include_url=False)]
    if own or further:
        raise ValidationError.from_exception_data("spec", [*own, *further])
    return value


def prior_faults(
    law: Law, further: tuple[str, ...], priors: dict[str, Any]
) -> Iterator[tuple[Place, str]]:
    """Yield faults of priors for a law, beyond each prior's own.

    Parameters
    ----------
    further
        Parameters of noise and discrepancy.
    """
    expected = (*law.parameter_names, *further)
    for name in priors:
        if name not in expected:
            text = (
                f"no such parameter{nearest(name, expected)}; "
                f"'{law.name}' has {', '.join(expected)}"
            )
            yield (name,), text
    for parameter in law.parameters:
        prior = priors.get(parameter.name)
        if prior is None:
            yield (parameter.name,), f"missing: the prior of the {parameter.meaning}"
            continue
        yield from _reference_faults(law, parameter, prior)
        yield from _share_faults(parameter, prior)
        yield from _ratio_faults(law, parameter, priors)
        if _stated(prior, "shift"):
            text = f"only parameters of the noise may be shifted: {', '.join(further)}"
            yield (parameter.name, "shift"), text
    yield from _mixed_faults(law, priors)
    for name in further:
        for key in ("at", "over"):
            if _stated(priors.get(name), key) is not None:
                yield (name, key), f"{name} is no parameter of the law: leave {key} out"


def _reference_faults(law: Law, parameter: Parameter, prior: Any) -> Iterator[tuple[Place, str]]:
    """Yield the fault of where the prior of a parameter is stated."""
    name, at = parameter.name, _stated(prior, "at")
    place = (name, "at")
    if at == CENTRE:
        if not parameter.can_be_relative:
            text = f"{name} has no unit, so its prior cannot be relative to the table: leave at out"
            yield place, text
        elif not law.has_free_units:
            text = (
                f"'{law.name}' has constants in units of its inputs or loss, so its priors cannot "
                "be relative to the table"
            )
            yield place, text
        return
    if parameter.scale_of is None and at is not None:
        text = f"{name} is not the scale of an input: its prior is stated at none"
        if parameter.can_be_relative:
            text += ', or at "centre"'
        yield place, text
    if parameter.scale_of is not None and at is None:
        text = (
            f'missing: "centre" or a reference {parameter.scale_of}; '
            f"the prior is on ({name}/at)^{parameter.exponent} there"
        )
        yield place, text


def _share_faults(parameter: Parameter, prior: Any) -> Iterator[tuple[Place, str]]:
    """Yield the fault of a Beta prior on a parameter that is no share."""
    if _stated(prior, "dist") != Beta.__name__:
        return
    is_share_of_loss = parameter.unit == LOSS and _stated(prior, "at") == CENTRE
    if is_share_of_loss or not parameter.can_be_relative:
        return
    text = (
        f"a Beta prior is of a share between 0 and 1, and {parameter.name} is none: it takes "
        'parameters without a unit, or those in units of the loss with at = "centre"'
    )
    yield (parameter.name, "dist"), text


def _ratio_faults(
    law: Law, parameter: Parameter, priors: dict[str, Any]
) -> Iterator[tuple[Place, str]]:
    """Yield the fault of a prior on the ratio of two parameters."""
    over = _stated(priors[parameter.name], "over")
    if over is None:
        return
    kind = _ratio_kind(parameter, priors)
    earlier = []
    for other in law.parameters:
        if other.name == parameter.name:
            break
        if _ratio_kind(other, priors) == kind:
            earlier.append(other.name)
    place = (parameter.name, "over")
    if kind == "other":
        text = (
            f"{parameter.name} has a unit, and ratios are of parameters without one, or of terms "
            'at = "centre"'
        )
        yield place, text
    elif over not in earlier:
        allowed = ", ".join(earlier) or "none"
        text = (
            f"got '{over}'{nearest(str(over), earlier)}; allowed: parameters of its kind that "
            f"come before {parameter.name} in the law: {allowed}"
        )
        yield place, text


def _ratio_kind(parameter: Parameter, priors: dict[str, Any]) -> str:
    """Return the kind of quantity that the prior of a parameter is on: ratios are within a kind.

    These are "number" for parameters without a unit, "term" for the size of a scale's term at the
    centre, and "other", of which there are no ratios.
    """
    if not parameter.can_be_relative:
        return "number"
    is_scale = parameter.scale_of is not None and parameter.exponent is not None
    if is_scale and _stated(priors.get(parameter.name), "at") == CENTRE:
        return "term"
    return "other"


def _mixed_faults(law: Law, priors: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield a fault where only some of the values at the law's reference are relative."""
    given = [p.name for p in law.parameters if p.at_reference and p.name in priors]
    relative = [name for name in given if _stated(priors[name], "at") == CENTRE]
    for name in given:
        if relative and name not in relative:
            text = (
                f'missing: at = "centre", as {", ".join(relative)} has it; both are stated at one '
                "reference"
            )
            yield (name, "at"), text


def _stated(part: Any, key: str) -> Any:
    """Return an entry of a part of a spec, which may be a table or an object; None if missing."""
    if isinstance(part, dict):
        return part.get(key)
    return getattr(part, key, None)


def spread_faults(
    law: Law, pool: str | None, spreads: dict[str, Any]
) -> Iterator[tuple[Place, str]]:
    """Yield faults of the spreads of a pooled spec, beyond each spread's own."""
    if pool is None:
        for name in spreads:
            yield (name,), "a spread between groups needs pool, a name for the grouping"
        return
    expected = (*law.parameter_names, "sigma")
    for name, prior in spreads.items():
        if name not in expected:
            text = (
                f"no such parameter{nearest(name, expected)}; "
                f"groups differ in {', '.join(expected)}"
            )
            yield (name,), text
        for key in ("at", "over", "shift"):
            if _stated(prior, key):
                yield (name, key), "a spread is that of a log, stated at no input and not shifted"
    for name in expected:
        if name not in spreads:
            text = f"missing: how far groups differ in {name}, as the standard deviation of its log"
            yield (name,), text


def value_faults(law: Law, published: Any) -> Iterator[tuple[Place, str]]:
    """Yield the published values that are in no notation of a law, or imply no parameters of it."""
    if not isinstance(published, list | tuple):
        return
    for place, entry in enumerate(published):
        values = _stated(entry, "values")
        if not _are_numbers(values):
            continue  # pydantic reports these
        text = _parameter_fault(law, values)
        if text:
            yield (place, "values"), text


def _parameter_fault(law: Law, values: dict[str, float]) -> str:
    """Return why values in a notation of a law imply no parameters of it; empty if they do."""
    try:
        with np.errstate(all="ignore"):
            parameters = law.from_notation(values)
    except ArithmeticError as error:
        return f"they imply no parameters of '{law.name}': {error.args[-1]}"
    except ValueError as error:
        return str(error)
    for name, value in parameters.items():
        if isinstance(value, complex) or not 0 < value < np.inf:
            return f"they imply {name} = {value:g}, and parameters are positive and finite"
    return ""


def _are_numbers(values: Any) -> bool:
    """Return whether this is a table of finite numbers."""
    if not isinstance(values, dict):
        return False
    return all(isinstance(value, int | float) and np.isfinite(value) for value in values.values())


def describe(error: ValidationError) -> str:
    """Return the count of a file's faults, then each on a line of its own with its path."""
    faults = []
    for one in error.errors():
        place = ".".join(map(str, one["loc"])) or "file"
        faults.append(f"  {place}: {_reason(one)}")
    noun = "fault" if len(faults) == 1 else "faults"
    return "\n".join([f"{len(faults)} {noun}", *faults])


def _reason(error: Any) -> str:
    message = REASONS.get(error["type"], error["msg"].removeprefix("Value error, "))
    # Our own messages say what was got where it helps.
    is_ours = error["type"] == "value_error"
    if isinstance(error["input"], str | int | float) and not is_ours:
        return f"{message}; got {error['input']!r}"
    return message


def one_of(name: str, allowed: Collection[str], kind: str) -> str:
    """Return the name if it is allowed.

    Raises
    ------
    ValueError
        Otherwise, with the nearest allowed name and all of them.
    """
    if name not in allowed:
        raise ValueError(
            f"no {kind} '{name}'{nearest(name, allowed)}; allowed: {', '.join(allowed)}"
        )
    return name


def nearest(name: str, allowed: Collection[str]) -> str:
    """Return a suggestion of the nearest allowed name, or an empty text."""
    close = difflib.get_close_matches(name, list(allowed), n=1)
    if not close:
        return ""
    return f" (did you mean '{close[0]}'?)"
