"""Any image to a bitmap: one drawing in two dozen disguises, and what is no drawing.

python tests/test_load_image.py sheet.png      # all of them, before and after, on one sheet
"""

import io
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "datasets")]  # run as a script, too

from benchmark_images import (  # noqa: E402
    before_and_after,
    blurred,
    degrade,
    draw_large,
    on_page,
    shade,
    tilt,
)

import read_image  # noqa: E402
from render_svg2bitmap import draw_strokes, grid, load_image, rasterize, rasterize_all  # noqa: E402
from utils import lines_to_strokes  # noqa: E402

SIZE = 48
LINE = SIZE / 48


def circle(x, y, radius, start=0.0, turn=2 * np.pi, points=28):
    angles = start + np.linspace(0, turn, points)
    return np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)])


def centred(lines):
    return lines_to_strokes([line - lines[0][0] for line in lines])


CAT = centred(
    [
        circle(0, 0, 3.2),
        np.array([[-2.9, -1.4], [-3.1, -4.4], [-1.1, -3.1]]),
        np.array([[1.1, -3.1], [3.0, -4.6], [2.9, -1.4]]),
        circle(-1.2, -0.7, 0.5),
        circle(1.3, -0.7, 0.5),
        np.array([[-0.4, 0.6], [0.4, 0.6], [0, 1.1], [-0.4, 0.6]]),
        circle(0, 0.9, 1.2, 0.4, np.pi - 0.8, 10),
        np.array([[1.2, 1.0], [4.6, 0.4]]),
        np.array([[1.2, 1.3], [4.4, 1.9]]),
        np.array([[-1.2, 1.0], [-4.4, 0.5]]),
    ]
)
HOUSE = centred(
    [
        np.array([[0, 0], [5, 0], [5, 4], [0, 4], [0, 0], [2.4, -3], [5, 0]]),
        np.array([[2, 4], [2, 2.2], [3, 2.2], [3, 4]]),
        np.array([[0.6, 0.8], [1.6, 0.8], [1.6, 1.7], [0.6, 1.7], [0.6, 0.8]]),
    ]
)
FISH = centred(
    [
        np.concatenate([circle(0, 0, 3, 0.5, 5.3), np.array([[5, 3], [5, -2.6], [2.6, 1.4]])]),
        circle(-1.6, -0.7, 0.3),
        np.array([[-0.4, -1.5], [0.5, 0], [-0.4, 1.5]]),
    ]
)
LADDER = centred([np.array([[x, 0], [x, 9]]) for x in (0, 4)] + [np.array([[0, y], [4, y]]) for y in (2, 4, 6, 8)])


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated_photo(rng):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter to see it upright
    photo = shade(draw_large(CAT, 900, 1.2), 0.5, 8, rng).transpose(Image.Transpose.ROTATE_90)
    return saved(photo, "JPEG", quality=70, exif=exif)


