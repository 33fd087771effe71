"""The page to draw on: its drawings without a browser, and all of it in Chromium."""

import base64
import dataclasses
import importlib.util
import io
import itertools
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, make_snapshot
from PIL import Image
from test_sampling import CHROMIUM

import app_drawings as draws
import endings
import script
import sketch_pix2seq_app as app
from ink_scores import ink_scores
from morph import POINTS, pair_lines
from read_strokes import read_drawings

MISSING = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
NOT_BROWSED = f"not installed: {', '.join([*MISSING, *['chromium'] * (CHROMIUM is None)])}; the page is not opened"
needs_gradio = pytest.mark.skipif("gradio" in MISSING, reason="not installed: gradio; the page is not laid out")
CIRCLE = [[500 + 300 * math.cos(a / 20 * math.pi), 500 + 300 * math.sin(a / 20 * math.pi)] for a in range(41)]
HATCHING = [[[x, 0], [x, 1000]] for x in range(0, 1000, 4)]


@pytest.fixture
def tiny(snapshot):
    """The tiny model, drawing two of everything."""
    return dataclasses.replace(draws.load(str(snapshot)), num=2)


def lines(*drawn):
    return [np.array(line, float) for line in drawn]


def picture(data):
    """(size, frames) of a picture file, or of its bytes."""
    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
        image.load()
        return image.size, getattr(image, "n_frames", 1)


def content(file):
    return base64.b64decode(file["data"].partition(",")[2])


# ---- drawing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "the sheet is empty"),
        (None, "the sheet is empty"),
        ("text", "the sheet is empty"),
        ([[[1, 2]]] * 2000, "2,000 strokes are too many"),
        ([[[1, 2]] * 30_000], "More than 20,000 points"),
        ([[1, 2, 3]], "no drawing"),
        ([["a", "b"]], "no drawing"),
        ([[]], "no drawing"),
        ([[[0, 1001]]], "no drawing"),
        ([[[float("nan"), 0]]], "no drawing"),
        ([[[1e400, 0]]], "no drawing"),
        ([{"x": 1}], "no drawing"),
        ([[[500, 500]]], "This is a dot"),
        ([[[500, 500]], [[502, 503]]], "This is a dot"),
    ],
)
def test_what_is_no_drawing_gets_one_line(value, words):
    with pytest.raises(ValueError, match=words) as error:
        draws.read_sheet(value)
    assert "\n" not in str(error.value)


def test_a_black_sheet_is_refused(tiny):
    with pytest.raises(ValueError, match="Nearly everything on the sheet is ink"):
        draws.sheet_bitmap(draws.read_sheet(HATCHING), tiny)


def test_a_sheet_is_drawn_again_and_a_seed_says_how(tiny):
    bitmap = draws.sheet_bitmap(draws.read_sheet([CIRCLE]), tiny)
    assert bitmap.shape == (48, 48)
    drawn, again = (draws.draw_bitmap(bitmap, tiny) for _ in range(2))
    other = draws.draw_bitmap(bitmap, dataclasses.replace(tiny, seed=1))
    assert len(drawn.drawings) == 2
    assert all(np.array_equal(*pair) for pair in zip(drawn.drawings, again.drawings, strict=True))
    assert not np.array_equal(drawn.drawings[0], other.drawings[0])
    many = draws.draw_bitmap(bitmap, dataclasses.replace(tiny, num=6))
    assert len(many.drawings) == draws.SHOWN
    shown = draws.show(many)
    assert shown.count("<svg") == draws.SHOWN
    assert all(f'data-format="{name}"' in shown for name in draws.FORMATS)


def test_a_dot_is_seen(tiny):
    circle, face = (draws.sheet_bitmap(draws.read_sheet(lines), tiny) for lines in ([CIRCLE], [CIRCLE, [[400, 400]]]))
    row, column = np.argwhere(face.astype(int) < circle.astype(int) - 100).mean(axis=0)
    assert row == pytest.approx(column, abs=0.5)
    assert 16 < row < 22  # of 48: at 400 of a circle from 200 to 800, which fills the bitmap but for its margin


