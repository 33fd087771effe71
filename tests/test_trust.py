"""What a run promises: exact resume, nothing overwritten, nothing lost to signals, damage, disks or bad numbers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import numpy as np
import pytest
import tensorflow as tf
from miniatures import CELL_NAMES, ROOT, TINY, arguments, assert_same, contents, metrics, newest_state, state

import run_log
import sketch_pix2seq_train
from hparams import HParams
from model import Model
from script import run_script
from sketch_pix2seq_train import MAX_SKIPPED_IN_A_ROW, NOT_FINITE_CODE, RunLog, Trainer, main
from snapshots import (
    LATEST_DIR,
    Snapshots,
    find_snapshot,
    is_tf2_checkpoint,
    list_snapshots,
    load_data_info,
    load_hparams,
    load_snapshot,
    load_weights,
    save_config,
    save_weights,
    snapshot_step,
)

ORIGINAL = ROOT / "tests" / "reference" / "trained_lstm"


def do_at_step(monkeypatch, step: int, action) -> None:
    """Let ``action()`` happen right after the update of a step, once."""
    update, done = Trainer.update, []

    def wrapped(self, batch, now):
        cost = update(self, batch, now)
        if now == step and not done:
            done.append(now)
            action()
        return cost

    monkeypatch.setattr(Trainer, "update", wrapped)


# ---------------------------------------------------------------------------------------------------------
# Exact resume, same seed


@pytest.mark.parametrize(
    "dec_model, graphs", [("lstm", False), *(pytest.param(cell, True, marks=pytest.mark.slow) for cell in CELL_NAMES)]
)
def test_three_steps_stop_and_five_are_eight(dec_model, graphs, tmp_path, monkeypatch, capsys, request):
    run_training = request.getfixturevalue("run_in_graphs" if graphs else "run_training")
    asked = {"dec_model": dec_model, "augment_stroke_prob": 0.2}
    assert run_training(tmp_path / "whole", **asked) == 0
    do_at_step(monkeypatch, 2, lambda: signal.raise_signal(signal.SIGTERM))
    assert run_training(tmp_path / "parts", **asked) == 0
    assert "stopped before step 3; go on with --resume_training --snapshot_root" in capsys.readouterr().out
    assert newest_state(tmp_path / "parts")["next_step"] == 3
    assert run_training(tmp_path / "parts", "--resume_training") == 0
    whole = newest_state(tmp_path / "whole")
    assert_same(newest_state(tmp_path / "parts"), whole)
    assert whole["next_step"] == 8
    count = {kind: sum(name.startswith(kind) for name in whole) for kind in ("model/weights", "optimizer/_variables")}
    assert count["optimizer/_variables"] >= 2 * count["model/weights"] > 0
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    for name in ("", LATEST_DIR):  # the best by validation and the newest state, each where it belongs
        parts, whole = (tmp_path / run / "snapshot" / name for run in ("parts", "whole"))
        assert (parts / "model_config.json").read_text() == (whole / "model_config.json").read_text()
        assert sorted(path.name for path in whole.glob("vector-*")) == sorted(
            path.name for path in parts.glob("vector-*") if name == "" or not path.name.startswith("vector-2.")
        )


def test_same_seed_same_run_and_another_seed_another(run_training, tmp_path, capsys):
    for run, seed in (("a", 5), ("b", 5), ("c", 6)):
        run_training(tmp_path / run, seed=seed, num_steps=3)
        assert f"seed {seed}, steps 0 to 3" in capsys.readouterr().out
        assert load_hparams(tmp_path / run / "snapshot").seed == seed
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b") != metrics(tmp_path / "c")
    assert_same(newest_state(tmp_path / "b"), newest_state(tmp_path / "a"))
    a, c = newest_state(tmp_path / "a"), newest_state(tmp_path / "c")
    assert (a["model/weights/RNN.Soutput_w"] != c["model/weights/RNN.Soutput_w"]).all()


# ---------------------------------------------------------------------------------------------------------
# Runs that meet


@pytest.fixture(scope="module")
def finished(toy_data, tmp_path_factory) -> Path:
    """A run of 8 steps, with snapshots after 3, 6 and 7, each cost logged. Copy it before you touch it."""
    run = tmp_path_factory.mktemp("finished")
    tf.config.run_functions_eagerly(True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sketch_pix2seq_train, "LOG_EVERY", 1)
        patched.setattr(sketch_pix2seq_train, "CPU_MICROBATCHES", 1)
        assert main(arguments(toy_data, run, **TINY)) == 0
    tf.config.run_functions_eagerly(False)
    return run


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def exit_code(function, *args, **kwargs) -> int:
    """That of a script, which says a user's mistake without a traceback."""
    with pytest.raises(SystemExit) as caught:
        run_script(lambda: function(*args, **kwargs))
    return caught.value.code


