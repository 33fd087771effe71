"""Every command of the README, run in miniature in a copy of the project, its outputs opened and checked.

Only sizes are appended; the download comes from a server on this machine.
"""

import glob
import http.server
import importlib
import re
import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import utils

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)

# What is appended to a command, by its beginning, so that it ends within seconds.
TINY = '--hparams="dec_rnn_size=8,num_mixture=2,z_size=4,batch_size=5,num_steps=2{}"'
NOT_RUN = {
    "make demo": "runs for minutes; its recipe is run below",
    "make test": "is this",
    "python3 -m venv .venv && . .venv/bin/activate": "the tests run in an environment",
    "pip install -r requirements.txt": "the tests run with what it installs",
    "python sketch_pix2seq_benchmark.py --model_dir outputs/snapshot": "test_benchmark.py runs it in miniature",
    "python sketch_pix2seq_experiment.py --set recipe --split valid --experiment_dir outputs/recipe": (
        "as the other experiment, which is run below; test_scripts.py builds its models"
    ),
    'python sketch_pix2seq_experiment.py --set recipe --split valid --only noise --hparams="num_steps=2000,'
    'decay_rate=0.9985,seed=2" --experiment_dir outputs/seed2': "as the one before",
}


def readme_commands():
    blocks = FENCE.findall((ROOT / "README.md").read_text())
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("TF_CONFIG=")]  # which test_distribute.py runs


def demo_commands():
    """What ``make demo`` runs, as ``make -n`` would print it."""
    text = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^demo:.*?\n((?:\t.*\n)+)", text, re.MULTILINE)[1].replace("\\\n", " ")
    recipe = recipe.replace("$(PYTHON)", "python").replace("$(DEMO)", re.search(r"^DEMO := (.*)$", text, re.M)[1])
    return [line.strip() for line in recipe.splitlines() if line.strip().startswith("python")]


def run_command(command, extra=()):
    """``python script.py flags`` in this process, from the working directory -> exit code."""
    program, script, *flags = shlex.split(command)
    assert program == "python", command
    assert (ROOT / script).is_file(), command
    flags = [path for flag in flags for path in (sorted(glob.glob(flag)) if "*" in flag else [flag])]  # as a shell does
    return importlib.import_module(Path(script).stem).main([*flags, *extra])


def write_small(path, name, counts=(20, 8, 8)):
    strokes = utils.load_strokes(ROOT / f"datasets/npz/doodle_{name}.npz")
    splits = {}
    for split, count in zip(utils.SPLITS, counts, strict=True):
        splits[split] = np.empty(count, object)
        splits[split][:] = strokes[split][:count]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **splits)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working directory like a fresh clone, with fewer doodles."""
    for path in (ROOT / "datasets/npz").glob("doodle_*.npz"):
        write_small(tmp_path / "datasets/npz" / path.name, path.stem.removeprefix("doodle_"))
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server(tmp_path_factory):
    """QuickDraw's server, on this machine."""
    directory = tmp_path_factory.mktemp("server")
    for name, doodle in (("pig", "cat"), ("face", "fish"), ("airplane", "car")):
        write_small(directory / f"{name}.npz", doodle)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=directory)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


def shrink(command):
    """Sizes to append to a command."""
    if "sketch_pix2seq_train.py" in command:
        asked = re.search(r"--hparams=[\"']?([^\"']*)", command)
        return shlex.split(TINY.format("," + asked[1] if asked else ""))
    if "sketch_pix2seq_sampling.py" in command:
        return [] if re.search(r"--(image|interpolate|analogy|complete \w)", command) else ["--num_drawings=2"]
    if "sketch_pix2seq_experiment.py" in command:
        return ["--only=cnn", *shlex.split(TINY.format(""))]
    if "benchmark_render.py images" in command:
        return ["--count=12"]
    return []


def check_drawings(sampling_dir):
    with Image.open(sampling_dir / "gallery.png") as gallery:
        assert np.asarray(gallery.convert("L")).min() < 60
    assert (sampling_dir / "index.html").is_file()
    assert list(sampling_dir.glob("*/*.svg"))


def test_every_command_of_the_readme(project, server):
    drawings = project / "my_drawings"
    prepare_own_drawings(drawings)
    for command in readme_commands():
        if command in NOT_RUN:
            continue
        extra = shrink(command)
        if "download_quickdraw.py" in command:
            extra = [f"--base_url={server}"]
        assert run_command(command, extra) == 0, command
        if "sampling.py" in command:
            sampling_dir = re.search(r"--sampling_dir[= ](\S+)", command)
            check_drawings(project / (sampling_dir[1] if sampling_dir else "outputs/sampling"))
    assert (project / "outputs/log/loss.png").is_file()
    assert (project / "datasets/bitmap/pig_48x48.npz").is_file()
    assert list((project / "datasets/npz").glob("my_set*.npz"))


def prepare_own_drawings(directory):
    """Two categories of SVGs, a drawing begun and some scans, as somebody might have them."""
    import render_svg2bitmap

    for name in ("cat", "house"):
        (directory / name).mkdir(parents=True)
        strokes = utils.load_strokes(ROOT / f"datasets/npz/doodle_{name}.npz")["train"][:30]
        for i, drawing in enumerate(strokes):
            render_svg2bitmap.draw_strokes(drawing, directory / name / f"{i}.svg")
    render_svg2bitmap.draw_strokes(strokes[0][:12], directory.parent / "begun.svg")
    for name, drawing in zip(("doodle.jpg", "a.png", "b.png", "c.png", "cat.png"), strokes, strict=False):
        Image.fromarray(render_svg2bitmap.rasterize(drawing / [50, 50, 1], 200, 200)).save(directory.parent / name)


def test_the_recipe_of_make_demo(project):
    commands = demo_commands()
    assert len(commands) == 4
    for command in commands:
        assert run_command(command, shrink(command)) == 0
    check_drawings(project / "outputs/sampling")
    assert run_command(commands[1], shrink(commands[1])) == 0  # once more: the first run is moved aside
    assert (project / "outputs/demo/snapshot-old-1/checkpoint").is_file()


def test_the_python_of_the_readme(project):
    found = {}
    exec(re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)[1], found)
    assert len(found["drawing"]) > 5 and found["drawing"].shape[1] == 3


def test_commands_not_run_are_still_in_the_readme():
    assert set(NOT_RUN) <= set(readme_commands())
