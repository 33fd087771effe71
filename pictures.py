"""Drawings as pictures: animated SVG, PNG, GIF, a sheet of them, stroke files. No TensorFlow here.

A drawing is normalised stroke-3 ``[n, 3]`` as the model draws it; its picture is a square with the drawing in the
middle, and all formats show the same lines at the same positions.
"""

import base64
import io
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor
from tqdm import tqdm

from read_image import import_cairo
from render_svg2bitmap import grid, png_bytes
from utils import save_strokes, strokes_to_lines, write_file

FORMATS = ("svg", "png", "gif", "json", "npz")
PAGES = {
    "a3": (297.0, 420.0),
    "a4": (210.0, 297.0),
    "a5": (148.0, 210.0),
    "a6": (105.0, 148.0),
    "letter": (215.9, 279.4),
}
PAGE_MARGIN, PEN_WIDTH = 10.0, 0.3  # millimetres
PALETTE = ("#e4572e", "#2e86ab", "#4c9f50", "#8e44ad", "#d98e04", "#16808f", "#c2185b", "#5d4037")
PREFIX_COLOR = "#2a6fdb"
INK = "#1b1b1b"
MARGIN = 0.08  # of a picture's side, on each side
SHEET_TILE = 150  # pixels of the side of a tile
DRAW_SECONDS, PAUSE_SECONDS = 2.2, 0.06  # of an animation: the pen down in all, and between two strokes
PHOTO_BYTES = 80_000
GIF_FRAMES, GIF_FRAME_MS, GIF_LAST_MS = 36, 60, 2500


class Style(NamedTuple):
    """How drawings look."""

    size: int = 256  # pixels of a side
    line_width: float = 3.0  # pixels
    colors: tuple[str, ...] = (INK,)  # "#rrggbb", of the strokes in turn
    page: tuple[float, float] | None = None  # millimetres: of a plotter's sheet, for a file more of each drawing


class Photo(NamedTuple):
    """A picture that was read, small enough for a page."""

    jpeg: bytes
    size: tuple[int, int]  # width, height in pixels
    box: tuple[float, ...]  # (left, top, right, bottom) of what was read, as shares of the sides


class Tile(NamedTuple):
    """One tile of a row: a drawing, a bitmap that the model saw, or the picture that it was read from."""

    name: str  # of its file
    caption: str
    strokes: np.ndarray | None = None  # normalised stroke-3 [n, 3]
    image: np.ndarray | None = None  # uint8 [H, W]
    photo: Photo | None = None  # on the page alone
    prefix: int = 0  # how many of the first points a person drew
    given: bool = False  # to the model, or a person's, beside which its drawings are looked at
    written: bool = True  # gets files of its own
    box: np.ndarray | None = None  # [[left, top], [right, bottom]] of what is shown; None: the drawing


class Row(NamedTuple):
    """Drawings that belong together."""

    name: str  # of its directory
    caption: str
    tiles: list[Tile]
    category: str = ""  # in JSON; the caption, if there is none
    files: tuple[str, ...] = ()  # more of its directory


def make_style(size: int, line_width: float | None, colors: list[str] | None, page: str | None = None) -> Style:
    """The style of a command line; line_width None: fits the size; colors empty: a palette. Raises ValueError."""
    sheet = None if page is None else parse_page(page)
    if not 16 <= size <= 4096:
        raise ValueError(f"--size {size}: expected 16 to 4096 pixels")
    line_width = size / 85 if line_width is None else line_width
    if not 0.1 <= line_width <= size / 4:
        raise ValueError(f"--line_width {line_width:g}: expected 0.1 to {size / 4:g} pixels, a quarter of --size")
    if colors is None:
        return Style(size, line_width, page=sheet)
    try:
        colors = ["#{:02x}{:02x}{:02x}".format(*ImageColor.getrgb(color)[:3]) for color in colors]
    except ValueError:
        raise ValueError(f"--colors {' '.join(colors)}: expected names or #rrggbb, such as crimson #2e86ab") from None
    return Style(size, line_width, tuple(colors) or PALETTE, sheet)


