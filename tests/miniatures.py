"""Miniature data, runs, cells and models; and what the tests read of a run."""

import csv
import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from bitmaps import bitmap_path
from model import Model, get_default_hparams
from rnn import CELLS, Initializer
from snapshots import list_snapshots
from utils import SPLITS, npz_path, save_strokes, strokes_digest

ROOT = Path(__file__).resolve().parent.parent
CELL_NAMES = sorted(CELLS)
COUNTS = {"train": 12, "valid": 4, "test": 4}  # drawings
TINY = {
    "data_set": "[toy.npz]", "img_H": 16, "img_W": 16, "dec_rnn_size": 8, "num_mixture": 2, "z_size": 4,
    "batch_size": 4, "dec_model": "lstm", "num_steps": 8, "save_every": 3, "keep_snapshots": 3,
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------
# Cells and models


def move_weights(weights: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Move every weight off its initial value, so that no zero or one hides a fault -> the weights in float64."""
    for name, weight in weights.items():
        # alpha and beta of the hyper cell sum 256 products, so the small ones stay small: gates must not saturate
        size = (
            0.05 if "/zw/" in name or "/zb/" in name or re.search(r"^LayerNorm|HyperLSTMCell/LayerNorm", name) else 0.3
        )
        weight.assign_add(tf.constant(rng.normal(size=weight.shape) * size, tf.float32))
    return {name: weight.numpy().astype(np.float64) for name, weight in weights.items()}


def make_cell(name: str, inputs: int, units: int, seed: int = 0):
    """A cell, and its weights as ``numpy_reference`` takes them."""
    cell = CELLS[name](inputs, units, Initializer(seed))
    return cell, move_weights(cell.weights, np.random.default_rng(seed))


def make_model(**changes):
    """A small model, and its weights as ``numpy_reference`` takes them."""
    sizes = {"dec_model": "lstm", "dec_rnn_size": 7, "z_size": 4, "num_mixture": 3, "img_H": 9, "img_W": 13}
    model = Model(get_default_hparams().replace(**{**sizes, **changes}))
    return model, move_weights(model.weights, np.random.default_rng(0))


def make_strokes(rng: np.random.Generator, rows: int, steps: int) -> np.ndarray:
    """Stroke-5 rows ``[N, T + 1, 5]`` with all three pen states."""
    strokes = np.zeros((rows, steps + 1, 5), np.float32)
    strokes[..., :2] = rng.normal(size=(rows, steps + 1, 2))
    strokes[..., 2:] = np.eye(3)[rng.integers(3, size=(rows, steps + 1))]
    return strokes


# ---------------------------------------------------------------------------------------------------------
# Data and runs


def make_toy_data(data_dir: Path, lengths: tuple = (2, 6), sizes: tuple = (16, 48), change=lambda x: 20 * x) -> Path:
    """A category of 20 drawings of random lengths and ``change``d random offsets, with bitmaps of noise."""
    rng = np.random.default_rng(0)
    strokes = {}
    for split in SPLITS:
        strokes[split] = [change(rng.normal(size=(rng.integers(*lengths), 3))) for _ in range(COUNTS[split])]
        for drawing in strokes[split]:
            drawing[:, 2] = rng.integers(0, 2, len(drawing))
    save_strokes(npz_path(data_dir, "toy"), strokes)
    for size in sizes:
        path = bitmap_path(data_dir, "toy", size, size)
        path.parent.mkdir(parents=True, exist_ok=True)
        bitmaps = {split: rng.integers(0, 256, (COUNTS[split], size, size), np.uint8) for split in SPLITS}
        np.savez(path, digest=strokes_digest(strokes), **bitmaps)
    return data_dir


def arguments(data_dir: Path, run: Path, *flags: str, **hparams) -> list[str]:
    """The training script's, for a run whose snapshots and log are in ``run``."""
    text = ",".join(f"{key}={value}" for key, value in hparams.items())
    roots = ["--data_dir", data_dir, "--snapshot_root", run / "snapshot", "--log_root", run / "log"]
    return [*map(str, roots), "--hparams", text, *flags]


def metrics(run: Path) -> list[dict[str, str]]:
    """The rows of ``metrics.csv``, times aside."""
    with open(run / "log" / "metrics.csv", newline="") as file:
        return [{name: text for name, text in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def state(snapshot: Path) -> dict[str, np.ndarray]:
    """All that a snapshot holds, but for how often it was saved: weights, slots, step, counts."""
    reader, ending = tf.train.load_checkpoint(str(snapshot)), "/.ATTRIBUTES/VARIABLE_VALUE"
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith(ending)]
    return {name.removesuffix(ending): reader.get_tensor(name) for name in names if not name.startswith("save_counter")}


def newest_state(run: Path) -> dict[str, np.ndarray]:
    """``state`` of the snapshot from which a run would go on."""
    return state(list_snapshots(run / "snapshot")[0])


def assert_same(actual: dict, expected: dict) -> None:
    """Bit for bit."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a directory, but for locks."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
