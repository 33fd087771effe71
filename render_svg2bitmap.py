"""Strokes -> SVG -> bitmap, for a whole data set; and any image -> a bitmap like those.

    python render_svg2bitmap.py --data_base_dir=datasets
    python render_svg2bitmap.py --data_base_dir=datasets --hparams="data_set=[cat.npz,pig.npz],img_H=64,img_W=64"

Reads ``npz/<category>.npz``, writes ``bitmap/<category>_<H>x<W>.npz`` (uint8 ``[n, H, W]`` for train, valid and
test, 255 = paper) and a contact sheet beside it. A second run does only what is missing or stale.
"""

import argparse
import contextlib
import io
import math
import multiprocessing
import multiprocessing.connection
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np

from read_image import check_size, import_cairo
from read_image import load_image as load_image  # found here by scripts and users
from script import add_switch, available_cores, run_script
from utils import (
    DRAWING_SETTINGS,
    SPLITS,
    PackedStrokes,
    bitmap_path,
    category_name,
    get_bounds,
    get_scale_factor,
    load_bitmaps,
    load_strokes,
    npz_path,
    strokes_digest,
)

MODES = {"cairo": "cairo", "cairosvg": "cairosvg", "v2": "cairosvg", "inkscape": "inkscape", "v1": "inkscape"}
CHUNK = {"cairo": 160, "cairosvg": 25, "inkscape": 800}  # drawings in one piece of work
WORTH_A_POOL = {"cairo": 3000, "cairosvg": 100, "inkscape": 1600}  # starting processes takes a good half second
MAX_CHUNK_PIXELS = 1 << 24


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
        wanted = "m" if lifted else "l"
        # An "m" is always written: after one, further pairs would be lines. An "l" holds until the next letter.
        words.append(f"{'' if wanted == command == 'l' else wanted}{x},{y}")
        command, lifted = wanted, lifts > 0
    return " ".join(words), max_x - min_x + padding, max_y - min_y + padding


def svg_text(
    strokes: np.ndarray, factor: float = 0.2, padding: float = 50, line_width: float = 1, color: str = "black"
) -> str:
    """A stroke-3 drawing ``[n, 3]`` as an SVG document: a white page and one path."""
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


def write_file(path: str | Path, data: bytes) -> None:
    """Write a file so that whoever looks finds the old one or the whole new one, making its directory."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def remove_leftovers(directory: Path) -> None:
    """Delete what a killed run was writing with ``write_file``."""
    for part in directory.glob(".*.part") if os.name != "nt" else ():  # there, signal 0 is Ctrl-C
        try:
            os.kill(int(part.suffixes[-2][1:]), 0)  # is that process still there?
        except (ProcessLookupError, ValueError, IndexError):
            part.unlink(missing_ok=True)
        except OSError:
            pass


# ---------------------------------------------------------------------------------------------------------
# Strokes to bitmaps. Every mode follows one layout; a piece of work is drawings laid end to end.


class Layout(NamedTuple):
    """How each of n drawings is placed in a bitmap; columns are x, y."""

    lows: np.ndarray  # [n, 2] smallest coordinates, SVG units, origin included
    sizes: np.ndarray  # [n, 2] of the page, SVG units
    scales: np.ndarray  # [n] pixels per SVG unit
    pixels: np.ndarray  # [n, 2] rendered size, whole pixels
    places: np.ndarray  # [n, 2] where that goes in the bitmap


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
    # Where a side was raised to one pixel, CairoSVG centres the page in it.
    excess = np.maximum(layout.sizes * layout.scales[:, None], 1) - layout.sizes * layout.scales[:, None]
    corner = (DRAWING_SETTINGS["padding"] / 2 - layout.lows) * scales[:, None] + excess / 2
    first = np.rint(corner * 256) + layout.places * 256
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
    """Which drawings may have ink beyond their page, and must be cut there."""
    rounded = 0.5 + (lengths + 1) / 512  # pixels: of a side of the page, and 1/256 of every move
    free = DRAWING_SETTINGS["padding"] / 2 - 2.5 * DRAWING_SETTINGS["line_width"]  # a mitre takes 2 line widths
    return free * layout.scales < rounded


def _render_cairo(points, lengths, height, width):
    cairocffi = import_cairo()
    cairo, cast = cairocffi.cairo, cairocffi.ffi.cast
    layout = make_layout(points, lengths, height, width)
    paths = _cairo_paths(points, lengths, layout)
    page = np.zeros((height, -(-width // 4) * 4), np.uint8)  # cairo wants rows of whole words
    pixels = cast("unsigned char *", page.ctypes.data)
    surface = cairo.cairo_image_surface_create_for_data(pixels, cairocffi.FORMAT_A8, width, height, page.strides[0])
    context = cairo.cairo_create(surface)
    cairo.cairo_set_miter_limit(context, DRAWING_SETTINGS["miter_limit"])
    path, items = cairocffi.ffi.new("cairo_path_t *"), cast("cairo_path_data_t *", paths.ctypes.data)
    append, set_width, stroke = cairo.cairo_append_path, cairo.cairo_set_line_width, cairo.cairo_stroke
    inks, drawn = np.empty((len(lengths), height, width), np.uint8), page[:, :width]
    starts, line_widths = np.cumsum(lengths) - lengths, layout.scales * DRAWING_SETTINGS["line_width"]
    drawings = zip(inks, (starts * 2).tolist(), (lengths * 2).tolist(), line_widths.tolist(), strict=True)
    for ink, start, length, line_width in drawings:
        path.data, path.num_data = items + start, length
        append(context, path)
        set_width(context, line_width)
        stroke(context)
        ink[:] = drawn
        page.fill(0)
    status = cairo.cairo_status(context)  # it keeps the first error
    cairo.cairo_destroy(context)
    cairo.cairo_surface_destroy(surface)
    if status:
        reason = cairocffi.ffi.string(cairo.cairo_status_to_string(status)).decode()
        raise ValueError(f"cairo could not draw a bitmap of {height} x {width}: {reason}")
    bitmaps = np.subtract(255, inks, out=inks)
    for i in np.flatnonzero(_may_overhang(lengths, layout) & (layout.pixels < [width, height]).any(axis=1)):
        bitmaps[i] = _place(_page(bitmaps[i], layout, i), layout, i, height, width)
    return bitmaps


def _page(bitmap, layout, i):
    """The part of a bitmap that is drawing ``i``'s page."""
    (left, top), (columns, rows) = layout.places[i], layout.pixels[i]
    return bitmap[top : top + rows, left : left + columns]


