"""Who imports whom, what an import does, and what a script says first."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from miniatures import ROOT

MODULES = {path.stem: path for path in sorted(ROOT.glob("*.py"))}
SCRIPTS = [name for name in MODULES if name.startswith("sketch_pix2seq_")]
WITHOUT = ["sketch_pix2seq_results"]  # TensorFlow
MAY_IMPORT = {  # library -> those it is built on; a script may import all of them
    "script": set(),
    "quiet_tensorflow": set(),
    "hparams": set(),
    "seeds": set(),
    "safe_npz": set(),
    "packed_store": {"safe_npz"},
    "bitmaps": {"packed_store", "safe_npz"},
    "utils": {"bitmaps", "packed_store", "safe_npz", "script", "seeds"},
    "find_paper": set(),
    "draw_svg": set(),
    "read_image": {"find_paper"},
    "simplify": set(),
    "centre_lines": set(),
    "svg_pen": {"centre_lines", "simplify"},
    "read_svg": {"centre_lines", "draw_svg", "read_image", "simplify", "svg_pen"},
    "read_strokes": {"read_svg", "utils"},
    "render_svg2bitmap": {"bitmaps", "packed_store", "read_image", "script", "utils"},
    "pictures": {"read_image", "render_svg2bitmap", "utils"},
    "result_page": {"pictures", "render_svg2bitmap", "utils"},
    "endings": {"utils"},
    "morph": {"pictures"},
    "rnn": {"seeds"},
    "unrolling": {"rnn"},
    "snapshots": {"hparams", "utils"},
    "extensions": {"hparams", "rnn", "unrolling"},
    "model": {"extensions", "hparams", "rnn", "snapshots", "unrolling"},
    "astray": {"utils"},
    "hand_order": {"ink_scores", "utils"},
    "guide": {"extensions", "hand_order", "ink_scores", "model", "utils"},
    "ink_scores": {"render_svg2bitmap"},
    "tracer": {"ink_scores", "utils"},
    "classifier": {"hparams", "packed_store", "utils"},
    "distributed": {"snapshots"},
    "run_dirs": {"snapshots"},
    "run_log": {"utils"},
    "sampler": set("guide model pictures read_image render_svg2bitmap result_page script seeds simplify utils".split()),
    "app_drawings": set("endings ink_scores morph pictures read_image render_svg2bitmap sampler seeds utils".split()),
}
INSIDE_MAIN = {"render_svg2bitmap": {"model", "quiet_tensorflow"}}  # which its importers do without
SCRIPTS_SHARED = {"sketch_pix2seq_experiment": {"sketch_pix2seq_evaluate"}}
WITHOUT_TENSORFLOW = """
hparams safe_npz packed_store bitmaps script seeds utils find_paper draw_svg read_image simplify centre_lines svg_pen
read_svg read_strokes render_svg2bitmap pictures result_page morph endings ink_scores tracer
astray hand_order
""".split()


def imports(path: Path, everywhere: bool = True) -> list[str]:
    """The modules that a file imports, in order; only those of its first level unless ``everywhere``."""
    tree = ast.parse(path.read_text())
    found = []
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found += [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module.partition(".")[0])
    return found


# ---- the tree --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_imports_form_a_tree(name):
    ours = {module for module in imports(MODULES[name]) if module in MODULES}
    if name in SCRIPTS:
        allowed = MAY_IMPORT.keys() | SCRIPTS_SHARED.get(name, set())
    else:
        assert name in MAY_IMPORT, f"{name}.py is new: give it its place among the libraries"
        allowed = MAY_IMPORT[name] | INSIDE_MAIN.get(name, set())
        assert not set(imports(MODULES[name], everywhere=False)) & INSIDE_MAIN.get(name, set())
    assert ours <= allowed, ours - allowed


@pytest.mark.parametrize("path", sorted((ROOT / "datasets").glob("*.py")), ids=lambda path: path.name)
def test_data_scripts_stand_on_libraries(path):
    assert not set(imports(path)) & set(SCRIPTS)
    assert path.read_text().count("sys.path") <= 1  # by which a script finds the libraries


@pytest.mark.parametrize("name", sorted(set(SCRIPTS) - set(WITHOUT)))
def test_scripts_load_tensorflow_quietly(name):
    assert imports(MODULES[name])[0] == "quiet_tensorflow"


def test_no_library_loads_quiet_tensorflow_when_imported():
    for name in MAY_IMPORT.keys() & MODULES.keys():
        assert "quiet_tensorflow" not in imports(MODULES[name], everywhere=False)


# ---- what an import does ---------------------------------------------------------------------------------------------


def run_python(code: str) -> str:
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n{code}", "--no_such_flag"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_needs_no_tensorflow_loads_none():
    names = [name for name in WITHOUT_TENSORFLOW if name in MODULES]
    run_python(f"import {', '.join(names)}\nassert not {{'tensorflow', 'keras'}} & sys.modules.keys()")


def test_no_import_has_a_side_effect():
    """On the environment, signals, random numbers or the screen; flags are not parsed."""
    code = f"""
import importlib, os, random, signal
import numpy as np
import quiet_tensorflow  # the one that has
def state():
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return dict(os.environ), os.getcwd(), signals, random.getstate(), np.random.get_state()[1].tolist(), sys.path[:]
before = state()
for name in {list(MODULES)}:
    importlib.import_module(name)
    assert state() == before, name
"""
    assert run_python(code) == ""


# ---- what a script says first ----------------------------------------------------------------------------------------

MISTAKES = {  # flags, to which a directory that does not exist is added where they end with =
    "sketch_pix2seq_train": ["--hparams=dec_modle=lstm"],
    "sketch_pix2seq_experiment": ["--hparams=wrong=1", "--experiment_dir="],
    "sketch_pix2seq_export": ["--export_dir=", "--model_dir="],
    "sketch_pix2seq_edit": ["--complete", "--model_dir="],
    "render_svg2bitmap": ["--hparams=wrong=1"],
}
WITH_TENSORFLOW = [*sorted(set(SCRIPTS) - set(WITHOUT)), "render_svg2bitmap"]


def run_script(name: str, *flags, **variables: str) -> subprocess.CompletedProcess:
    """A script in a process of its own, and TensorFlow with its own idea of what to say."""
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"} | variables
    return subprocess.run([sys.executable, MODULES[name], *flags], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "sketch_pix2seq_train" else pytest.mark.slow) for name in WITH_TENSORFLOW],
)
def test_a_mistake_gets_one_line(name, tmp_path):
    flags = MISTAKES.get(name, ["--model_dir="])
    done = run_script(name, *(flag + str(tmp_path / "none") if flag.endswith("=") else flag for flag in flags))
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(rf"{name}\.py: .+\n", done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_TENSORFLOW)
def test_help_says_nothing_else(name):
    done = run_script(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_a_failing_import_is_shown_whole(tmp_path):
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text(
        "import os\nos.write(2, b'from the depths of a library\\n')\nraise ImportError('libbroken.so: no such file')\n"
    )
    done = run_script("sketch_pix2seq_train", "--help", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("from the depths of a library\nTraceback")
    assert done.stderr.endswith("ImportError: libbroken.so: no such file\n")
