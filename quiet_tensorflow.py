"""Loads TensorFlow quietly: the one import of this project that has a side effect. TensorFlow scripts import it first.

TensorFlow writes to file descriptor 2 while its libraries load and while it looks for a GPU, and no setting stops it.
What it writes then is held back, and shown whole if loading fails or if a GPU of this machine is not found. From then
on only warnings and errors are shown, unless ``TF_CPP_MIN_LOG_LEVEL`` says otherwise.
"""

import contextlib
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path


@contextlib.contextmanager
def _stderr_held_back():
    """Keep what is written to file descriptor 2 -> a function that shows it, for the time after this."""
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        descriptor = os.dup(2)
        os.dup2(held.fileno(), 2)

        def show():
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))

        try:
            yield show
        except BaseException:
            os.dup2(descriptor, 2)
            show()
            raise
        finally:
            sys.stderr.flush()
            os.dup2(descriptor, 2)
            os.close(descriptor)
        if not GPUS and Path("/dev/nvidia0").exists():
            show()


@contextlib.contextmanager
def _ended_by_ctrl_c():
    """Ctrl-C ends the process at once and in silence, instead of with a traceback out of a library once it returns."""
    if threading.current_thread() is not threading.main_thread():  # which alone may say so
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


# A lost worker is worth pages to TensorFlow; the training script says it in a line.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if os.environ.get("TF_CONFIG") else "1")
with _ended_by_ctrl_c(), _stderr_held_back():
    import tensorflow as tf

    GPUS = tf.config.list_physical_devices("GPU")


def describe_device() -> str:
    """Which device computes, as one line of a log."""
    if not GPUS:
        return "computing on the CPU; TensorFlow found no GPU"
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in GPUS]
    return f"computing on {len(GPUS)} GPU: {', '.join(names)}"
