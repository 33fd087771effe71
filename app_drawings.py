"""What a page to draw on draws, shows and hands out: sheets, photos and models -> drawings -> HTML and files.

Each function raises ValueError with a line for the page. The layout and the server: sketch_pix2seq_app.py.
"""

import dataclasses
import functools
import html
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from endings import find_endings, read_candidates
from ink_scores import INK_BELOW, ink_scores, scaled
from morph import morph_drawings, morph_gif, morph_svg
from pictures import (
    MARGIN,
    PAGES,
    Style,
    animated_svg,
    data_uri,
    gif_bytes,
    json_text,
    picture_lines,
    plotter_svg,
    reduce_photo,
    render_image,
)
from read_image import open_image, read_drawing
from render_svg2bitmap import png_bytes, rasterize_all
from sampler import GUIDE, Sampler, begin_lines, content_keys, draw_codes, make_sampler
from seeds import seed_for
from utils import category_name, lines_to_strokes, load_strokes, slerp

SHOWN = 4  # drawings of which to choose one
SIDE = 1000  # of the sheet, in its own units
MAX_STROKES, MAX_POINTS = 500, 20_000  # on the sheet
MAX_INK = 0.5  # of a bitmap
TRIES = 6  # drawings of each ending, of which the closest is shown
KEYS, FRAMES, COOL = 7, 61, 0.05  # of a morph: drawings by the model, frames, temperature of those between
STYLE = Style(size=400, line_width=5.0)
MAX_NAMES = 12  # of the data sets that a model was trained on
EMPTY = "Draw something: the sheet is empty."
DOT = 12.0  # units of the sheet: length of the line that stands for a dot


# ---------------------------------------------------------------------------------------------------------
# Drawing


class Drawn(NamedTuple):
    """What a page shows and hands out."""

    drawings: list[np.ndarray]  # normalised stroke-3, the best first
    bitmap: np.ndarray | None  # uint8 [H, W] that the model saw
    scale_factor: float
    prefix: int = 0  # how many of the first points the person drew
    view: str = ""  # viewBox in which the first picture lies as on the person's sheet; "": it fills its square


@functools.lru_cache(maxsize=8)
def load(model_dir: str) -> Sampler:
    """A model and how it draws, read once. Raises as ``load_model`` does."""
    return make_sampler(model_dir, [0.1], guide=GUIDE)


def read_sheet(value) -> list[np.ndarray]:
    """What a browser says was drawn, a list of lines of [x, y] -> positions ``[n, 2]`` of each line.

    A dot becomes a short line, as models see lines alone.
    """
    if not isinstance(value, list) or not value:
        raise ValueError(EMPTY)
    if len(value) > MAX_STROKES:
        raise ValueError(f"{len(value):,} strokes are too many for this page; it takes {MAX_STROKES}.")
    try:
        lines = [np.array(line, float).reshape(-1, 2) for line in value]
    except (TypeError, ValueError, OverflowError):
        raise ValueError("This is no drawing: expected lines of points.") from None
    if not all(len(line) and (np.abs(line - SIDE / 2) <= SIDE / 2).all() for line in lines):
        raise ValueError(f"This is no drawing: expected lines of points from 0 to {SIDE}.")
    if sum(map(len, lines)) > MAX_POINTS:
        raise ValueError(f"More than {MAX_POINTS:,} points are too many for this page.")
    if np.ptp(np.concatenate(lines), axis=0).max() < DOT:
        raise ValueError("This is a dot, or hardly more: draw on.")
    return [
        np.array([line[0] - DOT / 2, line[0] + DOT / 2]) if not np.ptp(line, axis=0).any() else line for line in lines
    ]


def sheet_bitmap(lines: list[np.ndarray], sampler: Sampler) -> np.ndarray:
    """Lines as the model's training bitmaps show them: uint8 ``[H, W]``."""
    sampler.require_images("--model_dir")
    bitmap = rasterize_all([scaled(lines_to_strokes(lines))], sampler.model.hps.img_H, sampler.model.hps.img_W)[0]
    if np.mean(bitmap < INK_BELOW) > MAX_INK:
        raise ValueError("Nearly everything on the sheet is ink: no drawing can be made out.")
    return bitmap


