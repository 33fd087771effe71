"""Sketch-pix2seq: a bitmap in, pen strokes out (arXiv 1709.04121). Edit ``get_default_hparams()``.

Letters: N batch, T steps, Z ``z_size``, H x W ``img_H`` x ``img_W``, U ``dec_rnn_size``, M ``num_mixture``.
Stroke-5 rows are (dx, dy, p1 pen down, p2 pen lifted, p3 end); the mixture is that of arXiv 1308.0850.
"""

import collections
import dataclasses
import difflib
import json
import math
import re
from pathlib import Path
from typing import NamedTuple, get_args, get_origin

import numpy as np
import tensorflow as tf

from rnn import CELLS, affine, dropout_mask, glorot_uniform, unroll

# ---------------------------------------------------------------------------------------------------------
# Hyper-parameters

CHOICES = {"dec_model": tuple(CELLS), "enc_model": ("cnn", "deep_cnn", *CELLS)}
AT_LEAST_ONE = ["num_steps", "save_every", "img_H", "img_W", "max_seq_len", "dec_rnn_size", "z_size", "batch_size"]
AT_LEAST_ONE += ["num_mixture", "keep_snapshots", "enc_rnn_size"]
# A stranger's config may ask for any memory.
SIZES = ["img_H", "img_W", "enc_rnn_size", "dec_rnn_size", "pen_glimpse", "z_size", "num_mixture", "max_seq_len"]
PROBABILITIES = ["augment_stroke_prob", "mirror_prob", "decay_rate", "kl_weight_start", "kl_decay_rate"]
KEEP_PROBABILITIES = ["recurrent_dropout_prob", "input_dropout_prob", "output_dropout_prob"]


