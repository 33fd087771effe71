"""An SVG -> the lines that it shows: visible, on its page, filled pen strokes by their centre. No TensorFlow.

``read_svg_lines(data)`` is the door. Files are not trusted: nothing is fetched, and time and memory are bounded.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from itertools import pairwise

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from centre_lines import SLENDER, centre_lines, polygon_area
from read_image import expand_entities, import_cairo
from simplify import resample_line
from svg_pen import PAGE_WIDTH, VISIBLE, LinePen, Lines, Refused, Shape, parts_inside

MAX_PATH_CHARACTERS = 500_000  # of a path; CairoSVG takes time in proportion to its square
MAX_STYLE_CHARACTERS = 20_000
MAX_DEPTH = 100  # of elements, `use` followed; CairoSVG is recursive
MAX_XML_ELEMENTS = 100_000
MAX_ELEMENTS = 5_000  # that may draw, `use` followed
MAX_DRAWN = 20_000  # those of a clip path counted each time that it clips
MAX_PEN_STROKES = 500  # filled shapes whose centre line is sought: some hundredths of a second each
MAX_USE_WORK = 2_000_000  # `use` elements times all elements: CairoSVG looks through the whole file for each

FONTS = re.compile(r"@font-face\s*\{[^}]*\}")  # may be embedded, and draw no lines
DRAWN_TAGS = frozenset(
    "svg g a symbol use defs clipPath style switch path rect circle ellipse line polyline polygon".split()
)
REPORTED_TAGS = ("text", "image", "foreignObject")  # not drawn, and a user would miss them
IGNORED_PROPERTIES = ("mask", "filter", "marker", "marker-start", "marker-mid", "marker-end")
CROSSING = 0.015  # of the page: a line hidden for so long is crossed by another, and goes on


class Drawing(list):
    """The lines ``[n, 2]`` of a drawing, y downward, and what its file says of it."""

    def __init__(self, lines=(), notes: dict[str, int] | None = None):
        super().__init__(lines)
        self.page: tuple[float, float] | None = None  # width and height of its page, from (0, 0); None: not known
        self.word = self.key = None  # QuickDraw's category and key_id
        self.recognized = True  # by QuickDraw's classifier
        self.notes = notes or {}  # how it was read, and of how many of its shapes that is true


# ---------------------------------------------------------------------------------------------------------
# XML and SVG


class _BoundedTree(ElementTree.TreeBuilder):
    """Builds the tree of an XML file unless it goes too deep (whoever walks it may be recursive) or is too large."""

    depth = count = 0

    def start(self, tag, attributes):
        self.depth += 1
        self.count += 1
        if self.count > MAX_XML_ELEMENTS:
            raise ValueError(f"more than {MAX_XML_ELEMENTS:,} elements")
        if self.depth > MAX_DEPTH:
            raise ValueError(f"elements nested more than {MAX_DEPTH} deep")
        return super().start(tag, attributes)

    def end(self, tag):
        self.depth -= 1
        return super().end(tag)


def parse_xml(data: bytes) -> ElementTree.Element:
    """The root of an XML file, namespaces taken off the tags. Raises ValueError for what is broken or dangerous."""
    data = expand_entities(data)
    parser = DefusedXMLParser(target=_BoundedTree(), forbid_entities=True, forbid_external=True)
    try:
        parser.feed(data)
        root = parser.close()
    except DefusedXmlException:
        raise ValueError("its entities or its document type name other files; save it as plain SVG") from None
    except (ElementTree.ParseError, LookupError) as error:  # LookupError: an encoding nobody knows
        raise ValueError(f"broken XML ({error})") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def read_svg_lines(data: bytes, outlines: bool = False) -> tuple[Drawing, Counter]:
    """What an SVG draws: (lines ``[n, 2]`` in document order, elements left out that a user may miss).

    The page is ``PAGE_WIDTH`` wide. Curves and arcs become points close enough for a drawing 255 units across. A filled
    shape that is a pen's stroke is read as its centre line, unless ``outlines``, and any other as its outline; dashes,
    line widths and masks do not count; what has the colour of the paper is left out, with what it hides. Lines end
    where the page or a clip path ends; a clip path's even-odd rule and its own clip path do not count. Raises
    ValueError for what is broken, dangerous or too large, or without a cairo library.
    """
    root = parse_xml(data)
    if root.tag != "svg":
        raise ValueError(f"the root element is {root.tag}, not svg")
    left_out = _clean(root)
    _check_effort(root)
    import_cairo()  # says what to install
    from draw_svg import tidy_page, tidy_path  # here: whoever reads no SVG needs no cairo library

    for element in root.iter():
        tidy_path(element.attrib)
    has_page = tidy_page(root.attrib)
    try:
        pen, size, background, masked = _draw_lines(root)
        page = np.array([(0, 0), size]) if has_page else _box(pen.shapes)
        drawing = _visible_lines(pen.shapes, page, size, background, outlines, root)
    except Refused as error:
        raise ValueError(str(error)) from None
    except Exception:  # whatever a damaged file makes CairoSVG or cairo trip over
        raise ValueError("an SVG that cannot be drawn: open it in a browser or Inkscape and save it again") from None
    drawing.page = size if has_page else None
    if masked:
        drawing.notes["masks not heeded, what they hide is drawn"] = masked
    return drawing, left_out


def _clean(root: ElementTree.Element) -> Counter:
    """Take out of a tree all that draws no lines; returns how many texts and images went with it.

    So entities, scripts, images, patterns, filters and references to other files never reach CairoSVG.
    """
    left_out = Counter()
    pending = [root]
    while pending:
        element = pending.pop()
        for child in list(element):
            if child.tag in DRAWN_TAGS and not (child.tag == "clipPath" and child.find(".//text") is not None):
                pending.append(child)
            else:
                left_out.update([child.tag] if child.tag in REPORTED_TAGS else [])
                element.remove(child)
        element.text = FONTS.sub("", element.text or "") if element.tag == "style" else None
        element.tail = None
        element.tag = "g" if element.tag == "a" else element.tag  # CairoSVG takes a link for text
    for element in root.iter():
        element.tag = "{http://www.w3.org/2000/svg}" + element.tag  # CairoSVG finds style sheets by it
    return left_out


def _check_effort(root: ElementTree.Element) -> None:
    """Raise ValueError if drawing a cleaned tree takes too long; the tree itself is finite, `use` makes it explode."""
    elements = list(root.iter())
    lengths = [len(element.get("d", "")) + len(element.get("points", "")) for element in elements]
    if sum(length * length for length in lengths) > MAX_PATH_CHARACTERS**2:
        raise ValueError(f"{sum(lengths):,} characters of path data; at most {MAX_PATH_CHARACTERS:,} are read")
    if sum(len(element.text or "") for element in elements) > MAX_STYLE_CHARACTERS:
        raise ValueError(f"a style sheet of more than {MAX_STYLE_CHARACTERS:,} characters")
    targets = {f"#{element.get('id')}": element for element in elements if "id" in element.attrib}
    count, uses, pending = 0, 0, [(root, 1)]
    while pending:
        element, depth = pending.pop()
        count += not element.tag.endswith("}clipPath")  # MAX_DRAWN bounds what is in it
        pending += [(child, depth + 1) for child in element]
        href = element.get("href", element.get("{http://www.w3.org/1999/xlink}href"))
        if element.tag.endswith("}use"):
            uses += 1
            pending += [(targets[href], depth + 1)] if href in targets else []
        if depth > MAX_DEPTH or count > MAX_ELEMENTS or uses * len(elements) > MAX_USE_WORK:
            raise ValueError("too many elements, or a `use` that draws itself")


def _draw_lines(root: ElementTree.Element) -> tuple["LinePen", tuple[float, float], str]:
    """CairoSVG draws a cleaned tree (paths, arcs, transforms, `use`, style sheets), without ink.

    Returns the pen, the size of the page, the colour behind it ("": not said), and how many elements have a mask.
    """
    import cairocffi
    from cairosvg.parser import Tree
    from cairosvg.surface import Surface

    from draw_svg import is_hidden_clip, tidy_clip, tidy_paint

    elements = sum(1 for _ in root.iter())

    class LineSurface(Surface):
        """A surface without pixels, with a `LinePen`."""

        device_units_per_user_units = 1
        count = uses = masked = 0

        def _create_surface(self, width, height):
            return cairocffi.RecordingSurface(cairocffi.CONTENT_COLOR_ALPHA, None), width, height

        def set_context_size(self, width, height, viewbox, tree):
            first = not isinstance(self.context, LinePen)  # right after CairoSVG made its context
            if first:
                self.context = LinePen(self.context)
            super().set_context_size(width, height, viewbox, tree)
            if first:
                self.context.clips = ()  # the page is none

        def draw(self, node):
            self.count += 1
            self.uses += node.tag == "use"
            self.masked += "#" in str(node.get("mask", ""))
            if self.count > MAX_DRAWN or self.uses * elements > MAX_USE_WORK:
                raise Refused("too many elements, those of clip paths counted each time that they clip")
            for name in IGNORED_PROPERTIES:
                node.pop(name, None)
            tidy_paint(node, plain=True)  # gradients and patterns are visible, that is all that matters
            tidy_clip(self, node)
            if not self.stroke_and_fill:
                node.pop("opacity", None)  # which does not count in a clip path
            if float(node.get("opacity", 1)) > VISIBLE and not is_hidden_clip(self, node):
                super().draw(node)

    def fetch_nothing(url, resource_type):
        return b'<svg width="1" height="1"></svg>' if resource_type == "image/svg+xml" else b""

    tree = Tree(bytestring=ElementTree.tostring(root), url_fetcher=fetch_nothing)
    background = str(tree.get("background-color") or tree.get("background") or "")
    surface = LineSurface(tree, None, 96, output_width=PAGE_WIDTH)
    return surface.context, (float(surface.width), float(surface.height)), background, surface.masked


# ---------------------------------------------------------------------------------------------------------
# Shapes as drawn -> the lines that are seen


def _box(shapes: list[Shape]) -> np.ndarray:
    """[[left, top], [right, bottom]] of all shapes."""
    points = np.concatenate([np.zeros((0, 2)), *(line for shape in shapes for line in shape.whole)])
    return np.stack([points.min(axis=0), points.max(axis=0)]) if len(points) else np.zeros((2, 2))


def _visible_lines(shapes, page, size, background, outlines, root) -> Drawing:
    """The lines of those shapes that differ from the paper. Raises Refused if all lie beside the page."""
    paper, seen, hides = _paper_color(background), [], False
    for shape in shapes:
        if shape.fill and not shape.stroke and _covers(shape, page):  # the paper, and what was below is hidden
            if shape.fill[3] > 1 - VISIBLE:
                paper, seen, hides = np.array(shape.fill[:3]), [], False
        elif _differs(shape.fill, paper) or _differs(shape.stroke, paper) or _lies_on_area(shape, seen):
            seen.append(shape)
        elif seen:
            hides = True  # white on white, perhaps over black lines
    if not seen and not background:  # white lines on nothing, to be seen on any other paper
        seen = [shape for shape in shapes if not (shape.fill and _covers(shape, page))]
    on_page = [shape for shape in seen if shape.lines]
    if seen and not on_page:
        raise Refused("all its lines lie beside its page: fit the page to the drawing and save it again")
    drawing, notes = Drawing(), Counter()
    notes["shapes beside the page left out"] = len(seen) - len(on_page)
    pieces = _shape_lines(on_page, outlines, notes) if on_page else []
    if hides or _may_hide(on_page):
        pieces = _without_hidden(pieces, on_page, root, size, paper)
    drawing += join_pieces(pieces)
    drawing.notes = +notes
    return drawing


def _shape_lines(shapes: list[Shape], outlines: bool, notes: Counter) -> list[Lines]:
    """The lines of each shape: as stroked, the centre of a filled pen stroke, the outline of a filled area."""
    points = np.concatenate([line for shape in shapes for line in shape.lines])
    size = float(np.ptp(points, axis=0).max())
    pens = [] if outlines else [i for i, shape in enumerate(shapes) if _may_be_pen_stroke(shape)][:MAX_PEN_STROKES]
    centres = [centre_lines(shape.whole, size, shape.even_odd) if i in pens else None for i, shape in enumerate(shapes)]
    pens = [width for _, width in filter(None, centres)] + [shape.width for shape in shapes if shape.stroke]
    pen, drawn, pieces = float(np.median(pens)) if pens else 0.0, set(), []
    for shape, centre in zip(shapes, centres, strict=True):
        if centre is not None:
            lines = [part for line in centre[0] for part in shape.clip.cut(line)]
            notes["filled pen strokes read as their centre line"] += 1
        elif not shape.stroke and not outlines and (touch := _touch_of_pen(shape.whole, pen)) is not None:
            lines = [touch]
        else:
            lines = [line for line in shape.lines if np.rint(line).tobytes() not in drawn]  # filled, then stroked: once
            notes["filled areas read as their outline"] += bool(lines) and not shape.stroke
        drawn |= {np.rint(line).tobytes() for line in shape.lines}
        pieces.append(lines)
    return pieces


def _touch_of_pen(outline: Lines, pen: float) -> np.ndarray | None:
    """A dot ``[1, 2]`` or short line ``[2, 2]`` that a pen of that width leaves; None if it would be more."""
    points = np.concatenate(outline)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    _, axes = np.linalg.eigh(np.cov((points - middle).T))
    width, length = np.ptp((points - middle) @ axes, axis=0)
    if width > 2 * pen or length > (SLENDER + 1) * pen:
        return None
    half = max(length - width, 0.0) / 2 * axes[:, 1]
    return np.stack([middle - half, middle + half]) if np.hypot(*half) > width / 4 else middle[None]


def _may_be_pen_stroke(shape: Shape) -> bool:
    """Whether a shape is filled, and not drawn around in another colour or as a line that is not closed."""
    if shape.fill is None:
        return False
    closed = all(np.abs(line[0] - line[-1]).max() < 1e-3 for line in shape.whole)
    return not shape.stroke or (closed and np.abs(np.subtract(shape.fill, shape.stroke)).max() < VISIBLE)


def _paper_color(background: str) -> np.ndarray:
    """Red, green, blue of what CSS says is behind the drawing; white if it says nothing that is known."""
    from cairosvg.colors import color

    from draw_svg import tidy_paint

    paint = {"color": background}
    tidy_paint(paint)
    *rgb, alpha = color(paint["color"]) if background else (1, 1, 1, 1)
    return np.array(rgb) if alpha > 0.5 else np.ones(3)


def _differs(color: tuple | None, paper: np.ndarray) -> bool:
    """Whether a colour (red, green, blue, alpha) can be seen on a paper."""
    return color is not None and float(color[3] * np.abs(np.array(color[:3]) - paper).max()) > VISIBLE


def _lies_on_area(shape: Shape, areas: list[Shape]) -> bool:
    """Whether a shape lies inside the outline of one that was filled before: white on a dark badge is seen."""
    points = np.concatenate(shape.whole)
    for outline in (line for area in areas if area.fill for line in area.whole):
        if (points.min(axis=0) < outline.min(axis=0)).any() or (points.max(axis=0) > outline.max(axis=0)).any():
            continue
        (x, y), (to_x, to_y) = outline.T, np.roll(outline, -1, axis=0).T
        at_x, at_y = points[:: max(len(points) // 50, 1)].T[..., None]
        crosses = (y > at_y) != (to_y > at_y)
        with np.errstate(divide="ignore", invalid="ignore"):
            left = at_x < x + (at_y - y) / (to_y - y) * (to_x - x)
        if ((crosses & left).sum(axis=1) % 2).mean() > 0.9:
            return True
    return False


def _covers(shape: Shape, page: np.ndarray) -> bool:
    """Whether a shape fills (nearly) all of a page, [[left, top], [right, bottom]]."""
    if shape.clip.mask is not None:
        return False
    points, clip = np.concatenate(shape.whole), shape.clip
    inside = np.minimum(np.minimum(points.max(axis=0), clip.high), page[1])
    inside -= np.maximum(np.maximum(points.min(axis=0), clip.low), page[0])
    areas = [abs(polygon_area(line)) for line in shape.whole]
    return bool((inside > 0.98 * (page[1] - page[0])).all() and max(areas) > 0.9 * np.prod(page[1] - page[0]))


def _may_hide(shapes: list[Shape]) -> bool:
    """Whether a shape is filled in a colour that hides an earlier one's lines."""
    colors: set[tuple] = set()
    for shape in shapes:
        if shape.fill and shape.fill[3] > 1 - VISIBLE and colors - {shape.fill}:
            return True
        colors |= {color for color in (shape.fill, shape.stroke) if color}
    return False


