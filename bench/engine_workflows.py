"""Workflows that do nothing, in the shape of ours: an order, its pages, a child per follower.

Their module imports nothing of ours: the sandbox loads it anew for every workflow, and that is part of the floor.
"""

import asyncio
from dataclasses import dataclass

from temporalio import workflow

QUEUE = "bench-engine"
ROUND_TRIP_QUEUE = "bench-round-trip"
UPDATE_QUEUE = "bench-update"
PAGE = 500


@dataclass(frozen=True, slots=True)
class Pages:
    """How many followers an order has; `window` bounds the children that a page is starting at once, 0: no bound."""

    followers: int
    window: int = 0


@workflow.defn
class RoundTrip:
    @workflow.run
    async def run(self) -> None:
        return None


@workflow.defn
class EmptyOrder:
    @workflow.run
    async def run(self, pages: Pages) -> None:
        own = workflow.info().workflow_id
        sizes = [min(PAGE, pages.followers - first) for first in range(0, pages.followers, PAGE)]
        await asyncio.gather(
            *(
                workflow.execute_child_workflow(EmptyShard.run, Pages(size, pages.window), id=f"{own}/s{number}")
                for number, size in enumerate(sizes)
            )
        )


@workflow.defn
class EmptyShard:
    @workflow.run
    async def run(self, page: Pages) -> None:
        own = workflow.info().workflow_id
        starting = asyncio.Semaphore(page.window or page.followers)

        async def follow(number: int) -> None:
            async with starting:
                child = await workflow.start_child_workflow(EmptyFollower.run, id=f"{own}/{number}")
            await child

        await asyncio.gather(*(follow(number) for number in range(page.followers)))


@workflow.defn
class EmptyFollower:
    @workflow.run
    async def run(self) -> None:
        return None


@workflow.defn
class Updated:
    """What an order's admission is to the engine: started together with an update, which is answered."""

    def __init__(self) -> None:
        self._admitted = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self._admitted)

    @workflow.update
    async def admit(self) -> bool:
        self._admitted = True
        return True