def test_new_run_never_overwrites(run, run_training, capsys):
    before = contents(run)
    assert exit_code(run_training, run) == 2
    message = capsys.readouterr().err
    assert "up to step 7" in message
    assert "--resume_training" in message
    assert "--overwrite" in message
    assert contents(run) == before


def test_overwrite_moves_the_old_run_aside(run, run_training, capsys):
    before = contents(run)
    for number in (1, 2):
        assert run_training(run, "--overwrite", num_steps=1) == 0
        assert f"snapshot-old-{number}" in capsys.readouterr().out
    for root in ("snapshot", "log"):
        expected = {name.removeprefix(f"{root}/"): data for name, data in before.items() if name.startswith(root)}
        assert contents(run / f"{root}-old-1") == expected
        assert contents(run / f"{root}-old-2")
    assert snapshot_step(list_snapshots(run / "snapshot-old-1")[0]) == 7
    assert snapshot_step(list_snapshots(run / "snapshot")[0]) == 0


def test_resume_refuses_what_changes_shapes(run, run_training, capsys):
    before = contents(run)
    changes = {"dec_rnn_size": 9, "z_size": 5, "num_mixture": 3, "dec_model": "layer_norm", "img_H": 48}
    assert exit_code(run_training, run, "--resume_training", **changes, conditional=False) == 2
    message = capsys.readouterr().err
    for name in (*changes, "conditional"):
        assert name in message
    assert "dec_rnn_size (8 -> 9)" in message
    assert contents(run) == before


def test_resume_takes_and_says_what_is_harmless(run, run_training, capsys):
    assert run_training(run, "--resume_training", learning_rate=0.01, batch_size=3, num_steps=9) == 0
    said = capsys.readouterr().out
    for line in ("learning_rate = 0.01 (was 0.001)", "batch_size = 3 (was 4)", "num_steps = 9 (was 8)"):
        assert f"resuming with {line}" in said
    hps = load_hparams(run / "snapshot")
    assert (hps.learning_rate, hps.batch_size, hps.num_steps) == (0.01, 3, 9)


def test_resume_without_a_run_is_refused(run_training, tmp_path, capsys):
    assert exit_code(run_training, tmp_path / "none", "--resume_training") == 2
    assert "not found" in capsys.readouterr().err


@pytest.mark.parametrize("root", ["snapshot", "log"])
def test_second_training_at_once_is_refused(run, run_training, capsys, root):
    with filelock.FileLock(run / root / ".lock"):
        for flags in (["--overwrite"], ["--resume_training"]):
            assert exit_code(run_training, run, *flags) == 2
            assert f"another training runs in {run / root}; " in capsys.readouterr().err
    assert run_training(run, "--resume_training", num_steps=8) == 0


def test_another_runs_log_is_left_alone(run, run_training, capsys):
    before = contents(run)
    assert exit_code(run_training, run, f"--snapshot_root={run / 'other'}") == 2
    assert "holds the log of another run; give another --log_root" in capsys.readouterr().err
    assert contents(run) == before


def test_overwrite_moves_nothing_but_the_run(run, run_training):
    for root in ("snapshot", "log"):
        (run / root / "mine").mkdir()
        (run / root / "mine" / "notes.txt").write_text("keep")
    assert run_training(run, "--overwrite", num_steps=1) == 0
    for root in ("snapshot", "log"):
        assert (run / root / "mine" / "notes.txt").read_text() == "keep"


