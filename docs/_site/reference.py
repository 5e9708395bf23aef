"""The reference: a row of a table for each public name of its blocks, and a page for each name.

The pages are written into `docs/reference/` while the site is built and are not committed. A class
shares the page of the function of the same name (`Fit` and `fit`), because some file systems do not
tell their cases apart.
"""

import ast
import inspect
import re
from pathlib import Path

from sphinx.pycode import ModuleAnalyzer

import scalebayes as sb

BLOCK = re.compile(r"^```\{public\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(?<![`:])`(?:scalebayes\.|sb\.)?(\w+)`(?!`)")
PACKAGE = Path(sb.__file__).parent


def own_names():
    """Set the module of public objects to the package, so that signatures link to their entries."""
    for name in sb.__all__:
        thing = getattr(sb, name)
        has_module = inspect.isclass(thing) or inspect.isfunction(thing)
        if has_module and thing.__module__.startswith("scalebayes."):
            thing.__module__ = "scalebayes"


def is_value(thing):
    return not (inspect.isclass(thing) or inspect.isfunction(thing) or inspect.ismodule(thing))


def words_below(name):
    """Return the lines of the docstring below a value, such as a constant, in the source."""
    for file in sorted(PACKAGE.rglob("*.py")):
        targets = []
        for statement in ast.parse(file.read_text("utf-8")).body:
            if isinstance(statement, ast.Assign):
                targets += statement.targets
            elif isinstance(statement, ast.AnnAssign):
                targets.append(statement.target)
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            module = ".".join(["scalebayes", *file.relative_to(PACKAGE).with_suffix("").parts])
            return ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name), [])
    return []


def entry(name):
    """Return the autodoc directive of an object."""
    thing = getattr(sb, name)
    if inspect.ismodule(thing):
        shown = [f".. autofunction:: {thing.__name__}.{n}" for n in thing.__all__]
        return "\n\n".join([f".. automodule:: {thing.__name__}", *shown])
    if is_value(thing):
        lines = [f".. py:data:: {name}", "   :module: scalebayes", ""]
        lines += [f"   {text}" for text in words_below(name)]
        return "\n".join(lines)
    if inspect.isfunction(thing):
        return f".. autofunction:: scalebayes.{name}"
    if issubclass(thing, Exception):
        return f".. autoexception:: scalebayes.{name}"
    options = ":members:\n   :exclude-members: model_config, model_post_init"
    return f".. autoclass:: scalebayes.{name}\n   {options}"


def line(name):
    """Return a row of the table: the name, a link to its entry, and the first sentence there."""
    thing = getattr(sb, name)
    text = " ".join(words_below(name)) if is_value(thing) else inspect.getdoc(thing)
    first = link(text.split("\n\n")[0].replace("\n", " "))
    to = f":py:obj:`{name} <scalebayes.{name}>`"
    return f"   * - {to}\n     - {first}"


def link(text):
    """Link code that is a public name to its entry."""
    return CODE.sub(
        lambda m: f":py:obj:`{m[1]} <scalebayes.{m[1]}>`" if m[1] in sb.__all__ else m[0], text
    )


def expand(match):
    """Replace a block of names by a table of links and a hidden table of contents."""
    names = match[1].split()
    table = [".. list-table::", "   :widths: 25 75", "   :class: public", "", *map(line, names)]
    pages = list(dict.fromkeys(f"   reference/{name.lower()}" for name in names))
    contents = [".. toctree::", "   :hidden:", "", *pages]
    return "\n".join(["```{eval-rst}", *table, "", *contents, "```"])


def read(app, docname, source):
    if docname == "reference":
        source[0] = BLOCK.sub(expand, source[0])


def write_pages(app):
    """Write the pages of all public names; leave files as they are whose text is unchanged."""
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    blocks = BLOCK.findall((Path(app.srcdir) / "reference.md").read_text("utf-8"))
    by_page = {}
    for name in " ".join(blocks).split():
        by_page.setdefault(name.lower(), []).append(name)
    for old in folder.glob("*.md"):
        if old.stem not in by_page:
            old.unlink()
    for stem, names in by_page.items():
        path, text = folder / f"{stem}.md", page_of(names)
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def page_of(names):
    """Return the text of the page of one name, or of a function and its class."""
    lines = [f"# {', '.join(names)}", ""]
    if any('.nc"' in (inspect.getdoc(getattr(sb, name)) or "") for name in names):
        lines += ["The example loads [a saved fit](../reference.md#examples).", ""]
    lines += ["```{eval-rst}", ".. py:currentmodule:: scalebayes", ""]
    for name in names:
        lines += [entry(name), ""]
    return "\n".join([*lines, "```", ""])


KEPT = {}
"""Docstrings of properties, hidden from napoleon, which takes "one thing: another" for a type."""


def before(app, what, name, thing, options, lines):
    """Link public names, and hide properties from napoleon."""
    lines[:] = [link(text) for text in lines]
    if what in ("property", "attribute"):
        KEPT[name], lines[:] = [*lines], []


def after(app, what, name, thing, options, lines):
    lines[:] = KEPT.pop(name, lines)


def setup(app):
    own_names()
    app.connect("builder-inited", write_pages)
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", before, priority=1)
    app.connect("autodoc-process-docstring", after, priority=900)
    return {"parallel_read_safe": True}
