"""The data of the events that tell of an order's progress; they document the stream, which `domain.progress` writes."""

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from api.schemas.common import Answer
from domain.orders import FollowerState, ManagerState

_MO, _FO = "M-7K5ZC2QW4N6J3XEXAMPLE2AB4C", "FO-4R2TDKQ6W5M7PEXAMPLE3XYZ2"
_ORDER: Any = {"mo_id": _MO, "state": "dispatching", "follower_states": {"confirmed": 1, "sent": 1}}


class OrderEvent(Answer):
    """`order`: where the manager order stands, its followers' orders counted by state.

    With an id where the order itself has moved (then with `action`, `reason`, `ts`), without one after events of its
    followers: those sum up what came before them.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_ORDER]})

    mo_id: str
    state: ManagerState
    follower_states: dict[str, int]
    action: str | None = Field(default=None, description="The state that it has taken on.")
    reason: str | None = None
    ts: datetime | None = None


class FollowerOrderEvent(Answer):
    """`follower_order`: one step of one follower's order. Of a fill, `state` is null, `qty` and `price` are its own."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "mo_id": _MO, "fo_id": _FO, "action": "confirmed", "state": "confirmed", "attempt": 1,
                    "ts": "2026-01-31T12:00:00.250000+00:00", "follower_id": "F_bob_7hq2m4zt", "filled_qty": "10",
                    "avg_price": "200.1",
                }
            ]
        }
    )  # fmt: skip

    mo_id: str
    fo_id: str
    follower_id: str
    action: str = Field(description="The state that it has taken on, or `fill`, or what an operator did.")
    state: FollowerState | None
    attempt: int | None = Field(description="How many attempts there have been.")
    ts: datetime
    symbol: str | None = None
    side: str | None = None
    leg: int | None = None
    qty: str | None = None
    price: str | None = None
    reason: str | None = None
    last_error: str | None = None
    filled_qty: str | None = None
    avg_price: str | None = None
    fill_id: str | None = None
    source: str | None = None


class StreamClosed(Answer):
    """`closed`: the stream ends before the order does. `reason` is `shutdown` or `access-ended`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "shutdown", "reconnect": True}]})

    reason: str
    reconnect: bool = Field(description="Whether to come back, with Last-Event-ID.")


_EXAMPLE = (
    "retry: 1000\n\n"
    "id: 4711\nevent: follower_order\n"
    f'data: {{"mo_id":"{_MO}","fo_id":"{_FO}","follower_id":"F_bob_7hq2m4zt","action":"confirmed","state":"confirmed",'
    '"attempt":1,"ts":"2026-01-31T12:00:00.250000+00:00","filled_qty":"10","avg_price":"200.1"}\n\n'
    f'event: order\ndata: {{"mo_id":"{_MO}","state":"dispatching","follower_states":{{"confirmed":1}}}}\n\n'
    f'id: 4712\nevent: order\ndata: {{"mo_id":"{_MO}","state":"settled","follower_states":{{"confirmed":1}},'
    '"action":"settled","reason":null,"ts":"2026-01-31T12:00:00.300000+00:00"}\n\n'
    f'event: end\ndata: {{"mo_id":"{_MO}","state":"settled","follower_states":{{"confirmed":1}}}}\n\n'
)
DATA = {"order": OrderEvent, "follower_order": FollowerOrderEvent, "end": OrderEvent, "closed": StreamClosed}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`order` (OrderEvent), `follower_order` (FollowerOrderEvent), `end` (OrderEvent) and `closed` "
        "(StreamClosed), as they happen; each one's data is one line of JSON.",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "description": "Each event of the stream; its data is one line of JSON, see x-event-data.",
                    "properties": {
                        "event": {"type": "string", "enum": list(DATA)},
                        "id": {"type": "string"},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                    },
                    "required": ["event", "data"],
                },
                # OpenAPI 3.1 has no words for the items of a stream.
                "x-event-data": {
                    name: {"$ref": f"#/components/schemas/{model.__name__}"} for name, model in DATA.items()
                },
                "examples": {"settled": {"summary": "The end of an order's stream", "value": _EXAMPLE}},
            }
        },
    }
}
EVENTS = (OrderEvent, FollowerOrderEvent, StreamClosed)
