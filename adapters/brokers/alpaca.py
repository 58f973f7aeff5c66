"""Alpaca's trading API behind `domain.ports.MarketBroker` and `Streaming`.

alpaca-py is not used here: importing its enums alone loads pandas (+80 MB, 0.5 s per worker process), its request
models turn quantities into floats, and its client repeats POSTs after 429 and 504.
"""

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar
from urllib.parse import quote

import aiohttp

from adapters.brokers.alpaca_account import read_account, read_orders, read_positions, timestamp
from adapters.brokers.alpaca_data import read_latest_quotes
from adapters.brokers.alpaca_http import AlpacaHttp, broken, readable, venue_error
from adapters.brokers.alpaca_market import read_fills, read_instrument, refusal
from adapters.brokers.alpaca_stream import AlpacaStreams
from adapters.brokers.alpaca_values import vendor_symbol
from adapters.brokers.alpaca_wire import SHOWN, UNREADABLE, Answer, order_body, read_order
from domain.errors import VenueRefused, VenueUnavailable
from domain.ports import (
    AccountOrder,
    BrokerCredentials,
    ChildOrder,
    OutcomeKind,
    SendOutcome,
    VenueAccount,
    VenueOrder,
    VenuePosition,
    VenueStatus,
)
from domain.venues import Capabilities, Sessions, VenueFill, VenueInstrument, VenueQuote

_ORDERS_PER_PAGE = 500  # the vendor's maximum
_FILLS_PER_PAGE = 100  # the vendor's maximum
_MAX_PAGES = 20
_T = TypeVar("_T")


