"""Renames every private function at once in a copy of this project, and runs the tests there: no test may know one.

python tests/rename_privates.py                             # as make test
python tests/rename_privates.py tests/test_model.py -x      # flags go to pytest
"""

import ast
import io
import re
import shutil
import subprocess
import sys
import tempfile
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def private_names(source: str) -> set[str]:
    """Functions, methods and classes whose names begin with ``_``, and such names of the module itself."""
    tree = ast.parse(source)
    names = {node.name for node in ast.walk(tree) if isinstance(node, DEFINITIONS)}
    names |= {
        node.id for top in tree.body for node in ast.walk(top) if is_assigned(node) and not isinstance(top, DEFINITIONS)
    }
    return {name for name in names if name.startswith("_") and name.strip("_") and not name.endswith("__")}


def is_assigned(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def rename(source: str, names: set[str]) -> str:
    """``source`` with other names, in code and inside f-strings."""
    lines = source.splitlines(keepends=True)
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(source).readline))):
        is_f_string = token.type == tokenize.STRING and "f" in re.match(r"\w*", token.string)[0].lower()  # Python 3.11
        if not is_f_string and not (token.type == tokenize.NAME and token.string in names):
            continue
        (first, start), (last, end) = token.start, token.end
        text = re.sub(r"\b_\w+\b", lambda found: f"_renamed{found[0]}" if found[0] in names else found[0], token.string)
        lines[first - 1 : last] = [lines[first - 1][:start] + text + lines[last - 1][end:]]
        lines[first:first] = [""] * (last - first)  # so that the numbers of the lines before stay
    return "".join(lines)


def main(arguments: list[str]) -> int:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / ROOT.name
        for name in filter(lambda name: (ROOT / name).is_file(), tracked):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
        modules = [*copy.glob("*.py"), *(copy / "datasets").glob("*.py")]
        names = set().union(*(private_names(path.read_text()) for path in modules))
        for path in modules:
            path.write_text(rename(path.read_text(), names))
        print(f"renamed {len(names)} private names in {len(modules)} modules", flush=True)
        return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=copy).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["-m", "not slow and not real"]))
