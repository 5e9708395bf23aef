"""The command line, a thin layer over the public functions.

Results go to stdout, everything else to stderr.
Exit codes: 0 done, 1 error, 2 wrong usage, 3 failed convergence checks, 130 interrupted.
Libraries that are slow to import are imported inside the commands that need them.
"""

import signal

# `--help` lists the headings, and the commands under each, in this order.
# isort: off
from scalebayes.cli import fitting as fitting
from scalebayes.cli import queries as queries
from scalebayes.cli import curves as curves
from scalebayes.cli import decisions as decisions
from scalebayes.cli import planning as planning
from scalebayes.cli import comparison as comparison
from scalebayes.cli import validation as validation
from scalebayes.cli import reports as reports
from scalebayes.cli.app import INTERRUPTED, app

# isort: on
from scalebayes.utils.without_dask import leave_out_dask


def main() -> None:
    """Run the `scalebayes` command."""
    leave_out_dask()  # half a second less
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED and hasattr(signal, "pthread_sigmask"):
            # After an interrupt that passed through `exec`, as in an import, ``python -m`` ends by
            # a SIGINT of its own in place of this exit code. Blocked, the signal does nothing.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        raise
