"""`python -m bench.comparison_worker engine|textbook`: the workers of the systems that ours is compared with."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import aiohttp
from psycopg_pool import AsyncConnectionPool
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, Worker

from adapters.secretbox import SecretBox
from bench import engine_workflows, textbook
from bench.engine_workflows import EmptyFollower, EmptyOrder, EmptyShard, RoundTrip
from bench.measure import BODY_BYTES
from bench.textbook_activities import TextbookActivities
from bench.textbook_workflows import TextbookFollower, TextbookOrder
from settings import Settings
from stack import Stack
from temporal.client import connect

SYSTEMS = ("engine", "textbook")


@contextmanager
def serving(stack: Stack) -> Iterator[None]:
    """Both processes as parts of the stack, until the end of the block. Raises StackError when one does not start."""
    started: list[str] = []
    try:
        for system in SYSTEMS:
            started.append(f"bench-{system}")
            stack.start_process(started[-1], [sys.executable, "-m", "bench.comparison_worker", system])
        yield
    finally:
        for name in started:
            stack.end(name)


async def engine(settings: Settings, _resources: AsyncExitStack) -> list[Worker]:
    """Empty workflows, served as well as ours are; the bare round trip by a worker with nothing but defaults."""
    temporal = settings.temporal
    bare = await Client.connect(temporal.address, namespace=temporal.namespace)
    return [
        Worker(
            await connect(temporal),
            task_queue=engine_workflows.QUEUE,
            workflows=[EmptyOrder, EmptyShard, EmptyFollower],
            max_cached_workflows=temporal.max_cached_workflows,
            max_concurrent_workflow_tasks=temporal.max_workflow_tasks,
            workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        ),
        Worker(bare, task_queue=engine_workflows.ROUND_TRIP_QUEUE, workflows=[RoundTrip]),
    ]


async def textbook_app(settings: Settings, resources: AsyncExitStack) -> list[Worker]:
    """Default client, default worker, a pool of connections to the database and one HTTP client."""
    temporal, owner = settings.temporal, settings.postgres.owner_dsn
    assert owner is not None
    pool = AsyncConnectionPool(owner.get_secret_value(), max_size=settings.postgres.pool_size, open=False)
    steps = TextbookActivities(
        await resources.enter_async_context(pool),
        await resources.enter_async_context(aiohttp.ClientSession()),
        SecretBox(settings.secrets.master_keys.get_secret_value()),
        BODY_BYTES,
    )
    worker = Worker(
        await Client.connect(temporal.address, namespace=temporal.namespace),
        task_queue=textbook.QUEUE,
        workflows=[TextbookOrder, TextbookFollower],
        activities=[steps.list_followers, steps.size, steps.dispatch, steps.confirm, steps.audit],
    )
    return [worker]


_WORKERS = {"engine": engine, "textbook": textbook_app}


async def run(settings: Settings, system: str) -> None:
    """Serve the system until SIGTERM or SIGINT."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as resources:
        for worker in await _WORKERS[system](settings, resources):
            await resources.enter_async_context(worker)
        _say_ready()
        await stop.wait()


def _say_ready() -> None:
    Path(os.environ["VANTA_READY_FILE"]).touch()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(run(Settings(), sys.argv[1]))
