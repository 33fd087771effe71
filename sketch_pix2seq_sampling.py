"""Draw what a trained model sees in bitmaps: in test drawings, or in your own images.

    python sketch_pix2seq_sampling.py                                     # 20 random test drawings
    python sketch_pix2seq_sampling.py --split valid --category doodle_cat --num_drawings 5 --seed 3
    python sketch_pix2seq_sampling.py --image scan.jpg photos/ --num 4 --temperature 0.1 0.4 --format svg,gif
    python sketch_pix2seq_sampling.py --unconditional                     # a decoder alone draws what it likes

Look at ``<sampling_dir>/index.html`` or ``gallery.png``. For each test drawing, ``<sampling_dir>/<index>/`` gets
``sample_gt.svg`` (the person's), ``sample_pred_cond.svg`` (the model's at temperature 0.1) and
``sample_pred_cond_100.svg`` (3 rows, temperatures 0.1 to 1.0 from left to right). Only test drawings read the data
set; everything else needs the snapshot alone. To mix and to complete drawings: sketch_pix2seq_edit.py.
"""

from quiet_tensorflow import describe_device

import argparse
import shlex
import sys
from pathlib import Path

import numpy as np

from pictures import Row, Tile
from render_svg2bitmap import draw_strokes
from sampler import (
    GUIDE,
    Sampler,
    add_drawing_flags,
    bitmap_tile,
    check_drawing_flags,
    check_flags_of_mode,
    choose_drawings,
    choose_mode,
    content_keys,
    draw_codes,
    encode_loader,
    exit_code,
    how_to_draw,
    load_split,
    make_sampler,
    parse_formats,
    unique_names,
    write_rows,
)
from script import add_switch, make_parser, run_script
from seeds import seed_for
from utils import DataLoader, category_name, get_bounds, lines_to_strokes, strokes_to_lines

TEMPERATURES = tuple(round(0.1 * k, 1) for k in range(1, 11))
GRID_ROWS = 3
GRID_SPACING = 20.0  # units of normalised strokes between the centres of drawings
FILES = ("sample_gt.svg", "sample_pred_cond.svg", "sample_pred_cond_100.svg")  # as the original names them
GALLERY_TEMPERATURES = (0.1, 0.3, 0.6, 1.0)


# ---------------------------------------------------------------------------------------------------------
# Test drawings


