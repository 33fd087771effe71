"""Train several models on the same data, score them, and draw their losses into one figure.

    python sketch_pix2seq_experiment.py                        # the paper's four: {CNN, RNN} encoder x {no KL, KL}
    python sketch_pix2seq_experiment.py --set recipe           # from the faithful model to the preset, change by change

Each model is trained by ``sketch_pix2seq_train.py`` in ``<experiment_dir>/<name>`` and scored by
``sketch_pix2seq_evaluate.py``. A second call goes on where the first one stopped. ``results.md`` has one row per model,
``loss-r.png`` the reconstruction loss against steps, ``report_<name>.md`` each report.
"""

import quiet_tensorflow  # noqa: F401  (what is imported below loads TensorFlow)

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import NamedTuple

from hparams import HParams
from model import get_default_hparams
from script import make_parser, run_python, run_script
from sketch_pix2seq_evaluate import RET_AT, RET_TITLES, percent
from snapshots import list_snapshots, load_hparams, snapshot_step
from utils import SPLITS, category_name, write_file

SMALL = "dec_model=layer_norm,dec_rnn_size=256,num_steps=1500,save_every=250,keep_snapshots=1"
WITH_KL = "kl_weight=0.5,kl_decay_rate=0.998"  # annealed within the 1,500 steps; sketch-rnn's 0.99995 takes 60,000


class Run(NamedTuple):
    """One model: its label in tables and figures, and its hyper-parameters on top of ``SMALL``."""

    label: str
    hparams: str


PAPER = {
    "cnn": Run("CNN, no KL (sketch-pix2seq)", "enc_model=cnn"),
    "cnn_kl": Run("CNN, KL", f"enc_model=cnn,{WITH_KL}"),
    "rnn": Run("RNN, no KL", "enc_model=lstm"),
    "rnn_kl": Run("RNN, KL (sketch-rnn)", f"enc_model=lstm,{WITH_KL}"),
}
CHANGES = {  # of the recipe, each on top of those above it
    "faithful": Run("as the original", "enc_model=cnn"),
    "rate": Run(
        "+ learning rate falls within the run", "learning_rate=0.002,decay_rate=0.998,min_learning_rate=0.0001"
    ),
    "lstm": Run("+ lstm, no dropout", "dec_model=lstm,use_recurrent_dropout=False"),
    "deep": Run("+ deep encoder, little noise on z", "enc_model=deep_cnn,enc_filters=[16,32,64,128],presig_bias=-6"),
    "position": Run("+ the decoder sees its pen's position", "use_position=True"),
    "glimpse": Run("+ and features that z gives of that position", "position_features=32"),
    "augment": Run("+ bitmaps of augmented strokes", "augment_bitmaps=True,random_rotation=8,mirror_prob=0.5"),
    "noise": Run("+ noise on the positions fed in training", "position_noise_std=0.1"),
}
RECIPE = {
    name: Run(run.label, ",".join(change.hparams for change in list(CHANGES.values())[: i + 1]))
    for i, (name, run) in enumerate(CHANGES.items())
}
SETS = {"paper": PAPER, "recipe": RECIPE}


# ---------------------------------------------------------------------------------------------------------
# Running


def read_losses(directory: Path) -> list[dict]:
    """The rows of a run's ``metrics.csv``, by column name; none if it did not begin yet."""
    path = directory / "log" / "metrics.csv"
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def train_model(directory: Path, data_dir: str, hparams: str) -> None:
    """Train, or go on training, in ``directory``; a finished run only makes sure that it is finished."""
    arguments = ["--data_dir", data_dir, "--log_root", directory / "log", "--snapshot_root", directory / "snapshot"]
    begun = (directory / "snapshot" / "latest" / "checkpoint").is_file()
    if begun:
        check_same(directory, load_hparams(directory / "snapshot"), get_default_hparams().parse(hparams))
    how = "--resume_training" if begun else "--overwrite"
    run_python("sketch_pix2seq_train.py", *arguments, "--hparams", hparams, how)
    steps = max((int(row["step"]) + 1 for row in read_losses(directory)), default=0)
    if steps < load_hparams(directory / "snapshot").num_steps:
        raise ValueError(f"the training in {directory} was stopped before its end; the same command goes on with it")


def check_same(directory: Path, actual: HParams, expected: HParams) -> None:
    """Raises ValueError if the run in ``directory`` is another one than that expected; it may have been shorter."""
    actual, expected = actual.values(), expected.values()
    fixed = expected.keys() - {"num_steps", "max_seq_len"}  # the latter is replaced by the data's longest
    other = [f"{name}={actual[name]}, not {expected[name]}" for name in sorted(fixed) if actual[name] != expected[name]]
    if other:
        raise ValueError(f"{directory} holds a run with {'; '.join(other)}; give another --experiment_dir")


