"""A server that says what a test tells it to, for what a simulator of Tradier should not have to say."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from adapters.brokers.tradier import TradierBroker

FIXTURES = Path(__file__).parent / "fixtures" / "tradier"
ACCOUNT = "/v1/accounts/VA000000"


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def fixture_text(name: str) -> str:
    """As written: the vendor's numbers have more digits than a float."""
    return (FIXTURES / f"{name}.json").read_text()


@dataclass(frozen=True)
class Seen:
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True))


@dataclass
class Canned:
    """Answers by method and path, in turn, the last one for ever; a path that nobody set is a 404 without words."""

    broker: TradierBroker = field(init=False)
    seen: list[Seen] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)  # said on the socket after the subscription
    subscriptions: list[str] = field(default_factory=list)
    stays: bool = True  # the socket is left open after the last frame
    _answers: dict[str, list[tuple[int, bytes, dict[str, str]]]] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        return [seen.line for seen in self.seen]

    def answer(self, where: str, body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """`where` is `GET /v1/…`, without the query."""
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        raw = text if isinstance(text, bytes) else text.encode()
        self._answers.setdefault(where, []).append((status, raw, headers or {}))

    async def handle(self, request: web.Request) -> web.Response:
        host, _, path = request.raw_path.removeprefix("/").partition("/")
        self.seen.append(Seen(f"{request.method} {host} /{path}", dict(request.headers), await request.read()))
        answers = self._answers.get(f"{request.method} /{path.partition('?')[0]}", [(404, b"", {})])
        status, raw, headers = answers.pop(0) if len(answers) > 1 else answers[0]
        return web.Response(status=status, body=raw, headers=headers)

    async def stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.subscriptions.append(await socket.receive_str())
        for frame in self.frames:
            await socket.send_str(frame)
        if self.stays:
            await socket.receive()
        await socket.close()
        return socket


@asynccontextmanager
async def open_canned(*, timeout_ms: int = 2_000, silence_ms: int = 2_000) -> AsyncIterator[Canned]:
    server = Canned()
    app = web.Application()
    app.router.add_get("/ws/v1/accounts/events", server.stream)
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    server.broker = TradierBroker(
        live_url=url + "/live",
        paper_url=url + "/paper/",
        live_stream_url=url + "/nowhere",
        paper_stream_url=url + "/ws/",
        timeout_ms=timeout_ms,
        silence_ms=silence_ms,
        client_id="our-application",
        client_secret="its-secret",
    )
    try:
        yield server
    finally:
        await server.broker.close()
        await runner.cleanup()


@asynccontextmanager
async def open_silent() -> AsyncIterator[str]:
    """A server that reads requests and never answers; its URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        await reader.read()  # until the client goes
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
