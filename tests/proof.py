"""Holds one checkout of this project against another: same drawings, same losses, old runs go on.

    git worktree add ../before <commit>
    python tests/proof.py record ../before /tmp/before        # with the earlier version's code
    python tests/proof.py compare . /tmp/before               # with this one's

A checkout is used through its doors alone: scripts, their files, ``load_snapshot``, ``sample``, ``sample_batch``. Each
line printed is a quantity, and "equal" (bit for bit) or the largest relative error; ``--data_dir`` holds the doodles.
"""

import argparse
import csv
import hashlib
import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np

CELLS = ("lstm", "layer_norm", "hyper")
LOSSES = {cell: f"dec_model={cell},num_steps=21,save_every=1000" for cell in CELLS}
CURVES = {
    f"{cell}, 300 steps": f"dec_model={cell},dec_rnn_size=128,num_steps=301,save_every=1000,learning_rate=0.003"
    for cell in CELLS
}
TINY = "img_H=48,dec_rnn_size=16,z_size=8,num_mixture=3,batch_size=10,num_steps=9,save_every=4"
RUNS = {**{cell: ("default", f"dec_model={cell},{TINY}") for cell in CELLS}, "sharp": ("sharp", TINY)}


def drawings_of(root: Path) -> dict[str, np.ndarray]:
    """Greedy and random strokes of the weights that ship and of the original's snapshots."""
    model_module = importlib.import_module("model")
    found = {}
    for directory in (root / "assets" / "pretrained", *sorted((root / "tests" / "reference").glob("*/checkpoint"))):
        directory = directory if directory.is_dir() else directory.parent
        if not (directory / "io.npz").is_file() and directory.name != "pretrained":
            continue
        model = model_module.Model(model_module.load_hparams(directory))
        model_module.load_snapshot(model, directory)
        z = np.random.default_rng(3).normal(size=(6, model.hps.z_size)).astype(np.float32)
        z = z if model.hps.conditional else None
        greedy, _ = model_module.sample(model, 60, greedy_mode=True, z=None if z is None else z[:1])
        found[f"{directory.name}, greedy"] = greedy
        drawn = model_module.sample_batch(model, z, 60, 0.5, num=6, seed=5)
        found[f"{directory.name}, sample_batch(seed=5)"] = np.concatenate(drawn)
    return found


def train(directory: Path, data_dir: str, *flags: str) -> np.ndarray:
    """Train as the command line says -> the cost of every step."""
    script = importlib.import_module("sketch_pix2seq_train")
    script.LOG_EVERY = 1
    roots = ["--snapshot_root", str(directory / "snapshot"), "--log_root", str(directory / "log")]
    code = script.main(["--data_dir", data_dir, *roots, *flags])
    assert code == 0, code
    with open(directory / "log" / "metrics.csv", newline="") as file:
        return np.array([float(row["cost"]) for row in csv.DictReader(file) if row["split"] == "train"])


def pictures_of(root: Path, out: Path, data_dir: str) -> dict[str, str]:
    """Hashes of what the sampling script writes by chance."""
    script = importlib.import_module("sketch_pix2seq_sampling")
    weights, photo = str(root / "assets" / "pretrained"), str(root / "assets" / "doodle.jpg")
    found = {}
    for name, flags in {
        "photo": ["--image", photo, "--num", "2", "--temperature", "0.1", "0.6", "--format", "svg,json"],
    }.items():
        directory = out / "pictures" / name
        flags = ["--model_dir", weights, "--sampling_dir", str(directory), "--seed", "3", *flags]
        assert script.main(["--data_dir", data_dir, *flags]) == 0
        for path in sorted(directory.rglob("*.svg")):
            found[str(path.relative_to(out))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def measure(root: Path, out: Path, data_dir: str, before: Path | None) -> None:
    """Everything, into ``out``; runs are begun, or those of ``before`` are gone on with."""
    shutil.rmtree(out, ignore_errors=True)
    arrays = drawings_of(root)
    for name, hparams in {**LOSSES, **CURVES}.items():
        costs = train(out / "scratch" / name, data_dir, "--hparams", hparams)
        arrays[name] = costs[:20] if name in LOSSES else costs[-20:].mean(keepdims=True)
    for name, (preset, hparams) in RUNS.items():
        if before is None:
            train(out / "runs" / name, data_dir, "--preset", preset, "--hparams", hparams)
        shutil.copytree((before or out) / "runs" / name, out / "resumed" / name)
        costs = train(out / "resumed" / name, data_dir, "--resume_training", "--hparams", "num_steps=14")
        arrays[f"{name}, gone on with"] = costs[-5:]
    np.savez(out / "arrays.npz", **arrays)
    (out / "pictures.json").write_text(json.dumps(pictures_of(root, out, data_dir)))


def compare(before: Path, after: Path) -> None:
    """Print each quantity of both."""
    with np.load(before / "arrays.npz") as old, np.load(after / "arrays.npz") as new:
        for name in old.files:
            a, b = old[name], new[name]
            if a.shape != b.shape:
                print(f"{name}: of shape {b.shape}, was {a.shape}")
            elif np.array_equal(a, b):
                print(f"{name}: equal")
            else:
                error, last = np.abs(a - b).max() / np.abs(a).max(), (float(x.ravel()[-1]) for x in (a, b))
                print("{}: {:.1e} (last {:.4f}, now {:.4f})".format(name, error, *last))
    old, new = (json.loads((directory / "pictures.json").read_text()) for directory in (before, after))
    same = sum(new.get(name) == digest for name, digest in old.items())
    print(f"pictures: {same} of {len(old)} equal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("checkout", type=Path, help="whose code to run")
    parser.add_argument("before", type=Path, help="where the earlier version's results go, or are")
    parser.add_argument("--data_dir", default="datasets", help="holds npz/ and bitmap/ of the doodles")
    args = parser.parse_args()
    sys.path.insert(0, str(args.checkout.resolve()))
    if args.what == "record":
        measure(args.checkout, args.before, args.data_dir, None)
    else:
        after = args.before.with_name(args.before.name + "-after")
        measure(args.checkout, after, args.data_dir, args.before)
        compare(args.before, after)


if __name__ == "__main__":
    main()
