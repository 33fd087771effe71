"""Pixel-aligned features, read where the pen is; ink left until it is drawn over; drawings of one size; mixed sets."""

import mix_drawings
import numpy as np
import pytest
import tensorflow as tf
from miniatures import arguments, make_model, make_toy_data

import sketch_pix2seq_sampling
import sketch_pix2seq_train
from bitmaps import add_bitmap_noise
from model import Code, MixtureParams, Model, get_default_hparams, pad_strokes, sample
from render_svg2bitmap import rasterize_all
from snapshots import load_data_info, load_hparams
from utils import DataLoader, load_dataset, load_strokes, save_strokes

INPUTS = 16 + 32 + 64 + 96 + 49 + 64 + 1  # features by level, cells around the pen, sums over the page, the flag
CHANGES = {
    "img_H": 48,
    "img_W": 48,
    "use_position": True,
    "drawing_extent": 10.0,
    "pixel_features": INPUTS,
    "enc_model": "deep_cnn",
    "enc_filters": [2, 4],
}
LENGTHS = np.array([7, 12, 4], np.int32)


@pytest.fixture(scope="module", params=[(48, 0), (96, 0), (96, 1)], ids="48 96 96_reach".split())
def model(request) -> Model:
    """A model whose plug shows the decoder its inputs as they are."""
    side, reach = request.param
    model, _ = make_model(**CHANGES | {"img_H": side, "img_W": side, "ink_reach": reach})
    model.weights["pixels/dense_w"].assign(tf.eye(INPUTS))
    model.weights["pixels/dense_b"].assign(tf.zeros([INPUTS]))
    return model


def make_points() -> np.ndarray:
    """Drawings laid end to end that stay on their page, some of whose strokes are long."""
    rng = np.random.default_rng(1)
    positions = [rng.uniform(-4.9, 4.9, (length, 2)) for length in LENGTHS]
    offsets = np.concatenate([np.diff(points, axis=0, prepend=np.zeros((1, 2))) for points in positions])
    return np.column_stack([offsets, rng.random(len(offsets)) < 0.3]).astype(np.float32)


def make_code(model: Model, seed: int = 2) -> tuple[Code, np.ndarray]:
    images = np.random.default_rng(seed).integers(0, 256, (3, model.hps.img_H, model.hps.img_W), np.uint8)
    return model.code(images), images


def real_rows(steps: int) -> np.ndarray:
    return np.arange(steps) <= LENGTHS[:, None]  # the start token's, and the points'


def both_ways(plug, code, strokes):
    """What the plug shows of strokes ``[N, T, 5]``, all at once and one by one: ``[N, T, size]`` each."""
    state, steps = plug.begin(code), []
    for t in range(strokes.shape[1]):
        seen, state = plug.step(state, strokes[:, t])
        steps.append(seen)
    return plug.sequence(plug.begin(code), strokes).numpy(), np.stack(steps, axis=1)


def test_at_once_and_point_by_point_are_the_same(model):
    (*_, plug), (code, _) = model.decoder_features, make_code(model)
    strokes = pad_strokes(make_points(), LENGTHS, 14)
    at_once, point_by_point = both_ways(plug, code, strokes)
    real = real_rows(15)
    np.testing.assert_allclose(point_by_point[real], at_once[real], atol=1e-5)
    assert not at_once[~real].any()
    first = plug.sequence(plug.begin(code), strokes[:, :5]).numpy()
    np.testing.assert_allclose(first[real[:, :5]], at_once[:, :5][real[:, :5]], atol=1e-5)  # no point sees a later one


def test_features_are_read_bilinearly_at_the_pen(model):
    (*_, plug), (code, _) = model.decoder_features, make_code(model)
    points, side = make_points(), model.hps.img_H
    seen = plug.sequence(plug.begin(code), pad_strokes(points, LENGTHS, 14)).numpy()
    maps = [level.numpy() for level in code.features[0]]
    assert [level.shape[1:] for level in maps] == [(48, 48, 16), (24, 24, 32), (12, 12, 64), (6, 6, 96)]
    for n, drawing in enumerate(np.split(points, np.cumsum(LENGTHS)[:-1])):
        for t, position in enumerate(np.cumsum(drawing[:, :2], axis=0), 1):
            pixel = side / 2 + position * side / 12.0  # 10 units and a margin of 1 on each side
            expected = []
            for level in maps:
                x, y = np.clip(pixel * len(level[n]) / side - 0.5, 0, len(level[n]) - 1)
                left, top = min(int(x), len(level[n]) - 2), min(int(y), len(level[n]) - 2)
                fx, fy = x - left, y - top
                square = level[n, top : top + 2, left : left + 2]
                expected.append(np.einsum("yxc,y,x->c", square, [1 - fy, fy], [1 - fx, fx]))
            np.testing.assert_allclose(seen[n, t, :208], np.concatenate(expected), atol=2e-4)


