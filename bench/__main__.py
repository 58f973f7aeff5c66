"""`make bench`: from POST to the last follower's request, against a bare asyncio loop, in one run on one machine."""

import argparse
import asyncio
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.registry import Registry
from bench import measure, seed
from bench.measure import Bench, Run
from stack import Stack
from stack.dev_token import dev_token
from temporal.client import connect

SIZES = (1, 100, 1_000)
RUNS = 3


@contextmanager
def sink(key: bytes) -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "bench.sink", key.hex()], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


async def compare(stack: Stack, sizes: list[int], runs: int, console: Console) -> dict[int, list[tuple[Run, Run]]]:
    settings = stack.settings()
    key = secrets.token_bytes(32)
    box = SecretBox(settings.secrets.master_keys.get_secret_value())
    database = Database(settings.postgres)
    registry = Registry(database, box)
    results: dict[int, list[tuple[Run, Run]]] = {}
    with sink(key) as url:
        tenant_id = await seed.tenant(registry)
        api = f"http://127.0.0.1:{stack.ports()['api']}"
        scopes = "orders:write orders:read"
        token = dev_token(settings, tenant_id=uuid.UUID(tenant_id), role="owner", scopes=scopes, ttl_s=86_400)
        temporal = await connect(settings.temporal)
        bench = Bench(api, token, url, key, tenant_id, database, settings, temporal, settings.dispatch.wave_concurrency)
        for followers in sizes:
            vault_id = await seed.vault(
                registry, database, box, tenant_id=tenant_id, followers=followers, sink=url, key=key
            )
            await measure.ours(bench, vault_id, followers)  # warms caches and connections; not counted
            results[followers] = []
            for run in range(runs):
                console.print(f"{followers:,} followers, run {run + 1} of {runs}")
                pair = (await measure.floor(bench, followers), await measure.ours(bench, vault_id, followers))
                results[followers].append(pair)
    await database.close()
    return results


def table(results: dict[int, list[tuple[Run, Run]]]) -> Table:
    shown = Table(title="medians, seconds after the POST; floor: a bare asyncio loop without durability")
    for name in (
        "followers",
        "floor: last",
        "ours: first",
        "ours: last",
        "ours ÷ floor",
        "all confirmed",
        "sent twice",
    ):
        shown.add_column(name, justify="right")
    for followers, pairs in results.items():
        floor = statistics.median(f.last for f, _ in pairs)
        last = statistics.median(o.last for _, o in pairs)
        first = statistics.median(o.first for _, o in pairs)
        confirmed = statistics.median(o.confirmed or 0 for _, o in pairs)
        ratio = statistics.median(o.last / f.last for f, o in pairs)
        twice = sum(o.sent_twice for _, o in pairs)
        cells = (f"{floor:.3f}", f"{first:.3f}", f"{last:.3f}", f"{ratio:.1f}", f"{confirmed:.2f}", str(twice))
        shown.add_row(f"{followers:,}", *cells)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of followers")
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    console = Console()
    with Stack(Path(tempfile.mkdtemp(prefix="vanta-bench-"))) as stack:
        stack.start_servers()
        stack.bootstrap()
        stack.start_processes()
        results = asyncio.run(compare(stack, options.sizes, options.runs, console))
        stack.purge()
    console.print(table(results))


if __name__ == "__main__":
    main()
