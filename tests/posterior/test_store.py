"""Saved fits: what damage, edits and other files are told, and that failed checks are warned of."""

import contextlib
import json
import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.errors import FitError, GateWarning, RunsError
from scalebayes.messages import Message
from scalebayes.posterior import conflicts, kept_conflicts
from scalebayes.posterior.fit import METADATA
from scalebayes.posterior.integrity import check_tree
from scalebayes.posterior.seal import SIZE, is_broken, seal
from scalebayes.posterior.store import DIGEST_KEY, FORMAT_KEY, WITHOUT_DIGEST
from tests.fixtures import report_fit

DAMAGES = 40
NOBODY = 65534
"""Number of the user nobody."""
SIZES_OF_DAMAGE = (1, 8, 64, 4096)


@pytest.fixture(scope="module")
def fit():
    return report_fit(chains=2, draws=30)


@pytest.fixture(scope="module")
def saved(fit, tmp_path_factory):
    return sb.save(fit, tmp_path_factory.mktemp("fits") / "fit.nc")


def damaged(content, rng):
    """Return the content of a file with one bit turned over, or some bytes set to one value."""
    changed = bytearray(content)
    start = rng.randrange(len(content))
    kind = rng.choice(["bit", "zeros", "ones"])
    if kind == "bit":
        changed[start] ^= 1 << rng.randrange(8)
    else:
        size = min(rng.choice(SIZES_OF_DAMAGE), len(content) - start)
        changed[start : start + size] = (b"\0" if kind == "zeros" else b"\xff") * size
    return bytes(changed)


def test_a_damaged_file_is_the_same_fit_or_an_error(fit, saved, tmp_path):
    rng = random.Random(0)
    path = tmp_path / "fit.nc"
    messages = []
    for _ in range(DAMAGES):
        path.write_bytes(damaged(saved.read_bytes(), rng))
        try:
            loaded = sb.load(path)
        except FitError as error:
            messages.append(str(error))
            continue
        assert loaded.metadata == fit.metadata
        assert loaded.spec == fit.spec
        xr.testing.assert_identical(loaded.stored, fit.stored)
    assert len(messages) > DAMAGES / 2  # most bytes of the file hold draws
    assert all(str(path) in message for message in messages)
    assert "Errno" not in "".join(messages)


def edit_draws(tree):
    tree["posterior"]["sigma"].values[0, 0] *= 1.001


def swap_prior_and_posterior(tree):
    prior, posterior = tree["prior"].to_dataset(), tree["posterior"].to_dataset()
    size = {dim: posterior.sizes[dim] for dim in ("chain", "draw")}
    shape = (size["chain"], size["draw"])
    for name in posterior:
        drawn = prior[name].values.ravel()[: shape[0] * shape[1]].reshape(shape)
        posterior[name].values[:] = drawn


def test_conflicts_are_kept_for_the_same_content_and_code_alone(fit, saved, monkeypatch):
    def refuse(fit):
        raise AssertionError("conflicts were computed again")

    expected = fit.conflicts
    with monkeypatch.context() as patch:
        patch.setattr(conflicts, "find_conflicts", refuse)
        assert sb.load(saved).conflicts == expected
        patch.setattr(kept_conflicts, "SOURCES", ("posterior/conflicts.py",))
        with pytest.raises(AssertionError, match="computed again"):
            _ = sb.load(saved).conflicts
    found = (Message("NOT_MONOTONE", "warning", "a text", "brief"),)
    fit = replace(fit)
    fit.__dict__["conflicts"] = found
    text = kept_conflicts.to_text(fit, "digest")
    assert kept_conflicts.from_text(text, "digest") == found
    assert kept_conflicts.from_text(text, "other") is None
    assert kept_conflicts.from_text("", "digest") is None
    assert kept_conflicts.from_text("[1]", "digest") is None


def edit_statistics(tree):
    tree["sample_stats"]["diverging"].values[0, 0] = True


def edit_density(tree):
    tree["observed_data"]["log_loss"].values[0] += 1e-6


def edit_prior(tree):
    tree["prior"]["L_inf"].values[0, 0] += 1e-9


def delete_failures(tree):
    metadata = json.loads(tree.attrs[METADATA])
    assert metadata["gate_failures"]
    tree.attrs[METADATA] = json.dumps(metadata | {"gate_failures": []})


def edit_seed(tree):
    tree.attrs[METADATA] = json.dumps(json.loads(tree.attrs[METADATA]) | {"seed": 99})


def remove_density(tree):
    del tree["observed_data"]


def remove_digest(tree):
    del tree.attrs[DIGEST_KEY]


@pytest.mark.parametrize(
    "edit",
    [
        edit_draws,
        swap_prior_and_posterior,
        edit_statistics,
        edit_density,
        edit_prior,
        delete_failures,
        edit_seed,
        remove_density,
        remove_digest,
    ],
)
def test_an_edited_file_is_refused(edit, tmp_path):
    path = sb.save(report_fit(chains=2, draws=5, gate_failures=["R_HAT"]), tmp_path / "fit.nc")
    change(path, edit)
    with pytest.raises(FitError) as error:
        sb.load(path)
    assert str(error.value) == (
        f"{path} is damaged, or was changed after it was saved: its content differs from the "
        "digest that was saved with it. Fit again, or restore the file from a copy"
    )


