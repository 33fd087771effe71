"""An SVG on standard input -> a PNG on standard output: its lines seen however thin, its page fitted to them.

``read_image`` runs this in a process of its own, as a few lines of nested <use> keep CairoSVG busy for ever. What is
not a drawing is told on standard error, exit code 2.
"""

import copy
import re
import sys

import cairocffi
import numpy as np
from cairosvg.bounding_box import calculate_bounding_box, is_non_empty_bounding_box
from cairosvg.colors import COLORS
from cairosvg.helpers import PointError
from cairosvg.parser import Tree
from cairosvg.surface import PNGSurface
from cairosvg.url import parse_url

SIDE = 1024
MIN_LINE = 1.6  # pixels: a vector has no faint lines
BESIDE = 20  # times the page, in which lines are sought if there are none on it
PAINTS = ("fill", "stroke", "color", "stop-color", "flood-color")
KNOWN = {*COLORS, "none", "inherit", "transparent"}
NUMBER = r"\s*\+?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*"
LENGTH = NUMBER + r"(px|mm|cm|in|pt|pc|em|ex|q)?\s*"
BASIC_SHAPES = ("path", "rect", "circle", "ellipse", "line", "polyline", "polygon")
OPACITIES = ("opacity", "fill-opacity", "stroke-opacity", "stop-opacity")


class Told(ValueError):
    """A reason that a person can make something of."""


def tidy_page(attributes: dict) -> bool:
    """Give a root element a page that CairoSVG understands; returns whether it said how large its page is.

    Without a viewBox, sizes such as ``100%`` say nothing, and no page cuts the drawing.
    """
    sizes = [re.fullmatch(LENGTH, str(attributes.get(name, ""))) for name in ("width", "height")]
    numbers = re.split(r"[\s,]+", str(attributes.get("viewBox", "")).strip())
    if any(re.fullmatch(r"[-+]?0*\.?0*", number) for number in numbers[2:]):
        del attributes["viewBox"]  # without width or height
    if "viewBox" in attributes:
        if not all(sizes):
            for name in ("width", "height"):
                attributes.pop(name, None)
        return True
    if not all(sizes):
        attributes.update(width="1000", height="1000", overflow="visible")
    return all(sizes)


def tidy_paint(node: dict, plain: bool = False) -> None:
    """Write colours and opacities of an element (attributes by name) as CairoSVG reads them; unknown ones are black.

    ``plain``: gradients and patterns, too.
    """
    for name in OPACITIES:
        if name in node:
            text = str(node[name]).strip()
            try:
                value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
            except ValueError:
                value = 1.0
            node[name] = str(min(max(value, 0.0), 1.0) if value == value else 1.0)
    for name in PAINTS:
        text = str(node.get(name, "none")).strip()
        if text.lower() == "currentcolor":
            text = str(node.get("color", "black")).strip()
        if text.startswith("url("):
            node[name] = "black" if plain else text
        elif "(" in text:
            node[name] = _known_color(text)
        elif text.startswith("#"):
            node[name] = _known_hex(text)
        elif name in node:
            node[name] = text if text.lower() in KNOWN else "black"
    for name in ("stroke-width", "stroke-miterlimit", "font-size"):
        if name in node and not re.fullmatch(LENGTH.removesuffix("?") + "?%?", str(node[name])):
            del node[name]
    if not re.fullmatch(NUMBER, str(node.get("stroke-miterlimit", "4"))):
        del node["stroke-miterlimit"]


def tidy_path(attributes: dict) -> None:
    """Take out of a path what follows a ``z`` and is no command: CairoSVG would never end."""
    if "d" in attributes:
        attributes["d"] = re.sub(r"([zZ])[^a-zA-Z]+", r"\1 ", str(attributes["d"]))


def is_hidden_clip(surface, node) -> bool:
    """Whether an element is part of a clip path, and hidden: CairoSVG would leave out what is drawn before it."""
    return not surface.stroke_and_fill and (node.get("display") == "none" or node.get("visibility") == "hidden")


