"""`vanta calendars` and `vanta instruments`: when exchanges trade, and what can be traded on which terms.

Works on the database itself, with the settings of the environment or of the embedded stack.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli_http import console, table

if TYPE_CHECKING:
    from adapters.reference import Reference, Refreshed
    from adapters.store.calendars import CalendarStore
    from adapters.store.database import Database
    from adapters.store.instruments import InstrumentStore

calendars = typer.Typer(no_args_is_help=True, help="Exchanges' sessions: refresh, list, show.")
instruments = typer.Typer(no_args_is_help=True, help="What can be traded: set, import, refresh, list, history.")
DataDir = Annotated[Path, typer.Option("--data", envvar="VANTA_DATA", help="Where the embedded stack keeps its data.")]
_DATA = Path(".vanta")
_ACTOR = "operator:cli"
_MAX_BYTES = 16_000_000


@calendars.command()
def refresh(
    code: Annotated[list[str] | None, typer.Argument(help="Such as XNYS; none: all that are needed.")] = None,
    data: DataDir = _DATA,
) -> None:
    """Store the sessions of the past month and the coming eighteen. Exit code 1 where one could not be read."""

    async def run() -> "Refreshed":
        async with _database(data) as database, _reference(data, database) as reference:
            return await reference.refresh_calendars(code or ())

    _report(asyncio.run(run()), "calendars", "sessions")


@calendars.command("list")
def list_calendars(data: DataDir = _DATA) -> None:
    """Which calendars are stored and until when, and which ones instruments go by."""

    async def run() -> list[tuple[Any, ...]]:
        async with _database(data) as database:
            found = await _calendars(database).coverage()
        return [
            (c.calendar, "yes" if c.used else "no", _day(c.covers_from), _day(c.covers_until), c.sessions, c.source)
            for c in found
        ]

    table(("calendar", "used", "from", "until", "sessions", "by"), asyncio.run(run()))


@calendars.command()
def show(
    code: Annotated[str, typer.Argument(help="Such as XNYS.")],
    data: DataDir = _DATA,
    days: Annotated[int, typer.Option(min=1, max=600, help="From today on.")] = 14,
) -> None:
    """The stored sessions of the coming days, in UTC."""

    async def run() -> list[tuple[Any, ...]]:
        today = datetime.now(UTC).date()
        async with _database(data) as database:
            found = await _calendars(database).days(code, today, today + timedelta(days=days))
        return [
            (f"{row['session_date']:%a %Y-%m-%d}", f"{row['opens_at']:%m-%d %H:%M}", f"{row['closes_at']:%m-%d %H:%M}")
            for row in found
        ]

    table(("day", "opens", "closes"), asyncio.run(run()))


@instruments.command("set")
def set_instrument(
    symbol: Annotated[str, typer.Argument(help="Such as AAPL or BTC-USD.")],
    *,
    data: DataDir = _DATA,
    venue: Annotated[str | None, typer.Option(help="Needed for a new one.")] = None,
    rail: Annotated[str | None, typer.Option(help="fiat or crypto; needed for a new one.")] = None,
    calendar: Annotated[
        str | None, typer.Option(help="Such as XNYS, or 24/7; a new one of rail fiat gets XNYS.")
    ] = None,
    flags: Annotated[
        str | None, typer.Option(help="halted, cancel_only, limit_only, post_only, close_only; empty: none.")
    ] = None,
    qty_step: Annotated[str | None, typer.Option(help="For accounts that take whole units.")] = None,
    fine_step: Annotated[str | None, typer.Option(help="For accounts that take fractions, and for crypto.")] = None,
    min_qty: str | None = None,
    min_notional: Annotated[str | None, typer.Option(help="In USD.")] = None,
    tradable: bool | None = None,
) -> None:
    """Add an instrument or change some of its terms; audited. Its calendar is stored with it where it is not yet."""
    given: dict[str, Any] = {
        "venue": venue, "rail": rail, "calendar": calendar, "qty_step": qty_step, "fine_step": fine_step,
        "min_qty": min_qty, "min_notional": min_notional, "tradable": tradable,
    }  # fmt: skip
    changes = {name: value for name, value in given.items() if value is not None}
    if flags is not None:
        changes["flags"] = [flag.strip() for flag in flags.split(",") if flag.strip()]
    _put(data, {symbol: changes})


@instruments.command("import")
def import_instruments(
    file: Annotated[
        Path, typer.Argument(help='JSON: {"AAPL": {"venue": "XNAS", "rail": "fiat", "calendar": "XNYS"}}.')
    ],
    data: DataDir = _DATA,
) -> None:
    """Add and change instruments by a file: all of it, or nothing where one is wrong. What it leaves out stays."""
    from domain.errors import InvalidInput

    if file.stat().st_size > _MAX_BYTES:
        raise InvalidInput("file", f"is larger than {_MAX_BYTES} bytes")
    try:
        found = json.loads(file.read_text("utf-8"), parse_float=str)
    except ValueError as error:
        raise InvalidInput("file", f"is not JSON ({error})") from None
    if not isinstance(found, dict) or not all(isinstance(terms, dict) for terms in found.values()):
        raise InvalidInput("file", "must be an object of symbols, each with an object of its terms")
    _put(data, found)


@instruments.command("refresh")
def refresh_instruments(data: DataDir = _DATA) -> None:
    """Take over steps, minimums and flags from the venues of VANTA_REFERENCE__SOURCES."""

    async def run() -> "Refreshed":
        async with _database(data) as database, _reference(data, database) as reference:
            return await reference.refresh_instruments()

    _report(asyncio.run(run()), "instruments", "instruments")


@instruments.command("list")
def list_instruments(data: DataDir = _DATA) -> None:
    """Every instrument with its calendar, steps and flags."""

    async def run() -> list[tuple[Any, ...]]:
        async with _database(data) as database:
            found = await _instruments(database).listed()
        return [
            (i.symbol, i.venue, i.rail, i.calendar or "at all times", i.qty_step, i.fine_step, ", ".join(i.flags))
            for i in found
        ]

    table(("symbol", "venue", "rail", "calendar", "step", "fine step", "flags"), asyncio.run(run()))


@instruments.command()
def history(symbol: Annotated[str, typer.Argument()], data: DataDir = _DATA) -> None:
    """Who changed what of an instrument, and when."""

    async def run() -> list[tuple[Any, ...]]:
        async with _database(data) as database:
            events = await _instruments(database).history(symbol)
        return [
            (f"{event.ts:%Y-%m-%d %H:%M:%S}", event.actor, name, change["from"], change["to"])
            for event in events
            for name, change in event.payload["changes"].items()
        ]

    table(("at", "by", "term", "from", "to"), asyncio.run(run()))


def _put(data: Path, changes: dict[str, dict[str, Any]]) -> None:
    async def run() -> "tuple[list[str], Refreshed | None]":
        async with _database(data) as database, _reference(data, database) as reference:
            changed = await _instruments(database).put(changes, actor=_ACTOR)
            return changed, await reference.refresh_missing()

    changed, refreshed = asyncio.run(run())
    console().print(f"{len(changed)} of {len(changes)} instruments changed")
    if refreshed is not None:
        _report(refreshed, "calendars", "sessions")


def _report(done: "Refreshed", of: str, what: str) -> None:
    console().print(f"{done.asked} {of} asked for; {done.changed} {what} changed")
    for problem in done.problems:
        console().print(problem, markup=False)
    if done.problems:
        raise typer.Exit(1)


@asynccontextmanager
async def _database(data: Path) -> "AsyncIterator[Database]":
    from adapters.store.database import Database
    from stack.environment import find_settings

    database = Database(find_settings(data).postgres)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def _reference(data: Path, database: "Database") -> "AsyncIterator[Reference]":
    from adapters.brokers.registry import build_brokers, close_brokers
    from adapters.reference import build_reference
    from stack.environment import find_settings

    settings = find_settings(data)
    brokers = build_brokers(alpaca=settings.alpaca, coinbase=settings.coinbase, tradier=settings.tradier)
    try:
        yield build_reference(settings.reference, database, brokers)
    finally:
        await close_brokers(brokers)


def _calendars(database: "Database") -> "CalendarStore":
    from adapters.store.calendars import CalendarStore

    return CalendarStore(database)


def _instruments(database: "Database") -> "InstrumentStore":
    from adapters.store.instruments import InstrumentStore

    return InstrumentStore(database)


def _day(moment: Any) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d}"
