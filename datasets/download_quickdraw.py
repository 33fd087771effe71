"""Fetches categories of QuickDraw, ready for training, from Google's server into <data_dir>/npz/.

    python datasets/download_quickdraw.py cat pig "ice cream" [--full] [--data_dir datasets]
    python datasets/download_quickdraw.py --list

A file has 70,000 drawings to train on and 2,500 each for validation and test; --full fetches all there are. A download
that was cut off goes on where it stopped, also after the script was. A file gets its name when it is whole and can be
read. The drawings are Google's, licence CC BY 4.0.
"""

import argparse
import difflib
import http.client
import ssl
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from script import make_parser, run_script
from utils import load_strokes, npz_path

BASE_URL = "https://storage.googleapis.com/quickdraw_dataset/sketchrnn/"
CATEGORIES = Path(__file__).resolve().parent / "quickdraw_categories.txt"
CHUNK = 1 << 16
MAX_BYTES = 1 << 30  # QuickDraw's largest full file is far below: more comes from something else
MAX_DELAY = 60.0  # seconds


class DownloadError(Exception):
    """The network or the server failed for good."""


class _TryAgain(Exception):
    """A failure that may pass."""


def load_categories() -> list[str]:
    """QuickDraw's 345 names."""
    return CATEGORIES.read_text(encoding="utf-8").splitlines()


def check_names(names: list[str], categories: list[str]) -> list[str]:
    """The categories meant, each once ("Ice_Cream" is "ice cream"). Raises ValueError with near matches."""
    by_lower, meant, unknown = {category.lower(): category for category in categories}, [], []
    for name in names:
        plain = name.removesuffix(".npz").removesuffix(".full").replace("_", " ").strip().lower()
        if plain in by_lower:
            meant.append(by_lower[plain])
        else:
            near = difflib.get_close_matches(plain, categories, n=3)
            near += [category for category in categories if plain in category.split() and category not in near]
            unknown.append(repr(name) + (f" (did you mean {', '.join(near)}?)" if near else ""))
    if unknown:
        raise ValueError(f"no QuickDraw category: {', '.join(unknown)}; --list shows all {len(categories)}")
    return list(dict.fromkeys(meant))


