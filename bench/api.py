"""What the gateway costs a request: `python -m bench.api`, reads against an empty route, orders against the engine.

Reads take turns with a FastAPI route that does nothing, in the same process, over one connection, with the token of
a real login; what counts is the ratio of the 99th percentiles. Orders come from 20 callers at once; what counts is how
far their 99th percentile is over that of starting a bare workflow and updating it while nothing else runs.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import Worker

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.registry import Registry
from bench import seed
from bench.api_server import EMPTY
from bench.engine_workflows import UPDATE_QUEUE, Updated
from bench.figures import percentile
from bench.usage import cpu_seconds
from bench.wire import Wire
from cli_login import log_in
from domain.enrolment import NewFollower, NewVault
from domain.requests import Once
from domain.sizing import Mode
from settings import Settings
from stack import Stack
from stack.people import TENANT, VAULT
from stack.ports import HOST
from stack.probes import http_status
from temporal.client import connect

CALLERS = 20
WARM_UP = 50
READ_TARGET, ORDER_TARGET_MS = 4.0, 150.0
READS = {
    "an empty FastAPI route": EMPTY,
    "GET /v1/vaults/{id}": f"/v1/vaults/{VAULT}",
    "GET /v1/vaults": "/v1/vaults?limit=50",
    "GET /v1/vaults/{id}/followers": f"/v1/vaults/{VAULT}/followers",
}
CLASSES = ("READ_USER", "READ_TENANT", "ORDER_ENTRY_USER", "ORDER_ENTRY_TENANT")
# No caller of the benchmark is to be told that it calls too often.
UNLIMITED = {f"VANTA_LIMITS__{name}": "1000000" for name in CLASSES}
EMPTY_NAME = next(iter(READS))
ORDERS, ROUND_TRIPS = "POST /v1/manager-orders, 20 callers", "start + update of a bare workflow, idle"
Times = dict[str, list[float]]


async def reads(port: int, token: str, each: int) -> Times:
    """Seconds of each request, by what was read; they take turns, so that the machine's noise is everybody's."""
    found: Times = {name: [] for name in READS}
    async with Wire(port, token) as wire:
        for number in range(WARM_UP + each):
            for name, path in READS.items():
                took, _ = await wire.ask("GET", path)
                if number >= WARM_UP:
                    found[name].append(took)
    return found


async def work(port: int, token: str, each: int, pid: int) -> dict[str, float]:
    """Milliseconds of the server's processor time for a request, which a busy machine changes less than the clock's."""
    found = {}
    async with Wire(port, token) as wire:
        for name, path in READS.items():
            before = cpu_seconds(pid)
            for _ in range(each):
                await wire.ask("GET", path)
            found[name] = (cpu_seconds(pid) - before) / each * 1000
    return found


async def round_trips(client: Client, each: int) -> list[float]:
    """Seconds of each start of a workflow with an update that returns at once, one after the other."""
    found = []
    async with Worker(client, task_queue=UPDATE_QUEUE, workflows=[Updated]):
        loop = asyncio.get_running_loop()
        for number in range(WARM_UP + each):
            start = WithStartWorkflowOperation(
                Updated.run,
                id=f"bench-{uuid.uuid4()}",
                task_queue=UPDATE_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            )
            began = loop.time()
            await client.execute_update_with_start_workflow(Updated.admit, start_workflow_operation=start)
            if number >= WARM_UP:
                found.append(loop.time() - began)
    return found


async def vaults(settings: Settings, count: int) -> list[str]:
    """Vaults of the trial tenant, each with one follower on paper, and the instrument that is ordered."""
    database = Database(settings.postgres)
    registry = Registry(database, SecretBox(settings.secrets.master_keys.get_secret_value()))
    await seed.tenant(registry)
    run, made = uuid.uuid4().hex[:6], []
    for number in range(count):
        label = f"bench {run} {number}"
        new = NewVault(label=label, nav_usd=Decimal(1_000_000_000), risk_profile={"duplicate_window_s": 0})
        vault_id = (await registry.create_vault(TENANT, new, actor=seed.ACTOR, once=_once(label))).row.vault_id
        await registry.create_follower(
            TENANT, NewFollower(vault_id, label, mode=Mode.SHADOW), actor=seed.ACTOR, once=_once(vault_id)
        )
        made.append(vault_id)
    await database.close()
    return made


def _once(key: str) -> Once:
    return Once("bench", key, "0" * 64)


async def orders(port: int, token: str, vault_ids: Sequence[str], each: int) -> list[float]:
    """Seconds of each order, by callers who each post the next one when the last one is answered."""
    found: list[float] = []

    async def call(wire: Wire, vault_id: str) -> None:
        for number in range(each + 1):
            body = {"vault_id": vault_id, "symbol": seed.SYMBOL, "side": "buy", "qty": "1"}
            took, _ = await wire.ask("POST", "/v1/manager-orders", body, key=uuid.uuid4().hex)
            if number:  # the first one opens the engine's and the pools' connections
                found.append(took)

    async with AsyncExitStack() as closing:
        wires = [await closing.enter_async_context(Wire(port, token)) for _ in vault_ids]
        await asyncio.gather(*(call(wire, vault_id) for wire, vault_id in zip(wires, vault_ids, strict=True)))
    return found


async def measured(
    settings: Settings, port: int, pid: int, given: argparse.Namespace
) -> tuple[Times, dict[str, float]]:
    token = (await asyncio.to_thread(log_in, f"http://{HOST}:{port}", who="owner")).access_token
    found, worked = await reads(port, token, given.reads), await work(port, token, given.reads, pid)
    found[ROUND_TRIPS] = await round_trips(await connect(settings.temporal), given.orders)
    vault_ids = await vaults(settings, CALLERS)
    found[ORDERS] = await orders(port, token, vault_ids, max(1, given.orders // CALLERS))
    return found, worked


def show(found: Times, worked: dict[str, float], console: Console) -> None:
    """Milliseconds by nearest rank, and each target with what was reached."""
    base, idle = _p99(found[EMPTY_NAME]), _p99(found[ROUND_TRIPS])
    table = Table(title="Milliseconds")
    for column in ("", "requests", "p50", "p99", "p99 ÷ or − the one it is held to", "target", "its CPU"):
        table.add_column(column, justify="left" if not column else "right")
    for name, times in found.items():
        verdict = ("", "")
        if name in READS and name != EMPTY_NAME:
            verdict = (f"{_p99(times) / base:.2f}×", f"≤ {READ_TARGET:.0f}×")
        elif name == ORDERS:
            verdict = (f"{_p99(times) - idle:+.1f} ({_p99(times) / idle:.2f}×)", f"≤ +{ORDER_TARGET_MS:.0f}")
        table.add_row(
            name,
            str(len(times)),
            f"{_p50(times):.2f}",
            f"{_p99(times):.2f}",
            *verdict,
            f"{worked[name]:.2f}" if name in worked else "",
        )
    console.print(table)
    load = os.getloadavg()
    console.print(
        f"{datetime.now(UTC):%H:%M} UTC, {os.cpu_count()} cores, load {load[0]:.1f} {load[1]:.1f} {load[2]:.1f}"
    )


def _p99(times: Sequence[float]) -> float:
    return percentile(times, 0.99) * 1000


def _p50(times: Sequence[float]) -> float:
    return percentile(times, 0.5) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.api", description=__doc__)
    parser.add_argument("--reads", type=int, default=2_000, help="of each kind")
    parser.add_argument("--orders", type=int, default=400, help="and as many round trips")
    given = parser.parse_args()
    with Stack(Path(tempfile.mkdtemp(prefix="vanta-bench-")), login=True) as stack:
        stack.start_servers()
        stack.bootstrap()
        stack.start_processes()
        stack.end("api")
        port = stack.ports()["api"]
        server = [sys.executable, "-m", "bench.api_server"]
        stack.start_process("bench-api", server, UNLIMITED, ready=lambda: http_status(port, "/readyz") == 200)
        pid = stack.pids()["bench-api"]
        show(*uvloop.run(measured(stack.settings(), port, pid, given)), Console(width=140))
        stack.purge()


if __name__ == "__main__":
    main()
