"""Stroke formats, augmentation and batches: hand-worked cases, and plain loops over points written from spec §1."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitmaps
import utils
from hparams import HParams
from utils import (
    OFFSET_LIMIT,
    Batch,
    DataLoader,
    PackedStrokes,
    augment_strokes,
    get_bounds,
    get_scale_factor,
    lerp,
    lines_to_strokes,
    load_dataset,
    npz_path,
    save_strokes,
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
    expected = [[1, 2, 1, 0, 0], [3, 0, 0, 1, 0], [0, 4, 1, 0, 0], [5, 5, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    np.testing.assert_array_equal(to_big_strokes(TWO_LINES, 6), expected)
    np.testing.assert_array_equal(to_big_strokes(TWO_LINES, 4), expected[:4])
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
    expected = TWO_LINES.copy()
    expected[-1, 2] = 1  # a line always ends with a lifted pen
    np.testing.assert_array_equal(lines_to_strokes(lines), expected)
    np.testing.assert_array_equal(lines_to_strokes([np.zeros((0, 2)), *lines]), expected)
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
    retained, in_a_row = [], 0
    for (dx, dy, lifted), chance in zip(drawing.tolist(), chances, strict=True):
        candidate = not lifted and retained and not retained[-1][2]
        in_a_row = in_a_row + 1 if candidate else 0
        if in_a_row >= 3 and chance < prob:
            retained[-1][0] += dx
            retained[-1][1] += dy
        else:
            retained.append([dx, dy, lifted])
    return np.array(retained)


def test_dropping_of_a_case_worked_by_hand():
    line = np.array([[1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0], [5, 0, 0], [6, 0, 1], [7, 0, 0], [8, 0, 1]])
    # Points 2 and 3 are the first two in a row; 4 and 5 go, their offsets to point 3; 6 is lifted, so it stays.
    expected = [[1, 0, 0], [2, 0, 0], [12, 0, 0], [6, 0, 1], [7, 0, 0], [8, 0, 1]]
    np.testing.assert_array_equal(augment_strokes(line, 1.0, np.random.default_rng(0)), expected)
    np.testing.assert_array_equal(augment_strokes(line, 0.0, np.random.default_rng(0)), line)
    three = np.array([[1, 1, 0]] * 3)
    np.testing.assert_array_equal(augment_strokes(three, 1.0, np.random.default_rng(0)), three)
    assert augment_strokes(np.zeros((0, 3)), 1.0, np.random.default_rng(0)).shape == (0, 3)


@steady
@given(drawings, st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_dropping_equals_the_loop_over_points(drawing, prob, seed):
    before = drawing.copy()
    thinned = augment_strokes(drawing, prob, np.random.default_rng(seed))
    chances = np.random.default_rng(seed).random(len(drawing))  # a number for each point, in their order
    np.testing.assert_array_equal(thinned, augment_in_a_loop(drawing.astype(int), prob, chances))
    np.testing.assert_array_equal(drawing, before)


@steady
@given(drawings, st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_dropping_keeps_the_drawing_in_place(drawing, prob, seed):
    lines = strokes_to_lines(drawing)
    thinned = strokes_to_lines(augment_strokes(drawing, prob, np.random.default_rng(seed)))
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
    thinned = loader.random_batch()
    rng = np.random.default_rng(seed)
    np.testing.assert_array_equal(thinned.indices, rng.choice(len(batch), len(batch), replace=False))
    for actual, index in zip(split(thinned), thinned.indices, strict=True):
        drawing = batch[loader.order[index]].astype(int)
        np.testing.assert_array_equal(actual, augment_in_a_loop(drawing, prob, rng.random(len(drawing))))


def test_stretching_multiplies_each_axis_by_a_factor():
    drawing = np.array([[100, 10, 0], [-50, 20, 0], [30, -40, 1]], np.float32)
    loader = DataLoader([drawing], batch_size=1, max_seq_len=3, random_scale_factor=0.3, seed=3)
    seen = set()
    for _ in range(5):
        strokes = loader.random_batch().points
        factors = strokes[:, :2] / drawing[:, :2]
        np.testing.assert_allclose(factors, np.tile(factors[0], [3, 1]), rtol=1e-6)
        assert (np.abs(factors - 1) <= 0.3 + 1e-6).all() and abs(factors[0, 0] - factors[0, 1]) > 1e-4
        np.testing.assert_array_equal(strokes[:, 2], [0, 0, 1])
        seen.add(tuple(factors[0]))
    assert len(seen) == 5
    np.testing.assert_array_equal(loader.get_batch(0).points, drawing)  # the loader's own is whole
    np.testing.assert_array_equal(loader.strokes(0), drawing)


# ---- batches ---------------------------------------------------------------------------------------------------------


def numbered(lengths):
    """Drawings of these lengths, each with its number as every dx."""
    return [np.array([[i + 1, 0, 0]] * length, np.float32) for i, length in enumerate(lengths)]


def split(batch) -> list[np.ndarray]:
    """The drawings ``[n, 3]`` of a batch, or of PackedStrokes."""
    return np.split(batch.points, np.cumsum(batch.lengths)[:-1])


@steady
@given(st.lists(drawings, min_size=1, max_size=7), st.data())
def test_packed_drawings_equal_those_packed(batch, data):
    packed = PackedStrokes.pack(batch)
    assert packed.points.dtype == np.float32 and packed.lengths.tolist() == [len(drawing) for drawing in batch]
    indices = data.draw(st.lists(st.integers(0, len(batch) - 1), max_size=9))
    some = packed.gather(np.array(indices, int))
    for several, originals in ((packed, batch), (some, [batch[i] for i in indices])):
        assert len(several.drawings()) == len(originals)
        for actual, expected in zip(several.drawings(), originals, strict=True):
            np.testing.assert_array_equal(actual, expected)
    twice = PackedStrokes.concatenate([packed, some])
    assert twice.lengths.tolist() == [*packed.lengths, *some.lengths] and len(twice.points) == twice.lengths.sum()
    np.testing.assert_array_equal(twice.drawings()[0], batch[0])
    again = PackedStrokes.from_packed(packed.points, packed.lengths)
    assert again.points is packed.points and again.starts.tolist() == packed.starts.tolist()


@steady
@given(st.lists(drawings, min_size=1, max_size=7))
def test_bounds_of_packed_drawings_equal_the_loop(batch):
    packed = PackedStrokes.pack(batch)
    for low, high, extent, drawing in zip(*packed.bounds(), packed.max_extent(), batch, strict=True):
        positions = np.cumsum(drawing[:, :2].astype(int), axis=0)
        positions -= positions[0]  # seen from its first point
        np.testing.assert_array_equal([low, high], [positions.min(axis=0), positions.max(axis=0)])
        assert extent == np.ptp(positions, axis=0).max()


def test_packing_nothing():
    packed = PackedStrokes.pack([])
    assert len(packed.starts) == len(packed.lengths) == packed.max_extent().size == 0
    assert packed.drawings() == [] and packed.points.shape == (0, 3) and packed.offset_moments() == (0, 0.0, 0.0)
    assert len(PackedStrokes.pack([SQUARE]).gather(np.array([], int)).points) == 0


def test_offsets_are_clamped_before_they_overflow():
    far = np.array([[1e300, -1e300, 0], [np.finfo(np.float64).max, 5, 1]])
    points = PackedStrokes.pack([far]).points
    np.testing.assert_array_equal(points[:, :2], [[OFFSET_LIMIT, -OFFSET_LIMIT], [OFFSET_LIMIT, 5]])


def test_nothing_to_scale_by_is_named():
    assert get_scale_factor([SQUARE]) == pytest.approx(np.std(SQUARE[:, :2]))
    for drawings_without_lines in ([], [np.array([[0, 0, 1]])]):
        with pytest.raises(ValueError, match="no drawing with a line"):
            get_scale_factor(drawings_without_lines)


def test_shards_of_a_batch_hold_every_nth_drawing():
    lengths = np.array([3, 1, 4, 2, 5], np.int32)
    points = np.concatenate([np.full((n, 3), i, np.float32) for i, n in enumerate(lengths)])
    batch = Batch(points, lengths, np.arange(5, dtype=np.uint8)[:, None, None], np.arange(5) * 10, points[:, 0] > 1)
    shards = [batch.shard(i, 2) for i in range(2)]
    for shard, of_shard in zip(shards, ([0, 2, 4], [1, 3]), strict=True):
        assert shard.lengths.tolist() == lengths[of_shard].tolist() and shard.lengths.dtype == np.int32
        assert shard.points[:, 0].tolist() == np.repeat(of_shard, lengths[of_shard]).tolist()
        assert shard.learned.tolist() == (shard.points[:, 0] > 1).tolist() and shard.learned.dtype == bool
        assert shard.images[:, 0, 0].tolist() == of_shard and shard.indices.tolist() == [10 * i for i in of_shard]
    assert batch.shard(0, 1).points.tolist() == points.tolist() and len(batch.shard(5, 6).lengths) == 0


def test_evaluation_batches_are_consecutive_in_length_order():
    lengths = [5, 2, 9, 2, 7, 1, 3]
    loader = DataLoader(numbered(lengths), batch_size=3, max_seq_len=9)
    assert len(loader) == 7 and loader.num_batches == 3
    batches = [loader.get_batch(i) for i in range(3)]
    assert [len(batch.lengths) for batch in batches] == [3, 3, 1]  # the last is not dropped
    assert all(batch.points.dtype == np.float32 and batch.lengths.dtype == np.int32 for batch in batches)
    assert np.concatenate([batch.lengths for batch in batches]).tolist() == [1, 2, 2, 3, 5, 7, 9]
    # drawings of one length stay in the order given
    assert [strokes[0, 0] for batch in batches for strokes in split(batch)] == [6, 2, 4, 7, 1, 5, 3]
    assert np.concatenate([batch.indices for batch in batches]).tolist() == list(range(7))
    for i in (-1, 3):
        with pytest.raises(IndexError):
            loader.get_batch(i)


@pytest.mark.parametrize(
    "name, category", [("cat.npz", "cat"), ("cat", "cat"), ("v1.cat.npz", "v1.cat"), ("a.b", "a.b")]
)
def test_category_names_keep_their_dots(name, category):
    assert utils.category_name(name) == category
    assert npz_path("data", name).name == f"{category}.npz"


@pytest.mark.parametrize("count, batch_size", [(23, 5), (7, 4), (90, 3), (5, 5), (1, 1)])
def test_training_batches_are_distinct_and_reach_every_drawing(count, batch_size):
    lengths = np.random.default_rng(count).integers(1, 30, count)
    loader = DataLoader(numbered(lengths), batch_size=batch_size, max_seq_len=30, seed=2)
    seen = np.zeros(count, int)
    for _ in range(600):
        batch = loader.random_batch()
        assert len(set(batch.indices)) == batch_size == len(batch.lengths)
        assert [strokes[0, 0] for strokes in split(batch)] == (loader.order[batch.indices] + 1).tolist()
        seen[batch.indices] += 1
    # Every drawing as often as the others: mean 600 batch_size / count >= 20, and 6 standard deviations of it.
    mean = 600 * batch_size / count
    assert seen.min() >= 1 and np.abs(seen - mean).max() <= 6 * np.sqrt(mean)


def test_fewer_drawings_than_a_batch():
    loader = DataLoader(numbered([3, 1, 2]), batch_size=100, max_seq_len=3)
    assert loader.num_batches == 1
    assert loader.get_batch(0).lengths.tolist() == [1, 2, 3]
    assert sorted(loader.random_batch().indices) == [0, 1, 2]


def test_training_batches_come_from_the_seed_or_the_generator_given():
    def make(seed):
        return DataLoader(numbered([3] * 50), batch_size=5, max_seq_len=3, random_scale_factor=0.2, seed=seed)

    first, same, other = make(1), make(1), make(2)
    for _ in range(3):
        batch = first.random_batch()
        np.testing.assert_array_equal(batch.points, same.random_batch().points)
        assert np.abs(batch.points - other.random_batch().points).max() > 0
    given = [first.random_batch(np.random.default_rng(9)).points for _ in range(2)]
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
        assert batch.images.shape == (6, 3, 4) and batch.images.dtype == np.uint8
        numbers = loader.order[batch.indices]
        np.testing.assert_array_equal(batch.images, images[numbers])  # 0..255, not a changed pixel
        np.testing.assert_array_equal(loader.labels[batch.indices], numbers * 10)
        # every first dx is the number + 1, stretched or not
        drawn = np.array([strokes[0, 0] for strokes in split(batch)]) / (numbers + 1)
        assert (np.abs(drawn - 1) <= 0.15 + 1e-6).all()


def positions(strokes):
    """Stroke-3 ``[n, 3]`` -> absolute positions."""
    return np.cumsum(strokes[:, :2], axis=0, dtype=np.float64)


def recording_rasterize(seen):
    def rasterize(drawings, labels):
        seen.append(([np.array(drawing) for drawing in drawings], labels))
        return np.arange(len(drawings), dtype=np.uint8)[:, None, None] + np.zeros((1, 2, 3), np.uint8)

    return rasterize


@pytest.mark.parametrize("seed", range(3))
def test_turned_drawings_keep_angles_and_longer_side_and_are_rasterised_as_they_are(seed):
    seen, zigzag = [], np.array([[0, 0, 0], [30, 5, 0], [-4, 20, 1], [10, -13, 0], [6, 6, 1]], np.int16)
    loader = DataLoader(
        [zigzag] * 40,
        labels=np.arange(40),
        max_seq_len=9,
        random_rotation=20.0,
        rasterize=recording_rasterize(seen),
        seed=seed,
    )
    batch = loader.random_batch()
    [(rasterized, labels)] = seen
    np.testing.assert_array_equal(labels, loader.labels[batch.indices])
    np.testing.assert_array_equal(batch.images[:, 0, 0], np.arange(40))  # in the order that they were rasterised in
    before = positions(zigzag)
    turns = []
    for strokes, drawing in zip(split(batch), rasterized, strict=True):
        after = positions(strokes)
        np.testing.assert_allclose(positions(drawing), after, atol=1e-4)
        assert np.ptp(after, axis=0).max() == pytest.approx(np.ptp(before, axis=0).max(), rel=1e-5)
        ratio = (after[1:] - after[0]) @ [1, 1j] / ((before[1:] - before[0]) @ [1, 1j])
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)  # one and the same turn and scale of all points
        turns.append(np.degrees(np.angle(ratio[0])))
    assert np.abs(turns).max() <= 20.0 and np.min(turns) < -12 and np.max(turns) > 12


def test_mirrored_drawings_are_mirrored_left_to_right():
    loader = DataLoader(
        [SQUARE * [1, 2, 1]] * 200, batch_size=200, max_seq_len=9, mirror_prob=0.3, rasterize=recording_rasterize([])
    )
    strokes = loader.random_batch().points.reshape(200, 4, 3)
    np.testing.assert_array_equal(np.abs(strokes[:, :, :2]), np.abs(np.tile(SQUARE[:, :2] * [1, 2], [200, 1, 1])))
    np.testing.assert_array_equal(strokes[:, 1, 1], 20)  # never upside down
    assert 0.2 < np.mean(strokes[:, 0, 0] < 0) < 0.4


def test_augmented_drawings_are_centred_anew():
    corner = np.array([[7, 7, 0], [40, 0, 0], [0, 10, 1]], np.int16)
    options = {"max_seq_len": 9, "random_rotation": 30.0, "rasterize": recording_rasterize([]), "centred": True}
    for strokes in split(DataLoader([corner] * 20, **options).random_batch()):
        after = positions(strokes)
        np.testing.assert_allclose(after.max(axis=0), -after.min(axis=0), atol=1e-4)


@steady
@given(st.lists(drawings, min_size=1, max_size=6))
def test_centred_drawings_begin_at_the_centre_of_their_bounds(batch):
    loader = DataLoader(batch, batch_size=len(batch), max_seq_len=40, centred=True)
    for i, index in enumerate(loader.order):
        actual, given = loader.strokes(i), batch[index]
        np.testing.assert_array_equal(actual[1:], given[1:])  # only the first offset differs
        if len(given) > 1:  # a single point stays where it is
            after = positions(actual)
            np.testing.assert_array_equal(after.min(axis=0), -after.max(axis=0))


# ---- data sets -------------------------------------------------------------------------------------------------------


def settings(data_set: list, **changes) -> HParams:
    """Hyper-parameters of bitmaps of 2 x 3 pixels."""
    return HParams(**{"data_set": data_set, "img_H": 2, "img_W": 3, "batch_size": 4, **changes})


def random_splits(rng, *lengths, dtype=np.int16):
    """train, valid and test drawings of the given lengths."""
    return {
        name: [np.column_stack([rng.integers(-90, 90, (n, 2)), rng.integers(0, 2, n)]).astype(dtype) for n in of_split]
        for name, of_split in zip(utils.SPLITS, lengths, strict=True)
    }


def write_category(data_dir, name, strokes, size=(2, 3)):
    """Strokes, and bitmaps whose every pixel is the drawing's index in its split."""
    save_strokes(npz_path(data_dir, name), strokes)
    images = {
        split: np.arange(len(of_split), dtype=np.uint8)[:, None, None] * np.ones(size, np.uint8)
        for split, of_split in strokes.items()
    }
    bitmap = bitmaps.bitmap_path(data_dir, name, *size)
    bitmap.parent.mkdir(exist_ok=True)
    np.savez(bitmap, digest=utils.strokes_digest(strokes), **images)


