"""Makes a training set of your own drawings: SVG, QuickDraw's files, sampled JSON, InkML, lists of points, .npz.

    python datasets/import_drawings.py SRC --name my_set [--data_dir datasets] [--epsilon 2]

SRC is a file or a directory. A directory's sub-directories are categories: each becomes
``<data_dir>/npz/<name>_<category>.npz``; what lies in SRC itself becomes ``<data_dir>/npz/<name>.npz``, but for files
of many drawings, whose category is the ``word`` of each, else the file's name. With ``--name ""``, categories have
their plain names. Every drawing goes through QuickDraw's recipe (see simplify.py) and begins at (0, 0), as QuickDraw's
own do. Each category is written as soon as it is read.

    .svg .svgz          an SVG is a drawing
    .ndjson .jsonl      QuickDraw's, raw or simplified: {"drawing": [[[x, ...], [y, ...]], ...]} in each line
    .csv                a drawing in each row (Kaggle's, with a "drawing" column), or a list of points
    .json               an array of such drawings, or {"format": "stroke-3", "drawings": [...]}, as sampled
    .npz                train, valid and test in stroke-3, as in datasets/npz
    .inkml              a file is a drawing, a <trace> a stroke
    .txt .csv .tsv      x and y in each line, an empty line between strokes; or columns named stroke,x,y

Any of them may be compressed (.ndjson.gz).
"""

import argparse
import bisect
import math
import os
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from inspection import MANY, MAX_LEN, inspect_files

from read_strokes import READERS, Skip, file_ending, read_drawings, words_of
from script import add_switch, make_parser, run_script
from simplify import Lines, simplify_drawing
from utils import SPLITS, lines_to_strokes, npz_path, save_strokes, write_file

SIZE = 255  # units, the longer side of a drawing
MAX_POINTS = 100_000  # of a drawing as it comes
MAX_LENGTH = 40_000.0  # units of all lines, 157 times the longer side: simplifying takes time as its square
MAX_REASONS = 20  # listed
MIN_SPLIT = 10  # drawings of valid and of test, or a tenth of a small category: fewer measure nothing


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
class Category:
    """The drawings of one category, and what became of the others."""

    path: Path  # to be written
    drawings: dict[bytes, np.ndarray] = field(default_factory=dict)  # by their bytes: each only once
    files: int = 0
    duplicates: int = 0
    twins: int = 0  # of the same key_id as another
    unrecognized: int = 0
    skipped: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # reason -> where
    notes: dict[str, Counter] = field(default_factory=lambda: defaultdict(Counter))  # what -> shapes by file
    too_long: list[tuple[int, float | None, str]] = field(default_factory=list)  # (points, fitting epsilon, where)

    def add(self, drawing: Lines | Skip, where: str, args: argparse.Namespace, keys: set[str]) -> None:
        """Take a drawing in, if it is one and is new; ``keys`` are the key_ids of all categories so far."""
        if isinstance(drawing, Skip):
            self.skipped[str(drawing)].append(where)
            return
        if not (drawing.recognized or args.unrecognized):
            self.unrecognized += 1
            return
        if drawing.key in keys:
            self.twins += 1
            return
        try:
            strokes = to_strokes(drawing, args.epsilon)
        except ValueError as error:
            self.skipped[str(error)].append(where)
            return
        if drawing.key is not None:
            keys.add(drawing.key)
        for note, count in drawing.notes.items():
            self.notes[note][where] += count
        if len(strokes) > MAX_LEN and strokes.tobytes() not in self.drawings:
            strokes = self._shorten(drawing, strokes, where, args)
        if strokes is not None:
            self.duplicates += strokes.tobytes() in self.drawings
            self.drawings.setdefault(strokes.tobytes(), strokes)

    def _shorten(self, lines: Lines, strokes: np.ndarray, where: str, args: argparse.Namespace) -> np.ndarray | None:
        """Note a drawing of over ``MAX_LEN`` points; returns what is to be kept of it."""
        fit = None
        if args.long == "keep":  # try the epsilon that others need first: finding one takes time
            known = max((fit for _, fit, _ in self.too_long if fit), default=args.epsilon)
            fit = known if known > args.epsilon and len(to_strokes(lines, known)) <= MAX_LEN else None
        if fit is None and args.long != "drop":
            fit = fitting_epsilon(lines, args.epsilon)
        self.too_long.append((len(strokes), fit, where))
        if args.long == "keep":
            return strokes
        return to_strokes(lines, fit) if fit is not None else None

    def counts(self) -> Counter:
        """What became of the drawings that are not there, by numbers."""
        return Counter(
            {
                "duplicates": self.duplicates,
                "of a key_id again": self.twins,
                "not recognised": self.unrecognized,
                "skipped": sum(map(len, self.skipped.values())),
                f"over {MAX_LEN} points": len(self.too_long),
            }
        )

    def report(self, splits: dict[str, list[np.ndarray]], args: argparse.Namespace) -> str:
        """What became of the category's drawings, in words."""
        sizes = ", ".join(f"{split} {len(splits[split])}" for split in SPLITS)
        text = [
            f"{self.path}: {len(self.drawings)} drawings ({sizes}) from {self.files} files",
            f"  removed: {self.duplicates} duplicates" + (f", {self.twins} of a key_id again" if self.twins else ""),
            f"  skipped: {sum(map(len, self.skipped.values()))}",
        ]
        if self.unrecognized:
            text.append(f"  left out: {self.unrecognized} that QuickDraw did not recognise (--unrecognized takes them)")
        reasons = sorted(self.skipped.items(), key=lambda item: -len(item[1]))
        text += [f"    {len(where)} x {reason} (first: {where[0]})" for reason, where in reasons[:MAX_REASONS]]
        if len(self.skipped) > MAX_REASONS:
            text.append(f"    and {len(self.skipped) - MAX_REASONS} more reasons")
        for note, where in self.notes.items():
            name = next(iter(where))
            switch = " (--outlines: by their outline)" if "centre line" in note else ""
            text.append(f"  {where.total()} {note}{switch}, in {len(where)} drawings (first: {name})")
        text += self._report_long(args)
        if self.drawings and not all(splits.values()):
            text.append("  a split is empty: training needs at least three drawings, and --valid and --test above 0")
        return "\n".join(text)

    def _report_long(self, args: argparse.Namespace) -> list[str]:
        if not self.too_long:
            return []
        points, _, where = max(self.too_long, key=lambda item: item[0])
        count, fits = len(self.too_long), [fit for _, fit, _ in self.too_long if fit is not None]
        done = {
            "keep": "training skips them; --long simplify or drop",
            "drop": "dropped",
            "simplify": f"{len(fits)} simplified until they fit, {count - len(fits)} dropped",
        }
        text = [f"  over {MAX_LEN} points: {count} (longest: {where}, {points}); {done[args.long]}"]
        if args.long == "keep" and fits:
            text.append(f"    --epsilon {max(fits):g} (now {args.epsilon:g}) would make {len(fits)} of them fit")
        if args.long == "keep" and len(fits) < count:
            text.append(f"    {count - len(fits)} have too many strokes to fit with any epsilon")
        return text


