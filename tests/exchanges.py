"""An instrument with an exchange of its own that opens when a test wants it to."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from adapters.store.calendars import CalendarStore
from adapters.store.instruments import InstrumentStore
from domain.calendars import Published, Session
from models import Price
from tests.world import ACTOR, World

_DAY = timedelta(days=1)


async def listed(world: World, *, opens_in: timedelta, lasts: timedelta = timedelta(hours=6)) -> str:
    """A symbol that only trades in one session, which begins at that distance from now."""
    symbol = f"X{uuid.uuid4().hex[:8].upper()}"
    now = datetime.now(UTC)
    opens = now + opens_in
    session = Session(opens.date().isoformat(), opens, opens + lasts)
    await CalendarStore(world.database).keep(Published(symbol, now - 30 * _DAY, now + 400 * _DAY, "test", (session,)))
    terms = {"venue": "XNAS", "rail": "fiat", "fine_step": "0.000001", "calendar": symbol}
    await InstrumentStore(world.database).put({symbol: terms}, actor=ACTOR)
    price = Decimal(200)
    await world.registry.upsert_price(Price(symbol=symbol, price=price, asof=now, source="test"))
    world.alpaca.set_asset(symbol, price)
    return symbol
