"""The page that drawings are looked at on: what stands on it, and what it does in Chromium."""

import html
import importlib.util
import io
import json
import re
import shutil
import urllib.parse
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from helpers import make_snapshot
from PIL import Image
from test_sampling import CHROMIUM, draw

import pictures
import sketch_pix2seq_edit as edit
from result_page import write_page
from sampler import make_sampler

STROKES = np.array([[0, 0, 0], [1, 1, 0], [1, -2, 1], [-1, 0, 0], [0, 3, 1]])
NAME = "a cat #1 100%"  # of a file, as people have them


@pytest.fixture(scope="module")
def page(snapshot, images, tmp_path_factory):
    """Of two images, one with a name that addresses have to spell otherwise."""
    directory = tmp_path_factory.mktemp("page")
    shutil.copy(images / "a.png", directory / f"{NAME}.png")
    flags = ["--num=2", "--guide=1", "--format=svg,png,json", "--page=a5"]
    return draw(directory / "out", snapshot, "--image", directory / f"{NAME}.png", images / "b.png", *flags)


def tiles(text):
    """(caption, files) of each drawing."""
    found = re.findall(r'class="tile" title="([^"]*)" data-name="[^"]*" data-files="([^"]*)"', text)
    return [(html.unescape(title), json.loads(html.unescape(files))) for title, files in found]


def test_the_photo_stands_there_with_the_box_that_was_read(snapshot, images):
    sampler = make_sampler(str(snapshot), [0.1])
    (picture,) = sampler.load_pictures([str(images / "a.png")])
    photo, seen = picture.tiles()
    ink = 58 / 300, 38 / 240, 202 / 300, 192 / 240
    assert photo.photo.box == pytest.approx(ink, abs=0.03)
    assert Image.open(io.BytesIO(photo.photo.jpeg)).size == photo.photo.size
    np.testing.assert_array_equal(seen.image, picture.bitmap)


@pytest.mark.parametrize("size", [(3000, 2000), (40, 4000), (1, 1)])
def test_a_photo_is_small_whatever_it_shows(size):
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    photo = pictures.reduce_photo(Image.fromarray(noise), (0, 0, size[0] / 2, size[1]))
    assert len(photo.jpeg) <= pictures.PHOTO_BYTES
    assert photo.box == (0, 0, 0.5, 1)


def test_the_page_holds_what_was_given_and_all_drawings_in_one_file(page):
    text = (page / "index.html").read_text()
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert not re.search(r"[\"'(](?!data:)[\w./]+\.(js|css|woff2?)\b", text)
    assert text.count("data:image/jpeg;base64,") == text.count("<rect x=") == 2
    assert text.count("data:image/png;base64,") == 2
    assert len(tiles(text)) == 2 * 2
    assert len(text) < 2 * (pictures.PHOTO_BYTES * 4 / 3 + 20_000) + 20_000


def test_every_file_that_the_page_names_lies_beside_it(page):
    text = (page / "index.html").read_text()
    named = [address for _, files in tiles(text) for _, address in files]
    assert len(named) == 4 * 2  # PNG and the plotter's; the page itself hands out the SVG
    named += re.findall(r'<a href="([^"]*)"', text)
    assert "drawings.json" in named
    for address in named:
        assert (page / urllib.parse.unquote(html.unescape(address))).is_file()


def test_test_drawings_name_the_three_files_of_the_original(snapshot, data_dir, tmp_path):
    out = draw(tmp_path, snapshot, f"--data_dir={data_dir}", "--num_drawings=2")
    text = (out / "index.html").read_text()
    named = re.findall(r'<a href="([^"]*)"', text)
    assert len(named) == 2 * 3
    assert all((out / address).is_file() for address in named)
    assert all(files == [] for _, files in tiles(text))


def test_what_was_mixed_or_begun_stands_beside_the_drawings(snapshot, images, data_dir, tmp_path):
    where = [f"--model_dir={snapshot}", f"--sampling_dir={tmp_path}"]
    assert edit.main([*where, "--interpolate", str(images / "a.png"), str(images / "b.png"), "--steps=3"]) == 0
    text = (tmp_path / "index.html").read_text()
    assert [title for title, _ in tiles(text)] == ["0.00", "0.50", "1.00"]
    assert text.count('class="pane given photo"') == text.count('class="pane given seen"') == 2
    assert edit.main([*where, "--complete", f"--data_dir={data_dir}", "--num_drawings=1", "--num=2"]) == 0
    text = (tmp_path / "index.html").read_text()
    assert text.count('class="pane given person"') == len(tiles(text)) == 2


def test_drawings_of_nothing_have_no_pane_of_what_was_given(tmp_path):
    blind = make_snapshot(tmp_path / "snapshot", conditional=False)
    text = (draw(tmp_path / "out", blind, "--unconditional", "--num_drawings=2") / "index.html").read_text()
    assert "pane given" not in text and len(tiles(text)) == 20


def test_the_page_names_nothing_unescaped(tmp_path):
    tile = pictures.Tile("<u>", "<b>&", STROKES)
    row = pictures.Row("<s>", "<em>", [tile, tile._replace(given=True)])
    write_page(tmp_path / "index.html", "<i>", "<tt>", [row], pictures.make_style(64, None, None), ["png", "npz"])
    text = (tmp_path / "index.html").read_text()
    assert "&lt;em&gt;" in text
    assert not any(f"<{name}>" in text for name in ("u", "b", "s", "em", "i", "tt"))


# ---- in Chromium -----------------------------------------------------------------------------------------------------

WANTING = [
    name for name, here in (("chromium", CHROMIUM), ("playwright", importlib.util.find_spec("playwright"))) if not here
]


@pytest.mark.real
@pytest.mark.skipif(bool(WANTING), reason=f"not installed: {', '.join(WANTING)}; the result page is not opened")
@pytest.mark.parametrize("width", [1600, 1280, 390])
def test_drawings_are_chosen_replayed_and_saved(page, width, tmp_path):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        shown = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True).new_page()
        asked, faults = [], []
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("pageerror", lambda error: faults.append(str(error)))
        shown.goto((page / "index.html").as_uri())
        row, moving = shown.locator(".row").first, "document.getAnimations().length"
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert row.bounding_box()["width"] > 0.9 * width
        assert row.locator(".photo").bounding_box()["width"] > width / 8
        row.locator(".tile").nth(1).click()
        assert row.locator(".tile").nth(1).get_attribute("aria-pressed") == "true"
        shown.wait_for_function(f"{moving} == 0")
        shown.get_by_text("replay all").click()
        assert shown.evaluate(moving) > 2
        with shown.expect_download() as download:
            row.get_by_role("link", name="SVG", exact=True).click()
        assert download.value.suggested_filename.endswith("_t0.1_2.svg")
        download.value.save_as(tmp_path / "saved.svg")
        saved, written = (
            [path.get("d") for path in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}path")]
            for file in (tmp_path / "saved.svg", page / NAME / "t0.1_2.svg")
        )
        assert saved == written
        assert not faults
        assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
        browser.close()