# ---------------------------------------------------------------------------------------------------------
# Which files are of which category


def find_files(source: Path) -> tuple[list[tuple[str, Path]], list[str]]:
    """((category's directory, "" for ``source`` itself; file) in order of name, what was left out, in words).

    Hidden files are not looked at. Raises FileNotFoundError.
    """
    if source.is_file():
        return [("", source)], []
    if not source.is_dir():
        raise FileNotFoundError(f"{source} not found; expected a file of drawings or a directory of them")
    files, left_out = [], []
    for directory, directories, names in os.walk(source, followlinks=True):
        here = Path(directory)
        above = {here.resolve(), *here.resolve().parents}
        circles = [name for name in directories if (here / name).resolve() in above]
        left_out += [f"{(here / name).relative_to(source)}: a link to a directory that it lies in" for name in circles]
        directories[:] = sorted(name for name in directories if not name.startswith(".") and name not in circles)
        parts = here.relative_to(source).parts
        for path in (here / name for name in sorted(names) if not name.startswith(".")):
            if path.is_file():  # not a pipe, not a device
                files.append((parts[0] if parts else "", path))
            else:
                left_out.append(f"{path.relative_to(source)}: not a file, or a link to nothing")
    return files, left_out


def plan(source: Path, args: argparse.Namespace) -> tuple[list[tuple[Path, dict[str | None, str]]], list[str]]:
    """([(file, its categories by ``word``; that of None is for all others), ...], what was left out, in words).

    Raises ValueError if two categories would have the same name.
    """
    files, left_out = find_files(source)
    words = {path: words_of(path) if file_ending(path) in READERS else set() for _, path in files}
    by_directory = defaultdict(set)
    for directory, path in files:
        by_directory[directory] |= words[path] - {None}
    planned, plain = [], {}
    for directory, path in files:
        stem = re.sub(r"\.gz$", "", path.name, flags=re.IGNORECASE).rpartition(".")[0]
        if source.is_file():
            apart, other = args.by_word or not args.name, "" if args.name and not args.by_word else stem
        elif directory:
            apart, other = len(by_directory[directory]) > 1, directory
        else:
            apart, other = True, stem if words[path] or file_ending(path) == ".npz" else ""
        named = words[path] - {None} if apart else set()
        categories = {word: word for word in named} | {None: next(iter(named)) if len(named) == 1 else other}
        for name in categories.values():
            if plain.setdefault(plain_name(name), name) != name:
                raise ValueError(f"{plain[plain_name(name)]!r} and {name!r} would be one category; rename one of them")
        planned.append((path, {word: plain_name(name) for word, name in categories.items()}))
    return planned, left_out


