"""The three cells against NumPy, the hand-written backward pass against autodiff, and the initial weights."""

import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf
from miniatures import CELL_NAMES, make_cell
from numpy_reference import relative_error

from model import Model, get_default_hparams
from rnn import CELLS, Initializer, layer_norm, make_dense
from unrolling import unroll


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def inverted_mask(rng, shape, keep):
    return ((rng.random(shape) < keep) / keep).astype(np.float32)


def pack(masks, counts=None):
    """Masks ``[T, N, U]`` as ``unroll`` takes them: those of the first ``counts[t]`` rows of each step, ``[P, U]``."""
    return np.concatenate([mask[: None if counts is None else counts[t]] for t, mask in enumerate(masks)])


# ---- forward ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CELL_NAMES)
@pytest.mark.parametrize(
    "steps, rows, units, inputs, context_size", [(6, 3, 7, 5, 4), (1, 1, 1, 5, 0), (3, 1, 10, 5, 1), (2, 5, 3, 9, 0)]
)
def test_unrolled_cell_equals_numpy(name, steps, rows, units, inputs, context_size):
    cell, weights = make_cell(name, inputs + context_size, units)
    rng = np.random.default_rng(1)
    x, context = normal(rng, steps, rows, inputs), normal(rng, rows, context_size)
    state, masks = normal(rng, rows, sum(cell.state_sizes)), inverted_mask(rng, (steps, rows, units), 0.6)
    full_x = np.concatenate([x, np.broadcast_to(context, (steps, *context.shape))], axis=2)
    for mask in (None, masks):
        packed = None if mask is None else pack(mask)
        outputs, final = unroll(cell, x, state, context if context_size else None, packed)
        expected_outputs, expected_final = reference.unroll(name, weights, full_x, state, mask)
        assert relative_error(outputs, expected_outputs.reshape(steps * rows, units)) < 1e-5
        assert relative_error(final, expected_final) < 1e-5


@pytest.mark.parametrize("name", CELL_NAMES)
@pytest.mark.parametrize("lengths", [[4, 4, 2, 1], [5, 1], [3, 3, 3], [1]], ids=str)
@pytest.mark.parametrize("idle", [0, 2])
def test_rows_that_end_early_equal_numpy(name, lengths, idle):
    """Each row as if it were alone and as long as its own; ``idle`` steps at the end need no row at all."""
    rows, units, steps = len(lengths), 5, lengths[0] + idle
    cell, weights = make_cell(name, 5 + 2, units)
    rng = np.random.default_rng(3)
    x, context = normal(rng, steps, rows, 5), normal(rng, rows, 2)
    state, masks = normal(rng, rows, sum(cell.state_sizes)), inverted_mask(rng, (steps, rows, units), 0.6)
    counts = [sum(length > t for length in lengths) for t in range(steps)]
    outputs, final = unroll(cell, x, state, context, pack(masks, counts), tf.constant(counts))
    full_x = np.concatenate([x, np.broadcast_to(context, (steps, *context.shape))], axis=2)
    expected_outputs, _ = reference.unroll(name, weights, full_x, state, masks)
    packed = np.concatenate([expected_outputs[t, :count] for t, count in enumerate(counts)])
    assert relative_error(outputs, packed) < 1e-5
    expected_final = [
        reference.unroll(name, weights, full_x[:length, [n]], state[[n]], masks[:length, [n]])[1][0]
        for n, length in enumerate(lengths)
    ]
    assert relative_error(final, np.array(expected_final)) < 1e-5


@pytest.mark.parametrize("name", CELL_NAMES)
def test_recurrent_dropout_spares_the_memory_and_the_small_cell(name):
    # Recurrent dropout without memory loss: with every candidate dropped, c only decays by its forget gate.
    cell, _ = make_cell(name, 5, 4)
    rng = np.random.default_rng(2)
    x, state = normal(rng, 1, 2, 5), normal(rng, 2, sum(cell.state_sizes))
    _, dropped = unroll(cell, x, state, masks=np.zeros((2, 4), np.float32))
    _, whole = unroll(cell, x, state)
    parts = {"lstm": "ch", "layer_norm": "hc", "hyper": "hHcC"}[name]  # the order in the state vector
    before, dropped, whole = (
        dict(zip(parts, tf.split(vector, cell.state_sizes, axis=1), strict=True)) for vector in (state, dropped, whole)
    )
    ratio = dropped["c"].numpy() / before["c"].numpy()
    assert ((ratio > 0) & (ratio < 1)).all()
    assert np.abs(dropped["c"] - whole["c"]).max() > 0.01
    if name == "hyper":
        np.testing.assert_array_equal(dropped["H"], whole["H"])
        np.testing.assert_array_equal(dropped["C"], whole["C"])


