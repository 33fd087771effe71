"""How near a drawing comes to the drawing it was made of: its ink, and the order of the hand. No TensorFlow here.

Drawings are stroke-3 ``[n, 3]``, of any size: each is scaled to one longer side and centred first.
"""

import numpy as np
from scipy import ndimage, stats

from render_svg2bitmap import rasterize_all

INK_BELOW = 160  # grey level
EXTENT = 10.0  # normalised units of the longer side
SIDES = (48, 192)  # pixels of the bitmaps that are compared
INK_F1 = {"ink_f1_1": (48, 1.0), "ink_f1_2": (48, 2.0), "ink_f1_fine": (192, 2.0)}  # side and tolerance, in pixels
LOST_BELOW = 0.7  # ink F1 at 2 pixels
CELLS, MIN_CELLS = 24, 9  # of the order of hand: a grid's side; cells that both drawings must share


def scaled(drawing: np.ndarray) -> np.ndarray:
    """A drawing whose longer side is ``EXTENT`` units, and which begins at the centre of its bounds."""
    if not len(drawing):
        return drawing
    positions = np.cumsum(np.asarray(drawing, np.float64)[:, :2], axis=0)
    low, high = positions.min(axis=0), positions.max(axis=0)
    side = (high - low).max()
    positions = (positions - (low + high) / 2) * (EXTENT / side if side > 0 else 1.0)
    return np.column_stack([np.diff(positions, axis=0, prepend=np.zeros((1, 2))), np.asarray(drawing)[:, 2]])


def ink_scores(given: np.ndarray, drawn: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """(F1 ``[N]``, recall ``[N]``) of bitmaps ``[N, H, W]``: ink within ``tolerance`` pixels of the other's ink."""
    f1, recalls = np.zeros(len(given)), np.zeros(len(given))
    for i, (one, other) in enumerate(zip(given < INK_BELOW, drawn < INK_BELOW, strict=True)):
        if one.any() and other.any():
            recall = (ndimage.distance_transform_edt(~other)[one] <= tolerance).mean()
            precision = (ndimage.distance_transform_edt(~one)[other] <= tolerance).mean()
            f1[i], recalls[i] = 2 * precision * recall / max(precision + recall, 1e-9), recall
    return f1, recalls


def first_drawn(drawing: np.ndarray) -> np.ndarray:
    """For each cell of a grid over the page, the number of the point whose line first hits it; -1: none."""
    drawing = scaled(drawing)
    positions = np.cumsum(drawing[:, :2], axis=0)
    lifted = np.concatenate([[1.0], drawing[:-1, 2]]) > 0
    before = np.where(lifted[:, None], positions, np.concatenate([positions[:1], positions[:-1]]))
    share = np.linspace(0, 1, 4 * CELLS)[:, None]
    samples = before[:, None] + (positions - before)[:, None] * share  # [n, samples, 2]
    cells = np.clip(np.floor((samples / EXTENT + 0.5) * CELLS), 0, CELLS - 1).astype(int)
    first = np.full(CELLS**2, len(drawing))
    points = np.repeat(np.arange(len(drawing)), 4 * CELLS)
    np.minimum.at(first, (cells[..., 1] * CELLS + cells[..., 0]).ravel(), points)
    return np.where(first < len(drawing), first, -1)


def order_of_hand(person: np.ndarray, drawn: np.ndarray) -> float:
    """Spearman's correlation of when each cell of the page is first drawn; NaN where too few cells are shared."""
    if not len(person) or not len(drawn):
        return np.nan
    one, other = first_drawn(person), first_drawn(drawn)
    both = (one >= 0) & (other >= 0)
    if both.sum() < MIN_CELLS or np.ptp(one[both]) == 0 or np.ptp(other[both]) == 0:
        return np.nan
    return float(stats.spearmanr(one[both], other[both]).statistic)


def draw_scaled(drawings: list[np.ndarray], side: int) -> np.ndarray:
    """Their bitmaps uint8 ``[N, side, side]``, which they fill."""
    return rasterize_all([scaled(drawing) for drawing in drawings], side, side)


def score_ink_of_bitmaps(given: dict[int, np.ndarray], drawings: list[np.ndarray]) -> dict[str, np.ndarray]:
    """``score_ink`` as far as bitmaps tell; ``given``: those of each of ``SIDES``, uint8 ``[N, side, side]``."""
    scores = {}
    for side in SIDES:
        drawn = draw_scaled(drawings, side)
        for name, (own, tolerance) in INK_F1.items():
            if own == side:
                scores[name], recall = ink_scores(given[side], drawn, tolerance)
                scores |= {"recall": recall} if name == "ink_f1_1" else {}
    scores["lost"] = (scores["ink_f1_2"] < LOST_BELOW).astype(float)
    return scores


def score_ink(persons: list[np.ndarray], drawings: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Scores of each of N drawings against the person's, by name -> ``[N]``.

    ``ink_f1_1``, ``ink_f1_2``: at a tolerance of 1 and 2 pixels of 48 x 48; ``ink_f1_fine``: of 2 pixels of 192 x 192;
    ``recall``: at 1 pixel; ``lost``; ``order``; ``strokes`` and ``points``: how many.
    """
    scores = score_ink_of_bitmaps({side: draw_scaled(persons, side) for side in SIDES}, drawings)
    scores["order"] = np.array([order_of_hand(*pair) for pair in zip(persons, drawings, strict=True)])
    scores["strokes"] = np.array([np.sum(drawing[:, 2] > 0) for drawing in drawings])
    scores["points"] = np.array([len(drawing) for drawing in drawings])
    return scores
