"""Score a trained model on test drawings as the field does.

    python sketch_pix2seq_evaluate.py --model_dir outputs/snapshot --evaluation_dir outputs/evaluation

``report.md`` and ``report.json`` get
    loss   the test loss, padding masked, and per real point
    rec    Rec: a classifier trained on the training bitmaps names the model's drawings (``rec_real``: real ones)
    ret    Ret: a drawing of the model, rasterised and encoded again: is its own original the nearest of all (or
           among the nearest 10, 50); and the other way round: of all drawings, is it the nearest to its original
with 95 % bootstrap intervals, at each temperature; ``latent.png`` shows the latent codes by t-SNE, and
``reconstructions.png`` originals above the model's drawings.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from model import point_losses
from render_svg2bitmap import rasterize_all
from sketch_pix2seq_sampling import draw_codes, encode_from, encode_images, encode_strokes, load_model
from utils import SPLITS, DataLoader, add_switch, category_name, draw_like_data, load_dataset, run_script

SCORES = ("loss", "rec", "ret", "latent", "reconstructions")
RET_AT = (1, 10, 50)
REC_REAL_NEEDED = 0.85  # a classifier that does not know real drawings cannot judge others


# ---------------------------------------------------------------------------------------------------------
# Scores


def score_loss(model, loader: DataLoader, noise: bool, seed: int) -> dict:
    """Test loss: sum of (L_s + L_p) (1 - p3) over N * max_seq_len, and over the real points."""
    total, points = 0.0, 0
    for i in range(loader.num_batches):
        batch = loader.get_batch(i)
        z = encode_from(model, loader, batch.indices, noise, seed + i)
        params, _ = model.decode(batch.strokes[:, :-1], z)
        target = batch.strokes[:, 1:]
        stroke_loss, pen_loss = point_losses(params, target)
        real = 1.0 - target[:, :, 4].reshape(-1)
        total += float(tf.reduce_sum((stroke_loss + pen_loss) * real))
        points += int(real.sum())
    return {"loss": total / (len(loader) * loader.max_seq_len), "loss_per_point": total / points}


def build_classifier(height: int, width: int, categories: int) -> tf.keras.Model:
    """A small CNN that names the category of a bitmap ``[N, H, W, 1]``, 0 (ink) to 255."""
    layers = tf.keras.layers
    blocks = []
    for filters in (16, 32, 64):
        blocks += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(padding="same"),
        ]
    return tf.keras.Sequential(
        [
            layers.Input((height, width, 1)),
            layers.Rescaling(-1 / 255.0, 1.0),  # ink is 1, paper 0, as what is moved in
            layers.RandomTranslation(0.06, 0.06, fill_mode="constant"),
            *blocks,
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(categories, activation="softmax"),
        ]
    )


def train_classifier(train: DataLoader, valid: DataLoader, categories: int, cache_dir: Path) -> tf.keras.Model:
    """The classifier of these bitmaps, from the cache if it was trained before."""
    height, width = train.images.shape[1:]
    classifier = build_classifier(height, width, categories)
    digest = hashlib.sha256(train.images.tobytes() + train.labels.tobytes())
    digest.update(str([weight.shape for weight in classifier.weights]).encode())
    cache = cache_dir / f"classifier_{digest.hexdigest()[:16]}.weights.h5"
    if cache.is_file():
        classifier.load_weights(cache)
        return classifier
    tf.keras.utils.set_random_seed(1)
    classifier = build_classifier(height, width, categories)
    classifier.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    stop = tf.keras.callbacks.EarlyStopping(monitor="val_accuracy", patience=3, restore_best_weights=True)
    classifier.fit(
        train.images[..., None],
        train.labels,
        batch_size=64,
        epochs=30,
        validation_data=(valid.images[..., None], valid.labels),
        callbacks=[stop],
        verbose=2,
    )
    cache_dir.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_name("part_" + cache.name)
    classifier.save_weights(temporary)
    temporary.replace(cache)
    return classifier


def named_right(classifier: tf.keras.Model, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether each bitmap, uint8 ``[N, H, W]``, is named as its label -> bool ``[N]``."""
    return classifier.predict(images[..., None], batch_size=256, verbose=0).argmax(axis=1) == labels