# ---- gradients -------------------------------------------------------------------------------------------------------


def loop(cell, inputs, initial_state, context, masks, counts):
    """``unroll`` as a plain Python loop, which TensorFlow differentiates by itself."""
    products, params = cell.prepare(context)
    state, outputs = tuple(tf.split(initial_state, cell.state_sizes, axis=1)), []
    for t in range(inputs.shape[0]):
        count = inputs.shape[1] if counts is None else counts[t]
        mask = None if masks is None else masks[t]  # [N, U]
        h, new_state = cell.step(inputs[t], state, make_dense(products), params, mask)
        state = tuple(tf.concat([new[:count], old[count:]], axis=0) for new, old in zip(new_state, state, strict=True))
        outputs.append(h[:count])
    return tf.concat(outputs, axis=0), tf.concat(state, axis=1)


def weighted_sum(outputs, final_state):
    """A scalar that every output and state number enters with a weight of its own."""
    total = 0.0
    for k, x in enumerate((outputs, final_state)):
        total += tf.reduce_sum(x * tf.random.stateless_normal(tf.shape(x), (3, k)))
    return total


def gradients(run, cell, inputs, state, context, masks, counts):
    sources = {"inputs": inputs, "initial_state": state, **cell.weights}
    if context is not None:
        sources["context"] = context
    with tf.GradientTape() as tape:
        tape.watch(list(sources.values()))
        cost = weighted_sum(
            *run(cell, inputs, state, context, masks, counts if counts is None else tf.constant(counts))
        )
    return tape.gradient(cost, sources)


@pytest.mark.parametrize("shape, weights_shape", [((4, 3, 7), (4, 1, 7)), ((3, 7), (7,)), ((1, 5), (5,))])
def test_gradient_of_layer_norm_equals_autodiff(shape, weights_shape):
    rng = np.random.default_rng(6)
    x, gamma, beta, d = (tf.constant(normal(rng, *s)) for s in (shape, weights_shape, weights_shape, shape))

    def plain(x, gamma, beta):
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return (x - mean) / tf.sqrt(variance + 1e-3) * gamma + beta

    results = []
    for norm in (layer_norm, plain):
        with tf.GradientTape() as tape:
            tape.watch([x, gamma, beta])
            y = norm(x, gamma, beta)
        results.append([y, *tape.gradient(y, [x, gamma, beta], d)])
    for actual, expected in zip(*results, strict=True):
        assert actual.shape == expected.shape
        assert relative_error(actual, expected) < 1e-5


def assert_gradients_equal_autodiff(name, steps, rows, units, context_size, masked, counts, compiled):
    cell, _ = make_cell(name, 5 + context_size, units)
    rng = np.random.default_rng(5)
    inputs = tf.constant(normal(rng, steps, rows, 5))
    state = tf.constant(normal(rng, rows, sum(cell.state_sizes)))
    context = tf.constant(normal(rng, rows, context_size)) if context_size else None
    masks = tf.constant(inverted_mask(rng, (steps, rows, units), 0.7)) if masked else None
    expected = gradients(loop, cell, inputs, state, context, masks, counts)
    assert all(g is not None and np.abs(g).max() > 0 for g in expected.values())  # nothing is compared with nothing

    packed = None if masks is None else tf.constant(pack(masks.numpy(), counts))

    def run(inputs, state):
        return gradients(unroll, cell, inputs, state, context, packed, counts)

    def any_length(*shape):
        return tf.TensorSpec([None, None, *shape], tf.float32)

    if compiled:  # as in training, where T and N vary
        run = tf.function(run, input_signature=[any_length(5), any_length()], autograph=False)
    actual = run(inputs, state)
    assert actual.keys() == expected.keys()
    errors = {key: relative_error(actual[key], expected[key]) for key in expected}
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("name", CELL_NAMES)
@pytest.mark.parametrize(
    "steps, rows, units, context_size, masked, counts",
    [
        (4, 3, 5, 2, False, None),
        (3, 2, 4, 0, True, None),
        (1, 1, 3, 2, False, None),
        (5, 4, 3, 2, True, [4, 3, 3, 1, 0]),
        (3, 3, 4, 0, False, [3, 2, 1]),
    ],
)
def test_backward_pass_equals_autodiff(name, steps, rows, units, context_size, masked, counts):
    assert_gradients_equal_autodiff(name, steps, rows, units, context_size, masked, counts, compiled=False)


