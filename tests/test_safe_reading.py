"""``load_strokes`` against strangers' files: nothing in them is run, nothing in them takes memory or time at will."""

import base64
import copyreg
import io
import marshal
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import utils
from utils import OFFSET_LIMIT, SPLITS, PackedStrokes, load_dataset, load_strokes, npz_path

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
DRAWINGS = [
    np.array([[3, -4, 0], [100, 200, 1]], np.int16),
    np.array([[-300, 5, 0], [7, -8, 0], [1, 1, 1]], np.int16),
]


# ---------------------------------------------------------------------------------------------------------
# Writing files by hand


def object_array(items: list) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def save_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


GOOD = save_npy(object_array(DRAWINGS))


def header(shape: object = (1,), descr: str = "'|O'", order: object = False) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def write_npz(path: Path, compression: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    """An .npz of whole drawings, but for the members given."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in ({split: GOOD for split in SPLITS} | members).items():
            archive.writestr(f"{name}.npy", data)
    return path


def refusal(path: Path, split: str) -> str:
    """What ``load_strokes`` says against a file; it must name file and split."""
    with pytest.raises(ValueError) as caught:
        load_strokes(path)
    start = f"{path}, split {split}: refused: "
    assert str(caught.value).startswith(start)
    assert len(str(caught.value)) < len(start) + 400
    return str(caught.value)[len(start) :]


# ---------------------------------------------------------------------------------------------------------
# Malicious files. Each of TRACED leaves a file at the path given if anything runs it.


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def number(value: int) -> bytes:
    return b"I%d\n" % value


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def touch(path: str) -> str:
    return f"touch '{path}'"


def python(path: str) -> str:
    return f"open({path!r}, 'w').close()"


def words(path: str) -> bytes:
    """The list ["touch", path]."""
    return b"(" + text("touch") + text(path) + b"l"


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (touch(self.path),)


class EvilWithState(Evil):
    """Runs when its state, not when itself is made."""

    def __reduce__(self):
        return dict, (), None, None, iter([("key", Evil(self.path))])


SYSTEM = name("os", "system")
IMPORT_OS = call(name("importlib", "import_module"), text("os"))
MEMMAP = name("numpy", "memmap")
EXTENSIONS = {"EXT1": 0xF1, "EXT2": 0x1F2, "EXT4": 0x1F3F4}


def function_from_code(path: str) -> bytes:
    code = marshal.dumps(compile(python(path), "x", "exec"))
    loaded = call(name("marshal", "loads"), b"B" + struct.pack("<I", len(code)) + code)
    return call(call(name("types", "FunctionType"), loaded, call(name("builtins", "globals"))))


def array_state(data: bytes, shape: bytes = b"I1\n\x85", dtype: bytes | None = None) -> bytes:
    """An array by hand: ``_reconstruct``, then BUILD of (1, shape, dtype, False, data)."""
    dtype = call(name("numpy", "dtype"), text("O8"), b"\x89", b"\x88") if dtype is None else dtype
    array = call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), b"I0\n\x85", text("b"))
    return array + b"(I1\n" + shape + dtype + b"\x89" + data + b"tb"


CALLS = {
    "os.system": lambda p: call(SYSTEM, text(touch(p))),
    "posix.system": lambda p: call(name("posix", "system"), text(touch(p))),
    "os.popen": lambda p: call(name("builtins", "list"), call(name("os", "popen"), text(touch(p)))),
    "os.mkdir": lambda p: call(name("os", "mkdir"), text(p)),
    "os.mkfifo": lambda p: call(name("os", "mkfifo"), text(p)),
    "os.symlink": lambda p: call(name("os", "symlink"), text("nowhere"), text(p)),
    "os.open": lambda p: call(name("os", "open"), text(p), number(os.O_CREAT | os.O_WRONLY)),
    "os.spawnvp": lambda p: call(name("os", "spawnvp"), number(os.P_WAIT), text("touch"), words(p)),
    "subprocess.getoutput": lambda p: call(name("subprocess", "getoutput"), text(touch(p))),
    "subprocess.check_output": lambda p: call(name("subprocess", "check_output"), words(p)),
    "subprocess.call": lambda p: call(name("subprocess", "call"), words(p)),
    "builtins.eval": lambda p: call(name("builtins", "eval"), text(python(p))),
    "builtins.exec": lambda p: call(name("builtins", "exec"), text(python(p))),
    "builtins.open": lambda p: call(name("builtins", "open"), text(p), text("w")),
    "__builtin__.eval (Python 2)": lambda p: call(name("__builtin__", "eval"), text(python(p))),
    "__builtin__.file-like open": lambda p: call(name("__builtin__", "open"), text(p), text("w")),
    "io.FileIO": lambda p: call(name("io", "FileIO"), text(p), text("w")),
    "_io.open": lambda p: call(name("_io", "open"), text(p), text("w")),
    "shutil.copyfile": lambda p: call(name("shutil", "copyfile"), text("/dev/null"), text(p)),
    "zipfile.ZipFile": lambda p: call(name("zipfile", "ZipFile"), text(p), text("w")),
    "logging.FileHandler": lambda p: call(name("logging", "FileHandler"), text(p)),
    "timeit.timeit": lambda p: call(name("timeit", "timeit"), text("pass"), text(python(p))),
    "cProfile.run": lambda p: call(name("cProfile", "run"), text(python(p))),
    "runpy._run_code": lambda p: call(name("runpy", "_run_code"), text(python(p)), b"}"),
    "pickle.loads": lambda p: call(name("pickle", "loads"), b"B" + struct.pack("<I", len(CALL(p))) + CALL(p)),
    "numpy.memmap": lambda p: call(MEMMAP, text(p), text("u1"), text("w+"), number(0), b"I1\n\x85"),
    "numpy.savetxt": lambda p: call(name("numpy", "savetxt"), text(p), b"]"),
    "ctypes": lambda p: call(
        call(name("builtins", "getattr"), call(name("ctypes", "CDLL"), b"N"), text("system")),
        call(name("builtins", "bytes"), text(touch(p)), text("ascii")),
    ),
    "importlib": lambda p: call(call(name("builtins", "getattr"), IMPORT_OS, text("system")), text(touch(p))),
    "operator.methodcaller": lambda p: call(
        call(name("operator", "methodcaller"), text("system"), text(touch(p))), IMPORT_OS
    ),
    "functools.partial": lambda p: call(call(name("functools", "partial"), SYSTEM, text(touch(p)))),
    "map": lambda p: call(
        name("builtins", "list"), call(name("builtins", "map"), SYSTEM, b"(" + text(touch(p)) + b"l")
    ),
    "marshal": function_from_code,
}


def CALL(path: str) -> bytes:
    return CALLS["os.system"](path) + b"."


OPCODES = {
    "GLOBAL REDUCE": CALLS["os.system"],
    "STACK_GLOBAL": lambda p: text("os") + text("system") + b"\x93" + text(touch(p)) + b"\x85R",
    "STACK_GLOBAL dotted": lambda p: (
        b"\x80\x04" + text("pathlib") + text("Path.touch") + b"\x93" + call(name("pathlib", "Path"), text(p)) + b"\x85R"
    ),
    "STACK_GLOBAL through an allowed name": lambda p: (
        b"\x80\x04" + text("numpy") + text("dtype.mro.__class__") + b"\x930" + CALLS["os.system"](p)
    ),
    "INST": lambda p: b"(" + text(touch(p)) + b"ios\nsystem\n",
    "OBJ": lambda p: b"(" + SYSTEM + text(touch(p)) + b"o",
    "NEWOBJ": lambda p: MEMMAP + b"(" + text(p) + text("u1") + text("w+") + b"I0\nI1\n\x85t\x81",
    "NEWOBJ_EX": lambda p: MEMMAP + text(p) + b"\x85}(" + text("mode") + text("w+") + text("shape") + b"I1\n\x85u\x92",
    "BUILD": lambda p: b"(iargparse\nNamespace\n}" + text("__setstate__") + SYSTEM + b"sb" + text(touch(p)) + b"b",
    "EXT1": lambda p: b"\x82" + struct.pack("<B", EXTENSIONS["EXT1"]) + text(touch(p)) + b"\x85R",
    "EXT2": lambda p: b"\x83" + struct.pack("<H", EXTENSIONS["EXT2"]) + text(touch(p)) + b"\x85R",
    "EXT4": lambda p: b"\x84" + struct.pack("<i", EXTENSIONS["EXT4"]) + text(touch(p)) + b"\x85R",
    "PERSID": lambda p: b"P" + touch(p).encode() + b"\n",
    "BINPERSID": lambda p: text(touch(p)) + b"Q",
    "DICT": lambda p: b"(" + text("key") + CALLS["os.system"](p) + b"d",
    "EMPTY_SET ADDITEMS": lambda p: b"\x8f(" + CALLS["os.system"](p) + b"\x90",
    "FROZENSET": lambda p: b"(" + CALLS["os.system"](p) + b"\x91",
    "in a FRAME": lambda p: b"\x95" + struct.pack("<Q", len(CALL(p))) + CALLS["os.system"](p),
    "behind POP and DUP": lambda p: b"N20" + CALLS["os.system"](p) + b"0N",
    "memoised function": lambda p: SYSTEM + b"q\x050h\x05" + text(touch(p)) + b"\x85R",
}
INSIDE_ARRAYS = {
    "the only member": lambda p: array_state(CALLS["os.system"](p) + b"\x85q\x070]h\x07a"),
    "a list member": lambda p: array_state(b"(" + CALLS["os.system"](p) + b"l"),
    "the shape": lambda p: array_state(b"]", shape=CALLS["os.system"](p)),
    "the dtype": lambda p: array_state(b"]", dtype=CALLS["os.system"](p)),
    "the dtype's code": lambda p: array_state(b"]", dtype=call(name("numpy", "dtype"), CALLS["os.system"](p))),
    "the dtype's state": lambda p: array_state(
        b"]", dtype=call(name("numpy", "dtype"), text("O8")) + CALLS["os.system"](p) + b"b"
    ),
    "the subtype": lambda p: call(name("numpy.core.multiarray", "_reconstruct"), CALLS["os.system"](p)),
    "the text to encode": lambda p: call(name("_codecs", "encode"), CALLS["os.system"](p), text("latin1")),
    "an array in an array": lambda p: array_state(b"(" + array_state(b"(" + CALLS["os.system"](p) + b"l") + b"l"),
}


def dumped(make) -> dict:
    return {f"protocol {k}": lambda p, k=k: pickle.dumps(make(p), protocol=k)[:-1] for k in range(6)}


EVIL_OBJECTS = {
    **{f"numpy's own, {key}": value for key, value in dumped(lambda p: object_array([Evil(p)])).items()},
    **{f"after a drawing, {key}": value for key, value in dumped(lambda p: object_array([*DRAWINGS, Evil(p)])).items()},
    "no array at all": lambda p: pickle.dumps(Evil(p))[:-1],
    "items of a dict": lambda p: pickle.dumps(object_array([EvilWithState(p)]))[:-1],
    "in a tuple": lambda p: pickle.dumps(object_array([(1, [Evil(p)])]))[:-1],
}
TRACED = {
    f"{kind}: {key}": lambda p, make=make: make(p) + b"."
    for kind, group in (("call", CALLS), ("opcode", OPCODES), ("inside", INSIDE_ARRAYS), ("object", EVIL_OBJECTS))
    for key, make in group.items()
}

# Allowed names and opcodes put to other uses, and plain damage. They leave no trace, but must be refused.
ENCODE, DTYPE = name("_codecs", "encode"), name("numpy", "dtype")
RECONSTRUCT, NDARRAY = name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray")
NUMBERS = call(DTYPE, text("i2"), b"\x89", b"\x88")
DEEP = 100_000
MISUSED = {
    **{f"dtype {code[:12]}": array_state(b"]", dtype=call(DTYPE, text(code)))
       for code in ("V8", "S5", "U10", "M8[ns]", "i4,i4", "(9,9)i4", "c16", "f16", "i" * 10**6, "", "O,O", "i3", "no")},
    **{f"dtype of {key}": array_state(b"]", dtype=call(DTYPE, code))
       for key, code in {"None": b"N", "a number": b"I4\n", "a list": b"]", "a dtype": NUMBERS, "pairs":
                         b"(" + text("a") + text("O") + b"\x86l"}.items()},
    **{f"dtype state {key}": array_state(b"]", dtype=NUMBERS + state + b"b")
       for key, state in {"None": b"N", "a list": b"]", "a number": b"I4\n", "short": b"N\x85"}.items()},
    **{f"encode {codec}": array_state(call(ENCODE, text("00"), text(codec)), dtype=NUMBERS)
       for codec in ("rot13", "zlib", "hex", "idna", "base64", "unicode_escape", "LATIN1", "os")},
    "encode no text": array_state(call(ENCODE, b"I5\n", text("latin1")), dtype=NUMBERS),
    "encode what is not latin1": array_state(call(ENCODE, text("α"), text("latin1")), dtype=NUMBERS),
    "encode a mere text": call(ENCODE, text("00"), text("latin1")),
    "reconstruct a text": call(RECONSTRUCT, text("ndarray"), b"I0\n\x85", text("b")),
    "reconstruct a dtype": call(RECONSTRUCT, DTYPE, b"I0\n\x85", text("b")),
    "reconstruct memmap": call(RECONSTRUCT, MEMMAP, b"I0\n\x85", text("b")),
    "reconstruct itself": call(RECONSTRUCT, RECONSTRUCT, b"I0\n\x85", text("b")),
    "reconstruct without arguments": call(RECONSTRUCT),
    "reconstruct without a state": call(RECONSTRUCT, NDARRAY, b"I0\n\x85", text("b")),
    "call ndarray": call(NDARRAY, b"I999999999\n\x85"),
    "call an array": call(array_state(b"(I1\nl")),
    "call a text": call(text("os.system"), text("true")),
    "arguments no tuple": ENCODE + text("ab") + b"R",
    "state of a function": ENCODE + b"Nb",
    "state of ndarray": NDARRAY + b"Nb",
    "state of a list": b"]Nb",
    "append to a function": ENCODE + b"Na",
    "append to a text": text("x") + b"(NNe",
    "function as member": array_state(b"(" + ENCODE + b"l"),
    "numpy.core.multiarray.scalar": call(name("numpy.core.multiarray", "scalar"), NUMBERS, text("ab")),
    "numpy.core.multiarray.fromfile": name("numpy.core.multiarray", "fromfile"),
    "numpy.load": call(name("numpy", "load"), text("/etc/passwd")),
    "dotted name": text("numpy") + text("ndarray.__class__") + b"\x93",
    "a space in a name": name("numpy.core.multiarray _reconstruct", ""),
    "names that are no text": b"NN\x93",
    "a very long name": text("x" * 10**6) + text("y") + b"\x93",
    "BYTEARRAY8": b"\x96" + bytes(8),
    "NEXT_BUFFER": b"\x97",
    "unknown opcode": b"\xff",
    "protocol 99": b"\x80c",
    "no pickle": b"",
    "an empty stack": b"0",
    "a list": b"]",
    "a memo entry that is not there": b"h\x05",
    "no mark": b"t",
    **{f"shape {key}": array_state(b"]", shape=shape)
       for key, shape in {"negative": b"I-1\n\x85", "twice negative": b"I-1\nI-1\n\x86", "text": text("1") + b"\x85",
                          "a float": b"F1.0\n\x85", "None": b"N", "4-D": b"(I1\nI1\nI1\nI1\nt"}.items()},
    "no items": array_state(b"]"),
    "too many items": array_state(b"(NNl"),
    "items in a tuple": array_state(b"N\x85"),
    "bytes missing": array_state(text("a"), dtype=NUMBERS),
    "numbers in a list": array_state(b"(I1\nl", dtype=NUMBERS),
    "a state too short": call(RECONSTRUCT, NDARRAY, b"I0\n\x85", text("b")) + b"N\x85b",
    "list of lists": array_state(b"((I1\nI2\nI0\nll"),
    "None as a drawing": array_state(b"(Nl"),
    "itself as its member": call(RECONSTRUCT, NDARRAY, b"I0\n\x85", text("b"))
    + b"q\x01(I1\nI1\n\x85" + call(DTYPE, text("O8")) + b"\x89(h\x01ltb",
}  # fmt: skip

# What would take any amount of memory or time.
HUGE_INT = b"\x8b" + struct.pack("<i", 10**5) + b"\x7f" * 10**5
DAG = b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (k, k, k + 1) for k in range(100))
BIG_TEXT = text("ab" * 2_000_000) + b"q\x09"
BOMBS = {
    "LONG_BINPUT": b"Nr\xff\xff\xff\x7f",
    "PUT": b"Np99999999999\n",
    "BINBYTES8 length": b"\x8e" + struct.pack("<Q", 1 << 62),
    "BINUNICODE8 length": b"\x8d" + struct.pack("<Q", 1 << 63),
    "BINSTRING length": b"T" + struct.pack("<i", 2**31 - 1),
    "LONG4 length": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "FRAME length": b"\x95" + struct.pack("<Q", 1 << 62),
    "INT of many digits": b"I" + b"9" * 10**6 + b"\n",
    "MARK a million times": b"(" * 10**6,
    "DUP a million times": b"N" + b"2" * 10**6,
    "lists in lists": array_state(b"(" + b"]" * DEEP + b"a" * (DEEP - 1) + b"l"),
    "tuples in tuples": array_state(b"(" + b")" + b"\x85" * DEEP + b"l"),
    "a list that holds itself": array_state(b"]q\x01h\x01a"),
    "a tuple that holds itself": array_state(b"(](h\x01t0]q\x01h\x01ah\x01\x85l"),
    "2^100 lists": array_state(DAG),
    "2^100 lists as dtype": array_state(b"]", dtype=call(DTYPE, DAG)),
    "2^100 lists as shape": array_state(b"]", shape=DAG),
    "a shape of huge numbers": array_state(b"]", shape=b"(" + HUGE_INT + b"2" * 5000 + b"t"),
    "a shape of 10^18": array_state(b"]", shape=b"(I1000000000\nI1000000000\nt", dtype=NUMBERS),
    "one text encoded many times": BIG_TEXT + b"0](" + call(ENCODE, b"h\x09", text("latin1")) * 2000 + b"e",
    "one text in many arrays": array_state(
        BIG_TEXT + b"0(" + array_state(b"h\x09", shape=b"I2000000\n\x85", dtype=NUMBERS) * 2000 + b"l",
        shape=b"I2000\n\x85",
    ),
    "arrays of objects that share": array_state(b"(" + array_state(DAG[:-4]) * 1000 + b"l", shape=b"I1000\n\x85"),
}


def write_pickle(path: Path, body: bytes, split: str = "train", shape: object = (1,)) -> Path:
    return write_npz(path, zipfile.ZIP_DEFLATED, **{split: header(shape) + body})


@pytest.mark.parametrize("case", TRACED)
def test_malicious_file_leaves_no_trace(case: str, tmp_path: Path):
    trace = tmp_path / "trace"
    split = SPLITS[len(case) % 3]
    write_pickle(tmp_path / "evil.npz", TRACED[case](str(trace)), split)
    refusal(tmp_path / "evil.npz", split)
    assert not os.path.lexists(trace)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.npz"]


def run_malicious(directory: Path) -> None:
    """What a careless reader does with the files above: run in a process of its own by the test below."""

    class Careless(pickle.Unpickler):
        def persistent_load(self, pid):
            return os.system(pid)

    copyreg._inverted_registry |= dict.fromkeys(EXTENSIONS.values(), ("os", "system"))  # as some program might
    for i, make in enumerate(TRACED.values()):
        if child := os.fork():  # some bring the reader down, too
            os.waitpid(child, 0)
            continue
        try:
            Careless(io.BytesIO(make(str(directory / str(i)))), encoding="latin1").load()
        finally:
            os._exit(0)


def test_malicious_files_are_malicious(tmp_path: Path):
    code = f"import pathlib, test_safe_reading as t; t.run_malicious(pathlib.Path({str(tmp_path)!r}))"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=True,
    )
    harmless = [case for i, case in enumerate(TRACED) if not os.path.lexists(tmp_path / str(i))]
    assert not harmless
    assert len(TRACED) >= 50


@pytest.mark.parametrize("case", MISUSED)
def test_misused_name_is_refused(case: str, tmp_path: Path):
    refusal(write_pickle(tmp_path / "misused.npz", MISUSED[case] + b"."), "train")


def test_refusal_names_what_is_wrong(tmp_path: Path):
    path = tmp_path / "x.npz"
    assert "os.system" in refusal(write_pickle(path, CALL("x")), "train")
    assert "INST" in refusal(write_pickle(path, OPCODES["INST"]("x")), "train")
    assert "rot13" not in refusal(write_pickle(path, MISUSED["encode rot13"] + b"."), "train")  # not looked up
    assert "drawing 0 is list" in refusal(write_pickle(path, MISUSED["list of lists"] + b"."), "train")


def read_bombs(directory: Path, memory: int) -> None:
    """Refuse each of BOMBS within 10 s and ``memory`` bytes: run in a process of its own by the test below."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    utils.MAX_OPCODES = 500_000  # the real limit takes seconds to reach: make soak
    for case, body in BOMBS.items():
        path = write_pickle(directory / "bomb.npz", body + b".")
        start = time.time()
        message = refusal(path, "train")
        assert "MemoryError" not in message, f"{case}: {message}"
        assert time.time() - start < 10, case


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by Linux' means")
def test_bombs_take_neither_memory_nor_time(tmp_path: Path):
    code = f"import pathlib, test_safe_reading as t; t.read_bombs(pathlib.Path({str(tmp_path)!r}), 2 << 30)"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------------------------------------------
# Damaged and boastful .npy and .npz

HEADERS = {
    "negative shape": header((-1, -2, 3), "'<i2'"),
    "huge shape": header((10**6, 10**12, 3), "'<i2'"),
    "huge number of drawings": header((10**30,)),
    "shape of a million digits": header("(" + "9" * 9000 + ",)"),
    "empty but huge": header((0, 10**30), "'<i2'"),
    "no tuple": header("5"),
    "text in shape": header("('5',)"),
    "code": header("__import__('os').system('true')"),
    "brackets": header("(" * 9000),
    "lists": header("[" * 5000 + "]" * 5000),
    "unclosed": header("(1,")[:-4],
    "indented": header("(1,),\n   2\n 3"),
    "no text": b"\x93NUMPY\x01\x00\x10\x00" + bytes(range(128, 144)),
    "a set": b"\x93NUMPY\x01\x00\x07\x00{1,'2'}",
    "unhashable": b"\x93NUMPY\x01\x00\x07\x00{[]: 1}",
    "long": header("(1,)" + " " * 60_000),
    "longer than the file": b"\x93NUMPY\x01\x00\xff\xff{",
    "version 2, longer than the file": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "version 3": b"\x93NUMPY\x03\x00" + GOOD[8:],
    "version 9": b"\x93NUMPY\x09\x00" + GOOD[8:],
    "no magic": b"NUMPY" + GOOD,
    "nothing": b"",
    "structured": header((1,), "[('a', '<i2'), ('b', '|O')]") + b"abcd",
    "text type": header((1,), "'<U3'") + bytes(12),
    "dates": header((1, 1, 3), "'<M8[s]'") + bytes(24),
    "complex": header((1, 1, 3), "'<c8'") + bytes(24),
    "long double": header((1, 1, 3), "'<f16'") + bytes(48),
    "void": header((1, 1, 3), "'|V0'"),
    "type of nested lists": header((1,), "[" * 60 + "]" * 60),
    "no type": header((1,), "'nonsense'"),
    "one byte short": header((1, 2, 3), "'<i2'") + bytes(11),
    "one byte long": header((1, 2, 3), "'<i2'") + bytes(13),
    "a half drawing": header((2, 3), "'<i2'") + bytes(12),
    "a number": header((), "'<i2'") + bytes(2),
    "two columns": header((1, 4, 2), "'<i2'") + bytes(16),
    "4-D": header((1, 1, 2, 3), "'<i2'") + bytes(12),
    "another shape than its content": GOOD.replace(b"(2,)", b"(3,)"),
}


@pytest.mark.parametrize("case", HEADERS)
@pytest.mark.filterwarnings("ignore")  # NumPy's and Python's remarks on such headers
def test_bad_header_is_refused(case: str, tmp_path: Path):
    refusal(write_npz(tmp_path / "x.npz", valid=HEADERS[case]), "valid")


def test_every_truncation_is_refused(tmp_path: Path):
    whole = write_npz(tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "cut.npz"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"is no readable \.npz"):
            load_strokes(path)


def test_every_truncation_of_a_member_is_refused(tmp_path: Path):
    for length in range(len(GOOD)):
        refusal(write_npz(tmp_path / "cut.npz", test=GOOD[:length]), "test")


WHOLE = {}
for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    write_npz(buffer, compression)
    WHOLE[compression] = buffer.getvalue()


def read_or_refuse(path: Path) -> bool:
    """Whether a file is read; anything but drawings or a ValueError that names the file is a failure."""
    try:
        strokes = load_strokes(path)
    except ValueError as error:
        assert str(error).startswith(str(path))
        return False
    for drawing in (drawing for split in SPLITS for drawing in strokes[split]):
        assert drawing.ndim == 2
        assert drawing.shape[1] == 3
        assert np.isfinite(drawing).all()
        assert np.isin(drawing[:, 2], (0, 1)).all()
    return True


def flipped(data: bytes) -> st.SearchStrategy[bytes]:
    """``data`` with up to 8 bytes changed."""

    def flip(flips):
        changed = bytearray(data)
        for place, mask in flips:
            changed[place] ^= mask
        return bytes(changed)

    places = st.tuples(st.integers(0, len(data) - 1), st.integers(1, 255))
    return st.lists(places, min_size=1, max_size=8).map(flip)


def in_npz(member: bytes) -> bytes:
    file = io.BytesIO()
    write_npz(file, train=member)
    return file.getvalue()


PARTS = [
    *utils._ArrayUnpickler.dispatch,
    b".",
    RECONSTRUCT,
    NDARRAY,
    DTYPE,
    ENCODE,
    NUMBERS,
    b"q\x00",
    b"h\x00",
    b"I1\n",
]
PARTS += [text("i2"), text("O8"), text("latin1"), b"\x85", b"]", array_state(b"]"), array_state(b"(Nl")]


def fuzzed(trace: str) -> st.SearchStrategy[bytes]:
    """Files to fuzz with: damaged zips, damaged members with a right checksum, random and malicious pickles."""
    pickles = st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=8)), max_size=30).map(b"".join)
    evil = [make(trace) for make in TRACED.values()]
    return st.one_of(
        flipped(WHOLE[zipfile.ZIP_STORED]),
        flipped(WHOLE[zipfile.ZIP_DEFLATED]),
        flipped(GOOD).map(in_npz),
        pickles.map(lambda body: in_npz(header() + body + b".")),
        st.sampled_from(evil).flatmap(flipped).map(lambda body: in_npz(header() + body)),
        st.binary(max_size=200).map(in_npz),
    )


