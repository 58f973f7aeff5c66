"""Alpaca's trading API behind `domain.ports.Broker`.

One request per call: no retries, no redirects, no floats. (aiohttp itself repeats a GET or DELETE once when a pooled
connection turns out to be closed; it never repeats a POST.)

alpaca-py is not used here: importing its enums alone loads pandas (+80 MB, 0.5 s per worker process), its request
models turn quantities into floats, and its client repeats POSTs after 429 and 504.
"""

import json
import math
import time
from urllib.parse import quote

import aiohttp

from adapters.brokers.alpaca_wire import (
    CONNECT_FAILED,
    NO_ANSWER,
    TRY_AGAIN,
    UNEXPECTED,
    UNKNOWN_REFUSAL,
    UNREADABLE,
    Answer,
    Verdict,
    json_object,
    order_body,
    read_order,
)
from domain.errors import VenueError, VenueRefused, VenueUnavailable
from domain.ports import BrokerCredentials, Capabilities, ChildOrder, OutcomeKind, SendOutcome, VenueOrder, VenueStatus

_MAX_ANSWER_BYTES = 1_000_000
_MAX_RETRY_AFTER_S = 3_600


class AlpacaBroker:
    """Holds one pooled session, opened by the first call; `close()` it.

    `timeout_ms` bounds a whole request; waiting for a connection may take half of it, so that a time-out while
    connecting is told from one after the order went out.
    """

    capabilities = Capabilities(
        venue="alpaca", fractional=True, client_id_dedupes=True, looks_up_by_client_id=True, cancels=True
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

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

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
            raw = await _read_bounded(response)
            return Answer(response.status, json_object(raw), _retry_after(response))


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
