"""Several workers train one model: two processes on this machine, and two replicas in one process."""

import functools
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from miniatures import ROOT, TINY, arguments, make_toy_data, metrics, newest_state, state
from numpy_reference import relative_error

from distributed import PEER_LOST_CODE, DistributedContext, choose_strategy
from model import get_default_hparams
from script import run_script
from sketch_pix2seq_train import Trainer, main
from snapshots import LATEST_DIR, list_snapshots, snapshot_step
from utils import load_dataset

STEPS = 5
ALL = 12  # training drawings: a step takes every one, so that which worker has which makes no difference
SURE = {  # without chance: no dropout, no augmentation, and a sigma of z that is exp(-30)
    "use_recurrent_dropout": False, "random_scale_factor": 0, "augment_stroke_prob": 0, "presig_bias": -60,
    "kl_weight": 0.01, "save_every": 3, "save_minutes": 1e-9, "keep_snapshots": 10**6,
}  # fmt: skip


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return make_toy_data(tmp_path_factory.mktemp("data"), lengths=(4, 5), sizes=(16,))  # of one length: fewer graphs


@pytest.fixture(scope="module")
def alone(data_dir, tmp_path_factory) -> Path:
    """One worker's run of five steps, each with all drawings."""
    run = tmp_path_factory.mktemp("alone")
    tf.config.run_functions_eagerly(True)
    assert main(arguments(data_dir, run, **TINY | SURE | {"batch_size": ALL, "num_steps": STEPS})) == 0
    tf.config.run_functions_eagerly(False)
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
    """The two documented machines as processes of this one; only the chief is given the directories of the run.

    ``hosts`` are network namespaces for them, with the address of each, if they are not to share this one's network.
    """

    def __init__(self, data_dir, run, *flags, hosts=None, **hparams):
        self.run = run
        addresses = list(hosts.values()) if hosts else [f"127.0.0.1:{port}" for port in free_ports(2)]
        self.processes, self.files = [], []
        for index, config in enumerate(documented_configs()):
            config["cluster"]["worker"] = addresses
            own = (run, *flags) if index == 0 else (run / "nowhere",)
            command = arguments(data_dir, *own, **hparams if index == 0 else {})
            env = {**os.environ, "TF_CONFIG": json.dumps(config), "PYTHONUNBUFFERED": "1"}
            env.pop("TF_CPP_MIN_LOG_LEVEL", None)  # as a user sees it
            self.files.append(open(run / f"said{index}", "w+"))  # noqa: SIM115
            command = [sys.executable, str(ROOT / "sketch_pix2seq_train.py"), *command]
            command = ["ip", "netns", "exec", list(hosts)[index], *command] if hosts else command
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
        if begun() or "with a free port" not in pair.said(0) + pair.said(1):
            return pair
        pair.close()
    raise AssertionError(pair.said(0) + pair.said(1))


def saved_steps(run: Path) -> list[int]:
    return sorted(snapshot_step(path) for path in list_snapshots(run / "snapshot") if path.parent.name == LATEST_DIR)


def expect_same_training(run: Path, alone: Path) -> None:
    """Every weight after each of the first steps, and the losses of validation, to 1e-4."""
    for step in range(STEPS):
        actual, expected = (state(r / "snapshot" / LATEST_DIR / f"vector-{step}") for r in (run, alone))
        assert actual.keys() == expected.keys()
        errors = {name: relative_error(actual[name], expected[name]) for name in expected if name.startswith("model/")}
        assert max(errors.values()) < 1e-4, (step, errors)
    assert any(np.abs(actual[name] - state(alone / "snapshot/latest/vector-0")[name]).max() > 1e-3 for name in errors)
    rows = [[row for row in metrics(r) if row["step"] == "3"] for r in (run, alone)]
    assert [row["split"] for row in rows[0]] == [row["split"] for row in rows[1]] == ["valid", "test"]
    losses = [np.array([[float(row[name]) for name in ("cost", "recon", "kl")] for row in part]) for part in rows]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def expect_one_line_of_loss(said: str) -> None:
    """A run's own lines, and a last one that says that the other worker is gone."""
    *lines, last = said.strip().splitlines()
    assert re.search(r"another worker is gone \(.+\); start all of them again, with --resume_training", last), said
    ours = r"step: |best_valid|eval_|saved |TF_CONFIG is set|worker \d|lstm decoder|resum|\d+ of \d+ steps"
    assert all(re.match(ours, line) for line in lines), said


@pytest.fixture(scope="module")
def pair_killed(data_dir, tmp_path_factory):
    """Two workers that share each batch, the second killed under way -> (run, the other's exit code, both's words)."""
    run = tmp_path_factory.mktemp("pair") / "run"
    hparams = TINY | SURE | {"batch_size": ALL, "num_steps": 10**6}
    pair = start(data_dir, run, lambda: STEPS + 1 in saved_steps(run), **hparams)
    pair.processes[1].kill()
    code = pair.wait(0)
    said = pair.said(0), pair.said(1)
    pair.close()
    return run, code, said


