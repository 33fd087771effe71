"""Train a model on bitmaps and strokes.

    python render_svg2bitmap.py --data_base_dir=datasets      # once: strokes -> bitmaps
    python sketch_pix2seq_train.py                            # get_default_hparams() of model.py
    python sketch_pix2seq_train.py --preset demo              # a small model, minutes on two cores
    python sketch_pix2seq_train.py --resume_training          # go on where the last run stopped

``outputs/snapshot`` gets the weights that validated best, its ``latest`` the newest state, ``outputs/log``
TensorBoard's files, ``metrics.csv`` and ``loss.png``. Ctrl-C finishes the step, saves and stops.

All GPUs of a machine are used. Several machines train one model if each is given ``TF_CONFIG`` (docs/distributed.md).
"""

from quiet_tensorflow import describe_device, tf

import argparse
import contextlib
import itertools
import math
import os
import time
from pathlib import Path

import numpy as np

from astray import let_some_go_astray
from distributed import PEER_LOST, DistributedContext, choose_strategy, end_after_lost_worker
from extensions import PRESETS, add_position_noise, kl_cost, kl_weight_at, pad_learned
from hparams import ARCHITECTURE_FIELDS, VALIDATION_FIELDS, HParams
from model import Model, get_default_hparams, pad_strokes, point_losses
from render_svg2bitmap import rasterize_all
from run_dirs import lock_output_dirs
from run_log import NullLogger, RunLog
from script import Progress, StopRequest, add_switch, available_cores, make_parser, run_script
from seeds import seed_for, stateless_seed
from snapshots import CONFIG_NAME, LATEST_DIR, Snapshots, load_hparams, load_snapshot
from utils import Batch, DataLoader, line_width_pixels, load_dataset

LOG_EVERY = 20  # steps, as in the original
MAX_SKIPPED_IN_A_ROW = 20  # updates that were not finite; then the run ends, when it next looks
NOT_FINITE_CODE = 4  # its exit code
CPU_MICROBATCHES = 2  # of a batch, computed side by side


# ---------------------------------------------------------------------------------------------------------
# The training step


