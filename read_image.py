"""Any image of a drawing -> a bitmap like those that models are trained on; ``load_image`` is the door.

The image is read in two passes: a thumbnail tells where the ink is, what the paper looks like and how the ink differs
from it; then the ink's surroundings are resampled so that the drawing has its final size times FINE, its lines are
thinned to their middle, and drawn again.
"""

import io
import math
import re
import struct
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from find_paper import (
    SIDE,
    find_bars,
    find_sheet,
    is_box,
    is_on_something,
    is_patterned,
    outside_of,
    shrink,
    straighten,
    without_rulings,
    without_shadows,
)

MAX_SIDE = 32767  # cairo's largest image
IMAGE_FORMATS = tuple("PNG JPEG WEBP GIF BMP TIFF PPM AVIF JPEG2000".split())  # none that runs a program, as EPS does
MAX_SVG_BYTES = 1 << 24
MAX_DOCTYPE = 1 << 16  # bytes from the beginning, in which entities are declared
SVG_SECONDS = 20
MAX_BLANK_FRAMES = 50  # at the end of an animation
WORKING_SIDE = 1000  # pixels of the shorter side that are enough; larger images are made smaller while they are read
THUMBNAIL, THUMBNAIL_BLUR = 448, 1.0  # pixels of the longer side, in the first pass
PAPER_SIDE, PAPER_BLUR = 128, 6.0  # pixels, of the estimate of the paper
MEDIAN = 11  # pixels at a quarter of PAPER_SIDE: a third of the page
MIN_CONTRAST = 12.0  # grey levels that ink must differ by
FINE = 8  # pixels across a line when it is thinned and drawn again
MAX_PEN = 0.12  # of the drawing's longer side; broader lines are areas
MIN_AREA = 0.1  # of the picture's longer side; smaller ones are dots
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


class Reading(NamedTuple):
    """What was read of a picture."""

    bitmap: np.ndarray  # uint8 [height, width], 255 = paper
    doubts: list[str]  # why that may not be the drawing, each a clause; usually none
    box: tuple[float, float, float, float]  # (left, top, right, bottom) of the ink, or all of a picture straightened


def load_image(
    path: str | Path, height: int, width: int, line_width: float | None = None, crop: tuple | None = None
) -> np.ndarray:
    """Any image of a drawing, brought to what the training bitmaps look like: uint8 ``[height, width]``, 255 = paper.

    Takes PNG, JPEG, WebP, GIF, TIFF … and SVG: photos and scans, dark on light or light on dark. Lines come out
    ``line_width`` pixels wide (default: as in training bitmaps), the drawing in the middle. ``crop``: as
    ``parse_crop`` gives it. Raises FileNotFoundError, or ValueError if it is no image, too large, or has nothing on it
    that looks like a drawing.
    """
    return read_picture(path, height, width, line_width, crop).bitmap


def read_picture(
    path: str | Path, height: int, width: int, line_width: float | None = None, crop: tuple | None = None
) -> Reading:
    """``load_image`` that tells its doubts."""
    image = open_image(Path(path), crop)
    try:
        return read_drawing(image, height, width, line_width)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_drawing(image, height: int, width: int, line_width: float | None = None) -> Reading:
    """``read_picture`` of an image that ``open_image`` read: of the sheet seen in it, unless nothing is on that."""
    check_size(height, width)
    line_width = DEFAULT_LINE_WIDTH * min(height, width) if line_width is None else line_width
    if not min(height, width) / 1000 < line_width < min(height, width) / 10:  # thin lines are drawn on a huge page
        raise ValueError(f"lines of {line_width} pixels do not suit a bitmap of {height} x {width}")
    pages = _pages(image)
    for page in reversed(pages):
        try:
            found = _find_ink(page, straightened=page.size != image.size)
            break
        except ValueError:
            if page is pages[0]:
                raise
    box = tuple(found.box) if page.size == image.size else (0, 0, *image.size)
    if _is_like_bitmap(page, found.box, found.pen, height, width, line_width):
        return Reading(np.asarray(page.convert("L")), [], box)
    doubts = _doubts(image if page.size == image.size else page, found)  # as it was lit
    if page is not pages[-1] and any(other.size != pages[0].size for other in pages):
        doubts.append("there is nothing on what seemed to be its sheet of paper")
    return Reading(_draw_again(page, found, height, width, line_width), doubts, box)


