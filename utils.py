"""Stroke formats, files of drawings, data sets and batches. No TensorFlow here.

Formats
    stroke-3  ``[n_points, 3]``  (dx, dy, pen lifted after this point), what files hold
    stroke-5  ``[T, 5]``         (dx, dy, p1 pen down, p2 pen lifted, p3 end of drawing), what the model sees
    lines     list of ``[n, 2]`` absolute positions, one array for each pen-down stroke
"""

import functools
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bitmaps import (
    add_bitmap_noise,
    bitmap_scales,
    bitmaps_on_demand,
    rasterize_augmented,
    read_bitmaps,
    stored_bitmaps,
)
from packed_store import (
    DRAWING_SETTINGS,
    PackedCategory,
    PackedStrokes,
    PooledStrokes,
    category_name,
    is_packed,
    npz_path,
    open_packed,
    pooled_scale_factor,
    write_file,
)
from packed_store import OFFSET_LIMIT as OFFSET_LIMIT  # these are found here by scripts and users
from packed_store import get_scale_factor as get_scale_factor
from packed_store import load_packed_strokes as load_packed_strokes
from packed_store import remove_stale_temporaries as remove_stale_temporaries
from packed_store import strokes_digest as strokes_digest
from safe_npz import SPLITS
from safe_npz import load_strokes as load_strokes
from script import run_python
from seeds import seed_for

PACKED_BY_SCRIPT = 1 << 25  # bytes of .npz that are worth the start of other processes, and a line on progress


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
    """Stroke-3 to absolute positions: one ``[n, 2]`` array per stroke; a trailing unlifted stroke counts, too."""
    strokes = np.asarray(strokes)
    if len(strokes) == 0:
        return []
    positions = np.cumsum(strokes[:, :2], axis=0, dtype=np.float64)
    lines = np.split(positions, np.flatnonzero(strokes[:, 2] > 0) + 1)
    return [line for line in lines if len(line)]


def lines_to_strokes(lines: list[np.ndarray]) -> np.ndarray:
    """Absolute positions, one ``[n, 2]`` array per stroke, to stroke-3 (float64), lifted after each line.

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
    offset is added to the point retained before it, so that the drawing stays in place.
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
    # Number of such points in a row, up to each point. A dropped point is pen-down and so is the retained one
    # before it: whether the retained predecessor is pen-down never depends on what was dropped.
    index = np.arange(len(points))
    run = index - np.maximum.accumulate(np.where(counts, -1, index))
    retained = ~((run >= 3) & (rng.random(len(points)) < prob))
    first = np.flatnonzero(retained)
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


# ---------------------------------------------------------------------------------------------------------
# Files


def save_strokes(path: str | Path, strokes: dict[str, list[np.ndarray]]) -> None:
    """Write a category, stroke-3 drawings by split, as ``load_strokes`` and QuickDraw's users read it."""
    arrays = {}
    for split, drawings in strokes.items():
        arrays[split] = np.empty(len(drawings), object)
        for i, drawing in enumerate(drawings):  # one by one: drawings of one length would become a block
            arrays[split][i] = drawing
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_file(path, buffer.getvalue())


# ---------------------------------------------------------------------------------------------------------
# Data sets


class Batch(NamedTuple):
    """Some drawings, laid end to end as they are in memory; the model pads them where it needs to."""

    points: np.ndarray  # [P, 3] float32 stroke-3, P = sum(lengths)
    lengths: np.ndarray  # [N] int32
    images: np.ndarray  # [N, H, W] uint8, 0 (ink) .. 255 (paper)
    indices: np.ndarray  # [N] index in the loader
    learned: np.ndarray  # [P] bool, of the points; others are fed alone

    def shard(self, index: int, count: int) -> "Batch":
        """Every ``count``-th drawing, from the ``index``-th on."""
        rows = np.column_stack([self.points, self.learned])
        rows = PackedStrokes.from_packed(rows, self.lengths).gather(np.arange(len(self.lengths))[index::count]).points
        own = {name: field[index::count] for name, field in self._asdict().items()}
        return Batch(**{**own, "points": rows[:, :3], "learned": rows[:, 3] > 0})


