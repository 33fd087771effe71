"""The scripts as a user runs them, in miniature, on doodles: what they write, and what a mistake gets."""

import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, write_data
from PIL import Image

import render_svg2bitmap
import sketch_pix2seq_edit
import sketch_pix2seq_evaluate
import sketch_pix2seq_experiment
import sketch_pix2seq_export
import sketch_pix2seq_sampling
import sketch_pix2seq_train
from model import Model, get_default_hparams, load_model
from run_log import read_metrics
from script import run_script
from snapshots import list_complete_checkpoints, load_weights

TINY = "dec_rnn_size=8,num_mixture=2,z_size=4,batch_size=10,save_every=2"


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def train(data_dir, out, hparams, *flags):
    roots = [f"--data_dir={data_dir}", f"--log_root={out / 'log'}", f"--snapshot_root={out / 'snapshot'}"]
    return sketch_pix2seq_train.main([*roots, f"--hparams=data_set=[cat.npz,house.npz],{hparams}", *flags])


@pytest.mark.parametrize("dec_model", ["lstm", "layer_norm", "hyper"])
def test_train_then_sample_then_evaluate(data_dir, tmp_path, dec_model):
    assert train(data_dir, tmp_path, f"{TINY},num_steps=5,dec_model={dec_model}") == 0
    snapshot, sampling = tmp_path / "snapshot", tmp_path / "sampling"
    config = json.loads((snapshot / "model_config.json").read_text())
    assert config["dec_model"] == dec_model
    assert set(config["data_info"]["category_scale_factors"]) == {"cat", "house"}
    assert 0.8 < config["data_info"]["line_width"] < 2
    assert picture(tmp_path / "log/loss.png").shape[1] > 300
    assert (tmp_path / "log/metrics.csv").read_text().startswith("step,split,seconds,learning_rate,cost,recon")

    flags = [f"--data_dir={data_dir}", f"--model_dir={snapshot}"]
    assert sketch_pix2seq_sampling.main([*flags, f"--sampling_dir={sampling}", "--num_drawings=3"]) == 0
    drawn = sorted(path.name for path in sampling.iterdir() if path.is_dir())
    assert len(drawn) == 3
    assert all(0 <= int(name) < 22 for name in drawn)
    for name in ("sample_gt.svg", "sample_pred_cond.svg", "sample_pred_cond_100.svg"):
        assert "<svg" in (sampling / drawn[0] / name).read_text()
    gallery = picture(sampling / "gallery.png")
    assert gallery.shape[0] > 3 * 120
    assert gallery.min() < 60  # something was drawn


def test_sketch_rnns_encoder_with_a_kl_term(data_dir, tmp_path, capsys):  # of its other cells: test_model.py
    hparams = f"{TINY},num_steps=21,save_every=30,dec_model=lstm,enc_model=lstm,enc_rnn_size=6,kl_weight=0.5"
    assert train(data_dir, tmp_path, hparams) == 0
    assert re.search(r"^step: 20, lr: \S+, klw: 0.00\d\d, cost: .* kl: \d", capsys.readouterr().out, re.MULTILINE)
    flags = [f"--data_dir={data_dir}", f"--model_dir={tmp_path / 'snapshot'}"]
    assert sketch_pix2seq_sampling.main([*flags, f"--sampling_dir={tmp_path / 'sampling'}", "--num_drawings=2"]) == 0
    evaluation = tmp_path / "evaluation"
    scores = ["--scores", "loss", "ret"]
    assert sketch_pix2seq_evaluate.main([*flags, f"--evaluation_dir={evaluation}", *scores]) == 0
    assert json.loads((evaluation / "report.json").read_text())["encoded"] == "strokes"
    assert "generated *strokes* are encoded again" in (evaluation / "report.md").read_text()
    photo = str(ROOT / "assets/demo.png")
    for script, mode in ((sketch_pix2seq_sampling, ["--image", photo]), (sketch_pix2seq_edit, ["--complete"])):
        with pytest.raises(ValueError, match=f"{mode[0]}: .*reads strokes"):
            script.main([*flags, *mode, f"--sampling_dir={tmp_path / 'none'}"])


def test_augmented_bitmaps_and_the_pens_glimpse(data_dir, tmp_path):
    augmented = "augment_bitmaps=True,random_rotation=10,mirror_prob=0.5"
    augmented += ",use_position=True,position_features=3,position_noise_std=0.1"
    assert train(data_dir, tmp_path, f"{TINY},num_steps=4,dec_model=lstm,{augmented}") == 0
    flags = [f"--data_dir={data_dir}", f"--model_dir={tmp_path / 'snapshot'}"]
    assert sketch_pix2seq_sampling.main([*flags, f"--sampling_dir={tmp_path / 'sampling'}", "--num_drawings=2"]) == 0
    with pytest.raises(ValueError, match="augment_bitmaps=True"):
        train(data_dir, tmp_path / "none", f"{TINY},mirror_prob=0.5")


