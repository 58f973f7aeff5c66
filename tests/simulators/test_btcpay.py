"""The BTCPay Server that tests pay: its states, its wire, its webhooks, and what outlives it."""

import asyncio
import hashlib
import hmac
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from openapi_schema_validator import OAS30Validator
from referencing import Registry
from referencing.jsonschema import DRAFT4

from simulators.btcpay import BtcpayServer, Webhook
from simulators.btcpay.delivery import AGAIN_AFTER

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "btcpay"
START = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECRET = "hook-secret"
NOT_SHOWN = "https://shop.example/done"


class Shop:
    """A client of the server, and what it was told by webhook."""

    def __init__(self, server: BtcpayServer, client: httpx.AsyncClient) -> None:
        self.server = server
        self.client = client

    async def create(self, amount: str = "49.00", **checkout: Any) -> str:
        body = {"amount": amount, "currency": "USD", "metadata": {"orderId": "O1"}, "checkout": checkout}
        answer = await self.client.post("/api/v1/stores/store/invoices", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def get(self, path: str) -> Any:
        answer = await self.client.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def states(self, invoice_id: str) -> tuple[str, str, list[str]]:
        invoice = await self.get(f"invoices/{invoice_id}")
        [method] = await self.get(f"invoices/{invoice_id}/payment-methods?onlyAccountedPayments=false")
        return invoice["status"], invoice["additionalStatus"], [p["status"] for p in method["payments"]]

    def told(self) -> list[str]:
        return [delivery.event["type"].removeprefix("Invoice") for delivery in self.server.taken()]


@asynccontextmanager
async def shop(**how: Any) -> AsyncIterator[Shop]:
    given: dict[str, Any] = {"start": START, "webhooks": [Webhook("", SECRET)]} | how
    headers = {"Authorization": "token greenfield-key"}
    async with BtcpayServer(**given) as server, httpx.AsyncClient(base_url=server.url, headers=headers) as client:
        yield Shop(server, client)


@pytest.mark.parametrize(
    ("speed", "rbf", "blocks"),
    [
        ("HighSpeed", False, 0),
        ("HighSpeed", True, 1),
        ("MediumSpeed", False, 1),
        ("LowMediumSpeed", True, 2),
        ("LowSpeed", False, 6),
    ],
)
async def test_a_payment_settles_with_the_confirmations_of_the_policy_and_not_before(
    speed: str, rbf: bool, blocks: int
):
    async with shop() as at:
        invoice_id = await at.create(speedPolicy=speed)
        at.server.pay(invoice_id, rbf=rbf)
        for _ in range(blocks):
            assert await at.states(invoice_id) == ("Processing", "None", ["Processing"])
            at.server.mine()
        assert await at.states(invoice_id) == ("Settled", "None", ["Settled"])
        told = at.told()
        assert sorted(told) == ["Created", "PaymentSettled", "Processing", "ReceivedPayment", "Settled"]
        assert told[-1] == "Settled"


async def test_what_is_paid_in_part_waits_and_expires_with_it():
    async with shop() as at:
        invoice_id = await at.create(expirationMinutes=30)
        at.server.pay(invoice_id, part=Decimal("0.5"))
        at.server.mine()
        assert await at.states(invoice_id) == ("New", "PaidPartial", ["Settled"])
        at.server.advance(timedelta(minutes=30))
        assert await at.states(invoice_id) == ("Expired", "PaidPartial", ["Settled"])
        assert at.server.invoice(invoice_id).paid_amount == Decimal("24.50")
        *_, expired = at.server.deliveries.waiting
        assert (expired.event["type"], expired.event["partiallyPaid"]) == ("InvoiceExpired", True)
        at.server.pay(invoice_id, part=Decimal("0.5"))
        at.server.mine()
        assert await at.states(invoice_id) == ("Expired", "PaidLate", ["Settled", "Settled"])


async def test_too_much_is_said_to_be_too_much_and_goes_back_by_a_pull_payment():
    async with shop() as at:
        invoice_id = await at.create()
        at.server.pay(invoice_id, part=Decimal(2))
        at.server.mine()
        assert await at.states(invoice_id) == ("Settled", "PaidOver", ["Settled"])
        wanted = {"refundVariant": "Custom", "customAmount": "49.00", "customCurrency": "USD", "name": "R1"}
        made = (await at.client.post(f"/api/v1/invoices/{invoice_id}/refund", json=wanted)).json()
        assert (made["amount"], made["currency"]) == ("49.00", "USD")
        assert "49.00 USD, not claimed" in (await at.client.get(made["viewLink"])).text
        assert [pull["name"] for pull in await at.get("stores/store/pull-payments")] == ["R1"]
        assert await at.get(f"pull-payments/{made['id']}/payouts") == []
        at.server.claim(made["id"])
        [payout] = await at.get(f"pull-payments/{made['id']}/payouts")
        assert payout["state"] == "Completed"


async def test_a_late_payment_is_seen_until_nobody_watches_any_more():
    async with shop() as at:
        invoice_id = await at.create(expirationMinutes=15, monitoringMinutes=60)
        at.server.expire(invoice_id)
        assert await at.states(invoice_id) == ("Expired", "None", [])
        at.server.pay(invoice_id)
        assert await at.states(invoice_id) == ("Expired", "PaidLate", ["Processing"])
        assert [d.event["afterExpiration"] for d in at.server.taken() if "payment" in d.event] == [True]
        at.server.advance(timedelta(minutes=60))
        with pytest.raises(ValueError, match="nobody watches"):
            at.server.pay(invoice_id)


async def test_a_replaced_payment_is_none():
    async with shop() as at:
        invoice_id = await at.create()
        payment = at.server.pay(invoice_id, rbf=True)
        assert await at.states(invoice_id) == ("Processing", "None", ["Processing"])
        at.server.replace(payment)
        assert await at.states(invoice_id) == ("New", "None", ["Invalid"])
        [method] = await at.get(f"invoices/{invoice_id}/payment-methods")
        assert method["payments"] == []


async def test_a_payment_whose_block_is_lost_is_gone_or_waits_again():
    async with shop() as at:
        invoice_id = await at.create()
        payment = at.server.pay(invoice_id)
        at.server.mine()
        at.server.reorganise(payment)
        assert await at.states(invoice_id) == ("Settled", "None", ["Invalid"])
        slow = await at.create(speedPolicy="LowSpeed")
        payment = at.server.pay(slow)
        at.server.mine(3)
        at.server.reorganise(payment, returns=True)
        at.server.mine(5)
        assert await at.states(slow) == ("Processing", "None", ["Processing"])
        at.server.mine()
        assert await at.states(slow) == ("Settled", "None", ["Settled"])


async def test_what_does_not_confirm_while_it_is_watched_is_invalid():
    async with shop() as at:
        invoice_id = await at.create()
        at.server.pay(invoice_id)
        at.server.advance(timedelta(days=2))
        assert await at.states(invoice_id) == ("Invalid", "None", ["Processing"])
        assert at.told()[-1] == "Invalid"
        marked = await at.client.post(f"/api/v1/invoices/{invoice_id}/status", json={"status": "Settled"})
        assert (marked.json()["status"], marked.json()["additionalStatus"]) == ("Settled", "Marked")


async def test_invoices_are_found_by_order_status_and_time_and_changed_and_archived():
    async with shop() as at:
        first = await at.create()
        at.server.advance(timedelta(minutes=1))
        second = await at.create()
        at.server.pay(second)
        found = await at.get("stores/store/invoices?orderId=O1&orderId=O2")
        assert [invoice["id"] for invoice in found] == [second, first]
        found = await at.get("stores/store/invoices?status=Processing&includePaymentMethods=true")
        assert [(i["id"], len(i["paymentMethods"][0]["payments"])) for i in found] == [(second, 1)]
        late = int((START + timedelta(seconds=30)).timestamp())
        assert [i["id"] for i in await at.get(f"stores/store/invoices?endDate={late}")] == [first]
        await at.client.put(f"/api/v1/invoices/{first}", json={"metadata": {"orderId": "O9"}})
        assert (await at.get("stores/store/invoices?orderId=O9"))[0]["id"] == first
        await at.client.delete(f"/api/v1/invoices/{first}")
        assert await at.get("stores/store/invoices?orderId=O9") == []
        assert (await at.get(f"invoices/{first}"))["archived"] is True


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "stores/store/invoices", {"amount": "x"}, 400),
        ("POST", "stores/store/invoices", {"amount": "5", "checkout": {"speedPolicy": "Now"}}, 400),
        ("POST", "stores/other/invoices", {"amount": "5"}, 403),
        ("GET", "invoices/nobody", None, 404),
        ("GET", "nowhere", None, 404),
    ],
)
async def test_what_is_not_as_described_is_refused(method: str, path: str, body: Any, status: int):
    async with shop() as at:
        assert (await at.client.request(method, f"/api/v1/{path}", json=body)).status_code == status
        assert (await at.client.request(method, "/api/v1/invoices/x", headers={"Authorization": ""})).status_code == 401


