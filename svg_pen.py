"""A pen that draws nothing: what CairoSVG would paint, as shapes and lines that end where pages and clip paths do.

``LinePen`` stands for a cairo context; no cairo library is needed to import it. Positions are device units.
"""

from math import ceil, pi
from typing import NamedTuple

import cv2
import numpy as np

from centre_lines import polygon_area
from simplify import resample_line

Lines = list[np.ndarray]  # positions [n, 2] of each line

MAX_SVG_POINTS = 200_000
PAGE_WIDTH = 4096.0  # of an SVG as read; cairo rounds positions of pages and clips to 1/256 of a pixel
CURVE_ERROR, MAX_STEPS = 0.05, 64  # of the same unit: how far a curve's points may leave it; points per curve
CLIP_SIDE = 1024  # pixels of the longer side of a clip path as a mask
MAX_CLIP_MASKS, MAX_CLIP_POINTS = 200, 1_000_000  # a megabyte each; of further ones the box counts alone
MAX_CLIP_STEPS = 20_000  # along a line that such a mask cuts
VISIBLE = 0.02  # of 1: a paint as good as clear


class Refused(ValueError):
    """A reason to give, among whatever else may go wrong."""


class Clip(NamedTuple):
    """Where an element may draw, in units of the page."""

    low: np.ndarray  # left and top, [2]
    high: np.ndarray
    mask: np.ndarray | None  # bool [rows, columns], CLIP_SIDE the longer side, over that box; None: all of it

    @property
    def pixel(self) -> float:
        """The side of a pixel of the mask."""
        return float((self.high - self.low).max()) / CLIP_SIDE

    def cut(self, line: np.ndarray, slack: float = 0.0) -> Lines:
        """The parts of a line ``[n, 2]`` inside, those along the edge too; a dot as it is."""
        parts = clip_line(line, self.low - slack, self.high + slack)
        return parts if self.mask is None else [seen for part in parts for seen in self._cut_by_mask(part)]

    def _cut_by_mask(self, line: np.ndarray) -> Lines:
        length = np.hypot(*np.diff(line, axis=0).T).sum()
        spacing = max(self.pixel, length / MAX_CLIP_STEPS)
        fine = resample_line(line, spacing) if len(line) > 1 else line
        x, y = np.clip((fine - self.low) / self.pixel, 0, np.array(self.mask.shape[::-1]) - 1).astype(int).T
        near = np.pad(self.mask, 1)
        inside = np.any([near[y + dy, x + dx] for dy in range(3) for dx in range(3)], axis=0)  # lines along the edge
        return parts_inside(line, spacing, inside)


class Shape(NamedTuple):
    """What one element draws, in units of the page."""

    lines: Lines  # cut at the edge of the page and of clip paths
    whole: Lines  # not cut; of an area that a clip path cuts, what is left of it
    fill: tuple | None  # red, green, blue, alpha; None: not filled
    stroke: tuple | None
    width: float  # of its line
    even_odd: bool
    clip: Clip