def _place(page, layout, i, height, width):
    """The bitmap of drawing ``i`` whose page is given."""
    bitmap = np.full((height, width), 255, np.uint8)
    _page(bitmap, layout, i)[:] = page
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
        bitmaps[i] = _place(_grey_on_white(png), layout, i, height, width)
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
    """All drawings on one sheet, a cell each, as a process takes half a second to start."""
    from PIL import Image

    layout = make_layout(points, lengths, height, width)
    gap = 2  # keeps what overhangs a page out of the neighbour's cell
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
        left, top = corners[i] + layout.places[i]
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
        cell = grey[top : top + height, left : left + width]
        bitmaps[i] = _place(_page(cell, layout, i), layout, i, height, width)
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
# Contact sheets


def contact_sheet(
    images: list[np.ndarray], path: str | Path | None = None, columns: int = 12, title: str = "", min_side: int = 96
):
    """Lay grey uint8 ``[H, W]`` images out in rows; returns the Pillow image, and writes it if a path is given.

    Images are magnified by the whole number that makes their shorter side at least ``min_side`` pixels.
    """
    from PIL import Image, ImageDraw, ImageFont

    gap, head = 10, 44 if title else 0
    height, width = images[0].shape
    times = max(1, -(-min_side // min(height, width)))
    height, width = height * times, width * times
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    page = Image.new("L", (columns * (width + gap) + gap, rows * (height + gap) + gap + head), 226)
    if title:
        ImageDraw.Draw(page).text((gap + 1, gap + 5), title, fill=50, font=ImageFont.load_default(22))
    for i, image in enumerate(images):
        left = gap + i % columns * (width + gap)
        top = head + gap + i // columns * (height + gap)
        page.paste(Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST), (left, top))
    if path is not None:
        write_file(path, png_bytes(page))
    return page


def write_contact_sheet(path: Path) -> None:
    """The contact sheet of the bitmap file ``path``, beside it, if it has none as new: some of the test drawings."""
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
        contact_sheet(list(chosen), sheet, columns, f"{category}   {size}")


def png_bytes(image) -> bytes:
    """A Pillow image, as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


# ---------------------------------------------------------------------------------------------------------
# A whole data set


def _start_worker():
    """Leave Ctrl-C to the parent, and never outlive it: a worker whose parent was killed would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def make_pool(workers: int) -> ProcessPoolExecutor:
    """A pool whose processes are starting; spawned, as the fork of a program with threads is unsafe."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    for _ in range(workers):
        pool.submit(int)
    return pool


def render_drawings(
    drawings: list[np.ndarray], scale_factor: float, height: int, width: int, render_mode: str = "cairo", pool=None
) -> Iterator[np.ndarray]:
    """Bitmaps of stroke-3 drawings as they are in a file, in order, in pieces: uint8 ``[m, height, width]``.

    A pool sets to work on all of them at once.
    """
    packed = PackedStrokes.pack(drawings)
    for column in packed.points.T[:2]:  # ten times as fast as both at once
        column /= scale_factor
    ends = packed.starts + packed.lengths
    size = max(1, min(CHUNK[render_mode], MAX_CHUNK_PIXELS // (height * width)))
    pieces = []
    for first in range(0, len(drawings), size):
        rows = slice(packed.starts[first], ends[min(first + size, len(drawings)) - 1])
        pieces.append((render_mode, packed.points[rows], packed.lengths[first : first + size], height, width))
    spread = map if pool is None else pool.map
    return spread(_render_chunk, *zip(*pieces, strict=True)) if pieces else iter(())


def save_bitmaps(
    path: str | Path, counts: dict[str, int], size: tuple[int, int], pieces, texts: dict[str, str]
) -> None:
    """Write an .npz of ``counts[split]`` bitmaps a split, as ``pieces`` (split -> iterator of uint8 arrays) gives them.

    Nothing is at ``path`` before all is; NumPy's own ``savez_compressed`` takes four times as long.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for split, count in counts.items():
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, *size)}
            with archive.open(f"{split}.npy", "w", force_zip64=True) as member:
                # Run lengths are all there is to find in these bitmaps: zlib's strategy for them takes 2/3 of the
                # time, and the file is smaller. ZipFile has no door for it; without it, the file is right as well.
                member._compressor = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_RLE)
                np.lib.format.write_array_header_1_0(member, header)
                for bitmaps in pieces[split]:
                    member.write(np.ascontiguousarray(bitmaps).data)
        for name, text in texts.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.save(member, np.array(text), allow_pickle=False)
    write_file(path, buffer.getvalue())


