"""Lives of subscriptions for tests of the order of events: what is true, when, and a look at it by our own code.

A payment system is a truth that moves with time, whatever anybody hears of it. Events are delivered late, twice and out
of order; each wakes the subscription, which is read through the real biller, `domain.subscription_life` and the real
activity. Only the server's answers and the store are played, the latter with the store's own rules.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from activities.subscriptions import SubscriptionActivities
from adapters.payments.bitcoin_biller import BitcoinBiller
from adapters.payments.btcpay_wire import Asked
from adapters.payments.catalogue import load_catalogue
from adapters.payments.stripe_biller import StripeBiller
from domain.billing import Account, Biller, EntryKind, InvoiceStatus, Outcome, Provider, Subscription
from domain.bitcoin import Payment, PaymentStatus, Reading
from domain.bitcoin_charges import Rules
from domain.entitlements import granting
from domain.errors import Stale
from domain.subscriptions import Look, SubscriptionView, Terms

T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
TENANT, OURS = "00000000-0000-0000-0000-000000000001", "SUB-7K5ZC2QW4N6J3XEXAMPLE2AB4C"
CATALOGUE = load_catalogue()
CORE, PRO = CATALOGUE.current("core"), CATALOGUE.current("pro")
# Seldom, so that it is the events and the subscription's own timers that bring about the looks.
TERMS = Terms(7 * DAY, 30 * DAY, (DAY, 3 * DAY), 3 * DAY, look_again=9 * DAY, look_every=400 * DAY)


class Memory:
    """`SubscriptionStore` without a database: guarded by the version, and each line of an account once."""

    def __init__(self, account: Account) -> None:
        self.held = account

    async def account(self, _tenant_id: str, _subscription_id: str) -> Account:
        return self.held

    async def write(
        self, stored: Account, outcome: Outcome, _happened: Any, _now: datetime, *, actor: str
    ) -> Subscription:
        before, after = self.held.subscription, outcome.subscription
        if stored.subscription.version != before.version:
            raise Stale("subscription", before.subscription_id)
        if replace(after, version=before.version) != before:
            after = replace(after, version=before.version + 1)
        self.held = replace(
            self.held,
            subscription=after,
            plan=CATALOGUE.get(after.plan_id, after.plan_version) or self.held.plan,
            invoices=tuple({i.invoice_id: i for i in (*self.held.invoices, *outcome.invoices)}.values()),
            entries=tuple({e.entry_id: e for e in (*outcome.entries, *self.held.entries)}.values()),
        )
        return after


def summary(account: Account) -> dict[str, Any]:
    """What has to come out the same, whatever the order."""
    held = account.subscription
    rights = granting(account.plan.entitlements, held.status, close_only=held.close_only, overrides={})
    worth = [i for i in account.invoices if i.paid_minor or i.status not in {InvoiceStatus.VOID, InvoiceStatus.EXPIRED}]
    return {
        "rights": rights, "status": held.status, "plan": (held.plan_id, held.plan_version), "over": held.over,
        "close_only": held.close_only, "balance": account.balance_minor,
        "invoices": sorted((i.provider_ref, i.status, i.amount_minor, i.paid_minor, i.refunded_minor) for i in worth),
    }  # fmt: skip


@dataclass
class Life:
    """`times`: when each of its events happens; `ends`: when it is looked at for the last time."""

    provider: Provider
    times: tuple[datetime, ...]
    ends: datetime
    server: Any
    make_biller: Callable[[Any], Biller]
    status: str = ""

    def begin(self) -> Account:
        held = Subscription(
            OURS, TENANT, CORE.plan_id, CORE.version, self.provider, customer_ref="cus_1", created_at=T0 - HOUR
        )
        return Account(held, CORE)


@dataclass(frozen=True)
class Moment:
    """A life as it stands: what we have, what the server was told by us, and our next timer."""

    account: Account
    server: Any
    view: SubscriptionView | None = None

    def key(self) -> tuple[Any, ...]:
        """All that it is: two that are equal go on alike, however they came about."""
        held, server = self.account, tuple((self.server or {}).items())
        lines = tuple((entry.entry_id, entry.amount_minor, entry.at) for entry in held.entries)
        made = tuple((ref, asked.order_id, asked.amount_minor, at, marked) for ref, (asked, at, marked) in server)
        return held.subscription, held.plan.ref, held.invoices, lines, made, self.view and self.view.next


@dataclass
class Runner:
    """Looks that begin alike are made once: a look is a function of where it begins and of the time."""

    life: Life
    known: dict[tuple[int, datetime], Moment] = field(default_factory=dict)
    same: dict[Any, Moment] = field(default_factory=dict)
    kept: list[Moment] = field(default_factory=list)
    looks: int = 0

    async def run(self, deliveries: list[datetime]) -> Account:
        """`deliveries`: when something is heard, in order. Timers go off in between, as in the workflow."""
        at = await self.look(self.begun(), T0)
        for moment in (*deliveries, self.life.ends):
            while at.view is not None and at.view.next is not None and at.view.next.at <= moment:
                at = await self.look(at, at.view.next.at)
            at = await self.look(at, moment)
        return at.account

    def begun(self) -> Moment:
        if not self.kept:
            self.kept.append(Moment(self.life.begin(), self.life.server.empty()))
        return self.kept[0]

    async def look(self, moment: Moment, now: datetime) -> Moment:
        key = (id(moment), now)
        if key not in self.known:
            self.looks += 1
            found = await self._looked(moment, now)
            self.known[key] = self.same.setdefault(found.key(), found)
        return self.known[key]

    async def _looked(self, moment: Moment, now: datetime) -> Moment:
        server = self.life.server.at(now, moment.server)
        store: Any = Memory(moment.account)
        billers = {self.life.provider: self.life.make_biller(server)}
        steps = SubscriptionActivities(store, billers, CATALOGUE, TERMS)
        view = await steps.look_at_subscription(Look(TENANT, OURS, now))
        assert view.heard, view.note
        return Moment(store.held, server.state, view)


# Stripe -------------------------------------------------------------------------------------------------------------


def _listed(rows: list[dict[str, Any]]) -> Any:
    return SimpleNamespace(data=[SimpleNamespace(to_dict=lambda row=row: row) for row in rows], has_more=False)


@dataclass
class StripeServer:
    """`truth`: from when on, which subscription, invoices and charges there are."""

    truth: tuple[tuple[datetime, dict[str, Any]], ...]
    now: datetime = T0
    state: Any = None

    def empty(self) -> None:
        return None

    def at(self, now: datetime, state: Any) -> "StripeServer":
        return StripeServer(self.truth, now, state)

    @property
    def v1(self) -> Any:
        here: dict[str, Any] = {"subscription": None, "invoices": [], "charges": []}
        for since, told in self.truth:
            here = told if since <= self.now else here

        async def retrieve(_ref: str, _params: Any) -> Any:
            return SimpleNamespace(to_dict=lambda: here["subscription"])

        def listing(rows: list[dict[str, Any]]) -> Any:
            async def listed(_params: Any) -> Any:
                return _listed(rows)

            return SimpleNamespace(list_async=listed)

        subscriptions = listing([here["subscription"]] if here["subscription"] else [])
        subscriptions.retrieve_async = retrieve
        return SimpleNamespace(
            subscriptions=subscriptions, invoices=listing(here["invoices"]), charges=listing(here["charges"])
        )


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _invoice(ref: str, made: datetime, start: datetime, end: datetime, amount: int, **more: Any) -> dict[str, Any]:
    plan, paid = more.get("plan", CORE), more.get("paid", True)
    line = {
        "period": {"start": _seconds(start), "end": _seconds(end)},
        "pricing": {"price_details": {"price": plan.ref}},
        "parent": {"subscription_item_details": {"proration": more.get("proration", False)}},
    }
    return {
        "id": ref, "status": "paid" if paid else "open", "amount_due": amount, "amount_paid": amount if paid else 0,
        "currency": "usd", "created": _seconds(made), "billing_reason": more.get("reason", "subscription_cycle"),
        "lines": {"data": [line]}, "status_transitions": {"paid_at": _seconds(more.get("at", made)) if paid else None},
        "payments": {"data": [{"status": "paid", "payment": {"payment_intent": f"pi_{ref}"}}] if paid else []},
    }  # fmt: skip


def stripe_life(*, ends_canceled: bool) -> Life:
    """A trial, its first payment, an upgrade at the portal, a renewal that fails, its late payment, and an end.

    The end: the subscription is over, or a part of the late payment is given back.
    """
    trial_end, up, renewal = T0 + 14 * DAY, T0 + 20 * DAY, datetime(2026, 2, 15, tzinfo=UTC)
    late, last, following = renewal + 9 * DAY, renewal + 12 * DAY, datetime(2026, 3, 15, tzinfo=UTC)

    def subscription(status: str, start: datetime, end: datetime, plan: Any, **more: Any) -> dict[str, Any]:
        period = {"current_period_start": _seconds(start), "current_period_end": _seconds(end)}
        return {
            "id": "sub_1", "customer": "cus_1", "status": status, "metadata": {"subscription_id": OURS},
            "items": {"data": [{"id": "si_1", "price": {"id": plan.ref}, **period}]}, "created": _seconds(T0),
            "billing_cycle_anchor": _seconds(trial_end), "trial_end": _seconds(trial_end), "discounts": [],
            "cancel_at": None, "cancel_at_period_end": False, "ended_at": None, **more,
        }  # fmt: skip

    free = _invoice("in_0", T0, T0, trial_end, 0, reason="subscription_create")
    first = _invoice("in_1", trial_end, trial_end, renewal, CORE.price_minor)
    more = _invoice("in_2", up, up, renewal, 12_000, plan=PRO, reason="subscription_update", proration=True)
    failed = _invoice("in_3", renewal, renewal, following, PRO.price_minor, plan=PRO, paid=False)
    paid = _invoice("in_3", renewal, renewal, following, PRO.price_minor, plan=PRO, at=late)
    back = [{"id": "ch_3", "payment_intent": "pi_in_3", "amount_refunded": 5_000}]
    running = subscription("active", renewal, following, PRO)
    over = subscription("canceled", renewal, following, PRO, ended_at=_seconds(last))
    truth: list[tuple[datetime, dict[str, Any]]] = [
        (T0, {"subscription": subscription("trialing", T0, trial_end, CORE), "invoices": [free]}),
        (trial_end, {"subscription": subscription("active", trial_end, renewal, CORE), "invoices": [first, free]}),
        (up, {"subscription": subscription("active", trial_end, renewal, PRO), "invoices": [more, first, free]}),
        (renewal, {"subscription": subscription("past_due", renewal, following, PRO),
                   "invoices": [failed, more, first, free]}),
        (late, {"subscription": running, "invoices": [paid, more, first, free]}),
        (last, {"subscription": over if ends_canceled else running, "invoices": [paid, more, first, free],
                "charges": [] if ends_canceled else back}),
    ]  # fmt: skip
    whole = tuple((at, {"charges": [], **told}) for at, told in truth)
    return Life(
        Provider.STRIPE, tuple(at for at, _ in whole), last + 14 * DAY, StripeServer(whole),
        lambda server: StripeBiller(server, CATALOGUE),
    )  # fmt: skip


# Bitcoin ------------------------------------------------------------------------------------------------------------

_RATE = Decimal(50_000)


@dataclass
class BtcpayServer:
    """`script`: from when on, which payments to the first invoice there are. `state`: the invoices that we made."""

    script: tuple[tuple[datetime, Mapping[str, tuple[str, PaymentStatus]]], ...]
    now: datetime = T0
    state: Mapping[str, tuple[Asked, datetime, bool]] = field(default_factory=dict)

    def empty(self) -> Mapping[str, Any]:
        return {}

    def at(self, now: datetime, state: Any) -> "BtcpayServer":
        return BtcpayServer(self.script, now, state)

    async def find(self, order_id: str) -> Reading | None:
        made = [ref for ref, (asked, _, _) in self.state.items() if asked.order_id == order_id]
        return self._reading(made[-1]) if made else None

    async def create(self, asked: Asked) -> Reading:
        ref = f"btc_{len(self.state) + 1}"
        self.state = {**self.state, ref: (asked, self.now, False)}
        return self._reading(ref)

    async def read(self, ref: str) -> Reading:
        return self._reading(ref)

    async def mark_invalid(self, ref: str) -> Reading:
        asked, made, _ = self.state[ref]
        self.state = {**self.state, ref: (asked, made, True)}
        return self._reading(ref)

    def _reading(self, ref: str) -> Reading:
        asked, made, marked = self.state[ref]
        paid: Mapping[str, tuple[str, PaymentStatus]] = {}
        for since, told in self.script if ref == "btc_1" else ():
            paid = told if since <= self.now else paid
        payments = tuple(Payment(key, Decimal(value), _RATE, now, T0) for key, (value, now) in paid.items())
        status = "Invalid" if marked else "Expired" if made + HOUR <= self.now else "New"
        return Reading(
            ref, asked.order_id, status, "None", asked.amount_minor, made, made + HOUR, made + 2 * DAY, None, payments
        )


def bitcoin_life() -> Life:
    """Half is paid, settles, the rest and more is paid, settles, the first half is gone again, and is paid late."""
    new, done, gone = PaymentStatus.PROCESSING, PaymentStatus.SETTLED, PaymentStatus.INVALID
    half, more = "0.00049", "0.00069"
    minutes = (10, 40, 50, 120, 180, 300)
    told = (
        {"a": (half, new)},
        {"a": (half, done)},
        {"a": (half, done), "b": (more, new)},
        {"a": (half, done), "b": (more, done)},
        {"a": (half, gone), "b": (more, done)},
        {"a": (half, gone), "b": (more, done), "c": (half, done)},
    )
    script = tuple((T0 + timedelta(minutes=at), paid) for at, paid in zip(minutes, told, strict=True))
    rules = Rules(CATALOGUE, 7 * DAY, DAY)
    return Life(
        Provider.BTCPAY, tuple(at for at, _ in script), T0 + 3 * DAY, BtcpayServer(script),
        lambda server: BitcoinBiller(server, rules),
    )  # fmt: skip


def payments_that_count(account: Account) -> dict[str, int]:
    """By payment, how often it counts."""
    signs = {EntryKind.PAYMENT: 1, EntryKind.REVERSAL: -1}
    found: dict[str, int] = {}
    for entry in account.entries:
        if entry.kind in signs:
            key = str(entry.detail["payment"])
            found[key] = found.get(key, 0) + signs[entry.kind]
    return found