@pytest.fixture
def in_this_process(monkeypatch):
    """Scripts that the experiment runs, in this process and with the scores that take no time; their names, as run."""
    ran = []

    def run_here(script, *arguments):  # processes of their own take seconds each to start; test_readme.py has some
        fewer = ["--scores", "loss", "rec", "ret", "latent"] if "evaluate" in script else []
        ran.append(script)
        assert importlib.import_module(Path(script).stem).main([*map(str, arguments), *fewer]) == 0

    monkeypatch.setattr(sketch_pix2seq_experiment, "run_python", run_here)
    return ran


@pytest.mark.slow
def test_experiment_trains_scores_and_goes_on(data_dir, tmp_path, in_this_process, monkeypatch):
    def experiment(*flags, hparams=""):
        fixed = [f"--data_dir={data_dir}", f"--experiment_dir={tmp_path}", f"--results_dir={tmp_path / 'results'}"]
        common = f"{TINY},data_set=[cat.npz,house.npz],dec_model=lstm,enc_rnn_size=6{hparams}"
        return sketch_pix2seq_experiment.main([*fixed, f"--hparams={common}", *flags])

    assert experiment("--only", "cnn", "rnn_kl", "--steps=3") == 0
    results = [json.loads((tmp_path / f"results/paper_{name}_seed1_3.json").read_text()) for name in ("cnn", "rnn_kl")]
    assert [result["encoded"] for result in results] == ["bitmaps", "strokes"]
    assert results[0]["command"].startswith("python sketch_pix2seq_experiment.py --set paper --only cnn --seeds 1 ")
    assert picture(tmp_path / "results/paper_losses.png").shape[1] > 500
    latent = picture(tmp_path / "results/paper_latent.png")
    assert latent.shape[1] > 1.7 * latent.shape[0]  # two models side by side
    ran = len(in_this_process)
    assert experiment("--only", "cnn", "--steps=3") == 0
    assert len(in_this_process) == ran  # all was known
    assert experiment("--only", "cnn", "--steps=5") == 0  # the run goes on
    longer = json.loads((tmp_path / "results/paper_cnn_seed1_5.json").read_text())
    assert longer["steps"] == 5 and str(tmp_path) not in json.dumps(longer)
    assert list(longer["curve"]["valid"])[-1] == "4"
    with pytest.raises(ValueError, match="took 5 steps already; give --steps of as many, or more"):
        experiment("--only", "cnn", "--steps=4")
    with pytest.raises(ValueError, match="cnn_seed1 holds a run with z_size=4, not 5; give another --experiment_dir"):
        experiment("--only", "cnn", "--steps=6", hparams=",z_size=5")
    with pytest.raises(ValueError, match="the set paper has cnn, cnn_kl"):
        experiment("--only", "other")
    monkeypatch.setattr(sketch_pix2seq_experiment, "run_python", lambda *arguments: "")  # as if stopped at once
    with pytest.raises(ValueError, match="was stopped before its end; the same command goes on"):
        experiment("--only", "cnn", "--steps=6")


def test_loss_curve_has_training_smoothed_up_to_each_validation():
    rows = [{"step": str(step), "split": "train", "recon": str(loss)} for step, loss in ((20, 4.0), (40, 1.0))]
    rows[1:1] = [{"step": step, "split": "valid", "recon": "3.0"} for step in ("10", "39")]
    rows += [{"step": "40", "split": "valid", "recon": "2.0"}, {"step": "40", "split": "test", "recon": "9.0"}]
    mean = round((0.98 * 4.0 + 1.0) / 1.98, 4)
    curve = sketch_pix2seq_experiment.loss_curve(rows)
    assert curve == {"train": {"39": 4.0, "40": mean}, "valid": {"10": 3.0, "39": 3.0, "40": 2.0}}


@pytest.mark.parametrize(
    "steps, run",
    [(chosen.steps, run) for chosen in sketch_pix2seq_experiment.SETS.values() for run in chosen.runs.values()],
)
def test_every_model_of_the_experiments_can_be_built(steps, run):
    hps = get_default_hparams().parse(f"{sketch_pix2seq_experiment.SMALL},{run.hparams},dec_rnn_size=8,enc_rnn_size=8")
    assert hps.save_every <= steps
    Model(hps)


