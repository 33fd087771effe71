"""The three recurrent cells, their initialisers, and the unrolling of a cell over time.

Letters: N batch, T steps, I input size, C context size, U ``num_units``, P points in all (the needed rows of all
steps). Gates stand in the order i, j (the candidate), f, o; the forget gate has a bias of 1.

A cell holds its weights under the original's names (``cell.weights``) and describes one step of itself:

    products, params = cell.prepare(context)
    output, state = cell.step(x, state, dense, params, mask)

``products`` are its matrix products, name -> (matrix, offset); ``step`` asks for one with ``dense(name, a)``,
which is a . matrix + offset, so that ``unroll`` can store each result for the backward pass and form all weight
gradients after the loop, one large product per matrix. ``params`` are all other weights that a step reads.
``cell.precision`` is the type of number that is multiplied; what is added up and kept is float32.
"""

import functools

import tensorflow as tf

from seeds import seed_for, stateless_seed

FORGET_BIAS = 1.0
LAYER_NORM_EPSILON = 1e-3
HYPER_UNITS = 256  # of the small cell inside the hyper cell
HYPER_EMBEDDING = 32
# Numbers of steps for which the padded loop is compiled: 16, 24, 32, 48 ...; at most a third is added by rounding up.
PADDED_STEPS = [size << k for k in range(3, 15) for size in (2, 3)]


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
# Unrolling


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


@functools.cache
def compiles() -> bool:
    """Whether XLA compiles for the device that computes."""
    try:
        return int(tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(1))) == 2
    except tf.errors.OpError:
        return False


def is_padded(choice: str) -> bool:
    """Whether to ``unroll`` padded: as a hyper-parameter's ``choice`` says, which "auto" leaves to the device.

    The packed loop is the fastest on a CPU, but its lists change shape from step to step, so that a GPU has to be told
    of each operation of each step; the padded one is a single program to it. Raises ValueError.
    """
    if choice == "padded" and not compiles():
        raise ValueError("unroll=padded: XLA does not compile for this machine's device; choose unroll=packed")
    return choice == "padded" or (choice == "auto" and bool(tf.config.list_physical_devices("GPU")) and compiles())


def padded_steps(steps: tf.Tensor) -> tf.Tensor:
    """The number of steps that the padded loop takes instead: one of ``PADDED_STEPS``."""
    return tf.gather(PADDED_STEPS, tf.searchsorted(PADDED_STEPS, [steps])[0])


def unroll(
    cell, inputs: tf.Tensor, initial_state: tf.Tensor, context=None, masks=None, counts=None, padded: bool = False
):
    """Run a cell over time.

    inputs ``[T, N, I]`` (time first), initial_state ``[N, sum(cell.state_sizes)]``, context ``[N, C]``: an
    input that is the same at every step; masks ``[P, U]``: recurrent dropout; counts ``[T]``: how many rows
    are still needed at each step, the first ones, never more than at the step before (all, if not given);
    padded: compute the others, too, by a loop that XLA compiles. Both give the same, but for rounding.
    Returns outputs ``[P, U]``, one for each step and needed row, those of a step together (P = T * N if all are
    needed), and each row's state after its last step, of the initial state's shape.
    """
    steps, rows = tf.unstack(tf.shape(inputs)[:2])
    counts = tf.fill([steps], rows) if counts is None else counts
    products, params = cell.prepare(context)
    arguments = (
        list(tf.split(initial_state, cell.state_sizes, axis=1)),
        [matrix for matrix, _ in products.values()],
        [offset for _, offset in products.values() if offset is not None],
        list(params.values()),
    )

    @tf.custom_gradient
    def run(inputs, *flat):
        state, matrices, offsets, values = tf.nest.pack_sequence_as(arguments, flat)
        offsets = [None if offset is None else offsets.pop(0) for _, offset in products.values()]
        weights = dict(zip(products, zip(matrices, offsets, strict=True), strict=True))
        own_params = dict(zip(params, values, strict=True))
        loop = (_PaddedLoop if padded else _PackedLoop)(cell, inputs, masks, counts, weights, own_params)
        outputs, final_state, history = loop.forward(state)

        def backward(d_outputs, *d_state):
            return loop.backward(history, d_outputs, list(d_state))

        return (outputs, *final_state), backward

    outputs, *state = run(inputs, *tf.nest.flatten(arguments))
    return outputs, tf.concat(state, axis=1)


def _active_rows(offset, n):
    """Of an offset that differs from row to row, those still needed."""
    return offset[:n] if offset is not None and offset.shape.rank == 2 else offset


