"""Drawings in pictures as people have them: on tables, squared paper, in frames, cut to their ink, as hairlines."""

import io

import numpy as np
import pytest
from benchmark_images import (
    KINDS,
    diagonals_lost,
    dots_lost,
    draw_large,
    drawn_sheet,
    encoded,
    lay_on,
    on_page,
    shade,
    sheet_corners,
)
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from test_load_image import CAT, FISH, HOUSE, LADDER, SVG

import read_image
from find_paper import find_bars
from ink_scores import ink_scores
from read_image import load_image, open_image, parse_crop, read_picture
from render_svg2bitmap import rasterize
from utils import lines_to_strokes

SIDE = 48


def likeness(path, strokes, **how):
    """Ink F1 at 2 pixels of what is read, against the training bitmap."""
    return ink_scores(rasterize(strokes, SIDE, SIDE)[None], load_image(path, SIDE, SIDE, **how)[None], 2.0)[0][0]


def sketch(size=(300, 240), colors=((250, 250, 250), (20, 20, 20))):
    """A picture of an ellipse and a line."""
    picture = Image.new("RGB", size, colors[0])
    pen = ImageDraw.Draw(picture)
    pen.ellipse((60, 40, 200, 190), outline=colors[1], width=4)
    pen.line((80, 60, 150, 120), fill=colors[1], width=4)
    return picture


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("degrade", "turned", "clean", "on_cloth")])
def test_the_drawing_is_read_from(tmp_path, kind):
    rng = np.random.default_rng(1)
    for strokes in (CAT, HOUSE, FISH)[: 2 if kind in ("table", "note", "framed") else 1]:
        (tmp_path / "a").write_bytes(KINDS[kind](strokes, rng))
        assert likeness(tmp_path / "a", strokes) > 0.85


def test_sheets_on_a_chequered_cloth_are_found(tmp_path):
    rng = np.random.default_rng(1)
    for strokes in (CAT, HOUSE, FISH, CAT, HOUSE):
        (tmp_path / "a").write_bytes(KINDS["on_cloth"](strokes, rng))
        assert likeness(tmp_path / "a", strokes) > (0.7 if strokes is HOUSE else 0.85)  # turned by up to 20 degrees


def test_sheets_that_overlap_are_read_or_doubted_or_refused(tmp_path):
    rng, paper = np.random.default_rng(3), (250, 250, 248)
    for color in ((96, 70, 52), (28, 28, 30), (60, 80, 110)):
        photo = np.full((900, 1200, 3), color, np.float32)
        for sheet in (Image.new("RGB", (700, 900), paper), drawn_sheet(FISH, rng, paper)):
            corners = sheet_corners((1200, 900), 0.35, rng.uniform(-25, 25), sheet.width / sheet.height, rng)
            photo = np.asarray(lay_on(photo, sheet, corners, rng), np.float32)
        camera(Image.fromarray(photo.astype(np.uint8))).save(tmp_path / "a.jpg")
        try:
            reading = read_picture(tmp_path / "a.jpg", SIDE, SIDE)
        except ValueError:
            continue  # refused aloud
        right = ink_scores(rasterize(FISH, SIDE, SIDE)[None], reading.bitmap[None], 2.0)[0][0] > 0.85
        assert right or reading.doubts


def camera(picture):
    """The picture as a camera sees it."""
    noise = np.random.default_rng(0).normal(0, 4, (picture.height, picture.width, 1))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def same_as_plain(tmp_path, picture, ending="png"):
    """Ink F1 at 1 pixel of what is read of a picture, against ``sketch`` alone."""
    sketch().save(tmp_path / "plain.png")
    picture.save(tmp_path / f"a.{ending}")
    plain, read = (load_image(tmp_path / name, SIDE, SIDE) for name in ("plain.png", f"a.{ending}"))
    return ink_scores(plain[None], read[None], 1.0)[0][0]


def test_what_lies_at_the_rim_of_a_photo_is_no_ink(tmp_path):
    page = Image.new("RGB", (700, 600), (250, 250, 250))
    page.paste(sketch(), (200, 160))
    finger, tray, wedge = page.copy(), page.copy(), page.copy()
    ImageDraw.Draw(finger).ellipse((300, 560, 360, 680), fill=(200, 150, 130))
    ImageDraw.Draw(tray).rectangle((200, 570, 420, 586), fill=(90, 95, 100))
    ImageDraw.Draw(wedge).polygon([(0, 0), (0, 599), (25, 599), (40, 0)], fill=(10, 10, 10))
    for picture in (finger, tray, wedge):
        assert same_as_plain(tmp_path, camera(picture)) > 0.9
    assert same_as_plain(tmp_path, wedge) > 0.9


