"""What is random, against its definition (issue 3.4).

Every bound is 5.5 standard deviations of the estimate (or a bound on the whole distribution) for the number of draws
made: a correct program misses one less than once in a million seeds, and the seeds are fixed. What a program that mixes
up a definition would show (``instead``) is asserted to lie at least twice the bound away: it fails with any seed.
"""

import math

import numpy as np
import pytest
import tensorflow as tf

from model import MixtureParams, Model, draw_point, get_default_hparams, sample, sample_batch
from rnn import dropout_mask
from sampler import encode_images
from sketch_pix2seq_train import Trainer
from utils import Batch, DataLoader, augment_strokes

DEVIATIONS = 5.5  # two-sided: 4e-8


def check(actual, expected, deviation, instead=()):
    """``actual``, an estimate with this standard deviation, is ``expected`` and could not be one of ``instead``."""
    bound = DEVIATIONS * deviation
    for other in np.atleast_1d(instead):
        assert abs(other - expected) > 2 * bound, f"{other} cannot be told from {expected} by this many draws"
    assert abs(actual - expected) <= bound, f"{actual}, expected {expected} +- {bound}"


def check_frequency(hits, probability, instead=()):
    hits = np.asarray(hits)
    check(hits.mean(), probability, math.sqrt(probability * (1 - probability) / hits.size), instead)


def check_mean(values, mean, stddev, instead=()):
    check(np.mean(values, dtype=np.float64), mean, stddev / math.sqrt(np.size(values)), instead)


def check_stddev(values, stddev, instead=()):
    """Of numbers that are normal: their standard deviation's own is stddev / sqrt(2 n)."""
    check(np.std(values, dtype=np.float64), stddev, stddev / math.sqrt(2 * np.size(values)), instead)


def check_correlation(a, b, corr=0.0, instead=()):
    a, b = np.ravel(a).astype(np.float64), np.ravel(b).astype(np.float64)
    check(np.corrcoef(a, b)[0, 1], corr, (1 - corr**2) / math.sqrt(len(a)), instead)


def check_distribution(values, cumulative):
    """The largest distance of the two distribution functions; its bound is Dvoretzky, Kiefer and Wolfowitz's."""
    values = np.sort(np.ravel(values))
    steps = np.arange(len(values) + 1) / len(values)
    expected = cumulative(values)
    distance = max(np.abs(steps[1:] - expected).max(), np.abs(steps[:-1] - expected).max())
    assert distance < math.sqrt(math.log(2 / 1e-7) / (2 * len(values)))


def normal_cumulative(values):
    return np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in values])


def random_seed(number):
    """A seed as TensorFlow's stateless operations take it."""
    return tf.constant([number, 0])


# ---- dropout ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.9, 0.3])
def test_mask_retains_with_the_given_probability(keep):
    mask = dropout_mask([20, 50, 200], keep, random_seed(1)).numpy()
    np.testing.assert_allclose(np.unique(mask), [0, 1 / keep], rtol=1e-6)  # inverted: the mean stays 1
    check_frequency(mask > 0, keep, instead=1 - keep)
    check_mean(mask, 1.0, math.sqrt((1 - keep) / keep), instead=keep)


STEPS, ROWS, UNITS = 20, 100, 8


def showing_model(**changes):
    """An lstm whose mu1 shows h, and whose h shows one thing: each step forgets all (f = -60), i and o are open."""
    hps = get_default_hparams().replace(
        dec_model="lstm", dec_rnn_size=UNITS, num_mixture=UNITS, z_size=3, img_H=8, img_W=8, use_recurrent_dropout=False
    )
    model = Model(hps.replace(**changes))
    cell = {name: np.zeros(weight.shape, np.float32) for name, weight in model.cell.weights.items()}
    cell["bias"] = np.repeat([60.0, 0.0, -60.0, 60.0], UNITS)  # i, j, f, o
    cell["W_xh"][:UNITS, UNITS : 2 * UNITS] = np.eye(UNITS)[: len(cell["W_xh"])]  # h = tanh(tanh(input + j's bias))
    for name, value in cell.items():
        model.cell.weights[name].assign(value)
    output = np.zeros([UNITS, 3 + 6 * UNITS], np.float32)
    output[:, 3 + UNITS : 3 + 2 * UNITS] = np.eye(UNITS)
    model.weights["RNN/output_w"].assign(output)
    model.weights["RNN/output_b"].assign(np.zeros(3 + 6 * UNITS))
    return model


