"""The order of the tests, and what several files of them need."""

from pathlib import Path

import pytest
import tensorflow as tf
from miniatures import TINY, arguments, make_toy_data

import sketch_pix2seq_train

LONGEST = ("test_trust.py", "test_scripts.py", "test_readme.py", "test_distribute.py")


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that both processes end together."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


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