def parse_crop(text: str) -> tuple[float, float, float, float]:
    """``left,top,right,bottom`` in fractions of the picture (all at most 1) or in pixels. Raises ValueError."""
    try:
        left, top, right, bottom = (float(number) for number in text.split(","))
    except ValueError:
        left = top = right = bottom = math.nan
    if not (0 <= left < right < math.inf and 0 <= top < bottom < math.inf):
        raise ValueError(
            f"--crop {text}: expected left,top,right,bottom, in fractions such as 0.1,0.1,0.9,0.8 or pixels"
        )
    return left, top, right, bottom


def _doubts(page, found) -> list[str]:
    """Why what was found on a page may not be the drawing."""
    from scipy import ndimage

    left, top, right, bottom = found.box
    share, kept, size = (right - left) * (bottom - top) / (page.width * page.height), found.kept, found.kept.sum()
    doubts = []
    if share < 0.05:
        doubts.append(f"the drawing fills {share:.1%} of the picture")
    if kept.mean() > 0.6:
        doubts.append(f"its ink covers {kept.mean():.0%} of the picture")
    if size < 0.02 * max(found.all_ink, 1):
        doubts.append(f"only {size / found.all_ink:.1%} of the dark spots were taken for ink")
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    apart = max(2, int(0.12 * max(np.ptp(rows), np.ptp(columns))))
    groups, count = ndimage.label(ndimage.maximum_filter(kept, 2 * apart + 1))
    amounts = np.bincount(groups[kept], minlength=count + 1)[1:] / size
    if (amounts > 0.15).sum() > 1 and share > 0.15:
        doubts.append(f"there are {(amounts > 0.15).sum()} separate things on it")
    part = kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inset = max(2, int(0.06 * max(part.shape)))
    if share > 0.3 and min(part.shape) > 4 * inset and part[inset:-inset, inset:-inset].sum() < 0.1 * part.sum():
        doubts.append("it looks like the edge of a sheet or a frame")
    elif found.kind != "screen" and is_box(kept):
        doubts.append("a box is around it, which may be the edge of a sheet or a frame")
    elif found.kind != "screen" and is_patterned(small := shrink(np.asarray(page), SIDE)):
        doubts.append("what it lies on has a pattern, which may have been taken for ink")
    elif found.kind == "photo" and is_on_something(small, found.box * (small.shape[0] / page.height)):
        doubts.append("it lies on something whose edges may have been taken for ink")
    elif found.kind != "screen" and found.pen > 0.06 * max(page.size):
        doubts.append("its lines are very broad, and may be the edge of something")
    parts, count = ndimage.label(kept, np.ones((3, 3)))
    if count > 50 and np.bincount(parts.ravel())[1:].max() < 0.15 * size:
        doubts.append(f"it is {count} small things, as writing is")
    return doubts


def _pages(image) -> list:
    """The image, and what is seen of it from step to step: without bars, the sheet on it alone, without rulings."""
    from PIL import Image

    pages, pixels = [image], np.asarray(image)
    small = shrink(pixels, SIDE)
    for _ in range(3):
        box = find_bars(pixels, small)
        corners = None if box else find_sheet(pixels, small)
        if box is not None:
            pixels = pixels[box[1] : box[3], box[0] : box[2]]
        elif corners is not None and not _is_drawn(pixels, corners):
            pixels = straighten(pixels, corners)
        else:
            break
        pages.append(Image.fromarray(pixels))
        small = shrink(pixels, SIDE)
    for without in (without_rulings,) if _is_exact(image) else (partial(without_shadows, small=small), without_rulings):
        plain = without(pixels)
        if plain is not pixels:
            pages.append(Image.fromarray(plain))
            pixels = plain
    return pages


def _is_drawn(pixels, corners) -> bool:
    """Whether what seems a sheet is a box drawn on a screen: the paper inside it goes on around it."""
    from PIL import Image

    small = shrink(pixels, THUMBNAIL)
    if _plain_paper(Image.fromarray(small)) is None:
        return False
    inside = np.median(straighten(pixels, corners).reshape(-1, 3), axis=0)
    outside = outside_of(small, corners * (small.shape[1] / pixels.shape[1]))
    return bool((np.abs(outside - inside).max(axis=1) <= 4).mean() > 0.1)


# ---------------------------------------------------------------------------------------------------------
# Reading a file