def test_ink_is_left_until_a_line_comes_near_it(model):
    (*_, plug), (code, images) = model.decoder_features, make_code(model)
    points, side = make_points(), model.hps.img_H
    cells, reach = side // 2, model.hps.ink_reach
    seen = plug.sequence(plug.begin(code), pad_strokes(points, LENGTHS, 14)).numpy()
    ink = (1 - images / 255.0).reshape(3, cells, 2, cells, 2).max(axis=(2, 4))
    for n, drawing in enumerate(np.split(points, np.cumsum(LENGTHS)[:-1])):
        left, pixels = ink[n].copy(), side / 2 + np.cumsum(drawing[:, :2], axis=0) * side / 12.0
        for t, pixel in enumerate(pixels):
            goes_on = t > 0 and drawing[t - 1, 2] == 0
            start = pixels[t - 1] if goes_on else pixel
            for share in np.linspace(0, 1, cells):
                x, y = ((start + share * (pixel - start)) // 2).astype(int)
                left[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1] = 0.0
            x, y = (pixel // 2).astype(int)
            window = np.pad(left, 3)[y : y + 7, x : x + 7]
            sums = left.reshape(8, cells // 8, 8, cells // 8).sum(axis=(1, 3)) / (cells // 8) ** 2
            np.testing.assert_allclose(seen[n, t + 1, 208:257], window.ravel(), atol=1e-5)
            np.testing.assert_allclose(seen[n, t + 1, 257:321], sums.ravel(), atol=1e-5)
            assert seen[n, t + 1, 321] == 1


def test_landings_are_the_centres_of_the_ink_that_is_left():
    model, _ = make_model(**CHANGES | {"img_H": 96, "img_W": 96, "ink_reach": 1, "pixel_landings": 2})
    outputs = np.zeros((6, INPUTS), np.float32)
    outputs[:, :6] = np.eye(6)
    model.weights["landings/dense_w"].assign(outputs)
    model.weights["pixels/dense_w"].assign(tf.zeros([INPUTS, INPUTS]))
    model.weights["pixels/dense_b"].assign(tf.fill([INPUTS], 50.0))  # so that nothing is cut off at zero
    for level in range(4):
        weight = model.weights[f"landings/level{level}_w"]
        weight.assign(tf.stack([weight[:, 0], tf.zeros(weight.shape[0])], axis=1))  # the second map: all ink alike
    plug, (code, images) = model.decoder_features[-1], make_code(model)
    strokes = pad_strokes(make_points(), LENGTHS, 14)
    at_once, point_by_point = both_ways(plug, code, strokes)
    np.testing.assert_allclose(point_by_point[real_rows(15)], at_once[real_rows(15)], atol=1e-4)
    ink = (1 - images / 255.0).reshape(3, 48, 2, 48, 2).max(axis=(2, 4))
    y, x = (np.mgrid[:48, :48] * 2 + 1 - 48) / 8.0  # units from the middle: 8 pixels each
    for n in range(3):  # at the start token nothing is covered, and the pen is in the middle
        expected = [(ink[n] * x).sum() / ink[n].sum(), (ink[n] * y).sum() / ink[n].sum(), np.log(ink[n].sum()) / 6]
        np.testing.assert_allclose(at_once[n, 0, [1, 3, 5]] - 50, expected, atol=1e-4)


def test_sampling_sees_the_bitmap_as_training_does(model):
    code, _ = make_code(model)
    code = code.gather([1])
    strokes, drawn = sample(model, 9, z=code, seed=1)
    fed = np.concatenate([[[0, 0, 1, 0, 0]], strokes[:-1]])[None].astype(np.float32)
    length = int(np.argmax([*(strokes[:-1, 4] > 0), True]))  # features end with the drawing
    taught, _ = model.decode(fed[:, : length + 1], code)
    for name in MixtureParams._fields:
        actual = getattr(drawn, name)[: length + 1]
        np.testing.assert_allclose(actual, getattr(taught, name), rtol=2e-4, atol=2e-5, err_msg=name)


def test_a_drawing_without_features_sees_nothing(model):
    code, images = make_code(model)
    dropped = model.make_code(code.z, images, tf.constant([1.0, 0.0, 1.0]))
    strokes = pad_strokes(make_points(), LENGTHS, 14)
    plug = model.decoder_features[-1]
    whole, some, none = (plug.sequence(plug.begin(c), strokes).numpy() for c in (code, dropped, Code(code.z)))
    np.testing.assert_array_equal(some[[0, 2]], whole[[0, 2]])
    assert not some[1].any() and not none.any() and whole[1].any()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"drawing_extent": 0.0}, "drawing_extent"),
        ({"use_position": False}, "use_position"),
        ({"conditional": False}, "conditional"),
        ({"img_W": 64}, "square"),
        ({"img_H": 50, "img_W": 50}, "16, 32, 48"),
        ({"enc_model": "lstm"}, "encoder"),
    ],
)
def test_what_pixel_features_need(changes, words):
    with pytest.raises(ValueError, match="pixel_features") as error:
        get_default_hparams().replace(**CHANGES | changes)
    assert words in str(error.value)