def test_scale_factor_is_that_of_the_pooled_training_split(tmp_path):
    rng = np.random.default_rng(1)
    a, b = random_splits(rng, [5, 3, 9], [4, 6], [7]), random_splits(rng, [12, 2], [3], [8, 1], dtype=np.float64)
    for drawing in b["train"]:
        drawing[:, :2] *= 3.7  # categories of unlike size, neither of them centred
        drawing[:, 0] += 11
    write_category(tmp_path, "a.npz", a)
    write_category(tmp_path, "b.npz", b)
    train, valid, test, hps = load_dataset(tmp_path, settings(["a.npz", "b.npz"]))
    pooled = np.concatenate([drawing[:, :2].ravel() for drawing in a["train"] + b["train"]])
    scale = np.sqrt(np.mean((pooled - pooled.mean()) ** 2))  # dx and dy together, about their mean
    assert hps.max_seq_len == 12 and train.skipped == 0
    for loader, split in ((train, "train"), (valid, "valid"), (test, "test")):
        assert loader.scale_factor == pytest.approx(scale, rel=1e-6)
        given = a[split] + b[split]
        labels = [0] * len(a[split]) + [1] * len(b[split])
        indices = [*range(len(a[split])), *range(len(b[split]))]
        order = sorted(range(len(given)), key=lambda i: len(given[i]))  # stable: by length, then as given
        assert loader.max_seq_len == 12 and len(loader) == len(given)
        assert loader.labels.tolist() == [labels[i] for i in order]
        for row, i in enumerate(order):
            np.testing.assert_allclose(loader.strokes(row), given[i].astype(float) / [scale, scale, 1], rtol=1e-5)
            assert (loader.images[row] == indices[i]).all()  # each category's own bitmaps
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
    train, valid, *_ = load_dataset(tmp_path, settings(["wild"]))
    clamped = np.array([[1000, -3], [-1000, 1000], [2, -1000]])
    assert train.scale_factor == pytest.approx(np.std(clamped), rel=1e-6)
    for loader in (train, valid):
        np.testing.assert_allclose(loader.strokes(0)[:, :2] * train.scale_factor, clamped, rtol=1e-5)


