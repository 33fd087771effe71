"""Strokes to SVG and to bitmaps: against hand-made pages, CairoSVG, the original's bitmaps, and Inkscape."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cairosvg
import numpy as np
import pytest
from PIL import Image

import render_svg2bitmap
from bitmaps import bitmap_path, load_bitmaps
from render_svg2bitmap import (
    draw_strokes,
    grid,
    is_current,
    make_pool,
    rasterize,
    rasterize_all,
    render_category,
    render_data_sets,
)
from utils import (
    SPLITS,
    PackedStrokes,
    get_bounds,
    get_scale_factor,
    load_strokes,
    save_strokes,
    strokes_digest,
)

ROOT = Path(__file__).resolve().parent.parent
SIZES = [(48, 48), (40, 64), (57, 31), (128, 128)]

ODD = {
    "nothing": np.zeros((0, 3)),
    "a point at the origin": np.array([[0, 0, 1.0]]),
    "a point elsewhere": np.array([[5, 7, 1.0]]),
    "a line of no length": np.array([[0, 0, 0], [0, 0, 1.0]]),
    "a level line": np.array([[0, 0, 0], [9, 0, 1.0]]),
    "an upright line": np.array([[3, 0, 0], [0, 9, 1.0]]),
    "a line never lifted": np.array([[1, 1, 0], [2, 0, 0], [0, 2, 0.0]]),
    "lifted at once": np.array([[1, 1, 1], [2, 0, 1], [0, 2, 1.0]]),
    "a hundred times as wide as high": np.array([[0, 0, 0], [5000, 1, 1.0]]),
    "a hundred times as high as wide": np.array([[0, 0, 0], [1, 5000, 1.0]]),
    "huge": np.array([[1000, 0, 0], [0, 1000, 0], [-900, -900, 1.0]]),
    "tiny": np.array([[1e-4, 0, 0], [0, 1e-4, 0], [-1e-4, 1e-5, 1.0]]),
    "sharp turns": np.array([[0, 0, 0], [4, 0, 0], [-4, 0.3, 0], [4, 0.6, 0], [-4, 3, 1.0]]),
    "page sides that end in a half": np.array([[0, 0, 0], [0, 2, 1.0]]),
}


def random_drawing(rng):
    points = np.zeros((rng.integers(1, 60), 3))
    points[:, :2] = rng.normal(size=(len(points), 2)) * rng.choice(
        [[1, 1], [0.05, 0.05], [30, 30], [1, 0.01], [200, 3]]
    )
    points[:, 2] = rng.random(len(points)) < 0.2
    return points


def by_cairosvg(strokes, height, width):
    """Spec §2 with CairoSVG, written without a look at the module."""
    offsets, letters = strokes[:, :2] / 0.2, []
    min_x, max_x, min_y, max_y = get_bounds(offsets)
    page = max_x - min_x + 10, max_y - min_y + 10
    lifted = True
    for (x, y), lift in zip(offsets.tolist(), strokes[:, 2], strict=True):
        letters.append(f"{'m' if lifted else 'l'} {x} {y}")
        lifted = bool(lift)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{page[0]}" height="{page[1]}">'
        f'<rect width="{page[0]}" height="{page[1]}" fill="white"/>'
        f'<path d="M {5 - min_x} {5 - min_y} {" ".join(letters)}" stroke="black" stroke-width="1" fill="none"/></svg>'
    )
    scale = min(width / page[0], height / page[1])
    png = cairosvg.svg2png(bytestring=svg.encode(), scale=scale)
    grey = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert grey.shape == (round(page[1] * scale), round(page[0] * scale))
    bitmap = np.full((height, width), 255, np.uint8)
    top, left = round((height - grey.shape[0]) / 2), round((width - grey.shape[1]) / 2)
    bitmap[top : top + grey.shape[0], left : left + grey.shape[1]] = grey
    return bitmap


def largest_difference(a, b):
    """The worst drawing's mean difference, in grey levels."""
    return np.abs(np.asarray(a, int) - np.asarray(b, int)).mean(axis=(1, 2)).max()


def small_category(seed=0, sizes=(7, 3, 4)):
    rng = np.random.default_rng(seed)
    drawings = {}
    for split, size in zip(SPLITS, sizes, strict=True):
        drawings[split] = [np.round(random_drawing(rng) * [10, 10, 1]).astype(np.int16) for _ in range(size)]
        drawings[split][0] = np.array([[0, 0, 0], [30, 9, 0], [-8, 40, 1]], np.int16)
    return drawings


