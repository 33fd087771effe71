"""Draws the six categories of doodles that come with the project: seeded, by no person.

    python datasets/make_doodles.py [--out datasets/npz] [--seed N] [--sheet doodles.png]

A doodle is a list of strokes. Each category is one function that chooses a *kind* of cat or house, its
proportions and the order of its parts; a `Hand` draws the parts the way a hurried person does; QuickDraw's
recipe makes stroke-3 of them. Units: a doodle is about 1 across, x to the right, y downward; angles are in
radians from +x towards +y, so -pi/2 is up.
"""

import argparse
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import pi
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline

# utils.py lives one directory up, and a script's own directory is all that Python looks in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quickdraw_recipe import resample_line, simplify_drawing

from utils import lines_to_strokes, run_script, strokes_to_lines

Part = list[np.ndarray]  # strokes [n, 2] that belong together

SPLITS = {"train": 1000, "valid": 100, "test": 100}
DEFAULT_SEED = 2026
FINE = 0.01  # spacing of the points of a raw line
STROKES, MAX_POINTS = range(3, 10), 60  # an LSTM has to learn these in minutes; who drew more is asked again


# ---- shapes: points of an ideal line ---------------------------------------------------------------------


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 2 * pi) -> np.ndarray:
    """Points [n, 2] of the ellipse around (x, y), from angle `start` to `end` (either way round)."""
    angles = np.linspace(start, end, 60)
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def smooth(*points: tuple[float, float], closed: bool = False) -> np.ndarray:
    """Points [n, 2] of the smooth line through `points`; a closed one ends where it began."""
    knots = np.array([*points, points[0]] if closed else points, dtype=float)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(knots, axis=0).T))])
    spline = CubicSpline(along, knots, bc_type="periodic" if closed else "natural")
    return spline(np.linspace(0.0, along[-1], 16 * len(knots)))


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """The four corners [4, 2] of a rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def zigzag(left: float, right: float, low: float, high: float, teeth: int) -> np.ndarray:
    """A line [2 * teeth + 1, 2] from left to right that goes up to `high` and back to `low` `teeth` times."""
    x = np.linspace(left, right, 2 * teeth + 1)
    return np.stack([x, np.where(np.arange(len(x)) % 2, high, low)], axis=1)


# ---- the hand --------------------------------------------------------------------------------------------


@dataclass
class Hand:
    """One person in one mood: makes the choices, and draws every line with the same habits and sloppiness."""

    rng: np.random.Generator
    slop: float = field(init=False)  # 0.4 careful ... 2.5 in a great hurry
    corner: float = field(init=False)  # length over which corners are rounded off
    clockwise: bool = field(init=False)

    def __post_init__(self) -> None:
        self.slop = float(1.15 * np.exp(self.rng.normal(0.0, 0.42)))
        self.corner = self.between(0.03, 0.08) if self.chance(0.25) else 0.02
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

    def shuffled(self, *parts: Part) -> Part:
        """The strokes of `parts`, the parts in any order."""
        return joined(parts[i] for i in self.rng.permutation(len(parts)))

    def line(self, *points: tuple[float, float]) -> Part:
        """One open stroke along `points` (straight from corner to corner, each corner a little off)."""
        corners = np.array(points) + self.rng.normal(0.0, 0.008 * self.slop, (len(points), 2))
        return [self._trace(corners[::-1] if self.chance(0.15) else corners)]

    def curve(self, *points: tuple[float, float]) -> Part:
        """One open stroke that bends smoothly through `points`."""
        jitter = self.rng.normal(0.0, 0.006 * self.slop, (len(points), 2))
        return self.along(smooth(*(np.array(points) + jitter)))

    def along(self, points: np.ndarray) -> Part:
        """One open stroke along the given points [n, 2]."""
        return [self._trace(points[::-1] if self.chance(0.15) else points)]

    def polygon(self, *points: tuple[float, float]) -> Part:
        """A closed outline with corners: one stroke, or two when the pen was lifted at a corner."""
        corners = np.array(points) + self.rng.normal(0.0, 0.01 * self.slop, (len(points), 2))
        around = self._from_the_top(corners)
        if len(points) > 3 and self.chance(0.12):
            cut = int(self.rng.integers(1, len(points)))
            return [self._trace(around[: cut + 1]), self._trace(around[cut:])]
        return [self._close(around)]

    def closed(self, points: np.ndarray) -> Part:
        """A closed outline through `points` [n, 2], in one stroke."""
        return [self._close(self._from_the_top(points))]

    def loop(self, x: float, y: float, rx: float, ry: float) -> Part:
        """A round shape around (x, y): an ellipse, dented as hands draw them."""
        angles = np.linspace(0.0, 2 * pi, 60, endpoint=False)
        dents = self.rng.normal(0.0, 0.025 * self.slop, (2, 2))
        waves = [(np.cos(k * angles), np.sin(k * angles)) for k in (2, 3)]
        radius = 1.0 + np.einsum("kc,kcn->n", dents, np.array(waves))
        x, y = x + rx * radius * np.cos(angles), y + ry * radius * np.sin(angles)
        return self.closed(np.stack([x, y], axis=1))

    def dot(self, x: float, y: float, length: float = 0.035) -> Part:
        """A short dab of the pen."""
        angle = self.rng.normal(pi / 2, 0.5)
        half = 0.5 * length * self.between(0.75, 1.25) * np.array([np.cos(angle), np.sin(angle)])
        return [np.array([(x, y) - half, (x, y) + half])]

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


def joined(parts: Iterable[Part]) -> Part:
    """The strokes of all `parts`, one after the other."""
    return [stroke for part in parts for stroke in part]


def mirrored(strokes: Part) -> Part:
    """The same strokes facing the other way."""
    return [stroke * [-1, 1] for stroke in strokes]


# ---- cat -------------------------------------------------------------------------------------------------


def cat(hand: Hand) -> Part:
    """A cat: its face alone, sitting towards us, or standing sideways."""
    kind = hand.pick(face=5, sitting=3, standing=3)
    if kind == "face":
        return cat_head(hand, 0.0, 0.0, hand.between(0.36, 0.42), portrait=True)
    if kind == "sitting":
        r = hand.between(0.2, 0.27)
        head, body = cat_head(hand, 0.0, -0.34, r, portrait=False), sitting_cat(hand, r)
    else:
        r = hand.between(0.16, 0.22)
        x, y = -0.36 - hand.between(0.0, 0.08), hand.between(-0.28, -0.08)
        head, body = cat_head(hand, x, y, r, portrait=False), standing_cat(hand, x, y, r)
    strokes = head + body if hand.chance(0.8) else body + head
    return mirrored(strokes) if hand.chance(0.5) else strokes


def cat_head(hand: Hand, x: float, y: float, r: float, portrait: bool) -> Part:
    """A head of radius about `r` with ears, eyes and what else there is room for."""
    rx, outer, inner = r * hand.between(0.95, 1.25), hand.between(0.75, 1.0), hand.between(0.15, 0.4)
    rounded, tip = hand.chance(0.2), (hand.between(0.65, 1.0), hand.between(1.4, 1.75))

    def ear(side: int) -> np.ndarray:
        """From the outer end to the tip to the inner end."""
        ends = [(x + side * rx * np.sin(angle), y - r * np.cos(angle)) for angle in (outer, inner)]
        points = [ends[0], (x + side * rx * tip[0], y - r * tip[1] * (0.9 if rounded else 1.0)), ends[1]]
        return smooth(*points) if rounded else np.array(points)

    if hand.chance(0.5):
        chin = ellipse(x, y, rx, r, outer - pi / 2, 1.5 * pi - outer)
        outline = hand.closed(np.concatenate([ear(-1), ear(1)[::-1], chin[1:-1]]))
    else:
        outline = hand.loop(x, y, rx, r) + hand.along(ear(-1)) + hand.along(ear(1)[::-1])
    if portrait:
        eyes = cat_eyes(hand, x, y - 0.1 * r, 0.4 * rx, r, hand.pick(dot=6, circle=1, line=1.5, arc=0.5))
        muzzle = cat_muzzle(hand, x, y, r, hand.pick(nose_w=1, y=1, w=2, nose=2))
        kind = hand.pick(sides=6, vees=2, through=1, none=0 if rounded else 2)  # round ears alone: a bear
        parts = eyes, muzzle, cat_whiskers(hand, x, y, rx, r, kind)
        return outline + (hand.shuffled(*parts) if hand.chance(0.3) else joined(parts))
    kind = hand.pick(eyes=2, smile=2, vees=2, through=1, blank=1)
    eyes = [] if kind == "blank" else cat_eyes(hand, x, y - 0.1 * r, 0.4 * rx, r, "dot")
    smile = cat_muzzle(hand, x, y, r, "smile") if kind == "smile" else []
    return outline + eyes + smile + cat_whiskers(hand, x, y, rx, r, kind)


def cat_eyes(hand: Hand, x: float, y: float, apart: float, r: float, kind: str) -> Part:
    """Two eyes of one kind."""
    size, eyes = r * hand.between(0.1, 0.19), []
    for at in (x - apart, x + apart):
        if kind == "dot":
            eyes += hand.dot(at, y, max(0.035, 0.14 * r))
        elif kind == "circle":
            eyes += hand.loop(at, y, size, size)
        elif kind == "line":
            eyes += hand.line((at, y - size), (at, y + size))
        else:
            eyes += hand.curve((at - size, y + 0.4 * size), (at, y - 0.6 * size), (at + size, y + 0.4 * size))
    return eyes


def cat_muzzle(hand: Hand, x: float, y: float, r: float, kind: str) -> Part:
    """Nose and mouth, or one of them."""
    n, w = r * hand.between(0.08, 0.14), r * hand.between(0.2, 0.38)
    top, low = y + 0.2 * r, y + r * hand.between(0.42, 0.55)
    nose = [(x - n, top), (x + n, top), (x, top + 1.3 * n)]
    mouth = [(x - w, low - 0.1 * r), (x - 0.5 * w, low + 0.05 * r), (x, low - 0.1 * r)]
    mouth += [(2 * x - a, b) for a, b in mouth[1::-1]]
    if kind == "nose_w":
        return hand.polygon(*nose) + hand.curve(*mouth)
    if kind == "y":
        return hand.line(nose[2], *nose, (x, low)) + hand.curve(mouth[0], (x, low), mouth[-1])
    if kind == "smile":
        return hand.curve(mouth[0], (x, low), mouth[-1])
    return hand.curve(*mouth) if kind == "w" else hand.polygon(*nose)


def cat_whiskers(hand: Hand, x: float, y: float, rx: float, r: float, kind: str) -> Part:
    """Whiskers: two or three on both "sides", one stroke a side ("vees"), right "through", or none."""
    fan, far, near = hand.between(0.12, 0.3), hand.between(1.15, 1.55), hand.between(0.35, 0.55)

    def at(across: float, row: float) -> tuple[float, float]:
        return x + across * rx, y + r * (0.3 + row)

    if kind == "sides":
        rows = (-1, 1) if hand.chance(0.75) else (-1, 0, 1)
        places = [(side, row) for side in (-1, 1) for row in rows]
        return joined(hand.line(at(side * near, 0.1 * k), at(side * far, fan * k)) for side, k in places)
    if kind == "vees":
        ends = ((far, -fan), (near, 0.0), (far, fan))
        return joined(hand.line(*[at(side * a, b) for a, b in ends]) for side in (-1, 1))
    if kind == "through":
        return joined(hand.line(at(-far, 0.13 * k), at(far, -0.13 * k)) for k in (-1, 1))
    return []


def cat_tail(hand: Hand, x: float, y: float) -> Part:
    """A tail that begins at (x, y) and goes right and up."""
    a, b = hand.between(0.14, 0.26), hand.between(0.25, 0.45)
    kind = hand.pick(curled=2, bent=2, hook=2, straight=1)
    if kind == "straight":
        return hand.line((x, y), (x + 1.2 * a, y - 0.8 * b))
    if kind == "curled":
        turns = [(a, 0.02), (1.35 * a, -0.6 * b), (0.8 * a, -b), (0.4 * a, -0.7 * b), (0.8 * a, -0.5 * b)]
    elif kind == "bent":
        turns = [(a, -0.05), (a, -0.6 * b), (1.5 * a, -b)]
    else:
        turns = [(0.3 * a, -0.7 * b), (0.8 * a, -b), (1.2 * a, -0.7 * b)]
    return hand.curve((x, y), *[(x + dx, y + dy) for dx, dy in turns])


def sitting_cat(hand: Hand, r: float) -> Part:
    """What is below the head (around (0, -0.34)) of a cat that sits and looks at us."""
    w, low, neck = hand.between(0.2, 0.34), hand.between(0.4, 0.55), -0.34 + 0.8 * r
    if hand.chance(0.6):
        half = [(0.55 * r, neck), (0.85 * w, 0.5 * (neck + low)), (w, low - 0.08), (0.75 * w, low)]
        body = hand.curve(*[(-a, b) for a, b in half], *half[::-1])
    else:
        body = hand.loop(0.0, 0.5 * (neck + low), w, 0.5 * (low - neck) + 0.03)
    legs = hand.pick(lines=4, feet=1, none=3)
    gap, knee = hand.between(0.05, 0.1), hand.between(0.1, 0.3)
    feet = []
    if legs == "lines":
        feet = hand.line((-gap, knee), (-gap, low)) + hand.line((gap, knee), (gap, low))
    elif legs == "feet":
        feet = hand.loop(-0.5 * w, low, 0.4 * w, 0.06) + hand.loop(0.5 * w, low, 0.4 * w, 0.06)
    return body + hand.shuffled(feet, cat_tail(hand, 0.85 * w, low - 0.1))


def standing_cat(hand: Hand, x: float, y: float, r: float) -> Part:
    """Body, legs and tail of a cat that stands, its head of radius `r` around (x, y) on the left."""
    rump, belly, ground = hand.between(0.28, 0.42), hand.between(0.14, 0.22), hand.between(0.36, 0.5)
    chest, back, leg = x + 0.4 * r, hand.between(-0.12, 0.0), hand.between(0.06, 0.11)
    if hand.chance(0.5):
        front = [(chest + leg, belly), (chest + leg, ground), (chest, ground), (chest - 0.02, y + 0.9 * r)]
        rear = [(rump, back), (rump + 0.03, ground), (rump - leg, ground), (rump - leg, belly)]
        body = hand.line((x + 0.9 * r, back), *rear, *front)
        return hand.shuffled(body, cat_tail(hand, rump, back + 0.03))
    middle = 0.5 * (chest + rump)
    body = hand.loop(middle, 0.5 * (back + belly), rump - middle, 0.5 * (belly - back) + 0.03)
    half = 0.68 * (rump - middle)
    legs: Part = []
    for at in (middle - half, middle - half + 1.2 * leg, middle + half - 1.2 * leg, middle + half):
        legs += hand.line((at, belly - 0.02), (at + hand.between(-0.03, 0.03), ground))
    return body + hand.shuffled(legs, cat_tail(hand, rump - 0.02, 0.5 * (back + belly)))


# ---- fish ------------------------------------------------------------------------------------------------


def fish(hand: Hand) -> Part:
    """A fish from the side: one crossing line or a body with a tail; an eye, some gills, fins, marks."""
    half, h = hand.between(0.32, 0.42), hand.between(0.17, 0.34)  # the nose is at (-half, 0)
    up, tail = h * hand.between(0.8, 1.1), hand.between(0.16, 0.28)
    kind = hand.pick(ribbon=3, oval=3, lens=3)
    if kind == "ribbon":
        spread = hand.between(0.14, 0.26)
        ends = (half + tail, -spread), (half + 0.9 * tail, spread)
        below = [(half, 0.0), (0.25 * half, 0.85 * h), (-0.5 * half, 0.9 * h), (-half, 0.0)]
        above = [(-0.5 * half, -0.9 * up), (0.25 * half, -0.85 * up), (half, 0.0)]
        body = hand.curve(ends[0], *below, *above, ends[1])
        close = hand.pick(open=3, straight=4, hollow=3)
        if close != "open":
            middle = (half + (0.95 if close == "straight" else 0.5) * tail, 0.0)
            body += hand.curve(ends[0], middle, ends[1])
    elif kind == "oval":
        body = hand.loop(0.0, 0.0, half, 0.9 * h) + fish_tail(hand, half - 0.03, tail)
    else:
        top = smooth((-half, 0.0), (-0.3 * half, -0.9 * up), (0.4 * half, -0.6 * up), (half, 0.0))
        low = smooth((-half, 0.0), (-0.3 * half, 0.9 * h), (0.4 * half, 0.6 * h), (half, 0.0))
        around = np.concatenate([top, low[-2:0:-1]])
        body = hand.closed(around) if hand.chance(0.5) else hand.along(top) + hand.along(low)
        body += fish_tail(hand, half - 0.02, tail)
    x, y = -half * hand.between(0.55, 0.7), -0.25 * h
    eye = hand.dot(x, y) if hand.chance(0.45) else hand.loop(x, y, *[hand.between(0.022, 0.05)] * 2)
    strokes = body + hand.shuffled(eye, fish_marks(hand, half, h), fish_fins(hand, half, h))
    return mirrored(strokes) if hand.chance(0.45) else strokes


def fish_tail(hand: Hand, x: float, long: float) -> Part:
    """A tail to the right of (x, 0)."""
    up, low, end = hand.between(0.13, 0.28), hand.between(0.13, 0.28), x + long
    kind = hand.pick(triangle=3, forked=3, open=1, lobes=2)
    if kind == "triangle":
        return hand.polygon((x, 0.0), (end, -up), (end, low))
    if kind == "forked":
        return hand.polygon((x, 0.0), (end, -up), (x + long * hand.between(0.45, 0.75), 0.0), (end, low))
    if kind == "open":
        return hand.line((end, -up), (x, 0.0), (end, low))
    waist, lobes = x + 0.6 * long, [(x, 0.0)]
    lobes += [(waist, -up), (end, -0.8 * up), (waist, 0.0), (end, 0.8 * low), (waist, low)]
    return hand.closed(smooth(*lobes, closed=True)[:-1])


def fish_marks(hand: Hand, half: float, h: float) -> Part:
    """Gill and mouth, and sometimes scales or stripes."""
    marks: Part = []
    if hand.chance(0.5):
        x, bend = -half * hand.between(0.25, 0.4), hand.between(0.03, 0.08)
        marks += hand.curve((x, -0.5 * h), (x + bend, 0.0), (x, 0.5 * h))
    if hand.chance(0.5):
        x, y, wide = -0.95 * half, 0.2 * h, hand.between(0.1, 0.2) * half
        marks += hand.curve((x, y), (x + wide, y + 0.1 * h), (x + 1.8 * wide, y))
    kind = hand.pick(none=4, scales=2, stripes=2)
    at = np.linspace(-0.1, 0.5, int(hand.rng.integers(2, 4)))
    if kind == "scales":
        for k, x in enumerate(half * at):
            y, s = h * (0.25 if k % 2 else -0.2), hand.between(0.2, 0.3) * h
            marks += hand.curve((x, y - s), (x + s, y), (x, y + s))
    elif kind == "stripes":
        for x in half * at:
            reach = 0.75 * h * (1 - (x / half) ** 2)
            marks += hand.line((x, -reach), (x + hand.between(-0.02, 0.04), reach))
    return marks


def fish_fins(hand: Hand, half: float, h: float) -> Part:
    """A fin on the back, one below, one on the side: any of them or none."""
    fins: Part = []
    for side, probability in ((-1, 0.45), (1, 0.35)):
        if hand.chance(probability):
            x, wide, tall = hand.between(-0.1, 0.1), hand.between(0.12, 0.25), hand.between(0.1, 0.18)
            y = side * 0.85 * h
            points = (x - 0.5 * wide, y), (x + 0.4 * wide, y + side * tall), (x + 0.6 * wide, 0.9 * y)
            fins += hand.curve(*points) if hand.chance(0.4) else hand.line(*points)
    if hand.chance(0.2):
        x = hand.between(-0.1, 0.05)
        fins += hand.line((x, 0.02), (x + 0.13, -0.04), (x + 0.12, 0.1), (x, 0.04))
    return fins


# ---- house -----------------------------------------------------------------------------------------------


def house(hand: Hand) -> Part:
    """A house from the front, some with a side wall: roof, walls, a door, windows, perhaps a chimney."""
    w, top, low = hand.between(0.26, 0.44), hand.between(-0.12, 0.05), 0.45
    peak, eave = top - hand.between(0.22, 0.4), hand.between(0.0, 0.1)
    kind = hand.pick(gable=5, whole=2, hip=2, flat=1, deep=2)
    if kind == "whole":  # walls and roof in one line, then the line between them
        outline = hand.polygon((-w, top), (0.0, peak), (w, top), (w, low), (-w, low))
        outline += hand.line((-w, top), (w, top)) if hand.chance(0.8) else []
    else:
        walls = hand.polygon(*box(-w, top, w, low))
        if kind == "hip":
            ridge = w * hand.between(0.4, 0.75)
            roof = hand.line((-w - eave, top), (-ridge, peak), (ridge, peak), (w + eave, top))
        elif kind == "flat":
            roof = hand.polygon(*box(-w - eave, top - hand.between(0.06, 0.12), w + eave, top))
        elif hand.chance(0.5):
            roof = hand.line((-w - eave, top), (hand.between(-0.05, 0.05), peak), (w + eave, top))
        else:
            roof = hand.polygon((-w - eave, top), (hand.between(-0.05, 0.05), peak), (w + eave, top))
        outline = walls + roof if hand.chance(0.6) else roof + walls
    if kind == "deep":
        deep, rise = hand.between(0.3, 0.5), hand.between(0.0, 0.06)
        ridge, eaves, ground = (deep, peak - rise), (w + deep, top - rise), (w + deep, low - rise)
        outline += hand.line((0.0, peak), ridge, eaves, ground, (w, low))
        outline += hand.line((w, top), (w + deep, top - rise)) if hand.chance(0.8) else []
    openings, chimney = house_openings(hand, w, top, low), []
    if kind not in ("flat", "deep") and hand.chance(0.45):
        chimney = house_chimney(hand, w, top, peak)
    strokes = outline + hand.shuffled(openings, chimney)
    return mirrored(strokes) if hand.chance(0.5) else strokes


def house_chimney(hand: Hand, w: float, top: float, peak: float) -> Part:
    """A chimney on the slope of the roof, some of them smoking."""
    left, wide = w * hand.between(0.35, 0.5), w * hand.between(0.18, 0.26)
    right, high, slope = left + wide, peak - hand.between(-0.02, 0.12), (top - peak) / w
    chimney = hand.line((left, peak + slope * left), (left, high), (right, high), (right, peak + slope * right))
    if hand.chance(0.2):
        sway = left + 0.5 * wide + np.array([0.0, 0.05, -0.01, 0.05])
        chimney += hand.curve(*zip(sway, high - np.array([0.03, 0.09, 0.15, 0.22]), strict=True))
    return chimney


def house_openings(hand: Hand, w: float, top: float, low: float) -> Part:
    """A door, and windows where it leaves room."""
    place = hand.pick(middle=3, left=2, right=1)
    x = {"middle": 0.0, "left": -0.45 * w, "right": 0.45 * w}[place]
    door = house_door(hand, x, low, w * hand.between(0.15, 0.23), (low - top) * hand.between(0.45, 0.68))
    size, high = w * hand.between(0.15, 0.22), top + hand.between(0.28, 0.38) * (low - top)
    if place == "middle":
        places = [-0.62 * w, 0.62 * w] if hand.chance(0.8) else [-0.62 * w]
    elif hand.chance(0.75):  # a single window has room to be large
        places, size = [-x], 1.3 * size
    else:
        places = [-0.5 * x, -1.5 * x]
    crossed = hand.chance(0.5)
    windows = joined(window(hand, at, high, size, crossed) for at in places) if hand.chance(0.88) else []
    return door + windows if hand.chance(0.6) else windows + door


def house_door(hand: Hand, x: float, low: float, wide: float, tall: float) -> Part:
    """A door that stands on `low`, `wide` to either side of `x`: square or arched, with or without handle."""
    left, right, high = x - wide, x + wide, low - tall
    kind = hand.pick(open=5, closed=3, arched=2)
    if kind == "arched":
        arch = ellipse(x, high + wide, wide, wide, -pi, 0.0)
        door = hand.along(np.concatenate([[(left, low)], arch, [(right, low)]]))
    elif kind == "open":
        door = hand.line((left, low), (left, high), (right, high), (right, low))
    else:
        door = hand.polygon(*box(left, high, right, low))
    return door + (hand.dot(x + 0.6 * wide, low - 0.45 * tall) if hand.chance(0.35) else [])


def window(hand: Hand, x: float, y: float, size: float, crossed: bool) -> Part:
    """A square window, with or without its cross bars."""
    frame = hand.polygon(*box(x - size, y - size, x + size, y + size))
    if not crossed:
        return frame
    return frame + hand.line((x, y - size), (x, y + size)) + hand.line((x - size, y), (x + size, y))


# ---- sailboat --------------------------------------------------------------------------------------------


def sailboat(hand: Hand) -> Part:
    """A boat with a mast, one or two sails, and sometimes a flag or waves."""
    deck, x, top = hand.between(0.15, 0.25), hand.between(-0.12, 0.12), -hand.between(0.42, 0.55)
    foot = deck - hand.between(0.03, 0.09)
    hull, sails = boat_hull(hand, deck), boat_sails(hand, x, top, foot)
    mast = hand.line((x, top), (x, deck))
    kind = hand.pick(hull=5, mast=2, sails=2)
    order = {"hull": hull + mast + sails, "mast": mast + hull + sails, "sails": sails + mast + hull}[kind]
    extras: Part = []
    if hand.chance(0.25):
        w, h = hand.between(0.1, 0.16), hand.between(0.06, 0.1)
        pennant = (x, top - 0.02), (x + w, top - 0.02 + 0.5 * h), (x, top - 0.02 + h)
        extras += hand.line((x, top + h), (x, top - 0.02 - h)) + hand.line(*[(a, b - h) for a, b in pennant])
    if hand.chance(0.4):
        extras += boat_waves(hand, deck + hand.between(0.16, 0.26))
    return mirrored(order + extras) if hand.chance(0.5) else order + extras


def boat_hull(hand: Hand, deck: float) -> Part:
    """A hull below `deck`, its bow on the right when it has one."""
    w, h, inset = hand.between(0.36, 0.5), hand.between(0.14, 0.24), hand.between(0.08, 0.2)
    kind = hand.pick(trapezoid=4, bowl=3, bow=2, crescent=1)
    if kind == "trapezoid":
        return hand.polygon((-w, deck), (w, deck), (w - inset, deck + h), (-w + inset, deck + h))
    if kind == "bow":
        keel = (w - 1.5 * inset, deck + h), (-w + 0.3 * inset, deck + h)
        return hand.polygon((-w, deck), (1.1 * w, deck - 0.04), *keel)
    keel = (-0.6 * w, deck + 0.85 * h), (0.0, deck + h), (0.6 * w, deck + 0.85 * h)
    bowl = smooth((-w, deck), *keel, (w, deck))
    if kind == "bowl":
        return hand.closed(bowl) if hand.chance(0.6) else hand.along(bowl) + hand.line((-w, deck), (w, deck))
    inner = smooth((w, deck), (0.4 * w, deck + 0.35 * h), (-0.4 * w, deck + 0.35 * h), (-w, deck))
    return hand.closed(np.concatenate([bowl, inner[1:-1]]) - [0.0, 0.1 * h])


def boat_sails(hand: Hand, x: float, top: float, foot: float) -> Part:
    """One or two sails on the mast at `x`."""
    right, left = hand.between(0.25, 0.42), hand.between(0.18, 0.34)
    gap, start = hand.between(0.0, 0.03), top + hand.between(0.0, 0.06)
    kind = hand.pick(one=3, two=4, bulging=3, gaff=1)
    if kind == "gaff":
        peak = hand.between(0.0, 0.12)
        return hand.polygon((x, start + peak), (x + 0.75 * right, start), (x + right, foot), (x, foot))
    if kind == "bulging":
        belly = smooth((x + gap, start), (x + 0.75 * right, 0.5 * (start + foot)), (x + right, foot))
        main = hand.along(np.concatenate([belly, [(x + gap, foot)]]))
        front = smooth((x - gap, start), (x - 0.35 * left, 0.55 * (start + foot)), (x - left, foot))
        return main + (hand.along(np.concatenate([front, [(x - gap, foot)]])) if hand.chance(0.4) else [])
    main = (x + gap, start), (x + right, foot), (x + gap, foot)
    sails = hand.polygon(*main) if hand.chance(0.6) else hand.line(*main)
    if kind == "two":
        jib = (x - gap, start + hand.between(0.0, 0.15)), (x - left, foot), (x - gap, foot)
        sails += hand.polygon(*jib) if hand.chance(0.6) else hand.line(*jib)
    return sails


def boat_waves(hand: Hand, y: float) -> Part:
    """The sea: one wavy line, or two or three short ones."""
    if hand.chance(0.6):
        teeth, wide, high = int(hand.rng.integers(3, 6)), hand.between(0.5, 0.62), hand.between(0.03, 0.06)
        return hand.curve(*zigzag(-wide, wide, y + high, y - high, teeth))
    waves: Part = []
    for at in np.linspace(-0.4, 0.4, int(hand.rng.integers(2, 4))):
        depth = y + hand.between(0.0, 0.1)
        crest, trough = (at - 0.04, depth - 0.04), (at + 0.04, depth + 0.03)
        waves += hand.curve((at - 0.12, depth), crest, trough, (at + 0.12, depth - 0.02))
    return waves


# ---- flower ----------------------------------------------------------------------------------------------


def flower(hand: Hand) -> Part:
    """A flower on a stem: daisy, scalloped, pointed or a tulip; leaves, and a pot or grass below."""
    kind = hand.pick(daisy=3, scallop=5, star=2, tulip=6)
    y, r = -hand.between(0.24, 0.32), hand.between(0.2, 0.3)
    low = hand.between(0.4, 0.55)
    blossom, under = tulip(hand, y, 0.8 * r) if kind == "tulip" else round_blossom(hand, y, r, kind)
    sway = hand.between(-0.1, 0.1) if hand.chance(0.67) else 0.0
    bend, foot = (sway, 0.5 * (under + low)), (0.3 * sway, low)
    stem = hand.curve((0.0, under), bend, foot) if sway else hand.line((0.0, under), foot)
    sides = {"none": [], "left": [-1], "right": [1], "both": [-1, 1]}
    sides = sides[hand.pick(none=1 if kind == "tulip" else 4, left=3, right=3, both=6)]  # bare tulips are all alike
    leaves = joined(leaf(hand, 0.6 * sway, low - hand.between(0.1, 0.25), side) for side in sides)
    strokes = blossom + stem if hand.chance(0.8) else stem + blossom
    return strokes + hand.shuffled(leaves, flower_ground(hand, low))


def round_blossom(hand: Hand, y: float, r: float, kind: str) -> tuple[Part, float]:
    """A blossom around (0, y) seen from the front, and where its stem begins."""
    core, petals, turn = r * hand.between(0.3, 0.45), 5 + hand.chance(0.4), hand.between(0.0, 2 * pi)
    centre = hand.loop(0.0, y, core, core)
    if kind == "daisy":
        petals -= hand.chance(0.6)  # a stroke each
        wide = hand.between(0.75, 1.0) * core * 5.0 / petals
        leaves = []
        for angle in turn + np.arange(petals) * 2 * pi / petals:
            out, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
            base, far = core * out, r * hand.between(0.9, 1.1) * out
            sides = [base - 0.5 * wide * across, 0.7 * far - wide * across]
            sides += [far, 0.7 * far + wide * across, base + 0.5 * wide * across]
            leaves += hand.curve(*(np.array(sides) + [0.0, y]))
    else:
        depth = hand.between(0.3, 0.45)
        if kind == "star":
            angles = np.arange(2 * petals) * pi / petals
            radius = r * np.where(np.arange(2 * petals) % 2, 1.0, 1.0 - depth)
        else:
            angles = np.linspace(0.0, 2 * pi, 120, endpoint=False)
            radius = r * (1 - depth * (1 - np.abs(np.cos(0.5 * petals * angles)) ** 0.7))
        rim = [radius * np.cos(angles + turn), y + radius * np.sin(angles + turn)]
        leaves = hand.closed(np.stack(rim, axis=1))
    return (centre + leaves if hand.chance(0.7) else leaves + centre), y + r * hand.between(0.8, 1.0)


def tulip(hand: Hand, y: float, r: float) -> tuple[Part, float]:
    """A tulip around (0, y) from the side, and where its stem begins."""
    rim, tips, low = y - r * hand.between(0.3, 0.6), y - r * hand.between(1.0, 1.3), y + r
    half = [(r, rim - 0.2 * r), (0.95 * r, y + 0.4 * r)]
    cup = smooth(*[(-a, b) for a, b in half], (0.0, low), *half[::-1])
    kind = hand.pick(crown=3, rim=2, petals=2)
    if kind == "petals":  # a bud: a petal in the middle, half a petal on either side
        half = [(0.6 * r, y + 0.5 * r), (0.45 * r, rim)]
        return hand.along(cup) + hand.curve(*[(-a, b) for a, b in half], (0.0, tips), *half[::-1]), low
    crown = zigzag(-r, r, rim - 0.2 * r, rim + 0.3 * r, 1 + int(hand.rng.integers(1, 3)))[::-1]
    if kind == "rim":
        return hand.along(cup) + hand.line(*crown), low
    return hand.closed(np.concatenate([cup[:-1], crown[:-1]])), low


def leaf(hand: Hand, x: float, y: float, side: int) -> Part:
    """A leaf that grows from the stem at (x, y) to the left (side -1) or right."""
    long, rise, wide = side * hand.between(0.16, 0.3), hand.between(0.05, 0.2), hand.between(0.04, 0.08)
    tip, middle = (x + long, y - rise), (x + 0.5 * long, y - 0.5 * rise)
    if hand.chance(0.3):
        return hand.curve((x, y), (middle[0], middle[1] + wide), tip)
    up = smooth((x, y), (middle[0] - 0.1 * long, middle[1] - wide), tip)
    back = smooth(tip, (middle[0] + 0.1 * long, middle[1] + wide), (x, y))
    return hand.along(np.concatenate([up, back[1:]]))


def flower_ground(hand: Hand, y: float) -> Part:
    """What the flower stands in: nothing, a pot, grass or a line."""
    kind, w, h = hand.pick(none=7, pot=2, grass=1, line=1), hand.between(0.14, 0.22), hand.between(0.18, 0.26)
    if kind == "pot":
        return hand.polygon((-w, y), (w, y), (0.7 * w, y + h), (-0.7 * w, y + h))
    if kind == "grass":
        return hand.line(*zigzag(-1.6 * w, 1.6 * w, y + 0.02, y - 0.4 * h, int(hand.rng.integers(3, 5))))
    return hand.line((-1.8 * w, y), (1.8 * w, y)) if kind == "line" else []


# ---- car -------------------------------------------------------------------------------------------------

# Upper outlines of cars that drive to the right, from the rear over the roof to the front.
CARS = {
    "sedan": [(-0.5, -0.02), (-0.32, -0.04), (-0.2, -0.24), (0.12, -0.24), (0.26, -0.03), (0.49, 0.02)],
    "hatchback": [(-0.46, -0.08), (-0.38, -0.27), (0.1, -0.27), (0.26, -0.05), (0.47, 0.0)],
    "van": [(-0.5, -0.3), (0.28, -0.3), (0.42, -0.06), (0.5, -0.02)],
    "pickup": [(-0.52, -0.05), (-0.05, -0.05), (-0.04, -0.28), (0.18, -0.28), (0.28, -0.05), (0.51, -0.02)],
    "convertible": [(-0.5, -0.04), (-0.28, -0.06), (-0.22, 0.0), (0.08, 0.0), (0.14, -0.06), (0.5, 0.0)],
    "beetle": [(-0.47, 0.02), (-0.3, -0.12), (-0.1, -0.29), (0.1, -0.25), (0.22, -0.08), (0.42, -0.03)],
}
# Where their windows begin and end; a convertible has none.
GLASS = {
    "sedan": (-0.24, 0.19),
    "hatchback": (-0.35, 0.19),
    "van": (-0.4, 0.33),
    "pickup": (0.01, 0.22),
    "beetle": (-0.2, 0.15),
}


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
        rear, front = (outline[0, 0], low), (0.5, low)
        over = smooth(rear, *outline, front) if kind == "beetle" else np.array([rear, *outline, front])
        body = car_body(hand, over, wheels, r)
        roof, belt = outline[:, 1].min(), 0.5 * (outline[0, 1] + outline[-1, 1])
        convertible = kind == "convertible"
        windows = car_top(hand) if convertible else car_windows(hand, *GLASS[kind], roof + 0.04, belt - 0.01)
    tyres = joined(hand.loop(x, low, r, r) for x in wheels)
    hub = hand.pick(none=8, dot=2, ring=1)
    if hub != "none":
        tyres += joined(hand.dot(x, low) if hub == "dot" else hand.loop(x, low, 0.4 * r, 0.4 * r) for x in wheels)
    extras = car_extras(hand, low)
    rest = hand.shuffled(windows, tyres, extras) if hand.chance(0.5) else tyres + windows + extras
    strokes = body + rest if hand.chance(0.85) else tyres + body + windows + extras
    return mirrored(strokes) if hand.chance(0.45) else strokes


def car_body(hand: Hand, over: np.ndarray, wheels: tuple[float, float], r: float) -> Part:
    """The outline whose upper line is `over`: closed by a line, by wheel arches, or by pieces."""
    low = over[0, 1]
    kind = hand.pick(closed=4, arches=1, pieces=3)
    if kind == "closed":
        return hand.closed(over)
    if kind == "arches":
        arches = [ellipse(x, low, 1.25 * r, 1.25 * r, 0.0, -pi) for x in wheels[::-1]]
        return hand.closed(np.concatenate([over, *arches]))
    stops = over[0, 0], wheels[0] - r, wheels[0] + r, wheels[1] - r, wheels[1] + r, over[-1, 0]
    first, middle, last = [[(a, low), (b, low)] for a, b in zip(stops[::2], stops[1::2], strict=True)]
    return hand.along(np.concatenate([first[::-1], over[1:-1], last[::-1]])) + hand.line(*middle)


def stacked_car(hand: Hand, low: float) -> tuple[Part, Part]:
    """A box of a body with a cabin on top, and the windows in it."""
    w, top, roof = hand.between(0.44, 0.52), hand.between(-0.08, 0.0), -hand.between(0.22, 0.34)
    left, right, inset = -hand.between(0.2, 0.36), hand.between(0.12, 0.3), hand.between(0.05, 0.13)
    if hand.chance(0.4):
        corners = (0.8 * left, 0.7 * roof), (0.5 * (left + right), roof), (0.8 * right, 0.7 * roof)
        cabin = hand.curve((left, top), *corners, (right, top))
    else:
        cabin = hand.line((left, top), (left + inset, roof), (right - inset, roof), (right, top))
    windows = car_windows(hand, left + 0.05, right - 0.05, roof + 0.06, top)
    return hand.polygon(*box(-w, top, w, low)) + cabin, windows


def car_windows(hand: Hand, left: float, right: float, top: float, low: float) -> Part:
    """Side windows between `left` and `right`: one, one with a bar, two, only the bar, or none."""
    inset, middle = hand.between(0.04, 0.09), 0.5 * (left + right) + hand.between(-0.04, 0.04)
    left, right = left + 0.02, right - 0.02
    kind = hand.pick(one=4, barred=3, two=2, bar=3, none=3)
    if kind in ("one", "barred"):
        pane = hand.polygon((left, low), (left + inset, top), (right - inset, top), (right, low))
        return pane + (hand.line((middle, top), (middle, low)) if kind == "barred" else [])
    if kind == "two":
        rear = (left, low), (left + inset, top), (middle - 0.02, top), (middle - 0.02, low)
        front = (middle + 0.02, low), (middle + 0.02, top), (right - inset, top), (right, low)
        return hand.polygon(*rear) + hand.polygon(*front)
    if kind == "bar":
        return hand.line((middle, top - 0.03), (middle, low)) + hand.line((left, low), (right, low))
    return []


def car_top(hand: Hand) -> Part:
    """What sticks out of a convertible: a windscreen, and its driver or a seat."""
    lean, high = hand.between(0.06, 0.14), hand.between(0.16, 0.24)
    screen = hand.line((0.14, -0.06), (0.14 - lean, -0.06 - high))
    if hand.chance(0.6):
        return screen + hand.loop(-0.1, -0.16, 0.07, 0.08) + hand.line((-0.1, -0.08), (-0.1, 0.0))
    return screen + hand.line((-0.24, 0.0), (-0.28, -0.16), (-0.2, -0.17), (-0.15, 0.0))


def car_extras(hand: Hand, low: float) -> Part:
    """Any of a door handle, a door and a head lamp."""
    extras: Part = []
    if hand.chance(0.2):
        extras += hand.line((-0.02, 0.04), (0.05, 0.04))
    if hand.chance(0.2):
        x = hand.between(-0.03, 0.03)
        extras += hand.line((x, 0.0), (x, low))
    if hand.chance(0.15):
        extras += hand.loop(0.44, 0.06, 0.03, 0.035)
    return extras


# ---- drawings --------------------------------------------------------------------------------------------

CATEGORIES: dict[str, Callable[[Hand], Part]] = {
    "cat": cat,
    "fish": fish,
    "house": house,
    "sailboat": sailboat,
    "flower": flower,
    "car": car,
}


def draw(category: str, rng: np.random.Generator) -> np.ndarray:
    """Draw one doodle as QuickDraw's stroke-3, int16 [n_points, 3] in a box of 255."""
    while True:
        strokes = CATEGORIES[category](Hand(rng))
        # The page lies askew, and people draw too broad or too narrow without noticing.
        angle, stretch, slant = rng.normal(0.0, 0.05), rng.uniform(0.88, 1.14), rng.normal(0.0, 0.04)
        cos, sin = np.cos(angle), np.sin(angle)
        page = np.array([[stretch, 0.0], [slant, 1.0]]) @ np.array([[cos, sin], [-sin, cos]])
        lines = simplify_drawing([stroke @ page for stroke in strokes])
        if len(lines) in STROKES and sum(map(len, lines)) <= MAX_POINTS:
            from_first_point = [line - lines[0][0] for line in lines]
            return lines_to_strokes(from_first_point).astype(np.int16)