def parse_page(text: str) -> tuple[float, float]:
    """``"a5"`` or ``"100x150"`` -> (width, height) in millimetres, upright. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)", text)
    page = tuple(sorted(map(float, found.groups()))) if found else PAGES.get(text.lower())
    if page is None or not 3 * PAGE_MARGIN <= page[0] <= page[1] <= 5000:
        least = f"{3 * PAGE_MARGIN:g} to 5000"
        raise ValueError(f"--page {text}: expected {', '.join(PAGES)}, or millimetres such as 100x150, each {least}")
    return page


# ---------------------------------------------------------------------------------------------------------
# One drawing


def picture_lines(
    strokes: np.ndarray, style: Style, prefix: int = 0, box: np.ndarray | None = None
) -> list[tuple[np.ndarray, str]]:
    """(positions ``[n, 2]`` in pixels, colour) of each pen stroke, the drawing in the middle of its square.

    A stroke that goes on where the ``prefix`` first points end becomes two. ``box`` ([[left, top], [right, bottom]]) is
    shown edge to edge, instead of the drawing.
    """
    lines = strokes_to_lines(strokes)
    if not lines:
        return []
    positions = np.concatenate(lines)
    low, high = (positions.min(axis=0), positions.max(axis=0)) if box is None else box
    side = max(style.size * (1 - 2 * MARGIN) - style.line_width, 1) if box is None else style.size
    scale = side / max(float((high - low).max()), 1e-6)
    colored, first, drawn = [], 0, 0
    for line in lines:
        known = min(max(prefix - first, 0), len(line))
        first += len(line)
        line = (line - (low + high) / 2) * scale + style.size / 2
        if known:
            colored.append((line[:known], PREFIX_COLOR))
        if known < len(line):
            colored.append((line[max(known - 1, 0) :], style.colors[drawn % len(style.colors)]))
            drawn += 1
    return colored


ANIMATION_CSS = """
path{fill:none;stroke-linecap:round;stroke-linejoin:round;animation:draw var(--t) linear var(--d) backwards}
@keyframes draw{from{stroke-dasharray:1 2;stroke-dashoffset:1.05;opacity:0}1%{opacity:1}
to{stroke-dasharray:1 2;stroke-dashoffset:0}}
@media (prefers-reduced-motion:reduce),print{path{animation:none}}
"""


def animated_svg(
    strokes: np.ndarray, style: Style, prefix: int = 0, inline: bool = False, box: np.ndarray | None = None
) -> str:
    """An SVG that draws itself, stroke by stroke; whole where nothing moves, and once it has ended.

    ``inline``: for a page that has ``ANIMATION_CSS`` already; ``box``: as of ``picture_lines``.
    """
    lines = picture_lines(strokes, style, prefix, box)
    lengths = [float(np.hypot(*np.diff(line, axis=0).T).sum()) + style.line_width for line, _ in lines]
    start, paths = 0.2, []
    for (line, color), length in zip(lines, lengths, strict=True):
        seconds = max(DRAW_SECONDS * length / sum(lengths), 0.02)
        points = [f"{x:.2f},{y:.2f}" for x, y in (line if len(line) > 1 else line.repeat(2, axis=0))]
        paths.append(
            f'<path pathLength="1" stroke="{color}" style="--d:{start:.2f}s;--t:{seconds:.2f}s" '
            f'd="M{points[0]} L{" ".join(points[1:])}"/>'
        )
        start += seconds + PAUSE_SECONDS
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{style.size}" height="{style.size}" '
        f'viewBox="0 0 {style.size} {style.size}">'
    )
    # The numbers behind --d and --t are a stroke's delay and duration; attributes hold what never moves.
    css = "" if inline else f"<style>{ANIMATION_CSS}</style>"
    body = "\n".join(paths)
    return (
        f'{head}{css}<rect width="100%" height="100%" fill="white"/>\n'
        f'<g fill="none" stroke-width="{style.line_width:g}" stroke-linecap="round" stroke-linejoin="round">\n'
        f"{body}</g></svg>\n"
    )


def plotter_svg(strokes: np.ndarray, page: tuple[float, float]) -> str:
    """An SVG in millimetres for a pen plotter: a path for each stroke in order; the page lies as they do."""
    lines = strokes_to_lines(strokes)
    points = np.concatenate([np.zeros((0, 2)), *lines])
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(2), np.zeros(2))
    width, height = sizes = np.array(page[::-1] if high[0] - low[0] > high[1] - low[1] else page)
    scale = ((sizes - 2 * PAGE_MARGIN) / np.maximum(high - low, 1e-6)).min()
    paths = []
    for line in lines:
        line = (line - (low + high) / 2) * scale + sizes / 2
        positions = " ".join(f"{x:.3f},{y:.3f}" for x, y in (line if len(line) > 1 else line.repeat(2, axis=0)))
        paths.append(f'<path d="M{positions}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}mm" height="{height:g}mm" '
        f'viewBox="0 0 {width:g} {height:g}">\n<g fill="none" stroke="black" stroke-width="{PEN_WIDTH}" '
        'stroke-linecap="round" stroke-linejoin="round">\n' + "\n".join(paths) + "\n</g></svg>\n"
    )


def render_image(
    strokes: np.ndarray, style: Style, prefix: int = 0, points: int | None = None, box: np.ndarray | None = None
) -> Image.Image:
    """The picture of a drawing, or of its first ``points`` points at the positions that they have in the whole."""
    cairocffi = import_cairo()
    surface = cairocffi.ImageSurface(cairocffi.FORMAT_RGB24, style.size, style.size)
    context = cairocffi.Context(surface)
    context.set_source_rgb(1, 1, 1)
    context.paint()
    context.set_line_width(style.line_width)
    context.set_line_cap(cairocffi.LINE_CAP_ROUND)
    context.set_line_join(cairocffi.LINE_JOIN_ROUND)
    lines = picture_lines(strokes, style, prefix, box)
    left = sum(len(line) for line, _ in lines) if points is None else points
    for line, color in lines:
        if left <= 0:
            break
        context.set_source_rgb(*(value / 255 for value in ImageColor.getrgb(color)))
        context.move_to(*line[0])
        for position in line[:left] if len(line) > 1 and left > 1 else line[:1]:
            context.line_to(*position)
        context.stroke()
        left -= len(line)
    return Image.frombuffer("RGB", (style.size, style.size), bytes(surface.get_data()), "raw", "BGRX", 0, 1)


def gif_bytes(strokes: np.ndarray, style: Style, prefix: int = 0) -> bytes:
    """A GIF in which the pen draws; the prefix is there from the start; the last frame is the still picture."""
    total = sum(len(line) for line, _ in picture_lines(strokes, style, prefix))
    counts = sorted({round(point) for point in np.linspace(max(prefix, 1), total, GIF_FRAMES)}) if total else [0]
    pictures = [np.asarray(render_image(strokes, style, prefix, count)) for count in counts]
    frames = _to_palette(pictures)
    buffer = io.BytesIO()
    waits = [GIF_FRAME_MS] * (len(frames) - 1) + [GIF_LAST_MS]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=waits, loop=0, optimize=False)
    return buffer.getvalue()


def _to_palette(pictures: list[np.ndarray]) -> list[Image.Image]:
    """RGB pictures on white, ``[H, W, 3]``, in 256 colours: exactly the last one's, unless it has more."""
    from scipy.spatial import cKDTree  # slow to import, and only GIFs need it

    inks = [(picture != 255).any(axis=2) for picture in pictures]
    colors = np.unique(pictures[-1][inks[-1]], axis=0)
    if len(colors) > 255:  # every colour counts once: of many colours, the rare ones are where strokes cross
        colors = np.array(Image.fromarray(colors[None]).quantize(255).getpalette(), np.uint8).reshape(-1, 3)
    colors = np.concatenate([np.full((1, 3), 255, np.uint8), colors])
    nearest, frames = cKDTree(colors.astype(float)), []
    for picture, ink in zip(pictures, inks, strict=True):
        indices = np.zeros(ink.shape, np.uint8)
        indices[ink] = nearest.query(picture[ink].astype(float))[1]
        frames.append(Image.fromarray(indices))
        frames[-1].putpalette(colors.tobytes())
    return frames


