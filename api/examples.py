"""Examples for the contract, put together from the fields' own and from one table of names.

One value for a name wherever it stands makes examples agree with each other: the order that is placed in one is the
order that is read in the next.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from api.errors import title

Schema = Mapping[str, Any]
_AT = "2026-01-31T12:00:00Z"
# By the name of the field, where the field itself gives none.
NAMED: Mapping[str, Any] = {
    "account_id": "SA-7K5ZC2QW4N6J3XEXAMPLE2AB4C",
    "action": "sent",
    "actor": "user:5c1f0a52-3d0e-4c39-8a0e-6a3f9c1d2b4e",
    "actual_qty": "25",
    "amount": "5012.5",
    "attempt_no": 1,
    "audit": {"dag_id": "M-7K5ZC2QW4N6J3XEXAMPLE2AB4C", "dispatch_attempts": 1, "last_error": None},
    "audit_events": [],
    "avg_price": "200.5",
    "balances": {"USD": "1200.5", "USDC": "310"},
    "body": {"vault": {"nav_usd": "1000000"}},
    "booked_qty": "20",
    "broker_order_ref": "b3c1e7f0-61a5-4e60-9c43-1f0a52b7d9aa",
    "carry": "0",
    "cash_usd": "401250",
    "cause": "missed_fill",
    "code": "price-collar",
    "context": {"symbol": "AAPL", "side": "buy", "qty": "25", "last_error": "http_503"},
    "created_by": "user:5c1f0a52-3d0e-4c39-8a0e-6a3f9c1d2b4e",
    "cred_ref": "cred/F_bob_7hq2m4zt/alpaca",
    "currency": "USD",
    "dag_id": "M-7K5ZC2QW4N6J3XEXAMPLE2AB4C",
    "dead_letter_id": 41,
    "dependencies": {"postgres": {"ok": True, "vital": True, "latency_ms": 2}},
    "detail": "answered 200",
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "drift_bps": "0.4",
    "effect": "open",
    "email": "ada@manager.example",
    "entity": "follower_order",
    "entity_id": "FO-4R2TDKQ6W5M7PEXAMPLE3XYZ2",
    "environment": "paper",
    "event_id": 9041,
    "evidence": {"fill_id": "FO-4R2TDKQ6W5M7PEXAMPLE3XYZ2:1"},
    "expected": "25",
    "expected_qty": "25",
    "fee": "0",
    "field": "qty",
    "fill_id": "FO-4R2TDKQ6W5M7PEXAMPLE3XYZ2:1",
    "filled_qty": "100",
    "fo_id": "FO-4R2TDKQ6W5M7PEXAMPLE3XYZ2",
    "follower": {"mode": "proportional", "scale": "0.25"},
    "follower_id": "F_bob_7hq2m4zt",
    "follower_states": {"filled": 2},
    "followers": 2,
    "halt_id": "OV-7K5ZC2QW4N6J3XEXAMPLE2AB4C",
    "hmac_key_ref": "whk/F_bob_7hq2m4zt",
    "http_status": 200,
    "id": "V_alpha_k3v9q2xd",
    "in_flight": 1,
    "invited_by": "user:5c1f0a52-3d0e-4c39-8a0e-6a3f9c1d2b4e",
    "key_id": "AK7QX2",
    "kill_id": 7,
    "kind": "trade",
    "label": "Alpha",
    "last_error": "http_503",
    "latency_ms": 38,
    "leg": 0,
    "leg_id": "FO-4R2TDKQ6W5M7PEXAMPLE3XYZ2:c1",
    "leg_no": 1,
    "manager_order": {"mo_id": "M-7K5ZC2QW4N6J3XEXAMPLE2AB4C", "symbol": "AAPL", "qty": "100"},
    "max_pos_usd": "5000",
    "meta": {"reason_vector": ["momentum"], "conviction": {"score": 0.8, "band": "high"}},
    "mo_id": "M-7K5ZC2QW4N6J3XEXAMPLE2AB4C",
    "mode": "proportional",
    "name": "order desk",
    "nav_usd": "1000000",
    "note": "Store it now: it verifies our signatures.",
    "outcome": "ack",
    "overlay_id": "OV-7K5ZC2QW4N6J3XEXAMPLE2AB4C",
    "payload": {"state": "sent"},
    "persona": "athena",
    "personas": ["athena"],
    "plan": 1,
    "price": "200.5",
    "qty": "100",
    "rails": ["fiat"],
    "reason": "out by the close",
    "received": "25",
    "reconcile_policy": "observe",
    "ref": "b3c1e7f0-61a5-4e60-9c43-1f0a52b7d9aa",
    "refresh_token": "an-opaque-token",
    "result": "25",
    "risk_profile": {"allow_short": False, "max_order_notional_usd": "250000"},
    "role": "ops",
    "route": "webhook",
    "rule": "scale",
    "run_id": "R-7K5ZC2QW4N6J3XEXAMPLE2AB4C",
    "scale": "0.25",
    "scopes": ["orders:read", "orders:write"],
    "secret": "the account's own secret",
    "senders": 4,
    "side": "buy",
    "snapshot": {"vault": {"vault_id": "V_alpha_k3v9q2xd", "nav_usd": "1000000"}},
    "source": "USD",
    "state": "done",
    "status": "active",
    "summary": {"causes": {"missed_fill": 1}, "actions": {"book_fill": 1}},
    "symbol": "AAPL",
    "target": "AAPL",
    "text": "100 × 0.25 = 25",
    "tif": "day",
    "trace": [{"rule": "scale", "value": "0.25", "result": "25", "why": "the follower's scale"}],
    "type": "market",
    "url": "https://follower.example/v1/hooks/mirror/dispatch",
    "value": "0.25",
    "vault_id": "V_alpha_k3v9q2xd",
    "venue": "XNAS",
    "version": 2,
    "via": "redis",
    "waited_ms": 12,
    "why": "the follower's scale",
    "words": "in use",
}
# What is empty as long as all is well: null where the schema has one.
_EMPTY = frozenset({
    "acknowledgement", "amplify", "delta", "end_reason", "ended_by", "endpoint_disabled_at",
    "endpoint_disabled_reason", "halt", "limit_price", "nav_fault", "next_attempt_at", "next_cursor",
    "purge_reason", "purged_at", "purged_by", "redriven_at", "redriven_by", "refusal", "stop", "waits_until",
})  # fmt: skip
_FORMATS = {"date-time": _AT, "uuid": "5c1f0a52-3d0e-4c39-8a0e-6a3f9c1d2b4e", "decimal": "12.5"}
_HERE = ("example", "examples", "const", "enum")


class NoExample(LookupError):
    """A field says nothing that an example could be made of."""


class Examples:
    """Of one document; `schemas` are its components."""

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self._schemas = schemas

    def of(self, schema: Schema, name: str = "") -> Any:
        """Raises NoExample, naming the field."""
        found, given = _given(schema)
        if found:
            return given
        if "$ref" in schema:
            return self._within(schema["$ref"].rpartition("/")[2], name)
        if "anyOf" in schema or "oneOf" in schema:
            return self._choice(schema.get("anyOf") or schema["oneOf"], name)
        match schema.get("type"):
            case "object" if schema.get("properties"):
                return {key: self.of(part, key) for key, part in schema["properties"].items()}
            case "array" if not isinstance(NAMED.get(name), list):
                return [self.of(schema["items"], name)]
        return self._leaf(schema, name)

    def _within(self, component: str, name: str) -> Any:
        try:
            return self.of(self._schemas[component], name)
        except NoExample as error:
            raise NoExample(f"{component}.{error}") from None

    def _choice(self, options: list[Schema], name: str) -> Any:
        if name in _EMPTY and {"type": "null"} in options:
            return None
        chosen = next((option for option in options if option.get("type") != "null"), None)
        if chosen is None:
            return None
        return self.of(chosen, name)

    def _leaf(self, schema: Schema, name: str) -> Any:
        kind = schema.get("type")
        if kind == "boolean":
            return bool(schema.get("default", False))
        if name in NAMED:
            return NAMED[name]
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        if kind == "integer":
            return schema.get("default", 1)
        if schema.get("default") is not None:
            return schema["default"]
        raise NoExample(name)


_PROBLEMS: Mapping[int, tuple[str, str, dict[str, Any]]] = {
    400: ("idempotency-key-missing", "Send an Idempotency-Key.", {"field": "Idempotency-Key"}),
    401: ("unauthenticated", "Send Authorization: Bearer and an access token.", {}),
    403: ("insufficient-scope", "This needs the scope mirror:manage.", {"scope": "mirror:manage"}),
    404: ("not-found", "there is no vault V_alpha_k3v9q2xd", {"field": "vault_id"}),
    409: ("order-ended", "The order is settled; there is nothing to cancel.", {"field": "mo_id"}),
    413: ("body-too-large", "The body must be at most 65536 bytes.", {"field": "body"}),
    414: ("uri-too-long", "Path and query must be at most 8192 bytes.", {}),
    415: ("unsupported-media-type", "Send Content-Type: application/json.", {"field": "Content-Type"}),
    422: ("invalid-input", "qty: must be a finite number above zero", {"field": "qty"}),
    429: ("rate-limited", "read-user: more than 6000 requests in 60 s. Try again in 1 s.", {}),
    431: ("headers-too-large", "The headers must be at most 16384 bytes.", {}),
    503: ("database-unavailable", "Try again in a few seconds.", {}),
    504: ("timed-out", "No answer in time; whether it was done is not known.", {}),
}


def problem(status: int) -> dict[str, Any]:
    """A problem document of that status."""
    phrase = HTTPStatus(status).phrase
    kind, detail, more = _PROBLEMS.get(status, (phrase.lower().replace(" ", "-"), f"{phrase}.", {}))
    return {
        "type": f"urn:vanta:problem:{kind}",
        "title": title(kind, status),
        "status": status,
        "detail": detail,
        "request_id": "b7e0c1f25d1b4f0c9f6a0f6c0d3e9a51",
        **more,
    }


def _given(schema: Schema) -> tuple[bool, Any]:
    for key in _HERE:
        if key in schema:
            value = schema[key]
            return True, value[0] if key in {"examples", "enum"} else value
    return False, None
