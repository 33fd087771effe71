"""Print every table of docs/results.md, and that of the README, from the reports in results/.

    python sketch_pix2seq_results.py                           # or: make results
    python sketch_pix2seq_results.py never_seen speed          # some of them
    python sketch_pix2seq_results.py --write                   # and put them into the two pages

A table stands in its page below the line ``<!-- table: never_seen -->``.
Each report names its command, the data it is of, its seed and its machine. Numbers of one report stand with their 95 %
bootstrap interval over drawings; of several seeds, as mean +- standard deviation over the seeds.
"""

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from script import add_switch, make_parser, run_script

RESULTS = Path(__file__).resolve().parent / "results"
PAGES = [RESULTS.parent / "README.md", RESULTS.parent / "docs" / "results.md"]


# ---------------------------------------------------------------------------------------------------------
# Numbers


def percent(share: float) -> str:
    """``0.431`` -> ``"43.1"``."""
    return f"{100 * share:.1f}"


def plain(digits: int):
    """A number with so many digits after the point."""
    return lambda number: f"{number:.{digits}f}"


class Column(NamedTuple):
    """A column of a table: its title, the way to its score in a report, how a number is written, and its unit."""

    title: str
    path: tuple[str, ...]
    form: object
    unit: str = ""


def find(report: dict, path: tuple[str, ...]):
    """The score at a path in a report; None if it has none."""
    for key in path:
        report = report.get(key) if isinstance(report, dict) else None
    return report


def entry(reports: list[dict], column: Column) -> str:
    """A cell of a table: one report's score with its interval, or the mean of several and its standard deviation."""
    scores = [find(report, column.path) for report in reports]
    if any(score is None for score in scores):
        return "-"
    values = [score["value"] if isinstance(score, dict) else score for score in scores]
    if len(values) > 1 and len(set(values)) > 1:
        return f"{column.form(np.mean(values))} ± {column.form(np.std(values, ddof=1))}{column.unit}"
    interval = scores[0].get("interval") if isinstance(scores[0], dict) else None
    spread = f" ({column.form(interval[0])}-{column.form(interval[1])})" if interval else ""
    return f"{column.form(values[0])}{column.unit}{spread}"


LOSS = Column("loss per real point", ("loss_per_point",), plain(4))
SHUFFLED = Column("with another's code", ("loss_per_point_shuffled_codes",), plain(4))
STEPS = Column("steps", ("steps",), "{:,}".format)
MINUTES = Column("minutes", ("minutes",), plain(1))


def rec(temperature: str) -> Column:
    """Rec at a temperature."""
    return Column("Rec", ("rec", temperature), percent, " %")


def ret(temperature: str, nearest: str = "1") -> list[Column]:
    """Ret@1 at a temperature, both ways."""
    keys = {"generated to original": "ret_generated_to_original", "original to generated": "ret_original_to_generated"}
    return [
        Column(f"Ret@{nearest}, {title}", (key, temperature, nearest), percent, " %") for title, key in keys.items()
    ]


def ink(how: str, *names: str) -> list[Column]:
    """Scores of the ink as one way of drawing has them."""
    titles = {
        "ink_f1_1": ("ink F1, 1 pixel", plain(3)),
        "ink_f1_2": ("2 pixels", plain(3)),
        "ink_f1_fine": ("fine", plain(3)),
        "lost": ("lost", percent, " %"),
        "to_end": ("to the last step", percent, " %"),
        "order": ("order of hand", plain(3)),
        "strokes": ("strokes", plain(1)),
        "points": ("points", plain(1)),
    }
    return [Column(title[0], ("ink", how, name), *title[1:]) for name, title in titles.items() if name in names]


# ---------------------------------------------------------------------------------------------------------
# Tables


class Row(NamedTuple):
    """A row: its first cells, the reports it is made of (one per seed), and its other columns."""

    cells: tuple[str, ...]
    files: tuple[str, ...]
    columns: list[Column]


