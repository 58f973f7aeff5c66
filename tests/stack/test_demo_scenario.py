"""The demonstration's data agree with the product's own rules."""

from decimal import Decimal

import pytest

from domain import intents, queuefile
from domain.orders import FollowerState
from domain.sizing import Mode
from stack.demo_cast import CASTS
from stack.demo_scenario import SAMPLE, TENANT, Member, QueuedOrder, load_script
from tests.stack.demo_world import sized

SCRIPT = load_script(CASTS)
PARTS = [(order, member) for order in SCRIPT.orders for member in order.cast.members]


@pytest.mark.parametrize(("order", "member"), PARTS, ids=[f"{o.title}-{m.label}" for o, m in PARTS])
def test_every_expected_size_is_what_sizing_gives(order: QueuedOrder, member: Member):
    expected, sizing = order.expected(member), sized(order, member)
    assert sizing.qty == expected.qty
    if sizing.skip is not None:
        assert expected.state in {FollowerState.SKIPPED, FollowerState.KILLED}
        assert expected.reason == sizing.skip.value
        assert expected.attempts == 0


def test_the_sample_is_read_by_the_product_as_by_the_demonstration():
    entries = queuefile.parse(SAMPLE.read_text("utf-8"))
    assert [e.raw for e in entries if e.fault] == list(SCRIPT.bad)
    good = [e for e in entries if not e.fault]
    assert [e.key for e in good] == [o.entry["id"] for o in SCRIPT.orders]
    for entry in good:
        intent, _ = intents.parse_intent(entry.fields)
        assert intent.vault_id in {cast.vault_id for cast in CASTS}


def test_each_vault_is_bought_first_and_the_rest_waits_for_that():
    assert [(o.cast.label, o.nth) for o in SCRIPT.orders] == [("Core", 0), ("Tech", 0), ("Core", 1), ("Tech", 1)]
    assert [o.entry["side"] for o in SCRIPT.orders] == ["buy", "buy", "sell", "buy"]
    assert len(SCRIPT.opening) == 3
    assert set(SCRIPT.later) == {"Core", "Tech"}


def test_the_cast_is_as_large_and_as_varied_as_it_should_be():
    members = [m for cast in CASTS for m in cast.members]
    assert len(CASTS) == 2
    assert len(members) >= 24
    assert {m.mode for m in members} == set(Mode)
    assert {m.route for m in members} == {"webhook", "alpaca", "none"}
    assert len({m.scale for m in members}) > 5
    reasons = {o.reason for m in members for o in m.outcomes}
    assert {"at_cap", "below_minimum", "nothing_held", "kill_switch", "insufficient_funds"} <= reasons
    assert sum(m.outcomes[0].state is FollowerState.DEAD_LETTER for m in members) == 1
    assert any(m.outcomes[0].qty % 1 != Decimal(0) for m in members)


def test_the_tenant_is_the_same_on_every_run():
    assert TENANT == "6f1d0c52-4c1e-4f7b-9a57-d3a0de300001"
