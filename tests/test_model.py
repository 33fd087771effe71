"""Encoder, decoder, plugs and loss against NumPy, for sizes unlike the reference's; dropout where and how it is due."""

import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf
from miniatures import CELL_NAMES, make_model, make_strokes
from numpy_reference import relative_error

import model as model_module
from extensions import FourierPositionReadout, PenPosition, add_position_noise, kl_cost
from model import (
    START,
    Code,
    MixtureParams,
    mixture_params,
    pad_strokes,
    reconstruction_loss,
    sample,
    sample_batch,
)
from rnn import CELLS
from utils import to_big_strokes

PLUGS = {  # hyper-parameters -> what the decoder sees beside the stroke
    "none": ({}, []),
    "position": ({"use_position": True}, [PenPosition]),
    "Fourier": ({"use_position": True, "position_features": 3}, [PenPosition, FourierPositionReadout]),
}


def assert_same_mixture(actual, expected, bound=1e-5):
    for name in MixtureParams._fields:
        assert relative_error(getattr(actual, name), getattr(expected, name)) < bound, name


def make_z(seed, rows=1, size=4):
    return np.random.default_rng(seed).normal(size=(rows, size)).astype(np.float32)


# ---- encoder ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("height, width, z_size", [(48, 48, 8), (9, 13, 3), (17, 30, 5), (8, 40, 1), (1, 2, 2)])
def test_encoder_equals_numpy(height, width, z_size):
    # Not square, odd, not a multiple of 8: padding goes after, and every stride rounds up.
    model, weights = make_model(img_H=height, img_W=width, z_size=z_size)
    first = model.weights["ENC_CNN/conv1/DW"]
    first.assign(first / 1000.0)  # else conv6's tanh is +-1 nearly everywhere and would hide what lies before it
    weights["ENC_CNN/conv1/DW"] = first.numpy().astype(np.float64)
    images = np.random.default_rng(1).integers(0, 256, (2, height, width, 1))
    features = reference.encode_features(weights, images)
    assert features.shape == (2, -(-height // 8) * -(-width // 8) * 8)
    assert np.abs(features).max() > 0.01 and np.mean(np.abs(features) > 0.999) < 0.2
    for given in (images.astype(np.float32), images.astype(np.uint8), images[..., 0].astype(np.uint8)):
        for actual, expected in zip(model.encode(given), reference.encode(weights, images), strict=True):
            assert actual.dtype == tf.float32
            assert relative_error(actual, expected) < 1e-5


def test_encoder_sees_the_border_of_the_page():
    # As in the original: on white paper the filter answers 5 * 255 at the corners and 3 * 255 along the sides, not 0.
    model, weights = make_model(img_H=16, img_W=16)
    mean, presig = model.encode(np.full((1, 16, 16, 1), 255.0, np.float32))
    assert np.abs(mean - weights["ENC_CNN/ENC_CNN_mu/super_linear_b"]).max() > 0.01
    assert np.abs(presig - weights["ENC_CNN/ENC_CNN_sigma/super_linear_b"]).max() > 0.01


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_stroke_encoder_equals_numpy(cell):
    # Each drawing alone, its points forward and backward; in a batch, drawings of other lengths must not matter.
    model, weights = make_model(enc_model=cell, enc_rnn_size=6, presig_bias=-1.0)
    lengths = [3, 7, 1, 5]
    strokes = make_strokes(np.random.default_rng(2), 4, 8)[:, 1:]
    mean, presig = model.encode_strokes(strokes, tf.constant(lengths))
    for n, length in enumerate(lengths):
        lasts = []
        for direction, points in (("fw", strokes[n, :length]), ("bw", strokes[n, :length][::-1])):
            scope = f"ENC_RNN/{direction}/{CELLS[cell].NAME}"
            own = {name.removeprefix(scope + "/"): w for name, w in weights.items() if name.startswith(scope + "/")}
            zeros = np.zeros([1, reference.state_size(cell, 6)])
            outputs, _ = reference.unroll(cell, own, points[:, None].astype(np.float64), zeros)
            lasts.append(outputs[-1, 0])
        features = np.concatenate(lasts)
        for actual, head in ((mean, "mu"), (presig, "sigma")):
            head = f"ENC_RNN/ENC_RNN_{head}/super_linear"
            assert relative_error(actual[n], features @ weights[head + "_w"] + weights[head + "_b"]) < 1e-5


def test_each_encoder_says_what_it_reads():
    images, strokes = np.zeros([1, 9, 13, 1]), np.zeros([1, 3, 5])
    with pytest.raises(ValueError, match="reads strokes, not bitmaps"):
        make_model(enc_model="lstm", enc_rnn_size=4)[0].encode(images)
    with pytest.raises(ValueError, match="reads bitmaps, not strokes"):
        make_model()[0].encode_strokes(strokes, tf.constant([3]))
    with pytest.raises(ValueError, match="unconditional"):
        make_model(conditional=False)[0].encode(images)


def test_code_is_the_mean_and_noise_times_sigma():
    model, _ = make_model()
    images, noise = np.random.default_rng(3).integers(0, 256, (2, 9, 13), np.uint8), make_z(4, 2)
    mean, presig = model.encode(images)
    np.testing.assert_array_equal(model.code(images).z, mean)
    np.testing.assert_allclose(model.code(images, noise).z, mean + np.exp(presig / 2) * noise, rtol=1e-6)
    strokes = make_strokes(np.random.default_rng(5), 2, 3)
    for plug, _ in PLUGS.values():  # wherever a Code goes, a bare z goes, too
        model, _ = make_model(**plug)
        assert_same_mixture(model.decode(strokes, Code(mean))[0], model.decode(strokes, mean)[0], 1e-7)
        np.testing.assert_array_equal(model.initial_state(Code(mean)), model.initial_state(mean))
        drawn = [sample(model, 3, greedy_mode=True, z=z)[0] for z in (mean[0], mean[:1], Code(mean[:1]))]
        np.testing.assert_array_equal(drawn[0], drawn[1])
        np.testing.assert_array_equal(drawn[0], drawn[2])


# ---- decoder ---------------------------------------------------------------------------------------------------------

SIZES = [  # N, T, U, Z, M
    (3, 6, 7, 4, 3),
    (1, 1, 1, 1, 1),
    (1, 5, 12, 3, 2),
    (4, 1, 5, 9, 5),
]


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "unconditional"])
@pytest.mark.parametrize("rows, steps, units, z_size, components", SIZES)
def test_decoder_and_loss_equal_numpy(cell, conditional, rows, steps, units, z_size, components):
    model, weights = make_model(
        dec_model=cell, dec_rnn_size=units, z_size=z_size, num_mixture=components, conditional=conditional
    )
    rng = np.random.default_rng(2)
    strokes = make_strokes(rng, rows, steps)
    z = rng.normal(size=(rows, z_size)).astype(np.float32) if conditional else None
    given = rng.normal(size=(rows, model.state_size)).astype(np.float32)
    assert model.state_size == reference.state_size(cell, units)
    if conditional:
        assert relative_error(model.initial_state(z), reference.initial_state(weights, z)) < 1e-5
    for state in (None, given):
        actual, actual_final = model.decode(strokes[:, :-1], z, state)
        expected, expected_final = reference.decode(cell, weights, strokes[:, :-1], z, state)
        assert actual.pi.shape == (rows * steps, components)
        assert_same_mixture(actual, expected)
        assert relative_error(actual_final, expected_final) < 1e-5
        for mask_padding in (False, True):
            cost = reconstruction_loss(actual, strokes[:, 1:], mask_padding)
            assert relative_error(cost, reference.loss(expected, strokes[:, 1:], mask_padding)) < 1e-5


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_decoding_can_stop_and_go_on(cell):
    model, _ = make_model(dec_model=cell)
    strokes, z = make_strokes(np.random.default_rng(3), 2, 6), make_z(3, 2)
    whole, whole_state = model.decode(strokes, z)
    first, state = model.decode(strokes[:, :4], z)
    second, state = model.decode(strokes[:, 4:], z, state)
    np.testing.assert_allclose(state, whole_state, rtol=1e-5, atol=1e-6)
    for field_whole, *parts in zip(whole, first, second, strict=True):
        parts = [tf.reshape(part, [2, -1, part.shape[1]]) for part in parts]
        np.testing.assert_allclose(
            tf.reshape(tf.concat(parts, 1), field_whole.shape), field_whole, rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize(
    "cell, conditional", [("lstm", True), ("layer_norm", True), ("hyper", True), ("lstm", False)], ids=str
)
def test_greedy_sampling_equals_numpy(cell, conditional):
    model, weights = make_model(dec_model=cell, conditional=conditional)
    z = make_z(4) if conditional else None
    expected = reference.greedy_strokes(cell, weights, 6, z)
    strokes, params = sample(model, 6, greedy_mode=True, z=None if z is None else z[0])
    np.testing.assert_array_equal(strokes[:, 2:], expected[:, 2:])
    assert relative_error(strokes, expected) < 1e-5
    fed = np.concatenate([[START], expected[:-1]])[None]  # what was fed back, row by row
    assert_same_mixture(params, reference.decode(cell, weights, fed, z)[0])


def test_sampling_is_cut_at_the_end_only_in_batches():
    # The pen that is likeliest is the end: the original's sample goes on to the last row, a drawing ends there.
    model, _ = make_model(conditional=False)
    model.weights["RNN/output_w"].assign(tf.zeros([7, 21]))
    model.weights["RNN/output_b"].assign([-9.0, -9.0, 9.0] + [0.5] * 18)
    strokes, params = sample(model, 5, greedy_mode=True)
    assert strokes.shape == (5, 5) and (strokes[:, 4] == 1).all() and params.pi.shape == (5, 3)
    assert [len(drawing) for drawing in sample_batch(model, None, 5, greedy_mode=True, num=3)] == [0, 0, 0]
    model.weights["RNN/output_b"].assign([9.0, -9.0, -9.0] + [0.5] * 18)
    assert [drawing.shape for drawing in sample_batch(model, None, 5, greedy_mode=True, num=3)] == [(5, 5)] * 3


def test_padding_makes_what_the_decoder_is_fed():
    lengths, points = [2, 5, 1], make_strokes(np.random.default_rng(0), 8, 0)[:, 0, [0, 1, 3]]
    for steps in (5, 9):
        padded = pad_strokes(tf.constant(points), tf.constant(lengths), steps)
        assert padded.shape == (3, steps + 1, 5)
        for row, drawing in zip(padded.numpy(), np.split(points, np.cumsum(lengths)[:-1]), strict=True):
            np.testing.assert_array_equal(row, [START, *to_big_strokes(drawing, steps)])


# ---- what the decoder sees beside the stroke -------------------------------------------------------------------------


def with_positions(strokes):
    return np.concatenate([strokes, np.cumsum(strokes[:, :, :2], axis=1)], axis=2)


@pytest.mark.parametrize("changes, plugs", PLUGS.values(), ids=PLUGS)
def test_each_plug_gives_the_same_at_once_and_point_by_point(changes, plugs):
    model, _ = make_model(**changes)
    assert [type(plug) for plug in model.decoder_features] == plugs
    strokes, code = tf.constant(make_strokes(np.random.default_rng(7), 3, 6)), Code(tf.constant(make_z(8, 3)))
    for plug in model.decoder_features:
        at_once = plug.sequence(plug.begin(code), strokes)
        assert at_once.shape == (3, 7, plug.size)
        state = plug.begin(code)
        for t in range(7):
            seen, state = plug.step(state, strokes[:, t])
            np.testing.assert_allclose(seen, at_once[:, t], atol=1e-5)
        first = plug.sequence(plug.begin(code), strokes[:, :4])
        np.testing.assert_allclose(first, at_once[:, :4], atol=1e-5)  # no point sees a later one


@pytest.mark.parametrize("changes", [changes for changes, _ in PLUGS.values()], ids=PLUGS)
def test_sampling_sees_the_page_as_training_does(changes):
    model, _ = make_model(**changes)
    z = make_z(6)
    strokes, drawn = sample(model, 9, z=z, seed=1)
    fed = np.concatenate([[START], strokes[:-1]])[None].astype(np.float32)
    taught, _ = model.decode(fed, z)
    packed, _ = model.decode_packed(fed, z, fed, tf.constant([8]))
    for name in MixtureParams._fields:
        for actual in (taught, packed):
            np.testing.assert_allclose(getattr(drawn, name), getattr(actual, name), rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "unconditional"])
