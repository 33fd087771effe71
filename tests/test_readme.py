"""README.md and docs/: every command is parsed by its script, and run in miniature or listed with what runs it.

Only sizes are appended to a command; the download comes from a server on this machine.
"""

import contextlib
import dataclasses
import http.server
import importlib
import re
import shlex
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import utils
from extensions import PRESETS
from hparams import ALIASES, HParams
from model import get_default_hparams

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)

TINY = "dec_rnn_size=8,num_mixture=2,z_size=4,batch_size=5,num_steps=2"
EXPERIMENT = "python sketch_pix2seq_experiment.py --set"
OF_VALID = f"{EXPERIMENT} recipe --split valid"
NOT_RUN = {
    "python3 -m venv .venv && . .venv/bin/activate": "the tests run in such an environment",
    "pip install -r requirements.txt": "the tests run with what it installs",
    "pip install -r requirements-app.txt": ".ci/run does it",
    "python sketch_pix2seq_app.py": "runs until it is ended; test_app.py",
    "python sketch_pix2seq_app.py --model_dir assets/pretrained --port 8000": "runs until it is ended; test_app.py",
    "make app": "runs until it is ended; test_app.py",
    'pip install "tensorflow[and-cuda]==2.21.*"': "needs a GPU; its version is compared below",
    "pip install vpype": "the tests run with it",
    "vpype read t0.1_1_plotter.svg stat": "test_sampling.py",
    "pip install sknw": "the tests run with it",
    "pip install pillow-heif": "the tests run with it",
    'python sketch_pix2seq_evaluate.py --model_dir assets/pixels --hparams="data_set=[never_seen]" --scores ink '
    "--temperatures 0.1 --guide 8 --tracer": "needs QuickDraw; test_evaluate.py",
    "python sketch_pix2seq_evaluate.py --model_dir assets/pixels --images photos --temperatures 0.1 --guide 8": (
        "test_evaluate.py"
    ),
    "make demo": "runs for minutes; its recipe is run below",
    "make results": "test_results.py",
    "make test": "runs this",
    "make test PYTHON=python3.12": "runs this",
    "make test-all": "runs this",
    "make soak": "runs for long",
    "python tests/test_reference.py": "test_reference.py",
    "python datasets/benchmark_render.py inkscape datasets/npz/aaron_sheep.npz": "needs Inkscape; test_render.py",
    "python sketch_pix2seq_evaluate.py --model_dir assets/pretrained --evaluation_dir outputs/pretrained": (
        "needs SPG-20; test_pretrained.py"
    ),
    "python sketch_pix2seq_benchmark.py --model_dir assets/pretrained": "test_benchmark.py",
    "python sketch_pix2seq_benchmark.py --model_dir outputs/snapshot": "test_benchmark.py",
    'python sketch_pix2seq_benchmark.py --cells hyper --hparams="img_H=128,img_W=128,batch_size=50"': (
        "test_benchmark.py"
    ),
    "python datasets/make_full_quickdraw.py --source quickdraw300 --data_dir full": "takes 7 GB; test_packed_store.py",
    'python sketch_pix2seq_benchmark.py --data_dir full --hparams="dec_model=lstm,bitmaps=on_demand,'
    'valid_drawings=2000" --categories 1 10 100 345': "needs those 7 GB; test_benchmark.py",
    f"{EXPERIMENT} paper --seeds 1 2 3": "test_scripts.py",
    "python sketch_pix2seq_experiment.py --seeds 1 2": "test_scripts.py",
    "python sketch_pix2seq_experiment.py --steps 20000": "test_scripts.py",
    f"{EXPERIMENT} why": "test_scripts.py",
    "python datasets/mix_drawings.py --name quarter spg20:160": "needs SPG-20; test_pixels.py",
    'python render_svg2bitmap.py --hparams="data_set=[quarter],img_H=48,img_W=48"': "needs SPG-20; test_render.py",
    'python sketch_pix2seq_train.py --snapshot_root outputs/cnn_quarter --hparams="data_set=[quarter],'
    'dec_model=layer_norm,dec_rnn_size=256,num_steps=6000,seed=1"': "needs SPG-20; test_training.py",
    "python sketch_pix2seq_evaluate.py --model_dir outputs/experiment/cnn_seed1/best_of_6000 --split train "
    "--scores loss probe": "needs that run; test_evaluate.py",
    f"{EXPERIMENT} figure": "test_scripts.py",
    f"{EXPERIMENT} recipe": "test_scripts.py",
    OF_VALID: "test_scripts.py",
    f'{OF_VALID} --only rate --seeds 1 2 3 --steps 3000 --hparams="decay_rate=0.999"': "test_scripts.py",
    f'{OF_VALID} --only augment --seeds 1 2 3 --steps 2000 --hparams="decay_rate=0.9985"': "test_scripts.py",
    f'{OF_VALID} --only noise --seeds 1 2 3 --steps 2000 --hparams="decay_rate=0.9985"': "test_scripts.py",
    f'{OF_VALID} --only rate --seeds 1 2 3 --hparams="skip_padding=False"': "test_scripts.py",
    f"{OF_VALID} --only rate --seeds 1 2 3": "test_scripts.py",
}
# One of several machines, which test_distribute.py runs, or what needs a GPU.
WORKER = re.compile(r"^(TF_CONFIG|CUDA_VISIBLE_DEVICES)='[^']*' ")


