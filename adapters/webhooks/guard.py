"""What keeps a follower's URL from reaching anything but that follower: the URL's check and the connected address'.

The address is checked where the socket is made, on the very numbers that are then connected. A name that resolves to
a public address when looked at and to a private one when connected (DNS rebinding) gains nothing, and an IP literal,
which never meets a resolver, is checked alike. A pooled connection was checked when it was made.
"""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.typedefs import StrOrURL
from yarl import URL

from domain.addresses import Network, check_address, is_listed
from domain.ports import Refused

AddrInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]


@dataclass(slots=True)
class Attempt:
    """What is known of one request while it runs; follows it through the HTTP client in a context variable."""

    plain: bool  # http, not https
    written: bool = False  # from here on the receiver may have the request
    dialled: bool = False  # at least one address passed the guard
    refusal: str = ""  # why an address did not
    refused: Refused | None = None
    stopped: str = ""  # why nothing may leave any more


CURRENT: ContextVar[Attempt] = ContextVar("webhook_attempt")


class AddressBlocked(OSError):
    """The guard refused an address before any packet was sent to it."""


class UrlRefused(ValueError):
    """The URL itself can never be delivered to. The message holds no part of it."""


def parse_url(url: StrOrURL) -> URL:
    """The URL, if it is one that may be tried. Raises UrlRefused."""
    try:
        parsed = URL(url)
        port = parsed.port
    except ValueError:
        raise UrlRefused("malformed URL") from None
    if parsed.scheme not in ("https", "http"):
        raise UrlRefused("scheme is not https")
    if not parsed.raw_host:
        raise UrlRefused("no host")
    if parsed.raw_user is not None or parsed.raw_password is not None:
        raise UrlRefused("user name or password in the URL")
    if not port:
        raise UrlRefused("port 0")
    return parsed


class AddressGuard:
    """Makes the client's sockets, for permitted addresses only; plain http is for listed networks only."""

    def __init__(self, allowed_networks: Sequence[Network]) -> None:
        self._allowed = tuple(allowed_networks)

    def make_socket(self, addr_info: AddrInfo) -> socket.socket:
        """aiohttp's `socket_factory`. Raises AddressBlocked, and notes why on the current attempt."""
        family, kind, proto, _, address = addr_info
        attempt = CURRENT.get()
        ip = str(address[0])
        reason = check_address(ip, self._allowed)
        if reason is None and attempt.plain and not is_listed(ip, self._allowed):
            reason = "plain http to a public address"
        if reason is not None:
            attempt.refusal = reason
            raise AddressBlocked(f"blocked address: {reason}")
        attempt.dialled = True
        return socket.socket(family, kind, proto)


class ThreadPoolResolver(AbstractResolver):
    """getaddrinfo in threads of its own: name servers that never answer delay other lookups, and nothing else.

    The loop's default has few threads (uvloop: four) and shares them with all other blocking work of the process.
    """

    def __init__(self, threads: int = 32) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="webhook-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        infos = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host, host=str(sockaddr[0]), port=port, family=found, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for found, _, proto, _, sockaddr in infos
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
