"""Coinbase Advanced behind `domain.ports.MarketBroker`, `Streaming` and `Converting`.

Of the vendor's SDK only the token generator is used: its client knows no asyncio, and makes up a client order id where
one is empty. Whether a second order under a client order id is refused is unproven, so it is taken to be booked.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp

from adapters.brokers.coinbase_account import (
    Wallet,
    account_of,
    positions_of,
    priced_symbols,
    read_fills,
    read_orders,
    read_wallets,
)
from adapters.brokers.coinbase_http import CoinbaseHttp, Query, broken, venue_error
from adapters.brokers.coinbase_market import middle, read_conversion, read_product, read_quotes
from adapters.brokers.coinbase_stream import CoinbaseStream
from adapters.brokers.coinbase_wire import UNREADABLE, VERDICTS, Answer, order_body, read_created, read_order, timestamp
from domain.errors import VenueRefused, VenueUnavailable
from domain.orders import OrderType, TimeInForce
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
from domain.venues import Capabilities, Conversion, Sessions, VenueFill, VenueInstrument, VenueQuote

_ORDERS = "/orders/historical/batch"
_MAX_REFS = 20_000
# Of an order that is over, unknown or being cancelled already.
_NOTHING_TO_CANCEL = frozenset({"UNKNOWN_CANCEL_ORDER", "DUPLICATE_CANCEL_REQUEST", "ORDER_IS_FULLY_FILLED"})
_T = TypeVar("_T")


class CoinbaseBroker:
    """`close()` it. An environment whose URL is empty is refused: the vendor's sandbox answers the same to everything.

    `look_back_days`: how long ago an order may have been placed that is over and is still found under our id; open
    orders are found whatever their age.
    """

    capabilities = Capabilities(
        venue="coinbase",
        rail="crypto",
        fractional=True,
        notional=False,
        client_id_dedupes=False,
        looks_up_by_client_id=False,
        absence_proven_after_s=30,
        streams=True,
        cancels=True,
        replaces=False,
        crosses_zero=False,
        sessions=Sessions.CONTINUOUS,
        increments="of each product: base_increment, price_increment, minimums in base and quote currency",
        converts=True,
        requests_per_min=1_800,
    )
    verdicts = VERDICTS

    def __init__(
        self,
        *,
        live_url: str,
        paper_url: str,
        live_stream_url: str = "",
        paper_stream_url: str = "",
        timeout_ms: int = 10_000,
        max_connections: int = 100,
        look_back_days: int = 30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = CoinbaseHttp({"live": live_url, "paper": paper_url}, timeout_ms, max_connections, clock)
        self._stream = CoinbaseStream({"live": live_stream_url, "paper": paper_stream_url})
        self._look_back = timedelta(days=look_back_days)
        self._refs: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def close(self) -> None:
        await self._http.close()
        await self._stream.close()

    def reports(self, credentials: BrokerCredentials) -> AsyncGenerator[VenueOrder | None, None]:
        return self._stream.reports(credentials)

    async def submit(self, credentials: BrokerCredentials, order: ChildOrder) -> SendOutcome:
        """POST the order once. Raises ValueError for an order that no venue could take (a bug of the caller)."""
        body = order_body(order, datetime.now(UTC))
        if order.order_type is OrderType.MARKET and order.tif is TimeInForce.FOK:
            return SendOutcome(OutcomeKind.FINAL, "invalid_order", "coinbase has no market order that is fill or kill")
        try:
            answer = await self._http.request(credentials, "POST", "/orders", body=body, order=True)
        except VenueRefused as refused:
            return SendOutcome(OutcomeKind.FINAL, refused.code, str(refused))
        except VenueUnavailable as full:  # before anything was sent
            return SendOutcome(OutcomeKind.RETRYABLE, full.code, str(full), retry_after_s=full.retry_after_s)
        except (aiohttp.ClientError, OSError) as error:
            verdict = broken(error)
            return SendOutcome(verdict.kind, verdict.code, type(error).__name__)
        if answer.status == 200 and answer.body.get("success") is not False:
            return self._booked(credentials, answer, order)
        verdict = answer.verdict()
        return SendOutcome(
            verdict.kind,
            verdict.code,
            answer.detail(credentials),
            http_status=answer.status,
            retry_after_s=answer.retry_after_s,
        )

    async def look_up(self, credentials: BrokerCredentials, client_order_id: str) -> VenueOrder | None:
        """The order under our id, by the venue's where it is known, else searched for.

        None where neither an open order nor one of the last `look_back_days` has our id.
        """
        ref = self._refs.get((credentials.ref, client_order_id))
        known = None if ref is None else await self._order(credentials, ref)
        if known is not None:
            return _ours(known, client_order_id)
        since = [("start_date", timestamp(datetime.now(UTC) - self._look_back))]
        for query in (since, [("order_status", "OPEN")]):
            found = await self._search(credentials, query, client_order_id)
            if found is not None:
                return found
        return None

    async def cancel(self, credentials: BrokerCredentials, ref: str) -> None:
        body = {"order_ids": [ref]}
        answer = await self._http.ask(credentials, "POST", "/orders/batch_cancel", body=body, order=True)
        if answer.status != 200:
            raise venue_error(answer, credentials)
        results = answer.body.get("results")
        mine = [r for r in results if isinstance(r, dict)] if isinstance(results, list) else []
        if not mine:
            raise VenueUnavailable(UNREADABLE.code, "HTTP 200 without a result for the order")
        reason = str(mine[0].get("failure_reason"))
        if mine[0].get("success") is True or reason in _NOTHING_TO_CANCEL or await self._is_over(credentials, ref):
            return
        raise VenueUnavailable("cancel_refused", reason[:500])

    async def positions(self, credentials: BrokerCredentials) -> Sequence[VenuePosition]:
        """Crypto wallets, each known by its product in USD; fiat money and stablecoins are `balances`."""
        wallets = await self._wallets(credentials)
        prices = await self._prices(credentials, [w.symbol for w in wallets if w.is_position])
        return positions_of(wallets, prices)

    async def account(self, credentials: BrokerCredentials) -> VenueAccount:
        wallets = await self._wallets(credentials)
        return account_of(wallets, await self._prices(credentials, priced_symbols(wallets)))

    async def orders_since(self, credentials: BrokerCredentials, since: datetime) -> Sequence[AccountOrder]:
        items = await self._items(credentials, _ORDERS, "orders", [("start_date", timestamp(since))])
        orders = _readable(read_orders(items), "orders")
        return sorted((o for o in orders if o.submitted_at > since), key=lambda o: o.submitted_at)

    async def instruments(
        self, credentials: BrokerCredentials, symbols: Sequence[str]
    ) -> Mapping[str, VenueInstrument]:
        found = await asyncio.gather(*(self._instrument(credentials, symbol) for symbol in dict.fromkeys(symbols)))
        return {instrument.symbol: instrument for instrument in found if instrument is not None}

    async def quotes(self, credentials: BrokerCredentials, symbols: Sequence[str]) -> Mapping[str, VenueQuote]:
        """Whether a product that does not exist is left out or spoils the whole request is unproven: both are met."""
        wanted = list(dict.fromkeys(symbols))
        if not wanted:
            return {}
        query = [("product_ids", symbol) for symbol in wanted]
        answer = await self._http.ask(credentials, "GET", "/best_bid_ask", query=query)
        if answer.status == 200:
            found = _readable(read_quotes(answer.body), "price books")
            return {symbol: found[symbol] for symbol in wanted if symbol in found}
        if answer.status != 400 and not answer.is_not_found:
            raise venue_error(answer, credentials)
        if len(wanted) == 1:
            return {}
        each = await asyncio.gather(*(self.quotes(credentials, [symbol]) for symbol in wanted))
        return {symbol: quoted for one in each for symbol, quoted in one.items()}

    async def fills_since(self, credentials: BrokerCredentials, since: datetime) -> Sequence[VenueFill]:
        query = [("start_sequence_timestamp", timestamp(since))]
        items = await self._items(credentials, "/orders/historical/fills", "fills", query)
        fills = _readable(read_fills(items), "fills")
        return sorted((fill for fill in fills if fill.at > since), key=lambda fill: fill.at)

    async def balances(self, credentials: BrokerCredentials) -> Mapping[str, Decimal]:
        return {wallet.currency: wallet.available for wallet in await self._wallets(credentials)}

    async def quote_conversion(
        self, credentials: BrokerCredentials, source: str, target: str, amount: Decimal
    ) -> Conversion:
        body = {"from_account": source, "to_account": target, "amount": f"{amount:f}"}
        answer = await self._http.ask(credentials, "POST", "/convert/quote", body=body)
        return _conversion(answer, credentials, source, target, amount)

    async def commit_conversion(self, credentials: BrokerCredentials, quoted: Conversion) -> Conversion:
        body = {"from_account": quoted.source, "to_account": quoted.target}
        answer = await self._http.ask(credentials, "POST", _trade(quoted), body=body, order=True)
        return _conversion(answer, credentials, quoted.source, quoted.target, quoted.amount)

    async def look_up_conversion(self, credentials: BrokerCredentials, quoted: Conversion) -> Conversion:
        query = [("from_account", quoted.source), ("to_account", quoted.target)]
        answer = await self._http.ask(credentials, "GET", _trade(quoted), query=query)
        return _conversion(answer, credentials, quoted.source, quoted.target, quoted.amount)

    def _booked(self, credentials: BrokerCredentials, answer: Answer, order: ChildOrder) -> SendOutcome:
        booked = read_created(answer.body) if answer.body.get("success") is True else None
        if booked is None or booked.client_order_id != order.client_order_id:
            return SendOutcome(*UNREADABLE, "HTTP 200 without our order", http_status=200)
        self._remember(credentials, booked)
        return SendOutcome(OutcomeKind.ACK, "accepted", http_status=200, venue_order=booked)

    def _remember(self, credentials: BrokerCredentials, order: VenueOrder) -> None:
        self._refs[credentials.ref, order.client_order_id] = order.ref
        if len(self._refs) > _MAX_REFS:
            self._refs.popitem(last=False)

    async def _order(self, credentials: BrokerCredentials, ref: str) -> VenueOrder | None:
        """None where the venue has no such order."""
        answer = await self._http.ask(credentials, "GET", f"/orders/historical/{quote(ref, safe='')}")
        if answer.is_not_found:
            return None
        if answer.status != 200:
            raise venue_error(answer, credentials)
        order = answer.body.get("order")
        return _readable(read_order(order) if isinstance(order, dict) else None, "order")

    async def _is_over(self, credentials: BrokerCredentials, ref: str) -> bool:
        order = await self._order(credentials, ref)
        return order is None or order.status not in {VenueStatus.WORKING, VenueStatus.PARTIALLY_FILLED}

    async def _search(self, credentials: BrokerCredentials, query: Query, client_order_id: str) -> VenueOrder | None:
        """There is no filter by client order id, in the vendor's description as in its SDK."""
        async with aclosing(self._http.pages(credentials, _ORDERS, "orders", query)) as pages:
            async for page in pages:
                for item in page:
                    if isinstance(item, dict) and item.get("client_order_id") == client_order_id:
                        found = _ours(read_order(item), client_order_id)
                        self._remember(credentials, found)
                        return found
        return None

    async def _wallets(self, credentials: BrokerCredentials) -> list[Wallet]:
        return _readable(read_wallets(await self._items(credentials, "/accounts", "accounts")), "accounts")

    async def _prices(self, credentials: BrokerCredentials, symbols: Sequence[str]) -> dict[str, Decimal]:
        quoted = await self.quotes(credentials, symbols)
        return {symbol: price for symbol, q in quoted.items() if (price := middle(q)) is not None}

    async def _instrument(self, credentials: BrokerCredentials, symbol: str) -> VenueInstrument | None:
        answer = await self._http.ask(credentials, "GET", f"/products/{quote(symbol, safe='')}")
        if answer.is_not_found or answer.status == 400:
            return None
        if answer.status != 200:
            raise venue_error(answer, credentials)
        return _readable(read_product(answer.body), "product")

    async def _items(self, credentials: BrokerCredentials, path: str, name: str, query: Query = ()) -> list[Any]:
        return [item async for page in self._http.pages(credentials, path, name, query) for item in page]


def _ours(order: VenueOrder | None, client_order_id: str) -> VenueOrder:
    if order is None or order.client_order_id != client_order_id:
        raise VenueUnavailable(UNREADABLE.code, "HTTP 200 without the order that was asked for")
    return order


def _readable(read: _T | None, what: str) -> _T:
    if read is None:
        raise VenueUnavailable(UNREADABLE.code, f"HTTP 200 without readable {what}")
    return read


def _trade(quoted: Conversion) -> str:
    return f"/convert/trade/{quote(quoted.ref, safe='')}"


def _conversion(
    answer: Answer, credentials: BrokerCredentials, source: str, target: str, amount: Decimal
) -> Conversion:
    if answer.status != 200:
        raise venue_error(answer, credentials)
    return _readable(read_conversion(answer.body, source, target, amount), "conversion")
