"""Stroke formats, safe reading of ``.npz`` files, data sets and batches. No TensorFlow here.

Formats
    stroke-3  ``[n_points, 3]``  (dx, dy, pen lifted after this point), what files hold
    stroke-5  ``[T, 5]``         (dx, dy, p1 pen down, p2 pen lifted, p3 end of drawing), what the model sees
    lines     list of ``[n, 2]`` absolute positions, one array for each pen-down stroke
"""

import argparse
import functools
import hashlib
import io
import math
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import ClassVar, NamedTuple

import numpy as np

SPLITS = ("train", "valid", "test")
OFFSET_LIMIT = 1000.0  # a larger offset is a fault of the recording; kept from the original
MAX_SPLIT_BYTES = 1 << 28  # of one split, unpacked; QuickDraw's largest holds about 60 MB
MAX_DRAWINGS = 400_000  # in one split; QuickDraw's largest category has 340,000 in all
MAX_OPCODES = 32 * MAX_DRAWINGS  # NumPy writes 29 a drawing; the limit takes some seconds to reach

# How a drawing becomes a bitmap (spec of the original): bitmap files carry these, so stale ones are found.
DRAWING_SETTINGS = {"factor": 0.2, "padding": 10.0, "line_width": 1.0, "miter_limit": 4.0}


# ---------------------------------------------------------------------------------------------------------
# Stroke formats


def to_big_strokes(strokes: np.ndarray, max_len: int = 250) -> np.ndarray:
    """Stroke-3 ``[n, 3]`` to stroke-5 ``[max_len, 5]``, filled up with the end state (0, 0, 0, 0, 1).

    Raises ValueError if the drawing has more than ``max_len`` points.
    """
    strokes = np.asarray(strokes)
    if len(strokes) > max_len:
        raise ValueError(f"a drawing of {len(strokes)} points does not fit into {max_len} rows")
    big = np.zeros((max_len, 5), np.float32)
    big[: len(strokes), :2] = strokes[:, :2]
    big[: len(strokes), 3] = strokes[:, 2]
    big[: len(strokes), 2] = 1 - strokes[:, 2]
    big[len(strokes) :, 4] = 1
    return big


def to_normal_strokes(big_strokes: np.ndarray) -> np.ndarray:
    """Stroke-5 ``[T, 5]`` to stroke-3 ``[n, 3]``, cut before the first row whose end state is set."""
    big_strokes = np.asarray(big_strokes)
    ends = np.flatnonzero(big_strokes[:, 4] > 0)
    length = ends[0] if len(ends) else len(big_strokes)
    return big_strokes[:length, [0, 1, 3]]


def strokes_to_lines(strokes: np.ndarray) -> list[np.ndarray]:
    """Stroke-3 to absolute positions: one ``[n, 2]`` array a stroke; a trailing unlifted stroke counts, too."""
    strokes = np.asarray(strokes)
    if len(strokes) == 0:
        return []
    positions = np.cumsum(strokes[:, :2], axis=0, dtype=np.float64)
    lines = np.split(positions, np.flatnonzero(strokes[:, 2] > 0) + 1)
    return [line for line in lines if len(line)]


def lines_to_strokes(lines: list[np.ndarray]) -> np.ndarray:
    """Absolute positions, one ``[n, 2]`` array a stroke, to stroke-3 (float64), lifted after each line.

    The first row holds the first position itself, so this undoes ``strokes_to_lines``. Empty lines vanish.
    """
    lines = [np.asarray(line, np.float64).reshape(-1, 2) for line in lines if len(line)]
    if not lines:
        return np.zeros((0, 3))
    positions = np.concatenate(lines)
    lifted = np.zeros(len(positions))
    lifted[np.cumsum([len(line) for line in lines]) - 1] = 1
    return np.column_stack([np.diff(positions, axis=0, prepend=np.zeros((1, 2))), lifted])


def get_bounds(strokes: np.ndarray, factor: float = 1.0) -> tuple[float, float, float, float]:
    """(min_x, max_x, min_y, max_y) of a drawing's positions divided by ``factor``; the origin counts, too."""
    positions = np.cumsum(np.asarray(strokes)[:, :2], axis=0, dtype=np.float64) / factor
    positions = np.concatenate([np.zeros((1, 2)), positions])
    (min_x, min_y), (max_x, max_y) = positions.min(axis=0), positions.max(axis=0)
    return float(min_x), float(max_x), float(min_y), float(max_y)


