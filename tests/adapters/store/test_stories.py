"""Every state in which a follower order can be explains itself, from what is stored of it: by event, and in words."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.expansion import ExpansionStore
from adapters.store.reads import Reads
from adapters.store.redrive import RedriveStore
from adapters.store.registry import Registry
from adapters.store.settlement import SettlementStore
from adapters.store.waves import WaveStore
from domain.dispatch import PendingOrder
from domain.enrolment import BrokerAccount
from domain.explain import Explanation, explain
from domain.mirroring import RedriveRequest
from domain.orders import FollowerState, ManagerState
from domain.ports import OutcomeKind, VenueStatus
from domain.sizing import Mode
from tests.adapters.store.conftest import ACTOR
from tests.adapters.store.orders import UNLIMITED, Floor
from tests.adapters.store.test_calling_off import report
from tests.domain.pending import outcome

META = {"reason_vector": ["earnings revision up"], "conviction": {"score": "0.8", "overrides": {"growth": "0.2"}}}


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def placed(floor: Floor, **terms: object) -> str:
    """A manager order with one follower, whose order is sized and stored."""
    follower_id = await floor.follower(**terms)
    mo_id = (await floor.admit(meta=META)).mo_id
    await ExpansionStore(floor.database).expand(floor.tenant_id, mo_id, 0)
    return await only(floor, mo_id, follower_id)


async def only(floor: Floor, mo_id: str, follower_id: str) -> str:
    [row] = await floor.rows(
        "SELECT fo_id FROM follower_orders WHERE mo_id = %s AND follower_id = %s", mo_id, follower_id
    )
    return str(row["fo_id"])


async def taken(floor: Floor, fo_id: str) -> PendingOrder:
    return await DispatchStore(floor.database).take(floor.tenant_id, fo_id, datetime.now(UTC))


async def answered(floor: Floor, fo_id: str, kind: OutcomeKind, **fields: object) -> None:
    order = await taken(floor, fo_id)
    await DispatchStore(floor.database).record(floor.tenant_id, [(order, outcome(kind, **fields))])


async def waved(floor: Floor) -> str:
    await floor.follower(persona="apollo", scale=Decimal("0.5"))
    mo_id = (await floor.admit(meta=META)).mo_id
    page = await floor.page(mo_id)
    [order] = await WaveStore(floor.database).open(page, page.orders, datetime.now(UTC))
    return order.fo_id


async def confirmed(floor: Floor) -> str:
    fo_id = await waved(floor)
    async with DispatchStore(floor.database).locked(floor.tenant_id, fo_id) as (_, order):
        pass
    await DispatchStore(floor.database).record(floor.tenant_id, [(order, outcome(OutcomeKind.ACK))])
    return fo_id


async def sized(floor: Floor) -> str:
    return await placed(floor)


async def skipped(floor: Floor) -> str:
    return await placed(floor, scale=Decimal("0.01"))


async def shadowed(floor: Floor) -> str:
    return await placed(floor, mode=Mode.SHADOW)


async def killed_when_sized(floor: Floor) -> str:
    return await placed(floor, kill_switch=True)


async def killed_at_its_claim(floor: Floor) -> str:
    fo_id = await placed(floor)
    await floor.rows("UPDATE followers SET kill_switch = true WHERE vault_id = %s", floor.vault_id)
    await taken(floor, fo_id)
    return fo_id


async def retried(floor: Floor) -> str:
    fo_id = await placed(floor)
    await answered(floor, fo_id, OutcomeKind.RETRYABLE, code="http_503", detail="busy")
    return fo_id


async def unknown(floor: Floor) -> str:
    fo_id = await placed(floor)
    await answered(floor, fo_id, OutcomeKind.AMBIGUOUS, code="timeout")
    return fo_id


async def rejected(floor: Floor) -> str:
    fo_id = await placed(floor)
    await answered(floor, fo_id, OutcomeKind.FINAL, code="http_400", detail="no such symbol here")
    return fo_id


async def half_filled(floor: Floor) -> str:
    fo_id = await placed(floor, equities=BrokerAccount("alpaca", "key", "secret"))
    await taken(floor, fo_id)
    await report(floor, fo_id, VenueStatus.PARTIALLY_FILLED, 4)
    return fo_id


async def with_the_venue(floor: Floor) -> str:
    fo_id = await placed(floor, equities=BrokerAccount("alpaca", "key", "secret"))
    await taken(floor, fo_id)
    await report(floor, fo_id, VenueStatus.WORKING)
    return fo_id


async def expired(floor: Floor) -> str:
    fo_id = await half_filled(floor)
    [row] = await floor.rows("SELECT mo_id FROM follower_orders WHERE fo_id = %s", fo_id)
    await SettlementStore(floor.database).cancel(floor.tenant_id, row["mo_id"], "system:expiry", ManagerState.EXPIRED)
    await report(floor, fo_id, VenueStatus.CANCELLED, 4)
    return fo_id


async def cancelled(floor: Floor) -> str:
    fo_id = await placed(floor)
    [row] = await floor.rows("SELECT mo_id FROM follower_orders WHERE fo_id = %s", fo_id)
    await SettlementStore(floor.database).cancel(floor.tenant_id, row["mo_id"], ACTOR)
    return fo_id


async def dead(floor: Floor) -> str:
    fo_id = await placed(floor)
    for _ in range(5):
        await answered(floor, fo_id, OutcomeKind.RETRYABLE, code="http_500")
    return fo_id


async def redriven(floor: Floor) -> str:
    fo_id = await dead(floor)
    [letter] = await floor.rows("SELECT dead_letter_id FROM dead_letters WHERE fo_id = %s", fo_id)
    wanted = RedriveRequest(letter["dead_letter_id"], "user:ops")
    verdict = await RedriveStore(floor.database, UNLIMITED).redrive(floor.tenant_id, fo_id, wanted, datetime.now(UTC))
    assert verdict.redriven, verdict
    return fo_id


# The story, the state that it ends in, what the follower is told, and what the last moment says.
STORIES: dict[str, tuple[Callable[[Floor], Awaitable[str]], FollowerState, str, str]] = {
    "sized": (sized, FollowerState.SIZED, "to be sent next", "Sized: buy 10 WAVEQ."),
    "waved": (waved, FollowerState.SENT, "Its answer is awaited.", "in the first wave. Guards passed: kill switch off"),
    "confirmed": (confirmed, FollowerState.CONFIRMED, "You bought 7 WAVEQ at 200 on average.", "Fill: bought 7 at 200"),
    "skipped": (skipped, FollowerState.SKIPPED, "So nothing is sent.", "Skipped: your share is below"),
    "shadowed": (shadowed, FollowerState.SHADOWED, "Your mode is shadow", "would have been sent"),
    "killed when sized": (killed_when_sized, FollowerState.KILLED, "your kill switch was on", "kill switch was on"),
    "killed at its claim": (
        killed_at_its_claim, FollowerState.KILLED, "It was stopped: your kill switch was on.", "your kill switch was on"
    ),
    "retried": (retried, FollowerState.RETRY, "to be sent again", "came to http_503: busy; to be sent again after"),
    "unknown": (unknown, FollowerState.UNKNOWN, "whether it arrived", "sent again under the same id after"),
    "rejected": (rejected, FollowerState.REJECTED, "It was refused: http 400.", "Refused by the other side: http 400."),
    "with the venue": (with_the_venue, FollowerState.ACK, "has not filled it yet", "Taken over by alpaca as ref-1."),
    "half filled": (half_filled, FollowerState.PARTIALLY_FILLED, "You bought 4 WAVEQ at 200", "Fill: bought 4 at 200"),
    "expired": (expired, FollowerState.CANCELLED, "You bought 4 WAVEQ", "Cancelled after 4 filled"),
    "cancelled": (cancelled, FollowerState.CANCELLED, "the manager cancelled the order", "the manager cancelled the"),
    "dead": (dead, FollowerState.DEAD_LETTER, "A person has to look at it: five attempts", "five attempts failed"),
    "redriven": (redriven, FollowerState.RETRY, "It was sent 5 times by webhook.", "was sent again by user:ops"),
}  # fmt: skip


async def explained(floor: Floor, fo_id: str) -> Explanation:
    return explain((await Reads(floor.database).follower_order(floor.tenant_id, fo_id)).story)


@pytest.mark.parametrize("name", STORIES)
async def test_an_order_explains_itself_in_whatever_state_it_is(floor: Floor, name: str) -> None:
    tell, state, text, last = STORIES[name]
    fo_id = await tell(floor)
    found = await Reads(floor.database).follower_order(floor.tenant_id, fo_id)
    told = explain(found.story)
    assert found.order.state == state
    assert text in told.text
    assert last in [moment for moment in told.timeline if moment.action != "settled"][-1].text
    assert told.why[0].text.startswith("The manager's order: buy 10 WAVEQ (market, day) on vault")
    assert "earnings revision up" in [item.text for item in told.why]
    assert "The manager's conviction: score 0.8, growth 0.2." in [item.text for item in told.why]
    assert [item.rule for item in told.size][: len(found.order.trace)] == [step["rule"] for step in found.order.trace]


@pytest.mark.parametrize("name", STORIES)
async def test_every_item_is_linked_to_its_audit_event_and_no_event_is_left_out(floor: Floor, name: str) -> None:
    fo_id = await STORIES[name][0](floor)
    story = (await Reads(floor.database).follower_order(floor.tenant_id, fo_id)).story
    told = explain(story)
    known = [event["event_id"] for event in story.events]
    assert [moment.event_id for moment in told.timeline] == known == sorted(known)
    assert {item.event_id for item in (*told.why, *told.size)} <= set(known)
    assert all(moment.text.endswith(".") and "None" not in moment.text for moment in told.timeline)
    assert "None" not in told.text


async def test_what_bent_the_size_is_told_with_its_overlay(floor: Floor) -> None:
    await floor.rows(
        "INSERT INTO overlays (overlay_id, tenant_id, vault_id, kind, params, expires_at, actor, reason) "
        """VALUES ('O_flip_1', %s, %s, 'flip', '{"amplify": "0.35"}', now() + interval '40 min', 'user:a', 'test')""",
        floor.tenant_id, floor.vault_id,
    )  # fmt: skip
    fo_id = await placed(floor, persona="athena", scale=Decimal("0.25"), max_pos_usd=Decimal(300))
    told = await explained(floor, fo_id)
    size = {item.rule: item.text for item in told.size}
    assert size["persona"] == "The persona athena weighs it by 0.6 to begin with."
    assert size["flip"].startswith("Flip mode O_flip_1 weighs it by 1 + 0.35")
    assert size["max_pos_usd"] == "Your position may be worth 225 USD, persona counted, which leaves 1."
    assert size["overlay"].startswith("The flip O_flip_1 was active, until 20")
    assert "under a flip" in told.text


async def test_rounding_that_is_carried_is_told(floor: Floor) -> None:
    told = await explained(floor, await placed(floor, scale=Decimal("0.25")))
    assert told.size[-1].text == "0.5 are carried to your next order in WAVEQ, as rounding left them."
