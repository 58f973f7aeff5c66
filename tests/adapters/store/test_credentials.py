"""A broker credential that is refused: it breaks with the outcome that proves it, and stops its follower only."""

from datetime import UTC, datetime

import pytest

from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.enrolment import credential_ref
from adapters.store.expansion import ExpansionStore
from adapters.store.registry import Registry
from adapters.store.waves import WaveStore
from domain.dispatch import PendingOrder
from domain.enrolment import BrokerAccount
from domain.orders import FollowerState
from domain.ports import OutcomeKind, SendOutcome
from tests.adapters.store.orders import COIN, Floor

ACCOUNT = BrokerAccount("alpaca", "KEY-9431", "S3CRET-7755")
REFUSED = SendOutcome(OutcomeKind.FINAL, "bad_credentials", "HTTP 401", http_status=401)


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def claimed(floor: Floor, mo_id: str) -> list[PendingOrder]:
    page = await floor.page(mo_id, "alpaca")
    return await WaveStore(floor.database).open(page, page.orders, datetime.now(UTC))


async def credential(floor: Floor, follower_id: str) -> tuple[str, str | None]:
    (row,) = await floor.rows("SELECT * FROM credentials WHERE cred_ref = %s", credential_ref(follower_id, "alpaca"))
    return row["status"], row["broken_reason"]


async def told(floor: Floor) -> list[dict[str, object]]:
    rows = await floor.rows("SELECT * FROM audit_events WHERE entity = 'credential' ORDER BY event_id")
    return [{"action": row["action"], "entity_id": row["entity_id"], **row["payload"]} for row in rows]


async def refuse(floor: Floor, order: PendingOrder, outcome: SendOutcome = REFUSED) -> None:
    await DispatchStore(floor.database).record(floor.tenant_id, [(order, outcome)])


async def test_a_refused_key_breaks_the_credential_with_the_orders_outcome_and_is_told(floor: Floor) -> None:
    follower_id = await floor.follower(equities=ACCOUNT)
    (order,) = await claimed(floor, (await floor.admit()).mo_id)
    await refuse(floor, order)
    assert await credential(floor, follower_id) == ("broken", "bad_credentials")
    (row,) = await floor.rows("SELECT state, reason, xmin::text FROM follower_orders WHERE fo_id = %s", order.fo_id)
    (other,) = await floor.rows("SELECT xmin::text FROM credentials WHERE status = 'broken'")
    assert (row["state"], row["reason"]) == ("rejected", "bad_credentials")
    assert row["xmin"] == other["xmin"], "one transaction"
    event = {
        "action": "broken", "entity_id": credential_ref(follower_id, "alpaca"), "follower_id": follower_id,
        "venue": "alpaca", "environment": "paper", "reason": "bad_credentials",
    }  # fmt: skip
    assert await told(floor) == [event]


async def test_several_refusals_of_one_key_are_told_once(floor: Floor) -> None:
    await floor.follower(equities=ACCOUNT)
    orders = [order for _ in range(2) for order in await claimed(floor, (await floor.admit()).mo_id)]
    await DispatchStore(floor.database).record(floor.tenant_id, [(order, REFUSED) for order in orders])
    await refuse(floor, orders[0])
    assert len(await told(floor)) == 1


@pytest.mark.parametrize(
    "outcome",
    [
        SendOutcome(OutcomeKind.FINAL, "forbidden", http_status=403),
        SendOutcome(OutcomeKind.FINAL, "secret-unavailable", "no adapter for venue 'alpaca' in this worker"),
        SendOutcome(OutcomeKind.AMBIGUOUS, "bad_credentials"),
        SendOutcome(OutcomeKind.RETRYABLE, "rate_limited"),
    ],
    ids=lambda outcome: f"{outcome.kind} {outcome.code}",
)
async def test_other_outcomes_leave_the_credential_alone(floor: Floor, outcome: SendOutcome) -> None:
    follower_id = await floor.follower(equities=ACCOUNT)
    (order,) = await claimed(floor, (await floor.admit()).mo_id)
    await refuse(floor, order, outcome)
    assert await credential(floor, follower_id) == ("active", None)


async def test_what_cannot_be_opened_breaks_it_too(floor: Floor) -> None:
    follower_id = await floor.follower(equities=ACCOUNT)
    (order,) = await claimed(floor, (await floor.admit()).mo_id)
    await refuse(floor, order, SendOutcome(OutcomeKind.FINAL, "secret-unreadable", "cred/… cannot be opened"))
    assert await credential(floor, follower_id) == ("broken", "cannot_be_opened")


async def test_a_token_that_is_over_is_called_expired(floor: Floor) -> None:
    follower_id = await floor.follower(equities=ACCOUNT)
    await floor.rows("UPDATE credentials SET expires_at = now() - interval '1 second'")
    (order,) = await claimed(floor, (await floor.admit()).mo_id)
    await refuse(floor, order)
    assert await credential(floor, follower_id) == ("broken", "expired")


