"""Auto-disable: it fires, it says so, healthy endpoints cost nothing, and what it stops is a dead letter."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from adapters.store.database import Cursor, Database
from adapters.store.dispatch import DispatchStore
from adapters.store.endpoints import TrialStore
from adapters.store.expansion import ExpansionStore
from adapters.store.registry import Registry
from domain import ids
from domain.breaker import BreakerPolicy
from domain.errors import Conflict, NotFound
from domain.orders import FollowerState
from domain.ports import OutcomeKind, SendOutcome
from tests.adapters.store.orders import Floor, SpiedDatabase

F = FollowerState
FAIL = SendOutcome(OutcomeKind.RETRYABLE, "http_503", "HTTP 503", 503)
BUSY = SendOutcome(OutcomeKind.RETRYABLE, "http_429", "HTTP 429", 429)
SILENT = SendOutcome(OutcomeKind.AMBIGUOUS, "no_answer")
GONE = SendOutcome(OutcomeKind.FINAL, "gone", "HTTP 410", 410, disable_endpoint=True)
ACK = SendOutcome(OutcomeKind.ACK, "ack", "", 200)
THREE = BreakerPolicy(consecutive=3)
A_MINUTE = timedelta(minutes=1)


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def deliver(
    floor: Floor, follower: str, outcomes: Sequence[SendOutcome], policy: BreakerPolicy = THREE, database: Any = None
) -> list[str]:
    """One order per outcome, each attempted once; the states that they come to."""
    store = DispatchStore(database or floor.database, breaker=policy)
    states: list[str] = []
    for outcome in outcomes:
        mo_id = (await floor.admit(qty=str(1 + len(states)))).mo_id
        await ExpansionStore(floor.database).expand(floor.tenant_id, mo_id, 0)
        fo_id = ids.follower_order_id(mo_id, follower)
        order = await store.take(floor.tenant_id, fo_id, datetime.now(UTC))
        if order.state is F.SENT:
            [change] = await store.record(floor.tenant_id, [(order, outcome)])
            states.append(change.target.value)
        else:
            states.append(order.state.value)
    return states


async def endpoint(floor: Floor, follower: str) -> dict[str, Any]:
    [row] = await floor.rows(
        "SELECT consecutive_failures AS failures, endpoint_disabled_at IS NOT NULL AS disabled, "
        "endpoint_disabled_reason AS reason FROM followers WHERE follower_id = %s", follower
    )  # fmt: skip
    return row


async def told(floor: Floor, follower: str) -> list[tuple[str, Any]]:
    rows = await floor.rows(
        "SELECT action, payload FROM audit_events WHERE entity = 'follower' AND entity_id = %s AND action LIKE %s "
        "ORDER BY event_id", follower, "endpoint_%",
    )  # fmt: skip
    return [(row["action"], row["payload"].get("reason")) for row in rows]


async def test_failures_in_a_row_disable_an_endpoint_and_it_is_said(
    floor: Floor, caplog: pytest.LogCaptureFixture
) -> None:
    follower = await floor.follower()
    assert await deliver(floor, follower, [FAIL, SILENT]) == ["retry", "unknown"]
    assert await endpoint(floor, follower) == {"failures": 2, "disabled": False, "reason": None}
    await deliver(floor, follower, [FAIL])
    assert await endpoint(floor, follower) == {"failures": 3, "disabled": True, "reason": "3 failures in a row"}
    assert await told(floor, follower) == [("endpoint_disabled", "3 failures in a row")]
    assert f"endpoint of {follower} disabled: 3 failures in a row" in caplog.text


async def test_an_answer_ends_the_row_and_being_busy_does_not_count(floor: Floor) -> None:
    follower = await floor.follower()
    await deliver(floor, follower, [FAIL, FAIL, ACK, BUSY, FAIL, FAIL])
    assert await endpoint(floor, follower) == {"failures": 2, "disabled": False, "reason": None}


async def test_a_rate_of_failures_disables_it_too(floor: Floor) -> None:
    follower = await floor.follower()
    policy = BreakerPolicy(consecutive=100, rate_attempts=6)
    await deliver(floor, follower, [FAIL, ACK, FAIL, ACK, ACK], policy)
    assert not (await endpoint(floor, follower))["disabled"]
    await deliver(floor, follower, [FAIL], policy)
    assert (await endpoint(floor, follower))["reason"] == "3 of 6 attempts failed within 10 minutes (50 %)"


async def test_gone_keeps_its_own_reason(floor: Floor) -> None:
    follower = await floor.follower()
    await deliver(floor, follower, [FAIL, FAIL, GONE])
    assert await told(floor, follower) == [("endpoint_disabled", "the endpoint answered 410 Gone")]


async def test_a_batch_counts_each_endpoint_for_itself(floor: Floor) -> None:
    one, two = await floor.follower(), await floor.follower()
    mo_id = (await floor.admit()).mo_id
    await ExpansionStore(floor.database).expand(floor.tenant_id, mo_id, 0)
    store = DispatchStore(floor.database, breaker=THREE)
    taken = [await store.take(floor.tenant_id, ids.follower_order_id(mo_id, f), datetime.now(UTC)) for f in (one, two)]
    await store.record(floor.tenant_id, list(zip(taken, [FAIL, ACK], strict=True)))
    assert [(await endpoint(floor, f))["failures"] for f in (one, two)] == [1, 0]


async def test_what_a_disabled_endpoint_would_have_got_does_not_vanish(floor: Floor) -> None:
    follower = await floor.follower()
    mo_id = (await floor.admit()).mo_id
    await ExpansionStore(floor.database).expand(floor.tenant_id, mo_id, 0)
    fo_id = ids.follower_order_id(mo_id, follower)
    await deliver(floor, follower, [FAIL] * 3)
    order = await DispatchStore(floor.database).take(floor.tenant_id, fo_id, datetime.now(UTC))
    assert order.state is F.DEAD_LETTER
    [letter] = await floor.rows("SELECT reason FROM dead_letters WHERE fo_id = %s", fo_id)
    assert letter["reason"] == "endpoint_disabled"


async def test_a_healthy_endpoint_costs_no_statement_and_its_counters_no_history(floor: Floor) -> None:
    seen: list[str] = []

    async def note(cursor: Cursor, statement: str, values: Any) -> None:
        seen.append(statement)

    spied = cast("Database", SpiedDatabase(floor.database, note))
    follower = await floor.follower()
    await deliver(floor, follower, [ACK, BUSY], database=spied)
    assert not [statement for statement in seen if "consecutive_failures =" in statement]
    await deliver(floor, follower, [FAIL, ACK], database=spied)
    assert len([statement for statement in seen if "consecutive_failures =" in statement]) == 2
    kept = await floor.rows("SELECT 1 FROM row_history WHERE entity_id = %s", follower)
    assert len(kept) == 1


async def test_a_test_is_one_at_a_time_and_ends_by_itself(floor: Floor) -> None:
    follower = await floor.follower()
    trials = TrialStore(floor.database)
    begun = await asyncio.gather(
        *(trials.begin(floor.tenant_id, follower, most=A_MINUTE) for _ in range(5)), return_exceptions=True
    )
    assert sorted(type(found).__name__ for found in begun) == ["Conflict"] * 4 + ["Trial"]
    await trials.end(floor.tenant_id, follower, ok=False, told={}, actor="user:test")
    await trials.begin(floor.tenant_id, follower, most=timedelta(microseconds=1))
    trial = await trials.begin(floor.tenant_id, follower, most=A_MINUTE)
    assert (trial.url, len(trial.keys)) == ("https://follower.example/hook", 1)


async def test_a_test_that_is_answered_enables_the_endpoint_and_begins_its_counts_anew(floor: Floor) -> None:
    follower = await floor.follower()
    policy = BreakerPolicy(consecutive=3, rate_attempts=3)
    await deliver(floor, follower, [FAIL] * 3, policy)
    trials = TrialStore(floor.database)
    await trials.begin(floor.tenant_id, follower, most=A_MINUTE)
    assert await trials.end(floor.tenant_id, follower, ok=False, told={}, actor="user:ops") == (False, False)
    await trials.begin(floor.tenant_id, follower, most=A_MINUTE)
    assert await trials.end(floor.tenant_id, follower, ok=True, told={}, actor="user:ops") == (True, True)
    assert await endpoint(floor, follower) == {"failures": 0, "disabled": False, "reason": None}
    assert [action for action, _ in await told(floor, follower)] == ["endpoint_disabled", "endpoint_enabled"]
    # What failed before it was enabled is not held against it again.
    assert await deliver(floor, follower, [FAIL], policy) == ["retry"]
    assert not (await endpoint(floor, follower))["disabled"]
    await trials.begin(floor.tenant_id, follower, most=A_MINUTE)
    assert await trials.end(floor.tenant_id, follower, ok=True, told={}, actor="user:ops") == (True, False)


async def test_nobody_tests_what_is_not_there(floor: Floor) -> None:
    trials = TrialStore(floor.database)
    with pytest.raises(NotFound):
        await trials.begin(floor.tenant_id, "F_nobody", most=A_MINUTE)
    bridged = await floor.follower()
    await floor.rows("UPDATE followers SET webhook = NULL WHERE follower_id = %s", bridged)
    with pytest.raises(Conflict, match="no webhook"):
        await trials.begin(floor.tenant_id, bridged, most=A_MINUTE)


def test_the_default_is_twenty_in_a_row_or_half_of_twenty_in_ten_minutes() -> None:
    assert BreakerPolicy() == BreakerPolicy(20, Decimal("0.5"), 20, timedelta(minutes=10))
