"""What several test files need."""

from pathlib import Path

import numpy as np
from PIL import Image

import utils

ROOT = Path(__file__).resolve().parent.parent
SCALE_FACTOR = 40.0  # of make_snapshot


def write_data(data_dir, names=("cat", "house"), counts=(23, 7, 11)):
    """The first doodles of some categories, as a data directory."""
    for name in names:
        strokes = utils.load_strokes(ROOT / f"datasets/npz/doodle_{name}.npz")
        splits = {split: strokes[split][:count] for split, count in zip(utils.SPLITS, counts, strict=True)}
        utils.save_strokes(data_dir / f"npz/{name}.npz", splits)
    return data_dir


def make_snapshot(directory, **changes):
    """Weights that were never trained, with an output that draws lines of usual length and ends seldom."""
    import model as models  # not all tests need TensorFlow
    import snapshots

    hps = models.get_default_hparams().replace(
        data_set=["cat.npz", "house.npz"], dec_model="lstm", dec_rnn_size=8, num_mixture=2, z_size=4, max_seq_len=60
    )
    model = models.Model(hps.replace(**changes))
    bias = np.zeros(15, np.float32)
    bias[:3] = 0, -1.5, -3
    model.weights["RNN/output_b"].assign(bias)
    info = {"scale_factor": SCALE_FACTOR, "line_width": 1.2, "max_seq_len": 60, "category_scale_factors": {}}
    snapshots.save_config(directory, model.hps, info)
    snapshots.save_weights(model, directory, 7)
    return directory


def read_picture(path):
    """A picture file as float ``[H, W, 3]``."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), float)
