"""Placeholders of arviz-base are hidden while a report draws."""

import subprocess
import sys

SCRIPT = """
import sys
from scalebayes.utils.placeholders import placeholders_hidden

def seen():
    return [name for name in ("jax", "numpyro") if name in sys.modules]

with placeholders_hidden():
    import scalebayes.utils.arviz
    print(seen())
after = seen()
with placeholders_hidden():
    print(seen())
print(after == seen())
"""


def test_placeholders_are_hidden_even_if_arviz_is_imported_meanwhile():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "[]", "True"]