class DataLoader:
    """Batches of one split, its drawings in order of length.

    ``strokes`` are stroke-3 drawings; they stay where they are, and those of a batch are copied, divided by
    ``scale_factor``. ``images`` uint8 ``[n, H, W]`` and ``labels`` (category numbers) belong to them one by one.
    ``centred`` drawings begin at the centre of their bounds, which is the centre of their bitmap, instead of at their
    first point; the longer side of all is ``extent`` units, if that is not 0.

    Training batches are augmented: axes stretched by 1 +- ``random_scale_factor``, drawings turned by up to
    ``random_rotation`` degrees, mirrored left to right with ``mirror_prob``, points dropped with
    ``augment_stroke_prob``. ``rasterize(drawings, labels)`` -> uint8 ``[N, H, W]`` makes their bitmaps from what came
    out; without it they keep those of ``images``, as in the original.
    """

    def __init__(
        self,
        strokes: list[np.ndarray] | PackedStrokes | PooledStrokes,
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
        rasterize: Callable[[list[np.ndarray], np.ndarray], np.ndarray] | None = None,
        centred: bool = False,
        extent: float = 0.0,
        bitmap_noise: float = 0.0,
        seed: int = 0,
    ):
        if not isinstance(strokes, PooledStrokes):
            packed = strokes if isinstance(strokes, PackedStrokes) else PackedStrokes.pack(strokes)
            strokes = PooledStrokes.pool([packed], [np.arange(len(packed.lengths))])
        # Index in the list given, for each index in the loader. Numbers of 16 bits are sorted ten times as fast.
        short = strokes.lengths.astype(np.min_scalar_type(strokes.lengths.max(initial=0)))
        self.order = np.argsort(short, kind="stable")
        self.pooled = strokes.select(self.order)
        self.centred, self.extent, self.bitmap_noise = centred, extent, bitmap_noise
        self.images = np.zeros((len(self), 0, 0), np.uint8) if images is None else images[self.order]
        self.labels = self.pooled.labels if labels is None else np.asarray(labels)[self.order]
        self.scale_factor = scale_factor
        self.category_scale_factors = {}  # category -> its own scale factor, by which its bitmaps were drawn
        self.skipped = 0  # drawings of all splits that were longer than max_seq_len
        self.batch_size = batch_size
        self.max_seq_len = max_seq_len
        self.random_scale_factor = random_scale_factor
        self.augment_stroke_prob = augment_stroke_prob
        self.random_rotation = random_rotation
        self.mirror_prob = mirror_prob
        self.rasterize = rasterize
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def lengths(self) -> np.ndarray:
        """Points of each drawing ``[n]``."""
        return self.pooled.lengths

    @property
    def num_batches(self) -> int:
        """Evaluation batches, the last one perhaps smaller."""
        return -(-len(self) // self.batch_size)

    def strokes(self, index: int) -> np.ndarray:
        """One normalised stroke-3 drawing ``[n, 3]``."""
        return self.gather(np.array([index])).points

    def gather(self, indices: np.ndarray) -> PackedStrokes:
        """Normalised drawings, in place on their pages, copied."""
        strokes = self.pooled.gather(indices)
        strokes.points[:, :2] /= self.scale_factor
        self._place(strokes)
        return strokes

    def random_batch(self, rng: np.random.Generator | None = None) -> Batch:
        """``batch_size`` distinct drawings at random (all, if there are fewer), augmented."""
        rng = self.rng if rng is None else rng
        indices = rng.choice(len(self), min(self.batch_size, len(self)), replace=False)
        batch = self._batch(indices, self._augment(self.gather(indices), rng), self.rasterize)
        return batch._replace(images=add_bitmap_noise(batch.images, self.bitmap_noise, rng))

    def get_batch(self, i: int) -> Batch:
        """The ``i``-th evaluation batch: consecutive drawings, not augmented."""
        if not 0 <= i < self.num_batches:
            raise IndexError(f"batch {i} of {self.num_batches}")
        indices = np.arange(i * self.batch_size, min((i + 1) * self.batch_size, len(self)))
        return self._batch(indices, self.gather(indices))

    def _batch(self, indices: np.ndarray, strokes: PackedStrokes, rasterize: Callable | None = None) -> Batch:
        """All fields of a batch but for the strokes as they are stored, unless bitmaps are rasterised anew."""
        images = self.images[indices] if rasterize is None else rasterize(strokes.drawings(), self.labels[indices])
        lengths = strokes.lengths.astype(np.int32)
        return Batch(strokes.points, lengths, images, indices, learned=np.ones(len(strokes.points), bool))

    def _augment(self, strokes: PackedStrokes, rng: np.random.Generator) -> PackedStrokes:
        """Stretched, turned, mirrored, thinned; drawings that are rasterised anew keep their longer side."""
        points, _, lengths = strokes
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
        before = strokes.max_extent() if self.rasterize else None
        points[:, :2] = np.einsum("pi,pij->pj", points[:, :2], np.repeat(maps, lengths, axis=0))
        if self.rasterize is not None:  # a bitmap always fills its page: it would not show a change of size
            points[:, :2] *= np.repeat(before / np.maximum(strokes.max_extent(), 1e-6), lengths)[:, None]
        augmented = PackedStrokes.from_packed(*_drop_points(points, lengths, self.augment_stroke_prob, rng))
        self._place(augmented)
        return augmented

    def _place(self, strokes: PackedStrokes) -> None:
        if self.extent > 0:
            strokes.rescale(self.extent)
        if self.centred:
            strokes.centre()


def line_width_pixels(train: DataLoader, hps) -> float:
    """The mean width of a line, in pixels, in the bitmaps of the training drawings (one SVG unit)."""
    widths, scales = [], bitmap_scales(train, hps)
    for i in range(0, len(train), max(1, len(train) // 1000)):  # a thousand tell the mean well enough
        factor = DRAWING_SETTINGS["factor"] / scales[train.labels[i]]
        min_x, max_x, min_y, max_y = get_bounds(train.strokes(i), factor)
        padding = DRAWING_SETTINGS["padding"]
        widths.append(min(hps.img_W / (max_x - min_x + padding), hps.img_H / (max_y - min_y + padding)))
    return float(np.mean(widths))


def _open_categories(data_dir, hps) -> list[PackedCategory]:
    """All categories; those that are not packed yet are packed, by the script of bitmaps if that takes a while."""
    paths = [npz_path(data_dir, data_set) for data_set in hps.data_set]
    stale = [path for path in paths if path.is_file() and not is_packed(path)]
    if sum(path.stat().st_size for path in stale) > PACKED_BY_SCRIPT and os.access(data_dir, os.W_OK):
        asked = f"data_set=[{','.join(path.stem for path in stale)}],max_seq_len={hps.max_seq_len},bitmaps=on_demand"
        run_python("render_svg2bitmap.py", "--data_dir", data_dir, "--hparams", asked)
    return [open_packed(path, hps.max_seq_len) for path in paths]


def _choose(categories: list[PackedCategory], split: str, hps, shard: tuple[int, int]) -> list[np.ndarray]:
    """Indices of a worker's drawings of each category: those that are not too long, or a sample of them."""
    fits = [np.flatnonzero(category.strokes[split].lengths <= hps.max_seq_len) for category in categories]
    ends = np.cumsum([len(indices) for indices in fits])
    if split != "train" and 0 < hps.valid_drawings < ends[-1]:
        rng = np.random.default_rng(seed_for(0, "subset", SPLITS.index(split)))  # the same for runs of all seeds
        sample = np.sort(rng.choice(ends[-1], hps.valid_drawings, replace=False))
        parts = np.split(sample, np.searchsorted(sample, ends[:-1]))
        fits = [indices[part - end + len(indices)] for indices, part, end in zip(fits, parts, ends, strict=True)]
    return [indices[shard[0] :: shard[1]] for indices in fits]


def load_dataset(
    data_dir: str | Path,
    hps,
    images: bool = True,
    rasterize: Callable | None = None,
    shard: tuple[int, int] = (0, 1),
):
    """Open the strokes and bitmaps of all ``hps.data_set`` -> (train, valid, test, hps).

    The three ``DataLoader`` pool all categories; the hyper-parameters returned have ``max_seq_len`` replaced by
    the longest drawing's. Drawings over ``hps.max_seq_len`` points are skipped; ``train.skipped`` counts them. Of more
    than ``hps.valid_drawings`` to validate or test with, a fixed sample is taken. ``images=False`` needs no bitmaps;
    ``rasterize(drawings, H, W)`` makes those of augmented training drawings, where ``hps.augment_bitmaps`` asks for it,
    and all where ``hps.bitmaps`` does. ``shard`` (i, n) keeps drawings i, i + n, i + 2n ... of each category; lengths
    and scale factors are those of all. Raises FileNotFoundError or ValueError with the remedy.
    """
    categories = _open_categories(data_dir, hps)
    chosen = {split: _choose(categories, split, hps, shard) for split in SPLITS}
    for split in SPLITS:
        if not any(map(len, chosen[split])):
            whose = f"for worker {shard[0]} of {shard[1]} " if shard[1] > 1 else ""
            names = ", ".join(hps.data_set)
            raise ValueError(f"no {split} drawing of {hps.max_seq_len} points or fewer {whose}in {names}")
    hps = hps.replace(max_seq_len=max(category.statistics.longest for category in categories))
    scale_factor = pooled_scale_factor([category.statistics.moments for category in categories])
    train, valid, test = loaders = [_make_loader(categories, chosen, split, scale_factor, hps) for split in SPLITS]
    scale_factors = [category.scale_factor for category in categories]
    train.category_scale_factors = dict(zip(map(category_name, hps.data_set), scale_factors, strict=True))
    train.skipped = sum(category.statistics.skipped for category in categories)
    if rasterize is not None and hps.augment_bitmaps:
        train.rasterize = functools.partial(rasterize_augmented, rasterize, hps, bitmap_scales(train, hps))
    on_demand = hps.bitmaps == "on_demand"
    if images and hps.conditional and (on_demand or hps.drawing_extent):
        if rasterize is None:
            raise ValueError("bitmaps=on_demand and drawing_extent need load_dataset(..., rasterize=rasterize_all)")
        for loader in loaders:
            bitmaps = bitmaps_on_demand(loader, np.array(scale_factors, np.float32), rasterize, hps)
            loader.images = bitmaps if on_demand else bitmaps[:]
    elif images and hps.conditional:
        pairs = zip(hps.data_set, categories, strict=True)
        stored = [read_bitmaps(data_dir, data_set, hps, category) for data_set, category in pairs]
        for loader, split in zip(loaders, SPLITS, strict=True):
            rows = np.concatenate(chosen[split])[loader.order]
            loader.images = stored_bitmaps(loader, [bitmaps[split] for bitmaps in stored], rows, hps)
    return train, valid, test, hps


def _make_loader(categories: list[PackedCategory], chosen: dict, split: str, scale_factor: float, hps) -> DataLoader:
    """The loader of all categories' drawings of a split."""
    augmentation = dict.fromkeys(
        ("random_scale_factor", "augment_stroke_prob", "random_rotation", "mirror_prob") if split == "train" else ()
    )
    return DataLoader(
        PooledStrokes.pool([category.strokes[split] for category in categories], chosen[split]),
        scale_factor=scale_factor,
        batch_size=hps.batch_size,
        max_seq_len=hps.max_seq_len,
        centred=hps.use_position,
        extent=hps.drawing_extent,
        bitmap_noise=hps.bitmap_noise if split == "train" else 0.0,
        seed=hps.seed,
        **{name: getattr(hps, name) for name in augmentation},
    )
