"""Mix drawings, and complete them, with a trained model.

    python sketch_pix2seq_edit.py --interpolate a.png b.png --steps 10   # four images: a square of drawings
    python sketch_pix2seq_edit.py --analogy a.png b.png c.png            # a - b + c
    python sketch_pix2seq_edit.py --complete begun.svg                   # goes on where you stopped
    python sketch_pix2seq_edit.py --complete --points 12                 # test drawings, from 12 points on

Look at ``<sampling_dir>/index.html`` or ``gallery.png``. Only --complete reads the data set: its test drawings, or
training drawings to find endings among; everything else needs the snapshot alone.
"""

from quiet_tensorflow import describe_device, tf

import argparse
import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model import Model, pad_strokes, point_losses
from pictures import MARGIN, Row, Tile
from read_strokes import Drawing, Skip, read_drawings
from render_svg2bitmap import rasterize_all
from sampler import (
    Picture,
    Sampler,
    add_drawing_flags,
    begin_lines,
    check_drawing_flags,
    check_flags_of_mode,
    choose_drawings,
    choose_mode,
    content_keys,
    exit_code,
    how_to_draw,
    load_split,
    make_sampler,
    parse_formats,
    usual_extent,
    write_rows,
)
from script import make_parser, run_script
from seeds import seed_for
from utils import category_name, lines_to_strokes, load_dataset, slerp

CANDIDATES = 500  # training drawings among which a beginning looks for its endings
MAX_PROMPTS = 20  # drawings of one file that are completed, unless --index says which
STROKE_FILES = (".svg", ".json", ".npz")


# ---------------------------------------------------------------------------------------------------------
# Mixtures


def load_exactly(sampler: Sampler, paths: list[str], flag: str, counts: tuple[int, ...]) -> list[Picture]:
    """``Sampler.load_pictures`` for a flag that takes so many images, the same one twice if asked for."""
    sampler.require_images(flag)
    if len(paths) not in counts:
        raise ValueError(f"{flag} takes {' or '.join(map(str, counts))} images, not {len(paths)}")
    loaded = [sampler.load_pictures([path]) for path in paths]
    if any(len(pictures) > 1 for pictures in loaded):
        raise ValueError(f"{flag} takes images, not directories")
    return [pictures[0] for pictures in loaded]


def encode_pictures(sampler: Sampler, pictures: list[Picture]) -> np.ndarray:
    """Codes ``[n, Z]``."""
    return sampler.encode(np.stack([picture.bitmap for picture in pictures]))


def interpolate(sampler: Sampler, paths: list[str], steps: int | None = None) -> list[Row]:
    """From one image to another in ``steps`` drawings, on the sphere between their codes; four images: a square."""
    pictures = load_exactly(sampler, paths, "--interpolate", (2, 4))
    codes, names = encode_pictures(sampler, pictures), [picture.path.stem for picture in pictures]
    sampler, ends = dataclasses.replace(sampler, num=1), [picture.tiles(picture.path.stem) for picture in pictures]
    if len(codes) == 2:
        shares = np.linspace(0, 1, steps or 10)
        drawings = sampler.draw(np.stack([slerp(*codes, t) for t in shares]), range(len(shares)))
        tiles = [Tile(f"{i:02d}", f"{t:.2f}", drawings[i][0]) for i, t in enumerate(shares)]
        return [Row("interpolation", f"{names[0]} to {names[1]}", [*ends[0], *tiles, *ends[1]])]
    shares = np.linspace(0, 1, steps or 6)
    left_top, right_top, left_bottom, right_bottom = codes
    square = [
        slerp(slerp(left_top, right_top, x), slerp(left_bottom, right_bottom, x), y) for y in shares for x in shares
    ]
    drawings = iter(sampler.draw(np.stack(square), range(len(square))))
    rows = [Row("corners", "corners", [tile for end in ends for tile in end])]
    for r, y in enumerate(shares):
        tiles = [Tile(f"{r:02d}_{c:02d}", f"{x:.2f} {y:.2f}", next(drawings)[0]) for c, x in enumerate(shares)]
        rows.append(Row("interpolation", "" if r else " to ".join(names), tiles))
    return rows