def ranks(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """For each row i of queries ``[N, Z]``: how many rows of gallery are nearer to it than row i -> ``[N]``."""
    squared = np.square(queries).sum(1)[:, None] + np.square(gallery).sum(1)[None] - 2.0 * queries @ gallery.T
    own = squared[np.arange(len(queries)), np.arange(len(queries))]
    # an equal distance counts as nearer: a model whose codes are all the same must not score
    return (squared <= own[:, None]).sum(axis=1) - 1


def with_interval(hits: np.ndarray, rng: np.random.Generator) -> dict:
    """The mean of hits ``[N]`` and its 95 % bootstrap interval over drawings."""
    means = rng.choice(hits, (2000, len(hits))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"value": float(hits.mean()), "interval": [float(low), float(high)]}


# ---------------------------------------------------------------------------------------------------------
# Pictures and report


def plot_latent(path: Path, codes: np.ndarray, labels: np.ndarray, names: list[str], seed: int) -> None:
    """The latent codes ``[N, Z]`` in two dimensions by t-SNE, coloured by category."""
    from matplotlib.figure import Figure  # both are slow to import, and seldom needed
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(codes) - 1) / 3.0)
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(codes)
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots()
    for k, name in enumerate(names):
        chosen = places[labels == k]
        marker = "o" if k < 10 else "^"
        axes.scatter(chosen[:, 0], chosen[:, 1], s=12, color=f"C{k % 10}", marker=marker, label=name)
    axes.set(xticks=[], yticks=[], title="latent codes of test bitmaps, t-SNE")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=110)