def test_decoder_that_sees_its_pens_position(conditional):
    # The sum of all offsets up to each row's own stands between the stroke and z.
    model, weights = make_model(use_position=True, conditional=conditional)
    strokes, z = make_strokes(np.random.default_rng(12), 2, 5), make_z(12, 2) if conditional else None
    expected, _ = reference.decode("lstm", weights, with_positions(strokes), z)
    assert_same_mixture(model.decode(strokes, z)[0], expected)


def test_fourier_readout_of_a_page_point_by_point():
    model, weights = make_model(use_position=True, position_features=3)
    strokes, z = make_strokes(np.random.default_rng(4), 2, 5), make_z(5, 2)
    position_plug, plug = model.decoder_features
    code = Code(tf.constant(z))
    positions = position_plug.sequence(position_plug.begin(code), tf.constant(strokes)).numpy()
    seen = plug.sequence(plug.begin(code), tf.constant(strokes)).numpy()
    for n in range(2):
        readout = (z[n] @ weights["glimpse/field_w"] + weights["glimpse/field_b"]).reshape(-1, 3)
        position, visited = np.zeros(2), np.zeros(len(readout))
        for t, row in enumerate(strokes[n]):
            position = position + row[:2]
            here = np.sin(position @ weights["glimpse/place_w"] + weights["glimpse/place_b"])
            visited = visited + here
            np.testing.assert_allclose(positions[n, t], position, atol=2e-5)
            expected = [here @ readout, 0.1 * visited @ weights["glimpse/visited_w"]]
            np.testing.assert_allclose(seen[n, t], np.concatenate(expected), atol=2e-5)


