"""The first losses of the run that the README begins with, which whoever runs it may compare with theirs."""

import csv

import numpy as np
import pytest
from helpers import ROOT

import render_svg2bitmap
import sketch_pix2seq_train

# python sketch_pix2seq_train.py, seed 1, on a CPU with AVX-512: the costs of steps 1 to 20
EXPECTED = [
    2.30724, 2.12409, 2.01763, 1.88877, 1.93886, 1.87843, 1.8143, 1.81145, 1.80857, 1.7095,
    1.74543, 1.80227, 1.7814, 1.70868, 1.69697, 1.7348, 1.71491, 1.74471, 1.76536, 1.74002,
]  # fmt: skip
# Adam makes a whole step of a gradient that is nothing but rounding, so other kernels part from these before long:
# those of a CPU with AVX2 alone have the first 14 to 1e-4, and are off by 0.07 % at the 15th and by 0.6 % at the 18th.
SAME_EVERYWHERE = 14


@pytest.mark.slow
def test_first_losses_of_the_default_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sketch_pix2seq_train, "LOG_EVERY", 1)
    (tmp_path / "npz").symlink_to(ROOT / "datasets/npz")
    assert render_svg2bitmap.main([f"--data_base_dir={tmp_path}"]) == 0
    roots = [f"--snapshot_root={tmp_path / 'snapshot'}", f"--log_root={tmp_path / 'log'}"]
    assert sketch_pix2seq_train.main([f"--data_dir={tmp_path}", *roots, "--hparams=num_steps=21"]) == 0
    with open(tmp_path / "log" / "metrics.csv", newline="") as file:
        costs = [float(row["cost"]) for row in csv.DictReader(file) if row["split"] == "train"]
    np.testing.assert_allclose(costs[:SAME_EVERYWHERE], EXPECTED[:SAME_EVERYWHERE], rtol=1e-3)
    np.testing.assert_allclose(costs, EXPECTED, rtol=1e-2)
