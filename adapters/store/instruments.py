"""What can be traded, on which terms: changed with an audit event, shared by all tenants."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.store.database import Database
from adapters.store.entities import emit
from domain.errors import InvalidInput
from domain.instruments import InstrumentTerms, differences, merged
from domain.kills import EVERYBODY
from models import AuditEvent, Instrument

Change = Callable[[InstrumentTerms | None], InstrumentTerms]


class InstrumentStore:
    """Events are told to nobody's audit in particular, but to that of the platform (the tenant of zeros)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, changes: Mapping[str, Mapping[str, Any]], *, actor: str) -> list[str]:
        """Change or add instruments by symbol and name of term, all or none; the symbols that are not as before.

        Raises InvalidInput naming symbol and term.
        """

        def change(symbol: str) -> Change:
            return lambda before: _named(symbol, before, changes[symbol])

        return await self._change({symbol: change(symbol) for symbol in changes}, actor=actor)

    async def update(self, changes: Mapping[str, Change], *, actor: str) -> list[str]:
        """Instruments that are there already; the symbols that are not as before."""
        return await self._change(changes, actor=actor)

    async def listed(self, symbols: Sequence[str] = ()) -> Sequence[Instrument]:
        """By symbol; all of them where none is named."""
        wanted = select(Instrument).order_by(col(Instrument.symbol))
        if symbols:
            wanted = wanted.where(col(Instrument.symbol).in_(symbols))
        async with self._database.session(EVERYBODY) as session:
            return (await session.exec(wanted)).all()

    async def history(self, symbol: str) -> Sequence[AuditEvent]:
        """What was changed of it, oldest first."""
        of_symbol = AuditEvent.entity == "instrument", AuditEvent.entity_id == symbol
        async with self._database.session(EVERYBODY) as session:
            return (await session.exec(select(AuditEvent).where(*of_symbol).order_by(col(AuditEvent.event_id)))).all()

    async def _change(self, changes: Mapping[str, Change], *, actor: str) -> list[str]:
        async with self._database.session(EVERYBODY) as session:
            # Always in the same order, so that two cannot wait for each other.
            return [s for s in sorted(changes) if await _change_one(session, s, changes[s], actor)]


async def _change_one(session: AsyncSession, symbol: str, change: Change, actor: str) -> bool:
    row = await session.get(Instrument, symbol, with_for_update=True)
    before = None if row is None else _terms(row)
    after = change(before)
    told = differences(before, after)
    if not told:
        return False
    values = {"symbol": symbol, **asdict(after), "flags": list(after.flags)}
    connection = await session.connection()
    await connection.execute(
        insert(Instrument).values(values).on_conflict_do_update(index_elements=["symbol"], set_=values)
    )
    action = "created" if before is None else "updated"
    await emit(session, EVERYBODY, "instrument", symbol, action, actor, {"changes": told})
    return True


def _named(symbol: str, before: InstrumentTerms | None, changes: Mapping[str, Any]) -> InstrumentTerms:
    try:
        return merged(before, changes)
    except InvalidInput as error:
        raise InvalidInput(f"{symbol}.{error.field}", error.reason) from None


def _terms(row: Instrument) -> InstrumentTerms:
    given = {field.name: getattr(row, field.name) for field in fields(InstrumentTerms)}
    return InstrumentTerms(**{**given, "flags": tuple(sorted(row.flags))})
