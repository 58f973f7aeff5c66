from collections.abc import AsyncIterator
from decimal import Decimal

import aiohttp
import pytest

from simulators.tradier import TradierSimulator
from tests.simulators.tradier.client import TOKEN, Client


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with TradierSimulator(rate_limit=1_000, heartbeat_s=0.05) as simulator, aiohttp.ClientSession() as http:
        simulator.set_instrument("AAPL", Decimal(100))
        simulator.add_account(
            "VA1", TOKEN, cash=Decimal(10_000), positions={"MSFT": Decimal(10), "TSLA": Decimal(-10)},
            shorting_enabled=True,
        )  # fmt: skip
        simulator.add_account("VA2", "token-2", cash=Decimal(10_000), positions={"MSFT": Decimal(1)})
        yield Client(simulator, http)
