"""Write a trained model as it is handed on: weights alone, without what only training needs.

    python sketch_pix2seq_export.py --model_dir outputs/snapshot --export_dir my_model

``my_model`` is a snapshot directory to draw with, to score or to begin from (``--init_from``), a third as large. With
``--mean_of 5`` it has the mean of the newest five snapshots' weights (arXiv 1803.05407).
"""

import quiet_tensorflow  # noqa: F401  (what is imported below loads TensorFlow)

import argparse
from pathlib import Path

import numpy as np

from model import Model, load_model
from script import make_parser, run_script
from snapshots import list_complete_checkpoints, load_data_info, load_weights, save_config, save_weights


def load_mean(model: Model, model_dir: str, count: int) -> int:
    """Load the mean of the weights of the ``count`` newest snapshots that validated best -> the newest one's step."""
    paths = list_complete_checkpoints(Path(model_dir))[:count]
    if len(paths) < count:
        raise ValueError(
            f"{model_dir} has {len(paths)} of {count} snapshots to average; train with keep_snapshots={count}"
        )
    steps, sums = [], {name: 0.0 for name in model.weights}
    for path in paths:
        steps.append(load_weights(model, path))
        sums = {name: total + model.weights[name].numpy().astype(np.float64) for name, total in sums.items()}
    for name, total in sums.items():
        model.weights[name].assign((total / count).astype(np.float32))
    return steps[0]


def export(model_dir: str, export_dir: str, mean_of: int = 1) -> Path:
    """Write the best weights of ``model_dir``, or a mean -> the snapshot's path. Raises FileExistsError, ValueError."""
    directory = Path(export_dir)
    if (directory / "checkpoint").exists():
        raise FileExistsError(f"{directory} holds a snapshot already; give another --export_dir")
    model, step = load_model(model_dir)
    info = load_data_info(model_dir)
    if info is None:
        raise ValueError(f"{model_dir} is the original program's: it says nothing of its data; train on with it first")
    if mean_of > 1:
        step = load_mean(model, model_dir, mean_of)
    save_config(directory, model.hps, info)
    return save_weights(model, directory, step)


def parse_args(argv) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--model_dir", default="outputs/snapshot", help="a snapshot directory of a training run")
    parser.add_argument("--export_dir", required=True, help="a directory for the weights")
    parser.add_argument("--mean_of", type=int, default=1, help="how many snapshots' weights to take the mean of")
    args = parser.parse_args(argv)
    if args.mean_of < 1:
        parser.error(f"--mean_of {args.mean_of} must be 1 or more")
    return args


def main(argv=None) -> int:
    """Export as the command line says -> exit code."""
    args = parse_args(argv)
    path = export(args.model_dir, args.export_dir, args.mean_of)
    size = sum(part.stat().st_size for part in path.parent.glob(path.name + ".*"))
    print(
        f"written {path} ({size / 1e6:.1f} MB); draw with: python sketch_pix2seq_sampling.py --model_dir {path.parent}"
    )
    return 0


if __name__ == "__main__":
    run_script(main)
