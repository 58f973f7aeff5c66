"""The query layer's line between tenants: nothing that names a tenant's table runs without naming whose rows it means.

Row-level security is the second line and knows nothing of this one. Statements of models get their condition here, as
the session runs them. Statements in SQL carry it themselves, as `is_mine(tenant_id)` or with the tenant bound, and one
without it is refused. Both compare as text, so that they only filter and never choose an index, as ADR 0014 has it of
the policies; Postgres writes the body of `is_mine` into the plan, so it costs no call.
"""

import re
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any, cast
from uuid import UUID

from psycopg import AsyncCursor
from psycopg.abc import Params, Query
from psycopg.rows import DictRow
from sqlalchemy import Connection, Engine, Executable, TextClause, event
from sqlalchemy.orm import ORMExecuteState, UOWTransaction, with_loader_criteria
from sqlmodel import Session, SQLModel

from models import Owned

_TABLES = frozenset(name for name, table in SQLModel.metadata.tables.items() if "tenant_id" in table.c)
_READS = re.compile(r"\b(?:FROM|JOIN|UPDATE|USING)\s+(?:ONLY\s+)?(?:public\.)?([a-z_]+)\b", re.IGNORECASE)
_LOCKS = re.compile(r"\bFOR\s+(?:NO\s+KEY\s+)?UPDATE\b", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*")
_MINE = re.compile(r"\bis_mine\([a-z_.]*tenant_id\)")
_NAMED = re.compile(r"\bis_mine\(|\btenant_id\s*=\s*(?:%|:\w|current_setting\()")
_TENANT, _FILTERED = "tenant_id", "vanta_filtered"


class TenantNotNamed(RuntimeError):
    """A statement would read or change rows of any tenant. A bug: nobody's request can bring it about."""


@lru_cache(maxsize=2_048)
def check_statement(statement: str) -> None:
    """Raises TenantNotNamed for SQL that reads or changes a tenant's table and names no tenant."""
    told = _LOCKS.sub("", _COMMENT.sub("", statement))
    tables = {found.lower() for found in _READS.findall(told)} & _TABLES
    if tables and _NAMED.search(told) is None:
        shown = f"{', '.join(sorted(tables))}: {' '.join(told.split())[:200]}"
        raise TenantNotNamed(f"say is_mine(tenant_id), or bind the tenant, for {shown}")


def without_line(statement: str) -> str:
    """The statement as it would be without this line; for tests of the second one."""
    return _MINE.sub("true", statement)


class TenantCursor(AsyncCursor[DictRow]):
    """Runs no SQL that names no tenant for a tenant's table. `filtered` off: for tests of row-level security."""

    filtered = True

    async def execute(self, query: Query, params: Params | None = None, **options: Any) -> "TenantCursor":
        await super().execute(cast("Any", self._checked(query)), params, **options)
        return self

    async def stream(self, query: Query, params: Params | None = None, **options: Any) -> AsyncIterator[DictRow]:
        async for row in super().stream(cast("Any", self._checked(query)), params, **options):
            yield row

    def _checked(self, query: Query) -> str:
        assert isinstance(query, str), "the store's statements are texts"
        if self.filtered:
            check_statement(query)
            return query
        return without_line(query)


class TenantSession(Session):
    """Every SELECT, UPDATE and DELETE of models sees the rows of one tenant, which `info` names, and no other's."""


def of_tenant(tenant_id: str) -> dict[str, str]:
    """What a session's `info` says."""
    return {_TENANT: str(UUID(tenant_id))}


@event.listens_for(TenantSession, "do_orm_execute")
def _filter(state: ORMExecuteState) -> None:
    tenant = state.session.info[_TENANT]
    state.update_execution_options(**{_FILTERED: True})
    if state.is_select or state.is_update or state.is_delete:
        mine = with_loader_criteria(Owned, lambda model: model.belongs_to(tenant), include_aliases=True)
        state.statement = cast("Any", state.statement).options(mine)


@event.listens_for(TenantSession, "before_flush")
def _refuse_strangers(session: Session, _context: UOWTransaction, _instances: object) -> None:
    tenant = session.info[_TENANT]
    for row in (*session.new, *session.dirty):
        if isinstance(row, Owned) and str(cast("Any", row).tenant_id) != tenant:
            raise TenantNotNamed(f"a row of {type(row).__name__} is another tenant's")


def guard_engine(engine: Engine, *, filtered: bool) -> None:
    """What reaches a connection by another way than a session or cursor of this module is held to the same."""
    if filtered:
        event.listen(engine, "before_execute", _refuse_unfiltered)
    else:
        event.listen(engine, "before_cursor_execute", _strip, retval=True)


def _refuse_unfiltered(
    _connection: Connection, statement: Executable, _many: object, _values: object, options: Any
) -> None:
    if isinstance(statement, TextClause):
        check_statement(statement.text)
        return
    of_models = getattr(statement, "_propagate_attrs", {}).get("compile_state_plugin") == "orm"
    if of_models and not getattr(statement, "is_insert", False) and not options.get(_FILTERED):
        raise TenantNotNamed("a statement of models belongs to a session, which says whose rows it means")


def _strip(
    _connection: Connection, _cursor: object, statement: str, values: Any, _context: object, _many: object
) -> tuple[str, Any]:
    return without_line(statement), values
