"""`make bench`: how soon the followers hear of an order, against what bounds it from below and what people usually do.

All systems run in one process tree on one machine and take turns; what counts are the ratios within a run.
"""

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.registry import Registry
from bench import comparison_worker, report, seed
from bench.measure import Bench
from bench.results import SYSTEMS, Results
from bench.scenarios import SCENARIOS, Lab, Plan, run_all
from bench.statements import SERVER_SETTINGS, Statements
from bench.targets import all_met
from bench.usage import Usage
from stack import Stack, StackError
from stack.dev_token import dev_token
from temporal.client import connect

SIZES = (1, 100, 1_000, 10_000)
QUICK = Plan(sizes=(1, 100, 1_000), runs=1, only=frozenset(SCENARIOS), steady_s=10, slow_up_to=1_000)
COLUMNS = 100  # of a log file or a pipe
_COMPARISONS = {"engine", "textbook"}


@contextmanager
def sink(key: bytes) -> Iterator[tuple[str, int]]:
    """The receiver's URL and pid."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.sink", key.hex()], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"], process.pid
        finally:
            process.terminate()


async def run(
    stack: Stack, plan: Plan, url: str, key: bytes, usage: Usage, results: Results, say: Callable[[str], None]
) -> None:
    settings = stack.settings()
    box = SecretBox(settings.secrets.master_keys.get_secret_value())
    database = Database(settings.postgres)
    registry = Registry(database, box)
    statements = Statements(stack)
    await statements.install()
    tenant_id = await seed.tenant(registry)
    api = f"http://127.0.0.1:{stack.ports()['api']}"
    scopes = "orders:write orders:read"
    token = dev_token(settings, tenant_id=uuid.UUID(tenant_id), role="owner", scopes=scopes, ttl_s=86_400)
    temporal = await connect(settings.temporal)
    bench = Bench(
        api, token, url, key, tenant_id, database, settings, temporal, settings.webhooks.max_connections_per_host
    )

    def check() -> None:
        if dead := stack.dead():
            raise StackError(f"{dead[0]} ended: {stack.hint(dead[0])}")

    try:
        await run_all(Lab(bench, registry, box, usage, statements, say, check), plan, results)
    finally:
        await database.close()


def parsed() -> tuple[Plan, argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", help=f"numbers of followers (default: {SIZES})")
    parser.add_argument("--runs", type=int, help="of each system at each size; three times as many up to 100 (3)")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="NAME", help=", ".join(SCENARIOS))
    parser.add_argument("--slow-up-to", type=int, metavar="N", help="largest size for engine and textbook")
    parser.add_argument("--quick", action="store_true", help="one run, up to 1,000 followers: a look, not a result")
    parser.add_argument("--strict", action="store_true", help="exit with 1 unless every target is measured and met")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder of the JSON and SVG files")
    given = parser.parse_args()
    base = QUICK if given.quick else Plan(SIZES, 3, QUICK.only, 60, max(SIZES))
    only = frozenset(given.only or base.only)
    sizes = base.sizes if given.sizes is None else tuple(sorted(set(given.sizes)))
    plan = Plan(
        sizes=sizes if only & set(SYSTEMS) else (),
        runs=given.runs or base.runs,
        only=only,
        steady_s=base.steady_s,
        slow_up_to=given.slow_up_to or base.slow_up_to,
    )
    return plan, given


def measure_all(plan: Plan, results: Results, say: Callable[[str], None]) -> None:
    """On a stack of its own, which is removed again; a failed one's logs are left where the error says."""
    key = secrets.token_bytes(32)
    folder = Path(tempfile.mkdtemp(prefix="vanta-bench-"))
    with Stack(folder, postgres_settings=SERVER_SETTINGS) as stack, ExitStack() as running:
        stack.start_servers()
        stack.bootstrap()
        stack.start_processes()
        if plan.only & _COMPARISONS:
            running.enter_context(comparison_worker.serving(stack))
        url, pid = running.enter_context(sink(key))
        usage = running.enter_context(Usage(lambda: {**stack.pids(), "sink": pid}))
        asyncio.run(run(stack, plan, url, key, usage, results, say))
        running.close()
        stack.purge()


def main() -> int:
    plan, given = parsed()
    console, results, began = Console(), Results(), time.monotonic()
    if not console.is_terminal:
        console = Console(width=COLUMNS)

    def say(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:7.1f} s[/]  {line}", highlight=False, soft_wrap=True)

    try:
        measure_all(plan, results, say)
    finally:
        if results:
            report.show(results, console)
            written = report.write(results, given.out, f"{os.cpu_count()} cores")
            console.print("written: " + ", ".join(str(path) for path in written), soft_wrap=True)
    return int(given.strict and not all_met(results))


if __name__ == "__main__":
    sys.exit(main())