@settings(max_examples=800, deadline=10_000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
@pytest.mark.filterwarnings("ignore")  # NumPy's and Python's remarks on such headers
def test_fuzzed_file(tmp_path_factory, data: st.DataObject):
    trace, path = (tmp_path_factory.getbasetemp() / name for name in ("trace", "fuzzed.npz"))
    path.write_bytes(data.draw(fuzzed(str(trace))))
    read_or_refuse(path)
    assert not os.path.lexists(trace)


def test_missing_keys_are_named(tmp_path: Path):
    path = tmp_path / "x.npz"
    np.savez(path, train=object_array(DRAWINGS), other=1)
    with pytest.raises(ValueError, match=r"x.npz: no key valid, test; wanted train, valid and test"):
        load_strokes(path)
    np.save(tmp_path / "y.npz", np.zeros(3))
    (tmp_path / "y.npz.npy").rename(tmp_path / "y.npz")
    with pytest.raises(ValueError, match=r"no readable \.npz"):
        load_strokes(tmp_path / "y.npz")
    with pytest.raises(FileNotFoundError, match=r"cat.npz not found; put it there"):
        load_strokes(tmp_path / "cat.npz")
    with pytest.raises(FileNotFoundError):
        load_strokes(tmp_path)


def set_sizes(path: Path, size: int) -> None:
    """Let a zip's last entry (both its headers) declare another unpacked size."""
    data = bytearray(path.read_bytes())
    data[(at := data.rindex(b"PK\x01\x02") + 24) : at + 4] = struct.pack("<I", size)
    data[(at := data.rindex(b"PK\x03\x04") + 22) : at + 4] = struct.pack("<I", size)
    path.write_bytes(data)


def test_zip_bombs_are_refused_before_they_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "bomb.npz"
    huge = header((10**5, 10**3, 3), "'|i1'")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for split in ("train", "valid"):
            archive.writestr(f"{split}.npy", GOOD)
        with archive.open("test.npy", "w") as file:
            file.write(huge)
            for _ in range(300):
                file.write(bytes(10**6))
    assert path.stat().st_size < 10**6
    start = time.time()
    assert "unpacks to 300,000," in refusal(path, "test")
    set_sizes(path, 1000)  # a lie: what it declares is all that is unpacked
    refusal(path, "test")
    assert time.time() - start < 1
    set_sizes(path, 2**32 - 2)
    assert "unpacks to 4,294,967,294" in refusal(path, "test")
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):  # zipfile cannot bound these
        assert "packed as NumPy never does" in refusal(write_npz(path, compression), "train")
    monkeypatch.setattr(utils, "MAX_SPLIT_BYTES", len(GOOD) - 1)
    assert "over the limit" in refusal(write_npz(path), "train")
    monkeypatch.setattr(utils, "MAX_SPLIT_BYTES", len(GOOD))
    assert load_strokes(path)


