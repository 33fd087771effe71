"""Any file of strokes -> drawings: SVG, QuickDraw's records, sampled JSON, InkML, lists of points, .npz. No TensorFlow.

``read_drawings(path)`` is the door; a drawing is a list of lines, positions ``[n, 2]``, y downward. Files are not
trusted: they get no network, and bounded time and memory. SVG is read in read_svg.py.
"""

import contextlib
import csv
import functools
import gzip
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from read_svg import Drawing, Lines, parse_xml, read_svg_lines
from utils import SPLITS, load_strokes, strokes_to_lines

MAX_RECORD_BYTES = 2_000_000  # of one line of ndjson, or one field of a table
MAX_JSON_BYTES = 50_000_000
MAX_TEXT_BYTES = 5_000_000  # of InkML and lists of points
MAX_SVG_BYTES = 20_000_000  # pictures embedded in it may be large; they are dropped

KNOWN_COLUMNS = {  # of a list of points
    "stroke": "stroke strokeid strokeno strokenumber strokeindex strokeidx line lineid path pathid segment".split(),
    "drawing": "drawing drawingid sketch sketchid keyid".split(),
    "pressure": "pressure force p".split(),
}
OTHER_COLUMNS = """
 index unnamed0 id i n no row point pointid pointindex t time timestamp ms s seconds date z tilt tiltx
 tilty azimuth altitude width size color colour velocity speed
""".split()  # which draw nothing


# ---------------------------------------------------------------------------------------------------------
# Readers


class Skip(str):
    """The reason why a drawing of a file cannot be used, in its place."""


def read_drawings(path: str | Path, outlines: bool = False) -> Iterator[Drawing | Skip]:
    """The drawings of a file, in its order; the format is told by the name's ending, see ``READERS``.

    ``outlines``: filled pen strokes of an SVG by their outlines. Raises FileNotFoundError, or ValueError naming the
    file if it cannot be read as a whole.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found; expected a file of drawings")
    ending = file_ending(path)
    if ending not in READERS:
        raise ValueError(f"{path}: {OTHER_PROGRAMS.get(ending, f'not a format of drawings; {READABLE}')}")
    reader = functools.partial(_read_svg, outlines=outlines) if ending in (".svg", ".svgz") else READERS[ending]
    try:
        for lines in reader(path):
            yield lines if isinstance(lines, (Skip, Drawing)) else Drawing(lines)
    except (ValueError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        message = str(error) if isinstance(error, ValueError) else "a compressed file that is damaged or cut off"
        raise ValueError(message if message.startswith(str(path)) else f"{path}: {message}") from None


def file_ending(path: Path) -> str:
    """The ending that tells the format, in lower case: ``.ndjson`` of ``cat.ndjson.gz``."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def _read_svg(path, outlines=False):
    """An SVG is a drawing."""
    lines, left_out = read_svg_lines(_read_bytes(path, MAX_SVG_BYTES), outlines)
    only = " and ".join(f"<{tag}>" for tag in sorted(left_out))
    yield lines or Skip(f"no visible lines{f', only {only}' if only else ''}")


def _read_npz(path):
    """All splits of a category as training reads it."""
    strokes = load_strokes(path)
    return _from_strokes([drawing for split in SPLITS for drawing in strokes[split]])


def _from_strokes(drawings: list[np.ndarray]) -> Iterator[Drawing]:
    """Stroke-3 drawings, noted if they look like positions."""
    absolute = look_absolute(drawings)
    for drawing, wrong in zip(drawings, absolute, strict=True):
        note = {"that may be positions, where stroke-3 has offsets": 1}
        yield Drawing(strokes_to_lines(drawing), note if wrong else None)


def look_absolute(drawings: list[np.ndarray]) -> np.ndarray:
    """Whether the offsets of stroke-3 drawings look like positions, bool ``[n]``; none, if it is fewer than a fifth.

    No drawing goes right and down only. Positions around a centre differ from one another by less than they are large,
    and taken as offsets they lead far away: of 2,424 real drawings, 73 % are told so, and 0.2 % as they are.
    """
    looks = np.array([_looks_absolute(np.asarray(drawing, float)[:, :2]) for drawing in drawings], bool)
    return looks & (looks.mean() >= 0.2 if len(looks) else False)