def change(path, edit):
    """Write the tree in a file again after an edit."""
    with xr.open_datatree(path) as stored:
        tree = stored.load()
    edit(tree)
    tree.to_netcdf(path)


def as_of_an_earlier_version(tree):
    tree.attrs[FORMAT_KEY] = WITHOUT_DIGEST
    del tree.attrs[DIGEST_KEY]


@pytest.mark.parametrize(
    ("remove", "says"),
    [
        (lambda tree: tree["posterior"].dataset.drop_vars("sigma"), "no posterior draws of sigma"),
        (lambda tree: tree["posterior"].dataset.isel(chain=0, drop=True), "has the dimensions"),
        (lambda tree: tree["posterior"].dataset.isel(draw=slice(3)), "not as many statistics"),
        (lambda tree: tree["posterior"].dataset.where(lambda x: x > 1e300), "not finite"),
        (lambda tree: tree["posterior"].dataset.astype(str), "has no numbers"),
    ],
)
def test_without_a_digest_the_form_of_the_draws_is_checked(saved, tmp_path, remove, says):
    path = tmp_path / "fit.nc"
    path.write_bytes(saved.read_bytes())

    def edit(tree):
        as_of_an_earlier_version(tree)
        tree["posterior"] = xr.DataTree(remove(tree))

    change(path, edit)
    with pytest.raises(FitError, match=says):
        sb.load(path)


@pytest.mark.parametrize("name", ["posterior", "sample_stats", "prior", "drift"])
def test_every_group_of_the_tree_is_needed(name):
    fit = report_fit("coupled-drift", chains=1, draws=4)
    tree = fit.stored.copy()
    check_tree(tree, fit.spec, finite=True, whole=True)
    del tree[name]
    with pytest.raises(ValueError, match=f"no group {name}"):
        check_tree(tree, fit.spec, finite=True, whole=True)


def test_without_a_digest_the_convergence_checks_are_repeated(saved, tmp_path):
    path = tmp_path / "fit.nc"
    path.write_bytes(saved.read_bytes())
    change(path, as_of_an_earlier_version)
    with pytest.warns(GateWarning, match="ESS_BULK"):  # of 60 draws
        assert "ESS_BULK" in sb.load(path).gate_failures


def other_netcdf(path, saved):
    xr.Dataset({"x": ("t", np.arange(3.0))}).to_netcdf(path)


def classic(path, saved):
    xr.Dataset({"x": ("t", np.arange(3.0))}).to_netcdf(path, format="NETCDF3_64BIT")


def truncated(path, saved):
    content = saved.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def attribute(name, value):
    def make(path, saved):
        path.write_bytes(saved.read_bytes())
        with netCDF4.Dataset(path, "a") as file:
            file.setncattr(name, value)

    return make


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path, saved: path.touch(), "is empty, so it is no saved fit"),
        (lambda path, saved: path.mkdir(), "is a folder, not a saved fit"),
        (lambda path, saved: os.mkfifo(path), "is not a regular file"),
        (lambda path, saved: path.write_text("words"), "is not a netCDF file"),
        (classic, "is not a netCDF file"),
        (other_netcdf, "is a netCDF file, but not a fit"),
        (truncated, "netCDF cannot read it"),
        (attribute("scalebayes", "no JSON"), "is damaged"),
        (attribute("scalebayes", 3), "is damaged"),
        (attribute("scalebayes", "{}"), "is damaged"),
        (attribute("scalebayes_runs", "[]"), "is damaged"),
        (attribute("scalebayes_runs", np.arange(3)), "is damaged"),
        (attribute("scalebayes_spec", "{}"), "holds a spec that this version"),
        (attribute("scalebayes_spec", 1.5), "holds a spec that this version"),
        (attribute("scalebayes_format", "soon"), "was saved in format soon"),
        (attribute("scalebayes_digest", "0"), "differs from the digest"),
    ],
)
def test_a_file_that_is_no_fit_is_one_message(saved, tmp_path, make, says):
    path = tmp_path / "fit.nc"
    make(path, saved)
    with pytest.raises(FitError) as error:
        sb.load(path)
    assert says in str(error.value)
    assert "Errno" not in str(error.value)


@contextlib.contextmanager
def as_no_superuser():
    """The superuser may read every file, so these tests are run as nobody."""
    user = os.geteuid()
    os.seteuid(NOBODY if user == 0 else user)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_file_that_may_not_be_read_is_told(saved, closed):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "fit.nc"
        path.write_bytes(saved.read_bytes())
        folder.chmod(0o755)
        (path if closed == "file" else folder).chmod(0)
        with as_no_superuser():
            with pytest.raises(FitError, match=r"cannot read .*fit\.nc: Permission denied"):
                sb.load(path)
            with pytest.raises(RunsError, match=r"cannot read .*fit\.nc: Permission denied"):
                sb.read_runs(path)
        folder.chmod(0o755)


