"""Files of the repository outside `docs/` as pages of the site, with links that work there.

On the repository's host a link to `../models/README.md` leads to that file; on the site it leads to
a page with the text of the file. So no text is written twice.
"""

import os
import re
from pathlib import Path

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
PAGES = {
    "model-files": "models/README.md",
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
}
"""Page of the site: the file whose text it shows. The page's own text is for the repository."""
LINK = re.compile(r"(\]\()(?!https?://|mailto:|#)([^)#\s]+)(#[^)\s]*)?(\))")


def follow(text, origin, page):
    """Rewrite the links of a file at `origin` so that they work in a page of the site."""
    names = {ROOT / file: f"{name}.md" for name, file in PAGES.items()} | {
        ROOT / "README.md": "index.md"
    }
    names[DOCS] = "index.md"

    def rewrite(match):
        target = Path(os.path.normpath(origin.parent / match[2]))
        shown = DOCS / names[target] if target in names else target
        link = os.path.relpath(shown, (DOCS / page).parent)
        return f"{match[1]}{link}{match[3] or ''}{match[4]}"

    return LINK.sub(rewrite, text)


def read(app, docname, source):
    """Replace the text of a page by that of the file it shows, and rewrite links for the site."""
    origin = ROOT / PAGES[docname] if docname in PAGES else Path(app.srcdir) / f"{docname}.md"
    if docname in PAGES:
        app.env.note_dependency(str(origin))
        source[0] = origin.read_text("utf-8")
    source[0] = follow(source[0], origin, docname)


def setup(app):
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
