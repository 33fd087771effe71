"""Drawings that become one another: their lines in pairs, what lies between, as SVG and as GIF. No TensorFlow here.

A frame is the lines ``[S, POINTS, 2]`` of a picture, in pixels of its square.
"""

import io
import itertools

import numpy as np
from PIL import Image, ImageDraw
from scipy.optimize import linear_sum_assignment

from pictures import INK, Style, picture_lines

POINTS = 32  # of a line
SECONDS = 5.0  # there and back


def resample(line: np.ndarray) -> np.ndarray:
    """``POINTS`` points at equal distances along a line ``[n, 2]``."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    marks = np.linspace(0, along[-1], POINTS)
    return np.stack([np.interp(marks, along, line[:, axis]) for axis in (0, 1)], axis=1)


def pair_lines(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two frames with as many lines: each beside that which is nearest.

    A line without a partner of its own shares the nearest one's: it parts from it, or ends in it.
    """
    turned = np.stack([second, second[:, ::-1]])  # [2, S', POINTS, 2]
    apart = np.abs(first[None, :, None] - turned[:, None]).mean(axis=(3, 4))  # [2, S, S']
    distance = apart.min(axis=0)
    rows, columns = linear_sum_assignment(distance)
    gone, new = (np.setdiff1d(np.arange(n), own) for n, own in zip(distance.shape, (rows, columns), strict=True))
    rows, columns = (
        np.concatenate([rows, gone, distance[:, new].argmin(axis=0)]),
        np.concatenate([columns, distance[gone].argmin(axis=1), new]),
    )
    return first[rows], turned[apart[:, rows, columns].argmin(axis=0), columns]


def morph_drawings(drawings: list[np.ndarray], style: Style, count: int) -> list[np.ndarray]:
    """``count`` frames from the first of some normalised stroke-3 drawings, none empty, through all to the last."""
    keys = [np.array([resample(line) for line, _ in picture_lines(drawing, style)]) for drawing in drawings]
    pairs = [pair_lines(*pair) for pair in itertools.pairwise(keys)]
    frames = []
    for time in np.linspace(0, len(pairs), count):
        pair = min(int(time), len(pairs) - 1)
        (first, second), share = pairs[pair], time - pair
        frames.append(first + (second - first) * (3 - 2 * share) * share**2)  # slowly away, slowly there
    return frames


def path_data(frame: np.ndarray) -> str:
    """A frame as the ``d`` of one SVG path."""
    return "".join("M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in line) for line in frame)


def morph_svg(frames: list[np.ndarray], style: Style) -> str:
    """An SVG that goes there and back for ever."""
    most = max(map(len, frames))  # an animation leads from path to path only where both have as many lines
    full = [np.concatenate([frame, frame[-1:].repeat(most - len(frame), axis=0)]) for frame in frames]
    values = [path_data(frame) for frame in [*full[::2], *full[-3::-2]]]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{style.size}" height="{style.size}" '
        f'viewBox="0 0 {style.size} {style.size}"><rect width="100%" height="100%" fill="white"/>\n'
        f'<path fill="none" stroke="{INK}" stroke-width="{style.line_width:g}" stroke-linecap="round" '
        f'stroke-linejoin="round" d="{values[0]}">'
        f'<animate attributeName="d" dur="{SECONDS:g}s" repeatCount="indefinite" values="{";".join(values)}"/>'
        "</path></svg>\n"
    )


def morph_gif(frames: list[np.ndarray], style: Style) -> bytes:
    """A GIF that goes there and back for ever."""
    pictures, fine = [], 2
    for frame in [*frames[::2], *frames[-3::-2]]:
        picture = Image.new("L", (fine * style.size,) * 2, 255)
        pen, radius = ImageDraw.Draw(picture), fine * style.line_width / 2
        for line in fine * frame:
            pen.line(list(map(tuple, line.tolist())), 27, round(2 * radius), "curve")
            for x, y in line[[0, -1]]:
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), 27)
        pictures.append(picture.resize((style.size,) * 2, Image.Resampling.BOX))
    buffer, wait = io.BytesIO(), round(1000 * SECONDS / len(pictures) / 10) * 10
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=wait, loop=0)
    return buffer.getvalue()