def shown(model, seed, training=True):
    """h ``[T, N, U]`` of a decoder whose every input, stroke and z, is 1."""
    z = np.ones([ROWS, 3], np.float32)
    params, _ = model.decode(np.ones([ROWS, STEPS, 5], np.float32), z, training=training, seed=random_seed(seed))
    return params.mu1.numpy().reshape(ROWS, STEPS, UNITS).transpose(1, 0, 2)


def full_candidate(model):
    """The candidate 1 (tanh of a large j), so that recurrent dropout is all that shows."""
    bias = model.cell.weights["bias"].numpy()
    bias[UNITS : 2 * UNITS] = 60.0
    model.cell.weights["bias"].assign(bias)
    return model


def check_dropout(first, second, evaluated, levels, keep):
    """Two steps of training and an evaluation, each ``[T, N, U]``; levels: what a dropped and a retained one show."""
    dropped, retained = levels
    for h in (first, second):
        assert (np.isclose(h, dropped, atol=1e-5) | np.isclose(h, retained, atol=1e-5)).all()
    first, second = np.isclose(first, retained, atol=1e-5), np.isclose(second, retained, atol=1e-5)
    for hits in (first, second):
        check_frequency(hits, keep, instead=1 - keep)
        # A fresh mask for every step, drawing and unit; one mask for all would be retained together with `keep`.
        check_frequency(hits[1::2] & hits[::2], keep**2, instead=keep)
        check_frequency(hits[:, ::2] & hits[:, 1::2], keep**2, instead=keep)
        check_frequency(hits[:, :, ::2] & hits[:, :, 1::2], keep**2, instead=keep)
    check_frequency(first & second, keep**2, instead=keep)
    assert np.ptp(evaluated) < 1e-6  # none in evaluation


def dropout_runs(model):
    np.testing.assert_array_equal(shown(model, 1), shown(model, 1))
    return shown(model, 1), shown(model, 2), shown(model, 1, training=False)


def test_input_dropout_covers_stroke_and_z():
    keep = 0.7
    runs = dropout_runs(showing_model(use_input_dropout=True, input_dropout_prob=keep))
    check_dropout(*runs, (0.0, math.tanh(math.tanh(1 / keep))), keep)


def test_recurrent_dropout():
    keep = 0.7
    runs = dropout_runs(full_candidate(showing_model(use_recurrent_dropout=True, recurrent_dropout_prob=keep)))
    check_dropout(*runs, (0.0, math.tanh(1 / keep)), keep)


def test_output_dropout():
    keep = 0.7
    runs = dropout_runs(full_candidate(showing_model(use_output_dropout=True, output_dropout_prob=keep)))
    check_dropout(*runs, (0.0, math.tanh(1.0) / keep), keep)


def test_dropouts_do_not_share_their_masks():
    keeps = {"recurrent": 0.5, "output": 0.8}
    changes = {f"use_{site}_dropout": True for site in keeps} | {f"{k}_dropout_prob": v for k, v in keeps.items()}
    h = shown(full_candidate(showing_model(**changes)), 3)
    check_frequency(h > 0.1, 0.4, instead=0.5)  # from one draw: 0.5


# ---- noise of z ------------------------------------------------------------------------------------------------------

MEAN, PRESIG = np.array([-1.0, 0.0, 2.0]), np.array([-3.0, -1.5, 1.0])


def noisy_model(model):
    """A model that gives every bitmap the same mean and presig."""
    for head, values in (("mu", MEAN), ("sigma", PRESIG)):
        name = f"ENC_CNN/ENC_CNN_{head}/super_linear"
        model.weights[f"{name}_w"].assign(tf.zeros_like(model.weights[f"{name}_w"]))
        model.weights[f"{name}_b"].assign(values)
    return model


NOISY = {"dec_model": "lstm", "dec_rnn_size": 2, "num_mixture": 1, "z_size": 3, "img_H": 8, "img_W": 8}


def check_noise(z, again, other):
    for k in range(3):
        sigma = math.exp(PRESIG[k] / 2)
        check_mean(z[:, k], MEAN[k], sigma)
        # presig is the logarithm of sigma squared, neither of sigma nor sigma itself
        check_stddev(z[:, k], sigma, instead=[math.exp(PRESIG[k]), math.exp(PRESIG[k] / 4), abs(PRESIG[k])])
        check_distribution((z[:, k] - MEAN[k]) / sigma, normal_cumulative)
        check_correlation(z[1:, k], z[:-1, k], instead=1)  # noise of its own for each drawing
        check_correlation(z[:, k], z[:, k - 1], instead=1)  # and number
        check_correlation(z[:, k], other[:, k], instead=1)  # and step
    np.testing.assert_array_equal(z, again)


