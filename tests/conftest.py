"""The order of the tests, and what several files of them read and none changes."""

import pytest
from helpers import make_snapshot, write_data
from PIL import Image, ImageDraw

import render_svg2bitmap

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