def sheet_view(lines: list[np.ndarray]) -> str:
    """The viewBox in which a drawing of ``STYLE`` lies where these lines lie on their sheet."""
    points = np.concatenate(lines) / SIDE
    low, high = points.min(axis=0), points.max(axis=0)
    side = (STYLE.size * (1 - 2 * MARGIN) - STYLE.line_width) / (high - low).max()
    left, top = STYLE.size / 2 - side * (low + high) / 2
    return f"{left:.2f} {top:.2f} {side:.2f} {side:.2f}"


def open_photo(path: Path) -> Image.Image:
    """A picture within ``load_image``'s limits; errors name it without its directory."""
    try:
        return open_image(path)
    except (ValueError, OSError) as error:
        raise ValueError(str(error).replace(str(path), path.name)) from None


def read_photo(image: Image.Image, sampler: Sampler, box=None) -> tuple[np.ndarray, list[float], list[str]]:
    """(bitmap, box of what was read as shares of the image's sides, doubts); ``box``: where the person says to look."""
    sampler.require_images("--model_dir")
    hps, sizes = sampler.model.hps, np.array(image.size * 2)
    part = (
        image if box is None else image.crop(tuple((np.clip(np.array(box, float), 0, 1) * sizes).round().astype(int)))
    )
    if min(part.size) < 8:
        raise ValueError("The frame is too small; draw it around the drawing.")
    reading = read_drawing(part, hps.img_H, hps.img_W, sampler.info["line_width"])
    return reading.bitmap, list(np.array(reading.box) / sizes) if box is None else list(box), reading.doubts


def draw_bitmap(bitmap: np.ndarray, sampler: Sampler) -> Drawn:
    """Of ``sampler.num`` drawings of a bitmap, those with the best ink F1, best first."""
    images = bitmap[None]
    drawings = sampler.draw(sampler.encode(images), content_keys(images), images=images)[0]
    best = np.argsort(-closeness(bitmap, drawings), kind="stable")[:SHOWN]
    return Drawn([drawings[i] for i in best], bitmap, sampler.info["scale_factor"])


candidates = functools.lru_cache(maxsize=4)(read_candidates)


def complete_lines(lines: list[np.ndarray], sampler: Sampler, data_dir: str) -> Drawn:
    """Endings of lines: the model is shown them with what others drew on, and draws that in its manner.

    Without drawings of others it is shown the beginning alone.
    """
    sheet_bitmap(lines, sampler)
    hps, how = sampler.model.hps, dataclasses.replace(sampler, num=TRIES, guide=1)
    endings = find_endings(lines, candidates(data_dir, tuple(hps.data_set)), SHOWN) or [[]] * SHOWN
    wholes = [[*lines, *ending] for ending in endings]
    begins = [begin_lines(centred(whole)[: len(lines)], (SIDE, SIDE), sampler) for whole in wholes]
    if max(len(begun) for _, begun in begins) >= hps.max_seq_len - 1:
        raise ValueError("This is long already: the model has no points left to go on with.")
    bitmaps = rasterize_all([scaled(lines_to_strokes(whole)) for whole in wholes], hps.img_H, hps.img_W)
    prefixes = [begun for _, begun in begins]
    keys = [key + i for i, key in enumerate(content_keys(bitmaps))]
    drawn = how.draw(how.encode(bitmaps), keys, prefixes, bitmaps)
    drawings = []
    for (display, begun), bitmap, tries in zip(begins, bitmaps, drawn, strict=True):
        best = tries[np.argmax(closeness(bitmap, tries))]
        drawings.append(np.concatenate([display, best[len(begun) :]]))
    return Drawn(drawings, None, sampler.info["scale_factor"], len(begins[0][0]))


def centred(lines: list[np.ndarray]) -> list[np.ndarray]:
    """Lines moved and scaled so that they fill a sheet but for its margin."""
    points = np.concatenate(lines)
    middle, side = (points.min(axis=0) + points.max(axis=0)) / 2, max(np.ptp(points, axis=0).max(), 1e-6)
    return [(line - middle) * (SIDE * (1 - 2 * MARGIN) / side) + SIDE / 2 for line in lines]


