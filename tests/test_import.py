"""Reading and importing drawings: QuickDraw's results, CairoSVG's pictures, round trips, and files that mean harm."""

import io
import json
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import cairosvg
import numpy as np
import pytest
from import_drawings import fitting_epsilon, main, split_drawings, to_strokes
from PIL import Image, ImageDraw

from read_strokes import READERS, Skip, read_drawings
from read_svg import read_svg_lines
from render_svg2bitmap import draw_strokes
from simplify import resample_line, simplify_drawing, simplify_line
from svg_pen import clip_line
from utils import get_scale_factor, lines_to_strokes, load_strokes, save_strokes, strokes_to_lines

ROOT = Path(__file__).resolve().parent.parent
QUICKDRAW = ROOT / "tests/reference/quickdraw"
XMLNS = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
INK = 'fill="none" stroke="black" stroke-width="1.5"'


def svg(body: str, attributes: str = 'width="200" height="200"') -> str:
    return f"<svg {XMLNS} {attributes}>{body}</svg>"


LINE = f'<path d="M10 10L90 60L20 80" {INK}/>'


def run(source, tmp_path, *arguments) -> dict[str, list[np.ndarray]]:
    """Import, and read what was written: split -> drawings."""
    assert main([str(source), "--name", "my_set", "--data_dir", str(tmp_path / "data"), *arguments]) == 0
    return load_strokes(tmp_path / "data" / "npz" / "my_set.npz")


def pooled(splits: dict[str, list[np.ndarray]]) -> list[np.ndarray]:
    return [drawing for split in splits.values() for drawing in split]


def same(a: np.ndarray, b: np.ndarray, within: float = 1.0) -> bool:
    """Whether two stroke-3 drawings have the same points, in the same places wherever they begin."""
    if a.shape != b.shape or (a[:, 2] != b[:, 2]).any():
        return False
    a, b = np.cumsum(a[:, :2], axis=0, dtype=float), np.cumsum(b[:, :2], axis=0, dtype=float)
    return bool(np.abs((a - a[0]) - (b - b[0])).max() <= within)


# ---- QuickDraw's recipe ---------------------------------------------------------------------------------------------


def as_lists(lines: list[np.ndarray]) -> list[list[list[int]]]:
    return [line.tolist() for line in lines]


def test_recipe_aligns_and_scales_the_drawing_as_a_whole():
    # 10 wide, so 25.5 units each; the second stroke keeps its position relative to the first.
    assert as_lists(simplify_drawing([[(5, 7), (15, 7)], [(7, 11), (9, 11)]])) == [
        [[0, 0], [255, 0]],
        [[51, 102], [102, 102]],
    ]
    assert as_lists(simplify_drawing([[(0, 0), (0, 2)]], size=100.0)) == [[[0, 0], [0, 100]]]


def test_recipe_keeps_the_corners_of_a_closed_outline():
    rectangle = [(5, 5), (260, 5), (260, 105), (5, 105), (5, 5)]
    assert as_lists(simplify_drawing([rectangle])) == [[[0, 0], [255, 0], [255, 100], [0, 100], [0, 0]]]


@pytest.mark.parametrize(("bump", "epsilon", "retained"), [(1.5, 2.0, False), (3.0, 2.0, True), (3.0, 4.0, False)])
def test_recipe_drops_what_is_within_epsilon(bump: float, epsilon: float, retained: bool):
    (line,) = simplify_drawing([[(0, 0), (100, bump), (255, 0)]], epsilon=epsilon)
    assert line.tolist() == ([[0, 0], [100, 3], [255, 0]] if retained else [[0, 0], [255, 0]])


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


def test_raw_drawings_come_out_as_google_published_them():
    raw, published = (list(read_drawings(QUICKDRAW / f"{name}.ndjson")) for name in ("raw", "simplified"))
    pairs = [(to_strokes(before), lines_to_strokes(after)) for before, after in zip(raw, published, strict=True)]
    assert sum(same(*pair) for pair in pairs) >= 22 and len(pairs) == 24  # 144 of the 150 that these are taken from


