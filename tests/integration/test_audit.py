"""The audit log is whole, cannot be changed, and suffices to rebuild every order."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import boto3
import orjson
import psycopg
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from domain.replay import rebuild
from domain.sizing import Mode
from simulators.market.behaviour import Behaviour as Trading
from simulators.market.behaviour import Fault, FaultKind, Life
from simulators.receiver import Behaviour
from tests.integration.rebuilding import check_rebuilt, equals, events_of
from tests.world import World


@pytest.fixture(scope="module")
async def varied(world: World) -> str:
    """An order whose follower orders end in many ways; its id, once it has settled."""
    vault = await world.vault()
    await world.webhook(vault)
    await world.webhook(vault, Behaviour(kind="fail", times=1))
    await world.webhook(vault, Behaviour(kind="fail", status=400))
    await world.webhook(vault, Behaviour(kind="process_then_hang", times=1))
    await world.webhook(vault, kill_switch=True)
    await world.webhook(vault, mode=Mode.CAPPED, max_pos_usd=Decimal(1_000))
    await world.webhook(vault, scale=Decimal("0.01"))
    await world.shadow(vault)
    await world.bridged(vault, Trading(life=Life(steps=3, interval_ms=400)))
    await world.bridged(vault, Trading(life=Life(ending="rejected")))
    await world.bridged(vault, Trading(fault=Fault(kind=FaultKind.DROP)))
    admission = await world.submit(vault, "buy", 10)
    await world.settled(admission.mo_id)
    return admission.mo_id


async def test_follower_orders_rebuilt_from_the_log_alone_equal_the_database(world: World, varied: str):
    rebuilt = await check_rebuilt(world, varied)
    assert {order.state for order in rebuilt.values()} == {"confirmed", "rejected", "killed", "skipped", "shadowed"}
    assert all(order.booked == order.filled_qty for order in rebuilt.values())


async def test_every_settled_order_of_the_tenant_took_legal_steps_only_to_where_it_stands(world: World, varied: str):
    settled = await world.rows("SELECT mo_id FROM manager_orders WHERE settled_at IS NOT NULL")
    assert varied in {row["mo_id"] for row in settled}
    for row in settled:
        await check_rebuilt(world, row["mo_id"])


async def test_the_managers_order_is_in_the_log_from_receipt_to_settlement(world: World, varied: str):
    events = [e for e in await events_of(world, varied) if e["entity"] == "manager_order"]
    assert [e["action"] for e in events] == ["received", "dispatching", "settled_with_errors"]
    assert [e["actor"] for e in events] == ["user:test", "user:test", "system:settlement"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET payload = '{}' WHERE mo_id = %s",
        "DELETE FROM audit_events WHERE mo_id = %s",
        "TRUNCATE audit_events /* %s */",
        "ALTER TABLE audit_events DISABLE ROW LEVEL SECURITY /* %s */",
        "DROP TABLE audit_events /* %s */",
    ],
)
async def test_the_applications_role_cannot_change_the_log(world: World, varied: str, statement: str):
    before = await events_of(world, varied)
    async with world.database.cursor(world.tenant_id) as cursor:
        cursor.filtered = False
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await cursor.execute(statement.replace("%s", f"'{varied}'"))
    assert await events_of(world, varied) == before


@pytest.fixture
async def s3(world: World) -> AsyncIterator[Any]:
    settings = world.settings.s3
    client = boto3.client(
        "s3", endpoint_url=settings.endpoint, region_name=settings.region,
        aws_access_key_id=settings.access_key.get_secret_value(),
        aws_secret_access_key=settings.secret_key.get_secret_value(), config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip
    yield client
    client.close()


DENIED = r"AccessDenied|Forbidden|403"


def _trade_log(world: World, s3: Any, mo_id: str) -> dict[str, Any]:
    found: dict[str, Any] = s3.get_object(
        Bucket=world.settings.s3.audit_bucket, Key=f"{world.tenant_id}/{mo_id}/trade_log.jsonl"
    )
    return found


async def test_the_trade_log_has_one_line_per_audit_event_and_rebuilds_the_orders(world: World, varied: str, s3: Any):
    stored = await asyncio.to_thread(_trade_log, world, s3, varied)
    lines = [orjson.loads(line) for line in stored["Body"].read().splitlines()]
    assert [line["event_id"] for line in lines] == [event["event_id"] for event in await events_of(world, varied)]
    await equals(world, varied, rebuild(lines))


async def test_a_stored_trade_log_can_neither_be_deleted_nor_its_lock_shortened(world: World, varied: str, s3: Any):
    stored = await asyncio.to_thread(_trade_log, world, s3, varied)
    version = {
        "Bucket": world.settings.s3.audit_bucket,
        "Key": f"{world.tenant_id}/{varied}/trade_log.jsonl",
        "VersionId": stored["VersionId"],
    }
    assert stored["ObjectLockMode"] == "COMPLIANCE"
    assert stored["ObjectLockRetainUntilDate"] > datetime.now(UTC) + timedelta(days=300)
    sooner = {"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=1)}
    with pytest.raises(ClientError, match=DENIED):
        await asyncio.to_thread(s3.delete_object, **version)
    with pytest.raises(ClientError, match=DENIED):
        await asyncio.to_thread(s3.delete_object, **version, BypassGovernanceRetention=True)
    with pytest.raises(ClientError, match=DENIED):
        await asyncio.to_thread(s3.put_object_retention, **version, Retention=sooner)
    assert (await asyncio.to_thread(s3.get_object, **version))["ContentLength"] == stored["ContentLength"]
