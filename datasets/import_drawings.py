"""Makes a training set of your own drawings: SVG, QuickDraw ndjson, sampled JSON, InkML, lists of points, .npz.

    python datasets/import_drawings.py SRC --name my_set [--data_dir datasets] [--epsilon 2]

SRC is a file or a directory. A directory's sub-directories are categories: each becomes
``<data_dir>/npz/<name>_<category>.npz``; what lies in SRC itself becomes ``<data_dir>/npz/<name>.npz``.
Every drawing goes through QuickDraw's recipe (see read_strokes.py) and begins at (0, 0), as QuickDraw's own do.

    .svg                an SVG is a drawing
    .ndjson             QuickDraw's, raw or simplified: {"drawing": [[[x, ...], [y, ...]], ...]} in each line
    .json               {"format": "stroke-3", "drawings": [{"strokes": [[dx, dy, lifted], ...]}, ...]}, as sampled
    .npz                train, valid and test in stroke-3, as in datasets/npz
    .inkml              a file is a drawing, a <trace> a stroke
    .txt .csv .tsv      "x y" in each line, an empty line between strokes; a file is a drawing
"""

import argparse
import bisect
import math
import os
import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from inspection import MAX_LEN, inspect_files

from read_strokes import READERS, Lines, Skip, read_drawings, simplify_drawing
from script import make_parser, run_script
from utils import SPLITS, lines_to_strokes, npz_path, save_strokes

SIZE = 255  # units, the longer side of a drawing
MAX_POINTS = 100_000  # of a drawing as it comes
MAX_LENGTH = 40_000.0  # units of all lines, 157 times the longer side: simplifying takes time as its square
MAX_REASONS = 20  # listed


def to_strokes(lines: Lines, epsilon: float = 2.0) -> np.ndarray:
    """A drawing, lines ``[n, 2]`` in any unit, through QuickDraw's recipe: stroke-3, int16 ``[n, 3]``, from (0, 0).

    One that has been through the recipe before keeps its points, at whatever scale it comes (an SVG drawn of it).
    Raises ValueError if there is nothing to draw or too much.
    """
    lines = [line for line in lines if len(line)]
    if not lines:
        raise ValueError("no points")
    points = np.concatenate(lines)
    extent = np.ptp(points, axis=0).max()
    if not extent > 0:
        raise ValueError("a single point")
    if not np.isfinite(extent):
        raise ValueError("a number that is not finite")
    length = sum(np.hypot(*np.diff(line / extent, axis=0).T).sum() for line in lines) * SIZE
    if len(points) > MAX_POINTS or length > MAX_LENGTH:
        times = MAX_LENGTH / SIZE
        raise ValueError(f"more than {MAX_POINTS:,} points, or more than {times:.0f} times its size in lines")
    simple = _find_grid(lines, epsilon) or simplify_drawing(lines, epsilon, SIZE)
    return lines_to_strokes([line - simple[0][0] for line in simple]).astype(np.int16)


def _find_grid(lines: Lines, epsilon: float) -> Lines | None:
    """The drawing on the recipe's grid of whole numbers, if it is on it already and the recipe would change little.

    Simplifying twice would drop points that survived once only by rounding. The longer side of a simplified drawing may
    be a little short of 255, and its points have no common divisor there: those of a coarser grid are a coincidence.
    """
    points = np.concatenate(lines)
    origin, extent = points.min(axis=0), np.ptp(points, axis=0).max()
    for size in range(SIZE, SIZE - 7, -1):
        exact = (points - origin) * (size / extent)
        grid = np.rint(exact).astype(int)
        if np.abs(exact - grid).max() < 0.05 and np.gcd.reduce(grid.ravel()) == 1:
            on_grid = np.split(grid, np.cumsum([len(line) for line in lines])[:-1])
            again = simplify_drawing(on_grid, epsilon, size)
            # Simplified drawings lose up to 14 % of their points the second time, raw ones 40-90 %.
            return on_grid if sum(map(len, again)) >= 0.8 * len(grid) else None
    return None


