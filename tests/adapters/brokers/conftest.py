from collections.abc import AsyncIterator

import pytest

from tests.adapters.brokers.harness import OPENERS, AlpacaVenue, Venue, open_alpaca


@pytest.fixture(params=sorted(OPENERS))
async def venue(request: pytest.FixtureRequest) -> AsyncIterator[Venue]:
    """Every venue in turn, freshly opened."""
    async with OPENERS[request.param]() as opened:
        yield opened


@pytest.fixture
async def alpaca() -> AsyncIterator[AlpacaVenue]:
    async with open_alpaca() as opened:
        yield opened
