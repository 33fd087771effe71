"""The order of the tests, and what several files of them read and none changes."""

from quiet_tensorflow import tf

from pathlib import Path

import pytest
from helpers import make_snapshot, write_data
from miniatures import TINY, arguments, make_toy_data
from PIL import Image, ImageDraw

import render_svg2bitmap
import sketch_pix2seq_train

LONGEST = ("test_trust.py", "test_scripts.py", "test_readme.py", "test_distribute.py")


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that both processes end together."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A data directory of two small categories, rendered."""
    directory = write_data(tmp_path_factory.mktemp("data"))
    assert render_svg2bitmap.main([f"--data_base_dir={directory}", "--hparams=data_set=[cat.npz,house.npz]"]) == 0
    return directory


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory):
    """A tiny model that never trained."""
    return make_snapshot(tmp_path_factory.mktemp("snapshot"))


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Four photographs of drawings, and a text among them."""
    directory = tmp_path_factory.mktemp("images")
    for k, name in enumerate("abcd"):
        photo = Image.new("L", (300, 240), 235)
        pen = ImageDraw.Draw(photo)
        pen.ellipse((60, 40, 200 + 10 * k, 190), outline=40, width=4)
        pen.line((80 + 20 * k, 60, 150, 120), fill=40, width=4)
        photo.save(directory / f"{name}.png")
    (directory / "notes.txt").write_text("no image")
    return directory


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory) -> Path:
    """20 drawings of random lengths."""
    return make_toy_data(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def eagerly():
    """Without graphs, whose tracing takes seconds."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def run_in_graphs(toy_data, monkeypatch):
    """The training script on the miniature data, every step's cost in ``metrics.csv``."""
    monkeypatch.setattr(sketch_pix2seq_train, "LOG_EVERY", 1)
    monkeypatch.setattr(sketch_pix2seq_train.RunLog, "plot", lambda self: None)  # slow, and tested elsewhere

    def run(directory, *flags, data_dir=toy_data, **hparams):
        asked = hparams if "--resume_training" in flags else TINY | hparams
        return sketch_pix2seq_train.main(arguments(data_dir, directory, *flags, **asked))

    return run


@pytest.fixture
def run_training(run_in_graphs, eagerly, monkeypatch):
    """The same without graphs and microbatches: most promises hold or fail without them."""
    monkeypatch.setattr(sketch_pix2seq_train, "CPU_MICROBATCHES", 1)
    return run_in_graphs
