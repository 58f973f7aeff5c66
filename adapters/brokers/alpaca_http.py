"""One request to Alpaca and its answer: no retries, no redirects, no floats.

(aiohttp itself repeats a GET or DELETE once when a pooled connection turns out to be closed; it never repeats a POST.)
"""

import json
import math
import time
from collections.abc import Callable, Mapping

import aiohttp

from adapters.brokers.alpaca_wire import (
    CONNECT_FAILED,
    NO_ANSWER,
    TRY_AGAIN,
    UNKNOWN_REFUSAL,
    UNREADABLE,
    Answer,
    Verdict,
    json_value,
)
from adapters.brokers.budget import Budgets, allowance
from domain.errors import VenueError, VenueRefused, VenueUnavailable
from domain.ports import BrokerCredentials, OutcomeKind

_MAX_ANSWER_BYTES = 1_000_000
_MAX_RETRY_AFTER_S = 3_600


class AlpacaHttp:
    """Holds one pooled session, opened by the first request; `close()` it.

    `base_urls` by environment. `timeout_ms` bounds a whole request; waiting for a connection may take half of it, so
    that a time-out while connecting is told from one after the order went out. `clock` is in monotonic seconds.
    """

    def __init__(
        self,
        base_urls: Mapping[str, str],
        data_url: str,
        *,
        timeout_ms: int,
        max_connections: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_urls = {name: url.rstrip("/") for name, url in base_urls.items()}
        self._data_url = data_url.rstrip("/")
        total = timeout_ms / 1_000
        self._timeout = aiohttp.ClientTimeout(total=total, connect=total / 2)
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._budgets = Budgets(clock)

    def base_url(self, credentials: BrokerCredentials) -> str:
        """Of the account's environment. Raises VenueRefused: never guess between real and paper money."""
        base = self._base_urls.get(credentials.environment)
        if base is None:
            raise VenueRefused("bad_environment", f"{credentials.ref}: environment is neither live nor paper")
        return base

    async def read(self, credentials: BrokerCredentials, path: str, params: dict[str, str] | None = None) -> Answer:
        """A GET's 200. Raises VenueUnavailable or VenueRefused."""
        return readable(await self.ask(credentials, "GET", path, params=params), credentials)

    async def ask(
        self, credentials: BrokerCredentials, method: str, path: str, params: dict[str, str] | None = None
    ) -> Answer:
        """Any answer at all. Raises VenueUnavailable where there is none, or VenueRefused."""
        return await self._asked(credentials, method, self.base_url(credentials) + path, params)

    async def ask_data(self, credentials: BrokerCredentials, path: str, params: dict[str, str]) -> Answer:
        """As `ask`, of the host for market data, which live and paper accounts share."""
        self.base_url(credentials)
        return await self._asked(credentials, "GET", self._data_url + path, params)

    async def post(self, credentials: BrokerCredentials, path: str, body: dict[str, str]) -> Answer:
        """Raises VenueRefused or VenueUnavailable before anything was sent, aiohttp.ClientError or OSError (see

        `broken`) at any time.
        """
        return await self._request(credentials, "POST", self.base_url(credentials) + path, body=body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _asked(
        self, credentials: BrokerCredentials, method: str, url: str, params: dict[str, str] | None
    ) -> Answer:
        try:
            return await self._request(credentials, method, url, params=params)
        except (aiohttp.ClientError, OSError) as error:
            raise VenueUnavailable(broken(error).code, type(error).__name__) from None

    async def _request(
        self,
        credentials: BrokerCredentials,
        method: str,
        url: str,
        *,
        params: dict[str, str] | None = None,
        body: dict[str, str] | None = None,
    ) -> Answer:
        headers = _headers(credentials)
        # The host for market data counts its own requests.
        account = f"{credentials.ref} {url.startswith(self._data_url)}"
        wait = self._budgets.wait(account, order=method != "GET")
        if wait > 0:
            said = "nothing was sent: the account has used up its requests"
            raise VenueUnavailable("rate_limited", said, retry_after_s=math.ceil(wait))
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._max_connections)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        async with self._session.request(
            method,
            url,
            params=params,
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
            allow_redirects=False,
        ) as response:
            said = json_value(await _read_bounded(response))
        items = said if isinstance(said, list) else None
        answer = Answer(response.status, said if isinstance(said, dict) else {}, _retry_after(response), items)
        self._learn(account, response, answer)
        return answer

    def _learn(self, account: str, response: aiohttp.ClientResponse, answer: Answer) -> None:
        names = ("X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset")
        if (said := allowance(response.headers, names, now=time.time())) is not None:
            self._budgets.learn(account, said)
        if answer.status == 429:
            self._budgets.close(account, answer.retry_after_s or 1)


def readable(answer: Answer, credentials: BrokerCredentials) -> Answer:
    """Raises VenueUnavailable or VenueRefused for what is no 200."""
    if answer.status != 200:
        raise venue_error(answer, credentials)
    return answer


def broken(error: Exception) -> Verdict:
    """Until a connection stands nothing was sent; after that anything may have arrived."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
        return CONNECT_FAILED
    return NO_ANSWER


def venue_error(answer: Answer, credentials: BrokerCredentials) -> VenueError:
    """What an answer that is no success means to a reader."""
    verdict, detail = answer.verdict(), answer.detail(credentials)
    if answer.status in TRY_AGAIN or answer.status >= 500 or answer.status < 400:
        return VenueUnavailable(verdict.code, detail, retry_after_s=answer.retry_after_s)
    if answer.status == 404:
        return VenueUnavailable(UNREADABLE.code, detail)
    return VenueRefused(verdict.code if verdict.kind is OutcomeKind.FINAL else UNKNOWN_REFUSAL.code, detail)


def check_printable(credentials: BrokerCredentials) -> None:
    """Raises VenueRefused for a key or secret that cannot be the vendor's."""
    pair = (credentials.key_id, credentials.secret)
    if not all(text and text.isascii() and text.isprintable() for text in pair):
        raise VenueRefused("bad_credentials", f"{credentials.ref}: key or secret is empty or not printable ASCII")


def _headers(credentials: BrokerCredentials) -> dict[str, str]:
    check_printable(credentials)
    return {
        "APCA-API-KEY-ID": credentials.key_id,
        "APCA-API-SECRET-KEY": credentials.secret,
        "Content-Type": "application/json",
    }


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
