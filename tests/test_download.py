"""Fetching QuickDraw's files from a server on this machine that misbehaves in every way we could think of."""

import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import download_quickdraw
import numpy as np
import pytest
from download_quickdraw import DownloadError, check_names, download, load_categories

from script import run_python
from utils import load_strokes, save_strokes


def make_npz(seed: int) -> bytes:
    rng = np.random.default_rng(seed)

    def draw():
        return np.column_stack([rng.integers(-99, 99, (20, 2)), np.zeros(20)]).astype(np.int16)

    counts = {"train": 300, "valid": 4, "test": 5}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "a.npz")
        save_strokes(path, {split: [draw() for _ in range(count)] for split, count in counts.items()})
        return path.read_bytes()


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
        start, asked = 0, self.headers.get("Range")
        if ranges and asked and self.headers.get("If-Range", etag) == etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
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
    assert [asked for _, asked in server.requests] == [None, f"bytes={PIECE}-"]


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
    expected = ["cat", "ice cream", "The Eiffel Tower"]
    assert check_names(["cat", "ice cream", "Ice_Cream", "the_eiffel_tower.npz"], categories) == expected
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


def test_mistakes_and_trouble_are_named(server, tmp_path, capsys):
    arguments = ["--data_dir", str(tmp_path), "--base_url", server.url]
    server.script = ["status 404"]
    assert download_quickdraw.main(["cat", *arguments]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "404" in said
    with pytest.raises(ValueError, match="base_url"):
        download_quickdraw.main(["cat", "--base_url", "file:///etc"])
    with pytest.raises(ValueError, match=r"exit code 2: no QuickDraw category.*did you mean cat"):
        run_python("datasets/download_quickdraw.py", "catt", *arguments)
    assert not list(tmp_path.iterdir()) or not list((tmp_path / "npz").glob("*.npz"))