def pack(strokes):
    return {split: PackedStrokes.pack(drawings) for split, drawings in strokes.items()}


def write_category(data_dir, name, strokes):
    save_strokes(data_dir / "npz" / f"{name}.npz", strokes)


# ---------------------------------------------------------------------------------------------------------
# SVG


def test_svg_is_the_page_of_the_spec(tmp_path):
    strokes = np.array([[1, 2, 0], [3, 0, 0], [0, 4, 1], [-6, -6, 0], [1, 0, 1]])
    draw_strokes(strokes, tmp_path / "new" / "a.svg")
    svg = ElementTree.parse(tmp_path / "new" / "a.svg").getroot()
    rect, path = [element for element in svg if element.tag.endswith(("rect", "path"))]
    # Bounds with the origin: x -2 .. 4, y 0 .. 6, times 5, and 50 in all around them.
    assert (float(svg.get("width")), float(svg.get("height"))) == (80, 80)
    assert (rect.get("fill"), float(rect.get("width")), float(rect.get("height"))) == ("white", 80, 80)
    assert path.get("d").split() == "M35.0,25.0 m5.0,10.0 l15.0,0.0 0.0,20.0 m-30.0,-30.0 l5.0,0.0".split()
    assert (path.get("stroke"), float(path.get("stroke-width")), path.get("fill")) == ("black", 1, "none")


def test_svg_of_an_empty_drawing(tmp_path):
    draw_strokes(np.zeros((0, 3)), tmp_path / "a.svg")
    assert ElementTree.parse(tmp_path / "a.svg").getroot().get("width") == "50.0"
    cairosvg.svg2png(url=str(tmp_path / "a.svg"))


def test_svg_of_a_wide_and_coloured_line(tmp_path):
    draw_strokes(np.array([[1, 0, 0], [1, 0, 1]]), tmp_path / "a.svg", factor=1, padding=8, line_width=3, color="red")
    svg = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert (svg.get("width"), svg[-1].get("stroke"), svg[-1].get("stroke-width")) == ("10.0", "red", "3")


# ---------------------------------------------------------------------------------------------------------
# Bitmaps


def test_hand_made_bitmap():
    # From (0, 0) to (38, 0) in SVG units: a frame of 48 x 10, one pixel per unit, in the middle of 48 rows: 19 above.
    bitmap = rasterize(np.array([[0, 0, 0], [7.6, 0, 1]]), 48, 48)
    expected = np.full((48, 48), 255)
    expected[23:25, 5:43] = 127.5  # the line covers half of two rows, from 5 to 43, its caps butt
    assert bitmap.dtype == np.uint8
    assert np.abs(bitmap - expected).max() <= 0.5


def test_offset_is_rounded_half_to_even():
    # A frame of 10 x 10: 9 pixels in 9 x 12 leave 3, and round(1.5) is 2; in 9 x 14 they leave 5, and round(2.5) is 2.
    point = np.array([[0, 0, 0], [1e-9, 0, 1]])
    for width, left in ((12, 2), (14, 2), (16, 4)):
        layout = render_svg2bitmap.make_layout(point, np.array([2]), 9, width)
        assert layout.corners.tolist() == [[left, 0]]
        assert layout.pixels.tolist() == [[9, 9]]


def test_miter_limit_is_four():
    # A turn whose miter is six line widths long: cairo's own limit of 10 would let it stand.
    sharp = np.array([[0, 0, 0], [4, 0, 0], [-4, 1.4, 1]])
    layout = render_svg2bitmap.make_layout(sharp, np.array([3]), 100, 300)
    corner = layout.corners[0, 0] + layout.scales[0] * 25
    tip = np.flatnonzero((rasterize(sharp, 100, 300) < 128).any(axis=0))[-1]
    assert abs(tip - corner) < layout.scales[0]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_agrees_with_cairosvg(height, width):
    rng = np.random.default_rng(height)
    drawings = [random_drawing(rng) for _ in range(60)]
    ours = rasterize_all(drawings, height, width)
    assert ours.shape == (60, height, width)
    for mode in ("cairo", "cairosvg"):
        for drawing, bitmap in zip(drawings, rasterize_all(drawings, height, width, mode), strict=True):
            page = np.ptp(np.vstack([[0, 0], np.cumsum(drawing[:, :2] / 0.2, axis=0)]), axis=0) + 10
            if (page * min(width / page[0], height / page[1])).min() < 0.51:
                continue  # CairoSVG itself refuses a side of no pixels
            theirs = by_cairosvg(drawing, height, width)
            assert largest_difference([bitmap], [theirs]) <= 0.05


