"""Strokes -> SVG -> bitmap, for a whole data set; and any image -> a bitmap like those.

    python render_svg2bitmap.py --data_base_dir=datasets
    python render_svg2bitmap.py --data_base_dir=datasets --hparams="data_set=[cat.npz,pig.npz],img_H=64,img_W=64"

Reads ``npz/<category>.npz``, writes ``bitmap/<category>_<H>x<W>.npz`` (uint8 ``[n, H, W]`` for train, valid and
test, 255 = paper) and a contact sheet beside it. A second run does only what is missing or stale.
"""

import argparse
import io
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from bitmaps import bitmap_path, load_bitmaps
from packed_store import is_packed, open_packed
from read_image import check_size, import_cairo
from read_image import load_image as load_image  # found here by scripts and users
from script import Progress, add_switch, available_cores, make_parser, run_script
from script import make_pool as make_pool
from utils import (
    DRAWING_SETTINGS,
    SPLITS,
    PackedStrokes,
    category_name,
    get_bounds,
    get_scale_factor,
    load_strokes,
    npz_path,
    remove_stale_temporaries,
    strokes_digest,
    write_file,
)

MODES = {"cairo": "cairo", "cairosvg": "cairosvg", "v2": "cairosvg", "inkscape": "inkscape", "v1": "inkscape"}
CHUNK = {"cairo": 160, "cairosvg": 25, "inkscape": 800}  # drawings that a worker renders at a time
MIN_DRAWINGS_FOR_POOL = {"cairo": 3000, "cairosvg": 100, "inkscape": 1600}  # starting one takes a good half second
MAX_CHUNK_PIXELS = 1 << 24
MIN_BYTES_FOR_POOL = 1 << 22  # of .npz to pack


# ---------------------------------------------------------------------------------------------------------
# Strokes to SVG


def svg_path(strokes: np.ndarray, factor: float, padding: float) -> tuple[str, float, float]:
    """(path data, width, height) of a stroke-3 drawing: relative coordinates, offset / ``factor``, as the original."""
    strokes = np.asarray(strokes, np.float64)
    _check_finite(strokes)
    offsets = strokes[:, :2] / factor
    min_x, max_x, min_y, max_y = get_bounds(offsets)
    words, command, lifted = [f"M{padding / 2 - min_x},{padding / 2 - min_y}"], "", True
    for (x, y), lifts in zip(offsets.tolist(), strokes[:, 2].tolist(), strict=True):
        previous, command = command, "m" if lifted else "l"
        # An "m" is always written: after one, further pairs would be lines. An "l" holds until the next letter.
        words.append(f"{'' if previous == command == 'l' else command}{x},{y}")
        lifted = lifts > 0
    return " ".join(words), max_x - min_x + padding, max_y - min_y + padding


def svg_text(
    strokes: np.ndarray, factor: float = 0.2, padding: float = 50, line_width: float = 1, color: str = "black"
) -> str:
    """A stroke-3 drawing ``[n, 3]`` as an SVG document: one path on white."""
    import svgwrite

    path, width, height = svg_path(strokes, factor, padding)
    drawing = svgwrite.Drawing(size=(width, height), debug=False)  # debug parses every number once more
    drawing.add(drawing.rect(insert=(0, 0), size=(width, height), fill="white"))
    drawing.add(drawing.path(path).stroke(color, line_width).fill("none"))
    return drawing.tostring()


def draw_strokes(
    strokes: np.ndarray,
    svg_filename: str | Path,
    factor: float = 0.2,
    padding: float = 50,
    line_width: float = 1,
    color: str = "black",
) -> None:
    """Write a stroke-3 drawing ``[n, 3]`` as an SVG file, making its directory.

    Coordinates are offset / ``factor``; ``padding`` SVG units in total around the bounds, which include the origin.
    """
    write_file(svg_filename, svg_text(strokes, factor, padding, line_width, color).encode())


# ---------------------------------------------------------------------------------------------------------
# Strokes to bitmaps. Every mode follows one layout; the drawings of a chunk lie end to end.


