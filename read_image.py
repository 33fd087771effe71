"""Any image of a drawing -> a bitmap like those that models are trained on; ``load_image`` is the door.

The image is read in two passes: a thumbnail tells where the ink is, what the paper looks like and how the ink differs
from it; then the ink's surroundings are resampled so that the drawing has its final size times FINE, its lines are
thinned to their middle, and drawn again.
"""

import io
import math
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAX_SIDE = 32767  # cairo's largest image
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # none that runs a program, as EPS does
MAX_SVG_BYTES = 1 << 24
SVG_SIDE = 1024
SVG_SECONDS = 20
WORKING_SIDE = 1000  # pixels of the shorter side that are enough; larger images are made smaller while they are read
THUMBNAIL, THUMBNAIL_BLUR = 448, 1.0  # pixels of the longer side, in the first pass
PAPER_SIDE, PAPER_BLUR = 128, 6.0  # pixels, of the estimate of the paper
MEDIAN = 11  # pixels at a quarter of PAPER_SIDE: a third of the page
MIN_CONTRAST = 12.0  # grey levels that ink must differ by
FINE = 8  # pixels across a line when it is thinned and drawn again
DEFAULT_LINE_WIDTH = 1 / 48  # of the shorter side: the mean over QuickDraw training bitmaps


class Ink(NamedTuple):
    """How to tell ink from paper in an image."""

    paper: object  # Pillow image, the paper without the ink, smaller than the image
    contrast: np.ndarray  # [3] contrast @ (paper - colour) is 1 for full ink, 0 for paper

    def strength(self, image, box: tuple, size: tuple[int, int]) -> np.ndarray:
        """Part ``box`` (left, top, right, bottom) of the image, resampled to ``size``: 0 is paper, 1 full ink."""
        across, down = self.paper.width / image.width, self.paper.height / image.height
        right, bottom = min(box[2] * across, self.paper.width), min(box[3] * down, self.paper.height)
        paper_box = (box[0] * across, box[1] * down, right, bottom)
        return self.of(_resample(self.paper, paper_box, size) - _resample(image, box, size))

    def of(self, difference: np.ndarray) -> np.ndarray:
        """Strength of the ink, given paper - colour ``[3, rows, columns]``."""
        return sum(share * plane for share, plane in zip(self.contrast, difference, strict=True))