def test_a_run_does_not_begin_with_what_it_would_write_over(run, run_training, capsys):
    before = contents(run)
    for directory in (run / "snapshot", run / "snapshot" / LATEST_DIR):
        assert exit_code(run_training, run, f"--init_from={directory}", "--overwrite") == 2
        assert "give another --snapshot_root" in capsys.readouterr().err
    assert contents(run) == before


def test_weights_alone_are_no_run_to_resume(run, run_training, tmp_path, capsys):
    exported = tmp_path / "other" / "snapshot"
    model = Model(load_hparams(run / "snapshot"))
    save_config(exported, model.hps, {})
    save_weights(model, exported, load_snapshot(model, run / "snapshot"))
    before = contents(exported)
    assert exit_code(run_training, exported.parent, "--resume_training") == 2
    assert f"weights alone, no run to resume; begin from them with --init_from {exported}" in capsys.readouterr().err
    assert contents(exported) == before


def test_best_cost_is_forgotten_when_another_is_measured(run, run_training):
    before = newest_state(run)["best_valid_cost"]
    assert run_training(run, "--resume_training", num_steps=9) == 0
    assert newest_state(run)["best_valid_cost"] <= before
    assert run_training(run, "--resume_training", num_steps=10, kl_weight=1, kl_tolerance=9) == 0  # costs 9 more
    assert newest_state(run)["best_valid_cost"] > before


def test_keep_snapshots(run_training, tmp_path):
    run_training(tmp_path, num_steps=5, save_every=1, keep_snapshots=2)
    for name in ("snapshot", f"snapshot/{LATEST_DIR}"):
        assert 1 <= len(list((tmp_path / name).glob("vector-*.index"))) <= 2
    assert [snapshot_step(path) for path in list_snapshots(tmp_path / "snapshot")][:2] in ([4, 4], [4, 3])


# ---------------------------------------------------------------------------------------------------------
# Signals, damage, disks


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(toy_data, tmp_path):
    command = [sys.executable, str(ROOT / "sketch_pix2seq_train.py")]
    command += arguments(toy_data, tmp_path, **TINY | {"num_steps": 10**6, "save_every": 10**6, "save_minutes": 1e-4})
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        end = time.time() + 60
        while not (tmp_path / "snapshot" / LATEST_DIR / "checkpoint").exists():
            assert process.poll() is None, process.stdout.read()
            assert time.time() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said
    newest = list_snapshots(tmp_path / "snapshot")[0]
    step = snapshot_step(newest)
    assert f"saved {newest}" in said
    assert f"stopped before step {step + 1}; go on with --resume_training --snapshot_root" in said
    assert "Traceback" not in said


class KilledError(BaseException):
    """Stands for SIGKILL: nothing that follows is done."""


def before(name: str, module=sketch_pix2seq_train):
    """The run is killed when it comes to something."""

    def kill(monkeypatch):
        owner, _, attribute = name.rpartition(".")
        owner = getattr(module, owner) if owner else module

        def die(*args, **kwargs):
            raise KilledError

        monkeypatch.setattr(owner, attribute, die)

    return kill


AWKWARD = {
    "before the test cost of the first best": before("RunLog.test"),
    "before the last validation": before("finish"),
    "before the first snapshot": before("Snapshots.save"),
    "at the first step": before("Trainer.update"),
}


@pytest.mark.parametrize(
    "moment",
    [pytest.param(moment, marks=pytest.mark.slow if moment == "at the first step" else ()) for moment in AWKWARD],
)
def test_killed_at_an_awkward_moment(moment, finished, run_training, tmp_path, monkeypatch):
    always = {"save_minutes": 1e-9}  # saves after every step
    with monkeypatch.context() as patched:
        AWKWARD[moment](patched)
        with pytest.raises(KilledError):
            run_training(tmp_path, **always)
    resuming = ["--resume_training"] if list_snapshots(tmp_path / "snapshot") else []
    assert run_training(tmp_path, *resuming, **({} if resuming else always)) == 0
    assert metrics(tmp_path) == metrics(finished)
    assert_same(newest_state(tmp_path), newest_state(finished))
    assert find_snapshot(tmp_path / "snapshot").name == find_snapshot(finished / "snapshot").name