def _looks_absolute(offsets: np.ndarray) -> bool:
    if len(offsets) < 8 or not np.ptp(offsets, axis=0).max() > 0:
        return False
    steps, sizes = np.hypot(*np.diff(offsets, axis=0).T).mean(), np.hypot(*offsets.T).mean()
    reach = np.ptp(np.cumsum(offsets, axis=0), axis=0).max() / np.ptp(offsets, axis=0).max()
    return bool(offsets.min() >= 0 or (steps < 0.6 * sizes and reach > 0.1 * len(offsets)))


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
            lines.append(_number_array([[_float(row[i]) for i in columns if i < len(row)] for row in rows]))
    yield lines


# ---------------------------------------------------------------------------------------------------------
# QuickDraw's records: a line of ndjson, a row of Kaggle's table, an element of a JSON array


def _read_ndjson(path):
    """QuickDraw's, raw (with times) or simplified: ``{"drawing": [[[x, ...], [y, ...]], ...]}`` per line."""
    for record in _records(path):
        if len(record) > MAX_RECORD_BYTES:
            yield Skip(f"a line of more than {MAX_RECORD_BYTES:,} bytes")
        else:
            yield _read_record(lambda record=record: _parse_json(record))


def _records(path: Path) -> Iterator[bytes]:
    """The lines of a file that are not empty, each cut after ``MAX_RECORD_BYTES`` and one more."""
    with _open(path) as file:
        while record := file.readline(MAX_RECORD_BYTES + 1):
            rest = record
            while len(record) > MAX_RECORD_BYTES and rest and not rest.endswith(b"\n"):
                rest = file.readline(MAX_RECORD_BYTES)
            if record.strip():
                yield record


def _read_record(parse: Callable[[], object]) -> Drawing | Skip:
    try:
        record = parse()
        if isinstance(record, list):  # the drawing alone
            record = {"drawing": record}
        strokes = record.get("drawing") if isinstance(record, dict) else None
        if isinstance(strokes, str):
            strokes = _parse_json(strokes.encode())
        if not isinstance(strokes, list):
            raise ValueError('no "drawing"')
        drawing = Drawing(_stroke_lines(strokes))
    except ValueError as error:
        return Skip(str(error))
    drawing.word = str(record["word"]).strip() if record.get("word") else None
    drawing.key = str(record["key_id"]).strip() if record.get("key_id") else None
    drawing.recognized = str(record.get("recognized", True)).strip().lower() not in ("false", "0")
    return drawing


def _stroke_lines(strokes: list) -> Lines:
    """``[[[x, ...], [y, ...], perhaps [t, ...]], ...]`` as lines. Raises ValueError."""
    if not all(isinstance(stroke, list) and all(isinstance(row, list) for row in stroke) for stroke in strokes):
        raise ValueError("a stroke that is not [[x, ...], [y, ...]]")
    if any(len(stroke) not in (2, 3) for stroke in strokes):
        pairs = all(len(row) in (2, 3) for stroke in strokes for row in stroke)
        raise ValueError(f"a stroke that is not [[x, ...], [y, ...]]{', but points [x, y]' if pairs else ''}")
    if any(len(stroke[0]) != len(stroke[1]) for stroke in strokes):
        raise ValueError("a stroke whose x and y differ in number")
    return [_number_array(stroke[:2], columns=None).T for stroke in strokes]


def _read_table(path):
    """A table: Kaggle's, whose ``drawing`` column holds QuickDraw's strokes in each row, or a list of points."""
    mark = _drawing_mark(path)
    if mark is None:
        yield from _read_points(path)
        return
    try:
        for row in _rows(path, mark):
            yield _read_record(lambda row=row: {name: value for name, value in row.items() if name})
    except csv.Error:
        raise ValueError(f"a field of more than {MAX_RECORD_BYTES:,} bytes, or a broken table") from None


