"""Drawings laid end to end: in memory, and on disk, where they are written once and memory-mapped ever after.

``<data_dir>/npz/<category>.npz``, the format of exchange, is pickled and slow to read. In
``<data_dir>/packed/<category>/`` are the same drawings as plain numbers, and what training must know of all of them:

    meta.json             counts, statistics, and which file they were made of: its size, time and hash
    points-<hash>.npy     [P, 3] stroke-3 of train, valid and test: int16 if that loses nothing, else float32
    lengths-<hash>.npy    [n] int32, points of each drawing

``<hash>`` is that of the ``.npz``, and ``meta.json`` is written last, so a reader finds all of one packing or none.
No TensorFlow here.
"""

import errno
import hashlib
import io
import json
import mmap
import os
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import BinaryIO, NamedTuple

import filelock
import numpy as np

from safe_npz import SPLITS, load_strokes

OFFSET_LIMIT = 1000.0  # a larger offset is a fault of the recording; as in the original

# How a drawing becomes a bitmap (spec of the original): bitmap files carry these, so stale ones are found.
DRAWING_SETTINGS = {"factor": 0.2, "padding": 10.0, "line_width": 1.0, "miter_limit": 4.0}

FORMAT = [1, sorted(map(list, DRAWING_SETTINGS.items()))]  # of the store; one of another format is written anew
MAX_META_BYTES = 1 << 16
MAX_STATISTICS = 20  # of different max_seq_len that are kept
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


# ---------------------------------------------------------------------------------------------------------
# Files


