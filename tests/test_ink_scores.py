"""Scores of ink and of the order of the hand, on drawings whose scores are known; the tracer to compare with."""

import numpy as np
import pytest

from ink_scores import draw_scaled, ink_scores, order_of_hand, scaled, score_ink
from utils import lines_to_strokes

SQUARE = lines_to_strokes([np.array([[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]], float)])
CROSS = lines_to_strokes([np.array([[0, 0], [9, 9]], float), np.array([[0, 9], [9, 0]], float)])


def test_a_drawing_is_as_good_as_itself_at_any_size_and_place():
    elsewhere = SQUARE * [7.0, 7.0, 1.0]
    elsewhere[0, :2] += 100.0
    scores = score_ink([SQUARE, CROSS], [elsewhere, CROSS])
    for name, value in {"ink_f1_1": 1, "ink_f1_2": 1, "ink_f1_fine": 1, "recall": 1, "lost": 0, "order": 1}.items():
        np.testing.assert_allclose(scores[name], value, err_msg=name)
    assert scores["strokes"].tolist() == [1, 2] and scores["points"].tolist() == [5, 4]


def test_ink_within_the_tolerance_counts():
    given = np.full((1, 48, 48), 255, np.uint8)
    given[0, 10, 10:30] = 0
    for shift, tolerance, expected in ((1, 1.0, 1.0), (2, 1.0, 0.0), (2, 2.0, 1.0)):
        f1, recall = ink_scores(given, np.roll(given, shift, axis=1), tolerance)
        assert (f1[0], recall[0]) == (pytest.approx(expected), pytest.approx(expected))
    half = given.copy()
    half[0, 10, 20:30] = 255
    f1, recall = ink_scores(given, half, 1.0)
    assert recall[0] == 11 / 20 and f1[0] == pytest.approx(2 * 0.55 / 1.55)  # all that is drawn lies on ink
    grey = np.where(given == 0, 170, 255).astype(np.uint8)
    assert ink_scores(given, grey, 1.0)[0][0] == 0  # too faint to count


def test_what_is_lost():
    assert score_ink([SQUARE], [CROSS])["lost"] == 1
    assert score_ink([SQUARE], [np.zeros((0, 3))])["ink_f1_2"] == 0


def test_order_of_hand():
    def backwards(drawing):
        return lines_to_strokes([np.cumsum(drawing[:, :2], axis=0)[::-1]])

    spiral = np.stack([np.linspace(1, 9, 60) * f(np.linspace(0, 9, 60)) for f in (np.cos, np.sin)], axis=1)
    spiral = lines_to_strokes([spiral])
    assert order_of_hand(spiral, spiral * [3, 3, 1]) == pytest.approx(1)
    assert order_of_hand(spiral, backwards(spiral)) == pytest.approx(-1, abs=0.02)
    assert np.isnan(order_of_hand(spiral, np.array([[0, 0, 0], [1, 0, 1]])))  # too few cells in common
    assert np.isnan(order_of_hand(spiral, np.zeros((0, 3))))


def test_scaled():
    drawing = scaled(np.array([[5, 5, 0], [4, 0, 0], [0, 2, 1]], float))
    positions = np.cumsum(drawing[:, :2], axis=0)
    np.testing.assert_allclose(positions, [[-5, -2.5], [5, -2.5], [5, 2.5]])
    np.testing.assert_allclose(scaled(np.array([[5, 5, 1.0]])), [[0, 0, 1]])


def test_a_tracer_follows_ink():
    pytest.importorskip("sknw", reason="no tracer installed: it is not tested")
    from tracer import trace

    drawings = [
        SQUARE,
        CROSS,
        lines_to_strokes([np.array([[0, 0], [9, 3]], float), np.array([[4, 9], [4.5, 9]], float)]),
    ]
    scores = score_ink(drawings, [trace(bitmap) for bitmap in draw_scaled(drawings, 96)])
    assert scores["ink_f1_1"].min() > 0.95 and scores["strokes"][2] == 2