def _rows(path: Path, mark: str) -> Iterator[dict]:
    csv.field_size_limit(MAX_RECORD_BYTES)
    with _open(path, text=True) as file:
        for row in csv.DictReader(file, delimiter=mark):
            yield {(name or "").strip(): value for name, value in row.items() if isinstance(value, str)}


def _drawing_mark(path: Path) -> str | None:
    """What parts the columns of a table of records, one of them a ``drawing`` like a list; None: of others."""
    with _open(path, text=True) as file:
        head, first = file.readline(MAX_RECORD_BYTES), file.readline(1000)
    mark = next((mark for mark in ";\t" if mark in head), ",")
    names = [name.strip() for name in next(csv.reader([head], delimiter=mark), [])]
    return mark if "drawing" in names and "[[" in first.replace(" ", "") else None


def words_of(path: Path) -> set[str | None]:
    """QuickDraw's categories in a file of records, found without parsing their strokes; None: a record without."""
    ending = file_ending(path)
    if ending in (".csv", ".tsv"):
        with contextlib.suppress(csv.Error):
            mark = _drawing_mark(path)
            return {row.get("word", "").strip() or None for row in _rows(path, mark)} if mark else set()
        return set()
    words: set[str | None] = set()
    if ending in (".ndjson", ".jsonl"):
        for record in _records(path):
            found = re.search(rb'"word"\s*:\s*("(?:[^"\\]|\\.)*")', record)
            words.add(json.loads(found[1]).strip() or None if found else None)
    elif ending == ".json":
        with contextlib.suppress(ValueError):  # which says why when the file is read
            words = {getattr(drawing, "word", None) for drawing in read_drawings(path)}
        words = set() if words == {None} else words
    return words


def _read_json(path):
    """``{"format": "stroke-3", "drawings": [...]}`` as the sampling script writes it, or an array of records."""
    data = _read_bytes(path, MAX_JSON_BYTES)
    try:
        content = _parse_json(data)
    except ValueError:
        if not re.match(rb"\s*\{[^\n]*\}\s*\n\s*\{", data):  # lines of ndjson by another name
            raise
        yield from _read_ndjson(path)
        return
    program = _other_program(content)
    if program is not None:
        raise ValueError(OTHER_PROGRAMS[program])
    if isinstance(content, dict) and "drawing" in content:
        content = [content]
    elif isinstance(content, list) and _depth(content) == 3:  # one drawing: strokes, rows, numbers
        rows = [row for stroke in content if isinstance(stroke, list) for row in stroke]
        if all(isinstance(row, list) and len(row) == 2 for row in rows):
            raise ValueError('rows of x and y, or points one by one? Name it: {"drawing": [[[x, ...], [y, ...]], ...]}')
        content = [{"drawing": content}]
    if isinstance(content, list):
        yield from (_read_record(lambda record=record: record) for record in content)
        return
    if not isinstance(content, dict) or content.get("format") != "stroke-3" or "drawings" not in content:
        raise ValueError(
            'JSON without "format": "stroke-3" and "drawings", and without a "drawing" as QuickDraw has it'
        )
    drawings = content["drawings"]
    for drawing in drawings if isinstance(drawings, list) else [drawings]:
        try:
            strokes = drawing.get("strokes") if isinstance(drawing, dict) else None
            yield from _from_strokes([_number_array(strokes, columns=3)]) if strokes else [Skip("no strokes")]
        except ValueError as error:
            yield Skip(str(error))


def _depth(content: object) -> int:
    depth = 0
    while isinstance(content, list) and content:
        content, depth = content[0], depth + 1
    return depth


# ---------------------------------------------------------------------------------------------------------
# Lists of points


