"""Any file of strokes -> drawings: SVG, QuickDraw's ndjson, sampled JSON, InkML, lists of points, .npz. No TensorFlow.

``read_drawings(path)`` is the door; a drawing is a list of lines, positions ``[n, 2]``, y downward. Files are not
trusted: they get no network, and bounded time and memory. Below are the readers, QuickDraw's recipe for few points
(``simplify_drawing``), and what an SVG needs.
"""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import ceil, pi
from pathlib import Path

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from read_image import expand_entities, import_cairo
from utils import SPLITS, load_strokes, strokes_to_lines

Lines = list[np.ndarray]  # a drawing: positions [n, 2] of each line

MAX_RECORD_BYTES = 2_000_000  # of one line of ndjson
MAX_JSON_BYTES = 50_000_000
MAX_TEXT_BYTES = 5_000_000  # of InkML and lists of points: one drawing
MAX_SVG_BYTES = 20_000_000  # pictures embedded in it may be large; they are dropped
MAX_SVG_POINTS = 200_000
MAX_PATH_CHARACTERS = 500_000  # of all path data; CairoSVG takes time in proportion to its square
MAX_STYLE_CHARACTERS = 20_000
MAX_DEPTH = 100  # of elements, `use` followed; CairoSVG is recursive
MAX_XML_ELEMENTS = 100_000
MAX_ELEMENTS = 5_000  # that may draw, `use` followed
MAX_USE_WORK = 2_000_000  # `use` elements times all elements: CairoSVG looks through the whole file for each
PAGE_WIDTH = 4096.0  # of an SVG as read; cairo rounds positions of pages and clips to 1/256 of a pixel

DRAWN_TAGS = frozenset("svg g a symbol use defs style switch path rect circle ellipse line polyline polygon".split())
REPORTED_TAGS = ("text", "image", "foreignObject")  # not drawn, and a user would miss them
STROKE_COLUMNS = ("stroke", "stroke_id", "strokeid", "stroke_number", "line", "path")  # of a list of points
IGNORED_PROPERTIES = ("mask", "filter", "clip-path", "marker", "marker-start", "marker-mid", "marker-end")


# ---------------------------------------------------------------------------------------------------------
# Readers


class Skip(str):
    """The reason why a drawing of a file cannot be used, in its place."""


def read_drawings(path: str | Path) -> Iterator[Lines | Skip]:
    """The drawings of a file, in its order; the format is told by the name's ending, see ``READERS``.

    Raises FileNotFoundError, or ValueError naming the file if it cannot be read as a whole.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found; expected a file of drawings")
    if path.suffix.lower() not in READERS:
        raise ValueError(f"{path}: not a format of drawings; expected {', '.join(READERS)}")
    try:
        yield from READERS[path.suffix.lower()](path)
    except ValueError as error:
        message = str(error)
        raise ValueError(message if message.startswith(str(path)) else f"{path}: {message}") from None


def _read_svg(path):
    """An SVG is a drawing."""
    lines, left_out = read_svg_lines(_read_bytes(path, MAX_SVG_BYTES))
    only = " and ".join(f"<{tag}>" for tag in sorted(left_out))
    yield lines or Skip(f"no visible lines{f', only {only}' if only else ''}")


def _read_ndjson(path):
    """QuickDraw's, raw (with times) or simplified: ``{"drawing": [[[x, ...], [y, ...]], ...]}`` per line."""
    with path.open("rb") as file:
        while record := file.readline(MAX_RECORD_BYTES + 1):
            if len(record) > MAX_RECORD_BYTES:
                while record and not record.endswith(b"\n"):
                    record = file.readline(MAX_RECORD_BYTES)
                yield Skip(f"a line of more than {MAX_RECORD_BYTES:,} bytes")
            elif record.strip():
                try:
                    yield _ndjson_drawing(_parse_json(record))
                except ValueError as error:
                    yield Skip(str(error))


