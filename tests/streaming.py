"""Streams of the tests' world: Alpaca's simulator asked over HTTP, and a line that tells what the test lets it tell."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.accounts import Accounts
from activities.stream_line import Means, Patience
from activities.streams import StreamActivities, StreamLimits
from adapters.brokers.alpaca import AlpacaBroker
from adapters.brokers.coinbase import CoinbaseBroker
from adapters.secretbox import SecretBox
from adapters.store.dispatch import DispatchStore
from adapters.store.enrolment import credential_ref
from adapters.store.streams import StreamStore
from domain.errors import VenueUnavailable
from domain.ports import BrokerCredentials, VenueOrder
from domain.streams import StreamAccount, StreamInput
from temporal import ids
from temporal.streams import HeartbeatShards, OrderOwners
from tests.world import COINS, PRICES, World
from workflows.order_stream import OrderStreamWorkflow


@dataclass(frozen=True, slots=True)
class Market:
    """A symbol at a venue, and a buyer's limit below its price, which the market falls under when a test wants it."""

    venue: str
    symbol: str
    qty: int
    limit: Decimal
    price: Decimal


# Far more than a stream takes on a machine that has other things to do, far less than late polls are apart.
POLL_AWAY_S = 8
ALPACA = Market("alpaca", "MSFT", 10, Decimal(395), PRICES["MSFT"])
TRADIER = Market("tradier", "MSFT", 10, Decimal(395), PRICES["MSFT"])
COINBASE = Market("coinbase", "BTC-USD", 1, Decimal(60_000), COINS["BTC-USD"])


class ToldAlpaca(AlpacaBroker):
    """Its stream reports an order when `tell` is called; what is not told is a frame that was dropped."""

    def __init__(self, url: str) -> None:
        super().__init__(live_url=url, paper_url=url, timeout_ms=5_000, max_connections=10)
        self.lines: dict[str, asyncio.Queue[VenueOrder | Exception]] = {}

    async def reports(self, credentials: BrokerCredentials) -> AsyncGenerator[VenueOrder | None, None]:
        frames = self.lines[credentials.key_id] = asyncio.Queue()
        try:
            yield None
            while True:
                frame = await frames.get()
                if isinstance(frame, Exception):
                    raise frame
                yield frame
        finally:
            if self.lines.get(credentials.key_id) is frames:
                del self.lines[credentials.key_id]

    async def connected(self, follower_id: str) -> None:
        async with asyncio.timeout(60):
            while follower_id not in self.lines:
                await asyncio.sleep(0.02)

    async def tell(self, follower_id: str, fo_id: str) -> None:
        report = await self.look_up(BrokerCredentials("test", follower_id, f"secret-of-{follower_id}"), fo_id)
        assert report is not None
        self.lines[follower_id].put_nowait(report)

    def break_line(self, follower_id: str) -> None:
        self.lines[follower_id].put_nowait(VenueUnavailable("no_answer", "cut by the test"))


class _Only(StreamStore):
    """Leaves other tests' accounts alone."""

    followers: frozenset[str] = frozenset()

    async def accounts(self, venue: str) -> list[StreamAccount]:
        mine = {credential_ref(follower, venue) for follower in self.followers}
        return [account for account in await super().accounts(venue) if account.cred_ref in mine]


class Streams:
    """`handle` is the workflow; `listen_to` says whose accounts there are."""

    def __init__(self, handle: WorkflowHandle[OrderStreamWorkflow, None], broker: ToldAlpaca, store: _Only) -> None:
        self.handle, self.broker, self._store = handle, broker, store

    async def listen_to(self, *followers: str) -> None:
        self._store.followers |= set(followers)
        for follower in followers:
            await self.broker.connected(follower)

    async def taken(self, follower: str) -> None:
        """All that the account's line has told is done with: it has been cut after that, and stands again."""
        before = self.broker.lines[follower]
        self.broker.break_line(follower)
        async with asyncio.timeout(60):
            while self.broker.lines.get(follower, before) is before:
                await asyncio.sleep(0.02)


