"""The outline of a filled pen stroke -> the line that the pen took. No TensorFlow, no cairo.

Drawing programs and tracers write a pen's stroke as a filled shape. ``centre_lines`` tells such shapes from areas, and
follows the middle of their two sides: through loops and crossings in the order of the pen where a shape is one stroke,
by its skeleton where strokes have grown together.
"""

import numpy as np

POINTS = 240, 1000  # along an outline: at least, and at most
STARTS = 4  # places where an outline is tried to be opened
SLENDER = 4.0  # times as long as wide is a stroke
MAX_WIDTH = 0.12  # of the drawing's longer side; wider ones are areas
THICK = 2.5  # times the pen's width: areas among lines
RASTER = 800  # pixels of the longer side, of a skeleton
STRAIGHT_ON = 0.7  # cosine: pieces of a skeleton that meet like this are one line

Lines = list[np.ndarray]


def centre_lines(polygons: Lines, size: float, even_odd: bool = False) -> tuple[Lines, float] | None:
    """(lines ``[n, 2]``, the pen's width) of a filled shape, closed ``polygons`` ``[n, 2]``; None if it is an area.

    ``size`` is the longer side of the whole drawing.
    """
    polygons = [polygon for polygon in polygons if len(polygon) > 2 and np.ptp(polygon, axis=0).max() > 1e-6 * size]
    if not polygons:
        return None
    if len(polygons) == 1 or not _nested(polygons):
        ribbons = [ribbon(polygon) for polygon in polygons]
        if all(found is not None and found[1] <= MAX_WIDTH * size for found in ribbons):
            return [line for line, _ in ribbons], float(np.median([width for _, width in ribbons]))
    return skeleton_lines(polygons, size, even_odd)


def _nested(polygons: Lines) -> bool:
    """Whether the box of a polygon lies inside that of another: it may be a hole."""
    boxes = np.array([[*polygon.min(axis=0), *-polygon.max(axis=0)] for polygon in polygons])
    inside = (boxes[:, None] >= boxes[None]).all(axis=2)
    return bool(inside.sum() > len(polygons))


# ---------------------------------------------------------------------------------------------------------
# One stroke: the middle of its two sides


