"""A thin command line over the public functions: results to stdout, everything else to stderr.

Exit codes: 0 done, 1 an error, 2 wrong usage, 3 the convergence checks failed, 130 interrupted.
Libraries that are slow to import are imported by the commands that need them.
"""

# `--help` lists commands in this order.
# isort: off
from scalebayes.cli import fitting as fitting
from scalebayes.cli import data as data
from scalebayes.cli import queries as queries
from scalebayes.cli import decisions as decisions
from scalebayes.cli import planning as planning
from scalebayes.cli import comparison as comparison
from scalebayes.cli import recipes as recipes
from scalebayes.cli import baselines as baselines
from scalebayes.cli import validation as validation
from scalebayes.cli import reports as reports
from scalebayes.cli.app import app
# isort: on


def main() -> None:
    """Run the `scalebayes` command."""
    app()