def write_reconstructions(path: Path, originals: np.ndarray, bitmaps: np.ndarray, columns: int = 20) -> None:
    """Test bitmaps uint8 ``[N, H, W]``, each above the model's drawing of it, rows of ``columns``."""
    count = len(originals) // columns * columns or len(originals)
    columns = min(columns, count)
    height, width = originals.shape[1:]
    pairs = np.concatenate([originals[:count], bitmaps[:count], np.full((count, 4, width), 200, np.uint8)], axis=1)
    rows = pairs.reshape(count // columns, columns, 2 * height + 4, width)
    sheet = rows.transpose(0, 2, 1, 3).reshape(-1, columns * width)
    Image.fromarray(sheet).save(path)


def percent(score: dict) -> str:
    """``"43.1 % (40.9-45.2)"``."""
    low, high = score["interval"]
    return f"{100 * score['value']:.1f} % ({100 * low:.1f}-{100 * high:.1f})"


def report_text(report: dict) -> str:
    """``report.md``."""
    lines = [f"# {report['model_dir']}, step {report['step']}", ""]
    lines += [
        f"{report['drawings']} {report['split']} drawings of {', '.join(report['categories'])}; {report['code']}."
    ]
    if report["skipped"]:
        lines += ["", f"Of all splits, {report['skipped']} drawings are longer than this model draws: left out."]
    if "loss" in report:
        lines += ["", f"Loss {report['loss']:.4f} (padding masked), {report['loss_per_point']:.4f} a real point."]
    if "rec" in report:
        lines += ["", f"The classifier names {percent(report['rec_real'])} of the real bitmaps."]
        if not report["rec_counts"]:
            lines += [f"That is below {100 * REC_REAL_NEEDED:.0f} %: **its verdict (Rec) does not count.**"]
        lines += ["", "| temperature | Rec (95 % interval) |", "|---|---|"]
        lines += [f"| {temperature} | {percent(score)} |" for temperature, score in report["rec"].items()]
    if RET_TITLES.keys() & report.keys() and report["encoded"] == "strokes":
        lines += [
            "",
            "This encoder reads strokes: for Ret the generated *strokes* are encoded again, not a raster of them.",
        ]
    for key, title in RET_TITLES.items():
        if key in report:
            lines += ["", f"Ret, {title}, of {report['drawings']}:", ""]
            lines += ["| temperature | " + " | ".join(f"top {k}" for k in RET_AT) + " |", "|---" * 4 + "|"]
            for temperature, scores in report[key].items():
                lines.append(f"| {temperature} | " + " | ".join(percent(scores[str(k)]) for k in RET_AT) + " |")
    return "\n".join(lines) + "\n"


RET_TITLES = {
    "ret_generated_to_original": "generated -> original",
    "ret_original_to_generated": "original -> generated",
}


# ---------------------------------------------------------------------------------------------------------
# The script


def score_drawings(model, loaders, hps, temperatures, scores, noise, seed, cache_dir) -> tuple[dict, np.ndarray | None]:
    """Rec and Ret at each temperature -> (report entries, bitmaps at the first temperature)."""
    train, valid, test = loaders
    rng = np.random.default_rng(seed)
    report, first = {}, None
    codes, originals = (encode_from(model, test, np.arange(len(test)), noise, seed) for noise in (noise, False))
    scales = np.array([train.category_scale_factors[category_name(name)] for name in hps.data_set])
    if "rec" in scores:
        classifier = train_classifier(train, valid, len(hps.data_set), cache_dir)
        real = with_interval(named_right(classifier, test.images, test.labels), rng)
        report |= {"rec": {}, "rec_real": real, "rec_counts": real["value"] >= REC_REAL_NEEDED}
    if "ret" in scores:
        report |= {key: {} for key in RET_TITLES}
    for temperature in temperatures:
        drawings = draw_codes(model, codes, np.full(len(codes), temperature), test.max_seq_len, seed)
        bitmaps = draw_like_data(rasterize_all, hps, test.scale_factor / scales, drawings, test.labels)
        first = bitmaps if first is None else first
        if "rec" in scores:
            report["rec"][str(temperature)] = with_interval(named_right(classifier, bitmaps, test.labels), rng)
        if "ret" in scores:
            if model.reads_strokes:
                again = encode_strokes(model, drawings, False, seed)
            else:
                again = encode_images(model, bitmaps[..., None].astype(np.float32), False, seed)
            for key, nearer in zip(RET_TITLES, (ranks(again, originals), ranks(originals, again)), strict=True):
                report[key][str(temperature)] = {str(k): with_interval(nearer < k, rng) for k in RET_AT}
    return report, first


def evaluate(args) -> dict:
    """Score as the command line says, writing the files -> the report."""
    directory = Path(args.evaluation_dir)
    model, step = load_model(args.model_dir)
    if not model.hps.conditional:
        raise ValueError(f"{args.model_dir} is unconditional: it reads no bitmaps that it could be scored on")
    asked = model.hps.parse(args.hparams)
    changed = [name for name, value in asked.values().items() if value != model.hps.values()[name]]
    if set(changed) - {"data_set", "max_seq_len", "batch_size"}:
        raise ValueError(f"--hparams {args.hparams}: only data_set, max_seq_len and batch_size can differ here")
    *loaders, hps = load_dataset(args.data_dir, asked)
    test = loaders[SPLITS.index(args.split)]
    names = [category_name(data_set) for data_set in hps.data_set]
    report = {"model_dir": str(args.model_dir), "step": step, "split": args.split, "drawings": len(test)}
    report |= {"categories": names, "code": "code with noise" if args.noise else "code without noise"}
    report |= {"encoded": "strokes" if model.reads_strokes else "bitmaps", "skipped": loaders[0].skipped}
    directory.mkdir(parents=True, exist_ok=True)
    if "loss" in args.scores:
        report |= score_loss(model, test, args.noise, args.seed)
    if {"rec", "ret", "reconstructions"} & set(args.scores):
        cache_dir = Path(args.data_dir) / "bitmap"
        found, bitmaps = score_drawings(
            model, (*loaders[:2], test), hps, args.temperatures, args.scores, args.noise, args.seed, cache_dir
        )
        report |= found
    (directory / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (directory / "report.md").write_text(report_text(report))
    if "reconstructions" in args.scores:
        chosen = np.random.default_rng(args.seed).permutation(len(test))[:200]
        write_reconstructions(directory / "reconstructions.png", test.images[chosen], bitmaps[chosen])
    if "latent" in args.scores and len(test) < 4:
        print(f"no latent.png: t-SNE of {len(test)} drawings shows nothing")
    elif "latent" in args.scores:
        codes = encode_from(model, test, np.arange(len(test)), False, args.seed)
        plot_latent(directory / "latent.png", codes, test.labels, names, args.seed)
    return report


def positive_number(text: str) -> float:
    """A number above 0. Raises argparse's own error."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: wanted a number above 0")
    return number


def parse_args(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data_dir", default="datasets", help="holds npz/ and bitmap/")
    parser.add_argument("--model_dir", default="outputs/snapshot", help="a snapshot directory, ours or the original's")
    parser.add_argument("--evaluation_dir", default="outputs/evaluation", help="where the report goes")
    parser.add_argument("--hparams", default="", help='data to score on, if not the snapshot\'s: "data_set=[a,b]"')
    parser.add_argument("--split", default="test", choices=SPLITS, help="which drawings")
    parser.add_argument(
        "--temperatures", type=positive_number, nargs="+", default=[0.01, 0.24], help="to draw at, above 0"
    )
    parser.add_argument("--scores", nargs="+", default=SCORES, choices=SCORES, help="which to compute")
    parser.add_argument("--seed", type=int, default=0, help="of the drawings and the intervals")
    add_switch(parser, "noise", "encode with noise, as the original does; without, the mean is the code")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Score as the command line says -> exit code."""
    args = parse_args(argv)
    print(report_text(evaluate(args)))
    print(f"written to {args.evaluation_dir}")
    return 0


if __name__ == "__main__":
    run_script(main)
