"""Followers' broker credentials: shown without their secrets, replaced, tested. How sends break them: `breaking`.

Whoever changes one holds its row; its version goes up with every new value, so that a late answer to an old value
changes nothing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.enrolment import credentials_of, sealed_columns
from adapters.store.entities import emit, require
from adapters.store.once import find_earlier, keep
from domain.credentials import Broken, CredentialTest, CredentialView, Status, Step, Which, after, broken_by, unsealed
from domain.dispatch import SealedKey
from domain.enrolment import ACCOUNT_VENUES, BrokerAccount
from domain.errors import Conflict, InvalidInput, NotFound, SecretUnavailable
from domain.requests import Once
from models import Credential, Follower

_OK = 200


@dataclass(frozen=True, slots=True)
class Replaced:
    view: CredentialView
    replayed: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A credential as it is sealed, to be opened for a call and then told about."""

    which: Which
    follower_id: str
    venue: str
    environment: str
    sealed: SealedKey


class CredentialStore:
    def __init__(self, database: Database, box: SecretBox) -> None:
        self._database = database
        self._box = box

    async def views(self, tenant_id: str, follower_id: str) -> list[CredentialView]:
        """The follower's, by account; none for one without broker accounts. Raises NotFound."""
        async with self._database.session(tenant_id) as session:
            follower = await require(session, Follower, "follower", follower_id)
            found = []
            for which in Which:
                ref = _ref(follower, which)
                row = None if ref is None else await session.get(Credential, ref)
                if row is not None:
                    found.append(_view(which, row))
            return found

    async def replace(
        self, tenant_id: str, follower_id: str, which: Which, account: BrokerAccount, *, actor: str, once: Once
    ) -> Replaced:
        """Seal a new value in the place of the old one, for the same account; the credential is active then.

        Raises NotFound, Conflict `no-account`, InvalidInput, IdempotencyKeyReused.
        """
        account.check("credential")
        async with self._database.session(tenant_id) as session:
            earlier = await find_earlier(session, tenant_id, once)
            if earlier is not None:
                return Replaced(_stored_view(earlier.response), replayed=True)
            row = await _locked(session, follower_id, which)
            self._check_same_account(row, account)
            before = Status(row.status)
            row.status = after(before, Step.UPDATED).value
            row.sqlmodel_update(sealed_columns(self._box, credentials_of(row.cred_ref, account)))
            row.version += 1
            row.broken_reason, row.status_at = None, await _now(session)
            session.add(row)
            payload = {**_told(row, which, follower_id), "was": before.value}
            await emit(session, tenant_id, "credential", row.cred_ref, "updated", actor, payload)
            view = _view(which, row)
            keep(session, tenant_id, once, _OK, _to_store(view))
            return Replaced(view, replayed=False)

    async def hold(self, tenant_id: str, follower_id: str, which: Which) -> Held:
        """Raises NotFound, Conflict `no-account`."""
        async with self._database.session(tenant_id) as session:
            row = await _locked(session, follower_id, which)
            sealed = SealedKey(row.cred_ref, row.key_id, row.sealed, row.version)
            return Held(which, follower_id, row.venue, row.environment, sealed)

    async def tested(
        self, tenant_id: str, held: Held, code: str, words: str, *, ok: bool, actor: str
    ) -> CredentialTest:
        """Book what a call with `held` came to: it mends what it proves to work, and breaks what it proves not to."""
        async with self._database.session(tenant_id) as session:
            row = await _locked(session, held.follower_id, held.which)
            told = _told(row, held.which, held.follower_id)
            same = row.version == held.sealed.version
            await emit(
                session, tenant_id, "credential", row.cred_ref, "tested", actor, {**told, "ok": ok, "code": code}
            )
            status, reason = Status(row.status), broken_by(code)
            mended = ok and same and status is Status.BROKEN
            if mended:
                row.status, row.broken_reason = after(status, Step.PROVEN).value, None
            elif reason is not None and same and status is Status.ACTIVE:
                row.status, row.broken_reason = after(status, Step.BREAKS).value, reason.value
            if row.status != status:
                row.status_at = await _now(session)
                session.add(row)
                action = "mended" if mended else "broken"
                payload = told if mended else {**told, "reason": row.broken_reason}
                await emit(session, tenant_id, "credential", row.cred_ref, action, actor, payload)
            return CredentialTest(ok, code, words, _view(held.which, row), mended)

    def _check_same_account(self, row: Credential, account: BrokerAccount) -> None:
        """What is under way is looked up with the new value, and would be taken for absent in another account."""
        for name, there, given in (
            ("venue", row.venue, account.venue),
            ("environment", row.environment, account.environment),
        ):
            if given != there:
                reason = f"must stay {there}: orders under way are asked for there; bind another follower for {given}"
                raise InvalidInput(f"credential.{name}", reason)
        if row.venue in ACCOUNT_VENUES and self._key_id(row) not in {None, account.key_id}:
            reason = "must stay the same account: orders under way are asked for there"
            raise InvalidInput("credential.key_id", reason)

    def _key_id(self, row: Credential) -> str | None:
        """None where what is stored cannot be opened: a new value is the only way out of that."""
        try:
            opened = self._box.open(row.key_id, row.sealed, aad=row.cred_ref)
            return unsealed(row.cred_ref, opened, row.environment).key_id
        except SecretUnavailable:
            return None


def _ref(follower: Follower, which: Which) -> str | None:
    ref: str | None = (follower.bridged_brokers or {}).get(f"{which}_ref")
    return ref


async def _locked(session: AsyncSession, follower_id: str, which: Which) -> Credential:
    follower = await session.get(Follower, follower_id)
    if follower is None:
        raise NotFound("follower", follower_id)
    ref = _ref(follower, which)
    wanted = select(Credential).where(col(Credential.cred_ref) == ref).with_for_update()
    row = None if ref is None else (await session.exec(wanted)).one_or_none()
    if row is None:
        raise Conflict("no-account", f"the follower has no {which} account at a broker", "follower_id")
    return row


def _told(row: Credential, which: Which, follower_id: str) -> dict[str, Any]:
    """What events say; nothing of the value."""
    return {
        "follower_id": follower_id,
        "which": which.value,
        "venue": row.venue,
        "environment": row.environment,
        "expires_at": None if row.expires_at is None else row.expires_at.isoformat(),
    }


def _view(which: Which, row: Credential) -> CredentialView:
    return CredentialView(
        which, row.cred_ref, row.venue, row.environment, Status(row.status), row.status_at,
        None if row.broken_reason is None else Broken(row.broken_reason), row.expires_at, row.refreshes,
    )  # fmt: skip


def _to_store(view: CredentialView) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(view).items()}


def _stored_view(stored: Mapping[str, Any]) -> CredentialView:
    until = stored["expires_at"]
    return CredentialView(
        Which(stored["which"]), stored["cred_ref"], stored["venue"], stored["environment"], Status(stored["status"]),
        datetime.fromisoformat(stored["since"]), None, None if until is None else datetime.fromisoformat(until),
        stored["refreshes"],
    )  # fmt: skip


async def _now(session: AsyncSession) -> datetime:
    now: datetime = (await session.exec(select(func.now()))).one()
    return now
