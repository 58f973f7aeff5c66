"""The webhook sender on aiohttp: pooled, bounded in time, size and address; it reports and never raises."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, AbstractStreamWriter
from yarl import URL

from adapters.webhooks.answers import classify
from adapters.webhooks.guard import CURRENT, AddressGuard, Attempt, ThreadPoolResolver, UrlRefused, parse_url
from domain.addresses import Network
from domain.ports import STOPPED, OutcomeKind, SendOutcome, WebhookRequest

# Below the 5 s after which Node's and uvicorn's servers close an idle connection: a request written onto a connection
# that the other side is just closing has no provable outcome.
_KEEPALIVE_S = 4
_SESSION_HEADERS = {
    "User-Agent": "vanta-webhooks/1",
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # nothing is decompressed, so that a small answer cannot grow
}


class AiohttpWebhookSender:
    """Sends each request once (`domain.ports.WebhookSender`). Use as an async context manager, or start and close.

    `timeout_ms` is total: waiting for a connection, connecting, TLS, sending and reading the answer. At most
    `max_response_bytes` of an answer are read.
    """

    def __init__(
        self,
        *,
        timeout_ms: int = 10_000,
        max_response_bytes: int = 65_536,
        allowed_networks: Sequence[Network] = (),
        max_connections: int = 200,
        max_connections_per_host: int = 100,
        dns_cache_s: int = 10,
        resolver: AbstractResolver | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._timeout_s = timeout_ms / 1000
        self._max_response_bytes = max_response_bytes
        self._guard = AddressGuard(allowed_networks)
        self._max_connections = max_connections
        self._max_connections_per_host = max_connections_per_host
        self._dns_cache_s = dns_cache_s
        self._resolver = resolver
        self._now = now
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool; needs a running loop."""
        connector = aiohttp.TCPConnector(
            limit=self._max_connections,
            limit_per_host=self._max_connections_per_host,
            keepalive_timeout=_KEEPALIVE_S,
            use_dns_cache=self._dns_cache_s > 0,
            ttl_dns_cache=self._dns_cache_s,
            resolver=self._resolver or ThreadPoolResolver(),
            socket_factory=self._guard.make_socket,
        )
        # The threshold above the total keeps aiohttp from rounding 10 s up to the next whole second.
        timeout = aiohttp.ClientTimeout(total=self._timeout_s, ceil_threshold=self._timeout_s + 1)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            headers=_SESSION_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the pool; sends under way report what they can prove."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(self, request: WebhookRequest) -> SendOutcome:
        """POST once. Never raises for anything the network or the receiver does; RuntimeError if not started."""
        if self._session is None:
            raise RuntimeError("the webhook sender is not started")
        try:
            url = parse_url(request.url)
        except UrlRefused as refused:
            return SendOutcome(OutcomeKind.FINAL, "invalid_url", str(refused))
        attempt = Attempt(plain=url.scheme == "http", refused=request.refused)
        token = CURRENT.set(attempt)
        try:
            return await self._post(self._session, url, request)
        except aiohttp.InvalidURL:
            return SendOutcome(OutcomeKind.FINAL, "invalid_url", "malformed host")
        # RuntimeError: uvloop's sockets and a session that is closed meanwhile. ValueError: what a library's parser
        # lets through.
        except (aiohttp.ClientError, OSError, RuntimeError, ValueError) as error:
            return _failure(attempt, error)
        finally:
            CURRENT.reset(token)

    async def _post(self, session: aiohttp.ClientSession, url: URL, request: WebhookRequest) -> SendOutcome:
        async with session.post(
            url, data=_Body(request.body), headers=request.headers, allow_redirects=False
        ) as response:
            body = await self._read(response)
            return classify(response.status, response.headers, body, self._now())

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        """The body, or None where it is too long or breaks off: the status has already been proven by then."""
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > self._max_response_bytes:
                    response.close()  # the rest is still under way: the connection is of no more use
                    return None
                chunks.append(chunk)
        except (aiohttp.ClientError, OSError):
            response.close()
            return None
        return b"".join(chunks)


class _Body(aiohttp.BytesPayload):
    """Notes that the body's first byte is about to go to the transport, unless a kill has come meanwhile.

    Whatever fails earlier has provably sent no whole request, whether or not its headers are on their way. Tracing the
    request would tell as much, for a fifteenth of the processor time of the whole send.
    """

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        attempt = CURRENT.get()
        if attempt.refused is not None and (why := attempt.refused()) is not None:
            attempt.stopped = why
            raise aiohttp.ClientError("stopped")
        attempt.written = True
        await super().write_with_length(writer, content_length)


def _failure(attempt: Attempt, error: Exception) -> SendOutcome:
    """What a send without an answer proves. Names the error's class only: its text holds the URL."""
    kind = type(error).__name__
    if attempt.stopped:
        return SendOutcome(OutcomeKind.RETRYABLE, STOPPED, attempt.stopped)
    if attempt.written:
        return SendOutcome(OutcomeKind.AMBIGUOUS, "no_answer", f"no answer: {kind}")
    # With a permitted address among the refused ones, another attempt can succeed.
    if attempt.refusal and not attempt.dialled:
        return SendOutcome(OutcomeKind.FINAL, "blocked_address", f"address refused: {attempt.refusal}")
    what = "time-out" if isinstance(error, asyncio.TimeoutError) else kind
    return SendOutcome(OutcomeKind.RETRYABLE, "connect_failed", f"nothing was sent: {what}")
