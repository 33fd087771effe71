"""Train several models on the same data, score them, and draw their losses into one figure.

    python sketch_pix2seq_experiment.py --seeds 1 2 3          # the paper's four: {CNN, RNN} encoder x {no KL, KL}
    python sketch_pix2seq_experiment.py --set figure           # the seed text's figure: two of them, 60,000 iterations
    python sketch_pix2seq_experiment.py --set why              # what makes the CNN's code say little
    python sketch_pix2seq_experiment.py --set recipe           # from the paper's model to the preset, change by change

Each model is trained by ``sketch_pix2seq_train.py`` in ``<experiment_dir>/<name>_seed<seed>``, and its best weights by
validation are scored by ``sketch_pix2seq_evaluate.py``. A second call goes on where the first one stopped, also with
more ``--steps``: sets share the runs of one name and seed. In ``--results_dir``: ``<name>_seed<seed>_<steps>.json`` for
each model, what sketch_pix2seq_results.py makes tables of; ``<set>_losses.png``, the reconstruction loss against steps;
``<set>_latent.png``, the codes of the first seed's models by t-SNE.
"""

import quiet_tensorflow  # noqa: F401  (what is imported below loads TensorFlow)

import argparse
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hparams import HParams
from model import get_default_hparams
from run_log import read_metrics
from script import make_parser, run_python, run_script
from sketch_pix2seq_evaluate import plot_latent
from snapshots import list_snapshots, load_hparams, snapshot_step
from utils import SPLITS, category_name, write_file

SMALL = "dec_model=layer_norm,dec_rnn_size=256,keep_snapshots=1"
SMOOTHING = 0.98  # of the training loss in the figure: the weight of what came before, per row of 20 steps


class Run(NamedTuple):
    """One model: its label in tables and figures, and its hyper-parameters on top of ``SMALL``."""

    label: str
    hparams: str


class Set(NamedTuple):
    """Models that are compared after so many steps."""

    steps: int
    runs: dict[str, Run]


FOUR = {
    name: Run(label, f"save_every=500,{hparams}")
    for name, label, hparams in (
        ("cnn", "CNN, no KL (sketch-pix2seq)", "enc_model=cnn"),
        ("cnn_kl", "CNN, KL", "enc_model=cnn,kl_weight=0.5"),
        ("rnn", "RNN, no KL", "enc_model=lstm"),
        ("rnn_kl", "RNN, KL (sketch-rnn)", "enc_model=lstm,kl_weight=0.5"),
    )
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
    name: Run(run.label, ",".join(["save_every=250", *[change.hparams for change in list(CHANGES.values())[: i + 1]]]))
    for i, (name, run) in enumerate(CHANGES.items())
}
WHY = {  # the CNN's code says little: one thing changed of ``cnn`` at a time
    name: Run(label, f"save_every=500,enc_model=cnn,{hparams}")
    for name, label, hparams in (
        ("cnn_slow", "a third of the learning rate", "learning_rate=0.0003"),
        ("cnn_fast", "three times the learning rate", "learning_rate=0.003"),
        ("cnn_quiet", "hardly any noise on z at first", "presig_bias=-6"),
    )
}
SETS = {
    "paper": Set(6_000, FOUR),
    "figure": Set(60_000, {name: FOUR[name] for name in ("cnn", "rnn_kl")}),
    "why": Set(6_000, WHY),
    "recipe": Set(1_500, RECIPE),
}


# ---------------------------------------------------------------------------------------------------------
# Running


def steps_done(directory: Path) -> int:
    """How many steps the run in a directory took, as its ``metrics.csv`` tells."""
    return max((int(row["step"]) + 1 for row in read_metrics(directory / "log" / "metrics.csv")), default=0)


def train_model(directory: Path, data_dir: str, hparams: str) -> None:
    """Train, or go on training, in ``directory``; a finished run only makes sure that it is finished."""
    arguments = ["--data_dir", data_dir, "--log_root", directory / "log", "--snapshot_root", directory / "snapshot"]
    begun = (directory / "snapshot" / "latest" / "checkpoint").is_file()
    expected = get_default_hparams().parse(hparams)
    if begun:
        check_same(directory, load_hparams(directory / "snapshot"), expected)
    how = "--resume_training" if begun else "--overwrite"
    run_python("sketch_pix2seq_train.py", *arguments, "--hparams", hparams, how)
    if steps_done(directory) < expected.num_steps:
        raise ValueError(f"the training in {directory} was stopped before its end; the same command goes on with it")


