"""The weights that ship: whole, small, of the scores that their report states, and drawing at once."""

import json

import numpy as np
from helpers import ROOT

import sketch_pix2seq_sampling
from extensions import PRESETS
from model import get_default_hparams, load_data_info, load_hparams, load_model
from sampler import draw_codes, encode_images
from snapshots import snapshot_step
from utils import strokes_to_lines

PRETRAINED = ROOT / "assets/pretrained"


def test_they_are_of_the_preset_and_know_their_data():
    hps, sharp = load_hparams(PRETRAINED).values(), get_default_hparams().replace(**PRESETS["sharp"]).values()
    free = {"data_set", "max_seq_len", "num_steps", "decay_rate", "save_minutes"}
    assert {name: hps[name] for name in hps if name not in free} == {n: sharp[n] for n in hps if n not in free}
    info = load_data_info(PRETRAINED)
    assert len(info["category_scale_factors"]) == len(hps["data_set"]) == 20
    assert sum(path.stat().st_size for path in PRETRAINED.iterdir()) <= 12e6


def test_the_report_beside_them_is_theirs():
    report = json.loads((PRETRAINED / "report.json").read_text())
    assert report["step"] == load_model(PRETRAINED)[1] == snapshot_step(next(PRETRAINED.glob("*.index")).stem)
    assert report["split"] == "test" and report["drawings"] == 2000 and report["rec_counts"]
    text = (PRETRAINED / "report.md").read_text()
    for scores in report["rec"].values():
        assert f"{100 * scores['value']:.1f} %" in text
    assert "CC BY 4.0" in (PRETRAINED / "README.md").read_text()


def test_a_circle_is_drawn_as_one():
    # An apple without a stalk, more or less: the drawing has to go round the middle, far out.
    model, _ = load_model(PRETRAINED)
    down, across = np.mgrid[:48, :48] - 23.5
    ring = np.clip(np.abs(np.hypot(down, across) - 19.0) - 0.4, 0, 1) * 255.0
    codes = encode_images(model, ring[None])
    for drawing in draw_codes(model, np.repeat(codes, 5, axis=0), np.full(5, 0.1), 250, range(5)):
        first = strokes_to_lines(drawing)[0]
        turned = np.unwrap(np.angle((first - (first.min(0) + first.max(0)) / 2) @ [1, 1j]))
        assert 0.8 < np.ptp(first[:, 0]) / np.ptp(first[:, 1]) < 1.25
        assert np.ptp(turned) > 1.5 * np.pi


def test_the_readmes_doodle_is_drawn(tmp_path):
    flags = [f"--model_dir={PRETRAINED}", f"--image={ROOT / 'assets/doodle.jpg'}", f"--sampling_dir={tmp_path}"]
    assert sketch_pix2seq_sampling.main([*flags, "--num=2", "--format=json"]) == 0
    drawings = json.loads((tmp_path / "drawings.json").read_text())["drawings"]
    assert len(drawings) == 2