def test_published_drawings_stay_as_they_are(tmp_path):
    published = [lines_to_strokes(lines) for lines in read_drawings(QUICKDRAW / "simplified.ndjson")]
    imported = pooled(run(QUICKDRAW / "simplified.ndjson", tmp_path))
    assert len(imported) == len(published)
    assert all(any(same(drawing, other) for other in imported) for drawing in published)


def test_round_trip_through_svg(tmp_path):
    drawings = [drawing.astype(float) for drawing in pooled(run(QUICKDRAW / "simplified.ndjson", tmp_path))]
    for category in ("cat", "house"):
        drawings += load_strokes(ROOT / f"datasets/npz/doodle_{category}.npz")["test"][:40]
    scale = get_scale_factor(drawings)
    for i, drawing in enumerate(drawings):
        draw_strokes(drawing / [scale, scale, 1], tmp_path / "svg" / f"{i:03d}.svg")
    imported = pooled(run(tmp_path / "svg", tmp_path, "--overwrite"))
    assert all(any(same(drawing, other, within=0) for other in imported) for drawing in drawings)


def test_round_trip_of_an_import_through_svg(tmp_path):
    rng = np.random.default_rng(3)
    lines = [[np.cumsum(rng.normal(0, 8, (60, 2)), axis=0) for _ in range(3)] for _ in range(20)]
    first = [to_strokes(drawing) for drawing in lines]
    for i, drawing in enumerate(first):
        draw_strokes(drawing, tmp_path / f"{i}.svg", factor=0.7)
    again = [to_strokes(next(read_drawings(tmp_path / f"{i}.svg"))) for i in range(len(first))]
    assert all(same(a, b) for a, b in zip(first, again, strict=True))


def test_a_coarse_grid_is_no_sign_of_the_recipe():
    lines = [np.array([[0, 0], [100, 0], [100, 50], [0, 50], [0, 0]])]
    width, height = np.ptp(strokes_to_lines(to_strokes(lines))[0], axis=0)
    assert width == 255 and abs(height - 127.5) <= 1


def test_every_drawing_begins_at_the_origin_and_is_255_across():
    strokes = to_strokes([np.array([[7.0, 3], [7, 93]]), np.array([[17.0, 3], [27, 33]])])
    assert strokes.dtype == np.int16
    assert strokes.tolist() == [[0, 0, 0], [0, 255, 1], [28, -255, 0], [29, 85, 1]]


# ---- SVG against CairoSVG -------------------------------------------------------------------------------------------


def cubic(r):
    curves = f"C{r()},{r()} {r()},{r()} {r()},{r()}S{r()} {r()} {r()} {r()}c9-30 40 5-9 30s-20 8 5 9"
    return svg(f'<path {INK} d="M{r()} {r()}{curves}"/>')


def quadratic(r):
    return svg(f'<path {INK} d="M{r()} {r()}Q{r()} {r()} {r()} {r()}T{r()} {r()} q20 40 60-10t-30 5"/>')


def arcs(r):
    flags = [int(r(0, 2)) for _ in range(4)]
    arc = f"A{r(9, 90)} {r(9, 90)} {r(0, 180)} {flags[0]} {flags[1]} {r()} {r()}"
    return svg(f'<path {INK} d="M{r()} {r()}{arc}a{r(9, 30)},20 45 {flags[2]}{flags[3]}{r(5, 40)},9.5.5 7 0 01 9 9"/>')


def straight(r):
    return svg(f'<path {INK} d="M{r()} {r()}H{r()}V{r()}h{r(-30, 30)}v-9.5.5 5e0l20-1e1zm10 10l30 5 5 30"/>')


def nested(r):
    inner = f'<polyline points="{r()},{r()} {r()},{r()} {r()},{r()}"/><circle cx="{r()}" cy="90" r="{r(9, 40)}"/>'
    matrix = f'<g transform="matrix({r(0.7, 1)} {r(-0.3, 0.3)} .2 {r(0.7, 1)} 5 9)">{inner}</g>'
    return svg(
        f'<g transform="translate({r(-9, 9)} 4) rotate({r(-60, 60)} 100 100)">'
        f'<g {INK} transform="scale({r(0.5, 1)},.9) skewX({r(-20, 20)}) skewY(5)">{matrix}</g></g>'
    )


