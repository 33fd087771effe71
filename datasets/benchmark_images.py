"""How well drawings are read from pictures as people have them: photos of sheets, squared paper, frames, hairlines.

python datasets/benchmark_images.py datasets/npz/doodle_*.npz                   # every kind of picture
python datasets/benchmark_images.py --kinds table note datasets/npz/*.npz --count 200 --sheet sheet.png

Each picture is composed of a real drawing, from a seed. What ``load_image`` reads is compared with the drawing's own
training bitmap: is that the nearest of all (chance: one in ``--count``), would it be if the drawing's turn were undone,
how much of the ink agrees within a pixel (ink F1), and how many are lost (F1 within 2 pixels under 0.7).
"""

import argparse
import copy
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmark_render import normalised

from ink_scores import LOST_BELOW, ink_scores
from read_image import load_image, open_image
from render_svg2bitmap import grid, rasterize, rasterize_all, svg_path, svg_text
from script import make_parser, run_script
from utils import DRAWING_SETTINGS, lines_to_strokes, load_strokes

SIDE = 48
TURNS = np.radians(np.arange(-12, 13, 2))  # that a drawing may have been turned by
PENS = ((25, 25, 35), (20, 40, 130), (60, 60, 65), (90, 30, 30))  # black, blue, pencil, brown
PAPERS = ((250, 250, 248), (240, 238, 230), (252, 250, 240))
NOTES = ((250, 225, 100), (250, 170, 190), (160, 215, 240), (180, 230, 150))
TABLES = ((96, 70, 52), (28, 28, 30), (150, 110, 75), (200, 195, 188), (120, 125, 130), (60, 80, 110), (215, 205, 185))


# ---------------------------------------------------------------------------------------------------------
# What befalls a drawing


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


def bad_photo(strokes: np.ndarray, rng: np.random.Generator, damaged: bool = True) -> Image.Image:
    """A drawing with what befalls drawings on their way to a file; or only turned and in perspective like that."""
    line = float(np.exp(rng.uniform(np.log(0.3), np.log(4))))
    paper, color = rng.integers(215, 256, 3).tolist(), rng.integers(0, 90, 3).tolist()
    if not damaged:
        line, paper, color = 1.0, [255] * 3, [0] * 3
    image = draw_large(strokes, int(rng.integers(350, 1400)), line, color, paper)
    if rng.random() < 0.4:
        image = on_page(image, rng.uniform(1.5, 4), rng, paper)
    image = image.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC, expand=True, fillcolor=tuple(paper))
    image = tilt(image, 0.07, rng, paper)
    if not damaged:
        return image
    image = shade(image, rng.uniform(0, 0.55), rng.uniform(2, 14), rng)
    return Image.eval(image, lambda value: 255 - value) if rng.random() < 0.25 else image


def degrade(strokes: np.ndarray, rng: np.random.Generator) -> bytes:
    """A bad photo, a JPEG of quality 30."""
    return encoded(bad_photo(strokes, rng), "JPEG", quality=30)


def turned(strokes: np.ndarray, rng: np.random.Generator) -> bytes:
    """``degrade``'s drawing as it lies there, undamaged: the most that can be read of it, the turn not undone."""
    before = copy.deepcopy(rng)
    bad_photo(strokes, rng)
    return encoded(bad_photo(strokes, before, damaged=False))


def blurred(bitmaps: np.ndarray) -> np.ndarray:
    """Bitmaps ``[n, H, W]`` as vectors that hardly change when a line moves by a fiftieth of the page."""
    from scipy import ndimage

    blur = min(bitmaps.shape[1:]) / 24
    return ndimage.gaussian_filter(255.0 - bitmaps, (0, blur, blur)).reshape(len(bitmaps), -1)


def turned_keys(drawings: list[np.ndarray]) -> np.ndarray:
    """What ``blurred`` makes of normalised drawings, all turned in ``len(TURNS)`` ways: ``[turns, drawings, -1]``."""
    matrices = [np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]]) for a in TURNS]
    return np.stack([blurred(rasterize_all([one @ matrix for one in drawings], SIDE, SIDE)) for matrix in matrices])


def nearest(keys: np.ndarray, sought: np.ndarray) -> np.ndarray:
    """For each row of ``sought``, which row of ``keys`` is nearest."""
    return np.array([np.square(keys - key).sum(axis=1).argmin() for key in sought])


