"""The frame of every script: one-line mistakes, switches, progress, other scripts as processes. No TensorFlow here."""

import argparse
import contextlib
import ctypes
import importlib.metadata
import multiprocessing
import multiprocessing.connection
import os
import platform
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

SCRIPTS = Path(__file__).resolve().parent
GNU_MALLOC_OPTIONS = (  # of malloc.h
    (-8, 1),  # M_ARENA_MAX: one heap for all threads; the others are returned whatever M_TRIM_THRESHOLD says
    (-3, 32 << 20),  # M_MMAP_THRESHOLD: only what is larger is taken from the system, and returned; the most allowed
    (-1, -1),  # M_TRIM_THRESHOLD: the heap never shrinks
)


def run_script(main) -> None:
    """Run a script's ``main``; a user's mistake gets one line and exit code 2, Ctrl-C one and 130."""
    keep_freed_memory()
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{Path(sys.argv[0]).name}: stopped", file=sys.stderr)
        sys.exit(130)


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for what comes next, instead of returning it to the system.

    A training step takes and frees hundreds of megabytes; to fetch them back page by page costs up to a quarter of its
    time. Only the GNU C library is told so, and threads that already have a heap of their own stay with it.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another library, another system
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in GNU_MALLOC_OPTIONS:
            mallopt(option, value)


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser that shows a script's docstring as it stands and takes no abbreviated flags."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def parse_bool(text: str) -> bool:
    """``"True"``, ``"1"``, ``"yes"`` and their opposites. Raises ValueError."""
    value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.strip().lower())
    if value is None:
        raise ValueError(f"{text!r} is neither True nor False")
    return value


def add_switch(parser: argparse.ArgumentParser, name: str, help: str) -> None:
    """A flag that is off, and on with ``--name`` or ``--name=True``; ``--noname``, ``--name=False`` keep it off."""
    parser.add_argument(f"--{name}", type=parse_bool, nargs="?", const=True, default=False, metavar="BOOL", help=help)
    parser.add_argument(f"--no{name}", dest=name, action="store_false", help=argparse.SUPPRESS)


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker():
    """Leave Ctrl-C to the parent, and never outlive it: a worker whose parent was killed would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def make_pool(workers: int) -> ProcessPoolExecutor:
    """A pool whose processes are starting; spawned, as the fork of a program with threads is unsafe."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    for _ in range(workers):
        pool.submit(int)
    return pool


def describe_machine() -> str:
    """Processor, cores, versions."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    versions = f"TensorFlow {importlib.metadata.version('tensorflow')}, Python {platform.python_version()}"
    return f"{name}, {available_cores()} cores; {versions}"


def command_line(script: str, argv: list[str] | None, without: tuple[str, ...]) -> str:
    """The command that a script was given, but for some flags that have one value each (directories of a machine)."""
    given, kept = list(sys.argv[1:] if argv is None else argv), []
    while given:
        flag = given.pop(0)
        if flag in without:
            given[:1] = []
        elif flag.partition("=")[0] not in without:
            kept.append(flag)
    return shlex.join(["python", script, *kept])


def run_python(script: str | Path, *arguments, capture: bool = False) -> str:
    """Run one of the project's scripts to its end; ``capture`` returns what it prints instead of showing it.

    Raises ValueError with its last line if it fails. Ctrl-C reaches it, too; it is waited for.
    """
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE if capture else None, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            printed, errors = process.communicate()
        except KeyboardInterrupt:
            process.communicate()
            raise
    if process.returncode:
        name = Path(script).name
        last = (errors.strip() or (printed or "").strip() or "no message").splitlines()[-1].removeprefix(f"{name}: ")
        raise ValueError(f"{name} ended with exit code {process.returncode}: {last}")
    return printed or ""


class Progress(tqdm):
    """What is done, a remark and the time left: a bar on a terminal, a line every half minute in a log file."""

    LINE_SECONDS = 30.0

    def __init__(self, first: int, last: int, unit: str = "step", plural: str = "steps"):
        self.began = self.said = time.time()
        self.first, self.last, self.plural = first, last, plural
        super().__init__(total=last, initial=first, unit=unit, disable=None, dynamic_ncols=True)

    def step_done(self, step: int, remark: str) -> None:
        """Call after each step."""
        self.update(1)
        now = time.time()
        if not self.disable:
            self.set_postfix_str(remark, refresh=False)
        elif now - self.said > self.LINE_SECONDS:
            left = (now - self.began) / (step + 1 - self.first) * (self.last - step - 1)
            print(f"{step + 1} of {self.last} {self.plural}, {self.format_interval(left)} left; {remark}", flush=True)
            self.said = now


class StopRequest:
    """Set by the first SIGINT or SIGTERM; the second one ends the program at once."""

    def __init__(self):
        self.signal, self.previous = None, {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.previous[number] = signal.signal(number, self._set)
        return self

    def _set(self, number, frame):
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        tqdm.write("stopping after this step; once more to stop at once")

    def __exit__(self, *exc):
        for number, handler in self.previous.items():
            signal.signal(number, handler)
