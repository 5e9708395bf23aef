"""How a table of runs was read, kept with it so that the same table can be read again."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from scalebayes.utils.files import printable

if TYPE_CHECKING:
    from typing import Self

    from scalebayes.data.runs import Runs


@dataclass(frozen=True)
class Reading:
    """A call that read a table of runs.

    Attributes
    ----------
    function
        Name of the public function, such as ``"read_runs"``.
    source
        The path, or the name of a published table, as it was given; several paths are a tuple.
        None for a table that was in memory.
    arguments
        The other arguments that differ from their defaults, by name.
    hash
        Hash of the runs that were read. Runs selected from them later have another hash.
    """

    function: str
    source: str | tuple[str, ...] | None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    hash: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Return the reading as values that JSON knows."""
        return asdict(self)

    @classmethod
    def from_plain(cls, stored: Mapping[str, Any]) -> Self:
        """Return the reading that `to_plain` gave, after a passage through JSON."""
        source = stored["source"]
        if isinstance(source, list):
            source = tuple(source)
        return cls(stored["function"], source, stored["arguments"], stored["hash"])


def recorded[**P](read: Callable[P, Runs]) -> Callable[P, Runs]:
    """Return a function that reads a table, and keeps with the runs how it was called.

    The first argument of the function is the source; the others have defaults.
    """
    signature = inspect.signature(read)
    first = next(iter(signature.parameters))

    @functools.wraps(read)
    def read_and_record(*args: P.args, **kwargs: P.kwargs) -> Runs:
        runs = read(*args, **kwargs)
        given = dict(signature.bind(*args, **kwargs).arguments)
        source = _source_in_words(given.pop(first))
        arguments: dict[str, Any] = {}
        for name, value in given.items():
            parameter = signature.parameters[name]
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                arguments |= _not_none(value)
            elif value != parameter.default and value != {}:  # no factors are the default too
                arguments[name] = _plain(value)
        reading = Reading(read.__name__, source, arguments, runs.hash)
        return replace(runs, reading=reading)

    return read_and_record


def _source_in_words(source: object) -> str | tuple[str, ...] | None:
    """Return a source as text, or None for a table in memory."""
    if isinstance(source, str | os.PathLike):
        return printable(os.fspath(source))
    if isinstance(source, list | tuple):
        return tuple(printable(str(path)) for path in source)
    return None


def _not_none(further: Mapping[str, Any]) -> dict[str, Any]:
    """Return further arguments that were given."""
    return {name: _plain(value) for name, value in further.items() if value is not None}


def _plain(value: Any) -> Any:
    """Return an argument as a value that JSON knows: text, numbers, lists and dictionaries."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "item"):  # a number of NumPy
        return value.item()
    return str(value)