@pytest.mark.parametrize("name", ["lstm", *(pytest.param(n, marks=pytest.mark.slow) for n in ("layer_norm", "hyper"))])
def test_backward_pass_equals_autodiff_in_a_graph(name):
    assert_gradients_equal_autodiff(name, 5, 4, 3, 2, True, [4, 3, 3, 1, 0], compiled=True)


# ---- initial weights -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=CELL_NAMES)
def default_model(request):
    return Model(get_default_hparams().replace(dec_model=request.param))


# Worked out by hand from spec §3-4 for the defaults: Z = 128, U = 512, M = 20, 48 x 48 pixels.
ENCODER = 16 + 64 + 128 + 3 * 256 + 2 * (288 * 128 + 128)  # 6 x 6 x 8 = 288 features, two heads: 74,960
DENSE = 512 * 123 + 123  # 3 + 6 x 20 outputs: 63,099
SIZES = {  # (decoder's cell, initial state), input 5 + 128
    "lstm": (133 * 2048 + 512 * 2048 + 2048, 128 * 1024 + 1024),
    "layer_norm": (133 * 2048 + 512 * 2048 + 2 * 2048 + 2 * 512, 128 * 1024 + 1024),
    "hyper": (
        133 * 2048 + 512 * 2048 + 2048 + 2 * 2048 + 2 * 512  # the large cell
        + 645 * 1024 + 256 * 1024 + 2 * 1024 + 2 * 256  # the small one reads 133 + 512 numbers
        + 8 * (256 * 32 + 32 + 32 * 512)  # alpha of the eight halves
        + 4 * (256 * 32 + 32 * 512),  # beta of the four h halves
        128 * 1536 + 1536,
    ),
}  # fmt: skip
TOTALS = {"lstm": 1_593_163, "layer_norm": 1_596_235, "hyper": 2_884_683}


def test_parameter_counts(default_model):
    name = default_model.hps.dec_model
    counts = {key: int(np.prod(weight.shape)) for key, weight in default_model.weights.items()}

    def count(*scopes):
        return sum(size for key, size in counts.items() if key.startswith(scopes))

    cell, initial_state = SIZES[name]
    assert count("ENC_CNN/") == ENCODER == 74_960
    assert count("RNN/output_") == DENSE == 63_099
    assert (count(f"RNN/{default_model.cell.NAME}/"), count("linear/")) == (cell, initial_state)
    assert sum(counts.values()) == TOTALS[name]
    assert sum(int(np.prod(variable.shape)) for variable in default_model.trainable_variables) == TOTALS[name]


def test_unconditional_parameter_count():
    model = Model(get_default_hparams().replace(dec_model="lstm", conditional=False))
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 5 * 2048 + 512 * 2048 + 2048 + 63_099
    assert not [name for name in model.weights if name.startswith(("ENC_CNN", "linear"))]


def is_orthogonal_per_gate(matrix):
    gates = np.split(matrix, 4, axis=1)
    assert all(np.abs(gate.T @ gate - np.eye(len(gate))).max() < 1e-5 for gate in gates)
    assert all(np.abs(gates[0] - gate).max() > 0.01 for gate in gates[1:])  # four draws, not one repeated


def is_glorot_uniform(array):
    """Over the whole array: a limit for each gate's [in, U] apart would be larger by up to two."""
    limit = np.sqrt(6.0 / (array.shape[0] + array.shape[-1]))
    assert np.abs(array).max() <= limit
    few = array.size < 1000
    assert array.max() > (0.85 if few else 0.99) * limit and array.min() < -(0.85 if few else 0.99) * limit
    # A mean's standard deviation is limit / sqrt(3 size), a variance's 4/5 of (variance^2 / size): 5.5 of each.
    assert abs(array.mean()) < 5.5 * limit / np.sqrt(3 * array.size)
    assert abs(array.var() / (limit**2 / 3) - 1) < 5.5 * np.sqrt(0.8 / array.size)


def is_normal(array, stddev):
    size = array.size
    assert abs(array.mean()) < 5.5 * stddev / np.sqrt(size)
    assert abs(array.std() / stddev - 1) < 5.5 / np.sqrt(2 * size)
    if size > 1000:  # uniform or truncated ones reach no further than 1.74 or 2 standard deviations
        assert np.abs(array).max() > 2.5 * stddev


