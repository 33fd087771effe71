"""An SVG on standard input -> a PNG on standard output: its lines seen however thin, its page fitted to them.

``read_image`` runs this in a process of its own, as a few lines of nested <use> keep CairoSVG busy for ever. What is
not a drawing is told on standard error, exit code 2.
"""

import re
import sys

import cairocffi
import numpy as np
from cairosvg import surface
from cairosvg.colors import COLORS
from cairosvg.parser import Tree
from cairosvg.surface import PNGSurface

SIDE = 1024
MIN_LINE = 1.6  # pixels: a vector has no faint lines
BESIDE = 20  # times the page, in which lines are sought if there are none on it
PAINTS = ("fill", "stroke", "color", "stop-color", "flood-color")
KNOWN = {*COLORS, "none", "inherit", "currentcolor", "transparent"}
OPACITIES = ("opacity", "fill-opacity", "stroke-opacity", "stop-opacity")


def tidy_paint(node) -> None:
    """Write colours and opacities of an element (attributes by name) as CairoSVG reads them; unknown ones are black."""
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
        if "(" in text:
            node[name] = text if text.startswith("url(") else _known_color(text)
        elif not text.startswith("#") and text.lower() not in KNOWN:
            node[name] = "black"


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


def _color(read_color):
    """CairoSVG's reader of colours, for which an unknown one is black."""

    def color(string, opacity=1):
        try:
            return read_color(string, opacity)
        except (ValueError, IndexError, TypeError):
            return 0.0, 0.0, 0.0, float(opacity)

    return color


def _set_line_width(set_line_width):
    """cairo's, for lines of at least ``MIN_LINE`` pixels, if they have a width."""

    def wide_enough(context, width):
        (a, b), (c, d) = context.user_to_device_distance(1, 0), context.user_to_device_distance(0, 1)
        scale = abs(a * d - b * c) ** 0.5
        set_line_width(context, max(width, MIN_LINE / scale) if width > 0 and scale > 0 else width)

    return wide_enough


def draw(data: bytes, zoom: float = 1.0, left: float = 0.0, top: float = 0.0, beyond: bool = False) -> np.ndarray:
    """What lies in the ``SIDE`` / ``zoom`` pixels from (left, top) on a page fitted into ``SIDE`` x ``SIDE``.

    Returns premultiplied BGRA, uint8 ``[SIDE, SIDE, 4]``; ``beyond``: also what lies beside the page.
    """

    class Part(PNGSurface):
        first = True

        def set_context_size(self, width, height, viewbox, tree):
            if self.first:
                self.first = False
                self.context.scale(zoom, zoom)
                self.context.translate(-left, -top)
                if beyond:
                    tree["overflow"] = "visible"
            super().set_context_size(width, height, viewbox, tree)

        def draw(self, node):
            tidy_paint(node)
            super().draw(node)

        def finish(self):
            self.cairo.flush()
            self.pixels = np.frombuffer(bytes(self.cairo.get_data()), np.uint8).reshape(SIDE, -1, 4)[:, :SIDE]

    part = Part(Tree(bytestring=data, unsafe=False), None, 96, output_width=SIDE, output_height=SIDE)
    part.finish()
    return part.pixels


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
    """The drawing as ``draw`` gives it; larger, if it fills little of its page. Raises ValueError if it is blank."""
    pixels = draw(data)
    box = ink_box(pixels)
    if box is None:
        shift = SIDE * (BESIDE - 1) / 2
        if ink_box(draw(data, 1 / BESIDE, -shift, -shift, beyond=True)) is not None:
            raise ValueError("all its lines lie beside its page: fit the page to the drawing and save it again")
        return pixels
    for _ in range(3):
        side = 1.15 * max(box[2] - box[0], box[3] - box[1]) + 4
        if side > 0.6 * SIDE:
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
    cairocffi.Context.set_line_width = _set_line_width(cairocffi.Context.set_line_width)
    surface.color = _color(surface.color)
    try:
        pixels = draw_fitted(sys.stdin.buffer.read())
    except Exception as error:  # whatever a damaged file makes CairoSVG or cairo trip over
        print(error, file=sys.stderr)
        return 2
    data = np.ascontiguousarray(pixels)
    image = cairocffi.ImageSurface(cairocffi.FORMAT_ARGB32, SIDE, SIDE, bytearray(data.tobytes()), 4 * SIDE)
    image.write_to_png(sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
