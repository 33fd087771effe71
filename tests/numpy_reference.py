"""Encoder, cells, decoder and loss in plain float64 NumPy, one step at a time: what the tests measure the program by.

Transcribed from the equations (spec §3-5, 7), not from the program. ``w`` maps the original's variable names, less
``vector_rnn/``, to arrays. Letters as in model.py: N batch, T steps, Z, U, M, H x W.
"""

from typing import NamedTuple

import numpy as np

GATES = "ijfo"


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def relative_error(actual, expected) -> float:
    """max|a - b| / max|b|; where b is all zeros, max|a - b|."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    assert np.isfinite(actual).all()
    largest = np.abs(expected).max()
    return float(np.abs(actual - expected).max() / (largest if largest > 0 else 1.0))


# ---- encoder ---------------------------------------------------------------------------------------------------------


def convolve(x, kernel, stride, before, after):
    """x ``[N, H, W, C]`` with zeros put around it, kernel ``[k, k, C, F]`` -> ``[N, ceil(H/s), ceil(W/s), F]``."""
    height, width = (-(-size // stride) for size in x.shape[1:3])
    x = np.pad(x, [(0, 0), (before, after), (before, after), (0, 0)])
    out = np.zeros((len(x), height, width, kernel.shape[3]))
    for row in range(height):
        for column in range(width):
            top, left = row * stride, column * stride
            patch = x[:, top : top + kernel.shape[0], left : left + kernel.shape[1]]
            out[:, row, column] = np.tensordot(patch, kernel, 3)
    return out


def encode_features(w, images):
    high_pass = -np.ones((3, 3, 1, 1))
    high_pass[1, 1] = 8.0
    x = convolve(images.astype(np.float64), high_pass, 1, 1, 1)
    for k, stride in enumerate([2, 1, 2, 1, 2, 1], 1):
        x = convolve(x, w[f"ENC_CNN/conv{k}/DW"], stride, 0, 1)  # zeros after, not before
        x = np.tanh(x) if k == 6 else np.maximum(x, 0.0)
    return x.reshape(len(x), -1)  # row, column, channel


def encode(w, images):
    """-> (mean, presig), each ``[N, Z]``."""
    x = encode_features(w, images)
    return tuple(
        x @ w[f"ENC_CNN/ENC_CNN_{head}/super_linear_w"] + w[f"ENC_CNN/ENC_CNN_{head}/super_linear_b"]
        for head in ("mu", "sigma")
    )


# ---- cells: step(w, x [N, I], state, mask [N, U]) -> (h, state) ------------------------------------------------------


def normalise(x, gamma, beta):
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta


def new_c(i, j, f, c, mask):
    return c * sigmoid(f + 1.0) + sigmoid(i) * np.tanh(j) * mask


def lstm_step(w, x, state, mask):
    c, h = np.split(state, 2, axis=1)
    i, j, f, o = np.split(x @ w["W_xh"] + h @ w["W_hh"] + w["bias"], 4, axis=1)
    c = new_c(i, j, f, c, mask)
    h = np.tanh(c) * sigmoid(o)
    return h, np.concatenate([c, h], axis=1)


def normed_gates_step(w, gates, c, mask):
    """The layer-norm cell from the sums of its four gates on -> (h', c')."""
    gamma, beta = (np.split(w[f"ln_all/ln_{name}"], 4) for name in ("gamma", "beta"))
    i, j, f, o = (normalise(gates[k], gamma[k], beta[k]) for k in range(4))
    c = new_c(i, j, f, c, mask)
    return np.tanh(normalise(c, w["ln_c/ln_gamma"], w["ln_c/ln_beta"])) * sigmoid(o), c


def layer_norm_step(w, x, state, mask):
    h, c = np.split(state, 2, axis=1)
    h, c = normed_gates_step(w, np.split(x @ w["W_xh"] + h @ w["W_hh"], 4, axis=1), c, mask)
    return h, np.concatenate([h, c], axis=1)


def below(w, scope):
    return {name[len(scope) + 1 :]: value for name, value in w.items() if name.startswith(f"{scope}/")}


def hyper_step(w, x, state, mask):
    units = w["W_hh"].shape[0]
    h, small_h, c, small_c = np.split(state, [units, units + 256, 2 * units + 256], axis=1)
    small_state = np.concatenate([small_h, small_c], axis=1)
    small_h, small_state = layer_norm_step(
        below(w, "LayerNormLSTMCell"), np.concatenate([x, h], axis=1), small_state, 1.0
    )
    x_halves, h_halves = np.split(x @ w["W_xh"], 4, axis=1), np.split(h @ w["W_hh"], 4, axis=1)
    bias = np.split(w["bias"], 4)
    gates = []
    for k, gate in enumerate(GATES):
        for_x, for_h = below(w, f"hyper_{gate}x"), below(w, f"hyper_{gate}h")
        alpha_x, alpha_h = (
            (small_h @ v["zw/super_linear_w"] + v["zw/super_linear_b"]) @ v["alpha/super_linear_w"]
            for v in (for_x, for_h)
        )
        beta = small_h @ for_h["zb/super_linear_w"] @ for_h["beta/super_linear_w"]
        gates.append(alpha_x * x_halves[k] + alpha_h * h_halves[k] + beta + bias[k])
    h, c = normed_gates_step(w, gates, c, mask)
    return h, np.concatenate([h, small_h, c, small_state[:, 256:]], axis=1)


STEPS = {"lstm": lstm_step, "layer_norm": layer_norm_step, "hyper": hyper_step}
SCOPES = {"lstm": "LSTMCell", "layer_norm": "LayerNormLSTMCell", "hyper": "HyperLSTMCell"}


def state_size(cell, units):
    return 2 * units + (512 if cell == "hyper" else 0)


def unroll(cell, w, inputs, state, masks=None):
    """inputs ``[T, N, I]``, masks ``[T, N, U]`` -> (h ``[T, N, U]``, final state)."""
    outputs = []
    for t, x in enumerate(inputs):
        h, state = STEPS[cell](w, x, state, 1.0 if masks is None else masks[t])
        outputs.append(h)
    return np.stack(outputs), state


# ---- decoder ---------------------------------------------------------------------------------------------------------


class Mixture(NamedTuple):
    pi: np.ndarray
    mu1: np.ndarray
    mu2: np.ndarray
    sigma1: np.ndarray
    sigma2: np.ndarray
    corr: np.ndarray
    pen: np.ndarray
    pen_logits: np.ndarray


def mixture(output):
    """The dense layer's output ``[N*T, 3 + 6M]`` -> Mixture."""
    pi, mu1, mu2, log_sigma1, log_sigma2, atanh_corr = np.split(output[:, 3:], 6, axis=1)
    return Mixture(
        softmax(pi),
        mu1,
        mu2,
        np.exp(log_sigma1),
        np.exp(log_sigma2),
        np.tanh(atanh_corr),
        softmax(output[:, :3]),
        output[:, :3],
    )


