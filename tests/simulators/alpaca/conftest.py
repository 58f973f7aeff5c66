from collections.abc import AsyncIterator
from decimal import Decimal

import aiohttp
import pytest

from simulators.alpaca import AlpacaSimulator
from tests.simulators.alpaca.client import Client


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A simulator whose time stands still, one funded account, and a plain HTTP client for it."""
    times = [0.0]
    async with AlpacaSimulator(clock=lambda: times[0]) as simulator, aiohttp.ClientSession() as session:
        simulator.add_account("AK1", "s1", cash=Decimal(10_000), positions={"AAPL": Decimal(10)})
        simulator.set_asset("AAPL", Decimal(100))
        yield Client(simulator, session, times)
