import json
from pathlib import Path
from xml.etree import ElementTree

from bench import report
from bench.results import Results, TwoOrders
from tests.bench import factory


def test_the_document_holds_targets_runs_and_costs(tmp_path: Path):
    written = report.write(factory.good(), tmp_path / "new" / "folder", "2 cores")
    assert [path.name for path in written] == ["bench.json", "bench.svg"]
    document = json.loads(written[0].read_text())
    assert [size["followers"] for size in document["sizes"]] == [1, 100, 1_000, 10_000]
    assert all(target["met"] for target in document["targets"])
    ours = document["sizes"][2]["runs"][0]["ours"]
    assert ours == {
        "first": 0.0012, "p50": 0.6, "p99": 1.188, "last": 1.2, "spread": 1.1988, "confirmed": 2.4, "settled": 4.5,
        "sent_twice": 0, "lost": 0,
    }  # fmt: skip
    assert document["sizes"][2]["history"] == {"events": 3_000, "size_bytes": 1_500_000}
    assert document["sizes"][2]["statements"] == [50]
    assert document["two_orders"]["ratio"] == 1.5


def test_the_picture_has_a_panel_for_each_number_of_followers(tmp_path: Path):
    svg = report.write(factory.good(), tmp_path, "2 cores")[1].read_text()
    ElementTree.fromstring(svg)
    assert [f"{n} followers" in svg for n in ("100", "1,000", "10,000")] == [True] * 3


def test_without_sizes_there_is_no_picture(tmp_path: Path):
    results = Results(steady=factory.good().steady)
    assert [path.name for path in report.write(results, tmp_path, "2 cores")] == ["bench.json"]


def test_results_are_true_only_once_something_was_measured():
    assert not Results()
    assert not Results(two_orders=TwoOrders(1_000))
    assert Results(steady=factory.good().steady)
    assert factory.good()
