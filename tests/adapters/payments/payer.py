"""A customer who pays in bitcoin, and what looks after his subscription, without a workflow and a database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from adapters.payments.bitcoin_biller import BitcoinBiller
from adapters.payments.btcpay import Btcpay
from adapters.payments.btcpay_wire import Checkout
from adapters.payments.catalogue import load_catalogue
from domain.billing import (
    Account,
    CheckoutOrder,
    CheckoutPage,
    Invoice,
    InvoiceStatus,
    Outcome,
    Provider,
    Subscription,
)
from domain.bitcoin_charges import Rules
from domain.plans import Plan
from domain.subscription_life import advance
from domain.subscriptions import Terms
from simulators.btcpay import BtcpayServer

START = datetime(2026, 1, 10, 12, tzinfo=UTC)
KEY = "greenfield-key-of-the-store"
CATALOGUE = load_catalogue()
CORE, PRO = CATALOGUE.current("core"), CATALOGUE.current("pro")
RULES = Rules(CATALOGUE, timedelta(days=7), timedelta(days=1))
TERMS = Terms(timedelta(days=7), timedelta(days=30), (), timedelta(days=3), timedelta(minutes=5), timedelta(days=1))
THANKS = "https://app.example/thanks"


def order(*, trial: bool = False) -> CheckoutOrder:
    return CheckoutOrder(CORE, "payer@example.com", THANKS, "https://app.example/back", trial=trial)


class Payer:
    """`account` is what would be stored; `notes` what would be told."""

    def __init__(self, server: BtcpayServer, biller: BitcoinBiller) -> None:
        self.server = server
        self.biller = biller
        held = Subscription("SUB-1", "T-1", CORE.plan_id, CORE.version, Provider.BTCPAY, created_at=self.now)
        self.account = Account(held, CORE)
        self.notes: list[str] = []

    @property
    def now(self) -> datetime:
        return self.server.clock.now()

    @property
    def held(self) -> Subscription:
        return self.account.subscription

    @property
    def newest(self) -> Invoice:
        return self.account.invoices[-1]

    @property
    def open(self) -> list[Invoice]:
        return [invoice for invoice in self.account.invoices if invoice.status is InvoiceStatus.OPEN]

    async def checkout(self, *, trial: bool = False) -> CheckoutPage:
        outcome, page = await self.biller.checkout(self.account, order(trial=trial), self.now)
        self.take(outcome)
        return page

    async def look(self) -> None:
        self.take(await self.biller.refresh(self.account, self.now))

    async def pass_time(self, span: timedelta) -> None:
        self.server.advance(span)
        await self.look()

    async def subscribe(self) -> None:
        """The first period is paid, and confirmed."""
        await self.checkout()
        await self.settle()

    async def settle(self, share: str = "1") -> None:
        """Pay the newest invoice, and wait for its confirmation."""
        self.pay(share)
        self.server.mine()
        await self.look()

    async def change(self, plan: Plan, key: str = "k") -> None:
        self.take(await self.biller.change(self.account, plan, self.now, key))

    def pay(self, share: str = "1", invoice: Invoice | None = None, *, rbf: bool = False) -> str:
        return self.server.pay((invoice or self.newest).provider_ref or "", part=Decimal(share), rbf=rbf)

    def take(self, outcome: Outcome) -> None:
        """As the store does: by id, a line once, and read back in the order of their times."""
        before = self.held
        known = {invoice.invoice_id: invoice for invoice in self.account.invoices}
        known |= {invoice.invoice_id: invoice for invoice in outcome.invoices}
        lines = {line.entry_id: line for line in (*outcome.entries, *self.account.entries)}
        self.notes += outcome.notes
        self.account = _planned(replace(self.account, subscription=outcome.subscription))
        held, _ = advance(self.account, TERMS, self.now, heard=True, before=before)
        self.account = replace(
            _planned(replace(self.account, subscription=held)),
            invoices=tuple(sorted(known.values(), key=lambda each: (each.created_at or START, each.number))),
            entries=tuple(sorted(lines.values(), key=lambda line: (line.at, line.entry_id))),
        )


def _planned(account: Account) -> Account:
    held = account.subscription
    plan = CATALOGUE.get(held.plan_id, held.plan_version) or CORE
    scheduled = CATALOGUE.get(held.scheduled_plan_id or "", held.scheduled_plan_version or 0)
    return replace(account, plan=plan, scheduled=scheduled)


@asynccontextmanager
async def paying(policy: str = "MediumSpeed", *, timeout_ms: int = 5_000) -> AsyncIterator[Payer]:
    async with BtcpayServer(api_key=KEY, start=START) as server:
        checkout = Checkout(policy, expiration_minutes=60, monitoring_minutes=1_440)
        btcpay = Btcpay(server.url, KEY, server.store_id, checkout, timeout_ms=timeout_ms, max_connections=2)
        biller = BitcoinBiller(btcpay, RULES)
        try:
            yield Payer(server, biller)
        finally:
            await biller.close()
