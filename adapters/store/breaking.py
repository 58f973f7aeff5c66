"""Credentials that a broker or their seal has refused: marked where the outcome that proves it is recorded.

Only the value that was used is marked: by the time that a late answer comes, its owner may have given a new one.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from adapters.store.changes import EMIT
from adapters.store.database import Cursor, jsonb
from domain.credentials import Broken, broken_by
from domain.dispatch import PendingOrder, SealedKey
from domain.ports import OutcomeKind, SendOutcome

_log = logging.getLogger("vanta.credentials")

_PRESENT = (
    "SELECT cred_ref, version FROM credentials WHERE cred_ref = ANY(%s) AND is_mine(tenant_id) AND status = 'active'"
)

# Sorted, so that two batches that touch the same credentials lock them in the same order.
_BREAK = f"""
WITH x AS (
  SELECT c.cred_ref, x.reason FROM jsonb_to_recordset(%(broken)s) AS x(cred_ref text, version int, reason text)
  JOIN credentials c ON c.cred_ref = x.cred_ref AND c.version = x.version AND c.status = 'active'
  WHERE is_mine(c.tenant_id) ORDER BY c.cred_ref FOR UPDATE OF c
), u AS (
  UPDATE credentials c SET status = 'broken', status_at = now(),
    broken_reason = CASE WHEN x.reason = 'bad_credentials' AND c.expires_at <= now() THEN 'expired' ELSE x.reason END
  FROM x WHERE c.cred_ref = x.cred_ref RETURNING c.*
), e AS (
  SELECT tenant_id, 'credential' AS entity, cred_ref AS entity_id, 'broken' AS action, %(actor)s AS actor,
    NULL AS mo_id, 1 AS n, jsonb_build_object('follower_id', split_part(cred_ref, '/', 2), 'venue', venue,
      'environment', environment, 'reason', broken_reason) AS payload
  FROM u
), {EMIT}
SELECT cred_ref, broken_reason FROM u
"""


async def as_of_now(
    cursor: Cursor, results: Sequence[tuple[PendingOrder, SendOutcome]]
) -> list[tuple[PendingOrder, SendOutcome]]:
    """The results, where what was refused with a value that has been replaced meanwhile may be tried again.

    A refresh ends the old token at once, while orders that were claimed with it are still on their way.
    """
    refused = {o.credential.ref for o, r in results if o.credential is not None and _proves(r)}
    if not refused:
        return list(results)
    await cursor.execute(_PRESENT, [sorted(refused)])
    present = {row["cred_ref"]: row["version"] for row in await cursor.fetchall()}
    return [
        (o, replace(r, kind=OutcomeKind.RETRYABLE, code="credential_replaced"))
        if o.credential is not None and _proves(r) and present.get(o.credential.ref, 0) > o.credential.version
        else (o, r)
        for o, r in results
    ]


def _proves(outcome: SendOutcome) -> bool:
    return outcome.kind is OutcomeKind.FINAL and broken_by(outcome.code) is not None


async def break_refused(cursor: Cursor, results: Sequence[tuple[PendingOrder, SendOutcome]], *, actor: str) -> None:
    """Mark the credentials that these attempts have proven broken."""
    final = [(o.credential, r.code) for o, r in results if r.kind is OutcomeKind.FINAL]
    await break_versions(cursor, final, actor=actor)


async def break_versions(cursor: Cursor, proofs: Iterable[tuple[SealedKey | None, str]], *, actor: str) -> int:
    """How many of these credentials the codes break that were not broken yet, or replaced meanwhile."""
    found = {key: reason for key, code in proofs if key is not None and (reason := broken_by(code)) is not None}
    return await mark_broken(cursor, [(key.ref, key.version, reason) for key, reason in found.items()], actor=actor)


async def mark_broken(cursor: Cursor, broken: Sequence[tuple[str, int, Broken]], *, actor: str) -> int:
    """By reference and version. Said by an event, and in the log."""
    if not broken:
        return 0
    rows = [{"cred_ref": ref, "version": version, "reason": reason.value} for ref, version, reason in broken]
    await cursor.execute(_BREAK, {"broken": jsonb(rows), "actor": actor})
    marked = await cursor.fetchall()
    for row in marked:
        _log.warning("credential %s is broken: %s", row["cred_ref"], row["broken_reason"])
    return len(marked)