def test_exported_weights_draw_the_same_and_can_be_begun_from(data_dir, tmp_path, capsys):
    assert train(data_dir, tmp_path, f"{TINY},num_steps=3,dec_model=lstm") == 0
    exported = tmp_path / "exported"
    flags = [f"--model_dir={tmp_path / 'snapshot'}", f"--export_dir={exported}"]
    assert sketch_pix2seq_export.main(flags) == 0
    assert sorted(path.name for path in exported.iterdir()) == [
        "checkpoint",
        "model_config.json",
        "vector-2.data-00000-of-00001",
        "vector-2.index",
    ]
    assert str(tmp_path) not in (exported / "checkpoint").read_text()  # of no use on another machine
    whole, alone = (path / "vector-2.data-00000-of-00001" for path in (tmp_path / "snapshot", exported))
    assert alone.stat().st_size < 0.4 * whole.stat().st_size  # Adam has two numbers a weight
    for name, model_dir in (("a", tmp_path / "snapshot"), ("b", exported)):
        flags = [f"--data_dir={data_dir}", f"--model_dir={model_dir}", "--num_drawings=1", "--seed=3"]
        assert sketch_pix2seq_sampling.main([*flags, f"--sampling_dir={tmp_path / name}"]) == 0
    [first], [second] = (list((tmp_path / name).glob("*/sample_pred_cond_100.svg")) for name in "ab")
    assert first.read_text() == second.read_text()
    assert train(data_dir, tmp_path / "tuned", f"{TINY},num_steps=1,dec_model=lstm", f"--init_from={exported}") == 0
    with pytest.raises(FileExistsError, match="holds a snapshot already"):
        sketch_pix2seq_export.export(str(tmp_path / "snapshot"), str(exported))


def test_exported_weights_may_be_a_mean(data_dir, tmp_path):
    often = TINY.replace("save_every=2", "save_every=1")
    hparams = f"{often},num_steps=5,dec_model=lstm,keep_snapshots=3,learning_rate=0.0001"
    assert train(data_dir, tmp_path, hparams) == 0
    kept, flags = tmp_path / "snapshot", [f"--model_dir={tmp_path / 'snapshot'}", f"--export_dir={tmp_path / 'mean'}"]
    paths = list_complete_checkpoints(kept)[:2]
    assert sketch_pix2seq_export.main([*flags, "--mean_of=2"]) == 0
    (mean, step), parts = load_model(tmp_path / "mean"), [load_model(kept)[0] for _ in paths]
    steps = [load_weights(part, path) for part, path in zip(parts, paths, strict=True)]
    assert [step, step - 1] == steps
    assert parts[0].weights["RNN/output_b"].numpy().tolist() != parts[1].weights["RNN/output_b"].numpy().tolist()
    for name, weight in mean.weights.items():
        np.testing.assert_allclose(weight, (parts[0].weights[name] + parts[1].weights[name]) / 2, atol=1e-7)
    with pytest.raises(ValueError, match="of 9 snapshots to average; train with keep_snapshots=9"):
        sketch_pix2seq_export.export(str(kept), str(tmp_path / "nine"), 9)
    assert not (tmp_path / "nine").exists()


def test_unconditional_model_draws(data_dir, tmp_path):
    assert train(data_dir, tmp_path, f"{TINY},num_steps=3,conditional=False,dec_model=lstm") == 0
    flags = [f"--model_dir={tmp_path / 'snapshot'}", f"--sampling_dir={tmp_path / 'sampling'}", "--num_drawings=2"]
    assert sketch_pix2seq_sampling.main(flags) == 0
    assert (tmp_path / "sampling/gallery.png").is_file()
    assert (tmp_path / "sampling/sample_pred_uncond.svg").is_file()


def test_data_set_smaller_than_a_batch_and_full_padding(data_dir, tmp_path):
    assert train(data_dir, tmp_path, f"{TINY},num_steps=3,batch_size=500,skip_padding=False,dec_model=lstm") == 0


@pytest.mark.slow
def test_overfits_a_handful_of_drawings(tmp_path):
    """The model learns: four drawings are known by heart within 300 steps."""
    data_dir = write_data(tmp_path / "data", ("house",), (4, 4, 4))
    render_svg2bitmap.main([f"--data_base_dir={data_dir}", "--hparams=data_set=[house.npz]"])
    hparams = (
        "data_set=[house.npz],dec_model=lstm,dec_rnn_size=128,num_mixture=3,z_size=16,enc_model=deep_cnn,"
        "presig_bias=-8,use_position=True,random_scale_factor=0,augment_stroke_prob=0,use_recurrent_dropout=False,"
        "learning_rate=0.005,decay_rate=0.995,num_steps=300,save_every=1000"
    )
    roots = [f"--data_dir={data_dir}", f"--log_root={tmp_path / 'log'}", f"--snapshot_root={tmp_path / 'snapshot'}"]
    assert sketch_pix2seq_train.main([*roots, f"--hparams={hparams}"]) == 0
    costs = [float(row["cost"]) for row in read_metrics(tmp_path / "log/metrics.csv") if row["split"] == "train"]
    assert costs[0] > 1
    assert costs[-1] < -0.5  # a density: points are known to a fraction of the usual offset