def test_a_crease_is_no_edge_and_color_no_shadow(tmp_path):
    page = Image.new("RGB", (700, 600), (245, 245, 245))
    page.paste(sketch(colors=((245, 245, 245), (20, 20, 20))), (200, 160))
    folded = np.asarray(page).astype(float)
    folded[:, 330:] *= 0.88
    assert same_as_plain(tmp_path, camera(Image.fromarray(folded.astype(np.uint8)))) > 0.9
    ImageDraw.Draw(page).ellipse((290, 230, 370, 310), fill=(250, 225, 90))
    soft = page.filter(ImageFilter.GaussianBlur(3))
    soft.paste(page, mask=Image.fromarray((np.asarray(page.convert("L")) < 100).astype(np.uint8) * 255))
    assert np.asarray(read_image.without_shadows(np.asarray(camera(soft))))[270, 330, 2] < 120


@pytest.mark.parametrize("paper", [(30, 45, 40), (25, 25, 30)])
def test_light_rulings_on_dark_paper(tmp_path, paper):
    page = Image.new("RGB", (700, 600), paper)
    page.paste(sketch(colors=(paper, (240, 240, 230))), (200, 160))
    ruled = page.copy()
    for y in range(10, 600, 30):
        ImageDraw.Draw(ruled).line((0, y, 700, y), fill=(150, 160, 155), width=3)
    ruled = Image.fromarray(np.maximum(np.asarray(page), np.asarray(ruled)))
    assert same_as_plain(tmp_path, camera(ruled)) > 0.9


def test_a_drawn_box_is_no_sheet(tmp_path):
    rng = np.random.default_rng(2)
    for kind in ("clean", "trimmed", "tilted"):
        (tmp_path / "a").write_bytes(KINDS[kind](HOUSE, rng))
        assert likeness(tmp_path / "a", HOUSE) > 0.85
        (tmp_path / "a").write_bytes(KINDS[kind](LADDER, rng))
        assert likeness(tmp_path / "a", LADDER) > 0.8


def test_a_table_on_three_sides_of_a_sheet_is_no_bar():
    photo = Image.new("RGB", (800, 600), (95, 70, 50))
    ImageDraw.Draw(photo).polygon([(150, 0), (640, 30), (620, 560), (150, 520)], fill=(245, 242, 235))
    assert find_bars(np.asarray(photo)) is None
    ImageDraw.Draw(photo).rectangle((150, 0, 799, 599), fill=(245, 242, 235))
    assert find_bars(np.asarray(photo))[0] > 140  # a bar


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("side", [40, 70, 120])
def test_a_tiny_picture_cut_to_its_broad_lines(tmp_path, side, ending):
    image = draw_large(LADDER, side, 2.5)
    dark = ImageOps.invert(image.convert("L")).point(lambda value: 255 * (value > 128))
    image.crop(dark.getbbox()).save(tmp_path / f"a.{ending}")
    assert likeness(tmp_path / f"a.{ending}", LADDER) > 0.85


def ring(radius, count=60):
    angles = np.linspace(0, 2 * np.pi, count + 1)
    return np.column_stack([np.sin(angles), -np.cos(angles)]) * np.broadcast_to(radius, count + 1)[:, None]


# The outline of each part, -1 to 1, top first.
AREAS = {
    "disc": [ring(1)],
    "star": [ring(np.resize([1, 0.45], 11), 10)],
    "cat": [
        np.array([(-0.8, -1), (-0.2, -0.5), (0.2, -0.5), (0.8, -1), (0.85, 0.2), (0.4, 0.9), (-0.4, 0.9), (-0.85, 0.2)])
    ],
    "hill and sun": [np.array([(-0.3, -0.2), (0.5, 1), (-1, 1)]), 0.3 * ring(1) + (0.7, -0.7)],
}


@pytest.mark.parametrize("name", AREAS)
@pytest.mark.parametrize("ending", ["png", "svg", "jpg", "trimmed.png", "white.png", "photo.jpg"])
def test_a_filled_area_is_read_as_its_outline(tmp_path, name, ending):
    paper, ink = ((240, 240, 240), (30, 30, 35))[:: -1 if ending.startswith("white") else 1]
    lines, path = [np.concatenate([part, part[:1]]) for part in AREAS[name]], tmp_path / f"a.{ending}"
    if ending == "svg":
        shapes = "".join(f"<path d='M{' '.join(f'{x:.3f},{y:.3f}' for x, y in line)}z'/>" for line in lines)
        path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 2 2">{shapes}</svg>')
    else:
        reach = 1.0 if ending.startswith("trimmed") else 1.5
        page = Image.new("RGB", (1200, 1200), paper)
        for line in lines:
            ImageDraw.Draw(page).polygon([*map(tuple, 600 + 600 / reach * line)], fill=ink)
        page = page.resize((600, 600), Image.Resampling.BOX)
        if ending.startswith("photo"):  # of a whole sheet, half in shadow
            rng = np.random.default_rng(0)
            page = shade(on_page(page, 1.3, rng, paper), 0.3, 4, rng)
        page.save(path)
    assert likeness(path, lines_to_strokes([5 * (line - lines[0][0]) for line in lines])) > 0.9


