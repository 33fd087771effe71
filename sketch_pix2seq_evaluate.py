"""Score a trained model on test drawings as the field does.

    python sketch_pix2seq_evaluate.py --model_dir outputs/snapshot --evaluation_dir outputs/evaluation

``report.md`` and ``report.json`` get
    loss   the test loss, padding masked, and per real point
    rec    Rec: a classifier trained on the training bitmaps names the model's drawings (``rec_real``: real ones)
    ret    Ret: a drawing of the model, rasterised and encoded again: is its own original the nearest of all (or
           among the nearest 10, 50); and the other way round: of all drawings, is it the nearest to its original
    ink    how near the drawing's ink comes to the person's, and the order of the hand (ink_scores.py)
with 95 % bootstrap intervals, at each temperature; ``latent.png`` shows the codes by t-SNE, and
``reconstructions.png`` originals above the model's drawings. Drawn plainly, or with ``--guide K`` as for ``--image``.
"""

from quiet_tensorflow import describe_device, tf

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np

from ink_scores import SIDES, score_ink, score_ink_of_bitmaps
from model import Model, load_model, pad_strokes, point_losses
from render_svg2bitmap import grid, load_image, png_bytes, rasterize_all
from sampler import content_keys, draw_codes, encode_images, encode_loader, encode_strokes, make_sampler
from script import add_switch, make_parser, run_script
from seeds import seed_for
from tracer import trace
from utils import SPLITS, DataLoader, bitmap_scales, category_name, load_dataset, rasterize_augmented, write_file

SCORES = ("loss", "rec", "ret", "ink", "latent", "reconstructions")
RET_AT = (1, 10, 50)
RET_TITLES = {
    "ret_generated_to_original": "generated -> original",
    "ret_original_to_generated": "original -> generated",
}
MIN_CLASSIFIER_ACCURACY = 0.85  # a classifier that does not know real drawings cannot judge others
MAX_JUDGED = 100_000  # drawings that the classifier learns from, and real ones that it is tried on
CLASSIFIER_SIDE = 48  # pixels of its bitmaps at most, so that it is soon trained
RESAMPLES = 2000
MAX_RECONSTRUCTIONS = 200


# ---------------------------------------------------------------------------------------------------------
# Scores


def bootstrap(hits: np.ndarray, seed: int) -> dict:
    """The mean of hits ``[N]`` but for NaN, its 95 % bootstrap interval over drawings, from a generator of its own."""
    hits = hits[~np.isnan(hits)]
    if not len(hits):
        return {"value": float("nan"), "interval": [float("nan")] * 2}
    means = np.random.default_rng(seed_for(seed, "bootstrap")).choice(hits, (RESAMPLES, len(hits))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"value": float(hits.mean()), "interval": [float(low), float(high)]}


def score_loss(model: Model, loader: DataLoader, noise: bool, seed: int) -> dict:
    """Test loss: sum of (L_s + L_p) (1 - p3) over N * max_seq_len, and over the real points."""
    total, points = 0.0, 0
    for i in range(loader.num_batches):
        batch = loader.get_batch(i)
        z = encode_loader(model, loader, batch.indices, noise, seed)
        strokes = pad_strokes(batch.points, batch.lengths, batch.lengths.max())  # [N, T + 1, 5]
        params, _ = model.decode(strokes[:, :-1], z)
        stroke_loss, pen_loss = point_losses(params, strokes[:, 1:])
        real = 1.0 - tf.reshape(strokes[:, 1:, 4], [-1])
        total += float(tf.reduce_sum((stroke_loss + pen_loss) * real))
        points += len(batch.points)
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