def write_file(path: str | Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file so that a reader finds the old one or the whole new one, making its directory.

    ``data`` may be a function that writes to the open file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            data(file) if callable(data) else file.write(data)
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


def category_name(data_set: str) -> str:
    """``"cat.npz"`` -> ``"cat"``."""
    return data_set.removesuffix(".npz")


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


# ---------------------------------------------------------------------------------------------------------
# Drawings laid end to end


class PackedStrokes(NamedTuple):
    """Stroke-3 drawings laid end to end, so that a batch needs no Python loop."""

    points: np.ndarray  # [total, 3] float32; as a file has them, perhaps int16
    starts: np.ndarray  # [n] first row of each drawing
    lengths: np.ndarray  # [n]

    @classmethod
    def pack(cls, drawings: list[np.ndarray]) -> "PackedStrokes":
        """Lay drawings end to end, their offsets clamped to +-1000."""
        lengths = np.array([len(drawing) for drawing in drawings], np.int64)
        points = np.concatenate(drawings) if drawings else np.zeros((0, 3))
        limits = [OFFSET_LIMIT, OFFSET_LIMIT, 1]  # before float32, which far offsets would overflow
        points = np.clip(points, np.negative(limits), limits).astype(np.float32, order="C")
        return cls.from_packed(points, lengths)

    @classmethod
    def from_packed(cls, points: np.ndarray, lengths: np.ndarray) -> "PackedStrokes":
        """Drawings that lie end to end already, in place."""
        lengths = lengths.astype(np.int64, copy=False)
        return cls(points, np.cumsum(lengths) - lengths, lengths)

    @classmethod
    def concatenate(cls, parts: "list[PackedStrokes]") -> "PackedStrokes":
        """The drawings of several, in their order."""
        return cls.from_packed(
            np.concatenate([part.points for part in parts]), np.concatenate([part.lengths for part in parts])
        )

    def gather(self, indices: np.ndarray) -> "PackedStrokes":
        """Some of the drawings, copied, as float32."""
        lengths = self.lengths[indices]
        rows = np.arange(lengths.sum()) + np.repeat(self.starts[indices] - np.cumsum(lengths) + lengths, lengths)
        return self.from_packed(self.points[rows].astype(np.float32, copy=False), lengths)

    def drawings(self) -> list[np.ndarray]:
        """Each drawing ``[n, 3]``, as a view."""
        return np.split(self.points, self.starts[1:]) if len(self.starts) else []

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest (x, y) of each drawing, seen from its first point: two ``[n, 2]``."""
        if not len(self.starts):
            return np.zeros((0, 2)), np.zeros((0, 2))
        offsets = np.ascontiguousarray(self.points[:, :2].T, np.float64)  # faster along rows
        positions = np.empty_like(offsets)
        for start, end in zip(self.starts.tolist(), (self.starts + self.lengths).tolist(), strict=True):
            np.add.accumulate(offsets[:, start:end], 1, None, positions[:, start:end])  # as if it were alone
        positions -= np.repeat(offsets[:, self.starts], self.lengths, axis=1)
        low, high = (extreme.reduceat(positions, self.starts, axis=1).T for extreme in (np.minimum, np.maximum))
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


class PooledStrokes(NamedTuple):
    """Drawings of several categories, left where they lie: in memory, or in mapped files."""

    sources: list[np.ndarray]  # of each category, points [P, 3] as ``PackedStrokes`` has them
    labels: np.ndarray  # [n] in which of them each drawing lies
    starts: np.ndarray  # [n] its first row there
    lengths: np.ndarray  # [n]

    @classmethod
    def pool(cls, categories: list[PackedStrokes], chosen: list[np.ndarray]) -> "PooledStrokes":
        """The drawings of these indices of each category, one category after the other."""
        pairs = list(zip(categories, chosen, strict=True))
        return cls(
            [category.points for category in categories],
            np.repeat(np.arange(len(categories), dtype=np.int32), [len(indices) for indices in chosen]),
            np.concatenate([category.starts[indices] for category, indices in pairs]),
            np.concatenate([category.lengths[indices].astype(np.int32) for category, indices in pairs]),
        )

    def select(self, indices: np.ndarray) -> "PooledStrokes":
        """Some of the drawings, where they lie."""
        return self._replace(labels=self.labels[indices], starts=self.starts[indices], lengths=self.lengths[indices])

    def gather(self, indices: np.ndarray) -> PackedStrokes:
        """Some of the drawings, copied, as float32."""
        columns = self.labels[indices].tolist(), self.starts[indices].tolist(), self.lengths[indices].tolist()
        points = [self.sources[label][start : start + length] for label, start, length in zip(*columns, strict=True)]
        points = np.concatenate(points) if points else np.zeros((0, 3))
        return PackedStrokes.from_packed(points.astype(np.float32, copy=False), self.lengths[indices])


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


# ---------------------------------------------------------------------------------------------------------
# On disk


class Statistics(NamedTuple):
    """Of a category's drawings up to some number of points."""

    moments: tuple[int, float, float]  # ``offset_moments`` of those to train on
    longest: int  # points, in any split
    skipped: int  # longer drawings of all splits


class PackedCategory(NamedTuple):
    """A category as it is packed; points are mapped, so that reading some drawings reads no others."""

    strokes: dict[str, PackedStrokes]  # by split
    scale_factor: float  # of all training drawings, by which bitmaps are drawn
    digest: str  # ``strokes_digest``
    statistics: Statistics


class _Store(NamedTuple):
    meta: dict  # as in meta.json
    points: np.ndarray  # [P, 3]
    lengths: np.ndarray  # [n] int32

    def splits(self) -> dict[str, PackedStrokes]:
        ends = np.cumsum(self.meta["counts"])
        rows = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])
        parts = zip(SPLITS, ends - self.meta["counts"], ends, strict=True)
        return {
            split: PackedStrokes.from_packed(self.points[rows[first] : rows[last]], self.lengths[first:last])
            for split, first, last in parts
        }

    def opened(self, max_seq_len: int) -> PackedCategory:
        scale_factor, digest = float(self.meta["scale_factor"]), str(self.meta["digest"])
        (count, mean, deviation), longest, skipped = self.meta["statistics"][str(max_seq_len)]
        statistics = Statistics((int(count), float(mean), float(deviation)), int(longest), int(skipped))
        if not (np.isfinite([scale_factor, mean, deviation]).all() and scale_factor > 0 <= longest <= max_seq_len):
            raise ValueError("statistics that no drawings have")
        return PackedCategory(self.splits(), scale_factor, digest, statistics)


