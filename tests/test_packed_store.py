"""The packed store, and bitmaps on demand: the same drawings and pixels, whatever happens to files and processes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import make_full_quickdraw
import numpy as np
import pytest
from helpers import ROOT
from miniatures import COUNTS, assert_same, make_toy_data, newest_state

import bitmaps
import render_svg2bitmap
import utils
from hparams import HParams
from packed_store import PackedStrokes, is_packed, load_packed_strokes, open_packed, packed_dir
from render_svg2bitmap import rasterize_all
from sampler import load_split
from snapshots import load_hparams
from utils import SPLITS, load_dataset, npz_path, save_strokes, strokes_digest


def random_category(seed=0, counts=(40, 9, 8), dtype=np.int16, longest=30):
    rng = np.random.default_rng(seed)
    return {
        split: [
            np.column_stack([rng.normal(0, 30, (n, 2)), rng.integers(0, 2, n)]).astype(dtype)
            for n in rng.integers(1, longest, count)
        ]
        for split, count in zip(SPLITS, counts, strict=True)
    }


def write_category(data_dir, name="a", **how):
    path = npz_path(data_dir, name)
    save_strokes(path, random_category(**how))
    return path


def files(path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in packed_dir(path).iterdir() if file.name != ".lock"}


def assert_same_strokes(actual, expected):
    for split in SPLITS:
        np.testing.assert_array_equal(actual[split].lengths, expected[split].lengths)
        np.testing.assert_array_equal(np.asarray(actual[split].points, np.float32), expected[split].points)


# ---- what is stored --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, stored", [(np.int16, np.int16), (np.float64, np.float32)])
def test_packed_drawings_and_statistics_are_those_of_the_file(tmp_path, dtype, stored):
    path = write_category(tmp_path, dtype=dtype)
    expected = load_packed_strokes(path)
    for category in (open_packed(path, 20), open_packed(path, 20)):  # as it is written, and as it is read
        assert_same_strokes(category.strokes, expected)
        assert {strokes.points.dtype for strokes in category.strokes.values()} == {np.dtype(stored)}
        assert category.scale_factor == utils.get_scale_factor(expected["train"])  # to the last bit
        assert category.digest == strokes_digest(expected)
        short = [np.flatnonzero(expected[split].lengths <= 20) for split in SPLITS]
        assert category.statistics.moments == expected["train"].gather(short[0]).offset_moments()
        assert category.statistics.skipped == 57 - sum(map(len, short)) > 0
        assert category.statistics.longest == 20
    assert open_packed(path, 1000).statistics.skipped == 0  # the same store


def test_minus_zero_and_fractions_are_kept(tmp_path):
    path = npz_path(tmp_path, "a")
    for x in (-0.0, 0.25):
        drawing = np.array([[3, x, 0], [-7, 2, 1]])
        save_strokes(path, {split: [drawing] for split in SPLITS})
        points = open_packed(path, 9).strokes["test"].points
        assert points.dtype == np.float32 and points.tobytes() == drawing.astype(np.float32).tobytes()


def test_statistics_of_the_doodles_are_those_that_snapshots_have(tmp_path):
    (tmp_path / "npz").symlink_to(ROOT / "datasets/npz")
    names = [f"doodle_{name}" for name in ("car", "cat", "fish", "flower", "house", "sailboat")]
    train, *_, hps = load_dataset(tmp_path, HParams(names), images=False)
    strokes = [load_packed_strokes(ROOT / f"datasets/npz/{name}.npz") for name in names]
    whole = PackedStrokes.concatenate([category["train"] for category in strokes])
    assert train.scale_factor == pytest.approx(utils.get_scale_factor(whole), rel=1e-12)
    assert hps.max_seq_len == max(int(category[split].lengths.max()) for category in strokes for split in SPLITS)
    expected = {name: utils.get_scale_factor(category["train"]) for name, category in zip(names, strokes, strict=True)}
    assert train.category_scale_factors == expected


# ---- when it is written anew -----------------------------------------------------------------------------------------


def test_a_stale_store_is_found_and_rebuilt(tmp_path):
    path = write_category(tmp_path)
    open_packed(path, 99)
    before = files(path)
    opened = path.stat().st_mtime_ns
    os.utime(path, ns=(opened, opened + 10**9))  # touched, no more: the hash says that it is the same
    assert is_packed(path)
    open_packed(path, 99)
    after = files(path)
    assert after.keys() == before.keys() and after != before  # the time alone is noted
    data = path.read_bytes()
    write_category(tmp_path, seed=1)
    assert path.stat().st_size != len(data) and not is_packed(path)  # by its size
    assert_same_strokes(open_packed(path, 99).strokes, load_packed_strokes(path))
    assert len(files(path)) == 3 and not files(path).keys() & before.keys() - {"meta.json"}  # nothing old is left


def test_another_file_of_the_same_size_is_found_by_its_hash(tmp_path):
    path = npz_path(tmp_path, "a")
    path.parent.mkdir()
    for sign in (1, -1):
        strokes = random_category()
        for split, drawings in strokes.items():
            strokes[split] = np.empty(len(drawings), object)
            strokes[split][:] = [drawing * [sign, 1, 1] for drawing in drawings]
        np.savez(path, **strokes)  # not compressed: of one size
        assert_same_strokes(open_packed(path, 99).strokes, load_packed_strokes(path))
    assert (open_packed(path, 99).strokes["train"].points[:, 0] != 0).any()


def test_settings_of_another_version_are_stale(tmp_path):
    path = write_category(tmp_path)
    open_packed(path, 99)
    meta = json.loads((packed_dir(path) / "meta.json").read_text())
    (packed_dir(path) / "meta.json").write_text(json.dumps(meta | {"format": [0]}))
    assert not is_packed(path)
    assert_same_strokes(open_packed(path, 99).strokes, load_packed_strokes(path))


# ---- damage ----------------------------------------------------------------------------------------------------------


def damage(directory, how):
    """Damage a store in one of several ways."""
    points, lengths = (next(directory.glob(f"{name}-*.npy")) for name in ("points", "lengths"))
    meta = json.loads((directory / "meta.json").read_text())
    whole = points.read_bytes()
    if how == "truncated":
        points.write_bytes(whole[: len(whole) // 2])
    elif how == "longer":
        points.write_bytes(whole + b"more")
    elif how == "empty":
        lengths.write_bytes(b"")
    elif how == "pickled":
        np.save(points, np.array([os.system], object), allow_pickle=True)
    elif how == "bomb":  # a header that declares a hundred terabytes
        header = np.lib.format.header_data_from_array_1_0(np.zeros((0,), np.int32)) | {"shape": (1 << 45,)}
        with open(lengths, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
    elif how == "of another shape":
        np.save(points, np.load(points)[:, :2])
    elif how == "of another type":
        np.save(points, np.load(points).astype(np.int64))
    elif how == "lengths that do not add up":
        np.save(lengths, np.load(lengths) + 1)
    elif how == "lengths below one":
        changed = np.load(lengths)
        changed[:2] = [changed[:2].sum() + 5, -5]
        np.save(lengths, changed)
    else:
        changes = {
            "no JSON": "{",
            "no object": "[1, 2]",
            "a path": json.dumps(meta | {"source": meta["source"] | {"sha256": "../../secret"}}),
            "counts": json.dumps(meta | {"counts": [-1, 40, 18]}),
            "statistics": json.dumps(meta | {"statistics": {"99": [["a", 1, 2], 3, 4]}}),
            "scale": json.dumps(meta | {"scale_factor": 0}),
            "nested": "[" * 50_000,
        }
        (directory / "meta.json").write_text(changes[how])


@pytest.mark.parametrize(
    "how",
    "truncated, longer, empty, pickled, bomb, of another shape, of another type, lengths that do not add up, "
    "lengths below one, no JSON, no object, a path, counts, statistics, scale, nested".split(", "),
)
def test_a_damaged_store_is_refused_in_one_line(tmp_path, how):
    path = write_category(tmp_path)
    open_packed(path, 99)
    damage(packed_dir(path), how)
    with pytest.raises(ValueError, match=r"packed.a is damaged \(.*\); delete it: it is made anew") as error:
        open_packed(path, 99)
    assert "\n" not in str(error.value)
    shutil.rmtree(packed_dir(path))
    assert_same_strokes(open_packed(path, 99).strokes, load_packed_strokes(path))


def test_what_is_missing_is_written_again(tmp_path):
    path = write_category(tmp_path)
    for name in ("points-*.npy", "lengths-*.npy", "meta.json"):
        open_packed(path, 99)
        next(packed_dir(path).glob(name)).unlink()
        assert_same_strokes(open_packed(path, 99).strokes, load_packed_strokes(path))


def test_where_nothing_can_be_written_drawings_are_packed_in_memory(tmp_path, capsys):
    path = write_category(tmp_path)
    (tmp_path / "packed").write_text("a file where the directory should be")
    assert_same_strokes(open_packed(path, 99).strokes, load_packed_strokes(path))
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_source_without_lines_is_told_and_nothing_is_stored(tmp_path):
    path = npz_path(tmp_path, "dots")
    save_strokes(path, {split: [np.array([[0, 0, 1]])] for split in SPLITS})
    with pytest.raises(ValueError, match=r"dots\.npz: .*nothing to scale by"):
        open_packed(path, 99)
    assert not list(packed_dir(path).glob("[!.]*"))


# ---- processes -------------------------------------------------------------------------------------------------------

PACK = """
import signal, sys
from pathlib import Path
from packed_store import npz_path
from render_svg2bitmap import pack_data_sets
from script import run_script
data_dir, names, limit = sys.argv[1:]
if int(limit):
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit),) * 2)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run_script(lambda: print(pack_data_sets([npz_path(data_dir, name) for name in names.split(",")], 250, 1)))
"""


def start_packing(data_dir, names, limit=0):
    """As render_svg2bitmap.py packs, in a process of its own, whose files have ``limit`` bytes at most."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PACK, str(data_dir), ",".join(names), str(limit)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, code=0):
    """(what a process printed, its errors)."""
    printed, errors = process.communicate()
    assert process.returncode == code, errors
    return printed, errors


