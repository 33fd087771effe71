"""Shows what is in a data set before anything is trained on it: a summary, and a picture of some drawings.

    python datasets/inspect_data.py cat my_set [--data_dir datasets] [--out datasets/inspection]
    python datasets/inspect_data.py path/to/file.npz

Names are those of <data_dir>/npz (default: all of them). Prints the summary, and writes it with a contact sheet to
<out>/<name>.txt and <out>/<name>.png.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from inspection import inspect_files

from script import make_parser, run_script
from utils import npz_path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The flags; see the module's docstring."""
    parser = make_parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="in <data_dir>/npz, or .npz files (default: all)")
    parser.add_argument("--data_dir", type=Path, default=Path("datasets"), help="npz/ is in here (default: datasets)")
    parser.add_argument("--out", type=Path, help="directory of text and picture (default: <data_dir>/inspection)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Inspect the files named, or all of a data directory."""
    args = parse_args(argv)
    names = args.names or sorted(path.name for path in (args.data_dir / "npz").glob("*.npz"))
    if not names:
        raise FileNotFoundError(f"no .npz in {args.data_dir / 'npz'}; import or download drawings, or name a file")
    paths = [Path(name) if Path(name).is_file() else npz_path(args.data_dir, name) for name in names]
    title = paths[0].stem if len(paths) == 1 else "data_set"
    inspect_files(paths, args.out or args.data_dir / "inspection", title)
    return 0


if __name__ == "__main__":
    run_script(main)