def test_initial_weights_of_the_decoder(default_model):
    scope = f"RNN/{default_model.cell.NAME}/"
    weights = {name.removeprefix(scope): v.numpy() for name, v in default_model.weights.items()}
    seen = {"W_xh", "W_hh", "RNN/output_w", "RNN/output_b"} | {name for name in weights if name.startswith("ENC_CNN")}
    for name in ("W_xh", "RNN/output_w", "RNN/output_b"):
        is_glorot_uniform(weights[name])
    is_orthogonal_per_gate(weights["W_hh"])
    is_normal(weights["linear/super_linear_w"], 0.001)
    seen.add("linear/super_linear_w")
    if default_model.hps.dec_model == "hyper":
        is_glorot_uniform(weights["LayerNormLSTMCell/W_xh"])
        is_orthogonal_per_gate(weights["LayerNormLSTMCell/W_hh"])
        seen |= {"LayerNormLSTMCell/W_xh", "LayerNormLSTMCell/W_hh"}
        for gate in "ijfo":
            is_normal(weights[f"hyper_{gate}h/zb/super_linear_w"], 0.01)
            seen.add(f"hyper_{gate}h/zb/super_linear_w")
    constants = {
        "/zw/super_linear_w": 0.0,
        "/zw/super_linear_b": 1.0,
        "/alpha/super_linear_w": np.float32(0.1 / 32),
        "/beta/super_linear_w": 0.0,
        "ln_gamma": 1.0,
        "ln_beta": 0.0,
        "bias": 0.0,  # the forget bias of 1 is added in the step, it is not in the variable
        "linear/super_linear_b": 0.0,
    }
    for name in sorted(weights.keys() - seen):
        (constant,) = [value for ending, value in constants.items() if name.endswith(ending)]
        np.testing.assert_array_equal(weights[name], np.full_like(weights[name], constant), name)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_forget_bias_is_one(name):
    # All weights zero: every gate is at its bias, so c' = c s(1); the rest of the state cannot show through.
    cell = CELLS[name](5, 3, Initializer(0))
    for weight in cell.weights.values():
        weight.assign(tf.zeros_like(weight))
    state = np.ones((1, sum(cell.state_sizes)), np.float32)
    _, final = unroll(cell, np.zeros((1, 1, 5), np.float32), state)
    c = tf.split(final, cell.state_sizes, axis=1)[{"lstm": 0, "layer_norm": 1, "hyper": 2}[name]]
    np.testing.assert_allclose(c, np.full((1, 3), 1 / (1 + np.exp(-1.0))), rtol=1e-6)


def test_initial_weights_of_the_encoder(default_model):
    weights = {name: v.numpy() for name, v in default_model.weights.items() if name.startswith("ENC_CNN/")}
    for head in ("mu", "sigma"):
        is_normal(weights[f"ENC_CNN/ENC_CNN_{head}/super_linear_w"], 0.001)
        assert not weights[f"ENC_CNN/ENC_CNN_{head}/super_linear_b"].any()
    for k, filters in enumerate([4, 4, 8, 8, 8, 8], 1):
        # from the number of filters, not of inputs: twice as wide for conv1 and the square root of two for conv3
        is_normal(weights[f"ENC_CNN/conv{k}/DW"], np.sqrt(2.0 / (2 * 2 * filters)))


def test_convolutions_are_drawn_from_the_number_of_filters():
    # One draw has few numbers; together, forty models tell the standard deviations of conv1 and conv3 apart.
    hps = get_default_hparams().replace(dec_model="lstm", dec_rnn_size=1, z_size=1, num_mixture=1, img_H=8, img_W=8)
    models = [Model(hps.replace(seed=seed)) for seed in range(40)]
    for k, filters in enumerate([4, 4, 8, 8, 8, 8], 1):
        is_normal(
            np.stack([model.weights[f"ENC_CNN/conv{k}/DW"].numpy() for model in models]), np.sqrt(2 / (4 * filters))
        )


def test_weights_are_drawn_from_the_seed():
    hps = get_default_hparams().replace(dec_rnn_size=3, z_size=2, num_mixture=1, img_H=8, img_W=8)
    first, same, other = (Model(hps.replace(seed=seed)).weights for seed in (3, 3, 4))
    for name, weight in first.items():
        np.testing.assert_array_equal(weight, same[name], name)
        if np.ptp(weight) > 0:
            assert np.abs(weight - other[name]).max() > 0, name
    drawn = [tuple(np.ravel(weight)[:4]) for weight in first.values() if np.ptp(weight) > 0]
    assert len(set(drawn)) == len(drawn)  # no two weights from the same random numbers