def render_category(
    strokes: dict[str, list[np.ndarray]],
    path: str | Path,
    height: int,
    width: int,
    render_mode: str = "cairo",
    pool=None,
    progress: Callable[[int], object] = lambda drawings: None,
    digest: str | None = None,
) -> None:
    """Write the bitmaps of a category, whose strokes are as ``load_strokes`` gives them, to ``path``.

    It gets train, valid and test, uint8 ``[n, height, width]``, and ``digest``, which ties them to their
    strokes. ``progress`` is told how many drawings were just done. Raises as ``rasterize_all``.
    """
    try:
        scale_factor = get_scale_factor(strokes["train"])
    except ValueError as error:
        raise ValueError(f"{Path(path).stem}: {error}") from None
    drawn = {split: render_drawings(strokes[split], scale_factor, height, width, render_mode, pool) for split in SPLITS}

    def reported(pieces):
        for bitmaps in pieces:
            progress(len(bitmaps))
            yield bitmaps

    counts = {split: len(strokes[split]) for split in SPLITS}
    texts = {"digest": digest or strokes_digest(strokes), "render_mode": render_mode}
    save_bitmaps(path, counts, (height, width), {split: reported(drawn[split]) for split in SPLITS}, texts)


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


def save_tree(base: Path, key: str, places: dict[Path, object], encode: Callable[[object], bytes]) -> None:
    """Write one file for each drawing, ``places`` saying which and where; those that are there stay.

    ``key`` is kept in the file ``base``; where it differs, files of other strokes or settings go first.
    """
    if not base.is_file() or base.read_text() != key:
        for directory in {place.parent for place in places}:
            for old in directory.glob("[0-9]*.[ps][nv]g"):
                old.unlink()
        write_file(base, key.encode())
    for directory in {place.parent for place in places}:
        directory.mkdir(parents=True, exist_ok=True)
        remove_leftovers(directory)
    there = {file for directory in {place.parent for place in places} for file in directory.iterdir()}
    for place, drawing in places.items():
        if place not in there:
            write_file(place, encode(drawing))


def save_svg_tree(data_dir: str | Path, name: str, strokes: dict[str, list[np.ndarray]], digest: str) -> None:
    """``<data_dir>/svg/<category>/<split>/<index>.svg``: every drawing as an SVG of its own."""
    base = Path(data_dir, "svg", category_name(name))
    scale_factor = get_scale_factor(strokes["train"])
    places = {}
    for split in SPLITS:
        packed = PackedStrokes.pack(strokes[split])
        packed.points[:, :2] /= scale_factor
        for i, (start, length) in enumerate(zip(packed.starts, packed.lengths, strict=True)):
            places[base / split / f"{i}.svg"] = packed.points[start : start + length]
    factor, padding = DRAWING_SETTINGS["factor"], DRAWING_SETTINGS["padding"]
    save_tree(base / "made_from", digest, places, lambda drawing: svg_text(drawing, factor, padding).encode())


