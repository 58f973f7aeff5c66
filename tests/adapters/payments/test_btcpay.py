"""The client of a BTCPay Server: what its answers and its silence become, and what is never told."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.payments.btcpay import Btcpay
from adapters.payments.btcpay_wire import Asked, Checkout, invoice_body, read_invoice, refusal
from adapters.payments.registry import build_billers
from domain.billing import BillingRefused, BillingUnavailable, Provider
from settings import BtcpaySettings, StripeSettings
from simulators.btcpay import BtcpayServer
from tests.adapters.payments.payer import CATALOGUE, KEY

CHECKOUT = Checkout("LowSpeed", 60, 1_440)
ASKED = Asked("IN-1", 4_905, "Core", {"subscription_id": "SUB-1", "tenant_id": "T-1"}, "https://app.example/thanks")


def client(server: BtcpayServer, key: str = KEY) -> Btcpay:
    return Btcpay(server.url, key, server.store_id, CHECKOUT, timeout_ms=2_000, max_connections=1)


def test_an_invoice_is_asked_for_in_dollars_without_a_tolerance():
    body = invoice_body(ASKED, CHECKOUT)
    assert (body["amount"], body["currency"]) == ("49.05", "USD")
    assert body["checkout"] == {
        "speedPolicy": "LowSpeed", "expirationMinutes": 60, "monitoringMinutes": 1_440, "paymentTolerance": 0,
        "redirectURL": "https://app.example/thanks",
    }  # fmt: skip
    assert body["metadata"]["orderId"] == "IN-1"


@pytest.mark.parametrize("said", [None, [], {}, {"id": 1}, {"id": "x", "status": "New", "amount": "NaN"}])
def test_what_is_no_invoice_is_asked_for_again(said: object):
    with pytest.raises(BillingUnavailable):
        read_invoice(said)


async def test_an_invoice_in_other_money_is_never_taken_for_ours():
    async with BtcpayServer(api_key=KEY) as server:
        btcpay = client(server)
        body = invoice_body(ASKED, CHECKOUT) | {"currency": "JPY"}
        said = await btcpay._ask("POST", f"/api/v1/stores/{server.store_id}/invoices", body=body)
        assert await btcpay.find("IN-1") is None
        with pytest.raises(BillingUnavailable):
            await btcpay.read(said["id"])
        await btcpay.close()


def test_a_refusal_is_told_by_code_or_by_field():
    assert refusal({"code": "non-refundable", "message": "no"}) == ("non-refundable", "no")
    assert refusal([{"path": "amount", "message": "too little"}]) == ("invalid", "amount: too little")
    assert refusal("<html>") == ("refused", "")


async def test_faults_are_told_apart():
    async with BtcpayServer(api_key=KEY) as server:
        btcpay = client(server)
        await btcpay.ping()
        for kind in ("error", "rate_limited", "drop"):
            server.fail(kind)
            with pytest.raises(BillingUnavailable):
                await btcpay.ping()
        with pytest.raises(BillingRefused) as refused:
            await btcpay.read("unknown")
        assert refused.value.code == "not-found"
        made = await btcpay.create(ASKED)
        server.fail("lost")
        with pytest.raises(BillingUnavailable):
            await btcpay.mark_invalid(made.ref)
        found = await btcpay.find("IN-1")
        assert found is not None
        assert (found.ref, found.status, found.additional) == (made.ref, "Invalid", "Marked")
        assert await btcpay.find("IN-2") is None
        await btcpay.close()
    with pytest.raises(BillingUnavailable):
        await client(server).ping()


async def test_the_key_is_in_no_log_and_no_error(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    async with BtcpayServer(api_key="another-key") as server:
        btcpay = client(server)
        with pytest.raises(BillingRefused) as refused:
            await btcpay.ping()
        told.append(repr(refused.value) + str(refused.value.__cause__))
        assert refused.value.code == "forbidden"
        server.outage(on=True)
        with pytest.raises(BillingUnavailable) as away:
            await btcpay.create(ASKED)
        told.append(repr(away.value) + str(away.value.__cause__))
        await btcpay.close()
    assert KEY not in caplog.text + "".join(told) + repr(btcpay)


async def test_bitcoin_is_offered_where_a_server_is_set_up():
    none: Any = SimpleNamespace(stripe=StripeSettings(), btcpay=BtcpaySettings())
    assert build_billers(none, CATALOGUE) == {}
    btcpay = BtcpaySettings.model_validate(
        {"url": "http://127.0.0.1:9", "api_key": KEY, "store_id": "store", "webhook_secret": "hook"}
    )
    one: Any = SimpleNamespace(stripe=StripeSettings(), btcpay=btcpay)
    [(provider, biller)] = build_billers(one, CATALOGUE).items()
    assert provider is biller.provider is Provider.BTCPAY
