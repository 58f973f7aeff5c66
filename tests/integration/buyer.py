"""A tenant that subscribes on the embedded stack: its calls to the API, and its payer at the pages."""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from models import User
from settings import Settings
from stack import Stack
from stack.dev_token import dev_token
from tests.world import ACTOR, World

SCOPES = "billing:manage billing:read vault:read"
_WITHIN_S = 100
_AGAIN = frozenset({409, 503, 504})  # 409: the request before it is still under way
_AWAY = (httpx.TransportError, httpx.TimeoutException)


@dataclass
class Desk:
    """The API process and the two payment systems of a stack, which are also told here what to do."""

    stack: Stack
    settings: Settings
    api: httpx.AsyncClient
    stripe: httpx.AsyncClient
    btcpay: httpx.AsyncClient

    async def tell_stripe(self, what: str, **told: Any) -> Any:
        answer = await self.stripe.post(f"/_config/{what}", json=told)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def tell_btcpay(self, what: str, **told: Any) -> Any:
        answer = await self.btcpay.post(f"/_control/{what}", json=told)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    async def at_stripe(self, what: str, **query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.stripe.get(f"/v1/{what}", params=query)).json()["data"]
        return found


@dataclass
class Buyer:
    """`tenant_id` is one of its own."""

    world: World
    desk: Desk
    tenant_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @classmethod
    async def come(cls, world: World, desk: Desk) -> "Buyer":
        made = cls(world, desk)
        await world.registry.ensure_tenant(made.tenant_id, "Buyer", actor=ACTOR)
        tenant = uuid.UUID(made.tenant_id)
        async with world.database.session(made.tenant_id) as session:
            session.add(User(user_id=uuid.uuid4(), tenant_id=tenant, email="payer@shop.example", role="owner"))
        return made

    def headers(self, key: str | None = None) -> dict[str, str]:
        token = dev_token(self.desk.settings, tenant_id=uuid.UUID(self.tenant_id), role="owner", scopes=SCOPES)
        return {"Authorization": f"Bearer {token}", "Idempotency-Key": key or uuid.uuid4().hex}

    async def get(self, path: str) -> Any:
        answer = await self.desk.api.get(path, headers=self.headers())
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Mapping[str, Any], key: str | None = None) -> httpx.Response:
        return await self.desk.api.post(path, json=body, headers=self.headers(key))

    async def done(self, path: str, body: Mapping[str, Any], key: str) -> Any:
        """Asked again under the same key until it is answered, as a client does whose server died."""
        heard: list[str] = []
        try:
            async with asyncio.timeout(_WITHIN_S):
                while True:
                    try:
                        answer = await self.post(path, body, key)
                    except _AWAY as error:
                        heard.append(type(error).__name__)
                    else:
                        if answer.status_code < 300:
                            return answer.json()
                        heard.append(f"{answer.status_code} {answer.text[:300]}")
                        assert answer.status_code in _AGAIN, heard
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"it was never done: {heard[:3]} … {heard[-3:]}") from None

    async def checkout(self, plan: str, provider: str, key: str | None = None) -> str:
        """Where it is paid."""
        urls = {"success_url": "http://127.0.0.1/done", "cancel_url": "http://127.0.0.1/back"}
        body = {"plan_id": plan, "provider": provider, **urls}
        return str((await self.done("/v1/subscription/checkout", body, key or uuid.uuid4().hex))["checkout_url"])

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The subscription, once that is so of it."""
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(_WITHIN_S):
                while True:
                    try:
                        found = await self.get("/v1/subscription")
                    except _AWAY:
                        found = {}
                    if found and holds(found):
                        return found
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"it did not come about: {found}") from None

    async def is_(self, status: str) -> dict[str, Any]:
        return await self.until(lambda found: found["status"] == status)

    async def customer(self) -> str:
        [row] = await self.rows("SELECT customer_ref FROM subscriptions WHERE tenant_id = %s")
        return str(row["customer_ref"])

    async def rows(self, statement: str) -> list[dict[str, Any]]:
        async with self.world.database.cursor(self.tenant_id) as cursor:
            cursor.filtered = False
            await cursor.execute(statement, [self.tenant_id])
            return await cursor.fetchall()

    async def pays_by_card(self, page: str, card: str = "4242424242424242") -> None:
        """The answer sends the payer back to the shop."""
        answer = await self.desk.stripe.post(page, data={"do": "pay", "card": card})
        assert answer.status_code == 303, answer.text

    async def pays_bitcoin(self, page: str, part: str = "exactly") -> None:
        assert (await self.desk.btcpay.post(f"{page}/pay/{part}")).status_code == 303

    async def mines(self, page: str) -> None:
        assert (await self.desk.btcpay.post(f"{page}/mine")).status_code == 303
