"""Puts localstripe's routes and ours together: ours first, its own for the rest."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from localstripe import resources, server
from localstripe.errors import UserError

from simulators.stripe import control, objects
from simulators.stripe import web as pages
from simulators.stripe.clock import clock
from simulators.stripe.deliveries import configured, deliveries
from simulators.stripe.faults import faults
from simulators.stripe.keeping import kept
from simulators.stripe.renewing import run_due
from simulators.stripe.sessions import CheckoutSession, PortalSession, pay_invoice, refund
from simulators.stripe.subscriptions import Subscription

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_TICK_S = 1.0
_MAX_BODY = 1_000_000
_in_turn: dict[str, asyncio.Lock] = {}


def install() -> None:
    """In localstripe's modules, once per process, put ours in the place of what they extend."""
    resources.time = clock
    resources.schedule_webhook = deliveries.schedule
    # It writes everything into a file that is shared by all users of the machine, at every change.
    resources.Store.dump_to_disk = lambda _store: None
    resources.InvoiceLineItem = objects.Line
    resources.Invoice = objects.Invoice
    resources.PaymentMethod = objects.PaymentMethod
    resources.SubscriptionItem = objects.Item
    resources.Subscription = Subscription


def _error(status: int, kind: str, message: str, code: str | None = None) -> web.Response:
    error = {"type": kind, "message": message, **({"code": code} if code else {})}
    return web.json_response({"error": error}, status=status)


@web.middleware
async def _faulty(request: web.Request, handler: _Handler) -> web.StreamResponse:
    if request.path.startswith("/_config/"):
        return await handler(request)
    if faults.down:
        return _error(503, "api_error", "The simulator is told to be down.")
    lost = request.method != "GET" and request.path.startswith("/v1/") and faults.take_loss()
    answer = await handler(request)
    if lost and request.transport is not None:
        request.transport.abort()
    return answer


@web.middleware
async def _errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except UserError as error:
        said: dict[str, Any] = error.body["error"]
        if error.code == 404:
            said.setdefault("code", "resource_missing")
        if error.code == 402:
            said["type"] = "card_error"
            said.setdefault("message", "Your card was declined.")
        return web.json_response(error.body, status=error.code)


@web.middleware
async def _once(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """The answer that was given under an Idempotency-Key is given again, errors too."""
    key = request.headers.get("Idempotency-Key")
    if request.method != "POST" or key is None or not request.path.startswith("/v1/"):
        return await handler(request)
    async with _in_turn.setdefault(key, asyncio.Lock()):
        print_ = kept.fingerprint(request.method, request.path, await request.read())
        if key in kept.answers:
            known, status, body = kept.answers[key]
            if known != print_:
                message = "Keys for idempotent requests can only be used with the same parameters."
                return _error(400, "idempotency_error", message)
            again = web.Response(status=status, body=body, content_type="application/json")
            again.headers["Idempotent-Replayed"] = "true"
            return again
        answer = await handler(request)
        if isinstance(answer, web.Response) and isinstance(answer.body, bytes):
            kept.answers[key] = (print_, answer.status, answer.body)
        return answer


@web.middleware
async def _saved(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    finally:
        if request.method != "GET":
            kept.save()


@web.middleware
async def _auth(request: web.Request, handler: _Handler) -> web.StreamResponse:
    if not request.path.startswith("/v1/"):
        return await handler(request)
    return await server.auth_middleware(request, handler)


def _route(function: Callable[..., Any], url: str) -> _Handler:
    handler: _Handler = server.api_extra(function, url)
    return handler


def _list_invoice_payments(invoice: str, **_: Any) -> web.Response:
    return web.json_response(resources.Invoice._api_retrieve(invoice).payments)


async def _invoice_payments(request: web.Request) -> web.Response:
    return _list_invoice_payments(request.query.get("invoice", ""))


def _ours() -> list[web.RouteDef]:
    sub = "/v1/subscriptions"
    return [
        web.post("/v1/checkout/sessions", server.api_create(CheckoutSession, "")),
        web.get("/v1/checkout/sessions", server.api_list_all(CheckoutSession, "/v1/checkout/sessions")),
        web.get("/v1/checkout/sessions/{id}", server.api_retrieve(CheckoutSession, "")),
        web.post("/v1/checkout/sessions/{id}/expire", _route(CheckoutSession._api_expire, "")),
        web.post("/v1/billing_portal/sessions", server.api_create(PortalSession, "")),
        web.post(sub, server.api_create(Subscription, sub)),
        web.get(sub, server.api_list_all(Subscription, sub)),
        web.get(f"{sub}/{{id}}", server.api_retrieve(Subscription, sub)),
        web.post(f"{sub}/{{id}}", server.api_update(Subscription, sub)),
        web.delete(f"{sub}/{{id}}", server.api_delete(Subscription, sub)),
        web.get("/v1/invoices", server.api_list_all(objects.Invoice, "/v1/invoices")),
        web.get("/v1/invoices/{id}", server.api_retrieve(objects.Invoice, "")),
        web.post("/v1/invoices/{id}/pay", _route(pay_invoice, "")),
        web.get("/v1/invoice_payments", _invoice_payments),
        web.post("/v1/refunds", _route(refund, "")),
        web.post("/v1/payment_methods", server.api_create(objects.PaymentMethod, "")),
        *pages.routes(),
        *control.routes(),
    ]


def build() -> web.Application:
    app = web.Application(middlewares=[_faulty, _once, _errors, _saved, _auth], client_max_size=_MAX_BODY)
    app.add_routes(_ours())
    for route in server.app.router.routes():
        if route.resource is not None and route.method != "HEAD" and not route.resource.canonical.startswith("/_"):
            app.router.add_route(route.method, route.resource.canonical, route.handler)
    app.cleanup_ctx.append(_ticking)
    return app


async def _ticking(_app: web.Application) -> Any:
    async def tick() -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            if run_due():
                kept.save()

    ticking = asyncio.create_task(tick())
    yield
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking
    await deliveries.close()
    kept.save()


async def serve(port: int, data: Path | None, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Until `stop`. Raises OSError if the port is taken, ValueError where the configuration is none."""
    install()
    kept.load(data)
    deliveries.endpoints.update(configured(data))
    runner = web.AppRunner(build(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        objects.pages["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready(json.dumps({"url": objects.pages["url"]}))
        await stop.wait()
    finally:
        await runner.cleanup()
