"""Ink-guided sampling: of several candidates for each stroke, the one is kept that the ink on the page asks for.

From the state after the strokes kept so far the model draws a few candidates, cool to hot, each until it lifts its pen.
Where a candidate begins or goes astray, that part is cut off. The first that is good enough is kept: it covers ink that
was not covered yet, and puts hardly any where there is none, or where a line is already; if none is, the best one. It
is moved onto the middle of the ink that it follows, and from there the model goes on. Where none gains anything, the
next candidates begin at ink that is left; where these do not, either, or no ink is left, the drawing ends. At last its
strokes are put into the order on which a few plain samples agree (hand_order.py).

Letters: N drawings, k candidates for each, K = N k, H x W pixels of a bitmap; positions are (x, y) in pixels.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy import ndimage
from skimage.morphology import skeletonize

from extensions import PixelAlignedFeatures, where_rows
from hand_order import order_strokes
from ink_scores import INK_BELOW
from model import START, Code, Model, draw_point, mixture_params, sample_batch
from utils import to_normal_strokes

UNIT_PIXELS = 48  # lengths below are in pixels of a bitmap of this side
REACH = 0.5  # a line covers ink within this distance, and within a pixel
MIN_SCORE = 0.6  # of a stroke that is kept
AGAIN_COST = 0.5  # of a pixel where a line is already; one where no ink is costs 1
CUT_GAIN, HEAD_GAIN = 1.0, 3.0  # a stroke ends sooner, or begins later, where that improves its score by as much
RETRACE = 5  # cells of a line's own that it may touch again
GOOD_ON_INK, GOOD_AGAIN = 0.9, 0.5  # shares of a stroke that is good enough: at least, at most
MIN_REST = 2.0  # length of what is left of a line that is worth a stroke
FIT_REACH = 2.0  # how far from the middle of ink a line may be that is moved there
FIT_SAMPLES, FIT_DAMPING = 8, 1.0  # of that: places per segment; the length of line that its points outweigh
FAR_COST, CHANCE = 0.5, 0.5  # of a place to begin at: of a page's side from the pen, of a random number
JOIN = 1.0  # a stroke that begins so near the end of the last one goes on with it
HANDS, HAND_TEMPERATURE, HAND_PEN_TEMPERATURE = 16, 0.5, 0.7  # plain samples that tell a drawing's order
PATIENCE = 12  # rounds in vain
MAX_STROKE = 60  # points of a candidate


class Verdict(NamedTuple):
    """Of each of K lines."""

    score: np.ndarray  # length of ink newly covered, less the length that is off ink, less some of that drawn again
    first: np.ndarray  # point at which it best begins
    count: np.ndarray  # points up to where it is best cut
    on_ink: np.ndarray  # share of its pixels
    again: np.ndarray  # share of its pixels

    def choose(self, candidates: int) -> np.ndarray:
        """Of every ``candidates`` in a row, the first that is good enough, else the best; -1: none gains anything."""
        score, _, _, on_ink, again = (field.reshape(-1, candidates) for field in self)
        good = (score >= MIN_SCORE) & (on_ink >= GOOD_ON_INK) & (again <= GOOD_AGAIN)
        chosen = np.where(good.any(axis=1), good.argmax(axis=1), score.argmax(axis=1))
        return np.where(score[np.arange(len(score)), chosen] >= MIN_SCORE, chosen, -1)


class Trace(NamedTuple):
    """The pixels that lines touch, in the order in which they are drawn."""

    line: np.ndarray  # [S]
    point: np.ndarray  # [S] number of the point at whose segment it is
    y: np.ndarray  # [S]
    x: np.ndarray  # [S]


class Page:
    """The ink of bitmaps uint8 ``[N, H, W]``, and which of it has been covered."""

    def __init__(self, images: np.ndarray):
        self.unit = min(images.shape[1:]) / UNIT_PIXELS
        self.ink = images < INK_BELOW
        self.distance = np.stack([ndimage.distance_transform_edt(~ink) for ink in self.ink])  # to the nearest ink
        self.covered = np.zeros(self.ink.shape, bool)
        self.in_vain = np.zeros(self.ink.shape, bool)  # where strokes began and gained nothing
        self.outermost = np.stack([_outermost(ink) for ink in self.ink])
        self.reach = max(REACH * self.unit, 1.0)  # in pixels of this page
        within = int(self.reach)
        disc = np.mgrid[-within : within + 1, -within : within + 1].reshape(2, -1)
        self.disc = disc[:, np.hypot(*disc) <= self.reach]  # [2, D]
        skeletons = [skeletonize(ink) for ink in self.ink]
        ink, middle = (np.maximum(np.sum(of, axis=(1, 2)), 1) for of in (self.ink, skeletons))
        self.line_width = ink / middle
        self.bounds = [_bounds(ink) for ink in self.ink]
        self.middles = [_middles_of_lines(image, skeleton) for image, skeleton in zip(images, skeletons, strict=True)]

    def pieces_left(self, page: int) -> np.ndarray:
        """Ink of a page that is not covered and is worth a stroke: bool ``[H, W]``.

        What lies by itself, a dot, say, and what reaches farthest out, which gives the drawing its size, is worth one
        sooner than what else is left of a line at its side or its end.
        """
        done, eight = self.covered[page] | self.in_vain[page], np.ones((3, 3))
        left = self.ink[page] & ~done
        labels, count = ndimage.label(left, eight)
        lengths = np.bincount(labels.ravel(), minlength=count + 1) / (self.line_width[page] * self.unit)
        beside = ndimage.binary_dilation(self.ink[page] & done, eight)
        is_rest = np.bincount(labels.ravel(), beside.ravel(), count + 1) > 0
        is_rest &= np.bincount(labels.ravel(), self.outermost[page].ravel(), count + 1) == 0
        worth = lengths >= np.where(is_rest, MIN_REST, MIN_SCORE)
        return worth[labels] & left

    def _trace(self, lines: list[np.ndarray]) -> Trace:
        height, width = self.ink.shape[1:]
        points, lengths = np.concatenate(lines), np.array([len(line) for line in lines])
        firsts = np.cumsum(lengths) - lengths
        before = np.concatenate([points[:1], points[:-1]])
        before[firsts] = points[firsts]
        way = np.abs(points - before).max(axis=1)
        samples = 1 + np.minimum(np.ceil(2.0 * way), 4 * max(height, width)).astype(int)  # half a pixel apart
        point = np.repeat(np.arange(len(points)), samples)
        share = (1 + np.arange(len(point)) - np.repeat(np.cumsum(samples) - samples, samples)) / samples[point]
        at = before[point] + (points[point] - before[point]) * share[:, None]
        x, y = np.clip(np.floor(at), 0, [width - 1, height - 1]).astype(int).T
        line = np.repeat(np.arange(len(lines)), lengths)[point]
        moved = np.concatenate([[True], (np.diff(line) != 0) | (np.diff(x) != 0) | (np.diff(y) != 0)])
        return Trace(line[moved], (point - firsts[line])[moved], y[moved], x[moved])

    def _first_near(self, trace: Trace, count: int, never: int) -> np.ndarray:
        """The number of the point that first comes within reach of each pixel ``[count, H, W]``."""
        (height, width), pad = self.ink.shape[1:], self.disc.max()
        first = np.full((count, height + 2 * pad, width + 2 * pad), never, np.int16)
        line, point, y, x = (field[::-1, None] for field in trace)  # the earliest comes last, and stays
        first[line, y + pad + self.disc[0], x + pad + self.disc[1]] = point
        return first[:, pad : pad + height, pad : pad + width]

    def _is_retraced(self, trace: Trace) -> np.ndarray:
        """Whether a line was at a pixel before: in the same cell, of a unit's side, some cells ago ``[S]``."""
        size = max(round(self.unit), 1)
        cell = (trace.line * self.ink.shape[1] + trace.y // size) * self.ink.shape[2] + trace.x // size
        _, first, inverse = np.unique(cell, return_index=True, return_inverse=True)
        return np.arange(len(cell)) - first[inverse] > RETRACE * size

    def judge(self, whose: np.ndarray, lines: list[np.ndarray]) -> Verdict:
        """What each line ``[n, 2]`` on page ``whose`` ``[K]`` would cover, as far as it is best drawn."""
        drawn = np.array([len(line) > 0 for line in lines])
        if not drawn.all():
            nothing = np.zeros(len(lines), int)
            verdict = Verdict(nothing - np.inf, nothing, nothing.copy(), nothing * 0.0, nothing * 0.0)
            if drawn.any():
                judged = self.judge(whose[drawn], [line for line in lines if len(line)])
                for field, values in zip(verdict, judged, strict=True):
                    field[drawn] = values
            return verdict
        count, steps = len(lines), max(len(line) for line in lines)
        trace = self._trace(lines)
        page, key = whose[trace.line], trace.line * steps + trace.point
        first = self._first_near(trace, count, steps)  # [K, H, W]
        line, y, x = np.nonzero((self.ink & ~self.covered)[whose] & (first < steps))
        weight = 1.0 / (self.line_width[whose[line]] * self.unit)
        gain = np.bincount(line * steps + first[line, y, x], weight, count * steps)
        off = np.bincount(key, self.distance[page, trace.y, trace.x] > self.reach, count * steps)
        again = np.bincount(key, self.covered[page, trace.y, trace.x] | self._is_retraced(trace), count * steps)
        pixels = np.bincount(key, minlength=count * steps)
        gain, off, again, pixels = (
            np.cumsum(part.reshape(count, steps), axis=1) for part in (gain, off, again, pixels)
        )
        score, rows = gain - (off + AGAIN_COST * again) / self.unit, np.arange(count)
        last = np.array([len(line) for line in lines]) - 1
        astray = np.where(score <= -HEAD_GAIN, score, 0.0)
        lowest = np.pad(np.minimum.accumulate(astray, axis=1)[:, :-1], [[0, 0], [1, 0]])  # before a point
        from_best = np.where(np.arange(steps) <= last[:, None], score - lowest, -np.inf)
        best = from_best.argmax(axis=1)
        cut = np.where(from_best[rows, best] >= from_best[rows, last] + CUT_GAIN, best, last)
        first = np.where(lowest[rows, cut] < 0, (score == lowest[rows, cut][:, None]).argmax(axis=1), 0)
        score, off, again, pixels = (
            part[rows, cut] - np.where(first, part[rows, first], 0) for part in (score, off, again, pixels)
        )
        return Verdict(score, first, cut + 1, 1.0 - off / np.maximum(pixels, 1), again / np.maximum(pixels, 1))

    def fit(self, page: int, line: np.ndarray) -> np.ndarray:
        """A line ``[n, 2]`` moved onto the middle of the ink that it follows, where any is within reach: least squares.

        Places along a segment shall move across it as far as the ink's middle lies beside them; along it they may stay,
        so that a line keeps its ends, which are then drawn out to those of the ink. Damping holds what no ink pulls.
        """
        (height, width), count = self.ink.shape[1:], len(line)
        share = (np.arange(FIT_SAMPLES) + 0.5) / FIT_SAMPLES  # of the way from a segment's first point to its second
        segments = np.diff(line, axis=0)  # [n - 1, 2]
        at = line[:-1, None] + segments[:, None] * share[:, None]  # [n - 1, FIT_SAMPLES, 2]
        x, y = np.moveaxis(np.clip(np.floor(at), 0, [width - 1, height - 1]).astype(int), 2, 0)
        to_middle = self.middles[page][y, x] - at
        length = np.hypot(*segments.T)
        across = np.stack([-segments[:, 1], segments[:, 0]], axis=1) / np.maximum(length, 1e-9)[:, None]
        weight = length[:, None] / FIT_SAMPLES * (np.hypot(*np.moveaxis(to_middle, 2, 0)) <= FIT_REACH * self.unit)
        moves, i = np.zeros((count - 1, FIT_SAMPLES, count, 2)), np.arange(count - 1)  # of a place, per move of a point
        moves[i, :, i] = (1.0 - share)[:, None] * across[:, None]
        moves[i, :, i + 1] = share[:, None] * across[:, None]
        moves = moves.reshape(-1, 2 * count)
        pull = moves.T * weight.ravel()
        damping = FIT_DAMPING * self.unit * np.eye(2 * count)
        wanted = np.einsum("skc,sc->sk", to_middle, across).ravel()
        line = line + np.linalg.solve(pull @ moves + damping, pull @ wanted).reshape(-1, 2)
        line = self._end_with_ink(page, self._end_with_ink(page, line)[::-1])[::-1]
        return np.clip(line, *self.bounds[page])  # a drawing that is larger than its picture would look out of place

    def _end_with_ink(self, page: int, line: np.ndarray) -> np.ndarray:
        """A line whose last segment ends where its ink does: sooner, or further on as far as that is within reach."""
        way = line[-1] - line[-2] if len(line) > 1 else np.zeros(2)
        length = np.hypot(*way)
        if not length:
            return line
        # From the last point; not from border to border of pixels, as strokes begin at centres, and not to the reach
        # itself, a multiple of 0.25 as are the places once this was done to the other end: rounding would decide.
        along = np.arange(0.1 - length, FIT_REACH * self.unit - 1e-6, 0.25)
        x, y = np.clip(np.floor(line[-1] + along[:, None] * way / length), 0, np.array(self.ink.shape[:0:-1]) - 1).T
        on_ink = self.ink[page, y.astype(int), x.astype(int)]
        before = np.flatnonzero(on_ink & (along <= 0))
        if not len(before):
            return line
        after = np.append(on_ink[before[-1] :], False).argmin()  # how far it goes on from there
        return np.concatenate([line[:-1], line[-1:] + along[before[-1] + after - 1] * way / length])

    def cover(self, whose: np.ndarray, lines: list[np.ndarray]) -> None:
        """Draw a line on each of some pages, no page twice."""
        self.covered[whose] |= self._first_near(self._trace(lines), len(lines), MAX_STROKE) < MAX_STROKE

    def places_to_begin(self, page: int, pen: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Positions ``[count, 2]`` on ink that is left: rather at its ends than in its middle, and near the pen."""
        left = self.pieces_left(page)
        around = ndimage.uniform_filter(left.astype(np.float32), 1 + 2 * round(2 * self.unit), mode="constant")
        y, x = np.nonzero(left)
        cost = around[y, x] / around.max() + FAR_COST * np.hypot(x - pen[0], y - pen[1]) / min(left.shape)
        chosen = np.argmin(cost + CHANCE * rng.random((count, len(y))), axis=1)
        return np.stack([x[chosen], y[chosen]], axis=1) + 0.5

    def give_up(self, page: int, places: np.ndarray) -> None:
        """Begin no stroke at these places ``[k, 2]`` again."""
        at = np.zeros(self.ink.shape[1:], bool)
        x, y = np.clip(places.astype(int), 0, np.array(at.shape[::-1]) - 1).T
        at[y, x] = True
        self.in_vain[page] |= ndimage.distance_transform_edt(~at) <= self.unit


class Pens(NamedTuple):
    """Where the decoder is in some drawings: what it is fed next, and what it remembers."""

    z: tf.Tensor  # [N, Z]
    x: tf.Tensor  # [N, 5] the last point
    seen_states: tuple  # of each plug
    state: tuple  # of the cell

    def gather(self, model: Model, rows: np.ndarray) -> "Pens":
        """Those of ``rows``, some perhaps several times."""
        seen_states = (
            plug.gather(own, rows) for plug, own in zip(model.decoder_features, self.seen_states, strict=True)
        )
        z, x, *state = (tf.gather(part, rows) for part in (self.z, self.x, *self.state))
        return Pens(z, x, tuple(seen_states), tuple(state))


def _bounds(ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners (x, y) of the box of ink ``[H, W]``, left top and right bottom; of all, if there is none."""
    y, x = np.nonzero(ink if ink.any() else ~ink)
    return np.array([x.min(), y.min()]), np.array([x.max(), y.max()]) + 1


def _outermost(ink: np.ndarray) -> np.ndarray:
    """Of ink ``[H, W]`` that which touches the sides of its bounds."""
    sides = np.zeros_like(ink)
    y, x = np.nonzero(ink)
    if len(y):
        sides[[y.min(), y.max()], :] = sides[:, [x.min(), x.max()]] = True
    return ink & sides


def _middles_of_lines(image: np.ndarray, skeleton: np.ndarray) -> np.ndarray:
    """For each pixel the middle of the line that is nearest, (x, y): ``[H, W, 2]``; far away without any.

    Where that is to less than a pixel, the grey of the 3 x 3 pixels around its skeleton tells.
    """
    if not skeleton.any():
        return np.full((*skeleton.shape, 2), 1e6)
    dark = 255.0 - image
    mass = np.maximum(ndimage.uniform_filter(dark, 3), 1e-9)
    places = np.stack(np.mgrid[: image.shape[0], : image.shape[1]][::-1], axis=2) + 0.5  # [H, W, 2]
    centres = np.stack([ndimage.uniform_filter(dark * places[:, :, i], 3) for i in (0, 1)], axis=2) / mass[:, :, None]
    nearest = ndimage.distance_transform_edt(~skeleton, return_distances=False, return_indices=True)
    return centres[nearest[0], nearest[1]]


@functools.lru_cache(maxsize=4)
def _compiled(model: Model):
    """The two loops over points, compiled: (draw, follow)."""

    @tf.function(reduce_retracing=True, autograph=False)
    def draw(pens, temperature, pen_temperature, noise, start, is_forced):
        """A stroke for each row: points ``[t, K, 5]``, and how many of each are drawn before it lifts its pen or ends.

        Where is_forced ``[K]``, the first point lies at ``start`` ``[K, 2]`` instead of where the model likes.
        """
        step, not_greedy = model.make_step(Code(pens.z)), tf.constant(False)
        start = tf.pad(start, [[0, 0], [0, 3]]) + START

        def body(t, x, seen_states, state, done, count, strokes):
            output, seen_states, state = step(x, seen_states, state)
            x = draw_point(mixture_params(output), temperature, not_greedy, noise[t], pen_temperature)
            x = tf.where((is_forced & (t == 0))[:, None], start, x)
            ended = x[:, 4] > 0
            count += tf.cast(~done & ~ended, tf.int32)
            return t + 1, x, seen_states, state, done | ended | (x[:, 3] > 0), count, strokes.write(t, x)

        steps, rows = tf.shape(noise)[0], tf.shape(pens.x)[0]
        strokes = tf.TensorArray(tf.float32, steps, element_shape=[None, 5])
        begun = 0, *pens[1:], tf.zeros([rows], tf.bool), tf.zeros([rows], tf.int32), strokes
        t, *_, count, strokes = tf.while_loop(
            lambda t, x, seen_states, state, done, *_: (t < steps) & ~tf.reduce_all(done), body, begun
        )
        return strokes.stack()[:t], count

    @tf.function(reduce_retracing=True, autograph=False)
    def follow(pens, strokes, count):
        """The pens after ``count`` ``[N]`` of the points ``[t, N, 5]``."""
        step = model.make_step(Code(pens.z))

        def body(t, x, seen_states, state):
            _, new_seen, new_state = step(x, seen_states, state)
            moves = t < count
            plugs = zip(model.decoder_features, new_seen, seen_states, strict=True)
            states = zip(new_state, state, strict=True)
            return (
                t + 1,
                where_rows(moves, strokes[t], x),
                tuple(plug.where(moves, new, old) for plug, new, old in plugs),
                tuple(where_rows(moves, new, old) for new, old in states),
            )

        _, *pens_after = tf.while_loop(lambda t, *_: t < tf.shape(strokes)[0], body, (0, *pens[1:]))
        return Pens(pens.z, *pens_after)

    return draw, follow


def _page_of_units(model, code, images, temperature, rngs):
    """(position of the start ``[N, 2]``, pixels per unit ``[N]``): where normalised strokes lie on their page."""
    hps, (rows, height, width) = model.hps, images.shape
    if hps.drawing_extent and hps.use_position:
        per_unit = min(height, width) / (hps.drawing_extent + PixelAlignedFeatures.MARGIN)
        return np.tile([width / 2, height / 2], (rows, 1)), np.full(rows, per_unit)
    # Such a model does not know its page: a plain drawing tells, laid on the ink.
    seeds = [int(rng.integers(2**63)) for rng in rngs]
    start, per_unit = np.zeros((rows, 2)), np.ones(rows)
    for n, drawing in enumerate(sample_batch(model, code, hps.max_seq_len, temperature, seed=seeds)):
        y, x = np.nonzero(images[n] < INK_BELOW)
        if len(x) and len(drawing):
            positions = np.cumsum(drawing[:, :2], axis=0)
            low, high = np.array([x.min(), y.min()]), np.array([x.max(), y.max()]) + 1
            per_unit[n] = (high - low).max() / max(np.ptp(positions, axis=0).max(), 1e-6)
            middle = (positions.min(axis=0) + positions.max(axis=0)) / 2
            start[n] = (low + high) / 2 - per_unit[n] * middle
    return start, per_unit


class GuidedDrawings:
    """N drawings that go on together, of which those are ``active`` that have not ended."""

    def __init__(self, model: Model, code: Code, images: np.ndarray, seeds: list, temperatures: tuple):
        rows = len(images)
        self.model, self.page = model, Page(images)
        self.temperatures = temperatures  # of points, and of pen states: each [N, k]
        self.draw, self.follow = _compiled(model)
        self.rngs = [np.random.default_rng(seed) for seed in seeds]
        # where each pen is, and pixels per unit: [N, 2], [N]
        self.pen, self.per_unit = _page_of_units(model, code, images, temperatures[0][:, 0], self.rngs)
        self.strokes, self.misses = [[] for _ in images], np.zeros(rows, int)
        self.active = np.arange(rows)
        begun = tuple(plug.begin(code) for plug in model.decoder_features)
        state = model.split_state(model.initial_state(code))
        self.pens = Pens(code.z, tf.tile(START[None], [rows, 1]), begun, state)  # of the active ones

    def draw_candidates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Candidates for the next stroke of all n active drawings.

        Returns points ``[t, K, 5]``, how many of each ``[K]``, and the positions ``[n, k, 2]`` at which those began
        that were told where.
        """
        active, candidates = self.active, self.temperatures[0].shape[1]
        noise = [self.rngs[n].normal(size=[MAX_STROKE, candidates, 4]) for n in active]
        # After one round in vain half of the candidates begin at ink that is left, after two all.
        is_forced = np.arange(candidates) % 2 < np.minimum(self.misses[active], 2)[:, None]  # [N, k]
        places = np.repeat(self.pen[active][:, None], candidates, axis=1)  # [N, k, 2]
        for i, n in enumerate(active):
            if self.misses[n]:
                places[i] = self.page.places_to_begin(n, self.pen[n], candidates, self.rngs[n])
        start = (places - self.pen[active][:, None]) / self.per_unit[active][:, None, None]
        strokes, count = self.draw(
            self.pens.gather(self.model, np.repeat(np.arange(len(active)), candidates)),
            *(tf.constant(of[active].reshape(-1, 1), tf.float32) for of in self.temperatures),
            tf.constant(np.concatenate(noise, axis=1), tf.float32),
            tf.constant(start.reshape(-1, 2), tf.float32),
            tf.constant(is_forced.reshape(-1)),
        )
        return strokes.numpy(), count.numpy(), places

    def add_strokes(self) -> None:
        """The next stroke of each active drawing, where a candidate is worth it; some drawings end."""
        strokes, count, places = self.draw_candidates()
        candidates = len(count) // len(self.active)
        whose = np.repeat(self.active, candidates)
        lines = self.pen[whose] + np.cumsum(strokes[:, :, :2], axis=0) * self.per_unit[whose][:, None]  # [t, K, 2]
        verdict = self.page.judge(whose, [lines[:many, i] for i, many in enumerate(count)])
        chosen = verdict.choose(candidates)
        kept = np.flatnonzero(chosen >= 0)  # of the active ones
        winner = kept * candidates + chosen[kept]
        for i in np.flatnonzero((chosen < 0) & (self.misses[self.active] > 1)):
            self.page.give_up(self.active[i], places[i])
        self.misses[self.active] += 1
        self.misses[self.active[kept]] = 0
        if len(kept):
            self.keep(kept, [lines[verdict.first[k] : verdict.count[k], k] for k in winner])
        is_left = [self.misses[n] < PATIENCE and self.page.pieces_left(n).any() for n in self.active]
        self.end(~np.array(is_left))

    def keep(self, kept: np.ndarray, lines: list[np.ndarray]) -> None:
        """Draw a line ``[t, 2]``, in pixels, in each of n of the active drawings."""
        whose, counts = self.active[kept], np.zeros(len(self.active), np.int32)
        points = np.zeros([max(map(len, lines)), len(self.active), 5], np.float32)
        lines = [self.page.fit(n, line) for n, line in zip(whose, lines, strict=True)]
        for i, n, line in zip(kept, whose, lines, strict=True):
            counts[i] = len(line)
            stroke = points[: len(line), i]
            stroke[:, :2] = np.diff(line, axis=0, prepend=self.pen[n][None]) / self.per_unit[n]
            stroke[:-1, 2] = stroke[-1, 3] = 1.0  # the pen is lifted, whether it would or not
            if self.strokes[n] and np.hypot(*(line[0] - self.pen[n])) <= JOIN * self.page.unit:
                self.strokes[n][-1][-1, 2] = 0.0  # it goes on where the last one was cut
            self.pen[n] = line[-1]
            self.strokes[n].append(stroke[:, [0, 1, 3]])
        self.page.cover(whose, lines)
        self.pens = self.follow(self.pens, tf.constant(points), tf.constant(counts))

    def end(self, ended: np.ndarray) -> None:
        """End some of the active drawings: bool ``[n]``."""
        stay = np.flatnonzero(~ended)
        self.pens, self.active = self.pens.gather(self.model, stay), self.active[stay]


def draw_guided(
    model: Model,
    code: Code,
    images: np.ndarray,
    candidates: int,
    temperature: float | np.ndarray,
    pen_temperature: float | None,
    max_points: int,
    seeds: list,
) -> list[np.ndarray]:
    """Draw bitmaps uint8 ``[N, H, W]``, whose code is given, stroke by stroke -> normalised stroke-3 drawings.

    Temperatures are spread over the ``candidates``, 2 or more, from ``temperature``, one number or ``[N]``, to 1; each
    drawing's chance comes from its own of ``seeds`` alone. It has at most ``max_points`` points.
    """
    temperature = np.broadcast_to(np.asarray(temperature, float), [len(images)])
    spread = np.linspace(np.sqrt(temperature), np.sqrt(np.maximum(1.0, temperature)), candidates).T ** 2  # [N, k]
    pen_spread = spread if pen_temperature is None else np.full(spread.shape, pen_temperature)
    guided = GuidedDrawings(model, code, images, seeds, (spread, pen_spread))
    while len(guided.active):
        guided.add_strokes()
        guided.end(np.array([sum(map(len, guided.strokes[n])) >= max_points for n in guided.active], bool))
    drawings = [np.concatenate([np.zeros((0, 3)), *strokes])[:max_points] for strokes in guided.strokes]
    hands = _sample_hands(model, code, [len(drawing) for drawing in drawings], guided.rngs)
    return [order_strokes(*pair) for pair in zip(drawings, hands, strict=True)]


def _sample_hands(model: Model, code: Code, lengths: list[int], rngs: list) -> list[list[np.ndarray]]:
    """``HANDS`` plain samples of each code, stroke-3, each cut to as many points as ``lengths`` says."""
    if not any(lengths):
        return [[] for _ in lengths]
    seeds = [int(seed) for rng in rngs for seed in rng.integers(2**63, size=HANDS)]
    code = code.gather(np.repeat(np.arange(len(rngs)), HANDS))
    how = {"pen_temperature": HAND_PEN_TEMPERATURE, "seed": seeds}
    samples = sample_batch(model, code, max(lengths), HAND_TEMPERATURE, **how)
    samples = [to_normal_strokes(sample[: lengths[i // HANDS]]) for i, sample in enumerate(samples)]
    return [samples[i : i + HANDS] for i in range(0, len(samples), HANDS)]
