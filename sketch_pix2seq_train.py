"""Train a model on bitmaps and strokes.

    python render_svg2bitmap.py --data_base_dir=datasets      # once: strokes -> bitmaps
    python sketch_pix2seq_train.py                            # get_default_hparams() of model.py
    python sketch_pix2seq_train.py --preset demo              # a small model, minutes on two cores
    python sketch_pix2seq_train.py --resume_training          # go on where the last run stopped

``outputs/snapshot`` gets the weights that validated best, its ``latest`` the newest state, ``outputs/log``
TensorBoard's files, ``metrics.csv`` and ``loss.png``. Ctrl-C finishes the step, saves and stops.

All GPUs of a machine are used. Several machines train one model if each is given ``TF_CONFIG`` (see README).
"""

import argparse
import contextlib
import csv
import math
import os
import re
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import filelock
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from model import (
    CONFIG_NAME,
    LATEST_DIR,
    PRESETS,
    READ_ERRORS,
    HParams,
    Model,
    complete_snapshots,
    is_ours,
    kl_cost,
    list_snapshots,
    load_hparams,
    load_snapshot,
    load_weights,
    put_pen_off,
    reconstruction_loss,
    save_config,
    snapshot_step,
)
from render_svg2bitmap import rasterize_all
from utils import DataLoader, add_switch, available_cores, line_width_pixels, load_dataset, run_script

LOG_EVERY = 20  # steps, as in the original
ROLL_BACK_AFTER = 20  # updates in a row that were not finite
MAX_ROLL_BACKS = 3
PEER_LOST = (  # how an operation of several workers ends when one of them is gone
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
PEER_LOST_CODE = 3
CPU_PARTS = 2  # of a batch, computed side by side


# ---------------------------------------------------------------------------------------------------------
# Several workers


def choose_strategy() -> tf.distribute.Strategy:
    """A worker for each process that ``TF_CONFIG`` names, and on each a replica of the model for each of its GPUs.

    Waits until all workers are there. Raises ValueError if ``TF_CONFIG`` cannot be followed.
    """
    if os.environ.get("TF_CONFIG"):
        return _join_workers()
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _join_workers() -> tf.distribute.Strategy:
    print("TF_CONFIG is set: waiting until all workers that it names are there", flush=True)
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own waits until TensorFlow returns
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, KeyError, TypeError, AttributeError, tf.errors.OpError) as error:
        wanted = '{"cluster": {"worker": ["host:port", "host:port"]}, "task": {"type": "worker", "index": 0}}'
        raise ValueError(
            f"no worker can be started as TF_CONFIG says ({_first_line(error)}); wanted e.g. {wanted}, a free port"
        ) from None
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which TensorFlow took


class Workers:
    """Those who train one model together, this process being one of them; by default the only one.

    All have the same weights and take the same steps, each with drawings of its own share of the data. Whatever
    must not differ is agreed upon by sums over all. Worker 0, the chief, alone reads and writes snapshots and logs.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None):
        self.strategy = tf.distribute.get_strategy() if strategy is None else strategy
        self.replicas = self.strategy.experimental_local_results(self.each_replica(lambda replica: replica))
        self.count = self.strategy.num_replicas_in_sync // len(self.replicas)
        self.index = self.replicas[0] // len(self.replicas)
        self.is_chief = self.index == 0

    def each_replica(self, make):
        """``make(number)`` for each of this worker's replicas, as ``strategy.run`` takes it."""
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: make(context.replica_id_in_sync_group)
        )

    def sum(self, numbers: np.ndarray) -> np.ndarray:
        """The sum of float64 arrays of one shape, one from each worker."""
        if self.count == 1:
            return numbers
        first = self.replicas[0]
        parts = self.each_replica(lambda replica: tf.constant(numbers if replica == first else np.zeros_like(numbers)))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None).numpy()

    def any(self, flag: bool) -> bool:
        """Whether any worker's flag is set."""
        return bool(self.sum(np.array(float(flag))))

    def from_chief(self, numbers: np.ndarray) -> np.ndarray:
        """The chief's float64 array, whose shape is known to all."""
        return self.sum(numbers if self.is_chief else np.zeros_like(numbers))

    def text_from_chief(self, text: str) -> str:
        """The chief's text."""
        data = np.frombuffer(text.encode(), np.uint8).astype(np.float64)
        size = int(self.from_chief(np.array(float(len(data)))))
        return self.from_chief(np.resize(data, size)).astype(np.uint8).tobytes().decode()

    def require_same(self, numbers: list[float]) -> None:
        """Raises ValueError, on all workers, if one knows other numbers of its data than the chief."""
        theirs = np.array(numbers, np.float64)
        if self.any(not np.array_equal(self.from_chief(theirs), theirs)):
            raise ValueError("the files of the workers' --data_dir differ; copy them from one to all others")


class Costs(NamedTuple):
    """What is minimised, and its parts; without a KL term the first two are the same number."""

    cost: float
    recon: float
    kl: float


