"""Measure how fast this machine loads, trains, samples and renders; prints a Markdown table, one column per cell.

    python sketch_pix2seq_benchmark.py                                     # all three cells on the doodles
    python sketch_pix2seq_benchmark.py --data_dir quickdraw --hparams "data_set=[cat.npz,pig.npz]" --cells hyper
    python sketch_pix2seq_benchmark.py --model_dir outputs/snapshot        # drawings/s of trained weights, too
    python sketch_pix2seq_benchmark.py --categories 1 2 4 6                # how cost grows with the data instead

Useful utilisation: the floating-point operations that the real points of a step need (``useful_flops``), over its time,
as a share of the best rate at which this machine multiplies matrices in the same run. A cell is measured in a process
of its own; it trains by ``sketch_pix2seq_train.py`` itself, whose first steps are not counted. Run nothing else beside.
"""

from quiet_tensorflow import describe_device, tf

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hparams import HParams
from model import CNN_STRIDES, Model, get_default_hparams, load_hparams, load_model, load_snapshot, sample_batch
from render_svg2bitmap import rasterize_all
from rnn import CELLS
from sampler import encode_images
from script import SCRIPTS, command_line, describe_machine, make_parser, run_python, run_script
from seeds import seed_for
from utils import DataLoader, load_dataset, write_file

LOG_EVERY = 20  # steps that the training script times together; the first so many compile, and are not counted
RENDERED = 5000  # drawings
MATRIX_SIZES = (1024, 2048, 4096)
SAMPLING_STEPS = 210  # the longest drawing of SPG-20
ROWS = {  # what is measured -> its title and format
    "drawings_trained": ("drawings/s trained", ",.0f"),
    "step_seconds": ("seconds per step", ".3f"),
    "points": ("real points per step", ",.0f"),
    "step_gflop": ("useful GFLOP per step", ".1f"),
    "matrix_gflops": ("best matrix product, GFLOP/s", ".0f"),
    "utilisation": ("**useful utilisation**", ".0%"),
    "peak_gb": ("peak memory of training, GB", ".2f"),
    "batch_ms": ("ms to assemble a batch", ".2f"),
    "points_sampled": ("points/s sampled, none ends", ",.0f"),
    "drawings_sampled": ("drawings/s sampled, none ends", ",.1f"),
    "trained_sampled": ("drawings/s sampled, trained weights", ",.1f"),
    "drawings_rendered": ("drawings/s rendered", ",.0f"),
    "load_seconds": ("seconds to load", ".2f"),
    "training_drawings": ("drawings to train on", ",.0f"),
    "start_seconds": ("seconds from the start to the first step", ".1f"),
    "steps_per_second": ("steps per second", ".2f"),
    "own_gb": ("memory of the process, GB", ".2f"),
    "mapped_gb": ("files that it has mapped, GB (page cache)", ".2f"),
}


# ---------------------------------------------------------------------------------------------------------
# Floating-point operations