def use(r):
    leaf = '<g id="leaf"><path d="M0 0C10-20 30-20 40 0C30 20 10 20 0 0"/><line x2="40" y2="0"/></g>'
    first = f'<use xlink:href="#leaf" x="{r(30, 120)}" y="{r(30, 150)}" transform="rotate({r(-30, 30)} 99 99)"/>'
    return svg(
        f'<defs>{leaf}</defs><g {INK}>{first}<use href="#leaf" x="50" y="{r(30, 150)}" transform="scale(.8)"/></g>'
    )


def symbol(r):
    content = '<ellipse cx="25" cy="15" rx="20" ry="10"/><path d="M5 15H45" stroke-dasharray="2 1"/>'
    uses = f'<use href="#s" x="{r(0, 60)}" y="9" width="{r(70, 120)}" height="{r(40, 90)}"/>'
    uses += '<use href="#s" y="120" width="80" height="60"/>'
    return svg(f'<symbol id="s" viewBox="0 0 50 30"><g {INK}>{content}</g></symbol>{uses}')


def view_box(r):
    aspects = ["none", "xMinYMin meet", "xMidYMax slice", "xMaxYMid meet", "xMidYMid slice", "xMaxYMin slice"]
    page = f'width="{r(120, 300)}" height="{r(120, 300)}" viewBox="-50 -20 300 150"'
    box = f'<rect x="{r(-40, 50)}" y="{r(-9, 30)}" width="{r(60, 140)}" height="{r(40, 80)}" rx="{r(3, 20)}" ry="9"/>'
    lines = f'<polygon points="{r(-40, 240)},{r(-9, 120)} {r(-40, 240)} 60 100,{r(-9, 120)}"/>'
    return svg(f"<g {INK}>{box}{lines}</g>", f'{page} preserveAspectRatio="{aspects[int(r(0, 6))]}"')


def inner_svg(r):
    inner = f'<polygon {INK} points="5,5 95,10 60,45 20,40"/><circle cx="50" cy="25" r="15" {INK}/>'
    frame = f'<svg x="{r(9, 60)}" y="{r(9, 60)}" width="{r(80, 120)}" height="60" viewBox="0 0 100 50">{inner}</svg>'
    return svg(f'{frame}<line x1="5" y1="5" x2="{r(99, 195)}" y2="190" {INK}/>')


def shapes(r):
    body = (
        f'<rect x="{r(5, 90)}" y="{r(5, 90)}" width="{r(30, 90)}" height="{r(30, 90)}" rx="{r(2, 30)}"/>'
        f'<ellipse cx="{r(60, 130)}" cy="90" rx="{r(5, 60)}" ry="{r(5, 60)}" transform="rotate({r(0, 90)} 100 100)"/>'
        f'<polygon points="{r()},{r()} {r()},{r()} {r()},{r()} {r()},{r()}"/>'
        f'<line x1="9" y1="{r()}" x2="190" y2="{r()}"/>'
    )
    return svg(f'<rect width="100%" height="100%" fill="white"/><g {INK}>{body}</g>')


def styles(r):
    style = "<style>.a, circle {fill:none; stroke:#222} #h {display:none} rect.b {visibility:hidden}</style>"
    hidden = '<rect id="h" class="a" width="150" height="190"/><rect class="a b" width="90" height="90"/>'
    white = (
        '<path d="M0 0L200 200" stroke="#fff" fill="none"/><g display="none"><line x2="99" y2="99" stroke="red"/></g>'
    )
    return svg(
        f'{style}<path class="a" d="M{r()} {r()}C{r()} {r()} {r()} {r()} {r()} {r()}"/>'
        f'<circle cx="99" cy="99" r="{r(20, 80)}"/>{hidden}{white}'
    )


def units(r):
    return svg(
        f'<g {INK}><line x1="5mm" y1="{r(2, 8)}mm" x2="{r(50, 90)}%" y2="80%"/>'
        f'<circle cx="50%" cy="50%" r="{r(9, 40)}%"/><rect x="1em" y="1em" width="1in" height="30pt"/></g>'
    )


