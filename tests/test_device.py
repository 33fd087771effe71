"""The paths of an accelerator, on the CPU: the padded, compiled loop, compiled sampling, bfloat16.

Each is forced by its hyper-parameter and held against the path that a CPU takes by itself.
"""

import re

import numpy as np
import pytest
import tensorflow as tf
from miniatures import CELL_NAMES, ROOT, TINY, arguments, metrics, move_weights
from numpy_reference import relative_error

import render_svg2bitmap
import sketch_pix2seq_train
import unrolling
from hparams import CHOICES
from model import Model, get_default_hparams, load_hparams, sample_batch
from rnn import CELLS, Initializer
from script import run_script
from sketch_pix2seq_train import Trainer, main
from snapshots import load_snapshot
from utils import Batch

SIZES = {
    "dec_model": "lstm", "dec_rnn_size": 7, "z_size": 4, "num_mixture": 3, "img_H": 16, "img_W": 16, "max_seq_len": 9,
}  # fmt: skip
DROPOUTS = {"use_recurrent_dropout": True, "use_input_dropout": True, "use_output_dropout": True}
EVERY_PLUG = {
    "use_position": True, "position_features": 3, "pixel_features": 5, "drawing_extent": 10.0,
    "position_noise_std": 0.1, "pixel_features_dropout": 0.5,
}  # fmt: skip
LENGTHS = [3, 5, 1, 8]


def make_trainer(**changes):
    """A trainer whose weights are all off their initial values, the same for the same sizes."""
    trainer = Trainer(get_default_hparams().replace(**SIZES | changes))
    move_weights(trainer.model.weights, np.random.default_rng(0))
    return trainer


def make_batch():
    rng = np.random.default_rng(11)
    points = np.column_stack([rng.normal(size=(sum(LENGTHS), 2)), rng.integers(0, 2, sum(LENGTHS))])
    images = rng.integers(0, 256, (len(LENGTHS), 16, 16), np.uint8)
    fields = points.astype(np.float32), np.array(LENGTHS, np.int32), images, np.arange(len(LENGTHS)), points[:, 2] < 2
    return Batch(*map(tf.constant, fields))


def costs_and_gradients(trainer):
    """Of a batch with noise and dropout, and the cost without."""
    batch = make_batch()
    with tf.GradientTape() as tape:
        losses = trainer.compute_losses(batch, 4.0, tf.constant([1, 2]), training=True)
        cost = trainer.total_cost(losses, 0.5)
    gradients = tape.gradient(cost, trainer.model.weights)
    valid = trainer.compute_losses(batch, 4.0, tf.constant([1, 2]), training=False)["recon"]
    return {"cost": cost, "valid": valid, **gradients}


slow = pytest.mark.slow
CASES = [
    {"dec_model": "lstm"} | EVERY_PLUG,
    *(pytest.param({"dec_model": cell}, marks=slow) for cell in CELL_NAMES),
    *(pytest.param({"dec_model": cell} | EVERY_PLUG, marks=slow) for cell in CELL_NAMES if cell != "lstm"),
    pytest.param({"enc_model": "lstm", "enc_rnn_size": 6, "kl_weight": 0.5}, marks=slow),
    pytest.param({"conditional": False}, marks=slow),
    pytest.param({"skip_padding": False} | EVERY_PLUG, marks=slow),
]


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_padded_and_packed_give_the_same_losses_and_gradients(changes):
    packed, padded = (
        costs_and_gradients(make_trainer(unroll=unroll, **DROPOUTS, **changes)) for unroll in ("packed", "padded")
    )
    assert packed.keys() == padded.keys()
    for name, expected in packed.items():
        if expected is not None and np.abs(expected).max() > 1e-6:
            bound = 1e-5 if name in ("cost", "valid") else 1e-4
            assert relative_error(padded[name], expected) < bound, name
    assert abs(packed["cost"] - packed["valid"]) > 1e-3  # noise there is


@slow
def test_padded_and_packed_take_the_same_steps(toy_data, run_in_graphs, tmp_path):
    """Trained in graphs, in microbatches, to the same losses."""
    rows = []
    for unroll in ("packed", "padded"):
        assert run_in_graphs(tmp_path / unroll, unroll=unroll, use_position=True, position_noise_std=0.1) == 0
        rows.append([float(row["cost"]) for row in metrics(tmp_path / unroll)])
    np.testing.assert_allclose(*rows, rtol=1e-4)


def test_few_numbers_of_steps_are_compiled():
    rounded = [int(unrolling.padded_steps(tf.constant(steps))) for steps in range(1, 252)]
    assert sorted(set(rounded)) == [16, 24, 32, 48, 64, 96, 128, 192, 256]
    assert all(steps <= most < 1.5 * max(steps, 11) for steps, most in enumerate(rounded, 1))
    assert int(unrolling.padded_steps(tf.constant(16_385))) >= 16_385  # the longest that max_seq_len allows


# ---- sampling --------------------------------------------------------------------------------------------------------


def expect_same_drawings(make, images, **how):
    """By a model that ``make(unroll)`` makes, on both paths."""
    drawings = []
    for unroll in ("packed", "padded"):
        model = make(unroll)
        code = model.code(images) if model.hps.conditional else None
        drawings.append(sample_batch(model, code, 25, seed=[1, 2, 3, 4], num=4, **how))
    assert max(len(drawing) for drawing in drawings[0]) >= 20
    for packed, padded in zip(*drawings, strict=True):
        np.testing.assert_allclose(padded[:20], packed[:20], atol=1e-4)