@pytest.mark.parametrize("skip_padding", [True, False])
@pytest.mark.parametrize("is_training", [True, False])  # as in the original, validation encodes with noise, too
def test_noise_of_z_in_training_and_validation(monkeypatch, skip_padding, is_training):
    trainer = Trainer(get_default_hparams().replace(max_seq_len=1, skip_padding=skip_padding, **NOISY))
    noisy_model(trainer.model)
    door = "decode_packed" if skip_padding else "decode"
    seen, decode = [], getattr(trainer.model, door)

    def recording_decode(strokes, code, *arguments, **named):
        seen.append(code.z.numpy())
        return decode(strokes, code, *arguments, **named)

    monkeypatch.setattr(trainer.model, door, recording_decode)
    rows = 4000
    points, lengths = np.zeros([rows, 3], np.float32), np.ones(rows, np.int32)
    batch = Batch(points, lengths, np.zeros([rows, 8, 8], np.uint8), np.arange(rows), np.ones(rows, bool))
    for seed in (1, 1, 2):
        trainer.compute_losses(batch, tf.constant(float(rows)), random_seed(seed), is_training)
    check_noise(*seen)


def test_noise_of_z_in_sampling():
    model = noisy_model(Model(get_default_hparams().replace(**NOISY)))
    images = np.zeros([4000, 8, 8], np.uint8)
    check_noise(*(encode_images(model, images, [(seed, i) for i in range(4000)]) for seed in (1, 1, 2)))
    np.testing.assert_allclose(encode_images(model, images), np.tile(MEAN, [4000, 1]), rtol=1e-6)


def test_z_is_standard_normal_where_none_is_given():
    # j = z / 100, so h = tanh(tanh(z / 100)), which is z / 100 for all that can be seen, and mu1, mu2 are 100 h.
    model = Model(get_default_hparams().replace(**NOISY))
    for name, weight in model.weights.items():
        if name.startswith("RNN/"):
            weight.assign(tf.zeros_like(weight))
    model.cell.weights["bias"].assign([60, 60, 0, 0, -60, -60, 60, 60])
    w_xh, output_w = np.zeros([8, 8], np.float32), np.zeros([2, 9], np.float32)
    w_xh[5:7, 2:4] = np.eye(2) / 100  # the first two numbers of z
    output_w[0, 4] = output_w[1, 5] = 100.0
    model.cell.weights["W_xh"].assign(w_xh)
    model.weights["RNN/output_w"].assign(output_w)
    z = np.stack([row[:2] for (row,) in sample_batch(model, None, 1, greedy_mode=True, num=3000, seed=5)])
    for k in range(2):
        check_distribution(z[:, k], normal_cumulative)
        check_stddev(z[:, k], 1.0)
    check_correlation(z[:, 0], z[:, 1])
    check_correlation(z[1:, 0], z[:-1, 0])
    single = np.array([sample(model, 1, greedy_mode=True, seed=seed)[0][0, 0] for seed in range(100)])
    check_mean(single, 0.0, 1.0)
    check_stddev(single, 1.0, instead=0.0)


# ---- augmentation ----------------------------------------------------------------------------------------------------


def stretches(loader, batches):
    """The factors of both axes ``[n, 2]``, from drawings whose every offset is (1, 1)."""
    factors = []
    for _ in range(batches):
        offsets = loader.random_batch().points.reshape(-1, 2, 3)[:, :, :2]
        np.testing.assert_array_equal(offsets[:, 0], offsets[:, 1])  # one factor for all of a drawing
        factors.append(offsets[:, 0])
    return np.concatenate(factors)


@pytest.mark.parametrize("factor", [0.15, 0.5])
def test_stretch_factors(factor):
    drawings = [np.array([[1, 1, 0], [1, 1, 1]], np.float32)] * 500
    loader = DataLoader(drawings, batch_size=500, max_seq_len=2, random_scale_factor=factor, seed=1)
    factors = stretches(loader, 20)
    for axis in range(2):
        values = factors[:, axis]
        assert values.min() >= np.float32(1 - factor) and values.max() <= np.float32(1 + factor)
        # Both ends are reached: that 10,000 draws all miss the last 500th of the range has probability 2e-9.
        assert values.min() < 1 - 0.996 * factor and values.max() > 1 + 0.996 * factor
        check_distribution(values, lambda x: (x - 1 + factor) / (2 * factor))
        check_correlation(values[1:], values[:-1], instead=1)  # a factor of its own for each drawing
        check_correlation(values[:500], values[500:1000], instead=1)  # and batch
    check_correlation(factors[:, 0], factors[:, 1], instead=1)  # and axis
    np.testing.assert_array_equal(loader.get_batch(0).points[:, :2], np.ones([1000, 2]))  # none in evaluation


