"""The site that `make docs` builds from these pages: no network, no notebook, warnings are errors.

Pages are plain Markdown that also reads well on the repository's host. `_site/` has the code that
only the site needs.
"""

import logging
import sys
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_site"))

for library in (
    "arviz",
    "pytensor",
):  # which say what they found, in the midst of the builder's warnings
    logging.getLogger(library).setLevel(logging.WARNING)

project = "scalebayes"
author = copyright = "The scalebayes maintainers"
version = release = installed("scalebayes")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
extensions += ["outside", "reference", "figures", "formulas"]  # docs/_site/
exclude_patterns = ["_build", "_site"]
figures_pages = ["gallery"]
nitpicky = True
# Names that have no entry here: libraries, private classes, plain words.
nitpick_ignore_regex = [
    (
        "py:class",
        r"(annotated_types|arviz_base|collections|matplotlib|np|numpy|os|pandas|pathlib|pd|"
        r"pydantic|xarray|xr)\..*",
    ),
    ("py:class", r"scalebayes\.\w+\..*|_PydanticGeneralMetadata"),
    (
        "py:class",
        r"Any|Arm|Axes|Basis|Callable|Curve|CurveModel|Fault|Figure|Iterable|Mapping|Method|Numeric|Outcome|Path|"
        r"PlotlyFigure|Quantities|Sequence|Table|Workers|mapping|sequence",
    ),
    ("py:class", r"array|optional|path|DataFrame"),
    ("py:exc", r"pydantic\..*"),
]

myst_heading_anchors = 4
myst_enable_extensions: list[str] = []
default_role = "literal"
highlight_language = "none"  # what commands print is no Python

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "scalebayes"
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_permalinks_icon = "#"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0060a0", "color-brand-content": "#0060a0"},
    "dark_css_variables": {"color-brand-primary": "#6cb8ee", "color-brand-content": "#6cb8ee"},
}
