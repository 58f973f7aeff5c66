"""What the subscribers of a vault's followers have: one read of all of them, bound as JSON maps (see `freezing`).

Subscribers may be other tenants. What the functions tell of them stays in the statement that it is bound to; what is
frozen of it tells what one follower may not open, see `domain.rights`.
"""

from collections.abc import Collection
from typing import Any

from adapters.store.database import Cursor, jsonb
from domain.entitlements import Entitlements, from_stored, overridden
from domain.rights import Offer

# In a preview of the past, of that time.
_THEN = "nullif(current_setting('vanta.asof', true), '')::timestamptz"
_RIGHTS = f"""
SELECT r.subscribers, r.closed, r.entitlements, r.overrides FROM subscriber_rights(
  ARRAY(SELECT DISTINCT f.subscriber_tenant_id FROM followers f
    WHERE f.tenant_id = %(tenant_id)s AND f.vault_id = %(vault_id)s
      AND (%(only)s::text IS NULL OR f.follower_id = %(only)s)), {_THEN}) r
"""
_CUTS = f"""
SELECT c.subscriber, c.created_at, c.follower_id FROM follower_cuts(%(subscribers)s::uuid[], %(most)s::int[], {_THEN}) c
"""
_NOBODY = ["-infinity", ""]  # before any follower

# Of a row `f` of followers: the index of its subscriber's limits; with it, where older followers use up their number,
# the last that may open. Null where there are none.
MINE = "%(subscribers)s::jsonb -> f.subscriber_tenant_id::text"
# Of a row with `mine`: the limits.
HELD = "CASE WHEN mine IS NOT NULL THEN %(held)s::jsonb -> (mine ->> 0)::int END"
_BEYOND = "mine ->> 1 IS NOT NULL AND (created_at, follower_id) > ((mine ->> 1)::timestamptz, mine ->> 2)"


def lacks(mode: str, route: str, persona: str) -> str:
    """Of a follower with `mine` and `held`: what it would need to open, null where that is nothing.

    The three are SQL of what it opens with.
    """
    return f"""
CASE WHEN held IS NULL THEN NULL
  WHEN {_BEYOND} OR held -> 'modes' ? {mode} OR held -> 'bridged_brokers' ? {route} OR held -> 'personas' ? {persona}
    OR held ? 'flips'
  THEN jsonb_strip_nulls(jsonb_build_object('followers', CASE WHEN {_BEYOND} THEN held -> 'followers' END,
    'mode', held -> 'modes' -> {mode}, 'broker', held -> 'bridged_brokers' -> {route},
    'persona', held -> 'personas' -> {persona}, 'flips', held -> 'flips')) END
"""


async def read_rights(cursor: Cursor, offer: Offer, of: dict[str, Any], flips: Collection[str] = ()) -> dict[str, Any]:
    """What `MINE` and `HELD` bind: `held`, the limits that there are, and `subscribers`, whose they are.

    `of` names followers: tenant_id, vault_id, and `only` for one of them. `flips`: the personas of the flips in force.
    """
    await cursor.execute(_RIGHTS, of)
    held: list[dict[str, Any]] = []
    subscribers: dict[str, list[Any]] = {}
    counted: dict[str, tuple[int, int]] = {}
    for row in await cursor.fetchall():
        has = _entitlements(row, offer)
        limits = {"closed": True} if row["closed"] else offer.limits(has, flips)
        if limits.keys() - {"followers"}:
            subscribers |= {subscriber: [len(held)] for subscriber in row["subscribers"]}
        if "followers" in limits and has.followers is not None:
            counted |= {subscriber: (len(held), has.followers) for subscriber in row["subscribers"]}
        held.append(limits)
    for subscriber, cut in (await _cuts(cursor, {s: most for s, (_, most) in counted.items()})).items():
        subscribers[subscriber] = [counted[subscriber][0], *cut]
    return {"held": jsonb(held), "subscribers": jsonb(subscribers)}


async def _cuts(cursor: Cursor, most: dict[str, int]) -> dict[str, list[str]]:
    """The last follower that each may have, where it has as many."""
    found = {subscriber: _NOBODY for subscriber, count in most.items() if count == 0}
    asked = {subscriber: count for subscriber, count in most.items() if count > 0}
    if asked:
        await cursor.execute(_CUTS, {"subscribers": list(asked), "most": list(asked.values())})
        for row in await cursor.fetchall():
            found[row["subscriber"]] = [row["created_at"].isoformat(), row["follower_id"]]
    return found


def _entitlements(row: dict[str, Any], offer: Offer) -> Entitlements:
    if row["entitlements"] is None:
        return overridden(offer.without, row["overrides"] or {})
    return from_stored(row["entitlements"])
