"""Drawings as pictures: animated SVG, PNG, GIF, a sheet and a web page of them, stroke files. No TensorFlow here.

A drawing is normalised stroke-3 ``[n, 3]`` as the model draws it; its picture is a square with the drawing in the
middle, and all formats show the same lines in the same places.
"""

import base64
import html
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from read_image import import_cairo
from render_svg2bitmap import png_bytes, write_file
from utils import SPLITS, strokes_to_lines

FORMATS = ("svg", "png", "gif", "json", "npz")
PALETTE = ("#e4572e", "#2e86ab", "#4c9f50", "#8e44ad", "#d98e04", "#16808f", "#c2185b", "#5d4037")
GIVEN_COLOR = "#2a6fdb"
INK = "#1b1b1b"
MARGIN = 0.08  # of a picture's side, on each side
DRAW_SECONDS, PAUSE_SECONDS = 2.2, 0.06  # of an animation: the pen down in all, and between two strokes
GIF_FRAMES, GIF_FRAME_MS, GIF_LAST_MS = 36, 60, 2500


class Look(NamedTuple):
    """How drawings look."""

    size: int = 256  # pixels of a side
    line_width: float = 3.0  # pixels
    colors: tuple[str, ...] = (INK,)  # "#rrggbb", of the strokes in turn


class Cell(NamedTuple):
    """One place of a row: a drawing, or a bitmap that the model saw."""

    name: str  # of its file
    caption: str
    strokes: np.ndarray | None = None  # normalised stroke-3 [n, 3]
    image: np.ndarray | None = None  # uint8 [H, W]
    given: int = 0  # the first points, drawn by a person
    written: bool = True  # gets files of its own


class Row(NamedTuple):
    """Drawings that belong together."""

    name: str  # of its directory
    caption: str
    cells: list[Cell]
    category: str = ""  # in JSON; the caption, if there is none


def make_look(size: int, line_width: float | None, colors: list[str] | None) -> Look:
    """What a user asks for; no ``line_width``: fits the size; no colour named: a palette. Raises ValueError."""
    if not 16 <= size <= 4096:
        raise ValueError(f"--size {size}: wanted 16 to 4096 pixels")
    line_width = size / 85 if line_width is None else line_width
    if not 0.1 <= line_width <= size / 4:
        raise ValueError(f"--line_width {line_width:g}: wanted 0.1 to {size / 4:g} pixels, a quarter of --size")
    if colors is None:
        return Look(size, line_width)
    try:
        colors = ["#{:02x}{:02x}{:02x}".format(*ImageColor.getrgb(color)[:3]) for color in colors]
    except ValueError:
        raise ValueError(f"--colors {' '.join(colors)}: wanted names or #rrggbb, such as crimson #2e86ab") from None
    return Look(size, line_width, tuple(colors) or PALETTE)


# ---------------------------------------------------------------------------------------------------------
# One drawing


def place_lines(strokes: np.ndarray, look: Look, given: int = 0) -> list[tuple[np.ndarray, str]]:
    """(positions ``[n, 2]`` in pixels, colour) of each pen stroke, the drawing in the middle of its square.

    A stroke that goes on where the ``given`` points end becomes two.
    """
    lines = strokes_to_lines(strokes)
    if not lines:
        return []
    positions = np.concatenate(lines)
    low, high = positions.min(axis=0), positions.max(axis=0)
    extent = max(float((high - low).max()), 1e-6)
    scale = max(look.size * (1 - 2 * MARGIN) - look.line_width, 1) / extent
    placed, first, drawn = [], 0, 0
    for line in lines:
        known = min(max(given - first, 0), len(line))
        first += len(line)
        line = (line - (low + high) / 2) * scale + look.size / 2
        if known:
            placed.append((line[:known], GIVEN_COLOR))
        if known < len(line):
            placed.append((line[max(known - 1, 0) :], look.colors[drawn % len(look.colors)]))
            drawn += 1
    return placed


STYLE = """
path{fill:none;stroke-linecap:round;stroke-linejoin:round;animation:draw var(--t) linear var(--d) backwards}
@keyframes draw{from{stroke-dasharray:1 2;stroke-dashoffset:1.05;opacity:0}1%{opacity:1}
to{stroke-dasharray:1 2;stroke-dashoffset:0}}
@media (prefers-reduced-motion:reduce),print{path{animation:none}}
"""


