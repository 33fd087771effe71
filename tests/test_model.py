"""Encoder, decoder and loss against NumPy, for sizes unlike the reference's; dropout where and how it must be."""

import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf
from numpy_reference import relative_error

import model as model_module
from model import MixtureParams, Model, get_default_hparams, mixture_params, reconstruction_loss, sample, sample_batch
from rnn import CELLS
from sketch_pix2seq_train import Trainer, random_seed
from utils import Batch, pad_batch

CELL_NAMES = sorted(CELLS)


def make_model(**changes):
    """A small model with every weight moved off its initial value, and those weights in float64."""
    sizes = {"dec_model": "lstm", "dec_rnn_size": 7, "z_size": 4, "num_mixture": 3, "img_H": 9, "img_W": 13}
    model = Model(get_default_hparams().replace(**{**sizes, **changes}))
    rng = np.random.default_rng(0)
    for name, weight in model.weights.items():
        size = 0.05 if "/zw/" in name or "/zb/" in name or "/HyperLSTMCell/LayerNorm" in name else 0.3
        weight.assign_add(tf.constant(rng.normal(size=weight.shape) * size, tf.float32))
    return model, {name: weight.numpy().astype(np.float64) for name, weight in model.weights.items()}


def make_strokes(rng, rows, steps):
    """Stroke-5 rows ``[N, T + 1, 5]`` with all three pen states."""
    strokes = np.zeros((rows, steps + 1, 5), np.float32)
    strokes[..., :2] = rng.normal(size=(rows, steps + 1, 2))
    strokes[..., 2:] = np.eye(3)[rng.integers(3, size=(rows, steps + 1))]
    return strokes


def assert_same_mixture(found, wanted):
    for name in MixtureParams._fields:
        assert relative_error(getattr(found, name), getattr(wanted, name)) < 1e-5, name


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
    for kind in (np.float32, np.uint8):
        for found, wanted in zip(model.encode(images.astype(kind)), reference.encode(weights, images), strict=True):
            assert found.dtype == tf.float32
            assert relative_error(found, wanted) < 1e-5


def test_encoder_sees_the_border_of_the_page():
    # Kept: on white paper the filter answers 5 * 255 at the corners and 3 * 255 along the sides, not 0.
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
        for found, head in ((mean, "mu"), (presig, "sigma")):
            head = f"ENC_RNN/ENC_RNN_{head}/super_linear"
            assert relative_error(found[n], features @ weights[head + "_w"] + weights[head + "_b"]) < 1e-5


def test_each_encoder_says_what_it_reads():
    images, strokes = np.zeros([1, 9, 13, 1]), np.zeros([1, 3, 5])
    with pytest.raises(ValueError, match="reads strokes, not bitmaps"):
        make_model(enc_model="lstm", enc_rnn_size=4)[0].encode(images)
    with pytest.raises(ValueError, match="reads bitmaps, not strokes"):
        make_model()[0].encode_strokes(strokes, tf.constant([3]))


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
        found, final = model.decode(strokes[:, :-1], z, state)
        wanted, wanted_final = reference.decode(cell, weights, strokes[:, :-1], z, state)
        assert found.pi.shape == (rows * steps, components)
        assert_same_mixture(found, wanted)
        assert relative_error(final, wanted_final) < 1e-5
        for mask_padding in (False, True):
            cost = reconstruction_loss(found, strokes[:, 1:], mask_padding)
            assert relative_error(cost, reference.loss(wanted, strokes[:, 1:], mask_padding)) < 1e-5


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_decoding_can_stop_and_go_on(cell):
    model, _ = make_model(dec_model=cell)
    rng = np.random.default_rng(3)
    strokes, z = make_strokes(rng, 2, 6), rng.normal(size=(2, 4)).astype(np.float32)
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
    z = np.random.default_rng(4).normal(size=(1, 4)).astype(np.float32) if conditional else None
    wanted = reference.greedy_strokes(cell, weights, 6, z)
    strokes, params = sample(model, 6, greedy_mode=True, z=None if z is None else z[0])
    np.testing.assert_array_equal(strokes[:, 2:], wanted[:, 2:])
    assert relative_error(strokes, wanted) < 1e-5
    fed = np.concatenate([[[0, 0, 1, 0, 0]], wanted[:-1]])[None]  # what was fed back, row by row
    assert_same_mixture(params, reference.decode(cell, weights, fed, z)[0])


