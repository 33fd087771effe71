"""The original's names and formats as literals (spec §6-7): hyper-parameters, log lines, TensorBoard tags, flags."""

import ast
import csv
import dataclasses
import functools
import itertools
import json
import math
import time
from pathlib import Path

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hparams
import model
import sketch_pix2seq_train as training
from distributed import DistributedContext
from extensions import PRESETS
from hparams import HParams
from model import get_default_hparams
from rnn import CELLS

ROOT = Path(__file__).resolve().parent.parent

# ---- hyper-parameters ------------------------------------------------------------------------------------------------

ORIGINAL = {  # spec §6, in its words and order
    "num_steps": 10000000,
    "save_every": 2000,
    "img_H": 48,
    "img_W": 48,
    "max_seq_len": 250,
    "dec_rnn_size": 512,
    "dec_model": "hyper",
    "z_size": 128,
    "batch_size": 100,
    "grad_clip": 1.0,
    "num_mixture": 20,
    "learning_rate": 0.001,
    "decay_rate": 0.9999,
    "min_learning_rate": 0.00001,
    "use_recurrent_dropout": True,
    "recurrent_dropout_prob": 0.90,
    "use_input_dropout": False,
    "input_dropout_prob": 0.90,
    "use_output_dropout": False,
    "output_dropout_prob": 0.90,
    "random_scale_factor": 0.15,
    "augment_stroke_prob": 0.10,
    "conditional": True,
}


@pytest.mark.parametrize("name, value", ORIGINAL.items())
def test_defaults_of_the_original(name, value):
    for hps in (get_default_hparams(), HParams(["a.npz"])):
        actual = getattr(hps, name)
        assert actual == value and type(actual) is type(value)


def test_default_data_set_is_the_doodles():
    assert get_default_hparams().data_set == [
        f"doodle_{category}.npz" for category in ("car", "cat", "fish", "flower", "house", "sailboat")
    ]


def test_every_field_has_a_default_of_its_type_and_is_parsed():
    for field in dataclasses.fields(HParams):
        value = getattr(get_default_hparams(), field.name)
        if isinstance(value, list):
            text = "[" + ",".join(str(item) for item in value) + "]"
            assert field.type in (list[str], list[int])
        else:
            text = str(value)
            assert type(value) is field.type
        assert getattr(get_default_hparams().parse(f"{field.name}={text}"), field.name) == value


def test_is_training_is_no_field():
    assert "is_training" not in get_default_hparams().values()
    with pytest.raises(ValueError, match="is_training"):
        get_default_hparams().parse("is_training=True")


def test_presets_begin_with_the_default():
    assert training.parse_args([]).preset == "default"
    assert training.choose_hparams(training.parse_args([])) == get_default_hparams()


