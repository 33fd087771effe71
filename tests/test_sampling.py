"""The sampling script with tiny models that never trained: what it writes opens in real programs."""

import io
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cairosvg
import numpy as np
import pytest
from helpers import ROOT, SCALE_FACTOR, make_snapshot, read_picture
from PIL import Image

import model as models
import pictures
import sampler
import script
import sketch_pix2seq_sampling as sampling
import utils

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=20000"
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium installed: pages are not opened in it")


def draw(out, snapshot, *flags):
    assert sampling.main([f"--model_dir={snapshot}", f"--sampling_dir={out}", *map(str, flags)]) == 0
    return out


def render(svg):
    with Image.open(io.BytesIO(cairosvg.svg2png(url=str(svg)))) as image:
        return np.asarray(image.convert("RGB"), float)


def browse(tmp_path, url, *flags):
    command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}", *flags, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


# ---- pictures --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(snapshot, images, tmp_path_factory):
    """Everything that --image can write."""
    out = tmp_path_factory.mktemp("drawn")
    flags = [
        "--num=2",
        "--guide=1",
        "--temperature",
        "0.1",
        "0.5",
        "--format=svg,png,gif,json,npz",
        "--colors",
        "--size=200",
    ]
    return draw(out, snapshot, "--image", images, *flags)


def test_images_become_pictures_in_every_format(drawn):
    assert {path.name for path in drawn.iterdir() if path.is_dir()} == set("abcd")
    assert len(list((drawn / "a").iterdir())) == 4 * 3
    for svg in drawn.glob("*/*.svg"):
        ElementTree.parse(svg)
        still, shown = read_picture(svg.with_suffix(".png")), render(svg)
        assert still.shape == shown.shape == (200, 200, 3)
        assert still.min() < 150  # something was drawn
        assert np.abs(still - shown).mean() < 1.5
        np.testing.assert_array_equal(still[[0, -1]], 255)  # nothing touches the edge
    assert read_picture(drawn / "gallery.png").shape[0] > 4 * 150


def test_a_gif_draws_and_ends_as_the_still_picture(drawn):
    for path in drawn.glob("*/*.gif"):
        still = read_picture(path.with_suffix(".png"))
        with Image.open(path) as gif:
            ink = []
            for frame in range(gif.n_frames):
                gif.seek(frame)
                last = np.asarray(gif.convert("RGB"), float)
                ink.append((255 - last).sum())
            assert gif.n_frames > 5
            assert gif.info["duration"] == pictures.GIF_LAST_MS
        assert (np.diff(ink) > -2000).all()  # the pen only adds; colours are rounded to a palette
        assert ink[0] < ink[-1] / 2
        # Eight colours and all their blends share 256; a drawing of one colour is exact, see below.
        assert np.quantile(np.abs(last - still), 0.9995) <= 24
        assert np.abs(last - still).mean() < 0.2


def test_a_gif_of_one_colour_is_exact():
    strokes = np.array([[0, 0, 0], [3, 1, 0], [-1, 2, 1], [2, 2, 0], [1, -3, 1]])
    style = pictures.make_style(120, None, None)
    with Image.open(io.BytesIO(pictures.gif_bytes(strokes, style))) as gif:
        gif.seek(gif.n_frames - 1)
        still = pictures.render_image(strokes, style)
        np.testing.assert_array_equal(np.asarray(gif.convert("RGB")), np.asarray(still))


def test_stroke_files_hold_units_of_the_data_and_can_be_read_back(drawn, tmp_path):
    content = json.loads((drawn / "drawings.json").read_text())
    assert content["format"] == "stroke-3"
    assert content["scale_factor"] == SCALE_FACTOR
    assert [len(content["drawings"]), content["drawings"][0]["category"]] == [16, "a"]
    strokes = utils.load_strokes(drawn / "drawings.npz")
    assert [len(strokes[split]) for split in utils.SPLITS] == [14, 1, 1]
    everything = strokes["valid"] + strokes["test"] + strokes["train"]
    for drawing, entry in zip(everything, (entry for entry in content["drawings"] if entry["strokes"]), strict=False):
        np.testing.assert_allclose(drawing, entry["strokes"], atol=2e-3)
    copy = tmp_path / "npz/again.npz"
    copy.parent.mkdir()
    shutil.copy(drawn / "drawings.npz", copy)
    hps = models.get_default_hparams().replace(data_set=["again.npz"], conditional=False)
    assert len(utils.load_dataset(tmp_path, hps)[0]) == 14


