"""Stripe's errors as ours, and what the SDK sends by way of our HTTP client."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import stripe
from aiohttp import web

from adapters.payments.stripe_biller import StripeBiller
from adapters.payments.stripe_client import API_VERSION, StripeApi, billing_error, told
from domain.billing import Account, BillingRefused, BillingUnavailable, Provider, Subscription
from tests.adapters.payments.conftest import CATALOGUE

KEY = "sk_test_never_to_be_shown"
E: Any = stripe  # its errors have no types


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (E.APIConnectionError("ReadTimeout"), BillingUnavailable, None),
        (E.RateLimitError("slow", http_status=429), BillingUnavailable, None),
        (E.APIError("broken", http_status=500), BillingUnavailable, None),
        (E.APIError("in use", http_status=409), BillingUnavailable, None),
        (E.AuthenticationError(f"Invalid API Key provided: {KEY}", http_status=401), BillingUnavailable, None),
        (E.PermissionError(f"{KEY} may not", http_status=403), BillingUnavailable, None),
        (E.IdempotencyError("other", http_status=400), BillingRefused, "repeated-otherwise"),
        (E.CardError("Your card was declined.", "", "card_declined", http_status=402), BillingRefused, "card-declined"),
        (
            E.InvalidRequestError("x" * 9_000, "a", "resource_missing", http_status=404),
            BillingRefused,
            "resource-missing",
        ),
        (E.InvalidRequestError("no", None, None, http_status=400), BillingRefused, "refused"),
    ],
)
def test_errors_are_told_in_our_words(error: stripe.StripeError, kind: type[Exception], code: str | None):
    ours = billing_error(error)
    assert type(ours) is kind
    assert getattr(ours, "code", None) == (code or "billing-unavailable")
    assert KEY not in str(ours)
    assert len(str(ours)) < 400
    with pytest.raises(kind) as raised, told():
        raise error
    assert raised.value.__suppress_context__


async def test_a_request_tells_nothing_of_this_machine_and_is_made_once(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({"error": {"message": "broken", "type": "api_error"}}, status=500)

    async with _serving(answer) as url:
        api = StripeApi(KEY, url=url, timeout_ms=5_000, max_connections=1)
        with pytest.raises(BillingUnavailable, match="500"), told():
            await api.v1.customers.create_async({"email": "a@example.com"}, {"idempotency_key": "k"})
        await api.close()
    [request] = seen
    assert request.headers["Stripe-Version"] == API_VERSION
    assert request.headers["Idempotency-Key"] == "k"
    assert request.headers["User-Agent"] == "vanta"
    assert not [name for name in request.headers if name.lower().startswith("x-stripe-client")]
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - a moment, in a test


async def test_an_answer_that_makes_no_sense_counts_as_none():
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"id": "sub_1", "object": "subscription", "items": {"data": []}})

    async with _serving(answer) as url:
        api = StripeApi(KEY, url=url, timeout_ms=5_000, max_connections=1)
        held = Subscription("SUB-1", "T", "core", 1, Provider.STRIPE, provider_ref="sub_1")
        account = Account(held, CATALOGUE.current("core"))
        with pytest.raises(BillingUnavailable):
            await StripeBiller(api, CATALOGUE).refresh(account, datetime.now(UTC))
        await api.close()


async def test_a_slow_answer_is_given_up_after_the_time_of_a_whole_request():
    async def drip(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(100):
            await answer.write(b" ")
            await asyncio.sleep(0.05)
        return answer

    async with _serving(drip) as url:
        api = StripeApi(KEY, url=url, timeout_ms=300, max_connections=1)
        with pytest.raises(BillingUnavailable, match="TimeoutError"), told():
            await api.v1.customers.retrieve_async("cus_1")
        await api.close()


class _serving:  # noqa: N801 - reads as a word
    def __init__(self, handler: Any) -> None:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", handler)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
