from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from adapters.payments.catalogue import load_catalogue
from adapters.payments.stripe_biller import StripeBiller
from adapters.payments.stripe_client import StripeApi
from adapters.payments.stripe_plans import sync_plans
from domain.billing import Account, CheckoutOrder, Invoice, InvoiceKind, Outcome, Provider, Subscription
from domain.plans import Plan
from simulators.stripe.process import StripeProcess

CATALOGUE = load_catalogue()
PAYS, FAILS, DECLINED = "4242424242424242", "4000000000000341", "4000000000000002"
DAY = timedelta(days=1)


@pytest.fixture(scope="session")
async def stripe_server() -> AsyncIterator[StripeProcess]:
    async with StripeProcess() as server:
        api = api_of(server)
        await sync_plans(api, CATALOGUE)
        await api.close()
        yield server


def api_of(server: StripeProcess, **changes: Any) -> StripeApi:
    return StripeApi("sk_test_simulated", **{"url": server.url, "timeout_ms": 10_000, "max_connections": 4, **changes})


class Payer:
    """A subscription of its own, as the product would hold it, and who pays for it."""

    _numbers = count()

    def __init__(self, server: StripeProcess, biller: StripeBiller, api: StripeApi, plan: Plan) -> None:
        self.server, self.biller, self.api = server, biller, api
        number = next(self._numbers)
        held = Subscription(
            f"SUB-{number}-{uuid4().hex[:8]}", str(uuid4()), plan.plan_id, plan.version, Provider.STRIPE
        )
        self.account = Account(held, plan)
        self.email = f"payer{number}@example.com"

    @property
    def held(self) -> Subscription:
        return self.account.subscription

    async def now(self) -> datetime:
        return datetime.fromtimestamp((await self.server.tell("clock"))["now"], UTC)

    def take(self, outcome: Outcome) -> Outcome:
        """What the store would do."""
        held = outcome.subscription
        plan = CATALOGUE.get(held.plan_id, held.plan_version)
        assert plan is not None
        scheduled = None
        if held.scheduled_plan_id is not None:
            scheduled = CATALOGUE.get(held.scheduled_plan_id, held.scheduled_plan_version or 0)
        known = {i.invoice_id: i for i in (*self.account.invoices, *outcome.invoices)}
        self.account = replace(
            self.account, subscription=held, plan=plan, scheduled=scheduled, invoices=tuple(known.values())
        )
        return outcome

    async def page(self, *, trial: bool = False, coupon: str | None = None) -> str:
        order = CheckoutOrder(
            self.account.plan, self.email, "https://app.example/ok", "https://app.example/no", coupon, trial
        )
        outcome, page = await self.biller.checkout(self.account, order, await self.now())
        self.take(outcome)
        return page.url

    async def subscribe(self, *, trial: bool = False, coupon: str | None = None, card: str = PAYS) -> None:
        page = await self.page(trial=trial, coupon=coupon)
        assert await self.server.submit(page, {"do": "pay", "card": card}) == 303
        await self.refresh()

    async def refresh(self) -> Outcome:
        return self.take(await self.biller.refresh(self.account, await self.now()))

    async def renew(self) -> None:
        """Move the simulator on to the end of the period."""
        await self.server.tell("renew", subscription=self.held.provider_ref)

    def invoices(self, kind: InvoiceKind) -> list[Invoice]:
        found = [i for i in self.account.invoices if i.kind is kind]
        return sorted(found, key=lambda i: (i.period_start or datetime.min.replace(tzinfo=UTC), i.invoice_id))


@pytest.fixture(scope="session")
async def stripe_api(stripe_server: StripeProcess) -> AsyncIterator[StripeApi]:
    api = api_of(stripe_server)
    yield api
    await api.close()


@pytest.fixture
def payer(stripe_server: StripeProcess, stripe_api: StripeApi) -> Payer:
    return Payer(stripe_server, StripeBiller(stripe_api, CATALOGUE), stripe_api, CATALOGUE.current("core"))