def analogy(sampler: Sampler, paths: list[str]) -> list[Row]:
    """a - b + c: what a has and b has not, added to c."""
    pictures = load_exactly(sampler, paths, "--analogy", (3,))
    a, b, c = encode_pictures(sampler, pictures)
    drawings = sampler.draw((a - b + c)[None], [0])[0]
    captions = [f"{sign}{picture.path.stem}" for sign, picture in zip(("", "- ", "+ "), pictures, strict=True)]
    given = [tile for picture, caption in zip(pictures, captions, strict=True) for tile in picture.tiles(caption)]
    return [Row("analogy", " ".join(captions), [*given, *sampler.tiles(drawings)])]


# ---------------------------------------------------------------------------------------------------------
# Drawings that a person began


class Prompt(NamedTuple):
    """The beginning of a drawing, normalised stroke-3."""

    name: str
    display: np.ndarray  # as the person drew it
    model_input: np.ndarray  # as the model knows lines: simplified if need be
    image: np.ndarray | None = None  # uint8 [H, W], of what it shall become
    target: np.ndarray | None = None  # the whole drawing, with the person's own ending
    page: np.ndarray | None = None  # [[left, top], [right, bottom]] of the page that the whole will fill

    def displayed(self, drawing: np.ndarray) -> np.ndarray:
        """A drawing that begins with ``model_input``, beginning with ``display`` instead."""
        return np.concatenate([self.display, drawing[len(self.model_input) :]])


def read_prompts(path: str, sampler: Sampler, index: list[int] | None, points: int | None) -> list[Prompt]:
    """The drawings in a stroke file (.npz, .json, units of the data) or an SVG, whose page is the whole drawing's.

    Raises FileNotFoundError, or ValueError naming the file.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() not in STROKE_FILES:
        raise ValueError(
            f"{path}: --complete reads {', '.join(STROKE_FILES)}; sketch_pix2seq_sampling.py --image reads pictures"
        )
    drawings = list(read_drawings(path))
    wrong = [i for i in index or () if not 0 <= i < len(drawings)]
    if wrong:
        raise ValueError(f"--index {wrong[0]}: {path} has drawings 0 to {len(drawings) - 1}")
    prompts = []
    for i in index or range(min(len(drawings), MAX_PROMPTS)):
        lines = drawings[i]
        if isinstance(lines, Skip) or not any(len(line) for line in lines):
            raise ValueError(f"{path}: drawing {i} has no strokes" + (f" ({lines})" if isinstance(lines, Skip) else ""))
        if path.suffix.lower() == ".svg":
            display, model_input, page = begin_svg(lines, sampler)
        else:
            display, model_input, page = *begin_strokes(path, lines, sampler), None
        if points is not None:
            display = model_input = first_points(model_input, points, f"{path}, drawing {i}")
        name = path.stem if len(drawings) == 1 else f"{path.stem}_{i}"
        prompts.append(Prompt(name, display, model_input, page=page))
    return prompts


def first_points(strokes: np.ndarray, points: int, where: str) -> np.ndarray:
    """The first points of a drawing that goes on after them. Raises ValueError."""
    if not 1 <= points < len(strokes):
        raise ValueError(f"--points {points}: {where} has {len(strokes)} points; expected 1 to {len(strokes) - 1}")
    return strokes[:points]


def begin_strokes(path: Path, lines: list[np.ndarray], sampler: Sampler) -> tuple[np.ndarray, np.ndarray]:
    """(display, model_input) of a drawing in the units of the data, which is known to be simplified."""
    strokes = lines_to_strokes(lines)
    strokes[:, :2] /= sampler.info["scale_factor"]
    # Drawings of such a model begin at the centre of their bounds. JSON of ours says where that is; else, the centre
    # of what there is must do. Other models never saw a jump.
    if not sampler.model.hps.use_position:
        strokes[0, :2] = 0
    elif path.suffix.lower() != ".json" or not strokes[0, :2].any():
        positions = np.cumsum(strokes[:, :2], axis=0)
        strokes[0, :2] -= (positions.min(axis=0) + positions.max(axis=0)) / 2
    return strokes, strokes


def begin_svg(drawing: Drawing, sampler: Sampler) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(display, model_input, page as of ``Prompt``) of an SVG's lines.

    The page is that of the whole drawing; without one, the lines are taken to be as large as the whole.
    """
    lines, size = list(drawing), drawing.page
    if size is None:
        points = np.concatenate(lines)
        extent = np.maximum(np.ptp(points, axis=0), 1e-6)
        size = tuple(extent + 2 * MARGIN / (1 - 2 * MARGIN) * extent.max())
        lines = [line - points.min(axis=0) + (np.array(size) - extent) / 2 for line in lines]
    display, model_input = begin_lines(lines, size, sampler)
    half = np.array(size) * usual_extent(sampler) / (2 * max(size) * (1 - 2 * MARGIN))
    middle = np.zeros(2) if sampler.model.hps.use_position else half - lines[0][0] * half / (np.array(size) / 2)
    return display, model_input, np.stack([middle - half, middle + half])


