"""The compiled kernel: PyMC's own log density as C, for every spec.

It is kept on disk, and there is a fallback where it cannot be compiled.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pymc as pm
import pytensor
import pytensor.gradient
import pytensor.tensor as pt
import pytest
from pymc.logprob.utils import ParameterValueError

import scalebayes as sb
from scalebayes.fitting import kept_fits, samplers
from scalebayes.fitting.graph import structure, symbols
from scalebayes.fitting.kernel import compiler, kernel
from scalebayes.fitting.kernel.c_library import print_source
from scalebayes.fitting.kernel.c_operations import UnsupportedError
from scalebayes.fitting.kernel.kernel import (
    Symbols,
    check,
    evaluate,
    kernel_key,
    reference_function,
    source_digest,
)
from scalebayes.fitting.nutpie import KernelSampler, compile_model, read_trace, sample
from scalebayes.specs.pooling import variable_names
from scalebayes.utils.cache_folder import CacheError, cache_folder
from tests.fixtures import INTEGRATED, data_of, normalised, runs_of_every_input

NAMES = sorted(path.stem for path in (Path(__file__).parents[3] / "models").glob("*.toml"))
QUICK = ("kaplan-size", "coupled-discrepancy")
EVERY = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]


def table(rows, seed):
    groups = np.where(np.arange(rows) % 3, "a", "b")
    return runs_of_every_input(rows, seed, group=groups)


A, B, C = table(9, seed=0), table(53, seed=1), table(50, seed=2)


def spec_of(name):
    return INTEGRATED if name == INTEGRATED.name else sb.read_model(name)


def kernel_of(name, runs=A):
    runs, spec = normalised(runs, spec_of(name))
    keep = [*variable_names(spec), *spec.observation.traits.kept]
    return kernel.kernel(spec, runs, keep, structure(spec, runs))


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBAYES_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(samplers, "COMPILED", {})
    return tmp_path / "cache" / "kernels"


@pytest.mark.parametrize("name", [*EVERY, INTEGRATED.name])
def test_kernel_of_one_table_is_pytensors_function_on_another(name):
    """Compiled on fewer rows, called on 53; undefined where PyTensor's density is undefined."""
    spec = spec_of(name)
    compiled_on = C if spec.observation.traits.samples_discrepancy else A
    bound = kernel_of(name, compiled_on).bind(data_of(B, spec))
    reference = reference_function(symbols(*normalised(B, spec), [*bound.layout.kept]))
    n, finite = len(bound.layout.entries), []
    widths = [0.1, 1.0, 1.0, 3.0, 10.0, 100.0, 1000.0]
    # Powers of one input without a floor have a density that is still finite at 1000.
    if name in ("kaplan-size", "kaplan-data", "kaplan-compute"):
        widths.append(10_000.0)
    for seed, width in enumerate(widths):
        point = bound.initial + width * np.random.default_rng(seed).uniform(-1, 1, n)
        with np.errstate(all="ignore"):
            try:
                theirs = reference(point)
            except ParameterValueError:  # a scale that underflows to zero
                theirs = np.full(2 * n + 1 + bound.layout.size, np.nan)
                theirs[-n:] = bound.initial
        ours = np.concatenate([*evaluate(bound, point), bound.initial])
        finite.append(np.isfinite(theirs[: n + 1]).all())
        # Draws are at points with a density.
        checked = slice(None) if finite[-1] else slice(len(ours) - n, None)
        assert np.isnan(ours[: n + 1]).all() != finite[-1]
        # Far out, terms of one entry are as large as the largest entry and cancel in another order.
        unit = (
            1.0
            if width <= 1
            else np.abs(theirs[: n + 1]).max(initial=1.0, where=np.isfinite(theirs[: n + 1]))
        )
        np.testing.assert_allclose(ours[checked], theirs[checked], rtol=1e-9, atol=1e-9 * unit)
    assert all(finite[:3])
    assert not all(finite)


def test_no_density_outside_the_support():
    bound = kernel_of("kaplan-size").bind(data_of(A, "kaplan-size"))
    point = bound.initial.copy()
    point[bound.layout.entries.index("sigma_log__")] = 800.0
    assert np.isnan(evaluate(bound, point)[0]).all()