@pytest.mark.parametrize("points", [1, 40])
def test_position_noise_is_led_back(points):
    strokes = np.concatenate(  # all of a batch of many, so that the noise can be told
        [np.tile(START, [500, 1, 1]), make_strokes(np.random.default_rng(3), 500, points)], axis=1
    ).astype(np.float32)
    rows, target = (x.numpy() for x in add_position_noise(tf.constant(strokes), 0.2, tf.constant([5, 0])))
    np.testing.assert_array_equal(rows[:, 0], strokes[:, 0])
    np.testing.assert_array_equal(rows[:, :, 2:], strokes[:, :-1, 2:])
    np.testing.assert_array_equal(target[:, :, 2:], strokes[:, 1:, 2:])
    positions, fed = (np.cumsum(x[:, :, :2], axis=1) for x in (strokes, rows))
    np.testing.assert_allclose(fed + target[:, :, :2], positions[:, 1:], atol=1e-4)
    off = (fed - positions[:, :-1])[:, 1:]  # noise of its own at each point
    if points > 1:
        assert off.std() == pytest.approx(0.2, rel=0.05) and abs(off.mean()) < 0.01
        assert abs(np.mean(off[:, 1:] * off[:, :-1])) < 0.02 * 0.2**2 and len(np.unique(off)) > 0.9 * off.size


