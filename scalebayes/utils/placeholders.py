"""Modules that arviz-base leaves in ``sys.modules`` without having imported them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

PLACEHOLDERS = ("jax", "numpyro")
"""Modules that arviz-base puts into ``sys.modules`` and imports on first use."""


_HIDDEN: list[dict[str, ModuleType]] = []
"""Modules hidden by each block of `placeholders_hidden` that has not ended, the innermost last."""


@contextmanager
def placeholders_hidden() -> Iterator[None]:
    """Hide modules that arviz-base has not yet imported, also if it is imported in the block.

    Matplotlib asks a module called jax in ``sys.modules`` for a class when it draws. That imports
    JAX where it is installed, which takes a second and 120 MB.
    """
    _HIDDEN.append({})
    hide_placeholders()
    try:
        yield
    finally:
        for name, module in _HIDDEN.pop().items():
            sys.modules.setdefault(name, module)


def hide_placeholders() -> None:
    """Hide the placeholders that are there, inside a block of `placeholders_hidden` alone."""
    if not _HIDDEN:
        return
    for name in PLACEHOLDERS:
        module = sys.modules.get(name)
        if module is not None and type(module).__name__ == "_LazyModule":
            _HIDDEN[-1][name] = sys.modules.pop(name)
