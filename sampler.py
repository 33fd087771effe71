"""Drawing with a trained model: images or drawings -> codes -> drawings, and what the scripts that do so share.

A code is z ``[N, Z]`` here; a drawing is normalised stroke-3 ``[n, 3]``.
"""

import argparse
import dataclasses
import math
import os
import sys
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from guide import draw_guided
from model import Model, load_data_info, load_model, pad_strokes, sample_batch
from pictures import FORMATS, MARGIN, Photo, Row, Tile, make_style, reduce_photo, write_pictures, write_sheet
from read_image import DEFAULT_LINE_WIDTH, open_image, parse_crop, read_drawing
from render_svg2bitmap import rasterize_all
from result_page import FEW_ROWS, write_page
from script import add_switch
from seeds import seed_for
from simplify import resample_line, simplify_line
from utils import DRAWING_SETTINGS, SPLITS, DataLoader, category_name, lines_to_strokes, load_dataset, to_normal_strokes

BATCH = 500  # drawings encoded or sampled together: enough for full speed, and memory stays small
GUIDE = 8  # candidates for each stroke of an image
GUIDED_BATCH = 50  # drawings of which several candidates are drawn at once
GUIDED_POINTS = 1000  # of a drawing at most: ink that is left ends it, not its length
IMAGE_ENDINGS = tuple(
    ".png .jpg .jpeg .jfif .webp .gif .bmp .tif .tiff .ppm .svg .svgz .avif .heic .heif .jp2 .j2k".split()
)


# ---------------------------------------------------------------------------------------------------------
# Codes and drawings


def content_keys(contents) -> list[int]:
    """A number for each of some arrays that depends on its content alone, to seed what is drawn of it."""
    return [zlib.crc32(np.ascontiguousarray(content).tobytes()) for content in contents]


