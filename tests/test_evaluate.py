"""The evaluation script with tiny models that never trained: its scores, their intervals, and what it writes."""

import json
import shutil

import numpy as np
import pytest
from helpers import ROOT, make_snapshot, read_picture, write_data
from PIL import Image

import classifier
import render_svg2bitmap
import sketch_pix2seq_evaluate as evaluate
import utils
from model import load_model, pad_strokes, reconstruction_loss
from utils import load_dataset


def score(data_dir, snapshot, directory, *flags):
    flags = [f"--data_dir={data_dir}", f"--model_dir={snapshot}", f"--evaluation_dir={directory}", *flags]
    assert evaluate.main(flags) == 0
    return json.loads((directory / "report.json").read_text())


@pytest.fixture(scope="module")
def own_data(tmp_path_factory):
    """Data that only this file reads: a classifier gets there."""
    directory = write_data(tmp_path_factory.mktemp("data"))
    render_svg2bitmap.main([f"--data_base_dir={directory}", "--hparams=data_set=[cat.npz,house.npz]"])
    return directory


def test_everything_is_scored_and_drawn(own_data, snapshot, tmp_path, capsys):
    report = score(own_data, snapshot, tmp_path, "--temperatures", "0.1")
    assert report["drawings"] == 22
    assert set(report["rec"]) == set(report["ret_generated_to_original"]) == {"0.1"}
    low, high = report["rec_real"]["interval"]
    assert 0 <= low <= report["rec_real"]["value"] <= high <= 1
    assert read_picture(tmp_path / "latent.png").shape[1] > 100
    assert read_picture(tmp_path / "reconstructions.png").shape[1] == 20 * (48 + 10) + 10
    assert read_picture(tmp_path / "neighbours.png").shape[1] == 10 * (48 + 10) + 10
    with np.load(tmp_path / "latent.npz") as latent:
        assert latent["codes"].shape == (22, 4) and list(latent["names"]) == ["cat", "house"]
    assert report["command"] == f"python sketch_pix2seq_evaluate.py --model_dir={snapshot} --temperatures 0.1"
    text = (tmp_path / "report.md").read_text()
    assert f"{report['loss']:.4f} (padding masked), {report['loss_per_point']:.4f} per real point" in text
    assert text in capsys.readouterr().out


def test_the_classifier_is_trained_once_and_kept_apart_from_the_bitmaps(own_data, snapshot, tmp_path, capsys):
    bitmaps = {path.name for path in (own_data / "bitmap").iterdir()}
    reports = []
    for name in ("first", "second"):
        reports.append(score(own_data, snapshot, tmp_path / name, "--scores", "rec"))
        trained = "Epoch" in capsys.readouterr().out
    assert reports[0]["rec"] == reports[1]["rec"] and reports[0]["rec_real"] == reports[1]["rec_real"]
    assert not trained
    assert len(list((own_data / "classifier").glob("*/classifier.json"))) == 1
    assert {path.name for path in (own_data / "bitmap").iterdir()} == bitmaps


def test_a_classifier_that_is_given_judges_unless_it_is_of_something_else(own_data, snapshot, tmp_path, monkeypatch):
    flags = "--scores", "rec", "--temperatures", "0.1"
    own = score(own_data, snapshot, tmp_path / "own", *flags)
    kept = next((own_data / "classifier").iterdir())
    turned = load_model(snapshot)[0].hps.replace(data_set=["house.npz", "cat.npz"])
    about = json.loads((kept / "classifier.json").read_text())
    assert own["classifier"]["data"] == about["data"] == own["data"] == classifier.hash_data(own_data, turned)

    def given(**changes):
        directory = tmp_path / "given"
        shutil.copytree(kept, directory, dirs_exist_ok=True)
        (directory / "classifier.json").write_text(json.dumps(about | changes))
        return score(own_data, snapshot, tmp_path / "out", *flags, f"--classifier={directory}")

    assert given(data="of other drawings")["rec"] == own["rec"]
    swapped = given(categories=about["categories"][::-1])  # the outputs are known by name, not by position
    assert swapped["rec_real"]["value"] == pytest.approx(1 - own["rec_real"]["value"])
    with pytest.raises(ValueError, match="given names cat, dog, not cat, house; leave --classifier out"):
        given(categories=["cat", "dog"])
    with pytest.raises(ValueError, match=r"judges bitmaps of \[64, 64\], not of \[48, 48\] pixels"):
        given(side=[64, 64])
    with pytest.raises(ValueError, match=f"its recipe is 0123, not {classifier.hash_recipe()}"):
        given(recipe_hash="0123")
    (tmp_path / "given/classifier.json").write_text(json.dumps(about))
    (tmp_path / "given/weights.npz").write_bytes(b"no numbers")
    with pytest.raises(ValueError, match=r"weights\.npz cannot be read"):
        score(own_data, snapshot, tmp_path / "out", *flags, f"--classifier={tmp_path / 'given'}")
    monkeypatch.setitem(classifier.RECIPE, "dropout", 0.5)  # the whole recipe is part of the key
    assert classifier.hash_recipe() != about["recipe_hash"]
    assert classifier.find_classifier([kept], ["cat", "house"], (48, 48), own["data"]) is None