def test_a_box_drawn_with_a_broad_pen_is_no_sheet(tmp_path):
    picture = Image.new("RGB", (900, 900), (235, 215, 210))
    pen, color = ImageDraw.Draw(picture), (60, 10, 80)
    pen.rectangle((250, 250, 560, 690), outline=color, width=50)
    pen.rectangle((250, 250, 560, 420), fill=color)  # what is drawn there has run together
    box = np.array([(0, 0), (310, 0), (310, 440), (0, 440), (0, 0)]) / 44
    shade(picture, 0.3, 12, np.random.default_rng(0)).save(tmp_path / "a.jpg", quality=40)
    reading = read_picture(tmp_path / "a.jpg", SIDE, SIDE)
    assert ink_scores(rasterize(lines_to_strokes([box]), SIDE, SIDE)[None], reading.bitmap[None], 2.0)[1][0] > 0.9


def test_dots_and_diagonals_stay(tmp_path):
    assert dots_lost(np.random.default_rng(0), 8, tmp_path) == 0
    assert diagonals_lost(np.random.default_rng(0), 12, tmp_path) == 0


LINE = "<path d='M10,10 L60,20 40,60 10,50' fill='none' {}/>"
PAGE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {0}">{1}</svg>'
SVGS = {
    "hairline": PAGE.format(100, LINE.format("stroke='black' stroke-width='0.005'")),
    "large_page": PAGE.format(9000, LINE.format("stroke='black'")),
    "white_on_dark": PAGE.format(900, "<rect width='900' height='900' fill='#112'/>" + LINE.format("stroke='white'")),
    "white_on_nothing": PAGE.format(100, LINE.format("stroke='white' stroke-width='0.1'")),
    "percent": PAGE.format(100, LINE.format("stroke='rgb(20 20 20 / 90%)' opacity='90%'")),
    "unknown": PAGE.format(100, LINE.format("stroke='no colour' opacity='?'")),
    "whole_size": PAGE.format(100, LINE.format("stroke='black'")).replace("<svg ", "<svg width='100%' height='100%' "),
    "named": '<!DOCTYPE svg [<!ENTITY ns "http://www.w3.org/2000/svg">]>'
    + PAGE.format(100, LINE.format("stroke='black'")).replace('"http://www.w3.org/2000/svg"', '"&ns;"'),
}


@pytest.mark.parametrize("name", SVGS)
def test_svg(tmp_path, name):
    (tmp_path / "plain.svg").write_text(PAGE.format(70, LINE.format("stroke='black'")))
    (tmp_path / "a.svg").write_text(SVGS[name])
    plain, bitmap = (load_image(tmp_path / f"{name}.svg", SIDE, SIDE)[None] for name in ("plain", "a"))
    assert ink_scores(plain, bitmap, 1.0)[0][0] > 0.9


def test_svg_beside_its_page_and_with_foreign_entities(tmp_path):
    (tmp_path / "a.svg").write_text(PAGE.format(8, LINE.format("stroke='black'")))
    with pytest.raises(ValueError, match=r"a\.svg cannot be read: all its lines lie beside its page"):
        load_image(tmp_path / "a.svg", SIDE, SIDE)
    (tmp_path / "a.svg").write_text('<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + SVG.format("&a;"))
    with pytest.raises(ValueError, match="save it again as plain SVG"):
        load_image(tmp_path / "a.svg", SIDE, SIDE)


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "avif", "jp2", "jfif"])
def test_formats_and_last_frames(tmp_path, ending):
    frames = [Image.new("RGB", (300, 240), "white"), sketch()]
    if ending in ("gif", "webp", "png"):
        frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=[frames[1], frames[0]])
    else:
        frames[1].save(tmp_path / f"a.{ending}", "JPEG" if ending == "jfif" else None)
    frames[1].save(tmp_path / "plain.bmp")
    plain = load_image(tmp_path / "plain.bmp", SIDE, SIDE)
    assert ink_scores(plain[None], load_image(tmp_path / f"a.{ending}", SIDE, SIDE)[None], 1.0)[0][0] > 0.95


def test_first_page_of_a_tiff_that_is_not_blank(tmp_path):
    blank, lines = Image.new("RGB", (300, 240), (250, 250, 250)), sketch()
    sketch().save(tmp_path / "plain.png")
    plain = load_image(tmp_path / "plain.png", SIDE, SIDE)
    for pages in ([blank, lines], [lines, blank], [blank, lines, lines.rotate(90)]):
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
        assert np.array_equal(load_image(tmp_path / "a.tif", SIDE, SIDE), plain)


