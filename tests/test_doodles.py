"""The embedded doodles, the script that draws them, and QuickDraw's recipe for simplifying drawings."""

from pathlib import Path

import make_doodles
import numpy as np
import pytest
from quickdraw_recipe import resample_line, simplify_drawing, simplify_line

from utils import load_strokes, strokes_to_lines

NPZ = Path(__file__).resolve().parent.parent / "datasets" / "npz"
CATEGORIES = ["cat", "fish", "house", "sailboat", "flower", "car"]


@pytest.fixture(scope="module")
def committed() -> dict[str, dict[str, list[np.ndarray]]]:
    """The files of the repository, read as users read them."""
    return {category: load_strokes(NPZ / f"doodle_{category}.npz") for category in CATEGORIES}


# ---- recipe ----------------------------------------------------------------------------------------------------------


def as_lists(lines: list[np.ndarray]) -> list[list[list[int]]]:
    return [line.tolist() for line in lines]


def test_recipe_aligns_and_scales_the_drawing_as_a_whole():
    # 10 wide, so 25.5 units each; the second stroke keeps its place relative to the first.
    assert as_lists(simplify_drawing([[(5, 7), (15, 7)], [(7, 11), (9, 11)]])) == [
        [[0, 0], [255, 0]],
        [[51, 102], [102, 102]],
    ]
    assert as_lists(simplify_drawing([[(0, 0), (0, 2)]], size=100.0)) == [[[0, 0], [0, 100]]]


def test_recipe_keeps_the_corners_of_a_closed_outline():
    rectangle = [(5, 5), (260, 5), (260, 105), (5, 105), (5, 5)]
    assert as_lists(simplify_drawing([rectangle])) == [[[0, 0], [255, 0], [255, 100], [0, 100], [0, 0]]]


@pytest.mark.parametrize(("bump", "epsilon", "kept"), [(1.5, 2.0, False), (3.0, 2.0, True), (3.0, 4.0, False)])
def test_recipe_drops_what_is_within_epsilon(bump: float, epsilon: float, kept: bool):
    (line,) = simplify_drawing([[(0, 0), (100, bump), (255, 0)]], epsilon=epsilon)
    assert line.tolist() == ([[0, 0], [100, 3], [255, 0]] if kept else [[0, 0], [255, 0]])


def test_recipe_takes_dots_and_nothing():
    assert as_lists(simplify_drawing([[(0, 0), (10, 0)], [(4, 2)], [(4, 2), (4, 2), (4, 2)], []])) == [
        [[0, 0], [255, 0]],
        [[102, 51], [102, 51]],
        [[102, 51], [102, 51]],
    ]
    assert as_lists(simplify_drawing([[(30, 40)]])) == [[[0, 0], [0, 0]]]
    assert simplify_drawing([]) == simplify_drawing([[]]) == []


def test_recipe_measures_to_the_endless_line():
    # As QuickDraw: the pen went to 200 and back to 100, all on one line.
    there_and_back = np.array([[0.0, 0.0], [200.0, 0.0], [100.0, 0.0]])
    assert simplify_line(there_and_back, 2.0).tolist() == [[0, 0], [100, 0]]
    # A closed line has no direction: the distance is that to its start.
    closed = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 0.0]])
    assert simplify_line(closed, 2.0).tolist() == closed.tolist()


def test_resampling_is_even_and_keeps_the_ends():
    points = resample_line(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 2.5]]), 1.0)
    assert points.tolist() == [[0, 0], [1, 0], [2, 0], [3, 0], [3, 1], [3, 2], [3, 2.5]]


# ---- generator -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", CATEGORIES)
def test_same_seed_same_drawings(category: str):
    first, again, other = (make_doodles.make_category(category, seed, {"train": 5})["train"] for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("category", CATEGORIES)
def test_default_seed_draws_the_committed_files(category: str, committed: dict):
    counts = {"train": 8, "valid": 4, "test": 4}
    for split, drawings in make_doodles.make_category(category, make_doodles.DEFAULT_SEED, counts).items():
        for drawn, stored in zip(drawings, committed[category][split], strict=False):
            assert drawn.dtype == np.int16
            np.testing.assert_array_equal(drawn, stored)


def test_script_writes_the_same_bytes_twice_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(make_doodles, "SPLITS", {"train": 3, "valid": 1, "test": 2})
    for run in ("a", "b"):
        sheet = ["--sheet", str(tmp_path / "sheet.png")] if run == "a" else []
        assert make_doodles.main(["--out", str(tmp_path / run), "--seed", "5", *sheet]) == 0
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(f"doodle_{category}.npz" for category in CATEGORIES)
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


# ---- files -----------------------------------------------------------------------------------------------------------


def test_files_are_small():
    assert sum(path.stat().st_size for path in NPZ.glob("doodle_*.npz")) <= 2_000_000


@pytest.mark.parametrize("category", CATEGORIES)
def test_file_is_as_numpy_reads_it(category: str):
    with np.load(NPZ / f"doodle_{category}.npz", allow_pickle=True) as splits:
        assert sorted(splits) == ["test", "train", "valid"]
        assert {split: len(splits[split]) for split in splits} == {"train": 1000, "valid": 100, "test": 100}
        for drawings in splits.values():
            assert drawings.dtype == object
            assert drawings.ndim == 1
            assert {strokes.dtype for strokes in drawings} == {np.dtype(np.int16)}


@pytest.mark.parametrize("category", CATEGORIES)
def test_drawings_follow_quickdraws_conventions(category: str, committed: dict):
    for split in ("train", "valid", "test"):
        for strokes in committed[category][split]:
            assert strokes.shape[1:] == (3,)
            assert strokes[0, :2].tolist() == [0, 0]
            assert set(np.unique(strokes[:, 2])) <= {0, 1}
            assert strokes[-1, 2] == 1
            assert len(strokes) <= make_doodles.MAX_POINTS <= 250
            assert len(strokes_to_lines(strokes)) in make_doodles.STROKES
            extent = np.ptp(np.cumsum(strokes[:, :2], axis=0, dtype=int), axis=0)
            assert 250 <= extent.max() <= 255


def test_no_drawing_twice(committed: dict):
    seen = [
        strokes.astype(np.int16).tobytes() for splits in committed.values() for d in splits.values() for strokes in d
    ]
    assert len(seen) == 6 * 1200
    assert len(set(seen)) == len(seen)
