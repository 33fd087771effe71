"""The bitmaps of a data set: where they lie, how they are read or made, and the faults that photos have.

``loader`` is a ``DataLoader`` of utils.py. No TensorFlow here.
"""

import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from packed_store import PackedCategory, category_name, npz_path
from safe_npz import SPLITS

# ---------------------------------------------------------------------------------------------------------
# Files


def bitmap_path(data_dir: str | Path, data_set: str, height: int, width: int) -> Path:
    """Where the bitmaps of a category are: ``<data_dir>/bitmap/<category>_<H>x<W>.npz``."""
    return Path(data_dir) / "bitmap" / f"{npz_path(data_dir, data_set).stem}_{height}x{width}.npz"


def load_bitmaps(path: str | Path, digest: str, command: str = "python render_svg2bitmap.py") -> dict[str, np.ndarray]:
    """A category's bitmaps, uint8 ``[n, H, W]`` per split, in the order of its strokes; mapped, unless compressed.

    Raises FileNotFoundError if there are none, ValueError if they belong to other strokes or settings; both name
    the ``command`` that makes them.
    """
    path, remedy = Path(path), f"run: {command}"
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found; {remedy}, or train with bitmaps=on_demand")
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            actual, bitmaps, whole = str(file["digest"]), {}, np.memmap(raw, np.uint8, "r").view(np.ndarray)
            for split in SPLITS if actual == digest else ():
                mapped = _map_member(whole, file.zip, split)
                bitmaps[split] = file[split] if mapped is None else mapped
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:
        raise ValueError(f"{path} is no readable bitmap file ({error}); {remedy} --overwrite") from None
    if actual != digest:
        raise ValueError(f"{path} was made from other strokes or settings than those in npz/; {remedy}")
    return bitmaps


def _map_member(whole: np.ndarray, archive: zipfile.ZipFile, name: str) -> np.ndarray | None:
    """An array of bytes in an open ``.npz`` that is mapped as a whole, None if it does not lie there as it is."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream) if version == (1, 0) else (0, 0, 0)
        size = member.file_size - stream.tell()
    if member.compress_type != zipfile.ZIP_STORED or fortran_order or dtype != np.uint8 or math.prod(shape) != size:
        return None
    name_length, extra_length = whole[member.header_offset + 26 :][:4].view("<u2").tolist()  # the local header's own
    start = member.header_offset + 30 + name_length + extra_length + member.file_size - size
    return whole[start : start + size].reshape(shape)


def read_bitmaps(data_dir, data_set: str, hps, category: PackedCategory) -> dict[str, np.ndarray]:
    path = bitmap_path(data_dir, data_set, hps.img_H, hps.img_W)
    asked = f"data_set=[{','.join(hps.data_set)}],img_H={hps.img_H},img_W={hps.img_W}"
    command = f'python render_svg2bitmap.py --data_dir {data_dir} --hparams="{asked}"'
    bitmaps = load_bitmaps(path, category.digest, command)
    for split in SPLITS:
        expected = (len(category.strokes[split].lengths), hps.img_H, hps.img_W)
        if bitmaps[split].shape != expected or bitmaps[split].dtype != np.uint8:
            raise ValueError(f"{path}, split {split}: expected uint8 {expected}; run: {command} --overwrite")
    return bitmaps


# ---------------------------------------------------------------------------------------------------------
# What a loader's bitmaps are


class Bitmaps:
    """Bitmaps uint8 ``[n, H, W]`` that are read or made as they are asked for; indexed as an array is."""

    def __init__(self, shape: tuple[int, int, int], make: Callable[[np.ndarray], np.ndarray]):
        self.shape, self.make = shape, make  # make(indices [k]) -> [k, H, W]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key) -> np.ndarray:
        rows, *within = key if isinstance(key, tuple) else (key,)
        is_index = isinstance(rows, np.ndarray) and rows.dtype != bool
        indices = rows if is_index else np.arange(len(self))[rows]
        bitmaps = self.make(np.atleast_1d(indices))
        return bitmaps[(slice(None) if np.ndim(indices) else 0, *within)]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or np.uint8, copy=False)


def stored_bitmaps(loader, sources: list[np.ndarray], rows: np.ndarray, hps) -> Bitmaps:
    """Each drawing's bitmap, in a row of the bitmaps of its category, sources ``[n, H, W]``."""

    def read(indices):
        chosen = zip(loader.labels[indices].tolist(), rows[indices].tolist(), strict=True)
        bitmaps = [sources[label][row] for label, row in chosen]
        return np.stack(bitmaps) if bitmaps else np.zeros((0, hps.img_H, hps.img_W), np.uint8)

    return Bitmaps((len(loader), hps.img_H, hps.img_W), read)


def bitmaps_on_demand(loader, scale_factors: np.ndarray, rasterize: Callable, hps) -> Bitmaps:
    """Each drawing's bitmap, rasterised whenever it is asked for, as the script of bitmaps does."""

    def draw(indices):
        if hps.drawing_extent:  # not as the stored bitmaps, each of its category's scale
            strokes = loader.gather(indices)
        else:
            strokes = loader.pooled.gather(indices)
            strokes.points[:, :2] /= np.repeat(scale_factors[loader.labels[indices]], strokes.lengths)[:, None]
        return rasterize(strokes.drawings(), hps.img_H, hps.img_W)

    return Bitmaps((len(loader), hps.img_H, hps.img_W), draw)


# ---------------------------------------------------------------------------------------------------------
# Of augmented drawings


def bitmap_scales(train, hps) -> np.ndarray:
    """By what a category's normalised strokes are multiplied when they are rasterised, a number for each category.

    Bitmaps are drawn at the scale of their category, strokes are in that of all; with ``drawing_extent``, in one.
    """
    if hps.drawing_extent:
        return np.ones(len(hps.data_set))
    return train.scale_factor / np.array([train.category_scale_factors[category_name(name)] for name in hps.data_set])


def rasterize_augmented(rasterize: Callable, hps, rescale: np.ndarray, drawings, labels: np.ndarray) -> np.ndarray:
    """Bitmaps uint8 ``[N, H, W]`` of drawings, made as those of their categories are by ``rasterize``.

    ``rescale`` is as ``bitmap_scales`` gives it.
    """
    rescaled = [drawing * [scale, scale, 1] for drawing, scale in zip(drawings, rescale[labels], strict=True)]
    return rasterize(rescaled, hps.img_H, hps.img_W)


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
