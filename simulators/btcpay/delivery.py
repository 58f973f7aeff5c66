"""Webhooks: signed, one after the other, and again where they were not taken.

Not confirmed by a document: that a redelivery's body carries the time of the first one.
"""

import asyncio
import hashlib
import hmac
import json
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import aiohttp

from simulators.btcpay.render import seconds
from simulators.btcpay.state import Clock, Invoice, new_id

SIGNATURE = "BTCPay-Sig"
# After the first failure, the second, …: then it is given up.
AGAIN_AFTER = (timedelta(seconds=10), timedelta(minutes=1), *[timedelta(minutes=10)] * 6)
_LOOK_EVERY_S = 0.2
_MAX_KEPT = 10_000
_OK = range(200, 300)


@dataclass(frozen=True, slots=True)
class Webhook:
    """`url` empty: what would be sent waits for a test to take it."""

    url: str
    secret: str = field(repr=False)

    @property
    def id(self) -> str:
        """The same in every life of the process."""
        return "webhook-" + hashlib.sha256(self.url.encode()).hexdigest()[:16]


@dataclass(slots=True)
class Delivery:
    """One attempt. `status`: what the receiver answered; none: not sent yet, or nobody was there."""

    webhook: Webhook
    event: dict[str, Any]
    due: datetime
    attempt: int = 0
    status: int | None = None

    @property
    def body(self) -> bytes:
        return json.dumps(self.event, separators=(",", ":")).encode()

    @property
    def headers(self) -> dict[str, str]:
        return {SIGNATURE: signature(self.webhook.secret, self.body), "Content-Type": "application/json; charset=utf-8"}


def signature(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Deliveries:
    """`sent` are the attempts that were made, `waiting` those that are to be; none is made while they are `held`."""

    def __init__(self, webhooks: tuple[Webhook, ...], clock: Clock, timeout_s: float = 5.0) -> None:
        self.webhooks = webhooks
        self.waiting: list[Delivery] = []
        self.sent: deque[Delivery] = deque(maxlen=_MAX_KEPT)
        self.held = False
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    def tell(self, invoice: Invoice, kind: str, more: dict[str, Any]) -> None:
        now = self._clock.now()
        for webhook in self.webhooks:
            delivery_id = new_id()
            event = {
                "deliveryId": delivery_id,
                "webhookId": webhook.id,
                "originalDeliveryId": delivery_id,
                "isRedelivery": False,
                "type": kind,
                "timestamp": seconds(now),
                "storeId": invoice.store_id,
                "invoiceId": invoice.id,
                "metadata": dict(invoice.metadata),
                **more,
            }
            self.waiting.append(Delivery(webhook, event, now))
        self.wake()

    def wake(self) -> None:
        """Something may be due."""
        if self._due():
            self._idle.clear()
            self._wake.set()

    async def idle(self) -> None:
        """Until everything has been sent that is due by the clock."""
        await self._idle.wait()

    async def run(self) -> None:
        async with aiohttp.ClientSession(timeout=self._timeout) as client:
            while True:
                while due := self._due():
                    await self._send(client, due)
                self._idle.set()
                self._wake.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _LOOK_EVERY_S)

    def _due(self) -> Delivery | None:
        now = self._clock.now()
        return None if self.held else next((d for d in self.waiting if d.webhook.url and d.due <= now), None)

    async def _send(self, client: aiohttp.ClientSession, delivery: Delivery) -> None:
        with suppress(aiohttp.ClientError, TimeoutError):
            url, body = delivery.webhook.url, delivery.body
            async with client.post(url, data=body, headers=delivery.headers, allow_redirects=False) as answer:
                delivery.status = answer.status
        self.waiting.remove(delivery)
        self.sent.append(delivery)
        if delivery.status not in _OK and delivery.attempt < len(AGAIN_AFTER):
            due = self._clock.now() + AGAIN_AFTER[delivery.attempt]
            event = {**delivery.event, "deliveryId": new_id(), "isRedelivery": True}
            self.waiting.append(Delivery(delivery.webhook, event, due, delivery.attempt + 1))
