"""The script that mixes and completes drawings, with tiny models that never trained."""

import json
import shutil

import numpy as np
import pytest
from helpers import ROOT, SCALE_FACTOR, make_snapshot
from PIL import Image

import model as models
import pictures
import sketch_pix2seq_edit as edit
import utils
from render_svg2bitmap import rasterize_all
from sampler import choose_drawings, draw_codes, encode_images, make_sampler


def draw(out, snapshot, *flags):
    assert edit.main([f"--model_dir={snapshot}", f"--sampling_dir={out}", *map(str, flags)]) == 0
    return out


def test_interpolation_begins_and_ends_at_the_images(snapshot, images, tmp_path):
    two = ["--interpolate", images / "a.png", images / "b.png", "--steps=4"]
    row = draw(tmp_path / "two", snapshot, *two) / "interpolation"
    assert sorted(path.name for path in row.iterdir()) == ["00.svg", "01.svg", "02.svg", "03.svg"]
    four = ["--interpolate", *(images / f"{name}.png" for name in "abcd"), "--steps=3"]
    out = draw(tmp_path / "four", snapshot, *four)
    assert len(list((out / "interpolation").iterdir())) == 9
    sampler = make_sampler(snapshot, [0.1], greedy=True)
    codes = sampler.encode(sampler.load_images([str(images)])[1])
    rows = edit.interpolate(sampler, [str(images / f"{name}.png") for name in "abcd"], 3)
    ends = draw_codes(sampler.model, codes, np.ones(4), 60, range(4), greedy=True)
    corners = [rows[1].tiles[0], rows[1].tiles[2], rows[3].tiles[0], rows[3].tiles[2]]
    for corner, end in zip(corners, ends, strict=True):
        np.testing.assert_allclose(corner.strokes, end, atol=1e-4)


def test_steps_of_an_interpolation_by_default(snapshot, images, tmp_path):
    files = [images / f"{name}.png" for name in "abcd"]
    assert len(list((draw(tmp_path / "two", snapshot, "--interpolate", *files[:2]) / "interpolation").iterdir())) == 10
    assert len(list((draw(tmp_path / "four", snapshot, "--interpolate", *files) / "interpolation").iterdir())) == 36


def test_analogy_and_greedy(snapshot, images, tmp_path):
    three = [str(images / f"{name}.png") for name in "abc"]
    out = draw(tmp_path, snapshot, "--analogy", *three, "--greedy")
    assert [path.name for path in (out / "analogy").iterdir()] == ["greedy.svg"]
    sampler = make_sampler(snapshot, [0.1], greedy=True)
    (row,) = edit.analogy(sampler, [three[0], three[1], three[1]])  # a - b + b
    (alone,) = sampler.draw(sampler.encode(sampler.load_images(three[:1])[1]), [0])
    np.testing.assert_allclose(row.tiles[-1].strokes, alone[0], atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"use_position": True}, {"dec_model": "hyper"}, {"conditional": False}])
def test_going_on_is_what_the_model_would_have_drawn(tmp_path, changes):
    """Greedy: given the first points of its own drawing, the model draws the rest of it, whatever the other rows do."""
    model, _ = models.load_model(make_snapshot(tmp_path, **changes))
    z = np.random.default_rng(1).normal(size=[3, 4]).astype(np.float32) if model.hps.conditional else None
    whole = [utils.to_normal_strokes(d) for d in models.sample_batch(model, z, 30, 1.0, True, 3)]
    assert min(map(len, whole)) > 12
    prefix = [drawing[:k] for drawing, k in zip(whole, (0, 5, 12), strict=True)]
    again = models.sample_batch(model, z, 30, 1.0, True, 3, prefix=prefix)
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
    assert pictures.PREFIX_COLOR in svg
    assert pictures.INK in svg