def with_positions(strokes):
    return np.concatenate([strokes, np.cumsum(strokes[:, :, :2], axis=1)], axis=2)


@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "unconditional"])
def test_decoder_that_sees_its_pens_position(conditional):
    # Ours, not the paper's: the sum of all offsets up to each row's own stands between the stroke and z.
    model, weights = make_model(pen_position=True, conditional=conditional)
    rng = np.random.default_rng(12)
    strokes = make_strokes(rng, 2, 5)
    z = rng.normal(size=(2, 4)).astype(np.float32) if conditional else None

    wanted, _ = reference.decode("lstm", weights, with_positions(strokes), z)
    assert_same_mixture(model.decode(strokes, z)[0], wanted)
    drawn, params = sample(model, 6, greedy_mode=True, z=None if z is None else z[0])
    fed = np.concatenate([[[0, 0, 1, 0, 0]], drawn[:-1]])[None]
    wanted, _ = reference.decode("lstm", weights, with_positions(fed), None if z is None else z[:1])
    assert_same_mixture(params, wanted)


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


@pytest.mark.parametrize("mask_padding", [True, False])
def test_gradient_of_the_loss_equals_differences(mask_padding):
    rng = np.random.default_rng(6)
    values, target = rng.normal(size=(4, 15)) * 0.5, make_strokes(rng, 2, 1)
    output = tf.Variable(values, dtype=tf.float32)
    with tf.GradientTape() as tape:
        cost = reconstruction_loss(mixture_params(output), target, mask_padding)
    numeric = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        step = np.zeros_like(values)
        step[place] = 1e-5
        costs = [reference.loss(reference.mixture(values + s), target, mask_padding) for s in (step, -step)]
        numeric[place] = (costs[0] - costs[1]) / 2e-5
    assert relative_error(tape.gradient(cost, output), numeric) < 1e-5


# ---- dropout ---------------------------------------------------------------------------------------------------------

KEEP = {"input": 0.6, "recurrent": 0.7, "output": 0.8}


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "unconditional"])
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
    found, final = model.decode(strokes[:, :-1], z, training=True)
    assert sorted(asked) == sorted(sites)
    used = {f"{site}_mask": masks[site] for site in sites}
    wanted, wanted_final = reference.decode(cell, weights, strokes[:, :-1], z, **used)
    assert_same_mixture(found, wanted)
    assert relative_error(final, wanted_final) < 1e-5  # output dropout leaves the state alone

    asked.clear()
    found, _ = model.decode(strokes[:, :-1], z, training=False)
    assert not asked
    assert_same_mixture(found, reference.decode(cell, weights, strokes[:, :-1], z)[0])


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "unconditional"])
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
    wanted, _ = reference.decode(cell, weights, strokes[:, :-1], z, **used)
    kept = np.arange(steps) <= np.array(lengths)[:, None]  # the points, and the step that should end the drawing
    kept_target = strokes[:, 1:][kept]
    assert len(target) == sum(lengths) + rows
    places = [np.flatnonzero((kept_target == row).all(axis=1)).item() for row in target.numpy()]
    assert sorted(places) == list(range(len(kept_target)))
    wanted = reference.Mixture(*(field[kept.ravel()][places] for field in wanted))
    assert_same_mixture(params, wanted)


def test_dropout_is_off_or_on_by_default_as_the_original_has_it(monkeypatch):
    model, _ = make_model()
    kept = []
    monkeypatch.setattr(model_module, "dropout_mask", lambda shape, keep, seed: kept.append(keep) or tf.ones(shape))
    model.decode(make_strokes(np.random.default_rng(0), 2, 3), np.zeros((2, 4), np.float32), training=True)
    assert kept == [0.9]  # recurrent dropout alone
    kept.clear()
    model.decode(make_strokes(np.random.default_rng(0), 2, 3), np.zeros((2, 4), np.float32))
    sample(model, 3, greedy_mode=False, z=np.zeros(4), seed=0)
    assert not kept


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


