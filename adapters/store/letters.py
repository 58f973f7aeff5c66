"""Dead letters, for those who look at them, and for those who close them: by a redrive, or by a purge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from adapters.store.changes import EMIT
from adapters.store.database import Database
from adapters.store.entities import require
from adapters.store.once import find_earlier, keep
from domain.mirroring import OrderRef
from domain.orders import FollowerState, LetterState
from domain.redrive import Letter, LetterFilter, Redrivable, Refusal, closed
from domain.requests import Once, Slice
from models import DeadLetter, FollowerOrder, ManagerOrder

_OK = 200

_PURGE = text(
    f"""
    WITH u AS (
      UPDATE dead_letters SET purged_at = now(), purged_by = :actor, purge_reason = :reason
      WHERE dead_letter_id = ANY(:ids) AND is_mine(tenant_id) AND redriven_at IS NULL AND purged_at IS NULL RETURNING *
    ), e AS (
      SELECT tenant_id, 'follower_order' AS entity, fo_id AS entity_id, 'dead_letter_purged' AS action,
        CAST(:actor AS text) AS actor, mo_id, dead_letter_id AS n,
        jsonb_build_object('dead_letter_id', dead_letter_id, 'follower_id', follower_id, 'reason', purge_reason)
          AS payload
      FROM u
    ), {EMIT}
    SELECT dead_letter_id FROM u
    """
)


@dataclass(frozen=True, slots=True)
class Purged:
    """By id: None for those that were purged, else why not. `replayed`: by an earlier request under the same key."""

    results: Mapping[int, Refusal | None]
    replayed: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """The letters that a redrive is about, as they were when it was first asked for; `more` are left beyond them."""

    ids: Sequence[int]
    letters: Mapping[int, Redrivable]
    more: bool = False


class DeadLetterStore:
    """Each method sees one tenant's letters only; NotFound is raised for another's as for none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, tenant_id: str, part: Slice, which: LetterFilter) -> Sequence[DeadLetter]:
        """Newest first."""
        wanted = select(DeadLetter).where(*_conditions(tenant_id, which))
        if part.since is not None:
            wanted = wanted.where(col(DeadLetter.created_at) >= part.since)
        if part.after is not None:
            wanted = wanted.where(col(DeadLetter.dead_letter_id) < int(part.after[1]))
        async with self._database.session(tenant_id) as session:
            return (await session.exec(_newest(wanted).limit(part.limit))).all()

    async def get(self, tenant_id: str, dead_letter_id: int) -> DeadLetter:
        async with self._database.session(tenant_id) as session:
            return await require(session, DeadLetter, "dead_letter", dead_letter_id)  # type: ignore[arg-type]

    async def earlier_answer(self, tenant_id: str, once: Once) -> dict[str, Any] | None:
        """What an earlier request under the key was told. Raises IdempotencyKeyReused."""
        async with self._database.session(tenant_id) as session:
            earlier = await find_earlier(session, tenant_id, once)
            return None if earlier is None else earlier.response

    async def keep_answer(self, tenant_id: str, once: Once, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer that counts: this one, or that of the same request which was faster."""
        async with self._database.session(tenant_id) as session:
            earlier = await find_earlier(session, tenant_id, once)
            if earlier is not None:
                return earlier.response
            keep(session, tenant_id, once, _OK, answer)
            return answer

    async def select(
        self, tenant_id: str, wanted: Sequence[int] | LetterFilter, limit: int, *, once: Once
    ) -> Selection:
        """The letters by their ids, or the oldest that a filter finds; a repeat is about the same ones again."""
        async with self._database.session(tenant_id) as session:
            earlier = await find_earlier(session, tenant_id, once)
            if earlier is not None:
                ids, more = list(earlier.response["ids"]), bool(earlier.response["more"])
            else:
                ids, more = await _chosen(session, tenant_id, wanted, limit)
                keep(session, tenant_id, once, _OK, {"ids": ids, "more": more})
            return Selection(ids, await _redrivable(session, tenant_id, ids), more)

    async def purge(self, tenant_id: str, ids: Sequence[int], reason: str, *, actor: str, once: Once) -> Purged:
        """Close open letters for good; their orders stay dead letters. Raises IdempotencyKeyReused."""
        async with self._database.session(tenant_id) as session:
            earlier = await find_earlier(session, tenant_id, once)
            if earlier is not None:
                known = earlier.response["results"].items()
                return Purged({int(number): why and Refusal(**why) for number, why in known}, replayed=True)
            connection = await session.connection()
            done = await connection.execute(_PURGE, {"ids": sorted(ids), "actor": actor, "reason": reason})
            purged = set(done.scalars())
            kept = await session.exec(select(DeadLetter).where(col(DeadLetter.dead_letter_id).in_(set(ids) - purged)))
            refused = {row.dead_letter_id: closed(_letter(row)) for row in kept.all()}
            unknown = Refusal("not_found", "there is no such dead letter")
            results = {number: None if number in purged else refused.get(number, unknown) for number in ids}
            told = {
                str(number): why and {"code": why.code, "reason": why.reason} for number, why in results.items()
            }  # fmt: skip
            keep(session, tenant_id, once, _OK, {"results": told})
            return Purged(results, replayed=False)


def _conditions(tenant_id: str, which: LetterFilter) -> list[ColumnElement[bool] | bool]:
    # The tenant is said here although row-level security would see to it: its policies answer to no index.
    found: list[ColumnElement[bool] | bool] = [col(DeadLetter.tenant_id) == UUID(tenant_id)]
    if which.follower_id is not None:
        found.append(col(DeadLetter.follower_id) == which.follower_id)
    if which.mo_id is not None:
        found.append(col(DeadLetter.mo_id) == which.mo_id)
    if which.reason is not None:
        found.append(col(DeadLetter.reason) == which.reason)
    if which.vault_id is not None:
        of_vault = select(ManagerOrder.mo_id).where(ManagerOrder.vault_id == which.vault_id)
        found.append(col(DeadLetter.mo_id).in_(of_vault))
    return found + (_IN_STATE[which.state] if which.state is not None else [])


_REDRIVEN, _PURGED = col(DeadLetter.redriven_at), col(DeadLetter.purged_at)
_IN_STATE: dict[LetterState, list[ColumnElement[bool] | bool]] = {
    LetterState.OPEN: [_REDRIVEN.is_(None), _PURGED.is_(None)],
    LetterState.REDRIVEN: [_REDRIVEN.is_not(None)],
    LetterState.PURGED: [_PURGED.is_not(None)],
}


def _newest(wanted: SelectOfScalar[DeadLetter]) -> SelectOfScalar[DeadLetter]:
    return wanted.order_by(col(DeadLetter.dead_letter_id).desc())


async def _chosen(
    session: AsyncSession, tenant_id: str, wanted: Sequence[int] | LetterFilter, limit: int
) -> tuple[list[int], bool]:
    if not isinstance(wanted, LetterFilter):
        return list(dict.fromkeys(wanted)), False
    number = col(DeadLetter.dead_letter_id)
    oldest = select(number).where(*_conditions(tenant_id, wanted)).order_by(number).limit(limit + 1)
    found = [int(row) for row in (await session.exec(oldest)).all() if row is not None]
    return found[:limit], len(found) > limit


async def _redrivable(session: AsyncSession, tenant_id: str, ids: Sequence[int]) -> dict[int, Redrivable]:
    letter, order = DeadLetter, FollowerOrder
    wanted = (
        select(letter, order, ManagerOrder.tif)
        .join(order, col(order.fo_id) == col(letter.fo_id))
        .join(ManagerOrder, col(ManagerOrder.mo_id) == col(order.mo_id))
        .where(col(letter.tenant_id) == UUID(tenant_id), col(letter.dead_letter_id).in_(ids))
    )
    found: dict[int, Redrivable] = {}
    for row, fo, tif in (await session.exec(wanted)).all():
        assert row.dead_letter_id is not None
        ref = OrderRef(
            fo.fo_id, fo.follower_id, fo.side, fo.qty, fo.route, FollowerState(fo.state), fo.dispatch_attempts, 0,
            fo.leg, fo.symbol,
        )  # fmt: skip
        found[row.dead_letter_id] = Redrivable(
            row.dead_letter_id, tenant_id, fo.fo_id, fo.mo_id, fo.follower_id, fo.vault_id, fo.symbol, ref, tif
        )
    return found


def _letter(row: DeadLetter) -> Letter:
    assert row.dead_letter_id is not None
    return Letter(row.dead_letter_id, row.redriven_at, row.redriven_by, row.purged_at)