def test_drawings_too_short_to_be_begun_are_not_chosen(data_dir):
    *_, test, hps = utils.load_dataset(data_dir, models.get_default_hparams().replace(data_set=["cat", "house"]))
    limit = int(np.median(test.lengths))
    indices = choose_drawings(test, hps, None, None, len(test), 0, longer_than=limit)
    assert sorted(indices) == list(np.flatnonzero(test.lengths > limit))
    with pytest.raises(ValueError, match="no drawing has more points"):
        choose_drawings(test, hps, None, None, 3, 0, longer_than=250)


@pytest.mark.parametrize("use_position", [False, True])
def test_completing_files(data_dir, images, tmp_path, use_position):
    snapshot = make_snapshot(tmp_path / "snapshot", use_position=use_position)
    svg = tmp_path / "begun.svg"
    shape = '<path d="M100 150 C 100 60 300 60 300 150" fill="none" stroke="black"/>'
    svg.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 300">{shape}</svg>')
    (prompt,) = edit.read_prompts(str(svg), make_sampler(snapshot, [0.1]), None, None)
    display, model_input = prompt.display, prompt.model_input
    assert len(display) > 2 * len(model_input)  # simplified for the model, shown as drawn
    np.testing.assert_allclose(display[:, :2].sum(axis=0), model_input[:, :2].sum(axis=0), atol=1e-9)
    width = np.ptp(np.cumsum(model_input[1:, 0])) + model_input[1, 0]  # from 100 to 300, on a page of 400
    expected = [-width / 2, 0] if use_position else [0, 0]  # a jump from the page's centre, or none
    np.testing.assert_allclose(model_input[0, :2], expected, atol=0.02 * width)

    near = [f"--data_dir={data_dir}", "--num=2"]
    assert len(list((draw(tmp_path / "fit", snapshot, "--complete", svg, *near) / "begun").iterdir())) == 2
    like = ["--like", images / "a.png", images / "b.png", "--data_dir=nowhere", "--num=1"]
    assert (draw(tmp_path / "like", snapshot, "--complete", svg, *like) / "begun/t0.3_1.svg").is_file()
    again = tmp_path / "like/begun/t0.3_1.svg"  # an SVG of ours can be gone on with
    draw(tmp_path / "alone", snapshot, "--complete", again, "--points=5", "--data_dir=nowhere", "--num=1")
    npz = ["--complete", data_dir / "npz/cat.npz", "--index", "2", "3", "--points=8"]
    out = draw(tmp_path / "npz", snapshot, *npz, *near)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["cat_2", "cat_3"]


