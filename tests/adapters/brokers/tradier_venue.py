"""Tradier in the contract suite."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.brokers.tradier import TradierBroker
from domain.ports import BrokerCredentials
from simulators.tradier import TradierSimulator
from simulators.tradier.simulator import CLIENT_ID, CLIENT_SECRET
from tests.adapters.brokers.venue import CASH, HELD, SECRET, TIMEOUT_MS, Clock, Venue

_TIMEOUT_MS = 3 * TIMEOUT_MS  # many at once on a busy machine: httpx takes its time


@asynccontextmanager
async def open_tradier(*, rate_limit: int = 1_000_000) -> AsyncIterator[Venue]:
    clock = Clock()
    async with TradierSimulator(rate_limit=rate_limit, clock=clock) as simulator:

        def enrol(key_id: str) -> BrokerCredentials:
            token = f"{SECRET}-{key_id}"  # a token is one user's: a stream tells of all accounts that share it
            simulator.add_account(key_id, token, positions={"AAPL": HELD}, cash=CASH)
            return BrokerCredentials(f"cred-{key_id}", key_id, token)

        broker = TradierBroker(
            live_url=simulator.url,
            paper_url=simulator.url,
            live_stream_url=simulator.stream_url,
            paper_stream_url=simulator.stream_url,
            timeout_ms=_TIMEOUT_MS,
            silence_ms=5_000,
            clock=clock,
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
        )
        wrong = BrokerCredentials("cred-AK1", "AK1", SECRET + "-wrong")
        try:
            yield Venue(simulator, broker, clock, enrol, wrong, "AAPL", "MSFT", held_as="AAPL", unknown_ref="1")
        finally:
            await broker.close()