class AlpacaBroker:
    """Holds pooled connections, opened by the first call; `close()` it. `timeout_ms` bounds a whole request.

    `ping_s`: a stream whose other end has not answered a ping for half as long again is taken for dead.
    """

    capabilities = Capabilities(
        venue="alpaca",
        rail="fiat",
        fractional=True,
        notional=True,
        client_id_dedupes=True,
        looks_up_by_client_id=True,
        absence_proven_after_s=0,
        streams=True,
        cancels=True,
        replaces=True,
        crosses_zero=False,
        sessions=Sessions.EXCHANGE,
        increments="of each asset; fractions to nine places, prices to the cent (below 1 USD: 4 places)",
        converts=False,
        requests_per_min=200,
    )
    verdicts = SHOWN

    def __init__(
        self,
        *,
        live_url: str,
        paper_url: str,
        data_url: str = "https://data.alpaca.markets",
        timeout_ms: int = 10_000,
        max_connections: int = 100,
        ping_s: float = 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        urls = {"live": live_url, "paper": paper_url}
        self._http = AlpacaHttp(urls, data_url, timeout_ms=timeout_ms, max_connections=max_connections, clock=clock)
        self._streams = AlpacaStreams(self._http.base_url, timeout_ms=timeout_ms, ping_s=ping_s)

    async def submit(self, credentials: BrokerCredentials, order: ChildOrder) -> SendOutcome:
        """POST the order once. Raises ValueError for an order that no venue could take (a bug of the caller)."""
        body = order_body(order)
        if (why := refusal(order)) is not None:
            return SendOutcome(OutcomeKind.FINAL, "invalid_order", f"not sent: {why}")
        try:
            answer = await self._http.post(credentials, "/v2/orders", body)
        except VenueRefused as refused:
            return SendOutcome(OutcomeKind.FINAL, refused.code, str(refused))
        except VenueUnavailable as full:  # before anything was sent
            return SendOutcome(OutcomeKind.RETRYABLE, full.code, str(full), retry_after_s=full.retry_after_s)
        except (aiohttp.ClientError, OSError) as error:
            verdict = broken(error)
            return SendOutcome(verdict.kind, verdict.code, type(error).__name__)
        if answer.status == 200:
            return _booked(answer, order)
        verdict = answer.verdict()
        return SendOutcome(
            verdict.kind,
            verdict.code,
            answer.detail(credentials),
            http_status=answer.status,
            retry_after_s=answer.retry_after_s,
        )

    async def look_up(self, credentials: BrokerCredentials, client_order_id: str) -> VenueOrder | None:
        """The order under our id, or None where the venue says that it has none."""
        answer = await self._http.ask(
            credentials, "GET", "/v2/orders:by_client_order_id", params={"client_order_id": client_order_id}
        )
        if answer.is_not_found:
            return None
        if answer.status != 200:
            raise venue_error(answer, credentials)
        order = read_order(answer.body)
        if order is None or order.client_order_id != client_order_id:
            raise VenueUnavailable(UNREADABLE.code, "HTTP 200 without the order that was asked for")
        return order

    async def cancel(self, credentials: BrokerCredentials, ref: str) -> None:
        answer = await self._http.ask(credentials, "DELETE", f"/v2/orders/{quote(ref, safe='')}")
        if answer.status in {200, 204, 422} or answer.is_not_found:  # 422: already in a final state
            return
        raise venue_error(answer, credentials)

    async def positions(self, credentials: BrokerCredentials) -> Sequence[VenuePosition]:
        answer = await self._http.read(credentials, "/v2/positions")
        return _readable(None if answer.items is None else read_positions(answer.items), "positions")

    async def account(self, credentials: BrokerCredentials) -> VenueAccount:
        answer = await self._http.read(credentials, "/v2/account")
        return _readable(read_account(answer.body), "account")

    async def orders_since(self, credentials: BrokerCredentials, since: datetime) -> Sequence[AccountOrder]:
        """Page by page: the next begins a microsecond before the last order's time, and what is known is dropped."""
        found: dict[str, AccountOrder] = {}
        for _ in range(_MAX_PAGES):
            query = {"status": "all", "direction": "asc", "limit": str(_ORDERS_PER_PAGE), "after": timestamp(since)}
            answer = await self._http.read(credentials, "/v2/orders", params=query)
            page = _readable(None if answer.items is None else read_orders(answer.items), "orders")
            new = {order.order.ref: order for order in page if order.order.ref not in found}
            found |= new
            if len(page) < _ORDERS_PER_PAGE:
                return list(found.values())
            if not new:
                break
            since = page[-1].submitted_at - timedelta(microseconds=1)
        raise VenueUnavailable("too_many_orders", f"more than {len(found)} orders; look at a shorter time")

    async def instruments(
        self, credentials: BrokerCredentials, symbols: Sequence[str]
    ) -> Mapping[str, VenueInstrument]:
        """One request per symbol: the vendor's list of all assets is some ten thousand long."""
        found: dict[str, VenueInstrument] = {}
        for symbol in dict.fromkeys(symbols):
            path = f"/v2/assets/{quote(vendor_symbol(symbol), safe='')}"
            answer = await self._http.ask(credentials, "GET", path)
            if not answer.is_not_found:
                body = readable(answer, credentials).body
                found[symbol] = _readable(read_instrument(symbol, body), "asset")
        return found

    async def quotes(self, credentials: BrokerCredentials, symbols: Sequence[str]) -> Mapping[str, VenueQuote]:
        return await read_latest_quotes(self._http, credentials, symbols)

    async def fills_since(self, credentials: BrokerCredentials, since: datetime) -> Sequence[VenueFill]:
        """The vendor filters by when it recorded an execution, which can be later than the execution's own time."""
        found: dict[str, VenueFill] = {}
        query = {"after": timestamp(since), "direction": "asc", "page_size": str(_FILLS_PER_PAGE)}
        for _ in range(_MAX_PAGES):
            answer = await self._http.read(credentials, "/v2/account/activities/FILL", params=query)
            page = _readable(None if answer.items is None else read_fills(answer.items), "fills")
            new = {fill.fill_id: fill for fill in page if fill.fill_id not in found}
            found |= new
            if len(page) < _FILLS_PER_PAGE:
                return list(found.values())
            if not new:
                break
            query["page_token"] = page[-1].fill_id  # the next page begins after it
        raise VenueUnavailable("too_many_fills", f"more than {len(found)} fills; look at a shorter time")

    async def balances(self, credentials: BrokerCredentials) -> Mapping[str, Decimal]:
        """An account has US dollars only. Where it may borrow, what it may borrow can be spent too."""
        return {"USD": (await self.account(credentials)).buying_power}

    def reports(self, credentials: BrokerCredentials) -> AsyncGenerator[VenueOrder | None, None]:
        return self._streams.reports(credentials)

    async def close(self) -> None:
        await self._streams.close()
        await self._http.close()


def _booked(answer: Answer, order: ChildOrder) -> SendOutcome:
    venue_order = read_order(answer.body)
    if venue_order is None or venue_order.client_order_id != order.client_order_id:
        return SendOutcome(*UNREADABLE, "HTTP 200 without our order", http_status=200)
    kind, code = OutcomeKind.ACK, "accepted"
    if venue_order.status is VenueStatus.REJECTED:
        kind, code = OutcomeKind.FINAL, "rejected"
    return SendOutcome(kind, code, venue_order.reason, http_status=200, venue_order=venue_order)


def _readable(read: _T | None, what: str) -> _T:
    if read is None:
        raise VenueUnavailable(UNREADABLE.code, f"HTTP 200 without readable {what}")
    return read