class Layout(NamedTuple):
    """Where each of n drawings goes in its bitmap; columns are x, y. Its frame is its bounds and the padding."""

    lows: np.ndarray  # [n, 2] smallest coordinates, SVG units, origin included
    sizes: np.ndarray  # [n, 2] of the frame, SVG units
    scales: np.ndarray  # [n] pixels per SVG unit
    pixels: np.ndarray  # [n, 2] size of the frame, whole pixels
    corners: np.ndarray  # [n, 2] of the frame in the bitmap, pixels


def _offsets(points):
    """Offsets in SVG units, ``[2, n]``: NumPy is several times faster along rows than along pairs."""
    return np.ascontiguousarray(points[:, :2].T) / DRAWING_SETTINGS["factor"]


def make_layout(points: np.ndarray, lengths: np.ndarray, height: int, width: int) -> Layout:
    """The layout of non-empty stroke-3 drawings laid end to end (``[sum(lengths), 3]``) in ``height`` x ``width``."""
    ends = np.cumsum(lengths)
    starts = ends - lengths
    offsets = _offsets(points)
    positions = np.empty_like(offsets)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):  # one sum over all would round differently
        np.add.accumulate(offsets[:, start:end], 1, None, positions[:, start:end])
    lows = np.minimum(np.minimum.reduceat(positions, starts, axis=1), 0).T
    highs = np.maximum(np.maximum.reduceat(positions, starts, axis=1), 0).T
    sizes = highs - lows + DRAWING_SETTINGS["padding"]
    box = np.array([width, height])
    scales = (box / sizes).min(axis=1)
    # At least one pixel: a line a hundred times longer than high would vanish (CairoSVG refuses it).
    pixels = np.maximum(np.rint(sizes * scales[:, None]), 1)
    return Layout(lows, sizes, scales, pixels.astype(np.int64), np.rint((box - pixels) / 2).astype(np.int64))


def _cairo_paths(points, lengths, layout):
    """Every drawing's path in device space, as cairo_path_data_t: float64 ``[sum(lengths), 2 (header, point), 2]``.

    CairoSVG adds up relative moves that cairo has rounded to 1/256 pixel; so does this, in whole numbers, which
    float64 adds exactly.
    """
    starts = np.cumsum(lengths) - lengths
    scales = (layout.sizes * layout.scales[:, None] / layout.sizes).min(axis=1)
    # Where a side was raised to one pixel, CairoSVG centres the frame in it.
    excess = np.maximum(layout.sizes * layout.scales[:, None], 1) - layout.sizes * layout.scales[:, None]
    corner = (DRAWING_SETTINGS["padding"] / 2 - layout.lows) * scales[:, None] + excess / 2
    first = np.rint(corner * 256) + layout.corners * 256
    steps = np.rint(_offsets(points) * np.repeat(scales * 256, lengths))
    sums = np.cumsum(steps, axis=1)
    sums += np.repeat(first.T - sums[:, starts] + steps[:, starts], lengths, axis=1)
    sums /= 256
    paths = np.zeros((len(points), 2, 2))
    paths[:, 1, 0], paths[:, 1, 1] = sums
    header = paths.view(np.int32).reshape(len(points), 8)
    header[1:, 0] = points[:-1, 2] <= 0  # CAIRO_PATH_MOVE_TO is 0, CAIRO_PATH_LINE_TO is 1
    header[starts, 0] = 0
    header[:, 1] = 2  # items of a step: this header and one point
    return paths


def _may_overhang(lengths, layout):
    """Which drawings may have ink beyond their frame, and must be cut there."""
    rounded = 0.5 + (lengths + 1) / 512  # pixels: of a side of the frame, and 1/256 of every move
    free = DRAWING_SETTINGS["padding"] / 2 - 2.5 * DRAWING_SETTINGS["line_width"]  # a mitre takes 2 line widths
    return free * layout.scales < rounded