def sixteen_bits(rng):
    grey = np.asarray(draw_large(CAT, 500, 1.0).convert("L"), np.uint16)
    return saved(Image.fromarray(grey * 257 // 4), "PNG")  # a dim scan: white is a quarter of the range


def transparent(rng, color):
    alpha = ImageOps.invert(draw_large(HOUSE, 400, 1.0).convert("L"))
    image = Image.new("RGBA", alpha.size, color)
    image.putalpha(alpha)
    return saved(image, "PNG")


def two_frames(rng):
    frames = [
        ImageOps.pad(draw_large(strokes, 300, 1.0), (320, 320), color=(250, 250, 248)) for strokes in (FISH, LADDER)
    ]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


def ruled_paper(rng):
    image = draw_large(CAT, 700, 2.5, color=(20, 20, 120))
    pen = ImageDraw.Draw(image)
    dark = np.asarray(image.convert("L")) < 120
    for y in range(20, image.height, 40):
        pen.line([(0, y), (image.width, y)], fill=(205, 220, 240), width=2)
    pixels = np.asarray(image).copy()
    pixels[dark] = (20, 20, 120)
    return saved(shade(Image.fromarray(pixels), 0.2, 3, rng), "JPEG", quality=80)


def on_a_table(rng):
    sheet = shade(draw_large(HOUSE, 800, 1.5), 0.2, 4, rng)
    table = Image.new("RGB", (1300, 1100), (96, 70, 52))
    table = shade(table, 0.3, 6, rng)
    table.paste(sheet, (230, 180))
    return saved(table.filter(ImageFilter.GaussianBlur(1)), "JPEG", quality=75)


def hard_shadow(rng):
    pixels = np.asarray(draw_large(FISH, 900, 1.5), np.float32)
    across = np.arange(pixels.shape[1]) - 0.5 * pixels.shape[1]
    light = 1 - 0.45 / (1 + np.exp(-across / 25))
    return saved(Image.fromarray((pixels * light[:, None]).astype(np.uint8)), "JPEG", quality=60)


def svg_file(rng):
    with tempfile.TemporaryDirectory() as directory:
        draw_strokes(HOUSE, Path(directory, "a.svg"), line_width=3, color="teal")
        return Path(directory, "a.svg").read_bytes()


def large(strokes, side, line, kind="PNG", **options):
    colors = {name: options.pop(name) for name in ("color", "paper") if name in options}
    return lambda rng: saved(draw_large(strokes, side, line, **colors), kind, **options)


# name: (what it shows, how to make the file)
VARIED = {
    "clean.png": (CAT, large(CAT, 480, 1.0)),
    "thick_marker.png": (CAT, large(CAT, 600, 2.6)),
    "very_thick.png": (HOUSE, large(HOUSE, 600, 4.0)),
    "thin_pencil.png": (CAT, large(CAT, 900, 0.25, color=(120, 120, 120))),
    "huge.png": (FISH, large(FISH, 3600, 0.6)),
    "tiny.png": (HOUSE, large(HOUSE, 30, 1.0)),
    "jpeg_30.jpg": (FISH, large(FISH, 300, 1.0, "JPEG", quality=30)),
    "webp.webp": (CAT, large(CAT, 500, 1.0, "WEBP")),
    "one_bit.png": (HOUSE, lambda rng: saved(draw_large(HOUSE, 350, 1.0).convert("1"), "PNG")),
    "one_bit.gif": (FISH, lambda rng: saved(draw_large(FISH, 350, 1.0).convert("1"), "GIF")),
    "grey.png": (FISH, lambda rng: saved(draw_large(FISH, 350, 1.0).convert("L"), "PNG")),
    "sixteen_bits.png": (CAT, sixteen_bits),
    "palette.png": (CAT, lambda rng: saved(draw_large(CAT, 400, 1.0).quantize(8), "PNG")),
    "last_frame.gif": (LADDER, two_frames),
    "black_on_nothing.png": (HOUSE, lambda rng: transparent(rng, "black")),
    "white_on_nothing.png": (HOUSE, lambda rng: transparent(rng, "white")),
    "chalk_on_blackboard.jpg": (CAT, large(CAT, 700, 1.4, "JPEG", color=(235, 235, 225), paper=(35, 60, 45))),
    "yellow_on_white.png": (FISH, large(FISH, 500, 2.0, color=(250, 220, 40), paper=(255, 255, 255))),
    "red_on_green.png": (HOUSE, large(HOUSE, 500, 1.5, color=(200, 60, 60), paper=(60, 145, 60))),
    "phone_photo_turned_by_exif.jpg": (CAT, rotated_photo),
    "small_on_a_big_page.jpg": (
        CAT,
        lambda rng: saved(shade(on_page(draw_large(CAT, 400, 1.5), 5, rng), 0.3, 5, rng), "JPEG"),
    ),
    "noisy_paper.jpg": (HOUSE, lambda rng: saved(shade(draw_large(HOUSE, 600, 1.0), 0.3, 22, rng), "JPEG", quality=50)),
    "hard_shadow.jpg": (FISH, hard_shadow),
    "tilted.jpg": (CAT, lambda rng: saved(tilt(draw_large(CAT, 700, 1.2), 0.08, rng), "JPEG")),
    "rotated.png": (
        HOUSE,
        lambda rng: saved(draw_large(HOUSE, 600, 1.2).rotate(8, expand=True, fillcolor=(250, 250, 248)), "PNG"),
    ),
    "ruled_paper.jpg": (CAT, ruled_paper),
    "on_a_table.jpg": (HOUSE, on_a_table),
    "wide_page.png": (
        FISH,
        lambda rng: saved(ImageOps.expand(draw_large(FISH, 300, 1.0), (900, 10), (250, 250, 248)), "PNG"),
    ),
    "vector.svg": (HOUSE, svg_file),
}


def write_varied(directory, name, seed=0):
    path = Path(directory, name)
    path.write_bytes(VARIED[name][1](np.random.default_rng(seed)))
    return path


def likeness(bitmap, strokes):
    """Correlation of a bitmap with the training bitmap of a drawing, both blurred."""
    pair = blurred(np.stack([bitmap, rasterize(strokes, *bitmap.shape)]))
    return np.corrcoef(pair)[0, 1]


def line_width(bitmap):
    """Ink by length: the width that lines have, roughly."""
    ink = 1 - bitmap / 255
    dark = ink > 0.3
    length = sum((dark & ~np.roll(dark, 1, axis)).sum() for axis in (0, 1)) / 2  # edges crossed, there and back
    return ink.sum() / length


@pytest.mark.parametrize("name", VARIED)
def test_comes_out_as_a_training_bitmap(tmp_path, name):
    strokes = VARIED[name][0]
    bitmap = load_image(write_varied(tmp_path, name), SIZE, SIZE)
    assert bitmap.shape == (SIZE, SIZE) and bitmap.dtype == np.uint8
    assert likeness(bitmap, strokes) > (0.75 if name.startswith(("rotated", "tilted", "very_thick")) else 0.85)
    assert max(likeness(bitmap, other) for other in (CAT, HOUSE, FISH, LADDER)) == likeness(bitmap, strokes)
    assert bitmap.max() == 255 and np.median(bitmap) == 255  # paper
    assert bitmap.min() < 90  # ink
    rows, columns = np.nonzero(bitmap < 128)
    margins = rows.min(), SIZE - 1 - rows.max(), columns.min(), SIZE - 1 - columns.max()
    assert min(margins) >= 3 and min(margins) <= 7  # about 5 line widths, and in the middle
    assert abs(margins[0] - margins[1]) <= 2 and abs(margins[2] - margins[3]) <= 2
    expected = line_width(rasterize(strokes, SIZE, SIZE))
    assert 0.6 < line_width(bitmap) / expected < 1.5


@pytest.mark.parametrize("size", [(48, 48), (40, 64), (57, 31), (128, 128)])
def test_sizes(tmp_path, size):
    bitmap = load_image(write_varied(tmp_path, "thick_marker.png"), *size)
    assert bitmap.shape == size
    assert likeness(bitmap, CAT) > 0.8


def test_line_width_can_be_given(tmp_path):
    path = write_varied(tmp_path, "clean.png")
    thin, thick = load_image(path, 96, 96, line_width=1.5), load_image(path, 96, 96, line_width=4)
    assert (255 - thick.astype(int)).sum() > 1.5 * (255 - thin.astype(int)).sum()
    with pytest.raises(ValueError, match="lines of 0 pixels"):
        load_image(path, 96, 96, line_width=0)


@pytest.mark.parametrize("strokes", [CAT, HOUSE, FISH], ids=["cat", "house", "fish"])
def test_training_bitmap_stays_as_it_is(tmp_path, strokes):
    bitmap = rasterize(strokes, SIZE, SIZE)
    Image.fromarray(bitmap).save(tmp_path / "a.png")
    assert np.abs(load_image(tmp_path / "a.png", SIZE, SIZE).astype(int) - bitmap).mean() < 1
    Image.fromarray(bitmap).resize((480, 480), Image.Resampling.NEAREST).save(tmp_path / "b.png")
    assert likeness(load_image(tmp_path / "b.png", SIZE, SIZE), strokes) > 0.9


def test_degraded_images_are_found_again(tmp_path):
    rng = np.random.default_rng(4)
    drawings = [CAT, HOUSE, FISH, LADDER]
    keys = blurred(rasterize_all(drawings, SIZE, SIZE))
    for i, strokes in enumerate(drawings):
        (tmp_path / "a.jpg").write_bytes(degrade(strokes, rng))
        bitmap = load_image(tmp_path / "a.jpg", SIZE, SIZE)
        assert np.square(keys - blurred(bitmap[None])).sum(axis=1).argmin() == i % 4


# ---------------------------------------------------------------------------------------------------------
# What is no drawing


def grey_image(value, size=(200, 150)):
    return saved(Image.new("L", size, value), "PNG")


def noise(rng):
    return saved(Image.fromarray(rng.integers(0, 256, (200, 200)).astype(np.uint8)), "PNG")


def paper_only(rng):
    blank = Image.new("RGB", (600, 400), (245, 243, 238))
    return saved(shade(blank, 0.5, 8, rng), "JPEG", quality=40)


def bomb(rng, side=30_000):
    """A PNG that says it has 30,000 x 30,000 pixels."""
    data = bytearray(grey_image(255))
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9">{}</svg>'
ENTITIES = '<!DOCTYPE svg [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + SVG.format("<text>&b;</text>")

NO_DRAWINGS = {
    "white.png": (lambda rng: grey_image(255), "no ink"),
    "black.png": (lambda rng: grey_image(0), "no ink|all ink"),
    "grey.png": (lambda rng: grey_image(128), "no ink"),
    "one_pixel.png": (lambda rng: grey_image(0, (1, 1)), "no ink"),
    "paper_only.jpg": (paper_only, "no ink"),
    "noise.png": (noise, "ink"),
    "text.txt": (lambda rng: b"no image at all", "not an image"),
    "empty.png": (lambda rng: b"", "not an image"),
    "cut_short.png": (lambda rng: large(CAT, 400, 1.0)(rng)[:3000], "cannot be read"),
    "bomb.png": (bomb, "pixels"),
    "blank.svg": (lambda rng: SVG.format("").encode(), "no ink"),
    "broken.svg": (lambda rng: b"<svg", "cannot be read"),
    "entities.svg": (lambda rng: ENTITIES.encode(), "cannot be read"),
    "bomb.svgz": (lambda rng: b"\x1f\x8b" + zlib.compress(SVG.format(" " * (1 << 25)).encode(), wbits=31)[2:], "bytes"),
}


@pytest.mark.parametrize("name", NO_DRAWINGS)
def test_no_drawing_is_a_clear_error(tmp_path, name):
    make, message = NO_DRAWINGS[name]
    path = tmp_path / name
    path.write_bytes(make(np.random.default_rng(0)))
    with pytest.raises(ValueError, match=message) as error:
        load_image(path, SIZE, SIZE)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_a_bomb_is_refused_whatever_the_warning_filters(tmp_path):
    """Pillow only warns of up to twice its limit, and filters are shared by all threads: they are left alone."""
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(None, side=10_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        with pytest.raises(ValueError, match=r"bomb\.png .* its 10,000 x 10,000 pixels are more than 89,478,485; make"):
            load_image(path, SIZE, SIZE)
        assert warnings.filters == before


def test_svg_fetches_nothing(tmp_path):
    (tmp_path / "secret.svg").write_bytes(svg_file(None))
    for reference in ((tmp_path / "secret.svg").as_uri(), "http://localhost:9/a.svg"):
        (tmp_path / "a.svg").write_text(SVG.format(f'<image xlink:href="{reference}" width="9" height="9"/>'))
        with pytest.raises(ValueError, match=r"a\.svg"):
            load_image(tmp_path / "a.svg", SIZE, SIZE)


def test_svg_that_would_draw_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(read_image, "SVG_SECONDS", 1)
    groups = "".join(f'<g id="g{i + 1}">{f"""<use xlink:href="#g{i}"/>""" * 10}</g>' for i in range(9))
    bomb = SVG.format(f'<defs><path id="g0" d="M1,1L8,8" stroke="black"/>{groups}</defs><use xlink:href="#g9"/>')
    (tmp_path / "a.svg").write_text(bomb)
    with pytest.raises(ValueError, match="takes over 1 seconds to draw"):
        load_image(tmp_path / "a.svg", SIZE, SIZE)


def test_missing_file_and_bad_size(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.png not found"):
        load_image(tmp_path / "nothing.png", SIZE, SIZE)
    with pytest.raises(ValueError, match="must be 1 to"):
        load_image(write_varied(tmp_path, "clean.png"), 0, SIZE)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        files = [write_varied(folder, name) for name in VARIED]
        tiles = [before_and_after(file, load_image(file, SIZE, SIZE)) for file in files]
    grid(tiles, 6, title="the image | load_image").save(sys.argv[1])