@pytest.fixture
def several(tmp_path):
    """Categories large enough that packing one takes a while."""
    names = list("abcd")
    for seed, name in enumerate(names):
        write_category(tmp_path, name, seed=seed, counts=(5000, 50, 50))
    return tmp_path, names


@pytest.mark.skipif(os.name == "nt", reason="kills with a POSIX signal")
def test_killed_while_packing_it_goes_on_where_it_was(several):
    data_dir, names = several
    paths = [npz_path(data_dir, name) for name in names]
    process = start_packing(data_dir, names)
    while not is_packed(paths[0]):
        time.sleep(0.005)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    packed = [path for path in paths if is_packed(path)]
    assert packed and len(packed) < len(paths)  # and so it was killed amid the work
    times = {path: (packed_dir(path) / "meta.json").stat().st_mtime_ns for path in packed}
    printed, _ = finish(start_packing(data_dir, names))
    assert printed.split()[-1] == str(5100 * (len(paths) - len(packed)))  # the rest alone
    for path in paths:
        assert path not in times or (packed_dir(path) / "meta.json").stat().st_mtime_ns == times[path]
        assert_same_strokes(open_packed(path, 250).strokes, load_packed_strokes(path))
        assert len(files(path)) == 3  # what the killed one had begun is gone


def test_processes_that_pack_at_once_do_no_harm(several):
    data_dir, names = several
    processes = [start_packing(data_dir, order) for order in (names, names, names[::-1])]
    for process in processes:
        finish(process)
    for name in names:
        path = npz_path(data_dir, name)
        assert_same_strokes(open_packed(path, 250).strokes, load_packed_strokes(path))
        assert len(files(path)) == 3


