"""Ink-guided sampling: what a stroke is worth, which candidate is kept, and drawings that end."""

import numpy as np
import pytest
import tensorflow as tf
from miniatures import make_model

import sketch_pix2seq_sampling
from guide import Page, Verdict, draw_guided
from sampler import draw_codes, encode_images

RNG = np.random.default_rng(0)


def page_of(lines: list[tuple], side: int = 48) -> Page:
    """A page with straight, one pixel wide lines: (y, x0, x1) each."""
    image = np.full((1, side, side), 255, np.uint8)
    for y, x0, x1 in lines:
        image[0, y, x0:x1] = 0
    return Page(image)


def judge(page: Page, *lines: list[tuple]) -> Verdict:
    """Lines of (x, y) on the first page; a point is at the centre of its pixel."""
    return page.judge(np.zeros(len(lines), int), [np.array(line, float) + 0.5 for line in lines])


@pytest.mark.parametrize("side", [48, 96])
def test_a_line_is_worth_the_ink_that_it_covers(side):
    times = side // 48
    page = page_of([(10 * times, 10 * times, 30 * times)], side)
    along = [(10 * times, 10 * times), (30 * times - 1, 10 * times)]
    verdict = judge(page, along, [along[0], (20 * times - 2, 10 * times)])
    whole, half = verdict.score
    assert whole == pytest.approx(20, rel=0.1)  # in pixels of 48
    assert half == pytest.approx(whole / 2, rel=0.15)
    assert (verdict.on_ink == 1).all() and not verdict.again.any()


def test_ink_counts_once_and_what_is_off_it_costs():
    page = page_of([(10, 10, 30)])
    along, away = [(10, 10), (29, 10)], [(10, 30), (29, 30)]
    alone = judge(page, along, away)
    assert alone.score[1] <= 0 and alone.on_ink[1] == 0 and alone.count[1] == 1  # better not drawn at all
    page.cover(np.zeros(1, int), [np.array(along) + 0.5])
    assert not page.pieces_left(0).any()
    again = judge(page, along)
    assert again.score[0] < 0 and again.again[0] == 1


def test_a_stroke_is_cut_where_it_goes_astray_or_turns_back():
    page = page_of([(10, 10, 30)])
    astray = [(10, 10), (20, 10), (29, 10), (29, 20), (29, 40)]
    back = [(10, 10), (29, 10), (10, 10), (29, 10)]
    whole = [(10, 10), (20, 10), (29, 10)]
    verdict = judge(page, astray, back, whole)
    assert verdict.count.tolist() == [3, 2, 3] and not verdict.first.any()


def test_a_stroke_is_cut_where_it_begins_astray():
    page = page_of([(10, 10, 30)])
    verdict = judge(page, [(10, 45), (10, 15), (10, 10), (20, 10), (29, 10)], [(10, 10), (29, 10)])
    assert verdict.first.tolist() == [2, 0] and verdict.count.tolist() == [5, 2]
    outside = judge(page, [(-9, 60), (10, 10), (29, 10)])
    assert outside.first.tolist() == [1] and outside.on_ink[0] == 1


def test_the_first_that_is_good_enough_is_kept_else_the_best():
    fields = {"first": np.zeros(4, int), "count": np.ones(4, int), "on_ink": np.ones(4), "again": np.zeros(4)}
    assert Verdict(score=np.array([0.5, 3.0, 9.0, 2.0]), **fields).choose(4).tolist() == [1]
    astray = fields | {"on_ink": np.array([1, 0.5, 0.5, 0.5])}
    assert Verdict(score=np.array([0.5, 3.0, 9.0, 2.0]), **astray).choose(4).tolist() == [2]
    assert Verdict(score=np.array([0.5, 0.0, -9.0, -np.inf]), **fields).choose(4).tolist() == [-1]
    assert Verdict(score=np.array([0.5, 3.0, 9.0, 2.0]), **fields).choose(2).tolist() == [1, 0]


@pytest.mark.parametrize("side", [48, 96])
def test_a_line_is_moved_onto_the_middle_of_its_ink_and_keeps_its_ends(side):
    unit = side // 48
    image = np.full((1, side, side), 255, np.uint8)
    image[0, 10 * unit : 12 * unit, 4 * unit : 44 * unit] = 0  # its middle is at 11 units
    image[0, 46 * unit : 47 * unit, 4 * unit : 44 * unit] = 0
    page = Page(image)
    beside = np.array([[8.0, 9.6], [20.0, 12.4], [40.0, 10.2]]) * unit
    fitted = page.fit(0, beside)
    before, after = (np.abs(line[:, 1] - 11 * unit).mean() for line in (beside, fitted))
    assert after < before / 2
    moved = (fitted - beside)[:, 0] / unit  # its ends go on along the ink, and are not shortened to what is near
    assert -2.3 < moved[0] < 0.3 and abs(moved[1]) < 0.3 and -0.3 < moved[2] < 2.3
    for ends in ([5.0, 42.5], [0.5, 47.5]):  # too short, and too long
        line = np.array([[x, 11.0] for x in ends]) * unit
        np.testing.assert_allclose(page.fit(0, line)[:, 0], [4 * unit, 44 * unit], atol=0.5)
    beyond = page.fit(0, np.array([[8.0, 30.0], [47.0, 2.0], [40.0, 30.0]]) * unit)
    np.testing.assert_allclose(beyond[1], np.array([44.0, 10.0]) * unit)  # of what there is
    far, dot = np.array([[8.0, 30.0], [40.0, 30.0]]) * unit, np.array([[9.0, 20.0]]) * unit
    np.testing.assert_array_equal(page.fit(0, far), far)
    np.testing.assert_array_equal(page.fit(0, dot), dot)
    assert np.isfinite(Page(np.full_like(image, 255)).fit(0, beside)).all()


