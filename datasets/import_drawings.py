"""Makes a training set of your own drawings: SVG, QuickDraw ndjson, sampled JSON, InkML, lists of points, .npz.

    python datasets/import_drawings.py SRC --name my_set [--data_dir datasets] [--epsilon 2]

SRC is a file or a directory. A directory's sub-directories are categories: each becomes
``<data_dir>/npz/<name>_<category>.npz``; what lies in SRC itself becomes ``<data_dir>/npz/<name>.npz``.
Every drawing goes through QuickDraw's recipe (see quickdraw_recipe.py) and begins at (0, 0), as QuickDraw's own do.

    .svg                an SVG is a drawing; see svg_lines.py
    .ndjson             QuickDraw's, raw or simplified: {"drawing": [[[x, ...], [y, ...]], ...]} in each line
    .json               {"format": "stroke-3", "drawings": [{"strokes": [[dx, dy, lifted], ...]}, ...]}, as sampled
    .npz                train, valid and test in stroke-3, as in datasets/npz
    .inkml              a file is a drawing, a <trace> a stroke
    .txt .csv .tsv      "x y" in each line, an empty line between strokes; a file is a drawing
"""

import argparse
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

# utils.py lives one directory up, and a script's own directory is all that Python looks in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from inspect_data import MAX_LEN, inspect_files
from quickdraw_recipe import simplify_drawing

from read_image import import_cairo
from utils import SPLITS, lines_to_strokes, load_strokes, npz_path, run_script, strokes_to_lines

MAX_RECORD_BYTES = 2_000_000  # of one line of ndjson
MAX_JSON_BYTES = 50_000_000
MAX_TEXT_BYTES = 5_000_000  # of InkML and lists of points: one drawing
MAX_POINTS = 100_000  # of a drawing as it comes
MAX_LENGTH = (
    40_000.0  # units of all strokes, 157 times the longer side: simplifying takes time in proportion to its square
)
SIZE = 255

Lines = list[np.ndarray]  # strokes [n, 2] of a drawing


class Skip(str):
    """Stands for a drawing that cannot be used: the reason."""


# ---- readers: a path -> drawings, or Skips for single ones; ValueError for a whole file -----------------------------


def read_svg(path: Path) -> Iterator[Lines | Skip]:
    """The drawing in an SVG file."""
    import_cairo()  # which svg_lines needs; says what to install
    from svg_lines import MAX_BYTES, read_svg_lines

    lines, left_out = read_svg_lines(_read_bytes(path, MAX_BYTES))
    if not lines:
        what = " and ".join(f"<{tag}>" for tag in sorted(left_out))
        yield Skip(f"no visible lines{f', only {what}' if what else ''}")
    else:
        yield lines


def read_ndjson(path: Path) -> Iterator[Lines | Skip]:
    """The drawings of QuickDraw's ndjson, raw (with times) or simplified, one a line."""
    with path.open("rb") as file:
        while record := file.readline(MAX_RECORD_BYTES + 1):
            if len(record) > MAX_RECORD_BYTES:
                while record and not record.endswith(b"\n"):
                    record = file.readline(MAX_RECORD_BYTES)
                yield Skip(f"a line of more than {MAX_RECORD_BYTES:,} bytes")
            elif record.strip():
                try:
                    yield _ndjson_drawing(_parse_json(record))
                except ValueError as error:
                    yield Skip(str(error))


def _ndjson_drawing(record: object) -> Lines:
    strokes = record.get("drawing") if isinstance(record, dict) else None
    if not isinstance(strokes, list):
        raise ValueError('no "drawing"')
    lines = []
    for stroke in strokes:
        if not isinstance(stroke, list) or len(stroke) < 2:
            raise ValueError("a stroke that is not [[x, ...], [y, ...]]")
        lines.append(_numbers(stroke[:2], (2, None)).T)
    return lines


