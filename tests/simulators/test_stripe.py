"""The simulator of Stripe: what it promises beyond localstripe."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import stripe
from aiohttp import web

from simulators.stripe.process import StripeProcess

SECRET = "whsec_simulated"


class Receiver:
    """Refuses the first `refusals` deliveries."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.events: asyncio.Queue[stripe.Event] = asyncio.Queue()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        if self.refusals > 0:
            self.refusals -= 1
            return web.Response(status=500)
        body = await request.read()
        event = stripe.Webhook.construct_event(body, request.headers["Stripe-Signature"], SECRET)
        self.events.put_nowait(event)
        return web.Response()

    async def next(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while (event := await self.events.get()).type != kind:
                pass
            return dict(event.data.object.to_dict())


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver(refusals=2)
    app = web.Application()
    app.router.add_post("/hook", made.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


async def _ask(server: StripeProcess, path: str, key: str | None = None, **fields: str) -> tuple[int, dict[str, Any]]:
    from aiohttp import ClientSession

    headers = {"Authorization": "Bearer sk_test_simulated", **({"Idempotency-Key": key} if key else {})}
    method = "POST" if fields else "GET"
    async with ClientSession(headers=headers) as http, http.request(method, server.url + path, data=fields) as answer:
        return answer.status, await answer.json()


async def _page(server: StripeProcess, **more: str) -> dict[str, Any]:
    _, page = await _ask(
        server,
        "/v1/checkout/sessions",
        mode="subscription",
        customer_email="a@example.com",
        success_url="https://app.example/ok",
        **{"line_items[0][price]": "p1", "line_items[0][quantity]": "1", **more},
    )
    return page


async def _priced(server: StripeProcess) -> None:
    await _ask(server, "/v1/products", id="vanta_core", name="Core")
    await _ask(server, "/v1/plans", id="p1", product="vanta_core", amount="4900", currency="usd", interval="month")


async def test_events_are_signed_when_they_are_sent_and_sent_again_until_they_are_taken(receiver: Receiver):
    async with StripeProcess() as server:
        await server.tell("webhooks/ours", url=receiver.url, secret=SECRET)
        await server.tell("clock", advance_s=40 * 86_400)
        await _priced(server)
        page = await _page(server, client_reference_id="SUB-1")
        assert await server.submit(page["url"], {"do": "pay"}) == 303
        told = await receiver.next("checkout.session.completed")
        assert (told["client_reference_id"], told["payment_status"], told["status"]) == ("SUB-1", "paid", "complete")
        assert receiver.refusals == 0


async def test_events_can_be_held_back_and_let_go(receiver: Receiver):
    receiver.refusals = 0
    async with StripeProcess() as server:
        await server.tell("webhooks/ours", url=receiver.url, secret=SECRET, events=["product.created"])
        await server.tell("events", held=True)
        await _priced(server)
        assert len((await server.tell("events"))["waiting"]) == 2
        assert receiver.events.empty()
        await server.tell("events", held=False)
        assert (await receiver.next("product.created"))["id"] == "vanta_core"


async def test_what_was_made_is_there_after_a_restart_in_a_file_of_its_user_alone(tmp_path: Path):
    folder = tmp_path / "stripe"
    async with StripeProcess(folder) as server:
        await _priced(server)
        made = await _ask(server, "/v1/customers", "key-1", email="a@example.com")
        await server.tell("clock", advance_s=86_400)
    assert (folder / "stripe.pickle").stat().st_mode & 0o077 == 0
    async with StripeProcess(folder) as server:
        assert (await _ask(server, f"/v1/customers/{made[1]['id']}"))[0] == 200
        assert await _ask(server, "/v1/customers", "key-1", email="a@example.com") == made
        status, said = await _ask(server, "/v1/customers", "key-1", email="b@example.com")
        assert (status, said["error"]["type"]) == (400, "idempotency_error")


async def test_a_page_runs_out_and_an_incomplete_subscription_too():
    async with StripeProcess() as server:
        await _priced(server)
        page = await _page(server)
        _, customer = await _ask(server, "/v1/customers", email="a@example.com")
        _, sub = await _ask(server, "/v1/subscriptions", customer=customer["id"], **{"items[0][price]": "p1"})
        assert sub["status"] == "incomplete"
        await server.tell("clock", advance_s=23 * 3600)
        assert (await _ask(server, f"/v1/subscriptions/{sub['id']}"))[1]["status"] == "incomplete_expired"
        await server.tell("clock", advance_s=3600)
        _, read = await _ask(server, f"/v1/checkout/sessions/{page['id']}")
        assert (read["status"], read["url"]) == ("expired", None)
        assert await server.submit(page["url"], {"do": "pay"}) == 410


async def test_only_secret_keys_are_let_in():
    from aiohttp import ClientSession

    async with StripeProcess() as server, ClientSession() as http, http.get(f"{server.url}/v1/customers") as answer:
        assert answer.status == 401


async def test_an_invoice_has_a_page_and_a_pdf():
    from aiohttp import ClientSession

    async with StripeProcess() as server, ClientSession() as http:
        await _priced(server)
        page = await _page(server)
        await server.submit(page["url"], {"do": "pay"})
        [invoice] = (await _ask(server, "/v1/invoices"))[1]["data"]
        async with http.get(invoice["hosted_invoice_url"]) as shown:
            assert "49.00 USD" in await shown.text()
        async with http.get(invoice["invoice_pdf"]) as pdf:
            assert (await pdf.read()).startswith(b"%PDF-1.4")
            assert pdf.content_type == "application/pdf"
