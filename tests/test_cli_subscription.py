"""`vanta subscription` and `vanta invoices` as people type them, against an API that answers as told."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from api.app import openapi
from cli import app
from cli_http import ApiError
from tests.told_api import Api, answering

PATHS = json.loads(openapi())["paths"]


def example(path: str, method: str, status: str = "200") -> dict[str, Any]:
    """What the contract says is answered, so that the commands read what the API tells."""
    found: dict[str, Any] = PATHS[path][method]["responses"][status]["content"]["application/json"]["example"]
    return found


SUBSCRIPTION = {**example("/v1/subscription", "get"), "to_pay": []}


@pytest.fixture
def api() -> Iterator[Api]:
    with answering() as told:
        yield told


def run(api: Api, *args: str) -> Result:
    return CliRunner().invoke(app, [*args], env={"VANTA_API": api.url, "VANTA_TOKEN": "t0ken"})


def done(api: Api, *args: str) -> str:
    result = run(api, *args)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_a_subscription_is_shown_with_what_comes_next(api: Api) -> None:
    [invoice] = example("/v1/invoices", "get")["items"]
    api.answer = {**SUBSCRIPTION, "to_pay": [invoice]}
    shown = done(api, "subscription", "show")
    for part in ("Pro, 199.00 USD a month", "stripe", "active", "renewal at 2026-01-31 12:00", invoice["invoice_id"]):
        assert part in shown
    assert api.asked[0][:2] == ("GET", "/v1/subscription")
    assert json.loads(done(api, "subscription", "show", "--json")) == api.answer


def test_without_one_it_says_how_to_begin(api: Api) -> None:
    api.answer = {**SUBSCRIPTION, "status": "none", "plan": None}
    assert "vanta subscription checkout PLAN" in done(api, "subscription", "show")


def test_a_checkout_prints_where_to_pay(api: Api) -> None:
    api.answer = example("/v1/subscription/checkout", "post", "201")
    shown = done(
        api, "subscription", "checkout", "pro", "--provider", "btcpay", "--success-url", "https://a.example/",
        "--cancel-url", "https://b.example/", "--key", "k-1",
    )  # fmt: skip
    assert api.answer["checkout_url"] in shown
    [(method, path, body, headers)] = api.asked
    assert (method, path, headers["Idempotency-Key"]) == ("POST", "/v1/subscription/checkout", "k-1")
    urls = {"success_url": "https://a.example/", "cancel_url": "https://b.example/"}
    assert body == {"plan_id": "pro", "provider": "btcpay", **urls}


def test_a_preview_changes_nothing(api: Api) -> None:
    api.answer = example("/v1/subscription/change", "get")
    assert "75.00 USD" in done(api, "subscription", "change", "pro", "--preview")
    assert api.asked[0][:3] == ("GET", "/v1/subscription/change?plan_id=pro", None)


@pytest.mark.parametrize(
    ("args", "path", "body"),
    [
        (["change", "pro"], "change", {"plan_id": "pro"}),
        (["cancel"], "cancel", {"at_period_end": True}),
        (["cancel", "--now"], "cancel", {"at_period_end": False}),
        (["keep"], "keep", None),
        (["pause"], "pause", {}),
        (["pause", "--until", "2026-03-31T12:00:00Z"], "pause", {"until": "2026-03-31T12:00:00Z"}),
        (["resume"], "resume", None),
    ],
)
def test_a_wish_is_asked_for_once(api: Api, args: list[str], path: str, body: Any) -> None:
    api.answer = SUBSCRIPTION
    assert SUBSCRIPTION["subscription_id"] in done(api, "subscription", *args)
    assert [asked[:3] for asked in api.asked] == [("POST", f"/v1/subscription/{path}", body)]


def test_the_portals_address_is_printed_whole(api: Api) -> None:
    api.answer = {"url": "https://billing.example/" + "p" * 300}
    assert api.answer["url"] in done(api, "subscription", "portal")


def test_what_may_have_been_done_is_to_be_repeated_under_its_key(api: Api) -> None:
    api.status, api.answer = 504, {"detail": "It was handed over and not done in time"}
    result = run(api, "invoices", "refund", "IN-1", "--reason", "twice")
    key = api.asked[0][3]["Idempotency-Key"]
    assert isinstance(result.exception, ApiError)
    assert f"repeat with --key {key}" in str(result.exception)
    api.status, api.answer = 409, {"detail": "there is a subscription, which is active"}
    refused = run(api, "subscription", "checkout", "core")
    assert str(refused.exception) == "there is a subscription, which is active (HTTP 409)"


def test_invoices_are_a_table(api: Api) -> None:
    api.answer = {**example("/v1/invoices", "get"), "next_cursor": "more"}
    shown = done(api, "invoices", "list", "--limit", "1", "--since", "2026-01-01T00:00:00Z")
    for part in (api.answer["items"][0]["invoice_id"], "49.00", "2026-01-31 12:00", "more than 1"):
        assert part in shown
    assert api.asked[0][1] == "/v1/invoices?limit=1&since=2026-01-01T00%3A00%3A00Z"


def test_an_invoice_is_shown_with_its_refunds(api: Api) -> None:
    api.answer = example("/v1/invoices/{invoice_id}", "get")
    shown = done(api, "invoices", "show", "IN/1")
    for part in (api.answer["pdf_url"], api.answer["refunds"][0]["refund_id"], "can be given back"):
        assert part in shown
    assert api.asked[0][1] == "/v1/invoices/IN%2F1"


def test_a_refund_says_what_becomes_of_it(api: Api) -> None:
    api.answer = example("/v1/invoices/{invoice_id}/refund", "post", "201")
    shown = done(api, "invoices", "refund", "IN-1", "--amount", "25.00", "--reason", "paid twice")
    assert "49.00 USD is succeeded" in shown
    assert api.answer["claim_url"] in shown
    assert api.asked[0][:3] == ("POST", "/v1/invoices/IN-1/refund", {"amount": "25.00", "reason": "paid twice"})
