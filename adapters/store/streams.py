"""What order streams need of the store: whose accounts there are, which of their orders are open, who was refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from adapters.store.breaking import mark_broken
from adapters.store.changes import EMIT
from adapters.store.database import Database
from domain.books import BrokerKey
from domain.credentials import broken_by
from domain.dispatch import SealedKey
from domain.orders import FollowerState
from domain.streams import LOOKED_BACK_FOR, OrderOwner, StreamAccount

ACTOR = "system:streams"
_NOBODY = str(UUID(int=0))  # the listing serves all tenants

_KEY = """
SELECT venue, cred_ref, key_id, sealed, version, environment FROM credentials
WHERE cred_ref = %s AND is_mine(tenant_id) AND status = 'active'
"""
_OPEN = """
SELECT o.fo_id, o.created_at FROM followers w JOIN follower_orders o USING (tenant_id, follower_id)
WHERE %(ref)s IN (w.bridged_brokers ->> 'equities_ref', w.bridged_brokers ->> 'crypto_ref')
  AND w.tenant_id = %(tenant)s AND o.route = %(venue)s AND o.state = ANY(%(states)s)
ORDER BY o.created_at, o.fo_id
"""
# Only an order of the account that reports it: an account's holder may give his own orders any id.
_OWNER = """
SELECT o.mo_id, o.follower_id, o.leg, o.state,
  (SELECT max(dead_letter_id) FROM dead_letters l WHERE l.fo_id = o.fo_id AND l.redriven_at IS NOT NULL)
    AS dead_letter_id
FROM follower_orders o JOIN followers w USING (follower_id)
WHERE o.fo_id = %(fo_id)s AND is_mine(o.tenant_id) AND o.route = %(venue)s
  AND %(ref)s IN (w.bridged_brokers ->> 'equities_ref', w.bridged_brokers ->> 'crypto_ref')
"""

_FOLLOWER = """(SELECT follower_id FROM followers w WHERE w.tenant_id = %(tenant)s
    AND %(ref)s IN (w.bridged_brokers ->> 'equities_ref', w.bridged_brokers ->> 'crypto_ref'))"""
_REFUSED = f"""
WITH r AS (
  INSERT INTO stream_refusals AS known (cred_ref, tenant_id, revision, code)
  VALUES (%(ref)s, %(tenant)s, %(revision)s, %(code)s)
  ON CONFLICT (cred_ref) DO UPDATE
    SET revision = excluded.revision, code = excluded.code, since = now(), resumed_at = NULL
    WHERE known.resumed_at IS NOT NULL OR (known.revision, known.code) <> (excluded.revision, excluded.code)
  RETURNING known.tenant_id, known.cred_ref, known.code
), e AS (
  SELECT tenant_id, 'follower' AS entity, {_FOLLOWER} AS entity_id, 'stream_refused' AS action, %(actor)s AS actor,
    NULL AS mo_id, 1 AS n,
    jsonb_build_object('venue', %(venue)s::text, 'cred_ref', cred_ref, 'code', code, 'reason', %(reason)s::text)
      AS payload
  FROM r
), {EMIT}
SELECT count(*) AS told FROM a
"""
_RESUMED = f"""
WITH r AS (
  UPDATE stream_refusals SET resumed_at = now() WHERE cred_ref = %(ref)s AND is_mine(tenant_id) AND resumed_at IS NULL
  RETURNING tenant_id, cred_ref
), e AS (
  SELECT tenant_id, 'follower' AS entity, {_FOLLOWER} AS entity_id, 'stream_resumed' AS action, %(actor)s AS actor,
    NULL AS mo_id, 1 AS n, jsonb_build_object('venue', %(venue)s::text, 'cred_ref', cred_ref) AS payload
  FROM r
), {EMIT}
SELECT count(*) AS told FROM a
"""


@dataclass(frozen=True, slots=True)
class OpenOrder:
    fo_id: str
    created_at: datetime


class StreamStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def accounts(self, venue: str) -> list[StreamAccount]:
        """Of all tenants: active credentials of open vaults' followers, and of whoever still has an open order."""
        async with self._database.cursor(_NOBODY) as cursor:
            await cursor.execute("SELECT * FROM stream_accounts(%s)", [venue])
            return [
                StreamAccount(str(row["tenant_id"]), row["cred_ref"], row["revision"], row["line"])
                for row in await cursor.fetchall()
            ]

    async def key(self, account: StreamAccount) -> BrokerKey | None:
        """None where the credential is active no more."""
        async with self._database.cursor(account.tenant_id) as cursor:
            await cursor.execute(_KEY, [account.cred_ref])
            row = await cursor.fetchone()
        if row is None:
            return None
        key = SealedKey(row["cred_ref"], row["key_id"], bytes(row["sealed"]), row["version"])
        return BrokerKey(row["venue"], key, row["environment"])

    async def open_orders(self, account: StreamAccount, venue: str) -> Sequence[OpenOrder]:
        """What a look back asks the venue for, oldest first."""
        given = {
            "ref": account.cred_ref, "tenant": account.tenant_id, "venue": venue,
            "states": [state.value for state in LOOKED_BACK_FOR],
        }  # fmt: skip
        async with self._database.cursor(account.tenant_id) as cursor:
            await cursor.execute(_OPEN, given)
            return [OpenOrder(row["fo_id"], row["created_at"]) for row in await cursor.fetchall()]

    async def owner(self, account: StreamAccount, venue: str, fo_id: str) -> OrderOwner | None:
        """None for what is not an order of ours of this very account."""
        given = {"fo_id": fo_id, "venue": venue, "ref": account.cred_ref}
        async with self._database.cursor(account.tenant_id) as cursor:
            await cursor.execute(_OWNER, given)
            row = await cursor.fetchone()
        if row is None:
            return None
        state = FollowerState(row["state"])
        return OrderOwner(row["mo_id"], row["follower_id"], row["leg"], state, row["dead_letter_id"])

    async def refused(self, account: StreamAccount, venue: str, code: str, reason: str) -> bool:
        """Whether that is news; then it is an event.

        Of the credential where the code proves it broken; else of the follower, whose key serves, though not for this.
        """
        given = {**_given(account, venue), "code": code, "reason": reason[:500], "revision": account.revision}
        broken = broken_by(code)
        async with self._database.cursor(account.tenant_id) as cursor:
            if broken is not None:
                return await mark_broken(cursor, [(account.cred_ref, account.revision, broken)], actor=ACTOR) > 0
            await cursor.execute(_REFUSED, given)
            row = await cursor.fetchone()
        return row is not None and row["told"] > 0

    async def resumed(self, account: StreamAccount, venue: str) -> bool:
        """Whether it had been refused before."""
        async with self._database.cursor(account.tenant_id) as cursor:
            await cursor.execute(_RESUMED, _given(account, venue))
            row = await cursor.fetchone()
        return row is not None and row["told"] > 0


def _given(account: StreamAccount, venue: str) -> dict[str, str]:
    return {"ref": account.cred_ref, "tenant": account.tenant_id, "venue": venue, "actor": ACTOR}