def to_judge(hps, rescale: np.ndarray, drawings: list[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Bitmaps for the classifier: as large as the model's own, but ``CLASSIFIER_SIDE`` at most."""
    judged = hps.replace(img_H=min(hps.img_H, CLASSIFIER_SIDE), img_W=min(hps.img_W, CLASSIFIER_SIDE))
    return rasterize_augmented(rasterize_all, judged, rescale, drawings, labels)


def train_classifier(
    train: tuple[np.ndarray, np.ndarray], valid: tuple[np.ndarray, np.ndarray], categories: int, cache_dir: Path
) -> tf.keras.Model:
    """The classifier of these (bitmaps, labels), from the cache if it was trained before."""
    height, width = train[0].shape[1:]
    classifier = build_classifier(height, width, categories)
    digest = hashlib.sha256(train[0].tobytes() + train[1].tobytes())
    digest.update(str([weight.shape for weight in classifier.weights]).encode())
    cache = cache_dir / f"{digest.hexdigest()[:16]}.weights.h5"
    if cache.is_file():
        classifier.load_weights(cache)
        return classifier
    tf.keras.utils.set_random_seed(1)
    classifier = build_classifier(height, width, categories)
    classifier.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    stop = tf.keras.callbacks.EarlyStopping(monitor="val_accuracy", patience=3, restore_best_weights=True)
    classifier.fit(
        train[0][..., None],
        train[1],
        batch_size=64,
        epochs=30,
        validation_data=(valid[0][..., None], valid[1]),
        callbacks=[stop],
        verbose=2,
    )
    with tempfile.TemporaryDirectory() as directory:
        classifier.save_weights(Path(directory, cache.name))
        write_file(cache, Path(directory, cache.name).read_bytes())
    return classifier


def choose_some(count: int, most: int) -> np.ndarray:
    """Sorted indices of ``count`` drawings: of all, or of ``most`` of them, always the same."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed_for(0, "subset", len(SPLITS))).choice(count, most, replace=False))


def is_correct(classifier: tf.keras.Model, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the classifier names each bitmap, uint8 ``[N, H, W]``, as its label says -> bool ``[N]``."""
    return classifier.predict(images[..., None], batch_size=256, verbose=0).argmax(axis=1) == labels


def ranks(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """For each row i of queries ``[N, Z]``: how many rows of gallery are nearer to it than row i -> ``[N]``."""
    squared = np.square(queries).sum(1)[:, None] + np.square(gallery).sum(1)[None] - 2.0 * queries @ gallery.T
    own = squared[np.arange(len(queries)), np.arange(len(queries))]
    # an equal distance counts as nearer: a model whose codes are all the same must not score
    return (squared <= own[:, None]).sum(axis=1) - 1


def score_drawings(
    args: argparse.Namespace, model: Model, train: DataLoader, valid: DataLoader, test: DataLoader, hps
) -> tuple[dict, np.ndarray]:
    """Rec and Ret, as far as asked for, at each temperature -> (report entries, bitmaps at the first temperature)."""
    report, first, everything = {}, None, np.arange(len(test))
    codes = encode_loader(model, test, everything, args.noise, args.seed)
    originals = encode_loader(model, test, everything, False, args.seed)
    rescale, is_small = bitmap_scales(train, hps), max(hps.img_H, hps.img_W) <= CLASSIFIER_SIDE
    if "rec" in args.scores:
        judged = []
        for loader in (train, valid, test):
            chosen = choose_some(len(loader), MAX_JUDGED)
            drawings, labels = loader.gather(chosen).drawings(), loader.labels[chosen]
            judged.append((loader.images[chosen] if is_small else to_judge(hps, rescale, drawings, labels), labels))
        classifier = train_classifier(*judged[:2], len(hps.data_set), Path(args.data_dir, "classifier"))
        real = bootstrap(is_correct(classifier, *judged[2]), args.seed)
        report |= {"rec": {}, "rec_real": real, "rec_counts": real["value"] >= MIN_CLASSIFIER_ACCURACY}
    if "ret" in args.scores:
        report |= {key: {} for key in RET_TITLES}
    if "ink" in args.scores:
        persons = [test.strokes(index) for index in everything]
        report["ink"] = {"the person": summarise_ink(score_ink(persons, persons), args.seed)}
        if args.tracer:
            report["ink"]["a tracer"] = summarise_ink(score_ink(persons, list(map(trace, test.images))), args.seed)
    for temperature in args.temperatures:
        seeds = [seed_for(args.seed, "sample", index, 0, round(1e6 * temperature)) for index in everything]
        images = None if model.reads_strokes else test.images
        how = {"images": images, "guide": args.guide, "pen_temperature": args.pen_temperature}
        drawings = draw_codes(model, codes, np.full(len(codes), temperature), test.max_seq_len, seeds, **how)
        bitmaps = rasterize_augmented(rasterize_all, hps, rescale, drawings, test.labels)
        first = bitmaps if first is None else first
        if "ink" in args.scores:
            scores = score_ink(persons, drawings)
            if args.guide == 1:  # ink that is left ends a guided drawing, not its length
                scores["to_end"] = np.array([len(drawing) >= test.max_seq_len for drawing in drawings], float)
            report["ink"][f"temperature {temperature}"] = summarise_ink(scores, args.seed)
        if "rec" in args.scores:
            shown = bitmaps if is_small else to_judge(hps, rescale, drawings, test.labels)
            report["rec"][str(temperature)] = bootstrap(is_correct(classifier, shown, test.labels), args.seed)
        if "ret" in args.scores:
            encode, generated = (encode_strokes, drawings) if model.reads_strokes else (encode_images, bitmaps)
            again = encode(model, generated)
            for key, nearer in zip(RET_TITLES, (ranks(again, originals), ranks(originals, again)), strict=True):
                report[key][str(temperature)] = {str(k): bootstrap(nearer < k, args.seed) for k in RET_AT}
    return report, first


def summarise_ink(scores: dict[str, np.ndarray], seed: int) -> dict:
    """Mean and interval of each score of the ink."""
    return {name: bootstrap(values, seed) for name, values in scores.items()}


def evaluate_pictures(args: argparse.Namespace) -> dict:
    """How near drawings of pictures, of which no strokes are known, come to the pictures' ink -> the report."""
    how = {"num": 1, "seed": args.seed, "guide": args.guide, "pen_temperature": args.pen_temperature}
    sampler = make_sampler(args.model_dir, args.temperatures, **how)
    sampler.require_images("--images")
    files, images = sampler.load_images(args.images)
    line_width = sampler.info["line_width"] / sampler.model.hps.img_H  # as a share of the bitmap's side
    given = {side: np.stack([load_image(file, side, side, line_width * side) for file in files]) for side in SIDES}
    drawings = sampler.draw(sampler.encode(images), content_keys(images), images=images)
    report = {"model_dir": args.model_dir, "step": sampler.step, "pictures": len(files), "ink": {}}
    report |= {"guide": args.guide, "pen_temperature": args.pen_temperature}
    if args.tracer:
        report["ink"]["a tracer"] = summarise_ink(score_ink_of_bitmaps(given, list(map(trace, images))), args.seed)
    for k, temperature in enumerate(args.temperatures):
        scores = score_ink_of_bitmaps(given, [variations[k] for variations in drawings])
        report["ink"][f"temperature {temperature}"] = summarise_ink(scores, args.seed)
    write_report(Path(args.evaluation_dir), report)
    return report


# ---------------------------------------------------------------------------------------------------------
# Pictures and report


def plot_latent(path: Path, codes: np.ndarray, labels: np.ndarray, names: list[str], seed: int) -> None:
    """Codes ``[N, Z]`` in two dimensions by t-SNE, coloured by category."""
    from matplotlib.figure import Figure  # both are slow to import, and seldom needed
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(codes) - 1) / 3.0)
    positions = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(codes)
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots()
    for k, name in enumerate(names):
        chosen = positions[labels == k]
        marker = "o" if k < 10 else "^"
        axes.scatter(chosen[:, 0], chosen[:, 1], s=12, color=f"C{k % 10}", marker=marker, label=name)
    axes.set(xticks=[], yticks=[], title="latent codes of test bitmaps, t-SNE")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=110)