# ---- training --------------------------------------------------------------------------------------------------------

LENGTHS = [3, 5, 1, 6]  # of max_seq_len 8


def make_trainer(**changes):
    """A trainer whose costs are no matter of chance: no dropout, and a sigma of z that is exp(-30)."""
    model, _ = make_model()
    sizes = {name: getattr(model.hps, name) for name in "dec_model dec_rnn_size z_size num_mixture img_H img_W".split()}
    trainer = Trainer(get_default_hparams().replace(max_seq_len=8, use_recurrent_dropout=False, **sizes, **changes))
    model.weights["ENC_CNN/ENC_CNN_sigma/super_linear_b"].assign([-60.0] * 4)
    model.weights["ENC_CNN/ENC_CNN_sigma/super_linear_w"].assign(
        tf.zeros_like(model.weights["ENC_CNN/ENC_CNN_mu/super_linear_w"])
    )
    model.weights["ENC_CNN/conv1/DW"].assign(model.weights["ENC_CNN/conv1/DW"] / 1000.0)
    for name, weight in trainer.model.weights.items():
        weight.assign(model.weights[name])
    return trainer, {name: weight.numpy().astype(np.float64) for name, weight in model.weights.items()}


def make_batch(steps):
    rng = np.random.default_rng(11)
    points = np.column_stack([rng.normal(size=(sum(LENGTHS), 2)), rng.integers(0, 2, sum(LENGTHS))])
    images = rng.integers(0, 256, (4, 9, 13, 1)).astype(np.float32)
    return Batch(pad_batch(points, np.array(LENGTHS), steps), images, np.array(LENGTHS), np.arange(4))


def cost_of(trainer, batch, training):
    lengths = tf.constant(batch.lengths, tf.int32)
    return trainer._losses(tf.constant(batch.strokes), tf.constant(batch.images), lengths, random_seed(1), training)[0]


