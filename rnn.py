"""The three recurrent cells and their initialisers; unrolling.py runs a cell over time.

Letters: N batch, I input size, C context size, U ``num_units``. Gates stand in the order i, j (the candidate), f, o;
the forget gate has a bias of 1.

A cell holds its weights under the original's names (``cell.weights``) and describes one step of itself:

    products, params = cell.prepare(context)
    output, state = cell.step(x, state, dense, params, mask)

``products`` are its matrix products, name -> (matrix, offset); ``step`` asks for one with ``dense(name, a)``,
which is a . matrix + offset, so that unrolling.py can store each result for the backward pass and form all weight
gradients after the loop, one large product per matrix. ``params`` are all other weights that a step reads.
``cell.precision`` is the type of number that is multiplied; what is added up and kept is float32.
"""

import tensorflow as tf

from seeds import seed_for, stateless_seed

FORGET_BIAS = 1.0
LAYER_NORM_EPSILON = 1e-3
HYPER_UNITS = 256  # of the small cell inside the hyper cell
HYPER_EMBEDDING = 32


# ---------------------------------------------------------------------------------------------------------
# Initialisers


def glorot_uniform(shape: tuple[int, ...], seed: tuple[int, int]) -> tf.Tensor:
    """Uniform in +-sqrt(6 / (fan in + fan out)); a bias counts its length as both, as in the original."""
    limit = (6.0 / (shape[0] + shape[-1])) ** 0.5
    return tf.random.stateless_uniform(shape, seed, -limit, limit)


def orthogonal_gates(units: int, seed: tuple[int, int]) -> tf.Tensor:
    """Four orthogonal ``[U, U]`` matrices side by side, ``[U, 4U]``."""
    normal = tf.random.stateless_normal([4, units, units], seed)
    q, r = tf.linalg.qr(normal)
    q *= tf.sign(tf.linalg.diag_part(r))[:, None, :]  # makes the draw uniform over orthogonal matrices
    return tf.concat(tf.unstack(q), axis=1)


class Initializer:
    """Initial weights, each from a seed of its own: the order of the calls tells them apart."""

    def __init__(self, seed: int):
        self.seed, self.count = seed, 0

    def _next_seed(self):
        self.count += 1
        return stateless_seed(seed_for(self.seed, "weights", self.count))

    def normal(self, shape, stddev: float) -> tf.Variable:
        """Normal with mean 0."""
        return tf.Variable(tf.random.stateless_normal(shape, self._next_seed(), stddev=stddev))

    def glorot(self, shape) -> tf.Variable:
        """``glorot_uniform``."""
        return tf.Variable(glorot_uniform(shape, self._next_seed()))

    def orthogonal_gates(self, units: int) -> tf.Variable:
        """``orthogonal_gates``."""
        return tf.Variable(orthogonal_gates(units, self._next_seed()))