def write_reconstructions(path: Path, originals: np.ndarray, bitmaps: np.ndarray, columns: int = 20) -> None:
    """Test bitmaps uint8 ``[N, H, W]``, each above the model's drawing of it, in rows of ``columns``."""
    images = []
    for start in range(0, len(originals), columns):
        for row in (originals[start : start + columns], bitmaps[start : start + columns]):
            images += [*row, *[None] * (min(columns, len(originals)) - len(row))]
    size = originals.shape[2], originals.shape[1]
    write_file(path, png_bytes(grid(images, columns, title="bitmaps above what the model drew of them", size=size)))


INK_COLUMNS = {  # of the table: score -> title
    "ink_f1_1": "ink F1, 1 pixel",
    "ink_f1_2": "2 pixels",
    "ink_f1_fine": "fine",
    "recall": "recall, 1 pixel",
    "lost": "lost",
    "to_end": "to the last step",
    "order": "order of hand",
    "strokes": "strokes",
    "points": "points",
}


def ink_table(ink: dict) -> list[str]:
    """The lines of a table: drawn how, and each score with its interval."""
    used = [name for name in INK_COLUMNS if any(name in scores for scores in ink.values())]
    lines = ["| drawn by | " + " | ".join(INK_COLUMNS[name] for name in used) + " |", "|---" * (len(used) + 1) + "|"]
    for how, scores in ink.items():
        cells = [
            "{value:.3f} ({interval[0]:.3f}-{interval[1]:.3f})".format(**scores[name]) if name in scores else ""
            for name in used
        ]
        lines.append(f"| {how} | " + " | ".join(cells) + " |")
    return lines