def tidy_clip(surface, node) -> None:
    """Leave an element no clip path but one that CairoSVG can draw.

    One in units of the element's box is turned into its user units for a basic shape, and left out for a group. Neither
    is a clip path clipped by another: CairoSVG would paint it then, or never end. What is no clip path clips nothing.
    """
    if "clip-path" not in node:
        return
    name = parse_url(node["clip-path"]).fragment
    clip = surface.paths.get(name)
    if not surface.stroke_and_fill or clip is None or clip.tag != "clipPath":
        del node["clip-path"]
    elif clip.get("clipPathUnits") == "objectBoundingBox":
        box = _box_of(surface, node)
        if box is None:
            del node["clip-path"]
            return
        clip = copy.copy(clip)
        clip["clipPathUnits"] = "userSpaceOnUse"
        clip["transform"] = "matrix({2} 0 0 {3} {0} {1}) ".format(*box) + clip.get("transform", "")
        name = f"{name} of {id(node)}"
        surface.paths[name], node["clip-path"] = clip, f"url('#{name}')"


def _box_of(surface, node) -> tuple | None:
    """(left, top, width, height) of a basic shape; None for what has none, or whose box is not sought."""
    if node.tag not in BASIC_SHAPES:
        return None
    try:
        box = calculate_bounding_box(surface, node)
    except (ValueError, PointError):
        return None
    node.pop("bounding_box", None)  # or others inherit it
    return box if box and is_non_empty_bounding_box(box) else None


def _known_hex(text: str) -> str:
    """``#rgb``, ``#rgba``, ``#rrggbb`` and ``#rrggbbaa`` as CairoSVG reads them; anything else as black."""
    digits = text[1:]
    if not re.fullmatch(r"[0-9a-fA-F]{3,8}", digits) or len(digits) not in (3, 4, 6, 8):
        return "black"
    if len(digits) < 6:
        digits = "".join(2 * digit for digit in digits)
    if len(digits) == 6:
        return f"#{digits}"
    red, green, blue, alpha = (int(digits[i : i + 2], 16) for i in (0, 2, 4, 6))
    return f"rgba({red},{green},{blue},{alpha / 255:.3f})"


def _known_color(text: str) -> str:
    """``rgb(20 20 20 / 90%)`` as ``rgba(20,20,20,0.9)``; a function that CairoSVG does not know as black."""
    kind, _, inside = text.strip().lower().rstrip(")").partition("(")
    if kind not in ("rgb", "rgba", "hsl", "hsla"):
        return "black"
    parts = re.split(r"[\s,/]+", inside.strip())
    try:
        numbers = [float(part.removesuffix("%").removesuffix("deg")) / (100 if "%" in part else 1) for part in parts]
    except ValueError:
        return "black"
    if len(numbers) not in (3, 4) or not np.isfinite(numbers).all():
        return "black"
    alpha = numbers[3] if len(numbers) == 4 else 1.0
    if kind.startswith("hsl"):
        import colorsys

        red, green, blue = colorsys.hls_to_rgb(numbers[0] / 360 % 1, numbers[2], numbers[1])
    else:
        red, green, blue = (n if "%" in part else n / 255 for n, part in zip(numbers[:3], parts[:3], strict=True))
    red, green, blue, alpha = (min(max(value, 0), 1) for value in (red, green, blue, alpha))
    return f"rgba({255 * red:.0f},{255 * green:.0f},{255 * blue:.0f},{alpha:.3f})"


class _WideLines:
    """A cairo context whose lines are at least ``MIN_LINE`` pixels wide, if they have a width."""

    def __init__(self, context):
        self._context = context

    def __getattr__(self, name):
        return getattr(self._context, name)

    def set_line_width(self, width):
        (a, b), (c, d) = self.user_to_device_distance(1, 0), self.user_to_device_distance(0, 1)
        scale = abs(a * d - b * c) ** 0.5
        self._context.set_line_width(max(width, MIN_LINE / scale) if width > 0 and scale > 0 else width)