def _ndjson_drawing(record: object) -> Lines:
    strokes = record.get("drawing") if isinstance(record, dict) else None
    if not isinstance(strokes, list):
        raise ValueError('no "drawing"')
    if not all(isinstance(stroke, list) and len(stroke) >= 2 for stroke in strokes):
        raise ValueError("a stroke that is not [[x, ...], [y, ...]]")
    return [_number_array(stroke[:2], (2, None)).T for stroke in strokes]


def _read_json(path):
    """As the sampling script writes it: ``{"format": "stroke-3", "drawings": [{"strokes": [[dx, dy, p], ...]}]}``."""
    content = _parse_json(_read_bytes(path, MAX_JSON_BYTES))
    if not isinstance(content, dict) or content.get("format") != "stroke-3" or "drawings" not in content:
        raise ValueError('JSON without "format": "stroke-3" and "drawings"')
    drawings = content["drawings"]
    for drawing in drawings if isinstance(drawings, list) else [drawings]:
        try:
            strokes = drawing.get("strokes") if isinstance(drawing, dict) else None
            yield strokes_to_lines(_number_array(strokes, (None, 3))) if strokes else Skip("no strokes")
        except ValueError as error:
            yield Skip(str(error))


def _read_npz(path):
    """All splits of a category as training reads it."""
    strokes = load_strokes(path)
    yield from (strokes_to_lines(drawing) for split in SPLITS for drawing in strokes[split])


def _read_inkml(path):
    """A file is a drawing, a ``<trace>`` a line."""
    root = parse_xml(_read_bytes(path, MAX_TEXT_BYTES))
    if root.tag != "ink":
        raise ValueError(f"the root element is {root.tag}, not ink")
    channels = [channel.get("name") for channel in root.iter("channel")]
    columns = [channels.index(name) if name in channels else i for i, name in enumerate("XY")]
    lines = []
    for trace in root.iter("trace"):
        text = (trace.text or "").strip()
        if re.search(r"""['"!*?]""", text):
            raise ValueError("InkML with differences or wild cards instead of positions")
        if text:
            rows = [row.split() for row in text.strip(",").split(",")]
            lines.append(_number_array([[_float(row[i]) for i in columns if i < len(row)] for row in rows], (None, 2)))
    yield lines


def _read_points(path):
    """A text file is a drawing: x and y in each line, an empty line between strokes, names of columns at the top.

    A column called ``stroke`` tells strokes apart. Without names there are two columns, as no others can be told.
    """
    strokes: list[list] = [[]]
    text = _read_bytes(path, MAX_TEXT_BYTES).decode("utf-8-sig", errors="replace")
    x, y, by, previous, first = 0, 1, None, None, True
    for number, row in enumerate(text.splitlines(), 1):
        columns = _columns(row)
        if not any(columns):
            strokes.append([])
            continue
        if columns[0].startswith("#"):
            continue
        if first and not any(map(_is_number, columns)):
            x, y, by, first = *_named_columns(columns), False
            continue
        if first and len(columns) > 2:
            raise ValueError(f"{len(columns)} columns without names: write x,y or stroke,x,y as the first line")
        first = False
        if by is not None and by < len(columns) and columns[by] != previous:
            previous = columns[by]
            strokes.append([])
        try:
            strokes[-1].append([_float(columns[column].replace(",", ".")) for column in (x, y)])
        except (ValueError, IndexError):
            raise ValueError(f"line {number} is no position: {row[:40]!r}") from None
    yield [_number_array(stroke, (None, 2)) for stroke in strokes if stroke]


def _columns(row: str) -> list[str]:
    """The columns of a line: parted by semicolons or tabs, if there are some (commas are decimal then)."""
    for mark in ";\t":
        if mark in row:
            return [column.strip() for column in row.strip(" \r").split(mark)]
    if "," in row:
        return [column.strip() for column in row.strip().rstrip(",").split(",")]
    return row.split()


def _is_number(text: str) -> bool:
    try:
        return _float(text.replace(",", ".")) is not None
    except ValueError:
        return False


