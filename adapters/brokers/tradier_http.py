"""Tradier's HTTP: one request per call, no retries, no redirects, answers bounded; what a broken one proves.

httpx bounds connecting, waiting for a connection and each read apart; a bound of the whole lies around them. Until the
connection stands nothing was sent; from then on anything may have arrived.
"""

import asyncio
import math
import ssl
import time
from collections.abc import Callable, Mapping
from functools import cache
from urllib.parse import quote

import httpx

from adapters.brokers.budget import Budgets, allowance
from adapters.brokers.tradier_verdicts import CONNECT_FAILED, NO_ANSWER
from adapters.brokers.tradier_wire import Answer, json_value
from domain.errors import VenueRefused, VenueUnavailable
from domain.ports import BrokerCredentials

_MAX_ANSWER_BYTES = 1_000_000
_MAX_RETRY_AFTER_S = 3_600
_MAX_TEXT = 300
_LIMITS = ("X-Ratelimit-Allowed", "X-Ratelimit-Available", "X-Ratelimit-Expiry")
_MILLISECONDS = 100_000_000_000  # an epoch above this is no count of seconds before the year 5138
# Of the whole: three such parts (a free connection, TCP, TLS) come before the first byte of a request.
_CONNECT_PART = 0.25
_NOTHING_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


class NotSentError(VenueUnavailable):
    """The request did not leave: it may be made again."""


class TradierHttp:
    """Holds one pooled client, opened by the first call; `close()` it. `clock` is in monotonic seconds."""

    def __init__(
        self,
        *,
        live_url: str,
        paper_url: str,
        timeout_ms: int,
        max_connections: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_urls = {"live": live_url.rstrip("/"), "paper": paper_url.rstrip("/")}
        self._total_s = timeout_ms / 1_000
        self._limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
        self._client: httpx.AsyncClient | None = None
        self._budgets = Budgets(clock)

    async def request(
        self,
        credentials: BrokerCredentials,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        basic: tuple[str, str] | None = None,
    ) -> Answer:
        """`basic` (user, password) in place of the access token.

        Raises NotSentError, VenueUnavailable (it may have arrived), VenueRefused for credentials that fit no request.
        """
        base = self._base_urls.get(credentials.environment)
        if base is None:  # never guess between real and paper money
            raise VenueRefused("bad_environment", f"{credentials.ref}: environment is neither live nor paper")
        headers = {"Accept": "application/json"} if basic else _headers(credentials)
        budget = f"{credentials.ref} {_budget(method, path)}"
        if (wait := self._budgets.wait(budget, order=method != "GET")) > 0:
            said = "nothing was sent: the account has used up its requests"
            raise NotSentError("rate_limited", said, retry_after_s=math.ceil(wait))
        try:
            built = self._open().build_request(method, base + path, params=params, data=form, headers=headers)
            async with asyncio.timeout(self._total_s):
                return await self._ask(built, budget, httpx.BasicAuth(*basic) if basic else None)
        except _NOTHING_SENT as error:
            raise NotSentError(CONNECT_FAILED.code, type(error).__name__) from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:  # an OSError: also the time-out of the whole
            raise VenueUnavailable(NO_ANSWER.code, type(error).__name__) from None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            part = self._total_s * _CONNECT_PART
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(self._total_s, connect=part, pool=part),
                limits=self._limits,
                follow_redirects=False,
                verify=_trusted(),
                trust_env=False,  # no proxy but by configuration of the network, as for the other venues
            )
        return self._client

    async def _ask(self, built: httpx.Request, budget: str, auth: httpx.BasicAuth | None) -> Answer:
        response = await self._open().send(built, auth=auth, stream=True)
        try:
            raw = await _read_bounded(response)
        finally:
            await response.aclose()
        said = json_value(raw)
        text = "" if isinstance(said, dict) else _text(raw)
        answer = Answer(response.status_code, said if isinstance(said, dict) else {}, _retry_after(response), text)
        self._learn(budget, response, answer)
        return answer

    def _learn(self, budget: str, response: httpx.Response, answer: Answer) -> None:
        if (said := allowance(response.headers, _LIMITS, now=time.time())) is not None:
            self._budgets.learn(budget, said)
        if answer.verdict().code == "rate_limited":
            self._budgets.close(budget, answer.retry_after_s or 1)


@cache
def _trusted() -> ssl.SSLContext:
    """Reading the certificates takes longer than a request: once for each process."""
    return httpx.create_ssl_context(trust_env=False)


def _budget(method: str, path: str) -> str:
    """The vendor counts orders, market data and the rest apart (docs.tradier.com, rate limiting)."""
    if path.startswith("/v1/markets/"):
        return "market data"
    return "reading" if method == "GET" or "/events/" in path or "/oauth/" in path else "orders"


def account_path(credentials: BrokerCredentials, *parts: str) -> str:
    """`/v1/accounts/{id}/…`; whatever a part holds stays one segment."""
    return "/".join(["/v1/accounts", *(quote(part, safe="") for part in (credentials.key_id, *parts))])


def _headers(credentials: BrokerCredentials) -> dict[str, str]:
    pair = (credentials.key_id, credentials.secret)
    if not all(text and text.isascii() and text.isprintable() for text in pair):
        raise VenueRefused("bad_credentials", f"{credentials.ref}: account or token is empty or not printable ASCII")
    return {"Accept": "application/json", "Authorization": f"Bearer {credentials.secret}"}


async def _read_bounded(response: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > _MAX_ANSWER_BYTES:
            return b""
        parts.append(part)
    return b"".join(parts)


def _text(raw: bytes) -> str:
    """What the vendor says in plain words (its 401 is `Invalid Access Token`); a page of HTML says nothing."""
    text = raw[:_MAX_TEXT].decode(errors="replace").strip()
    return "" if text.startswith(("<", "[")) else "".join(c for c in text if c.isprintable())


def _retry_after(response: httpx.Response) -> int | None:
    """Seconds: `Retry-After` where sent, else (429 only) the time to the end of the budget's window.

    The vendor's page shows X-Ratelimit-Expiry in milliseconds; some clients read seconds, so both are understood.
    """
    asked = response.headers.get("Retry-After", "")
    if asked.isdecimal():
        return min(int(asked[:9]), _MAX_RETRY_AFTER_S)
    expiry = response.headers.get("X-Ratelimit-Expiry", "")
    if response.status_code != 429 or not expiry.isdecimal():
        return None
    at = int(expiry[:15])
    seconds = at / 1_000 if at > _MILLISECONDS else at
    return min(max(0, math.ceil(seconds - time.time())), _MAX_RETRY_AFTER_S)