def open_image(path: Path, crop: tuple | None = None):
    """An image file as a Pillow image: RGB on white, upright, of an animation the last frame that is not blank.

    Raises as ``load_image``. ``crop``: as ``parse_crop`` gives it, of the upright picture.
    """
    from PIL import Image, ImageOps

    if not path.is_file():
        raise FileNotFoundError(f"{path} not found")
    with path.open("rb") as file:
        start = file.read(256)
    svg = start[:2] == b"\x1f\x8b" or start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"
    formats = IMAGE_FORMATS + _heif(path, start)
    try:
        with io.BytesIO(_svg_to_png(path)) if svg else path.open("rb") as file, _identify(file, formats) as image:
            whole = image.size
            image.draft(None, (WORKING_SIDE, WORKING_SIDE))  # a JPEG is made smaller while it is decoded
            if max(math.prod(whole) / 2, math.prod(image.size)) > Image.MAX_IMAGE_PIXELS:
                raise ValueError(
                    f"its {whole[0]:,} x {whole[1]:,} pixels are more than {Image.MAX_IMAGE_PIXELS:,}; make it smaller"
                )
            turned = image.getexif().get(0x0112, 1) > 4
            image = _last_frame(image)
            ImageOps.exif_transpose(image, in_place=True)
            flat = _flatten(image)
            if crop is not None:
                flat = _cropped(flat, crop, whole[::-1] if turned else whole)
            if min(flat.size) < 1.2 * WORKING_SIDE:
                return flat
            size = _fit(flat.size, round(max(flat.size) * WORKING_SIDE / min(flat.size)))
            return flat.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        if isinstance(error, Image.UnidentifiedImageError):
            damaged = "a HEIC photo that is damaged or of an unknown kind; save it as JPEG"
            error = damaged if "HEIF" in formats else "not an image in a known format"
        raise ValueError(f"{path} cannot be read: {error}") from None


def _identify(file, formats: tuple[str, ...]):
    """``Image.open`` that leaves it to the caller what is too large, of which Pillow would warn. Raises OSError."""
    from PIL import Image

    Image.init()
    prefix = file.read(16)
    for factory, accept in (Image.OPEN[name] for name in formats if name in Image.OPEN):
        if accept is None or accept(prefix) is True:
            file.seek(0)
            try:
                return factory(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error):  # as Pillow does: another format
                continue
    raise Image.UnidentifiedImageError


