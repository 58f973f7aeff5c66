"""Other settings for the workers of the tests' world, for as long as a test needs them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tests.world import World

_WORKERS = ("worker-orchestration", "worker-followers", "worker-dispatch")


@asynccontextmanager
async def workers_with(world: World, env: Mapping[str, str]) -> AsyncIterator[None]:
    """The world's workers run with these variables inside of the block, and as usual again after it."""
    await asyncio.to_thread(_change, world, env)
    try:
        yield
    finally:
        await asyncio.to_thread(_change, world, {})


def _change(world: World, env: Mapping[str, str]) -> None:
    # Both sets at once would share the work, and a test would not know whose settings it has seen.
    for name in _WORKERS:
        world.stack.end(name)
    world.start_workers(env)