def save_png_tree(data_dir: str | Path, name: str, path: Path, digest: str, render_mode: str) -> None:
    """``<data_dir>/png/<category>/<split>/<H>x<W>/<index>.png``: every bitmap of the file ``path`` on its own."""
    from PIL import Image

    base = Path(data_dir, "png", category_name(name))
    places = {}
    for split, bitmaps in load_bitmaps(path, digest).items():
        for i, bitmap in enumerate(bitmaps):
            places[base / split / f"{bitmap.shape[0]}x{bitmap.shape[1]}" / f"{i}.png"] = bitmap
    size = path.stem.rpartition("_")[2]
    key = f"{digest} {render_mode}"
    save_tree(base / f"made_from_{size}", key, places, lambda bitmap: png_bytes(Image.fromarray(bitmap)))


def _count_drawings(path: Path) -> int:
    """How many drawings a category has, by its headers; 0 if they cannot be read (reading all of it says why)."""
    try:
        with zipfile.ZipFile(path) as archive:
            count = 0
            for split in SPLITS:
                with archive.open(f"{split}.npy") as member:
                    np.lib.format.read_magic(member)
                    count += np.lib.format.read_array_header_1_0(member)[0][0]
            return count
    except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile):
        return 0


@contextlib.contextmanager
def _worker_pools(workers: int):
    """A function that gives a pool, the same each time; what it still has to do is dropped at the end."""
    pools = []

    def get_pool():
        if not pools:
            pools.append(make_pool(workers))
        return pools[0]

    try:
        yield get_pool
    except BrokenProcessPool:
        raise ValueError("a worker died, perhaps for want of memory; run again with --workers=1") from None
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


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
) -> int:
    """Render what is missing or stale of the categories ``data_sets``; returns how many drawings that were.

    Raises FileNotFoundError or ValueError naming the file or the setting at fault and the remedy.
    """
    from tqdm import tqdm

    mode = MODES[render_mode]
    workers = available_cores() if workers is None else workers
    check_size(height, width)
    if workers < 1:
        raise ValueError(f"--workers must be 1 or more, not {workers}")
    _import_inkscape() if mode == "inkscape" else import_cairo()
    sources = {name: npz_path(data_dir, name) for name in data_sets}
    for source in sources.values():
        if not source.is_file():
            load_strokes(source)  # says what to do about it, before an hour has gone by
    remove_leftovers(Path(data_dir, "bitmap"))
    counts = {name: _count_drawings(source) for name, source in sources.items()}
    done = 0
    with _worker_pools(workers) as get_pool, tqdm(total=sum(counts.values()), unit=" drawings") as bar:
        for name, source in sources.items():
            path = bitmap_path(data_dir, name, height, width)
            bar.set_description(category_name(name))
            pooled = workers > 1 and bar.total - bar.n >= WORTH_A_POOL[mode]
            if pooled and not path.is_file():
                get_pool()  # its processes start while this one reads
            strokes = load_strokes(source)
            digest = strokes_digest(strokes)
            if overwrite or not is_current(path, digest, mode):
                pool = get_pool() if pooled else None
                render_category(strokes, path, height, width, mode, pool, bar.update, digest)
                done += counts[name]
            else:
                bar.total -= counts[name]
            write_contact_sheet(path)
            if save_svg:
                save_svg_tree(data_dir, name, strokes, digest)
            if save_png:
                save_png_tree(data_dir, name, path, digest, mode)
        bar.leave = done > 0
    return done


def main(argv: list[str] | None = None) -> int:
    """The script; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_base_dir", "--data_dir", default="datasets", help="holds npz/ and gets bitmap/")
    parser.add_argument("--hparams", default="", help='data_set, img_H and img_W count, e.g. "data_set=[cat.npz]"')
    modes = "cairo: straight from the strokes; cairosvg (v2), inkscape (v1): through SVG, as the original"
    parser.add_argument("--render_mode", default="cairo", choices=MODES, help=modes)
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    add_switch(parser, "save_svg", "write svg/<category>/<split>/<index>.svg, too")
    add_switch(parser, "save_png", "write png/<category>/<split>/<H>x<W>/<index>.png, too")
    add_switch(parser, "overwrite", "render everything anew")
    args = parser.parse_args(argv)

    from model import get_default_hparams  # imports TensorFlow, which workers and importers do without

    hps = get_default_hparams().parse(args.hparams)
    try:
        done = render_data_sets(
            args.data_base_dir,
            hps.data_set,
            hps.img_H,
            hps.img_W,
            args.render_mode,
            args.workers,
            args.save_svg,
            args.save_png,
            args.overwrite,
        )
    except KeyboardInterrupt:
        print("\ninterrupted; what was finished stays: run again to go on", file=sys.stderr)
        return 130
    where = Path(args.data_base_dir, "bitmap")
    print(f"{done:,} drawings rendered to {where}" if done else f"the bitmaps in {where} are up to date")
    return 0


if __name__ == "__main__":
    run_script(main)
