"""Reference data kept up to date: exchanges' sessions, and what venues say of their instruments."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Protocol, cast

from pydantic import SecretStr

from adapters.calendars import read_calendar
from adapters.store.calendars import CalendarStore
from adapters.store.database import Database
from adapters.store.instruments import Change, InstrumentStore
from domain.calendars import ALWAYS, Published
from domain.errors import Conflict, InvalidInput, VenueError
from domain.instruments import InstrumentTerms, as_published
from domain.ports import Broker, BrokerCredentials, MarketBroker
from domain.venues import VenueInstrument

ACTOR = "system:reference"
_AT_ONCE = 50
Reader = Callable[[str, date], Awaitable[Published]]


class SourceConfig(Protocol):
    """What `settings.InstrumentSource` offers."""

    @property
    def venue(self) -> str: ...
    @property
    def key_id(self) -> SecretStr: ...
    @property
    def secret(self) -> SecretStr: ...
    @property
    def environment(self) -> str: ...


class ReferenceConfig(Protocol):
    """What `settings.ReferenceSettings` offers."""

    @property
    def calendars(self) -> list[str]: ...
    @property
    def ahead_days(self) -> int: ...
    @property
    def sources(self) -> Sequence[SourceConfig]: ...


@dataclass(slots=True)
class Refreshed:
    """`changed` of what was `asked` for; `problems` say what stayed as it was, and why."""

    asked: int = 0
    changed: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Source:
    """A venue that is asked for the instruments of its rail, by an account of the platform's own."""

    broker: MarketBroker
    credentials: BrokerCredentials


class Reference:
    """`codes` are kept besides the calendars that instruments go by; `ahead_days` is what must be known ahead."""

    def __init__(
        self,
        calendars: CalendarStore,
        instruments: InstrumentStore,
        *,
        codes: Sequence[str] = (),
        ahead_days: int = 30,
        sources: Sequence[Source] = (),
        read: Reader = read_calendar,
    ) -> None:
        self._calendars = calendars
        self._instruments = instruments
        self._codes = codes
        self._ahead_days = ahead_days
        self._sources = sources
        self._read = read

    async def refresh_calendars(self, codes: Sequence[str] = ()) -> Refreshed:
        """Those calendars, or all that are needed. One that cannot be read stays as it was, and is said."""
        wanted = sorted({*codes} or {*self._codes, *await self._calendars.needed()} - {ALWAYS})
        done, today = Refreshed(asked=len(wanted)), datetime.now(UTC).date()
        for code in wanted:
            try:
                done.changed += await self._calendars.keep(await self._read(code, today))
            except (InvalidInput, VenueError) as error:
                done.problems.append(f"{code}: {error}"[:300])
        try:
            await self._calendars.require_ahead(self._ahead_days)
        except Conflict as error:
            done.problems.append(str(error))
        return done

    async def refresh_missing(self) -> Refreshed | None:
        """The calendars that instruments go by and that are not stored; None where there is none."""
        missing = [c.calendar for c in await self._calendars.coverage() if c.used and c.covers_until is None]
        return await self.refresh_calendars(missing) if missing else None

    async def refresh_instruments(self) -> Refreshed:
        """What each source says of its rail's instruments: steps, minimums, flags."""
        done = Refreshed()
        listed = await self._instruments.listed()
        for source in self._sources:
            rail = source.broker.capabilities.rail
            await self._ask(source, [row.symbol for row in listed if row.rail == rail], done)
        return done

    async def _ask(self, source: Source, symbols: Sequence[str], done: Refreshed) -> None:
        """Some at a time, as one venue is asked symbol by symbol: where it has had enough, what it said is kept."""
        venue, missing = source.broker.capabilities.venue, list[str]()
        for first in range(0, len(symbols), _AT_ONCE):
            some = symbols[first : first + _AT_ONCE]
            done.asked += len(some)
            try:
                told = await source.broker.instruments(source.credentials, some)
            except VenueError as error:
                left = f"{len(symbols) - first} of {len(symbols)} stay as they were"
                done.problems.append(f"{venue}: {left}: {error.code}: {error}"[:300])
                return
            done.changed += len(await self._instruments.update(_changes(told), actor=f"{ACTOR}:{venue}"))
            missing += [symbol for symbol in some if symbol not in told]
        if missing:
            shown = ", ".join(missing[:10]) + (" …" if len(missing) > 10 else "")
            done.problems.append(f"{venue} does not know {shown}")


def build_reference(config: ReferenceConfig, database: Database, brokers: Mapping[str, Broker]) -> Reference:
    """`brokers` are those of the configured sources at least."""
    sources = [
        Source(
            cast("MarketBroker", brokers[source.venue]),  # every adapter is one
            BrokerCredentials(
                f"reference/{source.venue}",
                source.key_id.get_secret_value(),
                source.secret.get_secret_value(),
                source.environment,
            ),
        )
        for source in config.sources
    ]
    calendars, instruments = CalendarStore(database), InstrumentStore(database)
    return Reference(calendars, instruments, codes=config.calendars, ahead_days=config.ahead_days, sources=sources)


def _changes(told: Mapping[str, VenueInstrument]) -> dict[str, Change]:
    def change(instrument: VenueInstrument) -> Change:
        def apply(before: InstrumentTerms | None) -> InstrumentTerms:
            assert before is not None, "it was listed, and nothing is ever deleted"
            return as_published(before, instrument)

        return apply

    return {symbol: change(instrument) for symbol, instrument in told.items()}
