"""Where the paper is in a photo, and what is printed on it: sheets are straightened, bars cut off, rulings taken away.

Images are uint8 RGB ``[rows, columns, 3]``. Everything is sought on a small copy, ``shrink(image, SIDE)``, which
callers may give as ``small``; doubtful finds are no finds, as a drawing may look like anything.
"""

from typing import NamedTuple

import cv2
import numpy as np

SIDE = 400  # pixels of the longer side, where sheets are sought
MIN_SHARE, MAX_SHARE = 0.05, 0.985  # of the picture, that a sheet fills
THIN_SHARE = 0.008  # that a ring around such a sheet fills at least
SMALL_SHARE = 0.2  # a sheet as small as that lies on something plain
MIN_STEP = 4.0  # of lightness or colour (CIELAB), from the surface to the paper
PATTERN, PATTERNED = 24, 0.12  # grey levels that differ around a pixel; share of such pixels on a patterned surface
INSET = 0.012  # of a sheet's sides, that is cut off with its edge
RULED_SIDE = 1000  # pixels of the longer side, where rulings are sought
MIN_RULES = 5  # lines
MIN_DOTS = 60


def shrink(image: np.ndarray, longer: int) -> np.ndarray:
    """The image with a longer side of at most ``longer`` pixels."""
    scale = longer / max(image.shape[:2])
    if scale >= 1:
        return image
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


# ---------------------------------------------------------------------------------------------------------
# A sheet on a table


def find_sheet(image: np.ndarray, small: np.ndarray | None = None) -> np.ndarray | None:
    """Corners ``[4, 2]`` (x, y) of a sheet of paper, from the top left one clockwise; None if there is none to be seen.

    A sheet has four straight sides, and another colour than what it lies on all along at least three of them; the
    fourth may be the picture's rim.
    """
    small = shrink(image, SIDE) if small is None else small
    if min(small.shape[:2]) < 60:
        return None
    # Ink, which is thin, goes; the sheet's sides stay. An odd window of a twenty-fifth of the picture.
    window = max(5, SIDE // 25 | 1)
    smooth = cv2.cvtColor(cv2.medianBlur(small, window), cv2.COLOR_RGB2LAB)
    found, seen, change = [], [], _change(small)
    step = cv2.morphologyEx(smooth, cv2.MORPH_GRADIENT, np.ones((9, 9), np.uint8)).max(axis=2)
    if ((step >= MIN_STEP - 1) | (change > PATTERN)).sum() < SIDE:  # around a sheet there are thousands of pixels
        return None
    sharp = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), (0, 0), 1.2).astype(np.float32)
    for contour in [*_regions(smooth), *_plain(change)]:
        corners = _quadrilateral(contour)
        if corners is None or any(np.abs(corners - other).max() < 4 for other in seen):
            continue
        seen.append(corners)
        patterned = outside_of(change > PATTERN, corners).mean() > PATTERNED
        corners = _fit_sides(sharp, corners, patterned)
        score = _score(sharp, small, corners, patterned) * (1 - (straighten(change, corners) > PATTERN).mean())
        if score > 0:
            found.append((score, corners))
    if not found:
        return None
    corners = max(found, key=lambda pair: pair[0])[1]
    return corners * (np.array(image.shape[1::-1]) / np.array(small.shape[1::-1]))


def _regions(smooth: np.ndarray):
    """Masks (uint8, 255 inside) of regions that might be paper: of like colours, or grown from points."""
    rows, columns = smooth.shape[:2]
    pixels = smooth.reshape(-1, 1, 3).astype(np.float32)
    sample = pixels[:: max(1, len(pixels) // 4000), 0]
    colors = len(np.unique(sample @ np.float32([1 << 16, 1 << 8, 1])))
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 0.5)
    for count in (2, 3, 4):
        cv2.setRNGSeed(count)
        if colors < count:
            return
        centres = cv2.kmeans(sample, count, None, criteria, 1, cv2.KMEANS_PP_CENTERS)[2]
        nearer = np.column_stack([-2 * centres, np.square(centres).sum(axis=1)])
        label = cv2.transform(pixels, nearer).argmin(axis=-1).reshape(rows, columns)
        for k in range(count):
            yield from _parts((label == k).astype(np.uint8) * 255)
    for tolerance in (2, 4, 8):
        seen = np.zeros((rows + 2, columns + 2), np.uint8)
        for y in np.linspace(0.15, 0.85, 6):
            for x in np.linspace(0.15, 0.85, 6):
                seed = int(x * columns), int(y * rows)
                if not seen[seed[1] + 1, seed[0] + 1]:
                    before = seen.copy()
                    cv2.floodFill(
                        smooth, seen, seed, 0, (tolerance,) * 3, (tolerance,) * 3, 4 | cv2.FLOODFILL_MASK_ONLY
                    )
                    yield from _parts((seen - before)[1:-1, 1:-1] * 255)


def _plain(change: np.ndarray):
    """Regions where nothing changes: paper on a chequered cloth or on wood."""
    for limit, size in ((12, 5), (24, 5), (12, 15), (12, 31), (12, 47)):
        # Squares of the cloth that are as light as the paper, and beside it, are narrower than one of these sizes.
        yield from _parts((change < limit).astype(np.uint8) * 255, size)


def _change(small: np.ndarray) -> np.ndarray:
    """How many grey levels differ around each pixel, thin ink apart."""
    grey = cv2.medianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), 5)
    grey = cv2.morphologyEx(grey, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    return cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8))