def packed_dir(path: Path) -> Path:
    """Where the category of an ``.npz`` is packed: ``<data_dir>/packed/<category>``."""
    return path.parent.parent / "packed" / path.stem


def is_packed(path: Path) -> bool:
    """Whether the store of an ``.npz`` is there and up to date."""
    return _read(packed_dir(path), path) is not None


def open_packed(path: Path, max_seq_len: int) -> PackedCategory:
    """The drawings of the ``.npz`` ``path``, packed now if they are not yet, or if the file has changed.

    ``max_seq_len`` says which drawings the statistics are of. Where the store cannot be written, the drawings are
    packed in memory, and a line says so. Raises what ``load_strokes`` does, ValueError for a damaged store, and OSError
    if the disk is full; all name the remedy.
    """
    if not path.is_file():
        load_strokes(path)  # says what to do about it
    directory = packed_dir(path)
    store = _read(directory, path)
    if store is None or not _is_complete(store, path, max_seq_len):
        try:
            store = _refresh(directory, path, max_seq_len)
        except OSError as error:
            if error.errno in DISK_FULL:
                remedy = "make room and run again: what has been packed stays"
                raise OSError(f"{directory} cannot be written: {error.strerror}; {remedy}") from None
            if store is None:
                print(
                    f"{directory} cannot be written ({error.strerror}): {path} is read anew at each start", flush=True
                )
            store = _pack(path, max_seq_len) if store is None else _complete(store, path, max_seq_len)
    try:
        return store.opened(max_seq_len)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise _damaged(directory, error) from None


def _refresh(directory: Path, path: Path, max_seq_len: int) -> _Store:
    """Write what is missing of a store, and open it."""
    directory.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(directory / ".lock"):
        store = _read(directory, path)  # by now, another process may have written it
        if store is None:
            _write(directory, _pack(path, max_seq_len))
        elif not _is_complete(store, path, max_seq_len):
            _write_meta(directory, _complete(store, path, max_seq_len))
        store = _read(directory, path)  # mapped, what is in memory goes
    if store is None:
        raise ValueError(f"{path} has changed while it was read; run again")
    return store


def _damaged(directory: Path, error: Exception) -> ValueError:
    return ValueError(f"{directory} is damaged ({str(error)[:200]}); delete it: it is made anew from npz/")


def _read(directory: Path, path: Path) -> _Store | None:
    """The store in a directory, None if there is none or it is not that of the file ``path``. Reads no drawing."""
    try:
        with open(directory / "meta.json", "rb") as file:
            meta = json.loads(file.read(MAX_META_BYTES))
        if meta["format"] != FORMAT or not _is_of(meta["source"], path):
            return None
        points = _map(_array_file(directory, "points", meta), (np.int16, np.float32), 2)
        lengths = np.array(_map(_array_file(directory, "lengths", meta), (np.int32,), 1))
        counts = meta["counts"]
        if not all(type(count) is int and count >= 0 for count in counts) or len(counts) != len(SPLITS):
            raise ValueError("no count of drawings for each split")
        if points.shape[1] != 3 or len(lengths) != sum(counts) or lengths.min(initial=1) < 1:
            raise ValueError("arrays of shapes that no drawings have")
        if lengths.sum(dtype=np.int64) != len(points):
            raise ValueError(f"{len(points)} points, but lengths of {lengths.sum(dtype=np.int64)}")
        if type(meta["statistics"]) is not dict:
            raise ValueError("no statistics")
        return _Store(meta, points, lengths)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (LookupError, TypeError, ValueError, EOFError, RecursionError) as error:
        raise _damaged(directory, error) from None


def _array_file(directory: Path, name: str, meta: dict) -> Path:
    return directory / f"{name}-{int(meta['source']['sha256'], 16):064x}.npy"