def download(url: str, target: Path, timeout: float = 30.0, retries: int = 5, backoff: float = 1.0) -> None:
    """Fetch an .npz to ``target``, going on with ``<target>.part`` if there is one; it appears whole and checked.

    Gives up after ``retries`` failures in a row without progress; waits ``backoff`` seconds, then twice as long each
    time. Raises DownloadError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part, tag = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.etag")
    failures, farthest = 0, _size(part)
    while True:
        try:
            _fetch(url, part, tag, timeout)
            _check_content(part)
            break
        except _TryAgain as error:
            # Going further than ever is progress; fetching the same beginning again is not.
            failures = 1 if _size(part) > farthest else failures + 1
            farthest = max(farthest, _size(part))
            if failures > retries:
                raise DownloadError(f"{url}: {error}; gave up after {retries} retries, run it again to go on") from None
            delay = min(MAX_DELAY, backoff * 2 ** (failures - 1))
            print(f"{error}; trying again in {delay:g} s ({failures} of {retries})", file=sys.stderr, flush=True)
            time.sleep(delay)
    part.replace(target)
    tag.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _fetch(url: str, part: Path, tag: Path, timeout: float) -> None:
    """One request: bring ``part`` to its full size. Raises _TryAgain or DownloadError."""
    headers = {"User-Agent": "sketch-pix2seq"}
    if _size(part):
        headers["Range"] = f"bytes={_size(part)}-"
        if tag.is_file():  # the file may have changed since: then the server is to send all of it
            headers["If-Range"] = tag.read_text(encoding="latin1")
    try:
        with urlopen(Request(url, headers=headers), timeout=timeout) as response:
            _receive(response, part, tag)
    except HTTPError as error:
        error.close()
        answer = f"the server answered {error.code} {str(error.reason).partition(chr(10))[0]}".rstrip()
        if error.code == 416:  # nothing after what is here: it is whole already, or it is another file's
            return
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _TryAgain(answer) from None
        raise DownloadError(f"{url}: {answer}") from None
    except URLError as error:
        raise _TryAgain(f"no connection ({error.reason})") from None
    except TimeoutError:
        raise _TryAgain(f"nothing came for {timeout:g} s") from None
    except (http.client.HTTPException, ConnectionError, ssl.SSLError):
        raise _TryAgain("the connection broke") from None


def _receive(response, part: Path, tag: Path) -> None:
    """Write what comes to where in ``part`` it belongs. Raises _TryAgain if it ends too early, DownloadError."""
    start, total = 0, response.headers.get("Content-Length", "")  # all of it: no Range known, or the file has changed
    if response.status == 206:
        start = _size(part)
        span, _, total = response.headers.get("Content-Range", "").partition("/")
        if not span.startswith(f"bytes {start}-"):
            part.unlink(missing_ok=True)
            raise _TryAgain("the server sent another part than asked for")
    total = int(total) if total.isdigit() else None
    if total is not None and total > MAX_BYTES:
        raise DownloadError(f"{response.url}: {total:,} bytes are no category of QuickDraw")
    etag = response.headers.get("ETag", "")
    tag.unlink(missing_ok=True)
    if etag.startswith('"'):  # a weak one (W/"...") says nothing about bytes
        tag.write_text(etag, encoding="latin1")
    with (
        part.open("r+b" if start else "wb") as file,
        tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None) as progress,
    ):
        file.seek(start)
        while data := response.read1(CHUNK):  # read() would keep what came before a stall to itself
            file.write(data)
            progress.update(len(data))
            if file.tell() > MAX_BYTES:
                raise DownloadError(f"{response.url}: over {MAX_BYTES:,} bytes are no category of QuickDraw")
        if total is not None and file.tell() < total:
            raise _TryAgain(f"the connection was cut after {file.tell():,} of {total:,} bytes")


def _check_content(part: Path) -> None:
    """Raise _TryAgain, and remove the file, if it does not hold drawings."""
    try:
        if not any(load_strokes(part).values()):
            raise ValueError("it holds no drawings")
    except (ValueError, FileNotFoundError) as error:
        part.unlink(missing_ok=True)
        raise _TryAgain(f"what came is no file of drawings ({error})") from None


def fetch_category(category: str, data_dir: Path, base_url: str, full: bool, **options) -> str:
    """Fetch a category unless it is there and can be read; returns a line about it. Raises DownloadError."""
    name = f"{category}.full.npz" if full else f"{category}.npz"
    target = npz_path(data_dir, name)
    what = "already there"
    try:
        strokes = load_strokes(target)
    except (FileNotFoundError, ValueError):  # a damaged one is fetched again, and replaced when the new one is whole
        download(f"{base_url.rstrip('/')}/{quote(name)}", target, **options)
        strokes = load_strokes(target)
        what = "fetched"
    counts = ", ".join(f"{split} {len(drawings):,}" for split, drawings in strokes.items())
    return f"{target}: {what}, {target.stat().st_size:,} bytes ({counts})"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The flags; see the module's docstring. Raises ValueError."""
    parser = make_parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a category: quote spaces, or write ice_cream")
    parser.add_argument("--full", action="store_true", help="all drawings of a category, not only 75,000")
    parser.add_argument("--list", action="store_true", help="print the names of all categories")
    parser.add_argument("--data_dir", type=Path, default=Path("datasets"), help="npz/ is in here (default: datasets)")
    parser.add_argument("--base_url", default=BASE_URL, help="where the files are (default: Google's server)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds without data that count as a stall")
    parser.add_argument("--retries", type=int, default=5, help="failures in a row before giving up (default: 5)")
    args = parser.parse_args(argv)
    if not args.names and not args.list:
        raise ValueError("name one or more categories; --list shows them")
    if urlsplit(args.base_url).scheme not in ("http", "https"):
        raise ValueError(f"--base_url {args.base_url} must begin with http:// or https://")
    if not args.timeout > 0 or args.retries < 0:
        raise ValueError("--timeout must be above 0, --retries 0 or more")
    return args


def main(argv: list[str] | None = None) -> int:
    """Fetch the categories named; 1 if any of them could not be fetched."""
    args = parse_args(argv)
    categories = load_categories()
    if args.list:
        print("\n".join(categories))
        return 0
    failed = False
    for category in check_names(args.names, categories):
        options = {"timeout": args.timeout, "retries": args.retries}
        try:
            print(fetch_category(category, args.data_dir, args.base_url, args.full, **options), flush=True)
        except (DownloadError, OSError) as error:  # OSError: a full disk
            failed = True
            print(f"{Path(__file__).name}: {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    run_script(main)
