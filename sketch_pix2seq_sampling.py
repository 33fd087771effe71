"""Draw what a trained model sees in bitmaps: test drawings, your own images, mixtures of them, drawings begun.

    python sketch_pix2seq_sampling.py                                     # 20 random test drawings
    python sketch_pix2seq_sampling.py --split valid --category doodle_cat --num_drawings 5 --seed 3
    python sketch_pix2seq_sampling.py --image scan.jpg photos/ --num 4 --temperature 0.1 0.4 --format svg,gif
    python sketch_pix2seq_sampling.py --interpolate a.png b.png --steps 10        # four images: a square of drawings
    python sketch_pix2seq_sampling.py --analogy a.png b.png c.png                 # a - b + c
    python sketch_pix2seq_sampling.py --complete begun.svg                        # goes on where you stopped
    python sketch_pix2seq_sampling.py --complete --points 12                      # test drawings, from 12 points on

Look at ``<sampling_dir>/index.html`` or ``gallery.png``. For each test drawing, ``<sampling_dir>/<index>/`` gets
``sample_gt.svg`` (the person's), ``sample_pred_cond.svg`` (the model's at temperature 0.1) and
``sample_pred_cond_100.svg`` (3 rows, temperatures 0.1 to 1.0 from left to right). Only test drawings and --complete
read the data set; everything else needs the snapshot alone.
"""

import argparse
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont
from sketch_pix2seq_pictures import FORMATS, MARGIN, Cell, Look, Row, make_look, write_page, write_pictures, write_sheet
from tqdm import tqdm

from model import Model, find_snapshot, load_data_info, load_hparams, load_snapshot, point_losses, sample_batch
from read_image import DEFAULT_LINE_WIDTH
from render_svg2bitmap import contact_sheet, draw_strokes, load_image, rasterize, rasterize_all
from utils import (
    DRAWING_SETTINGS,
    DataLoader,
    add_switch,
    category_name,
    get_bounds,
    lines_to_strokes,
    load_dataset,
    pad_batch,
    run_script,
    slerp,
    strokes_to_lines,
    to_normal_strokes,
)

TEMPERATURES = tuple(round(0.1 * k, 1) for k in range(1, 11))
GRID_ROWS = 3
GRID_SPACING = 20.0  # units of normalised strokes between the centres of drawings
GALLERY_TEMPERATURES = (0.1, 0.3, 0.6, 1.0)
CANDIDATES = 500  # training drawings among which a beginning looks for its endings
MAX_BEGUN = 20  # drawings of one file that are completed, unless --index says which
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".svg")
TOGETHER = 500  # drawings in one sampling loop: enough for full speed, and memory stays small


def load_model(model_dir: str | Path) -> tuple[Model, int]:
    """The model of a snapshot directory and its step. Raises FileNotFoundError or ValueError with the remedy."""
    if find_snapshot(model_dir) is None:
        raise FileNotFoundError(f"no snapshot in {model_dir}; train one, or name another directory by --model_dir")
    model = Model(load_hparams(model_dir))
    return model, load_snapshot(model, model_dir)


def encode_images(model: Model, images: np.ndarray, noise: bool, seed: int) -> np.ndarray:
    """Latent codes ``[N, Z]`` of bitmaps ``[N, H, W, 1]``: the mean, or mean + sigma * noise as in the original."""
    parts = [model.encode(images[start : start + TOGETHER]) for start in range(0, len(images), TOGETHER)]
    return _codes(parts, noise, seed)


def encode_strokes(model: Model, drawings: list[np.ndarray], noise: bool, seed: int) -> np.ndarray:
    """``encode_images`` for a model that reads strokes: normalised stroke-3 drawings, each of one point or more."""
    parts = []
    for start in range(0, len(drawings), TOGETHER):
        part = [drawing if len(drawing) else np.zeros((1, 3)) for drawing in drawings[start : start + TOGETHER]]
        lengths = np.array([len(drawing) for drawing in part])
        strokes = pad_batch(np.concatenate(part), lengths, int(lengths.max()))[:, 1:]
        parts.append(model.encode_strokes(strokes, tf.constant(lengths, tf.int32)))
    return _codes(parts, noise, seed)


def encode_from(model: Model, loader: DataLoader, places: np.ndarray, noise: bool, seed: int) -> np.ndarray:
    """Latent codes ``[N, Z]`` of drawings of a loader: of their bitmaps, or of the strokes if the model reads those."""
    if model.reads_strokes:
        return encode_strokes(model, [loader.strokes(place) for place in places], noise, seed)
    return encode_images(model, loader.images[places][..., None].astype(np.float32), noise, seed)


def _codes(parts, noise, seed):
    """Codes from (mean, presig) of each part."""
    mean = np.concatenate([mean.numpy() for mean, _ in parts])
    if not noise:
        return mean
    sigma = np.exp(np.concatenate([presig.numpy() for _, presig in parts]) / 2.0)
    return mean + sigma * np.random.default_rng(seed).normal(size=mean.shape).astype(np.float32)


