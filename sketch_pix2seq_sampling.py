"""Draw what a trained model sees in bitmaps.

    python sketch_pix2seq_sampling.py                                   # 20 random test drawings
    python sketch_pix2seq_sampling.py --split valid --category doodle_cat --num_drawings 5 --seed 3

For each drawing, ``<sampling_dir>/<index>/`` gets ``sample_gt.svg`` (the person's), ``sample_pred_cond.svg``
(the model's at temperature 0.1) and ``sample_pred_cond_100.svg`` (3 rows, temperatures 0.1 to 1.0 from left to
right); ``<sampling_dir>/gallery.png`` shows them side by side.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from model import Model, find_snapshot, load_hparams, load_snapshot, sample_batch
from render_svg2bitmap import contact_sheet, draw_strokes, rasterize
from utils import (
    DataLoader,
    add_switch,
    category_name,
    get_bounds,
    lines_to_strokes,
    load_dataset,
    run_script,
    strokes_to_lines,
    to_normal_strokes,
)

TEMPERATURES = tuple(round(0.1 * k, 1) for k in range(1, 11))
GRID_ROWS = 3
GRID_SPACING = 20.0  # units of normalised strokes between the centres of drawings
GALLERY_TEMPERATURES = (0.1, 0.3, 0.6, 1.0)
TOGETHER = 500  # drawings in one sampling loop: enough for full speed, and memory stays small


def load_model(model_dir: str | Path) -> tuple[Model, int]:
    """The model of a snapshot directory and its step. Raises FileNotFoundError or ValueError with the remedy."""
    if find_snapshot(model_dir) is None:
        raise FileNotFoundError(f"no snapshot in {model_dir}; train one, or name another directory by --model_dir")
    model = Model(load_hparams(model_dir))
    return model, load_snapshot(model, model_dir)


def encode_images(model: Model, images: np.ndarray, noise: bool, seed: int) -> np.ndarray:
    """Latent codes ``[N, Z]`` of bitmaps ``[N, H, W, 1]``: the mean, or mean + sigma * noise as in the original."""
    codes = []
    for start in range(0, len(images), TOGETHER):
        mean, presig = model.encode(images[start : start + TOGETHER])
        codes.append(np.stack([mean.numpy(), np.exp(presig.numpy() / 2.0)]))
    mean, sigma = np.concatenate(codes, axis=1)
    if not noise:
        return mean
    return mean + sigma * np.random.default_rng(seed).normal(size=mean.shape).astype(np.float32)


def draw_codes(model: Model, codes: np.ndarray, temperatures: np.ndarray, seq_len: int, seed: int) -> list[np.ndarray]:
    """One stroke-3 drawing for each row of codes ``[N, Z]`` and temperatures ``[N]``."""
    drawings = []
    for start in tqdm(range(0, len(codes), TOGETHER), desc="drawing", unit="batch", disable=len(codes) <= TOGETHER):
        part = slice(start, start + TOGETHER)
        drawn = sample_batch(model, codes[part], seq_len, temperatures[part], seed=seed + start)
        drawings += [to_normal_strokes(strokes) for strokes in drawn]
    return drawings


def make_grid(drawings: list[np.ndarray], columns: int, spacing: float = GRID_SPACING) -> np.ndarray:
    """Stroke-3 drawings in rows of ``columns``, each centred on its bounds -> one stroke-3 drawing."""
    lines = []
    for place, drawing in enumerate(drawings):
        min_x, max_x, min_y, max_y = get_bounds(drawing)
        centre = np.array([(min_x + max_x) / 2, (min_y + max_y) / 2])
        shift = np.array([place % columns, place // columns]) * spacing - centre
        lines += [line + shift for line in strokes_to_lines(drawing)]
    return lines_to_strokes(lines)


def choose_drawings(loader: DataLoader, hps, category: str | None, index, num: int, seed: int) -> np.ndarray:
    """Places in a loader: those named by ``index``, or ``num`` at random, of one category or of all."""
    if index:
        wrong = [i for i in index if not 0 <= i < len(loader)]
        if wrong:
            raise ValueError(f"--index {wrong[0]}: there are drawings 0 to {len(loader) - 1}")
        return np.array(index)
    places = np.arange(len(loader))
    if category is not None:
        names = [category_name(data_set) for data_set in hps.data_set]
        if category_name(category) not in names:
            raise ValueError(f"--category {category}: this model knows {', '.join(names)}")
        places = places[loader.labels == names.index(category_name(category))]
    rng = np.random.default_rng(seed)
    return rng.choice(places, min(num, len(places)), replace=False)


def sample_drawings(model, loader, places, noise: bool, seed: int) -> list[list[np.ndarray]]:
    """For each place, its grid of drawings: ``GRID_ROWS`` x the temperatures, all of one latent code."""
    images = loader.images[places][..., None].astype(np.float32)
    codes = encode_images(model, images, noise, seed)
    per_place = GRID_ROWS * len(TEMPERATURES)
    temperatures = np.tile(TEMPERATURES, GRID_ROWS * len(places))
    drawings = draw_codes(model, np.repeat(codes, per_place, axis=0), temperatures, loader.max_seq_len, seed)
    return [drawings[start : start + per_place] for start in range(0, len(drawings), per_place)]


def write_drawings(sampling_dir: Path, place: int, truth: np.ndarray, grid: list[np.ndarray]) -> None:
    """The three SVG files of one drawing, named as the original names them."""
    directory = sampling_dir / str(place)
    directory.mkdir(parents=True, exist_ok=True)
    draw_strokes(truth, directory / "sample_gt.svg")
    draw_strokes(grid[0], directory / "sample_pred_cond.svg")
    draw_strokes(make_grid(grid, len(TEMPERATURES)), directory / "sample_pred_cond_100.svg")


def write_gallery(path: Path, images: np.ndarray, truths, grids, captions: list[str]) -> None:
    """A PNG of one row a drawing: bitmap, person's drawing, model's drawings at several temperatures.

    images uint8 ``[n, H, W]``, truths and grids as ``sample_drawings`` makes them.
    """
    tile, gap, head, margin = 132, 10, 34, 116
    titles = ["bitmap", "person", *(f"model, {temperature}" for temperature in GALLERY_TEMPERATURES)]
    width, height = margin + len(titles) * (tile + gap) + gap, head + len(truths) * (tile + gap)
    page = Image.new("RGB", (width, height), "#f4f1ea")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for column, title in enumerate(titles):
        pen.text((margin + column * (tile + gap) + tile // 2, head // 2), title, "#444", font, anchor="mm")
    for row, (image, truth, grid) in enumerate(zip(images, truths, grids, strict=True)):
        top = head + row * (tile + gap)
        pen.text((margin // 2, top + tile // 2), captions[row], "#444", font, anchor="mm")
        drawings = [grid[TEMPERATURES.index(temperature)] for temperature in GALLERY_TEMPERATURES]
        tiles = [Image.fromarray(image).resize((tile, tile), Image.Resampling.NEAREST)]
        tiles += [Image.fromarray(rasterize(drawing, tile, tile)) for drawing in (truth, *drawings)]
        for column, picture in enumerate(tiles):
            page.paste(picture, (margin + column * (tile + gap), top))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def sample_unconditional(model: Model, sampling_dir: Path, num: int, seq_len: int, seed: int) -> None:
    """What a decoder alone likes to draw: a row for each of ``num`` drawings, a column for each temperature."""
    temperatures = np.tile(TEMPERATURES, num)
    drawn = sample_batch(model, num=len(temperatures), seq_len=seq_len, temperature=temperatures, seed=seed)
    drawings = [to_normal_strokes(strokes) for strokes in drawn]
    sampling_dir.mkdir(parents=True, exist_ok=True)
    draw_strokes(make_grid(drawings, len(TEMPERATURES)), sampling_dir / "sample_pred_uncond.svg")
    title = f"unconditional, temperature {TEMPERATURES[0]} to {TEMPERATURES[-1]}"
    contact_sheet(
        [rasterize(drawing, 128, 128) for drawing in drawings], sampling_dir / "gallery.png", len(TEMPERATURES), title
    )


def parse_args(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data_dir", default="datasets", help="holds npz/ and bitmap/")
    parser.add_argument("--model_dir", default="outputs/snapshot", help="a snapshot directory")
    parser.add_argument("--sampling_dir", default="outputs/sampling", help="where drawings go")
    parser.add_argument("--split", default="test", choices=("train", "valid", "test"), help="which drawings")
    parser.add_argument("--category", help="only drawings of this category")
    parser.add_argument("--index", type=int, nargs="+", help="these drawings, by place in order of length")
    parser.add_argument("--num_drawings", type=int, default=20, help="how many, at random")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and of the drawings")
    add_switch(parser, "noise", "encode with noise, as the original does; without, the mean is the code")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Sample as the command line says -> exit code."""
    args = parse_args(argv)
    if args.num_drawings < 1:
        raise ValueError(f"--num_drawings {args.num_drawings}: wanted 1 or more")
    model, step = load_model(args.model_dir)
    print(f"weights of step {step} from {args.model_dir}")
    sampling_dir = Path(args.sampling_dir)
    if not model.hps.conditional:
        sample_unconditional(model, sampling_dir, args.num_drawings, model.hps.max_seq_len, args.seed)
        print(f"{args.num_drawings} drawings in {sampling_dir}; look at {sampling_dir / 'gallery.png'}")
        return 0
    *loaders, hps = load_dataset(args.data_dir, model.hps)
    loader = dict(zip(("train", "valid", "test"), loaders, strict=True))[args.split]
    places = choose_drawings(loader, hps, args.category, args.index, args.num_drawings, args.seed)
    grids = sample_drawings(model, loader, places, args.noise, args.seed)
    truths = [loader.strokes(place) for place in places]
    for place, truth, grid in zip(places, truths, grids, strict=True):
        write_drawings(sampling_dir, place, truth, grid)
    captions = [category_name(hps.data_set[loader.labels[place]]) for place in places]
    write_gallery(sampling_dir / "gallery.png", loader.images[places], truths, grids, captions)
    print(f"{len(places)} drawings in {sampling_dir}; look at {sampling_dir / 'gallery.png'}")
    return 0


if __name__ == "__main__":
    run_script(main)
