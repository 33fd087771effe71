"""A tracer, to compare with: skeleton, graph, simplified lines, the nearest piece first. It knows ink, and no hand.

Needs ``pip install sknw``. No TensorFlow here.
"""

import numpy as np

from ink_scores import INK_BELOW
from utils import lines_to_strokes

TOLERANCE = 0.5  # pixels, of the simplification (Ramer, Douglas, Peucker)


def trace(bitmap: np.ndarray) -> np.ndarray:
    """The lines of a bitmap uint8 ``[H, W]`` -> a stroke-3 drawing in pixels, from the page's centre."""
    try:
        import sknw
        from skimage.measure import approximate_polygon
        from skimage.morphology import skeletonize
    except ImportError as error:
        raise ValueError(f"a tracer needs {error.name}: pip install sknw") from None
    graph = sknw.build_sknw(skeletonize(bitmap < INK_BELOW), multi=True, iso=True, ring=True)
    pieces = []
    for one, other, edge in graph.edges(data=True):
        ends, points = [graph.nodes[node]["o"][None] for node in (one, other)], edge["pts"]
        if np.linalg.norm(ends[0] - points[0]) > np.linalg.norm(ends[0] - points[-1]):
            points = points[::-1]
        pieces.append(approximate_polygon(np.concatenate([ends[0], points, ends[1]])[:, ::-1], TOLERANCE))
    lone = [node for node in graph.nodes if graph.degree(node) == 0]
    pieces += [np.repeat(graph.nodes[node]["o"][None, ::-1], 2, axis=0) for node in lone]
    middle = np.array(bitmap.shape[::-1]) / 2
    pieces, pen, lines = [piece - middle for piece in pieces], -middle, []
    while pieces:
        ends = np.array([[piece[0], piece[-1]] for piece in pieces])  # [pieces, 2, 2]
        nearest, end = np.unravel_index(np.linalg.norm(ends - pen, axis=2).argmin(), ends.shape[:2])
        piece = pieces.pop(nearest)
        lines.append(piece[::-1] if end else piece)
        pen = lines[-1][-1]
    return lines_to_strokes(lines)
