"""Coinbase's answers by path, for what a simulator should not have to say."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from adapters.brokers.coinbase import CoinbaseBroker
from domain.ports import BrokerCredentials

FIXTURES = Path(__file__).parent / "fixtures" / "coinbase"
KEY_NAME = "organizations/11111111-aaaa/apiKeys/22222222-bbbb"


def new_key() -> tuple[str, str]:
    """A private key as the vendor gives it to its users, and the public one that it keeps."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


PRIVATE, PUBLIC = new_key()
CREDENTIALS = BrokerCredentials("cred-1", KEY_NAME, PRIVATE)


def fixture(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return parsed


@dataclass
class CoinbaseCanned:
    """`seen` holds (request line, headers, body) of every request; the longest path that fits answers."""

    url: str = ""
    broker: CoinbaseBroker = field(init=False)
    answers: dict[str, list[tuple[int, bytes, dict[str, str]]]] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append((f"{request.method} {request.raw_path}", dict(request.headers), await request.read()))
        path = request.path.removeprefix("/api/v3/brokerage")
        name = max((known for known in self.answers if path.startswith(known)), key=len)
        answers = self.answers[name]
        status, body, headers = answers.pop(0) if len(answers) > 1 else answers[0]
        return web.Response(status=status, body=body, headers=headers)

    def answer(self, path: str, status: int, body: object, **headers: str) -> None:
        """Several for a path come in turn, the last for good. Keyword `Retry_After` is header `Retry-After`."""
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.setdefault(path, []).append((status, raw, named))


@asynccontextmanager
async def open_canned() -> AsyncIterator[CoinbaseCanned]:
    server = CoinbaseCanned()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    server.broker = CoinbaseBroker(live_url="", paper_url=server.url + "/", timeout_ms=2_000)
    try:
        yield server
    finally:
        await server.broker.close()
        await runner.cleanup()