def draw(
    data: bytes,
    zoom: float = 1.0,
    left: float = 0.0,
    top: float = 0.0,
    beyond: bool = False,
    size: tuple[int, int] = (SIDE, SIDE),
    plain: bool = False,
) -> np.ndarray:
    """What lies in the ``size`` / ``zoom`` pixels from (left, top) on a page fitted into ``size`` (width, height).

    Returns premultiplied BGRA, uint8 ``[height, width, 4]``; ``beyond``: also what lies beside the page; ``plain``:
    gradients and patterns in black.
    """

    class Part(PNGSurface):
        first = True

        def set_context_size(self, width, height, viewbox, tree):
            if self.first:
                self.first = False
                self.context = _WideLines(self.context)
                self.context.scale(zoom, zoom)
                self.context.translate(-left, -top)
                if beyond:
                    tree["overflow"] = "visible"
            super().set_context_size(width, height, viewbox, tree)

        def draw(self, node):
            tidy_paint(node, plain)
            tidy_clip(self, node)
            if not is_hidden_clip(self, node):
                super().draw(node)

    tree = Tree(bytestring=data, unsafe=False)
    tidy_page(tree)
    pending = [tree]
    while pending:  # those, too, that are not drawn but referred to, such as the colours of a gradient
        tidy_paint(node := pending.pop(), plain)
        tidy_path(node)
        pending += node.children
    part = Part(tree, None, 96, output_width=size[0], output_height=size[1])
    part.cairo.flush()
    return np.frombuffer(bytearray(part.cairo.get_data()), np.uint8).reshape(size[1], -1, 4)[:, : size[0]]


def ink_box(pixels: np.ndarray) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of what differs from the commonest colour; None if nothing does."""
    words = np.ascontiguousarray(pixels).view(np.uint32)[..., 0]
    values, counts = np.unique(words[::4, ::4], return_counts=True)
    ink = words != values[counts.argmax()]
    if not ink.any():
        return None
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def draw_fitted(data: bytes) -> np.ndarray:
    """The drawing as ``draw`` gives it; larger, if it fills little of its page. Raises Told if it lies beside it."""
    has_page = tidy_page(Tree(bytestring=data, unsafe=False))
    pixels = draw(data)
    box = ink_box(pixels)
    if box is None or not has_page:
        shift, page = SIDE * (BESIDE - 1) / 2, SIDE // BESIDE + 2
        around = draw(data, 1 / BESIDE, -shift, -shift, beyond=True)
        if has_page:  # which may be filled, and no ink
            middle = slice((SIDE - page) // 2, (SIDE + page) // 2)
            around[middle, middle] = around[0, 0]
        found = ink_box(around)
        if found is None:
            return pixels
        if has_page:
            raise Told("all its lines lie beside its page: fit the page to the drawing and save it again")
        box = tuple(value * BESIDE - shift for value in found)
    for _ in range(4):
        side = 1.15 * max(box[2] - box[0], box[3] - box[1]) + 4
        if has_page and side > 0.6 * SIDE:
            break
        left, top = (box[0] + box[2] - side) / 2, (box[1] + box[3] - side) / 2
        zoom = SIDE / side
        pixels = draw(data, zoom, left, top)
        finer = ink_box(pixels)
        if finer is None or zoom > 40:
            break
        box = tuple(left_or_top + value / zoom for left_or_top, value in zip((left, top) * 2, finer, strict=True))
        if max(finer[2] - finer[0], finer[3] - finer[1]) > 0.6 * SIDE:
            break
    return pixels


def main() -> int:
    """Draw what comes in -> exit code."""
    try:
        pixels = draw_fitted(sys.stdin.buffer.read())
    except Told as error:
        print(error, file=sys.stderr)
        return 2
    except Exception:  # whatever a damaged file makes CairoSVG or cairo trip over
        print("open it in a browser or Inkscape and save it again, or save it as PNG", file=sys.stderr)
        return 2
    data = np.ascontiguousarray(pixels)
    image = cairocffi.ImageSurface(cairocffi.FORMAT_ARGB32, SIDE, SIDE, bytearray(data.tobytes()), 4 * SIDE)
    image.write_to_png(sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
