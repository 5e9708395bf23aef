"""A thin command line over the public functions: results to stdout, everything else to stderr.

Exit codes: 0 done, 1 an error, 2 wrong usage, 3 the gate failed, 130 interrupted. Libraries that take long to import
are imported by the commands that need them.
"""

from scalebayes.cli import comparing as comparing
from scalebayes.cli import fits as fits
from scalebayes.cli import queries as queries
from scalebayes.cli.app import app


def main() -> None:
    """Entry point of the `scalebayes` command."""
    app()
