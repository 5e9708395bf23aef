"""A wheel, a source archive and an editable checkout work outside the checkout, without network."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
HEAVY = ["arviz_base", "arviz_plots", "arviz_stats", "matplotlib", "nutpie", "pymc"]

USE_PACKAGE = """
import importlib.resources, json
import scalebayes as sb

package = importlib.resources.files("scalebayes")
print(json.dumps({
    "file": str(package),
    "typed": package.joinpath("py.typed").is_file(),
    "models": len(sb.list_models()),
    "law": sb.read_model("chinchilla").title,
    "rows": len(sb.load_runs("hoffmann2022")),
}))
"""


def run(*command: object, cwd: Path) -> str:
    """Return the output of a command, run without this process's Python path."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"{words} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the wheel and the source archive; an editable install takes the checkout itself."""
    out = tmp_path_factory.mktemp("dist")
    run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--sdist",
        "--wheel",
        "--outdir",
        out,
        ROOT,
        cwd=out,
    )
    return {"wheel": next(out.glob("*.whl")), "sdist": next(out.glob("*.tar.gz")), "editable": ROOT}


@pytest.fixture(scope="session", params=["wheel", "sdist", "editable"])
def installed(
    request: pytest.FixtureRequest, built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Install one into a new environment with our dependencies only, and return its home."""
    home = tmp_path_factory.mktemp(request.param) / "venv"
    venv.create(home, symlinks=True)
    paths = {
        key: Path(sysconfig.get_path(key, "venv", {"base": str(home)}))
        for key in ("purelib", "scripts")
    }
    # Python does not read .pth files inside a folder that a .pth file adds, so our own editable
    # install is not seen.
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (paths["purelib"] / "borrowed.pth").write_text("\n".join(sorted(borrowed)), "utf-8")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed", "--quiet"]
    target = (
        ["--editable", built["editable"]] if request.param == "editable" else [built[request.param]]
    )
    run(paths["scripts"] / "python", "-m", "pip", "install", *options, *target, cwd=home)
    return home


@pytest.mark.slow
def test_installed_package_works_elsewhere(installed: Path, tmp_path: Path) -> None:
    scripts = Path(sysconfig.get_path("scripts", "venv", {"base": str(installed)}))
    found = json.loads(run(scripts / "python", "-c", USE_PACKAGE, cwd=tmp_path))
    home = ROOT if installed.parent.name.startswith("editable") else installed
    assert Path(found["file"]).is_relative_to(home)
    assert found["typed"]
    assert found["models"] == len(list((ROOT / "models").glob("*.toml")))
    assert found["law"]
    assert found["rows"] > 200
    assert VERSION in run(scripts / "scalebayes", "--version", cwd=tmp_path)


@pytest.mark.standard
def test_wheel_holds_the_package_and_nothing_else(built: dict[str, Path]) -> None:
    names = zipfile.ZipFile(built["wheel"]).namelist()
    assert {name.split("/")[0] for name in names} == {
        "scalebayes",
        f"scalebayes-{VERSION}.dist-info",
    }
    shipped = {Path(name).name for name in names if name.startswith("scalebayes/_models/")}
    assert shipped == {path.name for path in (ROOT / "models").rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "statement",
    ["pass", "sb.list_models()", "sb.read_model('chinchilla')", "sb.load_runs('hoffmann2022')"],
)
def test_light_work_imports_no_heavy_library(statement: str, tmp_path: Path) -> None:
    code = (
        f"import sys, scalebayes as sb; {statement}; "
        f"print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    assert run(sys.executable, "-c", code, cwd=tmp_path).split() == []


def test_version_is_the_same_everywhere() -> None:
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\n## [{VERSION}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
