"""Payment systems' events over HTTP, on the real Postgres: what is stored of them, and what is not."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapters.store.database import Database
from api.app import hook_readers
from settings import BtcpaySettings, Settings, StripeSettings
from tests.adapters.payments.hooks import btcpay_event, btcpay_signature, raw, stripe_event, stripe_signature
from tests.api.conftest import BTCPAY_SECRET, STRIPE_SECRET, FakeInbox, problem

BARE = {"stripe": StripeSettings(), "btcpay": BtcpaySettings()}
PATHS = {"stripe": "/v1/hooks/stripe", "btcpay": "/v1/hooks/btcpay"}


async def post(http: httpx.AsyncClient, provider: str, event: Any, **more: Any) -> httpx.Response:
    body = raw(event)
    at, secret = more.get("at", datetime.now(UTC)), more.get("secret")
    if provider == "stripe":
        headers = {"Stripe-Signature": stripe_signature(body, at, secret or STRIPE_SECRET)}
    else:
        headers = {"BTCPay-Sig": btcpay_signature(body, secret or BTCPAY_SECRET)}
    return await http.post(PATHS[provider], content=body, headers=headers)


async def stored(database: Database) -> list[dict[str, Any]]:
    async with database.cursor(str(uuid.uuid4())) as cursor:
        await cursor.execute("SELECT * FROM payment_events ORDER BY provider, event_id")
        return await cursor.fetchall()


async def outcomes(http: httpx.AsyncClient) -> dict[tuple[str, str], float]:
    found = re.findall(
        r'vanta_payment_hooks_total\{outcome="([a-z-]+)",provider="([a-z]+)"\} (\S+)', (await http.get("/metrics")).text
    )
    return {(provider, outcome): float(number) for outcome, provider, number in found}


@pytest.mark.parametrize(("provider", "make"), [("stripe", stripe_event), ("btcpay", btcpay_event)])
async def test_an_event_is_stored_once_and_answered_however_often_it_comes(
    client: httpx.AsyncClient, database: Database, inbox: FakeInbox, provider: str, make: Any
) -> None:
    event = make(datetime.now(UTC))
    before = len(await stored(database))
    answers = [await post(client, provider, event) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [answer.json()["repeated"] for answer in answers] == [False, True, True]
    rows = await stored(database)
    assert len(rows) == before + 1
    [row] = [row for row in rows if row["event_id"] == answers[0].json()["event_id"]]
    assert (row["provider"], row["state"], row["tries"]) == (provider, "pending", 0)
    assert inbox.woken.count(row["event_id"]) == 1
    assert f'vanta_payment_events{{provider="{provider}",state="pending"}}' in (await client.get("/metrics")).text


@pytest.mark.parametrize(("provider", "make"), [("stripe", stripe_event), ("btcpay", btcpay_event)])
async def test_a_type_that_nobody_knows_is_stored_and_left_alone(
    client: httpx.AsyncClient, database: Database, inbox: FakeInbox, provider: str, make: Any
) -> None:
    answer = await post(client, provider, make(datetime.now(UTC), "SomethingNew"))
    assert (answer.status_code, answer.json()["state"]) == (200, "ignored")
    [row] = [row for row in await stored(database) if row["event_id"] == answer.json()["event_id"]]
    assert row["state"] == "ignored"
    assert row["done_at"] is not None
    assert row["event_id"] not in inbox.woken


@pytest.mark.parametrize(("provider", "make"), [("stripe", stripe_event), ("btcpay", btcpay_event)])
async def test_of_what_is_refused_nothing_is_left_but_a_count(
    client: httpx.AsyncClient, database: Database, provider: str, make: Any
) -> None:
    now = datetime.now(UTC)
    old, ahead = now - timedelta(seconds=310), now + timedelta(seconds=310)
    before, counted = await stored(database), await outcomes(client)
    refused = [
        await post(client, provider, make(old), at=old),
        await post(client, provider, make(ahead), at=ahead),
        await post(client, provider, make(now), secret="another"),
        await post(client, provider, b"{"),
        await post(client, provider, {"id": "evt_1"}),
        await client.post(PATHS[provider], json=make(now)),
    ]
    for answer in refused:
        problem(answer, 400, "hook-refused")
    large = await post(client, provider, make(now, pad="x" * 300_000))
    problem(large, 413, "body-too-large", "body")
    assert await stored(database) == before
    told = await outcomes(client)
    rise = {key: number - counted.get(key, 0) for key, number in told.items()}
    assert {outcome: n for (_, outcome), n in rise.items() if n} == {
        "stale": 2, "forged": 1, "malformed": 2, "unsigned": 1, "body-too-large": 1,
    }  # fmt: skip


async def test_a_hook_whose_secret_is_missing_asks_to_be_tried_again(
    client: httpx.AsyncClient, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = client._transport.app._state["services"]  # type: ignore[attr-defined]
    monkeypatch.setattr(services.hooks, "_readers", hook_readers(settings.model_copy(update=BARE)))
    before = await stored(database)
    for provider, make in (("stripe", stripe_event), ("btcpay", btcpay_event)):
        answer = await post(client, provider, make(datetime.now(UTC)))
        told = problem(answer, 503, "hook-not-set-up")
        assert "WEBHOOK_SECRET" in told["detail"]
    assert await stored(database) == before
