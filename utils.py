"""Stroke formats, files of drawings, data sets and batches. No TensorFlow here.

Formats
    stroke-3  ``[n_points, 3]``  (dx, dy, pen lifted after this point), what files hold
    stroke-5  ``[T, 5]``         (dx, dy, p1 pen down, p2 pen lifted, p3 end of drawing), what the model sees
    lines     list of ``[n, 2]`` absolute positions, one array for each pen-down stroke
"""

import functools
import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np

from safe_npz import SPLITS, load_strokes

OFFSET_LIMIT = 1000.0  # a larger offset is a fault of the recording; as in the original

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


def write_file(path: str | Path, data: bytes) -> None:
    """Write a file so that a reader finds the old one or the whole new one, making its directory."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def remove_stale_temporaries(directory: Path) -> None:
    """Delete what a killed process was writing with ``write_file``."""
    for part in directory.glob(".*.part") if os.name != "nt" else ():  # there, signal 0 is Ctrl-C
        try:
            os.kill(int(part.suffixes[-2][1:]), 0)  # is that process still there?
        except (ProcessLookupError, ValueError, IndexError):
            part.unlink(missing_ok=True)
        except OSError:
            pass


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


class PackedStrokes(NamedTuple):
    """Stroke-3 drawings laid end to end, so that a batch needs no Python loop."""

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
        return cls.from_packed(points, lengths)

    @classmethod
    def from_packed(cls, points: np.ndarray, lengths: np.ndarray) -> "PackedStrokes":
        """Drawings that lie end to end already, in place."""
        return cls(points, np.cumsum(lengths) - lengths, lengths)

    @classmethod
    def concatenate(cls, parts: "list[PackedStrokes]") -> "PackedStrokes":
        """The drawings of several, in their order."""
        return cls.from_packed(
            np.concatenate([part.points for part in parts]), np.concatenate([part.lengths for part in parts])
        )

    def gather(self, indices: np.ndarray) -> "PackedStrokes":
        """Some of the drawings, copied."""
        lengths = self.lengths[indices]
        rows = np.arange(lengths.sum()) + np.repeat(self.starts[indices] - np.cumsum(lengths) + lengths, lengths)
        return self.from_packed(self.points[rows], lengths)

    def drawings(self) -> list[np.ndarray]:
        """Each drawing ``[n, 3]``, as a view."""
        return np.split(self.points, self.starts[1:]) if len(self.starts) else []

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

    def rescale(self, extent: float) -> None:
        """Give each drawing's longer side so many units; a dot stays as it is."""
        sides = self.max_extent()
        self.points[:, :2] *= np.repeat(extent / np.where(sides > 0, sides, extent), self.lengths)[:, None]

    def max_extent(self) -> np.ndarray:
        """The longer side of each drawing's bounds ``[n]``."""
        low, high = self.bounds()
        return (high - low).max(axis=1)

    def offset_moments(self) -> tuple[int, float, float]:
        """(count, mean, standard deviation) of all dx and dy; all 0 if there are none."""
        offsets = self.points[:, :2]
        if not offsets.size:
            return 0, 0.0, 0.0
        return offsets.size, float(np.mean(offsets, dtype=np.float64)), float(np.std(offsets, dtype=np.float64))


def load_packed_strokes(npz_path: str | Path) -> dict[str, PackedStrokes]:
    """``load_strokes``, each split packed. Raises as it does."""
    return {split: PackedStrokes.pack(drawings) for split, drawings in load_strokes(npz_path).items()}


def get_scale_factor(train: list[np.ndarray] | PackedStrokes) -> float:
    """Standard deviation of all dx and dy, by which strokes are divided. Raises ValueError if it is zero."""
    packed = train if isinstance(train, PackedStrokes) else PackedStrokes.pack(train)
    return pooled_scale_factor([packed.offset_moments()])