@tf.custom_gradient
def layer_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift (arXiv 1607.06450, eq. 4).

    x ``[..., N, U]``; gamma and beta ``[..., 1, U]`` or ``[U]``. The gradient is written out, as TensorFlow's takes
    twice as many operations.
    """
    centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True) + LAYER_NORM_EPSILON)
    normed = centred * scale

    def backward(d):
        d_normed = d * gamma
        projection = tf.reduce_mean(d_normed * normed, axis=-1, keepdims=True)
        d_x = (d_normed - tf.reduce_mean(d_normed, axis=-1, keepdims=True) - normed * projection) * scale
        d_gamma = tf.reshape(tf.reduce_sum(d * normed, axis=-2), tf.shape(gamma))
        return d_x, d_gamma, tf.reshape(tf.reduce_sum(d, axis=-2), tf.shape(beta))

    return normed * gamma + beta, backward


# ---------------------------------------------------------------------------------------------------------
# Cells


def multiply(a: tf.Tensor, b: tf.Tensor, precision: tf.DType, **transpose) -> tf.Tensor:
    """a . b as float32, of factors that are rounded to ``precision``."""
    return tf.cast(tf.matmul(tf.cast(a, precision), tf.cast(b, precision), **transpose), tf.float32)


def _mask(candidate, mask):
    """Recurrent dropout without memory loss: only the candidate is dropped (arXiv 1603.05118, eq. 7)."""
    return candidate if mask is None else candidate * mask


def _context_offset(context, rows, bias=None):
    """What the constant part of the input, ``[N, C]``, and the bias add to the gates at every step."""
    offset = bias
    if context is not None:
        offset = tf.matmul(context, rows)
        offset = offset if bias is None else offset + bias
    return offset


def _gate_products(weights, context):
    """All gates from [x, h] in one product; what the context and the bias add is its offset."""
    x_rows, context_rows = split_rows(weights["W_xh"], context)
    matrix = tf.concat([x_rows, weights["W_hh"]], axis=0)
    return {"gates": (matrix, _context_offset(context, context_rows, weights.get("bias")))}


class LSTMCell:
    """Long short-term memory with a forget bias and recurrent dropout; the state vector is [c, h]."""

    NAME = "LSTMCell"
    precision = tf.float32

    def __init__(self, input_size: int, num_units: int, init: Initializer):
        self.num_units = num_units
        self.state_sizes = (num_units, num_units)
        self.weights = {
            "W_xh": init.glorot((input_size, 4 * num_units)),
            "W_hh": init.orthogonal_gates(num_units),
            "bias": tf.Variable(tf.zeros([4 * num_units])),
        }

    def prepare(self, context: tf.Tensor | None = None):
        """(products, params); the last C rows of ``W_xh`` belong to the context ``[N, C]``."""
        return _gate_products(self.weights, context), {}

    def step(self, x, state, dense, params, mask=None):
        """c' = c s(f + 1) + s(i) tanh(j), h' = tanh(c') s(o);  x [N, I], state (c, h) -> (h', (c', h'))."""
        c, h = state
        i, j, f, o = tf.split(dense("gates", tf.concat([x, h], axis=1)), 4, axis=1)
        candidate = _mask(tf.tanh(j), mask)
        c = c * tf.sigmoid(f + FORGET_BIAS) + tf.sigmoid(i) * candidate
        h = tf.tanh(c) * tf.sigmoid(o)
        return h, (c, h)

    def last_output(self, state: tf.Tensor) -> tf.Tensor:
        """h of a state vector ``[N, 2U]``."""
        return state[:, self.num_units :]


def _gate_by_gate(columns):
    """``[N, 4U]`` -> ``[4, N, U]``, of which a gate is a part without copying."""
    return tf.transpose(tf.reshape(columns, [-1, 4, columns.shape[1] // 4]), [1, 0, 2])


def _normed_step(gates, c, params, mask):
    """The layer-norm cell from its gates' sums ``[4, N, U]`` on -> (h', c')."""
    i, j, f, o = tf.unstack(layer_norm(gates, params["all_gamma"], params["all_beta"]))
    candidate = _mask(tf.tanh(j), mask)
    c = c * tf.sigmoid(f + FORGET_BIAS) + tf.sigmoid(i) * candidate
    h = tf.tanh(layer_norm(c, params["c_gamma"], params["c_beta"])) * tf.sigmoid(o)
    return h, c  # c stays un-normalised, as in the original


def _norm_params(weights, prefix=""):
    """Layer-norm weights as ``_normed_step`` reads them: ``[4, 1, U]`` for the gates."""
    units = weights[f"{prefix}ln_c/ln_gamma"].shape[0]
    return {
        "all_gamma": tf.reshape(weights[f"{prefix}ln_all/ln_gamma"], [4, 1, units]),
        "all_beta": tf.reshape(weights[f"{prefix}ln_all/ln_beta"], [4, 1, units]),
        "c_gamma": tf.convert_to_tensor(weights[f"{prefix}ln_c/ln_gamma"]),
        "c_beta": tf.convert_to_tensor(weights[f"{prefix}ln_c/ln_beta"]),
    }