KINDS = [cubic, quadratic, arcs, straight, nested, use, symbol, view_box, inner_svg, shapes, styles, units]


def cairosvg_ink(text: str) -> np.ndarray:
    png = cairosvg.svg2png(text.encode(), background_color="white")
    with Image.open(io.BytesIO(png)) as picture:
        return np.array(picture.convert("L")) < 160


def near(ink: np.ndarray, reach: int = 2) -> np.ndarray:
    """All pixels within `reach` of an inked one."""
    height, width = ink.shape
    padded, grown = np.pad(ink, reach), np.zeros_like(ink)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dx * dx + dy * dy <= reach * reach:
                grown |= padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
    return grown


def overlap(expected: np.ndarray, lines: list[np.ndarray]) -> float:
    """IoU of inked pixels, 2 px tolerance: CairoSVG's picture, and lines on a page 4096 wide drawn at its size."""
    picture = Image.new("L", expected.shape[::-1], 255)
    for line in lines:
        ImageDraw.Draw(picture).line([tuple(point) for point in line * expected.shape[1] / 4096], fill=0, width=2)
    actual = np.array(picture) < 160
    missed, made_up = (expected & ~near(actual)).sum(), (actual & ~near(expected)).sum()
    both = (expected.sum() - missed + actual.sum() - made_up) / 2
    return both / (both + missed + made_up)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_svg_looks_as_cairosvg_draws_it(kind):
    exact, imported = [], []
    for seed in range(12):
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        text = kind(lambda low=10, high=190, rng=rng: round(rng.uniform(low, high), 2))
        lines, _ = read_svg_lines(text.encode())
        origin, unit = np.concatenate(lines).min(axis=0), np.ptp(np.concatenate(lines), axis=0).max() / 255
        begin = origin + np.rint((lines[0][0] - origin) / unit) * unit  # an import begins at 0: put it back on its grid
        ink = cairosvg_ink(text)
        exact.append(overlap(ink, lines))
        simple = strokes_to_lines(to_strokes(lines))
        imported.append(overlap(ink, [line * unit + begin for line in simple]))
    print(f"{kind.__name__}: IoU at least {min(exact):.3f} as read, {min(imported):.3f} as imported")
    assert min(exact) >= 0.95, np.argmin(exact)
    assert min(imported) >= 0.9, np.argmin(imported)


def test_only_what_is_visible_and_on_the_page():
    lines, left_out = read_svg_lines(svg(f'{LINE}<text y="20">words</text><path d="M-50 20H300" {INK}/>').encode())
    assert [len(line) for line in lines] == [3, 2] and left_out == {"text": 1}
    assert lines[1][:, 0].min() > -10 and lines[1][:, 0].max() < 4110
    assert read_svg_lines(svg(f'<rect width="200" height="200" fill="#fee"/>{LINE}').encode())[0][0].shape == (3, 2)
    assert len(read_svg_lines(svg(LINE, "").encode())[0]) == 1  # no size at all


def test_clip_line_keeps_what_is_inside():
    rng = np.random.default_rng(5)
    for _ in range(50):
        line = rng.uniform(-2, 3, (8, 2))
        parts = clip_line(line, np.zeros(2), np.ones(2))
        t = np.linspace(0, 1, 4001)[:, None]
        inside = 0.0
        for start, end in pairwise(line):
            fine = start + t * (end - start)
            inside += ((fine > 0) & (fine < 1)).all(axis=1).mean() * np.hypot(*(end - start))
        assert sum(np.hypot(*np.diff(part, axis=0).T).sum() for part in parts) == pytest.approx(inside, abs=0.02)
        assert all((part > -1e-9).all() and (part < 1 + 1e-9).all() for part in parts)


# ---- the other formats ----------------------------------------------------------------------------------------------