def test_what_the_plugs_need():
    with pytest.raises(ValueError, match="position_features needs use_position"):
        make_model(position_features=3)
    with pytest.raises(ValueError, match="position_noise_std needs use_position"):
        make_model(position_noise_std=0.1)
    for name in ("ink_reach", "pixel_landings"):
        with pytest.raises(ValueError, match=f"{name}.*need pixel_features"):
            make_model(**{name: 1})


# ---- mixture and loss ------------------------------------------------------------------------------------------------


def test_order_of_the_dense_layers_outputs():
    # 3 pen logits, then pi logits, mu1, mu2, log sigma1, log sigma2, atanh corr of both components
    output = [1.0, 2.0, 3.0, 0.1, 0.2, 4.0, 5.0, 6.0, 7.0, -1.0, 0.5, 0.3, -0.2, 0.7, -0.4]
    p = mixture_params(tf.constant([output]))
    np.testing.assert_allclose(p.pen_logits[0], [1, 2, 3])
    np.testing.assert_allclose(p.pen[0], np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum(), rtol=1e-6)
    np.testing.assert_allclose(p.pi[0], np.exp([0.1, 0.2]) / np.exp([0.1, 0.2]).sum(), rtol=1e-6)
    np.testing.assert_allclose([p.mu1[0], p.mu2[0]], [[4, 5], [6, 7]])
    np.testing.assert_allclose([p.sigma1[0], p.sigma2[0]], [np.exp([-1, 0.5]), np.exp([0.3, -0.2])], rtol=1e-6)
    np.testing.assert_allclose(p.corr[0], np.tanh([0.7, -0.4]), rtol=1e-6)