def test_more_drawings_than_any_category_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    packed = save_npy(np.zeros((utils.MAX_DRAWINGS + 1, 1, 3), np.int8))
    message = refusal(write_npz(tmp_path / "x.npz", zipfile.ZIP_DEFLATED, train=packed), "train")
    assert message == "it declares 400,001 drawings, over the limit of 400,000; use several files"
    monkeypatch.setattr(utils, "MAX_OPCODES", 20)
    assert "over 20 pickle opcodes" in refusal(write_npz(tmp_path / "x.npz"), "train")


def test_encrypted_file_is_refused(tmp_path: Path):
    path = write_npz(tmp_path / "x.npz")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[data.index(b"PK\x03\x04") + 6] |= 1
    path.write_bytes(data)
    assert "encrypted" in refusal(path, "train")


# ---------------------------------------------------------------------------------------------------------
# Drawings that are none


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 3)), "drawing 1 has no points"),
        (np.zeros((4, 2)), "drawing 1 is shape (4, 2); wanted [n, 3]"),
        (np.zeros((4, 5)), "drawing 1 is shape (4, 5)"),
        (np.zeros(3), "drawing 1 is shape (3,)"),
        (np.array([[0, 1, 0], [np.nan, 0, 1]]), "drawing 1 has the point [nan, 0.0, 1.0]; offsets must be finite"),
        (np.array([[0, np.inf, 0]], np.float32), "drawing 1 has the point [0.0, inf, 0.0]"),
        (np.array([[0, 0, np.nan]]), "drawing 1 has the point [0.0, 0.0, nan]"),
        (
            np.array([[5, 5, 2]], np.int16),
            "drawing 1 has the point [5, 5, 2]; offsets must be finite, pen values 0 or 1",
        ),
        (np.array([[5, 5, -1]], np.int16), "drawing 1 has the point [5, 5, -1]"),
        (np.array([[5, 5, 0.5]]), "drawing 1 has the point [5.0, 5.0, 0.5]"),
        (np.array([["a", "b", "c"]]), "an array of type <U1"),
        (np.array([["a", "b", "c"]], object), "an array of objects inside an array"),
        ([[1, 2, 0], [3, 4, 1]], "drawing 1 is list; wanted [n, 3]"),
        ("text", "drawing 1 is str"),
        (None, "drawing 1 is NoneType"),
        (5, "drawing 1 is int"),
    ],
)
def test_bad_drawing_is_refused_by_index(bad, message: str, tmp_path: Path):
    array = np.empty(3, object)
    array[0] = array[2] = DRAWINGS[0]
    array[1] = bad
    found = refusal(write_npz(tmp_path / "x.npz", test=save_npy(array)), "test")
    assert message.replace("<U1", "U1") in found


