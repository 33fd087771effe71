"""Score a trained model on test drawings as the field does.

    python sketch_pix2seq_evaluate.py --model_dir outputs/snapshot --evaluation_dir outputs/evaluation

``report.md`` and ``report.json`` get
    loss   the test loss, padding masked, and per real point; and what it is when each drawing gets another's code,
           which says how much the decoder makes of its code
    rec    Rec: a classifier trained on the training bitmaps names the model's drawings (``rec_real``: real ones)
    ret    Ret: a drawing of the model, rasterised and encoded again: is its own original the nearest of all (or
           among the nearest 10, 50); and the other way round: of all drawings, is it the nearest to its original
    probe  what the codes know: how often a linear classifier on them names the category (and one on the bitmaps)
    ink    how near the drawing's ink comes to the person's, and the order of the hand (ink_scores.py)
with 95 % bootstrap intervals, at each temperature. ``latent.png`` shows the codes (``latent.npz``) by t-SNE,
``neighbours.png`` drawings beside those with the nearest codes, and ``reconstructions.png`` originals above the model's
drawings. Drawn plainly, or with ``--guide K`` as for ``--image``.
"""

from quiet_tensorflow import describe_device, tf

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np

from bitmaps import bitmap_scales, rasterize_augmented
from classifier import (
    RECIPE,
    SHIPPED,
    find_classifier,
    hash_data,
    hash_recipe,
    is_correct,
    load_classifier,
    save_classifier,
    train_classifier,
)
from hparams import HParams
from ink_scores import SIDES, score_ink, score_ink_of_bitmaps
from model import Model, get_default_hparams, load_model, pad_strokes, point_losses
from render_svg2bitmap import grid, load_image, png_bytes, rasterize_all
from sampler import content_keys, draw_codes, encode_images, encode_loader, encode_strokes, make_sampler
from script import add_switch, command_line, describe_machine, make_parser, run_script
from seeds import seed_for
from tracer import trace
from utils import SPLITS, DataLoader, category_name, load_dataset, write_file

SCORES = ("loss", "rec", "ret", "ink", "probe", "latent", "neighbours", "reconstructions")
RET_AT = (1, 10, 50)
RET_TITLES = {
    "ret_generated_to_original": "generated -> original",
    "ret_original_to_generated": "original -> generated",
}
MIN_CLASSIFIER_ACCURACY = 0.85  # a classifier that does not know real drawings cannot judge others
MAX_JUDGED = 100_000  # drawings that the classifier learns from, and real ones that it is tried on
CLASSIFIER_SIDE = 48  # pixels of its bitmaps at most, so that it is soon trained
MIN_PROBED = 40  # drawings
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


def score_loss(model: Model, loader: DataLoader, noise: bool, seed: int, bare_z: bool = False) -> dict:
    """Test loss: sum of (L_s + L_p) (1 - p3) over N * max_seq_len, over the real points, and with others' codes."""
    everything = np.arange(len(loader))
    codes = encode_loader(model, loader, everything, noise, seed)
    others = np.empty_like(everything)  # one cycle through all: nobody keeps a code
    order = np.random.default_rng(seed_for(seed, "choose")).permutation(everything)
    others[order] = np.roll(order, 1)
    losses, points = {"own": 0.0, "others": 0.0}, 0
    for i in range(loader.num_batches):
        batch = loader.get_batch(i)
        strokes = pad_strokes(batch.points, batch.lengths, batch.lengths.max())  # [N, T + 1, 5]
        real = 1.0 - tf.reshape(strokes[:, 1:, 4], [-1])
        for whose, indices in (("own", batch.indices), ("others", others[batch.indices])):
            code = tf.constant(codes[indices], tf.float32)
            if model.reads_pixels and not bare_z:
                code = model.make_code(code, loader.images[indices])
            params, _ = model.decode(strokes[:, :-1], code)
            stroke_loss, pen_loss = point_losses(params, strokes[:, 1:])
            losses[whose] += float(tf.reduce_sum((stroke_loss + pen_loss) * real))
        points += len(batch.points)
    return {
        "loss": losses["own"] / (len(loader) * loader.max_seq_len),
        "loss_per_point": losses["own"] / points,
        "loss_per_point_shuffled_codes": losses["others"] / points,
    }