def test_longer_drawings_are_skipped_and_counted(tmp_path):
    rng = np.random.default_rng(2)
    strokes = random_splits(rng, [5, 30, 8, 31], [9, 40, 2], [7, 3])
    write_category(tmp_path, "a", strokes)
    train, valid, test, hps = load_dataset(tmp_path, settings(["a"], max_seq_len=30))
    assert hps.max_seq_len == 30 and train.skipped == 2  # over all splits
    assert [len(loader) for loader in (train, valid, test)] == [3, 2, 2]
    assert train.images[:, 0, 0].tolist() == [0, 2, 1]  # bitmaps keep to their drawings
    fitting = np.concatenate([strokes["train"][i][:, :2].ravel() for i in (0, 1, 2)])
    assert train.scale_factor == pytest.approx(np.std(fitting.astype(float)), rel=1e-6)
    *_, hps = load_dataset(tmp_path, settings(["a"], max_seq_len=20))
    assert hps.max_seq_len == 9  # the longest that is left, in any split
    with pytest.raises(ValueError, match="no train drawing of 4 points or fewer"):
        load_dataset(tmp_path, settings(["a"], max_seq_len=4))


def test_unconditional_training_needs_no_bitmaps(tmp_path):
    write_category(tmp_path, "a", random_splits(np.random.default_rng(3), [5], [4], [3]))
    bitmaps.bitmap_path(tmp_path, "a", 2, 3).unlink()
    with pytest.raises(FileNotFoundError, match="render_svg2bitmap"):
        load_dataset(tmp_path, settings(["a"]))
    for arguments in ({"hps": settings(["a"], conditional=False)}, {"hps": settings(["a"]), "images": False}):
        train, *_ = load_dataset(tmp_path, **arguments)
        assert train.get_batch(0).points.shape == (5, 3) and train.get_batch(0).images.shape == (1, 0, 0)


