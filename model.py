"""Sketch-pix2seq: a bitmap in, pen strokes out (arXiv 1709.04121). Edit ``get_default_hparams()``.

Letters: N batch, T steps, P real points of all drawings (each drawing's end counts as one), Z ``z_size``, H x W
``img_H`` x ``img_W``, U ``dec_rnn_size``, M ``num_mixture``, I numbers that the decoder is fed at each step. Stroke-5
rows are (dx, dy, p1 pen down, p2 pen lifted, p3 end); the mixture is that of arXiv 1308.0850. What is not the paper's
stands in extensions.py, off unless a hyper-parameter asks for it.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import extensions
from extensions import PRESETS as PRESETS
from hparams import HParams
from rnn import CELLS, Initializer, dropout_mask, make_dense
from snapshots import find_snapshot, load_hparams, load_snapshot
from snapshots import load_data_info as load_data_info
from unrolling import is_padded, unroll

START = np.array([0, 0, 1, 0, 0], np.float32)  # the row that is fed first


def get_default_hparams() -> HParams:
    """THE place to edit: what to train on, and how. What is not named here is as in ``HParams`` of hparams.py."""
    return HParams(
        data_set=[  # the doodles that come with the project; QuickDraw's are named e.g. "cat.npz", "pig.npz"
            "doodle_car.npz",
            "doodle_cat.npz",
            "doodle_fish.npz",
            "doodle_flower.npz",
            "doodle_house.npz",
            "doodle_sailboat.npz",
        ],
    )


# ---------------------------------------------------------------------------------------------------------
# The mixture


class MixtureParams(NamedTuple):
    """What the decoder says of each next point; every field ``[N*T, M]``, the pens ``[N*T, 3]``."""

    pi: tf.Tensor
    mu1: tf.Tensor
    mu2: tf.Tensor
    sigma1: tf.Tensor
    sigma2: tf.Tensor
    corr: tf.Tensor
    pen: tf.Tensor
    pen_logits: tf.Tensor


LOG_SIGMA_LIMIT = 12.0  # sigma from 6e-6 to 160,000: far outside what drawings need, far inside float32
CORR_LIMIT = 1.0 - 1e-6  # tanh reaches 1 in float32, and 1 - corr^2 divides


def mixture_params(output: tf.Tensor) -> MixtureParams:
    """The dense layer's output ``[N*T, 3 + 6M]`` to the mixture (arXiv 1308.0850, eqs 18-22).

    Order: 3 pen logits, then pi logits, mu1, mu2, log sigma1, log sigma2, atanh corr, M each.
    """
    pen_logits, rest = output[:, :3], output[:, 3:]
    pi, mu1, mu2, log_sigma1, log_sigma2, corr = tf.split(rest, 6, axis=1)
    log_sigma1, log_sigma2 = (tf.clip_by_value(x, -LOG_SIGMA_LIMIT, LOG_SIGMA_LIMIT) for x in (log_sigma1, log_sigma2))
    return MixtureParams(
        pi=tf.nn.softmax(pi),
        mu1=mu1,
        mu2=mu2,
        sigma1=tf.exp(log_sigma1),
        sigma2=tf.exp(log_sigma2),
        corr=tf.clip_by_value(tf.tanh(corr), -CORR_LIMIT, CORR_LIMIT),
        pen=tf.nn.softmax(pen_logits),
        pen_logits=pen_logits,
    )


def point_losses(params: MixtureParams, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(L_s, L_p), each ``[N*T]``, neither masked, for targets ``[N, T, 5]``.

    L_s = -log(sum_k pi_k N2(dx, dy) + 1e-6) (arXiv 1308.0850, eqs 24-26), summed in log space so that no far
    point overflows; L_p is the cross-entropy of the pen state.
    """
    target = tf.reshape(target, [-1, 5])
    z1 = (target[:, 0:1] - params.mu1) / params.sigma1
    z2 = (target[:, 1:2] - params.mu2) / params.sigma2
    one_minus_corr2 = (1.0 - params.corr) * (1.0 + params.corr)
    distance = tf.square(z1) + tf.square(z2) - 2.0 * params.corr * z1 * z2
    tiny = np.finfo(np.float32).tiny
    log_density = (
        tf.math.log(tf.maximum(params.pi, tiny))
        - distance / (2.0 * one_minus_corr2)
        - tf.math.log(params.sigma1)
        - tf.math.log(params.sigma2)
        - 0.5 * tf.math.log(one_minus_corr2)
        - math.log(2.0 * math.pi)
    )
    floor = tf.fill([tf.shape(target)[0], 1], math.log(1e-6))
    stroke_loss = -tf.reduce_logsumexp(tf.concat([log_density, floor], axis=1), axis=1)
    pen_loss = tf.nn.softmax_cross_entropy_with_logits(labels=target[:, 2:], logits=params.pen_logits)
    return stroke_loss, pen_loss