@pytest.mark.parametrize(
    "text, changes",
    [
        ("", {}),
        ("dec_model=lstm", {"dec_model": "lstm"}),
        ("data_set=[a.npz,b.npz]", {"data_set": ["a.npz", "b.npz"]}),
        ("data_set=[a.npz]", {"data_set": ["a.npz"]}),
        ("data_set=a.npz", {"data_set": ["a.npz"]}),
        ("data_set=['a.npz', \"b.npz\"],z_size=3", {"data_set": ["a.npz", "b.npz"], "z_size": 3}),
        (" z_size = 3 , dec_rnn_size = 4 ", {"z_size": 3, "dec_rnn_size": 4}),
        ("z_size=3,", {"z_size": 3}),
        ("learning_rate=1e-4,grad_clip=2", {"learning_rate": 1e-4, "grad_clip": 2.0}),
        ("conditional=False,use_input_dropout=true", {"conditional": False, "use_input_dropout": True}),
        ("conditional=0,use_input_dropout=1", {"conditional": False, "use_input_dropout": True}),
        ("enc_filters=[8,16]", {"enc_filters": [8, 16]}),
    ],
)
def test_parsing(text, changes):
    actual = get_default_hparams().parse(text).values()
    assert actual == {**get_default_hparams().values(), **changes}
    for name, value in changes.items():
        assert type(actual[name]) is type(value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("dec_rnn_sise=3", ["dec_rnn_sise", "did you mean 'dec_rnn_size'"]),
        ("batchsize=3", ["batchsize", "did you mean 'batch_size'"]),
        ("qqqq=3", ["qqqq", "dec_model"]),  # near to nothing: all are named
        ("z_size", ["z_size", "key=value"]),
        ("z_size=3.5", ["z_size", "3.5", "whole number"]),
        ("z_size=many", ["z_size", "many", "whole number"]),
        ("z_size=True", ["z_size", "whole number"]),
        ("learning_rate=fast", ["learning_rate", "fast", "number"]),
        ("learning_rate=nan", ["learning_rate", "nan"]),
        ("grad_clip=inf", ["grad_clip", "inf"]),
        ("conditional=maybe", ["conditional", "maybe", "True or False"]),
        ("conditional=2", ["conditional", "True or False"]),
        ("dec_model=gru", ["dec_model", "gru", "lstm", "layer_norm", "hyper"]),
        ("img_H=0", ["img_H", "0"]),
        ("img_W=-48", ["img_W", "-48"]),
        ("batch_size=0", ["batch_size"]),
        ("recurrent_dropout_prob=0", ["recurrent_dropout_prob", "keep"]),
        ("recurrent_dropout_prob=1.5", ["recurrent_dropout_prob", "1.5"]),
        ("random_scale_factor=1", ["random_scale_factor"]),
        ("data_set=[]", ["data_set"]),
        ("data_set=[a.npz,a.npz]", ["data_set", "a.npz"]),
        ("data_set=[a b.npz,c,a_b]", ["data_set", "'a b.npz', 'a_b'", "once"]),  # the same file, by its other name
        ("decay_rate=1.5", ["decay_rate", "1.5"]),  # which would overflow in the end
        ("min_learning_rate=-1", ["min_learning_rate", "-1"]),
        ("max_seq_len=99999", ["max_seq_len", "16384"]),
        ("data_set=[a.npz", ["brackets", "data_set=[a.npz"]),
        ("enc_filters=[8,x]", ["enc_filters", "x", "whole number"]),
    ],
)
def test_parsing_refuses(text, words):
    with pytest.raises(ValueError) as error:
        get_default_hparams().parse(text)
    for word in words:
        assert word in str(error.value)


def test_json_and_back():
    hps = get_default_hparams().parse("dec_model=lstm,conditional=False,learning_rate=0.002,enc_filters=[1,2]")
    assert HParams.from_json(hps.to_json()) == hps


def test_json_of_an_original():
    values = {"data_set": ["a.npz"], **ORIGINAL, "is_training": True}
    hps = HParams.from_json(json.dumps(values))
    assert {name: getattr(hps, name) for name in ORIGINAL} == ORIGINAL
    assert hps.skip_padding is False  # as it worked there
    numbers = {name: int(value) if isinstance(value, bool) else value for name, value in values.items()}
    assert HParams.from_json(json.dumps(numbers | {"data_set": "a.npz"})) == hps
    with pytest.raises(ValueError, match="no data_set"):
        HParams.from_json(json.dumps(ORIGINAL))
    with pytest.raises(ValueError, match="enc_rnn_sizes"):
        HParams.from_json(json.dumps(values | {"enc_rnn_sizes": 3}))
    with pytest.raises(ValueError, match="object"):
        HParams.from_json("[1, 2]")


@pytest.mark.parametrize("old, name", hparams.ALIASES.items())
def test_old_names_are_read_for_ever(old, name):
    hps = get_default_hparams().parse(f"use_position=True,{name}=1")
    assert get_default_hparams().parse(f"pen_position=True,{old}=1") == hps
    values = hps.values()
    values[old] = values.pop(name)
    assert HParams.from_json(json.dumps(values)) == hps
    with pytest.raises(ValueError, match=f"{name} is given twice"):
        hps.replace(**{name: 1, old: 1})


def test_choices_are_what_there_is():
    assert set(hparams.CELL_NAMES) == set(CELLS)
    own = {"unroll": "test_device.py", "precision": "test_device.py", "bitmaps": "test_packed_store.py"}  # where tested
    assert hparams.CHOICES.keys() == {"dec_model", "enc_model", *own}
    assert set(hparams.CHOICES["dec_model"]) == set(CELLS)
    assert set(hparams.CHOICES["enc_model"]) == set(model.ENCODERS)