def test_bitmaps_of_other_strokes_are_refused(tmp_path):
    rng = np.random.default_rng(4)
    write_category(tmp_path, "a", random_splits(rng, [5, 6], [4], [3]))
    other = random_splits(rng, [5, 6], [4], [3])
    save_strokes(npz_path(tmp_path, "a"), other)
    with pytest.raises(ValueError, match="other strokes"):
        load_dataset(tmp_path, settings(["a"]))


def test_shards_of_a_data_set_share_lengths_and_scale(tmp_path):
    rng = np.random.default_rng(5)
    write_category(tmp_path, "a", random_splits(rng, [5, 3, 9, 4, 6], [4, 6], [7, 8]))
    write_category(tmp_path, "b", random_splits(rng, [12, 2, 7], [3, 9], [8, 1]))
    whole, *_ = load_dataset(tmp_path, settings(["a", "b"]))
    shards = [load_dataset(tmp_path, settings(["a", "b"]), shard=(i, 2)) for i in range(2)]
    for i, (train, valid, test, hps) in enumerate(shards):
        assert (train.scale_factor, hps.max_seq_len) == (whole.scale_factor, 12)
        assert len(valid) == len(test) == 2
        mine = train.images[train.labels == 0, 0, 0]
        assert sorted(mine.tolist()) == list(range(i, 5, 2))  # every second drawing of each category
    lengths = np.concatenate([train.lengths for train, *_ in shards])
    assert sorted(lengths) == whole.lengths.tolist()
    with pytest.raises(ValueError, match="for worker 3 of 4"):
        load_dataset(tmp_path, settings(["b"]), shard=(3, 4))