def begin_test_drawings(args: argparse.Namespace, sampler: Sampler) -> list[Prompt]:
    """The first ``--points`` points (default: half) of drawings of the data set, with the bitmaps of the whole."""
    loader, hps = load_split(args.data_dir, sampler.model.hps, args.split)
    chosen = args.category, args.index, args.num_drawings or 6, args.seed
    prompts = []
    for index in choose_drawings(loader, hps, *chosen, longer_than=args.points or 1):
        strokes = loader.strokes(index)
        points = max(1, len(strokes) // 2) if args.points is None else args.points
        begun = first_points(strokes, points, f"{args.split or 'test'} drawing {index}")
        image = loader.images[index] if hps.conditional else None
        name = f"{category_name(hps.data_set[loader.labels[index]])}_{index}"
        prompts.append(Prompt(name, begun, begun, image, strokes))
    return prompts


def fitting_codes(model: Model, strokes: np.ndarray, codes: np.ndarray, num: int) -> np.ndarray:
    """Of the codes ``[C, Z]``, the ``num`` with which the model is likeliest to draw ``strokes`` and go on."""
    length, count = len(strokes), len(codes)
    rows = tf.repeat(pad_strokes(strokes, [length], length + 1), count, axis=0)  # [C, length + 2, 5]
    params, _ = model.decode(rows[:, :-1], codes)
    stroke_loss, pen_loss = (
        tf.reshape(loss, [count, -1])[:, :-1] for loss in point_losses(params, rows[:, 1:])
    )  # [C, length]
    ends = params.pen.numpy().reshape(count, -1, 3)[:, -1, 2]
    losses = tf.reduce_sum(stroke_loss + pen_loss, axis=1).numpy() - np.log(np.maximum(1 - ends, 1e-6))
    return codes[np.resize(np.argsort(losses), num)]


def codes_for(args: argparse.Namespace, sampler: Sampler, prompts: list[Prompt]) -> np.ndarray:
    """A code for each variation of each prompt ``[N, V, Z]``.

    Of the whole's bitmap, where there is one; of the images ``--like``, in turn; else of those training drawings that
    the beginning fits best; without a data set, of the beginning itself.
    """
    model, variations = sampler.model, len(sampler.variations())
    if not model.hps.conditional:
        if args.like:
            raise ValueError(f"--like: the model in {args.model_dir} is unconditional, it sees no images")
        return np.zeros([len(prompts), variations, 0], np.float32)
    if args.like:
        codes = sampler.encode(sampler.load_images(args.like)[1])
        return np.tile(codes[np.resize(np.arange(len(codes)), variations)], [len(prompts), 1, 1])
    if prompts[0].image is not None:
        return np.repeat(sampler.encode(np.stack([prompt.image for prompt in prompts]))[:, None], variations, axis=1)
    beginnings = [prompt.model_input for prompt in prompts]
    try:
        train = load_dataset(args.data_dir, model.hps, rasterize=rasterize_all)[0]
    except (FileNotFoundError, ValueError) as error:
        print(f"no training drawings to find endings among ({error}); --like says what it shall become")
        images = rasterize_all(beginnings, model.hps.img_H, model.hps.img_W)
        return np.repeat(sampler.encode(images)[:, None], variations, axis=1)
    candidates = np.random.default_rng(seed_for(args.seed, "choose", 1)).permutation(len(train))[:CANDIDATES]
    codes = sampler.encode(train.images[candidates])
    return np.stack([fitting_codes(model, strokes, codes, variations) for strokes in beginnings])


def complete(args: argparse.Namespace, sampler: Sampler) -> list[Row]:
    """Several endings of each drawing begun; the points given stay as they are."""
    hps = sampler.model.hps
    if hps.conditional:
        sampler.require_images("--complete")
    if args.complete:
        prompts = read_prompts(args.complete, sampler, args.index, args.points)
    else:
        prompts = begin_test_drawings(args, sampler)
    for name, points in ((prompt.name, len(prompt.model_input)) for prompt in prompts):
        if points >= hps.max_seq_len:
            raise ValueError(f"{name}: {points} points, and this model draws {hps.max_seq_len}; give fewer by --points")
    begun = [prompt.model_input for prompt in prompts]
    drawings = sampler.draw(codes_for(args, sampler, prompts), content_keys(begun), begun)
    rows = []
    for prompt, endings in zip(prompts, drawings, strict=True):
        points = len(prompt.display)
        tiles = [Tile("given", "given", prompt.display, prefix=points, given=True, written=False, box=prompt.page)]
        if prompt.target is not None:
            tiles.append(Tile("person", "the person's", prompt.target, prefix=points, given=True))
        endings = [prompt.displayed(drawing) for drawing in endings]
        rows.append(Row(prompt.name, prompt.name, [*tiles, *sampler.tiles(endings, points)]))
    return rows


# ---------------------------------------------------------------------------------------------------------
# The script

TITLES = {
    "interpolate": "From one drawing to another",
    "analogy": "An analogy",
    "complete": "Drawings completed",
}
MODES_OF = {  # flag -> the modes that it belongs to
    "num": ("analogy", "complete"),
    "crop": ("interpolate", "analogy", "complete"),
    "steps": ("interpolate",),
    "points": ("complete",),
    "like": ("complete",),
    "split": ("complete",),
    "index": ("complete",),
    "category": ("complete",),
    "num_drawings": ("complete",),
}


def parse_args(argv) -> argparse.Namespace:
    parser = make_parser(__doc__)
    mode = parser.add_argument_group("what to draw, one of")
    mode.add_argument("--interpolate", nargs="+", metavar="IMAGE", help="from one image to another, or between four")
    mode.add_argument("--analogy", nargs="+", metavar="IMAGE", help="three images a b c: a - b + c")
    begun = "finish a drawing begun (.svg, .json, .npz), or test drawings"
    mode.add_argument("--complete", nargs="?", const="", metavar="FILE", help=begun)
    how = parser.add_argument_group("of these modes alone")
    how.add_argument("--steps", type=int, help="drawings from one image to the next (default: 10; of four images: 6)")
    how.add_argument("--points", type=int, help="how many points are given (default: all of FILE; half a test drawing)")
    how.add_argument("--like", nargs="+", metavar="IMAGE", help="pictures of what a drawing in FILE shall become")
    add_drawing_flags(parser, num_drawings=6, temperature="0.1; completing: 0.3")
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> str:
    """The mode asked for. Raises ValueError for flags that do not go together."""
    mode = choose_mode(args, tuple(TITLES))
    if mode is None:
        raise ValueError(f"expected one of --{', --'.join(TITLES)}; sketch_pix2seq_sampling.py draws what it sees")
    check_flags_of_mode(args, mode, MODES_OF)
    check_drawing_flags(args, {"num_drawings": 1, "num": 1, "steps": 2, "points": 1})
    if mode == "interpolate" and len(args.temperature or [0]) > 1:
        raise ValueError("--interpolate draws at one --temperature")
    if args.complete and (args.category or args.num_drawings or args.split):
        raise ValueError("--split, --category and --num_drawings choose test drawings; in a file, --index does")
    if args.like and not args.complete:
        raise ValueError("--like goes with --complete FILE; test drawings have a bitmap of their own")
    return mode


def main(argv=None) -> int:
    """Draw as the command line says -> exit code."""
    args = parse_args(argv)
    mode, formats = check_args(args), parse_formats(args.format) or ["svg"]
    print(describe_device())
    temperatures = args.temperature or [0.3 if mode == "complete" else 0.1]
    sampler = make_sampler(args.model_dir, temperatures, **how_to_draw(args))
    print(f"weights of step {sampler.step} from {args.model_dir}")
    if mode == "interpolate":
        rows = interpolate(sampler, args.interpolate, args.steps)
    else:
        rows = analogy(sampler, args.analogy) if mode == "analogy" else complete(args, sampler)
    numbers = "shares of the way" if mode == "interpolate" else "temperatures"
    write_rows(args, sampler, TITLES[mode], rows, formats, rows, numbers)
    return exit_code(sampler)


if __name__ == "__main__":
    run_script(main)
