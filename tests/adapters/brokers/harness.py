"""The venues of the contract suite, and what its tests do over and over.

A venue plugs in with one file (`alpaca_venue.py` is the model) and one line in `OPENERS`. The suite differs by what
the adapter's `capabilities` say, never by the venue's name.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from decimal import Decimal
from typing import Any

from domain.orders import OrderType, Side, TimeInForce
from domain.ports import ChildOrder, OutcomeKind, VenueOrder
from tests.adapters.brokers.alpaca_venue import open_alpaca
from tests.adapters.brokers.coinbase_venue import open_coinbase
from tests.adapters.brokers.tradier_venue import open_tradier
from tests.adapters.brokers.venue import SECRET, TIMEOUT_MS, Breakage, Clock, Venue

__all__ = [
    "OPENERS", "SECRET", "SYMBOL", "TIMEOUT_MS", "Breakage", "Clock", "Venue", "accepted", "child_order", "found",
    "open_alpaca",
]  # fmt: skip

SYMBOL = "AAPL"  # of what is sent to no simulator; a venue's own is `venue.symbol`
OPENERS: dict[str, Callable[[], AbstractAsyncContextManager[Venue]]] = {
    "alpaca": open_alpaca,
    "coinbase": open_coinbase,
    "tradier": open_tradier,
}


def child_order(client_order_id: str, **changes: Any) -> ChildOrder:
    """A market order to buy ten shares, unless told otherwise; for a venue, see `Venue.order`."""
    order = ChildOrder(client_order_id, SYMBOL, Side.BUY, Decimal(10), OrderType.MARKET, TimeInForce.DAY)
    return replace(order, **changes)


async def accepted(venue: Venue, order: ChildOrder) -> VenueOrder:
    outcome = await venue.broker.submit(venue.credentials, order)
    assert outcome.kind is OutcomeKind.ACK, outcome
    assert outcome.venue_order is not None
    return outcome.venue_order


async def found(venue: Venue, client_order_id: str) -> VenueOrder:
    order = await venue.broker.look_up(venue.credentials, client_order_id)
    assert order is not None
    return order