def _parts(mask: np.ndarray, size: int = 5):
    """The large connected parts of a mask, each without holes and what is narrower than ``size``."""
    if cv2.countNonZero(mask) < THIN_SHARE * mask.size:
        return
    core = (cv2.distanceTransform(mask, cv2.DIST_L2, 5) <= size / 2).astype(np.uint8)
    mask = (cv2.distanceTransform(core, cv2.DIST_L2, 5) <= size / 2).astype(np.uint8)
    contours = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    for contour in contours:
        if MIN_SHARE < cv2.contourArea(contour) / mask.size < MAX_SHARE:
            yield contour[:, 0].astype(np.float32)


def _quadrilateral(contour: np.ndarray) -> np.ndarray | None:
    """Four corners ``[4, 2]``, clockwise from the top left, of a contour ``[n, 2]`` that has about that shape."""
    hull = cv2.convexHull(contour)
    area, around = cv2.contourArea(hull), cv2.arcLength(hull, True)
    if cv2.contourArea(contour) < 0.85 * area:
        return None
    for tolerance in np.linspace(0.01, 0.08, 15):
        corners = cv2.approxPolyDP(hull, tolerance * around, True)[:, 0]
        if len(corners) <= 4:
            break
    if len(corners) != 4 or cv2.contourArea(corners) < 0.85 * area:  # it may have round corners
        corners = cv2.boxPoints(cv2.minAreaRect(hull))
        if area < 0.88 * cv2.contourArea(corners):
            return None
    return _ordered(corners.astype(float))


def _ordered(corners: np.ndarray) -> np.ndarray:
    """Corners clockwise, as they are seen; the first two are those of the side that lies highest."""
    centre = corners.mean(axis=0)
    angles = np.arctan2(*(corners - centre)[:, ::-1].T)
    corners = corners[np.argsort(angles)]
    middles = (corners + np.roll(corners, -1, axis=0)) / 2 - centre
    directions = middles / np.maximum(np.linalg.norm(middles, axis=1, keepdims=True), 1e-9)
    return np.roll(corners, -np.argmin(directions[:, 1]), axis=0)


def _side(corners, k, count=48):
    """(points ``[count, 2]`` along side k without its ends, unit normal to the inside)."""
    start, end = corners[k], corners[(k + 1) % 4]
    along = (end - start) / max(np.linalg.norm(end - start), 1e-9)
    return start + np.linspace(0.06, 0.94, count)[:, None] * (end - start), np.array([-along[1], along[0]])