def _map(path: Path, dtypes: tuple, rank: int) -> np.ndarray:
    """An ``.npy`` of plain numbers, mapped; its header is believed only where the file is as long as it says."""
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    if mapped.dtype not in dtypes or mapped.ndim != rank or not mapped.flags.c_contiguous:
        raise ValueError(f"{path.name} is of type {mapped.dtype} and shape {mapped.shape}")
    if path.stat().st_size != mapped.offset + mapped.nbytes:
        raise ValueError(f"{path.name} is longer than it says")
    if rank == 2 and hasattr(mmap, "MADV_RANDOM"):  # drawings are read here and there, each without its surroundings
        mapped._mmap.madvise(mmap.MADV_RANDOM)
    return mapped.view(np.ndarray)  # as each slice of a memmap would be one, at ten times the cost


def _is_of(source: dict, path: Path) -> bool:
    """Whether a file is what a store was made of: by size and time, or else by its hash."""
    stat = path.stat()
    if source["size"] != stat.st_size:
        return False
    return source["mtime_ns"] == stat.st_mtime_ns or source["sha256"] == _hash(path)


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pack(path: Path, max_seq_len: int) -> _Store:
    """Read and pack an ``.npz``."""
    before = path.stat()
    source = {"size": before.st_size, "mtime_ns": before.st_mtime_ns, "sha256": _hash(path)}
    strokes = load_packed_strokes(path)
    after = path.stat()
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise ValueError(f"{path} has changed while it was read; run again")
    try:
        scale_factor = get_scale_factor(strokes["train"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    meta = {
        "format": FORMAT,
        "source": source,
        "counts": [len(strokes[split].lengths) for split in SPLITS],
        "scale_factor": scale_factor,
        "digest": strokes_digest(strokes),
        "statistics": {str(max_seq_len): _statistics(strokes, max_seq_len)},
    }
    points, _, lengths = PackedStrokes.concatenate([strokes[split] for split in SPLITS])
    whole = points.astype(np.int16)
    if np.array_equal(whole.astype(np.float32).view(np.int32), points.view(np.int32)):  # -0.0 is not 0
        points = whole
    return _Store(meta, points, lengths.astype(np.int32))


def _statistics(strokes: dict[str, PackedStrokes], max_seq_len: int) -> Statistics:
    fits = {split: np.flatnonzero(strokes[split].lengths <= max_seq_len) for split in SPLITS}
    return Statistics(
        strokes["train"].gather(fits["train"]).offset_moments(),
        max(int(strokes[split].lengths[fits[split]].max(initial=0)) for split in SPLITS),
        sum(len(strokes[split].lengths) - len(fits[split]) for split in SPLITS),
    )


def _is_complete(store: _Store, path: Path, max_seq_len: int) -> bool:
    known = str(max_seq_len) in store.meta["statistics"]
    return known and store.meta["source"]["mtime_ns"] == path.stat().st_mtime_ns


def _complete(store: _Store, path: Path, max_seq_len: int) -> _Store:
    """With the statistics asked for, and the time of a file that has only been touched."""
    statistics = store.meta["statistics"]
    if str(max_seq_len) not in statistics:
        some = list(statistics.items())[1 - MAX_STATISTICS :]
        statistics = dict(some) | {str(max_seq_len): _statistics(store.splits(), max_seq_len)}
    source = store.meta["source"] | {"mtime_ns": path.stat().st_mtime_ns}
    return store._replace(meta=store.meta | {"source": source, "statistics": statistics})


def _write(directory: Path, store: _Store) -> None:
    """All files, ``meta.json`` last; then those of an earlier packing go."""
    remove_stale_temporaries(directory)
    paths = [_array_file(directory, name, store.meta) for name in ("points", "lengths")]
    for path, array in zip(paths, (store.points, store.lengths), strict=True):
        buffer = io.BytesIO()  # as NumPy, writing to a file itself, does not say that the disk is full
        np.save(buffer, array, allow_pickle=False)
        write_file(path, buffer.getbuffer())
    _write_meta(directory, store)
    for old in set(directory.glob("*.npy")) - set(paths):
        old.unlink()


def _write_meta(directory: Path, store: _Store) -> None:
    write_file(directory / "meta.json", (json.dumps(store.meta, indent=1) + "\n").encode())