class Trainer:
    """A model, its optimiser and all else that a run must remember to go on exactly where it stopped.

    Data order, augmentation, noise and dropout of a step are functions of (seed, roll-backs, step, worker) alone.
    """

    def __init__(self, hps: HParams, workers: Workers | None = None):
        self.hps = hps
        self.workers = Workers() if workers is None else workers
        self.compiled = set()
        # On a CPU most operations of a recurrent step are too small to share, but two halves of a batch can be
        # computed side by side; on a GPU that would only be twice as many kernels.
        self.parts = 1 if tf.config.list_physical_devices("GPU") else CPU_PARTS
        with self.workers.strategy.scope():
            self.model = Model(hps)
            self.variables = list(self.model.trainable_variables)
            self.optimizer = tf.keras.optimizers.Adam(hps.learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8)
            self.optimizer.build(self.variables)
        self.next_step = tf.Variable(0, dtype=tf.int64)
        self.best_valid_cost = tf.Variable(math.inf, dtype=tf.float64)
        self.roll_backs = tf.Variable(0, dtype=tf.int64)
        self.skipped_updates = tf.Variable(0, dtype=tf.int64)
        self.skipped_in_a_row = tf.Variable(0, dtype=tf.int64)
        self.checkpoint = tf.train.Checkpoint(
            model=self.model,
            optimizer=self.optimizer,
            next_step=self.next_step,
            best_valid_cost=self.best_valid_cost,
            roll_backs=self.roll_backs,
            skipped_updates=self.skipped_updates,
            skipped_in_a_row=self.skipped_in_a_row,
        )

    @property
    def state(self) -> list:
        """The variables that a roll-back resets."""
        return [*self.variables, *self.optimizer.variables, self.next_step]

    def learning_rate(self, step: int) -> float:
        """(learning_rate - min) decay_rate^step + min, halved at every roll-back."""
        hps = self.hps
        rate = (hps.learning_rate - hps.min_learning_rate) * hps.decay_rate**step + hps.min_learning_rate
        return rate * 0.5 ** int(self.roll_backs)

    def take_from_chief(self) -> None:
        """All that a run remembers becomes the chief's, who alone has read a snapshot."""
        if self.workers.count == 1:
            return
        counts = [self.roll_backs, self.skipped_updates, self.skipped_in_a_row]
        variables = [*self.state, self.best_valid_cost, *counts]
        values = [variable.numpy().astype(np.float64) for variable in variables]  # which is exact for all of these
        flat = self.workers.from_chief(np.concatenate([value.ravel() for value in values]))
        parts = np.split(flat, np.cumsum([value.size for value in values])[:-1])
        for variable, value, part in zip(variables, values, parts, strict=True):
            variable.assign(tf.cast(part.reshape(value.shape), variable.dtype))

    def chance(self, step: int, number: int) -> tuple[int, ...]:
        """Whence all randomness of a step comes, on the worker or replica of that number."""
        return (self.hps.seed, int(self.roll_backs), step, *([number] if number else []))

    def random_batch(self, loader: DataLoader, step: int):
        """This worker's batch of a step, the same in every run of the same seed."""
        return loader.random_batch(np.random.default_rng(self.chance(step, self.workers.index)))

    def kl_weight(self, step: int) -> float:
        """kl_weight (1 - (1 - kl_weight_start) kl_decay_rate^step) (arXiv 1704.03477, eqs 12-13)."""
        hps = self.hps
        return hps.kl_weight * (1.0 - (1.0 - hps.kl_weight_start) * hps.kl_decay_rate**step)

    def _losses(self, strokes, images, lengths, seed, training):
        """(L_R, L_KL) of strokes ``[N, T + 1, 5]`` of ``lengths`` points and their bitmaps.

        L_R: the sum of L_s (1 - p3) + L_p over N * max_seq_len. L_KL: 0 if ``kl_weight`` is.
        """
        seeds = tf.unstack(tf.random.split(seed, 3 if self.model.reads_strokes else 2))
        z, kl = None, tf.constant(0.0)
        if self.hps.conditional:
            if self.model.reads_strokes:
                mean, presig = self.model.encode_strokes(strokes[:, 1:], lengths, training, seeds[2])
            else:
                mean, presig = self.model.encode(images)
            z = mean + tf.exp(presig / 2.0) * tf.random.stateless_normal(tf.shape(mean), seeds[0])
            kl = kl_cost(mean, presig) if self.hps.kl_weight > 0 else kl
        rows, target = strokes[:, :-1], strokes[:, 1:]
        if training and self.hps.pen_noise > 0:
            rows, target = put_pen_off(strokes, self.hps.pen_noise, tf.random.fold_in(seed, 0))
        if self.hps.skip_padding:
            params, target = self.model.decode_packed(rows, z, target, lengths, training, seeds[1])
        else:
            params, _ = self.model.decode(rows, z, training=training, seed=seeds[1])
        loss = reconstruction_loss(params, target, mask_padding=False)  # mean over the steps computed
        steps, drawings = (tf.cast(tf.size(x), tf.float32) for x in (params.corr[:, 0], lengths))
        return loss * steps / (drawings * self.hps.max_seq_len), kl

    def _mean_losses(self, parts, drawings, training):
        """L_R and L_KL, ``[2]``, of the parts of a batch, each weighing its share of so many ``drawings``."""
        shares = [tf.cast(tf.size(lengths), tf.float32) / drawings for _, _, lengths, _ in parts]
        losses = [tf.stack(self._losses(*part, training)) for part in parts]
        return tf.add_n([share * loss for share, loss in zip(shares, losses, strict=True)])

    def _costs(self, losses, kl_weight):
        """(cost, L_R, L_KL): what is minimised, L_R + kl_weight max(L_KL, kl_tolerance), and its parts."""
        recon, kl = tf.unstack(losses)
        cost = recon
        if self.hps.kl_weight > 0:
            cost += kl_weight * tf.maximum(kl, self.hps.kl_tolerance)
        return tf.stack([cost, recon, kl])

    def _gradients(self, parts, kl_weight):
        """On one replica: the costs of all replicas' drawings and their gradients, the same on every one."""
        replica = tf.distribute.get_replica_context()
        drawings = replica.all_reduce("SUM", count_drawings(parts))
        with tf.GradientTape() as tape:
            own = self._mean_losses(parts, drawings, training=True)
            others = replica.all_reduce("SUM", tf.stop_gradient(own)) - tf.stop_gradient(own)
            costs = self._costs(own + others, kl_weight)
            cost = costs[0]
        return costs, replica.all_reduce("SUM", tape.gradient(cost, self.variables))

    @tf.function(reduce_retracing=True, autograph=False)  # converting the code takes longer than compiling it
    def _update(self, parts, numbers):
        learning_rate, kl_weight = tf.unstack(numbers)
        strategy, clip = self.workers.strategy, self.hps.grad_clip
        costs, gradients = strategy.run(self._gradients, (parts, kl_weight))
        costs, *sums = (strategy.experimental_local_results(x)[0] for x in (costs, *gradients))
        finite = tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(x)) for x in (costs[0], *sums)]))

        def step(variable, gradient):
            gradient = tf.clip_by_value(gradient, -clip, clip)
            self.optimizer.update_step(gradient, variable, self.optimizer.learning_rate)

        def apply():
            self.optimizer.learning_rate.assign(learning_rate)
            for variable, gradient in zip(self.variables, gradients, strict=True):
                # apply_gradients would sum them over the replicas once more
                strategy.extended.update(variable, step, (gradient,), group=False)
            self.optimizer.iterations.assign_add(1)
            self.skipped_in_a_row.assign(0)

        def skip():
            self.skipped_in_a_row.assign_add(1)
            self.skipped_updates.assign_add(1)

        tf.cond(finite, apply, skip)
        self.next_step.assign_add(1)
        return costs

    def update(self, batch, step: int) -> Costs:
        """One optimiser step -> its costs. A cost or gradient that is not finite changes no weight."""

        def parts(replica):
            first, every = self.workers.replicas[0], len(self.workers.replicas)
            return split_batch(batch, self.parts, self.chance(step, replica), replica - first, every)

        numbers = tf.constant([self.learning_rate(step), self.kl_weight(step)], tf.float32)
        parts = self.workers.each_replica(parts)
        if self.workers.strategy.num_replicas_in_sync == 1:
            self._compile_for_any_size(self._update, parts, numbers)
        return Costs(*self._update(parts, numbers).numpy().tolist())

    def _compile_for_any_size(self, function, parts, *others):
        """Compile once for any number of drawings and points; TensorFlow would do it for the first ones, then again."""
        if (function, len(parts)) not in self.compiled and not tf.config.functions_run_eagerly():
            specs = [
                (tf.TensorSpec([None, None, 5]), tf.TensorSpec([None, *images.shape[1:]]))
                + (tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.int32))
                for _, images, _, _ in parts
            ]
            function.get_concrete_function(tuple(specs), *map(tf.TensorSpec.from_tensor, others))
            self.compiled.add((function, len(parts)))

    @tf.function(reduce_retracing=True, autograph=False)
    def _evaluate(self, parts):
        return self._costs(self._mean_losses(parts, count_drawings(parts), training=False), self.hps.kl_weight)

    def evaluate(self, loader: DataLoader) -> Costs:
        """The costs over a whole split, every drawing weighing the same; z with noise (kept), always the same.

        The KL term has its whole weight from the first step on, so that costs of any two steps compare.
        """
        total = np.zeros(4)
        for i in range(loader.num_batches):
            batch = loader.get_batch(i)
            chance = (self.hps.seed, i * self.workers.count + self.workers.index)
            parts = split_batch(batch, self.parts, chance)
            self._compile_for_any_size(self._evaluate, parts)
            total[:3] += self._evaluate(parts).numpy() * len(batch.lengths)
            total[3] += len(batch.lengths)
        total = self.workers.sum(total)
        return Costs(*(total[:3] / total[3]).tolist())