def augment_strokes(strokes: np.ndarray, prob: float, rng: np.random.Generator) -> np.ndarray:
    """Drop points of a stroke-3 drawing with probability ``prob`` where the pen has been down long enough.

    A point may go if it and the point before it are pen-down and it is at least the third such in a row; its
    offset is added to the point kept before it, so that the drawing stays in place.
    """
    points, _ = _drop_points(np.asarray(strokes), np.array([len(strokes)]), prob, rng)
    return points


def _drop_points(points, lengths, prob, rng):
    """``augment_strokes`` for drawings laid end to end: points ``[sum(lengths), 3]`` -> (points, lengths)."""
    if prob <= 0 or len(points) == 0:
        return points, lengths
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    down = points[:, 2] == 0
    counts = np.zeros(len(points), bool)
    counts[1:] = down[1:] & down[:-1]
    counts[starts[lengths > 0]] = False
    # Number of such points in a row, up to each point. A dropped point is pen-down and so is the kept one
    # before it: whether the predecessor *kept* is pen-down never depends on what was dropped.
    index = np.arange(len(points))
    run = index - np.maximum.accumulate(np.where(counts, -1, index))
    kept = ~((run >= 3) & (rng.random(len(points)) < prob))
    first = np.flatnonzero(kept)
    offsets = np.add.reduceat(points[:, :2], first, axis=0)
    drawing = np.repeat(np.arange(len(lengths)), lengths)
    return np.column_stack([offsets, points[first, 2]]), np.bincount(drawing[first], minlength=len(lengths))


def lerp(p0: np.ndarray, p1: np.ndarray, t: float) -> np.ndarray:
    """Linear interpolation from ``p0`` (t = 0) to ``p1`` (t = 1)."""
    return (1.0 - t) * p0 + t * p1


def slerp(p0: np.ndarray, p1: np.ndarray, t: float) -> np.ndarray:
    """Spherical interpolation from ``p0`` (t = 0) to ``p1`` (t = 1); linear where the two are (anti)parallel."""
    norms = np.linalg.norm(p0) * np.linalg.norm(p1)
    cosine = np.clip(np.dot(p0, p1) / norms, -1.0, 1.0) if norms > 0 else 1.0
    omega = np.arccos(cosine)
    if np.sin(omega) < 1e-6:
        return lerp(p0, p1, t)
    return (np.sin((1.0 - t) * omega) * p0 + np.sin(t * omega) * p1) / np.sin(omega)


# -------------------------------------------------------------------------------------------------------
# Files of drawings

def _check_drawings(array: np.ndarray) -> list[np.ndarray]:
    """An array as read, to a list of stroke-3 drawings. Raises ValueError naming the first bad index."""
    if array.ndim == 3:  # drawings of one length, which NumPy packs into one block
        if array.dtype.hasobject:
            for i, value in enumerate(array.flat):
                if not isinstance(value, int | float):
                    raise ValueError(f"drawing {i // array[0].size} holds a {type(value).__name__}; wanted numbers")
            array = array.astype(np.float64)
        drawings = list(array)
    elif array.ndim == 1 and array.dtype.hasobject:
        drawings = list(array)
    elif array.size == 0:
        return []
    else:
        raise ValueError(f"shape {array.shape} of type {array.dtype} is not a list of [n, 3] drawings")
    for i, drawing in enumerate(drawings):
        if not isinstance(drawing, np.ndarray) or drawing.ndim != 2 or drawing.shape[1] != 3:
            what = f"shape {drawing.shape}" if isinstance(drawing, np.ndarray) else type(drawing).__name__
            raise ValueError(f"drawing {i} is {what}; wanted [n, 3]: dx, dy, pen lifted")
        if len(drawing) == 0:
            raise ValueError(f"drawing {i} has no points")
    if drawings:
        points = np.concatenate(drawings)
        bad = ~np.isfinite(points).all(axis=1) | ((points[:, 2] != 0) & (points[:, 2] != 1))
        if bad.any():
            ends = np.cumsum([len(drawing) for drawing in drawings])
            row = int(np.flatnonzero(bad)[0])
            i = int(np.searchsorted(ends, row, side="right"))
            fault = "offsets must be finite, pen values 0 or 1"
            raise ValueError(f"drawing {i} has the point {points[row].tolist()}; {fault}")
    return drawings


