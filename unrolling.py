"""A cell of rnn.py run over time, forward and back: packed for a CPU, or padded as one program for a GPU.

Letters: N batch, T steps, I input size, C context size, U ``num_units``, P points in all (the needed rows of all
steps).
"""

import functools

import tensorflow as tf

from rnn import make_dense, multiply

# Numbers of steps for which the padded loop is compiled: 16, 24, 32, 48 ...; at most a third is added by rounding up.
PADDED_STEPS = [size << k for k in range(3, 15) for size in (2, 3)]


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


# ---------------------------------------------------------------------------------------------------------
# Packed


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


# ---------------------------------------------------------------------------------------------------------
# Padded


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