def split_batch(batch, parts: int, chance: tuple[int, ...], first: int = 0, every: int = 1) -> tuple:
    """Every ``every``-th drawing of a batch from the ``first`` on, in as many ``parts`` if there are so many drawings.

    A part: strokes ``[N, T + 1, 5]``, images ``[N, H, W, 1]``, lengths ``[N]``, and a seed of its own.
    """
    parts = max(1, min(parts, len(batch.lengths[first::every])))
    found = []
    for part in range(parts):
        rows = slice(first + part * every, None, parts * every)
        strokes, images, lengths = (tf.constant(x[rows]) for x in (batch.strokes, batch.images, batch.lengths))
        found.append((strokes, images, tf.cast(lengths, tf.int32), random_seed(*chance, *([part] if part else []))))
    return tuple(found)


def count_drawings(parts) -> tf.Tensor:
    """How many drawings the parts of a batch have together, as a float."""
    return tf.cast(sum(tf.size(lengths) for _, _, lengths, _ in parts), tf.float32)


def random_seed(*numbers: int) -> tf.Tensor:
    """Any non-negative integers to a seed for TensorFlow's stateless random numbers."""
    return tf.constant(np.random.SeedSequence(numbers).generate_state(2).view(np.int32))


# ---------------------------------------------------------------------------------------------------------
# Snapshots


