"""Runs that an earlier version wrote (``tests/reference/runs``, by its ``record.py``): they draw the same and go on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from miniatures import assert_same, metrics, state

import rnn
from model import load_hparams, load_model, sample
from sketch_pix2seq_train import Trainer
from snapshots import Snapshots, find_snapshot, list_snapshots
from utils import load_dataset

RUNS = Path(__file__).resolve().parent / "reference" / "runs"


NAMES = ("lstm", "sharp", "layer_norm", "hyper")
every_run = pytest.mark.parametrize("earlier", NAMES, indirect=True)
slow_twins = [pytest.param(name, marks=pytest.mark.slow if name in NAMES[2:] else ()) for name in NAMES]


@pytest.fixture
def earlier(request, tmp_path, monkeypatch):
    """A copy of a run, and what its version got of it."""
    monkeypatch.setattr(rnn, "HYPER_UNITS", 4)
    monkeypatch.setattr(rnn, "HYPER_EMBEDDING", 2)
    shutil.copytree(RUNS / "data", tmp_path / "data")  # where it is packed, too
    run = Path(shutil.copytree(RUNS / request.param, tmp_path / request.param))
    return run, json.loads((run / "expected.json").read_text())


@every_run
def test_draws_the_same(earlier):
    run, expected = earlier
    model, step = load_model(run / "snapshot")
    assert step == expected["step"]
    strokes, _ = sample(model, 12, greedy_mode=True, z=np.linspace(-1, 1, model.hps.z_size))
    np.testing.assert_allclose(strokes, expected["strokes"], atol=1e-5)


@every_run
def test_all_that_a_run_remembers_is_taken_up(earlier, tmp_path):
    run, _ = earlier
    expected = state(list_snapshots(run / "snapshot")[0])
    hps = load_hparams(run / "snapshot")
    trainer = Trainer(hps)
    assert Snapshots(trainer.checkpoint, run / "snapshot", hps, {}).restore().name == "vector-8"
    trainer.checkpoint.write(str(tmp_path / "again"))
    assert expected.pop("roll_backs") == 0  # of which there are none any more
    assert_same(state(tmp_path / "again"), expected)
    _, valid, *_ = load_dataset(tmp_path / "data", hps)
    (before,) = (row for row in metrics(run) if (row["step"], row["split"]) == ("8", "valid"))
    assert trainer.evaluate(valid)["recon"] == pytest.approx(float(before["recon"]), rel=1e-5)  # z is sure


@pytest.mark.parametrize("earlier", slow_twins, indirect=True)
def test_goes_on(earlier, run_training, tmp_path, caplog):
    run, expected = earlier
    before = metrics(run)
    assert run_training(run, "--resume_training", data_dir=tmp_path / "data", num_steps=13) == 0
    after = metrics(run)
    assert [{**row, "kl": row.get("kl", "")} for row in after[: len(before)]] == before
    costs = {(row["step"], row["split"]): float(row["recon"]) for row in after}
    assert [step for step, split in costs if split == "train"] == [str(step) for step in range(1, 13)]
    assert all(np.isfinite(list(costs.values())))
    assert costs["12", "valid"] == pytest.approx(expected["valid_recon"], rel=0.02)  # in another order of drawings
    assert not caplog.records  # no warning of TensorFlow's
    assert find_snapshot(run / "snapshot").is_relative_to(run)