def plain_name(name: str) -> str:
    """A category's name as part of a file's: letters, digits, _ and -; signs without letters by their Unicode names."""
    plain = re.sub(r"[^\w-]+", "_", name).strip("_")
    if plain or not name:
        return plain
    signs = [sign for sign in name if unicodedata.category(sign)[0] not in "MCZ"]
    return re.sub(r"\W+", "_", "_".join(unicodedata.name(sign, f"{ord(sign):x}") for sign in signs).lower()) or "_"


# ---------------------------------------------------------------------------------------------------------
# Reading and writing


def read_categories(planned, source: Path, args: argparse.Namespace) -> Iterator[Category]:
    """Read all files; each category as soon as its last file is read."""
    last = {name: i for i, (_, categories) in enumerate(planned) for name in categories.values()}
    collections: dict[str, Category] = {}
    keys: set[str] = set()
    with tqdm(unit=" drawings", disable=None, leave=False) as progress:
        for i, (path, categories) in enumerate(planned):
            where = str(path.relative_to(source)) if source.is_dir() else path.name
            for name in categories.values():
                collections.setdefault(name, Category(output_path(name, source, args)))
            whole = collections[categories[None]]
            try:
                used = set()
                for number, drawing in enumerate(read_drawings(path, args.outlines), 1):
                    name = categories.get(getattr(drawing, "word", None), categories[None])
                    used.add(name)
                    place = where if number == 1 else f"{where}, drawing {number}"
                    collections[name].add(drawing, place, args, keys)
                    progress.update()
                for name in used or {categories[None]}:
                    collections[name].files += 1
            except (ValueError, OSError, MemoryError) as error:
                whole.skipped[reason_of(error, path)].append(where)
            for name in [name for name in collections if last[name] == i]:
                yield collections.pop(name)


def reason_of(error: Exception, path: Path) -> str:
    """Why a file cannot be read, without its name."""
    if isinstance(error, MemoryError):
        return "too large for the memory"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror.lower()}"
    reason = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}, ")
    if reason.startswith("not a format"):
        return f"files {path.suffix or 'without an ending'}: {reason}"
    return reason


def output_path(category: str, source: Path, args: argparse.Namespace) -> Path:
    """Where a category goes."""
    parts = [part for part in (args.name, category) if part] or [plain_name(source.resolve().stem)]
    return npz_path(args.data_dir, "_".join(parts))


