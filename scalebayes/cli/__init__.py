"""A thin command line over the public functions: results to stdout, everything else to stderr.

Exit codes: 0 done, 1 an error, 2 wrong usage, 3 the gate failed, 130 interrupted. Libraries that take long to import
are imported by the commands that need them.
"""

# `--help` lists commands in this order.
# isort: off
from scalebayes.cli import fits as fits
from scalebayes.cli import many as many
from scalebayes.cli import conversion as conversion
from scalebayes.cli import queries as queries
from scalebayes.cli import decisions as decisions
from scalebayes.cli import marginal as marginal
from scalebayes.cli import downstream as downstream
from scalebayes.cli import planning as planning
from scalebayes.cli import comparing as comparing
from scalebayes.cli import recipes as recipes
from scalebayes.cli import point_fits as point_fits
from scalebayes.cli import grounds as grounds
from scalebayes.cli import reporting as reporting
from scalebayes.cli.app import app
# isort: on


def main() -> None:
    """Entry point of the `scalebayes` command."""
    app()
