"""Whatever is wrong with a request gets a document that names the field, and changes nothing."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.conftest import Caller, FakeEngine, problem

GOOD: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": "10"}


def _order(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}


BAD_ORDERS = {
    "negative quantity": (_order(qty="-5"), "qty"),
    "zero quantity": (_order(qty=0), "qty"),
    "NaN as text": (_order(qty="NaN"), "qty"),
    "infinity as text": (_order(qty="Infinity"), "qty"),
    "huge quantity": (_order(qty="1e400"), "qty"),
    "too many digits": (_order(qty="1." + "1" * 40), "qty"),
    "boolean quantity": (_order(qty=True), "qty"),
    "quantity of words": (_order(qty="ten"), "qty"),
    "missing quantity": (_order(qty=...), "qty"),
    "unknown symbol": (_order(symbol="NOSUCH"), "symbol"),
    "symbol with NUL": (_order(symbol="AA\x00PL"), "symbol"),
    "over-long symbol": (_order(symbol="A" * 10_000), "symbol"),
    "wrong tif": (_order(tif="forever"), "tif"),
    "wrong side": (_order(side="hold"), "side"),
    "list for a side": (_order(side=["buy"]), "side"),
    "market order with a limit": (_order(limit_price="5"), "limit_price"),
    "limit order without": (_order(type="limit"), "limit_price"),
    "misspelt field": (_order(quantity="5"), "quantity"),
    "over-long vault": (_order(vault_id="V" * 1_000), "vault_id"),
    "vault id of another kind": (_order(vault_id={"a": 1}), "vault_id"),
    "meta is a list": (_order(meta=[1]), "meta"),
    "over-large meta": (_order(meta={"note": "x" * 20_000}), "meta"),
    "NUL in meta": (_order(meta={"note": {"deep": ["a\x00b"]}}), "meta.note.deep.0"),
    "half a surrogate in meta": (_order(meta={"note": "\ud800"}), "meta.note"),
    "expiry without a zone": (_order(meta={"expires_at": "2026-01-31T12:00:00"}), "meta.expires_at"),
    "expiry of words": (_order(meta={"expires_at": "soon"}), "meta.expires_at"),
    "negative reference price": (_order(meta={"reference_price": -1}), "meta.reference_price"),
    "reason that is no list": (_order(meta={"reason_vector": "x"}), "meta.reason_vector"),
}


@pytest.mark.parametrize("case", BAD_ORDERS)
async def test_a_bad_order_is_refused_by_field_and_changes_nothing(
    caller: Caller, engine: FakeEngine, case: str
) -> None:
    body, field = BAD_ORDERS[case]
    vault_id = await caller.vault()
    before = await caller.counts()
    answer = await caller.post("/v1/manager-orders", {"vault_id": vault_id, **body})
    problem(answer, 422, "invalid-input", field)
    assert await caller.counts() == before
    assert engine.admitted == []


BAD_TEXTS = {
    "malformed": (b'{"vault_id": ', 400, "malformed-json", "body"),
    "empty": (b"", 400, "malformed-json", "body"),
    "not UTF-8": (b'{"symbol": "\xff"}', 400, "malformed-json", "body"),
    "a number without end": (b'{"qty": ' + b"9" * 5_000 + b"}", 400, "malformed-json", "body"),
    "an exponent beyond reason": (b'{"qty": 1e99999999999999999999}', 400, "malformed-json", "body"),
    "nested without end": (b"[" * 100_000, 400, "malformed-json", "body"),
    "nested too deep": (b'{"meta": ' * 40 + b"1" + b"}" * 40, 422, "invalid-input", ".".join(["meta"] * 33)),
    "a list": (b"[1, 2]", 422, "invalid-input", "body"),
    "a bare NaN": (b'{"qty": NaN}', 422, "invalid-input", "qty"),
    "a bare infinity": (b'{"qty": -Infinity}', 422, "invalid-input", "qty"),
    "a name twice": (b'{"qty": "1", "qty": "1000"}', 422, "invalid-input", "qty"),
    "a name twice, within": (b'{"meta": {"reference_price": 1, "reference_price": 2}}', 422, "invalid-input",
                             "reference_price"),
    "too large": (b'{"meta": "' + b"x" * 300_000 + b'"}', 413, "body-too-large", "body"),
}  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/manager-orders", "/v1/vaults"])
@pytest.mark.parametrize("case", BAD_TEXTS)
async def test_a_body_that_is_no_plain_json_changes_nothing(
    caller: Caller, engine: FakeEngine, case: str, path: str
) -> None:
    text, status, kind, field = BAD_TEXTS[case]
    before = await caller.counts()
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    problem(await caller.http.post(path, content=text, headers=headers), status, kind, field)
    assert await caller.counts() == before
    assert engine.admitted == []


async def test_a_large_body_without_a_length_is_cut_off(caller: Caller) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(400):
            yield b" " * 1_024

    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    answer = await caller.http.post("/v1/vaults", content=chunks(), headers=headers)
    problem(answer, 413, "body-too-large", "body")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
async def test_another_content_type_is_refused(caller: Caller, kind: str) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": kind}
    answer = await caller.http.post("/v1/manager-orders", content=json.dumps(GOOD), headers=headers)
    problem(answer, 415, "unsupported-media-type", "Content-Type")


@pytest.mark.parametrize("key", [None, "", "a b", "x" * 256, "\u00e9"])
@pytest.mark.parametrize("path", ["/v1/manager-orders", "/v1/vaults", "/v1/vaults/V_x/followers"])
async def test_a_write_needs_a_good_idempotency_key(caller: Caller, path: str, key: str | None) -> None:
    before = await caller.counts()
    headers = [] if key is None else [(b"Idempotency-Key", key.encode("latin-1"))]
    answer = await caller.http.request("POST", path, json={"label": "x"}, headers=headers)
    problem(answer, 400, "idempotency-key-missing", "Idempotency-Key")
    assert await caller.counts() == before


HOOK = {"url": "https://follower.example/hook"}
BAD_FOLLOWERS: dict[str, tuple[dict[str, Any], str]] = {
    "no route": ({}, "webhook"),
    "both routes": (
        {"webhook": HOOK, "bridged_brokers": {"equities": {"venue": "alpaca", "key_id": "a", "secret": "b"}}},
        "bridged_brokers",
    ),
    "capped without a cap": ({"webhook": HOOK, "mode": "capped"}, "max_pos_usd"),
    "negative cap": ({"webhook": HOOK, "max_pos_usd": "-1"}, "max_pos_usd"),
    "zero scale": ({"webhook": HOOK, "scale": 0}, "scale"),
    "NaN scale": ({"webhook": HOOK, "scale": "NaN"}, "scale"),
    "huge scale": ({"webhook": HOOK, "scale": "1e9"}, "scale"),
    "unknown mode": ({"webhook": HOOK, "mode": "double"}, "mode"),
    "kill switch of words": ({"webhook": HOOK, "kill_switch": "yes"}, "kill_switch"),
    "URL with a password": ({"webhook": {"url": "https://u:p@follower.example/"}}, "webhook.url"),
    "URL of a file": ({"webhook": {"url": "file:///etc/passwd"}}, "webhook.url"),
    "URL without a host": ({"webhook": {"url": "https:///x"}}, "webhook.url"),
    "URL with a line break": ({"webhook": {"url": "https://a.example/\r\nX: y"}}, "webhook.url"),
    "unknown venue": (
        {"bridged_brokers": {"equities": {"venue": "nowhere", "key_id": "a", "secret": "b"}}},
        "bridged_brokers.equities.venue",
    ),
    "misspelt field": ({"webhook": HOOK, "max_pos": "1"}, "max_pos"),
    "over-long label": ({"webhook": HOOK, "label": "x" * 500}, "label"),
    "label with a control character": ({"webhook": HOOK, "label": "a\tb"}, "label"),
}


@pytest.mark.parametrize("case", BAD_FOLLOWERS)
async def test_a_bad_follower_is_refused_by_field_and_changes_nothing(caller: Caller, case: str) -> None:
    body, field = BAD_FOLLOWERS[case]
    vault_id = await caller.vault()
    before = await caller.counts()
    answer = await caller.post(f"/v1/vaults/{vault_id}/followers", {"label": "Bob", **body})
    problem(answer, 422, "invalid-input", field)
    assert await caller.counts() == before


async def test_a_refused_follower_does_not_echo_its_secrets(caller: Caller) -> None:
    account = {"venue": "alpaca", "key_id": "KEY-9431", "secret": "S3CRET-7755", "environment": "moon"}
    body = {"label": "Bob", "bridged_brokers": {"equities": account}}
    answer = await caller.post(f"/v1/vaults/{await caller.vault()}/followers", body)
    problem(answer, 422, "invalid-input", "bridged_brokers.equities.environment")
    assert "KEY-9431" not in answer.text
    assert "S3CRET-7755" not in answer.text


BAD_VAULTS = {
    "no label": ({}, "label"),
    "empty label": ({"label": ""}, "label"),
    "unknown rail": ({"label": "A", "rails": ["gold"]}, "rails.0"),
    "no rail": ({"label": "A", "rails": []}, "rails"),
    "negative NAV": ({"label": "A", "nav_usd": "-1"}, "nav_usd"),
    "short limit of words": ({"label": "A", "risk_profile": {"allow_short": "no"}}, "risk_profile.allow_short"),
    "limit of words": ({"label": "A", "risk_profile": {"max_order_qty": "many"}}, "risk_profile.max_order_qty"),
    "collar of nothing": ({"label": "A", "risk_profile": {"price_collar_bps": 0}}, "risk_profile.price_collar_bps"),
    "rate of nothing": (
        {"label": "A", "risk_profile": {"max_orders_per_minute": 0}},
        "risk_profile.max_orders_per_minute",
    ),
    "rate in parts": (
        {"label": "A", "risk_profile": {"max_orders_per_minute": 1.5}},
        "risk_profile.max_orders_per_minute",
    ),
    "window of a day": (
        {"label": "A", "risk_profile": {"duplicate_window_s": 86400}},
        "risk_profile.duplicate_window_s",
    ),
    "hours without a zone": (
        {"label": "A", "risk_profile": {"trading_hours": {"days": ["mon"], "open": "09:00", "close": "17:00"}}},
        "risk_profile.trading_hours.time_zone",
    ),
    "hedge of nothing": ({"label": "A", "risk_profile": {"hedge": {"ratio": 1}}}, "risk_profile.hedge"),
    "hedge without a ratio": ({"label": "A", "risk_profile": {"hedge": {"symbol": "SPY"}}}, "risk_profile.hedge.ratio"),
    "hedge of words": (
        {"label": "A", "risk_profile": {"hedge": {"symbol": "SPY", "ratio": "half"}}},
        "risk_profile.hedge.ratio",
    ),
    "hedge beyond reason": (
        {"label": "A", "risk_profile": {"hedge": {"symbol": "SPY", "ratio": 11}}},
        "risk_profile.hedge.ratio",
    ),
    "unknown persona": ({"label": "A", "personas": ["zeus"]}, "personas"),
    "persona with a space": ({"label": "A", "personas": ["two words"]}, "personas"),
}


@pytest.mark.parametrize("case", BAD_VAULTS)
async def test_a_bad_vault_is_refused_by_field_and_changes_nothing(caller: Caller, case: str) -> None:
    body, field = BAD_VAULTS[case]
    before = await caller.counts()
    problem(await caller.post("/v1/vaults", body), 422, "invalid-input", field)
    assert await caller.counts() == before


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/vaults?limit=0", "limit"),
        ("/v1/vaults?limit=201", "limit"),
        ("/v1/vaults?limit=ten", "limit"),
        ("/v1/vaults?cursor=%00", "cursor"),
        ("/v1/vaults?cursor=bm90IGpzb24", "cursor"),
        ("/v1/manager-orders?cursor=WyJhIiwiYiJd", "cursor"),
        ("/v1/manager-orders?cursor=" + "A" * 5_000, "cursor"),
        ("/v1/manager-orders?since=yesterday", "since"),
        ("/v1/manager-orders?since=2026-01-31T12:00:00", "since"),
        ("/v1/manager-orders?vault=V_x", "vault"),
        ("/v1/manager-orders?state=lost", "state"),
        ("/v1/follower-orders?follower_id=%00", "follower_id"),
        ("/v1/follower-orders?mo_id=" + "M" * 1_000, "mo_id"),
        ("/v1/dead-letters?cursor=WyIyMDI2LTAxLTMxVDEyOjAwOjAwKzAwOjAwIiwieCJd", "cursor"),
        ("/v1/audit-events?cursor=WyIyMDI2LTAxLTMxVDEyOjAwOjAwKzAwOjAwIiwieCJd", "cursor"),
        ("/v1/vaults/" + "V" * 1_000, "vault_id"),
        ("/v1/vaults/a%00b", "vault_id"),
        ("/v1/followers/%FF%FE", "follower_id"),
        ("/v1/manager-orders/..%00", "mo_id"),
        ("/v1/manager-orders/a%20b/dag", "mo_id"),
        ("/v1/follower-orders/%F0%9F%98%80", "fo_id"),
    ],
)
async def test_a_bad_path_or_query_names_its_parameter(caller: Caller, path: str, field: str) -> None:
    problem(await caller.http.get(path), 422, "invalid-input", field)


async def test_an_unknown_path_and_a_wrong_method_are_problems(caller: Caller) -> None:
    problem(await caller.get("/v2/vaults"), 404, "not-found")
    answer = await caller.http.put("/v1/vaults", json={})
    problem(answer, 405, "method-not-allowed")
    assert "GET" in answer.headers["allow"]
