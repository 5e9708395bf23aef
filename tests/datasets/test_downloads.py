"""Published files fetched from a local server: whole, damaged, cut short, missing, and offline."""

import dataclasses
import functools
import hashlib
import http.server
import json
import threading

import numpy as np
import pandas as pd
import pytest
import requests
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.datasets import TABLES, downloads, layouts
from scalebayes.datasets.downloads import FOLDER, MIRROR, Upstream
from tests.conftest import SHARED

CONTENT = b'{"params_active_precise": 5}\n' * 1000
FILE = Upstream(
    "owner/repo", "0" * 40, "deep/file.jsonl", hashlib.sha256(CONTENT).hexdigest(), "MIT"
)
FETCHED = [name for name, about in TABLES.items() if about.upstream]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send_head(self):
        if self.path.startswith("/broken/"):  # promises more than it sends
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:100])
            self.close_connection = True
            return None
        return super().send_head()


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Serve a folder as the mirror, keep downloads in another, and return the mirror."""
    started = []

    def start(folder, base=""):
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
        )
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        started.append(server)
        monkeypatch.setenv(MIRROR, f"http://127.0.0.1:{server.server_port}{base}/")
        return kept

    kept = tmp_path / "kept"
    monkeypatch.setenv(FOLDER, str(kept))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER, str(tmp_path / "kept"))
    monkeypatch.setenv(MIRROR, "http://127.0.0.1:9")  # the port that discards: nobody listens
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "kept"


def refused():
    with pytest.raises(sb.RunsError) as caught:
        downloads.fetch(FILE, "mine")
    return str(caught.value)


def test_a_file_is_fetched_once_checked_and_kept(serve, tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "file.jsonl").write_bytes(CONTENT)
    kept = serve(tmp_path / "mirror")
    assert not downloads.is_downloaded(FILE)
    assert downloads.fetch(FILE, "mine") == kept / "file.jsonl"
    assert (kept / "file.jsonl").read_bytes() == CONTENT
    monkeypatch.setenv(MIRROR, "http://127.0.0.1:9")
    assert downloads.is_downloaded(FILE)
    assert downloads.fetch(FILE, "mine") == kept / "file.jsonl"


@pytest.mark.parametrize(
    "sent", [CONTENT[:-1] + b"x", CONTENT[:-500], b""], ids=["damaged", "cut short", "empty"]
)
def test_another_file_than_the_published_one_is_refused_and_not_kept(serve, tmp_path, sent):
    (tmp_path / "file.jsonl").write_bytes(sent)
    kept = serve(tmp_path)
    assert "is not the published one: truncated, damaged or replaced" in refused()
    assert [*kept.glob("*")] == []


def test_a_download_stops_at_the_published_size(serve, tmp_path, monkeypatch):
    (tmp_path / "file.jsonl").write_bytes(CONTENT + b"x" * 2**22)
    kept = serve(tmp_path)
    received = []
    monkeypatch.setattr(downloads, "CHUNK", 2**10)
    content = requests.Response.iter_content

    def counted(response, size):
        for chunk in content(response, size):
            received.append(len(chunk))
            yield chunk

    monkeypatch.setattr(requests.Response, "iter_content", counted)
    with pytest.raises(sb.RunsError, match="is not the published one"):
        downloads.fetch(dataclasses.replace(FILE, size=len(CONTENT)), "mine")
    assert sum(received) <= len(CONTENT) + 2**10
    assert [*kept.glob("*")] == []


def test_published_sizes_are_those_of_the_files():
    folder = SHARED / "upstream"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: the files upstream are not committed")
    for name in FETCHED:
        upstream = TABLES[name].upstream
        assert (folder / upstream.file).stat().st_size == upstream.size


def test_a_transfer_that_breaks_off_is_refused_and_not_kept(serve, tmp_path):
    kept = serve(tmp_path, base="/broken")
    assert "no connection, or it was interrupted" in refused()
    assert [*kept.glob("*")] == []


def test_a_file_that_is_not_there_is_said_with_what_to_bring_where(serve, tmp_path):
    kept = serve(tmp_path)
    message = refused()
    for words in (
        "the file of mine is not available",
        "the server answered with status 404",
        "file     file.jsonl",
        "github.com/owner/repo",
    ):
        assert words in message
    assert f"folder   {kept}\n" in message
    assert FILE.sha256 in message
    assert FOLDER in message
    assert MIRROR in message


def test_offline_says_what_to_bring_and_a_file_brought_there_is_taken(offline):
    assert "no connection" in refused()
    offline.mkdir(exist_ok=True)
    (offline / "file.jsonl").write_bytes(CONTENT)
    assert downloads.fetch(FILE, "mine") == offline / "file.jsonl"


def test_a_file_of_the_users_own_is_not_replaced(offline):
    offline.mkdir()
    (offline / "file.jsonl").write_bytes(b"mine")
    assert (
        "file.jsonl is not the published file (its SHA-256 differs); move it elsewhere" in refused()
    )
    assert (offline / "file.jsonl").read_bytes() == b"mine"


def test_a_folder_that_cannot_be_made_and_a_mirror_that_is_no_url(offline, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(FOLDER, str(tmp_path / "file" / "below"))
    assert "Not a directory" in refused()
    monkeypatch.setenv(MIRROR, "/data/mirror")
    assert (
        f"{MIRROR} must be a base URL such as https://mirror.example/tables; got '/data/mirror'"
        in refused()
    )


def test_upstream_is_a_fixed_commit_and_the_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv(MIRROR, raising=False)
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert FILE.url == f"https://raw.githubusercontent.com/owner/repo/{'0' * 40}/deep/file.jsonl"
    assert downloads.folder().name == "scalebayes"


def test_the_list_asks_no_network_and_says_what_is_at_hand(offline):
    listed = sb.list_runs()
    assert listed.loc["hoffmann2022", "available"] == "embedded"
    assert (listed.loc[FETCHED, "available"] == "no").all()
    assert not offline.exists()
    shown = json.loads(CliRunner().invoke(app, ["runs", "--json"]).stdout)
    assert {row["name"]: row["rows"] for row in shown}["clark2022"] == 223
    result = CliRunner().invoke(app, ["runs", "gemstones2025"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "file     wandb_df_for_fitting_cool_end.jsonl" in result.stderr


@pytest.fixture
def published(serve):
    if not (SHARED / "upstream").is_dir():
        pytest.skip(f"no {SHARED / 'upstream'}: the files upstream are not committed")
    return serve(SHARED / "upstream")


@pytest.mark.parametrize("name", FETCHED)
def test_published_files_are_fetched_and_read(published, name):
    runs = sb.load_runs(name)
    assert (runs.name, len(runs)) == (name, TABLES[name].rows)
    assert runs.source.startswith(TABLES[name].source)
    assert set(TABLES[name].notes) <= set(runs.notes)
    assert sb.list_runs().loc[name, "available"] == "yes"
    assert (published / TABLES[name].upstream.file).is_file()


@pytest.mark.parametrize("name", ["gemstones2025", "misfitting2025"])
def test_published_files_agree_with_the_shared_tables(published, name):
    runs, table = sb.load_runs(name), pd.read_csv(SHARED / f"{name}.csv")
    np.testing.assert_array_equal(runs.N, table["params"])
    np.testing.assert_array_equal(runs.D, table["tokens"])
    np.testing.assert_allclose(runs.loss, table["loss"], rtol=1e-6)  # rounded to six decimals there


def test_the_best_learning_rate_at_each_size_is_a_choice(published):
    best, table = (
        sb.load_runs("misfitting2025", best=True),
        pd.read_csv(SHARED / "misfitting2025.csv"),
    )
    expected = table.groupby(["params", "tokens"])["loss"].min()
    found = best.table.set_index(["N", "D"])["loss"].sort_index()
    np.testing.assert_allclose(found, expected.sort_index(), rtol=1e-6)
    assert any("81 of 261 runs were kept: at each N and D" in note for note in best.notes)
    with pytest.raises(
        sb.RunsError, match=r"no sweep of learning rates .*; tables with a sweep: misfitting2025"
    ):
        sb.load_runs("pile2023", best=True)


def test_routed_models_end_at_their_last_step(published):
    runs = sb.load_runs("clark2022")
    raw = pd.read_csv(SHARED / "upstream" / "curves.csv.gz")
    for key, group in list(raw.groupby("hyper_id"))[::20]:
        last = group.loc[group["step"].idxmax()]
        row = runs.table.loc[str(key)]
        assert (row["N"], row["loss"]) == (
            last["dense_parameter_count"],
            pytest.approx(last["loss_validation"]),
        )
        assert row["D"] == last["step"] * layouts.CLARK_TOKENS
    dense = raw[(raw["num_experts"] == 1) & (raw["k"] == 1)].drop_duplicates("hyper_id")
    assert (runs.table["group"] == "Dense").sum() == len(dense)
    # A forward pass costs 2 N a token, and less than half as much again for the head and the
    # attention over 2048 tokens.
    ratio = dense["flops_per_step"] / (2 * dense["dense_parameter_count"] * layouts.CLARK_TOKENS)
    assert ratio[dense["dense_parameter_count"].idxmax()] == pytest.approx(1.3, abs=0.1)


def test_the_command_line_reads_a_fetched_table_and_its_best(published):
    result = CliRunner().invoke(app, ["runs", "misfitting2025", "--best"])
    assert result.exit_code == 0
    assert "81 runs" in result.stdout
    assert "Downloading" not in result.stdout


# Files in the layouts of the published ones, with figures of our own.


def test_the_layout_of_gemstones(tmp_path):
    rows = [
        {
            "run_name": "a",
            "params_active_precise": 5e8,
            "width": 1024,
            "depth": 28,
            "tokens": t,
            "final_loss": loss,
        }
        for t, loss in [(11e9, 3.0), (22e9, 2.9)]
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    runs = layouts.gemstones(tmp_path / "x.jsonl", "x")
    assert runs.table.loc["1024x28@22B", ["N", "D", "loss", "group"]].tolist() == [
        5e8,
        22e9,
        2.9,
        "1024x28",
    ]


def test_the_layout_of_misfitting_and_the_best_of_each(tmp_path):
    header = "loss,C4 Eval Loss,N,N_no_emb,D,C,C_no_emb,peak_lr"
    rows = [
        "3.123456,3.123456,9e7,3e7,1e9,1,1,0.001",
        "3.0,3.0,9e7,3e7,1e9,1,1,0.002",
        "2.9,2.9,9e7,3e7,2e9,1,1,0.001",
    ]
    (tmp_path / "x.csv").write_text("\n".join([header, *rows, rows[0]]))
    runs = layouts.misfitting(tmp_path / "x.csv", "x")
    assert runs.loss.tolist() == [3.123456, 3.0, 2.9, 3.123456]
    assert (
        "kept although suspicious: N, D, loss, the values of row 1 in row 4 "
        "(expected each run once)" in runs.notes
    )
    best = layouts.best_of_each(runs)
    assert best.loss.tolist() == [3.0, 2.9]
    assert not any("suspicious" in note for note in best.notes)


def test_the_layout_of_clark(tmp_path):
    table = pd.DataFrame(
        {
            "hyper_id": [0, 0, 1, 1, 2],
            "step": [0, 249000, 249000, 0, 249000],
            "loss_validation": [10.7, 2.5, 2.4, 10.8, 2.3],
            "num_experts": [1, 1, 64, 64, 8],
            "k": [1, 1, 1, 1, 2],
            "router_type": ["Dense", "Dense", "S-Base", "S-Base", "Hash"],
            "routing_frequency": [0.5, 0.5, 0.5, 0.5, 0.25],
            "total_parameter_count": [3.7e8, 3.7e8, 9e9, 9e9, 2e9],
            "dense_parameter_count": [3.7e8, 3.7e8, 3.7e8, 3.7e8, 3.7e8],
        }
    )
    table.to_csv(tmp_path / "x.csv.gz", index=False)
    runs = layouts.clark(tmp_path / "x.csv.gz", "x")
    assert runs.loss.tolist() == [2.5, 2.4, 2.3]
    assert runs.table["group"].tolist() == ["Dense", "S-Base E=64", "Hash E=8 k=2 R=0.25"]
    assert runs.D.tolist() == [249000 * 524288] * 3