@pytest.mark.parametrize(("height", "width"), [*SIZES, (1, 1), (3, 200)])
def test_modes_agree_on_odd_drawings(height, width):
    ours = rasterize_all(list(ODD.values()), height, width)
    theirs = rasterize_all(list(ODD.values()), height, width, "v2")
    assert largest_difference(ours, theirs) <= 0.05
    inked = dict(zip(ODD, (ours < 255).any(axis=(1, 2)), strict=True))
    assert not any(inked[name] for name in ("nothing", "a point at the origin", "a point elsewhere"))
    if height > 3:
        assert inked["a level line"] and inked["sharp turns"]


def test_original_bitmaps():
    """What the original program makes of 40 QuickDraw drawings, by CairoSVG."""
    with np.load(ROOT / "tests/reference/render_quickdraw_pig_test_48.npz") as file:
        reference = dict(file)
    drawings = np.split(reference["points"], np.cumsum(reference["lengths"])[:-1])
    scale = np.array([reference["scale_factor"], reference["scale_factor"], 1], np.float32)
    ours = rasterize_all([drawing / scale for drawing in drawings], 48, 48)
    assert len(ours) == 40
    assert largest_difference(ours, reference["images"]) <= 0.02


def test_one_as_in_bulk():
    rng = np.random.default_rng(1)
    drawings = [random_drawing(rng) for _ in range(20)] + [ODD["nothing"], ODD["huge"]]
    bulk = rasterize_all(drawings, 30, 44)
    assert all((rasterize(drawing, 30, 44) == bitmap).all() for drawing, bitmap in zip(drawings, bulk, strict=True))
    assert rasterize_all([], 30, 44).shape == (0, 30, 44)


def test_bad_drawings_and_sizes():
    with pytest.raises(ValueError, match="not a finite number"):
        rasterize(np.array([[np.nan, 0, 1]]), 48, 48)
    for height, width in ((0, 48), (48, -1), (48, 40_000)):
        with pytest.raises(ValueError, match="must be 1 to 32767 pixels"):
            rasterize(np.array([[1, 0, 1]]), height, width)


@pytest.mark.real
@pytest.mark.skipif(shutil.which("inkscape") is None, reason="inkscape is not installed: apt-get install inkscape")
def test_inkscape_agrees():
    rng = np.random.default_rng(2)
    drawings = [random_drawing(rng) for _ in range(20)] + list(ODD.values())
    drawings = [drawing for drawing in drawings if len(drawing) > 1]
    ours, theirs = rasterize_all(drawings, 40, 64), rasterize_all(drawings, 40, 64, "inkscape")
    assert largest_difference(ours, theirs) <= 2


def test_missing_programs(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"inkscape was not found; .*apt-get install inkscape"):
        rasterize_all([np.array([[1, 0, 1]])], 8, 8, "v1")
    (tmp_path / "cairocffi.py").write_text("raise OSError('no library called \"cairo\" was found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cairocffi")
    with pytest.raises(ValueError, match=r"apt-get install libcairo2.*brew install cairo"):
        rasterize(np.array([[1, 0, 1]]), 8, 8)


# ---------------------------------------------------------------------------------------------------------
# Whole data sets


def read_all(path):
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file}


def test_category_file(tmp_path):
    strokes = small_category()
    path = tmp_path / "cat_20x30.npz"
    done = []
    render_category(pack(strokes), path, 20, 30, progress=done.append)
    written = read_all(path)
    assert sum(done) == 14
    assert str(written["digest"]) == strokes_digest(strokes)
    assert str(written["render_mode"]) == "cairo"
    scale_factor = get_scale_factor(strokes["train"])  # of the train split, for every split
    for split in SPLITS:
        assert written[split].dtype == np.uint8
        drawings = [np.clip(drawing, -1000, 1000) for drawing in strokes[split]]
        expected = rasterize_all([np.float32(d) / np.float32([scale_factor] * 2 + [1]) for d in drawings], 20, 30)
        assert (written[split] == expected).all()
    assert [file.name for file in tmp_path.iterdir()] == ["cat_20x30.npz"]


