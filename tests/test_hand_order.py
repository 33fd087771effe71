"""A drawing's strokes in the order, and the direction, on which several hands agree."""

import numpy as np
import pytest

from hand_order import order_strokes, when_drawn
from ink_scores import CELLS, order_of_hand
from utils import lines_to_strokes, strokes_to_lines

TOP, MIDDLE, BOTTOM = (np.array([[0, y], [5, y], [10, y]], float) for y in (0, 5, 10))
DOT = np.array([[5.0, 7.5]])


def drawing(*lines) -> np.ndarray:
    return lines_to_strokes(list(lines))


def test_when_a_drawing_comes_to_each_place():
    when = when_drawn(drawing(TOP, BOTTOM))
    rows = np.flatnonzero(~np.isnan(when).all(axis=1))
    first, last = when[rows[0]], when[rows[-1]]
    first, last = first[~np.isnan(first)], last[~np.isnan(last)]
    assert 0 <= np.nanmin(when) < 0.2 and 0.8 < np.nanmax(when) <= 1  # of ties the mean
    assert (np.diff(first) >= 0).all() and (np.diff(last) >= 0).all() and first.max() < last.min()
    assert np.isnan(when[CELLS // 2]).all()  # nothing is drawn anywhere near
    assert np.isnan(when_drawn(np.zeros((0, 3)))).all()


def test_strokes_follow_the_others():
    own = drawing(BOTTOM, MIDDLE[::-1], DOT, TOP)
    others = [drawing(TOP, MIDDLE, DOT, BOTTOM), drawing(TOP, DOT, MIDDLE, BOTTOM), np.zeros((0, 3))]
    ordered = order_strokes(own, others)
    assert order_of_hand(others[0], ordered) > 0.9 > order_of_hand(others[0], own)
    lines = strokes_to_lines(ordered)
    np.testing.assert_allclose(lines[0], TOP, atol=1e-9)
    np.testing.assert_allclose(lines[-1], BOTTOM, atol=1e-9)
    assert any(np.allclose(line, MIDDLE) for line in lines)  # turned round
    assert ordered[-1, 2] == 1 and len(ordered) == len(own)


@pytest.mark.parametrize("lines", [[TOP, BOTTOM, MIDDLE], [MIDDLE, DOT], [DOT, DOT], [TOP, TOP[::-1]], [DOT], []])
def test_a_hand_alone_has_its_own_order(lines):
    own = drawing(*lines)
    for others in ([], [own], [np.zeros((0, 3))], [drawing(DOT + 900)]):
        np.testing.assert_allclose(order_strokes(own, others), own, atol=1e-9)