def make_category(category: str, seed: int, counts: dict[str, int]) -> dict[str, np.ndarray]:
    """Draw `counts[split]` doodles for every split, as object arrays.

    Each category and split has random numbers of its own: to add a category or cut a count changes no other.
    """
    splits = {}
    for split, count in counts.items():
        rng = np.random.default_rng([seed, zlib.crc32(f"{category}/{split}".encode())])
        splits[split] = np.empty(count, dtype=object)
        for i in range(count):
            splits[split][i] = draw(category, rng)
    return splits


def draw_sheet(path: Path, drawings: dict[str, list[np.ndarray]], size: int = 96) -> None:
    """Write a picture of `drawings`, a row for each category, each drawing `size` pixels, to look at."""
    columns = max(len(row) for row in drawings.values())
    sheet = Image.new("L", (2 * size * columns, 2 * size * len(drawings)), 255)
    pen = ImageDraw.Draw(sheet)
    for row, doodles in enumerate(drawings.values()):
        for column, strokes in enumerate(doodles):
            lines = strokes_to_lines(strokes)
            points = np.concatenate(lines)
            scale = 1.8 * size / np.ptp(points, axis=0).max()
            centre = np.array([column + 0.5, row + 0.5]) * 2 * size
            for line in lines:
                on_sheet = (line - 0.5 * (points.min(axis=0) + points.max(axis=0))) * scale + centre
                pen.line([tuple(point) for point in on_sheet], fill=0, width=3, joint="curve")
    sheet.resize((size * columns, size * len(drawings)), Image.Resampling.LANCZOS).save(path)


def main(argv: list[str] | None = None) -> int:
    """Write `<out>/doodle_<category>.npz` for every category, and a picture of some if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("datasets/npz"), help="directory of the files")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--sheet", type=Path, help="also write a picture of 16 test drawings a category here")
    args = parser.parse_args(argv)
    if args.seed < 0:
        raise ValueError(f"--seed {args.seed}: wanted 0 or more")
    args.out.mkdir(parents=True, exist_ok=True)
    sheet = {}
    for category in CATEGORIES:
        splits = make_category(category, args.seed, SPLITS)
        path = args.out / f"doodle_{category}.npz"
        if path.exists():
            print(f"{path} is there: left as it is")
        else:
            np.savez_compressed(path, **splits)
            points = [len(strokes) for strokes in splits["train"]]
            print(f"{path}: {np.mean(points):.1f} points a drawing, at most {max(points)}")
        sheet[category] = list(splits["test"][:16])
    if args.sheet:
        draw_sheet(args.sheet, sheet)
    return 0


if __name__ == "__main__":
    run_script(main)