def test_twelve_bits(tmp_path):
    for times in (16, 257):
        values = np.asarray(sketch().convert("L")).astype(np.uint16) * times
        assert same_as_plain(tmp_path, Image.fromarray(values)) > 0.95


def test_a_huge_jpeg_is_reduced_while_it_is_decoded(tmp_path, monkeypatch):
    sketch().save(tmp_path / "a.jpg", quality=95)
    whole = load_image(tmp_path / "a.jpg", SIDE, SIDE)
    monkeypatch.setattr(read_image, "WORKING_SIDE", 100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    assert ink_scores(whole[None], load_image(tmp_path / "a.jpg", SIDE, SIDE)[None], 1.0)[0][0] > 0.9
    sketch((300, 400)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="300 x 400 pixels are more than 50,000; make it smaller"):
        load_image(tmp_path / "a.jpg", SIDE, SIDE)


def test_heic(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="not installed: pillow-heif; HEIC is not read")
    pillow_heif.from_pillow(sketch()).save(tmp_path / "b.heic", quality=90)
    assert same_as_plain(tmp_path, open_image(tmp_path / "b.heic")) > 0.95
    (tmp_path / "a.HEIC").write_bytes((tmp_path / "b.heic").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"a\.HEIC cannot be read"):
        load_image(tmp_path / "a.HEIC", SIDE, SIDE)


def test_heic_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(ValueError, match="save it as JPEG, or pip install pillow-heif"):
        load_image(tmp_path / "a.HEIC", SIDE, SIDE)


def test_crop(tmp_path):
    page = Image.new("RGB", (900, 240), (250, 250, 250))
    page.paste(sketch(), (0, 0))
    page.paste(sketch(colors=((250, 250, 250), (200, 20, 20))).rotate(90, expand=True).resize((300, 240)), (600, 0))
    page.save(tmp_path / "two.png")
    sketch().save(tmp_path / "one.png")
    one = load_image(tmp_path / "one.png", SIDE, SIDE)
    for text in ("0,0,0.333,1", "0,0,300,240"):
        part = load_image(tmp_path / "two.png", SIDE, SIDE, crop=parse_crop(text))
        assert ink_scores(one[None], part[None], 1.0)[0][0] > 0.95
    with pytest.raises(ValueError, match="lies outside its 900 x 240 pixels"):
        load_image(tmp_path / "two.png", SIDE, SIDE, crop=parse_crop("1000,0,1200,100"))
    for text in ("1,2,3", "0.5,0,0.2,1", "a,b,c,d", "nan,0,1,1"):
        with pytest.raises(ValueError, match="expected left,top,right,bottom"):
            parse_crop(text)


def test_doubts_are_told(tmp_path):
    sketch().save(tmp_path / "sure.png")
    assert read_picture(tmp_path / "sure.png", SIDE, SIDE).doubts == []
    page = Image.new("RGB", (3000, 2400), (250, 250, 250))
    page.paste(sketch(), (1000, 1000))
    buffer = io.BytesIO(encoded(page))
    (tmp_path / "small.png").write_bytes(buffer.getvalue())
    assert "fills" in read_picture(tmp_path / "small.png", SIDE, SIDE).doubts[0]
    two = Image.new("RGB", (900, 240), (250, 250, 250))
    two.paste(sketch(), (0, 0))
    two.paste(sketch(), (600, 0))
    two.save(tmp_path / "two.png")
    assert "2 separate things" in read_picture(tmp_path / "two.png", SIDE, SIDE).doubts[0]
    framed = Image.new("RGB", (700, 600), (250, 250, 250))
    framed.paste(sketch(), (200, 160))
    ImageDraw.Draw(framed).rectangle((120, 100, 580, 470), outline=(20, 20, 20), width=5)
    camera(framed).save(tmp_path / "framed.png")
    assert "a box is around it" in read_picture(tmp_path / "framed.png", SIDE, SIDE).doubts[0]
    page = Image.new("RGB", (700, 600), (250, 250, 250))
    for y in range(40, 500, 40):
        ImageDraw.Draw(page).text((40, y), "Many words of no drawing at all", fill=(20, 20, 20), font_size=30)
    camera(page).save(tmp_path / "words.png")
    assert "as writing is" in read_picture(tmp_path / "words.png", SIDE, SIDE).doubts[-1]


def test_blank_frames_do_not_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(read_image, "MAX_BLANK_FRAMES", 2)
    frames = [Image.new("P", (30, 30), k % 2) for k in range(6)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50)
    with pytest.raises(ValueError, match="no ink"):
        load_image(tmp_path / "a.gif", SIDE, SIDE)
