"""Mix drawings of many categories into one data set, none of them more often than a limit.

    python datasets/mix_drawings.py --name mix quickdraw/npz:1000 omniglot.npz:8000 --leave_out cat dog

Each source is a directory of ``.npz`` or one of them, and ``:N`` the most training drawings of each file; of valid and
test a tenth of that. Writes ``<data_dir>/npz/<name>.npz``. The same seed gives the same drawings.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from script import make_parser, run_script
from utils import SPLITS, load_strokes, npz_path, save_strokes


def mix(sources: list[tuple[Path, int]], leave_out: set[str], max_len: int, seed: int) -> dict[str, list[np.ndarray]]:
    """Drawings by split, ``sources`` being (file or directory, most training drawings of each file)."""
    mixed = {split: [] for split in SPLITS}
    for source, most in sources:
        for path in sorted(source.glob("*.npz")) if source.is_dir() else [source]:
            if path.stem in leave_out:
                continue
            rng, strokes = np.random.default_rng([seed, *path.stem.encode()]), load_strokes(path)
            for split in SPLITS:
                limit = most if split == "train" else -(-most // 10)
                fitting = [drawing for drawing in strokes[split] if len(drawing) <= max_len]
                chosen = np.sort(rng.permutation(len(fitting))[:limit])
                mixed[split] += [fitting[i] for i in chosen]
    return mixed


def parse_args(argv) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("sources", nargs="+", metavar="PATH[:N]", help="files or directories, and drawings of each")
    parser.add_argument("--name", required=True, help="of the data set")
    parser.add_argument("--data_dir", default="datasets", help="gets npz/<name>.npz")
    parser.add_argument("--leave_out", nargs="*", default=[], help="categories to leave out")
    parser.add_argument("--max_len", type=int, default=250, help="points of a drawing at most")
    parser.add_argument("--seed", type=int, default=1, help="of the choice")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """The script; see the module's docstring."""
    args, sources = parse_args(argv), []
    for text in args.sources:
        path, _, most = text.rpartition(":") if ":" in text else (text, "", "1000000")
        if not Path(path).exists() or not most.isdigit():
            raise ValueError(f"{text}: expected a file or directory that exists, and perhaps :N")
        sources.append((Path(path), int(most)))
    mixed = mix(sources, set(args.leave_out), args.max_len, args.seed)
    path = npz_path(args.data_dir, args.name)
    save_strokes(path, mixed)
    print(f"written {path}: {', '.join(f'{len(mixed[split]):,} {split}' for split in SPLITS)}")
    return 0


if __name__ == "__main__":
    run_script(main)