def encode_images(model: Model, images: np.ndarray, seeds: list | None = None) -> np.ndarray:
    """Codes ``[N, Z]`` of bitmaps ``[N, H, W]``: the mean, or with a seed for each, mean + sigma * noise.

    The original encodes with noise.
    """
    # A product of a single row is rounded differently: encoded twice, an image has the code that it has in any batch.
    several = np.repeat(images, 2, axis=0) if len(images) == 1 else images
    parts = [model.encode(part) for part in np.array_split(several, -(-len(several) // BATCH))]
    return _codes(parts, seeds)[: len(images)]


def encode_strokes(model: Model, drawings: list[np.ndarray], seeds: list | None = None) -> np.ndarray:
    """``encode_images`` for a model that reads strokes; an empty drawing counts as one point that goes nowhere."""
    parts = []
    for start in range(0, len(drawings), BATCH):
        part = [drawing if len(drawing) else np.zeros((1, 3)) for drawing in drawings[start : start + BATCH]]
        lengths = np.array([len(drawing) for drawing in part], np.int32)
        strokes = pad_strokes(np.concatenate(part), lengths, lengths.max())[:, 1:]
        parts.append(model.encode_strokes(strokes, tf.constant(lengths)))
    return _codes(parts, seeds)


def encode_loader(model: Model, loader: DataLoader, indices: np.ndarray, noise: bool, seed: int) -> np.ndarray:
    """Codes ``[N, Z]`` of drawings of a loader: of their bitmaps, or of the strokes if the model reads those."""
    seeds = [seed_for(seed, "code", index) for index in indices] if noise else None
    if model.reads_strokes:
        return encode_strokes(model, [loader.strokes(index) for index in indices], seeds)
    return encode_images(model, loader.images[indices], seeds)


def _codes(parts, seeds):
    """Codes from (mean, presig) of each part."""
    mean = np.concatenate([mean.numpy() for mean, _ in parts])
    if seeds is None:
        return mean
    sigma = np.exp(np.concatenate([presig.numpy() for _, presig in parts]) / 2.0)
    noise = np.stack([np.random.default_rng(seed).normal(size=mean.shape[1]) for seed in seeds])
    return mean[: len(seeds)] + sigma[: len(seeds)] * noise.astype(np.float32)


def draw_codes(
    model: Model,
    codes: np.ndarray | None,
    temperatures: np.ndarray,
    seq_len: int,
    seeds: list,
    greedy: bool = False,
    prefixes: list[np.ndarray] | None = None,
    images: np.ndarray | None = None,
    guide: int = 1,
    pen_temperature: float | None = None,
) -> list[np.ndarray]:
    """One drawing for each row of codes ``[N, Z]`` (None: unconditional), of temperatures ``[N]`` and of seeds.

    Each begins with its prefix, if any, and has at most ``seq_len`` points, unless it is guided. ``images``
    ``[N, H, W]``: the bitmaps that the codes are of, for a model whose decoder looks at them, too, and for guide > 1:
    ink-guided sampling with as many candidates for each stroke (guide.py). ``pen_temperature``: the pen state's, if
    another than the drawing's.
    """
    drawings, total = [], len(temperatures)
    size = BATCH if guide == 1 else GUIDED_BATCH
    for start in tqdm(range(0, total, size), desc="drawing", unit="batch", disable=None if total > size else True):
        part = slice(start, start + size)
        code, temperature = None if codes is None else codes[part], temperatures[part]
        if images is not None and model.reads_pixels:
            code = model.make_code(tf.constant(code, tf.float32), images[part])
        if guide > 1:
            if images is None:
                raise ValueError("--guide: the model's encoder reads strokes, so there is no bitmap to be guided by")
            how = guide, temperature, pen_temperature, GUIDED_POINTS, seeds[part]
            drawings += draw_guided(model, model.as_code(code, total), images[part], *how)
            continue
        prefix = None if prefixes is None else prefixes[part]
        how = greedy, len(temperature), seeds[part], prefix, pen_temperature
        drawn = sample_batch(model, code, seq_len, temperature, *how)
        drawings += [to_normal_strokes(strokes) for strokes in drawn]
    return drawings


class Picture(NamedTuple):
    """An image file, and what was read of it."""

    path: Path
    bitmap: np.ndarray  # uint8 [H, W]
    photo: Photo
    doubts: list[str]  # why that may not be the drawing, each a clause

    def tiles(self, caption: str = "what it sees") -> list[Tile]:
        """The picture, and the bitmap that was read of it."""
        doubts = "".join(f"; {doubt}" for doubt in self.doubts)
        photo = Tile("photo", f"{self.path.name}, and the part that was read{doubts}", photo=self.photo, given=True)
        return [photo, bitmap_tile(self.bitmap, caption)]


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A trained model, and how to draw with it."""

    model: Model
    model_dir: str
    step: int  # of its weights
    info: dict  # scale_factor, and line_width in pixels of a bitmap: what the snapshot knows of its data
    temperatures: list[float]
    num: int = 3  # drawings at each temperature
    greedy: bool = False
    noise: bool = False  # on the codes
    seed: int = 0
    guide: int = 1  # candidates for each stroke of an image; 1: plain sampling
    pen_temperature: float | None = None  # None: as the drawing's
    crop: tuple | None = None  # of images, as ``parse_crop`` gives it
    refused: list[str] = dataclasses.field(default_factory=list)  # images that were named and could not be read

    def variations(self) -> list[tuple[str, str, float]]:
        """(file name, caption, temperature) of each drawing made of one code."""
        if self.greedy:
            return [("greedy", "greedy", 1.0)]
        return [(f"t{t:g}_{k}", f"{t:g}", t) for t in self.temperatures for k in range(1, self.num + 1)]

    def draw(
        self,
        codes: np.ndarray,
        keys,
        prefixes: list[np.ndarray] | None = None,
        images: np.ndarray | None = None,
    ) -> list[list[np.ndarray]]:
        """All variations of each of the codes ``[N, Z]``, or ``[N, V, Z]`` of a code per variation, together.

        keys: a number for each code, from which alone, with the seed, chance comes; prefixes: what all variations of
        each code begin with; images ``[N, H, W]``: the bitmaps that the codes are of.
        """
        variations = len(self.variations())
        codes = np.repeat(codes[:, None], variations, axis=1) if codes.ndim == 2 else codes
        temperatures = np.tile([temperature for *_, temperature in self.variations()], len(codes))
        if prefixes is not None:
            prefixes = [prefix for prefix in prefixes for _ in range(variations)]
        codes = codes.reshape(len(temperatures), -1) if self.model.hps.conditional else None
        seeds = [seed_for(self.seed, "sample", key, 0, variation) for key in keys for variation in range(variations)]
        seq_len, images = self.model.hps.max_seq_len, None if images is None else np.repeat(images, variations, axis=0)
        guide = 1 if images is None else self.guide
        how = self.greedy, prefixes, images, guide, self.pen_temperature
        drawings = draw_codes(self.model, codes, temperatures, seq_len, seeds, *how)
        return [drawings[start : start + variations] for start in range(0, len(drawings), variations)]

    def tiles(self, drawings: list[np.ndarray], prefix: int = 0) -> list[Tile]:
        """A tile for each of ``variations()``."""
        pairs = zip(self.variations(), drawings, strict=True)
        return [Tile(name, caption, drawing, prefix=prefix) for (name, caption, _), drawing in pairs]

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Codes ``[N, Z]`` of bitmaps uint8 ``[N, H, W]``."""
        seeds = [seed_for(self.seed, "code", key) for key in content_keys(images)] if self.noise else None
        return encode_images(self.model, images, seeds)

    def load_images(self, paths: list[str]) -> tuple[list[Path], np.ndarray]:
        """(files, uint8 ``[n, H, W]``) of ``load_pictures``."""
        pictures = self.load_pictures(paths)
        return [picture.path for picture in pictures], np.stack([picture.bitmap for picture in pictures])

    def load_pictures(self, paths: list[str]) -> list[Picture]:
        """What is read of image files and of all images in directories.

        An image that is no drawing is passed over with a line; if it was named, it is in ``refused`` afterwards. Raises
        ValueError if none is left.
        """
        files, pictures, wrong = find_images(paths), [], []
        for path, picture in zip(files, self._read_images(files), strict=True):
            if isinstance(picture, ValueError):
                wrong.append((path, picture))
                continue
            if picture.doubts:
                doubts = "; ".join(picture.doubts)
                tqdm.write(
                    f"{path}: {doubts}; look at what it sees, or give --crop left,top,right,bottom", file=sys.stderr
                )
            pictures.append(picture)
        named = set(map(Path, paths))
        if not pictures:
            if wrong and wrong[0][0] in named:
                raise wrong[0][1]
            raise ValueError(f"no drawing in {', '.join(paths)}" + (f": {wrong[0][1]}" if wrong else ""))
        for path, error in wrong:
            tqdm.write(f"passed over: {error}", file=sys.stderr)
            self.refused.extend([str(path)] if path in named else [])
        return pictures

    def _read_images(self, files: list[Path]) -> list[Picture | ValueError]:
        """What is read of each file, or what is wrong with it; several at a time, as Pillow and SciPy let them."""

        side = 800 if len(files) <= FEW_ROWS else 400  # pixels of a photo on the page

        def read(path):
            try:
                return self._read_image(path, side)
            except ValueError as error:
                return error
            except OSError as error:  # of a directory, somebody else's file
                return ValueError(f"{path}: {error.strerror or error}")

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(
                tqdm(
                    pool.map(read, files),
                    "reading",
                    len(files),
                    unit=" images",
                    disable=None if len(files) >= 20 else True,
                )
            )

    def _read_image(self, path: Path, side: int) -> Picture:
        image, hps = open_image(path, self.crop), self.model.hps
        try:
            reading = read_drawing(image, hps.img_H, hps.img_W, self.info["line_width"])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return Picture(path, reading.bitmap, reduce_photo(image, reading.box, side), reading.doubts)

    def require_images(self, flag: str) -> None:
        """Raises ValueError naming the flag if the model cannot see images."""
        hps = self.model.hps
        if not hps.conditional:
            raise ValueError(f"{flag}: the model in {self.model_dir} is unconditional, it sees no images")
        if self.model.reads_strokes:
            raise ValueError(
                f"{flag}: the model in {self.model_dir} reads strokes (enc_model {hps.enc_model}), no images; "
                "sketch_pix2seq_sampling.py without --image draws test drawings with it"
            )


def exit_code(sampler: Sampler) -> int:
    """2 if images that were named could not be read, and says so; else 0."""
    if sampler.refused:
        count = "1 image that was" if len(sampler.refused) == 1 else f"{len(sampler.refused)} images that were"
        print(f"{count} named could not be read: {', '.join(sampler.refused)}", file=sys.stderr)
    return 2 if sampler.refused else 0


def make_sampler(model_dir: str, temperatures: list[float], **how) -> Sampler:
    """The sampler of a snapshot directory; ``how``: other fields of ``Sampler``. Raises as ``load_model`` does."""
    model, step = load_model(model_dir)
    info = load_data_info(model_dir)
    if info is None:
        info = {"line_width": DEFAULT_LINE_WIDTH * min(model.hps.img_H, model.hps.img_W), "scale_factor": 1.0}
        assumed = f"lines of {info['line_width']:.2g} pixels and scale factor 1 are assumed"
        print(f"this snapshot knows nothing of its data: {assumed}")
    return Sampler(model, str(model_dir), step, info, temperatures, **how)


def unique_names(files: list[Path]) -> list[str]:
    """The files' names without their endings, those that come again with a ``_`` behind."""
    names = []
    for file in files:
        name = file.stem
        while name in names:
            name += "_"
        names.append(name)
    return names


def find_images(paths: list[str]) -> list[Path]:
    """Files named, and the images in directories named and below them, in order of name.

    Other files in them are told, by their endings. Raises FileNotFoundError, or ValueError for an empty name.
    """
    files = []
    for path in paths:
        if not str(path).strip():
            raise ValueError('an image whose name is empty (""); expected an image or a directory of images')
        path = Path(path)
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if file.is_file() and not _is_hidden(file, path)]
            images = [file for file in inside if file.suffix.lower() in IMAGE_ENDINGS]
            others = Counter(file.suffix.lower() or "without an ending" for file in inside if file not in set(images))
            if others:
                kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(others.items()))
                tqdm.write(f"passed over in {path}, as they are no images: {kinds}", file=sys.stderr)
            files += images
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f"{path} not found; expected an image or a directory of images")
    return list(dict.fromkeys(files))