def test_packed_and_loose_numbers_are_refused_by_index(tmp_path: Path):
    path = tmp_path / "x.npz"
    packed = np.zeros((4, 2, 3))
    packed[2, 1, 2] = 7
    assert "drawing 2 has the point" in refusal(write_npz(path, train=save_npy(packed)), "train")
    loose = np.zeros((4, 2, 3), object)
    loose[3, 0, 0] = "1" * 100  # a text that many members share would be read anew for each of them
    assert "drawing 3 holds a str" in refusal(write_npz(path, train=save_npy(loose)), "train")
    loose[3, 0, 0] = 10**400
    assert "too large" in refusal(write_npz(path, train=save_npy(loose)), "train")


# ---------------------------------------------------------------------------------------------------------
# Good files


def assert_read(path: Path, split: str = "train", wanted: list = DRAWINGS):
    found = load_strokes(path)[split]
    assert len(found) == len(wanted)
    for drawing, original in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(drawing, original)


# np.save of DRAWINGS by Python 2.7.18 and NumPy 1.16.6, zlib and base64: int16, then big-endian float64, then
# protocol 0 below a header of shape (2L,), as Python 2 wrote it on Windows.
PYTHON_2 = [
    "eNqb7BfqGxDJyFDGUK2eklqcXKRupaBe46+uo6Cell9UUpSYF59flJIKEnZLzClOBYoXZyQWpAL5GkY6mjoKtQqUAK4GpuS80tyCSr3k/KJUvdzS"
    "nJLMxKKixEqu+KLU5Py84pKi0uQSrkJGiCquvBSIbCGTN0NrKGNSe1Ahs4Y3ozdTK1RBSkllQSpXIUsok7+FN4M3I1ABq4Y3cyhjjZ+fn9d/IAAT"
    "3vYlSZ2xhWwaGYwZCKPYwUZ5M7dlAPVnGkH1c4D126DqZwDqD+VhZvjzn4EhheEEAyNQAMUsTpBZzCCzODpDha78Y2VgYGBn+AFUzgiGJUmpJUl6"
    "ACKYcCo=",
    "eNqb7BfqGxDJyFDGUK2eklqcXKRupaBe46+uo6Cell9UUpSYF59flJIKEnZLzClOBYoXZyQWpAL5GkY6mjoKtQqUAK4GpuS80tyCSr3k/KJUvdzS"
    "nJLMxKKixEqu+KLU5Py84pKi0uQSrkJGiCquvBSIbCGTN0NrKGNSe1Ahs4Y3ozdTK1RBSkllQSpXIUsok7+FN4M3I1ABq4Y3cyhjjZ+fn9d/IAAT"
    "3vYlSZ2xhWwaGYwZCKPYwUZ5M7dlAPWnwfRzgPXboepnAOoPNXDgYACDAwIMKMAhEkpnQmj7DxC6JAnFPk6Qfczo9nHhtM/jQNEBiLkiaPbJQN2h"
    "gCoOsxedLklKLUnSAwAyloKb",
    "eNqlj11LwzAUhuft+RW9S4U5kvRz4rVQ0E4cuxAGo03TOtjakGay4fwV/mFP+qHOWwOHc3LOyfu8+UxXj08vV5O3yTspZCs0uXXIeUGmDikbbXRW"
    "bxpdSNu+z3atxH77mimJd5c/TK+nzofzjwOiPuzVaSYaLWf7w85sM62zE2y0FE3dGn0QBhQFt9+DuujnioGbUDCKw5LkBJSHtQ/PKsC+nXG8h4M6"
    "FOakJKgI3CVZxLgdAz7GPaPm+IahfuKh0BlHjEGapskNgy5CK8w45AnFrZ1iHlRYVCOf+VB1K4EVCr/pSdeMoOqgW26Vf6jMYvmIvcMhv8R2Xxuo"
    "S7I+Ug+Dro+lwCj7mtKiL0Q8NJjNVszCuQ95duGVB71XHlp6NHj1eq88hgodjcDCR5BEvWCEDRENRuLfRkb232y9zFHco+gFE4N89gV0eZ+k",
]


