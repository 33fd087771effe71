"""How fast drawings become bitmaps, how well the engines agree, and how much of an image's drawing survives.

python datasets/benchmark_render.py speed datasets/npz/doodle_cat.npz     # against a CairoSVG parse per drawing
python datasets/benchmark_render.py inkscape datasets/npz/doodle_cat.npz  # a whole category, real Inkscape
python datasets/benchmark_render.py images datasets/npz/doodle_*.npz      # degraded images: is the right one found?
"""

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from read_image import load_image, open_image
from render_svg2bitmap import grid, make_pool, rasterize_all, render_category, svg_path, svg_text
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


def draw_large(strokes: np.ndarray, side: int, line: float, color=(25, 25, 35), paper=(250, 250, 248)) -> Image.Image:
    """A normalised drawing, its longer side ``side`` pixels, its lines ``line`` times as wide as in a bitmap."""
    import cairosvg

    svg = svg_text(strokes, DRAWING_SETTINGS["factor"], 30 + 4 * line, line, "rgb" + str(tuple(color)))
    svg = svg.replace('fill="white"', f'fill="rgb{tuple(paper)}"')
    svg = svg.replace("<path ", '<path stroke-linecap="round" stroke-linejoin="round" ')
    _, width, height = svg_path(strokes, DRAWING_SETTINGS["factor"], 30 + 4 * line)
    scale = side / max(width, height)
    png = cairosvg.svg2png(bytestring=svg.encode(), output_width=int(width * scale), output_height=int(height * scale))
    return Image.open(io.BytesIO(png)).convert("RGB")


def on_page(image: Image.Image, times: float, rng: np.random.Generator, paper=(250, 250, 248)) -> Image.Image:
    """The image somewhere on a page ``times`` as large, of 2,000 pixels at most."""
    page = Image.new("RGB", (int(image.width * times), int(image.height * times)), tuple(paper))
    position = rng.uniform(size=2) * (np.array(page.size) - image.size)
    page.paste(image, tuple(position.astype(int).tolist()))
    page.thumbnail((2000, 2000))
    return page


def tilt(image: Image.Image, amount: float, rng: np.random.Generator, paper=(250, 250, 248)) -> Image.Image:
    """Seen at an angle: every corner moved by up to ``amount`` of the shorter side."""
    width, height = image.size
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
    moved = corners + rng.uniform(-amount, amount, (4, 2)) * min(image.size)
    rows = []
    for (x, y), (u, v) in zip(moved, corners, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    coefficients = np.linalg.solve(np.array(rows), corners.ravel())
    perspective = Image.Transform.PERSPECTIVE
    return image.transform(
        image.size, perspective, coefficients.tolist(), Image.Resampling.BICUBIC, fillcolor=tuple(paper)
    )


def shade(image: Image.Image, shadow: float, noise: float, rng: np.random.Generator) -> Image.Image:
    """With light falling off to 1 - ``shadow`` across it, and noise of that many grey levels."""
    pixels = np.asarray(image, np.float32)
    down, across = np.mgrid[0 : 1 : pixels.shape[0] * 1j, 0 : 1 : pixels.shape[1] * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * across + np.sin(angle) * down
    slope = (slope - slope.min()) / max(np.ptp(slope), 1e-6)
    pixels = pixels * (1 - shadow * slope)[..., None] + rng.normal(0, noise, (*slope.shape, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def degrade(strokes: np.ndarray, rng: np.random.Generator) -> bytes:
    """A drawing as a bad photo, a JPEG of quality 30, with what befalls drawings on their way to a file."""
    line = float(np.exp(rng.uniform(np.log(0.3), np.log(4))))
    paper, color = rng.integers(215, 256, 3).tolist(), rng.integers(0, 90, 3).tolist()
    image = draw_large(strokes, int(rng.integers(350, 1400)), line, color, paper)
    if rng.random() < 0.4:
        image = on_page(image, rng.uniform(1.5, 4), rng, paper)
    image = image.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC, expand=True, fillcolor=tuple(paper))
    image = shade(tilt(image, 0.07, rng, paper), rng.uniform(0, 0.55), rng.uniform(2, 14), rng)
    if rng.random() < 0.25:
        image = Image.eval(image, lambda value: 255 - value)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=30)
    return buffer.getvalue()


def blurred(bitmaps: np.ndarray) -> np.ndarray:
    """Bitmaps ``[n, H, W]`` as vectors that hardly change when a line moves by a fiftieth of the page."""
    from scipy import ndimage

    blur = min(bitmaps.shape[1:]) / 24
    return ndimage.gaussian_filter(255.0 - bitmaps, (0, blur, blur)).reshape(len(bitmaps), -1)


def measure_images(paths: list[Path], count: int, seed: int, sheet: Path | None) -> None:
    """Print how many of ``count`` test drawings are found again, by the nearest clean bitmap, from a degraded image."""
    drawings = [d for path in paths for d in normalised(load_strokes(path), "test", count // len(paths))]
    clean, rng, tiles, right, seconds = rasterize_all(drawings, SIDE, SIDE), np.random.default_rng(seed), [], 0, 0.0
    keys = blurred(clean)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "degraded.jpg")
        for i, drawing in enumerate(drawings):
            file.write_bytes(degrade(drawing, rng))
            start = time.perf_counter()
            bitmap = load_image(file, SIDE, SIDE)
            seconds += time.perf_counter() - start
            right += np.square(keys - blurred(bitmap[None])).sum(axis=1).argmin() == i
            if i % max(1, len(drawings) // 40) == 0:
                enlarged = np.kron(clean[i], np.ones((2, 2), np.uint8))
                tiles.append(np.concatenate([before_and_after(file, bitmap), enlarged], axis=1))
    print(
        f"load_image: the nearest of {len(drawings)} clean bitmaps is the right one for {right} degraded images "
        f"({right / len(drawings):.1%}, chance {1 / len(drawings):.1%}); {seconds / len(drawings):.2f} s per image"
    )
    if sheet is not None:
        grid(tiles, 5, title="photo | load_image | training bitmap").save(sheet)


def before_and_after(file: str | Path, bitmap: np.ndarray) -> np.ndarray:
    """An image file and what ``load_image`` made of it, side by side: uint8 ``[2 H, 4 W]``."""
    height, width = (2 * side for side in bitmap.shape)
    image = open_image(Path(file))
    image.thumbnail((width, height))
    page = Image.new("L", (width, height), 190)
    page.paste(image.convert("L"), ((width - image.width) // 2, (height - image.height) // 2))
    return np.concatenate([np.asarray(page), np.kron(bitmap, np.ones((2, 2), np.uint8))], axis=1)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The flags; see the module's docstring."""
    parser = make_parser(__doc__)
    parser.add_argument("what", choices=("speed", "inkscape", "images"))
    parser.add_argument("npz", type=Path, nargs="+", help="categories")
    parser.add_argument("--workers", type=int, default=2, help="speed: processes")
    parser.add_argument("--count", type=int, default=200, help="images: drawings in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="images: write a contact sheet of some, a PNG")
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
    elif args.what == "inkscape":
        compare_engines(args.npz)
    else:
        measure_images(args.npz, args.count, args.seed, args.sheet)
    return 0


if __name__ == "__main__":
    run_script(main)