TRIANGLE = [[0, 0, 0], [255, 0, 0], [-128, 255, 0], [-127, -255, 1]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.svg", svg('<path d="M10 10h100l-50 100z" stroke="red"/>')),
        ("a.ndjson", '{"word": "cat", "drawing": [[[10, 110, 60, 10], [10, 10, 110, 10]]]}\n\n'),
        ("a.ndjson", '{"drawing": [[[10.5, 110.5, 60.5, 10.5], [10, 10, 110, 10], [0, 9, 19, 30]]]}'),
        (
            "a.json",
            json.dumps(
                {
                    "format": "stroke-3",
                    "scale_factor": 40.1,
                    "drawings": [
                        {"category": "cat", "strokes": [[9, 9, 0], [100, 0, 0], [-50, 100, 0], [-50, -100, 1]]}
                    ],
                }
            ),
        ),
        ("a.inkml", '<ink xmlns="http://www.w3.org/2003/InkML"><trace>0 0, 1 0, .5 1, 0 0</trace></ink>'),
        (
            "a.inkml",
            '<ink><traceFormat><channel name="T"/><channel name="X"/><channel name="Y"/></traceFormat>'
            "<traceGroup><trace>7 0 0,8 1 0,9 .5 1,10 0 0</trace></traceGroup></ink>",
        ),
        ("a.txt", "# a triangle\n0 0\n10 0\n5 10\n0 0\n"),
        ("a.csv", "x,y,t\n0,0,1\n10,0,2\n5,10,3\n0,0,4\n\n"),
    ],
    ids=lambda value: value if len(value) < 20 else "",
)
def test_formats(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    splits = run(tmp_path / name, tmp_path)
    assert [len(splits[split]) for split in splits] == [1, 0, 0]
    assert np.abs(splits["train"][0] - TRIANGLE).max() <= 1 and splits["train"][0][:, 2].tolist() == [0, 0, 0, 1]


def test_strokes_stay_apart(tmp_path):
    (tmp_path / "a.txt").write_text("0 0\n10 0\n\n\n0 5\n10 5\n")
    assert run(tmp_path / "a.txt", tmp_path)["train"][0].tolist() == [
        [0, 0, 0],
        [255, 0, 1],
        [-255, 128, 0],
        [255, 0, 1],
    ]


def test_an_npz_can_be_imported(tmp_path):
    rng = np.random.default_rng(1)
    drawings = [to_strokes([np.cumsum(rng.normal(0, 9, (50, 2)), axis=0)]) for _ in range(20)]
    save_strokes(tmp_path / "a.npz", split_drawings(drawings, 0.2, 0.2, 0))
    imported = pooled(run(tmp_path / "a.npz", tmp_path))
    assert len(imported) == 20 and all(any(same(a, b) for b in imported) for a in drawings)


def test_reading_needs_neither_tensorflow_nor_cairo():
    code = "import sys, read_strokes; sys.exit(bool({'tensorflow', 'cairocffi', 'cairosvg'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_reading_names_the_file_and_what_can_be_read(tmp_path):
    unreadable = [("a.txt", "1 2\nx y\n", "line 2"), ("a.npz", "no zip", "npz"), ("a.xyz", "", ".inkml")]
    for name, content, says in [*unreadable, ("a.png", "", "a picture")]:
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=f"^{tmp_path / name}.*{says}"):
            list(read_drawings(tmp_path / name))
    with pytest.raises(FileNotFoundError, match=r"b.svg not found"):
        next(read_drawings(tmp_path / "b.svg"))
    (tmp_path / "a.ndjson").write_text('broken\n{"drawing": [[[0, 9], [0, 5]]]}\n')
    skipped, lines = read_drawings(tmp_path / "a.ndjson")
    assert isinstance(skipped, Skip) and "broken JSON" in skipped and lines[0].tolist() == [[0, 0], [9, 5]]
    assert set(".svg .svgz .ndjson .jsonl .json .npz .inkml .txt .csv .tsv".split()) == set(READERS)


# ---- the whole script -----------------------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path) -> Path:
    """Two categories of 40, some of them twice, and what else lies about in a directory."""
    rng = np.random.default_rng(0)
    for category in ("cats", "ice cream/deeper"):
        (tmp_path / "src" / category).mkdir(parents=True)
        for i in range(40):
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in rng.uniform(5, 195, (7, 2)))
            (tmp_path / "src" / category / f"{i:02d}.svg").write_text(svg(f'<polyline points="{points}" {INK}/>'))
    cats = tmp_path / "src" / "cats"
    (cats / "copy.svg").write_bytes((cats / "00.svg").read_bytes())
    (cats / "words.svg").write_text(svg("<text>no lines</text>"))
    (cats / "broken.svg").write_text("<svg")
    (cats / "notes.docx").write_text("?")
    (cats / ".hidden.svg").write_text("?")
    return tmp_path / "src"


