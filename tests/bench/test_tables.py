import io

import pytest
from rich.console import Console
from rich.table import Table

from bench import tables
from bench.results import Results
from tests.bench import factory


def printed(*shown: Table) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(*shown, sep="\n")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_table_fits_into_a_hundred_columns():
    text = printed(*tables.everything(factory.good()))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    assert "…" not in text.replace("… posted", "")  # what rich cuts ends in an ellipsis


def test_all_systems_stand_under_each_number_of_followers():
    text = printed(tables.latencies(factory.good()))
    for system in ("floor", "ours", "engine", "textbook"):
        assert text.count(f" {system} ") >= 4
    assert "10,000" in text


def test_a_system_that_was_not_run_has_no_row():
    results = factory.good()
    for round_ in results.sizes[100].rounds:
        del round_.runs["textbook"]
    rows = [line for line in printed(tables.latencies(results)).splitlines() if line.startswith("  100 ")]
    assert [row.split()[1] for row in rows] == ["floor", "ours", "engine"]


def test_the_bare_round_trip_stands_under_one_follower():
    results = factory.good()
    for round_ in results.sizes[1].rounds:
        round_.round_trip_s = 0.021
    rows = [line.split() for line in printed(tables.latencies(results)).splitlines() if "  round trip " in line]
    assert [(row[0], row[-1]) for row in rows] == [("1", "0.021")]


def test_lost_and_doubled_requests_are_shown():
    results = factory.good()
    size = results.sizes[1_000]
    size.rounds[0].runs["ours"] = factory.run(990, 1.2, twice=7)
    row = next(
        line for line in printed(tables.latencies(results)).splitlines() if line.startswith("  1,000       ours")
    )
    assert row.split()[-2:] == ["10", "7"]


def test_what_is_done_and_what_has_settled_are_held_against_the_engine():
    row = next(line for line in printed(tables.ratios(factory.good())).splitlines() if line.startswith("  1,000 "))
    assert row.split() == ["1,000", "1.20", "50.00", "0.80", "1.50", "4.500"]


def test_statements_are_told_per_order_and_per_follower():
    row = next(line for line in printed(tables.costs(factory.good())).splitlines() if line.startswith("  100 "))
    assert row.split() == ["100", "3,000", "1,500", "50", "0.50", "10", "10"]


def test_the_verdict_marks_what_is_met_missed_and_not_measured():
    results = factory.good()
    results.sizes[10_000] = factory.size(10_000, floor=1.0, ours=1.6, textbook=60.0)
    results.steady = None
    text = printed(tables.targets(results))
    assert text.count("NO ✘") == 1
    assert text.count("not measured") == 1
    assert text.count("yes ✔") == 8


def test_nothing_measured_still_gives_the_targets():
    assert len(list(tables.everything(Results()))) == 1


@pytest.mark.parametrize(
    ("value", "said"), [(None, "–"), (0.0314, "0.031"), (9.9994, "9.999"), (47.256, "47.26"), (1_234.56, "1,234.6")]
)
def test_seconds_have_the_digits_that_mean_something(value: float | None, said: str):
    assert tables.seconds(value) == said
