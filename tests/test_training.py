"""One training step: the losses, what is minimised, the optimiser, the seeds."""

import itertools

import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf
from miniatures import make_model
from numpy_reference import relative_error

import sketch_pix2seq_train as training
from distributed import DistributedContext
from model import get_default_hparams, pad_strokes
from seeds import PURPOSES, seed_for, stateless_seed
from sketch_pix2seq_train import Trainer
from utils import Batch, DataLoader

SIZES = {"dec_model": "lstm", "dec_rnn_size": 7, "z_size": 4, "num_mixture": 3, "img_H": 9, "img_W": 13}
LENGTHS = [3, 5, 1, 6]
LONGEST = 8  # max_seq_len
SEED = tf.constant([1, 2])


def make_trainer(**changes):
    """A trainer whose losses are no matter of chance: no dropout, and a sigma of z that is exp(-30)."""
    model, _ = make_model()
    sure = {"max_seq_len": LONGEST, "use_recurrent_dropout": False}
    trainer = Trainer(get_default_hparams().replace(**SIZES, **sure, **changes))
    model.weights["ENC_CNN/ENC_CNN_sigma/super_linear_b"].assign([-60.0] * 4)
    model.weights["ENC_CNN/ENC_CNN_sigma/super_linear_w"].assign(
        tf.zeros_like(model.weights["ENC_CNN/ENC_CNN_mu/super_linear_w"])
    )
    model.weights["ENC_CNN/conv1/DW"].assign(model.weights["ENC_CNN/conv1/DW"] / 1000.0)
    for name, weight in trainer.model.weights.items():
        weight.assign(model.weights[name])
    return trainer, {name: weight.numpy().astype(np.float64) for name, weight in model.weights.items()}


def make_batch(lengths=LENGTHS):
    rng = np.random.default_rng(11)
    points = np.column_stack([rng.normal(size=(sum(lengths), 2)), rng.integers(0, 2, sum(lengths))])
    images = rng.integers(0, 256, (len(lengths), 9, 13), np.uint8)
    learned = np.ones(len(points), bool)
    return Batch(points.astype(np.float32), np.array(lengths, np.int32), images, np.arange(len(lengths)), learned)


def losses_of(trainer, batch, training):
    """Of a batch, whole."""
    batch = Batch(*map(tf.constant, batch))
    return trainer.compute_losses(batch, float(len(batch.lengths)), SEED, training)


class Given:
    """A loader that gives some batches over and over."""

    def __init__(self, batches):
        self.batches = itertools.cycle(batches)

    def random_batch(self, rng):
        return next(self.batches)


def updates(trainer, *batches, first=0):
    """The losses of steps from ``first`` on, one on each batch."""
    given = trainer.batches(Given(batches), first)
    losses = [trainer.update(next(given), step) for step in range(first, first + len(batches))]
    return [{name: float(value) for name, value in found.items()} for found in losses]


# ---- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("skip_padding", [True, False])
def test_recon_is_the_sum_over_rows_over_drawings_times_max_seq_len(skip_padding, training):
    # With skip_padding the rows up to each drawing's end, else all of max_seq_len, whose pens count.
    trainer, weights = make_trainer(skip_padding=skip_padding)
    batch = make_batch()
    strokes = pad_strokes(batch.points, batch.lengths, LONGEST).numpy()
    z, _ = reference.encode(weights, batch.images[..., None])
    params, _ = reference.decode("lstm", weights, strokes[:, :-1], z)
    needed = np.arange(LONGEST) <= np.array(LENGTHS)[:, None] if skip_padding else np.ones([4, LONGEST], bool)
    params = reference.Mixture(*(field[needed.ravel()] for field in params))
    expected = reference.loss(params, strokes[:, 1:][needed], mask_padding=False) * needed.sum() / (4 * LONGEST)
    losses = losses_of(trainer, batch, training)
    assert losses.keys() == {"recon"}
    assert relative_error(losses["recon"], expected) < 1e-5
    assert trainer.total_cost(losses, 0.0) is losses["recon"]
    parts = [losses_of(trainer, batch.shard(i, 2), training)["recon"] / 2 for i in range(2)]
    assert relative_error(sum(parts), expected) < 1e-5  # microbatches are parts of the mean


