"""One request to Coinbase's REST API: signed, sent once, read within bounds. What an answer means is `coinbase_wire`'s.

No retries, no redirects, no floats. (aiohttp itself repeats a GET once when a pooled connection turns out to be closed;
it never repeats a POST.)
"""

import json
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from yarl import URL

from adapters.brokers.budget import Budgets, allowance
from adapters.brokers.coinbase_auth import request_token
from adapters.brokers.coinbase_wire import CONNECT_FAILED, NO_ANSWER, TRY_AGAIN, UNREADABLE, Answer, Verdict, json_value
from domain.errors import VenueError, VenueRefused, VenueUnavailable
from domain.ports import BrokerCredentials, OutcomeKind

PREFIX = "/api/v3/brokerage"
_MAX_ANSWER_BYTES = 4_000_000
_MAX_RETRY_AFTER_S = 3_600
_BUDGET = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")  # as the vendor's SDK names them
# The limit is per second, too short a time to count along; so only what nears its end is heeded, and for no longer.
_FEW, _WINDOW_S = 3, 1.0
_PER_PAGE = "250"  # the most that the vendor's description allows
_MAX_PAGES = 40
Query = Sequence[tuple[str, str]]


class CoinbaseHttp:
    """Holds one pooled session, opened by the first request; `close()` it.

    `timeout_ms` bounds a whole request; waiting for a connection may take half of it, so that a time-out while
    connecting is told from one after the order went out.
    """

    def __init__(
        self,
        base_urls: dict[str, str],
        timeout_ms: int,
        max_connections: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_urls = {name: url.rstrip("/") for name, url in base_urls.items() if url}
        total = timeout_ms / 1_000
        self._timeout = aiohttp.ClientTimeout(total=total, connect=total / 2)
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._budgets = Budgets(clock)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._max_connections)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self._session

    async def request(
        self,
        credentials: BrokerCredentials,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: dict[str, Any] | None = None,
        order: bool = False,
    ) -> Answer:
        """Raises VenueRefused or VenueUnavailable before anything is sent; aiohttp.ClientError or OSError after.

        `order`: placing or cancelling, which may use the reserve of the account's request budget.
        """
        base = self._base_urls.get(credentials.environment)
        if base is None:  # never guess between real and paper money
            raise VenueRefused("bad_environment", f"{credentials.ref}: no address is set for this environment")
        wait = self._budgets.wait(credentials.ref, order=order)
        if wait > 0:
            raise VenueUnavailable(
                "rate_limited", "the account's request budget is used up", retry_after_s=math.ceil(wait)
            )
        url = URL(base + PREFIX + path, encoded=True)
        host = url.host if url.is_default_port() else f"{url.host}:{url.port}"
        token = request_token(credentials, method, host or "", url.raw_path)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        async with self.session().request(
            method, url.with_query(query), data=data, headers=headers, allow_redirects=False
        ) as response:
            said = json_value(await _read_bounded(response))
            body = said if isinstance(said, dict) else {}
            answer = Answer(response.status, body, _retry_after(response), _skew(response))
        self._learn(credentials.ref, response, answer)
        return answer

    async def ask(
        self,
        credentials: BrokerCredentials,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: dict[str, Any] | None = None,
        order: bool = False,
    ) -> Answer:
        """Raises VenueUnavailable where no answer came, or VenueRefused."""
        try:
            return await self.request(credentials, method, path, query=query, body=body, order=order)
        except (aiohttp.ClientError, OSError) as error:
            raise VenueUnavailable(broken(error).code, type(error).__name__) from None

    async def read(self, credentials: BrokerCredentials, path: str, query: Query = ()) -> Answer:
        """What answers 200. Raises VenueUnavailable or VenueRefused."""
        answer = await self.ask(credentials, "GET", path, query=query)
        if answer.status != 200:
            raise venue_error(answer, credentials)
        return answer

    async def pages(
        self, credentials: BrokerCredentials, path: str, name: str, query: Query = ()
    ) -> AsyncGenerator[list[Any], None]:
        """A list page by page. Raises VenueUnavailable (also where there are more than 40 pages) or VenueRefused."""
        cursor: Query = ()
        for _ in range(_MAX_PAGES):
            answer = await self.read(credentials, path, [*query, ("limit", _PER_PAGE), *cursor])
            items = answer.body.get(name)
            if not isinstance(items, list):
                raise VenueUnavailable(UNREADABLE.code, f"HTTP 200 without readable {name}")
            yield items
            after = answer.body.get("cursor")
            if not after or not items or answer.body.get("has_next") is False:
                return
            cursor = [("cursor", str(after))]
        raise VenueUnavailable(f"too_many_{name}", f"more than {_MAX_PAGES} pages of {name}; look at a shorter time")

    def _learn(self, account: str, response: aiohttp.ClientResponse, answer: Answer) -> None:
        said = allowance(response.headers, _BUDGET, now=time.time())
        if said is not None and said.remaining <= _FEW:
            self._budgets.learn(account, replace(said, resets_in_s=min(said.resets_in_s, _WINDOW_S)))
        if answer.status == 429:
            self._budgets.close(account, answer.retry_after_s or 0)


def broken(error: Exception) -> Verdict:
    """Until a connection stands nothing was sent; after that anything may have arrived."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
        return CONNECT_FAILED
    return NO_ANSWER


def venue_error(answer: Answer, credentials: BrokerCredentials) -> VenueError:
    verdict, detail = answer.verdict(), answer.detail(credentials)
    if answer.is_skewed or answer.status in TRY_AGAIN or answer.status >= 500 or answer.status < 400:
        return VenueUnavailable(verdict.code, detail, retry_after_s=answer.retry_after_s)
    if answer.status == 404 and not answer.is_not_found:
        return VenueUnavailable("unexpected_answer", detail)
    return VenueRefused(verdict.code if verdict.kind is OutcomeKind.FINAL else "refused", detail)


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
    asked = response.headers.get("Retry-After", "")
    return min(int(asked[:9]), _MAX_RETRY_AFTER_S) if asked.isdecimal() else None


def _skew(response: aiohttp.ClientResponse) -> float:
    """Seconds by which the venue's clock, as its Date header tells it, is ahead of ours; 0 where it tells none."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp() - time.time()
    except (KeyError, ValueError):
        return 0