async def test_a_late_refusal_of_the_key_before_does_not_break_the_new_one_and_is_tried_again_with_it(
    floor: Floor,
) -> None:
    follower_id = await floor.follower(equities=ACCOUNT)
    (order,) = await claimed(floor, (await floor.admit()).mo_id)
    await floor.rows("UPDATE credentials SET version = version + 1")
    await refuse(floor, order)
    assert await credential(floor, follower_id) == ("active", None)
    (row,) = await floor.rows("SELECT state, last_error FROM follower_orders WHERE fo_id = %s", order.fo_id)
    assert (row["state"], row["last_error"]) == ("retry", "credential_replaced: HTTP 401")


async def test_only_the_follower_of_a_broken_credential_is_skipped_and_it_is_said_why(floor: Floor) -> None:
    broken, other = await floor.follower(equities=ACCOUNT), await floor.follower(equities=ACCOUNT)
    hooked = await floor.follower()
    await floor.rows(
        "UPDATE credentials SET status = 'broken', broken_reason = 'bad_credentials' WHERE cred_ref = %s",
        credential_ref(broken, "alpaca"),
    )
    mo_id = (await floor.admit()).mo_id
    assert [order.follower_id for order in await claimed(floor, mo_id)] == [other]
    assert await ExpansionStore(floor.database).expand(floor.tenant_id, mo_id, 0) == {"webhook": 1}
    rows = await floor.rows("SELECT follower_id, state, reason FROM follower_orders WHERE mo_id = %s", mo_id)
    found = {row["follower_id"]: (row["state"], row["reason"]) for row in rows}
    assert found == {broken: ("skipped", "credential_broken"), other: ("sent", None), hooked: ("sized", None)}


async def test_a_broken_credential_stops_its_own_rail_only(floor: Floor, box: SecretBox) -> None:
    follower_id = await floor.follower(equities=ACCOUNT)
    ref = f"{credential_ref(follower_id, 'alpaca')}/crypto"
    key_id, sealed = box.seal(b'{"key_id": "c", "secret": "c"}', aad=ref)
    await floor.rows(
        "INSERT INTO credentials (cred_ref, tenant_id, venue, environment, key_id, sealed) "
        "VALUES (%s, %s, 'alpaca', 'paper', %s, %s)",
        ref, floor.tenant_id, key_id, sealed,
    )  # fmt: skip
    await floor.rows(
        "UPDATE followers SET bridged_brokers = bridged_brokers || jsonb_build_object('crypto_ref', %s::text)", ref
    )
    await floor.rows("UPDATE credentials SET status = 'broken' WHERE cred_ref = %s", ref)
    assert len(await claimed(floor, (await floor.admit()).mo_id)) == 1
    assert await claimed(floor, (await floor.admit(COIN)).mo_id) == []


async def test_what_was_admitted_before_is_stopped_at_its_claim(floor: Floor) -> None:
    follower_id = await floor.follower(equities=ACCOUNT)
    mo_id = (await floor.admit()).mo_id
    await ExpansionStore(floor.database).expand(floor.tenant_id, mo_id, 0)
    await floor.rows("UPDATE credentials SET status = 'broken'")
    (row,) = await floor.rows("SELECT fo_id FROM follower_orders WHERE mo_id = %s", mo_id)
    order = await DispatchStore(floor.database).take(floor.tenant_id, row["fo_id"], datetime.now(UTC))
    assert (order.state, order.attempts) == (FollowerState.DEAD_LETTER, 0)
    (letter,) = await floor.rows("SELECT reason, context FROM dead_letters WHERE follower_id = %s", follower_id)
    assert letter["reason"] == "credential_broken"
    assert "S3CRET" not in repr(letter)


async def test_an_order_that_may_be_there_keeps_waiting_and_gets_the_new_credential(floor: Floor) -> None:
    await floor.follower(equities=ACCOUNT)
    (order,) = await claimed(floor, (await floor.admit()).mo_id)
    await refuse(floor, order, SendOutcome(OutcomeKind.AMBIGUOUS, "no_answer"))
    store = DispatchStore(floor.database)
    assert await store.break_credential(order, "bad_credentials")
    assert not await store.break_credential(order, "bad_credentials"), "it is broken already"
    waiting = await store.take(floor.tenant_id, order.fo_id, datetime.now(UTC))
    assert (waiting.state, waiting.guards.credential_broken) == (FollowerState.UNKNOWN, True)
    assert waiting.credential is None
    await floor.rows("UPDATE credentials SET status = 'active', version = 2, broken_reason = NULL")
    mended = await store.take(floor.tenant_id, order.fo_id, datetime.now(UTC))
    assert mended.credential is not None
    assert (mended.state, mended.credential.version) == (FollowerState.UNKNOWN, 2)