def _norm_weights(units, prefix=""):
    return {
        f"{prefix}ln_all/ln_gamma": tf.Variable(tf.ones([4 * units])),
        f"{prefix}ln_all/ln_beta": tf.Variable(tf.zeros([4 * units])),
        f"{prefix}ln_c/ln_gamma": tf.Variable(tf.ones([units])),
        f"{prefix}ln_c/ln_beta": tf.Variable(tf.zeros([units])),
    }


class LayerNormLSTMCell:
    """LSTM with layer normalisation of every gate and of c (arXiv 1607.06450); the state vector is [h, c]."""

    NAME = "LayerNormLSTMCell"
    precision = tf.float32

    def __init__(self, input_size: int, num_units: int, init: Initializer):
        self.num_units = num_units
        self.state_sizes = (num_units, num_units)
        self.weights = {
            "W_xh": init.glorot((input_size, 4 * num_units)),
            "W_hh": init.orthogonal_gates(num_units),
            **_norm_weights(num_units),
        }

    def prepare(self, context: tf.Tensor | None = None):
        """(products, params); the last C rows of ``W_xh`` belong to the context ``[N, C]``."""
        return _gate_products(self.weights, context), _norm_params(self.weights)

    def step(self, x, state, dense, params, mask=None):
        """As ``LSTMCell``, with LN(i, j, f, o) and h' = tanh(LN(c')) s(o);  state (h, c) -> (h', (h', c'))."""
        h, c = state
        gates = _gate_by_gate(dense("gates", tf.concat([x, h], axis=1)))
        h, c = _normed_step(gates, c, params, mask)
        return h, (h, c)

    def last_output(self, state: tf.Tensor) -> tf.Tensor:
        """h of a state vector ``[N, 2U]``."""
        return state[:, : self.num_units]