@pytest.mark.parametrize("mean, presig, wanted", [(0.0, 0.0, 0.0), (2.0, 0.0, 2.0), (0.0, -3.0, 1.0248935342)])
def test_kl_cost_of_cases_worked_by_hand(mean, presig, wanted):
    # -(1 + presig - mean^2 - exp(presig)) / 2
    found = model_module.kl_cost(tf.fill([3, 5], mean), tf.fill([3, 5], presig))
    assert float(found) == pytest.approx(wanted, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("tolerance, counted", [(0.2, None), (1000.0, 1000.0)])
def test_cost_with_a_kl_term(tolerance, counted):
    trainer, weights = make_trainer(skip_padding=False, kl_weight=0.5, kl_tolerance=tolerance, presig_bias=-4.0)
    batch = make_batch(8)
    mean, presig = reference.encode(weights, batch.images)
    kl = np.mean(-0.5 * (1 + presig - mean**2 - np.exp(presig)))
    assert kl > 0.2
    found = trainer.update(batch, 10)
    weight = 0.5 * (1 - 0.99 * 0.99995**10)
    assert found.kl == pytest.approx(kl, rel=1e-4)
    assert found.cost == pytest.approx(found.recon + weight * (counted or kl), rel=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_cost_is_the_mean_over_all_rows_padding_included(training):
    trainer, weights = make_trainer(skip_padding=False)
    batch = make_batch(8)
    z, _ = reference.encode(weights, batch.images)
    params, _ = reference.decode("lstm", weights, batch.strokes[:, :-1], z)
    wanted = reference.loss(params, batch.strokes[:, 1:], mask_padding=False)
    assert relative_error(cost_of(trainer, batch, training), wanted) < 1e-5


@pytest.mark.parametrize("steps", [7, 8])
def test_cost_without_padding_is_the_sum_of_the_rows_up_to_each_end(steps):
    trainer, weights = make_trainer(skip_padding=True)
    batch = make_batch(steps)
    z, _ = reference.encode(weights, batch.images)
    params, _ = reference.decode("lstm", weights, batch.strokes[:, :-1], z)
    kept = np.arange(steps) <= np.array(LENGTHS)[:, None]
    params = reference.Mixture(*(field[kept.ravel()] for field in params))
    wanted = reference.loss(params, batch.strokes[:, 1:][kept], mask_padding=False) * kept.sum() / (4 * 8)
    assert relative_error(cost_of(trainer, batch, True), wanted) < 1e-5


@pytest.mark.parametrize("points", [1, 40])
def test_a_pen_put_off_its_path_is_led_back(points):
    strokes = np.concatenate(  # all of a batch of many, so that the noise can be told
        [np.tile([[[0, 0, 1, 0, 0]]], [500, 1, 1]), make_strokes(np.random.default_rng(3), 500, points)], axis=1
    ).astype(np.float32)
    rows, target = (x.numpy() for x in model_module.put_pen_off(tf.constant(strokes), 0.2, random_seed(5)))
    np.testing.assert_array_equal(rows[:, 0], strokes[:, 0])
    np.testing.assert_array_equal(rows[:, :, 2:], strokes[:, :-1, 2:])
    np.testing.assert_array_equal(target[:, :, 2:], strokes[:, 1:, 2:])
    places, fed = (np.cumsum(x[:, :, :2], axis=1) for x in (strokes, rows))
    np.testing.assert_allclose(fed + target[:, :, :2], places[:, 1:], atol=1e-4)
    off = (fed - places[:, :-1])[:, 1:]  # noise of its own at each point
    if points > 1:
        assert off.std() == pytest.approx(0.2, rel=0.05) and abs(off.mean()) < 0.01
        assert abs(np.mean(off[:, 1:] * off[:, :-1])) < 0.02 * 0.2**2 and len(np.unique(off)) > 0.9 * off.size


@pytest.mark.parametrize("skip_padding", [True, False])
def test_only_training_puts_the_pen_off_its_path(skip_padding):
    changes = {"pen_position": True, "presig_bias": -60.0, "use_recurrent_dropout": False, "max_seq_len": 8}
    batch, seed, costs = make_batch(8), random_seed(1), {}
    for noise in (0.0, 0.5):
        hps = get_default_hparams().replace(
            dec_model="lstm", dec_rnn_size=7, z_size=4, num_mixture=3, img_H=9, img_W=13, pen_noise=noise, **changes
        )
        trainer = Trainer(hps.replace(skip_padding=skip_padding))
        costs[noise] = [float(cost_of(trainer, batch, training)) for training in (True, False)]
    assert costs[0.0][0] == pytest.approx(costs[0.0][1], rel=1e-5) == costs[0.5][1]
    weights = {name: weight.numpy().astype(np.float64) for name, weight in trainer.model.weights.items()}
    rows, target = model_module.put_pen_off(tf.constant(batch.strokes), 0.5, tf.random.fold_in(seed, 0))
    z, _ = reference.encode(weights, batch.images)
    params, _ = reference.decode("lstm", weights, with_positions(rows.numpy()), z)
    kept = np.arange(8) <= np.array(LENGTHS)[:, None] if skip_padding else np.ones([4, 8], bool)
    params = reference.Mixture(*(field[kept.ravel()] for field in params))
    wanted = reference.loss(params, target.numpy()[kept], mask_padding=False) * kept.sum() / (4 * 8)
    assert costs[0.5][0] == pytest.approx(wanted, rel=1e-4)
    assert abs(costs[0.5][0] - costs[0.0][0]) > 0.01


def test_glimpse_of_a_page_point_by_point():
    model, weights = make_model(pen_position=True, pen_glimpse=3)
    strokes, z = make_strokes(np.random.default_rng(4), 2, 5), np.random.default_rng(5).normal(size=(2, 4))
    seen, *_ = model._look(strokes, *model._page(2, tf.constant(z, tf.float32)))
    waves = model.glimpse.WAVES
    for n in range(2):
        field = (z[n] @ weights["glimpse/field_w"] + weights["glimpse/field_b"]).reshape(waves, 3)
        position, visited = np.zeros(2), np.zeros(waves)
        for row, found in zip(strokes[n], seen[n].numpy(), strict=True):
            position = position + row[:2]
            here = np.sin(position @ weights["glimpse/place_w"] + weights["glimpse/place_b"])
            visited = visited + here
            wanted = [row, position, here @ field, 0.1 * visited @ weights["glimpse/visited_w"]]
            np.testing.assert_allclose(found, np.concatenate(wanted), atol=2e-5)


@pytest.mark.parametrize("changes", [{"pen_position": True}, {"pen_position": True, "pen_glimpse": 3}])
def test_sampling_sees_the_page_as_training_does(changes):
    model, _ = make_model(**changes)
    z = np.random.default_rng(6).normal(size=(1, 4)).astype(np.float32)
    strokes, drawn = sample(model, 9, z=z, seed=1)
    taught, _ = model.decode(np.concatenate([[[0, 0, 1, 0, 0]], strokes[:-1]])[None].astype(np.float32), z)
    for name in MixtureParams._fields:
        np.testing.assert_allclose(getattr(drawn, name), getattr(taught, name), rtol=1e-4, atol=1e-5, err_msg=name)


def test_what_a_glimpse_and_a_pen_put_off_need():
    with pytest.raises(ValueError, match="pen_glimpse needs pen_position"):
        make_model(pen_glimpse=3)
    with pytest.raises(ValueError, match="pen_noise needs pen_position"):
        make_model(pen_noise=0.1)


@pytest.mark.parametrize("drawings", [3, 1])
def test_parts_of_a_batch_together_are_the_batch(drawings):
    batch, costs, weights = Batch(*(field[:drawings] for field in make_batch(8))), [], []
    for parts in (1, 2):
        trainer, before = make_trainer(kl_weight=0.5)
        trainer.parts = parts
        costs.append([*trainer.update(batch, 0), *trainer.update(Batch(batch.strokes[:, :-1], *batch[1:]), 1)])
        weights.append({name: weight.numpy() for name, weight in trainer.model.weights.items()})
        assert trainer._update.experimental_get_tracing_count() == 1
    np.testing.assert_allclose(*costs, rtol=1e-5)
    for name, weight in weights[0].items():
        if "ENC_CNN_sigma" not in name:  # gradients of 1e-13, whose sign Adam would magnify
            np.testing.assert_allclose(weights[1][name], weight, atol=2e-5, err_msg=name)
    assert np.abs(weights[0]["RNN/output_w"] - before["RNN/output_w"]).max() > 1e-3


def test_update_is_adam_on_gradients_clipped_by_value():
    clip, rates = 0.02, {"learning_rate": 0.01, "decay_rate": 0.5, "min_learning_rate": 0.002}
    trainer, _ = make_trainer(skip_padding=False, grad_clip=clip, **rates)
    batch = make_batch(8)
    names = list(trainer.model.weights)
    values, m, v = ({name: 0.0 for name in names} for _ in range(3))
    for name in names:
        values[name] = trainer.model.weights[name].numpy().astype(np.float64)
    clipped = []
    for step, rate in enumerate([0.01, 0.006, 0.004]):  # 0.008 / 2^step + 0.002: the count before the update
        with tf.GradientTape() as tape:
            cost = cost_of(trainer, batch, True)
        gradients = tape.gradient(cost, trainer.model.weights)
        assert trainer.update(batch, step) == pytest.approx((float(cost), float(cost), 0.0), rel=1e-5)
        for name in names:
            gradient = gradients[name].numpy().astype(np.float64)
            clipped.append(np.abs(gradient).ravel() > clip)
            gradient = np.clip(gradient, -clip, clip)
            m[name] = 0.9 * m[name] + 0.1 * gradient
            v[name] = 0.999 * v[name] + 0.001 * gradient**2
            correction = np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            values[name] -= rate * correction * m[name] / (np.sqrt(v[name]) + 1e-8)
            if "ENC_CNN_sigma" not in name:  # gradients of 1e-13, whose sign Adam would magnify
                np.testing.assert_allclose(trainer.model.weights[name], values[name], atol=2e-5, err_msg=name)
                values[name] = trainer.model.weights[name].numpy().astype(np.float64)
    assert 0.02 < np.concatenate(clipped).mean() < 0.98  # some are clipped, each for itself, and some are not
