"""An OpenID provider that says whatever the test says, right or wrong."""

import asyncio
import json
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key
from joserfc.util import urlsafe_b64encode

CLIENT_ID = "gateway"
EMAIL = "ada@olympus.example"


def sign(key: Key, claims: Mapping[str, Any], *, algorithm: str = "ES256", **header: Any) -> str:
    """A header of None is left out."""
    whole = {"alg": algorithm, "typ": "JWT", "kid": key.kid, **header}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        kept = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(kept, dict(claims), key, algorithms=[algorithm])


@dataclass
class HostileProvider:
    """`token` makes the ID token from the claims that would be right; `answers` replaces a path's whole answer.

    `nonces`: by code, where several logins are under way.
    """

    issuer: str = ""
    key: Key = field(default_factory=lambda: ECKey.generate_key("P-256", auto_kid=True))
    jwks: list[dict[str, Any]] = field(default_factory=list)
    person: dict[str, Any] = field(default_factory=lambda: {"sub": "ada", "email": EMAIL, "email_verified": True})
    nonce: str = "the-nonce"
    nonces: dict[str, str] = field(default_factory=dict)
    token: Callable[[dict[str, Any]], object] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Callable[[], web.Response]] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    hits: Counter[str] = field(default_factory=Counter)
    forms: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Of a right ID token, with changes; None takes a claim away."""
        now = int(time.time())
        right = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": self.nonce}
        return {name: value for name, value in {**right, **self.person, **changes}.items() if value is not None}

    def publish(self, *keys: Key) -> None:
        self.jwks = [dict(key.as_dict(private=False)) for key in keys]

    async def handle(self, request: web.Request) -> web.Response:
        self.hits[request.path] += 1
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if request.method == "POST":
            self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        if self.hold is not None:
            await self.hold.wait()
        if request.path in self.answers:
            return self.answers[request.path]()
        return web.json_response(self._answer(request.path))

    def _answer(self, path: str) -> dict[str, Any]:
        if path == "/.well-known/openid-configuration":
            places = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
            found = {name: self.issuer + place for name, place in places.items()}
            return {"issuer": self.issuer, **found, **self.metadata}
        if path == "/keys":
            return {"keys": self.jwks}
        if path == "/userinfo":
            return self.userinfo
        code = self.forms[-1].get("code", "") if self.forms else ""
        right = self.claims(nonce=self.nonces.get(code, self.nonce))
        token = sign(self.key, right) if self.token is None else self.token(right)
        return {"access_token": "theirs", "token_type": "Bearer", **({} if token is None else {"id_token": token})}


@asynccontextmanager
async def hostile_provider() -> AsyncIterator[HostileProvider]:
    made = HostileProvider()
    made.publish(made.key)
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


def encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode()


def joined(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """What is signed of a token, whatever its header may say."""
    return f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