def _named_columns(names: list[str]) -> tuple[int, int, int | None]:
    """Where x, y and the stroke's number (None: nowhere) stand, by the columns' names. Raises ValueError."""
    names = [name.strip("\"' ").lower() for name in names]
    if names.count("x") != 1 or names.count("y") != 1:
        raise ValueError(f"its columns are called {', '.join(names)[:80]}; expected one x and one y among them")
    by = [i for i, name in enumerate(names) if name in STROKE_COLUMNS]
    return names.index("x"), names.index("y"), by[0] if by else None


READERS: dict[str, Callable[[Path], Iterator[Lines | Skip]]] = {
    ".svg": _read_svg,
    ".ndjson": _read_ndjson,
    ".json": _read_json,
    ".npz": _read_npz,
    ".inkml": _read_inkml,
    **dict.fromkeys((".txt", ".csv", ".tsv"), _read_points),
}


def _read_bytes(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"more than {limit:,} bytes")
    return data


def _parse_json(data: bytes) -> object:
    """Parsed JSON. Raises ValueError, also for NaN, Infinity and nesting that goes too deep."""

    def refuse(constant):
        raise ValueError(f"broken JSON ({constant} is no number)")

    try:
        return json.loads(data, parse_constant=refuse)
    except RecursionError:
        raise ValueError("broken JSON (nested too deep)") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON ({error.msg})") from None
    except UnicodeDecodeError:
        raise ValueError("broken JSON (not UTF-8)") from None


def _float(text: str) -> float:
    """A number. Python reads "1_000" as a number, files do not mean that."""
    if "_" in text:
        raise ValueError(f"{text[:40]!r} is no number")
    return float(text)


def _number_array(values: object, shape: tuple[int | None, int | None]) -> np.ndarray:
    """A list of lists as a float array of the given shape (None: any). Raises ValueError."""
    try:
        array = np.array(values)
    except (ValueError, TypeError, OverflowError):
        raise ValueError("a stroke whose x and y differ in number") from None
    if array.dtype.kind not in "iuf":
        raise ValueError("a stroke with something that is no number")
    if array.ndim != 2 or any(size not in (None, actual) for size, actual in zip(shape, array.shape, strict=True)):
        raise ValueError(f"a stroke of shape {array.shape}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a number that is not finite")
    return array


# ---------------------------------------------------------------------------------------------------------
# QuickDraw's recipe: how its authors turned raw pen traces into the few integer points of their files