async def test_an_outage_and_lost_answers():
    async with shop() as at:
        at.server.outage(on=True)
        assert (await at.client.get("/api/v1/health")).status_code == 503
        at.server.outage(on=False)
        assert (await at.client.get("/api/v1/health")).status_code == 200
        at.server.fail("lost")
        with pytest.raises(httpx.TransportError):
            await at.create()
        assert len(at.server.of_order("O1")) == 1
        at.server.fail("rate_limited")
        assert (await at.client.get("/api/v1/server/info")).status_code == 429


async def test_webhooks_are_signed_and_come_again_after_ten_seconds_a_minute_and_six_times_ten():
    answers, got = [500] * 8, []

    async def hear(request: web.Request) -> web.Response:
        got.append((request.headers["BTCPay-Sig"], await request.read()))
        return web.Response(status=answers.pop() if answers else 200)

    app = web.Application()
    app.router.add_post("/hook", hear)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with shop(webhooks=[Webhook(f"http://127.0.0.1:{port}/hook", SECRET)]) as at:
        await at.create(expirationMinutes=1_440)
        await at.server.delivered()
        for wait in AGAIN_AFTER:
            at.server.advance(wait - timedelta(seconds=1))
            await at.server.delivered()
            before = len(got)
            at.server.advance(timedelta(seconds=1))
            await at.server.delivered()
            assert len(got) == before + 1
        assert not at.server.deliveries.waiting
    await runner.cleanup()
    events = [json.loads(body) for _, body in got]
    assert [event["isRedelivery"] for event in events] == [False] + [True] * 8
    assert {event["originalDeliveryId"] for event in events} == {events[0]["deliveryId"]}
    assert len({event["deliveryId"] for event in events}) == 9
    for given, body in got:
        assert given == "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


