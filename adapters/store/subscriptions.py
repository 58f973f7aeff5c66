"""Subscriptions, invoices, accounts and refunds: read whole, and written whole with their audit events.

One workflow writes to a subscription, and says which version it saw; all that a reading of a payment system changes is
one transaction. What did not change leaves no event, so the same may be read and written any number of times.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import case, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

import models
from adapters.store import subscription_rows as rows
from adapters.store.database import Database
from adapters.store.entities import require
from adapters.store.overrides import active_overrides
from domain.billing import OVER, Account, Invoice, Outcome, Refund, Subscription
from domain.entitlements import from_stored, granting
from domain.errors import Conflict, InvalidInput, NotFound, Stale
from domain.plans import Catalogue, Plan
from domain.requests import Slice
from domain.subscription_life import Happening
from domain.subscriptions import CheckoutWish

_ENTITY = "subscription"


class SubscriptionStore:
    """NotFound is raised for another tenant's ids as for unknown ones. Times are the caller's, not the database's."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database = database
        self._catalogue = catalogue

    async def open(self, wish: CheckoutWish, now: datetime) -> Account:
        """The subscription that the wish is for, as `incomplete` where it is new; once per id.

        Raises Conflict where the tenant has another one that is not over, and InvalidInput for an unknown plan.
        """
        plan = self._catalogue.get(wish.plan_id, wish.plan_version)
        if plan is None:
            raise InvalidInput("plan_id", f"there is no version {wish.plan_version} of plan {wish.plan_id[:40]!r}")
        new = Subscription(
            wish.subscription_id, wish.tenant_id, plan.plan_id, plan.version, wish.provider, coupon=wish.coupon,
            created_at=now,
        )  # fmt: skip
        async with self._database.session(wish.tenant_id) as session:
            model = models.Subscription
            given = {**rows.of_subscription(new), "entitlements": {}, "updated_at": now}
            made = insert(model).values(given).on_conflict_do_nothing().returning(col(model.subscription_id))
            if await session.scalar(made) is not None:
                await rows.tell(session, new, "created", wish.actor, {})
            elif await session.get(model, wish.subscription_id) is None:
                raise Conflict("already-subscribed", "the tenant has another subscription, which is not over", _ENTITY)
            return await self._account(session, wish.subscription_id)

    async def account(self, tenant_id: str, subscription_id: str) -> Account:
        """All that is known of a subscription. Raises NotFound, also for a plan that the catalogue has lost."""
        async with self._database.session(tenant_id) as session:
            return await self._account(session, subscription_id)

    async def live(self, tenant_id: str) -> Subscription | None:
        """The tenant's one that is not over, else the latest; None where it never had one."""
        model = models.Subscription
        over = case((col(model.status).in_(OVER), 1), else_=0)
        wanted = select(model).order_by(over, col(model.created_at).desc(), col(model.subscription_id)).limit(1)
        async with self._database.session(tenant_id) as session:
            row = (await session.exec(wanted)).first()
        return None if row is None else rows.to_subscription(row)

    async def had_trial(self, tenant_id: str, but: str) -> bool:
        """Whether any subscription of the tenant other than `but` has had a trial: each tenant has one."""
        model = models.Subscription
        wanted = select(model.subscription_id).where(
            col(model.trial_end).is_not(None), col(model.subscription_id) != but
        )
        async with self._database.session(tenant_id) as session:
            return (await session.exec(wanted.limit(1))).first() is not None

    async def invoices(self, tenant_id: str, part: Slice) -> Sequence[Invoice]:
        """Of all the tenant's subscriptions, the latest first."""
        model = models.BillingInvoice
        made, key = col(model.created_at), col(model.invoice_id)
        wanted = select(model)
        if part.since is not None:
            wanted = wanted.where(made >= part.since)
        if part.after is not None:
            wanted = wanted.where(tuple_(made, key) < part.after)
        async with self._database.session(tenant_id) as session:
            found = (await session.exec(wanted.order_by(made.desc(), key.desc()).limit(part.limit))).all()
        return [rows.to_invoice(row) for row in found]

    async def invoice(self, tenant_id: str, invoice_id: str) -> Invoice:
        """Raises NotFound."""
        async with self._database.session(tenant_id) as session:
            return rows.to_invoice(await require(session, models.BillingInvoice, "invoice", invoice_id))

    async def refunds(self, tenant_id: str, invoice_id: str) -> Sequence[Refund]:
        """Of one invoice, the oldest first. Raises NotFound for the invoice."""
        model = models.BillingRefund
        wanted = select(model).where(model.invoice_id == invoice_id)
        async with self._database.session(tenant_id) as session:
            await require(session, models.BillingInvoice, "invoice", invoice_id)
            found = (await session.exec(wanted.order_by(col(model.created_at), col(model.refund_id)))).all()
        return [rows.to_refund(row) for row in found]

    async def write(
        self, stored: Account, outcome: Outcome, happened: Sequence[Happening], now: datetime, *, actor: str
    ) -> Subscription:
        """Bring what is stored in line with `outcome`; the subscription as it then stands.

        `stored` is what the outcome was made from. Raises Stale where that is not what is stored any more.
        """
        before, after = stored.subscription, outcome.subscription
        async with self._database.session(before.tenant_id) as session:
            row = await self._locked(session, before)
            for invoice in rows.changed(stored.invoices, outcome.invoices):
                await rows.put_invoice(session, after, invoice, now, actor)
            for entry in rows.changed(stored.entries, outcome.entries):
                await rows.put_entry(session, after, entry, actor)
            for refund in rows.changed(stored.refunds, outcome.refunds):
                await rows.put_refund(session, after, refund, now, actor)
            entitlements = await self._granted(session, after, row, now)
            if replace(after, version=before.version) == before and entitlements == row.entitlements:
                return before
            after = replace(after, version=before.version + 1)
            rows.update(row, after, entitlements, now)
            session.add(row)
            more = {"entitlements": entitlements, "notes": list(outcome.notes)}
            for each in happened or (Happening("entitled"),):
                await rows.tell(session, after, each.action, actor, {**each.detail, **more})
            return after

    async def _granted(
        self, session: AsyncSession, held: Subscription, row: models.Subscription, now: datetime
    ) -> dict[str, Any]:
        """A plan that the catalogue has lost grants what it was last known to grant."""
        plan = self._plan_of(held)
        whole = from_stored(row.entitlements) if plan is None else plan.entitlements
        overrides = await active_overrides(session, held.tenant_id, now)
        return granting(whole, held.status, close_only=held.close_only, overrides=overrides).to_json()

    async def _locked(self, session: AsyncSession, before: Subscription) -> models.Subscription:
        row = await session.get(models.Subscription, before.subscription_id, with_for_update=True)
        if row is None:
            raise NotFound(_ENTITY, before.subscription_id)
        if row.version != before.version:
            raise Stale(_ENTITY, before.subscription_id)
        return row

    async def _account(self, session: AsyncSession, subscription_id: str) -> Account:
        held = rows.to_subscription(await require(session, models.Subscription, _ENTITY, subscription_id))
        plan, scheduled = self._plan_of(held), None
        if plan is None:
            raise NotFound("plan", f"{held.plan_id} v{held.plan_version}")
        if held.scheduled_plan_id is not None:
            scheduled = self._catalogue.get(held.scheduled_plan_id, held.scheduled_plan_version or 1)
        invoices, entries, refunds = await rows.parts(session, subscription_id)
        return Account(held, plan, scheduled, invoices, entries, refunds)

    def _plan_of(self, held: Subscription) -> Plan | None:
        return self._catalogue.get(held.plan_id, held.plan_version)
