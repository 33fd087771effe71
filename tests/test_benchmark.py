"""The benchmark: its count of operations against counts by hand, and the script in miniature."""

import re

import numpy as np
import pytest
from helpers import ROOT

import sketch_pix2seq_benchmark as benchmark
from model import Model, get_default_hparams

SMALL = {"dec_model": "lstm", "dec_rnn_size": 3, "z_size": 2, "num_mixture": 1, "img_H": 8, "img_W": 8}


def count(points, drawings, **changes):
    return benchmark.useful_flops(Model(get_default_hparams().replace(**changes)), points, drawings)


def test_operations_of_a_small_model_counted_by_hand():
    point = 5 * 12 + 3 * 12 + 3 * 9  # the stroke and h to four gates of three units, h to 3 + 6 outputs
    convolutions = 16 * 4 * 4 + 64 * 4 * 4 + 128 * 2 * 2 + 256 * 2 * 2 + 256 + 256  # 2x2 x inputs x filters x positions
    drawing = 2 * 12 + convolutions + 2 * 8 * 2 + 2 * 6  # z to the gates; two heads on 8 features; z to the state
    assert count(10, 2, **SMALL) == 2 * 3 * (10 * point + 2 * drawing)
    assert count(10, 2, **SMALL, conditional=False) == 2 * 3 * 10 * point


@pytest.mark.parametrize(
    "dec_model, macs",
    [
        ("lstm", 5 * 2048 + 512 * 2048 + 512 * 123),
        ("layer_norm", 5 * 2048 + 512 * 2048 + 512 * 123),
        # the small cell reads 5 + 512 numbers; 12 embeddings of 32 numbers, each made from 256 and spread over 512
        ("hyper", 5 * 2048 + 512 * 2048 + 512 * 123 + (5 + 512 + 256) * 1024 + 12 * (256 * 32 + 32 * 512)),
    ],
)
def test_operations_of_a_point_at_default_sizes(dec_model, macs):
    assert benchmark.count_macs(Model(get_default_hparams().replace(dec_model=dec_model)))[0] == macs


def test_operations_of_a_deep_encoder():
    model = Model(get_default_hparams().replace(**SMALL, enc_model="deep_cnn", enc_filters=[2, 3, 4]))
    # 5x5 of 1 to 2 at 4x4 positions, 3x3 of 2 to 3 at 4x4, then halved: 3x3 of 3 to 4 at 2x2
    assert benchmark.convolution_macs(model) == 25 * 2 * 16 + 9 * 2 * 3 * 16 + 9 * 3 * 4 * 4


def test_operations_of_an_encoder_that_reads_strokes():
    plain, strokes = (
        Model(get_default_hparams().replace(**SMALL, enc_model=name, enc_rnn_size=2)) for name in ("cnn", "lstm")
    )
    assert benchmark.count_macs(strokes)[0] - benchmark.count_macs(plain)[0] == 2 * (5 * 8 + 2 * 8)  # both directions


def test_matrix_rate_is_below_what_any_machine_does():
    assert 1e6 < benchmark.best_matrix_rate((64,), 0.01) < 1e16


def test_table_has_one_row_per_quantity_and_one_column_per_cell():
    lines = benchmark.table({"lstm": {"utilisation": 0.456}, "hyper": {"utilisation": 0.5, "points": 5000.4}})
    assert lines.splitlines() == [
        "| | lstm | hyper |",
        "|---|---|---|",
        "| real points per step | - | 5,000 |",
        "| **useful utilisation** | 46% | 50% |",
    ]


@pytest.mark.slow
def test_script_on_doodles(data_dir, capsys, monkeypatch):
    run_python, asked = benchmark.run_python, []

    def run_here(script, *arguments, capture):  # the training script still gets a process of its own
        if "--measure" not in arguments:
            return run_python(script, *arguments, capture=capture)
        asked.append(arguments[-1])
        printed_so_far.append(capsys.readouterr().out)
        monkeypatch.setattr(benchmark.best_matrix_rate, "__defaults__", ((64,), 0.01))
        assert benchmark.main(arguments) == 0
        return capsys.readouterr().out

    printed_so_far = []
    monkeypatch.setattr(benchmark, "run_python", run_here)
    hparams = "data_set=[cat.npz,house.npz],dec_rnn_size=8,num_mixture=2,z_size=4,batch_size=10"
    flags = ["--cells", "lstm", "--steps", "2", "--num_drawings", "3", "--sampling_steps", "5"]
    capsys.readouterr()
    assert benchmark.main(["--data_dir", str(data_dir), "--hparams", hparams, *flags]) == 0
    printed = capsys.readouterr().out
    assert asked == ["lstm"]
    assert "computing on " in printed_so_far[0]
    assert re.match(r".+ 1?\d+ cores; TensorFlow 2\..+\. 2 categories, 46 drawings to train on", printed)
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", printed, re.MULTILINE))
    growth = ["training_drawings", "start_seconds", "steps_per_second", "own_gb", "mapped_gb"]
    titles = [title for key, (title, _) in benchmark.ROWS.items() if key not in ("trained_sampled", *growth)]
    assert list(rows) == titles
    numbers = {title: float(value.replace(",", "").rstrip("%")) for title, value in rows.items()}
    zero = {"useful GFLOP per step", "**useful utilisation**", "seconds to load"}  # as they are rounded
    assert all(np.isfinite(number) and (number > 0 or title in zero) for title, number in numbers.items()), numbers


def test_drawings_of_trained_weights(data_dir, snapshot):
    from utils import load_dataset

    *_, test, _ = load_dataset(data_dir, get_default_hparams().replace(data_set=["cat", "house"]))
    assert benchmark.measure_trained(snapshot, test, 5)["trained_sampled"] > 0


@pytest.mark.slow
def test_growth_on_doodles(data_dir, capsys):
    hparams = "dec_model=lstm,dec_rnn_size=8,num_mixture=2,z_size=4,batch_size=10,bitmaps=on_demand"
    flags = ["--data_dir", str(data_dir), "--hparams", hparams, "--steps", "20", "--categories", "1", "2"]
    assert benchmark.main(flags) == 0
    printed = capsys.readouterr().out
    rows = dict(re.findall(r"^\| ([a-z].+?) \| (.+) \|$", printed, re.MULTILINE))
    assert "| | 1 category | 2 categories |" in printed and rows["drawings to train on"] == "23 | 46"
    assert set(rows) == {benchmark.ROWS[key][0] for key in list(benchmark.ROWS)[-5:]}
    numbers = [float(cell) for row in rows.values() for cell in row.split(" | ")]
    assert all(0 < number < 1000 for number in numbers)
    with pytest.raises(ValueError, match=r"--categories 9: .* has 2"):
        benchmark.main([*flags, "9"])


def test_mistakes_are_told(tmp_path):
    with pytest.raises(ValueError, match="unknown hyper-parameter 'dec_size'"):
        benchmark.main(["--hparams", "dec_size=3"])
    with pytest.raises(FileNotFoundError, match="none"):
        benchmark.main(["--model_dir", str(tmp_path / "none")])
    with pytest.raises(ValueError, match="reads bitmaps of 48x48, not 32x48"):
        benchmark.main(["--model_dir", str(ROOT / "assets/pretrained"), "--hparams", "img_H=32"])
    with pytest.raises(ValueError, match=r"sketch_pix2seq_train\.py ended with exit code 2: .+car\.npz not found"):
        benchmark.measure_training(benchmark.parse_args(["--data_dir", str(tmp_path)]), get_default_hparams())
