"""All that is not the paper's: other encoders, what the decoder may see beside the stroke, a KL term, presets.

What the decoder sees is a plug with three methods, used by teacher forcing and by sampling; both give the same:

    begin(code) -> state                                  before the first point
    sequence(state, strokes [N, T, 5]) -> [N, T, size]    all points at once
    step(state, stroke [N, 5]) -> ([N, size], state)      one point at a time

Letters as in model.py.
"""

import math
from typing import ClassVar

import tensorflow as tf

from hparams import HParams
from rnn import CELLS, Initializer, dropout_mask, unroll

PRESETS = {  # name -> changes to get_default_hparams()
    "default": {},
    # Draws within minutes on two cores.
    "demo": dict(
        num_steps=2400,
        save_every=300,
        enc_model="deep_cnn",
        enc_filters=[8, 16, 32, 64],
        presig_bias=-6.0,
        use_position=True,
        dec_model="lstm",
        dec_rnn_size=256,
        z_size=64,
        batch_size=50,
        num_mixture=10,
        learning_rate=0.003,
        decay_rate=0.999,
        min_learning_rate=0.0001,
        use_recurrent_dropout=False,
        random_scale_factor=0.0,
        augment_stroke_prob=0.0,
    ),
    # Draws what it sees far better than the paper's model: the weights in assets/pretrained.
    "sharp": dict(
        num_steps=28_000,
        save_every=1000,
        enc_model="deep_cnn",
        enc_filters=[16, 32, 64, 128],
        presig_bias=-6.0,
        use_position=True,
        position_noise_std=0.1,
        position_features=32,
        dec_model="lstm",
        dec_rnn_size=384,
        learning_rate=0.002,
        decay_rate=0.99986,
        min_learning_rate=0.00003,
        use_recurrent_dropout=False,
        augment_bitmaps=True,
        random_rotation=8.0,
        mirror_prob=0.5,
    ),
}


# ---------------------------------------------------------------------------------------------------------
# Encoders


