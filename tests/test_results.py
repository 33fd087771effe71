"""The tables of README and docs/results.md are what ``make results`` prints of the reports in results/."""

import json
import re

import pytest
from helpers import ROOT

import sketch_pix2seq_results as results

NAMES = [*results.TABLES, *results.AS_PRINTED]
REPORTS = sorted((ROOT / "results").glob("*.json"))


def test_pages_hold_the_tables_as_they_are_printed():
    marked = []
    for page in results.PAGES:
        text = page.read_text()
        assert results.put_into_page(text) == text, f"{page.name}: python sketch_pix2seq_results.py --write"
        marked += re.findall("<!-- table: (\\w+) -->", text)
    assert sorted(marked) == sorted(NAMES)


def test_no_table_of_the_results_is_written_by_hand():
    text = (ROOT / "docs/results.md").read_text()
    printed = "".join(results.make_table(name)[0] for name in NAMES).splitlines()
    assert {line for line in text.splitlines() if line.startswith("|")} <= set(printed)


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_every_report_backs_a_table_and_says_whence_it_is(path):
    report = json.loads(path.read_text())
    assert any(path.stem in results.make_table(name)[1] for name in NAMES)
    assert report["command"].startswith("python sketch_pix2seq_") and report["machine"] and report["data"]
    assert "/" not in re.sub(r" (assets|outputs)/\S+", "", report["command"])  # no directory of a machine


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_of_one_machine(name):
    machines = {results.load_report(file)["machine"] for file in results.make_table(name)[1]}
    assert len(machines) == 1


def test_printed_tables(capsys):
    assert results.main(["padding", "speed"]) == 0
    printed = capsys.readouterr().out
    assert "## padding\n\n    python sketch_pix2seq_experiment.py --set recipe" in printed
    assert "± 0.0169" in printed and "| seconds per step |" in printed
    with pytest.raises(SystemExit):
        results.main(["beauty"])


def test_mean_and_deviation_over_seeds_and_interval_of_one():
    column = results.Column("Rec", ("rec", "0.1"), results.percent, " %")
    reports = [{"rec": {"0.1": {"value": value, "interval": [0.1, 0.5]}}} for value in (0.2, 0.3, 0.4)]
    assert results.entry(reports, column) == "30.0 ± 10.0 %"
    assert results.entry(reports[:1], column) == "20.0 % (10.0-50.0)"
    assert results.entry([{}], column) == "-"
