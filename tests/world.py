"""The whole product on real servers, with the other sides simulated: what the integration tests act on."""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from temporalio.client import Client, WorkflowHandle

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.registry import Registry
from domain import ids, intents, signing
from domain.enrolment import BrokerAccount, NewFollower, NewVault
from domain.mirroring import Admission, MirrorOrderInput
from domain.requests import Once
from domain.sizing import Mode
from models import Instrument, Price
from settings import Settings
from simulators.alpaca import AlpacaSimulator
from simulators.coinbase import CoinbaseSimulator
from simulators.market import Simulator
from simulators.market.behaviour import Behaviour as Trading
from simulators.receiver import Behaviour, Receiver
from simulators.tradier import TradierSimulator
from stack import Stack
from temporal import ids as workflow_ids
from temporal.client import connect
from temporal.orders import MirrorOrders
from temporal.reconciliations import Reconciler
from tests.adapters.brokers.coinbase_canned import new_key
from workflows.mirror_order import MirrorResult

COINS = {"BTC-USD": Decimal(61_000), "ETH-USD": Decimal(3_000)}
PRICES = {"AAPL": Decimal(200), "MSFT": Decimal(400), "NVDA": Decimal(150)}
ACTOR = "user:test"


@dataclass
class World:
    """`stack` runs the servers and two worker processes; receiver and broker live in the test's own process."""

    stack: Stack
    settings: Settings
    receiver: Receiver
    alpaca: AlpacaSimulator
    coinbase: CoinbaseSimulator
    tradier: TradierSimulator
    database: Database
    registry: Registry
    temporal: Client
    orders: MirrorOrders
    tenant_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    _once: int = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, stack: Stack, env: Mapping[str, str] | None = None) -> AsyncIterator[Self]:
        settings = stack.settings()
        async with AsyncExitStack() as closing:
            receiver = await closing.enter_async_context(Receiver())
            alpaca = await closing.enter_async_context(AlpacaSimulator(rate_limit=100_000))
            coinbase = await closing.enter_async_context(CoinbaseSimulator(rate_limit=100_000))
            tradier = await closing.enter_async_context(TradierSimulator(rate_limit=100_000))
            database = Database(settings.postgres)
            closing.push_async_callback(database.close)
            temporal = await connect(settings.temporal)
            registry = Registry(database, SecretBox(settings.secrets.master_keys.get_secret_value()))
            world = cls(
                stack, settings, receiver, alpaca, coinbase, tradier, database, registry, temporal,
                MirrorOrders(temporal, admit_timeout_s=20),
            )  # fmt: skip
            await world._prepare()
            await asyncio.to_thread(world.start_workers, env or {})
            yield world

    def start_workers(self, env: Mapping[str, str]) -> None:
        for role in ("orchestration", "followers", "dispatch"):
            self.start_worker(f"worker-{role}", role, env)

    def start_worker(self, name: str, role: str, env: Mapping[str, str]) -> None:
        # A request is given up after 2 s instead of 10: the tests of silent receivers wait for nothing else.
        quick = {"VANTA_WEBHOOKS__TIMEOUT_MS": "2000", "VANTA_ALPACA__TIMEOUT_MS": "2000"}
        queue = {"VANTA_INGEST__QUEUE_PATH": str(self.queue), "VANTA_INGEST__EVERY_S": "1"}
        # Schedules keep quiet: a run would take the look-ups that a test has told the broker to break.
        quiet = {"VANTA_RECONCILE__EVERY_S": "86400", "VANTA_RECONCILE__STALE_AFTER_S": "1"}
        quiet |= {"VANTA_RECONCILE__LOOK_EVERY_S": "1"}
        # So would a stream's look back. Tests of streams have workers of their own.
        quiet |= {"VANTA_STREAMS__ENABLED": "false"}
        coins = {"VANTA_COINBASE__PAPER_URL": self.coinbase.url, "VANTA_COINBASE__TIMEOUT_MS": "2000"}
        coins |= {"VANTA_COINBASE__PAPER_STREAM_URL": self.coinbase.stream_url}
        venue = {"VANTA_ALPACA__PAPER_URL": self.alpaca.url, "VANTA_ALPACA__DATA_URL": self.alpaca.url}
        shares = {"VANTA_TRADIER__PAPER_URL": self.tradier.url, "VANTA_TRADIER__TIMEOUT_MS": "2000"}
        shares |= {"VANTA_TRADIER__PAPER_STREAM_URL": self.tradier.stream_url}
        mine = {**venue, **shares, **coins, **quick, **queue, **quiet, **env}
        self.stack.start_process(name, [sys.executable, "-m", "cli", "worker", "--role", role], mine)

    @property
    def queue(self) -> Path:
        """The OS's queue file; the workers read it every second once it is there."""
        return self.stack.layout.data / "autotrade_queue.json"

    async def _prepare(self) -> None:
        await self.registry.ensure_tenant(self.tenant_id, "Test tenant", actor=ACTOR)
        for symbol, price in PRICES.items():
            await self.registry.upsert_instrument(
                Instrument(symbol=symbol, venue="XNAS", rail="fiat", qty_step=Decimal(1), fine_step=Decimal("0.000001"),
                           min_qty=Decimal(0), min_notional=Decimal(0), tradable=True)
            )  # fmt: skip
            await self.registry.upsert_price(Price(symbol=symbol, price=price, asof=datetime.now(UTC), source="test"))
            self.alpaca.set_asset(symbol, price)
            self.tradier.set_instrument(symbol, price)

        for symbol, price in COINS.items():
            # The account's choice between whole units and fractions is for shares; coins have one step.
            await self.registry.upsert_instrument(
                Instrument(symbol=symbol, venue="coinbase", rail="crypto", qty_step=Decimal(1),
                           fine_step=Decimal("0.00000001"), min_qty=Decimal(0), min_notional=Decimal(1), tradable=True)
            )  # fmt: skip
            await self.registry.upsert_price(Price(symbol=symbol, price=price, asof=datetime.now(UTC), source="test"))
            self.coinbase.set_product(symbol, price)

    def once(self, route: str = "test") -> Once:
        self._once += 1
        return Once(route, f"{route}-{self.tenant_id}-{self._once}", "f" * 64)

    async def vault(self, **risk_profile: Any) -> str:
        """Where the same order may be placed again at once, unless its risk profile says otherwise."""
        profile = {"duplicate_window_s": 0, **risk_profile}
        new = NewVault(label="Test vault", rails=("fiat", "crypto"), nav_usd=Decimal(1_000_000), risk_profile=profile)
        return (await self.registry.create_vault(self.tenant_id, new, actor=ACTOR, once=self.once())).row.vault_id

    async def webhook(self, vault_id: str, behaviour: Behaviour | None = None, **terms: Any) -> str:
        """A webhook follower; the id is known to the receiver with its key and behaviour."""
        follower_id = f"F_{uuid.uuid4().hex[:12]}"
        new = NewFollower(
            vault_id=vault_id, label=follower_id, follower_id=follower_id,
            webhook_url=self.receiver.url(follower_id), **terms,
        )  # fmt: skip
        made = await self.registry.create_follower(self.tenant_id, new, actor=ACTOR, once=self.once())
        assert made.signing_secret is not None
        self.receiver.expect(follower_id, key=signing.parse_secret(made.signing_secret), behaviour=behaviour)
        return follower_id

    async def bridged(
        self, vault_id: str, behaviour: Trading | None = None, venue: str = "alpaca", **terms: Any
    ) -> str:
        """A follower with an account at a venue's simulator; its id is also the account's key."""
        follower_id = f"F_{uuid.uuid4().hex[:12]}"
        secret = f"secret-of-{follower_id}"
        self.simulator(venue).add_account(
            follower_id, secret, behaviour=behaviour, shorting_enabled=bool(terms.get("allow_short"))
        )
        account = BrokerAccount(venue, follower_id, secret)
        new = NewFollower(vault_id=vault_id, label=follower_id, follower_id=follower_id, equities=account, **terms)
        await self.registry.create_follower(self.tenant_id, new, actor=ACTOR, once=self.once())
        return follower_id

    def simulator(self, venue: str) -> Simulator:
        return {"alpaca": self.alpaca, "tradier": self.tradier, "coinbase": self.coinbase}[venue]

    async def coiner(self, vault_id: str, behaviour: Trading | None = None, **terms: Any) -> str:
        """A follower with a Coinbase account at the simulator; its id is also the name of the account's key."""
        follower_id = f"F_{uuid.uuid4().hex[:12]}"
        private, _ = new_key()
        self.coinbase.add_account(follower_id, private, behaviour=behaviour, **terms.pop("account", {}))
        account = BrokerAccount("coinbase", follower_id, private, convert=terms.pop("convert", False))
        new = NewFollower(vault_id=vault_id, label=follower_id, follower_id=follower_id, crypto=account, **terms)
        await self.registry.create_follower(self.tenant_id, new, actor=ACTOR, once=self.once())
        return follower_id

    async def shadow(self, vault_id: str) -> str:
        follower_id = f"F_{uuid.uuid4().hex[:12]}"
        new = NewFollower(vault_id=vault_id, label=follower_id, follower_id=follower_id, mode=Mode.SHADOW)
        await self.registry.create_follower(self.tenant_id, new, actor=ACTOR, once=self.once())
        return follower_id

    async def submit(self, vault_id: str, side: str, qty: int | str, symbol: str = "AAPL", **more: Any) -> Admission:
        """What the API does with a POST, short of HTTP."""
        admission = await self.resubmit_ended(vault_id, side, qty, symbol, **more)
        assert admission is not None
        return admission

    async def resubmit_ended(
        self, vault_id: str, side: str, qty: int | str, symbol: str = "AAPL", **more: Any
    ) -> Admission | None:
        """None where the key's order has ended."""
        key = more.pop("key", str(uuid.uuid4()))
        raw = {"vault_id": vault_id, "symbol": symbol, "side": side, "qty": str(qty), **more}
        intent, meta = intents.parse_intent(raw)
        mo_id = ids.manager_order_id(self.tenant_id, key)
        order = MirrorOrderInput(self.tenant_id, mo_id, intent, meta, intents.fingerprint(raw), "api", ACTOR)
        return await self.orders.admit(order)

    async def settled(self, mo_id: str, timeout_s: int = 150) -> MirrorResult:
        """The order's result; fails the test when it is not there in time."""
        handle = self.temporal.get_workflow_handle(workflow_ids.mirror(mo_id), result_type=MirrorResult)
        async with asyncio.timeout(timeout_s):
            result: MirrorResult = await handle.result()
        return result

    async def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        async with self.database.cursor(self.tenant_id) as cursor:
            cursor.filtered = False
            await cursor.execute(statement, values)
            return await cursor.fetchall()

    async def follower_orders(self, mo_id: str) -> dict[str, dict[str, Any]]:
        found = await self.rows("SELECT * FROM follower_orders WHERE mo_id = %s", mo_id)
        return {row["follower_id"]: row for row in found}

    async def until(self, mo_id: str, holds: Callable[[dict[str, dict[str, Any]]], bool], timeout_s: int = 90) -> None:
        """Wait for a condition on the order's follower orders."""
        async with asyncio.timeout(timeout_s):
            while not ((orders := await self.follower_orders(mo_id)) and holds(orders)):
                await asyncio.sleep(0.05)

    async def holding(self, holder_id: str, symbol: str = "AAPL") -> Decimal:
        found = await self.rows("SELECT qty FROM positions WHERE holder_id = %s AND symbol = %s", holder_id, symbol)
        return found[0]["qty"] if found else Decimal(0)

    async def start_reconciling(self, vault_id: str) -> WorkflowHandle[Any, Any]:
        self._once += 1
        run_id = ids.reconciliation_id(vault_id, str(self._once))
        reconciler = Reconciler(self.temporal, timeout_s=20)
        await reconciler.start(self.tenant_id, vault_id, run_id, actor=ACTOR)
        return self.temporal.get_workflow_handle(workflow_ids.reconcile_now(vault_id, run_id))

    async def reconcile(self, vault_id: str) -> list[dict[str, Any]]:
        """A whole run of the vault; the drifts that it found."""
        run = await self.start_reconciling(vault_id)
        async with asyncio.timeout(60):
            await run.result()
        run_id = run.id.rpartition("/")[2]
        return await self.rows("SELECT * FROM drifts WHERE run_id = %s ORDER BY follower_id", run_id)
