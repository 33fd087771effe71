"""QuickDraw's drawings in the shapes in which they are passed on, and lists of points as programs write them."""

import csv
import gzip
import io
import json
import random
from pathlib import Path

import import_drawings
import numpy as np
import pytest
from import_drawings import main, plain_name, split_drawings
from inspection import find_suspicious

from read_strokes import Skip, read_drawings
from utils import load_strokes, save_strokes

ROOT = Path(__file__).resolve().parent.parent

STROKES = [[[0, 9, 20], [0, 5, 0], [0, 16, 40]], [[3, 4], [8, 9], [60, 90]]]  # raw: with times
LINES = [[[0, 0], [9, 5], [20, 0]], [[3, 8], [4, 9]]]


def record(key: int, word: str = "cat", recognized: bool = True, **changes) -> dict:
    """A drawing of QuickDraw, of a shape of its own for each key."""
    xs = [0, 40 + key % 97, 90, 200]
    fields = {"word": word, "countrycode": "US", "timestamp": "2017-03-03 18:06:11.24727 UTC"}
    fields |= {
        "recognized": recognized,
        "key_id": str(5238903604772864 + key),
        "drawing": [[xs, [0, 80, key % 89, 255]]],
    }
    return fields | changes


def ndjson(records: list[dict]) -> str:
    return "".join(json.dumps(each) + "\n" for each in records)


def kaggle(records: list[dict]) -> str:
    """As in Kaggle's train_simplified: the drawing as JSON in a column."""
    text = io.StringIO()
    writer = csv.DictWriter(text, "countrycode drawing key_id recognized timestamp word".split(), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**each, "drawing": json.dumps(each["drawing"])} for each in records)
    return text.getvalue()


def run(source, tmp_path, *arguments, name: str = "q") -> dict[str, dict[str, list[np.ndarray]]]:
    """Import, and read all that was written: category -> split -> drawings."""
    assert main([str(source), "--name", name, "--data_dir", str(tmp_path / "data"), *arguments]) == 0
    return {path.stem: load_strokes(path) for path in sorted((tmp_path / "data/npz").glob("*.npz"))}


def counts(written) -> dict[str, int]:
    return {name: sum(map(len, splits.values())) for name, splits in written.items()}


# ---- shapes of files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.ndjson", json.dumps({"drawing": STROKES}) + "\n"),
        ("a.jsonl", json.dumps({"drawing": STROKES}) + "\n"),
        ("a.ndjson", json.dumps(STROKES)),
        ("a.ndjson", json.dumps({"drawing": json.dumps(STROKES)})),
        ("a.json", json.dumps([{"word": "cat", "drawing": STROKES}])),
        ("a.json", json.dumps([STROKES])),
        ("a.json", json.dumps(STROKES)),
        ("a.json", json.dumps({"word": "cat", "drawing": STROKES}, indent=1)),
        ("a.csv", kaggle([record(1, drawing=STROKES)])),
        ("a.csv", f';word;drawing\n0;cat;"{json.dumps(STROKES)}"\n'),
        ("a.tsv", f"word\tdrawing\ncat\t{json.dumps(STROKES)}\n"),
    ],
)
def test_shapes_of_quickdraw(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    for path in (tmp_path / name, tmp_path / f"{name}.gz"):
        (drawing,) = read_drawings(path)
        assert [line.tolist() for line in drawing] == LINES


def test_json_lines_that_are_called_json(tmp_path):
    (tmp_path / "a.json").write_text(ndjson([record(k) for k in range(3)]))
    assert [drawing.word for drawing in read_drawings(tmp_path / "a.json")] == ["cat"] * 3


def test_points_one_by_one_are_no_rows_of_x_and_y(tmp_path):
    (tmp_path / "a.ndjson").write_text('{"drawing": [[[0, 0], [9, 5], [20, 0], [4, 4]], [[3, 8], [4, 9], [5, 5]]]}\n')
    (skipped,) = read_drawings(tmp_path / "a.ndjson")
    assert isinstance(skipped, Skip) and "points [x, y]" in skipped


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.excalidraw", {"type": "excalidraw", "elements": []}, "Export image, SVG"),
        ("a.json", {"type": "excalidraw/clipboard", "elements": []}, "Export image, SVG"),
        ("a.tldr", {"tldrawFileFormatVersion": 1, "schema": {}, "records": []}, "Export as, SVG"),
        ("a.json", {"tldrawFileFormatVersion": 1, "schema": {}, "records": []}, "Export as, SVG"),
        ("a.json", [{"penColor": "black", "points": [{"x": 1, "y": 2, "time": 3}]}], "toSVG"),
        ("a.procreate", None, "export a picture"),
        ("a.ai", None, "export it as SVG"),
    ],
)
def test_files_of_other_programs_are_refused_with_what_to_do(tmp_path, name, content, says):
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"^no drawing found in .*{says}"):
        main([str(tmp_path / name), "--name", "q", "--data_dir", str(tmp_path / "data")])