def test_groups_of_fields_name_fields():
    names = {field.name for field in dataclasses.fields(HParams)}
    assert {*hparams.ARCHITECTURE_FIELDS, *hparams.VALIDATION_FIELDS, *hparams.ALIASES.values()} <= names
    assert not names & hparams.ALIASES.keys()
    for changes in PRESETS.values():
        assert changes.keys() <= names
        get_default_hparams().replace(**changes)


@functools.cache
def fields_read() -> set[str]:
    """What the modules ask of ``hps``: attributes, and names that stand as text in a module with ``getattr(hps``."""
    asked = set()
    for path in ROOT.glob("*.py"):
        text = path.read_text() if path.name != "hparams.py" else ""
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] == "hps":
                asked.add(node.attr)
            if isinstance(node, ast.Constant) and "getattr(hps" in text:
                asked.add(node.value)
    return asked


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(HParams)])
def test_every_hyper_parameter_is_read_somewhere(field):
    assert field in fields_read()


# ---- log lines and TensorBoard ---------------------------------------------------------------------------------------


def read_scalars(log_root):
    """Tag -> list of (step, value)."""
    accumulator = EventAccumulator(str(log_root), size_guidance={"tensors": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in accumulator.Tensors(tag)]
        for tag in accumulator.Tags()["tensors"]
    }


def test_log_lines_and_scalars(tmp_path, capsys):
    log = training.RunLog(tmp_path, 0)
    log.train(20, {"lr": 0.00099802}, {"cost": 1.23456, "recon": 1.23456}, 7.00004)
    log.valid(40, 0.5, {"cost": 0.61237, "recon": 0.61237}, 3.25)
    log.test(40, {"cost": -0.70005, "recon": -0.70005}, 12.0)
    log.writer.close()
    assert capsys.readouterr().out.splitlines() == [
        "step: 20, lr: 0.000998, cost: 1.2346, recon: 1.2346, train_time_taken: 7.0000",
        "best_valid_cost: 0.5000, valid_cost: 0.6124, valid_recon: 0.6124, valid_time_taken: 3.2500",
        "eval_cost: -0.7000, eval_recon: -0.7000, eval_time_taken: 12.0000",
    ]
    expected = {
        "Train_Cost": (20, 1.23456),
        "Train_Reconstr_Cost": (20, 1.23456),
        "Learning_Rate": (20, 0.00099802),
        "Time_Taken_Train": (20, 7.00004),
        "Valid_Cost": (40, 0.61237),
        "Valid_Reconstr_Cost": (40, 0.61237),
        "Valid_Cost_Best": (40, 0.5),
        "Eval_Cost": (40, -0.70005),
        "Eval_Reconstr_Cost": (40, -0.70005),
    }
    scalars = read_scalars(tmp_path)
    assert scalars.keys() == expected.keys()
    for tag, (step, value) in expected.items():
        assert scalars[tag] == [(step, pytest.approx(value, rel=1e-6))]
    assert read_rows(tmp_path) == [
        {"step": "20", "split": "train", "seconds": "7.00004", "learning_rate": "0.00099802", **both("1.23456")},
        {"step": "40", "split": "valid", "seconds": "3.25", "learning_rate": "", **both("0.61237")},
        {"step": "40", "split": "test", "seconds": "12.0", "learning_rate": "", **both("-0.70005")},
    ]


def both(text):
    return {"cost": text, "recon": text}


