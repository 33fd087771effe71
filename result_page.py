"""A web page of drawings, in one file that needs no other: what was given, and the drawings made of it. No TensorFlow.

What it looks like, and what moves on it, is in ``assets/result_page.html``.
"""

import html
import json
import urllib.parse
from pathlib import Path
from string import Template

from PIL import Image

from pictures import ANIMATION_CSS, ENCODERS, Row, Style, Tile, animated_svg, data_uri
from render_svg2bitmap import png_bytes
from utils import write_file

TEMPLATE = Path(__file__).with_name("assets") / "result_page.html"
FEW_ROWS = 4  # have large pictures


def write_page(
    path: Path, title: str, note: str, rows: list[Row], style: Style, formats: list[str] | tuple[str, ...] = ()
) -> None:
    """A page of all rows: what was given stands large beside the drawing that was chosen of those made of it.

    ``formats``: those of ``write_pictures`` that lie beside the page, which then has links to them.
    """
    together = [_link(f"drawings.{kind}", f"drawings.{kind}") for kind in formats if kind not in ENCODERS]
    parts = {
        "title": html.escape(title),
        "note": html.escape(note) + "".join(together),
        "animation_css": ANIMATION_CSS,
        "pane": "260px" if len(rows) <= FEW_ROWS else "180px",
        "sections": "\n".join(_section(row, style, formats) for row in rows),
    }
    write_file(path, Template(TEMPLATE.read_text()).substitute(parts).encode())


def _section(row: Row, style: Style, formats) -> str:
    given, drawn = [tile for tile in row.tiles if tile.given], [tile for tile in row.tiles if not tile.given]
    files = "".join(_link(name, _address(row, name)) for name in row.files)
    heading = f"<h2>{html.escape(row.caption)}{files}</h2>" if row.caption or files else ""
    panes = [_pane(tile, style) for tile in given]
    if given and drawn:
        panes.append('<figure class="pane chosen"></figure>')
    if drawn:
        tiles = "\n".join(_tile(tile, row, style, formats) for tile in drawn)
        few = " few" if given and len(drawn) <= 4 else ""
        panes.append(f'<div class="tiles{few}" style="--most:{len(drawn)}">\n{tiles}</div>')
    return f'<section>{heading}<div class="row">\n' + "\n".join(panes) + "</div></section>"


def _pane(tile: Tile, style: Style) -> str:
    """What was given, large."""
    caption = html.escape(tile.caption)
    if tile.photo is not None:
        (width, height), (left, top, right, bottom) = tile.photo.size, tile.photo.box
        kind = "photo"
        picture = (
            f'<svg viewBox="0 0 {width} {height}"><image width="{width}" height="{height}" '
            f'href="{data_uri(tile.photo.jpeg, "image/jpeg")}"/><rect x="{left * width:.1f}" y="{top * height:.1f}" '
            f'width="{(right - left) * width:.1f}" height="{(bottom - top) * height:.1f}"/></svg>'
        )
    elif tile.image is not None:
        source = data_uri(png_bytes(Image.fromarray(tile.image)), "image/png")
        kind, picture = "seen", f'<img class="pixels" alt="{caption}" src="{source}">'
    else:
        kind, picture = "person", animated_svg(tile.strokes, style, tile.prefix, inline=True, box=tile.box)
    return f'<figure class="pane given {kind}">{picture}<figcaption>{caption}</figcaption></figure>'


def _tile(tile: Tile, row: Row, style: Style, formats) -> str:
    """A drawing, small, with the addresses of its files; its SVG the page can make itself."""
    kinds = [kind for kind in formats if kind in ENCODERS and kind != "svg"]
    files = [(kind.upper(), _address(row, f"{tile.name}.{kind}")) for kind in kinds]
    files += [("plotter SVG", _address(row, f"{tile.name}_plotter.svg"))] * bool(style.page)
    caption, files = html.escape(tile.caption), html.escape(json.dumps(files if tile.written else []))
    picture = animated_svg(tile.strokes, style, tile.prefix, inline=True, box=tile.box)
    name = html.escape(f"{row.name}_{tile.name}")
    return (
        f'<button type="button" class="tile" title="{caption}" data-name="{name}" data-files="{files}">'
        f"{picture}{caption}</button>"
    )


def _address(row: Row, name: str) -> str:
    return urllib.parse.quote(f"{row.name}/{name}")


def _link(words: str, address: str) -> str:
    return f'<a href="{html.escape(address)}" download target="_blank">{html.escape(words)}</a>'