class Trainer:
    """A model, its optimiser and all else that a run must remember to go on exactly where it stopped.

    Data order, augmentation, noise and dropout of a step are functions of (seed, step, worker, microbatch) alone.
    """

    def __init__(self, hps: HParams, context: DistributedContext | None = None):
        self.hps = hps
        self.context = DistributedContext() if context is None else context
        # On a CPU most operations of a recurrent step are too small to share, but two halves of a batch can be
        # computed side by side; on a GPU that would only be twice as many kernels.
        self.microbatches = 1 if tf.config.list_physical_devices("GPU") else CPU_MICROBATCHES
        with self.context.strategy.scope():
            self.model = Model(hps)
            self.variables = list(self.model.trainable_variables)
            self.optimizer = tf.keras.optimizers.Adam(hps.learning_rate, 0.9, 0.999, 1e-8)
            self.optimizer.build(self.variables)
        self.compiled = set()
        self.next_step = tf.Variable(0, dtype=tf.int64)
        self.best_valid_cost = tf.Variable(math.inf, dtype=tf.float64)
        self.skipped_updates = tf.Variable(0, dtype=tf.int64)
        self.skipped_in_a_row = tf.Variable(0, dtype=tf.int64)
        self.checkpoint = tf.train.Checkpoint(
            model=self.model,
            optimizer=self.optimizer,
            next_step=self.next_step,
            best_valid_cost=self.best_valid_cost,
            skipped_updates=self.skipped_updates,
            skipped_in_a_row=self.skipped_in_a_row,
        )

    @property
    def state(self) -> list:
        """All variables that a run must remember."""
        counts = [self.next_step, self.best_valid_cost, self.skipped_updates, self.skipped_in_a_row]
        return [*self.variables, *self.optimizer.variables, *counts]

    def compute_losses(self, batch: Batch, drawings, seed, training: bool) -> dict[str, tf.Tensor]:
        """Named losses of a microbatch of N of ``drawings``: its part of each mean, divided here and only here.

        recon: the sum of L_s (1 - p3) + L_p over drawings * max_seq_len (arXiv 1704.03477, eq. 9); kl: sketch-rnn's
        term, if it has a weight. A new term is a line here and one in ``total_cost``; the log follows.
        """
        hps, model = self.hps, self.model
        code_seed, decoder_seed, encoder_seed, position_seed, present_seed = tf.unstack(tf.random.split(seed, 5))
        steps = tf.reduce_max(batch.lengths) + 1 if hps.skip_padding else hps.max_seq_len  # T
        strokes = pad_strokes(batch.points, batch.lengths, steps)  # [N, T + 1, 5]
        fed, targets = strokes[:, :-1], strokes[:, 1:]  # [N, T, 5], [N, T, 5]
        code = None
        if hps.conditional:
            if model.reads_strokes:
                mean, presig = model.encode_strokes(targets, batch.lengths, training, encoder_seed)  # [N, Z], [N, Z]
            else:
                mean, presig = model.encode(batch.images)  # [N, Z], [N, Z]
            z = mean + tf.exp(presig / 2.0) * tf.random.stateless_normal(tf.shape(mean), code_seed)  # [N, Z]
            present = tf.random.stateless_uniform(tf.shape(mean)[:1], present_seed) >= hps.pixel_features_dropout
            code = model.make_code(z, batch.images, tf.cast(present, tf.float32) if training else None)
        if training and hps.position_noise_std > 0:
            fed, targets = add_position_noise(strokes, hps.position_noise_std, position_seed)
        learned = pad_learned(batch.learned, batch.lengths, tf.shape(targets)[1])  # [N, T]
        targets = tf.concat([targets, learned[:, :, None]], axis=2)  # [N, T, 6]
        if hps.skip_padding:  # params of [P, .], targets [P, 6]
            params, targets = model.decode_packed(fed, code, targets, batch.lengths, training, decoder_seed)
        else:
            params, _ = model.decode(fed, code, training=training, seed=decoder_seed)  # [N * T, .]
        targets, learned = tf.split(tf.reshape(targets, [-1, 6]), [5, 1], axis=1)  # [P, 5], [P, 1]
        stroke_loss, pen_loss = point_losses(params, targets)  # [P], [P]
        of_points = stroke_loss * (1.0 - targets[:, 4]) + pen_loss  # [P]
        losses = {"recon": tf.reduce_sum(of_points * learned[:, 0]) / (drawings * hps.max_seq_len)}
        if hps.conditional and hps.kl_weight > 0:
            losses["kl"] = tf.reduce_sum(kl_cost(mean, presig)) / drawings
        return losses

    def total_cost(self, losses: dict[str, tf.Tensor], kl_weight) -> tf.Tensor:
        """What is minimised: L_R + kl_weight max(L_KL, kl_tolerance) (arXiv 1704.03477, eq. 11)."""
        cost = losses["recon"]
        if "kl" in losses:
            cost += kl_weight * tf.maximum(losses["kl"], self.hps.kl_tolerance)
        return cost

    def mean_losses(self, microbatches, drawings, training: bool) -> dict[str, tf.Tensor]:
        """``compute_losses`` of several microbatches together."""
        parts = [self.compute_losses(batch, drawings, seed, training) for batch, seed in microbatches]
        return {name: tf.add_n([part[name] for part in parts]) for name in parts[0]}

    def compute_gradients(self, microbatches, kl_weight):
        """On a replica: the losses of all replicas' drawings and their gradients, the same on every one."""
        all_reduce, replicas = self.context.all_reduce, self.context.strategy.num_replicas_in_sync
        drawings = all_reduce(count_drawings(microbatches))
        with tf.GradientTape() as tape:
            losses = all_reduce(self.mean_losses(microbatches, drawings, training=True))
            cost = self.total_cost(losses, kl_weight)
        share = tf.fill([], 1.0 / replicas)  # of the cost: a sum's gradient is the sum of those of all who have it
        gradients = all_reduce(tape.gradient(cost, self.variables, share))
        return {"cost": cost, **losses}, gradients

    @tf.function(reduce_retracing=True, autograph=False)  # converting the code takes longer than compiling it
    def train_step(self, microbatches, learning_rate, kl_weight):
        """One optimiser step -> the named losses. A cost or gradient that is not finite changes no weight."""
        losses, gradients = self.context.strategy.run(self.compute_gradients, (microbatches, kl_weight))
        losses = self.context.first_replica(losses)
        sums = [losses["cost"], *self.context.first_replica(gradients)]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in sums])

        def apply():
            self.optimizer.learning_rate.assign(learning_rate)
            self.context.apply_gradients(self.optimizer, gradients, self.variables, self.hps.grad_clip)
            self.skipped_in_a_row.assign(0)

        def skip():
            self.skipped_in_a_row.assign_add(1)
            self.skipped_updates.assign_add(1)

        tf.cond(finite, apply, skip)
        with tf.control_dependencies([finite]):  # not before: if a worker is lost, this step has not been taken
            self.next_step.assign_add(1)
        return losses

    @tf.function(reduce_retracing=True, autograph=False)
    def valid_step(self, microbatches):
        """The named losses of some drawings, without dropout; the KL term has its whole weight, so steps compare."""
        losses = self.mean_losses(microbatches, count_drawings(microbatches), training=False)
        return {"cost": self.total_cost(losses, self.hps.kl_weight), **losses}

    # ---- what the steps are given

    def rates(self, step: int) -> dict[str, float]:
        """lr: (learning_rate - min) decay_rate^step + min; klw: the KL term's weight, if it has one."""
        hps = self.hps
        rate = (hps.learning_rate - hps.min_learning_rate) * hps.decay_rate**step + hps.min_learning_rate
        has_kl = hps.conditional and hps.kl_weight > 0
        return {"lr": rate, "klw": kl_weight_at(hps, step)} if has_kl else {"lr": rate}

    def random_batch(self, loader: DataLoader, step: int) -> Batch:
        """This worker's batch of a step, the same in every run of the same seed."""
        rng = np.random.default_rng(seed_for(self.hps.seed, "batch", step, self.context.index))
        batch, hps = loader.random_batch(rng), self.hps
        return let_some_go_astray(batch, hps.astray_prob, hps.max_seq_len, rng) if hps.astray_prob else batch

    def batches(self, loader: DataLoader, first: int):
        """For each step from ``first`` on, what ``update`` takes: microbatches of each of this worker's replicas."""
        replicas, failures = self.context.replicas, []

        def make():
            try:
                for step in itertools.count(first):
                    batch = self.random_batch(loader, step)
                    for place, replica in enumerate(replicas):
                        yield self._split(batch, "train", step, replica, place, len(replicas))
            except Exception as error:
                failures.append(error)
                raise

        values = make()
        head = next(values)
        iterator = self.context.distribute(itertools.chain([head], values), specs_of_any_size(head))
        rate = tf.TensorSpec([], tf.float32)
        self._compile(self.train_step, iterator.element_spec, rate, rate)
        try:
            yield from iterator
        except tf.errors.OpError as error:
            raise (failures or [error])[0] from None  # not as TensorFlow tells of it

    def _split(self, batch: Batch, purpose: str, step: int, replica: int, first: int = 0, every: int = 1) -> tuple:
        """A replica's microbatches of a worker's batch, as many as there are drawings for, each with a seed."""
        count = max(1, min(self.microbatches, len(range(first, len(batch.lengths), every))))
        seeds = (stateless_seed(seed_for(self.hps.seed, purpose, step, replica, part)) for part in range(count))
        return tuple((batch.shard(first + part * every, count * every), seed) for part, seed in enumerate(seeds))

    def _compile(self, function, *specs):
        """Compile once for any number of drawings and points; TensorFlow would do it for the first, then again."""
        if (function, specs) not in self.compiled and not tf.config.functions_run_eagerly():
            function.get_concrete_function(*specs)
            self.compiled.add((function, specs))

    def update(self, microbatches, step: int) -> dict[str, tf.Tensor]:
        """``train_step`` on what ``batches`` gave for a step; the losses are there once they are read."""
        rates = self.rates(step)
        rates = [tf.constant(rates.get(name, 0.0), tf.float32) for name in ("lr", "klw")]
        return self.train_step(microbatches, *rates)

    def evaluate(self, loader: DataLoader) -> dict[str, float]:
        """The losses over a whole split, every drawing weighing the same; z with noise, as in the original."""
        names, totals, drawings = None, 0.0, 0
        for i in range(loader.num_batches):
            batch = loader.get_batch(i)
            microbatches = self._split(batch, "valid", i, self.context.index)
            self._compile(self.valid_step, specs_of_any_size(microbatches))
            losses = self.valid_step(tf.nest.map_structure(tf.constant, microbatches))
            names, drawings = list(losses), drawings + len(batch.lengths)
            totals += np.array([float(value) for value in losses.values()]) * len(batch.lengths)
        *totals, drawings = self.context.sum(np.array([*totals, drawings]))
        return dict(zip(names, (np.array(totals) / drawings).tolist(), strict=True))


