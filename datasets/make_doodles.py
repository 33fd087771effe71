"""Draws the six categories of doodles that come with the project: seeded, by no person.

    python datasets/make_doodles.py [--out datasets/npz] [--seed N]

Each category is one function that chooses a *kind* of cat or house, its proportions and the order of its parts; a
`Hand` draws the parts the way a hurried person does; QuickDraw's recipe makes stroke-3 of them. Units: a doodle is
about 1 across, x to the right, y downward; angles are in radians from +x towards +y, so -pi/2 is up. A part is drawn
where its numbers are simplest, and moved. The order in which random numbers are taken must not change: tests compare
what the default seed draws with the files in datasets/npz.
"""

import sys
import zlib
from collections.abc import Callable, Iterable
from math import cos, pi, sin
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from script import make_parser, run_script
from simplify import resample_line, simplify_drawing
from utils import lines_to_strokes, save_strokes

Part = list[np.ndarray]  # strokes [n, 2] that belong together
Point = tuple[float, float]

SPLITS = {"train": 1000, "valid": 100, "test": 100}
DEFAULT_SEED = 2026
FINE = 0.01  # spacing of the points of a raw line
STROKES, MAX_POINTS = range(3, 10), 60  # an LSTM has to learn these in minutes; a doodle of more is drawn anew


def ellipse(x: float, y: float, rx: float, ry: float, start: float, end: float) -> np.ndarray:
    """Points [n, 2] of the ellipse around (x, y), from angle `start` to `end` (either way round)."""
    angles = np.linspace(start, end, 60)
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def smooth(*points: Point, closed: bool = False) -> np.ndarray:
    """Points [n, 2] of the smooth line through `points`; a closed one ends where it began."""
    knots = np.array([*points, points[0]] if closed else points, dtype=float)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(knots, axis=0).T))])
    spline = CubicSpline(along, knots, bc_type="periodic" if closed else "natural")
    return spline(np.linspace(0.0, along[-1], 16 * len(knots)))


def zigzag(left: float, right: float, low: float, high: float, teeth: int) -> np.ndarray:
    """A line [2 * teeth + 1, 2] from left to right that goes up to `high` and back to `low` `teeth` times."""
    x = np.linspace(left, right, 2 * teeth + 1)
    return np.stack([x, np.where(np.arange(len(x)) % 2, high, low)], axis=1)


def symmetric(*half: Point) -> list[Point]:
    """Points and, in reverse order, their mirror images; a point on the axis counts once."""
    return [*half, *((-x, y) for x, y in reversed(half) if x != 0)]


def joined(parts: Iterable[Part]) -> Part:
    """The strokes of all `parts`, one after the other."""
    return [stroke for part in parts for stroke in part]


def moved(part: Part, x: float, y: float) -> Part:
    """The same strokes elsewhere."""
    return [stroke + [x, y] for stroke in part]