def pooled_scale_factor(moments: list[tuple[int, float, float]]) -> float:
    """``get_scale_factor`` of the drawings of several categories, from the ``offset_moments`` of each."""
    counts, means, deviations = np.array(moments).T
    shares = counts / max(counts.sum(), 1.0)
    scale_factor = float(np.sqrt(shares @ deviations**2 + shares @ (means - shares @ means) ** 2))
    if not scale_factor > 0:
        raise ValueError("the training split has no drawing with a line in it: nothing to scale by")
    return scale_factor


def strokes_digest(strokes: dict[str, list[np.ndarray] | PackedStrokes]) -> str:
    """A hash over all drawings of a category and the settings they are rasterised with: ties bitmaps to them."""
    digest = hashlib.sha256(repr(sorted(DRAWING_SETTINGS.items())).encode())
    for split in SPLITS:
        packed = strokes[split] if isinstance(strokes[split], PackedStrokes) else PackedStrokes.pack(strokes[split])
        digest.update(packed.lengths.tobytes() + packed.points.tobytes())
    return digest.hexdigest()


def npz_path(data_dir: str | Path, data_set: str) -> Path:
    """Where the strokes of a category are: ``<data_dir>/npz/<category>.npz``; the ending may be left out.

    ``ice_cream`` is also found as ``ice cream.npz``, as Google names it.
    """
    if "://" in str(data_dir):
        raise ValueError(f"data_dir {data_dir} is an address; fetch the files first and give a directory")
    if PureWindowsPath(data_set).name != data_set:  # splits at / and \; a downloaded model_config.json may say ../..
        raise ValueError(f"data_set {data_set[:100]!r} is not the bare name of a file in {data_dir}/npz")
    path = Path(data_dir) / "npz" / (data_set if data_set.endswith(".npz") else f"{data_set}.npz")
    spaced = path.with_name(path.name.replace("_", " "))
    return spaced if spaced.is_file() and not path.is_file() else path


def category_name(data_set: str) -> str:
    """``"cat.npz"`` -> ``"cat"``."""
    return data_set.removesuffix(".npz")


def bitmap_path(data_dir: str | Path, data_set: str, height: int, width: int) -> Path:
    """Where the bitmaps of a category are: ``<data_dir>/bitmap/<category>_<H>x<W>.npz``."""
    return Path(data_dir) / "bitmap" / f"{npz_path(data_dir, data_set).stem}_{height}x{width}.npz"


def load_bitmaps(path: str | Path, digest: str, command: str = "python render_svg2bitmap.py") -> dict[str, np.ndarray]:
    """Read a category's bitmaps, uint8 ``[n, H, W]`` per split, in the order of its strokes.

    Raises FileNotFoundError if there are none, ValueError if they belong to other strokes or settings; both name
    the ``command`` that makes them.
    """
    path, remedy = Path(path), f"run: {command}"
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found; {remedy}")
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            actual = str(file["digest"])
            bitmaps = {split: file[split] for split in SPLITS} if actual == digest else {}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:
        raise ValueError(f"{path} is no readable bitmap file ({error}); {remedy} --overwrite") from None
    if actual != digest:
        raise ValueError(f"{path} was made from other strokes or settings than those in npz/; {remedy}")
    return bitmaps


class Batch(NamedTuple):
    """Some drawings, laid end to end as they are in memory; the model pads them where it needs to."""

    points: np.ndarray  # [P, 3] float32 stroke-3, P = sum(lengths)
    lengths: np.ndarray  # [N] int32
    images: np.ndarray  # [N, H, W] uint8, 0 (ink) .. 255 (paper)
    indices: np.ndarray  # [N] index in the loader

    def shard(self, index: int, count: int) -> "Batch":
        """Every ``count``-th drawing, from the ``index``-th on."""
        packed = PackedStrokes.from_packed(self.points, self.lengths).gather(np.arange(len(self.lengths))[index::count])
        own = {name: field[index::count] for name, field in self._asdict().items()}
        return Batch(**{**own, "points": packed.points})


