"""What is in a data set, in words and as a picture: shared by inspect_data.py and import_drawings.py."""

import io
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hparams import HParams
from read_strokes import look_absolute
from utils import OFFSET_LIMIT, SPLITS, load_strokes, strokes_to_lines, write_file

MAX_LEN = HParams.max_seq_len  # points; what training takes by default
TINY = 0.1  # a drawing smaller than this share of the usual size is suspicious
BAR = 40  # characters of the longest bar of a histogram
LISTED = 5  # examples of each thing listed
MANY = 10  # categories: of more, a summary is printed, and the picture has pages of so many
COLUMNS, TILE, CAPTION = 12, 80, 20  # of the contact sheet; pixels
FINE = 3  # drawn larger, then reduced: Pillow's lines have jagged edges


def size_of(drawing: np.ndarray) -> float:
    """The longer side of a stroke-3 drawing's box, in its own units."""
    positions = np.cumsum(drawing[:, :2], axis=0, dtype=np.float64)
    return float(np.ptp(positions, axis=0).max())


def histogram(values: np.ndarray, bins: int = 10) -> list[str]:
    """Lines of text, a bar for each range of whole numbers."""
    low, high = int(values.min()), int(values.max()) + 1
    width = max(1, -(-(high - low) // bins))
    edges = np.arange(low, high + width, width)
    counts, _ = np.histogram(values, edges)
    ranges = [f"{a}-{b - 1}" if b - 1 > a else f"{a}" for a, b in pairwise(edges)]
    column = max(map(len, ranges))
    return [
        f"    {label:>{column}}  {'#' * -(-BAR * count // max(counts.max(), 1)):<{BAR}} {count}"
        for label, count in zip(ranges, counts.tolist(), strict=True)
    ]


def find_suspicious(strokes: dict[str, list[np.ndarray]]) -> dict[str, list[str]]:
    """What looks wrong in a category: a description, and the drawings ("train 17") it is true of."""
    usual = float(np.median([size_of(drawing) for split in SPLITS for drawing in strokes[split]] or [0]))
    suspicious: dict[str, list[str]] = {}
    first: dict[bytes, tuple[str, int]] = {}
    for split in SPLITS:
        absolute = look_absolute(strokes[split])
        for i, drawing in enumerate(strokes[split]):
            size = size_of(drawing)
            earlier = first.setdefault(np.asarray(drawing, np.float64).tobytes(), (split, i))
            across = "in more than one split" if earlier[0] != split else "twice in a split"
            faults = {
                "one point": len(drawing) == 1,
                "no extent (all points at one position)": len(drawing) > 1 and size == 0,
                f"much smaller than usual (less than {TINY:g} of {usual:g})": 0 < size < TINY * usual,
                f"offsets over {OFFSET_LIMIT:g} (loading cuts them)": np.abs(drawing[:, :2]).max() > OFFSET_LIMIT,
                f"over {MAX_LEN} points (training skips them)": len(drawing) > MAX_LEN,
                "pen not lifted at the end": drawing[-1, 2] == 0,
                "positions instead of offsets, by their looks": absolute[i],
                f"duplicates {across}": earlier != (split, i),
            }
            for fault in (fault for fault, is_true in faults.items() if is_true):
                same_as = f" = {earlier[0]} {earlier[1]}" if fault.startswith("duplicates") else ""
                suspicious.setdefault(fault, []).append(f"{split} {i}{same_as}")
    return suspicious


def summarise(path: Path, strokes: dict[str, list[np.ndarray]]) -> str:
    """A category in words: counts, points and strokes of its drawings, the longest, what looks wrong."""
    everything = [(split, i, drawing) for split in SPLITS for i, drawing in enumerate(strokes[split])]
    text = [f"{path}: {len(everything)} drawings ({', '.join(f'{split} {len(strokes[split])}' for split in SPLITS)})"]
    if not everything:
        return text[0]
    points = np.array([len(drawing) for _, _, drawing in everything])
    pens = np.array([len(strokes_to_lines(drawing)) for _, _, drawing in everything])
    for what, values in (("points", points), ("strokes", pens)):
        mean, median = values.mean(), np.median(values)
        text.append(f"  {what} of a drawing: mean {mean:.1f}, median {median:g}, {values.min()} to {values.max()}")
        text += histogram(values)
    longest = ", ".join(f"{everything[i][0]} {everything[i][1]} ({points[i]})" for i in np.argsort(-points)[:LISTED])
    text.append(f"  longest: {longest} points")
    sizes = np.array([size_of(drawing) for _, _, drawing in everything])
    text.append(f"  longer side: median {np.median(sizes):g}, {sizes.min():g} to {sizes.max():g}")
    text += [f"  {split} is empty: training needs it" for split in SPLITS if not strokes[split]]
    suspicious = find_suspicious(strokes)
    text.append("  suspicious:" if suspicious else "  suspicious: nothing")
    for fault, where in suspicious.items():
        more = f" and {len(where) - LISTED} more" if len(where) > LISTED else ""
        text.append(f"    {fault}: {len(where)} ({', '.join(where[:LISTED])}{more})")
    return "\n".join(text)


def contact_sheet(drawings: list[np.ndarray], tile: int = TILE, columns: int = COLUMNS) -> Image.Image:
    """A picture of stroke-3 drawings, each scaled into ``tile`` pixels; strokes get darker in the order drawn."""
    rows = max(1, -(-len(drawings) // columns))
    sheet = Image.new("L", (FINE * tile * columns, FINE * tile * rows), 255)
    pen = ImageDraw.Draw(sheet)
    for i, drawing in enumerate(drawings):
        lines = strokes_to_lines(np.clip(drawing, -OFFSET_LIMIT, OFFSET_LIMIT))
        points = np.concatenate(lines)
        middle, extent = (points.min(axis=0) + points.max(axis=0)) / 2, np.ptp(points, axis=0).max()
        scale = 0.85 * FINE * tile / extent if extent > 0 else 0.0
        centre = FINE * tile * np.array([i % columns + 0.5, i // columns + 0.5])
        for j, line in enumerate(lines):
            shade = int(140 * (1 - (j + 1) / len(lines)))
            xy = [tuple(point) for point in (line - middle) * scale + centre]
            if np.ptp(line, axis=0).max() == 0:
                pen.circle(xy[0], FINE, fill=shade)
            else:
                pen.line(xy, fill=shade, width=FINE, joint="curve")
    return sheet.resize((tile * columns, tile * rows), Image.Resampling.LANCZOS)


def choose_examples(strokes: dict[str, list[np.ndarray]], count: int) -> list[np.ndarray]:
    """``count`` drawings of a category, evenly over its order of length, shortest and longest among them."""
    drawings = sorted((drawing for split in SPLITS for drawing in strokes[split]), key=len)
    chosen = np.linspace(0, len(drawings) - 1, min(count, len(drawings))).round().astype(int)
    return [drawings[i] for i in chosen]


def inspect_files(paths: list[Path], out: Path, title: str) -> None:
    """Print a summary of .npz files; write it to ``<out>/<title>.txt``, and examples to ``<out>/<title>.png``.

    The picture shows examples of each category in order of length; that of more than ``MANY`` categories has pages,
    ``<title>_1.png`` and so on, and only what all have in common is printed. Raises as ``load_strokes``.
    """
    texts, pictures, faults = [], [], Counter()
    for first in range(0, len(paths), MANY):
        page, sheets = paths[first : first + MANY], []
        for path in page:
            strokes = load_strokes(path)
            texts.append(summarise(path, strokes))
            faults.update({fault: len(where) for fault, where in find_suspicious(strokes).items()})
            sheets.append(contact_sheet(choose_examples(strokes, max(1, 8 // len(page)) * COLUMNS)))
        pictures.append(out / (f"{title}.png" if len(paths) <= MANY else f"{title}_{first // MANY + 1}.png"))
        _write_page(pictures[-1], page, sheets)
    text = "\n\n".join(texts)
    write_file(out / f"{title}.txt", f"{text}\n".encode())
    if len(paths) <= MANY:
        print(text)
    else:
        listed = "".join(f"\n  {fault}: {count}" for fault, count in faults.most_common())
        print(f"{len(paths)} categories, suspicious:{listed or ' nothing'}")
    print(f"\nwritten: {out / title}.txt, {pictures[0]}{f' to {pictures[-1].name}' if len(pictures) > 1 else ''}")


def _write_page(path: Path, names: list[Path], sheets: list[Image.Image]) -> None:
    picture = Image.new("L", (COLUMNS * TILE, sum(CAPTION + sheet.height for sheet in sheets)), 255)
    top = 0
    for name, sheet in zip(names, sheets, strict=True):
        ImageDraw.Draw(picture).text((4, top + 4), name.stem, fill=0)
        picture.paste(sheet, (0, top + CAPTION))
        top += CAPTION + sheet.height
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_file(path, buffer.getvalue())