def score_model(directory: Path, data_dir: str, split: str) -> dict:
    """The scores of a model's best weights, computed unless these are known -> its report; ``<split>.md``, too."""
    path, snapshot = directory / "evaluation" / f"{split}.json", directory / "snapshot"
    best = max(snapshot_step(path) for path in list_snapshots(snapshot) if path.parent == snapshot)
    names = [category_name(data_set) for data_set in load_hparams(snapshot).data_set]
    report = json.loads(path.read_text()) if path.is_file() else {}
    if (report.get("step"), report.get("categories")) != (best, names):
        arguments = ["--data_dir", data_dir, "--model_dir", snapshot, "--split", split]
        run_python("sketch_pix2seq_evaluate.py", *arguments, "--evaluation_dir", path.parent)
        for ending in (".md", ".json"):
            (path.parent / f"report{ending}").rename(path.with_suffix(ending))
    return json.loads(path.read_text())


# ---------------------------------------------------------------------------------------------------------
# Results


def results_text(runs: dict[str, Run], reports: dict[str, dict], losses: dict[str, list[dict]]) -> str:
    """``results.md``: one row per model, at the last of the report's temperatures; minutes are of training alone."""
    report = next(iter(reports.values()))
    temperature = list(report["rec"])[-1]
    lines = [
        f"{report['drawings']} {report['split']} drawings of {len(report['categories'])} categories, temperature "
        f"{temperature}; the classifier names {percent(report['rec_real'])} of the real ones.",
        "",
        "| model | steps | minutes | loss | loss per real point | Rec | "
        + " | ".join(f"Ret@{k}, {title}" for title in RET_TITLES.values() for k in RET_AT)
        + " |",
    ]
    lines.append("|---" * (6 + len(RET_TITLES) * len(RET_AT)) + "|")
    for name, run in runs.items():
        report = reports[name]
        steps = max(int(row["step"]) for row in losses[name]) + 1
        minutes = sum(float(row["seconds"]) for row in losses[name] if row["split"] == "train") / 60
        entries = [run.label, str(steps), f"{minutes:.1f}", f"{report['loss']:.4f}", f"{report['loss_per_point']:.4f}"]
        entries.append(percent(report["rec"][temperature]))
        entries += [percent(report[key][temperature][str(k)]) for key in RET_TITLES for k in RET_AT]
        lines.append("| " + " | ".join(entries) + " |")
    return "\n".join(lines) + "\n"


def plot_losses(path: Path, runs: dict[str, Run], losses: dict[str, list[dict]]) -> None:
    """Reconstruction loss against steps: training smoothed and thin, validation with its points."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for k, (name, run) in enumerate(runs.items()):
        rows = {split: [row for row in losses[name] if row["split"] == split] for split in ("train", "valid")}
        steps, values = ([float(row[key]) for row in rows["train"]] for key in ("step", "recon"))
        smooth = [sum(values[max(0, i - 9) : i + 1]) / len(values[max(0, i - 9) : i + 1]) for i in range(len(values))]
        axes.plot(steps, smooth, color=f"C{k}", lw=0.8, alpha=0.6)
        steps, values = ([float(row[key]) for row in rows["valid"]] for key in ("step", "recon"))
        axes.plot(steps, values, color=f"C{k}", marker=".", label=run.label)
    axes.set(xlabel="step", ylabel="reconstruction loss", title="validation (points) and smoothed training (thin)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def experiment(args) -> str:
    """Train and score every model of the set, writing the files -> ``results.md``."""
    directory = Path(args.experiment_dir)
    assets = Path(args.assets_dir or directory)
    assets.mkdir(parents=True, exist_ok=True)
    runs = {name: run for name, run in SETS[args.set].items() if not args.only or name in args.only}
    if not runs:
        raise ValueError(f"--only {' '.join(args.only)}: the set {args.set} has {', '.join(SETS[args.set])}")
    reports, losses = {}, {}
    for name, run in runs.items():
        print(f"{name}: {run.label}", flush=True)
        train_model(directory / name, args.data_dir, ",".join(filter(None, [SMALL, run.hparams, args.hparams])))
        reports[name] = score_model(directory / name, args.data_dir, args.split)
        losses[name] = read_losses(directory / name)
        write_file(assets / f"report_{name}.md", (directory / name / "evaluation" / f"{args.split}.md").read_bytes())
    plot_losses(assets / "loss-r.png", runs, losses)
    text = results_text(runs, reports, losses)
    write_file(assets / "results.md", text.encode())
    return text


# ---------------------------------------------------------------------------------------------------------
# The script


def parse_args(argv) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", default="datasets", help="holds npz/ and bitmap/")
    parser.add_argument("--experiment_dir", default="outputs/experiment", help="where runs and results go")
    parser.add_argument("--assets_dir", help="where results go, if not to --experiment_dir")
    parser.add_argument("--set", default="paper", choices=SETS, help="which models")
    parser.add_argument("--only", nargs="+", default=[], help="names of the set's models, if not all")
    parser.add_argument("--hparams", default="", help='changes for all models: "key=value,list=[a,b]"')
    parser.add_argument("--split", default="test", choices=SPLITS, help="which drawings to score on")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Compare as the command line says -> exit code."""
    args = parse_args(argv)
    try:
        print(experiment(args))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on", file=sys.stderr)
        return 130
    print(f"written to {args.assets_dir or args.experiment_dir}")
    return 0


if __name__ == "__main__":
    run_script(main)
