"""The sampling script's modes, with tiny models that never trained: what they write opens in real programs."""

import io
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import cairosvg
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw
from test_scripts import write_data

import model as models
import render_svg2bitmap
import sketch_pix2seq_pictures as pictures
import sketch_pix2seq_sampling as sampling
import utils

SCALE_FACTOR = 40.0
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=20000"
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium installed: pages are not opened in it")


def make_snapshot(directory, **changes):
    """Weights that were never trained, with an output that draws lines of usual length and ends seldom."""
    hps = models.get_default_hparams().replace(
        data_set=["cat.npz", "house.npz"], dec_model="lstm", dec_rnn_size=8, num_mixture=2, z_size=4, max_seq_len=60
    )
    model = models.Model(hps.replace(**changes))
    bias = np.zeros(15, np.float32)
    bias[:3] = 0, -1.5, -3
    model.weights["RNN/output_b"].assign(bias)
    info = {"scale_factor": SCALE_FACTOR, "line_width": 1.2, "max_seq_len": 60, "category_scale_factors": {}}
    models.save_config(directory, model.hps, info)
    checkpoint = tf.train.Checkpoint(model=model)
    tf.train.CheckpointManager(checkpoint, str(directory), 1, checkpoint_name="vector").save(checkpoint_number=7)
    return directory


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return make_snapshot(tmp_path_factory.mktemp("snapshot"))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    directory = write_data(tmp_path_factory.mktemp("data"))
    render_svg2bitmap.main([f"--data_base_dir={directory}", "--hparams=data_set=[cat.npz,house.npz]"])
    return directory


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Four photographs of drawings, and a text among them."""
    directory = tmp_path_factory.mktemp("images")
    for k, name in enumerate("abcd"):
        page = Image.new("L", (300, 240), 235)
        pen = ImageDraw.Draw(page)
        pen.ellipse((60, 40, 200 + 10 * k, 190), outline=40, width=4)
        pen.line((80 + 20 * k, 60, 150, 120), fill=40, width=4)
        page.save(directory / f"{name}.png")
    (directory / "notes.txt").write_text("no image")
    return directory


def draw(out, snapshot, *flags):
    assert sampling.main([f"--model_dir={snapshot}", f"--sampling_dir={out}", *map(str, flags)]) == 0
    return out


def render(svg):
    with Image.open(io.BytesIO(cairosvg.svg2png(url=str(svg)))) as image:
        return np.asarray(image.convert("RGB"), float)


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), float)


def browse(tmp_path, url, *flags):
    command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}", *flags, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def drawn(snapshot, images, tmp_path_factory):
    """Everything that --image can write."""
    out = tmp_path_factory.mktemp("drawn")
    flags = ["--num=2", "--temperature", "0.1", "0.5", "--format=svg,png,gif,json,npz", "--colors", "--size=200"]
    return draw(out, snapshot, "--image", images, *flags)


def test_images_become_pictures_in_every_format(drawn):
    assert {path.name for path in drawn.iterdir() if path.is_dir()} == set("abcd")
    assert len(list((drawn / "a").iterdir())) == 4 * 3
    for svg in drawn.glob("*/*.svg"):
        ElementTree.parse(svg)
        still, shown = picture(svg.with_suffix(".png")), render(svg)
        assert still.shape == shown.shape == (200, 200, 3)
        assert still.min() < 150  # something was drawn
        assert np.abs(still - shown).mean() < 1.5
        np.testing.assert_array_equal(still[[0, -1]], 255)  # nothing touches the edge
    assert picture(drawn / "gallery.png").shape[0] > 4 * 150


def test_a_gif_draws_and_ends_as_the_still_picture(drawn):
    for path in drawn.glob("*/*.gif"):
        still = picture(path.with_suffix(".png"))
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
    look = pictures.make_look(120, None, None)
    with Image.open(io.BytesIO(pictures.gif_bytes(strokes, look))) as gif:
        gif.seek(gif.n_frames - 1)
        np.testing.assert_array_equal(np.asarray(gif.convert("RGB")), np.asarray(pictures.paint(strokes, look)))


def test_stroke_files_hold_units_of_the_data_and_can_be_read_back(drawn, data_dir, tmp_path):
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


@needs_chromium
@pytest.mark.parametrize("flag", ["--hide-scrollbars", "--force-prefers-reduced-motion"])
def test_chromium_shows_the_animation_s_end_as_the_still_picture(drawn, tmp_path, flag):
    svg = next(drawn.glob("a/*.svg"))
    shot = tmp_path / "shot.png"
    for _ in range(3):  # on a busy machine, headless Chromium may take its picture before it has drawn any
        browse(tmp_path, svg.as_uri(), f"--screenshot={shot}", "--window-size=200,200", flag)
        shown = picture(shot)[:200, :200]
        if shown.min() < 200:
            break
    assert np.abs(shown - picture(svg.with_suffix(".png"))).mean() < 2.5


@needs_chromium
def test_chromium_counts_the_pictures_of_the_page(drawn, tmp_path):
    page = drawn / "index.html"
    assert not re.search(r"https?://(?!www\.w3\.org)", page.read_text())  # nothing from the network
    dom = browse(tmp_path, page.as_uri(), "--dump-dom")
    assert dom.count("<svg") == dom.count('class="drawn"') == 4 * 4
    assert dom.count("<img") == dom.count('src="data:image/png;base64,') == 4
    shot = tmp_path / "shot.png"
    browse(tmp_path, page.as_uri(), f"--screenshot={shot}", "--window-size=900,900")
    assert len(np.unique(picture(shot).reshape(-1, 3), axis=0)) > 50


def test_the_page_names_nothing_unescaped(tmp_path):
    cell = pictures.Cell("x", "<b>&", np.array([[0, 0, 0], [1, 1, 1]]))
    row = pictures.Row("r", "<script>", [cell])
    pictures.write_page(tmp_path / "index.html", "<i>", "note", [row], pictures.make_look(64, None, None))
    text = (tmp_path / "index.html").read_text()
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "<b>" not in text


def test_test_drawings_get_a_page_and_other_formats(snapshot, data_dir, tmp_path):
    out = draw(tmp_path, snapshot, f"--data_dir={data_dir}", "--num_drawings=2", "--format=gif,json")
    for directory in (path for path in out.iterdir() if path.is_dir()):
        assert len(list(directory.glob("*.gif"))) == 10
        for name in ("sample_gt.svg", "sample_pred_cond.svg", "sample_pred_cond_100.svg"):
            assert render(directory / name).min() < 100
    assert (out / "index.html").read_text().count("<svg") == 2 * 11
    assert {d["category"] for d in json.loads((out / "drawings.json").read_text())["drawings"]} <= {"cat", "house"}


def test_interpolation_begins_and_ends_at_the_images(snapshot, images, tmp_path):
    two = ["--interpolate", images / "a.png", images / "b.png", "--steps=4"]
    row = draw(tmp_path / "two", snapshot, *two) / "interpolation"
    assert sorted(path.name for path in row.iterdir()) == ["00.svg", "01.svg", "02.svg", "03.svg"]
    four = ["--interpolate", *(images / f"{name}.png" for name in "abcd"), "--steps=3"]
    out = draw(tmp_path / "four", snapshot, *four)
    assert len(list((out / "interpolation").iterdir())) == 9
    args = sampling.parse_args([f"--model_dir={snapshot}"])
    job, _ = sampling.make_job(args, "interpolate")
    codes = job.encode(job.load_images([str(images)])[1])
    drawings = sampling.interpolate(job._replace(num=1, greedy=True), [str(images / f"{n}.png") for n in "abcd"], 3)
    ends = sampling.draw_codes(job.model, codes, np.ones(4), 60, 0, greedy=True)
    corners = [drawings[1].cells[0], drawings[1].cells[2], drawings[3].cells[0], drawings[3].cells[2]]
    for corner, end in zip(corners, ends, strict=True):
        np.testing.assert_allclose(corner.strokes, end, atol=1e-4)


def test_analogy_and_greedy(snapshot, images, tmp_path):
    three = [images / f"{name}.png" for name in "abc"]
    out = draw(tmp_path, snapshot, "--analogy", *three, "--greedy")
    assert [path.name for path in (out / "analogy").iterdir()] == ["greedy.svg"]
    job = sampling.make_job(sampling.parse_args([f"--model_dir={snapshot}"]), "analogy")[0]._replace(greedy=True)
    same = sampling.analogy(job, [str(three[0]), str(three[1]), str(three[1])])[0].cells[-1]  # a - b + b
    alone = sampling.draw_images(job, [str(three[0])])[0].cells[-1]
    np.testing.assert_allclose(same.strokes, alone.strokes, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"pen_position": True}, {"dec_model": "hyper"}, {"conditional": False}])
def test_going_on_is_what_the_model_would_have_drawn(tmp_path, changes):
    """Greedy: given the first points of its own drawing, the model draws the rest of it, whatever the other rows do."""
    model, _ = sampling.load_model(make_snapshot(tmp_path, **changes))
    z = np.random.default_rng(1).normal(size=[3, 4]).astype(np.float32) if model.hps.conditional else None
    whole = [utils.to_normal_strokes(d) for d in models.sample_batch(model, z, 30, 1.0, True, 3)]
    assert min(map(len, whole)) > 12
    given = [drawing[:k] for drawing, k in zip(whole, (0, 5, 12), strict=True)]
    again = models.sample_batch(model, z, 30, 1.0, True, 3, given=given)
    for drawing, other in zip(whole, again, strict=True):
        np.testing.assert_allclose(utils.to_normal_strokes(other), drawing, atol=1e-5)


def test_completing_keeps_what_is_given(snapshot, data_dir, tmp_path):
    flags = [f"--data_dir={data_dir}", "--complete", "--points=9", "--index", "0", "5", "--num=2", "--format=json,svg"]
    out = draw(tmp_path, snapshot, *flags)
    *_, test, _ = utils.load_dataset(data_dir, models.load_hparams(snapshot))
    drawings = json.loads((out / "drawings.json").read_text())["drawings"]
    assert len(drawings) == 2 * 3  # the person's, and two endings
    for i, entry in enumerate(drawings):
        expected = test.strokes((0, 5)[i // 3])[:9] * [SCALE_FACTOR, SCALE_FACTOR, 1]
        np.testing.assert_allclose(entry["strokes"][:9], expected, atol=2e-3)
    svg = next(out.glob("*/t0.3_1.svg")).read_text()
    assert pictures.GIVEN_COLOR in svg
    assert pictures.INK in svg


def test_drawings_too_short_to_be_begun_are_not_chosen(data_dir):
    *_, test, hps = utils.load_dataset(data_dir, models.get_default_hparams().replace(data_set=["cat", "house"]))
    limit = int(np.median(test.packed.lengths))
    places = sampling.choose_drawings(test, hps, None, None, len(test), 0, longer_than=limit)
    assert sorted(places) == list(np.flatnonzero(test.packed.lengths > limit))
    with pytest.raises(ValueError, match="no drawing has more points"):
        sampling.choose_drawings(test, hps, None, None, 3, 0, longer_than=250)


@pytest.mark.parametrize("pen_position", [False, True])
def test_completing_files(data_dir, images, tmp_path, pen_position):
    snapshot = make_snapshot(tmp_path / "snapshot", pen_position=pen_position)
    job, _ = sampling.make_job(sampling.parse_args([f"--model_dir={snapshot}"]), "complete")
    svg = tmp_path / "begun.svg"
    shape = '<path d="M100 150 C 100 60 300 60 300 150" fill="none" stroke="black"/>'
    svg.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 300">{shape}</svg>')
    (begun,) = sampling.read_begun(str(svg), job, None, None)
    assert len(begun.shown) > 2 * len(begun.fed)  # fed simplified, shown as drawn
    np.testing.assert_allclose(begun.shown[:, :2].sum(axis=0), begun.fed[:, :2].sum(axis=0), atol=1e-9)
    width = np.ptp(np.cumsum(begun.fed[1:, 0])) + begun.fed[1, 0]  # from 100 to 300, on a page of 400
    expected = [-width / 2, 0] if pen_position else [0, 0]  # a jump from the page's centre, or none
    np.testing.assert_allclose(begun.fed[0, :2], expected, atol=0.02 * width)

    near = [f"--data_dir={data_dir}", "--num=2"]
    assert len(list((draw(tmp_path / "fit", snapshot, "--complete", svg, *near) / "begun").iterdir())) == 2
    like = ["--like", images / "a.png", images / "b.png", "--data_dir=nowhere", "--num=1"]
    assert (draw(tmp_path / "like", snapshot, "--complete", svg, *like) / "begun/t0.3_1.svg").is_file()
    again = tmp_path / "like/begun/t0.3_1.svg"  # an SVG of ours can be gone on with
    draw(tmp_path / "alone", snapshot, "--complete", again, "--points=5", "--data_dir=nowhere", "--num=1")
    npz = ["--complete", data_dir / "npz/cat.npz", "--index", "2", "3", "--points=8"]
    out = draw(tmp_path / "npz", snapshot, *npz, *near)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["cat_2", "cat_3"]


def test_unconditional(data_dir, images, tmp_path):
    snapshot = make_snapshot(tmp_path / "snapshot", conditional=False)
    out = draw(tmp_path / "out", snapshot, "--unconditional", "--num_drawings=2", "--format=png")
    assert len(list(out.glob("unconditional_*/*.png"))) == 20
    assert (out / "index.html").read_text().count("<svg") == 20
    flags = ["--complete", "--points=8", f"--data_dir={data_dir}", "--num_drawings=2"]
    assert draw(tmp_path / "goes_on", snapshot, *flags)
    with pytest.raises(ValueError, match="sees no images"):
        draw(tmp_path / "refused", snapshot, "--image", images)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--image a.png --interpolate a.png b.png", "--image and --interpolate do not go together"),
        ("--image a.png --unconditional", "--image and --unconditional do not go together"),
        ("--image a.png --steps 3", "--steps does not go with --image, only with --interpolate"),
        ("--points 3", "--points does not go with test drawings, only with --complete"),
        ("--image a.png --split valid", "--split does not go with --image"),
        ("--image a.png --greedy --temperature 0.3", "--greedy leaves nothing to chance"),
        ("--image a.png --temperature 0", "above 0"),
        ("--image a.png --num 0", "--num 0: wanted 1 or more"),
        ("--image a.png --format svg,pdf", "--format svg,pdf: wanted some of svg,png,gif,json,npz"),
        ("--image a.png --colors red nocolour", "--colors red nocolour: wanted names"),
        ("--image a.png --size 2", "--size 2: wanted 16 to 4096"),
        ("--image a.png --line_width 0", "--line_width 0: wanted"),
        ("--image missing.png", "missing.png not found"),
        ("--image blank.png", "blank.png"),
        ("--interpolate a.png b.png c.png", "--interpolate takes 2 or 4 images, not 3"),
        ("--analogy a.png b.png", "--analogy takes 3 images, not 2"),
        ("--unconditional", "has an encoder"),
        ("--complete missing.svg", "missing.svg not found"),
        ("--complete a.png", "reads .svg, .json and .npz"),
        ("--complete empty.svg", "no visible lines"),
        ("--complete begun.svg --points 50", "wanted 1 to"),
        ("--complete begun.svg --category cat", "--index does"),
        ("--complete --points 12 --like a.png", "--like goes with --complete FILE"),
        ("--complete long.json", "give fewer by --points"),
        ("--image a.png --format npz --num 2", "train, valid and test need one each"),
    ],
)
def test_mistakes(flags, words, snapshot, images, tmp_path, monkeypatch):
    for image in images.glob("*.png"):
        shutil.copy(image, tmp_path)
    Image.new("L", (80, 80), 250).save(tmp_path / "blank.png")
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">'
    (tmp_path / "empty.svg").write_text(f"{head}</svg>")
    (tmp_path / "begun.svg").write_text(f'{head}<path d="M1 1 L5 1 L5 5" fill="none" stroke="black"/></svg>')
    strokes = [[1, k % 2, 0] for k in range(70)]
    (tmp_path / "long.json").write_text(json.dumps({"format": "stroke-3", "drawings": [{"strokes": strokes}]}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        draw(tmp_path / "out", snapshot, *flags.split(), "--data_dir=nowhere")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_too_many_points_of_a_test_drawing(snapshot, data_dir, tmp_path):
    flags = [f"--data_dir={data_dir}", "--complete", "--index", "0"]
    with pytest.raises(ValueError, match=r"--points 500: test drawing 0 has \d+ points"):
        draw(tmp_path, snapshot, *flags, "--points=500")


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
    code = "import sys, sketch_pix2seq_pictures; sys.exit('tensorflow' in sys.modules)"
    root = sampling.Path(sampling.__file__).parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