@pytest.mark.parametrize("tolerance, counted", [(0.2, None), (1000.0, 1000.0)])
def test_cost_with_a_kl_term(tolerance, counted, eagerly):
    trainer, weights = make_trainer(kl_weight=0.5, kl_tolerance=tolerance, presig_bias=-4.0)
    batch = make_batch()
    mean, presig = reference.encode(weights, batch.images[..., None])
    kl = np.mean(-0.5 * (1 + presig - mean**2 - np.exp(presig)))
    assert kl > 0.2
    [losses] = updates(trainer, batch, first=10)
    weight = 0.5 * (1 - 0.99 * 0.99995**10)
    assert list(losses) == ["cost", "recon", "kl"]
    assert losses["kl"] == pytest.approx(kl, rel=1e-4)
    assert losses["cost"] == pytest.approx(losses["recon"] + weight * (counted or kl), rel=1e-4)


@pytest.mark.parametrize("skip_padding", [True, False])
def test_only_training_adds_position_noise(skip_padding, monkeypatch):
    fed = []

    def recorded(strokes, stddev, seed):
        fed.append((stddev, *add_position_noise(strokes, stddev, seed)))
        return fed[-1][1:]

    add_position_noise = training.add_position_noise
    monkeypatch.setattr(training, "add_position_noise", recorded)
    changes = {"use_position": True, "presig_bias": -60.0, "use_recurrent_dropout": False, "max_seq_len": LONGEST}
    batch, recon = make_batch(), {}
    for noise in (0.0, 0.5):
        hps = get_default_hparams().replace(**SIZES, **changes, position_noise_std=noise, skip_padding=skip_padding)
        trainer = Trainer(hps)
        recon[noise] = [float(losses_of(trainer, batch, training)["recon"]) for training in (True, False)]
    assert recon[0.0][0] == pytest.approx(recon[0.0][1], rel=1e-5) == recon[0.5][1]
    [(stddev, rows, target)] = fed
    assert stddev == 0.5
    rows, target = rows.numpy(), target.numpy()
    weights = {name: weight.numpy().astype(np.float64) for name, weight in trainer.model.weights.items()}
    z, _ = reference.encode(weights, batch.images[..., None])
    positions = np.cumsum(rows[:, :, :2], axis=1)
    params, _ = reference.decode("lstm", weights, np.concatenate([rows, positions], axis=2), z)
    steps = rows.shape[1]
    needed = np.arange(steps) <= np.array(LENGTHS)[:, None] if skip_padding else np.ones([4, steps], bool)
    params = reference.Mixture(*(field[needed.ravel()] for field in params))
    expected = reference.loss(params, target[needed], mask_padding=False) * needed.sum() / (4 * LONGEST)
    assert recon[0.5][0] == pytest.approx(expected, rel=1e-4)
    assert abs(recon[0.5][0] - recon[0.0][0]) > 1e-3


# ---- the optimiser's step --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drawings", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_microbatches_together_are_the_batch(drawings):
    batches = make_batch(LENGTHS[:drawings]), make_batch([2, 4, 3][:drawings])
    costs, weights = [], []
    for count in (1, 2):
        trainer, before = make_trainer(kl_weight=0.5)
        trainer.microbatches = count
        costs.append([loss for losses in updates(trainer, *batches) for loss in losses.values()])
        weights.append({name: weight.numpy() for name, weight in trainer.model.weights.items()})
        assert trainer.train_step.experimental_get_tracing_count() == 1  # for drawings of any number and length
    np.testing.assert_allclose(*costs, rtol=1e-5)
    for name, weight in weights[0].items():
        if "ENC_CNN_sigma" not in name:  # gradients of 1e-13, whose sign Adam would magnify
            np.testing.assert_allclose(weights[1][name], weight, atol=2e-5, err_msg=name)
    assert np.abs(weights[0]["RNN/output_w"] - before["RNN/output_w"]).max() > 1e-3


def test_update_is_adam_on_gradients_clipped_by_value(eagerly):
    clip, rates = 0.02, {"learning_rate": 0.01, "decay_rate": 0.5, "min_learning_rate": 0.002}
    trainer, _ = make_trainer(grad_clip=clip, **rates)
    batch, names = make_batch(), list(trainer.model.weights)
    values, m, v = ({name: 0.0 for name in names} for _ in range(3))
    for name in names:
        values[name] = trainer.model.weights[name].numpy().astype(np.float64)
    clipped = []
    for step, rate in enumerate([0.01, 0.006, 0.004]):  # 0.008 / 2^step + 0.002: the count before the update
        with tf.GradientTape() as tape:
            cost = trainer.total_cost(losses_of(trainer, batch, True), 0.0)
        gradients = tape.gradient(cost, trainer.model.weights)
        [losses] = updates(trainer, batch, first=step)
        assert losses == pytest.approx({"cost": float(cost), "recon": float(cost)}, rel=1e-5)
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