def convolution_macs(model: Model) -> int:
    """Multiply-adds of a CNN encoder's trained convolutions for one bitmap; 0 for sketch-rnn's encoders."""
    height, width, total = model.hps.img_H, model.hps.img_W, 0
    filters = [weight for name, weight in model.weights.items() if name.endswith("/DW")]
    # A deep encoder's second convolution is as large as its first; after it, and each that follows, sides are halved.
    strides = CNN_STRIDES if model.hps.enc_model == "cnn" else [2, 1] + [2] * len(filters)
    for weight, stride in zip(filters, strides, strict=False):
        height, width = -(-height // stride), -(-width // stride)
        total += height * width * int(tf.size(weight))
    return total


def matrices(cell) -> dict[str, tf.Variable]:
    """The weights by which a cell multiplies at every step."""
    return {name: weight for name, weight in cell.weights.items() if weight.shape.rank == 2}


def count_macs(model: Model) -> tuple[int, int]:
    """Multiply-adds of all matrix products and convolutions, forward: (per point, per drawing).

    A cell's matrices count for each point; the rows of them that meet z, which is the same for all points of a
    drawing, for each drawing.
    """
    z_size = model.hps.z_size if model.hps.conditional else 0
    cells = [model.cell, *(model.encoder.cells if model.reads_strokes else [])]
    macs_per_point = sum(int(tf.size(weight)) for cell in cells for weight in matrices(cell).values())
    macs_per_point += int(tf.size(model.weights["RNN/output_w"]))
    gates = [weight for name, weight in matrices(model.cell).items() if name.endswith("W_xh")]
    macs_for_z = z_size * sum(weight.shape[1] for weight in gates)
    macs_per_drawing = macs_for_z
    if model.hps.conditional:
        layers = [model.weights[f"{layer}/super_linear_w"] for layer in (*model.heads, "linear")]
        macs_per_drawing += convolution_macs(model) + sum(int(tf.size(weight)) for weight in layers)
    return macs_per_point - macs_for_z, macs_per_drawing


def useful_flops(model: Model, points: float, drawings: float) -> float:
    """Floating-point operations that a training step of so many real points and drawings needs.

    Two for each multiply-add, and three times the forward pass: the backward pass multiplies once more for the
    gradient of each operand. No padding, no end of a drawing, nothing that is not a matrix product or a convolution.
    """
    macs_per_point, macs_per_drawing = count_macs(model)
    return 2.0 * 3.0 * (macs_per_point * points + macs_per_drawing * drawings)


def best_matrix_rate(sizes: tuple[int, ...] = MATRIX_SIZES, seconds: float = 1.0) -> float:
    """The best rate of float32 products of square matrices of some sizes, each tried for some seconds: FLOP/s."""
    multiply = tf.function(lambda a, b: tf.reduce_sum(tf.matmul(a, b)))
    best = 0.0
    for size in sizes:
        a, b = (tf.random.stateless_normal([size, size], (1, k)) for k in range(2))
        multiply(a, b)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            multiply(a, b).numpy()
            best = max(best, 2.0 * size**3 / (time.perf_counter() - start))
    return best


# ---------------------------------------------------------------------------------------------------------
# Measurements


def time_of(action, repeats: int = 3) -> float:
    """Seconds that ``action()`` takes, the mean of some calls after a first one that is not counted."""
    action()
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    return (time.perf_counter() - start) / repeats


def measure_training(args, hps: HParams) -> dict:
    """Run the training script for ``args.steps`` steps after a first twenty -> time of one, peak memory of it all."""
    steps = LOG_EVERY * (1 + -(-args.steps // LOG_EVERY))
    changes = {**hps.values(), "num_steps": steps + 1, "save_every": steps + 2, "save_minutes": 1000.0}
    text = hparams_text(changes)
    with tempfile.TemporaryDirectory() as directory:
        roots = ["--log_root", f"{directory}/log", "--snapshot_root", f"{directory}/snapshot"]
        flags = ["--data_dir", args.data_dir, *roots, "--hparams", text]
        run_python("sketch_pix2seq_train.py", *flags, capture=True)
        with open(Path(directory) / "log" / "metrics.csv", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "train"][1:]
    seconds = sum(float(row["seconds"]) for row in rows) / (LOG_EVERY * len(rows))
    return {"step_seconds": seconds, "peak_gb": peak_memory_of_children() / 1e9}


def hparams_text(values: dict) -> str:
    """As ``--hparams`` takes them."""
    return ",".join(f"{k}=[{','.join(map(str, v))}]" if isinstance(v, list) else f"{k}={v}" for k, v in values.items())


def measure_growth(args, hps: HParams, count: int) -> dict:
    """Train on the first ``count`` categories of the data directory -> what the start, the memory and the steps cost.

    The drawings are packed before. The start ends with the first step, compiled and done.
    """
    names = [path.name for path in sorted(Path(args.data_dir, "npz").glob("*.npz"))]
    if count > len(names):
        raise ValueError(f"--categories {count}: {args.data_dir}/npz has {len(names)}")
    hps = hps.replace(data_set=names[:count])
    load_dataset(args.data_dir, hps, images=False)
    changes = {**hps.values(), "num_steps": 10**9, "save_every": 10**9, "save_minutes": 1000.0}
    steps, times, printed = LOG_EVERY * (1 + -(-args.steps // LOG_EVERY)), {}, ""
    with tempfile.TemporaryDirectory() as directory:
        roots = ["--log_root", f"{directory}/log", "--snapshot_root", f"{directory}/snapshot"]
        flags = ["--data_dir", str(args.data_dir), *roots, "--hparams", hparams_text(changes)]
        command = [sys.executable, "-u", str(SCRIPTS / "sketch_pix2seq_train.py"), *flags]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            for line in process.stdout:
                printed += line
                if logged := re.match(r"step: (\d+),", line):
                    times[int(logged[1])] = time.perf_counter() - start
                if steps in times:
                    break
            memory = memory_of(process.pid)
            process.terminate()  # it finishes its step and saves
            process.communicate()
    if steps not in times:
        raise ValueError(f"sketch_pix2seq_train.py ended early: {printed.strip().splitlines()[-1]}")
    step_seconds = (times[steps] - times[LOG_EVERY]) / (steps - LOG_EVERY)
    return {
        "training_drawings": int(re.search(r"(\d+) train", printed)[1]),
        "start_seconds": times[LOG_EVERY] - LOG_EVERY * step_seconds,
        "steps_per_second": 1 / step_seconds,
        **memory,
    }


def memory_of(process: int) -> dict:
    """What a process holds by itself, and what it has mapped of files, in GB; nothing on systems that do not tell."""
    status = Path(f"/proc/{process}/status")
    text = status.read_text() if status.is_file() else ""
    found = dict(re.findall(r"^(RssAnon|RssFile):\s*(\d+) kB$", text, re.MULTILINE))
    titles = {"own_gb": "RssAnon", "mapped_gb": "RssFile"}
    return {key: int(found[name]) * 1024 / 1e9 for key, name in titles.items() if name in found}


def peak_memory_of_children() -> float:
    """The largest memory in bytes that a process started from here took; NaN on Windows, which does not tell."""
    try:
        import resource
    except ImportError:
        return float("nan")
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024.0)


def measure_batches(train: DataLoader, hps: HParams, batches: int = 50) -> dict:
    """Time to assemble a training batch, and its real points after augmentation."""
    points, start = 0, time.perf_counter()
    for step in range(batches):
        points += int(train.random_batch(np.random.default_rng(seed_for(hps.seed, "batch", step))).lengths.sum())
    return {"batch_ms": 1000 * (time.perf_counter() - start) / batches, "points": points / batches}


def measure_sampling(model: Model, drawings: int, steps: int) -> dict:
    """Sample drawings that never end, as any weights do it at the same speed; changes the model."""
    bias = model.weights["RNN/output_b"].numpy()
    bias[2] = -1e9  # the logit of the end
    model.weights["RNN/output_b"].assign(bias)
    seconds = time_of(lambda: sample_batch(model, None, steps, num=drawings, seed=1))
    return {"points_sampled": drawings * steps / seconds, "drawings_sampled": drawings / seconds}


def measure_trained(model_dir: str, test: DataLoader, drawings: int) -> dict:
    """Draw test bitmaps again with trained weights, each to its end."""
    model, _ = load_model(model_dir)
    z = None
    if model.hps.conditional:
        chosen = np.linspace(0, len(test) - 1, drawings).astype(int)  # short drawings and long ones
        z = encode_images(model, test.images[chosen])
    seconds = time_of(lambda: sample_batch(model, z, model.hps.max_seq_len, 0.1, num=drawings, seed=1))
    return {"trained_sampled": drawings / seconds}


def check_model(model_dir: str, hps: HParams) -> None:
    """Raises ValueError or FileNotFoundError if the weights there cannot draw the bitmaps of the data."""
    theirs = load_hparams(model_dir)
    if theirs.enc_model in CELLS:
        raise ValueError(f"--model_dir {model_dir}: that model reads strokes, not bitmaps")
    if (theirs.img_H, theirs.img_W) != (hps.img_H, hps.img_W):
        sizes = f"{theirs.img_H}x{theirs.img_W}, not {hps.img_H}x{hps.img_W}"
        raise ValueError(f"--model_dir {model_dir}: that model reads bitmaps of {sizes}")
    load_snapshot(Model(theirs), model_dir)


def measure(args, cell: str) -> dict:
    """All measurements of one cell."""
    hps = get_default_hparams().parse(args.hparams).replace(dec_model=cell)
    measured = measure_training(args, hps)  # first: a process counts as its own what its parent takes as it is started
    start = time.perf_counter()
    train, _, test, hps = load_dataset(args.data_dir, hps, rasterize=rasterize_all)
    measured |= {"load_seconds": time.perf_counter() - start, **measure_batches(train, hps)}
    drawings = [train.strokes(i) for i in range(min(RENDERED, len(train)))]
    measured["drawings_rendered"] = len(drawings) / time_of(lambda: rasterize_all(drawings, hps.img_H, hps.img_W), 1)
    model = Model(hps)
    measured["matrix_gflops"] = best_matrix_rate() / 1e9
    measured |= measure_sampling(model, args.num_drawings, args.sampling_steps)
    if args.model_dir and load_hparams(args.model_dir).dec_model == cell:
        measured |= measure_trained(args.model_dir, test, args.num_drawings)
    batch = min(hps.batch_size, len(train))
    measured["drawings_trained"] = batch / measured["step_seconds"]
    measured["step_gflop"] = useful_flops(model, measured["points"], batch) / 1e9
    measured["utilisation"] = measured["step_gflop"] / measured["step_seconds"] / measured["matrix_gflops"]
    measured["data"] = describe_data(train, hps)
    return measured


# ---------------------------------------------------------------------------------------------------------
# The table


def describe_data(train: DataLoader, hps: HParams) -> str:
    """Which drawings, in which batches."""
    mean = train.lengths.mean()
    return (
        f"{len(hps.data_set)} categories, {len(train):,} drawings to train on, of {mean:.0f} points on average and "
        f"{hps.max_seq_len} at most, {hps.img_H}x{hps.img_W} bitmaps, batches of {hps.batch_size}"
    )


def table(columns: dict[str, dict]) -> str:
    """Markdown: one row per quantity, one column per cell."""
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for key, (title, form) in ROWS.items():
        if any(key in column for column in columns.values()):
            values = [format(column[key], form) if key in column else "-" for column in columns.values()]
            lines.append(f"| {title} | {' | '.join(values)} |")
    return "\n".join(lines)


def parse_args(argv) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", default="datasets", help="holds npz/ and bitmap/")
    parser.add_argument("--hparams", default="", help='changes: "key=value,list=[a,b]"')
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS), help="which to measure")
    parser.add_argument("--steps", type=int, default=40, help=f"training steps timed, in units of {LOG_EVERY}")
    parser.add_argument("--num_drawings", type=int, default=100, help="sampled together")
    parser.add_argument("--sampling_steps", type=int, default=SAMPLING_STEPS, help="points of each, none ending")
    parser.add_argument("--model_dir", help="a snapshot directory, to sample with trained weights, too")
    parser.add_argument(
        "--categories", type=int, nargs="+", help="measure training on the first so many categories alone"
    )
    parser.add_argument("--report", metavar="FILE", help="a .json to write it to, as in results/")
    parser.add_argument("--measure", choices=list(CELLS), help=argparse.SUPPRESS)  # one cell, in this process
    args = parser.parse_args(argv)
    if min(args.steps, args.num_drawings, args.sampling_steps, *(args.categories or [1])) < 1:
        parser.error("--steps, --num_drawings, --sampling_steps and --categories are 1 or more")
    return args


def main(argv=None) -> int:
    """Measure what the command line asks for and print it -> exit code."""
    argv = sys.argv[1:] if argv is None else [str(item) for item in argv]
    args = parse_args(argv)
    if args.measure:
        print(json.dumps(measure(args, args.measure)))
        return 0
    hps = get_default_hparams().parse(args.hparams)  # a mistake is told before anything is measured
    if args.model_dir:
        check_model(args.model_dir, hps)
    print(describe_device())
    if args.categories:
        grown = {
            f"{count} categories": measure_growth(args, hps, count) for count in tqdm(args.categories, disable=None)
        }
        print(f"{describe_machine()}. {hps.dec_model} decoder, batches of {hps.batch_size}.\n\n{table(grown)}")
        return 0
    columns = {}
    for cell in tqdm(args.cells, desc="cells", disable=None):
        printed = run_python(Path(__file__).name, *argv, "--measure", cell, capture=True)
        columns[cell] = json.loads(printed.splitlines()[-1])
    data, lines = columns[args.cells[0]]["data"], table(columns)
    print(f"{describe_machine()}. {data}.\n\n{lines}")
    if args.report:
        command = command_line(Path(__file__).name, argv, ("--data_dir", "--report"))
        report = {"command": command, "machine": describe_machine(), "data": data, "table": lines.splitlines()}
        write_file(args.report, (json.dumps(report, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    run_script(main)
