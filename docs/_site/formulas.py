"""Formulas of docstrings as SVG by Matplotlib's mathtext, because MathJax needs another server."""

import io
from html import escape

import matplotlib
from matplotlib.figure import Figure


def drawing(formula):
    """Return an inline SVG in the colour of the text, aligned with its baseline."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser

    size = 10
    width, height, depth, *_ = MathTextParser("path").parse(
        f"${formula}$", dpi=72, prop=FontProperties(size=size)
    )
    figure = Figure(figsize=((width + 1) / 72, (height + 1) / 72))
    figure.text(0.5 / 72, (depth + 0.5) / (height + 1), f"${formula}$", size=size)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "scalebayes"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    hangs = f'<svg aria-hidden="true" style="vertical-align:{-depth / size:.3f}em"'
    svg = buffer.getvalue().partition("<svg")[2]
    svg = f"{hangs}{svg}"
    return f'<span class="formula" role="img" aria-label="{escape(formula)}">{svg}</span>'


def drawable(formula):
    """Return a formula as mathtext reads it: in one line, without the commands it lacks."""
    return " ".join(formula.replace(r"\mid", "|").split())


def visit(translator, node):
    from docutils import nodes

    translator.body.append(drawing(drawable(node.astext())))
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathtext", (visit, None), (visit, None))
    app.config.html_math_renderer = "mathtext"
    return {"parallel_read_safe": True}