@pytest.mark.parametrize("index", [0, 1])
def test_python_2_file(index: int, tmp_path: Path):
    data = zlib.decompress(base64.b64decode(PYTHON_2[index]))
    assert b"cnumpy.core.multiarray\n" in data
    assert_read(write_npz(tmp_path / "x.npz", train=data))


def test_python_2_file_with_long_integers(tmp_path: Path):
    path = write_npz(tmp_path / "x.npz", train=zlib.decompress(base64.b64decode(PYTHON_2[2])))
    with pytest.warns(UserWarning, match="Python 2"):
        assert_read(path)


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_names_of_numpy_1_and_2(protocol: int, module: str, tmp_path: Path):
    data = pickle.dumps(object_array(DRAWINGS), protocol=protocol)
    found = next(n for n in ("numpy._core.multiarray", "numpy.core.multiarray") if n.encode() in data)
    if protocol == 4:  # names come with their length, and all within a frame
        data = data[:2] + data[11:].replace(
            b"\x8c" + bytes([len(found)]) + found.encode(), b"\x8c" + bytes([len(module)]) + module.encode()
        )
    data = data.replace(f"c{found}\n".encode(), f"c{module}\n".encode())
    assert module.encode() in data
    assert_read(write_pickle(tmp_path / "x.npz", data, shape=(2,)))


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "i1", "u1", "<i4", ">i8", "<f2", "<f4", ">f4", "<f8", ">f8", "u8"])
@pytest.mark.parametrize("order", "CF")
def test_number_types_and_orders(dtype: str, order: str, tmp_path: Path):
    drawings = [np.asarray(np.abs(drawing) % 100, dtype, order) for drawing in DRAWINGS]
    drawings = [np.asarray(d, order=order) for d in drawings]
    assert drawings[0].flags.fnc == (order == "F")
    packed = np.asarray(np.stack([drawings[0]] * 3), order=order)
    path = write_npz(tmp_path / "x.npz", train=save_npy(object_array(drawings)), test=save_npy(packed))
    assert_read(path, "train", drawings)
    assert_read(path, "test", list(packed))


