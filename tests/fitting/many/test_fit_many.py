"""Many fits on a local cluster, with a worker killed in the middle.

Which fits are kept, found, refused and reported.
"""

import json
import os
import pickle
import re
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import cloudpickle
import netCDF4
import numpy as np
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.comparison import recipes
from scalebayes.fitting.many import dispatch, fit_many
from scalebayes.fitting.many.jobs import file_name
from scalebayes.fitting.many.workers import DIED, connected
from scalebayes.posterior.fit import METADATA
from scalebayes.validation import sensitivity
from tests.fixtures import around, fit_of

fit_on_worker = dispatch._fit_on_worker

RUNS = sb.load_runs("pile2023")
TWO = sb.Runs(RUNS.table.iloc[:2], "two")
DRAWS = {
    "eta": 0.01,
    "tau": 0.1,
    "tau_loss": 0.1,
    "N_c": 5e7,
    "alpha_N": 0.1,
    "sigma": 0.01,
    "nu": 5.0,
    "D_c": 1e10,
    "alpha_D": 0.1,
}


@pytest.fixture
def by_hand(monkeypatch):
    """Fits that take no time; the list says in which order they were made, and with what."""
    made = []

    def fit(runs, spec, *, seed, progress, **settings):
        made.append((runs.name, spec.name, seed, settings))
        if len(runs) < 3:
            raise sb.RunsError(f"{runs.name} is too short")
        if settings.get("target_accept") == 0.5:
            raise ZeroDivisionError("planted")
        rng = np.random.default_rng(seed)
        draws = around({name: DRAWS[name] for name in spec.priors}, (2, 50), rng)
        out = fit_of(spec, runs, gate_failures=["R_HAT"] if seed == 13 else [], **draws)
        about = out.metadata | {
            "attempts": 1,
            "seconds": 0.5,
            "seed": seed,
            "partial": settings.get("tune") == 130,
        }
        out.stored.attrs[METADATA] = json.dumps(about)
        return out

    monkeypatch.setattr(dispatch, "fit", fit)
    return made


def made_here(job):
    return dispatch.make_fit(job, job.record)


def jobs(*seeds, model="kaplan-size", **settings):
    return [sb.Job(f"{model} {seed}", RUNS, model, seed=seed, settings=settings) for seed in seeds]


def test_fits_are_files_that_are_read_when_asked_for(tmp_path, by_hand):
    made = sb.fit_many(jobs(1, 2), tmp_path / "new" / "fits")
    assert sorted(p.name for p in (tmp_path / "new" / "fits").iterdir()) == [
        "kaplan-size 1.nc",
        "kaplan-size 2.nc",
    ]
    assert list(made) == ["kaplan-size 1", "kaplan-size 2"]
    again = sb.load(tmp_path / "new" / "fits" / "kaplan-size 2.nc")
    assert (
        again.stored["posterior"]
        .to_dataset()
        .identical(made["kaplan-size 2"].stored["posterior"].to_dataset())
    )
    assert made["kaplan-size 1"].metadata["job"] == jobs(1)[0].record
    assert made.table["state"].tolist() == ["fitted", "fitted"]
    assert list(sb.average(made).fits) == list(made)  # a batch stands where fits by name do


def test_calling_again_fits_what_is_missing_alone(tmp_path, by_hand):
    sb.fit_many(jobs(1, 2), tmp_path)
    made = sb.fit_many(jobs(1, 2, 3), tmp_path)
    assert [seed for _, _, seed, _ in by_hand] == [1, 2, 3]
    assert made.table["state"].tolist() == ["found", "found", "fitted"]
    assert repr(made) == f"<Batch: 3 of 3 fits in {tmp_path}, 2 of them made earlier>"
    (tmp_path / "kaplan-size 2.nc").unlink()
    assert sb.fit_many(jobs(1, 2, 3), tmp_path).table["state"].tolist() == [
        "found",
        "fitted",
        "found",
    ]


def test_a_damaged_fit_in_the_folder_is_told_and_made_again_on_demand(tmp_path, by_hand):
    sb.fit_many(jobs(1, 2), tmp_path)
    path = tmp_path / "kaplan-size 1.nc"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = b"\0" * 4096
    path.write_bytes(content)
    with pytest.raises(sb.FitError, match=r"damaged .*: kaplan-size 1; replace=True"):
        sb.fit_many(jobs(1, 2), tmp_path)
    again = sb.fit_many(jobs(1, 2), tmp_path, replace=True)
    assert again.table["state"].tolist() == ["fitted", "found"]


