"""Reading drawings from an untrusted .npz: nothing in the file is run, and nothing takes memory or time at will.

An .npz of drawings holds pickled arrays, and a pickle can run anything. This reader knows the handful of opcodes and
names that arrays need, and gives each name a harmless stand-in; all else is refused before it is looked up. A pickle
may also use one part many times, so that a small file can ask for any amount of memory: what is built is bounded, too.
"""

import io
import math
import pickle
import re
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np

SPLITS = ("train", "valid", "test")
MAX_ARRAY_BYTES = 1 << 28  # of one array, unpacked; QuickDraw's largest split holds about 60 MB
MAX_ITEMS = 400_000  # of one array; QuickDraw's largest category has 340,000 drawings in all
MAX_OPCODES = 32 * MAX_ITEMS  # NumPy writes 29 per drawing; the limit takes some seconds to reach


def read_arrays(path: str | Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of some names in an .npz, those of objects as arrays of arrays; never executes what a pickle says.

    Reads what NumPy 1 and 2 wrote under Python 2 and 3. Raises ValueError naming file and array, and why.
    """
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # damaged bytes make zipfile trip in many ways, and below NumPy, zlib and pickle
        raise ValueError(f"{path} is no readable .npz ({shorten(error)}); fetch or write it again") from None
    with archive:
        missing = [name for name in names if f"{name}.npy" not in archive.namelist()]
        if missing:
            raise ValueError(f"{path}: no key {', '.join(missing)}; expected {', '.join(names)}")
        arrays = {}
        for name in names:
            try:
                arrays[name] = _read_member(archive, name)
            except Exception as error:
                raise ValueError(f"{path}, split {name}: refused: {shorten(error)}") from None
        return arrays


def shorten(error: Exception) -> str:
    """An error in a few words."""
    return (str(error) or "damaged")[:300]


class _PickledDtype:
    """Stand-in for ``numpy.dtype``: a plain number type, or ``object``."""

    def __init__(self, code):
        # Not for np.dtype to judge: it takes lists of lists, and spells them out in its errors.
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?([biuf][1248]|O[48]?)", code):
            raise pickle.UnpicklingError(f"an array of type {str(code)[:20] if isinstance(code, str) else type(code)}")
        self.dtype = np.dtype(code)

    def set_state(self, state):
        byte_order = state[1]
        self.dtype = self.dtype.newbyteorder(byte_order) if byte_order in ("<", ">") else self.dtype


class _PickledArray:
    """Stand-in for an ``ndarray``; made one by ``to_array`` once the pickle has been read."""

    state = None

    def set_state(self, state):
        self.state = state

    def to_array(self, with_members: bool = False) -> np.ndarray:
        """The array; one of objects only if ``with_members``."""
        _, shape, stand_in, is_fortran, data = self.state
        dtype = stand_in.dtype
        if len(shape) > 3 or not all(isinstance(n, int) and 0 <= n <= MAX_ARRAY_BYTES for n in shape):
            raise pickle.UnpicklingError("an array of a shape that no drawing has")
        if dtype.hasobject and not (with_members and isinstance(data, list)):
            raise pickle.UnpicklingError("an array of objects inside an array")
        if len(data) != math.prod(shape) * (1 if dtype.hasobject else dtype.itemsize):
            raise pickle.UnpicklingError("an array whose content does not fill its shape")
        if dtype.hasobject:
            array = np.empty(len(data), object)
            array[:] = data
            return array.reshape(shape)
        raw = data.encode("latin1") if isinstance(data, str) else data
        return np.frombuffer(raw, dtype).reshape(shape, order="F" if is_fortran else "C")


_NDARRAY = object()


def _make_array(subtype, shape, typecode):
    if subtype is not _NDARRAY:
        raise pickle.UnpicklingError("an array of an unknown class")
    return _PickledArray()


def _make_dtype(code, align=False, copy=True):
    return _PickledDtype(code)


def _make_bytes(text, encoding="latin1"):
    if encoding != "latin1" or not isinstance(text, str):
        raise pickle.UnpicklingError("bytes in an unknown encoding")
    return text  # as Python 2's bytes come, too; encoded when the array is made


_ALLOWED_NAMES = {
    "numpy.core.multiarray _reconstruct": _make_array,
    "numpy._core.multiarray _reconstruct": _make_array,
    "numpy ndarray": _NDARRAY,
    "numpy dtype": _make_dtype,
    "_codecs encode": _make_bytes,
}
_ALLOWED_CALLS = (_make_array, _make_dtype, _make_bytes)
_ALLOWED_OPCODES = """
    PROTO MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4
    FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8 TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 LIST EMPTY_LIST APPEND APPENDS
    PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL
""".split()
_OPCODE_NAMES = {value: name for name, value in vars(pickle).items() if name.isupper() and type(value) is bytes}


class _ArrayUnpickler(pickle._Unpickler):
    """Python's own unpickler, in its readable form, with all but the opcodes that arrays need taken out.

    The C form cannot be used: it offers no way to refuse an opcode, and takes memory for whatever memo index
    a file names.
    """

    dispatch: ClassVar = {
        code: pickle._Unpickler.dispatch[code[0]] for code in (getattr(pickle, name) for name in _ALLOWED_OPCODES)
    }

    def __init__(self, stream):
        super().__init__(stream, encoding="latin1")
        self.read, self.readline = stream.read, stream.readline
        self.stack, self.metastack = [], []
        self.append = self.stack.append

    def load(self):
        """pickle's own loop, with an end."""
        for _ in range(MAX_OPCODES):
            code = self.read(1)
            if code == pickle.STOP:
                return self.stack.pop()
            if code not in self.dispatch:
                name = _OPCODE_NAMES.get(code, code)
                fault = f"uses the pickle opcode {name}, which no drawing needs" if code else "ends too early"
                raise pickle.UnpicklingError(f"it {fault}")
            self.dispatch[code](self)
        raise pickle.UnpicklingError(f"over {MAX_OPCODES:,} pickle opcodes, more than {MAX_ITEMS:,} drawings need")

    def find_class(self, module, name):
        found = _ALLOWED_NAMES.get(f"{module} {name}")
        if found is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no drawing needs")
        return found

    def load_frame(self):
        self.read(8)  # the length of a stretch to read ahead; all is in memory here

    dispatch[pickle.FRAME] = load_frame

    def load_reduce(self):
        arguments = self.stack.pop()
        function = self.stack[-1]
        if function not in _ALLOWED_CALLS or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError(f"it calls a {type(function).__name__}")
        self.stack[-1] = function(*arguments)

    dispatch[pickle.REDUCE] = load_reduce

    def load_build(self):
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, _PickledArray | _PickledDtype):
            raise pickle.UnpicklingError(f"it sets the state of a {type(target).__name__}")
        target.set_state(state)

    dispatch[pickle.BUILD] = load_build


