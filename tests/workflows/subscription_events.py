"""Lives of `tests.billing.lives` played for real: signed events, the inbox, its drain, the workflow, and Postgres.

Only the payment systems are played. They go by steps instead of by the clock, as the workflow here has the real one:
Stripe's lives lie in the past, and a bitcoin invoice is of now.
"""

import asyncio
import json
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from adapters.payments.bitcoin_biller import BitcoinBiller
from adapters.payments.btcpay_hooks import SIGNATURE as BTCPAY_SIGNATURE
from adapters.payments.btcpay_hooks import BtcpayHooks
from adapters.payments.btcpay_wire import Asked, PullPayment
from adapters.payments.hooks import HookReader, PaymentHooks
from adapters.payments.stripe_biller import StripeBiller
from adapters.payments.stripe_hooks import SIGNATURE as STRIPE_SIGNATURE
from adapters.payments.stripe_hooks import StripeHooks
from adapters.store.database import Database
from adapters.store.inbox import Inbox
from adapters.store.subscriptions import SubscriptionStore
from domain.billing import Account, Invoice, Outcome, Provider, Refund
from domain.bitcoin import Payment, Reading
from domain.bitcoin_charges import Rules
from domain.ids import refund_id, subscription_id
from domain.payment_events import EventState, TakenEvent
from domain.subscriptions import CheckoutWish, RefundWish
from temporal import ids
from temporal.payment_events import Drain
from temporal.subscriptions import Subscriptions
from tests.adapters.payments.hooks import btcpay_event, btcpay_signature, raw, stripe_event, stripe_signature
from tests.billing.lives import CATALOGUE, DAY, HOUR, OURS, T0, BtcpayServer, Life, StripeServer, summary

TOLERANCE = timedelta(minutes=5)
SECRET = "whsec_of_the_test"
GIVEN_BACK = 700
LAST = 5  # the step of the sixth event
_RATE = Decimal(50_000)


def _moved(value: Any, seconds: int) -> Any:
    """The same with all its times later: they are the only numbers of that size."""
    if isinstance(value, dict):
        return {name: _moved(one, seconds) for name, one in value.items()}
    if isinstance(value, list):
        return [_moved(one, seconds) for one in value]
    return value + seconds if isinstance(value, int) and value > 1_000_000_000 else value


class Cards:
    """Stripe with a life of this subscription's own. `made` are the refunds that it was asked to create."""

    def __init__(self, life: Life, ours: str, tag: str) -> None:
        shift = int((datetime.now(UTC) - DAY - life.times[LAST]).total_seconds())
        self.refs = {"sub_1": f"sub_{tag}", "cus_1": f"cus_{tag}", "in_": f"in_{tag}_", OURS: ours}
        self.truth = [_moved(json.loads(self._named(json.dumps(told))), shift) for _, told in life.server.truth]
        self.paid_ref, self.step, self.made = f"in_{tag}_1", 0, list[dict[str, Any]]()
        self.biller = StripeBiller(self, CATALOGUE)  # type: ignore[arg-type]

    def _named(self, text: str) -> str:
        for theirs, own in self.refs.items():
            text = text.replace(f'"{theirs}' if theirs == "in_" else theirs, f'"{own}' if theirs == "in_" else own)
        return text.replace('"pi_in_', f'"pi_{self.refs["in_"]}')

    def event(self, number: int, now: datetime) -> dict[str, Any]:
        """Some name us, some the subscription there only, which nobody knows before it was read, some the customer."""
        sub, cus, ours = self.refs["sub_1"], self.refs["cus_1"], self.refs[OURS]
        abouts: list[tuple[str, dict[str, Any]]] = [
            ("customer.subscription.created", {"id": sub, "customer": cus, "metadata": {"subscription_id": ours}}),
            ("invoice.paid", {"id": self.paid_ref, "subscription": sub}),
            ("customer.subscription.updated", {"id": sub, "customer": cus}),
            ("invoice.payment_failed", {"id": f"{self.refs['in_']}3", "subscription": sub}),
            ("invoice.paid", {"id": f"{self.refs['in_']}3", "customer": cus}),
            ("charge.refunded", {"id": f"ch_{cus}", "customer": cus}),
        ]
        kind, about = abouts[number]
        return stripe_event(now, kind, about=about)

    @property
    def v1(self) -> Any:
        told = self.truth[self.step]
        back = [
            {"id": f"ch_{r['id']}", "payment_intent": r["payment_intent"], "amount_refunded": r["amount"]}
            for r in self.made
        ]
        played = StripeServer(((T0, {**told, "charges": [*told["charges"], *back]}),)).v1

        async def invoice(ref: str, _params: Any) -> Any:
            found = next(each for each in told["invoices"] if each["id"] == ref)
            return SimpleNamespace(to_dict=lambda: found)

        async def listed(params: Any) -> Any:
            mine = [r for r in self.made if r["payment_intent"] == params["payment_intent"]]
            return SimpleNamespace(data=[SimpleNamespace(to_dict=lambda row=row: row) for row in mine])

        async def create(wanted: dict[str, Any], _options: Any) -> Any:
            done = {**wanted, "id": f"re_{len(self.made) + 1}_{self.refs['sub_1']}", "status": "succeeded"}
            self.made.append(done)
            return SimpleNamespace(to_dict=lambda: done)

        played.invoices.retrieve_async = invoice
        played.refunds = SimpleNamespace(list_async=listed, create_async=create)
        return played