def split_drawings(drawings: list[np.ndarray], valid: float, test: float, seed: int) -> dict[str, list[np.ndarray]]:
    """Shuffle by ``seed`` and split.

    A split with a share above 0 gets ``MIN_SPLIT`` drawings at least, or a tenth of fewer than a hundred; of three or
    more drawings, one at least.
    """
    shuffled = [drawings[i] for i in np.random.default_rng(seed).permutation(len(drawings))]
    least = max(min(MIN_SPLIT, len(drawings) // 10), 1 if len(drawings) >= 3 else 0)
    n_valid, n_test = (max(least, round(share * len(drawings))) if share > 0 else 0 for share in (valid, test))
    valid_end, test_end = n_valid, n_valid + n_test
    return {"train": shuffled[test_end:], "valid": shuffled[:valid_end], "test": shuffled[valid_end:test_end]}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The flags; see the module's docstring. Raises ValueError."""
    parser = make_parser(__doc__)
    parser.add_argument("source", metavar="SRC", type=Path, help="a file of drawings, or a directory of them")
    parser.add_argument("--name", required=True, help='name of the data set; "": categories have their plain names')
    parser.add_argument("--data_dir", type=Path, default=Path("datasets"), help="npz/ is in here (default: datasets)")
    parser.add_argument("--epsilon", type=float, default=2.0, help="how far a line may be off, of 255 (default: 2)")
    long = f"drawings of over {MAX_LEN} points: keep (training skips them; default), drop, or simplify until they fit"
    parser.add_argument("--long", choices=("keep", "drop", "simplify"), default="keep", help=long)
    parser.add_argument("--valid", type=float, default=0.05, help="share of the validation split (default: 0.05)")
    parser.add_argument("--test", type=float, default=0.05, help="share of the test split (default: 0.05)")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    add_switch(parser, "by_word", "of a file of QuickDraw's drawings: a category for each word")
    add_switch(parser, "unrecognized", "take drawings, too, that QuickDraw did not recognise")
    add_switch(parser, "outlines", "read filled pen strokes of an SVG by their outline, not by their centre line")
    parser.add_argument("--overwrite", action="store_true", help="replace files of that name")
    args = parser.parse_args(argv)
    if args.name and (not re.fullmatch(r"[\w-][\w .-]*", args.name) or args.name.endswith(".npz")):
        raise ValueError(f"--name {args.name!r}: letters, digits, _ - and . only, without .npz")
    if not (args.valid >= 0 and args.test >= 0 and args.valid + args.test < 1):
        raise ValueError(f"--valid {args.valid} and --test {args.test} must be shares that leave something to train on")
    if not (math.isfinite(args.epsilon) and args.epsilon >= 0):
        raise ValueError(f"--epsilon {args.epsilon} must be a number, 0 or more")
    return args


def write_categories(planned, source: Path, args: argparse.Namespace) -> tuple[list[Path], Counter, list[str]]:
    """Read and write category by category -> (files written, drawings counted by what became of them, reports).

    The reports are printed if they are few. Raises ValueError if there is nothing to write.
    """
    written, totals, reports, reasons = [], Counter(), [], Counter()
    many = len({name for _, categories in planned for name in categories.values()}) > MANY
    try:
        for category in read_categories(planned, source, args):
            splits = split_drawings(list(category.drawings.values()), args.valid, args.test, args.seed)
            if category.drawings:
                save_strokes(category.path, splits)
                written.append(category.path)
            elif not (category.files or category.skipped):
                continue
            totals += Counter({split: len(drawings) for split, drawings in splits.items()}) + category.counts()
            reasons.update({reason: len(where) for reason, where in category.skipped.items()})
            reports.append(category.report(splits, args))
            if not many:
                print(reports[-1], flush=True)
    except KeyboardInterrupt:
        print(f"{len(written)} categories are written, and stay as they are", flush=True)
        raise
    if not written:
        why = f": {reasons.most_common(1)[0][0]}" if reasons else ""
        raise ValueError(f"no drawing found in {source}{why}")
    return written, totals, reports


def main(argv: list[str] | None = None) -> int:
    """Import drawings, category by category; print what became of them, and the summary of inspect_data.py."""
    args = parse_args(argv)
    planned, left_out = plan(args.source, args)
    paths = {output_path(name, args.source, args) for _, categories in planned for name in categories.values()}
    existing = sorted(str(path) for path in paths if path.exists())
    if existing and not args.overwrite:
        more = f" and {len(existing) - 3} more" if len(existing) > 3 else ""
        raise ValueError(f"{', '.join(existing[:3])}{more} exist already; take another --name, or --overwrite")
    for what in left_out[:MAX_REASONS]:
        print(f"left out: {what}")
    if len(left_out) > MAX_REASONS:
        print(f"left out: {len(left_out) - MAX_REASONS} more")
    words = words_of(args.source) - {None} if args.source.is_file() else set()
    if len(words) > 1 and not args.by_word and args.name:
        print(f"{len(words)} words in one category; --by_word makes a category of each")
    written, totals, reports = write_categories(planned, args.source, args)
    title = args.name or plain_name(args.source.resolve().stem)
    if len(reports) > MANY:
        text = args.data_dir / "inspection" / f"{title}_import.txt"
        write_file(text, ("\n".join(reports) + "\n").encode())
        order = sorted(totals, key=lambda what: (*SPLITS, what).index(what))
        print(f"{len(written)} categories: {', '.join(f'{totals[what]:,} {what}' for what in order)}")
        print(f"of each category: {text}")
    print()
    inspect_files(written, args.data_dir / "inspection", title)
    names = [path.name for path in written]
    some = ",".join(names) if len(names) <= MANY else f"{names[0]},{names[1]},..."
    print(f'\nto train on it: --hparams "data_set=[{some}]"')
    return 0


if __name__ == "__main__":
    run_script(main)