def test_a_directory_becomes_a_file_for_each_category(directory, tmp_path, capsys):
    arguments = [str(directory), "--name", "my", "--data_dir", str(tmp_path), "--valid", "0.1", "--test", "0.2"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    npz = tmp_path / "npz"
    assert sorted(path.name for path in npz.iterdir()) == ["my_cats.npz", "my_ice_cream.npz"]
    splits = load_strokes(npz / "my_cats.npz")
    assert {split: len(drawings) for split, drawings in splits.items()} == {"train": 28, "valid": 4, "test": 8}
    assert len({drawing.tobytes() for drawing in pooled(splits)}) == 40
    for words in (
        "1 duplicates",
        "skipped: 3",
        "broken XML",
        "no visible lines, only <text>",
        "notes.docx",
        "points of a drawing",
    ):
        assert words in said
    assert "data_set=[my_cats.npz,my_ice_cream.npz]" in said
    with Image.open(tmp_path / "inspection" / "my.png") as picture:
        assert picture.width > 500
    with pytest.raises(ValueError, match="--overwrite"):
        main(arguments)
    assert main([*arguments, "--overwrite"]) == 0
    assert all(
        np.array_equal(a, b) for a, b in zip(pooled(splits), pooled(load_strokes(npz / "my_cats.npz")), strict=True)
    )
    assert main([*arguments, "--overwrite", "--seed", "1"]) == 0
    assert not np.array_equal(splits["test"][0], load_strokes(npz / "my_cats.npz")["test"][0])


def test_long_drawings_are_reported_with_the_epsilon_that_fits(tmp_path, capsys):
    t = np.linspace(0, 200, 2000)
    waves = [np.column_stack([t, 3 * np.sin(2 * t) + 20 * i]) for i in range(3)]
    text = "\n\n".join("\n".join(f"{x:.3f} {y:.3f}" for x, y in wave) for wave in waves)
    (tmp_path / "a.txt").write_text(text)
    assert len(run(tmp_path / "a.txt", tmp_path)["train"][0]) > 250
    fit = fitting_epsilon(waves, 2.0)
    assert f"--epsilon {fit:g}" in capsys.readouterr().out
    assert len(to_strokes(waves, fit)) <= 250 < len(to_strokes(waves, fit - 0.5))
    assert len(run(tmp_path / "a.txt", tmp_path, "--epsilon", str(fit), "--overwrite")["train"][0]) <= 250
    many = [np.array([[i, 0], [i, 9.0]]) for i in range(150)]
    assert fitting_epsilon(many, 2.0) is None


def test_small_sets_get_all_three_splits():
    drawings = [np.full((1, 3), i) for i in range(5)]
    assert [len(split) for split in split_drawings(drawings, 0.05, 0.05, 0).values()] == [3, 1, 1]
    assert [len(split) for split in split_drawings(drawings, 0, 0, 0).values()] == [5, 0, 0]
    assert [len(split) for split in split_drawings(drawings[:2], 0.05, 0.05, 0).values()] == [2, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere", "--name", "a"], "nowhere not found"),
        (["src", "--name", "../a"], "--name"),
        (["src", "--name", "a", "--valid", "0.6", "--test", "0.4"], "something to train on"),
        (["src", "--name", "a", "--epsilon", "nan"], "--epsilon"),
        (["empty", "--name", "a"], "no drawing found"),
    ],
)
def test_mistakes(directory, tmp_path, monkeypatch, arguments, says):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        main([*arguments, "--data_dir", str(tmp_path / "data")])
    assert not (tmp_path / "data" / "npz").exists()


# ---- files that mean harm -------------------------------------------------------------------------------------------