def test_offsets_are_clamped(tmp_path):
    strokes = small_category()
    strokes["test"] = [np.array([[0, 0, 0], [30000, 0, 0], [0, 500, 1]], np.int16)]
    render_category(pack(strokes), tmp_path / "a.npz", 20, 30)
    strokes["test"] = [np.array([[0, 0, 0], [1000, 0, 0], [0, 500, 1]], np.int16)]
    render_category(pack(strokes), tmp_path / "b.npz", 20, 30)
    assert (read_all(tmp_path / "a.npz")["test"] == read_all(tmp_path / "b.npz")["test"]).all()


def test_workers_give_the_same(tmp_path):
    strokes = pack(small_category(3, (500, 60, 60)))
    pool = make_pool(2)
    try:
        render_category(strokes, tmp_path / "many.npz", 24, 24, pool=pool)
        modules = pool.submit(eval, "sorted(__import__('sys').modules)").result()
    finally:
        pool.shutdown()
    render_category(strokes, tmp_path / "one.npz", 24, 24)
    many, one = read_all(tmp_path / "many.npz"), read_all(tmp_path / "one.npz")
    assert all((many[key] == one[key]).all() for key in one)
    assert "tensorflow" not in modules


def render(data_dir, names=("a", "b"), **options):
    return render_data_sets(data_dir, list(names), 16, 24, workers=1, **options)


@pytest.fixture
def data_dir(tmp_path):
    write_category(tmp_path, "a", small_category(1))
    write_category(tmp_path, "b", small_category(2))
    return tmp_path