def _is_hidden(file: Path, directory: Path) -> bool:
    """Whether a file, or a directory that it is in, has a name with a dot in front."""
    return any(part.startswith(".") for part in file.relative_to(directory).parts)


def bitmap_tile(image: np.ndarray, caption: str = "what it sees") -> Tile:
    """A bitmap that the model looked at."""
    return Tile("bitmap", caption, image=image, given=True)


# ---------------------------------------------------------------------------------------------------------
# Drawings that a person began


def usual_extent(sampler: Sampler) -> float:
    """The longer side of a usual drawing, normalised."""
    hps, settings = sampler.model.hps, DRAWING_SETTINGS
    side = min(hps.img_H, hps.img_W) / sampler.info["line_width"] * settings["line_width"]
    return (side - settings["padding"]) * settings["factor"]


def begin_lines(lines: list[np.ndarray], page: tuple[float, float], sampler: Sampler) -> tuple[np.ndarray, np.ndarray]:
    """(as drawn, as the model knows lines) of a drawing begun on a page (width, height) that the whole will fill.

    Both are normalised stroke-3; the second is simplified by QuickDraw's recipe.
    """
    hps, extent, page = sampler.model.hps, usual_extent(sampler), np.array(page)
    scale = extent / (page.max() * (1 - 2 * MARGIN))
    lines = [(line - page / 2) * scale for line in lines if len(line)]
    unit = extent / 255  # QuickDraw's recipe: resampled at 1, simplified within 2, of 255
    simple = [simplify_line(resample_line(line, unit), 2 * unit) if len(line) > 1 else line for line in lines]
    display, model_input = lines_to_strokes(lines), lines_to_strokes(simple)
    if not hps.use_position:
        display[0, :2] = model_input[0, :2] = 0
    return display, model_input