def count_drawings(microbatches) -> tf.Tensor:
    """How many drawings the microbatches have together, as a float."""
    return tf.cast(sum(tf.size(batch.lengths) for batch, _ in microbatches), tf.float32)


def specs_of_any_size(microbatches: tuple) -> tuple:
    """What microbatches ``_split`` makes, of any number of drawings and points."""
    batch, seed = microbatches[0]
    batch = Batch(*(tf.TensorSpec([None, *field.shape[1:]], field.dtype) for field in batch))
    return ((batch, tf.TensorSpec(seed.shape, seed.dtype)),) * len(microbatches)


# ---------------------------------------------------------------------------------------------------------
# The training loop


def train(trainer: Trainer, loaders: tuple, snapshots: Snapshots, log: RunLog) -> int:
    """Train up to ``num_steps`` -> exit code: 0 done or stopped, ``NOT_FINITE_CODE`` if numbers went bad."""
    hps, train_set = trainer.hps, loaders[0]
    first, step, train_seconds, saved_at = int(trainer.next_step), int(trainer.next_step), 0.0, time.time()
    batches = trainer.batches(train_set, step)  # none yet
    with StopRequest() as stop, Progress(first, hps.num_steps) as bar:
        while step < hps.num_steps and not trainer.context.any(stop.signal is not None):
            began = time.time()
            losses = trainer.update(next(batches), step)
            if step % LOG_EVERY == 0 or step == first:  # not at every step: a device is waited for
                losses = {name: float(value) for name, value in losses.items()}
                remark, skipped = f"cost {losses['cost']:.4f}", int(trainer.skipped_in_a_row)
            bar.step_done(step, remark)
            train_seconds += time.time() - began
            if step % LOG_EVERY == 0 and step > 0:
                log.train(step, trainer.rates(step), losses, train_seconds)
                train_seconds = 0.0
            if skipped >= MAX_SKIPPED_IN_A_ROW:
                good = f"the last good snapshot is {snapshots.newest}; go on from it"
                good = good if snapshots.newest else "there is no snapshot; begin anew"
                log.info(
                    f"{MAX_SKIPPED_IN_A_ROW} updates in a row were not finite: the run ends at step {step}; {good} "
                    "with a smaller learning_rate"
                )
                return NOT_FINITE_CODE
            due = step % hps.save_every == 0 and step > 0
            if due:
                validate(trainer, loaders, log, snapshots, step)
            if due or time.time() - saved_at > 60 * hps.save_minutes:
                snapshots.save("latest")
                log.plot()
                saved_at = time.time()
            step += 1
    finish(trainer, loaders, log, snapshots, first, trainer.context.any(stop.signal is not None))
    return 0