def test_strokes_begin_at_ink_that_is_left_and_worth_one():
    page = page_of([(20, 20, 63), (80, 10, 30), (90, 60, 61)], 96)  # the last one is a speck
    page.cover(np.zeros(1, int), [np.array([[20.5, 20.5], [60.5, 20.5]])])  # leaves a sliver at the line's end
    places = page.places_to_begin(0, np.array([58.0, 20.0]), 20, RNG)
    x, y = places.astype(int).T
    assert (y == 80).all() and ((x >= 10) & (x < 30)).all() and len(set(x)) > 1


@pytest.mark.parametrize("side", [48, 96])
def test_the_last_digits_of_a_line_do_not_decide_where_it_ends(side):
    image = np.full((1, side, side), 255, np.uint8)
    image[0, 2:-2, 10:13] = 0
    page, rng = Page(image), np.random.default_rng(0)
    for _ in range(50):
        begin = np.array([11.5, side / 2 + 0.5])  # of a pixel, as strokes are told to begin
        line = np.stack([begin, begin + rng.normal(size=2) * [0.1, 2.0]])
        nearly = line + rng.normal(scale=1e-7, size=line.shape)
        np.testing.assert_allclose(page.fit(0, nearly), page.fit(0, line), atol=1e-4)


PIXELS = {
    "use_position": True,
    "drawing_extent": 10.0,
    "pixel_features": 8,
    "enc_model": "deep_cnn",
    "enc_filters": [2],
}


@pytest.fixture(
    params=[PIXELS, {"use_position": True}, {}, {"dec_model": "hyper"}], ids=["pixels", "position", "paper", "hyper"]
)
def model(request):
    return make_model(**{"dec_model": "lstm", "img_H": 48, "img_W": 48} | request.param)[0]


def images_of(count: int) -> np.ndarray:
    images = np.full((count, 48, 48), 255, np.uint8)
    for n in range(count):
        images[n, 5 + n : 40, 5 + 3 * n] = images[n, 20, 5:44] = 0
    return images


def draw(model, images, seeds, candidates=4, seq_len=60, pen_temperature=None):
    code = encode_images(model, images)
    code = model.make_code(tf.constant(code), images) if model.reads_pixels else model.as_code(code, len(images))
    return draw_guided(model, code, images, candidates, 0.5, pen_temperature, seq_len, seeds)


def test_drawings_end_and_depend_on_nothing_but_their_own(model):
    images, seeds = images_of(4), [(1, n) for n in range(4)]
    drawings = draw(model, images, seeds)
    assert any(len(drawing) for drawing in drawings)
    for drawing in drawings:
        assert len(drawing) <= 60 and np.isfinite(drawing).all()
        assert set(np.unique(drawing[:, 2])) <= {0.0, 1.0} and (
            not len(drawing) or drawing[-1, 2] == 1 or len(drawing) == 60
        )
    alone = draw(model, images[1:3], seeds[1:3])
    for one, other in zip(alone, drawings[1:3], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    other = draw(model, images, [(2, n) for n in range(4)])
    assert any(one.shape != two.shape or not np.allclose(one, two) for one, two in zip(drawings, other, strict=True))


@pytest.mark.parametrize("grey", [0, 255])
def test_a_page_all_black_or_blank_ends(grey):
    model, _ = make_model(**{"dec_model": "lstm", "img_H": 48, "img_W": 48} | PIXELS)
    drawings = draw(model, np.full((2, 48, 48), grey, np.uint8), [1, 2])
    assert all(len(drawing) <= 60 for drawing in drawings)


def test_a_model_that_reads_strokes_has_no_bitmap_to_be_guided_by():
    model, _ = make_model(dec_model="lstm", enc_model="lstm", enc_rnn_size=4)
    with pytest.raises(ValueError, match=r"--guide: .* reads strokes"):
        draw_codes(model, np.zeros((2, 4)), np.full(2, 0.5), 20, [1, 2], guide=4)


def test_flags(tmp_path):
    for flags, words in {
        "--image x.png --guide 0": "--guide 0: expected 1 or more",
        "--image x.png --greedy --guide 4": "no --guide",
        "--unconditional --guide 4": "--guide does not go with --unconditional",
        "--image x.png --pen_temperature 0": "--pen_temperature 0.0: expected a number above 0",
    }.items():
        with pytest.raises(ValueError, match=words):
            sketch_pix2seq_sampling.main([*flags.split(), f"--sampling_dir={tmp_path}"])
