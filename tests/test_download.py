"""Fetching QuickDraw's files from a server on this machine that misbehaves in every way we could think of."""

import io
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import download_quickdraw
import numpy as np
import pytest
from download_quickdraw import DownloadError, check_names, download, load_categories

from utils import load_strokes

SCRIPT = Path(download_quickdraw.__file__)


def make_npz(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    splits = {}
    for split, count in {"train": 300, "valid": 4, "test": 5}.items():
        splits[split] = np.empty(count, object)
        for i in range(count):
            splits[split][i] = np.column_stack([rng.integers(-99, 99, (20, 2)), np.zeros(20)]).astype(np.int16)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **splits)
    return buffer.getvalue()


DATA = make_npz(1)
PIECE = len(DATA) // 3


class Handler(BaseHTTPRequestHandler):
    """Answers the n-th request as the n-th step of ``server.script`` says, the last one for all that follow."""

    protocol_version = "HTTP/1.0"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        step = server.script[min(len(server.requests), len(server.script) - 1)]
        server.requests.append((unquote(self.path), self.headers.get("Range")))
        kind, _, argument = step.partition(" ")
        if kind == "status":
            self.send_error(int(argument))
        elif kind == "redirect":
            self.send_response(302)
            self.send_header("Location", argument)
            self.end_headers()
        elif kind == "garbage":
            self.answer(b"<html>no such thing</html>" * 100, ranges=False)
        elif kind == "short":  # says it is whole
            self.answer(DATA[: 2 * PIECE], ranges=False)
        else:
            data = make_npz(2) if kind == "other" else DATA
            self.answer(data, kind != "norange", kind in ("cut", "stall"), kind == "stall", kind == "nolength")

    def answer(self, data, ranges, cut=False, stall=False, no_length=False):
        etag = f'"{len(data)}-{sum(data[-200:])}"'
        start, wanted = 0, self.headers.get("Range")
        if ranges and wanted and self.headers.get("If-Range", etag) == etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("ETag", etag)
        if not no_length:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : start + PIECE] if cut else data[start:])
        self.wfile.flush()
        if stall:
            time.sleep(0.6)


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.script, server.requests = ["ok"], []
    server.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(server, tmp_path, script, retries=3):
    server.script = script
    target = tmp_path / "npz" / "cat.npz"
    download(server.url + "cat.npz", target, timeout=0.3, retries=retries, backoff=0.01)
    return target


@pytest.mark.parametrize(
    "script",
    [
        ["ok"],
        ["nolength"],
        ["cut", "cut", "ok"],
        ["stall", "ok"],
        ["status 500", "status 503", "status 429", "ok"],
        ["garbage", "ok"],
        ["short", "ok"],
        ["norange"],
        ["cut", "norange"],
        ["redirect /elsewhere", "ok"],
        ["cut", "redirect /elsewhere", "ok"],
        ["cut", "other"],
    ],
    ids=" / ".join,
)
def test_the_file_arrives_whole(server, tmp_path, script):
    target = fetch(server, tmp_path, script)
    assert target.read_bytes() == (make_npz(2) if script[-1] == "other" else DATA)
    assert sorted(path.name for path in target.parent.iterdir()) == ["cat.npz"]


def test_a_cut_download_goes_on_where_it_stopped(server, tmp_path):
    fetch(server, tmp_path, ["cut", "ok"])
    assert [wanted for _, wanted in server.requests] == [None, f"bytes={PIECE}-"]


def test_the_next_run_goes_on_where_the_last_one_stopped(server, tmp_path):
    with pytest.raises(DownloadError, match="500"):
        fetch(server, tmp_path, ["cut", "status 500"])
    assert [path.name for path in (tmp_path / "npz").glob("*.npz")] == []
    server.requests.clear()
    assert fetch(server, tmp_path, ["ok"]).read_bytes() == DATA
    assert server.requests == [("/cat.npz", f"bytes={PIECE}-")]


def test_a_part_that_is_whole_already_is_taken(server, tmp_path):
    (tmp_path / "npz").mkdir()
    (tmp_path / "npz" / "cat.npz.part").write_bytes(DATA)
    assert fetch(server, tmp_path, ["ok"]).read_bytes() == DATA
    assert server.requests == [("/cat.npz", f"bytes={len(DATA)}-")]


def test_a_part_of_something_else_is_thrown_away(server, tmp_path):
    (tmp_path / "npz").mkdir()
    (tmp_path / "npz" / "cat.npz.part").write_bytes(b"x" * 500)
    assert fetch(server, tmp_path, ["ok"]).read_bytes() == DATA


def test_progress_starts_the_count_of_failures_anew(server, tmp_path):
    assert fetch(server, tmp_path, ["cut"], retries=1).read_bytes() == DATA


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (["status 500"], "500"),
        (["garbage"], "no file of drawings"),
        (["short"], "no file of drawings"),
        (["stall", "status 502"], "502"),
        (["status 404"], "404"),
        (["redirect /cat.npz"], "30"),
    ],
    ids=lambda value: " / ".join(value) if isinstance(value, list) else value,
)
def test_giving_up_leaves_no_file_of_that_name(server, tmp_path, script, says):
    with pytest.raises(DownloadError, match=says):
        fetch(server, tmp_path, script, retries=2)
    assert not (tmp_path / "npz" / "cat.npz").exists()
    if script[0] == "status 404":
        assert len(server.requests) == 1  # asking again would not help


def test_names():
    categories = load_categories()
    assert len(categories) == len(set(categories)) == 345
    wanted = ["cat", "ice cream", "The Eiffel Tower"]
    assert check_names(["cat", "ice cream", "Ice_Cream", "the_eiffel_tower.npz"], categories) == wanted
    with pytest.raises(ValueError, match=r"'elefant' \(did you mean elephant"):
        check_names(["cat", "elefant"], categories)
    with pytest.raises(ValueError, match="alarm clock"):
        check_names(["alarm"], categories)


def test_script(server, tmp_path, capsys):
    arguments = ["--data_dir", str(tmp_path), "--base_url", server.url]
    assert download_quickdraw.main(["cat", "ice cream", "--full", *arguments]) == 0
    assert [path for path, _ in server.requests] == ["/cat.full.npz", "/ice cream.full.npz"]
    assert len(load_strokes(tmp_path / "npz" / "ice cream.full.npz")["train"]) == 300
    assert download_quickdraw.main(["--full", "cat", *arguments]) == 0
    assert "already there" in capsys.readouterr().out and len(server.requests) == 2
    (tmp_path / "npz" / "cat.full.npz").write_bytes(DATA[:PIECE])  # damaged: fetched again
    assert download_quickdraw.main(["cat", "--full", *arguments]) == 0
    assert (tmp_path / "npz" / "cat.full.npz").read_bytes() == DATA
    assert download_quickdraw.main(["--list"]) == 0
    assert capsys.readouterr().out.splitlines()[-345:] == load_categories()


def test_one_clear_line_for_mistakes_and_for_trouble(server, tmp_path):
    server.script = ["status 404"]

    def run(*arguments):
        command = [sys.executable, str(SCRIPT), *arguments, "--data_dir", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    code, said = run("catt", "--base_url", server.url)
    assert code == 2 and len(said.splitlines()) == 1 and "did you mean cat" in said
    code, said = run("cat", "--base_url", server.url)
    assert code == 1 and len(said.splitlines()) == 1 and "404" in said
    code, said = run("cat", "--base_url", "file:///etc")
    assert code == 2 and len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir()) or not list((tmp_path / "npz").glob("*.npz"))