@pytest.mark.skipif(os.name == "nt", reason="limits files as POSIX does")
def test_no_room_is_one_line_and_loses_nothing(several):
    data_dir, names = several
    write_category(data_dir, "small")
    _, errors = finish(start_packing(data_dir, ["small", *names], 200_000), 2)
    assert errors.splitlines()[-1].count("cannot be written: File too large; make room and run again") == 1
    assert "Traceback" not in errors
    assert is_packed(npz_path(data_dir, "small")) and not is_packed(npz_path(data_dir, "a"))
    assert not list((data_dir / "packed").rglob("*.part"))
    finish(start_packing(data_dir, ["small", *names]))


# ---- bitmaps ---------------------------------------------------------------------------------------------------------


def settings(names, **changes):
    return HParams(**{"data_set": names, "img_H": 24, "img_W": 32, "batch_size": 5, **changes})


@pytest.fixture
def rendered(tmp_path):
    """Two categories of unlike scale, rendered."""
    for seed, name in enumerate("ab"):
        strokes = random_category(seed)
        strokes = {
            split: [drawing * [1 + 3 * seed, 1, 1] for drawing in of_split] for split, of_split in strokes.items()
        }
        save_strokes(npz_path(tmp_path, name), strokes)
    render_svg2bitmap.render_data_sets(tmp_path, ["a", "b"], 24, 32)
    return tmp_path


