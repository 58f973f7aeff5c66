"""The OS's vaults imported: all or nothing, once, and told field by field."""

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select
from typer.testing import CliRunner

from adapters.store.database import Database
from adapters.store.registry import Registry
from adapters.store.vault_import import ImportedVault, VaultImport
from cli import app
from domain.errors import InvalidFile, NotFound
from domain.vaultfile import parse
from models import AuditEvent, Vault
from settings import Settings
from stack import Stack

ACTOR = "operator:test"


def vault(**more: Any) -> dict[str, Any]:
    return {"vault_id": f"V_{uuid.uuid4().hex}", "label": "Alpha", "rails": ["fiat"], **more}


async def run(database: Database, tenant: str, vaults: Sequence[Any], **more: Any) -> list[ImportedVault]:
    return await VaultImport(database).run(tenant, parse(json.dumps(vaults)), actor=ACTOR, **more)


async def stored(database: Database, tenant: str) -> tuple[dict[str, Vault], list[tuple[str, str]]]:
    """The tenant's vaults, and the actions of their audit events."""
    async with database.session(tenant) as session:
        rows = (await session.exec(select(Vault))).all()
        events = (await session.exec(select(AuditEvent).order_by(col(AuditEvent.event_id)))).all()
    return {r.vault_id: r for r in rows}, [(e.entity_id, e.action) for e in events if e.entity == "vault"]


async def test_a_second_import_of_the_same_file_changes_nothing(database: Database, tenant: str) -> None:
    file = [
        vault(nav="1000.5", personas=["athena"], risk_profile={"price_collar_bps": 12.5}, public=True), vault(),
    ]  # fmt: skip
    assert await run(database, tenant, file) == [ImportedVault(v["vault_id"], created=True) for v in file]
    before = await stored(database, tenant)
    first = before[0][file[0]["vault_id"]]
    assert (first.nav_usd, first.cash_usd, first.public) == (Decimal("1000.5"), Decimal("1000.5"), True)
    assert first.risk_profile == {"price_collar_bps": "12.5"}
    assert await run(database, tenant, file) == [ImportedVault(v["vault_id"]) for v in file]
    assert await stored(database, tenant) == before


async def test_changed_fields_are_told_and_what_is_left_out_stays(database: Database, tenant: str) -> None:
    one = vault(personas=["athena"], public=True, risk_profile={"allow_short": True, "max_order_qty": "5"})
    await run(database, tenant, [one])
    after = {"vault_id": one["vault_id"], "label": "Beta", "rails": ["fiat", "crypto"],
             "risk_profile": {"allow_short": True}, "nav": "7"}  # fmt: skip
    (done,) = await run(database, tenant, [after])
    assert done.changes == {
        "label": {"from": "Alpha", "to": "Beta"},
        "rails": {"from": ["fiat"], "to": ["fiat", "crypto"]},
        "risk_profile": {"from": {"allow_short": True, "max_order_qty": "5"}, "to": {"allow_short": True}},
        "nav": {"from": None, "to": "7"},
    }
    rows, events = await stored(database, tenant)
    row = rows[one["vault_id"]]
    assert (row.label, row.personas, row.public, row.nav_usd) == ("Beta", ["athena"], True, Decimal(7))
    assert [action for _, action in events] == ["created", "updated", "nav_updated"]


async def test_a_nav_is_for_a_vault_that_has_none(database: Database, registry: Registry, tenant: str) -> None:
    one = vault(nav="100")
    await run(database, tenant, [one])
    await registry.set_vault_nav(tenant, one["vault_id"], Decimal(250), datetime.now(UTC), actor=ACTOR)
    assert await run(database, tenant, [one]) == [ImportedVault(one["vault_id"])]
    assert (await registry.get_vault(tenant, one["vault_id"])).nav_usd == 250


async def test_an_id_that_another_tenant_has_refuses_the_whole_file(
    database: Database, registry: Registry, tenant: str
) -> None:
    other = str(uuid.uuid4())
    await registry.ensure_tenant(other, "Other", actor=ACTOR)
    theirs = [vault(), vault()]
    await run(database, other, theirs)
    mine = vault()
    with pytest.raises(InvalidFile) as refused:
        await run(database, tenant, [mine, *theirs])
    assert [fault.field for fault in refused.value.faults] == ["vaults[1].vault_id", "vaults[2].vault_id"]
    assert await stored(database, tenant) == ({}, [])
    assert {row.label for row in (await stored(database, other))[0].values()} == {"Alpha"}


async def test_a_dry_run_says_the_same_and_does_nothing(database: Database, tenant: str) -> None:
    file = [vault(nav="5")]
    assert await run(database, tenant, file, dry_run=True) == [ImportedVault(file[0]["vault_id"], created=True)]
    assert await stored(database, tenant) == ({}, [])


async def test_a_tenant_must_be_there(database: Database) -> None:
    with pytest.raises(NotFound):
        await run(database, str(uuid.uuid4()), [vault()])


async def test_the_command_shows_a_table_and_refuses_a_bad_file_whole(
    stack: Stack, settings: Settings, database: Database, tenant: str, tmp_path: Path
) -> None:
    file, one = tmp_path / "vaults.json", vault()
    command = ["import", "vaults", str(file), "--tenant", tenant, "--data", str(stack.layout.data)]
    file.write_text(json.dumps([one, {**one, "rails": "fiat"}]))
    refused = await _invoke(command)
    assert refused.exit_code == 1
    assert "vaults[1].rails: must list fiat, crypto or both" in refused.stderr
    assert await stored(database, tenant) == ({}, [])
    file.write_text(json.dumps([one]))
    for options, told in ((["--dry-run"], "would be created 1"), ([], "created 1"), ([], "unchanged 1")):
        done = await _invoke([*command, *options])
        assert done.exit_code == 0, done.output
        assert one["vault_id"] in done.stdout
        assert told in done.stdout


async def _invoke(command: list[str]) -> Any:
    """In a thread, as the command runs a loop of its own."""
    import asyncio

    return await asyncio.to_thread(CliRunner().invoke, app, command)
