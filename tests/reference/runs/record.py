"""Made the runs beside this file, with commit 15be41b: python tests/reference/runs/record.py CHECKOUT DATA_DIR OUT

Each is a run of 9 steps as its version left it, and ``expected.json``: what that version drew with it, greedily,
and its first validation after it had gone on by itself to step 12.
"""

import csv
import json
import shutil
import sys
from pathlib import Path

checkout, data_dir, out = map(Path, sys.argv[1:])
sys.path.insert(0, str(checkout.resolve()))

import numpy as np  # noqa: E402

import model  # noqa: E402
import rnn  # noqa: E402
import sketch_pix2seq_train  # noqa: E402

rnn.HYPER_UNITS, rnn.HYPER_EMBEDDING = 4, 2  # else the small cell inside is the largest part by far
SIZES = (
    "data_set=[toy.npz],img_H=16,img_W=16,dec_rnn_size=6,num_mixture=2,z_size=3,batch_size=4,num_steps=9,save_every=4,"
    "keep_snapshots=1,learning_rate=0.005,presig_bias=-60"
)
RUNS = {
    "lstm": ["--hparams", f"dec_model=lstm,{SIZES}"],
    "layer_norm": ["--hparams", f"dec_model=layer_norm,enc_model=deep_cnn,enc_filters=[2,2],{SIZES}"],
    "hyper": ["--hparams", f"dec_model=hyper,enc_model=deep_cnn,enc_filters=[2,2],kl_weight=0.5,{SIZES}"],
    "sharp": ["--preset", "sharp", "--hparams", f"{SIZES},enc_filters=[2,2,3],pen_glimpse=1"],
}
STEPS = 12

for name, flags in RUNS.items():
    run, later = out / name, out / f"{name}-later"
    for directory in (run, later):
        shutil.rmtree(directory, ignore_errors=True)
    sketch_pix2seq_train.LOG_EVERY = 1

    def train(directory, *flags):
        roots = ["--snapshot_root", str(directory / "snapshot"), "--log_root", str(directory / "log")]
        assert sketch_pix2seq_train.main(["--data_dir", str(data_dir), *roots, *flags]) == 0

    train(run, *flags)
    shutil.copytree(run, later)
    train(later, "--resume_training", "--hparams", f"num_steps={STEPS + 1}")
    best = model.Model(model.load_hparams(run / "snapshot"))
    step = model.load_snapshot(best, run / "snapshot")
    strokes, _ = model.sample(best, 12, greedy_mode=True, z=np.linspace(-1, 1, best.hps.z_size))
    with open(later / "log" / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["step"], row["split"]) == (str(STEPS), "valid")]
    expected = {"step": step, "strokes": strokes.tolist(), "valid_recon": float(rows[0]["recon"])}
    (run / "expected.json").write_text(json.dumps(expected) + "\n")
    for path in [*run.glob("log/events.out.*"), *run.glob("log/loss.png"), *run.rglob(".lock")]:
        path.unlink()
    shutil.rmtree(later)
