"""docs/architecture.md says which modules there are and which way imports go; here it is held to that."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text("utf-8")
ORDER = re.findall(r"^\| `([a-z_.]+)` \|", DOCUMENT, flags=re.MULTILINE)


def module_name(path):
    parts = path.relative_to(ROOT / "scalebayes").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(p): p for p in (ROOT / "scalebayes").rglob("*.py") if module_name(p)}


def imports(path):
    """Modules of the package that a file imports anywhere, inside functions and TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name.removeprefix("scalebayes.") in FILES else node.module for name in names)


def test_document_lists_every_module_once():
    assert sorted(ORDER) == sorted(FILES)


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_go_one_way(name):
    ours = {i.removeprefix("scalebayes.") for i in imports(FILES[name]) if i.startswith("scalebayes.")}
    later = {i for i in ours & set(FILES) if i != name and ORDER.index(i) > ORDER.index(name)}
    assert not later


@pytest.mark.parametrize(
    ("library", "modules"),
    [
        ("pymc", {"graph", "graph_priors", "pooled_graph", "accelerator"}),
        ("pymc.sampling.jax", {"accelerator"}),
        ("nutpie", {"engine.nuts"}),
        ("numpyro", {"accelerator"}),
        ("distributed", {"workers"}),
    ],
)
def test_heavy_libraries_have_one_user(library, modules):
    found = {name: {i for i in imports(path) if f"{i}.".startswith(f"{library}.")} for name, path in FILES.items()}
    assert {name for name, imported in found.items() if imported} == modules
    if library == "pymc":  # PyMC's bridge to JAX is the one exception
        assert all(i.startswith("pymc.sampling.jax") for i in found["accelerator"])


def test_no_public_name_is_shadowed_by_its_module():
    stub = ast.parse((ROOT / "scalebayes" / "__init__.pyi").read_text("utf-8"))
    froms = [node for node in stub.body if isinstance(node, ast.ImportFrom) and node.module]
    public = {alias.name for node in froms for alias in node.names}
    assert not public & {name.split(".")[0] for name in FILES}


@pytest.mark.parametrize("name", sorted(FILES))
def test_files_and_functions_stay_small(name):
    source = FILES[name].read_text("utf-8")
    assert source.count("\n") <= 350
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            size = node.end_lineno - body[0].lineno + 1 if body else 0
            assert size <= 60, f"{node.name} has {size} lines"
