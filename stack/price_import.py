"""`vanta import prices`: last prices from a file, for where no source is set up."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adapters.prices.file import FilePrices
from adapters.store.database import Database
from adapters.store.marks import MarkStore
from domain.errors import InvalidInput
from settings import Settings

# Clocks differ; a price from further in the future would never grow old.
_EARLY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Imported:
    """`kept` of the file's `found` prices; the others were there already, newer, or of `unknown` symbols."""

    found: int
    kept: int
    unknown: tuple[str, ...]


async def import_prices(settings: Settings, file: Path) -> Imported:
    """All of the file or nothing. Raises InvalidInput naming the entry, VenueUnavailable where there is no file."""
    quotes = await asyncio.to_thread(FilePrices(file).read)
    late = datetime.now(UTC) + _EARLY
    for symbol, quote in quotes.items():
        if quote.asof > late:
            raise InvalidInput(f"{symbol}.asof", "is in the future")
    database = Database(settings.postgres)
    try:
        prices = settings.prices
        store = MarkStore(database, max_age=timedelta(seconds=prices.max_age_s), event_bps=prices.event_bps)
        known = set(await store.symbols(everything=True))
        return Imported(len(quotes), await store.record(quotes), tuple(sorted(quotes.keys() - known)))
    finally:
        await database.close()