def _without_hidden(pieces: list[Lines], shapes: list[Shape], root, size, paper: np.ndarray) -> list[Lines]:
    """Lines without those parts that are painted over, as the picture of the whole shows."""
    from draw_svg import SIDE, draw

    scale = SIDE / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    pixels = draw(ElementTree.tostring(root), size=(width, height), plain=True).astype(float) / 255
    picture = pixels[..., 2::-1] + (1 - pixels[..., 3:]) * paper  # premultiplied, blue first
    picture = np.pad(picture, ((1, 1), (1, 1), (0, 0)), "edge")
    shown = []
    for lines, shape in zip(pieces, shapes, strict=True):
        ink = np.array((shape.stroke or shape.fill)[:3])
        shown.append([part for line in lines for part in _seen_parts(line, ink, paper, picture, scale)])
    return shown


def _seen_parts(line, ink: np.ndarray, paper: np.ndarray, picture: np.ndarray, scale: float) -> Lines:
    """The parts of a line where the picture has its colour within a pixel; in short gaps other lines cross it."""
    fine = resample_line(line, 1 / scale) if len(line) > 1 else line
    x, y = np.clip((fine * scale).astype(int), 0, np.array(picture.shape[1::-1]) - 3).T
    around = np.stack([picture[y + dy, x + dx] for dy in range(3) for dx in range(3)])
    seen = np.abs(around - ink).max(axis=2).min(axis=0) <= 0.5 * np.abs(ink - paper).max()
    runs = np.split(np.arange(len(seen)), np.flatnonzero(np.diff(seen)) + 1)
    for run in runs:
        seen[run] |= len(run) < CROSSING * max(picture.shape) and run[0] > 0 and run[-1] < len(seen) - 1
    return parts_inside(line, 1 / scale, seen)