def test_augmented_bitmaps_are_made_at_the_scale_of_their_category(tmp_path):
    rng, seen = np.random.default_rng(6), []
    a, b = random_splits(rng, [5, 6], [4], [3]), random_splits(rng, [7, 8], [4], [3])
    b = {split: [drawing * [4, 4, 1] for drawing in of_split] for split, of_split in b.items()}
    write_category(tmp_path, "a", a)
    write_category(tmp_path, "b", b)

    def rasterize(drawings, height, width):
        seen.extend(drawings)
        return np.full((len(drawings), height, width), 7, np.uint8)

    hps = settings(["a", "b"], random_scale_factor=0, augment_stroke_prob=0, augment_bitmaps=True)
    train, valid, *_ = load_dataset(tmp_path, hps, rasterize=rasterize)
    batch = train.random_batch()
    assert batch.images.shape == (4, 2, 3) and (batch.images == 7).all() and (valid.get_batch(0).images == 0).all()
    for drawing, index in zip(seen, batch.indices, strict=True):
        category = (a, b)[train.labels[index]]["train"]
        expected = category[train.images[index, 0, 0]].astype(float)
        expected[:, :2] /= np.std(np.concatenate([d[:, :2] for d in category]))
        np.testing.assert_allclose(drawing, expected, rtol=1e-4)


