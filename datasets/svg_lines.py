"""The lines of an SVG file, as CairoSVG would draw them: no ink, no network, bounded time and memory.

CairoSVG does the drawing (paths, curves, arcs, groups, transforms, `use`, symbols, viewBox, style sheets) onto a cairo
context that notes down where the pen goes instead of painting. What a stranger's file could do harm with (entities,
external references, images, patterns, filters, endless nesting) never reaches it.
"""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from math import ceil, pi

import cairocffi as cairo
import numpy as np
from cairosvg.parser import Tree
from cairosvg.surface import Surface
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

MAX_BYTES = 20_000_000  # of a file; pictures embedded in it may be large, they are dropped
MAX_PATH_CHARACTERS = 500_000  # of all path data; CairoSVG takes time in proportion to its square
MAX_STYLE_CHARACTERS = 20_000
MAX_DEPTH = 100  # of elements, `use` followed; CairoSVG is recursive
MAX_XML_ELEMENTS = 100_000
MAX_ELEMENTS = 5_000  # that may draw, `use` followed
MAX_USE_WORK = 2_000_000  # `use` elements times all elements: CairoSVG looks through the whole file for each
MAX_POINTS = 200_000
PAGE_WIDTH = 4096.0  # cairo rounds positions of pages and clips to 1/256 of a pixel

KEPT_TAGS = frozenset(
    "svg g a symbol use defs style switch path rect circle ellipse line polyline polygon".split()  # what draws lines
)
REPORTED_TAGS = ("text", "image", "foreignObject")  # a user would miss them
IGNORED_PROPERTIES = ("mask", "filter", "clip-path", "marker", "marker-start", "marker-mid", "marker-end")


class _ShallowTree(ElementTree.TreeBuilder):
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
    parser = DefusedXMLParser(target=_ShallowTree(), forbid_entities=True, forbid_external=True)
    try:
        parser.feed(data)
        root = parser.close()
    except DefusedXmlException as error:
        raise ValueError(f"XML entities or external references ({type(error).__name__})") from None
    except (ElementTree.ParseError, LookupError) as error:  # LookupError: an encoding nobody knows
        raise ValueError(f"broken XML ({error})") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def read_svg_lines(data: bytes) -> tuple[list[np.ndarray], Counter]:
    """What an SVG draws: (strokes [n, 2] in document order, y downward; elements left out that a user may miss).

    Curves and arcs become points close enough for a drawing 255 units across. Outlines of filled shapes count as
    strokes; dashes, line widths and clip paths do not count, invisible (or white) shapes and a filled page are left
    out. Lines end where the page ends. Raises ValueError for what is broken, dangerous or too large.
    """
    root = parse_xml(data)
    if root.tag != "svg":
        raise ValueError(f"the root element is {root.tag}, not svg")
    left_out = _clean(root)
    _check_effort(root)
    try:
        tree = Tree(bytestring=ElementTree.tostring(root), url_fetcher=_fetch_nothing)
        strokes = _LineSurface(tree, None, 96, output_width=PAGE_WIDTH).context.strokes
    except Exception as error:  # whatever a damaged file makes CairoSVG or cairo trip over
        raise ValueError(f"CairoSVG cannot draw it ({type(error).__name__}: {error})") from None
    return strokes, left_out


def _fetch_nothing(url, resource_type):
    return b'<svg width="1" height="1"></svg>' if resource_type == "image/svg+xml" else b""


def _clean(root: ElementTree.Element) -> Counter:
    """Take out of a tree all that draws no lines; returns how many texts and images went with it."""
    left_out = Counter()
    pending = [root]
    while pending:
        element = pending.pop()
        for child in list(element):
            if child.tag in KEPT_TAGS:
                pending.append(child)
            else:
                left_out.update([child.tag] if child.tag in REPORTED_TAGS else [])
                element.remove(child)
        element.text = element.text if element.tag == "style" else None
        element.tail = None
        element.tag = "g" if element.tag == "a" else element.tag  # CairoSVG takes a link for text
    for element in root.iter():
        element.tag = "{http://www.w3.org/2000/svg}" + element.tag  # CairoSVG finds style sheets by it
    if "viewBox" not in root.attrib and not ("width" in root.attrib and "height" in root.attrib):
        root.attrib.update(width="100", height="100", overflow="visible")  # any page will do
    return left_out


