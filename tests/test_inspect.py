"""The summary of a data set."""

import numpy as np
import pytest
from inspect_data import main
from inspection import contact_sheet, find_suspicious, histogram
from PIL import Image

from utils import save_strokes


def drawing(*rows) -> np.ndarray:
    return np.array(rows, np.int16)


def ordinary(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    strokes = np.column_stack([rng.integers(-40, 40, (12, 2)), np.zeros(12)]).astype(np.int16)
    strokes[[5, 11], 2] = 1
    return strokes


@pytest.fixture
def strokes() -> dict[str, list[np.ndarray]]:
    return {
        "train": [
            *[ordinary(i) for i in range(20)],
            drawing([3, 4, 1]),
            drawing([0, 0, 0], [0, 0, 1]),
            drawing([0, 0, 0], [2, 3, 1]),
            drawing([0, 0, 0], [5000, 3, 1]),
            drawing([0, 0, 0], [90, 90, 0]),
            ordinary(3),
        ],
        "valid": [ordinary(50), np.tile(ordinary(51), (30, 1))],
        "test": [ordinary(7)],
    }


def test_what_is_suspicious_is_named(strokes):
    suspicious = {fault.split(" (")[0]: where for fault, where in find_suspicious(strokes).items()}
    assert suspicious == {
        "one point": ["train 20"],
        "no extent": ["train 21"],
        "much smaller than usual": ["train 22"],
        "offsets over 1000": ["train 23"],
        "pen not lifted at the end": ["train 24"],
        "duplicates twice in a split": ["train 25 = train 3"],
        "over 250 points": ["valid 1"],
        "duplicates in more than one split": ["test 0 = train 7"],
    }


def test_the_summary_and_the_picture(strokes, tmp_path, capsys):
    save_strokes(tmp_path / "npz" / "cat.npz", strokes)
    save_strokes(tmp_path / "npz" / "pig.npz", {split: [ordinary(99)] for split in strokes})
    assert main(["cat", "--data_dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    written = (tmp_path / "inspection" / "cat.txt").read_text()
    assert written in said
    for words in ("29 drawings (train 26, valid 2, test 1)", "1 to 360", "longest: valid 1 (360)", "test 0 = train 7"):
        assert words in written
    with Image.open(tmp_path / "inspection" / "cat.png") as file:
        picture = np.array(file)
    assert picture.shape == (20 + 3 * 80, 12 * 80)
    assert all((picture[20:100, 80 * i : 80 * i + 80] < 200).any() for i in range(12))
    assert main(["--data_dir", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "data_set.txt").read_text().count("drawings (") == 2
    assert main([str(tmp_path / "npz" / "pig.npz"), "--data_dir", str(tmp_path)]) == 0
    assert "duplicates in more than one split" in capsys.readouterr().out


def test_empty_splits_and_missing_files(tmp_path, capsys):
    save_strokes(tmp_path / "npz" / "a.npz", {"train": [ordinary(1)], "valid": [], "test": []})
    save_strokes(tmp_path / "npz" / "b.npz", {"train": [], "valid": [], "test": []})
    assert main(["--data_dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "valid is empty" in said and "b.npz: 0 drawings" in said
    with pytest.raises(FileNotFoundError, match="nothing"):
        main(["nothing", "--data_dir", str(tmp_path)])
    with pytest.raises(FileNotFoundError, match="import or download"):
        main(["--data_dir", str(tmp_path / "elsewhere")])


def test_histogram_counts_everything():
    lines = histogram(np.array([1, 1, 2, 40]))
    assert sum(int(line.split()[-1]) for line in lines) == 4 and len(lines) <= 11
    assert histogram(np.array([5, 5])) == ["    5  " + "#" * 40 + " 2"]


def test_contact_sheet_of_odd_drawings():
    sheet = np.array(
        contact_sheet([drawing([0, 0, 1]), ordinary(1) * np.array([30000 // 40, 1, 1])], tile=40, columns=2)
    )
    assert (sheet[:, :40] < 200).any() and (sheet[:, 40:] < 200).any()
