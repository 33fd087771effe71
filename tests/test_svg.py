# ruff: noqa: E501 (files of programs have long lines)
"""SVGs as drawing programs write them: filled pen strokes, pieces, white on dark, pages, entities, colours."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial import cKDTree

from read_image import load_image
from read_strokes import Skip, read_drawings
from read_svg import read_svg_lines
from simplify import resample_line
from utils import load_strokes, strokes_to_lines

ROOT = Path(__file__).resolve().parent.parent

XMLNS = 'xmlns="http://www.w3.org/2000/svg"'
INK = 'fill="none" stroke="black" stroke-width="2"'
NO_FILL = 'fill="none"'
SCRIBBLE = "M20 20L80 30L40 60L90 90"


def svg(body: str, attributes: str = 'viewBox="0 0 100 100"') -> bytes:
    return f"<svg {XMLNS} {attributes}>{body}</svg>".encode()


def read(body: str, attributes: str = 'viewBox="0 0 100 100"', outlines: bool = False, units: float = 100.0):
    """The lines of an SVG, in units of its page."""
    drawing, _ = read_svg_lines(svg(body, attributes), outlines)
    for i, line in enumerate(drawing):
        drawing[i] = line * units / 4096
    return drawing


def points_of(lines: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([resample_line(line, 0.25) if len(line) > 1 else line for line in lines])


def apart(lines: list[np.ndarray], others: list[np.ndarray]) -> float:
    """How far the farthest point of either lies from the other, but for one in a hundred."""
    a, b = points_of(lines), points_of(others)
    return max(np.quantile(cKDTree(b).query(a)[0], 0.99), np.quantile(cKDTree(a).query(b)[0], 0.99))


# ---- filled pen strokes ----------------------------------------------------------------------------------------------


def pen_strokes() -> list[np.ndarray]:
    """A drawing on a page of 100: a loop that crosses itself, a spiral, a corner, a straight line."""
    t = np.linspace(0, 2 * np.pi, 60)
    loop = np.stack([15 + 6 * t + 12 * np.sin(1.5 * t), 25 + 12 * np.cos(1.5 * t)], axis=1)
    spiral = np.stack([25 + (4 + 2.2 * t) * np.cos(2 * t), 72 + (4 + 2.2 * t) * np.sin(2 * t)], axis=1)
    corner = np.array([[60, 60], [90, 62], [70, 90.0]])
    return [loop, spiral, resample_line(corner, 2), np.linspace([85, 10], [92, 45], 20)]


def outline(line: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The outline of a pen's stroke as perfect-freehand makes it: left side, round end, right side back, round end."""
    along = np.gradient(line, axis=0)
    along /= np.hypot(*along.T)[:, None]
    across = along[:, ::-1] * [-1, 1]
    angles = np.linspace(0, np.pi, 9)[1:-1, None]
    half = widths[:, None] / 2
    end = line[-1] + half[-1] * (np.cos(angles) * across[-1] + np.sin(angles) * along[-1])
    start = line[0] + half[0] * (-np.cos(angles) * across[0] - np.sin(angles) * along[0])
    return np.concatenate([line + half * across, end, (line - half * across)[::-1], start])


def excalidraw_path(points: np.ndarray) -> str:
    """Quadratic curves through the middles of an outline, as Excalidraw and tldraw write them."""
    curves = " ".join(
        f"{x:.2f} {y:.2f} {u:.2f} {v:.2f}"
        for (x, y), (u, v) in zip(points, (points + np.roll(points, -1, axis=0)) / 2, strict=True)
    )
    return f"M {points[0][0]:.2f} {points[0][1]:.2f} Q {curves} Z"