def validate(trainer: Trainer, loaders: tuple, log, snapshots, step: int) -> None:
    """Validation losses; if the cost is the best so far, save, then the losses on the test split."""
    _, valid, test = loaders
    start = time.time()
    losses = trainer.evaluate(valid)
    best = float(trainer.best_valid_cost)
    log.valid(step, min(losses["cost"], best), losses, time.time() - start)
    if losses["cost"] < best:
        trainer.best_valid_cost.assign(losses["cost"])
        start = time.time()
        log.test(step, trainer.evaluate(test), time.time() - start)
        log.info(f"saved {snapshots.save('best')}")  # last: a run goes on after it, were it killed here
    log.plot()


def finish(trainer: Trainer, loaders: tuple, log, snapshots, first: int, stopped: bool) -> None:
    """Save what there is, and say what to do next."""
    step, context = int(trainer.next_step), trainer.context
    unmeasured = not stopped and step > 0 and not log.has("valid", step - 1)  # perhaps since a kill here
    unmeasured = context.any(context.is_chief and unmeasured)
    if unmeasured:
        validate(trainer, loaders, log, snapshots, step - 1)
    if step > first or unmeasured:
        path = snapshots.save("latest")
        log.plot()
        log.info(f"saved {path}; updates skipped as not finite: {int(trainer.skipped_updates)}")
    if stopped:
        roots = f"--snapshot_root {snapshots.root} --log_root {log.root}"
        log.info(f"stopped before step {step}; go on with --resume_training {roots}, and --data_dir as before")
    log.info(f"draw with: python sketch_pix2seq_sampling.py --model_dir {snapshots.root}")