class Table(NamedTuple):
    """A table: the titles of the first columns, and its rows."""

    titles: tuple[str, ...]
    rows: list[Row]


def load_report(name: str) -> dict:
    """A report of results/, without its ending. Raises ValueError."""
    try:
        return json.loads((RESULTS / f"{name}.json").read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"results/{name}.json cannot be read ({error})") from None


def print_table(table: Table) -> str:
    """Markdown."""
    titles = [*table.titles, *(column.title for column in table.rows[0].columns)]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in table.rows:
        reports = [load_report(name) for name in row.files]
        cells = [*row.cells, *(entry(reports, column) for column in row.columns)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def link(text: str, name: str) -> str:
    """A cell that leads to its report."""
    return f"[{text}](../results/{name}.json)"


INK = ("ink_f1_1", "ink_f1_2", "ink_f1_fine", "lost", "to_end", "order", "strokes", "points")


def drawings_of(title: str, guided: str, plainly: str | None = None) -> list[Row]:
    """The rows of a set of drawings: the person, a tracer, and the model, with the report that each is of."""
    ways = [("the person", guided, "the person"), ("a tracer", guided, "a tracer")]
    ways += [("the model, plain", plainly, "temperature 0.4")] if plainly else []
    ways += [("the model, guided", guided, "temperature 0.1")]
    count = link(f"{load_report(guided)['drawings']}", guided)
    return [
        Row((title if k == 0 else "", count if k == 0 else "", way), (report,), ink(how, *INK))
        for k, (way, report, how) in enumerate(ways)
    ]


def pictures_of(title: str, name: str) -> list[Row]:
    """The rows of pictures that others made."""
    count = link(str(load_report(name)["pictures"]), name)
    scores = ("ink_f1_1", "ink_f1_2", "ink_f1_fine", "lost")
    return [
        Row((title, count, "a tracer"), (name,), ink("a tracer", *scores)),
        Row((title, count, "the model"), (name,), ink("temperature 0.1", *scores)),
    ]


def never_seen() -> Table:
    data = {
        "never seen": ("pixels_never_seen_guided", "pixels_never_seen_plain"),
        "seen": ("pixels_seen_categories_guided",),
        "kanji, never seen": ("pixels_short_kanji_guided",),
        "Omniglot's test signs": ("pixels_omniglot_guided",),
        "sheep, never seen": ("pixels_aaron_sheep_guided",),
    }
    rows = [row for title, reports in data.items() for row in drawings_of(title, *reports)]
    return Table(("data", "drawings", "drawn by"), rows)


def pictures() -> Table:
    data = {
        "TU-Berlin, PNG": "pixels_rasters_tuberlin_png",
        "photos and scans of children's drawings": "pixels_rasters_animated_drawings",
        "SEVA, drawn on screens": "pixels_rasters_seva",
        "SketchModeling, line drawings": "pixels_rasters_sketchmodel",
        "Virtual Sketching, pencil and line art": "pixels_rasters_virtual_sketching",
    }
    return Table(("pictures", "how many", "drawn by"), [row for item in data.items() for row in pictures_of(*item)])


def judged() -> Table:
    ways = {
        "guided": ("pixels_spg20_guided", "0.1"),
        "plain": ("pixels_spg20_plain", "0.4"),
        "from z alone, plain": ("pixels_spg20_bare_z", "0.1"),
    }
    rows = [
        Row((link(title, name),), (name,), [rec(t), *ret(t), *ink(f"temperature {t}", "ink_f1_1", "order")])
        for title, (name, t) in ways.items()
    ]
    return Table(("drawn",), rows)


def pretrained() -> Table:
    columns = [LOSS, SHUFFLED, rec("0.24"), Column("Rec, real drawings", ("rec_real",), percent, " %"), *ret("0.24")]
    return Table(("weights",), [Row((link("assets/pretrained", "pretrained"),), ("pretrained",), columns)])


def seeds(title: str, files: tuple[str, ...]) -> str:
    """A cell that leads to the report of each seed."""
    return f"{title} ({', '.join(link(str(load_report(name)['training_seed']), name) for name in files)})"


def by_seed(name: str, steps: int, count: int = 3) -> tuple[str, ...]:
    """The reports of a run's seeds."""
    return tuple(f"{name}_seed{seed}_{steps}" for seed in range(1, count + 1))


def equal_time() -> Table:
    columns = [STEPS, MINUTES, LOSS, rec("0.24"), *ret("0.24")]
    rows = {
        "the paper's": by_seed("recipe_rate", 3000),
        "`sharp` without position noise": by_seed("recipe_augment", 2000),
    }
    return Table(("model (seeds)",), [Row((seeds(title, files),), files, columns) for title, files in rows.items()])


def position_noise() -> Table:
    columns = [STEPS, LOSS, rec("0.24"), *ret("0.24")]
    files = by_seed("recipe_noise", 2000)
    return Table(("model (seeds)",), [Row((seeds("`sharp`, 256 units", files),), files, columns)])


def changes(names: dict[str, str]) -> Table:
    columns = [LOSS, rec("0.24"), ret("0.24")[0]]
    rows = [
        Row((link(name, f"recipe_{name}_seed1_1500"), title), (f"recipe_{name}_seed1_1500",), columns)
        for name, title in names.items()
    ]
    return Table(("`--only`", "change"), rows)


def paper() -> Table:
    columns = [LOSS, SHUFFLED, rec("0.24"), *ret("0.24")]
    files = [by_seed(f"paper_{name}", 6000, 2) for name in ("cnn", "cnn_kl", "rnn", "rnn_kl")]
    rows = [Row((seeds(load_report(own[0])["label"], own),), own, columns) for own in files]
    return Table(("encoder (seeds)",), rows)


def by_run(files: list[str], columns: list[Column]) -> Table:
    """One row per run of one seed, by the name its encoder has in its report."""
    return Table(("encoder",), [Row((link(load_report(file)["label"], file),), (file,), columns) for file in files])


def paper_longer() -> Table:
    columns = [Column("best at step", ("step",), "{:,}".format), LOSS, SHUFFLED, rec("0.24"), *ret("0.24")]
    files = [f"paper_{name}_seed1_20000" for name in ("cnn", "cnn_kl", "rnn", "rnn_kl")]
    return by_run(files, columns)


def figure() -> Table:
    """The reconstruction loss along the figure's runs, and the scores of the weights that validated best."""
    columns = [Column(f"{step:,}", ("curve", "valid", str(step)), plain(3)) for step in (6000, 20000, 40000)]
    columns.append(Column("60,000", ("curve", "valid", "59999"), plain(3)))
    columns.append(Column("60,000, training", ("curve", "train", "59999"), plain(3)))
    columns += [Column("best at step", ("step",), "{:,}".format), LOSS, SHUFFLED, rec("0.24")]
    return by_run(["figure_cnn_seed1_60000", "figure_rnn_kl_seed1_60000"], columns)


def codes() -> Table:
    """What the codes know, and what their decoders make of it: of drawings trained on, and of others."""
    columns = [LOSS, SHUFFLED, Column("names by code", ("probe",), percent, " %")]
    columns.append(Column("by bitmap", ("probe_bitmaps",), percent, " %"))
    encoders = {"cnn": "CNN, no KL", "cnn_kl": "CNN, KL", "rnn": "RNN, no KL", "rnn_kl": "RNN, KL"}
    lengths = dict.fromkeys(encoders, (6000, 20000)) | dict.fromkeys(("cnn", "rnn_kl"), (6000, 20000, 60000))
    runs = [(name, steps, split) for name in encoders for steps in lengths[name] for split in ("train", "test")]
    encoders["cnn_quarter"] = "CNN, no KL, of a quarter of the drawings"
    rows = []
    for name, steps, split in [*runs, ("cnn_quarter", 6000, "test")]:
        file = f"codes_{name}_{steps}_{split}"
        rows.append(Row((link(encoders[name], file), f"{steps:,}", split), (file,), columns))
    return Table(("encoder", "steps", "drawings"), rows)


def why() -> Table:
    columns = [LOSS, SHUFFLED, rec("0.24")]
    files = {"as above": "paper_cnn_seed1_6000"}
    for name in ("cnn_quiet", "cnn_fast", "cnn_slow"):
        file = f"why_{name}_seed1_6000"
        files[load_report(file)["label"]] = file
    return Table(("CNN, no KL",), [Row((link(*item),), item[1:], columns) for item in files.items()])


def padding() -> Table:
    titles = {"with all padding (`skip_padding=False`)": "padding_with", "without": "padding_without"}
    files = {title: by_seed(name, 1500) for title, name in titles.items()}
    return Table(("(seeds)",), [Row((seeds(*row),), row[1], [LOSS]) for row in files.items()])


def readme() -> Table:
    ways = {
        "the person": ("pixels_never_seen_guided", "the person"),
        "**guided**": ("pixels_never_seen_guided", "temperature 0.1"),
        "plain": ("pixels_never_seen_plain", "temperature 0.4"),
        "a tracer": ("pixels_never_seen_guided", "a tracer"),
    }
    scores = ("ink_f1_1", "order", "strokes")
    return Table(("",), [Row((title,), (name,), ink(how, *scores)) for title, (name, how) in ways.items()])


XEON = {
    "faithful": "the paper's encoder, layer-norm LSTM",
    "rate": "learning rate from 0.002, falling within the run",
    "lstm": "LSTM, no dropout",
    "deep": "deeper encoder, little noise on z",
    "augment": "the two of the next table, and bitmaps of augmented strokes",
}
EPYC = {
    "position": "the decoder sees its pen's position",
    "glimpse": "and features that z gives of that position",
}
TABLES = {
    "readme": readme,
    "never_seen": never_seen,
    "judged": judged,
    "pictures": pictures,
    "pretrained": pretrained,
    "equal_time": equal_time,
    "position_noise": position_noise,
    "changes": lambda: changes(XEON),
    "changes_of_position": lambda: changes(EPYC),
    "paper": paper,
    "paper_longer": paper_longer,
    "figure": figure,
    "codes": codes,
    "why": why,
    "padding": padding,
}
AS_PRINTED = ("speed",)  # tables that another script printed into its report


def make_table(name: str) -> tuple[str, list[str]]:
    """A table by name -> (Markdown, the reports that it is made of)."""
    if name in AS_PRINTED:
        return "\n".join(load_report(name)["table"]) + "\n", [name]
    table = TABLES[name]()
    return print_table(table), list(dict.fromkeys(file for row in table.rows for file in row.files))


# ---------------------------------------------------------------------------------------------------------
# Pages


def put_into_page(text: str) -> str:
    """The text of a page with each table below its mark as it is printed now."""

    def table_of(match: re.Match) -> str:
        return f"{match[1]}\n\n{make_table(match[2])[0]}"

    return re.sub(r"(<!-- table: (\w+) -->)\n(?:\n(?:\|.*\n)+)?", table_of, text)


# ---------------------------------------------------------------------------------------------------------
# The script


def parse_args(argv):
    parser = make_parser(__doc__)
    parser.add_argument(
        "tables", nargs="*", choices=[[], *TABLES, *AS_PRINTED], default=[], help="which (default: all)"
    )
    add_switch(parser, "write", "put all tables into docs/results.md and README.md")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Print the tables, each with its commands and its machine -> exit code."""
    args = parse_args(argv)
    for page in PAGES if args.write else []:
        page.write_text(put_into_page(page.read_text()))
    for name in args.tables or [*TABLES, *AS_PRINTED]:
        text, files = make_table(name)
        reports = [load_report(file) for file in files]
        print(f"## {name}\n")
        print("\n".join(dict.fromkeys(f"    {report['command']}" for report in reports)))
        print(f"\n{'; '.join(dict.fromkeys(report['machine'] for report in reports))}\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # for its plus-minus sign, wherever it is printed to
    run_script(main)
