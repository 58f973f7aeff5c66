"""Alpaca's trading API behind `domain.ports.Broker`.

One request per call: no retries, no redirects, no floats. (aiohttp itself repeats a GET or DELETE once when a pooled
connection turns out to be closed; it never repeats a POST.)

alpaca-py is not used here: importing its enums alone loads pandas (+80 MB, 0.5 s per worker process), its request
models turn quantities into floats, and its client repeats POSTs after 429 and 504.
"""

import json
import math
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import quote

import aiohttp

from adapters.brokers.alpaca_account import read_account, read_orders, read_positions, timestamp
from adapters.brokers.alpaca_wire import (
    CONNECT_FAILED,
    NO_ANSWER,
    TRY_AGAIN,
    UNEXPECTED,
    UNKNOWN_REFUSAL,
    UNREADABLE,
    Answer,
    Verdict,
    json_value,
    order_body,
    read_order,
)
from domain.errors import VenueError, VenueRefused, VenueUnavailable
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
from domain.venues import Capabilities, Sessions

_MAX_ANSWER_BYTES = 1_000_000
_MAX_RETRY_AFTER_S = 3_600
_ORDERS_PER_PAGE = 500  # the vendor's maximum
_MAX_PAGES = 20
_T = TypeVar("_T")


class AlpacaBroker:
    """Holds one pooled session, opened by the first call; `close()` it.

    `timeout_ms` bounds a whole request; waiting for a connection may take half of it, so that a time-out while
    connecting is told from one after the order went out.
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

    def __init__(self, *, live_url: str, paper_url: str, timeout_ms: int = 10_000, max_connections: int = 100) -> None:
        self._base_urls = {"live": live_url.rstrip("/"), "paper": paper_url.rstrip("/")}
        total = timeout_ms / 1_000
        self._timeout = aiohttp.ClientTimeout(total=total, connect=total / 2)
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None

    async def submit(self, credentials: BrokerCredentials, order: ChildOrder) -> SendOutcome:
        """POST the order once. Raises ValueError for an order that no venue could take (a bug of the caller)."""
        body = order_body(order)
        try:
            answer = await self._request(credentials, "POST", "/v2/orders", body=body)
        except VenueRefused as refused:
            return SendOutcome(OutcomeKind.FINAL, refused.code, str(refused))
        except (aiohttp.ClientError, OSError) as error:
            verdict = _broken(error)
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
        answer = await self._ask(
            credentials, "GET", "/v2/orders:by_client_order_id", params={"client_order_id": client_order_id}
        )
        if answer.is_not_found:
            return None
        if answer.status != 200:
            raise _venue_error(answer, credentials)
        order = read_order(answer.body)
        if order is None or order.client_order_id != client_order_id:
            raise VenueUnavailable(UNREADABLE.code, "HTTP 200 without the order that was asked for")
        return order

    async def cancel(self, credentials: BrokerCredentials, ref: str) -> None:
        answer = await self._ask(credentials, "DELETE", f"/v2/orders/{quote(ref, safe='')}")
        if answer.status in {200, 204, 422} or answer.is_not_found:  # 422: already in a final state
            return
        raise _venue_error(answer, credentials)

    async def positions(self, credentials: BrokerCredentials) -> Sequence[VenuePosition]:
        answer = await self._read(credentials, "/v2/positions")
        return _readable(None if answer.items is None else read_positions(answer.items), "positions")

    async def account(self, credentials: BrokerCredentials) -> VenueAccount:
        answer = await self._read(credentials, "/v2/account")
        return _readable(read_account(answer.body), "account")

    async def orders_since(self, credentials: BrokerCredentials, since: datetime) -> Sequence[AccountOrder]:
        """Page by page: the next begins a microsecond before the last order's time, and what is known is dropped."""
        found: dict[str, AccountOrder] = {}
        for _ in range(_MAX_PAGES):
            query = {"status": "all", "direction": "asc", "limit": str(_ORDERS_PER_PAGE), "after": timestamp(since)}
            answer = await self._read(credentials, "/v2/orders", params=query)
            page = _readable(None if answer.items is None else read_orders(answer.items), "orders")
            new = {order.order.ref: order for order in page if order.order.ref not in found}
            found |= new
            if len(page) < _ORDERS_PER_PAGE:
                return list(found.values())
            if not new:
                break
            since = page[-1].submitted_at - timedelta(microseconds=1)
        raise VenueUnavailable("too_many_orders", f"more than {len(found)} orders; look at a shorter time")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _read(self, credentials: BrokerCredentials, path: str, params: dict[str, str] | None = None) -> Answer:
        answer = await self._ask(credentials, "GET", path, params=params)
        if answer.status != 200:
            raise _venue_error(answer, credentials)
        return answer

    async def _ask(
        self, credentials: BrokerCredentials, method: str, path: str, params: dict[str, str] | None = None
    ) -> Answer:
        try:
            return await self._request(credentials, method, path, params=params)
        except (aiohttp.ClientError, OSError) as error:
            raise VenueUnavailable(_broken(error).code, type(error).__name__) from None

    async def _request(
        self,
        credentials: BrokerCredentials,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: dict[str, str] | None = None,
    ) -> Answer:
        base = self._base_urls.get(credentials.environment)
        if base is None:  # never guess between real and paper money
            raise VenueRefused("bad_environment", f"{credentials.ref}: environment is neither live nor paper")
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._max_connections)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        async with self._session.request(
            method,
            base + path,
            params=params,
            data=None if body is None else json.dumps(body).encode(),
            headers=_headers(credentials),
            allow_redirects=False,
        ) as response:
            said = json_value(await _read_bounded(response))
            items = said if isinstance(said, list) else None
            return Answer(response.status, said if isinstance(said, dict) else {}, _retry_after(response), items)