def read_json(path: Path) -> Iterator[Lines | Skip]:
    """The drawings of a JSON file as the sampling script writes it: stroke-3 in the units of the data."""
    content = _parse_json(_read_bytes(path, MAX_JSON_BYTES))
    if not isinstance(content, dict) or content.get("format") != "stroke-3" or "drawings" not in content:
        raise ValueError('JSON without "format": "stroke-3" and "drawings"')
    drawings = content["drawings"]
    for drawing in drawings if isinstance(drawings, list) else [drawings]:
        try:
            strokes = drawing.get("strokes") if isinstance(drawing, dict) else None
            yield strokes_to_lines(_numbers(strokes, (None, 3))) if strokes else Skip("no strokes")
        except ValueError as error:
            yield Skip(str(error))


def read_npz(path: Path) -> Iterator[Lines | Skip]:
    """The drawings of an .npz, all splits in one."""
    strokes = load_strokes(path)
    yield from (strokes_to_lines(drawing) for split in SPLITS for drawing in strokes[split])


def read_inkml(path: Path) -> Iterator[Lines | Skip]:
    """The drawing in an InkML file."""
    import_cairo()
    from svg_lines import parse_xml

    root = parse_xml(_read_bytes(path, MAX_TEXT_BYTES))
    if root.tag != "ink":
        raise ValueError(f"the root element is {root.tag}, not ink")
    channels = [channel.get("name") for channel in root.iter("channel")]
    columns = [channels.index(name) if name in channels else i for i, name in enumerate("XY")]
    lines = []
    for trace in root.iter("trace"):
        text = (trace.text or "").strip()
        if re.search(r"""['"!*?]""", text):
            raise ValueError("InkML with differences or wild cards instead of positions")
        if text:
            rows = [row.split() for row in text.strip(",").split(",")]
            lines.append(_numbers([[_float(row[i]) for i in columns if i < len(row)] for row in rows], (None, 2)))
    yield lines


def read_points(path: Path) -> Iterator[Lines | Skip]:
    """The drawing in a text file of positions: x and y in a line, an empty line between strokes."""
    strokes: list[list] = [[]]
    text = _read_bytes(path, MAX_TEXT_BYTES).decode("utf-8-sig", errors="replace")
    for number, row in enumerate(text.splitlines()):
        columns = re.split(r"[\s,;]+", row.strip(" \t,;"))
        if columns == [""]:
            strokes.append([])
        elif not columns[0].startswith("#"):
            try:
                strokes[-1].append([_float(column) for column in columns[:2]])
            except ValueError:
                if number > 0:  # the first line may hold the columns' names
                    raise ValueError(f"line {number + 1} is no position: {row[:40]!r}") from None
    yield [_numbers(stroke, (None, 2)) for stroke in strokes if stroke]


READERS: dict[str, Callable[[Path], Iterator[Lines | Skip]]] = {
    ".svg": read_svg,
    ".ndjson": read_ndjson,
    ".json": read_json,
    ".npz": read_npz,
    ".inkml": read_inkml,
    ".txt": read_points,
    ".csv": read_points,
    ".tsv": read_points,
}


def _read_bytes(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"more than {limit:,} bytes")
    return data


def _parse_json(data: bytes) -> object:
    """Parsed JSON. Raises ValueError, also for NaN, Infinity and nesting that goes too deep."""

    def refuse(constant):
        raise ValueError(f"broken JSON ({constant} is no number)")

    try:
        return json.loads(data, parse_constant=refuse)
    except RecursionError:
        raise ValueError("broken JSON (nested too deep)") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON ({error.msg})") from None
    except UnicodeDecodeError:
        raise ValueError("broken JSON (not UTF-8)") from None


def _float(text: str) -> float:
    """A number. Python reads "1_000" and "infinity" as numbers, files do not mean that."""
    if "_" in text:
        raise ValueError(f"{text[:40]!r} is no number")
    return float(text)