@pytest.mark.real
@needs_chromium
@pytest.mark.parametrize("flag", ["--hide-scrollbars", "--force-prefers-reduced-motion"])
def test_chromium_shows_the_animation_s_end_as_the_still_picture(drawn, tmp_path, flag):
    svg = next(drawn.glob("a/*.svg"))
    shot = tmp_path / "shot.png"
    for _ in range(3):  # on a busy machine, headless Chromium may take its picture before it has drawn any
        browse(tmp_path, svg.as_uri(), f"--screenshot={shot}", "--window-size=200,200", flag)
        shown = read_picture(shot)[:200, :200]
        if shown.min() < 200:
            break
    assert np.abs(shown - read_picture(svg.with_suffix(".png"))).mean() < 2.5


def test_many_short_rows_of_a_sheet_stand_in_two_blocks(tmp_path):
    tile = pictures.Tile("x", "caption", np.array([[0, 0, 0], [1, 1, 1]]))
    style, sheet = pictures.make_style(64, None, None), tmp_path / "sheet.png"
    for rows, columns, shape in ((8, 2, (8, 2)), (9, 2, (5, 4)), (9, 7, (9, 7))):
        pictures.write_sheet(sheet, [pictures.Row("r", "", [tile] * columns)] * rows, style)
        assert read_picture(sheet).shape == (shape[0] * 182 + 10, shape[1] * 160 + 10, 3)


# ---- the script ------------------------------------------------------------------------------------------------------


def test_test_drawings_get_a_page_and_other_formats(snapshot, data_dir, tmp_path):
    out = draw(tmp_path, snapshot, f"--data_dir={data_dir}", "--num_drawings=2", "--format=gif,json")
    for directory in (path for path in out.iterdir() if path.is_dir()):
        assert len(list(directory.glob("*.gif"))) == 10
        for name in ("sample_gt.svg", "sample_pred_cond.svg", "sample_pred_cond_100.svg"):
            assert render(directory / name).min() < 100
    assert (out / "index.html").read_text().count("<svg") == 2 * 11
    assert {d["category"] for d in json.loads((out / "drawings.json").read_text())["drawings"]} <= {"cat", "house"}
    assert read_picture(out / "gallery.png").shape[:2] == (2 * 182 + 10, 6 * 160 + 10)


def test_a_seed_says_which_drawings_and_how(snapshot, data_dir, tmp_path):
    flags = [f"--data_dir={data_dir}", "--num_drawings=2", "--format=json"]
    first, again, other = (
        (draw(tmp_path / name, snapshot, *flags, f"--seed={seed}") / "drawings.json").read_text()
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    )
    assert first == again != other


def test_drawings_of_a_split_a_category_or_an_index(snapshot, data_dir, tmp_path, capsys):
    flags = [f"--data_dir={data_dir}", "--format=json"]
    by_index = draw(tmp_path / "index", snapshot, *flags, "--index", "3", "0")
    assert {path.name for path in by_index.iterdir() if path.is_dir()} == {"3", "0"}
    house = draw(tmp_path / "house", snapshot, *flags, "--split=valid", "--category=house")  # of which there are seven
    categories = {drawing["category"] for drawing in json.loads((house / "drawings.json").read_text())["drawings"]}
    assert categories == {"house"}
    assert "7 rows of drawings" in capsys.readouterr().out
    for words, flags in {
        "there are drawings 0 to 21": ["--index", "22"],
        "this model knows cat, house": ["--category=dog"],
        "do not go together": ["--index", "0", "--category=cat"],
    }.items():
        with pytest.raises(ValueError, match=words):
            draw(tmp_path / "no", snapshot, f"--data_dir={data_dir}", *flags)