def _check_effort(root: ElementTree.Element) -> None:
    """Raise ValueError if drawing a cleaned tree takes too long; the tree itself is finite, `use` makes it explode."""
    elements = list(root.iter())
    path_length = sum(len(element.get("d", "")) + len(element.get("points", "")) for element in elements)
    if path_length > MAX_PATH_CHARACTERS:
        raise ValueError(f"{path_length:,} characters of path data; at most {MAX_PATH_CHARACTERS:,} are read")
    if sum(len(element.text or "") for element in elements) > MAX_STYLE_CHARACTERS:
        raise ValueError(f"a style sheet of more than {MAX_STYLE_CHARACTERS:,} characters")
    targets = {f"#{element.get('id')}": element for element in elements if "id" in element.attrib}
    count, uses, pending = 0, 0, [(root, 1)]
    while pending:
        element, depth = pending.pop()
        count += 1
        pending += [(child, depth + 1) for child in element]
        href = element.get("href", element.get("{http://www.w3.org/1999/xlink}href"))
        if element.tag.endswith("}use"):
            uses += 1
            pending += [(targets[href], depth + 1)] if href in targets else []
        if depth > MAX_DEPTH or count > MAX_ELEMENTS or uses * len(elements) > MAX_USE_WORK:
            raise ValueError("too many elements, or a `use` that draws itself")


class _LinePen(cairo.Context):
    """A cairo context that collects device positions of visible lines in ``strokes``, and paints nothing.

    Positions are kept apart from cairo's own path, which is rounded, and drops points and dots.
    """

    def __init__(self, target: cairo.Surface):
        super().__init__(target)
        self.strokes: list[np.ndarray] = []
        self._path: list[list] = []  # of strokes
        self._dots: set[int] = set()  # strokes of the path that are dots if nothing follows
        self._filled = False
        self._count = 0

    def _add(self, points) -> None:
        if not self._path:
            self._path.append([])
        self._path[-1].extend(points)
        self._count += len(points)
        if not np.isfinite(points).all():
            raise ValueError("a number that is not finite")
        if self._count > MAX_POINTS:
            raise ValueError(f"more than {MAX_POINTS:,} points")

    def _at(self, dx: float, dy: float) -> tuple[float, float]:
        """The device position (dx, dy) user units off the current one."""
        if not self._path or not self._path[-1]:
            return self.user_to_device(dx, dy)
        x, y = self._path[-1][-1]
        dx, dy = self.user_to_device_distance(dx, dy)
        return x + dx, y + dy

    def move_to(self, x, y):
        super().move_to(x, y)
        self._path.append([])
        self._add([self.user_to_device(x, y)])

    def rel_move_to(self, dx, dy):
        position = self._at(dx, dy)
        super().rel_move_to(dx, dy)
        self._path.append([])
        self._dots.add(len(self._path) - 1)  # draw_strokes writes a stroke of one point as "m dx,dy"
        self._add([position])

    def line_to(self, x, y):
        super().line_to(x, y)
        self._add([self.user_to_device(x, y)])

    def rel_line_to(self, dx, dy):
        position = self._at(dx, dy)
        super().rel_line_to(dx, dy)
        self._add([position])

    def curve_to(self, *points):
        super().curve_to(*points)
        self._add_curve([self.user_to_device(x, y) for x, y in zip(points[::2], points[1::2], strict=True)])

    def rel_curve_to(self, *points):
        positions = [self._at(x, y) for x, y in zip(points[::2], points[1::2], strict=True)]
        super().rel_curve_to(*points)
        self._add_curve(positions)

    def _add_curve(self, controls, steps=32):
        start = self._path[-1][-1] if self._path and self._path[-1] else controls[0]
        t = np.arange(1, steps + 1)[:, None] / steps
        weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3])
        self._add((weights @ np.array([start, *controls])).tolist())

    def arc(self, xc, yc, radius, angle1, angle2):
        super().arc(xc, yc, radius, angle1, angle2)
        self._add_arc(
            xc, yc, radius, angle1, angle1 + (angle2 - angle1 if angle2 > angle1 else (angle2 - angle1) % (2 * pi))
        )

    def arc_negative(self, xc, yc, radius, angle1, angle2):
        super().arc_negative(xc, yc, radius, angle1, angle2)
        self._add_arc(
            xc, yc, radius, angle1, angle1 - (angle1 - angle2 if angle2 < angle1 else (angle1 - angle2) % (2 * pi))
        )

    def _add_arc(self, xc, yc, radius, start, end):
        angles = np.linspace(start, end, 2 + ceil(64 * min(abs(end - start), 4 * pi) / (2 * pi)))
        self._add(
            [
                self.user_to_device(x, y)
                for x, y in zip(xc + radius * np.cos(angles), yc + radius * np.sin(angles), strict=True)
            ]
        )

    def rectangle(self, x, y, width, height):
        super().rectangle(x, y, width, height)
        corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
        self._path.append([])
        self._add([self.user_to_device(*corner) for corner in corners])
        self._close()

    def close_path(self):
        super().close_path()
        self._close()

    def _close(self):
        if self._path and self._path[-1]:
            start = self._path[-1][0]
            self._add([start])
            self._path.append([start])

    def new_sub_path(self):
        super().new_sub_path()
        self._path.append([])

    def new_path(self):
        super().new_path()
        self._path, self._dots = [], set()

    def clip(self):
        super().clip()
        self._path, self._dots = [], set()

    def fill_preserve(self):
        self._filled = self._is_visible()

    def stroke(self):
        drawn = [np.array(s) for i, s in enumerate(self._path) if len(s) > 1 or (s and i in self._dots)]
        stroked = self._is_visible() and self.get_line_width() > 0
        self.save()
        self.identity_matrix()
        page = np.array(self.clip_extents()).reshape(2, 2)
        self.restore()
        on_page = (page[1] > page[0]).all()
        if on_page and (stroked or (self._filled and not _covers(drawn, page))):
            slack = 1e-3 * PAGE_WIDTH  # lines along the edge stay
            self.strokes += [part for line in drawn for part in clip_line(line, page[0] - slack, page[1] + slack)]
        self._filled = False
        self.new_path()

    def _is_visible(self) -> bool:
        source = self.get_source()
        if not isinstance(source, cairo.SolidPattern):
            return True
        *colour, alpha = source.get_rgba()
        return alpha > 0.02 and min(colour) < 0.98  # white is the paper