def test_a_drawing_of_a_hundred_thousand_points_is_skipped(tmp_path):
    drawings = [np.array([[5, 6, 1]], np.int16), np.ones((100_000, 3), np.int16), SQUARE]
    save_strokes(npz_path(tmp_path, "x"), {split: drawings for split in utils.SPLITS})
    train, _, _, hps = load_dataset(tmp_path, settings(["x"], conditional=False))
    assert (train.skipped, len(train), hps.max_seq_len) == (3, 2, 4)


def test_a_data_set_cannot_lead_out_of_its_directory(tmp_path):
    secret, strokes = tmp_path / "secret.npz", {split: [SQUARE] for split in utils.SPLITS}
    for path in (secret, npz_path(tmp_path / "data", "ice cream")):
        save_strokes(path, strokes)
    for data_set in ("../../secret.npz", "../../secret", str(secret), "a/b", "..\\..\\secret", "C:secret", "C:\\x"):
        with pytest.raises(ValueError, match="is not the bare name of a file in"):
            load_dataset(tmp_path / "data", settings([data_set]))
    with pytest.raises(ValueError, match="address"):
        load_dataset("http://host/data", settings(["a"]))
    assert npz_path("d", "ice cream.npz") == npz_path("d", "ice cream") == Path("d/npz/ice cream.npz")
    assert npz_path(tmp_path / "data", "ice_cream").name == "ice cream.npz"  # Google's name
    with pytest.raises(FileNotFoundError):
        utils.load_strokes(npz_path(tmp_path, "nul\0byte"))