def test_a_table_in_place_of_a_fit_and_a_fit_in_place_of_a_table(saved, tmp_path):
    table = tmp_path / "my runs.csv"
    table.write_text("N,D,loss\n1e9,1e10,2.5\n")
    with pytest.raises(FitError) as error:
        sb.load(table)
    assert f"`scalebayes fit '{table}' -o '{tmp_path}/my runs.nc'`" in str(error.value)
    with pytest.raises(FitError, match=r"pile2023 is a published table .*-o pile2023\.nc"):
        sb.load("pile2023")
    as_table = tmp_path / "fit.csv"
    as_table.write_bytes(saved.read_bytes())
    for path in (saved, as_table):
        with pytest.raises(RunsError, match=r"is a saved fit .*, not a table"):
            sb.read_runs(path)


def test_a_name_that_is_not_utf8_is_replaced_in_runs_and_refused_for_fits(fit, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    path = tmp_path / f"{name}.csv"
    fit.runs.table.to_csv(path)
    runs = sb.read_runs(path)
    assert runs.name == "caf\N{REPLACEMENT CHARACTER}"
    runs.source.encode()
    assert sb.Runs(pd.DataFrame({"N": [1.0]}), name).name == runs.name
    with pytest.raises(FitError, match="must be valid UTF-8"):
        sb.save(fit, tmp_path / f"{name}.nc")


# failed convergence checks


ANSWERS = {
    "predict": lambda fit: sb.predict(fit, N=1e9, D=1e11),
    "frontier": lambda fit: sb.frontier(fit, C=1e21),
    "decide": lambda fit: sb.decide(fit, C=1e21),
    "near_optimum": lambda fit: sb.near_optimum(fit, C=1e21),
    "regret": lambda fit: sb.regret(fit, N=1e9, D=1e11),
    "overtrain": lambda fit: sb.overtrain(fit, N=1e9, D=1e12),
    "reach": lambda fit: sb.reach(fit, loss=2.4, N=1e9),
    "isoloss": lambda fit: sb.isoloss(fit, loss=2.4, N=1e9),
    "returns": lambda fit: sb.returns(fit, C=1e21),
    "above_converged": lambda fit: sb.above_converged(fit, C=1e21),
    "probability": lambda fit: sb.probability(fit, loss=2.4, N=1e9, D=1e11),
    "prefer": lambda fit: sb.prefer(fit, a={"N": 1e9, "D": 1e11}, b={"N": 2e9, "D": 5e10}),
    "average": lambda fit: sb.predict(sb.average({"a": fit, "b": fit}), N=1e9, D=1e11),
    "difference": lambda fit: sb.compare(
        {"a": fit, "b": report_fit("coupled", chains=2, draws=30)}, reloo=False
    ).difference(N=1e9, D=1e11),
}


@pytest.fixture(scope="module")
def failed():
    return report_fit(chains=2, draws=30, gate_failures=["R_HAT"])


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.filterwarnings("ignore::UserWarning:arviz_stats")  # Pareto k of hand-made draws
def test_every_answer_says_that_its_fit_failed(failed, fit, answer):
    found = answer(failed)
    (first, *_) = sb.caveats(found)
    assert (first.code, first.level) == ("NOT_CONVERGED", "failed")
    assert "R_HAT" in first.text
    assert "failed [NOT_CONVERGED]" in repr(sb.intervals(found))
    assert "NOT_CONVERGED" not in [message.code for message in sb.caveats(answer(fit))]


def test_tables_of_parameters_say_that_the_fit_failed(failed):
    kappa = sb.coupling(report_fit("coupled", chains=2, draws=30, gate_failures=["R_HAT"]))
    for table in (sb.summary(failed), kappa.probabilities, sb.intervals(kappa.draws)):
        assert "failed [NOT_CONVERGED]" in repr(table)


def test_loading_a_failed_fit_warns_once(failed, tmp_path):
    path = sb.save(failed, tmp_path / "fit.nc")
    with pytest.warns(GateWarning) as found:
        sb.load(path)
    assert [str(warning.message) for warning in found] == [
        f"chinchilla on grid, loaded from {path}, failed the convergence checks (R_HAT); do not "
        "rely on its draws"
    ]
    assert found[0].filename == __file__


def test_damage_is_found_before_netcdf_opens_the_file(saved, tmp_path, monkeypatch):
    path = tmp_path / "fit.nc"
    content = bytearray(saved.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)

    def opened(*_, **__):
        raise AssertionError("a damaged file may keep netCDF busy for ever")

    monkeypatch.setattr(xr, "open_datatree", opened)
    with pytest.raises(FitError, match="its bytes differ from those that were saved"):
        sb.load(path)


def test_a_file_without_its_seal_is_judged_by_its_digest(fit, saved, tmp_path):
    path = tmp_path / "fit.nc"
    path.write_bytes(saved.read_bytes()[:-SIZE])
    xr.testing.assert_identical(sb.load(path).stored, fit.stored)
    assert not is_broken(path)
    seal(path)
    assert path.read_bytes() == saved.read_bytes()
