"""Several workers train one model: two processes on this machine, and two replicas in one process."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy_reference import relative_error
from test_trust import TINY, arguments, make_data, metrics, newest_state, state

from model import LATEST_DIR, get_default_hparams, list_snapshots, snapshot_step
from sketch_pix2seq_train import PEER_LOST_CODE, Costs, Trainer, Workers, main
from utils import load_dataset

ROOT = Path(__file__).resolve().parent.parent
STEPS = 5
ALL = 12  # training drawings: a step takes every one, so that which worker has which makes no difference
SURE = {  # without chance: no dropout, no augmentation, and a sigma of z that is exp(-30)
    "use_recurrent_dropout": False, "random_scale_factor": 0, "augment_stroke_prob": 0, "presig_bias": -60,
    "kl_weight": 0.01, "save_every": 3, "save_minutes": 1e-9, "keep_snapshots": 10**6,
}  # fmt: skip


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), lengths=(4, 5), sizes=(16,))  # of one length: fewer graphs


@pytest.fixture(scope="module")
def alone(data_dir, tmp_path_factory) -> Path:
    """One worker's run of five steps, each with all drawings."""
    run = tmp_path_factory.mktemp("alone")
    assert main(arguments(data_dir, run, **TINY | SURE | {"batch_size": ALL, "num_steps": STEPS})) == 0
    return run


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    ports = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    return ports


def documented_configs() -> list[dict]:
    """``TF_CONFIG`` of each machine of docs/distributed.md."""
    lines = re.findall(
        r"^TF_CONFIG='(.+)' python sketch_pix2seq_train\.py ", (ROOT / "docs/distributed.md").read_text(), re.M
    )
    return [json.loads(line) for line in lines]


class Pair:
    """The two documented machines as processes of this one; only the chief is given the directories of the run."""

    def __init__(self, data_dir, run, *flags, **hparams):
        self.run = run
        addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
        self.processes, self.files = [], []
        for index, config in enumerate(documented_configs()):
            config["cluster"]["worker"] = addresses
            own = (run, *flags) if index == 0 else (run / "nowhere",)
            command = arguments(data_dir, *own, **hparams if index == 0 else {})
            env = {**os.environ, "TF_CONFIG": json.dumps(config), "TF_CPP_MIN_LOG_LEVEL": "3"}
            self.files.append(open(run / f"said{index}", "w+"))  # noqa: SIM115
            command = [sys.executable, str(ROOT / "sketch_pix2seq_train.py"), *command]
            self.processes.append(
                subprocess.Popen(command, env=env, stdout=self.files[index], stderr=subprocess.STDOUT)
            )

    def said(self, index: int) -> str:
        return (self.run / f"said{index}").read_text()

    def ended(self) -> bool:
        return any(process.poll() is not None for process in self.processes)

    def wait(self, index: int, seconds: float = 120) -> int:
        return self.processes[index].wait(seconds)

    def close(self) -> None:
        for process, file in zip(self.processes, self.files, strict=True):
            process.kill()
            process.wait()
            file.close()


def start(data_dir, run, begun, *flags, **hparams) -> Pair:
    """A pair for which ``begun()`` holds, tried again if another program was quicker to take a port."""
    run.mkdir(exist_ok=True)
    for _ in range(3):
        pair = Pair(data_dir, run, *flags, **hparams)
        end = time.time() + 120
        while not begun():
            assert time.time() < end, pair.said(0) + pair.said(1)
            if pair.ended():
                break
            time.sleep(0.05)
        if begun() or "gRPC" not in pair.said(0) + pair.said(1):
            return pair
        pair.close()
    raise AssertionError(pair.said(0) + pair.said(1))


def saved_steps(run: Path) -> list[int]:
    return sorted(snapshot_step(path) for path in list_snapshots(run / "snapshot") if path.parent.name == LATEST_DIR)


def expect_same_training(run: Path, alone: Path) -> None:
    """Every weight after each of the first steps, and the costs of validation, to 1e-4."""
    for step in range(STEPS):
        found, wanted = (state(r / "snapshot" / LATEST_DIR / f"vector-{step}") for r in (run, alone))
        assert found.keys() == wanted.keys()
        errors = {name: relative_error(found[name], wanted[name]) for name in wanted if name.startswith("model/")}
        assert max(errors.values()) < 1e-4, (step, errors)
    assert any(np.abs(found[name] - state(alone / "snapshot/latest/vector-0")[name]).max() > 1e-3 for name in errors)
    costs = [[row for row in metrics(r) if row[0] == "3"] for r in (run, alone)]
    assert [row[:2] for row in costs[0]] == [row[:2] for row in costs[1]] == [["3", "valid"], ["3", "test"]]
    numbers = [np.array([row[2:4] for row in rows], float) for rows in costs]
    np.testing.assert_allclose(*numbers, rtol=1e-4)