# ---- categories ------------------------------------------------------------------------------------------------------


def test_a_flat_directory_is_a_category_per_word_or_file(tmp_path, capsys):
    source = tmp_path / "src"
    source.mkdir()
    (source / "full_simplified_cat.ndjson").write_text(ndjson([record(k, "cat") for k in range(30)]))
    (source / "ice.ndjson.gz").write_bytes(
        gzip.compress(ndjson([record(k, "ice cream") for k in range(40, 60)]).encode())
    )
    (source / "owl.csv").write_text(kaggle([record(k, "owl") for k in range(70, 90)]))
    (source / "unnamed.jsonl").write_text(ndjson([{"drawing": record(k)["drawing"]} for k in range(100, 110)]))
    mixed = [record(k, ("cat", "dog")[k % 2]) for k in range(120, 140)]
    (source / "zzz.ndjson").write_text(ndjson(mixed) + "broken\n")
    assert counts(run(source, tmp_path)) == {"q_cat": 40, "q_dog": 10, "q_ice_cream": 20, "q_owl": 20, "q_unnamed": 10}
    plain = {"cat": 40, "dog": 10, "ice_cream": 20, "owl": 20, "unnamed": 10}
    written = counts(run(source, tmp_path, name=""))
    assert {name: written[name] for name in plain} == plain
    assert "broken JSON" in capsys.readouterr().out


def test_one_file_is_one_category_unless_asked_for_a_category_per_word(tmp_path, capsys):
    (tmp_path / "mixed.ndjson").write_text(ndjson([record(k, ("cat", "dog")[k % 2]) for k in range(20)]))
    assert counts(run(tmp_path / "mixed.ndjson", tmp_path, name="one")) == {"one": 20}
    assert "--by_word" in capsys.readouterr().out
    written = counts(run(tmp_path / "mixed.ndjson", tmp_path, "--by_word", name="two"))
    assert written == {"one": 20, "two_cat": 10, "two_dog": 10}


def test_directories_are_categories_unless_they_hold_several(tmp_path):
    for directory in ("raw", "simplified"):
        (tmp_path / "src" / directory).mkdir(parents=True)
        for i, word in enumerate(("cat", "dog")):
            text = ndjson([record(k, word) for k in range(50 * i, 50 * i + 20)])
            (tmp_path / "src" / directory / f"{word}.ndjson").write_text(text)
    assert counts(run(tmp_path / "src", tmp_path)) == {"q_cat": 20, "q_dog": 20}


