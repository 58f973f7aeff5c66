"""HTTP to the identity provider: bounded in time and size, no redirects, JSON objects only."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any

import httpx
import orjson

from domain.errors import ProviderUnavailable

_MAX_ANSWER_BYTES = 262_144
# Read as it is sent: what is unpacked could be a thousand times as large as what came in.
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Mapping[str, Any]


class ProviderHttp:
    """Holds one pooled client, opened by the first call; `close()` it. `timeout_s` bounds each exchange as a whole."""

    def __init__(self, *, timeout_s: float, plain: bool) -> None:
        self._timeout_s, self._plain = timeout_s, plain
        self._client: httpx.AsyncClient | None = None

    async def get(self, url: str, *, bearer: str | None = None) -> Answer:
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        return await self._ask("GET", url, headers=headers)

    async def post(self, url: str, form: Mapping[str, str], auth: httpx.BasicAuth | None) -> Answer:
        return await self._ask("POST", url, data=form, auth=auth)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def check(self, url: object) -> str:
        """Raises ProviderUnavailable unless it is an https address, or one of this machine."""
        try:
            parsed = httpx.URL(url) if isinstance(url, str) else httpx.URL()
        except httpx.InvalidURL:
            parsed = httpx.URL()
        safe = parsed.scheme == "https" or (parsed.scheme == "http" and (self._plain or _is_loopback(parsed.host)))
        if not safe or not parsed.host or parsed.userinfo or parsed.fragment:
            raise ProviderUnavailable("the identity provider names an address that is no plain https one")
        return str(url)

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=self._timeout_s,
                follow_redirects=False,
                verify=_trusted(),
                trust_env=False,  # no proxy but by configuration of the network, as for venues
            )
        return self._client

    async def _ask(self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **sent: Any) -> Answer:
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._open().stream(method, self.check(url), headers={**_HEADERS, **(headers or {})}, **sent) as reply,
            ):
                raw = bytearray()
                async for chunk in reply.aiter_raw():
                    raw += chunk
                    if len(raw) > _MAX_ANSWER_BYTES:
                        raise ProviderUnavailable("the identity provider's answer is too long")
                return Answer(reply.status_code, _json_object(bytes(raw)))
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise ProviderUnavailable(f"the identity provider does not answer ({type(error).__name__})") from error


@cache
def _trusted() -> ssl.SSLContext:
    """Reading the certificates takes longer than a request: once for each process."""
    return httpx.create_ssl_context(trust_env=False)


def _json_object(raw: bytes) -> Mapping[str, Any]:
    """Empty where it is none: an error's page, or a redirect's."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
