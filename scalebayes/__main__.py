"""``python -m scalebayes``: the command, where its script is not on the path."""

from scalebayes.cli import main

main()
