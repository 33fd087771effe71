"""Training drawings that go astray, so that a decoder learns to go on from whatever it has done. No TensorFlow here.

A decoder that was fed nothing but a person's drawings is lost once it has left a stroke out, gone over a line again or
dithered about its end, or put its pen down beside a line (exposure bias): it does so for ever. Here drawings do what
decoders do, some of it again and again. Nothing of that is learned, but what comes next is: the strokes that are left,
as the person drew them, or that the pen is lifted.
"""

import numpy as np

from utils import Batch, lines_to_strokes, strokes_to_lines

BEGIN_PROB = 0.5  # of a drawing that goes astray: some strokes come first, in any order
CUT_PROB, REVERSE_PROB = 0.3, 0.5  # of a stroke that comes first
AGAIN_MEAN = 1.0  # strokes that are gone over again
OFF = 0.25  # how far those lie off, in units: the standard deviation
DETOUR_PROB = 0.3  # of a stroke of a drawing that goes astray
MAX_DETOUR = 8  # points
BURST_PROB = 0.2  # that a detour goes on for long; that a drawing has a burst of strokes
BURST_POINTS = 100  # at most, of either
MISS_PROB = 0.15  # that the next beginning is missed, and the pen lifted again, each time: a dot beside it
LAND_PROB = 0.5  # that a stroke is begun beside its beginning, and led there
MISS_MEAN = 0.35  # units between where the pen comes down then and the beginning
CLOSED = 1.0  # how near its beginning a closed line ends, in units


def begin_anyhow(lines: list[np.ndarray], rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(lines that come first: some of ``lines``, whole or cut, some again; what is then left of all)."""
    count = rng.integers(len(lines) + 1)  # all, perhaps: then there is nothing to learn but the end
    chosen = rng.permutation(len(lines))[:count]
    begun, left = [], list(lines)
    for i in chosen:
        line, left[i] = lines[i], lines[i][:0]
        if len(line) > 2 and rng.random() < CUT_PROB:
            cut = rng.integers(1, len(line) - 1)
            line, left[i] = line[: cut + 1], line[cut:]
        begun.append(line[::-1] if rng.random() < REVERSE_PROB else line)
    for _ in range(rng.poisson(AGAIN_MEAN) if begun else 0):
        line = begun[rng.integers(len(begun))]
        first = rng.integers(len(line))
        again = line[first : first + 1 + rng.integers(len(line))][:: rng.choice([-1, 1])]
        again = again + rng.normal(0, OFF, 2) + rng.normal(0, OFF / 2, again.shape)
        begun.insert(rng.integers(len(begun)) + 1, again)
    return begun, [line for line in left if len(line)]


def make_detour(line: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A line ``[n, 2]`` on which the pen dithers, goes back or round again ``[m, 2]``; which points are learned."""
    many, last = 1 + rng.integers(BURST_POINTS if rng.random() < BURST_PROB else MAX_DETOUR), len(line) - 1
    is_closed = last > 1 and np.hypot(*(line[-1] - line[0])) < CLOSED
    if is_closed and rng.random() < 0.5:
        done, detour, rest = line, line[1:many], line[many : many + 1] if many < last else line[-1:]
        detour = detour + rng.normal(0, OFF / 2, detour.shape)
    else:
        i = last if rng.random() < 0.5 else rng.integers(last + 1)
        done, rest = line[: i + 1], line[i + 1 :] if i < last else line[-1:]
        if i and rng.random() < 0.5:
            detour = done[-2::-1][:many]
            detour = detour + rng.normal(0, OFF / 2, detour.shape)
        else:
            middle = line[i] + OFF * rng.random() * rng.normal(size=2)
            detour = middle + OFF * rng.exponential() * rng.normal(size=(many, 2))
    learned = np.ones(len(done) + len(detour) + len(rest), bool)
    is_end = len(done) == len(line)  # where the pen should have been lifted
    learned[len(done) - is_end : len(done) + len(detour)] = False
    return np.concatenate([done, detour, rest]), learned


def burst(lines: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Strokes of a decoder that is lost: a dot, or a bit of one of ``lines``, again and again, on it or beside it."""
    line = lines[rng.integers(len(lines))]
    size = 1 + rng.integers(min(len(line), MAX_DETOUR))
    first = rng.integers(len(line) - size + 1)
    middle, spread = line[first : first + size] + OFF * rng.normal(size=2), OFF * rng.exponential(2.0)
    count = 1 + rng.integers(BURST_POINTS // size)
    strokes = middle + spread * rng.normal(size=(count, 1, 2)) + rng.normal(0, OFF / 2, (count, size, 2))
    return [stroke[:: rng.choice([-1, 1])] for stroke in strokes]


def miss(beginning: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where a pen comes down ``[1, 2]`` that was to come down at ``beginning`` ``[1, 2]``."""
    angle = rng.uniform(0, 2 * np.pi)
    return beginning + rng.exponential(MISS_MEAN) * np.array([[np.cos(angle), np.sin(angle)]])


def misses(beginning: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Dots ``[1, 2]`` of a pen that is lifted again each time; none, mostly."""
    return [miss(beginning, rng) for _ in range(rng.geometric(1 - MISS_PROB) - 1)]


def land_astray(line: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A line that may be begun beside its beginning, and may have a detour; which points are learned."""
    learned = np.ones(len(line), bool)
    beginning = line[:1]
    if rng.random() < DETOUR_PROB:
        line, learned = make_detour(line, rng)
    if rng.random() < LAND_PROB:
        line, learned = np.concatenate([miss(beginning, rng), line]), np.append(False, learned)
    return line, learned


def go_astray(strokes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A stroke-3 drawing that goes astray, and which of its points are learned ``[n]``."""
    lines = strokes_to_lines(strokes)
    if not lines:
        return strokes, np.zeros(0, bool)
    drawn, left = begin_anyhow(lines, rng) if rng.random() < BEGIN_PROB else ([], lines)
    learned = [np.zeros(len(line), bool) for line in drawn]
    burst_at = rng.integers(len(left) + 1) if rng.random() < BURST_PROB else None
    for place in range(len(left) + 1):
        beginning = left[place][:1] if place < len(left) else rng.permutation(np.concatenate(lines))[:1]
        wrong = misses(beginning, rng) + (burst(drawn or lines, rng) if place == burst_at else [])
        drawn += wrong
        learned += [np.zeros(len(stroke), bool) for stroke in wrong]
        if place < len(left):
            line, of_line = land_astray(left[place], rng)
            drawn.append(line)
            learned.append(of_line)
    return lines_to_strokes(drawn), np.concatenate(learned)


def let_some_go_astray(batch: Batch, prob: float, max_points: int, rng: np.random.Generator) -> Batch:
    """Each drawing of a batch goes astray with ``prob``, but for what would have more than ``max_points`` then.

    Its bitmap stays that of the drawing as the person drew it.
    """
    ends = np.cumsum(batch.lengths)[:-1]
    drawings, learned = np.split(batch.points, ends), np.split(batch.learned, ends)
    for n in np.flatnonzero(rng.random(len(drawings)) < prob):
        drawing, of_drawing = go_astray(drawings[n], rng)
        if len(drawing) <= max_points:
            drawings[n], learned[n] = drawing.astype(np.float32), of_drawing
    lengths = np.array([len(drawing) for drawing in drawings], np.int32)
    return batch._replace(points=np.concatenate(drawings), lengths=lengths, learned=np.concatenate(learned))
