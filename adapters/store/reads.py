"""What happened to orders, for those who ask: lists newest first, and single orders with all that belongs to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast
from uuid import UUID

from sqlalchemy import func, tuple_
from sqlalchemy.orm import defer
from sqlmodel import SQLModel, col, select
from sqlmodel.sql.expression import SelectOfScalar

from adapters.store.dag import read_dag
from adapters.store.database import Database
from adapters.store.entities import require
from adapters.store.stories import read_story
from domain.errors import InvalidInput, NotFound
from domain.explain import Story
from domain.requests import Slice
from models import Attempt, AuditEvent, Fill, FollowerOrder, Instrument, ManagerOrder, NavMark, OrderLeg, Vault

_T = TypeVar("_T", bound=SQLModel)


@dataclass(frozen=True, slots=True)
class ManagerOrderView:
    """`counts` are the follower orders by state."""

    order: ManagerOrder
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class FollowerOrderView:
    """`story` is all that its explanation is told from; `legs` are those of a routed order, by plan."""

    order: FollowerOrder
    attempts: Sequence[Attempt]
    fills: Sequence[Fill]
    legs: Sequence[OrderLeg]
    story: Story


class Reads:
    """Each method sees one tenant's rows only; NotFound is raised for another's as for none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def manager_orders(self, tenant_id: str, part: Slice, **filters: str | None) -> Sequence[ManagerOrder]:
        """`filters` are columns and their values; None filters nothing."""
        wanted = filtered(select(ManagerOrder), ManagerOrder, tenant_id, filters)
        page = newest(wanted, part, col(ManagerOrder.created_at), col(ManagerOrder.mo_id))
        return await self._all(tenant_id, page)

    async def manager_order(self, tenant_id: str, mo_id: str) -> ManagerOrderView:
        state, count = col(FollowerOrder.state), func.count()
        counted = select(state, count).where(FollowerOrder.mo_id == mo_id).group_by(state).order_by(state)
        async with self._database.session(tenant_id) as session:
            order = await require(session, ManagerOrder, "manager_order", mo_id)
            return ManagerOrderView(order, dict((await session.exec(counted)).all()))

    async def find_manager_order(self, tenant_id: str, mo_id: str) -> ManagerOrder | None:
        async with self._database.session(tenant_id) as session:
            return await session.get(ManagerOrder, mo_id)

    async def before_placing(self, tenant_id: str, mo_id: str, vault_id: str, symbol: str) -> ManagerOrder | None:
        """The order if an earlier request placed it. Raises NotFound for its vault, InvalidInput for its symbol."""
        async with self._database.session(tenant_id) as session:
            stored = await session.get(ManagerOrder, mo_id)
            if stored is None:
                await require(session, Vault, "vault", vault_id)
                if await session.get(Instrument, symbol) is None:
                    raise InvalidInput("symbol", f"{symbol} is not a known instrument")
            return stored

    async def follower_orders(self, tenant_id: str, part: Slice, **filters: str | None) -> Sequence[FollowerOrder]:
        """Without `trace` and `audit`, which are large and have no place in a list."""
        light = (defer(cast("Any", FollowerOrder.trace)), defer(cast("Any", FollowerOrder.audit)))
        wanted = filtered(select(FollowerOrder).options(*light), FollowerOrder, tenant_id, filters)
        page = newest(wanted, part, col(FollowerOrder.created_at), col(FollowerOrder.fo_id))
        return await self._all(tenant_id, page)

    async def follower_order(self, tenant_id: str, fo_id: str, *, follower_id: str | None = None) -> FollowerOrderView:
        """`follower_id`: whose it must be; another's is as unknown as one that there is not."""
        attempts = select(Attempt).where(Attempt.fo_id == fo_id).order_by(col(Attempt.attempt_no))
        fills = select(Fill).where(Fill.fo_id == fo_id).order_by(col(Fill.ts), col(Fill.fill_id))
        async with self._database.session(tenant_id) as session:
            order = await require(session, FollowerOrder, "follower_order", fo_id)
            if follower_id not in (None, order.follower_id):
                raise NotFound("follower_order", fo_id)
            tries, filled = (await session.exec(attempts)).all(), (await session.exec(fills)).all()
            legs = (await session.exec(_legs(fo_id))).all()
            story = await read_story(session, order, tries, filled, legs)
            return FollowerOrderView(order, tries, filled, legs, story)

    async def dag(self, tenant_id: str, mo_id: str, since: datetime | None = None) -> bytes:
        """UTF-8 JSON of the order's whole tree, with its audit events from `since` on. Raises NotFound."""
        return await read_dag(self._database, tenant_id, mo_id, since)

    async def nav_marks(self, tenant_id: str, vault_id: str, part: Slice) -> Sequence[NavMark]:
        """Raises NotFound for the vault."""
        wanted = newest(
            select(NavMark).where(NavMark.holder_id == vault_id), part, col(NavMark.asof), col(NavMark.holder_id)
        )
        async with self._database.session(tenant_id) as session:
            await require(session, Vault, "vault", vault_id)
            return (await session.exec(wanted)).all()

    async def audit_events(self, tenant_id: str, part: Slice, **filters: str | None) -> Sequence[AuditEvent]:
        wanted = filtered(select(AuditEvent), AuditEvent, tenant_id, filters)
        page = _newest_by_number(wanted, part, col(AuditEvent.ts), col(AuditEvent.event_id))
        return await self._all(tenant_id, page)

    async def _all(self, tenant_id: str, wanted: SelectOfScalar[_T]) -> Sequence[_T]:
        async with self._database.session(tenant_id) as session:
            return (await session.exec(wanted)).all()


def _legs(fo_id: str) -> SelectOfScalar[OrderLeg]:
    by_number = (col(OrderLeg.plan), col(OrderLeg.leg_no))
    return select(OrderLeg).where(OrderLeg.fo_id == fo_id).order_by(*by_number)


def filtered(
    wanted: SelectOfScalar[_T], model: type[_T], tenant_id: str, filters: dict[str, str | None]
) -> SelectOfScalar[_T]:
    # Said here although row-level security would see to it: the policies are no conditions that an index answers.
    wanted = wanted.where(cast("Any", model).tenant_id == UUID(tenant_id))
    for name, value in filters.items():
        if value is not None:
            wanted = wanted.where(getattr(model, name) == value)
    return wanted


def newest(wanted: SelectOfScalar[_T], part: Slice, created: Any, key: Any) -> SelectOfScalar[_T]:
    if part.since is not None:
        wanted = wanted.where(created >= part.since)
    if part.after is not None:
        # Orders of one expansion share their created_at, so the id must break the tie.
        wanted = wanted.where(tuple_(created, key) < part.after)
    return wanted.order_by(created.desc(), key.desc()).limit(part.limit)


def _newest_by_number(wanted: SelectOfScalar[_T], part: Slice, created: Any, number: Any) -> SelectOfScalar[_T]:
    if part.since is not None:
        wanted = wanted.where(created >= part.since)
    if part.after is not None:
        wanted = wanted.where(number < int(part.after[1]))
    return wanted.order_by(number.desc()).limit(part.limit)
