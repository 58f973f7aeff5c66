"""Alpaca in the contract suite; the model for other venues."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.brokers.alpaca import AlpacaBroker
from domain.ports import BrokerCredentials
from simulators.alpaca import AlpacaSimulator
from tests.adapters.brokers.venue import CASH, HELD, SECRET, TIMEOUT_MS, Clock, Venue


@asynccontextmanager
async def open_alpaca(*, dedupes: bool = True, rate_limit: int = 1_000_000) -> AsyncIterator[Venue]:
    clock = Clock()
    async with AlpacaSimulator(rate_limit=rate_limit, dedupes=dedupes, clock=clock) as simulator:

        def enrol(key_id: str) -> BrokerCredentials:
            simulator.add_account(key_id, SECRET, positions={"AAPL": HELD}, cash=CASH)
            return BrokerCredentials(f"cred-{key_id}", key_id, SECRET)

        broker = AlpacaBroker(
            live_url=simulator.url,
            paper_url=simulator.url,
            data_url=simulator.url,
            timeout_ms=TIMEOUT_MS,
            clock=clock,
        )
        wrong = BrokerCredentials("cred-AK1", "AK1", SECRET + "-wrong")
        try:
            yield Venue(simulator, broker, clock, enrol, wrong, "AAPL", "MSFT", held_as="AAPL")
        finally:
            await broker.close()
