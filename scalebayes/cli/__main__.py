"""``python -m scalebayes.cli``."""

from scalebayes.cli import main

main()