def test_tables_that_do_not_fit_together_are_refused():
    data = data_of(A, "kaplan-size")
    with pytest.raises(sb.FitError, match="log_N, observed of equal length; got 8, 9"):
        kernel_of("kaplan-size").bind(data | {"observed": data["observed"][:-1]})
    with pytest.raises(sb.FitError, match="takes log_N with 1 dimensions; got 0"):
        kernel_of("kaplan-size").bind(data | {"log_N": np.array(1.0)})


def test_a_table_whose_discrepancy_has_another_size_is_refused():
    with pytest.raises(sb.FitError, match="eigenvalues, eigenvectors of length 16; got 48"):
        kernel_of("coupled-discrepancy").bind(data_of(B, "coupled-discrepancy"))


def small_graph(value):
    """A graph of one free variable x and a vector of data, for what no spec has."""
    x, rows = pt.dscalar("x"), pytensor.shared(np.arange(5.0), name="rows", shape=(None,))
    density = value(x, rows)
    return Symbols(
        {"x": x},
        {"rows": rows},
        density,
        [pytensor.gradient.grad(density, x)],
        {"x": x},
        [pt.zeros(())],
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda x, rows: (x * pt.cumsum(rows)).sum(), "operation Cumsum"),
        (lambda x, rows: (x * rows[::2]).sum(), "operation Subtensor"),
        (
            lambda x, rows: (rows.sum() * pt.exp(x * pt.as_tensor([1.0, 2.0]))).sum(),
            "constant arrays of different values",
        ),
        (
            lambda x, rows: (x * pt.outer(rows, rows)).sum(),
            "computed matrices|products other than|operation",
        ),
    ],
)
def test_what_cannot_be_printed_is_named(value, words):
    with pytest.raises(UnsupportedError, match=words):
        print_source(small_graph(value))


def test_a_kernel_that_is_off_is_refused(tmp_path):
    graph = small_graph(lambda x, rows: -((x - rows) ** 2).sum())
    source, layout = print_source(graph)
    for name, text in (("right", source), ("wrong", source.replace("*value =", "*value = 1e-6 +"))):
        compiler.build(text, tmp_path / f"{name}.so")
    right, wrong = (
        kernel.Kernel(layout, ctypes.CDLL(str(tmp_path / f"{name}.so")))
        for name in ("right", "wrong")
    )
    check(right, graph, {"rows": np.arange(5.0)})
    with pytest.raises(UnsupportedError, match=r"evaluation differ by .*e-0[78]; at most"):
        check(wrong, graph, {"rows": np.arange(5.0)})


def test_a_kernel_is_made_once_and_again_where_it_was_damaged(empty_cache, monkeypatch):
    kernel_of("kaplan-size")
    (library,), (about,) = empty_cache.glob("*.so"), empty_cache.glob("*.json")
    whole = library.read_bytes()

    def refuse(*_args):
        raise AssertionError("made again")

    with monkeypatch.context() as patch:
        patch.setattr(kernel, "_make", refuse)
        kernel_of("kaplan-size", runs=B)
        library.write_bytes(whole[:-100])
        with pytest.raises(AssertionError, match="made again"):
            kernel_of("kaplan-size")
        library.write_bytes(whole)
        about.write_text("{}")
        with pytest.raises(AssertionError, match="made again"):
            kernel_of("kaplan-size")


def plant(folder, source, layout):
    """Put a library of other source in place of the kernel in a folder, with its right digest."""
    (old,), (about,) = folder.glob("*.so"), folder.glob("*.json")
    old.unlink()
    found = json.loads(about.read_text())
    planted = folder / f"planted-{len(layout)}.so"  # a path that this process has not loaded
    compiler.build(source, planted)
    planted.chmod(0o700)
    found["library"] = planted.name
    found["layout"] |= layout
    found["sha256"] = kernel.digest(planted.read_bytes(), found["layout"])
    about.write_text(json.dumps(found))


def replace_file(path, content, owner=None, mode=0o600):
    """Replace a file by a new one, because the old one is loaded in this process."""
    path.unlink()
    path.write_bytes(content)
    path.chmod(mode)
    if owner is not None:
        os.chown(path, owner, owner)