def animated_svg(strokes: np.ndarray, look: Look, given: int = 0, inline: bool = False) -> str:
    """An SVG that draws itself, stroke by stroke; whole where nothing moves, and once it has ended.

    ``inline``: for a page that has ``STYLE`` already.
    """
    lines = place_lines(strokes, look, given)
    lengths = [float(np.hypot(*np.diff(line, axis=0).T).sum()) + look.line_width for line, _ in lines]
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
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{look.size}" height="{look.size}" '
        f'viewBox="0 0 {look.size} {look.size}">'
    )
    # The numbers behind --d and --t are a stroke's delay and duration; attributes hold what never moves.
    style = "" if inline else f"<style>{STYLE}</style>"
    body = "\n".join(paths)
    return (
        f'{head}{style}<rect width="100%" height="100%" fill="white"/>\n'
        f'<g fill="none" stroke-width="{look.line_width:g}" stroke-linecap="round" stroke-linejoin="round">\n'
        f"{body}</g></svg>\n"
    )


def paint(strokes: np.ndarray, look: Look, given: int = 0, points: int | None = None) -> Image.Image:
    """The picture of a drawing, or of its first ``points`` points in the places that they have in the whole."""
    cairocffi = import_cairo()
    surface = cairocffi.ImageSurface(cairocffi.FORMAT_RGB24, look.size, look.size)
    context = cairocffi.Context(surface)
    context.set_source_rgb(1, 1, 1)
    context.paint()
    context.set_line_width(look.line_width)
    context.set_line_cap(cairocffi.LINE_CAP_ROUND)
    context.set_line_join(cairocffi.LINE_JOIN_ROUND)
    left = sum(len(line) for line, _ in place_lines(strokes, look, given)) if points is None else points
    for line, color in place_lines(strokes, look, given):
        if left <= 0:
            break
        context.set_source_rgb(*(value / 255 for value in ImageColor.getrgb(color)))
        context.move_to(*line[0])
        for position in line[:left] if len(line) > 1 and left > 1 else line[:1]:
            context.line_to(*position)
        context.stroke()
        left -= len(line)
    return Image.frombuffer("RGB", (look.size, look.size), bytes(surface.get_data()), "raw", "BGRX", 0, 1)


def gif_bytes(strokes: np.ndarray, look: Look, given: int = 0) -> bytes:
    """A GIF in which the pen draws; what is given is there from the start; the last frame is the still picture."""
    total = sum(len(line) for line, _ in place_lines(strokes, look, given))
    counts = sorted({round(point) for point in np.linspace(max(given, 1), total, GIF_FRAMES)}) if total else [0]
    pictures = [np.asarray(paint(strokes, look, given, count)) for count in counts]
    frames = _to_palette(pictures)
    buffer = io.BytesIO()
    waits = [GIF_FRAME_MS] * (len(frames) - 1) + [GIF_LAST_MS]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=waits, loop=0, optimize=False)
    return buffer.getvalue()


def _to_palette(pictures: list[np.ndarray]) -> list[Image.Image]:
    """RGB pictures on white, ``[H, W, 3]``, in 256 colours: exactly the last one's, unless it has more."""
    from scipy.spatial import cKDTree

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
    "svg": lambda cell, look: animated_svg(cell.strokes, look, cell.given).encode(),
    "png": lambda cell, look: png_bytes(paint(cell.strokes, look, cell.given)),
    "gif": lambda cell, look: gif_bytes(cell.strokes, look, cell.given),
}


# ---------------------------------------------------------------------------------------------------------
# Many drawings


def write_pictures(directory: Path, rows: list[Row], formats: list[str], look: Look, scale_factor: float) -> None:
    """Files of all drawings: ``<row>/<cell>.svg``, .png and .gif; all in one ``drawings.json`` and ``drawings.npz``."""
    from tqdm import tqdm

    pairs = [(row, cell) for row in rows for cell in row.cells if cell.strokes is not None and cell.written]
    kinds = [kind for kind in formats if kind in ENCODERS]
    for row, cell in tqdm(pairs, desc="writing", unit=" drawings", disable=not kinds or len(pairs) < 50):
        for kind in kinds:
            write_file(directory / row.name / f"{cell.name}.{kind}", ENCODERS[kind](cell, look))
    drawings = [(row.category or row.caption, cell.strokes) for row, cell in pairs]
    if "json" in formats:
        write_file(directory / "drawings.json", json_text(drawings, scale_factor).encode())
    if "npz" in formats:
        write_npz(directory / "drawings.npz", [strokes for _, strokes in drawings], scale_factor)