class Snapshots:
    """The snapshots of a run: the best by validation in ``root``, the newest state in ``root/latest``."""

    def __init__(self, trainer: Trainer, root: str | Path, data_info: dict):
        self.trainer, self.root = trainer, Path(root)
        self.initial = [variable.numpy() for variable in trainer.state]  # to roll back to before the first snapshot
        self.managers = {}
        for kind, directory in (("best", self.root), ("latest", self.root / LATEST_DIR)):
            save_config(directory, trainer.hps, data_info)
            keep_to_directory(directory)
            self.managers[kind] = tf.train.CheckpointManager(
                trainer.checkpoint, str(directory), max_to_keep=trainer.hps.keep_snapshots, checkpoint_name="vector"
            )

    def save(self, kind: str) -> Path:
        """Write ``vector-<last step done>``; a snapshot counts only once it is complete. Raises OSError."""
        step = max(int(self.trainer.next_step) - 1, 0)
        try:
            return Path(self.managers[kind].save(checkpoint_number=step))
        except (tf.errors.OpError, OSError) as error:
            kept = newest_snapshot(self.root)
            raise OSError(
                f"no snapshot could be written in {self.managers[kind].directory} ({_first_line(error)}); "
                + (f"the last good one is {kept}" if kept else "there is no earlier one")
                + "; make room there, then go on with --resume_training"
            ) from None

    def restore(self) -> Path | None:
        """Load the newest snapshot that is whole, or return None if there is none at all."""
        candidates = list_snapshots(self.root)
        for path in candidates:
            try:
                restore(self.trainer, path)
                return path
            except ValueError as error:
                print(f"passed over: {error}")
        if candidates:
            raise ValueError(f"none of the snapshots in {self.root} can be read")
        return None


def keep_to_directory(directory: Path) -> None:
    """Rewrite ``checkpoint`` with what is there: a manager deletes old snapshots wherever a stranger's names them."""
    paths = complete_snapshots(directory)[::-1]
    if paths:
        stamps = [path.with_name(path.name + ".index").stat().st_mtime for path in paths]
        names = [str(path) for path in paths]
        tf.compat.v1.train.update_checkpoint_state(
            str(directory), names[-1], names, all_model_checkpoint_timestamps=stamps, last_preserved_timestamp=0.0
        )
    else:
        (directory / "checkpoint").unlink(missing_ok=True)  # damaged, or of files that are gone


def restore(trainer: Trainer, path: Path) -> None:
    """Load a snapshot of ours whole, or the original's weights and step. Raises ValueError if damaged."""
    step = load_weights(trainer.model, path)  # tells what does not fit, by name
    if not is_ours(path):
        trainer.next_step.assign(step + 1)
        return
    try:
        trainer.checkpoint.restore(str(path)).assert_existing_objects_matched()
    except (*READ_ERRORS, AssertionError) as error:
        raise ValueError(f"{path} is damaged ({_first_line(error)})") from None


def newest_snapshot(root: str | Path) -> Path | None:
    """The snapshot from which a run goes on."""
    return next(iter(list_snapshots(root)), None)


def _first_line(error) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"\{\{.*?\}\} | \[Op:\w+\]", "", line)


RUN_FILES = ("vector-*", "checkpoint", CONFIG_NAME, LATEST_DIR, "original", "metrics.csv*", "loss.png", "events.out.*")


def claim_root(snapshot_root: Path, log_root: Path, resume: bool, overwrite: bool) -> contextlib.ExitStack:
    """Make sure that no other run is overwritten or disturbed -> the locks that hold both directories.

    Raises ValueError naming what is there and the ways out.
    """
    with contextlib.ExitStack() as locks:
        for root, flag in {log_root: "log_root", snapshot_root: "snapshot_root"}.items():  # which may be the same
            root.mkdir(parents=True, exist_ok=True)
            try:
                locks.enter_context(filelock.FileLock(root / ".lock", timeout=0))
            except filelock.Timeout:
                raise ValueError(f"another training runs in {root}; stop it or give another --{flag}") from None
        found = newest_snapshot(snapshot_root)
        if resume:
            _check_can_resume(found, snapshot_root)
        else:
            if not overwrite and found is not None:
                raise ValueError(
                    f"{snapshot_root} holds a run up to step {snapshot_step(found)}; go on with it by "
                    "--resume_training, or move it aside and begin anew by --overwrite"
                )
            if not overwrite and _has_validated(log_root / "metrics.csv"):
                raise ValueError(
                    f"{log_root} holds the log of another run; give another --log_root, or move it aside by --overwrite"
                )
            for root in (snapshot_root, log_root):
                _move_aside(root)
        return locks.pop_all()


