"""One run of each system, timed on the machine's monotonic clock, which all of its processes share."""

import asyncio
import json
import sys
import time
import uuid
from dataclasses import dataclass

import httpx
from temporalio.client import Client

from adapters.store.database import Database
from bench.seed import SYMBOL
from settings import Settings

TIMEOUT_S = 600
BODY_BYTES = 1_000  # what a webhook body of ours comes to


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds after the start: each follower's first request at the sink, in order; `confirmed` the last of all."""

    arrivals: list[float]
    sent_twice: int
    confirmed: float | None = None

    @property
    def first(self) -> float:
        return self.arrivals[0]

    @property
    def last(self) -> float:
        return self.arrivals[-1]


@dataclass(frozen=True, slots=True)
class Bench:
    """Where everything is; `concurrency` is the number of requests in flight in both systems."""

    api: str
    token: str
    sink: str
    key: bytes
    tenant_id: str
    database: Database
    settings: Settings
    temporal: Client
    concurrency: int


async def floor(bench: Bench, followers: int) -> Run:
    await _drain(bench)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.floor", bench.sink, str(followers), bench.key.hex(), str(bench.concurrency),
        str(BODY_BYTES), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(TIMEOUT_S):
        out, _ = await process.communicate()
    began = json.loads(out)["began"]
    return _run(await _drain(bench), began)


async def ours(bench: Bench, vault_id: str, followers: int) -> Run:
    """From the POST to the last follower's request, and to the last order confirmed in Postgres."""
    await _drain(bench)
    headers = {"authorization": f"Bearer {bench.token}", "idempotency-key": str(uuid.uuid4())}
    body = {"vault_id": vault_id, "symbol": SYMBOL, "side": "buy", "qty": "1"}
    async with httpx.AsyncClient(base_url=bench.api, timeout=60) as client:
        began = time.monotonic()
        answer = await client.post("/v1/manager-orders", json=body, headers=headers)
        answer.raise_for_status()
        mo_id = answer.json()["mo_id"]
        confirmed = await _when(bench, mo_id, began, followers)
        await _settled(client, headers, mo_id)
    run = _run(await _drain(bench), began)
    return Run(run.arrivals, run.sent_twice, confirmed)


async def _when(bench: Bench, mo_id: str, began: float, followers: int) -> float:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            async with bench.database.cursor(bench.tenant_id) as cursor:
                await cursor.execute(
                    "SELECT count(*) AS n FROM follower_orders WHERE mo_id = %s AND state = 'confirmed'", [mo_id]
                )
                row = await cursor.fetchone()
            if row is not None and row["n"] == followers:
                return time.monotonic() - began
            await asyncio.sleep(0.02)


async def _settled(client: httpx.AsyncClient, headers: dict[str, str], mo_id: str) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while (await client.get(f"/v1/manager-orders/{mo_id}", headers=headers)).json()["state"] != "settled":
            await asyncio.sleep(0.2)


async def _drain(bench: Bench) -> dict[str, list[float]]:
    async with httpx.AsyncClient(timeout=60) as client:
        report = (await client.get(f"{bench.sink}/report")).json()
    if report["forged"]:
        raise RuntimeError(f"{report['forged']} requests arrived with a wrong signature")
    arrivals: dict[str, list[float]] = report["arrivals"]
    return arrivals


def _run(arrivals: dict[str, list[float]], began: float) -> Run:
    first = sorted(min(times) - began for times in arrivals.values())
    return Run(first, sum(len(times) - 1 for times in arrivals.values()))