def test_bitmaps_on_demand_have_the_same_pixels(rendered):
    stored = load_dataset(rendered, settings(["a", "b"]))
    shutil.rmtree(rendered / "bitmap")
    demanded = load_dataset(rendered, settings(["a", "b"], bitmaps="on_demand"), rasterize=rasterize_all)
    for before, after in zip(stored[:3], demanded[:3], strict=True):
        assert after.images.shape == before.images.shape == (len(before), 24, 32)
        np.testing.assert_array_equal(after.images[:], before.images[:])
        np.testing.assert_array_equal(np.asarray(after.images), before.images[:])
        np.testing.assert_array_equal(after.images[3], before.images[3])
        np.testing.assert_array_equal(after.images[np.array([4, 0, 4])][:, 2:5, 1], before.images[[4, 0, 4], 2:5, 1])
        assert after.images[:].min() < 255
        with pytest.raises(IndexError):
            after.images[len(after)]
    for seed in range(4):
        a, b = (loaders[0].random_batch(np.random.default_rng(seed)) for loaders in (stored, demanded))
        assert all(np.array_equal(*fields) for fields in zip(a, b, strict=True))
    assert not (rendered / "bitmap").exists()


@pytest.mark.parametrize("changes", [{}, {"augment_bitmaps": True, "random_rotation": 10.0}])
def test_drawings_of_one_extent_have_the_same_pixels(rendered, changes):
    shutil.rmtree(rendered / "bitmap")
    how = {"drawing_extent": 10.0, "use_position": True, **changes}
    stored, demanded = (
        load_dataset(rendered, settings(["a", "b"], bitmaps=bitmaps, **how), rasterize=rasterize_all)
        for bitmaps in ("stored", "on_demand")
    )
    for before, after in zip(stored[:3], demanded[:3], strict=True):
        np.testing.assert_array_equal(after.images[:], before.images)
        np.testing.assert_array_equal(after.get_batch(1).images, before.get_batch(1).images)
        np.testing.assert_array_equal(after.get_batch(1).points, before.get_batch(1).points)
        np.testing.assert_array_equal(after.strokes(2), after.gather(np.arange(5)).drawings()[2])  # as if it were alone
    a, b = (loaders[0].random_batch(np.random.default_rng(1)) for loaders in (stored, demanded))
    assert all(np.array_equal(*fields) for fields in zip(a, b, strict=True))


def test_bitmaps_of_earlier_versions_are_read(rendered):
    expected = load_dataset(rendered, settings(["a", "b"]))[0].images[:]
    for name in "ab":
        path = bitmaps.bitmap_path(rendered, name, 24, 32)
        with np.load(path) as file:
            arrays = dict(file)
        np.savez_compressed(path, **arrays)
    np.testing.assert_array_equal(load_dataset(rendered, settings(["a", "b"]))[0].images[:], expected)


# ---- a sample to validate with ---------------------------------------------------------------------------------------


def test_valid_drawings_are_a_fixed_sample(rendered):
    names = ["a", "b"]
    whole = load_dataset(rendered, settings(names))
    some = load_dataset(rendered, settings(names, valid_drawings=6))
    again = load_dataset(rendered, settings(names, valid_drawings=6, seed=7))  # runs of all seeds compare
    shards = [load_dataset(rendered, settings(names, valid_drawings=6), shard=(i, 2)) for i in range(2)]
    assert len(some[0]) == len(whole[0]) and some[3].max_seq_len == whole[3].max_seq_len
    for k in (1, 2):
        assert len(some[k]) == len(again[k]) == 6 < len(whole[k])
        chosen = [drawing.tobytes() for drawing in some[k].gather(np.arange(6)).drawings()]
        assert chosen == [drawing.tobytes() for drawing in again[k].gather(np.arange(6)).drawings()]
        assert set(chosen) <= {whole[k].strokes(i).tobytes() for i in range(len(whole[k]))}
        of_shards = [shard[k].strokes(i).tobytes() for shard in shards for i in range(len(shard[k]))]
        assert sorted(of_shards) == sorted(chosen)
        for i in range(6):
            (j,) = [j for j in range(len(whole[k])) if np.array_equal(whole[k].strokes(j), some[k].strokes(i))][:1]
            np.testing.assert_array_equal(some[k].images[i], whole[k].images[j])
    assert len(load_dataset(rendered, settings(names, valid_drawings=1000))[1]) == len(whole[1])