@pytest.fixture(scope="module")
def pair_killed(data_dir, tmp_path_factory):
    """Two workers with half a batch each, the second killed under way -> (run, the other's exit code, both's words)."""
    run = tmp_path_factory.mktemp("pair") / "run"
    hparams = TINY | SURE | {"batch_size": ALL // 2, "num_steps": 10**6}
    pair = start(data_dir, run, lambda: STEPS + 1 in saved_steps(run), **hparams)
    pair.processes[1].kill()
    code = pair.wait(0)
    said = pair.said(0), pair.said(1)
    pair.close()
    return run, code, said


def test_two_workers_follow_one_with_their_batches_together(pair_killed, alone):
    run, _, said = pair_killed
    for index in range(2):
        assert f"worker {index} of 2: 6 train, 2 valid, 2 test drawings" in said[index]
    expect_same_training(run, alone)


def test_a_lost_worker_ends_the_others_who_go_on_from_the_snapshot(pair_killed, data_dir):
    run, code, said = pair_killed
    assert code == PEER_LOST_CODE
    last = said[0].strip().splitlines()[-1]
    assert re.search(r"another worker is gone \(.+\); start all of them again, with --resume_training", last), said[0]
    assert "Traceback" not in said[0]
    done = saved_steps(run)[-1]
    steps = done + 4

    pair = start(data_dir, run, lambda: False, "--resume_training", num_steps=steps)
    assert (pair.wait(0), pair.wait(1)) == (0, 0), pair.said(0) + pair.said(1)
    assert f"resuming from {run / 'snapshot' / LATEST_DIR / f'vector-{done}'}" in pair.said(0)
    for index in range(2):
        assert f"steps {done + 1} to {steps}" in pair.said(index)
    pair.close()
    assert saved_steps(run)[-1] == steps - 1
    assert newest_state(run)["optimizer/_iterations/.ATTRIBUTES/VARIABLE_VALUE"] == steps
    assert [row[1] for row in metrics(run) if row[0] == str(steps - 1)][:1] == ["valid"]
    assert not (run / "nowhere").exists()  # the chief alone writes
    assert sorted(path.name for path in run.iterdir()) == ["log", "said0", "said1", "snapshot"]


def test_two_replicas_follow_one_with_their_batches_together(data_dir, alone, tmp_path):
    """Several GPUs of one machine, with two halves of a CPU for them."""
    script = f"""
import sys, tensorflow as tf
sys.path.insert(0, {str(ROOT)!r})
import sketch_pix2seq_train as train
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
train.choose_strategy = lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
sys.exit(train.main(sys.argv[1:]))
"""
    hparams = TINY | SURE | {"batch_size": ALL // 2, "num_steps": STEPS}
    command = [sys.executable, "-c", script, *arguments(data_dir, tmp_path, **hparams)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 train, 4 valid, 4 test drawings" in done.stdout
    expect_same_training(tmp_path, alone)


# ---- without other processes -----------------------------------------------------------------------------------------


def test_alone_everything_is_ones_own():
    workers = Workers()
    assert (workers.index, workers.count, workers.is_chief, workers.replicas) == (0, 1, True, (0,))
    numbers = np.array([1.5, -2.0])
    np.testing.assert_array_equal(workers.sum(numbers), numbers)
    assert workers.text_from_chief("Größe") == "Größe"
    assert workers.any(True) and not workers.any(False)
    workers.require_same([1, 2])


def test_one_who_is_asked_to_stop_stops_all(data_dir, tmp_path, monkeypatch, capsys):
    answers = iter([False, False, True, True, False])  # before each of three steps, and twice at the end
    monkeypatch.setattr(Workers, "any", lambda self, flag: next(answers))
    monkeypatch.setattr(Trainer, "update", lambda self, batch, step: self.next_step.assign_add(1) and Costs(0, 0, 0))
    monkeypatch.setattr(Workers, "require_same", lambda self, numbers: None)
    assert main(arguments(data_dir, tmp_path, **TINY)) == 0
    assert "stopped before step 2; go on with" in capsys.readouterr().out


def test_shares_are_the_data_in_parts(data_dir):
    hps = get_default_hparams().parse("data_set=[toy.npz],img_H=16,img_W=16")
    *whole, whole_hps = load_dataset(data_dir, hps)
    parts = [load_dataset(data_dir, hps, share=(i, 3)) for i in range(3)]
    for k, loader in enumerate(whole):
        drawings = [part[k].strokes(i).tobytes() for part in parts for i in range(len(part[k]))]
        assert sorted(drawings) == sorted(loader.strokes(i).tobytes() for i in range(len(loader)))
        sizes = [len(part[k]) for part in parts]
        assert max(sizes) - min(sizes) <= 1
    for train, *_, part_hps in parts:
        assert (train.scale_factor, train.category_scale_factors) == (
            whole[0].scale_factor,
            {"toy": train.scale_factor},
        )
        assert part_hps == whole_hps
    with pytest.raises(ValueError, match="for worker 4 of 5 in toy"):
        load_dataset(data_dir, hps, share=(4, 5))  # of 4 validation drawings