def test_drawings_of_one_length(tmp_path: Path):
    packed = np.stack([DRAWINGS[0]] * 3)
    loose = packed.astype(object)
    path = write_npz(tmp_path / "x.npz", train=save_npy(packed), valid=save_npy(loose), test=save_npy(np.zeros(0)))
    assert_read(path, "train", list(packed))
    assert_read(path, "valid", list(packed))
    assert_read(path, "test", [])


def test_savez_and_savez_compressed(tmp_path: Path):
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **{split: object_array(DRAWINGS) for split in SPLITS})
        assert_read(tmp_path / "x.npz", "valid")


def test_drawing_of_one_point_and_of_a_hundred_thousand(tmp_path: Path):
    many = np.ones((100_000, 3), np.int16)
    drawings = [np.array([[5, 6, 1]], np.int16), many, *DRAWINGS]
    (tmp_path / "npz").mkdir()
    write_npz(tmp_path / "npz" / "x.npz", zipfile.ZIP_DEFLATED, train=save_npy(object_array(drawings)))
    assert_read(tmp_path / "npz" / "x.npz", "train", drawings)
    hps = Hps(data_set=["x.npz"], max_seq_len=250)
    train, valid, _, hps = load_dataset(tmp_path, hps)
    assert (train.skipped, len(train), len(valid), hps.max_seq_len) == (1, 3, 2, 3)
    assert train.random_batch().strokes.shape == (2, 4, 5)


