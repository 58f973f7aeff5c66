"""One round after another of prices and NAVs, with the source and the store played."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from temporalio.testing import ActivityEnvironment

from activities.prices import CLOCKS_DIFFER_BY, MarkResult, PriceActivities, RefreshResult
from domain.errors import InvalidInput, VenueUnavailable
from domain.ports import PriceQuote

NOW = datetime(2026, 1, 30, 15, tzinfo=UTC)


@dataclass
class Source:
    quotes: dict[str, PriceQuote] = field(default_factory=dict)
    error: Exception | None = None
    asked: list[list[str]] = field(default_factory=list)

    async def latest(self, symbols: Sequence[str]) -> Mapping[str, PriceQuote]:
        self.asked.append(list(symbols))
        if self.error is not None:
            raise self.error
        return self.quotes


@dataclass
class Store:
    recorded: list[dict[str, PriceQuote]] = field(default_factory=list)
    marks: dict[str, str] = field(default_factory=dict)

    async def symbols(self, *, everything: bool) -> list[str]:
        return ["A", "B"] if everything else ["A"]

    async def record(self, quotes: Mapping[str, PriceQuote]) -> int:
        self.recorded.append(dict(quotes))
        return len(quotes)

    async def vaults(self) -> list[tuple[str, str]]:
        return [("t", vault) for vault in self.marks]

    async def mark(self, tenant_id: str, vault_id: str, now: datetime) -> str:
        return self.marks[vault_id]


class Round:
    def __init__(self, source: Source | None) -> None:
        self.source, self.store, self.now = source, Store(), NOW
        self.activities = PriceActivities(
            source,
            self.store,  # type: ignore[arg-type]  # played
            all_every=timedelta(hours=1),
            now=lambda: self.now,
        )

    async def refresh(self) -> RefreshResult:
        result: RefreshResult = await ActivityEnvironment().run(self.activities.refresh_prices)
        return result


def quote(asof: datetime = NOW) -> PriceQuote:
    return PriceQuote(Decimal(1), asof, "test")


async def test_without_a_source_nobody_is_asked():
    assert await Round(None).refresh() == RefreshResult()


async def test_what_nobody_holds_is_asked_for_now_and_then():
    source = Source()
    played = Round(source)
    for minutes in (0, 1, 59, 60, 61):
        played.now = NOW + timedelta(minutes=minutes)
        await played.refresh()
    assert source.asked == [["A", "B"], ["A"], ["A"], ["A", "B"], ["A"]]


async def test_a_look_at_everything_that_failed_is_made_again():
    source = Source(error=VenueUnavailable("prices-unavailable", "HTTP 503"))
    played = Round(source)
    await played.refresh()
    source.error = None
    await played.refresh()
    assert source.asked == [["A", "B"], ["A", "B"]]


@pytest.mark.parametrize("error", [VenueUnavailable("prices-unavailable", "HTTP 503"), InvalidInput("prices", "cut")])
async def test_a_source_that_fails_changes_nothing_and_is_told_once(error: Exception, caplog: pytest.LogCaptureFixture):
    source = Source({"A": quote()}, error)
    played = Round(source)
    with caplog.at_level(logging.INFO, "vanta.prices"):
        for _ in range(3):
            result = await played.refresh()
        assert (result.changed, result.problem) == (0, str(error))
        assert played.store.recorded == []
        source.error = None
        for _ in range(2):
            assert (await played.refresh()).problem is None
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_price_from_the_future_is_left_out():
    early = NOW + CLOCKS_DIFFER_BY
    source = Source({"A": quote(early), "B": quote(early + timedelta(seconds=1))})
    played = Round(source)
    result = await played.refresh()
    assert [sorted(r) for r in played.store.recorded] == [["A"]]
    assert result == RefreshResult(asked=2, changed=1, problem="from the future: B")


async def test_vaults_are_counted_by_what_became_of_them():
    played = Round(None)
    played.store.marks = {"V_1": "marked", "V_2": "told", "V_3": "unknown", "V_4": "same", "V_5": "unset"}
    result = await ActivityEnvironment().run(played.activities.mark_vaults)
    assert result == MarkResult(marked=2, told=1, unknown=1, same=1, unset=1)