def _read_points(path):
    """Positions, one per line: a drawing, or as many as a column that numbers drawings tells apart.

    Strokes are parted by an empty line or points without pressure, or told apart by a column. The first line names the
    columns; without names there are two, as no others can be told.
    """
    text = _read_bytes(path, MAX_TEXT_BYTES).decode("utf-8-sig", errors="replace")
    numbered = [(i, line) for i, line in enumerate(text.splitlines(), 1) if not line.lstrip().startswith("#")]
    lines = [line for _, line in numbered]
    first = next((line for line in lines if line.strip()), "")
    mark = next((mark for mark in ";\t" if mark in first), "," if "," in first else None)
    if mark == "," and re.fullmatch(r"\s*[-+]?\d+,\d+\s+[-+]?\d+,\d+\s*", first):
        mark = None  # decimal commas, and a blank between x and y
    rows = [_split(line, mark) for line in lines]
    begin = lines.index(first) if first else 0
    columns = {"x": 0, "y": 1}
    if first and not any(map(_is_number, rows[begin])):
        columns = _named_columns(rows[begin])
        begin += 1
        widths = {len(row) for row in rows[begin:] if any(row)}
        if widths == {columns["count"] + 1}:  # the index has no name, as R writes it
            columns = {name: column + 1 for name, column in columns.items()}
    elif first and len(rows[begin]) != 2:
        raise ValueError(f"{len(rows[begin])} columns without names: write x,y or stroke,x,y as the first line")
    drawings: dict[str, list[list]] = {}
    pressed = [_is_pressed(_cell(row, columns.get("pressure"))) for row in rows[begin:] if any(row)]
    hovers = any(pressed) and not all(pressed)  # of a mouse no point has a pressure
    previous = None
    for (number, line), row in zip(numbered[begin:], rows[begin:], strict=True):
        texts = [_cell(row, columns[name]) for name in "xy"]
        if all(text.lower() in ("", "nan") for text in texts) and (not any(row) or len(row) > 1):
            previous = None
            continue
        if len(row) > columns.get("count", 2):
            raise ValueError(f"line {number} has {len(row)} columns, not {columns.get('count', 2)}: {line[:40]!r}")
        if hovers and not _is_pressed(_cell(row, columns.get("pressure"))):
            previous = None
            continue
        whose = [_cell(row, columns.get(name)) for name in ("drawing", "stroke")]
        strokes = drawings.setdefault(whose[0], [])
        if whose != previous:
            strokes.append([])
        previous = whose
        try:
            strokes[-1].append([_float(text.replace(",", ".")) for text in texts])
        except ValueError:
            raise ValueError(f"line {number} is no position: {line[:40]!r}") from None
    if not drawings:
        raise ValueError("an empty list of points")
    for strokes in drawings.values():
        yield [_number_array(stroke) for stroke in strokes]


def _split(line: str, mark: str | None) -> list[str]:
    if mark is None:
        return line.split()
    fields = next(csv.reader([line], delimiter=mark, skipinitialspace=True), [])
    fields = [field.strip() for field in fields]
    return fields[:-1] if fields and not fields[-1] and any(fields) and mark == "," else fields


def _is_number(text: str) -> bool:
    try:
        return _float(text.replace(",", ".")) is not None
    except ValueError:
        return False


def _cell(row: list[str], column: int | None) -> str:
    """What stands in a column; nothing if there is none, or the row ends before."""
    return "" if column is None or column >= len(row) else row[column]


def _is_pressed(text: str) -> bool:
    """Whether a pressure is that of a pen on its paper, not above it."""
    return not _is_number(text) or _float(text.replace(",", ".")) > 0


def _named_columns(names: list[str]) -> dict[str, int]:
    """Where x, y and, if there are, the numbers of stroke and drawing and the pressure stand, by the columns' names.

    ``count`` is that of all columns. Raises ValueError for names that cannot be told, or that part strokes in a way
    that is not known.
    """
    plain = [re.sub(r"[^a-z0-9]", "", re.sub(r"\(.*?\)|\[.*?\]", "", name.lower())) for name in names]
    called = f"its columns are called {', '.join(name or '(nothing)' for name in names)[:80]}"
    columns = {"count": len(names)}
    for name in "xy":
        fitting = [i for i, column in enumerate(plain) if re.sub(POSITION_WORDS, "", column) == name]
        if len(fitting) != 1:
            raise ValueError(f"{called}; expected one x and one y among them")
        columns[name] = fitting[0]
    for name, known in KNOWN_COLUMNS.items():
        fitting = [i for i, column in enumerate(plain) if column in known]
        if fitting:
            columns[name] = fitting[0]
    known = {"", *OTHER_COLUMNS, *itertools.chain(*KNOWN_COLUMNS.values())}
    strange = [names[i] for i, column in enumerate(plain) if column not in known and i not in columns.values()]
    if strange and "stroke" not in columns:
        raise ValueError(f"{called}; whether {strange[0]!r} parts strokes cannot be told: name it stroke or drop it")
    return columns