def before_and_after(file: str | Path, bitmap: np.ndarray) -> np.ndarray:
    """An image file and what ``load_image`` made of it, side by side: uint8 ``[2 H, 4 W]``."""
    height, width = (2 * side for side in bitmap.shape)
    image = open_image(Path(file))
    image.thumbnail((width, height))
    page = Image.new("L", (width, height), 190)
    page.paste(image.convert("L"), ((width - image.width) // 2, (height - image.height) // 2))
    return np.concatenate([np.asarray(page), np.kron(bitmap, np.ones((2, 2), np.uint8))], axis=1)


def pick(rng: np.random.Generator, choices):
    """One of the choices."""
    return choices[rng.integers(len(choices))]


def jpeg(image: Image.Image, rng: np.random.Generator) -> bytes:
    """A JPEG file of a photo, somewhat noisy and blurred."""
    image = shade(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2))), rng.uniform(0, 0.3), 4, rng)
    return encoded(image, "JPEG", quality=int(rng.integers(60, 93)))


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def texture(size: tuple[int, int], color, rng: np.random.Generator) -> np.ndarray:
    """A table of that colour, plain, grained or speckled: float ``[rows, columns, 3]``."""
    columns, rows = size
    kind = rng.integers(3)
    if kind == 0:
        grain = np.zeros((rows, columns), np.float32)
    elif kind == 1:  # wood: streaks along one side
        streaks = cv2.GaussianBlur(rng.normal(0, 1, (rows, columns)).astype(np.float32), (0, 0), 60, sigmaY=1.5)
        grain = 9 * streaks / streaks.std()
    else:
        specks = cv2.GaussianBlur(rng.normal(0, 1, (rows, columns)).astype(np.float32), (0, 0), 2.5)
        grain = 5 * specks / specks.std()
    return np.clip(np.array(color, np.float32) + grain[..., None], 0, 255)


def sheet_corners(size, share: float, turn: float, aspect: float, rng: np.random.Generator) -> np.ndarray | None:
    """Corners ``[4, 2]`` of a sheet that fills ``share`` of a photo, turned and in perspective; None if it juts out."""
    columns, rows = size
    height = np.sqrt(share * columns * rows / aspect)
    half = np.array([aspect * height, height]) / 2
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
    corners *= 1 + rng.uniform(-0.07, 0.07, (4, 2))
    angle = np.radians(turn)
    corners = corners @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    low, high = corners.min(axis=0), corners.max(axis=0)
    room = np.array([columns, rows]) - 4 - (high - low)
    return None if (room < 0).any() else corners - low + 2 + rng.uniform(0, 1, 2) * room


