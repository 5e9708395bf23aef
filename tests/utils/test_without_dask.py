"""A process that does as if dask was not installed."""

import subprocess
import sys

import pytest

pytest.importorskip("dask")

SCRIPT = """
import sys
from scalebayes.utils.without_dask import allow_dask, leave_out_dask
{before}
leave_out_dask()
import xarray as xr
print(float(xr.DataArray([1.0, 2.0], dims="x").sum()), "dask.array" in sys.modules)
allow_dask()
import dask.array
print(dask.array.ones(3).sum().compute())
"""


@pytest.mark.parametrize(("before", "is_imported"), [("", False), ("import dask.array", True)])
def test_dask_is_left_out_until_it_is_allowed(before, is_imported):
    code = SCRIPT.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3.0", str(is_imported), "3.0"]