def _sample(image, points):
    """The image's values ``[..., channels]`` at points ``[..., 2]``, as they are at the rim beyond it."""
    points = points.astype(np.float32)
    flat = points.reshape(-1, 1, 2)
    values = cv2.remap(image, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return values.reshape(*points.shape[:-1], -1)


def _fit_sides(sharp: np.ndarray, corners: np.ndarray, patterned: bool) -> np.ndarray:
    """Corners moved so that each side lies where the colour changes most across it, or at the picture's rim.

    Beside a patterned surface it lies where the colour changes first, from the inside.
    """
    limit = np.array(sharp.shape[1::-1]) - 1
    rims = [(axis, place) for axis in (0, 1) for place in (0, limit[axis])]
    for reach in (12, 6):
        lines = []
        for k in range(4):
            points, normal = _side(corners, k)
            offsets = np.arange(-reach, reach + 0.5)
            across = points[:, None] + offsets[:, None] * normal
            change = np.linalg.norm(np.diff(_sample(sharp, across), axis=1), axis=2)
            inside = ((across >= 0) & (across <= limit)).all(axis=2)
            change = change * (inside[:, 1:] & inside[:, :-1])
            edge = float(np.median(change.max(axis=1)))
            first = change.shape[1] - 1 - (change > 0.4 * edge)[:, ::-1].argmax(axis=1)
            best = offsets[first if patterned else change.argmax(axis=1)] + 0.5
            at_rim = [(axis, place) for axis, place in rims if (np.abs(points[:, axis] - place) < 13).all()]
            if edge < MIN_STEP / 2 and at_rim:
                axis, place = at_rim[0]
                points[:, axis] = place
                lines.append((points[0], points[-1]))
                continue
            weight = change.max(axis=1) > 0.4 * edge + 1e-6
            at = np.linspace(-1, 1, len(points))
            for _ in range(4):
                if weight.sum() < 8:
                    break
                slope, middle = _least_squares(np.stack([at, np.ones_like(at)])[:, weight], best[weight])
                away = np.abs(best - middle - slope * at)
                weight = away <= max(1.5, 1.5 * np.median(away))
            if weight.sum() < 8 or max(abs(middle), abs(slope)) > 1.5 * reach:
                slope = middle = 0.0
            lines.append((points[0] + (middle - slope) * normal, points[-1] + (middle + slope) * normal))
        moved = np.array([_crossing(lines[k - 1], lines[k]) for k in range(4)])
        if not np.isfinite(moved).all() or np.abs(moved - corners).max() > 4 * reach:
            return corners
        corners = moved
    return corners


def _least_squares(terms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Factors ``[k]`` of terms ``[k, n]`` whose sum is nearest to values ``[n]``; ``polyfit`` takes far longer."""
    return np.linalg.solve(terms @ terms.T, terms @ values)


def _crossing(one, other):
    """Where two lines, each of two points, meet; NaN if they do not."""
    (p, q), (r, s) = one, other
    d, e = q - p, s - r
    cross = d[0] * e[1] - d[1] * e[0]
    if abs(cross) < 1e-6:
        return np.full(2, np.nan)
    return p + d * ((r - p)[0] * e[1] - (r - p)[1] * e[0]) / cross


def _score(sharp: np.ndarray, small: np.ndarray, corners: np.ndarray, patterned: bool) -> float:
    """How surely the corners are those of a sheet, perhaps on a patterned surface; 0: they are not."""
    rows, columns = sharp.shape[:2]
    size = np.array([columns, rows])
    if (
        (corners < -0.1 * size).any()
        or (corners > 1.1 * size).any()
        or not cv2.isContourConvex(corners.astype(np.float32))
    ):
        return 0.0
    share = cv2.contourArea(corners.astype(np.float32)) / (rows * columns)
    lengths = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    edges = (np.roll(corners, -1, axis=0) - corners) / np.maximum(lengths, 1e-9)[:, None]
    turns = np.degrees(np.arccos(np.clip((edges * np.roll(edges, -1, axis=0)).sum(axis=1), -1, 1)))
    odd = np.abs(turns - 90).max() > 28 or lengths.min() < 0.12 * size.min()
    opposite = [lengths[k] / max(lengths[k + 2], 1e-9) for k in (0, 1)]
    if odd or not MIN_SHARE < share < MAX_SHARE or max(max(opposite), 1 / min(opposite)) > 1.8:
        return 0.0
    sides, at_rim = [], 0
    for k in range(4):
        points, normal = _side(corners, k)
        rim = np.minimum(points, size - 1 - points).min(axis=1) < 3
        if rim.mean() > 0.8:
            at_rim += 1
            continue
        sides.append(_edge(sharp, points[~rim], normal, patterned))
        if sides[-1] is None:
            return 0.0
    if at_rim == 4 or (at_rim > 1 and (share < 0.5 or min(side.step for side in sides) < 2 * MIN_STEP)):
        return 0.0
    if at_rim > 1 and min(side.step for side in sides) < 10 * MIN_STEP and _clutter(small, corners) > 0.004:
        return 0.0  # rather a crease
    # A pad's binding may be narrow; a frame is, but what lies around it is of another colour, or it is a drawn box.
    if not patterned and sum(not side.broad for side in sides) > 1 and sum(side.apart > 10 for side in sides) < 3:
        return 0.0
    like = min(a.direction @ b.direction for a in sides for b in sides) >= 0.2
    colors = np.array([side.inner for side in sides])
    if not like and (np.linalg.norm(colors - np.median(colors, axis=0), axis=1) > 10).any():
        return 0.0
    if share < SMALL_SHARE and _clutter(small, corners) > 0.004:
        return 0.0
    if _is_seen_through(sharp, corners, np.median(colors, axis=0)):
        return 0.0
    return min(side.step for side in sides) * share**0.25


class Edge(NamedTuple):
    """How a side of a sheet looks (CIELAB)."""

    step: float  # from the surface to the paper
    direction: np.ndarray  # [3] of it, unit
    inner: np.ndarray  # [3] the paper along it
    broad: bool  # whether the surface is broader than a drawn line
    apart: float  # what lies beyond such a line, from the paper


def _edge(sharp: np.ndarray, points: np.ndarray, normal: np.ndarray, patterned: bool) -> Edge | None:
    """The edge along points, where the paper is of one colour and the surface of another all along it; or None.

    A patterned surface may be of the paper's colour along half of it.
    """
    inside = [_sample(sharp, points + d * normal) for d in (3, 5, 8)]
    steps = [one - _sample(sharp, points - d * normal) for one, d in zip(inside, (3, 5, 8), strict=True)]
    inner, step = np.median(inside, axis=0), np.median(steps, axis=0)
    near, far = (np.median(np.linalg.norm(one, axis=1)) for one in (steps[0], steps[2]))
    if near < 0.5 * far and not patterned:  # a shadow
        return None
    mean, paper = np.median(step, axis=0), np.median(inner, axis=0)
    length = max(float(np.linalg.norm(mean)), 1e-6)
    steady = ((step @ mean) / length > 0.35 * length).mean()
    if steady < 0.85:  # several things may lie beside the paper
        far, part = np.linalg.norm(step, axis=1), 0.75 if patterned else 0.5
        mean = step[np.argsort(far)[int(part * len(far))]]
        length = float(np.quantile(far, part))
        plain = np.linalg.norm(inner - paper, axis=1) < 0.5 * length
        if patterned:  # a cloth's colour changes at every square, the paper's, with the light, slowly
            plain[1:] &= np.linalg.norm(np.diff(inner, axis=0), axis=1) < 8
        steady = ((far > max(MIN_STEP, 0.35 * length)) & plain).mean() + (0.5 if patterned else 0.15)
        if length < 3 * MIN_STEP or plain.mean() < 0.85:
            return None
    if length < MIN_STEP or steady < 0.85:
        return None
    direction, beyond = mean / max(np.linalg.norm(mean), 1e-6), np.median(_sample(sharp, points - 24 * normal), axis=0)
    broad, apart = _goes_on(sharp, points, normal), float(np.linalg.norm(beyond - paper))
    return Edge(length * steady, direction, paper, broad, apart)


def _goes_on(sharp, points, normal) -> bool:
    """Whether the surface beside a sheet is broader than a drawn line, as far as it is to be seen."""
    size, inner = np.array(sharp.shape[1::-1]), _sample(sharp, points + 5 * normal)
    step = inner - _sample(sharp, points - 5 * normal)
    square = np.maximum(np.square(step).sum(axis=1), 1e-6)
    for distance in (12, 18, 24):
        beyond = points - distance * normal
        seen = ((beyond >= 1) & (beyond < size - 1)).all(axis=1)
        if seen.sum() >= 8:
            away = ((inner - _sample(sharp, beyond)) * step).sum(axis=1) / square
            if (away[seen] > 0.3).mean() < 0.7:
                return False
    return True


def outside_of(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The colours ``[n, 3]`` around a sheet, a little way from its edge."""
    outside = np.ones(image.shape[:2], np.uint8)
    centre = corners.mean(axis=0)
    hull = cv2.convexHull(corners.astype(np.float32))[:, 0]
    cv2.fillConvexPoly(outside, (centre + 1.12 * (hull - centre)).round().astype(np.int32), 0)
    return image[outside > 0] if outside.any() else np.zeros((1, *image.shape[2:]), image.dtype)


def _clutter(small: np.ndarray, corners: np.ndarray) -> float:
    """Share of the pixels outside the corners where there are lines, as of a drawing."""
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    away = np.abs(grey.astype(int) - cv2.medianBlur(grey, 15))
    return float((outside_of(away, corners) > 30).mean())


def _is_seen_through(sharp: np.ndarray, corners: np.ndarray, paper: np.ndarray) -> bool:
    """Whether much of a sheet looks like what is around it: a box drawn with a broad pen does."""
    inside = straighten(sharp, corners).reshape(-1, 3)
    around = np.median(outside_of(sharp, corners), axis=0)
    limit = 0.3 * np.linalg.norm(around - paper)
    return bool((np.linalg.norm(inside - around, axis=1) < limit).mean() > 0.2)


def straighten(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The sheet with these corners (as ``find_sheet`` gives them) seen from straight above, without its edge."""
    centre = corners.mean(axis=0)
    corners = centre + (corners - centre) * (1 - 2 * INSET)
    lengths = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    width, height = max(2, round((lengths[0] + lengths[2]) / 2)), max(2, round((lengths[1] + lengths[3]) / 2))
    target = np.float32([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)])
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    return cv2.warpPerspective(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


# ---------------------------------------------------------------------------------------------------------
# Shadows


def without_shadows(image: np.ndarray, small: np.ndarray | None = None) -> np.ndarray:
    """The image with its paper lit evenly, if a shadow falls on it; itself if there is none.

    A shadow's edge is soft, and it has no colour; a broad dark thing with a sharp edge is ink, and stays.
    """
    small = shrink(image, SIDE) if small is None else small
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if min(grey.shape) < 60 or np.median(grey) < 110:
        return image
    closed = cv2.morphologyEx(cv2.GaussianBlur(grey, (0, 0), 1), cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    fine, coarse = _steepness(closed, 1), _steepness(closed, 3)
    colors = cv2.morphologyEx(cv2.GaussianBlur(small, (0, 0), 2), cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    colors = cv2.cvtColor(colors, cv2.COLOR_RGB2LAB)[..., 1:].astype(np.float32)
    colored = np.linalg.norm(colors - np.median(colors, axis=(0, 1)), axis=2) > 8
    ink = closed < 0.2 * np.quantile(closed, 0.9)  # darker than any shadow
    other = ((fine > 1.7 * coarse) & (fine > 4)) | colored | ink
    other = cv2.dilate(other.astype(np.uint8), np.ones((7, 7), np.uint8))  # the blur of a thick line, too
    labels, stats = cv2.connectedComponentsWithStats(1 - other, connectivity=4)[1:3]
    paper = (labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.float32)
    if paper.mean() < 0.3:
        return image
    light = cv2.GaussianBlur(closed, (0, 0), 1)
    away = np.abs(light / _mean_of(closed, paper, 19) - 1)
    if (away[paper > 0] > 0.08).mean() < 0.005:
        return image
    light = np.where(paper > 0, light, _mean_of(closed, paper, 8))
    gain = np.quantile(light, 0.9) / np.maximum(light, 8)
    gain = cv2.resize(gain.astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(image, cv2.merge([gain] * 3), dtype=cv2.CV_8U)


def _steepness(grey: np.ndarray, blur: float) -> np.ndarray:
    """Grey levels per pixel, of a blurred image."""
    grey = cv2.GaussianBlur(grey, (0, 0), blur)
    return cv2.magnitude(cv2.Sobel(grey, -1, 1, 0, scale=1 / 8), cv2.Sobel(grey, -1, 0, 1, scale=1 / 8))


def _mean_of(values: np.ndarray, weight: np.ndarray, blur: float) -> np.ndarray:
    """Weighted mean of the values around each pixel."""
    far = 1e-4 * (values * weight).sum() / max(weight.sum(), 1)
    return (cv2.GaussianBlur(values * weight, (0, 0), blur) + far) / (cv2.GaussianBlur(weight, (0, 0), blur) + 1e-4)


# ---------------------------------------------------------------------------------------------------------
# Bars along the rim


def is_patterned(image: np.ndarray) -> bool:
    """Whether there is a pattern along at least three sides of an image, such as a chequered cloth's."""
    change = _change(shrink(image, SIDE)) > PATTERN
    deep = max(change.shape) // 12
    if not 0 < 2 * deep < min(change.shape):
        return False
    rims = change[:deep], change[-deep:], change[:, :deep], change[:, -deep:]
    return sum(rim.mean() > 0.75 * PATTERNED for rim in rims) > 2  # part of a rim may be the paper's


def is_on_something(image: np.ndarray, box: tuple) -> bool:
    """Whether three rims of an image are darker than what is in a box (left, top, right, bottom), or of another colour.

    Light that falls off to one side darkens two of them at most, a hand's shadow may darken the box.
    """
    small = shrink(image, SIDE)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    left, top, right, bottom = (np.asarray(box) * (small.shape[0] / image.shape[0])).astype(int)
    inside = np.median(lab[top : bottom + 1, left : right + 1].reshape(-1, 3), axis=0)
    rims = (np.median(rim.reshape(-1, 3), axis=0) for rim in (lab[:8], lab[-8:], lab[:, :8], lab[:, -8:]))
    other = [inside[0] - rim[0] > 30 or np.linalg.norm(rim[1:] - inside[1:]) > 15 for rim in rims]
    return sum(other) > 2


def find_bars(image: np.ndarray, small: np.ndarray | None = None) -> tuple[int, int, int, int] | None:
    """Box (left, top, right, bottom) of what lies between bars along the rim: letterboxes, bars of a screenshot.

    A bar is parted from the rest by a straight step of colour, from rim to rim or to another bar, and is plain; or it
    fills at most a fifth. Thin ones are left, as they may be lines. None if there is no bar.
    """
    small = shrink(image, SIDE) if small is None else small
    if is_patterned(small):
        return None
    small = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    top, bottom = _bar(small), _bar(small[::-1])
    middle = small[top : small.shape[0] - bottom].transpose(1, 0, 2)
    left, right = _bar(middle), _bar(middle[::-1])
    if not any((left, top, right, bottom)) or _is_around(small, (left, top, right, bottom)):
        return None
    scale = max(image.shape[:2]) / max(small.shape[:2])
    inner = [int(np.ceil((side + 2) * scale)) if side else 0 for side in (left, top, right, bottom)]
    box = inner[0], inner[1], image.shape[1] - inner[2], image.shape[0] - inner[3]
    return box if min(box[2] - box[0], box[3] - box[1]) > 0.1 * min(image.shape[:2]) else None


def _is_around(lab: np.ndarray, bars: tuple) -> bool:
    """Whether one of the bars (left, top, right, bottom) goes on along another side: then it is a table."""
    rows, columns = lab.shape[:2]
    left, top, right, bottom = bars
    parts = lab[:, :left], lab[:top], lab[:, columns - right :], lab[rows - bottom :]
    colors = [np.median(part.reshape(-1, 3), axis=0) for part in parts if part.size]
    inner = lab[top : rows - bottom, left : columns - right]
    rims = inner[:, 3], inner[3], inner[:, -4], inner[-4]
    return any((np.abs(rim - color).max(axis=1) < 8).mean() > 0.5 for rim in rims for color in colors)


def _bar(lab: np.ndarray) -> int:
    """Rows of the bar along the upper rim of an image in CIELAB; 0: none."""
    rows, best = len(lab), 0
    median = np.median(lab[:, ::2], axis=1)  # [rows, 3]
    ys = np.arange(max(5, rows // 25), int(0.45 * rows))
    ys = ys[np.linalg.norm(median[ys - 2] - median[ys + 2], axis=1) >= 8]
    for y in ys:
        step = lab[y + 2] - lab[y - 2]
        mean = np.median(step, axis=0)
        length = np.linalg.norm(mean)
        if length < 8:
            continue
        there = (step @ mean) / length > 0.4 * length
        across = np.flatnonzero(there)  # but for where it joins a bar along another rim
        alike = np.abs(lab[y - 2] - median[y - 2]).max(axis=1) < 12
        if np.ptp(across) < 0.7 * len(there) or there[across[0] : across[-1] + 1].mean() < 0.97:
            continue
        if there.mean() < 0.97 and alike.mean() < 0.97:
            continue
        outer, inner = median[: y - 2], median[y + 2 : y + 2 + rows // 8]
        other = np.linalg.norm(np.median(outer, axis=0) - np.median(inner, axis=0)) > 8
        if other and (y < 0.2 * rows or (np.abs(lab[: y - 2] - outer[0]).max(axis=2) < 8).mean() > 0.98):
            best = int(y)
    return best


# ---------------------------------------------------------------------------------------------------------
# Rulings


class Rule(NamedTuple):
    """A printed line, as y over x (or x over y) in the small image."""

    curve: np.ndarray  # [length] pixels across, at each pixel along
    darkness: float  # grey levels


def without_rulings(image: np.ndarray) -> np.ndarray:
    """The image with squares, lines or dots that are printed on its paper painted over; itself if there are none."""
    small = shrink(image, RULED_SIDE)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    if _median(grey) < 110:  # light ones on dark paper
        inverted = 255 - image
        plain = without_rulings(inverted)
        return image if plain is inverted else 255 - plain
    window = max(9, RULED_SIDE // 70 | 1)
    paper = cv2.morphologyEx(grey, cv2.MORPH_CLOSE, np.ones((window, window), np.uint8))
    dark = cv2.subtract(paper, grey)
    level = max(6, 4 * _median(dark))
    across = _rules(dark, level)
    down = _rules(cv2.transpose(dark), level, bool(across))
    if not across and down:
        across = _rules(dark, level, True)
    painted = image
    if across:
        painted = _paint(painted, across, small.shape[1])
    if down:
        painted = cv2.transpose(_paint(cv2.transpose(painted), down, small.shape[0]))
    if across or down:
        return painted
    return _without_dots(image, dark, level)


def _median(grey: np.ndarray) -> int:
    """The median of a uint8 image."""
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).cumsum()
    return int(np.searchsorted(counts, grey.size / 2))


def _rules(dark: np.ndarray, level: float, single: bool = False) -> list[Rule]:
    """Lines that go from the left to the right rim, many and at equal distances; ``single``: one of them is enough."""
    rows, columns = dark.shape
    if min(rows, columns) < 100:
        return []
    ridge = (dark > level) & (
        dark >= cv2.dilate(dark, np.ones((3, 1), np.uint8))
    )  # the middle of what is thin this way
    points = np.argwhere(ridge)
    if len(points) < 100:
        return []
    angles = np.radians(np.arange(-15, 15.1, 0.4))
    middle = (columns - 1) / 2
    best, votes = None, -1.0
    x, y = points[:, 1] - middle, points[:, 0].astype(float)
    some = slice(None, None, max(1, len(x) // 8000))
    for angle in angles:  # of the sharpest profile
        bins = np.bincount(np.maximum(0, y[some] - np.tan(angle) * x[some] + columns * 0.3).astype(int))
        sharp = np.square(bins.astype(float)).sum()
        if sharp > votes:
            best, votes = angle, sharp
    rules = []
    for angle in best + np.radians(np.arange(-3, 3.1, 0.5)):  # lines that run together, in perspective
        bins = np.bincount(np.maximum(0, y - np.tan(angle) * x + columns * 0.3).astype(int), minlength=2)
        wide = bins + np.concatenate([bins[1:], [0]])
        for peak in np.flatnonzero(wide > 0.35 * columns):
            rules.append((int(wide[peak]), peak + 1 - columns * 0.3, np.tan(angle)))
    return _family(dark, level, sorted(rules, reverse=True)[:600], single)


def _family(dark, level, lines, single) -> list[Rule]:
    """Of candidate lines (votes, y in the middle, slope), the printed ones."""
    rows, columns = dark.shape
    at, found, taken = np.arange(columns), [], np.zeros(rows + 2 * columns, bool)
    limit = 0.55
    for _, y, slope in lines:
        middle = round(y) + columns // 2
        if taken[max(middle - 3, 0) : middle + 4].any():
            continue
        curve, hit, values = _follow(dark, level, y + slope * (at - (columns - 1) / 2))
        inside = (curve >= 2) & (curve < rows - 2)
        if inside.sum() < 0.5 * columns or hit[inside].mean() < limit:
            continue
        ends = np.array_split(hit[inside], 8)
        if min(ends[0].mean(), ends[-1].mean()) < 0.35:  # a drawn line ends before the rim
            continue
        where = round(float(curve[columns // 2])) + columns // 2
        if taken[max(where - 3, 0) : where + 4].any():
            continue
        taken[where] = True
        found.append(Rule(curve, float(np.median(values[inside & hit]))))
    if single:
        return found
    found.sort(key=lambda rule: float(rule.curve[columns // 2]))
    gaps = np.diff([rule.curve[columns // 2] for rule in found])
    if len(found) < MIN_RULES or (np.abs(gaps / np.median(gaps) - 1) < 0.3).mean() < 0.5:
        return []
    return found


def _follow(dark, level, curve):
    """(curve drawn to the ridge near it, where it hits dark, how dark it is there) along a line."""
    rows, columns = dark.shape
    at = np.arange(columns)
    powers = (at / columns) ** np.arange(3)[:, None]
    for degree, reach in ((1, 3), (2, 2)):
        offsets = np.arange(-reach, reach + 1)
        ys = np.clip(np.rint(curve)[:, None] + offsets, 0, rows - 1).astype(int)
        near = dark[ys, at[:, None]]
        values = near.max(axis=1)
        hit = values > level
        if hit.sum() > columns // 4:
            best = ys[at, near.argmax(axis=1)]
            parameters = _least_squares(powers[: degree + 1, hit], (best - curve)[hit])
            curve = curve + np.clip(parameters @ powers[: degree + 1], -reach, reach)
    ys = np.clip(np.rint(curve)[:, None] + np.arange(-1, 2), 0, rows - 1).astype(int)
    values = dark[ys, at[:, None]].max(axis=1)
    return curve, values > level, values


def _paint(image: np.ndarray, rules: list[Rule], small_columns: int) -> np.ndarray:
    """Rules painted over, but for ink that crosses them: as dark above and below, or darker than the rule."""
    rows, columns = image.shape[:2]
    scale = columns / small_columns
    pixels, at = image.reshape(-1, 3), np.arange(columns)
    painted = pixels.copy()
    half = max(1, round(1.6 * scale))
    reach, leans = half + 1, (0, -2, -1, 1, 2)  # what ink may cross along
    along = [np.clip(at + lean * reach, 0, columns - 1) for lean in leans]
    against = [np.clip(at - lean * reach, 0, columns - 1) for lean in leans]
    for rule in rules:
        ys = np.rint(np.interp(at / scale, np.arange(small_columns), rule.curve) * scale).astype(int)
        band = np.clip(ys[:, None] + np.arange(-half, half + 1), 0, rows - 1)
        band = band * columns + at[:, None]
        colors = pixels[band]  # [columns, band, 3]
        above, below = (image[np.clip(ys + side * reach, 0, rows - 1), at] for side in (-1, 1))
        lighter = np.stack([np.maximum(above[one], below[other]) for one, other in zip(against, along, strict=True)])
        light = _sum_of_channels(lighter)
        darkest = lighter[light.argmin(axis=0), at]
        darkness = (light[0][:, None] - _sum_of_channels(colors)) / 3
        ink = darkness > 1.6 * rule.darkness + 12
        painted[band] = np.where(ink[..., None], colors, np.maximum(colors, darkest[:, None]))
    return painted.reshape(image.shape)


def _sum_of_channels(colors: np.ndarray) -> np.ndarray:
    """int16, of uint8 ``[..., 3]``; ``sum`` is slow along short axes."""
    return colors[..., 0].astype(np.int16) + colors[..., 1] + colors[..., 2]


def _without_dots(image: np.ndarray, dark: np.ndarray, level: float) -> np.ndarray:
    """The image without the dots of dotted paper: many, small, alike, and all over it."""
    mask = (dark > level).astype(np.uint8)
    count, labels, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas, size = stats[:, cv2.CC_STAT_AREA], stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1)
    small = (areas < 80) & (size <= 12) & (np.arange(count) > 0)
    if small.sum() < MIN_DOTS:
        return image
    usual = np.median(areas[small & (areas >= 2)]) if (small & (areas >= 2)).any() else 1
    dots = small & (areas >= 0.25 * usual) & (areas <= 3.5 * usual + 2)
    cells = np.zeros((6, 6), bool)
    at = (centres[dots] / np.array(dark.shape[::-1]) * 6).astype(int).clip(0, 5)
    cells[at[:, 1], at[:, 0]] = True
    if dots.sum() < MIN_DOTS or cells.mean() < 0.7 or not _is_regular(centres[dots]):
        return image
    spots = cv2.dilate(dots[labels].astype(np.uint8), np.ones((5, 5), np.uint8))
    spots = cv2.resize(spots, image.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
    window = max(9, 2 * round(12 * max(image.shape[:2]) / RULED_SIDE) + 1)
    paper = cv2.morphologyEx(image, cv2.MORPH_CLOSE, np.ones((window, window), np.uint8))
    return np.where(spots[..., None], paper, image)


def _is_regular(centres: np.ndarray) -> bool:
    """Whether points ``[n, 2]`` are at like distances from their next ones, as a grid's are."""
    from scipy import spatial

    distances = spatial.cKDTree(centres).query(centres, k=2)[0][:, 1]
    return bool((np.abs(distances / np.median(distances) - 1) < 0.25).mean() > 0.5)


def is_box(mask: np.ndarray) -> bool:
    """Whether what is seen, bool ``[rows, columns]``, lies in a box with four straight sides that is part of it."""
    contours = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    outer = max(contours, key=lambda contour: np.prod(cv2.boundingRect(contour)[2:]))
    points = np.argwhere(mask)[:, ::-1]
    around = cv2.boundingRect(points.astype(np.int32))
    if np.prod(cv2.boundingRect(outer)[2:]) < 0.95 * np.prod(around[2:]):
        return False
    hull, area = cv2.convexHull(outer), np.prod(cv2.minAreaRect(outer)[1])
    return bool(cv2.contourArea(outer) > 0.97 * cv2.contourArea(hull) and cv2.contourArea(hull) > 0.88 * area)