BOMB = "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))
USES = "".join(f'<g id="u{i + 1}">{f"""<use href="#u{i}"/>""" * 10}</g>' for i in range(9))
HARMFUL = {
    "entity bomb": f'<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">{BOMB}]>{svg(f"<text>&j;</text>{LINE}")}',
    "external entity": f'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]>{svg(f"<text>&x;</text>{LINE}")}',
    "10,000 deep": svg("<g>" * 10_000 + LINE + "</g>" * 10_000),
    "10 MB path": svg(f'<path d="M0 0{"L1 2 " * 2_000_000}" {INK}/>'),
    "curves": svg(f'<path d="M0 0{"c100 1-200 200 3 3" * 9_000}" {INK}/>'),
    "a million elements": svg("<g/>" * 1_000_000),
    "many elements": svg(LINE * 6000),
    "use bomb": svg(f'<defs><path id="u0" d="M0 0L9 9" {INK}/>{USES}</defs><use href="#u9"/>'),
    "use of itself": svg(f'<g id="a"><use href="#a"/>{LINE}</g>'),
    "use in a circle": svg(f'<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/>{LINE}</g>'),
    "style sheet": svg(f"<style>{'g *:not(.a) > path{fill:none}' * 1000}</style>{LINE}"),
    "brackets": svg(f'<path style="fill:{"(" * 40_000}" d="M0 0L9 9" {INK}/>'),
    "infinite number": svg(f'<path d="M0 0L5 5L1e999 3L3 4" {INK}/>'),
    "not a number": svg(f'<circle r="nan" {INK}/>{LINE}'),
    "broken view box": svg(LINE, 'viewBox="a b c d"'),
    "cut off": svg(LINE)[:-20],
    "something else": "\x1f\x8b\x08 not XML",
    "scribble": svg(f'<polyline points="{"0,0 200,200 " * 1000}" {INK}/>'),
}
JSON_HARMFUL = {
    "deep.ndjson": '{"drawing": ' + "[" * 100_000,
    "nan.ndjson": '{"drawing": [[[0, NaN], [0, 1]]]}',
    "text.ndjson": '{"drawing": [[["0", "1"], [0, 1]]]}',
    "uneven.ndjson": '{"drawing": [[[0, 1, 2], [0, 1]]]}',
    "huge.ndjson": '{"drawing": [[[0, 1e999], [0, 1]]]}',
    "digits.ndjson": '{"drawing": [[[0, ' + "9" * 10_000 + "], [0, 1]]]}",
    "long.ndjson": '{"drawing": [[[' + "1," * 2_000_000 + "1], [0]]]}",
    "list.ndjson": "[1, 2]",
    "dot.ndjson": '{"drawing": [[[5], [5]]]}',
    "empty.ndjson": '{"drawing": []}',
    "null.ndjson": '{"drawing": [null, {"a": 1}]}',
    "bytes.ndjson": "\udcff\udcfe",
    "other.json": '{"format": "stroke-5", "drawings": []}',
    "deep.json": "[" * 200_000,
    "rows.json": '{"format": "stroke-3", "drawings": [{"strokes": [[1, 2]]}]}',
    "what.json": '{"format": "stroke-3", "drawings": 5}',
    "a.inkml": "<ink><trace>1 x, 2 3</trace></ink>",
    "differences.inkml": "<ink><trace>1 1, '2 '3</trace></ink>",
    "a.txt": "1 2\nthree four\n",
    "short.csv": "1\n2\n",
    "a.npz": "PK no zip",
}


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_svgs_are_refused_soon(name):
    began = time.process_time()
    with pytest.raises(ValueError):
        to_strokes(read_svg_lines(HARMFUL[name].encode())[0])
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "harm",
    [
        '<image href="http://127.0.0.1:PORT/a.png" width="9" height="9"/>',
        '<use href="http://127.0.0.1:PORT/a.svg#b"/><use xlink:href="file:///etc/passwd#a"/>',
        "<style>@import url(http://127.0.0.1:PORT/a.css); path {marker-end: url(http://127.0.0.1:PORT/a#b)}</style>",
        '<text><tref href="http://127.0.0.1:PORT/a.svg"/></text><script href="http://127.0.0.1:PORT/a.js">x()</script>',
        '<g mask="url(http://127.0.0.1:PORT/#a)" filter="url(#none)" clip-path="url(#none)" fill="url(#none)"/>',
        '<image href="data:image/svg+xml;base64,PHN2Zz4="/><foreignObject><p>x</p></foreignObject>',
    ],
)
def test_nothing_is_fetched(harm):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.01)
        lines, _ = read_svg_lines(svg(harm.replace("PORT", str(listener.getsockname()[1])) + LINE).encode())
        assert [len(line) for line in lines] == [3]
        with pytest.raises(TimeoutError):
            listener.accept()


