from collections.abc import AsyncIterator

import pytest

from stack import Stack
from tests.world import World


@pytest.fixture(scope="session")
async def world(stack: Stack) -> AsyncIterator[World]:
    async with World.open(stack) as world:
        yield world