def reconstruction_loss(params: MixtureParams, target: tf.Tensor, mask_padding: bool) -> tf.Tensor:
    """Mean over N*T of L_s (1 - p3) + L_p, for targets ``[N, T, 5]`` -> scalar (arXiv 1704.03477, eq. 9).

    ``mask_padding`` multiplies L_p by (1 - p3), too, as the original's evaluation does. A negative value is no fault: a
    density may exceed 1. Training sums the same ``point_losses`` itself.
    """
    stroke_loss, pen_loss = point_losses(params, target)
    real = 1.0 - tf.reshape(target, [-1, 5])[:, 4]
    return tf.reduce_mean(stroke_loss * real + pen_loss * (real if mask_padding else 1.0))


# ---------------------------------------------------------------------------------------------------------
# The encoder

# As in the original, the page's border responds to the filter, too.
HIGH_PASS = np.where(np.arange(9) == 4, 8.0, -1.0).reshape(3, 3, 1, 1).astype(np.float32)
CNN_FILTERS = (4, 4, 8, 8, 8, 8)
CNN_STRIDES = (2, 1, 2, 1, 2, 1)


class PaperCNN:
    """The encoder of arXiv 1709.04121: a fixed high-pass filter, then six 2x2 convolutions without bias."""

    SCOPE = "ENC_CNN"
    READS_STROKES = False

    def __init__(self, hps: HParams, init: Initializer):
        sizes = zip((1, *CNN_FILTERS), CNN_FILTERS, strict=False)
        self.weights = {
            f"ENC_CNN/conv{k}/DW": init.normal([2, 2, inputs, filters], math.sqrt(2.0 / (4 * filters)))
            for k, (inputs, filters) in enumerate(sizes, 1)
        }
        self.output_size = -(-hps.img_H // 8) * -(-hps.img_W // 8) * CNN_FILTERS[-1]
        self.head_stddev = 0.001

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Bitmaps ``[N, H, W, 1]`` -> features ``[N, output_size]``."""
        x = tf.nn.conv2d(images, HIGH_PASS, 1, "SAME")  # [N, H, W, 1]
        for k, stride in enumerate(CNN_STRIDES, 1):
            x = tf.nn.conv2d(x, self.weights[f"ENC_CNN/conv{k}/DW"], stride, "SAME")
            x = tf.tanh(x) if k == 6 else tf.nn.relu(x)
        return tf.reshape(x, [-1, self.output_size])  # [N, ceil(H/8) * ceil(W/8) * 8]


ENCODERS = {"cnn": PaperCNN, **extensions.ENCODERS}


# ---------------------------------------------------------------------------------------------------------
# The model


class Code(NamedTuple):
    """All that a decoder needs of a drawing. Every function that takes one takes a bare z, too."""

    z: tf.Tensor  # [N, Z]; [N, 0] for an unconditional model
    features: Any = None  # what plugs of extensions.py read of the bitmap; None for the paper's model

    def gather(self, indices) -> "Code":
        """The code of some of the drawings."""
        features = None
        if self.features is not None:
            features = tf.nest.map_structure(lambda part: tf.gather(part, indices), self.features)
        return Code(tf.gather(self.z, indices), features)


def pad_strokes(points: tf.Tensor, lengths: tf.Tensor, steps: tf.Tensor | int) -> tf.Tensor:
    """Stroke-3 drawings laid end to end ``[P, 3]``, of ``lengths`` ``[N]`` -> stroke-5 ``[N, steps + 1, 5]``.

    Row 0 is the start token, then come the points, then the end state up to the last row.
    """
    real = tf.sequence_mask(lengths, steps)  # [N, steps]
    strokes = tf.scatter_nd(tf.where(real), tf.cast(points, tf.float32), [*tf.unstack(tf.shape(real, tf.int64)), 3])
    lifted, ended = strokes[:, :, 2:], 1.0 - tf.cast(real, tf.float32)[:, :, None]
    strokes = tf.concat([strokes[:, :, :2], 1.0 - lifted - ended, lifted, ended], axis=2)  # [N, steps, 5]
    return tf.concat([tf.tile(START[None, None], [tf.shape(strokes)[0], 1, 1]), strokes], axis=1)


def as_images(images) -> tf.Tensor:
    """Bitmaps uint8 or float ``[N, H, W]`` or ``[N, H, W, 1]`` -> float32 ``[N, H, W, 1]``."""
    images = tf.cast(images, tf.float32)
    return images[..., None] if images.shape.rank == 3 else images


class Model(tf.Module):
    """Encoder and decoder. ``weights``: every variable, by the original's name without its prefix ``vector_rnn/``."""

    def __init__(self, hps: HParams):
        super().__init__()
        self.hps = hps
        init, weights = Initializer(hps.seed), {}
        z_size = hps.z_size if hps.conditional else 0
        self.decoder_features = extensions.make_decoder_features(hps, init)  # plugs; the paper's model has none
        input_size = 5 + sum(plug.size for plug in self.decoder_features) + z_size
        self.cell = CELLS[hps.dec_model](input_size, hps.dec_rnn_size, init)
        self.cell.precision = tf.bfloat16 if hps.precision == "mixed_bfloat16" else tf.float32
        self.padded = is_padded(hps.unroll)  # compiled for a GPU, as the loop over a batch and that of sampling are
        self.state_size = sum(self.cell.state_sizes)
        self.output_size = 3 + 6 * hps.num_mixture
        if hps.conditional:
            self.encoder = ENCODERS[hps.enc_model](hps, init)
            weights |= self.encoder.weights
            scope = self.encoder.SCOPE
            self.heads = [f"{scope}/{scope}_{name}" for name in ("mu", "sigma")]
            for head, bias in zip(self.heads, (0.0, hps.presig_bias), strict=True):
                weights[f"{head}/super_linear_w"] = init.normal(
                    [self.encoder.output_size, z_size], self.encoder.head_stddev
                )
                weights[f"{head}/super_linear_b"] = tf.Variable(tf.fill([z_size], bias))
            weights["linear/super_linear_w"] = init.normal([z_size, self.state_size], 0.001)
            weights["linear/super_linear_b"] = tf.Variable(tf.zeros([self.state_size]))
        for plug in self.decoder_features:
            weights |= plug.weights
        weights["RNN/output_w"] = init.glorot([hps.dec_rnn_size, self.output_size])
        weights["RNN/output_b"] = init.glorot([self.output_size])
        weights |= {f"RNN/{self.cell.NAME}/{name}": weight for name, weight in self.cell.weights.items()}
        self.weights = weights

    def _linear(self, name, x):
        return tf.matmul(x, self.weights[f"{name}/super_linear_w"]) + self.weights[f"{name}/super_linear_b"]

    # ---- encoder

    @property
    def reads_strokes(self) -> bool:
        """Whether the encoder is sketch-rnn's, which cannot read a bitmap."""
        return self.hps.conditional and self.encoder.READS_STROKES

    def encode(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Bitmaps uint8 or float, 0 (ink) to 255 (paper) -> (mean, presig) of z; sigma = exp(presig / 2)."""
        self._require_encoder(reads_strokes=False)
        features = self.encoder(as_images(images))  # [N, ceil(H/8) * ceil(W/8) * 8] for the paper's
        return self._linear(self.heads[0], features), self._linear(self.heads[1], features)  # [N, Z], [N, Z]

    def encode_strokes(self, strokes, lengths, training: bool = False, seed=None) -> tuple[tf.Tensor, tf.Tensor]:
        """``encode`` for sketch-rnn's encoders: stroke-5 ``[N, T, 5]`` without start token, of ``lengths`` ``[N]``."""
        self._require_encoder(reads_strokes=True)
        seed = tf.zeros([2], tf.int32) if seed is None else seed
        features = self.encoder(tf.cast(strokes, tf.float32), lengths, training, seed)
        return self._linear(self.heads[0], features), self._linear(self.heads[1], features)  # [N, Z], [N, Z]

    def _require_encoder(self, reads_strokes):
        if not self.hps.conditional:
            raise ValueError("this model is unconditional: it has no encoder")
        if self.reads_strokes != reads_strokes:
            reads = "strokes, not bitmaps" if self.reads_strokes else "bitmaps, not strokes"
            raise ValueError(f"this model's encoder ({self.hps.enc_model}) reads {reads}")

    def code(self, images: tf.Tensor, noise: tf.Tensor | float = 0.0) -> Code:
        """The code of bitmaps as ``encode`` reads them: z = mean + sigma * ``noise``, of N(0, 1) in the original."""
        mean, presig = self.encode(images)  # [N, Z], [N, Z]
        return self.make_code(mean + tf.exp(presig / 2.0) * noise, images)

    @property
    def reads_pixels(self) -> bool:
        """Whether the decoder looks at the bitmap, too, as the paper's does not."""
        return self.hps.pixel_features > 0

    def make_code(self, z: tf.Tensor, images: tf.Tensor, present: tf.Tensor | None = None) -> Code:
        """z ``[N, Z]`` and what a plug reads of the bitmaps, but for drawings whose present ``[N]`` is 0."""
        if not self.reads_pixels:
            return Code(z)
        return Code(z, self.decoder_features[-1].encode(as_images(images), present))

    def as_code(self, code, rows) -> Code:
        """A Code of a Code, of a bare z ``[N, Z]``, or of None, which stands for no z in ``rows`` rows."""
        if isinstance(code, Code):
            return code
        return Code(tf.zeros([rows, 0]) if code is None else tf.cast(code, tf.float32))

    # ---- decoder

    def initial_state(self, code=None, batch_size: int | None = None) -> tf.Tensor:
        """tanh(z.W + b), or ``batch_size`` rows of zeros when unconditional -> ``[N, state_size]``."""
        if self.hps.conditional:
            return tf.tanh(self._linear("linear", self.as_code(code, batch_size).z))
        if code is None and batch_size is None:
            raise ValueError("an unconditional model's initial state needs batch_size")
        return tf.zeros([batch_size if code is None else tf.shape(self.as_code(code, 0).z)[0], self.state_size])

    def decode(self, strokes, code, initial_state=None, training: bool = False, seed=None):
        """Teacher forcing: what the decoder expects after each of the rows ``[N, T, 5]`` given.

        code of N drawings (None when unconditional); initial_state ``[N, state_size]``, by default that of the code;
        with ``training`` the dropouts that the hyper-parameters ask for, drawn from ``seed`` (two integers).
        Returns (MixtureParams of ``[N*T, .]``, final state ``[N, state_size]``).
        """
        strokes = tf.convert_to_tensor(strokes, tf.float32)  # [N, T, 5]
        rows, steps = tf.unstack(tf.shape(strokes)[:2])
        output, state = self._decode(strokes, code, initial_state, training, seed, None)  # [T*N, 3 + 6M]
        output = tf.transpose(tf.reshape(output, [steps, rows, self.output_size]), [1, 0, 2])  # [N, T, 3 + 6M]
        return mixture_params(tf.reshape(output, [-1, self.output_size])), state

    def decode_packed(self, strokes, code, targets, lengths, training: bool = False, seed=None):
        """``decode`` without the padding: rows and their targets ``[N, T, 5]`` of drawings of ``lengths`` ``[N]`` < T.

        No step is computed after that which should end a drawing. Returns (MixtureParams of ``[P, .]``, their
        targets ``[P, 5]``), P = sum(lengths + 1), in an order of their own.
        """
        order = tf.argsort(lengths, direction="DESCENDING")  # so that at each step the first rows go on
        strokes, targets = tf.gather(strokes, order), tf.gather(targets, order)  # [N, T, 5], [N, T, 5]
        code = self.as_code(code, tf.shape(strokes)[0]).gather(order)
        goes_on = tf.range(tf.shape(strokes)[1])[:, None] <= tf.gather(lengths, order)[None]  # [T, N]
        counts = tf.reduce_sum(tf.cast(goes_on, tf.int32), axis=1)  # [T]
        output, _ = self._decode(strokes, code, None, training, seed, counts)  # [P, 3 + 6M]
        return mixture_params(output), tf.boolean_mask(tf.transpose(targets, [1, 0, 2]), goes_on)

    def _decode(self, strokes, code, state, training, seed, counts):
        """Rows ``[N, T, 5]`` through the cell and the dense layer -> ``[P, 3 + 6M]``, in the order of ``unroll``."""
        hps, seeds = self.hps, [None] * 3
        rows, steps = tf.unstack(tf.shape(strokes)[:2])
        code = self.as_code(code, rows)
        state = self.initial_state(code) if state is None else state  # [N, state_size]
        if training:
            seed = tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32) if seed is None else seed
            seeds = tf.unstack(tf.random.split(seed, 3))
        seen = [plug.sequence(plug.begin(code), strokes) for plug in self.decoder_features]
        x = tf.transpose(tf.concat([strokes, *seen], axis=2), [1, 0, 2])  # [T, N, 5]; with plugs, wider
        context = code.z if hps.conditional else None  # [N, Z]; (stroke, plugs, z) are I numbers
        masks = None
        if training and hps.use_input_dropout:
            if context is not None:
                x = tf.concat([x, tf.tile(context[None], [steps, 1, 1])], axis=2)  # [T, N, I]
                context = None
            x *= dropout_mask(tf.shape(x), hps.input_dropout_prob, seeds[0])
        if training and hps.use_recurrent_dropout:
            points = steps * rows if counts is None else tf.reduce_sum(counts)
            masks = dropout_mask([points, hps.dec_rnn_size], hps.recurrent_dropout_prob, seeds[1])  # [P, U]
        h, state = unroll(self.cell, x, state, context, masks, counts, self.padded)  # [P, U], [N, state_size]
        if training and hps.use_output_dropout:
            h *= dropout_mask(tf.shape(h), hps.output_dropout_prob, seeds[2])
        return self._output(h), state

    def _output(self, h):
        return tf.matmul(h, self.weights["RNN/output_w"]) + self.weights["RNN/output_b"]

    # ---- sampling

    def make_step(self, code):
        """The decoder's step for drawings of this code, their z multiplied once.

        ``step(x [N, 5], seen_states, state) -> (dense layer's outputs [N, 3 + 6M], seen_states, state)``; the state is
        a tuple as ``split_state`` makes it, seen_states has one for each plug.
        """
        products, params = self.cell.prepare(code.z if self.hps.conditional else None)
        dense = make_dense(products, self.cell.precision)

        def step(x, seen_states, state):
            steps = [plug.step(own, x) for plug, own in zip(self.decoder_features, seen_states, strict=True)]
            seen, seen_states = [part for part, _ in steps], tuple(own for _, own in steps)
            h, state = self.cell.step(tf.concat([x, *seen], axis=1), state, dense, params)  # [N, U]
            return self._output(h), seen_states, state

        return step

    def split_state(self, state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """A state ``[N, state_size]`` as the cell's step takes it."""
        return tuple(tf.split(state, self.cell.state_sizes, axis=1))

    def sampling_loop(
        self,
        code,
        initial_state,
        first,
        steps,
        temperature,
        pen_temperature,
        greedy,
        ignore_end,
        seed,
        noise,
        prefix,
        prefix_lengths,
    ):
        """The sampling loop: draw a point, feed it back. With noise it is compiled, too, as ``generate_compiled``.

        code of N drawings, initial_state ``[N, state_size]``, first ``[N, 5]`` (the row fed first), temperature and
        pen_temperature ``[N]``, greedy and ignore_end (go on to the last step even when all have ended) bool; chance
        comes from seed ``[2]``, or from noise of N(0, 1) ``[steps, N, 4]`` where it is given; the first prefix_lengths
        ``[N]`` points of each drawing are those of prefix ``[P, N, 5]``, P >= 1, instead of drawn.
        Returns (t <= ``steps``, strokes ``[steps, N, 5]`` and the dense layer's outputs ``[steps, N, 3 + 6M]``, of
        which the first t were drawn).
        """
        step = self.make_step(code)
        temperature, pen_temperature = temperature[:, None], pen_temperature[:, None]

        def body(t, x, seen_states, state, ended, strokes, outputs):
            output, seen_states, state = step(x, seen_states, state)  # [N, 3 + 6M]
            chance = tf.random.fold_in(seed, t) if noise is None else noise[t]
            x = draw_point(mixture_params(output), temperature, greedy, chance, pen_temperature)  # [N, 5]
            x = tf.where((t < prefix_lengths)[:, None], prefix[tf.minimum(t, tf.shape(prefix)[0] - 1)], x)
            ended |= x[:, 4] > 0
            return t + 1, x, seen_states, state, ended, strokes.write(t, x), outputs.write(t, output)

        def goes_on(t, x, seen_states, state, ended, *_):
            return (t < steps) & (ignore_end | ~tf.reduce_all(ended))

        state = self.split_state(initial_state)
        ended = tf.zeros([tf.shape(first)[0]], tf.bool)
        size = steps if noise is None else tf.shape(noise)[0]  # which XLA has to know
        arrays = [tf.TensorArray(tf.float32, size, element_shape=[first.shape[0], n]) for n in (5, self.output_size)]
        begun = tuple(plug.begin(code) for plug in self.decoder_features)
        t, *_, strokes, outputs = tf.while_loop(goes_on, body, (0, first, begun, state, ended, *arrays))
        return t, strokes.stack(), outputs.stack()

    generate = tf.function(sampling_loop, reduce_retracing=True, autograph=False)
    generate_compiled = tf.function(sampling_loop, reduce_retracing=True, autograph=False, jit_compile=True)


# ---------------------------------------------------------------------------------------------------------
# Sampling


def draw_point(params: MixtureParams, temperature, greedy, chance, pen_temperature=None) -> tf.Tensor:
    """Draw one stroke-5 row for each row of ``params`` -> ``[N, 5]``; temperature ``[N, 1]``, pen_temperature, too.

    ``chance`` is a seed ``[2]`` for all rows, or N(0, 1) numbers ``[N, 4]``, each row's own.
    pi and pen probabilities become softmax(log p / t); sigma becomes sigma * t, as in the original, where
    arXiv 1704.03477 eq. 8 says sigma^2 * t. Greedy: the mean of the largest pi, the likeliest pen state.
    """
    if chance.shape.rank == 1:
        for_pi, for_point, for_pen = tf.unstack(tf.random.split(chance, 3))
        noise = tf.random.stateless_normal([tf.shape(params.pi)[0], 2], for_point)
    else:
        noise, for_pi, for_pen = chance[:, :2], chance[:, 2:3], chance[:, 3:]

    def choose(probabilities, chance, temperature):
        logits = tf.math.log(probabilities) / temperature
        if chance.shape.rank == 1:
            drawn = tf.random.stateless_categorical(logits, 1, chance, dtype=tf.int32)[:, 0]
        else:
            uniform = 0.5 + 0.5 * tf.math.erf(chance * 0.5**0.5)  # [N, 1]: N(0, 1) through its own distribution
            below = tf.cumsum(tf.nn.softmax(logits), axis=1)[:, :-1] < uniform
            drawn = tf.reduce_sum(tf.cast(below, tf.int32), axis=1)
        return tf.where(greedy, tf.argmax(probabilities, axis=1, output_type=tf.int32), drawn)

    k = choose(params.pi, for_pi, temperature)
    mu1, mu2, sigma1, sigma2, corr = (tf.gather(field, k, batch_dims=1)[:, None] for field in params[1:6])
    noise *= tf.where(greedy, 0.0, 1.0)
    e1, e2 = noise[:, :1], noise[:, 1:]
    dx = mu1 + sigma1 * temperature * e1
    dy = mu2 + sigma2 * temperature * (corr * e1 + tf.sqrt((1.0 - corr) * (1.0 + corr)) * e2)
    pen = choose(params.pen, for_pen, temperature if pen_temperature is None else pen_temperature)
    pen = tf.one_hot(pen, 3)
    return tf.concat([dx, dy, pen], axis=1)


def _pack_prefix(prefix, rows, seq_len):
    """Stroke-3 beginnings (None: nothing) -> (stroke-5 ``[P, N, 5]``, lengths ``[N]``), P >= 1."""
    prefix = [np.zeros((0, 3))] * rows if prefix is None else prefix
    lengths = np.array([len(strokes) for strokes in prefix], np.int32)
    if (lengths >= seq_len).any():
        raise ValueError(f"{lengths.max()} points are given; with seq_len {seq_len} that leaves nothing to draw")
    strokes = pad_strokes(np.concatenate(prefix), lengths, max(lengths.max(initial=0), 1))[:, 1:]
    return tf.transpose(strokes, [1, 0, 2]), tf.constant(lengths)


def _generate(
    model, code, rows, seq_len, temperature, greedy_mode, ignore_end, seed, prefix=None, pen_temperature=None
):
    temperature = np.broadcast_to(np.asarray(temperature, np.float32), [rows])
    pen_temperature = temperature if pen_temperature is None else np.full(rows, pen_temperature, np.float32)
    if not ((temperature > 0).all() and (pen_temperature > 0).all()):
        raise ValueError("temperature must be above 0; greedy_mode=True draws without chance")
    seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
    if np.ndim(seed) and len(seed) != rows:
        raise ValueError(f"{len(seed)} seeds for {rows} drawings; expected one for each, or one number for all")
    rngs = [np.random.default_rng(own) for own in (seed if np.ndim(seed) else [seed])]
    code, noise = _complete_code(model, code, rows, rngs), None
    if np.ndim(seed):
        noise = tf.constant(np.stack([rng.normal(size=[seq_len, 4]) for rng in rngs], axis=1), tf.float32)
        seed = 0
    compiled = model.padded and noise is not None  # numbers drawn inside of an XLA program would be others
    count, strokes, outputs = (model.generate_compiled if compiled else model.generate)(
        code,
        model.initial_state(code),
        tf.tile(START[None], [rows, 1]),
        tf.constant(seq_len),
        tf.constant(temperature),
        tf.constant(pen_temperature),
        tf.constant(greedy_mode),
        tf.constant(ignore_end),
        tf.constant([seed, 0], tf.int32),
        noise,
        *_pack_prefix(prefix, rows, seq_len),
    )
    return strokes[:count], outputs[:count]


def _complete_code(model, code, rows, rngs):
    """A Code of ``rows`` drawings; z drawn from N(0, 1) where none is given."""
    if not model.hps.conditional:
        return model.as_code(None, rows)
    if code is None:
        code = np.concatenate([rng.normal(size=[rows // len(rngs), model.hps.z_size]) for rng in rngs])
    code = model.as_code(code, rows)
    return code._replace(z=tf.reshape(code.z, [rows, model.hps.z_size]))


def sample(model, seq_len: int = 250, temperature: float = 1.0, greedy_mode: bool = False, z=None, seed=None):
    """Draw one drawing, as the original does: always ``seq_len`` rows, not cut at the end of the drawing.

    z ``[Z]`` or ``[1, Z]``, or a Code. Returns (strokes ``[seq_len, 5]``, MixtureParams of ``[seq_len, .]``).
    """
    strokes, outputs = _generate(model, z, 1, seq_len, temperature, greedy_mode, True, seed)
    params = MixtureParams(*(field.numpy() for field in mixture_params(outputs[:, 0])))
    return strokes[:, 0].numpy(), params


def sample_batch(
    model,
    z=None,
    seq_len: int = 250,
    temperature=1.0,
    greedy_mode: bool = False,
    num: int | None = None,
    seed=None,
    prefix: list[np.ndarray] | None = None,
    pen_temperature: float | None = None,
) -> list[np.ndarray]:
    """Draw one drawing for each row of z ``[N, Z]`` or of a Code, together; stops when all have ended.

    ``temperature`` is one number or one for each drawing, ``pen_temperature`` that of the pen state, if another;
    without z (unconditional, or z ~ N(0, 1)) give ``num``.
    ``seed`` is one number for all together, or a list with a seed for each drawing, which may be a number or a tuple of
    ``seeds.seed_for``: then no drawing depends on the others.
    ``prefix``: a stroke-3 beginning ``[k, 3]``, k < ``seq_len``, for each, that the drawing goes on from.
    Returns stroke-5 arrays, each cut before its end: an empty one ended at once.
    """
    if z is None and num is None:
        raise ValueError("give z, or num drawings to make")
    rows = num if z is None else len(z.z if isinstance(z, Code) else z)
    if rows == 1 and np.ndim(seed):  # a product of one row is rounded differently: drawn twice, it is as in a batch
        twice = None if z is None else model.as_code(z, 1).gather([0, 0])
        both = None if prefix is None else [*prefix, *prefix]
        temperatures = np.broadcast_to(temperature, [1]).repeat(2)
        twice = model, twice, seq_len, temperatures, greedy_mode, 2, [*seed, *seed], both, pen_temperature
        return sample_batch(*twice)[:1]
    strokes, _ = _generate(model, z, rows, seq_len, temperature, greedy_mode, False, seed, prefix, pen_temperature)
    strokes = strokes.numpy()  # [t, N, 5]
    drawings = []
    for n in range(rows):
        ends = np.flatnonzero(strokes[:, n, 4] > 0)
        drawings.append(strokes[: ends[0] if len(ends) else len(strokes), n])
    return drawings


def load_model(model_dir: str | Path) -> tuple[Model, int]:
    """The model of a snapshot directory and its step. Raises FileNotFoundError or ValueError with the remedy."""
    if find_snapshot(model_dir) is None:
        raise FileNotFoundError(f"no snapshot in {model_dir}; train one, or name another directory by --model_dir")
    model = Model(load_hparams(model_dir))
    return model, load_snapshot(model, model_dir)
