"""Bundles of options: dataclasses that a command takes as one argument each.

Typer sees one option for each field.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints


def expand(function: Callable[..., None]) -> Callable[..., None]:
    """Return the function that Typer should see: every bundle replaced by its fields.

    A parameter of `function` whose type is a dataclass is a bundle. The returned function takes its
    fields as parameters, in the same place, and calls `function` with the bundles made of them.

    Raises
    ------
    TypeError
        When two parameters would have the same name.
    """
    bundles: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in _parameters(function):
        if dataclasses.is_dataclass(parameter.annotation):
            bundles[parameter.name] = parameter.annotation
            parameters.extend(_parameters(bundles[parameter.name]))
        else:
            parameters.append(parameter)
    names = [parameter.name for parameter in parameters]
    if len(set(names)) < len(names):
        raise TypeError(f"{function.__name__} has an option twice: {', '.join(names)}")

    def call(**values: Any) -> None:
        arguments = dict(values)
        for name, bundle in bundles.items():
            fields = {field.name: arguments.pop(field.name) for field in dataclasses.fields(bundle)}
            arguments[name] = bundle(**fields)
        function(**arguments)

    call.__name__ = function.__name__
    call.__doc__ = function.__doc__
    # Typer reads the parameters from the signature and their types from the annotations.
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _parameters(function: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """Parameters of a function, or the fields of a dataclass, with types in place of their names.

    All are by keyword only, so that their order does not depend on defaults.
    """
    types = get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters.values():
        yield parameter.replace(
            annotation=types[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY
        )
