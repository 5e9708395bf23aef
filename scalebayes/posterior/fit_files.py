"""Checks of a file that should be a saved fit, before netCDF and xarray are imported to read it."""

from __future__ import annotations

import stat
from pathlib import Path
from shlex import quote

from scalebayes.data.tables.sources import is_table, short_name
from scalebayes.errors import FitError
from scalebayes.utils.files import HDF5_SIGNATURE, begins_with, not_there, printable

FIT_AGAIN = "Fit again, or restore the file from a copy"


def check_fit_file(path: Path) -> None:
    """Check that there is a file at a path, and that it begins as saved fits do.

    Raises
    ------
    FitError
        When there is no file, or it cannot be read, or it is a table of runs or something else.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise FitError(f"{path} is a folder, not a saved fit")
        if not stat.S_ISREG(status.st_mode):
            raise FitError(f"{path} is not a regular file, so it is no saved fit")
        is_hdf5 = begins_with(path, HDF5_SIGNATURE)
    except FileNotFoundError:
        _refuse_published_table(path)
        raise FitError(not_there(path, "no saved fit at")) from None
    except OSError as error:
        raise FitError(f"cannot read {path}: {error.strerror}") from None
    if is_hdf5:
        check_netcdf_path(path)
        return
    if status.st_size == 0:
        raise FitError(f"{path} is empty, so it is no saved fit. {FIT_AGAIN}")
    if is_table(path):
        saved = path.with_name(f"{short_name(path.name)}.nc")
        command = f"scalebayes fit {quote(str(path))} -o {quote(str(saved))}"
        raise FitError(
            f"{path} is a table of runs, not a saved fit. Fit it first, with `{command}` or "
            f"sb.fit(sb.read_runs({str(path)!r})), and give the fit"
        )
    raise FitError(
        f"{path} is not a netCDF file as scalebayes saves fits, or its beginning is damaged. "
        f"{FIT_AGAIN}"
    )


def check_netcdf_path(path: Path) -> None:
    """Check that netCDF takes the path of a file.

    Raises
    ------
    FitError
        When the path has bytes that are not UTF-8.
    """
    absolute = str(path.absolute())
    shown = printable(absolute)
    if shown != absolute:
        raise FitError(f"saved fits are netCDF files, whose paths must be valid UTF-8; got {shown}")


def _refuse_published_table(path: Path) -> None:
    """Raise where the name of a published table is given in place of a fit."""
    if path.suffix:
        return
    from scalebayes.datasets import TABLES  # which imports pandas

    name = str(path)
    if name in TABLES:
        raise FitError(
            f"{name} is a published table of runs, not a saved fit. Fit it first, with "
            f"`scalebayes fit {name} -o {name}.nc` or sb.fit(sb.load_runs({name!r})), and give the "
            "fit"
        )