class DataLoader:
    """Batches of one split, its drawings in order of length.

    ``strokes`` are stroke-3 drawings, divided here by ``scale_factor``; ``images`` uint8 ``[n, H, W]`` and
    ``labels`` (category numbers) belong to them one by one. ``centred`` drawings begin at the centre of
    their bounds, which is the centre of their bitmap, instead of at their first point.

    Training batches are augmented: axes stretched by 1 +- ``random_scale_factor``, drawings turned by up to
    ``random_rotation`` degrees, mirrored left to right with ``mirror_prob``, points dropped with
    ``augment_stroke_prob``. ``rasterize(drawings, labels)`` -> uint8 ``[N, H, W]`` makes their bitmaps from what came
    out; without it they keep those of ``images``, as in the original.
    """

    def __init__(
        self,
        strokes: list[np.ndarray] | PackedStrokes,
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
        packed = strokes if isinstance(strokes, PackedStrokes) else PackedStrokes.pack(strokes)
        self.order = np.argsort(packed.lengths, kind="stable")  # index in the list given, for each index in the loader
        self.packed = packed.gather(self.order)
        self.packed.points[:, :2] /= scale_factor
        self.centred, self.extent, self.bitmap_noise = centred, extent, bitmap_noise
        self._place(self.packed)
        self.images = np.zeros((len(self), 0, 0), np.uint8) if images is None else images[self.order]
        self.labels = np.zeros(len(self), np.int64) if labels is None else np.asarray(labels)[self.order]
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
        return len(self.packed.lengths)

    @property
    def lengths(self) -> np.ndarray:
        """Points of each drawing ``[n]``."""
        return self.packed.lengths

    @property
    def num_batches(self) -> int:
        """Evaluation batches, the last one perhaps smaller."""
        return -(-len(self) // self.batch_size)

    def strokes(self, index: int) -> np.ndarray:
        """One normalised stroke-3 drawing ``[n, 3]``."""
        return self.packed.gather(np.array([index])).points

    def random_batch(self, rng: np.random.Generator | None = None) -> Batch:
        """``batch_size`` distinct drawings at random (all, if there are fewer), augmented."""
        rng = self.rng if rng is None else rng
        indices = rng.choice(len(self), min(self.batch_size, len(self)), replace=False)
        batch = self._batch(indices, self._augment(self.packed.gather(indices), rng), self.rasterize)
        return batch._replace(images=add_bitmap_noise(batch.images, self.bitmap_noise, rng))

    def get_batch(self, i: int) -> Batch:
        """The ``i``-th evaluation batch: consecutive drawings, not augmented."""
        if not 0 <= i < self.num_batches:
            raise IndexError(f"batch {i} of {self.num_batches}")
        indices = np.arange(i * self.batch_size, min((i + 1) * self.batch_size, len(self)))
        return self._batch(indices, self.packed.gather(indices))

    def _batch(self, indices: np.ndarray, strokes: PackedStrokes, rasterize: Callable | None = None) -> Batch:
        """All fields of a batch but for the strokes as they are stored, unless bitmaps are rasterised anew."""
        images = self.images[indices] if rasterize is None else rasterize(strokes.drawings(), self.labels[indices])
        return Batch(points=strokes.points, lengths=strokes.lengths.astype(np.int32), images=images, indices=indices)

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


def add_bitmap_noise(images: np.ndarray, prob: float, rng: np.random.Generator) -> np.ndarray:
    """Bitmaps uint8 ``[N, H, W]`` with the faults of photos, each with probability ``prob``.

    Thick lines, faint ink, blur, a pixel's shift, gaps of a few pixels.
    """
    if prob <= 0:
        return images
    ink, rows = 1.0 - images.astype(np.float32) / 255.0, len(images)
    faults = rng.random((5, rows, 1, 1)) < prob
    right, below = np.roll(ink, 1, axis=2), np.roll(ink, 1, axis=1)
    ink = np.where(faults[0], np.maximum(np.maximum(ink, right), below), ink)
    blurred = ink
    for axis in (1, 2):
        blurred = 0.25 * np.roll(blurred, 1, axis) + 0.5 * blurred + 0.25 * np.roll(blurred, -1, axis)
    ink = np.where(faults[1], blurred, ink)
    ink = np.where(faults[2], ink * rng.uniform(0.4, 1.0, (rows, 1, 1)), ink)
    for i in np.flatnonzero(faults[3]):
        ink[i] = np.roll(ink[i], rng.integers(-1, 2, 2), axis=(0, 1))
    side = max(1, images.shape[1] // 20)
    for i in np.flatnonzero(faults[4]):
        for y, x in rng.integers(0, images.shape[1] - side, (4, 2)):
            ink[i, y : y + side, x : x + side] = 0.0
    return np.rint(255.0 * (1.0 - ink)).astype(np.uint8)


def bitmap_scales(train: DataLoader, hps) -> np.ndarray:
    """By what a category's normalised strokes are multiplied when they are rasterised, a number for each category.

    Bitmaps are drawn at the scale of their category, strokes are in that of all; with ``drawing_extent``, in one.
    """
    if hps.drawing_extent:
        return np.ones(len(hps.data_set))
    return train.scale_factor / np.array([train.category_scale_factors[category_name(name)] for name in hps.data_set])


def line_width_pixels(train: DataLoader, hps) -> float:
    """The mean width of a line, in pixels, in the bitmaps of the training drawings (one SVG unit)."""
    widths, scales = [], bitmap_scales(train, hps)
    for i in range(0, len(train), max(1, len(train) // 1000)):  # a thousand tell the mean well enough
        factor = DRAWING_SETTINGS["factor"] / scales[train.labels[i]]
        min_x, max_x, min_y, max_y = get_bounds(train.strokes(i), factor)
        padding = DRAWING_SETTINGS["padding"]
        widths.append(min(hps.img_W / (max_x - min_x + padding), hps.img_H / (max_y - min_y + padding)))
    return float(np.mean(widths))


def rasterize_augmented(rasterize: Callable, hps, rescale: np.ndarray, drawings, labels: np.ndarray) -> np.ndarray:
    """Bitmaps uint8 ``[N, H, W]`` of drawings, made as those of their categories are by ``rasterize``.

    ``rescale`` is as ``bitmap_scales`` gives it.
    """
    rescaled = [drawing * [scale, scale, 1] for drawing, scale in zip(drawings, rescale[labels], strict=True)]
    return rasterize(rescaled, hps.img_H, hps.img_W)


class _Category(NamedTuple):
    """One category without its too long drawings; strokes and bitmaps are a worker's shard of them."""

    strokes: dict[str, PackedStrokes]  # by split
    bitmaps: dict[str, np.ndarray]
    scale_factor: float
    moments: tuple[int, float, float]
    longest: int
    skipped: int


def _read_category(data_dir, data_set: str, hps, images: bool, shard: tuple[int, int]) -> _Category:
    path = npz_path(data_dir, data_set)
    whole = load_packed_strokes(path)
    try:
        scale_factor = get_scale_factor(whole["train"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    stored = images and hps.conditional and not hps.drawing_extent
    bitmaps = _read_bitmaps(data_dir, data_set, hps, whole) if stored else None
    fits = {split: np.flatnonzero(whole[split].lengths <= hps.max_seq_len) for split in SPLITS}
    moments = whole["train"].gather(fits["train"]).offset_moments()
    longest = max(int(whole[split].lengths[fits[split]].max(initial=0)) for split in SPLITS)
    skipped = sum(len(whole[split].lengths) - len(fits[split]) for split in SPLITS)
    own = {split: fits[split][shard[0] :: shard[1]] for split in SPLITS}
    return _Category(
        {split: whole[split].gather(own[split]) for split in SPLITS},
        {
            split: np.zeros((len(own[split]), 0, 0), np.uint8) if bitmaps is None else bitmaps[split][own[split]]
            for split in SPLITS
        },
        scale_factor,
        moments,
        longest,
        skipped,
    )


def _read_bitmaps(data_dir, data_set: str, hps, strokes: dict[str, PackedStrokes]) -> dict[str, np.ndarray]:
    path = bitmap_path(data_dir, data_set, hps.img_H, hps.img_W)
    asked = f"data_set=[{','.join(hps.data_set)}],img_H={hps.img_H},img_W={hps.img_W}"
    command = f'python render_svg2bitmap.py --data_dir {data_dir} --hparams="{asked}"'
    bitmaps = load_bitmaps(path, strokes_digest(strokes), command)
    for split in SPLITS:
        expected = (len(strokes[split].lengths), hps.img_H, hps.img_W)
        if bitmaps[split].shape != expected or bitmaps[split].dtype != np.uint8:
            raise ValueError(f"{path}, split {split}: expected uint8 {expected}; run: {command} --overwrite")
    return bitmaps


def load_dataset(
    data_dir: str | Path,
    hps,
    images: bool = True,
    rasterize: Callable | None = None,
    shard: tuple[int, int] = (0, 1),
):
    """Read the strokes and bitmaps of all ``hps.data_set`` -> (train, valid, test, hps).

    The three ``DataLoader`` pool all categories; the hyper-parameters returned have ``max_seq_len`` replaced by
    the longest drawing's. Drawings over ``hps.max_seq_len`` points are skipped; ``train.skipped`` counts them.
    ``images=False`` reads no bitmaps; ``rasterize(drawings, H, W)`` makes those of augmented training drawings, where
    ``hps.augment_bitmaps`` asks for it. ``shard`` (i, n) keeps drawings i, i + n, i + 2n ... of each category;
    lengths and scale factors are those of all. Raises FileNotFoundError or ValueError with the remedy.
    """
    categories = [_read_category(data_dir, data_set, hps, images, shard) for data_set in hps.data_set]
    for split in SPLITS:
        if not any(len(category.strokes[split].lengths) for category in categories):
            whose = f"for worker {shard[0]} of {shard[1]} " if shard[1] > 1 else ""
            names = ", ".join(hps.data_set)
            raise ValueError(f"no {split} drawing of {hps.max_seq_len} points or fewer {whose}in {names}")
    hps = hps.replace(max_seq_len=max(category.longest for category in categories))
    scale_factor = pooled_scale_factor([category.moments for category in categories])
    train, valid, test = (_pool(categories, split, scale_factor, hps) for split in SPLITS)
    scales = [category.scale_factor for category in categories]
    train.category_scale_factors = dict(zip(map(category_name, hps.data_set), scales, strict=True))
    train.skipped = sum(category.skipped for category in categories)
    if rasterize is not None:
        rasterize = functools.partial(rasterize_augmented, rasterize, hps, bitmap_scales(train, hps))
        train.rasterize = rasterize if hps.augment_bitmaps else None
        if images and hps.conditional and hps.drawing_extent:  # not as the stored bitmaps, each of its category's scale
            for loader in (train, valid, test):
                loader.images = rasterize(loader.packed.drawings(), loader.labels)
    return train, valid, test, hps


def _pool(categories: list[_Category], split: str, scale_factor: float, hps) -> DataLoader:
    """The loader of all categories' drawings of a split, whose bitmaps it takes away from them."""
    counts = [len(category.strokes[split].lengths) for category in categories]
    augmentation = dict.fromkeys(
        ("random_scale_factor", "augment_stroke_prob", "random_rotation", "mirror_prob") if split == "train" else ()
    )
    return DataLoader(
        PackedStrokes.concatenate([category.strokes.pop(split) for category in categories]),
        np.concatenate([category.bitmaps.pop(split) for category in categories]),
        np.repeat(np.arange(len(categories)), counts),
        scale_factor=scale_factor,
        batch_size=hps.batch_size,
        max_seq_len=hps.max_seq_len,
        centred=hps.use_position,
        extent=hps.drawing_extent,
        bitmap_noise=hps.bitmap_noise if split == "train" else 0.0,
        seed=hps.seed,
        **{name: getattr(hps, name) for name in augmentation},
    )
