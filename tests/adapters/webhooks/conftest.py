"""Senders and servers on real loopback sockets."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from adapters.webhooks import AiohttpWebhookSender
from domain import signing
from domain.ports import WebhookRequest
from simulators.receiver import Receiver

KEY = bytes(range(32))
LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
BODY = b'{"follower_id":"F_1","qty":5,"qty_str":"5"}'


def request(url: str, delivery_id: str = "FO-1", body: bytes = BODY) -> WebhookRequest:
    return WebhookRequest(url, body, signing.headers([KEY], delivery_id, int(time.time()), body), delivery_id)


@asynccontextmanager
async def raw_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """A TCP server that does what `handle` says; gives its port and closes each connection after its handler."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went first
        finally:
            writer.close()

    server = await asyncio.start_server(connected, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Head and body of one request whose length is declared."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    return head + await reader.readexactly(length)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


@pytest.fixture
async def sender() -> AsyncIterator[AiohttpWebhookSender]:
    async with AiohttpWebhookSender(timeout_ms=500, allowed_networks=LOOPBACK, max_response_bytes=4096) as started:
        yield started