# ---------------------------------------------------------------------------------------------------------
# Drawings of a data set


def load_split(data_dir: str, hps, split: str | None) -> tuple[DataLoader, object]:
    """(loader of a split, by default the test split; hyper-parameters that fit it)."""
    *loaders, hps = load_dataset(data_dir, hps.replace(valid_drawings=0), rasterize=rasterize_all)
    return loaders[SPLITS.index(split or "test")], hps


def choose_drawings(
    loader: DataLoader, hps, category: str | None, index: list[int] | None, num: int, seed: int, longer_than: int = 0
) -> np.ndarray:
    """Indices in a loader: those of ``index``, or of ``num`` drawings at random, of one category or of all.

    Those at random have more than ``longer_than`` points. Raises ValueError naming the flag.
    """
    if index:
        if category is not None:
            raise ValueError("--index and --category do not go together; take one of them")
        wrong = [i for i in index if not 0 <= i < len(loader)]
        if wrong:
            raise ValueError(f"--index {wrong[0]}: there are drawings 0 to {len(loader) - 1}")
        return np.array(index)
    indices = np.arange(len(loader))
    if category is not None:
        names = [category_name(data_set) for data_set in hps.data_set]
        if category_name(category) not in names:
            raise ValueError(f"--category {category}: this model knows {', '.join(names)}")
        indices = indices[loader.labels == names.index(category_name(category))]
    indices = indices[loader.lengths[indices] > longer_than]
    if not len(indices):
        if longer_than:
            raise ValueError(f"--points {longer_than}: no drawing has more points")
        raise ValueError(f"--category {category}: no drawing in this split; take another --split")
    rng = np.random.default_rng(seed_for(seed, "choose"))
    return rng.choice(indices, min(num, len(indices)), replace=False)