def resample_line(line: np.ndarray, spacing: float) -> np.ndarray:
    """Points ``[m, 2]`` ``spacing`` apart along ``line`` ``[n, 2]``; both ends stay, so the last gap may be shorter."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    marks = np.append(np.arange(0.0, along[-1], spacing), along[-1])
    return np.stack([np.interp(marks, along, line[:, axis]) for axis in (0, 1)], axis=1)


def simplify_line(line: np.ndarray, epsilon: float) -> np.ndarray:
    """Ramer-Douglas-Peucker: the points of ``line`` ``[n, 2]`` needed to stay within ``epsilon`` of it, ``[m, 2]``.

    Distances are taken to the endless straight line through two retained points, as QuickDraw's authors did: of
    150 raw drawings 93 % come out exactly as published, against 19 % with Shapely's distance to the segment.
    The price: the tip of a line that the pen goes back along can be lost.
    """
    retained = np.zeros(len(line), dtype=bool)
    retained[[0, -1]] = True
    spans = [(0, len(line) - 1)]  # not recursive: a long zigzag would go too deep
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        (dx, dy), between = line[last] - line[first], (line[first + 1 : last] - line[first]).T
        length = np.hypot(dx, dy)
        away = np.abs(between[0] * dy - between[1] * dx) / length if length > 0 else np.hypot(*between)
        farthest = int(np.argmax(away))
        if away[farthest] > epsilon:
            middle = first + 1 + farthest
            retained[middle] = True
            spans += [(first, middle), (middle, last)]
    return line[retained]


def simplify_drawing(
    lines: Sequence[np.ndarray], epsilon: float = 2.0, size: float = 255.0, spacing: float = 1.0
) -> Lines:
    """Simplify a drawing as QuickDraw did: align to (0, 0), scale, resample, Ramer-Douglas-Peucker, round.

    ``lines`` are ``[n, 2]`` in any unit; ``epsilon`` and ``spacing`` are in units of the result. Returns int arrays
    ``[m, 2]``, left top at the origin and the longer side ``size`` long (within ``epsilon``: Douglas-Peucker may drop
    the outermost point). A dot is a line of twice the same point, as in QuickDraw's files; a line without points is
    left out; a drawing that is a single dot is not scaled.
    """
    lines = [np.asarray(line, dtype=float).reshape(-1, 2) for line in lines if len(line)]
    if not lines:
        return []
    points = np.concatenate(lines)
    origin, extent = points.min(axis=0), np.ptp(points, axis=0).max()
    scale = size / extent if extent > 0 else 1.0
    simple = []
    for line in lines:
        points = resample_line((line - origin) * scale, spacing)
        points = simplify_line(np.repeat(points, 2, axis=0) if len(points) == 1 else points, epsilon)
        simple.append(np.rint(points).astype(int))
    return simple


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
    except DefusedXmlException as error:
        raise ValueError(f"XML entities or external references ({type(error).__name__})") from None
    except (ElementTree.ParseError, LookupError) as error:  # LookupError: an encoding nobody knows
        raise ValueError(f"broken XML ({error})") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def page_shape(path: str | Path) -> float:
    """Height / width of an SVG's page; 1 where it does not say. Raises ValueError as ``parse_xml``."""
    root = parse_xml(_read_bytes(Path(path), MAX_SVG_BYTES))
    numbers = root.get("viewBox", "").replace(",", " ").split()[2:] or [root.get("width", ""), root.get("height", "")]
    try:
        width, height = (float(number.removesuffix("px")) for number in numbers)
        return height / width if width > 0 and height > 0 else 1.0
    except ValueError:
        return 1.0


def read_svg_lines(data: bytes) -> tuple[Lines, Counter]:
    """What an SVG draws: (lines ``[n, 2]`` in document order, elements left out that a user may miss).

    The page is ``PAGE_WIDTH`` wide. Curves and arcs become points close enough for a drawing 255 units across. Outlines
    of filled shapes count as lines; dashes, line widths and clip paths do not count, invisible (or white) shapes and a
    filled page are left out. Lines end where the page ends. Raises ValueError for what is broken, dangerous or too
    large, or if there is no cairo library.
    """
    root = parse_xml(data)
    if root.tag != "svg":
        raise ValueError(f"the root element is {root.tag}, not svg")
    left_out = _clean(root)
    _check_effort(root)
    import_cairo()  # says what to install
    try:
        pen = _draw_lines(root)
    except Exception as error:  # whatever a damaged file makes CairoSVG or cairo trip over
        raise ValueError(f"CairoSVG cannot draw it ({type(error).__name__}: {error})") from None
    if pen.beside and not pen.strokes:
        raise ValueError("all its lines lie beside its page: fit the page to the drawing and save it again")
    return join_pieces(pen.strokes), left_out


def join_pieces(lines: Lines) -> Lines:
    """Lines that were written piece by piece (a path for each segment, as signature pads do), whole again.

    Pieces are joined where one begins at the end of the last, if most of them do.
    """
    ends = np.array([[line[0], line[-1]] for line in lines]).reshape(-1, 2, 2)
    goes_on = np.linalg.norm(ends[1:, 0] - ends[:-1, 1], axis=1) < 1e-5 * PAGE_WIDTH
    if len(lines) < 8 or goes_on.mean() < 0.5:
        return lines
    joined = [[lines[0]]]
    for line, along in zip(lines[1:], goes_on, strict=True):
        if along:
            joined[-1].append(line[1:])
        else:
            joined.append([line])
    return [np.concatenate(pieces) for pieces in joined]