# ---------------------------------------------------------------------------------------------------------
# The script


def parse_args(argv) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", default="datasets", help="holds npz/ and bitmap/, and gets packed/")
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


def saved_hparams(snapshot_root: Path) -> HParams:
    """The hyper-parameters of a run's snapshots."""
    return load_hparams(snapshot_root if (snapshot_root / CONFIG_NAME).is_file() else snapshot_root / LATEST_DIR)


def choose_hparams(args) -> HParams:
    """The hyper-parameters that a command line asks for."""
    if args.resume_training:
        return resumed_hparams(Path(args.snapshot_root), args.hparams)
    hps = get_default_hparams().replace(**PRESETS[args.preset])
    if not args.init_from:
        return hps.parse(args.hparams)
    if Path(args.snapshot_root).resolve() in (path := Path(args.init_from).resolve(), path.parent):
        raise ValueError(f"--init_from {args.init_from} is where this run would write; give another --snapshot_root")
    theirs = load_hparams(args.init_from).values()
    changes = {name: theirs[name] for name in ARCHITECTURE_FIELDS}
    if not theirs["use_position"]:
        changes["position_noise_std"] = 0.0
    return hps.replace(**changes).parse(args.hparams)


def resumed_hparams(snapshot_root: Path, text: str) -> HParams:
    """The snapshot's hyper-parameters with the changes asked for; says what changes, refuses what cannot."""
    saved = saved_hparams(snapshot_root)
    hps = saved.parse(text)
    changed = {name: (old, hps.values()[name]) for name, old in saved.values().items() if hps.values()[name] != old}
    refused = [f"{name} ({old} -> {new})" for name, (old, new) in changed.items() if name in ARCHITECTURE_FIELDS]
    if refused:
        raise ValueError(f"a run cannot be resumed with other {', '.join(refused)}; begin a new one elsewhere")
    for name, (old, new) in changed.items():
        print(f"resuming with {name} = {new} (was {old})")
    return hps


