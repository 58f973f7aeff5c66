"""Events on their way to the endpoints: signed with the moment of sending, and sent again until they are taken."""

import asyncio
import hashlib
import hmac
import json
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from simulators.stripe.objects import API_VERSION

# Stripe goes on for three days; who tries things out does not wait for so long.
AGAIN_S = (0.5, 1, 2, 4, 8, 15, 30, 60, 120)
_TIMEOUT_S = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    url: str
    secret: str
    events: tuple[str, ...] | None = None


def signature(secret: str, at: int, body: bytes) -> str:
    """The header Stripe-Signature."""
    mac = hmac.new(secret.encode(), b"%d.%s" % (at, body), hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"


@dataclass
class Deliveries:
    """`held`: nothing is sent until it is let go, so that a test can say in which order."""

    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    held: bool = False
    waiting: list[dict[str, Any]] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _http: ClientSession | None = None

    def schedule(self, event: Any) -> None:
        """Takes the place of localstripe's; `event` is as it was when it happened."""
        body = {**event._export(), "object": "event", "api_version": API_VERSION, "pending_webhooks": 1}
        if self.held:
            self.waiting.append(body)
        else:
            self.send(body)

    def send(self, event: dict[str, Any]) -> None:
        for endpoint in self.endpoints.values():
            if endpoint.events is None or event["type"] in endpoint.events:
                task = asyncio.create_task(self._insist(endpoint, event))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def let_go(self) -> None:
        self.held, waiting = False, self.waiting
        self.waiting = []
        for event in waiting:
            self.send(event)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def _insist(self, endpoint: Endpoint, event: dict[str, Any]) -> None:
        body = json.dumps(event).encode()
        for wait_s in (*AGAIN_S, None):
            if await self._send_once(endpoint, body):
                return
            if wait_s is not None:
                await asyncio.sleep(wait_s)
        _log.warning("event %s was given up", event["id"])

    async def _send_once(self, endpoint: Endpoint, body: bytes) -> bool:
        self._http = self._http or ClientSession(timeout=ClientTimeout(total=_TIMEOUT_S))
        signed = signature(endpoint.secret, int(time.time()), body)
        headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signed}
        try:
            async with self._http.post(endpoint.url, data=body, headers=headers) as answer:
                return 200 <= answer.status < 300
        except (ClientError, TimeoutError):
            return False


def configured(folder: Path | None) -> dict[str, Endpoint]:
    """Those of `config.json` there: `{"webhooks": [{"url": …, "secret": …}]}`, `events` where not all are wanted."""
    file = folder / "config.json" if folder else None
    if file is None or not file.exists():
        return {}
    told = json.loads(file.read_text())["webhooks"]
    return {
        str(n): Endpoint(w["url"], w["secret"], tuple(w["events"]) if w.get("events") else None)
        for n, w in enumerate(told)
    }


deliveries = Deliveries()