def test_a_drawing_is_shown_where_the_person_s_is():
    begun = lines([[100, 300], [150, 320]], [[160, 350], [180, 310]])
    left, top, width, height = map(float, draws.sheet_view(begun).split())
    shown = np.concatenate([line for line, _ in draws.picture_lines(draws.lines_to_strokes(begun), draws.STYLE)])
    assert width == height
    np.testing.assert_allclose((shown - [left, top]) / width * draws.SIDE, np.concatenate(begun), atol=0.1)


def test_what_a_model_was_trained_on_is_said(tmp_path):
    assert "43,071 training drawings: 270 of the 345 categories" in draws.describe(str(ROOT / "assets/pixels"))
    assert "cat, house." in draws.describe(str(make_snapshot(tmp_path / "few")))


def test_every_format_opens(tmp_path):
    drawn = draws.Drawn([draws.scaled(draws.lines_to_strokes(lines(CIRCLE)))] * 2, None, 40.0)
    files = {name: draws.encode_drawing(drawn, {"format": name, "index": 1}) for name in draws.FORMATS}
    assert len({file["name"] for file in files.values()}) == len(files)
    for name in ("svg", "still", "plotter"):
        ElementTree.fromstring(content(files[name]))
    assert b"@keyframes" in content(files["svg"])
    assert not re.search(rb"style|pathLength", content(files["still"]))
    assert b'mm"' in content(files["plotter"])
    assert picture(content(files["png"])) == ((draws.STYLE.size,) * 2, 1)
    assert picture(content(files["gif"]))[1] > 1
    path = tmp_path / "drawing.json"
    path.write_bytes(content(files["json"]))
    assert len(list(read_drawings(path))) == 1


def test_what_was_begun_stays_as_it_was(tiny, tmp_path):
    begun = draws.read_sheet([CIRCLE[:15], [[500, 500], [520, 510]]])
    for data_dir in (str(tmp_path), str(ROOT / "datasets")):  # without drawings to look among, and with
        drawn = draws.complete_lines(begun, tiny, data_dir)
        assert len(drawn.drawings) == draws.SHOWN
        given = np.concatenate(begun)
        for drawing in drawn.drawings:
            kept = np.cumsum(drawing[: drawn.prefix, :2], axis=0)
            assert len(kept) == len(given)
            scale = np.ptp(kept, axis=0) / np.ptp(given, axis=0)
            np.testing.assert_allclose(kept - kept[0], (given - given[0]) * scale.mean(), atol=1e-5)
        assert "#2a6fdb" in draws.show(drawn)


def test_a_beginning_ends_as_the_drawings_that_begin_likewise():
    def face(x, y, size, *more):
        eyes = [np.array([[a, 0.4], [a, 0.5]]) for a in (0.3, 0.7)]
        head = np.array(CIRCLE) / 600 - 0.5 / 0.6 + 0.5
        return [line * size + [x, y] for line in (head, *eyes, *more)]

    square = [np.array([[0, 0], [9, 0], [9, 9], [0, 9], [0, 0.0]]), np.array([[0, 0], [4, -5], [9, 0.0]])]
    found = endings.find_endings(lines(CIRCLE), [square, face(50, 9, 2), [square[0]], face(0, 0, 70)], 2)
    assert [len(ending) for ending in found] == [2, 2]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(found[0][0].mean(axis=0), [200 + 0.3 * 600, 200 + 0.45 * 600], atol=1)
    assert endings.find_endings(lines(CIRCLE), [], 2) == []


def test_a_morph_moves_smoothly_from_one_drawing_to_the_other(tiny):
    cross = lines([[100, 100], [900, 900]], [[100, 900], [900, 100]])
    frames = draws.morph_sheets(lines(CIRCLE), cross, dataclasses.replace(tiny, guide=1))
    assert len(frames) == draws.FRAMES
    assert all(frame.shape[1:] == (POINTS, 2) and np.isfinite(frame).all() for frame in frames)
    steps = [np.abs(b - a).max() for a, b in itertools.pairwise(frames) if a.shape == b.shape]
    assert max(steps) < draws.STYLE.size / 4
    ElementTree.fromstring(content(draws.encode_morph(frames, {"format": "svg"})))
    assert picture(content(draws.encode_morph(frames, {"format": "gif"})))[1] > 20


