"""The command line as ``python -m scalebayes``, for when its script is not on the path."""

from scalebayes.cli import main

main()
