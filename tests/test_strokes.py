"""Stroke formats, augmentation and batches: hand-worked cases, and plain loops over points written from spec §1."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import utils
from utils import (
    DataLoader,
    augment_strokes,
    get_bounds,
    lerp,
    lines_to_strokes,
    load_dataset,
    pad_batch,
    slerp,
    strokes_to_lines,
    to_big_strokes,
    to_normal_strokes,
)

steady = settings(deadline=None, derandomize=True)  # a busy machine has no even pace

offsets = st.integers(-300, 300)  # whole numbers, so that sums are exact in any order
points = st.tuples(offsets, offsets, st.integers(0, 1))
drawings = st.lists(points, min_size=1, max_size=40).map(lambda rows: np.array(rows, np.int16))

SQUARE = np.array([[10, 0, 0], [0, 10, 0], [-10, 0, 0], [0, -10, 1]], np.int16)
TWO_LINES = np.array([[1, 2, 0], [3, 0, 1], [0, 4, 0], [5, 5, 0]], np.int16)  # the second one is not lifted


# ---- formats ---------------------------------------------------------------------------------------------------------


def test_big_strokes_of_a_case_worked_by_hand():
    wanted = [[1, 2, 1, 0, 0], [3, 0, 0, 1, 0], [0, 4, 1, 0, 0], [5, 5, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    np.testing.assert_array_equal(to_big_strokes(TWO_LINES, 6), wanted)
    np.testing.assert_array_equal(to_big_strokes(TWO_LINES, 4), wanted[:4])
    assert to_big_strokes(TWO_LINES).shape == (250, 5)
    with pytest.raises(ValueError, match="4 points does not fit into 3"):
        to_big_strokes(TWO_LINES, 3)


@steady
@given(drawings, st.integers(0, 5))
def test_big_strokes_and_back(drawing, room):
    big = to_big_strokes(drawing, len(drawing) + room)
    assert (big[:, 2:].sum(axis=1) == 1).all()
    np.testing.assert_array_equal(to_normal_strokes(big), drawing)


def test_normal_strokes_end_at_the_first_end_state():
    big = np.array([[1, 1, 1, 0, 0], [2, 2, 0, 0, 1], [3, 3, 0, 1, 0]], float)  # sampling goes on after the end
    np.testing.assert_array_equal(to_normal_strokes(big), [[1, 1, 0]])
    assert to_normal_strokes(big[1:]).shape == (0, 3)  # an end in the first row: an empty drawing


def test_lines_of_a_case_worked_by_hand():
    lines = strokes_to_lines(TWO_LINES)
    assert [line.tolist() for line in lines] == [[[1, 2], [4, 2]], [[4, 6], [9, 11]]]
    assert strokes_to_lines(np.zeros((0, 3))) == []
    wanted = TWO_LINES.copy()
    wanted[-1, 2] = 1  # a line always ends with a lifted pen
    np.testing.assert_array_equal(lines_to_strokes(lines), wanted)
    np.testing.assert_array_equal(lines_to_strokes([np.zeros((0, 2)), *lines]), wanted)
    assert lines_to_strokes([]).shape == (0, 3)


@steady
@given(drawings)
def test_lines_and_back(drawing):
    lines = strokes_to_lines(drawing)
    assert len(lines) == drawing[:, 2].sum() + (drawing[-1, 2] == 0)
    np.testing.assert_array_equal(np.concatenate(lines), np.cumsum(drawing[:, :2].astype(int), axis=0))
    lifted = drawing.copy()
    lifted[-1, 2] = 1
    np.testing.assert_array_equal(lines_to_strokes(lines), lifted)


def test_int16_offsets_do_not_wrap_around():
    far = np.array([[30_000, -30_000, 0], [30_000, -30_000, 1]], np.int16)
    assert strokes_to_lines(far)[0][-1].tolist() == [60_000, -60_000]
    assert get_bounds(far) == (0, 60_000, -60_000, 0)


def test_bounds_include_the_origin():
    assert get_bounds(SQUARE) == (0, 10, 0, 10)
    assert get_bounds(SQUARE, 0.2) == (0, 50, 0, 50)
    assert get_bounds(np.array([[-3, 5, 0], [1, 1, 1]])) == (-3, 0, 0, 6)
    assert get_bounds(np.array([[3, -5, 0], [1, 1, 1]])) == (0, 4, -5, 0)


def test_lerp_and_slerp():
    a, b = np.array([1.0, 0.0]), np.array([0.0, 2.0])
    np.testing.assert_allclose([lerp(a, b, t) for t in (0, 0.25, 1)], [[1, 0], [0.75, 0.5], [0, 2]])
    np.testing.assert_allclose([slerp(a, b, t) for t in (0, 1)], [a, b], atol=1e-12)
    # A third of the right angle: sin 60 and sin 30 of the two.
    np.testing.assert_allclose(slerp(a, b, 1 / 3), [np.sqrt(3) / 2, 1.0])
    np.testing.assert_allclose(slerp(a, 3 * a, 0.5), 2 * a)  # parallel: on the line
    assert np.isfinite(slerp(a, -a, 0.5)).all() and np.isfinite(slerp(a, 0 * a, 0.5)).all()
    rng = np.random.default_rng(0)
    c, d = (x / np.linalg.norm(x) for x in rng.normal(size=(2, 128)))
    angles = [np.arccos(np.dot(c, slerp(c, d, t))) for t in (0.25, 0.5, 1)]
    np.testing.assert_allclose(angles, [angles[2] / 4, angles[2] / 2, angles[2]])  # even steps on the sphere
    np.testing.assert_allclose(np.linalg.norm(slerp(c, d, 0.3)), 1)


# ---- augmentation ----------------------------------------------------------------------------------------------------


def augment_in_a_loop(drawing, prob, chances):
    """Spec §1, point by point; ``chances`` holds a number in [0, 1) for each point."""
    kept, in_a_row = [], 0
    for (dx, dy, lifted), chance in zip(drawing.tolist(), chances, strict=True):
        candidate = not lifted and kept and not kept[-1][2]
        in_a_row = in_a_row + 1 if candidate else 0
        if in_a_row >= 3 and chance < prob:
            kept[-1][0] += dx
            kept[-1][1] += dy
        else:
            kept.append([dx, dy, lifted])
    return np.array(kept)


def test_dropping_of_a_case_worked_by_hand():
    line = np.array([[1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0], [5, 0, 0], [6, 0, 1], [7, 0, 0], [8, 0, 1]])
    # Points 2 and 3 are the first two in a row; 4 and 5 go, their offsets to point 3; 6 is lifted, so it stays.
    wanted = [[1, 0, 0], [2, 0, 0], [12, 0, 0], [6, 0, 1], [7, 0, 0], [8, 0, 1]]
    np.testing.assert_array_equal(augment_strokes(line, 1.0, np.random.default_rng(0)), wanted)
    np.testing.assert_array_equal(augment_strokes(line, 0.0, np.random.default_rng(0)), line)
    three = np.array([[1, 1, 0]] * 3)
    np.testing.assert_array_equal(augment_strokes(three, 1.0, np.random.default_rng(0)), three)
    assert augment_strokes(np.zeros((0, 3)), 1.0, np.random.default_rng(0)).shape == (0, 3)


@steady
@given(drawings, st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_dropping_equals_the_loop_over_points(drawing, prob, seed):
    before = drawing.copy()
    found = augment_strokes(drawing, prob, np.random.default_rng(seed))
    chances = np.random.default_rng(seed).random(len(drawing))  # a number for each point, in their order
    np.testing.assert_array_equal(found, augment_in_a_loop(drawing.astype(int), prob, chances))
    np.testing.assert_array_equal(drawing, before)


@steady
@given(drawings, st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_dropping_keeps_the_drawing_in_place(drawing, prob, seed):
    found = augment_strokes(drawing, prob, np.random.default_rng(seed))
    lines, thinned = strokes_to_lines(drawing), strokes_to_lines(found)
    assert len(lines) == len(thinned)
    for line, thin in zip(lines, thinned, strict=True):
        np.testing.assert_array_equal(line[-1], thin[-1])
        # the third point gives way only to later ones, so a line begins as it did
        np.testing.assert_array_equal(line[:2], thin[:2])
        assert {tuple(p) for p in thin} <= {tuple(p) for p in line}


@steady
@given(st.lists(drawings, min_size=1, max_size=6), st.floats(0.01, 1), st.integers(0, 2**32 - 1))
def test_dropping_in_a_batch_equals_the_loop_over_drawings(batch, prob, seed):
    # A drawing that is not lifted at its end must not make the next one's first points eligible.
    loader = DataLoader(batch, batch_size=len(batch), max_seq_len=40, augment_stroke_prob=prob, seed=seed)
    found = loader.random_batch()
    rng = np.random.default_rng(seed)
    np.testing.assert_array_equal(found.indices, rng.choice(len(batch), len(batch), replace=False))
    for row, place in enumerate(found.indices):
        drawing = batch[loader.order[place]].astype(int)
        wanted = augment_in_a_loop(drawing, prob, rng.random(len(drawing)))
        assert found.lengths[row] == len(wanted)
        np.testing.assert_array_equal(found.strokes[row, 1:], to_big_strokes(wanted, 40))


def test_stretching_multiplies_each_axis_by_a_factor():
    drawing = np.array([[100, 10, 0], [-50, 20, 0], [30, -40, 1]], np.float32)
    loader = DataLoader([drawing], batch_size=1, max_seq_len=3, random_scale_factor=0.3, seed=3)
    seen = set()
    for _ in range(5):
        strokes = loader.random_batch().strokes[0, 1:]
        factors = strokes[:, :2] / drawing[:, :2]
        np.testing.assert_allclose(factors, np.tile(factors[0], [3, 1]), rtol=1e-6)
        assert (np.abs(factors - 1) <= 0.3 + 1e-6).all() and abs(factors[0, 0] - factors[0, 1]) > 1e-4
        np.testing.assert_array_equal(strokes[:, 2:], [[1, 0, 0], [1, 0, 0], [0, 1, 0]])
        seen.add(tuple(factors[0]))
    assert len(seen) == 5
    np.testing.assert_array_equal(loader.get_batch(0).strokes[0, 1:, :2], drawing[:, :2])  # the loader's own is whole
    np.testing.assert_array_equal(loader.strokes(0), drawing)


# ---- batches ---------------------------------------------------------------------------------------------------------


def numbered(lengths):
    """Drawings of these lengths, each with its number as every dx."""
    return [np.array([[i + 1, 0, 0]] * length, np.float32) for i, length in enumerate(lengths)]


@steady
@given(st.lists(drawings, min_size=1, max_size=7), st.integers(0, 3))
def test_padded_batch_equals_the_loop(batch, room):
    steps = max(map(len, batch)) + room
    found = pad_batch(np.concatenate(batch), np.array([len(drawing) for drawing in batch]), steps)
    assert found.shape == (len(batch), steps + 1, 5) and found.dtype == np.float32
    for strokes, drawing in zip(found, batch, strict=True):
        assert strokes[0].tolist() == [0, 0, 1, 0, 0]  # the start token
        for row, (dx, dy, lifted) in zip(strokes[1:], drawing.tolist(), strict=False):
            assert row.tolist() == [dx, dy, 1 - lifted, lifted, 0]
        assert strokes[len(drawing) + 1 :].tolist() == [[0, 0, 0, 0, 1]] * (steps - len(drawing))


def test_evaluation_batches_are_consecutive_in_length_order():
    lengths = [5, 2, 9, 2, 7, 1, 3]
    loader = DataLoader(numbered(lengths), batch_size=3, max_seq_len=9)
    assert len(loader) == 7 and loader.num_batches == 3
    batches = [loader.get_batch(i) for i in range(3)]
    assert [batch.strokes.shape for batch in batches] == [(3, 10, 5), (3, 10, 5), (1, 10, 5)]  # the last is kept
    assert np.concatenate([batch.lengths for batch in batches]).tolist() == [1, 2, 2, 3, 5, 7, 9]
    # drawings of one length stay in the order given
    assert np.concatenate([batch.strokes[:, 1, 0] for batch in batches]).tolist() == [6, 2, 4, 7, 1, 5, 3]
    assert np.concatenate([batch.indices for batch in batches]).tolist() == list(range(7))
    for i in (-1, 3):
        with pytest.raises(IndexError):
            loader.get_batch(i)


def test_longest_drawing_of_all_never_sees_its_end():
    # The original's padding: rows 1 ... T are targets, and the longest drawing's points fill them all.
    batch = DataLoader(numbered([4, 2]), batch_size=2, max_seq_len=4).get_batch(0)
    assert batch.strokes[:, 1:, 4].sum(axis=1).tolist() == [2, 0]


@pytest.mark.parametrize(
    "name, category", [("cat.npz", "cat"), ("cat", "cat"), ("v1.cat.npz", "v1.cat"), ("a.b", "a.b")]
)
def test_category_names_keep_their_dots(name, category):
    assert utils.category_name(name) == category
    assert utils.npz_path("data", name).name == f"{category}.npz"


def test_packing_nothing():
    packed = utils.PackedStrokes.pack([])
    assert len(packed.starts) == len(packed.lengths) == 0 and packed.longer_sides().size == 0


def test_batches_that_skip_padding_reach_one_row_beyond_their_longest():
    loader = DataLoader(numbered([2, 9, 4, 3]), batch_size=2, max_seq_len=9, skip_padding=True)
    assert [loader.get_batch(i).strokes.shape for i in range(2)] == [(2, 3 + 2, 5), (2, 9 + 2, 5)]  # + start and end
    assert (loader.get_batch(1).strokes[:, -1] == [0, 0, 0, 0, 1]).all()
    for _ in range(10):
        batch = loader.random_batch()
        assert batch.strokes.shape[1] == batch.lengths.max() + 2


@pytest.mark.parametrize("skip_padding", [True, False])
@pytest.mark.parametrize("count, batch_size", [(23, 5), (7, 4), (90, 3), (5, 5), (1, 1)])
def test_training_batches_are_distinct_and_reach_every_drawing(skip_padding, count, batch_size):
    lengths = np.random.default_rng(count).integers(1, 30, count)
    loader = DataLoader(numbered(lengths), batch_size=batch_size, max_seq_len=30, skip_padding=skip_padding, seed=2)
    seen = np.zeros(count, int)
    for _ in range(600):
        batch = loader.random_batch()
        assert len(set(batch.indices)) == batch_size == len(batch.strokes)
        assert batch.strokes[:, 1, 0].tolist() == (loader.order[batch.indices] + 1).tolist()
        seen[batch.indices] += 1
    # Every drawing as often as the others: mean 600 batch_size / count >= 20, and 6 standard deviations of it.
    mean = 600 * batch_size / count
    assert seen.min() >= 1 and np.abs(seen - mean).max() <= 6 * np.sqrt(mean)


@pytest.mark.parametrize("skip_padding", [True, False])
def test_fewer_drawings_than_a_batch(skip_padding):
    loader = DataLoader(numbered([3, 1, 2]), batch_size=100, max_seq_len=3, skip_padding=skip_padding)
    assert loader.num_batches == 1
    assert loader.get_batch(0).lengths.tolist() == [1, 2, 3]
    assert sorted(loader.random_batch().indices) == [0, 1, 2]


def test_training_batches_come_from_the_seed_or_the_generator_given():
    def make(seed):
        return DataLoader(numbered([3] * 50), batch_size=5, max_seq_len=3, random_scale_factor=0.2, seed=seed)

    first, same, other = make(1), make(1), make(2)
    for _ in range(3):
        batch = first.random_batch()
        np.testing.assert_array_equal(batch.strokes, same.random_batch().strokes)
        assert np.abs(batch.strokes - other.random_batch().strokes).max() > 0
    given = [first.random_batch(np.random.default_rng(9)).strokes for _ in range(2)]
    np.testing.assert_array_equal(*given)  # a function of the generator alone


def test_bitmaps_stay_with_their_strokes_and_are_not_augmented():
    lengths = [5, 2, 9, 4, 4, 30]
    images = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((6, 3, 4), np.uint8) + 200
    loader = DataLoader(
        numbered(lengths),
        images,
        np.arange(6) * 10,
        batch_size=6,
        max_seq_len=30,
        random_scale_factor=0.15,
        augment_stroke_prob=0.9,
    )
    for batch in (loader.get_batch(0), loader.random_batch(), loader.random_batch()):
        assert batch.images.shape == (6, 3, 4, 1) and batch.images.dtype == np.float32
        numbers = loader.order[batch.indices]
        np.testing.assert_array_equal(batch.images, images[numbers][..., None])  # 0..255, not a changed pixel
        np.testing.assert_array_equal(loader.labels[batch.indices], numbers * 10)
        drawn = batch.strokes[:, 1, 0] / (numbers + 1)  # every first dx is the number + 1, stretched or not
        assert (np.abs(drawn - 1) <= 0.15 + 1e-6).all()


def positions(rows):
    """Stroke-5 ``[T, 5]`` without start token and end states -> absolute positions."""
    return np.cumsum(rows[rows[:, 4] == 0, :2], axis=0, dtype=np.float64)


def extents(places):
    return places.max(axis=0) - places.min(axis=0)


def recording_draw(seen):
    def draw(drawings, labels):
        seen.append(([np.array(drawing) for drawing in drawings], labels))
        return np.arange(len(drawings), dtype=np.uint8)[:, None, None] + np.zeros((1, 2, 3), np.uint8)

    return draw


@pytest.mark.parametrize("seed", range(3))
def test_turned_drawings_keep_angles_and_longer_side_and_are_drawn_as_they_are(seed):
    seen, zigzag = [], np.array([[0, 0, 0], [30, 5, 0], [-4, 20, 1], [10, -13, 0], [6, 6, 1]], np.int16)
    loader = DataLoader(
        [zigzag] * 40, labels=np.arange(40), max_seq_len=9, random_rotation=20.0, draw=recording_draw(seen), seed=seed
    )
    batch = loader.random_batch()
    [(drawings, labels)] = seen
    np.testing.assert_array_equal(labels, loader.labels[batch.indices])
    np.testing.assert_array_equal(batch.images[:, 0, 0, 0], np.arange(40))  # in the order that they were drawn in
    before = np.cumsum(zigzag[:, :2], axis=0)
    turns = []
    for rows, drawing in zip(batch.strokes[:, 1:], drawings, strict=True):
        after = positions(rows)
        np.testing.assert_allclose(np.cumsum(drawing[:, :2], axis=0), after, atol=1e-4)
        assert extents(after).max() == pytest.approx(extents(before).max(), rel=1e-5)
        ratio = (after[1:] - after[0]) @ [1, 1j] / ((before[1:] - before[0]) @ [1, 1j])
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)  # one and the same turn and scale of all points
        turns.append(np.degrees(np.angle(ratio[0])))
    assert np.abs(turns).max() <= 20.0 and np.min(turns) < -12 and np.max(turns) > 12


def test_mirrored_drawings_are_mirrored_left_to_right():
    loader = DataLoader(
        [SQUARE * [1, 2, 1]] * 200, batch_size=200, max_seq_len=9, mirror_prob=0.3, draw=recording_draw([])
    )
    strokes = loader.random_batch().strokes[:, 1:5]
    np.testing.assert_array_equal(np.abs(strokes[:, :, :2]), np.abs(np.tile(SQUARE[:, :2] * [1, 2], [200, 1, 1])))
    np.testing.assert_array_equal(strokes[:, 1, 1], 20)  # never upside down
    assert 0.2 < np.mean(strokes[:, 0, 0] < 0) < 0.4


def test_augmented_drawings_are_centred_anew():
    seen, corner = [], np.array([[7, 7, 0], [40, 0, 0], [0, 10, 1]], np.int16)
    loader = DataLoader([corner] * 20, max_seq_len=9, random_rotation=30.0, draw=recording_draw(seen), centred=True)
    for rows in loader.random_batch().strokes[:, 1:]:
        places = positions(rows)
        np.testing.assert_allclose(places.max(axis=0), -places.min(axis=0), atol=1e-4)


@steady
@given(st.lists(drawings, min_size=1, max_size=6))
def test_centred_drawings_begin_at_the_centre_of_their_bounds(batch):
    loader = DataLoader(batch, batch_size=len(batch), max_seq_len=40, centred=True)
    for place, index in enumerate(loader.order):
        found, given = loader.strokes(place), batch[index]
        np.testing.assert_array_equal(found[1:], given[1:])  # only the first offset differs
        if len(given) > 1:  # a single point stays where it is
            positions = np.cumsum(found[:, :2].astype(float), axis=0)
            np.testing.assert_array_equal(positions.min(axis=0), -positions.max(axis=0))


# ---- data sets -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Settings:
    """What ``load_dataset`` reads of the hyper-parameters, without TensorFlow."""

    data_set: list
    conditional: bool = True
    img_H: int = 2
    img_W: int = 3
    max_seq_len: int = 250
    batch_size: int = 4
    random_scale_factor: float = 0.15
    augment_stroke_prob: float = 0.10
    random_rotation: float = 0.0
    mirror_prob: float = 0.0
    augment_bitmaps: bool = False
    skip_padding: bool = False
    pen_position: bool = False
    seed: int = 1

    def replace(self, **changes):
        return dataclasses.replace(self, **changes)


def object_array(drawings):
    array = np.empty(len(drawings), object)
    array[:] = drawings
    return array


def random_splits(rng, *lengths, dtype=np.int16):
    """train, valid and test drawings of the given lengths."""
    return {
        split: [np.column_stack([rng.integers(-90, 90, (n, 2)), rng.integers(0, 2, n)]).astype(dtype) for n in of_split]
        for split, of_split in zip(utils.SPLITS, lengths, strict=True)
    }


def write_category(data_dir, name, strokes, size=(2, 3)):
    """Strokes, and bitmaps whose every pixel is the drawing's place in its split."""
    npz, bitmap = utils.npz_path(data_dir, name), utils.bitmap_path(data_dir, name, *size)
    for path in (npz, bitmap):
        path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(npz, **{split: object_array(of_split) for split, of_split in strokes.items()})
    images = {
        split: np.arange(len(of_split), dtype=np.uint8)[:, None, None] * np.ones(size, np.uint8)
        for split, of_split in strokes.items()
    }
    np.savez(bitmap, digest=utils.strokes_digest(strokes), **images)


