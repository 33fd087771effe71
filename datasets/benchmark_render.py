"""How fast drawings become bitmaps, and how well the engines agree.

python datasets/benchmark_render.py speed datasets/npz/doodle_cat.npz     # against a CairoSVG parse per drawing
python datasets/benchmark_render.py inkscape datasets/npz/doodle_cat.npz  # a whole category, real Inkscape
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from render_svg2bitmap import make_pool, rasterize_all, render_category
from script import make_parser, run_script
from utils import (
    DRAWING_SETTINGS,
    SPLITS,
    PackedStrokes,
    get_bounds,
    get_scale_factor,
    load_packed_strokes,
    load_strokes,
)

QUICKDRAW = (345, 75_000)  # categories, drawings in each
SIDE = 48
REPEATS = 4


def normalised(strokes: dict[str, list[np.ndarray]], split: str, count: int | None = None) -> list[np.ndarray]:
    """The first drawings of a split, divided by the scale factor of the category."""
    packed = PackedStrokes.pack(strokes[split][:count])
    packed.points[:, :2] /= get_scale_factor(strokes["train"])
    return packed.drawings()


def render_one_by_one(drawings: list[np.ndarray], directory: Path) -> None:
    """The way of the original, point by point: an SVG file, a parse by CairoSVG, a PNG, padded and saved again."""
    import cairosvg
    import svgwrite

    factor, padding = DRAWING_SETTINGS["factor"], DRAWING_SETTINGS["padding"]
    for i, drawing in enumerate(drawings):
        svg, png = str(directory / f"{i}.svg"), directory / f"{i}.png"
        letters, letter = [], "m"
        for x, y, lifted in drawing.tolist():
            letters.append(f"{letter}{x / factor},{y / factor}")
            letter = "m" if lifted else "l"
        min_x, max_x, min_y, max_y = get_bounds(drawing, factor)
        width, height = max_x - min_x + padding, max_y - min_y + padding
        page = svgwrite.Drawing(svg, size=(width, height))
        page.add(page.rect(insert=(0, 0), size=(width, height), fill="white"))
        start = f"M{padding / 2 - min_x},{padding / 2 - min_y} "
        page.add(page.path(start + " ".join(letters)).stroke("black", 1).fill("none"))
        page.save()
        cairosvg.svg2png(url=svg, write_to=str(png), scale=min(SIDE / width, SIDE / height))
        with Image.open(png) as image:
            bitmap = Image.new("L", (SIDE, SIDE), 255)
            bitmap.paste(image.convert("L"), (round((SIDE - image.width) / 2), round((SIDE - image.height) / 2)))
        bitmap.save(png)


def timed(work, clock=time.perf_counter) -> float:
    """Seconds that ``work()`` takes."""
    began = clock()
    work()
    return clock() - began


def measure_speed(path: Path, pool, folder: Path) -> None:
    """Print drawings per second of both ways for a category, and what all of QuickDraw would take.

    They are measured in turn, and the best of each counts; on a busy machine, processor time says more.
    """
    strokes = load_strokes(path)
    total = sum(len(strokes[split]) for split in SPLITS)
    some = normalised(strokes, "train", 100)

    packed = {split: PackedStrokes.pack(drawings) for split, drawings in strokes.items()}

    def render(pool, strokes):
        render_category(strokes, folder / "x_48x48.npz", SIDE, SIDE, "cairo", pool)

    ways = {
        "one SVG file, CairoSVG parse and PNG each": (len(some), lambda: render_one_by_one(some, folder)),
        "--render_mode=cairo, to the saved file": (total, lambda: render(pool, packed)),
        "the same, and reading the strokes": (total, lambda: render(pool, load_packed_strokes(path))),
    }
    turns = [{way: count / timed(work) for way, (count, work) in ways.items()} for _ in range(REPEATS)]
    rates = {way: max(turn[way] for turn in turns) for way in ways}
    points, slowest = np.mean([len(drawing) for drawing in strokes["train"]]), min(rates.values())
    print(f"{path.stem}: {total:,} drawings of {points:.0f} points, {SIDE} x {SIDE}")
    for way, rate in rates.items():
        print(f"  {way:42} {rate:8,.0f} drawings/s {rate / slowest:6.1f} x")
    works = (len(some), lambda: render_one_by_one(some, folder)), (total, lambda: render(None, packed))
    before, after = (min(timed(work, time.process_time) for _ in range(REPEATS)) / n * 1e6 for n, work in works)
    print(f"  processor time of one: {before:,.0f} and {after:,.0f} microseconds, {before / after:.1f} x on each core")
    hours = QUICKDRAW[0] * QUICKDRAW[1] / list(rates.values())[-1] / 3600
    print(f"  {QUICKDRAW[0]} categories x {QUICKDRAW[1]:,} such drawings: {hours:.1f} hours")


def compare_engines(paths: list[Path]) -> None:
    """Print how far the bitmaps of whole categories differ from mode cairo's, in grey levels."""
    for path in paths:
        strokes = load_strokes(path)
        drawings = [drawing for split in SPLITS for drawing in normalised(strokes, split)]
        ours = rasterize_all(drawings, SIDE, SIDE).astype(int)
        for mode in ("cairosvg", "inkscape"):
            began = time.perf_counter()
            chunks = (drawings[i : i + 800] for i in range(0, len(drawings), 800))
            theirs = np.concatenate([rasterize_all(chunk, SIDE, SIDE, mode) for chunk in chunks])
            rate = len(drawings) / (time.perf_counter() - began)
            difference = np.abs(ours - theirs)
            each = difference.mean(axis=(1, 2))
            print(
                f"{path.stem}, {len(drawings):,} drawings, cairo against {mode}: mean {each.mean():.4f}, worst drawing "
                f"{each.max():.4f}, worst pixel {difference.max()}; {mode} on one core {rate:,.0f} drawings/s"
            )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The flags; see the module's docstring."""
    parser = make_parser(__doc__)
    parser.add_argument("what", choices=("speed", "inkscape"))
    parser.add_argument("npz", type=Path, nargs="+", help="categories")
    parser.add_argument("--workers", type=int, default=2, help="speed: processes")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure what is asked for, and print it."""
    args = parse_args(argv)
    if args.what == "speed":
        pool = make_pool(args.workers)
        list(pool.map(len, [""] * args.workers * 4))  # started
        with pool, tempfile.TemporaryDirectory() as directory:
            for path in args.npz:
                measure_speed(path, pool, Path(directory))
    else:
        compare_engines(args.npz)
    return 0


if __name__ == "__main__":
    run_script(main)