def load_strokes(npz_path: str | Path) -> dict[str, list[np.ndarray]]:
    """Read a category: ``{"train": [...], "valid": [...], "test": [...]}`` of stroke-3 arrays ``[n, 3]``.

    Reads what NumPy 1 and 2 wrote under Python 2 and 3, and never executes what a pickle says.
    Raises FileNotFoundError, or ValueError naming file, split and index of what is wrong.
    """
    path = Path(npz_path)
    if not path.is_file():
        maker = "make_doodles.py" if path.stem.startswith("doodle_") else f'download_quickdraw.py "{path.stem}"'
        raise FileNotFoundError(f"{path} not found; put it there, or try: python datasets/{maker}")
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # damaged bytes make zipfile trip in many ways, and below NumPy, zlib and pickle
        raise ValueError(f"{path} is no readable .npz ({_shorten(error)}); fetch or write it again") from None
    with archive:
        missing = [split for split in SPLITS if f"{split}.npy" not in archive.namelist()]
        if missing:
            raise ValueError(f"{path}: no key {', '.join(missing)}; wanted train, valid and test")
        strokes = {}
        for split in SPLITS:
            try:
                strokes[split] = _check_drawings(_read_member(archive, split))
            except Exception as error:
                raise ValueError(f"{path}, split {split}: refused: {_shorten(error)}") from None
        return strokes


def _shorten(error: Exception) -> str:
    text = str(error) if isinstance(error, ValueError | pickle.UnpicklingError) else f"{type(error).__name__}: {error}"
    return text[:300]


# ---------------------------------------------------------------------------------------------------------
# Data sets