async def placed(world: World, streams: Streams | None, at: Market = ALPACA) -> tuple[str, str, str]:
    """A follower, a manager order and the follower's order, open at its broker until the market falls."""
    vault = await world.vault()
    follower = await (world.coiner(vault) if at is COINBASE else world.bridged(vault, venue=at.venue))
    if streams is not None:
        await streams.listen_to(follower)
    terms = {"type": "limit", "limit_price": str(at.limit), "tif": "gtc"}
    mo_id = (await world.submit(vault, "buy", at.qty, at.symbol, **terms)).mo_id
    await world.until(mo_id, lambda o: follower in o and o[follower]["state"] == "ack")
    return follower, mo_id, (await world.follower_orders(mo_id))[follower]["fo_id"]


async def filled_between_polls(world: World, mo_id: str, follower: str, fo_id: str) -> None:
    """Filled by a falling market that nothing but the test's own stream can tell the order's owner of in time."""
    await between_polls(world, mo_id, follower)
    fall(world, fo_id)
    assert (await world.follower_orders(mo_id))[follower]["state"] == "ack"


async def between_polls(world: World, mo_id: str, follower: str) -> None:
    """Return when the order's owner will not ask for it within POLL_AWAY_S."""
    owner = world.temporal.get_workflow_handle(ids.follower_order(mo_id, follower))
    async with asyncio.timeout(90):
        while not await polls_late(owner):
            await asyncio.sleep(0.05)


def fall(world: World, fo_id: str, at: Market = ALPACA) -> None:
    """The market falls below the order's limit for a moment."""
    simulator = world.simulator(at.venue)
    simulator.set_instrument(at.symbol, at.limit - 1)
    [order] = simulator.orders(fo_id)
    assert order["statuses"] == ["filled"]
    simulator.set_instrument(at.symbol, at.price)


async def polls_late(owner: WorkflowHandle[Any, Any]) -> bool:
    try:
        pending = (await owner.describe()).raw_description.pending_activities
    except RPCError:  # it is started a moment after the wave
        return False
    due = [a.next_attempt_schedule_time.ToDatetime(UTC) for a in pending if a.HasField("next_attempt_schedule_time")]
    return bool(due) and min(due) - datetime.now(UTC) > timedelta(seconds=POLL_AWAY_S)


@asynccontextmanager
async def streams_of(world: World, *, accounts_per_shard: int = 50) -> AsyncIterator[Streams]:
    """The venue's streams, served within the test's own process for as long as the block lasts."""
    broker, store = ToldAlpaca(world.alpaca.url), _Only(world.database)
    async with _serving(world, broker, store, accounts_per_shard) as handle:
        yield Streams(handle, broker, store)


@asynccontextmanager
async def listening(world: World, broker: CoinbaseBroker, follower: str) -> AsyncIterator[None]:
    """A real adapter's stream of one account, served within the test's own process."""
    store = _Only(world.database)
    store.followers = frozenset({follower})
    async with _serving(world, broker, store, 50):
        yield


@asynccontextmanager
async def _serving(
    world: World, broker: AlpacaBroker | CoinbaseBroker, store: _Only, accounts_per_shard: int
) -> AsyncIterator[WorkflowHandle[OrderStreamWorkflow, None]]:
    venue = broker.capabilities.venue
    accounts = Accounts({venue: broker}, SecretBox(world.settings.secrets.master_keys.get_secret_value()))
    means = Means(
        store, DispatchStore(world.database), accounts, OrderOwners(world.temporal), asyncio.Semaphore(5),
        Patience(first=timedelta(milliseconds=50)),
    )  # fmt: skip
    limits = StreamLimits(accounts_per_shard, timedelta(milliseconds=200), timedelta(seconds=2))
    streaming = StreamActivities(store, means, HeartbeatShards(world.temporal), limits)
    queue = f"vanta-streams-{uuid.uuid4().hex}"
    async with Worker(
        world.temporal, task_queue=queue, workflows=[OrderStreamWorkflow],
        activities=[streaming.watch_streams, streaming.stream_orders], graceful_shutdown_timeout=timedelta(seconds=5),
    ):  # fmt: skip
        handle = await world.temporal.start_workflow(
            OrderStreamWorkflow.run, StreamInput(venue), id=f"streams/{venue}-{uuid.uuid4().hex}", task_queue=queue
        )
        try:
            yield handle
        finally:
            await handle.terminate()
            await broker.close()
