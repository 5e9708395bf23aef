"""Layout: heavy libraries are imported in one place, and no module hides a public name.

The direction of imports is the layers contract in pyproject.toml, which `make check` runs.
"""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "scalebayes"
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
}
MOST_MODULES_IN_A_FOLDER = 16  # more than one screen of names is no longer found by looking


def imported_modules(path):
    """Modules that a file imports anywhere, inside functions and TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_the_document_lists_every_folder_in_the_order_of_the_contract():
    document = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| (`[^|]*) \|", document, flags=re.MULTILINE)
    listed = [re.findall(r"`([a-z_]+)`", row) for row in rows]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    layer_of = {
        name: place
        for place, layer in enumerate(contract["layers"])
        for name in re.findall(r"[a-z_]+", layer)
    }
    names = [name for row in listed for name in row]
    assert sorted(names) == sorted(set(layer_of) - {"__main__"})
    places = [layer_of[name] for name in names]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in PACKAGE.rglob("*.py")}), ids=lambda f: f.name
)
def test_a_folder_is_read_at_a_glance(folder):
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES_IN_A_FOLDER


@pytest.mark.parametrize(
    ("library", "modules"),
    [
        (
            "pymc",
            {"fitting.graph", "fitting.graph_priors", "fitting.graph_groups", "fitting.numpyro"},
        ),
        ("pymc.sampling.jax", {"fitting.numpyro"}),
        ("nutpie", {"fitting.nutpie"}),
        ("numpyro", {"fitting.numpyro"}),
        ("distributed", {"fitting.many.workers"}),
    ],
)
def test_heavy_libraries_have_one_user(library, modules):
    users = set()
    for name, path in FILES.items():
        if any(f"{module}.".startswith(f"{library}.") for module in imported_modules(path)):
            users.add(name)
    assert users == modules


def test_no_public_name_is_shadowed_by_its_folder():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text("utf-8"))
    public = set()
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            public.update(alias.name for alias in node.names)
    assert not public & {name.split(".")[0] for name in FILES}