def test_links_and_names_without_letters(tmp_path, capsys):
    assert plain_name("🐱") == "cat_face" and plain_name("🐶") == "dog_face" and plain_name("ice cream") == "ice_cream"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.ndjson").write_text(ndjson([record(1)]))
    for name in ("🐱", "🐶"):
        (tmp_path / "src" / name).mkdir(parents=True)
        (tmp_path / "src" / name / "a.ndjson").write_text(ndjson([record(ord(name))]))
    (tmp_path / "src" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "src" / "circle").symlink_to(tmp_path / "src")
    (tmp_path / "src" / "lost.svg").symlink_to(tmp_path / "nowhere")
    assert counts(run(tmp_path / "src", tmp_path)) == {"q_cat_face": 1, "q_dog_face": 1, "q_linked": 1}
    said = capsys.readouterr().out
    assert "left out: circle: a link to a directory that it lies in" in said and "left out: lost.svg" in said
    (tmp_path / "src" / "a b").mkdir()
    (tmp_path / "src" / "a_b").mkdir()
    for name in ("a b", "a_b"):
        (tmp_path / "src" / name / "a.ndjson").write_text(ndjson([record(2)]))
    with pytest.raises(ValueError, match="'a b' and 'a_b' would be one category"):
        run(tmp_path / "src", tmp_path)


# ---- which drawings --------------------------------------------------------------------------------------------------


def test_one_drawing_per_key_id_in_all_splits_and_categories(tmp_path, capsys):
    source = tmp_path / "src"
    for directory in ("cat", "raw"):
        (source / directory).mkdir(parents=True)
    simplified = [record(k) for k in range(60)]
    rng = np.random.default_rng(1)
    raw = []
    for each in simplified:
        xs, ys = (
            np.interp(np.arange(0, 3.01, 0.1), range(4), axis) + rng.normal(0, 0.3, 31) for axis in each["drawing"][0]
        )
        raw.append(each | {"drawing": [[(2 * xs).round(1).tolist(), (2 * ys).round(1).tolist(), list(range(31))]]})
    (source / "cat" / "raw.ndjson").write_text(ndjson(raw))
    (source / "cat" / "simplified.ndjson").write_text(ndjson(simplified))
    (source / "raw" / "twins.csv").write_text(kaggle(raw[:20] + [record(k, "dog") for k in range(70, 80)]))
    written = run(source, tmp_path)
    assert counts(written) == {"q_cat": 60, "q_dog": 10}
    assert "80 of a key_id again" in capsys.readouterr().out


def test_what_was_not_recognised_is_left_out_and_counted(tmp_path, capsys):
    records = [record(k, recognized=k % 4 > 0) for k in range(40)]
    for name, text in (("a.ndjson", ndjson(records)), ("a.csv", kaggle(records))):
        (tmp_path / name).write_text(text)
        assert counts(run(tmp_path / name, tmp_path, "--overwrite")) == {"q": 30}
        assert "left out: 10 that QuickDraw did not recognise (--unrecognized" in capsys.readouterr().out
        assert counts(run(tmp_path / name, tmp_path, "--overwrite", "--unrecognized")) == {"q": 40}


def test_splits_are_large_enough_to_measure_with():
    def sizes(n, *shares):
        return [len(split) for split in split_drawings([np.zeros((1, 3))] * n, *(shares or (0.05, 0.05)), 0).values()]

    assert sizes(1000) == [900, 50, 50] and sizes(120) == [100, 10, 10] and sizes(60) == [48, 6, 6]
    assert sizes(1000, 0.001, 0.2) == [790, 10, 200] and sizes(50, 0, 0.1) == [45, 0, 5] and sizes(3) == [1, 1, 1]


@pytest.mark.parametrize("long", ["keep", "drop", "simplify"])
def test_long_drawings_by_choice(tmp_path, capsys, long):
    t = np.linspace(0, 200, 2000)
    wave = [[t.round(3).tolist(), (30 * np.sin(2 * t)).round(3).tolist()]] * 3
    hatching = [[[k, k], [0, 9]] for k in range(150)]
    drawings = [record(1), {"drawing": wave}, {"drawing": hatching}]
    (tmp_path / "a.ndjson").write_text(ndjson(drawings))
    lengths = [
        len(drawing)
        for split in run(tmp_path / "a.ndjson", tmp_path, "--long", long)["q"].values()
        for drawing in split
    ]
    said = capsys.readouterr().out
    assert len(lengths) == {"keep": 3, "drop": 1, "simplify": 2}[long]
    assert (max(lengths) <= 250) == (long != "keep")
    expected = {
        "keep": "training skips them",
        "drop": "; dropped",
        "simplify": "1 simplified until they fit, 1 dropped",
    }
    assert "over 250 points: 2" in said and expected[long] in said