def _covers(strokes: list[np.ndarray], page: np.ndarray) -> bool:
    """Whether one stroke is a filled rectangle over (nearly) all of the page [[left, top], [right, bottom]]."""
    if len(strokes) != 1 or len(strokes[0]) != 5:
        return False
    inside = np.minimum(strokes[0].max(axis=0), page[1]) - np.maximum(strokes[0].min(axis=0), page[0])
    return bool((inside > 0.98 * (page[1] - page[0])).all())


def clip_line(line: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """The parts of a line [n, 2] inside the box from `low` to `high` (Liang and Barsky's way), each [m, 2], m >= 2."""
    inside = ((line >= low) & (line <= high)).all(axis=1)
    if inside.all():
        return [line]
    start, step = line[:-1], np.diff(line, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = np.sort(np.stack([(low - start) / step, (high - start) / step]), axis=0)
    still = step == 0  # along such an axis a piece is inside as a whole or not at all
    within = (start >= low) & (start <= high)
    bounds[0][still] = np.where(within, 0.0, 2.0)[still]
    bounds[1][still] = 1.0
    enter, leave = np.maximum(bounds[0].max(axis=1), 0), np.minimum(bounds[1].min(axis=1), 1)
    parts: list[list] = []
    previous = None
    for i in np.flatnonzero(enter < leave):
        if previous != i - 1 or leave[i - 1] < 1 or enter[i] > 0:
            parts.append([start[i] + enter[i] * step[i]])
        parts[-1].append(start[i] + leave[i] * step[i])
        previous = i
    return [np.array(part) for part in parts]


class _LineSurface(Surface):
    """CairoSVG's drawing of a tree, on a surface without pixels, with a `_LinePen`."""

    device_units_per_user_units = 1

    def _create_surface(self, width, height):
        return cairo.RecordingSurface(cairo.CONTENT_COLOR_ALPHA, None), width, height

    def set_context_size(self, width, height, viewbox, tree):
        if not isinstance(self.context, _LinePen):  # the first call, right after CairoSVG made its own context
            self.context = _LinePen(self.cairo)
        super().set_context_size(width, height, viewbox, tree)

    def draw(self, node):
        for name in IGNORED_PROPERTIES:
            node.pop(name, None)
        for name in ("fill", "stroke"):
            if node.get(name, "").startswith("url("):
                node[name] = "black"  # gradients and patterns are visible, that is all that matters
        super().draw(node)
