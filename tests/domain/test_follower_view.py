"""What a follower is told of his own order, and what he is not."""

from datetime import UTC, datetime
from typing import Any

from domain import follower_view
from domain.explain import Story, explain

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
STEPS = [
    {"rule": "held", "value": "10", "result": "10", "why": "what the follower holds"},
    {"rule": "fraction", "value": "40/4321", "result": "0.09", "why": "the manager's fraction of the vault's position"},
]


def event(number: int, entity: str, action: str, actor: str, **payload: Any) -> dict[str, Any]:
    return {"event_id": number, "entity": entity, "action": action, "actor": actor, "ts": AT, "payload": payload}


STORY = Story(
    order={"fo_id": "FO-1", "follower_id": "F_bob", "symbol": "AAPL", "side": "sell", "qty": "1", "leg": 0,
           "state": "skipped", "reason": "below_minimum", "route": "webhook", "trace": STEPS, "cap_applied": False,
           "filled_qty": "0", "avg_price": None, "carry": "0"},
    manager={"mo_id": "M-1", "vault_id": "V_a", "symbol": "AAPL", "side": "sell", "qty": "40", "tif": "day", "meta": {},
             "effect": "reduce", "actor": "user:ada-of-the-desk", "source": "api", "order_type": "market"},
    snapshot={}, attempts=[], fills=[],
    events=[
        event(1, "manager_order", "received", "user:ada-of-the-desk", source="api"),
        event(2, "manager_order", "dispatching", "system:admission", snapshot="ab12cd34ef56", followers=977,
              effect="reduce"),
        event(3, "follower_order", "skipped", "system:expansion", reason="below_minimum"),
        event(4, "follower_order", "retry", "user:ada-of-the-desk", dead_letter_id=3, dispatch_attempts=1,
              redriven_by="user:ada-of-the-desk"),
    ],
)  # fmt: skip


def test_neither_positions_nor_people_nor_other_followers_are_told() -> None:
    whole, told = str(explain(STORY)), str(explain(follower_view.story(STORY)))
    for inner in ("4321", "ada-of-the-desk", "977", "ab12cd34ef56", "system:"):
        assert inner in whole, inner
        assert inner not in told, inner
    assert "given by the manager" in told
    assert "0.009257 of what you held" in told or "0.009257 is the manager's fraction" in told


def test_what_is_his_stays_as_it_was() -> None:
    shown = follower_view.trace([*STEPS, {"rule": "full_exit", "value": "-4321", "result": "10", "why": "all goes"}])
    assert [step["value"] for step in shown] == ["10", "0.009257", "all"]
    assert [step["result"] for step in shown] == ["10", "0.09", "10"]
    assert follower_view.trace([{"rule": "scale", "value": "0.5", "result": "5", "why": "x"}])[0]["value"] == "0.5"