def _render_cairo(points, lengths, height, width):
    cairocffi = import_cairo()
    cairo, cast = cairocffi.cairo, cairocffi.ffi.cast
    layout = make_layout(points, lengths, height, width)
    paths = _cairo_paths(points, lengths, layout)
    canvas = np.zeros((height, -(-width // 4) * 4), np.uint8)  # cairo wants rows of whole words
    pixels = cast("unsigned char *", canvas.ctypes.data)
    surface = cairo.cairo_image_surface_create_for_data(pixels, cairocffi.FORMAT_A8, width, height, canvas.strides[0])
    context = cairo.cairo_create(surface)
    cairo.cairo_set_miter_limit(context, DRAWING_SETTINGS["miter_limit"])
    path, items = cairocffi.ffi.new("cairo_path_t *"), cast("cairo_path_data_t *", paths.ctypes.data)
    append, set_width, stroke = cairo.cairo_append_path, cairo.cairo_set_line_width, cairo.cairo_stroke
    inks, drawn = np.empty((len(lengths), height, width), np.uint8), canvas[:, :width]
    starts, line_widths = np.cumsum(lengths) - lengths, layout.scales * DRAWING_SETTINGS["line_width"]
    drawings = zip(inks, (starts * 2).tolist(), (lengths * 2).tolist(), line_widths.tolist(), strict=True)
    for ink, start, length, line_width in drawings:
        path.data, path.num_data = items + start, length
        append(context, path)
        set_width(context, line_width)
        stroke(context)
        ink[:] = drawn
        canvas.fill(0)
    status = cairo.cairo_status(context)  # it keeps the first error
    cairo.cairo_destroy(context)
    cairo.cairo_surface_destroy(surface)
    if status:
        reason = cairocffi.ffi.string(cairo.cairo_status_to_string(status)).decode()
        raise ValueError(f"cairo could not draw a bitmap of {height} x {width}: {reason}")
    bitmaps = np.subtract(255, inks, out=inks)
    for i in np.flatnonzero(_may_overhang(lengths, layout) & (layout.pixels < [width, height]).any(axis=1)):
        bitmaps[i] = _on_paper(_frame(bitmaps[i], layout, i), layout, i, height, width)
    return bitmaps


def _frame(bitmap, layout, i):
    """The part of a bitmap that is drawing ``i``'s frame."""
    (left, top), (columns, rows) = layout.corners[i], layout.pixels[i]
    return bitmap[top : top + rows, left : left + columns]


def _on_paper(frame, layout, i, height, width):
    """The bitmap of drawing ``i``, given what its frame holds."""
    bitmap = np.full((height, width), 255, np.uint8)
    _frame(bitmap, layout, i)[:] = frame
    return bitmap


def _render_cairosvg(points, lengths, height, width):
    import_cairo()
    import cairosvg

    layout = make_layout(points, lengths, height, width)
    bitmaps = np.empty((len(lengths), height, width), np.uint8)
    for i, strokes in enumerate(np.split(points, np.cumsum(lengths)[:-1])):
        svg = svg_text(strokes, DRAWING_SETTINGS["factor"], DRAWING_SETTINGS["padding"])
        sides = np.maximum(layout.sizes[i] * layout.scales[i], 1).tolist()
        png = cairosvg.svg2png(bytestring=svg.encode(), output_width=sides[0], output_height=sides[1])
        bitmaps[i] = _on_paper(_grey_on_white(png), layout, i, height, width)
    return bitmaps


def _grey_on_white(png: bytes) -> np.ndarray:
    """A PNG on white paper, as uint8 ``[H, W]``."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image)
        return np.asarray(paper.convert("L"))


def _import_inkscape() -> str:
    """Where Inkscape is. Raises ValueError naming what to install."""
    program = shutil.which("inkscape")
    remedy = "install version 1.0 or later (apt-get install inkscape), or render with --render_mode=cairo"
    if program is None:
        raise ValueError(f"inkscape was not found; {remedy}")
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    if not re.match(r"Inkscape [1-9]", version):
        raise ValueError(f"{program} says it is {version.strip() or 'nothing'!r}; {remedy}")
    return program


def _render_inkscape(points, lengths, height, width):
    """All drawings on one sheet, as a process takes half a second to start."""
    from PIL import Image

    layout = make_layout(points, lengths, height, width)
    gap = 2  # keeps what overhangs a frame out of the neighbour's
    columns = math.isqrt(len(lengths) - 1) + 1
    corners = np.stack(np.divmod(np.arange(len(lengths)), columns), axis=1)[:, ::-1] * (width + gap, height + gap)
    sheet_width, sheet_height = (corners.max(axis=0) + (width, height)).tolist()
    sheet = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{sheet_width}" height="{sheet_height}">'
        f'<rect width="{sheet_width}" height="{sheet_height}" fill="white"/>'
        f'<g fill="none" stroke="black" stroke-width="{DRAWING_SETTINGS["line_width"]}" '
        f'stroke-miterlimit="{DRAWING_SETTINGS["miter_limit"]}">'
    ]
    for i, strokes in enumerate(np.split(points, np.cumsum(lengths)[:-1])):
        path, _, _ = svg_path(strokes, DRAWING_SETTINGS["factor"], DRAWING_SETTINGS["padding"])
        left, top = corners[i] + layout.corners[i]
        sheet.append(f'<path transform="translate({left},{top}) scale({float(layout.scales[i])})" d="{path}"/>')
    with tempfile.TemporaryDirectory() as directory:
        svg, png = Path(directory, "sheet.svg"), Path(directory, "sheet.png")
        svg.write_text("\n".join([*sheet, "</g></svg>"]))
        done = subprocess.run(
            [_import_inkscape(), svg, f"--export-filename={png}", f"--export-width={sheet_width}"],
            capture_output=True,
            text=True,
            env={**os.environ, "INKSCAPE_PROFILE_DIR": directory},
        )
        if done.returncode or not png.is_file():
            raise ValueError(f"inkscape failed ({done.returncode}): {done.stderr.strip()[-300:]}")
        with Image.open(png) as image:
            grey = np.asarray(image.convert("L"))
    bitmaps = np.empty((len(lengths), height, width), np.uint8)
    for i, (left, top) in enumerate(corners):
        bitmap = grey[top : top + height, left : left + width]
        bitmaps[i] = _on_paper(_frame(bitmap, layout, i), layout, i, height, width)
    return bitmaps


ENGINES: dict[str, Callable] = {"cairo": _render_cairo, "cairosvg": _render_cairosvg, "inkscape": _render_inkscape}


def _render_chunk(mode, points, lengths, height, width):
    """Stroke-3 drawings laid end to end -> uint8 ``[n, H, W]``. Runs in a worker."""
    points = points.astype(np.float64)
    _check_finite(points)
    drawn = lengths > 0
    if len(lengths) and drawn.all():
        return ENGINES[mode](points, lengths, height, width)
    bitmaps = np.full((len(lengths), height, width), 255, np.uint8)
    if drawn.any():
        bitmaps[drawn] = ENGINES[mode](points, lengths[drawn], height, width)
    return bitmaps


def _check_finite(points):
    if not np.isfinite(points).all():
        raise ValueError("a drawing has a coordinate that is not a finite number")


def rasterize_all(drawings: list[np.ndarray], height: int, width: int, render_mode: str = "cairo") -> np.ndarray:
    """Draw normalised stroke-3 drawings: uint8 ``[n, height, width]``, 255 = paper; an empty drawing is blank.

    Raises ValueError for an impossible size or a coordinate that is not finite, or if cairo is missing.
    """
    check_size(height, width)
    lengths = np.array([len(drawing) for drawing in drawings], np.int64)
    points = np.concatenate([np.zeros((0, 3)), *(np.asarray(drawing)[:, :3] for drawing in drawings)])
    return _render_chunk(MODES[render_mode], points, lengths, height, width)


def rasterize(strokes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draw one normalised stroke-3 drawing ``[n, 3]`` as the training bitmaps are: uint8 ``[height, width]``.

    255 is paper, 0 ink. Raises as ``rasterize_all``.
    """
    return rasterize_all([strokes], height, width)[0]


# ---------------------------------------------------------------------------------------------------------
# Grids of pictures


def grid(images: list, columns: int, captions: list[str] | None = None, title: str = "", size=None):
    """Pictures of one size in rows of ``columns``, captions above them, a title over all -> a Pillow image.

    images: uint8 ``[H, W]``, Pillow images, or None for an empty tile; size: (width, height) of a tile, by default
    the first image's times the whole number that makes its shorter side at least 96 pixels.
    """
    from PIL import Image, ImageDraw, ImageFont

    images = [Image.fromarray(image) if isinstance(image, np.ndarray) else image for image in images]
    if size is None:
        times = -(-96 // min(images[0].size))
        size = images[0].width * times, images[0].height * times
    (width, height), gap, columns = size, 10, min(columns, len(images))
    title_height, caption_height = 44 if title else 0, 22 if captions else 0
    rows, row_height = -(-len(images) // columns), height + gap + caption_height
    sheet = Image.new("RGB", (columns * (width + gap) + gap, title_height + rows * row_height + gap), "#f4f1ea")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    pen.text((gap + 1, gap + 5), title, "#444", ImageFont.load_default(22))
    for i, image in enumerate(images):
        if image is not None:
            left, bottom = gap + i % columns * (width + gap), title_height + (i // columns + 1) * row_height
            sheet.paste(image.resize(size, Image.Resampling.NEAREST), (left, bottom - height))
            if captions:
                middle = left + width // 2, bottom - height - caption_height // 2
                pen.text(middle, captions[i][: width // 7], "#444", font, anchor="mm")
    return sheet


def png_bytes(image) -> bytes:
    """A Pillow image, as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_contact_sheet(path: Path) -> None:
    """Some of the test drawings of the bitmap file ``path`` on a sheet beside it, unless there is one as new."""
    sheet = path.with_suffix(".png")
    if sheet.is_file() and sheet.stat().st_mtime_ns >= path.stat().st_mtime_ns:
        return
    with np.load(path, allow_pickle=False) as file:
        bitmaps = file["test"]
    columns = max(3, min(12, 1600 // max(bitmaps.shape[2], 96)))
    count = min(columns * (columns * 2 // 3), len(bitmaps))
    chosen = bitmaps[np.linspace(0, len(bitmaps) - 1, count).round().astype(int)]
    category, _, size = path.stem.rpartition("_")
    if count:
        write_file(sheet, png_bytes(grid(list(chosen), columns, title=f"{category}   {size}")))


# ---------------------------------------------------------------------------------------------------------
# A whole data set


def normalise(strokes: PackedStrokes, scale_factor: float) -> PackedStrokes:
    """Drawings divided by the scale factor of their category."""
    return strokes._replace(points=strokes.points / np.array([scale_factor, scale_factor, 1], np.float32))


def render_packed(
    strokes: PackedStrokes, height: int, width: int, render_mode: str = "cairo", pool=None, progress=lambda count: None
) -> np.ndarray:
    """Bitmaps of normalised drawings: uint8 ``[n, height, width]``; a pool sets to work on all chunks at once.

    ``progress`` is told how many drawings were just done. Raises as ``rasterize_all``.
    """
    bitmaps = np.empty((len(strokes.lengths), height, width), np.uint8)
    size = max(1, min(CHUNK[render_mode], MAX_CHUNK_PIXELS // (height * width)))
    chunks = []
    for first in range(0, len(bitmaps), size):
        last = min(first + size, len(bitmaps)) - 1
        rows = slice(strokes.starts[first], strokes.starts[last] + strokes.lengths[last])
        chunks.append((render_mode, strokes.points[rows], strokes.lengths[first : last + 1], height, width))
    rendered = (map if pool is None else pool.map)(_render_chunk, *zip(*chunks, strict=True)) if chunks else ()
    for i, chunk in enumerate(rendered):
        bitmaps[i * size : i * size + len(chunk)] = chunk
        progress(len(chunk))
    return bitmaps


def render_category(
    strokes: dict[str, PackedStrokes],
    path: str | Path,
    height: int,
    width: int,
    render_mode: str = "cairo",
    pool=None,
    progress: Callable[[int], object] = lambda count: None,
    digest: str | None = None,
) -> None:
    """Write the bitmaps of a category, whose strokes are as ``load_packed_strokes`` gives them, to ``path``.

    It gets train, valid and test, uint8 ``[n, height, width]``, and ``digest``, which ties them to their strokes; not
    compressed, so that they can be mapped. ``progress`` is told how many drawings were just done. Raises ValueError,
    as ``rasterize_all`` does.
    """
    try:
        scale_factor = get_scale_factor(strokes["train"])
    except ValueError as error:
        raise ValueError(f"{Path(path).stem}: {error}") from None
    arrays = {
        split: render_packed(normalise(strokes[split], scale_factor), height, width, render_mode, pool, progress)
        for split in SPLITS
    }
    texts = {"digest": digest or strokes_digest(strokes), "render_mode": render_mode}
    write_file(path, lambda file: np.savez(file, **arrays, **texts))


def is_current(path: str | Path, digest: str, render_mode: str) -> bool:
    """Whether a bitmap file is whole, and made from the strokes with this digest in this mode."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # reads all of it
                return False
        with np.load(path, allow_pickle=False) as file:
            whole = set(SPLITS) <= set(file)
            return whole and str(file["digest"]) == digest and str(file["render_mode"]) == render_mode
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return False


def save_tree(made_from: Path, key: str, drawings: dict[Path, np.ndarray], encode: Callable[..., bytes]) -> None:
    """Write one file per drawing; those that are there stay.

    ``key`` is kept in the file ``made_from``; where it differs, files of other strokes or settings go first.
    """
    directories = {path.parent for path in drawings}
    if not made_from.is_file() or made_from.read_text() != key:
        for old in (old for directory in directories for old in directory.glob("[0-9]*.[ps][nv]g")):
            old.unlink()
        write_file(made_from, key.encode())
    for directory in directories:
        remove_stale_temporaries(directory)
    for path, drawing in drawings.items():
        if not path.is_file():
            write_file(path, encode(drawing))


def save_svg_tree(data_dir: str | Path, name: str, strokes: dict[str, PackedStrokes], digest: str) -> None:
    """``<data_dir>/svg/<category>/<split>/<index>.svg``: every drawing as an SVG of its own."""
    base, scale_factor = Path(data_dir, "svg", category_name(name)), get_scale_factor(strokes["train"])
    drawings = {
        base / split / f"{i}.svg": drawing
        for split in SPLITS
        for i, drawing in enumerate(normalise(strokes[split], scale_factor).drawings())
    }
    factor, padding = DRAWING_SETTINGS["factor"], DRAWING_SETTINGS["padding"]
    save_tree(base / "made_from", digest, drawings, lambda drawing: svg_text(drawing, factor, padding).encode())


def save_png_tree(data_dir: str | Path, name: str, path: Path, digest: str, render_mode: str) -> None:
    """``<data_dir>/png/<category>/<split>/<H>x<W>/<index>.png``: every bitmap of the file ``path`` on its own."""
    from PIL import Image

    base, size = Path(data_dir, "png", category_name(name)), path.stem.rpartition("_")[2]
    bitmaps = {
        base / split / size / f"{i}.png": bitmap
        for split, bitmaps in load_bitmaps(path, digest).items()
        for i, bitmap in enumerate(bitmaps)
    }
    key = f"{digest} {render_mode}"
    save_tree(base / f"made_from_{size}", key, bitmaps, lambda bitmap: png_bytes(Image.fromarray(bitmap)))


def pack_data_sets(sources: list[Path], max_seq_len: int, workers: int) -> int:
    """Pack what is not packed yet of the ``.npz`` sources, in as many processes; returns how many drawings that were.

    Raises as ``open_packed`` does; what was packed before stays.
    """
    if workers < 1:
        raise ValueError(f"--workers must be 1 or more, not {workers}")
    for source in sources:
        if not source.is_file():
            load_strokes(source)  # says what to do about it, before an hour has gone by
    stale, done, pool = [source for source in sources if not is_packed(source)], 0, None
    if min(workers, len(stale)) > 1 and sum(source.stat().st_size for source in stale) > MIN_BYTES_FOR_POOL:
        pool = make_pool(min(workers, len(stale)))
    try:
        counts = (map if pool is None else pool.map)(count_packed, stale, [max_seq_len] * len(stale))
        with Progress(0, len(stale), "category", "categories packed") as bar:
            for number, count in enumerate(counts):
                done += count
                bar.step_done(number, f"{done / (time.time() - bar.began):,.0f} drawings/s")
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return done


def count_packed(source: Path, max_seq_len: int) -> int:
    """``open_packed``, and how many drawings there are."""
    return sum(len(strokes.lengths) for strokes in open_packed(source, max_seq_len).strokes.values())


def render_data_sets(
    data_dir: str | Path,
    data_sets: list[str],
    height: int,
    width: int,
    render_mode: str = "cairo",
    workers: int | None = None,
    save_svg: bool = False,
    save_png: bool = False,
    overwrite: bool = False,
    max_seq_len: int = 250,
) -> int:
    """Render what is missing or stale of the categories ``data_sets``; returns how many drawings that were.

    Packs them, too. Raises FileNotFoundError or ValueError naming the file or the setting at fault and the remedy.
    """
    mode, workers = MODES[render_mode], available_cores() if workers is None else workers
    check_size(height, width)
    _import_inkscape() if mode == "inkscape" else import_cairo()
    sources = {name: npz_path(data_dir, name) for name in data_sets}
    pack_data_sets(list(sources.values()), max_seq_len, workers)
    remove_stale_temporaries(Path(data_dir, "bitmap"))
    done, pool = 0, None
    try:
        for number, (name, source) in enumerate(sources.items(), 1):
            path, packed = bitmap_path(data_dir, name, height, width), open_packed(source, max_seq_len)
            strokes, digest = packed.strokes, packed.digest
            count = sum(len(strokes[split].lengths) for split in SPLITS)
            if overwrite or not is_current(path, digest, mode):
                if pool is None and workers > 1 and count >= MIN_DRAWINGS_FOR_POOL[mode]:
                    pool = make_pool(workers)
                what = f"{category_name(name)}, {number} of {len(sources)}"
                with tqdm(total=count, desc=what, unit=" drawings", leave=number == len(sources)) as bar:
                    render_category(strokes, path, height, width, mode, pool, bar.update, digest)
                done += count
            write_contact_sheet(path)
            if save_svg:
                save_svg_tree(data_dir, name, strokes, digest)
            if save_png:
                save_png_tree(data_dir, name, path, digest, mode)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)  # what it still has to do is dropped
    return done


# ---------------------------------------------------------------------------------------------------------
# The script


def parse_args(argv) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--data_base_dir", "--data_dir", default="datasets", help="holds npz/ and gets bitmap/")
    parser.add_argument("--hparams", default="", help='data_set, img_H and img_W count, e.g. "data_set=[cat.npz]"')
    modes = "cairo: straight from the strokes; cairosvg (v2), inkscape (v1): through SVG, as the original"
    parser.add_argument("--render_mode", default="cairo", choices=MODES, help=modes)
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    add_switch(parser, "save_svg", "also write svg/<category>/<split>/<index>.svg")
    add_switch(parser, "save_png", "also write png/<category>/<split>/<H>x<W>/<index>.png")
    add_switch(parser, "overwrite", "render everything anew")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Pack and render as the command line says -> exit code."""
    args = parse_args(argv)
    import quiet_tensorflow  # noqa: F401  (here, as workers and importers of this file do without TensorFlow)

    from model import get_default_hparams

    hps = get_default_hparams().parse(args.hparams)
    workers = available_cores() if args.workers is None else args.workers
    try:
        if hps.bitmaps == "on_demand":
            sources = [npz_path(args.data_base_dir, name) for name in hps.data_set]
            done, where, what = pack_data_sets(sources, hps.max_seq_len, workers), "packed", "packed"
        else:
            done = render_data_sets(
                args.data_base_dir,
                hps.data_set,
                hps.img_H,
                hps.img_W,
                args.render_mode,
                workers,
                args.save_svg,
                args.save_png,
                args.overwrite,
                hps.max_seq_len,
            )
            where, what = "bitmap", "rendered"
    except BrokenProcessPool:
        raise ValueError("a worker died, perhaps for want of memory; run again with --workers=1") from None
    except KeyboardInterrupt:
        print("\ninterrupted; what was finished stays: run again to go on", file=sys.stderr)
        return 130
    where = Path(args.data_base_dir, where)
    print(f"{done:,} drawings {what} to {where}" if done else f"{where} is up to date")
    return 0


if __name__ == "__main__":
    run_script(main)
