"""QuickDraw's recipe: how raw pen traces become the few integer points of its files. No TensorFlow."""

from collections.abc import Sequence

import numpy as np

Lines = list[np.ndarray]  # positions [n, 2] of each line


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
