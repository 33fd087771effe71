"""Drawings that go astray: what stays of them, and what is learned."""

import numpy as np
import pytest
import tensorflow as tf

from astray import BURST_POINTS, begin_anyhow, burst, go_astray, let_some_go_astray, make_detour
from extensions import pad_learned
from utils import Batch, lines_to_strokes, strokes_to_lines

BAR = np.column_stack([np.arange(6.0), np.zeros(6)])
RING = 2 * np.column_stack([np.cos(np.linspace(0, 2 * np.pi, 9)), np.sin(np.linspace(0, 2 * np.pi, 9))])
DOT = np.array([[3.0, 3.0]])
LINES = [BAR, RING, DOT]


@pytest.mark.parametrize("line", LINES, ids=["bar", "ring", "dot"])
def test_a_detour_is_not_learned_but_the_way_back_is(line):
    rng, lengths = np.random.default_rng(0), set()
    for _ in range(200):
        longer, learned = make_detour(line, rng)
        assert len(longer) == len(learned) and learned[-1]  # that the pen is lifted
        assert 1 <= (~learned).sum() <= BURST_POINTS + 1 or len(longer) == len(line) + 1
        wrong = np.flatnonzero(~learned)
        assert np.array_equal(wrong, np.arange(wrong[0], wrong[-1] + 1))  # one detour
        kept = longer[learned]
        assert all(np.abs(line - point).sum(axis=1).min() < 1e-9 for point in kept)  # a person's points alone
        near = np.hypot(*(longer[:, None] - line[None]).transpose(2, 0, 1)).min(axis=1)
        assert near.max() < 6.0
        lengths.add(len(longer))
    assert len(lengths) > 3


def test_strokes_that_come_first_are_not_drawn_twice():
    rng = np.random.default_rng(0)
    for _ in range(200):
        begun, left = begin_anyhow(LINES, rng)
        assert bool(begun) or len(left) == 3
        for line in LINES:
            points = np.concatenate([*begun, *left])
            assert all(np.abs(points - point).sum(axis=1).min() < 1e-9 for point in line)  # nothing is lost
        assert sum(map(len, left)) <= sum(map(len, LINES))
        assert not any(len(line) == 9 and np.allclose(line, RING) for line in begun) or not any(
            len(line) == 9 for line in left
        )


def test_what_is_left_is_learned_in_the_persons_order():
    rng, own = np.random.default_rng(1), lines_to_strokes(LINES)
    for _ in range(200):
        drawing, learned = go_astray(own, rng)
        assert len(drawing) == len(learned) and drawing[-1, 2] == 1
        lines = np.split(learned, np.flatnonzero(drawing[:-1, 2]) + 1)
        assert len(lines) == len(strokes_to_lines(drawing))
        points, person = np.concatenate(strokes_to_lines(drawing)), np.concatenate(LINES)
        assert all(np.abs(person - point).sum(axis=1).min() < 1e-9 for point in points[learned])
    drawing, learned = go_astray(own[:0], rng)
    assert len(drawing) == len(learned) == 0 and learned.dtype == bool


def test_where_a_stroke_is_missed_its_beginning_is_learned():
    rng, own = np.random.default_rng(2), lines_to_strokes([BAR])
    missed = np.zeros(3, int)  # times that a dot came before, that the pen landed beside, that a dot came after
    for _ in range(400):
        drawing, learned = go_astray(own, rng)
        lines, are_learned = strokes_to_lines(drawing), np.split(learned, np.flatnonzero(drawing[:-1, 2]) + 1)
        (own_line,) = [n for n, line in enumerate(are_learned) if line.any()] or [None]
        if own_line is not None and (lines[own_line][are_learned[own_line]][0] == BAR[0]).all():  # not cut before
            landed_beside = not are_learned[own_line][0]
            missed += [own_line > 0, landed_beside, own_line < len(lines) - 1]
    assert (missed > 10).all() and (missed < 300).all()


@pytest.mark.parametrize("lines", [LINES, [DOT]], ids=["lines", "dot"])
def test_a_burst_is_one_bit_of_a_line_again_and_again(lines):
    rng, counts, points = np.random.default_rng(3), set(), np.concatenate(lines)
    for _ in range(200):
        strokes = burst(lines, rng)
        assert len({len(stroke) for stroke in strokes}) == 1 and sum(map(len, strokes)) <= BURST_POINTS
        counts.add(len(strokes))
        away = [np.hypot(*(points - point).T).min() for point in np.concatenate(strokes)]
        assert np.median(away) < 6.0
    assert min(counts) <= 2 and max(counts) > 50


def test_after_a_burst_what_is_left_is_learned_or_the_end():
    rng, own, after = np.random.default_rng(4), lines_to_strokes([RING, BAR]), []
    for _ in range(600):
        drawing, learned = go_astray(own, rng)
        lines = [line.any() for line in np.split(learned, np.flatnonzero(drawing[:-1, 2]) + 1)]
        for place in range(3):  # a burst stands before the first, the second, or after both
            split = [k for k, is_own in enumerate(lines) if is_own]
            edges = [-1, *split, len(lines)]
            if len(split) == 2 and edges[place + 1] - edges[place] > 10:
                after.append(place)
    assert all(after.count(place) > 5 for place in range(3))


def make_batch():
    drawings = [lines_to_strokes(LINES[: 1 + n % 3]) for n in range(40)]
    lengths = np.array([len(drawing) for drawing in drawings], np.int32)
    points = np.concatenate(drawings).astype(np.float32)
    return Batch(points, lengths, np.zeros((40, 2, 2), np.uint8), np.arange(40), np.ones(len(points), bool))


def test_some_of_a_batch_go_astray():
    batch = make_batch()
    same = let_some_go_astray(batch, 0.0, 250, np.random.default_rng(0))
    assert np.array_equal(same.points, batch.points) and same.learned.all()
    some = let_some_go_astray(batch, 0.5, 250, np.random.default_rng(0))
    assert some.points.dtype == np.float32 and some.lengths.dtype == np.int32 and some.learned.dtype == bool
    assert len(some.points) == some.lengths.sum() == len(some.learned)
    changed = some.lengths != batch.lengths
    assert 5 < changed.sum() < 30
    none = let_some_go_astray(batch, 1.0, 3, np.random.default_rng(0))  # too long, whatever they do
    assert none.lengths.max() <= batch.lengths.max()


def test_learned_is_padded_with_what_is_learned():
    learned = pad_learned(tf.constant([True, False, False, True, True]), tf.constant([3, 2]), tf.constant(5))
    assert learned.numpy().tolist() == [[1, 0, 0, 1, 1], [1, 1, 1, 1, 1]]