class _PackedLoop:
    """The loop over time of one ``unroll``, and the loop back; a row takes part as long as it is needed."""

    def __init__(self, cell, inputs, masks, counts, weights, params):
        self.cell, self.inputs, self.masks, self.counts = cell, inputs, masks, counts
        self.weights, self.params = weights, params
        self.steps = tf.shape(counts)[0]
        self.next_counts = tf.concat([counts[1:], [0]], axis=0)
        self.starts = tf.cumsum(counts, exclusive=True)

    def _array(self, columns, size=None):
        # Not cleared, because the loop back reads what the loop wrote; elements differ in their number of rows.
        size, shape = self.steps if size is None else size, [None, columns]
        return tf.TensorArray(tf.float32, size, clear_after_read=False, infer_shape=False, element_shape=shape)

    def _arrays(self):
        """(states, products' operands, products' results) of every step, for the backward pass."""
        states = [self._array(size) for size in self.cell.state_sizes]
        operands = {name: self._array(matrix.shape[0]) for name, (matrix, _) in self.weights.items()}
        results = {name: self._array(matrix.shape[1]) for name, (matrix, _) in self.weights.items()}
        return states, operands, results

    def _step_inputs(self, t):
        n, start = self.counts[t], self.starts[t]
        return n, self.inputs[t, :n], None if self.masks is None else self.masks[start : start + n]

    def forward(self, state):
        """Outputs, final state, and what ``backward`` reads."""

        def body(t, state, ended, outputs, states, operands, results):
            n, x, mask = self._step_inputs(t)
            weights = {name: (matrix, _active_rows(b, n)) for name, (matrix, b) in self.weights.items()}
            dense = make_dense(weights, self.cell.precision)
            recorded = {}

            def recorded_dense(name, a):
                recorded[name] = (a, dense(name, a))
                return recorded[name][1]

            output, new_state = self.cell.step(x, tuple(state), recorded_dense, self.params, mask)
            states = [array.write(t, part) for array, part in zip(states, state, strict=True)]
            operands = {name: operands[name].write(t, recorded[name][0]) for name in recorded}
            results = {name: results[name].write(t, recorded[name][1]) for name in recorded}
            state, ended = self._retire_finished(new_state, ended, self.next_counts[t], self.steps - 1 - t)
            return t + 1, state, ended, outputs.write(t, output), states, operands, results

        # Rows that have ended wait in an array, those that end last first.
        ended = [self._array(size, self.steps + 1) for size in self.cell.state_sizes]
        state, ended = self._retire_finished(state, ended, self.counts[0], self.steps)
        start = (tf.constant(0), state, ended, self._array(self.cell.num_units), *self._arrays())
        _, _, ended, outputs, *history = self._while(lambda t, *_: t < self.steps, body, start)
        return outputs.concat(), [array.concat() for array in ended], history

    def _while(self, goes_on, body, start):
        """``tf.while_loop`` of variables whose second, a state, has another number of rows from step to step."""
        shapes = list(tf.nest.map_structure(lambda _: None, start))
        shapes[1] = [tf.TensorShape([None, size]) for size in self.cell.state_sizes]
        return tf.while_loop(goes_on, body, start, shape_invariants=tuple(shapes))

    @staticmethod
    def _retire_finished(state, ended, n, index):
        """The first ``n`` rows of the state; the others have ended and wait in arrays, at ``index``."""
        ended = [array.write(index, part[n:]) for array, part in zip(ended, state, strict=True)]
        return [part[:n] for part in state], ended

    def backward(self, history, d_outputs, d_state):
        """Gradients of (inputs, state, matrices, offsets, params), stepping back through time."""
        states, operands, results = history
        names = list(self.weights)
        transposed = {name: tf.transpose(matrix) for name, (matrix, _) in self.weights.items()}  # once, not each step

        def body(t, d_running, d_params, d_inputs, d_results):
            n, x, mask = self._step_inputs(t)
            state = [array.read(t) for array in states]
            stored = {name: results[name].read(t) for name in names}
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                sources = [x, state, list(stored.values()), list(self.params.values())]
                tape.watch(tf.nest.flatten(sources))
                dense = _dense_with_deferred_gradient(transposed, stored, self.cell.precision)
                output, new_state = self.cell.step(x, tuple(state), dense, self.params, mask)
            d_new_state = self._append_finished(d_running, d_state, self.next_counts[t], n)
            d_output = d_outputs[self.starts[t] : self.starts[t] + n]
            d_x, d_running, d_stored, d_new = tape.gradient(
                [output, *new_state], sources, [d_output, *d_new_state], unconnected_gradients="zero"
            )
            d_results = {name: d_results[name].write(t, d) for name, d in zip(names, d_stored, strict=True)}
            d_params = [total + d for total, d in zip(d_params, d_new, strict=True)]
            return t - 1, d_running, d_params, d_inputs.write(t, d_x), d_results

        zeros = [tf.zeros_like(value) for value in self.params.values()]
        nothing = [part[:0] for part in d_state]
        start = (self.steps - 1, nothing, zeros, self._array(self.inputs.shape[2]), self._arrays()[2])
        _, d_running, d_params, d_inputs, d_results = self._while(lambda t, *_: t >= 0, body, start)
        d_state = self._append_finished(d_running, d_state, self.counts[0], tf.shape(self.inputs)[1])
        index = self._packed_indices()
        d_inputs = tf.scatter_nd(index, d_inputs.concat(), tf.shape(self.inputs))
        d_matrices, d_offsets = [], []
        for name, (_, offset) in self.weights.items():
            d_result = d_results[name].concat()  # [P, columns]
            d_matrices.append(multiply(operands[name].concat(), d_result, self.cell.precision, transpose_a=True))
            if offset is not None and offset.shape.rank == 1:
                d_offsets.append(tf.reduce_sum(d_result, axis=0))
            elif offset is not None:
                rows = tf.one_hot(index[:, 1], tf.shape(offset)[0], axis=0)  # [N, P]; a sum over steps as a product
                d_offsets.append(tf.matmul(rows, d_result))
        return (d_inputs, *d_state, *d_matrices, *d_offsets, *d_params)

    @staticmethod
    def _append_finished(active, finished, start, end):
        """Gradients of the ``start`` rows that go on, then of those that ended here, up to ``end``."""
        return [tf.concat([a, b[start:end]], axis=0) for a, b in zip(active, finished, strict=True)]

    def _packed_indices(self):
        """(step, row) of each needed row, ``[P, 2]``, in the order of the outputs."""
        rows = tf.range(tf.shape(self.inputs)[1])
        return tf.cast(tf.where(rows[None, :] < self.counts[:, None]), tf.int32)


