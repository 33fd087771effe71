"""``safe_npz`` against untrusted files: nothing in them is run, nothing in them takes memory or time at will."""

import base64
import copyreg
import io
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import safe_npz
from utils import SPLITS, load_strokes, save_strokes

ROOT = Path(__file__).resolve().parent.parent
DRAWINGS = [
    np.array([[3, -4, 0], [100, 200, 1]], np.int16),
    np.array([[-300, 5, 0], [7, -8, 0], [1, 1, 1]], np.int16),
]


# ---- writing files by hand -------------------------------------------------------------------------------------------


def object_array(items: list) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def save_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


GOOD = save_npy(object_array(DRAWINGS))


def header(shape: object = (1,), descr: str = "'|O'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def write_npz(path, compression: int = zipfile.ZIP_DEFLATED, **members: bytes):
    """An .npz of whole drawings, but for the members given."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in ({split: GOOD for split in SPLITS} | members).items():
            archive.writestr(f"{name}.npy", data)
    return path


def refusal(path: Path, compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> str:
    """What ``load_strokes`` says against a file, which must name file and split; it is written if members are given."""
    if members:
        write_npz(path, compression, **members)
    split = next(iter(members), "train")
    with pytest.raises(ValueError) as caught:
        load_strokes(path)
    start = f"{path}, split {split}: refused: "
    assert str(caught.value).startswith(start) and len(str(caught.value)) < len(start) + 400
    return str(caught.value)[len(start) :]


def refusal_of_pickle(directory: Path, body: bytes) -> str:
    return refusal(directory / "x.npz", train=header() + body + b".")


# ---- pickles by hand -------------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


SYSTEM, MEMMAP = name("os", "system"), name("numpy", "memmap")
ENCODE, DTYPE = name("_codecs", "encode"), name("numpy", "dtype")
RECONSTRUCT, NDARRAY = name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray")
EMPTY = call(RECONSTRUCT, NDARRAY, b"I0\n\x85", text("b"))  # an array without a state
NUMBERS, OBJECTS = (call(DTYPE, text(code), b"\x89", b"\x88") for code in ("i2", "O8"))


def array(data: bytes, shape: bytes = b"I1\n\x85", dtype: bytes = OBJECTS) -> bytes:
    """``_reconstruct``, then BUILD of (1, shape, dtype, False, data)."""
    return EMPTY + b"(I1\n" + shape + dtype + b"\x89" + data + b"tb"


# ---- malicious files: each leaves a file at the path given if anything runs it ---------------------------------------


def touch(path: str) -> bytes:
    return text(f"touch '{path}'")


def run_system(path: str) -> bytes:
    return call(SYSTEM, touch(path))


class Evil:
    def __init__(self, path, in_items=False):
        self.path, self.in_items = path, in_items

    def __reduce__(self):
        if self.in_items:
            return dict, (), None, None, iter([("key", Evil(self.path))])
        return os.system, (f"touch '{self.path}'",)


EXTENSION = 0xF1  # a number that some program may have registered with copyreg
MALICIOUS = {
    "GLOBAL and REDUCE": run_system,
    "STACK_GLOBAL, dotted": lambda p: (
        b"\x80\x04" + text("pathlib") + text("Path.touch") + b"\x93" + call(name("pathlib", "Path"), text(p)) + b"\x85R"
    ),
    "STACK_GLOBAL through an allowed name": lambda p: (
        b"\x80\x04" + text("numpy") + text("dtype.mro.__class__") + b"\x930" + run_system(p)
    ),
    "INST": lambda p: b"(" + touch(p) + b"ios\nsystem\n",
    "OBJ": lambda p: b"(" + SYSTEM + touch(p) + b"o",
    "NEWOBJ": lambda p: MEMMAP + b"(" + text(p) + text("u1") + text("w+") + b"I0\nI1\n\x85t\x81",
    "NEWOBJ_EX": lambda p: MEMMAP + text(p) + b"\x85}(" + text("mode") + text("w+") + text("shape") + b"I1\n\x85u\x92",
    "BUILD": lambda p: b"(iargparse\nNamespace\n}" + text("__setstate__") + SYSTEM + b"sb" + touch(p) + b"b",
    "EXT1": lambda p: b"\x82" + struct.pack("<B", EXTENSION) + touch(p) + b"\x85R",
    "PERSID": lambda p: b"P" + f"touch '{p}'".encode() + b"\n",
    "BINPERSID": lambda p: touch(p) + b"Q",
    "in a FRAME": lambda p: b"\x95" + struct.pack("<Q", len(run_system(p)) + 1) + run_system(p),
    "memoised, behind POP and DUP": lambda p: b"N20" + SYSTEM + b"q\x050h\x05" + touch(p) + b"\x85R",
    "a member": lambda p: array(b"(" + run_system(p) + b"l"),
    "the shape": lambda p: array(b"]", shape=run_system(p)),
    "the dtype's state": lambda p: array(b"]", dtype=call(DTYPE, text("O8")) + run_system(p) + b"b"),
    "NumPy's own": lambda p: pickle.dumps(object_array([*DRAWINGS, Evil(p)]))[:-1],
    "items of a dict": lambda p: pickle.dumps(object_array([Evil(p, in_items=True)]))[:-1],
}


@pytest.mark.parametrize("case", MALICIOUS)
def test_malicious_file_leaves_no_trace(case: str, tmp_path: Path):
    refusal_of_pickle(tmp_path, MALICIOUS[case](str(tmp_path / "trace")))
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def run_malicious(directory: Path) -> None:
    """What a careless reader does with the files above: run in a process of its own by the test below."""

    class Careless(pickle.Unpickler):
        def persistent_load(self, pid):
            return os.system(pid)

    copyreg.add_extension("os", "system", EXTENSION)
    for i, make in enumerate(MALICIOUS.values()):
        if child := os.fork():  # some bring the reader down, too
            os.waitpid(child, 0)
            continue
        try:
            Careless(io.BytesIO(make(str(directory / str(i))) + b"."), encoding="latin1").load()
        finally:
            os._exit(0)


def run_here(call: str) -> None:
    """Call a function of this file in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", f"import pathlib, test_safe_npz; test_safe_npz.{call}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_malicious_files_are_malicious(tmp_path: Path):
    run_here(f"run_malicious(pathlib.Path({str(tmp_path)!r}))")
    assert not [case for i, case in enumerate(MALICIOUS) if not os.path.lexists(tmp_path / str(i))]


# ---- allowed names and opcodes put to other uses, and plain damage ---------------------------------------------------

MISUSED = {
    **{f"dtype {code[:12]!r}": array(b"]", dtype=call(DTYPE, text(code)))
       for code in ("V8", "i4,i4", "i" * 10**6)},
    "dtype state too short": array(b"]", dtype=NUMBERS + b"N\x85b"),
    "another codec": array(call(ENCODE, text("00"), text("rot13")), dtype=NUMBERS),
    "reconstruct memmap": call(RECONSTRUCT, MEMMAP, b"I0\n\x85", text("b")),
    "an array without a state": EMPTY,
    "an array as its own member": EMPTY + b"q\x01(I1\nI1\n\x85" + OBJECTS + b"\x89(h\x01ltb",
    "call ndarray": call(NDARRAY, b"I999999999\n\x85"),
    "arguments that are no tuple": ENCODE + text("ab") + b"R",
    "state of a function": ENCODE + b"Nb",
    "a function as member": array(b"(" + ENCODE + b"l"),
    "names that are no text": b"NN\x93",
    "unknown opcode": b"\xff",
    "a list as a drawing": array(b"((I1\nI2\nI0\nll"),
    "negative shape": array(b"]", shape=b"I-1\nI-1\n\x86"),
    "too many items": array(b"(NNl"),
    "bytes missing": array(text("a"), dtype=NUMBERS),
}  # fmt: skip


@pytest.mark.parametrize("case", MISUSED)
def test_misuse_is_refused(case: str, tmp_path: Path):
    refusal_of_pickle(tmp_path, MISUSED[case])


def test_refusal_names_what_is_wrong(tmp_path: Path):
    assert "os.system" in refusal_of_pickle(tmp_path, run_system("x"))
    assert "INST" in refusal_of_pickle(tmp_path, MALICIOUS["INST"]("x"))
    assert "rot13" not in refusal_of_pickle(tmp_path, MISUSED["another codec"])  # not looked up
    assert "drawing 0 is list" in refusal_of_pickle(tmp_path, MISUSED["a list as a drawing"])


# ---- what would take any amount of memory or time --------------------------------------------------------------------

DEEP = 100_000
HUGE_INT = b"\x8b" + struct.pack("<i", 10**5) + b"\x7f" * 10**5
DAG = b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (k, k, k + 1) for k in range(100))  # 2^100 lists
BIG_TEXT = text("ab" * 2_000_000) + b"q\x090"
BOMBS = {
    "memo index": b"Nr\xff\xff\xff\x7f",
    "length of bytes": b"\x8e" + struct.pack("<Q", 1 << 62),
    "a number of many digits": b"I" + b"9" * 10**6 + b"\n",
    "lists in lists": array(b"(" + b"]" * DEEP + b"a" * (DEEP - 1) + b"l"),
    "a list that holds itself": array(b"]q\x01h\x01a"),
    "2^100 lists": array(DAG),
    "a shape of huge numbers": array(b"]", shape=b"(" + HUGE_INT + b"2" * 5000 + b"t"),
    "a shape of 10^18": array(b"]", shape=b"(I1000000000\nI1000000000\nt", dtype=NUMBERS),
    "one text in many arrays": array(
        BIG_TEXT + b"(" + array(b"h\x09", shape=b"I2000000\n\x85", dtype=NUMBERS) * 2000 + b"l",
        shape=b"I2000\n\x85",
    ),
}


