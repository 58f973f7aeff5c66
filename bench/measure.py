"""One run of each system, timed on the machine's monotonic clock, which all of its processes share."""

import asyncio
import json
import ssl
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from temporalio.client import Client

from adapters.store.database import Database
from bench.seed import SYMBOL
from settings import Settings
from temporal import ids

TIMEOUT_S = 1_800
# All is plain HTTP here, and the default context reads the certificates of the world, for 50 ms of every client.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
BODY_BYTES = 1_000  # what a webhook body of ours comes to

# The moment of the commit, not `updated_at`, which is when the transaction began. The bench's server keeps it.
_CONFIRMED = """
SELECT
  (SELECT count(*) FROM follower_orders WHERE mo_id = %(mo_id)s AND state = 'confirmed') AS orders,
  (SELECT count(DISTINCT entity_id) FROM audit_events
   WHERE mo_id = %(mo_id)s AND entity = 'follower_order' AND action = 'confirmed') AS audited,
  (SELECT max(extract(epoch FROM pg_xact_commit_timestamp(x))) FROM (
     SELECT xmin FROM follower_orders WHERE mo_id = %(mo_id)s UNION ALL
     SELECT xmin FROM audit_events WHERE mo_id = %(mo_id)s AND entity = 'follower_order') AS t(x)) AS committed
"""


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds after the start: each follower's first request at the sink, in order; `confirmed` the last of all.

    `settled` is when the order's workflow ended, and with it every follower's.
    """

    arrivals: list[float]
    sent_twice: int
    confirmed: float | None = None
    settled: float | None = None

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


@dataclass(frozen=True, slots=True)
class Placed:
    """A manager order of ours; `began` is monotonic, `wall` the same moment in unix seconds.

    `refusals` counts the 503 answers before the order was taken; the time runs on through them.
    """

    mo_id: str
    began: float
    wall: float
    refusals: int


async def floor(bench: Bench, followers: int) -> Run:
    await drain(bench)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.floor", bench.sink, str(followers), bench.key.hex(), str(bench.concurrency),
        str(BODY_BYTES), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(TIMEOUT_S):
        out, _ = await process.communicate()
    began = json.loads(out)["began"]
    return run_of(await drain(bench), began)


async def ours(bench: Bench, vault_id: str, followers: int) -> tuple[Run, str]:
    """From the POST to the last follower's request, and to the last order confirmed and audited; with the order's id.

    Nothing is polled while it runs: the sink has the arrivals, Postgres the commits, Temporal tells of the end.
    """
    await drain(bench)
    async with caller(bench) as client:
        placed = await place(client, vault_id)
        await ended(bench, placed)
        settled = time.monotonic() - placed.began
    confirmed = await confirmed_after(bench, placed, followers)
    run = run_of(await drain(bench), placed.began)
    return Run(run.arrivals, run.sent_twice, confirmed, settled), placed.mo_id


def caller(bench: Bench) -> httpx.AsyncClient:
    """A manager's HTTP client."""
    headers = {"authorization": f"Bearer {bench.token}"}
    return httpx.AsyncClient(base_url=bench.api, timeout=60, headers=headers, verify=_NO_TLS)


def listener(bench: Bench) -> httpx.AsyncClient:
    """A client of the sink that is patient enough for its answers."""
    return httpx.AsyncClient(base_url=bench.sink, timeout=60, verify=_NO_TLS)


async def place(client: httpx.AsyncClient, vault_id: str) -> Placed:
    """POST an order on a connection that is open already; after a 503 again with the same key, as a manager's client.

    Raises httpx.HTTPStatusError when it is refused.
    """
    (await client.get("/healthz")).raise_for_status()
    body = {"vault_id": vault_id, "symbol": SYMBOL, "side": "buy", "qty": "1"}
    headers = {"idempotency-key": str(uuid.uuid4())}
    began, wall = time.monotonic(), time.time()
    refusals = 0
    async with asyncio.timeout(TIMEOUT_S):
        while (answer := await client.post("/v1/manager-orders", json=body, headers=headers)).status_code == 503:
            refusals += 1
            await asyncio.sleep(float(answer.headers.get("retry-after", 1)))
    answer.raise_for_status()
    return Placed(answer.json()["mo_id"], began, wall, refusals)


async def ended(bench: Bench, placed: Placed) -> dict[str, Any]:
    """The result of the order's workflow, when all of its children and its settlement are over."""
    async with asyncio.timeout(TIMEOUT_S):
        result: dict[str, Any] = await bench.temporal.get_workflow_handle(ids.mirror(placed.mo_id)).result()
    return result


async def confirmed_after(bench: Bench, placed: Placed, followers: int) -> float | None:
    """Seconds from the POST to the commit of the last order and audit event; None when any is missing."""
    async with bench.database.cursor(bench.tenant_id) as cursor:
        cursor.filtered = False
        await cursor.execute(_CONFIRMED, {"mo_id": placed.mo_id})
        row = await cursor.fetchone()
    if row is None or row["orders"] != followers or row["audited"] != followers:
        return None
    return float(row["committed"]) - placed.wall


async def drain(bench: Bench) -> dict[str, list[float]]:
    """Delivery id → times at the sink since the last drain. Raises RuntimeError when a signature was wrong."""
    async with listener(bench) as client:
        report = (await client.get("/report")).json()
    if report["forged"]:
        raise RuntimeError(f"{report['forged']} requests arrived with a wrong signature")
    arrivals: dict[str, list[float]] = report["arrivals"]
    return arrivals


def run_of(arrivals: Mapping[str, list[float]], began: float) -> Run:
    """Raises RuntimeError when not one request came."""
    if not arrivals:
        raise RuntimeError("not one request reached the sink")
    first = sorted(min(times) - began for times in arrivals.values())
    return Run(first, sum(len(times) - 1 for times in arrivals.values()))