def _dense_with_deferred_gradient(transposed, results, precision):
    """``dense`` for the backward pass: the stored result instead of a product, whose gradient is a product."""

    def dense(name, a):
        @tf.custom_gradient
        def replay(a, result):
            return tf.identity(result), lambda d: (multiply(d, transposed[name], precision), d)

        return replay(a, results[name])

    return dense


class _PaddedLoop:
    """The loop over time of one ``unroll`` as an XLA program, and its gradient as another, which runs it once more.

    A program is compiled for each number of rows and of steps, and steps are rounded up to one of ``PADDED_STEPS``.
    """

    def __init__(self, cell, inputs, masks, counts, weights, params):
        self.cell, self.weights, self.params = cell, weights, params
        self.steps, rows, _ = tf.unstack(tf.shape(inputs))
        needed = tf.range(rows) < counts[:, None]  # [T, N]
        steps = padded_steps(self.steps)
        self.index, self.shape = tf.where(needed), tf.cast([steps, rows, cell.num_units], tf.int64)
        sequences = {"inputs": inputs, "needed": needed[:, :, None]}
        longer = [[0, steps - self.steps], [0, 0], [0, 0]]
        self.sequences = {name: tf.pad(sequence, longer) for name, sequence in sequences.items()}
        if masks is not None:
            self.sequences["masks"] = tf.scatter_nd(self.index, masks, self.shape)

    def forward(self, state):
        """Outputs, final state, and what ``backward`` reads."""
        arguments = self.sequences, state, self.weights, self.params
        # Not watched by a tape: no list of what a gradient needs can leave an XLA program.
        arguments = tf.nest.map_structure(lambda x: None if x is None else tf.stop_gradient(x), arguments)
        outputs, final_state = _run_padded(self.cell, *arguments)
        return tf.gather_nd(outputs, self.index), final_state, state

    def backward(self, state, d_outputs, d_state):
        """Gradients of (inputs, state, matrices, offsets, params)."""
        d_outputs = tf.scatter_nd(self.index, d_outputs, self.shape)
        arguments = self.cell, self.sequences, state, self.weights, self.params
        d_inputs, *gradients = _padded_gradients(*arguments, d_outputs, d_state)
        return d_inputs[: self.steps], *gradients


@tf.function(jit_compile=True, reduce_retracing=True, autograph=False)
def _run_padded(cell, sequences, state, weights, params):
    """Outputs ``[T, N, U]`` and each row's state after the last step at which it is needed."""
    steps = tf.shape(sequences["inputs"])[0]
    dense = make_dense(weights, cell.precision)
    # Not sliced: the gradient of that takes time that grows with the square of T.
    arrays = {name: tf.TensorArray(sequence.dtype, steps).unstack(sequence) for name, sequence in sequences.items()}

    def body(t, state, outputs):
        now = {name: array.read(t) for name, array in arrays.items()}
        output, new_state = cell.step(now["inputs"], tuple(state), dense, params, now.get("masks"))
        state = [tf.where(now["needed"], new, old) for new, old in zip(new_state, state, strict=True)]
        return t + 1, state, outputs.write(t, output)

    start = 0, state, tf.TensorArray(tf.float32, steps, element_shape=[None, cell.num_units])
    _, state, outputs = tf.while_loop(lambda t, *_: t < steps, body, start, maximum_iterations=steps)
    return outputs.stack(), state


@tf.function(jit_compile=True, reduce_retracing=True, autograph=False)
def _padded_gradients(cell, sequences, state, weights, params, d_outputs, d_state):
    matrices, offsets = zip(*weights.values(), strict=True)
    offsets = [offset for offset in offsets if offset is not None]
    sources = [sequences["inputs"], *state, *matrices, *offsets, *params.values()]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        outputs, final_state = _run_padded(cell, sequences, state, weights, params)
    return tape.gradient([outputs, *final_state], sources, [d_outputs, *d_state], unconnected_gradients="zero")
