"""The payment systems of the embedded stack."""

import json
import stat

import httpx

from settings import Settings
from stack import Stack
from stack.billing import STORE
from stack.environment import load_settings


def test_they_are_brought_later_told_where_events_go_and_keep_what_they_said_over_a_kill(
    stack: Stack, settings: Settings
):
    stack.start_billing()
    stack.start_billing()
    found = load_settings(stack.layout.env)
    assert {c.name: c.address for c in stack.state().components}.items() >= {
        "stripe": found.stripe.url,
        "btcpay": found.btcpay.url,
    }.items()
    for name in ("stripe", "btcpay"):
        config = stack.layout.data / name / "config.json"
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        [webhook] = json.loads(config.read_text())["webhooks"]
        assert webhook["url"] == f"http://{settings.api.host}:{stack.ports()['api']}/v1/hooks/{name}"
    bitcoin = {"Authorization": f"token {found.btcpay.api_key.get_secret_value()}"}
    card = {"Authorization": f"Bearer {found.stripe.api_key.get_secret_value()}"}
    invoices = f"{found.btcpay.url}/api/v1/stores/{STORE}/invoices"
    invoice = httpx.post(invoices, json={"amount": "5"}, headers=bitcoin).json()
    customer = httpx.post(f"{found.stripe.url}/v1/customers", data={"name": "Somebody"}, headers=card).json()
    core = httpx.get(f"{found.stripe.url}/v1/plans/vanta_core_v1", headers=card).json()
    assert (core["amount"], core["interval"]) == (4_900, "month")
    for name in ("stripe", "btcpay"):
        stack.kill(name)
        stack.restart(name)
    again = httpx.get(f"{found.btcpay.url}/api/v1/invoices/{invoice['id']}", headers=bitcoin)
    assert again.json()["checkoutLink"] == invoice["checkoutLink"]
    known = httpx.get(f"{found.stripe.url}/v1/customers/{customer['id']}", headers=card)
    assert known.json()["name"] == "Somebody"
