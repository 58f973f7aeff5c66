"""What a tenant's subscription grants it, read from its row."""

from sqlalchemy import case
from sqlmodel import col, select

from adapters.store.database import Database
from domain.entitlements import GRANTING, Entitlements, Granted, granted
from models import Subscription


class EntitlementStore:
    """`without`: what a tenant has that never subscribed."""

    def __init__(self, database: Database, without: Entitlements) -> None:
        self._database = database
        self._without = without

    async def of(self, tenant_id: str) -> Granted:
        """One that is in force before all others, then the one that was paid for longest."""
        row = Subscription
        in_force = case((col(row.status).in_(GRANTING), 0), else_=1)
        latest = col(row.renewal_at).desc().nulls_last()
        wanted = select(row).order_by(in_force, latest, col(row.subscription_id))
        async with self._database.session(tenant_id) as session:
            found = (await session.exec(wanted)).all()
        return granted([(each.plan_id, each.status, each.entitlements) for each in found], self._without)