def test_only_what_is_missing_or_stale(data_dir):
    a, b = (bitmap_path(data_dir, name, 16, 24) for name in "ab")
    assert render(data_dir) == 28
    assert {file.name for file in a.parent.iterdir()} == {"a_16x24.npz", "a_16x24.png", "b_16x24.npz", "b_16x24.png"}
    kept = b.stat().st_mtime_ns
    assert render(data_dir) == 0  # nothing to do
    a.unlink()
    assert render(data_dir) == 14  # missing
    write_category(data_dir, "a", small_category(5))
    assert render(data_dir) == 14  # other strokes
    load_bitmaps(a, strokes_digest(load_strokes(data_dir / "npz/a.npz")))
    data = bytearray(a.read_bytes())
    for damaged in (data[: len(data) // 2], data[:200] + b"\0" * 40 + data[240:], b""):
        a.write_bytes(damaged)
        assert render(data_dir) == 14  # unreadable
    assert b.stat().st_mtime_ns == kept
    b.with_suffix(".png").unlink()
    assert render(data_dir) == 0
    assert b.with_suffix(".png").is_file()
    assert render(data_dir, render_mode="cairosvg") == 28  # made another way
    assert render(data_dir, render_mode="v2") == 0
    assert render(data_dir, render_mode="v2", overwrite=True) == 28


def test_trees_of_files(data_dir):
    render(data_dir, names=["a"], save_svg=True, save_png=True)
    bitmaps = read_all(bitmap_path(data_dir, "a", 16, 24))
    for split in SPLITS:
        for i, bitmap in enumerate(bitmaps[split]):
            with Image.open(data_dir / "png" / "a" / split / "16x24" / f"{i}.png") as image:
                assert (np.asarray(image) == bitmap).all()
            cairosvg.svg2png(url=str(data_dir / "svg" / "a" / split / f"{i}.svg"))
    png, svg = data_dir / "png/a/test/16x24/1.png", data_dir / "svg/a/test/1.svg"
    kept = (data_dir / "png/a/test/16x24/0.png").stat().st_mtime_ns
    png.unlink()
    svg.unlink()
    render(data_dir, names=["a"], save_svg=True, save_png=True)  # only what is missing
    assert png.is_file() and svg.is_file()
    assert (data_dir / "png/a/test/16x24/0.png").stat().st_mtime_ns == kept
    fewer = {split: drawings[:1] for split, drawings in small_category(9).items()}
    write_category(data_dir, "a", fewer)
    render(data_dir, names=["a"], save_svg=True, save_png=True)  # what belongs to other strokes goes
    assert not png.exists() and not svg.exists()
    assert (data_dir / "png/a/test/16x24/0.png").stat().st_mtime_ns != kept


def test_interrupted_leaves_no_half_file(data_dir, monkeypatch):
    replace = os.replace

    def interrupted(source, target):
        if Path(target).name == "b_16x24.npz":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        render(data_dir)
    assert {file.name for file in (data_dir / "bitmap").iterdir()} == {"a_16x24.npz", "a_16x24.png"}
    monkeypatch.undo()
    assert render(data_dir) == 14


@pytest.mark.skipif(os.name == "nt", reason="kills with a POSIX signal")
def test_killed_leaves_no_half_file_and_no_worker(tmp_path):
    write_category(tmp_path, "a", small_category(1, (3500, 5, 5)))
    code = (
        "import render_svg2bitmap as r, sys\n"
        "if __name__ == '__main__':\n"
        "    r.render_data_sets(sys.argv[1], ['a'], 96, 96, 'cairosvg', workers=2)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env=environment, stderr=subprocess.PIPE, start_new_session=True
    )
    seen = b""
    while not re.search(rb"\d drawings/s", seen):  # under way
        seen += process.stderr.read(1)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not list((tmp_path / "bitmap").iterdir()) if (tmp_path / "bitmap").exists() else True
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)  # anybody left of its session?
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("a worker outlived its parent")


@pytest.mark.skipif(os.name == "nt", reason="asks for a process by a POSIX signal")
def test_leftovers_of_killed_runs_go(data_dir):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (data_dir / "bitmap").mkdir()
    dead, alive = (data_dir / "bitmap" / f".a_16x24.npz.{pid}.part" for pid in (gone.pid, os.getppid()))
    dead.touch()
    alive.touch()
    render(data_dir, names=["a"])
    assert alive.exists() and not dead.exists()


def test_grid():
    images = [np.full((30, 20), value, np.uint8) for value in (0, 100, 200, 255, 7)]
    pixels = np.asarray(grid(images, 3, title="five", size=(40, 60)).convert("L"))
    assert pixels.shape == (44 + 2 * (60 + 10) + 10, 3 * (40 + 10) + 10)
    assert pixels[-20, 20] == 255 and pixels[-20, 70] == 7 and pixels[70, 20] == 0
    assert pixels[:44].min() < 128  # the title

    captioned = np.asarray(grid([images[0], None, images[3]], 2, ["a", "", "c"]).convert("L"))
    assert captioned.shape == (2 * (22 + 150 + 10) + 10, 2 * (100 + 10) + 10)  # 20 pixels, 5 times: at least 96
    assert captioned[100, 50] == 0 and captioned[-50, 50] == 255
    assert np.ptp(captioned[:, 125:]) == 0  # an empty tile
    assert captioned[2:20, 10:110].min() < 128  # a caption


def test_user_mistakes(data_dir):
    with pytest.raises(FileNotFoundError, match=r"dog\.npz not found"):
        render(data_dir, names=["a", "dog"])
    assert not (data_dir / "bitmap").exists()  # known before anything was rendered
    with pytest.raises(ValueError, match="--workers must be 1 or more"):
        render_data_sets(data_dir, ["a"], 16, 24, workers=0)
    with pytest.raises(ValueError, match="must be 1 to 32767"):
        render_data_sets(data_dir, ["a"], 0, 24)
    write_category(data_dir, "dots", {split: [np.array([[0, 0, 1]])] for split in SPLITS})
    with pytest.raises(ValueError, match=r"dots.*nothing to scale by"):
        render(data_dir, names=["dots"])
    (data_dir / "npz" / "junk.npz").write_bytes(b"PK junk")
    with pytest.raises(ValueError, match=r"junk\.npz is no readable \.npz"):
        render(data_dir, names=["junk"])


def test_is_current_expects_the_digest(data_dir):
    render(data_dir, names=["a"])
    path = bitmap_path(data_dir, "a", 16, 24)
    digest = str(read_all(path)["digest"])
    assert is_current(path, digest, "cairo")
    assert not is_current(path, "0" * 64, "cairo")
    assert not is_current(path, digest, "inkscape")
