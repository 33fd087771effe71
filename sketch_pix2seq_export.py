"""Write a trained model as it is handed on: weights alone, without what only training needs.

    python sketch_pix2seq_export.py --model_dir outputs/snapshot --export_dir my_model

``my_model`` is a snapshot directory to draw with, to score or to begin from (``--init_from``), a third as large.
"""

import quiet_tensorflow  # noqa: F401  (what is imported below loads TensorFlow)

import argparse
from pathlib import Path

from model import load_model
from script import make_parser, run_script
from snapshots import load_data_info, save_config, save_weights


def export(model_dir: str, export_dir: str) -> Path:
    """Write the best weights of ``model_dir`` -> the snapshot's path. Raises FileExistsError, ValueError."""
    directory = Path(export_dir)
    if (directory / "checkpoint").exists():
        raise FileExistsError(f"{directory} holds a snapshot already; give another --export_dir")
    model, step = load_model(model_dir)
    info = load_data_info(model_dir)
    if info is None:
        raise ValueError(f"{model_dir} is the original program's: it says nothing of its data; train on with it first")
    save_config(directory, model.hps, info)
    return save_weights(model, directory, step)


def parse_args(argv) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--model_dir", default="outputs/snapshot", help="a snapshot directory of a training run")
    parser.add_argument("--export_dir", required=True, help="a directory for the weights")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Export as the command line says -> exit code."""
    args = parse_args(argv)
    path = export(args.model_dir, args.export_dir)
    size = sum(part.stat().st_size for part in path.parent.glob(path.name + ".*"))
    print(
        f"written {path} ({size / 1e6:.1f} MB); draw with: python sketch_pix2seq_sampling.py --model_dir {path.parent}"
    )
    return 0


if __name__ == "__main__":
    run_script(main)
