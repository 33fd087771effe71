"""The original program's own numbers, from the snapshots it wrote (``tests/reference``), and those snapshots' reader.

``python tests/test_reference.py`` prints the largest relative error of each directory and quantity.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

if __name__ == "__main__":  # pytest finds the modules by pyproject.toml
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import quiet_tensorflow  # noqa: F401

import tensorflow as tf
from numpy_reference import relative_error

from model import (
    MixtureParams,
    Model,
    get_default_hparams,
    load_data_info,
    load_hparams,
    load_snapshot,
    reconstruction_loss,
    sample,
)

REFERENCE = Path(__file__).resolve().parent / "reference"
STEPS = {"lstm": 2000, "layer_norm": 2000, "hyper": 2000, "lstm_unconditional": 2000, "trained_lstm": 4}
WITHOUT = {  # what the original did not write there
    "lstm_unconditional": {"encoder"},
    "trained_lstm": {"gradients"},
}
BOUNDS = {
    "encoder": 1e-5,
    "initial_state": 1e-5,
    "mixture": 1e-5,
    "final_state": 1e-5,
    "r_cost_train": 1e-5,
    "r_cost_eval": 1e-5,
    "gradients": 1e-4,
    "greedy_strokes": 1e-4,
}


def measure(directory: str) -> dict[str, dict[str, float]]:
    """Group of quantities -> quantity -> relative error against what the original wrote."""
    with np.load(REFERENCE / directory / "io.npz", allow_pickle=False) as file:
        expected = dict(file)
    model = Model(load_hparams(REFERENCE / directory))
    load_snapshot(model, REFERENCE / directory)
    conditional = model.hps.conditional
    strokes, z = expected.pop("input_data"), expected.pop("batch_z", None)
    images = expected.pop("input_image")
    actual = {}
    if conditional:
        actual["mean"], actual["presig"] = model.encode(images)
    actual["initial_state"] = model.initial_state(z, len(strokes))
    with tf.GradientTape() as tape:
        params, actual["final_state"] = model.decode(strokes[:, :-1], z)
        actual["r_cost_train"] = reconstruction_loss(params, strokes[:, 1:], mask_padding=False)
    actual["r_cost_eval"] = reconstruction_loss(params, strokes[:, 1:], mask_padding=True)
    actual |= params._asdict()
    gradients = tape.gradient(actual["r_cost_train"], model.weights)
    actual |= {f"grad/vector_rnn/{name}": gradient for name, gradient in gradients.items() if gradient is not None}
    greedy, _ = sample(model, len(expected["greedy_strokes"]), greedy_mode=True, z=None if z is None else z[0])
    actual["greedy_strokes"] = greedy

    errors = {group: {} for group in BOUNDS}
    for name, value in expected.items():
        group = "mixture" if name in MixtureParams._fields else "encoder" if name in ("mean", "presig") else name
        group = "gradients" if name.startswith("grad/") else group
        errors[group][name] = relative_error(actual[name], value)  # KeyError: a quantity that nothing here computes
    return errors


def table() -> str:
    """The largest relative errors as a Markdown table: one row per quantity, one column per directory."""
    rows = ["| largest relative error | " + " | ".join(STEPS) + " | bound |", "|---" * (len(STEPS) + 2) + "|"]
    measured = {directory: measure(directory) for directory in STEPS}
    for group, bound in BOUNDS.items():
        quantities = dict.fromkeys(name for errors in measured.values() for name in errors[group])
        for quantity in [group] if group == "gradients" else quantities:  # of some 50 weights the worst stands for all
            of_each = [
                errors[group] if group == "gradients" else errors[group].get(quantity) for errors in measured.values()
            ]
            worst = [max(errors.values(), default=None) if isinstance(errors, dict) else errors for errors in of_each]
            cells = ["-" if error is None else f"{error:.1e}" for error in worst]
            rows.append(f"| {quantity} | " + " | ".join(cells) + f" | {bound:.0e} |")
    return "\n".join(rows)


# ---- the original's numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", STEPS)
def test_numbers_of_the_original(directory):
    errors = measure(directory)
    absent = {group for group, of_group in errors.items() if not of_group}
    assert absent == WITHOUT.get(directory, set())
    assert set(errors["mixture"]) == set(MixtureParams._fields)
    for group, of_group in errors.items():
        for name, error in of_group.items():
            assert error <= BOUNDS[group], f"{name}: {error:.1e}"


@pytest.mark.parametrize("directory", ["lstm", "layer_norm", "hyper", "lstm_unconditional"])
def test_gradients_of_every_decoder_weight_are_compared(directory):
    model = Model(load_hparams(REFERENCE / directory))
    decoder = {name: int(np.prod(v.shape)) for name, v in model.weights.items() if not name.startswith("ENC_CNN/")}
    with np.load(REFERENCE / directory / "io.npz", allow_pickle=False) as file:
        compared = {name.removeprefix("grad/vector_rnn/") for name in file.files if name.startswith("grad/")}
    assert compared == {name for name, size in decoder.items() if size <= 50_000}


# ---- reading the original's snapshots --------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", STEPS)
def test_weights_and_step_are_those_of_the_files(directory):
    model = Model(load_hparams(REFERENCE / directory))
    step = load_snapshot(model, REFERENCE / directory)
    assert step == STEPS[directory]  # the file name's; global_step is one more, or 0 in the untrained ones
    reader = tf.train.load_checkpoint(str(REFERENCE / directory / f"vector-{step}"))
    for name, weight in model.weights.items():
        np.testing.assert_array_equal(weight, reader.get_tensor(f"vector_rnn/{name}"), name)


def test_hparams_of_an_original():
    hps = load_hparams(REFERENCE / "trained_lstm")
    assert (hps.dec_model, hps.dec_rnn_size, hps.z_size, hps.num_mixture, hps.max_seq_len) == ("lstm", 24, 8, 4, 205)
    assert hps.data_set == ["airplane.npz", "butterfly.npz", "face.npz", "ice_cream.npz", "pig.npz"]
    assert (hps.num_steps, hps.save_every, hps.batch_size, hps.conditional) == (5, 2, 20, True)
    assert not hasattr(hps, "is_training")
    # What the original had no word for stays as it worked there.
    assert (hps.enc_model, hps.presig_bias, hps.skip_padding) == ("cnn", 0.0, False)
    assert load_hparams(REFERENCE / "lstm_unconditional").conditional is False
    assert load_data_info(REFERENCE / "trained_lstm") is None


# A snapshot such as the original writes, as small as it gets, to be spoilt in one way at a time.

TINY = {"dec_model": "lstm", "dec_rnn_size": 2, "z_size": 1, "num_mixture": 1, "img_H": 8, "img_W": 8}


def tiny_model():
    return Model(get_default_hparams().replace(**TINY))


def tiny_variables():
    """Name -> array, as in a trained snapshot of the original."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=v.shape).astype(np.float32) for name, v in tiny_model().weights.items()}
    variables = {f"vector_rnn/{name}": weight for name, weight in weights.items()}
    for name, weight in weights.items():
        variables[f"vector_rnn/vector_rnn/{name}/Adam"] = weight * 0
        variables[f"vector_rnn/vector_rnn/{name}/Adam_1"] = weight * 0
    for scope in ("vector_rnn", "vector_rnn_1"):
        variables[f"{scope}/global_step"] = np.int32(8)
        for name in ("Variable", "beta1_power", "beta2_power"):
            variables[f"{scope}/{name}"] = np.float32(0.5)
    return variables