def test_a_batch_that_cannot_be_made_says_why(eagerly):
    def batches():
        yield make_batch()
        raise ValueError("the third drawing has no point")

    trainer, _ = make_trainer()
    loader = Given([])
    loader.batches = batches()
    given = trainer.batches(loader, 0)
    trainer.update(next(given), 0)
    with pytest.raises(ValueError, match="the third drawing has no point"):
        next(given)


def test_every_drawing_weighs_the_same_in_validation(eagerly):
    trainer, _ = make_trainer()
    batch = make_batch([1, 3, 5, 6, 7])
    strokes = np.split(batch.points, np.cumsum(batch.lengths)[:-1])
    alone = [float(losses_of(trainer, batch.shard(i, 5), False)["recon"]) for i in range(5)]
    for batch_size in (2, 5, 100):
        losses = trainer.evaluate(DataLoader(strokes, batch.images, batch_size=batch_size))
        assert losses == pytest.approx({"cost": np.mean(alone), "recon": np.mean(alone)}, rel=1e-5)


# ---- randomness ------------------------------------------------------------------------------------------------------


def test_no_two_uses_share_a_seed():
    numbers = (0, 1, 2, 7)
    arguments = list(itertools.product((0, 5), PURPOSES, numbers, numbers, numbers))
    seeds = [seed_for(*each) for each in arguments]
    assert len(set(seeds)) == len(arguments)
    assert {len(seed) for seed in seeds} == {5}  # of one length: none is the beginning of another
    assert len({tuple(stateless_seed(seed)) for seed in seeds}) == len(arguments)
    assert len({np.random.default_rng(seed).integers(2**63) for seed in seeds}) == len(arguments)
    np.testing.assert_array_equal(stateless_seed(seeds[3]), stateless_seed(seeds[3]))
    for mistake in [(-1, "train"), (1, "no such purpose")]:
        with pytest.raises(ValueError):
            seed_for(*mistake)


class OneOfSeveral(DistributedContext):
    """A worker of a machine of its own, with one replica, that never meets the others."""

    def __init__(self, index):
        super().__init__()
        self.index, self.replicas = index, (index,)


RANDOM = {  # everything that is random, on
    "use_recurrent_dropout": True, "use_input_dropout": True, "use_output_dropout": True, "random_scale_factor": 0.2,
    "augment_stroke_prob": 0.3, "use_position": True, "position_noise_std": 0.1,
}  # fmt: skip


def test_workers_and_validation_never_share_randomness(monkeypatch, eagerly):
    """Two workers of two microbatches each, three steps and three batches of validation: each draws from its own."""
    seeds = []

    def recorded(*arguments, **named):
        seeds.append(seed_for(*arguments, **named))
        return seeds[-1]

    monkeypatch.setattr(training, "seed_for", recorded)
    batch = make_batch([4] * 6)
    strokes = [drawing.copy() for drawing in np.split(batch.points, 6)]
    loader = DataLoader(strokes, batch.images, batch_size=2, random_scale_factor=0.2, augment_stroke_prob=0.3)
    for index in range(2):
        trainer = Trainer(get_default_hparams().replace(**SIZES, **RANDOM, max_seq_len=LONGEST), OneOfSeveral(index))
        trainer.microbatches = 2
        batches = trainer.batches(loader, 0)
        for step in range(3):
            trainer.update(next(batches), step)
        trainer.evaluate(loader)
    assert len(set(seeds)) == len(seeds) >= 2 * (3 * (1 + 2) + 3 * 2)  # a batch and its microbatches; validation


def test_seeds_make_a_difference(eagerly):
    """One drawing, twelve uses of it: the same weights get another loss from each."""
    lone = make_batch([6])
    twice = Batch(*(np.concatenate([field, field]) for field in lone))
    seen = []
    for index in range(2):
        hps = get_default_hparams().replace(**SIZES, **RANDOM, max_seq_len=LONGEST, presig_bias=2.0)
        trainer = Trainer(hps, OneOfSeveral(index))
        trainer.microbatches = 2
        trainer.model.weights["linear/super_linear_w"].assign_add(tf.ones([4, 14]))  # so that z is seen
        compute_losses, before = trainer.compute_losses, [variable.numpy() for variable in trainer.state]

        def recorded(*arguments, compute_losses=compute_losses, **named):
            losses = compute_losses(*arguments, **named)
            seen.append(float(losses["recon"]))
            return losses

        trainer.compute_losses = recorded
        batches = trainer.batches(Given([twice]), 0)
        for step in range(2):
            trainer.update(next(batches), step)
            for variable, value in zip(trainer.state, before, strict=True):
                variable.assign(value)
        trainer.evaluate(DataLoader([lone.points] * 2, np.tile(lone.images, [2, 1, 1])))
    assert len(set(seen)) == len(seen) == 2 * (2 * 2 + 2)