def fitting_epsilon(lines: Lines, epsilon: float, max_len: int = MAX_LEN) -> float | None:
    """The smallest epsilon, in steps of 0.5 from ``epsilon``, that leaves at most ``max_len`` points, or None."""
    steps = range(1, SIZE + 2)  # beyond half the size, only the two ends of each stroke are left
    i = bisect.bisect_left(steps, True, key=lambda step: len(to_strokes(lines, epsilon + 0.5 * step)) <= max_len)
    return epsilon + 0.5 * steps[i] if i < len(steps) else None


@dataclass
class Collection:
    """The drawings of one category, and what became of the others."""

    drawings: dict[bytes, np.ndarray] = field(default_factory=dict)  # by their bytes: each only once
    files: int = 0
    duplicates: int = 0
    skipped: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # reason -> where
    too_long: list[tuple[int, float | None, str]] = field(default_factory=list)  # (points, fitting epsilon, where)

    def add(self, lines: Lines | Skip, epsilon: float, where: str) -> None:
        """Take a drawing in, if it is one and is new."""
        try:
            if isinstance(lines, Skip):
                raise ValueError(lines)
            strokes = to_strokes(lines, epsilon)
        except ValueError as error:
            self.skipped[str(error)].append(where)
            return
        if strokes.tobytes() in self.drawings:
            self.duplicates += 1
            return
        self.drawings[strokes.tobytes()] = strokes
        if len(strokes) > MAX_LEN:  # try the epsilon that others need first: finding one takes time
            known = max((fit for _, fit, _ in self.too_long if fit), default=epsilon)
            fits = known > epsilon and len(to_strokes(lines, known)) <= MAX_LEN
            self.too_long.append((len(strokes), known if fits else fitting_epsilon(lines, epsilon), where))

    def report(self, path: Path, splits: dict[str, list[np.ndarray]], epsilon: float) -> str:
        """What became of the category's drawings, in words."""
        sizes = ", ".join(f"{split} {len(splits[split])}" for split in SPLITS)
        text = [
            f"{path}: {len(self.drawings)} drawings ({sizes}) from {self.files} files",
            f"  removed: {self.duplicates} duplicates",
            f"  skipped: {sum(map(len, self.skipped.values()))}",
        ]
        reasons = sorted(self.skipped.items(), key=lambda item: -len(item[1]))
        text += [f"    {len(where)} x {reason} (first: {where[0]})" for reason, where in reasons[:MAX_REASONS]]
        if len(self.skipped) > MAX_REASONS:
            text.append(f"    and {len(self.skipped) - MAX_REASONS} more reasons")
        if self.too_long:
            points, _, where = max(self.too_long, key=lambda item: item[0])
            count = len(self.too_long)
            text.append(f"  over {MAX_LEN} points: {count} (longest: {where}, {points}); training skips them")
            fits = [fit for _, fit, _ in self.too_long if fit is not None]
            if fits:
                text.append(f"    --epsilon {max(fits):g} (now {epsilon:g}) would make {len(fits)} of them fit")
            if len(fits) < count:
                text.append(f"    {count - len(fits)} have too many strokes to fit with any epsilon")
        if self.drawings and not all(splits.values()):
            text.append("  a split is empty: training needs at least three drawings, and --valid and --test above 0")
        return "\n".join(text)


def find_files(source: Path) -> dict[str, list[Path]]:
    """Files by category ("": those in ``source`` itself), in order of name; no hidden ones, no links to directories.

    Raises FileNotFoundError.
    """
    if source.is_file():
        return {"": [source]}
    if not source.is_dir():
        raise FileNotFoundError(f"{source} not found; expected a file of drawings or a directory of them")
    files: dict[str, list[Path]] = {}
    for directory, directories, names in os.walk(source):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        parts = Path(directory).relative_to(source).parts
        category = re.sub(r"[^\w-]+", "_", parts[0]) if parts else ""
        paths = [Path(directory) / name for name in sorted(names) if not name.startswith(".")]
        files.setdefault(category, []).extend(path for path in paths if path.is_file())  # not a pipe, not a device
    return {category: paths for category, paths in files.items() if paths}