def write_snapshot(directory, variables, step=7, prefix=""):
    """Write name-based TensorFlow 1 files; ``prefix`` is put before the path that ``checkpoint`` names."""
    directory.mkdir(parents=True, exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=str(directory / f"vector-{step}"),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=[tf.constant(array) for array in variables.values()],
    )
    path = f"{prefix}vector-{step}"
    (directory / "checkpoint").write_text(f'model_checkpoint_path: "{path}"\nall_model_checkpoint_paths: "{path}"\n')
    config = {"data_set": "cat.npz", "is_training": 1, "conditional": 1, "use_input_dropout": 0, **TINY}
    (directory / "model_config.json").write_text(json.dumps(config))
    return directory


def test_trained_snapshot_of_an_original(tmp_path):
    variables = tiny_variables()
    model = tiny_model()
    assert load_snapshot(model, write_snapshot(tmp_path, variables)) == 7
    for name, weight in model.weights.items():
        np.testing.assert_array_equal(weight, variables[f"vector_rnn/{name}"], name)


@pytest.mark.parametrize(
    "prefix", ["/home/someone/outputs/snapshot/", "C:\\\\runs\\\\snapshot\\\\", "outputs/snapshot/"]
)
def test_checkpoint_may_name_a_path_of_another_machine(tmp_path, prefix):
    assert load_snapshot(tiny_model(), write_snapshot(tmp_path, tiny_variables(), prefix=prefix)) == 7


def test_the_directory_given_counts_even_if_the_path_in_checkpoint_exists(tmp_path):
    elsewhere = write_snapshot(tmp_path / "elsewhere", tiny_variables())
    changed = {name: np.ones_like(array) for name, array in tiny_variables().items()}
    here = write_snapshot(tmp_path / "here", changed, prefix=f"{elsewhere}/")
    model = tiny_model()
    load_snapshot(model, here)
    assert (model.weights["RNN/output_w"].numpy() == 1).all()


def test_booleans_as_numbers_and_data_set_as_text(tmp_path):
    directory = write_snapshot(tmp_path, tiny_variables())
    hps = load_hparams(directory)
    assert hps.conditional is True and hps.use_input_dropout is False
    assert hps.data_set == ["cat.npz"]
    config = json.loads((directory / "model_config.json").read_text())
    for text, expected in (("[a.npz,b.npz]", ["a.npz", "b.npz"]), ("['a.npz', 'b.npz']", ["a.npz", "b.npz"])):
        (directory / "model_config.json").write_text(json.dumps(config | {"data_set": text}))
        assert load_hparams(directory).data_set == expected