def read_bombs(directory: Path, memory: int) -> None:
    """Refuse each of BOMBS within 10 s and ``memory`` bytes: run in a process of its own by the test below."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    safe_npz.MAX_OPCODES = 500_000  # the real limit takes seconds to reach: make soak
    for case, body in BOMBS.items():
        start = time.time()
        message = refusal_of_pickle(directory, body)
        assert "MemoryError" not in message and time.time() - start < 10, f"{case}: {message}"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by Linux' means")
def test_bombs_take_neither_memory_nor_time(tmp_path: Path):
    run_here(f"read_bombs(pathlib.Path({str(tmp_path)!r}), 2 << 30)")


def test_zip_bombs_are_refused_before_they_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, bomb = tmp_path / "x.npz", header((10**3, 10**3, 3), "'|i1'") + bytes(3 * 10**6)
    assert load_strokes(write_npz(path, train=bomb))
    monkeypatch.setattr(safe_npz, "MAX_ARRAY_BYTES", 10**6)
    assert "unpacks to 3,000," in refusal(path)
    honest, lie = (struct.pack("<I", size) for size in (len(bomb), 1000))
    path.write_bytes(path.read_bytes().replace(honest, lie))
    assert "CRC" in refusal(path)  # what it declares is all that is unpacked
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):  # zipfile cannot bound these
        assert "packed as NumPy never does" in refusal(path, compression, train=GOOD)


def test_more_drawings_than_any_category_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    message = refusal(tmp_path / "x.npz", train=save_npy(np.zeros((safe_npz.MAX_ITEMS + 1, 1, 3), np.int8)))
    assert message == "it declares 400,001 drawings, over the limit of 400,000; use several files"
    monkeypatch.setattr(safe_npz, "MAX_OPCODES", 20)
    assert "over 20 pickle opcodes" in refusal(tmp_path / "x.npz", train=GOOD)


# ---- damaged files, and headers that lie -----------------------------------------------------------------------------

HEADERS = {
    "negative shape": header((-1, -2, 3), "'<i2'"),
    "huge number of drawings": header((10**30,)),
    "empty but huge": header((0, 10**30), "'<i2'"),
    "code": header("__import__('os').system('true')"),
    "brackets": header("(" * 9000),
    "longer than the file": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "version 3": b"\x93NUMPY\x03\x00" + GOOD[8:],
    "structured": header((1,), "[('a', '<i2'), ('b', '|O')]") + b"abcd",
    "one byte short": header((1, 2, 3), "'<i2'") + bytes(11),
    "two columns": header((1, 4, 2), "'<i2'") + bytes(16),
    "another shape than its content": GOOD.replace(b"(2,)", b"(3,)"),
}


@pytest.mark.parametrize("case", HEADERS)
@pytest.mark.filterwarnings("ignore")  # NumPy's and Python's remarks on such headers
def test_bad_header_is_refused(case: str, tmp_path: Path):
    refusal(tmp_path / "x.npz", valid=HEADERS[case])


def test_every_truncation_is_refused(tmp_path: Path):
    whole, path = write_npz(tmp_path / "whole.npz").read_bytes(), tmp_path / "cut.npz"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"is no readable \.npz"):
            load_strokes(path)
    for length in range(len(GOOD)):
        refusal(path, test=GOOD[:length])


def test_missing_keys_and_files_are_named(tmp_path: Path):
    np.savez(tmp_path / "x.npz", train=object_array(DRAWINGS), other=1)
    with pytest.raises(ValueError, match=r"x.npz: no key valid, test; expected train, valid, test"):
        load_strokes(tmp_path / "x.npz")
    (tmp_path / "y.npz").write_bytes(GOOD)
    with pytest.raises(ValueError, match=r"no readable \.npz"):
        load_strokes(tmp_path / "y.npz")
    with pytest.raises(FileNotFoundError, match=r"cat.npz not found; put it there"):
        load_strokes(tmp_path / "cat.npz")


def in_npz(member: bytes) -> bytes:
    file = io.BytesIO()
    write_npz(file, train=member)
    return file.getvalue()


def flipped(data: bytes) -> st.SearchStrategy[bytes]:
    """``data`` with up to 8 bytes changed."""
    flips = st.dictionaries(st.integers(0, len(data) - 1), st.integers(0, 255), min_size=1, max_size=8)
    return flips.map(lambda flips: bytes(flips.get(i, byte) for i, byte in enumerate(data)))


OPCODES = [value for name, value in vars(pickle).items() if name.isupper() and type(value) is bytes]
PARTS = [*OPCODES, RECONSTRUCT, NDARRAY, DTYPE, ENCODE, NUMBERS, b"q\x00", b"h\x00", b"I1\n", text("i2"), text("O8")]
PARTS += [text("latin1"), b"\x85", b"]", array(b"]"), array(b"(Nl")]
PICKLES = st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=8)), max_size=30).map(b"".join)
EVIL = st.sampled_from([run_system("trace") + b".", pickle.dumps(object_array([*DRAWINGS, Evil("trace")]))])
FUZZED = st.one_of(  # damaged zips, damaged members with a right checksum, damaged and random pickles
    flipped(in_npz(GOOD)),
    flipped(GOOD).map(in_npz),
    EVIL.flatmap(flipped).map(lambda body: in_npz(header() + body)),
    PICKLES.map(lambda body: in_npz(header() + body + b".")),
)


def read_or_refuse(path: Path) -> bool:
    """Whether a file is read; anything but drawings or a ValueError that names the file is a failure."""
    try:
        for drawings in load_strokes(path).values():
            assert all(drawing.shape[1:] == (3,) and np.isfinite(drawing).all() for drawing in drawings)
    except ValueError as error:
        assert str(error).startswith(str(path))
        return False
    finally:
        assert not os.path.lexists("trace")
    return True


@settings(max_examples=200, deadline=10_000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(FUZZED)
@pytest.mark.filterwarnings("ignore")  # NumPy's and Python's remarks on such headers
def test_fuzzed_file_is_read_or_refused(tmp_path_factory, data: bytes):
    path = tmp_path_factory.getbasetemp() / "fuzzed.npz"
    path.write_bytes(data)
    read_or_refuse(path)


# ---- drawings that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 3)), "drawing 1 has no points"),
        (np.zeros((4, 2)), "drawing 1 is shape (4, 2); expected [n, 3]"),
        (np.array([[0, 1, 0], [np.nan, 0, 1]]), "drawing 1 has the point [nan, 0.0, 1.0]; offsets must be finite"),
        (
            np.array([[5, 5, 2]], np.int16),
            "drawing 1 has the point [5, 5, 2]; offsets must be finite, pen values 0 or 1",
        ),
        (np.array([["a", "b", "c"]]), "an array of type U1"),
        (np.array([["a", "b", "c"]], object), "an array of objects inside an array"),
        ([[1, 2, 0], [3, 4, 1]], "drawing 1 is list; expected [n, 3]"),
        (None, "drawing 1 is NoneType"),
    ],
)
def test_bad_drawing_is_refused_by_index(bad, message: str, tmp_path: Path):
    drawings = object_array([DRAWINGS[0]] * 3)
    drawings[1] = bad
    assert message in refusal(tmp_path / "x.npz", test=save_npy(drawings))


def test_drawings_in_one_block_are_refused_by_index(tmp_path: Path):
    path, packed, loose = tmp_path / "x.npz", np.zeros((4, 2, 3)), np.zeros((4, 2, 3), object)
    packed[2, 1, 2] = 7
    assert "drawing 2 has the point" in refusal(path, train=save_npy(packed))
    loose[3, 0, 0] = "1" * 100  # a text that many members share would be read anew for each of them
    assert "drawing 3 holds a str" in refusal(path, train=save_npy(loose))
    loose[3, 0, 0] = 10**400
    assert "too large" in refusal(path, train=save_npy(loose))


# ---- good files ------------------------------------------------------------------------------------------------------


def assert_read(path: Path, split: str = "train", expected: list = DRAWINGS) -> None:
    actual = load_strokes(path)[split]
    assert len(actual) == len(expected)
    for drawing, original in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(drawing, original)


# np.save of DRAWINGS by Python 2.7.18 and NumPy 1.16.6, zlib and base64: int16, then protocol 0 below a header of
# shape (2L,), as Python 2 wrote it on Windows.
PYTHON_2 = (
    "eNqb7BfqGxDJyFDGUK2eklqcXKRupaBe46+uo6Cell9UUpSYF59flJIKEnZLzClOBYoXZyQWpAL5GkY6mjoKtQqUAK4GpuS80tyCSr3k/KJUvdzS"
    "nJLMxKKixEqu+KLU5Py84pKi0uQSrkJGiCquvBSIbCGTN0NrKGNSe1Ahs4Y3ozdTK1RBSkllQSpXIUsok7+FN4M3I1ABq4Y3cyhjjZ+fn9d/IAAT"
    "3vYlSZ2xhWwaGYwZCKPYwUZ5M7dlAPVnGkH1c4D126DqZwDqD+VhZvjzn4EhheEEAyNQAMUsTpBZzCCzODpDha78Y2VgYGBn+AFUzgiGJUmpJUl6"
    "ACKYcCo="
)
PYTHON_2_LONG = (
    "eNqlj11LwzAUhuft+RW9S4U5kvRz4rVQ0E4cuxAGo03TOtjakGay4fwV/mFP+qHOWwOHc3LOyfu8+UxXj08vV5O3yTspZCs0uXXIeUGmDikbbXRW"
    "bxpdSNu+z3atxH77mimJd5c/TK+nzofzjwOiPuzVaSYaLWf7w85sM62zE2y0FE3dGn0QBhQFt9+DuujnioGbUDCKw5LkBJSHtQ/PKsC+nXG8h4M6"
    "FOakJKgI3CVZxLgdAz7GPaPm+IahfuKh0BlHjEGapskNgy5CK8w45AnFrZ1iHlRYVCOf+VB1K4EVCr/pSdeMoOqgW26Vf6jMYvmIvcMhv8R2Xxuo"
    "S7I+Ug+Dro+lwCj7mtKiL0Q8NJjNVszCuQ95duGVB71XHlp6NHj1eq88hgodjcDCR5BEvWCEDRENRuLfRkb232y9zFHco+gFE4N89gV0eZ+k"
)


def test_files_of_python_2(tmp_path: Path):
    data = zlib.decompress(base64.b64decode(PYTHON_2))
    assert b"cnumpy.core.multiarray\n" in data
    assert_read(write_npz(tmp_path / "x.npz", train=data))
    write_npz(tmp_path / "x.npz", train=zlib.decompress(base64.b64decode(PYTHON_2_LONG)))
    with pytest.warns(UserWarning, match="Python 2"):
        assert_read(tmp_path / "x.npz")


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_names_of_numpy_1_and_2(protocol: int, module: str, tmp_path: Path):
    data = pickle.dumps(object_array(DRAWINGS), protocol=protocol)
    here = next(n for n in ("numpy._core.multiarray", "numpy.core.multiarray") if n.encode() in data)
    if protocol == 4:  # names come with their length, and all within a frame
        old, new = (b"\x8c" + bytes([len(name)]) + name.encode() for name in (here, module))
        data = data[:2] + data[11:].replace(old, new)
    data = data.replace(f"c{here}\n".encode(), f"c{module}\n".encode())
    assert module.encode() in data
    assert_read(write_npz(tmp_path / "x.npz", train=header((2,)) + data))


@pytest.mark.parametrize("order", "CF")
def test_number_types_and_orders(order: str, tmp_path: Path):
    for dtype in ("<i2", ">i2", "u1", ">i8", "<f2", ">f4", "<f8"):
        drawings = [np.asarray(np.abs(drawing) % 100, dtype, order) for drawing in DRAWINGS]
        packed = np.asarray(np.stack([drawings[0]] * 3), order=order)
        path = write_npz(tmp_path / "x.npz", train=save_npy(object_array(drawings)), test=save_npy(packed))
        assert_read(path, "train", drawings)
        assert_read(path, "test", list(packed))


def test_drawings_of_one_length_none_and_many_points(tmp_path: Path):
    packed = np.stack([DRAWINGS[0]] * 3)
    members = {"train": packed, "valid": packed.astype(object), "test": np.zeros(0)}
    path = write_npz(tmp_path / "x.npz", **{split: save_npy(array) for split, array in members.items()})
    assert_read(path, "train", list(packed))
    assert_read(path, "valid", list(packed))
    assert_read(path, "test", [])
    long = [np.array([[5, 6, 1]], np.int16), np.ones((100_000, 3), np.int16)]
    assert_read(write_npz(path, train=save_npy(object_array(long))), "train", long)


def test_what_we_and_numpy_write(tmp_path: Path):
    np.savez(tmp_path / "x.npz", **{split: object_array(DRAWINGS) for split in SPLITS})
    assert_read(tmp_path / "x.npz", "valid")
    save_strokes(tmp_path / "y.npz", {"train": DRAWINGS, "valid": [DRAWINGS[0]] * 2, "test": []})
    assert_read(tmp_path / "y.npz")
    assert_read(tmp_path / "y.npz", "valid", [DRAWINGS[0]] * 2)
    assert_read(tmp_path / "y.npz", "test", [])
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["x.npz", "y.npz"]  # no half files
