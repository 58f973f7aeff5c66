from collections.abc import AsyncIterator

import pytest

from tests.adapters.brokers.alpaca_venue import open_alpaca
from tests.adapters.brokers.harness import OPENERS
from tests.adapters.brokers.venue import Venue


@pytest.fixture(params=sorted(OPENERS))
async def venue(request: pytest.FixtureRequest) -> AsyncIterator[Venue]:
    """Every venue in turn, freshly opened."""
    async with OPENERS[request.param]() as opened:
        yield opened


@pytest.fixture
async def alpaca() -> AsyncIterator[Venue]:
    async with open_alpaca() as opened:
        yield opened