def test_noise_on_the_codes(snapshot, images, tmp_path):
    flags = ["--image", images / "a.png", "--greedy", "--format=json"]
    plain, noisy = (
        json.loads((draw(tmp_path / name, snapshot, *flags, *more) / "drawings.json").read_text())
        for name, more in (("plain", []), ("noisy", ["--noise"]))
    )
    assert plain["drawings"][0]["strokes"] != noisy["drawings"][0]["strokes"]


def test_unconditional(images, tmp_path):
    snapshot = make_snapshot(tmp_path / "snapshot", conditional=False)
    out = draw(tmp_path / "out", snapshot, "--unconditional", "--num_drawings=2", "--format=png")
    assert len(list(out.glob("unconditional_*/*.png"))) == 20
    assert (out / "index.html").read_text().count("<svg") == 20
    assert read_picture(out / "gallery.png").shape[:2] == (2 * 182 + 10, 10 * 160 + 10)
    assert render(out / "sample_pred_uncond.svg").min() < 100
    assert draw(tmp_path / "default", snapshot, "--num_drawings=1")  # it cannot do anything else
    with pytest.raises(ValueError, match="sees no images"):
        draw(tmp_path / "refused", snapshot, "--image", images)
    with pytest.raises(ValueError, match="--split does not go with --unconditional"):
        draw(tmp_path / "refused", snapshot, "--split=test")


def test_a_model_that_reads_strokes_draws_test_drawings_alone(data_dir, images, tmp_path):
    snapshot = make_snapshot(tmp_path / "snapshot", enc_model="lstm", enc_rnn_size=6)
    out = draw(tmp_path / "out", snapshot, f"--data_dir={data_dir}", "--num_drawings=2")
    assert (out / "index.html").read_text().count("as a bitmap</figcaption>") == 2
    with pytest.raises(ValueError, match=r"--image: .*reads strokes"):
        draw(tmp_path / "none", snapshot, "--image", images)


def test_drawing_a_code_does_not_depend_on_how_many_are_drawn_together(snapshot, monkeypatch):
    model, _ = models.load_model(snapshot)
    codes = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    whole = sampler.draw_codes(model, codes, np.ones(5), 30, range(5))  # by chance
    monkeypatch.setattr(sampler, "BATCH", 2)
    for drawing, other in zip(whole, sampler.draw_codes(model, codes, np.ones(5), 30, range(5)), strict=True):
        np.testing.assert_allclose(drawing, other, atol=1e-5)