def check_same(directory: Path, actual: HParams, expected: HParams) -> None:
    """Raises ValueError if the run in ``directory`` is another one than that expected; it may have been shorter."""
    actual, expected = actual.values(), expected.values()
    fixed = expected.keys() - {"num_steps", "max_seq_len"}  # the latter is replaced by the data's longest
    other = [f"{name}={actual[name]}, not {expected[name]}" for name in sorted(fixed) if actual[name] != expected[name]]
    if other:
        raise ValueError(f"{directory} holds a run with {'; '.join(other)}; give another --experiment_dir")


def keep_weights(directory: Path, steps: int) -> Path:
    """The best weights so far, set aside as those after ``steps`` -> their directory.

    Raises ValueError if the run is longer already: its best weights may be of later steps.
    """
    weights = directory / f"best_of_{steps}"
    if not weights.is_dir():
        if steps_done(directory) > steps:
            raise ValueError(
                f"{directory} took {steps_done(directory)} steps already; give --steps of as many, or more"
            )
        whole = weights.with_suffix(".part")
        shutil.rmtree(whole, ignore_errors=True)
        shutil.copytree(directory / "snapshot", whole, ignore=shutil.ignore_patterns("latest"))
        whole.rename(weights)
    return weights


def score_model(weights: Path, data_dir: str, split: str) -> dict:
    """The report on weights, made by ``sketch_pix2seq_evaluate.py`` unless it is there for this data."""
    path = weights.parent / "evaluation" / f"{weights.name}_{split}" / "report.json"
    best = max(snapshot_step(path) for path in list_snapshots(weights))
    names = [category_name(data_set) for data_set in load_hparams(weights).data_set]
    report = json.loads(path.read_text()) if path.is_file() else {}
    if (report.get("step"), report.get("categories")) != (best, names):
        arguments = ["--data_dir", data_dir, "--model_dir", weights, "--split", split]
        run_python("sketch_pix2seq_evaluate.py", *arguments, "--evaluation_dir", path.parent)
    return json.loads(path.read_text())


def run_model(args: argparse.Namespace, name: str, seed: int) -> dict:
    """Train and score one model -> its result, as written to ``--results_dir``."""
    chosen = SETS[args.set]
    run, steps = chosen.runs[name], args.steps or chosen.steps
    directory = Path(args.experiment_dir, f"{name}_seed{seed}")
    print(f"{name}, seed {seed}: {run.label}, {steps:,} steps", flush=True)
    hparams = ",".join(filter(None, [SMALL, run.hparams, f"num_steps={steps},seed={seed}", args.hparams]))
    if not (directory / f"best_of_{steps}").is_dir():
        train_model(directory, args.data_dir, hparams)
    weights = keep_weights(directory, steps)
    rows = [row for row in read_metrics(directory / "log" / "metrics.csv") if int(row["step"]) < steps]
    minutes = sum(float(row["seconds"]) for row in rows if row["split"] == "train") / 60
    report = score_model(weights, args.data_dir, args.split)
    result = {key: value for key, value in report.items() if key not in ("command", "model_dir")}  # of this machine
    result |= {"command": command_of(args, [name], [seed]), "label": run.label, "training_seed": seed}
    result |= {"steps": steps, "minutes": round(minutes, 1), "curve": loss_curve(rows)}
    write_file(result_path(args, name, seed), (json.dumps(result, indent=1) + "\n").encode())
    return result


def result_path(args: argparse.Namespace, name: str, seed: int) -> Path:
    """Where the result of a run goes."""
    steps = args.steps or SETS[args.set].steps
    return Path(args.results_dir or args.experiment_dir, f"{args.set}_{name}_seed{seed}_{steps}.json")


def command_of(args: argparse.Namespace, names: list[str], seeds: list[int]) -> str:
    """The command that makes these runs, without the directories of this machine."""
    command = ["python", "sketch_pix2seq_experiment.py", "--set", args.set, "--only", *names]
    command += ["--seeds", *map(str, seeds)] + (["--steps", str(args.steps)] if args.steps else [])
    command += (["--hparams", args.hparams] if args.hparams else []) + ["--split", args.split]
    return shlex.join(command)


# ---------------------------------------------------------------------------------------------------------
# Figures


def smooth(values: list[float]) -> list[float]:
    """An exponential mean that begins at the first value, as TensorBoard's."""
    smoothed, mean, weight = [], 0.0, 0.0
    for value in values:
        weight = SMOOTHING * weight + 1.0
        mean += (value - mean) / weight
        smoothed.append(mean)
    return smoothed


