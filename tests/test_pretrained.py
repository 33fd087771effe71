"""The weights that ship: whole, small, of the scores that their report states, and drawing at once."""

import json
import re

import numpy as np
import pytest
from helpers import ROOT

import sketch_pix2seq_sampling
from extensions import PRESETS
from ink_scores import draw_scaled, score_ink
from model import get_default_hparams, load_data_info, load_hparams, load_model
from sampler import draw_codes, encode_images, make_sampler
from snapshots import snapshot_step
from utils import lines_to_strokes, strokes_to_lines

PRETRAINED, PIXELS = ROOT / "assets/pretrained", ROOT / "assets/pixels"


def test_they_are_of_the_preset_and_know_their_data():
    hps, sharp = load_hparams(PRETRAINED).values(), get_default_hparams().replace(**PRESETS["sharp"]).values()
    free = {"data_set", "max_seq_len", "num_steps", "save_every", "save_minutes", "keep_snapshots"}
    free |= {"presig_bias", "learning_rate", "decay_rate", "min_learning_rate"}  # its last stage's own
    assert {name: hps[name] for name in hps if name not in free} == {n: sharp[n] for n in hps if n not in free}
    info = load_data_info(PRETRAINED)
    assert len(info["category_scale_factors"]) == len(hps["data_set"]) == 20
    assert sum(path.stat().st_size for path in PRETRAINED.iterdir()) <= 12e6


def test_the_report_on_them_is_theirs():
    report = json.loads((ROOT / "results/pretrained.json").read_text())
    assert report["step"] == load_model(PRETRAINED)[1] == snapshot_step(next(PRETRAINED.glob("*.index")).stem)
    assert report["split"] == "test" and report["drawings"] == 2000 and report["rec_counts"]
    said = f"a classifier names {100 * report['rec']['0.24']['value']:.1f} %"
    assert said in " ".join((ROOT / "README.md").read_text().split())
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


def test_pixels_are_of_their_preset_and_say_what_they_were_trained_on():
    hps, preset = load_hparams(PIXELS).values(), get_default_hparams().replace(**PRESETS["pixels"]).values()
    free = {"data_set", "max_seq_len", "num_steps", "save_every", "save_minutes", "keep_snapshots"}
    free |= {"presig_bias", "learning_rate", "decay_rate", "min_learning_rate"}  # its last stage's own
    assert {name: hps[name] for name in hps if name not in free} == {n: preset[n] for n in hps if n not in free}
    assert sum(path.stat().st_size for path in PIXELS.iterdir()) <= 12e6
    assert {"CC BY 4.0", "Omniglot", "never seen"} <= set(re.findall("CC BY 4.0|Omniglot|never seen", card(PIXELS)))


def card(directory):
    return (directory / "README.md").read_text()


def star(points: int) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 2 * points + 1)
    return np.stack([np.sin(angles), -np.cos(angles)], axis=1) * np.where(np.arange(len(angles)) % 2, 2.0, 5.0)[:, None]


def test_pixels_draw_what_nobody_taught_them():
    spiral = np.linspace(0, 15, 60)
    spiral = np.stack([np.cos(spiral), np.sin(spiral)], axis=1) * spiral[:, None] / 3
    cross = [np.array([[-5, -5], [5, 5]]), np.array([[-5, 5], [5, -5]])]
    drawings = [lines_to_strokes(lines) for lines in ([star(5)], [star(9)], [spiral], cross, [star(5), spiral])]
    sampler = make_sampler(PIXELS, [0.1], num=1, guide=8)
    images = draw_scaled(drawings, sampler.model.hps.img_H)
    drawn = [variations[0] for variations in sampler.draw(sampler.encode(images), range(5), images=images)]
    scores = score_ink(drawings, drawn)
    assert scores["ink_f1_1"].min() > 0.8 and scores["ink_f1_1"].mean() > 0.93
    assert not scores["lost"].any() and scores["points"].max() < 250


@pytest.mark.parametrize("weights", [PRETRAINED, PIXELS], ids=lambda path: path.name)
def test_the_readmes_doodle_is_drawn(weights, tmp_path):
    flags = [f"--model_dir={weights}", f"--image={ROOT / 'assets/doodle.jpg'}", f"--sampling_dir={tmp_path}"]
    assert sketch_pix2seq_sampling.main([*flags, "--num=2", "--format=json"]) == 0
    drawings = json.loads((tmp_path / "drawings.json").read_text())["drawings"]
    assert len(drawings) == 2
