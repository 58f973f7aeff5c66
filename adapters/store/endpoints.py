"""Webhooks' health: failures counted where attempts are recorded, endpoints disabled and enabled, trials of them.

A healthy endpoint costs nothing here: its attempts are answered, and there is no row of failures to end.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database, jsonb
from domain import breaker
from domain.breaker import GONE, BreakerPolicy, Streak
from domain.dispatch import PendingOrder, SealedKey
from domain.errors import Conflict, NotFound
from domain.ports import SendOutcome

_log = logging.getLogger("vanta.endpoints")
# An order may be a while on its way before its last attempt.
_ORDERS_OF = 2

# Sorted, so that two batches that touch the same followers lock them in the same order.
_COUNT = """
WITH x AS (
  SELECT w.follower_id, x.answered, x.failures
  FROM jsonb_to_recordset(%(streaks)s) AS x(follower_id text, answered bool, failures int)
  JOIN followers w USING (follower_id) WHERE is_mine(w.tenant_id)
  ORDER BY w.follower_id FOR UPDATE OF w
)
UPDATE followers w
SET consecutive_failures = CASE WHEN x.answered THEN 0 ELSE w.consecutive_failures END + x.failures
FROM x WHERE w.follower_id = x.follower_id AND is_mine(w.tenant_id)
RETURNING w.follower_id, w.consecutive_failures, w.endpoint_enabled_at, w.endpoint_disabled_at IS NOT NULL AS disabled
"""

_LATEST = """
SELECT f.follower_id, a.code, count(*) AS n
FROM follower_orders f JOIN attempts a USING (fo_id)
JOIN followers w ON w.follower_id = f.follower_id
WHERE f.tenant_id = %(tenant_id)s AND f.follower_id = ANY(%(followers)s) AND f.route = 'webhook'
  AND f.created_at > now() - %(orders)s AND a.code IS NOT NULL
  AND a.started_at > greatest(now() - %(window)s, w.endpoint_enabled_at)
GROUP BY f.follower_id, a.code
"""

_DISABLE = f"""
WITH u AS (
  UPDATE followers w SET endpoint_disabled_at = now(), endpoint_disabled_reason = x.why
  FROM jsonb_each_text(%(reasons)s) AS x(follower_id, why)
  WHERE w.follower_id = x.follower_id AND is_mine(w.tenant_id) AND w.endpoint_disabled_at IS NULL RETURNING w.*
), e AS (
  SELECT tenant_id, 'follower' AS entity, follower_id AS entity_id, 'endpoint_disabled' AS action, %(actor)s AS actor,
    NULL AS mo_id, 1 AS n, jsonb_build_object('vault_id', vault_id, 'reason', endpoint_disabled_reason,
      'consecutive_failures', consecutive_failures) AS payload
  FROM u
), {EMIT}
SELECT follower_id, endpoint_disabled_reason FROM u
"""

_BEGIN_TRIAL = """
UPDATE followers SET endpoint_test_until = now() + %(most)s
WHERE follower_id = %(follower_id)s AND is_mine(tenant_id)
  AND (endpoint_test_until IS NULL OR endpoint_test_until < now())