def _clean(root: ElementTree.Element) -> Counter:
    """Take out of a tree all that draws no lines; returns how many texts and images went with it.

    So entities, scripts, images, patterns, filters and references to other files never reach CairoSVG.
    """
    left_out = Counter()
    pending = [root]
    while pending:
        element = pending.pop()
        for child in list(element):
            if child.tag in DRAWN_TAGS:
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


def _draw_lines(root: ElementTree.Element) -> "_LinePen":
    """The pen after CairoSVG drew a cleaned tree (paths, arcs, transforms, `use`, style sheets), without ink."""
    import cairocffi  # here: whoever reads no SVG needs no cairo library
    from cairosvg.parser import Tree
    from cairosvg.surface import Surface

    from draw_svg import tidy_paint

    class LineSurface(Surface):
        """A surface without pixels, with a `_LinePen`."""

        device_units_per_user_units = 1

        def _create_surface(self, width, height):
            return cairocffi.RecordingSurface(cairocffi.CONTENT_COLOR_ALPHA, None), width, height

        def set_context_size(self, width, height, viewbox, tree):
            if not isinstance(self.context, _LinePen):  # the first call, right after CairoSVG made its context
                self.context = _LinePen(self.context)
            super().set_context_size(width, height, viewbox, tree)

        def draw(self, node):
            for name in IGNORED_PROPERTIES:
                node.pop(name, None)
            tidy_paint(node)
            for name in ("fill", "stroke"):
                if node.get(name, "").startswith("url("):
                    node[name] = "black"  # gradients and patterns are visible, that is all that matters
            super().draw(node)

    def fetch_nothing(url, resource_type):
        return b'<svg width="1" height="1"></svg>' if resource_type == "image/svg+xml" else b""

    tree = Tree(bytestring=ElementTree.tostring(root), url_fetcher=fetch_nothing)
    return LineSurface(tree, None, 96, output_width=PAGE_WIDTH).context


