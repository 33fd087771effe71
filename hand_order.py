"""The order of a hand: a drawing's strokes in the order, and each in the direction, on which several drawings agree.

One drawing that a model samples has its strokes in one order of the many that people choose. When a part of the page is
drawn on average, over several samples, is the better guess of when a person drew it: errors of one hand cancel out.
"""

import numpy as np
from scipy import ndimage, stats

from ink_scores import CELLS, first_drawn
from utils import lines_to_strokes, strokes_to_lines

NEAR = 1.5  # cells: how far from where a hand drew it still tells


def when_drawn(drawing: np.ndarray) -> np.ndarray:
    """When a stroke-3 drawing first comes to each cell of its page, 0 (first) to 1 (last); NaN far from its lines."""
    first = first_drawn(drawing).reshape(CELLS, CELLS)
    drawn, when = first >= 0, np.full((CELLS, CELLS), np.nan)
    if drawn.any():
        when[drawn] = (stats.rankdata(first[drawn]) - 1) / max(drawn.sum() - 1, 1)
        distance, (y, x) = ndimage.distance_transform_edt(~drawn, return_indices=True)
        when = np.where(distance <= NEAR, when[y, x], np.nan)
    return when


def order_strokes(drawing: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """A stroke-3 drawing whose strokes are in the order in which it and the ``others`` draw them on average."""
    if not len(drawing):
        return drawing
    fields = np.stack([when_drawn(one) for one in (drawing, *others) if len(one)])  # [n, CELLS, CELLS]
    known = ~np.isnan(fields)
    when = np.where(known, fields, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    when, first, begun, timed = when.ravel(), first_drawn(drawing), 0, []
    for line in strokes_to_lines(drawing):
        own = np.flatnonzero((first >= begun) & (first < begun + len(line)))  # cells that nothing drew before it
        begun += len(line)
        if not len(own):  # goes with the stroke before it
            timed.append((timed[-1][0] if timed else 0.0, line))
            continue
        is_backwards = np.cov(first[own], when[own])[0, 1] < 0 if len(own) > 1 else False
        timed.append((when[own].mean(), line[::-1] if is_backwards else line))
    return lines_to_strokes([line for _, line in sorted(timed, key=lambda pair: pair[0])])