def _heif(path, start) -> tuple[str, ...]:
    """The further format of an iPhone's photo. Raises ValueError naming what to install."""
    if start[4:8] != b"ftyp" or start[8:12] not in (b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1", b"heim"):
        return ()
    try:
        import pillow_heif
    except ImportError:
        raise ValueError(f"{path} is a HEIC photo: save it as JPEG, or pip install pillow-heif") from None
    pillow_heif.register_heif_opener()
    return ("HEIF",)


def _last_frame(image):
    """The last frame of an animation that is not blank, as drawings draw themselves; the first such page of a TIFF."""
    count = getattr(image, "n_frames", 1)
    if image.format not in ("GIF", "WEBP", "PNG", "AVIF", "TIFF") or count < 2:
        return image
    frames = list(range(count) if image.format == "TIFF" else reversed(range(count)))[:MAX_BLANK_FRAMES]
    for frame in frames:
        image.seek(frame)
        if any(high - low > 2 * MIN_CONTRAST for low, high in _flatten(image).getextrema()):
            return image
    image.seek(frames[0])
    return image


def _cropped(image, crop, whole):
    """Part of an image that was ``whole`` (width, height) pixels large. Raises ValueError if that lies outside."""
    sides = np.array(crop) if max(crop) <= 1 else np.array(crop) / np.array(whole * 2)
    if sides[0] >= 1 or sides[1] >= 1:
        raise ValueError(
            f"--crop {','.join(f'{side:g}' for side in crop)} lies outside its {whole[0]} x {whole[1]} pixels"
        )
    left, top, right, bottom = np.rint(np.minimum(sides, 1) * np.array(image.size * 2)).astype(int).tolist()
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _flatten(image):
    """A Pillow image of any mode, as RGB on white paper; light ink on nothing becomes dark ink."""
    from PIL import Image, ImageOps

    if image.mode.startswith(("I", "F")):  # 16 bits and more, which Pillow would cut off at 255
        values = np.nan_to_num(np.asarray(image, np.float32))
        low, high = values.min(), values.max()
        depths = (1, 255, 4095, 65535)  # the third: scanners and cameras
        full = next((full for full in depths if low >= 0 and high <= full), None)
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
    """An SVG as PNG, by ``draw_svg.py``; nothing that it refers to is fetched. Raises ValueError."""
    import_cairo()
    data = path.read_bytes()[: MAX_SVG_BYTES + 1]
    if data.startswith(b"\x1f\x8b"):
        data = zlib.decompressobj(31).decompress(data, MAX_SVG_BYTES + 1)
    if len(data) > MAX_SVG_BYTES:
        raise ValueError(f"an SVG of over {MAX_SVG_BYTES:,} bytes")
    draw = [sys.executable, str(Path(__file__).with_name("draw_svg.py"))]
    try:
        done = subprocess.run(draw, input=expand_entities(data), capture_output=True, timeout=SVG_SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError(f"an SVG that takes over {SVG_SECONDS} seconds to draw") from None
    if done.returncode:
        reason = (done.stderr.decode(errors="replace").strip() or "no reason given").splitlines()[-1]
        raise ValueError(
            reason if reason.startswith("all its lines") else f"not an SVG that can be drawn ({reason[:200]})"
        )
    return done.stdout


def expand_entities(data: bytes) -> bytes:
    """An XML file, short texts that it gives a name (``<!ENTITY name "text">``, as Illustrator does) put in.

    Raises ValueError for any other entity: those that name files or each other may do harm.
    """
    declared = re.search(rb"<!DOCTYPE[^>\[]*\[(.*?)\]\s*>", data[:MAX_DOCTYPE], re.DOTALL)
    if declared is None or b"<!ENTITY" not in declared[1]:
        return data
    entities = re.findall(rb"<!ENTITY\s+(.*?)>", declared[1], re.DOTALL)
    texts = {}
    for entity in entities:
        match = re.fullmatch(rb"""([\w.-]+)\s+(?:"([^"&<%]*)"|'([^'&<%]*)')\s*""", entity)
        if match is None or len(match[2] or match[3] or b"") > 1000 or len(entities) > 100:
            raise ValueError(
                "its entities name other files or each other, which is not read; save it again as plain SVG, "
                "without 'Preserve Illustrator Editing Capabilities'"
            )
        texts[match[1]] = match[2] or match[3] or b""
    body = data[: declared.start()] + data[declared.end() :]
    size, most = len(body), MAX_SVG_BYTES
    for name, text in texts.items():
        size += body.count(b"&" + name + b";") * len(text)
    if size > most:
        raise ValueError(f"an SVG of over {most:,} bytes, its entities put in")
    for name, text in texts.items():
        body = body.replace(b"&" + name + b";", text)
    return body


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
    paper = _planes(_without_areas(middle).resize(size, Image.Resampling.BILINEAR))
    for _ in range(3):  # from the median, which dense lines pull down, to the mean of what is no line
        away = np.abs(colors - paper).max(axis=0)
        spread = max(2.0, 3 * _noise(away))
        bare = ndimage.binary_erosion(away < max(spread, 0.25 * np.quantile(away, 0.995)), border_value=1)
        weight = ndimage.gaussian_filter(bare.astype(np.float32), PAPER_BLUR) + 1e-4
        mean = ndimage.gaussian_filter(colors * bare, (0, PAPER_BLUR, PAPER_BLUR))
        paper = (mean + 1e-4 * paper) / weight
    return Image.fromarray(np.moveaxis(paper, 0, 2).round().clip(0, 255).astype(np.uint8))


def _without_areas(image):
    """A tiny Pillow image of paper, areas of ink that are as large as the median's window taken away.

    Light falls on paper as a surface of second order, nearly; what is far from it, as no shadow is, is ink.
    """
    from PIL import Image

    planes = _planes(image)
    y, x = np.mgrid[-1 : 1 : planes.shape[1] * 1j, -1 : 1 : planes.shape[2] * 1j].reshape(2, -1)
    terms, values = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1), planes.reshape(3, -1).T
    weight = np.ones(len(x))
    for _ in range(10):  # least absolute differences, by weights
        root = np.sqrt(weight)[:, None]
        surface = terms @ np.linalg.lstsq(root * terms, root * values, rcond=None)[0]
        away = np.linalg.norm(values - surface, axis=1)
        weight = 1 / np.maximum(away, 2.0)
    ink = away > max(60.0, 8 * np.median(away))
    values[ink] = surface[ink]
    return Image.fromarray(values.clip(0, 255).astype(np.uint8).reshape(*planes.shape[1:], 3))


def _plain_paper(thumbnail):
    """A small Pillow image of one colour, if that is the paper of a picture made on a screen; else None."""
    from PIL import Image

    tiny = max(thumbnail.size) < THUMBNAIL  # much of it is edges, neither ink nor paper
    reach, most = (40, 0.6) if tiny else (3, 0.75)
    colors, found = np.asarray(thumbnail)[:: 2 - tiny, :: 2 - tiny].reshape(-1, 3), []
    rest = colors
    for _ in range(2):  # thick lines cover more than is left of paper that was cut to them
        usual = np.array([np.bincount(plane, minlength=256).argmax() for plane in rest.T], int)
        like = np.abs(rest - usual).max(axis=1) <= reach
        found.append((like.sum() / len(colors), usual))
        rest = rest[~like]
        if not len(rest):
            break
    share, usual = found[0]
    even = (np.abs(colors - usual).max(axis=1) <= 3).mean()
    apart = np.abs(found[-1][1] - usual).max()  # ink is further from its paper than a shadow
    if len(found) == 2 and apart > 140 and share + found[1][0] > most:
        surrounding = [color for _, color in found if _surrounds(thumbnail, color)]
        if surrounding:
            usual = surrounding[0]
        elif found[1][0] > 0.6 * share:
            usual = max(found[0][1], found[1][1], key=sum)
    elif even < 0.5:
        return None
    return Image.new("RGB", _fit(thumbnail.size, PAPER_SIDE), tuple(usual.tolist()))


def _surrounds(thumbnail, color) -> bool:
    """Whether that colour is along the rim, but for where a drawing touches it, and too broad for a frame or a line."""
    import cv2

    like = (np.abs(np.asarray(thumbnail).astype(int) - color).max(axis=2) < 70).astype(np.uint8)
    rim = np.concatenate([like[0], like[-1], like[:, 0], like[:, -1]])
    deepest = cv2.distanceTransform(like, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max()
    return bool(rim.mean() > 0.75 and deepest > MAX_PEN / 2 * max(like.shape))


def _is_exact(image) -> bool:
    """Whether most pixels are what the next ones are, as no camera sees them."""
    pixels = np.asarray(image)[:: max(1, image.height // 100)]
    return bool((pixels[:, 1:] == pixels[:, :-1]).all(axis=2).sum() > 0.6 * pixels[:, 1:, 0].size)


def _ink_contrast(difference: np.ndarray, exact: bool) -> np.ndarray:
    """``Ink.contrast``, given paper - colour ``[3, rows, columns]``; ``exact``: without noise.

    Raises ValueError if there is no ink.
    """
    size = np.abs(difference).max(axis=0).astype(np.uint8)
    above = np.cumsum(np.bincount(size.ravel(), minlength=256)[::-1])[::-1]  # pixels of at least so many grey levels
    strongest = difference[:, size >= np.flatnonzero(above >= min(size.size, max(16, size.size // 20)))[-1]]
    # Colour of the ink: what the strongest differences have in common. Its sign: ink is dark or light as most are.
    direction = np.linalg.eigh(strongest @ strongest.T)[1][:, -1]
    if np.sum((direction @ strongest) ** 3) < 0:
        direction = -direction
    along = Ink(None, direction).of(difference)
    return direction / np.float32(_ink_level(along, max(MIN_CONTRAST, 0 if exact else 5 * _noise(along))))


def _noise(values: np.ndarray) -> float:
    """Standard deviation of values that are 0 but for noise and ink, which is most of them at most; of a sample."""
    quarter, half = np.quantile(np.abs(values.ravel()[:: max(1, values.size // 20_000)]), (0.25, 0.5))
    return float(min(quarter / 0.3186, half / 0.6745))


def _ink_level(values: np.ndarray, least: float) -> float:
    """How strong ink is: the middle of what is over half of the strongest. Raises ValueError if under ``least``."""
    strongest = float(np.quantile(values, 0.9995))
    if strongest < least:
        raise ValueError("no ink found: the image is blank, or its lines are too faint")
    return float(np.median(values[values > strongest / 2]))


def _ink_mask(strength: np.ndarray, blur: float, exact: bool) -> np.ndarray:
    """Where ink is: over half its strength, or joined to that and over a third; ``exact``: without noise."""
    from scipy import ndimage

    strength = ndimage.gaussian_filter(strength, blur)
    noise = 0.0 if exact else _noise(strength)
    level = _ink_level(strength, 0.1)
    parts, count = ndimage.label(strength > max(0.33 * level, 3 * noise), np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[parts[strength > max(0.5 * level, 5 * noise)]] = True
    strong[0] = False
    mask = strong[parts]
    if mask.mean() > (0.9 if exact else 0.6):
        raise ValueError("nearly everything on the image is ink: no drawing to be made out")
    return mask


class Mask(NamedTuple):
    """Where ink is, and how broad it is there; with a rim of one pixel without ink."""

    ink: np.ndarray  # [rows, columns] bool
    depth: np.ndarray  # [rows, columns] distance to what is no ink, pixels
    pen: float  # usual width of the lines, pixels


def _without_dirt(mask: np.ndarray, dropped: np.ndarray | None = None, kind: str = "photo") -> Mask:
    """A mask without specks, frames and punched holes, and without what is no drawing: a table or a finger.

    ``dropped``: where ink is known to be none; kind: "photo", "sheet" (straightened), or "screen", which has no
    surroundings. Raises ValueError if nothing is left.
    """
    from scipy import ndimage

    mask = np.pad(mask if dropped is None else mask & ~dropped, 1)
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        raise ValueError("no ink found: nothing but the edges of the paper")
    areas = np.bincount(parts.ravel(), minlength=count + 1).astype(float)
    areas[0] = 0
    depth = ndimage.distance_transform_edt(mask)
    ridge = np.flatnonzero(mask & (depth == ndimage.maximum_filter(depth, 3)))
    widths, whose = 2 * depth.ravel()[ridge] - 1, parts.ravel()[ridge]
    touches = np.bincount(_rim_of(parts), minlength=count + 1)
    pen = _usual_width(widths, whose, areas, touches)
    if dropped is None:
        outside = _is_outside(parts, depth, areas, touches, pen, kind)
        if areas[~outside].sum() > 0.03 * areas.sum():
            areas[outside] = 0
        border = _is_border(parts, areas, depth, pen, kind)
        if border.any() and not border[areas > 0].all():
            areas[border] = 0
    kept = areas > max(3.0, 0.3 * pen**2)
    if kind != "screen" and dropped is None:
        kept &= ~_is_stray(parts, areas * kept)
    if not kept.any():
        raise ValueError("no ink found: nothing but specks")
    ink = kept[parts]
    return Mask(ink, depth * ink, float(np.median(widths[kept[whose]])))


def _rim_of(parts) -> np.ndarray:
    """The labels along the rim of a padded image of labels."""
    return np.concatenate([parts[1], parts[-2], parts[2:-2, 1], parts[2:-2, -2]])


def _usual_width(widths, whose, areas, touches) -> float:
    """The pen's width: of parts that are no specks, and do not touch the rim if there are others."""
    inner = np.where(touches > 0, 0, areas)
    sure = areas if inner.sum() < 0.03 * areas.sum() else inner
    return float(np.median(widths[(sure > 0.02 * sure.max())[whose]]))


def _is_outside(parts, depth, areas, touches, pen, kind) -> np.ndarray:
    """Which parts of a padded mask are no drawing: broad where they leave the image, or hardly leaving its rim."""
    from scipy import ndimage

    rows, columns = parts.shape
    long = touches > 5 * pen + 4
    close = max(1, int((0.04 if kind == "sheet" else 0.06) * max(rows, columns)))
    inner = np.bincount(parts[close:-close, close:-close].ravel(), minlength=len(areas))
    along = inner < 0.1 * areas
    if kind == "screen":  # trimmed drawings touch the rim, too
        return long & along
    near = max(3, int(4 * pen))
    at_rim = np.zeros(parts.shape, bool)
    at_rim[:near], at_rim[-near:], at_rim[:, :near], at_rim[:, -near:] = True, True, True, True
    broad = ndimage.maximum(np.where(at_rim, depth, 0), parts, np.arange(len(areas))) > 1.5 * pen + 1
    return long & (broad | along)


def _is_stray(parts, areas) -> np.ndarray:
    """Which parts of a mask are bits far from the drawing, of a page number or a ruling, hardly any of its ink."""
    from scipy import ndimage

    boxes = np.array([[box[0].start, box[1].start, box[0].stop, box[1].stop] for box in ndimage.find_objects(parts)])
    main = areas[1:] > 0.05 * areas.sum()
    stray = np.zeros(len(areas), bool)
    if not main.any():
        return stray
    low, high = boxes[main, :2].min(axis=0), boxes[main, 2:].max(axis=0)
    away = np.maximum(np.maximum(low - boxes[:, 2:], boxes[:, :2] - high), 0).max(axis=1)
    stray[1:] = (areas[1:] > 0) & (away > 0.3 * (high - low).max())
    return stray if areas[stray].sum() < 0.03 * areas.sum() else np.zeros(len(areas), bool)


def _is_border(parts, areas, depth, pen, kind) -> np.ndarray:
    """Which parts of a padded mask are a frame near the image's rim, a line along it, or holes along it."""
    from scipy import ndimage

    rows, columns = parts.shape
    border, holes, boxes = np.zeros(len(areas), bool), [], {}
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        if areas[number] == 0:
            continue
        top, bottom, left, right = box[0].start, box[0].stop, box[1].start, box[1].stop
        height, width = bottom - top, right - left
        boxes[number] = top, bottom, left, right
        part = parts[box] == number
        thick = 2 * depth[box][part].max() + 1.5
        gaps = top / rows, 1 - bottom / rows, left / columns, 1 - right / columns
        if height > 0.8 * rows and width > 0.8 * columns and max(gaps) < 0.08 and thick < 0.05 * min(rows, columns):
            t = int(np.ceil(thick))
            border[number] = not part[t:-t, t:-t].any() and part.any(axis=0).all() and part.any(axis=1).all()
        elif min(height, width) <= thick:
            along_row = width > 0.9 * columns and min(gaps[:2]) < 0.08
            border[number] = along_row or (height > 0.9 * rows and min(gaps[2:]) < 0.08)
        if kind != "screen":  # fingers, magnets and trays; what a round corner leaves to be seen of the table
            high, wide = (bottom < 0.15 * rows, top > 0.85 * rows), (right < 0.15 * columns, left > 0.85 * columns)
            border[number] |= any(high + wide) and thick > 2 * pen + 3
            corner = min(bottom, rows - top) < 0.08 * rows and min(right, columns - left) < 0.08 * columns
            border[number] |= corner and areas[number] < 0.25 * areas.sum()
        round_spot = 0.7 < height / width < 1.4 and areas[number] > 0.65 * height * width
        if round_spot and max(height, width) < 0.06 * max(rows, columns) and min(gaps) < 0.12:
            holes.append((number, (top + bottom) / 2, (left + right) / 2, height))
    border[_punched(holes, rows, columns) + _in_line(boxes, rows, columns)] = True
    return border


def _in_line(boxes: dict, rows: int, columns: int) -> list[int]:
    """Of parts with a box (top, bottom, left, right), those in line along a rim, as the holes of a spiral are."""
    found = []
    for axis, (length, across) in enumerate(((rows, columns), (columns, rows))):
        sides = {n: (box[2 * axis : 2 * axis + 2], box[2 - 2 * axis : 4 - 2 * axis]) for n, box in boxes.items()}
        for at_end in (False, True):
            near = {
                n: (along, (low + high) / 2)
                for n, (along, (low, high)) in sides.items()
                if high - low < 0.04 * across and (low > 0.9 * across if at_end else high < 0.1 * across)
            }
            if len(near) < 2:
                continue
            middle = np.median([at for _, at in near.values()])
            line = {n: along for n, (along, at) in near.items() if abs(at - middle) < 0.03 * across}
            ends = np.array(list(line.values())).reshape(-1, 2)
            covered = (ends[:, 1] - ends[:, 0]).sum() / length
            if len(line) > 1 and np.ptp(ends) > 0.5 * length and covered > (0.04 if len(line) >= 5 else 0.6):
                found += line
    return found


def _punched(spots: list, rows: int, columns: int) -> list[int]:
    """Of round spots (part, row, column, size) near the rim, those in line along it, far apart, and of one size."""
    found = set()
    for number, row, column, size in spots:
        for other, other_row, other_column, other_size in spots:
            apart = abs(row - other_row) / rows, abs(column - other_column) / columns
            along = min(column, columns - column) < 0.12 * columns and apart[0] > 0.12 and apart[1] < 0.015
            along |= min(row, rows - row) < 0.12 * rows and apart[1] > 0.12 and apart[0] < 0.015
            if along and 0.75 < size / other_size < 1.33 and size > 0.012 * max(rows, columns):
                found |= {number, other}
    return sorted(found)


class Found(NamedTuple):
    """The drawing on an image."""

    ink: Ink
    box: np.ndarray  # [4] left, top, right, bottom in pixels of the image
    pen: float  # width of its lines, pixels of the image
    kept: np.ndarray  # bool, on a small copy of the image: the drawing
    dropped: np.ndarray  # the same: ink that is no drawing
    all_ink: int  # pixels of that copy that are dark
    kind: str  # as for ``_without_dirt``


def _find_ink(image, straightened: bool = False) -> Found:
    """The drawing on an image. Raises ValueError if there is none."""
    from PIL import Image
    from scipy import ndimage

    size = _fit(image.size, THUMBNAIL)
    thumbnail = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    paper = _plain_paper(min(image, thumbnail, key=lambda one: one.width))  # enlarged, lines have blurred edges
    kind = "sheet" if straightened else "screen" if paper is not None and _is_exact(image) else "photo"
    paper = paper or _estimate_paper(thumbnail)
    difference = _resample(paper, (0, 0, *paper.size), size) - _planes(thumbnail)
    ink = Ink(paper, _ink_contrast(difference, kind == "screen"))
    mask = _ink_mask(ink.of(difference), THUMBNAIL_BLUR, kind == "screen")
    kept = _without_dirt(mask, kind=kind)
    rows, columns = np.flatnonzero(kept.ink.any(axis=1)) - 1, np.flatnonzero(kept.ink.any(axis=0)) - 1
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
    to_image = np.array(image.size * 2) / np.array(size * 2)
    dropped = ndimage.binary_dilation(mask & ~kept.ink[1:-1, 1:-1], np.ones((3, 3)), 2)
    dropped &= ~ndimage.binary_dilation(kept.ink[1:-1, 1:-1], np.ones((3, 3)), 2)
    pen = kept.pen * float(to_image[0])
    return Found(ink, box * to_image, pen, kept.ink[1:-1, 1:-1], dropped, int(mask.sum()), kind)


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


def _draw_again(image, found: Found, height, width, line_width):
    """The drawing that was found, in the middle of a bitmap, its lines ``line_width`` wide."""
    from skimage.morphology import skeletonize

    fine = max(1, math.ceil(FINE / line_width))
    longer = (found.box[2:] - found.box[:2]).max()
    room = np.array([width, height]) - 10 * line_width  # training bitmaps have 5 line widths free on each side
    mask = _look_closer(image, found, min(found.pen, MAX_PEN * longer), room * fine)
    if longer > MIN_AREA * max(image.size) and _is_area(mask):  # such as an icon: what a pen would draw of it
        mask = _look_closer(image, found, line_width * longer / room.max(), room * fine)
        mask = _without_dirt(mask.ink & (mask.depth <= line_width * fine))
    lines = _without_spurs(skeletonize(mask.ink), round(0.8 * mask.pen))
    return _centre(_stroke(mask, lines, line_width * fine), lines, height, width, fine)


def _look_closer(image, found: Found, pen: float, room: np.ndarray) -> Mask:
    """The ink of the drawing that was found, so large that it fits in ``room`` (width, height).

    ``pen``: how broad its lines are, pixels of the image. Raises ValueError if there is no ink.
    """
    from PIL import Image

    box = found.box
    scale = float((room / np.maximum(box[2:] - box[:2] - pen, pen)).min())
    margin = min(2 * pen, 0.3 * (box[2:] - box[:2]).max()) + 2 * FINE / scale
    box = np.concatenate([np.maximum(box[:2] - margin, 0), np.minimum(box[2:] + margin, image.size)])
    size = tuple(np.maximum(((box[2:] - box[:2]) * scale).round().astype(int), 1).tolist())
    dropped = Image.fromarray(found.dropped)
    part = box * (np.array(dropped.size * 2) / np.array(image.size * 2))
    dropped = np.asarray(dropped.resize(size, Image.Resampling.NEAREST, box=tuple(part.tolist())))
    strength = found.ink.strength(image, tuple(box.tolist()), size)
    mask = _ink_mask(strength, max(1.0, max(pen * scale, 1.0) / 8), found.kind == "screen")
    return _without_dirt(mask, dropped)


def _is_area(mask: Mask) -> bool:
    """Whether most of a mask is too broad to be lines of the pen: a silhouette."""
    from scipy import ndimage

    rows, columns = (np.flatnonzero(mask.ink.any(axis=axis)) for axis in (1, 0))
    deep = MAX_PEN / 2 * max(np.ptp(rows), np.ptp(columns))
    broad = ndimage.distance_transform_edt(mask.depth <= deep) <= deep
    return bool((mask.ink & broad).sum() > 0.6 * mask.ink.sum())


def _spots(mask, lines) -> np.ndarray:
    """Where the dots of a mask are: parts that are hardly longer than they are broad; bool."""
    from scipy import ndimage

    parts, count = ndimage.label(ndimage.binary_dilation(mask.ink, np.ones((3, 3)), 4), np.ones((3, 3)))
    deepest = ndimage.maximum(mask.depth, parts, np.arange(count + 1))
    spots = np.zeros(count + 1, bool)
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        rows, columns = np.nonzero(lines[box] & (parts[box] == number))
        length = max(np.ptp(rows), np.ptp(columns)) if len(rows) else 0
        spots[number] = length <= 0.7 * deepest[number]
    # Far enough around them to draw them broader.
    return ndimage.binary_dilation(spots[parts], np.ones((3, 3)), 6)


def _stroke(mask, lines, target):
    """Ink (0 to 1) of a mask's thinned ``lines`` drawn ``target`` wide."""
    from scipy import ndimage

    def line(distance):
        return np.clip(target / 2 + 0.5 - distance, 0, 1)

    away = ndimage.distance_transform_edt(~lines)
    depth, pen = mask.depth, mask.pen
    spots = _spots(mask, lines)  # a bit broader than lines, or they would be pale
    cover = np.maximum(line(away), spots * np.maximum(line(away - 0.3 * target), depth > max(0, (pen - target) / 2)))
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