# ---- what the pages say ----------------------------------------------------------------------------------------------


def commands(page: Path) -> list[str]:
    """Every command of a page: the lines of its shell blocks, and in the text what begins with python, make or pip."""
    text = page.read_text()
    lines = [
        line.split("  #")[0].strip()
        for kind, block in FENCE.findall(text)
        if kind == "sh"
        for line in block.splitlines()
    ]
    inline = [" ".join(found.split()) for found in re.findall(r"`((?:python|make|pip) [^`]+)`", prose(page))]
    return list(dict.fromkeys([*filter(None, lines), *inline]))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def code_words(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


ALL_COMMANDS = list(dict.fromkeys(command for page in PAGES for command in commands(page)))
on_every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


# ---- every command is parsed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_command_is_parsed(command):
    program, *arguments = shlex.split(WORKER.sub("", command))
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program == "pip":
        runtime, development = ((ROOT / name).read_text() for name in ("requirements.txt", "requirements-dev.txt"))
        files = [["-r", "requirements.txt"], ["-r", "requirements-app.txt"]]
        if arguments[1:] not in files and re.sub(r"\[.*\]", "", arguments[1]) not in runtime.splitlines():
            names = [line.partition("==")[0] for line in development.splitlines()]
            assert set(arguments[1:]) <= set(names)  # tools that some tests need, of the version that these name
    elif program == "python":
        parse(*arguments)
    else:
        assert command in NOT_RUN


def parse(script: str, *flags: str) -> None:
    """As the script parses its command line, and its hyper-parameters."""
    assert (ROOT / script).is_file()
    if script.startswith("tests/"):
        assert not flags
        return
    args = importlib.import_module(Path(script).stem).parse_args(list(flags))
    preset = PRESETS[getattr(args, "preset", "default")]
    get_default_hparams().replace(**preset).parse(getattr(args, "hparams", ""))


def test_commands_not_run_stand_in_a_page_and_what_runs_them_exists():
    assert set(NOT_RUN) <= set(ALL_COMMANDS)
    for name in re.findall(r"test_\w+\.py", " ".join(NOT_RUN.values())):
        assert (ROOT / "tests" / name).is_file(), name


# ---- every command is run in miniature -------------------------------------------------------------------------------


def shorter(command: str) -> list[str]:
    """What to append to a command so that it ends within seconds."""
    if "sketch_pix2seq_train.py" in command:
        asked = re.search(r"--hparams=[\"']?([^\"']*)", command)
        return [f"--hparams={TINY}" + (f",{asked[1]}" if asked else "")]
    if "sketch_pix2seq_evaluate.py" in command and "--scores" not in command:
        return ["--scores", "loss"]
    if "benchmark_images.py" in command:
        return ["--count=2"]  # of each kind
    chosen = "--complete --" in command or ("sketch_pix2seq_sampling.py" in command and "--image" not in command)
    return ["--num_drawings=2"] if chosen else []


def run(command: str, *extra: str) -> None:
    """``python script.py flags`` in this process, from the working directory; drawings are opened."""
    program, script, *flags = shlex.split(command)
    assert program == "python", command
    assert importlib.import_module(Path(script).stem).main([*flags, *shorter(command), *extra]) == 0, command
    if script in ("sketch_pix2seq_sampling.py", "sketch_pix2seq_edit.py"):
        asked = re.search(r"--sampling_dir[= ](\S+)", command)
        check_drawings(Path(asked[1] if asked else "outputs/sampling"))


def check_drawings(directory: Path) -> None:
    with Image.open(directory / "gallery.png") as gallery:
        assert np.asarray(gallery.convert("L")).min() < 60
    assert (directory / "index.html").is_file()
    assert list(directory.rglob("*.svg"))


def run_page(page: Path, server: str) -> None:
    for command in commands(page):
        if command not in NOT_RUN and not WORKER.match(command):
            run(command, *[f"--base_url={server}"] * ("download_quickdraw.py" in command))


def write_small(path: Path, doodle: str) -> None:
    """A category of a few doodles."""
    strokes = utils.load_strokes(ROOT / f"datasets/npz/doodle_{doodle}.npz")
    few = {split: strokes[split][:count] for split, count in zip(utils.SPLITS, (20, 8, 8), strict=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    utils.save_strokes(path, few)


def clone(directory: Path) -> Path:
    """A working directory like a fresh clone, with fewer doodles and with the files that a reader would bring."""
    import render_svg2bitmap

    for path in (ROOT / "datasets/npz").glob("doodle_*.npz"):
        write_small(directory / "datasets/npz" / path.name, path.stem.removeprefix("doodle_"))
    (directory / "assets").symlink_to(ROOT / "assets")
    for name in ("cat", "house"):
        (directory / "my_drawings" / name).mkdir(parents=True)
        strokes = utils.load_strokes(ROOT / f"datasets/npz/doodle_{name}.npz")["train"][:30]
        for i, drawing in enumerate(strokes):
            render_svg2bitmap.draw_strokes(drawing, directory / f"my_drawings/{name}/{i}.svg")
    render_svg2bitmap.draw_strokes(strokes[0][:12], directory / "begun.svg")
    for name, drawing in zip(("doodle.jpg", "a.png", "b.png", "c.png", "cat.png"), strokes, strict=False):
        Image.fromarray(render_svg2bitmap.rasterize(drawing / [50, 50, 1], 200, 200)).save(directory / name)
    return directory


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Quick, Draw!'s server, on this machine."""
    directory = tmp_path_factory.mktemp("server")
    for name, doodle in (("pig", "cat"), ("face", "fish"), ("airplane", "car"), ("ice cream", "house")):
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


def test_readme(tmp_path, server, monkeypatch):
    monkeypatch.chdir(clone(tmp_path))
    run_page(README, server)
    for name in ("outputs/log/loss.png", "outputs/snapshot-old-1/checkpoint", "datasets/bitmap/pig_48x48.npz"):
        assert (tmp_path / name).is_file(), name


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Where the README's default run was made."""
    directory = clone(tmp_path_factory.mktemp("trained"))
    for name in ("aaron_sheep", "candle", "pig", "ant", "face", "crab"):  # that docs/data.md measures with
        (directory / f"datasets/npz/{name}.npz").symlink_to(ROOT / "datasets/npz/doodle_cat.npz")
    with contextlib.chdir(directory):
        run("python render_svg2bitmap.py")
        run("python sketch_pix2seq_train.py")
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_docs(page, trained, tmp_path, server, monkeypatch):
    monkeypatch.chdir(shutil.copytree(trained, tmp_path / "project", symlinks=True))
    run_page(page, server)


@pytest.mark.slow
def test_the_recipe_of_make_demo(tmp_path, monkeypatch):
    monkeypatch.chdir(clone(tmp_path))
    text = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^demo:.*?\n((?:\t.*\n)+)", text, re.MULTILINE)[1].replace("\\\n", " ")
    recipe = recipe.replace("$(VENV_PYTHON)", "python").replace("$(DEMO)", "outputs/demo")
    lines = [line.strip() for line in recipe.splitlines() if line.strip().startswith("python")]
    assert len(lines) == 4
    for line in lines:
        run(line)
    run(lines[1])  # once more: the first run is moved aside
    assert (tmp_path / "outputs/demo/snapshot-old-1/checkpoint").is_file()


@on_every_page
def test_python(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for kind, block in FENCE.findall(page.read_text()):
        if kind == "python":
            found = {}
            exec(block, found)
            assert len(found["drawing"]) > 5 and found["drawing"].shape[1] == 3


# ---- words, links, names ---------------------------------------------------------------------------------------------


def test_readme_is_short():
    text = README.read_text()
    assert len(text.splitlines()) <= 200
    assert len(text.split()) <= 1600


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@on_every_page
def test_links_and_pictures_exist(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", prose(page)):
        if "://" not in target:
            path = (page.parent / target).resolve() if target else page
            assert path.exists(), target
            assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


def test_every_document_is_linked_from_the_readme():
    for page in DOCS:
        assert f"](docs/{page.name}" in README.read_text(), page.name


@on_every_page
def test_names_exist(page):
    """Hyper-parameters, functions, tests: what stands in code font is there under that name."""
    fields = {field.name for field in dataclasses.fields(HParams)} | set(ALIASES)
    named = {match[1] for word in code_words(page) if (match := re.match(r"([a-z]\w*)=", word))}
    assert named <= fields
    sources = [path.read_text() for folder in ("", "datasets", "tests") for path in (ROOT / folder).glob("*.py")]
    known = fields | set(re.findall(r"\w+", "\n".join(sources)))
    assert {word for word in code_words(page) if re.fullmatch(r"[a-z]+(_\w+)+", word)} <= known
    files = {word for word in code_words(page) if re.fullmatch(r"(datasets/|tests/)?\w+\.py", word)}
    assert all(any((ROOT / folder / name).is_file() for folder in ("", "datasets", "tests")) for name in files)


def test_hyper_parameters_have_the_defaults_that_the_readme_states():
    table = re.search(r"^\| hyper-parameter .*\n\|[-|]+\n((?:\|.*\n)+)", README.read_text(), re.MULTILINE)[1]
    values = get_default_hparams().values()
    for names, defaults, _ in (row.strip("|").split("|") for row in table.splitlines()):
        for name, default in zip(re.findall(r"`(\w+)`", names), defaults.strip().split(", "), strict=True):
            assert name == "data_set" or str(values[name]) == default.replace(",", ""), name


def test_every_preset_is_documented():
    for name in PRESETS:
        assert f"| `{name}` | " in README.read_text(), name
