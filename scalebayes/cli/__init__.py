"""The command line, a thin layer over the public functions.

Results go to stdout, everything else to stderr.
Exit codes: 0 done, 1 error, 2 wrong usage, 3 failed convergence checks, 130 interrupted.
Libraries that are slow to import are imported inside the commands that need them.
"""

# `--help` lists the headings, and the commands under each, in this order.
# isort: off
from scalebayes.cli import fitting as fitting
from scalebayes.cli import queries as queries
from scalebayes.cli import decisions as decisions
from scalebayes.cli import planning as planning
from scalebayes.cli import comparison as comparison
from scalebayes.cli import validation as validation
from scalebayes.cli import reports as reports
from scalebayes.cli.app import app
# isort: on


def main() -> None:
    """Run the `scalebayes` command."""
    app()