def test_killed_while_metrics_are_taken_over(run, run_training, monkeypatch):
    rows = metrics(run)
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        before("write_file", run_log)(patched)
        run_training(run, "--resume_training")
    assert metrics(run) == rows


def test_no_row_of_another_runs_log_is_lost(run, run_training, tmp_path):
    log = (run / "log" / "metrics.csv").read_bytes()
    assert run_training(tmp_path / "short", num_steps=2) == 0
    flags = ["--resume_training", f"--log_root={run / 'log'}"]  # the wrong one, as if it had been left out
    assert run_training(tmp_path / "short", *flags, num_steps=3) == 0
    assert (run / "log" / "metrics.csv.before-step-2").read_bytes() == log


def test_every_validation_is_logged_once(run_training, tmp_path):
    run_training(tmp_path, num_steps=3, save_every=2)  # so that the last step is one of those
    validations = [row["step"] for row in metrics(tmp_path) if row["split"] == "valid"]
    assert validations == ["2"]


@pytest.fixture(scope="module")
def trainer(finished) -> Trainer:
    return Trainer(load_hparams(finished / "snapshot"))


def newest(run: Path, suffix: str) -> Path:
    path = list_snapshots(run / "snapshot")[0]
    return next(path.parent.glob(f"{path.name}.{suffix}*"))


def cut(suffix: str, share: float):
    def damage(run):
        path = newest(run, suffix)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return damage


def flip(suffix: str, share: float):
    def damage(run):
        data = bytearray((path := newest(run, suffix)).read_bytes())
        data[int(len(data) * share)] ^= 0xFF
        path.write_bytes(data)

    return damage


def write_checkpoint(content: bytes | str):
    def damage(run):
        content_bytes = content.encode() if isinstance(content, str) else content
        (run / "snapshot" / LATEST_DIR / "checkpoint").write_bytes(content_bytes)
        for path in (run / "snapshot").glob("vector-7.*"):  # so that the best is not the newest, too
            path.unlink()

    return damage


def leave_only_temporary_files(run):
    latest = run / "snapshot" / LATEST_DIR
    for path in [*latest.glob("vector-*"), latest / "checkpoint"]:
        path.unlink()
    (latest / "vector-7_temp").mkdir()
    (latest / "vector-7_temp" / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"half")
    (latest / "checkpoint.tmp0123").write_bytes(b"model_checkpoint_path")