def ribbon(polygon: np.ndarray) -> tuple[np.ndarray, float] | None:
    """(centre line ``[n, 2]``, median width) of a closed outline ``[n, 2]``; None if it is not long and narrow."""
    closed = np.concatenate([polygon, polygon[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    area = polygon_area(polygon)
    if not along[-1] > 0 or not abs(area) > 1e-9 * along[-1] ** 2:
        return None
    width = 2 * abs(area) / along[-1]
    count = int(np.clip(3 * along[-1] / width, *POINTS))
    points = _resample_closed(closed, along, POINTS[0])
    best = np.inf, 0
    for start in _ends(points):
        best = min(best, (_zip(points, start)[0], start))
        if best[0] < 1.25 * width:  # as near to each other as the sides of a stroke are
            break
    near = [(best[1] + offset) % POINTS[0] for offset in range(-5, 6)]
    start = min(near, key=lambda start: _zip(points, start)[0])
    _, left, right = _zip(_resample_closed(closed, along, count), start * count // POINTS[0])
    line, widths = (left + right) / 2, np.hypot(*(left - right).T)
    steps = np.hypot(*np.diff(line, axis=0).T)
    usual, widest = np.quantile(widths, [0.5, 0.95])
    covered = ((widths[1:] + widths[:-1]) / 2 * steps).sum()
    if steps.sum() < SLENDER * widest or widest > 4 * usual or not 0.5 < covered / abs(area) < 1.6:
        return None
    for _ in range(2):
        line = _end_where_the_pen_was(line, widths, left, right, float(usual))[::-1]
        left, right, widths = left[::-1], right[::-1], widths[::-1]
    first, last = (np.hypot(*(line[end] - polygon[0])) for end in (0, -1))
    return line if first <= last else line[::-1], float(usual)  # an outline is begun where the pen was


def polygon_area(polygon: np.ndarray) -> float:
    """The area inside a closed outline ``[n, 2]``, with a sign; what a stroke's outline holds in all its loops."""
    x, y = (polygon - polygon[0]).T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _resample_closed(closed: np.ndarray, along: np.ndarray, count: int) -> np.ndarray:
    marks = np.arange(count) * (along[-1] / count)
    return np.stack([np.interp(marks, along, closed[:, axis]) for axis in (0, 1)], axis=1)


def _ends(points: np.ndarray) -> list[int]:
    """Where an outline may have been begun: its two sides stay close to each other from there on."""
    count = len(points)
    reach, start = np.arange(1, count // 2), np.arange(count)[:, None]
    gaps = np.linalg.norm(points[(start + reach) % count] - points[(start - reach) % count], axis=2)
    chosen = []
    for cost in (gaps.mean(axis=1), gaps[:, : count // 16].mean(axis=1)):
        cost = cost.copy()
        for _ in range(STARTS // 2):
            best = int(cost.argmin())
            chosen.append(best)
            cost[(best + np.arange(-count // 24, count // 24 + 1)) % count] = np.inf
    return chosen


def _zip(points: np.ndarray, start: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Close an outline ``[n, 2]`` like a zip from ``start``: (mean gap, left side ``[n + 1, 2]``, right side).

    Both sides are walked to where they meet, one step on one side at a time, so that the gaps sum up to the least.
    """
    count = len(points)
    left, right = np.roll(points, -start, axis=0), np.roll(points[::-1], start + 1, axis=0)
    left, right = np.vstack([left, left[:1]]), np.vstack([right, right[:1]])  # [count + 1, 2]
    cost, steps = np.zeros(1), []
    for done in range(1, count + 1):  # steps of both sides together; cost[a]: after a of them on the left
        before = np.concatenate([cost, [np.inf]]), np.concatenate([[np.inf], cost])  # a step right, a step left
        a = np.arange(done + 1)
        steps.append(before[1] < before[0])
        cost = np.minimum(*before) + np.hypot(*(left[a] - right[done - a]).T)
    a = int(cost.argmin())
    total, path = cost[a], [a]
    for done in range(count, 0, -1):
        a -= int(steps[done - 1][a])
        path.append(a)
    a = np.array(path[::-1])
    return float(total) / count, left[a], right[np.arange(count + 1) - a]


def _end_where_the_pen_was(line, widths, left, right, usual: float) -> np.ndarray:
    """A centre line that begins half a width behind the end of its outline."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    inside, further = (int(np.searchsorted(along, min(far * usual, along[-1] / 3))) for far in (1, 1.6))
    out = line[inside] - line[max(further, inside + 1)]
    cap = np.concatenate([left[: inside + 1], right[: inside + 1]])
    out = out / max(np.hypot(*out), 1e-9)
    reach = float(((cap - line[inside]) @ out).max()) - widths[inside] / 2
    return np.concatenate([[line[inside] + max(reach, 0.0) * out], line[inside:]])


# ---------------------------------------------------------------------------------------------------------
# Strokes that have grown together: the skeleton


def skeleton_lines(polygons: Lines, size: float, even_odd: bool = False) -> tuple[Lines, float] | None:
    """As ``centre_lines``, by the skeleton of the filled shape: lines go straight on where they cross.

    What is much thicker than the pen, such as a filled eye, is drawn around.
    """
    import cv2  # slow to import, and few files need them
    from scipy.ndimage import find_objects, label
    from skimage.morphology import skeletonize

    mask, scale, origin = _fill(polygons, even_odd)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    middle = skeletonize(mask.astype(bool))
    pen, length = 2 * float(np.median(depth[middle])), float(middle.sum())
    if pen > MAX_WIDTH * size * scale or length < SLENDER * pen:
        return None
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(THICK * pen / 2) + 1,) * 2)
    areas = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disk)
    if areas.sum() > 0.5 * mask.sum():
        return None
    contours, _ = cv2.findContours(areas, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    lines = [np.concatenate([contour[:, 0], contour[:1, 0]]).astype(float) for contour in contours]
    middle &= cv2.dilate(areas, np.ones((3, 3), np.uint8)) == 0
    parts, _ = label(mask * (1 - areas), np.ones((3, 3)))
    for part, box in enumerate(find_objects(parts), 1):
        corner = np.array([box[1].start, box[0].start])
        if max(side.stop - side.start for side in box) <= 1.5 * pen:
            if not areas[box].any():
                lines.append(np.argwhere(parts[box] == part).mean(axis=0, keepdims=True)[:, ::-1] + corner)  # a dot
        elif (own := middle[box] & (parts[box] == part)).any():
            lines += [line + corner for line in trace_skeleton(own, pen)]
    return [line / scale + origin for line in lines], pen / scale


def _fill(polygons: Lines, even_odd: bool) -> tuple[np.ndarray, float, np.ndarray]:
    """(uint8 ``[H, W]``, 1 inside; pixels per unit; position of pixel 0, 0) of a filled shape."""
    import cairocffi  # there already: whoever has polygons of an SVG has it

    points = np.concatenate(polygons)
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    scale = RASTER / extent.max()
    width, height = (np.ceil(extent * scale).astype(int) + 4).tolist()
    surface = cairocffi.ImageSurface(cairocffi.FORMAT_A8, width, height)
    context = cairocffi.Context(surface)
    context.set_fill_rule(cairocffi.FILL_RULE_EVEN_ODD if even_odd else cairocffi.FILL_RULE_WINDING)
    for polygon in polygons:
        for x, y in (polygon - low) * scale + 2:
            context.line_to(x, y)
        context.close_path()
    context.fill()
    surface.flush()
    pixels = np.frombuffer(bytes(surface.get_data()), np.uint8).reshape(height, surface.get_stride())[:, :width]
    return (pixels >= 128).astype(np.uint8), scale, low - 1.5 / scale


def trace_skeleton(skeleton: np.ndarray, pen: float) -> Lines:
    """The lines ``[n, 2]`` (x, y) of a skeleton, bool ``[H, W]``, of lines ``pen`` pixels wide."""
    left = {(int(x), int(y)): None for y, x in np.argwhere(skeleton)}  # ordered, so that results repeat
    around = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]

    def neighbours(point):
        return [at for dx, dy in around if (at := (point[0] + dx, point[1] + dy)) in left]

    starts = [point for point in left if len(neighbours(point)) == 1] + list(left)  # ends first, then closed lines
    pieces = []
    for start in starts:
        if start not in left:
            continue
        piece = [start]
        del left[start]
        while options := neighbours(piece[-1]):
            before = np.subtract(piece[-1], piece[-min(len(piece), 10)])
            step = max(options, key=lambda at: np.dot(np.subtract(at, piece[-1]), before))
            piece.append(step)
            del left[step]
        pieces.append(np.array(piece, float))
    own = [piece for piece in pieces if len(piece) > 0.75 * pen]  # the others are spurs
    return _join_straight([_smooth(piece) for piece in own or pieces[:1]], 1.5 * pen)


def _smooth(line: np.ndarray, passes: int = 6) -> np.ndarray:
    """A line of pixels without their steps."""
    for _ in range(passes):
        line[1:-1] = (line[:-2] + 2 * line[1:-1] + line[2:]) / 4
    return line


def _join_straight(lines: Lines, reach: float) -> Lines:
    """Lines whose ends are within ``reach`` and go on in the same direction, in one; closed ones closed."""
    lines, back = list(lines), max(int(2 * reach), 4)
    while True:
        best, pair = STRAIGHT_ON, None
        for i, one in enumerate(lines):
            for j, other in enumerate(lines[i:], i):
                for a in (one, one[::-1]) if j > i else (one,):
                    for b in (other, other[::-1]) if j > i else (other,):
                        gap = b[0] - a[-1]
                        if np.hypot(*gap) > reach or (i == j and len(one) < 2 * back):
                            continue
                        out, into = a[-1] - a[-min(len(a), back)], b[min(len(b), back) - 1] - b[0]
                        cos = np.dot(out, into) / max(np.hypot(*out) * np.hypot(*into), 1e-9)
                        if cos > best:
                            best, pair = cos, (i, j, a, b)
        if pair is None:
            return lines
        i, j, a, b = pair
        joined = np.concatenate([a, b]) if j > i else np.concatenate([a, a[:1]])
        lines = [line for k, line in enumerate(lines) if k not in (i, j)]
        lines.append(joined)
        if i == j:  # closed for good
            return [*_join_straight(lines[:-1], reach), joined]