def test_the_classifier_that_ships_is_of_its_recipe_and_names_its_categories():
    names = json.loads((classifier.SHIPPED / "classifier.json").read_text())["categories"]
    judge, about = classifier.load_classifier(classifier.SHIPPED, names, (48, 48))
    assert about["valid_accuracy"] > 0.95 and judge.output_shape == (None, 20)
    assert sum(path.stat().st_size for path in classifier.SHIPPED.iterdir()) < 1.5e6
    doodles = utils.load_strokes(ROOT / "datasets/npz/doodle_fish.npz")["test"][:50]
    images = render_svg2bitmap.rasterize_all(doodles, 48, 48)
    assert classifier.is_correct(judge, about, images, np.array(["crab"] * 50)).shape == (50,)


def test_the_loss_with_anothers_code_shows_whether_the_decoder_listens(snapshot, data_dir):
    model, _ = load_model(snapshot)
    *_, test, _ = load_dataset(data_dir, model.hps)
    scores = evaluate.score_loss(model, test, False, 0)
    assert scores["loss_per_point"] != scores["loss_per_point_shuffled_codes"]
    model.weights["RNN/output_w"].assign(np.zeros_like(model.weights["RNN/output_w"].numpy()))
    scores = evaluate.score_loss(model, test, False, 0)  # of a decoder that is deaf
    assert scores["loss_per_point"] == pytest.approx(scores["loss_per_point_shuffled_codes"], rel=1e-6)


def test_a_linear_probe_tells_what_codes_know(monkeypatch):
    class Loader:
        labels = np.arange(160) // 2 % 4
        images = np.random.default_rng(0).integers(0, 256, (160, 6, 6), np.uint8)

        def __len__(self):
            return len(self.labels)

    loader = Loader()
    codes = np.eye(4)[loader.labels] + np.random.default_rng(1).normal(0, 0.1, (160, 4))
    monkeypatch.setattr(evaluate, "encode_loader", lambda *_: codes)
    report = evaluate.score_probe(None, loader, 0)
    assert report["probe"]["value"] == 1.0 and report["probe_bitmaps"]["value"] < 0.5  # noise tells nothing
    loader.labels = np.zeros(160, int)
    assert evaluate.score_probe(None, loader, 0) == {}


def test_intervals_do_not_depend_on_which_scores_are_asked_for(own_data, snapshot, tmp_path):
    flags = "--temperatures", "0.3", "0.6", "--scores"
    together = score(own_data, snapshot, tmp_path / "a", *flags, "loss", "rec", "ret")
    alone = {name: score(own_data, snapshot, tmp_path / name, *flags, name) for name in ("loss", "rec", "ret")}
    for name, keys in {"loss": ["loss"], "rec": ["rec", "rec_real"], "ret": list(evaluate.RET_TITLES)}.items():
        assert all(alone[name][key] == together[key] for key in keys)
    other = score(own_data, snapshot, tmp_path / "one", "--temperatures", "0.6", "--scores", "ret")
    assert all(other[key]["0.6"] == together[key]["0.6"] for key in evaluate.RET_TITLES)


def test_bootstrap_interval_of_known_hits():
    hits = np.arange(400) % 4 == 0  # 25 %, whose standard deviation is 2.17 %
    result = evaluate.bootstrap(hits, 3)
    assert result["value"] == 0.25
    low, high = result["interval"]
    assert abs(low - (0.25 - 1.96 * 0.02165)) < 0.005 and abs(high - (0.25 + 1.96 * 0.02165)) < 0.005
    assert evaluate.bootstrap(hits, 3) == result != evaluate.bootstrap(hits, 4)
    assert evaluate.bootstrap(np.ones(5, bool), 0) == {"value": 1.0, "interval": [1.0, 1.0]}


