"""docs/brokers.md says what the adapters' code says."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.brokers import table
from adapters.brokers.registry import build_brokers
from cli import app
from domain.explain_words import has_words
from domain.ports import Broker
from domain.venues import Capabilities
from settings import AlpacaSettings, CoinbaseSettings, TradierSettings

DOCS = Path(__file__).parents[3] / "docs" / "brokers.md"


@pytest.fixture
def brokers() -> dict[str, Broker]:
    return build_brokers(alpaca=AlpacaSettings(), coinbase=CoinbaseSettings(), tradier=TradierSettings())


def test_the_documents_tables_are_what_the_code_prints():
    printed = CliRunner().invoke(app, ["brokers", "--markdown"])
    assert printed.exit_code == 0, printed.output
    found = re.search(r"<!-- tables -->\n(.*)<!-- end of tables -->", DOCS.read_text("utf-8"), re.DOTALL)
    assert found is not None
    assert found[1].strip() == printed.output.strip(), "print it anew: vanta brokers --markdown"


def test_every_capability_has_a_row_and_every_venue_a_column(brokers: dict[str, Broker]):
    capabilities, _, *verdicts = table.tables(brokers)
    assert list(capabilities.head) == ["", *brokers]
    assert len(capabilities.rows) == len(fields(Capabilities)) - 1
    assert all(len(row) == len(brokers) + 1 for row in capabilities.rows)
    assert [each.title.partition(":")[0] for each in verdicts] == list(brokers)  # every venue shows its verdicts


def test_every_final_refusal_has_words_for_the_follower(brokers: dict[str, Broker]):
    _, reasons, *_ = table.tables(brokers)
    assert [code for code, _ in reasons.rows if not has_words(code)] == []


def test_the_command_shows_the_same_to_people(brokers: dict[str, Broker]):
    shown = CliRunner().invoke(app, ["brokers"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for name in brokers:
        assert f"{name}: answers to an order" in shown.output