def test_drawings_of_one_size():
    rng = np.random.default_rng(3)
    drawings = [np.column_stack([rng.normal(size=(9, 2)) * size, rng.random(9) < 0.2]) for size in (0.1, 7, 300)]
    drawings.append(np.array([[3.0, 4.0, 1.0]]))  # a dot has no size
    how = {"random_scale_factor": 0.3, "random_rotation": 20.0, "augment_stroke_prob": 0.5, "batch_size": 4}
    loader = DataLoader(drawings, centred=True, extent=10.0, rasterize=lambda d, _: rasterize_all(d, 48, 48), **how)
    for batch in (loader.get_batch(0), *(loader.random_batch(np.random.default_rng(i)) for i in range(5))):
        for drawing, image in zip(np.split(batch.points, np.cumsum(batch.lengths)[:-1]), batch.images, strict=True):
            positions = np.cumsum(drawing[:, :2], axis=0)
            low, high = positions.min(axis=0), positions.max(axis=0)
            if len(drawing) > 1:
                assert (high - low).max() == pytest.approx(10.0, rel=1e-4)
                np.testing.assert_allclose(low + high, 0.0, atol=1e-3)
                if image.size:  # 4 pixels per unit, around the middle
                    rows, columns = np.nonzero(image < 128)
                    reach = max(np.abs(rows - 23.5).max(), np.abs(columns - 23.5).max())
                    assert 18.5 <= reach <= 21.5


def test_bitmap_noise():
    images = np.full((200, 48, 48), 255, np.uint8)
    images[:, 10:38, 20:22] = 0
    np.testing.assert_array_equal(add_bitmap_noise(images, 0.0, np.random.default_rng(0)), images)
    noisy = add_bitmap_noise(images, 0.2, np.random.default_rng(0))
    changed = (noisy != images).any(axis=(1, 2)).mean()
    assert noisy.dtype == np.uint8 and 0.5 < changed < 0.85  # five faults, each in a fifth of them
    ink = (noisy < 200).sum(axis=(1, 2)) / (images < 200).sum(axis=(1, 2))
    assert ink.min() > 0.3 and ink.max() < 3


def test_trains_and_draws_what_it_sees(tmp_path):
    data = make_toy_data(tmp_path / "data", sizes=())  # no stored bitmaps: they are drawn as the drawings are scaled
    changes = {key: value for key, value in CHANGES.items() if key != "enc_filters"} | {"pixel_features": 8}
    tiny = {"dec_model": "lstm", "dec_rnn_size": 8, "num_mixture": 2, "z_size": 4, "batch_size": 4, "num_steps": 3}
    more = {"position_features": 2, "pixel_features_dropout": 0.5, "augment_bitmaps": True, "bitmap_noise": 0.3}
    asked = {"data_set": "[toy.npz]", "enc_filters": "[2,4]", **tiny, **changes, **more}
    assert sketch_pix2seq_train.main(arguments(data, tmp_path, **asked)) == 0
    snapshot = tmp_path / "snapshot"
    assert load_hparams(snapshot).pixel_features == 8
    info = load_data_info(snapshot)
    assert info["scale_factor"] == 25.5 and info["line_width"] == pytest.approx(0.8, rel=0.02)
    flags = [f"--model_dir={snapshot}", f"--data_dir={data}", f"--sampling_dir={tmp_path / 'out'}", "--num_drawings=2"]
    assert sketch_pix2seq_sampling.main(flags) == 0
    train, _, test, _ = load_dataset(data, load_hparams(snapshot), rasterize=rasterize_all)
    assert train.images.shape == (12, 48, 48) and (test.images < 128).any()


def test_mixed_data_sets(tmp_path, capsys):
    def write(name, counts, value):
        drawings = {}
        for split, count in zip(("train", "valid", "test"), counts, strict=True):
            drawings[split] = [np.array([[value, i, 0], [1, 1, 1]], np.int16) for i in range(count)]
        save_strokes(tmp_path / "src" / f"{name}.npz", drawings)

    write("many", (100, 20, 20), 1)
    write("few", (5, 1, 1), 2)
    write("none", (50, 5, 5), 3)
    flags = [f"{tmp_path / 'src'}:30", "--name=mix", f"--data_dir={tmp_path}", "--leave_out", "none"]
    assert mix_drawings.main(flags) == 0
    assert "35 train, 4 valid, 4 test" in capsys.readouterr().out
    mixed = load_strokes(tmp_path / "npz" / "mix.npz")
    assert sorted({int(drawing[0, 0]) for drawing in mixed["train"]}) == [1, 2]
    assert len({int(drawing[0, 1]) for drawing in mixed["train"] if drawing[0, 0] == 1}) == 30
    with pytest.raises(ValueError, match=r"nowhere.*exists"):
        mix_drawings.main(["nowhere", "--name=mix"])