def lay_on(table: np.ndarray, sheet: Image.Image, corners: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A photo of a sheet with those corners, casting a slight shadow."""
    rows, columns = table.shape[:2]
    source = np.float32([(0, 0), (sheet.width, 0), (sheet.width, sheet.height), (0, sheet.height)])
    matrix = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    shrunk = np.asarray(sheet)
    warped = cv2.warpPerspective(shrunk, matrix, (columns, rows), flags=cv2.INTER_AREA)
    cover = cv2.warpPerspective(np.full(shrunk.shape[:2], 255, np.uint8), matrix, (columns, rows)) / 255.0
    shift = np.float32([[1, 0, rng.uniform(-8, 8)], [0, 1, rng.uniform(2, 8)]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(cover.astype(np.float32), shift, (columns, rows)), (0, 0), 5)
    table = table * (1 - rng.uniform(0.1, 0.4) * shadow[..., None])
    return Image.fromarray((table * (1 - cover[..., None]) + warped * cover[..., None]).astype(np.uint8))


def drawn_sheet(strokes: np.ndarray, rng: np.random.Generator, paper, side: int = 1100) -> Image.Image:
    """A whole sheet of paper, of usual shape, with the drawing on it."""
    image = draw_large(strokes, int(side * rng.uniform(0.45, 0.75)), rng.uniform(0.5, 1.8), pick(rng, PENS), paper)
    aspect = pick(rng, (0.707, 1.414, 1.0, 0.77))
    size = np.array([np.sqrt(aspect), 1 / np.sqrt(aspect)]) * side
    image.thumbnail(tuple((size * 0.92).astype(int)))
    page = Image.new("RGB", tuple(size.astype(int)), tuple(paper))
    room = np.array(page.size) - image.size
    page.paste(image, tuple((room * rng.uniform(0.2, 0.8, 2)).astype(int)))
    return page


def on_surface(strokes, rng, papers, surfaces, shares, turn) -> bytes:
    """A photo of a sheet on a surface."""
    sheet = drawn_sheet(strokes, rng, pick(rng, papers))
    size = pick(rng, ((1600, 1200), (1200, 1600)))
    corners = None
    while corners is None:
        share, angle = rng.uniform(*shares), rng.uniform(-turn, turn)
        corners = sheet_corners(size, share, angle, sheet.width / sheet.height, rng)
        if corners is None:
            size, turn = pick(rng, ((1600, 1200), (1200, 1600), (1300, 1300))), 0.9 * turn
    return jpeg(lay_on(texture(size, pick(rng, surfaces), rng), sheet, corners, rng), rng)


def table(strokes, rng):
    """A sheet on a table, light or dark, 25 to 90 % of the photo, turned up to 30 degrees."""
    return on_surface(strokes, rng, PAPERS, TABLES, (0.25, 0.9), 30)


def note(strokes, rng):
    """A sticky note on a wall or a desk."""
    walls = ((235, 235, 232), (60, 60, 66), (28, 28, 30), (150, 110, 75), (200, 205, 210))
    return on_surface(strokes, rng, NOTES, walls, (0.08, 0.6), 20)


def ruled_page(strokes, rng, kind: str) -> bytes:
    """A page with squares, lines or dots, which are fainter than the pen or nearly as dark."""
    paper, pen = pick(rng, PAPERS), pick(rng, PENS)
    image = draw_large(strokes, int(rng.uniform(600, 1000)), rng.uniform(0.8, 2.0), pen, paper)
    page = Image.new("RGB", (1200, 1500) if rng.random() < 0.5 else (1500, 1200), paper)
    corner = (np.array(page.size) - image.size) * rng.uniform(0.15, 0.85, 2)
    rules, step = page.copy(), rng.uniform(26, 60) * (1.5 if kind == "ruled" else 1)
    brush, width = ImageDraw.Draw(rules), int(rng.integers(1, 4))
    depth = rng.uniform(0.15, 0.85)
    color = tuple((np.array(paper) * (1 - depth) + depth * np.array(pick(rng, (pen, (110, 140, 190))))).astype(int))
    ys, xs = np.arange(rng.uniform(0, step), page.height, step), np.arange(rng.uniform(0, step), page.width, step)
    if kind == "dotted":
        for x in xs:
            for y in ys:
                brush.ellipse((x - width, y - width, x + width, y + width), fill=color)
    else:
        for y in ys:
            brush.line((0, y, page.width, y), fill=color, width=width)
        for x in xs if kind == "squared" else ():
            brush.line((x, 0, x, page.height), fill=color, width=width)
        if kind == "ruled" and rng.random() < 0.5:
            brush.line((130, 0, 130, page.height), fill=(220, 90, 100), width=width)
    page.paste(image, tuple(corner.astype(int)))
    page = Image.fromarray(np.minimum(np.asarray(page), np.asarray(rules)))
    angle = rng.uniform(-5, 5)
    page = page.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=paper)
    cut = int(abs(np.sin(np.radians(angle))) * max(page.size)) + 2  # only paper is to be seen
    return jpeg(page.crop((cut, cut, page.width - cut, page.height - cut)), rng)


def squared(strokes, rng):
    """A page of squared paper."""
    return ruled_page(strokes, rng, "squared")


def ruled(strokes, rng):
    """A page of ruled paper, half of them with a red margin line."""
    return ruled_page(strokes, rng, "ruled")


def dotted(strokes, rng):
    """A page of dotted paper."""
    return ruled_page(strokes, rng, "dotted")


def holes(strokes, rng):
    """A page with punched holes."""
    page = drawn_sheet(strokes, rng, pick(rng, PAPERS))
    brush, radius = ImageDraw.Draw(page), 0.014 * page.width
    for y in pick(rng, ((0.36, 0.64), (0.2, 0.4, 0.6, 0.8), (0.12, 0.5, 0.88))):
        x, y = 0.055 * page.width, y * page.height
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=pick(rng, TABLES[:3]))
    return jpeg(page, rng)


def framed(strokes, rng):
    """A drawing in a frame, with a line along an edge, between black bars, on a white page, or in a screenshot."""
    paper = pick(rng, PAPERS)
    page = on_page(draw_large(strokes, 600, rng.uniform(0.6, 1.8), pick(rng, PENS), paper), 1.3, rng, paper)
    kind, (columns, rows) = rng.integers(5), page.size
    brush = ImageDraw.Draw(page)
    if kind == 0:
        inset, width = rng.uniform(0, 0.05) * columns, int(rng.integers(1, 9))
        brush.rectangle((inset, inset, columns - inset - 1, rows - inset - 1), outline=(20, 20, 20), width=width)
        return encoded(page)
    if kind == 1:
        y = rows - 1 - int(rng.uniform(0, 0.03) * rows)
        brush.line((0, y, columns, y), fill=(30, 30, 30), width=int(rng.integers(1, 6)))
        return encoded(page)
    photo = shade(page, rng.uniform(0.1, 0.4), 4, rng)
    if kind == 2:
        bars = Image.new("RGB", (columns, int(rows * rng.uniform(1.2, 2.2))), "black")
        bars.paste(photo, (0, (bars.height - rows) // 2))
        return encoded(bars if rng.random() < 0.5 else bars.rotate(90, expand=True).rotate(-90, expand=True))
    if kind == 3:
        photo = Image.eval(photo, lambda value: int(value * 0.8))
        return encoded(on_page(photo, rng.uniform(1.2, 2.5), rng, (255, 255, 255)), "JPEG", quality=85)
    bars = Image.new("RGB", (columns, int(rows * 1.25)), (35, 37, 40) if rng.random() < 0.5 else (200, 215, 235))
    bars.paste(photo, (0, int(rows * 0.1)))
    brush = ImageDraw.Draw(bars)
    brush.text((10, 8), "12:47   My drawing", fill="white", font_size=int(rows * 0.045))
    for k in range(4):
        brush.rectangle((columns * (0.15 + 0.2 * k), rows * 1.15, columns * (0.2 + 0.2 * k), rows * 1.2), fill="gray")
    return encoded(bars)


def trimmed(strokes, rng):
    """A clean drawing, cut to its ink."""
    image = draw_large(strokes, int(rng.integers(200, 900)), rng.uniform(0.6, 2.5))
    dark = np.asarray(image.convert("L")) < 128
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    return encoded(image.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)))


def clean(strokes, rng):
    """A clean drawing on screen."""
    return encoded(draw_large(strokes, int(rng.integers(150, 1500)), rng.uniform(0.3, 3)))


def hairline(strokes, rng):
    """Lines of a pixel on a page of thousands."""
    image = draw_large(strokes, int(rng.integers(1500, 3500)), 0.02, (0, 0, 0), (255, 255, 255)).convert("L")
    line = np.asarray(image).astype(int)
    return encoded(Image.fromarray(np.where(line < 250, 0, 255).astype(np.uint8)))


def tilted(strokes, rng):
    """A photo of paper alone, at an angle."""
    paper = pick(rng, PAPERS)
    image = on_page(draw_large(strokes, 800, rng.uniform(0.5, 2), pick(rng, PENS), paper), 1.4, rng, paper)
    return jpeg(tilt(image, 0.05, rng, paper), rng)


def shadowed(strokes, rng):
    """A photo of paper on which a hand's shadow falls, soft at its edge."""
    paper = pick(rng, PAPERS)
    image = on_page(draw_large(strokes, 900, rng.uniform(0.6, 1.8), pick(rng, PENS), paper), 1.5, rng, paper)
    shadow, size = Image.new("L", image.size, 0), min(image.size)
    brush, turn = ImageDraw.Draw(shadow), rng.uniform(0, 2 * np.pi)
    palm = rng.uniform(0.2, 0.8, 2) * image.size
    brush.ellipse([*(palm - 0.2 * size), *(palm + 0.2 * size)], fill=255)
    for finger in turn + np.arange(4) * 0.25:
        tip = palm + 0.5 * size * np.array([np.cos(finger), np.sin(finger)])
        brush.line([*palm, *tip], fill=255, width=int(0.07 * size))
    arm = palm - size * np.array([np.cos(turn + 0.4), np.sin(turn + 0.4)])
    brush.line([*palm, *arm], fill=255, width=int(0.28 * size))
    soft = cv2.GaussianBlur(np.asarray(shadow, np.float32) / 255, (0, 0), rng.uniform(10, 60))
    dark = np.asarray(image) * (1 - rng.uniform(0.3, 0.6) * soft[..., None])
    return jpeg(Image.fromarray(dark.astype(np.uint8)), rng)


def on_cloth(strokes, rng):
    """A sheet on a chequered tablecloth."""
    size, step = pick(rng, ((1600, 1200), (1200, 1600))), rng.uniform(40, 150)
    across, down = (np.arange(side) // step % 2 for side in size)
    colors = np.array([(250, 248, 245), pick(rng, ((200, 60, 70), (60, 110, 180), (70, 150, 90)))], float)
    cloth = colors[0] + (colors[1] - colors[0]) * ((across + down[:, None]) / 2)[..., None]
    sheet, corners = drawn_sheet(strokes, rng, pick(rng, PAPERS)), None
    while corners is None:
        share, turn = rng.uniform(0.25, 0.7), rng.uniform(-20, 20)
        corners = sheet_corners(size, share, turn, sheet.width / sheet.height, rng)
    return jpeg(lay_on(cloth, sheet, corners, rng), rng)


def cut_off(strokes, rng):
    """A sheet on a table that leaves the photo on one to three sides."""
    table, sheet, corners = (
        texture((1600, 1200), pick(rng, TABLES[:3]), rng),
        drawn_sheet(strokes, rng, PAPERS[0]),
        None,
    )
    while corners is None:
        corners = sheet_corners((1600, 1200), 0.5, rng.uniform(-8, 8), sheet.width / sheet.height, rng)
    photo, low, high = lay_on(table, sheet, corners, rng), corners.min(axis=0), corners.max(axis=0)
    box, inner = [0, 0, *photo.size], [*(low + 0.08 * (high - low)), *(high - 0.08 * (high - low))]
    for side in rng.permutation(4)[: rng.integers(1, 4)]:
        box[side] = int(inner[side])
    return jpeg(photo.crop(box), rng)


def card(strokes, rng):
    """A card with round corners, or a page with a spiral's holes, on a table."""
    sheet = drawn_sheet(strokes, rng, pick(rng, PAPERS))
    mask, (columns, rows) = Image.new("L", sheet.size, 255), sheet.size
    brush, radius = ImageDraw.Draw(mask), rng.uniform(0.008, 0.012) * columns
    if rng.random() < 0.5:
        mask.paste(0, (0, 0, *mask.size))
        brush.rounded_rectangle((0, 0, columns - 1, rows - 1), radius=rng.uniform(0.03, 0.09) * columns, fill=255)
    else:
        for y in np.linspace(0.03, 0.97, rng.integers(16, 36)) * rows:
            brush.ellipse((0.03 * columns - radius, y - radius, 0.03 * columns + radius, y + radius), fill=0)
    color, corners = pick(rng, TABLES[:3]), None
    sheet = Image.composite(sheet, Image.new("RGB", sheet.size, color), mask)
    while corners is None:
        corners = sheet_corners((1600, 1200), rng.uniform(0.25, 0.6), rng.uniform(-15, 15), columns / rows, rng)
    return jpeg(lay_on(texture((1600, 1200), color, rng), sheet, corners, rng), rng)


def scanned(strokes, rng):
    """A scan of a page that lay askew, black around it, in greys or in black and white."""
    page = drawn_sheet(strokes, rng, pick(rng, PAPERS), 1200)
    page = page.rotate(rng.uniform(-3, 3), Image.Resampling.BICUBIC, expand=True, fillcolor=(12, 12, 12))
    left, top, right, bottom = rng.uniform(-0.03, 0.04, 4) * (*page.size, *page.size)
    page = page.crop((int(left), int(top), int(page.width - right), int(page.height - bottom))).convert("L")
    return encoded(page.convert("1", dither=Image.Dither.NONE) if rng.random() < 0.4 else page)


def screenshot(strokes, rng):
    """A drawing program's window: bars with words and tools above and on the left, light or dark."""
    size = np.array(pick(rng, ((1600, 1000), (1080, 1920), (1280, 800))))
    bar, text, paper, pen = ((236, 238, 241), (60, 60, 65), (255, 255, 255), (20, 20, 25))
    if rng.random() < 0.4:
        bar, text, paper, pen = ((48, 50, 54), (220, 220, 225), (28, 28, 30), (235, 235, 235))
    window, corner = Image.new("RGB", tuple(size), paper), (size * rng.uniform(0.06, 0.15, 2)).astype(int)
    room = size - corner
    drawing = draw_large(strokes, int(min(room) * rng.uniform(0.5, 0.85)), rng.uniform(0.4, 1.4), pen, paper)
    window.paste(drawing, tuple((corner + (room - drawing.size) * rng.uniform(0.2, 0.8, 2)).astype(int)))
    brush, (left, top) = ImageDraw.Draw(window), corner.tolist()
    brush.rectangle((0, 0, size[0], top), fill=bar)
    brush.rectangle((0, top, left, size[1]), fill=bar)
    brush.text((15, 0.2 * top), "File  Edit  View  Help   untitled", fill=text, font_size=max(12, top // 3))
    for k in range(8):
        y, color = top + 20 + 0.7 * k * left, tuple(rng.integers(0, 256, 3).tolist())
        brush.ellipse((0.25 * left, y, 0.75 * left, y + 0.5 * left), outline=text, fill=color)
    return encoded(window)


def hung(strokes, rng):
    """A picture in a wooden frame on a wall."""
    paper, wood = pick(rng, PAPERS), pick(rng, ((90, 60, 35), (20, 20, 20), (200, 170, 90)))
    page = on_page(draw_large(strokes, 600, rng.uniform(0.7, 1.6), pick(rng, PENS), paper), 1.4, rng, paper)
    width = int(rng.uniform(20, 60))
    page = Image.fromarray(np.pad(page, ((width, width), (width, width), (0, 0))))
    ImageDraw.Draw(page).rectangle((0, 0, page.width - 1, page.height - 1), outline=wood, width=width)
    size, corners = (int(1.5 * page.width), int(1.5 * page.height)), None
    while corners is None:
        corners = sheet_corners(size, rng.uniform(0.4, 0.6), rng.uniform(-3, 3), page.width / page.height, rng)
    wall = texture(size, pick(rng, ((205, 190, 165), (170, 185, 200), (120, 140, 120))), rng)
    return jpeg(lay_on(wall, page, corners, rng), rng)


KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], bytes]] = {
    kind.__name__: kind
    for kind in (clean, trimmed, hairline, degrade, turned, tilted, table, note, squared, ruled, dotted, holes, framed)
    + (shadowed, on_cloth, cut_off, card, scanned, screenshot, hung)
}


# ---------------------------------------------------------------------------------------------------------
# Dots and straight lines


def dots_lost(rng: np.random.Generator, count: int, directory: Path) -> int:
    """How many of 2 ``count`` eyes, 0.5 to 1 times the pen's width in radius, vanish from faces."""
    lost = 0
    for _ in range(count):
        side, pen = int(rng.integers(250, 900)), rng.uniform(0.008, 0.03)
        image = Image.new("L", (4 * side, 4 * side), 255)
        brush, unit = ImageDraw.Draw(image), 4 * side
        width, radius = pen * unit, pen * unit * rng.uniform(0.5, 1)
        brush.ellipse((0.08 * unit, 0.08 * unit, 0.92 * unit, 0.92 * unit), outline=0, width=int(width))
        eyes = [(0.35 + rng.uniform(-0.03, 0.03), 0.4), (0.65 + rng.uniform(-0.03, 0.03), 0.4)]
        for x, y in eyes:
            brush.ellipse((x * unit - radius, y * unit - radius, x * unit + radius, y * unit + radius), fill=0)
        image.resize((side, side), Image.Resampling.LANCZOS).save(directory / "eyes.png")
        bitmap = load_image(directory / "eyes.png", SIDE, SIDE)
        for x, y in eyes:
            column, row = (5 + (at - 0.08 - pen / 2) / (0.84 - pen) * (SIDE - 10) for at in (x, y))
            spot = bitmap[int(row) - 2 : int(row) + 4, int(column) - 2 : int(column) + 4]
            lost += spot.min() > 160
    return lost


def diagonals_lost(rng: np.random.Generator, count: int, directory: Path) -> int:
    """How many of ``count`` straight lines at about 45 degrees come out at under 0.8 of their length."""
    lost = 0
    for _ in range(count):
        side, width = int(rng.integers(100, 900)), rng.uniform(0.004, 0.03)
        image = Image.new("L", (4 * side, 4 * side), 255)
        slope = 1 + pick(rng, (0, 0, rng.uniform(-0.03, 0.03)))
        ends = np.array([[0.2, 0.8], [0.8, 0.8 - 0.6 * slope]]) * 4 * side
        if rng.random() < 0.5:
            ends[:, 0] = 4 * side - ends[:, 0]
        ImageDraw.Draw(image).line([*map(tuple, ends)], fill=0, width=max(4, int(width * 4 * side)))
        image.resize((side, side), Image.Resampling.LANCZOS).save(directory / "line.png")
        bitmap = load_image(directory / "line.png", SIDE, SIDE)
        line = lines_to_strokes([(ends - ends[0]) / 4 / side * 10])
        lost += ink_scores(rasterize(line, SIDE, SIDE)[None], bitmap[None], 2.0)[1][0] < 0.8
    return lost


# ---------------------------------------------------------------------------------------------------------
# The script


def measure_kind(name: str, drawings: list[np.ndarray], keys: np.ndarray, seed: int, directory: Path) -> list:
    """Print how the drawings are read from pictures of this kind; tiles of some: those that went wrong first.

    ``keys``: as ``turned_keys`` gives them.
    """
    clean = rasterize_all(drawings, SIDE, SIDE)
    rng, read, seconds, refused, tiles = np.random.default_rng(seed), [], 0.0, 0, []
    for i, drawing in enumerate(drawings):
        file = directory / f"{name}_{i}"
        file.write_bytes(KINDS[name](drawing, rng))
        began = time.process_time()
        try:
            read.append(load_image(file, SIDE, SIDE))
        except ValueError as error:
            refused += 1
            print(f"  {error}", file=sys.stderr)
            read.append(np.full((SIDE, SIDE), 255, np.uint8))
        seconds += time.process_time() - began
    read = np.stack(read)
    key, count = blurred(read), np.arange(len(read))
    right = nearest(keys[len(TURNS) // 2], key) == count
    turned_back = nearest(keys.reshape(-1, keys.shape[2]), key) % len(read) == count
    f1, f1_2 = ink_scores(clean, read, 1.0)[0], ink_scores(clean, read, 2.0)[0]
    print(
        f"{name:10} nearest {right.mean():7.1%}   turned back {turned_back.mean():7.1%}   ink F1 {f1.mean():.3f}"
        f"   lost {(f1_2 < LOST_BELOW).mean():6.1%}   refused {refused:3}   {seconds / len(read):.2f} s each",
        flush=True,
    )
    for i in np.argsort(f1_2)[:10]:
        both = before_and_after(directory / f"{name}_{i}", read[i])
        tiles.append(np.concatenate([both, np.kron(clean[i], np.ones((2, 2), np.uint8))], axis=1))
    return tiles


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The flags; see the module's docstring."""
    parser = make_parser(__doc__)
    parser.add_argument("npz", type=Path, nargs="+", help="categories")
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS, "dots", "diagonals"], help="only these (default: all)")
    parser.add_argument("--count", type=int, default=100, help="drawings of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of the worst of each kind, a PNG")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure what is asked for, and print it."""
    args = parse_args(argv)
    paths = [args.npz[i] for i in np.linspace(0, len(args.npz) - 1, min(args.count, len(args.npz))).astype(int)]
    each = -(-args.count // len(paths))
    drawings = [drawing for path in paths for drawing in normalised(load_strokes(path), "test", each)][: args.count]
    keys, tiles = turned_keys(drawings), []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.kinds or KINDS:
            if name in KINDS:
                tiles += measure_kind(name, drawings, keys, args.seed, Path(folder))
        for name, measure in (("dots", dots_lost), ("diagonals", diagonals_lost)):
            if name in (args.kinds or (name,)):
                lost = measure(np.random.default_rng(args.seed), args.count, Path(folder))
                print(f"{name:10} {lost} of {args.count * (2 if name == 'dots' else 1)} lost")
    if args.sheet is not None and tiles:
        grid(tiles, 5, title="picture | load_image | training bitmap").save(args.sheet)
    return 0


if __name__ == "__main__":
    run_script(main)
