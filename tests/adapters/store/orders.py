"""A vault with followers and orders at its door, for tests of the stores of the order path."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from adapters.store.admission import AdmissionStore
from adapters.store.database import Cursor, Database
from adapters.store.registry import Registry
from adapters.store.waves import WavePage, WaveStore
from domain import ids, intents
from domain.enrolment import NewFollower, NewVault
from domain.entitlements import EVERYTHING
from domain.mirroring import ORDER, Admission, MirrorOrderInput
from domain.requests import Once
from domain.rights import Offer
from models import Instrument, Price
from tests.adapters.store.conftest import ACTOR

EQUITY, COIN = "WAVEQ", "WAVEC"
UNLIMITED = Offer(EVERYTHING)  # whoever never subscribed may do everything


def admission_store(database: Database, page_size: int = 500, offer: Offer = UNLIMITED) -> AdmissionStore:
    return AdmissionStore(
        database, offer, page_size=page_size, max_notional_usd=Decimal(10_000_000), max_qty=Decimal(1_000_000)
    )


def manager_order(tenant_id: str, vault_id: str, symbol: str = EQUITY, **more: Any) -> MirrorOrderInput:
    kind, only = more.pop("kind", ORDER), more.pop("only_follower_id", None)
    raw = {"vault_id": vault_id, "symbol": symbol, "side": "buy", "qty": "10", **more}
    intent, meta = intents.parse_intent(raw)
    mo_id = ids.manager_order_id(tenant_id, str(uuid.uuid4()))
    return MirrorOrderInput(tenant_id, mo_id, intent, meta, intents.fingerprint(raw), "api", ACTOR, kind, only)


@dataclass
class Floor:
    """One tenant's vault and what is done with its orders."""

    database: Database
    registry: Registry
    tenant_id: str
    vault_id: str = ""
    _once: int = 0

    async def prepare(self) -> None:
        for symbol, rail in ((EQUITY, "fiat"), (COIN, "crypto")):
            await self.registry.upsert_instrument(
                Instrument(symbol=symbol, venue="TEST", rail=rail, qty_step=Decimal(1), fine_step=Decimal("0.000001"),
                           min_qty=Decimal(0), min_notional=Decimal(0), tradable=True)
            )  # fmt: skip
            price = Price(symbol=symbol, price=Decimal(200), asof=datetime.now(UTC), source="test")
            await self.registry.upsert_price(price)
        new = NewVault(
            "Floor", rails=("fiat", "crypto"), nav_usd=Decimal(1_000_000), risk_profile={"duplicate_window_s": 0}
        )
        self.vault_id = (
            await self.registry.create_vault(self.tenant_id, new, actor=ACTOR, once=self._next())
        ).row.vault_id

    async def follower(self, **terms: Any) -> str:
        """A webhook follower, unless `terms` say otherwise."""
        if not {"equities", "crypto", "mode"} & terms.keys():
            terms.setdefault("webhook_url", "https://follower.example/hook")
        follower_id = f"F_{uuid.uuid4().hex[:12]}"
        new = NewFollower(self.vault_id, follower_id, follower_id=follower_id, **terms)
        await self.registry.create_follower(self.tenant_id, new, actor=ACTOR, once=self._next())
        return follower_id

    async def admit(self, symbol: str = EQUITY, **more: Any) -> Admission:
        order = manager_order(self.tenant_id, self.vault_id, symbol, **more)
        admission = await admission_store(self.database).admit(order, datetime.now(UTC))
        assert admission.accepted, admission
        return admission

    async def page(self, mo_id: str, route: str = "webhook") -> WavePage:
        return await WaveStore(self.database).page(self.tenant_id, mo_id, 0, route)

    async def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        async with self.database.cursor(self.tenant_id) as cursor:
            cursor.filtered = False
            await cursor.execute(statement, values)
            return await cursor.fetchall() if cursor.description else []

    def _next(self) -> Once:
        self._once += 1
        return Once("test", f"{self.tenant_id}-{self._once}", "f")


class _Spied:
    """A cursor that calls `before` ahead of each statement."""

    def __init__(self, cursor: Cursor, before: Callable[[Cursor, str, Any], Awaitable[None]]) -> None:
        self._cursor = cursor
        self._before = before

    async def execute(self, statement: str, values: Any = None) -> Any:
        await self._before(self._cursor, statement, values)
        return await self._cursor.execute(cast("Any", statement), values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


class SpiedDatabase:
    """The database as a store uses it, with a look at each statement before it runs."""

    def __init__(self, database: Database, before: Callable[[Cursor, str, Any], Awaitable[None]]) -> None:
        self._database = database
        self._before = before

    @asynccontextmanager
    async def cursor(self, tenant_id: str) -> AsyncIterator[Cursor]:
        async with self._database.cursor(tenant_id) as cursor:
            yield cast("Cursor", _Spied(cursor, self._before))


class Pause:
    """Holds the transaction that is about to execute a statement with `marker` in it, until it may go on."""

    def __init__(self, marker: str) -> None:
        self._marker = marker
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.pid = 0

    async def __call__(self, cursor: Cursor, statement: str, values: Any) -> None:
        if self._marker in statement:
            self.pid = cursor.connection.info.backend_pid
            self.reached.set()
            async with asyncio.timeout(60):
                await self.go_on.wait()