def collect(files: list[Path], source: Path, epsilon: float, progress: tqdm) -> Collection:
    """Read all drawings of a category; what cannot be read is counted by reason."""
    collection = Collection()
    for path in files:
        where = str(path.relative_to(source)) if source.is_dir() else path.name
        if path.suffix.lower() not in READERS:
            collection.skipped[f"files {path.suffix or 'without ending'}: not a format of drawings"].append(where)
            continue
        collection.files += 1
        try:
            for number, lines in enumerate(read_drawings(path), 1):
                collection.add(lines, epsilon, where if number == 1 else f"{where}, drawing {number}")
                progress.update()
        except (ValueError, OSError, MemoryError) as error:
            reason = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}, ")
            collection.skipped[reason].append(where)
    return collection


def split_drawings(drawings: list[np.ndarray], valid: float, test: float, seed: int) -> dict[str, list[np.ndarray]]:
    """Shuffle by ``seed`` and split; of three or more drawings, each split with a share above 0 gets at least one."""
    shuffled = [drawings[i] for i in np.random.default_rng(seed).permutation(len(drawings))]
    least = 1 if len(drawings) >= 3 else 0
    n_valid, n_test = (max(least, round(share * len(drawings))) if share > 0 else 0 for share in (valid, test))
    valid_end, test_end = n_valid, n_valid + n_test
    return {"train": shuffled[test_end:], "valid": shuffled[:valid_end], "test": shuffled[valid_end:test_end]}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The flags; see the module's docstring. Raises ValueError."""
    parser = make_parser(__doc__)
    parser.add_argument("source", metavar="SRC", type=Path, help="a file of drawings, or a directory of them")
    parser.add_argument("--name", required=True, help="name of the data set")
    parser.add_argument("--data_dir", type=Path, default=Path("datasets"), help="npz/ is in here (default: datasets)")
    parser.add_argument("--epsilon", type=float, default=2.0, help="how far a line may be off, of 255 (default: 2)")
    parser.add_argument("--valid", type=float, default=0.05, help="share of the validation split (default: 0.05)")
    parser.add_argument("--test", type=float, default=0.05, help="share of the test split (default: 0.05)")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace files of that name")
    args = parser.parse_args(argv)
    if not re.fullmatch(r"[\w-][\w .-]*", args.name) or args.name.endswith(".npz"):
        raise ValueError(f"--name {args.name!r}: letters, digits, _ - and . only, without .npz")
    if not (args.valid >= 0 and args.test >= 0 and args.valid + args.test < 1):
        raise ValueError(f"--valid {args.valid} and --test {args.test} must be shares that leave something to train on")
    if not (math.isfinite(args.epsilon) and args.epsilon >= 0):
        raise ValueError(f"--epsilon {args.epsilon} must be a number, 0 or more")
    return args


def main(argv: list[str] | None = None) -> int:
    """Import drawings, category by category; print what became of them, and the summary of inspect_data.py."""
    args = parse_args(argv)
    files = find_files(args.source)
    paths = {name: npz_path(args.data_dir, f"{args.name}_{name}" if name else args.name) for name in files}
    existing = [str(path) for path in paths.values() if path.exists()]
    if existing and not args.overwrite:
        raise ValueError(f"{', '.join(existing)} exists; take another --name, or --overwrite")
    with tqdm(unit=" drawings", disable=None, leave=False) as progress:
        collections = {name: collect(files[name], args.source, args.epsilon, progress) for name in files}
    for name, collection in collections.items():
        splits = split_drawings(list(collection.drawings.values()), args.valid, args.test, args.seed)
        if collection.drawings:
            save_strokes(paths[name], splits)
        print(collection.report(paths[name], splits, args.epsilon), flush=True)
    written = [paths[name] for name, collection in collections.items() if collection.drawings]
    if not written:
        raise ValueError(f"no drawing found in {args.source}")
    print()
    inspect_files(written, args.data_dir / "inspection", args.name)
    print(f'\nto train on it: --hparams "data_set=[{",".join(path.name for path in written)}]"')
    return 0


if __name__ == "__main__":
    run_script(main)
