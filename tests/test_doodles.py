"""The doodles that come with the project, and the script that draws them."""

from pathlib import Path

import make_doodles
import numpy as np
import pytest

from utils import load_strokes, strokes_to_lines

NPZ = Path(__file__).resolve().parent.parent / "datasets" / "npz"
CATEGORIES = ["cat", "fish", "house", "sailboat", "flower", "car"]


@pytest.fixture(scope="module")
def committed() -> dict[str, dict[str, list[np.ndarray]]]:
    """The files of the repository, read as users read them."""
    return {category: load_strokes(NPZ / f"doodle_{category}.npz") for category in CATEGORIES}


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


def test_script_writes_the_same_bytes_twice_and_leaves_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(make_doodles, "SPLITS", {"train": 3, "valid": 1, "test": 2})
    for run in ("a", "b"):
        assert make_doodles.main(["--out", str(tmp_path / run), "--seed", "5"]) == 0
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(f"doodle_{category}.npz" for category in CATEGORIES)
    before = {name: (tmp_path / "a" / name).read_bytes() for name in names}
    assert all((tmp_path / "b" / name).read_bytes() == data for name, data in before.items())
    assert make_doodles.main(["--out", str(tmp_path / "a"), "--seed", "6"]) == 0
    assert all((tmp_path / "a" / name).read_bytes() == data for name, data in before.items())
    with pytest.raises(ValueError, match="--seed -1"):
        make_doodles.main(["--seed", "-1"])


# ---- files -----------------------------------------------------------------------------------------------------------


def test_files_are_small():
    assert sum(path.stat().st_size for path in NPZ.glob("doodle_*.npz")) <= 2_000_000


@pytest.mark.parametrize("category", CATEGORIES)
def test_file_is_as_numpy_reads_it(category: str, committed: dict):
    with np.load(NPZ / f"doodle_{category}.npz", allow_pickle=True) as splits:
        assert {split: len(splits[split]) for split in splits} == {"train": 1000, "valid": 100, "test": 100}
        for split, drawings in splits.items():
            assert drawings.dtype == object
            assert drawings.ndim == 1
            assert {strokes.dtype for strokes in drawings} == {np.dtype(np.int16)}
            assert all(np.array_equal(a, b) for a, b in zip(drawings, committed[category][split], strict=True))


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
