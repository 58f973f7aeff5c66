"""All that a follower order's explanation is told from, read in the transaction that reads the order."""

from collections.abc import Sequence

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.store.entities import require
from domain.explain import Story
from models import Attempt, AuditEvent, Fill, FollowerOrder, ManagerOrder, OrderLeg, Snapshot


async def read_story(
    session: AsyncSession,
    order: FollowerOrder,
    attempts: Sequence[Attempt],
    fills: Sequence[Fill],
    legs: Sequence[OrderLeg] = (),
) -> Story:
    """By the manager order's index, as events have none by entity: it would cost every writer what few readers need."""
    manager = await require(session, ManagerOrder, "manager_order", order.mo_id)
    snapshot = await session.get(Snapshot, order.mo_id)
    wanted = select(AuditEvent).where(
        AuditEvent.mo_id == order.mo_id, col(AuditEvent.entity_id).in_([order.fo_id, order.mo_id])
    )
    events = (await session.exec(wanted.order_by(col(AuditEvent.event_id)))).all()
    return Story(
        order=order.model_dump(),
        manager=manager.model_dump(),
        snapshot=None if snapshot is None else snapshot.body,
        attempts=[attempt.model_dump() for attempt in attempts],
        fills=[fill.model_dump() for fill in fills],
        events=[event.model_dump() for event in events],
        legs=[leg.model_dump() for leg in legs],
    )