def test_lines_without_a_partner_part_from_others():
    first = np.stack([np.linspace([0, y], [10, y], POINTS) for y in (0, 50)])
    second = np.stack([np.linspace([10, y], [0, y], POINTS) for y in (4, 48, 52, 99)])
    for one, other in ((first, second), (second, first)):
        pairs = pair_lines(one, other)
        assert len(pairs[0]) == len(pairs[1]) == 4
        for mine, own in zip(pairs, (one, other), strict=True):
            apart = np.abs(mine[:, None] - np.concatenate([own, own[:, ::-1]])[None]).max(axis=(2, 3))
            assert (apart.min(axis=1) == 0).all()  # nothing is there that was not drawn
            assert (apart.reshape(4, 2, -1).min(axis=(0, 1)) == 0).all()  # and all that was


def test_a_photo_is_read_where_the_frame_is(tiny, images, tmp_path):
    photo = draws.open_photo(images / "a.png")
    bitmap, box, doubts = draws.read_photo(photo, tiny)
    assert box == pytest.approx([58 / 300, 38 / 240, 202 / 300, 192 / 240], abs=0.03)
    part, asked, _ = draws.read_photo(photo, tiny, [0, 0, 0.45, 1])
    assert asked == [0, 0, 0.45, 1]
    assert not np.array_equal(bitmap, part)
    assert 'class="frame"' in draws.photo_html(photo, box) and not doubts
    assert "read; it looks like a frame. Move" in draws.photo_html(photo, box, ["it looks like a frame"])
    with pytest.raises(ValueError, match="frame is too small"):
        draws.read_photo(photo, tiny, [0.5, 0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match=r"^notes.txt cannot be read: not an image"):
        draws.open_photo(images / "notes.txt")
    Image.new("L", (60, 60), 250).save(tmp_path / "blank.png")
    with pytest.raises(ValueError, match="no ink found"):
        draws.read_photo(draws.open_photo(tmp_path / "blank.png"), tiny)


def test_a_model_that_sees_no_images_is_refused(tmp_path):
    blind = make_snapshot(tmp_path, conditional=False)
    with pytest.raises(ValueError, match="unconditional, it sees no images"):
        draws.sheet_bitmap(lines(CIRCLE), draws.load(str(blind)))


def test_only_uploads_are_opened(images, tmp_path, monkeypatch):
    uploads, own = tmp_path / "uploads", tmp_path / "own.png"
    uploads.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(uploads))
    for path in (uploads / "a.png", own):
        shutil.copy(images / "a.png", path)
    assert app.take_upload({"path": str(uploads / "a.png")}).size
    for path in (own, uploads / "../own.png", Path("own.png")):
        with pytest.raises(ValueError, match=r"^own.png was not uploaded$"):
            app.take_upload({"path": str(path)})


# ---- the script ------------------------------------------------------------------------------------------------------


def test_a_missing_gradio_is_one_line_with_the_command(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit) as caught:
        script.run_script(lambda: app.main([]))
    assert caught.value.code == 2
    assert re.fullmatch(r".*: pip install -r requirements-app.txt\n", capsys.readouterr().err)


def test_a_port_in_use_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} of 127.0.0.1 cannot be used .*; take another --port"):
            app.find_port("127.0.0.1", port)
    assert app.find_port("127.0.0.1", 0) > 1023


LAID_OUT = """
import sketch_pix2seq_app as app, app_drawings as draws, json, numpy as np, sys
snapshot, directory, circle = sys.argv[1], sys.argv[2], np.array(json.loads(sys.argv[3]))
page = app.Page(app.import_gradio(directory), [snapshot], "datasets")
config = str(page.blocks.get_config_file())
assert "step 7, sees 48" in config and "cat, house" in config
settings = snapshot, 0.1, 0, 0, 4
for i, wrong in ((0, "/etc"), (1, -1), (2, "x"), (3, -5), (4, 99), (4, None)):
    made, shown = page.answer(lambda sampler: 1 / 0, *settings[:i], wrong, *settings[i + 1 :])
    assert made is None and 'class="note"' in shown, wrong
made, shown = page.answer(lambda own: draws.draw_bitmap(draws.sheet_bitmap([circle], own), own), *settings)
assert len(made.drawings) == 4 and 'class="drawn"' in shown
print("laid out")
"""