@pytest.mark.parametrize("pressure", [False, True])
@pytest.mark.parametrize(
    "paint", ['fill="#1e1e1e" stroke="none"', 'fill="#1e1e1e" stroke="#1e1e1e" stroke-width="0.1"']
)
def test_filled_pen_strokes_are_read_as_their_centre_line(pressure, paint):
    strokes = pen_strokes()
    widths = [
        2 + (1.5 * np.sin(np.linspace(0.3, 9, len(line))) if pressure else np.zeros(len(line))) for line in strokes
    ]
    paths = [excalidraw_path(outline(*pair)) for pair in zip(strokes, widths, strict=True)]
    page = '<rect x="0" y="0" width="100" height="100" fill="#ffffff"/>'
    lines = read(page + "".join(f'<g stroke-linecap="round"><path d="{path}" {paint}/></g>' for path in paths))
    assert len(lines) == len(strokes) and lines.notes == {"filled pen strokes read as their centre line": 4}
    for line, stroke in zip(lines, strokes, strict=True):
        assert apart([line], [stroke]) < 0.9, "in order, through its own crossing"
        assert np.abs(line[0] - stroke[0]).max() < 1.5 and np.abs(line[-1] - stroke[-1]).max() < 1.5
        length = [np.hypot(*np.diff(each, axis=0).T).sum() for each in (line, stroke)]
        assert length[0] == pytest.approx(length[1], rel=0.06)
    whole = read("".join(f'<path d="{path}" {paint}/>' for path in paths), outlines=True)
    assert len(points_of(whole)) > 1.8 * len(points_of(lines))