def _headers(credentials: BrokerCredentials) -> dict[str, str]:
    pair = (credentials.key_id, credentials.secret)
    if not all(text and text.isascii() and text.isprintable() for text in pair):
        raise VenueRefused("bad_credentials", f"{credentials.ref}: key or secret is empty or not printable ASCII")
    return {
        "APCA-API-KEY-ID": credentials.key_id,
        "APCA-API-SECRET-KEY": credentials.secret,
        "Content-Type": "application/json",
    }


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


def _broken(error: Exception) -> Verdict:
    """Until a connection stands nothing was sent; after that anything may have arrived."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
        return CONNECT_FAILED
    return NO_ANSWER


def _venue_error(answer: Answer, credentials: BrokerCredentials) -> VenueError:
    verdict, detail = answer.verdict(), answer.detail(credentials)
    if answer.status in TRY_AGAIN or answer.status >= 500 or answer.status < 400:
        return VenueUnavailable(verdict.code, detail, retry_after_s=answer.retry_after_s)
    if answer.status == 404:
        return VenueUnavailable(UNEXPECTED.code, detail)
    return VenueRefused(verdict.code if verdict.kind is OutcomeKind.FINAL else UNKNOWN_REFUSAL.code, detail)


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(65_536):
        size += len(part)
        if size > _MAX_ANSWER_BYTES:
            return b""
        parts.append(part)
    return b"".join(parts)


def _retry_after(response: aiohttp.ClientResponse) -> int | None:
    """Seconds: `Retry-After` where sent, else (429 only) the time to the reset of the request budget."""
    asked = response.headers.get("Retry-After", "")
    if asked.isdecimal():
        return min(int(asked[:9]), _MAX_RETRY_AFTER_S)
    reset = response.headers.get("X-Ratelimit-Reset", "")
    if response.status == 429 and reset.isdecimal():
        return min(max(0, math.ceil(int(reset[:12]) - time.time())), _MAX_RETRY_AFTER_S)
    return None