def test_many_categories_print_a_summary_and_are_written_one_by_one(tmp_path, capsys, monkeypatch):
    source = tmp_path / "src"
    source.mkdir()
    for i in range(25):
        (source / f"word{i:02d}.ndjson").write_text(ndjson([record(40 * i + k, f"word {i:02d}") for k in range(30)]))
    written = run(source, tmp_path)
    said = capsys.readouterr().out
    assert len(written) == 25 and len(said.splitlines()) < 20
    assert "25 categories" in said and "600 train" in said
    pages = sorted(path.name for path in (tmp_path / "data/inspection").glob("*.png"))
    assert pages == ["q_1.png", "q_2.png", "q_3.png"]
    details = (tmp_path / "data/inspection/q_import.txt").read_text()
    assert all(f"q_word_{i:02d}.npz: 30 drawings" in details for i in range(25))

    def interrupted(path, outlines):
        if path.stem == "word07":
            raise KeyboardInterrupt
        return read_drawings(path, outlines)

    monkeypatch.setattr(import_drawings, "read_drawings", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path, name="half")
    assert len(list((tmp_path / "data/npz").glob("half_*.npz"))) == 7
    assert "7 categories are written" in capsys.readouterr().out


# ---- positions instead of offsets ------------------------------------------------------------------------------------


def test_positions_fed_as_offsets_are_suspicious(tmp_path, capsys):
    offsets = load_strokes(ROOT / "datasets/npz/doodle_cat.npz")["test"][:30]
    positions = [np.column_stack([np.cumsum(drawing[:, :2], axis=0), drawing[:, 2]]) for drawing in offsets]
    placed = [drawing - [*drawing[:, :2].min(axis=0), 0] for drawing in positions]
    centred = [drawing - [*drawing[:, :2].mean(axis=0), 0] for drawing in positions]
    name = "positions instead of offsets, by their looks"
    assert name not in find_suspicious({"train": offsets, "valid": [], "test": []})
    for wrong, least in ((placed, 28), (centred, 10)):
        found = find_suspicious({"train": wrong, "valid": [], "test": []})
        assert len(found[name]) >= least
        save_strokes(tmp_path / "a.npz", {"train": wrong[:20], "valid": wrong[20:25], "test": wrong[25:]})
        run(tmp_path / "a.npz", tmp_path, "--overwrite")
        assert "that may be positions, where stroke-3 has offsets" in capsys.readouterr().out


# ---- lists of points -------------------------------------------------------------------------------------------------