def join_pieces(shapes: list[Lines]) -> Lines:
    """The lines of all shapes; those that were written piece by piece, as signature pads do, whole again.

    A shape that begins where the last one ended goes on with it; likewise the lines of one shape, if most lines do.
    """
    lines = [line for lines in shapes for line in lines]
    if len(lines) < 2:
        return lines
    shape = np.repeat(np.arange(len(shapes)), [len(lines) for lines in shapes])
    ends = np.array([[line[0], line[-1]] for line in lines])
    gaps = np.linalg.norm(ends[1:, 0] - ends[:-1, 1], axis=1)
    closed = np.array([len(line) > 2 and (line[0] == line[-1]).all() for line in lines])
    near = 1e-3 * np.ptp(np.concatenate(lines), axis=0).max()
    if len(lines) >= 8 and (gaps <= near).mean() >= 0.5:
        goes_on = gaps <= near
    else:
        goes_on = (gaps < 1e-5 * PAGE_WIDTH) & (shape[1:] != shape[:-1])
    goes_on &= ~closed[1:] & ~closed[:-1]
    starts = np.concatenate([[0], np.flatnonzero(~goes_on) + 1, [len(lines)]])
    return [
        np.concatenate([lines[start], *(line[1:] for line in lines[start + 1 : end])])
        for start, end in pairwise(starts)
    ]