def test_read_only_fits_are_found_and_never_replaced(tmp_path, by_hand):
    sb.fit_many(jobs(1), tmp_path)
    (tmp_path / "kaplan-size 1.nc").chmod(0o444)
    assert sb.fit_many(jobs(1), tmp_path).table["state"].tolist() == ["found"]
    with pytest.raises(sb.FitError, match=r"kaplan-size 1\.nc: the file is read-only"):
        sb.fit_many([sb.Job("kaplan-size 1", RUNS, "kaplan-data")], tmp_path, replace=True)
    assert len(by_hand) == 1  # the second job was not begun


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"seed": 7}, "seed"),
        ({"settings": {"draws": 10}}, "settings"),
        ({"model": "kaplan-data"}, "spec"),
        ({"runs": sb.Runs(RUNS.table.iloc[1:], "pile2023")}, "runs"),
    ],
)
def test_another_fit_under_a_jobs_name_is_not_taken_and_not_replaced_unasked(
    changed, part, tmp_path, by_hand
):
    (job,) = jobs(1)
    sb.fit_many([job], tmp_path)
    other = replace(job, **changed)
    with pytest.raises(
        sb.FitError, match=rf"differ from the jobs of their names: kaplan-size 1 \({part}\)"
    ):
        sb.fit_many([other], tmp_path)
    assert len(by_hand) == 1
    made = sb.fit_many([other], tmp_path, replace=True)
    assert made.table["state"].tolist() == ["fitted"]
    assert made["kaplan-size 1"].metadata["job"] == other.record


def test_what_a_fit_of_another_version_says_is_not_taken(tmp_path, by_hand):
    sb.fit_many(jobs(1), tmp_path)
    with netCDF4.Dataset(tmp_path / "kaplan-size 1.nc", "a") as file:
        about = json.loads(file.getncattr(METADATA))
        about["job"]["scalebayes"] = "0.0.1"
        file.setncattr(METADATA, json.dumps(about))
    with pytest.raises(sb.FitError, match=r"kaplan-size 1 \(scalebayes\)"):
        sb.fit_many(jobs(1), tmp_path)


def test_files_that_are_no_fits_of_a_batch_are_not_replaced(tmp_path, by_hand):
    with netCDF4.Dataset(tmp_path / "kaplan-size 1.nc", "w") as file:
        file.title = "mine"
    with pytest.raises(sb.FitError, match=r"kaplan-size 1 \(not of a batch\)"):
        sb.fit_many(jobs(1), tmp_path)
    with netCDF4.Dataset(tmp_path / "kaplan-size 1.nc") as file:
        assert file.title == "mine"