def score_probe(model: Model, loader: DataLoader, seed: int) -> dict:
    """How often a linear classifier names the category of drawings it did not learn from, given codes or bitmaps.

    It learns from every other drawing; nothing to report if there are too few, or of one category alone.
    """
    from sklearn.linear_model import RidgeClassifierCV  # slow to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    learned = np.arange(len(loader)) % 2 == 0
    if len(np.unique(loader.labels[learned])) < 2 or len(learned) < MIN_PROBED:
        return {}
    codes = encode_loader(model, loader, np.arange(len(loader)), False, seed)
    report = {}
    for key, rows in (("probe", codes), ("probe_bitmaps", loader.images[:].reshape(len(loader), -1))):
        probe = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(0, 5, 11)))
        probe.fit(rows[learned], loader.labels[learned])
        report[key] = bootstrap(probe.predict(rows[~learned]) == loader.labels[~learned], seed)
    return report


class Judge:
    """A classifier that names drawings by their category, and sees them as the data's own bitmaps are.

    These have 48 x 48 pixels at most, whatever the model's size, so that the judge is soon trained and one for all.
    """

    def __init__(self, args: argparse.Namespace, hps: HParams, data: str):
        side = {name: min(getattr(hps, name), CLASSIFIER_SIDE) for name in ("img_H", "img_W")}
        same = {name: getattr(hps, name) for name in ("data_set", "max_seq_len", "valid_drawings")}
        self.hps = get_default_hparams().replace(bitmaps="on_demand", **side, **same)
        *loaders, _ = load_dataset(args.data_dir, self.hps, rasterize=rasterize_all)
        self.loaders = dict(zip(SPLITS, loaders, strict=True))
        self.names = np.array([category_name(name) for name in hps.data_set])
        self.scales = bitmap_scales(self.loaders["train"], self.hps)
        if hps.drawing_extent:  # drawings of one longer side, while those of the data have each its own
            self.scales = self.scales * self._mean_extents() / hps.drawing_extent
        self.classifier, self.about = self._find(args, data)

    def _mean_extents(self) -> np.ndarray:
        """The mean longer side of the training drawings of each category, normalised."""
        train = self.loaders["train"]
        members = (np.flatnonzero(train.labels == label)[:1000] for label in range(len(self.names)))
        return np.array([train.gather(indices).max_extent().mean() for indices in members])

    def _find(self, args: argparse.Namespace, data: str) -> tuple[tf.keras.Model, dict]:
        """The classifier asked for; or one of this very data that ships, or was trained before; or else a new one."""
        names, side = self.names.tolist(), (self.hps.img_H, self.hps.img_W)
        if args.classifier:
            return load_classifier(args.classifier, names, side)
        key = hashlib.sha256(f"{hash_recipe()} {data} {side}".encode()).hexdigest()[:16]
        own = Path(args.data_dir, "classifier", key)
        found = find_classifier([SHIPPED, own], names, side, data)
        if found:
            return found
        bitmaps = {split: self.bitmaps_of(split) for split in ("train", "valid")}
        classifier = train_classifier(*bitmaps.values(), len(names))
        about = {"recipe": RECIPE, "recipe_hash": hash_recipe(), "data": data, "categories": names, "side": list(side)}
        images, labels = bitmaps["valid"]
        about["valid_accuracy"] = float(is_correct(classifier, about, images, self.names[labels]).mean())
        save_classifier(own, classifier, about)
        return classifier, about

    def bitmaps_of(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """(bitmaps, labels) of a split's drawings, or of ``MAX_JUDGED`` of them, always the same."""
        loader = self.loaders[split]
        chosen = np.arange(len(loader))
        if len(loader) > MAX_JUDGED:
            rng = np.random.default_rng(seed_for(0, "subset", len(SPLITS)))
            chosen = np.sort(rng.choice(len(loader), MAX_JUDGED, replace=False))
        return loader.images[chosen], loader.labels[chosen]

    def names_real(self, split: str) -> np.ndarray:
        """Whether it names each of a split's drawings rightly."""
        images, labels = self.bitmaps_of(split)
        return is_correct(self.classifier, self.about, images, self.names[labels])

    def names_drawings(self, drawings: list[np.ndarray], labels: np.ndarray) -> np.ndarray:
        """Whether it names each of the model's drawings as its label says."""
        images = rasterize_augmented(rasterize_all, self.hps, self.scales, drawings, labels)
        return is_correct(self.classifier, self.about, images, self.names[labels])


def ranks(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """For each row i of queries ``[N, Z]``: how many rows of gallery are nearer to it than row i -> ``[N]``."""
    squared = np.square(queries).sum(1)[:, None] + np.square(gallery).sum(1)[None] - 2.0 * queries @ gallery.T
    own = squared[np.arange(len(queries)), np.arange(len(queries))]
    # an equal distance counts as nearer: a model whose codes are all the same must not score
    return (squared <= own[:, None]).sum(axis=1) - 1


def score_drawings(args, model: Model, train: DataLoader, test: DataLoader, hps) -> tuple[dict, np.ndarray]:
    """Rec and Ret, as far as asked for, at each temperature -> (report entries, bitmaps at the first temperature)."""
    report, first, everything = {}, None, np.arange(len(test))
    codes = encode_loader(model, test, everything, args.noise, args.seed)
    originals = encode_loader(model, test, everything, False, args.seed)
    rescale = bitmap_scales(train, hps)
    if "rec" in args.scores:
        judge = Judge(args, hps, hash_data(args.data_dir, hps))
        real = bootstrap(judge.names_real(args.split), args.seed)
        report |= {"rec": {}, "rec_real": real, "rec_counts": real["value"] >= MIN_CLASSIFIER_ACCURACY}
        report["classifier"] = {key: judge.about[key] for key in ("recipe_hash", "data", "valid_accuracy")}
    if "ret" in args.scores:
        report |= {key: {} for key in RET_TITLES}
    if "ink" in args.scores:
        persons = [test.strokes(index) for index in everything]
        report["ink"] = {"the person": summarise_ink(score_ink(persons, persons), args.seed)}
        if args.tracer:
            report["ink"]["a tracer"] = summarise_ink(score_ink(persons, list(map(trace, test.images))), args.seed)
    for temperature in args.temperatures:
        seeds = [seed_for(args.seed, "sample", index, 0, round(1e6 * temperature)) for index in everything]
        images = None if model.reads_strokes or args.bare_z else test.images
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
            report["rec"][str(temperature)] = bootstrap(judge.names_drawings(drawings, test.labels), args.seed)
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
    report = {"command": args.command, "model_dir": args.model_dir, "step": sampler.step, "pictures": len(files)}
    report |= {
        "data": hash_files(files),
        "machine": describe_machine(),
        "seed": args.seed,
        "ink": {},
        "guide": args.guide,
        "pen_temperature": args.pen_temperature,
    }
    if args.tracer:
        report["ink"]["a tracer"] = summarise_ink(score_ink_of_bitmaps(given, list(map(trace, images))), args.seed)
    for k, temperature in enumerate(args.temperatures):
        scores = score_ink_of_bitmaps(given, [variations[k] for variations in drawings])
        report["ink"][f"temperature {temperature}"] = summarise_ink(scores, args.seed)
    write_report(Path(args.evaluation_dir), report)
    return report


# ---------------------------------------------------------------------------------------------------------
# Pictures and report


def plot_latent(path: Path, codes: dict[str, np.ndarray], labels: np.ndarray, names: list[str], seed: int) -> None:
    """Codes ``[N, Z]`` of one or several models, by title, in two dimensions by t-SNE, coloured by category."""
    from matplotlib.figure import Figure  # both are slow to import, and seldom needed
    from sklearn.manifold import TSNE

    figure = Figure(figsize=(2 + 7 * len(codes), 7), layout="constrained")
    for axes, (title, rows) in zip(figure.subplots(1, len(codes), squeeze=False)[0], codes.items(), strict=True):
        perplexity = min(30.0, (len(rows) - 1) / 3.0)
        positions = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(rows)
        for k, name in enumerate(names):
            chosen = positions[labels == k]
            marker = "o" if k < 10 else "^"
            axes.scatter(chosen[:, 0], chosen[:, 1], s=12, color=f"C{k % 10}", marker=marker, label=name)
        axes.set(xticks=[], yticks=[], title=title or "latent codes of test drawings, t-SNE")
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


def write_neighbours(path: Path, images: np.ndarray, codes: np.ndarray, seed: int, rows=16, columns=10) -> None:
    """Bitmaps uint8 ``[N, H, W]`` of some drawings, each followed by those with the nearest codes ``[N, Z]``."""
    chosen = np.random.default_rng(seed_for(seed, "choose")).permutation(len(codes))[:rows]
    squared = np.square(codes).sum(axis=1)[None] - 2.0 * codes[chosen] @ codes.T  # and a constant for each row
    squared[np.arange(len(chosen)), chosen] = -np.inf  # each is its own nearest, whatever is equal to it
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :columns]
    title = "nearest neighbours in the latent space"
    size = images.shape[2], images.shape[1]
    write_file(path, png_bytes(grid([*images[nearest.ravel()]], nearest.shape[1], title=title, size=size)))


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
        lines += [f"With another drawing's code: {report['loss_per_point_shuffled_codes']:.4f} per real point."]
    if "probe" in report:
        names = f"{percent(report['probe'])} of the codes, {percent(report['probe_bitmaps'])} of the bitmaps"
        lines += ["", f"A linear classifier names {names} by their category."]
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


def hash_files(paths: list[Path]) -> str:
    """16 hexadecimal digits that change with the content of any of some files, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()[:16]


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
    report = {"command": args.command, "model_dir": str(args.model_dir), "step": step, "split": args.split}
    report |= {
        "drawings": len(scored),
        "guide": args.guide,
        "pen_temperature": args.pen_temperature,
        "bare_z": args.bare_z,
    }
    report |= {"categories": names, "data": hash_data(args.data_dir, hps), "machine": describe_machine()}
    report |= {"code": "code with noise" if args.noise else "code without noise", "seed": args.seed}
    report |= {"encoded": "strokes" if model.reads_strokes else "bitmaps", "skipped": train.skipped}
    directory.mkdir(parents=True, exist_ok=True)
    if "loss" in args.scores:
        report |= score_loss(model, scored, args.noise, args.seed, args.bare_z)
    if "probe" in args.scores:
        report |= score_probe(model, scored, args.seed)
    if {"rec", "ret", "ink", "reconstructions"} & set(args.scores):
        entries, bitmaps = score_drawings(args, model, train, scored, hps)
        report |= entries
    write_report(directory, report)
    if "reconstructions" in args.scores:
        chosen = np.random.default_rng(seed_for(args.seed, "choose")).permutation(len(scored))[:MAX_RECONSTRUCTIONS]
        write_reconstructions(directory / "reconstructions.png", scored.images[chosen], bitmaps[chosen])
    if {"latent", "neighbours"} & set(args.scores):
        show_latent(args, directory, model, scored, names)
    return report


def show_latent(args, directory: Path, model: Model, scored: DataLoader, names: list[str]) -> None:
    """``latent.npz`` and ``latent.png``, ``neighbours.png``, as far as asked for."""
    codes = encode_loader(model, scored, np.arange(len(scored)), False, args.seed)
    if len(scored) < 4:
        print(f"no latent.png, no neighbours.png: {len(scored)} drawings show nothing")
        return
    if "neighbours" in args.scores:
        write_neighbours(directory / "neighbours.png", scored.images, codes, args.seed)
    if "latent" in args.scores:
        np.savez_compressed(directory / "latent.npz", codes=codes, labels=scored.labels, names=names)
        plot_latent(directory / "latent.png", {"": codes}, scored.labels, names, args.seed)


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
    parser.add_argument("--classifier", metavar="DIR", help="the judge of Rec (default: of this very data; see above)")
    add_switch(parser, "bare_z", "draw from z alone, without the features of a model that sees its bitmap")
    add_switch(parser, "tracer", "score a tracer's lines, too: pip install sknw")
    add_switch(parser, "noise", "encode with noise, as the original does; without, the mean is the code")
    args = parser.parse_args(argv)
    args.command = command_line("sketch_pix2seq_evaluate.py", argv, ("--data_dir", "--evaluation_dir"))
    return args


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