def test_loss_is_the_mean_over_all_padded_rows(data_dir, snapshot):
    model, _ = load_model(snapshot)
    *_, test, hps = load_dataset(data_dir, model.hps)
    points = np.concatenate([test.strokes(i) for i in range(len(test))])
    strokes = pad_strokes(points, test.lengths.astype(np.int32), hps.max_seq_len)
    params, _ = model.decode(strokes[:, :-1], model.code(test.images))
    expected = float(reconstruction_loss(params, strokes[:, 1:], mask_padding=True))
    scores = evaluate.score_loss(model, test, False, 0)
    np.testing.assert_allclose(scores["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(
        scores["loss_per_point"], expected * len(test) * hps.max_seq_len / len(points), rtol=1e-5
    )


def test_ranks_of_codes():
    codes = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    np.testing.assert_array_equal(evaluate.ranks(codes, codes), [0, 0, 0])
    np.testing.assert_array_equal(evaluate.ranks(codes, codes[::-1]), [2, 0, 2])
    np.testing.assert_array_equal(evaluate.ranks(np.zeros((3, 2)), np.zeros((3, 2))), [2, 2, 2])  # all alike: no score


def test_a_model_that_reads_strokes(data_dir, tmp_path):
    snapshot = make_snapshot(tmp_path / "snapshot", enc_model="lstm", enc_rnn_size=6)
    report = score(data_dir, snapshot, tmp_path, "--scores", "loss", "ret")
    assert report["encoded"] == "strokes"
    assert "generated *strokes* are encoded again" in (tmp_path / "report.md").read_text()


def test_longer_drawings_are_left_out_and_counted(data_dir, snapshot, tmp_path):
    report = score(data_dir, snapshot, tmp_path, "--hparams=max_seq_len=40", "--scores", "loss")
    assert report["skipped"] > 0 and report["drawings"] < 22
    assert f"{report['skipped']} drawings are longer" in (tmp_path / "report.md").read_text()


def test_mistakes(data_dir, snapshot, tmp_path):
    for flags in (["--temperatures", "0"], ["--temperatures", "warm"], ["--scores", "beauty"]):
        with pytest.raises(SystemExit):
            score(data_dir, snapshot, tmp_path, *flags)
    with pytest.raises(ValueError, match="only data_set, max_seq_len, batch_size, bitmaps and"):
        score(data_dir, snapshot, tmp_path, "--hparams=z_size=3")
    with pytest.raises(ValueError, match="is unconditional: it reads no bitmaps"):
        score(data_dir, make_snapshot(tmp_path / "snapshot", conditional=False), tmp_path)


def test_ink_and_order_of_hand_are_scored_plain_and_guided(own_data, snapshot, tmp_path):
    flags = "--temperatures", "0.6", "--scores", "ink"
    report = score(own_data, snapshot, tmp_path / "plain", *flags)
    assert report["ink"]["the person"]["ink_f1_1"]["value"] == report["ink"]["the person"]["order"]["value"] == 1
    plain = report["ink"]["temperature 0.6"]
    assert plain["points"]["interval"][0] <= plain["points"]["value"] <= plain["points"]["interval"][1]
    guided = score(own_data, snapshot, tmp_path / "guided", *flags, "--guide=3", "--pen_temperature=0.9")
    assert guided["guide"] == 3 and guided["ink"]["temperature 0.6"] != plain
    assert "ink-guided, 3 candidates; pen temperature 0.9" in (tmp_path / "guided/report.md").read_text()


def test_pictures_are_scored_by_their_own_ink(snapshot, tmp_path):
    image = np.full((64, 64), 255, np.uint8)
    image[10:50, 20:23] = image[30:33, 10:55] = 0
    Image.fromarray(image).save(tmp_path / "cross.png")
    report = score(tmp_path, snapshot, tmp_path / "out", f"--images={tmp_path / 'cross.png'}", "--temperatures", "0.6")
    assert report["pictures"] == 1 and 0 <= report["ink"]["temperature 0.6"]["ink_f1_fine"]["value"] <= 1
    assert "1 pictures" in (tmp_path / "out/report.md").read_text()


def test_a_model_of_large_bitmaps_is_judged_on_small_ones(own_data, tmp_path):
    snapshot = make_snapshot(tmp_path / "large", img_H=64, img_W=64, drawing_extent=10.0, use_position=True)
    report = score(own_data, snapshot, tmp_path / "out", "--temperatures", "0.6", "--scores", "rec")
    assert 0 <= report["rec_real"]["value"] <= 1
