"""What a flatten looks at: orders of its scope that are under way, and what its followers hold."""

from typing import Any

from adapters.store.database import Database
from adapters.store.entities import emit
from domain.flattening import FlattenInput, FlattenResult, Held
from domain.orders import Side
from domain.sizing import plain

# A flatten's own orders are named after it, so that it does not call them off.
_LIVE = """
SELECT mo_id FROM manager_orders WHERE tenant_id = %(tenant_id)s AND live AND kind <> 'flatten'
  AND (%(vault_id)s::text IS NULL OR vault_id = %(vault_id)s)
  AND (%(follower_id)s::text IS NULL OR only_follower_id = %(follower_id)s)
ORDER BY mo_id
"""
_UNDER_WAY = """
SELECT f.fo_id, f.mo_id, f.follower_id, f.leg FROM follower_orders f JOIN manager_orders m USING (mo_id)
WHERE f.tenant_id = %(tenant_id)s AND m.live
  AND f.state IN ('sized', 'retry', 'sent', 'unknown', 'ack', 'partially_filled')
  AND (%(vault_id)s::text IS NULL OR f.vault_id = %(vault_id)s)
  AND (%(follower_id)s::text IS NULL OR f.follower_id = %(follower_id)s)
ORDER BY f.fo_id
"""
# A follower whose kill switch is on gets nothing, not even its exit.
_HELD = """
SELECT w.vault_id, h.symbol, max(abs(h.qty)) AS qty, sum(h.qty) AS net, count(*) AS followers
FROM positions h JOIN followers w ON w.tenant_id = h.tenant_id AND w.follower_id = h.holder_id
WHERE h.tenant_id = %(tenant_id)s AND h.qty <> 0 AND NOT w.kill_switch
  AND (%(vault_id)s::text IS NULL OR w.vault_id = %(vault_id)s)
  AND (%(follower_id)s::text IS NULL OR w.follower_id = %(follower_id)s)
GROUP BY w.vault_id, h.symbol ORDER BY w.vault_id, h.symbol
"""


class FlattenStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def live(self, scope: FlattenInput) -> list[str]:
        """Manager orders that can be called off whole: of a follower, those that concern it alone."""
        return [row["mo_id"] for row in await self._rows(scope, _LIVE)]

    async def under_way(self, scope: FlattenInput) -> list[dict[str, Any]]:
        """Follower orders that may still become fills."""
        return await self._rows(scope, _UNDER_WAY)

    async def held(self, scope: FlattenInput) -> list[Held]:
        return [
            Held(
                row["vault_id"], row["symbol"], Side.SELL if row["net"] >= 0 else Side.BUY, row["qty"], row["followers"]
            )
            for row in await self._rows(scope, _HELD)
        ]

    async def done(self, scope: FlattenInput, result: FlattenResult) -> None:
        """Told of its scope."""
        entity, entity_id = "tenant", scope.tenant_id
        if scope.vault_id is not None:
            entity, entity_id = "vault", scope.vault_id
        if scope.follower_id is not None:
            entity, entity_id = "follower", scope.follower_id
        left = [
            {"vault_id": h.vault_id, "symbol": h.symbol, "qty": plain(h.qty), "followers": h.followers}
            for h in result.left
        ]
        payload = {"halt_id": scope.halt_id, "called_off": result.called_off, "orders": result.orders, "left": left}
        async with self._database.session(scope.tenant_id) as session:
            await emit(session, scope.tenant_id, entity, entity_id, "flatten_done", scope.actor, payload)

    async def _rows(self, scope: FlattenInput, statement: str) -> list[dict[str, Any]]:
        values = {"tenant_id": scope.tenant_id, "vault_id": scope.vault_id, "follower_id": scope.follower_id}
        if scope.follower_id is not None:
            values["vault_id"] = None  # the follower says which
        async with self._database.cursor(scope.tenant_id) as cursor:
            await cursor.execute(statement, values)
            return await cursor.fetchall()