def test_two_workers_follow_one(pair_killed, alone):
    run, _, said = pair_killed
    for index in range(2):
        assert f"worker {index} of 2: 6 train, 2 valid, 2 test drawings" in said[index]
    expect_same_training(run, alone)


def test_a_lost_worker_ends_the_others(pair_killed):
    run, code, said = pair_killed
    assert code == PEER_LOST_CODE
    expect_one_line_of_loss(said[0])
    end = newest_state(run)
    assert end["next_step"] == end["optimizer/_iterations"] > STEPS  # the step at which it was lost is not counted


@pytest.mark.slow
def test_two_workers_go_on_from_the_snapshot(pair_killed, data_dir):
    run, _, _ = pair_killed
    done = saved_steps(run)[-1]
    steps = done + 4

    pair = start(data_dir, run, lambda: False, "--resume_training", num_steps=steps)
    assert (pair.wait(0), pair.wait(1)) == (0, 0), pair.said(0) + pair.said(1)
    assert f"resuming from {run / 'snapshot' / LATEST_DIR / f'vector-{done}'}" in pair.said(0)
    for index in range(2):
        assert f"steps {done + 1} to {steps}" in pair.said(index)
    pair.close()
    assert saved_steps(run)[-1] == steps - 1
    assert newest_state(run)["optimizer/_iterations"] == steps
    assert [row["split"] for row in metrics(run) if row["step"] == str(steps - 1)][:1] == ["valid"]
    assert not (run / "nowhere").exists()  # the chief alone writes
    assert sorted(path.name for path in run.iterdir()) == ["log", "said0", "said1", "snapshot"]


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_gets_one_line(data_dir, tmp_path):
    pair = start(data_dir, tmp_path / "run", lambda: False, **TINY | {"batch_size": 5})
    assert [pair.wait(index) for index in range(2)] == [2, 2]
    for index in range(2):
        assert pair.said(index).splitlines()[-1].endswith("shared by 2 GPUs or workers; choose a multiple of 2")
        assert "Traceback" not in pair.said(index)
    pair.close()


