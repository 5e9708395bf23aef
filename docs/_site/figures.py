"""Figures of a page, drawn by the code of the page while the site is built.

`figures_pages` in conf.py lists such pages. Their commands and Python blocks run in order, in one
namespace and in the folder `figures_folder`, which keeps the files that commands saved for the next
build. A block whose last line is a figure gets that figure below it. A block below a comment that
begins with "not run" is left as it is.
"""

import ast
import contextlib
import io
import os
import shlex
from pathlib import Path

from docutils import nodes
from matplotlib.figure import Figure

FEWER = ["--draws", "400"]
"""Number of draws, enough for a figure; its time grows with the draws."""


def draw(app, doctree):
    env = app.env
    if env.docname not in app.config.figures_pages:
        return
    folder = Path(app.config.figures_folder or Path(app.doctreedir) / "figures")
    folder.mkdir(parents=True, exist_ok=True)
    namespace, count = {}, 0
    with contextlib.chdir(folder):
        for block in list(doctree.findall(nodes.literal_block)):
            if is_not_run(block):
                continue
            if block.get("language") == "sh":
                run_commands(block.astext())
            elif block.get("language") == "python":
                figure = last_value(block.astext(), namespace)
                if isinstance(figure, Figure):
                    count += 1
                    place(app, block, figure, f"{env.docname}-{count}.svg")


def is_not_run(block):
    siblings = block.parent.children
    place = siblings.index(block)
    before = siblings[place - 1] if place else None
    # A comment in Markdown is raw HTML.
    return isinstance(before, nodes.raw) and before.astext().startswith("<!-- not run")


def run_commands(text):
    """Run the `scalebayes` commands whose result does not exist yet."""
    from scalebayes.cli import app as command

    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["scalebayes"] and not Path(words[words.index("-o") + 1]).exists():
            with contextlib.redirect_stdout(io.StringIO()):
                command([*words[1:], *FEWER], standalone_mode=False)


def last_value(text, namespace):
    """Run a block; return the value of its last line if that is an expression."""
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<page>", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "<page>", "eval"), namespace) if last else None


def place(app, block, figure, name):
    from scalebayes import plots

    images = Path(app.doctreedir) / "drawn"
    images.mkdir(parents=True, exist_ok=True)
    plots.save(figure, images / name)
    title = figure.get_suptitle() or figure.axes[0].get_title(loc="left")
    image = nodes.image(
        uri=os.path.relpath(images / name, app.srcdir), alt=title, classes=["drawn"]
    )
    block.parent.insert(block.parent.index(block) + 1, image)


def setup(app):
    app.add_config_value("figures_pages", [], "env")
    app.add_config_value("figures_folder", None, "")
    app.connect("doctree-read", draw, priority=100)  # before the images of a page are collected
    return {"parallel_read_safe": True}