def percent(score: dict) -> str:
    """``"43.1 % (40.9-45.2)"``."""
    low, high = score["interval"]
    return f"{100 * score['value']:.1f} % ({100 * low:.1f}-{100 * high:.1f})"


def report_text(report: dict) -> str:
    """``report.md``."""
    lines = [f"# {report['model_dir']}, step {report['step']}", ""]
    drawn = f"; ink-guided, {report['guide']} candidates" if report["guide"] > 1 else ""
    drawn += f"; pen temperature {report['pen_temperature']}" if report["pen_temperature"] else ""
    if "pictures" in report:
        title = "ink at 48 x 48 (fine: 2 pixels of 192 x 192)"
        return (
            "\n".join([*lines, f"{report['pictures']} pictures; {title}{drawn}.", "", *ink_table(report["ink"])]) + "\n"
        )
    categories = ", ".join(report["categories"])
    lines += [f"{report['drawings']} {report['split']} drawings of {categories}; {report['code']}{drawn}."]
    if report["skipped"]:
        lines += ["", f"Of all splits, {report['skipped']} drawings are longer than this model draws: left out."]
    if "loss" in report:
        lines += ["", f"Loss {report['loss']:.4f} (padding masked), {report['loss_per_point']:.4f} per real point."]
    if "rec" in report:
        lines += ["", f"The classifier names {percent(report['rec_real'])} of the real bitmaps."]
        if not report["rec_counts"]:
            lines += [f"That is below {100 * MIN_CLASSIFIER_ACCURACY:.0f} %: **its verdict (Rec) does not count.**"]
        lines += ["", "| temperature | Rec (95 % interval) |", "|---|---|"]
        lines += [f"| {temperature} | {percent(score)} |" for temperature, score in report["rec"].items()]
    if RET_TITLES.keys() & report.keys() and report["encoded"] == "strokes":
        again = "for Ret the generated *strokes* are encoded again, not a raster of them."
        lines += ["", f"This encoder reads strokes: {again}"]
    if "ink" in report:
        lines += [
            "",
            "Ink at 48 x 48 (fine: 2 pixels of 192 x 192), order of hand, strokes and points per drawing:",
            "",
        ]
        lines += ink_table(report["ink"])
    for key, title in RET_TITLES.items():
        if key in report:
            lines += ["", f"Ret, {title}, of {report['drawings']}:", ""]
            lines += ["| temperature | " + " | ".join(f"top {k}" for k in RET_AT) + " |", "|---" * 4 + "|"]
            for temperature, scores in report[key].items():
                lines.append(f"| {temperature} | " + " | ".join(percent(scores[str(k)]) for k in RET_AT) + " |")
    return "\n".join(lines) + "\n"


def write_report(directory: Path, report: dict) -> None:
    """``report.json`` and ``report.md``."""
    write_file(directory / "report.json", (json.dumps(report, indent=1) + "\n").encode())
    write_file(directory / "report.md", report_text(report).encode())


# ---------------------------------------------------------------------------------------------------------
# The script


