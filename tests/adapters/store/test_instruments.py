"""Instruments changed by hand and by their venues, every change told; and calendars read for those that need them."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from adapters.brokers.registry import build_brokers, close_brokers
from adapters.reference import Reference, Source, build_reference
from adapters.store.calendars import CalendarStore
from adapters.store.database import Database
from adapters.store.instruments import InstrumentStore
from domain.calendars import Published, Session
from domain.errors import InvalidInput, VenueRefused
from domain.ports import BrokerCredentials
from domain.venues import Flag, VenueInstrument
from settings import InstrumentSource, Settings
from simulators.alpaca import AlpacaSimulator
from tests.adapters.store.conftest import ACTOR

EQUITY: dict[str, Any] = {"venue": "XNAS", "rail": "fiat"}


@pytest.fixture
def store(database: Database) -> InstrumentStore:
    return InstrumentStore(database)


@pytest.fixture
async def symbol(store: InstrumentStore) -> AsyncIterator[str]:
    """Afterwards it trades at all times, as a calendar that nobody stores would be reported for good."""
    name = f"I{uuid.uuid4().hex[:8].upper()}"
    yield name
    await store.put({name: {**EQUITY, "calendar": "24/7"}}, actor=ACTOR)


async def test_a_new_one_gets_its_rails_calendar_and_every_change_is_told(store: InstrumentStore, symbol: str) -> None:
    assert await store.put({symbol: EQUITY}, actor=ACTOR) == [symbol]
    assert await store.put({symbol: EQUITY}, actor=ACTOR) == []
    changes = {"flags": ["limit_only", "close_only"], "qty_step": "0.50"}
    assert await store.put({symbol: changes}, actor="user:other") == [symbol]
    [row] = await store.listed([symbol])
    assert (row.calendar, row.flags, row.qty_step) == ("XNYS", ["close_only", "limit_only"], Decimal("0.5"))
    first, second = await store.history(symbol)
    assert (first.action, first.actor, second.action, second.actor) == ("created", ACTOR, "updated", "user:other")
    assert second.payload["changes"] == {
        "flags": {"from": [], "to": ["close_only", "limit_only"]}, "qty_step": {"from": "1", "to": "0.5"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        ({"rail": "fiat"}, "venue"), ({**EQUITY, "rail": "sea"}, "rail"), ({**EQUITY, "flags": ["shut"]}, "flags"),
        ({**EQUITY, "flags": "halted"}, "flags"), ({**EQUITY, "calendar": "../x"}, "calendar"),
        ({**EQUITY, "qty_step": "0"}, "qty_step"), ({**EQUITY, "min_qty": "much"}, "min_qty"),
        ({**EQUITY, "tradable": "yes"}, "tradable"), ({**EQUITY, "calender": "XNYS"}, "calender"),
    ],
)  # fmt: skip
async def test_one_that_is_wrong_is_named_and_nothing_of_the_file_is_kept(
    store: InstrumentStore, symbol: str, terms: dict[str, Any], name: str
) -> None:
    other = f"A{symbol}"
    with pytest.raises(InvalidInput) as refused:
        await store.put({other: {**EQUITY, "calendar": "24/7"}, symbol: terms}, actor=ACTOR)
    assert refused.value.field == f"{symbol}.{name}"
    assert await store.listed([other, symbol]) == []


@dataclass
class Told:
    """A venue that knows some instruments."""

    known: dict[str, VenueInstrument] = field(default_factory=dict)
    error: VenueRefused | None = None

    @property
    def capabilities(self) -> Any:
        return type("Can", (), {"venue": "told", "rail": "fiat"})

    async def instruments(
        self, credentials: BrokerCredentials, symbols: Sequence[str]
    ) -> Mapping[str, VenueInstrument]:
        if self.error is not None:
            raise self.error
        return {symbol: self.known[symbol] for symbol in symbols if symbol in self.known}


def reference(database: Database, *sources: Told, **more: Any) -> Reference:
    credentials = BrokerCredentials("reference/told", "key", "secret")
    made = [Source(source, credentials) for source in sources]  # type: ignore[arg-type]  # played
    return Reference(CalendarStore(database), InstrumentStore(database), sources=made, **more)


async def test_a_venue_is_believed_of_steps_minimums_and_flags(
    database: Database, store: InstrumentStore, symbol: str
) -> None:
    await store.put({symbol: {**EQUITY, "calendar": "24/7", "min_notional": "5"}}, actor=ACTOR)
    told = VenueInstrument(symbol, "USD", Decimal("0.01"), min_qty=Decimal("0.02"), flags=frozenset({Flag.HALTED}))
    done = await reference(database, Told({symbol: told})).refresh_instruments()
    assert done.changed == 1
    [row] = await store.listed([symbol])
    assert (row.qty_step, row.fine_step) == (Decimal(1), Decimal("0.01"))
    assert (row.min_qty, row.min_notional, row.flags) == (Decimal("0.02"), Decimal(5), ["halted"])
    assert (await store.history(symbol))[-1].actor == "system:reference:told"
    assert (await reference(database, Told({symbol: told})).refresh_instruments()).changed == 0


async def test_what_a_venue_does_not_know_or_say_stays_and_is_reported(
    database: Database, store: InstrumentStore, symbol: str
) -> None:
    await store.put({symbol: {**EQUITY, "calendar": "24/7", "flags": ["close_only"]}}, actor=ACTOR)
    done = await reference(database, Told()).refresh_instruments()
    assert any("told does not know" in problem for problem in done.problems)
    refuses = Told(error=VenueRefused("bad_credentials", "no"))
    done = await reference(database, refuses).refresh_instruments()
    [problem] = done.problems
    assert ("stay as they were" in problem, "bad_credentials" in problem) == (True, True)
    [row] = await store.listed([symbol])
    assert row.flags == ["close_only"]


async def test_an_asset_that_is_halted_at_the_simulated_venue_is_halted_here(
    database: Database, store: InstrumentStore, symbol: str, settings: Settings
) -> None:
    await store.put({symbol: {**EQUITY, "calendar": "24/7"}}, actor=ACTOR)
    async with AlpacaSimulator(rate_limit=100_000) as alpaca:
        alpaca.add_account("reference", "secret")
        alpaca.set_asset(symbol, Decimal(200), fractionable=False)
        given = InstrumentSource(
            venue="alpaca", key_id=SecretStr("reference"), secret=SecretStr("secret"), environment="paper"
        )
        config = settings.reference.model_copy(update={"sources": [given]})
        urls = settings.alpaca.model_copy(update={"paper_url": alpaca.url})
        brokers = build_brokers(alpaca=urls, coinbase=settings.coinbase, tradier=settings.tradier)
        try:
            refreshing = build_reference(config, database, brokers)
            await refreshing.refresh_instruments()
            [row] = await store.listed([symbol])
            assert (row.fine_step, row.flags) == (Decimal(1), [])
            alpaca.set_asset(symbol, Decimal(200), fractionable=False, tradable=False)
            await refreshing.refresh_instruments()
        finally:
            await close_brokers(brokers)
    [row] = await store.listed([symbol])
    assert row.flags == ["halted"]


async def test_the_calendars_that_instruments_go_by_are_read_and_one_that_fails_stops_no_other(
    database: Database, store: InstrumentStore, symbol: str
) -> None:
    good, bad = f"G{symbol}", f"B{symbol}"
    await store.put({symbol: {**EQUITY, "calendar": good}}, actor=ACTOR)

    async def read(code: str, today: date) -> Published:
        if code == bad:
            raise InvalidInput("calendar", f"there is no {code}")
        now = datetime.now(UTC)
        ahead = timedelta(days=10)
        return Published(code, now - ahead, now + ahead, "test", (Session("2026-11-25", now, now + ahead),))

    done = await reference(database, codes=(bad,), read=read).refresh_calendars()
    assert any(bad in problem for problem in done.problems)
    assert any("calendars refresh" in problem and good in problem for problem in done.problems)  # ten days are few
    [stored] = [c for c in await CalendarStore(database).coverage() if c.calendar == good]
    assert (stored.used, stored.sessions, stored.source) == (True, 1, "test")
    assert await reference(database, read=read).refresh_missing() is None