@needs_gradio
def test_the_page_names_the_models_and_answers_mistakes_with_a_line(snapshot, tmp_path):
    """In a process of its own: Gradio leaves event loops open."""
    command = [sys.executable, "-c", LAID_OUT, snapshot, tmp_path, json.dumps(CIRCLE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("laid out\n"), done.stderr


# ---- in Chromium -----------------------------------------------------------------------------------------------------

TELL = """
import socket
connect = socket.socket.connect
def told(self, address):
    if self.family != socket.AF_UNIX and str(address[0]) not in ("127.0.0.1", "::1", "localhost"):
        print("CONNECT", address, flush=True)
    return connect(self, address)
socket.socket.connect = told
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The script with the weights that come with it: (process, address, directory of its temporary files)."""
    directory = tmp_path_factory.mktemp("server")
    (directory / "sitecustomize.py").write_text(TELL)
    (directory / "tmp").mkdir()
    here = {"PYTHONPATH": str(directory), "TMPDIR": str(directory / "tmp"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, ROOT / "sketch_pix2seq_app.py", "--port=0", "--model_dir", ROOT / "assets/pretrained"]
    with open(directory / "log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=os.environ | here)
    try:
        for _ in range(1800):
            address = re.search(r"draw at (http://\S+)", (directory / "log").read_text())
            if address or process.poll() is not None:
                break
            time.sleep(0.1)
        assert address, (directory / "log").read_text()
        yield process, address[1], directory
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync"
    flags += " --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"  # a webcam
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags.split())
        yield chromium
        chromium.close()


def open_page(browser, address, width=1280):
    """A page of a person of their own, which notes what it asks for and what goes wrong."""
    page = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True).new_page()
    page.asked, page.faults = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(address)
    page.locator("canvas:visible").wait_for()
    return page


def draw(page, points, sheet=0):
    box = page.locator("canvas:visible").nth(sheet).bounding_box()
    places = [(box["x"] + x / 1000 * box["width"], box["y"] + y / 1000 * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()


def wait_for_drawing(page):
    page.locator(".large:visible svg:has(path)").first.wait_for()  # a first path may be a dot, without a size
    return page.locator(".large:visible").inner_html()


def bitmap_of(svg):
    lines = [np.array(re.findall(r"([\d.]+),([\d.]+)", d), float) for d in re.findall(r' d="([^"]+)"', svg)]
    return draws.rasterize_all([draws.scaled(draws.lines_to_strokes(lines))], 96, 96)


def take(page, name, tmp_path):
    with page.expect_download() as download:
        page.locator(f'[data-format="{name}"]:visible').click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path


browsed = pytest.mark.skipif(bool(MISSING) or CHROMIUM is None, reason=NOT_BROWSED)


@pytest.mark.real
@browsed
@pytest.mark.parametrize("width", [1280, 390])
def test_a_circle_is_drawn_back_and_taken_away(server, browser, width, tmp_path):
    page = open_page(browser, server[1], width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("canvas:visible").scroll_into_view_if_needed()
    draw(page, CIRCLE)
    svg = wait_for_drawing(page)
    left, top, side, _ = map(float, re.search(r'viewBox="([^"]*)"', svg)[1].split())
    points = np.array(re.findall(r"([\d.]+),([\d.]+)", " ".join(re.findall(r' d="([^"]+)"', svg))), float)
    place = (points - [left, top]) / side * draws.SIDE  # on the sheet
    np.testing.assert_allclose([place.min(axis=0), place.max(axis=0)], [[200, 200], [800, 800]], atol=40)
    circle = draws.rasterize_all([draws.scaled(draws.lines_to_strokes(lines(CIRCLE)))], 96, 96)
    assert ink_scores(circle, bitmap_of(svg), 4)[0][0] > 0.9
    assert page.evaluate("document.getAnimations().length") > 0  # it draws itself
    page.locator(".small:visible").nth(3).click()
    page.locator(".replay:visible").click()
    paths = {name: take(page, name, tmp_path) for name in draws.FORMATS}
    for name in ("svg", "still", "plotter"):
        assert ElementTree.parse(paths[name]).getroot().tag.endswith("svg")
    assert picture(paths["png"])[0] == picture(paths["gif"])[0] == (draws.STYLE.size,) * 2
    assert len(list(read_drawings(paths["json"]))) == 1
    page.locator(".clear:visible").click()
    page.get_by_text("the sheet is empty").wait_for()
    assert not page.faults
    check_asked(page, server[1])


def check_asked(page, address):
    """A page asked its own server alone."""
    hosts = {urllib.parse.urlsplit(url).netloc for url in page.asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {urllib.parse.urlsplit(address).netloc}


@pytest.mark.real
@browsed
@pytest.mark.parametrize("width", [1280, 390])
def test_photos_and_what_is_none(server, browser, width, tmp_path):
    page = open_page(browser, server[1], width)
    page.get_by_role("tab", name="Photo").click()
    page.set_input_files("input[type=file]", ROOT / "assets/doodle.jpg")
    page.locator(".photo .frame").wait_for()
    before = wait_for_drawing(page)
    corner = page.locator('[data-grip="rb"]').bounding_box()
    page.mouse.move(corner["x"] + 5, corner["y"] + 5)
    page.mouse.down()
    page.mouse.move(corner["x"] - corner["width"], corner["y"] + 5, steps=3)
    page.mouse.up()
    page.wait_for_function("before => document.querySelector('.photo').offsetParent && "
                           "[...document.querySelectorAll('.large')].find(e => e.offsetParent).innerHTML !== before",
                           arg=before)  # fmt: skip
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "notes.png").write_text("no image")
    page.set_input_files("input[type=file]", tmp_path / "notes.txt")
    page.get_by_text("Invalid file type").wait_for()
    page.set_input_files("input[type=file]", tmp_path / "notes.png")
    page.get_by_text("notes.png cannot be read: not an image in a known format").wait_for()
    assert page.locator(".photo").count() == 0
    check_asked(page, server[1])


@pytest.mark.real
@browsed
def test_a_webcam_s_picture_is_read(server, browser):
    page = open_page(browser, server[1])
    page.get_by_role("tab", name="Photo").click()
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("[...document.querySelectorAll('video')].some((e) => e.readyState > 3 && e.currentTime > 0)")
    page.get_by_label("capture photo").click()
    page.locator(".photo .frame").wait_for()
    wait_for_drawing(page)
    page.get_by_role("button", name="or take this photo of a doodle").click()
    page.locator(".photo .frame").wait_for()


@pytest.mark.real
@browsed
def test_completing_and_morphing(server, browser, tmp_path):
    page = open_page(browser, server[1])
    page.get_by_role("tab", name="Complete").click()
    draw(page, [[200, 400], [200, 900], [800, 900], [800, 400], [200, 400]])
    assert "#2a6fdb" in wait_for_drawing(page)
    page.get_by_role("tab", name="Morph").click()
    draw(page, CIRCLE)
    page.get_by_text("Draw on both sheets").wait_for()
    draw(page, [[100, 200], [900, 200], [500, 900], [100, 200]], sheet=1)
    page.locator(".moves:visible").wait_for()
    shapes = []
    for share in (0, 0.5, 1):
        page.locator(".morph input").evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')) }", share)
        shapes.append(page.locator(".morph path").get_attribute("d"))
    assert len(set(shapes)) == 3
    ElementTree.parse(take(page, "svg", tmp_path))
    assert picture(take(page, "gif", tmp_path))[1] > 20
    check_asked(page, server[1])


@pytest.mark.real
@browsed
def test_two_people_do_not_see_each_other_s_drawings(server, browser):
    one, other = (open_page(browser, server[1]) for _ in range(2))
    draw(one, CIRCLE)
    first = wait_for_drawing(one)
    assert other.locator(".drawn").count() == 0
    draw(other, [[100, 500], [900, 500]])
    assert wait_for_drawing(other) != first
    assert wait_for_drawing(one) == first


@pytest.mark.real
@browsed
def test_sigterm_ends_it_and_leaves_nothing(server, browser):
    """The last of these tests: it ends the server."""
    process, address, directory = server
    open_page(browser, address)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0
    assert time.monotonic() - began < 2
    log = (directory / "log").read_text()
    assert "Traceback" not in log and "CONNECT" not in log
    assert log.endswith("ended\n")
    assert not list((directory / "tmp").iterdir())