RETURNING follower_id, vault_id, webhook ->> 'url' AS url, webhook ->> 'hmac_key_ref' AS key_ref
"""
_FOLLOWER = "SELECT webhook IS NOT NULL AS hooked FROM followers WHERE follower_id = %s AND is_mine(tenant_id)"
_KEYS = """
SELECT key_ref, key_id, sealed FROM webhook_keys
WHERE key_ref = %s AND is_mine(tenant_id) AND (expires_at IS NULL OR expires_at > now()) ORDER BY version DESC
"""

_END_TRIAL = f"""
WITH b AS (
  SELECT follower_id, endpoint_disabled_at IS NOT NULL AS was_disabled, endpoint_disabled_reason AS why
  FROM followers WHERE follower_id = %(follower_id)s AND is_mine(tenant_id) FOR UPDATE
), u AS (
  UPDATE followers w SET endpoint_test_until = NULL,
    endpoint_disabled_at = CASE WHEN %(ok)s THEN NULL ELSE w.endpoint_disabled_at END,
    endpoint_disabled_reason = CASE WHEN %(ok)s THEN NULL ELSE w.endpoint_disabled_reason END,
    endpoint_enabled_at = CASE WHEN %(ok)s AND b.was_disabled THEN now() ELSE w.endpoint_enabled_at END,
    consecutive_failures = CASE WHEN %(ok)s THEN 0 ELSE w.consecutive_failures END
  FROM b WHERE w.follower_id = b.follower_id RETURNING w.*, b.was_disabled, b.why
), e AS (
  SELECT tenant_id, 'follower' AS entity, follower_id AS entity_id, 'webhook_tested' AS action, %(actor)s AS actor,
    NULL AS mo_id, 1 AS n, %(payload)s || jsonb_build_object('vault_id', vault_id) AS payload
  FROM u
  UNION ALL
  SELECT tenant_id, 'follower', follower_id, 'endpoint_enabled', %(actor)s, NULL, 2,
    jsonb_build_object('vault_id', vault_id, 'was_disabled_because', why)
  FROM u WHERE %(ok)s AND was_disabled
), {EMIT}
SELECT endpoint_disabled_at IS NULL AS enabled, %(ok)s AND was_disabled AS re_enabled FROM u
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a test delivery is sent with."""

    follower_id: str
    vault_id: str
    url: str
    keys: tuple[SealedKey, ...]


async def count_health(
    cursor: Cursor, results: Sequence[tuple[PendingOrder, SendOutcome]], policy: BreakerPolicy, *, actor: str
) -> None:
    """Count what recorded attempts say of their webhooks, and disable those that are gone or taken to be down."""
    reasons = {o.follower_id: GONE for o, r in results if o.is_webhook and r.disable_endpoint}
    streaks = _streaks(results)
    if streaks:
        reasons = {**await _tripped(cursor, results[0][0].tenant_id, streaks, policy), **reasons}
    if reasons:
        await disable(cursor, reasons, actor=actor)


async def disable(cursor: Cursor, reasons: Mapping[str, str], *, actor: str) -> None:
    """No more events go to these webhooks until a test delivery enables them; said by an event, and in the log."""
    await cursor.execute(_DISABLE, {"reasons": jsonb(dict(reasons)), "actor": actor})
    for row in await cursor.fetchall():
        _log.warning("endpoint of %s disabled: %s", row["follower_id"], row["endpoint_disabled_reason"])


def _streaks(results: Sequence[tuple[PendingOrder, SendOutcome]]) -> dict[str, Streak]:
    """Of the endpoints that have failed, or have answered after failures."""
    codes: dict[str, list[str]] = {}
    failing = set()
    for order, outcome in results:
        if order.is_webhook:
            codes.setdefault(order.follower_id, []).append(outcome.code)
            if order.endpoint_failures > 0:
                failing.add(order.follower_id)
    found = {follower: breaker.streak(listed) for follower, listed in codes.items()}
    return {f: s for f, s in found.items() if s.any_failure or (s.answered and f in failing)}


async def _tripped(
    cursor: Cursor, tenant_id: str, streaks: Mapping[str, Streak], policy: BreakerPolicy
) -> dict[str, str]:
    rows = [{"follower_id": f, "answered": s.answered, "failures": s.failures} for f, s in streaks.items()]
    await cursor.execute(_COUNT, {"streaks": jsonb(rows)})
    counted = {row["follower_id"]: row for row in await cursor.fetchall() if not row["disabled"]}
    failed = [follower for follower in counted if streaks[follower].any_failure]
    if not failed:
        return {}
    keys = {"tenant_id": tenant_id, "followers": failed, "window": policy.window, "orders": policy.window * _ORDERS_OF}
    await cursor.execute(_LATEST, keys)
    latest: dict[str, list[tuple[str, int]]] = {}
    for row in await cursor.fetchall():
        latest.setdefault(row["follower_id"], []).append((row["code"], row["n"]))
    reasons = {
        follower: breaker.tripped(counted[follower]["consecutive_failures"], latest.get(follower, []), policy)
        for follower in failed
    }
    return {follower: why for follower, why in reasons.items() if why is not None}


class TrialStore:
    """Test deliveries: one at a time per follower, whichever process sends it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, tenant_id: str, follower_id: str, *, most: timedelta) -> Trial:
        """Raises NotFound, and Conflict `no-webhook` or `test-under-way`; the latter ends by itself after `most`."""
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_FOLLOWER, [follower_id])
            found = await cursor.fetchone()
            if found is None:
                raise NotFound("follower", follower_id)
            if not found["hooked"]:
                raise Conflict("no-webhook", "the follower has no webhook", "follower_id")
            await cursor.execute(_BEGIN_TRIAL, {"follower_id": follower_id, "most": most})
            row: dict[str, Any] | None = await cursor.fetchone()
            if row is None:
                raise Conflict("test-under-way", "a test of this webhook is under way; wait for its end", "follower_id")
            await cursor.execute(_KEYS, [row["key_ref"]])
            keys = [SealedKey(k["key_ref"], k["key_id"], bytes(k["sealed"])) for k in await cursor.fetchall()]
            return Trial(follower_id, row["vault_id"], row["url"], tuple(keys))

    async def end(
        self, tenant_id: str, follower_id: str, *, ok: bool, told: dict[str, Any], actor: str
    ) -> tuple[bool, bool]:
        """Whether the endpoint is enabled now, and whether this test has enabled it. `told` goes to the audit log."""
        async with self._database.cursor(tenant_id) as cursor:
            values = {"follower_id": follower_id, "ok": ok, "payload": jsonb(told), "actor": actor}
            await cursor.execute(_END_TRIAL, values)
            row = await cursor.fetchone()
            assert row is not None, f"{follower_id} does not exist for this tenant"
            return row["enabled"], row["re_enabled"]