def test_kernels_that_are_damaged_or_not_the_users_are_made_again(empty_cache):
    """Whatever stands in the cache, the kernel that is returned is a new and whole one."""
    kernel_of("kaplan-size")
    (library,), (about,) = empty_cache.glob("*.so"), empty_cache.glob("*.json")
    whole, description = library.read_bytes(), about.read_bytes()
    broken = "int64_t f(void) { return 1; }"
    plantings = {
        "truncated": lambda: replace_file(library, whole[: len(whole) // 2]),
        "zeros": lambda: replace_file(library, bytes(len(whole))),
        "other lengths": lambda: about.write_text(description.decode().replace("[[", "[[[0],", 1)),
        "no functions": lambda: plant(empty_cache, f"#include <stdint.h>\n{broken}", {}),
        "no layout": lambda: plant(empty_cache, "int initial;", {"unknown": 1}),
        "written by others": lambda: replace_file(library, whole, mode=0o666),
        "description of others": lambda: about.chmod(0o620),
    }
    if os.getuid() == 0:
        plantings["of another user"] = lambda: replace_file(library, whole, owner=12345)
        plantings["description of another"] = lambda: os.chown(about, 12345, -1)
    for what, planting in plantings.items():
        planting()
        assert kernel._load(empty_cache, about.stem) is None, what
        assert is_usable(kernel_of("kaplan-size")), what
        assert kernel._load(empty_cache, about.stem) is not None, what
        for planted in empty_cache.glob("planted*"):
            planted.unlink()
        files = [*empty_cache.glob("*.so"), *empty_cache.glob("*.json")]
        assert files == [library, about], what
        assert not any(file.stat().st_mode & 0o077 for file in files), what


def test_the_key_holds_structure_versions_processor_and_flags(monkeypatch):
    spec = sb.read_model("chinchilla")
    base = kernel_key(["L_inf"], structure(spec, A))
    assert base == kernel_key(["L_inf"], structure(spec, A))
    others = {
        kernel_key(["sigma"], structure(spec, A)),
        kernel_key(["L_inf"], structure(sb.read_model("kaplan"), A)),
    }
    for name, value in (
        ("version", lambda name: "0"),
        ("machine", lambda: "another"),
        ("ATTEMPTS", ()),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(kernel, name, value)
            others.add(kernel_key(["L_inf"], structure(spec, A)))
    with monkeypatch.context() as patch:
        patch.setattr(kernel, "source_digest", lambda: "edited")
        others.add(kernel_key(["L_inf"], structure(spec, A)))
    assert len(others | {base}) == 7


def test_the_keys_follow_laws_and_ignore_plots(tmp_path):
    package = tmp_path / "scalebayes"
    shutil.copytree(kernel.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    folders = {"kernels": kernel.GRAPH_FOLDERS, "saved fits": kept_fits.DRAWS_FOLDERS}

    def digests():
        source_digest.cache_clear()
        return {key: source_digest(names, package) for key, names in folders.items()}

    before = digests()
    for unrelated in ("plots/loss.py", "cli/app.py", "queries/frontier.py", "reports/content.py"):
        with (package / unrelated).open("a") as file:
            file.write("# edited")
    assert digests() == before
    with (package / "laws" / "joint.py").open("a") as file:
        file.write("# edited")
    after = digests()
    assert after["kernels"] != before["kernels"]
    assert after["saved fits"] != before["saved fits"]


def test_the_keys_cover_what_the_graph_imports():
    code = """
import sys
import scalebayes.fitting.graph, scalebayes.fitting.graph_groups, scalebayes.fitting.kernel.kernel
print(*(name for name in sys.modules if name.startswith("scalebayes.")))
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    # These hold no mathematics: they read tables, show objects, find folders or name errors.
    harmless = {"data", "display", "utils", "units", "errors", "messages"}
    covered = {folder.split("/")[0] for folder in kernel.GRAPH_FOLDERS}
    assert {name.split(".")[1] for name in run.stdout.split()} <= covered | harmless


def test_without_a_compiler_nutpie_compiles_the_model_and_the_fit_says_so(empty_cache, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    warned = []

    def compile_model(model, keep):
        warned.extend(str(warning.message) for warning in caught)  # before the wait
        return model, keep

    monkeypatch.setattr(samplers, "compile_model", compile_model)
    runs, spec = normalised(A, "kaplan-size")
    with pytest.warns(sb.FallbackWarning) as caught:
        engine = samplers.engine(spec, runs)
    (said,) = warned
    assert said.startswith("nutpie compiles the model through numba, which is slower: a fit of")
    assert said.endswith("no C compiler (cc, gcc or clang) was found")
    assert engine.about["route"] == "numba"
    assert "no C compiler" in engine.about["reason"]
    model, keep = engine.sampler
    assert keep == ["N_c", "alpha_N", "sigma", "nu"]
    assert {v.name for v in model.free_RVs} >= {"log_T", "log_G_N"}
    assert not list(empty_cache.glob("*"))


def failing_compiler(folder):
    """A folder whose cc fails, to stand alone in PATH."""
    folder.mkdir()
    (folder / "cc").symlink_to(shutil.which("false"))
    return str(folder)


def test_a_compiler_that_fails_is_quoted(empty_cache, monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", failing_compiler(tmp_path / "bin"))
    with pytest.raises(UnsupportedError, match="cc does not compile the kernel: exit code 1"):
        kernel_of("kaplan-size")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("false", "exit code 1"),
        ("no-such-compiler -m64", "No such file or directory"),
        ("'unclosed", "No such file or directory"),
        ("true", "exit code 0, but no library"),
    ],
)
def test_an_unusable_compiler_in_cc_is_replaced_by_the_systems(
    command, reason, empty_cache, monkeypatch, tmp_path
):
    monkeypatch.setenv("CC", command)
    with pytest.warns(sb.FallbackWarning) as caught:
        compiler.build("int f(void) { return 1; }", tmp_path / "kernel.so")
    (warning,) = caught
    said = str(warning.message)
    assert "(from CC) does not compile the kernel" in said
    assert f"{reason}; {compiler.system_compiler()[0]} is used instead" in said
    assert ctypes.CDLL(str(tmp_path / "kernel.so")).f() == 1
    assert not list(tmp_path.glob("*.c"))


def test_a_compiler_in_cc_may_have_arguments(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", f"{compiler.system_compiler()[0]} -DVALUE=7")
    compiler.build("int f(void) { return VALUE; }", tmp_path / "kernel.so")
    assert ctypes.CDLL(str(tmp_path / "kernel.so")).f() == 7


def test_cache_folder_is_the_users_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBAYES_CACHE_DIR", str(tmp_path / "mine"))
    folder = cache_folder("kernels")
    assert folder == tmp_path / "mine" / "kernels"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(CacheError, match=r"other users can write to .* \(chmod go-w "):
        cache_folder("kernels")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SCALEBAYES_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(CacheError, match="cannot be created"):
        cache_folder("kernels")


def is_usable(made):
    bound = made.bind(data_of(A, sb.read_model("kaplan-size")))
    return np.isfinite(evaluate(bound, bound.initial)[0]).all()


def test_without_a_cache_folder_a_kernel_serves_the_process(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SCALEBAYES_CACHE_DIR", str(tmp_path / "file"))
    with pytest.warns(sb.FallbackWarning, match=r"cannot be created .* 3 seconds longer"):
        made = kernel_of("kaplan-size")
    assert is_usable(made)


def test_a_cache_folder_that_others_can_write_is_not_used_and_that_is_said(empty_cache):
    empty_cache.mkdir(parents=True)
    empty_cache.chmod(0o777)
    with pytest.warns(sb.FallbackWarning, match=r"other users can write to .* so compiled models"):
        made = kernel_of("kaplan-size")
    assert is_usable(made)
    assert not list(empty_cache.iterdir())


@pytest.fixture
def noexec_cache(empty_cache):
    """A cache folder on a file system from which libraries cannot be loaded."""
    empty_cache.mkdir(parents=True, mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "noexec,mode=700", "tmpfs", str(empty_cache)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield empty_cache
    subprocess.run(["umount", "--lazy", str(empty_cache)], check=True)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_noexec_cache_folder_is_not_used_and_that_is_said(noexec_cache, is_known, monkeypatch):
    if not is_known:  # the system refuses for another reason, found out when a library is loaded
        monkeypatch.setattr(kernel, "check_libraries_load", lambda folder: None)
    with pytest.warns(sb.FallbackWarning) as caught:
        made = kernel_of("kaplan-size")
    (warning,) = caught
    said = str(warning.message)
    assert ("is mounted noexec" if is_known else "cannot be kept in") in said
    assert "every process takes 3 seconds longer" in said
    assert is_usable(made)
    assert not list(noexec_cache.iterdir())


def test_where_no_folder_can_hold_libraries_the_reason_names_both(empty_cache, monkeypatch):
    def refuse(folder):
        raise CacheError(f"the file system of {folder} is mounted noexec")

    monkeypatch.setattr(kernel, "check_libraries_load", refuse)
    with pytest.raises(UnsupportedError) as raised:
        kernel_of("kaplan-size")
    assert str(raised.value).count("is mounted noexec") == 2


def test_nutpie_is_imported_without_arviz_which_loads_when_used():
    code = """
import sys
from scalebayes.fitting.nutpie import import_nutpie
import_nutpie()
assert "matplotlib" not in sys.modules and "arviz_plots" not in sys.modules
import arviz
from arviz import from_dict
assert arviz.from_dict is from_dict and "arviz_plots" in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.standard
def test_a_second_process_loads_neither_pymc_nor_pytensor(tmp_path):
    code = """
import sys, scalebayes as sb
fit = sb.fit(sb.load_runs("pile2023"), "kaplan-size", draws=500)
heavy = {"pymc", "pytensor", "matplotlib"} & set(sys.modules)
print(fit.metadata["engine"]["route"], *heavy, sep=",")
print(float(fit.stored["posterior"]["alpha_N"].sum()).hex())
"""
    environment = os.environ | {"SCALEBAYES_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
        for _ in range(2)
    )
    assert first.stdout.splitlines()[0].startswith("kernel,")
    assert second.stdout.splitlines()[0] == "kernel"
    assert first.stdout.splitlines()[1] == second.stdout.splitlines()[1]


@pytest.mark.slow
def test_threads_of_the_linear_algebra_do_not_change_the_draws():
    code = """
import scalebayes as sb
fit = sb.fit(sb.load_runs("hoffmann2022"), "coupled-discrepancy", draws=500, tune=500, chains=2)
print(float(fit.stored["posterior"]["alpha_N"].sum()).hex())
"""
    said = []
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads},
        )
        said.append(done)
    assert said[0].stdout.startswith("0x1.")
    assert said[0].stdout == said[1].stdout


@pytest.fixture(scope="module")
def by_numba_compiled():
    """What nutpie compiled, for all tables."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hoffmann2022", "pile2023", "muennighoff2023"])
def test_posteriors_of_both_routes_agree(name, load_public, fitted, monkeypatch, by_numba_compiled):
    """Means and sds within five Monte Carlo standard errors of their difference."""
    import arviz_stats as azs

    monkeypatch.setattr(samplers, "COMPILED", by_numba_compiled)

    def refuse(*_args):
        raise UnsupportedError("asked not to")

    monkeypatch.setattr(samplers, "kernel", refuse)
    with warnings.catch_warnings():  # issued for the first table alone
        warnings.simplefilter("ignore", sb.FallbackWarning)
        by_numba = sb.fit(load_public(name), "chinchilla", seed=1)
    monkeypatch.undo()
    by_kernel = fitted(name, "chinchilla")
    assert by_numba.metadata["engine"] == {"route": "numba", "reason": "asked not to"}
    assert by_kernel.metadata["engine"] == {"route": "kernel"}
    for variable in by_kernel.stored["posterior"].data_vars:
        a, b = (np.log(fit.stored["posterior"][variable]) for fit in (by_numba, by_kernel))
        for method, value in (("mean", np.mean), ("sd", np.std)):
            error = np.hypot(*(float(azs.mcse(x.values, method=method)) for x in (a, b)))
            assert abs(float(value(a.values)) - float(value(b.values))) < 5 * error, (
                variable,
                method,
            )


def test_a_kernel_samples_what_it_should(empty_cache):
    """The sampler's model takes tables of any length and gives back only what is kept."""
    sampler = KernelSampler(kernel_of("kaplan-size"))
    for runs in (A, B):
        model = sampler.with_data(**data_of(runs, "kaplan-size"))
        assert model.n_dim == 4
        assert list(model.shapes) == ["N_c", "alpha_N", "sigma", "nu"]


@pytest.mark.standard
def test_a_model_compiled_by_nutpie_takes_the_data_that_its_graph_uses():
    """The default model has no sizes and tokens in its graph, only matrices made of them."""
    with pm.Model() as model:
        offset = pm.Data("offset", np.array([5.0]))
        pm.Normal("x", offset[0], 1.0)
    compiled = compile_model(model, ["x"])
    moved = compiled.with_data(offset=np.array([9.0]), log_N=np.zeros(3))
    trace = read_trace(sample(moved, seed=0, draws=50, tune=50, chains=1), ["diverging"])
    assert abs(trace["posterior"]["x"].mean() - 9) < 1
