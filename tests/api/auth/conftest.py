"""The gateway's door: a browser, a client, and an OpenID provider of our own behind it."""

import secrets
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapters.identity.opaque import digest
from adapters.store.database import Database
from adapters.store.registry import Registry
from domain.login import s256
from settings import OidcSettings, Settings
from tests.adapters.identity.provider import CLIENT_ID, EMAIL, HostileProvider, hostile_provider
from tests.api.conftest import roomy, serve

CALLBACK = "http://127.0.0.1:9/callback"
VERIFIER = "v" * 43


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[HostileProvider]:
    async with hostile_provider() as made:
        yield made


@pytest.fixture(autouse=True)
def _as_new(provider: HostileProvider) -> None:
    fresh = HostileProvider(issuer=provider.issuer, key=provider.key, jwks=provider.jwks)
    vars(provider).update(vars(fresh))
    provider.person = {"sub": uuid.uuid4().hex, "email": EMAIL, "email_verified": True}


@pytest.fixture(scope="module")
async def http(settings: Settings, provider: HostileProvider) -> AsyncIterator[httpx.AsyncClient]:
    oidc = OidcSettings(issuer=provider.issuer, client_id=CLIENT_ID, redirect_uris=[CALLBACK])
    async with serve(settings.model_copy(update={"oidc": oidc, "limits": roomy(settings)})) as client:
        yield client


@dataclass
class Door:
    """A browser and a client before the gateway's door."""

    http: httpx.AsyncClient
    provider: HostileProvider
    database: Database
    tenant_id: str

    async def begin(self, **changes: Any) -> httpx.Response:
        body = {"redirect_uri": CALLBACK, "code_challenge": s256(VERIFIER), "code_challenge_method": "S256"}
        return await self.http.post("/v1/auth/login", json={**body, **changes})

    async def exchange(self, state: str, **changes: Any) -> httpx.Response:
        grant = {"grant_type": "authorization_code", "code": "c", "state": state, "code_verifier": VERIFIER}
        return await self.http.post("/v1/auth/token", json={**grant, "redirect_uri": CALLBACK, **changes})

    async def log_in(self, invitation: str | None = None) -> httpx.Response:
        begun = await self.begin(**({} if invitation is None else {"invitation": invitation}))
        assert begun.status_code == 200, begun.text
        url = httpx.URL(begun.json()["authorization_url"])
        self.provider.nonce = url.params["nonce"]
        return await self.exchange(begun.json()["state"])

    async def refresh(self, token: str) -> httpx.Response:
        return await self.http.post("/v1/auth/token", json={"grant_type": "refresh_token", "refresh_token": token})

    async def me(self, tokens: dict[str, Any]) -> httpx.Response:
        return await self.http.get("/v1/me", headers=bearer(tokens))

    async def log_out(self, tokens: dict[str, Any], **body: Any) -> httpx.Response:
        return await self.http.post("/v1/auth/logout", json=body, headers=bearer(tokens))

    async def invite(self, *, role: str = "auditor", email: str = EMAIL, hours: int = 1, **more: Any) -> str:
        token = secrets.token_urlsafe(32)
        values = {
            "invitation_id": f"INV-{secrets.token_hex(8)}", "tenant_id": self.tenant_id, "email": email, "role": role,
            "token_hash": digest(token), "invited_by": "user:test",
            "expires_at": datetime.now(UTC) + timedelta(hours=hours), **more,
        }  # fmt: skip
        async with self.database.cursor(self.tenant_id) as cursor:
            cursor.filtered = False
            names, places = ", ".join(values), ", ".join(f"%({name})s" for name in values)
            await cursor.execute(f"INSERT INTO invitations ({names}) VALUES ({places})", values)
        return token

    async def actions(self) -> list[str]:
        async with self.database.cursor(self.tenant_id) as cursor:
            cursor.filtered = False
            await cursor.execute("SELECT action FROM audit_events WHERE is_mine(tenant_id) ORDER BY event_id")
            return [row["action"] for row in await cursor.fetchall()]

    async def count(self, table: str, where: str = "true") -> int:
        async with self.database.cursor(self.tenant_id) as cursor:
            await cursor.execute(f"SELECT count(*) AS n FROM {table} WHERE {where}")
            row = await cursor.fetchone()
        assert row is not None
        return int(row["n"])

    async def joined(self, **more: Any) -> dict[str, Any]:
        answer = await self.log_in(await self.invite(**more))
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


@pytest.fixture
async def door(http: httpx.AsyncClient, provider: HostileProvider, database: Database, registry: Registry) -> Door:
    return await another_door(http, provider, database, registry)


@pytest.fixture
async def elsewhere(http: httpx.AsyncClient, provider: HostileProvider, database: Database, registry: Registry) -> Door:
    """The door of another tenant."""
    return await another_door(http, provider, database, registry)


async def another_door(
    http: httpx.AsyncClient, provider: HostileProvider, database: Database, registry: Registry
) -> Door:
    tenant_id = str(uuid.uuid4())
    await registry.ensure_tenant(tenant_id, "Olympus Capital", actor="user:test")
    return Door(http, provider, database, tenant_id)