PROB = 0.3
PEN = np.array([0] * 9 + [1] + [0] * 6 + [1, 1] + [0] * 4)  # strokes of 10, 7, 1 points, and 4 not lifted
# The third point in a row that is pen-down after one that is pen-down is a stroke's fourth; the lifted one stays.
ELIGIBLE = [3, 4, 5, 6, 7, 8, 13, 14, 15, 21]
DRAWING = np.column_stack([np.ones(len(PEN)), np.zeros(len(PEN)), PEN]).astype(np.float32)


def dropped_points(drawing):
    """Which points are gone from ``DRAWING``, whose every dx is 1.

    A dropped point's offset goes to the one retained before it, so that nothing ends at x = k if point k is gone.
    """
    ends = np.cumsum(drawing[:, 0])
    assert ends[-1] == len(PEN) and drawing[:, 2].sum() == PEN.sum()
    return ~np.isin(np.arange(len(PEN)), np.append(ends, 0))


def check_dropped(dropped):
    """dropped ``[n, len(PEN)]``."""
    for k in range(len(PEN)):
        if k in ELIGIBLE:
            check_frequency(dropped[:, k], PROB, instead=[1 - PROB, PROB**2, PROB / 2])
        else:  # were a stroke's third point eligible, too, it would be gone from a third of the drawings
            assert not dropped[:, k].any()
    for k in (3, 4, 5, 13):  # a point's fate does not depend on its predecessor's
        check_frequency(dropped[:, k] & dropped[:, k + 1], PROB**2, instead=[PROB, 0])
    check_frequency(dropped[1::2, 3] & dropped[::2, 3], PROB**2, instead=PROB)


def test_dropped_points_of_single_drawings():
    rng = np.random.default_rng(1)
    check_dropped(np.array([dropped_points(augment_strokes(DRAWING, PROB, rng)) for _ in range(4000)]))


def test_dropped_points_of_batches():
    loader = DataLoader([DRAWING] * 1000, batch_size=1000, max_seq_len=30, augment_stroke_prob=PROB, seed=1)
    dropped = []
    for _ in range(4):
        batch = loader.random_batch()
        dropped += [dropped_points(part) for part in np.split(batch.points, np.cumsum(batch.lengths)[:-1])]
    check_dropped(np.array(dropped))
    assert (loader.get_batch(0).lengths == len(PEN)).all()  # none in evaluation


# ---- sampling --------------------------------------------------------------------------------------------------------

PI = np.array([0.2, 0.3, 0.5])
MU = np.array([[-20.0, 10.0], [0.0, -30.0], [40.0, 5.0]])
SIGMA = np.array([[2.0, 0.5], [1.0, 3.0], [0.25, 1.5]])
CORR = np.array([0.8, 0.0, -0.6])
PENS = np.array([0.6, 0.3, 0.1])


def tempered(probabilities, temperature):
    """softmax(log p / temperature)."""
    powers = probabilities ** (1 / temperature)
    return powers / powers.sum()


def known_mixture(rows):
    fields = [PI, *MU.T, *SIGMA.T, CORR, PENS, np.log(PENS)]
    return MixtureParams(*(tf.constant(np.tile(field, [rows, 1]), tf.float32) for field in fields))


