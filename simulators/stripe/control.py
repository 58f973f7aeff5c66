"""What a test tells the simulator, under /_config: time, declined payments, outages, endpoints and their events."""

import time
from typing import Any

from aiohttp import web
from localstripe import resources

from simulators.stripe.clock import clock
from simulators.stripe.deliveries import Endpoint, deliveries
from simulators.stripe.faults import faults
from simulators.stripe.renewing import run_due


async def _told(request: web.Request) -> dict[str, Any]:
    told = await request.json() if request.can_read_body else {}
    if not isinstance(told, dict):
        raise web.HTTPBadRequest(text="an object is needed")
    return told


async def set_endpoint(request: web.Request) -> web.Response:
    """`url`, `secret`, and `events` where not all are wanted."""
    told = await _told(request)
    if not str(told.get("url", "")).startswith("http") or not told.get("secret"):
        raise web.HTTPBadRequest(text="url and secret are needed")
    events = tuple(told["events"]) if told.get("events") else None
    deliveries.endpoints[request.match_info["id"]] = Endpoint(told["url"], told["secret"], events)
    return web.json_response({})


async def hold_events(request: web.Request) -> web.Response:
    """`held`: true keeps events back, false sends them; `resend` sends that stored event once more."""
    told = await _told(request)
    if "held" in told:
        if told["held"]:
            deliveries.held = True
        else:
            deliveries.let_go()
    if told.get("resend"):
        deliveries.schedule(resources.Event._api_retrieve(told["resend"]))
    return web.json_response({"held": deliveries.held, "waiting": [event["id"] for event in deliveries.waiting]})


async def set_clock(request: web.Request) -> web.Response:
    """`advance_s` moves time on, `now` to that moment (unix seconds; never back); what is due happens."""
    told = await _told(request)
    by = int(told.get("advance_s", 0)) or (int(told["now"]) - clock.now() if "now" in told else 0)
    if by < 0:
        raise web.HTTPBadRequest(text="time does not go back")
    clock.ahead_s += by
    run_due()
    return web.json_response({"now": clock.now()})


async def renew_now(request: web.Request) -> web.Response:
    """Move time on to the end of the period of `subscription`."""
    told = await _told(request)
    subscription = resources.Subscription._api_retrieve(told.get("subscription", ""))
    clock.ahead_s += max(0, subscription.current_period_end - clock.now())
    run_due()
    return web.json_response({"now": clock.now(), "status": subscription.status})


async def fail_payments(request: web.Request) -> web.Response:
    """The next `count` payments (of `customer`) are declined; 0 ends it."""
    told = await _told(request)
    faults.declines[str(told.get("customer") or "")] = int(told.get("count", 1))
    return web.json_response({})


async def set_outage(request: web.Request) -> web.Response:
    """503 to everything for `seconds` (0 ends it); `lose`: so many requests are done and cut off unanswered."""
    told = await _told(request)
    if "seconds" in told:
        faults.down_until = time.monotonic() + float(told["seconds"])
    faults.lose = int(told.get("lose", faults.lose))
    return web.json_response({})


def routes() -> list[web.RouteDef]:
    return [
        web.post("/_config/webhooks/{id}", set_endpoint),
        web.post("/_config/events", hold_events),
        web.post("/_config/clock", set_clock),
        web.post("/_config/renew", renew_now),
        web.post("/_config/declines", fail_payments),
        web.post("/_config/outage", set_outage),
    ]