@pytest.mark.parametrize("use_position", [False, True])
def test_a_beginning_stands_where_it_is_on_its_page(use_position, snapshot, tmp_path):
    """Whatever the page's unit and shape; the tile that shows it shows the whole page."""
    sampler = make_sampler(make_snapshot(tmp_path, use_position=use_position), [0.1])
    pages = {  # attributes -> where the line lies, of the page's longer side, from its middle
        'width="210mm" height="297mm" viewBox="0 0 210 297"': (10.5 - 105, 29.7 - 148.5, 297),
        'width="210" height="297"': (10.5 - 105, 29.7 - 148.5, 297),
        'width="10cm" height="100mm" viewBox="0 0 400 400"': (10.5 - 200, 29.7 - 200, 400),
        'width="100%" height="100%" viewBox="0 0 900 300"': (10.5 - 450, 29.7 - 150, 900),
        'width="300" height="100" viewBox="0 0 900 300"': (10.5 - 450, 29.7 - 150, 900),
    }
    for attributes, (x, y, longer) in pages.items():
        path = '<path d="M10.5 29.7L60.5 29.7L60.5 80" fill="none" stroke="black"/>'
        (tmp_path / "a.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}>{path}</svg>')
        (prompt,) = edit.read_prompts(str(tmp_path / "a.svg"), sampler, None, None)
        unit = prompt.display[1, 0] / 50
        left_top, right_bottom = prompt.page
        first = prompt.display[0, :2] - (left_top + right_bottom) / 2  # from the middle of the page that is shown
        np.testing.assert_allclose(first / unit, (x, y), atol=0.01 * longer)
        assert (right_bottom - left_top).max() / unit == pytest.approx(longer, rel=0.01)
        if use_position:
            np.testing.assert_allclose((left_top + right_bottom) / 2, 0, atol=1e-6)
        style = pictures.make_style(300, None, None)
        ((positions, _),) = pictures.picture_lines(prompt.display, style, 9, prompt.page)
        np.testing.assert_allclose(positions[0], 150 + 300 * np.array([x, y]) / longer, atol=2)


def test_endings_are_those_of_the_training_drawings_that_fit_best():
    """Of the codes of a dozen doodles, that which a drawing was drawn from fits its beginning best."""
    model, _ = models.load_model(ROOT / "assets/pretrained")
    doodles = []
    for name in ("cat", "fish", "house", "car"):
        strokes = utils.load_strokes(ROOT / f"datasets/npz/doodle_{name}.npz")
        scale_factor = utils.get_scale_factor(strokes["train"])
        doodles += [drawing / [scale_factor, scale_factor, 1] for drawing in strokes["test"][:3]]
    codes = encode_images(model, rasterize_all(doodles, 48, 48))
    drawings = draw_codes(model, codes, np.ones(12), 60, range(12), greedy=True)
    for code, drawing in zip(codes, drawings, strict=True):
        best = edit.fitting_codes(model, drawing[: max(1, len(drawing) // 2)], codes, 15)
        np.testing.assert_array_equal(best[0], code)
        np.testing.assert_array_equal(best[:3], best[12:])  # after all of them, the first again


def test_an_unconditional_model_completes_drawings(data_dir, tmp_path):
    snapshot = make_snapshot(tmp_path / "snapshot", conditional=False)
    flags = ["--complete", "--points=8", f"--data_dir={data_dir}", "--num_drawings=2"]
    assert draw(tmp_path / "goes_on", snapshot, *flags)
    with pytest.raises(ValueError, match=r"--analogy: .* sees no images"):
        draw(tmp_path / "refused", snapshot, "--analogy", "a.png", "b.png", "c.png")


def test_a_model_that_reads_strokes_has_no_images_to_mix_or_complete(tmp_path):
    snapshot = make_snapshot(tmp_path / "snapshot", enc_model="lstm", enc_rnn_size=6)
    for flags in (["--complete"], ["--interpolate", "a.png", "b.png"]):
        with pytest.raises(ValueError, match=f"{flags[0]}: .*reads strokes"):
            draw(tmp_path / "none", snapshot, *flags)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("", "expected one of --interpolate, --analogy, --complete"),
        ("--analogy a.png b.png c.png --interpolate a.png b.png", "--interpolate and --analogy do not go together"),
        ("--analogy a.png b.png c.png --steps 3", "--steps does not go with --analogy, only with --interpolate"),
        ("--interpolate a.png b.png --points 3", "--points does not go with --interpolate, only with --complete"),
        ("--interpolate a.png b.png --steps 1", "--steps 1: expected 2 or more"),
        ("--interpolate a.png b.png --temperature 0.1 0.2", "--interpolate draws at one --temperature"),
        ("--interpolate a.png b.png --greedy --temperature 0.1", "--greedy leaves nothing to chance"),
        ("--interpolate a.png b.png --num 2", "--num does not go with --interpolate, only with --analogy or --comp"),
        ("--interpolate a.png b.png c.png", "--interpolate takes 2 or 4 images, not 3"),
        ("--interpolate a.png .", "--interpolate takes images, not directories"),
        ("--analogy a.png b.png", "--analogy takes 3 images, not 2"),
        ("--complete missing.svg", "missing.svg not found"),
        ("--complete a.png", "reads .svg, .json, .npz"),
        ("--complete empty.svg", "no visible lines"),
        ("--complete begun.svg --points 50", "expected 1 to"),
        ("--complete begun.svg --index 1", "--index 1: begun.svg has drawings 0 to 0"),
        ("--complete begun.svg --category cat", "--index does"),
        ("--complete --points 12 --like a.png", "--like goes with --complete FILE"),
        ("--complete long.json", "give fewer by --points"),
        ("--complete begun.svg --format pdf", "--format pdf: expected some of"),
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
