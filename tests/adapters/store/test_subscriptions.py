"""Subscriptions on the real Postgres: whole, once, and with an event for each change and for nothing else."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from adapters.payments.catalogue import load_catalogue
from adapters.store.database import Database
from adapters.store.overrides import NewOverride, OverrideStore
from adapters.store.subscriptions import SubscriptionStore
from domain import ids
from domain.billing import (
    Account,
    Entry,
    EntryKind,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Outcome,
    Provider,
    Refund,
    RefundStatus,
    Subscription,
    SubscriptionState,
)
from domain.entitlements import reading_only
from domain.errors import Conflict, InvalidInput, NotFound, Stale
from domain.requests import Slice
from domain.subscription_life import happened
from domain.subscriptions import CheckoutWish
from settings import Settings
from tests.adapters.store.conftest import ACTOR
from tests.conftest import owner_dsn

CATALOGUE = load_catalogue()
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
_S = SubscriptionState


@pytest.fixture
def store(database: Database) -> SubscriptionStore:
    return SubscriptionStore(database, CATALOGUE)


def wish(tenant: str, key: str = "k", **changed: Any) -> CheckoutWish:
    subscription_id = ids.subscription_id(tenant, key)
    made = CheckoutWish(tenant, subscription_id, ACTOR, key, Provider.STRIPE, "core", 1, "a@example.com", "s", "c")
    return replace(made, **changed)


def active(stored: Account, **changed: Any) -> Subscription:
    held = replace(
        stored.subscription, status=_S.ACTIVE, customer_ref=f"cus_{stored.subscription.subscription_id}",
        provider_ref=f"sub_{stored.subscription.subscription_id}", anchor_at=NOW, period_start=NOW,
        renewal_at=NOW + 31 * DAY, paid_through=NOW + 31 * DAY,
    )  # fmt: skip
    return replace(held, **changed)


def invoice(held: Subscription, **changed: Any) -> Invoice:
    made = Invoice(
        ids.invoice_id(held.subscription_id, "first"), held.subscription_id, held.provider, InvoiceKind.PERIOD,
        InvoiceStatus.PAID, 4_900, provider_ref=f"in_{held.subscription_id}", plan_id="core", plan_version=1,
        paid_minor=4_900, period_start=NOW, period_end=NOW + 31 * DAY, created_at=NOW, paid_at=NOW,
    )  # fmt: skip
    return replace(made, **changed)


async def write(store: SubscriptionStore, stored: Account, after: Subscription, **more: Any) -> Subscription:
    return await store.write(
        stored, Outcome(after, **more), happened(stored.subscription, after), NOW, actor="system:billing"
    )


async def events(database: Database, tenant: str) -> list[tuple[str, dict[str, Any]]]:
    async with database.cursor(tenant) as cursor:
        await cursor.execute(
            "SELECT action, payload FROM audit_events WHERE is_mine(tenant_id) AND entity = 'subscription' "
            "ORDER BY event_id"
        )
        return [(row["action"], row["payload"]) for row in await cursor.fetchall()]


async def outboxed(settings: Settings, tenant: str) -> int:
    """How many of its events the outbox names; nobody but the relay and the owner may look."""
    async with await psycopg.AsyncConnection.connect(owner_dsn(settings)) as connection:
        found = await connection.execute(
            "SELECT count(*) FROM audit_events a JOIN outbox o ON a.event_id = ANY(o.event_ids) "
            "WHERE a.tenant_id = %s AND a.entity = 'subscription'",
            [tenant],
        )
        row = await found.fetchone()
        return 0 if row is None else int(row[0])


async def entitlements(database: Database, tenant: str) -> dict[str, Any]:
    async with database.session(tenant) as session:
        connection = await session.connection()
        found = await connection.execute(
            text("SELECT entitlements FROM subscriptions WHERE tenant_id = :t"), {"t": tenant}
        )
        return dict(found.scalar_one())


async def test_what_is_written_is_read_back_with_an_event_for_all_that_changed(
    store: SubscriptionStore, database: Database, settings: Settings, tenant: str
):
    stored = await store.open(wish(tenant), NOW)
    assert (stored.subscription.status, stored.subscription.created_at) == (_S.INCOMPLETE, NOW)
    assert stored == await store.account(tenant, stored.subscription.subscription_id)
    held = active(stored, reminded=("past_due/1",), coupon="TEN")
    bill, entry = invoice(held), Entry("payment/1", EntryKind.PAYMENT, 4_900, NOW, invoice(held).invoice_id, {"a": "b"})
    after = await write(store, stored, held, invoices=(bill,), entries=(entry,), notes=("paid",))
    assert after == replace(held, version=1)
    again = await store.account(tenant, held.subscription_id)
    assert again == Account(after, CATALOGUE.current("core"), None, (bill,), (entry,))
    found = await events(database, tenant)
    assert [action for action, _ in found] == ["created", "invoice_paid", "entry_payment", "activated", "reminded"]
    told = found[3][1]
    assert (told["from"], told["to"], told["status"], told["notes"]) == ("incomplete", "active", "active", ["paid"])
    assert (
        told["entitlements"] == await entitlements(database, tenant) == CATALOGUE.current("core").entitlements.to_json()
    )
    assert await outboxed(settings, tenant) == len(found)


async def test_what_did_not_change_leaves_no_trace(store: SubscriptionStore, database: Database, tenant: str):
    stored = await store.open(wish(tenant), NOW)
    held = active(stored)
    bill, entry = invoice(held), Entry("payment/1", EntryKind.PAYMENT, 4_900, NOW, invoice(held).invoice_id)
    await write(store, stored, held, invoices=(bill,), entries=(entry,))
    before = await events(database, tenant)
    again = await store.account(tenant, held.subscription_id)
    assert await write(store, again, again.subscription, invoices=(bill,), entries=(entry,)) == again.subscription
    assert (await store.open(wish(tenant), NOW + DAY)).subscription == again.subscription
    # The same line once more, from one who has not heard of it: one payment.
    forgetful = replace(again, entries=())
    await write(store, forgetful, again.subscription, entries=(replace(entry, amount_minor=1),))
    assert (await store.account(tenant, held.subscription_id)).entries == (entry,)
    assert await events(database, tenant) == before


async def test_whoever_saw_an_older_version_writes_nothing(store: SubscriptionStore, database: Database, tenant: str):
    stored = await store.open(wish(tenant), NOW)
    await write(store, stored, active(stored))
    before = await events(database, tenant)
    with pytest.raises(Stale):
        await write(store, stored, active(stored, plan_id="pro"), invoices=(invoice(stored.subscription),))
    assert await events(database, tenant) == before
    assert (await store.account(tenant, stored.subscription.subscription_id)).invoices == ()


async def test_of_two_who_write_at_once_one_is_told_to_look_again(store: SubscriptionStore, tenant: str):
    stored = await store.open(wish(tenant), NOW)
    done = await asyncio.gather(
        *(write(store, stored, active(stored, coupon=name)) for name in "ab"), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in done) == ["Stale", "Subscription"]


async def test_a_tenant_has_one_at_a_time(store: SubscriptionStore, tenant: str):
    assert await store.live(tenant) is None
    first = await store.open(wish(tenant), NOW)
    with pytest.raises(Conflict) as error:
        await store.open(wish(tenant, "other"), NOW)
    assert error.value.code == "already-subscribed"
    over = await write(store, first, replace(first.subscription, status=_S.CANCELED, ended_at=NOW, trial_end=NOW))
    assert await store.live(tenant) == over
    second = await store.open(wish(tenant, "other"), NOW + DAY)
    assert await store.live(tenant) == second.subscription
    assert await store.had_trial(tenant, second.subscription.subscription_id)
    assert not await store.had_trial(tenant, over.subscription_id)
    with pytest.raises(InvalidInput):
        await store.open(wish(tenant, "third", plan_version=99), NOW)
    with pytest.raises(NotFound):
        await store.account(tenant, "SUB-x")


async def test_rights_follow_state_close_only_and_overrides(store: SubscriptionStore, database: Database, tenant: str):
    stored = await store.open(wish(tenant), NOW)
    core = CATALOGUE.current("core").entitlements
    assert await entitlements(database, tenant) == {}
    states = [
        (active(stored), core),
        (active(stored, status=_S.PAST_DUE), core),
        (active(stored, status=_S.PAST_DUE, close_only=True), reading_only(core)),
        (active(stored, plan_id="pro"), CATALOGUE.current("pro").entitlements),
        (active(stored, status=_S.PAUSED, close_only=True), reading_only(core)),
    ]
    for held, granted in states:
        now = await store.account(tenant, held.subscription_id)
        await write(store, now, held)
        assert await entitlements(database, tenant) == granted.to_json()
    again = await store.account(tenant, stored.subscription.subscription_id)
    await write(store, again, active(stored))
    favour = NewOverride("vaults", 77, "a favour")
    await OverrideStore(database, CATALOGUE).set(tenant, favour, actor=ACTOR, now=NOW)
    now = await store.account(tenant, stored.subscription.subscription_id)
    assert now.subscription.version > again.subscription.version
    await write(store, now, now.subscription)
    assert (await entitlements(database, tenant))["vaults"] == 77


async def test_invoices_are_kept_up_and_listed_the_latest_first(store: SubscriptionStore, tenant: str):
    stored = await store.open(wish(tenant), NOW)
    held = active(stored)
    bills = [
        invoice(held, invoice_id=ids.invoice_id(held.subscription_id, str(n)), provider_ref=f"in_{uuid4().hex}",
                created_at=NOW + n * DAY, status=InvoiceStatus.OPEN, paid_minor=0, paid_at=None)
        for n in range(3)
    ]  # fmt: skip
    await write(store, stored, held, invoices=tuple(bills))
    first = await store.invoices(tenant, Slice(2))
    assert first == [bills[2], bills[1]]
    assert first[-1].created_at is not None
    after = (first[-1].created_at, first[-1].invoice_id)
    assert await store.invoices(tenant, Slice(2, after=after)) == [bills[0]]
    assert await store.invoices(tenant, Slice(9, since=NOW + 2 * DAY)) == [bills[2]]
    now = await store.account(tenant, held.subscription_id)
    paid = replace(bills[0], status=InvoiceStatus.PAID, paid_minor=4_900, paid_at=NOW)
    await write(store, now, now.subscription, invoices=(paid,))
    assert await store.invoice(tenant, paid.invoice_id) == paid


async def test_refunds_are_kept_up_and_their_claim_is_in_no_event(
    store: SubscriptionStore, database: Database, tenant: str
):
    stored = await store.open(wish(tenant), NOW)
    bill = invoice(active(stored))
    refund = Refund(ids.refund_id(tenant, "r"), bill.invoice_id, 900, RefundStatus.PENDING, "x", ACTOR, created_at=NOW)
    await write(store, stored, active(stored), invoices=(bill,), refunds=(refund,))
    claim = replace(refund, status=RefundStatus.CLAIMABLE, provider_ref="p", claim_url="https://pay.example/claim")
    now = await store.account(tenant, stored.subscription.subscription_id)
    await write(store, now, now.subscription, invoices=(replace(bill, refunded_minor=900),), refunds=(claim,))
    assert await store.refunds(tenant, bill.invoice_id) == [claim]
    assert (await store.account(tenant, stored.subscription.subscription_id)).refunds == (claim,)
    found = await events(database, tenant)
    assert [action for action, _ in found if action.startswith("refund")] == ["refund_pending", "refund_claimable"]
    assert "pay.example" not in str(found)


async def test_what_is_another_subscriptions_is_not_written_over(store: SubscriptionStore, registry: Any, tenant: str):
    other = str(uuid4())
    await registry.ensure_tenant(other, "Other", actor=ACTOR)
    theirs, ours = await store.open(wish(other), NOW), await store.open(wish(tenant), NOW)
    bill = invoice(active(theirs))
    await write(store, theirs, active(theirs), invoices=(bill,))
    stolen = replace(bill, amount_minor=1, provider_ref="in_x")
    with pytest.raises((InvalidInput, ProgrammingError)):  # the query layer's no, or row-level security's
        await write(store, ours, active(ours), invoices=(stolen,))
    assert await store.invoice(other, bill.invoice_id) == bill
    assert (await store.account(tenant, ours.subscription.subscription_id)).subscription.status is _S.INCOMPLETE