def test_runs_without_a_file_of_bitmaps_are_exact(run_training, tmp_path):
    data_dir = make_toy_data(tmp_path / "data", sizes=())
    how = {"bitmaps": "on_demand", "valid_drawings": 2, "random_scale_factor": 0.2}
    assert run_training(tmp_path / "whole", data_dir=data_dir, num_steps=8, **how) == 0
    assert run_training(tmp_path / "parts", data_dir=data_dir, num_steps=3, **how) == 0
    assert run_training(tmp_path / "parts", "--resume_training", data_dir=data_dir, num_steps=8) == 0
    assert_same(newest_state(tmp_path / "parts"), newest_state(tmp_path / "whole"))
    assert not (data_dir / "bitmap").exists()
    config = load_hparams(tmp_path / "parts/snapshot")
    loader, _ = load_split(data_dir, config, "valid")
    assert len(loader) == COUNTS["valid"] > config.valid_drawings  # to draw, all are there
    assert loader.images[0].min() < 255


# ---- the script ------------------------------------------------------------------------------------------------------


def test_script_packs_alone_where_bitmaps_are_made_on_demand(several, capsys, monkeypatch):
    data_dir, names = several
    monkeypatch.setattr(render_svg2bitmap.Progress, "LINE_SECONDS", 0.0)
    flags = [f"--data_dir={data_dir}", f"--hparams=data_set=[{','.join(names)}],bitmaps=on_demand"]
    assert render_svg2bitmap.main(flags) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^2 of 4 categories packed, 0\d:\d\d left; [\d,]+ drawings/s$", printed, re.MULTILINE)
    assert "20,400 drawings packed to" in printed
    assert all(is_packed(npz_path(data_dir, name)) for name in names) and not (data_dir / "bitmap").exists()
    assert render_svg2bitmap.main(flags) == 0
    assert "packed is up to date" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=r"dog\.npz not found"):
        render_svg2bitmap.main([f"--data_dir={data_dir}", "--hparams=data_set=[a,dog],bitmaps=on_demand"])


@pytest.mark.slow
def test_first_use_packs_large_data_in_several_processes(several, monkeypatch):
    data_dir, names = several
    monkeypatch.setattr(utils, "PACKED_BY_SCRIPT", 0)
    train, *_ = load_dataset(data_dir, HParams(names), images=False)
    assert len(train) == 20_000 and all(is_packed(npz_path(data_dir, name)) for name in names)


# ---- drawings to measure with ----------------------------------------------------------------------------------------


def test_drawings_in_any_number_are_varied_from_few(tmp_path):
    for name in "ab":
        write_category(tmp_path / "few", name, counts=(5, 2, 2))
    flags = ["--source", str(tmp_path / "few/npz"), "--categories", "3", "--counts", "40", "7", "6"]
    for directory in ("one", "two"):
        assert make_full_quickdraw.main([*flags, "--data_dir", str(tmp_path / directory)]) == 0
    names = ["a.npz", "a_2.npz", "b.npz"]
    assert sorted(path.name for path in (tmp_path / "one/npz").iterdir()) == names
    for name in names:
        strokes, again = (utils.load_strokes(tmp_path / directory / "npz" / name) for directory in ("one", "two"))
        assert [len(strokes[split]) for split in SPLITS] == [40, 7, 6]
        drawings = [drawing.tobytes() for drawing in strokes["train"]]
        assert drawings == [drawing.tobytes() for drawing in again["train"]] and len(set(drawings)) > 30
        assert {drawing.dtype for drawing in strokes["train"]} == {np.dtype(np.int16)}
    a, a_2 = (utils.load_strokes(tmp_path / "one/npz" / name)["test"] for name in ("a.npz", "a_2.npz"))
    assert any(x.tobytes() != y.tobytes() for x, y in zip(a, a_2, strict=True))
    kept = (tmp_path / "one/npz/a.npz").stat().st_mtime_ns
    assert make_full_quickdraw.main([*flags, "--data_dir", str(tmp_path / "one")]) == 0
    assert (tmp_path / "one/npz/a.npz").stat().st_mtime_ns == kept
    with pytest.raises(ValueError, match=r"no \.npz there"):
        make_full_quickdraw.main(["--source", str(tmp_path), "--data_dir", str(tmp_path / "none")])
