"""Where payment systems and we disagree: a row as long as it lasts, and an event when it begins and when it ends."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import tuple_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.store.database import Database
from adapters.store.entities import emit, require
from domain.billing import Provider, SubscriptionState
from domain.billing_comparison import Difference, Settled
from domain.ids import billing_difference_id
from domain.requests import Slice
from domain.subscriptions import ListedSubscription
from models import BillingDifference, Subscription

ACTOR = "system:billing"
_NOBODY = str(UUID(int=0))  # all subscriptions are listed by a function that needs no tenant


class DifferenceStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def listed(self, after: str, most: int) -> list[ListedSubscription]:
        """Of every tenant, by id, those beyond `after`."""
        async with self._database.cursor(_NOBODY) as cursor:
            await cursor.execute("SELECT * FROM all_subscriptions(%s, %s)", [after, most])
            return [
                ListedSubscription(
                    str(row["tenant_id"]), row["subscription_id"], Provider(row["provider"]),
                    SubscriptionState(row["status"]), row["ended_at"],
                )
                for row in await cursor.fetchall()
            ]  # fmt: skip

    async def settle(
        self, tenant_id: str, subscription_id: str, provider: Provider, found: Sequence[Difference], now: datetime
    ) -> Settled:
        """`found` are all that there are of it: what is new is told, and what is not among them has gone."""
        there = {billing_difference_id(subscription_id, d.kind, d.ref): d for d in found}
        async with self._database.session(tenant_id) as session:
            await require(session, Subscription, "subscription", subscription_id)
            known = await self._known(session, subscription_id, list(there))
            new = 0
            for difference_id, difference in there.items():
                row = known.get(difference_id)
                new += row is None or row.resolved_at is not None
                if row is None:
                    row = BillingDifference(
                        difference_id=difference_id, tenant_id=UUID(tenant_id), subscription_id=subscription_id,
                        provider=provider, kind=difference.kind, ref=difference.ref, found_at=now,
                    )  # fmt: skip
                await self._keep(session, row, difference, now)
            gone = [row for key, row in known.items() if key not in there]
            for row in gone:
                row.resolved_at = now
                session.add(row)
                await _tell(session, row, "billing_difference_gone")
        return Settled(len(there), new, len(gone))

    async def page(self, tenant_id: str, part: Slice, *, resolved: bool | None = None) -> Sequence[BillingDifference]:
        """The latest found first; `resolved` None: all."""
        found, key = col(BillingDifference.found_at), col(BillingDifference.difference_id)
        wanted = select(BillingDifference)
        if resolved is not None:
            at = col(BillingDifference.resolved_at)
            wanted = wanted.where(at.is_not(None) if resolved else at.is_(None))
        if part.since is not None:
            wanted = wanted.where(found >= part.since)
        if part.after is not None:
            wanted = wanted.where(tuple_(found, key) < part.after)
        async with self._database.session(tenant_id) as session:
            return (await session.exec(wanted.order_by(found.desc(), key.desc()).limit(part.limit))).all()

    async def _known(
        self, session: AsyncSession, subscription_id: str, wanted: list[str]
    ) -> dict[str, BillingDifference]:
        """What is open of the subscription, and whatever of `wanted` there once was."""
        model = BillingDifference
        lasting = col(model.resolved_at).is_(None) | col(model.difference_id).in_(wanted)
        rows = await session.exec(
            select(model).where(model.subscription_id == subscription_id, lasting).with_for_update()
        )
        return {row.difference_id: row for row in rows}

    async def _keep(self, session: AsyncSession, row: BillingDifference, difference: Difference, now: datetime) -> None:
        ours, theirs = dict(difference.ours), dict(difference.theirs)
        again = row.resolved_at is not None
        news = again or row.found_at == now or (row.ours, row.theirs) != (ours, theirs)
        row.ours, row.theirs, row.seen_at, row.resolved_at = ours, theirs, now, None
        if again:
            row.found_at = now
        session.add(row)
        if news:
            await _tell(session, row, "billing_difference")


async def _tell(session: AsyncSession, row: BillingDifference, action: str) -> None:
    told = {"difference_id": row.difference_id, "provider": row.provider, "kind": row.kind, "ref": row.ref}
    payload = {**told, "ours": row.ours, "theirs": row.theirs}
    await session.flush()
    await emit(session, str(row.tenant_id), "subscription", row.subscription_id, action, ACTOR, payload)