class Hand:
    """One person in one mood: makes the choices, and draws every line with the same habits and sloppiness."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.slop = float(1.15 * np.exp(rng.normal(0.0, 0.42)))  # 0.4 careful ... 2.5 in a great hurry
        self.corner = self.between(0.03, 0.08) if self.chance(0.25) else 0.02  # length over which corners are rounded
        self.clockwise = self.chance(0.35)

    def chance(self, probability: float) -> bool:
        """True with `probability`."""
        return bool(self.rng.random() < probability)

    def between(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return float(self.rng.uniform(low, high))

    def pick(self, **weights: float) -> str:
        """One of the names, each as often as its weight says: pick(dot=2, circle=1)."""
        shares = np.array(list(weights.values())) / sum(weights.values())
        return str(self.rng.choice(list(weights), p=shares))

    def one(self, **ways: tuple[float, Callable[[], Part]]) -> Part:
        """What one of the ways draws: one(dot=(2, lambda: ...), circle=(1, lambda: ...))."""
        return ways[self.pick(**{name: weight for name, (weight, _) in ways.items()})][1]()

    def shuffled(self, *parts: Part) -> Part:
        """The strokes of `parts`, the parts in any order."""
        return joined(parts[i] for i in self.rng.permutation(len(parts)))

    def in_order(self, probability: float, first: Part, second: Part) -> Part:
        """Both parts, with `probability` in the order given."""
        return first + second if self.chance(probability) else second + first

    def mirrored(self, probability: float, part: Part) -> Part:
        """A part that faces the other way with `probability`."""
        return [stroke * [-1, 1] for stroke in part] if self.chance(probability) else part

    def line(self, *points: Point) -> Part:
        """One open stroke along `points` (straight from corner to corner, each corner a little off)."""
        return self.along(self._shake(points, 0.008))

    def curve(self, *points: Point) -> Part:
        """One open stroke that bends smoothly through `points`."""
        return self.along(smooth(*self._shake(points, 0.006)))

    def along(self, *pieces: np.ndarray | list[Point]) -> Part:
        """One open stroke along the points of all `pieces` [n, 2]."""
        points = np.concatenate(pieces)
        return [self._trace(points[::-1] if self.chance(0.15) else points)]

    def polygon(self, *points: Point) -> Part:
        """A closed outline with corners: one stroke, or two when the pen was lifted at a corner."""
        around = self._from_the_top(self._shake(points, 0.01))
        if len(points) > 3 and self.chance(0.12):
            cut = int(self.rng.integers(1, len(points)))
            return [self._trace(around[: cut + 1]), self._trace(around[cut:])]
        return [self._close(around)]

    def box(self, left: float, top: float, right: float, bottom: float) -> Part:
        """A rectangle."""
        return self.polygon((left, top), (right, top), (right, bottom), (left, bottom))

    def closed(self, *pieces: np.ndarray) -> Part:
        """A closed outline through the points of all `pieces` [n, 2], in one stroke."""
        return [self._close(self._from_the_top(np.concatenate(pieces)))]

    def loop(self, x: float, y: float, rx: float, ry: float | None = None) -> Part:
        """A round shape around (x, y): an ellipse (without `ry`, a circle), dented as hands draw them."""
        angles = np.linspace(0.0, 2 * pi, 60, endpoint=False)
        dents = self.rng.normal(0.0, 0.025 * self.slop, (2, 2))
        waves = [(np.cos(k * angles), np.sin(k * angles)) for k in (2, 3)]
        radius = 1.0 + np.einsum("kc,kcn->n", dents, np.array(waves))
        ry = rx if ry is None else ry
        return self.closed(np.stack([x + rx * radius * np.cos(angles), y + ry * radius * np.sin(angles)], axis=1))

    def dot(self, x: float, y: float, length: float = 0.035) -> Part:
        """A short dab of the pen."""
        angle = self.rng.normal(pi / 2, 0.5)
        half = 0.5 * length * self.between(0.75, 1.25) * np.array([np.cos(angle), np.sin(angle)])
        return [np.array([(x, y) - half, (x, y) + half])]

    def _shake(self, points, size: float) -> np.ndarray:
        return np.array(points) + self.rng.normal(0.0, size * self.slop, (len(points), 2))

    def _from_the_top(self, points: np.ndarray) -> np.ndarray:
        """The outline [n + 1, 2] from where a hand begins it (more or less the top), in its direction."""
        lean = -pi / 2 + self.rng.normal(0.0, 0.9)
        points = np.roll(points, -int(np.argmax(points @ [np.cos(lean), np.sin(lean)])), axis=0)
        ahead = np.roll(points, -1, axis=0)
        is_clockwise = np.sum(points[:, 0] * ahead[:, 1] - points[:, 1] * ahead[:, 0]) > 0  # as y points down
        if is_clockwise != (self.clockwise != self.chance(0.1)):
            points = np.roll(points[::-1], 1, axis=0)
        return np.concatenate([points, points[:1]])

    def _close(self, around: np.ndarray) -> np.ndarray:
        """Trace an outline whose last point is its first: stopping short, overshooting, or missing it."""
        fine = resample_line(around, FINE)
        beyond = int(np.clip(self.rng.normal(0.0, 0.03 * self.slop), -0.08, 0.1) * len(fine))
        fine = fine[:beyond] if beyond < 0 else np.concatenate([fine, fine[1 : beyond + 1]])
        miss = self.rng.normal(0.0, 0.02 * self.slop, 2) * np.ptp(around, axis=0)
        return self._trace(fine + np.linspace(0.0, 1.0, len(fine))[:, None] ** 2 * miss)

    def _trace(self, points: np.ndarray) -> np.ndarray:
        """Follow `points` as a hand does: corners rounded off, a slow wobble, all a little out of place."""
        line = resample_line(points, FINE)
        window = min(round(self.corner / FINE), len(line) // 6 + 1)
        padded = np.pad(line, [(window // 2, (window - 1) // 2), (0, 0)], mode="edge")
        line = np.lib.stride_tricks.sliding_window_view(padded, window, axis=0).mean(axis=-1)
        # A wobble is slow: the pen is off by an independent amount only every third of a unit.
        # Small things are drawn with the fingers, not the arm, and wobble less.
        length = FINE * len(line)
        size = 0.008 * self.slop * min(1.0, length) ** 0.5
        knots = self.rng.normal(0.0, size, (2 + round(3 * length), 2))
        wobble = CubicSpline(np.linspace(0.0, 1.0, len(knots)), knots)(np.linspace(0.0, 1.0, len(line)))
        return line + wobble + self.rng.normal(0.0, size, 2)


def cat(hand: Hand) -> Part:
    """A cat: its face alone, sitting towards us, or standing sideways."""
    kind = hand.pick(face=5, sitting=3, standing=3)
    if kind == "face":
        return cat_head(hand, hand.between(0.36, 0.42), portrait=True)
    if kind == "sitting":
        r = hand.between(0.2, 0.27)
        head, body = moved(cat_head(hand, r), 0, -0.34), sitting_cat(hand, r)
    else:
        r, x, y = hand.between(0.16, 0.22), -0.36 - hand.between(0, 0.08), hand.between(-0.28, -0.08)
        head, body = moved(cat_head(hand, r), x, y), standing_cat(hand, x, y, r)
    return hand.mirrored(0.5, hand.in_order(0.8, head, body))


def cat_head(hand: Hand, r: float, portrait: bool = False) -> Part:
    """A head of radius about `r` around (0, 0) with ears, eyes and what else there is room for."""
    rx, outer, inner = r * hand.between(0.95, 1.25), hand.between(0.75, 1.0), hand.between(0.15, 0.4)
    rounded = hand.chance(0.2)
    tip = rx * hand.between(0.65, 1.0), -r * hand.between(1.4, 1.75) * (0.9 if rounded else 1)
    ear = (rx * sin(inner), -r * cos(inner)), tip, (rx * sin(outer), -r * cos(outer))
    right = smooth(*ear) if rounded else np.array(ear)
    left = right[::-1] * [-1, 1]
    if hand.chance(0.5):
        outline = hand.closed(left, right, ellipse(0, 0, rx, r, outer - pi / 2, 1.5 * pi - outer)[1:-1])
    else:
        outline = hand.loop(0, 0, rx, r) + hand.along(left) + hand.along(right)
    if portrait:
        eyes = cat_eyes(hand, rx, r, hand.pick(dot=6, circle=1, line=1.5, arc=0.5))
        muzzle = cat_muzzle(hand, r, hand.pick(nose_w=1, y=1, w=2, nose=2))
        kind = hand.pick(sides=6, vees=2, through=1, none=0 if rounded else 2)  # round ears alone: a bear
        parts = eyes, muzzle, cat_whiskers(hand, rx, r, kind)
        return outline + (hand.shuffled(*parts) if hand.chance(0.3) else joined(parts))
    kind = hand.pick(eyes=2, smile=2, vees=2, through=1, blank=1)
    eyes = [] if kind == "blank" else cat_eyes(hand, rx, r, "dot")
    smile = cat_muzzle(hand, r, "smile") if kind == "smile" else []
    return outline + eyes + smile + cat_whiskers(hand, rx, r, kind)


def cat_eyes(hand: Hand, rx: float, r: float, kind: str) -> Part:
    """Two eyes of one kind."""
    size, y = r * hand.between(0.1, 0.19), -0.1 * r
    eye = {
        "dot": lambda x: hand.dot(x, y, max(0.035, 0.14 * r)),
        "circle": lambda x: hand.loop(x, y, size),
        "line": lambda x: hand.line((x, y - size), (x, y + size)),
        "arc": lambda x: hand.curve((x - size, y + 0.4 * size), (x, y - 0.6 * size), (x + size, y + 0.4 * size)),
    }[kind]
    return eye(-0.4 * rx) + eye(0.4 * rx)


def cat_muzzle(hand: Hand, r: float, kind: str) -> Part:
    """Nose and mouth, or one of them."""
    n, w = r * hand.between(0.08, 0.14), r * hand.between(0.2, 0.38)
    top, low = 0.2 * r, r * hand.between(0.42, 0.55)
    nose, corner = [(-n, top), (n, top), (0, top + 1.3 * n)], (-w, low - 0.1 * r)
    smile, mouth = symmetric(corner, (0, low)), symmetric(corner, (-0.5 * w, low + 0.05 * r), (0, low - 0.1 * r))
    if kind == "nose_w":
        return hand.polygon(*nose) + hand.curve(*mouth)
    if kind == "y":
        return hand.line(nose[2], *nose, (0, low)) + hand.curve(*smile)
    return hand.polygon(*nose) if kind == "nose" else hand.curve(*(smile if kind == "smile" else mouth))


def cat_whiskers(hand: Hand, rx: float, r: float, kind: str) -> Part:
    """Whiskers: two or three on both "sides", one stroke per side ("vees"), right "through", or none."""
    fan, far, near = hand.between(0.12, 0.3), hand.between(1.15, 1.55), hand.between(0.35, 0.55)
    if kind == "sides":
        rows = (-1, 1) if hand.chance(0.75) else (-1, 0, 1)
        whiskers = [[(side * near, 0.1 * k), (side * far, fan * k)] for side in (-1, 1) for k in rows]
    elif kind == "vees":
        whiskers = [[(side * far, -fan), (side * near, 0), (side * far, fan)] for side in (-1, 1)]
    else:
        whiskers = [[(-far, 0.13 * k), (far, -0.13 * k)] for k in ((-1, 1) if kind == "through" else ())]
    return joined(hand.line(*[(x * rx, r * (0.3 + y)) for x, y in points]) for points in whiskers)


def cat_tail(hand: Hand) -> Part:
    """A tail that begins at (0, 0) and goes right and up."""
    a, b = hand.between(0.14, 0.26), hand.between(0.25, 0.45)
    curl = (a, 0.02), (1.35 * a, -0.6 * b), (0.8 * a, -b), (0.4 * a, -0.7 * b), (0.8 * a, -0.5 * b)
    return hand.one(
        curled=(2, lambda: hand.curve((0, 0), *curl)),
        bent=(2, lambda: hand.curve((0, 0), (a, -0.05), (a, -0.6 * b), (1.5 * a, -b))),
        hook=(2, lambda: hand.curve((0, 0), (0.3 * a, -0.7 * b), (0.8 * a, -b), (1.2 * a, -0.7 * b))),
        straight=(1, lambda: hand.line((0, 0), (1.2 * a, -0.8 * b))),
    )


def sitting_cat(hand: Hand, r: float) -> Part:
    """What is below the head (around (0, -0.34)) of a cat that sits and looks at us."""
    w, low, neck = hand.between(0.2, 0.34), hand.between(0.4, 0.55), -0.34 + 0.8 * r
    if hand.chance(0.6):
        middle = (-0.85 * w, 0.5 * (neck + low))
        body = hand.curve(*symmetric((-0.55 * r, neck), middle, (-w, low - 0.08), (-0.75 * w, low)))
    else:
        body = hand.loop(0, 0.5 * (neck + low), w, 0.5 * (low - neck) + 0.03)
    legs = hand.pick(lines=4, feet=1, none=3)
    gap, knee = hand.between(0.05, 0.1), hand.between(0.1, 0.3)
    feet: Part = []
    if legs == "lines":
        feet = hand.line((-gap, knee), (-gap, low)) + hand.line((gap, knee), (gap, low))
    elif legs == "feet":
        feet = hand.loop(-0.5 * w, low, 0.4 * w, 0.06) + hand.loop(0.5 * w, low, 0.4 * w, 0.06)
    return body + hand.shuffled(feet, moved(cat_tail(hand), 0.85 * w, low - 0.1))


def standing_cat(hand: Hand, x: float, y: float, r: float) -> Part:
    """Body, legs and tail of a cat that stands, its head of radius `r` around (x, y) on the left."""
    rump, belly, ground = hand.between(0.28, 0.42), hand.between(0.14, 0.22), hand.between(0.36, 0.5)
    chest, back, leg = x + 0.4 * r, hand.between(-0.12, 0), hand.between(0.06, 0.11)
    if hand.chance(0.5):
        front = [(chest + leg, belly), (chest + leg, ground), (chest, ground), (chest - 0.02, y + 0.9 * r)]
        rear = [(rump, back), (rump + 0.03, ground), (rump - leg, ground), (rump - leg, belly)]
        body = hand.line((x + 0.9 * r, back), *rear, *front)
        return hand.shuffled(body, moved(cat_tail(hand), rump, back + 0.03))
    middle, half = 0.5 * (chest + rump), 0.34 * (rump - chest)
    body = hand.loop(middle, 0.5 * (back + belly), rump - middle, 0.5 * (belly - back) + 0.03)
    feet = middle - half, middle - half + 1.2 * leg, middle + half - 1.2 * leg, middle + half
    legs = joined(hand.line((at, belly - 0.02), (at + hand.between(-0.03, 0.03), ground)) for at in feet)
    return body + hand.shuffled(legs, moved(cat_tail(hand), rump - 0.02, 0.5 * (back + belly)))


def fish(hand: Hand) -> Part:
    """A fish from the side: one crossing line or a body with a tail; an eye, some gills, fins, marks."""
    half, h = hand.between(0.32, 0.42), hand.between(0.17, 0.34)  # the nose is at (-half, 0)
    up, tail = h * hand.between(0.8, 1.1), hand.between(0.16, 0.28)
    kind = hand.pick(ribbon=3, oval=3, lens=3)
    if kind == "ribbon":
        spread = hand.between(0.14, 0.26)
        upper, lower = (half + tail, -spread), (half + 0.9 * tail, spread)
        below = (half, 0), (0.25 * half, 0.85 * h), (-0.5 * half, 0.9 * h), (-half, 0)
        above = (-0.5 * half, -0.9 * up), (0.25 * half, -0.85 * up), (half, 0)
        body = hand.curve(upper, *below, *above, lower)
        reach = {"open": 0, "straight": 0.95, "hollow": 0.5}[hand.pick(open=3, straight=4, hollow=3)]
        body += hand.curve(upper, (half + reach * tail, 0), lower) if reach else []
    elif kind == "oval":
        body = hand.loop(0, 0, half, 0.9 * h) + moved(fish_tail(hand, tail), half - 0.03, 0)
    else:
        top = smooth((-half, 0), (-0.3 * half, -0.9 * up), (0.4 * half, -0.6 * up), (half, 0))
        low = smooth((-half, 0), (-0.3 * half, 0.9 * h), (0.4 * half, 0.6 * h), (half, 0))
        body = hand.closed(top, low[-2:0:-1]) if hand.chance(0.5) else hand.along(top) + hand.along(low)
        body += moved(fish_tail(hand, tail), half - 0.02, 0)
    x, y = -half * hand.between(0.55, 0.7), -0.25 * h
    eye = hand.dot(x, y) if hand.chance(0.45) else hand.loop(x, y, hand.between(0.022, 0.05))
    marks, fins = fish_marks(hand, half, h), []
    for side, probability in ((-1, 0.45), (1, 0.35)):  # on the back and below
        if hand.chance(probability):
            x, wide, tall = hand.between(-0.1, 0.1), hand.between(0.12, 0.25), hand.between(0.1, 0.18)
            y = side * 0.85 * h
            points = (x - 0.5 * wide, y), (x + 0.4 * wide, y + side * tall), (x + 0.6 * wide, 0.9 * y)
            fins += hand.curve(*points) if hand.chance(0.4) else hand.line(*points)
    if hand.chance(0.2):
        x = hand.between(-0.1, 0.05)
        fins += hand.line((x, 0.02), (x + 0.13, -0.04), (x + 0.12, 0.1), (x, 0.04))
    return hand.mirrored(0.45, body + hand.shuffled(eye, marks, fins))


def fish_tail(hand: Hand, long: float) -> Part:
    """A tail to the right of (0, 0)."""
    up, low = hand.between(0.13, 0.28), hand.between(0.13, 0.28)
    upper, lower, waist = (long, -up), (long, low), 0.6 * long
    lobes = (0, 0), (waist, -up), (long, -0.8 * up), (waist, 0), (long, 0.8 * low), (waist, low)
    return hand.one(
        triangle=(3, lambda: hand.polygon((0, 0), upper, lower)),
        forked=(3, lambda: hand.polygon((0, 0), upper, (long * hand.between(0.45, 0.75), 0), lower)),
        open=(1, lambda: hand.line(upper, (0, 0), lower)),
        lobes=(2, lambda: hand.closed(smooth(*lobes, closed=True)[:-1])),
    )


def fish_marks(hand: Hand, half: float, h: float) -> Part:
    """Gill and mouth, and sometimes scales or stripes."""
    marks: Part = []
    if hand.chance(0.5):
        x, bend = -half * hand.between(0.25, 0.4), hand.between(0.03, 0.08)
        marks += hand.curve((x, -0.5 * h), (x + bend, 0), (x, 0.5 * h))
    if hand.chance(0.5):
        x, y, wide = -0.95 * half, 0.2 * h, hand.between(0.1, 0.2) * half
        marks += hand.curve((x, y), (x + wide, y + 0.1 * h), (x + 1.8 * wide, y))
    kind = hand.pick(none=4, scales=2, stripes=2)
    at = half * np.linspace(-0.1, 0.5, int(hand.rng.integers(2, 4)))
    for k, x in enumerate(at if kind != "none" else ()):
        if kind == "scales":
            y, s = h * (0.25 if k % 2 else -0.2), hand.between(0.2, 0.3) * h
            marks += hand.curve((x, y - s), (x + s, y), (x, y + s))
        else:
            reach = 0.75 * h * (1 - (x / half) ** 2)
            marks += hand.line((x, -reach), (x + hand.between(-0.02, 0.04), reach))
    return marks


def house(hand: Hand) -> Part:
    """A house from the front, some with a side wall: roof, walls, a door, windows, perhaps a chimney."""
    w, top, low = hand.between(0.26, 0.44), hand.between(-0.12, 0.05), 0.45
    peak, eave = top - hand.between(0.22, 0.4), hand.between(0, 0.1)
    left, right = (-w - eave, top), (w + eave, top)
    kind = hand.pick(gable=5, whole=2, hip=2, flat=1, deep=2)
    if kind == "whole":  # walls and roof in one line, then the line between them
        outline = hand.polygon((-w, top), (0, peak), (w, top), (w, low), (-w, low))
        outline += hand.line((-w, top), (w, top)) if hand.chance(0.8) else []
    else:
        walls = hand.box(-w, top, w, low)
        if kind == "hip":
            ridge = w * hand.between(0.4, 0.75)
            roof = hand.line(left, (-ridge, peak), (ridge, peak), right)
        elif kind == "flat":
            roof = hand.box(-w - eave, top - hand.between(0.06, 0.12), w + eave, top)
        else:
            outlined = hand.line if hand.chance(0.5) else hand.polygon
            roof = outlined(left, (hand.between(-0.05, 0.05), peak), right)
        outline = hand.in_order(0.6, walls, roof)
    if kind == "deep":
        deep, rise = hand.between(0.3, 0.5), hand.between(0, 0.06)
        eaves = (w + deep, top - rise)
        outline += hand.line((0, peak), (deep, peak - rise), eaves, (w + deep, low - rise), (w, low))
        outline += hand.line((w, top), eaves) if hand.chance(0.8) else []
    openings = house_openings(hand, w, top, low)
    chimney: Part = []
    if kind not in ("flat", "deep") and hand.chance(0.45):
        x, wide = w * hand.between(0.35, 0.5), w * hand.between(0.18, 0.26)
        end, high, slope = x + wide, peak - hand.between(-0.02, 0.12), (top - peak) / w
        chimney = hand.line((x, peak + slope * x), (x, high), (end, high), (end, peak + slope * end))
        if hand.chance(0.2):
            smoke = np.array([(0, -0.03), (0.05, -0.09), (-0.01, -0.15), (0.05, -0.22)])
            chimney += hand.curve(*(smoke + [x + 0.5 * wide, high]))
    return hand.mirrored(0.5, outline + hand.shuffled(openings, chimney))


def house_openings(hand: Hand, w: float, top: float, low: float) -> Part:
    """A door (square or arched, some with a handle), and windows where it leaves room."""
    side = hand.pick(middle=3, left=2, right=1)
    x = {"middle": 0, "left": -0.45 * w, "right": 0.45 * w}[side]
    wide, high = w * hand.between(0.15, 0.23), -(low - top) * hand.between(0.45, 0.68)
    door = hand.one(
        open=(5, lambda: hand.line((-wide, 0), (-wide, high), (wide, high), (wide, 0))),
        closed=(3, lambda: hand.box(-wide, high, wide, 0)),
        arched=(2, lambda: hand.along([(-wide, 0)], ellipse(0, high + wide, wide, wide, -pi, 0), [(wide, 0)])),
    )
    door = moved(door + (hand.dot(0.6 * wide, 0.45 * high) if hand.chance(0.35) else []), x, low)
    size, y = w * hand.between(0.15, 0.22), top + hand.between(0.28, 0.38) * (low - top)
    if side == "middle":
        positions = [-0.62 * w, 0.62 * w] if hand.chance(0.8) else [-0.62 * w]
    elif hand.chance(0.75):  # a single window has room to be large
        positions, size = [-x], 1.3 * size
    else:
        positions = [-0.5 * x, -1.5 * x]
    crossed = hand.chance(0.5)

    def window(x: float) -> Part:
        frame = hand.box(x - size, y - size, x + size, y + size)
        bars = [((x, y - size), (x, y + size)), ((x - size, y), (x + size, y))] if crossed else []
        return frame + joined(hand.line(*bar) for bar in bars)

    windows = joined(window(x) for x in positions) if hand.chance(0.88) else []
    return hand.in_order(0.6, door, windows)


def sailboat(hand: Hand) -> Part:
    """A boat with a mast, one or two sails, and sometimes a flag or waves."""
    deck, x, top = hand.between(0.15, 0.25), hand.between(-0.12, 0.12), -hand.between(0.42, 0.55)
    foot = deck - hand.between(0.03, 0.09)
    hull, sails = boat_hull(hand, deck), moved(boat_sails(hand, top, foot), x, 0)
    mast = hand.line((x, top), (x, deck))
    orders = {"hull": hull + mast + sails, "mast": mast + hull + sails, "sails": sails + mast + hull}
    boat = orders[hand.pick(hull=5, mast=2, sails=2)]
    if hand.chance(0.25):
        w, h = hand.between(0.1, 0.16), hand.between(0.06, 0.1)
        tip = top - 0.02 - h
        boat += hand.line((x, top + h), (x, tip)) + hand.line((x, tip), (x + w, tip + 0.5 * h), (x, tip + h))
    if hand.chance(0.4):
        y = deck + hand.between(0.16, 0.26)
        if hand.chance(0.6):
            teeth, wide, high = int(hand.rng.integers(3, 6)), hand.between(0.5, 0.62), hand.between(0.03, 0.06)
            boat += hand.curve(*zigzag(-wide, wide, y + high, y - high, teeth))
        else:
            wave = np.array([(-0.12, 0), (-0.04, -0.04), (0.04, 0.03), (0.12, -0.02)])
            positions = np.linspace(-0.4, 0.4, int(hand.rng.integers(2, 4)))
            boat += joined(hand.curve(*(wave + [x, y + hand.between(0, 0.1)])) for x in positions)
    return hand.mirrored(0.5, boat)


def boat_hull(hand: Hand, deck: float) -> Part:
    """A hull below `deck`, its bow on the right when it has one."""
    w, h, inset = hand.between(0.36, 0.5), hand.between(0.14, 0.24), hand.between(0.08, 0.2)
    bowl = smooth(*symmetric((-w, deck), (-0.6 * w, deck + 0.85 * h), (0, deck + h)))
    inner = smooth(*symmetric((w, deck), (0.4 * w, deck + 0.35 * h)))
    left, right, prow = (-w, deck), (w, deck), [(w - 1.5 * inset, deck + h), (-w + 0.3 * inset, deck + h)]
    return hand.one(
        trapezoid=(4, lambda: hand.polygon(left, right, (w - inset, deck + h), (-w + inset, deck + h))),
        bowl=(3, lambda: hand.closed(bowl) if hand.chance(0.6) else hand.along(bowl) + hand.line(left, right)),
        bow=(2, lambda: hand.polygon(left, (1.1 * w, deck - 0.04), *prow)),
        crescent=(1, lambda: hand.closed(bowl - [0, 0.1 * h], inner[1:-1] - [0, 0.1 * h])),
    )


def boat_sails(hand: Hand, top: float, foot: float) -> Part:
    """One or two sails on the mast, which stands at x = 0."""
    right, left = hand.between(0.25, 0.42), hand.between(0.18, 0.34)
    gap, start = hand.between(0, 0.03), top + hand.between(0, 0.06)
    kind = hand.pick(one=3, two=4, bulging=3, gaff=1)
    if kind == "gaff":
        return hand.polygon((0, start + hand.between(0, 0.12)), (0.75 * right, start), (right, foot), (0, foot))
    if kind == "bulging":
        belly = smooth((gap, start), (0.75 * right, 0.5 * (start + foot)), (right, foot))
        front = smooth((-gap, start), (-0.35 * left, 0.55 * (start + foot)), (-left, foot))
        return hand.along(belly, [(gap, foot)]) + (hand.along(front, [(-gap, foot)]) if hand.chance(0.4) else [])

    def sail(*corners: Point) -> Part:
        return hand.polygon(*corners) if hand.chance(0.6) else hand.line(*corners)

    main = sail((gap, start), (right, foot), (gap, foot))
    return main + (sail((-gap, start + hand.between(0, 0.15)), (-left, foot), (-gap, foot)) if kind == "two" else [])


def flower(hand: Hand) -> Part:
    """A flower on a stem: daisy, scalloped, pointed or a tulip; leaves, and a pot or grass below."""
    kind = hand.pick(daisy=3, scallop=5, star=2, tulip=6)
    y, r, low = -hand.between(0.24, 0.32), hand.between(0.2, 0.3), hand.between(0.4, 0.55)
    blossom, under = tulip(hand, 0.8 * r) if kind == "tulip" else round_blossom(hand, r, kind)
    blossom, under = moved(blossom, 0, y), y + under
    sway = hand.between(-0.1, 0.1) if hand.chance(0.67) else 0
    bend, foot = (sway, 0.5 * (under + low)), (0.3 * sway, low)
    stem = hand.curve((0, under), bend, foot) if sway else hand.line((0, under), foot)
    sides = hand.pick(none=1 if kind == "tulip" else 4, left=3, right=3, both=6)  # bare tulips are all alike
    leaves: Part = []
    for side in {"none": [], "left": [-1], "right": [1], "both": [-1, 1]}[sides]:
        x, y, long = 0.6 * sway, low - hand.between(0.1, 0.25), side * hand.between(0.16, 0.3)
        rise, wide = hand.between(0.05, 0.2), hand.between(0.04, 0.08)
        tip, middle = (x + long, y - rise), y - 0.5 * rise
        if hand.chance(0.3):
            leaves += hand.curve((x, y), (x + 0.5 * long, middle + wide), tip)
        else:
            back = smooth(tip, (x + 0.6 * long, middle + wide), (x, y))
            leaves += hand.along(smooth((x, y), (x + 0.4 * long, middle - wide), tip), back[1:])
    strokes = hand.in_order(0.8, blossom, stem)
    kind, w, h = hand.pick(none=7, pot=2, grass=1, line=1), hand.between(0.14, 0.22), hand.between(0.18, 0.26)
    ground: Part = []
    if kind == "pot":
        ground = hand.polygon((-w, low), (w, low), (0.7 * w, low + h), (-0.7 * w, low + h))
    elif kind == "grass":
        ground = hand.line(*zigzag(-1.6 * w, 1.6 * w, low + 0.02, low - 0.4 * h, int(hand.rng.integers(3, 5))))
    elif kind == "line":
        ground = hand.line((-1.8 * w, low), (1.8 * w, low))
    return strokes + hand.shuffled(leaves, ground)


def round_blossom(hand: Hand, r: float, kind: str) -> tuple[Part, float]:
    """A blossom around (0, 0) seen from the front, and where its stem begins."""
    core, petals, turn = r * hand.between(0.3, 0.45), 5 + hand.chance(0.4), hand.between(0, 2 * pi)
    centre = hand.loop(0, 0, core)
    if kind == "daisy":
        petals -= hand.chance(0.6)  # a stroke each
        wide = hand.between(0.75, 1.0) * core * 5 / petals
        leaves = []
        for angle in turn + np.arange(petals) * 2 * pi / petals:
            far = r * hand.between(0.9, 1.1)
            petal = np.array([(core, -0.5 * wide), (0.7 * far, -wide), (far, 0), (0.7 * far, wide), (core, 0.5 * wide)])
            leaves += hand.curve(*(petal @ [(cos(angle), sin(angle)), (-sin(angle), cos(angle))]))
    else:
        depth = hand.between(0.3, 0.45)
        if kind == "star":
            angles = np.arange(2 * petals) * pi / petals
            radius = r * np.where(np.arange(2 * petals) % 2, 1.0, 1 - depth)
        else:
            angles = np.linspace(0.0, 2 * pi, 120, endpoint=False)
            radius = r * (1 - depth * (1 - np.abs(np.cos(0.5 * petals * angles)) ** 0.7))
        leaves = hand.closed(np.stack([radius * np.cos(angles + turn), radius * np.sin(angles + turn)], axis=1))
    return hand.in_order(0.7, centre, leaves), r * hand.between(0.8, 1.0)


def tulip(hand: Hand, r: float) -> tuple[Part, float]:
    """A tulip around (0, 0) from the side, and where its stem begins."""
    rim, tips = -r * hand.between(0.3, 0.6), -r * hand.between(1.0, 1.3)
    cup = smooth(*symmetric((-r, rim - 0.2 * r), (-0.95 * r, 0.4 * r), (0, r)))
    kind = hand.pick(crown=3, rim=2, petals=2)
    if kind == "petals":  # a bud: a petal in the middle, half a petal on either side
        return hand.along(cup) + hand.curve(*symmetric((-0.6 * r, 0.5 * r), (-0.45 * r, rim), (0, tips))), r
    crown = zigzag(-r, r, rim - 0.2 * r, rim + 0.3 * r, 1 + int(hand.rng.integers(1, 3)))[::-1]
    if kind == "rim":
        return hand.along(cup) + hand.line(*crown), r
    return hand.closed(cup[:-1], crown[:-1]), r


# Upper outlines of cars that drive to the right, and where their windows begin and end; a convertible has none.
CARS = {
    "sedan": [(-0.5, -0.02), (-0.32, -0.04), (-0.2, -0.24), (0.12, -0.24), (0.26, -0.03), (0.49, 0.02)],
    "hatchback": [(-0.46, -0.08), (-0.38, -0.27), (0.1, -0.27), (0.26, -0.05), (0.47, 0.0)],
    "van": [(-0.5, -0.3), (0.28, -0.3), (0.42, -0.06), (0.5, -0.02)],
    "pickup": [(-0.52, -0.05), (-0.05, -0.05), (-0.04, -0.28), (0.18, -0.28), (0.28, -0.05), (0.51, -0.02)],
    "convertible": [(-0.5, -0.04), (-0.28, -0.06), (-0.22, 0.0), (0.08, 0.0), (0.14, -0.06), (0.5, 0.0)],
    "beetle": [(-0.47, 0.02), (-0.3, -0.12), (-0.1, -0.29), (0.1, -0.25), (0.22, -0.08), (0.42, -0.03)],
}
GLASS = dict(sedan=(-0.24, 0.19), hatchback=(-0.35, 0.19), van=(-0.4, 0.33), pickup=(0.01, 0.22), beetle=(-0.2, 0.15))


def car(hand: Hand) -> Part:
    """A car from the side: body, wheels, and mostly windows, a door, lamps."""
    low, r = hand.between(0.14, 0.2), hand.between(0.075, 0.105)
    wheels = (-hand.between(0.24, 0.34), hand.between(0.24, 0.34))
    kind = hand.pick(sedan=4, hatchback=3, van=2, pickup=2, convertible=1, beetle=2, stacked=3)
    if kind == "stacked":
        body, windows = stacked_car(hand, low)
    else:
        outline = np.array(CARS[kind]) * [1.0, hand.between(0.85, 1.2)]
        outline += hand.rng.normal(0.0, 0.018, outline.shape)
        over = (outline[0, 0], low), *outline, (0.5, low)
        body = car_body(hand, smooth(*over) if kind == "beetle" else np.array(over), wheels, r)
        roof, belt = outline[:, 1].min(), 0.5 * (outline[0, 1] + outline[-1, 1])
        if kind in GLASS:
            windows = car_windows(hand, *GLASS[kind], roof + 0.04, belt - 0.01)
        else:  # a windscreen, and a driver or a seat
            lean, high = hand.between(0.06, 0.14), hand.between(0.16, 0.24)
            windows = hand.line((0.14, -0.06), (0.14 - lean, -0.06 - high))
            if hand.chance(0.6):
                windows += hand.loop(-0.1, -0.16, 0.07, 0.08) + hand.line((-0.1, -0.08), (-0.1, 0))
            else:
                windows += hand.line((-0.24, 0), (-0.28, -0.16), (-0.2, -0.17), (-0.15, 0))
    tyres = joined(hand.loop(x, low, r) for x in wheels)
    hub = hand.pick(none=8, dot=2, ring=1)
    if hub != "none":
        tyres += joined(hand.dot(x, low) if hub == "dot" else hand.loop(x, low, 0.4 * r) for x in wheels)
    extras = hand.line((-0.02, 0.04), (0.05, 0.04)) if hand.chance(0.2) else []  # a door handle
    door = hand.between(-0.03, 0.03) if hand.chance(0.2) else None
    extras += hand.line((door, 0), (door, low)) if door is not None else []
    extras += hand.loop(0.44, 0.06, 0.03, 0.035) if hand.chance(0.15) else []  # a head lamp
    rest = hand.shuffled(windows, tyres, extras) if hand.chance(0.5) else tyres + windows + extras
    return hand.mirrored(0.45, body + rest if hand.chance(0.85) else tyres + body + windows + extras)


def car_body(hand: Hand, over: np.ndarray, wheels: Point, r: float) -> Part:
    """The outline whose upper line is `over`: closed by a line, by wheel arches, or by pieces."""
    low = over[0, 1]
    arches = [ellipse(x, low, 1.25 * r, 1.25 * r, 0, -pi) for x in wheels[::-1]]
    stops = over[0, 0], wheels[0] - r, wheels[0] + r, wheels[1] - r, wheels[1] + r, over[-1, 0]
    first, middle, last = ([(a, low), (b, low)] for a, b in zip(stops[::2], stops[1::2], strict=True))
    return hand.one(
        closed=(4, lambda: hand.closed(over)),
        arches=(1, lambda: hand.closed(over, *arches)),
        pieces=(3, lambda: hand.along(first[::-1], over[1:-1], last[::-1]) + hand.line(*middle)),
    )


def stacked_car(hand: Hand, low: float) -> tuple[Part, Part]:
    """A box of a body with a cabin on top, and the windows in it."""
    w, top, roof = hand.between(0.44, 0.52), hand.between(-0.08, 0), -hand.between(0.22, 0.34)
    left, right, inset = -hand.between(0.2, 0.36), hand.between(0.12, 0.3), hand.between(0.05, 0.13)
    if hand.chance(0.4):
        corners = (0.8 * left, 0.7 * roof), (0.5 * (left + right), roof), (0.8 * right, 0.7 * roof)
        cabin = hand.curve((left, top), *corners, (right, top))
    else:
        cabin = hand.line((left, top), (left + inset, roof), (right - inset, roof), (right, top))
    windows = car_windows(hand, left + 0.05, right - 0.05, roof + 0.06, top)
    return hand.box(-w, top, w, low) + cabin, windows


def car_windows(hand: Hand, left: float, right: float, top: float, low: float) -> Part:
    """Side windows between `left` and `right`: one, one with a bar, two, only the bar, or none."""
    inset, middle = hand.between(0.04, 0.09), 0.5 * (left + right) + hand.between(-0.04, 0.04)
    left, right = left + 0.02, right - 0.02
    rear, front = [(left, low), (left + inset, top)], [(right - inset, top), (right, low)]
    post, after = [(middle - 0.02, top), (middle - 0.02, low)], [(middle + 0.02, low), (middle + 0.02, top)]
    return hand.one(
        one=(4, lambda: hand.polygon(*rear, *front)),
        barred=(3, lambda: hand.polygon(*rear, *front) + hand.line((middle, top), (middle, low))),
        two=(2, lambda: hand.polygon(*rear, *post) + hand.polygon(*after, *front)),
        bar=(3, lambda: hand.line((middle, top - 0.03), (middle, low)) + hand.line((left, low), (right, low))),
        none=(3, list),
    )


CATEGORIES: dict[str, Callable[[Hand], Part]] = {f.__name__: f for f in (cat, fish, house, sailboat, flower, car)}


def draw(category: str, rng: np.random.Generator) -> np.ndarray:
    """Draw one doodle as QuickDraw's stroke-3, int16 [n_points, 3] in a box of 255."""
    while True:
        strokes = CATEGORIES[category](Hand(rng))
        # The page lies askew, and people draw too broad or too narrow without noticing.
        angle, stretch, slant = rng.normal(0.0, 0.05), rng.uniform(0.88, 1.14), rng.normal(0.0, 0.04)
        page = np.array([(stretch, 0), (slant, 1)]) @ np.array([(cos(angle), sin(angle)), (-sin(angle), cos(angle))])
        lines = simplify_drawing([stroke @ page for stroke in strokes])
        if len(lines) in STROKES and sum(map(len, lines)) <= MAX_POINTS:
            return lines_to_strokes([line - lines[0][0] for line in lines]).astype(np.int16)