ENCODERS = {
    "svg": lambda tile, style: animated_svg(tile.strokes, style, tile.prefix).encode(),
    "png": lambda tile, style: png_bytes(render_image(tile.strokes, style, tile.prefix)),
    "gif": lambda tile, style: gif_bytes(tile.strokes, style, tile.prefix),
}


# ---------------------------------------------------------------------------------------------------------
# Many drawings


def write_pictures(directory: Path, rows: list[Row], formats: list[str], style: Style, scale_factor: float) -> None:
    """Files of all drawings: ``<row>/<tile>.svg``, .png and .gif; all in one ``drawings.json`` and ``drawings.npz``.

    With a page, ``<row>/<tile>_plotter.svg``, too.
    """
    pairs = [(row, tile) for row in rows for tile in row.tiles if tile.strokes is not None and tile.written]
    kinds = [kind for kind in formats if kind in ENCODERS]
    for row, tile in tqdm(pairs, desc="writing", unit=" drawings", disable=None if len(pairs) >= 50 else True):
        for kind in kinds:
            write_file(directory / row.name / f"{tile.name}.{kind}", ENCODERS[kind](tile, style))
        if style.page:
            write_file(
                directory / row.name / f"{tile.name}_plotter.svg", plotter_svg(tile.strokes, style.page).encode()
            )
    drawings = [(row.category or row.caption, tile.strokes) for row, tile in pairs]
    if "json" in formats:
        write_file(directory / "drawings.json", json_text(drawings, scale_factor).encode())
    if "npz" in formats:
        write_npz(directory / "drawings.npz", [strokes for _, strokes in drawings], scale_factor)


