"""Ending what a follower's own people may see: whoever was invited to be him is that no more."""

from dataclasses import dataclass

from sqlalchemy import func, update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.store.database import Database
from adapters.store.entities import emit, require
from models import Follower, Identity, Invitation, Session


@dataclass(frozen=True, slots=True)
class EndedAccess:
    """How many people had it, how many logins of theirs have ended, and which invitations are withdrawn."""

    follower_id: str
    people: int
    logins_ended: int
    invitations_withdrawn: list[str]

    @property
    def changed(self) -> bool:
        return bool(self.people or self.logins_ended or self.invitations_withdrawn)


class FollowerAccess:
    """Mirroring has nothing to do with it: the follower gets his orders as before."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def end(self, tenant_id: str, follower_id: str, *, actor: str) -> EndedAccess:
        """Counts at their next request; only a new invitation lets one of them in again.

        Where nobody has access there is no event. Raises NotFound.
        """
        async with self._database.session(tenant_id) as session:
            await require(session, Follower, "follower", follower_id)
            done = EndedAccess(
                follower_id,
                # First: a login that is under way holds its identity, and its session must be there to be ended.
                people=await _end_identities(session, follower_id),
                logins_ended=await _end_logins(session, follower_id),
                invitations_withdrawn=await _withdraw_invitations(session, follower_id),
            )
            if done.changed:
                payload = {
                    "people": done.people,
                    "logins_ended": done.logins_ended,
                    "invitations_withdrawn": done.invitations_withdrawn,
                }
                await emit(session, tenant_id, "follower", follower_id, "access_ended", actor, payload)
            return done


async def _end_identities(session: AsyncSession, follower_id: str) -> int:
    theirs = update(Identity).where(col(Identity.follower_id) == follower_id, col(Identity.ended_at).is_(None))
    done = await session.exec(theirs.values(ended_at=func.now()).returning(col(Identity.subject)))
    return len(done.all())


async def _end_logins(session: AsyncSession, follower_id: str) -> int:
    theirs = update(Session).where(col(Session.follower_id) == follower_id, col(Session.revoked_at).is_(None))
    done = await session.exec(
        theirs.values(revoked_at=func.now(), revoked_reason="access_ended").returning(col(Session.session_id))
    )
    return len(done.all())


async def _withdraw_invitations(session: AsyncSession, follower_id: str) -> list[str]:
    pending = update(Invitation).where(
        col(Invitation.follower_id) == follower_id,
        col(Invitation.accepted_at).is_(None),
        col(Invitation.revoked_at).is_(None),
    )
    done = await session.exec(pending.values(revoked_at=func.now()).returning(col(Invitation.invitation_id)))
    return sorted(done.scalars())