class PackedStrokes(NamedTuple):
    """Drawings laid end to end, so that a batch needs no Python loop."""

    points: np.ndarray  # [total, 3] float32
    starts: np.ndarray  # [n] first row of each drawing
    lengths: np.ndarray  # [n]

    @classmethod
    def pack(cls, drawings: list[np.ndarray]) -> "PackedStrokes":
        """Lay drawings end to end, their offsets clamped to +-1000."""
        lengths = np.array([len(drawing) for drawing in drawings], np.int64)
        points = np.concatenate(drawings) if drawings else np.zeros((0, 3))
        limits = [OFFSET_LIMIT, OFFSET_LIMIT, 1]  # before float32, which far offsets would overflow
        points = np.clip(points, np.negative(limits), limits).astype(np.float32)
        return cls.of(points, lengths)

    @classmethod
    def of(cls, points: np.ndarray, lengths: np.ndarray) -> "PackedStrokes":
        """Drawings that lie end to end already, in place."""
        return cls(points, np.cumsum(lengths) - lengths, lengths)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest (x, y) of each drawing, seen from its first point: two ``[n, 2]``."""
        if not len(self.starts):
            return np.zeros((0, 2)), np.zeros((0, 2))
        travelled = np.cumsum(self.points[:, :2], axis=0, dtype=np.float64)
        positions = travelled - np.repeat(travelled[self.starts], self.lengths, axis=0)
        low, high = (extreme.reduceat(positions, self.starts, axis=0) for extreme in (np.minimum, np.maximum))
        return low, high

    def centre(self) -> None:
        """Replace each drawing's first offset by that from the centre of its bounds to its first point."""
        low, high = self.bounds()
        first = self.points[self.starts, :2]
        self.points[self.starts, :2] = np.where(self.lengths[:, None] > 1, -(low + high) / 2, first)

    def longer_sides(self) -> np.ndarray:
        """The longer side of each drawing's bounds ``[n]``."""
        low, high = self.bounds()
        return (high - low).max(axis=1)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(points laid end to end, lengths) of some drawings."""
        lengths = self.lengths[indices]
        rows = np.arange(lengths.sum()) + np.repeat(self.starts[indices] - np.cumsum(lengths) + lengths, lengths)
        return self.points[rows], lengths


def offset_moments(drawings: list[np.ndarray]) -> tuple[int, float, float]:
    """(count, mean, standard deviation) of all dx and dy; all 0 if there are none."""
    offsets = PackedStrokes.pack(drawings).points[:, :2]
    if not offsets.size:
        return 0, 0.0, 0.0
    return offsets.size, float(np.mean(offsets, dtype=np.float64)), float(np.std(offsets, dtype=np.float64))


def get_scale_factor(drawings: list[np.ndarray]) -> float:
    """Standard deviation of all dx and dy, by which strokes are divided. Raises ValueError if it is zero."""
    return pooled_scale_factor([offset_moments(drawings)])


def pooled_scale_factor(moments: list[tuple[int, float, float]]) -> float:
    """``get_scale_factor`` of all drawings of several lists, from the ``offset_moments`` of each."""
    counts, means, deviations = np.array(moments).T
    shares = counts / max(counts.sum(), 1.0)
    scale_factor = float(np.sqrt(shares @ deviations**2 + shares @ (means - shares @ means) ** 2))
    if not scale_factor > 0:
        raise ValueError("the training split has no drawing with a line in it: nothing to scale by")
    return scale_factor


def strokes_digest(strokes: dict[str, list[np.ndarray]]) -> str:
    """A hash over all drawings of a category and the settings they are drawn with: ties bitmaps to them."""
    digest = hashlib.sha256(repr(sorted(DRAWING_SETTINGS.items())).encode())
    for split in SPLITS:
        packed = PackedStrokes.pack(strokes[split])
        digest.update(packed.lengths.tobytes() + packed.points.tobytes())
    return digest.hexdigest()


def npz_path(data_dir: str | Path, data_set: str) -> Path:
    """Where the strokes of a category are: ``<data_dir>/npz/<category>.npz``; the ending may be left out.

    ``ice_cream`` is also found as ``ice cream.npz``, as Google names it.
    """
    if "://" in str(data_dir):
        raise ValueError(f"data_dir {data_dir} is an address; fetch the files first and give a directory")
    if PureWindowsPath(data_set).name != data_set:  # splits at / and \; a stranger's model_config.json may say ../..
        raise ValueError(f"data_set {data_set[:100]!r} is not the bare name of a file in {data_dir}/npz")
    path = Path(data_dir) / "npz" / (data_set if data_set.endswith(".npz") else f"{data_set}.npz")
    spaced = path.with_name(path.name.replace("_", " "))
    return spaced if spaced.is_file() and not path.is_file() else path


def bitmap_path(data_dir: str | Path, data_set: str, height: int, width: int) -> Path:
    """Where the bitmaps of a category are: ``<data_dir>/bitmap/<category>_<H>x<W>.npz``."""
    return Path(data_dir) / "bitmap" / f"{npz_path(data_dir, data_set).stem}_{height}x{width}.npz"


def load_bitmaps(path: str | Path, digest: str, command: str = "python render_svg2bitmap.py") -> dict[str, np.ndarray]:
    """Read a category's bitmaps, uint8 ``[n, H, W]`` a split, in the order of its strokes.

    Raises FileNotFoundError if there are none, ValueError if they belong to other strokes or settings; both name
    the ``command`` that makes them.
    """
    path, remedy = Path(path), f"run: {command}"
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found; {remedy}")
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            found = str(file["digest"])
            bitmaps = {split: file[split] for split in SPLITS} if found == digest else {}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:
        raise ValueError(f"{path} is no readable bitmap file ({error}); {remedy} --overwrite") from None
    if found != digest:
        raise ValueError(f"{path} was made from other strokes or settings than those in npz/; {remedy}")
    return bitmaps


class Batch(NamedTuple):
    """Some drawings: stroke-5 with its start token, their bitmaps, and where they came from."""

    strokes: np.ndarray  # [N, T + 1, 5] float32
    images: np.ndarray  # [N, H, W, 1] float32, 0 (ink) .. 255 (paper)
    lengths: np.ndarray  # [N] points
    indices: np.ndarray  # [N] place in the loader


class DataLoader:
    """Batches of one split, its drawings in order of length.

    ``strokes`` are stroke-3 drawings, divided here by ``scale_factor``; ``images`` uint8 ``[n, H, W]`` and
    ``labels`` (category numbers) belong to them one by one. With ``skip_padding`` a batch reaches one row beyond
    its longest drawing, without it ``max_seq_len``, as in the original. ``centred`` drawings begin at the centre of
    their bounds, which is the centre of their bitmap, instead of at their first point.

    Training batches are augmented: axes stretched by 1 +- ``random_scale_factor``, drawings turned by up to
    ``random_rotation`` degrees, mirrored left to right with ``mirror_prob``, points dropped with
    ``augment_stroke_prob``. ``draw(drawings, labels)`` -> uint8 ``[N, H, W]`` makes their bitmaps from what came
    out; without it they keep those of ``images``, as in the original.
    """

    def __init__(
        self,
        strokes: list[np.ndarray],
        images: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        *,
        scale_factor: float = 1.0,
        batch_size: int = 100,
        max_seq_len: int = 250,
        random_scale_factor: float = 0.0,
        augment_stroke_prob: float = 0.0,
        random_rotation: float = 0.0,
        mirror_prob: float = 0.0,
        draw: Callable[[list[np.ndarray], np.ndarray], np.ndarray] | None = None,
        skip_padding: bool = False,
        centred: bool = False,
        seed: int = 0,
    ):
        order = np.argsort([len(drawing) for drawing in strokes], kind="stable")
        self.order = order  # place in the list given, for each place in the loader
        self.packed = PackedStrokes.pack([strokes[i] for i in order])
        self.packed.points[:, :2] /= scale_factor
        self.centred = centred
        if centred:
            self.packed.centre()
        self.images = np.zeros((len(strokes), 0, 0), np.uint8) if images is None else images[order]
        self.labels = np.zeros(len(strokes), np.int64) if labels is None else np.asarray(labels)[order]
        self.scale_factor = scale_factor
        self.batch_size = batch_size
        self.max_seq_len = max_seq_len
        self.random_scale_factor = random_scale_factor
        self.augment_stroke_prob = augment_stroke_prob
        self.random_rotation = random_rotation
        self.mirror_prob = mirror_prob
        self.draw = draw
        self.skip_padding = skip_padding
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.packed.lengths)

    @property
    def num_batches(self) -> int:
        """Evaluation batches, the last one perhaps smaller."""
        return -(-len(self) // self.batch_size)

    def strokes(self, index: int) -> np.ndarray:
        """One normalised stroke-3 drawing ``[n, 3]``."""
        return self.packed.take(np.array([index]))[0]

    def random_batch(self, rng: np.random.Generator | None = None) -> Batch:
        """``batch_size`` distinct drawings at random (all, if there are fewer), augmented."""
        rng = self.rng if rng is None else rng
        indices = rng.choice(len(self), min(self.batch_size, len(self)), replace=False)
        return self._batch(indices, rng)

    def get_batch(self, i: int) -> Batch:
        """The ``i``-th evaluation batch: consecutive drawings, not augmented."""
        if not 0 <= i < self.num_batches:
            raise IndexError(f"batch {i} of {self.num_batches}")
        return self._batch(np.arange(i * self.batch_size, min((i + 1) * self.batch_size, len(self))), None)

    def _batch(self, indices: np.ndarray, rng: np.random.Generator | None) -> Batch:
        points, lengths = self.packed.take(indices)
        images = self.images[indices]
        if rng is not None:
            points, lengths = self._augment(points, lengths, rng)
            if self.draw is not None:
                drawings = np.split(points, np.cumsum(lengths)[:-1])
                images = self.draw(drawings, self.labels[indices])
        steps = int(lengths.max()) + 1 if self.skip_padding else self.max_seq_len
        return Batch(pad_batch(points, lengths, steps), images[..., None].astype(np.float32), lengths, indices)

    def _augment(self, points, lengths, rng):
        """Stretched, turned, mirrored, thinned; drawings that are drawn anew keep their longer side."""
        maps = np.zeros((len(lengths), 2, 2))  # row vectors times these
        maps[:, [0, 1], [0, 1]] = 1.0
        if self.random_scale_factor > 0:
            stretch = (1 - self.random_scale_factor, 1 + self.random_scale_factor)
            maps[:, [0, 1], [0, 1]] = rng.uniform(*stretch, (len(lengths), 2))
        if self.random_rotation > 0:
            angle = np.deg2rad(rng.uniform(-self.random_rotation, self.random_rotation, len(lengths)))
            cos, sin = np.cos(angle), np.sin(angle)
            maps = maps @ np.stack([cos, sin, -sin, cos], axis=1).reshape(-1, 2, 2)
        if self.mirror_prob > 0:
            maps[:, :, 0] *= np.where(rng.random(len(lengths)) < self.mirror_prob, -1.0, 1.0)[:, None]
        before = PackedStrokes.of(points, lengths).longer_sides() if self.draw else None
        points[:, :2] = np.einsum("pi,pij->pj", points[:, :2], np.repeat(maps, lengths, axis=0))
        if self.draw is not None:  # a bitmap always fills its page: it would not show a change of size
            after = PackedStrokes.of(points, lengths).longer_sides()
            points[:, :2] *= np.repeat(before / np.maximum(after, 1e-6), lengths)[:, None]
        points, lengths = _drop_points(points, lengths, self.augment_stroke_prob, rng)
        if self.centred:
            PackedStrokes.of(points, lengths).centre()
        return points, lengths


def pad_batch(points: np.ndarray, lengths: np.ndarray, steps: int) -> np.ndarray:
    """Drawings laid end to end to stroke-5 ``[N, steps + 1, 5]``: start token, points, end states."""
    batch = np.zeros((len(lengths), steps + 1, 5), np.float32)
    batch[:, 0, 2] = 1
    batch[:, 1:, 4] = np.arange(steps) >= lengths[:, None]
    row = np.repeat(np.arange(len(lengths)), lengths)
    column = 1 + np.arange(len(points)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    batch[row, column, :2] = points[:, :2]
    batch[row, column, 3] = points[:, 2]
    batch[row, column, 2] = 1 - points[:, 2]
    return batch


def category_name(data_set: str) -> str:
    """``"cat.npz"`` -> ``"cat"``."""
    return data_set.removesuffix(".npz")


def line_width_pixels(train: DataLoader, hps) -> float:
    """The mean width of a line, in pixels, in the bitmaps of the training drawings (one SVG unit)."""
    widths, scales = [], [train.scale_factor / train.category_scale_factors[category_name(d)] for d in hps.data_set]
    for i in range(0, len(train), max(1, len(train) // 1000)):  # a thousand tell the mean well enough
        # bitmaps are drawn at the scale of their category, strokes are in that of all
        factor = DRAWING_SETTINGS["factor"] / scales[train.labels[i]]
        min_x, max_x, min_y, max_y = get_bounds(train.strokes(i), factor)
        padding = DRAWING_SETTINGS["padding"]
        widths.append(min(hps.img_W / (max_x - min_x + padding), hps.img_H / (max_y - min_y + padding)))
    return float(np.mean(widths))


class _Category(NamedTuple):
    """One category without its too long drawings; strokes and bitmaps are a worker's share of them."""

    strokes: dict[str, list[np.ndarray]]  # by split
    bitmaps: dict[str, np.ndarray]
    scale_factor: float
    moments: tuple[int, float, float]
    longest: int
    skipped: int