def _unpickle_array(stream: io.BytesIO) -> np.ndarray:
    """The array in a pickle; members that are arrays are unwrapped. Raises whatever damage makes it trip over."""
    loaded = _ArrayUnpickler(stream).load()
    if not isinstance(loaded, _PickledArray):
        raise pickle.UnpicklingError(f"it holds a {type(loaded).__name__}, not an array")
    array, size = loaded.to_array(with_members=True), 0
    for i, item in enumerate(array.flat if array.dtype.hasobject else ()):
        if isinstance(item, _PickledArray):
            array.flat[i] = member = item.to_array()
            size += member.nbytes  # members may share their bytes, which copies do not
            if size > MAX_ARRAY_BYTES:
                raise pickle.UnpicklingError(f"its drawings are over the limit of {MAX_ARRAY_BYTES:,} bytes")
    return array


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array of an open .npz. Raises whatever damage makes the readers trip over."""
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > MAX_ARRAY_BYTES:
        raise ValueError(f"it unpacks to {member.file_size:,} bytes, over the limit of {MAX_ARRAY_BYTES:,}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("packed as NumPy never does")  # of the others, zipfile unpacks all before it looks at sizes
    with archive.open(member) as file:
        stream = io.BytesIO(file.read(member.file_size))  # no byte more, should the declared size lie
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"unknown .npy version {version}")
    shape, fortran_order, dtype = read_header[version](stream)
    if shape and shape[0] > MAX_ITEMS:
        raise ValueError(f"it declares {shape[0]:,} drawings, over the limit of {MAX_ITEMS:,}; use several files")
    if dtype.hasobject:
        array = _unpickle_array(stream)
        if array.shape != shape:
            raise ValueError(f"its header says shape {shape}, its content has {array.shape}")
        return array
    body = stream.getbuffer()[stream.tell() :]
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or len(body) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of type {dtype} and shape {shape} in {len(body)} bytes is no list of drawings")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran_order else "C")


# ---------------------------------------------------------------------------------------------------------
# Drawings


def _check_drawings(array: np.ndarray) -> list[np.ndarray]:
    """An array as read, to a list of stroke-3 drawings. Raises ValueError naming the first bad index."""
    if array.ndim == 3:  # drawings of one length, which NumPy packs into one block
        if array.dtype.hasobject:
            for i, value in enumerate(array.flat):
                if not isinstance(value, int | float):
                    raise ValueError(f"drawing {i // array[0].size} holds a {type(value).__name__}; expected numbers")
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
            raise ValueError(f"drawing {i} is {what}; expected [n, 3]: dx, dy, pen lifted")
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
    strokes = {}
    for split, array in read_arrays(path, SPLITS).items():
        try:
            strokes[split] = _check_drawings(array)
        except Exception as error:
            raise ValueError(f"{path}, split {split}: refused: {shorten(error)}") from None
    return strokes
