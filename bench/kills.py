"""How soon a follower's kill switch is acknowledged: `python -m bench.kills`, idle and while orders are mirrored.

The answer of PATCH /v1/followers/{id} means that no send to the follower begins any more, so its time is the time to
effect, the API and its transaction included.
"""

import asyncio
import secrets
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.registry import Registry
from bench import measure, seed
from bench.__main__ import sink
from stack import Stack
from stack.dev_token import dev_token

FOLLOWERS, IDLE, ORDERS = 1_000, 200, 5
SCOPES = "follower:manage orders:write orders:read vault:read"


async def pull(client: httpx.AsyncClient, follower_id: str) -> tuple[float, str]:
    """Milliseconds, and how it is known that nothing begins any more."""
    began = time.perf_counter()
    answer = await client.patch(
        f"/v1/followers/{follower_id}", json={"kill_switch": True}, headers={"Idempotency-Key": str(uuid.uuid4())}
    )
    took = (time.perf_counter() - began) * 1000
    answer.raise_for_status()
    return took, answer.json()["acknowledgement"]["via"]


async def measured(stack: Stack, sink_url: str, key: bytes) -> dict[str, Sequence[tuple[float, str]]]:
    settings = stack.settings()
    database = Database(settings.postgres)
    box = SecretBox(settings.secrets.master_keys.get_secret_value())
    registry = Registry(database, box)
    tenant_id = await seed.tenant(registry)
    vault_id = await seed.vault(
        registry, database, box, tenant_id=tenant_id, followers=FOLLOWERS, sink=sink_url, key=key
    )
    followers = [f.follower_id for f in await registry.list_followers(tenant_id, vault_id, limit=FOLLOWERS)]
    token = dev_token(settings, tenant_id=uuid.UUID(tenant_id), role="owner", scopes=SCOPES)
    headers = {"Authorization": f"Bearer {token}"}
    base = f"http://127.0.0.1:{stack.ports()['api']}"
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as client:
        idle = [await pull(client, follower) for follower in followers[:IDLE]]
        busy: list[tuple[float, str]] = []
        rest = iter(followers[IDLE:])
        for _ in range(ORDERS):
            await measure.place(client, vault_id)
            until = time.monotonic() + 4  # while waves are sent, and the pages after them
            while time.monotonic() < until:
                busy.append(await pull(client, next(rest)))
    await database.close()
    return {"idle": idle, f"while orders of {FOLLOWERS:,} followers are mirrored": busy}


def show(found: dict[str, Sequence[tuple[float, str]]]) -> None:
    table = Table(title="PATCH kill_switch → nothing begins any more, in ms (target: p99 ≤ 100)")
    for column in ("", "pulls", "p50", "p99", "longest", "by Redis"):
        table.add_column(column, justify="left" if not column else "right")
    for name, pulls in found.items():
        times = sorted(took for took, _ in pulls)
        p99 = statistics.quantiles(times, n=100)[98]
        by_redis = sum(via == "redis" for _, via in pulls) / len(pulls)
        row = (f"{statistics.median(times):.1f}", f"{p99:.1f}", f"{times[-1]:.1f}", f"{by_redis:.0%}")
        table.add_row(name, str(len(times)), *row)
    Console().print(table)


def main() -> None:
    key = secrets.token_bytes(32)
    with Stack(Path(tempfile.mkdtemp(prefix="vanta-bench-"))) as stack, ExitStack() as running:
        stack.start_servers()
        stack.bootstrap()
        stack.start_processes()
        url, _ = running.enter_context(sink(key))
        show(asyncio.run(measured(stack, url, key)))
        running.close()
        stack.purge()


if __name__ == "__main__":
    main()