def json_text(drawings: list[tuple[str, np.ndarray]], scale_factor: float) -> str:
    """(category, normalised stroke-3) of drawings as JSON in units of the data, which ``read_strokes`` reads."""
    entries = []
    for category, strokes in drawings:
        offsets = np.round(strokes[:, :2].astype(np.float64) * scale_factor, 3).tolist()
        points = [[x, y, int(pen > 0)] for (x, y), pen in zip(offsets, strokes[:, 2], strict=True)]
        entries.append({"category": category, "strokes": points})
    return json.dumps({"format": "stroke-3", "scale_factor": scale_factor, "drawings": entries})


def write_npz(path: Path, drawings: list[np.ndarray], scale_factor: float) -> None:
    """Normalised drawings as a data set in the units of the data: a tenth, one at least, each to valid and test.

    Raises ValueError for fewer than three drawings that have points: no split may be empty.
    """
    drawings = [strokes for strokes in drawings if len(strokes)]
    if len(drawings) < 3:
        raise ValueError(f"--format npz: {len(drawings)} drawings; train, valid and test need one each")
    tenth = max(1, len(drawings) // 10)
    drawings = [(strokes * [scale_factor, scale_factor, 1]).astype(np.float32) for strokes in drawings]
    save_strokes(path, {"train": drawings[2 * tenth :], "valid": drawings[:tenth], "test": drawings[tenth : 2 * tenth]})


def write_sheet(path: Path, rows: list[Row], style: Style) -> None:
    """A PNG of all rows' tiles but photos, with their captions; many short rows stand in two blocks side by side."""
    rows = [row._replace(tiles=[tile for tile in row.tiles if tile.photo is None]) for row in rows]
    style = style._replace(size=SHEET_TILE, line_width=style.line_width * SHEET_TILE / style.size)
    columns = max(len(row.tiles) for row in rows)
    blocks = 2 if len(rows) > 8 and columns <= 6 else 1
    height = -(-len(rows) // blocks)
    tiles = []
    for index in (block * height + r for r in range(height) for block in range(blocks)):
        row = rows[index].tiles if index < len(rows) else []
        tiles += [*row, *[Tile("", "")] * (columns - len(row))]
    images = [
        tile.image if tile.strokes is None else render_image(tile.strokes, style, tile.prefix, box=tile.box)
        for tile in tiles
    ]
    captions = [tile.caption for tile in tiles]
    write_file(path, png_bytes(grid(images, blocks * columns, captions, size=(SHEET_TILE, SHEET_TILE))))


def reduce_photo(image: Image.Image, box: tuple[float, ...], side: int = 800) -> Photo:
    """A picture of ``side`` pixels at most, and in ``PHOTO_BYTES`` at most; ``box``: what was read, in its pixels."""
    shares = tuple(float(side) for side in np.array(box) / (image.size * 2))
    while True:
        small, buffer = image.copy(), io.BytesIO()
        small.thumbnail((side, side))
        small.save(buffer, "JPEG", quality=80)
        if buffer.tell() <= PHOTO_BYTES:
            return Photo(buffer.getvalue(), small.size, shares)
        side = side * 2 // 3


def data_uri(data: bytes, kind: str) -> str:
    """A file of MIME type ``kind`` as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
