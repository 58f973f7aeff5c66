"""Heartbeats while something long is awaited, so that a dead worker is noticed within seconds."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from temporalio import activity

EVERY_S = 1


@asynccontextmanager
async def beating(details: Callable[[], tuple[int, ...]] = tuple) -> AsyncIterator[None]:
    """Heartbeat every second with what `details` says then; an operator sees it in the console."""

    async def beat() -> None:
        while True:
            activity.heartbeat(*details())
            await asyncio.sleep(EVERY_S)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