class LinePen:
    """A cairo context that collects what is drawn in ``shapes``, device positions, and paints nothing.

    Transformations, clips and the current point stay the context's own. Positions are recorded apart from cairo's
    path, which is rounded, and drops points and dots.
    """

    def __init__(self, context):
        self._context = context
        self.shapes: list[Shape] = []
        self.clips: tuple[tuple, ...] = ()  # the outline of each clip, and as cairo has it; inside one another
        self._saved_clips: list[tuple] = []
        self._masks: dict[tuple, np.ndarray | None] = {}  # by clips and box
        self._path: list[list] = []  # of strokes
        self._dots: set[int] = set()  # strokes of the path that are dots if nothing follows
        self._fill, self._even_odd = None, False
        self._count = self._clip_count = 0

    def __getattr__(self, name):
        return getattr(self._context, name)

    def _add(self, points) -> None:
        if not self._path:
            self._path.append([])
        self._path[-1].extend(points)
        self._count += len(points)
        if not np.isfinite(points).all():
            raise Refused("a number that is not finite")
        if self._count > MAX_SVG_POINTS:
            raise Refused(f"more than {MAX_SVG_POINTS:,} points")

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

    def _add_curve(self, points, to_device):
        controls = [to_device(x, y) for x, y in zip(points[::2], points[1::2], strict=True)]
        start = self._path[-1][-1] if self._path and self._path[-1] else controls[0]
        bezier = np.array([start, *controls])
        bend = np.abs(np.diff(bezier, 2, axis=0)).max()  # Wang's bound: so many steps stay within the error
        steps = min(max(ceil(np.sqrt(0.75 * bend / CURVE_ERROR)), 1), MAX_STEPS) if bend < np.inf else 1
        t = np.arange(1, steps + 1)[:, None] / steps
        weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3])
        self._add((weights @ bezier).tolist())

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

    def save(self):
        self._context.save()
        self._saved_clips.append(self.clips)

    def restore(self):
        self._context.restore()
        self.clips = self._saved_clips.pop()

    def clip(self):
        outline = [np.array(line) for line in self._path if len(line) > 2]
        self.clips = (*self.clips, (outline, self._in_device_units(self.copy_path)))
        self._context.clip()
        points = sum(map(len, self._path))  # may be drawn again for each element
        self._count, self._clip_count = self._count - points, self._clip_count + points
        if self._clip_count > MAX_CLIP_POINTS:
            raise Refused(f"clip paths of more than {MAX_CLIP_POINTS:,} points, counted each time that they clip")
        self._path, self._dots = [], set()

    def _in_device_units(self, ask):
        """What a method of the context answers then."""
        self._context.save()
        self.identity_matrix()
        answer = ask()
        self._context.restore()
        return answer

    def _clip(self) -> Clip:
        """Where drawing is allowed now."""
        low, high = np.array(self._in_device_units(self.clip_extents)).reshape(2, 2)
        if all(_is_box(outline) for outline, _ in self.clips):
            return Clip(low, high, None)
        key = tuple(line.tobytes() for outline, _ in self.clips for line in (*outline, low, high))
        if key not in self._masks and len(self._masks) < MAX_CLIP_MASKS:
            self._masks[key] = _paint_mask([path for _, path in self.clips], low, high)
        return Clip(low, high, self._masks.get(key))

    def fill_preserve(self):
        self._fill, self._even_odd = self._color(), self.get_fill_rule() == 1

    def stroke(self):
        whole = [np.array(line) for i, line in enumerate(self._path) if len(line) > 1 or (line and i in self._dots)]
        width = self.get_line_width()
        stroke, fill = self._color() if width > 0 else None, None if _are_straight(whole) else self._fill
        clip = self._clip()
        if whole and (stroke or fill) and (clip.high > clip.low).all():
            slack = 1e-3 * PAGE_WIDTH  # lines along the edge stay
            lines, even_odd = [part for line in whole for part in clip.cut(line, slack)], self._even_odd
            if self.clips and fill and not stroke and not _are_same(lines, whole):
                whole = lines = self._seen_area(clip)  # with the edge of the clip path
                even_odd = True
            width *= np.hypot(*self.user_to_device_distance(1, 1)) / np.sqrt(2)
            if lines or not self.clips:
                self.shapes.append(Shape(lines, whole, fill, stroke, width, even_odd, clip))
        self._fill = None
        self.new_path()

    def _seen_area(self, clip: Clip) -> Lines:
        """The outlines of what is seen of the path, filled, inside the clips."""
        paths = [*(path for _, path in self.clips), self._in_device_units(self.copy_path)]
        area = _paint_mask(paths, clip.low, clip.high, last_rule=int(self._even_odd))
        outlines, _ = cv2.findContours(np.pad(area, 1).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        outlines = [cv2.approxPolyDP(outline, 0.8, True)[:, 0] for outline in outlines]
        outlines = [np.concatenate([outline, outline[:1]]) for outline in outlines if len(outline) > 2]
        return [clip.low + (outline - 0.5) * clip.pixel for outline in outlines]

    def _color(self) -> tuple | None:
        """Red, green, blue and alpha of the paint; None if there is none to be seen."""
        source = self.get_source()
        color = source.get_rgba() if hasattr(source, "get_rgba") else (0, 0, 0, 1)  # a pattern
        return tuple(color) if color[3] > VISIBLE else None


def _are_straight(lines: Lines) -> bool:
    """Whether lines hold no area, however they are filled."""
    for line in lines:
        (x, y), (to_x, to_y) = (line - line[0]).T, line[np.hypot(*(line - line[0]).T).argmax()] - line[0]
        if np.abs(x * to_y - y * to_x).max() > 1e-6 * (to_x * to_x + to_y * to_y):
            return False
    return True


def parts_inside(line: np.ndarray, spacing: float, inside: np.ndarray) -> Lines:
    """The parts of a line ``[n, 2]`` where ``inside`` holds, bool ``[m]`` for its points ``resample_line`` makes."""
    if inside.all():
        return [line]
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    runs = np.split(np.arange(len(inside)), np.flatnonzero(np.diff(inside)) + 1)
    parts = []
    for run in runs[0 if inside[0] else 1 :: 2]:
        start, end = min(run[0] * spacing, along[-1]), min(run[-1] * spacing, along[-1])
        if end > start:
            marks = np.concatenate([[start], along[(along > start) & (along < end)], [end]])
            parts.append(np.stack([np.interp(marks, along, line[:, axis]) for axis in (0, 1)], axis=1))
    return parts


def _are_same(lines: Lines, others: Lines) -> bool:
    return len(lines) == len(others) and all(line is other for line, other in zip(lines, others, strict=True))


def _is_box(outline: Lines) -> bool:
    """Whether an outline is one rectangle with upright sides."""
    if len(outline) != 1 or len(outline[0]) not in (4, 5):
        return False
    return abs(polygon_area(outline[0])) > (1 - 1e-9) * np.prod(np.ptp(outline[0], axis=0))


def _paint_mask(paths: list, low: np.ndarray, high: np.ndarray, last_rule: int = 0) -> np.ndarray | None:
    """What lies inside all of cairo's paths, bool ``[rows, columns]`` over that box; None if the box is empty.

    ``last_rule`` is the fill rule of the last of them.
    """
    import cairocffi

    if not (high > low).all():
        return None
    scale = CLIP_SIDE / (high - low).max()
    width, height = np.ceil((high - low) * scale).astype(int).tolist()
    surface = cairocffi.ImageSurface(cairocffi.FORMAT_A8, width, height)
    context = cairocffi.Context(surface)
    context.scale(scale, scale)
    context.translate(*-low)
    for path in paths:
        context.append_path(path)
        context.set_fill_rule(last_rule if path is paths[-1] else 0)
        context.clip()
    context.paint()
    surface.flush()
    mask = np.frombuffer(bytearray(surface.get_data()), np.uint8).reshape(height, -1)[:, :width]
    return mask > 127


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