def loss_curve(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Of a run's metrics, the reconstruction loss by split and step: in validation, and in training, smoothed."""
    steps, losses = {}, {}
    for split in ("train", "valid"):
        chosen = [row for row in rows if row["split"] == split]
        steps[split], losses[split] = [int(row["step"]) for row in chosen], [float(row["recon"]) for row in chosen]
    smoothed = smooth(losses["train"])
    last = np.searchsorted(steps["train"], steps["valid"], side="right") - 1  # row of training at each validation
    train = {str(step): round(smoothed[k], 4) for step, k in zip(steps["valid"], last, strict=True) if k >= 0}
    valid = {str(step): round(loss, 4) for step, loss in zip(steps["valid"], losses["valid"], strict=True)}
    return {"train": train, "valid": valid}


def plot_losses(path: Path, curves: dict[str, dict]) -> None:
    """``loss_curve`` of each label against steps: training thin, validation with its points."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    lowest, highest = [], []
    for k, (label, curve) in enumerate(curves.items()):
        (steps, train), (valid_steps, valid) = (([*map(int, of)], [*of.values()]) for of in curve.values())
        axes.plot(steps, train, color=f"C{k}", lw=0.8, alpha=0.7)
        axes.plot(valid_steps, valid, color=f"C{k}", marker=".", ms=3, label=label)
        lowest.append(min(train + valid))
        highest += train[len(train) // 20 :][:1]  # what the first twentieth falls by would fill the figure
    if highest:
        axes.set_ylim(min(lowest) - 0.02, max(highest) + 0.02)
    axes.set(xlabel="step", ylabel="reconstruction loss", title="validation (points) and smoothed training (thin)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def show_latent(path: Path, directories: dict[str, Path], split: str) -> None:
    """The latent codes of several models of the same data side by side."""
    codes = {}
    for label, weights in directories.items():
        with np.load(weights.parent / "evaluation" / f"{weights.name}_{split}" / "latent.npz") as stored:
            codes[label], labels, names = stored["codes"], stored["labels"], [str(name) for name in stored["names"]]
    plot_latent(path, codes, labels, names, 0)


def experiment(args: argparse.Namespace) -> list[str]:
    """Train and score every model of the set with every seed, writing the files -> a line of each."""
    chosen, out = SETS[args.set], Path(args.results_dir or args.experiment_dir)
    names = args.only or list(chosen.runs)
    if set(names) - set(chosen.runs):
        raise ValueError(f"--only {' '.join(args.only)}: the set {args.set} has {', '.join(chosen.runs)}")
    out.mkdir(parents=True, exist_ok=True)
    lines, curves, steps = [], {}, args.steps or chosen.steps
    for seed in args.seeds:  # all models with one seed first: what can be compared early
        for name in names:
            report = run_model(args, name, seed)
            curves.setdefault(chosen.runs[name].label, report["curve"])  # the figure is of the first seed
            at = list(report["rec"])[-1]
            lines.append(
                f"{name}, seed {seed}: loss per point {report['loss_per_point']:.4f}, Rec "
                f"{report['rec'][at]['value']:.3f} at temperature {at}"
            )
    plot_losses(out / f"{args.set}_losses.png", curves)
    runs = {chosen.runs[name].label: Path(args.experiment_dir, f"{name}_seed{args.seeds[0]}") for name in names}
    weights = {label: directory / f"best_of_{steps}" for label, directory in runs.items()}
    show_latent(out / f"{args.set}_latent.png", weights, args.split)
    return lines


# ---------------------------------------------------------------------------------------------------------
# The script


def parse_args(argv) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", default="datasets", help="holds npz/ and bitmap/")
    parser.add_argument("--experiment_dir", default="outputs/experiment", help="where runs go")
    parser.add_argument("--results_dir", help="where results go, if not to --experiment_dir")
    parser.add_argument("--set", default="paper", choices=SETS, help="which models")
    parser.add_argument("--only", nargs="+", default=[], help="names of the set's models, if not all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], help="each model is trained once with each")
    parser.add_argument("--steps", type=int, help="of each run, if not the set's")
    parser.add_argument("--hparams", default="", help='changes for all models: "key=value,list=[a,b]"')
    parser.add_argument("--split", default="test", choices=SPLITS, help="which drawings to score on")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Compare as the command line says -> exit code."""
    args = parse_args(argv)
    try:
        print("\n".join(experiment(args)))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on", file=sys.stderr)
        return 130
    print(f"written to {args.results_dir or args.experiment_dir}")
    return 0


if __name__ == "__main__":
    run_script(main)
