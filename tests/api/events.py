"""A client of an order's stream of events, and an order that a test moves by hand."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from adapters.store.dispatch import DispatchStore
from adapters.store.settlement import SettlementStore
from adapters.store.waves import WaveStore
from domain.dispatch import PendingOrder
from domain.ports import OutcomeKind, SendOutcome
from tests.adapters.store.orders import Floor


@dataclass
class Watched:
    """An order that has been sent to its followers; `answer` lets one of them answer."""

    floor: Floor
    mo_id: str
    pending: list[PendingOrder] = field(default_factory=list)

    @classmethod
    async def placed(cls, floor: Floor, followers: int) -> "Watched":
        for _ in range(followers):
            await floor.follower()
        mo_id = (await floor.admit()).mo_id
        page = await floor.page(mo_id)
        pending = await WaveStore(floor.database).open(page, page.orders, datetime.now(UTC))
        return cls(floor, mo_id, list(pending))

    async def answer(self) -> None:
        outcome = SendOutcome(OutcomeKind.ACK, "ack", "", 200)
        await DispatchStore(self.floor.database).record(self.floor.tenant_id, [(self.pending.pop(0), outcome)])

    async def settle(self) -> None:
        while self.pending:
            await self.answer()
        await SettlementStore(self.floor.database).settle(self.floor.tenant_id, self.mo_id)

    async def logged(self) -> list[int]:
        rows = await self.floor.rows("SELECT event_id FROM audit_events WHERE mo_id = %s ORDER BY 1", self.mo_id)
        return [row["event_id"] for row in rows]


@dataclass(frozen=True)
class Event:
    name: str
    data: dict[str, Any]
    id: int | None
    comment: bool = False


async def events(answer: httpx.Response) -> AsyncIterator[Event]:
    """As they come, comments too."""
    given: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line.startswith(":"):
            yield Event("", {}, None, comment=True)
        elif line:
            name, _, value = line.partition(": ")
            given[name] = value
        elif "data" in given:
            number = int(given["id"]) if "id" in given else None
            yield Event(given["event"], json.loads(given["data"]), number)
            given = {}
        else:
            given = {}


@asynccontextmanager
async def watching(
    base_url: str, token: str, mo_id: str, after: int | None = None
) -> AsyncIterator[AsyncIterator[Event]]:
    headers = {"Authorization": f"Bearer {token}"} | ({} if after is None else {"Last-Event-ID": str(after)})
    async with (
        httpx.AsyncClient(base_url=base_url, timeout=20) as http,
        http.stream("GET", f"/v1/manager-orders/{mo_id}/events", headers=headers) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield events(answer)