def load_image(path: str | Path, height: int, width: int, line_width: float | None = None) -> np.ndarray:
    """Any image of a drawing, brought to what the training bitmaps look like: uint8 ``[height, width]``, 255 = paper.

    Takes PNG, JPEG, WebP, GIF, TIFF … and SVG: photos and scans, dark on light or light on dark. Lines come out
    ``line_width`` pixels wide (default: as in training bitmaps), the drawing in the middle. Raises
    FileNotFoundError, or ValueError if it is no image, too large, or has nothing on it that looks like a drawing.
    """
    image = open_image(Path(path))
    try:
        return read_drawing(image, height, width, line_width)[0]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_drawing(
    image, height: int, width: int, line_width: float | None = None
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """``load_image`` of an image that ``open_image`` read -> (bitmap, box (left, top, right, bottom) of its ink)."""
    check_size(height, width)
    line_width = DEFAULT_LINE_WIDTH * min(height, width) if line_width is None else line_width
    if not min(height, width) / 1000 < line_width < min(height, width) / 10:  # thin lines are drawn on a huge page
        raise ValueError(f"lines of {line_width} pixels do not suit a bitmap of {height} x {width}")
    ink, box, pen = _find_ink(image)
    if _is_like_bitmap(image, box, pen, height, width, line_width):
        return np.asarray(image.convert("L")), tuple(box)
    return _draw_again(image, ink, box, pen, height, width, line_width), tuple(box)


# ---------------------------------------------------------------------------------------------------------
# Reading a file


def open_image(path: Path):
    """An image file as a Pillow image: RGB on white, upright, its first frame. Raises as ``load_image``."""
    from PIL import Image, ImageOps

    if not path.is_file():
        raise FileNotFoundError(f"{path} not found")
    with path.open("rb") as file:
        start = file.read(256)
    svg = start[:2] == b"\x1f\x8b" or start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"
    try:
        with Image.open(io.BytesIO(_svg_to_png(path)) if svg else path, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:  # Pillow itself only warns, up to twice as many
                raise Image.DecompressionBombError
            image.draft(None, (WORKING_SIDE, WORKING_SIDE))
            ImageOps.exif_transpose(image, in_place=True)
            flat = _flatten(image)
            times = min(flat.size) // WORKING_SIDE
            return flat.reduce(times) if times > 1 else flat
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"{path} is refused: over {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        reason = "not an image in a known format" if isinstance(error, Image.UnidentifiedImageError) else error
        raise ValueError(f"{path} cannot be read: {reason}") from None


def _flatten(image):
    """A Pillow image of any mode, as RGB on white paper; light ink on nothing becomes dark ink."""
    from PIL import Image, ImageOps

    if image.mode.startswith(("I", "F")):  # 16 bits and more, which Pillow would cut off at 255
        values = np.nan_to_num(np.asarray(image, np.float32))
        low, high = values.min(), values.max()
        full = next((full for full in (1, 255, 65535) if low >= 0 and high <= full), None)
        values = values / full if full else (values - low) / max(high - low, 1e-9)
        return Image.fromarray((values * 255).round().astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image)
    flat = paper.convert("RGB")
    if alpha.getextrema()[0] < 128 and min(low for low, _ in flat.getextrema()) > 200:
        return ImageOps.invert(alpha).convert("RGB")
    return flat


def _svg_to_png(path):
    """An SVG as PNG, ``SVG_SIDE`` pixels square; nothing that it refers to is fetched. Raises ValueError."""
    import_cairo()
    data = path.read_bytes()[: MAX_SVG_BYTES + 1]
    if data.startswith(b"\x1f\x8b"):
        data = zlib.decompressobj(31).decompress(data, MAX_SVG_BYTES + 1)
    if len(data) > MAX_SVG_BYTES:
        raise ValueError(f"an SVG of over {MAX_SVG_BYTES:,} bytes")
    # In a process of its own, as a few lines of nested <use> can keep CairoSVG busy for ever.
    draw = (
        "import sys, cairosvg; sys.stdout.buffer.write(cairosvg.svg2png("
        f"bytestring=sys.stdin.buffer.read(), unsafe=False, output_width={SVG_SIDE}, output_height={SVG_SIDE}))"
    )
    try:
        done = subprocess.run([sys.executable, "-c", draw], input=data, capture_output=True, timeout=SVG_SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError(f"an SVG that takes over {SVG_SECONDS} seconds to draw") from None
    if done.returncode:
        reason = (done.stderr.decode(errors="replace").strip() or "no reason given").splitlines()[-1]
        raise ValueError(f"not an SVG that can be drawn ({reason[:200]})")
    return done.stdout


def _is_like_bitmap(image, box, pen, height, width, line_width):
    """Whether an image is a training bitmap already: its size, its white paper, its lines and its margins."""
    grey = np.asarray(image.convert("L"))
    if grey.shape != (height, width) or np.mean(grey == 255) < 0.5:
        return False
    margin = max(box[0], width - box[2]) if box[2] - box[0] >= box[3] - box[1] else max(box[1], height - box[3])
    # A line of one pixel looks half a pixel wider, magnified; margins are 5 line widths.
    return 0.5 < (pen - 0.5) / line_width < 1.8 and 2 < margin / line_width < 9


def _resample(image, box, size) -> np.ndarray:
    """Part of a Pillow image, resampled to ``size`` (columns, rows), as ``_planes``."""
    from PIL import Image

    return _planes(image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=2.0))


def _planes(image) -> np.ndarray:
    """A Pillow image as float32 ``[3, rows, columns]``."""
    return np.moveaxis(np.asarray(image), 2, 0).astype(np.float32, order="C")


def _fit(size, longer) -> tuple[int, int]:
    """A size of the same shape whose longer side is ``longer``."""
    return tuple(max(1, round(side * longer / max(size))) for side in size)


def _estimate_paper(image):
    """The image without its ink: a small Pillow image, from what lies between the lines."""
    from PIL import Image, ImageFilter
    from scipy import ndimage

    size, small = _fit(image.size, PAPER_SIDE), _fit(image.size, PAPER_SIDE // 4)
    colors = _planes(image.resize(size, Image.Resampling.BOX))
    middle = image.resize(small, Image.Resampling.BOX).filter(ImageFilter.MedianFilter(MEDIAN))
    paper = _planes(middle.resize(size, Image.Resampling.BILINEAR))
    for _ in range(3):  # from the median, which dense lines pull down, to the mean of what is no line
        away = np.abs(colors - paper).max(axis=0)
        spread = max(2.0, 3 * _noise(away))
        bare = ndimage.binary_erosion(away < max(spread, 0.25 * np.quantile(away, 0.995)), border_value=1)
        weight = ndimage.gaussian_filter(bare.astype(np.float32), PAPER_BLUR) + 1e-4
        mean = ndimage.gaussian_filter(colors * bare, (0, PAPER_BLUR, PAPER_BLUR))
        paper = (mean + 1e-4 * paper) / weight
    return Image.fromarray(np.moveaxis(paper, 0, 2).round().clip(0, 255).astype(np.uint8))


def _ink_contrast(difference: np.ndarray) -> np.ndarray:
    """``Ink.contrast``, given paper - colour ``[3, rows, columns]``. Raises ValueError if there is no ink."""
    size = np.abs(difference).max(axis=0).astype(np.uint8)
    above = np.cumsum(np.bincount(size.ravel(), minlength=256)[::-1])[::-1]  # pixels of at least so many grey levels
    strongest = difference[:, size >= np.flatnonzero(above >= min(size.size, max(16, size.size // 20)))[-1]]
    # Colour of the ink: what the strongest differences have in common. Its sign: ink is dark or light as most are.
    direction = np.linalg.eigh(strongest @ strongest.T)[1][:, -1]
    if np.sum((direction @ strongest) ** 3) < 0:
        direction = -direction
    along = Ink(None, direction).of(difference)
    return direction / np.float32(_ink_level(along, max(MIN_CONTRAST, 5 * _noise(along))))


def _noise(values: np.ndarray) -> float:
    """Standard deviation of values that are 0 but for noise and some ink; a sample is enough."""
    return 1.4826 * float(np.median(np.abs(values.ravel()[:: max(1, values.size // 20_000)])))


def _ink_level(values: np.ndarray, least: float) -> float:
    """How strong ink is: the middle of what is over half of the strongest. Raises ValueError if under ``least``."""
    strongest = float(np.quantile(values, 0.9995))
    if strongest < least:
        raise ValueError("no ink found: the image is blank, or its lines are too faint")
    return float(np.median(values[values > strongest / 2]))


def _ink_mask(strength: np.ndarray, blur: float) -> np.ndarray:
    """Where ink is: over half its strength, or joined to that and over a third."""
    from scipy import ndimage

    strength = ndimage.gaussian_filter(strength, blur)
    noise = _noise(strength)
    level = _ink_level(strength, 0.1)
    parts, count = ndimage.label(strength > max(0.33 * level, 3 * noise), np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[parts[strength > max(0.5 * level, 5 * noise)]] = True
    strong[0] = False
    mask = strong[parts]
    if mask.mean() > 0.6:
        raise ValueError("nearly everything on the image is ink: no drawing to be made out")
    return mask


class Mask(NamedTuple):
    """Where ink is, and how broad it is there; with a rim of one pixel without ink."""

    ink: np.ndarray  # [rows, columns] bool
    depth: np.ndarray  # [rows, columns] distance to what is no ink, pixels
    pen: float  # usual width of the lines, pixels


def _without_dirt(mask: np.ndarray) -> Mask:
    """A mask without specks, and without a table or a finger: what is broad where it leaves the image.

    Raises ValueError if nothing is left.
    """
    from scipy import ndimage

    mask = np.pad(mask, 1)
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(parts.ravel(), minlength=count + 1).astype(float)
    areas[0] = 0
    depth = ndimage.distance_transform_edt(mask)
    ridge = np.flatnonzero(mask & (depth == ndimage.maximum_filter(depth, 3)))
    widths, whose = 2 * depth.ravel()[ridge] - 1, parts.ravel()[ridge]
    pen = float(np.median(widths[(areas > 0.02 * areas.max())[whose]]))  # of what is no speck for certain
    rim = np.concatenate([parts[1], parts[-2], parts[2:-2, 1], parts[2:-2, -2]])
    outside = np.bincount(rim, minlength=count + 1) > 5 * pen + 4
    if areas[outside].sum() < 0.9 * areas.sum():
        areas[outside] = 0
    kept = areas > max(3.0, 0.3 * pen**2)
    if not kept.any():
        raise ValueError("no ink found: nothing but specks")
    ink = kept[parts]
    return Mask(ink, depth * ink, float(np.median(widths[kept[whose]])))


def _find_ink(image) -> tuple[Ink, np.ndarray, float]:
    """(how to tell ink, its box (left, top, right, bottom), width of its lines) in pixels of the image."""
    from PIL import Image

    size = _fit(image.size, THUMBNAIL)
    thumbnail = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    paper = _estimate_paper(thumbnail)
    difference = _resample(paper, (0, 0, *paper.size), size) - _planes(thumbnail)
    ink = Ink(paper, _ink_contrast(difference))
    mask = _without_dirt(_ink_mask(ink.of(difference), THUMBNAIL_BLUR))
    rows, columns = np.flatnonzero(mask.ink.any(axis=1)) - 1, np.flatnonzero(mask.ink.any(axis=0)) - 1
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
    to_image = np.array(image.size * 2) / np.array(size * 2)
    return ink, box * to_image, mask.pen * float(to_image[0])


def _thinning_table() -> np.ndarray:
    """Which pixels Zhang and Suen (1984) take away: bool ``[2 turns, 256]``, by the 8 pixels around as bits."""
    around = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(bool)
    rises = (~around & np.roll(around, -1, axis=1)).sum(axis=1)
    count = around.sum(axis=1)
    north, east, south, west = around[:, :8:2].T
    exposed = [
        ~(north & east & south) & ~(east & south & west),
        ~(north & east & west) & ~(north & south & west),
    ]
    return (count >= 2) & (count <= 6) & (rises == 1) & exposed


def _thin(mask: np.ndarray) -> np.ndarray:
    """Lines thinned to a width of one pixel (Zhang and Suen, 1984)."""
    table = _thinning_table()
    mask = np.pad(mask, 1)
    row = mask.shape[1]
    steps = (-row, 1 - row, 1, row + 1, row, row - 1, -1, -row - 1)  # clockwise from north
    flat, idle, turn = mask.ravel().view(np.uint8), 0, 0
    ink = np.flatnonzero(flat)
    while idle < 2:
        around = flat[ink + steps[0]]
        for bit, step in enumerate(steps[1:], 1):
            around |= flat[ink + step] << bit
        gone = table[turn][around]
        flat[ink[gone]] = 0
        ink = ink[~gone]
        idle, turn = (0 if gone.any() else idle + 1), 1 - turn
    return mask[1:-1, 1:-1]


def _count_around(lines: np.ndarray) -> np.ndarray:
    """How many of a pixel and the 8 around it are set: uint8."""
    padded = np.pad(lines, 1).view(np.uint8)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]


def _without_spurs(lines: np.ndarray, length: int) -> np.ndarray:
    """Thinned lines without side branches of up to ``length`` pixels, which the rough edge of a thick line leaves."""
    from scipy import ndimage

    parts, count = ndimage.label(lines, np.ones((3, 3)))
    short = lines.copy()
    for _ in range(length):
        short &= _count_around(short) > 2  # all but tips
    grown, front = short.copy(), short & (_count_around(short) <= 2)
    for _ in range(length):  # what ended a line before does so again
        front = (_count_around(front) > 0) & lines & ~grown
        grown |= front
    kept = np.zeros(count + 1, bool)
    kept[parts[grown]] = True
    return grown | (lines & ~kept[parts])  # a dot is all tips


def _draw_again(image, ink, box, pen, height, width, line_width):
    """The drawing in ``box``, in the middle of a bitmap, its lines ``line_width`` wide."""
    room = np.array([width, height]) - 10 * line_width  # training bitmaps have 5 line widths free on each side
    scale = float((room / np.maximum(box[2:] - box[:2] - pen, pen)).min())
    fine = max(1, math.ceil(FINE / line_width))
    margin = min(2 * pen, 0.3 * (box[2:] - box[:2]).max()) + 2 / scale
    box = np.concatenate([np.maximum(box[:2] - margin, 0), np.minimum(box[2:] + margin, image.size)])
    size = tuple(np.maximum(((box[2:] - box[:2]) * scale * fine).round().astype(int), 1).tolist())
    pen, target = max(pen * scale * fine, 1.0), line_width * fine
    mask = _without_dirt(_ink_mask(ink.strength(image, tuple(box.tolist()), size), max(1.0, pen / 8)))
    lines = _without_spurs(_thin(mask.ink), round(0.8 * mask.pen))
    return _centre(_stroke(mask, lines, target), lines, height, width, fine)


def _stroke(mask, lines, target):
    """Ink (0 to 1) of a mask's thinned ``lines`` drawn ``target`` wide."""
    from scipy import ndimage

    def line(distance):
        return np.clip(target / 2 + 0.5 - distance, 0, 1)

    cover = line(ndimage.distance_transform_edt(~lines))
    depth, pen = mask.depth, mask.pen
    # Where lines ran into each other, their middle is lost; what is left to see is how far the pen went around.
    # What is still broader was filled in by the artist, and stays filled.
    for times, inner in ((2, line(np.abs(depth - pen / 2))), (3, depth > (pen - target) / 2)):
        reach = times * max(pen, target) / 2
        if (depth > reach).any():
            broad = ndimage.distance_transform_edt(depth <= reach) < reach
            cover = np.where(broad, inner, cover)
    return cover


def _centre(cover, lines, height, width, fine):
    """``cover`` (ink, 0 to 1, ``fine`` times too large) as a bitmap, the bounds of ``lines`` in its middle."""
    page = np.zeros((height * fine, width * fine), np.float32)
    spots = np.argwhere(lines)
    shift = np.rint((np.array(page.shape) - spots.min(axis=0) - spots.max(axis=0) - 1) / 2).astype(int)
    rows, columns = np.nonzero(cover)
    values = cover[rows, columns]
    rows, columns = rows + shift[0], columns + shift[1]
    inside = (rows >= 0) & (rows < page.shape[0]) & (columns >= 0) & (columns < page.shape[1])
    page[rows[inside], columns[inside]] = values[inside]
    page = page.reshape(height, fine, width, fine).mean(axis=(1, 3))
    return (255 - 255 * page).round().astype(np.uint8)


# ---------------------------------------------------------------------------------------------------------
# What drawing bitmaps needs, too


def import_cairo():
    """The cairocffi module. Raises ValueError naming what to install."""
    try:
        import cairocffi
    except OSError:
        raise ValueError(
            "the cairo library was not found; install it with: apt-get install libcairo2 (Debian, Ubuntu), "
            "brew install cairo (macOS)"
        ) from None
    return cairocffi


def check_size(height, width):
    for name, side in (("height", height), ("width", width)):
        if not 1 <= side <= MAX_SIDE:
            raise ValueError(f"a bitmap's {name} must be 1 to {MAX_SIDE} pixels, not {side}")
