"""What a drawing that was begun may become: drawings of others that begin likewise. No TensorFlow here.

A drawing is a list of lines, positions ``[n, 2]``.
"""

from pathlib import Path

import numpy as np

from utils import category_name, load_strokes, strokes_to_lines

DRAWINGS, FILES = 1000, 20  # that are read of a data directory
FIRST_LINES = 4  # of a drawing, at most, that are compared with those that were begun
POINTS = 48  # by which they are compared


def read_candidates(data_dir: str, data_sets: list[str]) -> list[list[np.ndarray]]:
    """Training drawings of the data sets named, as far as they are there, else of any that are there."""
    files = {path.stem: path for path in sorted(Path(data_dir, "npz").glob("*.npz"))}
    own = [path for name, path in files.items() if name in map(category_name, data_sets)]
    rng, drawings = np.random.default_rng(0), []
    paths = rng.permutation(own or list(files.values()))[:FILES]
    for path in paths:
        train = load_strokes(path)["train"]
        for i in rng.permutation(len(train))[: DRAWINGS // len(paths)]:
            drawings.append(strokes_to_lines(train[i]))
    return drawings


def outline(lines: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, float]:
    """(``POINTS`` points along lines, in their box; its middle; its longer side)."""
    points = np.concatenate(lines)
    middle, side = (points.min(axis=0) + points.max(axis=0)) / 2, max(float(np.ptp(points, axis=0).max()), 1e-6)
    lengths = np.concatenate(
        [np.append(np.hypot(*np.diff(line, axis=0).T), 0.0) for line in lines]
    )  # none between lines
    along = np.cumsum(lengths) - lengths
    marks = np.linspace(0, along[-1], POINTS)
    return (np.stack([np.interp(marks, along, axis) for axis in points.T], axis=1) - middle) / side, middle, side


def find_endings(begun: list[np.ndarray], candidates: list[list[np.ndarray]], count: int) -> list[list[np.ndarray]]:
    """The further lines of the candidates whose first lines look most like those begun, laid out as these are.

    The fewest lines that match count, so ``count`` candidates at most; none is taken twice.
    """
    begins = [(i, k) for i, lines in enumerate(candidates) for k in range(1, min(len(lines) - 1, FIRST_LINES) + 1)]
    if not begins:
        return []
    mine, middle, side = outline(begun)
    others = [outline(candidates[i][:k]) for i, k in begins]
    apart = np.stack([np.abs(mine[:, None] - points[None]).sum(axis=2) for points, *_ in others])  # [B, POINTS, POINTS]
    distance = apart.min(axis=1).mean(axis=1) + apart.min(axis=2).mean(axis=1)
    endings = {}
    for best in np.argsort(distance, kind="stable"):
        (i, k), (_, own_middle, own_side) = begins[best], others[best]
        if i not in endings:
            endings[i] = [(line - own_middle) * (side / own_side) + middle for line in candidates[i][k:]]
        if len(endings) == count:
            break
    return list(endings.values())