def traced_path(strokes: list[np.ndarray], width: float, size: int = 1000) -> str:
    """One path of the shapes that strokes of a pen make together, with holes, as potrace writes it."""
    ink = np.zeros((size, size), np.uint8)
    for line in strokes:
        cv2.polylines(ink, [np.rint(line * size / 100).astype(np.int32)], False, 255, int(width * size / 100))
    contours, _ = cv2.findContours(ink, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return "".join(
        "M" + "L".join(f"{10 * x},{10000 - 10 * y}" for x, y in contour[::3, 0]) + "z" for contour in contours
    )


def test_a_traced_drawing_is_read_as_its_centre_lines():
    strokes = [*pen_strokes(), np.linspace([5, 20], [95, 70], 40), np.linspace([5, 55], [80, 5], 40)]
    head = 'version="1.0" width="100.000000pt" height="100.000000pt" viewBox="0 0 100.000000 100.000000"'
    body = (
        '<metadata>by potrace</metadata><g transform="translate(0,100) scale(.01,-.01)" fill="#000000" stroke="none">'
    )
    lines = read(f'{body}<path d="{traced_path(strokes, 1.6)}"/></g>', f'{head} preserveAspectRatio="xMidYMid meet"')
    assert apart(lines, strokes) < 1.2
    assert len(strokes) <= len(lines) <= 3 * len(strokes)
    total = [sum(np.hypot(*np.diff(line, axis=0).T).sum() for line in each) for each in (lines, strokes)]
    assert total[0] == pytest.approx(total[1], rel=0.08)  # there and back would be twice as long


def test_areas_are_outlined_and_dots_are_dots():
    area = '<circle cx="50" cy="50" r="30" fill="orange"/>'
    lines = read(area + f'<path d="{SCRIBBLE}" {INK}/>')
    assert len(lines) == 2 and np.ptp(lines[0], axis=0) == pytest.approx([60, 60], abs=0.5)
    assert lines.notes == {"filled areas read as their outline": 1}
    strokes = "".join(
        f'<path d="{excalidraw_path(outline(line, np.full(len(line), 2.0)))}"/>' for line in pen_strokes()
    )
    *_, dot = read(strokes + '<circle cx="50" cy="48" r="1.4"/>')
    assert dot.tolist() == [pytest.approx([50, 48], abs=0.1)]
    *_, short = read(
        strokes + f'<path d="{excalidraw_path(outline(np.array([[50, 48], [53, 50.0]]), np.full(2, 2.0)))}"/>'
    )
    assert short[np.argsort(short[:, 0])] == pytest.approx(np.array([[50, 48], [53, 50]]), abs=0.5)


def test_what_is_filled_and_stroked_gives_lines_once():
    head = '<path d="M20 20H80V80H20Z" {}/>'
    for body in (head.format('fill="gold" stroke="black"'), head.format('fill="gold"') + head.format(INK)):
        (line,) = read(body)
        assert line.tolist() == [pytest.approx(corner) for corner in ([20, 20], [80, 20], [80, 80], [20, 80], [20, 20])]


# ---- what is seen ----------------------------------------------------------------------------------------------------

WHITE = 'fill="none" stroke="#fff" stroke-width="2"'
SEEN = {
    "white on a dark page": f'<rect width="100%" height="100%" fill="#121212"/><path d="{SCRIBBLE}" {WHITE}/>',
    "white on a dark path": f'<path d="M0 0h100v100H0z" fill="#121212"/><path d="{SCRIBBLE}" {WHITE}/>',
    "white on nothing": f'<path d="{SCRIBBLE}" {WHITE}/>',
    "grey on light grey": f'<rect width="100" height="100" fill="#eee"/><path d="{SCRIBBLE}" fill="none" stroke="#999"/>',
    "white lines on white": f'<path d="M5 95L95 95" {WHITE}/><path d="{SCRIBBLE}" {INK}/>',
    "below a white shape": f'<path d="M30 92L70 98" {INK}/><rect x="20" y="91" width="60" height="9" fill="#fff"/>'
    f'<path d="{SCRIBBLE}" {INK}/>',
    "rubbed out in white": f'<path d="M10 95H95" {INK}/><path d="M5 95H98" stroke="white" stroke-width="9"/>'
    f'<path d="{SCRIBBLE}" {INK}/>',
    "a group that is clear": f'<g opacity="0"><path d="M5 5L95 95" {INK}/></g><path d="{SCRIBBLE}" {INK}/>',
    "hidden": f'<path d="M5 5L9 95" {INK} style="display:none"/><path d="{SCRIBBLE}" {INK}/>',
    "a gradient": f'<defs><linearGradient id="g"><stop offset="0" stop-color="oklch(40% .1 20)"/></linearGradient></defs>'
    f'<path d="{SCRIBBLE}" fill="none" stroke="url(#g)" stroke-width="2"/>',
    "beside a clipping box": '<clipPath id="a"><rect x="15" y="15" width="77" height="77"/></clipPath>'
    f'<g clip-path="url(#a)"><path d="{SCRIBBLE}" {INK}/><path d="M5 5V95H95" {INK}/></g>',
    "beside a clipping shape": '<defs><clipPath id="a"><circle cx="55" cy="55" r="60" id="c"/></clipPath></defs>'
    f'<path d="{SCRIBBLE}" {INK}/><path d="M2 2H9M2 2V9" {INK} style="clip-path:url(#a)"/>',
    "a clip path that is not there": f'<path d="{SCRIBBLE}" {INK} clip-path="url(#b)"/>',
    "a clip path that clips itself": '<clipPath id="a" clip-path="url(#a)"><rect width="99" height="99"/></clipPath>'
    f'<path d="{SCRIBBLE}" {INK} clip-path="url(#a)"/>',
    "two clip paths": '<clipPath id="a"><path d="M0 0H99V99H0L9 50Z"/></clipPath><clipPath id="b"><path d="M0 0H99V99Z"/>'
    f'</clipPath><g clip-path="url(#a)"><path d="{SCRIBBLE}" {INK}/><path clip-path="url(#b)" d="M9 40L30 90" {INK}/></g>',
}


@pytest.mark.parametrize("body", SEEN.values(), ids=SEEN)
def test_both_doors_see_the_same(body, tmp_path):
    expected = np.array([[20, 20], [80, 30], [40, 60], [90, 90]])
    lines = read(body)
    assert len(lines) == 1 and np.abs(lines[0] - expected).max() < 0.1
    (tmp_path / "a.svg").write_bytes(svg(body))
    (tmp_path / "plain.svg").write_bytes(svg(f'<path d="{SCRIBBLE}" {INK}/>'))
    picture, plain = (load_image(tmp_path / name, 48, 48).astype(float) for name in ("a.svg", "plain.svg"))
    assert np.abs(picture - plain).mean() < 3


ROUND = '<clipPath id="a"><circle cx="50" cy="50" r="30"/></clipPath>'


@pytest.mark.parametrize(
    "body",
    [
        f'{ROUND}<path clip-path="url(#a)" d="M0 30L50 50L100 30" {INK}/>',
        '<defs><circle cx="50" cy="50" r="30" id="c"/></defs><clipPath id="a"><use href="#c"/></clipPath>'
        f'<g clip-path="url(#a)"><path d="M0 30L50 50L100 30" {INK}/></g>',
        '<clipPath id="a" clipPathUnits="objectBoundingBox"><circle cx=".5" cy="1" r=".3"/></clipPath>'
        f'<path clip-path="url(#a)" d="m0 0 50 50L100 0" {INK} transform="translate(10 25) scale(.8)"/>',
    ],
    ids="circle use box".split(),
)
def test_lines_end_where_a_clip_path_ends(body, tmp_path):
    (line,) = read(body)
    (tmp_path / "a.svg").write_bytes(svg(body))
    path = "M" + "L".join(f"{x} {y}" for x, y in line)
    (tmp_path / "plain.svg").write_bytes(svg(f'<path d="{path}" {INK}/>'))
    picture, plain = (load_image(tmp_path / name, 48, 48).astype(float) for name in ("a.svg", "plain.svg"))
    assert len(line) == 3 and np.ptp(line[:, 0]) < 70
    assert np.abs(picture - plain).mean() < 3


BOX_OF = '<clipPath id="a" clipPathUnits="objectBoundingBox"><rect width="1" height="1"/></clipPath>'
SCRIBBLES = f'<path d="{SCRIBBLE}" {INK}/>'
ALL, GOLD = 'width="100" height="100"', '<rect width="100" height="100" fill="gold" clip-path="url(#b)"/>'


@pytest.mark.parametrize(
    "body",
    [
        f'{ROUND}<clipPath id="b"><circle cx="9" cy="9" r="5"/></clipPath>{SCRIBBLES}<g clip-path="url(#a)">{GOLD}</g>',
        f'<clipPath id="b"><path d="M0 0L99 99Z"/></clipPath>{SCRIBBLES}{GOLD}',
        f'{BOX_OF}<g clip-path="url(#a)"><g transform="scale(2)"><path transform="scale(.5)" d="{SCRIBBLE}" {INK}/></g></g>',
        f'{BOX_OF}<polygon points="" clip-path="url(#a)"/><use href="#b" clip-path="url(#a)"/>{SCRIBBLES}',
        f'<clipPath id="a"><path d="M0 0H100V100Z"/></clipPath><path d="M5 60L20 80" {INK} clip-path="url(#a)"/>{SCRIBBLES}',
        f'<clipPath id="a"><rect {ALL}/><rect {ALL} display="none"/></clipPath><g clip-path="url(#a)">{SCRIBBLES}</g>',
        f'<clipPath id="a"><rect {ALL} opacity="0"/></clipPath><g clip-path="url(#a)">{SCRIBBLES}</g>',
        f'<rect id="path" {ALL} fill="none"/><g clip-path="url(#path)">{SCRIBBLES}</g>',
        f'<path d="{SCRIBBLE}M9 9z5" {INK} style="clip-path: none"/>',
    ],
    ids="apart empty group nothing triangle hidden clear no_clip after_z".split(),
)  # fmt: skip
def test_odd_clip_paths_cost_no_line(body):
    (line,) = read(body)
    assert line == pytest.approx(np.array([[20, 20], [80, 30], [40, 60], [90, 90]]), abs=0.1)


def test_a_half_that_a_clip_path_leaves_has_an_outline():
    (line,) = read(f'{ROUND}<rect width="50" height="100" fill="gold" clip-path="url(#a)"/>')
    assert np.ptp(line, axis=0) == pytest.approx([30, 60], abs=0.3) and (line[0] == line[-1]).all()


def test_a_clipped_area_has_the_outline_that_is_seen():
    rim, line = read(
        f'{ROUND}<g clip-path="url(#a)"><rect width="100" height="100" fill="gold"/><path d="M0 30L100 70" {INK}/></g>'
    )
    assert np.hypot(*(rim - 50).T) == pytest.approx(np.full(len(rim), 30), abs=0.2)
    assert np.hypot(*(line - 50).T) == pytest.approx([30, 30], abs=0.3)


def test_a_clip_path_costs_bounded_time():
    with pytest.raises(ValueError, match="more than 1,000,000 points"):
        read(f'<clipPath id="a">{900 * ROUND[17:-11]}</clipPath>' + 500 * '<path clip-path="url(#a)" d="M0 0H9"/>')
    clips = "".join(f'<clipPath id="c{i}"><circle cx="50" cy="50" r="{20 + i / 9}"/></clipPath>' for i in range(250))
    many = "".join(f'<path d="M0 {40 + i / 25}H100" {INK} clip-path="url(#c{i})"/>' for i in range(250))
    assert len(read(clips + many)) == 250  # more than masks: the last are cut at their boxes
    uses = (
        f'<clipPath id="a">{8 * """<use href="#r"/>"""}</clipPath>'
        + 900 * f'<path clip-path="url(#a)" d="M0 0H9" {INK}/>'
    )
    with pytest.raises(ValueError, match="too many elements"):
        read(f'<defs><rect id="r" width="9" height="9"/>{3000 * "<g/>"}</defs>{uses}')


def test_masks_are_told():
    lines = read(
        f'<mask id="m"><rect width="50" height="100" fill="white"/></mask><path mask="url(#m)" d="M9 9H90" {INK}/>'
    )
    assert len(lines) == 1 and lines.notes == {"masks not heeded, what they hide is drawn": 1}


def test_white_on_a_dark_badge_is_seen():
    badge, cross = '<circle cx="50" cy="50" r="45" fill="#223344"/>', '<path d="M30 30L70 70M70 30L30 70" {}/>'
    rim, *lines = read(badge + cross.format(WHITE))
    assert len(lines) == 2 and np.ptp(rim, axis=0) == pytest.approx([90, 90], abs=0.5)


def test_white_on_a_background_of_css():
    (line,) = read(f'<path d="{SCRIBBLE}" {WHITE}/>', 'viewBox="0 0 100 100" style="background: #000"')
    assert len(line) == 4


@pytest.mark.parametrize(
    "attributes",
    [
        'width="100%" height="100%"',
        'viewBox="0 0 0 0"',
        'width="100%"',
        "",
        'width="auto" height="auto"',
        'viewBox="0 0 100 100" width="100%"',
    ],
)
def test_a_page_may_be_of_any_size(attributes, tmp_path):
    (line,) = read(f'<path d="{SCRIBBLE}" {INK}/>', attributes)
    shape = (line - line[0]) / np.ptp(line[:, 0])
    expected = np.array([[0, 0], [60, 10], [20, 40], [70, 70]]) / 70
    assert np.abs(shape - expected).max() < 1e-3
    for scale in (1, 20):  # on a screen, or far beyond it
        (tmp_path / "a.svg").write_bytes(svg(f'<path d="{SCRIBBLE}" {INK} transform="scale({scale})"/>', attributes))
        if scale == 1 or 'viewBox="0 0 100' not in attributes:
            assert (load_image(tmp_path / "a.svg", 48, 48) < 128).sum() > 60


@pytest.mark.parametrize(
    ("attributes", "page"),
    [
        ('width="200px" height="50"', 0.25),
        ('viewBox="0,0 10 20" width="9"', 2.0),
        ('width="210mm" height="297mm"', 297 / 210),
        ('width="4in" height="2in" viewBox="0 0 400 200"', 0.5),
        ('width="10cm" height="50mm"', 0.5),
        ('width="72pt" height="2in"', 2.0),
        ('width="100%" height="100%" viewBox="0 0 30 10"', 1 / 3),
        ('width="300" height="300" viewBox="0 0 30 10"', 1.0),
        ("", None),
    ],
)
def test_the_page_of_an_svg(attributes, page):
    drawing, _ = read_svg_lines(svg(f'<path d="M1 1L5 5" {INK}/>', attributes))
    assert drawing.page is None if page is None else drawing.page[1] / drawing.page[0] == pytest.approx(page)


def test_lines_beside_the_page_are_told(tmp_path):
    (tmp_path / "a.svg").write_bytes(svg(f'<path d="M160 160L170 170" {INK}/>'))
    with pytest.raises(ValueError, match="all its lines lie beside its page"):
        list(read_drawings(tmp_path / "a.svg"))
    with pytest.raises(ValueError, match="all its lines lie beside its page"):
        load_image(tmp_path / "a.svg", 48, 48)
    lines = read(f'<path d="M160 160L170 170" {INK}/><path d="{SCRIBBLE}" {INK}/>')
    assert len(lines) == 1 and lines.notes == {"shapes beside the page left out": 1}
    (tmp_path / "a.svg").write_bytes(svg('<rect width="100" height="100" fill="#fff"/>'))
    assert isinstance(next(read_drawings(tmp_path / "a.svg")), Skip)
    with pytest.raises(ValueError, match="no ink found"):
        load_image(tmp_path / "a.svg", 48, 48)


@pytest.mark.parametrize(
    "paint",
    [
        'stroke="#zzzzzz"', 'stroke="#12"', 'stroke="#1e1e1eff"', 'stroke="rgb(1 2 3 / 50%)"', 'stroke="hsl(20deg 5% 5%)"',
        'stroke="oklch(40% .1 20)"', 'stroke="var(--ink)"', 'stroke="icc-color(a, 1)"', 'stroke="blackish"',
        'stroke="black" opacity="90%"', 'stroke="black" stroke-opacity="much"', 'stroke="black" stroke-width="thin"',
        'stroke="black" stroke-miterlimit="4px"', 'stroke="black" font-size="1.2rem"', 'style="stroke:color(srgb 0 0 0)"',
        'stroke="black" stroke-dasharray="none"', 'stroke="currentColor" color="#222"', 'stroke="black" fill="#ggg0"',
    ],
)  # fmt: skip
def test_an_unknown_paint_costs_no_file(paint, tmp_path):
    body = f'<path d="{SCRIBBLE}" {paint} {"" if "fill=" in paint else NO_FILL}/>'
    (line,) = read(body)
    assert len(line) == 4
    (tmp_path / "a.svg").write_bytes(svg(body))
    assert (load_image(tmp_path / "a.svg", 48, 48) < 128).sum() > 60


# ---- pieces ----------------------------------------------------------------------------------------------------------


def test_pieces_of_one_stroke_are_joined():
    points = [(10 + 7 * k, 50 + 20 * np.sin(k)) for k in range(12)]
    pairs = list(pairwise(points))
    for count in (2, 5, 11):
        curves = "".join(  # as signature_pad writes them
            f'<path d="M {a:.3f},{b:.3f} C {a + 2:.3f},{b:.3f} {c - 2:.3f},{d:.3f} {c:.3f},{d:.3f}" stroke-width="2.25" '
            'stroke="black" fill="none" stroke-linecap="round"/>'
            for (a, b), (c, d) in pairs[:count]
        )
        lines = read(f'{curves}<path d="M20 90L80 95" {INK}/>')
        assert len(lines) == 2 and lines[0][[0, -1]] == pytest.approx(np.array([points[0], points[count]]), abs=1e-3)
    pieces = "".join(f"M{a} {b}L{c} {d}" for (a, b), (c, d) in pairs)
    assert len(read(f'<path d="{pieces}" {INK}/>')) == 1
    assert len(read(f'<path d="M10 10L50 50M50 50L90 10" {INK}/>')) == 2, "the pen was lifted in one path"
    house = '<rect x="20" y="40" width="40" height="40"/><path d="M20 40L40 20L60 40"/>'
    assert len(read(f"<g {INK}>{house}</g>")) == 2, "a closed shape is whole"


# ---- files of other programs -----------------------------------------------------------------------------------------

ILLUSTRATOR = f"""<?xml version="1.0" encoding="utf-8"?>
<!-- Generator: Adobe Illustrator 9.0, SVG Export Plug-In -->
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.0//EN" "http://www.w3.org/TR/2001/REC-SVG-20010904/DTD/svg10.dtd" [
  <!ENTITY ns_extend "http://ns.adobe.com/Extensibility/1.0/">
  <!ENTITY ns_svg "http://www.w3.org/2000/svg">
  <!ENTITY st0 "fill:none;stroke:#000000;stroke-width:2;stroke-miterlimit:10;">
]>
<svg xmlns:x="&ns_extend;" xmlns="&ns_svg;" width="100px" height="100px" viewBox="0 0 100 100" xml:space="preserve">
<switch><foreignObject requiredExtensions="&ns_extend;" width="1" height="1"><x:pgfRef href="#a"/></foreignObject>
<g x:extraneous="self"><path style="&st0;" d="{SCRIBBLE}"/></g></switch></svg>"""
INKSCAPE = f"""<svg width="210mm" height="210mm" viewBox="0 0 100 100" version="1.1" id="svg5" {XMLNS}
 xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape" xmlns:sodipodi="http://sodipodi.sourceforge.net/x.dtd">
<sodipodi:namedview id="n" pagecolor="#ffffff" inkscape:pageopacity="0.0"/><defs id="defs2"/>
<g inkscape:label="Layer 1" inkscape:groupmode="layer" id="layer1" style="display:inline"><path id="path1"
 style="fill:none;stroke:#000000;stroke-width:0.264583px;stroke-linecap:butt;stroke-opacity:1;stroke-dasharray:none;paint-order:normal"
 d="m 20,20 60,10 -40,30 50,30" inkscape:connector-curvature="0" sodipodi:nodetypes="cccc"/></g></svg>"""
FIGMA = f"""<svg width="100" height="100" viewBox="0 0 100 100" fill="none" {XMLNS}><g clip-path="url(#clip0_1_2)">
<rect width="100" height="100" fill="white"/><path d="{SCRIBBLE}" stroke="black" stroke-width="2" stroke-linecap="round"/></g>
<defs><clipPath id="clip0_1_2"><rect width="100" height="100" fill="white"/></clipPath></defs></svg>"""
EXCALIDRAW = f"""<svg version="1.1" {XMLNS} viewBox="0 0 100 100" width="100" height="100"><!-- svg-source:excalidraw -->
<metadata><!-- payload-start -->eyJ2ZXJzaW9uIjoiMSJ9<!-- payload-end --></metadata><defs><style class="style-fonts">
@font-face {{ font-family: Excalifont; src: url(data:font/woff2;base64,{"A" * 30000}); }}</style></defs>
<rect x="0" y="0" width="100" height="100" fill="#ffffff"></rect><g stroke-linecap="round" transform="translate(10 10) rotate(0 4 5)">
<path d="M10 10 L70 20 L30 50 L80 80" stroke="#1e1e1e" stroke-width="1" fill="none"></path></g></svg>"""


@pytest.mark.parametrize(
    "text", [ILLUSTRATOR, INKSCAPE, FIGMA, EXCALIDRAW], ids="illustrator inkscape figma excalidraw".split()
)
def test_programs(text, tmp_path):
    (tmp_path / "a.svg").write_text(text)
    (line,) = next(read_drawings(tmp_path / "a.svg"))
    assert line * 100 / 4096 == pytest.approx(np.array([[20, 20], [80, 30], [40, 60], [90, 90]]), abs=0.05)
    assert (load_image(tmp_path / "a.svg", 48, 48) < 128).sum() > 60


@pytest.mark.parametrize(
    "text",
    [
        f'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg {XMLNS}>&x;</svg>',
        f'<!DOCTYPE svg [<!ENTITY % x SYSTEM "http://127.0.0.1/x.dtd">%x;]><svg {XMLNS}/>',
        f'<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><svg {XMLNS}>&b;</svg>',
        "<svg",
        f'<svg {XMLNS} viewBox="a b c d"><path d="M0 0L9 9" {INK}/></svg>',
    ],
)
def test_what_cannot_be_read_is_told_in_words(text, tmp_path):
    (tmp_path / "a.svg").write_text(text)
    for door in (lambda path: list(read_drawings(path)), lambda path: load_image(path, 48, 48)):
        with pytest.raises(ValueError) as error:
            door(tmp_path / "a.svg")
        said = str(error.value)
        assert "\n" not in said and not any(word in said for word in ("Error", "Forbidden", "float", "tuple", "string"))


def test_the_outlines_of_real_drawings():
    """Doodles as tablets write them: filled, a shape for each stroke; read as what was drawn."""
    drawings = load_strokes(ROOT / "datasets/npz/doodle_cat.npz")["test"][:6]
    for drawing in drawings:
        lines = strokes_to_lines(drawing)
        low, extent = np.concatenate(lines).min(axis=0), np.ptp(np.concatenate(lines), axis=0).max()
        lines = [resample_line((line - low) * 90 / extent + 5, 0.5) for line in lines]
        paths = "".join(f'<path d="{traced_path([line], 1.5)}"/>' for line in lines)
        read_lines = read(f'<g transform="translate(0,100) scale(.01,-.01)">{paths}</g>')
        assert apart(read_lines, lines) < 1.5
