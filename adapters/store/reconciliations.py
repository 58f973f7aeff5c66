"""Reconciliation runs: opened one at a time per vault, closed, and read back with what they found."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlmodel import col, select

from adapters.store.changes import EMIT
from adapters.store.database import Cursor, Database, jsonb
from adapters.store.entities import require
from adapters.store.reads import filtered, newest
from domain.requests import Slice
from domain.runs import OpenedRun, RunTotals
from models import Drift, Reconciliation, Vault

ACTOR = "system:reconciliation"
_NOBODY = str(UUID(int=0))  # all vaults are listed by a function that needs no tenant
# A run that has not ended after this long was stopped from outside; it must not keep the next one from starting.
_ABANDONED = timedelta(hours=1)

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('reconcile ' || %s, 0))"
_RUNNING = """
SELECT run_id, started_at < now() - %(abandoned)s AS abandoned FROM reconciliations
WHERE tenant_id = %(tenant)s AND vault_id = %(vault)s AND state = 'running' AND run_id <> %(run)s
"""
_ABANDON = """
UPDATE reconciliations SET state = 'failed', ended_at = now() WHERE run_id = ANY(%s) AND is_mine(tenant_id)
"""
_OPEN = """
INSERT INTO reconciliations (run_id, tenant_id, vault_id, state, summary)
VALUES (%(run)s, %(tenant)s, %(vault)s, 'running', '{}') ON CONFLICT (run_id) DO NOTHING
"""
# `now` is the database's, as are the times that are compared with it.
_OPENED = """
SELECT r.run_id, r.state, r.started_at,
  (SELECT p.run_id FROM reconciliations p WHERE p.tenant_id = r.tenant_id AND p.vault_id = r.vault_id
     AND p.state = 'done' AND p.started_at < r.started_at ORDER BY p.started_at DESC LIMIT 1) AS previous
FROM reconciliations r WHERE r.run_id = %s AND is_mine(r.tenant_id)
"""
_PREVIOUS = "SELECT started_at, summary FROM reconciliations WHERE run_id = %s AND is_mine(tenant_id)"

_CLOSE = f"""
WITH u AS (
  UPDATE reconciliations SET state = %(state)s, ended_at = now(), followers = %(followers)s, drifts = %(drifts)s,
    summary = %(summary)s
  WHERE run_id = %(run)s AND is_mine(tenant_id) AND state = 'running' RETURNING *
), e AS (
  SELECT tenant_id, 'vault' AS entity, vault_id AS entity_id, 'reconciled' AS action, %(actor)s AS actor,
    NULL AS mo_id, 1 AS n,
    jsonb_build_object('run_id', run_id, 'state', state, 'followers', followers, 'drifts', drifts, 'summary', summary)
      AS payload
  FROM u
), {EMIT}
SELECT count(*) FROM a
"""


class ReconciliationStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, tenant_id: str, vault_id: str, run_id: str) -> OpenedRun | None:
        """The run, begun now or by an earlier try; None while another one of the vault is under way."""
        given = {"tenant": tenant_id, "vault": vault_id, "run": run_id, "abandoned": _ABANDONED}
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_LOCK, [vault_id])
            await cursor.execute(_RUNNING, given)
            running = await cursor.fetchall()
            if any(not row["abandoned"] for row in running):
                return None
            if running:
                await cursor.execute(_ABANDON, [[row["run_id"] for row in running]])
            await cursor.execute(_OPEN, given)
            return await self._opened(cursor, run_id)

    async def _opened(self, cursor: Cursor, run_id: str) -> OpenedRun | None:
        await cursor.execute(_OPENED, [run_id])
        row = await cursor.fetchone()
        assert row is not None
        if row["state"] != "running":
            return None
        await cursor.execute(_PREVIOUS, [row["previous"]])
        before = await cursor.fetchone() or {"started_at": None, "summary": {}}
        alerts = tuple(alert["follower_id"] for alert in before["summary"].get("alerts", ()))
        return OpenedRun(run_id, row["started_at"], row["previous"], before["started_at"], alerts)

    async def close(self, tenant_id: str, run_id: str, totals: RunTotals, state: str) -> None:
        """A repeat changes nothing."""
        given = {
            "run": run_id, "state": state, "followers": totals.followers, "drifts": totals.drifts,
            "summary": jsonb(totals.summary()), "actor": ACTOR,
        }  # fmt: skip
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_CLOSE, given)

    async def runs(self, tenant_id: str, part: Slice, **filters: str | None) -> Sequence[Reconciliation]:
        """Newest first; `filters` are columns and their values."""
        wanted = filtered(select(Reconciliation), Reconciliation, tenant_id, filters)
        wanted = newest(wanted, part, col(Reconciliation.started_at), col(Reconciliation.run_id))
        async with self._database.session(tenant_id) as session:
            return (await session.exec(wanted)).all()

    async def run(self, tenant_id: str, run_id: str) -> Reconciliation:
        """Raises NotFound."""
        async with self._database.session(tenant_id) as session:
            return await require(session, Reconciliation, "reconciliation", run_id)

    async def drifts(
        self, tenant_id: str, run_id: str, *, limit: int, after: tuple[str, str] = ("", "")
    ) -> Sequence[Drift]:
        """Of one run, by follower and symbol, those beyond `after`. Raises NotFound for the run."""
        mine = Drift.tenant_id == UUID(tenant_id), Drift.run_id == run_id
        wanted = select(Drift).where(*mine).order_by(col(Drift.follower_id), col(Drift.symbol)).limit(limit)
        beyond = (col(Drift.follower_id) > after[0]) | (
            (col(Drift.follower_id) == after[0]) & (col(Drift.symbol) > after[1])
        )
        async with self._database.session(tenant_id) as session:
            await require(session, Reconciliation, "reconciliation", run_id)
            return (await session.exec(wanted.where(beyond))).all()

    async def open_vaults(self) -> dict[str, str]:
        """Every open vault of every tenant, with its tenant."""
        async with self._database.cursor(_NOBODY) as cursor:
            await cursor.execute("SELECT vault_id, tenant_id FROM all_vaults()")
            return {row["vault_id"]: str(row["tenant_id"]) for row in await cursor.fetchall()}

    async def running(self, tenant_id: str, vault_id: str, run_id: str) -> str | None:
        """Another run of the vault that is under way. Raises NotFound for the vault."""
        await self.require_vault(tenant_id, vault_id)
        given = {"tenant": tenant_id, "vault": vault_id, "run": run_id, "abandoned": _ABANDONED}
        async with self._database.cursor(tenant_id) as cursor:
            await cursor.execute(_RUNNING, given)
            return next((row["run_id"] for row in await cursor.fetchall() if not row["abandoned"]), None)

    async def require_vault(self, tenant_id: str, vault_id: str) -> None:
        """Raises NotFound."""
        async with self._database.session(tenant_id) as session:
            await require(session, Vault, "vault", vault_id)