def test_a_snapshot_that_knows_nothing_of_its_data(snapshot, images, tmp_path, capsys):
    copy = tmp_path / "snapshot"
    shutil.copytree(snapshot, copy)
    config = json.loads((copy / "model_config.json").read_text())
    del config["data_info"]
    (copy / "model_config.json").write_text(json.dumps(config))
    out = draw(tmp_path / "out", copy, "--image", images / "a.png", "--format=json", "--num=1")
    assert "lines of 1 pixels and scale factor 1 are assumed" in capsys.readouterr().out
    assert json.loads((out / "drawings.json").read_text())["scale_factor"] == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--image a.png --unconditional", "--image and --unconditional do not go together"),
        ("--num 3", "--num does not go with test drawings, only with --image"),
        ("--image a.png --split valid", "--split does not go with --image"),
        ("--image a.png --greedy --temperature 0.3", "--greedy leaves nothing to chance"),
        ("--image a.png --temperature 0", "above 0"),
        ("--image a.png --num 0", "--num 0: expected 1 or more"),
        ("--image a.png --format svg,pdf", "--format svg,pdf: expected some of svg,png,gif,json,npz"),
        ("--image a.png --colors red nocolour", "--colors red nocolour: expected names"),
        ("--image a.png --size 2", "--size 2: expected 16 to 4096"),
        ("--image a.png --line_width 0", "--line_width 0: expected"),
        ("--image missing.png", "missing.png not found"),
        ("--image blank.png", "blank.png"),
        ("--unconditional", "has an encoder"),
        ("--image a.png --format npz --num 2", "train, valid and test need one each"),
    ],
)
def test_mistakes(flags, words, snapshot, images, tmp_path, monkeypatch):
    shutil.copy(images / "a.png", tmp_path)
    Image.new("L", (80, 80), 250).save(tmp_path / "blank.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        draw(tmp_path / "out", snapshot, *flags.split(), "--data_dir=nowhere")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("flag", sampling.EDIT_FLAGS)
def test_a_flag_of_the_other_script_is_answered_with_its_name(flag, capsys):
    for flags in ([flag, "a.png"], ["--seed=3", f"{flag}=a.png"]):
        with pytest.raises(SystemExit) as caught:
            script.run_script(lambda flags=flags: sampling.main(flags))
        assert caught.value.code == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert f"{flag} belongs to another script: python sketch_pix2seq_edit.py {' '.join(flags)}" in told


def test_bad_images_of_a_directory_are_passed_over(snapshot, images, tmp_path, capsys):
    shutil.copy(images / "a.png", tmp_path)
    Image.new("L", (80, 80), 250).save(tmp_path / "blank.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "directory.png").mkdir()
    out = draw(tmp_path / "out", snapshot, "--image", tmp_path, "--num=1")
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["a"]
    assert "passed over" in capsys.readouterr().err


def test_a_missing_snapshot(images, tmp_path):
    with pytest.raises(FileNotFoundError, match="no snapshot in "):
        draw(tmp_path / "out", tmp_path / "nowhere", "--image", images / "a.png")


def test_pictures_need_no_tensorflow():
    code = "import sys, pictures; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# ---- plotters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page, sheet", [("a5", (148, 210)), ("100x150", (100, 150)), ("150x100", (100, 150))])
def test_a_plotters_file_has_a_path_for_each_stroke_in_millimetres(page, sheet):
    strokes = np.array([[1, 0, 0], [4, 0, 0], [0, 2, 1], [-3, 1, 1], [1, 0, 0], [1, 0, 1]], float)
    for drawing, (width, height) in ((strokes, sheet[::-1]), (strokes[:, [1, 0, 2]], sheet)):
        svg = ElementTree.fromstring(pictures.plotter_svg(drawing, pictures.parse_page(page)))
        assert (svg.get("width"), svg.get("height")) == (f"{width}mm", f"{height}mm")
        assert svg.get("viewBox") == f"0 0 {width} {height}"
        paths = [path.get("d").removeprefix("M").split() for path in svg.iter("{http://www.w3.org/2000/svg}path")]
        assert list(map(len, paths)) == [3, 2, 2]  # a dot is a line that goes nowhere
        points = np.array([[float(part) for part in point.split(",")] for path in paths for point in path])
        low, high = points.min(axis=0), points.max(axis=0)
        assert (low >= 10 - 1e-3).all() and (high <= np.array([width, height]) - 10 + 1e-3).all()
        np.testing.assert_allclose((low + high) / 2, [width / 2, height / 2], atol=1e-3)


@pytest.mark.parametrize("page", ["a9", "10x20", "a5x", "0x0", "1e3x2"])
def test_pages_that_are_none(page):
    with pytest.raises(ValueError, match="--page"):
        pictures.parse_page(page)


def test_page_writes_a_file_more(snapshot, images, tmp_path):
    draw(tmp_path, snapshot, "--image", images, "--num=1", "--guide=1", "--page=a6")
    assert (tmp_path / "a" / "t0.1_1_plotter.svg").is_file() and (tmp_path / "a" / "t0.1_1.svg").is_file()


@pytest.mark.real
def test_vpype_reads_what_plotters_get(tmp_path):
    vpype = Path(sys.executable).with_name("vpype")
    if not vpype.is_file():
        pytest.skip("no vpype installed: a plotter's file is not read by it")
    strokes = np.array([[1, 0, 0], [4, 0, 0], [0, 2, 1], [-3, 1, 0], [2, 0, 1], [1, 1, 0], [1, 0, 1]], float)
    (tmp_path / "plotter.svg").write_text(pictures.plotter_svg(strokes, (148.0, 210.0)))
    command = [vpype, "read", "plotter.svg", "linemerge", "linesort", "stat"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True).stdout
    millimetre = 96 / 25.4
    size = re.search(r"page size: \((.*), (.*)\)", said)
    np.testing.assert_allclose([float(side) for side in size.groups()], [210 * millimetre, 148 * millimetre], rtol=1e-3)
    assert "Path count: 3" in said