class Coins(BtcpayServer):
    """BTCPay Server; every refund that it is asked for is another one, as there are no keys there."""

    def __init__(self, life: Life, ours: str, tag: str) -> None:
        super().__init__(life.server.script)
        self.ours, self.tag, self.paid_ref, self.step, self.made = ours, tag, f"btc_{tag}_1", 0, list[Any]()
        self.biller = BitcoinBiller(self, Rules(CATALOGUE, 7 * DAY, DAY))  # type: ignore[arg-type]

    def event(self, number: int, now: datetime) -> dict[str, Any]:
        kinds = (
            "InvoiceReceivedPayment", "InvoicePaymentSettled", "InvoiceReceivedPayment", "InvoicePaymentSettled",
            "InvoiceInvalid", "InvoiceSettled",
        )  # fmt: skip
        return btcpay_event(now, kinds[number], invoiceId=self.paid_ref, metadata={"subscription_id": self.ours})

    async def create(self, asked: Asked) -> Reading:
        ref = f"btc_{self.tag}_{len(self.state) + 1}"
        self.state = {**self.state, ref: (asked, datetime.now(UTC), False)}
        return self._reading(ref)

    async def refund(self, ref: str, name: str, amount_minor: int, _text: str) -> PullPayment:
        self.made.append((ref, name, amount_minor))
        pull = f"pull_{self.tag}_{len(self.made)}"
        return PullPayment(pull, name, f"https://btcpay.example/{pull}")

    async def paid_out_minor(self, _ref: str) -> int:
        return 0

    def _reading(self, ref: str) -> Reading:
        asked, made, marked = self.state[ref]
        paid = self.script[self.step][1] if ref == self.paid_ref else {}
        payments = tuple(Payment(key, Decimal(value), _RATE, now, made) for key, (value, now) in paid.items())
        expired = ref == self.paid_ref and self.step >= 3
        status = "Invalid" if marked else "Expired" if expired else "New"
        return Reading(
            ref, asked.order_id, status, "None", asked.amount_minor, made, made + HOUR, made + 2 * DAY, None, payments
        )


class ByLife:
    """The biller of each subscription's own payment system."""

    def __init__(self, provider: Provider, servers: dict[str, Cards | Coins]) -> None:
        self.provider, self._servers = provider, servers

    async def refresh(self, account: Account, now: datetime) -> Outcome:
        return await self._of(account).refresh(account, now)

    async def refund(self, account: Account, invoice: Invoice, refund: Refund, now: datetime) -> Refund:
        return await self._of(account).refund(account, invoice, refund, now)

    def _of(self, account: Account) -> StripeBiller | BitcoinBiller:
        return self._servers[account.subscription.subscription_id].biller