def test_scale_factor_is_that_of_the_pooled_training_split(tmp_path):
    rng = np.random.default_rng(1)
    a, b = random_splits(rng, [5, 3, 9], [4, 6], [7]), random_splits(rng, [12, 2], [3], [8, 1], dtype=np.float64)
    for drawing in b["train"]:
        drawing[:, :2] *= 3.7  # categories of unlike size, neither of them centred
        drawing[:, 0] += 11
    write_category(tmp_path, "a.npz", a)
    write_category(tmp_path, "b.npz", b)
    train, valid, test, hps = load_dataset(tmp_path, Settings(["a.npz", "b.npz"]))
    pooled = np.concatenate([drawing[:, :2].ravel() for drawing in a["train"] + b["train"]])
    scale = np.sqrt(np.mean((pooled - pooled.mean()) ** 2))  # dx and dy together, about their mean
    assert hps.max_seq_len == 12 and train.skipped == 0
    for loader, split in ((train, "train"), (valid, "valid"), (test, "test")):
        assert loader.scale_factor == pytest.approx(scale, rel=1e-6)
        given = a[split] + b[split]
        labels = [0] * len(a[split]) + [1] * len(b[split])
        places = list(range(len(a[split]))) + list(range(len(b[split])))
        order = sorted(range(len(given)), key=lambda i: len(given[i]))  # stable: by length, then as given
        assert loader.max_seq_len == 12 and len(loader) == len(given)
        assert loader.labels.tolist() == [labels[i] for i in order]
        for row, i in enumerate(order):
            wanted = given[i].astype(float)
            np.testing.assert_allclose(loader.strokes(row), wanted / [scale, scale, 1], rtol=1e-5)
            assert (loader.images[row] == places[i]).all()  # each category's own bitmaps
    assert np.std(np.concatenate([train.strokes(i)[:, :2] for i in range(len(train))])) == pytest.approx(1, rel=1e-5)
    alone = {name: np.std(np.concatenate([d[:, :2] for d in s["train"]])) for name, s in (("a", a), ("b", b))}
    assert train.category_scale_factors == pytest.approx(alone, rel=1e-6)
    assert (train.random_scale_factor, train.augment_stroke_prob) == (0.15, 0.10)
    for loader in (valid, test):
        assert (loader.random_scale_factor, loader.augment_stroke_prob) == (0, 0)


