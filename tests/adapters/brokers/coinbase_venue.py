"""Coinbase in the contract suite."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

from adapters.brokers.coinbase import CoinbaseBroker
from domain.ports import BrokerCredentials
from simulators.coinbase import CoinbaseSimulator
from tests.adapters.brokers.coinbase_canned import PRIVATE, PUBLIC, new_key
from tests.adapters.brokers.venue import CASH, HELD, TIMEOUT_MS, Clock, Venue


@asynccontextmanager
async def open_coinbase(*, rate_limit: int = 1_000_000) -> AsyncIterator[Venue]:
    clock = Clock()
    async with CoinbaseSimulator(rate_limit=rate_limit, clock=clock) as simulator:

        def enrol(key_id: str) -> BrokerCredentials:
            # The venue keeps the public half alone.
            simulator.add_account(key_id, PUBLIC, positions={"BTC": HELD}, cash=CASH, wallets={"USDC": Decimal(0)})
            return BrokerCredentials(f"cred-{key_id}", key_id, PRIVATE)

        broker = CoinbaseBroker(
            live_url=simulator.url,
            paper_url=simulator.url,
            live_stream_url=simulator.stream_url,
            paper_stream_url=simulator.stream_url,
            timeout_ms=TIMEOUT_MS,
            clock=clock,
        )
        wrong = BrokerCredentials("cred-AK1", "AK1", new_key()[0])
        try:
            yield Venue(simulator, broker, clock, enrol, wrong, "BTC-USD", "ETH-USD", held_as="BTC")
        finally:
            await broker.close()
