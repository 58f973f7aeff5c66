"""A server that has one answer for everything, for what a simulator should not have to say."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from adapters.brokers.alpaca import AlpacaBroker

FIXTURES = Path(__file__).parent / "fixtures" / "alpaca"


def fixture(name: str) -> dict[str, Any]:
    """Without `_source`, which says where the vendor describes it."""
    parsed: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    parsed.pop("_source", None)
    return parsed


def fixtures(name: str) -> list[dict[str, Any]]:
    """Of a file that holds a list: under `items`, where it names its source."""
    parsed: Any = json.loads((FIXTURES / f"{name}.json").read_text())
    items: list[dict[str, Any]] = parsed["items"] if isinstance(parsed, dict) else parsed
    return items


@dataclass
class Canned:
    """`seen` holds (request line, headers, body) of every request."""

    broker: AlpacaBroker = field(init=False)
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append((f"{request.method} {request.raw_path}", dict(request.headers), await request.read()))
        return web.Response(status=self.status, body=self.body, headers=self.headers)

    def answer(self, status: int, body: object, **headers: str) -> None:
        """Keyword `Retry_After` is header `Retry-After`."""
        self.status = status
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        self.body = text if isinstance(text, bytes) else text.encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@asynccontextmanager
async def open_canned() -> AsyncIterator[Canned]:
    server = Canned()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    server.broker = AlpacaBroker(
        live_url=url + "/live", paper_url=url + "/paper/", data_url=url + "/data", timeout_ms=2_000
    )
    try:
        yield server
    finally:
        await server.broker.close()
        await runner.cleanup()