@pytest.mark.parametrize("weights", ["pixels", pytest.param("pretrained", marks=slow)])
def test_weights_that_ship_draw_the_same_compiled(weights):
    def make(unroll):
        model = Model(load_hparams(ROOT / "assets" / weights).replace(unroll=unroll))
        load_snapshot(model, ROOT / "assets" / weights)
        return model

    images = np.full((4, *[96 if weights == "pixels" else 48] * 2), 255, np.uint8)
    images[0, 10:40, 12], images[1, 20, 5:30], images[2, 30:34, 8:28], images[3, 5:45:3, 5:45] = 0, 0, 0, 0
    expect_same_drawings(make, images, temperature=0.3)


@slow
@pytest.mark.parametrize("changes", [*({"dec_model": cell} for cell in CELL_NAMES), {"conditional": False}], ids=str)
def test_compiled_sampling_draws_the_same(changes):
    def make(unroll):
        model = Model(get_default_hparams().replace(**SIZES | changes, unroll=unroll))
        model.weights["RNN/output_b"].assign_add([0.0, 0.0, -9.0] + [0.0] * 18)  # so that hardly any ends
        return model

    beginnings = [np.zeros((0, 3)), np.array([[1.0, 2.0, 0.0]])] * 2
    expect_same_drawings(make, make_batch().images, temperature=np.array([0.3, 0.5, 0.7, 0.9]), prefix=beginnings)


def test_one_seed_for_all_draws_the_same_on_every_path():
    drawings = []
    for unroll in ("packed", "padded"):
        model = Model(get_default_hparams().replace(**SIZES, unroll=unroll))
        drawings.append(sample_batch(model, None, 6, num=3, seed=5))
    for packed, padded in zip(*drawings, strict=True):
        np.testing.assert_array_equal(packed, padded)


# ---- bfloat16 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, pytest.param({"unroll": "padded"}, marks=slow)], ids=str)
@pytest.mark.parametrize("cell", ["lstm", *(pytest.param(cell, marks=slow) for cell in ("layer_norm", "hyper"))])
def test_only_products_are_in_bfloat16(cell, changes):
    changes = {"dec_model": cell, "use_recurrent_dropout": False, **changes}
    exact, rounded = (
        costs_and_gradients(make_trainer(precision=precision, **changes)) for precision in CHOICES["precision"]
    )
    assert all(value.dtype == tf.float32 for value in rounded.values())
    for name, expected in exact.items():
        if np.abs(expected).max() > 1e-3:
            assert 1e-6 < relative_error(rounded[name], expected) < 0.03, name  # the output layer's rounding would show


@pytest.mark.parametrize("padded", [False, True])
def test_state_is_summed_in_float32(padded):
    # A gate that keeps all, and 0.01 added a thousand times: in bfloat16 the sum would stay at 2.5.
    cell = CELLS["lstm"](5, 1, Initializer(0))
    for name, weight in cell.weights.items():
        weight.assign([30.0, np.arctanh(0.01), 30.0, 0.0] if name == "bias" else tf.zeros_like(weight))
    cell.precision = tf.bfloat16

    @tf.function(autograph=False)
    def run():
        return unrolling.unroll(cell, tf.zeros([1000, 1, 5]), tf.zeros([1, 2]), padded=padded)[1]

    np.testing.assert_allclose(run()[0, 0], 10.0, rtol=1e-3)


@slow
def test_bfloat16_learns_as_float32(tmp_path, monkeypatch, capsys):
    """The mean cost of steps 280 to 300, over three seeds, to 1 %."""
    monkeypatch.setattr(sketch_pix2seq_train, "LOG_EVERY", 1)
    (tmp_path / "npz").symlink_to(ROOT / "datasets/npz")
    assert render_svg2bitmap.main([f"--data_base_dir={tmp_path}"]) == 0
    sizes = "dec_model=lstm,dec_rnn_size=64,z_size=16,num_mixture=5,batch_size=20,num_steps=301"
    means = {}
    for precision in CHOICES["precision"]:
        for seed in (1, 2, 3):
            run = tmp_path / f"{precision}{seed}"
            roots = [f"--data_dir={tmp_path}", f"--snapshot_root={run / 'snapshot'}", f"--log_root={run / 'log'}"]
            assert main([*roots, f"--hparams={sizes},save_every=1000,seed={seed},precision={precision}"]) == 0
            assert ("on a CPU it is slow" in capsys.readouterr().out) == (precision != "float32")
            costs = {int(row["step"]): float(row["cost"]) for row in metrics(run) if row["split"] == "train"}
            means[precision, seed] = np.mean([costs[step] for step in range(280, 301)])
    exact, rounded = (np.mean([means[precision, seed] for seed in (1, 2, 3)]) for precision in CHOICES["precision"])
    assert abs(rounded / exact - 1) < 0.01, means


# ---- the choice ------------------------------------------------------------------------------------------------------


def test_the_device_chooses(monkeypatch):
    assert [unrolling.is_padded(choice) for choice in CHOICES["unroll"]] == [False, False, True]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a GPU"])
    assert [unrolling.is_padded(choice) for choice in CHOICES["unroll"]] == [True, False, True]


def test_a_machine_that_cannot_compile_is_told(monkeypatch, tmp_path, toy_data, capsys):
    def refuse(*arguments, **named):
        raise tf.errors.UnimplementedError(None, None, "Could not find compiler for platform METAL")

    unrolling.compiles.cache_clear()
    monkeypatch.setattr(tf, "function", lambda *arguments, **named: refuse)
    with pytest.raises(SystemExit) as caught:
        run_script(lambda: main(arguments(toy_data, tmp_path, **TINY, unroll="padded")))
    assert caught.value.code == 2
    assert re.fullmatch(r".*: unroll=padded: XLA .*; choose unroll=packed\n", capsys.readouterr().err)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a GPU"])
    assert not unrolling.is_padded("auto")
    unrolling.compiles.cache_clear()