@dataclasses.dataclass(frozen=True)
class HParams:
    """All hyper-parameters. A key that is unknown or a value of the wrong type raises ValueError."""

    data_set: list[str]  # names of .npz files in <data_dir>/npz/, one a category
    num_steps: int = 10_000_000  # optimiser steps in all, resumed or not
    save_every: int = 2000  # steps between validations; a better one is saved
    save_minutes: float = 5.0  # minutes between snapshots of the latest state
    keep_snapshots: int = 2  # how many of the best and of the latest are kept
    img_H: int = 48  # height of the bitmaps, pixels
    img_W: int = 48  # width of the bitmaps, pixels
    max_seq_len: int = 250  # longer drawings are skipped; then replaced by the data's longest
    enc_model: str = "cnn"  # cnn: the paper's; deep_cnn: normalised, deeper; lstm, layer_norm, hyper: sketch-rnn's
    enc_filters: list[int] = dataclasses.field(default_factory=lambda: [16, 32, 64, 64])  # deep_cnn's, a level each
    enc_rnn_size: int = 256  # units of each direction of sketch-rnn's encoder, which reads strokes
    presig_bias: float = 0.0  # initial presig: sigma of z starts at exp(presig_bias / 2)
    dec_rnn_size: int = 512  # units of the decoder
    dec_model: str = "hyper"  # lstm, layer_norm or hyper
    pen_position: bool = False  # the decoder also sees where on the page its pen is (not the paper's)
    pen_noise: float = 0.0  # how far off its path the pen is put in training, with pen_position (not the paper's)
    pen_glimpse: int = 0  # numbers that z tells the decoder of its pen's place, with pen_position (not the paper's)
    z_size: int = 128  # numbers in the latent code
    batch_size: int = 100  # drawings a step, on each worker or GPU; 50 to 200 work
    skip_padding: bool = True  # compute no step after a drawing's end; False: all padded, as in the original
    grad_clip: float = 1.0  # gradients are clipped to +- this, number by number
    num_mixture: int = 20  # Gaussians in the mixture
    learning_rate: float = 0.001  # at the first step; 0.0005 to 0.002 work
    decay_rate: float = 0.9999  # of the learning rate, a step
    min_learning_rate: float = 0.00001  # where the decay ends
    use_recurrent_dropout: bool = True  # on the candidate of the decoder's cell
    recurrent_dropout_prob: float = 0.90  # probability to KEEP
    use_input_dropout: bool = False  # on (stroke, z)
    input_dropout_prob: float = 0.90  # probability to KEEP
    use_output_dropout: bool = False  # on h, on its way to the mixture
    output_dropout_prob: float = 0.90  # probability to KEEP
    random_scale_factor: float = 0.15  # axes are stretched by 1 +- this in training
    augment_stroke_prob: float = 0.10  # probability to drop a point in training
    augment_bitmaps: bool = False  # draw bitmaps from the strokes as augmented (not the paper's)
    random_rotation: float = 0.0  # degrees that drawings are turned by at most, with augment_bitmaps
    mirror_prob: float = 0.0  # probability to mirror a drawing left to right, with augment_bitmaps
    kl_weight: float = 0.0  # of sketch-rnn's KL term; 0: none, the paper's point; 0.5 to 1 there
    kl_weight_start: float = 0.01  # share of kl_weight at the first step
    kl_decay_rate: float = 0.99995  # of what is missing from kl_weight, a step
    kl_tolerance: float = 0.2  # a smaller KL term counts as this: it has no gradient
    conditional: bool = True  # False: a decoder alone, that draws what it likes
    seed: int = 1  # of everything random in training

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field.name, getattr(self, field.name), field.type))
        for name, choices in CHOICES.items():
            _require(getattr(self, name) in choices, name, getattr(self, name), f"one of {', '.join(choices)}")
        for name in AT_LEAST_ONE:
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in SIZES:
            _require(getattr(self, name) <= 16384, name, getattr(self, name), "16384 or less")
        _require(len(self.enc_filters) <= 16, "enc_filters", self.enc_filters, "16 levels or fewer")
        _require(max(self.enc_filters, default=0) <= 16384, "enc_filters", self.enc_filters, "16384 or less")
        for name in (*KEEP_PROBABILITIES, *PROBABILITIES):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a probability, 0 to 1")
        for name in KEEP_PROBABILITIES:
            _require(getattr(self, name) > 0, name, 0.0, "above 0: it is the probability to keep")
        for name in ("learning_rate", "grad_clip", "save_minutes"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        _require(0 <= self.random_scale_factor < 1, "random_scale_factor", self.random_scale_factor, "0 to below 1")
        for name in ("min_learning_rate", "random_rotation", "kl_weight", "kl_tolerance", "pen_glimpse", "pen_noise"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        if self.pen_glimpse and not (self.pen_position and self.conditional):
            raise ValueError("pen_glimpse needs pen_position=True and conditional=True: z tells it of the pen's place")
        if self.pen_noise and not self.pen_position:
            raise ValueError("pen_noise needs pen_position=True: a decoder must see where its pen is to find back")
        if (self.random_rotation or self.mirror_prob) and not self.augment_bitmaps:
            raise ValueError("random_rotation and mirror_prob turn the strokes alone; set augment_bitmaps=True, too")
        _require(0 <= self.seed < 2**31, "seed", self.seed, "0 to 2147483647")
        _require(self.data_set and all(self.data_set), "data_set", self.data_set, "one name or more")
        _require(self.enc_filters and min(self.enc_filters) >= 1, "enc_filters", self.enc_filters, "positive numbers")
        categories = [name.removesuffix(".npz").replace(" ", "_") for name in self.data_set]
        counts = collections.Counter(categories)
        same = [name for name, category in zip(self.data_set, categories, strict=True) if counts[category] > 1]
        _require(not same, "data_set", same, "each category once")

    def parse(self, text: str) -> "HParams":
        """Changed by ``"key=value,list=[a,b]"``. Raises ValueError naming the nearest key, or the type wanted."""
        changes = {}
        for item in _split_outside_brackets(text):
            key, equals, value = item.partition("=")
            if not equals:
                raise ValueError(f"hyper-parameter {item.strip()!r} is not of the form key=value")
            changes[key.strip()] = value.strip()
        return self.replace(**changes)

    def replace(self, **changes) -> "HParams":
        """Changed by keyword. Raises ValueError for an unknown key, a wrong type or an impossible value."""
        known = [field.name for field in dataclasses.fields(self)]
        for key in changes:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                raise ValueError(
                    f"unknown hyper-parameter {key!r:.50}"
                    + (f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}")
                )
        return dataclasses.replace(self, **changes)

    def values(self) -> dict:
        """Name -> value, in order."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """As ``from_json`` reads it."""
        return json.dumps(self.values(), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "HParams":
        """From a ``model_config.json``, ours or the original's (booleans may be 0/1, data_set a string)."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("a model_config.json holds one object of hyper-parameters")
        values.setdefault("skip_padding", False)  # the original's had no such choice
        for name in ("is_training", "data_info"):  # the original's own; ours, read by load_data_info
            values.pop(name, None)
        data_set = values.pop("data_set", None)
        if data_set is None:
            raise ValueError("no data_set in the model_config.json")
        return cls(data_set=data_set).replace(**values)


def _require(condition, name, found, wanted):
    if not condition:
        raise ValueError(f"hyper-parameter {name} is {found!r:.200}; wanted {wanted}")


def _split_outside_brackets(text):
    items, depth = [""], 0
    for character in text:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    if depth != 0:
        raise ValueError(f"brackets do not match in {text!r}")
    return [item for item in items if item.strip()]


def _typed(name, value, kind):
    """``value``, perhaps text, as the type that the field wants."""
    if get_origin(kind) is list:
        if isinstance(value, str):
            value = [item.strip() for item in value.strip().removeprefix("[").removesuffix("]").split(",")]
        _require(isinstance(value, list | tuple), name, value, "a list: [a,b]")
        return [_typed(name, item, get_args(kind)[0]) for item in value]
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        if kind is str:
            _require(isinstance(value, str), name, value, "a name")
            return value.strip("'\"")
        if isinstance(value, bool):
            raise TypeError
        number = kind(value)
        if number != float(value) or not math.isfinite(number):
            raise ValueError
        return number
    except (KeyError, TypeError, ValueError, OverflowError):
        wanted = {bool: "True or False", int: "a whole number", float: "a number", str: "a name"}[kind]
        raise ValueError(f"hyper-parameter {name} is {value!r:.200}; wanted {wanted}") from None


def get_default_hparams() -> HParams:
    """THE place to edit: what to train on, and how. What is not named here is as in ``HParams`` above."""
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


def get_demo_hparams() -> HParams:
    """A small model that draws within minutes on two cores; its encoder and its sense of place are not the paper's."""
    return get_default_hparams().replace(
        num_steps=2400,
        save_every=300,
        enc_model="deep_cnn",
        enc_filters=[8, 16, 32, 64],
        presig_bias=-6.0,
        pen_position=True,
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
    )


def get_sharp_hparams() -> HParams:
    """Draws what it sees far better than the paper's model: weights in assets/pretrained, scores in the README."""
    return get_default_hparams().replace(
        num_steps=28_000,
        save_every=1000,
        enc_model="deep_cnn",
        enc_filters=[16, 32, 64, 128],
        presig_bias=-6.0,
        pen_position=True,
        pen_noise=0.1,
        pen_glimpse=32,
        dec_model="lstm",
        dec_rnn_size=384,
        learning_rate=0.002,
        decay_rate=0.99986,
        min_learning_rate=0.00003,
        use_recurrent_dropout=False,
        augment_bitmaps=True,
        random_rotation=8.0,
        mirror_prob=0.5,
    )


PRESETS = {"default": get_default_hparams, "demo": get_demo_hparams, "sharp": get_sharp_hparams}


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

    ``mask_padding`` multiplies L_p by (1 - p3), too: evaluation proper. A negative value is no fault: a density
    may exceed 1.
    """
    stroke_loss, pen_loss = point_losses(params, target)
    real = 1.0 - tf.reshape(target, [-1, 5])[:, 4]
    return tf.reduce_mean(stroke_loss * real + pen_loss * (real if mask_padding else 1.0))


def put_pen_off(strokes: tf.Tensor, stddev: float, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Drawings ``[N, T + 1, 5]`` -> the rows that a decoder is fed and its targets, both ``[N, T, 5]``.

    Each point fed lies off its place by noise of ``stddev`` units, and its target leads from there to the next point's
    own place: a decoder that was fed a person's points alone does not know how to find back from where its own
    drawing has taken it. The start token stays.
    """
    shift = tf.random.stateless_normal(tf.shape(strokes[:, 1:-1, :2]), seed, stddev=stddev)
    shift = tf.pad(shift, [[0, 0], [1, 0], [0, 3]])  # [N, T, 5]
    moved = shift - tf.pad(shift[:, :-1], [[0, 0], [1, 0], [0, 0]])
    return strokes[:, :-1] + moved, strokes[:, 1:] - shift


def kl_cost(mean: tf.Tensor, presig: tf.Tensor) -> tf.Tensor:
    """KL divergence of the codes' distributions ``[N, Z]`` from N(0, 1), a number of z (arXiv 1704.03477, eq. 10)."""
    return -0.5 * tf.reduce_mean(1.0 + presig - tf.square(mean) - tf.exp(presig))


# ---------------------------------------------------------------------------------------------------------
# Encoders


class _Weights:
    """Draws initial weights, each from a seed of its own."""

    def __init__(self, seed):
        self.seed, self.count = seed, 0

    def normal(self, shape, stddev):
        self.count += 1
        return tf.Variable(tf.random.stateless_normal(shape, (self.seed, 1000 + self.count), stddev=stddev))

    def glorot(self, shape):
        self.count += 1
        return tf.Variable(glorot_uniform(shape, (self.seed, 1000 + self.count)))


# Kept: the page border responds to the filter, too.
HIGH_PASS = np.where(np.arange(9) == 4, 8.0, -1.0).reshape(3, 3, 1, 1).astype(np.float32)
CNN_FILTERS = (4, 4, 8, 8, 8, 8)
CNN_STRIDES = (2, 1, 2, 1, 2, 1)


class PaperCNN:
    """The encoder of arXiv 1709.04121: a fixed high-pass filter, then six 2x2 convolutions without bias."""

    def __init__(self, hps, draw):
        sizes = zip((1, *CNN_FILTERS), CNN_FILTERS, strict=False)
        self.weights = {
            f"ENC_CNN/conv{k}/DW": draw.normal([2, 2, inputs, filters], math.sqrt(2.0 / (4 * filters)))
            for k, (inputs, filters) in enumerate(sizes, 1)
        }
        self.output_size = -(-hps.img_H // 8) * -(-hps.img_W // 8) * CNN_FILTERS[-1]
        self.head_stddev = 0.001

    def __call__(self, images):
        x = tf.nn.conv2d(images, HIGH_PASS, 1, "SAME")  # [N, H, W, 1]
        for k, stride in enumerate(CNN_STRIDES, 1):
            x = tf.nn.conv2d(x, self.weights[f"ENC_CNN/conv{k}/DW"], stride, "SAME")
            x = tf.tanh(x) if k == 6 else tf.nn.relu(x)
        return tf.reshape(x, [-1, self.output_size])  # [N, ceil(H/8) * ceil(W/8) * 8]


class DeepCNN:
    """Not the paper's: ink 0..1, 3x3 convolutions (5x5 at first), each normalised over its image and halved."""

    def __init__(self, hps, draw):
        self.weights, inputs = {}, 1
        for k, filters in enumerate(hps.enc_filters, 1):
            size = 5 if k == 1 else 3
            self.weights |= {
                f"ENC_CNN/deep{k}/DW": draw.normal([size, size, inputs, filters], math.sqrt(2.0 / (size**2 * inputs))),
                f"ENC_CNN/deep{k}/gamma": tf.Variable(tf.ones([filters])),
                f"ENC_CNN/deep{k}/beta": tf.Variable(tf.zeros([filters])),
            }
            inputs = filters
        self.levels = len(hps.enc_filters)
        shrink = 2**self.levels
        self.output_size = -(-hps.img_H // shrink) * -(-hps.img_W // shrink) * inputs
        self.head_stddev = self.output_size**-0.5  # z tells drawings apart from the first step on

    def __call__(self, images):
        x = 1.0 - images / 255.0  # [N, H, W, 1]
        for k in range(1, self.levels + 1):
            weight, gamma, beta = (self.weights[f"ENC_CNN/deep{k}/{name}"] for name in ("DW", "gamma", "beta"))
            # the first level strides instead of pooling: most of the time would go into its large maps
            x = tf.nn.conv2d(x, weight, 2 if k == 1 else 1, "SAME")
            mean, variance = tf.nn.moments(x, [1, 2], keepdims=True)
            scale = gamma * tf.math.rsqrt(variance + 1e-3)
            x = tf.nn.relu(x * scale + (beta - mean * scale))
            x = x if k == 1 else tf.nn.max_pool2d(x, 2, 2, "SAME")  # [N, H / 2^k, W / 2^k, filters]
        return tf.reshape(x, [-1, self.output_size])


class StrokeRNN:
    """Sketch-rnn's encoder (arXiv 1704.03477 §3.2, eq. 1): reads the strokes forward and backward; not the paper's."""

    def __init__(self, hps, draw):
        self.dropout = hps.recurrent_dropout_prob if hps.use_recurrent_dropout else None
        seeds = (hps.seed + 2, hps.seed + 4)  # a hyper cell takes the seed after its own, too
        self.cells = [CELLS[hps.enc_model](5, hps.enc_rnn_size, seed) for seed in seeds]
        self.weights = {
            f"ENC_RNN/{direction}/{cell.NAME}/{name}": weight
            for direction, cell in zip(("fw", "bw"), self.cells, strict=True)
            for name, weight in cell.weights.items()
        }
        self.output_size = 2 * hps.enc_rnn_size
        self.head_stddev = 0.001

    def __call__(self, strokes, lengths, training, seed):
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


ENCODERS = {"cnn": PaperCNN, "deep_cnn": DeepCNN, **dict.fromkeys(CELLS, StrokeRNN)}


# ---------------------------------------------------------------------------------------------------------
# The model


class Glimpse:
    """What the decoder sees of the page at its pen's place, all of it from z and from where the pen has been.

    Not the paper's. A place is told by waves over the page (sines of trainable direction, length and phase). z
    weighs them into a field of G numbers a place; the sum of the waves of all places so far says where ink is already.
    """

    WAVES = 96
    FREQUENCY = 2.0  # radians a unit of normalised strokes; a page is some 6 units wide
    VISITED_SCALE = 0.1

    def __init__(self, hps, draw):
        self.numbers = hps.pen_glimpse
        shape = [hps.z_size, self.WAVES * self.numbers]
        self.weights = {
            "glimpse/place_w": draw.normal([2, self.WAVES], self.FREQUENCY),
            "glimpse/place_b": draw.normal([self.WAVES], math.pi),
            "glimpse/visited_w": draw.normal([self.WAVES, self.numbers], self.WAVES**-0.5),
            "glimpse/field_w": draw.normal(shape, (hps.z_size * self.WAVES) ** -0.5),
            "glimpse/field_b": tf.Variable(tf.zeros(shape[1:])),
        }

    def field(self, z):
        """z ``[N, Z]`` -> the weights of the waves ``[N, WAVES, G]``."""
        weights = tf.matmul(z, self.weights["glimpse/field_w"]) + self.weights["glimpse/field_b"]
        return tf.reshape(weights, [-1, self.WAVES, self.numbers])

    def waves(self, positions):
        """Positions ``[N, T, 2]`` -> ``[N, T, WAVES]``."""
        return tf.sin(tf.matmul(positions, self.weights["glimpse/place_w"]) + self.weights["glimpse/place_b"])

    def __call__(self, waves, visited, field):
        """Waves of the pen's places, their running sums, both ``[N, T, WAVES]``, and the field -> ``[N, T, 2G]``."""
        seen = tf.matmul(waves, field)
        return tf.concat([seen, tf.matmul(visited * self.VISITED_SCALE, self.weights["glimpse/visited_w"])], axis=2)


class Model(tf.Module):
    """Encoder and decoder. ``weights`` holds every variable under the original's name, less ``vector_rnn/``."""

    def __init__(self, hps: HParams):
        super().__init__()
        self.hps = hps
        draw = _Weights(hps.seed)
        z_size = hps.z_size if hps.conditional else 0
        weights = {}
        self.glimpse = Glimpse(hps, draw) if hps.pen_glimpse else None
        inputs = 5 + 2 * hps.pen_position + 2 * hps.pen_glimpse + z_size
        self.cell = CELLS[hps.dec_model](inputs, hps.dec_rnn_size, hps.seed)
        self.state_size = sum(self.cell.state_sizes)
        if hps.conditional:
            self.encoder = ENCODERS[hps.enc_model](hps, draw)
            weights |= self.encoder.weights
            inputs = self.encoder.output_size
            scope = "ENC_RNN" if self.reads_strokes else "ENC_CNN"
            self.heads = [f"{scope}/{scope}_{name}" for name in ("mu", "sigma")]
            for head, bias in zip(self.heads, (0.0, hps.presig_bias), strict=True):
                weights[f"{head}/super_linear_w"] = draw.normal([inputs, z_size], self.encoder.head_stddev)
                weights[f"{head}/super_linear_b"] = tf.Variable(tf.fill([z_size], bias))
            weights["linear/super_linear_w"] = draw.normal([z_size, self.state_size], 0.001)
            weights["linear/super_linear_b"] = tf.Variable(tf.zeros([self.state_size]))
        if self.glimpse is not None:
            weights |= self.glimpse.weights
        self.output_size = 3 + 6 * hps.num_mixture
        weights["RNN/output_w"] = draw.glorot([hps.dec_rnn_size, self.output_size])
        weights["RNN/output_b"] = draw.glorot([self.output_size])
        weights |= {f"RNN/{self.cell.NAME}/{name}": weight for name, weight in self.cell.weights.items()}
        self.weights = weights

    def _linear(self, name, x):
        return tf.matmul(x, self.weights[f"{name}/super_linear_w"]) + self.weights[f"{name}/super_linear_b"]

    def encode(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Bitmaps ``[N, H, W, 1]`` float32, 0 (ink) to 255 (paper) -> (mean, presig) of z, each ``[N, Z]``."""
        self._require_encoder(reads_strokes=False)
        return self._heads(self.encoder(tf.cast(images, tf.float32)))

    def encode_strokes(self, strokes, lengths, training: bool = False, seed=None) -> tuple[tf.Tensor, tf.Tensor]:
        """``encode`` for sketch-rnn's encoders: stroke-5 ``[N, T, 5]`` without start token, of ``lengths`` ``[N]``."""
        self._require_encoder(reads_strokes=True)
        seed = tf.zeros([2], tf.int32) if seed is None else seed
        return self._heads(self.encoder(tf.cast(strokes, tf.float32), lengths, training, seed))

    @property
    def reads_strokes(self) -> bool:
        """Whether the encoder is sketch-rnn's, which cannot read a bitmap."""
        return self.hps.conditional and self.hps.enc_model in CELLS

    def _require_encoder(self, reads_strokes):
        if not self.hps.conditional:
            raise ValueError("this model is unconditional: it has no encoder")
        if self.reads_strokes != reads_strokes:
            reads = "strokes, not bitmaps" if self.reads_strokes else "bitmaps, not strokes"
            raise ValueError(f"this model's encoder ({self.hps.enc_model}) reads {reads}")

    def _heads(self, features):
        mean, presig = (self._linear(head, features) for head in self.heads)
        return mean, presig

    def initial_state(self, z: tf.Tensor | None = None, batch_size: int | None = None) -> tf.Tensor:
        """tanh(z.W + b) for z ``[N, Z]``, or zeros when unconditional -> ``[N, state_size]``."""
        if self.hps.conditional:
            return tf.tanh(self._linear("linear", z))  # [N, state_size]
        if batch_size is None:
            raise ValueError("an unconditional model's initial state needs batch_size")
        return tf.zeros([batch_size, self.state_size])

    def decode(self, strokes, z, initial_state=None, training: bool = False, seed=None):
        """Teacher forcing: what the decoder expects after each of the rows ``[N, T, 5]`` given.

        z ``[N, Z]`` (None when unconditional); initial_state ``[N, state_size]``, by default that of z; with
        ``training`` the dropouts that the hyper-parameters ask for, drawn from ``seed`` (two integers).
        Returns (MixtureParams of ``[N*T, .]``, final state ``[N, state_size]``).
        """
        strokes = tf.convert_to_tensor(strokes, tf.float32)
        rows, steps = tf.unstack(tf.shape(strokes)[:2])
        if initial_state is None:
            initial_state = self.initial_state(z, rows)
        output, final_state = self._unroll(strokes, z, initial_state, training, seed, None)  # [T*N, 3 + 6M]
        output = tf.transpose(tf.reshape(output, [steps, rows, self.output_size]), [1, 0, 2])  # [N, T, 3 + 6M]
        return mixture_params(tf.reshape(output, [-1, self.output_size])), final_state

    def decode_packed(self, strokes, z, targets, lengths, training: bool = False, seed=None):
        """``decode`` without the padding: rows and their targets ``[N, T, 5]`` of drawings of ``lengths`` ``[N]`` < T.

        No step is computed after that which should end a drawing. Returns (MixtureParams of ``[P, .]``, their
        targets ``[P, 5]``), P = sum(lengths + 1), in an order of their own.
        """
        order = tf.argsort(lengths, direction="DESCENDING")  # so that at each step the first rows go on
        strokes, targets = tf.gather(strokes, order), tf.gather(targets, order)
        z = tf.gather(z, order) if self.hps.conditional else None
        goes_on = tf.range(tf.shape(strokes)[1])[:, None] <= tf.gather(lengths, order)[None]  # [T, N]
        counts = tf.reduce_sum(tf.cast(goes_on, tf.int32), axis=1)  # [T]
        initial_state = self.initial_state(z, tf.shape(strokes)[0])
        output, _ = self._unroll(strokes, z, initial_state, training, seed, counts)  # [P, 3 + 6M]
        return mixture_params(output), tf.boolean_mask(tf.transpose(targets, [1, 0, 2]), goes_on)

    def _unroll(self, strokes, z, initial_state, training, seed, counts):
        """Rows ``[N, T, 5]`` through the cell and the dense layer -> ``[P, 3 + 6M]`` in the order of ``unroll``."""
        hps, seeds = self.hps, [None] * 3
        rows, steps = tf.unstack(tf.shape(strokes)[:2])
        strokes, *_ = self._look(strokes, *self._page(rows, z))  # [N, T, I]
        if training:
            seed = tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32) if seed is None else seed
            seeds = tf.unstack(tf.random.split(seed, 3))
        x, context, masks = tf.transpose(strokes, [1, 0, 2]), z if hps.conditional else None, None
        if training and hps.use_input_dropout:
            if context is not None:
                x = tf.concat([x, tf.tile(context[None], [steps, 1, 1])], axis=2)  # [T, N, 5 + Z]
                context = None
            x *= dropout_mask(tf.shape(x), hps.input_dropout_prob, seeds[0])
        if training and hps.use_recurrent_dropout:
            points = steps * rows if counts is None else tf.reduce_sum(counts)
            masks = dropout_mask([points, hps.dec_rnn_size], hps.recurrent_dropout_prob, seeds[1])  # [P, U]
        h, final_state = unroll(self.cell, x, initial_state, context, masks, counts)  # [P, U], [N, state_size]
        if training and hps.use_output_dropout:
            h *= dropout_mask(tf.shape(h), hps.output_dropout_prob, seeds[2])
        return self._output(h), final_state

    def _page(self, rows, z):
        """Where the pen begins ``[N, 1, 2]``, the summed waves of its places so far ``[N, 1, WAVES]``, z's field."""
        if self.glimpse is None:
            return tf.zeros([rows, 1, 2]), tf.zeros([rows, 1, 0]), tf.zeros([rows, 0, 0])
        return tf.zeros([rows, 1, 2]), tf.zeros([rows, 1, self.glimpse.WAVES]), self.glimpse.field(z)

    def _look(self, strokes, position, visited, field):
        """Strokes ``[N, T, 5]`` with what the decoder sees of its page ``[N, T, I]``, and the page after them."""
        if not self.hps.pen_position:
            return strokes, position, visited
        positions = position + tf.cumsum(strokes[:, :, :2], axis=1)
        parts = [strokes, positions]
        if self.glimpse is not None:
            waves = self.glimpse.waves(positions)
            sums = visited + tf.cumsum(waves, axis=1)
            parts.append(self.glimpse(waves, sums, field))
            visited = sums[:, -1:]
        return tf.concat(parts, axis=2), positions[:, -1:], visited

    def _output(self, h):
        return tf.matmul(h, self.weights["RNN/output_w"]) + self.weights["RNN/output_b"]

    @tf.function(reduce_retracing=True, autograph=False)
    def generate(self, z, initial_state, first, steps, temperature, greedy, run_on, seed, given, given_lengths):
        """The sampling loop: draw a point, feed it back.

        z ``[N, Z]`` or None, initial_state ``[N, state_size]``, first ``[N, 5]`` (the row fed first),
        temperature ``[N]``, greedy and run_on (to the last step even when all have ended) bool; the first
        given_lengths ``[N]`` points of each drawing are those of given ``[P, N, 5]``, P >= 1, instead of drawn.
        Returns strokes ``[t, N, 5]`` and the dense layer's outputs ``[t, N, 3 + 6M]``, t <= ``steps``.
        """
        products, params = self.cell.prepare(z)
        product = affine(products)
        temperature = temperature[:, None]

        def body(t, x, position, visited, state, ended, strokes, outputs):
            seen, position, visited = self._look(x[:, None], position, visited, field)
            h, state = self.cell.step(seen[:, 0], state, product, params)
            output = self._output(h)
            x = draw_point(mixture_params(output), temperature, greedy, tf.random.fold_in(seed, t))
            x = tf.where((t < given_lengths)[:, None], given[tf.minimum(t, tf.shape(given)[0] - 1)], x)
            ended |= x[:, 4] > 0
            return t + 1, x, position, visited, state, ended, strokes.write(t, x), outputs.write(t, output)

        def goes_on(t, x, position, visited, state, ended, *_):
            return (t < steps) & (run_on | ~tf.reduce_all(ended))

        state = tuple(tf.split(initial_state, self.cell.state_sizes, axis=1))
        ended = tf.zeros([tf.shape(first)[0]], tf.bool)
        arrays = [tf.TensorArray(tf.float32, steps, element_shape=[None, size]) for size in (5, self.output_size)]
        *begin, field = self._page(tf.shape(first)[0], z)
        start = (0, first, *begin, state, ended, *arrays)
        t, *_, strokes, outputs = tf.while_loop(goes_on, body, start)
        return strokes.stack()[:t], outputs.stack()[:t]


def draw_point(params: MixtureParams, temperature: tf.Tensor, greedy: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw one stroke-5 row for each row of ``params`` -> ``[N, 5]``; temperature ``[N, 1]``.

    pi and pen probabilities become softmax(log p / t); sigma becomes sigma * t, as in the original, where
    arXiv 1704.03477 eq. 8 says sigma^2 * t. Greedy: the mean of the largest pi, the likeliest pen state.
    """
    seeds = tf.unstack(tf.random.split(seed, 3))

    def draw(probabilities, seed):
        logits = tf.math.log(probabilities) / temperature
        drawn = tf.random.stateless_categorical(logits, 1, seed, dtype=tf.int32)[:, 0]
        return tf.where(greedy, tf.argmax(probabilities, axis=1, output_type=tf.int32), drawn)

    k = draw(params.pi, seeds[0])
    mu1, mu2, sigma1, sigma2, corr = (tf.gather(field, k, batch_dims=1)[:, None] for field in params[1:6])
    noise = tf.random.stateless_normal([tf.shape(mu1)[0], 2], seeds[1]) * tf.where(greedy, 0.0, 1.0)
    e1, e2 = noise[:, :1], noise[:, 1:]
    dx = mu1 + sigma1 * temperature * e1
    dy = mu2 + sigma2 * temperature * (corr * e1 + tf.sqrt((1.0 - corr) * (1.0 + corr)) * e2)
    pen = tf.one_hot(draw(params.pen, seeds[2]), 3)
    return tf.concat([dx, dy, pen], axis=1)


START = np.array([0, 0, 1, 0, 0], np.float32)


def _seed_pair(seed):
    if seed is None:
        seed = int(np.random.default_rng().integers(2**31))
    return tf.constant([seed, 0], tf.int32)


def _pack_given(given, rows, seq_len):
    """Stroke-3 drawings begun (None: nothing) -> (stroke-5 ``[P, N, 5]``, lengths ``[N]``), P >= 1."""
    given = [np.zeros((0, 3))] * rows if given is None else given
    lengths = np.array([len(strokes) for strokes in given], np.int32)
    if (lengths >= seq_len).any():
        raise ValueError(f"{lengths.max()} points are given; with seq_len {seq_len} that leaves nothing to draw")
    packed = np.zeros((max(lengths.max(initial=0), 1), rows, 5), np.float32)
    for n, strokes in enumerate(given):
        lifted = strokes[:, 2] > 0
        packed[: len(strokes), n] = np.column_stack([strokes[:, :2], ~lifted, lifted, np.zeros(len(strokes))])
    return tf.constant(packed), tf.constant(lengths)


def _run_generate(model, z, rows, seq_len, temperature, greedy_mode, run_on, seed, given=None):
    temperature = np.broadcast_to(np.asarray(temperature, np.float32), [rows])
    if not (temperature > 0).all():
        raise ValueError("temperature must be above 0; greedy_mode=True draws without chance")
    return model.generate(
        z,
        model.initial_state(z, rows),
        tf.tile(START[None], [rows, 1]),
        tf.constant(seq_len),
        tf.constant(temperature),
        tf.constant(greedy_mode),
        tf.constant(run_on),
        _seed_pair(seed),
        *_pack_given(given, rows, seq_len),
    )


def _latent_code(model, z, rows, seed):
    """z as a tensor ``[N, Z]``; drawn from N(0, 1) where none is given; None for an unconditional model."""
    if not model.hps.conditional:
        return None
    if z is None:
        z = np.random.default_rng(seed).normal(size=[rows, model.hps.z_size])
    return tf.reshape(tf.cast(z, tf.float32), [rows, model.hps.z_size])


def sample(model, seq_len: int = 250, temperature: float = 1.0, greedy_mode: bool = False, z=None, seed=None):
    """Draw one drawing, as the original does: always ``seq_len`` rows, not cut at the end of the drawing.

    z ``[Z]`` or ``[1, Z]``. Returns (strokes ``[seq_len, 5]``, MixtureParams of ``[seq_len, .]``).
    """
    z = _latent_code(model, z, 1, seed)
    strokes, outputs = _run_generate(model, z, 1, seq_len, temperature, greedy_mode, True, seed)
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
    given: list[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Draw one drawing for each row of z ``[N, Z]``, together; stops when all have ended.

    ``temperature`` is one number or one for each drawing; without z (unconditional, or z ~ N(0, 1)) give ``num``.
    ``given``: a stroke-3 beginning ``[k, 3]``, k < ``seq_len``, for each, kept as it is, that the drawing goes on from.
    Returns stroke-5 arrays, each cut before its end: an empty one ended at once.
    """
    if z is None and num is None:
        raise ValueError("give z, or num drawings to make")
    rows = num if z is None else len(z)
    z = _latent_code(model, z, rows, seed)
    strokes, _ = _run_generate(model, z, rows, seq_len, temperature, greedy_mode, False, seed, given)
    strokes = strokes.numpy()  # [t, N, 5]
    drawings = []
    for n in range(rows):
        ends = np.flatnonzero(strokes[:, n, 4] > 0)
        drawings.append(strokes[: ends[0] if len(ends) else len(strokes), n])
    return drawings


# ---------------------------------------------------------------------------------------------------------
# Snapshots: <model_dir>/vector-<step>.{index,data-...}, checkpoint, model_config.json; ours or the original's

CONFIG_NAME = "model_config.json"
LATEST_DIR = "latest"  # below the snapshots that validated best: the newest state, for going on
OUR_PREFIX = "model/weights/"
OUR_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
THEIR_PREFIX = "vector_rnn/"
READ_ERRORS = (tf.errors.OpError, ValueError, RuntimeError, IndexError)  # of damaged files; a cut one: IndexError


def load_config(model_dir: str | Path) -> str:
    """The text of a snapshot directory's ``model_config.json``. Raises FileNotFoundError."""
    path = Path(model_dir) / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: no snapshot there; train one, or name another directory")
    return path.read_text()


def load_hparams(model_dir: str | Path) -> HParams:
    """The hyper-parameters of a snapshot directory. Raises FileNotFoundError, or ValueError naming the file."""
    try:
        return HParams.from_json(load_config(model_dir))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{Path(model_dir) / CONFIG_NAME}: {error}") from None


def load_data_info(model_dir: str | Path) -> dict | None:
    """What a snapshot knows of its data (scale factors, line width); None for the original's. Raises ValueError."""
    info = json.loads(load_config(model_dir)).get("data_info")
    if info is None:
        return None
    for name in ("scale_factor", "line_width"):
        number = info.get(name) if isinstance(info, dict) else None
        if type(number) not in (int, float) or not 0 < number < math.inf:
            raise ValueError(f"{Path(model_dir) / CONFIG_NAME}: {name} of data_info is {number!r:.50}; wanted a number")
    return info


def save_config(model_dir: str | Path, hps: HParams, data_info: dict) -> None:
    """Write ``model_config.json``: all hyper-parameters and what sampling needs to know of the data."""
    path = Path(model_dir) / CONFIG_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**hps.values(), "data_info": data_info}, indent=1)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text + "\n")
    temporary.replace(path)


def complete_snapshots(directory: Path) -> list[Path]:
    """Snapshots that ``checkpoint`` lists, newest first; only complete ones get there.

    The directory given counts, wherever ``checkpoint`` says that the files once were.
    """
    try:
        state = tf.train.get_checkpoint_state(str(directory)) if directory.is_dir() else None
    except READ_ERRORS:  # the file is damaged
        state = None
    names = [state.model_checkpoint_path, *reversed(state.all_model_checkpoint_paths)] if state else []
    paths = [directory / name.replace("\\", "/").rsplit("/", 1)[-1] for name in names]
    paths = [path for path in dict.fromkeys(paths) if re.fullmatch(r".{1,200}-\d{1,18}", path.name)]
    return [path for path in paths if path.with_name(path.name + ".index").is_file()]


def snapshot_step(path: str | Path) -> int:
    """The last step that a snapshot's weights have seen: ``vector-<step>``."""
    return int(Path(path).name.rpartition("-")[2])


def find_snapshot(model_dir: str | Path) -> Path | None:
    """The snapshot to draw with, as a path without ending: the best by validation, else the latest, or None."""
    model_dir = Path(model_dir)
    return next(iter(complete_snapshots(model_dir) + complete_snapshots(model_dir / LATEST_DIR)), None)


def list_snapshots(model_dir: str | Path) -> list[Path]:
    """All snapshots to go on from, as paths without ending, newest first."""
    paths = complete_snapshots(Path(model_dir) / LATEST_DIR) + complete_snapshots(Path(model_dir))
    return sorted(paths, key=snapshot_step, reverse=True)


def is_ours(path: str | Path) -> bool:
    """Whether a snapshot holds a run's whole state, as this program writes it, or an original's weights."""
    try:
        return any(name.startswith(OUR_PREFIX) for name, _ in tf.train.list_variables(str(path)))
    except READ_ERRORS:  # damaged: passed over when restored
        return True


def load_snapshot(model: Model, model_dir: str | Path) -> int:
    """Load a model's weights from a snapshot directory, ours or the original's -> its step.

    Raises FileNotFoundError without one, ValueError naming a variable that is missing, left over or misshapen.
    """
    path = find_snapshot(model_dir)
    if path is None:
        raise FileNotFoundError(f"no snapshot in {model_dir}; train one, or name another directory")
    return load_weights(model, path)


def load_weights(model: Model, path: str | Path) -> int:
    """``load_snapshot`` for one snapshot, given by its path without ending."""
    try:
        reader = tf.train.load_checkpoint(str(path))
        shapes = reader.get_variable_to_shape_map()
    except READ_ERRORS as error:
        raise ValueError(f"{path} is no readable snapshot ({error})") from None
    keys = _weight_keys(shapes)
    wrong = [f"{name} is missing (wanted {_shape(v)})" for name, v in model.weights.items() if name not in keys]
    wrong += [f"{name} is left over (found {shapes[key]})" for name, key in keys.items() if name not in model.weights]
    wrong += [
        f"{name} has shape {shapes[key]} (wanted {_shape(model.weights[name])})"
        for name, key in keys.items()
        if name in model.weights and list(shapes[key]) != _shape(model.weights[name])
    ]
    if wrong:
        raise ValueError(f"{path} does not fit its hyper-parameters: " + "; ".join(wrong))
    try:
        values = {name: reader.get_tensor(key) for name, key in keys.items()}
    except READ_ERRORS as error:
        raise ValueError(f"{path} is damaged ({error})") from None
    for name, value in values.items():  # only now: a damaged snapshot leaves the model as it was
        model.weights[name].assign(value)
    return snapshot_step(path)


def save_weights(model: Model, model_dir: str | Path, step: int) -> Path:
    """Write the weights alone as the snapshot ``vector-<step>`` of a directory -> its path without ending."""
    path = Path(model_dir) / f"vector-{step}"
    tf.train.Checkpoint(model=model).write(str(path))
    tf.compat.v1.train.update_checkpoint_state(str(path.parent), path.name, [path.name])
    return path


def _shape(variable):
    return variable.shape.as_list()


def _weight_keys(shapes) -> dict[str, str]:
    """Weight name -> key in the file, leaving out what is no weight."""
    if any(key.startswith(OUR_PREFIX) for key in shapes):
        return {
            key[len(OUR_PREFIX) : -len(OUR_SUFFIX)].replace(".S", "/"): key
            for key in shapes
            if key.startswith(OUR_PREFIX) and key.endswith(OUR_SUFFIX)
        }
    scalars = ("global_step", "Variable", "beta1_power", "beta2_power")
    passed_over = {f"{scope}{name}" for scope in ("", THEIR_PREFIX, "vector_rnn_1/") for name in scalars}
    weights = [key for key in shapes if key not in passed_over]
    slots = {f"{THEIR_PREFIX}{key}/{slot}" for key in weights for slot in ("Adam", "Adam_1")}
    return {
        key.removeprefix(THEIR_PREFIX) if key.startswith(THEIR_PREFIX) else f"{key} outside {THEIR_PREFIX}": key
        for key in weights
        if key not in slots
    }