def test_loss_of_a_case_worked_by_hand():
    # One standard normal; at its mean the density is 1 / (2 pi). Pen probabilities 1/2, 1/4, 1/4.
    output = np.zeros((3, 9), np.float32)
    output[:, :3] = np.log([0.5, 0.25, 0.25])
    target = np.array([[[0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]], np.float32)
    stroke = -np.log(1 / (2 * np.pi) + 1e-6)
    params = mixture_params(tf.constant(output))
    padded = (2 * stroke + np.log(2) + 2 * np.log(4)) / 3
    masked = (2 * stroke + np.log(2) + np.log(4)) / 3  # still a mean over all three rows
    np.testing.assert_allclose(reconstruction_loss(params, target, mask_padding=False), padded, rtol=1e-6)
    np.testing.assert_allclose(reconstruction_loss(params, target, mask_padding=True), masked, rtol=1e-6)


def test_loss_far_from_every_component_is_bounded_by_the_small_number():
    # exp(-distance) is 0 in float32 there: -log(0 + 1e-6), with a gradient that is a number
    output = tf.Variable(np.zeros((1, 15), np.float32))
    with tf.GradientTape() as tape:
        cost = reconstruction_loss(mixture_params(output), np.array([[[500.0, -500, 1, 0, 0]]], np.float32), True)
    np.testing.assert_allclose(cost, -np.log(1e-6) + np.log(3), rtol=1e-6)
    assert np.isfinite(tape.gradient(cost, output)).all()


EXTREMES = {
    "huge sigma": {"log_sigma1": 1e30, "log_sigma2": 80.0},
    "tiny sigma": {"log_sigma1": -1e30, "log_sigma2": -80.0},
    "tiny and huge sigma": {"log_sigma1": -200.0, "log_sigma2": 200.0},
    "rho of 1": {"corr": 1e30},
    "rho of -1, tiny sigma": {"corr": -50.0, "log_sigma1": -30.0},
    "far means": {"mu1": 1e12, "mu2": -1e12},
    "far points": {"dx": 1e12, "dy": -1e12},
    "far points, tiny sigma, rho of 1": {"dx": 1000.0, "log_sigma1": -100.0, "corr": 20.0},
    "pi of 0": {"pi": np.array([1e30, -1e30])},
    "pens of 0": {"pen": np.array([-1e30, 0, 1e30])},
}


@pytest.mark.parametrize("case", EXTREMES)
def test_loss_and_gradients_stay_finite(case):
    values = {"pen": 0.0, "pi": 0.0, "mu1": 0.0, "mu2": 0.0, "log_sigma1": 0.0, "log_sigma2": 0.0, "corr": 0.0}
    values |= {"dx": 1.0, "dy": -1.0} | EXTREMES[case]
    parts = [np.broadcast_to(values[name], 3 if name == "pen" else 2) for name in values if name not in ("dx", "dy")]
    output = tf.constant(np.concatenate(parts)[None], tf.float32)
    target = tf.constant([[[values["dx"], values["dy"], 1, 0, 0]]], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(output)
        loss = reconstruction_loss(mixture_params(output), target, mask_padding=True)
    assert np.isfinite(loss)
    assert np.isfinite(tape.gradient(loss, output)).all()


@pytest.mark.parametrize("mask_padding", [True, False])
def test_gradient_of_the_loss_equals_differences(mask_padding):
    rng = np.random.default_rng(6)
    values, target = rng.normal(size=(4, 15)) * 0.5, make_strokes(rng, 2, 1)
    output = tf.Variable(values, dtype=tf.float32)
    with tf.GradientTape() as tape:
        cost = reconstruction_loss(mixture_params(output), target, mask_padding)
    numeric = np.zeros_like(values)
    for index in np.ndindex(values.shape):
        step = np.zeros_like(values)
        step[index] = 1e-5
        costs = [reference.loss(reference.mixture(values + s), target, mask_padding) for s in (step, -step)]
        numeric[index] = (costs[0] - costs[1]) / 2e-5
    assert relative_error(tape.gradient(cost, output), numeric) < 1e-5


@pytest.mark.parametrize("mean, presig, expected", [(0.0, 0.0, 0.0), (2.0, 0.0, 2.0), (0.0, -3.0, 1.0248935342)])
def test_kl_cost_of_cases_worked_by_hand(mean, presig, expected):
    # -(1 + presig - mean^2 - exp(presig)) / 2
    actual = kl_cost(tf.fill([3, 5], mean), tf.fill([3, 5], presig))
    np.testing.assert_allclose(actual, [expected] * 3, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_whole_gradient_equals_differences(cell):
    # From the loss through the decoder to z and so to the encoder's heads: float64 differences of the NumPy model.
    model, weights = make_model(dec_model=cell, dec_rnn_size=5, num_mixture=2)
    rng = np.random.default_rng(8)
    strokes, z = make_strokes(rng, 2, 3), rng.normal(size=(2, 4))
    z_variable = tf.Variable(z, dtype=tf.float32)
    sources = {"z": z_variable, **{k: v for k, v in model.weights.items() if not k.startswith("ENC_CNN")}}
    with tf.GradientTape() as tape:
        params, _ = model.decode(strokes[:, :-1], z_variable)
        cost = reconstruction_loss(params, strokes[:, 1:], mask_padding=False)
    gradients = tape.gradient(cost, sources)
    for name, gradient in gradients.items():
        direction = rng.normal(size=gradient.shape)

        def cost_at(shift, name=name, direction=direction):
            moved = {k: v + shift * direction if k == name else v for k, v in weights.items()}
            moved_z = z + shift * direction if name == "z" else z
            p, _ = reference.decode(cell, moved, strokes[:, :-1], moved_z)
            return reference.loss(p, strokes[:, 1:], mask_padding=False)

        numeric = (cost_at(1e-5) - cost_at(-1e-5)) / 2e-5
        norm = np.linalg.norm(gradient)
        assert abs(np.sum(gradient.numpy() * direction) - numeric) < 1e-4 * norm + 1e-7, name


# ---- dropout ---------------------------------------------------------------------------------------------------------

KEEP = {"input": 0.6, "recurrent": 0.7, "output": 0.8}
CELL_KINDS = [(cell, True) for cell in CELL_NAMES] + [("lstm", False)]  # (dec_model, conditional)


@pytest.mark.parametrize("cell, conditional", CELL_KINDS, ids=str)
@pytest.mark.parametrize(
    "sites", [("input",), ("recurrent",), ("output",), ("input", "recurrent", "output")], ids="+".join
)
def test_dropout_where_it_belongs(monkeypatch, cell, conditional, sites):
    model, weights = make_model(
        dec_model=cell,
        conditional=conditional,
        **{f"use_{site}_dropout": site in sites for site in KEEP},
        **{f"{site}_dropout_prob": keep for site, keep in KEEP.items()},
    )
    rows, steps = 3, 4
    shapes = {
        "input": (steps, rows, 9 if conditional else 5),  # covers z as well as the stroke
        "recurrent": (steps, rows, 7),
        "output": (steps, rows, 7),
    }
    rng = np.random.default_rng(7)
    masks = {site: ((rng.random(shape) < KEEP[site]) / KEEP[site]).astype(np.float32) for site, shape in shapes.items()}
    asked = []

    def known_mask(shape, keep_prob, seed):
        (site,) = [site for site, keep in KEEP.items() if keep == keep_prob]  # the keep rates tell the sites apart
        asked.append(site)
        return tf.reshape(masks[site], shape)  # a ValueError unless there is a number for each

    monkeypatch.setattr(model_module, "dropout_mask", known_mask)
    strokes = make_strokes(rng, rows, steps)
    z = rng.normal(size=(rows, 4)).astype(np.float32) if conditional else None
    actual, actual_final = model.decode(strokes[:, :-1], z, training=True)
    assert sorted(asked) == sorted(sites)
    used = {f"{site}_mask": masks[site] for site in sites}
    expected, expected_final = reference.decode(cell, weights, strokes[:, :-1], z, **used)
    assert_same_mixture(actual, expected)
    assert relative_error(actual_final, expected_final) < 1e-5  # output dropout leaves the state alone

    asked.clear()
    actual, _ = model.decode(strokes[:, :-1], z, training=False)
    assert not asked
    assert_same_mixture(actual, reference.decode(cell, weights, strokes[:, :-1], z)[0])


@pytest.mark.parametrize("cell, conditional", CELL_KINDS, ids=str)
@pytest.mark.parametrize("lengths, steps", [([2, 5, 1, 5, 3], 6), ([1], 2), ([2, 3], 7)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_decoding_without_the_padding_equals_numpy(monkeypatch, cell, conditional, lengths, steps, training):
    model, weights = make_model(
        dec_model=cell, conditional=conditional, use_input_dropout=True, use_output_dropout=True
    )
    rng = np.random.default_rng(9)
    # The order of the rows is decode_packed's own, so the known masks are the same for all rows, or for all points.
    input_mask, recurrent_mask = (rng.random((steps, 1, size)) + 0.5 for size in (9 if conditional else 5, 7))
    output_mask = rng.random((1, 1, 7)) + 0.5
    counts = [sum(length >= t for length in lengths) for t in range(steps)]
    masks = iter([input_mask, np.repeat(recurrent_mask[:, 0], counts, axis=0), output_mask[0]])

    def known_mask(shape, keep_prob, seed):
        return tf.broadcast_to(tf.constant(next(masks), tf.float32), shape)

    monkeypatch.setattr(model_module, "dropout_mask", known_mask)
    rows = len(lengths)
    strokes = make_strokes(rng, rows, steps)  # whatever stands in the padding; each target tells whose it is
    z = rng.normal(size=(rows, 4)).astype(np.float32) if conditional else None
    params, target = model.decode_packed(strokes[:, :-1], z, strokes[:, 1:], tf.constant(lengths), training)
    used = {"input_mask": input_mask, "recurrent_mask": recurrent_mask, "output_mask": output_mask} if training else {}
    expected, _ = reference.decode(cell, weights, strokes[:, :-1], z, **used)
    needed = np.arange(steps) <= np.array(lengths)[:, None]  # the points, and the step that should end the drawing
    needed_target = strokes[:, 1:][needed]
    assert len(target) == sum(lengths) + rows
    indices = [np.flatnonzero((needed_target == row).all(axis=1)).item() for row in target.numpy()]
    assert sorted(indices) == list(range(len(needed_target)))
    expected = reference.Mixture(*(field[needed.ravel()][indices] for field in expected))
    assert_same_mixture(params, expected)


def test_dropout_is_off_or_on_by_default_as_the_original_has_it(monkeypatch):
    model, _ = make_model()
    asked = []
    monkeypatch.setattr(model_module, "dropout_mask", lambda shape, keep, seed: asked.append(keep) or tf.ones(shape))
    model.decode(make_strokes(np.random.default_rng(0), 2, 3), np.zeros((2, 4), np.float32), training=True)
    assert asked == [0.9]  # recurrent dropout alone
    asked.clear()
    model.decode(make_strokes(np.random.default_rng(0), 2, 3), np.zeros((2, 4), np.float32))
    sample(model, 3, greedy_mode=False, z=np.zeros(4), seed=0)
    assert not asked