async def test_a_person_pays_and_mines_on_the_page():
    async with shop() as at:
        invoice_id = await at.create(redirectURL=NOT_SHOWN)
        link = (await at.get(f"invoices/{invoice_id}"))["checkoutLink"]
        page = (await at.client.get(link)).text
        assert at.server.invoice(invoice_id).destination in page
        assert f'href="{NOT_SHOWN}"' in page
        for button in ("pay/half", "pay/half", "mine"):
            answer = await at.client.post(f"{link}/{button}", follow_redirects=True)
            assert answer.status_code == 200
        assert "Settled" in answer.text
        script = await at.create(redirectURL="javascript:alert(1)")
        assert "javascript" not in (await at.client.get(f"/i/{script}")).text


async def test_what_it_said_outlives_a_kill(tmp_path: Path):
    config = {"store_id": "S", "api_key": "K", "webhooks": [{"url": "http://127.0.0.1:1/", "secret": "s"}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    async with _process(tmp_path) as (process, client):
        made = (await client.post("/api/v1/stores/S/invoices", json={"amount": "5"})).json()
        await client.post("/_control/payments", json={"invoice": made["id"]})
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with _process(tmp_path) as (_, client):
        found = (await client.get(f"/api/v1/invoices/{made['id']}")).json()
        assert found["status"] == "Processing"
    kept = json.loads((tmp_path / "book.json").read_text())
    assert {w["event"]["type"] for w in kept["waiting"]} == {
        "InvoiceCreated",
        "InvoiceReceivedPayment",
        "InvoiceProcessing",
    }


@asynccontextmanager
async def _process(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    argv = [sys.executable, "-m", "simulators.btcpay", "--data", str(folder)]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, env=dict(os.environ))
    assert process.stdout is not None
    url = json.loads(await process.stdout.readline())["url"]
    try:
        async with httpx.AsyncClient(base_url=url, headers={"Authorization": "token K"}) as client:
            yield process, client
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the vendor's description is not at hand")
async def test_everything_it_says_is_as_the_vendor_describes_it():
    async with shop() as at:
        invoice_id = await at.create(speedPolicy="LowSpeed", paymentTolerance=1)
        at.server.pay(invoice_id)
        at.server.mine(6)
        late = await at.create()
        at.server.expire(late)
        other = await at.create()
        await at.client.post(f"/api/v1/invoices/{other}/status", json={"status": "Invalid"})
        _hold("InvoiceDataList", await at.get("stores/store/invoices?includePaymentMethods=true"))
        _hold("InvoiceData", await at.get(f"invoices/{invoice_id}"))
        for method in await at.get(f"invoices/{invoice_id}/payment-methods"):
            _hold("InvoicePaymentMethodDataModel", method)
        seen = set()
        for delivery in at.server.taken():
            kind = delivery.event["type"]
            seen.add(kind)
            name = "WebhookInvoiceEvent" if kind == "InvoiceCreated" else f"Webhook{kind}Event"
            _hold(name, delivery.event)
    assert len(seen) == 7


def _hold(name: str, value: Any) -> None:
    """Also that nothing is said that is not described."""
    schemas = _schemas()
    registry: Any = Registry().with_resource(
        "urn:d", DRAFT4.create_resource({"components": {"schemas": _open(schemas)}})
    )
    validator = OAS30Validator({"$ref": f"urn:d#/components/schemas/{name}"}, registry=registry)
    assert [str(error) for error in validator.iter_errors(value)] == []
    if isinstance(value, dict):
        assert value.keys() <= _members(schemas, schemas[name]), name


@cache
def _schemas() -> dict[str, Any]:
    """With what the descriptions take from files that are not at hand."""
    names = ("StoreId", "InvoiceId", "PaymentMethodId", "SpeedPolicy")
    found: dict[str, Any] = {name: {"type": "string"} for name in names}
    found |= {name: {"type": "number"} for name in ("UnixTimestamp", "TimeSpanMinutes")}
    for file in ("invoices.json", "webhooks.json"):
        found |= json.loads((REFERENCE / file).read_text())["components"]["schemas"]
    return found


def _open(node: Any) -> Any:
    """`additionalProperties: false` in a part of an `allOf` would forbid the other parts' members."""
    if isinstance(node, dict):
        return {k: _open(v) for k, v in node.items() if not (k == "additionalProperties" and v is False)}
    return [_open(item) for item in node] if isinstance(node, list) else node


def _members(schemas: dict[str, Any], schema: Any) -> set[str]:
    found = set(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        found |= _members(schemas, part)
    if "$ref" in schema:
        found |= _members(schemas, schemas[schema["$ref"].rpartition("/")[2]])
    return found
