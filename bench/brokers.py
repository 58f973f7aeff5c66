"""How soon the last of 500 bridged followers has its order at the broker: `python -m bench.brokers`.

Against a bare loop that makes the same calls through the same adapter, as many at once, from orders that are ready. The
broker is its simulator, in a process of its own; when an order arrived is what it says itself (`created_at`). Both take
turns on one stack, and what counts is the ratio.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import httpx
import uvloop
from rich.console import Console
from rich.table import Table

from adapters.brokers.alpaca import AlpacaBroker
from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.registry import Registry
from bench import seed
from bench.measure import TIMEOUT_S
from domain.enrolment import BrokerAccount, NewFollower, NewVault
from domain.orders import ManagerState, OrderType, Side, TimeInForce
from domain.ports import BrokerCredentials, ChildOrder, OutcomeKind
from domain.requests import Once
from stack import Stack
from stack.dev_token import dev_token

AT_ONCE = 100  # connections of the adapter, as in the settings' default
SCOPES = "orders:write orders:read vault:read"
SECRET = "of-the-bench"
UNDER_WAY = {ManagerState.RECEIVED, ManagerState.DISPATCHING}
_NOTHING = "0" * 64


@contextmanager
def simulator() -> Iterator[str]:
    """Its URL."""
    command = [sys.executable, "-m", "simulators.alpaca", "--rate-limit", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


class BrokerStack(Stack):
    def __init__(self, data: Path, url: str) -> None:
        super().__init__(data)
        self._url = url

    def env(self) -> dict[str, str]:
        return {**super().env(), "VANTA_ALPACA__PAPER_URL": self._url}


async def open_accounts(url: str, keys: list[str]) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        asset = {"symbol": seed.SYMBOL, "price": "100"}
        (await client.post("/_control/instruments", json=asset)).raise_for_status()
        accounts = [{"key_id": key, "secret": SECRET, "cash": "10000000"} for key in keys]
        (await client.post("/_control/accounts", json=accounts)).raise_for_status()


async def arrivals(url: str, keys: list[str], since: float) -> list[float]:
    """Seconds after `since` (unix time) at which each account's one order of that time was taken."""
    after = datetime.fromtimestamp(since, UTC).isoformat()
    found: list[float] = []
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        for key in keys:
            headers = {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": SECRET}
            answer = await client.get("/v2/orders", params={"status": "all", "after": after}, headers=headers)
            [order] = answer.raise_for_status().json()
            found.append(datetime.fromisoformat(order["created_at"]).timestamp() - since)
    return sorted(found)


async def bare(url: str, keys: list[str]) -> float:
    """When the loop began, in unix time. Raises RuntimeError for an order that is not taken."""
    broker = AlpacaBroker(live_url=url, paper_url=url, max_connections=AT_ONCE)
    run = uuid.uuid4().hex[:12]
    waiting = iter([(BrokerCredentials(key, key, SECRET), _order(f"FO-{run}-{n}")) for n, key in enumerate(keys)])

    async def submit() -> None:
        for credentials, order in waiting:
            outcome = await broker.submit(credentials, order)
            if outcome.kind is not OutcomeKind.ACK:
                raise RuntimeError(f"{outcome.code}: {outcome.detail}")

    began = time.time()
    await asyncio.gather(*(submit() for _ in range(AT_ONCE)))
    await broker.close()
    return began


def _order(client_order_id: str) -> ChildOrder:
    return ChildOrder(client_order_id, seed.SYMBOL, Side.BUY, Decimal(1), OrderType.MARKET, TimeInForce.DAY)


async def enrol(registry: Registry, tenant_id: str, keys: list[str]) -> str:
    """The id of a vault that all these accounts follow."""
    label = f"bench brokers {uuid.uuid4().hex[:6]}"
    new = NewVault(label=label, nav_usd=Decimal(1_000_000), risk_profile={"duplicate_window_s": 0})
    vault = await registry.create_vault(tenant_id, new, actor=seed.ACTOR, once=Once("bench", label, _NOTHING))
    vault_id = vault.row.vault_id
    for key in keys:
        account = BrokerAccount("alpaca", key, SECRET)
        follower = NewFollower(vault_id=vault_id, label=key, equities=account)
        once = Once("bench", f"{vault_id}/{key}", _NOTHING)
        await registry.create_follower(tenant_id, follower, actor=seed.ACTOR, once=once)
    return vault_id


async def place(client: httpx.AsyncClient, vault_id: str) -> tuple[str, float]:
    """The order's id, and when it was posted, in unix time."""
    (await client.get("/healthz")).raise_for_status()
    body = {"vault_id": vault_id, "symbol": seed.SYMBOL, "side": "buy", "qty": "1"}
    began = time.time()
    answer = await client.post("/v1/manager-orders", json=body, headers={"idempotency-key": str(uuid.uuid4())})
    return answer.raise_for_status().json()["mo_id"], began


async def over(client: httpx.AsyncClient, mo_id: str) -> None:
    """Until every follower's order has ended; polled slowly, so that nobody's time is taken."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            await asyncio.sleep(5)
            order = (await client.get(f"/v1/manager-orders/{mo_id}")).raise_for_status().json()
            if order["state"] not in UNDER_WAY:
                return


async def measured(stack: Stack, url: str, followers: int, runs: int) -> list[tuple[list[float], list[float]]]:
    settings = stack.settings()
    database = Database(settings.postgres)
    registry = Registry(database, SecretBox(settings.secrets.master_keys.get_secret_value()))
    tenant_id = await seed.tenant(registry)
    keys = [f"AK{number:05d}" for number in range(followers)]
    await open_accounts(url, keys)
    vault_id = await enrol(registry, tenant_id, keys)
    token = dev_token(settings, tenant_id=uuid.UUID(tenant_id), role="owner", scopes=SCOPES)
    headers = {"Authorization": f"Bearer {token}"}
    found = []
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{stack.ports()['api']}", headers=headers, timeout=60
    ) as client:
        for _ in range(runs):
            floor = await arrivals(url, keys, await bare(url, keys))
            mo_id, began = await place(client, vault_id)
            await over(client, mo_id)
            found.append((floor, await arrivals(url, keys, began)))
    await database.close()
    return found


def show(found: list[tuple[list[float], list[float]]], followers: int) -> None:
    table = Table(title=f"{followers} bridged followers: the last order at the broker (target: ≤ 2× the bare loop)")
    for column in ("run", "bare loop: last", "ours: first", "ours: last", "ratio"):
        table.add_column(column, justify="right")
    for number, (floor, ours) in enumerate(found, 1):
        times = [f"{seconds * 1000:,.0f} ms" for seconds in (floor[-1], ours[0], ours[-1])]
        table.add_row(str(number), *times, f"{ours[-1] / floor[-1]:.2f}")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.brokers", description=__doc__)
    parser.add_argument("--followers", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with ExitStack() as running:
        url = running.enter_context(simulator())
        stack = running.enter_context(BrokerStack(Path(tempfile.mkdtemp(prefix="vanta-bench-")), url))
        stack.start_servers()
        stack.bootstrap()
        stack.start_processes()
        show(uvloop.run(measured(stack, url, given.followers, given.runs)), given.followers)
        stack.purge()


if __name__ == "__main__":
    main()