def test_damaged_files_are_told_from_other_fits_and_not_replaced_unasked(tmp_path, by_hand):
    sb.fit_many(jobs(1, 2, 3, 4), tmp_path)
    text, cut, changed, other = (tmp_path / f"kaplan-size {i}.nc" for i in (1, 2, 3, 4))
    text.write_text("mine")
    cut.write_bytes(cut.read_bytes()[:5000])
    with netCDF4.Dataset(changed, "a") as file:
        file.setncattr(METADATA, "{")
    shutil.copy(other, tmp_path / "kaplan-size 5.nc")
    with pytest.raises(sb.FitError) as raised:
        sb.fit_many(jobs(1, 2, 3, 4, 5), tmp_path)
    said = str(raised.value)
    assert "damaged or no netCDF files: kaplan-size 1, kaplan-size 2, kaplan-size 3;" in said
    assert "differ from the jobs of their names: kaplan-size 5 (seed)" in said
    assert text.read_text() == "mine"
    made = sb.fit_many(jobs(1, 2, 3, 4, 5), tmp_path, replace=True)
    assert made.table["state"].tolist() == [*["fitted"] * 3, "found", "fitted"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs Linux's folder without files")
def test_a_folder_that_cannot_be_written_is_told_before_any_fit(by_hand):
    with pytest.raises(sb.FitError, match="cannot write to the folder /proc/self"):
        sb.fit_many(jobs(1), "/proc/self")
    assert by_hand == []


def test_settings_that_change_no_draw_do_not_make_another_fit():
    assert jobs(1, cores=1)[0].record == jobs(1, cores=4)[0].record
    assert jobs(1, draws=1000, chains=4)[0].record == jobs(1)[0].record  # the defaults, said or not
    assert jobs(1, draws=10)[0].record != jobs(1, draws=20)[0].record


def test_failures_are_told_by_name_and_tried_again(tmp_path, by_hand):
    bad = sb.Job("short", TWO, "kaplan-size")
    broken = jobs(4, target_accept=0.5)
    made = sb.fit_many([bad, *broken, *jobs(1)], tmp_path)
    assert made.failures == {
        "short": "two is too short",
        "kaplan-size 4": "ZeroDivisionError: planted",
    }
    assert list(made) == ["kaplan-size 1"]
    assert "short" not in made
    with pytest.raises(sb.FitError, match="short failed: two is too short"):
        made["short"]
    with pytest.raises(KeyError):
        made["nothing"]
    assert made.table.loc["short", "error"] == "two is too short"
    assert "1 of 3 fits in" in repr(made)
    assert "failed: short, kaplan-size 4" in repr(made)
    assert sb.fit_many([bad, *jobs(1)], tmp_path).table["state"].tolist() == ["failed", "found"]


def test_failed_gates_are_one_warning_with_names(tmp_path, by_hand):
    with pytest.warns(
        sb.GateWarning, match=r"failed convergence checks: kaplan-size 13 \(R_HAT\)"
    ) as caught:
        made = sb.fit_many(jobs(1, 13), tmp_path)
    assert len(caught) == 1
    assert made.gate_failures == {"kaplan-size 13": ("R_HAT",)}
    assert made.table["gate"].tolist() == ["passed", "R_HAT"]


def test_jobs_that_compile_alike_are_fitted_in_a_row(tmp_path, by_hand):
    mixed = [
        job
        for pair in zip(jobs(1, 2), jobs(1, 2, model="kaplan-data"), strict=True)
        for job in pair
    ]
    made = sb.fit_many(mixed, tmp_path)
    assert [model for _, model, _, _ in by_hand] == ["kaplan-size"] * 2 + ["kaplan-data"] * 2
    assert list(made) == [job.name for job in mixed]


def test_interruption_leaves_finished_fits_and_no_half_one(tmp_path, by_hand):
    with pytest.raises(KeyboardInterrupt):
        sb.fit_many([*jobs(1), *jobs(2, tune=130), *jobs(3)], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kaplan-size 1.nc"]


def test_names_are_names_of_files_and_differ(tmp_path):
    for name in ("", "../a", "a/b", ".hidden", "a\n"):
        with pytest.raises(sb.FitError, match="a job's name is also a file name"):
            sb.Job(name, RUNS, "kaplan-size")
    twins = [sb.Job("one", RUNS, "kaplan-size"), sb.Job("One", RUNS, "kaplan-size", seed=1)]
    with pytest.raises(sb.FitError, match="upper and lower case; got one, One"):
        sb.fit_many(twins, tmp_path)
    assert file_name("../a: b/ü") == "a- b-ü"
    assert sb.Job(file_name("/:"), RUNS, "kaplan-size").name == "fit"


def test_wrong_jobs_are_refused_when_they_are_made():
    with pytest.raises(sb.SpecError, match="did you mean 'chinchilla'"):
        sb.Job("a", RUNS, "chinchila")
    with pytest.raises(sb.RunsError, match="job 'a' takes Runs, got DataFrame"):
        sb.Job("a", RUNS.table, "chinchilla")
    with pytest.raises(sb.FitError, match="seed cannot stand among the settings"):
        sb.Job("a", RUNS, "chinchilla", settings={"seed": 1})


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(sb.FitError, match=r"cannot write to the folder .*: .*file is not a folder"):
        sb.fit_many(jobs(1), tmp_path / "file" / "fits")


def test_a_grid_is_every_table_with_every_model():
    made = sb.grid({"a": RUNS, "b": TWO}, ["kaplan", "chinchilla"], seed=3, draws=20)
    assert [job.name for job in made] == ["a-kaplan", "a-chinchilla", "b-kaplan", "b-chinchilla"]
    assert [job.runs for job in made] == [RUNS, RUNS, TWO, TWO]
    assert {(job.seed, job.settings["draws"]) for job in made} == {(3, 20)}
    assert [job.name for job in sb.grid(RUNS)] == ["pile2023-coupled-drift"]


def test_the_fits_that_an_answer_needs_are_all_there_or_it_says_which_not(by_hand):
    spec = sb.read_model("kaplan-size")
    fits = fit_many.fit_all({("50%", "a"): (RUNS, spec), ("60%", "a"): (RUNS, spec)}, seed=5)
    assert list(fits) == [("50%", "a"), ("60%", "a")]
    assert [call[2] for call in by_hand] == [5, 5]
    with pytest.raises(sb.FitError, match="b failed: two is too short"):
        fit_many.fit_all({"a": (RUNS, spec), "b": (TWO, spec)})


def test_a_backtest_goes_on_from_its_folder(tmp_path, by_hand, monkeypatch):
    names = {"mine": "kaplan-size"}
    first = sb.backtest(RUNS, names, shares=[0.7, 0.8], folder=tmp_path)
    assert len(by_hand) == len(list(tmp_path.iterdir())) == 2
    again = sb.backtest(RUNS, names, shares=[0.7, 0.8], folder=tmp_path)
    assert len(by_hand) == 2
    assert first.scores.equals(again.scores)


def test_groups_and_sensitivity_hand_their_fits_over_with_workers(by_hand, monkeypatch):
    """What goes to `fit_all` is what would be fitted here, under the same labels."""
    given = []

    def here(pairs, *, workers, **options):
        given.append((workers, options))
        return fit_many.fit_all(pairs, **options)

    monkeypatch.setattr(recipes, "fit_all", here)
    monkeypatch.setattr(sensitivity, "fit_all", here)
    halves = sb.Runs(RUNS.table.assign(group=["a", "b", "b"] * 5), "halves")
    fits = sb.fit_groups(halves, "kaplan-size", workers=2, seed=3)
    assert {name: len(fit.runs) for name, fit in fits.items()} == {"a": 5, "b": 10}
    assert [(runs, seed) for runs, _, seed, _ in by_hand] == [("halves, a", 3), ("halves, b", 3)]
    moved = sb.sensitivity(fits["b"], workers=2, seed=4, chains=2)
    assert list(moved.fits) == [sensitivity.AS_FITTED, *sensitivity.variants(fits["b"].spec)]
    assert {(seed, *settings.items()) for _, _, seed, settings in by_hand[2:]} == {
        (4, ("chains", 2))
    }
    assert given == [(2, {"seed": 3}), (2, {"seed": 4, "progress": None, "chains": 2})]


def test_a_batch_that_ends_early_says_what_is_kept(tmp_path, by_hand, monkeypatch):
    def lose_the_scheduler(missing, folder, workers):
        yield from fit_many.fit_here(missing[:2], folder)
        raise sb.FitError("the scheduler is gone")

    monkeypatch.setattr(fit_many, "_fit", lose_the_scheduler)
    with pytest.raises(sb.FitError) as raised:
        sb.fit_many(jobs(1, 2, 3), tmp_path)
    assert str(raised.value) == (
        f"the scheduler is gone. 2 of 3 fits are finished and kept in {tmp_path}: the same command "
        "or call makes the others"
    )
    with pytest.raises(sb.FitError) as raised:  # where the files are temporary, nothing is kept
        fit_many.fit_all({"a": (RUNS, sb.read_model("kaplan-size"))})
    assert str(raised.value) == "the scheduler is gone"


# the command


def run(*arguments, code=0):
    result = CliRunner().invoke(app, ["fit-many", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_the_command_fits_a_grid_and_goes_on(tmp_path, by_hand):
    arguments = ("pile2023", "-m", "kaplan-size,kaplan-data", "-o", tmp_path)
    result = run(*arguments)
    assert re.search(
        r"pile2023-kaplan-size +pile2023 +kaplan-size +fitted +passed +1 +0\.5", result.stdout
    )
    assert f"2 of 2 fits in {tmp_path}" in result.stderr
    assert [row["state"] for row in json.loads(run(*arguments, "--json").stdout)] == [
        "found",
        "found",
    ]
    assert "--force) fits them again" in run(*arguments, "--seed", "1", code=1).stderr
    assert "fitted" in run(*arguments, "--seed", "1", "--force").stdout


def test_the_command_tells_failures_and_gates_by_exit_codes(tmp_path, by_hand):
    short = tmp_path / "short.csv"
    short.write_text("N,D,loss\n70M,1.4B,3.3\n160M,3.2B,2.9\n")
    result = run(short, "-m", "kaplan-size", "-o", tmp_path / "a", code=1)
    assert "error: short-kaplan-size: short is too short" in result.stderr
    run("pile2023", "-m", "kaplan-size", "-o", tmp_path / "b", "--seed", "13", code=3)
    both = run(
        "pile2023", "-o", tmp_path, "--workers", "2", "--scheduler", "tcp://a:1", code=2
    ).stderr
    assert "a scheduler has its own workers" in re.sub(r"[│\s]+", " ", both)


# on workers


@pytest.fixture(scope="module")
def client():
    pytest.importorskip("distributed")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test
    with connected(2) as client:
        yield client
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def pretend(job, record):
    """Instead of a fit on a worker: the stored file as this job's fit, once it may be returned."""
    while not Path(job.settings.get("until", "/")).exists():
        time.sleep(0.02)
    if "dies_once" in job.settings and not (before := Path(job.settings["dies_once"])).exists():
        before.touch()
        signal.raise_signal(signal.SIGKILL)
    made = sb.load(job.settings["file"])
    made.stored.attrs[METADATA] = json.dumps(made.metadata | {"job": record})
    return made


def worker_that_pretends(*arguments):
    """On a worker: the real task, with `pretend` in place of the fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "make_fit", pretend)
        return fit_on_worker(*arguments)


def worker_without_the_folder(*arguments):
    """On a worker: the real task, where the folder of the batch has another content."""
    name, seed, settings, marker, *rest = arguments
    other = str(Path(marker).with_name(".other"))
    return worker_that_pretends(name, seed, settings, other, *rest)


def worker_that_cannot_write(*arguments):
    """On a worker: the real task, where the folder of the batch is seen and cannot be written."""

    def refuse(path, content):
        raise sb.FitError("planted")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "_write", refuse)
        return worker_that_pretends(*arguments)


def test_a_killed_worker_loses_its_fit_alone_and_the_next_call_makes_it(
    tmp_path, by_hand, client, monkeypatch
):
    ready = tmp_path / "ready.nc"
    sb.save(made_here(jobs(1)[0]), ready)
    monkeypatch.setattr(dispatch, "_fit_on_worker", worker_that_pretends)
    settings = {"file": str(ready)}
    several = jobs(*range(6), **settings)
    several[1] = replace(several[1], settings=settings | {"dies_once": str(tmp_path / "died")})
    made = sb.fit_many(several, tmp_path / "fits", workers=client)
    assert made.failures == {"kaplan-size 1": DIED}
    assert len(made) == 5
    assert not list((tmp_path / "fits").glob(".*"))  # nothing half written
    again = sb.fit_many(several, tmp_path / "fits", workers=client)
    assert again.table["state"].tolist() == ["found", "fitted", *["found"] * 4]


def test_an_interrupted_batch_on_workers_keeps_what_is_finished(
    tmp_path, by_hand, client, monkeypatch
):
    ready = tmp_path / "ready.nc"
    sb.save(made_here(jobs(1)[0]), ready)
    monkeypatch.setattr(dispatch, "_fit_on_worker", worker_that_pretends)
    here, folder, go = threading.main_thread().ident, tmp_path / "fits", tmp_path / "go"
    quick, slow = jobs(1, file=str(ready)), jobs(*range(2, 6), until=str(go), file=str(ready))

    def interrupt_when_the_first_is_there():
        while not (folder / "kaplan-size 1.nc").exists():
            time.sleep(0.02)
        time.sleep(0.2)
        signal.pthread_kill(here, signal.SIGINT)

    threading.Thread(target=interrupt_when_the_first_is_there).start()
    with pytest.raises(KeyboardInterrupt):
        sb.fit_many([*quick, *slow], folder, workers=client)
    go.touch()
    assert [p.name for p in folder.iterdir()] == ["kaplan-size 1.nc"]


def test_errors_on_workers_come_back_in_words(tmp_path, client):
    made = sb.fit_many([sb.Job("short", TWO, "kaplan-size")], tmp_path, workers=client)
    assert made.failures["short"].startswith(
        "two has 2 runs; 'kaplan-size' has 2 parameters and needs at least 3 runs"
    )


def task_arguments(job, folder):
    marker = str(folder / ".marker")
    return job.name, job.seed, job.settings, marker, job.record, job.runs, job.spec


def test_a_worker_of_another_version_is_refused(tmp_path):
    (job,) = jobs(1)
    *start, record, runs, spec = task_arguments(job, tmp_path)
    report = dispatch._fit_on_worker(*start, record | {"scalebayes": "9.9"}, runs, spec)
    error = "the worker has another scalebayes (scalebayes differ)"
    assert report == dispatch.Report({}, b"", error)


def test_a_worker_that_sees_the_folder_saves_there_and_returns_no_draws(tmp_path, by_hand):
    (job,) = jobs(1, cores=1)
    (tmp_path / ".marker").touch()
    report = dispatch._fit_on_worker(*task_arguments(job, tmp_path))
    saved = sb.load(tmp_path / "kaplan-size 1.nc")
    assert (report.content, report.error) == (b"", "")
    assert report.metadata == saved.metadata
    assert saved.metadata["job"] == job.record
    assert len(pickle.dumps(report)) < 10_000 < (tmp_path / "kaplan-size 1.nc").stat().st_size


def test_a_worker_does_not_write_for_a_batch_that_has_ended(tmp_path, by_hand):
    (job,) = jobs(1, cores=1)
    report = dispatch._fit_on_worker(*task_arguments(job, tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert len(report.content) > 10_000


@pytest.mark.parametrize(
    "worker", [worker_that_pretends, worker_without_the_folder, worker_that_cannot_write]
)
def test_fits_reach_the_folder_from_every_kind_of_worker(
    worker, tmp_path, by_hand, client, monkeypatch
):
    """Workers that do not share the folder, or may not write there, send the same fits back."""
    ready = tmp_path / "ready.nc"
    sb.save(made_here(jobs(1)[0]), ready)
    monkeypatch.setattr(dispatch, "_fit_on_worker", worker)
    written = []
    monkeypatch.setattr(
        dispatch, "_write", lambda path, content: written.append(path) or path.write_bytes(content)
    )
    several = jobs(1, 2, 3, file=str(ready))
    made = sb.fit_many(several, tmp_path / "fits", workers=client)
    sent_back = [path for path in written if path.suffix == ".nc"]
    assert len(sent_back) == (0 if worker is worker_that_pretends else 3)
    assert sorted(path.name for path in (tmp_path / "fits").iterdir()) == [
        f"kaplan-size {seed}.nc" for seed in (1, 2, 3)
    ]
    for job in several:
        assert made[job.name].metadata == made.outcomes[job.seed - 1].metadata
        assert made[job.name].metadata["job"] == job.record


def test_jobs_with_one_table_and_model_share_them():
    several = jobs(1, 2)
    tasks = [dispatch._task(job, Path(".batch")) for job in several]
    assert tasks[0].shared == tasks[1].shared
    other = dispatch._task(sb.Job("other", TWO, "kaplan-data"), Path(".batch"))
    assert not {key for key, _ in other.shared} & {key for key, _ in tasks[0].shared}
    for task, job in zip(tasks, several, strict=True):
        assert (job.record,) == task.late()
        assert not any(isinstance(value, sb.Runs | sb.Spec) for value in task.arguments)


def count_preparations():
    """On a worker, from now on."""
    from scalebayes.fitting import samplers

    make, samplers.made = samplers.kernel, []

    def counted(*args, **kwargs):
        samplers.made.append(1)
        return make(*args, **kwargs)

    samplers.kernel = counted


def preparations():
    from scalebayes.fitting import samplers

    return len(getattr(samplers, "made", []))  # a worker that was started again has made none


@pytest.mark.standard
def test_real_fits_on_two_workers_one_of_which_is_killed(tmp_path, client):
    """The longest fit loses its worker; the others finish, and a worker prepares once.

    The draws are those of `fit`.
    """
    # An earlier test may have killed a worker, and its successor must count too.
    client.wait_for_workers(2, timeout=90)
    client.run(count_preparations)
    (long,), short = jobs(99, draws=2_000_000, chains=1), jobs(*range(5))

    def kill_when_the_others_are_done():
        deadline = time.monotonic() + 1200
        while len([*tmp_path.glob("*.nc")]) < len(short) and time.monotonic() < deadline:
            time.sleep(0.1)

        processing = client.processing()
        (address,) = [at for at, keys in processing.items() if keys]
        os.kill(client.run(os.getpid, workers=[address])[address], signal.SIGKILL)

    killer = threading.Thread(target=kill_when_the_others_are_done)
    killer.start()
    made = sb.fit_many([long, *short], tmp_path, workers=client)
    killer.join()
    assert made.failures == {long.name: DIED}
    assert list(made) == [job.name for job in short]
    # Five fits on the remaining worker.
    assert max(client.run(preparations).values()) == 1
    ours = sb.fit(RUNS, "kaplan-size", seed=3).stored["posterior"].to_dataset()
    theirs = made["kaplan-size 3"].stored["posterior"]
    for name, values in ours.items():
        np.testing.assert_allclose(theirs[name], values, rtol=1e-6)