POINTS = {
    "pandas with an index": (",x,y\n0,188.5,112\n1,189,121\n", [[[188.5, 112], [189, 121]]]),
    "pandas, unnamed": ("Unnamed: 0,x,y,stroke\n0,1,2,0\n1,3,4,0\n2,5,6,1\n", [[[1, 2], [3, 4]], [[5, 6]]]),
    "decimal commas": ("x;y\n188,5;112,5\n189,5;121,5\n", [[[188.5, 112.5], [189.5, 121.5]]]),
    "decimal commas, more columns": ("t;X;Y\n0,1;1,5;2\n0,2;3;4,5\n", [[[1.5, 2], [3, 4.5]]]),
    "decimal commas, quoted": ('"x","y"\n"1,5","2,5"\n"3","4"\n', [[[1.5, 2.5], [3, 4]]]),
    "decimal commas, blanks": ("1,5 2,5\n3,0 4,5\n", [[[1.5, 2.5], [3, 4.5]]]),
    "R": ('"x" "y"\n"1" 1.5 2\n"2" 3 4\n', [[[1.5, 2], [3, 4]]]),
    "printed": ("     x    y\n0  1.5  2.0\n1  3.0  4.0\n", [[[1.5, 2], [3, 4]]]),
    "y first": ("y,x\n1,2\n3,4\n", [[[2, 1], [4, 3]]]),
    "units": ("Time (ms),X [px],Y [px],Pressure\n0,1,2,.5\n8,3,4,.6\n", [[[1, 2], [3, 4]]]),
    "a browser": ("strokeId,pointerX,pointerY\na,1,2\na,3,4\nb,5,6\n", [[[1, 2], [3, 4]], [[5, 6]]]),
    "nan between strokes": ("x,y\n1,2\n3,4\nnan,nan\n5,6\n7,8\n", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
    "empty between strokes": ("x,y\n1,2\n3,4\n,\n5,6\n7,8\n", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
    "Windows": ("\ufeffx,y\r\n1,2\r\n3,4\r\n\r\n5,6\r\n", [[[1, 2], [3, 4]], [[5, 6]]]),
}


@pytest.mark.parametrize(("text", "strokes"), POINTS.values(), ids=POINTS)
def test_points_heed_their_header(tmp_path, text, strokes):
    (tmp_path / "a.csv").write_text(text)
    (lines,) = read_drawings(tmp_path / "a.csv")
    assert [line.tolist() for line in lines] == strokes


def test_a_column_may_number_drawings(tmp_path):
    (tmp_path / "a.csv").write_text("drawing,stroke,x,y\n0,0,1,2\n0,0,3,4\n0,1,5,6\n1,0,7,8\n1,0,9,9\n")
    drawings = [[line.tolist() for line in lines] for lines in read_drawings(tmp_path / "a.csv")]
    assert drawings == [[[[1, 2], [3, 4]], [[5, 6]]], [[[7, 8], [9, 9]]]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,2,3\n4,5,6\n", "3 columns without names"),
        ("a,b\n1,2\n", "are called a, b; expected one x and one y"),
        ("dx,dy,p\n1,2,0\n", "are called dx, dy, p; expected one x and one y"),
        ("x,y\n188,5,112,5\n", "line 2 has 4 columns, not 2"),
        ("x,y,pen_up\n1,2,0\n3,4,1\n", "whether 'pen_up' parts strokes cannot be told"),
        ("x,y\n", "an empty list of points"),
        ("", "an empty file"),
        ("x,y,x\n1,2,3\n", "expected one x and one y"),
        ("x,y\n1,2\n3,four\n", "line 3 is no position: '3,four'"),
        ("# a comment\nx y\n1 2\nthree 4\n", "line 4 is no position"),
    ],
)
def test_points_that_cannot_be_told_are_refused(tmp_path, text, says):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=says):
        list(read_drawings(tmp_path / "a.csv"))


def test_damaged_records_are_told_in_words(tmp_path):
    random.seed(2)
    good = json.dumps(record(1)).encode()
    lines = [bytes(random.randrange(32, 127) if random.random() < 0.05 else byte for byte in good) for _ in range(40)]
    lines += [
        b'{"drawing": [[[0, ' + b"9" * 10_000 + b"], [0, 1]]]}",
        b'{"drawing": [[1, 2], [3, 4]]}',
        b"\xff\xfe",
        b"7",
    ]
    lines += [
        b'{"drawing": "[[[0, 1], [2"}',
        b'{"drawing": {"0": [[0, 1], [0, 1]]}}',
        b'{"drawing": [[[0, "1"], [0, 1]]]}',
    ]
    (tmp_path / "a.ndjson").write_bytes(b"\n".join(lines))
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(good * 500)[:-9])
    said = [skipped for skipped in read_drawings(tmp_path / "a.ndjson") if isinstance(skipped, Skip)]
    with pytest.raises(ValueError, match="damaged or cut off"):
        said += list(read_drawings(tmp_path / "a.ndjson.gz"))
    assert len(said) > 10
    for word in ("Error", "object", "codec", "float", "array", "shape", "int(", "NoneType"):
        assert not any(word in reason for reason in said), word
