"""The main job, once, for real: every line that the first page promises, and every file."""

import re

import pytest

import scalebayes as sb
from scalebayes.studies.demo import FIGURES, demo

pytestmark = pytest.mark.standard


@pytest.fixture(scope="module")
def output(tmp_path_factory, fitted):
    import contextlib
    import io

    for model in ("chinchilla", "kaplan"):
        fitted("hoffmann2022", model)
    folder = tmp_path_factory.mktemp("demo") / "out"
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        demo(folder)
    return folder, text.getvalue()


def test_demo_prints_the_main_job(output):
    _, text = output
    interval = r"[\d.]+[MBT]? \[[\d.]+[MBT]?, [\d.]+[MBT]?\]"
    for wanted in (
        r"90% equal-tailed",
        r"L_inf +1\.8\d+ \[1\.78\d, 1\.83\d\] .* 1\.693 +1\.817",
        rf"70B +1\.4T +5\.88e23 +1\.66 decades +{interval} +{interval}",
        rf"70B +15T +6\.3e24 +2\.69 decades +{interval} +{interval}",
        rf"optimum of 1e24 FLOP \(1\.89 decades beyond the largest run\): {interval}",
        rf"1e21 +none +{interval} +{interval} +{interval} +{interval}",
        rf"5\.76e23 +1\.65 decades +{interval}",
        rf"1e25 +2\.89 decades +{interval}",
        r"chinchilla, these runs +0\.51\d \[0\.49\d, 0\.52\d\] +90% equal-tailed",
        rf"kaplan, these runs +{interval}",
        r"Kaplan \(non-embedding N and C\) +0\.73",
        r"Hoffmann, approach 1 +0\.50",
        r"Hoffmann, approach 2 +0\.49",
        r"Hoffmann, approach 3 +0\.46",
        r"Besiroglu, the Chinchilla runs +0\.513",
    ):
        assert re.search(wanted, text), f"{wanted}\n{text}"


def test_demo_writes_fits_and_figures(output):
    folder, _ = output
    assert sb.load(folder / "kaplan.nc").spec.name == "kaplan"
    for name in FIGURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert (folder / name).stat().st_size > 20_000
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        ["chinchilla.nc", "kaplan.nc", *FIGURES]
    )


def test_demo_overwrites_nothing_unasked(output):
    with pytest.raises(sb.ScaleBayesError, match=r"already holds chinchilla\.nc, .*--force"):
        demo(output[0])