def run(script, *flags):
    """A script in a process of its own -> (exit code, stderr lines)."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [sys.executable, ROOT / script, *map(str, flags)], capture_output=True, text=True, env=quiet
    )
    said = [line for line in result.stderr.splitlines() if not re.match(r"^(WARNING: All log|[IWE]0000 )", line)]
    return result.returncode, said


def expect_refusal(main, flags, *words):
    """A mistake is a ValueError or FileNotFoundError with the thing and the remedy; scripts show it as one line."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        main(flags)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mistake_gets_one_line_and_exit_code_2(tmp_path):
    code, said = run("sketch_pix2seq_train.py", f"--data_dir={tmp_path}", "--hparams=dec_modle=lstm")
    assert code == 2
    assert len(said) == 1
    assert "unknown hyper-parameter 'dec_modle'; did you mean 'dec_model'?" in said[0]


def test_ctrl_c_gets_one_line(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        run_script(main)
    assert caught.value.code == 130
    assert capsys.readouterr().err.strip().endswith(": stopped")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told to keep what is freed")
def test_freed_memory_is_not_fetched_again():
    def page_faults(before):
        code = f"""if True:
            import numpy as np, resource, script
            {before}
            for _ in range(2):
                start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                arrays = [np.ones(1 << 18) for _ in range(100)]  # of 2 MiB
                del arrays
            print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
        """
        return int(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout)

    assert page_faults("pass") > 10_000
    assert page_faults("script.keep_freed_memory()") < 1_000


def test_bad_input_is_refused_with_the_remedy(data_dir, tmp_path):
    snapshot = tmp_path / "snapshot"
    roots = [f"--data_dir={data_dir}", f"--log_root={tmp_path / 'log'}", f"--snapshot_root={snapshot}"]
    ok = f"data_set=[cat.npz],num_steps=1,{TINY}"
    train_main, sample_main = sketch_pix2seq_train.main, sketch_pix2seq_sampling.main
    expect_refusal(train_main, [*roots, "--hparams=data_set=[nowhere.npz]"], "nowhere.npz", "put it there")
    expect_refusal(train_main, [*roots, f"--hparams={ok},img_H=40"], "cat_40x48.npz", "[cat.npz],img_H=40,img_W=48")
    expect_refusal(train_main, [*roots, f"--hparams={ok},dec_model=gru"], "gru", "lstm, layer_norm, hyper")
    expect_refusal(train_main, [*roots, f"--hparams={ok},batch_size=many"], "batch_size", "whole number")
    expect_refusal(train_main, [*roots, f"--hparams={ok},img_W=0"], "img_W", "1 to 16384")
    expect_refusal(train_main, [*roots, f"--hparams={ok}", "--resume_training"], "model_config.json")
    expect_refusal(sample_main, [f"--data_dir={data_dir}", f"--model_dir={tmp_path}"], str(tmp_path), "train one")
    assert not snapshot.exists()
    assert not (tmp_path / "log").exists()


def test_bitmaps_of_other_strokes_are_refused(data_dir, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(data_dir, copy)
    shutil.copy(copy / "npz/cat.npz", copy / "npz/house.npz")
    roots = [f"--data_dir={copy}", f"--log_root={tmp_path / 'log'}", f"--snapshot_root={tmp_path / 'snapshot'}"]
    expect_refusal(
        sketch_pix2seq_train.main,
        [*roots, "--hparams=data_set=[cat.npz,house.npz]"],
        "house_48x48.npz",
        "other strokes",
        "render_svg2bitmap.py",
    )


def test_fine_tuning_begins_with_the_weights_of_another_run(data_dir, tmp_path):
    assert train(data_dir, tmp_path / "first", f"{TINY},num_steps=3,dec_model=lstm") == 0
    init = f"--init_from={tmp_path / 'first/snapshot'}"
    assert train(data_dir, tmp_path / "second", "num_steps=1,learning_rate=1e-9,min_learning_rate=1e-9", init) == 0
    first, second = (load_model(tmp_path / name / "snapshot")[0].weights for name in ("first", "second"))
    for name, weight in first.items():
        np.testing.assert_allclose(second[name], weight, atol=1e-6)
    args = sketch_pix2seq_train.parse_args([init, "--preset=sharp", f"--snapshot_root={tmp_path / 'third'}"])
    assert sketch_pix2seq_train.choose_hparams(args).position_noise_std == 0  # the paper's decoder does not see its pen