def join_drawings(drawings: list[np.ndarray], columns: int, spacing: float = GRID_SPACING) -> np.ndarray:
    """Stroke-3 drawings in rows of ``columns``, each centred on its bounds -> one stroke-3 drawing."""
    lines = []
    for i, drawing in enumerate(drawings):
        min_x, max_x, min_y, max_y = get_bounds(drawing)
        centre = np.array([(min_x + max_x) / 2, (min_y + max_y) / 2])
        shift = np.array([i % columns, i // columns]) * spacing - centre
        lines += [line + shift for line in strokes_to_lines(drawing)]
    return lines_to_strokes(lines)


def sample_drawings(sampler: Sampler, loader: DataLoader, indices: np.ndarray) -> list[list[np.ndarray]]:
    """For each index, ``GRID_ROWS`` x the temperatures drawings, all of one code."""
    model, seed = sampler.model, sampler.seed
    codes = encode_loader(model, loader, indices, sampler.noise, seed)
    count = GRID_ROWS * len(TEMPERATURES)
    temperatures = np.tile(TEMPERATURES, GRID_ROWS * len(indices))
    seeds = [seed_for(seed, "sample", index, 0, variation) for index in indices for variation in range(count)]
    images = None if model.reads_strokes else np.repeat(loader.images[indices], count, axis=0)
    how = {"images": images, "guide": sampler.guide, "pen_temperature": sampler.pen_temperature}
    drawings = draw_codes(model, np.repeat(codes, count, axis=0), temperatures, loader.max_seq_len, seeds, **how)
    return [drawings[start : start + count] for start in range(0, len(drawings), count)]


def write_drawings(directory: Path, truth: np.ndarray, drawings: list[np.ndarray]) -> None:
    """The three SVG files of one test drawing."""
    for name, drawing in zip(FILES, (truth, drawings[0], join_drawings(drawings, len(TEMPERATURES))), strict=True):
        draw_strokes(drawing, directory / name)


def temperature_tiles(drawings: list[np.ndarray]) -> list[Tile]:
    """A tile for each of ``TEMPERATURES``."""
    return [Tile(f"t{t:g}", f"{t:g}", drawing) for t, drawing in zip(TEMPERATURES, drawings, strict=True)]


def draw_test_drawings(args: argparse.Namespace, sampler: Sampler) -> list[Row]:
    """The original's three files for each test drawing -> a row for each."""
    loader, hps = load_split(args.data_dir, sampler.model.hps, args.split)
    indices = choose_drawings(loader, hps, args.category, args.index, args.num_drawings or 20, args.seed)
    samples, rows = sample_drawings(sampler, loader, indices), []
    for index, drawings in zip(indices, samples, strict=True):
        truth, category = loader.strokes(index), category_name(hps.data_set[loader.labels[index]])
        write_drawings(Path(args.sampling_dir, str(index)), truth, drawings)
        seen = bitmap_tile(loader.images[index], *["as a bitmap"] * sampler.model.reads_strokes)
        person = Tile("person", "the person's", truth, given=True, written=False)
        tiles = [seen, person, *temperature_tiles(drawings[: len(TEMPERATURES)])]
        rows.append(Row(str(index), f"{category} {index}", tiles, category, FILES))
    return rows


def gallery_rows(rows: list[Row]) -> list[Row]:
    """Of test drawings, what the gallery shows: the bitmap, the person's drawing, some of the temperatures."""
    shown = [0, 1, *(2 + TEMPERATURES.index(temperature) for temperature in GALLERY_TEMPERATURES)]
    gallery = []
    for row in rows:
        captions = row.category, "person", *(f"model, {temperature}" for temperature in GALLERY_TEMPERATURES)
        tiles = [row.tiles[i]._replace(caption=caption) for i, caption in zip(shown, captions, strict=True)]
        gallery.append(row._replace(tiles=tiles))
    return gallery


# ---------------------------------------------------------------------------------------------------------
# Other modes


def draw_images(sampler: Sampler, paths: list[str]) -> list[Row]:
    """Drawings of any images: a row for each image."""
    sampler.require_images("--image")
    pictures = sampler.load_pictures(paths)
    images = np.stack([picture.bitmap for picture in pictures])
    drawings = sampler.draw(sampler.encode(images), content_keys(images), images=images)
    rows = zip(unique_names([picture.path for picture in pictures]), pictures, drawings, strict=True)
    return [Row(name, name, [*picture.tiles(), *sampler.tiles(drawings)]) for name, picture, drawings in rows]


def draw_unconditionally(sampler: Sampler, sampling_dir: Path, num: int) -> list[Row]:
    """What a decoder alone likes to draw: a row for each of ``num`` drawings, a tile for each temperature."""
    model, count = sampler.model, len(TEMPERATURES)
    if model.hps.conditional:
        raise ValueError(f"--unconditional: the model in {sampler.model_dir} has an encoder; give it images by --image")
    seeds = [seed_for(sampler.seed, "sample", i, 0, k) for i in range(num) for k in range(count)]
    how = {"pen_temperature": sampler.pen_temperature}
    drawings = draw_codes(model, None, np.tile(TEMPERATURES, num), model.hps.max_seq_len, seeds, **how)
    draw_strokes(join_drawings(drawings, count), sampling_dir / "sample_pred_uncond.svg")
    rows = [temperature_tiles(drawings[start : start + count]) for start in range(0, len(drawings), count)]
    return [Row(f"unconditional_{i}", f"drawing {i}", tiles) for i, tiles in enumerate(rows)]


# ---------------------------------------------------------------------------------------------------------
# The script

MODES = ("image", "unconditional")
TITLES = {
    None: "Drawings of bitmaps",
    "image": "Drawings of images",
    "unconditional": "Drawings of nothing in particular",
}
MODES_OF = {  # flag -> the modes that it belongs to; None: test drawings, the default
    "num": ("image",),
    "temperature": ("image",),
    "greedy": ("image",),
    "guide": (None, "image"),
    "crop": ("image",),
    "noise": (None, "image"),
    "split": (None,),
    "index": (None,),
    "category": (None,),
    "num_drawings": (None, "unconditional"),
}
EDIT_FLAGS = ("--interpolate", "--analogy", "--complete", "--steps", "--points", "--like")


def parse_args(argv) -> argparse.Namespace:
    """Raises ValueError for a flag of sketch_pix2seq_edit.py."""
    argv = sys.argv[1:] if argv is None else [str(item) for item in argv]
    moved = [flag for flag in (item.partition("=")[0] for item in argv) if flag in EDIT_FLAGS]
    if moved:
        raise ValueError(f"{moved[0]} belongs to another script: python sketch_pix2seq_edit.py {shlex.join(argv)}")
    parser = make_parser(__doc__)
    mode = parser.add_argument_group("instead of test drawings, one of")
    mode.add_argument("--image", nargs="+", metavar="PATH", help="images, or directories of them, any size")
    add_switch(mode, "unconditional", "let a decoder without encoder draw what it likes")
    parser.add_argument(
        "--guide",
        type=int,
        metavar="K",
        help=f"keep of K candidates for each stroke that which covers ink; 1: plain (default: {GUIDE} with --image)",
    )
    add_drawing_flags(parser, num_drawings=20, temperature="0.1")
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> str | None:
    """The mode asked for, None for test drawings. Raises ValueError for flags that do not go together."""
    mode = choose_mode(args, MODES)
    check_flags_of_mode(args, mode, MODES_OF)
    check_drawing_flags(args, {"num_drawings": 1, "num": 1, "guide": 1})
    if args.greedy and args.guide:
        raise ValueError("--greedy has one candidate alone: no --guide")
    return mode


def main(argv=None) -> int:
    """Sample as the command line says -> exit code."""
    args = parse_args(argv)
    mode, formats = check_args(args), parse_formats(args.format)
    print(describe_device())
    guide = args.guide or (GUIDE if mode == "image" and not args.greedy else 1)
    sampler = make_sampler(args.model_dir, args.temperature or [0.1], **how_to_draw(args), guide=guide)
    print(f"weights of step {sampler.step} from {args.model_dir}")
    if mode is None and not sampler.model.hps.conditional:
        mode = "unconditional"
        check_flags_of_mode(args, mode, MODES_OF)
    if mode == "image":
        rows, formats = draw_images(sampler, args.image), formats or ["svg"]
    elif mode == "unconditional":
        rows = draw_unconditionally(sampler, Path(args.sampling_dir), args.num_drawings or 20)
    else:
        rows = draw_test_drawings(args, sampler)
    write_rows(args, sampler, TITLES[mode], rows, formats, gallery_rows(rows) if mode is None else rows)
    return exit_code(sampler)


if __name__ == "__main__":
    run_script(main)