def json_text(drawings: list[tuple[str, np.ndarray]], scale_factor: float) -> str:
    """(category, normalised stroke-3) as the JSON that ``datasets/import_drawings.py`` reads: units of the data."""
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
    chosen = {"valid": drawings[:tenth], "test": drawings[tenth : 2 * tenth], "train": drawings[2 * tenth :]}
    arrays = {}
    for split in SPLITS:
        arrays[split] = np.empty(len(chosen[split]), object)
        for i, strokes in enumerate(chosen[split]):
            arrays[split][i] = (strokes * [scale_factor, scale_factor, 1]).astype(np.float32)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_file(path, buffer.getvalue())


def write_sheet(path: Path, rows: list[Row], look: Look) -> None:
    """A PNG of all rows, each cell a tile with its caption above it."""
    tile, gap, head = 150, 10, 22
    small = look._replace(size=tile, line_width=look.line_width * tile / look.size)
    columns = max(len(row.cells) for row in rows)
    page = Image.new("RGB", (columns * (tile + gap) + gap, len(rows) * (tile + gap + head) + gap), "#f4f1ea")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for r, row in enumerate(rows):
        for c, cell in enumerate(row.cells):
            left, top = gap + c * (tile + gap), gap + head + r * (tile + gap + head)
            if cell.image is not None:
                picture = Image.fromarray(cell.image).resize((tile, tile), Image.Resampling.NEAREST)
            else:
                picture = paint(cell.strokes, small, cell.given)
            page.paste(picture, (left, top))
            pen.text((left + tile // 2, top - 11), cell.caption[:22], "#444", font, anchor="mm")
    write_file(path, png_bytes(page))


PAGE_STYLE = """
*{box-sizing:border-box}
body{margin:0;padding:2.5rem clamp(1rem,4vw,4rem);background:#f4f1ea;color:#33302b;
font:16px/1.5 "Avenir Next","Segoe UI",system-ui,sans-serif}
h1{font-weight:600;font-size:1.7rem;margin:0}header p{margin:.2rem 0 2rem;color:#777066}
section{margin:0 0 1.6rem}h2{font-size:1rem;font-weight:600;margin:0 0 .4rem}
.row{display:flex;flex-wrap:wrap;gap:.5rem}
figure{margin:0;width:96px;background:#fff;border-radius:10px;padding:7px 7px 4px;
box-shadow:0 1px 3px #0002;transition:transform .18s,box-shadow .18s}
figure:hover{transform:translateY(-4px) rotate(-.6deg) scale(1.12);box-shadow:0 8px 20px #0003}
figure svg,figure img{display:block;width:82px;height:82px;image-rendering:pixelated;border-radius:4px}
figure.seen{background:#e9e2d2}figure.person{background:#dfe9f6}
figcaption{font-size:.75rem;text-align:center;color:#777066;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
figure:hover path{animation-name:again}
@keyframes again{from{stroke-dasharray:1 2;stroke-dashoffset:1.05;opacity:0}1%{opacity:1}
to{stroke-dasharray:1 2;stroke-dashoffset:0}}
@media (prefers-reduced-motion:reduce),print{figure,figure:hover{transition:none;transform:none}
figure:hover path{animation:none}}
"""


def write_page(path: Path, title: str, note: str, rows: list[Row], look: Look) -> None:
    """A web page of all rows, in one file that needs no other; drawings draw themselves, again under the mouse."""
    sections = []
    for row in rows:
        figures = "\n".join(_figure(cell, look) for cell in row.cells)
        heading = f"<h2>{html.escape(row.caption)}</h2>" if row.caption else ""
        sections.append(f'<section>{heading}<div class="row">\n{figures}</div></section>')
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}{PAGE_STYLE}</style></head>\n"
        f"<body><header><h1>{html.escape(title)}</h1><p>{html.escape(note)}</p></header>\n"
    )
    write_file(path, (text + "\n".join(sections) + "\n</body></html>\n").encode())


def _figure(cell: Cell, look: Look) -> str:
    caption = html.escape(cell.caption)
    if cell.image is not None:
        data = base64.b64encode(png_bytes(Image.fromarray(cell.image))).decode()
        kind, picture = "seen", f'<img alt="{caption}" src="data:image/png;base64,{data}">'
    else:
        kind = "person" if cell.name == "person" else "drawn"
        picture = animated_svg(cell.strokes, look, cell.given, inline=True)
    return f'<figure class="{kind}" title="{caption}">{picture}<figcaption>{caption}</figcaption></figure>'