def closeness(bitmap: np.ndarray, drawings: list[np.ndarray]) -> np.ndarray:
    """Ink F1 of drawings against a bitmap."""
    seen = rasterize_all([scaled(drawing) for drawing in drawings], *bitmap.shape)
    return ink_scores(np.repeat(bitmap[None], len(drawings), axis=0), seen, min(bitmap.shape) / 48)[0]


def morph_sheets(first: list[np.ndarray], second: list[np.ndarray], sampler: Sampler) -> list[np.ndarray]:
    """From one sheet's drawing to another's: ``FRAMES`` frames of morph.py.

    Between both lie drawings of codes on the sphere between theirs, unless the model looks at pixels, too, of which
    there are none.
    """
    bitmaps = np.stack([sheet_bitmap(lines, sampler) for lines in (first, second)])
    sampler = dataclasses.replace(sampler, num=1)
    codes = sampler.encode(bitmaps)
    keys = [drawings[0] for drawings in sampler.draw(codes, content_keys(bitmaps), images=bitmaps)]
    if not sampler.model.reads_pixels:
        between = np.stack([slerp(*codes, share) for share in np.linspace(0, 1, KEYS)[1:-1]])
        seeds, temperatures = [seed_for(sampler.seed, "sample")] * len(between), np.full(len(between), COOL)
        keys[1:1] = draw_codes(sampler.model, between, temperatures, sampler.model.hps.max_seq_len, seeds)
    if not (len(keys[0]) and len(keys[-1])):
        raise ValueError("The model drew nothing of one of them; draw more.")
    return morph_drawings([drawing for drawing in keys if len(drawing)], STYLE, FRAMES)


# ---------------------------------------------------------------------------------------------------------
# What is shown and taken away

FORMATS = {  # key -> (words on the button, file name, MIME type, encoder of (strokes, prefix, scale factor))
    "svg": ("SVG, draws itself", "drawing.svg", "image/svg+xml", lambda s, p, f: animated_svg(s, STYLE, p).encode()),
    "still": ("SVG, still", "drawing_still.svg", "image/svg+xml", lambda s, p, f: still_svg(s, p).encode()),
    "plotter": (
        "SVG for plotters",
        "plotter.svg",
        "image/svg+xml",
        lambda s, p, f: plotter_svg(s, PAGES["a5"]).encode(),
    ),
    "png": ("PNG", "drawing.png", "image/png", lambda s, p, f: png_bytes(render_image(s, STYLE, p))),
    "gif": ("GIF", "drawing.gif", "image/gif", lambda s, p, f: gif_bytes(s, STYLE, p)),
    "json": ("JSON", "drawing.json", "application/json", lambda s, p, f: json_text([("drawing", s)], f).encode()),
}
SPEEDS = {"slowly": 0.4, "at normal speed": 1, "fast": 3}


def still_svg(strokes: np.ndarray, prefix: int) -> str:
    """The SVG without the numbers by which it moves."""
    return re.sub(r' pathLength="1"| style="[^"]*"', "", animated_svg(strokes, STYLE, prefix, inline=True))


def encode_drawing(drawn: Drawn, choice: dict) -> dict:
    """The file {name, data} of the drawing ``index`` of ``choice`` in its ``format``."""
    _, name, kind, encode = FORMATS[choice["format"]]
    strokes = drawn.drawings[min(int(choice["index"]), len(drawn.drawings) - 1)]
    return {"name": name, "data": data_uri(encode(strokes, drawn.prefix, drawn.scale_factor), kind)}


def encode_morph(frames: list[np.ndarray], choice: dict) -> dict:
    """The file {name, data} of a morph there and back, for ever."""
    if choice["format"] == "gif":
        return {"name": "morph.gif", "data": data_uri(morph_gif(frames, STYLE), "image/gif")}
    return {"name": "morph.svg", "data": data_uri(morph_svg(frames, STYLE).encode(), "image/svg+xml")}