def test_offsets_are_clamped_before_the_scale_is_taken(tmp_path):
    drawing = np.array([[5000, -3, 0], [-1000, 1000, 0], [2, -32768, 1]], np.int16)
    strokes = {"train": [drawing], "valid": [drawing], "test": [drawing]}
    write_category(tmp_path, "wild", strokes)
    train, valid, *_ = load_dataset(tmp_path, Settings(["wild"]))
    clamped = np.array([[1000, -3], [-1000, 1000], [2, -1000]])
    assert train.scale_factor == pytest.approx(np.std(clamped), rel=1e-6)
    for loader in (train, valid):
        np.testing.assert_allclose(loader.strokes(0)[:, :2] * train.scale_factor, clamped, rtol=1e-5)


def test_longer_drawings_are_skipped_and_counted(tmp_path):
    rng = np.random.default_rng(2)
    strokes = random_splits(rng, [5, 30, 8, 31], [9, 40, 2], [7, 3])
    write_category(tmp_path, "a", strokes)
    train, valid, test, hps = load_dataset(tmp_path, Settings(["a"], max_seq_len=30))
    assert hps.max_seq_len == 30 and train.skipped == 2  # over all splits
    assert [len(loader) for loader in (train, valid, test)] == [3, 2, 2]
    assert train.images[:, 0, 0].tolist() == [0, 2, 1]  # bitmaps keep to their drawings
    fitting = np.concatenate([strokes["train"][i][:, :2].ravel() for i in (0, 1, 2)])
    assert train.scale_factor == pytest.approx(np.std(fitting.astype(float)), rel=1e-6)
    *_, hps = load_dataset(tmp_path, Settings(["a"], max_seq_len=20))
    assert hps.max_seq_len == 9  # the longest that is left, in any split
    with pytest.raises(ValueError, match="no train drawing of 4 points or fewer"):
        load_dataset(tmp_path, Settings(["a"], max_seq_len=4))


def test_unconditional_training_needs_no_bitmaps(tmp_path):
    write_category(tmp_path, "a", random_splits(np.random.default_rng(3), [5], [4], [3]))
    utils.bitmap_path(tmp_path, "a", 2, 3).unlink()
    with pytest.raises(FileNotFoundError, match="render_svg2bitmap"):
        load_dataset(tmp_path, Settings(["a"]))
    for arguments in ({"hps": Settings(["a"], conditional=False)}, {"hps": Settings(["a"]), "images": False}):
        train, *_ = load_dataset(tmp_path, **arguments)
        assert train.get_batch(0).strokes.shape == (1, 6, 5)


def test_bitmaps_of_other_strokes_are_refused(tmp_path):
    rng = np.random.default_rng(4)
    write_category(tmp_path, "a", random_splits(rng, [5, 6], [4], [3]))
    other = random_splits(rng, [5, 6], [4], [3])
    np.savez(utils.npz_path(tmp_path, "a"), **{split: object_array(of_split) for split, of_split in other.items()})
    with pytest.raises(ValueError, match="other strokes"):
        load_dataset(tmp_path, Settings(["a"]))