def initial_state(w, z):
    return np.tanh(z @ w["linear/super_linear_w"] + w["linear/super_linear_b"])


def decode(cell, w, strokes, z=None, state=None, input_mask=None, recurrent_mask=None, output_mask=None):
    """strokes ``[N, T, 5]``, z ``[N, Z]`` or None; masks time first -> (Mixture of ``[N*T, .]``, final state)."""
    rows, steps = strokes.shape[:2]
    if state is None:
        units = w["RNN/output_w"].shape[0]
        state = np.zeros((rows, state_size(cell, units))) if z is None else initial_state(w, z)
    x = np.transpose(strokes, [1, 0, 2]).astype(np.float64)  # [T, N, 5]
    if z is not None:
        x = np.concatenate([x, np.broadcast_to(z, (steps, *z.shape))], axis=2)
    if input_mask is not None:
        x = x * input_mask
    h, state = unroll(cell, below(w, f"RNN/{SCOPES[cell]}"), x, state, recurrent_mask)
    if output_mask is not None:
        h = h * output_mask
    h = np.transpose(h, [1, 0, 2]).reshape(rows * steps, -1)  # row-major: all steps of the first drawing first
    return mixture(h @ w["RNN/output_w"] + w["RNN/output_b"]), state


def greedy_strokes(cell, w, steps, z=None):
    """The drawing ``[steps, 5]`` of z ``[1, Z]``: always the largest pi's mean and the likeliest pen state."""
    drawing, state = [np.array([0.0, 0.0, 1.0, 0.0, 0.0])], None
    for _ in range(steps):
        p, state = decode(cell, w, drawing[-1][None, None], z, state)
        k = p.pi[0].argmax()
        drawing.append(np.concatenate([[p.mu1[0, k], p.mu2[0, k]], np.eye(3)[p.pen[0].argmax()]]))
    return np.array(drawing[1:])


# ---- loss ------------------------------------------------------------------------------------------------------------


def normal_2d(dx, dy, mu1, mu2, sigma1, sigma2, corr):
    """arXiv 1308.0850, eqs 24 and 25."""
    z1, z2 = (dx - mu1) / sigma1, (dy - mu2) / sigma2
    distance = z1**2 + z2**2 - 2 * corr * z1 * z2
    return np.exp(-distance / (2 * (1 - corr**2))) / (2 * np.pi * sigma1 * sigma2 * np.sqrt(1 - corr**2))


def loss(p, target, mask_padding):
    """Mean of L_s + L_p over every point of target ``[N, T, 5]``, point by point."""
    total, rows = 0.0, target.reshape(-1, 5).astype(np.float64)
    for n, (dx, dy, *pen) in enumerate(rows):
        components = [p.pi[n, k] * normal_2d(dx, dy, *(field[n, k] for field in p[1:6])) for k in range(p.pi.shape[1])]
        stroke_loss = -np.log(sum(components) + 1e-6) * (1 - pen[2])
        pen_loss = -np.log(np.dot(pen, p.pen[n]))
        total += stroke_loss + pen_loss * ((1 - pen[2]) if mask_padding else 1.0)
    return total / len(rows)