class Hps(SimpleNamespace):
    """The few hyper-parameters that data need, without TensorFlow; all others are 0."""

    def __getattr__(self, name):
        return {"batch_size": 2, "seed": 1}.get(name, 0)

    def replace(self, **changes):
        return Hps(**(vars(self) | changes))


def test_extreme_offsets_are_clamped(tmp_path: Path):
    far = np.array([[1e300, -1e300, 0], [np.finfo(np.float64).max, 5, 1]])
    (drawing,) = load_strokes(write_npz(tmp_path / "x.npz", train=save_npy(object_array([far]))))["train"]
    points = PackedStrokes.pack([drawing]).points
    np.testing.assert_array_equal(points[:, :2], [[OFFSET_LIMIT, -OFFSET_LIMIT], [OFFSET_LIMIT, 5]])


def test_a_data_set_cannot_lead_out_of_its_directory(tmp_path: Path):
    secret = write_npz(tmp_path / "secret.npz")
    (tmp_path / "data" / "npz").mkdir(parents=True)
    for data_set in ("../../secret.npz", "../../secret", str(secret), "a/b", "..\\..\\secret", "C:secret", "C:\\x"):
        with pytest.raises(ValueError, match="is not the bare name of a file in"):
            npz_path(tmp_path / "data", data_set)
        with pytest.raises(ValueError, match="bare name"):
            load_dataset(tmp_path / "data", Hps(data_set=[data_set], max_seq_len=250))
    assert npz_path("d", "ice cream.npz") == npz_path("d", "ice cream") == Path("d/npz/ice cream.npz")
    write_npz(tmp_path / "data" / "npz" / "ice cream.npz")
    assert npz_path(tmp_path / "data", "ice_cream").name == "ice cream.npz"  # Google's name
    with pytest.raises(FileNotFoundError):
        load_strokes(npz_path(tmp_path, "nul\0byte"))


REAL = sorted(
    [*DATA.glob("sketch_rnn/*.npz"), *DATA.glob("spg_quickdraw/*.npz"), *(ROOT / "datasets/npz").glob("*.npz")]
)


@pytest.mark.skipif(not REAL, reason=f"no real files: neither {DATA} nor datasets/npz")
@pytest.mark.parametrize("path", REAL or [None], ids=lambda path: path.stem if path else "none")
def test_real_file(path: Path):
    found = load_strokes(path)
    with np.load(path, allow_pickle=True, encoding="latin1") as file:  # ours, so it may run what it likes
        for split in SPLITS:
            np.testing.assert_array_equal([len(d) for d in found[split]], [len(d) for d in file[split]])
            np.testing.assert_array_equal(np.concatenate(found[split]), np.concatenate(file[split]))
