"""Output folders of studies."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from scalebayes.errors import ScaleBayesError
from scalebayes.posterior.fit_files import check_netcdf_path
from scalebayes.utils.files import check_folder, check_target


def check_output_folder(folder: Path, names: Iterable[str], *, force: bool) -> None:
    """Check that files can be written in a folder, before anything is sampled.

    Parameters
    ----------
    folder
        The folder, which need not exist.
    names
        Names of the files.
    force
        Whether files of these names may be replaced.

    Raises
    ------
    ScaleBayesError
        When the folder or a file cannot be written, or when the folder already has some of the
        files and they may not be replaced.
    """
    check_netcdf_path(folder)
    try:
        check_folder(folder)
    except OSError as error:
        raise ScaleBayesError(f"cannot write to {folder}: {error.strerror}") from None
    existing = [name for name in names if (folder / name).is_symlink() or (folder / name).exists()]
    for name in existing:
        try:
            check_target(folder / name)
        except OSError as error:
            raise ScaleBayesError(f"cannot write {folder / name}: {error.strerror}") from None
    if existing and not force:
        raise ScaleBayesError(
            f"{folder} already holds {', '.join(existing)}; --force replaces them"
        )