@pytest.mark.slow
def test_two_replicas_follow_one(data_dir, alone, tmp_path):
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
    hparams = TINY | SURE | {"batch_size": ALL, "num_steps": STEPS}
    command = [sys.executable, "-c", script, *arguments(data_dir, tmp_path, **hparams)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 train, 4 valid, 4 test drawings" in done.stdout
    expect_same_training(tmp_path, alone)


# ---- without other processes -----------------------------------------------------------------------------------------


def test_alone_everything_is_ones_own():
    context = DistributedContext()
    assert (context.index, context.count, context.is_chief, context.replicas) == (0, 1, True, (0,))
    numbers = np.array([1.5, -2.0])
    np.testing.assert_array_equal(context.sum(numbers), numbers)
    assert context.broadcast_string("Größe") == "Größe"
    assert context.any(True) and not context.any(False)
    context.assert_equal_across_workers([1, 2])


@pytest.mark.parametrize("batch_size, own", [(2, 1), (100, 50)])
def test_workers_share_a_batch(batch_size, own):
    context = DistributedContext()
    assert context.share(batch_size + 1) == batch_size + 1
    context.strategy, context.count = types.SimpleNamespace(num_replicas_in_sync=2), 2
    assert context.share(batch_size) == own
    with pytest.raises(ValueError, match=f"batch_size {batch_size + 1} cannot be shared by 2 .* a multiple of 2"):
        context.share(batch_size + 1)


def test_one_who_is_asked_to_stop_stops_all(toy_data, tmp_path, monkeypatch, capsys):
    answers = iter([False, False, True, True, False])  # before each of three steps, and twice at the end
    monkeypatch.setattr(DistributedContext, "any", lambda self, flag: next(answers))
    monkeypatch.setattr(Trainer, "batches", lambda self, loader, first: itertools.count(first))
    monkeypatch.setattr(Trainer, "update", lambda self, batch, step: self.next_step.assign_add(1) and {"cost": 0.0})
    monkeypatch.setattr(DistributedContext, "assert_equal_across_workers", lambda self, numbers: None)
    assert main(arguments(toy_data, tmp_path, **TINY)) == 0
    assert "stopped before step 2; go on with" in capsys.readouterr().out


def test_shards_are_the_data_in_parts(toy_data):
    hps = get_default_hparams().parse("data_set=[toy.npz],img_H=16,img_W=16")
    *whole, whole_hps = load_dataset(toy_data, hps)
    parts = [load_dataset(toy_data, hps, shard=(i, 3)) for i in range(3)]
    for k, loader in enumerate(whole):
        drawings = [part[k].strokes(i).tobytes() for part in parts for i in range(len(part[k]))]
        assert sorted(drawings) == sorted(loader.strokes(i).tobytes() for i in range(len(loader)))
        sizes = [len(part[k]) for part in parts]
        assert max(sizes) - min(sizes) <= 1
    for train, *_, part_hps in parts:
        assert train.scale_factor == whole[0].scale_factor
        assert train.category_scale_factors == {"toy": train.scale_factor}
        assert part_hps == whole_hps
    with pytest.raises(ValueError, match="for worker 4 of 5 in toy"):
        load_dataset(toy_data, hps, shard=(4, 5))  # of 4 validation drawings


# ---- TF_CONFIG that names nobody else, or the wrong ones -------------------------------------------------------------

ORDINARY = [
    "",
    "{}",
    '{"cluster": {}}',
    '{"cluster": null}',
    '{"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": 0}}',
    '{"cluster": {"chief": ["localhost:1"]}, "task": {"type": "chief", "index": 0}}',
    '{"environment": "cloud"}',
]


@pytest.mark.parametrize("config", ORDINARY)
def test_one_worker_is_an_ordinary_run(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    assert choose_strategy() is tf.distribute.get_strategy()
    assert choose_strategy().num_replicas_in_sync == 1


@pytest.mark.slow
def test_one_worker_trains(data_dir, tmp_path):
    command = [sys.executable, str(ROOT / "sketch_pix2seq_train.py")]
    command += arguments(data_dir, tmp_path, **TINY | {"num_steps": 2})
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CONFIG": ORDINARY[4]})
    assert (done.returncode, done.stderr) == (0, "")
    assert "steps 0 to 2" in done.stdout and "worker 0 of" not in done.stdout


@pytest.mark.parametrize(
    "config, words",
    [
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}}', "TF_CONFIG names ps, which nothing here needs"),
        ('{"cluster": {"worker": ["a:1", "b:1"], "evaluator": ["c:1"]}}', "TF_CONFIG names evaluator"),
        ("{'cluster': {}}", "TF_CONFIG cannot be read"),
        ('{"cluster": {"worker": 3}}', "TF_CONFIG cannot be read"),
        ('{"cluster": {"worker": [["a:1"], ["b:1"]]}}', "TF_CONFIG cannot be read"),
        ('["a:1"]', "TF_CONFIG cannot be read"),
        ('{"cluster": {"worker": ["a:1", "b:1", "a:1"]}}', "TF_CONFIG names a:1 twice; expected"),
        ('{"cluster": {"chief": ["a:1"], "worker": ["a:1"]}}', "TF_CONFIG names a:1 twice; expected"),
    ],
)
def test_wrong_clusters_are_refused(config, words, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=rf"{words}.*host.*port") as error:
        choose_strategy()
    assert "\n" not in str(error.value)


def test_a_parameter_server_gets_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}}')
    with pytest.raises(SystemExit) as caught:
        run_script(lambda: main([f"--snapshot_root={tmp_path / 'none'}"]))
    assert caught.value.code == 2
    assert re.fullmatch(r".*: TF_CONFIG names ps, .*\n", capsys.readouterr().err)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "number, code, words",
    [
        (signal.SIGTERM, -signal.SIGTERM, []),
        pytest.param(signal.SIGINT, 130, ["sketch_pix2seq_train.py: stopped"], marks=pytest.mark.slow),
    ],
)
def test_a_worker_that_waits_for_others_can_be_ended(number, code, words, data_dir, tmp_path):
    config = documented_configs()[0]
    config["cluster"]["worker"] = [f"127.0.0.1:{port}" for port in free_ports(2)]
    command = [sys.executable, "-u", str(ROOT / "sketch_pix2seq_train.py"), *arguments(data_dir, tmp_path, **TINY)]
    environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests run in the background ignore it
    with subprocess.Popen(command, env=environment, text=True, preexec_fn=heed, **pipes) as process:
        try:
            assert "waiting until all workers" in process.stdout.readline()
            time.sleep(2)
            assert process.poll() is None
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    assert errors.strip().splitlines() == words


def test_a_port_that_is_taken_is_named(monkeypatch):
    with socket.create_server(("", 0)) as taken:
        addresses = [f"127.0.0.1:{port}" for port in (taken.getsockname()[1], *free_ports(1))]
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}}
        for wrong in (
            {},
            {"task": {"type": "worker", "index": 2}},
            {"task": {"type": "chief", "index": 0}},
            {"task": 3},
        ):
            monkeypatch.setenv("TF_CONFIG", json.dumps({**config, **wrong}))
            with pytest.raises(ValueError, match=r"no worker can be started as TF_CONFIG says .*, with a free port"):
                choose_strategy()