def _numbers(values: object, shape: tuple[int | None, int | None]) -> np.ndarray:
    """A list of lists as a float array of the given shape (None: any). Raises ValueError."""
    try:
        array = np.array(values)
    except (ValueError, TypeError, OverflowError):
        raise ValueError("a stroke whose x and y differ in number") from None
    if array.dtype.kind not in "iuf":
        raise ValueError("a stroke with something that is no number")
    if array.ndim != 2 or any(
        want is not None and want != found for want, found in zip(shape, array.shape, strict=True)
    ):
        raise ValueError(f"a stroke of shape {array.shape}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a number that is not finite")
    return array


# ---- a drawing as it comes -> stroke-3 ------------------------------------------------------------------------------


def to_strokes(lines: Lines, epsilon: float = 2.0) -> np.ndarray:
    """A drawing, strokes [n, 2] in any unit, through QuickDraw's recipe: stroke-3, int16 [n_points, 3], from (0, 0).

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
        raise ValueError(
            f"more than {MAX_POINTS:,} points, or more than {MAX_LENGTH / SIZE:.0f} times its size in lines"
        )
    simple = _find_grid(lines, epsilon) or simplify_drawing(lines, epsilon, SIZE)
    return lines_to_strokes([line - simple[0][0] for line in simple]).astype(np.int16)


def _find_grid(lines: Lines, epsilon: float) -> Lines | None:
    """The drawing on the recipe's grid of whole numbers, if it is on it already and the recipe would change little.

    Simplifying twice would drop points that survived once only by rounding. The longer side of a simplified drawing may
    be a little short of 255, and its points have no common divisor there: those of a coarser grid are a coincidence.
    """
    origin, extent = np.concatenate(lines).min(axis=0), np.ptp(np.concatenate(lines), axis=0).max()
    for size in range(SIZE, SIZE - 7, -1):
        exact = (np.concatenate(lines) - origin) * (size / extent)
        grid = np.rint(exact).astype(int)
        if np.abs(exact - grid).max() < 0.05 and np.gcd.reduce(grid.ravel()) == 1:
            found = np.split(grid, np.cumsum([len(line) for line in lines])[:-1])
            again = simplify_drawing(found, epsilon, size)
            # Simplified drawings lose up to 14 % of their points the second time, raw ones 40-90 %.
            return found if sum(map(len, again)) >= 0.8 * len(grid) else None
    return None


def fitting_epsilon(lines: Lines, epsilon: float, max_len: int = MAX_LEN) -> float | None:
    """The smallest epsilon, in steps of 0.5 from `epsilon`, that leaves at most `max_len` points, or None."""

    def fits(steps: int) -> bool:
        return len(to_strokes(lines, epsilon + 0.5 * steps)) <= max_len

    high = 1
    while not fits(high):
        high *= 2
        if 0.5 * high > SIZE:
            return None  # each stroke keeps its two ends
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return epsilon + 0.5 * high


# ---- a directory -> files -------------------------------------------------------------------------------------------


@dataclass
class Collection:
    """What was found for one category."""

    drawings: dict[bytes, np.ndarray] = field(default_factory=dict)  # by their bytes: each only once
    found: int = 0
    files: int = 0
    duplicates: int = 0
    skipped: Counter = field(default_factory=Counter)  # by reason
    example: dict[str, str] = field(default_factory=dict)  # where a reason occurred first
    too_long: list[tuple[int, float | None, str]] = field(default_factory=list)  # (points, fitting epsilon, where)

    def skip(self, reason: str, where: str) -> None:
        """Count something that was skipped."""
        self.skipped[reason] += 1
        self.example.setdefault(reason, where)

    def add(self, lines: Lines, epsilon: float, where: str) -> None:
        """Take a drawing in, if it is one and is new."""
        self.found += 1
        try:
            strokes = to_strokes(lines, epsilon)
        except ValueError as error:
            self.skip(str(error), where)
            return
        key = strokes.tobytes()
        if key in self.drawings:
            self.duplicates += 1
            return
        self.drawings[key] = strokes
        if len(strokes) > MAX_LEN:
            known = max((fit for _, fit, _ in self.too_long if fit), default=epsilon)
            fit = (
                known
                if known > epsilon and len(to_strokes(lines, known)) <= MAX_LEN
                else fitting_epsilon(lines, epsilon)
            )
            self.too_long.append((len(strokes), fit, where))


def find_files(source: Path) -> dict[str, list[Path]]:
    """Files by category ("": those in `source` itself), in order of name; no hidden ones, no links to directories.

    Raises FileNotFoundError.
    """
    if source.is_file():
        return {"": [source]}
    if not source.is_dir():
        raise FileNotFoundError(f"{source} not found; wanted a file of drawings or a directory of them")
    files: dict[str, list[Path]] = {}
    for directory, directories, names in os.walk(source):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        parts = Path(directory).relative_to(source).parts
        category = re.sub(r"[^\w-]+", "_", parts[0]) if parts else ""
        paths = [Path(directory) / name for name in sorted(names) if not name.startswith(".")]
        files.setdefault(category, []).extend(path for path in paths if path.is_file())  # not a pipe, not a device
    return files


def collect(files: list[Path], source: Path, epsilon: float, progress: tqdm | None = None) -> Collection:
    """Read all drawings of a category; what cannot be read is counted by reason."""
    collection = Collection()
    for path in files:
        where = str(path.relative_to(source)) if source.is_dir() else path.name
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            collection.skip(f"files {path.suffix or 'without ending'}: not a format of drawings", where)
            continue
        collection.files += 1
        try:
            for number, drawing in enumerate(reader(path), 1):
                place = where if number == 1 else f"{where}, drawing {number}"
                if isinstance(drawing, Skip):
                    collection.found += 1
                    collection.skip(drawing, place)
                else:
                    collection.add(drawing, epsilon, place)
                if progress is not None:
                    progress.update()
        except (ValueError, OSError, MemoryError) as error:
            collection.skip(str(error).removeprefix(f"{path}: ").removeprefix(f"{path}, "), where)
    return collection


def split_drawings(drawings: list[np.ndarray], valid: float, test: float, seed: int) -> dict[str, list[np.ndarray]]:
    """Shuffle by `seed` and split; a split that is wanted at all gets at least one of three or more drawings."""
    order = np.random.default_rng(seed).permutation(len(drawings))
    least = 1 if len(drawings) >= 3 else 0
    n_valid, n_test = (max(least, round(share * len(drawings))) if share > 0 else 0 for share in (valid, test))
    shuffled = [drawings[i] for i in order]
    return {
        "train": shuffled[n_valid + n_test :],
        "valid": shuffled[:n_valid],
        "test": shuffled[n_valid : n_valid + n_test],
    }


def save_splits(path: Path, splits: dict[str, list[np.ndarray]]) -> None:
    """Write an .npz as QuickDraw's are: an object array of stroke-3 drawings for each split."""
    arrays = {}
    for split in SPLITS:
        arrays[split] = np.empty(len(splits[split]), dtype=object)
        for i, drawing in enumerate(splits[split]):  # one by one: drawings of one length would become one block
            arrays[split][i] = drawing
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def report(path: Path, collection: Collection, splits: dict[str, list[np.ndarray]], epsilon: float) -> str:
    """What became of a category's drawings, in words."""
    sizes = ", ".join(f"{split} {len(splits[split])}" for split in SPLITS)
    skipped = sum(collection.skipped.values())
    text = [
        f"{path}: {len(collection.drawings)} drawings ({sizes}) from {collection.files} files",
        f"  removed: {collection.duplicates} duplicates",
        f"  skipped: {skipped}",
    ]
    for reason, count in collection.skipped.most_common(20):
        text.append(f"    {count} x {reason} (first: {collection.example[reason]})")
    if len(collection.skipped) > 20:
        text.append(f"    and {len(collection.skipped) - 20} more reasons")
    if collection.too_long:
        points, _, where = max(collection.too_long, key=lambda item: item[0])
        text.append(
            f"  over {MAX_LEN} points: {len(collection.too_long)} (longest: {where}, {points}); training skips them"
        )
        fits = [fit for _, fit, _ in collection.too_long if fit is not None]
        hopeless = len(collection.too_long) - len(fits)
        if fits:
            which = "all of them" if not hopeless else f"{len(fits)} of them"
            text.append(f"    --epsilon {max(fits):g} (now {epsilon:g}) would make {which} fit")
        if hopeless:
            text.append(f"    {hopeless} have too many strokes to fit with any epsilon")
    return "\n".join(text)