# ---------------------------------------------------------------------------------------------------------
# The command line of a script that draws


def add_drawing_flags(parser: argparse.ArgumentParser, num_drawings: int, temperature: str) -> None:
    """The flags that all such scripts have; ``num_drawings`` and ``temperature`` are defaults, told in the help."""
    parser.add_argument("--data_dir", default="datasets", help="holds npz/ and bitmap/")
    parser.add_argument("--model_dir", default="outputs/snapshot", help="a snapshot directory")
    parser.add_argument("--sampling_dir", default="outputs/sampling", help="where drawings go")
    test = parser.add_argument_group("which test drawings")
    test.add_argument("--split", choices=SPLITS, help="of which split (default: test)")
    test.add_argument("--category", help="only drawings of this category")
    test.add_argument("--index", type=int, nargs="+", help="these drawings: by index in order of length, or in a file")
    test.add_argument("--num_drawings", type=int, help=f"how many, at random (default: {num_drawings})")
    how = parser.add_argument_group("how to draw")
    how.add_argument("--num", type=int, help="drawings at each temperature (default: 3)")
    how.add_argument("--temperature", type=float, nargs="+", help=f"one or more, above 0 (default: {temperature})")
    how.add_argument("--pen_temperature", type=float, help="of the pen state (default: as the drawing's)")
    add_switch(how, "greedy", "always the likeliest point: one drawing, no chance")
    how.add_argument("--seed", type=int, default=0, help="of the choice and of the drawings")
    add_switch(how, "noise", "encode with noise, as the original does; without, the mean is the code")
    images = parser.add_argument_group("which part of the images")
    images.add_argument("--crop", help="left,top,right,bottom: only that part of images, in fractions or pixels")
    out = parser.add_argument_group("what to write, besides index.html and gallery.png")
    out.add_argument("--format", help=f"of {','.join(FORMATS)} (default: svg, which draws itself)")
    out.add_argument("--size", type=int, default=256, help="pixels of a picture's side")
    out.add_argument("--page", help="a5, a4 ... or 100x150 millimetres: a single-line SVG more, for a pen plotter")
    out.add_argument("--line_width", type=float, help="pixels (default: size / 85)")
    out.add_argument("--colors", nargs="*", metavar="COLOR", help="of the strokes in turn; no name: a palette")