class DeepCNN:
    """Ink 0..1, 3x3 convolutions (5x5 at first), each with instance normalisation and stride 2."""

    SCOPE = "ENC_CNN"
    READS_STROKES = False

    def __init__(self, hps: HParams, init: Initializer):
        self.weights, inputs = {}, 1
        for k, filters in enumerate(hps.enc_filters, 1):
            size = 5 if k == 1 else 3
            self.weights |= {
                f"ENC_CNN/deep{k}/DW": init.normal([size, size, inputs, filters], math.sqrt(2.0 / (size**2 * inputs))),
                f"ENC_CNN/deep{k}/gamma": tf.Variable(tf.ones([filters])),
                f"ENC_CNN/deep{k}/beta": tf.Variable(tf.zeros([filters])),
            }
            inputs = filters
        self.levels = len(hps.enc_filters)
        shrink = 2**self.levels
        self.output_size = -(-hps.img_H // shrink) * -(-hps.img_W // shrink) * inputs
        self.head_stddev = self.output_size**-0.5  # z tells drawings apart from the first step on

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Bitmaps ``[N, H, W, 1]`` -> features ``[N, output_size]``."""
        x = 1.0 - images / 255.0  # [N, H, W, 1]
        for k in range(1, self.levels + 1):
            weight, gamma, beta = (self.weights[f"ENC_CNN/deep{k}/{name}"] for name in ("DW", "gamma", "beta"))
            # The first level strides instead of pooling: most of the time would go into its large maps.
            x = tf.nn.conv2d(x, weight, 2 if k == 1 else 1, "SAME")
            mean, variance = tf.nn.moments(x, [1, 2], keepdims=True)
            scale = gamma * tf.math.rsqrt(variance + 1e-3)
            x = tf.nn.relu(x * scale + (beta - mean * scale))
            x = x if k == 1 else tf.nn.max_pool2d(x, 2, 2, "SAME")  # [N, H / 2^k, W / 2^k, filters]
        return tf.reshape(x, [-1, self.output_size])


class StrokeRNN:
    """Sketch-rnn's encoder (arXiv 1704.03477 §3.2, eq. 1): a bidirectional RNN over the strokes."""

    SCOPE = "ENC_RNN"
    READS_STROKES = True

    def __init__(self, hps: HParams, init: Initializer):
        self.dropout = hps.recurrent_dropout_prob if hps.use_recurrent_dropout else None
        self.cells = [CELLS[hps.enc_model](5, hps.enc_rnn_size, init) for _ in ("forward", "backward")]
        self.weights = {
            f"ENC_RNN/{direction}/{cell.NAME}/{name}": weight
            for direction, cell in zip(("fw", "bw"), self.cells, strict=True)
            for name, weight in cell.weights.items()
        }
        self.output_size = 2 * hps.enc_rnn_size
        self.head_stddev = 0.001

    def __call__(self, strokes: tf.Tensor, lengths: tf.Tensor, training: bool, seed: tf.Tensor) -> tf.Tensor:
        """Stroke-5 ``[N, T, 5]`` of ``lengths`` ``[N]`` <= T points -> h of both directions after their last point."""
        order = tf.argsort(lengths, direction="DESCENDING")  # so that at each step the first rows go on
        steps, strokes, lengths = tf.reduce_max(lengths), tf.gather(strokes, order), tf.gather(lengths, order)
        counts = tf.reduce_sum(tf.cast(tf.range(steps)[:, None] < lengths[None], tf.int32), axis=1)  # [T]
        lasts = []
        for cell, step_seed in zip(self.cells, tf.unstack(tf.random.split(seed, 2)), strict=True):
            x = strokes if cell is self.cells[0] else tf.reverse_sequence(strokes, lengths, seq_axis=1)
            x, masks = tf.transpose(x, [1, 0, 2])[:steps], None  # [T, N, 5]
            zeros = tf.zeros([tf.shape(x)[1], sum(cell.state_sizes)])
            if training and self.dropout is not None:
                masks = dropout_mask([tf.reduce_sum(counts), cell.num_units], self.dropout, step_seed)
            _, state = unroll(cell, x, zeros, masks=masks, counts=counts)
            lasts.append(cell.last_output(state))  # [N, enc_rnn_size]
        return tf.gather(tf.concat(lasts, axis=1), tf.argsort(order))  # [N, 2 enc_rnn_size]


ENCODERS = {"deep_cnn": DeepCNN, **dict.fromkeys(CELLS, StrokeRNN)}


# ---------------------------------------------------------------------------------------------------------
# What the decoder sees beside the stroke


class PenPosition:
    """Where on the page the pen is, in units of normalised strokes from the page's centre."""

    size = 2
    weights: ClassVar = {}

    def begin(self, code):
        """The page's centre ``[N, 2]``, where every drawing begins."""
        return tf.zeros([tf.shape(code.z)[0], 2])

    def sequence(self, state, strokes):
        """``[N, T, 2]``."""
        return state[:, None] + tf.cumsum(strokes[:, :, :2], axis=1)

    def step(self, state, stroke):
        """``[N, 2]``, which is the next state, too."""
        position = state + stroke[:, :2]
        return position, position


class FourierPositionReadout:
    """Fourier features of the pen position, read out by weights that are predicted from z.

    The features are sines of trainable direction, length and phase over the page. z weighs them into G numbers for
    each position; the sum of the features of all positions so far tells where ink is already.
    """

    FEATURES = 96
    FREQUENCY = 2.0  # radians per unit of normalised strokes; a page is some 6 units wide
    VISITED_SCALE = 0.1

    def __init__(self, hps: HParams, init: Initializer):
        self.outputs = hps.position_features
        self.size = 2 * self.outputs
        shape = [hps.z_size, self.FEATURES * self.outputs]
        self.weights = {
            "glimpse/place_w": init.normal([2, self.FEATURES], self.FREQUENCY),
            "glimpse/place_b": init.normal([self.FEATURES], math.pi),
            "glimpse/visited_w": init.normal([self.FEATURES, self.outputs], self.FEATURES**-0.5),
            "glimpse/field_w": init.normal(shape, (hps.z_size * self.FEATURES) ** -0.5),
            "glimpse/field_b": tf.Variable(tf.zeros(shape[1:])),
        }

    def begin(self, code):
        """(position ``[N, 1, 2]``, summed features ``[N, 1, FEATURES]``, weights of the read-out)."""
        rows = tf.shape(code.z)[0]
        readout = tf.matmul(code.z, self.weights["glimpse/field_w"]) + self.weights["glimpse/field_b"]
        readout = tf.reshape(readout, [-1, self.FEATURES, self.outputs])  # [N, FEATURES, G]
        return tf.zeros([rows, 1, 2]), tf.zeros([rows, 1, self.FEATURES]), readout

    def _read(self, state, strokes):
        position, visited, readout = state
        positions = position + tf.cumsum(strokes[:, :, :2], axis=1)  # [N, T, 2]
        phases = tf.matmul(positions, self.weights["glimpse/place_w"]) + self.weights["glimpse/place_b"]
        features = tf.sin(phases)  # [N, T, FEATURES]
        sums = visited + tf.cumsum(features, axis=1)
        seen = tf.matmul(features, readout)  # [N, T, G]
        covered = tf.matmul(sums * self.VISITED_SCALE, self.weights["glimpse/visited_w"])  # [N, T, G]
        return tf.concat([seen, covered], axis=2), (positions[:, -1:], sums[:, -1:], readout)

    def sequence(self, state, strokes):
        """``[N, T, 2 G]``: what z gives of each position, and of the positions so far."""
        return self._read(state, strokes)[0]

    def step(self, state, stroke):
        """``[N, 2 G]`` and the state after this stroke."""
        seen, state = self._read(state, stroke[:, None])
        return seen[:, 0], state


def make_decoder_features(hps: HParams, init: Initializer) -> list:
    """The plugs that the hyper-parameters ask for, in the order in which the decoder's weights know them."""
    plugs = [PenPosition()] if hps.use_position else []
    return plugs + ([FourierPositionReadout(hps, init)] if hps.position_features else [])


# ---------------------------------------------------------------------------------------------------------
# Training


def add_position_noise(strokes: tf.Tensor, stddev: float, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Drawings ``[N, T + 1, 5]`` -> the rows that a decoder is fed and its targets, both ``[N, T, 5]``.

    Each point fed lies off its position by noise of ``stddev`` units, and its target leads from there to the next
    point's true position: a decoder that was fed a person's points alone does not learn to recover from its own
    errors (exposure bias). The start token stays.
    """
    shift = tf.random.stateless_normal(tf.shape(strokes[:, 1:-1, :2]), seed, stddev=stddev)
    shift = tf.pad(shift, [[0, 0], [1, 0], [0, 3]])  # [N, T, 5]
    moved = shift - tf.pad(shift[:, :-1], [[0, 0], [1, 0], [0, 0]])
    return strokes[:, :-1] + moved, strokes[:, 1:] - shift


def kl_cost(mean: tf.Tensor, presig: tf.Tensor) -> tf.Tensor:
    """KL divergence of each code from N(0, 1), per latent dimension (arXiv 1704.03477, eq. 10) -> ``[N]``."""
    return -0.5 * tf.reduce_mean(1.0 + presig - tf.square(mean) - tf.exp(presig), axis=1)


def kl_weight_at(hps: HParams, step: int) -> float:
    """kl_weight (1 - (1 - kl_weight_start) kl_decay_rate^step) (arXiv 1704.03477, eqs 12-13)."""
    return hps.kl_weight * (1.0 - (1.0 - hps.kl_weight_start) * hps.kl_decay_rate**step)