def import_drawings(
    source: Path,
    name: str,
    data_dir: Path,
    epsilon: float = 2.0,
    valid: float = 0.05,
    test: float = 0.05,
    seed: int = 0,
    overwrite: bool = False,
) -> list[Path]:
    """Make `<data_dir>/npz/<name>[_<category>].npz` of all drawings in `source`; prints what became of them.

    Returns the files written. Raises ValueError or FileNotFoundError for a user's mistake, before anything is written.
    """
    if not re.fullmatch(r"[\w-][\w .-]*", name) or name.endswith(".npz"):
        raise ValueError(f"--name {name!r}: letters, digits, _ - and . only, without .npz")
    if not (valid >= 0 and test >= 0 and valid + test < 1):
        raise ValueError(f"--valid {valid} and --test {test} must be shares that leave something to train on")
    if not (math.isfinite(epsilon) and epsilon >= 0):
        raise ValueError(f"--epsilon {epsilon} must be a number, 0 or more")
    files = {category: paths for category, paths in find_files(source).items() if paths}
    paths = {category: npz_path(data_dir, f"{name}_{category}" if category else name) for category in files}
    there = [str(path) for path in paths.values() if path.exists()]
    if there and not overwrite:
        raise ValueError(f"{', '.join(there)} exists; take another --name, or --overwrite")
    with tqdm(unit=" drawings", disable=None, leave=False) as progress:
        collections = {category: collect(files[category], source, epsilon, progress) for category in files}
    written = []
    for category, collection in collections.items():
        splits = split_drawings(list(collection.drawings.values()), valid, test, seed)
        if collection.drawings:
            save_splits(paths[category], splits)
            written.append(paths[category])
        print(report(paths[category], collection, splits, epsilon), flush=True)
        if collection.drawings and not all(splits[split] for split in SPLITS):
            print("  a split is empty: training needs at least three drawings, and --valid and --test above 0")
    if not written:
        raise ValueError(f"no drawing found in {source}")
    return written


def main(argv: list[str] | None = None) -> int:
    """Import drawings, then print and save the summary that inspect_data.py makes of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SRC", type=Path, help="a file of drawings, or a directory of them")
    parser.add_argument("--name", required=True, help="name of the data set")
    parser.add_argument("--data_dir", type=Path, default=Path("datasets"), help="npz/ is in here (default: datasets)")
    parser.add_argument("--epsilon", type=float, default=2.0, help="how far a line may be off, of 255 (default: 2)")
    parser.add_argument("--valid", type=float, default=0.05, help="share of the validation split (default: 0.05)")
    parser.add_argument("--test", type=float, default=0.05, help="share of the test split (default: 0.05)")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace files of that name")
    args = parser.parse_args(argv)
    written = import_drawings(
        args.source, args.name, args.data_dir, args.epsilon, args.valid, args.test, args.seed, args.overwrite
    )
    print()
    inspect_files(written, args.data_dir / "inspection", args.name)
    data_set = ",".join(path.name for path in written)
    print(f'\nto train on it: --hparams "data_set=[{data_set}]"')
    return 0


if __name__ == "__main__":
    run_script(main)
