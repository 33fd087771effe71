"""Write as many drawings as the whole of Quick, Draw! has, varied from few real ones: to measure with, not to train on.

    python datasets/make_full_quickdraw.py --source quickdraw300 --data_dir /tmp/full

Each of 345 categories gets 70,000 training drawings and 2,500 each for validation and test: those of one file of
``--source``, over and over, stretched, turned, mirrored, with points left out. Where the source has fewer files, they
serve again under other names. The same seed gives the same drawings; files that are there stay. Takes 7 GB.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from script import make_parser, run_script
from utils import SPLITS, DataLoader, PackedStrokes, load_strokes, npz_path


def vary(drawings: list[np.ndarray], count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """``count`` drawings, int16 stroke-3, each another variation of one of those given."""
    several = PackedStrokes.pack(drawings).gather(np.arange(count) % len(drawings))
    variation = {"random_scale_factor": 0.15, "random_rotation": 15.0, "mirror_prob": 0.5, "augment_stroke_prob": 0.1}
    batch = DataLoader(several, batch_size=count, **variation).random_batch(rng)
    return np.split(np.rint(batch.points).astype(np.int16), np.cumsum(batch.lengths)[:-1])


def write_category(path: Path, source: Path, counts: tuple[int, int, int], rng: np.random.Generator) -> None:
    """A category of so many drawings of each split, not compressed, as that would take most of the time."""
    strokes, arrays = load_strokes(source), {}
    for split, count in zip(SPLITS, counts, strict=True):
        arrays[split] = np.empty(count, object)
        arrays[split][:] = vary(strokes[split] or strokes["train"], count, rng)
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        np.savez(file, **arrays)
    os.replace(part, path)


def parse_args(argv) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--source", required=True, help="a directory of .npz of real drawings")
    parser.add_argument("--data_dir", required=True, help="gets npz/")
    parser.add_argument("--categories", type=int, default=345, help="how many")
    parser.add_argument("--counts", type=int, nargs=3, default=(70_000, 2500, 2500), help="train, valid, test of each")
    parser.add_argument("--seed", type=int, default=1, help="of the variations")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """The script; see the module's docstring."""
    args = parse_args(argv)
    sources = sorted(Path(args.source).glob("*.npz"))
    if not sources or min(args.categories, *args.counts) < 1:
        raise ValueError(f"--source {args.source}: no .npz there; and categories and counts are 1 or more")
    for i in tqdm(range(args.categories), unit="category", disable=None):
        source, turn = sources[i % len(sources)], i // len(sources)
        path = npz_path(args.data_dir, f"{source.stem}{f'_{turn + 1}' if turn else ''}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            write_category(path, source, args.counts, np.random.default_rng([args.seed, i]))
    print(f"{args.categories} categories of {sum(args.counts):,} drawings are in {Path(args.data_dir, 'npz')}")
    return 0


if __name__ == "__main__":
    run_script(main)