class _LinePen:
    """A cairo context that collects device positions of visible lines in ``strokes``, and paints nothing.

    Transformations, clips and the current point stay the context's own. Positions are recorded apart from cairo's
    path, which is rounded, and drops points and dots.
    """

    def __init__(self, context):
        self._context = context
        self.strokes: Lines = []
        self._path: list[list] = []  # of strokes
        self._dots: set[int] = set()  # strokes of the path that are dots if nothing follows
        self._filled = False
        self._count = 0
        self.beside = 0  # visible shapes of which nothing is on the page

    def __getattr__(self, name):
        return getattr(self._context, name)

    def _add(self, points) -> None:
        if not self._path:
            self._path.append([])
        self._path[-1].extend(points)
        self._count += len(points)
        if not np.isfinite(points).all():
            raise ValueError("a number that is not finite")
        if self._count > MAX_SVG_POINTS:
            raise ValueError(f"more than {MAX_SVG_POINTS:,} points")

    def _start(self, points) -> None:
        self._path.append([])
        self._add(points)

    def _offset(self, dx: float, dy: float) -> tuple[float, float]:
        """The device position (dx, dy) user units off the current one."""
        if not self._path or not self._path[-1]:
            return self.user_to_device(dx, dy)
        x, y = self._path[-1][-1]
        dx, dy = self.user_to_device_distance(dx, dy)
        return x + dx, y + dy

    def move_to(self, x, y):
        self._context.move_to(x, y)
        self._start([self.user_to_device(x, y)])

    def rel_move_to(self, dx, dy):
        self._context.rel_move_to(dx, dy)
        position = self._offset(dx, dy)
        self._dots.add(len(self._path))  # draw_strokes writes a stroke of one point as "m dx,dy"
        self._start([position])

    def line_to(self, x, y):
        self._context.line_to(x, y)
        self._add([self.user_to_device(x, y)])

    def rel_line_to(self, dx, dy):
        self._context.rel_line_to(dx, dy)
        self._add([self._offset(dx, dy)])

    def curve_to(self, *points):
        self._context.curve_to(*points)
        self._add_curve(points, self.user_to_device)

    def rel_curve_to(self, *points):
        self._context.rel_curve_to(*points)
        self._add_curve(points, self._offset)

    def _add_curve(self, points, to_device, steps=32):
        controls = [to_device(x, y) for x, y in zip(points[::2], points[1::2], strict=True)]
        start = self._path[-1][-1] if self._path and self._path[-1] else controls[0]
        t = np.arange(1, steps + 1)[:, None] / steps
        weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3])
        self._add((weights @ np.array([start, *controls])).tolist())

    def arc(self, x, y, radius, start, end):
        self._context.arc(x, y, radius, start, end)
        self._add_arc(x, y, radius, start, start + (end - start if end > start else (end - start) % (2 * pi)))

    def arc_negative(self, x, y, radius, start, end):
        self._context.arc_negative(x, y, radius, start, end)
        self._add_arc(x, y, radius, start, start - (start - end if end < start else (start - end) % (2 * pi)))

    def _add_arc(self, x, y, radius, start, end):
        angles = np.linspace(start, end, 2 + ceil(64 * min(abs(end - start), 4 * pi) / (2 * pi)))
        self._add([self.user_to_device(x + radius * np.cos(angle), y + radius * np.sin(angle)) for angle in angles])

    def rectangle(self, x, y, width, height):
        self._context.rectangle(x, y, width, height)
        corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
        self._start([self.user_to_device(*corner) for corner in corners])
        self._close()

    def close_path(self):
        self._context.close_path()
        self._close()

    def _close(self):
        if self._path and self._path[-1]:
            start = self._path[-1][0]
            self._add([start])
            self._path.append([start])

    def new_sub_path(self):
        self._context.new_sub_path()
        self._path.append([])

    def new_path(self):
        self._context.new_path()
        self._path, self._dots = [], set()

    def clip(self):
        self._context.clip()
        self._path, self._dots = [], set()

    def fill_preserve(self):
        self._filled = self._is_visible()

    def stroke(self):
        lines = [np.array(line) for i, line in enumerate(self._path) if len(line) > 1 or (line and i in self._dots)]
        stroked = self._is_visible() and self.get_line_width() > 0
        self.save()
        self.identity_matrix()
        page = np.array(self.clip_extents()).reshape(2, 2)
        self.restore()
        on_page = (page[1] > page[0]).all()
        if on_page and (stroked or (self._filled and not _covers(lines, page))):
            slack = 1e-3 * PAGE_WIDTH  # lines along the edge stay
            parts = [part for line in lines for part in clip_line(line, page[0] - slack, page[1] + slack)]
            self.strokes += parts
            self.beside += bool(lines) and not parts
        self._filled = False
        self.new_path()

    def _is_visible(self) -> bool:
        source = self.get_source()
        if not hasattr(source, "get_rgba"):  # a pattern
            return True
        *color, alpha = source.get_rgba()
        return alpha > 0.02 and min(color) < 0.98  # white is the paper


def _covers(lines: Lines, page: np.ndarray) -> bool:
    """Whether one line is a filled rectangle over (nearly) all of the page [[left, top], [right, bottom]]."""
    if len(lines) != 1 or len(lines[0]) != 5:
        return False
    inside = np.minimum(lines[0].max(axis=0), page[1]) - np.maximum(lines[0].min(axis=0), page[0])
    return bool((inside > 0.98 * (page[1] - page[0])).all())


def clip_line(line: np.ndarray, low: np.ndarray, high: np.ndarray) -> Lines:
    """The parts of a line ``[n, 2]`` inside the box from ``low`` to ``high``, each ``[m, 2]``, m >= 2 (Liang, Barsky).

    A line that lies inside as a whole comes back as it is, a dot too.
    """
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