class NotingInbox(Inbox):
    """Whoever waits for an event to be done hears of it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.over: dict[str, EventState] = {}

    async def end(self, event: TakenEvent, state: EventState, now: datetime, note: str | None = None) -> None:
        await super().end(event, state, now, note)
        assert event.event_id not in self.over  # else two had it at once
        self.over[event.event_id] = state


@dataclass
class Stage:
    client: Client
    database: Database
    servers: dict[str, Cards | Coins] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store, self.inbox = SubscriptionStore(self.database, CATALOGUE), NotingInbox(self.database)
        readers: dict[Provider, HookReader] = {
            Provider.STRIPE: StripeHooks(SECRET, tolerance=TOLERANCE, live=False),
            Provider.BTCPAY: BtcpayHooks(SECRET, "STORE", tolerance=TOLERANCE),
        }
        self.hooks = PaymentHooks(readers, self.inbox)
        self.engine = Subscriptions(self.client, timeout_s=20)

    async def begin(self, life: Life, tenant: str) -> "Played":
        """Checked out, and nothing read yet."""
        ours, tag, now = subscription_id(tenant, "k"), uuid.uuid4().hex[:12], datetime.now(UTC)
        server = (Cards if life.provider is Provider.STRIPE else Coins)(life, ours, tag)
        wish = CheckoutWish(tenant, ours, "user:ann", "k", life.provider, "core", 1, "ann@example.com", "s", "c")
        opened = await self.store.open(wish, now)
        held = replace(opened.subscription, customer_ref=f"cus_{tag}")
        await self.store.write(opened, Outcome(held), (), now, actor="user:ann")
        self.servers[ours] = server
        return Played(self, life.provider, tenant, ours, server)


@dataclass
class Played:
    """One life, and how what is told of it comes to us."""

    stage: Stage
    provider: Provider
    tenant: str
    ours: str
    server: Cards | Coins
    waiting: list[str] = field(default_factory=list)
    sent: dict[int, dict[str, Any]] = field(default_factory=dict)
    repeats: int = 0
    ahead: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        self.drain = Drain(self.stage.inbox, self.stage.engine.tell, now=lambda: datetime.now(UTC) + self.ahead)

    async def in_order(self) -> Account:
        """Everything is heard once, when it happens, and read before the next; and one refund is asked for once."""
        for number in range(LAST + 1):
            await self._happens(number)
            await self._flush()
            await self.settled()
        assert await self.give_back()
        return await self.account()

    async def shuffled(self, order: Sequence[int], dice: random.Random) -> Account:
        for number in order:
            await self._happens(min(LAST, number + dice.choice((0, 0, 0, 1, 2))), number)
            if dice.random() < 0.35:
                await self.hear(dice.choice([*self.sent]))
            if dice.random() < 0.4:
                await self.give_back()
            if dice.random() < 0.6:
                await self._wake(dice.sample(self.waiting, dice.randint(0, len(self.waiting))))
            if dice.random() < 0.5:
                await self.settled()
        await asyncio.gather(self._flush(), self.give_back())
        await self.settled()
        assert all(await asyncio.gather(self.give_back(), self.give_back()))
        return await self.account()

    async def _happens(self, step: int, number: int | None = None) -> None:
        """The truth is at `step` at least when the event is heard: it may have moved on meanwhile."""
        self.server.step = max(self.server.step, step)
        await self.hear(step if number is None else number)

    async def hear(self, number: int) -> None:
        """As the API takes it; what is sent again is signed again."""
        now = datetime.now(UTC)
        again = number in self.sent
        event = self.sent.setdefault(number, self.server.event(number, now))
        if again and self.provider is Provider.BTCPAY:
            event = {**event, "deliveryId": uuid.uuid4().hex, "isRedelivery": True}
        body = raw(event)
        if self.provider is Provider.STRIPE:
            headers = {STRIPE_SIGNATURE: stripe_signature(body, now, SECRET)}
        else:
            headers = {BTCPAY_SIGNATURE: btcpay_signature(body, SECRET)}
        done = await self.stage.hooks.receive(self.provider, headers, body, now)
        assert done.new is not again
        assert done.state is EventState.PENDING
        self.repeats += again
        if done.new:
            self.waiting.append(done.event.event_id)

    async def _wake(self, events: Sequence[str]) -> None:
        """Two replicas look at once. What was nobody's the last time is looked at again a minute later."""
        self.ahead += timedelta(minutes=1)
        for event_id in events:
            await asyncio.gather(self.drain.wake(event_id), self.drain.wake(event_id))
        self.waiting = [event_id for event_id in self.waiting if event_id not in self.stage.inbox.over]

    async def _flush(self) -> None:
        async with asyncio.timeout(20):
            while self.waiting:
                await self._wake(self.waiting)
                if self.waiting:
                    await self.settled()

    async def give_back(self) -> bool:
        """Our own wish, always the same; False where its invoice is not known, or not paid, to us yet."""
        invoices = (await self.account()).invoices
        invoice = next((one for one in invoices if one.provider_ref == self.server.paid_ref), None)
        if invoice is None:
            return False
        refund = refund_id(self.tenant, "r")
        wish = RefundWish(self.tenant, self.ours, "user:ann", "r", refund, invoice.invoice_id, GIVEN_BACK, "a mistake")
        try:
            await self.stage.engine.refund(wish)
        except WorkflowUpdateFailedError as error:
            if getattr(error.cause, "type", None) != "invalid-input":
                raise
            return False
        return True

    async def settled(self) -> None:
        """Until the last signal has been followed by a look that is over."""
        async with asyncio.timeout(20):
            while not await self._looked():
                await asyncio.sleep(0.02)

    async def _looked(self) -> bool:
        try:
            told = await self.stage.client.get_workflow_handle(ids.subscription(self.ours)).fetch_history()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return True  # nobody has been told yet
        if told.events[-1].HasField("workflow_execution_completed_event_attributes"):
            return True
        signals = [e.event_id for e in told.events if e.HasField("workflow_execution_signaled_event_attributes")]
        looks = {
            e.event_id
            for e in told.events
            if e.activity_task_scheduled_event_attributes.activity_type.name == "look_at_subscription"
        }
        done = [e.activity_task_completed_event_attributes.scheduled_event_id for e in told.events]
        return not signals or any(one > signals[-1] for one in done if one in looks)

    async def account(self) -> Account:
        return await self.stage.store.account(self.tenant, self.ours)

    def result(self, account: Account) -> dict[str, Any]:
        """`summary`, with the names there that all lives of one kind share."""
        found = summary(account)
        prefix = self.server.paid_ref.removesuffix("1")
        found["invoices"] = [(ref.removeprefix(prefix), *rest) for ref, *rest in found["invoices"]]
        return found