DAMAGES = {
    **{f"{suffix} cut to {share}": cut(suffix, share) for suffix in ("data", "index") for share in (0.0, 0.5, 0.99)},
    **{f"{suffix} flipped at {share}": flip(suffix, share) for suffix in ("data", "index") for share in (0.1, 0.6)},
    "data gone": lambda run: newest(run, "data").unlink(),
    "index gone": lambda run: newest(run, "index").unlink(),
    "only temporary files": leave_only_temporary_files,
    "checkpoint names what is gone": write_checkpoint(
        "\n".join(
            f"{key}_checkpoint_path{end}"
            for key, end in (
                ("model", ': "vector-99"'),
                ("all_model", 's: "vector-6"'),
                ("all_model", 's: "vector-99"'),
            )
        )
    ),
    "checkpoint empty": write_checkpoint(""),
    "checkpoint cut": write_checkpoint('model_checkpoint_path: "vec'),
    "checkpoint nonsense": write_checkpoint("}{" * 1000),
    "checkpoint binary": write_checkpoint(bytes(range(128, 256))),
    "checkpoint of a long name": write_checkpoint(f'model_checkpoint_path: "{"x" * 5000}-1"'),
    "checkpoint of a huge step": write_checkpoint(f'model_checkpoint_path: "v-{"9" * 5000}"'),
    "checkpoint with a null byte": write_checkpoint('model_checkpoint_path: "v\\000-1"'),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_resume_takes_the_last_whole_snapshot(case, run, trainer):
    whole = {path: state(path) for path in list_snapshots(run / "snapshot")}
    DAMAGES[case](run)
    taken = Snapshots(trainer.checkpoint, run / "snapshot", trainer.hps, {}).restore()
    assert snapshot_step(taken) in (3, 6, 7)
    for weight in trainer.variables:
        assert np.isfinite(weight.numpy()).all()
    assert int(trainer.next_step) == whole[taken]["next_step"] == snapshot_step(taken) + 1
    expected = whole[taken]["model/weights/RNN.Soutput_w"]
    np.testing.assert_array_equal(trainer.model.weights["RNN/output_w"], expected)


@pytest.mark.parametrize("case", ["index cut to 0.0", "data cut to 0.5", "checkpoint empty"])
def test_script_resumes_from_the_last_whole_snapshot(case, run, run_training, capsys):
    for path in (run / "snapshot").glob("vector-7.*"):
        path.unlink()
    DAMAGES[case](run)
    assert run_training(run, "--resume_training", num_steps=9) == 0
    said = capsys.readouterr().out
    assert "vector-6" in next(line for line in said.splitlines() if line.startswith("resuming from"))
    assert snapshot_step(list_snapshots(run / "snapshot")[0]) == 8


def test_resume_says_when_nothing_is_whole(run, trainer):
    for path in (run / "snapshot").rglob("vector-*.data*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the snapshots in .* can be read"):
        Snapshots(trainer.checkpoint, run / "snapshot", trainer.hps, {}).restore()


@pytest.mark.parametrize("everything", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_snapshots_deleted_under_way(everything, run_training, tmp_path, monkeypatch):
    root = tmp_path / "snapshot"

    def delete():
        for path in [*root.rglob("vector-*"), *root.rglob("checkpoint")]:
            path.unlink()
        if everything:
            shutil.rmtree(root / LATEST_DIR)

    do_at_step(monkeypatch, 4, delete)
    assert run_training(tmp_path) == 0
    assert snapshot_step(list_snapshots(root)[0]) == 7
    monkeypatch.undo()
    assert load_snapshot(Model(load_hparams(root)), root) in (6, 7)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)  # TensorFlow keeps its log open


def fill(disk: Path) -> None:
    with open(disk / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


@pytest.mark.parametrize("full", ["snapshot", "log"])
def test_full_disk(full, small_disk, finished, run_training, tmp_path, monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / full).symlink_to(small_disk)
    with monkeypatch.context() as patched:
        do_at_step(patched, 4, lambda: fill(small_disk))
        patched.setattr(RunLog, "plot", lambda self: (self.root / f"{len(self.rows)}.png").write_bytes(bytes(20_000)))
        assert exit_code(run_training, tmp_path / "run") == 2
    message = capsys.readouterr().err
    assert "No space left on device" in message
    if full == "snapshot":
        for said in ("no snapshot could be written in", "the last good one is", "vector-3", "--resume_training"):
            assert said in message
        assert snapshot_step(list_snapshots(small_disk)[0]) == 3
    (small_disk / "filler").unlink()
    assert run_training(tmp_path / "run", "--resume_training") == 0
    assert_same(newest_state(tmp_path / "run"), newest_state(finished))


def test_read_only_disk(small_disk, run_training, tmp_path, capsys):
    (tmp_path / "run").symlink_to(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert exit_code(run_training, tmp_path / "run") == 2
    assert "Read-only file system" in capsys.readouterr().err


def test_directories_that_cannot_be(run_training, tmp_path, capsys):
    (tmp_path / "file").write_text("no directory")
    assert exit_code(run_training, tmp_path / "file") == 2
    assert "Not a directory" in capsys.readouterr().err
    (tmp_path / "log").write_text("no directory")
    assert exit_code(run_training, tmp_path) == 2
    assert str(tmp_path / "log") in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------
# Numbers gone bad


def spoil(monkeypatch, when) -> None:
    """Offsets without bounds in every batch of which ``when(step)``."""
    random_batch = Trainer.random_batch

    def wrapped(self, loader, step):
        batch = random_batch(self, loader, step)
        if when(step):
            batch.points[1, 0] = np.inf
        return batch

    monkeypatch.setattr(Trainer, "random_batch", wrapped)


def test_bad_updates_are_skipped_and_counted(run_training, tmp_path, monkeypatch, capsys):
    spoil(monkeypatch, lambda step: step in (2, 4, 5))
    assert run_training(tmp_path) == 0
    assert "updates skipped as not finite: 3" in capsys.readouterr().out
    end = newest_state(tmp_path)
    assert (end["skipped_updates"], end["skipped_in_a_row"], end["optimizer/_iterations"]) == (3, 0, 5)
    assert all(np.isfinite(value).all() for value in end.values())


def test_twenty_in_a_row_end_the_run_which_says_where_to_go_on(run_training, tmp_path, monkeypatch, capsys):
    weights = []

    def remember(self, batch, step, update=Trainer.update):
        losses = update(self, batch, step)
        weights.append({name: variable.numpy() for name, variable in self.model.weights.items()})
        return losses

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "update", remember)
        spoil(patched, lambda step: step > 2)
        assert exit_code(run_training, tmp_path, save_every=2, num_steps=1000) == NOT_FINITE_CODE == 4
    assert len(weights) == 3 + MAX_SKIPPED_IN_A_ROW == 23
    newest = list_snapshots(tmp_path / "snapshot")[0]
    said = capsys.readouterr().out
    assert "20 updates in a row were not finite: the run ends at step 22; the last good snapshot is " in said
    assert f"{newest}; go on from it with a smaller learning_rate" in said
    model = Model(load_hparams(tmp_path / "snapshot"))
    load_weights(model, newest)
    for later in (*weights[3:], model.weights):  # nothing has changed since the last good update
        assert_same(later, weights[2])
    assert run_training(tmp_path, "--resume_training", num_steps=25, learning_rate=0.0005) == 0
    assert newest_state(tmp_path)["skipped_in_a_row"] == 0


def test_a_learning_rate_beyond_all_bounds_ends_the_run(run_training, tmp_path, capsys):
    bad = {"learning_rate": 1e37, "min_learning_rate": 1e37, "num_steps": 1000, "save_every": 1000}
    assert exit_code(run_training, tmp_path, **bad) == NOT_FINITE_CODE
    said = capsys.readouterr().out
    assert "there is no snapshot; begin anew with a smaller learning_rate" in said


# ---------------------------------------------------------------------------------------------------------
# Untrusted snapshots


def test_original_snapshot_goes_on_and_is_kept(run_training, tmp_path, capsys):
    root = Path(shutil.copytree(ORIGINAL, tmp_path / "snapshot"))
    before = contents(root)
    for steps in (6, 7):
        assert run_training(tmp_path, "--resume_training", data_set="[toy.npz]", num_steps=steps, save_every=1) == 0
    said = capsys.readouterr().out
    assert f"resuming from {root / 'vector-4'}" in said
    assert f"resuming from {root / LATEST_DIR / 'vector-5'}" in said
    assert contents(root / "original") == before
    assert is_tf2_checkpoint(list_snapshots(root)[0])
    assert load_snapshot(Model(load_hparams(root / "original")), root / "original") == 4


def test_a_copy_of_an_original_that_was_cut_short_is_made_again(run_training, tmp_path, monkeypatch):
    root = Path(shutil.copytree(ORIGINAL, tmp_path / "snapshot"))
    before = contents(root)
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(shutil, "copy2", lambda *_: (_ for _ in ()).throw(KilledError()))
        run_training(tmp_path, "--resume_training", data_set="[toy.npz]", num_steps=6)
    assert run_training(tmp_path, "--resume_training", data_set="[toy.npz]", num_steps=6) == 0
    assert contents(root / "original") == before


@pytest.mark.parametrize("info", [{}, [], {"scale_factor": 1.0}, {"scale_factor": "x", "line_width": 1.0}])
def test_damaged_data_info_is_refused(info, tmp_path):
    (tmp_path / "model_config.json").write_text(good_config(data_info=info))
    with pytest.raises(ValueError, match=r"model_config\.json: \w+ of data_info"):
        load_data_info(tmp_path)


def good_config(**changes) -> str:
    values = HParams(data_set=["toy.npz"]).values() | changes
    return json.dumps({key: value for key, value in values.items() if value != "left out"})


CONFIGS = {
    "no JSON": "{'data_set': 1}",
    "empty": "",
    "a list": "[1, 2]",
    "a number": "5",
    "null": "null",
    "binary": bytes(range(128, 256)),
    "deep lists": "[" * 200_000 + "]" * 200_000,
    "deep in a field": good_config().replace('"toy.npz"', "[" * 200_000 + "]" * 200_000),
    "NaN": good_config(learning_rate=float("nan")),
    "infinity": good_config(grad_clip=float("inf")),
    "NaN as a size": good_config(z_size=float("nan")),
    "a number of 10,000 digits": good_config().replace('"z_size": 128', '"z_size": ' + "9" * 10_000),
    "1e999": good_config().replace('"z_size": 128', '"z_size": 1e999'),
    "text for a number": good_config(z_size="many"),
    "a list for a number": good_config(z_size=[1]),
    "an object for a number": good_config(z_size={"a": 1}),
    "null for a number": good_config(z_size=None),
    "half a unit": good_config(z_size=1.5),
    "negative": good_config(dec_rnn_size=-1),
    "a number for a name": good_config(dec_model=3),
    "an object for a list": good_config(data_set={"a": 1}),
    "numbers for names": good_config(data_set=[1, 2]),
    "no data_set": good_config(data_set="left out"),
    "an empty data_set": good_config(data_set=[]),
    "the same category 20,000 times": good_config(data_set=["a"] * 20_000),
    "unknown": good_config(__class__="x"),
    "an unknown key of a million letters": good_config(**{"x" * 10**6: 1}),
    "1e300 units": good_config(dec_rnn_size=1e300),
    "a million levels": good_config(enc_model="deep_cnn", enc_filters=[1] * 10**6),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_bad_config_is_refused(case, tmp_path):
    config = CONFIGS[case]
    path = tmp_path / "model_config.json"
    path.write_bytes(config if isinstance(config, bytes) else config.encode())
    start = time.time()
    with pytest.raises(ValueError, match=r"model_config\.json") as caught:
        load_hparams(tmp_path)
    assert time.time() - start < 10
    assert len(str(caught.value)) < 10_000


def test_config_of_many_categories_takes_no_time(tmp_path):
    (tmp_path / "model_config.json").write_text(good_config(data_set=[f"c{i}" for i in range(20_000)]))
    start = time.time()
    load_hparams(tmp_path)
    assert time.time() - start < 2


def test_data_set_that_leads_outside_is_refused(run, run_training, capsys):
    for config in (run / "snapshot").rglob("model_config.json"):
        config.write_text(config.read_text().replace("toy.npz", "../../../etc/passwd"))
    assert exit_code(run_training, run, "--resume_training") == 2
    assert "'../../../etc/passwd' is not the bare name of a file" in capsys.readouterr().err


def test_checkpoint_that_names_paths_outside(run, run_training, tmp_path):
    """Only the file names count: nothing outside is read, and nothing there is deleted to make room."""
    outside = Path(shutil.copytree(run / "snapshot" / LATEST_DIR, tmp_path / "outside"))
    before = contents(outside)
    for directory in (run / "snapshot", run / "snapshot" / LATEST_DIR):
        steps = [3, 6, 7]
        names = [f'all_model_checkpoint_paths: "{outside}/vector-{step}"' for step in steps]
        stamps = [f"all_model_checkpoint_timestamps: {time.time() - 100 + step}" for step in steps]
        newest_name = f'model_checkpoint_path: "../../../outside/vector-{7}"'
        (directory / "checkpoint").write_text("\n".join([newest_name, *names, *stamps]))
    inside = list_snapshots(run / "snapshot")
    assert inside
    assert all(path.parent in (run / "snapshot", run / "snapshot" / LATEST_DIR) for path in inside)
    assert run_training(run, "--resume_training", num_steps=10, save_every=1, keep_snapshots=1) == 0
    assert contents(outside) == before
    assert os.listdir(outside)