def _has_validated(metrics: Path) -> bool:
    """Whether a log is that of a run that got anywhere; one killed before may simply be begun anew."""
    return metrics.is_file() and ",valid," in metrics.read_text()


def _check_can_resume(found: Path | None, root: Path) -> None:
    if found is None:
        raise FileNotFoundError(f"nothing to resume: no snapshot in {root}; leave out --resume_training")
    if not is_ours(found):
        _copy_original(root)
    elif not holds_state(found):
        raise ValueError(f"{root} holds weights alone, no run to resume; begin from them with --init_from {root}")


def holds_state(path: Path) -> bool:
    """Whether a snapshot of ours holds all of a run, not only weights to hand on."""
    try:
        return any(name.startswith("next_step/") for name, _ in tf.train.list_variables(str(path)))
    except READ_ERRORS:  # damaged: passed over when restored
        return True


def _copy_original(root: Path) -> None:
    """Keep what the original program wrote: this run's snapshots will push it out of ``root``."""
    copy = root / "original"
    if not copy.exists():
        part = root / "original.part"  # of which a killed run may have left some
        part.mkdir(exist_ok=True)
        for path in root.iterdir():
            if path.is_file() and path.name != ".lock":
                shutil.copy2(path, part)
        part.rename(copy)


def _move_aside(root: Path) -> None:
    """Move a run's own files, and nothing else, to a directory beside ``root``."""
    files = [path for pattern in RUN_FILES for path in root.glob(pattern)]
    if not files:
        return
    number = 1
    while (aside := root.with_name(f"{root.name}-old-{number}")).exists():
        number += 1
    aside.mkdir()
    for path in files:
        path.rename(aside / path.name)
    print(f"moved the old run aside: {aside}")


# ---------------------------------------------------------------------------------------------------------
# Log