def asked_hparams(args: argparse.Namespace, model: Model):
    """The model's hyper-parameters on the data asked for. Raises ValueError for a change of anything else."""
    if not model.hps.conditional:
        raise ValueError(f"{args.model_dir} is unconditional: it reads no bitmaps that it could be scored on")
    hps = model.hps.parse(args.hparams)
    changed = {name for name, value in hps.values().items() if value != model.hps.values()[name]}
    if changed - {"data_set", "max_seq_len", "batch_size", "bitmaps", "valid_drawings"}:
        names = "data_set, max_seq_len, batch_size, bitmaps and valid_drawings"
        raise ValueError(f"--hparams {args.hparams}: only {names} can differ here")
    return hps


def evaluate(args: argparse.Namespace) -> dict:
    """Score as the command line says, writing the files -> the report."""
    directory = Path(args.evaluation_dir)
    model, step = load_model(args.model_dir)
    train, valid, test, hps = load_dataset(args.data_dir, asked_hparams(args, model), rasterize=rasterize_all)
    scored = {"train": train, "valid": valid, "test": test}[args.split]
    names = [category_name(data_set) for data_set in hps.data_set]
    report = {"model_dir": str(args.model_dir), "step": step, "split": args.split, "drawings": len(scored)}
    report |= {"guide": args.guide, "pen_temperature": args.pen_temperature}
    report |= {"categories": names, "code": "code with noise" if args.noise else "code without noise"}
    report |= {"encoded": "strokes" if model.reads_strokes else "bitmaps", "skipped": train.skipped}
    directory.mkdir(parents=True, exist_ok=True)
    if "loss" in args.scores:
        report |= score_loss(model, scored, args.noise, args.seed)
    if {"rec", "ret", "ink", "reconstructions"} & set(args.scores):
        entries, bitmaps = score_drawings(args, model, train, valid, scored, hps)
        report |= entries
    write_report(directory, report)
    if "reconstructions" in args.scores:
        chosen = np.random.default_rng(seed_for(args.seed, "choose")).permutation(len(scored))[:MAX_RECONSTRUCTIONS]
        write_reconstructions(directory / "reconstructions.png", scored.images[chosen], bitmaps[chosen])
    if "latent" in args.scores and len(scored) < 4:
        print(f"no latent.png: t-SNE of {len(scored)} drawings shows nothing")
    elif "latent" in args.scores:
        codes = encode_loader(model, scored, np.arange(len(scored)), False, args.seed)
        plot_latent(directory / "latent.png", codes, scored.labels, names, args.seed)
    return report


def positive_number(text: str) -> float:
    """A number above 0. Raises argparse's own error."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return number


def parse_args(argv) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", default="datasets", help="holds npz/ and bitmap/, and gets classifier/")
    parser.add_argument("--model_dir", default="outputs/snapshot", help="a snapshot directory, ours or the original's")
    parser.add_argument("--evaluation_dir", default="outputs/evaluation", help="where the report goes")
    parser.add_argument("--hparams", default="", help='data to score on, if not the snapshot\'s: "data_set=[a,b]"')
    parser.add_argument("--split", default="test", choices=SPLITS, help="which drawings")
    parser.add_argument(
        "--temperatures", type=positive_number, nargs="+", default=[0.01, 0.24], help="to draw at, above 0"
    )
    parser.add_argument("--scores", nargs="+", default=SCORES, choices=SCORES, help="which to compute")
    parser.add_argument("--seed", type=int, default=0, help="of the drawings and the intervals")
    parser.add_argument(
        "--guide", type=int, default=1, metavar="K", help="candidates for each stroke; 1: plain sampling"
    )
    parser.add_argument("--pen_temperature", type=positive_number, help="of the pen state (default: the temperature)")
    parser.add_argument("--images", nargs="+", metavar="PATH", help="score on the ink of pictures instead of on data")
    add_switch(parser, "tracer", "score a tracer's lines, too: pip install sknw")
    add_switch(parser, "noise", "encode with noise, as the original does; without, the mean is the code")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Score as the command line says -> exit code."""
    args = parse_args(argv)
    if args.guide < 1:
        raise ValueError(f"--guide {args.guide}: expected 1 or more")
    print(describe_device())
    print(report_text(evaluate_pictures(args) if args.images else evaluate(args)))
    print(f"written to {args.evaluation_dir}")
    return 0


if __name__ == "__main__":
    run_script(main)