def _read_category(data_dir, data_set: str, hps, images: bool, share: tuple[int, int]) -> _Category:
    path = npz_path(data_dir, data_set)
    found = load_strokes(path)
    try:
        scale_factor = get_scale_factor(found["train"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    rasters = None
    if images and hps.conditional:
        path = bitmap_path(data_dir, data_set, hps.img_H, hps.img_W)
        asked = f"data_set=[{','.join(hps.data_set)}],img_H={hps.img_H},img_W={hps.img_W}"
        command = f'python render_svg2bitmap.py --data_dir {data_dir} --hparams="{asked}"'
        rasters = load_bitmaps(path, strokes_digest(found), command)
        for split in SPLITS:
            wanted = (len(found[split]), hps.img_H, hps.img_W)
            if rasters[split].shape != wanted or rasters[split].dtype != np.uint8:
                raise ValueError(f"{path}, split {split}: wanted uint8 {wanted}; run: {command} --overwrite")
    fits = {split: [i for i, drawing in enumerate(found[split]) if len(drawing) <= hps.max_seq_len] for split in SPLITS}
    moments = offset_moments([found["train"][i] for i in fits["train"]])
    longest = max((len(found[split][i]) for split in SPLITS for i in fits[split]), default=0)
    skipped = sum(len(found[split]) - len(fits[split]) for split in SPLITS)
    strokes, bitmaps, (worker, workers) = {}, {}, share
    for split in SPLITS:
        own = fits[split][worker::workers]
        strokes[split] = [found[split][i] for i in own]
        bitmaps[split] = np.zeros((len(own), 0, 0), np.uint8) if rasters is None else rasters[split][own]
    return _Category(strokes, bitmaps, scale_factor, moments, longest, skipped)


def draw_like_data(rasterize: Callable, hps, rescale: np.ndarray, drawings, labels: np.ndarray) -> np.ndarray:
    """Bitmaps uint8 ``[N, H, W]`` of drawings, drawn as those of their categories are by ``rasterize``.

    A model's strokes are normalised by the scale factor of all categories, bitmaps by each one's own: ``rescale``,
    the former over the latter, has a number for each category.
    """
    rescaled = [drawing * [scale, scale, 1] for drawing, scale in zip(drawings, rescale[labels], strict=True)]
    return rasterize(rescaled, hps.img_H, hps.img_W)


def load_dataset(
    data_dir: str | Path,
    hps,
    images: bool = True,
    rasterize: Callable | None = None,
    share: tuple[int, int] = (0, 1),
):
    """Read the strokes and bitmaps of all ``hps.data_set`` -> (train, valid, test, hps).

    The three ``DataLoader`` pool all categories; the hyper-parameters returned have ``max_seq_len`` replaced by
    the longest drawing's. Drawings over ``hps.max_seq_len`` points are skipped; ``train.skipped`` counts them.
    ``images=False`` reads no bitmaps; ``rasterize(drawings, H, W)`` draws those of augmented training drawings, where
    ``hps.augment_bitmaps`` asks for it. ``share`` (i, n) keeps drawings i, i + n, i + 2n ... of each category;
    lengths and scale factors are those of all. Raises FileNotFoundError or ValueError with the remedy.
    """
    categories = [_read_category(data_dir, data_set, hps, images, share) for data_set in hps.data_set]
    strokes = {split: [drawing for category in categories for drawing in category.strokes[split]] for split in SPLITS}
    for split in SPLITS:
        if not strokes[split]:
            whose = f"for worker {share[0]} of {share[1]} " if share[1] > 1 else ""
            names = ", ".join(hps.data_set)
            raise ValueError(f"no {split} drawing of {hps.max_seq_len} points or fewer {whose}in {names}")
    hps = hps.replace(max_seq_len=max(category.longest for category in categories))
    scale_factor = pooled_scale_factor([category.moments for category in categories])
    train, valid, test = (_pool(categories, split, strokes[split], scale_factor, hps) for split in SPLITS)
    train.skipped = sum(category.skipped for category in categories)
    scales = [category.scale_factor for category in categories]
    if hps.augment_bitmaps and rasterize is not None:
        train.draw = functools.partial(draw_like_data, rasterize, hps, scale_factor / np.array(scales))
    train.category_scale_factors = dict(zip(map(category_name, hps.data_set), scales, strict=True))
    return train, valid, test, hps


def _pool(categories: list[_Category], split: str, strokes: list, scale_factor: float, hps) -> DataLoader:
    """The loader of all categories' drawings of a split, whose bitmaps it takes away from them."""
    augmented = split == "train"
    return DataLoader(
        strokes,
        np.concatenate([category.bitmaps.pop(split) for category in categories]),
        np.repeat(np.arange(len(categories)), [len(category.strokes[split]) for category in categories]),
        scale_factor=scale_factor,
        batch_size=hps.batch_size,
        max_seq_len=hps.max_seq_len,
        random_scale_factor=hps.random_scale_factor if augmented else 0.0,
        augment_stroke_prob=hps.augment_stroke_prob if augmented else 0.0,
        random_rotation=hps.random_rotation if augmented else 0.0,
        mirror_prob=hps.mirror_prob if augmented else 0.0,
        skip_padding=hps.skip_padding,
        centred=hps.pen_position,
        seed=hps.seed,
    )
