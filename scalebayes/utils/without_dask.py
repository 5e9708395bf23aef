"""Commands without dask: xarray imports it where it is installed, for arrays that none of them has.

At its first array xarray asks whether that is one of dask's, and imports dask for the answer, which
takes as long as importing xarray itself. A command is a whole process, and only `fit_many` with
workers uses dask, so the process of a command can do as if dask was not installed. The Python API
leaves dask alone: a notebook may have arrays of dask in it.
"""

from __future__ import annotations

import sys
from types import ModuleType


def leave_out_dask() -> None:
    """Let imports of dask fail in this process, as if it was not installed.

    None in `sys.modules` is what Python's import system documents for this. Without effect where
    dask is imported already.

    References
    ----------
    The Python Language Reference, section 5.3.1, The module cache.
    """
    sys.modules.setdefault("dask", None)  # type: ignore[arg-type]


def allow_dask() -> None:
    """Let dask be imported again, after `leave_out_dask`."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    if "dask" in modules and modules["dask"] is None:
        del modules["dask"]
