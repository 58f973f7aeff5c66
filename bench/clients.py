"""`python -m bench.clients`: which asynchronous HTTP client posts fastest, and whether it or the sink is the limit.

Client and sink are processes of their own: the one whose CPU time comes near the clock's is the limit.
"""

import argparse
import asyncio
import json
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from bench import floor
from bench.floor import Posts

BODY_BYTES = 1_000
TIMEOUT_S = 300


async def task_per_request(posts: Posts, concurrency: int) -> float:
    """aiohttp with one task for each request, all queueing for the connector."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def post(url: str, headers: dict[str, str]) -> None:
            async with session.post(url, data=posts.body, headers=headers, raise_for_status=True) as answer:
                await answer.read()

        began = time.monotonic()
        await asyncio.gather(*(post(url, headers) for url, headers in posts.requests))
    return began


async def with_httpx(posts: Posts, concurrency: int) -> float:
    waiting = iter(posts.requests)
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(limits=limits, timeout=TIMEOUT_S, trust_env=False) as client:

        async def post() -> None:
            for url, headers in waiting:
                (await client.post(url, content=posts.body, headers=headers)).raise_for_status()

        began = time.monotonic()
        await asyncio.gather(*(post() for _ in range(concurrency)))
    return began


Client = Callable[[Posts, int], Awaitable[float]]
CLIENTS: dict[str, tuple[Client, Callable[..., Any]]] = {
    "aiohttp, uvloop": (floor.post_all, uvloop.run),
    "aiohttp, asyncio": (floor.post_all, asyncio.run),
    "aiohttp, uvloop, a task per request": (task_per_request, uvloop.run),
    "httpx, uvloop": (with_httpx, uvloop.run),
    "httpx, asyncio": (with_httpx, asyncio.run),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds per 1,000 requests: on the clock, and of CPU in each of the two processes."""

    wall: float
    client: float
    sink: float


def run_client(name: str, url: str, key: bytes, requests: int, concurrency: int) -> None:
    """The client's process: post, and print seconds on the clock and of CPU as JSON."""
    client, run = CLIENTS[name]
    posts = floor.prepare(url, requests, key, BODY_BYTES)
    cpu = time.process_time()
    began = run(client(posts, concurrency))
    print(json.dumps({"wall": time.monotonic() - began, "cpu": time.process_time() - cpu}))


def measure(name: str, url: str, sink: psutil.Process, key: bytes, requests: int, concurrency: int) -> Cost:
    """Raises RuntimeError unless every request has arrived exactly once with a right signature."""
    httpx.get(f"{url}/report").raise_for_status()
    before = _cpu(sink)
    argv = [sys.executable, "-m", "bench.clients", "--one", name, url, key.hex(), str(requests), str(concurrency)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    spent, took = _cpu(sink) - before, json.loads(done.stdout)
    report = httpx.get(f"{url}/report").json()
    if (
        report["forged"]
        or len(report["arrivals"]) != requests
        or any(len(at) > 1 for at in report["arrivals"].values())
    ):
        raise RuntimeError(f"{name}: requests were lost, sent twice or forged")
    thousands = requests / 1_000
    return Cost(took["wall"] / thousands, took["cpu"] / thousands, spent / thousands)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def compare(requests: int, runs: int, concurrencies: list[int], names: list[str]) -> Table:
    """Runs interleave, so that a noisy moment hits all alike."""
    key = secrets.token_bytes(32)
    costs: dict[tuple[str, int], list[Cost]] = {(name, at_once): [] for name in names for at_once in concurrencies}
    argv = [sys.executable, "-m", "bench.sink", key.hex()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as sink:
        assert sink.stdout is not None
        try:
            url, process = json.loads(sink.stdout.readline())["url"], psutil.Process(sink.pid)
            for _ in range(runs):
                for (name, at_once), seen in costs.items():
                    seen.append(measure(name, url, process, key, requests, at_once))
        finally:
            sink.terminate()
    return table(costs, requests)


def table(costs: dict[tuple[str, int], list[Cost]], requests: int) -> Table:
    shown = Table(title=f"seconds per 1,000 requests of 1 kB; medians over runs of {requests:,}")
    shown.add_column("client")
    for column in ("in flight", "on the clock", "CPU of client", "CPU of sink"):
        shown.add_column(column, justify="right")
    rows = []
    for (name, at_once), seen in costs.items():
        medians = [statistics.median(getattr(cost, field) for cost in seen) for field in ("wall", "client", "sink")]
        rows.append((medians[0], [name, str(at_once), *(f"{seconds:.3f}" for seconds in medians)]))
    for _, cells in sorted(rows):
        shown.add_row(*cells)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.clients", description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[50, 100, 200], help="requests in flight")
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS), metavar="NAME")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, url, key, requests, at_once = options.one
        run_client(name, url, bytes.fromhex(key), int(requests), int(at_once))
        return
    Console().print(compare(options.requests, options.runs, options.concurrency, options.clients))


if __name__ == "__main__":
    main()