def read_rows(log_root):
    with open(log_root / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_log_lines_and_scalars_with_a_kl_term(tmp_path, capsys):
    log = training.RunLog(tmp_path, 0)
    log.train(20, {"lr": 0.00099802, "klw": 0.125}, {"cost": 1.5, "recon": 1.25, "kl": 0.25}, 7.0)
    log.valid(40, 0.5, {"cost": 1.75, "recon": 1.25, "kl": 0.5}, 3.25)
    log.test(40, {"cost": 2.0, "recon": 1.375, "kl": 0.625}, 12.0)
    log.writer.close()
    assert capsys.readouterr().out.splitlines() == [
        "step: 20, lr: 0.000998, klw: 0.1250, cost: 1.5000, recon: 1.2500, kl: 0.2500, train_time_taken: 7.0000",
        "best_valid_cost: 0.5000, valid_cost: 1.7500, valid_recon: 1.2500, valid_kl: 0.5000, valid_time_taken: 3.2500",
        "eval_cost: 2.0000, eval_recon: 1.3750, eval_kl: 0.6250, eval_time_taken: 12.0000",
    ]
    scalars = {tag: value for tag, [(_, value)] in read_scalars(tmp_path).items()}
    assert scalars["Train_KL_Cost"] == 0.25 and scalars["KL_Weight"] == 0.125
    assert scalars["Valid_KL_Cost"] == 0.5 and scalars["Eval_KL_Cost"] == 0.625
    assert [float(row["kl"]) for row in read_rows(tmp_path)] == [0.25, 0.5, 0.625]


def test_a_new_loss_is_logged_under_its_name(tmp_path, capsys):
    """Also in a file that had no such column."""
    training.RunLog(tmp_path, 0).train(20, {"lr": 0.001}, {"cost": 1.0, "recon": 1.0}, 1.0)
    log = training.RunLog(tmp_path, 21)
    log.train(40, {"lr": 0.001}, {"cost": 1.5, "recon": 1.0, "ink": 0.5}, 1.0)
    log.writer.close()
    assert "recon: 1.0000, ink: 0.5000, train_time_taken" in capsys.readouterr().out
    assert [row["ink"] for row in read_rows(tmp_path)] == ["", "0.5"]
    assert read_scalars(tmp_path)["Train_ink"] == [(40, 0.5)]


def test_resumed_log_forgets_what_comes_after_its_first_step(tmp_path):
    log = training.RunLog(tmp_path, 0)
    for step in (20, 40, 60):
        log.train(step, {"lr": 0.001}, {"cost": 1.0, "recon": 1.0}, 1.0)
    training.RunLog(tmp_path, 41)
    assert [row["step"] for row in read_rows(tmp_path)] == ["20", "40"]


class Recorder:
    """A trainer, its log and its snapshots in one: it learns nothing and writes down what it is asked for."""

    def __init__(self, hps, first, valid_costs):
        self.hps, self.next_step, self.valid_costs = hps, first, list(valid_costs)
        self.calls, self.skipped_in_a_row, self.skipped_updates = [], 0, 0
        self.best, self.best_valid_cost = math.inf, self
        self.root, self.newest, self.context = "nowhere", None, DistributedContext()

    def __float__(self):
        return self.best

    def assign(self, value):
        self.best = value

    def batches(self, loader, first):
        return itertools.count(first)

    def update(self, batch, step):
        assert batch == step == self.next_step
        self.next_step += 1
        time.sleep(UPDATE_SECONDS)
        return {"cost": 0.5}

    def rates(self, step):
        return {"lr": 0.001}

    def evaluate(self, loader):
        time.sleep(EVALUATION_SECONDS)
        return {"cost": self.valid_costs.pop(0) if loader == "valid" else 9.0}

    def save(self, kind):
        self.calls.append((f"save {kind}", self.next_step - 1))
        return kind

    def train(self, step, rates, losses, seconds):
        self.calls.append(("train", step))
        assert seconds < EVALUATION_SECONDS  # of the steps alone

    def valid(self, step, best, losses, seconds):
        self.calls.append(("valid", step, best, losses["cost"]))
        assert seconds >= EVALUATION_SECONDS

    def test(self, step, losses, seconds):
        self.calls.append(("test", step, losses["cost"]))

    def has(self, split, step):
        return any(call[:2] == (split, step) for call in self.calls)

    def plot(self):
        pass

    def info(self, line):
        pass


UPDATE_SECONDS, EVALUATION_SECONDS = 0.0005, 0.1


def run_recorder(valid_costs, first=0, **changes):
    recorder = Recorder(get_default_hparams().replace(save_minutes=1000.0, **changes), first, valid_costs)
    assert training.train(recorder, ("train", "valid", "test"), recorder, recorder) == 0
    return recorder


def test_when_lines_are_logged_and_snapshots_written():
    # step % 20 and step % save_every, neither at step 0; the test split after a better validation, which is saved last
    calls = run_recorder([3.0, 4.0, 2.0, 5.0], num_steps=81, save_every=25).calls
    assert [call for call in calls if call != ("save latest", call[1])] == [
        ("train", 20),
        ("valid", 25, 3.0, 3.0),
        ("test", 25, 9.0),
        ("save best", 25),
        ("train", 40),
        ("valid", 50, 3.0, 4.0),
        ("train", 60),
        ("valid", 75, 2.0, 2.0),
        ("test", 75, 9.0),
        ("save best", 75),
        ("train", 80),
        ("valid", 80, 2.0, 5.0),  # at the end (ours)
    ]


def test_num_steps_counts_from_zero_when_resumed():
    assert run_recorder([1.0], first=90, num_steps=100).next_step == 100
    calls = run_recorder([1.0], first=100, num_steps=100).calls  # nothing left to do but to measure, once
    assert [call[0] for call in calls] == ["valid", "test", "save best", "save latest"]


def test_equal_validation_is_no_improvement():
    calls = run_recorder([3.0, 3.0, 3.0], num_steps=62, save_every=30).calls
    assert [call for call in calls if call[0] == "save best"] == [("save best", 30)]


def test_the_last_step_is_not_validated_twice():
    calls = run_recorder([3.0, 2.0], num_steps=61, save_every=30).calls
    assert [call[1] for call in calls if call[0] == "valid"] == [30, 60]


# ---- flags -----------------------------------------------------------------------------------------------------------


def test_flags_of_the_training_script():
    args = vars(training.parse_args([]))
    original = {
        "data_dir": "datasets",
        "log_root": "outputs/log",
        "snapshot_root": "outputs/snapshot",
        "resume_training": False,
        "hparams": "",
    }
    assert {name: args[name] for name in original} == original
    given = training.parse_args(
        ["--data_dir=d", "--log_root", "l", "--snapshot_root=s", "--hparams", "z_size=3,data_set=[a]"]
    )
    assert (given.data_dir, given.log_root, given.snapshot_root) == ("d", "l", "s")
    hps = training.choose_hparams(given)
    assert (hps.z_size, hps.data_set) == (3, ["a"])


@pytest.mark.parametrize(
    "argument, expected",
    [
        ("--resume_training", True),
        ("--resume_training=True", True),
        ("--resume_training=true", True),
        ("--resume_training=1", True),
        ("--noresume_training", False),
        ("--resume_training=False", False),
        ("--resume_training=0", False),
    ],
)
@pytest.mark.parametrize("after", [[], ["--log_root=elsewhere"]])
def test_resume_training_in_all_its_forms(argument, expected, after):
    args = training.parse_args([argument, *after])
    assert args.resume_training is expected
    assert args.log_root == ("elsewhere" if after else "outputs/log")


@pytest.mark.parametrize("argument", ["--resume_training=perhaps", "--no_such_flag=1", "stray"])
def test_wrong_flags_end_with_code_2(argument, capsys):
    with pytest.raises(SystemExit) as error:
        training.parse_args([argument])
    assert error.value.code == 2
    assert argument.partition("=")[0] in capsys.readouterr().err


def test_flags_of_the_sampling_script():
    import sketch_pix2seq_sampling as sampling

    args = vars(sampling.parse_args([]))
    original = {"data_dir": "datasets", "model_dir": "outputs/snapshot", "sampling_dir": "outputs/sampling"}
    assert {name: args[name] for name in original} == original
    assert args["num_drawings"] is None and args["split"] is None  # 20 of the test split, see test_sampling.py
    given = sampling.parse_args(["--data_dir=d", "--model_dir", "m", "--sampling_dir=s"])
    assert (given.data_dir, given.model_dir, given.sampling_dir) == ("d", "m", "s")
    assert sampling.TEMPERATURES == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert (sampling.GRID_ROWS, sampling.GRID_SPACING) == (3, 20)


def test_log_interval_is_the_originals():
    assert training.LOG_EVERY == 20
