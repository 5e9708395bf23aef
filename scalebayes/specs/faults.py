"""What can be wrong with a spec, found all at once and told with its place in the file."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from pydantic import ValidationError, ValidatorFunctionWrapHandler
from pydantic_core import PydanticCustomError

from scalebayes.laws import Law

type Place = tuple[int | str, ...]
"""Keys and positions that lead to a value."""

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
    """Read a value, or raise its own faults and the further ones in one error."""
    found: list[Any] = [
        {"type": PydanticCustomError("fit", "{text}", {"text": text}), "loc": place, "input": None}
        for place, text in faults
    ]
    try:
        value = read(given)
    except ValidationError as error:
        found = [*error.errors(include_url=False), *found]
    if found:
        raise ValidationError.from_exception_data("spec", found)
    return value


def prior_faults(
    law: Law, scatter: tuple[str, ...], priors: dict[str, Any]
) -> Iterator[tuple[Place, str]]:
    """Find what is wrong with priors for this law beyond each one's own faults."""
    scales = {p.name: p for p in law.parameters if p.scale_of}
    expected = (*law.parameter_names, *scatter)
    for name, prior in priors.items():
        at, shift = (
            prior.get(k) if isinstance(prior, dict) else getattr(prior, k, None)
            for k in ("at", "shift")
        )
        if name not in expected:
            yield (
                (name,),
                f"no such parameter{nearest(name, expected)}; '{law.name}' has {', '.join(expected)}",
            )
        elif name in scales and at is None:
            term = f"({name}/at)^{scales[name].exponent}"
            yield (
                (name, "at"),
                f"missing: a reference {scales[name].scale_of}; the prior is on the size of {term} there",
            )
        elif name not in scales and at is not None:
            yield (
                (name, "at"),
                f"{name} is not the scale of an input, so its prior is stated at none",
            )
        if name in law.parameter_names and shift:
            yield (
                (name, "shift"),
                f"only parameters of the noise may be shifted: {', '.join(scatter)}",
            )
    for parameter in law.parameters:
        if parameter.name not in priors:
            yield (parameter.name,), f"missing: the prior of the {parameter.meaning}"


def spread_faults(
    law: Law, pool: str | None, spreads: dict[str, Any]
) -> Iterator[tuple[Place, str]]:
    """Find what is wrong with the spreads of a pooled spec beyond each one's own faults."""
    expected = (*law.parameter_names, "sigma")
    if pool is None:
        yield from (
            ((name,), "a spread between groups needs pool, a name for the grouping")
            for name in spreads
        )
        return
    for name, prior in spreads.items():
        stated = prior if isinstance(prior, dict) else vars(prior)
        if name not in expected:
            yield (
                (name,),
                f"no such parameter{nearest(name, expected)}; groups differ in {', '.join(expected)}",
            )
        for key in ("at", "shift"):
            if stated.get(key):
                yield (name, key), "a spread is that of a log, stated at no input and not shifted"
    for name in expected:
        if name not in spreads:
            yield (
                (name,),
                f"missing: how far groups differ in {name}, as the standard deviation of its log",
            )


def value_faults(law: Law, published: Any) -> Iterator[tuple[Place, str]]:
    """Find published values that are in no notation of this law."""
    for place, entry in enumerate(published if isinstance(published, list | tuple) else ()):
        values = entry.get("values") if isinstance(entry, dict) else getattr(entry, "values", None)
        if not isinstance(values, dict) or not all(
            isinstance(value, int | float) for value in values.values()
        ):
            continue  # for pydantic to say
        try:
            law.from_notation(values)
        except (ValueError, ArithmeticError) as error:
            yield (place, "values"), str(error)


def describe(error: ValidationError) -> str:
    """Count the faults of a file and write each on a line of its own, with its path."""
    faults = [f"  {'.'.join(map(str, e['loc'])) or 'file'}: {_reason(e)}" for e in error.errors()]
    return "\n".join([f"{len(faults)} fault{'s' * (len(faults) > 1)}", *faults])


def _reason(error: Any) -> str:
    message = REASONS.get(error["type"], error["msg"].removeprefix("Value error, "))
    simple = isinstance(error["input"], str | int | float) and error["type"] != "value_error"
    return f"{message}; got {error['input']!r}" if simple else message


def one_of(name: str, allowed: Collection[str], kind: str) -> str:
    """Return a name that is allowed.

    Raises
    ------
    ValueError
        With the nearest allowed name and all of them.
    """
    if name not in allowed:
        raise ValueError(
            f"no {kind} '{name}'{nearest(name, allowed)}; allowed: {', '.join(allowed)}"
        )
    return name


def nearest(name: str, allowed: Collection[str]) -> str:
    """Suggest the nearest allowed name, or nothing."""
    close = difflib.get_close_matches(name, list(allowed), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