def setup_run(args, train_set: DataLoader, trainer: Trainer) -> tuple[Snapshots, RunLog]:
    """What the chief does before the first step: begin a run's snapshots and log, or take them up again."""
    hps = trainer.hps
    if args.init_from:
        load_snapshot(trainer.model, args.init_from)
    before = saved_hparams(Path(args.snapshot_root)).values() if args.resume_training else {}
    data_info = {  # what sampling needs to know of the data
        "scale_factor": 255 / hps.drawing_extent if hps.drawing_extent else train_set.scale_factor,
        "category_scale_factors": train_set.category_scale_factors,
        "max_seq_len": hps.max_seq_len,
        "line_width": line_width_pixels(train_set, hps),
    }
    snapshots = Snapshots(trainer.checkpoint, args.snapshot_root, hps, data_info)
    if args.resume_training:
        print(f"resuming from {snapshots.restore()}")
        if any(before[name] != hps.values()[name] for name in VALIDATION_FIELDS):
            trainer.best_valid_cost.assign(math.inf)
    return snapshots, RunLog(args.log_root, int(trainer.next_step))


def log_run_summary(trainer: Trainer, loaders: tuple) -> None:
    """Say what is going to be trained, on what, and what computes it."""
    hps, context, names = trainer.hps, trainer.context, ("train", "valid", "test")
    whose = f"worker {context.index} of {context.count}: " if context.count > 1 else ""
    counts = ", ".join(f"{len(loader)} {name}" for loader, name in zip(loaders, names, strict=True))
    print(f"{whose}{counts} drawings ({loaders[0].skipped} too long, skipped), up to {hps.max_seq_len} points")
    size = sum(int(np.prod(v.shape)) for v in trainer.variables)
    steps = f"steps {int(trainer.next_step)} to {hps.num_steps}"
    print(f"{hps.dec_model} decoder, {size:,} weights, seed {hps.seed}, {steps}; {describe_device()}", flush=True)
    if hps.precision != "float32" and not tf.config.list_physical_devices("GPU"):
        print(f"precision={hps.precision} is meant for a GPU: on a CPU it is slow", flush=True)


def run_worker(args, context: DistributedContext) -> int:
    """Train as one of the workers -> exit code."""
    hps = HParams.from_json(context.broadcast_string(choose_hparams(args).to_json() if context.is_chief else ""))
    shard, batch_size = (context.index, context.count), context.share(hps.batch_size)
    *loaders, hps = load_dataset(args.data_dir, hps, rasterize=rasterize_all, shard=shard)
    train_set = loaders[0]
    context.assert_equal_across_workers(
        [hps.max_seq_len, train_set.skipped, *train_set.category_scale_factors.values()]
    )
    train_set.batch_size = batch_size
    roots = Path(args.snapshot_root), Path(args.log_root)
    locks = (
        lock_output_dirs(*roots, args.resume_training, args.overwrite) if context.is_chief else contextlib.ExitStack()
    )
    with locks:
        trainer = Trainer(hps, context)
        snapshots, log = setup_run(args, train_set, trainer) if context.is_chief else (NullLogger(), NullLogger())
        context.broadcast_state(trainer.state)
        log_run_summary(trainer, loaders)
        try:
            return train(trainer, loaders, snapshots, log)
        except PEER_LOST:
            if context.count > 1:
                snapshots.save("latest")  # a step is done whole or not at all
                log.plot()
            raise


def limit_cpu_threads() -> None:
    """Let an operation have a microbatch's share of the cores, as the microbatches are computed side by side.

    ``TF_NUM_INTRAOP_THREADS`` has the last word; too late, and without effect, once TensorFlow has begun to compute.
    """
    if tf.config.list_physical_devices("GPU") or os.environ.get("TF_NUM_INTRAOP_THREADS"):
        return
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(max(1, available_cores() // CPU_MICROBATCHES))


def main(argv=None) -> int:
    """Train as the command line says -> exit code. Ends the process with ``PEER_LOST_CODE`` if a worker is lost."""
    args = parse_args(argv)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # leave room for others on the card
    limit_cpu_threads()
    context = DistributedContext(choose_strategy())
    try:
        return run_worker(args, context)
    except PEER_LOST as error:
        if context.count == 1:
            raise
        return end_after_lost_worker(error)


if __name__ == "__main__":
    run_script(main)