def is_given(args: argparse.Namespace, flag: str) -> bool:
    """Whether a flag stands on the command line."""
    return getattr(args, flag) not in (None, False)


def choose_mode(args: argparse.Namespace, modes: tuple[str, ...]) -> str | None:
    """The one mode asked for, or None. Raises ValueError for two."""
    asked = [mode for mode in modes if is_given(args, mode)]
    if len(asked) > 1:
        raise ValueError(f"--{asked[0]} and --{asked[1]} do not go together; take one of them")
    return asked[0] if asked else None


def check_flags_of_mode(args: argparse.Namespace, mode: str | None, modes_of: dict[str, tuple]) -> None:
    """Raises ValueError for a flag that has no meaning in this mode; ``modes_of`` says in which it has."""
    for flag, modes in modes_of.items():
        if is_given(args, flag) and mode not in modes:
            others = " or ".join("test drawings" if name is None else f"--{name}" for name in modes)
            raise ValueError(
                f"--{flag} does not go with {f'--{mode}' if mode else 'test drawings'}, only with {others}"
            )


def check_drawing_flags(args: argparse.Namespace, least: dict[str, int]) -> None:
    """Raises ValueError for impossible numbers, looks and formats, and for what ``--greedy`` leaves no room for."""
    for flag, minimum in least.items():
        value = getattr(args, flag)
        if value is not None and value < minimum:
            raise ValueError(f"--{flag} {value}: expected {minimum} or more")
    if args.greedy and (args.temperature or args.num or args.pen_temperature):
        raise ValueError("--greedy leaves nothing to chance: no --temperature, no --pen_temperature, no --num")
    if args.pen_temperature is not None and not 0 < args.pen_temperature < math.inf:
        raise ValueError(f"--pen_temperature {args.pen_temperature}: expected a number above 0")
    if args.temperature and not all(0 < t < math.inf for t in args.temperature):
        raise ValueError(f"--temperature {' '.join(map(str, args.temperature))}: expected numbers above 0; or --greedy")
    make_style(args.size, args.line_width, args.colors, args.page)
    parse_formats(args.format)
    if args.crop is not None:
        parse_crop(args.crop)


def how_to_draw(args: argparse.Namespace) -> dict:
    """The fields of a ``Sampler`` that the flags of ``add_drawing_flags`` give."""
    crop = None if args.crop is None else parse_crop(args.crop)
    how = {"num": args.num or 3, "greedy": args.greedy, "noise": args.noise, "seed": args.seed}
    return how | {"pen_temperature": args.pen_temperature, "crop": crop}


def parse_formats(text: str | None) -> list[str]:
    """``"svg,gif"`` -> ["svg", "gif"]. Raises ValueError."""
    formats = [name.strip().lower() for name in (text or "").split(",") if name.strip()]
    wrong = [name for name in formats if name not in FORMATS]
    if wrong or (text is not None and not formats):
        raise ValueError(f"--format {text}: expected some of {','.join(FORMATS)}")
    return formats


def write_rows(
    args: argparse.Namespace,
    sampler: Sampler,
    title: str,
    rows: list[Row],
    formats: list[str],
    gallery: list[Row],
    numbers: str = "temperatures",
) -> None:
    """All pictures of the rows, and where to look.

    gallery: the rows of ``gallery.png``; numbers: what those in the drawings' captions are.
    """
    directory, style = Path(args.sampling_dir), make_style(args.size, args.line_width, args.colors, args.page)
    write_sheet(directory / "gallery.png", gallery, style)
    write_pictures(directory, rows, formats, style, sampler.info["scale_factor"])
    note = f"step {sampler.step} of {args.model_dir}; the numbers are {numbers}"
    write_page(directory / "index.html", title, note, rows, style, formats)
    count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
    print(f"{count} of drawings in {directory}; look at {directory / 'index.html'} or gallery.png")