class RunLog:
    """Everything that a run says: log lines, TensorBoard scalars, ``metrics.csv``, ``loss.png``."""

    COLUMNS = ("step", "split", "cost", "recon", "learning_rate", "seconds", "kl")

    def __init__(self, log_root: str | Path, first_step: int):
        self.root = Path(log_root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.csv_path = self.root / "metrics.csv"
        found = self._read()
        self.rows = [row for row in found if int(row[0]) < first_step]
        if len(self.rows) < len(found):  # of steps that are taken again, or of another run
            shutil.copy2(self.csv_path, self.csv_path.with_name(f"metrics.csv.before-step-{first_step}"))
        self.writer = tf.summary.create_file_writer(str(self.root))
        part = self.csv_path.with_name("metrics.csv.part")
        with open(part, "w", newline="") as file:
            csv.writer(file).writerows([self.COLUMNS, *self.rows])
        part.replace(self.csv_path)

    def _read(self):
        if not self.csv_path.is_file():
            return []
        with open(self.csv_path, newline="") as file:
            return [row for row in csv.reader(file) if len(row) == len(self.COLUMNS) and row[0].isdigit()]

    def _add(self, row, scalars):
        row = [str(item) for item in row]
        self.rows.append(row)
        with open(self.csv_path, "a", newline="") as file:
            csv.writer(file).writerow(row)
        with self.writer.as_default(step=int(row[0])):
            for tag, value in scalars.items():
                tf.summary.scalar(tag, value)

    def say(self, line: str) -> None:
        """A line to the screen."""
        tqdm.write(line)

    def has(self, split: str, step: int) -> bool:
        """Whether the cost of a split after a step is known."""
        return any(row[:2] == [str(step), split] for row in self.rows)

    def train(self, step: int, rate: float, costs: Costs, seconds: float, kl_weight: float = 0.0) -> None:
        """A training step's costs; with a KL term, that and its weight, too."""
        cost, recon, kl = costs
        klw, kls = (f" klw: {kl_weight:.4f},", f" kl: {kl:.4f},") if kl_weight > 0 else ("", "")
        tqdm.write(
            f"step: {step}, lr: {rate:.6f},{klw} cost: {cost:.4f}, recon: {recon:.4f},{kls} "
            f"train_time_taken: {seconds:.4f}"
        )
        scalars = {"Train_Cost": cost, "Train_Reconstr_Cost": recon, "Learning_Rate": rate, "Time_Taken_Train": seconds}
        if kl_weight > 0:
            scalars |= {"Train_KL_Cost": kl, "KL_Weight": kl_weight}
        self._add((step, "train", cost, recon, rate, seconds, kl), scalars)

    def valid(self, step: int, best: float, costs: Costs, seconds: float) -> None:
        tqdm.write(
            f"best_valid_cost: {best:0.4f}, valid_cost: {costs.cost:.4f}, "
            f"valid_recon: {costs.recon:.4f}, valid_time_taken: {seconds:.4f}"
        )
        scalars = {"Valid_Cost": costs.cost, "Valid_Reconstr_Cost": costs.recon, "Valid_Cost_Best": best}
        if costs.kl:
            scalars["Valid_KL_Cost"] = costs.kl
        self._add((step, "valid", costs.cost, costs.recon, "", seconds, costs.kl), scalars)

    def test(self, step: int, costs: Costs, seconds: float) -> None:
        tqdm.write(f"eval_cost: {costs.cost:.4f}, eval_recon: {costs.recon:.4f}, eval_time_taken: {seconds:.4f}")
        scalars = {"Eval_Cost": costs.cost, "Eval_Reconstr_Cost": costs.recon}
        if costs.kl:
            scalars["Eval_KL_Cost"] = costs.kl
        self._add((step, "test", costs.cost, costs.recon, "", seconds, costs.kl), scalars)

    def plot(self) -> None:
        """Draw ``loss.png``: the reconstruction loss of each split against steps."""
        from matplotlib.figure import Figure  # slow to import, and not needed before the first plot

        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.subplots()
        for split, style in (
            ("train", {"lw": 0.8, "alpha": 0.6}),
            ("valid", {"marker": "."}),
            ("test", {"marker": "."}),
        ):
            points = [(int(row[0]), float(row[3])) for row in self.rows if row[1] == split]
            if points:
                axes.plot(*zip(*points, strict=True), label=split, **style)
        axes.set(xlabel="step", ylabel="reconstruction loss")
        axes.grid(alpha=0.3)
        if self.rows:
            axes.legend()
        self.writer.flush()
        figure.savefig(self.root / "loss.png", dpi=120)


class Silent:
    """In place of the log and the snapshots on all workers but the chief: does nothing, whatever it is told."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


# ---------------------------------------------------------------------------------------------------------
# The run


class StopRequest:
    """Set by the first SIGINT or SIGTERM; the second one ends the program at once."""

    def __init__(self):
        self.signal = None
        self.previous = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.previous[number] = signal.signal(number, self._set)
        return self

    def _set(self, number, frame):
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        tqdm.write("stopping after this step; once more to stop at once")

    def __exit__(self, *exc):
        for number, handler in self.previous.items():
            signal.signal(number, handler)


def validate(trainer, loaders, log, snapshots, step: int) -> None:
    """Validation cost; if it is the best so far, save, then the cost on the test split."""
    _, valid, test = loaders
    start = time.time()
    costs = trainer.evaluate(valid)
    best = min(costs.cost, float(trainer.best_valid_cost))
    improved = costs.cost < float(trainer.best_valid_cost)
    log.valid(step, best, costs, time.time() - start)
    if improved:
        trainer.best_valid_cost.assign(costs.cost)
        start = time.time()
        log.test(step, trainer.evaluate(test), time.time() - start)
        log.say(f"saved {snapshots.save('best')}")  # last: a run goes on after it, were it killed here
    log.plot()


def roll_back(trainer: Trainer, snapshots: Snapshots) -> None:
    """After too many updates that were not finite: back to the last good snapshot, half the learning rate."""
    count, skipped = int(trainer.roll_backs) + 1, int(trainer.skipped_updates)
    if trainer.workers.is_chief and snapshots.restore() is None:
        for variable, value in zip(trainer.state, snapshots.initial, strict=True):
            variable.assign(value)
    trainer.take_from_chief()
    trainer.roll_backs.assign(count)
    trainer.skipped_updates.assign(skipped)
    trainer.skipped_in_a_row.assign(0)
    tqdm.write(
        f"{ROLL_BACK_AFTER} updates in a row were not finite: back to step {int(trainer.next_step)}, "
        f"learning rate times {0.5**count:g} (roll-back {count} of {MAX_ROLL_BACKS})"
    )


def train(hps: HParams, loaders, trainer: Trainer, snapshots: Snapshots, log: RunLog) -> int:
    """The training loop, up to ``hps.num_steps`` -> exit code: 0 done or stopped, 1 numbers gone bad for good."""
    first = int(trainer.next_step)
    saved_at = logged_at = time.time()
    with StopRequest() as stop, ThreadPoolExecutor(1) as pool, Progress(first, hps.num_steps) as bar:
        step, pending = first, None
        while step < hps.num_steps and not trainer.workers.any(stop.signal is not None):
            batch = pending.result() if pending else trainer.random_batch(loaders[0], step)
            pending = pool.submit(trainer.random_batch, loaders[0], step + 1)
            costs = trainer.update(batch, step)
            bar.step_done(step, costs.cost)
            if step % LOG_EVERY == 0 and step > 0:
                rate, kl_weight = trainer.learning_rate(step), trainer.kl_weight(step)
                log.train(step, rate, costs, time.time() - logged_at, kl_weight)
                logged_at = time.time()
            if int(trainer.skipped_in_a_row) >= ROLL_BACK_AFTER:
                roll_back(trainer, snapshots)
                if int(trainer.roll_backs) == MAX_ROLL_BACKS:
                    log.say(f"{MAX_ROLL_BACKS} roll-backs: the run ends; its snapshots are in {snapshots.root}")
                    return 1
                step, pending = int(trainer.next_step), None
                continue
            if step % hps.save_every == 0 and step > 0:
                validate(trainer, loaders, log, snapshots, step)
            if (step % hps.save_every == 0 and step > 0) or time.time() - saved_at > 60 * hps.save_minutes:
                snapshots.save("latest")
                log.plot()
                saved_at = time.time()
            step += 1
    finish(trainer, loaders, log, snapshots, first, trainer.workers.any(stop.signal is not None))
    return 0


class Progress(tqdm):
    """Steps done, cost and time left: a bar on a terminal, a line now and then in a log file."""

    LINE_SECONDS = 30.0

    def __init__(self, first: int, last: int):
        self.began = self.said = time.time()
        self.first, self.last = first, last
        super().__init__(total=last, initial=first, unit="step", disable=None, dynamic_ncols=True)

    def step_done(self, step: int, cost: float) -> None:
        """Call after each step."""
        self.update(1)
        now = time.time()
        if not self.disable:
            self.set_postfix_str(f"cost {cost:.4f}", refresh=False)
        elif now - self.said > self.LINE_SECONDS:
            left = (now - self.began) / (step + 1 - self.first) * (self.last - step - 1)
            print(f"{step + 1} of {self.last} steps, {self.format_interval(left)} left", flush=True)
            self.said = now


def finish(trainer, loaders, log, snapshots, first: int, stopped: bool) -> None:
    """Save what there is, and say what to do next."""
    step, workers = int(trainer.next_step), trainer.workers
    unmeasured = not stopped and step > 0 and not log.has("valid", step - 1)  # perhaps since a kill here
    unmeasured = workers.any(workers.is_chief and unmeasured)
    if unmeasured:
        validate(trainer, loaders, log, snapshots, step - 1)
    if step > first or unmeasured:
        path = snapshots.save("latest")
        log.plot()
        log.say(f"saved {path}; updates skipped as not finite: {int(trainer.skipped_updates)}")
    if stopped:
        roots = f"--snapshot_root {snapshots.root} --log_root {log.root}"
        log.say(f"stopped before step {step}; go on with --resume_training {roots}, and --data_dir as before")
    log.say(f"draw with: python sketch_pix2seq_sampling.py --model_dir {snapshots.root}")


# ---------------------------------------------------------------------------------------------------------
# The script


# What gives the weights their shapes or their meaning: a run cannot go on with another value.
SHAPING = (
    "conditional enc_model enc_filters enc_rnn_size dec_model dec_rnn_size pen_position pen_glimpse z_size".split()
)
SHAPING += ["num_mixture", "img_H", "img_W"]


# What validation measures, and on what: costs before and after a change of one do not compare.
MEASURED = "data_set max_seq_len skip_padding kl_weight kl_tolerance".split()


def saved_hparams(snapshot_root: Path) -> HParams:
    """The hyper-parameters of a run's snapshots."""
    return load_hparams(snapshot_root if (snapshot_root / CONFIG_NAME).is_file() else snapshot_root / LATEST_DIR)


def resumed_hparams(snapshot_root: Path, text: str) -> HParams:
    """The snapshot's hyper-parameters with the changes asked for; says what changes, refuses what cannot."""
    saved = saved_hparams(snapshot_root)
    hps = saved.parse(text)
    changed = {name: (old, hps.values()[name]) for name, old in saved.values().items() if hps.values()[name] != old}
    refused = [f"{name} ({old} -> {new})" for name, (old, new) in changed.items() if name in SHAPING]
    if refused:
        raise ValueError(f"a run cannot be resumed with other {', '.join(refused)}; begin a new one elsewhere")
    for name, (old, new) in changed.items():
        print(f"resuming with {name} = {new} (was {old})")
    return hps


def data_info(hps: HParams, train: DataLoader) -> dict:
    """What sampling needs to know of the data, for the snapshot."""
    return {
        "scale_factor": train.scale_factor,
        "category_scale_factors": train.category_scale_factors,
        "max_seq_len": hps.max_seq_len,
        "line_width": line_width_pixels(train, hps),
    }


def parse_args(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data_dir", default="datasets", help="holds npz/ and bitmap/")
    parser.add_argument("--log_root", default="outputs/log", help="where curves go")
    parser.add_argument("--snapshot_root", default="outputs/snapshot", help="where weights go")
    parser.add_argument("--preset", default="default", choices=PRESETS, help="a set of hyper-parameters")
    parser.add_argument("--hparams", default="", help='changes: "key=value,list=[a,b]"')
    parser.add_argument("--init_from", help="a snapshot directory whose weights to begin with (fine-tuning)")
    add_switch(parser, "resume_training", "go on from the newest snapshot in --snapshot_root")
    add_switch(parser, "overwrite", "move a run found in --snapshot_root aside and begin anew")
    args = parser.parse_args(argv)
    if args.resume_training and (args.overwrite or args.init_from or args.preset != "default"):
        parser.error("--resume_training goes on as the run began: without --overwrite, --init_from and --preset")
    return args


def choose_hparams(args) -> HParams:
    """The hyper-parameters that a command line asks for."""
    if args.resume_training:
        return resumed_hparams(Path(args.snapshot_root), args.hparams)
    if args.init_from:
        if Path(args.snapshot_root).resolve() in (path := Path(args.init_from).resolve(), path.parent):
            raise ValueError(
                f"--init_from {args.init_from} is where this run would write; give another --snapshot_root"
            )
        ours = PRESETS[args.preset]().values()
        theirs = {name: load_hparams(args.init_from).values()[name] for name in SHAPING}
        if not theirs["pen_position"]:
            ours["pen_noise"] = 0.0
        return HParams(**{**ours, **theirs}).parse(args.hparams)
    return PRESETS[args.preset]().parse(args.hparams)


def prepare(args, hps: HParams, train_set: DataLoader, trainer: Trainer) -> tuple[Snapshots, RunLog]:
    """What the chief does before the first step: begin a run's snapshots and log, or take them up again."""
    if args.init_from:
        load_snapshot(trainer.model, args.init_from)
    before = saved_hparams(Path(args.snapshot_root)).values() if args.resume_training else {}
    snapshots = Snapshots(trainer, args.snapshot_root, data_info(hps, train_set))
    if args.resume_training:
        print(f"resuming from {snapshots.restore()}")
        if any(before[name] != hps.values()[name] for name in MEASURED):
            trainer.best_valid_cost.assign(math.inf)
    return snapshots, RunLog(args.log_root, int(trainer.next_step))


def introduce(hps: HParams, loaders, trainer: Trainer) -> None:
    """Say what is going to be trained, and on what."""
    workers, names = trainer.workers, ("train", "valid", "test")
    whose = f"worker {workers.index} of {workers.count}: " if workers.count > 1 else ""
    counts = ", ".join(f"{len(loader)} {name}" for loader, name in zip(loaders, names, strict=True))
    print(f"{whose}{counts} drawings ({loaders[0].skipped} too long, skipped), up to {hps.max_seq_len} points")
    size = sum(int(np.prod(v.shape)) for v in trainer.variables)
    steps = f"steps {int(trainer.next_step)} to {hps.num_steps}"
    print(f"{hps.dec_model} decoder, {size:,} weights, seed {hps.seed}, {steps}", flush=True)


def train_as(workers: Workers, args) -> int:
    """Train as one of the workers -> exit code."""
    hps = HParams.from_json(workers.text_from_chief(choose_hparams(args).to_json() if workers.is_chief else ""))
    share = (workers.index, workers.count)
    *loaders, hps = load_dataset(args.data_dir, hps, rasterize=rasterize_all, share=share)
    train_set = loaders[0]
    workers.require_same([hps.max_seq_len, train_set.skipped, *train_set.category_scale_factors.values()])
    train_set.batch_size *= len(workers.replicas)
    roots = Path(args.snapshot_root), Path(args.log_root)
    with claim_root(*roots, args.resume_training, args.overwrite) if workers.is_chief else contextlib.nullcontext():
        trainer = Trainer(hps, workers)
        snapshots, log = prepare(args, hps, train_set, trainer) if workers.is_chief else (Silent(), Silent())
        trainer.take_from_chief()
        introduce(hps, loaders, trainer)
        try:
            return train(hps, loaders, trainer, snapshots, log)
        except PEER_LOST:
            if workers.count > 1:
                snapshots.save("latest")  # a step is done whole or not at all
                log.plot()
            raise


def share_cores() -> None:
    """Let an operation have a part's share of the cores, as the parts of a batch are computed side by side.

    ``TF_NUM_INTRAOP_THREADS`` has the last word; too late, and without effect, once TensorFlow has begun to compute.
    """
    if tf.config.list_physical_devices("GPU") or os.environ.get("TF_NUM_INTRAOP_THREADS"):
        return
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(max(1, available_cores() // CPU_PARTS))


def main(argv=None) -> int:
    """Train as the command line says -> exit code. Ends the process with ``PEER_LOST_CODE`` if a worker is lost."""
    args = parse_args(argv)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # leave room for others on the card
    share_cores()
    workers = Workers(choose_strategy())
    try:
        return train_as(workers, args)
    except PEER_LOST as error:
        if workers.count == 1:
            raise
        reason = re.search(r"aborted by: (.*)", str(error))
        reason = reason[1] if reason else _first_line(error)
        remedy = "start all of them again, with --resume_training if there is a snapshot"
        print(f"{Path(sys.argv[0]).name}: another worker is gone ({reason[:200]}); {remedy}", file=sys.stderr)
        sys.stdout.flush()
        os._exit(PEER_LOST_CODE)  # TensorFlow's own end waits for the lost worker, and trips


if __name__ == "__main__":
    run_script(main)