def test_harmful_files_are_counted_and_the_rest_is_imported(tmp_path, capsys):
    source = tmp_path / "src"
    source.mkdir()
    for name, content in JSON_HARMFUL.items():
        (source / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    for name in ("entity bomb", "10,000 deep", "use bomb", "cut off"):
        (source / f"{name}.svg").write_text(HARMFUL[name])
    (source / "good.svg").write_text(svg(LINE))
    with (source / "mixed.ndjson").open("w") as file:
        file.write(
            '{"drawing": [[[0, 9], [0, 5]]]}\nbroken\n' + "x" * 3_000_000 + '\n{"drawing": [[[0, 9], [0, 7]]]}\n'
        )
    assert len(pooled(run(source, tmp_path))) == 1
    assert len(pooled(load_strokes(tmp_path / "data/npz/my_set_mixed.npz"))) == 2
    assert f"{len(JSON_HARMFUL) + 4 + 2} skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, strokes",
    [
        ("x;y\n188,5;112,5\n189,5;121,5\n", [[[188.5, 112.5], [189.5, 121.5]]]),
        (",x,y\n0,188,112\n1,189,121\n", [[[188, 112], [189, 121]]]),
        ("stroke,x,y\n0,1,2\n0,3,4\n1,5,6\n", [[[1, 2], [3, 4]], [[5, 6]]]),
        ("t\tx\ty\n0\t1\t2\n16\t3\t4\n", [[[1, 2], [3, 4]]]),
        ("x,y,Pressure\n1,2,0.5\n3,4,0.1\n5,5,0\n6,6,0.4\n7,8,1\n", [[[1, 2], [3, 4]], [[6, 6], [7, 8]]]),
        ("x,y,p\n1,2,0\n3,4,0\n", [[[1, 2], [3, 4]]]),
    ],
    ids=["decimal commas", "index", "stroke", "time", "pressure", "no pressure"],
)
def test_points_heed_their_header(tmp_path, text, strokes):
    (tmp_path / "a.csv").write_text(text)
    (lines,) = read_drawings(tmp_path / "a.csv")
    assert [line.tolist() for line in lines] == strokes


def test_points_that_cannot_be_told_are_refused(tmp_path):
    for text, says in (("1,2,3\n4,5,6\n", "3 columns without names"), ("a,b\n1,2\n", "are called a, b")):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(ValueError, match=says):
            list(read_drawings(tmp_path / "a.csv"))
    (tmp_path / "a.json").write_text("[[[0, 0], [9, 9], [20, 0]], [[5, 5], [6, 20]]]")
    with pytest.raises(ValueError, match="or points one by one"):
        list(read_drawings(tmp_path / "a.json"))


def test_pieces_are_joined_and_lines_beside_the_page_told(tmp_path):
    page = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 50 50"><g stroke="rgb(1 2 3 / 50%)">{}</g></svg>'
    pieces = "".join(f'<line x1="{k}" y1="{k % 3}" x2="{k + 1}" y2="{(k + 1) % 3}"/>' for k in range(12))
    (tmp_path / "a.svg").write_text(page.format(pieces + '<path d="M30 30L40 40"/>'))
    assert [len(line) for line in next(read_drawings(tmp_path / "a.svg"))] == [13, 2]
    (tmp_path / "a.svg").write_text(page.format('<path d="M60 60L70 70"/>'))
    with pytest.raises(ValueError, match="all its lines lie beside its page"):
        list(read_drawings(tmp_path / "a.svg"))