POSITION_WORDS = r"pos(ition)?|coord(inate)?s?|client|page|screen|canvas|pen|px|mm|point(er)?|touch"


# ---------------------------------------------------------------------------------------------------------
# Parts of the readers


READERS: dict[str, Callable[[Path], Iterator[Lines | Skip]]] = {
    **dict.fromkeys((".svg", ".svgz"), _read_svg),
    **dict.fromkeys((".ndjson", ".jsonl"), _read_ndjson),
    ".json": _read_json,
    ".npz": _read_npz,
    ".inkml": _read_inkml,
    ".txt": _read_points,
    **dict.fromkeys((".csv", ".tsv"), _read_table),
}
READABLE = f"expected {', '.join(READERS)}"
_PICTURE = "a picture, which has no strokes: sketch_pix2seq_sampling.py --image draws it"
_LAYERS = "a program's own file of layers: export a picture, which sketch_pix2seq_sampling.py --image draws"
_NO_SVG = "not a format of drawings: export it as SVG, and take that"
OTHER_PROGRAMS = {  # ending -> what to do instead
    **dict.fromkeys((".excalidraw", ".excalidrawlib"), "Excalidraw's own file: Menu, Export image, SVG, and take that"),
    ".tldr": "tldraw's own file: select all, Menu, Edit, Export as, SVG, and take that",
    "signature_pad": "points as signature_pad's toData() gives them: save what its toSVG() gives, and take that",
    **dict.fromkeys(".ai .eps .pdf .fig .sketch .afdesign .dxf .vsdx".split(), _NO_SVG),
    **dict.fromkeys(".procreate .psd .kra .xcf .clip .ora".split(), _LAYERS),
    **dict.fromkeys(".png .jpg .jpeg .jfif .gif .webp .bmp .tif .tiff .heic .avif .jp2".split(), _PICTURE),
}


def _other_program(content: object) -> str | None:
    """The entry in OTHER_PROGRAMS of the program whose JSON this is; None: of none of them."""
    if isinstance(content, dict):
        if str(content.get("type", "")).startswith("excalidraw"):
            return ".excalidraw"
        return ".tldr" if {"tldrawFileFormatVersion", "store", "schema"} & content.keys() else None
    strokes = content if isinstance(content, list) else []
    return "signature_pad" if any(isinstance(stroke, dict) and "points" in stroke for stroke in strokes) else None


def _open(path: Path, text: bool = False):
    """A file to read, decompressed if it is ``.gz``."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    return opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="") if text else opened(path, "rb")


def _read_bytes(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"more than {limit:,} bytes")
    if not data.strip():
        raise ValueError("an empty file")
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
    except ValueError as error:  # of refuse, or Python's about a number of thousands of digits
        raise error if str(error).startswith("broken") else ValueError("broken JSON (a number too long)") from None


def _float(text: str) -> float:
    """A number. Python reads "1_000" as a number, files do not mean that."""
    if "_" in text:
        raise ValueError(f"{text[:40]!r} is no number")
    return float(text)


def _number_array(values: object, columns: int | None = 2) -> np.ndarray:
    """A list of lists as a float array ``[n, columns]`` (None: any). Raises ValueError."""
    try:
        array = np.array(values)
    except (ValueError, TypeError, OverflowError):
        raise ValueError("a stroke whose x and y differ in number") from None
    if array.dtype.kind not in "iuf":
        raise ValueError("a stroke with something that is no number")
    if array.ndim != 2 or columns not in (None, array.shape[1]):
        raise ValueError(f"a stroke whose rows are not {columns or 'of so many'} numbers each")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a number that is not finite")
    return array