def spoil(change):
    variables = tiny_variables()
    change(variables)
    return variables


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda v: v.pop("vector_rnn/RNN/LSTMCell/W_hh"), ["RNN/LSTMCell/W_hh", "missing", "[2, 8]"]),
        (lambda v: v.pop("vector_rnn/ENC_CNN/conv3/DW"), ["ENC_CNN/conv3/DW", "missing", "[2, 2, 4, 8]"]),
        (
            lambda v: v.update({"vector_rnn/RNN/extra": np.zeros((3, 5), np.float32)}),
            ["RNN/extra", "left over", "[3, 5]"],
        ),
        (
            lambda v: v.update({"vector_rnn/RNN/Variable": np.zeros(4, np.float32)}),
            ["RNN/Variable", "left over", "[4]"],
        ),
        (
            lambda v: v.update({"vector_rnn/RNN/output_w": np.zeros((2, 15), np.float32)}),
            ["RNN/output_w", "[2, 15]", "[2, 9]"],
        ),
        # As many numbers, but not the shape.
        (
            lambda v: v.update({"vector_rnn/RNN/output_w": np.zeros((9, 2), np.float32)}),
            ["RNN/output_w", "[9, 2]", "[2, 9]"],
        ),
        (
            lambda v: v.update({"vector_rnn/linear/super_linear_b": np.zeros((1, 4), np.float32)}),
            ["linear/super_linear_b", "[1, 4]", "[4]"],
        ),
        (lambda v: v.clear() or v.update({"something/else": np.zeros(2, np.float32)}), ["something/else", "[2]"]),
    ],
    ids=["missing", "missing conv", "left over", "passed over elsewhere", "shape", "transposed", "rank", "foreign"],
)
def test_variables_that_do_not_fit_are_named(tmp_path, change, words):
    model = tiny_model()
    before = {name: weight.numpy() for name, weight in model.weights.items()}
    directory = write_snapshot(tmp_path, spoil(change))
    with pytest.raises(ValueError) as error:
        load_snapshot(model, directory)
    for word in [*words, str(tmp_path)]:
        assert word in str(error.value)
    for name, weight in model.weights.items():  # refused as a whole
        np.testing.assert_array_equal(weight, before[name], name)


def test_slots_and_steps_are_not_needed(tmp_path):
    variables, names = tiny_variables(), tiny_model().weights
    weights = {f"vector_rnn/{name}": variables[f"vector_rnn/{name}"] for name in names}
    assert load_snapshot(tiny_model(), write_snapshot(tmp_path, weights, step=123)) == 123


def test_another_cells_snapshot_is_refused():
    with pytest.raises(ValueError, match=r"RNN/LSTMCell/W_xh.*missing.*RNN/LayerNormLSTMCell/W_xh.*left over"):
        load_snapshot(Model(load_hparams(REFERENCE / "lstm")), REFERENCE / "layer_norm")


def test_no_snapshot_or_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="no snapshot"):
        load_snapshot(tiny_model(), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"model_config\.json"):
        load_hparams(tmp_path)
    damaged = shutil.copytree(REFERENCE / "lstm", tmp_path / "damaged")
    data = damaged / "vector-2000.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:5000])
    model = Model(load_hparams(damaged))
    before = {name: weight.numpy() for name, weight in model.weights.items()}
    with pytest.raises(ValueError, match=r"vector-2000"):
        load_snapshot(model, damaged)
    for name, weight in model.weights.items():  # refused as a whole
        np.testing.assert_array_equal(weight, before[name], name)
    (damaged / "model_config.json").write_text("{broken")
    with pytest.raises(ValueError, match=r"model_config\.json"):
        load_hparams(damaged)


def test_table_names_every_directory_and_quantity(monkeypatch):
    measured = {group: {group: 2e-7} for group in BOUNDS}
    measured |= {"encoder": {"mean": 2e-7, "presig": 3e-7}, "gradients": {"a": 1e-7, "b": 4e-7}}
    monkeypatch.setattr(sys.modules[__name__], "measure", lambda directory: measured)
    lines = table().splitlines()
    assert len(lines) == 2 + len(BOUNDS) + 1 and all(line.count("|") == len(STEPS) + 3 for line in lines)
    assert lines[2] == "| mean | " + "2.0e-07 | " * len(STEPS) + "1e-05 |"
    assert lines[3] == "| presig | " + "3.0e-07 | " * len(STEPS) + "1e-05 |"
    assert "| gradients | " + "4.0e-07 | " * len(STEPS) + "1e-04 |" in lines  # the worst weight


if __name__ == "__main__":
    print(table())
