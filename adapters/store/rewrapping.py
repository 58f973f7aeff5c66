"""All sealed secrets of all tenants, counted by master key and wrapped anew under the newest.

Runs as the owner of the tables, who sees every tenant's rows; each batch is one transaction with its audit events, so
that a run that is broken off has done what it has told, and the next one goes on with the rest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import DictRow, dict_row
from pydantic import SecretStr

from adapters.secretbox import MAGIC, SecretBox
from adapters.store.changes import EMIT
from adapters.store.database import jsonb
from domain.errors import SecretUnavailable

ACTOR = "operator:secrets"
BATCH = 200
Cursor = AsyncCursor[DictRow]

# Under the newest master key there may still be secrets of before envelopes.
_OLD = "(key_id <> %(newest)s OR substring(sealed FOR 8) <> %(magic)s)"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A table of secrets: the statements that count, read on from a place, and write back."""

    name: str
    count: LiteralString
    due: LiteralString
    batch: LiteralString
    write: LiteralString


def _kind(table: LiteralString, ref: LiteralString, version: LiteralString, key: LiteralString) -> _Kind:
    return _Kind(
        table,
        f"SELECT key_id, count(*) AS n, count(*) FILTER (WHERE {_OLD} AND key_id = %(newest)s) AS of_before "
        f"FROM {table} GROUP BY key_id",
        f"SELECT count(*) AS n FROM {table} WHERE {_OLD}",
        f"SELECT tenant_id, {ref} AS ref, {version} AS version, key_id, sealed FROM {table} "
        f"WHERE {_OLD} AND ({ref}, {version}) > (%(ref)s, %(version)s) ORDER BY ref, version LIMIT %(most)s "
        f"FOR UPDATE",
        f"UPDATE {table} SET key_id = %(key_id)s, sealed = %(sealed)s WHERE {key}",
    )


_KINDS = (
    _kind("credentials", "cred_ref", "0", "cred_ref = %(ref)s"),
    _kind("webhook_keys", "key_ref", "version", "key_ref = %(ref)s AND version = %(version)s"),
)

_TELL = f"""
WITH e AS (
  SELECT x.tenant_id::uuid AS tenant_id, 'tenant' AS entity, x.tenant_id AS entity_id, 'secrets_rewrapped' AS action,
    %(actor)s AS actor, NULL AS mo_id, x.payload, 1 AS n
  FROM jsonb_to_recordset(%(events)s) AS x(tenant_id text, payload jsonb)
), {EMIT}
SELECT count(*) FROM a
"""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What is sealed under one master key. `of_before` lies under it without a data key of its own."""

    key_id: str
    newest: bool
    configured: bool
    credentials: int = 0
    webhook_keys: int = 0
    of_before: int = 0


@dataclass(slots=True)
class Rewrapped:
    """Secrets wrapped anew by kind, and the references of those that could not be opened, with why."""

    done: dict[str, int] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)


class Rewrapping:
    """`owner_dsn` is the owner role's; `batch` secrets are one transaction."""

    def __init__(self, owner_dsn: SecretStr, box: SecretBox, *, batch: int = BATCH) -> None:
        self._dsn = owner_dsn.get_secret_value()
        self._box = box
        self._batch = batch

    async def status(self) -> list[KeyUse]:
        """Every master key that is configured or used, configured ones first, newest first."""
        counts: dict[str, dict[str, int]] = {key_id: {} for key_id in self._box.key_ids}
        async with await self._connect() as connection, connection.cursor() as cursor:
            for kind in _KINDS:
                await cursor.execute(kind.count, self._known())
                for row in await cursor.fetchall():
                    use = counts.setdefault(row["key_id"], {})
                    use[kind.name] = row["n"]
                    use["of_before"] = use.get("of_before", 0) + row["of_before"]
        newest, configured = self._box.newest, set(self._box.key_ids)
        return [KeyUse(key_id, key_id == newest, key_id in configured, **use) for key_id, use in counts.items()]

    async def run(self, told: Callable[[int, int], None]) -> Rewrapped:
        """Wrap everything that is not under the newest master key; `told` hears how many of how many are done.

        A secret that cannot be opened stays as it is. A repeat does what is left.
        """
        result = Rewrapped()
        async with await self._connect() as connection, connection.cursor() as cursor:
            total = 0
            for kind in _KINDS:
                await cursor.execute(kind.due, self._known())
                total += (await _one(cursor))["n"]
            await connection.commit()
            for kind in _KINDS:
                place: tuple[str, int] | None = ("", -1)
                while place is not None:
                    place = await self._step(cursor, kind, place, result)
                    await connection.commit()
                    told(sum(result.done.values()) + len(result.failed), total)
        return result

    async def _step(
        self, cursor: Cursor, kind: _Kind, after: tuple[str, int], result: Rewrapped
    ) -> tuple[str, int] | None:
        """One batch; where the next one begins, None at the end."""
        place = {"ref": after[0], "version": after[1], "most": self._batch}
        await cursor.execute(kind.batch, {**self._known(), **place})
        rows = await cursor.fetchall()
        by_tenant: dict[UUID, int] = {}
        for row in rows:
            try:
                key_id, sealed = self._box.rewrap(row["key_id"], bytes(row["sealed"]), aad=row["ref"])
            except SecretUnavailable as error:
                result.failed.append((row["ref"], str(error)))
                continue
            given = {"ref": row["ref"], "version": row["version"], "key_id": key_id, "sealed": sealed}
            await cursor.execute(kind.write, given)
            by_tenant[row["tenant_id"]] = by_tenant.get(row["tenant_id"], 0) + 1
        if by_tenant:
            result.done[kind.name] = result.done.get(kind.name, 0) + sum(by_tenant.values())
            await self._tell(cursor, kind, by_tenant)
        return (rows[-1]["ref"], rows[-1]["version"]) if len(rows) == self._batch else None

    async def _tell(self, cursor: Cursor, kind: _Kind, by_tenant: Mapping[UUID, int]) -> None:
        events = [
            {"tenant_id": str(tenant), "payload": {"to": self._box.newest, kind.name: n}}
            for tenant, n in by_tenant.items()
        ]
        await cursor.execute(_TELL, {"events": jsonb(events), "actor": ACTOR})

    def _known(self) -> dict[str, Any]:
        return {"newest": self._box.newest, "magic": MAGIC}

    async def _connect(self) -> AsyncConnection[DictRow]:
        return await AsyncConnection.connect(self._dsn, row_factory=dict_row)


async def _one(cursor: Cursor) -> DictRow:
    row = await cursor.fetchone()
    assert row is not None
    return row