class HyperLSTMCell:
    """LSTM whose gates a smaller layer-norm LSTM scales and shifts (arXiv 1609.09106 §4; state [h, H, c, C]).

    H and C are the small cell's: it reads [x, h]. Each of the eight halves (x and h of i, j, f, o) is
    multiplied by alpha = (H'.A + 1).B, the h halves also get beta = (H'.C).D.
    """

    NAME = "HyperLSTMCell"
    precision = tf.float32
    HALVES = tuple(f"hyper_{gate}{half}" for half in "xh" for gate in "ijfo")

    def __init__(self, input_size: int, num_units: int, init: Initializer):
        self.num_units = num_units
        self.state_sizes = (num_units, HYPER_UNITS, num_units, HYPER_UNITS)
        small = LayerNormLSTMCell(input_size + num_units, HYPER_UNITS, init)
        weights = {
            "W_xh": init.glorot((input_size, 4 * num_units)),
            "W_hh": init.orthogonal_gates(num_units),
            "bias": tf.Variable(tf.zeros([4 * num_units])),
            **{f"{small.NAME}/{name}": variable for name, variable in small.weights.items()},
            **_norm_weights(num_units),
        }
        for half in self.HALVES:
            weights |= self._half_weights(half, init)
        self.weights = weights

    def _half_weights(self, half, init):
        embedding, units = HYPER_EMBEDDING, self.num_units
        weights = {
            f"{half}/zw/super_linear_w": tf.Variable(tf.zeros([HYPER_UNITS, embedding])),
            f"{half}/zw/super_linear_b": tf.Variable(tf.ones([embedding])),
            f"{half}/alpha/super_linear_w": tf.Variable(tf.fill([embedding, units], 0.1 / embedding)),
        }
        if half.endswith("h"):
            weights[f"{half}/zb/super_linear_w"] = init.normal([HYPER_UNITS, embedding], 0.01)
            weights[f"{half}/beta/super_linear_w"] = tf.Variable(tf.zeros([embedding, units]))
        return weights

    def _stack(self, kind, halves):
        return [self.weights[f"{half}/{kind}"] for half in halves]

    def prepare(self, context: tf.Tensor | None = None):
        """(products, params); the last C input rows of ``W_xh`` belong to the context ``[N, C]``.

        Four products per step: the strokes' and h's gates, the small cell's, and all twelve embeddings at once.
        """
        weights, h_halves = self.weights, self.HALVES[4:]
        x_rows, context_rows = split_rows(weights["W_xh"], context)
        small_rows, h_rows = tf.split(weights["LayerNormLSTMCell/W_xh"], [-1, self.num_units])
        small_x_rows, small_context_rows = split_rows(small_rows, context)
        small = tf.concat([small_x_rows, h_rows, weights["LayerNormLSTMCell/W_hh"]], axis=0)
        embeddings = tf.concat(
            self._stack("zw/super_linear_w", self.HALVES) + self._stack("zb/super_linear_w", h_halves), axis=1
        )
        ones = tf.concat(self._stack("zw/super_linear_b", self.HALVES) + [tf.zeros([4 * HYPER_EMBEDDING])], axis=0)
        products = {
            "x": (x_rows, _context_offset(context, context_rows)),
            "h": (tf.convert_to_tensor(weights["W_hh"]), None),
            "small": (small, _context_offset(context, small_context_rows)),
            "embeddings": (embeddings, ones),
        }
        small_params = _norm_params(weights, "LayerNormLSTMCell/")
        return products, {
            "bias": tf.reshape(weights["bias"], [4, 1, self.num_units]),
            "scales": tf.stack(
                self._stack("alpha/super_linear_w", self.HALVES) + self._stack("beta/super_linear_w", h_halves)
            ),
            **_norm_params(weights),
            **{f"small_{name}": value for name, value in small_params.items()},
        }

    def step(self, x, state, dense, params, mask=None):
        """gates = alpha_x . x W_xh + alpha_h . h W_hh + beta + bias, then as ``LayerNormLSTMCell``."""
        h, small_h, c, small_c = state
        small_gates = dense("small", tf.concat([x, h, small_h], axis=1))
        small_params = {name: params[f"small_{name}"] for name in ("all_gamma", "all_beta", "c_gamma", "c_beta")}
        small_h, small_c = _normed_step(_gate_by_gate(small_gates), small_c, small_params, None)
        embeddings = tf.reshape(dense("embeddings", small_h), [-1, 12, HYPER_EMBEDDING])
        scales = multiply(tf.transpose(embeddings, [1, 0, 2]), params["scales"], self.precision)  # [12, N, U]
        alpha_x, alpha_h, beta = tf.split(scales, 3)
        from_x, from_h = _gate_by_gate(dense("x", x)), _gate_by_gate(dense("h", h))
        gates = alpha_x * from_x + alpha_h * from_h + beta + params["bias"]  # [4, N, U]
        h, c = _normed_step(gates, c, params, mask)
        return h, (h, small_h, c, small_c)

    def last_output(self, state: tf.Tensor) -> tf.Tensor:
        """h of a state vector ``[N, 2U + 2 * HYPER_UNITS]``."""
        return state[:, : self.num_units]


CELLS = {"lstm": LSTMCell, "layer_norm": LayerNormLSTMCell, "hyper": HyperLSTMCell}


def split_rows(matrix, context):
    """The rows of an input matrix that meet x, and those that meet the context (None without one)."""
    if context is None:
        return tf.convert_to_tensor(matrix), None
    return tf.split(matrix, [-1, context.shape[-1]])


# ---------------------------------------------------------------------------------------------------------
# Around a step


def dropout_mask(shape, keep_prob: float, seed: tf.Tensor) -> tf.Tensor:
    """An inverted dropout mask: 1 / ``keep_prob`` with that probability, else 0."""
    return tf.floor(keep_prob + tf.random.stateless_uniform(shape, seed)) / keep_prob


def make_dense(products, precision: tf.DType = tf.float32):
    """``dense(name, a)`` = a . matrix + offset, for stepping a cell outside ``unroll``."""

    def dense(name, a):
        matrix, offset = products[name]
        result = multiply(a, matrix, precision)
        return result if offset is None else result + offset

    return dense