def make_category(category: str, seed: int, counts: dict[str, int]) -> dict[str, list[np.ndarray]]:
    """Draw `counts[split]` doodles for every split.

    Each category and split has random numbers of its own: to add a category or cut a count changes no other.
    """
    rngs = {split: np.random.default_rng([seed, zlib.crc32(f"{category}/{split}".encode())]) for split in counts}
    return {split: [draw(category, rngs[split]) for _ in range(count)] for split, count in counts.items()}


def parse_args(argv: list[str] | None = None):
    """The flags; see the module's docstring."""
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("datasets/npz"), help="directory of the files")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    args = parser.parse_args(argv)
    if args.seed < 0:
        raise ValueError(f"--seed {args.seed}: expected 0 or more")
    return args


def main(argv: list[str] | None = None) -> int:
    """Write `<out>/doodle_<category>.npz` for every category that is not there."""
    args = parse_args(argv)
    for category in CATEGORIES:
        path = args.out / f"doodle_{category}.npz"
        if path.exists():
            print(f"{path} exists; it is left as it is")
            continue
        strokes = make_category(category, args.seed, SPLITS)
        save_strokes(path, strokes)
        points = [len(drawing) for drawing in strokes["train"]]
        print(f"{path}: {np.mean(points):.1f} points per drawing, at most {max(points)}")
    return 0


if __name__ == "__main__":
    run_script(main)