def draw_codes(
    model: Model,
    codes: np.ndarray | None,
    temperatures: np.ndarray,
    seq_len: int,
    seed: int,
    greedy: bool = False,
    given: list[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """One stroke-3 drawing for each row of codes ``[N, Z]`` (None: unconditional) and temperatures ``[N]``.

    Each begins with its ``given`` stroke-3 points, if any.
    """
    drawings, total = [], len(temperatures)
    for start in tqdm(range(0, total, TOGETHER), desc="drawing", unit="batch", disable=total <= TOGETHER):
        part = slice(start, start + TOGETHER)
        z, temperature = None if codes is None else codes[part], temperatures[part]
        begun = None if given is None else given[part]
        drawn = sample_batch(model, z, seq_len, temperature, greedy, len(temperature), seed + start, begun)
        drawings += [to_normal_strokes(strokes) for strokes in drawn]
    return drawings


def make_grid(drawings: list[np.ndarray], columns: int, spacing: float = GRID_SPACING) -> np.ndarray:
    """Stroke-3 drawings in rows of ``columns``, each centred on its bounds -> one stroke-3 drawing."""
    lines = []
    for place, drawing in enumerate(drawings):
        min_x, max_x, min_y, max_y = get_bounds(drawing)
        centre = np.array([(min_x + max_x) / 2, (min_y + max_y) / 2])
        shift = np.array([place % columns, place // columns]) * spacing - centre
        lines += [line + shift for line in strokes_to_lines(drawing)]
    return lines_to_strokes(lines)


def choose_drawings(
    loader: DataLoader, hps, category: str | None, index, num: int, seed: int, longer_than: int = 0
) -> np.ndarray:
    """Places in a loader: those named by ``index``, or ``num`` at random, of one category or of all.

    Those at random have more than ``longer_than`` points.
    """
    if index:
        if category is not None:
            raise ValueError("--index and --category do not go together; take one of them")
        wrong = [i for i in index if not 0 <= i < len(loader)]
        if wrong:
            raise ValueError(f"--index {wrong[0]}: there are drawings 0 to {len(loader) - 1}")
        return np.array(index)
    places = np.arange(len(loader))
    if category is not None:
        names = [category_name(data_set) for data_set in hps.data_set]
        if category_name(category) not in names:
            raise ValueError(f"--category {category}: this model knows {', '.join(names)}")
        places = places[loader.labels == names.index(category_name(category))]
    places = places[loader.packed.lengths[places] > longer_than]
    if not len(places):
        if longer_than:
            raise ValueError(f"--points {longer_than}: no drawing has more points")
        raise ValueError(f"--category {category}: no drawing in this split; take another --split")
    rng = np.random.default_rng(seed)
    return rng.choice(places, min(num, len(places)), replace=False)


def sample_drawings(model, loader, places, noise: bool, seed: int) -> list[list[np.ndarray]]:
    """For each place, its grid of drawings: ``GRID_ROWS`` x the temperatures, all of one latent code."""
    codes = encode_from(model, loader, places, noise, seed)
    per_place = GRID_ROWS * len(TEMPERATURES)
    temperatures = np.tile(TEMPERATURES, GRID_ROWS * len(places))
    drawings = draw_codes(model, np.repeat(codes, per_place, axis=0), temperatures, loader.max_seq_len, seed)
    return [drawings[start : start + per_place] for start in range(0, len(drawings), per_place)]


def write_drawings(sampling_dir: Path, place: int, truth: np.ndarray, grid: list[np.ndarray]) -> None:
    """The three SVG files of one drawing, named as the original names them."""
    directory = sampling_dir / str(place)
    directory.mkdir(parents=True, exist_ok=True)
    draw_strokes(truth, directory / "sample_gt.svg")
    draw_strokes(grid[0], directory / "sample_pred_cond.svg")
    draw_strokes(make_grid(grid, len(TEMPERATURES)), directory / "sample_pred_cond_100.svg")


def write_gallery(path: Path, images: np.ndarray, truths, grids, captions: list[str]) -> None:
    """A PNG of one row a drawing: bitmap, person's drawing, model's drawings at several temperatures.

    images uint8 ``[n, H, W]``, truths and grids as ``sample_drawings`` makes them; many rows stand in two blocks.
    """
    tile, gap, head, margin = 120, 10, 36, 120
    titles = ["bitmap", "person", *(f"model, {temperature}" for temperature in GALLERY_TEMPERATURES)]
    blocks = 2 if len(truths) > 8 else 1
    rows = -(-len(truths) // blocks)
    width, height = margin + len(titles) * (tile + gap) + gap, head + rows * (tile + gap)
    page = Image.new("RGB", (blocks * width, height), "#f4f1ea")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    for place, (image, truth, grid) in enumerate(zip(images, truths, grids, strict=True)):
        left, top = place // rows * width + margin, head + place % rows * (tile + gap)
        pen.text((left - margin // 2, top + tile // 2), captions[place].replace("_", "\n"), "#444", font, anchor="mm")
        drawings = [truth, *(grid[TEMPERATURES.index(temperature)] for temperature in GALLERY_TEMPERATURES)]
        tiles = [Image.fromarray(image).resize((tile, tile), Image.Resampling.NEAREST)]
        tiles += [Image.fromarray(rasterize(drawing, tile, tile)) for drawing in drawings]
        for column, (picture, title) in enumerate(zip(tiles, titles, strict=True)):
            page.paste(picture, (left + column * (tile + gap), top))
            if place % rows == 0:
                pen.text((left + column * (tile + gap) + tile // 2, head // 2), title, "#444", font, anchor="mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def sample_unconditional(model: Model, sampling_dir: Path, num: int, seq_len: int, seed: int) -> list[Row]:
    """What a decoder alone likes to draw: a row for each of ``num`` drawings, a column for each temperature."""
    temperatures = np.tile(TEMPERATURES, num)
    drawings = draw_codes(model, None, temperatures, seq_len, seed)
    sampling_dir.mkdir(parents=True, exist_ok=True)
    draw_strokes(make_grid(drawings, len(TEMPERATURES)), sampling_dir / "sample_pred_uncond.svg")
    title = f"unconditional, temperature {TEMPERATURES[0]} to {TEMPERATURES[-1]}"
    contact_sheet(
        [rasterize(drawing, 128, 128) for drawing in drawings], sampling_dir / "gallery.png", len(TEMPERATURES), title
    )
    rows = [drawings[start : start + len(TEMPERATURES)] for start in range(0, len(drawings), len(TEMPERATURES))]
    return [Row(f"unconditional_{i}", f"drawing {i}", temperature_cells(row)) for i, row in enumerate(rows)]


def temperature_cells(drawings: list[np.ndarray]) -> list[Cell]:
    """A cell for each of ``TEMPERATURES``."""
    return [Cell(f"t{t:g}", f"{t:g}", drawing) for t, drawing in zip(TEMPERATURES, drawings, strict=True)]


# ---------------------------------------------------------------------------------------------------------
# One's own images


class Job(NamedTuple):
    """What all modes need."""

    model: Model
    info: dict  # scale_factor, and line_width in pixels of a bitmap: what the snapshot knows of its data
    temperatures: list[float]
    num: int  # drawings at each temperature
    greedy: bool
    noise: bool
    seed: int

    def variations(self) -> list[tuple[str, str, float]]:
        """(file name, caption, temperature) of each drawing made of one code."""
        if self.greedy:
            return [("greedy", "greedy", 1.0)]
        return [(f"t{t:g}_{k}", f"{t:g}", t) for t in self.temperatures for k in range(1, self.num + 1)]

    def draw(self, codes: np.ndarray) -> list[list[np.ndarray]]:
        """All variations of each of the codes ``[N, Z]``, in one go."""
        each = len(self.variations())
        temperatures = np.tile([t for *_, t in self.variations()], len(codes))
        codes, seq_len = np.repeat(codes, each, axis=0), self.model.hps.max_seq_len
        drawings = draw_codes(self.model, codes, temperatures, seq_len, self.seed, self.greedy)
        return [drawings[start : start + each] for start in range(0, len(drawings), each)]

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Codes ``[N, Z]`` of bitmaps uint8 ``[N, H, W]``."""
        return encode_images(self.model, images[..., None].astype(np.float32), self.noise, self.seed)

    def load_images(self, paths: list[str]) -> tuple[list[str], np.ndarray]:
        """(names, uint8 ``[n, H, W]``) of image files and of all images in directories.

        An image of a directory that is no drawing is passed over with a line; one that was named raises ValueError.
        """
        files, found = find_images(paths), {}
        for path, bitmap in zip(files, self._read(files), strict=True):
            if isinstance(bitmap, ValueError):
                if str(path) in map(str, map(Path, paths)):
                    raise bitmap
                tqdm.write(f"passed over: {bitmap}", file=sys.stderr)
            else:
                name = path.stem
                while name in found:
                    name += "_"
                found[name] = bitmap
        if not found:
            raise ValueError(f"no drawing in {', '.join(paths)}")
        return list(found), np.stack(list(found.values()))

    def _read(self, files: list[Path]) -> list[np.ndarray | ValueError]:
        """Each file's bitmap, or what is wrong with it; several at a time, as Pillow and SciPy let them."""
        hps = self.model.hps

        def read(path):
            try:
                return load_image(path, hps.img_H, hps.img_W, self.info["line_width"])
            except ValueError as error:
                return error
            except OSError as error:  # of a directory, somebody else's file
                return ValueError(f"{path}: {error.strerror or error}")

        # Threads share the warning filters, which load_image sets and puts back: bombs have to stay errors meanwhile.
        with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return list(tqdm(pool.map(read, files), "reading", len(files), unit=" images", disable=len(files) < 20))


def find_images(paths: list[str]) -> list[Path]:
    """Files named, and the images in directories named, in order of name. Raises FileNotFoundError."""
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            files += [
                file for file in sorted(path.iterdir()) if file.suffix.lower() in IMAGE_ENDINGS and file.is_file()
            ]
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f"{path} not found; wanted an image or a directory of images")
    return list(dict.fromkeys(files))


def seen_cell(image: np.ndarray, caption: str = "what it sees") -> Cell:
    """A bitmap that the model looked at."""
    return Cell("bitmap", caption, image=image)


def draw_images(job: Job, paths: list[str]) -> list[Row]:
    """Drawings of any images: a row an image."""
    names, images = job.load_images(paths)
    rows = zip(names, images, job.draw(job.encode(images)), strict=True)
    return [Row(name, name, [seen_cell(image), *variation_cells(job, drawings)]) for name, image, drawings in rows]


def variation_cells(job: Job, drawings: list[np.ndarray], given: int = 0) -> list[Cell]:
    """A cell for each of ``job.variations()``."""
    pairs = zip(job.variations(), drawings, strict=True)
    return [Cell(name, caption, drawing, given=given) for (name, caption, _), drawing in pairs]


def interpolate(job: Job, paths: list[str], steps: int) -> list[Row]:
    """From one image to another, on the sphere between their codes; four images are the corners of a square."""
    names, images = load_exactly(job, paths, "--interpolate", (2, 4))
    codes, places = job.encode(images), np.linspace(0, 1, steps)
    if len(codes) == 2:
        path = np.stack([slerp(*codes, t) for t in places])
        cells = [
            Cell(f"{i:02d}", f"{t:.2f}", drawings[0])
            for i, (t, drawings) in enumerate(zip(places, job.draw(path), strict=True))
        ]
        ends = [seen_cell(image, name) for name, image in zip(names, images, strict=True)]
        return [Row("interpolation", f"{names[0]} to {names[1]}", [ends[0], *cells, ends[1]])]
    left_top, right_top, left_bottom, right_bottom = codes
    square = [
        slerp(slerp(left_top, right_top, x), slerp(left_bottom, right_bottom, x), y) for y in places for x in places
    ]
    drawings = iter(job.draw(np.stack(square)))
    rows = [Row("corners", "corners", [seen_cell(image, name) for name, image in zip(names, images, strict=True)])]
    for r, y in enumerate(places):
        cells = [Cell(f"{r:02d}_{c:02d}", f"{x:.2f} {y:.2f}", next(drawings)[0]) for c, x in enumerate(places)]
        rows.append(Row("interpolation", "" if r else " to ".join(names), cells))
    return rows


def load_exactly(job: Job, paths: list[str], flag: str, counts: tuple[int, ...]) -> tuple[list[str], np.ndarray]:
    """``Job.load_images`` for a flag that takes so many images, the same one twice if asked for."""
    if len(paths) not in counts:
        raise ValueError(f"{flag} takes {' or '.join(map(str, counts))} images, not {len(paths)}")
    found = [job.load_images([path]) for path in paths]
    if any(len(names) > 1 for names, _ in found):
        raise ValueError(f"{flag} takes images, not directories")
    return [names[0] for names, _ in found], np.concatenate([images for _, images in found])


def analogy(job: Job, paths: list[str]) -> list[Row]:
    """a - b + c: what a has and b has not, added to c."""
    names, images = load_exactly(job, paths, "--analogy", (3,))
    a, b, c = job.encode(images)
    drawings = job.draw((a - b + c)[None])[0]
    seen = [
        seen_cell(image, f"{sign}{name}") for sign, name, image in zip(("", "- ", "+ "), names, images, strict=True)
    ]
    return [Row("analogy", f"{names[0]} - {names[1]} + {names[2]}", [*seen, *variation_cells(job, drawings)])]


# ---------------------------------------------------------------------------------------------------------
# Drawings that a person began


class Begun(NamedTuple):
    """The beginning of a drawing, normalised stroke-3."""

    name: str
    shown: np.ndarray  # as the person drew it
    fed: np.ndarray  # as the model knows lines: simplified if need be
    image: np.ndarray | None = None  # uint8 [H, W], of what it shall become
    whole: np.ndarray | None = None  # with the person's own ending

    def shown_with(self, drawing: np.ndarray) -> np.ndarray:
        """A drawing that begins with ``fed``, beginning with ``shown`` instead."""
        return np.concatenate([self.shown, drawing[len(self.fed) :]])


def read_begun(path: str, job: Job, index: list[int] | None, points: int | None) -> list[Begun]:
    """The drawings in a stroke file (.npz, .json, units of the data) or an SVG, whose page is the whole drawing's.

    Raises FileNotFoundError, or ValueError naming the file.
    """
    path = Path(path)
    datasets = str(Path(__file__).resolve().parent / "datasets")
    if datasets not in sys.path:  # its scripts find each other there; nobody else needs them
        sys.path.append(datasets)
    from import_drawings import READERS, Skip

    if not path.is_file():
        raise FileNotFoundError(f"{path} not found; wanted a drawing begun: .svg, .json or .npz")
    if path.suffix.lower() not in (".svg", ".json", ".npz"):
        raise ValueError(f"{path}: --complete reads .svg, .json and .npz; for a picture of pixels take --image")
    try:
        drawings = list(READERS[path.suffix.lower()](path))
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    wrong = [i for i in index or () if not 0 <= i < len(drawings)]
    if wrong:
        raise ValueError(f"--index {wrong[0]}: {path} has drawings 0 to {len(drawings) - 1}")
    begun = []
    for i in index if index else range(min(len(drawings), MAX_BEGUN)):
        lines = drawings[i]
        if isinstance(lines, Skip) or not any(len(line) for line in lines):
            raise ValueError(f"{path}: drawing {i} has no strokes" + (f" ({lines})" if isinstance(lines, Skip) else ""))
        shown, fed = begin_svg(path, lines, job) if path.suffix.lower() == ".svg" else begin_strokes(path, lines, job)
        if points is not None:
            shown = fed = first_points(fed, points, f"{path}, drawing {i}")
        begun.append(Begun(path.stem if len(drawings) == 1 else f"{path.stem}_{i}", shown, fed))
    return begun


def first_points(strokes: np.ndarray, points: int, where: str) -> np.ndarray:
    """The first points of a drawing that goes on after them. Raises ValueError."""
    if not 1 <= points < len(strokes):
        raise ValueError(f"--points {points}: {where} has {len(strokes)} points; wanted 1 to {len(strokes) - 1}")
    return strokes[:points]


def begin_strokes(path: Path, lines: list[np.ndarray], job: Job) -> tuple[np.ndarray, np.ndarray]:
    """(shown, fed) of a drawing in the units of the data, which is known to be simplified."""
    strokes = lines_to_strokes(lines)
    strokes[:, :2] /= job.info["scale_factor"]
    # Drawings of such a model begin at the centre of their page. JSON of ours says where that is; else, the centre of
    # what there is must do. Other models never saw a jump.
    if not job.model.hps.pen_position:
        strokes[0, :2] = 0
    elif path.suffix.lower() != ".json" or not strokes[0, :2].any():
        positions = np.cumsum(strokes[:, :2], axis=0)
        strokes[0, :2] -= (positions.min(axis=0) + positions.max(axis=0)) / 2
    return strokes, strokes


def begin_svg(path: Path, lines: list[np.ndarray], job: Job) -> tuple[np.ndarray, np.ndarray]:
    """(shown, fed) of an SVG's lines, which lie on a page ``PAGE_WIDTH`` wide."""
    from quickdraw_recipe import resample_line, simplify_line
    from svg_lines import PAGE_WIDTH

    page = np.array([PAGE_WIDTH, PAGE_WIDTH * page_shape(path)])
    settings = DRAWING_SETTINGS
    side = min(job.model.hps.img_H, job.model.hps.img_W) / job.info["line_width"] * settings["line_width"]
    extent = (side - settings["padding"]) * settings["factor"]  # of a usual drawing, normalised
    scale = extent / (page.max() * (1 - 2 * MARGIN))
    lines = [(line - page / 2) * scale for line in lines if len(line)]
    unit = extent / 255  # QuickDraw's recipe: resampled at 1, simplified within 2, of 255
    simple = [simplify_line(resample_line(line, unit), 2 * unit) if len(line) > 1 else line for line in lines]
    shown, fed = lines_to_strokes(lines), lines_to_strokes(simple)
    if not job.model.hps.pen_position:
        shown[0, :2] = fed[0, :2] = 0
    return shown, fed


def page_shape(path: Path) -> float:
    """Height / width of an SVG's page; 1 where it does not say."""
    from svg_lines import parse_xml

    root = parse_xml(path.read_bytes())
    numbers = root.get("viewBox", "").replace(",", " ").split()[2:] or [root.get("width", ""), root.get("height", "")]
    try:
        width, height = (float(number.removesuffix("px")) for number in numbers)
        return height / width if width > 0 and height > 0 else 1.0
    except ValueError:
        return 1.0


def begin_test_drawings(args, job: Job) -> list[Begun]:
    """The first ``--points`` points (default: half) of drawings of the data set, with the bitmaps of the whole."""
    loader, hps = load_split(args, job.model.hps)
    begun = []
    chosen = (args.category, args.index, args.num_drawings or 6, args.seed)
    for place in choose_drawings(loader, hps, *chosen, longer_than=args.points or 1):
        strokes = loader.strokes(place)
        points = max(1, len(strokes) // 2) if args.points is None else args.points
        given = first_points(strokes, points, f"{args.split or 'test'} drawing {place}")
        image = loader.images[place] if hps.conditional else None
        name = f"{category_name(hps.data_set[loader.labels[place]])}_{place}"
        begun.append(Begun(name, given, given, image, strokes))
    return begun


def fitting_codes(job: Job, fed: np.ndarray, codes: np.ndarray, num: int) -> np.ndarray:
    """Of the codes ``[C, Z]``, the ``num`` with which the model is likeliest to draw ``fed`` and go on ``[num, Z]``."""
    rows = np.repeat(pad_batch(fed.astype(np.float32), np.array([len(fed)]), len(fed)), len(codes), axis=0)
    params, _ = job.model.decode(rows, codes)
    stroke_loss, pen_loss = (tf.reshape(loss, [len(codes), -1])[:, :-1] for loss in point_losses(params, shift(rows)))
    ends = params.pen.numpy().reshape(len(codes), -1, 3)[:, -1, 2]
    losses = tf.reduce_sum(stroke_loss + pen_loss, axis=1).numpy() - np.log(np.maximum(1 - ends, 1e-6))
    best = np.argsort(losses)
    return codes[np.resize(best, num)]


def shift(rows: np.ndarray) -> np.ndarray:
    """Each row's next one as its target; after the last, the end."""
    return np.concatenate([rows[:, 1:], np.tile([0, 0, 0, 0, 1], [len(rows), 1, 1]).astype(np.float32)], axis=1)


def codes_for(args, job: Job, begun: list[Begun]) -> np.ndarray:
    """A code for each variation of each drawing begun ``[N, variations, Z]``.

    Of the whole's bitmap, where there is one; of the images ``--like``, in turn; else of those training drawings that
    the beginning fits best; without a data set, of the beginning itself.
    """
    each = len(job.variations())
    if not job.model.hps.conditional:
        if args.like:
            raise ValueError(f"--like: the model in {args.model_dir} is unconditional, it sees no images")
        return np.zeros([len(begun), each, 0], np.float32)
    if args.like:
        codes = job.encode(job.load_images(args.like)[1])
        return np.tile(codes[np.resize(np.arange(len(codes)), each)], [len(begun), 1, 1])
    if begun[0].image is None:
        try:
            train = load_dataset(args.data_dir, job.model.hps)[0]
        except (FileNotFoundError, ValueError) as error:
            print(f"no training drawings to find endings among ({error}); --like says what it shall become")
            hps = job.model.hps
            images = rasterize_all([item.fed for item in begun], hps.img_H, hps.img_W)
            return np.repeat(job.encode(images)[:, None], each, axis=1)
        some = np.random.default_rng(args.seed).permutation(len(train))[:CANDIDATES]
        codes = job.encode(train.images[some])
        return np.stack([fitting_codes(job, item.fed, codes, each) for item in begun])
    return np.repeat(job.encode(np.stack([item.image for item in begun]))[:, None], each, axis=1)


def complete(args, job: Job) -> list[Row]:
    """Several endings of each drawing begun; the points given stay as they are."""
    begun = read_begun(args.complete, job, args.index, args.points) if args.complete else begin_test_drawings(args, job)
    limit = job.model.hps.max_seq_len
    for item in begun:
        if len(item.fed) >= limit:
            raise ValueError(
                f"{item.name}: {len(item.fed)} points, and this model draws {limit}; give fewer by --points"
            )
    each = len(job.variations())
    codes = codes_for(args, job, begun).reshape(len(begun) * each, -1)
    given = [item.fed for item in begun for _ in range(each)]
    temperatures = np.tile([t for *_, t in job.variations()], len(begun))
    codes = codes if job.model.hps.conditional else None
    drawings = draw_codes(job.model, codes, temperatures, limit, job.seed, job.greedy, given)
    rows = []
    for i, item in enumerate(begun):
        whole = [item.shown_with(drawing) for drawing in drawings[i * each : (i + 1) * each]]
        cells = [Cell("given", "given", item.shown, given=len(item.shown), written=False)]
        cells += [Cell("person", "the person's", item.whole, given=len(item.fed))] if item.whole is not None else []
        rows.append(Row(item.name, item.name, [*cells, *variation_cells(job, whole, len(item.shown))]))
    return rows


# ---------------------------------------------------------------------------------------------------------
# The script

MODES = ("image", "interpolate", "analogy", "complete", "unconditional")
TITLES = {
    None: "Drawings of bitmaps",
    "image": "Drawings of images",
    "interpolate": "From one drawing to another",
    "analogy": "An analogy",
    "complete": "Drawings completed",
    "unconditional": "Drawings of nothing in particular",
}
MODES_OF = {  # flag -> the modes that it belongs to; None: test drawings, the default
    "num": ("image", "analogy", "complete"),
    "temperature": ("image", "interpolate", "analogy", "complete"),
    "greedy": ("image", "interpolate", "analogy", "complete"),
    "split": (None, "complete"),
    "noise": (None, "image", "interpolate", "analogy", "complete"),
    "steps": ("interpolate",),
    "points": ("complete",),
    "like": ("complete",),
    "index": (None, "complete"),
    "category": (None, "complete"),
    "num_drawings": (None, "complete", "unconditional"),
}


def parse_args(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data_dir", default="datasets", help="holds npz/ and bitmap/")
    parser.add_argument("--model_dir", default="outputs/snapshot", help="a snapshot directory")
    parser.add_argument("--sampling_dir", default="outputs/sampling", help="where drawings go")
    test = parser.add_argument_group("test drawings")
    test.add_argument("--split", choices=("train", "valid", "test"), help="which drawings (default: test)")
    test.add_argument("--category", help="only drawings of this category")
    test.add_argument("--index", type=int, nargs="+", help="these drawings, by place in order of length, or in FILE")
    test.add_argument("--num_drawings", type=int, help="how many, at random (default: 20; 6 to complete)")
    mode = parser.add_argument_group("instead of test drawings, one of")
    mode.add_argument("--image", nargs="+", metavar="PATH", help="images, or directories of them, any size")
    mode.add_argument("--interpolate", nargs="+", metavar="IMAGE", help="from one image to another, or between four")
    mode.add_argument("--analogy", nargs="+", metavar="IMAGE", help="three images a b c: a - b + c")
    mode.add_argument(
        "--complete",
        nargs="?",
        const="",
        metavar="FILE",
        help="finish a drawing begun (.svg, .json, .npz), or test drawings",
    )
    add_switch(mode, "unconditional", "let a decoder without encoder draw what it likes")
    how = parser.add_argument_group("how to draw")
    how.add_argument("--num", type=int, help="drawings at each temperature (default: 3)")
    how.add_argument(
        "--temperature", type=float, nargs="+", help="one or more, above 0 (default: 0.1; completing: 0.3)"
    )
    add_switch(how, "greedy", "always the likeliest point: one drawing, no chance")
    how.add_argument("--steps", type=int, help="drawings from one image to the next (default: 10; of four images: 6)")
    how.add_argument("--points", type=int, help="how many points are given (default: all of FILE; half a test drawing)")
    how.add_argument("--like", nargs="+", metavar="IMAGE", help="pictures of what a drawing in FILE shall become")
    how.add_argument("--seed", type=int, default=0, help="of the choice and of the drawings")
    add_switch(how, "noise", "encode with noise, as the original does; without, the mean is the code")
    out = parser.add_argument_group("what to write, besides index.html and gallery.png")
    out.add_argument("--format", help=f"of {','.join(FORMATS)} (default: svg, which draws itself)")
    out.add_argument("--size", type=int, default=256, help="pixels of a picture's side")
    out.add_argument("--line_width", type=float, help="pixels (default: size / 85)")
    out.add_argument("--colors", nargs="*", metavar="COLOR", help="of the strokes in turn; no name: a palette")
    return parser.parse_args(argv)


def check_flags_of_mode(args, mode: str | None) -> None:
    """Raises ValueError for a flag that has no meaning in this mode."""
    for flag, modes in MODES_OF.items():
        if getattr(args, flag) not in (None, False) and mode not in modes:
            wanted = " or ".join("test drawings" if name is None else f"--{name}" for name in modes)
            raise ValueError(
                f"--{flag} does not go with {f'--{mode}' if mode else 'test drawings'}, only with {wanted}"
            )


def check_args(args) -> str | None:
    """The mode asked for, None for test drawings. Raises ValueError for flags that do not go together."""
    asked = [mode for mode in MODES if getattr(args, mode) not in (None, False)]
    if len(asked) > 1:
        raise ValueError(f"--{asked[0]} and --{asked[1]} do not go together; take one of them")
    mode = asked[0] if asked else None
    check_flags_of_mode(args, mode)
    for flag, least in (("num_drawings", 1), ("num", 1), ("steps", 2), ("points", 1)):
        value = getattr(args, flag)
        if value is not None and value < least:
            raise ValueError(f"--{flag} {value}: wanted {least} or more")
    if args.greedy and (args.temperature or args.num):
        raise ValueError("--greedy leaves nothing to chance: no --temperature, no --num")
    if args.temperature and not all(0 < t < float("inf") for t in args.temperature):
        raise ValueError(f"--temperature {' '.join(map(str, args.temperature))}: wanted numbers above 0; or --greedy")
    if mode == "interpolate" and len(args.temperature or [0]) > 1:
        raise ValueError("--interpolate draws at one --temperature")
    if args.complete and (args.category or args.num_drawings or args.split):
        raise ValueError("--split, --category and --num_drawings choose test drawings; in a file, --index does")
    if args.like and not args.complete:
        raise ValueError("--like goes with --complete FILE; test drawings have a bitmap of their own")
    return mode


def parse_formats(text: str | None) -> list[str]:
    """``"svg,gif"`` -> ["svg", "gif"]. Raises ValueError."""
    formats = [name.strip().lower() for name in (text or "").split(",") if name.strip()]
    wrong = [name for name in formats if name not in FORMATS]
    if wrong or (text is not None and not formats):
        raise ValueError(f"--format {text}: wanted some of {','.join(FORMATS)}")
    return formats


def load_split(args, hps) -> tuple[DataLoader, object]:
    """The loader of ``--split`` and the hyper-parameters that fit it."""
    *loaders, hps = load_dataset(args.data_dir, hps)
    return dict(zip(("train", "valid", "test"), loaders, strict=True))[args.split or "test"], hps


def draw_test_drawings(args, job: Job, sampling_dir: Path) -> list[Row]:
    """The original's three files for each drawing, and the gallery."""
    loader, hps = load_split(args, job.model.hps)
    places = choose_drawings(loader, hps, args.category, args.index, args.num_drawings or 20, args.seed)
    grids = sample_drawings(job.model, loader, places, job.noise, args.seed)
    truths = [loader.strokes(place) for place in places]
    for place, truth, grid in zip(places, truths, grids, strict=True):
        write_drawings(sampling_dir, place, truth, grid)
    captions = [category_name(hps.data_set[loader.labels[place]]) for place in places]
    write_gallery(sampling_dir / "gallery.png", loader.images[places], truths, grids, captions)
    rows = []
    for place, truth, grid, caption in zip(places, truths, grids, captions, strict=True):
        person = Cell("person", "the person's", truth, written=False)
        seen = seen_cell(loader.images[place], *["as a bitmap"] * job.model.reads_strokes)
        cells = [seen, person, *temperature_cells(grid[: len(TEMPERATURES)])]
        rows.append(Row(str(place), f"{caption} {place}", cells, caption))
    return rows


def draw_rows(args, mode: str | None, job: Job, sampling_dir: Path) -> list[Row]:
    """What the mode draws."""
    if mode == "image":
        return draw_images(job, args.image)
    if mode == "interpolate":
        return interpolate(
            job._replace(num=1), args.interpolate, args.steps or (10 if len(args.interpolate) == 2 else 6)
        )
    if mode == "analogy":
        return analogy(job, args.analogy)
    if mode == "complete":
        return complete(args, job)
    if mode == "unconditional":
        model = job.model
        return sample_unconditional(model, sampling_dir, args.num_drawings or 20, model.hps.max_seq_len, args.seed)
    return draw_test_drawings(args, job, sampling_dir)


def make_job(args, mode: str | None) -> tuple[Job, int]:
    """The model with all that a mode needs to know, and the step of its weights. Raises ValueError."""
    model, step = load_model(args.model_dir)
    if mode == "unconditional" and model.hps.conditional:
        raise ValueError(f"--unconditional: the model in {args.model_dir} has an encoder; give it images by --image")
    if mode in ("image", "interpolate", "analogy") and not model.hps.conditional:
        raise ValueError(f"--{mode}: the model in {args.model_dir} is unconditional, it sees no images")
    if mode in ("image", "interpolate", "analogy", "complete") and model.reads_strokes:
        encoder = f"the model in {args.model_dir} reads strokes (enc_model {model.hps.enc_model}), no images"
        raise ValueError(f"--{mode}: {encoder}; without the flag it draws test drawings")
    info = load_data_info(args.model_dir)
    usual = DEFAULT_LINE_WIDTH * min(model.hps.img_H, model.hps.img_W)
    if info is None and (mode is not None or args.format):
        print(f"this snapshot knows nothing of its data: lines of {usual:.2g} pixels and scale factor 1 are assumed")
    temperatures = args.temperature or [0.3 if mode == "complete" else 0.1]
    info = {"line_width": usual, "scale_factor": 1.0} if info is None else info
    return Job(model, info, temperatures, args.num or 3, args.greedy, args.noise, args.seed), step


def main(argv=None) -> int:
    """Sample as the command line says -> exit code."""
    args = parse_args(argv)
    mode, formats, look = (
        check_args(args),
        parse_formats(args.format),
        make_look(args.size, args.line_width, args.colors),
    )
    job, step = make_job(args, mode)
    print(f"weights of step {step} from {args.model_dir}")
    if mode is None and not job.model.hps.conditional:
        mode = "unconditional"
        check_flags_of_mode(args, mode)
    sampling_dir = Path(args.sampling_dir)
    rows = draw_rows(args, mode, job, sampling_dir)
    write_rows(sampling_dir, rows, mode, formats, look, job.info["scale_factor"], f"step {step} of {args.model_dir}")
    count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
    print(f"{count} of drawings in {sampling_dir}; look at {sampling_dir / 'index.html'} or gallery.png")
    return 0


def write_rows(sampling_dir, rows: list[Row], mode: str | None, formats, look: Look, scale_factor, note) -> None:
    """All files but those that the original wrote, too."""
    if mode not in (None, "unconditional"):
        write_sheet(sampling_dir / "gallery.png", rows, look)
        formats = formats or ["svg"]
    write_pictures(sampling_dir, rows, formats, look, scale_factor)
    write_page(sampling_dir / "index.html", TITLES[mode], note, rows, look)


if __name__ == "__main__":
    run_script(main)
