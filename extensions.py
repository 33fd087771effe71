"""All that is not the paper's: other encoders, what the decoder may see beside the stroke, a KL term, presets.

What the decoder sees is a plug with three methods, used by teacher forcing and by sampling; both give the same:

    begin(code) -> state                                  before the first point
    sequence(state, strokes [N, T, 5]) -> [N, T, size]    all points at once
    step(state, stroke [N, 5]) -> ([N, size], state)      one point at a time

A state is a tuple; its first ``SHARED`` parts do not change and may serve several rows.

Letters as in model.py.
"""

import math
from typing import ClassVar

import tensorflow as tf

from hparams import HParams
from rnn import CELLS, Initializer, dropout_mask
from unrolling import is_padded, unroll

# A deep, normalised encoder, little noise on z, and a plain LSTM that knows where its pen is.
NORMALISED = dict(
    enc_model="deep_cnn", presig_bias=-6.0, use_position=True, dec_model="lstm", use_recurrent_dropout=False
)
PRESETS = {  # name -> changes to get_default_hparams()
    "default": {},
    # Draws what it sees within minutes on two cores.
    "demo": dict(
        NORMALISED,
        num_steps=2400,
        save_every=400,
        enc_filters=[8, 16, 32, 64],
        position_noise_std=0.1,
        drawing_extent=10.0,
        pixel_features=64,
        dec_rnn_size=256,
        z_size=64,
        batch_size=50,
        num_mixture=10,
        learning_rate=0.003,
        decay_rate=0.9986,
        min_learning_rate=0.0001,
        random_scale_factor=0.0,
        augment_stroke_prob=0.0,
    ),
    # Draws whatever it sees, by pixel-aligned features: the weights in assets/pixels.
    "pixels": dict(
        NORMALISED,
        img_H=96,
        img_W=96,
        num_steps=25_001,
        save_every=1000,
        enc_filters=[8, 16, 32, 64, 128],
        position_noise_std=0.15,
        drawing_extent=10.0,
        pixel_features=96,
        ink_reach=1,
        pixel_landings=4,
        pixel_features_dropout=0.1,
        astray_prob=0.5,
        dec_rnn_size=384,
        learning_rate=0.001,
        decay_rate=0.99986,
        min_learning_rate=0.00003,
        augment_bitmaps=True,
        bitmap_noise=0.1,
        random_rotation=20.0,
    ),
    # Draws its own categories from z alone far better than the paper's model: the weights in assets/pretrained.
    "sharp": dict(
        NORMALISED,
        num_steps=28_000,
        save_every=1000,
        enc_filters=[16, 32, 64, 128],
        position_noise_std=0.1,
        position_features=32,
        dec_rnn_size=384,
        learning_rate=0.002,
        decay_rate=0.99986,
        min_learning_rate=0.00003,
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
        self.padded = is_padded(hps.unroll)
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
            _, state = unroll(cell, x, zeros, masks=masks, counts=counts, padded=self.padded)
            lasts.append(cell.last_output(state))  # [N, enc_rnn_size]
        return tf.gather(tf.concat(lasts, axis=1), tf.argsort(order))  # [N, 2 enc_rnn_size]


ENCODERS = {"deep_cnn": DeepCNN, **dict.fromkeys(CELLS, StrokeRNN)}


# ---------------------------------------------------------------------------------------------------------
# What the decoder sees beside the stroke


class DecoderFeatures:
    """What plugs share: their states by rows, for sampling that goes on from one state in several ways."""

    SHARED = 0  # parts of a state that all rows share

    def gather(self, state: tuple, rows: tf.Tensor) -> tuple:
        """The state of ``rows`` ``[K]``, some perhaps several times."""
        return *state[: self.SHARED], *(tf.gather(part, rows) for part in state[self.SHARED :])

    def where(self, condition: tf.Tensor, state: tuple, other: tuple) -> tuple:
        """The rows of ``state`` where ``condition`` ``[N]`` holds, else those of ``other``."""
        pairs = zip(state[self.SHARED :], other[self.SHARED :], strict=True)
        return *other[: self.SHARED], *(where_rows(condition, *pair) for pair in pairs)


def where_rows(condition: tf.Tensor, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Rows of ``one`` ``[N, ...]`` where ``condition`` ``[N]`` holds, else those of ``other``."""
    return tf.where(tf.reshape(condition, [-1, *[1] * (one.shape.rank - 1)]), one, other)


class PenPosition(DecoderFeatures):
    """Where on the page the pen is, in units of normalised strokes from the page's centre."""

    size = 2
    weights: ClassVar = {}

    def begin(self, code):
        """The page's centre ``[N, 2]``, where every drawing begins."""
        return (tf.zeros([tf.shape(code.z)[0], 2]),)

    def sequence(self, state, strokes):
        """``[N, T, 2]``."""
        return state[0][:, None] + tf.cumsum(strokes[:, :, :2], axis=1)

    def step(self, state, stroke):
        """``[N, 2]``, which is the next state, too."""
        position = state[0] + stroke[:, :2]
        return position, (position,)


class FourierPositionReadout(DecoderFeatures):
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


class LandingMaps:
    """Where the next stroke may begin: learned maps of the ink that is left, each seen from the pen as one place.

    Each of L maps weighs the ink of a cell by what the CNN holds there, so that it may learn where lines begin. Of
    the cells that are left the decoder sees the weighted centre, in units from its pen: sums over blocks of the page do
    not tell so finely where to land. The centre comes of moments, which are sums over cells.
    """

    MAX_SCORE = 6.0  # a cell's ink weighs e^-6 to e^6

    def __init__(self, hps: HParams, filters: tuple[int, ...], cell: float, pixels_per_unit: float, init: Initializer):
        """``filters`` of the levels that are read; ``cell`` is a cell's side, pixels."""
        self.maps, self.cell, self.pixels_per_unit = hps.pixel_landings, cell, pixels_per_unit
        self.weights = {
            f"landings/level{level}_w": init.normal([count, self.maps], 0.1) for level, count in enumerate(filters)
        }
        self.weights["landings/dense_w"] = init.glorot([3 * self.maps, hps.pixel_features])

    def moments(self, levels, ink):
        """``[N, cells^2, 3 L]``: each cell's weight, weight times x, weight times y, of each map; x and y in pixels."""
        score = 0.0
        for level, x in enumerate(levels):
            weight = self.weights[f"landings/level{level}_w"]
            score += tf.image.resize(tf.einsum("nyxc,cl->nyxl", x, weight), ink.shape[1:])
        weight = ink[..., None] * tf.exp(self.MAX_SCORE * tf.tanh(score / self.MAX_SCORE))  # [N, cells, cells, L]
        middle = (tf.range(ink.shape[1], dtype=tf.float32) + 0.5) * self.cell
        moments = tf.concat([weight, weight * middle[:, None], weight * middle[:, None, None]], axis=3)
        return tf.reshape(moments, [-1, ink.shape[1] ** 2, 3 * self.maps])

    def left_at_each_step(self, moments, when, steps):
        """``[N, steps + 1, 3 L]``: the sums over the cells that are covered later; ``when`` ``[N, cells^2]``."""
        rows, cells, size = tf.unstack(tf.shape(moments))
        index = tf.stack([tf.repeat(tf.range(rows), cells), tf.reshape(when, [-1])], axis=1)
        covered = tf.scatter_nd(index, tf.reshape(moments, [-1, size]), [rows, steps + 1, size])
        return tf.cumsum(covered, axis=1, exclusive=True, reverse=True)

    def see(self, left, pixels):
        """``[P, size]`` of the sums over what is left ``[P, 3 L]``, from the pen at ``pixels`` ``[P, 2]``."""
        weight, x, y = tf.split(left, 3, axis=1)
        total, (pen_x, pen_y) = weight + 1e-4, tf.split(pixels, 2, axis=1)
        scale = total * self.pixels_per_unit
        seen = [(x - weight * pen_x) / scale, (y - weight * pen_y) / scale, tf.math.log(total) / self.MAX_SCORE]
        return tf.matmul(tf.concat(seen, axis=1), self.weights["landings/dense_w"])


class PixelAlignedFeatures(DecoderFeatures):
    """Pixel-aligned features: what a small CNN makes of the bitmap, read where the pen is; and the ink that is left.

    The CNN's maps are read bilinearly at the pen's position (PIFu, arXiv 1905.05172). Ink is left in a cell of the page
    until a point or the line to it comes within ``ink_reach`` cells: the decoder sees the cells around its pen, and
    sums over the page. A line's ink is broader than a cell: with a reach of 0 a quarter of it is left when all is
    drawn. Positions are in pixels as every drawing's longer side is ``drawing_extent`` units, which fill the bitmap but
    for a margin. A drawing without features (a bare z, or dropped in training) gives zeros, and a flag that says so.
    """

    FILTERS = (16, 32, 64, 96)
    WINDOW = 7  # cells around the pen, on each side of a square
    BLOCKS = 8  # sums over the page, on each side
    MARGIN = 2.0  # units of both sides together, as bitmaps are drawn
    SHARED = 1  # the features; a row knows whose it reads

    def __init__(self, hps: HParams, init: Initializer):
        self.size, self.side, self.reach = hps.pixel_features, hps.img_H, hps.ink_reach
        self.pixels_per_unit = self.side / (hps.drawing_extent + self.MARGIN)
        self.stride = max(1, round(self.side / 48))
        self.cells = self.side // 2 // self.BLOCKS * self.BLOCKS  # of the ink that is left, on each side
        self.weights, inputs, first = {}, 1, 3 if self.stride == 1 else 2 * self.stride
        for level, filters in enumerate(self.FILTERS):
            for k in range(1 if level == 0 else 2):
                size = first if level == 0 else 3
                name = f"pixels/level{level}_{k}"
                stddev = math.sqrt(2.0 / (size**2 * inputs))
                self.weights[f"{name}/DW"] = init.normal([size, size, inputs, filters], stddev)
                self.weights[f"{name}/gamma"] = tf.Variable(tf.ones([filters]))
                self.weights[f"{name}/beta"] = tf.Variable(tf.zeros([filters]))
                inputs = filters
        inputs = sum(self.FILTERS) + self.WINDOW**2 + self.BLOCKS**2 + 1
        self.weights["pixels/dense_w"] = init.glorot([inputs, self.size])
        self.weights["pixels/dense_b"] = tf.Variable(tf.zeros([self.size]))
        self.landings = None
        if hps.pixel_landings:
            cell = self.side / self.cells
            self.landings = LandingMaps(hps, self.FILTERS, cell, self.pixels_per_unit, init)
            self.weights |= self.landings.weights

    def encode(self, images: tf.Tensor, present: tf.Tensor | None = None):
        """Bitmaps ``[N, H, W, 1]`` -> what is read of them.

        That is maps ``[N, S, S, C]`` by level, ink ``[N, cells, cells]``, present ``[N]``, and the moments of landing
        maps ``[N, cells^2, 3 L]``, with L of 0 if there are none.
        """
        ink = 1.0 - images / 255.0  # [N, H, W, 1]
        x, maps = ink, []
        for level in range(len(self.FILTERS)):
            x = x if level == 0 else tf.nn.max_pool2d(x, 2, 2, "SAME")
            for k in range(1 if level == 0 else 2):
                weight, gamma, beta = (
                    self.weights[f"pixels/level{level}_{k}/{name}"] for name in ("DW", "gamma", "beta")
                )
                x = tf.nn.conv2d(x, weight, self.stride if level == 0 else 1, "SAME")
                mean, variance = tf.nn.moments(x, [1, 2], keepdims=True)
                scale = gamma * tf.math.rsqrt(variance + 1e-3)
                x = tf.nn.relu(x * scale + (beta - mean * scale))
            maps.append(x)
        pixels = self.side // self.cells  # of a cell's side
        cells = tf.reshape(ink[:, : self.cells * pixels, : self.cells * pixels], [-1, *[self.cells, pixels] * 2])
        present = tf.ones([tf.shape(images)[0]]) if present is None else present
        ink = tf.reduce_max(cells, axis=[2, 4])
        return tuple(maps), ink, present, self._moments(maps, ink)

    def _moments(self, maps, ink):
        return self.landings.moments(maps, ink) if self.landings else tf.zeros([tf.shape(ink)[0], self.cells**2, 0])

    def begin(self, code):
        """(features, whose ``[N]``, position ``[N, 2]``, whether a line goes on, cells covered ``[N, cells^2]``)."""
        rows = tf.shape(code.z)[0]
        features = code.features
        if features is None:
            sides = [-(-self.side // (self.stride * 2**level)) for level in range(len(self.FILTERS))]
            maps = [tf.zeros([rows, side, side, filters]) for side, filters in zip(sides, self.FILTERS, strict=True)]
            ink = tf.zeros([rows, self.cells, self.cells])
            features = tuple(maps), ink, tf.zeros([rows]), self._moments(maps, ink)
        fresh = tf.fill([rows], -1.0)  # the start token is no point: no line goes on from it
        return features, tf.range(rows), tf.zeros([rows, 2]), fresh, tf.zeros([rows, self.cells**2])

    # ---- all points at once

    def sequence(self, state, strokes):
        """``[N, T, size]``; zeros from the end of each drawing on. T begins with the start token."""
        (maps, ink, present, moments), _, position, _, _ = state
        rows, steps = tf.unstack(tf.shape(strokes)[:2])
        positions = position[:, None] + tf.cumsum(strokes[:, :, :2], axis=1)  # [N, T, 2]
        index = tf.cast(tf.where(strokes[:, :, 4] < 0.5), tf.int32)  # [P, 2] of the real points, the start token's too
        n, t = index[:, 0], index[:, 1]
        pixels = self._to_pixels(tf.gather_nd(positions, index))  # [P, 2]
        before = self._to_pixels(tf.gather_nd(positions, tf.stack([n, tf.maximum(t - 1, 0)], axis=1)))
        down = tf.gather_nd(strokes[:, :, 2], tf.stack([n, tf.maximum(t - 1, 0)], axis=1)) * tf.cast(t > 1, tf.float32)
        touched = self._cells_of_line(tf.where(down[:, None] > 0, before, pixels), pixels)  # [P, samples]
        when = tf.fill([rows * self.cells**2], steps)  # the step that covers each cell
        touched, at = tf.reshape(n[:, None] * self.cells**2 + touched, [-1]), tf.repeat(t, tf.shape(touched)[1])
        when = tf.tensor_scatter_nd_min(when, touched[:, None], tf.where(at > 0, at, steps))
        when = -tf.cast(self._widen(-tf.cast(when, tf.float32)), tf.int32)
        left = self._window(n, pixels, ink, tf.reshape(when, [rows, -1]), t)
        block = tf.tile(self._block_of_cell()[None], [rows, 1])  # [N, cells^2]
        lost = tf.stack([tf.repeat(tf.range(rows), self.cells**2), when, tf.reshape(block, [-1])], axis=1)
        lost = tf.scatter_nd(lost, tf.reshape(ink, [-1]), [rows, steps + 1, self.BLOCKS**2])
        sums = tf.reduce_sum(lost, axis=1, keepdims=True) - tf.cumsum(lost, axis=1)[:, :-1]  # [N, T, blocks]
        landings = 0.0
        if self.landings:
            later = self.landings.left_at_each_step(moments, tf.reshape(when, [rows, -1]), steps)
            landings = self.landings.see(tf.gather_nd(later, index), pixels)
        read, sums = self._read(maps, n, pixels), tf.gather_nd(sums, index)
        seen = self._dense(read, left, sums, landings, tf.gather(present, n))
        return tf.scatter_nd(index, seen, [rows, steps, self.size])

    # ---- one point at a time

    def step(self, state, stroke):
        """``[N, size]`` and the state after this stroke."""
        (maps, ink, present, moments), whose, position, down, covered = state
        rows, ink = tf.range(tf.shape(stroke)[0]), tf.gather(ink, whose)
        before, position = self._to_pixels(position), position + stroke[:, :2]
        pixels = self._to_pixels(position)
        touched = self._cells_of_line(tf.where(down[:, None] > 0, before, pixels), pixels)  # [N, samples]
        touched = tf.stack([tf.repeat(rows, tf.shape(touched)[1]), tf.reshape(touched, [-1])], axis=1)
        is_point = tf.repeat(tf.cast(down >= 0, tf.float32), tf.shape(touched)[0] // tf.maximum(tf.shape(rows)[0], 1))
        covered = tf.tensor_scatter_nd_max(covered, touched, is_point)
        drawn = tf.reshape(self._widen(covered), tf.shape(covered))
        left = self._window(rows, pixels, ink, tf.cast(drawn < 0.5, tf.int32), 0)
        still = tf.reshape(ink, tf.shape(drawn)) * (1.0 - drawn)
        shape = [-1, *[self.BLOCKS, self.cells // self.BLOCKS] * 2]
        sums = tf.reshape(tf.reduce_sum(tf.reshape(still, shape), axis=[2, 4]), [-1, self.BLOCKS**2])
        landings = 0.0
        if self.landings:
            landings = self.landings.see(tf.einsum("nc,ncl->nl", 1.0 - drawn, tf.gather(moments, whose)), pixels)
        seen = self._dense(self._read(maps, whose, pixels), left, sums, landings, tf.gather(present, whose))
        down = tf.where(down < 0, 0.0, stroke[:, 2])
        return seen, (state[0], whose, position, down, covered)

    # ---- parts of both

    def _to_pixels(self, positions):
        return self.side / 2 + self.pixels_per_unit * positions

    def _read(self, maps, n, pixels):
        """Each level's map of drawing n ``[P]`` at pixels ``[P, 2]``, bilinearly -> ``[P, sum of filters]``."""
        parts = []
        for level in maps:
            side, filters = tf.shape(level)[1], level.shape[3]
            top = tf.cast(side - 1, tf.float32)
            at = tf.clip_by_value(pixels * tf.cast(side, tf.float32) / self.side - 0.5, 0.0, top)
            low = tf.minimum(tf.floor(at), tf.maximum(top - 1.0, 0.0))
            (x, y), (fx, fy) = tf.unstack(tf.cast(low, tf.int32), axis=1), tf.unstack(at - low, axis=1)
            flat, first = tf.reshape(level, [-1, filters]), (n * side + y) * side + x
            right, below = tf.minimum(1, side - 1), side * tf.minimum(1, side - 1)
            corners = [
                (0, (1 - fx) * (1 - fy)),
                (right, fx * (1 - fy)),
                (below, (1 - fx) * fy),
                (right + below, fx * fy),
            ]
            parts.append(tf.add_n([tf.gather(flat, first + step) * share[:, None] for step, share in corners]))
        return tf.concat(parts, axis=1)

    def _cells_of_line(self, start, end):
        """Cells that lines between pixels ``[P, 2]`` touch, by samples a cell apart at most -> ``[P, cells]``."""
        share = tf.linspace(0.0, 1.0, self.cells)[None, :, None]
        samples = (start[:, None] + (end - start)[:, None] * share) * (self.cells / self.side)
        cells = tf.clip_by_value(tf.cast(tf.floor(samples), tf.int32), 0, self.cells - 1)
        return cells[:, :, 1] * self.cells + cells[:, :, 0]

    def _widen(self, of_cells):
        """The largest value within reach of each cell, of values by cell -> a vector."""
        if self.reach:
            square = tf.reshape(of_cells, [-1, self.cells, self.cells, 1])
            of_cells = tf.nn.max_pool2d(square, 2 * self.reach + 1, 1, "SAME")
        return tf.reshape(of_cells, [-1])

    def _window(self, n, pixels, ink, when, t):
        """Ink left in the cells around pixels ``[P, 2]`` at step t, that of cells covered later: ``[P, WINDOW^2]``."""
        reach = self.WINDOW // 2
        pad, side = [[0, 0], [reach, reach], [reach, reach]], self.cells + 2 * reach
        ink = tf.reshape(tf.pad(ink, pad), [-1])
        when = tf.reshape(tf.pad(tf.reshape(when, [-1, self.cells, self.cells]), pad), [-1])
        cell = tf.cast(tf.floor(pixels * (self.cells / self.side)), tf.int32)
        x, y = tf.unstack(tf.clip_by_value(cell, 0, self.cells - 1), axis=1)
        around = tf.range(self.WINDOW)
        around = tf.reshape(around[:, None] * side + around[None], [-1])
        index = ((n * side + y) * side + x)[:, None] + around[None]  # [P, WINDOW^2]
        later = tf.gather(when, index) > tf.reshape(t, [-1, 1])
        return tf.gather(ink, index) * tf.cast(later, tf.float32)

    def _block_of_cell(self):
        block = tf.range(self.cells) * self.BLOCKS // self.cells
        return tf.reshape(block[:, None] * self.BLOCKS + block[None], [-1])

    def _dense(self, read, left, sums, landings, present):
        cells = (self.cells // self.BLOCKS) ** 2
        seen = tf.concat([read, left, sums / cells], axis=1) * present[:, None]
        seen = tf.concat([seen, present[:, None]], axis=1)
        seen = tf.matmul(seen, self.weights["pixels/dense_w"]) + self.weights["pixels/dense_b"]
        return tf.nn.relu(seen + landings * present[:, None])


def make_decoder_features(hps: HParams, init: Initializer) -> list:
    """The plugs that the hyper-parameters ask for, in the order in which the decoder's weights know them."""
    plugs = [PenPosition()] if hps.use_position else []
    plugs += [FourierPositionReadout(hps, init)] if hps.position_features else []
    return plugs + ([PixelAlignedFeatures(hps, init)] if hps.pixel_features else [])


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


def pad_learned(learned: tf.Tensor, lengths: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
    """Which points of drawings of ``lengths`` ``[N]``, laid end to end, are learned: bool ``[P]`` -> 1 or 0 ``[N, T]``.

    The end of a drawing always is, and so is what follows, as in the original.
    """
    rows = tf.RaggedTensor.from_row_lengths(tf.cast(learned, tf.float32), lengths).to_tensor(1.0)  # [N, longest]
    return tf.pad(rows, [[0, 0], [0, steps - tf.shape(rows)[1]]], constant_values=1.0)


def kl_cost(mean: tf.Tensor, presig: tf.Tensor) -> tf.Tensor:
    """KL divergence of each code from N(0, 1), per latent dimension (arXiv 1704.03477, eq. 10) -> ``[N]``."""
    return -0.5 * tf.reduce_mean(1.0 + presig - tf.square(mean) - tf.exp(presig), axis=1)


def kl_weight_at(hps: HParams, step: int) -> float:
    """kl_weight (1 - (1 - kl_weight_start) kl_decay_rate^step) (arXiv 1704.03477, eqs 12-13)."""
    return hps.kl_weight * (1.0 - (1.0 - hps.kl_weight_start) * hps.kl_decay_rate**step)