def tools(formats: dict) -> str:
    buttons = "".join(f'<button type="button" data-format="{key}">{words}</button>' for key, words in formats.items())
    return f'<div class="tools"><span>take away</span>{buttons}</div>'


def show(drawn: Drawn) -> str:
    """Drawings of which one is large, as HTML; the browser's part is in assets/app.js."""
    pictures = [animated_svg(strokes, STYLE, drawn.prefix, inline=True) for strokes in drawn.drawings]
    small = "".join(f'<button type="button" class="small" title="this one">{svg}</button>' for svg in pictures)
    if drawn.bitmap is not None:
        enlarged = drawn.bitmap.repeat(4, axis=0).repeat(4, axis=1)  # made smaller as it is, it would lose lines
        source = data_uri(png_bytes(Image.fromarray(enlarged)), "image/png")
        small += f'<figure class="seen"><img alt="bitmap" src="{source}"><figcaption>what it sees</figcaption></figure>'
    files = tools({key: words for key, (words, *_) in FORMATS.items()})
    speeds = "".join(
        f'<option value="{value}"{" selected" * (value == 1)}>{words}</option>' for words, value in SPEEDS.items()
    )
    return (
        f'<div class="drawn"><div class="large" title="replay" data-view="{drawn.view}"></div>'
        f'<div class="choices">{small}</div>'
        '<div class="tools"><button type="button" class="replay">▶ replay</button>'
        f'<select class="speed">{speeds}</select></div>{files}</div>'
    )


def photo_html(photo: Image.Image, box, doubts=()) -> str:
    """A photo, and the frame of what was read of it, with why that may be wrong; ``box`` None: nothing was read yet."""
    small = (
        f'<img alt="photo" draggable="false" src="{data_uri(reduce_photo(photo, (0, 0, 1, 1)).jpeg, "image/jpeg")}">'
    )
    if box is None:
        return f'<p class="note">Reading it …</p><div class="photo">{small}</div>'
    corners = "".join(f'<span class="corner" data-grip="{grip}"></span>' for grip in ("lt", "rt", "lb", "rb"))
    left, top, right, bottom = (100 * share for share in box)
    place = f"left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;height:{bottom - top:.2f}%"
    return (
        f"{note('; '.join(['What is in the frame was read', *doubts]) + '. Move it or its corners.')}"
        f'<div class="photo">{small}'
        f'<div class="frame" data-box="{" ".join(map(str, box))}" style="{place}">{corners}</div></div>'
    )


def note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'


def blank(text: str) -> str:
    """What stands where drawings will."""
    return f'<div class="blank">{note(text)}</div>'


def describe(model_dir: str) -> str:
    """What a model was trained on, in Markdown: as the model card beside it says, else its data sets' names."""
    sampler = load(model_dir)
    hps, names = sampler.model.hps, [category_name(name).replace("_", " ") for name in sampler.model.hps.data_set]
    card = Path(model_dir, "README.md")
    said = re.search(r"^\| *data *\| *(.+?) *\|$", card.read_text() if card.is_file() else "", re.MULTILINE)
    others = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    subjects = said[1] if said else ", ".join(names[:MAX_NAMES]) + others
    return (
        f"**{Path(model_dir).name}**, step {sampler.step:,}, sees {hps.img_H} × {hps.img_W} pixels. "
        f"It was trained on: {subjects}."
    )


def example_sheets(data_dir: str) -> str:
    """Buttons that put a drawing of each of some data sets on the sheet."""
    buttons = []
    for path in sorted(Path(data_dir, "npz").glob("doodle_*.npz")):
        drawing = scaled(load_strokes(path)["test"][1])
        style = Style(size=SIDE, line_width=40.0)
        lines = [line.round().astype(int).tolist() for line, _ in picture_lines(drawing, style)]
        picture = animated_svg(drawing, style, inline=True)
        title = category_name(path.stem).removeprefix("doodle_")
        buttons.append(
            f'<button type="button" class="example" title="{title}" data-lines="{json.dumps(lines)}">{picture}</button>'
        )
    return "".join(buttons)