def check_points(points, temperature):
    """Points ``[n, 5]`` of the known mixture: components far apart, so that each point tells its own."""
    points, size = points.astype(np.float64), len(points)
    component = np.abs(points[:, None, :2] - MU).sum(axis=2).argmin(axis=1)
    for k, probability in enumerate(tempered(PI, temperature)):
        # instead: the temperature left out, and p^temperature
        instead = [] if temperature == 1 else [PI[k], tempered(PI, 1 / temperature)[k]]
        check_frequency(component == k, probability, instead)
        of_k = points[component == k, :2] - MU[k]
        for axis in range(2):
            sigma = SIGMA[k, axis] * temperature
            # instead: the paper's sigma^2 * temperature, which is not what the original does; and none
            instead = [] if temperature == 1 else [SIGMA[k, axis] * math.sqrt(temperature), SIGMA[k, axis]]
            check_mean(of_k[:, axis], 0.0, sigma)
            check_stddev(of_k[:, axis], sigma, instead)
            check_distribution(of_k[:, axis] / sigma, normal_cumulative)
        check_correlation(*of_k.T, CORR[k], instead=[-CORR[k]] if CORR[k] else [CORR[0], CORR[2]])
        # a sum of both axes is normal with the covariance's variance: that is, both are normal together
        total = SIGMA[k] @ np.array([[1, CORR[k]], [CORR[k], 1]]) @ SIGMA[k]
        check_stddev(of_k.sum(axis=1), temperature * math.sqrt(total))
    assert (points[:, 2:].sum(axis=1) == 1).all()
    for state, probability in enumerate(tempered(PENS, temperature)):
        instead = [] if temperature == 1 else [PENS[state], tempered(PENS, 1 / temperature)[state]]
        check_frequency(points[:, 2 + state], probability, instead)
    # The pen is drawn apart from the component and the offset.
    for k, probability in enumerate(tempered(PI, temperature)):
        both = probability * tempered(PENS, temperature)[0]
        check(np.mean((component == k) & (points[:, 2] == 1)), both, math.sqrt(both * (1 - both) / size))
    check_correlation((points[:, 0] - MU[component, 0]) / SIGMA[component, 0], points[:, 2])


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_points_drawn_from_a_known_mixture(temperature):
    rows = 60_000
    arguments = known_mixture(rows), tf.fill([rows, 1], temperature), tf.constant(False)
    points, same, other = (draw_point(*arguments, random_seed(seed)).numpy() for seed in (1, 1, 2))
    check_points(points, temperature)
    np.testing.assert_array_equal(points, same)
    check_correlation(points[:, 0], other[:, 0], instead=1)
    check_correlation(points[1:, 0], points[:-1, 0], instead=1)  # rows are drawn each for itself


def test_each_row_has_a_temperature_of_its_own():
    rows = 20_000
    temperature = tf.constant(np.tile([[0.2], [1.0]], [rows // 2, 1]), tf.float32)
    points = draw_point(known_mixture(rows), temperature, tf.constant(False), random_seed(3)).numpy()
    for start, value in ((0, 0.2), (1, 1.0)):
        check_frequency(points[start::2, 0] > 20, tempered(PI, value)[2], instead=tempered(PI, 1.2 - value)[2])


def test_greedy_points_are_the_mean_of_the_likeliest():
    points = draw_point(known_mixture(50), tf.fill([50, 1], 1.0), tf.constant(True), random_seed(1))
    np.testing.assert_array_equal(points, np.tile([40.0, 5.0, 1.0, 0.0, 0.0], [50, 1]))


def known_model():
    """An unconditional model that says the known mixture at every step."""
    hps = get_default_hparams().replace(dec_model="lstm", dec_rnn_size=1, num_mixture=3, conditional=False)
    model = Model(hps)
    model.weights["RNN/output_w"].assign(tf.zeros_like(model.weights["RNN/output_w"]))
    bias = np.concatenate([np.log(PENS), np.log(PI), *MU.T, *np.log(SIGMA.T), np.arctanh(CORR)])
    model.weights["RNN/output_b"].assign(bias)
    return model


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_sampled_drawings_of_a_known_mixture(temperature):
    num, steps = 15_000, 4
    model = known_model()
    drawings = sample_batch(model, None, steps, temperature, num=num, seed=7)
    lengths, end = np.array([len(drawing) for drawing in drawings]), tempered(PENS, temperature)[2]
    assert lengths.max() == steps
    for length in range(steps):  # cut before the first end, which each row has the same chance to be
        check_frequency(lengths == length, (1 - end) ** length * end)
    check_frequency(lengths == steps, (1 - end) ** steps)
    rows = np.concatenate(drawings)
    assert not rows[:, 4].any()
    component = np.abs(rows[:, None, :2] - MU).sum(axis=2).argmin(axis=1)
    for k, probability in enumerate(tempered(PI, temperature)):
        check_frequency(component == k, probability)
        for axis in range(2):
            check_stddev(rows[component == k, axis] - MU[k, axis], SIGMA[k, axis] * temperature)
    check_frequency(rows[:, 3], tempered(PENS[:2], temperature)[1])
    first, second = (np.stack([d[t, :2] for d in drawings if len(d) > 1]) for t in (0, 1))
    check_correlation(first[:, 0], second[:, 0], instead=1)  # a new draw at every step


def test_a_single_sample_of_a_known_mixture():
    strokes, params = sample(known_model(), 8_000, temperature=0.5, seed=11)  # uncut, as the original
    check_points(strokes, 0.5)
    np.testing.assert_allclose(params.sigma1[:3], np.tile(SIGMA[:, 0], [3, 1]), rtol=1e-5)  # before the temperature
